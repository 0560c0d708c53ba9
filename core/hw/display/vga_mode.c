/* From registers to what is to be drawn. */
#include "core/hw/display/vga.h"

#include <string.h>

#define ATTR_LINE_GRAPHICS 0x04
#define ATTR_BLINK	   0x08
#define ATTR_P54_SELECT	   0x80
#define ATTR_INDEX_SHOW	   0x20
#define SEQ_8_DOTS	   0x01
#define SEQ_HALF_CLOCK	   0x08
#define SEQ_SCREEN_OFF	   0x20
#define GFX_GRAPHICS	   0x01
#define BLANK_WIDTH	   720
#define BLANK_HEIGHT	   400

enum crtc {
	CRTC_H_END = 0x01,
	CRTC_OVERFLOW = 0x07,
	CRTC_MAX_SCAN = 0x09,
	CRTC_CURSOR_START = 0x0a,
	CRTC_CURSOR_END = 0x0b,
	CRTC_START_HIGH = 0x0c,
	CRTC_START_LOW = 0x0d,
	CRTC_CURSOR_HIGH = 0x0e,
	CRTC_CURSOR_LOW = 0x0f,
	CRTC_V_END = 0x12,
	CRTC_OFFSET = 0x13,
	CRTC_MODE = 0x17,
	CRTC_SPLIT = 0x18,
};

static uint32_t dac_colour(const struct vga_regs *r, uint8_t index)
{
	const uint8_t *c = &r->dac[(index & r->dac_mask) * 3];
	uint32_t rgb = 0;
	int i;

	for (i = 0; i < 3; i++) {
		uint32_t part = c[i];

		if (!(r->dispi[DISPI_ENABLE] & DISPI_8BIT_DAC))
			part = (part & 0x3f) << 2 | (part & 0x3f) >> 4;
		rgb = rgb << 8 | part;
	}
	return rgb;
}

/* Through the attribute controller's palette: text and 16 colours. */
static void colours_16(const struct vga_regs *r, struct vga_mode *m,
		       uint8_t planes)
{
	uint8_t select = r->attr[VGA_ATTR_COLOUR_SELECT];
	int i;

	for (i = 0; i < 16; i++) {
		uint8_t index = r->attr[i & planes];

		if (r->attr[VGA_ATTR_MODE] & ATTR_P54_SELECT)
			index = (index & 0x0f) | (select & 0x0f) << 4;
		else
			index = (index & 0x3f) | (select & 0x0c) << 4;
		m->colours[i] = dac_colour(r, index);
	}
}

static void colours_256(const struct vga_regs *r, struct vga_mode *m)
{
	int i;

	for (i = 0; i < 256; i++)
		m->colours[i] = dac_colour(r, (uint8_t)i);
}

static void decode_dispi(const struct vga_regs *r, struct vga_mode *m)
{
	m->width = r->dispi[DISPI_XRES];
	m->height = r->dispi[DISPI_YRES];
	m->start = vga_dispi_start(r);
	m->pitch = vga_dispi_pitch(r);
	m->wrap = VGA_VRAM_LEN - 1;
	m->dots = 1;
	m->scans = 1;
	m->split = m->height;
	switch (r->dispi[DISPI_BPP]) {
	case 4:
		m->kind = VGA_PLANAR;
		colours_16(r, m, 0x0f);
		break;
	case 15:
		m->kind = VGA_RGB15;
		break;
	case 16:
		m->kind = VGA_RGB16;
		break;
	case 24:
		m->kind = VGA_RGB24;
		break;
	case 32:
		m->kind = VGA_RGB32;
		break;
	default:
		m->kind = VGA_PACKED;
		colours_256(r, m);
		break;
	}
}

static int scan_lines(const struct vga_regs *r)
{
	uint8_t o = r->crtc[CRTC_OVERFLOW];

	return (r->crtc[CRTC_V_END] | (o & 0x02) << 7 | (o & 0x40) << 3) + 1;
}

/* Scan lines of a row: of characters, or of repeated pixels. */
static int row_scans(const struct vga_regs *r)
{
	return (r->crtc[CRTC_MAX_SCAN] & 0x1f) + 1;
}

/* Fonts are told apart by three bits, the third of which lies elsewhere. */
static uint32_t font_offset(unsigned low, unsigned high)
{
	return (low & 3) * 0x4000 + (high & 1) * 0x2000;
}

static void decode_cursor(const struct vga_regs *r, struct vga_mode *m)
{
	m->cursor = r->crtc[CRTC_CURSOR_HIGH] << 8 | r->crtc[CRTC_CURSOR_LOW];
	m->cursor_from = r->crtc[CRTC_CURSOR_START] & 0x1f;
	m->cursor_to = r->crtc[CRTC_CURSOR_END] & 0x1f;
	if (r->crtc[CRTC_CURSOR_START] & 0x20 ||
	    m->cursor_from > m->cursor_to || m->cursor_from >= m->cell_height)
		m->cursor = -1;
}

static void decode_text(const struct vga_regs *r, struct vga_mode *m)
{
	uint8_t clocking = r->seq[VGA_SEQ_CLOCKING];
	uint8_t fonts = r->seq[VGA_SEQ_FONTS];
	uint8_t attr = r->attr[VGA_ATTR_MODE];

	m->kind = VGA_TEXT;
	m->dots = clocking & SEQ_HALF_CLOCK ? 2 : 1;
	m->cell_width = clocking & SEQ_8_DOTS ? 8 : 9;
	m->cell_height = row_scans(r);
	m->cols = r->crtc[CRTC_H_END] + 1;
	if (m->cols > CONSOLE_MAX_COLS)
		m->cols = CONSOLE_MAX_COLS;
	m->doubled = r->crtc[CRTC_MAX_SCAN] >> 7;
	m->rows = (scan_lines(r) >> m->doubled) / m->cell_height;
	if (m->rows > CONSOLE_MAX_ROWS)
		m->rows = CONSOLE_MAX_ROWS;
	if (m->rows < 1)
		m->rows = 1;
	m->width = m->cols * m->cell_width * m->dots;
	m->height = m->rows * m->cell_height;
	m->fonts[0] = font_offset(fonts, fonts >> 4);
	m->fonts[1] = font_offset(fonts >> 2, fonts >> 5);
	m->blinks = attr & ATTR_BLINK;
	m->line_graphics = attr & ATTR_LINE_GRAPHICS;
	colours_16(r, m, 0x0f);
	decode_cursor(r, m);
}

static void decode_graphics(const struct vga_regs *r, struct vga_mode *m)
{
	uint8_t mode = r->crtc[CRTC_MODE], o = r->crtc[CRTC_OVERFLOW];
	/* In words the address is shifted left by one, scan bits are not. */
	int bit = 14 + (mode >> 6 & 1);

	m->dots = r->seq[VGA_SEQ_CLOCKING] & SEQ_HALF_CLOCK ? 2 : 1;
	m->width = (r->crtc[CRTC_H_END] + 1) * 8 * m->dots;
	m->height = scan_lines(r);
	m->scans = row_scans(r);
	m->doubled = r->crtc[CRTC_MAX_SCAN] >> 7;
	m->split = (r->crtc[CRTC_SPLIT] | (o & 0x10) << 4 |
		    (r->crtc[CRTC_MAX_SCAN] & 0x40) << 3) +
		   1;
	m->scan_bit[0] = mode & 1 ? -1 : bit;
	m->scan_bit[1] = mode & 2 ? -1 : bit + 1;
	switch ((r->gfx[VGA_GFX_MODE] >> 5) & 3) {
	case 0:
		m->kind = VGA_PLANAR;
		colours_16(r, m, r->attr[VGA_ATTR_PLANES] & 0x0f);
		break;
	case 1:
		m->kind = VGA_CGA;
		colours_16(r, m, r->attr[VGA_ATTR_PLANES] & 0x0f);
		break;
	default:
		m->kind = VGA_PACKED;
		m->dots *= 2;
		colours_256(r, m);
		break;
	}
}

void vga_mode_decode(const struct vga_regs *r, struct vga_mode *m)
{
	memset(m, 0, sizeof(*m));
	m->scan_bit[0] = m->scan_bit[1] = -1;
	if (r->dispi[DISPI_ENABLE] & DISPI_ENABLED) {
		decode_dispi(r, m);
		return;
	}
	if (!(r->attr_index & ATTR_INDEX_SHOW) ||
	    r->seq[VGA_SEQ_CLOCKING] & SEQ_SCREEN_OFF) {
		m->kind = VGA_BLANK;
		m->width = BLANK_WIDTH;
		m->height = BLANK_HEIGHT;
		return;
	}
	m->start = (uint32_t)(r->crtc[CRTC_START_HIGH] << 8 |
			      r->crtc[CRTC_START_LOW]) *
		   4;
	m->pitch = r->crtc[CRTC_OFFSET] * 8u;
	m->wrap = VGA_PLANES_LEN - 1;
	if (r->gfx[VGA_GFX_MISC] & GFX_GRAPHICS)
		decode_graphics(r, m);
	else
		decode_text(r, m);
}
