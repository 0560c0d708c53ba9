/* Machines come, obey, tell and go. */
#include "tests/unit/vm_test.h"

#include <errno.h>

static struct vm_config small(void)
{
	struct vm_config c;

	vm_config_init(&c);
	c.mem = 64 << 20;
	return c;
}

static void machines_come_and_go(void **state)
{
	struct vm_config c = small();
	struct vm *vms[3];

	(void)state;
	for (int i = 0; i < 3; i++) {
		c.cpus = (unsigned)i + 1;
		vms[i] = vm_test_create(&c);
		assert_int_equal(vm_test_state(vms[i]), VM_PAUSED);
	}
	for (int i = 0; i < 3; i++)
		vm_test_do(vms[i], VM_CMD_RESUME);
	for (int i = 0; i < 3; i++)
		assert_int_equal(vm_test_state(vms[i]), VM_RUNNING);
	/* One of them goes while the others run on. */
	vm_destroy(vms[1]);
	vm_test_do(vms[0], VM_CMD_PAUSE);
	vm_destroy(vms[0]);
	vm_destroy(vms[2]);
	vm_destroy(NULL);
}

static void what_cannot_be_built_says_why(void **state)
{
	struct vm_config c = small();
	struct error e = {0};

	(void)state;
	strcpy(c.kernel, "/nonexistent/vmlinuz");
	assert_null(vm_create(&c, NULL, &e));
	assert_non_null(strstr(e.msg, "/nonexistent/vmlinuz"));
	c = small();
	strcpy(c.firmware, "/dev/null");
	assert_null(vm_create(&c, NULL, &e));
	assert_non_null(strstr(e.msg, "/dev/null"));
	c = small();
	c.cpus = 17;
	assert_null(vm_create(&c, NULL, &e));
	assert_non_null(strstr(e.msg, "allowed: 1 to 16"));
	c = small();
	c.nr_disks = 1;
	strcpy(c.disks[0].path, "/nonexistent/disk.img");
	assert_null(vm_create(&c, NULL, &e));
	assert_non_null(strstr(e.msg, "/nonexistent/disk.img"));
}

static void commands_move_between_states(void **state)
{
	struct vm_config c = small();
	struct vm *vm = vm_test_create(&c);
	struct vm_command cmd = {.kind = VM_CMD_POWERDOWN};
	struct vm_event ev[64];
	struct vm_status s;
	struct error e = {0};
	uint64_t id;
	size_t n;

	(void)state;
	assert_true(vm_command_sync(vm, &cmd, &e) < 0);
	assert_non_null(strstr(e.msg, "paused"));
	vm_test_do(vm, VM_CMD_RESUME);
	vm_test_do(vm, VM_CMD_RESUME);
	vm_test_do(vm, VM_CMD_RESET);
	vm_test_do(vm, VM_CMD_PAUSE);
	vm_status_copy(vm, &s);
	assert_int_equal(s.state, VM_PAUSED);
	assert_int_equal(s.resets, 1);
	assert_int_equal(s.exit_code, -1);
	vm_test_do(vm, VM_CMD_RESET);
	assert_int_equal(vm_test_state(vm), VM_PAUSED);
	vm_test_do(vm, VM_CMD_POWEROFF);
	assert_int_equal(vm_test_state(vm), VM_OFF);
	cmd.kind = VM_CMD_RESET;
	assert_true(vm_command_sync(vm, &cmd, &e) < 0);
	cmd.kind = VM_CMD_PAUSE;
	assert_true(vm_command_sync(vm, &cmd, &e) < 0);
	cmd.kind = VM_CMD_CHANGE_MEDIUM;
	assert_true(vm_command_sync(vm, &cmd, &e) < 0);
	cmd.kind = 99;
	assert_true(vm_command_sync(vm, &cmd, &e) < 0);
	cmd.kind = VM_CMD_RESUME;
	id = vm_command(vm, &cmd);
	vm_test_wait_state(vm, VM_RUNNING);
	/* Its event follows the change of state. */
	VM_TEST_UNTIL(vm, (n = vm_events(vm, 0, ev, 64)) &&
				  ev[n - 1].kind == VM_EVENT_COMMAND_DONE);
	assert_int_equal(ev[n - 1].command, id);
	assert_int_equal(ev[n - 1].state, VM_RUNNING);
	for (size_t i = 1; i < n; i++)
		assert_int_equal(ev[i].seq, ev[i - 1].seq + 1);
	vm_destroy(vm);
}

static void snapshots_are_sane(void **state)
{
	struct vm_config c = small();
	struct vm_device_row devices[32];
	struct vm_mem_row rows[64];
	struct vm_mem_event events[64];
	struct vm_vcpu_row cpus[4];
	struct vm_disk_row disks[4];
	struct vm_status s;
	struct vm *vm;
	size_t n;
	bool ram = false;

	(void)state;
	c.cpus = 2;
	vm = vm_test_create(&c);
	vm_test_do(vm, VM_CMD_RESUME);
	VM_TEST_UNTIL(vm, (vm_status_copy(vm, &s), s.exits > 0));
	n = vm_devices_copy(vm, devices, 32);
	assert_true(n >= 8);
	assert_int_equal(vm_devices_copy(vm, devices, 3), 3);
	assert_string_equal(devices[0].name, "mch");
	assert_string_equal(devices[0].place, "00:00.0");
	assert_int_equal(devices[0].vendor, 0x8086);
	n = vm_memory_copy(vm, VM_MEM_BLOCK, rows, 64);
	for (size_t i = 0; i < n; i++)
		if (!strcmp(rows[i].name, "pc.ram"))
			ram = rows[i].len == c.mem;
	assert_true(ram);
	assert_true(vm_memory_copy(vm, VM_MEM_REGION, rows, 64) > 10);
	assert_true(vm_memory_copy(vm, VM_MEM_SLOT, rows, 64) > 1);
	assert_true(vm_memory_events(vm, 0, events, 64) > 1);
	assert_int_equal(vm_vcpus_copy(vm, cpus, 4), 2);
	assert_string_equal(cpus[0].state, "running");
	assert_int_equal(vm_disks_copy(vm, disks, 4), 0);
	vm_status_copy(vm, &s);
	assert_string_equal(s.name, "machine");
	assert_int_equal(s.cpus, 2);
	assert_true(s.uptime_ns > 0 && s.exits > 0);
	assert_null(vm_serial(vm, 1));
	assert_non_null(vm_serial(vm, 0));
	vm_destroy(vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(machines_come_and_go),
		cmocka_unit_test(what_cannot_be_built_says_why),
		cmocka_unit_test(commands_move_between_states),
		cmocka_unit_test(snapshots_are_sane),
	};

	vm_test_need_kvm();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
