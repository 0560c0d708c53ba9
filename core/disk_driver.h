/*
 * disk_driver: what the guest's driver of a disk accepted, as far as the disk's
 * device knows; every bus fills it in (device.h, disk_driver).
 *
 * Thread rule: [any]; a plain struct.
 */
#ifndef CORE_DISK_DRIVER_H
#define CORE_DISK_DRIVER_H

#include <stdbool.h>

struct disk_driver {
	bool started; /* false: no driver yet, nothing else counts */
	bool flush;   /* it can flush */
	bool fua, discard, write_zeroes;
	bool wce_control; /* it can turn the write cache on and off */
	/* Words, blanks between them: "F_FLUSH F_CONFIG_WCE", "SET-FEATURES-02".
	 * What the device offers, and what of that the driver took. */
	char offered[320], accepted[320];
	char text[160]; /* one sentence for people; may be empty */
};

#endif
