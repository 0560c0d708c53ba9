/*
 * The power of running machines is cut: what the demo guest was told to be
 * stable it finds again, under unsafe it doesn't; machines with a disk that
 * can't bear it refuse.
 */
#include "tests/unit/record_guest.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define DISK_LEN (8 << 20)

static char disk_path[] = "/tmp/test_vm_power.XXXXXX";

static void config(struct vm_config *c, const char *bus, const char *cache)
{
	struct vm_disk_config *d = &c->disks[0];

	vm_config_init(c);
	c->mem = 64 << 20;
	c->nr_disks = 1;
	snprintf(d->path, sizeof(d->path), "%s", disk_path);
	snprintf(d->bus, sizeof(d->bus), "%s", bus);
	snprintf(d->cache, sizeof(d->cache), "%s", cache);
	d->scratch = d->is_volatile = true;
}

static int cut(struct vm *vm, const char *how, struct error *e)
{
	struct vm_command cmd = {.kind = VM_CMD_CUT_POWER};

	snprintf(cmd.text, sizeof(cmd.text), "%s", how);
	return vm_command_sync(vm, &cmd, e);
}

/* ---- a guest that counts ---- */

/* How many records less it finds than were promised. */
static uint64_t one_cut(struct record_guest *g, const char *how,
			const char *cache)
{
	record_guest_cut(g, how);
	assert_true(g->stable > 0 && g->stable <= g->acked);
	if (!strcmp(cache, "writethrough"))
		assert_int_equal(g->stable, g->acked);
	/* All that reached the disk arrives whole; tables of the overlay that
	 * were in our memory are lost all the same. */
	if (!strncmp(how, "all", 3))
		assert_int_equal(g->torn, 0);
	return record_guest_missing(g);
}

static void run(const char *cache, bool is_unsafe)
{
	static const char *const cuts[] = {"none 1", "all 2", "subset 3",
					   "torn 4"};
	static struct vm_power_cut facts;
	static struct record_guest g;
	uint64_t lost = 0;
	char text[256];

	record_guest_create(&g, disk_path, "virtio", cache);
	vm_test_do(g.vm, VM_CMD_RESUME);
	for (unsigned i = 0; i < 4; i++) {
		uint64_t missing = one_cut(&g, cuts[i], cache);
		const struct vm_cut_row *row = &facts.disks[0];

		vm_power_cut_copy(g.vm, &facts);
		assert_int_equal(facts.nr, i + 1);
		assert_int_equal(facts.seed, i + 1);
		assert_int_equal(facts.nr_disks, 1);
		assert_string_equal(row->name, "disk0");
		assert_string_equal(row->bus, "virtio");
		assert_string_equal(row->cache, cache);
		assert_true(row->promised > 0);
		assert_int_equal(row->no_promise, is_unsafe);
		print_message("%s\n", vm_power_cut_line(&facts, 2, text));
		if (!is_unsafe && (missing || row->is_broken))
			fail_msg("%s, cut %s: %llu records are missing; %s",
				 cache, cuts[i], (unsigned long long)missing,
				 row->verdict);
		if (missing && row->found == row->promised)
			fail_msg("the guest lost records, the table says: %s",
				 row->verdict);
		lost += missing;
		assert_int_equal(vm_test_state(g.vm), VM_RUNNING);
	}
	if (is_unsafe && !lost)
		fail_msg("nothing was lost under unsafe");
	vm_destroy(g.vm);
}

static void promises_are_kept(void **state)
{
	(void)state;
	run("writeback", false);
	run("writethrough", false);
}

static void unsafe_loses(void **state)
{
	(void)state;
	run("unsafe", true);
}

/* ---- who may ---- */

static void only_scratch_disks_bear_it(void **state)
{
	struct error e = {0};
	struct vm_config c;
	struct vm *vm;

	(void)state;
	vm_config_init(&c);
	assert_int_equal(vm_config_parse(&c,
					 "{\"disks\": [{\"path\": \"/d\", "
					 "\"scratch\": true, "
					 "\"volatile\": true}]}",
					 "/", &e),
			 0);
	assert_true(c.disks[0].is_volatile);
	config(&c, "virtio", "");
	c.disks[0].scratch = false;
	assert_null(vm_create(&c, NULL, &e));
	assert_non_null(strstr(e.msg, "scratch"));
	c.disks[0].is_volatile = false;
	vm = vm_test_create(&c);
	assert_int_equal(cut(vm, "all", &e), -EPERM);
	assert_non_null(strstr(e.msg, "disk0"));
	assert_non_null(strstr(e.msg, disk_path));
	vm_destroy(vm);
	c.disks[0].scratch = true;
	vm = vm_test_create(&c);
	assert_int_equal(cut(vm, "all", &e), -EPERM);
	assert_non_null(strstr(e.msg, "volatile"));
	vm_destroy(vm);
	c.nr_disks = 0;
	vm = vm_test_create(&c);
	assert_int_equal(cut(vm, "all", &e), -EINVAL);
	vm_destroy(vm);
}

static void a_cut_is_said_rightly(void **state)
{
	static struct vm_power_cut facts;
	struct error e = {0};
	struct vm_config c;
	struct vm *vm;

	(void)state;
	config(&c, "ahci", "");
	vm = vm_test_create(&c);
	vm_power_cut_copy(vm, &facts);
	assert_int_equal(facts.nr, 0);
	assert_int_equal(cut(vm, "half", &e), -EINVAL);
	assert_non_null(strstr(e.msg, "none, all, subset or torn"));
	assert_int_equal(cut(vm, "all x", &e), -EINVAL);
	/* A machine that rests goes on resting. */
	assert_int_equal(cut(vm, "subset", &e), 0);
	assert_int_equal(vm_test_state(vm), VM_PAUSED);
	vm_power_cut_copy(vm, &facts);
	assert_int_equal(facts.nr, 1);
	assert_string_equal(facts.disks[0].bus, "ahci");
	assert_int_equal(facts.disks[0].promised, 0);
	vm_test_do(vm, VM_CMD_POWEROFF);
	assert_int_equal(cut(vm, "all", &e), -EINVAL);
	vm_destroy(vm);
}

/* Firmware at work on each bus, with the cache mode that nobody chose. */
static void every_bus_bears_it(void **state)
{
	static const char *const buses[] = {"virtio", "ahci", "ide",
					    "scsi",   "nvme", "sd"};
	static struct vm_power_cut facts;
	struct error e = {0};
	struct vm_config c;
	struct vm *vm;

	(void)state;
	for (unsigned i = 0; i < sizeof(buses) / sizeof(buses[0]); i++) {
		config(&c, buses[i], "");
		vm = vm_test_create(&c);
		vm_test_do(vm, VM_CMD_RESUME);
		usleep(100000);
		if (cut(vm, "torn", &e))
			fail_msg("%s: %s", buses[i], e.msg);
		assert_int_equal(vm_test_state(vm), VM_RUNNING);
		vm_power_cut_copy(vm, &facts);
		assert_string_equal(facts.disks[0].bus, buses[i]);
		assert_string_equal(facts.disks[0].cache, "writeback");
		assert_false(facts.disks[0].is_broken);
		vm_destroy(vm);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(promises_are_kept),
		cmocka_unit_test(unsafe_loses),
		cmocka_unit_test(only_scratch_disks_bear_it),
		cmocka_unit_test(a_cut_is_said_rightly),
		cmocka_unit_test(every_bus_bears_it),
	};
	struct stat st;
	int fd, r;

	vm_test_need_kvm();
	if (stat(DEMO_ELF, &st)) {
		printf("SKIP: %s was not built\n", DEMO_ELF);
		return 77;
	}
	fd = mkstemp(disk_path);
	if (fd < 0 || ftruncate(fd, DISK_LEN))
		return 1;
	close(fd);
	r = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(disk_path);
	return r;
}
