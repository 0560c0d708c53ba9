/*
 * ledger: what a guest was promised of its disk, to be compared with what a
 * power cut left of it.
 *
 * It sees what the guest sees: a change begins when the guest asks for it and
 * ends when the guest is told; a flush promises the changes that had ended when
 * it was asked for.  It keeps a sum for each sector of 512 bytes and knows
 * nothing of what lies below the disk.  Sectors that two changes fill at the
 * same time, that are discarded, or whose change failed, may hold anything: they
 * are not watched until they are written again.
 *
 * Thread rule: on the loop; ledger_check [co].
 */
#ifndef CORE_BLK_POWER_LEDGER_H
#define CORE_BLK_POWER_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

struct blk;
struct ledger;
struct ledger_change;

/* What a cut left; the sums of bytes are of whole sectors. */
struct ledger_facts {
	uint64_t promised, kept; /* bytes told to be stable; there afterwards */
	uint64_t first_missing;	 /* offset of the first that isn't; or ~0 */
	/* Changes that were answered but never promised, and of them those
	 * that aren't there and those of which only some sectors are. */
	uint64_t answered, lost, torn;
	uint64_t unanswered; /* changes that were on their way */
	bool is_partial;     /* more was written than is watched */
};

struct ledger *ledger_create(void); /* NULL: no memory */
void ledger_destroy(struct ledger *l);

/* A change of [off, off + len), whole sectors, begins: to data, or to zeroes
 * (NULL).  NULL: no memory. */
struct ledger_change *ledger_begin(struct ledger *l, uint64_t off, uint64_t len,
				   const void *data);
/* The guest is told how it ended; promised: that it is stable, too.  The change
 * is the ledger's afterwards. */
void ledger_end(struct ledger *l, struct ledger_change *c, bool ok,
		bool promised);
/* From now on the range may hold anything. */
void ledger_forget(struct ledger *l, uint64_t off, uint64_t len);

/* The moment at which a flush is asked for; and its good end. */
uint64_t ledger_now(const struct ledger *l);
void ledger_flushed(struct ledger *l, uint64_t asked);

/* Reads what is watched and compares; then what is there counts as promised and
 * nothing as on its way.  0, or the -errno of the first read that failed. */
int ledger_check(struct ledger *l, struct blk *disk, struct ledger_facts *out);

#endif
