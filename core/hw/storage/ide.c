/*
 * PIIX4's IDE function: two channels at the PC's ports and interrupts, with a
 * bus master (Intel 82371AB; ATA/ATAPI-7).
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/error.h"
#include "core/hw/storage/ide_int.h"
#include "core/migration/state.h"

#define BM_BAR	   4
#define BM_LEN	   16
#define BM_COMMAND 0
#define BM_STATUS  2
#define BM_LIST	   4

#define CONFIG_COMMAND 0x04
#define CONFIG_TIMING  0x40 /* of channel 0; two bytes each */
#define TIMING_DECODE  0x80 /* in the upper one: the ports are there */
#define COMMAND_IO     0x01

enum ide_reg {
	REG_DATA,
	REG_ERROR, /* and features */
	REG_COUNT,
	REG_LBA_LOW,
	REG_LBA_MID,
	REG_LBA_HIGH,
	REG_DEVICE,
	REG_STATUS, /* and command */
	NR_REGS
};

static const struct {
	uint16_t command, control;
	unsigned gsi;
} places[IDE_NR_CHANNELS] = {
	{0x1f0, 0x3f6, 14},
	{0x170, 0x376, 15},
};

/* ---- the command block ---- */

static uint8_t status(struct ide_channel *ch)
{
	struct ide_unit *u = ide_selected(ch);

	if (!u->ata)
		return 0;
	if (ch->draining || (ch->control_reg & IDE_CONTROL_SRST))
		return ATA_STATUS_BSY;
	if (u != &ch->units[ch->active])
		return u->regs.status;
	switch ((enum ide_phase)ch->phase) {
	case IDE_START:
	case IDE_NEXT:
	case IDE_BUSY:
	case IDE_WAIT_DMA:
		return ATA_STATUS_BSY;
	case IDE_PACKET:
	case IDE_FILL:
	case IDE_EMPTY:
		return ATA_STATUS_OK | ATA_STATUS_DRQ;
	case IDE_IDLE:
	case IDE_NR_PHASES:
		break;
	}
	return u->regs.status;
}

static uint8_t reg_read(struct ide_channel *ch, unsigned reg)
{
	struct ide_unit *u = ide_selected(ch);
	const struct ide_regs *r = &u->regs;
	unsigned old = ch->control_reg & IDE_CONTROL_HOB ? 1 : 0;

	if (!ch->units[0].ata && !ch->units[1].ata)
		return 0;
	if (reg == REG_DEVICE)
		return ch->device_reg;
	if (!u->ata)
		return 0;
	switch (reg) {
	case REG_ERROR:
		return r->error;
	case REG_COUNT:
		return r->count[old];
	case REG_LBA_LOW:
		return r->lba_low[old];
	case REG_LBA_MID:
		return r->lba_mid[old];
	case REG_LBA_HIGH:
		return r->lba_high[old];
	case REG_STATUS:
		ch->intrq = false;
		ide_channel_update_irq(ch);
		return status(ch);
	}
	return 0;
}

static void push(uint8_t *reg, uint8_t value)
{
	reg[1] = reg[0];
	reg[0] = value;
}

/* Both devices hear what is written. */
static void unit_write(struct ide_regs *r, unsigned reg, uint8_t value)
{
	switch (reg) {
	case REG_ERROR:
		push(r->features, value);
		break;
	case REG_COUNT:
		push(r->count, value);
		break;
	case REG_LBA_LOW:
		push(r->lba_low, value);
		break;
	case REG_LBA_MID:
		push(r->lba_mid, value);
		break;
	case REG_LBA_HIGH:
		push(r->lba_high, value);
		break;
	}
}

static void reg_write(struct ide_channel *ch, unsigned reg, uint8_t value)
{
	ch->control_reg &= ~IDE_CONTROL_HOB;
	if (reg == REG_STATUS) {
		ide_channel_command(ch, value);
	} else if (reg == REG_DEVICE) {
		ch->device_reg = value | IDE_DEVICE_FIXED;
	} else if (!ide_channel_is_busy(ch)) {
		unit_write(&ch->units[0].regs, reg, value);
		unit_write(&ch->units[1].regs, reg, value);
	}
}

static uint64_t command_read(void *opaque, uint64_t off, unsigned len)
{
	struct ide_channel *ch = opaque;
	uint64_t value = 0;

	if (off == REG_DATA)
		return ide_channel_read_data(ch, len);
	for (unsigned i = 0; i < len && off + i < NR_REGS; i++)
		value |= (uint64_t)reg_read(ch, (unsigned)off + i) << (8 * i);
	return value;
}

static void command_write(void *opaque, uint64_t off, uint64_t value,
			  unsigned len)
{
	struct ide_channel *ch = opaque;

	if (off == REG_DATA) {
		ide_channel_write_data(ch, (uint32_t)value, len);
		return;
	}
	for (unsigned i = 0; i < len && off + i < NR_REGS; i++)
		reg_write(ch, (unsigned)off + i, (uint8_t)(value >> (8 * i)));
}

static const struct bus_ops command_ops = {
	.read = command_read,
	.write = command_write,
	.max_len = 4,
};

/* ---- the control block ---- */

static uint64_t control_read(void *opaque, uint64_t off, unsigned len)
{
	(void)off;
	(void)len;
	return status(opaque);
}

static void soft_reset(struct ide_channel *ch)
{
	ch->device_reg = IDE_DEVICE_FIXED;
	for (unsigned i = 0; i < 2; i++) {
		if (ch->units[i].ata)
			ata_reset(ch->units[i].ata);
		ide_unit_signature(&ch->units[i]);
	}
}

static void control_write(void *opaque, uint64_t off, uint64_t value,
			  unsigned len)
{
	struct ide_channel *ch = opaque;
	uint8_t old = ch->control_reg;

	(void)off;
	(void)len;
	ch->control_reg = (uint8_t)value;
	if (!(old & IDE_CONTROL_SRST) && (value & IDE_CONTROL_SRST))
		ide_channel_abort(ch);
	if ((old & IDE_CONTROL_SRST) && !(value & IDE_CONTROL_SRST))
		soft_reset(ch);
	ide_channel_update_irq(ch);
}

static const struct bus_ops control_ops = {
	.read = control_read,
	.write = control_write,
	.max_len = 1,
};

/* ---- the bus master ---- */

static uint8_t bm_read_byte(const struct ide_channel *ch, unsigned reg)
{
	if (reg == BM_COMMAND)
		return ch->bm_command;
	if (reg == BM_STATUS)
		return ch->bm_status;
	if (reg >= BM_LIST)
		return (uint8_t)(ch->bm_list >> (8 * (reg - BM_LIST)));
	return 0;
}

static void bm_write_byte(struct ide_channel *ch, unsigned reg, uint8_t value)
{
	unsigned shift = 8 * (reg - BM_LIST);
	uint8_t old = ch->bm_command;

	if (reg == BM_COMMAND) {
		ch->bm_command = value & (IDE_BM_START | IDE_BM_TO_GUEST);
		if (!(value & IDE_BM_START))
			ch->bm_status &= ~IDE_BM_ACTIVE;
		else if (!(old & IDE_BM_START))
			ch->bm_status |= IDE_BM_ACTIVE;
		ide_channel_try_dma(ch);
	} else if (reg == BM_STATUS) {
		ch->bm_status = (ch->bm_status & ~0x60) | (value & 0x60);
		ch->bm_status &= ~(value & (IDE_BM_IRQ | IDE_BM_ERROR));
	} else if (reg >= BM_LIST) {
		ch->bm_list &= ~(0xffu << shift);
		ch->bm_list |= ((uint32_t)value << shift) & ~3u;
	}
}

static uint64_t bm_read(void *opaque, uint64_t off, unsigned len)
{
	struct ide *ide = opaque;
	uint64_t value = 0;

	for (unsigned i = 0; i < len; i++)
		value |= (uint64_t)bm_read_byte(&ide->channels[(off + i) / 8],
						(off + i) % 8)
			 << (8 * i);
	return value;
}

static void bm_write(void *opaque, uint64_t off, uint64_t value, unsigned len)
{
	struct ide *ide = opaque;

	for (unsigned i = 0; i < len; i++)
		bm_write_byte(&ide->channels[(off + i) / 8], (off + i) % 8,
			      (uint8_t)(value >> (8 * i)));
}

static const struct bus_ops bm_ops = {
	.read = bm_read,
	.write = bm_write,
	.max_len = 4,
};

/* ---- configuration ---- */

/* The channels' ports are there when the guest decodes them. */
static void place_ports(struct ide *ide)
{
	const uint8_t *config = ide->pci.config;
	struct bus *bus = ide->pci.dev.m->bus;

	for (unsigned i = 0; i < IDE_NR_CHANNELS; i++) {
		struct ide_channel *ch = &ide->channels[i];
		bool on = (config[CONFIG_COMMAND] & COMMAND_IO) &&
			  (config[CONFIG_TIMING + 2 * i + 1] & TIMING_DECODE);

		bus_ports_set(bus, &ch->command, places[i].command, on);
		bus_ports_set(bus, &ch->control, places[i].control, on);
	}
}

static void config_written(struct pci_dev *d, unsigned off, unsigned len)
{
	struct ide *ide = (struct ide *)(void *)d;

	(void)off;
	(void)len;
	place_ports(ide);
	for (unsigned i = 0; i < IDE_NR_CHANNELS; i++)
		ide_channel_try_dma(&ide->channels[i]);
}

static void config_init(struct ide *ide)
{
	memset(ide->pci.wmask + CONFIG_TIMING, 0xff, 5);
	ide->pci.wmask[0x48] = 0x0f; /* Ultra DMA: enabled, timings */
	ide->pci.wmask[0x4a] = 0x33;
	ide->pci.wmask[0x4b] = 0x33;
}

static void channel_reset(struct ide_channel *ch)
{
	ide_channel_abort(ch);
	ch->draining = false;
	ch->control_reg = 0;
	ch->device_reg = IDE_DEVICE_FIXED;
	ch->active = 0;
	ch->bm_command = ch->bm_status = 0;
	ch->bm_list = 0;
	for (unsigned i = 0; i < 2; i++) {
		memset(&ch->units[i].regs, 0, sizeof(ch->units[i].regs));
		ide_unit_signature(&ch->units[i]);
	}
	ide_channel_update_irq(ch);
}

/* ---- drives come and go ---- */

static struct ide_unit *find_unit(struct ide *ide, unsigned unit)
{
	return &ide->channels[unit / 2].units[unit % 2];
}

static int ide_attach(struct device *controller, struct ata_dev *d,
		      struct error *e)
{
	struct ide *ide = (struct ide *)(void *)controller;
	struct ide_unit *u;
	int r;

	if (d->unit >= IDE_NR_UNITS)
		return error_set(e, -EINVAL,
				 "'%s' has no place %u: choose one of 0 to %d",
				 controller->name, d->unit, IDE_NR_UNITS - 1);
	u = find_unit(ide, d->unit);
	if (u->ata)
		return error_set(e, -EBUSY, "place %u of '%s' is taken by '%s'",
				 d->unit, controller->name, u->ata->dev.name);
	u->kick = (struct loop_fd){
		.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
		.events = EPOLLIN,
		.fn = ide_unit_on_kick,
		.arg = u,
	};
	r = u->kick.fd < 0 ? -errno : loop_fd_add(d->io, &u->kick);
	if (r) {
		if (u->kick.fd >= 0)
			close(u->kick.fd);
		return error_errno(e, -r, "watching an IDE channel");
	}
	pthread_mutex_lock(&controller->lock);
	u->ata = d;
	ide_unit_signature(u);
	pthread_mutex_unlock(&controller->lock);
	return 0;
}

static void unit_detach(struct ide_unit *u)
{
	if (!u->ata)
		return;
	loop_fd_remove(u->ata->io, &u->kick);
	close(u->kick.fd);
	u->ata->dev.parent = NULL;
	u->ata = NULL;
}

static void ide_detach(struct ata_dev *d)
{
	struct ide *ide = (struct ide *)(void *)d->dev.parent;
	struct ide_unit *u;

	if (!ide)
		return;
	pthread_mutex_lock(&ide->pci.dev.lock);
	u = find_unit(ide, d->unit);
	if (u->channel->active == d->unit % 2)
		ide_channel_abort(u->channel);
	unit_detach(u);
	pthread_mutex_unlock(&ide->pci.dev.lock);
}

/* ---- life ---- */

static void channel_init(struct ide *ide, unsigned i)
{
	struct ide_channel *ch = &ide->channels[i];
	struct machine *m = ide->pci.dev.m;

	ch->ide = ide;
	ch->cmd.iov = ch->iov;
	ch->cmd.window = IDE_WINDOW;
	ch->cmd.block = DRIVE_SECTOR;
	ch->cmd.req.done = ide_channel_done;
	ch->cmd.req.opaque = ch;
	ch->units[0].channel = ch->units[1].channel = ch;
	ch->command = (struct bus_ports){.nr = NR_REGS,
					 .ops = &command_ops,
					 .dev = &ide->pci.dev,
					 .opaque = ch};
	ch->control = (struct bus_ports){.nr = 1,
					 .ops = &control_ops,
					 .dev = &ide->pci.dev,
					 .opaque = ch};
	snprintf(ch->command.name, sizeof(ch->command.name), "%.20s.%u",
		 ide->pci.dev.name, i);
	snprintf(ch->control.name, sizeof(ch->control.name), "%.20s.%u.control",
		 ide->pci.dev.name, i);
	irq_init(&ch->irq, m->irq, places[i].gsi);
	bus_ports_add(m->bus, &ch->command);
	bus_ports_add(m->bus, &ch->control);
}

static int ide_create(struct device *dev, const struct device_args *args,
		      struct error *e)
{
	struct ide *ide = (struct ide *)(void *)dev;
	struct pci_ids ids = {
		.vendor = 0x8086,
		.device = 0x7111,
		.subvendor = 0x1af4,
		.subdevice = 0x1100,
		.revision = 1,
		.class_code = 0x010180, /* bus master, ports as in a PC */
	};
	int r = pci_dev_init(&ide->pci, args, &ids, e);

	if (r)
		return r;
	pci_bar_io(&ide->pci, BM_BAR, PCI_BAR_IO, BM_LEN, &bm_ops, ide);
	ide->pci.config_written = config_written;
	config_init(ide);
	ide->commands = device_counter_add(dev, "commands");
	ide->errors = device_counter_add(dev, "errors");
	ide->interrupts = device_counter_add(dev, "interrupts");
	for (unsigned i = 0; i < IDE_NR_CHANNELS; i++) {
		channel_init(ide, i);
		channel_reset(&ide->channels[i]);
	}
	return 0;
}

static void ide_quiesce(struct device *dev)
{
	struct ide *ide = (struct ide *)(void *)dev;

	for (unsigned i = 0; i < IDE_NR_UNITS; i++)
		if (find_unit(ide, i)->ata)
			drive_drain(find_unit(ide, i)->ata->drive);
}

static void ide_destroy(struct device *dev)
{
	struct ide *ide = (struct ide *)(void *)dev;

	ide_quiesce(dev);
	for (unsigned i = 0; i < IDE_NR_UNITS; i++)
		unit_detach(find_unit(ide, i));
	for (unsigned i = 0; i < IDE_NR_CHANNELS; i++) {
		irq_set(&ide->channels[i].irq, false);
		bus_ports_remove(dev->m->bus, &ide->channels[i].command);
		bus_ports_remove(dev->m->bus, &ide->channels[i].control);
	}
	pci_dev_fini(&ide->pci);
}

static void ide_reset(struct device *dev)
{
	struct ide *ide = (struct ide *)(void *)dev;

	ide_quiesce(dev);
	pthread_mutex_lock(&dev->lock);
	for (unsigned i = 0; i < IDE_NR_CHANNELS; i++)
		channel_reset(&ide->channels[i]);
	pci_dev_reset(&ide->pci);
	/* Decoded from the start, for guests that no firmware prepared. */
	for (unsigned i = 0; i < IDE_NR_CHANNELS; i++)
		ide->pci.config[CONFIG_TIMING + 2 * i + 1] |= TIMING_DECODE;
	place_ports(ide);
	pthread_mutex_unlock(&dev->lock);
}

/* ---- state ---- */

static int ide_loaded(struct device *dev, struct error *e)
{
	struct ide *ide = (struct ide *)(void *)dev;

	(void)e;
	pci_dev_loaded(&ide->pci);
	place_ports(ide);
	for (unsigned i = 0; i < IDE_NR_CHANNELS; i++) {
		struct ide_channel *ch = &ide->channels[i];

		ide_channel_set_map(ch);
		ata_cmd_loaded(&ch->cmd);
		ide_channel_update_irq(ch);
		ide_channel_poke(ch);
	}
	return 0;
}

static const struct state_field regs_fields[] = {
	STATE_ARRAY(struct ide_unit, regs.features),
	STATE_ARRAY(struct ide_unit, regs.count),
	STATE_ARRAY(struct ide_unit, regs.lba_low),
	STATE_ARRAY(struct ide_unit, regs.lba_mid),
	STATE_ARRAY(struct ide_unit, regs.lba_high),
	STATE_FIELD(struct ide_unit, regs.error),
	STATE_FIELD(struct ide_unit, regs.status),
};

static const struct state_desc regs_state = {
	.name = "ide-unit",
	.version = 1,
	.oldest = 1,
	.fields = regs_fields,
	.nr_fields = sizeof(regs_fields) / sizeof(regs_fields[0]),
};

static const struct state_field channel_fields[] = {
	STATE_STRUCTS(struct ide_channel, units, 2, &regs_state),
	STATE_FIELD(struct ide_channel, phase),
	STATE_FIELD(struct ide_channel, active),
	STATE_FIELD(struct ide_channel, device_reg),
	STATE_FIELD(struct ide_channel, control_reg),
	STATE_FIELD(struct ide_channel, intrq),
	STATE_FIELD(struct ide_channel, last),
	STATE_FIELD(struct ide_channel, quiet),
	STATE_FIELD(struct ide_channel, limit),
	STATE_FIELD(struct ide_channel, pos),
	STATE_FIELD(struct ide_channel, end),
	STATE_FIELD(struct ide_channel, bm_command),
	STATE_FIELD(struct ide_channel, bm_status),
	STATE_FIELD(struct ide_channel, bm_list),
	STATE_STRUCTS(struct ide_channel, cmd, 1, &ata_cmd_state),
	STATE_ARRAY(struct ide_channel, window),
};

/* Where the guest's next access to the data register goes must exist. */
static bool is_window_sound(const struct ide_channel *ch)
{
	const struct ata_cmd *c = &ch->cmd;

	if (c->window && c->window != IDE_WINDOW)
		return false;
	/* Only data that went through the window leave something to do. */
	if (ch->phase == IDE_NEXT && !c->window)
		return false;
	if (ch->phase == IDE_PACKET)
		return ch->end == IDE_PACKET_LEN && ch->pos < ch->end;
	if (ch->phase == IDE_FILL || ch->phase == IDE_EMPTY)
		return c->window && ch->pos < ch->end && ch->end <= c->part &&
		       (c->tf.command != ATA_CMD_PACKET || ch->limit >= 2);
	return true;
}

static int channel_check(void *obj, int version, struct error *e)
{
	struct ide_channel *ch = obj;

	(void)version;
	if (ch->phase >= IDE_NR_PHASES || ch->phase == IDE_BUSY ||
	    ch->active > 1)
		return error_set(e, -EINVAL,
				 "IDE channel: no phase %u of device %u",
				 ch->phase, ch->active);
	if (ch->phase != IDE_IDLE && !ch->units[ch->active].ata)
		return error_set(e, -EINVAL,
				 "IDE channel: device %u is busy and not there",
				 ch->active);
	if (is_window_sound(ch))
		return 0;
	return error_set(e, -EINVAL,
			 "IDE channel: no data from byte %u to %u of %u",
			 ch->pos, ch->end, ch->cmd.part);
}

static const struct state_desc channel_state = {
	.name = "ide-channel",
	.version = 1,
	.oldest = 1,
	.fields = channel_fields,
	.nr_fields = sizeof(channel_fields) / sizeof(channel_fields[0]),
	.check = channel_check,
};

static const struct state_field ide_fields[] = {
	STATE_STRUCTS(struct ide, pci, 1, &pci_dev_state),
	STATE_STRUCTS(struct ide, channels, IDE_NR_CHANNELS, &channel_state),
};

static const struct state_desc ide_state = {
	.name = "piix-ide",
	.version = 1,
	.oldest = 1,
	.fields = ide_fields,
	.nr_fields = sizeof(ide_fields) / sizeof(ide_fields[0]),
};

const struct device_class piix_ide_class = {
	.name = "piix-ide",
	.summary = "IDE controller",
	.bus = DEVICE_ON_PCI,
	.size = sizeof(struct ide),
	.create = ide_create,
	.destroy = ide_destroy,
	.reset = ide_reset,
	.quiesce = ide_quiesce,
	.state = &ide_state,
	.loaded = ide_loaded,
};

const struct ata_transport ide_transport = {
	.controller = &piix_ide_class,
	.is_parallel = true,
	.default_mode = 0x42, /* Ultra DMA 2, what the function can */
	.attach = ide_attach,
	.detach = ide_detach,
};
