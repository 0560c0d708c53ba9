/*
 * pam: programmable attribute map, the 13 parts of 0xc0000-0xfffff whose reads
 * and writes each go to RAM or past it.
 *
 * "Past it" is the firmware's flash for 0xe0000-0xfffff and nothing (ones) for
 * 0xc0000-0xdffff.  Specification: Intel 3 Series datasheet 5.1.17.
 *
 * Thread rule: init and fini while the machine is built; apply under the MCH's
 * lock; the commit follows as memory.h says.
 */
#ifndef CORE_HW_CHIPSET_PAM_H
#define CORE_HW_CHIPSET_PAM_H

#include <stdint.h>

#include "core/memory.h"

struct error;
struct machine;

#define PAM_NR_PARTS 13
#define PAM_NR_REGS  7
#define PAM_READ     1 /* reads go to RAM */
#define PAM_WRITE    2 /* writes go to RAM */

struct pam_part {
	struct region ram; /* pc.ram, RAM or (reads only) ROM */
	struct region bus; /* what lies past it */
	uint8_t *shadow;   /* pc.ram there */
	struct ram_block *block;
	uint64_t block_off;
	unsigned attr; /* PAM_READ, PAM_WRITE */
};

struct pam {
	struct mem *mem;
	struct pam_part parts[PAM_NR_PARTS];
};

/* Adds the regions, all attributes clear.  "pc.ram" must exist. */
int pam_init(struct pam *pam, struct mem *mem, struct error *e);
void pam_fini(struct pam *pam);
/* Follows the seven attribute registers. */
void pam_apply(struct pam *pam, const uint8_t regs[PAM_NR_REGS]);

#endif
