/*
 * Internal snapshots (section "Snapshots").
 *
 * A reference more or less to what the disk shows turns COPIED bits over.  So
 * that counts and bits agree at every moment (I6), the counts are shadowed and
 * L2 tables whose bits would be wrong are copied; one write of the header then
 * switches to the new counts, the new L1 table and the new list.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "core/blk/qcow2/l1.h"
#include "core/blk/qcow2/shadow.h"
#include "core/blk/qcow2/snapshot.h"
#include "core/error.h"

#define FIXED_LEN 40
#define EXTRA_LEN 24 /* what this code knows of the extra data */
#define TABLE_MAX (64u << 20)
#define EXTRA_MAX 1024

static uint16_t get16(const uint8_t *p)
{
	return p[0] << 8 | p[1];
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static uint64_t get64(const uint8_t *p)
{
	return (uint64_t)get32(p) << 32 | get32(p + 4);
}

static void put(uint8_t *p, uint64_t v, unsigned bytes)
{
	while (bytes--) {
		p[bytes] = v;
		v >>= 8;
	}
}

/* ---- the table ---- */

static int bad_entry(const struct qcow2 *s, uint32_t i, const char *what,
		     struct error *e)
{
	return error_set(e, -EINVAL, "'%s': snapshot %u: %s", s->b->name, i,
			 what);
}

/* An entry's fixed part; then its extra data, id and name. */
static int read_entry(struct qcow2 *s, uint32_t i, uint64_t *at,
		      struct qcow2_snapshot *out, struct error *e)
{
	uint8_t p[FIXED_LEN], extra[EXTRA_LEN] = {0};
	uint32_t id_len, name_len, extra_len, known;
	int ret = blk_read(s->b->file, *at, p, sizeof(p));

	if (ret)
		return error_errno(e, -ret, "Failed to read snapshot table");
	*out = (struct qcow2_snapshot){.l1_off = get64(p),
				       .nr_l1 = get32(p + 8)};
	id_len = get16(p + 12);
	name_len = get16(p + 14);
	out->info.date_sec = get32(p + 16);
	out->info.date_nsec = get32(p + 20);
	out->info.vm_clock_ns = get64(p + 24);
	out->info.vm_state_len = get32(p + 32);
	extra_len = get32(p + 36);
	if (extra_len > EXTRA_MAX)
		return bad_entry(s, i, "too much extra metadata", e);
	if (id_len >= sizeof(out->info.id) ||
	    name_len >= sizeof(out->info.name))
		return bad_entry(s, i, "its name is too long", e);
	if (out->nr_l1 > QCOW2_MAX_L1_LEN / 8 ||
	    out->l1_off & (s->cluster_len - 1) ||
	    out->l1_off > INT64_MAX - QCOW2_MAX_L1_LEN)
		return bad_entry(s, i, "its L1 table is invalid", e);
	known = extra_len < EXTRA_LEN ? extra_len : EXTRA_LEN;
	ret = blk_read(s->b->file, *at + FIXED_LEN, extra, known);
	if (!ret)
		ret = blk_read(s->b->file, *at + FIXED_LEN + extra_len,
			       out->info.id, id_len);
	if (!ret)
		ret = blk_read(s->b->file, *at + FIXED_LEN + extra_len + id_len,
			       out->info.name, name_len);
	if (ret)
		return error_errno(e, -ret, "Failed to read snapshot table");
	if (known >= 8)
		out->info.vm_state_len = get64(extra);
	out->info.disk_len = known >= 16 ? get64(extra + 8) : s->h.disk_len;
	out->info.has_icount = known >= 24;
	out->info.icount = get64(extra + 16);
	*at += (FIXED_LEN + extra_len + id_len + name_len + 7) & ~7u;
	return 0;
}

int qcow2_snapshots_load(struct qcow2 *s, struct error *e)
{
	uint64_t at = s->h.snapshots_off;
	uint32_t nr = s->h.nr_snapshots;
	int ret = 0;

	if (!nr)
		return 0;
	/* The file must hold as many as the header says. */
	if (at > s->b->file->len || nr > (s->b->file->len - at) / FIXED_LEN + 1)
		return error_set(e, -EINVAL,
				 "'%s': the snapshot table ends past the file",
				 s->b->name);
	s->snapshots = calloc(nr, sizeof(*s->snapshots));
	if (!s->snapshots)
		return error_set(e, -ENOMEM, "no memory for %u snapshots", nr);
	for (uint32_t i = 0; i < nr && !ret; i++) {
		if (at - s->h.snapshots_off > TABLE_MAX)
			return bad_entry(s, i, "the table is too long", e);
		ret = read_entry(s, i, &at, &s->snapshots[i], e);
		if (!ret)
			ret = qcow2_note_meta(s, s->snapshots[i].l1_off,
					      s->snapshots[i].nr_l1 * 8ull);
	}
	s->snapshots_len = at - s->h.snapshots_off;
	if (!ret)
		ret = qcow2_note_meta(s, s->h.snapshots_off, s->snapshots_len);
	return ret;
}

static size_t encode_entry(const struct qcow2_snapshot *sn, uint8_t *p)
{
	size_t id = strlen(sn->info.id), name = strlen(sn->info.name);
	size_t extra = sn->info.has_icount ? EXTRA_LEN : 16;

	memset(p, 0, FIXED_LEN);
	put(p, sn->l1_off, 8);
	put(p + 8, sn->nr_l1, 4);
	put(p + 12, id, 2);
	put(p + 14, name, 2);
	put(p + 16, sn->info.date_sec, 4);
	put(p + 20, sn->info.date_nsec, 4);
	put(p + 24, sn->info.vm_clock_ns, 8);
	put(p + 32,
	    sn->info.vm_state_len > UINT32_MAX ? 0 : sn->info.vm_state_len, 4);
	put(p + 36, extra, 4);
	put(p + 40, sn->info.vm_state_len, 8);
	put(p + 48, sn->info.disk_len, 8);
	if (extra == EXTRA_LEN)
		put(p + 56, sn->info.icount, 8);
	memcpy(p + FIXED_LEN + extra, sn->info.id, id);
	memcpy(p + FIXED_LEN + extra + id, sn->info.name, name);
	return (FIXED_LEN + extra + id + name + 7) & ~(size_t)7;
}

#define ENTRY_MAX (FIXED_LEN + EXTRA_LEN + 128 + 256 + 8ull)

/* [lock] Writes list to new clusters, and where they are to h. */
static int write_list(struct qcow2 *s, const struct qcow2_snapshot *list,
		      uint32_t nr, struct qcow2_header *h, uint64_t *out)
{
	uint8_t *buf = calloc(1, nr ? nr * ENTRY_MAX : 1);
	uint64_t off = 0, len = 0;
	int ret = buf ? 0 : -ENOMEM;

	for (uint32_t i = 0; i < nr && !ret; i++)
		len += encode_entry(&list[i], buf + len);
	if (!ret && len)
		ret = qcow2_alloc_meta(s, len, &off);
	if (!ret && len)
		ret = blk_write(s->b->file, off, buf, len, 0);
	free(buf);
	/* Growing the refcount table wrote the header meanwhile. */
	*h = s->h;
	h->snapshots_off = off;
	h->nr_snapshots = nr;
	*out = len;
	return ret;
}

/* [lock] The header names list: so does memory, and the old one is freed. */
static void adopt_list(struct qcow2 *s, struct qcow2_snapshot *list,
		       uint64_t len, uint64_t old_off)
{
	uint64_t old_len = s->snapshots_len;

	free(s->snapshots);
	s->snapshots = list;
	s->snapshots_len = len;
	if (!old_len)
		return;
	qcow2_forget_meta(s, old_off, old_len);
	/* Without memory for this it only leaks. */
	qcow2_free_later(s, old_off, old_len);
}

/* [lock] Makes list the image's snapshots; takes it over unless it fails. */
static int replace_list(struct qcow2 *s, struct qcow2_snapshot *list,
			uint32_t nr, struct error *e)
{
	uint64_t old_off = s->h.snapshots_off, len;
	struct qcow2_header h;
	int ret = write_list(s, list, nr, &h, &len);

	if (ret)
		return error_errno(e, -ret, "Could not write snapshot table");
	ret = qcow2_write_header(s, &h, e);
	if (!ret)
		adopt_list(s, list, len, old_off);
	return ret;
}

static struct qcow2_snapshot *copy_list(struct qcow2 *s, uint32_t extra)
{
	struct qcow2_snapshot *list =
		calloc(s->h.nr_snapshots + extra + 1, sizeof(*list));

	if (list && s->h.nr_snapshots)
		memcpy(list, s->snapshots, s->h.nr_snapshots * sizeof(*list));
	return list;
}

int qcow2_snapshots_rewrite(struct qcow2 *s, struct error *e)
{
	struct qcow2_snapshot *list;
	int ret;

	if (!s->h.nr_snapshots)
		return 0;
	list = copy_list(s, 0);
	if (!list)
		return error_set(e, -ENOMEM, "no memory for snapshots");
	ret = replace_list(s, list, s->h.nr_snapshots, e);
	if (ret)
		free(list);
	return ret;
}

/* The id wins over the name. */
static int find(const struct qcow2 *s, const char *id_or_name)
{
	for (uint32_t i = 0; i < s->h.nr_snapshots; i++)
		if (!strcmp(s->snapshots[i].info.id, id_or_name))
			return i;
	for (uint32_t i = 0; i < s->h.nr_snapshots; i++)
		if (!strcmp(s->snapshots[i].info.name, id_or_name))
			return i;
	return -1;
}

static uint64_t clusters(const struct qcow2 *s, uint64_t len)
{
	return (len + s->cluster_len - 1) >> s->h.cluster_bits;
}

/* ---- create, apply, delete ---- */

static void fill_new(struct qcow2 *s, const char *name,
		     struct qcow2_snapshot *sn)
{
	unsigned long max = 0;
	struct timeval now;

	for (uint32_t i = 0; i < s->h.nr_snapshots; i++) {
		unsigned long id = strtoul(s->snapshots[i].info.id, NULL, 10);

		if (id > max && id < UINT32_MAX)
			max = id;
	}
	gettimeofday(&now, NULL);
	*sn = (struct qcow2_snapshot){.nr_l1 = s->h.nr_l1};
	snprintf(sn->info.id, sizeof(sn->info.id), "%lu", max + 1);
	snprintf(sn->info.name, sizeof(sn->info.name), "%s", name);
	sn->info.date_sec = now.tv_sec;
	sn->info.date_nsec = now.tv_usec * 1000;
	sn->info.disk_len = s->h.disk_len;
	sn->info.has_icount = true;
}

/* An L1 table with room for nr entries that begins as from does; malloced. */
static uint64_t *copy_l1(const uint64_t *from, uint64_t nr_from, uint64_t nr)
{
	uint64_t *l1 = calloc(nr ? nr : 1, sizeof(*l1));

	for (uint64_t i = 0; l1 && i < nr_from; i++)
		l1[i] = from[i] & QCOW2_OFFSET_MASK;
	return l1;
}

/* L2 tables that were copied give the reference they had to their copy;
 * shared: a second one, too. */
static int move_references(struct qcow2 *s, const uint64_t *from,
			   const uint64_t *l1, uint64_t nr, bool shared)
{
	int ret = 0;

	for (uint64_t i = 0; i < nr && !ret; i++) {
		uint64_t old = from[i] & QCOW2_OFFSET_MASK;

		if (old == l1[i])
			continue;
		ret = qcow2_change_refcount(s, old, s->cluster_len, -1);
		if (!ret && shared)
			ret = qcow2_change_refcount(s, l1[i], s->cluster_len,
						    1);
	}
	return ret;
}

/* Frees the L2 tables that only the old L1 table named.  The switch is done:
 * what can't be freed leaks, and is no reason to do it again. */
static void free_copied(struct qcow2 *s, const uint64_t *old, uint64_t nr)
{
	for (uint64_t i = 0; i < nr; i++)
		if (old[i] != (s->l1[i] & QCOW2_OFFSET_MASK))
			qcow2_free_later(s, old[i], s->cluster_len);
	qcow2_settle(s);
}

/* Everything that the disk shows, and its L2 tables, gets a reference more. */
static int share_tables(struct qcow2 *s, uint64_t *l1, uint64_t nr)
{
	int ret = qcow2_change_l1(s, s->l1, nr, 1);

	if (!ret)
		ret = qcow2_copy_wrong_l2(s, l1, nr);
	if (!ret)
		ret = move_references(s, s->l1, l1, nr, true);
	return ret ? ret : qcow2_set_l1_copied(s, l1, nr);
}

/* [lock] In the shadow: sn, the last of list, shares what l1 names, and both
 * appear with the header. */
static int switch_create(struct qcow2 *s, struct qcow2_snapshot *list,
			 uint64_t *l1, struct error *e)
{
	struct qcow2_snapshot *sn = &list[s->h.nr_snapshots];
	uint64_t old_off = s->h.snapshots_off, len;
	struct qcow2_header h;
	int ret = share_tables(s, l1, sn->nr_l1);

	if (!ret && sn->nr_l1)
		ret = qcow2_alloc_meta(s, sn->nr_l1 * 8ull, &sn->l1_off);
	if (!ret)
		ret = qcow2_write_table(s, sn->l1_off, l1, sn->nr_l1);
	if (!ret)
		ret = write_list(s, list, s->h.nr_snapshots + 1, &h, &len);
	if (ret)
		return error_errno(e, -ret, "Could not take the snapshot");
	ret = qcow2_replace_l1(s, l1, sn->nr_l1, &h, e);
	if (!ret)
		adopt_list(s, list, len, old_off);
	return ret;
}

static int create_from(struct qcow2 *s, struct qcow2_snapshot *list,
		       struct error *e)
{
	uint64_t nr = s->h.nr_l1, room = nr + 3 * clusters(s, nr * 8 + 8);
	uint64_t *old = copy_l1(s->l1, nr, nr), *l1 = copy_l1(s->l1, nr, nr);
	int ret = old && l1 ? 0 : -ENOMEM;

	room += clusters(s, (s->h.nr_snapshots + 1) * ENTRY_MAX);
	if (!ret)
		ret = qcow2_shadow_begin(s, room);
	if (ret) {
		error_errno(e, -ret, "Could not take the snapshot");
		goto out;
	}
	ret = qcow2_shadow_end(s, switch_create(s, list, l1, e));
	if (!ret) {
		list = NULL;
		l1 = NULL;
		free_copied(s, old, nr);
	}
out:
	free(old);
	free(l1);
	free(list);
	return ret;
}

static int create(struct qcow2 *s, const char *name, struct error *e)
{
	struct qcow2_snapshot *list, *sn;

	if (s->b->data_file)
		return error_set(e, -ENOTSUP,
				 "an image with an external data file has no "
				 "internal snapshots");
	if (s->h.nr_snapshots >= QCOW2_MAX_SNAPSHOTS)
		return error_set(e, -EFBIG, "there are too many snapshots");
	if (strlen(name) >= sizeof(sn->info.name))
		return error_set(e, -EINVAL, "the name is too long");
	list = copy_list(s, 1);
	if (!list)
		return error_set(e, -ENOMEM, "no memory for a snapshot");
	fill_new(s, name, &list[s->h.nr_snapshots]);
	return create_from(s, list, e);
}

/* [lock] In the shadow: what gone reached is counted out; what only the disk
 * shows then is COPIED.  That appears with list, which lacks gone. */
static int switch_delete(struct qcow2 *s, const struct qcow2_snapshot *gone,
			 const uint64_t *gone_l1, struct qcow2_snapshot *list,
			 uint64_t *l1, struct error *e)
{
	uint64_t old_off = s->h.snapshots_off, len, nr = s->h.nr_l1;
	struct qcow2_header h;
	int ret = qcow2_change_l1(s, gone_l1, gone->nr_l1, -1);

	qcow2_forget_meta(s, gone->l1_off, gone->nr_l1 * 8ull);
	if (!ret && gone->nr_l1)
		ret = qcow2_free_later(s, gone->l1_off, gone->nr_l1 * 8ull);
	if (!ret)
		ret = qcow2_settle(s);
	if (!ret)
		ret = qcow2_copy_wrong_l2(s, l1, nr);
	if (!ret)
		ret = qcow2_set_l1_copied(s, l1, nr);
	if (!ret)
		ret = write_list(s, list, s->h.nr_snapshots - 1, &h, &len);
	if (ret)
		return error_errno(e, -ret, "Could not delete the snapshot");
	ret = qcow2_replace_l1(s, l1, nr, &h, e);
	if (!ret)
		adopt_list(s, list, len, old_off);
	return ret;
}

/* Takes list over, also when it fails. */
static int delete_to(struct qcow2 *s, const struct qcow2_snapshot *gone,
		     const uint64_t *gone_l1, struct qcow2_snapshot *list,
		     struct error *e)
{
	uint64_t nr = s->h.nr_l1, room = nr + clusters(s, nr * 8 + 8);
	uint64_t *old = copy_l1(s->l1, nr, nr), *l1 = copy_l1(s->l1, nr, nr);
	int ret = old && l1 ? 0 : -ENOMEM;

	room += clusters(s, s->h.nr_snapshots * ENTRY_MAX);
	if (!ret)
		ret = qcow2_shadow_begin(s, room);
	if (ret) {
		error_errno(e, -ret, "Could not delete the snapshot");
		goto out;
	}
	ret = qcow2_shadow_end(s, switch_delete(s, gone, gone_l1, list, l1, e));
	if (!ret) {
		list = NULL;
		l1 = NULL;
		free_copied(s, old, nr);
	}
out:
	free(old);
	free(l1);
	free(list);
	return ret;
}

static int delete (struct qcow2 *s, int at, struct error *e)
{
	struct qcow2_snapshot gone = s->snapshots[at], *list = copy_list(s, 0);
	uint64_t *l1;
	int ret;

	if (!list)
		return error_set(e, -ENOMEM, "no memory for snapshots");
	memmove(list + at, list + at + 1,
		(s->h.nr_snapshots - at - 1) * sizeof(*list));
	ret = qcow2_read_table(s, gone.l1_off, gone.nr_l1, &l1);
	if (ret) {
		free(list);
		return error_errno(e, -ret, "Could not read its L1 table");
	}
	ret = delete_to(s, &gone, l1, list, e);
	free(l1);
	return ret;
}

/* [lock] In the shadow: l1, which begins as the snapshot's table, is the
 * disk's.  What it shows has the snapshot's reference and a new one. */
static int switch_apply(struct qcow2 *s, const struct qcow2_snapshot *sn,
			uint64_t *l1, uint64_t nr, struct error *e)
{
	uint64_t *from = copy_l1(l1, nr, nr);
	struct qcow2_header h = s->h;
	int ret = from ? qcow2_change_l1(s, from, nr, 1) : -ENOMEM;

	if (!ret)
		ret = qcow2_copy_wrong_l2(s, l1, nr);
	if (!ret)
		ret = move_references(s, from, l1, nr, false);
	if (!ret)
		ret = qcow2_set_l1_copied(s, l1, nr);
	free(from);
	if (ret)
		return error_errno(e, -ret, "Could not apply the snapshot");
	h.disk_len = sn->info.disk_len;
	ret = qcow2_replace_l1(s, l1, nr, &h, e);
	return ret ? error_prefix(e, ret, "Could not apply the snapshot") : 0;
}

static int apply_l1(struct qcow2 *s, const struct qcow2_snapshot *sn,
		    uint64_t *l1, uint64_t nr, struct error *e)
{
	uint64_t old_nr = s->h.nr_l1, *old = copy_l1(s->l1, old_nr, old_nr);
	int ret = old ? 0 : -ENOMEM;

	if (!ret)
		ret = qcow2_shadow_begin(s, nr + clusters(s, nr * 8 + 8));
	if (ret) {
		free(old);
		free(l1);
		return error_errno(e, -ret, "Could not apply the snapshot");
	}
	ret = qcow2_shadow_end(s, switch_apply(s, sn, l1, nr, e));
	if (ret) {
		free(old);
		free(l1);
		return ret;
	}
	/* What the disk shows now has two references without these, which leak
	 * if they can't be freed. */
	qcow2_change_l1(s, old, old_nr, -1);
	free(old);
	qcow2_settle(s);
	return 0;
}

static int apply(struct qcow2 *s, int at, struct error *e)
{
	const struct qcow2_snapshot *sn = &s->snapshots[at];
	uint64_t *list, *l1, nr = qcow2_l1_for(s, sn->info.disk_len);
	int ret = qcow2_settle(s);

	if (nr < sn->nr_l1)
		nr = sn->nr_l1;
	if (nr > QCOW2_MAX_L1_LEN / 8)
		return error_set(e, -EFBIG, "its disk is too large");
	if (!ret)
		ret = qcow2_read_table(s, sn->l1_off, sn->nr_l1, &list);
	if (ret)
		return error_errno(e, -ret, "Could not read its L1 table");
	l1 = copy_l1(list, sn->nr_l1, nr);
	free(list);
	if (!l1)
		return error_set(e, -ENOMEM, "no memory for the L1 table");
	return apply_l1(s, sn, l1, nr, e);
}

int qcow2_snapshot(struct blk *b, enum blk_snapshot_op op,
		   const char *id_or_name, struct error *e)
{
	struct qcow2 *s = qcow2_of(b);
	int at, ret;

	if (!b->write)
		return error_set(e, -EROFS, "the image is open for reading");
	co_lock(&s->lock);
	at = find(s, id_or_name);
	if (s->corrupt)
		ret = error_set(e, -EIO, "the image is corrupt");
	else if (op == BLK_SNAPSHOT_APPLY && s->bitmaps.nr)
		ret = error_set(e, -EBUSY, "Device has active dirty bitmaps");
	else if (op == BLK_SNAPSHOT_CREATE)
		ret = create(s, id_or_name, e);
	else if (at < 0)
		ret = error_set(e, -ENOENT, "snapshot not found");
	else if (op == BLK_SNAPSHOT_DELETE)
		ret = delete (s, at, e);
	else
		ret = apply(s, at, e);
	b->write_gen++;
	co_unlock(&s->lock);
	return ret;
}

int qcow2_snapshots(struct blk *b, struct blk_snapshot_info *out, unsigned max)
{
	struct qcow2 *s = qcow2_of(b);

	for (uint32_t i = 0; i < s->h.nr_snapshots && i < max; i++)
		out[i] = s->snapshots[i].info;
	return s->h.nr_snapshots;
}

/* ---- reading one ---- */

int qcow2_snapshot_enter(struct qcow2 *s, const char *id_or_name,
			 struct error *e)
{
	int at = find(s, id_or_name), ret;
	uint64_t *l1;

	if (at < 0)
		return error_set(e, -ENOENT,
				 "Failed to load snapshot: Can't find "
				 "snapshot");
	ret = qcow2_read_table(s, s->snapshots[at].l1_off,
			       s->snapshots[at].nr_l1, &l1);
	if (ret)
		return error_errno(e, -ret,
				   "Failed to load snapshot: Can't read its "
				   "L1 table");
	free(s->l1);
	s->l1 = l1;
	s->h.nr_l1 = s->snapshots[at].nr_l1;
	s->h.disk_len = s->b->len = s->snapshots[at].info.disk_len;
	return 0;
}
