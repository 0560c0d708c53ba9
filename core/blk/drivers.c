/*
 * drivers: the lists of node types and formats.  A new one is added here and
 * to the build list.
 */
#include <string.h>

#include "core/blk/driver.h"
#include "core/blk/filter/fault.h"
#include "core/blk/filter/log.h"
#include "core/blk/filter/throttle.h"
#include "core/blk/filter/volatile.h"
#include "core/blk/format.h"

static const struct blk_driver *const drivers[] = {
	&blk_file_driver,     &blk_raw_driver, &blk_qcow2_driver,
	&blk_fault_driver,    &blk_log_driver, &blk_throttle_driver,
	&blk_volatile_driver, &blk_nbd_driver,
};

static const struct blk_format *const formats[] = {
	&blk_raw_format,
	&blk_qcow2_format,
};

#define NR(a) (sizeof(a) / sizeof((a)[0]))

const struct blk_driver *blk_driver_find(const char *name)
{
	for (size_t i = 0; i < NR(drivers); i++)
		if (!strcmp(drivers[i]->name, name))
			return drivers[i];
	return NULL;
}

const struct blk_format *blk_format_next(const struct blk_format *f)
{
	if (!f)
		return formats[0];
	for (size_t i = 0; i + 1 < NR(formats); i++)
		if (formats[i] == f)
			return formats[i + 1];
	return NULL;
}

const struct blk_format *blk_format_find(const char *name)
{
	for (size_t i = 0; i < NR(formats); i++)
		if (!strcmp(formats[i]->name, name))
			return formats[i];
	return NULL;
}

const struct blk_format *blk_format_probe(struct blk *file)
{
	const struct blk_format *best = &blk_raw_format;
	uint8_t head[2048] = {0};
	size_t len =
		blk_len(file) < sizeof(head) ? blk_len(file) : sizeof(head);
	int score, top = 0;

	if (blk_read(file, 0, head, len))
		return best;
	for (size_t i = 0; i < NR(formats); i++) {
		if (!formats[i]->probe)
			continue;
		score = formats[i]->probe(head, len, blk_name(file));
		if (score > top) {
			top = score;
			best = formats[i];
		}
	}
	return best;
}
