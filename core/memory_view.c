/*
 * Flattening: every boundary of a region starts a stretch; the region with
 * the highest priority there owns it, and neighbours of one region join.
 */
#include <stdlib.h>

#include "core/memory_int.h"

static int compare_gpa(const void *a, const void *b)
{
	gpa_t x = *(const gpa_t *)a, y = *(const gpa_t *)b;

	return (x > y) - (x < y);
}

/* First address after r.  A region that would reach past the end of the
 * address space loses what lies there. */
static gpa_t region_end(const struct region *r)
{
	gpa_t end = r->gpa + r->len;

	return end < r->gpa ? UINT64_MAX : end;
}

static bool has_place(const struct region *r)
{
	return r->enabled && region_end(r) > r->gpa;
}

static struct region *winner_at(const struct region *regions, gpa_t gpa)
{
	const struct region *r, *best = NULL;

	for (r = regions; r; r = r->next) {
		if (!has_place(r) || gpa < r->gpa || gpa >= region_end(r))
			continue;
		if (!best || r->priority >= best->priority)
			best = r;
	}
	return (struct region *)best;
}

/* Whether a block really backs [off, off + len) of the region. */
static bool is_backed(const struct region *r)
{
	return (r->kind == REGION_RAM || r->kind == REGION_ROM) && r->block &&
	       r->block_off <= r->block->len;
}

static void add_flat(struct mem_view *v, struct region *r, gpa_t gpa, gpa_t end)
{
	struct mem_flat *last = v->nr ? &v->flats[v->nr - 1] : NULL;
	uint64_t off = gpa - r->gpa;
	struct mem_flat *f;

	if (last && last->region == r && last->gpa + last->len == gpa) {
		last->len += end - gpa;
		return;
	}
	f = &v->flats[v->nr++];
	*f = (struct mem_flat){
		.gpa = gpa,
		.len = end - gpa,
		.region = r,
		.region_off = off,
		.kind = r->kind,
	};
	if (is_backed(r))
		f->host = r->block->host + r->block_off + off;
}

/* Regions that are longer than their block end with it. */
static gpa_t backed_end(const struct region *r)
{
	gpa_t end = region_end(r);

	if (is_backed(r) && end - r->gpa > r->block->len - r->block_off)
		end = r->gpa + (r->block->len - r->block_off);
	return end;
}

struct mem_view *mem_view_build(const struct region *regions)
{
	const struct region *r;
	struct mem_view *v;
	gpa_t *bounds;
	size_t nr = 0, i;

	for (r = regions; r; r = r->next)
		nr += has_place(r) ? 2 : 0;
	bounds = calloc(nr + 1, sizeof(*bounds));
	v = calloc(1, sizeof(*v) + nr * sizeof(v->flats[0]));
	if (!bounds || !v) {
		free(bounds);
		free(v);
		return NULL;
	}
	for (nr = 0, r = regions; r; r = r->next) {
		if (has_place(r)) {
			bounds[nr++] = r->gpa;
			bounds[nr++] = region_end(r);
		}
	}
	qsort(bounds, nr, sizeof(*bounds), compare_gpa);
	for (i = 0; i + 1 < nr; i++) {
		struct region *best;
		gpa_t end = bounds[i + 1];

		if (bounds[i] == end)
			continue;
		best = winner_at(regions, bounds[i]);
		if (!best)
			continue;
		if (end > backed_end(best))
			end = backed_end(best);
		if (bounds[i] < end)
			add_flat(v, best, bounds[i], end);
	}
	free(bounds);
	return v;
}

long mem_view_index(const struct mem_view *view, gpa_t gpa)
{
	size_t lo = 0, hi = view->nr;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		const struct mem_flat *f = &view->flats[mid];

		if (gpa < f->gpa)
			hi = mid;
		else if (gpa - f->gpa >= f->len)
			lo = mid + 1;
		else
			return (long)mid;
	}
	return -1;
}
