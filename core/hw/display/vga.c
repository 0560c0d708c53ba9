/* The VGA as a device: creation, reset, state.  See vga.h. */
#include "core/hw/display/vga.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/hw/display/display.h"
#include "core/migration/state.h"

#define VGA_BIOS     "/usr/share/seabios/vgabios-stdvga.bin"
#define WINDOW_BASE  0xa0000
#define WINDOW_LEN   0x20000
#define DIRECT_LEN   0x10000
#define MMIO_BAR_LEN 0x1000

static void add_window(struct vga *v)
{
	struct mem *mem = v->pci.dev.m->mem;

	v->window = (struct region){
		.kind = REGION_IO,
		.gpa = WINDOW_BASE,
		.len = WINDOW_LEN,
		.priority = 1,
		.enabled = true,
		.ops = &vga_window_ops,
		.opaque = v,
		.dev = &v->pci.dev,
	};
	snprintf(v->window.name, sizeof(v->window.name), "vga.window");
	v->direct = (struct region){
		.kind = REGION_RAM,
		.gpa = WINDOW_BASE,
		.len = DIRECT_LEN,
		.priority = 2,
		.block = v->block,
	};
	snprintf(v->direct.name, sizeof(v->direct.name), "vga.chain4");
	mem_region_add(mem, &v->window);
	mem_region_add(mem, &v->direct);
}

static void add_ports(struct vga *v)
{
	struct bus *bus = v->pci.dev.m->bus;

	v->ports = (struct bus_ports){
		.name = "vga",
		.port = 0x3b0,
		.nr = 0x30,
		.enabled = true,
		.ops = &vga_port_ops,
		.dev = &v->pci.dev,
		.opaque = v,
	};
	v->dispi_ports = (struct bus_ports){
		.name = "vga.dispi",
		.port = 0x1ce,
		.nr = 4,
		.enabled = true,
		.ops = &vga_dispi_port_ops,
		.dev = &v->pci.dev,
		.opaque = v,
	};
	bus_ports_add(bus, &v->ports);
	bus_ports_add(bus, &v->dispi_ports);
}

static int vga_create(struct device *dev, const struct device_args *args,
		      struct error *e)
{
	static const struct pci_ids ids = {
		.vendor = 0x1234,
		.device = 0x1111,
		.subvendor = 0x1af4,
		.subdevice = 0x1100,
		.revision = 2,
		.class_code = 0x030000,
	};
	struct vga *v = (struct vga *)dev;
	const char *rom = args->rom ? args->rom : VGA_BIOS;
	int ret = pci_dev_init(&v->pci, args, &ids, e);

	if (ret)
		return ret;
	v->block = mem_block_create(dev->m->mem, "vga.vram", VGA_VRAM_LEN, e);
	if (!v->block) {
		ret = -ENOMEM;
		goto fail;
	}
	v->vram = mem_block_host(v->block);
	v->client = mem_client_create(dev->m->mem, "display", v->block);
	if (!v->client) {
		ret = error_set(e, -ENOSPC, "%s: no dirty log is free",
				dev->name);
		goto fail;
	}
	pci_bar_ram(&v->pci, 0, PCI_BAR_MEM32, v->block);
	pci_bar_io(&v->pci, 2, PCI_BAR_MEM32, MMIO_BAR_LEN, &vga_mmio_ops, v);
	ret = rom[0] ? pci_rom_load(&v->pci, rom, e) : 0;
	if (ret)
		goto fail_client;
	v->refreshes = device_counter_add(dev, "refreshes");
	v->window_writes = device_counter_add(dev, "window writes");
	vga_regs_reset(&v->regs);
	v->redraw = true;
	add_window(v);
	add_ports(v);
	console_display_set(dev->m->console, &vga_display_ops, v);
	return 0;

fail_client:
	mem_client_destroy(dev->m->mem, v->client);
fail:
	pci_dev_fini(&v->pci);
	return ret;
}

static void vga_destroy(struct device *dev)
{
	struct vga *v = (struct vga *)dev;

	console_display_set(dev->m->console, NULL, NULL);
	bus_ports_remove(dev->m->bus, &v->dispi_ports);
	bus_ports_remove(dev->m->bus, &v->ports);
	mem_region_remove(dev->m->mem, &v->direct);
	mem_region_remove(dev->m->mem, &v->window);
	mem_client_destroy(dev->m->mem, v->client);
	pci_dev_fini(&v->pci);
}

static void vga_reset(struct device *dev)
{
	struct vga *v = (struct vga *)dev;

	pthread_mutex_lock(&dev->lock);
	pci_dev_reset(&v->pci);
	vga_regs_reset(&v->regs);
	vga_window_update(v);
	v->redraw = true;
	pthread_mutex_unlock(&dev->lock);
}

/* ---- state ---- */

static const struct state_field regs_fields[] = {
	STATE_FIELD(struct vga_regs, seq_index),
	STATE_ARRAY(struct vga_regs, seq),
	STATE_FIELD(struct vga_regs, gfx_index),
	STATE_ARRAY(struct vga_regs, gfx),
	STATE_FIELD(struct vga_regs, attr_index),
	STATE_ARRAY(struct vga_regs, attr),
	STATE_FIELD(struct vga_regs, attr_data),
	STATE_FIELD(struct vga_regs, crtc_index),
	STATE_ARRAY(struct vga_regs, crtc),
	STATE_FIELD(struct vga_regs, misc),
	STATE_FIELD(struct vga_regs, feature),
	STATE_FIELD(struct vga_regs, status1),
	STATE_FIELD(struct vga_regs, dac_state),
	STATE_FIELD(struct vga_regs, dac_part),
	STATE_FIELD(struct vga_regs, dac_read),
	STATE_FIELD(struct vga_regs, dac_write),
	STATE_FIELD(struct vga_regs, dac_mask),
	STATE_ARRAY(struct vga_regs, dac_new),
	STATE_ARRAY(struct vga_regs, dac),
	STATE_FIELD(struct vga_regs, latch),
	STATE_FIELD(struct vga_regs, dispi_index),
	STATE_ARRAY(struct vga_regs, dispi),
};

static int regs_check(void *obj, int version, struct error *e)
{
	const struct vga_regs *r = obj;
	uint64_t end = vga_dispi_start(r) +
		       (uint64_t)vga_dispi_pitch(r) * r->dispi[DISPI_YRES];

	(void)version;
	if (r->dac_part > 2)
		return error_set(e, -EINVAL, "vga: DAC part %u of 3",
				 r->dac_part);
	if (r->dispi[DISPI_BANK] >= VGA_VRAM_LEN / 65536)
		return error_set(e, -EINVAL, "vga: bank %u past video memory",
				 r->dispi[DISPI_BANK]);
	if (!(r->dispi[DISPI_ENABLE] & DISPI_ENABLED))
		return 0;
	if (!r->dispi[DISPI_XRES] || r->dispi[DISPI_XRES] > CONSOLE_MAX_WIDTH ||
	    !r->dispi[DISPI_YRES] ||
	    r->dispi[DISPI_YRES] > CONSOLE_MAX_HEIGHT ||
	    r->dispi[DISPI_VIRT_WIDTH] < r->dispi[DISPI_XRES] ||
	    end > VGA_VRAM_LEN)
		return error_set(e, -EINVAL,
				 "vga: a screen of %ux%u does not fit into "
				 "video memory",
				 r->dispi[DISPI_XRES], r->dispi[DISPI_YRES]);
	return 0;
}

static const struct state_desc regs_state = {
	.name = "vga-regs",
	.version = 1,
	.oldest = 1,
	.fields = regs_fields,
	.nr_fields = sizeof(regs_fields) / sizeof(regs_fields[0]),
	.check = regs_check,
};

static const struct state_field vga_fields[] = {
	STATE_STRUCTS(struct vga, pci, 1, &pci_dev_state),
	STATE_STRUCTS(struct vga, regs, 1, &regs_state),
};

static const struct state_desc vga_state = {
	.name = "vga",
	.version = 1,
	.oldest = 1,
	.fields = vga_fields,
	.nr_fields = sizeof(vga_fields) / sizeof(vga_fields[0]),
};

static int vga_loaded(struct device *dev, struct error *e)
{
	struct vga *v = (struct vga *)dev;

	(void)e;
	pci_dev_loaded(&v->pci);
	vga_window_update(v);
	v->redraw = true;
	return 0;
}

const struct device_class vga_class = {
	.name = "vga",
	.summary = "Bochs-compatible VGA, 16 MiB",
	.bus = DEVICE_ON_PCI,
	.size = sizeof(struct vga),
	.create = vga_create,
	.destroy = vga_destroy,
	.reset = vga_reset,
	.state = &vga_state,
	.loaded = vga_loaded,
};
