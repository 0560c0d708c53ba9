#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/error.h"
#include "core/migration/state.h"

struct part {
	uint16_t a;
	bool on;
};

struct thing {
	uint8_t u8;
	uint16_t u16;
	uint32_t u32;
	uint64_t u64;
	int32_t s32;
	bool flag;
	uint8_t bytes[37];
	uint32_t words[5];
	struct part parts[3];
	uint32_t newer;
	unsigned index; /* validated by check */
	int saves;
};

static const struct state_field part_fields[] = {
	STATE_FIELD(struct part, a),
	STATE_FIELD(struct part, on),
};
static const struct state_desc part_desc = {
	.name = "part",
	.version = 1,
	.oldest = 1,
	.fields = part_fields,
	.nr_fields = 2,
};

static void thing_pre_save(void *obj)
{
	((struct thing *)obj)->saves++;
}

static int thing_check(void *obj, int version, struct error *e)
{
	struct thing *t = obj;

	if (version < 2)
		t->newer = 99;
	if (t->index >= 5)
		return error_set(e, -EINVAL, "index %u is past 4", t->index);
	return 0;
}

static const struct state_field thing_fields[] = {
	STATE_FIELD(struct thing, u8),
	STATE_FIELD(struct thing, u16),
	STATE_FIELD(struct thing, u32),
	STATE_FIELD(struct thing, u64),
	STATE_FIELD(struct thing, s32),
	STATE_FIELD(struct thing, flag),
	STATE_ARRAY(struct thing, bytes),
	STATE_ARRAY(struct thing, words),
	STATE_STRUCTS(struct thing, parts, 3, &part_desc),
	STATE_FIELD_SINCE(struct thing, newer, 2),
	STATE_FIELD(struct thing, index),
};
static const struct state_desc thing_desc = {
	.name = "thing",
	.version = 2,
	.oldest = 1,
	.fields = thing_fields,
	.nr_fields = 11,
	.pre_save = thing_pre_save,
	.check = thing_check,
};

/* Fields of version 1, as an older program would have written them. */
static const struct state_field old_fields[] = {
	STATE_FIELD(struct thing, u8),
	STATE_FIELD(struct thing, u16),
	STATE_FIELD(struct thing, u32),
	STATE_FIELD(struct thing, u64),
	STATE_FIELD(struct thing, s32),
	STATE_FIELD(struct thing, flag),
	STATE_ARRAY(struct thing, bytes),
	STATE_ARRAY(struct thing, words),
	STATE_STRUCTS(struct thing, parts, 3, &part_desc),
	STATE_FIELD(struct thing, index),
};
static const struct state_desc old_desc = {
	.name = "thing",
	.version = 1,
	.oldest = 1,
	.fields = old_fields,
	.nr_fields = 10,
};

static struct thing sample(void)
{
	struct thing t = {
		.u8 = 0x12,
		.u16 = 0x3456,
		.u32 = 0x789abcde,
		.u64 = 0x1122334455667788,
		.s32 = -5,
		.flag = true,
		.words = {1, 2, 3, 4, 0xffffffff},
		.parts = {{7, true}, {8, false}, {9, true}},
		.newer = 1234,
		.index = 4,
	};

	for (unsigned i = 0; i < sizeof(t.bytes); i++)
		t.bytes[i] = (uint8_t)(i * 7);
	return t;
}

static void assert_same(const struct thing *a, const struct thing *b)
{
	assert_int_equal(a->u8, b->u8);
	assert_int_equal(a->u16, b->u16);
	assert_int_equal(a->u32, b->u32);
	assert_int_equal(a->u64, b->u64);
	assert_int_equal(a->s32, b->s32);
	assert_int_equal(a->flag, b->flag);
	assert_memory_equal(a->bytes, b->bytes, sizeof(a->bytes));
	assert_memory_equal(a->words, b->words, sizeof(a->words));
	for (int i = 0; i < 3; i++) {
		assert_int_equal(a->parts[i].a, b->parts[i].a);
		assert_int_equal(a->parts[i].on, b->parts[i].on);
	}
	assert_int_equal(a->index, b->index);
}

static void state_survives_the_trip(void **state)
{
	struct thing a = sample(), b = {0}, c = {0};
	struct state_buf buf = {0};
	char name[64], instance[64];
	struct error e = {0};

	(void)state;
	assert_int_equal(state_save(&buf, &thing_desc, "t0", &a, &e), 0);
	a.u8++;
	assert_int_equal(state_save(&buf, &thing_desc, "t1", &a, &e), 0);
	assert_int_equal(a.saves, 2);
	assert_int_equal(state_peek(&buf, name, instance, &e), 0);
	assert_string_equal(name, "thing");
	assert_string_equal(instance, "t0");
	assert_int_equal(state_load(&buf, &thing_desc, "t0", &b, &e), 0);
	assert_int_equal(b.newer, 1234);
	assert_int_equal(state_load(&buf, &thing_desc, "t1", &c, &e), 0);
	assert_same(&a, &c);
	a.u8--;
	assert_same(&a, &b);
	assert_int_equal(state_peek(&buf, name, instance, &e), -ENOENT);
	assert_int_equal(state_load(&buf, &thing_desc, "t2", &b, &e), -EINVAL);
	state_buf_fini(&buf);
}

static void an_older_version_loads(void **state)
{
	struct thing a = sample(), b = {0};
	struct state_buf buf = {0};
	struct error e = {0};

	(void)state;
	assert_int_equal(state_save(&buf, &old_desc, "t", &a, &e), 0);
	assert_int_equal(state_load(&buf, &thing_desc, "t", &b, &e), 0);
	assert_same(&a, &b);
	assert_int_equal(b.newer, 99);
	state_buf_fini(&buf);
}

static void a_newer_version_is_refused(void **state)
{
	struct thing a = sample();
	struct state_buf buf = {0};
	struct error e = {0};

	(void)state;
	assert_int_equal(state_save(&buf, &thing_desc, "t", &a, &e), 0);
	assert_int_equal(state_load(&buf, &old_desc, "t", &a, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "version 2"));
	assert_int_equal(buf.pos, 0);
	state_buf_fini(&buf);
}

static void the_wrong_device_is_named(void **state)
{
	struct thing a = sample();
	struct state_buf buf = {0};
	struct error e = {0};

	(void)state;
	assert_int_equal(state_save(&buf, &thing_desc, "t", &a, &e), 0);
	assert_int_equal(state_load(&buf, &part_desc, "p", &a, &e), -EINVAL);
	assert_string_equal(e.msg, "state of thing 't' where part 'p' belongs");
	state_buf_fini(&buf);
}

static void check_can_refuse(void **state)
{
	struct thing a = sample();
	struct state_buf buf = {0};
	struct error e = {0};

	(void)state;
	a.index = 5;
	assert_int_equal(state_save(&buf, &thing_desc, "t", &a, &e), 0);
	assert_int_equal(state_load(&buf, &thing_desc, "t", &a, &e), -EINVAL);
	assert_string_equal(e.msg, "state of thing 't': index 5 is past 4");
	state_buf_fini(&buf);
}

static void fields_must_match(void **state)
{
	static const struct state_field other[] = {
		STATE_FIELD(struct thing, u16),
		STATE_ARRAY(struct thing, words),
	};
	struct state_field changed[2];
	struct state_desc d = {.name = "x",
			       .version = 1,
			       .oldest = 1,
			       .fields = other,
			       .nr_fields = 2};
	struct thing a = sample();
	struct state_buf buf = {0};
	struct error e = {0};

	(void)state;
	assert_int_equal(state_save(&buf, &d, "t", &a, &e), 0);
	memcpy(changed, other, sizeof(changed));
	d.fields = changed;
	changed[1].count = 4;
	assert_int_equal(state_load(&buf, &d, "t", &a, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "'words' is 5 of u32, not 4 of u32"));
	memcpy(changed, other, sizeof(changed));
	changed[0].name = "u17";
	assert_int_equal(state_load(&buf, &d, "t", &a, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "field 'u16' where 'u17' belongs"));
	memcpy(changed, other, sizeof(changed));
	d.nr_fields = 1;
	assert_int_equal(state_load(&buf, &d, "t", &a, &e), -EINVAL);
	assert_non_null(strstr(e.msg, "bytes too many"));
	state_buf_fini(&buf);
}

static void every_truncation_is_refused(void **state)
{
	struct thing a = sample(), b;
	struct state_buf buf = {0};
	struct error e = {0};
	char name[64], instance[64];

	(void)state;
	assert_int_equal(state_save(&buf, &thing_desc, "t", &a, &e), 0);
	for (size_t len = 0; len < buf.len; len++) {
		/* An exact copy lets a sanitizer see a read past its end. */
		struct state_buf cut = {.data = malloc(len ? len : 1),
					.len = len};

		memcpy(cut.data, buf.data, len);
		state_peek(&cut, name, instance, &e);
		assert_int_equal(state_load(&cut, &thing_desc, "t", &b, &e),
				 -EINVAL);
		assert_true(strlen(e.msg) > 10);
		state_buf_fini(&cut);
	}
	state_buf_fini(&buf);
}

static void altered_bytes_never_harm(void **state)
{
	struct thing a = sample(), b;
	struct state_buf buf = {0};
	struct error e = {0};
	unsigned seed = 7, refused = 0;

	(void)state;
	assert_int_equal(state_save(&buf, &thing_desc, "t", &a, &e), 0);
	for (int round = 0; round < 20000; round++) {
		struct state_buf copy = {.data = malloc(buf.len),
					 .len = buf.len};
		int n = 1 + rand_r(&seed) % 4;

		memcpy(copy.data, buf.data, buf.len);
		while (n--)
			copy.data[(unsigned)rand_r(&seed) % buf.len] =
				(uint8_t)rand_r(&seed);
		if (!state_load(&copy, &thing_desc, "t", &b, &e))
			assert_true(b.index < 5);
		else
			refused++;
		state_buf_fini(&copy);
	}
	assert_true(refused > 5000);
	state_buf_fini(&buf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(state_survives_the_trip),
		cmocka_unit_test(an_older_version_loads),
		cmocka_unit_test(a_newer_version_is_refused),
		cmocka_unit_test(the_wrong_device_is_named),
		cmocka_unit_test(check_can_refuse),
		cmocka_unit_test(fields_must_match),
		cmocka_unit_test(every_truncation_is_refused),
		cmocka_unit_test(altered_bytes_never_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
