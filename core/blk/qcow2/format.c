/*
 * What can be done with a qcow2 image beside its guest data.
 */
#include <string.h>

#include "core/blk/qcow2/bitmap.h"
#include "core/blk/qcow2/check.h"
#include "core/blk/qcow2/options.h"
#include "core/blk/qcow2/snapshot.h"

static int qcow2_probe(const uint8_t *head, size_t len, const char *path)
{
	static const uint8_t magic[] = {'Q', 'F', 'I', 0xfb, 0, 0, 0};

	(void)path;
	if (len < 8 || memcmp(head, magic, sizeof(magic)))
		return 0;
	return head[7] == 2 || head[7] == 3 ? 100 : 0;
}

const struct blk_format blk_qcow2_format = {
	.name = "qcow2",
	.opts = qcow2_opts,
	.amend_opts = qcow2_amend_opts,
	.amend = qcow2_amend,
	.probe = qcow2_probe,
	.create = qcow2_create,
	.check = qcow2_check,
	.info = qcow2_info,
	.measure = qcow2_measure,
	.bitmap = qcow2_bitmap_change,
	.bitmap_info = qcow2_bitmap_describe,
	.make_empty = qcow2_make_empty,
	.set_backing = qcow2_set_backing,
	.snapshot = qcow2_snapshot,
	.snapshots = qcow2_snapshots,
};
