/* SATA disks and CD-ROMs behind AHCI, driven by a guest's driver written
 * here, and by one that writes nonsense. */
#include "core/disk_driver.h"
#include "tests/unit/ahci_guest.h"

/* ---- tests ---- */

static void ports_say_what_is_there(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	assert_int_equal(pci_config_read((void *)g.hba, 0, 4), 0x29228086);
	assert_int_equal(pci_config_read((void *)g.hba, 8, 4) >> 8, 0x010601);
	assert_int_equal(pc_in(g.pc, PC_BAR + 0x0c, 4), 0x3f);
	assert_int_equal(pc_in(g.pc, SSTS, 4) & 0xf, 3);
	assert_int_equal(pc_in(g.pc, SIG, 4), 0x00000101);
	assert_int_equal(pc_in(g.pc, TFD, 4) & 0xff, 0x50);
	/* Port 1 is empty and takes no commands. */
	assert_int_equal(pc_in(g.pc, SSTS + 0x80, 4), 0);
	pc_out(g.pc, CMD + 0x80, 0x11, 4);
	pc_out(g.pc, CI + 0x80, 1, 4);
	assert_int_equal(pc_in(g.pc, CI + 0x80, 4), 0);
}

static void identify_describes_the_disk(void **state)
{
	struct guest g;
	uint16_t id[256];
	uint8_t sum = 0;

	make(&g, *state, DRIVE_WRITEBACK, false);
	assert_int_equal(command(&g, 0xec, 0, 0, 0, 512, false), 0x50);
	memcpy(id, data(&g), 512);
	for (unsigned i = 0; i < 512; i++)
		sum += data(&g)[i];
	assert_int_equal(sum, 0);
	assert_int_equal(id[60] | id[61] << 16, PC_DISK_LEN / 512);
	assert_int_equal(id[100], PC_DISK_LEN / 512);
	assert_true(id[85] & 0x20);
	assert_int_equal(moved(&g, 0), 512);
	/* Announced as PIO data, whose frame has the status at the end. */
	assert_true(pc_in(g.pc, IS, 4) & IS_PSS);
	assert_int_equal(*pc_ram(g.pc, RECEIVED + 0x20), 0x5f);
	assert_int_equal(*pc_ram(g.pc, RECEIVED + 0x20 + 15), 0x50);
	/* A disk is no packet device. */
	assert_int_equal(command(&g, 0xa1, 0, 0, 0, 512, false), 0x51);
	assert_true(pc_in(g.pc, IS, 4) & IS_TFES);
	assert_int_equal(pc_in(g.pc, CI, 4), 1);
	recover(&g);
	assert_int_equal(command(&g, 0xec, 0, 0, 0, 512, false), 0x50);
}

struct transfer {
	uint8_t write, read;
};

static void data_goes_round(void **state)
{
	static const struct transfer rows[] = {
		{0xca, 0xc8}, {0x35, 0x25}, {0x30, 0x20}, {0x34, 0x24},
		{0xc5, 0xc4}, {0x39, 0x29}, {0x3d, 0x25}, {0xce, 0x29},
	};
	struct guest g;

	make(&g, *state, DRIVE_NONE, false);
	assert_int_equal(command(&g, 0xc6, 0, 8, 0, 0, false), 0x50);
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		memset(data(&g), (int)(i + 1), 4096);
		assert_int_equal(command(&g, rows[i].write, 64 + 8 * i, 8, 0,
					 4096, true),
				 0x50);
		memset(data(&g), 0, 4096);
		assert_int_equal(command(&g, rows[i].read, 64 + 8 * i, 8, 0,
					 4096, false),
				 0x50);
		for (unsigned k = 0; k < 4096; k++)
			assert_int_equal(data(&g)[k], i + 1);
		assert_int_equal(moved(&g, 0), 4096);
	}
	/* FUA writes were followed by a flush, the others not. */
	assert_int_equal(pc_gate.syncs, 2);
}

static void scatter_lists_are_gathered(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	for (unsigned i = 0; i < 1024; i++)
		data(&g)[i] = (uint8_t)(i * 3);
	put_fis(&g, 0, 0x35, 7, 2, 0);
	put_header(&g, 0, 0x40, 3);
	put_prd(&g, 0, 0, DATA, 2);
	put_prd(&g, 0, 1, DATA + 2, 700);
	put_prd(&g, 0, 2, DATA + 702, 4096); /* longer than needed */
	pc_out(g.pc, CI, 1, 4);
	pc_wait_reg(g.pc, CI, 4, 1, 0);
	assert_int_equal(moved(&g, 0), 1024);
	memset(data(&g), 0, 1024);
	assert_int_equal(command(&g, 0x25, 7, 2, 0, 1024, false), 0x50);
	for (unsigned i = 0; i < 1024; i++)
		assert_int_equal(data(&g)[i], (uint8_t)(i * 3));
}

static void queued_commands_run_together(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	for (unsigned i = 0; i < 8; i++) {
		memset(data(&g) + 512 * i, (int)(0x40 + i), 512);
		put_fis(&g, i, 0x61, 100 + i, (uint16_t)(i << 3), 1);
		put_header(&g, i, 0x40, 1);
		put_prd(&g, i, 0, DATA + 512 * i, 512);
	}
	pc_out(g.pc, IS, UINT32_MAX, 4);
	pc_out(g.pc, SACT, 0xff, 4);
	pc_out(g.pc, CI, 0xff, 4);
	pc_wait_reg(g.pc, SACT, 4, 0xff, 0);
	assert_int_equal(pc_in(g.pc, CI, 4), 0);
	assert_true(pc_in(g.pc, IS, 4) & IS_SDBS);
	assert_int_equal(*pc_ram(g.pc, RECEIVED + 0x58), 0xa1);
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(command(&g, 0x25, 100 + i, 1, 0, 512, false),
				 0x50);
		assert_int_equal(data(&g)[511], 0x40 + i);
	}
}

static void queued_writes_can_be_stable(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	for (unsigned fua = 0; fua < 2; fua++) {
		put_fis(&g, 0, 0x61, 100, 0, 1);
		table(&g, 0)[7] = fua ? 0xc0 : 0x40;
		put_header(&g, 0, 0x40, 1);
		put_prd(&g, 0, 0, DATA, 512);
		pc_out(g.pc, SACT, 1, 4);
		pc_out(g.pc, CI, 1, 4);
		pc_wait_reg(g.pc, SACT, 4, 1, 0);
		assert_int_equal(pc_gate.syncs, fua);
	}
}

static void queued_errors_leave_a_log(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	put_fis(&g, 3, 0x60, PC_DISK_LEN / 512, 3 << 3, 1);
	put_header(&g, 3, 0, 1);
	put_prd(&g, 3, 0, DATA, 512);
	pc_out(g.pc, SACT, 8, 4);
	pc_out(g.pc, CI, 8, 4);
	pc_wait_reg(g.pc, IS, 4, IS_TFES, IS_TFES);
	assert_int_equal(pc_in(g.pc, SACT, 4), 8);
	recover(&g);
	assert_int_equal(pc_in(g.pc, SACT, 4), 0);
	assert_int_equal(command(&g, 0x2f, 0x10, 1, 0, 512, false), 0x50);
	assert_int_equal(data(&g)[0], 3);
	assert_int_equal(data(&g)[2] & 1, 1);
	assert_true(data(&g)[3] & 0x10);
	/* A tag that isn't the slot's number is refused. */
	put_fis(&g, 1, 0x60, 0, 2 << 3, 1);
	put_header(&g, 1, 0, 1);
	put_prd(&g, 1, 0, DATA, 512);
	pc_out(g.pc, IS, UINT32_MAX, 4);
	pc_out(g.pc, SACT, 2, 4);
	pc_out(g.pc, CI, 2, 4);
	pc_wait_reg(g.pc, IS, 4, IS_TFES, IS_TFES);
	recover(&g);
}

static void write_cache_is_switched(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	assert_int_equal(command(&g, 0x35, 0, 1, 0, 512, true), 0x50);
	assert_int_equal(pc_gate.syncs, 0);
	assert_int_equal(command(&g, 0xef, 0, 0, 0x82, 0, false), 0x50);
	assert_true(pc_gate.syncs >= 1);
	assert_int_equal(command(&g, 0xec, 0, 0, 0, 512, false), 0x50);
	assert_int_equal(data(&g)[170] & 0x20, 0);
	assert_int_equal(command(&g, 0x35, 0, 1, 0, 512, true), 0x50);
	assert_false(drive_wce(g.pc->drive));
	assert_true(pc_gate.syncs >= 2);
	/* It stays off over a COMRESET, not over a reset of the machine. */
	port_stop(&g);
	pc_out(g.pc, SCTL, 1, 4);
	pc_out(g.pc, SCTL, 0, 4);
	port_start(&g);
	assert_int_equal(command(&g, 0xec, 0, 0, 0, 512, false), 0x50);
	assert_int_equal(data(&g)[170] & 0x20, 0);
	pc_reset(g.pc);
	pc_map_bar(g.pc, g.hba, 5, PC_BAR);
	port_start(&g);
	assert_int_equal(command(&g, 0xec, 0, 0, 0, 512, false), 0x50);
	assert_int_equal(data(&g)[170] & 0x20, 0x20);
	assert_int_equal(command(&g, 0xef, 0, 0, 0x82, 0, false), 0x50);
	assert_int_equal(command(&g, 0xef, 0, 0, 0x02, 0, false), 0x50);
	assert_int_equal(command(&g, 0xe7, 0, 0, 0, 0, false), 0x50);
	assert_true(drive_wce(g.pc->drive));
	assert_int_equal(command(&g, 0xea, 0, 0, 0, 0, false), 0x50);
}

static struct disk_driver driver_of(struct guest *g)
{
	struct device *dev = g->pc->m.devices;
	struct disk_driver driver = {0};

	while (dev->cls != &ata_disk_class)
		dev = dev->next;
	dev->cls->disk_driver(dev, &driver);
	return driver;
}

static void what_the_driver_uses_is_told(void **state)
{
	struct disk_driver driver;
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	driver = driver_of(&g);
	assert_false(driver.started);
	assert_non_null(strstr(driver.offered, "FLUSH-CACHE-EXT"));
	assert_non_null(strstr(driver.offered, "NCQ-WRITE"));
	assert_string_equal(driver.accepted, "");
	assert_int_equal(command(&g, 0xec, 0, 0, 0, 512, false), 0x50);
	driver = driver_of(&g);
	assert_true(driver.started);
	assert_string_equal(driver.accepted, "IDENTIFY");
	assert_non_null(strstr(driver.text, "not flushed"));
	assert_int_equal(command(&g, 0xef, 0, 0, 0x82, 0, false), 0x50);
	assert_int_equal(command(&g, 0xe7, 0, 0, 0, 0, false), 0x50);
	driver = driver_of(&g);
	assert_string_equal(driver.accepted,
			    "IDENTIFY FLUSH-CACHE SET-FEATURES-82");
	assert_string_equal(driver.text, "");
	pc_reset(g.pc);
	assert_false(driver_of(&g).started);
}

static void trim_punches_ranges(void **state)
{
	struct guest g;
	uint64_t entry;

	make(&g, *state, DRIVE_WRITEBACK, false);
	memset(data(&g), 0x77, 8192);
	assert_int_equal(command(&g, 0x35, 0, 16, 0, 8192, true), 0x50);
	memset(data(&g), 0, 512);
	entry = 8ull << 48;
	memcpy(data(&g), &entry, 8);
	entry = 8 | 8ull << 48;
	memcpy(data(&g) + 16, &entry, 8);
	assert_int_equal(command(&g, 0x06, 0, 1, 1, 512, true), 0x50);
	/* Past the end: refused. */
	entry = (PC_DISK_LEN / 512 - 1) | 8ull << 48;
	memcpy(data(&g), &entry, 8);
	assert_int_equal(command(&g, 0x06, 0, 1, 1, 512, true), 0x51);
	recover(&g);
	assert_int_equal(command(&g, 0x25, 0, 16, 0, 8192, false), 0x50);
}

static void plain_commands_answer(void **state)
{
	static const uint8_t fine[] = {0x10, 0x40, 0x70, 0x90, 0x91, 0xe0,
				       0xe1, 0xe2, 0xe3, 0xe6, 0xc6};
	static const uint8_t refused[] = {0x00, 0x08, 0xa0, 0xb0,
					  0xf5, 0xf9, 0xff, 0x37};
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	for (unsigned i = 0; i < sizeof(fine); i++)
		assert_int_equal(command(&g, fine[i], 1, 1, 0, 0, false), 0x50);
	assert_int_equal(command(&g, 0xe5, 0, 0, 0, 0, false), 0x50);
	assert_int_equal(*pc_ram(g.pc, RECEIVED + 0x40 + 12), 0x00);
	assert_int_equal(command(&g, 0x25, 0, 1, 0, 512, false), 0x50);
	assert_int_equal(command(&g, 0xe5, 0, 0, 0, 0, false), 0x50);
	assert_int_equal(*pc_ram(g.pc, RECEIVED + 0x40 + 12), 0xff);
	assert_int_equal(command(&g, 0xb0, 0xc24f00, 0, 0xda, 0, false), 0x50);
	assert_int_equal(command(&g, 0xb0, 0xc24f00, 0, 0xd0, 512, false),
			 0x50);
	assert_int_equal(moved(&g, 0), 512);
	for (unsigned i = 0; i < sizeof(refused); i++) {
		assert_int_equal(command(&g, refused[i], 0, 0, 0, 0, false),
				 0x51);
		recover(&g);
	}
}

static void ranges_and_directions_are_checked(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	assert_int_equal(
		command(&g, 0x25, PC_DISK_LEN / 512 - 1, 2, 0, 1024, false),
		0x51);
	recover(&g);
	assert_int_equal(
		command(&g, 0x25, 0xffffffffffffull, 0, 0, 1024, false), 0x51);
	recover(&g);
	/* Fewer bytes in the list than the command moves. */
	assert_int_equal(command(&g, 0x25, 0, 8, 0, 512, false), 0x51);
	recover(&g);
	/* A read declared as a write, and the other way round. */
	assert_int_equal(command(&g, 0x25, 0, 1, 0, 512, true), 0x51);
	recover(&g);
	assert_int_equal(command(&g, 0x35, 0, 1, 0, 512, false), 0x51);
	recover(&g);
	pc_gate.io_error = EIO;
	assert_int_equal(command(&g, 0x25, 0, 1, 0, 512, false), 0x51);
	pc_gate.io_error = 0;
	recover(&g);
	assert_int_equal(command(&g, 0x25, 0, 1, 0, 512, false), 0x50);
}

static void wild_memory_stops_the_port_only(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	for (unsigned i = 0; i < 7; i++) {
		put_fis(&g, 0, 0x25, 0, 8, 0);
		put_header(&g, 0, 0, 1);
		put_prd(&g, 0, 0, DATA, 4096);
		if (i == 0)
			put_prd(&g, 0, 0, PC_HOLE, 4096);
		if (i == 1)
			put_prd(&g, 0, 0, UINT64_MAX - 1, 4096);
		if (i == 2)
			put_prd(&g, 0, 0, PC_RAM_LEN - 2048, 4096);
		if (i == 3) /* the table is nowhere */
			memset(pc_ram(g.pc, LIST + 8), 0xff, 8);
		if (i == 4) /* no command in it */
			memset(table(&g, 0), 0xa5, 64);
		if (i == 5) /* too short a frame */
			*pc_ram(g.pc, LIST) = 2;
		if (i == 6) { /* the list is nowhere */
			port_stop(&g);
			pc_out(g.pc, CLB, PC_HOLE, 4);
			pc_out(g.pc, CMD, 0x11, 4);
		}
		pc_out(g.pc, IS, UINT32_MAX, 4);
		pc_out(g.pc, CI, 1, 4);
		pc_wait_reg(g.pc, IS, 4, IS_HBFS, IS_HBFS);
		recover(&g);
	}
	assert_int_equal(command(&g, 0x25, 0, 1, 0, 512, false), 0x50);
	/* Nonsense in the list of a command without data hurts nobody. */
	put_fis(&g, 0, 0xe7, 0, 0, 0);
	put_header(&g, 0, 0, 0xffff);
	put_prd(&g, 0, 0, PC_HOLE, 1u << 22);
	pc_out(g.pc, CI, 1, 4);
	pc_wait_reg(g.pc, CI, 4, 1, 0);
}

static void interrupts_follow_the_registers(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	assert_false(pc_intx(g.pc, g.hba));
	command(&g, 0xe7, 0, 0, 0, 0, false);
	pc_wait_reg(g.pc, PC_BAR + 8, 4, 1, 1);
	assert_true(pc_intx(g.pc, g.hba));
	pc_out(g.pc, IS, UINT32_MAX, 4);
	pc_out(g.pc, PC_BAR + 8, 1, 4);
	assert_false(pc_intx(g.pc, g.hba));
	pc_out(g.pc, PC_BAR + 4, 0x80000000, 4);
	command(&g, 0xe7, 0, 0, 0, 0, false);
	pc_wait_reg(g.pc, IS, 4, IS_DHRS, IS_DHRS);
	assert_false(pc_intx(g.pc, g.hba));
}

/* How many messages were fired since the last call. */
static unsigned messages(struct guest *g)
{
	struct pci_dev *d = (struct pci_dev *)(void *)g->hba;
	uint64_t n = 0;

	return read(d->msi.msi.eventfd, &n, sizeof(n)) < 0 ? 0 : (unsigned)n;
}

static void messages_replace_the_line(void **state)
{
	struct guest g;
	unsigned cap;

	make(&g, *state, DRIVE_WRITEBACK, false);
	cap = pci_config_read((void *)g.hba, 0x34, 1);
	assert_int_equal(pci_config_read((void *)g.hba, cap, 4), 0x00800005);
	pc_config_out(g.pc, g.hba, cap + 4, 0xfee01000, 4);
	pc_config_out(g.pc, g.hba, cap + 8, 0, 4);
	pc_config_out(g.pc, g.hba, cap + 12, 0x4041, 2);
	pc_config_out(g.pc, g.hba, cap + 2, 1, 2);
	assert_int_equal(messages(&g), 0);
	command(&g, 0xe7, 0, 0, 0, 0, false);
	assert_int_equal(messages(&g), 1);
	assert_false(pc_intx(g.pc, g.hba));
	/* Asked for and told once, until it is acknowledged. */
	pc_out(g.pc, IE, UINT32_MAX, 4);
	assert_int_equal(messages(&g), 0);
	pc_out(g.pc, PC_BAR + 8, 1, 4); /* too early: there is more */
	assert_int_equal(messages(&g), 1);
	pc_out(g.pc, IS, UINT32_MAX, 4);
	pc_out(g.pc, PC_BAR + 8, 1, 4);
	assert_int_equal(messages(&g), 0);
	/* Turned off, the line is back. */
	command(&g, 0xe7, 0, 0, 0, 0, false);
	pc_config_out(g.pc, g.hba, cap + 2, 0, 2);
	assert_true(pc_intx(g.pc, g.hba));
	pc_reset(g.pc);
	assert_int_equal(pci_config_read((void *)g.hba, cap + 4, 4), 0);
}

static void soft_reset_sends_the_signature(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	memset(pc_ram(g.pc, RECEIVED), 0, 256);
	for (unsigned i = 0; i < 2; i++) {
		put_fis(&g, 0, 0, 0, 0, 0);
		table(&g, 0)[1] = 0;
		table(&g, 0)[15] = i ? 0 : 4;
		put_header(&g, 0, i ? 0 : 0x500, 0);
		pc_out(g.pc, CI, 1, 4);
		pc_wait_reg(g.pc, CI, 4, 1, 0);
	}
	assert_int_equal(pc_in(g.pc, TFD, 4) & 0xff, 0x50);
	assert_int_equal(*pc_ram(g.pc, RECEIVED + 0x40), 0x34);
	assert_int_equal(*pc_ram(g.pc, RECEIVED + 0x40 + 4), 1);
}

static void comreset_waits_for_what_is_in_flight(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	pc_gate_shut(&pc_gate.gate);
	put_fis(&g, 0, 0x25, 0, 1, 0);
	put_header(&g, 0, 0, 1);
	put_prd(&g, 0, 0, DATA, 512);
	pc_out(g.pc, CI, 1, 4);
	pc_wait_in_flight(g.pc, 1);
	assert_int_equal(pc_in(g.pc, TFD, 4) & 0x80, 0x80);
	pc_out(g.pc, CMD, 0x10, 4);
	assert_int_equal(pc_in(g.pc, CI, 4), 0);
	assert_int_equal(pc_in(g.pc, CMD, 4) & 0x8000, 0x8000);
	pc_out(g.pc, SCTL, 1, 4);
	assert_int_equal(pc_in(g.pc, SSTS, 4), 0);
	pc_out(g.pc, SCTL, 0, 4);
	assert_int_equal(pc_in(g.pc, SSTS, 4) & 0xf, 3);
	assert_int_equal(pc_in(g.pc, TFD, 4) & 0x80, 0x80);
	pc_gate_pass(pc_gate.gate, 100);
	pc_wait_reg(g.pc, CMD, 4, 0x8000, 0);
	pc_wait_reg(g.pc, TFD, 4, 0xff, 0x50);
	port_start(&g);
	assert_int_equal(command(&g, 0x25, 0, 1, 0, 512, false), 0x50);
	pc_gate_open(&pc_gate.gate);
}

static void controller_reset_starts_afresh(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_WRITEBACK, false);
	command(&g, 0xe7, 0, 0, 0, 0, false);
	pc_out(g.pc, PC_BAR + 4, 0x80000003, 4);
	pc_wait_reg(g.pc, PC_BAR + 4, 4, 1, 0);
	assert_false(pc_intx(g.pc, g.hba));
	assert_int_equal(pc_in(g.pc, IE, 4), 0);
	pc_wait_reg(g.pc, TFD, 4, 0xff, 0x50);
	port_start(&g);
	assert_int_equal(command(&g, 0xec, 0, 0, 0, 512, false), 0x50);
	pc_reset(g.pc);
	pc_map_bar(g.pc, g.hba, 5, PC_BAR);
	assert_int_equal(pc_in(g.pc, CLB, 4), 0);
	port_start(&g);
	assert_int_equal(command(&g, 0xec, 0, 0, 0, 512, false), 0x50);
}

/* ---- CD-ROM ---- */

static void drop_unit_attention(struct guest *g)
{
	uint8_t sense[12] = {0x03, 0, 0, 0, 18};

	packet(g, sense, 18);
}

static void cdrom_reads_its_medium(void **state)
{
	struct guest g;
	uint8_t inquiry[12] = {0x12, 0, 0, 0, 36};
	uint8_t capacity[12] = {0x25};
	uint8_t toc[12] = {0x43, 0, 0, 0, 0, 0, 0, 0, 20};
	uint8_t read10[12] = {0x28, 0, 0, 0, 0, 3, 0, 0, 2};
	uint8_t read12[12] = {0xa8, 0, 0, 0, 0, 3, 0, 0, 0, 2};
	uint8_t mode[12] = {0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 128};
	uint8_t config[12] = {0x46, 0, 0, 0, 0, 0, 0, 0, 128};
	int fd;

	fd = open(((struct fake_pc *)*state)->disk_path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "CD001", 5, 3 * 2048), 5);
	close(fd);
	make(&g, *state, DRIVE_WRITEBACK, true);
	assert_int_equal(pc_in(g.pc, SIG, 4), 0xeb140101);
	assert_int_equal(command(&g, 0xa1, 0, 0, 0, 512, false), 0x50);
	assert_int_equal(data(&g)[1], 0x85);
	assert_int_equal(command(&g, 0xec, 0, 0, 0, 512, false), 0x51);
	recover(&g);
	drop_unit_attention(&g);
	assert_int_equal(packet(&g, inquiry, 36), 0x50);
	assert_int_equal(data(&g)[0], 5);
	assert_memory_equal(data(&g) + 8, "BINNACLE", 8);
	assert_int_equal(packet(&g, capacity, 8), 0x50);
	assert_int_equal(data(&g)[2] << 8 | data(&g)[3],
			 PC_DISK_LEN / 2048 - 1);
	assert_int_equal(data(&g)[6], 8);
	assert_int_equal(packet(&g, toc, 20), 0x50);
	assert_int_equal(data(&g)[1], 18);
	assert_int_equal(packet(&g, read10, 4096), 0x50);
	assert_memory_equal(data(&g), "CD001", 5);
	assert_int_equal(moved(&g, 0), 4096);
	memset(data(&g), 0, 5);
	assert_int_equal(packet(&g, read12, 4096), 0x50);
	assert_memory_equal(data(&g), "CD001", 5);
	assert_int_equal(packet(&g, mode, 128), 0x50);
	assert_int_equal(data(&g)[8], 0x2a);
	assert_int_equal(packet(&g, config, 128), 0x50);
	assert_int_equal(data(&g)[7], 0x08);
}

static void check_sense(struct guest *g, const uint8_t *cdb, uint8_t key,
			uint8_t asc)
{
	uint8_t sense[12] = {0x03, 0, 0, 0, 18};

	assert_int_equal(packet(g, cdb, 4096), 0x51);
	assert_int_equal(pc_in(g->pc, TFD, 4) >> 12, key);
	recover(g);
	assert_int_equal(packet(g, sense, 18), 0x50);
	assert_int_equal(data(g)[2], key);
	assert_int_equal(data(g)[12], asc);
}

static void do_change(void *arg)
{
	struct fake_pc *pc = arg;

	assert_int_equal(drive_change_medium(pc->drive, pc->disk_path, &pc->e),
			 0);
}

static void cdrom_says_why_not(void **state)
{
	struct guest g;
	uint8_t ready[12] = {0};
	uint8_t read10[12] = {0x28, 0, 0x7f, 0, 0, 0, 0, 0, 1};
	uint8_t huge[12] = {0xa8, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff};
	uint8_t unknown[12] = {0xfe};
	uint8_t lock[12] = {0x1e, 0, 0, 0, 1};
	uint8_t unlock[12] = {0x1e};
	uint8_t eject[12] = {0x1b, 0, 0, 0, 2};
	uint8_t event[12] = {0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8};

	make(&g, *state, DRIVE_WRITEBACK, true);
	drop_unit_attention(&g);
	assert_int_equal(packet(&g, ready, 0), 0x50);
	check_sense(&g, read10, 5, 0x21);
	check_sense(&g, huge, 5, 0x21);
	check_sense(&g, unknown, 5, 0x20);
	assert_int_equal(packet(&g, lock, 0), 0x50);
	check_sense(&g, eject, 5, 0x53);
	assert_int_equal(packet(&g, unlock, 0), 0x50);
	assert_int_equal(packet(&g, eject, 0), 0x50);
	assert_false(drive_has_medium(g.pc->drive));
	check_sense(&g, ready, 2, 0x3a);
	/* A new medium is news, once. */
	loop_call(g.pc->io, do_change, g.pc);
	check_sense(&g, ready, 6, 0x28);
	assert_int_equal(packet(&g, event, 8), 0x50);
	assert_int_equal(data(&g)[4], 2);
	assert_int_equal(packet(&g, ready, 0), 0x50);
}

/* ---- state ---- */

static void state_moves_to_another_machine(void **state)
{
	struct fake_pc *pc = *state, *other;
	struct state_buf buf = {0};
	struct guest a, b;

	make(&a, pc, DRIVE_WRITEBACK, false);
	assert_int_equal(command(&a, 0xef, 0, 0, 0x82, 0, false), 0x50);
	/* Issued, but not to be seen yet: no bus mastering. */
	put_fis(&a, 0, 0xec, 0, 0, 0);
	put_header(&a, 0, 0, 1);
	put_prd(&a, 0, 0, DATA, 512);
	pc_config_out(pc, a.hba, 4, 2, 2);
	pc_out(pc, CI, 1, 4);
	other = pc_create();
	make(&b, other, DRIVE_WRITEBACK, false);
	memcpy(pc_ram(other, 0), pc_ram(pc, 0), PC_RAM_LEN);

	world_stop(pc->m.world, NULL);
	world_stop(other->m.world, NULL);
	pc_quiesce(pc);
	assert_int_equal(state_save(&buf, ahci_class.state, "h", a.hba, &pc->e),
			 0);
	assert_int_equal(
		state_save(&buf, ata_disk_class.state, "d", a.disk, &pc->e), 0);
	if (state_load(&buf, ahci_class.state, "h", b.hba, &pc->e) ||
	    state_load(&buf, ata_disk_class.state, "d", b.disk, &pc->e))
		fail_msg("%s", pc->e.msg);
	assert_int_equal(ahci_class.loaded(b.hba, &pc->e), 0);
	bus_commit(other->m.bus, NULL);
	world_resume(other->m.world);
	world_resume(pc->m.world);
	state_buf_fini(&buf);

	assert_int_equal(pc_in(other, CI, 4), 1);
	pc_config_out(other, b.hba, 4, 6, 2);
	pc_wait_reg(other, CI, 4, 1, 0);
	assert_int_equal(data(&b)[170] & 0x20, 0); /* write cache still off */
	assert_int_equal(command(&b, 0x25, 0, 1, 0, 512, false), 0x50);
	pc_destroy(other);
}

/* ---- noise ---- */

static void put_noise(struct guest *g, uint32_t *seed, unsigned slot)
{
	static const uint8_t codes[] = {0x06, 0x20, 0x25, 0x2f, 0x35, 0x60,
					0x61, 0xa0, 0xa1, 0xc8, 0xca, 0xe7,
					0xec, 0xef, 0xff, 0x30};
	uint32_t r = pc_random(seed);
	unsigned nr = pc_random(seed) % 8;

	put_fis(g, slot, codes[r % sizeof(codes)], pc_random(seed) % 9000,
		(uint16_t)pc_random(seed), (uint16_t)(r >> 8));
	if (r % 7 == 0)
		for (unsigned i = 0; i < 64; i++)
			table(g, slot)[i] = (uint8_t)pc_random(seed);
	for (unsigned i = 0; i < 16; i++)
		table(g, slot)[0x40 + i] = (uint8_t)pc_random(seed);
	put_header(g, slot, (uint16_t)(pc_random(seed) & 0x5e0),
		   r % 50 ? (uint16_t)nr : 0xffff);
	for (unsigned i = 0; i < nr; i++)
		put_prd(g, slot, i,
			r % 5 ? DATA + pc_random(seed) % 0x10000
			      : (uint64_t)pc_random(seed) << (r % 30),
			1 + pc_random(seed) % 70000);
	if (r % 31 == 0)
		memset(pc_ram(g->pc, LIST + 32 * slot + 8), (int)r, 8);
}

/* Whatever is issued, the next good driver finds the device in order. */
static void noise(struct guest *g, uint32_t seed)
{
	for (unsigned round = 0; round < 250; round++) {
		uint32_t issue = pc_random(&seed) & 0xff;

		for (unsigned slot = 0; slot < 8; slot++)
			put_noise(g, &seed, slot);
		pc_out(g->pc, SACT, pc_random(&seed) & 0xff, 4);
		pc_out(g->pc, CI, issue, 4);
		for (unsigned i = 0; i < 12; i++) {
			unsigned reg = pc_random(&seed) % 0x200;

			if (round % 4 == 0)
				pc_out(g->pc, PC_BAR + reg,
				       pc_random(&seed) * 257,
				       1u << pc_random(&seed) % 4);
			pc_in(g->pc, PC_BAR + reg, 1u << pc_random(&seed) % 4);
		}
		pc_out(g->pc, CMD, 0, 4);
		pc_wait_reg(g->pc, CMD, 4, 0x8000, 0);
		pc_out(g->pc, SCTL, 1, 4);
		pc_out(g->pc, SCTL, 0, 4);
		pc_wait_reg(g->pc, TFD, 4, 0x80, 0);
		port_start(g);
	}
}

static void random_drivers_do_no_harm(void **state)
{
	struct guest g;

	make(&g, *state, DRIVE_UNSAFE, false);
	noise(&g, 42);
	assert_int_equal(command(&g, 0x25, 0, 1, 0, 512, false), 0x50);
}

static void random_packets_do_no_harm(void **state)
{
	struct guest g;
	uint8_t inquiry[12] = {0x12, 0, 0, 0, 36};

	make(&g, *state, DRIVE_WRITEBACK, true);
	noise(&g, 43);
	assert_int_equal(packet(&g, inquiry, 36), 0x50);
}

#define T(name) cmocka_unit_test_setup_teardown(name, pc_setup, pc_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(ports_say_what_is_there),
		T(identify_describes_the_disk),
		T(data_goes_round),
		T(scatter_lists_are_gathered),
		T(queued_commands_run_together),
		T(queued_writes_can_be_stable),
		T(queued_errors_leave_a_log),
		T(write_cache_is_switched),
		T(what_the_driver_uses_is_told),
		T(trim_punches_ranges),
		T(plain_commands_answer),
		T(ranges_and_directions_are_checked),
		T(wild_memory_stops_the_port_only),
		T(interrupts_follow_the_registers),
		T(messages_replace_the_line),
		T(soft_reset_sends_the_signature),
		T(comreset_waits_for_what_is_in_flight),
		T(controller_reset_starts_afresh),
		T(cdrom_reads_its_medium),
		T(cdrom_says_why_not),
		T(state_moves_to_another_machine),
		T(random_drivers_do_no_harm),
		T(random_packets_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
