#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "core/error.h"

static void set_keeps_code_and_sentence(void **state)
{
	struct error e;

	(void)state;
	assert_int_equal(error_set(&e, -EINVAL, "disk '%s' is odd", "a"),
			 -EINVAL);
	assert_int_equal(e.code, -EINVAL);
	assert_string_equal(e.msg, "disk 'a' is odd");
	assert_int_equal(error_set(NULL, -EIO, "ignored"), -EIO);
}

static void errno_text_is_appended(void **state)
{
	struct error e;

	(void)state;
	assert_int_equal(error_errno(&e, ENOENT, "opening '%s'", "x"), -ENOENT);
	assert_string_equal(e.msg, "opening 'x': No such file or directory");
}

static void prefix_goes_before(void **state)
{
	struct error e;

	(void)state;
	error_set(&e, -EIO, "too short");
	assert_int_equal(error_prefix(&e, -EIO, "machine '%s'", "m"), -EIO);
	assert_string_equal(e.msg, "machine 'm': too short");
}

static void long_texts_are_cut(void **state)
{
	struct error e;
	char text[1000];

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	error_set(&e, -EIO, "%s", text);
	assert_int_equal(strlen(e.msg), sizeof(e.msg) - 1);
	error_prefix(&e, -EIO, "%s", text);
	assert_int_equal(strlen(e.msg), sizeof(e.msg) - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(set_keeps_code_and_sentence),
		cmocka_unit_test(errno_text_is_appended),
		cmocka_unit_test(prefix_goes_before),
		cmocka_unit_test(long_texts_are_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
