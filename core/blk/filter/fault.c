#include "core/blk/filter/fault.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/blk/filter/fault_script.h"
#include "core/error.h"

#define SCRIPT_MAX (256 * 1024)
#define TRIP_NS	   1

struct fault {
	struct fault_script *script; /* NULL: none */
	unsigned state;
	uint64_t hits;
};

/* What becomes of one request. */
struct verdict {
	int error;
	bool immediately, after;
	uint64_t delay_ns;
};

static bool fits(const struct fault *f, struct fault_rule *r, unsigned op,
		 uint64_t off, uint64_t len)
{
	if (!(r->ops & op) || (r->state && r->state != f->state))
		return false;
	if (r->has_range && (off >= r->end || off + len <= r->off))
		return false;
	if (r->seen++ < r->skip || (r->count && r->fired >= r->count))
		return false;
	return r->probability >= 1 ||
	       rand_r(&f->script->seed) < r->probability * RAND_MAX;
}

static struct verdict judge(struct blk *b, unsigned op, uint64_t off,
			    uint64_t len)
{
	struct fault *f = b->priv;
	unsigned state = f->state;
	struct verdict v = {0};

	for (unsigned i = 0; f->script && i < f->script->nr; i++) {
		struct fault_rule *r = &f->script->rules[i];

		if (!fits(f, r, op, off, len))
			continue;
		r->fired++;
		f->hits++;
		v.delay_ns += r->delay_ns;
		if (r->set_state)
			state = r->set_state;
		if (r->error && !v.error) {
			v.error = r->error;
			v.immediately = r->immediately;
			v.after = r->after;
		}
	}
	f->state = state;
	return v;
}

/* Waits as the verdict says; true: the child is not to be asked. */
static bool is_over(struct blk *b, const struct verdict *v)
{
	if (v->delay_ns)
		co_sleep_ns(b->ctx, v->delay_ns);
	else if (v->error && !v->immediately)
		co_sleep_ns(b->ctx, TRIP_NS);
	return v->error && !v->after;
}

static int fault_readv(struct blk *b, uint64_t off, uint64_t len,
		       const struct iovec *iov, int nr)
{
	struct verdict v = judge(b, FAULT_READ, off, len);
	int ret = is_over(b, &v) ? 0 : blk_filter_readv(b, off, len, iov, nr);

	return v.error ? v.error : ret;
}

static int fault_writev(struct blk *b, uint64_t off, uint64_t len,
			const struct iovec *iov, int nr, unsigned flags)
{
	struct verdict v = judge(b, FAULT_WRITE, off, len);
	int ret = is_over(b, &v)
			  ? 0
			  : blk_filter_writev(b, off, len, iov, nr, flags);

	return v.error ? v.error : ret;
}

static int fault_write_zeroes(struct blk *b, uint64_t off, uint64_t len,
			      unsigned flags)
{
	struct verdict v = judge(b, FAULT_ZEROES, off, len);
	int ret = is_over(b, &v) ? 0
				 : blk_filter_write_zeroes(b, off, len, flags);

	return v.error ? v.error : ret;
}

static int fault_discard(struct blk *b, uint64_t off, uint64_t len)
{
	struct verdict v = judge(b, FAULT_DISCARD, off, len);
	int ret = is_over(b, &v) ? 0 : blk_filter_discard(b, off, len);

	return v.error ? v.error : ret;
}

static int fault_flush(struct blk *b)
{
	struct verdict v = judge(b, FAULT_FLUSH, 0, UINT64_MAX);
	int ret = is_over(b, &v) ? 0 : blk_flush(b->file);

	return v.error ? v.error : ret;
}

static int fault_truncate(struct blk *b, uint64_t len, enum blk_prealloc mode,
			  bool allow_shrink, struct error *e)
{
	struct verdict v = judge(b, FAULT_TRUNCATE, 0, UINT64_MAX);
	int ret = 0;

	if (!is_over(b, &v))
		ret = blk_filter_truncate(b, len, mode, allow_shrink, e);
	return v.error ? error_errno(e, -v.error, "Failed to resize '%s'",
				     b->name)
		       : ret;
}

/* ---- scripts ---- */

int blk_fault_set(struct blk *b, const char *script, const char *name,
		  struct error *e)
{
	struct fault_script *parsed = malloc(sizeof(*parsed));
	struct fault *f = b->priv;
	int ret;

	if (!parsed)
		return error_set(e, -ENOMEM, "no memory for a fault script");
	ret = fault_script_parse(script, name, parsed, e);
	if (ret) {
		free(parsed);
		return ret;
	}
	free(f->script);
	f->script = parsed;
	f->state = 1;
	return 0;
}

static int load(struct blk *b, const char *path, struct error *e)
{
	char *text = calloc(1, SCRIPT_MAX + 1);
	FILE *in = fopen(path, "re");
	size_t len;
	int ret;

	if (!in || !text)
		ret = error_errno(e, in ? ENOMEM : errno, "Could not open '%s'",
				  path);
	else if ((len = fread(text, 1, SCRIPT_MAX + 1, in)) > SCRIPT_MAX)
		ret = error_set(e, -EFBIG,
				"'%s' is longer than a fault script may be",
				path);
	else if (ferror(in))
		ret = error_set(e, -EIO, "Could not read '%s'", path);
	else if (strlen(text) != len)
		ret = error_set(e, -EINVAL, "'%s' is no text", path);
	else
		ret = blk_fault_set(b, text, path, e);
	if (in)
		fclose(in);
	free(text);
	return ret;
}

static int fault_open(struct blk *b, const struct blk_options *o,
		      struct error *e)
{
	static const char *const keys[] = {"script", "config", NULL};
	const char *script = blk_filter_opt(o, "script");
	const char *path = blk_filter_opt(o, "config");
	struct fault *f = b->priv;
	int ret = blk_filter_check(o, keys, e);

	f->state = 1;
	b->fua = true;
	if (!ret && script && path)
		ret = error_set(e, -EINVAL,
				"script and config can't be used at the same "
				"time");
	if (!ret && path)
		ret = load(b, path, e);
	if (!ret && script)
		ret = blk_fault_set(b, script, "script", e);
	return ret;
}

static void fault_close(struct blk *b)
{
	struct fault *f = b->priv;

	free(f->script);
}

uint64_t blk_fault_hits(const struct blk *b)
{
	const struct fault *f = b->priv;

	return f->hits;
}

unsigned blk_fault_state(const struct blk *b)
{
	const struct fault *f = b->priv;

	return f->state;
}

const struct blk_driver blk_fault_driver = {
	.name = "fault",
	.priv_len = sizeof(struct fault),
	.is_filter = true,
	.open = fault_open,
	.close = fault_close,
	.readv = fault_readv,
	.writev = fault_writev,
	.write_zeroes = fault_write_zeroes,
	.discard = fault_discard,
	.flush = fault_flush,
	.status = blk_filter_status,
	.truncate = fault_truncate,
};
