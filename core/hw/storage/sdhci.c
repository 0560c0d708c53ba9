/*
 * An SD host controller as a PCI function with one slot: its registers and its
 * commands.  SD Host Controller Simplified Specification 3.00, chapter 2.
 */
#include "core/hw/storage/sdhci.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/error.h"
#include "core/hw/storage/sdhci_int.h"
#include "core/migration/state.h"

#define BAR_LEN 0x100

/* 50 MHz for time-outs and as the base clock, ADMA2, high speed, SDMA, 3.3 V,
 * 64-bit addresses; blocks of 512 bytes at most. */
#define CAPS                                                                   \
	(50u | (1u << 7) | (50u << 8) | (1u << 19) | (1u << 21) | (1u << 22) | \
	 (1u << 24) | (1u << 28))
#define CURRENT_3V3 50u /* times 4 mA */
#define VERSION_3   0x0002u

#define COMMAND_REPLY	   0x0003u
#define COMMAND_REPLY_BUSY 3u
#define COMMAND_DATA	   0x0020u
#define COMMAND_ABORT	   0x00c0u

#define PRESENT_CARD	 (7u << 16) /* inserted, stable, its pin */
#define PRESENT_WRITABLE (1u << 19)
#define PRESENT_DAT0	 (1u << 20)
#define PRESENT_IDLE	 (0xfu << 21) /* DAT1 to DAT3, CMD */

#define POWER_ON       0x0100u
#define POWER_VOLTAGE  0x0e00u
#define POWER_3V3      0x0e00u
#define CLOCK_INTERNAL 0x0001u
#define CLOCK_STABLE   0x0002u
#define CLOCK_CARD     0x0004u
#define RESET_ALL      0x0100u
#define RESET_DATA     0x0400u
#define RESET_COMMAND  0x0200u
#define STATUS_OF_DATA 0x003eu
#define AUTO_NOT_DONE  0x0001u
#define AUTO_TIMEOUT   0x0002u

extern const struct device_class sdhci_class;

/* ---- interrupts ---- */

void sdhci_update_irq(struct sdhci *s)
{
	const uint16_t *regs = s->regs;
	bool level = (regs[SDHCI_STATUS] & regs[SDHCI_STATUS_SIGNAL]) ||
		     (regs[SDHCI_ERRORS] & regs[SDHCI_ERRORS_SIGNAL]);

	if (level && !s->pci.intx_level)
		device_count(s->interrupts, 1);
	pci_intx(&s->pci, level);
}

void sdhci_raise(struct sdhci *s, uint16_t status)
{
	s->regs[SDHCI_STATUS] |= status & s->regs[SDHCI_STATUS_ENABLE];
}

static void raise_error(struct sdhci *s, uint16_t errors)
{
	device_count(s->errors, 1);
	s->regs[SDHCI_ERRORS] |= errors & s->regs[SDHCI_ERRORS_ENABLE];
}

void sdhci_fail(struct sdhci *s, uint16_t errors)
{
	sdhci_data_stop(s);
	raise_error(s, errors);
}

/* ---- commands ---- */

static bool is_powered(const struct sdhci *s)
{
	return s->card && (s->regs[SDHCI_CONTROL] & POWER_ON) &&
	       (s->regs[SDHCI_CLOCK] & CLOCK_CARD) &&
	       (s->regs[SDHCI_CLOCK] & CLOCK_INTERNAL);
}

/* The answer's check sum, the last byte, isn't shown. */
static void put_long(struct sdhci *s, const uint8_t *data)
{
	for (unsigned i = 0; i < 8; i++)
		s->regs[SDHCI_RESPONSE + i] =
			(uint16_t)(data[14 - 2 * i] |
				   (i < 7 ? data[13 - 2 * i] << 8 : 0));
}

bool sdhci_auto_command(struct sdhci *s, uint8_t index, uint32_t arg)
{
	struct sd_reply reply;

	sd_card_command(s->card, index, arg, 0, &reply);
	if (reply.kind == SD_NO_REPLY) {
		s->regs[SDHCI_AUTO_ERRORS] =
			index == 23 ? AUTO_NOT_DONE | AUTO_TIMEOUT
				    : AUTO_TIMEOUT;
		return false;
	}
	sdhci_set_pair(s, SDHCI_RESPONSE + 6, reply.value);
	return true;
}

/* How many blocks the host will move, 0 when it doesn't know. */
static uint32_t planned_blocks(const struct sdhci *s)
{
	uint16_t mode = s->regs[SDHCI_MODE];

	if (!(mode & SDHCI_MODE_MULTI))
		return 1;
	return mode & SDHCI_MODE_COUNT ? s->regs[SDHCI_BLOCKS] : 0;
}

/* A command that needs the data lines while they are in use isn't sent. */
static bool is_sendable(const struct sdhci *s, uint16_t command, uint8_t index)
{
	bool uses_data = (command & COMMAND_DATA) ||
			 (command & COMMAND_REPLY) == COMMAND_REPLY_BUSY;

	if (!is_powered(s))
		return false;
	if ((command & COMMAND_ABORT) == COMMAND_ABORT || index == 12)
		return !(command & COMMAND_DATA);
	return !uses_data || (!s->active && !s->waits);
}

static void command_sent(struct sdhci *s, uint16_t command,
			 const struct sd_reply *reply)
{
	if (reply->kind == SD_NO_REPLY && (command & COMMAND_REPLY)) {
		raise_error(s, SDHCI_ERR_COMMAND_TIMEOUT);
		return;
	}
	if (reply->kind == SD_REPLY_LONG)
		put_long(s, reply->data);
	else if (reply->kind == SD_REPLY_SHORT)
		sdhci_set_pair(s, SDHCI_RESPONSE, reply->value);
	sdhci_raise(s, SDHCI_IS_COMMAND);
	if (command & COMMAND_DATA) {
		sdhci_data_start(s);
		return;
	}
	if ((command & COMMAND_REPLY) == COMMAND_REPLY_BUSY)
		s->waits = true;
	/* Also an erase, or what is left to program, needs the loop. */
	sdhci_data_pump(s);
	sdhci_kick(s);
}

static void send_command(struct sdhci *s)
{
	uint16_t command = s->regs[SDHCI_COMMAND];
	uint8_t index = (command >> 8) & 0x3f;
	struct sd_reply reply;

	device_count(s->commands, 1);
	if (!is_sendable(s, command, index)) {
		raise_error(s, SDHCI_ERR_COMMAND_TIMEOUT);
		return;
	}
	if (index == 0 || index == 12 ||
	    (command & COMMAND_ABORT) == COMMAND_ABORT)
		sdhci_data_stop(s);
	s->regs[SDHCI_AUTO_ERRORS] = 0;
	if ((command & COMMAND_DATA) &&
	    (s->regs[SDHCI_MODE] & SDHCI_MODE_AUTO) == SDHCI_MODE_AUTO_23 &&
	    !sdhci_auto_command(s, 23, sdhci_pair(s, SDHCI_SDMA))) {
		raise_error(s, SDHCI_ERR_AUTO);
		return;
	}
	sd_card_command(s->card, index, sdhci_pair(s, SDHCI_ARGUMENT),
			planned_blocks(s), &reply);
	command_sent(s, command, &reply);
}

/* ---- registers ---- */

static void power_on_regs(struct sdhci *s)
{
	memset(s->regs, 0, sizeof(s->regs));
	sdhci_set_pair(s, SDHCI_CAPS, CAPS);
	s->regs[SDHCI_CURRENT] = CURRENT_3V3;
	s->regs[SDHCI_VERSION] = VERSION_3;
}

static void reset(struct sdhci *s, uint16_t what)
{
	if (what & (RESET_ALL | RESET_DATA)) {
		sdhci_data_stop(s);
		s->regs[SDHCI_STATUS] &= (uint16_t)~STATUS_OF_DATA;
		s->pci.dev.failed = false;
	}
	if (what & RESET_COMMAND)
		s->regs[SDHCI_STATUS] &= (uint16_t)~SDHCI_IS_COMMAND;
	if (!(what & RESET_ALL))
		return;
	power_on_regs(s);
	if (s->card)
		sd_card_power_off(s->card);
}

/* Bits that the guest may simply change. */
static const uint16_t writable[SDHCI_NR_REGS] = {
	[SDHCI_SDMA] = 0xffff,		[SDHCI_SDMA + 1] = 0xffff,
	[SDHCI_BLOCK_LEN] = 0x7fff,	[SDHCI_BLOCKS] = 0xffff,
	[SDHCI_ARGUMENT] = 0xffff,	[SDHCI_ARGUMENT + 1] = 0xffff,
	[SDHCI_MODE] = 0x003f,		[SDHCI_COMMAND] = 0x3ffb,
	[SDHCI_CONTROL] = 0x0fdf,	[SDHCI_GAP] = 0x0700,
	[SDHCI_CLOCK] = 0xffe5,		[SDHCI_RESET] = 0x000f,
	[SDHCI_STATUS_ENABLE] = 0x01ff, [SDHCI_ERRORS_ENABLE] = 0x03ff,
	[SDHCI_STATUS_SIGNAL] = 0x01ff, [SDHCI_ERRORS_SIGNAL] = 0x03ff,
	[SDHCI_ADMA] = 0xffff,		[SDHCI_ADMA + 1] = 0xffff,
	[SDHCI_ADMA + 2] = 0xffff,	[SDHCI_ADMA + 3] = 0xffff,
};

static void set_power(struct sdhci *s)
{
	uint16_t *control = &s->regs[SDHCI_CONTROL];

	if ((*control & POWER_VOLTAGE) != POWER_3V3)
		*control &= (uint16_t)~POWER_ON;
	if ((*control & POWER_ON) || !s->card)
		return;
	sdhci_data_stop(s);
	sd_card_power_off(s->card);
}

/* What a register does besides keeping a value; mask: the bytes written. */
static void wrote(struct sdhci *s, unsigned reg, uint16_t value, uint16_t mask)
{
	uint16_t *regs = s->regs;

	switch (reg) {
	case SDHCI_SDMA + 1:
		if ((mask & 0xff00) && s->is_paused) {
			s->is_paused = false;
			sdhci_kick(s);
		}
		break;
	case SDHCI_COMMAND:
		if (mask & 0xff00)
			send_command(s);
		break;
	case SDHCI_CONTROL:
		if (mask & 0xff00)
			set_power(s);
		break;
	case SDHCI_CLOCK:
		if (regs[reg] & CLOCK_INTERNAL)
			regs[reg] |= CLOCK_STABLE;
		else
			regs[reg] &= (uint16_t)~CLOCK_STABLE;
		break;
	case SDHCI_RESET:
		reset(s, value & mask);
		break;
	case SDHCI_STATUS:
	case SDHCI_ERRORS:
		regs[reg] &= (uint16_t) ~(value & mask);
		break;
	case SDHCI_STATUS_ENABLE:
	case SDHCI_ERRORS_ENABLE:
		regs[reg - 2] &= regs[reg];
		break;
	case SDHCI_FORCE_AUTO:
		regs[SDHCI_AUTO_ERRORS] |= value & mask & 0x9f;
		if (value & mask & 0x9f)
			raise_error(s, SDHCI_ERR_AUTO);
		break;
	case SDHCI_FORCE:
		if (value & mask)
			raise_error(s, value & mask);
		break;
	}
}

static void write_word(struct sdhci *s, unsigned reg, uint16_t value,
		       uint16_t mask)
{
	uint16_t keep = (uint16_t) ~(mask & writable[reg]);

	/* 2.2: ignored while a transfer goes on. */
	if ((s->active || s->waits) && reg == SDHCI_MODE)
		return;
	if (s->active && (reg == SDHCI_BLOCK_LEN || reg == SDHCI_BLOCKS))
		return;
	s->regs[reg] = (uint16_t)((s->regs[reg] & keep) | (value & ~keep));
	wrote(s, reg, value, mask);
}

static uint32_t present(const struct sdhci *s)
{
	uint32_t value = sdhci_data_present(s) | PRESENT_IDLE;

	if (!s->card)
		return value | PRESENT_DAT0;
	value |= PRESENT_CARD;
	if (!drive_readonly(s->card->drive))
		value |= PRESENT_WRITABLE;
	if (!sd_card_pulls_dat0(s->card))
		value |= PRESENT_DAT0;
	return value;
}

static uint16_t read_word(const struct sdhci *s, unsigned reg)
{
	switch (reg) {
	case SDHCI_PRESENT:
		return (uint16_t)present(s);
	case SDHCI_PRESENT + 1:
		return (uint16_t)(present(s) >> 16);
	case SDHCI_STATUS:
		return s->regs[reg] |
		       (s->regs[SDHCI_ERRORS] ? SDHCI_IS_ERROR : 0);
	case SDHCI_SLOT_STATUS:
		return s->pci.intx_level;
	}
	return s->regs[reg];
}

static bool is_data(uint64_t off)
{
	return off / 2 == SDHCI_DATA || off / 2 == SDHCI_DATA + 1;
}

static uint64_t bar_read(void *opaque, uint64_t off, unsigned len)
{
	struct sdhci *s = opaque;
	uint64_t value = 0;

	if (is_data(off)) {
		value = sdhci_data_read(s, len);
		sdhci_update_irq(s);
		return value;
	}
	for (unsigned i = 0; i < len; i++) {
		uint16_t word = read_word(s, (unsigned)(off + i) / 2);

		value |= (uint64_t)(word >> (8 * ((off + i) & 1)) & 0xff)
			 << (8 * i);
	}
	return value;
}

static void bar_write(void *opaque, uint64_t off, uint64_t value, unsigned len)
{
	struct sdhci *s = opaque;
	unsigned n;

	if (is_data(off)) {
		sdhci_data_write(s, (uint32_t)value, len);
		sdhci_update_irq(s);
		return;
	}
	for (unsigned i = 0; i < len; i += n) {
		unsigned odd = (off + i) & 1;
		uint16_t mask = odd ? 0xff00 : 0xffff;

		n = odd ? 1 : 2;
		if (n > len - i) {
			n = 1;
			mask = 0x00ff;
		}
		write_word(s, (unsigned)(off + i) / 2,
			   (uint16_t)(value >> (8 * i) << (8 * odd)), mask);
	}
	sdhci_update_irq(s);
}

static const struct bus_ops bar_ops = {
	.read = bar_read,
	.write = bar_write,
	.max_len = 4,
};

/* Bus mastering may have been turned on over a transfer. */
static void config_written(struct pci_dev *d, unsigned off, unsigned len)
{
	(void)len;
	if (off <= 5)
		sdhci_kick((struct sdhci *)(void *)d);
}

/* ---- the card comes and goes ---- */

int sdhci_attach(struct device *controller, struct sd_card *c, struct error *e)
{
	struct sdhci *s = (struct sdhci *)(void *)controller;
	int r;

	if (controller->cls != &sdhci_class)
		return error_set(e, -EINVAL, "'%s' is not an SD controller",
				 controller->name);
	if (s->card)
		return error_set(e, -EBUSY, "the slot of '%s' holds '%s'",
				 controller->name, s->card->dev.name);
	s->kick = (struct loop_fd){
		.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
		.events = EPOLLIN,
		.fn = sdhci_on_kick,
		.arg = s,
	};
	r = s->kick.fd < 0 ? -errno : loop_fd_add(c->io, &s->kick);
	if (r) {
		if (s->kick.fd >= 0)
			close(s->kick.fd);
		return error_errno(e, -r, "watching an SD slot");
	}
	pthread_mutex_lock(&controller->lock);
	c->host = controller;
	s->card = c;
	pthread_mutex_unlock(&controller->lock);
	return 0;
}

static void slot_empty(struct sdhci *s)
{
	if (!s->card)
		return;
	sdhci_data_stop(s);
	loop_fd_remove(s->card->io, &s->kick);
	close(s->kick.fd);
	s->card->host = NULL;
	s->card = NULL;
}

void sdhci_detach(struct sd_card *c)
{
	struct device *host = c->host;

	if (!host)
		return;
	pthread_mutex_lock(&host->lock);
	slot_empty((struct sdhci *)(void *)host);
	pthread_mutex_unlock(&host->lock);
}

/* ---- life ---- */

static int sdhci_create(struct device *dev, const struct device_args *args,
			struct error *e)
{
	struct sdhci *s = (struct sdhci *)(void *)dev;
	struct pci_ids ids = {
		.vendor = 0x1b36,
		.device = 0x0007,
		.subvendor = 0x1af4,
		.subdevice = 0x1100,
		.class_code = 0x080501,
		.intx = true,
	};
	int r = pci_dev_init(&s->pci, args, &ids, e);

	if (r)
		return r;
	pci_bar_io(&s->pci, 0, PCI_BAR_MEM32, BAR_LEN, &bar_ops, s);
	s->pci.config_written = config_written;
	s->commands = device_counter_add(dev, "commands");
	s->errors = device_counter_add(dev, "errors");
	s->interrupts = device_counter_add(dev, "interrupts");
	power_on_regs(s);
	return 0;
}

static void sdhci_quiesce(struct device *dev)
{
	struct sdhci *s = (struct sdhci *)(void *)dev;

	if (s->card)
		drive_drain(s->card->drive);
}

static void sdhci_destroy(struct device *dev)
{
	struct sdhci *s = (struct sdhci *)(void *)dev;

	sdhci_quiesce(dev);
	slot_empty(s);
	pci_dev_fini(&s->pci);
}

static void sdhci_reset(struct device *dev)
{
	struct sdhci *s = (struct sdhci *)(void *)dev;

	sdhci_quiesce(dev);
	pthread_mutex_lock(&dev->lock);
	reset(s, RESET_ALL);
	pci_dev_reset(&s->pci);
	pthread_mutex_unlock(&dev->lock);
}

static int sdhci_loaded(struct device *dev, struct error *e)
{
	struct sdhci *s = (struct sdhci *)(void *)dev;

	(void)e;
	pci_dev_loaded(&s->pci);
	/* A transfer goes on where it was. */
	sdhci_kick(s);
	return 0;
}

/* ---- state ---- */

static const struct state_field sdhci_fields[] = {
	STATE_STRUCTS(struct sdhci, pci, 1, &pci_dev_state),
	STATE_FIELD(struct sdhci, pci.dev.failed),
	STATE_ARRAY(struct sdhci, regs),
	STATE_FIELD(struct sdhci, active),
	STATE_FIELD(struct sdhci, to_guest),
	STATE_FIELD(struct sdhci, is_counted),
	STATE_FIELD(struct sdhci, waits),
	STATE_FIELD(struct sdhci, is_paused),
	STATE_FIELD(struct sdhci, dma),
	STATE_FIELD(struct sdhci, auto_mode),
	STATE_FIELD(struct sdhci, blocks),
	STATE_FIELD(struct sdhci, block_len),
	STATE_FIELD(struct sdhci, block_pos),
	STATE_ARRAY(struct sdhci, buf),
	STATE_FIELD(struct sdhci, is_ready),
	STATE_FIELD(struct sdhci, piece),
	STATE_FIELD(struct sdhci, piece_len),
	STATE_FIELD(struct sdhci, piece_interrupts),
	STATE_FIELD(struct sdhci, is_last_piece),
};

static int sdhci_check(void *obj, int version, struct error *e)
{
	struct sdhci *s = obj;

	(void)version;
	if ((s->active || s->waits || s->is_ready) && !s->card)
		return error_set(e, -EINVAL, "a transfer without an SD card");
	if (!s->active && !s->is_ready)
		return 0;
	if (s->active && s->dma <= SDHCI_ADMA64 && s->block_len <= SD_BLOCK &&
	    s->block_pos < s->block_len && (s->blocks || !s->is_counted))
		return 0;
	return error_set(e, -EINVAL, "an SD transfer of no sense");
}

static const struct state_desc sdhci_state = {
	.name = "sdhci",
	.version = 1,
	.oldest = 1,
	.fields = sdhci_fields,
	.nr_fields = sizeof(sdhci_fields) / sizeof(sdhci_fields[0]),
	.check = sdhci_check,
};

const struct device_class sdhci_class = {
	.name = "sdhci-pci",
	.summary = "SD host controller",
	.bus = DEVICE_ON_PCI,
	.size = sizeof(struct sdhci),
	.create = sdhci_create,
	.destroy = sdhci_destroy,
	.reset = sdhci_reset,
	.quiesce = sdhci_quiesce,
	.state = &sdhci_state,
	.loaded = sdhci_loaded,
};
