/*
 * state: a device's state as declared data.
 *
 * A device lists the fields of its struct that a guest can observe; the codec
 * here turns them into bytes and back.  The bytes are read as hostile: names,
 * versions, types, counts and lengths are checked, then the descriptor's check
 * decides.  On the wire a section is: name, instance, version, length, then
 * each field as name, type, count, little-endian values; a field added in a
 * later version is skipped by its `since`.
 *
 * Thread rule: the caller owns the object: world stopped.
 */
#ifndef CORE_MIGRATION_STATE_H
#define CORE_MIGRATION_STATE_H

#include <stddef.h>
#include <stdint.h>

struct error;

enum state_type {
	STATE_U8,
	STATE_U16,
	STATE_U32,
	STATE_U64,
	STATE_BOOL,
	STATE_STRUCT /* desc, count of them */
};

struct state_desc;

struct state_field {
	const char *name; /* on the wire; never changes */
	enum state_type type;
	uint32_t offset, count; /* in the struct; 1 for a scalar */
	uint16_t since;		/* first version that has it */
	uint32_t stride;	/* STATE_STRUCT: bytes from one to the next */
	const struct state_desc *desc; /* STATE_STRUCT */
};

struct state_desc {
	const char *name;	  /* on the wire; never changes */
	uint16_t version, oldest; /* newest written, oldest read */
	const struct state_field *fields;
	unsigned nr_fields;
	void (*pre_save)(void *obj); /* optional */
	/* Optional, after load: validates every index and pointer-like value;
	 * -errno with the reason refuses the state. */
	int (*check)(void *obj, int version, struct error *e);
};

/* The field macros: the size of the member picks the wire type. */
#define STATE_TYPE_OF(x)                                                       \
	(_Generic((x), _Bool                                                   \
		  : STATE_BOOL, uint8_t                                        \
		  : STATE_U8, uint16_t                                         \
		  : STATE_U16, uint32_t                                        \
		  : STATE_U32, int32_t                                         \
		  : STATE_U32, uint64_t                                        \
		  : STATE_U64, int64_t                                         \
		  : STATE_U64))
#define STATE_FIELD_SINCE(strct, member, v)                                    \
	{                                                                      \
		.name = #member, .type = STATE_TYPE_OF(((strct *)0)->member),  \
		.offset = offsetof(strct, member), .count = 1, .since = (v)    \
	}
#define STATE_FIELD(strct, member) STATE_FIELD_SINCE(strct, member, 1)
/* One-dimensional array member, all elements. */
#define STATE_ARRAY(strct, member)                                             \
	{                                                                      \
		.name = #member,                                               \
		.type = STATE_TYPE_OF(((strct *)0)->member[0]),                \
		.offset = offsetof(strct, member), .since = 1,                 \
		.count = sizeof(((strct *)0)->member) /                        \
			 sizeof(((strct *)0)->member[0])                       \
	}
/* Member struct, or array of n of them, described by d. */
#define STATE_STRUCTS(strct, member, n, d)                                     \
	{                                                                      \
		.name = #member, .type = STATE_STRUCT,                         \
		.offset = offsetof(strct, member), .count = (n), .since = 1,   \
		.stride = sizeof(((strct *)0)->member) / (n), .desc = (d)      \
	}

/* A growing byte buffer; zero-initialise. */
struct state_buf {
	uint8_t *data;
	size_t len, room;
	size_t pos; /* of the reader */
};
void state_buf_fini(struct state_buf *b);

/* Appends one section for obj. 0, -ENOMEM. */
int state_save(struct state_buf *out, const struct state_desc *desc,
	       const char *instance, void *obj, struct error *e);

/* Reads the header of the next section without consuming it. 0; -ENOENT at
 * the end; -EINVAL when malformed.  Buffers hold 64 bytes each. */
int state_peek(const struct state_buf *in, char *name, char *instance,
	       struct error *e);

/* Reads one section into obj: the name must match and the version lie within
 * oldest..version.  Errors name device, instance, field, expected and got. */
int state_load(struct state_buf *in, const struct state_desc *desc,
	       const char *instance, void *obj, struct error *e);

#endif
