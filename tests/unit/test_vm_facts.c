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
	VM_TEST_UNTIL(f->vm,
		      (vm_disk_facts_copy(f->vm, 0, out), out->looked_age_ns));
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

/* ---- what people do ---- */

static int order(struct fixture *f, const char *text, struct error *e)
{
	struct vm_command cmd = {.kind = VM_CMD_DISK};

	*e = (struct error){0};
	snprintf(cmd.text, sizeof(cmd.text), "%s", text);
	return vm_command_sync(f->vm, &cmd, e);
}

static void refused(struct fixture *f, const char *text, const char *word)
{
	struct error e;

	assert_true(order(f, text, &e) < 0);
	if (!strstr(e.msg, word))
		fail_msg("'%s': %s", text, e.msg);
}

static void done(struct fixture *f, const char *text)
{
	struct error e;

	if (order(f, text, &e))
		fail_msg("'%s': %s", text, e.msg);
}

/* The note of the last command that went well. */
static void last_note(struct fixture *f, char note[320])
{
	static struct vm_event events[64];
	size_t n = vm_events(f->vm, 0, events, 64);

	while (n && events[n - 1].kind != VM_EVENT_COMMAND_DONE)
		n--;
	assert_true(n > 0);
	strcpy(note, events[n - 1].text);
}

static void mistakes_are_explained(void **state)
{
	struct fixture *f = *state;

	make(f, "", false);
	refused(f, "dance", "flush");
	refused(f, "wce maybe", "wce on");
	refused(f, "resize", "resize SIZE");
	refused(f, "resize 1M", "only grow");
	refused(f, "resize much", "much");
	refused(f, "snapshot", "NAME");
	refused(f, "snapshot one", "raw image");
	refused(f, "overlay", "PATH");
	refused(f, "medium", "PATH");
	refused(f, "eject", "not a CD-ROM");
	refused(f, "throttle", "iops-total");
	refused(f, "throttle fast", "fast");
	make(f, "unsafe", false);
	refused(f, "flush", "ignores flushes");
	refused(f, "wce off", "ignores flushes");
}

static void the_write_cache_obeys_people(void **state)
{
	struct fixture *f = *state;
	struct vm_disk_facts facts;
	char note[320];

	make(f, "", false);
	done(f, "flush");
	done(f, "wce off");
	vm_disk_facts_copy(f->vm, 0, &facts);
	assert_false(facts.now.wce);
	assert_true(facts.wanted.wce);
	assert_int_equal(facts.nr_differs, 1);
	assert_non_null(strstr(facts.after[3].text, "every write"));
	last_note(f, note);
	assert_non_null(strstr(note, "each write is made stable"));
	done(f, "wce on");
	vm_disk_facts_copy(f->vm, 0, &facts);
	assert_true(facts.now.wce);
	assert_int_equal(facts.nr_differs, 0);
}

static void a_disk_grows_with_a_note(void **state)
{
	struct fixture *f = *state;
	struct vm_disk_facts facts;
	char note[320];

	make(f, "", false);
	done(f, "resize +1M");
	last_note(f, note);
	assert_non_null(strstr(note, "new length"));
	vm_disk_facts_copy(f->vm, 0, &facts);
	assert_int_equal(facts.len, DISK_LEN + (1 << 20));
	done(f, "resize 16M");
	vm_disk_facts_copy(f->vm, 0, &facts);
	assert_int_equal(facts.len, 16 << 20);
}

static void snapshots_are_listed(void **state)
{
	struct fixture *f = *state;
	struct vm_disk_facts facts;
	struct vm_disk_row row;
	char text[128], top[96];

	make(f, "", false);
	snprintf(top, sizeof(top), "%s.top", f->path);
	snprintf(text, sizeof(text), "overlay %s", top);
	done(f, text);
	assert_int_equal(vm_disks_copy(f->vm, &row, 1), 1);
	assert_string_equal(row.path, top);
	done(f, "snapshot one");
	done(f, "snapshot two");
	done(f, "delete-snapshot one");
	done(f, "throttle iops-total=1000");
	VM_TEST_UNTIL(f->vm, (vm_disk_facts_copy(f->vm, 0, &facts),
			      facts.nr_snapshots == 1 && *facts.throttle));
	assert_true(facts.can_snapshot);
	assert_int_equal(facts.nr_snapshots, 1);
	assert_string_equal(facts.snapshots[0].name, "two");
	assert_string_equal(facts.throttle, "iops-total=1000");
	assert_int_equal(facts.nr_files, 2);
	/* Nothing has run yet. */
	done(f, "apply-snapshot two");
	done(f, "throttle off");
	vm_test_do(f->vm, VM_CMD_RESUME);
	refused(f, "apply-snapshot two", "power it off");
	vm_test_do(f->vm, VM_CMD_POWEROFF);
	done(f, "apply-snapshot two");
	unlink(top);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(wanted_and_real_modes_agree),
		T(files_tell_of_the_page_cache),
		T(a_driver_that_has_not_started_is_known),
		T(mistakes_are_explained),
		T(the_write_cache_obeys_people),
		T(a_disk_grows_with_a_note),
		T(snapshots_are_listed),
	};

	vm_test_need_kvm();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
