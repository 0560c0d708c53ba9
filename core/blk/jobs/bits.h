/*
 * bits: a set of the chunks of a disk.
 *
 * Thread rule: belongs to its owner's thread.
 */
#ifndef CORE_BLK_JOBS_BITS_H
#define CORE_BLK_JOBS_BITS_H

#include <stdbool.h>
#include <stdint.h>

struct job_bits {
	uint64_t *words;
	uint64_t nr;	/* bits */
	uint64_t count; /* of those that are set */
};

int job_bits_init(struct job_bits *b, uint64_t nr); /* all clear; or -ENOMEM */
void job_bits_fini(struct job_bits *b);
/* first and nr stay inside the set. */
void job_bits_set(struct job_bits *b, uint64_t first, uint64_t nr);
void job_bits_clear(struct job_bits *b, uint64_t first, uint64_t nr);
bool job_bits_test(const struct job_bits *b, uint64_t i);
/* The first that is set, from `from` on; b->nr when there is none. */
uint64_t job_bits_next(const struct job_bits *b, uint64_t from);

#endif
