/* A machine's disks as front ends see them: media, locks, cache modes. */
#include "tests/unit/vm_test.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define DISK_LEN (8 << 20)

struct fixture {
	char dir[64], disk[96], cd[96];
};

static void make_file(char *path, size_t room, const char *dir,
		      const char *name)
{
	int fd;

	snprintf(path, room, "%s/%s", dir, name);
	fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, DISK_LEN), 0);
	close(fd);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	snprintf(f->dir, sizeof(f->dir), "/tmp/test_vm_disks.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	make_file(f->disk, sizeof(f->disk), f->dir, "disk.img");
	make_file(f->cd, sizeof(f->cd), f->dir, "cd.iso");
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	unlink(f->disk);
	unlink(f->cd);
	rmdir(f->dir);
	free(f);
	return 0;
}

static void add_disk(struct vm_config *c, const char *path, const char *bus,
		     const char *cache)
{
	struct vm_disk_config *d = &c->disks[c->nr_disks++];

	strcpy(d->bus, bus);
	snprintf(d->path, sizeof(d->path), "%s", path);
	snprintf(d->cache, sizeof(d->cache), "%s", cache);
}

static void small(struct vm_config *c)
{
	vm_config_init(c);
	c->mem = 64 << 20;
}

static int change(struct vm *vm, unsigned index, const char *path,
		  struct error *e)
{
	struct vm_command cmd = {.kind = VM_CMD_CHANGE_MEDIUM, .index = index};

	snprintf(cmd.text, sizeof(cmd.text), "%s", path);
	return vm_command_sync(vm, &cmd, e);
}

static void media_come_and_go(void **state)
{
	struct fixture *f = *state;
	static struct vm_disk_row rows[4];
	struct error e = {0};
	struct vm_config c;
	struct vm *vm;

	small(&c);
	add_disk(&c, f->disk, "virtio", "");
	add_disk(&c, "", "ahci", "");
	c.disks[1].cdrom = c.disks[1].readonly = true;
	vm = vm_test_create(&c);
	assert_int_equal(vm_disks_copy(vm, rows, 4), 2);
	assert_string_equal(rows[0].path, f->disk);
	assert_int_equal(rows[0].len, DISK_LEN);
	assert_true(rows[0].wce);
	assert_false(rows[0].cdrom);
	assert_true(rows[1].cdrom);
	assert_false(rows[1].has_medium);
	assert_int_equal(change(vm, 1, f->cd, &e), 0);
	vm_disks_copy(vm, rows, 4);
	assert_true(rows[1].has_medium);
	assert_true(rows[1].readonly);
	assert_int_equal(rows[1].len, DISK_LEN);
	assert_int_equal(change(vm, 1, "/nonexistent.iso", &e), -ENOENT);
	assert_non_null(strstr(e.msg, "/nonexistent.iso"));
	/* A disk that is written to is no CD at the same time. */
	assert_int_equal(change(vm, 1, f->disk, &e), -EBUSY);
	vm_disks_copy(vm, rows, 4);
	assert_string_equal(rows[1].path, f->cd);
	assert_int_equal(change(vm, 1, "", &e), 0);
	vm_disks_copy(vm, rows, 4);
	assert_false(rows[1].has_medium);
	assert_true(change(vm, 0, f->cd, &e) < 0);
	vm_destroy(vm);
}

static void an_image_has_one_writer(void **state)
{
	struct fixture *f = *state;
	struct error e = {0};
	struct vm_config c;
	struct vm *vm, *other;

	small(&c);
	add_disk(&c, f->disk, "virtio", "");
	vm = vm_test_create(&c);
	assert_null(vm_create(&c, NULL, &e));
	assert_non_null(strstr(e.msg, f->disk));
	assert_non_null(strstr(e.msg, "in use by another machine"));
	vm_destroy(vm);
	c.disks[0].readonly = true;
	vm = vm_test_create(&c);
	other = vm_test_create(&c);
	vm_destroy(other);
	vm_destroy(vm);
}

static void impossible_disks_are_refused(void **state)
{
	struct fixture *f = *state;
	struct error e = {0};
	struct vm_config c;

	small(&c);
	add_disk(&c, "/nonexistent.img", "virtio", "");
	assert_null(vm_create(&c, NULL, &e));
	assert_non_null(strstr(e.msg, "/nonexistent.img"));
	small(&c);
	add_disk(&c, f->disk, "virtio", "fast");
	assert_null(vm_create(&c, NULL, &e));
	assert_non_null(strstr(e.msg, "fast"));
}

/* A SATA controller has six ports. */
static void the_seventh_sits_on_a_second_controller(void **state)
{
	static struct vm_device_row rows[32];
	struct fixture *f = *state;
	unsigned nr, controllers = 0;
	struct error e = {0};
	struct vm_config c;
	struct vm *vm;

	small(&c);
	for (unsigned i = 0; i < 7; i++) {
		add_disk(&c, f->cd, "ahci", "");
		c.disks[i].readonly = true;
	}
	vm = vm_create(&c, NULL, &e);
	if (!vm)
		fail_msg("%s", e.msg);
	nr = vm_devices_copy(vm, rows, 32);
	for (unsigned i = 0; i < nr && i < 32; i++)
		controllers += !strcmp(rows[i].cls, "ahci");
	assert_int_equal(controllers, 2);
	vm_destroy(vm);
}

struct mode {
	const char *cache;
	bool wce;
};

/* Its driver can flush, but has no use for several queues. */
static void features_are_told(struct vm *vm)
{
	static struct vm_device_row rows[32];
	size_t nr = vm_devices_copy(vm, rows, 32);
	unsigned seen = 0;

	for (size_t i = 0; i < nr; i++) {
		if (strcmp(rows[i].cls, "virtio-blk-pci"))
			continue;
		for (unsigned j = 0; j < rows[i].nr_features; j++) {
			const struct device_feature *f = &rows[i].features[j];

			assert_true(f->offered);
			if (!strcmp(f->name, "F_FLUSH") && f->bit == 9)
				seen += f->accepted;
			if (!strcmp(f->name, "F_MQ") && f->bit == 12)
				seen += !f->accepted;
		}
	}
	assert_int_equal(seen, 2);
}

/* The demo guest writes and flushes records under every cache mode. */
static void a_guest_writes_in_every_mode(void **state)
{
	static const struct mode modes[] = {
		{"writeback", true},	 {"none", true},
		{"writethrough", false}, {"directsync", false},
		{"unsafe", true},
	};
	static struct vm_test_serial serial;
	static struct vm_disk_row row;
	struct fixture *f = *state;
	struct vm_config c;
	struct vm *vm;

	for (unsigned i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		small(&c);
		strcpy(c.kernel, DEMO_ELF);
		strcpy(c.append, "mode=disk heartbeat=200");
		add_disk(&c, f->disk, "virtio", modes[i].cache);
		memset(&serial, 0, sizeof(serial));
		vm = vm_test_create(&c);
		vm_test_do(vm, VM_CMD_RESUME);
		vm_test_wait_serial(vm, &serial, "disk wrote=");
		vm_test_do(vm, VM_CMD_PAUSE);
		assert_int_equal(vm_disks_copy(vm, &row, 1), 1);
		assert_string_equal(row.cache, modes[i].cache);
		assert_int_equal(row.wce, modes[i].wce);
		assert_true(row.writes > 0);
		assert_true(row.flushes > 0);
		assert_true(row.write_bytes > 0);
		assert_int_equal(row.errors, 0);
		features_are_told(vm);
		vm_destroy(vm);
	}
}

/* ---- jobs beside the guest ---- */

static int ask(struct vm *vm, const char *text, struct error *e)
{
	struct vm_command cmd = {.kind = VM_CMD_DISK};

	snprintf(cmd.text, sizeof(cmd.text), "%s", text);
	return vm_command_sync(vm, &cmd, e);
}

static void wait_for_job(struct vm *vm)
{
	static struct vm_disk_row row;

	VM_TEST_UNTIL(vm, (vm_disks_copy(vm, &row, 1),
			   !strcmp(row.job_state, "done") ||
				   !strcmp(row.job_state, "failed")));
	if (strcmp(row.job_state, "done"))
		VM_TEST_FAIL(vm, "%s %s: %s", row.job, row.job_state,
			     row.job_text);
}

static void shell(const char *fmt, const char *a, const char *b)
{
	char cmd[512];

	snprintf(cmd, sizeof(cmd), fmt, a, b);
	if (system(cmd))
		fail_msg("failed: %s", cmd);
}

static void jobs_run_beside_the_guest(void **state)
{
	static struct vm_test_serial serial;
	struct fixture *f = *state;
	char top[128], copy[128], text[160];
	struct error e = {0};
	struct vm_config c;
	struct vm *vm;

	if (system("command -v qemu-img >/dev/null")) {
		printf("SKIP: no qemu-img\n");
		skip();
	}
	snprintf(top, sizeof(top), "%s/top.qcow2", f->dir);
	snprintf(copy, sizeof(copy), "%s/copy.qcow2", f->dir);
	snprintf(text, sizeof(text), "mirror %s", copy);
	shell("qemu-img create -q -f qcow2 -b '%s' -F raw '%s'", f->disk, top);
	small(&c);
	strcpy(c.kernel, DEMO_ELF);
	strcpy(c.append, "mode=disk heartbeat=200");
	add_disk(&c, top, "virtio", "writeback");
	assert_null(vm_create(&c, NULL, &e));
	assert_non_null(strstr(e.msg, "format=qcow2"));
	strcpy(c.disks[0].format, "qcow2");
	memset(&serial, 0, sizeof(serial));
	vm = vm_test_create(&c);
	vm_test_do(vm, VM_CMD_RESUME);
	vm_test_wait_serial(vm, &serial, "disk wrote=");
	assert_int_equal(ask(vm, "cancel", &e), -ENOENT);
	assert_int_equal(ask(vm, "explode", &e), -EINVAL);
	assert_non_null(strstr(e.msg, "mirror"));
	if (ask(vm, text, &e))
		fail_msg("%s", e.msg);
	/* One at a time. */
	assert_true(ask(vm, "stream", &e) < 0);
	/* While the guest writes it need not become ready by itself. */
	assert_int_equal(ask(vm, "finish", &e), 0);
	wait_for_job(vm);
	assert_int_equal(ask(vm, "stream", &e), 0);
	wait_for_job(vm);
	vm_destroy(vm);
	shell("qemu-img check -q '%s' && qemu-img check -q '%s'", copy, top);
	shell("! qemu-img info '%s' | grep -q backing; rm '%s'", top, copy);
	unlink(top);
}

static void a_scratch_disk_keeps_its_image(void **state)
{
	struct fixture *f = *state;
	struct error e = {0};
	struct vm_config c;
	struct vm *vm;

	small(&c);
	add_disk(&c, f->disk, "virtio", "");
	c.disks[0].scratch = true;
	vm = vm_test_create(&c);
	assert_int_equal(ask(vm, "commit", &e), -EPERM);
	assert_non_null(strstr(e.msg, "scratch"));
	vm_destroy(vm);
}

/* Two copies of an export are the same, whatever the guest writes meanwhile. */
static void a_running_disk_is_exported(void **state)
{
	static struct vm_test_serial serial;
	struct fixture *f = *state;
	static struct vm_disk_row row;
	char export[160];
	uint64_t writes;
	struct error e = {0};
	struct vm_config c;
	struct vm *vm;

	if (system("command -v qemu-img >/dev/null")) {
		printf("SKIP: no qemu-img\n");
		skip();
	}
	snprintf(export, sizeof(export), "export nbd+unix:///?socket=%s/sock",
		 f->dir);
	small(&c);
	strcpy(c.kernel, DEMO_ELF);
	strcpy(c.append, "mode=disk heartbeat=200");
	add_disk(&c, f->disk, "virtio", "writeback");
	memset(&serial, 0, sizeof(serial));
	vm = vm_test_create(&c);
	vm_test_do(vm, VM_CMD_RESUME);
	vm_test_wait_serial(vm, &serial, "disk wrote=");
	assert_int_equal(ask(vm, "export nonsense", &e), -EINVAL);
	assert_int_equal(ask(vm, "end-export", &e), -ENOENT);
	if (ask(vm, export, &e))
		fail_msg("%s", e.msg);
	assert_int_equal(ask(vm, export, &e), -EBUSY);
	vm_disks_copy(vm, &row, 1);
	writes = row.writes;
	shell("cd '%s' && qemu-img convert -O raw "
	      "'nbd+unix:///?socket=%s/sock' first",
	      f->dir, f->dir);
	/* The guest has written since: what is exported stood still. */
	VM_TEST_UNTIL(vm, (vm_disks_copy(vm, &row, 1), row.writes > writes));
	shell("cd '%s' && qemu-img convert -O raw "
	      "'nbd+unix:///?socket=%s/sock' second",
	      f->dir, f->dir);
	shell("cd '%s' && cmp first second && ! cmp -s first '%s'", f->dir,
	      f->disk);
	assert_int_equal(ask(vm, "end-export", &e), 0);
	shell("cd '%s' && ! qemu-img info 'nbd+unix:///?socket=%s/sock' "
	      "2>/dev/null",
	      f->dir, f->dir);
	/* One that is left goes with the machine. */
	assert_int_equal(ask(vm, export, &e), 0);
	vm_destroy(vm);
	shell("cd '%s' && rm -f first second sock%s", f->dir, "");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(media_come_and_go),
		T(an_image_has_one_writer),
		T(impossible_disks_are_refused),
		T(the_seventh_sits_on_a_second_controller),
		T(a_guest_writes_in_every_mode),
		T(jobs_run_beside_the_guest),
		T(a_scratch_disk_keeps_its_image),
		T(a_running_disk_is_exported),
	};
	struct stat st;

	vm_test_need_kvm();
	if (stat(DEMO_ELF, &st)) {
		printf("SKIP: %s was not built\n", DEMO_ELF);
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
