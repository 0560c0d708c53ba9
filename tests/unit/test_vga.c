/* The VGA behind its ports and windows: text, graphics, hostile values. */
#include "tests/unit/fake_accel.h"

#include <stdio.h>

#include "core/bus.h"
#include "core/console.h"
#include "core/device.h"
#include "core/error.h"
#include "core/hw/display/display.h"
#include "core/hw/pci.h"
#include "core/memory.h"
#include "core/migration/state.h"

#define LFB   0xe0000000u
#define MMIO  0xe2000000u
#define TEXT  0xb8000u
#define PLANE 0xa0000u

struct fixture {
	struct accel_vm vm;
	struct machine m;
	struct device *dev;
	struct ram_block *vram;
	struct console_viewer *viewer;
	struct console_text text;
	struct console_info info;
	uint32_t px[2048 * 1024];
};

static struct fixture *make(void)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct device_args args = {.name = "vga", .devfn = -1, .rom = ""};
	struct machine *m = &f->m;
	struct pci_dev *pci;
	struct error e;

	m->world = world_create();
	m->mem = mem_create(&fake_accel, &f->vm, m->world, NULL, &e);
	m->bus = bus_create(m->mem);
	m->irq = irq_hub_create(&fake_accel, &f->vm, &e);
	m->console = console_create();
	m->pci = pci_host_create(m, &e);
	f->dev = device_create(m, &vga_class, &args, &e);
	assert_non_null(f->dev);
	pci = (struct pci_dev *)f->dev;
	pci_config_write(pci, 0x10, LFB, 4);
	pci_config_write(pci, 0x18, MMIO, 4);
	pci_config_write(pci, 0x04, 3, 2);
	bus_commit(m->bus, NULL);
	f->vram = mem_block_find(m->mem, "vga.vram");
	f->viewer = console_viewer_create(m->console, 30);
	return f;
}

static void unmake(struct fixture *f)
{
	struct machine *m = &f->m;

	console_viewer_destroy(f->viewer);
	device_destroy(f->dev);
	pci_host_destroy(m->pci);
	bus_commit(m->bus, NULL);
	console_destroy(m->console);
	irq_hub_destroy(m->irq);
	bus_destroy(m->bus);
	mem_destroy(m->mem);
	world_destroy(m->world);
	fake_fini(&f->vm);
	free(f);
}

static int setup(void **state)
{
	*state = make();
	return 0;
}

static int teardown(void **state)
{
	unmake(*state);
	return 0;
}

static void out(struct fixture *f, uint16_t port, uint32_t value, unsigned len)
{
	bus_pio(f->m.bus, NULL, port, &value, len, 1, true);
}

static uint32_t in(struct fixture *f, uint16_t port, unsigned len)
{
	uint32_t value = 0;

	bus_pio(f->m.bus, NULL, port, &value, len, 1, false);
	return value;
}

static void poke(struct fixture *f, uint64_t gpa, uint64_t value, unsigned len)
{
	bus_mmio(f->m.bus, NULL, gpa, &value, len, true);
}

static uint64_t peek(struct fixture *f, uint64_t gpa, unsigned len)
{
	uint64_t value = 0;

	bus_mmio(f->m.bus, NULL, gpa, &value, len, false);
	return value;
}

static void seq(struct fixture *f, unsigned i, unsigned v)
{
	out(f, 0x3c4, i | v << 8, 2);
}

static void gfx(struct fixture *f, unsigned i, unsigned v)
{
	out(f, 0x3ce, i | v << 8, 2);
}

static void crtc(struct fixture *f, unsigned i, unsigned v)
{
	out(f, 0x3d4, i | v << 8, 2);
}

static void dispi(struct fixture *f, unsigned i, unsigned v)
{
	out(f, 0x1ce, i, 2);
	out(f, 0x1cf, v, 2);
}

static unsigned dispi_get(struct fixture *f, unsigned i)
{
	out(f, 0x1ce, i, 2);
	return in(f, 0x1cf, 2);
}

struct vga_table {
	uint8_t misc, seq[5], crtc[25], gfx[9], attr[21];
};

static const struct vga_table mode_text = {
	.misc = 0x67,
	.seq = {3, 0, 3, 0, 2},
	.crtc = {0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0,
		 0x4f, 0x0d, 0x0e, 0,	 0,    0,    0,	   0x9c, 0x8e,
		 0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff},
	.gfx = {0, 0, 0, 0, 0, 0x10, 0x0e, 0, 0xff},
	.attr = {0,    1,    2,	   3,	 4,    5,    0x14,
		 7,    0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d,
		 0x3e, 0x3f, 0x0c, 0,	 0x0f, 8,    0},
};

static const struct vga_table mode_13 = {
	.misc = 0x63,
	.seq = {3, 1, 0x0f, 0, 0x0e},
	.crtc = {0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0xbf, 0x1f, 0,
		 0x41, 0,    0,	   0,	 0,    0,    0,	   0x9c, 0x8e,
		 0x8f, 0x28, 0x40, 0x96, 0xb9, 0xa3, 0xff},
	.gfx = {0, 0, 0, 0, 0, 0x40, 0x05, 0x0f, 0xff},
	.attr = {0,  1,	 2,  3,	 4,  5,	   6, 7,    8, 9, 10,
		 11, 12, 13, 14, 15, 0x41, 0, 0x0f, 0, 0},
};

static const struct vga_table mode_12 = {
	.misc = 0xe3,
	.seq = {3, 1, 0x0f, 0, 0x06},
	.crtc = {0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0x0b, 0x3e, 0,
		 0x40, 0,    0,	   0,	 0,    0,    0,	   0xea, 0x8c,
		 0xdf, 0x28, 0,	   0xe7, 0x04, 0xe3, 0xff},
	.gfx = {0, 0, 0, 0, 0, 0, 0x05, 0x0f, 0xff},
	.attr = {0,    1,    2,	   3,	 4,    5, 0x14, 7,    0x38, 0x39, 0x3a,
		 0x3b, 0x3c, 0x3d, 0x3e, 0x3f, 1, 0,	0x0f, 0,    0},
};

static void set_mode(struct fixture *f, const struct vga_table *t)
{
	unsigned i;

	out(f, 0x3c2, t->misc, 1);
	for (i = 0; i < 5; i++)
		seq(f, i, t->seq[i]);
	crtc(f, 0x11, 0);
	for (i = 0; i < 25; i++)
		crtc(f, i, t->crtc[i]);
	for (i = 0; i < 9; i++)
		gfx(f, i, t->gfx[i]);
	in(f, 0x3da, 1);
	for (i = 0; i < 21; i++) {
		out(f, 0x3c0, i, 1);
		out(f, 0x3c0, t->attr[i], 1);
	}
	out(f, 0x3c0, 0x20, 1);
	out(f, 0x3c8, 0, 1);
	for (i = 0; i < 256; i++) {
		out(f, 0x3c9, i & 63, 1);
		out(f, 0x3c9, i * 2 & 63, 1);
		out(f, 0x3c9, (63 - i) & 63, 1);
	}
}

/* The colour that set_mode gives to an entry of the DAC. */
static uint32_t dac(unsigned i)
{
	uint32_t r = i & 63, g = i * 2 & 63, b = (63 - i) & 63;

	return (r << 2 | r >> 4) << 16 | (g << 2 | g >> 4) << 8 |
	       (b << 2 | b >> 4);
}

static void look(struct fixture *f)
{
	struct console_rect all = {0, 0, 2048, 1024};

	console_refresh(f->m.console);
	console_info(f->m.console, &f->info);
	if (f->info.width <= 2048 && f->info.height <= 1024)
		assert_true(console_copy_pixels(
			f->m.console, f->info.generation, all, f->px, 2048));
	console_copy_text(f->m.console, &f->text);
}

static uint32_t at(struct fixture *f, int x, int y)
{
	return f->px[y * 2048 + x];
}

/* A glyph of one repeated line into plane 2, as a BIOS loads fonts. */
static void load_glyph(struct fixture *f, unsigned ch, uint8_t bits)
{
	unsigned i;

	seq(f, 2, 4);
	seq(f, 4, 7);
	gfx(f, 5, 0);
	gfx(f, 6, 4);
	for (i = 0; i < 16; i++)
		poke(f, PLANE + ch * 32 + i, bits, 1);
	seq(f, 2, 3);
	seq(f, 4, 2);
	gfx(f, 5, 0x10);
	gfx(f, 6, 0x0e);
}

static void test_text_mode(void **state)
{
	struct fixture *f = *state;
	struct console_rect r;

	set_mode(f, &mode_text);
	load_glyph(f, 'A', 0x81);
	load_glyph(f, 0xc4, 0xff);
	poke(f, TEXT, 0x4f41, 2); /* white on red */
	poke(f, TEXT + 2, 0x02c4, 2);
	poke(f, TEXT + 2 * (24 * 80 + 79), 'z', 1);
	crtc(f, 0x0e, 0);
	crtc(f, 0x0f, 85);
	look(f);
	assert_true(f->info.is_text);
	assert_int_equal(f->info.width, 720);
	assert_int_equal(f->info.height, 400);
	assert_int_equal(f->text.cols, 80);
	assert_int_equal(f->text.rows, 25);
	assert_int_equal(f->text.cells[0][0].ch, 'A');
	assert_int_equal(f->text.cells[0][0].attr, 0x4f);
	assert_int_equal(f->text.cells[24][79].ch, 'z');
	assert_int_equal(f->text.cursor_row, 1);
	assert_int_equal(f->text.cursor_col, 5);
	assert_int_equal(peek(f, TEXT, 2), 0x4f41);
	assert_int_equal(at(f, 0, 3), dac(0x3f));
	assert_int_equal(at(f, 1, 3), dac(4));
	assert_int_equal(at(f, 7, 3), dac(0x3f));
	assert_int_equal(at(f, 8, 3), dac(4));	   /* the ninth column */
	assert_int_equal(at(f, 9 + 8, 3), dac(2)); /* of a line graphic */

	/* Nothing new: viewers hear nothing but the cursor's blinking. */
	console_viewer_take(f->viewer, &r);
	look(f);
	if (console_viewer_take(f->viewer, &r)) {
		assert_int_equal(r.x, 45);
		assert_int_equal(r.y, 16);
	}
	crtc(f, 0x0a, 0x20); /* no cursor */
	look(f);
	assert_int_equal(f->text.cursor_row, -1);
	console_viewer_take(f->viewer, &r);
	poke(f, TEXT + 2 * (2 * 80 + 3), 0x0741, 2);
	look(f);
	assert_true(console_viewer_take(f->viewer, &r));
	assert_int_equal(r.x, 27);
	assert_int_equal(r.y, 32);
	assert_int_equal(r.w, 9);
	assert_int_equal(r.h, 16);

	/* Scrolled by the start address. */
	crtc(f, 0x0d, 80 * 2);
	look(f);
	assert_int_equal(f->text.cells[0][3].ch, 'A');
	/* Another font, another picture. */
	load_glyph(f, 'A', 0x18);
	look(f);
	assert_int_equal(at(f, 27 + 3, 0), at(f, 27 + 4, 5));
	assert_int_not_equal(at(f, 27 + 3, 0), at(f, 27, 0));
}

static void test_256_colours(void **state)
{
	struct fixture *f = *state;
	const struct mem_flat *flat;
	struct console_rect r;

	set_mode(f, &mode_13);
	look(f);
	assert_false(f->info.is_text);
	assert_int_equal(f->info.width, 640);
	assert_int_equal(f->info.height, 400);
	/* The window is plain memory now. */
	bus_commit(f->m.bus, NULL);
	flat = mem_find(f->m.mem, PLANE);
	assert_non_null(flat);
	assert_ptr_equal(flat->host, mem_block_host(f->vram));
	flat->host[320 * 10 + 7] = 200;
	fake_write(&f->vm, PLANE + 320 * 10 + 7);
	console_viewer_take(f->viewer, &r);
	look(f);
	assert_int_equal(at(f, 14, 20), dac(200));
	assert_int_equal(at(f, 15, 21), dac(200));
	assert_int_equal(at(f, 16, 20), dac(0));
	assert_int_equal(at(f, 14, 22), dac(0));
	assert_true(console_viewer_take(f->viewer, &r));
	assert_int_equal(r.x, 14);
	assert_int_equal(r.y, 20);
	assert_int_equal(r.w, 2);
	assert_int_equal(r.h, 2);
	/* A new palette shows without a write to memory. */
	out(f, 0x3c8, 200, 1);
	out(f, 0x3c9, 63, 1);
	out(f, 0x3c9, 63, 1);
	out(f, 0x3c9, 63, 1);
	look(f);
	assert_int_equal(at(f, 14, 20), 0xffffff);
	/* Planes apart: the window has its handlers back. */
	seq(f, 2, 1);
	bus_commit(f->m.bus, NULL);
	assert_null(mem_find(f->m.mem, PLANE)->host);
	poke(f, PLANE, 0x09080706, 4);
	assert_int_equal(peek(f, PLANE, 4), 0x06);
}

static void test_planar(void **state)
{
	struct fixture *f = *state;
	unsigned c;

	set_mode(f, &mode_12);
	look(f);
	assert_int_equal(f->info.width, 640);
	assert_int_equal(f->info.height, 480);
	/* Write mode 2: a colour through a bit mask. */
	gfx(f, 5, 2);
	for (c = 0; c < 8; c++) {
		gfx(f, 8, 0x80 >> c);
		peek(f, PLANE + 80, 1);
		poke(f, PLANE + 80, c + 8, 1);
	}
	look(f);
	for (c = 0; c < 8; c++)
		assert_int_equal(at(f, (int)c, 1), dac(0x38 + c));
	/* Write mode 0: set/reset on planes 0 and 3, the rest from the CPU,
	 * rotated, combined with the latch. */
	gfx(f, 5, 0);
	gfx(f, 8, 0xff);
	gfx(f, 0, 0x8);
	gfx(f, 1, 0x9);
	gfx(f, 3, 4);
	poke(f, PLANE, 0x0f, 1);
	gfx(f, 1, 0);
	gfx(f, 3, 0);
	for (c = 0; c < 4; c++) {
		gfx(f, 4, c);
		assert_int_equal(peek(f, PLANE, 1), c == 0   ? 0x00
						    : c == 3 ? 0xff
							     : 0xf0);
	}
	peek(f, PLANE, 1);
	gfx(f, 3, 3 << 3); /* exclusive or */
	poke(f, PLANE, 0xff, 1);
	gfx(f, 3, 0);
	gfx(f, 4, 0);
	assert_int_equal(peek(f, PLANE, 1), 0xff);
	gfx(f, 4, 3);
	assert_int_equal(peek(f, PLANE, 1), 0x00);
	/* Read mode 1: which pixels have colour 1. */
	gfx(f, 5, 8);
	gfx(f, 2, 1);
	gfx(f, 7, 0x0f);
	assert_int_equal(peek(f, PLANE, 1), 0xf0);
	/* Write mode 1 copies the latch, mode 3 masks with the CPU's byte. */
	gfx(f, 5, 1);
	peek(f, PLANE, 1);
	poke(f, PLANE + 5, 0, 1);
	gfx(f, 5, 3);
	gfx(f, 0, 4);
	peek(f, PLANE + 5, 1);
	poke(f, PLANE + 5, 0x80, 1);
	look(f);
	assert_int_equal(at(f, 40, 0), dac(4));
	assert_int_equal(at(f, 41, 0), dac(1));
	/* The split line starts again at the first address. */
	crtc(f, 7, 0x3e & ~0x10);
	crtc(f, 9, 0);
	crtc(f, 0x18, 99);
	look(f);
	assert_int_equal(at(f, 41, 100), dac(1));
}

static void lfb_write(struct fixture *f, uint32_t off, uint32_t value,
		      unsigned len)
{
	memcpy(mem_block_host(f->vram) + off, &value, len);
	fake_write(&f->vm, LFB + off);
}

static void lfb_mode(struct fixture *f, unsigned w, unsigned h, unsigned bpp)
{
	dispi(f, 4, 0);
	dispi(f, 1, w);
	dispi(f, 2, h);
	dispi(f, 3, bpp);
	dispi(f, 4, 0x41);
}

static void test_linear(void **state)
{
	static const struct {
		unsigned bpp, bytes;
		uint32_t value, want;
	} cases[] = {
		{8, 1, 77, 0},
		{15, 2, 0x7c1f, 0xff00ff},
		{16, 2, 0x07e0, 0x00ff00},
		{24, 3, 0x123456, 0x123456},
		{32, 4, 0xff123456, 0x123456},
	};
	struct fixture *f = *state;
	size_t i;

	set_mode(f, &mode_text);
	assert_int_equal(dispi_get(f, 0), 0xb0c5);
	assert_int_equal(dispi_get(f, 10), 256);
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		unsigned pitch = 640 * cases[i].bytes;

		lfb_mode(f, 640, 480, cases[i].bpp);
		look(f);
		assert_int_equal(f->info.width, 640);
		assert_int_equal(f->info.height, 480);
		lfb_write(f, pitch * 479 + 639 * cases[i].bytes, cases[i].value,
			  cases[i].bytes);
		look(f);
		assert_int_equal(at(f, 639, 479),
				 cases[i].want ? cases[i].want : dac(77));
		assert_int_equal(at(f, 638, 479), cases[i].want ? 0 : dac(0));
	}
	/* A wider virtual screen, moved under the window. */
	dispi(f, 6, 1000);
	dispi(f, 8, 16);
	dispi(f, 9, 3);
	lfb_write(f, (3 * 1000 + 16) * 4, 0xabcdef, 4);
	look(f);
	assert_int_equal(at(f, 0, 0), 0xabcdef);
	/* Cleared when it is set anew, unless asked otherwise. */
	lfb_mode(f, 800, 600, 32);
	look(f);
	assert_int_equal(at(f, 0, 0), 0);
	lfb_write(f, 0, 0x445566, 4);
	dispi(f, 4, 0);
	look(f);
	assert_true(f->info.is_text);
	dispi(f, 4, 0xc1);
	look(f);
	assert_int_equal(at(f, 0, 0), 0x445566);
	/* BAR 2 has the same registers. */
	assert_int_equal(peek(f, MMIO + 0x500 + 2, 2), 800);
	poke(f, MMIO + 0x500 + 2 * 4, 0, 2);
	assert_int_equal(dispi_get(f, 4), 0);
	assert_int_equal(peek(f, MMIO + 0x40c, 1), 0x67);
	/* What it can do at most. */
	dispi(f, 4, 2);
	assert_int_equal(dispi_get(f, 1), CONSOLE_MAX_WIDTH);
	assert_int_equal(dispi_get(f, 3), 32);
}

static void test_banked_window(void **state)
{
	struct fixture *f = *state;

	set_mode(f, &mode_13);
	lfb_mode(f, 1024, 768, 8);
	dispi(f, 5, 3);
	bus_commit(f->m.bus, NULL);
	poke(f, PLANE + 5, 0x42, 1);
	assert_int_equal(mem_block_host(f->vram)[3 * 65536 + 5], 0x42);
	dispi(f, 5, 0xffff);
	poke(f, PLANE + 0xffff, 0x43, 1);
	assert_int_equal(mem_block_host(f->vram)[(16 << 20) - 1], 0x43);
	look(f);
	assert_int_equal(at(f, 5, 192), dac(0x42));
}

static void test_blank(void **state)
{
	struct fixture *f = *state;

	look(f); /* power-on: nothing is shown, and nothing breaks */
	assert_true(f->info.width > 0);
	set_mode(f, &mode_text);
	poke(f, TEXT, 0x0741, 2);
	look(f);
	assert_int_equal(f->text.cells[0][0].ch, 'A');
	in(f, 0x3da, 1);
	out(f, 0x3c0, 0, 1); /* the palette is the CPU's: dark */
	look(f);
	assert_true(f->info.is_text);
	assert_int_equal(f->text.cells[0][0].ch, 0);
	assert_int_equal(at(f, 0, 0), 0);
	out(f, 0x3c0, 0x20, 1);
	in(f, 0x3da, 1);
	out(f, 0x3c0, 0x20, 1);
	look(f);
	assert_int_equal(f->text.cells[0][0].ch, 'A');
}

static uint32_t rng(uint32_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 17;
	*s ^= *s << 5;
	return *s;
}

static void wild_write(struct fixture *f, uint32_t *s)
{
	uint32_t v = rng(s);

	switch (rng(s) % 6) {
	case 0:
		crtc(f, v % 0x19, v >> 8 & 0xff);
		break;
	case 1:
		seq(f, v % 8, v >> 8 & 0xff);
		break;
	case 2:
		gfx(f, v % 9, v >> 8 & 0xff);
		break;
	case 3:
		dispi(f, v % 12, v >> 8 & (v >> 31 ? 0xffff : 0x7ff));
		break;
	case 4:
		out(f, (uint16_t)(0x3b0 + v % 0x30), v >> 8,
		    1u << (v >> 30) % 3);
		break;
	case 5:
		poke(f, PLANE + v % 0x1fff8, rng(s), 1u << (v >> 30));
		peek(f, PLANE + (v >> 3) % 0x1fff8, 1u << (v >> 28 & 3));
		break;
	}
}

/* Whatever the registers say: no access outside the video memory (the
 * sanitizers watch), and a surface within its limits. */
static void test_hostile_registers(void **state)
{
	struct fixture *f = *state;
	uint32_t s = 20231;
	int i, k;

	for (i = 0; i < 400; i++) {
		if (i % 8 == 0)
			set_mode(f, i % 16 ? &mode_12 : &mode_text);
		if (i % 8 == 4)
			lfb_mode(f, rng(&s) & 0xffff, rng(&s) & 0xffff,
				 rng(&s) % 40);
		for (k = 0; k < 20; k++)
			wild_write(f, &s);
		in(f, 0x3da, 1);
		if (i % 3)
			out(f, 0x3c0, 0x20, 1);
		bus_commit(f->m.bus, NULL);
		mem_block_mark(f->vram, rng(&s) % (16 << 20), 1 << 20);
		console_refresh(f->m.console);
		console_info(f->m.console, &f->info);
		assert_in_range(f->info.width, 1, CONSOLE_MAX_WIDTH);
		assert_in_range(f->info.height, 1, CONSOLE_MAX_HEIGHT);
	}
	assert_false(f->dev->failed);
}

static void test_hostile_sizes(void **state)
{
	struct fixture *f = *state;
	uint64_t end;

	lfb_mode(f, 0xffff, 0xffff, 32);
	dispi(f, 6, 0xffff);
	dispi(f, 8, 0xffff);
	dispi(f, 9, 0xffff);
	end = ((uint64_t)dispi_get(f, 9) + dispi_get(f, 2)) * dispi_get(f, 6) *
	      4;
	assert_true(end <= 16 << 20);
	assert_true(dispi_get(f, 8) + dispi_get(f, 1) <= dispi_get(f, 6));
	look(f);
	lfb_mode(f, 0, 0, 0);
	look(f);
	assert_int_equal(f->info.width, 8);
	assert_int_equal(f->info.height, 1);
}

static void test_state(void **state)
{
	struct fixture *f = *state, *g = make();
	struct state_buf buf = {0};
	struct error e = {0};
	size_t i;
	int refused = 0;

	set_mode(f, &mode_text);
	load_glyph(f, 'A', 0x81);
	poke(f, TEXT, 0x1f41, 2);
	out(f, 0x3c8, 9, 1);
	out(f, 0x3c9, 1, 1); /* in the middle of a colour */
	look(f);
	assert_int_equal(state_save(&buf, vga_class.state, "vga", f->dev, &e),
			 0);
	memcpy(mem_block_host(g->vram), mem_block_host(f->vram), 1 << 20);
	if (state_load(&buf, vga_class.state, "vga", g->dev, &e))
		fail_msg("%s", e.msg);
	assert_int_equal(vga_class.loaded(g->dev, &e), 0);
	bus_commit(g->m.bus, NULL);
	crtc(f, 0x0a, 0x20); /* whether the cursor is lit depends on time */
	crtc(g, 0x0a, 0x20);
	look(f);
	look(g);
	assert_memory_equal(&f->text, &g->text, sizeof(f->text));
	assert_memory_equal(f->px, g->px, sizeof(f->px));
	out(g, 0x3c9, 2, 1);
	out(g, 0x3c9, 3, 1);
	out(g, 0x3c7, 9, 1);
	assert_int_equal(in(g, 0x3c9, 1), 1);
	assert_int_equal(in(g, 0x3c9, 1), 2);

	/* Damaged bytes are refused or harmless. */
	for (i = 0; i < buf.len; i += 3) {
		uint8_t old = buf.data[i];

		buf.data[i] ^= 0xff;
		buf.pos = 0;
		if (state_load(&buf, vga_class.state, "vga", g->dev, &e)) {
			refused++;
		} else {
			vga_class.loaded(g->dev, &e);
			bus_commit(g->m.bus, NULL);
			console_refresh(g->m.console);
		}
		buf.data[i] = old;
	}
	assert_true(refused > 0);
	state_buf_fini(&buf);
	unmake(g);
}

static void test_reset(void **state)
{
	struct fixture *f = *state;

	lfb_mode(f, 640, 480, 32);
	look(f);
	vga_class.reset(f->dev);
	bus_commit(f->m.bus, NULL);
	look(f);
	assert_int_equal(dispi_get(f, 4), 0);
	assert_int_equal(pci_bar_addr((struct pci_dev *)f->dev, 0), UINT64_MAX);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_text_mode),
		TEST(test_256_colours),
		TEST(test_planar),
		TEST(test_linear),
		TEST(test_banked_window),
		TEST(test_blank),
		TEST(test_hostile_registers),
		TEST(test_hostile_sizes),
		TEST(test_state),
		TEST(test_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
