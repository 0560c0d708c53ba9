/*
 * The window at 0xa0000: how a byte there meets the four planes.
 *
 * Reads and writes go through the modes of the graphics controller.  The one
 * arrangement where the window is plain memory, 256 colours with all planes
 * chained, is mapped as memory.
 */
#include "core/hw/display/vga.h"

#define SEQ_CHAIN4   0x08
#define GFX_ODD_EVEN 0x10
#define GFX_READ_1   0x08
#define DIRECT_LEN   0x10000

/* Four bits to four bytes, one for each plane. */
static uint32_t spread(unsigned bits)
{
	uint32_t v = 0;
	int p;

	for (p = 0; p < 4; p++)
		if (bits & (1u << p))
			v |= 0xffu << (8 * p);
	return v;
}

static uint32_t bank_offset(const struct vga_regs *r)
{
	if (!(r->dispi[DISPI_ENABLE] & DISPI_ENABLED))
		return 0;
	return (uint32_t)r->dispi[DISPI_BANK] << 16;
}

/* Offset in the window to address for the planes; false: nothing answers. */
static bool map_address(const struct vga_regs *r, uint32_t off, uint32_t *addr)
{
	static const struct {
		uint32_t first, len;
	} maps[4] = {{0, 0x20000},
		     {0, 0x10000},
		     {0x10000, 0x8000},
		     {0x18000, 0x8000}};
	unsigned m = (r->gfx[VGA_GFX_MISC] >> 2) & 3;

	if (off < maps[m].first || off - maps[m].first >= maps[m].len)
		return false;
	*addr = off - maps[m].first;
	if (m == 1)
		*addr += bank_offset(r);
	return true;
}

static uint32_t *planes(struct vga *v, uint32_t addr)
{
	return (uint32_t *)v->vram + (addr & (VGA_VRAM_LEN / 4 - 1));
}

static uint8_t window_read_byte(struct vga *v, uint32_t off)
{
	struct vga_regs *r = &v->regs;
	uint32_t addr, diff;
	unsigned plane = r->gfx[VGA_GFX_READ_MAP] & 3;

	if (!map_address(r, off, &addr))
		return 0xff;
	if (r->seq[VGA_SEQ_MEMORY] & SEQ_CHAIN4)
		return v->vram[addr & (VGA_VRAM_LEN - 1)];
	if (r->gfx[VGA_GFX_MODE] & GFX_ODD_EVEN) {
		plane = (plane & 2) | (addr & 1);
		return (uint8_t)(*planes(v, addr >> 1) >> (8 * plane));
	}
	r->latch = *planes(v, addr);
	if (!(r->gfx[VGA_GFX_MODE] & GFX_READ_1))
		return (uint8_t)(r->latch >> (8 * plane));
	diff = (r->latch ^ spread(r->gfx[VGA_GFX_COMPARE])) &
	       spread(r->gfx[VGA_GFX_CARE]);
	return (uint8_t) ~(diff | diff >> 8 | diff >> 16 | diff >> 24);
}

static uint8_t rotate(const struct vga_regs *r, uint8_t value)
{
	unsigned n = r->gfx[VGA_GFX_ROTATE] & 7;

	return (uint8_t)(value >> n | value << (8 - n));
}

/* What the latches and a byte make of the four planes' bytes. */
static uint32_t write_mode(const struct vga_regs *r, uint8_t byte)
{
	uint32_t value, set;
	uint8_t mask = r->gfx[VGA_GFX_BIT_MASK];

	switch (r->gfx[VGA_GFX_MODE] & 3) {
	case 0:
		set = spread(r->gfx[VGA_GFX_SET_ENABLE]);
		value = rotate(r, byte) * 0x01010101u;
		value = (value & ~set) | (spread(r->gfx[VGA_GFX_SET]) & set);
		break;
	case 1:
		return r->latch;
	case 2:
		value = spread(byte);
		break;
	default:
		mask &= rotate(r, byte);
		value = spread(r->gfx[VGA_GFX_SET]);
		break;
	}
	switch (r->gfx[VGA_GFX_ROTATE] >> 3) {
	case 1:
		value &= r->latch;
		break;
	case 2:
		value |= r->latch;
		break;
	case 3:
		value ^= r->latch;
		break;
	}
	set = mask * 0x01010101u;
	return (value & set) | (r->latch & ~set);
}

static void window_write_byte(struct vga *v, uint32_t off, uint8_t byte)
{
	struct vga_regs *r = &v->regs;
	uint8_t enabled = r->seq[VGA_SEQ_MAP_MASK];
	uint32_t addr, value, mask, *p;

	if (!map_address(r, off, &addr))
		return;
	if (r->seq[VGA_SEQ_MEMORY] & SEQ_CHAIN4) {
		p = planes(v, addr >> 2);
		mask = spread(enabled & (1u << (addr & 3)));
		value = byte * 0x01010101u;
	} else if (r->gfx[VGA_GFX_MODE] & GFX_ODD_EVEN) {
		p = planes(v, addr >> 1);
		mask = spread(enabled & ((addr & 1) ? 0xa : 0x5));
		value = byte * 0x01010101u;
	} else {
		p = planes(v, addr);
		mask = spread(enabled);
		value = write_mode(r, byte);
	}
	value = (*p & ~mask) | (value & mask);
	if (value == *p)
		return;
	*p = value;
	mem_block_mark(v->block, (uint64_t)((uint8_t *)p - v->vram), 4);
}

static uint64_t window_read(void *opaque, uint64_t off, unsigned len)
{
	uint64_t value = 0;
	unsigned i;

	for (i = 0; i < len; i++)
		value |= (uint64_t)window_read_byte(opaque, (uint32_t)off + i)
			 << (8 * i);
	return value;
}

static void window_write(void *opaque, uint64_t off, uint64_t value,
			 unsigned len)
{
	struct vga *v = opaque;
	unsigned i;

	device_count(v->window_writes, 1);
	for (i = 0; i < len; i++)
		window_write_byte(v, (uint32_t)off + i,
				  (uint8_t)(value >> (8 * i)));
}

const struct bus_ops vga_window_ops = {
	.read = window_read,
	.write = window_write,
};

void vga_window_update(struct vga *v)
{
	const struct vga_regs *r = &v->regs;
	bool direct = (r->seq[VGA_SEQ_MEMORY] & SEQ_CHAIN4) &&
		      (r->seq[VGA_SEQ_MAP_MASK] & 0xf) == 0xf &&
		      ((r->gfx[VGA_GFX_MISC] >> 2) & 3) == 1 &&
		      bank_offset(r) == 0;

	if (direct != v->direct.enabled)
		mem_region_set(v->pci.dev.m->mem, &v->direct, v->direct.gpa,
			       REGION_RAM, direct);
}
