/*
 * The Bochs DISPI registers, at ports 0x1ce (index) and 0x1cf or 0x1d0
 * (data), and in BAR 2 together with the VGA's ports (QEMU's
 * docs/specs/standard-vga).
 */
#include "core/hw/display/vga.h"

#include <string.h>

#define DISPI_ID_MIN 0xb0c0
#define DISPI_ID_MAX 0xb0c5

#define MMIO_VGA_PORTS	    0x400
#define MMIO_VGA_LEN	    0x20
#define MMIO_DISPI	    0x500
#define MMIO_EXT_LEN	    0x600
#define MMIO_EXT_ORDER	    0x604
#define LITTLE_ENDIAN_ORDER 0x1e1e1e1eu

void vga_dispi_reset(struct vga_regs *r)
{
	memset(r->dispi, 0, sizeof(r->dispi));
	r->dispi_index = 0;
	r->dispi[DISPI_ID] = DISPI_ID_MAX;
	r->dispi[DISPI_MEMORY_64K] = VGA_VRAM_LEN >> 16;
}

static uint32_t bits_per_pixel(const struct vga_regs *r)
{
	switch (r->dispi[DISPI_BPP]) {
	case 4:
	case 8:
	case 24:
	case 32:
		return r->dispi[DISPI_BPP];
	case 15:
	case 16:
		return 16;
	}
	return 8;
}

uint32_t vga_dispi_pitch(const struct vga_regs *r)
{
	return r->dispi[DISPI_VIRT_WIDTH] * bits_per_pixel(r) / 8;
}

uint32_t vga_dispi_start(const struct vga_regs *r)
{
	uint32_t x = r->dispi[DISPI_X_OFFSET];

	/* 4 bits: eight pixels in each four interleaved bytes. */
	x = bits_per_pixel(r) == 4 ? x / 8 * 4 : x * bits_per_pixel(r) / 8;
	return r->dispi[DISPI_Y_OFFSET] * vga_dispi_pitch(r) + x;
}

static uint16_t clamp16(uint32_t v, uint32_t lo, uint32_t hi)
{
	return (uint16_t)(v < lo ? lo : v > hi ? hi : v);
}

/* Keeps the registers consistent: what is shown lies in the video memory. */
static void fix_up(struct vga_regs *r)
{
	uint32_t pitch, rows;

	r->dispi[DISPI_XRES] =
		clamp16(r->dispi[DISPI_XRES] & ~7u, 8, CONSOLE_MAX_WIDTH);
	r->dispi[DISPI_YRES] =
		clamp16(r->dispi[DISPI_YRES], 1, CONSOLE_MAX_HEIGHT);
	r->dispi[DISPI_VIRT_WIDTH] =
		clamp16(r->dispi[DISPI_VIRT_WIDTH] & ~7u, r->dispi[DISPI_XRES],
			CONSOLE_MAX_WIDTH * 4);
	pitch = vga_dispi_pitch(r);
	rows = VGA_VRAM_LEN / pitch;
	if (r->dispi[DISPI_YRES] > rows)
		r->dispi[DISPI_YRES] = clamp16(rows, 1, CONSOLE_MAX_HEIGHT);
	r->dispi[DISPI_VIRT_HEIGHT] = clamp16(rows, 1, 0xffff);
	r->dispi[DISPI_X_OFFSET] =
		clamp16(r->dispi[DISPI_X_OFFSET], 0,
			r->dispi[DISPI_VIRT_WIDTH] - r->dispi[DISPI_XRES]);
	r->dispi[DISPI_Y_OFFSET] = clamp16(
		r->dispi[DISPI_Y_OFFSET], 0,
		rows > r->dispi[DISPI_YRES] ? rows - r->dispi[DISPI_YRES] : 0);
}

static void enable_write(struct vga *v, uint16_t value)
{
	struct vga_regs *r = &v->regs;
	bool was = r->dispi[DISPI_ENABLE] & DISPI_ENABLED;
	uint64_t len;

	r->dispi[DISPI_ENABLE] = value;
	r->dispi[DISPI_BANK] = 0;
	if (was || !(value & DISPI_ENABLED))
		return;
	r->dispi[DISPI_VIRT_WIDTH] = 0;
	r->dispi[DISPI_X_OFFSET] = 0;
	r->dispi[DISPI_Y_OFFSET] = 0;
	fix_up(r);
	if (value & DISPI_NOCLEAR)
		return;
	len = (uint64_t)r->dispi[DISPI_YRES] * vga_dispi_pitch(r);
	if (len > VGA_VRAM_LEN)
		len = VGA_VRAM_LEN;
	memset(v->vram, 0, len);
	mem_block_mark(v->block, 0, len);
}

static void dispi_write(struct vga *v, unsigned index, uint16_t value)
{
	struct vga_regs *r = &v->regs;

	switch (index) {
	case DISPI_ID:
		if (value >= DISPI_ID_MIN && value <= DISPI_ID_MAX)
			r->dispi[DISPI_ID] = value;
		return;
	case DISPI_BPP:
		r->dispi[DISPI_BPP] = value ? value : 8;
		r->dispi[DISPI_BPP] =
			(uint16_t)(value == 15 ? 15 : bits_per_pixel(r));
		break;
	case DISPI_ENABLE:
		enable_write(v, value);
		break;
	case DISPI_BANK:
		r->dispi[DISPI_BANK] = value & (VGA_VRAM_LEN / 65536 - 1);
		break;
	case DISPI_XRES:
	case DISPI_YRES:
	case DISPI_VIRT_WIDTH:
	case DISPI_X_OFFSET:
	case DISPI_Y_OFFSET:
		r->dispi[index] = value;
		break;
	default: /* read only, or unknown */
		return;
	}
	if (r->dispi[DISPI_ENABLE] & DISPI_ENABLED)
		fix_up(r);
	vga_window_update(v);
}

static uint16_t dispi_read(const struct vga_regs *r, unsigned index)
{
	if (r->dispi[DISPI_ENABLE] & DISPI_GETCAPS) {
		switch (index) {
		case DISPI_XRES:
			return CONSOLE_MAX_WIDTH;
		case DISPI_YRES:
			return CONSOLE_MAX_HEIGHT;
		case DISPI_BPP:
			return 32;
		}
	}
	return index < DISPI_NR ? r->dispi[index] : 0;
}

static uint64_t port_read(void *opaque, uint64_t off, unsigned len)
{
	struct vga *v = opaque;

	(void)len;
	if (off == 0)
		return v->regs.dispi_index;
	return dispi_read(&v->regs, v->regs.dispi_index);
}

static void port_write(void *opaque, uint64_t off, uint64_t value, unsigned len)
{
	struct vga *v = opaque;

	(void)len;
	if (off == 0)
		v->regs.dispi_index = (uint16_t)value;
	else
		dispi_write(v, v->regs.dispi_index, (uint16_t)value);
}

const struct bus_ops vga_dispi_port_ops = {
	.read = port_read,
	.write = port_write,
	.max_len = 2,
};

static uint64_t mmio_read(void *opaque, uint64_t off, unsigned len)
{
	struct vga *v = opaque;
	uint64_t value = 0;
	unsigned i;

	if (off >= MMIO_VGA_PORTS && off < MMIO_VGA_PORTS + MMIO_VGA_LEN) {
		for (i = 0; i < len; i++)
			value |= (uint64_t)vga_reg_read(
					 v, (uint16_t)(0x3c0 + off -
						       MMIO_VGA_PORTS + i))
				 << (8 * i);
		return value;
	}
	if (off >= MMIO_DISPI && off < MMIO_DISPI + 2 * DISPI_NR)
		return dispi_read(&v->regs, (unsigned)(off - MMIO_DISPI) / 2);
	if (off == MMIO_EXT_LEN)
		return 8;
	if (off == MMIO_EXT_ORDER)
		return LITTLE_ENDIAN_ORDER;
	return 0;
}

static void mmio_write(void *opaque, uint64_t off, uint64_t value, unsigned len)
{
	struct vga *v = opaque;
	unsigned i;

	if (off >= MMIO_VGA_PORTS && off < MMIO_VGA_PORTS + MMIO_VGA_LEN) {
		for (i = 0; i < len; i++)
			vga_reg_write(
				v, (uint16_t)(0x3c0 + off - MMIO_VGA_PORTS + i),
				(uint8_t)(value >> (8 * i)));
		return;
	}
	if (off >= MMIO_DISPI && off < MMIO_DISPI + 2 * DISPI_NR)
		dispi_write(v, (unsigned)(off - MMIO_DISPI) / 2,
			    (uint16_t)value);
}

const struct bus_ops vga_mmio_ops = {
	.read = mmio_read,
	.write = mmio_write,
	.max_len = 4,
};
