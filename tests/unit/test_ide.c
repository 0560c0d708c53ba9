/* Disks and CD-ROMs behind the IDE controller, driven by a guest's driver
 * written here, by PIO and by DMA, and by one that writes nonsense. */
#include "tests/unit/ide_guest.h"

/* ---- tests ---- */

static void function_and_ports_are_the_pc_s(void **state)
{
	struct guest *g = make(*state, DRIVE_WRITEBACK, false);

	assert_int_equal(pci_config_read((void *)g->ide, 0, 4), 0x71118086);
	assert_int_equal(pci_config_read((void *)g->ide, 8, 4) >> 8, 0x010180);
	assert_int_equal(pci_config_read((void *)g->ide, 0x40, 4), 0x80008000);
	assert_int_equal(inb(g, CMD_STATUS), 0x50);
	assert_int_equal(inb(g, CMD_COUNT), 1);
	assert_int_equal(inb(g, CMD_LOW), 1);
	assert_int_equal(inb(g, CMD_MID), 0);
	/* A slave that isn't there, and an empty channel. */
	outb(g, CMD_DEVICE, 0x10);
	assert_int_equal(inb(g, CMD_STATUS), 0);
	outb(g, CMD_STATUS, 0xec);
	assert_int_equal(inb(g, CMD_STATUS), 0);
	outb(g, 0x172, 0x55);
	assert_int_equal(inb(g, 0x172), 0);
	assert_int_equal(inb(g, 0x177), 0);
	/* Not decoded: nobody there. */
	pc_config_out(g->pc, g->ide, 0x41, 0, 1);
	assert_int_equal(inb(g, CMD_STATUS), 0xff);
	assert_int_equal(inb(g, 0x177), 0);
	pc_config_out(g->pc, g->ide, 4, 4, 2);
	assert_int_equal(inb(g, 0x177), 0xff);
	free(g);
}

static void identify_describes_the_disk(void **state)
{
	struct guest *g = make(*state, DRIVE_WRITEBACK, false);
	uint16_t id[256];
	uint8_t sum = 0;

	assert_int_equal(pio_in(g, 0xec, 0, 0, 512, 512), 0x50);
	for (unsigned i = 0; i < 512; i++)
		sum += g->data[i];
	assert_int_equal(sum, 0);
	memcpy(id, g->data, 512);
	assert_int_equal(id[60] | id[61] << 16, PC_DISK_LEN / 512);
	assert_int_equal(id[54] * id[55] * id[56], id[57] | id[58] << 16);
	assert_int_equal(id[76], 0); /* no SATA */
	assert_int_equal(id[93], 0x600b);
	assert_int_equal(id[88], 0x043f);
	assert_int_equal(id[105], 8);
	assert_int_equal(id[169], 1);
	assert_int_equal(id[82] & 0x21, 0x21);
	assert_int_equal(id[85] & 0x21, 0x21);
	assert_int_equal(id[217], 1);
	/* The mode that is set shows. */
	assert_int_equal(plain(g, 0xef, 0x21, 0x03), 0x50);
	assert_int_equal(plain(g, 0xef, 0x50, 0x03), 0x51);
	assert_int_equal(pio_in(g, 0xec, 0, 0, 512, 512), 0x50);
	memcpy(id, g->data, 512);
	assert_int_equal(id[63], 0x0207);
	assert_int_equal(id[88], 0x003f);
	/* Nothing queued on this cable. */
	assert_int_equal(plain(g, 0x60, 0, 1), 0x51);
	assert_int_equal(inb(g, CMD_ERROR), 4);
	free(g);
}

struct transfer {
	uint8_t write, read;
	uint32_t block;
};

static void pio_goes_round(void **state)
{
	static const struct transfer rows[] = {
		{0x30, 0x20, 512},  {0x34, 0x24, 512},	{0xc5, 0xc4, 4096},
		{0x39, 0x29, 4096}, {0xce, 0x29, 4096},
	};
	struct guest *g = make(*state, DRIVE_NONE, false);

	assert_int_equal(plain(g, 0xc6, 8, 0), 0x50);
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct transfer *t = &rows[i];

		for (unsigned k = 0; k < 12 * 512; k++)
			g->data[k] = (uint8_t)(k * 7 + i);
		assert_int_equal(pio_out(g, t->write, 64 + 16 * i, 12, 12 * 512,
					 t->block),
				 0x50);
		memset(g->data, 0, 12 * 512);
		assert_int_equal(
			pio_in(g, t->read, 64 + 16 * i, 12, 12 * 512, t->block),
			0x50);
		for (unsigned k = 0; k < 12 * 512; k++)
			assert_int_equal(g->data[k], (uint8_t)(k * 7 + i));
	}
	/* The FUA write was followed by a flush. */
	assert_int_equal(pc_gate.syncs, 1);
	/* Multiple needs its setting. */
	assert_int_equal(plain(g, 0xc6, 0, 0), 0x50);
	assert_int_equal(plain(g, 0xc4, 1, 0), 0x51);
	free(g);
}

/* More than the window holds: two requests, one after the other. */
static void long_pio_goes_in_parts(void **state)
{
	struct guest *g = make(*state, DRIVE_WRITETHROUGH, false);
	uint16_t word;

	issue(g, 0x34, 0, 300, 0);
	for (unsigned k = 0; k < 300 * 512; k += 2) {
		if (k % 512 == 0)
			assert_true(wait_idle(g) & DRQ);
		pio(g, CMD_DATA, (uint16_t)(k / 2), 2, true);
	}
	assert_int_equal(wait_idle(g), 0x50);
	/* With the cache off each is stable when it ends. */
	assert_int_equal(pc_gate.syncs, 2);
	issue(g, 0x24, 0, 300, 0);
	for (unsigned k = 0; k < 300 * 512; k += 2) {
		if (k % 512 == 0)
			assert_true(wait_idle(g) & DRQ);
		word = (uint16_t)pio(g, CMD_DATA, 0, 2, false);
		assert_int_equal(word, (uint16_t)(k / 2));
	}
	assert_int_equal(wait_idle(g), 0x50);
	/* A whole 28-bit command is one request and one flush. */
	pc_gate.syncs = 0;
	assert_int_equal(pio_out(g, 0x30, 0, 0, 256 * 512, 512), 0x50);
	assert_int_equal(pc_gate.syncs, 1);
	free(g);
}

static void dma_goes_round(void **state)
{
	static const struct transfer rows[] = {
		{0xca, 0xc8, 0}, {0x35, 0x25, 0}, {0x3d, 0x25, 0}};
	struct guest *g = make(*state, DRIVE_NONE, false);

	for (unsigned i = 0; i < 3; i++) {
		memset(data(g), (int)(i + 1), 4096);
		assert_int_equal(
			dma(g, rows[i].write, 64 + 8 * i, 8, 0, 4096, true),
			0x50);
		memset(data(g), 0, 4096);
		assert_int_equal(
			dma(g, rows[i].read, 64 + 8 * i, 8, 0, 4096, false),
			0x50);
		for (unsigned k = 0; k < 4096; k++)
			assert_int_equal(data(g)[k], i + 1);
		/* The list was as long as the transfer: not active. */
		assert_int_equal(inb(g, BM + 2) & 3, 0);
	}
	assert_int_equal(pc_gate.syncs, 1);
	/* Started before the command, and scattered. */
	for (unsigned i = 0; i < 1024; i++)
		data(g)[i] = (uint8_t)(i * 3);
	put_prd(g, 0, DATA, 2, false);
	put_prd(g, 1, DATA + 2, 700, false);
	put_prd(g, 2, DATA + 702, 4096, true); /* longer than needed */
	start_dma(g, true);
	issue(g, 0xca, 7, 2, 0);
	wait_irq(g);
	assert_int_equal(inb(g, BM + 2) & 7, 5);
	assert_int_equal(end_dma(g), 0x50);
	memset(data(g), 0, 1024);
	assert_int_equal(dma(g, 0xc8, 7, 2, 0, 1024, false), 0x50);
	for (unsigned i = 0; i < 1024; i++)
		assert_int_equal(data(g)[i], (uint8_t)(i * 3));
	free(g);
}

static void cylinders_are_addresses_too(void **state)
{
	struct guest *g = make(*state, DRIVE_WRITEBACK, false);

	memset(data(g), 0x66, 512);
	/* Cylinder 2, head 1, sector 3 of 16 heads and 63 sectors. */
	assert_int_equal(dma(g, 0xca, 2 * 16 * 63 + 63 + 2, 1, 0, 512, true),
			 0x50);
	outb(g, CMD_DEVICE, 0x01);
	outb(g, CMD_COUNT, 1);
	outb(g, CMD_LOW, 3);
	outb(g, CMD_MID, 2);
	outb(g, CMD_HIGH, 0);
	outb(g, CMD_STATUS, 0x20);
	assert_true(wait_idle(g) & DRQ);
	assert_int_equal(pio(g, CMD_DATA, 0, 2, false), 0x6666);
	/* Busy with that block: a register doesn't change, SRST ends it. */
	outb(g, CMD_COUNT, 77);
	assert_int_equal(inb(g, CMD_COUNT), 1);
	outb(g, CMD_CONTROL, 4);
	outb(g, CMD_CONTROL, 0);
	assert_int_equal(wait_idle(g), 0x50);
	/* Sector 0 doesn't exist. */
	outb(g, CMD_DEVICE, 0x01);
	outb(g, CMD_LOW, 0);
	outb(g, CMD_STATUS, 0x20);
	assert_int_equal(wait_idle(g), 0x51);
	free(g);
}

/* C05 C28: the next command already goes by the new setting. */
static void write_cache_is_switched(void **state)
{
	struct guest *g = make(*state, DRIVE_WRITEBACK, false);

	assert_int_equal(dma(g, 0xca, 0, 1, 0, 512, true), 0x50);
	assert_int_equal(pc_gate.syncs, 0);
	assert_int_equal(plain(g, 0xef, 0, 0x82), 0x50);
	assert_int_equal(pc_gate.syncs, 1); /* what was cached is stable */
	assert_int_equal(pio_in(g, 0xec, 0, 0, 512, 512), 0x50);
	assert_int_equal(g->data[170] & 0x20, 0);
	assert_int_equal(g->data[164] & 0x20, 0x20);
	pc_gate.syncs = 0;
	assert_int_equal(dma(g, 0xca, 0, 1, 0, 512, true), 0x50);
	assert_true(pc_gate.syncs >= 1);
	assert_false(drive_wce(g->pc->drive));
	pc_gate.syncs = 0;
	assert_int_equal(pio_out(g, 0x30, 0, 4, 2048, 512), 0x50);
	assert_int_equal(pc_gate.syncs, 1);
	/* It stays off over SRST. */
	outb(g, CMD_CONTROL, 4);
	outb(g, CMD_CONTROL, 0);
	assert_int_equal(pio_in(g, 0xec, 0, 0, 512, 512), 0x50);
	assert_int_equal(g->data[170] & 0x20, 0);
	assert_int_equal(plain(g, 0xef, 0, 0x02), 0x50);
	pc_gate.syncs = 0;
	assert_int_equal(dma(g, 0xca, 0, 1, 0, 512, true), 0x50);
	assert_true(drive_wce(g->pc->drive));
	assert_int_equal(pc_gate.syncs, 0);
	assert_int_equal(plain(g, 0xe7, 0, 0), 0x50);
	assert_int_equal(pc_gate.syncs, 1);
	assert_int_equal(dma(g, 0xca, 0, 1, 0, 512, true), 0x50);
	assert_int_equal(plain(g, 0xea, 0, 0), 0x50);
	assert_int_equal(pc_gate.syncs, 2);
	/* Standby is a promise as well. */
	assert_int_equal(dma(g, 0xca, 0, 1, 0, 512, true), 0x50);
	assert_int_equal(plain(g, 0xe0, 0, 0), 0x50);
	assert_int_equal(pc_gate.syncs, 3);
	free(g);
}

static void a_failed_flush_is_told(void **state)
{
	struct guest *g = make(*state, DRIVE_WRITEBACK, false);

	issue(g, 0xb0, 0xc24f00, 0, 0xda);
	assert_int_equal(wait_idle(g), 0x50);
	assert_int_equal(inb(g, CMD_MID), 0x4f);
	pc_gate.sync_error = EIO;
	assert_int_equal(plain(g, 0xe7, 0, 0), 0x51);
	assert_int_equal(inb(g, CMD_ERROR), 4);
	issue(g, 0xb0, 0xc24f00, 0, 0xda);
	assert_int_equal(wait_idle(g), 0x50);
	assert_int_equal(inb(g, CMD_MID), 0xf4);
	assert_int_equal(inb(g, CMD_HIGH), 0x2c);
	free(g);
}

static void plain_commands_answer(void **state)
{
	static const uint8_t fine[] = {0x10, 0x40, 0x70, 0x91,
				       0xe1, 0xe3, 0xc6};
	struct guest *g = make(*state, DRIVE_WRITEBACK, false);

	for (unsigned i = 0; i < sizeof(fine); i++)
		assert_int_equal(plain(g, fine[i], 1, 0), 0x50);
	assert_int_equal(plain(g, 0xe5, 0, 0), 0x50);
	assert_int_equal(inb(g, CMD_COUNT), 0x80);
	assert_int_equal(plain(g, 0xe2, 0, 0), 0x50);
	assert_int_equal(plain(g, 0xe5, 0, 0), 0x50);
	assert_int_equal(inb(g, CMD_COUNT), 0x00);
	assert_int_equal(plain(g, 0xf8, 0, 0), 0x50);
	assert_int_equal(inb(g, CMD_LOW) | inb(g, CMD_MID) << 8,
			 PC_DISK_LEN / 512 - 1);
	assert_int_equal(plain(g, 0x27, 0, 0), 0x50);
	assert_int_equal(inb(g, CMD_MID) << 8 | inb(g, CMD_LOW),
			 PC_DISK_LEN / 512 - 1);
	outb(g, CMD_CONTROL, 0x80);
	assert_int_equal(inb(g, CMD_LOW), 0);
	outb(g, CMD_CONTROL, 0);
	assert_int_equal(plain(g, 0x00, 0, 0), 0x51);
	assert_int_equal(plain(g, 0x08, 0, 0), 0x51);
	assert_int_equal(plain(g, 0xa0, 0, 0), 0x51);
	/* The diagnosis leaves a signature. */
	issue(g, 0x90, 0, 0, 0);
	wait_irq(g);
	assert_int_equal(inb(g, CMD_STATUS), 0x50);
	assert_int_equal(inb(g, CMD_ERROR), 1);
	assert_int_equal(inb(g, CMD_COUNT), 1);
	free(g);
}

static void trim_takes_several_blocks(void **state)
{
	struct guest *g = make(*state, DRIVE_WRITEBACK, false);
	uint64_t entry;

	memset(data(g), 0x77, 16384);
	assert_int_equal(dma(g, 0xca, 0, 32, 0, 16384, true), 0x50);
	memset(data(g), 0, 1024);
	entry = 8 | 8ull << 48;
	memcpy(data(g), &entry, 8);
	entry = 16 | 8ull << 48;
	memcpy(data(g) + 1016, &entry, 8);
	assert_int_equal(dma(g, 0x06, 0, 2, 1, 1024, true), 0x50);
	assert_int_equal(dma(g, 0x06, 0, 9, 1, 9 * 512, true), 0x51);
	entry = (PC_DISK_LEN / 512 - 1) | 8ull << 48;
	memcpy(data(g), &entry, 8);
	assert_int_equal(dma(g, 0x06, 0, 1, 1, 512, true), 0x51);
	assert_int_equal(dma(g, 0xc8, 0, 32, 0, 16384, false), 0x50);
	assert_int_equal(data(g)[0], 0x77);
	assert_int_equal(data(g)[8 * 512], 0);
	assert_int_equal(data(g)[24 * 512 - 1], 0);
	assert_int_equal(data(g)[24 * 512], 0x77);
	free(g);
}

/* ---- hostile guests ---- */

static void ranges_and_directions_are_checked(void **state)
{
	struct guest *g = make(*state, DRIVE_WRITEBACK, false);
	uint64_t last = PC_DISK_LEN / 512 - 1;

	issue(g, 0x24, last, 2, 0);
	assert_int_equal(wait_idle(g), 0x51);
	assert_int_equal(inb(g, CMD_ERROR), 0x14);
	issue(g, 0x34, 0xffffffffffffull, 0, 0);
	assert_int_equal(wait_idle(g), 0x51);
	issue(g, 0x24, last, 1, 0);
	assert_int_equal(wait_idle(g), 0x58);
	free(g);
}

static void lists_out_of_ram_fail_the_command(void **state)
{
	struct guest *g = make(*state, DRIVE_WRITEBACK, false);

	for (unsigned i = 0; i < 5; i++) {
		put_prd(g, 0, DATA, 4096, true);
		if (i == 0)
			put_prd(g, 0, PC_HOLE, 4096, true);
		if (i == 1)
			put_prd(g, 0, 0xfffffffe, 4096, true);
		if (i == 2)
			put_prd(g, 0, PC_RAM_LEN - 2048, 4096, true);
		if (i == 3) /* too short */
			put_prd(g, 0, DATA, 512, true);
		issue(g, 0xc8, 0, 8, 0);
		start_dma(g, i == 4); /* a read declared as a write */
		assert_int_equal(wait_idle(g), 0x51);
		wait_irq(g);
		assert_int_equal(inb(g, BM + 2) & 2, i < 3 ? 2 : 0);
		outb(g, BM, 0);
		inb(g, CMD_STATUS);
	}
	/* The list itself is nowhere. */
	pio(g, BM + 4, PC_HOLE, 4, true);
	issue(g, 0xc8, 0, 8, 0);
	outb(g, BM, 9);
	assert_int_equal(wait_idle(g), 0x51);
	outb(g, BM, 0);
	/* Without an end, of pieces of two bytes: too many. */
	for (unsigned i = 0; i < 8192; i++)
		put_prd(g, i, DATA, 2, false);
	issue(g, 0x25, 0, 0, 0);
	start_dma(g, false);
	assert_int_equal(end_dma(g), 0x51);
	assert_int_equal(dma(g, 0xc8, 0, 8, 0, 4096, false), 0x50);
	free(g);
}

static void no_bus_master_no_dma(void **state)
{
	struct guest *g = make(*state, DRIVE_WRITEBACK, false);

	pc_config_out(g->pc, g->ide, 4, 1, 2);
	put_prd(g, 0, DATA, 512, true);
	issue(g, 0xc8, 0, 1, 0);
	start_dma(g, false);
	usleep(10000);
	assert_int_equal(inb(g, CMD_CONTROL), BSY);
	enable(g);
	assert_int_equal(end_dma(g), 0x50);
	free(g);
}

static void soft_reset_waits_for_what_is_in_flight(void **state)
{
	struct guest *g = make(*state, DRIVE_WRITEBACK, false);

	pc_gate_shut(&pc_gate.gate);
	put_prd(g, 0, DATA, 512, true);
	issue(g, 0xc8, 0, 1, 0);
	start_dma(g, false);
	pc_wait_in_flight(g->pc, 1);
	assert_int_equal(inb(g, CMD_CONTROL), BSY);
	outb(g, CMD_CONTROL, 4);
	assert_int_equal(inb(g, CMD_CONTROL), BSY);
	outb(g, CMD_CONTROL, 0);
	/* Still: its data may land at any time. */
	assert_int_equal(inb(g, CMD_CONTROL), BSY);
	outb(g, CMD_STATUS, 0xec);
	pc_gate_pass(pc_gate.gate, 100);
	assert_int_equal(wait_idle(g), 0x50);
	assert_false(irq(g));
	assert_int_equal(inb(g, CMD_COUNT), 1);
	outb(g, BM, 0);
	assert_int_equal(dma(g, 0xc8, 0, 1, 0, 512, false), 0x50);
	pc_gate_open(&pc_gate.gate);
	free(g);
}

static void interrupts_can_be_kept_back(void **state)
{
	struct guest *g = make(*state, DRIVE_WRITEBACK, false);

	outb(g, CMD_CONTROL, 2);
	issue(g, 0xe7, 0, 0, 0);
	assert_int_equal(wait_idle(g), 0x50);
	assert_false(irq(g));
	outb(g, CMD_CONTROL, 0);
	assert_true(irq(g));
	inb(g, CMD_STATUS);
	assert_false(irq(g));
	/* Errors of the host reach the guest. */
	pc_gate.io_error = EIO;
	assert_int_equal(dma(g, 0xc8, 0, 1, 0, 512, false), 0x51);
	assert_int_equal(inb(g, CMD_ERROR), 0x40);
	pc_gate.io_error = 0;
	free(g);
}

/* ---- CD-ROM ---- */

static void send_packet(struct guest *g, const uint8_t *cdb, uint8_t features,
			uint16_t limit)
{
	issue(g, 0xa0, (uint64_t)limit << 8, 0, features);
	assert_int_equal(wait_idle(g), 0x58);
	assert_int_equal(inb(g, CMD_COUNT), 1);
	for (unsigned i = 0; i < 12; i += 2)
		pio(g, CMD_DATA, cdb[i] | cdb[i + 1] << 8, 2, true);
}

/* A packet by PIO; how many bytes came, its status in *status. */
static uint32_t packet(struct guest *g, const uint8_t *cdb, uint16_t limit,
		       uint8_t *status)
{
	uint32_t at = 0;

	send_packet(g, cdb, 0, limit);
	for (;;) {
		unsigned len;

		wait_irq(g);
		*status = inb(g, CMD_STATUS);
		if (!(*status & DRQ))
			break;
		assert_int_equal(inb(g, CMD_COUNT), 2);
		len = inb(g, CMD_MID) | inb(g, CMD_HIGH) << 8;
		assert_true(len && len <= limit);
		for (unsigned i = 0; i < len; i += 2) {
			uint32_t word = pio(g, CMD_DATA, 0, 2, false);

			memcpy(g->data + at + i, &word, 2);
		}
		at += len;
	}
	assert_int_equal(inb(g, CMD_COUNT), 3);
	return at;
}

static void cdrom_reads_its_medium(void **state)
{
	struct guest *g;
	uint8_t sense[12] = {0x03, 0, 0, 0, 18};
	uint8_t inquiry[12] = {0x12, 0, 0, 0, 36};
	uint8_t odd[12] = {0x12, 0, 0, 0, 5};
	uint8_t ready[12] = {0};
	uint8_t read10[12] = {0x28, 0, 0, 0, 0, 3, 0, 0, 2};
	uint8_t far[12] = {0x28, 0, 0x7f, 0, 0, 0, 0, 0, 1};
	uint8_t s;
	int fd;

	fd = open(((struct fake_pc *)*state)->disk_path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "CD001", 5, 3 * 2048), 5);
	close(fd);
	g = make(*state, DRIVE_WRITEBACK, true);
	assert_int_equal(inb(g, CMD_MID), 0x14);
	assert_int_equal(inb(g, CMD_HIGH), 0xeb);
	assert_int_equal(inb(g, CMD_STATUS), 0);
	assert_int_equal(pio_in(g, 0xa1, 0, 0, 512, 512), 0x50);
	assert_int_equal(g->data[1], 0x85);
	assert_int_equal(plain(g, 0xec, 0, 0), 0x51);
	assert_int_equal(inb(g, CMD_MID), 0x14);
	packet(g, sense, 18, &s);
	assert_int_equal(packet(g, ready, 0xfffe, &s), 0);
	assert_int_equal(s, 0x50);
	assert_int_equal(packet(g, inquiry, 0xfffe, &s), 36);
	assert_memory_equal(g->data + 8, "BINNACLE", 8);
	assert_int_equal(packet(g, inquiry, 10, &s), 36);
	assert_int_equal(packet(g, odd, 64, &s), 5);
	assert_int_equal(packet(g, read10, 2048, &s), 4096);
	assert_memory_equal(g->data, "CD001", 5);
	assert_int_equal(packet(g, far, 2048, &s), 0);
	assert_int_equal(s, 0x51);
	assert_int_equal(inb(g, CMD_ERROR) >> 4, 5);
	assert_int_equal(packet(g, sense, 18, &s), 18);
	assert_int_equal(g->data[12], 0x21);
	/* By DMA. */
	put_prd(g, 0, DATA, 4096, true);
	send_packet(g, read10, 1, 0);
	start_dma(g, false);
	assert_int_equal(end_dma(g), 0x50);
	assert_memory_equal(data(g), "CD001", 5);
	free(g);
}

static void cdrom_is_reset_while_busy(void **state)
{
	struct guest *g = make(*state, DRIVE_WRITEBACK, true);
	uint8_t inquiry[12] = {0x12, 0, 0, 0, 36}, s;

	send_packet(g, inquiry, 0, 36);
	wait_irq(g);
	assert_true(inb(g, CMD_CONTROL) & DRQ);
	outb(g, CMD_STATUS, 0x08);
	assert_int_equal(wait_idle(g), 0);
	assert_false(irq(g));
	assert_int_equal(inb(g, CMD_MID), 0x14);
	assert_int_equal(packet(g, inquiry, 36, &s), 36);
	free(g);
}

static void slave_answers_when_selected(void **state)
{
	struct guest *g = make_at(*state, DRIVE_WRITEBACK, true, 1);

	assert_int_equal(inb(g, CMD_STATUS), 0);
	assert_int_equal(inb(g, CMD_MID), 0);
	outb(g, CMD_DEVICE, 0x10);
	assert_int_equal(inb(g, CMD_DEVICE), 0xb0);
	assert_int_equal(inb(g, CMD_MID), 0x14);
	outb(g, CMD_STATUS, 0xa1);
	wait_irq(g);
	assert_true(inb(g, CMD_STATUS) & DRQ);
	free(g);
}

static void places_are_checked(void **state)
{
	struct guest *g = make(*state, DRIVE_WRITEBACK, false);
	struct device_args args = {.drive = g->pc->drive,
				   .io = g->pc->io,
				   .parent = g->ide,
				   .unit = 4};
	struct error e;

	world_stop(g->pc->m.world, NULL);
	assert_null(device_create(&g->pc->m, &ata_disk_class, &args, &e));
	args.unit = 0;
	assert_null(device_create(&g->pc->m, &ata_disk_class, &args, &e));
	world_resume(g->pc->m.world);
	free(g);
}

/* ---- state ---- */

static void move(struct guest *a, struct guest *b)
{
	struct fake_pc *pc = a->pc, *other = b->pc;
	struct state_buf buf = {0};

	memcpy(pc_ram(other, 0), pc_ram(pc, 0), PC_RAM_LEN);
	world_stop(pc->m.world, NULL);
	world_stop(other->m.world, NULL);
	pc_quiesce(pc);
	if (state_save(&buf, a->ide->cls->state, "i", a->ide, &pc->e) ||
	    state_save(&buf, a->disk->cls->state, "d", a->disk, &pc->e) ||
	    state_load(&buf, b->ide->cls->state, "i", b->ide, &pc->e) ||
	    state_load(&buf, b->disk->cls->state, "d", b->disk, &pc->e) ||
	    piix_ide_class.loaded(b->ide, &pc->e))
		fail_msg("%s", pc->e.msg);
	bus_commit(other->m.bus, NULL);
	world_resume(other->m.world);
	world_resume(pc->m.world);
	state_buf_fini(&buf);
}

/* In the middle of a block that the guest writes. */
static void pio_goes_on_in_another_machine(void **state)
{
	struct guest *a = make(*state, DRIVE_WRITEBACK, false), *b;
	struct fake_pc *other;

	assert_int_equal(plain(a, 0xef, 0, 0x82), 0x50);
	issue(a, 0x30, 5, 2, 0);
	assert_true(wait_idle(a) & DRQ);
	for (unsigned i = 0; i < 300; i += 2)
		pio(a, CMD_DATA, i, 2, true);
	other = pc_create();
	b = make(other, DRIVE_WRITEBACK, false);
	move(a, b);
	assert_int_equal(inb(b, CMD_CONTROL), 0x58);
	pc_gate.syncs = 0;
	for (unsigned i = 300; i < 1024; i += 2)
		pio(b, CMD_DATA, i, 2, true);
	assert_int_equal(wait_idle(b), 0x50);
	assert_true(pc_gate.syncs >= 1); /* the cache is still off */
	assert_int_equal(pio_in(b, 0x20, 5, 2, 1024, 512), 0x50);
	for (unsigned i = 0; i < 1024; i += 2)
		assert_int_equal(b->data[i] | b->data[i + 1] << 8, i);
	free(b);
	pc_destroy(other);
	free(a);
}

static void waiting_dma_goes_on_in_another_machine(void **state)
{
	struct guest *a = make(*state, DRIVE_WRITEBACK, false), *b;
	struct fake_pc *other;

	put_prd(a, 0, DATA, 512, true);
	issue(a, 0x25, 0, 1, 0);
	pio(a, BM + 4, LIST, 4, true);
	assert_int_equal(inb(a, CMD_CONTROL), BSY);
	other = pc_create();
	b = make(other, DRIVE_WRITEBACK, false);
	move(a, b);
	outb(b, BM, 9);
	assert_int_equal(end_dma(b), 0x50);
	assert_int_equal(plain(b, 0xe7, 0, 0), 0x50);
	free(b);
	pc_destroy(other);
	free(a);
}

/* ---- noise ---- */

/* Whatever is written, the next good driver finds the device in order. */
static void noise(struct guest *g, uint32_t seed)
{
	static const uint8_t codes[] = {0x06, 0x20, 0x25, 0x2f, 0x30, 0x34,
					0x35, 0x90, 0xa0, 0xa1, 0xb0, 0xc4,
					0xc5, 0xc6, 0xc8, 0xca, 0xe7, 0xec,
					0xef, 0x08, 0x91, 0xff};

	for (unsigned round = 0; round < 4000; round++) {
		uint32_t r = pc_random(&seed);

		put_prd(g, r % 4, r % 5 ? DATA + r % 0x10000 : r * 4099,
			pc_random(&seed), r % 3);
		switch (r % 8) {
		case 0:
			issue(g, codes[pc_random(&seed) % sizeof(codes)],
			      pc_random(&seed) % 9000,
			      (uint16_t)pc_random(&seed) % 600, (uint16_t)r);
			break;
		case 1:
			start_dma(g, r & 8);
			break;
		case 2:
			for (unsigned i = 0; i < r % 700; i++)
				pio(g, CMD_DATA, r, 1u << r % 3, r & 16);
			break;
		case 3:
			outb(g, CMD_CONTROL, (uint8_t)pc_random(&seed) & 0x86);
			break;
		case 4:
			pio(g, (uint16_t)(BM + r % 13), pc_random(&seed),
			    1u << r % 3, r & 32);
			break;
		default:
			pio(g, (uint16_t)(CMD_ERROR + r % 7), pc_random(&seed),
			    1u << r % 3, r & 64);
		}
	}
	outb(g, CMD_CONTROL, 4);
	outb(g, CMD_CONTROL, 0);
	wait_idle(g);
	outb(g, BM, 0);
}

static void random_drivers_do_no_harm(void **state)
{
	struct guest *g = make(*state, DRIVE_UNSAFE, false);

	noise(g, 42);
	assert_int_equal(dma(g, 0xc8, 0, 1, 0, 512, false), 0x50);
	pc_reset(g->pc);
	enable(g);
	assert_int_equal(pio_in(g, 0xec, 0, 0, 512, 512), 0x50);
	free(g);
}

static void random_packets_do_no_harm(void **state)
{
	struct guest *g = make(*state, DRIVE_WRITEBACK, true);
	uint8_t inquiry[12] = {0x12, 0, 0, 0, 36}, s;

	noise(g, 43);
	assert_int_equal(packet(g, inquiry, 36, &s), 36);
	free(g);
}

#define T(name) cmocka_unit_test_setup_teardown(name, pc_setup, pc_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(function_and_ports_are_the_pc_s),
		T(identify_describes_the_disk),
		T(pio_goes_round),
		T(long_pio_goes_in_parts),
		T(dma_goes_round),
		T(cylinders_are_addresses_too),
		T(write_cache_is_switched),
		T(a_failed_flush_is_told),
		T(plain_commands_answer),
		T(trim_takes_several_blocks),
		T(ranges_and_directions_are_checked),
		T(lists_out_of_ram_fail_the_command),
		T(no_bus_master_no_dma),
		T(soft_reset_waits_for_what_is_in_flight),
		T(interrupts_can_be_kept_back),
		T(cdrom_reads_its_medium),
		T(cdrom_is_reset_while_busy),
		T(slave_answers_when_selected),
		T(places_are_checked),
		T(pio_goes_on_in_another_machine),
		T(waiting_dma_goes_on_in_another_machine),
		T(random_drivers_do_no_harm),
		T(random_packets_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
