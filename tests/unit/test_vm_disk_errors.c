/*
 * The host has no room for what the demo guest writes: the machine pauses, says
 * why, and goes on where it was when there is room; nothing is lost, and the
 * guest has noticed nothing.
 */
#include "tests/unit/vm_test.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "core/migration/state.h"
#include "core/vm_disks.h"
#include "core/vm_internal.h"

#define DISK_LEN (8 << 20)

static char folder[] = "/tmp/test_vm_disk_errors.XXXXXX";
static bool has_tmpfs;

/* ---- the host ---- */

/* Records begin at 1 MiB: behind the first 16 of them nothing can be written,
 * as on a host that gives errors. */
static void limit_files(bool on)
{
	struct rlimit now;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &now), 0);
	now.rlim_cur = on ? (1 << 20) + (64 << 10) : now.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &now), 0);
}

static void path_of(char *path, size_t room, const char *name)
{
	snprintf(path, room, "%s/%s", folder, name);
}

/* Leaves so much room on the file system. */
static void fill(off_t room)
{
	char path[VM_PATH_LEN];
	char *block = calloc(1, 4096);
	off_t len = 0;
	ssize_t n;
	int fd;

	path_of(path, sizeof(path), "filler");
	fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0600);
	assert_true(fd >= 0);
	while ((n = write(fd, block, 4096)) > 0)
		len += n;
	assert_int_equal(errno, ENOSPC);
	assert_true(len >= room);
	assert_int_equal(ftruncate(fd, len - room), 0);
	close(fd);
	free(block);
}

static void make_room(void)
{
	char path[VM_PATH_LEN];

	path_of(path, sizeof(path), "filler");
	assert_int_equal(unlink(path), 0);
}

/* ---- the machine ---- */

static struct vm *begin(const char *bus, const char *werror,
			struct vm_test_serial *s)
{
	struct vm_config c;
	struct vm *vm;
	int fd;

	vm_config_init(&c);
	c.mem = 64 << 20;
	c.nr_disks = 1;
	path_of(c.disks[0].path, sizeof(c.disks[0].path), "root.img");
	snprintf(c.disks[0].bus, sizeof(c.disks[0].bus), "%s", bus);
	snprintf(c.disks[0].werror, sizeof(c.disks[0].werror), "%s", werror);
	strcpy(c.kernel, DEMO_ELF);
	strcpy(c.append, "mode=power,text iops=400 slots=512 flush=8");
	fd = open(c.disks[0].path, O_CREAT | O_WRONLY | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, DISK_LEN), 0);
	close(fd);
	memset(s, 0, sizeof(*s));
	vm = vm_test_create(&c);
	return vm;
}

static const char *reason(struct vm *vm)
{
	static struct vm_status status;

	vm_status_copy(vm, &status);
	return status.reason;
}

static bool has_event(struct vm *vm, const char *text)
{
	static struct vm_event events[256];
	size_t n = vm_events(vm, 0, events, 256);

	for (size_t i = 0; i < n; i++)
		if (events[i].kind == VM_EVENT_STATE && events[i].code &&
		    events[i].state == VM_PAUSED &&
		    strstr(events[i].text, text))
			return true;
	return false;
}

static unsigned kept(struct vm *vm)
{
	static struct vm_disk_facts f;

	assert_true(vm_disk_facts_copy(vm, 0, &f));
	return f.kept;
}

static void wait_pause(struct vm *vm, const char *why)
{
	vm_test_wait_state(vm, VM_PAUSED);
	if (!strstr(reason(vm), why))
		VM_TEST_FAIL(vm, "it paused: '%s', not '%s'", reason(vm), why);
	VM_TEST_UNTIL(vm, has_event(vm, why));
	assert_true(kept(vm) > 0);
}

/* Goes on until the guest's records were flushed so often. */
static void work(struct vm *vm, struct vm_test_serial *s, int flushes)
{
	for (; flushes; flushes--) {
		size_t from = s->len;

		VM_TEST_UNTIL(vm, (vm_test_serial_read(vm, s),
				   strstr(s->text + from, "disk wrote=")));
	}
}

static unsigned long long last(const char *text, const char *name)
{
	unsigned long long n = 0;

	for (; (text = strstr(text, name)); text += strlen(name))
		n = strtoull(text + strlen(name), NULL, 10);
	return n;
}

/* What the next start finds is all that was promised. */
static void check_records(struct vm *vm, struct vm_test_serial *s)
{
	unsigned long long stable;
	const char *line;

	vm_test_do(vm, VM_CMD_PAUSE);
	vm_test_serial_read(vm, s);
	stable = last(s->text, " flushed=");
	assert_true(stable > 0);
	assert_null(strstr(s->text, "disk error"));
	s->len = 0;
	vm_test_do(vm, VM_CMD_RESET);
	vm_test_do(vm, VM_CMD_RESUME);
	line = vm_test_wait_serial(vm, s, "disk found=");
	vm_test_wait_serial(vm, s, "ready");
	line = strstr(s->text, "disk found=");
	print_message("flushed=%llu %.*s\n", stable, (int)strcspn(line, "\r\n"),
		      line);
	assert_true(last(line, "found=") >= stable);
	assert_int_equal(last(line, "torn="), 0);
	assert_int_equal(last(line, "lost="), 0);
}

/* ---- tests ---- */

static void a_full_file_system_pauses_the_machine(void **state)
{
	static struct vm_test_serial s;
	struct vm *vm;

	(void)state;
	if (!has_tmpfs) {
		print_message("SKIP: no tmpfs can be mounted here\n");
		skip();
	}
	vm = begin("virtio", "", &s);
	fill(0);
	vm_test_do(vm, VM_CMD_RESUME);
	wait_pause(vm, "disk0: write failed: No space left on device: make "
		       "room and resume");
	assert_null(strstr(s.text, "disk error"));
	/* Not enough: it pauses again, and tries all again after that. */
	make_room();
	fill(64 << 10);
	vm_test_do(vm, VM_CMD_RESUME);
	wait_pause(vm, "No space left on device");
	make_room();
	vm_test_do(vm, VM_CMD_RESUME);
	work(vm, &s, 3);
	assert_int_equal(vm_test_state(vm), VM_RUNNING);
	assert_string_equal(reason(vm), "");
	assert_int_equal(kept(vm), 0);
	check_records(vm, &s);
	vm_destroy(vm);
}

static void errors_pause_where_that_is_asked_for(void **state)
{
	static struct vm_test_serial s;
	struct vm *vm = begin("ahci", "stop", &s);

	(void)state;
	limit_files(true);
	vm_test_do(vm, VM_CMD_RESUME);
	wait_pause(vm, "disk0: write failed: File too large: put that right "
		       "and resume");
	limit_files(false);
	vm_test_do(vm, VM_CMD_RESUME);
	work(vm, &s, 3);
	check_records(vm, &s);
	vm_destroy(vm);
}

/* What QEMU calls enospc: of another error the guest is told. */
static void other_errors_are_told_to_the_guest(void **state)
{
	static struct vm_test_serial s;
	struct vm *vm = begin("virtio", "", &s);

	(void)state;
	limit_files(true);
	vm_test_do(vm, VM_CMD_RESUME);
	vm_test_wait_serial(vm, &s, "disk error status=1");
	limit_files(false);
	assert_int_equal(vm_test_state(vm), VM_RUNNING);
	vm_destroy(vm);
}

static void a_paused_machine_is_reset_and_ended(void **state)
{
	static struct vm_test_serial s;
	struct vm *vm = begin("virtio", "stop", &s);
	struct state_buf buf = {0};
	struct error e = {0};

	(void)state;
	limit_files(true);
	vm_test_do(vm, VM_CMD_RESUME);
	wait_pause(vm, "File too large");
	/* Kept requests would stay behind. */
	assert_int_equal(vm_state_save(vm, &buf, &e), -EBUSY);
	assert_non_null(strstr(e.msg, "File too large"));
	vm_test_do(vm, VM_CMD_RESET);
	assert_int_equal(kept(vm), 0);
	assert_string_equal(reason(vm), "");
	assert_int_equal(vm_test_state(vm), VM_PAUSED);
	if (vm_state_save(vm, &buf, &e))
		fail_msg("%s", e.msg);
	state_buf_fini(&buf);
	/* The next guest meets it too, and the plug may be pulled then. */
	vm_test_do(vm, VM_CMD_RESUME);
	wait_pause(vm, "File too large");
	vm_test_do(vm, VM_CMD_POWEROFF);
	assert_int_equal(kept(vm), 0);
	limit_files(false);
	s.len = 0;
	vm_test_do(vm, VM_CMD_RESUME);
	work(vm, &s, 1);
	limit_files(true);
	vm_test_wait_state(vm, VM_PAUSED);
	vm_destroy(vm);
	limit_files(false);
}

/* ---- the end ---- */

struct late {
	struct vm *vm;
	struct loop_work hold;
	int is_posted; /* atomic */
};

/* On the main loop: what is posted meanwhile comes later. */
static void hold(void *arg)
{
	struct late *late = arg;

	for (int i = 0; i < 60000; i++) {
		if (__atomic_load_n(&late->is_posted, __ATOMIC_ACQUIRE))
			return;
		usleep(1000);
	}
}

static void *post_late(void *arg)
{
	struct late *late = arg;

	/* The end of the machine is queued by then; where it is not, this
	 * proves nothing. */
	usleep(200000);
	vm_machine_request(&late->vm->m, MACHINE_POWEROFF, 0);
	loop_post(late->vm->m.main, &late->vm->disk_work);
	__atomic_store_n(&late->is_posted, 1, __ATOMIC_RELEASE);
	return NULL;
}

/* Nothing is left that they could be done to. */
static void wishes_and_troubles_at_the_end_come_too_late(void **state)
{
	static struct vm_test_serial s;
	struct vm *vm = begin("virtio", "", &s);
	struct late late = {.vm = vm, .hold = {.fn = hold, .arg = &late}};
	pthread_t thread;

	(void)state;
	vm_test_do(vm, VM_CMD_RESUME);
	loop_post(vm->m.main, &late.hold);
	assert_int_equal(pthread_create(&thread, NULL, post_late, &late), 0);
	vm_destroy(vm);
	pthread_join(thread, NULL);
}

/* ---- set-up ---- */

static bool mount_tmpfs(void)
{
	if (unshare(CLONE_NEWNS))
		return false;
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return false;
	return !mount("tmpfs", folder, "tmpfs", 0, "size=6m");
}

static int make_folder(void **state)
{
	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	if (!mkdtemp(folder))
		return -1;
	has_tmpfs = mount_tmpfs();
	return 0;
}

static int remove_folder(void **state)
{
	char path[VM_PATH_LEN];

	(void)state;
	path_of(path, sizeof(path), "root.img");
	unlink(path);
	if (has_tmpfs)
		umount(folder);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_full_file_system_pauses_the_machine),
		cmocka_unit_test(errors_pause_where_that_is_asked_for),
		cmocka_unit_test(other_errors_are_told_to_the_guest),
		cmocka_unit_test(a_paused_machine_is_reset_and_ended),
		cmocka_unit_test(wishes_and_troubles_at_the_end_come_too_late),
	};
	struct stat st;

	vm_test_need_kvm();
	if (stat(DEMO_ELF, &st)) {
		printf("SKIP: %s was not built\n", DEMO_ELF);
		return 77;
	}
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
