/*
 * negotiate: greeting a client, up to the choice of an export (doc/proto.md,
 * "Newstyle negotiation", "Option haggling").
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/blk/driver.h"
#include "core/blk/nbd/address.h"
#include "core/blk/nbd/conn.h"
#include "core/blk/nbd/proto.h"

#define OPTION_MAX  65536   /* of what is looked at */
#define SKIP_MAX    1048576 /* of what is not */
#define QUERIES_MAX 64
#define PREFERRED   4096

/* An option that was received. */
struct option {
	uint32_t what, len;
	uint8_t *data; /* len bytes and a zero */
};

/* What remains to be parsed. */
struct text {
	const uint8_t *at, *end;
};

static int reply(struct nbd_conn *c, const struct option *o, uint32_t type,
		 const void *data, size_t len)
{
	uint8_t head[20];
	struct iovec iov[] = {{head, sizeof(head)}, {(void *)data, len}};
	uint8_t *p = nbd_put64(head, NBD_REPLY_MAGIC);

	p = nbd_put32(p, o->what);
	p = nbd_put32(p, type);
	nbd_put32(p, len);
	return nbd_conn_send(c, iov, len ? 2 : 1);
}

static int ack(struct nbd_conn *c, const struct option *o)
{
	return reply(c, o, NBD_REP_ACK, NULL, 0);
}

__attribute__((format(printf, 4, 5))) static int refuse(struct nbd_conn *c,
							const struct option *o,
							uint32_t type,
							const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return reply(c, o, type, text, strlen(text));
}

static int invalid(struct nbd_conn *c, const struct option *o)
{
	return refuse(c, o, NBD_REP_ERR_INVALID, "malformed option %u",
		      o->what);
}

/* ---- parsing ---- */

static bool take32(struct text *t, uint32_t *n)
{
	if (t->end - t->at < 4)
		return false;
	*n = nbd_get32(t->at);
	t->at += 4;
	return true;
}

/* A length and as many characters; malloced, NULL when it is malformed. */
static char *take_string(struct text *t)
{
	uint32_t len;
	char *s;

	if (!take32(t, &len) || len > NBD_STRING_MAX ||
	    len > (size_t)(t->end - t->at))
		return NULL;
	s = strndup((const char *)t->at, len);
	t->at += len;
	return s;
}

/* The export that an option begins with; NULL after a refusal. */
static struct nbd_export *take_export(struct nbd_conn *c,
				      const struct option *o, struct text *t,
				      int *ret)
{
	struct nbd_export *x = NULL;
	char *name = take_string(t);

	if (name)
		x = nbd_server_find(c->server, name);
	if (!name)
		*ret = invalid(c, o);
	else if (!x)
		*ret = refuse(c, o, NBD_REP_ERR_UNKNOWN,
			      "export '%.200s' not present", name);
	free(name);
	return x;
}

/* ---- options ---- */

static int do_export_name(struct nbd_conn *c, const struct option *o)
{
	struct nbd_export *x =
		nbd_server_find(c->server, (const char *)o->data);
	uint8_t head[10 + 124] = {0}, *p;
	struct iovec iov = {head, c->no_zeroes ? 10 : sizeof(head)};

	/* The protocol knows no answer but to hang up. */
	if (!x)
		return -ENOENT;
	p = nbd_put64(head, x->len);
	nbd_put16(p, nbd_conn_flags(c, x));
	c->export = x;
	return nbd_conn_send(c, &iov, 1);
}

static int do_list(struct nbd_conn *c, const struct option *o)
{
	int ret = 0;

	if (o->len)
		return invalid(c, o);
	for (struct nbd_export *x = NULL;
	     !ret && (x = nbd_server_next(c->server, x));) {
		const char *about = x->description ? x->description : "";
		size_t name = strlen(x->name), more = strlen(about);
		uint8_t *data = malloc(4 + name + more + 1);

		if (!data)
			return -ENOMEM;
		memcpy(nbd_put32(data, name), x->name, name);
		memcpy(data + 4 + name, about, more);
		ret = reply(c, o, NBD_REP_SERVER, data, 4 + name + more);
		free(data);
	}
	return ret ? ret : ack(c, o);
}

static int send_text_info(struct nbd_conn *c, const struct option *o,
			  enum nbd_info what, const char *text)
{
	size_t len = strlen(text);
	uint8_t *data = malloc(2 + len + 1);
	int ret;

	if (!data)
		return -ENOMEM;
	memcpy(nbd_put16(data, what), text, len);
	ret = reply(c, o, NBD_REP_INFO, data, 2 + len);
	free(data);
	return ret;
}

static int send_info(struct nbd_conn *c, const struct option *o,
		     const struct nbd_export *x, bool wants_name)
{
	uint32_t align = blk_align(x->blk);
	uint8_t data[14], *p;
	int ret = 0;

	if (wants_name)
		ret = send_text_info(c, o, NBD_INFO_NAME, x->name);
	if (!ret && x->description)
		ret = send_text_info(c, o, NBD_INFO_DESCRIPTION,
				     x->description);
	/* The block layer takes any request, if slowly. */
	p = nbd_put16(data, NBD_INFO_BLOCK_SIZE);
	p = nbd_put32(p, 1);
	p = nbd_put32(p, align > PREFERRED ? align : PREFERRED);
	nbd_put32(p, NBD_DATA_MAX);
	if (!ret)
		ret = reply(c, o, NBD_REP_INFO, data, 14);
	p = nbd_put16(data, NBD_INFO_EXPORT);
	p = nbd_put64(p, x->len);
	nbd_put16(p, nbd_conn_flags(c, x));
	return ret ? ret : reply(c, o, NBD_REP_INFO, data, 12);
}

static int do_info(struct nbd_conn *c, const struct option *o)
{
	struct text t = {o->data, o->data + o->len};
	bool wants_name = false;
	struct nbd_export *x;
	unsigned nr;
	int ret = 0;

	x = take_export(c, o, &t, &ret);
	if (!x)
		return ret;
	if (t.end - t.at < 2)
		return invalid(c, o);
	nr = nbd_get16(t.at);
	t.at += 2;
	if (t.end - t.at != 2 * (ptrdiff_t)nr)
		return invalid(c, o);
	for (; nr; nr--, t.at += 2)
		if (nbd_get16(t.at) == NBD_INFO_NAME)
			wants_name = true;
	ret = send_info(c, o, x, wants_name);
	if (!ret)
		ret = ack(c, o);
	if (!ret && o->what == NBD_OPT_GO)
		c->export = x;
	return ret;
}

static int do_structured(struct nbd_conn *c, const struct option *o)
{
	if (o->len || c->structured)
		return invalid(c, o);
	c->structured = true;
	return ack(c, o);
}

/* Does a query ask for the one context that there is? */
static bool is_asked(const char *query, bool list)
{
	return !strcmp(query, NBD_CONTEXT) || (list && !strcmp(query, "base:"));
}

static int do_contexts(struct nbd_conn *c, const struct option *o)
{
	bool list = o->what == NBD_OPT_LIST_META_CONTEXT, asked = false;
	struct text t = {o->data, o->data + o->len};
	uint8_t data[4 + sizeof(NBD_CONTEXT) - 1];
	struct nbd_export *x;
	uint32_t nr;
	int ret = 0;

	if (!list)
		c->context_export = NULL;
	if (!c->structured)
		return refuse(c, o, NBD_REP_ERR_INVALID,
			      "structured replies come first");
	x = take_export(c, o, &t, &ret);
	if (!x)
		return ret;
	if (!take32(&t, &nr))
		return invalid(c, o);
	if (nr > QUERIES_MAX)
		return refuse(c, o, NBD_REP_ERR_TOO_BIG,
			      "more than %d contexts", QUERIES_MAX);
	if (list && !nr)
		asked = true;
	for (; nr; nr--) {
		char *query = take_string(&t);

		if (!query)
			return invalid(c, o);
		asked = asked || is_asked(query, list);
		free(query);
	}
	if (t.at != t.end)
		return invalid(c, o);
	if (asked) {
		memcpy(nbd_put32(data, NBD_CONTEXT_ID), NBD_CONTEXT,
		       sizeof(data) - 4);
		ret = reply(c, o, NBD_REP_META_CONTEXT, data, sizeof(data));
		if (!list)
			c->context_export = x;
	}
	return ret ? ret : ack(c, o);
}

static int do_option(struct nbd_conn *c, const struct option *o)
{
	int ret;

	if (!c->fixed && o->what != NBD_OPT_EXPORT_NAME)
		return -EPROTO;
	switch (o->what) {
	case NBD_OPT_EXPORT_NAME:
		return do_export_name(c, o);
	case NBD_OPT_ABORT:
		ret = ack(c, o);
		return ret ? ret : -ECONNABORTED;
	case NBD_OPT_LIST:
		return do_list(c, o);
	case NBD_OPT_STARTTLS:
		return refuse(c, o, NBD_REP_ERR_POLICY, "TLS not configured");
	case NBD_OPT_INFO:
	case NBD_OPT_GO:
		return do_info(c, o);
	case NBD_OPT_STRUCTURED_REPLY:
		return do_structured(c, o);
	case NBD_OPT_LIST_META_CONTEXT:
	case NBD_OPT_SET_META_CONTEXT:
		return do_contexts(c, o);
	default:
		return refuse(c, o, NBD_REP_ERR_UNSUP,
			      "option %u is not supported", o->what);
	}
}

static int next_option(struct nbd_conn *c)
{
	struct option o = {0};
	uint8_t head[16];
	int ret = nbd_conn_recv(c, head, sizeof(head));

	if (ret)
		return ret;
	if (nbd_get64(head) != NBD_OPTION_MAGIC)
		return -EPROTO;
	o.what = nbd_get32(head + 8);
	o.len = nbd_get32(head + 12);
	if (o.len > OPTION_MAX) {
		if (o.len > SKIP_MAX || !c->fixed)
			return -EPROTO;
		ret = nbd_conn_skip(c, o.len);
		return ret ? ret
			   : refuse(c, &o, NBD_REP_ERR_TOO_BIG,
				    "option %u is too long", o.what);
	}
	o.data = malloc(o.len + 1);
	if (!o.data)
		return -ENOMEM;
	o.data[o.len] = 0;
	ret = nbd_conn_recv(c, o.data, o.len);
	if (!ret)
		ret = do_option(c, &o);
	free(o.data);
	return ret;
}

bool nbd_conn_negotiate(struct nbd_conn *c)
{
	uint8_t head[18], *p = nbd_put64(head, NBD_MAGIC);
	struct iovec iov = {head, sizeof(head)};
	uint32_t flags;

	p = nbd_put64(p, NBD_OPTION_MAGIC);
	nbd_put16(p, NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES);
	if (nbd_conn_send(c, &iov, 1) || nbd_conn_recv(c, head, 4))
		return false;
	flags = nbd_get32(head);
	if (flags & ~(NBD_FIXED_NEWSTYLE | NBD_NO_ZEROES))
		return false;
	c->fixed = flags & NBD_FIXED_NEWSTYLE;
	c->no_zeroes = flags & NBD_NO_ZEROES;
	while (!c->export)
		if (next_option(c))
			return false;
	return true;
}
