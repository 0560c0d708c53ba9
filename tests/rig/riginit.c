/*
 * riginit: process 1 of the nested rig's outer machine.
 *
 * It loads the modules that the initramfs lists, puts the root for the command
 * together (an overlay: the payload over busybox over, when asked for, the
 * reference disk), runs /rigcmd of the payload with a shell and reports over
 * three virtio-serial ports: rig.io gets what the command prints, rig.st one
 * line "exit STATUS ..." when it is done, rig.out a tar of /out.  A fourth,
 * rig.tick, brings an interrupt every second (`run` says why).
 *
 * Static, and without a shell for its own work, so that nothing in the payload
 * can break it. What goes wrong is said on the console, which `run` shows when
 * no status arrives.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ROOT	    "/r"
#define POLL_US	    5000
#define POLL_TRIES  2000
#define DISK_SERIAL "rigbase"

struct ports {
	int io;
	int status;
};

static void complain(const char *what)
{
	fprintf(stderr, "riginit: %s: %s\n", what, strerror(errno));
}

static double seconds_since_boot(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return now.tv_sec + now.tv_nsec * 1e-9;
}

static void mount_at(const char *source, const char *target, const char *type,
		     const char *options)
{
	mkdir(target, 0755);
	if (mount(source, target, type, 0, options) && errno != EBUSY)
		complain(target);
}

/* Reads a small file as one line; an empty string when there is none. */
static void read_line(const char *path, char *line, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? 0 : read(fd, line, size - 1);

	if (fd >= 0)
		close(fd);
	line[got < 0 ? 0 : got] = 0;
	line[strcspn(line, "\n")] = 0;
}

static bool cmdline_has(const char *word)
{
	char cmdline[4096];

	read_line("/proc/cmdline", cmdline, sizeof(cmdline));
	return strstr(cmdline, word) != NULL;
}

static void use_console(void)
{
	int fd = open("/dev/console", O_RDWR);

	if (fd < 0)
		return;
	for (int i = 0; i < 3; i++)
		dup2(fd, i);
	if (fd > 2)
		close(fd);
}

static void load_module(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0) {
		complain(path);
		return;
	}
	if (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST)
		complain(path);
	close(fd);
}

static void load_modules(const char *list)
{
	FILE *file = fopen(list, "r");
	char path[512];

	if (!file) {
		complain(list);
		return;
	}
	while (fgets(path, sizeof(path), file)) {
		path[strcspn(path, "\n")] = 0;
		load_module(path);
	}
	fclose(file);
}

static bool mount_disk_if_ours(char letter, const char *target)
{
	char path[64];
	char serial[32];

	snprintf(path, sizeof(path), "/sys/block/vd%c/serial", letter);
	read_line(path, serial, sizeof(serial));
	if (strcmp(serial, DISK_SERIAL))
		return false;
	snprintf(path, sizeof(path), "/dev/vd%c", letter);
	return !mount(path, target, "ext4", MS_RDONLY, "noload");
}

/* The disk is found by its serial number: callers may add disks of their own.
 */
static void mount_reference_disk(const char *target)
{
	mkdir(target, 0755);
	for (int i = 0; i < POLL_TRIES; i++) {
		for (char letter = 'a'; letter <= 'z'; letter++)
			if (mount_disk_if_ours(letter, target))
				return;
		usleep(POLL_US);
	}
	complain("reference disk");
}

static void build_root(void)
{
	char options[256];
	bool disk = cmdline_has("rig.disk=1");

	if (disk)
		mount_reference_disk("/q");
	mount_at("tmpfs", "/up", "tmpfs", "mode=755");
	mkdir("/up/upper", 0755);
	mkdir("/up/work", 0755);
	snprintf(
		options, sizeof(options),
		"lowerdir=/payload:/base%s,upperdir=/up/upper,workdir=/up/work",
		disk ? ":/q" : "");
	mount_at("overlay", ROOT, "overlay", options);
	mount_at("devtmpfs", ROOT "/dev", "devtmpfs", NULL);
	mount_at("proc", ROOT "/proc", "proc", NULL);
	mount_at("sysfs", ROOT "/sys", "sysfs", NULL);
	mount_at("tmpfs", ROOT "/tmp", "tmpfs", "mode=1777");
	mount_at("tmpfs", ROOT "/run", "tmpfs", NULL);
	mount_at("devpts", ROOT "/dev/pts", "devpts", NULL);
	mount_at("tmpfs", ROOT "/dev/shm", "tmpfs", "mode=1777");
	mkdir(ROOT "/out", 0777);
}

static void bring_up_loopback(void)
{
	struct ifreq request = {.ifr_name = "lo"};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	request.ifr_flags = IFF_UP | IFF_RUNNING;
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request))
		complain("lo");
	if (fd >= 0)
		close(fd);
}

/* Opens the device of a virtio-serial port that bears this name, or -1. */
static int open_port_once(const char *wanted, int flags)
{
	DIR *folder = opendir("/sys/class/virtio-ports");
	struct dirent *entry;
	char path[600];
	char name[128];
	int fd = -1;

	while (folder && fd < 0 && (entry = readdir(folder))) {
		snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name",
			 entry->d_name);
		read_line(path, name, sizeof(name));
		snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
		if (!strcmp(name, wanted))
			fd = open(path, flags);
	}
	if (folder)
		closedir(folder);
	return fd;
}

static int open_port(const char *wanted, int flags)
{
	for (int i = 0; i < POLL_TRIES; i++) {
		int fd = open_port_once(wanted, flags);

		if (fd >= 0)
			return fd;
		usleep(POLL_US);
	}
	complain(wanted);
	return -1;
}

/* A port whose bytes nobody takes brings no interrupts. */
static void take_ticks(void)
{
	int fd = open_port("rig.tick", O_RDONLY | O_CLOEXEC);
	char bytes[64];

	if (fork())
		return;
	while (read(fd, bytes, sizeof(bytes)) > 0)
		;
	_exit(0);
}

static void run_command(int io)
{
	setsid();
	dup2(open("/dev/null", O_RDONLY | O_CLOEXEC), 0);
	dup2(io, 1);
	dup2(io, 2);
	if (chroot(ROOT) || chdir("/")) {
		complain("chroot");
		_exit(126);
	}
	setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
	setenv("HOME", "/tmp", 1);
	setenv("TERM", "dumb", 1);
	execl("/bin/sh", "sh", "/rigcmd", NULL);
	complain("/bin/sh");
	_exit(127);
}

/* Waits for one child and for any orphan that lands here meanwhile. */
static int wait_for(pid_t pid)
{
	int status;
	pid_t ended;

	do
		ended = wait(&status);
	while (ended != pid && (ended > 0 || errno == EINTR));
	if (ended != pid)
		return 255;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void pack_out(void)
{
	int fd = open_port("rig.out", O_WRONLY);
	pid_t pid = fork();

	if (pid == 0) {
		dup2(fd, 1);
		if (chroot(ROOT) || chdir("/out"))
			_exit(1);
		execl("/bin/busybox", "tar", "-c", "-f", "-", ".", NULL);
		_exit(1);
	}
	wait_for(pid);
}

int main(void)
{
	struct ports ports;
	double ready;
	pid_t pid;
	int status;

	mount_at("proc", "/proc", "proc", NULL);
	mount_at("sysfs", "/sys", "sysfs", NULL);
	mount_at("devtmpfs", "/dev", "devtmpfs", NULL);
	use_console();
	load_modules("/rig/modules.list");
	build_root();
	bring_up_loopback();
	ports.io = open_port("rig.io", O_WRONLY);
	ports.status = open_port("rig.st", O_WRONLY | O_CLOEXEC);
	take_ticks();
	ready = seconds_since_boot();
	pid = fork();
	if (pid == 0)
		run_command(ports.io);
	status = wait_for(pid);
	if (cmdline_has("rig.out=1"))
		pack_out();
	dprintf(ports.status, "exit %d ready=%.3f end=%.3f\n", status, ready,
		seconds_since_boot());
	close(ports.status);
	usleep(20000);
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}
