/*
 * The Bochs-compatible display: 640x480 with 32 bits a pixel in BAR 0's linear
 * framebuffer, or VGA text mode 3, programmed from nothing so that no video
 * BIOS is needed.  The letters of text mode are those of font.c, in plane 2.
 */
#include "share/guest/guest.h"

#define WIDTH	   640
#define HEIGHT	   480
#define TEXT	   0xb8000ul
#define FONT_PLANE 0xa0000ul

enum { DISPI_INDEX = 0x1ce, DISPI_DATA = 0x1cf };
enum {
	DISPI_ID = 0,
	DISPI_XRES = 1,
	DISPI_YRES = 2,
	DISPI_BPP = 3,
	DISPI_ENABLE = 4,
	DISPI_VIRT_WIDTH = 6,
	DISPI_VIRT_HEIGHT = 7,
	DISPI_X_OFFSET = 8,
	DISPI_Y_OFFSET = 9
};
enum { DISPI_ENABLED = 0x01, DISPI_LFB = 0x40 };
enum {
	ATTRIBUTE = 0x3c0,
	MISC = 0x3c2,
	SEQUENCER = 0x3c4,
	DAC_INDEX = 0x3c8,
	DAC_DATA = 0x3c9,
	GRAPHICS = 0x3ce,
	CRTC = 0x3d4,
	STATUS = 0x3da
};

static uint64_t framebuffer;
static bool graphics;

static const uint8_t text_crtc[] = {0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf,
				    0x1f, 0x00, 0x4f, 0x2d, 0x0e, 0x00, 0x00,
				    0x00, 0x00, 0x9c, 0x8e, 0x8f, 0x28, 0x1f,
				    0x96, 0xb9, 0xa3, 0xff};
static const uint8_t text_sequencer[] = {0x03, 0x00, 0x03, 0x00, 0x02};
static const uint8_t text_graphics[] = {0x00, 0x00, 0x00, 0x00, 0x00,
					0x10, 0x0e, 0x00, 0xff};
static const uint8_t text_attribute[] = {
	0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07, 0x38, 0x39, 0x3a,
	0x3b, 0x3c, 0x3d, 0x3e, 0x3f, 0x0c, 0x00, 0x0f, 0x08, 0x00};

static void set_indexed(uint16_t port, unsigned index, uint8_t value)
{
	outw(port, (uint16_t)(value << 8 | index));
}

static void set_dispi(unsigned index, unsigned value)
{
	outw(DISPI_INDEX, (uint16_t)index);
	outw(DISPI_DATA, (uint16_t)value);
}

static unsigned get_dispi(unsigned index)
{
	outw(DISPI_INDEX, (uint16_t)index);
	return inw(DISPI_DATA);
}

static bool has_dispi(void)
{
	return (get_dispi(DISPI_ID) & 0xfff0) == 0xb0c0;
}

/* Five dots of the y-th of 16 lines: seven rows twice, some letters lower. */
static unsigned letter_line(char c, unsigned y)
{
	unsigned drop = c == 'g' || c == 'j' || c == 'p' || c == 'q' ||
					c == 'y' || c == ','
				? 2
				: 0;

	if (c < ' ' || c > '~' || y < drop || y >= drop + 14)
		return 0;
	return font_rows[c - ' '][(y - drop) / 2];
}

static void load_font(void)
{
	uint8_t *letters = (uint8_t *)FONT_PLANE;

	set_indexed(SEQUENCER, 2, 0x04);
	set_indexed(SEQUENCER, 4, 0x07);
	set_indexed(GRAPHICS, 4, 0x02);
	set_indexed(GRAPHICS, 5, 0x00);
	set_indexed(GRAPHICS, 6, 0x04);
	for (unsigned c = ' '; c <= '~'; c++) {
		uint8_t rows[16];

		for (unsigned y = 0; y < 16; y++)
			rows[y] = (uint8_t)(letter_line((char)c, y) << 2);
		memcpy(letters + c * 32, rows, sizeof(rows));
	}
	set_indexed(SEQUENCER, 2, 0x03);
	set_indexed(SEQUENCER, 4, 0x02);
	set_indexed(GRAPHICS, 4, 0x00);
	set_indexed(GRAPHICS, 5, 0x10);
	set_indexed(GRAPHICS, 6, 0x0e);
}

/* The 64 colours of an EGA, two bits a primary. */
static void load_palette(void)
{
	outb(DAC_INDEX, 0);
	for (unsigned i = 0; i < 64; i++) {
		for (unsigned primary = 2; primary < 3; primary--) {
			unsigned level = (i >> primary & 1) * 42 +
					 (i >> (primary + 3) & 1) * 21;

			outb(DAC_DATA, (uint8_t)level);
		}
	}
}

static void set_attributes(void)
{
	(void)inb(STATUS);
	for (unsigned i = 0; i < sizeof(text_attribute); i++) {
		outb(ATTRIBUTE, (uint8_t)i);
		outb(ATTRIBUTE, text_attribute[i]);
	}
	outb(ATTRIBUTE, 0x20);
}

static void set_text(void)
{
	if (has_dispi())
		set_dispi(DISPI_ENABLE, 0);
	outb(MISC, 0x67);
	for (unsigned i = 0; i < sizeof(text_sequencer); i++)
		set_indexed(SEQUENCER, i, text_sequencer[i]);
	set_indexed(CRTC, 0x11, 0x0e); /* unlocks registers 0 to 7 */
	for (unsigned i = 0; i < sizeof(text_crtc); i++)
		set_indexed(CRTC, i, text_crtc[i]);
	for (unsigned i = 0; i < sizeof(text_graphics); i++)
		set_indexed(GRAPHICS, i, text_graphics[i]);
	set_attributes();
	load_palette();
	load_font();
	for (unsigned i = 0; i < SCREEN_COLS * SCREEN_ROWS; i++)
		((volatile uint16_t *)TEXT)[i] = 0x0720;
	graphics = false;
}

static bool set_graphics(void)
{
	const struct pci_device *vga = pci_find(0x1234, 0x1111, 0);

	if (!vga || !has_dispi())
		return false;
	framebuffer = pci_bar(vga->bdf, 0);
	if (!framebuffer)
		return false;
	set_dispi(DISPI_ENABLE, 0);
	set_dispi(DISPI_XRES, WIDTH);
	set_dispi(DISPI_YRES, HEIGHT);
	set_dispi(DISPI_BPP, 32);
	set_dispi(DISPI_VIRT_WIDTH, WIDTH);
	set_dispi(DISPI_X_OFFSET, 0);
	set_dispi(DISPI_Y_OFFSET, 0);
	set_dispi(DISPI_ENABLE, DISPI_ENABLED | DISPI_LFB);
	/* Without firmware nobody has turned the picture on. */
	(void)inb(STATUS);
	outb(ATTRIBUTE, 0x20);
	graphics = true;
	vga_fill(0, 0, WIDTH, HEIGHT, 0);
	return true;
}

bool vga_set_graphics(bool on)
{
	if (on)
		return set_graphics();
	set_text();
	return true;
}

bool vga_is_graphics(void)
{
	return graphics;
}

/* x and w are even: pixels are stored in pairs. */
void vga_fill(unsigned x, unsigned y, unsigned w, unsigned h, uint32_t rgb)
{
	uint64_t pair = (uint64_t)rgb << 32 | rgb;
	uint64_t *row = (uint64_t *)(framebuffer + (y * WIDTH + x) * 4);

	if (w == WIDTH) {
		fill64(row, pair, (size_t)w * h / 2);
		return;
	}
	for (; h; h--, row += WIDTH / 2)
		fill64(row, pair, w / 2);
}

void vga_glyph(unsigned col, unsigned row, char c, uint32_t fore, uint32_t back)
{
	volatile uint64_t *at =
		(volatile uint64_t *)(framebuffer +
				      (row * 16 * WIDTH + col * 8) * 4);
	uint64_t pairs[4];

	for (unsigned i = 0; i < 4; i++)
		pairs[i] = (uint64_t)(i & 1 ? fore : back) << 32 |
			   (i & 2 ? fore : back);
	for (unsigned y = 0; y < 16; y++, at += WIDTH / 2) {
		unsigned bits = letter_line(c, y) << 2;

		for (unsigned i = 0; i < 4; i++)
			at[i] = pairs[bits >> (6 - 2 * i) & 3];
	}
}
