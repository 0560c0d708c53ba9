/*
 * The set of clusters that hold metadata, so that no data write touches one:
 * a hash with open addressing.
 */
#include <errno.h>
#include <stdlib.h>

#include "core/blk/qcow2/qcow2.h"

static uint64_t cluster_of(const struct qcow2 *s, uint64_t off)
{
	return off >> s->h.cluster_bits;
}

static uint64_t offset_of(const struct qcow2 *s, uint64_t cluster)
{
	return cluster << s->h.cluster_bits;
}

static uint64_t slot_of(uint64_t cluster, uint64_t max)
{
	return (cluster * 0x9e3779b97f4a7c15ull >> 20) & (max - 1);
}

/* Slots hold cluster + 1; 0 is empty. */
static bool set_insert(struct qcow2_set *set, uint64_t cluster)
{
	uint64_t i = slot_of(cluster, set->max);

	while (set->slots[i]) {
		if (set->slots[i] == cluster + 1)
			return false;
		i = (i + 1) & (set->max - 1);
	}
	set->slots[i] = cluster + 1;
	set->nr++;
	return true;
}

static bool set_has(const struct qcow2_set *set, uint64_t cluster)
{
	uint64_t i;

	if (!set->nr)
		return false;
	for (i = slot_of(cluster, set->max); set->slots[i];
	     i = (i + 1) & (set->max - 1))
		if (set->slots[i] == cluster + 1)
			return true;
	return false;
}

static int set_grow(struct qcow2_set *set)
{
	struct qcow2_set old = *set;

	set->max = old.max ? 2 * old.max : 256;
	set->slots = calloc(set->max, sizeof(*set->slots));
	if (!set->slots) {
		*set = old;
		return -ENOMEM;
	}
	set->nr = 0;
	for (uint64_t i = 0; i < old.max; i++)
		if (old.slots[i])
			set_insert(set, old.slots[i] - 1);
	free(old.slots);
	return 0;
}

/* Takes the slot out and moves those behind it that would be lost. */
static void set_remove(struct qcow2_set *set, uint64_t cluster)
{
	uint64_t mask = set->max - 1, i, j;

	if (!set_has(set, cluster))
		return;
	for (i = slot_of(cluster, set->max); set->slots[i] != cluster + 1;)
		i = (i + 1) & mask;
	set->slots[i] = 0;
	set->nr--;
	for (j = (i + 1) & mask; set->slots[j]; j = (j + 1) & mask) {
		uint64_t other = set->slots[j] - 1;

		set->slots[j] = 0;
		set->nr--;
		set_insert(set, other);
	}
}

bool qcow2_is_meta(const struct qcow2 *s, uint64_t cluster)
{
	return set_has(&s->meta, cluster);
}

int qcow2_note_meta(struct qcow2 *s, uint64_t off, uint64_t len)
{
	for (uint64_t c = cluster_of(s, off); offset_of(s, c) < off + len;
	     c++) {
		if (s->meta.nr * 2 >= s->meta.max && set_grow(&s->meta))
			return -ENOMEM;
		set_insert(&s->meta, c);
	}
	return 0;
}

void qcow2_forget_meta(struct qcow2 *s, uint64_t off, uint64_t len)
{
	for (uint64_t c = cluster_of(s, off); offset_of(s, c) < off + len; c++)
		set_remove(&s->meta, c);
}

int qcow2_check_overlap(struct qcow2 *s, uint64_t off, uint64_t len)
{
	for (uint64_t c = cluster_of(s, off); offset_of(s, c) < off + len; c++)
		if (set_has(&s->meta, c))
			return qcow2_mark_corrupt(
				s, "a write would hit the metadata at 0x%llx",
				(unsigned long long)offset_of(s, c));
	return 0;
}
