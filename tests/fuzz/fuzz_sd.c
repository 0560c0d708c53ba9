/*
 * An SD card behind SDHCI under a driver made of arbitrary bytes: registers,
 * commands in any order, descriptors that almost make sense, resets and moves
 * in mid-transfer.  Whatever it did, the next driver finds a card that works.
 */
#include "tests/fuzz/fuzz_device.h"
#include "tests/unit/sd_guest.h"

struct fuzz {
	struct sd_guest g;
};

static struct fuzz *begin(void)
{
	struct fuzz *f = calloc(1, sizeof(*f));

	sd_make(&f->g, pc_create(), DRIVE_UNSAFE, false);
	return f;
}

/* ---- what a guest does ---- */

static void poke_register(struct fuzz *f, struct fuzz_input *in)
{
	unsigned len = 1u << fuzz_pick(in, 4);
	uint32_t at = (uint32_t)fuzz_take(in, 1) & 0xff;

	if (at + len > 0x100)
		at = 0x100 - len;
	if (fuzz_pick(in, 3))
		pc_out(f->g.pc, PC_BAR + at, fuzz_take(in, len), len);
	else
		pc_in(f->g.pc, PC_BAR + at, len);
}

static void poke_config(struct fuzz *f, struct fuzz_input *in)
{
	unsigned len = 1u << fuzz_pick(in, 3), at = fuzz_pick(in, 256) & ~3u;

	pc_config_out(f->g.pc, f->g.host, at, (uint32_t)fuzz_take(in, len),
		      len);
	/* Mapped and bus master again, as the rest wants it. */
	if (fuzz_pick(in, 4))
		pc_map_bar(f->g.pc, f->g.host, 0, PC_BAR);
}

static uint32_t any_address(struct fuzz_input *in)
{
	switch (fuzz_pick(in, 16)) {
	case 0:
		return PC_BAR;
	case 1:
		return SD_LIST + (fuzz_pick(in, 64) & ~3u);
	case 2:
		return PC_RAM_LEN - fuzz_pick(in, 256) * 4;
	case 3:
		return (uint32_t)fuzz_take(in, 4);
	}
	return SD_DATA + 512u * fuzz_pick(in, 256);
}

static void put_list(struct fuzz *f, struct fuzz_input *in)
{
	unsigned nr = 1 + fuzz_pick(in, 8);

	for (unsigned i = 0; i < nr; i++) {
		unsigned flags = i + 1 < nr ? 0x21 : 0x23, len = 4096;
		uint32_t addr = any_address(in);

		switch (fuzz_pick(in, 8)) {
		case 0:
			flags = fuzz_pick(in, 64);
			break;
		case 1:
			len = (unsigned)fuzz_take(in, 2);
			break;
		}
		sd_put_adma(&f->g, i, flags, addr, len);
	}
}

/* One that could be meant: its answer isn't waited for. */
static void command(struct fuzz *f, struct fuzz_input *in)
{
	static const uint8_t indices[] = {17, 18, 24, 25, 17, 18, 24, 25,
					  6,  7,  12, 12, 13, 16, 23, 27,
					  32, 33, 38, 55, 51, 22, 0,  9};
	static const uint8_t flags[] = {SD_RD,	SD_RD, SD_R1,
					SD_R1B, SD_R0, 0xfb};
	static const uint8_t lens[] = {8, 64, 16, 4};
	struct fake_pc *pc = f->g.pc;
	unsigned index = indices[fuzz_pick(in, sizeof(indices))];
	uint32_t arg = fuzz_pick(in, 8) ? (uint32_t)fuzz_take(in, 2) % 8300
					: (uint32_t)f->g.rca << 16;
	unsigned len = fuzz_pick(in, 8) ? 512 : lens[fuzz_pick(in, 4)];

	pc_out(pc, SD_CONTROL, fuzz_pick(in, 4) << 3, 1);
	pc_out(pc, SD_ADMA, fuzz_pick(in, 16) ? SD_LIST : any_address(in), 4);
	pc_out(pc, PC_BAR, any_address(in), 4);
	sd_setup(&f->g, fuzz_pick(in, 64), len | fuzz_pick(in, 8) << 12,
		 fuzz_pick(in, 200));
	pc_out(pc, SD_ARGUMENT, arg, 4);
	pc_out(pc, SD_COMMAND, index << 8 | flags[fuzz_pick(in, sizeof(flags))],
	       2);
	if (fuzz_pick(in, 2))
		pc_out(pc, SD_STATUS, 0xffffffff, 4);
}

static void use_port(struct fuzz *f, struct fuzz_input *in)
{
	unsigned nr = fuzz_pick(in, 3) * 64 + fuzz_pick(in, 3);
	bool write = fuzz_pick(in, 2);

	for (unsigned i = 0; i < nr; i++) {
		if (write)
			pc_out(f->g.pc, SD_PORT, i, 4);
		else
			pc_in(f->g.pc, SD_PORT, 4);
	}
}

/* The state is taken and put back, as it is or with a byte changed. */
static void move(struct fuzz *f, struct fuzz_input *in)
{
	struct device *devs[2] = {f->g.host, f->g.card};
	struct fake_pc *pc = f->g.pc;
	bool is_bad = false;

	fuzz_let_go(f->g.pc);
	world_stop(pc->m.world, NULL);
	pc_quiesce(pc);
	for (unsigned i = 0; i < 2; i++) {
		const struct state_desc *desc = devs[i]->cls->state;
		struct state_buf buf = {0};

		if (state_save(&buf, desc, "d", devs[i], &pc->e))
			fail_msg("%s", pc->e.msg);
		if (!fuzz_pick(in, 2))
			buf.data[fuzz_take(in, 2) % buf.len] =
				(uint8_t)fuzz_take(in, 1);
		is_bad |= state_load(&buf, desc, "d", devs[i], &pc->e) != 0;
		state_buf_fini(&buf);
	}
	if (is_bad || devs[0]->cls->loaded(devs[0], &pc->e)) {
		devs[0]->cls->reset(devs[0]);
		devs[1]->cls->reset(devs[1]);
	}
	bus_commit(pc->m.bus, NULL);
	world_resume(pc->m.world);
	pc_map_bar(pc, f->g.host, 0, PC_BAR);
}

static void step(struct fuzz *f, struct fuzz_input *in)
{
	switch (fuzz_pick(in, 20)) {
	case 0:
	case 1:
		poke_register(f, in);
		break;
	case 2:
		poke_config(f, in);
		break;
	case 3:
		pc_out(f->g.pc, SD_RESET, fuzz_pick(in, 8), 1);
		break;
	case 4:
		fuzz_hold(f->g.pc);
		break;
	case 5:
		fuzz_let_go(f->g.pc);
		break;
	case 6:
		if (!fuzz_pick(in, 8))
			move(f, in);
		break;
	case 7:
		fuzz_ram(in, f->g.pc, SD_LIST, fuzz_pick(in, 64));
		break;
	case 8:
		pc_out(f->g.pc, SD_POWER, 0x0f, 1);
		pc_out(f->g.pc, SD_CLOCK, 0x4005, 2);
		break;
	case 9:
	case 10:
		use_port(f, in);
		break;
	case 11:
	case 12:
		put_list(f, in);
		break;
	default:
		command(f, in);
	}
}

static void reset(struct fuzz *f)
{
	pc_reset(f->g.pc);
	pc_map_bar(f->g.pc, f->g.host, 0, PC_BAR);
	sd_init_card(&f->g);
}

/* The next driver: what it writes is what it reads. */
static void works(struct fuzz *f, uint32_t seed)
{
	uint32_t block[128], same[128], r;

	pc_map_bar(f->g.pc, f->g.host, 0, PC_BAR);
	sd_init_card(&f->g);
	for (unsigned i = 0; i < 128; i++)
		block[i] = i * 0x01010101u + seed;
	r = sd_pio(&f->g, true, 9, block, 1);
	/* The one before may have protected the card, until it is reset. */
	if (r == 0x10) {
		reset(f);
		r = sd_pio(&f->g, true, 9, block, 1);
	}
	assert_int_equal(r, 0);
	assert_int_equal(sd_pio(&f->g, false, 9, same, 1), 0);
	assert_memory_equal(block, same, 512);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct fuzz *f;
	struct fuzz_input in = {data, len};

	if (!f)
		f = begin();
	sd_init_card(&f->g);
	while (in.len)
		step(f, &in);
	fuzz_let_go(f->g.pc);
	works(f, (uint32_t)len);
	if (len % 2)
		reset(f);
	return 0;
}
