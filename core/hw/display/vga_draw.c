/*
 * Refresh, and the graphics modes.
 *
 * Each scan line that may differ is converted into v->line and compared with
 * the surface: viewers hear only of pixels that changed.
 */
#include "core/hw/display/vga.h"

#include <string.h>

#define NR_PAGES (VGA_VRAM_LEN / MEM_PAGE_SIZE)

/* Converts m->width surface pixels from address addr on; where the picture
 * would leave the video memory it wraps (planes) or the caller stopped it. */
typedef void line_fn(const struct vga *v, const struct vga_mode *m,
		     uint32_t addr, uint32_t *dst);

static uint32_t fetch32(const struct vga *v, const struct vga_mode *m,
			uint32_t addr)
{
	uint32_t value;

	memcpy(&value, v->vram + (addr & m->wrap & ~3u), sizeof(value));
	return value;
}

static uint32_t *put(uint32_t *dst, uint32_t colour, int dots)
{
	while (dots-- > 0)
		*dst++ = colour;
	return dst;
}

static void line_planar(const struct vga *v, const struct vga_mode *m,
			uint32_t addr, uint32_t *dst)
{
	int x, bit;

	for (x = 0; x + 8 * m->dots <= m->width; x += 8 * m->dots) {
		uint32_t p = fetch32(v, m, addr);

		addr += 4;
		for (bit = 7; bit >= 0; bit--) {
			uint32_t q = p >> bit;
			unsigned c = (q & 1) | (q >> 7 & 2) | (q >> 14 & 4) |
				     (q >> 21 & 8);

			dst = put(dst, m->colours[c], m->dots);
		}
	}
}

static void line_cga(const struct vga *v, const struct vga_mode *m,
		     uint32_t addr, uint32_t *dst)
{
	int x, shift;

	for (x = 0; x + 8 * m->dots <= m->width; x += 8 * m->dots) {
		uint32_t p = fetch32(v, m, addr);
		/* Even bytes in plane 0, odd ones in plane 1. */
		unsigned pixels = (p & 0xff) << 8 | (p >> 8 & 0xff);

		addr += 4;
		for (shift = 14; shift >= 0; shift -= 2)
			dst = put(dst, m->colours[pixels >> shift & 3],
				  m->dots);
	}
}

static void line_packed(const struct vga *v, const struct vga_mode *m,
			uint32_t addr, uint32_t *dst)
{
	int x;

	for (x = 0; x + m->dots <= m->width; x += m->dots, addr++)
		dst = put(dst, m->colours[v->vram[addr & m->wrap]], m->dots);
}

/* Five or six bits to eight: white stays white. */
static uint32_t expand(uint32_t value, int bits)
{
	return value << (8 - bits) | value >> (2 * bits - 8);
}

static void line_rgb15(const struct vga *v, const struct vga_mode *m,
		       uint32_t addr, uint32_t *dst)
{
	const uint8_t *p = v->vram + addr;
	int x;

	for (x = 0; x < m->width; x++, p += 2) {
		uint32_t c = p[0] | p[1] << 8;

		dst[x] = expand(c >> 10 & 31, 5) << 16 |
			 expand(c >> 5 & 31, 5) << 8 | expand(c & 31, 5);
	}
}

static void line_rgb16(const struct vga *v, const struct vga_mode *m,
		       uint32_t addr, uint32_t *dst)
{
	const uint8_t *p = v->vram + addr;
	int x;

	for (x = 0; x < m->width; x++, p += 2) {
		uint32_t c = p[0] | p[1] << 8;

		dst[x] = expand(c >> 11, 5) << 16 |
			 expand(c >> 5 & 63, 6) << 8 | expand(c & 31, 5);
	}
}

static void line_rgb24(const struct vga *v, const struct vga_mode *m,
		       uint32_t addr, uint32_t *dst)
{
	const uint8_t *p = v->vram + addr;
	int x;

	for (x = 0; x < m->width; x++, p += 3)
		dst[x] = p[0] | p[1] << 8 | (uint32_t)p[2] << 16;
}

static void line_rgb32(const struct vga *v, const struct vga_mode *m,
		       uint32_t addr, uint32_t *dst)
{
	const uint8_t *p = v->vram + addr;
	int x;

	for (x = 0; x < m->width; x++, p += 4)
		dst[x] = p[0] | p[1] << 8 | (uint32_t)p[2] << 16;
}

static const struct {
	line_fn *line;
	unsigned bits; /* a pixel takes; 0: addresses wrap, no limit */
} drawers[VGA_NR_KINDS] = {
	[VGA_PLANAR] = {line_planar, 0}, [VGA_CGA] = {line_cga, 0},
	[VGA_PACKED] = {line_packed, 0}, [VGA_RGB15] = {line_rgb15, 16},
	[VGA_RGB16] = {line_rgb16, 16},	 [VGA_RGB24] = {line_rgb24, 24},
	[VGA_RGB32] = {line_rgb32, 32},
};

static uint32_t line_address(const struct vga_mode *m, int y)
{
	uint32_t addr = m->start;
	int scan, i;

	if (y >= m->split) {
		y -= m->split;
		addr = 0;
	}
	y >>= m->doubled;
	scan = y % m->scans;
	addr += (uint32_t)(y / m->scans) * m->pitch;
	for (i = 0; i < 2; i++) {
		if (m->scan_bit[i] < 0)
			continue;
		addr &= ~(1u << m->scan_bit[i]);
		addr |= (uint32_t)(scan >> i & 1) << m->scan_bit[i];
	}
	return addr;
}

static bool pages_dirty(const struct vga *v, uint32_t addr, uint32_t len)
{
	uint32_t page = addr / MEM_PAGE_SIZE;
	uint32_t last = (addr + len - 1) / MEM_PAGE_SIZE;

	for (; page <= last && page < NR_PAGES; page++)
		if (v->dirty[page / 64] >> (page % 64) & 1)
			return true;
	return false;
}

/* Draws one scan line; false when it looks as before. */
static bool draw_line(struct vga *v, int y, uint32_t *surface, bool full,
		      struct console_rect *out)
{
	const struct vga_mode *m = &v->mode;
	uint32_t addr = line_address(m, y);
	uint32_t len = (uint32_t)m->width * drawers[m->kind].bits / 8;
	uint32_t *row = surface + (size_t)y * m->width;
	int from = 0, to = m->width;

	if (len && !full && !pages_dirty(v, addr, len))
		return false;
	memset(v->line, 0, (size_t)m->width * sizeof(*v->line));
	if (addr <= VGA_VRAM_LEN && len <= VGA_VRAM_LEN - addr)
		drawers[m->kind].line(v, m, addr, v->line);
	while (from < to && row[from] == v->line[from])
		from++;
	while (to > from && row[to - 1] == v->line[to - 1])
		to--;
	if (from == to)
		return false;
	memcpy(row + from, v->line + from, (size_t)(to - from) * sizeof(*row));
	*out = (struct console_rect){from, y, to - from, 1};
	return true;
}

static void draw_graphics(struct vga *v, bool full)
{
	struct console *c = v->pci.dev.m->console;
	struct console_rect line, sum = {0};
	uint32_t *surface = console_surface(c, v->mode.width, v->mode.height);
	int y;

	console_set_graphics(c);
	if (!surface)
		return;
	for (y = 0; y < v->mode.height; y++) {
		if (!draw_line(v, y, surface, full, &line))
			continue;
		if (!sum.w) {
			sum = line;
			continue;
		}
		if (line.x + line.w > sum.x + sum.w)
			sum.w = line.x + line.w - sum.x;
		if (line.x < sum.x) {
			sum.w += sum.x - line.x;
			sum.x = line.x;
		}
		sum.h = y - sum.y + 1;
	}
	if (sum.w)
		console_changed(c, sum);
}

/* Black, in the size that was; a text screen has spaces. */
static void draw_blank(struct vga *v)
{
	struct console *c = v->pci.dev.m->console;
	struct console_info info;
	struct console_rect all;
	uint32_t *surface;

	console_info(c, &info);
	if (!info.width) {
		info.width = v->mode.width;
		info.height = v->mode.height;
	}
	surface = console_surface(c, info.width, info.height);
	if (!surface)
		return;
	memset(surface, 0, (size_t)info.width * info.height * sizeof(*surface));
	if (info.is_text) {
		memset(v->drawn.text.cells, 0, sizeof(v->drawn.text.cells));
		v->drawn.text.cursor_col = v->drawn.text.cursor_row = -1;
		console_set_text(c, &v->drawn.text);
	}
	all = (struct console_rect){0, 0, info.width, info.height};
	console_changed(c, all);
}

/* A text screen that differs in what its cells show, not in how. */
static bool only_scrolled(const struct vga_mode *was, const struct vga_mode *is)
{
	struct vga_mode m;

	memcpy(&m, is, sizeof(m));
	m.start = was->start;
	m.cursor = was->cursor;
	return m.kind == VGA_TEXT && !memcmp(&m, was, sizeof(m));
}

static void refresh(void *opaque, bool full)
{
	struct vga *v = opaque;
	struct device *dev = &v->pci.dev;
	struct vga_regs regs;
	struct vga_mode mode;
	bool dirty;

	pthread_mutex_lock(&dev->lock);
	regs = v->regs;
	full |= v->redraw;
	v->redraw = false;
	pthread_mutex_unlock(&dev->lock);

	device_count(v->refreshes, 1);
	vga_mode_decode(&regs, &mode);
	dirty = memcmp(&mode, &v->mode, sizeof(mode));
	if (dirty) {
		full |= !only_scrolled(&v->mode, &mode);
		memcpy(&v->mode, &mode, sizeof(mode));
	}
	mem_harvest_block(dev->m->mem, v->block);
	if (mem_client_take(v->client, v->block, 0, NR_PAGES, v->dirty))
		dirty = true;
	dirty |= full;
	if (v->mode.kind == VGA_TEXT)
		vga_text_draw(v, full, dirty);
	else if (v->mode.kind != VGA_BLANK && dirty)
		draw_graphics(v, full);
	else if (full)
		draw_blank(v);
}

const struct console_display_ops vga_display_ops = {
	.refresh = refresh,
};
