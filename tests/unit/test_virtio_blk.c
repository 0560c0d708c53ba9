/* virtio-blk over PCI: requests, features, the write cache. */
#include "tests/unit/virtio_blk_guest.h"

#include <sys/stat.h>

#include "core/device_feature.h"
#include "core/disk_driver.h"

static void disk_says_what_it_is(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	assert_int_equal(pci_config_read((void *)g.dev, 0, 4), 0x10421af4);
	start(&g, F_FLUSH | F_WCE);
	assert_int_equal(pc_in(g.pc, CONFIG, 8), PC_DISK_LEN / 512);
	assert_int_equal(pc_in(g.pc, CONFIG + 20, 4), 512);
	assert_int_equal(pc_in(g.pc, CONFIG + 32, 1), 1);
	assert_int_equal(request(&g, T_GET_ID, 0, 20), 0);
	assert_string_equal((char *)pc_ram(g.pc, DATA), "disk0");
}

static void data_goes_round(void **state)
{
	struct guest g;
	uint8_t *data;

	make(&g, *state, DRIVE_WRITEBACK, false);
	start(&g, F_FLUSH);
	data = pc_ram(g.pc, DATA);
	memset(data, 0xa7, 8192);
	assert_int_equal(request(&g, T_OUT, 100, 8192), 0);
	assert_int_equal(request(&g, T_FLUSH, 0, 0), 0);
	assert_int_equal(pc_gate.syncs, 1);
	memset(data, 0, 8192);
	build(&g, 0, T_IN, 100, 0, 8192);
	offer(&g, 0);
	kick(&g);
	assert_int_equal(wait_used(&g), 8193);
	for (unsigned i = 0; i < 8192; i++)
		assert_int_equal(data[i], 0xa7);
}

static void many_requests_in_one_kick(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_NONE, false);
	start(&g, F_FLUSH | F_EVENT_IDX);
	for (unsigned round = 0; round < 200; round++) {
		for (unsigned i = 0; i < 5; i++) {
			memset(pc_ram(g.pc, DATA + 512 * i), (int)(round + i),
			       512);
			build(&g, 3 * i, T_OUT, 10 * i, 512 * i, 512);
			offer(&g, (uint16_t)(3 * i));
		}
		kick(&g);
		g.used += 4;
		wait_used(&g);
		for (unsigned i = 0; i < 5; i++)
			assert_int_equal(*pc_ram(g.pc, STATUS + 3 * i), 0);
	}
	assert_int_equal(request(&g, T_IN, 20, 512), 0);
	assert_int_equal(*pc_ram(g.pc, DATA), 199 + 2);
}

static void interrupt_line_follows_the_status_register(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	start(&g, F_FLUSH);
	assert_false(pc_intx(g.pc, g.dev));
	assert_int_equal(request(&g, T_IN, 0, 512), 0);
	pc_wait_reg(g.pc, ISR, 1, 1, 1);
	assert_false(pc_intx(g.pc, g.dev));
	assert_int_equal(pc_in(g.pc, ISR, 1), 0);
}

static void msix_takes_the_line_s_place(void **state)
{
	struct guest g;
	uint64_t end = loop_now_ns() + PC_WAIT_NS;
	const struct irq_msi *msi;

	make(&g, *state, DRIVE_WRITEBACK, false);
	/* Vector 1 for the queue; enabled in the capability. */
	pc_out(g.pc, PC_BAR + 0x4000 + 16, 0xfee00000, 4);
	pc_out(g.pc, PC_BAR + 0x4000 + 24, 0x41, 4);
	pc_out(g.pc, PC_BAR + 0x4000 + 28, 0, 4);
	pc_config_out(g.pc, g.dev,
		      ((struct pci_dev *)(void *)g.dev)->msix.cap + 2, 0x8000,
		      2);
	start(&g, F_FLUSH);
	pc_out(g.pc, COMMON + 22, 0, 2);
	pc_out(g.pc, COMMON + 26, 77, 2);
	assert_int_equal(pc_in(g.pc, COMMON + 26, 2), 0xffff);
	pc_out(g.pc, COMMON + 26, 1, 2);
	assert_int_equal(pc_in(g.pc, COMMON + 26, 2), 1);
	assert_int_equal(request(&g, T_IN, 0, 512), 0);
	msi = &((struct pci_dev *)(void *)g.dev)->msix.msi[1];
	while (!__atomic_load_n(&msi->raised, __ATOMIC_RELAXED))
		assert_true(loop_now_ns() < end);
	assert_false(pc_intx(g.pc, g.dev));
	assert_int_equal(pc_in(g.pc, ISR, 1), 0);
}

static void requests_that_cannot_be_served(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	start(&g, F_FLUSH);
	assert_int_equal(request(&g, 99, 0, 512), 2);
	assert_int_equal(request(&g, T_IN, PC_DISK_LEN / 512, 512), 1);
	assert_int_equal(request(&g, T_IN, PC_DISK_LEN / 512 - 1, 1024), 1);
	assert_int_equal(request(&g, T_IN, UINT64_MAX, 512), 1);
	assert_int_equal(request(&g, T_IN, UINT64_MAX / 512 + 1, 512), 1);
	assert_int_equal(request(&g, T_OUT, 0, 100), 1);
	pc_gate.io_error = EIO;
	assert_int_equal(request(&g, T_IN, 0, 512), 1);
	pc_gate.io_error = 0;
	assert_int_equal(request(&g, T_IN, 0, 512), 0);
	assert_int_equal(get_status(&g), 15);
}

static void readonly_disks_refuse_writes(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, true);
	pc_out(g.pc, COMMON, 0, 4);
	assert_true(pc_in(g.pc, COMMON + 4, 4) & (1u << 5));
	start(&g, F_FLUSH | (1u << 5));
	assert_int_equal(request(&g, T_OUT, 0, 512), 1);
	assert_int_equal(request(&g, T_IN, 0, 512), 0);
}

static uint8_t range_request(struct guest *g, uint32_t type, uint64_t sector,
			     uint32_t nr, uint32_t flags)
{
	uint8_t *p = pc_ram(g->pc, DATA);

	memcpy(p, &sector, 8);
	memcpy(p + 8, &nr, 4);
	memcpy(p + 12, &flags, 4);
	return request(g, type, 0, 16);
}

static void discard_and_write_zeroes(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	start(&g, F_FLUSH | (1u << 13) | (1u << 14));
	memset(pc_ram(g.pc, DATA), 0x33, 4096);
	assert_int_equal(request(&g, T_OUT, 8, 4096), 0);
	assert_int_equal(range_request(&g, T_WRITE_ZEROES, 8, 8, 1), 0);
	assert_int_equal(request(&g, T_IN, 8, 4096), 0);
	assert_int_equal(*pc_ram(g.pc, DATA + 4095), 0);
	assert_int_equal(range_request(&g, T_DISCARD, 0, 8, 0), 0);
	assert_int_equal(range_request(&g, T_DISCARD, 0, 8, 1), 2);
	assert_int_equal(range_request(&g, T_WRITE_ZEROES, 0, 8, 2), 2);
	assert_int_equal(range_request(&g, T_DISCARD, 0, UINT32_MAX, 0), 1);
	assert_int_equal(range_request(&g, T_DISCARD, PC_DISK_LEN / 512, 1, 0),
			 1);
	assert_int_equal(range_request(&g, T_DISCARD, UINT64_MAX, 1, 0), 1);
}

static void put_range(struct guest *g, unsigned i, uint64_t sector, uint32_t nr,
		      uint32_t flags)
{
	uint8_t *p = pc_ram(g->pc, DATA + 16 * i);

	memcpy(p, &sector, 8);
	memcpy(p + 8, &nr, 4);
	memcpy(p + 12, &flags, 4);
}

static off_t disk_blocks(struct guest *g)
{
	struct stat st;

	assert_int_equal(stat(g->pc->disk_path, &st), 0);
	return st.st_blocks;
}

static void several_ranges_in_one_request(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITETHROUGH, false);
	start(&g, F_FLUSH | (1u << 13) | (1u << 14));
	assert_int_equal(pc_in(g.pc, CONFIG + 40, 4), 16); /* discard_segs */
	assert_int_equal(pc_in(g.pc, CONFIG + 52, 4), 16); /* zeroes_segs */
	for (unsigned i = 0; i < 16; i++) {
		memset(pc_ram(g.pc, DATA), 0x77, 1024);
		assert_int_equal(request(&g, T_OUT, 4 * i, 1024), 0);
	}
	/* The middle of each pair; one flush makes all of them stable. */
	for (unsigned i = 0; i < 16; i++)
		put_range(&g, i, 4 * i + 1, 1, 0);
	pc_gate.syncs = 0;
	assert_int_equal(request(&g, T_WRITE_ZEROES, 0, 16 * 16), 0);
	assert_int_equal(pc_gate.syncs, 1);
	/* So it does when the last is empty. */
	for (unsigned i = 1; i < 16; i++)
		put_range(&g, i, 0, 0, 0);
	pc_gate.syncs = 0;
	assert_int_equal(request(&g, T_WRITE_ZEROES, 0, 16 * 16), 0);
	assert_int_equal(pc_gate.syncs, 1);
	for (unsigned i = 0; i < 16; i++) {
		assert_int_equal(request(&g, T_IN, 4 * i, 1024), 0);
		assert_int_equal(*pc_ram(g.pc, DATA + 511), 0x77);
		assert_int_equal(*pc_ram(g.pc, DATA + 512), 0);
		assert_int_equal(*pc_ram(g.pc, DATA + 1023), 0);
	}
	/* One that is wrong in form stops all before the first is done. */
	put_range(&g, 0, 0, 1, 0);
	put_range(&g, 1, 4, 1, 2);
	assert_int_equal(request(&g, T_WRITE_ZEROES, 0, 32), 2);
	assert_int_equal(request(&g, T_WRITE_ZEROES, 0, 31), 2);
	assert_int_equal(request(&g, T_WRITE_ZEROES, 0, 0), 2);
	assert_int_equal(request(&g, T_DISCARD, 0, 17 * 16), 1);
	assert_int_equal(request(&g, T_IN, 0, 512), 0);
	assert_int_equal(*pc_ram(g.pc, DATA), 0x77);
	/* One past the end fails the request. */
	put_range(&g, 0, 0, 1, 0);
	put_range(&g, 1, PC_DISK_LEN / 512, 1, 0);
	put_range(&g, 2, 8, 1, 0);
	assert_int_equal(request(&g, T_WRITE_ZEROES, 0, 48), 1);
	assert_int_equal(request(&g, T_IN, 8, 512), 0);
	assert_int_equal(*pc_ram(g.pc, DATA), 0x77);
	assert_int_equal(get_status(&g), 15);
}

static void only_unmap_gives_space_back(void **state)
{
	struct guest g;
	off_t full;

	make(&g, *state, DRIVE_WRITEBACK, false);
	start(&g, F_FLUSH | (1u << 13) | (1u << 14));
	memset(pc_ram(g.pc, DATA), 0x77, 512u << 10);
	assert_int_equal(request(&g, T_OUT, 0, 512u << 10), 0);
	full = disk_blocks(&g);
	assert_true(full >= 1024);
	put_range(&g, 0, 0, 1024, 0);
	assert_int_equal(request(&g, T_WRITE_ZEROES, 0, 16), 0);
	assert_true(disk_blocks(&g) >= 1024);
	put_range(&g, 0, 0, 1024, 1);
	assert_int_equal(request(&g, T_WRITE_ZEROES, 0, 16), 0);
	assert_true(disk_blocks(&g) < full);
	assert_int_equal(request(&g, T_IN, 0, 512), 0);
	assert_int_equal(*pc_ram(g.pc, DATA), 0);
}

static void limits_are_the_image_s(void **state)
{
	struct drive_limits limits;
	struct guest g;

	make(&g, *state, DRIVE_NONE, false);
	drive_limits(g.pc->drive, &limits);
	assert_true(limits.align >= 512 && limits.unit >= limits.align);
	assert_int_equal(512u << pc_in(g.pc, CONFIG + 24, 1), limits.align);
	assert_int_equal(pc_in(g.pc, CONFIG + 25, 1), 0);
	assert_int_equal(pc_in(g.pc, CONFIG + 26, 2), limits.align / 512);
	assert_int_equal(pc_in(g.pc, CONFIG + 28, 4), limits.unit / 512);
	assert_int_equal(pc_in(g.pc, CONFIG + 44, 4), limits.unit / 512);
}

static void guest_switches_the_write_cache(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	start(&g, F_FLUSH | F_WCE);
	assert_int_equal(request(&g, T_OUT, 0, 512), 0);
	assert_int_equal(pc_gate.syncs, 0);
	pc_out(g.pc, CONFIG + 32, 0, 1);
	assert_int_equal(pc_in(g.pc, CONFIG + 32, 1), 0);
	assert_int_equal(request(&g, T_OUT, 0, 512), 0);
	assert_true(pc_gate.syncs >= 1);
	assert_false(drive_wce(g.pc->drive));
	pc_out(g.pc, CONFIG + 32, 1, 1);
	assert_int_equal(request(&g, T_OUT, 0, 512), 0);
	assert_true(drive_wce(g.pc->drive));
}

static struct disk_driver facts_of(struct guest *g)
{
	struct disk_driver d = {0};

	virtio_blk_class.disk_driver(g->dev, &d);
	return d;
}

/* Who took none of the switch, or can't flush, doesn't get to turn it. */
static void the_switch_is_for_those_who_asked(void **state)
{
	struct disk_driver d;
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	assert_false(facts_of(&g).started);
	start(&g, F_FLUSH);
	d = facts_of(&g);
	assert_true(d.started && d.flush && !d.wce_control);
	assert_string_equal(d.text, "");
	pc_out(g.pc, CONFIG + 32, 0, 1);
	assert_int_equal(pc_in(g.pc, CONFIG + 32, 1), 1);
	assert_int_equal(request(&g, T_OUT, 0, 512), 0);
	assert_int_equal(pc_gate.syncs, 0);

	start(&g, F_WCE);
	assert_int_equal(pc_in(g.pc, CONFIG + 32, 1), 0);
	pc_out(g.pc, CONFIG + 32, 1, 1);
	assert_int_equal(pc_in(g.pc, CONFIG + 32, 1), 0);
	assert_int_equal(request(&g, T_OUT, 0, 512), 0);
	assert_int_not_equal(pc_gate.syncs, 0);
	d = facts_of(&g);
	assert_true(d.started && !d.flush && !d.wce_control);
	assert_non_null(strstr(d.text, "never flushes"));

	start(&g, F_FLUSH | F_WCE);
	d = facts_of(&g);
	assert_true(d.flush && d.wce_control);
	assert_string_equal(d.accepted, "F_FLUSH F_CONFIG_WCE F_VERSION_1");
	assert_non_null(strstr(d.offered, "F_MQ"));
	assert_int_equal(pc_in(g.pc, CONFIG + 32, 1), 1);
	/* Only that byte is for writing. */
	pc_out(g.pc, CONFIG + 32, 0, 4);
	pc_out(g.pc, CONFIG + 33, 0, 1);
	pc_out(g.pc, CONFIG, 0, 4);
	assert_int_equal(pc_in(g.pc, CONFIG + 32, 1), 1);
	assert_int_equal(pc_in(g.pc, CONFIG, 8), PC_DISK_LEN / 512);
}

static void features_have_names(void **state)
{
	struct device_feature rows[64];
	unsigned nr, seen = 0;
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	start(&g, F_FLUSH | F_EVENT_IDX);
	nr = virtio_blk_class.features(g.dev, rows, 64);
	for (unsigned i = 0; i < nr; i++) {
		const struct device_feature *f = &rows[i];
		bool taken = f->bit == 9 || f->bit == 29 || f->bit == 32;

		assert_true(f->offered);
		assert_int_equal(f->accepted, taken);
		assert_string_not_equal(f->name, "F_?");
		if (!strcmp(f->name, "F_FLUSH"))
			assert_int_equal(f->bit, 9);
		if (!strcmp(f->name, "F_CONFIG_WCE"))
			assert_int_equal(f->bit, 11);
		if (!strcmp(f->name, "F_RING_PACKED"))
			assert_int_equal(f->bit, 34);
		seen += taken;
		assert_true(!i || f->bit > rows[i - 1].bit);
	}
	assert_int_equal(seen, 3);
	assert_int_equal(virtio_blk_class.features(g.dev, rows, 2), 2);
	/* What isn't offered is shown while it is tried. */
	set_status(&g, 0);
	pc_wait_reg(g.pc, COMMON + 20, 1, 0xff, 0);
	pc_out(g.pc, COMMON + 8, 1, 4);
	pc_out(g.pc, COMMON + 12, 1u << 31, 4);
	nr = virtio_blk_class.features(g.dev, rows, 64);
	assert_string_equal(rows[nr - 1].name, "F_?");
	assert_true(rows[nr - 1].accepted && !rows[nr - 1].offered);
}

static void drivers_hear_of_a_new_length(void **state)
{
	struct guest g;
	uint8_t generation;

	make(&g, *state, DRIVE_WRITEBACK, false);
	assert_false(virtio_blk_class.disk_resized(g.dev));
	start(&g, F_FLUSH);
	generation = (uint8_t)pc_in(g.pc, COMMON + 21, 1);
	assert_true(virtio_blk_class.disk_resized(g.dev));
	assert_int_equal(pc_in(g.pc, COMMON + 21, 1), (generation + 1) % 256);
	assert_int_equal(pc_in(g.pc, ISR, 1), 2);
}

static void without_flush_writes_are_stable(void **state)
{
	struct log_entry said;
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	start(&g, 0);
	assert_int_equal(request(&g, T_OUT, 0, 512), 0);
	assert_true(pc_gate.syncs >= 1);
	assert_int_equal(log_copy(g.pc->m.log, 0, &said, 1), 1);
	assert_non_null(strstr(said.text, "never flushes"));
	/* The next driver may know better. */
	start(&g, F_FLUSH | F_WCE);
	assert_int_equal(pc_in(g.pc, CONFIG + 32, 1), 1);
}

static void wrong_features_are_not_accepted(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	set_status(&g, 3);
	set_status(&g, 11); /* no VERSION_1 */
	assert_int_equal(get_status(&g), 3);
	pc_out(g.pc, COMMON + 8, 1, 4);
	pc_out(g.pc, COMMON + 12, 0xffffffff, 4);
	set_status(&g, 11);
	assert_int_equal(get_status(&g), 3);
	set_status(&g, 7); /* DRIVER_OK without FEATURES_OK */
	assert_int_equal(get_status(&g), 3);
}

#define T(name) cmocka_unit_test_setup_teardown(name, pc_setup, pc_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(disk_says_what_it_is),
		T(data_goes_round),
		T(many_requests_in_one_kick),
		T(interrupt_line_follows_the_status_register),
		T(msix_takes_the_line_s_place),
		T(requests_that_cannot_be_served),
		T(readonly_disks_refuse_writes),
		T(discard_and_write_zeroes),
		T(several_ranges_in_one_request),
		T(only_unmap_gives_space_back),
		T(limits_are_the_image_s),
		T(guest_switches_the_write_cache),
		T(the_switch_is_for_those_who_asked),
		T(features_have_names),
		T(drivers_hear_of_a_new_length),
		T(without_flush_writes_are_stable),
		T(wrong_features_are_not_accepted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
