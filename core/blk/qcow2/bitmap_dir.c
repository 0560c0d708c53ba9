/*
 * The directory of bitmaps (section "Bitmap directory").
 *
 * Everything in it is checked before anything uses it: tables lie in the file
 * and together are no longer than it, so that reading them all is cheap.
 */
#include "core/blk/qcow2/bitmap.h"
#include "core/blk/qcow2/l1.h"

#include <errno.h>
#include <inttypes.h>
#include <json.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"

#define ENTRY_LEN 24 /* without extra data and name */
#define DIR_MAX	  (QCOW2_BITMAPS_MAX * 1024u)

/* Byte positions in an entry. */
enum {
	AT_TABLE = 0,
	AT_NR_TABLE = 8,
	AT_FLAGS = 12,
	AT_TYPE = 16,
	AT_GRANULARITY = 17,
	AT_NAME_LEN = 18,
	AT_EXTRA_LEN = 20
};

static uint64_t get(const uint8_t *p, unsigned bytes)
{
	uint64_t v = 0;

	while (bytes--)
		v = v << 8 | *p++;
	return v;
}

static void put(uint8_t *p, uint64_t v, unsigned bytes)
{
	while (bytes--) {
		p[bytes] = v;
		v >>= 8;
	}
}

static size_t entry_len(size_t name)
{
	return (ENTRY_LEN + name + 7) & ~(size_t)7;
}

uint64_t qcow2_bitmap_bytes(unsigned granularity_bits, uint64_t len)
{
	uint64_t bits = len >> granularity_bits;

	if (len & ((1ull << granularity_bits) - 1))
		bits++;
	return (bits + 7) / 8;
}

void qcow2_bitmap_free(struct qcow2_bitmap *m)
{
	if (!m)
		return;
	free(m->name);
	free(m->table);
	free(m->bits);
	free(m);
}

void qcow2_bitmaps_fini(struct qcow2 *s)
{
	for (uint32_t i = 0; i < s->bitmaps.nr; i++)
		qcow2_bitmap_free(s->bitmaps.list[i]);
	free(s->bitmaps.list);
	free(s->bitmaps.live);
	free(s->bitmaps.why);
	s->bitmaps = (struct qcow2_bitmaps){0};
}

struct qcow2_bitmap *qcow2_bitmap_find(struct qcow2 *s, const char *name)
{
	for (uint32_t i = 0; i < s->bitmaps.nr; i++)
		if (!strcmp(s->bitmaps.list[i]->name, name))
			return s->bitmaps.list[i];
	return NULL;
}

/* ---- reading ---- */

struct parser {
	struct qcow2 *s;
	const uint8_t *dir;
	uint64_t len, at;
	uint64_t tables_len; /* of all tables so far, bytes */
};

static int bad_entry(struct parser *p, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static int bad_entry(struct parser *p, const char *fmt, ...)
{
	struct qcow2 *s = p->s;
	char text[120];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	free(s->bitmaps.why);
	if (asprintf(&s->bitmaps.why, "bitmap %" PRIu32 " in the directory: %s",
		     s->bitmaps.nr, text) < 0) {
		s->bitmaps.why = NULL;
		return -ENOMEM;
	}
	return -EINVAL;
}

static int check_entry(struct parser *p, const struct qcow2_bitmap *m,
		       unsigned type)
{
	struct qcow2 *s = p->s;
	uint64_t file = s->b->file->len, len = m->nr_table * 8ull;

	if (type != 1)
		return bad_entry(p, "type %u is not known", type);
	if (m->flags & ~QCOW2_BITMAP_KNOWN)
		return bad_entry(p, "flags 0x%x are not known", m->flags);
	if (m->granularity_bits < QCOW2_BITMAP_MIN_GRAN_BITS ||
	    m->granularity_bits > QCOW2_BITMAP_MAX_GRAN_BITS)
		return bad_entry(p, "granularity 2^%u is not possible",
				 m->granularity_bits);
	if (!m->nr_table || !m->table_off ||
	    m->table_off & (s->cluster_len - 1) || m->table_off > file ||
	    len > file - m->table_off)
		return bad_entry(p, "its table is not in the file");
	p->tables_len += len;
	if (p->tables_len > file)
		return bad_entry(p, "tables are longer than the file");
	if (m->nr_table > QCOW2_BITMAP_MAX_LEN >> s->h.cluster_bits)
		return bad_entry(p, "its table is too long");
	if (!m->inconsistent &&
	    qcow2_bitmap_bytes(m->granularity_bits, s->h.disk_len) >
		    (uint64_t)m->nr_table << s->h.cluster_bits)
		return bad_entry(p, "its table is too short for the disk");
	return 0;
}

static int parse_entry(struct parser *p)
{
	const uint8_t *e = p->dir + p->at;
	struct qcow2_bitmap *m;
	uint64_t name, extra;
	int ret;

	if (p->len - p->at < ENTRY_LEN)
		return bad_entry(p, "the directory ends");
	name = get(e + AT_NAME_LEN, 2);
	extra = get(e + AT_EXTRA_LEN, 4);
	if (extra)
		return bad_entry(p, "extra data is not supported");
	if (!name || name > QCOW2_MAX_NAME ||
	    memchr(e + ENTRY_LEN, 0, name) != NULL)
		return bad_entry(p, "its name is not possible");
	if (entry_len(name) > p->len - p->at)
		return bad_entry(p, "the directory ends");
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->table_off = get(e + AT_TABLE, 8);
	m->nr_table = get(e + AT_NR_TABLE, 4);
	m->flags = get(e + AT_FLAGS, 4);
	m->granularity_bits = e[AT_GRANULARITY];
	m->flags_at = p->s->h.bitmaps.dir_off + p->at + AT_FLAGS;
	m->inconsistent = m->flags & QCOW2_BITMAP_IN_USE;
	ret = check_entry(p, m, e[AT_TYPE]);
	if (!ret) {
		m->name = strndup((const char *)e + ENTRY_LEN, name);
		ret = m->name ? 0 : -ENOMEM;
	}
	if (ret) {
		qcow2_bitmap_free(m);
		return ret;
	}
	p->s->bitmaps.list[p->s->bitmaps.nr++] = m;
	p->at += entry_len(name);
	return 0;
}

static int parse(struct qcow2 *s, const uint8_t *dir)
{
	struct parser p = {.s = s, .dir = dir, .len = s->h.bitmaps.dir_len};
	int ret = 0;

	s->bitmaps.list = calloc(s->h.bitmaps.nr, sizeof(*s->bitmaps.list));
	if (!s->bitmaps.list)
		return -ENOMEM;
	while (s->bitmaps.nr < s->h.bitmaps.nr && !ret)
		ret = parse_entry(&p);
	if (!ret && p.at != p.len)
		ret = bad_entry(&p, "the directory goes on behind it");
	return ret;
}

static int read_dir(struct qcow2 *s)
{
	uint64_t off = s->h.bitmaps.dir_off, len = s->h.bitmaps.dir_len;
	uint64_t file = s->b->file->len;
	struct parser p = {.s = s};
	uint8_t *dir;
	int ret;

	if (!off || off > file || len > file - off)
		return bad_entry(&p, "the directory is not in the file");
	if (s->h.bitmaps.nr > len / ENTRY_LEN)
		return bad_entry(&p, "the directory is too short");
	/* A name holds no NUL; a last byte of 0 keeps searches inside. */
	dir = malloc(len + QCOW2_MAX_NAME + 1);
	if (!dir)
		return -ENOMEM;
	memset(dir + len, 0, QCOW2_MAX_NAME + 1);
	ret = blk_read(s->b->file, off, dir, len);
	if (!ret)
		ret = parse(s, dir);
	free(dir);
	return ret;
}

int qcow2_bitmaps_load(struct qcow2 *s, struct error *e)
{
	char *why;
	int ret;

	if (!s->h.bitmaps.nr)
		return 0;
	ret = read_dir(s);
	if (!ret)
		return 0;
	why = s->bitmaps.why;
	s->bitmaps.why = NULL;
	qcow2_bitmaps_fini(s);
	if (!why)
		return error_errno(e, -ret, "Could not read the bitmaps");
	s->bitmaps.why = why;
	return 0;
}

/* ---- writing ---- */

static size_t encode(struct qcow2_bitmap **list, uint32_t nr, uint8_t *dir)
{
	size_t at = 0;

	for (uint32_t i = 0; i < nr; i++) {
		const struct qcow2_bitmap *m = list[i];
		uint8_t *p = dir + at;

		put(p + AT_TABLE, m->table_off, 8);
		put(p + AT_NR_TABLE, m->nr_table, 4);
		put(p + AT_FLAGS, m->flags, 4);
		p[AT_TYPE] = 1;
		p[AT_GRANULARITY] = m->granularity_bits;
		put(p + AT_NAME_LEN, strlen(m->name), 2);
		memcpy(p + ENTRY_LEN, m->name, strlen(m->name));
		at += entry_len(strlen(m->name));
	}
	return at;
}

static size_t dir_len(struct qcow2_bitmap **list, uint32_t nr)
{
	size_t len = 0;

	for (uint32_t i = 0; i < nr; i++)
		len += entry_len(strlen(list[i]->name));
	return len;
}

static int write_dir(struct qcow2 *s, struct qcow2_bitmap **list, uint32_t nr,
		     size_t len, uint64_t *off)
{
	uint8_t *dir = calloc(1, len ? len : 1);
	int ret = dir ? 0 : -ENOMEM;

	*off = 0;
	if (!ret && len > DIR_MAX)
		ret = -EFBIG;
	if (!ret && len) {
		encode(list, nr, dir);
		ret = qcow2_alloc_meta(s, len, off);
	}
	if (!ret && len)
		ret = blk_write(s->b->file, *off, dir, len, 0);
	free(dir);
	return ret;
}

static void place_flags(struct qcow2 *s)
{
	uint64_t at = s->h.bitmaps.dir_off;

	for (uint32_t i = 0; i < s->bitmaps.nr; i++) {
		s->bitmaps.list[i]->flags_at = at + AT_FLAGS;
		at += entry_len(strlen(s->bitmaps.list[i]->name));
	}
}

int qcow2_bitmaps_replace(struct qcow2 *s, struct qcow2_bitmap **list,
			  uint32_t nr, struct error *e)
{
	uint64_t old_off = s->h.bitmaps.dir_off;
	uint64_t old_len = s->h.bitmaps.nr ? s->h.bitmaps.dir_len : 0, off;
	size_t len = dir_len(list, nr);
	struct qcow2_header h;
	int ret = write_dir(s, list, nr, len, &off);

	if (ret)
		return error_errno(e, -ret, "Could not write the bitmaps");
	h = s->h;
	h.bitmaps = (struct qcow2_bitmaps_ext){nr, len, off};
	if (nr)
		h.autoclear |= QCOW2_AUTOCLEAR_BITMAPS;
	else
		h.autoclear &= ~QCOW2_AUTOCLEAR_BITMAPS;
	ret = qcow2_write_header(s, &h, e);
	if (ret)
		return ret;
	s->bitmaps.list = list;
	s->bitmaps.nr = nr;
	place_flags(s);
	if (!old_len)
		return 0;
	qcow2_forget_meta(s, old_off, old_len);
	return qcow2_free_later(s, old_off, old_len);
}

int qcow2_bitmap_read_table(struct qcow2 *s, const struct qcow2_bitmap *m,
			    uint64_t **out, struct error *e)
{
	int ret = qcow2_read_table(s, m->table_off, m->nr_table, out);

	if (ret)
		return error_errno(e, -ret, "Could not read bitmap '%s'",
				   m->name);
	for (uint32_t i = 0; i < m->nr_table && !ret; i++) {
		uint64_t entry = (*out)[i], off = entry & QCOW2_OFFSET_MASK;

		if (entry & ~(QCOW2_OFFSET_MASK | QCOW2_BITMAP_ONES) ||
		    off & (s->cluster_len - 1) || off >= s->b->file->len ||
		    (off && entry & QCOW2_BITMAP_ONES))
			ret = error_set(e, -EINVAL,
					"bitmap '%s': table entry 0x%" PRIx64
					" is not possible",
					m->name, entry);
	}
	if (ret) {
		free(*out);
		*out = NULL;
	}
	return ret;
}

int qcow2_bitmap_free_clusters(struct qcow2 *s, const uint64_t *table,
			       uint32_t nr, uint64_t table_off)
{
	int ret = 0;

	for (uint32_t i = 0; i < nr && !ret; i++) {
		uint64_t off = table[i] & QCOW2_OFFSET_MASK;

		if (!off)
			continue;
		qcow2_forget_meta(s, off, s->cluster_len);
		ret = qcow2_free_later(s, off, s->cluster_len);
	}
	if (ret || !table_off)
		return ret;
	qcow2_forget_meta(s, table_off, nr * 8ull);
	return qcow2_free_later(s, table_off, nr * 8ull);
}

int qcow2_bitmaps_drop(struct qcow2 *s, struct error *e)
{
	struct qcow2_bitmaps old = s->bitmaps;
	uint64_t **tables;
	int ret = 0;

	if (!s->h.bitmaps.nr)
		return 0;
	tables = calloc(old.nr + 1, sizeof(*tables));
	if (!tables)
		return error_set(e, -ENOMEM, "no memory for bitmaps");
	for (uint32_t i = 0; i < old.nr && !ret; i++)
		ret = qcow2_bitmap_read_table(s, old.list[i], &tables[i], e);
	if (!ret)
		ret = qcow2_bitmaps_replace(s, NULL, 0, e);
	for (uint32_t i = 0; i < old.nr && !ret; i++)
		ret = qcow2_bitmap_free_clusters(s, tables[i],
						 old.list[i]->nr_table,
						 old.list[i]->table_off);
	for (uint32_t i = 0; i < old.nr; i++) {
		free(tables[i]);
		if (!s->bitmaps.nr)
			qcow2_bitmap_free(old.list[i]);
	}
	free(tables);
	if (!s->bitmaps.nr) {
		free(old.list);
		free(old.live);
		free(old.why);
		s->bitmaps = (struct qcow2_bitmaps){0};
	}
	return ret;
}

int qcow2_bitmap_set_flags(struct qcow2 *s, struct qcow2_bitmap *m,
			   uint32_t set, uint32_t clear)
{
	uint32_t flags = (m->flags & ~clear) | set;
	uint8_t p[4];
	int ret;

	if (flags == m->flags)
		return 0;
	put(p, flags, sizeof(p));
	ret = blk_write(s->b->file, m->flags_at, p, sizeof(p), 0);
	if (!ret)
		m->flags = flags;
	return ret;
}

/* ---- what others ask ---- */

uint64_t qcow2_bitmaps_measure(const struct qcow2 *s, uint64_t cluster_len)
{
	uint64_t total = 0, dir = 0;

	for (uint32_t i = 0; i < s->bitmaps.nr; i++) {
		const struct qcow2_bitmap *m = s->bitmaps.list[i];
		uint64_t bytes =
			qcow2_bitmap_bytes(m->granularity_bits, s->h.disk_len);
		uint64_t nr = (bytes + cluster_len - 1) / cluster_len;
		uint64_t table = (nr * 8 + cluster_len - 1) / cluster_len;

		total += (nr + table) * cluster_len;
		dir += entry_len(strlen(m->name));
	}
	return total + (dir + cluster_len - 1) / cluster_len * cluster_len;
}

struct json_object *qcow2_bitmaps_info(const struct qcow2 *s)
{
	struct json_object *all = NULL;

	for (uint32_t i = 0; i < s->bitmaps.nr; i++) {
		const struct qcow2_bitmap *m = s->bitmaps.list[i];
		struct json_object *o = json_object_new_object();
		struct json_object *flags = json_object_new_array();

		if (m->flags & QCOW2_BITMAP_IN_USE)
			json_object_array_add(flags,
					      json_object_new_string("in-use"));
		if (m->flags & QCOW2_BITMAP_AUTO)
			json_object_array_add(flags,
					      json_object_new_string("auto"));
		json_object_object_add(o, "flags", flags);
		json_object_object_add(o, "name",
				       json_object_new_string(m->name));
		json_object_object_add(
			o, "granularity",
			json_object_new_int64(1ll << m->granularity_bits));
		if (!all)
			all = json_object_new_array();
		json_object_array_add(all, o);
	}
	return all;
}
