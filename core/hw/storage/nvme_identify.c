/*
 * What the controller says of itself: Identify (NVMe 1.4, 5.15).  One table a
 * structure: where, how long, what; everything else is zero.
 */
#include <stdio.h>
#include <string.h>

#include "core/hw/storage/nvme_int.h"

#define PAGE_LEN 4096

struct field {
	uint16_t off;
	uint8_t len;
	uint64_t value;
};

static const struct field ctrl_fields[] = {
	{0, 2, NVME_VENDOR},
	{2, 2, NVME_VENDOR},
	{72, 1, 6},	     /* arbitration burst that helps: 64 */
	{73, 3, 0x525400},   /* an organization of nobody */
	{77, 1, NVME_MDTS},  /* pages a command, as power of two */
	{80, 4, 0x00010400}, /* version */
	{92, 4, 1u << 8},    /* tells when the namespace changed */
	{111, 1, 1},	     /* an I/O controller */
	{256, 2, 1u << 8},   /* doorbell buffers */
	{258, 1, 3},	     /* aborts at a time, less one */
	{259, 1, NVME_MAX_EVENTS - 1},
	{260, 1, 1u << 1 | 1},	     /* one firmware slot, read only */
	{261, 1, 1u << 2 | 1u << 1}, /* log pages: offsets, effects */
	{262, 1, NVME_NR_ERRORS - 1},
	{266, 2, 343}, /* kelvin: warning, critical */
	{268, 2, 358},
	{512, 1, NVME_SQE_LOG << 4 | NVME_SQE_LOG},
	{513, 1, NVME_CQE_LOG << 4 | NVME_CQE_LOG},
	{516, 4, 1},			       /* namespaces */
	{520, 2, 1u << 2 | 1u << 3 | 1u << 4}, /* DSM, zeroes, select */
	{525, 1, 3u << 1 | 1}, /* write cache; flush takes all namespaces */
	{2048, 2, 2500},       /* power state 0: hundredths of a watt */
};

static const struct field ns_fields[] = {
	{33, 1, 1u << 3}, /* write zeroes may deallocate */
	{130, 1, 9},	  /* the one format: 512 bytes, no metadata */
};

static void put(uint8_t *p, uint64_t value, unsigned len)
{
	for (unsigned i = 0; i < len; i++)
		p[i] = (uint8_t)(value >> (8 * i));
}

static void put_fields(uint8_t *p, const struct field *f, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		put(p + f[i].off, f[i].value, f[i].len);
}

static void put_text(uint8_t *p, const char *text, size_t len)
{
	size_t n = strnlen(text, len);

	memset(p, ' ', len);
	memcpy(p, text, n);
}

/* The same for the same name on every host, other for another name. */
static void make_id(const struct nvme *n, uint8_t id[16])
{
	uint64_t hash = 0xcbf29ce484222325; /* FNV-1a */

	for (const char *c = n->pci.dev.name; *c; c++)
		hash = (hash ^ (uint8_t)*c) * 0x100000001b3;
	put(id, hash, 8);
	/* A locally administered organization, then more of the same. */
	put(id + 8, 0x005452, 3);
	put(id + 11, hash * 0x9e3779b97f4a7c15 >> 24, 5);
}

static void identify_ctrl(const struct nvme *n, uint8_t *p)
{
	uint8_t id[16];
	char text[96];

	put_fields(p, ctrl_fields, sizeof(ctrl_fields) / sizeof(*ctrl_fields));
	put_text(p + 4, n->pci.dev.name, 20);
	put_text(p + 24, "Binnacle NVMe Disk", 40);
	put_text(p + 64, BINNACLE_VERSION, 8);
	make_id(n, id);
	/* A UUID of version 8, whose digits mean nothing. */
	snprintf(text, sizeof(text),
		 "nqn.2014-08.org.nvmexpress:uuid:%02x%02x%02x%02x-%02x%02x-"
		 "8%x%02x-8%x%02x-%02x%02x%02x%02x%02x%02x",
		 id[0], id[1], id[2], id[3], id[4], id[5], id[6] & 15, id[7],
		 id[8] & 15, id[9], id[10], id[11], id[12], id[13], id[14],
		 id[15]);
	memcpy(p + 768, text, strlen(text));
}

static void identify_ns(const struct nvme *n, uint8_t *p)
{
	uint64_t nr = drive_len(n->drive) / NVME_BLOCK;

	put_fields(p, ns_fields, sizeof(ns_fields) / sizeof(*ns_fields));
	put(p, nr, 8);
	put(p + 8, nr, 8);
	put(p + 16, nr, 8);
	p[99] = drive_readonly(n->drive);
	make_id(n, p + 104);
}

static void identify_descriptors(const struct nvme *n, uint8_t *p)
{
	p[0] = 2; /* a globally unique identifier */
	p[1] = 16;
	make_id(n, p + 4);
}

enum nvme_status nvme_identify(struct nvme *n, struct nvme_slot *s)
{
	uint8_t page[PAGE_LEN] = {0};
	uint32_t nsid = s->cmd.nsid;

	switch (s->cmd.dw10 & 0xff) {
	case NVME_CNS_CTRL:
		identify_ctrl(n, page);
		break;
	case NVME_CNS_NS:
		if (nsid != 1)
			return NVME_INVALID_NAMESPACE;
		identify_ns(n, page);
		break;
	case NVME_CNS_NS_LIST:
		if (nsid >= NVME_ALL_NS - 1)
			return NVME_INVALID_NAMESPACE;
		page[0] = nsid == 0;
		break;
	case NVME_CNS_NS_DESC:
		if (nsid != 1)
			return NVME_INVALID_NAMESPACE;
		identify_descriptors(n, page);
		break;
	default:
		return NVME_INVALID_FIELD;
	}
	return nvme_store(n, &s->cmd, page, sizeof(page), sizeof(page));
}
