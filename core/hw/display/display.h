/*
 * display: the classes of display devices.
 *
 * Thread rule: data only.
 */
#ifndef CORE_HW_DISPLAY_DISPLAY_H
#define CORE_HW_DISPLAY_DISPLAY_H

struct device_class;

/* "vga": args->rom is the video BIOS, NULL for Debian's SeaVGABIOS, "" for
 * none. */
extern const struct device_class vga_class;

#endif
