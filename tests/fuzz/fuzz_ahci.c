/*
 * The AHCI controller, with a disk and a CD-ROM drive in turn, under a driver
 * made of arbitrary bytes: registers, command lists, frames, packets, scatter
 * lists, resets and moves in mid-flight.  Whatever it did, the next driver
 * finds a device that works.
 */
#include "tests/fuzz/fuzz_device.h"
#include "tests/unit/ahci_guest.h"

#define SLOTS 8u

/* An address that a driver could mean, or not. */
static uint64_t any_address(struct fuzz_input *in, uint64_t usual)
{
	switch (fuzz_pick(in, 32)) {
	case 0:
		return PC_BAR + (fuzz_take(in, 2) & ~3ull);
	case 1:
		return LIST + fuzz_take(in, 2) % 0x3000;
	case 2:
		return PC_RAM_LEN - fuzz_take(in, 2);
	case 3:
		return PC_HOLE - fuzz_take(in, 2);
	case 4:
		return fuzz_take(in, 8);
	}
	return usual;
}

static void any_command(struct guest *g, struct fuzz_input *in)
{
	static const uint8_t codes[] = {
		0x06, 0x20, 0x25, 0x27, 0x29, 0x2f, 0x34, 0x35,
		0x3d, 0x40, 0x47, 0x60, 0x60, 0x60, 0x61, 0x61,
		0x61, 0x90, 0xa0, 0xa0, 0xa1, 0xb0, 0xc4, 0xc6,
		0xc8, 0xca, 0xe0, 0xe5, 0xe7, 0xec, 0xef,
	};
	unsigned slot = fuzz_pick(in, SLOTS), nr = fuzz_pick(in, 12);
	unsigned i = fuzz_pick(in, sizeof(codes) + 2);
	uint8_t code = i < sizeof(codes) ? codes[i] : (uint8_t)fuzz_take(in, 1);
	uint16_t count = (uint16_t)fuzz_pick(in, 40);
	uint64_t lba = fuzz_take(in, 2) % 9000;
	uint16_t features = (uint16_t)fuzz_pick(in, 16), flags = 0;
	uint64_t at;

	if ((code == 0x60 || code == 0x61) && fuzz_pick(in, 8))
		count = (uint16_t)(slot << 3);
	if (!fuzz_pick(in, 8))
		lba = fuzz_take(in, 6);
	if (!fuzz_pick(in, 8))
		features = (uint16_t)fuzz_take(in, 2);
	put_fis(g, slot, code, lba, count, features);
	if (code == 0xa0) {
		flags = 0x20;
		fuzz_ram(in, g->pc, TABLES + 0x1000 * slot + 0x40, 12);
	}
	if (fuzz_pick(in, 2))
		flags |= 0x40;
	if (!fuzz_pick(in, 16))
		flags = (uint16_t)fuzz_take(in, 2);
	put_header(g, slot, flags,
		   fuzz_pick(in, 16) ? (uint16_t)nr
				     : (uint16_t)fuzz_take(in, 2));
	if (!fuzz_pick(in, 16)) {
		at = any_address(in, TABLES);
		memcpy(pc_ram(g->pc, LIST + 32 * slot + 8), &at, 8);
	}
	for (i = 0; i < nr; i++)
		put_prd(g, slot, i,
			any_address(in, DATA + 16u * fuzz_pick(in, 255)),
			1 + (uint32_t)fuzz_take(in, 2));
	if (fuzz_pick(in, 2)) {
		if (code == 0x60 || code == 0x61)
			pc_out(g->pc, SACT, 1u << slot, 4);
		pc_out(g->pc, CI, 1u << slot, 4);
	}
}

static void any_register(struct guest *g, struct fuzz_input *in)
{
	uint32_t at = (uint32_t)fuzz_take(in, 2) % 0x1000;
	unsigned len = 1u << fuzz_pick(in, 4);

	if (fuzz_pick(in, 4))
		at = at % 0x200 & ~3u;
	if (fuzz_pick(in, 3))
		pc_out(g->pc, PC_BAR + at, fuzz_take(in, len), len);
	else
		pc_in(g->pc, PC_BAR + at, len);
}

static void any_config(struct guest *g, struct fuzz_input *in)
{
	unsigned len = 1u << fuzz_pick(in, 3), at = fuzz_pick(in, 256) & ~3u;

	pc_config_out(g->pc, g->hba, at, (uint32_t)fuzz_take(in, len), len);
	if (fuzz_pick(in, 4))
		pc_map_bar(g->pc, g->hba, 5, PC_BAR);
}

static void move(struct guest *g, struct fuzz_input *in)
{
	fuzz_move(in, g->pc, g->hba, SIZE_MAX);
	pc_map_bar(g->pc, g->hba, 5, PC_BAR);
}

static void step(struct guest *g, struct fuzz_input *in)
{
	switch (fuzz_pick(in, 16)) {
	case 0:
	case 1:
		any_register(g, in);
		break;
	case 2:
		any_config(g, in);
		break;
	case 3:
		pc_out(g->pc, CMD, 0, 4);
		pc_out(g->pc, SCTL, fuzz_pick(in, 2), 4);
		pc_out(g->pc, SCTL, 0, 4);
		break;
	case 4:
		pc_out(g->pc, CLB, any_address(in, LIST), 8);
		pc_out(g->pc, FB, any_address(in, RECEIVED), 8);
		break;
	case 5:
		if (!fuzz_pick(in, 8))
			move(g, in);
		break;
	case 6:
		fuzz_settle(g->pc);
		break;
	case 7:
		pc_out(g->pc, SACT, fuzz_take(in, 1), 4);
		pc_out(g->pc, CI, fuzz_take(in, 1), 4);
		break;
	case 8:
		fuzz_ram(in, g->pc, LIST + fuzz_take(in, 2) % 0x9000,
			 fuzz_pick(in, 64));
		break;
	case 9:
		pc_out(g->pc, PC_BAR + 4, 0x80000002, 4);
		pc_out(g->pc, CLB, LIST, 8);
		pc_out(g->pc, FB, RECEIVED, 8);
		pc_out(g->pc, CMD, 0x11, 4);
		break;
	default:
		any_command(g, in);
	}
}

/* ---- the driver after it ---- */

static void works(struct guest *g, bool cdrom)
{
	pc_map_bar(g->pc, g->hba, 5, PC_BAR);
	pc_out(g->pc, CMD, 0, 4);
	pc_wait_reg(g->pc, CMD, 4, 0x8000, 0);
	pc_out(g->pc, PC_BAR + 4, 0x80000003, 4);
	pc_out(g->pc, PC_BAR + 4, 0x80000002, 4);
	port_start(g);
	pc_wait_reg(g->pc, TFD, 4, 0x80, 0);
	assert_int_equal(command(g, cdrom ? 0xa1 : 0xec, 0, 0, 0, 512, false),
			 0x50);
	if (!cdrom)
		assert_int_equal(command(g, 0x25, 0, 1, 0, 512, false), 0x50);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct guest *guests[2];
	struct fuzz_input in = {data, len};
	bool cdrom = fuzz_pick(&in, 4) == 0;
	struct guest *g = guests[cdrom];

	if (!g) {
		g = guests[cdrom] = calloc(1, sizeof(*g));
		make(g, pc_create(), DRIVE_UNSAFE, cdrom);
	}
	while (in.len)
		step(g, &in);
	/* By the controller's reset, or by the machine's. */
	if (len % 2)
		pc_reset(g->pc);
	works(g, cdrom);
	return 0;
}
