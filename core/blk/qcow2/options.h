/*
 * options: what `create`, `amend` and `measure` are asked for, checked.
 * Thread rule: [any], but qcow2_create and qcow2_preallocate [co].
 */
#ifndef CORE_BLK_QCOW2_OPTIONS_H
#define CORE_BLK_QCOW2_OPTIONS_H

#include "core/blk/qcow2/qcow2.h"

struct qcow2_create {
	struct qcow2_header h; /* offsets are still 0 */
	enum blk_prealloc prealloc;
};

/* Both end with a NULL name. */
extern const struct blk_opt_desc qcow2_opts[], qcow2_amend_opts[];

/* Fills out with what c asks for; free it with qcow2_header_fini(&out->h), also
 * after an error. */
int qcow2_create_parse(const struct blk_create *c, struct qcow2_create *out,
		       struct error *e);

/* The slot of struct blk_format. */
int qcow2_create(struct blk_ctx *ctx, const struct blk_create *create,
		 struct error *e);

/* The slots of struct blk_format. */
int qcow2_amend(struct blk *b, const struct blk_amend *a, struct error *e);
int qcow2_measure(const struct blk_create *c, struct blk *source,
		  struct blk_measure *out, struct error *e);
struct json_object *qcow2_info(struct blk *b);

/* The slots of struct blk_format; backing.c. */
int qcow2_set_backing(struct blk *b, const char *backing,
		      const char *backing_format, struct error *e);
int qcow2_make_empty(struct blk *b, struct error *e);

/* Gives every cluster of guest bytes [off, end) that has none space of its own;
 * FALLOC and FULL also make the host hold it. */
int qcow2_preallocate(struct blk *b, uint64_t off, uint64_t end,
		      enum blk_prealloc mode, struct error *e);

/* "off", "metadata", "falloc" or "full". */
int qcow2_prealloc_parse(const char *text, enum blk_prealloc *out,
			 struct error *e);
/* "on" or "off", and their other spellings. */
int qcow2_bool_parse(const char *key, const char *text, bool *out,
		     struct error *e);

#endif
