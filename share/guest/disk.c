/* The disk that the records go to: the first driver that has one. */
#include "share/guest/guest.h"

static const struct disk_driver *const drivers[] = {
	&virtio_blk_driver,  &ahci_driver, &ide_driver,
	&virtio_scsi_driver, &nvme_driver, &sdhci_driver,
};

static const struct disk_driver *driver;
static struct disk_facts facts;

bool disk_init(void)
{
	unsigned nth = (unsigned)option_number("disk", 0);

	for (unsigned i = 0; i < ARRAY_SIZE(drivers); i++) {
		if (option_text("bus") && !option_has("bus", drivers[i]->name))
			continue;
		if (!drivers[i]->probe(nth, &facts))
			continue;
		driver = drivers[i];
		return true;
	}
	return false;
}

const char *disk_bus(void)
{
	return driver ? driver->name : "none";
}

const struct disk_facts *disk_facts(void)
{
	return &facts;
}

int disk_write_cache(void)
{
	return driver && driver->write_cache ? driver->write_cache() : -1;
}

bool disk_set_write_cache(bool on)
{
	return driver && driver->set_write_cache && driver->set_write_cache(on);
}

void disk_submit(unsigned slot, enum disk_op op, uint64_t sector, void *buf,
		 uint32_t len)
{
	driver->submit(slot, op, sector, buf, len);
}

int disk_reap(uint8_t *status)
{
	return driver->reap(status);
}

bool disk_wait(volatile uint32_t *reg, uint32_t mask, uint32_t value)
{
	uint64_t end = timer_ms() + DISK_WAIT_MS;

	while ((*reg & mask) != value) {
		if (timer_ms() > end)
			return false;
		relax();
	}
	compiler_barrier();
	return true;
}
