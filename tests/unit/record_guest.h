/*
 * record_guest: the demo guest in mode=power on a machine of a test: what its
 * disk promised it, what it finds after the power was cut.
 *
 * Thread rule: the test's thread only.
 */
#ifndef TESTS_UNIT_RECORD_GUEST_H
#define TESTS_UNIT_RECORD_GUEST_H

#include "tests/unit/vm_test.h"

#include "core/vm_power.h"

#define RECORD_GUEST_OPTIONS                                                   \
	"mode=power,text iops=400 slots=256 flush=8 hz=250 heartbeat=5000"

struct record_guest {
	struct vm *vm;
	struct vm_test_serial serial; /* since the last start */
	/* Numbers of records, all up to which ...: the disk has answered, it
	 * has promised to keep, are there after the cut. */
	uint64_t acked, stable, found;
	uint64_t promised; /* up to which, as the records themselves say */
	uint64_t lost;	   /* of those, by the guest's own reckoning */
	uint64_t torn;
};

/* A machine with one scratch disk on bus, over the image at path; not yet
 * running. */
static inline void record_guest_create(struct record_guest *g, const char *path,
				       const char *bus, const char *cache)
{
	struct vm_config c;
	struct vm_disk_config *d = &c.disks[0];

	vm_config_init(&c);
	c.mem = 64 << 20;
	c.nr_disks = 1;
	strcpy(c.kernel, DEMO_ELF);
	strcpy(c.append, RECORD_GUEST_OPTIONS);
	snprintf(d->path, sizeof(d->path), "%s", path);
	snprintf(d->bus, sizeof(d->bus), "%s", bus);
	snprintf(d->cache, sizeof(d->cache), "%s", cache);
	d->scratch = d->is_volatile = true;
	memset(g, 0, sizeof(*g));
	g->vm = vm_test_create(&c);
}

static inline uint64_t record_guest_number(const char *line, const char *name)
{
	const char *at = strstr(line, name);

	if (!at || at > line + strcspn(line, "\n"))
		fail_msg("no %s in '%.*s'", name, (int)strcspn(line, "\n"),
			 line);
	return strtoull(at + strlen(name), NULL, 10);
}

/* The last that it said whole before end: the cut may have come within a
 * line. */
static inline void record_guest_last(struct record_guest *g, const char *end)
{
	const char *at = g->serial.text;

	g->acked = g->stable = 0;
	for (; (at = strstr(at, "disk acked=")) && at < end; at++) {
		unsigned long long acked, stable;
		char last;

		if (sscanf(at, "disk acked=%llu stable=%llu%c", &acked, &stable,
			   &last) != 3 ||
		    last != '\r')
			continue;
		g->acked = acked;
		g->stable = stable;
	}
}

/* Returns when it has said what for the nr-th time since the last start, the
 * line whole. */
static inline const char *record_guest_wait(struct record_guest *g,
					    const char *what, unsigned nr)
{
	const char *at = g->serial.text, *end;

	for (;; nr--) {
		size_t from = (size_t)(at - g->serial.text);

		vm_test_wait_serial_from(g->vm, &g->serial, from, what);
		at = strstr(g->serial.text + from, what);
		end = vm_test_wait_serial_from(
			g->vm, &g->serial, (size_t)(at - g->serial.text), "\n");
		if (nr == 1)
			return at;
		at = end;
	}
}

/* Has it turn its disk's write cache off, and write on for some flushes. */
static inline void record_guest_cache_off(struct record_guest *g)
{
	const char *at;

	record_guest_wait(g, "ready", 1);
	assert_int_equal(serial_line_send(vm_serial(g->vm, 0), "c", 1), 1);
	at = record_guest_wait(g, "disk cache=off", 1);
	for (unsigned i = 0; i < 2; i++)
		at = vm_test_wait_serial_from(g->vm, &g->serial,
					      (size_t)(at + 1 - g->serial.text),
					      "disk wrote=");
}

/* Lets it work for some flushes, cuts the power, waits for what it finds then;
 * how: as VM_CMD_CUT_POWER's text. */
static inline void record_guest_cut(struct record_guest *g, const char *how)
{
	struct vm_command cmd = {.kind = VM_CMD_CUT_POWER};
	struct vm_test_serial *s = &g->serial;
	static const char start[] = "demo guest start";
	struct error e = {0};
	const char *line;
	size_t from;

	record_guest_wait(g, "ready", 1);
	record_guest_wait(g, "disk wrote=", 3);
	from = s->len;
	snprintf(cmd.text, sizeof(cmd.text), "%s", how);
	if (vm_command_sync(g->vm, &cmd, &e))
		VM_TEST_FAIL(g->vm, "cut %s: %s", how, e.msg);
	/* It may have been heard in the middle of its last word. */
	line = vm_test_wait_serial_from(g->vm, s, from, start);
	record_guest_last(g, line);
	from = (size_t)(line - s->text);
	s->len -= from;
	memmove(s->text, line, s->len + 1);
	line = record_guest_wait(g, "disk found=", 1);
	g->found = record_guest_number(line, "found=");
	g->promised = record_guest_number(line, "promised=");
	g->lost = record_guest_number(line, "lost=");
	g->torn = record_guest_number(line, "torn=");
	print_message("acked=%llu stable=%llu %.*s\n",
		      (unsigned long long)g->acked,
		      (unsigned long long)g->stable, (int)strcspn(line, "\r\n"),
		      line);
}

/* How many records less are there than were promised. */
static inline uint64_t record_guest_missing(const struct record_guest *g)
{
	return g->stable > g->found ? g->stable - g->found : 0;
}

#endif
