/*
 * fault: a filter that makes requests fail or wait, by a script.
 *
 * One rule a line (or between semicolons); # begins a comment.  A rule is an
 * operation and what limits it and what it does:
 *
 *   read | write | zeroes | discard | flush | truncate | any
 *   range OFF+LEN      requests that touch these bytes (k, M, G; 0x)
 *   skip N, count N    not the first N that fit; at most N times
 *   once               count 1
 *   probability P      0 to 1; `seed N` on a line of its own makes it repeat
 *   state N            only in this state; a disk begins in state 1
 *   errno NAME         fails, without reaching the child
 *   after              reaches the child first, then fails
 *   immediately        fails without giving the loop back before
 *   delay TIME         waits first: ns, us, ms, s
 *   set-state N        enters that state
 *
 * Every rule that fits counts and delays; the first with an errno fails the
 * request.  Words: script=TEXT or config=FILE.
 *
 * Thread rule: on the loop.
 */
#ifndef CORE_BLK_FILTER_FAULT_H
#define CORE_BLK_FILTER_FAULT_H

#include "core/blk/filter/filter.h"

extern const struct blk_driver blk_fault_driver;

/* Puts another script in place of the one there is, in state 1; name is for
 * messages.  -errno with the line that is wrong, and nothing changed. */
int blk_fault_set(struct blk *b, const char *script, const char *name,
		  struct error *e);
/* How often rules have made something happen; the state. */
uint64_t blk_fault_hits(const struct blk *b);
unsigned blk_fault_state(const struct blk *b);

#endif
