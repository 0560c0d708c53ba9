/*
 * A running disk is mirrored to an NBD server, Debian's qemu-nbd, and goes on
 * there.
 */
#include "tests/unit/job_chain.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "core/blk/job.h"

#define SERVER "/usr/bin/qemu-nbd"

struct round {
	struct bench *t;
	bool pivot;
	pid_t server;
	char path[160], socket[160], uri[256];
};

/* It does a moment after the socket has appeared. */
static bool listens(const char *socket)
{
	FILE *f = fopen("/proc/net/unix", "r");
	char line[300];
	bool found = false;

	SHADOW_CHECK(f, "/proc/net/unix: %s", strerror(errno));
	while (!found && fgets(line, sizeof(line), f))
		found = strstr(line, " 00010000 ") && strstr(line, socket);
	fclose(f);
	return found;
}

static void serve(struct round *r, uint64_t len)
{
	struct error e = {0};

	snprintf(r->path, sizeof(r->path), "%s/target.raw", r->t->dir);
	snprintf(r->socket, sizeof(r->socket), "%s/nbd.sock", r->t->dir);
	snprintf(r->uri, sizeof(r->uri), "nbd+unix:///?socket=%s", r->socket);
	SHADOW_CHECK(
		!blk_make_file(r->t->ctx, r->path, len, BLK_PREALLOC_OFF, &e),
		"%s", e.msg);
	r->server = fork();
	if (!r->server) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execl(SERVER, SERVER, "-t", "-f", "raw", "-k", r->socket,
		      r->path, (char *)NULL);
		_exit(127);
	}
	for (int i = 0; !listens(r->socket) && i < 6000; i++)
		co_sleep_ns(r->t->ctx, 10000000);
}

static void stop_server(struct round *r)
{
	/* It has inherited a thread's mask of signals. */
	SHADOW_CHECK(!kill(r->server, SIGKILL), "kill");
	waitpid(r->server, NULL, 0);
	unlink(r->socket);
}

static int mirror_to_server(void *arg)
{
	static const uint64_t lens[] = {700000, 1 << 20};
	struct round *r = arg;
	struct blk_job_config cfg = {.kind = BLK_JOB_MIRROR,
				     .path = r->uri,
				     .format = "raw",
				     .existing = true};
	struct blk_job_status s;
	struct error e = {0};
	struct blk_job *j;
	struct chain c;
	struct blk *b;

	chain_create_lens(&c, r->t, 2, lens);
	serve(r, lens[1]);
	cfg.disk = c.disk;
	c.w.pause_us = 1000;
	shadow_start(&c.w, c.disk, 3);
	j = blk_job_start(&cfg, &e);
	SHADOW_CHECK(j, "%s", e.msg);
	/* While the guest writes faster than the server takes, a mirror need
	 * not become ready: only the order to finish slows the guest down. */
	for (int i = 0; i < 300; i++) {
		co_sleep_ns(r->t->ctx, 1000000);
		blk_job_status(j, &s);
		if (s.state != BLK_JOB_RUNNING)
			break;
	}
	SHADOW_CHECK(s.state <= BLK_JOB_READY, "%s", s.text);
	if (!r->pivot)
		shadow_stop(&c.w);
	blk_job_complete(j, r->pivot);
	SHADOW_CHECK(!blk_job_wait(j), "complete");
	blk_job_put(j);
	co_sleep_ns(r->t->ctx, 10000000);
	if (r->pivot)
		shadow_stop(&c.w);
	shadow_compare(&c.w, c.disk, false);
	SHADOW_CHECK(!blk_unref(c.disk), "close");
	stop_server(r);
	b = shadow_open(r->t, r->path, false);
	shadow_compare(&c.w, b, false);
	blk_unref(b);
	chain_remove(&c);
	return 0;
}

static void mirrors_to_a_server(void **state)
{
	struct round r = {.t = *state};

	for (int i = 0; i < 2; i++) {
		r.pivot = i;
		assert_int_equal(blk_run(r.t->ctx, mirror_to_server, &r), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(mirrors_to_a_server,
						bench_setup, bench_teardown),
	};

	if (access(SERVER, X_OK)) {
		printf("SKIP: " SERVER " is not installed\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
