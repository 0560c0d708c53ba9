/*
 * vga: what the source files of the VGA share.
 *
 * The device is the Bochs standard VGA: the registers of an IBM VGA, the
 * DISPI registers for linear framebuffers, 16 MiB of video memory.  Planes
 * are interleaved in that memory: byte 4 * n + p is byte n of plane p.
 *
 *   vga.c         the device: creation, reset, state
 *   vga_regs.c    ports 0x3b0-0x3df
 *   vga_dispi.c   ports 0x1ce-0x1d1 and BAR 2
 *   vga_window.c  guest accesses at 0xa0000-0xbffff
 *   vga_mode.c    from registers to what is to be drawn
 *   vga_draw.c    refresh, graphics modes
 *   vga_text.c    text modes
 *
 * Thread rule: registers and window under the device's lock; drawing on the
 * main loop from a copy of the registers, without that lock.  Whatever the
 * guest writes, drawing stays inside the video memory and the surface.
 */
#ifndef CORE_HW_DISPLAY_VGA_H
#define CORE_HW_DISPLAY_VGA_H

#include "core/console.h"
#include "core/hw/pci.h"

#define VGA_VRAM_LEN   (16u << 20)
#define VGA_PLANES_LEN (256u << 10) /* what an IBM VGA has */

/* Indices that code refers to by name. */
enum { VGA_SEQ_CLOCKING = 1, VGA_SEQ_MAP_MASK, VGA_SEQ_FONTS, VGA_SEQ_MEMORY };
enum {
	VGA_GFX_SET,
	VGA_GFX_SET_ENABLE,
	VGA_GFX_COMPARE,
	VGA_GFX_ROTATE,
	VGA_GFX_READ_MAP,
	VGA_GFX_MODE,
	VGA_GFX_MISC,
	VGA_GFX_CARE,
	VGA_GFX_BIT_MASK
};
enum {
	VGA_ATTR_MODE = 0x10,
	VGA_ATTR_PLANES = 0x12,
	VGA_ATTR_COLOUR_SELECT = 0x14,
	VGA_NR_ATTRS = 0x15
};
enum {
	DISPI_ID,
	DISPI_XRES,
	DISPI_YRES,
	DISPI_BPP,
	DISPI_ENABLE,
	DISPI_BANK,
	DISPI_VIRT_WIDTH,
	DISPI_VIRT_HEIGHT,
	DISPI_X_OFFSET,
	DISPI_Y_OFFSET,
	DISPI_MEMORY_64K,
	DISPI_NR
};
#define DISPI_ENABLED  0x01
#define DISPI_GETCAPS  0x02
#define DISPI_8BIT_DAC 0x20
#define DISPI_LFB      0x40
#define DISPI_NOCLEAR  0x80

/* All that a guest can set. */
struct vga_regs {
	uint8_t seq_index, seq[8];
	uint8_t gfx_index, gfx[16];
	uint8_t attr_index, attr[32];
	bool attr_data; /* the next write to 0x3c0 is data */
	uint8_t crtc_index, crtc[256];
	uint8_t misc, feature, status1;
	uint8_t dac_state, dac_part, dac_read, dac_write, dac_mask;
	uint8_t dac_new[3];
	uint8_t dac[768];
	uint32_t latch;
	uint16_t dispi_index, dispi[DISPI_NR];
};

enum vga_kind {
	VGA_BLANK,
	VGA_TEXT,
	VGA_PLANAR, /* 16 colours, one bit in each plane */
	VGA_CGA,    /* 4 colours, two bits a pixel */
	VGA_PACKED, /* 256 colours */
	VGA_RGB15,
	VGA_RGB16,
	VGA_RGB24,
	VGA_RGB32,
	VGA_NR_KINDS
};

/* What the registers say is on the screen.  Compared bytewise: made from
 * zeroed memory. */
struct vga_mode {
	enum vga_kind kind;
	int width, height;     /* of the surface, pixels */
	uint32_t start, pitch; /* bytes in video memory */
	uint32_t wrap;	       /* mask over addresses in video memory */
	int dots;	       /* surface pixels a pixel is wide */
	int scans, doubled;    /* scan lines a row has, shift for double scan */
	int split;	       /* first scan line that shows address 0 */
	int scan_bit[2]; /* address bits replaced by the scan line's, or -1 */
	uint32_t colours[256];
	/* Text modes: */
	int cols, rows, cell_width, cell_height;
	int cursor; /* cell in video memory, -1: hidden */
	int cursor_from, cursor_to;
	uint32_t fonts[2]; /* of attribute bit 3 clear, set; in plane 2 */
	bool blinks, line_graphics;
};

/* What was drawn of a text mode. */
struct vga_drawn_text {
	uint32_t keys[CONSOLE_MAX_ROWS][CONSOLE_MAX_COLS];
	uint8_t fonts[2][256 * 32];
	struct console_text text;
};

#define VGA_BITMAP_WORDS (VGA_VRAM_LEN / MEM_PAGE_SIZE / 64)

struct vga {
	struct pci_dev pci; /* first */
	struct vga_regs regs;
	struct ram_block *block;
	uint8_t *vram;
	struct mem_client *client;
	struct region window; /* 0xa0000-0xbffff, always */
	struct region direct; /* RAM over the window where that is the same */
	struct bus_ports ports, dispi_ports;
	struct device_counter *refreshes, *window_writes;
	/* Drawing's own, main loop only: */
	struct vga_mode mode;
	struct vga_drawn_text drawn;
	uint64_t dirty[VGA_BITMAP_WORDS];
	uint32_t line[CONSOLE_MAX_WIDTH];
	bool redraw; /* under the lock: forget what was drawn */
};

/* vga_regs.c */
extern const struct bus_ops vga_port_ops;
uint8_t vga_reg_read(struct vga *v, uint16_t port);
void vga_reg_write(struct vga *v, uint16_t port, uint8_t value);
void vga_regs_reset(struct vga_regs *r);

/* vga_dispi.c */
extern const struct bus_ops vga_dispi_port_ops, vga_mmio_ops;
void vga_dispi_reset(struct vga_regs *r);
/* Bytes from one row to the next, and of the first pixel shown. */
uint32_t vga_dispi_pitch(const struct vga_regs *r);
uint32_t vga_dispi_start(const struct vga_regs *r);

/* vga_window.c */
extern const struct bus_ops vga_window_ops;
/* After a register changed that decides how the window maps. */
void vga_window_update(struct vga *v);

/* vga_mode.c: fills *m, without reading video memory. */
void vga_mode_decode(const struct vga_regs *r, struct vga_mode *m);

/* vga_draw.c */
extern const struct console_display_ops vga_display_ops;

/* vga_text.c: draws what changed; dirty: video memory may differ. */
void vga_text_draw(struct vga *v, bool full, bool dirty);

#endif
