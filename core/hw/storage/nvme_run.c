/*
 * The engine: everything that happens on the I/O loop.
 *
 * One run takes the lock once: it answers the slots that came back, takes what
 * the guest submitted, from each queue in turn, and interrupts once for each
 * completion queue; then, unlocked, it submits.  A drive request that is done
 * only queues its slot and posts a run, which follows when all that were done
 * together are queued.
 */
#include <errno.h>
#include <stdlib.h>

#include "core/hw/storage/nvme_int.h"

/* Commands of one run: whoever waits for the lock or the loop gets a turn. */
#define RUN_LIMIT 1024

/* Posted to the loop; outlives its controller while it is queued there. */
struct nvme_bell {
	struct loop_work work;
	struct nvme *n; /* NULL: gone, the bell frees itself */
};

struct list {
	struct nvme_slot *first, **tail;
};

static void append(struct list *l, struct nvme_slot *s)
{
	s->next = NULL;
	*l->tail = s;
	l->tail = &s->next;
}

/* ---- slots ---- */

static void on_bell(void *arg)
{
	struct nvme_bell *bell = arg;

	if (bell->n)
		nvme_run(bell->n, true);
	else
		free(bell);
}

/* drive_req.done: on the loop, or where the drive is drained. */
static void slot_done(struct drive_req *req, int res)
{
	struct nvme_slot *s = req->opaque;
	struct nvme *n = s->n;

	s->res = res;
	s->next = NULL;
	*n->done_tail = s;
	n->done_tail = &s->next;
	loop_post(n->io, &n->bell->work);
}

int nvme_slots_init(struct nvme *n)
{
	n->slots = calloc(NVME_NR_SLOTS, sizeof(*n->slots));
	n->bell = calloc(1, sizeof(*n->bell));
	if (!n->slots || !n->bell) {
		free(n->slots);
		free(n->bell);
		return -ENOMEM;
	}
	n->bell->work = (struct loop_work){.fn = on_bell, .arg = n->bell};
	n->bell->n = n;
	n->done_tail = &n->done;
	for (unsigned i = 0; i < NVME_NR_SLOTS; i++) {
		struct nvme_slot *s = &n->slots[i];

		s->n = n;
		s->req.done = slot_done;
		s->req.opaque = s;
		s->next = n->free;
		n->free = s;
	}
	return 0;
}

void nvme_slots_fini(struct nvme *n)
{
	/* Acquire: what posted it is over; on the loop only fn clears it. */
	n->bell->n = NULL;
	if (!__atomic_load_n(&n->bell->work.queued, __ATOMIC_ACQUIRE))
		free(n->bell);
	free(n->slots);
}

static struct nvme_slot *slot_take(struct nvme *n, struct nvme_sq *sq)
{
	struct nvme_slot *s = n->free;

	n->free = s->next;
	n->held++;
	s->sq = sq;
	s->result = 0;
	s->after = NULL;
	s->nr_iov = 0;
	if (sq) {
		sq->held++;
		n->cqs[sq->cqid].held++;
	}
	return s;
}

void nvme_slot_free(struct nvme *n, struct nvme_slot *s)
{
	if (s->sq) {
		s->sq->held--;
		n->cqs[s->sq->cqid].held--;
	}
	s->next = n->free;
	n->free = s;
	n->held--;
}

/* ---- answers ---- */

/* Nothing that fails here would do better again, but what the host's disk
 * refused. */
static unsigned final_status(unsigned status)
{
	bool is_media = (status >> 8) == 2 || status == NVME_INTERNAL_ERROR;

	return status | NVME_STATUS_MORE | (is_media ? 0 : NVME_STATUS_DNR);
}

static void answer(struct nvme *n, struct nvme_slot *s, unsigned status)
{
	struct nvme_sq *sq = s->sq;
	struct nvme_slot *deleter;

	nvme_slot_free(n, s);
	if (!sq)
		return;
	device_count(n->commands, 1);
	if (status) {
		device_count(n->errors, 1);
		nvme_log_error(n, s, status);
		status = final_status(status);
	}
	nvme_post(n, sq, s->cmd.cid, status, s->result);
	deleter = sq->deleter;
	if (!deleter || sq->held)
		return;
	nvme_sq_close(n, nvme_sqid(n, sq));
	answer(n, deleter, NVME_OK);
}

/* A slot is back from the drive. */
static void finish(struct nvme *n, struct nvme_slot *s, struct list *submit)
{
	enum nvme_status status;

	/* A read that failed may have brought a part. */
	if (s->req.op == DRIVE_READ)
		dma_mark_iov(nvme_mem(n), s->iov, s->nr_iov, s->req.len);
	if (n->resetting) {
		nvme_slot_free(n, s);
		return;
	}
	status = s->after(n, s, s->res);
	if (status == NVME_SUBMIT)
		append(submit, s);
	else
		answer(n, s, status);
}

/* ---- taking commands ---- */

static bool take_one(struct nvme *n, struct nvme_sq *sq, struct list *submit)
{
	enum nvme_status status;
	struct nvme_slot *s;

	if (!n->free || sq->deleter || !nvme_sq_pending(n, sq) ||
	    !nvme_cq_has_room(n, &n->cqs[sq->cqid]))
		return false;
	s = slot_take(n, sq);
	nvme_sq_pop(sq, &s->cmd);
	/* Fused commands and SGLs are not offered. */
	if (s->cmd.flags)
		status = NVME_INVALID_FIELD;
	else if (nvme_sqid(n, sq))
		status = nvme_io(n, s);
	else
		status = nvme_admin(n, s);
	if (status == NVME_SUBMIT)
		append(submit, s);
	else if (status != NVME_LATER)
		answer(n, s, status);
	return true;
}

/* Round robin, with the burst that the driver recommends (4.13.1). */
static void take_all(struct nvme *n, struct list *submit)
{
	unsigned log = n->feature[NVME_FEAT_ARBITRATION] & 7;
	unsigned burst = log == 7 ? RUN_LIMIT / NVME_NR_QUEUES : 1u << log;
	unsigned taken = 0;
	bool more = true;

	while (more && taken < RUN_LIMIT) {
		more = false;
		for (unsigned id = 0; id < NVME_NR_QUEUES; id++)
			for (unsigned i = 0; i < burst && n->sqs[id].is_live &&
					     nvme_is_running(n) &&
					     take_one(n, &n->sqs[id], submit);
			     i++, taken++)
				more = true;
	}
	if (more)
		nvme_poke(n);
}

/* ---- shutdown: 7.6.2 ---- */

static enum nvme_status shutdown_done(struct nvme *n, struct nvme_slot *s,
				      int res)
{
	(void)s;
	if (res && res != -ECANCELED)
		nvme_fatal(n, "what was written could not be made stable when "
			      "the guest shut it down");
	if ((n->csts & NVME_CSTS_SHST) == NVME_CSTS_SHST_BUSY)
		n->csts ^= NVME_CSTS_SHST_BUSY ^ NVME_CSTS_SHST_DONE;
	return NVME_OK;
}

/* When all commands are back what they wrote is made stable. */
static void shut_down(struct nvme *n, struct list *submit)
{
	struct nvme_slot *s;

	if ((n->csts & NVME_CSTS_SHST) != NVME_CSTS_SHST_BUSY || n->held)
		return;
	s = slot_take(n, NULL);
	nvme_flush(s);
	s->after = shutdown_done;
	append(submit, s);
}

/* ---- a run ---- */

/* Locked: everything that may touch guest memory and queues. */
static void run_locked(struct nvme *n, struct nvme_slot *done, bool take,
		       struct list *submit)
{
	struct nvme_slot *next;

	for (; done; done = next) {
		next = done->next;
		finish(n, done, submit);
	}
	if (n->resetting && !n->held)
		nvme_drained(n);
	if (take) {
		nvme_look_at_length(n);
		take_all(n, submit);
		shut_down(n, submit);
	}
	nvme_events_send(n);
	nvme_interrupt(n);
}

void nvme_run(struct nvme *n, bool take)
{
	struct nvme_slot *done = n->done, *s, *next;
	struct list submit = {NULL, &submit.first};
	bool wce;

	n->done = NULL;
	n->done_tail = &n->done;
	pthread_mutex_lock(&n->pci.dev.lock);
	run_locked(n, done, take, &submit);
	wce = n->wce;
	pthread_mutex_unlock(&n->pci.dev.lock);
	if (wce != drive_wce(n->drive))
		drive_set_wce(n->drive, wce);
	for (s = submit.first; s; s = next) {
		next = s->next;
		drive_submit(n->drive, &s->req);
	}
}
