/* The classes of units behind a SCSI controller. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/disk_driver.h"
#include "core/error.h"
#include "core/hw/storage/scsi_int.h"
#include "core/hw/virtio/virtio_scsi.h"
#include "core/migration/state.h"

static struct scsi_unit *unit_of(struct device *dev)
{
	return (struct scsi_unit *)(void *)dev;
}

static int create(struct scsi_unit *u, const struct device_args *args,
		  bool is_cdrom, struct error *e)
{
	struct drive_caps caps = {
		.device = u->dev.cls->name,
		.wce = DRIVE_WCE_NEGOTIABLE,
		.flush = true,
		.fua = !is_cdrom,
		.discard = !is_cdrom,
		.write_zeroes = !is_cdrom,
	};
	int r;

	if (!args->drive || !args->io || !args->parent)
		return error_set(e, -EINVAL,
				 "a SCSI unit needs a drive and a controller");
	if (is_cdrom && !drive_readonly(args->drive))
		return error_set(e, -EINVAL, "a CD-ROM must be read-only");
	r = drive_attach(args->drive, &caps, e);
	if (r)
		return r;
	u->drive = args->drive;
	u->io = args->io;
	u->target = args->unit;
	u->is_cdrom = is_cdrom;
	u->block_len = is_cdrom ? 2048 : DRIVE_SECTOR;
	u->wce_default = drive_wce(u->drive);
	drive_limits(u->drive, &u->limits);
	u->len = drive_len(u->drive);
	mmc_init(&u->mmc, u->drive);
	scsi_power_on(u);
	return virtio_scsi_attach(args->parent, u, e);
}

static int disk_create(struct device *dev, const struct device_args *args,
		       struct error *e)
{
	return create(unit_of(dev), args, false, e);
}

static int cdrom_create(struct device *dev, const struct device_args *args,
			struct error *e)
{
	return create(unit_of(dev), args, true, e);
}

static void quiesce(struct device *dev)
{
	drive_drain(unit_of(dev)->drive);
}

static void destroy(struct device *dev)
{
	quiesce(dev);
	virtio_scsi_detach(unit_of(dev));
}

static void reset(struct device *dev)
{
	quiesce(dev);
	scsi_power_on(unit_of(dev));
}

/* ---- for people ---- */

static void add_word(char *text, size_t len, const char *word)
{
	size_t n = strlen(text);

	snprintf(text + n, len - n, "%s%s", n ? " " : "", word);
}

static const struct word {
	uint8_t use;
	bool writes;
	const char *text;
} words[] = {
	{SCSI_USES_FLUSH, false, "SYNCHRONIZE-CACHE"},
	{SCSI_USES_FUA, true, "FUA"},
	{SCSI_USES_MODE_SELECT, true, "MODE-SELECT-08"},
	{SCSI_USES_UNMAP, true, "UNMAP"},
	{SCSI_USES_WRITE_SAME, true, "WRITE-SAME"},
};

/* Nothing is negotiated: accepted is what the driver has made use of. */
static void disk_driver(struct device *dev, struct disk_driver *out)
{
	struct scsi_unit *u = unit_of(dev);
	bool writes = !u->is_cdrom && !drive_readonly(u->drive);

	pthread_mutex_lock(&dev->parent->lock);
	out->started = u->uses & SCSI_USES_ANY;
	out->flush = true;
	out->fua = out->discard = out->write_zeroes = writes;
	out->wce_control = writes;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (words[i].writes && !writes)
			continue;
		add_word(out->offered, sizeof(out->offered), words[i].text);
		if (u->uses & words[i].use)
			add_word(out->accepted, sizeof(out->accepted),
				 words[i].text);
	}
	pthread_mutex_unlock(&dev->parent->lock);
}

static bool disk_resized(struct device *dev)
{
	struct scsi_unit *u = unit_of(dev);
	bool told;

	pthread_mutex_lock(&dev->parent->lock);
	scsi_look(u);
	virtio_scsi_tell(u, 0x2a, 0x09);
	told = u->uses & SCSI_USES_ANY;
	pthread_mutex_unlock(&dev->parent->lock);
	return told;
}

static int disk_set_wce(struct device *dev, bool on, struct error *e)
{
	struct scsi_unit *u = unit_of(dev);

	if (drive_readonly(u->drive))
		return error_set(e, -EOPNOTSUPP,
				 "'%s' is read-only: it has no write cache",
				 dev->name);
	pthread_mutex_lock(&dev->parent->lock);
	if (u->wce != on) {
		u->wce = on;
		u->attention |= SCSI_ATTENTION_MODE;
		virtio_scsi_tell(u, 0x2a, 0x01);
	}
	pthread_mutex_unlock(&dev->parent->lock);
	drive_set_wce(u->drive, on);
	return 0;
}

/* ---- state ---- */

static const struct state_field fields[] = {
	STATE_FIELD(struct scsi_unit, wce),
	STATE_FIELD(struct scsi_unit, attention),
	STATE_FIELD(struct scsi_unit, is_stopped),
	STATE_FIELD(struct scsi_unit, uses),
	STATE_STRUCTS(struct scsi_unit, mmc, 1, &mmc_state),
};

static int check(void *obj, int version, struct error *e)
{
	struct scsi_unit *u = obj;

	(void)version;
	if (!(u->attention & ~SCSI_ATTENTION_ALL))
		return 0;
	return error_set(e, -EINVAL, "'%s': no such unit attention: 0x%x",
			 u->dev.name, u->attention);
}

static const struct state_desc state = {
	.name = "scsi",
	.version = 1,
	.oldest = 1,
	.fields = fields,
	.nr_fields = sizeof(fields) / sizeof(fields[0]),
	.check = check,
};

const struct device_class scsi_disk_class = {
	.name = "scsi-disk",
	.summary = "SCSI disk",
	.bus = DEVICE_ON_CONTROLLER,
	.size = sizeof(struct scsi_unit),
	.create = disk_create,
	.destroy = destroy,
	.reset = reset,
	.quiesce = quiesce,
	.state = &state,
	.disk_driver = disk_driver,
	.disk_resized = disk_resized,
	.disk_set_wce = disk_set_wce,
};

const struct device_class scsi_cdrom_class = {
	.name = "scsi-cdrom",
	.summary = "SCSI CD-ROM drive",
	.bus = DEVICE_ON_CONTROLLER,
	.size = sizeof(struct scsi_unit),
	.create = cdrom_create,
	.destroy = destroy,
	.reset = reset,
	.quiesce = quiesce,
	.state = &state,
};
