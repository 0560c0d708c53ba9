/*
 * Block status of guest data.
 */
#include <sys/stat.h>

#include "core/blk/qcow2/qcow2.h"

/* May clusters that count as used be holes of the file, as after preallocation
 * of metadata?  Found out once, by comparing how many are in use with what the
 * host holds; otherwise asking the file about each would be for nothing. */
static bool has_holes(struct qcow2 *s)
{
	uint64_t held, enough, used = 0, refs;
	struct stat st;

	if (s->holes_known)
		return s->holes;
	s->holes_known = true;
	if (stat(s->b->file->name, &st))
		return false;
	held = (uint64_t)st.st_blocks * 512 >> s->h.cluster_bits;
	enough = held * 10 / 9 > held + 2 ? held * 10 / 9 : held + 2;
	for (uint64_t c = 0; c << s->h.cluster_bits < s->b->file->len &&
			     c >> s->refblock_bits < s->nr_rt;
	     c++) {
		if (!s->rt[c >> s->refblock_bits]) {
			c |= (1ull << s->refblock_bits) - 1;
			continue;
		}
		if (qcow2_get_refcount(s, c, &refs))
			return false;
		used += !!refs;
		if (used >= enough)
			break;
	}
	return s->holes = used >= enough;
}

static int run_flags(const struct qcow2_run *run)
{
	int flags = run->has_host ? BLK_STATUS_OFFSET_VALID : 0;

	switch (run->kind) {
	case QCOW2_NORMAL:
		return flags | BLK_STATUS_DATA;
	case QCOW2_PACKED:
		return BLK_STATUS_DATA | BLK_STATUS_COMPRESSED;
	case QCOW2_ZEROES:
		return flags | BLK_STATUS_ZERO;
	case QCOW2_UNALLOCATED:
		break;
	}
	return flags;
}

int qcow2_status(struct blk *b, uint64_t off, uint64_t len, uint64_t *pnum,
		 uint64_t *map, struct blk **file)
{
	struct qcow2 *s = qcow2_of(b);
	struct qcow2_run run, next;
	int ret = qcow2_lookup(s, off, len, &run);

	if (ret)
		return ret;
	while (run.len < len) {
		if (qcow2_lookup(s, off + run.len, len - run.len, &next))
			break;
		if (run_flags(&next) != run_flags(&run) ||
		    (run.has_host && next.host != run.host + run.len))
			break;
		run.len += next.len;
	}
	*pnum = run.len;
	if (run.has_host) {
		*map = run.host;
		*file = qcow2_data(s);
	}
	return run_flags(&run) | (has_holes(s) ? 0 : BLK_STATUS_SOLID);
}
