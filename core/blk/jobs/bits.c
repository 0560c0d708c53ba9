/*
 * bits: a set of the chunks of a disk.
 */
#include "core/blk/jobs/bits.h"

#include <errno.h>
#include <stdlib.h>

int job_bits_init(struct job_bits *b, uint64_t nr)
{
	*b = (struct job_bits){.nr = nr};
	b->words = calloc(nr / 64 + 1, sizeof(*b->words));
	return b->words ? 0 : -ENOMEM;
}

void job_bits_fini(struct job_bits *b)
{
	free(b->words);
	*b = (struct job_bits){0};
}

void job_bits_set(struct job_bits *b, uint64_t first, uint64_t nr)
{
	for (uint64_t i = first; i < first + nr; i++) {
		uint64_t bit = 1ull << i % 64;

		b->count += !(b->words[i / 64] & bit);
		b->words[i / 64] |= bit;
	}
}

void job_bits_clear(struct job_bits *b, uint64_t first, uint64_t nr)
{
	for (uint64_t i = first; i < first + nr; i++) {
		uint64_t bit = 1ull << i % 64;

		b->count -= !!(b->words[i / 64] & bit);
		b->words[i / 64] &= ~bit;
	}
}

bool job_bits_test(const struct job_bits *b, uint64_t i)
{
	return b->words[i / 64] >> i % 64 & 1;
}

uint64_t job_bits_next(const struct job_bits *b, uint64_t from)
{
	while (from < b->nr) {
		uint64_t word = b->words[from / 64] >> from % 64;

		if (word)
			return from + __builtin_ctzll(word);
		from = (from / 64 + 1) * 64;
	}
	return b->nr;
}
