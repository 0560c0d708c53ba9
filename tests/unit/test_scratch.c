#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/blk/file.h"

#define IMAGE_LEN (8 << 20)
#define DATA_OFF  (4 << 20)

/* A sparse image with one page of data in the middle. */
static int make_image(char *path)
{
	char page[4096];
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	memset(page, 0x5a, sizeof(page));
	assert_int_equal(ftruncate(fd, IMAGE_LEN), 0);
	assert_int_equal(pwrite(fd, page, sizeof(page), DATA_OFF),
			 sizeof(page));
	return fd;
}

static void copy_is_private_and_sparse(void **state)
{
	char path[] = "/tmp/scratch.XXXXXX";
	uint8_t byte;
	struct stat st;
	int image, copy;

	(void)state;
	image = make_image(path);
	copy = blk_scratch_open(path, O_CLOEXEC);
	assert_true(copy >= 0);
	assert_int_equal(fstat(copy, &st), 0);
	assert_int_equal(st.st_size, IMAGE_LEN);
	assert_true(st.st_blocks * 512 < IMAGE_LEN / 2);
	assert_int_equal(pread(copy, &byte, 1, DATA_OFF), 1);
	assert_int_equal(byte, 0x5a);
	assert_int_equal(pread(copy, &byte, 1, DATA_OFF + 4096), 1);
	assert_int_equal(byte, 0);

	byte = 0xa5;
	assert_int_equal(pwrite(copy, &byte, 1, DATA_OFF), 1);
	assert_int_equal(pread(image, &byte, 1, DATA_OFF), 1);
	assert_int_equal(byte, 0x5a);
	close(copy);
	close(image);
	unlink(path);
}

static void missing_image_is_an_error(void **state)
{
	(void)state;
	assert_int_equal(blk_scratch_open("/nonexistent/image", O_CLOEXEC),
			 -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(copy_is_private_and_sparse),
		cmocka_unit_test(missing_image_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
