/*
 * The IDE controller, with a disk and a CD-ROM drive in turn, under a driver
 * made of arbitrary bytes: registers, data by PIO, scatter lists, resets and
 * moves in mid-flight.  Whatever it did, the next driver finds a device that
 * works.
 */
#include "tests/fuzz/fuzz_device.h"
#include "tests/unit/ide_guest.h"

/* Commands that a drive has, and some that it lacks. */
static uint8_t any_command(struct fuzz_input *in)
{
	static const uint8_t codes[] = {
		0x06, 0x08, 0x10, 0x20, 0x24, 0x25, 0x27, 0x29, 0x2f, 0x30,
		0x34, 0x35, 0x39, 0x3d, 0x40, 0x42, 0x47, 0x60, 0x61, 0x90,
		0x91, 0xa0, 0xa0, 0xa0, 0xa1, 0xb0, 0xc4, 0xc5, 0xc6, 0xc8,
		0xca, 0xce, 0xe0, 0xe1, 0xe5, 0xe7, 0xea, 0xec, 0xef, 0xf8,
	};
	unsigned i = fuzz_pick(in, sizeof(codes) + 4);

	return i < sizeof(codes) ? codes[i] : (uint8_t)fuzz_take(in, 1);
}

static void any_issue(struct guest *g, struct fuzz_input *in)
{
	uint64_t lba = fuzz_take(in, 2) % 9000;
	uint16_t count = (uint16_t)fuzz_pick(in, 40);
	uint16_t features = (uint16_t)fuzz_take(in, 1);

	if (!fuzz_pick(in, 8))
		lba = fuzz_take(in, 6);
	if (!fuzz_pick(in, 8))
		count = (uint16_t)fuzz_take(in, 2);
	issue(g, any_command(in), lba, count, features);
}

static void any_list(struct guest *g, struct fuzz_input *in)
{
	unsigned nr = fuzz_pick(in, 40);

	for (unsigned i = 0; i < nr; i++) {
		uint32_t addr = DATA + (uint32_t)fuzz_take(in, 2) * 8;

		if (!fuzz_pick(in, 16))
			addr = (uint32_t)fuzz_take(in, 4);
		put_prd(g, i, addr, (uint32_t)fuzz_take(in, 2),
			!fuzz_pick(in, 16));
	}
}

/* A packet with a command that a drive has. */
static void any_packet(struct guest *g, struct fuzz_input *in)
{
	static const uint8_t codes[] = {0x00, 0x03, 0x12, 0x1e, 0x25, 0x28,
					0x43, 0x46, 0x4a, 0x51, 0x5a, 0xa8};

	issue(g, 0xa0, fuzz_take(in, 2) << 8, 0, (uint8_t)fuzz_pick(in, 2));
	pio(g, CMD_DATA, codes[fuzz_pick(in, sizeof(codes))], 2, true);
	for (unsigned i = 0; i < 5; i++)
		pio(g, CMD_DATA, (uint32_t)fuzz_take(in, 1), 2, true);
}

static void any_data(struct guest *g, struct fuzz_input *in)
{
	unsigned nr = (unsigned)fuzz_take(in, 2) % 3000;
	unsigned len = 1u << fuzz_pick(in, 3);
	bool write = fuzz_pick(in, 2);

	for (unsigned i = 0; i < nr; i++)
		pio(g, CMD_DATA, i, len, write);
}

static void any_config(struct guest *g, struct fuzz_input *in)
{
	unsigned len = 1u << fuzz_pick(in, 3), at = fuzz_pick(in, 128) & ~3u;

	pc_config_out(g->pc, g->ide, at, (uint32_t)fuzz_take(in, len), len);
	if (fuzz_pick(in, 4)) {
		pc_config_out(g->pc, g->ide, 0x40, 0x80008000, 4);
		enable(g);
	}
}

static void move(struct guest *g, struct fuzz_input *in)
{
	/* Most of it is config space and two windows: the rest is in front. */
	fuzz_move(in, g->pc, g->ide, 0x1800);
}

static void step(struct guest *g, struct fuzz_input *in)
{
	switch (fuzz_pick(in, 16)) {
	case 0:
		pio(g, (uint16_t)(CMD_DATA + fuzz_pick(in, 8)),
		    (uint32_t)fuzz_take(in, 4), 1u << fuzz_pick(in, 3),
		    fuzz_pick(in, 2));
		break;
	case 1:
		pio(g, (uint16_t)(BM + fuzz_pick(in, 16)),
		    (uint32_t)fuzz_take(in, 4), 1u << fuzz_pick(in, 3),
		    fuzz_pick(in, 2));
		break;
	case 2:
		outb(g, CMD_CONTROL, (uint8_t)fuzz_take(in, 1));
		break;
	case 3:
		outb(g, CMD_DEVICE, (uint8_t)fuzz_take(in, 1));
		break;
	case 4:
		any_config(g, in);
		break;
	case 5:
		if (!fuzz_pick(in, 8))
			move(g, in);
		break;
	case 6:
		any_list(g, in);
		break;
	case 7:
		fuzz_settle(g->pc);
		break;
	case 8:
	case 9:
		any_data(g, in);
		break;
	case 10:
		start_dma(g, fuzz_pick(in, 2));
		break;
	case 11:
		any_packet(g, in);
		break;
	default:
		any_issue(g, in);
	}
}

/* ---- the driver after it ---- */

static void works(struct guest *g, bool cdrom)
{
	pc_config_out(g->pc, g->ide, 0x40, 0x80008000, 4);
	enable(g);
	outb(g, BM, 0);
	outb(g, CMD_CONTROL, 4);
	outb(g, CMD_CONTROL, 0);
	outb(g, CMD_DEVICE, 0);
	wait_idle(g);
	assert_int_equal(pio_in(g, cdrom ? 0xa1 : 0xec, 0, 0, 512, 512) & ~0x10,
			 0x40);
	if (!cdrom)
		assert_int_equal(dma(g, 0xc8, 0, 1, 0, 512, false), 0x50);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct guest *guests[2];
	struct fuzz_input in = {data, len};
	bool cdrom = fuzz_pick(&in, 4) == 0;
	struct guest *g = guests[cdrom];

	if (!g)
		g = guests[cdrom] = make(pc_create(), DRIVE_UNSAFE, cdrom);
	while (in.len)
		step(g, &in);
	/* By a soft reset, or by the machine's. */
	if (len % 2)
		pc_reset(g->pc);
	works(g, cdrom);
	return 0;
}
