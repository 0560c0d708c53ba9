/*
 * 80x25 cells, the same in text and graphics mode.  A copy of what is shown
 * makes unchanged cells free: an interpreted CPU feels every letter drawn.
 */
#include "share/guest/guest.h"

#define TEXT 0xb8000ul

static uint16_t shown[SCREEN_ROWS][SCREEN_COLS];
static const uint32_t colours[16] = {0x000000, 0x1d3557, 0x2a9d8f, 0x118ab2,
				     0xc1121f, 0x9d4edd, 0xb5651d, 0xc8ccd0,
				     0x5c677d, 0x4895ef, 0x80ed99, 0x90e0ef,
				     0xff6b6b, 0xe0aaff, 0xffd166, 0xffffff};

void screen_cell(unsigned row, unsigned col, uint8_t attr, char c)
{
	uint16_t cell = (uint16_t)(attr << 8 | (uint8_t)c);

	if (row >= SCREEN_ROWS || col >= SCREEN_COLS || shown[row][col] == cell)
		return;
	shown[row][col] = cell;
	if (vga_is_graphics())
		vga_glyph(col, row, c, colours[attr & 15], colours[attr >> 4]);
	else
		((volatile uint16_t *)TEXT)[row * SCREEN_COLS + col] = cell;
}

void screen_text(unsigned row, unsigned col, uint8_t attr, const char *fmt, ...)
{
	char line[SCREEN_COLS + 1];
	va_list args;

	va_start(args, fmt);
	text_vformat(line, sizeof(line), fmt, args);
	va_end(args);
	for (unsigned i = 0; line[i]; i++)
		screen_cell(row, col + i, attr, line[i]);
}

void screen_clear(void)
{
	for (unsigned row = 0; row < SCREEN_ROWS; row++) {
		for (unsigned col = 0; col < SCREEN_COLS; col++)
			shown[row][col] = vga_is_graphics() ? 0x0020 : 0x0720;
	}
}

bool screen_set_graphics(bool on)
{
	bool ok = vga_set_graphics(on);

	if (!ok)
		vga_set_graphics(false);
	screen_clear();
	return ok;
}
