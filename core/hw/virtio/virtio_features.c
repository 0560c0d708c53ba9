/* The names of feature bits: virtio 1.2, 5.2.3, 5.6.3, 6 and 6.3. */
#include <stdio.h>
#include <string.h>

#include "core/device_feature.h"
#include "core/disk_driver.h"
#include "core/hw/virtio/virtio.h"

#define ANY_TYPE 0

static const struct {
	uint16_t type; /* of device */
	uint8_t bit;
	const char *name;
} names[] = {
	{2, 1, "F_SIZE_MAX"},
	{2, 2, "F_SEG_MAX"},
	{2, 4, "F_GEOMETRY"},
	{2, 5, "F_RO"},
	{2, 6, "F_BLK_SIZE"},
	{2, 9, "F_FLUSH"},
	{2, 10, "F_TOPOLOGY"},
	{2, 11, "F_CONFIG_WCE"},
	{2, 12, "F_MQ"},
	{2, 13, "F_DISCARD"},
	{2, 14, "F_WRITE_ZEROES"},
	{2, 15, "F_LIFETIME"},
	{2, 16, "F_SECURE_ERASE"},
	{8, 0, "F_INOUT"},
	{8, 1, "F_HOTPLUG"},
	{8, 2, "F_CHANGE"},
	{8, 3, "F_T10_PI"},
	{ANY_TYPE, 28, "F_INDIRECT_DESC"},
	{ANY_TYPE, 29, "F_EVENT_IDX"},
	{ANY_TYPE, 32, "F_VERSION_1"},
	{ANY_TYPE, 33, "F_ACCESS_PLATFORM"},
	{ANY_TYPE, 34, "F_RING_PACKED"},
	{ANY_TYPE, 35, "F_IN_ORDER"},
	{ANY_TYPE, 36, "F_ORDER_PLATFORM"},
	{ANY_TYPE, 37, "F_SR_IOV"},
	{ANY_TYPE, 38, "F_NOTIFICATION_DATA"},
	{ANY_TYPE, 39, "F_NOTIF_CONFIG_DATA"},
	{ANY_TYPE, 40, "F_RING_RESET"},
};

/* The specification's name of a feature bit of a device type; "F_?" for one
 * that it doesn't know. */
static const char *feature_name(uint16_t type, unsigned bit)
{
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i].bit == bit &&
		    (names[i].type == type || names[i].type == ANY_TYPE))
			return names[i].name;
	return "F_?";
}

unsigned virtio_device_features(struct device *dev, struct device_feature *out,
				unsigned max)
{
	const struct virtio_dev *v = virtio_of(dev);
	unsigned n = 0;

	for (unsigned bit = 0; bit < 64 && n < max; bit++) {
		bool offered = v->features >> bit & 1;
		bool accepted = v->driver_features >> bit & 1;

		if (offered || accepted)
			out[n++] = (struct device_feature){
				.name = feature_name(v->type->id, bit),
				.bit = (uint8_t)bit,
				.offered = offered,
				.accepted = accepted,
			};
	}
	return n;
}

static void add_word(char *words, size_t room, const char *word)
{
	size_t len = strlen(words);

	snprintf(words + len, room - len, "%s%s", len ? " " : "", word);
}

void virtio_disk_words(struct virtio_dev *v, struct disk_driver *out)
{
	struct device_feature rows[64];
	unsigned nr = virtio_device_features(&v->pci.dev, rows, 64);

	for (unsigned i = 0; i < nr; i++) {
		if (rows[i].offered)
			add_word(out->offered, sizeof(out->offered),
				 rows[i].name);
		if (rows[i].accepted)
			add_word(out->accepted, sizeof(out->accepted),
				 rows[i].name);
	}
}
