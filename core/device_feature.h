/*
 * device_feature: one thing that the interface between a device and its guest's
 * driver may have, by name.
 *
 * Thread rule: [any]; a plain struct.
 */
#ifndef CORE_DEVICE_FEATURE_H
#define CORE_DEVICE_FEATURE_H

#include <stdbool.h>
#include <stdint.h>

struct device_feature {
	const char *name;	/* static, the specification's: "F_FLUSH" */
	uint8_t bit;		/* its number */
	bool offered, accepted; /* by the device, by the driver */
};

#endif
