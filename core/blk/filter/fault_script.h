/*
 * fault_script: the text of a fault script as rules (private to fault).
 * Thread rule: [any].
 */
#ifndef CORE_BLK_FILTER_FAULT_SCRIPT_H
#define CORE_BLK_FILTER_FAULT_SCRIPT_H

#include <stdbool.h>
#include <stdint.h>

#define FAULT_RULES_MAX 256

struct error;

enum fault_op {
	FAULT_READ = 1,
	FAULT_WRITE = 2,
	FAULT_ZEROES = 4,
	FAULT_DISCARD = 8,
	FAULT_FLUSH = 16,
	FAULT_TRUNCATE = 32,
	FAULT_ANY = 63
};

struct fault_rule {
	unsigned ops;
	bool has_range, immediately, after;
	uint64_t off, end; /* bytes */
	uint64_t skip, count;
	double probability;
	unsigned state, set_state; /* 0: any; none */
	int error;		   /* negative errno or 0 */
	uint64_t delay_ns;
	uint64_t seen, fired;
};

struct fault_script {
	struct fault_rule rules[FAULT_RULES_MAX];
	unsigned nr, seed;
};

/* 0, or -EINVAL with the line that is wrong; name is for the message. */
int fault_script_parse(const char *text, const char *name,
		       struct fault_script *out, struct error *e);

#endif
