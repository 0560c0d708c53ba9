/*
 * isa: the devices at fixed ports.
 *
 * Thread rule: as core/device.h; the notes say what else applies.
 */
#ifndef CORE_HW_ISA_ISA_H
#define CORE_HW_ISA_ISA_H

#include <stdint.h>

#include "core/bus.h"

struct device;
struct device_class;
struct machine;

/* In create: nr ports from port on, enabled, under the device's lock; the
 * handlers' opaque is dev. */
void isa_ports_add(struct device *dev, struct bus_ports *p, const char *name,
		   uint16_t port, uint16_t nr, const struct bus_ops *ops);

/* MC146818 clock and CMOS memory, ports 0x70-0x71, GSI 8.  Memory sizes are
 * filled from the machine. */
extern const struct device_class rtc_class; /* "rtc" */
/* Keyboard controller with PS/2 keyboard and mouse, ports 0x60 and 0x64,
 * GSIs 1 and 12; input comes from machine.console. */
extern const struct device_class i8042_class; /* "i8042" */
/* 16550A; args.line, args.unit 0-3 (COM1..COM4: ports 0x3f8, 0x2f8, 0x3e8,
 * 0x2e8, GSIs 4 and 3). */
extern const struct device_class serial_class; /* "serial" */
/* Bytes written to port 0x402 (args.port) become lines of the log and, when
 * args.line is set, its output. */
extern const struct device_class debugcon_class; /* "isa-debugcon" */
/* A value v written to port 0x501 (args.port) ends the machine with the code
 * (v << 1) | 1. */
extern const struct device_class debug_exit_class; /* "isa-debug-exit" */

/* Main loop, before the machine starts or with it stopped: the order in which
 * firmware tries to boot, as letters "c" (disk), "d" (CD-ROM), "n". */
void rtc_set_boot_order(struct machine *m, const char *order);

#endif
