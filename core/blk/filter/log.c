/*
 * The file: a superblock in sector 0, then for each entry a sector with its
 * head (and the text of a mark), then its data.  All numbers are little-endian.
 * (Linux, Documentation/admin-guide/device-mapper/log-writes.rst.)
 */
#include "core/blk/filter/log.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/blk/iov.h"
#include "core/error.h"

#define SECTOR	 512
#define MAGIC	 0x6a736677736872ull
#define VERSION	 1
#define MARK_MAX 400
#define ON_DISK	 (BLK_LOG_FLUSH | BLK_LOG_FUA | BLK_LOG_DISCARD | BLK_LOG_MARK)

struct super {
	uint64_t magic, version, nr_entries;
	uint32_t sector_len;
};

struct head {
	uint64_t sector, nr_sectors, flags, data_len;
};

/* What one or more filters noted in memory. */
struct memory {
	unsigned refs;
	uint64_t nr, max;
	struct blk_log_entry *entries;
};

struct log_node {
	struct memory *memory; /* NULL: to a file */
	struct blk *file;
	struct co_mutex writing; /* the end of the file */
	uint64_t at, nr;
	unsigned nr_flushing;
	/* Done while a flush was under way. */
	struct blk_log_entry *held;
	unsigned nr_held, max_held;
	int error; /* the log could not be written: sticky */
};

/* ---- the list in memory ---- */

static int push(struct memory *m, const struct blk_log_entry *entry)
{
	if (m->nr == m->max) {
		uint64_t max = m->max ? 2 * m->max : 256;
		void *p = realloc(m->entries, max * sizeof(*m->entries));

		if (!p)
			return -ENOMEM;
		m->entries = p;
		m->max = max;
	}
	m->entries[m->nr++] = *entry;
	return 0;
}

static void memory_unref(struct memory *m)
{
	if (!m || --m->refs)
		return;
	while (m->nr)
		free(m->entries[--m->nr].data);
	free(m->entries);
	free(m);
}

/* ---- the file ---- */

static int write_super(struct log_node *l)
{
	uint8_t sector[SECTOR] = {0};
	struct super super = {
		.magic = htole64(MAGIC),
		.version = htole64(VERSION),
		.nr_entries = htole64(l->nr),
		.sector_len = htole32(SECTOR),
	};

	memcpy(sector, &super, sizeof(super));
	return blk_write(l->file, 0, sector, sizeof(sector), 0);
}

static int write_data(struct log_node *l, const struct blk_log_entry *entry)
{
	uint64_t len = (entry->len + SECTOR - 1) & ~(uint64_t)(SECTOR - 1);
	int ret = 0;

	if (entry->flags & BLK_LOG_ZEROES)
		ret = blk_write_zeroes(l->file, l->at, len, 0);
	else
		ret = blk_write(l->file, l->at, entry->data, len, 0);
	if (!ret)
		l->at += len;
	return ret;
}

static int write_entry(struct log_node *l, const struct blk_log_entry *entry)
{
	uint8_t sector[SECTOR] = {0};
	bool is_mark = entry->flags & BLK_LOG_MARK;
	struct head head = {
		.sector = htole64(entry->off / SECTOR),
		.nr_sectors = htole64(
			is_mark ? 0 : (entry->len + SECTOR - 1) / SECTOR),
		.flags = htole64(entry->flags & ON_DISK),
		.data_len = htole64(is_mark ? entry->len : 0),
	};
	int ret;

	memcpy(sector, &head, sizeof(head));
	if (is_mark)
		memcpy(sector + sizeof(head), entry->data, entry->len);
	ret = blk_write(l->file, l->at, sector, sizeof(sector), 0);
	if (ret)
		return ret;
	l->at += sizeof(sector);
	if (!is_mark && entry->len && !(entry->flags & BLK_LOG_DISCARD))
		ret = write_data(l, entry);
	l->nr++;
	if (!ret && (is_mark || entry->flags & (BLK_LOG_FLUSH | BLK_LOG_FUA)))
		ret = write_super(l);
	return ret;
}

/* ---- noting ---- */

/* Takes the entry's data over. */
static int note(struct log_node *l, struct blk_log_entry *entry)
{
	int ret;

	if (l->memory) {
		ret = push(l->memory, entry);
	} else {
		co_lock(&l->writing);
		ret = l->error ? l->error : write_entry(l, entry);
		l->error = ret;
		co_unlock(&l->writing);
	}
	if (ret || !l->memory)
		free(entry->data);
	return ret;
}

static int hold(struct log_node *l, struct blk_log_entry *entry)
{
	if (l->nr_held == l->max_held) {
		unsigned max = l->max_held ? 2 * l->max_held : 16;
		void *p = realloc(l->held, max * sizeof(*l->held));

		if (!p) {
			free(entry->data);
			return -ENOMEM;
		}
		l->held = p;
		l->max_held = max;
	}
	l->held[l->nr_held++] = *entry;
	return 0;
}

static int note_change(struct blk *b, struct blk_log_entry *entry)
{
	struct log_node *l = b->priv;

	entry->node = b;
	return l->nr_flushing ? hold(l, entry) : note(l, entry);
}

/* ---- slots ---- */

static int log_writev(struct blk *b, uint64_t off, uint64_t len,
		      const struct iovec *iov, int nr, unsigned flags)
{
	struct blk_log_entry entry = {
		.off = off,
		.len = len,
		.flags = flags & BLK_FUA ? BLK_LOG_FUA : 0,
		.data = malloc(len),
	};
	int ret;

	if (!entry.data)
		return -ENOMEM;
	iov_to_buf(iov, nr, 0, entry.data, len);
	ret = blk_filter_writev(b, off, len, iov, nr, flags);
	if (!ret)
		return note_change(b, &entry);
	free(entry.data);
	return ret;
}

static int log_write_zeroes(struct blk *b, uint64_t off, uint64_t len,
			    unsigned flags)
{
	struct blk_log_entry entry = {
		.off = off,
		.len = len,
		.flags = BLK_LOG_ZEROES | (flags & BLK_FUA ? BLK_LOG_FUA : 0),
	};
	int ret = blk_filter_write_zeroes(b, off, len, flags);

	return ret ? ret : note_change(b, &entry);
}

static int log_discard(struct blk *b, uint64_t off, uint64_t len)
{
	struct blk_log_entry entry = {
		.off = off, .len = len, .flags = BLK_LOG_DISCARD};
	int ret = blk_filter_discard(b, off, len);

	return ret ? ret : note_change(b, &entry);
}

static int release_held(struct log_node *l)
{
	struct blk_log_entry *held = l->held;
	unsigned nr = l->nr_held;
	int ret = 0;

	l->held = NULL;
	l->nr_held = l->max_held = 0;
	for (unsigned i = 0; i < nr; i++) {
		int noted = note(l, &held[i]);

		ret = ret ? ret : noted;
	}
	free(held);
	return ret;
}

static int log_flush(struct blk *b)
{
	struct log_node *l = b->priv;
	struct blk_log_entry entry = {.node = b, .flags = BLK_LOG_FLUSH};
	int ret, held;

	l->nr_flushing++;
	ret = blk_flush(b->file);
	if (!ret)
		ret = note(l, &entry);
	l->nr_flushing--;
	held = release_held(l);
	return ret ? ret : held;
}

static int log_truncate(struct blk *b, uint64_t len, enum blk_prealloc mode,
			bool allow_shrink, struct error *e)
{
	struct log_node *l = b->priv;
	struct blk_log_entry entry = {.off = len, .flags = BLK_LOG_TRUNCATE};
	int ret = blk_filter_truncate(b, len, mode, allow_shrink, e);

	if (ret || (!l->memory && len >= b->len))
		return ret;
	if (!l->memory) {
		entry.flags = BLK_LOG_DISCARD;
		entry.len = b->len - len;
	}
	ret = note_change(b, &entry);
	return ret ? error_errno(e, -ret, "'%s': the log", b->name) : 0;
}

static int open_log(struct blk *b, const char *path, struct error *e)
{
	struct blk_options o = {.path = path, .format = "file", .write = true};
	struct log_node *l = b->priv;
	int ret = blk_make_file(b->ctx, path, 0, BLK_PREALLOC_OFF, e);

	if (ret)
		return ret;
	l->file = blk_open(b->ctx, &o, e);
	if (!l->file)
		return -EIO;
	l->at = SECTOR;
	ret = write_super(l);
	if (!ret)
		return 0;
	blk_unref(l->file);
	return error_errno(e, -ret, "Could not write '%s'", path);
}

static int log_open(struct blk *b, const struct blk_options *o, struct error *e)
{
	static const char *const keys[] = {"log.filename", NULL};
	struct log_node *l = b->priv;
	const char *path = blk_filter_opt(o, "log.filename");
	int ret = blk_filter_check(o, keys, e);

	if (ret)
		return ret;
	b->align = SECTOR;
	b->fua = true;
	if (path)
		return open_log(b, path, e);
	l->memory = calloc(1, sizeof(*l->memory));
	if (!l->memory)
		return error_set(e, -ENOMEM, "no memory for the write log");
	l->memory->refs = 1;
	return 0;
}

static void log_close(struct blk *b)
{
	struct log_node *l = b->priv;

	if (l->file) {
		if (!l->error)
			write_super(l);
		blk_unref(l->file);
	}
	memory_unref(l->memory);
	free(l->held);
	blk_filter_cut_tail(b);
}

const struct blk_driver blk_log_driver = {
	.name = "log",
	.priv_len = sizeof(struct log_node),
	.is_filter = true,
	.open = log_open,
	.close = log_close,
	.readv = blk_filter_readv,
	.writev = log_writev,
	.write_zeroes = log_write_zeroes,
	.discard = log_discard,
	.flush = log_flush,
	.status = blk_filter_status,
	.truncate = log_truncate,
};

/* ---- walking ---- */

uint64_t blk_log_count(const struct blk *b)
{
	const struct log_node *l = b->priv;

	return l->memory ? l->memory->nr : 0;
}

const struct blk_log_entry *blk_log_at(const struct blk *b, uint64_t i)
{
	const struct log_node *l = b->priv;

	return &l->memory->entries[i];
}

void blk_log_clear(struct blk *b)
{
	struct log_node *l = b->priv;

	while (l->memory && l->memory->nr)
		free(l->memory->entries[--l->memory->nr].data);
}

void blk_log_share(struct blk *b, struct blk *with)
{
	struct log_node *l = b->priv, *other = with->priv;

	other->memory->refs++;
	memory_unref(l->memory);
	l->memory = other->memory;
}

int blk_log_mark(struct blk *b, const char *text)
{
	struct blk_log_entry entry = {.flags = BLK_LOG_MARK,
				      .len = strlen(text)};

	if (entry.len > MARK_MAX)
		return -EINVAL;
	entry.data = strdup(text);
	return entry.data ? note_change(b, &entry) : -ENOMEM;
}
