#include "core/hw/isa/fw_cfg.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/device.h"
#include "core/error.h"
#include "core/hw/isa/isa.h"
#include "core/memory.h"
#include "core/migration/state.h"

#define FW_CFG_PORT	0x510 /* selector, 16 bits; data at 0x511 */
#define FW_CFG_DMA_PORT 0x514

#define MAX_ITEMS     128
#define ID_INTERFACES 3 /* ports and DMA */

#define DMA_ERROR  0x01u
#define DMA_READ   0x02u
#define DMA_SKIP   0x04u
#define DMA_SELECT 0x08u
#define DMA_WRITE  0x10u
/* Zeroes past an item's end that one request may ask for: a guest that wants
 * more is broken, and others wait for this handler. */
#define DMA_MAX_PADDING (16u << 20)
#define DMA_CHUNK	4096u

struct fw_cfg_dma {
	uint32_t control, length;
	uint64_t address;
} __attribute__((packed));

/* One entry of the directory; big endian. */
struct fw_cfg_file {
	uint32_t size;
	uint16_t select, reserved;
	char name[FW_CFG_NAME_LEN];
};

struct item {
	uint16_t key;
	char name[FW_CFG_NAME_LEN]; /* empty: only a key */
	uint8_t *data;
	uint32_t len;
};

struct fw_cfg {
	struct device dev;
	struct bus_ports ports, dma_ports;
	struct item items[MAX_ITEMS];
	unsigned nr_items, nr_files;
	uint16_t key;	 /* selected */
	uint32_t offset; /* of the next byte of the item */
	uint32_t dma_high;
};

/* ---- items ---- */

static struct item *item_find(struct fw_cfg *f, uint16_t key)
{
	for (unsigned i = 0; i < f->nr_items; i++)
		if (f->items[i].key == key)
			return &f->items[i];
	return NULL;
}

static struct item *item_named(struct fw_cfg *f, const char *name)
{
	for (unsigned i = 0; i < f->nr_items; i++)
		if (f->items[i].name[0] && !strcmp(f->items[i].name, name))
			return &f->items[i];
	return NULL;
}

static int item_store(struct item *item, const void *data, size_t len,
		      struct error *e)
{
	uint8_t *copy = malloc(len ? len : 1);

	if (len > UINT32_MAX || !copy) {
		free(copy);
		return error_set(e, -ENOMEM,
				 "no memory for %zu bytes of firmware "
				 "configuration",
				 len);
	}
	memcpy(copy, data, len);
	free(item->data);
	item->data = copy;
	item->len = len;
	return 0;
}

/* A new item with the key, not stored yet; NULL when all are used. */
static struct item *item_new(struct fw_cfg *f, uint16_t key)
{
	struct item *item;

	if (f->nr_items == MAX_ITEMS)
		return NULL;
	item = &f->items[f->nr_items];
	*item = (struct item){.key = key};
	return item;
}

int fw_cfg_add_item(struct fw_cfg *f, uint16_t key, const void *data,
		    size_t len, struct error *e)
{
	struct item *item = item_find(f, key);
	int r;

	if (key >= FW_CFG_FILE_FIRST)
		return error_set(e, -EINVAL,
				 "firmware configuration key 0x%x belongs to "
				 "files",
				 key);
	if (item)
		return item_store(item, data, len, e);
	item = item_new(f, key);
	if (!item)
		return error_set(e, -ENOSPC, "too many firmware items");
	r = item_store(item, data, len, e);
	if (!r)
		f->nr_items++;
	return r;
}

int fw_cfg_add_u16(struct fw_cfg *f, uint16_t key, uint16_t value,
		   struct error *e)
{
	value = htole16(value);
	return fw_cfg_add_item(f, key, &value, sizeof(value), e);
}

int fw_cfg_add_u64(struct fw_cfg *f, uint16_t key, uint64_t value,
		   struct error *e)
{
	value = htole64(value);
	return fw_cfg_add_item(f, key, &value, sizeof(value), e);
}

static int directory_update(struct fw_cfg *f, struct error *e)
{
	uint8_t dir[4 + MAX_ITEMS * sizeof(struct fw_cfg_file)];
	uint32_t nr = htobe32(f->nr_files);
	size_t len = 4;

	memcpy(dir, &nr, 4);
	for (unsigned i = 0; i < f->nr_items; i++) {
		struct fw_cfg_file file = {0};

		if (!f->items[i].name[0])
			continue;
		file.size = htobe32(f->items[i].len);
		file.select = htobe16(f->items[i].key);
		memcpy(file.name, f->items[i].name, sizeof(file.name));
		memcpy(dir + len, &file, sizeof(file));
		len += sizeof(file);
	}
	return fw_cfg_add_item(f, FW_CFG_FILE_DIR, dir, len, e);
}

int fw_cfg_add_file(struct fw_cfg *f, const char *name, const void *data,
		    size_t len, struct error *e)
{
	struct item *item = item_named(f, name);
	int r;

	if (!name[0] || strlen(name) >= FW_CFG_NAME_LEN)
		return error_set(e, -EINVAL,
				 "firmware file name '%s' is empty or longer "
				 "than %d bytes",
				 name, FW_CFG_NAME_LEN - 1);
	if (!item) {
		item = item_new(f, FW_CFG_FILE_FIRST + f->nr_files);
		if (!item)
			return error_set(e, -ENOSPC, "too many firmware items");
		r = item_store(item, data, len, e);
		if (r)
			return r;
		snprintf(item->name, sizeof(item->name), "%s", name);
		f->nr_items++;
		f->nr_files++;
		return directory_update(f, e);
	}
	r = item_store(item, data, len, e);
	return r ? r : directory_update(f, e);
}

/* ---- the selector and data ports ---- */

static void item_select(struct fw_cfg *f, uint16_t key)
{
	f->key = key;
	f->offset = 0;
}

/* Bytes of the selected item from the offset on. */
static uint32_t item_left(struct fw_cfg *f, const uint8_t **data)
{
	struct item *item = item_find(f, f->key);

	if (!item || f->offset >= item->len)
		return 0;
	*data = item->data + f->offset;
	return item->len - f->offset;
}

static void item_advance(struct fw_cfg *f, uint32_t n)
{
	/* Stays at the end rather than wrapping to the start. */
	if (__builtin_add_overflow(f->offset, n, &f->offset))
		f->offset = UINT32_MAX;
}

static uint8_t data_byte(struct fw_cfg *f)
{
	const uint8_t *data;
	uint8_t value = item_left(f, &data) ? *data : 0;

	item_advance(f, 1);
	return value;
}

static uint64_t port_read(void *opaque, uint64_t off, unsigned len)
{
	if (off != 1 || len != 1)
		return UINT64_MAX;
	return data_byte(opaque);
}

static void port_read_many(void *opaque, uint64_t off, void *buf, unsigned len,
			   unsigned count)
{
	uint8_t *p = buf;

	if (off != 1 || len != 1) {
		memset(buf, 0xff, (size_t)len * count);
		return;
	}
	for (unsigned i = 0; i < count; i++)
		p[i] = data_byte(opaque);
}

static void port_write(void *opaque, uint64_t off, uint64_t value, unsigned len)
{
	if (off == 0 && len == 2)
		item_select(opaque, value);
}

static const struct bus_ops port_ops = {
	.read = port_read,
	.write = port_write,
	.max_len = 2,
	.read_many = port_read_many,
};

/* ---- DMA ---- */

static int dma_pad(struct fw_cfg *f, uint64_t gpa, uint32_t len)
{
	static const uint8_t zeroes[DMA_CHUNK];
	struct mem *mem = f->dev.m->mem;

	if (len > DMA_MAX_PADDING)
		return -EINVAL;
	while (len) {
		uint32_t n = len < DMA_CHUNK ? len : DMA_CHUNK;

		if (dma_write(mem, gpa, zeroes, n))
			return -EFAULT;
		gpa += n;
		len -= n;
	}
	return 0;
}

static int dma_read_item(struct fw_cfg *f, uint64_t gpa, uint32_t len)
{
	const uint8_t *data = NULL;
	uint32_t left = item_left(f, &data);
	uint32_t n = len < left ? len : left;

	if (gpa + len < gpa)
		return -EFAULT;
	if (n && dma_write(f->dev.m->mem, gpa, data, n))
		return -EFAULT;
	if (dma_pad(f, gpa + n, len - n))
		return -EFAULT;
	item_advance(f, len);
	return 0;
}

/* 0, or DMA_ERROR for the guest. */
static uint32_t dma_do(struct fw_cfg *f, uint32_t control, uint32_t length,
		       uint64_t gpa)
{
	if (control & DMA_SELECT)
		item_select(f, control >> 16);
	if (control & DMA_READ)
		return dma_read_item(f, gpa, length) ? DMA_ERROR : 0;
	if (control & DMA_WRITE)
		return DMA_ERROR; /* no item can be written */
	if (control & DMA_SKIP)
		item_advance(f, length);
	return 0;
}

static void dma_run(struct fw_cfg *f, uint64_t gpa)
{
	struct machine *m = f->dev.m;
	struct fw_cfg_dma req;
	uint32_t answer;

	if (dma_read(m->mem, gpa, &req, sizeof(req))) {
		log_guest(m->log, &f->dev.limit, f->dev.name,
			  "DMA request at 0x%llx lies outside RAM",
			  (unsigned long long)gpa);
		return;
	}
	answer = htobe32(dma_do(f, be32toh(req.control), be32toh(req.length),
				be64toh(req.address)));
	/* The request was read from there, so only a moved map refuses. */
	dma_write(m->mem, gpa, &answer, sizeof(answer));
}

static uint64_t dma_port_read(void *opaque, uint64_t off, unsigned len)
{
	static const char signature[8] = {'Q', 'E', 'M', 'U',
					  ' ', 'C', 'F', 'G'};
	uint64_t value = 0;

	(void)opaque;
	memcpy(&value, signature + off, len);
	return value;
}

static void dma_port_write(void *opaque, uint64_t off, uint64_t value,
			   unsigned len)
{
	struct fw_cfg *f = opaque;
	uint32_t high = f->dma_high, word = be32toh((uint32_t)value);

	if (len != 4 || (off && off != 4))
		return;
	if (off == 0) {
		f->dma_high = word;
		return;
	}
	f->dma_high = 0;
	dma_run(f, (uint64_t)high << 32 | word);
}

static const struct bus_ops dma_ops = {
	.read = dma_port_read,
	.write = dma_port_write,
	.max_len = 4,
};

/* ---- life ---- */

static void fw_cfg_free(struct fw_cfg *f)
{
	for (unsigned i = 0; i < f->nr_items; i++)
		free(f->items[i].data);
	f->nr_items = 0;
}

static int fw_cfg_create(struct device *dev, const struct device_args *args,
			 struct error *e)
{
	struct fw_cfg *f = (struct fw_cfg *)dev;
	uint32_t id = htole32(ID_INTERFACES);
	int r;

	(void)args;
	r = fw_cfg_add_item(f, FW_CFG_SIGNATURE, "QEMU", 4, e);
	if (!r)
		r = fw_cfg_add_item(f, FW_CFG_ID, &id, sizeof(id), e);
	if (!r)
		r = directory_update(f, e);
	if (r) {
		fw_cfg_free(f);
		return r;
	}
	isa_ports_add(dev, &f->ports, "fw_cfg", FW_CFG_PORT, 2, &port_ops);
	isa_ports_add(dev, &f->dma_ports, "fw_cfg-dma", FW_CFG_DMA_PORT, 8,
		      &dma_ops);
	dev->m->fw_cfg = f;
	return 0;
}

static void fw_cfg_destroy(struct device *dev)
{
	struct fw_cfg *f = (struct fw_cfg *)dev;

	dev->m->fw_cfg = NULL;
	bus_ports_remove(dev->m->bus, &f->dma_ports);
	bus_ports_remove(dev->m->bus, &f->ports);
	fw_cfg_free(f);
}

static void fw_cfg_reset(struct device *dev)
{
	struct fw_cfg *f = (struct fw_cfg *)dev;

	item_select(f, 0);
	f->dma_high = 0;
}

static const struct state_field fw_cfg_fields[] = {
	STATE_FIELD(struct fw_cfg, key),
	STATE_FIELD(struct fw_cfg, offset),
	STATE_FIELD(struct fw_cfg, dma_high),
};

static const struct state_desc fw_cfg_state = {
	.name = "fw_cfg",
	.version = 1,
	.oldest = 1,
	.fields = fw_cfg_fields,
	.nr_fields = sizeof(fw_cfg_fields) / sizeof(fw_cfg_fields[0]),
};

const struct device_class fw_cfg_class = {
	.name = "fw_cfg",
	.summary = "configuration for firmware",
	.bus = DEVICE_ON_BOARD,
	.size = sizeof(struct fw_cfg),
	.create = fw_cfg_create,
	.destroy = fw_cfg_destroy,
	.reset = fw_cfg_reset,
	.state = &fw_cfg_state,
};
