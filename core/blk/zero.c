/*
 * zero: finds zeroes in memory; several words are tested at a time so that the
 * compiler can use vector registers.
 */
#include <stdint.h>
#include <string.h>

#include "core/blk/copy.h"

#define SECTOR 512
#define STRIDE 128

static uint64_t or_words(const uint8_t *p)
{
	uint64_t w[STRIDE / 8], a = 0, b = 0, c = 0, d = 0;

	memcpy(w, p, sizeof(w));
	for (unsigned i = 0; i < STRIDE / 8; i += 4) {
		a |= w[i];
		b |= w[i + 1];
		c |= w[i + 2];
		d |= w[i + 3];
	}
	return a | b | c | d;
}

bool blk_is_zero(const void *buf, size_t len)
{
	const uint8_t *p = buf;

	for (; len >= STRIDE; p += STRIDE, len -= STRIDE)
		if (or_words(p))
			return false;
	for (; len; p++, len--)
		if (*p)
			return false;
	return true;
}

/* The zeroness of the block at `at`, and its length. */
static bool block_zero(const uint8_t *buf, size_t len, uint64_t off,
		       size_t block, size_t at, size_t *n)
{
	*n = block - (off + at) % block;
	if (*n > len - at)
		*n = len - at;
	return blk_is_zero(buf + at, *n);
}

/* Length of the run of zero blocks at `at`. */
static size_t zeroes_at(const uint8_t *buf, size_t len, uint64_t off,
			size_t block, size_t at)
{
	size_t start = at, n;

	while (at < len && block_zero(buf, len, off, block, at, &n))
		at += n;
	return at - start;
}

/* A run at either end of buf goes on elsewhere and may be short. */
static bool is_worth(size_t run, size_t at, size_t len, uint32_t min)
{
	return run && (run >= min || !at || at + run == len);
}

size_t blk_zero_run(const void *buf, size_t len, uint64_t off, uint32_t min,
		    bool *zero)
{
	size_t block = SECTOR, at = 0, run;

	while (block * 2 <= min)
		block *= 2;
	run = zeroes_at(buf, len, off, block, 0);
	*zero = is_worth(run, 0, len, min);
	if (*zero)
		return run;
	while (at < len) {
		size_t n;

		run = zeroes_at(buf, len, off, block, at);
		if (is_worth(run, at, len, min))
			break;
		at += run;
		if (at < len) {
			block_zero(buf, len, off, block, at, &n);
			at += n;
		}
	}
	return at;
}
