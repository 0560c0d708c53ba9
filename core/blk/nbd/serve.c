/*
 * serve: the requests of a client (doc/proto.md, "Transmission phase").
 *
 * One coroutine receives; each request gets one of its own, so that they run
 * side by side and answer in any order.
 */
#include <errno.h>
#include <stdlib.h>

#include "core/blk/driver.h"
#include "core/blk/nbd/conn.h"
#include "core/blk/nbd/proto.h"

#define REQUESTS_MAX 32
#define HELD_MAX     (64u << 20) /* bytes of data of one client's requests */
#define BUFFER_MIN   16384
#define SPARE_MAX    (16u << 20)
#define HOLE_MIN     65536 /* shorter reads don't ask for zeroes */
#define EXTENTS_MAX  2048
#define STEP	     (1u << 20)

struct request {
	struct nbd_conn *c;
	uint16_t flags, type;
	uint64_t cookie, off;
	uint32_t len;
	struct nbd_buffer *buffer;
	uint8_t *data;
	int error; /* found before it began */
};

/* ---- buffers ---- */

static void buffer_free(struct nbd_buffer *buffer)
{
	free(buffer->data);
	free(buffer);
}

static struct nbd_buffer *buffer_create(size_t len)
{
	struct nbd_buffer *buffer = calloc(1, sizeof(*buffer));

	if (!buffer)
		return NULL;
	buffer->room = BUFFER_MIN;
	while (buffer->room < len)
		buffer->room *= 2;
	if (!posix_memalign((void **)&buffer->data, 4096, buffer->room))
		return buffer;
	free(buffer);
	return NULL;
}

/* Makes room for the request's data; fresh memory for each would cost more
 * than copying them. */
static int take_buffer(struct request *r)
{
	struct nbd_buffer **p = &r->c->spare;

	while (*p && ((*p)->room < r->len || (*p)->room / 8 > r->len))
		p = &(*p)->next;
	r->buffer = *p;
	if (*p) {
		r->c->spare_len -= (*p)->room;
		*p = (*p)->next;
	} else {
		r->buffer = buffer_create(r->len);
	}
	if (!r->buffer)
		return -ENOMEM;
	r->data = r->buffer->data;
	return 0;
}

static void request_free(struct request *r)
{
	struct nbd_conn *c = r->c;
	struct nbd_buffer *buffer = r->buffer;

	if (buffer && c->spare_len + buffer->room > SPARE_MAX) {
		buffer_free(buffer);
	} else if (buffer) {
		buffer->next = c->spare;
		c->spare = buffer;
		c->spare_len += buffer->room;
	}
	free(r);
}

static void free_spare(struct nbd_conn *c)
{
	while (c->spare) {
		struct nbd_buffer *buffer = c->spare;

		c->spare = buffer->next;
		buffer_free(buffer);
	}
	c->spare_len = 0;
}

/* ---- replies ---- */

/* "Error values". */
static uint32_t error_number(int ret)
{
	switch (-ret) {
	case 0:
		return 0;
	case EPERM:
	case EACCES:
	case EROFS:
		return 1;
	case ENOMEM:
		return 12;
	case EINVAL:
		return 22;
	case ENOSPC:
	case EFBIG:
	case EDQUOT:
		return 28;
	case EOVERFLOW:
		return 75;
	case ENOTSUP:
		return 95;
	default:
		return 5;
	}
}

static void send_simple(const struct request *r, int ret, size_t len)
{
	uint8_t head[16], *p = nbd_put32(head, NBD_SIMPLE_MAGIC);
	struct iovec iov[] = {{head, sizeof(head)}, {r->data, len}};

	p = nbd_put32(p, error_number(ret));
	nbd_put64(p, r->cookie);
	nbd_conn_send(r->c, iov, len ? 2 : 1);
}

/* The one and only chunk of a reply: a head of its own, then data. */
static void send_chunk(const struct request *r, enum nbd_chunk type,
		       const void *own, size_t own_len, void *data, size_t len)
{
	uint8_t head[20 + 16], *p = nbd_put32(head, NBD_CHUNK_MAGIC);
	struct iovec iov[] = {{head, 20 + own_len}, {data, len}};

	p = nbd_put16(p, NBD_CHUNK_DONE);
	p = nbd_put16(p, type);
	p = nbd_put64(p, r->cookie);
	p = nbd_put32(p, own_len + len);
	if (own_len)
		memcpy(p, own, own_len);
	nbd_conn_send(r->c, iov, len ? 2 : 1);
}

static void send_result(const struct request *r, int ret)
{
	const char *text = ret ? strerror(-ret) : "";
	uint8_t own[6];

	if (!r->c->structured) {
		send_simple(r, ret, 0);
		return;
	}
	if (!ret) {
		send_chunk(r, NBD_CHUNK_NONE, NULL, 0, NULL, 0);
		return;
	}
	nbd_put16(nbd_put32(own, error_number(ret)), strlen(text));
	send_chunk(r, NBD_CHUNK_ERROR, own, sizeof(own), (void *)text,
		   strlen(text));
}

/* ---- commands ---- */

/* Is all of it known to be zeroes?  Then they need not travel. */
static bool is_hole(const struct request *r, struct blk *b, uint64_t off)
{
	uint64_t n;
	int ret;

	if (!r->c->structured || r->len < HOLE_MIN)
		return false;
	ret = blk_status_above(b, NULL, off, r->len, &n, NULL, NULL, NULL);
	return ret >= 0 && (ret & BLK_STATUS_ZERO) && n == r->len;
}

static void do_read(struct request *r)
{
	struct nbd_export *x = r->c->export;
	uint8_t own[12];
	int ret = 0;

	nbd_put64(own, r->off);
	if (r->len && is_hole(r, x->blk, x->off + r->off)) {
		nbd_put32(own + 8, r->len);
		send_chunk(r, NBD_CHUNK_HOLE, own, 12, NULL, 0);
		return;
	}
	if (r->len)
		ret = take_buffer(r);
	if (r->len && !ret)
		ret = blk_read(x->blk, x->off + r->off, r->data, r->len);
	if (ret || !r->len)
		send_result(r, ret);
	else if (r->c->structured)
		send_chunk(r, NBD_CHUNK_DATA, own, 8, r->data, r->len);
	else
		send_simple(r, 0, r->len);
}

static bool is_fua(const struct request *r)
{
	return (r->flags & NBD_CMD_FUA) || r->c->export->write_through;
}

static int do_write(struct request *r, struct blk *b, uint64_t off)
{
	return blk_write(b, off, r->data, r->len, is_fua(r) ? BLK_FUA : 0);
}

static int do_trim(struct request *r, struct blk *b, uint64_t off)
{
	int ret = blk_discard(b, off, r->len);

	if (!ret && is_fua(r))
		ret = blk_flush(b);
	return ret;
}

static int do_write_zeroes(struct request *r, struct blk *b, uint64_t off)
{
	unsigned flags = is_fua(r) ? BLK_FUA : 0;

	if (!(r->flags & NBD_CMD_NO_HOLE))
		flags |= BLK_MAY_UNMAP;
	if (r->flags & NBD_CMD_FAST_ZERO)
		flags |= BLK_NO_FALLBACK;
	return blk_write_zeroes(b, off, r->len, flags);
}

/* Reads it once, for whatever cache lies below. */
static int do_cache(struct request *r, struct blk *b, uint64_t off)
{
	uint64_t end = off + r->len;
	void *buf;
	int ret = 0;

	if (posix_memalign(&buf, 4096, STEP))
		return -ENOMEM;
	for (; off < end && !ret && !r->c->broken; off += STEP)
		ret = blk_read(b, off, buf,
			       end - off < STEP ? end - off : STEP);
	free(buf);
	return ret;
}

/* Fills out with the id and pairs of length and state; returns its bytes or
 * -errno. */
static int gather_extents(struct request *r, struct blk *b, uint64_t off,
			  uint8_t *out)
{
	unsigned max = r->flags & NBD_CMD_REQ_ONE ? 1 : EXTENTS_MAX, nr = 0;
	uint64_t left = r->len, n;
	uint32_t state, last = 0, last_len = 0;
	uint8_t *p = nbd_put32(out, NBD_CONTEXT_ID);

	while (left && !r->c->broken) {
		int ret = blk_status_above(b, NULL, off, left, &n, NULL, NULL,
					   NULL);

		if (ret < 0)
			return nr ? p - out : ret;
		if (!n)
			break;
		state = (ret & BLK_STATUS_DATA ? 0 : NBD_STATE_HOLE) |
			(ret & BLK_STATUS_ZERO ? NBD_STATE_ZERO : 0);
		if (nr && state == last) {
			p -= 8;
			last_len += n;
		} else if (nr == max) {
			break;
		} else {
			nr++;
			last_len = n;
		}
		last = state;
		p = nbd_put32(nbd_put32(p, last_len), state);
		off += n;
		left -= n;
	}
	return nr ? p - out : -EIO;
}

static void do_status(struct request *r)
{
	struct nbd_export *x = r->c->export;
	uint8_t *out = malloc(4 + 8 * EXTENTS_MAX);
	int len = -ENOMEM;

	if (out)
		len = gather_extents(r, x->blk, x->off + r->off, out);
	if (len < 0)
		send_result(r, len);
	else
		send_chunk(r, NBD_CHUNK_STATUS, NULL, 0, out, len);
	free(out);
}

/* ---- requests ---- */

static const uint16_t known_flags[NBD_NR_COMMANDS] = {
	[NBD_CMD_READ] = NBD_CMD_FUA | NBD_CMD_DF,
	[NBD_CMD_WRITE] = NBD_CMD_FUA,
	[NBD_CMD_FLUSH] = NBD_CMD_FUA,
	[NBD_CMD_TRIM] = NBD_CMD_FUA,
	[NBD_CMD_CACHE] = NBD_CMD_FUA,
	[NBD_CMD_WRITE_ZEROES] =
		NBD_CMD_FUA | NBD_CMD_NO_HOLE | NBD_CMD_FAST_ZERO,
	[NBD_CMD_BLOCK_STATUS] = NBD_CMD_FUA | NBD_CMD_REQ_ONE,
};

static bool is_write(const struct request *r)
{
	return r->type == NBD_CMD_WRITE || r->type == NBD_CMD_TRIM ||
	       r->type == NBD_CMD_WRITE_ZEROES;
}

static int check(const struct request *r)
{
	const struct nbd_conn *c = r->c;
	const struct nbd_export *x = c->export;

	if (r->type >= NBD_NR_COMMANDS || (r->flags & ~known_flags[r->type]))
		return -EINVAL;
	if ((r->flags & NBD_CMD_DF) && !c->structured)
		return -EINVAL;
	if (is_write(r) && !x->write)
		return -EPERM;
	if (r->type == NBD_CMD_FLUSH)
		return 0;
	if (r->off > x->len || r->len > x->len - r->off)
		return r->type == NBD_CMD_WRITE ||
				       r->type == NBD_CMD_WRITE_ZEROES
			       ? -ENOSPC
			       : -EINVAL;
	if (r->type == NBD_CMD_READ && r->len > NBD_DATA_MAX)
		return -EINVAL;
	if (r->type == NBD_CMD_BLOCK_STATUS &&
	    (!r->len || c->context_export != x))
		return -EINVAL;
	return 0;
}

static uint32_t data_len(const struct request *r)
{
	if (r->type == NBD_CMD_WRITE)
		return r->len;
	return r->type == NBD_CMD_READ && !r->error ? r->len : 0;
}

static void answer(struct request *r)
{
	struct nbd_export *x = r->c->export;
	uint64_t off = x->off + r->off;

	if (r->error) {
		send_result(r, r->error);
		return;
	}
	switch (r->type) {
	case NBD_CMD_READ:
		do_read(r);
		break;
	case NBD_CMD_WRITE:
		send_result(r, do_write(r, x->blk, off));
		break;
	case NBD_CMD_FLUSH:
		send_result(r, blk_flush(x->blk));
		break;
	case NBD_CMD_TRIM:
		send_result(r, do_trim(r, x->blk, off));
		break;
	case NBD_CMD_CACHE:
		send_result(r, do_cache(r, x->blk, off));
		break;
	case NBD_CMD_WRITE_ZEROES:
		send_result(r, do_write_zeroes(r, x->blk, off));
		break;
	case NBD_CMD_BLOCK_STATUS:
		do_status(r);
		break;
	}
}

static void request_run(void *arg)
{
	struct request *r = arg;
	struct nbd_conn *c = r->c;

	answer(r);
	c->nr_requests--;
	c->held -= data_len(r);
	request_free(r);
	co_wake_all(&c->room);
}

static void wait_for_room(struct nbd_conn *c, uint32_t len)
{
	while (c->nr_requests == REQUESTS_MAX ||
	       (c->nr_requests && c->held + len > HELD_MAX))
		co_wait(&c->room, NULL);
}

/* Receives one request; NULL: the conversation is over. */
static struct request *next_request(struct nbd_conn *c)
{
	uint8_t head[NBD_REQUEST_LEN];
	struct request *r;

	if (nbd_conn_recv(c, head, sizeof(head)) ||
	    nbd_get32(head) != NBD_REQUEST_MAGIC)
		return NULL;
	r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	*r = (struct request){.c = c,
			      .flags = nbd_get16(head + 4),
			      .type = nbd_get16(head + 6),
			      .cookie = nbd_get64(head + 8),
			      .off = nbd_get64(head + 16),
			      .len = nbd_get32(head + 24)};
	r->error = check(r);
	if (r->type == NBD_CMD_DISC ||
	    (r->type == NBD_CMD_WRITE && r->len > NBD_DATA_MAX))
		goto over;
	wait_for_room(c, data_len(r));
	if (r->type != NBD_CMD_WRITE)
		return r;
	if (take_buffer(r))
		goto over;
	if (!nbd_conn_recv(c, r->data, r->len))
		return r;
over:
	request_free(r);
	return NULL;
}

void nbd_conn_serve(struct nbd_conn *c)
{
	struct request *r;

	while ((r = next_request(c))) {
		c->nr_requests++;
		c->held += data_len(r);
		if (co_start(nbd_server_ctx(c->server), request_run, r)) {
			r->error = -ENOMEM;
			c->held -= data_len(r);
			request_run(r);
			break;
		}
	}
	while (c->nr_requests)
		co_wait(&c->room, NULL);
	free_spare(c);
}
