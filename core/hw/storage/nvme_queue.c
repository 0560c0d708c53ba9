/*
 * Rings, doorbells and interrupts: NVMe 1.4, chapters 4 and 7.5.
 *
 * A doorbell's value is what the guest writes, which an eventfd can't carry:
 * at first each write leaves the guest.  A driver that gives the controller
 * doorbell buffers (5.7, 7.13) stores the value there, and rings only when it
 * passes the value that the controller wishes for; then the ring needs no
 * value and is an eventfd of the engine's.  The admin queue's doorbells stay
 * registers: known drivers don't keep them in the buffer.
 *
 * Buffers hold one word for each doorbell register, in the order of these.
 */
#include <string.h>
#include <unistd.h>

#include "core/accel.h"
#include "core/hw/storage/nvme_int.h"
#include "core/log.h"

/* With so many commands of a queue in hand one of them is done soon. */
#define BUSY 16

static bool is_buffered(const struct nvme *n, unsigned id)
{
	return n->shadow_host && id;
}

/* Sequentially consistent, and so is the load that follows: the wish must be
 * visible before the value is read again, as the driver stores the value, then
 * reads the wish. */
static void wish(struct nvme *n, unsigned index, uint32_t value)
{
	struct iovec word = {n->wishes_host + index, sizeof(uint32_t)};

	if (__atomic_load_n(n->wishes_host + index, __ATOMIC_RELAXED) == value)
		return;
	__atomic_store_n(n->wishes_host + index, value, __ATOMIC_SEQ_CST);
	dma_mark_iov(nvme_mem(n), &word, 1, sizeof(uint32_t));
}

static uint32_t buffered(const struct nvme *n, unsigned index)
{
	return __atomic_load_n(n->shadow_host + index, __ATOMIC_SEQ_CST);
}

static void bad_doorbell(struct nvme *n, unsigned info, unsigned index,
			 uint32_t value)
{
	struct device *dev = &n->pci.dev;

	log_guest(dev->m->log, &dev->limit, dev->name,
		  "doorbell of %s queue %u: %s (%u)",
		  index & 1 ? "completion" : "submission", index / 2,
		  info == NVME_EVENT_BAD_DOORBELL ? "there is no such queue"
						  : "impossible value",
		  value);
	nvme_event(n, NVME_EVENT_ERROR, info);
}

/* ---- submission ---- */

static void set_tail(struct nvme *n, unsigned id, uint32_t value)
{
	if (value < n->sqs[id].len)
		n->sqs[id].tail = (uint16_t)value;
	else
		bad_doorbell(n, NVME_EVENT_BAD_DOORBELL_VALUE, 2 * id, value);
}

bool nvme_sq_pending(struct nvme *n, struct nvme_sq *sq)
{
	unsigned id = nvme_sqid(n, sq);

	if (sq->head != sq->tail)
		return true;
	if (!is_buffered(n, id))
		return false;
	set_tail(n, id, buffered(n, 2 * id));
	if (sq->head != sq->tail)
		return true;
	/* The next of many answers looks again: nobody needs to ring. */
	if (sq->held >= BUSY)
		return false;
	wish(n, 2 * id, sq->tail);
	set_tail(n, id, buffered(n, 2 * id));
	return sq->head != sq->tail;
}

void nvme_sq_pop(struct nvme_sq *sq, struct nvme_cmd *cmd)
{
	memcpy(cmd, sq->host + (size_t)sq->head * NVME_SQE_LEN, sizeof(*cmd));
	sq->head = (uint16_t)((sq->head + 1) % sq->len);
}

/* ---- completion ---- */

static unsigned nr_used(const struct nvme_cq *cq)
{
	return (cq->tail + cq->len - cq->head) % cq->len;
}

/* The guest can't take more than was there. */
static void set_head(struct nvme *n, unsigned id, uint32_t value)
{
	struct nvme_cq *cq = &n->cqs[id];

	if (value < cq->len &&
	    (value + cq->len - cq->head) % cq->len <= nr_used(cq))
		cq->head = (uint16_t)value;
	else
		bad_doorbell(n, NVME_EVENT_BAD_DOORBELL_VALUE, 2 * id + 1,
			     value);
}

static bool has_room(const struct nvme_cq *cq)
{
	return nr_used(cq) + cq->held < cq->len - 1u;
}

/* Looks where the guest is, and says when it shall ring: when it takes the
 * next answer, or else never, which is at the answer that it took last. */
static void look_at_head(struct nvme *n, unsigned id, bool ring)
{
	struct nvme_cq *cq = &n->cqs[id];
	unsigned index = 2 * id + 1;

	if (!is_buffered(n, id))
		return;
	set_head(n, id, buffered(n, index));
	wish(n, index, ring ? cq->head : (cq->head + cq->len - 1u) % cq->len);
	if (ring)
		set_head(n, id, buffered(n, index));
}

bool nvme_cq_has_room(struct nvme *n, struct nvme_cq *cq)
{
	if (!has_room(cq))
		look_at_head(n, (unsigned)(cq - n->cqs), true);
	cq->is_full = !has_room(cq);
	return !cq->is_full;
}

void nvme_post(struct nvme *n, struct nvme_sq *sq, uint16_t cid,
	       unsigned status, uint32_t result)
{
	struct nvme_cq *cq = &n->cqs[sq->cqid];
	uint8_t *entry = cq->host + (size_t)cq->tail * NVME_CQE_LEN;
	struct iovec iov = {entry, NVME_CQE_LEN};
	struct nvme_cqe e = {
		.result = result,
		.sq_head = sq->head,
		.sqid = (uint16_t)nvme_sqid(n, sq),
		.cid = cid,
		.status = (uint16_t)(status << 1 | cq->phase),
	};
	uint32_t last;

	memcpy(entry, &e, 12);
	memcpy(&last, (const uint8_t *)&e + 12, 4);
	/* Release: data and entry come before the phase. */
	__atomic_store_n((uint32_t *)(void *)(entry + 12), last,
			 __ATOMIC_RELEASE);
	dma_mark_iov(nvme_mem(n), &iov, 1, NVME_CQE_LEN);
	cq->tail = (uint16_t)((cq->tail + 1) % cq->len);
	if (!cq->tail)
		cq->phase = !cq->phase;
	n->due |= 1u << sq->cqid;
}

/* ---- interrupts ---- */

void nvme_pin(struct nvme *n)
{
	bool level = false;

	for (unsigned i = 0; i < NVME_NR_QUEUES; i++) {
		const struct nvme_cq *cq = &n->cqs[i];

		if (cq->is_live && cq->wants_interrupts &&
		    cq->head != cq->tail && !(n->intms & 1u << cq->vector))
			level = true;
	}
	pci_intx(&n->pci, level && !pci_msix_enabled(&n->pci));
}

void nvme_interrupt(struct nvme *n)
{
	bool msix = pci_msix_enabled(&n->pci);
	uint32_t due = n->due;

	n->due = 0;
	if (!due)
		return;
	for (unsigned id = 0; id < NVME_NR_QUEUES; id++) {
		const struct nvme_cq *cq = &n->cqs[id];

		if (!(due & 1u << id) || !cq->is_live)
			continue;
		/* A pin falls when the last answer is taken. */
		look_at_head(n, id, cq->is_full || !msix);
		if (!cq->wants_interrupts)
			continue;
		device_count(n->interrupts, 1);
		if (msix)
			pci_msix_fire(&n->pci, cq->vector);
	}
	if (!msix)
		nvme_pin(n);
}

/* ---- doorbells ---- */

void nvme_poke(struct nvme *n)
{
	uint64_t one = 1;

	/* Can only fail when the counter is full: then it is readable. */
	if (write(n->kick.fd, &one, sizeof(one)) < 0)
		return;
}

static void ring_sq(struct nvme *n, unsigned id, uint32_t value)
{
	if (!is_buffered(n, id))
		set_tail(n, id, value);
	nvme_poke(n);
}

static void ring_cq(struct nvme *n, unsigned id, uint32_t value)
{
	set_head(n, id, value);
	nvme_pin(n);
	/* An event, too, may have waited for room. */
	if (n->cqs[id].is_full || (!id && n->nr_waiting))
		nvme_poke(n);
}

void nvme_doorbell(struct nvme *n, unsigned index, uint32_t value)
{
	unsigned id = index / 2;

	if (!nvme_is_ready(n))
		return;
	if (id >= NVME_NR_QUEUES ||
	    !(index & 1 ? n->cqs[id].is_live : n->sqs[id].is_live))
		bad_doorbell(n, NVME_EVENT_BAD_DOORBELL, index, value);
	else if (index & 1)
		ring_cq(n, id, value);
	else
		ring_sq(n, id, value);
}

static void doorbell_set(struct nvme *n, struct nvme_sq *sq, uint64_t addr)
{
	struct machine *m = n->pci.dev.m;
	const struct accel_fast *fast = m->accel ? m->accel->fast : NULL;

	if (!fast || !fast->ioeventfd || sq->doorbell_addr == addr)
		return;
	if (sq->doorbell_addr != UINT64_MAX)
		fast->ioeventfd(m->accel_vm, sq->doorbell_addr, 0, false,
				n->kick.fd, false);
	sq->doorbell_addr = UINT64_MAX;
	/* One that the engine refuses is served by the register. */
	if (addr != UINT64_MAX &&
	    !fast->ioeventfd(m->accel_vm, addr, 0, false, n->kick.fd, true))
		sq->doorbell_addr = addr;
}

void nvme_place_doorbells(struct nvme *n)
{
	uint64_t bar = pci_bar_addr(&n->pci, NVME_BAR);

	for (unsigned id = 0; id < NVME_NR_QUEUES; id++) {
		bool on = bar != UINT64_MAX && n->sqs[id].is_live &&
			  is_buffered(n, id);

		doorbell_set(n, &n->sqs[id],
			     on ? bar + NVME_DOORBELLS + 8 * id : UINT64_MAX);
	}
}

void nvme_remove_doorbells(struct nvme *n)
{
	for (unsigned id = 0; id < NVME_NR_QUEUES; id++)
		doorbell_set(n, &n->sqs[id], UINT64_MAX);
}

/* What the registers held goes on in the buffer. */
static void queue_buffered(struct nvme *n, unsigned id)
{
	struct iovec words = {.iov_len = 8};

	if (!is_buffered(n, id))
		return;
	words.iov_base = n->shadow_host + 2 * id;
	n->shadow_host[2 * id] = n->sqs[id].tail;
	n->shadow_host[2 * id + 1] = n->cqs[id].head;
	dma_mark_iov(nvme_mem(n), &words, 1, 8);
}

static bool buffers_map(struct nvme *n)
{
	n->shadow_host = n->wishes_host = NULL;
	if (!n->shadow)
		return true;
	n->wishes_host = dma_map_one(nvme_mem(n), n->wishes, NVME_PAGE, true);
	if (n->wishes_host)
		n->shadow_host =
			dma_map_one(nvme_mem(n), n->shadow, NVME_PAGE, true);
	return n->shadow_host != NULL;
}

bool nvme_buffers_set(struct nvme *n, uint64_t shadow, uint64_t wishes)
{
	bool ok;

	n->shadow = shadow;
	n->wishes = wishes;
	ok = buffers_map(n);
	if (!ok)
		n->shadow = n->wishes = 0;
	for (unsigned id = 1; id < NVME_NR_QUEUES; id++)
		queue_buffered(n, id);
	nvme_place_doorbells(n);
	return ok;
}

/* ---- life of a queue ---- */

static uint8_t *ring_map(struct nvme *n, uint64_t base, unsigned len,
			 unsigned entry, bool write)
{
	return dma_map_one(nvme_mem(n), base, (uint64_t)len * entry, write);
}

static void clear_shadow(struct nvme *n, unsigned index)
{
	struct iovec word = {n->shadow_host + index, sizeof(uint32_t)};

	n->shadow_host[index] = 0;
	dma_mark_iov(nvme_mem(n), &word, 1, sizeof(uint32_t));
}

bool nvme_sq_open(struct nvme *n, unsigned id, uint64_t base, unsigned len,
		  unsigned cqid)
{
	struct nvme_sq *sq = &n->sqs[id];
	uint8_t *host = ring_map(n, base, len, NVME_SQE_LEN, false);

	if (!host)
		return false;
	*sq = (struct nvme_sq){
		.is_live = true,
		.cqid = (uint16_t)cqid,
		.len = (uint16_t)len,
		.base = base,
		.host = host,
		.doorbell_addr = UINT64_MAX,
	};
	if (is_buffered(n, id))
		clear_shadow(n, 2 * id);
	nvme_place_doorbells(n);
	return true;
}

bool nvme_cq_open(struct nvme *n, unsigned id, uint64_t base, unsigned len,
		  unsigned vector, bool wants_interrupts)
{
	uint8_t *host = ring_map(n, base, len, NVME_CQE_LEN, true);

	if (!host)
		return false;
	n->cqs[id] = (struct nvme_cq){
		.is_live = true,
		.wants_interrupts = wants_interrupts,
		.phase = true,
		.vector = (uint16_t)vector,
		.len = (uint16_t)len,
		.base = base,
		.host = host,
	};
	if (is_buffered(n, id))
		clear_shadow(n, 2 * id + 1);
	return true;
}

void nvme_sq_close(struct nvme *n, unsigned id)
{
	doorbell_set(n, &n->sqs[id], UINT64_MAX);
	n->sqs[id] = (struct nvme_sq){.doorbell_addr = UINT64_MAX};
}

void nvme_cq_close(struct nvme *n, unsigned id)
{
	n->cqs[id] = (struct nvme_cq){0};
}

bool nvme_queues_map(struct nvme *n)
{
	for (unsigned id = 0; id < NVME_NR_QUEUES; id++) {
		struct nvme_sq *sq = &n->sqs[id];
		struct nvme_cq *cq = &n->cqs[id];

		if (sq->is_live)
			sq->host = ring_map(n, sq->base, sq->len, NVME_SQE_LEN,
					    false);
		if (cq->is_live)
			cq->host = ring_map(n, cq->base, cq->len, NVME_CQE_LEN,
					    true);
		if ((sq->is_live && !sq->host) || (cq->is_live && !cq->host))
			return false;
	}
	return buffers_map(n);
}
