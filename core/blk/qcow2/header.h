/*
 * header: the format's numbers, and an image's header as a checked struct.
 *
 * Thread rule: [co] for what reads or writes, the rest anywhere.
 */
#ifndef CORE_BLK_QCOW2_HEADER_H
#define CORE_BLK_QCOW2_HEADER_H

#include "core/blk/blk.h"

#define QCOW2_MAGIC	       0x514649fb
#define QCOW2_V2_HEADER_LEN    72
#define QCOW2_MIN_CLUSTER_BITS 9
#define QCOW2_MAX_CLUSTER_BITS 21

/* Bounds on what an image may ask us to keep in memory. */
#define QCOW2_MAX_L1_LEN    (32u << 20)
#define QCOW2_MAX_RT_LEN    (8u << 20)
#define QCOW2_MAX_SNAPSHOTS 65536
#define QCOW2_MAX_NAME	    1023

/* Section "Feature bits". */
#define QCOW2_INCOMPAT_DIRTY	   (1ull << 0)
#define QCOW2_INCOMPAT_CORRUPT	   (1ull << 1)
#define QCOW2_INCOMPAT_DATA_FILE   (1ull << 2)
#define QCOW2_INCOMPAT_COMPRESSION (1ull << 3)
#define QCOW2_INCOMPAT_EXTL2	   (1ull << 4)
#define QCOW2_INCOMPAT_KNOWN	   0x1full
#define QCOW2_COMPAT_LAZY	   (1ull << 0)
#define QCOW2_AUTOCLEAR_BITMAPS	   (1ull << 0)
#define QCOW2_AUTOCLEAR_RAW_DATA   (1ull << 1)
#define QCOW2_AUTOCLEAR_KNOWN	   0x3ull

/* Section "Header extensions". */
#define QCOW2_EXT_END	      0
#define QCOW2_EXT_BACKING_FMT 0xe2792aca
#define QCOW2_EXT_FEATURES    0x6803f857
#define QCOW2_EXT_CRYPTO      0x0537be77
#define QCOW2_EXT_BITMAPS     0x23852875
#define QCOW2_EXT_DATA_FILE   0x44415441

/* Section "L1 and L2 table entries". */
#define QCOW2_COPIED	  (1ull << 63)
#define QCOW2_COMPRESSED  (1ull << 62)
#define QCOW2_ZERO	  (1ull << 0)
#define QCOW2_OFFSET_MASK 0x00fffffffffffe00ull
#define QCOW2_RT_MASK	  0xfffffffffffffe00ull

enum qcow2_compression { QCOW2_ZLIB, QCOW2_ZSTD };

struct qcow2_ext { /* one that this code does not know; kept as it is */
	uint32_t type, len;
	uint8_t *data;
	struct qcow2_ext *next;
};

/* Section "Bitmaps extension"; nr 0: the image has none. */
struct qcow2_bitmaps_ext {
	uint32_t nr;
	uint64_t dir_len, dir_off;
};

/* The header, checked: every field in range, every offset aligned. */
struct qcow2_header {
	unsigned version, cluster_bits, refcount_order;
	uint64_t disk_len; /* bytes */
	uint64_t l1_off, rt_off, snapshots_off;
	uint32_t nr_l1, rt_clusters, nr_snapshots;
	uint64_t incompat, compat, autoclear;
	uint32_t header_len;
	enum qcow2_compression compression;
	char *backing_name, *backing_format, *data_file; /* malloced or NULL */
	struct qcow2_bitmaps_ext bitmaps;
	struct qcow2_ext *unknown;
};

/* Reads and checks the header of file; -errno with the reason.  The strings
 * and lists in h are the caller's to free (qcow2_header_fini). */
int qcow2_header_read(struct blk *file, struct qcow2_header *h,
		      struct error *e);
void qcow2_header_fini(struct qcow2_header *h);
/* Writes h over the header of file: one write of the first cluster. */
int qcow2_header_write(struct blk *file, const struct qcow2_header *h,
		       struct error *e);
#endif
