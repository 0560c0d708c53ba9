/* NBD: addresses; our server and our node on one loop, over disks in memory
 * that wait and fail. */
#include "tests/unit/bench.h"

#include "core/blk/iov.h"
#include "core/blk/nbd/address.h"
#include "core/blk/nbd/list.h"
#include "core/blk/nbd/server.h"
#include "core/blk/options.h"

#define LEN   (1u << 20)
#define BLOCK 4096

struct fixture {
	struct bench *bench;
	struct blk_ctx *ctx; /* the bench's */
	char socket[80];
	struct nbd_server *server;
	unsigned nr_gone;
	struct blk disks[2];
};

/* ---- a disk in memory ---- */

struct mem {
	uint8_t bytes[LEN];
	uint64_t delay_ns, bad_from, bad_end;
	unsigned in_flight, flushes;
	unsigned gather; /* the first wait until so many are there */
	bool gathered;
};

static int mem_wait(struct blk *b, uint64_t off, uint64_t len)
{
	struct mem *m = b->priv;

	m->in_flight++;
	for (int i = 0; m->in_flight < m->gather && i < 60000; i++)
		co_sleep_ns(b->ctx, 1000000);
	if (m->gather)
		m->gathered = m->in_flight >= m->gather;
	m->gather = 0;
	if (m->delay_ns)
		co_sleep_ns(b->ctx, rand() % m->delay_ns);
	m->in_flight--;
	return off < m->bad_end && off + len > m->bad_from ? -EIO : 0;
}

static int mem_readv(struct blk *b, uint64_t off, uint64_t len,
		     const struct iovec *iov, int nr)
{
	struct mem *m = b->priv;
	int ret = mem_wait(b, off, len);

	if (!ret)
		iov_from_buf(iov, nr, 0, m->bytes + off, len);
	return ret;
}

static int mem_writev(struct blk *b, uint64_t off, uint64_t len,
		      const struct iovec *iov, int nr, unsigned flags)
{
	struct mem *m = b->priv;
	int ret = mem_wait(b, off, len);

	(void)flags;
	if (!ret)
		iov_to_buf(iov, nr, 0, m->bytes + off, len);
	return ret ? -ENOSPC : 0;
}

static int mem_flush(struct blk *b)
{
	((struct mem *)b->priv)->flushes++;
	return 0;
}

static bool is_zero(const struct mem *m, uint64_t i)
{
	return !m->bytes[i * BLOCK];
}

/* Whole blocks are zero or not, as their first byte says. */
static int mem_status(struct blk *b, uint64_t off, uint64_t len, uint64_t *pnum,
		      uint64_t *map, struct blk **file)
{
	struct mem *m = b->priv;
	uint64_t i = off / BLOCK, end = i;

	(void)map;
	(void)file;
	while (end * BLOCK < off + len && is_zero(m, end) == is_zero(m, i))
		end++;
	*pnum = end * BLOCK - off < len ? end * BLOCK - off : len;
	return is_zero(m, i) ? BLK_STATUS_ZERO : BLK_STATUS_DATA;
}

static const struct blk_driver mem_driver = {
	.name = "mem",
	.readv = mem_readv,
	.writev = mem_writev,
	.flush = mem_flush,
	.status = mem_status,
};

static struct blk mem_node(struct fixture *f)
{
	struct mem *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	return (struct blk){.drv = &mem_driver,
			    .ctx = f->ctx,
			    .name = "mem",
			    .priv = m,
			    .len = LEN,
			    .align = 1,
			    .write = true,
			    .refs = 1};
}

/* ---- set-up ---- */

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->bench = bench_create();
	f->ctx = f->bench->ctx;
	snprintf(f->socket, sizeof(f->socket), "%s/nbd", f->bench->dir);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	bench_destroy(f->bench);
	free(f);
	return 0;
}

static void on_gone(void *arg, bool negotiated, unsigned left)
{
	struct fixture *f = arg;

	(void)left;
	f->nr_gone += negotiated;
}

static int serve(struct fixture *f, struct blk *a, struct blk *b,
		 unsigned max_clients)
{
	struct nbd_server_config cfg = {
		.max_clients = max_clients, .client_gone = on_gone, .arg = f};
	struct nbd_export_config first = {.name = "", .blk = a, .write = true},
				 second = {.name = "part",
					   .description = "a part",
					   .blk = b,
					   .off = 65536,
					   .len = 65536};
	struct nbd_address at = {.socket = f->socket};
	struct error e = {0};
	int ret;

	f->server = nbd_server_create(f->ctx, &cfg, &e);
	ret = nbd_server_add_export(f->server, &first, &e);
	if (!ret && b)
		ret = nbd_server_add_export(f->server, &second, &e);
	if (!ret && nbd_server_add_export(f->server, &first, &e) != -EEXIST)
		ret = -EEXIST;
	return ret ? ret : nbd_server_listen(f->server, &at, &e);
}

static struct blk *connect_to(struct fixture *f, const char *name, bool write,
			      struct error *e)
{
	struct nbd_address at = {.socket = f->socket, .export = (char *)name};
	char *uri = nbd_address_uri(&at);
	struct blk_options o = {.path = uri, .format = "raw", .write = write};
	struct blk *b = blk_open(f->ctx, &o, e);

	free(uri);
	return b;
}

/* ---- addresses ---- */

static void addresses(void **state)
{
	static const char *const pairs[][2] = {
		{"nbd://host", "nbd://host:10809"},
		{"nbd://host:1/a%20b", "nbd://host:1/a%20b"},
		{"nbd://[::1]:22/x", "nbd://[::1]:22/x"},
		{"nbd:host:7", "nbd://host:7"},
		{"nbd:[::1]:7:exportname=a:b", "nbd://[::1]:7/a:b"},
		{"nbd:unix:/a/b", "nbd+unix://?socket=/a/b"},
		{"nbd:unix:/a:exportname=x", "nbd+unix:///x?socket=/a"},
		{"nbd+unix:///x?socket=/a%3f", "nbd+unix:///x?socket=/a%3F"},
		{"nbd+unix://?a=b&socket=/s", "nbd+unix://?socket=/s"},
		{"nbd+tcp://h/x", "nbd://h:10809/x"},
		{"nbd://", "nbd://localhost:10809"},
	};
	static const char *const bad[] = {
		"nbd::",
		"nbd:unix:",
		"nbd://[::1",
		"nbd://:7",
		"nbd+unix:///x",
		"nbd://h/%",
		"nbd://h/%0",
		"nbd://h/%zz",
		"nbd://h/%00",
		"nbds://h",
		"http://h",
		"nbd://[]/",
		"nbd+unix:///?socket=",
		"nbd+unix://h/?socket=/s",
	};
	struct nbd_address a;
	struct error e = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		char *uri;

		assert_int_equal(nbd_address_parse(pairs[i][0], &a, &e), 0);
		uri = nbd_address_uri(&a);
		assert_string_equal(uri, pairs[i][1]);
		free(uri);
		nbd_address_fini(&a);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		e.msg[0] = 0;
		assert_true(nbd_address_parse(bad[i], &a, &e) < 0);
		assert_true(e.msg[0]);
		nbd_address_fini(&a);
	}
}

/* ---- exports ---- */

static int do_exports(void *arg)
{
	struct fixture *f = arg;
	struct blk a = mem_node(f), b = mem_node(f), *x, *y;
	struct mem *ma = a.priv, *mb = b.priv;
	uint8_t buf[8192];
	struct error e = {0};
	uint64_t n;

	memset(mb->bytes + 65536, 7, 65536);
	memset(ma->bytes + 3 * BLOCK, 1, 2 * BLOCK);
	assert_int_equal(serve(f, &a, &b, 0), 0);
	assert_null(connect_to(f, "none", false, &e));
	assert_non_null(strstr(e.msg, "not available"));
	assert_null(connect_to(f, "part", true, &e));
	x = connect_to(f, "", true, &e);
	y = connect_to(f, "part", false, &e);
	assert_non_null(x);
	assert_non_null(y);
	assert_int_equal(blk_len(x), LEN);
	assert_int_equal(blk_len(y), 65536);
	assert_int_equal(blk_read(y, 57344, buf, 8192), 0);
	assert_int_equal(buf[8191], 7);
	assert_int_equal(blk_read(y, 65536, buf, 1), -EINVAL);
	/* Status, within what the server said and beyond a write. */
	assert_int_equal(blk_status(x, 0, LEN, &n, NULL, NULL) &
				 (BLK_STATUS_ZERO | BLK_STATUS_DATA),
			 BLK_STATUS_ZERO);
	assert_int_equal(n, 3 * BLOCK);
	assert_true(blk_status(x, n, LEN, &n, NULL, NULL) & BLK_STATUS_DATA);
	assert_int_equal(n, 2 * BLOCK);
	memset(buf, 9, sizeof(buf));
	assert_int_equal(blk_write(x, 0, buf, BLOCK, BLK_FUA), 0);
	assert_int_equal(ma->bytes[BLOCK - 1], 9);
	assert_true(ma->flushes > 0);
	assert_true(blk_status(x, 0, LEN, &n, NULL, NULL) & BLK_STATUS_DATA);
	assert_int_equal(n, BLOCK);
	/* Zeroes that would have to be written are not fast. */
	assert_int_equal(blk_write_zeroes(x, 0, BLOCK, BLK_NO_FALLBACK),
			 -ENOTSUP);
	assert_int_equal(blk_write_zeroes(x, 0, BLOCK, 0), 0);
	assert_int_equal(ma->bytes[0], 0);
	/* Errors travel. */
	ma->bad_from = 65536;
	ma->bad_end = 65540;
	assert_int_equal(blk_read(x, 65536, buf, 8192), -EIO);
	assert_int_equal(blk_write(x, 65536, buf, 8192, 0), -ENOSPC);
	assert_int_equal(blk_read(x, 0, buf, 8192), 0);
	assert_int_equal(blk_unref(x), 0);
	assert_int_equal(blk_unref(y), 0);
	nbd_server_destroy(f->server);
	assert_int_equal(a.refs, 1);
	assert_int_equal(b.refs, 1);
	free(ma);
	free(mb);
	return 0;
}

static void exports(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(blk_run(f->ctx, do_exports, f), 0);
}

/* ---- many requests at once ---- */

#define WORKERS 24
#define PART	(LEN / WORKERS / BLOCK * BLOCK)

struct worker {
	struct blk *b;
	uint8_t *shadow;
	uint64_t off;
	unsigned *left;
	struct co *waiter;
	int rounds, ret;
};

static int worker_step(struct worker *w)
{
	uint64_t at = rand() % PART, len = rand() % (PART - at) + 1;
	uint8_t *buf = malloc(len), *shadow = w->shadow + w->off + at;
	int ret;

	switch (rand() % 3) {
	case 0:
		ret = blk_read(w->b, w->off + at, buf, len);
		if (!ret && memcmp(buf, shadow, len))
			ret = -EILSEQ;
		break;
	case 1:
		memset(buf, rand(), len);
		memcpy(shadow, buf, len);
		ret = blk_write(w->b, w->off + at, buf, len,
				rand() % 8 ? 0 : BLK_FUA);
		break;
	default:
		memset(shadow, 0, len);
		ret = blk_write_zeroes(w->b, w->off + at, len, 0);
	}
	free(buf);
	return ret;
}

static void worker_run(void *arg)
{
	struct worker *w = arg;

	while (!w->ret && w->rounds--)
		w->ret = worker_step(w);
	if (!--*w->left && w->waiter)
		co_wake(w->waiter);
}

static unsigned start_workers(struct fixture *f, struct worker *w,
			      struct blk **nodes, unsigned nr_nodes,
			      uint8_t *shadow, int rounds, unsigned *left)
{
	*left = WORKERS;
	for (unsigned i = 0; i < WORKERS; i++) {
		w[i] = (struct worker){.b = nodes[i % nr_nodes],
				       .shadow = shadow,
				       .off = i * PART,
				       .left = left,
				       .rounds = rounds};
		assert_int_equal(co_start(f->ctx, worker_run, &w[i]), 0);
	}
	return *left;
}

static void wait_workers(struct worker *w, unsigned *left)
{
	for (unsigned i = 0; i < WORKERS; i++)
		w[i].waiter = co_self();
	while (*left)
		co_yield ();
}

static int do_storm(void *arg)
{
	struct fixture *f = arg;
	struct blk a = mem_node(f), *nodes[2];
	struct mem *m = a.priv;
	uint8_t *shadow = calloc(1, LEN);
	struct worker w[WORKERS];
	unsigned left;

	m->delay_ns = 300000;
	m->gather = 8;
	assert_int_equal(serve(f, &a, NULL, 0), 0);
	for (int i = 0; i < 2; i++)
		nodes[i] = connect_to(f, "", true, NULL);
	assert_true(nodes[0] && nodes[1]);
	start_workers(f, w, nodes, 2, shadow, 30, &left);
	wait_workers(w, &left);
	for (unsigned i = 0; i < WORKERS; i++)
		assert_int_equal(w[i].ret, 0);
	assert_true(m->gathered);
	assert_memory_equal(m->bytes, shadow, LEN);
	blk_unref(nodes[0]);
	blk_unref(nodes[1]);
	nbd_server_destroy(f->server);
	free(shadow);
	free(m);
	return 0;
}

static void storm(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(blk_run(f->ctx, do_storm, f), 0);
}

/* The server goes while requests are everywhere: each ends, none in vain. */
static int do_destroyed(void *arg)
{
	struct fixture *f = arg;
	struct blk a = mem_node(f), *node;
	struct mem *m = a.priv;
	uint8_t *shadow = calloc(1, LEN), buf[16];
	struct worker w[WORKERS];
	unsigned left, failed = 0;

	m->delay_ns = 2000000;
	assert_int_equal(serve(f, &a, NULL, 0), 0);
	node = connect_to(f, "", true, NULL);
	assert_non_null(node);
	start_workers(f, w, &node, 1, shadow, 1000, &left);
	co_sleep_ns(f->ctx, 20000000);
	nbd_server_destroy(f->server);
	assert_int_equal(m->in_flight, 0);
	assert_int_equal(a.refs, 1);
	wait_workers(w, &left);
	for (unsigned i = 0; i < WORKERS; i++)
		failed += w[i].ret == -ENOTCONN || w[i].ret == -EIO;
	assert_int_equal(failed, WORKERS);
	assert_int_equal(blk_read(node, 0, buf, 16), -ENOTCONN);
	assert_int_equal(blk_write(node, 0, buf, 16, 0), -ENOTCONN);
	assert_true(blk_unref(node) < 0);
	assert_int_not_equal(access(f->socket, F_OK), 0);
	free(shadow);
	free(m);
	return 0;
}

static void destroyed(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(blk_run(f->ctx, do_destroyed, f), 0);
}

/* ---- one client at a time ---- */

struct second {
	struct fixture *f;
	struct blk *b;
	bool done;
};

static void second_run(void *arg)
{
	struct second *s = arg;

	s->b = connect_to(s->f, "", false, NULL);
	s->done = true;
}

static int do_slots(void *arg)
{
	struct fixture *f = arg;
	struct blk a = mem_node(f), *first;
	struct second s = {.f = f};

	f->nr_gone = 0;
	assert_int_equal(serve(f, &a, NULL, 1), 0);
	first = connect_to(f, "", false, NULL);
	assert_non_null(first);
	assert_int_equal(co_start(f->ctx, second_run, &s), 0);
	co_sleep_ns(f->ctx, 100000000);
	assert_false(s.done);
	blk_unref(first);
	for (int i = 0; i < 3000 && !s.done; i++)
		co_sleep_ns(f->ctx, 10000000);
	assert_true(s.done);
	assert_non_null(s.b);
	assert_int_equal(f->nr_gone, 1);
	blk_unref(s.b);
	nbd_server_destroy(f->server);
	assert_int_equal(f->nr_gone, 2);
	free(a.priv);
	return 0;
}

static void slots(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(blk_run(f->ctx, do_slots, f), 0);
}

/* ---- lists ---- */

static int do_serve_two(void *arg)
{
	struct fixture *f = arg;

	f->disks[0] = mem_node(f);
	f->disks[1] = mem_node(f);
	return serve(f, &f->disks[0], &f->disks[1], 0);
}

static int do_destroy(void *arg)
{
	struct fixture *f = arg;

	nbd_server_destroy(f->server);
	free(f->disks[0].priv);
	free(f->disks[1].priv);
	return 0;
}

static void lists(void **state)
{
	struct fixture *f = *state;
	struct nbd_address at = {.socket = f->socket};
	struct nbd_listed *list;
	struct error e = {0};

	assert_int_equal(blk_run(f->ctx, do_serve_two, f), 0);
	assert_int_equal(nbd_list(&at, &list, &e), 2);
	assert_string_equal(list[0].name, "");
	assert_int_equal(list[0].len, LEN);
	assert_string_equal(list[1].name, "part");
	assert_string_equal(list[1].description, "a part");
	assert_int_equal(list[1].len, 65536);
	assert_true(list[1].flags & 2);
	assert_int_equal(list[1].nr_contexts, 1);
	nbd_list_free(list, 2);
	assert_int_equal(blk_run(f->ctx, do_destroy, f), 0);
	assert_true(nbd_list(&at, &list, &e) < 0);
	assert_non_null(strstr(e.msg, "Failed to connect"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses), cmocka_unit_test(exports),
		cmocka_unit_test(storm),     cmocka_unit_test(destroyed),
		cmocka_unit_test(slots),     cmocka_unit_test(lists),
	};

	srand(1);
	return cmocka_run_group_tests(tests, setup, teardown);
}
