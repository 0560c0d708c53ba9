#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/blk/file.h"

/* Copies [off, end) of in; holes stay holes because they aren't visited. */
static int copy_range(int in, int out, off_t off, off_t end)
{
	char buf[65536];

	while (off < end) {
		size_t want = (size_t)(end - off) < sizeof(buf)
				      ? (size_t)(end - off)
				      : sizeof(buf);
		ssize_t n = pread(in, buf, want, off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		n = pwrite(out, buf, n, off);
		if (n < 0)
			return -errno;
		off += n;
	}
	return 0;
}

static int copy_data(int in, int out)
{
	off_t data = 0, hole, len = lseek(in, 0, SEEK_END);
	int ret = 0;

	if (len < 0 || ftruncate(out, len))
		return -errno;
	while (!ret && data < len) {
		data = lseek(in, data, SEEK_DATA);
		if (data < 0)
			return errno == ENXIO ? 0 : -errno;
		hole = lseek(in, data, SEEK_HOLE);
		if (hole < 0)
			return -errno;
		ret = copy_range(in, out, data, hole);
		data = hole;
	}
	return ret;
}

int blk_scratch_open(const char *path, int flags)
{
	const char *dir = getenv("TMPDIR");
	int in, out, ret;

	in = open(path, O_RDONLY | O_CLOEXEC);
	if (in < 0)
		return -errno;
	out = open(dir && *dir ? dir : "/var/tmp",
		   O_TMPFILE | O_RDWR | (flags & (O_CLOEXEC | O_DIRECT)), 0600);
	if (out < 0) {
		ret = -errno;
		goto out_in;
	}
	/* The copy itself goes through the page cache. */
	fcntl(out, F_SETFL, 0);
	ret = copy_data(in, out);
	if (!ret && fcntl(out, F_SETFL, flags & O_DIRECT))
		ret = -errno;
	if (!ret)
		ret = out;
	else
		close(out);
out_in:
	close(in);
	return ret;
}
