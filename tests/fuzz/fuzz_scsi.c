/*
 * A virtio-scsi controller with a disk and a CD-ROM drive under a driver made
 * of arbitrary bytes: command blocks and parameter lists, requests that almost
 * make sense, task management, resets and moves in mid-flight.  Whatever it
 * did, the next driver finds a disk that works.
 */
#include "tests/fuzz/fuzz_device.h"
#include "tests/unit/scsi_guest.h"

#define NR_REQUESTS 8u

struct fuzz {
	struct guest g;
	struct fake_pc *pc;
	struct device *cdrom;
	struct drive *cd;
	struct loop_work change;
	char iso[96];
};

static struct fuzz *begin(void)
{
	struct fuzz *f = calloc(1, sizeof(*f));
	struct device_args args = {.devfn = -1, .unit = 1};
	struct drive_config cfg = {.readonly = true};

	f->pc = pc_create();
	make(&f->g, f->pc, DRIVE_UNSAFE, false);
	pc_disk_file(f->pc, "cd.iso");
	snprintf(f->iso, sizeof(f->iso), "%s", f->pc->disk_path);
	cfg.path = f->iso;
	world_stop(f->pc->m.world, NULL);
	f->cd = drive_open(f->pc->io, &cfg, NULL, &f->pc->e);
	world_resume(f->pc->m.world);
	args.io = f->pc->io;
	args.drive = f->cd;
	args.parent = f->g.dev;
	f->cdrom = pc_add(f->pc, &scsi_cdrom_class, "cdrom0", &args);
	return f;
}

/* ---- the host's disk ---- */

static void settle(struct fuzz *f)
{
	fuzz_settle(f->pc);
	while (drive_in_flight(f->cd))
		usleep(50);
}

static void change_call(void *arg)
{
	struct fuzz *f = arg;

	drive_change_medium(f->cd, f->iso, NULL);
}

/* ---- what a guest does ---- */

static uint64_t any_address(struct fuzz_input *in, uint64_t usual)
{
	switch (fuzz_pick(in, 32)) {
	case 0:
		return PC_BAR + (fuzz_take(in, 2) & ~3ull);
	case 1:
		return RING(0) + (fuzz_take(in, 2) & ~15ull);
	case 2:
		return PC_RAM_LEN - fuzz_take(in, 1) * 8;
	case 3:
		return fuzz_take(in, 8);
	}
	return usual;
}

/* A command block whose address and length are mostly within reason. */
static size_t any_cdb(struct fuzz_input *in, uint8_t *cdb)
{
	static const uint8_t codes[] = {
		0x00, 0x03, 0x08, 0x0a, 0x12, 0x15, 0x1a, 0x1b, 0x1e,
		0x25, 0x28, 0x2a, 0x2e, 0x2f, 0x35, 0x41, 0x42, 0x43,
		0x46, 0x4a, 0x51, 0x55, 0x5a, 0x88, 0x8a, 0x8e, 0x8f,
		0x91, 0x93, 0x9e, 0xa0, 0xa8, 0xaa, 0xae, 0xaf, 0xbb,
	};
	unsigned group;

	for (unsigned i = 0; i < 16; i++)
		cdb[i] = fuzz_pick(in, 3) ? 0 : (uint8_t)fuzz_take(in, 1);
	cdb[0] = fuzz_pick(in, 16) ? codes[fuzz_pick(in, sizeof(codes))]
				   : (uint8_t)fuzz_take(in, 1);
	group = cdb[0] >> 5;
	if (!fuzz_pick(in, 4))
		return 16;
	if (group == 0)
		cdb[4] = (uint8_t)fuzz_take(in, 1);
	else if (group < 3)
		put16(cdb + 7, (unsigned)fuzz_take(in, 2));
	else
		put32(cdb + (group == 4 ? 10 : 6), (uint32_t)fuzz_take(in, 2));
	if (group == 4)
		put64(cdb + 2, fuzz_take(in, 2));
	else if (group)
		put32(cdb + 2, (uint32_t)fuzz_take(in, 2));
	return 16;
}

static void any_lun(struct fuzz *f, struct fuzz_input *in)
{
	memset(f->g.lun, 0, sizeof(f->g.lun));
	f->g.lun[0] = 1;
	f->g.lun[1] = (uint8_t)(fuzz_pick(in, 4) == 0);
	if (!fuzz_pick(in, 16))
		memcpy(f->g.lun,
		       (uint8_t[]){(uint8_t)fuzz_take(in, 1),
				   (uint8_t)fuzz_take(in, 1),
				   (uint8_t)fuzz_take(in, 1),
				   (uint8_t)fuzz_take(in, 1)},
		       4);
}

static uint32_t any_len(struct fuzz_input *in)
{
	switch (fuzz_pick(in, 8)) {
	case 0:
		return 0;
	case 1:
		return (uint32_t)fuzz_take(in, 2);
	case 2:
		return (uint32_t)fuzz_take(in, 4);
	case 3:
		return 24;
	}
	return 512u * fuzz_pick(in, 64);
}

static void command(struct fuzz *f, struct fuzz_input *in)
{
	unsigned i = fuzz_pick(in, NR_REQUESTS), at = 4 * i;
	uint8_t cdb[16];
	size_t len = any_cdb(in, cdb);
	uint32_t data = any_len(in);
	bool is_out = fuzz_pick(in, 2);

	any_lun(f, in);
	fuzz_ram(in, f->pc, DATA + ((uint64_t)i << 20), fuzz_pick(in, 64));
	build(&f->g, i, cdb, len, is_out ? data : 0, is_out ? 0 : data);
	/* One piece in eight is not what it should be. */
	for (unsigned n = 0; n < 3; n++)
		if (!fuzz_pick(in, 24))
			put_desc(&f->g, 2, at + n,
				 any_address(in, HEAD(i) + 64 * n),
				 (uint32_t)fuzz_take(in, 2),
				 (uint16_t)fuzz_pick(in, 8));
	offer(&f->g, 2, (uint16_t)at);
	if (fuzz_pick(in, 2))
		kick(&f->g, 2);
}

static void manage(struct fuzz *f, struct fuzz_input *in)
{
	unsigned at = 2 * fuzz_pick(in, 16);
	uint8_t *p = pc_ram(f->pc, HEAD(15));
	uint64_t tag = f->g.tag + fuzz_pick(in, NR_REQUESTS);

	any_lun(f, in);
	memset(p, 0, 24);
	p[0] = (uint8_t)(fuzz_pick(in, 12) ? 0 : fuzz_pick(in, 4));
	p[4] = (uint8_t)fuzz_pick(in, 10);
	memcpy(p + 8, f->g.lun, 8);
	memcpy(p + 16, &tag, 8);
	put_desc(&f->g, 0, at, any_address(in, HEAD(15)),
		 fuzz_pick(in, 24) ? 24 : fuzz_pick(in, 32), 1);
	put_desc(&f->g, 0, at + 1, any_address(in, HEAD(15) + 0x200),
		 fuzz_pick(in, 8), 2);
	offer(&f->g, 0, (uint16_t)at);
	kick(&f->g, 0);
}

static void want_event(struct fuzz *f, struct fuzz_input *in)
{
	unsigned at = fuzz_pick(in, RING_LEN);

	put_desc(&f->g, 1, at, any_address(in, HEAD(14)),
		 fuzz_pick(in, 16) ? 16 : fuzz_pick(in, 24), 2);
	offer(&f->g, 1, (uint16_t)at);
	kick(&f->g, 1);
}

static void poke_register(struct fuzz *f, struct fuzz_input *in)
{
	uint32_t at = (uint32_t)fuzz_take(in, 2) % 0x5000;
	unsigned len = 1u << fuzz_pick(in, 4);

	if (fuzz_pick(in, 4))
		at = CONFIG - PC_BAR + at % 40;
	if (fuzz_pick(in, 3))
		pc_out(f->pc, PC_BAR + at, fuzz_take(in, len), len);
	else
		pc_in(f->pc, PC_BAR + at, len);
}

/* ---- what the host does ---- */

static void person(struct fuzz *f, struct fuzz_input *in)
{
	bool on = fuzz_pick(in, 2);

	fuzz_let_go(f->pc);
	if (fuzz_pick(in, 2)) {
		loop_call(f->pc->io, change_call, f);
		return;
	}
	world_stop(f->pc->m.world, NULL);
	pc_quiesce(f->pc);
	scsi_disk_class.disk_set_wce(f->g.disk, on, &f->pc->e);
	scsi_disk_class.disk_resized(f->g.disk);
	world_resume(f->pc->m.world);
}

/* The state of one device is taken and put back, as it is or with a byte
 * changed. */
static void move(struct fuzz *f, struct fuzz_input *in)
{
	struct device *devs[] = {f->g.dev, f->g.disk, f->cdrom};

	fuzz_let_go(f->pc);
	fuzz_move(in, f->pc, devs[fuzz_pick(in, 3)], SIZE_MAX);
	pc_map_bar(f->pc, f->g.dev, 0, PC_BAR);
}

static void restart(struct fuzz *f, struct fuzz_input *in)
{
	fuzz_let_go(f->pc);
	settle(f);
	pc_reset(f->pc);
	pc_map_bar(f->pc, f->g.dev, 0, PC_BAR);
	start_with(&f->g, fuzz_pick(in, 2) ? 4 : 0); /* F_CHANGE */
}

static void step(struct fuzz *f, struct fuzz_input *in)
{
	switch (fuzz_pick(in, 32)) {
	case 0:
		poke_register(f, in);
		break;
	case 1:
		fuzz_ram(in, f->pc, RING(0) + fuzz_take(in, 2) % 0xc000,
			 fuzz_pick(in, 64));
		break;
	case 2:
		set_status(&f->g, 0); /* in mid-flight */
		break;
	case 3:
	case 4:
		restart(f, in);
		break;
	case 5:
		fuzz_let_go(f->pc);
		settle(f);
		break;
	case 6:
		move(f, in);
		break;
	case 7:
		person(f, in);
		break;
	case 8:
		fuzz_hold(f->pc);
		break;
	case 9:
		want_event(f, in);
		break;
	case 10:
	case 11:
	case 12:
		manage(f, in);
		break;
	default:
		command(f, in);
	}
}

/* ---- the driver after it ---- */

static void works(struct fuzz *f)
{
	struct guest *g = &f->g;

	memset(g->lun, 0, sizeof(g->lun));
	g->lun[0] = 1;
	expect_sense(SEND(g, 0, 0, 0x00), ATTENTION_POWER_ON);
	memset(data_of(g, 0), 0x3c, 512);
	expect_good(SEND(g, 512, 0, 0x2a, 0, B32(7), 0, B16(1)));
	memset(data_of(g, 0), 0, 512);
	expect_good(SEND(g, 0, 512, 0x28, 0, B32(7), 0, B16(1)));
	assert_int_equal(data_of(g, 0)[511], 0x3c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct fuzz *f;
	struct fuzz_input in = {data, len};

	if (!f)
		f = begin();
	restart(f, &in);
	while (in.len)
		step(f, &in);
	restart(f, &in);
	works(f);
	return 0;
}
