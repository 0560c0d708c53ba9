/*
 * The codec of declared state.
 *
 * On the wire (all integers little endian):
 *   section: name, instance, version u16, length u32, then length bytes: body
 *   body:    for each field that the version has: name, type u8, count u32,
 *            count values
 *   value:   1, 2, 4 or 8 bytes; of a struct: version u16, length u32, body
 *   name:    length u8, bytes (no NUL)
 * How deep structs nest is decided by the descriptors, never by the input.
 */
#include "core/migration/state.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"

#define STATE_NAME_ROOM 64 /* with the NUL */

static size_t type_len(enum state_type type)
{
	switch (type) {
	case STATE_U8:
	case STATE_BOOL:
		return 1;
	case STATE_U16:
		return 2;
	case STATE_U32:
		return 4;
	case STATE_U64:
		return 8;
	case STATE_STRUCT:
		break;
	}
	return 0;
}

static const char *type_name(unsigned type)
{
	static const char *const names[] = {"u8",  "u16",  "u32",
					    "u64", "bool", "struct"};

	return type < sizeof(names) / sizeof(names[0]) ? names[type]
						       : "an unknown type";
}

/* ---- writing ---- */

void state_buf_fini(struct state_buf *b)
{
	free(b->data);
	*b = (struct state_buf){0};
}

static int reserve(struct state_buf *b, size_t more)
{
	size_t room = b->room ? b->room : 4096;
	uint8_t *data;

	if (more > SIZE_MAX / 4 - b->len)
		return -ENOMEM;
	while (room < b->len + more)
		room *= 2;
	if (room == b->room)
		return 0;
	data = realloc(b->data, room);
	if (!data)
		return -ENOMEM;
	b->data = data;
	b->room = room;
	return 0;
}

static int put_bytes(struct state_buf *b, const void *p, size_t len)
{
	int r = reserve(b, len);

	if (!r && len) {
		memcpy(b->data + b->len, p, len);
		b->len += len;
	}
	return r;
}

static void store_le(uint8_t *to, uint64_t v, size_t len)
{
	for (size_t i = 0; i < len; i++)
		to[i] = (uint8_t)(v >> (8 * i));
}

static int put_int(struct state_buf *b, uint64_t v, size_t len)
{
	uint8_t raw[8];

	store_le(raw, v, len);
	return put_bytes(b, raw, len);
}

static int put_name(struct state_buf *b, const char *name)
{
	size_t len = strlen(name);

	if (len >= STATE_NAME_ROOM)
		return -ENAMETOOLONG;
	return put_int(b, len, 1) ? -ENOMEM : put_bytes(b, name, len);
}

static uint64_t load_host(const uint8_t *p, enum state_type type)
{
	uint16_t v16;
	uint32_t v32;
	uint64_t v64;

	switch (type) {
	case STATE_U16:
		memcpy(&v16, p, sizeof(v16));
		return v16;
	case STATE_U32:
		memcpy(&v32, p, sizeof(v32));
		return v32;
	case STATE_U64:
		memcpy(&v64, p, sizeof(v64));
		return v64;
	default:
		return *p;
	}
}

static void store_host(uint8_t *p, enum state_type type, uint64_t v)
{
	uint16_t v16 = (uint16_t)v;
	uint32_t v32 = (uint32_t)v;

	switch (type) {
	case STATE_U16:
		memcpy(p, &v16, sizeof(v16));
		break;
	case STATE_U32:
		memcpy(p, &v32, sizeof(v32));
		break;
	case STATE_U64:
		memcpy(p, &v, sizeof(v));
		break;
	default:
		*p = (uint8_t)v;
	}
}

static int put_body(struct state_buf *b, const struct state_desc *desc,
		    void *obj);

/* Version, a length that is patched afterwards, body. */
static int put_struct(struct state_buf *b, const struct state_desc *desc,
		      void *obj)
{
	size_t at;
	int r;

	if (put_int(b, desc->version, 2))
		return -ENOMEM;
	at = b->len;
	if (put_int(b, 0, 4))
		return -ENOMEM;
	r = put_body(b, desc, obj);
	if (r)
		return r;
	if (b->len - at - 4 > UINT32_MAX)
		return -EFBIG;
	store_le(b->data + at, b->len - at - 4, 4);
	return 0;
}

static int put_values(struct state_buf *b, const struct state_field *f,
		      uint8_t *p)
{
	size_t len = type_len(f->type);
	int r = 0;

	if (f->type == STATE_U8)
		return put_bytes(b, p, f->count);
	for (uint32_t i = 0; i < f->count && !r; i++) {
		if (f->type == STATE_STRUCT)
			r = put_struct(b, f->desc, p + (size_t)i * f->stride);
		else
			r = put_int(b, load_host(p + i * len, f->type), len);
	}
	return r;
}

static int put_body(struct state_buf *b, const struct state_desc *desc,
		    void *obj)
{
	int r = 0;

	if (desc->pre_save)
		desc->pre_save(obj);
	for (unsigned i = 0; i < desc->nr_fields && !r; i++) {
		const struct state_field *f = &desc->fields[i];

		r = put_name(b, f->name);
		if (!r)
			r = put_int(b, f->type, 1);
		if (!r)
			r = put_int(b, f->count, 4);
		if (!r)
			r = put_values(b, f, (uint8_t *)obj + f->offset);
	}
	return r;
}

int state_save(struct state_buf *out, const struct state_desc *desc,
	       const char *instance, void *obj, struct error *e)
{
	size_t start = out->len;
	int r = put_name(out, desc->name);

	if (!r)
		r = put_name(out, instance);
	if (!r)
		r = put_struct(out, desc, obj);
	if (!r)
		return 0;
	out->len = start;
	return error_errno(e, -r, "saving the state of %s '%s'", desc->name,
			   instance);
}

/* ---- reading ---- */

/* A stretch of input, and whom to name when it is wrong. */
struct reader {
	const uint8_t *data;
	size_t len, pos;
	const char *section, *instance;
	struct error *e;
};

static int truncated(struct reader *rd, const char *what)
{
	return error_set(rd->e, -EINVAL,
			 "state of %s '%s': ends at byte %zu, inside %s",
			 rd->section, rd->instance, rd->pos, what);
}

static int get_int(struct reader *rd, uint64_t *v, size_t len, const char *what)
{
	if (rd->len - rd->pos < len)
		return truncated(rd, what);
	*v = 0;
	for (size_t i = 0; i < len; i++)
		*v |= (uint64_t)rd->data[rd->pos + i] << (8 * i);
	rd->pos += len;
	return 0;
}

static int get_name(struct reader *rd, char *name, const char *what)
{
	uint64_t len;
	int r = get_int(rd, &len, 1, what);

	if (r)
		return r;
	if (len >= STATE_NAME_ROOM)
		return error_set(rd->e, -EINVAL,
				 "state of %s '%s': %s of %u bytes is too long",
				 rd->section, rd->instance, what,
				 (unsigned)len);
	if (rd->len - rd->pos < len)
		return truncated(rd, what);
	memcpy(name, rd->data + rd->pos, len);
	name[len] = '\0';
	rd->pos += len;
	for (size_t i = 0; i < len; i++)
		if (name[i] < 0x20 || name[i] > 0x7e)
			return error_set(
				rd->e, -EINVAL,
				"state of %s '%s': %s isn't plain text",
				rd->section, rd->instance, what);
	return 0;
}

/* The header of a struct: checks version and length, gives the body. */
static int get_struct_header(struct reader *rd, const struct state_desc *desc,
			     uint64_t *version, struct reader *body)
{
	uint64_t len;

	if (get_int(rd, version, 2, "a version") ||
	    get_int(rd, &len, 4, "a length"))
		return -EINVAL;
	if (*version < desc->oldest || *version > desc->version)
		return error_set(rd->e, -EINVAL,
				 "state of %s '%s': %s has version %u, this "
				 "program reads %u to %u",
				 rd->section, rd->instance, desc->name,
				 (unsigned)*version, desc->oldest,
				 desc->version);
	if (len > rd->len - rd->pos)
		return truncated(rd, "a struct");
	*body = *rd;
	body->data = rd->data + rd->pos;
	body->len = len;
	body->pos = 0;
	rd->pos += len;
	return 0;
}

static int get_body(struct reader *rd, const struct state_desc *desc,
		    unsigned version, void *obj);

static int get_struct(struct reader *rd, const struct state_desc *desc,
		      void *obj)
{
	struct reader body;
	uint64_t version;
	int r = get_struct_header(rd, desc, &version, &body);

	return r ? r : get_body(&body, desc, (unsigned)version, obj);
}

static int get_value(struct reader *rd, const struct state_field *f, uint8_t *p)
{
	uint64_t v;
	int r = get_int(rd, &v, type_len(f->type), f->name);

	if (r)
		return r;
	if (f->type == STATE_BOOL && v > 1)
		return error_set(rd->e, -EINVAL,
				 "state of %s '%s': %s is neither true nor "
				 "false but %u",
				 rd->section, rd->instance, f->name,
				 (unsigned)v);
	store_host(p, f->type, v);
	return 0;
}

static int get_values(struct reader *rd, const struct state_field *f,
		      uint8_t *p)
{
	size_t len = type_len(f->type);
	int r = 0;

	if (f->type == STATE_U8) {
		if (rd->len - rd->pos < f->count)
			return truncated(rd, f->name);
		memcpy(p, rd->data + rd->pos, f->count);
		rd->pos += f->count;
		return 0;
	}
	for (uint32_t i = 0; i < f->count && !r; i++) {
		if (f->type == STATE_STRUCT)
			r = get_struct(rd, f->desc, p + (size_t)i * f->stride);
		else
			r = get_value(rd, f, p + i * len);
	}
	return r;
}

static int get_field(struct reader *rd, const struct state_field *f,
		     uint8_t *obj)
{
	char name[STATE_NAME_ROOM];
	uint64_t type, count;
	int r = get_name(rd, name, "a field's name");

	if (r)
		return r;
	if (strcmp(name, f->name))
		return error_set(rd->e, -EINVAL,
				 "state of %s '%s': field '%s' where '%s' "
				 "belongs",
				 rd->section, rd->instance, name, f->name);
	if (get_int(rd, &type, 1, name) || get_int(rd, &count, 4, name))
		return -EINVAL;
	if (type != f->type || count != f->count)
		return error_set(rd->e, -EINVAL,
				 "state of %s '%s': field '%s' is %u of %s, "
				 "not %u of %s",
				 rd->section, rd->instance, name,
				 (unsigned)count, type_name((unsigned)type),
				 f->count, type_name(f->type));
	return get_values(rd, f, obj + f->offset);
}

static int get_body(struct reader *rd, const struct state_desc *desc,
		    unsigned version, void *obj)
{
	int r;

	for (unsigned i = 0; i < desc->nr_fields; i++) {
		if (desc->fields[i].since > version)
			continue;
		r = get_field(rd, &desc->fields[i], obj);
		if (r)
			return r;
	}
	if (rd->pos != rd->len)
		return error_set(rd->e, -EINVAL,
				 "state of %s '%s': %zu bytes too many in %s",
				 rd->section, rd->instance, rd->len - rd->pos,
				 desc->name);
	if (!desc->check)
		return 0;
	r = desc->check(obj, (int)version, rd->e);
	return r ? error_prefix(rd->e, r, "state of %s '%s'", rd->section,
				rd->instance)
		 : 0;
}

int state_peek(const struct state_buf *in, char *name, char *instance,
	       struct error *e)
{
	struct reader rd = {
		.data = in->data,
		.len = in->len,
		.pos = in->pos,
		.section = "the next device",
		.instance = "",
		.e = e,
	};
	int r;

	if (in->pos == in->len)
		return -ENOENT;
	if (in->pos > in->len)
		return error_set(e, -EINVAL, "reading past the state's end");
	r = get_name(&rd, name, "a section's name");
	if (r)
		return r;
	rd.section = name;
	return get_name(&rd, instance, "a section's instance");
}

int state_load(struct state_buf *in, const struct state_desc *desc,
	       const char *instance, void *obj, struct error *e)
{
	char name[STATE_NAME_ROOM], who[STATE_NAME_ROOM];
	struct reader rd = {
		.data = in->data,
		.len = in->len,
		.pos = in->pos,
		.section = desc->name,
		.instance = instance,
		.e = e,
	};
	int r = state_peek(in, name, who, e);

	if (r == -ENOENT)
		return error_set(e, -EINVAL,
				 "the state ends where %s '%s' belongs",
				 desc->name, instance);
	if (r)
		return r;
	if (strcmp(name, desc->name) || strcmp(who, instance))
		return error_set(e, -EINVAL,
				 "state of %s '%s' where %s '%s' belongs", name,
				 who, desc->name, instance);
	rd.pos += 2 + strlen(name) + strlen(who);
	r = get_struct(&rd, desc, obj);
	if (!r)
		in->pos = rd.pos;
	return r;
}
