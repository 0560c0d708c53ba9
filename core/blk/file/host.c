/*
 * Locks are open file description locks on single bytes, with the meanings that
 * QEMU gives them, so that its programs and ours exclude each other: a byte of
 * LOCK_USED says what its holder does, one of LOCK_DENIED what it does not let
 * others do.  All are read locks: conflicts are found by asking.
 */
#include "core/blk/file/host.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "core/error.h"

#define LOCK_USED   100
#define LOCK_DENIED 200

static const struct permission {
	int bit;
	const char *name;
	bool reader; /* a reader uses it; a writer uses all */
	bool denied; /* not let others do it */
} permissions[] = {
	{0, "consistent read", true, false},
	{1, "write", false, true},
	{3, "resize", false, true},
};
#define NR_PERMISSIONS (sizeof(permissions) / sizeof(permissions[0]))

static int set_lock(int fd, int at, short type)
{
	struct flock l = {.l_type = type,
			  .l_whence = SEEK_SET,
			  .l_start = at,
			  .l_len = 1};

	return fcntl(fd, F_OFD_SETLK, &l) ? -errno : 0;
}

static bool is_locked_by_other(int fd, int at)
{
	struct flock l = {.l_type = F_WRLCK,
			  .l_whence = SEEK_SET,
			  .l_start = at,
			  .l_len = 1};

	return !fcntl(fd, F_OFD_GETLK, &l) && l.l_type != F_UNLCK;
}

static int refuse_lock(const char *path, const char *how, const char *name,
		       struct error *e)
{
	return error_set(
		e, -EAGAIN,
		"Failed to get %s\"%s\" lock\nIs another process using "
		"the image [%s]?",
		how, name, path);
}

static int lock(int fd, const char *path, bool write, struct error *e)
{
	int ret = 0;

	for (size_t i = 0; i < NR_PERMISSIONS && !ret; i++) {
		const struct permission *p = &permissions[i];

		if (write || p->reader)
			ret = set_lock(fd, LOCK_USED + p->bit, F_RDLCK);
		if (!ret && p->denied)
			ret = set_lock(fd, LOCK_DENIED + p->bit, F_RDLCK);
	}
	/* File systems without locks: nobody else could ask either. */
	if (ret)
		return ret == -EAGAIN || ret == -EACCES
			       ? refuse_lock(path, "", "byte", e)
			       : 0;
	for (size_t i = 0; i < NR_PERMISSIONS; i++) {
		const struct permission *p = &permissions[i];

		if ((write || p->reader) &&
		    is_locked_by_other(fd, LOCK_DENIED + p->bit))
			return refuse_lock(path, "", p->name, e);
		if (p->denied && is_locked_by_other(fd, LOCK_USED + p->bit))
			return refuse_lock(path, "shared ", p->name, e);
	}
	return 0;
}

/* The type of the file system that path lies on; "host's" when unknown. */
static void name_file_system(const char *path, char *out, size_t len)
{
	char line[1024], want[32], place[32], type[64];
	FILE *f = fopen("/proc/self/mountinfo", "re");
	struct stat st;

	snprintf(out, len, "host's");
	if (!stat(path, &st))
		snprintf(want, sizeof(want), "%u:%u", major(st.st_dev),
			 minor(st.st_dev));
	else
		want[0] = 0;
	while (f && fgets(line, sizeof(line), f)) {
		const char *sep = strstr(line, " - ");

		if (!sep || sscanf(line, "%*s %*s %31s", place) != 1 ||
		    strcmp(place, want) || sscanf(sep + 3, "%63s", type) != 1)
			continue;
		snprintf(out, len, "%s", type);
		break;
	}
	if (f)
		fclose(f);
}

static int refuse_direct(const char *path, struct error *e)
{
	char type[64];

	name_file_system(path, type, sizeof(type));
	return error_set(e, -EINVAL,
			 "'%s': the %s file system refuses O_DIRECT; cache "
			 "modes writeback, writethrough and unsafe work",
			 path, type);
}

/* The smallest that a read accepts. */
static int find_align(struct host_file *f, const char *path, struct error *e)
{
	static const unsigned tries[] = {512, 1024, 2048, 4096};
	char *buf;

	f->align = 1;
	if (!f->direct)
		return 0;
	if (posix_memalign((void **)&buf, 8192, 8192))
		return error_set(e, -ENOMEM, "no memory to open '%s'", path);
	f->align = 0;
	/* buf + n is aligned to n and to nothing larger. */
	for (int i = 0; i < 4 && !f->align; i++)
		if (pread(f->fd, buf + tries[i], tries[i], 0) >= 0)
			f->align = tries[i];
	free(buf);
	return f->align ? 0 : refuse_direct(path, e);
}

static int find_len(struct host_file *f, const char *path, struct error *e)
{
	struct stat st;

	if (fstat(f->fd, &st))
		return error_errno(e, errno, "Could not open '%s'", path);
	f->is_device = S_ISBLK(st.st_mode);
	f->len = st.st_size;
	f->dev = st.st_dev;
	f->ino = st.st_ino;
	if (f->is_device && ioctl(f->fd, BLKGETSIZE64, &f->len))
		return error_errno(e, errno, "length of device '%s'", path);
	if (!f->is_device && !S_ISREG(st.st_mode))
		return error_set(e, -EINVAL,
				 "'%s' is neither a regular file nor a block "
				 "device",
				 path);
	return 0;
}

static int open_fd(const char *path, bool write, bool direct, struct error *e)
{
	int fd = open(path, (write ? O_RDWR : O_RDONLY) | O_CLOEXEC |
				    O_NONBLOCK | (direct ? O_DIRECT : 0));

	if (fd >= 0)
		return fd;
	if (errno == EINVAL && direct)
		return refuse_direct(path, e);
	return error_errno(e, errno, "Could not open '%s'", path);
}

int host_file_open(struct host_file *f, const char *path, bool write,
		   bool direct, bool with_lock, struct error *e)
{
	int ret;

	*f = (struct host_file){.fd = -1, .lock_fd = -1, .direct = direct};
	f->fd = open_fd(path, write, direct, e);
	if (f->fd < 0)
		return f->fd;
	ret = find_len(f, path, e);
	if (!ret)
		ret = find_align(f, path, e);
	if (!ret && with_lock) {
		f->lock_fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		if (f->lock_fd >= 0)
			ret = lock(f->lock_fd, path, write, e);
	}
	if (ret)
		host_file_close(f);
	return ret;
}

void host_file_close(struct host_file *f)
{
	if (f->fd >= 0)
		close(f->fd);
	if (f->lock_fd >= 0)
		close(f->lock_fd);
	f->fd = f->lock_fd = -1;
}

int host_file_reopen(struct host_file *f, const char *path, bool write,
		     struct error *e)
{
	char self[64];
	int fd, ret = 0;

	/* The same file, even when the path names another one by now. */
	snprintf(self, sizeof(self), "/proc/self/fd/%d", f->fd);
	fd = open_fd(self, write, f->direct, e);
	if (fd < 0)
		return error_prefix(e, fd, "'%s'", path);
	if (f->lock_fd >= 0 && write) {
		ret = lock(f->lock_fd, path, true, e);
	} else if (f->lock_fd >= 0) {
		set_lock(f->lock_fd, LOCK_USED + 1, F_UNLCK);
		set_lock(f->lock_fd, LOCK_USED + 3, F_UNLCK);
	}
	if (ret) {
		close(fd);
		return ret;
	}
	/* Under the same number: requests on their way know that. */
	if (dup3(fd, f->fd, O_CLOEXEC) < 0)
		ret = error_errno(e, errno, "'%s'", path);
	close(fd);
	return ret;
}
