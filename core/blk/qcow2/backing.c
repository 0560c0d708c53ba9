/*
 * What an image has to do with its backing file: its name, and giving up all
 * that lies above it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/blk/qcow2/l1.h"
#include "core/blk/qcow2/options.h"
#include "core/error.h"

static int copy_text(const char *text, char **out)
{
	*out = text && *text ? strdup(text) : NULL;
	return text && *text && !*out ? -ENOMEM : 0;
}

int qcow2_set_backing(struct blk *b, const char *backing,
		      const char *backing_format, struct error *e)
{
	struct qcow2 *s = qcow2_of(b);
	char *name, *format, *own, *own_format;
	struct qcow2_header h;
	int ret = 0;

	if (backing && strlen(backing) > QCOW2_MAX_NAME)
		return error_set(e, -EINVAL, "the name is longer than %d bytes",
				 QCOW2_MAX_NAME);
	if (backing && *backing && b->data_file &&
	    (s->h.autoclear & QCOW2_AUTOCLEAR_RAW_DATA))
		return error_set(e, -EINVAL,
				 "Cannot set a backing file for images with "
				 "data-file-raw");
	ret |= copy_text(backing, &name);
	ret |= copy_text(backing_format, &format);
	ret |= copy_text(backing, &own);
	ret |= copy_text(backing_format, &own_format);
	if (ret) {
		error_set(e, ret, "no memory for a backing file's name");
		goto out;
	}
	co_lock(&s->lock);
	h = s->h;
	h.backing_name = name;
	h.backing_format = format;
	name = s->h.backing_name;
	format = s->h.backing_format;
	ret = qcow2_write_header(s, &h, e);
	b->write_gen++;
	if (s->h.backing_name != h.backing_name ||
	    s->h.backing_format != h.backing_format) {
		name = h.backing_name;
		format = h.backing_format;
	}
	co_unlock(&s->lock);
	if (!ret) {
		free(b->backing_name);
		free(b->backing_format);
		b->backing_name = own;
		b->backing_format = own_format;
		own = own_format = NULL;
	}
out:
	free(name);
	free(format);
	free(own);
	free(own_format);
	return ret;
}

/* [lock] One write of the header switches to a table that is empty; what the
 * old one reached is freed after that, so that a crash only leaks. */
static int switch_to_empty(struct qcow2 *s, struct error *e)
{
	uint64_t nr = s->h.nr_l1, *old = malloc(nr ? nr * 8 : 1);
	uint64_t *l1 = calloc(nr ? nr : 1, 8);
	int ret = old && l1 ? qcow2_write_meta(s, true) : -ENOMEM;

	if (ret) {
		free(old);
		free(l1);
		return error_errno(e, -ret, "Could not empty the image");
	}
	if (nr)
		memcpy(old, s->l1, nr * 8);
	ret = qcow2_replace_l1(s, l1, nr, &s->h, e);
	if (ret) {
		free(old);
		free(l1);
		return ret;
	}
	s->packed_off = 0;
	ret = qcow2_change_l1(s, old, nr, -1);
	free(old);
	while (!ret) {
		ret = qcow2_write_meta(s, true);
		if (!s->frees.nr)
			break;
	}
	return ret ? error_errno(e, -ret, "Could not free its clusters") : 0;
}

int qcow2_make_empty(struct blk *b, struct error *e)
{
	struct qcow2 *s = qcow2_of(b);
	int ret;

	co_lock(&s->lock);
	ret = switch_to_empty(s, e);
	if (!ret)
		ret = qcow2_cut_file(s);
	b->write_gen++;
	co_unlock(&s->lock);
	return ret;
}
