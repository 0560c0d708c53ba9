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

#define VM_WAIT_NS (120ull * 1000000000ull)

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

static inline void vm_test_wait_state(struct vm *vm, enum vm_state state)
{
	uint64_t end = loop_now_ns() + VM_WAIT_NS;

	while (vm_test_state(vm) != state) {
		if (loop_now_ns() > end)
			fail_msg("waited in vain for state %d", (int)state);
		usleep(20000);
	}
}

/* Everything that the guest wrote to COM1, kept by the test. */
struct vm_test_serial {
	uint64_t pos;
	size_t len;
	char text[65536];
};

static inline void vm_test_serial_read(struct vm *vm, struct vm_test_serial *s)
{
	size_t room = sizeof(s->text) - 1 - s->len;

	s->len += serial_line_read(vm_serial(vm, 0), &s->pos, s->text + s->len,
				   room);
	s->text[s->len] = '\0';
}

/* Waits until the guest wrote what; returns where it stands. */
static inline const char *
vm_test_wait_serial(struct vm *vm, struct vm_test_serial *s, const char *what)
{
	uint64_t end = loop_now_ns() + VM_WAIT_NS;
	const char *at;

	for (;;) {
		vm_test_serial_read(vm, s);
		at = strstr(s->text, what);
		if (at)
			return at;
		if (loop_now_ns() > end || vm_test_state(vm) == VM_CRASHED)
			fail_msg("waited in vain for '%s' on serial:\n%s", what,
				 s->text);
		usleep(20000);
	}
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
			fail_msg("waited in vain for '%s' on the screen", what);
		usleep(50000);
	}
}

#endif
