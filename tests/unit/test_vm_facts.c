/* The facts of a machine's disks, as the Disks screen gets them. */
#include "tests/unit/vm_test.h"

#include <errno.h>
#include <fcntl.h>

#include "core/vm_disks.h"

#define DISK_LEN (8 << 20)

struct fixture {
	char path[64];
	struct vm *vm;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int fd;

	assert_non_null(f);
	strcpy(f->path, "/tmp/test_vm_facts.XXXXXX");
	fd = mkstemp(f->path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, DISK_LEN), 0);
	close(fd);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	vm_destroy(f->vm);
	unlink(f->path);
	free(f);
	return 0;
}

static void make(struct fixture *f, const char *cache, bool readonly)
{
	struct vm_disk_config *d;
	struct vm_config c;

	vm_destroy(f->vm);
	vm_config_init(&c);
	c.mem = 64 << 20;
	d = &c.disks[c.nr_disks++];
	strcpy(d->bus, "virtio");
	strcpy(d->cache, cache);
	strcpy(d->path, f->path);
	d->readonly = readonly;
	d->max_unflushed_s = strcmp(cache, "unsafe") ? 30 : 0;
	f->vm = vm_test_create(&c);
}

/* When the files have been looked at. */
static void wait_for_facts(struct fixture *f, struct vm_disk_facts *out)
{
	for (int i = 0; i < 10000; i++) {
		assert_true(vm_disk_facts_copy(f->vm, 0, out));
		if (out->looked_age_ns)
			return;
		usleep(1000);
	}
	fail_msg("nobody looks");
}

static void wanted_and_real_modes_agree(void **state)
{
	static const struct {
		const char *cache, *really;
		bool direct, wce, no_flush, bad;
	} rows[] = {
		{"", "writeback", false, true, false, false},
		{"none", "none", true, true, false, false},
		{"writethrough", "writethrough", false, false, false, false},
		{"directsync", "directsync", true, false, false, false},
		{"unsafe", "unsafe", false, true, true, true},
	};
	struct fixture *f = *state;
	struct vm_disk_facts facts;

	for (unsigned i = 0; i < 5; i++) {
		make(f, rows[i].cache, false);
		wait_for_facts(f, &facts);
		assert_string_equal(facts.wanted.cache, rows[i].really);
		assert_string_equal(facts.now.cache, rows[i].really);
		assert_string_equal(facts.now.aio, "threads");
		assert_int_equal(facts.now.direct, rows[i].direct);
		assert_int_equal(facts.now.wce, rows[i].wce);
		assert_int_equal(facts.now.no_flush, rows[i].no_flush);
		assert_int_equal(facts.nr_differs, 0);
		assert_int_equal(facts.after[3].bad, rows[i].bad);
		assert_int_equal(facts.max_unflushed_age_ns,
				 rows[i].no_flush ? 0 : 30000000000ull);
	}
}

static void files_tell_of_the_page_cache(void **state)
{
	struct fixture *f = *state;
	struct vm_disk_facts facts;

	make(f, "", false);
	wait_for_facts(f, &facts);
	assert_int_equal(facts.nr_files, 1);
	assert_string_equal(facts.files[0].path, f->path);
	assert_true(facts.files[0].writable);
	assert_true(facts.cache_known);
	assert_true(*facts.cache_source);
	assert_int_equal(facts.len, DISK_LEN);
	assert_false(facts.can_snapshot);
	make(f, "", true);
	wait_for_facts(f, &facts);
	assert_true(facts.readonly);
	assert_false(facts.files[0].writable);
}

static void a_driver_that_has_not_started_is_known(void **state)
{
	struct fixture *f = *state;
	struct vm_disk_facts facts;

	make(f, "", false);
	assert_true(vm_disk_facts_copy(f->vm, 0, &facts));
	assert_string_equal(facts.device, "virtio-blk-pci");
	assert_true(facts.driver_known);
	assert_false(facts.driver.started);
	assert_non_null(strstr(facts.driver.offered, "FLUSH"));
	assert_false(vm_disk_facts_copy(f->vm, 1, &facts));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(wanted_and_real_modes_agree),
		T(files_tell_of_the_page_cache),
		T(a_driver_that_has_not_started_is_known),
	};

	vm_test_need_kvm();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
