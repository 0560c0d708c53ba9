/*
 * Admin commands (NVMe 1.4, chapter 5): queues, aborts, asynchronous events.
 */
#include "core/hw/storage/nvme_int.h"

/* ---- queues: 5.3 to 5.6 ---- */

#define IS_CONTIGUOUS	 1u
#define WANTS_INTERRUPTS 2u

static bool is_io_queue(const struct nvme *n, unsigned id)
{
	return id && id <= n->nr_granted;
}

static enum nvme_status check_ring(const struct nvme_cmd *c)
{
	unsigned last = c->dw10 >> 16;

	if (!last || last >= NVME_MAX_ENTRIES)
		return NVME_INVALID_QUEUE_SIZE;
	if (!(c->dw11 & IS_CONTIGUOUS))
		return NVME_INVALID_FIELD;
	return c->prp1 % NVME_PAGE ? NVME_PRP_OFFSET : NVME_OK;
}

static enum nvme_status create_cq(struct nvme *n, struct nvme_slot *s)
{
	const struct nvme_cmd *c = &s->cmd;
	unsigned id = c->dw10 & 0xffff, vector = c->dw11 >> 16;
	enum nvme_status status;

	if (!is_io_queue(n, id) || n->cqs[id].is_live)
		return NVME_INVALID_QUEUE_ID;
	status = check_ring(c);
	if (status)
		return status;
	if (NVME_CC_IOCQES(n->cc) != NVME_CQE_LOG)
		return NVME_INVALID_QUEUE_SIZE;
	if (vector >= n->pci.msix.nr)
		return NVME_INVALID_VECTOR;
	return nvme_cq_open(n, id, c->prp1, (c->dw10 >> 16) + 1, vector,
			    c->dw11 & WANTS_INTERRUPTS)
		       ? NVME_OK
		       : NVME_DATA_TRANSFER_ERROR;
}

static enum nvme_status create_sq(struct nvme *n, struct nvme_slot *s)
{
	const struct nvme_cmd *c = &s->cmd;
	unsigned id = c->dw10 & 0xffff, cqid = c->dw11 >> 16;
	enum nvme_status status;

	if (!is_io_queue(n, id) || n->sqs[id].is_live || !cqid)
		return NVME_INVALID_QUEUE_ID;
	if (!is_io_queue(n, cqid) || !n->cqs[cqid].is_live)
		return NVME_CQ_INVALID;
	status = check_ring(c);
	if (status)
		return status;
	if (NVME_CC_IOSQES(n->cc) != NVME_SQE_LOG)
		return NVME_INVALID_QUEUE_SIZE;
	return nvme_sq_open(n, id, c->prp1, (c->dw10 >> 16) + 1, cqid)
		       ? NVME_OK
		       : NVME_DATA_TRANSFER_ERROR;
}

/* Commands that were taken end first; those that were not are dropped. */
static enum nvme_status delete_sq(struct nvme *n, struct nvme_slot *s)
{
	unsigned id = s->cmd.dw10 & 0xffff;
	struct nvme_sq *sq;

	if (!is_io_queue(n, id) || !n->sqs[id].is_live)
		return NVME_INVALID_QUEUE_ID;
	sq = &n->sqs[id];
	if (sq->deleter)
		return NVME_INVALID_QUEUE_ID;
	if (sq->held) {
		sq->deleter = s;
		return NVME_LATER;
	}
	nvme_sq_close(n, id);
	return NVME_OK;
}

static enum nvme_status delete_cq(struct nvme *n, struct nvme_slot *s)
{
	unsigned id = s->cmd.dw10 & 0xffff;

	if (!is_io_queue(n, id) || !n->cqs[id].is_live)
		return NVME_INVALID_QUEUE_ID;
	for (unsigned i = 1; i < NVME_NR_QUEUES; i++)
		if (n->sqs[i].is_live && n->sqs[i].cqid == id)
			return NVME_INVALID_DELETION;
	nvme_cq_close(n, id);
	nvme_pin(n);
	return NVME_OK;
}

/* 5.7: one page for the values, one for the controller's wishes. */
static enum nvme_status doorbell_buffer(struct nvme *n, struct nvme_slot *s)
{
	const struct nvme_cmd *c = &s->cmd;

	if (!c->prp1 || !c->prp2 || (c->prp1 | c->prp2) % NVME_PAGE)
		return NVME_INVALID_FIELD;
	return nvme_buffers_set(n, c->prp1, c->prp2) ? NVME_OK
						     : NVME_DATA_TRANSFER_ERROR;
}

/* ---- asynchronous events: 5.2 ---- */

static enum nvme_status async_event(struct nvme *n, struct nvme_slot *s)
{
	if (n->nr_waiting == NVME_MAX_EVENTS)
		return NVME_EVENT_LIMIT;
	n->waiting[n->nr_waiting++] = s->cmd.cid;
	nvme_slot_free(n, s);
	return NVME_LATER;
}

void nvme_event(struct nvme *n, enum nvme_event_type type, unsigned info)
{
	if (n->event_due[type])
		return;
	n->event_due[type] = (uint8_t)(info + 1);
	/* Also from a register: the answer is the loop's to give. */
	if (n->nr_waiting)
		nvme_poke(n);
}

static void send(struct nvme *n, enum nvme_event_type type)
{
	static const uint8_t page[] = {
		[NVME_EVENT_ERROR] = NVME_LOG_ERROR,
		[NVME_EVENT_SMART] = NVME_LOG_SMART,
		[NVME_EVENT_NOTICE] = NVME_LOG_CHANGED_NS,
	};
	unsigned info = n->event_due[type] - 1u;

	n->event_due[type] = 0;
	n->event_masked[type] = true;
	nvme_post(n, &n->sqs[0], n->waiting[--n->nr_waiting], NVME_OK,
		  type | info << 8 | (uint32_t)page[type] << 16);
}

void nvme_events_send(struct nvme *n)
{
	for (unsigned t = 0; t < NVME_NR_EVENT_TYPES; t++)
		if (n->event_due[t] && !n->event_masked[t] && n->nr_waiting &&
		    nvme_is_running(n) && nvme_cq_has_room(n, &n->cqs[0]))
			send(n, (enum nvme_event_type)t);
}

void nvme_look_at_length(struct nvme *n)
{
	uint64_t len = drive_len(n->drive);

	if (len == n->ns_len)
		return;
	n->ns_len = len;
	n->ns_changed = true;
	if (n->feature[NVME_FEAT_EVENTS] & 1u << 8)
		nvme_event(n, NVME_EVENT_NOTICE, NVME_EVENT_NS_CHANGED);
}

/* 5.1: an event request can be taken back; what the drive has can't. */
static enum nvme_status do_abort(struct nvme *n, struct nvme_slot *s)
{
	unsigned sqid = s->cmd.dw10 & 0xffff;
	uint16_t cid = (uint16_t)(s->cmd.dw10 >> 16);

	s->result = 1;
	if (sqid >= NVME_NR_QUEUES || !n->sqs[sqid].is_live)
		return NVME_INVALID_FIELD;
	for (unsigned i = 0; !sqid && i < n->nr_waiting; i++) {
		if (n->waiting[i] != cid)
			continue;
		if (!nvme_cq_has_room(n, &n->cqs[0]))
			return NVME_OK;
		n->waiting[i] = n->waiting[--n->nr_waiting];
		nvme_post(n, &n->sqs[0], cid, NVME_ABORT_REQUESTED, 0);
		s->result = 0;
		break;
	}
	return NVME_OK;
}

/* ---- the table ---- */

#define SUPPORTED 1 /* 5.14.1.5; none of them changes what others see */

static const struct row {
	uint8_t opcode;
	enum nvme_status (*start)(struct nvme *n, struct nvme_slot *s);
} rows[] = {
	{NVME_DELETE_SQ, delete_sq},
	{NVME_CREATE_SQ, create_sq},
	{NVME_GET_LOG_PAGE, nvme_get_log},
	{NVME_DELETE_CQ, delete_cq},
	{NVME_CREATE_CQ, create_cq},
	{NVME_IDENTIFY, nvme_identify},
	{NVME_ABORT, do_abort},
	{NVME_SET_FEATURES, nvme_set_features},
	{NVME_GET_FEATURES, nvme_get_features},
	{NVME_ASYNC_EVENT, async_event},
	{NVME_DOORBELL_BUFFER, doorbell_buffer},
};

static const struct row *row_of(uint8_t opcode)
{
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].opcode == opcode)
			return &rows[i];
	return NULL;
}

uint8_t nvme_admin_effects(uint8_t opcode)
{
	return row_of(opcode) ? SUPPORTED : 0;
}

enum nvme_status nvme_admin(struct nvme *n, struct nvme_slot *s)
{
	const struct row *row = row_of(s->cmd.opcode);

	return row ? row->start(n, s) : NVME_INVALID_OPCODE;
}
