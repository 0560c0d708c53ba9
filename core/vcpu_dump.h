/*
 * vcpu_dump: a vCPU's registers and the bytes at its instruction pointer as
 * text for a person.
 *
 * Thread rule: the caller owns the state; memory is read as by dma_read.
 */
#ifndef CORE_VCPU_DUMP_H
#define CORE_VCPU_DUMP_H

#include <stddef.h>
#include <stdint.h>

struct mem;
struct vcpu_state;

/* Lines of text, at most 80 columns each, cut at len. */
void vcpu_dump(const struct vcpu_state *s, struct mem *mem, char *text,
	       size_t len);

/* The guest-physical address behind a linear one by the guest's own page
 * tables (Intel SDM volume 3, chapter 4); 0 or -EFAULT. */
int vcpu_walk(const struct vcpu_state *s, struct mem *mem, uint64_t linear,
	      uint64_t *gpa);

#endif
