/*
 * virtio devices under a driver made of arbitrary bytes: registers, rings of
 * both forms, chains that almost make sense, resets and moves in mid-flight.
 * Whatever it did, the next driver finds a device that works.
 */
#include "tests/fuzz/fuzz_device.h"
#include "tests/unit/virtio_guest.h"

#include "core/device_feature.h"

#define NR_QUEUES 3u
#define SCRATCH	  0x40000u /* headers, tables */
#define DATA	  0x100000u

#define BLK_F_FLUSH (1ull << 9)

extern const struct device_class virtio_blk_class;
extern const struct device_class virtio_keyboard_class;
extern const struct device_class virtio_rng_class;
extern const struct device_class virtio_tablet_class;

struct fuzz {
	struct fake_pc *pc;
	struct device *devs[4];
	struct device *dev; /* this round's */
	struct vg_queue queues[NR_QUEUES];
	bool packed;
};

static struct fuzz *begin(void)
{
	static const struct device_class *const classes[] = {
		&virtio_blk_class,
		&virtio_rng_class,
		&virtio_keyboard_class,
		&virtio_tablet_class,
	};
	struct fuzz *f = calloc(1, sizeof(*f));
	struct device_args args;
	char name[8];

	f->pc = pc_create();
	f->pc->m.nr_vcpus = NR_QUEUES;
	pc_open_drive(f->pc, DRIVE_UNSAFE, false);
	for (unsigned i = 0; i < 4; i++) {
		args = (struct device_args){
			.devfn = -1, .drive = f->pc->drive, .io = f->pc->io};
		snprintf(name, sizeof(name), "dev%u", i);
		f->devs[i] = pc_add(f->pc, classes[i], name, &args);
	}
	return f;
}

/* ---- what a guest does ---- */

static void poke_register(struct fuzz *f, struct fuzz_input *in)
{
	uint32_t at = (uint32_t)fuzz_take(in, 2) % 0x5000;
	unsigned len = 1u << fuzz_pick(in, 4);

	if (fuzz_pick(in, 4))
		at %= 64; /* the common configuration */
	if (fuzz_pick(in, 3))
		pc_out(f->pc, PC_BAR + at, fuzz_take(in, len), len);
	else
		pc_in(f->pc, PC_BAR + at, len);
}

static void poke_config(struct fuzz *f, struct fuzz_input *in)
{
	unsigned len = 1u << fuzz_pick(in, 3), at = fuzz_pick(in, 256) & ~3u;

	pc_config_out(f->pc, f->dev, at, (uint32_t)fuzz_take(in, len), len);
	/* Mapped and bus master again, as the rest wants it. */
	if (fuzz_pick(in, 4))
		pc_map_bar(f->pc, f->dev, 0, PC_BAR);
}

static void negotiate(struct fuzz *f, struct fuzz_input *in)
{
	uint64_t features = fuzz_take(in, 5) & ((1ull << 41) - 1);
	struct fake_pc *pc = f->pc;

	if (fuzz_pick(in, 8)) {
		struct device_feature rows[64];
		uint64_t offered = VG_F_VERSION_1;
		unsigned nr = f->dev->cls->features(f->dev, rows, 64);

		for (unsigned i = 0; i < nr; i++)
			offered |= (uint64_t)rows[i].offered << rows[i].bit;
		features = (features & offered) | VG_F_VERSION_1;
	}
	f->packed = features & VG_F_PACKED;
	vg_status(pc, 0);
	vg_status(pc, 3);
	for (unsigned i = 0; i < 2; i++) {
		pc_out(pc, VG_COMMON + 8, i, 4);
		pc_out(pc, VG_COMMON + 12, (uint32_t)(features >> (32 * i)), 4);
	}
	vg_status(pc, 11);
}

/* An address that a driver could mean, or not. */
static uint64_t any_address(struct fuzz_input *in, uint64_t usual)
{
	switch (fuzz_pick(in, 24)) {
	case 0:
		return PC_BAR + (fuzz_take(in, 2) & ~3ull);
	case 1:
		return VG_RINGS(0) + (fuzz_take(in, 2) & ~15ull);
	case 2:
		return PC_RAM_LEN - fuzz_take(in, 1) * 8;
	case 3:
		return fuzz_take(in, 8);
	}
	return usual;
}

static void open_queue(struct fuzz *f, struct fuzz_input *in)
{
	unsigned index = fuzz_pick(in, NR_QUEUES);
	struct vg_queue *q = &f->queues[index];
	struct fake_pc *pc = f->pc;

	*q = (struct vg_queue){
		.pc = pc,
		.index = index,
		.packed = f->packed,
		.desc = VG_RINGS(index),
		.avail = VG_RINGS(index) + 0x1000,
		.used = VG_RINGS(index) + 0x2000,
		.wrap = true,
	};
	memset(pc_ram(pc, q->desc), 0, 0x3000);
	pc_out(pc, VG_COMMON + 22, index, 2);
	pc_out(pc, VG_COMMON + 24,
	       fuzz_pick(in, 16) ? VG_LEN : fuzz_take(in, 2), 2);
	pc_out(pc, VG_COMMON + 32, any_address(in, q->desc), 8);
	pc_out(pc, VG_COMMON + 40, any_address(in, q->avail), 8);
	pc_out(pc, VG_COMMON + 48, any_address(in, q->used), 8);
	pc_out(pc, VG_COMMON + 28, 1, 2);
	if (fuzz_pick(in, 4))
		vg_status(pc, 15);
}

/* A chain under any number, in flight or not: header, pieces, status byte. */
static void offer(struct fuzz *f, struct fuzz_input *in)
{
	struct vg_queue *q = &f->queues[fuzz_pick(in, NR_QUEUES)];
	uint16_t id = (uint16_t)fuzz_pick(in, VG_IDS);
	uint64_t at = SCRATCH + 256u * id;
	unsigned nr = 1 + fuzz_pick(in, VG_CHAIN);
	struct vg_desc d[VG_CHAIN];
	uint32_t head[4] = {fuzz_pick(in, 16), 0,
			    (uint32_t)fuzz_take(in, 2) % 9000, 0};

	if (!q->pc)
		return;
	memcpy(pc_ram(f->pc, at), head, sizeof(head));
	d[0] = (struct vg_desc){any_address(in, at), 16, 0};
	for (unsigned i = 1; i < nr; i++) {
		uint32_t len = 512u * fuzz_pick(in, 9);

		if (!fuzz_pick(in, 6))
			len = (uint32_t)fuzz_take(in, 4);
		d[i] = (struct vg_desc){any_address(in, DATA + 4096u * i), len,
					(uint16_t)fuzz_pick(in, 5) & 6u};
	}
	if (nr > 1 && fuzz_pick(in, 8))
		d[nr - 1] = (struct vg_desc){at + 64, 1, VG_WRITE};
	if (!fuzz_pick(in, 6)) { /* or a table of the input's own */
		fuzz_ram(in, f->pc, at + 128, 64);
		d[nr - 1] = (struct vg_desc){at + 128, 16u * fuzz_pick(in, 6),
					     VG_INDIRECT};
	}
	q->nr[id] = 0;
	vg_offer(q, d, nr, id);
	if (fuzz_pick(in, 2))
		vg_kick(q);
}

/* The whole ring becomes available, whatever the device holds of it. */
static void flood(struct fuzz *f, struct fuzz_input *in)
{
	struct vg_queue *q = &f->queues[fuzz_pick(in, NR_QUEUES)];
	uint16_t round = fuzz_pick(in, 2) ? VG_AVAIL : VG_USED;
	unsigned len = 1 + fuzz_pick(in, VG_LEN), whole = fuzz_pick(in, 4);
	static const struct vg_desc d[3] = {{SCRATCH, 16, VG_NEXT},
					    {DATA, 512, VG_NEXT | VG_WRITE},
					    {SCRATCH + 64, 1, VG_WRITE}};

	if (!q->pc)
		return;
	memset(pc_ram(f->pc, SCRATCH), 0, 16);
	for (unsigned i = 0; i < len; i++) {
		uint16_t tail[2] = {d[i % 3].flags, (uint16_t)(i + 1)};
		uint16_t head = (uint16_t)(i / 3 * 3);

		if (q->packed) {
			tail[0] = (uint16_t)i;
			tail[1] = d[i % 3].flags | round;
		}
		if (q->packed && !whole)
			tail[1] |= VG_NEXT;
		memcpy(pc_ram(f->pc, q->desc + 16 * i), &d[i % 3], 12);
		memcpy(pc_ram(f->pc, q->desc + 16 * i + 12), tail, 4);
		if (!q->packed)
			vg_store16(q, q->avail + 4 + 2 * i, head);
	}
	if (!q->packed) {
		q->at = (uint16_t)(q->at + len);
		vg_store16(q, q->avail + 2, q->at);
	}
	vg_kick(q);
}

static void move(struct fuzz *f, struct fuzz_input *in)
{
	fuzz_let_go(f->pc);
	fuzz_move(in, f->pc, f->dev, SIZE_MAX);
	pc_map_bar(f->pc, f->dev, 0, PC_BAR);
}

static void input(struct fuzz *f, struct fuzz_input *in)
{
	if (fuzz_pick(in, 2))
		console_key(f->pc->m.console, (uint16_t)fuzz_take(in, 2) % 512,
			    fuzz_pick(in, 2));
	else
		console_pointer(f->pc->m.console, (int)fuzz_take(in, 4),
				(int)fuzz_take(in, 4),
				(unsigned)fuzz_take(in, 1));
}

static void step(struct fuzz *f, struct fuzz_input *in)
{
	switch (fuzz_pick(in, 24)) {
	case 0:
		poke_register(f, in);
		break;
	case 1:
		poke_config(f, in);
		break;
	case 2:
		negotiate(f, in);
		break;
	case 3:
		fuzz_ram(in, f->pc, VG_RINGS(0) + fuzz_take(in, 2) % 0x9000,
			 fuzz_pick(in, 64));
		break;
	case 4:
		vg_status(f->pc, 0); /* in mid-flight */
		break;
	case 5:
		fuzz_let_go(f->pc);
		fuzz_settle(f->pc);
		break;
	case 6:
		if (!fuzz_pick(in, 4))
			move(f, in);
		break;
	case 7:
		input(f, in);
		break;
	case 8:
	case 9:
		open_queue(f, in);
		break;
	case 10:
		fuzz_hold(f->pc);
		break;
	case 11:
	case 12:
		flood(f, in);
		break;
	default:
		offer(f, in);
	}
}

/* ---- the driver after it ---- */

/* A request that every device answers is one it can only answer when whole. */
static void works(struct fuzz *f)
{
	struct vg_queue *q = &f->queues[0];
	struct vg_desc d[3] = {{SCRATCH, 16, 0},
			       {DATA, 512, VG_WRITE},
			       {SCRATCH + 64, 1, VG_WRITE}};
	struct fake_pc *pc = f->pc;
	uint32_t len;
	uint16_t id;

	if (f->dev != f->devs[0])
		return;
	vg_negotiate(pc, BLK_F_FLUSH | (f->packed ? VG_F_PACKED : 0));
	vg_queue_init(q, pc, 0, f->packed);
	vg_status(pc, 15);
	memset(pc_ram(pc, SCRATCH), 0, 16);
	vg_offer(q, d, 3, 0);
	vg_kick(q);
	vg_wait(q, &id, &len);
	assert_int_equal(len, 513);
	assert_int_equal(*pc_ram(pc, SCRATCH + 64), 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct fuzz *f;
	struct fuzz_input in = {data, len};

	if (!f)
		f = begin();
	/* Half of the rounds are the disk's. */
	f->dev = f->devs[fuzz_pick(&in, 2) ? 0 : fuzz_pick(&in, 4)];
	memset(f->queues, 0, sizeof(f->queues));
	f->packed = false;
	pc_reset(f->pc);
	pc_map_bar(f->pc, f->dev, 0, PC_BAR);
	negotiate(f, &in);
	open_queue(f, &in);
	while (in.len)
		step(f, &in);
	fuzz_let_go(f->pc);
	pc_reset(f->pc);
	pc_map_bar(f->pc, f->dev, 0, PC_BAR);
	works(f);
	return 0;
}
