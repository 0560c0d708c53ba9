/* Log pages: NVMe 1.4, 5.14. */
#include <string.h>

#include "core/hw/storage/nvme_int.h"

#define ERROR_LEN 64
#define LOG_MAX	  4096
#define RETAIN	  (1u << 15) /* dw10: the event stays masked */

static void put(uint8_t *p, uint64_t value, unsigned len)
{
	for (unsigned i = 0; i < len; i++)
		p[i] = (uint8_t)(value >> (8 * i));
}

void nvme_log_error(struct nvme *n, const struct nvme_slot *s, unsigned status)
{
	struct nvme_error *e = &n->error_log[n->nr_errors % NVME_NR_ERRORS];

	*e = (struct nvme_error){
		.nr = ++n->nr_errors,
		.sqid = (uint16_t)nvme_sqid(n, s->sq),
		.cid = s->cmd.cid,
		.status = (uint16_t)(status << 1),
		.nsid = s->cmd.nsid,
	};
	if (e->sqid)
		e->lba = s->cmd.dw10 | (uint64_t)s->cmd.dw11 << 32;
}

/* The newest first. */
static unsigned log_errors(struct nvme *n, uint8_t *page)
{
	for (unsigned i = 0; i < NVME_NR_ERRORS && i < n->nr_errors; i++) {
		const struct nvme_error *e =
			&n->error_log[(n->nr_errors - 1 - i) % NVME_NR_ERRORS];
		uint8_t *p = page + (size_t)i * ERROR_LEN;

		put(p, e->nr, 8);
		put(p + 8, e->sqid, 2);
		put(p + 10, e->cid, 2);
		put(p + 12, e->status, 2);
		put(p + 14, 0xffff, 2); /* no place within the command */
		put(p + 16, e->lba, 8);
		put(p + 24, e->nsid, 4);
	}
	return NVME_NR_ERRORS * ERROR_LEN;
}

/* Data units are thousands of 512 bytes, rounded up. */
static unsigned log_smart(struct nvme *n, uint8_t *page)
{
	page[0] = nvme_warnings(n);
	put(page + 1, NVME_TEMPERATURE, 2);
	page[3] = 100; /* per cent of spare, and when to warn */
	page[4] = 10;
	put(page + 32, (n->blocks_read + 999) / 1000, 8);
	put(page + 48, (n->blocks_written + 999) / 1000, 8);
	put(page + 64, n->reads, 8);
	put(page + 80, n->writes, 8);
	put(page + 112, 1, 8); /* power cycles */
	put(page + 176, n->nr_errors, 8);
	return 512;
}

static unsigned log_firmware(struct nvme *n, uint8_t *page)
{
	(void)n;
	page[0] = 1; /* slot 1 is active */
	memset(page + 8, ' ', 8);
	memcpy(page + 8, BINNACLE_VERSION, strnlen(BINNACLE_VERSION, 8));
	return 512;
}

static unsigned log_changed(struct nvme *n, uint8_t *page)
{
	page[0] = n->ns_changed;
	return 4096;
}

/* What each command does: 5.14.1.5. */
static unsigned log_effects(struct nvme *n, uint8_t *page)
{
	(void)n;
	for (unsigned i = 0; i < 256; i++) {
		page[4 * i] = nvme_admin_effects((uint8_t)i);
		page[1024 + 4 * i] = nvme_io_effects((uint8_t)i);
	}
	return 4096;
}

static const struct row {
	uint8_t page;
	enum nvme_event_type event; /* that reading it allows again */
	unsigned (*fill)(struct nvme *n,
			 uint8_t *page); /* returns its length */
} rows[] = {
	{NVME_LOG_ERROR, NVME_EVENT_ERROR, log_errors},
	{NVME_LOG_SMART, NVME_EVENT_SMART, log_smart},
	{NVME_LOG_FIRMWARE, NVME_NR_EVENT_TYPES, log_firmware},
	{NVME_LOG_CHANGED_NS, NVME_EVENT_NOTICE, log_changed},
	{NVME_LOG_EFFECTS, NVME_NR_EVENT_TYPES, log_effects},
};

static enum nvme_status send(struct nvme *n, struct nvme_slot *s,
			     const struct row *row)
{
	const struct nvme_cmd *c = &s->cmd;
	uint64_t off = c->dw12 | (uint64_t)c->dw13 << 32;
	uint64_t room = (uint64_t)(c->dw10 >> 16 | (c->dw11 & 0xffff) << 16);
	uint8_t page[LOG_MAX] = {0};
	enum nvme_status status;
	unsigned len;

	room = (room + 1) * 4;
	len = row->fill(n, page);
	if (off % 4 || off > len)
		return NVME_INVALID_FIELD;
	status = nvme_store(n, c, page + off, len - off, room);
	if (status || (c->dw10 & RETAIN) || row->event == NVME_NR_EVENT_TYPES)
		return status;
	n->event_masked[row->event] = false;
	if (row->event == NVME_EVENT_NOTICE)
		n->ns_changed = false;
	return status;
}

enum nvme_status nvme_get_log(struct nvme *n, struct nvme_slot *s)
{
	unsigned id = s->cmd.dw10 & 0xff;

	if (s->cmd.nsid && s->cmd.nsid != NVME_ALL_NS && s->cmd.nsid != 1)
		return NVME_INVALID_NAMESPACE;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].page == id)
			return send(n, s, &rows[i]);
	return NVME_INVALID_LOG_PAGE;
}
