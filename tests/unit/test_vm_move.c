/*
 * A running guest is stopped, all its state goes into a fresh machine of the
 * same process, and it goes on there as if nothing had happened.
 */
#include "tests/unit/vm_test.h"

#include <errno.h>
#include <fcntl.h>

#include "core/migration/state.h"
#include "core/vm_internal.h"

#define DISK_LEN (8 << 20)

static struct vm_config demo(const char *append)
{
	struct vm_config c;

	vm_config_init(&c);
	c.mem = 64 << 20;
	strcpy(c.kernel, DEMO_ELF);
	strcpy(c.append, append);
	return c;
}

static unsigned last_beat(const struct vm_test_serial *s)
{
	const char *at = s->text, *line = NULL;

	while ((at = strstr(at, "beat "))) {
		if (!strchr(at, '\n'))
			break;
		line = at++;
	}
	return line ? (unsigned)atoi(line + 5) : 0;
}

static void wait_beat(struct vm *vm, struct vm_test_serial *s, unsigned n)
{
	char text[32];

	snprintf(text, sizeof(text), "beat %u ", n);
	vm_test_wait_serial(vm, s, text);
}

/* Pauses from, moves everything into to. */
static void move(struct vm *from, struct vm *to)
{
	struct state_buf buf = {0};
	struct error e = {0};

	vm_test_do(from, VM_CMD_PAUSE);
	if (vm_state_save(from, &buf, &e) || vm_ram_copy(to, from, &e) ||
	    vm_state_load(to, &buf, &e))
		fail_msg("%s", e.msg);
	assert_true(buf.len > 1000);
	state_buf_fini(&buf);
}

static void copy_file(const char *from, const char *to)
{
	char buf[65536];
	int in = open(from, O_RDONLY), out = open(to, O_WRONLY);
	ssize_t n;

	assert_true(in >= 0 && out >= 0);
	while ((n = read(in, buf, sizeof(buf))) > 0)
		assert_int_equal(write(out, buf, (size_t)n), n);
	close(in);
	close(out);
}

static void make_disk(char *path)
{
	int fd;

	strcpy(path, "/tmp/binnacle-move-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, DISK_LEN), 0);
	close(fd);
}

/* Two moves, with the guest working before, between and after. */
static void travel(const struct vm_config *config, bool with_disk)
{
	static struct vm_test_serial s, t;
	struct vm_config c = *config;
	char disks[3][VM_PATH_LEN];
	struct vm *vm, *next;
	unsigned beat;

	memset(&s, 0, sizeof(s));
	for (int i = 0; with_disk && i < 3; i++)
		make_disk(disks[i]);
	c.nr_disks = with_disk;
	if (with_disk)
		strcpy(c.disks[0].path, disks[0]);
	vm = vm_test_create(&c);
	vm_test_do(vm, VM_CMD_RESUME);
	wait_beat(vm, &s, 4);
	for (int hop = 1; hop < 3; hop++) {
		if (with_disk)
			strcpy(c.disks[0].path, disks[hop]);
		next = vm_test_create(&c);
		move(vm, next);
		if (with_disk)
			copy_file(disks[hop - 1], disks[hop]);
		vm_test_serial_read(vm, &s);
		beat = last_beat(&s);
		assert_true(beat >= 4);
		vm_destroy(vm);
		vm = next;
		/* What was half written at the move comes out whole. */
		memset(&t, 0, sizeof(t));
		vm_test_do(vm, VM_CMD_RESUME);
		wait_beat(vm, &t, beat + 2);
		wait_beat(vm, &t, beat + 5);
		assert_null(strstr(t.text, "start options"));
		assert_null(strstr(t.text, "panic"));
		assert_null(strstr(t.text, "disk error"));
		if (with_disk)
			vm_test_wait_serial(vm, &t, "flushed=");
		assert_int_equal(serial_line_send(vm_serial(vm, 0), "v", 1), 1);
		vm_test_wait_serial(vm, &t, "verify ok");
		vm_test_wait_serial(vm, &t, "\r\n");
		s = t;
	}
	vm_destroy(vm);
	for (int i = 0; with_disk && i < 3; i++)
		unlink(disks[i]);
}

static void one_cpu_goes_on(void **state)
{
	struct vm_config c = demo("mode=dirty heartbeat=200 rate=400");

	(void)state;
	travel(&c, false);
}

static void two_cpus_and_legacy_interrupts_go_on(void **state)
{
	struct vm_config c =
		demo("mode=dirty heartbeat=200 cpus=2 timer=pit irq=pic");

	(void)state;
	c.cpus = 2;
	travel(&c, false);
}

static void a_guest_that_writes_its_disk_goes_on(void **state)
{
	struct vm_config c = demo("mode=dirty,disk,draw heartbeat=200");

	(void)state;
	travel(&c, true);
}

static void firmware_in_the_middle_goes_on(void **state)
{
	struct console_viewer *viewer;
	struct vm_config c;
	struct vm *a, *b;

	(void)state;
	vm_config_init(&c);
	c.mem = 64 << 20;
	a = vm_test_create(&c);
	b = vm_test_create(&c);
	viewer = console_viewer_create(vm_console(a), 10);
	vm_test_do(a, VM_CMD_RESUME);
	vm_test_wait_screen(a, "Press ESC");
	console_viewer_destroy(viewer);
	move(a, b);
	vm_destroy(a);
	viewer = console_viewer_create(vm_console(b), 10);
	vm_test_do(b, VM_CMD_RESUME);
	vm_test_wait_screen(b, "No bootable device.");
	assert_true(vm_test_screen_has(b, "SeaBIOS (version "));
	console_viewer_destroy(viewer);
	vm_destroy(b);
}

static void wrong_or_damaged_state_is_refused(void **state)
{
	struct vm_config c = demo("mode=idle");
	struct vm *a = vm_test_create(&c), *b, *other;
	struct state_buf buf = {0}, bad;
	struct error e = {0};
	unsigned seed = 5;

	(void)state;
	b = vm_test_create(&c);
	c.cpus = 2;
	other = vm_test_create(&c);
	assert_int_equal(vm_state_save(a, &buf, &e), 0);
	assert_int_equal(vm_state_load(other, &buf, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "another machine"));
	for (int i = 0; i < 300; i++) {
		bad = (struct state_buf){.data = malloc(buf.len),
					 .len = buf.len};
		memcpy(bad.data, buf.data, buf.len);
		if (i % 3 == 0)
			bad.len = (unsigned)rand_r(&seed) % buf.len;
		for (int k = 0; k < i % 3 * 4; k++)
			bad.data[(unsigned)rand_r(&seed) % bad.len] =
				(uint8_t)rand_r(&seed);
		if (vm_state_load(b, &bad, &e))
			assert_true(strlen(e.msg) > 10);
		else
			assert_int_not_equal(i % 3, 0);
		state_buf_fini(&bad);
	}
	vm_test_do(a, VM_CMD_RESUME);
	assert_int_equal(vm_state_save(a, &buf, &e), -EBUSY);
	state_buf_fini(&buf);
	vm_destroy(a);
	vm_destroy(b);
	vm_destroy(other);
}

/* The guest that was replaced wanted to end; the new one does not. */
static void the_old_guests_wishes_go_with_it(void **state)
{
	struct vm_config c = demo("mode=text");
	struct vm *a = vm_test_create(&c), *b = vm_test_create(&c);

	(void)state;
	vm_machine_request(&b->m, MACHINE_POWEROFF, 0);
	move(a, b);
	/* A wish is looked at between these two. */
	vm_test_do(b, VM_CMD_RESUME);
	vm_test_do(b, VM_CMD_PAUSE);
	assert_int_equal(vm_test_state(b), VM_PAUSED);
	vm_destroy(a);
	vm_destroy(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_cpu_goes_on),
		cmocka_unit_test(two_cpus_and_legacy_interrupts_go_on),
		cmocka_unit_test(a_guest_that_writes_its_disk_goes_on),
		cmocka_unit_test(firmware_in_the_middle_goes_on),
		cmocka_unit_test(wrong_or_damaged_state_is_refused),
		cmocka_unit_test(the_old_guests_wishes_go_with_it),
	};

	vm_test_need_kvm();
	if (access(DEMO_ELF, R_OK)) {
		printf("SKIP: %s was not built\n", DEMO_ELF);
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
