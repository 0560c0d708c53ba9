#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "core/device.h"
#include "core/error.h"

struct lamp {
	struct device dev;
	struct device_counter *blinks;
};

static int lamp_create(struct device *dev, const struct device_args *args,
		       struct error *e)
{
	struct lamp *lamp = (struct lamp *)dev;

	if (args->unit == 13)
		return error_set(e, -EINVAL, "unit 13 brings bad luck");
	lamp->blinks = device_counter_add(dev, "blinks");
	return 0;
}

static const struct device_class lamp_class = {
	.name = "lamp",
	.summary = "a lamp",
	.bus = DEVICE_ON_BOARD,
	.size = sizeof(struct lamp),
	.create = lamp_create,
};

static struct device *lamp(struct machine *m, const char *name, unsigned unit,
			   struct error *e)
{
	struct device_args args = {.unit = unit};

	strcpy(args.name, name);
	return device_create(m, &lamp_class, &args, e);
}

static void devices_are_kept_in_order(void **state)
{
	struct machine m = {0};
	struct error e = {0};
	struct device *a = lamp(&m, "a", 0, &e), *b = lamp(&m, "b", 1, &e);

	(void)state;
	assert_ptr_equal(m.devices, a);
	assert_ptr_equal(a->next, b);
	assert_ptr_equal(device_find(&m, "b"), b);
	assert_null(device_find(&m, "c"));
	device_count(((struct lamp *)b)->blinks, 3);
	assert_int_equal(b->counters[0].value, 3);
	device_destroy(a);
	assert_ptr_equal(m.devices, b);
	device_destroy(b);
	device_destroy(NULL);
	assert_null(m.devices);
}

static void a_refused_device_leaves_nothing(void **state)
{
	struct machine m = {0};
	struct error e = {0};
	struct device *a;

	(void)state;
	assert_null(lamp(&m, "x", 13, &e));
	assert_string_equal(e.msg,
			    "device 'x' (lamp): unit 13 brings bad luck");
	assert_null(m.devices);
	a = lamp(&m, "x", 1, &e);
	assert_null(lamp(&m, "x", 1, &e));
	assert_int_equal(e.code, -EEXIST);
	device_destroy(a);
}

static void failing_says_why_in_the_log(void **state)
{
	struct machine m = {.log = log_create(LOG_LEVEL_ERROR + 1)};
	struct error e = {0};
	struct device *a = lamp(&m, "a", 0, &e);
	struct log_entry entry;

	(void)state;
	device_fail(a, "ring of %d entries", 7);
	assert_true(a->failed);
	assert_string_equal(a->why, "ring of 7 entries");
	assert_int_equal(log_copy(m.log, 0, &entry, 1), 1);
	assert_non_null(strstr(entry.text, "ring of 7 entries"));
	assert_string_equal(entry.source, "a");
	for (int i = 0; i < 2 * DEVICE_MAX_COUNTERS; i++)
		assert_non_null(device_counter_add(a, "more"));
	assert_int_equal(a->nr_counters, DEVICE_MAX_COUNTERS);
	device_destroy(a);
	log_destroy(m.log);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(devices_are_kept_in_order),
		cmocka_unit_test(a_refused_device_leaves_nothing),
		cmocka_unit_test(failing_says_why_in_the_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
