#include "tests/unit/board.h"

#include "core/hw/chipset/q35.h"
#include "core/hw/pci.h"

#define SLOT	PCI_DEVFN(3, 0)
#define COMMAND 0x04

struct fake {
	struct pci_dev pci;
	uint32_t regs[4];
	uint64_t last_off;
	unsigned last_len, config_writes;
	struct ram_block *vram;
};

static uint64_t fake_read(void *opaque, uint64_t off, unsigned len)
{
	struct fake *f = opaque;

	f->last_off = off;
	f->last_len = len;
	return f->regs[off / 4 % 4];
}

static void fake_write(void *opaque, uint64_t off, uint64_t value, unsigned len)
{
	struct fake *f = opaque;

	f->last_off = off;
	f->last_len = len;
	f->regs[off / 4 % 4] = value;
}

static const struct bus_ops fake_ops = {.read = fake_read, .write = fake_write};

static void fake_config_written(struct pci_dev *d, unsigned off, unsigned len)
{
	struct fake *f = (struct fake *)d;

	(void)off;
	(void)len;
	f->config_writes++;
}

static int fake_create(struct device *dev, const struct device_args *args,
		       struct error *e)
{
	static const struct pci_ids ids = {
		.vendor = 0x1234,
		.device = 0x5678,
		.class_code = 0xff0000,
		.intx = true,
	};
	struct fake *f = (struct fake *)dev;
	int r = pci_dev_init(&f->pci, args, &ids, e);

	if (r)
		return r;
	f->vram = mem_block_find(dev->m->mem, "fake.ram");
	if (!f->vram)
		f->vram = mem_block_create(dev->m->mem, "fake.ram", 0x10000, e);
	pci_bar_io(&f->pci, 0, PCI_BAR_MEM32, 0x1000, &fake_ops, f);
	pci_bar_io(&f->pci, 1, PCI_BAR_IO, 0x20, &fake_ops, f);
	pci_bar_ram(&f->pci, 2, PCI_BAR_MEM64_PREFETCH, f->vram);
	pci_bar_io(&f->pci, 4, PCI_BAR_MEM64, 0x4000, &fake_ops, f);
	pci_cap_express(&f->pci);
	f->pci.config_written = fake_config_written;
	r = pci_msix_init(&f->pci, 3, 4, 0x1000, e);
	if (!r && args->rom)
		r = pci_rom_load(&f->pci, args->rom, e);
	if (r)
		pci_dev_fini(&f->pci);
	return r;
}

static void fake_destroy(struct device *dev)
{
	pci_dev_fini((struct pci_dev *)dev);
}

static void fake_reset(struct device *dev)
{
	pci_dev_reset((struct pci_dev *)dev);
}

static const struct state_field fake_fields[] = {
	STATE_STRUCTS(struct fake, pci, 1, &pci_dev_state),
};

static const struct state_desc fake_state = {
	.name = "fake",
	.version = 1,
	.oldest = 1,
	.fields = fake_fields,
	.nr_fields = 1,
};

static int fake_loaded(struct device *dev, struct error *e)
{
	(void)e;
	pci_dev_loaded((struct pci_dev *)dev);
	return 0;
}

static const struct device_class fake_class = {
	.name = "fake",
	.bus = DEVICE_ON_PCI,
	.size = sizeof(struct fake),
	.create = fake_create,
	.destroy = fake_destroy,
	.reset = fake_reset,
	.state = &fake_state,
	.loaded = fake_loaded,
};

static struct fake *fake_add(struct board *b, const char *name, int devfn)
{
	struct device_args args = {.devfn = devfn};

	snprintf(args.name, sizeof(args.name), "%s", name);
	return (struct fake *)board_add(b, &fake_class, &args);
}

static int setup(void **state)
{
	struct board *b = board_create();

	board_add(b, &q35_mch_class, &(struct device_args){.name = "mch"});
	board_add(b, &ich9_lpc_class, &(struct device_args){.name = "lpc"});
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	board_destroy(*state);
	return 0;
}

static void header_answers_and_ids_are_fixed(void **state)
{
	struct board *b = *state;

	fake_add(b, "fake", SLOT);
	assert_int_equal(config_in(b, SLOT, 0, 4), 0x56781234);
	config_out(b, SLOT, 0, 0xffffffff, 4);
	assert_int_equal(config_in(b, SLOT, 0, 2), 0x1234);
	assert_int_equal(config_in(b, SLOT, 2, 1), 0x78);
	assert_int_equal(config_in(b, SLOT, 3, 1), 0x56);
	assert_int_equal(config_in(b, SLOT, 0x0b, 1), 0xff);
	assert_int_equal(config_in(b, SLOT, 0x3d, 1), 1);
	/* Nobody at home. */
	assert_int_equal(config_in(b, PCI_DEVFN(9, 0), 0, 4), 0xffffffff);
	/* Not enabled: no configuration access. */
	out(b, 0xcf8, SLOT << 8, 4);
	assert_int_equal(in(b, 0xcfc, 4), 0xffffffff);
}

static void bars_are_sized(void **state)
{
	struct board *b = *state;

	fake_add(b, "fake", SLOT);
	config_out(b, SLOT, 0x10, 0xffffffff, 4);
	assert_int_equal(config_in(b, SLOT, 0x10, 4), 0xfffff000);
	config_out(b, SLOT, 0x14, 0xffffffff, 4);
	assert_int_equal(config_in(b, SLOT, 0x14, 4), 0xffffffe1);
	config_out(b, SLOT, 0x18, 0xffffffff, 4);
	config_out(b, SLOT, 0x1c, 0xffffffff, 4);
	assert_int_equal(config_in(b, SLOT, 0x18, 4), 0xffff000c);
	assert_int_equal(config_in(b, SLOT, 0x1c, 4), 0xffffffff);
	/* No expansion ROM. */
	config_out(b, SLOT, 0x30, 0xffffffff, 4);
	assert_int_equal(config_in(b, SLOT, 0x30, 4), 0);
}

static void sizing_with_decoding_on_hides_nothing(void **state)
{
	struct board *b = *state;
	struct fake *f = fake_add(b, "fake", SLOT);

	mem_block_host(b->rom_block)[BOARD_ROM - 16] = 0xea;
	config_out(b, SLOT, COMMAND, 7, 2);
	config_out(b, SLOT, 0x10, 0xffffffff, 4);
	assert_int_equal(pci_bar_addr(&f->pci, 0), UINT64_MAX);
	assert_int_equal(peek(b, 0xfffffff0, 1), 0xea);
}

static void memory_bar_moves(void **state)
{
	struct board *b = *state;
	struct fake *f = fake_add(b, "fake", SLOT);

	config_out(b, SLOT, 0x10, 0xc0000000, 4);
	poke(b, 0xc0000004, 7, 4);
	assert_int_equal(f->regs[1], 0); /* not decoded yet */
	config_out(b, SLOT, COMMAND, 2, 2);
	assert_int_equal(pci_bar_addr(&f->pci, 0), 0xc0000000);
	poke(b, 0xc0000004, 7, 4);
	assert_int_equal(f->regs[1], 7);
	assert_int_equal(f->last_off, 4);
	config_out(b, SLOT, 0x10, 0xd0000000, 4);
	assert_int_equal(peek(b, 0xc0000004, 4), 0xffffffff);
	assert_int_equal(peek(b, 0xd0000004, 4), 7);
	assert_int_equal(f->pci.bars[0].reads, 1);
	assert_int_equal(f->pci.bars[0].writes, 1);
	config_out(b, SLOT, COMMAND, 0, 2);
	assert_int_equal(peek(b, 0xd0000004, 4), 0xffffffff);
}

static void port_bar_moves(void **state)
{
	struct board *b = *state;
	struct fake *f = fake_add(b, "fake", SLOT);

	config_out(b, SLOT, 0x14, 0xc001, 4);
	config_out(b, SLOT, COMMAND, 1, 2);
	out(b, 0xc008, 0x55aa, 2);
	assert_int_equal(f->regs[2], 0x55aa);
	assert_int_equal(f->last_len, 2);
	config_out(b, SLOT, 0x14, 0xd001, 4);
	assert_int_equal(in(b, 0xd008, 2), 0x55aa);
	assert_int_equal(in(b, 0xc008, 2), 0xffff);
}

static void ram_bar_above_4g(void **state)
{
	struct board *b = *state;
	struct fake *f = fake_add(b, "fake", SLOT);
	uint32_t value = 0x01020304;

	config_out(b, SLOT, 0x18, 0, 4);
	config_out(b, SLOT, 0x1c, 2, 4);
	config_out(b, SLOT, COMMAND, 2, 2);
	assert_int_equal(pci_bar_addr(&f->pci, 2), 0x200000000);
	assert_int_equal(dma_write(b->m.mem, 0x200000010, &value, 4), 0);
	assert_memory_equal(mem_block_host(f->vram) + 0x10, &value, 4);
}

static void ecam_reaches_extended_space(void **state)
{
	struct board *b = *state;
	uint64_t at = Q35_ECAM_BASE + (SLOT << 12);
	struct fake *f = fake_add(b, "fake", SLOT);

	f->pci.config[0x100] = 0x42;
	assert_int_equal(peek(b, at, 4), 0xffffffff);
	config_out(b, 0, 0x60, Q35_ECAM_BASE | 1, 4);
	assert_int_equal(peek(b, at, 4), 0x56781234);
	assert_int_equal(peek(b, at + 2, 1), 0x78);
	assert_int_equal(peek(b, at + 0x100, 1), 0x42);
	poke(b, at + COMMAND, 6, 1);
	assert_true(pci_bus_master(&f->pci));
	/* Another bus is empty. */
	assert_int_equal(peek(b, at + (1 << 20), 4), 0xffffffff);
	config_out(b, 0, 0x60, 0, 4);
	assert_int_equal(peek(b, at, 4), 0xffffffff);
}

static void pin_drives_gsi_and_routed_isa_line(void **state)
{
	struct board *b = *state;
	struct fake *f = fake_add(b, "fake", SLOT);
	unsigned pirq = pci_pirq_of(SLOT, 0);

	assert_int_equal(pirq, 4 + 3);
	pci_intx(&f->pci, true);
	assert_true(b->vm.line[16 + 7]);
	assert_int_equal(config_in(b, SLOT, 0x06, 1) & 8, 8);
	assert_false(b->vm.line[11]);
	/* PIRQH to ISA 11, while it is high. */
	config_out(b, PCI_DEVFN(31, 0), 0x6b, 11, 1);
	assert_true(b->vm.line[11]);
	config_out(b, PCI_DEVFN(31, 0), 0x6b, 10, 1);
	assert_false(b->vm.line[11]);
	assert_true(b->vm.line[10]);
	config_out(b, SLOT, COMMAND, 0x400, 2);
	assert_false(b->vm.line[16 + 7]);
	assert_false(b->vm.line[10]);
	config_out(b, SLOT, COMMAND, 0, 2);
	assert_true(b->vm.line[10]);
	pci_intx(&f->pci, false);
	assert_false(b->vm.line[10]);
	assert_int_equal(config_in(b, SLOT, 0x06, 1) & 8, 0);
}

static void two_functions_share_a_line(void **state)
{
	struct board *b = *state;
	struct fake *f = fake_add(b, "one", SLOT);
	struct fake *g = fake_add(b, "two", PCI_DEVFN(7, 0));

	config_out(b, PCI_DEVFN(31, 0), 0x6b, 11, 1);
	pci_intx(&f->pci, true);
	pci_intx(&g->pci, true);
	pci_intx(&f->pci, false);
	assert_true(b->vm.line[11]);
	assert_true(b->vm.line[23]);
	pci_intx(&g->pci, false);
	assert_false(b->vm.line[11]);
	assert_false(b->vm.line[23]);
}

static void msix_on(struct board *b, struct fake *f, uint16_t control)
{
	config_out(b, SLOT, 0x20, 0xc0000000, 4);
	config_out(b, SLOT, COMMAND, 6, 2);
	config_out(b, SLOT, f->pci.msix.cap + 2, control, 2);
}

static void vector_write(struct board *b, unsigned v, uint32_t addr,
			 uint32_t data, uint32_t control)
{
	poke(b, 0xc0001000 + 16 * v, addr, 4);
	poke(b, 0xc0001004 + 16 * v, 0, 4);
	poke(b, 0xc0001008 + 16 * v, data, 4);
	poke(b, 0xc000100c + 16 * v, control, 4);
}

static void msix_fires_and_keeps_pending(void **state)
{
	struct board *b = *state;
	struct fake *f = fake_add(b, "fake", SLOT);

	pci_msix_fire(&f->pci, 1);
	assert_int_equal(b->vm.messages, 0);
	msix_on(b, f, 0x8000);
	assert_true(pci_msix_enabled(&f->pci));
	pci_msix_fire(&f->pci, 1); /* masked from the start */
	assert_int_equal(b->vm.messages, 0);
	assert_int_equal(peek(b, 0xc0001800, 4), 2);
	vector_write(b, 1, 0xfee00000, 0x31, 0);
	assert_int_equal(b->vm.messages, 1);
	assert_int_equal(b->vm.addr, 0xfee00000);
	assert_int_equal(b->vm.data, 0x31);
	assert_int_equal(peek(b, 0xc0001800, 4), 0);
	pci_msix_fire(&f->pci, 1);
	assert_int_equal(b->vm.messages, 2);
	pci_msix_fire(&f->pci, 3); /* no such vector */
	pci_msix_fire(&f->pci, 1000);
	assert_int_equal(b->vm.messages, 2);
}

static void msix_function_mask(void **state)
{
	struct board *b = *state;
	struct fake *f = fake_add(b, "fake", SLOT);

	msix_on(b, f, 0xc000);
	vector_write(b, 0, 0xfee01000, 0x41, 0);
	pci_msix_fire(&f->pci, 0);
	assert_int_equal(b->vm.messages, 0);
	config_out(b, SLOT, f->pci.msix.cap + 2, 0x8000, 2);
	assert_int_equal(b->vm.messages, 1);
	assert_int_equal(b->vm.data, 0x41);
	/* A new message takes effect at once. */
	poke(b, 0xc0001008, 0x42, 4);
	pci_msix_fire(&f->pci, 0);
	assert_int_equal(b->vm.data, 0x42);
	config_out(b, SLOT, f->pci.msix.cap + 2, 0, 2);
	pci_msix_fire(&f->pci, 0);
	assert_int_equal(b->vm.messages, 2);
}

static void msix_table_ignores_strange_accesses(void **state)
{
	struct board *b = *state;
	struct fake *f = fake_add(b, "fake", SLOT);

	msix_on(b, f, 0x8000);
	vector_write(b, 0, 0xfee00003, 0x41, 1);
	assert_int_equal(peek(b, 0xc0001000, 4), 0xfee00000);
	poke(b, 0xc0001000, 0x11, 1);
	poke(b, 0xc0001002, 0x2222, 2);
	assert_int_equal(peek(b, 0xc0001000, 4), 0xfee00000);
	poke(b, 0xc0001000 + 16 * 3, 0xffffffff, 4); /* past the last */
	assert_int_equal(peek(b, 0xc0001000 + 16 * 3, 4), 0);
	poke(b, 0xc0001800, 0xffffffff, 4); /* pending bits: read-only */
	assert_int_equal(peek(b, 0xc0001800, 4), 0);
	poke(b, 0xc0001ffc, 0xffffffff, 4);
}

static void capabilities_form_a_list(void **state)
{
	struct board *b = *state;
	unsigned at, nr = 0, seen = 0;

	fake_add(b, "fake", SLOT);
	assert_int_equal(config_in(b, SLOT, 0x06, 2) & 0x10, 0x10);
	at = config_in(b, SLOT, 0x34, 1);
	for (; at && nr < 8; nr++) {
		seen |= config_in(b, SLOT, at, 1) == 0x10 ? 1 : 0;
		seen |= config_in(b, SLOT, at, 1) == 0x11 ? 2 : 0;
		at = config_in(b, SLOT, at + 1, 1);
	}
	assert_int_equal(nr, 2);
	assert_int_equal(seen, 3);
}

static void reset_undoes_what_the_guest_did(void **state)
{
	struct board *b = *state;
	struct fake *f = fake_add(b, "fake", SLOT);

	msix_on(b, f, 0x8000);
	vector_write(b, 0, 0xfee00000, 0x41, 0);
	pci_intx(&f->pci, true);
	f->pci.dev.cls->reset(&f->pci.dev);
	bus_commit(b->m.bus, NULL);
	assert_int_equal(config_in(b, SLOT, COMMAND, 2), 0);
	assert_int_equal(config_in(b, SLOT, 0x20, 4), 4);
	assert_false(pci_msix_enabled(&f->pci));
	assert_false(b->vm.line[23]);
	assert_int_equal(peek(b, 0xc0001000, 4), 0xffffffff);
	msix_on(b, f, 0x8000);
	assert_int_equal(peek(b, 0xc000100c, 4), 1);
	assert_int_equal(peek(b, 0xc0001000, 4), 0);
}

static void state_moves(void **state)
{
	struct board *b = *state, *other = board_create();
	struct fake *f = fake_add(b, "fake", SLOT), *g;

	board_add(other, &q35_mch_class, &(struct device_args){.name = "mch"});
	g = fake_add(other, "fake", SLOT);
	msix_on(b, f, 0x8000);
	vector_write(b, 2, 0xfee00000, 0x77, 1);
	pci_msix_fire(&f->pci, 2);
	pci_intx(&f->pci, true);
	board_move_state(&f->pci.dev, &g->pci.dev);
	assert_int_equal(pci_bar_addr(&g->pci, 4), 0xc0000000);
	assert_true(other->vm.line[23]);
	poke(other, 0xc000102c, 0, 4);
	assert_int_equal(other->vm.messages, 1);
	assert_int_equal(other->vm.data, 0x77);
	board_destroy(other);
}

static void state_of_another_device_is_refused(void **state)
{
	struct board *b = *state;
	struct fake *f = fake_add(b, "fake", SLOT);
	struct state_buf buf = {0};
	struct error e = {0};

	f->pci.config[0] ^= 1;
	assert_int_equal(state_save(&buf, &fake_state, "fake", f, &e), 0);
	f->pci.config[0] ^= 1;
	assert_true(state_load(&buf, &fake_state, "fake", f, &e) < 0);
	assert_non_null(strstr(e.msg, "1234:5678"));
	state_buf_fini(&buf);
}

static void places_are_found_and_refused(void **state)
{
	struct board *b = *state;
	struct device_args args = {.name = "third", .devfn = SLOT};
	struct error e = {0};
	struct fake *f = fake_add(b, "first", -1);

	assert_int_equal(f->pci.devfn, PCI_DEVFN(1, 0));
	assert_int_equal(config_in(b, PCI_DEVFN(1, 0), 0x0e, 1), 0);
	fake_add(b, "second", PCI_DEVFN(1, 2));
	assert_int_equal(config_in(b, PCI_DEVFN(1, 0), 0x0e, 1), 0x80);
	fake_add(b, "taken", SLOT);
	assert_null(device_create(&b->m, &fake_class, &args, &e));
	assert_int_equal(e.code, -EBUSY);
}

static void rom_is_decoded_when_enabled(void **state)
{
	struct board *b = *state;
	struct device_args args = {.name = "fake", .devfn = SLOT};
	char path[] = "/tmp/binnacle-rom-XXXXXX";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, "\x55\xaa\x01", 3), 3);
	close(fd);
	args.rom = path;
	board_add(b, &fake_class, &args);
	unlink(path);
	config_out(b, SLOT, 0x30, 0xfffff800, 4);
	assert_int_equal(config_in(b, SLOT, 0x30, 4), 0xfffff000);
	config_out(b, SLOT, 0x30, 0xc0100000, 4);
	config_out(b, SLOT, COMMAND, 2, 2);
	assert_int_equal(peek(b, 0xc0100000, 2), 0xffff);
	config_out(b, SLOT, 0x30, 0xc0100001, 4);
	assert_int_equal(peek(b, 0xc0100000, 2), 0xaa55);
	poke(b, 0xc0100000, 0, 2);
	assert_int_equal(peek(b, 0xc0100000, 2), 0xaa55);
}

static void missing_rom_is_an_error(void **state)
{
	struct board *b = *state;
	struct device_args args = {
		.name = "fake", .devfn = SLOT, .rom = "/nonexistent/x.rom"};
	struct error e = {0};

	assert_null(device_create(&b->m, &fake_class, &args, &e));
	assert_non_null(strstr(e.msg, "/nonexistent/x.rom"));
	bus_commit(b->m.bus, NULL);
	assert_int_equal(config_in(b, SLOT, 0, 4), 0xffffffff);
}

struct race {
	struct board *b;
	struct fake *f;
	pthread_barrier_t start, end;
	int stop;
};

static void *race_fire(void *arg)
{
	struct race *r = arg;

	for (;;) {
		pthread_barrier_wait(&r->start);
		if (r->stop)
			return NULL;
		pci_msix_fire(&r->f->pci, 0);
		pthread_barrier_wait(&r->end);
	}
}

/* However a fire meets an unmask, the guest hears of it once, at least by the
 * time that the vector stays unmasked. */
static void msix_loses_nothing_to_a_race(void **state)
{
	struct board *b = *state;
	struct race r = {.b = b, .f = fake_add(b, "fake", SLOT)};
	pthread_t thread;

	msix_on(b, r.f, 0x8000);
	vector_write(b, 0, 0xfee00000, 0x41, 1);
	pthread_barrier_init(&r.start, NULL, 2);
	pthread_barrier_init(&r.end, NULL, 2);
	assert_int_equal(pthread_create(&thread, NULL, race_fire, &r), 0);
	for (unsigned i = 0; i < 3000; i++) {
		pthread_barrier_wait(&r.start);
		for (unsigned k = 0; k <= i % 5; k++)
			poke(b, 0xc000100c, k % 2, 4);
		pthread_barrier_wait(&r.end);
		poke(b, 0xc000100c, 0, 4);
		assert_int_equal(b->vm.messages, i + 1);
		assert_int_equal(peek(b, 0xc0001800, 4), 0);
		poke(b, 0xc000100c, 1, 4);
	}
	r.stop = 1;
	pthread_barrier_wait(&r.start);
	pthread_join(thread, NULL);
	pthread_barrier_destroy(&r.start);
	pthread_barrier_destroy(&r.end);
}

/* Any access of any length anywhere in configuration space. */
static void wild_config_accesses(void **state)
{
	struct board *b = *state;
	unsigned seed = 7;

	fake_add(b, "fake", SLOT);
	config_out(b, 0, 0x60, Q35_ECAM_BASE | 1, 4);
	for (unsigned i = 0; i < 20000; i++) {
		uint64_t at =
			Q35_ECAM_BASE + (SLOT << 12) + rand_r(&seed) % 4096;
		unsigned len = 1u << rand_r(&seed) % 3;

		if ((at & 4095) + len > 4096)
			continue;
		if (rand_r(&seed) & 1)
			poke(b, at, rand_r(&seed), len);
		else
			peek(b, at, len);
	}
	assert_int_equal(config_in(b, SLOT, 0, 4), 0x56781234);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(header_answers_and_ids_are_fixed),
		T(bars_are_sized),
		T(sizing_with_decoding_on_hides_nothing),
		T(memory_bar_moves),
		T(port_bar_moves),
		T(ram_bar_above_4g),
		T(ecam_reaches_extended_space),
		T(pin_drives_gsi_and_routed_isa_line),
		T(two_functions_share_a_line),
		T(msix_fires_and_keeps_pending),
		T(msix_function_mask),
		T(msix_table_ignores_strange_accesses),
		T(msix_loses_nothing_to_a_race),
		T(capabilities_form_a_list),
		T(reset_undoes_what_the_guest_did),
		T(state_moves),
		T(state_of_another_device_is_refused),
		T(places_are_found_and_refused),
		T(rom_is_decoded_when_enabled),
		T(missing_rom_is_an_error),
		T(wild_config_accesses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
