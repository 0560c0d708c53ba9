/*
 * The text mode that a video BIOS leaves behind, for a boot without one: the
 * registers of mode 3 (80x25 characters of 8x16), its palette, and the
 * character generator from the video BIOS's file.
 */
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "core/hw/display/display.h"
#include "core/hw/display/vga.h"

#define VGA_BIOS    "/usr/share/seabios/vgabios-stdvga.bin"
#define ROM_MAX	    0x10000
#define FONT_LEN    4096
#define GLYPH_LEN   16
#define TEXT_WINDOW 0x18000 /* of 0xb8000 in the window */
#define CELLS	    (80 * 25)

static void write_indexed(struct vga *v, uint16_t port, const uint8_t *values,
			  unsigned nr)
{
	for (unsigned i = 0; i < nr; i++) {
		vga_reg_write(v, port, (uint8_t)i);
		vga_reg_write(v, port + 1, values[i]);
	}
}

static void write_one(struct vga *v, uint16_t port, uint8_t index,
		      uint8_t value)
{
	vga_reg_write(v, port, index);
	vga_reg_write(v, port + 1, value);
}

static void set_mode_3(struct vga *v)
{
	static const uint8_t seq[] = {3, 0, 3, 0, 2};
	static const uint8_t crtc[] = {0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf,
				       0x1f, 0x00, 0x4f, 0x0d, 0x0e, 0x00, 0x00,
				       0x00, 0x00, 0x9c, 0x0e, 0x8f, 0x28, 0x1f,
				       0x96, 0xb9, 0xa3, 0xff};
	static const uint8_t gfx[] = {0, 0, 0, 0, 0, 0x10, 0x0e, 0, 0xff};
	static const uint8_t attr[] = {0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14,
				       0x07, 0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d,
				       0x3e, 0x3f, 0x0c, 0x00, 0x0f, 0x08};

	vga_reg_write(v, 0x3c2, 0x67);
	write_indexed(v, 0x3c4, seq, sizeof(seq));
	write_one(v, 0x3d4, 0x11, 0x0e);
	write_indexed(v, 0x3d4, crtc, sizeof(crtc));
	write_indexed(v, 0x3ce, gfx, sizeof(gfx));
	vga_reg_read(v, 0x3da); /* the next write to 0x3c0 is an index */
	for (unsigned i = 0; i < sizeof(attr); i++) {
		vga_reg_write(v, 0x3c0, (uint8_t)i);
		vga_reg_write(v, 0x3c0, attr[i]);
	}
	vga_reg_write(v, 0x3c0, 0x20); /* screen on */
}

/* 64 colours: two bits each of red, green and blue, the low ones weaker. */
static void set_palette(struct vga *v)
{
	vga_reg_write(v, 0x3c6, 0xff);
	vga_reg_write(v, 0x3c8, 0);
	for (unsigned i = 0; i < 64; i++)
		for (unsigned c = 3; c-- > 0;)
			vga_reg_write(v, 0x3c9,
				      (uint8_t)((i >> c & 1) * 0x2a +
						(i >> (c + 3) & 1) * 0x15));
}

/* Finds the 8x16 font in the ROM by its first two characters. */
static bool read_font(uint8_t *font)
{
	static const uint8_t start[2 * GLYPH_LEN] = {
		[18] = 0x7e, 0x81, 0xa5, 0x81, 0x81,
		0xbd,	     0x99, 0x81, 0x81, 0x7e};
	uint8_t rom[ROM_MAX];
	int fd = open(VGA_BIOS, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd >= 0 ? read(fd, rom, sizeof(rom)) : -1;
	const uint8_t *at;

	if (fd >= 0)
		close(fd);
	if (len < FONT_LEN)
		return false;
	at = memmem(rom, (size_t)len - FONT_LEN + sizeof(start), start,
		    sizeof(start));
	if (at)
		memcpy(font, at, FONT_LEN);
	return at;
}

/* As a BIOS does it: plane 2 alone, at 0xa0000. */
static void load_font(struct vga *v, const uint8_t *font)
{
	write_one(v, 0x3c4, VGA_SEQ_MAP_MASK, 4);
	write_one(v, 0x3c4, VGA_SEQ_MEMORY, 6);
	write_one(v, 0x3ce, VGA_GFX_MODE, 0);
	write_one(v, 0x3ce, VGA_GFX_MISC, 4);
	for (unsigned i = 0; i < FONT_LEN; i++)
		vga_window_ops.write(v, i / GLYPH_LEN * 32 + i % GLYPH_LEN,
				     font[i], 1);
	write_one(v, 0x3c4, VGA_SEQ_MAP_MASK, 3);
	write_one(v, 0x3c4, VGA_SEQ_MEMORY, 2);
	write_one(v, 0x3ce, VGA_GFX_MODE, 0x10);
	write_one(v, 0x3ce, VGA_GFX_MISC, 0x0e);
}

bool vga_direct_setup(struct device *dev)
{
	struct vga *v = (struct vga *)dev;
	uint8_t font[FONT_LEN];

	if (!read_font(font))
		return false;
	pthread_mutex_lock(&dev->lock);
	set_mode_3(v);
	set_palette(v);
	load_font(v, font);
	for (unsigned i = 0; i < CELLS; i++) {
		vga_window_ops.write(v, TEXT_WINDOW + 2 * i, ' ', 1);
		vga_window_ops.write(v, TEXT_WINDOW + 2 * i + 1, 0x07, 1);
	}
	pthread_mutex_unlock(&dev->lock);
	return true;
}
