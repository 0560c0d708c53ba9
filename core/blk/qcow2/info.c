/*
 * What `info` says of an image beside lengths and names.
 */
#include <json.h>

#include "core/blk/qcow2/bitmap.h"
#include "core/blk/qcow2/options.h"

static void add_flag(struct json_object *o, const char *key, bool on)
{
	json_object_object_add(o, key, json_object_new_boolean(on));
}

struct json_object *qcow2_info(struct blk *b)
{
	struct qcow2 *s = qcow2_of(b);
	const struct qcow2_header *h = &s->h;
	struct json_object *o = json_object_new_object();
	struct json_object *data = json_object_new_object();
	struct json_object *bitmaps = qcow2_bitmaps_info(s);

	json_object_object_add(o, "cluster-size",
			       json_object_new_int64(s->cluster_len));
	add_flag(o, "dirty", h->incompat & QCOW2_INCOMPAT_DIRTY);
	json_object_object_add(
		data, "compat",
		json_object_new_string(h->version >= 3 ? "1.1" : "0.10"));
	json_object_object_add(
		data, "compression-type",
		json_object_new_string(h->compression == QCOW2_ZSTD ? "zstd"
								    : "zlib"));
	if (h->version >= 3)
		add_flag(data, "lazy-refcounts", h->compat & QCOW2_COMPAT_LAZY);
	if (bitmaps)
		json_object_object_add(data, "bitmaps", bitmaps);
	json_object_object_add(data, "refcount-bits",
			       json_object_new_int(1 << h->refcount_order));
	if (h->version >= 3 && h->data_file)
		json_object_object_add(data, "data-file",
				       json_object_new_string(h->data_file));
	if (h->version >= 3 && h->data_file)
		add_flag(data, "data-file-raw",
			 h->autoclear & QCOW2_AUTOCLEAR_RAW_DATA);
	if (h->version >= 3) {
		add_flag(data, "corrupt", h->incompat & QCOW2_INCOMPAT_CORRUPT);
		add_flag(data, "extended-l2",
			 h->incompat & QCOW2_INCOMPAT_EXTL2);
	}
	json_object_object_add(o, "data", data);
	return o;
}
