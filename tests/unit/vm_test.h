/*
 * vm_test: making whole machines in tests and waiting for what they do.
 *
 * Thread rule: the test's thread only.
 */
#ifndef TESTS_UNIT_VM_TEST_H
#define TESTS_UNIT_VM_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/console.h"
#include "core/error.h"
#include "core/log.h"
#include "core/loop.h"
#include "core/vm.h"

#define VM_TEST_CPUS 16
/* Nothing takes so long on the slowest machine: who waits it out hangs. */
#define VM_WAIT_NS (240ull * 1000000000ull)

/* Ends the test program as skipped when there is no engine. */
static inline void vm_test_need_kvm(void)
{
	if (!access("/dev/kvm", R_OK | W_OK))
		return;
	printf("SKIP: /dev/kvm is missing or not open to this user\n");
	exit(77);
}

static inline struct vm *vm_test_create(const struct vm_config *cfg)
{
	struct error e = {0};
	struct vm *vm = vm_create(cfg, NULL, &e);

	if (!vm)
		fail_msg("%s", e.msg);
	return vm;
}

static inline void vm_test_do(struct vm *vm, enum vm_command_kind kind)
{
	struct vm_command cmd = {.kind = kind};
	struct error e = {0};

	if (vm_command_sync(vm, &cmd, &e))
		fail_msg("command %d: %s", (int)kind, e.msg);
}

static inline enum vm_state vm_test_state(struct vm *vm)
{
	struct vm_status s;

	vm_status_copy(vm, &s);
	return s.state;
}

/* ---- what a failure is understood from ---- */

static inline void vm_test_tell_screen(struct vm *vm)
{
	static struct console_text t;
	char row[CONSOLE_MAX_COLS + 1];
	int len;

	if (!console_copy_text(vm_console(vm), &t))
		return;
	for (int r = 0; r < t.rows; r++) {
		len = 0;
		for (int c = 0; c < t.cols; c++) {
			uint32_t ch = t.cells[r][c].ch;

			row[c] = ch >= ' ' && ch < 0x7f ? (char)ch : ' ';
			if (row[c] != ' ')
				len = c + 1;
		}
		if (len)
			fprintf(stderr, "screen %2d: %.*s\n", r, len, row);
	}
}

/* State, CPUs, screen and the ends of log and serial line, on stderr. */
static inline void vm_test_tell(struct vm *vm)
{
	static struct log_entry entries[40];
	static char tail[256 << 10];
	struct vm_vcpu_row cpus[VM_TEST_CPUS];
	uint64_t pos = 0, seq = log_seq(vm_log(vm));
	struct vm_status s;
	size_t n;

	vm_status_copy(vm, &s);
	fprintf(stderr, "state %d, %u resets, up %llu ms, '%s'\n", (int)s.state,
		s.resets, (unsigned long long)(s.uptime_ns / 1000000),
		s.message);
	n = vm_vcpus_copy(vm, cpus, VM_TEST_CPUS);
	for (size_t i = 0; i < n && i < VM_TEST_CPUS; i++)
		fprintf(stderr, "vcpu%zu: %s, %llu exits\n", i, cpus[i].state,
			(unsigned long long)cpus[i].exits);
	vm_test_tell_screen(vm);
	n = log_copy(vm_log(vm), seq > 40 ? seq - 40 : 0, entries, 40);
	for (size_t i = 0; i < n; i++)
		fprintf(stderr, "log: %s: %s\n", entries[i].source,
			entries[i].text);
	n = serial_line_read(vm_serial(vm, 0), &pos, tail, sizeof(tail) - 1);
	tail[n] = '\0';
	fprintf(stderr, "serial line: %s\n", n > 4000 ? tail + n - 4000 : tail);
}

#define VM_TEST_FAIL(vm, ...)                                                  \
	do {                                                                   \
		vm_test_tell(vm);                                              \
		fail_msg(__VA_ARGS__);                                         \
	} while (0)

/* Waits until a condition holds, which is looked at again and again. */
#define VM_TEST_UNTIL(vm, condition)                                           \
	do {                                                                   \
		uint64_t end_ = loop_now_ns() + VM_WAIT_NS;                    \
                                                                               \
		while (!(condition)) {                                         \
			if (loop_now_ns() > end_)                              \
				VM_TEST_FAIL(vm, "waited in vain until %s",    \
					     #condition);                      \
			usleep(5000);                                          \
		}                                                              \
	} while (0)

/* ---- waiting ---- */

static inline void vm_test_wait_state(struct vm *vm, enum vm_state state)
{
	uint64_t end = loop_now_ns() + VM_WAIT_NS;

	while (vm_test_state(vm) != state) {
		if (loop_now_ns() > end)
			VM_TEST_FAIL(vm, "waited in vain for state %d",
				     (int)state);
		usleep(20000);
	}
}

/* An entry of the log after number since. */
static inline bool vm_test_log_has(struct vm *vm, uint64_t since,
				   const char *what)
{
	static struct log_entry entries[1024];
	size_t n = log_copy(vm_log(vm), since, entries, 1024);

	for (size_t i = 0; i < n; i++)
		if (strstr(entries[i].text, what))
			return true;
	return false;
}

static inline void vm_test_wait_log(struct vm *vm, uint64_t since,
				    const char *what)
{
	uint64_t end = loop_now_ns() + VM_WAIT_NS;

	for (;;) {
		/* First: what it said last comes before its crash. */
		bool crashed = vm_test_state(vm) == VM_CRASHED;

		if (vm_test_log_has(vm, since, what))
			return;
		if (loop_now_ns() > end || crashed)
			VM_TEST_FAIL(vm, "waited in vain for '%s' in the log",
				     what);
		usleep(20000);
	}
}

/* Everything that the guest wrote to COM1, kept by the test. */
struct vm_test_serial {
	uint64_t pos;
	size_t len;
	char text[256 << 10];
};

static inline void vm_test_serial_read(struct vm *vm, struct vm_test_serial *s)
{
	size_t room = sizeof(s->text) - 1 - s->len;

	s->len += serial_line_read(vm_serial(vm, 0), &s->pos, s->text + s->len,
				   room);
	s->text[s->len] = '\0';
}

/* Waits until the guest wrote what, at or behind the from-th byte that is kept;
 * returns where it stands. */
static inline const char *vm_test_wait_serial_from(struct vm *vm,
						   struct vm_test_serial *s,
						   size_t from,
						   const char *what)
{
	uint64_t end = loop_now_ns() + VM_WAIT_NS;
	const char *at;

	for (;;) {
		bool crashed = vm_test_state(vm) == VM_CRASHED;

		vm_test_serial_read(vm, s);
		at = strstr(s->text + from, what);
		if (at)
			return at;
		if (loop_now_ns() > end || crashed)
			VM_TEST_FAIL(vm, "waited in vain for '%s' on serial",
				     what);
		usleep(5000);
	}
}

static inline const char *
vm_test_wait_serial(struct vm *vm, struct vm_test_serial *s, const char *what)
{
	return vm_test_wait_serial_from(vm, s, 0, what);
}

static inline bool vm_test_screen_has(struct vm *vm, const char *what)
{
	static struct console_text t;
	char row[CONSOLE_MAX_COLS + 1];

	if (!console_copy_text(vm_console(vm), &t))
		return false;
	for (int r = 0; r < t.rows; r++) {
		for (int c = 0; c < t.cols; c++)
			row[c] = (char)t.cells[r][c].ch;
		row[t.cols] = '\0';
		for (int c = 0; c < t.cols; c++)
			if (!strncmp(row + c, what, strlen(what)))
				return true;
	}
	return false;
}

static inline void vm_test_wait_screen(struct vm *vm, const char *what)
{
	uint64_t end = loop_now_ns() + VM_WAIT_NS;

	while (!vm_test_screen_has(vm, what)) {
		if (loop_now_ns() > end || vm_test_state(vm) == VM_CRASHED)
			VM_TEST_FAIL(vm,
				     "waited in vain for '%s' on the screen",
				     what);
		usleep(50000);
	}
}

#endif
