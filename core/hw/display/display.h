/*
 * display: the classes of display devices.
 *
 * Thread rule: data, except where a comment says otherwise.
 */
#ifndef CORE_HW_DISPLAY_DISPLAY_H
#define CORE_HW_DISPLAY_DISPLAY_H

#include <stdbool.h>

struct device;
struct device_class;

/* "vga": args->rom is the video BIOS, NULL for Debian's SeaVGABIOS, "" for
 * none. */
extern const struct device_class vga_class;

/* A boot without a video BIOS: the 80x25 text mode with its font.  Main loop,
 * world stopped; false when the font's file is missing (then nothing is set).
 */
bool vga_direct_setup(struct device *dev);

#endif
