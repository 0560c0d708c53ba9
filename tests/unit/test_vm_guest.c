/* The demo guest in a machine: what it asks for happens, and nothing else. */
#include "core/vm_disk_bus.h"
#include "tests/unit/vm_test.h"

#include <sys/stat.h>

static struct vm_config demo(const char *append)
{
	struct vm_config c;

	vm_config_init(&c);
	c.mem = 64 << 20;
	c.debug_exit = true;
	strcpy(c.kernel, DEMO_ELF);
	strcpy(c.append, append);
	return c;
}

static struct vm *start(const struct vm_config *c, struct vm_test_serial *s)
{
	struct vm *vm = vm_test_create(c);

	memset(s, 0, sizeof(*s));
	vm_test_do(vm, VM_CMD_RESUME);
	vm_test_wait_serial(vm, s, "ready");
	return vm;
}

static void forget(struct vm_test_serial *s)
{
	s->len = 0;
	s->text[0] = '\0';
}

static void type(struct vm *vm, const char *keys)
{
	assert_int_equal(serial_line_send(vm_serial(vm, 0), keys, strlen(keys)),
			 strlen(keys));
}

static void a_triple_fault_is_explained(void **state)
{
	static struct vm_test_serial s;
	struct vm_config c = demo("mode=idle");
	struct vm_status status;
	struct vm_command cmd = {.kind = VM_CMD_RESUME};
	struct error e;
	struct vm *vm = start(&c, &s);

	(void)state;
	type(vm, "p");
	vm_test_wait_state(vm, VM_CRASHED);
	vm_status_copy(vm, &status);
	assert_non_null(strstr(status.message, "triple fault"));
	assert_non_null(strstr(status.message, "rip"));
	assert_true(vm_command_sync(vm, &cmd, &e) < 0);
	assert_non_null(strstr(e.msg, "reset"));
	/* A reset brings it back, kernel and all. */
	forget(&s);
	vm_test_do(vm, VM_CMD_RESET);
	vm_test_wait_serial(vm, &s, "ready");
	assert_int_equal(vm_test_state(vm), VM_RUNNING);
	vm_status_copy(vm, &status);
	assert_string_equal(status.message, "");
	vm_destroy(vm);
}

static void the_guest_can_end_in_every_way(void **state)
{
	static struct vm_test_serial s;
	struct vm_config c = demo("mode=idle exit=5");
	struct vm_status status;
	struct vm *vm = start(&c, &s);

	(void)state;
	forget(&s);
	type(vm, "r");
	vm_test_wait_serial(vm, &s, "ready");
	vm_status_copy(vm, &status);
	assert_int_equal(status.resets, 1);
	type(vm, "o");
	vm_test_wait_state(vm, VM_OFF);
	forget(&s);
	vm_test_do(vm, VM_CMD_RESUME);
	vm_test_wait_serial(vm, &s, "ready");
	type(vm, "e");
	vm_test_wait_state(vm, VM_OFF);
	vm_status_copy(vm, &status);
	assert_int_equal(status.exit_code, 5 << 1 | 1);
	vm_destroy(vm);
}

static void wild_accesses_do_no_harm(void **state)
{
	static struct vm_test_serial s;
	struct vm_config c = demo("mode=dirty");
	struct vm *vm = start(&c, &s);

	(void)state;
	type(vm, "x");
	vm_test_wait_serial(vm, &s, "wild done");
	type(vm, "v");
	vm_test_wait_serial(vm, &s, "verify ok");
	vm_destroy(vm);
}

static void pausing_stops_the_beat(void **state)
{
	static struct vm_test_serial s;
	struct vm_config c = demo("mode=dirty heartbeat=100");
	struct vm *vm = start(&c, &s);
	size_t len;

	(void)state;
	vm_test_wait_serial(vm, &s, "beat 3 ");
	vm_test_do(vm, VM_CMD_PAUSE);
	vm_test_serial_read(vm, &s);
	len = s.len;
	usleep(500000);
	vm_test_serial_read(vm, &s);
	assert_int_equal(s.len, len);
	vm_test_do(vm, VM_CMD_RESUME);
	vm_test_wait_serial(vm, &s, "beat 6 ");
	vm_destroy(vm);
}

static void more_cpus_and_memory_above_4g_work(void **state)
{
	static struct vm_test_serial s;
	struct vm_config c = demo("mode=dirty cpus=2");
	struct vm *vm;

	(void)state;
	c.cpus = 2;
	c.mem = 3ull << 30; /* 1 GiB of it above 4 GiB; touched sparsely */
	vm = start(&c, &s);
	vm_test_wait_serial(vm, &s, "machine cpus=2 of 2 ram=2047");
	vm_test_wait_serial(vm, &s, "cpu 1 apic=1");
	vm_destroy(vm);
}

/* A kernel that is started directly finds what a video BIOS would leave. */
static void the_display_starts_in_text_mode(void **state)
{
	struct vm_config c = demo("");
	struct vm *vm = vm_test_create(&c);
	struct console_viewer *viewer =
		console_viewer_create(vm_console(vm), 20);
	uint64_t end = loop_now_ns() + VM_WAIT_NS;
	struct console_info info;

	(void)state;
	do {
		usleep(20000);
		console_info(vm_console(vm), &info);
	} while (!info.is_text && loop_now_ns() < end);
	assert_true(info.is_text);
	assert_int_equal(info.cols, 80);
	assert_int_equal(info.rows, 25);
	assert_int_equal(info.height, 400);
	assert_true(vm_test_screen_has(vm, "        "));
	console_viewer_destroy(viewer);
	vm_destroy(vm);
}

/* Firmware starts the image from a disk on any bus, for it is the first: those
 * on the other buses hold nothing. */
static void boot_image(const struct vm_disk_bus *bus, const char *blank)
{
	static struct vm_test_serial s;
	const struct vm_disk_bus *other;
	struct vm_config c;
	struct vm *vm;

	vm_config_init(&c);
	c.mem = 64 << 20;
	c.nr_disks = 1;
	strcpy(c.disks[0].bus, bus->name);
	strcpy(c.disks[0].path, DEMO_IMG);
	for (size_t i = 0; (other = vm_disk_bus_at(i)); i++) {
		if (other == bus)
			continue;
		strcpy(c.disks[c.nr_disks].bus, other->name);
		strcpy(c.disks[c.nr_disks++].path, blank);
	}
	for (unsigned i = 0; i < c.nr_disks; i++)
		c.disks[i].scratch = true;
	vm = start(&c, &s);
	vm_test_wait_serial(vm, &s, "beat 2 ");
	vm_destroy(vm);
}

static void the_first_disk_boots_on_every_bus(void **state)
{
	char blank[] = "/tmp/binnacle-blank-XXXXXX";
	int fd = mkstemp(blank);
	const struct vm_disk_bus *bus;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	for (size_t i = 0; (bus = vm_disk_bus_at(i)); i++)
		boot_image(bus, blank);
	close(fd);
	unlink(blank);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_triple_fault_is_explained),
		cmocka_unit_test(the_guest_can_end_in_every_way),
		cmocka_unit_test(wild_accesses_do_no_harm),
		cmocka_unit_test(pausing_stops_the_beat),
		cmocka_unit_test(more_cpus_and_memory_above_4g_work),
		cmocka_unit_test(the_display_starts_in_text_mode),
		cmocka_unit_test(the_first_disk_boots_on_every_bus),
	};
	struct stat st;

	vm_test_need_kvm();
	if (stat(DEMO_ELF, &st)) {
		printf("SKIP: %s was not built\n", DEMO_ELF);
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
