/* Ports 0x3b0-0x3df: the registers of an IBM VGA. */
#include "core/hw/display/vga.h"

#include <string.h>

#define STATUS1_BLANK	0x01
#define STATUS1_RETRACE 0x08
#define MISC_COLOUR	0x01
#define CRTC_PROTECT	0x80
#define FIRST_PORT	0x3b0

static const uint8_t seq_mask[8] = {0x03, 0x3d, 0x0f, 0x3f, 0x0e, 0, 0, 0xff};

static const uint8_t gfx_mask[16] = {0x0f, 0x0f, 0x0f, 0x1f, 0x03,
				     0x7b, 0x0f, 0x0f, 0xff};

static const uint8_t attr_mask[VGA_NR_ATTRS] = {
	0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f,
	0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0xef, 0xff, 0x3f, 0x0f, 0x0f,
};

void vga_regs_reset(struct vga_regs *r)
{
	memset(r, 0, sizeof(*r));
	r->dac_mask = 0xff;
	vga_dispi_reset(r);
}

static void attr_write(struct vga_regs *r, uint8_t value)
{
	unsigned index = r->attr_index & 0x1f;

	if (!r->attr_data)
		r->attr_index = value & 0x3f;
	else if (index < VGA_NR_ATTRS)
		r->attr[index] = value & attr_mask[index];
	r->attr_data = !r->attr_data;
}

static uint8_t dac_read(struct vga_regs *r)
{
	uint8_t value = r->dac[r->dac_read * 3 + r->dac_part];

	if (++r->dac_part == 3) {
		r->dac_part = 0;
		r->dac_read++;
	}
	return value;
}

static void dac_write(struct vga_regs *r, uint8_t value)
{
	/* A colour changes when its last part arrives. */
	r->dac_new[r->dac_part] = value;
	if (++r->dac_part == 3) {
		memcpy(&r->dac[r->dac_write * 3], r->dac_new, 3);
		r->dac_part = 0;
		r->dac_write++;
	}
}

static void crtc_write(struct vga_regs *r, uint8_t value)
{
	uint8_t i = r->crtc_index;

	if (i <= 7 && (r->crtc[0x11] & CRTC_PROTECT)) {
		if (i == 7) /* the split line stays writable */
			r->crtc[7] = (r->crtc[7] & ~0x10) | (value & 0x10);
		return;
	}
	r->crtc[i] = value;
}

/* Monochrome and colour adapters answer at different ports. */
static bool answers(const struct vga_regs *r, uint16_t port)
{
	if (port < 0x3c0)
		return !(r->misc & MISC_COLOUR);
	if (port >= 0x3d0)
		return r->misc & MISC_COLOUR;
	return true;
}

static uint16_t as_colour(uint16_t port)
{
	return port < 0x3c0 ? port + 0x20 : port;
}

uint8_t vga_reg_read(struct vga *v, uint16_t port)
{
	struct vga_regs *r = &v->regs;

	if (!answers(r, port))
		return 0xff;
	switch (as_colour(port)) {
	case 0x3c0:
		return r->attr_data ? 0 : r->attr_index;
	case 0x3c1:
		return r->attr[r->attr_index & 0x1f];
	case 0x3c2:
		return 0x10; /* a monitor is there */
	case 0x3c4:
		return r->seq_index;
	case 0x3c5:
		return r->seq[r->seq_index & 7];
	case 0x3c6:
		return r->dac_mask;
	case 0x3c7:
		return r->dac_state;
	case 0x3c8:
		return r->dac_write;
	case 0x3c9:
		return dac_read(r);
	case 0x3ca:
		return r->feature;
	case 0x3cc:
		return r->misc;
	case 0x3ce:
		return r->gfx_index;
	case 0x3cf:
		return r->gfx[r->gfx_index & 0xf];
	case 0x3d4:
		return r->crtc_index;
	case 0x3d5:
		return r->crtc[r->crtc_index];
	case 0x3da:
		/* No beam moves: who waits for a retrace sees it come and go
		 * at each look. */
		r->attr_data = false;
		r->status1 ^= STATUS1_BLANK | STATUS1_RETRACE;
		return r->status1;
	}
	return 0xff;
}

void vga_reg_write(struct vga *v, uint16_t port, uint8_t value)
{
	struct vga_regs *r = &v->regs;
	unsigned i;

	if (!answers(r, port))
		return;
	switch (as_colour(port)) {
	case 0x3c0:
		attr_write(r, value);
		break;
	case 0x3c2:
		r->misc = value & 0xef;
		break;
	case 0x3c4:
		r->seq_index = value & 7;
		break;
	case 0x3c5:
		i = r->seq_index & 7;
		r->seq[i] = value & seq_mask[i];
		vga_window_update(v);
		break;
	case 0x3c6:
		r->dac_mask = value;
		break;
	case 0x3c7:
		r->dac_read = value;
		r->dac_part = 0;
		r->dac_state = 3;
		break;
	case 0x3c8:
		r->dac_write = value;
		r->dac_part = 0;
		r->dac_state = 0;
		break;
	case 0x3c9:
		dac_write(r, value);
		break;
	case 0x3ce:
		r->gfx_index = value & 0xf;
		break;
	case 0x3cf:
		i = r->gfx_index & 0xf;
		r->gfx[i] = value & gfx_mask[i];
		vga_window_update(v);
		break;
	case 0x3d4:
		r->crtc_index = value;
		break;
	case 0x3d5:
		crtc_write(r, value);
		break;
	case 0x3da:
		r->feature = value & 0x10;
		break;
	}
}

static uint64_t port_read(void *opaque, uint64_t off, unsigned len)
{
	(void)len;
	return vga_reg_read(opaque, (uint16_t)(FIRST_PORT + off));
}

static void port_write(void *opaque, uint64_t off, uint64_t value, unsigned len)
{
	(void)len;
	vga_reg_write(opaque, (uint16_t)(FIRST_PORT + off), (uint8_t)value);
}

const struct bus_ops vga_port_ops = {
	.read = port_read,
	.write = port_write,
	.min_len = 1,
	.max_len = 1,
};
