/* What makes a machine's description valid, and its defaults. */
#include "core/vm_config.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/blk/drive_errors.h"
#include "core/blk/format.h"
#include "core/error.h"
#include "core/vm.h"
#include "core/vm_disk_bus.h"

#define MIB	    (1024ull * 1024)
#define MEM_MIN	    (1 * MIB)
#define MEM_MAX	    (1024ull * 1024 * MIB)
#define MEM_DEFAULT (512 * MIB)

void vm_config_init(struct vm_config *cfg)
{
	memset(cfg, 0, sizeof(*cfg));
	strcpy(cfg->name, "machine");
	cfg->mem = MEM_DEFAULT;
	cfg->cpus = 1;
	cfg->vga = cfg->tablet = cfg->rng = true;
}

const char *vm_share_dir(void)
{
	const char *dir = getenv("BINNACLE_SHARE");

	return dir && *dir ? dir : BINNACLE_SHARE_DIR;
}

int vm_parse_unflushed_age(const char *text, unsigned *out, struct error *e)
{
	char *end = NULL;
	unsigned long v = 0;

	if (isdigit((unsigned char)*text))
		v = strtoul(text, &end, 10);
	if (!end || *end || !v || v > VM_MAX_UNFLUSHED)
		return error_set(e, -EINVAL,
				 "max-unflushed-age '%s': give seconds, from 1 "
				 "to %d",
				 text, VM_MAX_UNFLUSHED);
	*out = (unsigned)v;
	return 0;
}

int vm_parse_size(const char *text, uint64_t *out, struct error *e)
{
	static const char units[] = "kmgt";
	char *end = NULL;
	unsigned shift = 0;
	uint64_t v = 0;

	errno = 0;
	if (isdigit((unsigned char)*text))
		v = strtoull(text, &end, 10);
	if (!end || errno)
		goto bad;
	if (*end) {
		const char *unit = strchr(units, tolower((unsigned char)*end));

		if (!unit)
			goto bad;
		shift = 10 * (unsigned)(unit - units + 1);
		end++;
		if (*end == 'i' || *end == 'I')
			end++;
		if (*end == 'b' || *end == 'B')
			end++;
	}
	if (*end || v > UINT64_MAX >> shift)
		goto bad;
	*out = v << shift;
	return 0;
bad:
	return error_set(e, -EINVAL,
			 "'%.40s' is not a size: write bytes, or a number "
			 "with K, M, G or T, as in 512M",
			 text);
}

static int check_disk(const struct vm_disk_config *d, unsigned i,
		      struct error *e)
{
	enum drive_preset preset;
	enum drive_on_error on_error;
	enum blk_aio aio;
	int r;

	if (*d->format && !blk_format_find(d->format))
		return error_set(e, -EINVAL,
				 "disk %u: format '%s' is not known; allowed: "
				 "raw, qcow2",
				 i, d->format);
	r = drive_preset_parse(d->cache, &preset, e);
	if (!r)
		r = drive_aio_parse(d->aio, &aio, e);
	if (!r)
		r = drive_werror_parse(d->werror, &on_error, e);
	if (!r)
		r = drive_rerror_parse(d->rerror, &on_error, e);
	if (r)
		return error_prefix(e, r, "disk %u", i);
	if (!vm_disk_bus_of(d, e))
		return error_prefix(e, -EINVAL, "disk %u", i);
	if (!*d->path && !d->cdrom)
		return error_set(e, -EINVAL,
				 "disk %u: no path; only a CD-ROM drive may be "
				 "empty",
				 i);
	if (d->cdrom && d->scratch)
		return error_set(e, -EINVAL,
				 "disk %u: nothing is written to a CD-ROM, so "
				 "there is nothing to keep apart with scratch",
				 i);
	if (d->is_volatile && !d->scratch)
		return error_set(e, -EINVAL,
				 "disk %u: only a scratch disk can have a "
				 "volatile cache: a power cut would be one for "
				 "its image too; add scratch",
				 i);
	return 0;
}

static int check_serial(const char *serial, struct error *e)
{
	if (!*serial || !strcmp(serial, "stdio") || !strcmp(serial, "none") ||
	    (!strncmp(serial, "file:", 5) && serial[5]))
		return 0;
	return error_set(e, -EINVAL,
			 "serial '%.80s' is not known; allowed: stdio, none, "
			 "file:PATH",
			 serial);
}

static int check_boot(const struct vm_config *cfg, struct error *e)
{
	const char *order = cfg->boot_order;

	if (strlen(order) > 2 || strspn(order, "cd") != strlen(order) ||
	    (order[0] && order[0] == order[1]))
		return error_set(e, -EINVAL,
				 "boot order '%s' is not known; allowed: c "
				 "(disk), d (CD-ROM), cd or dc",
				 order);
	if (!*cfg->kernel && (*cfg->initrd || *cfg->append))
		return error_set(e, -EINVAL,
				 "an initrd or a command line needs a kernel "
				 "to go with it");
	return 0;
}

int config_check(const struct vm_config *cfg, struct error *e)
{
	int r;

	if (!*cfg->name)
		return error_set(e, -EINVAL, "the machine has no name");
	for (const char *p = cfg->name; *p; p++)
		if (iscntrl((unsigned char)*p) || *p == '/')
			return error_set(e, -EINVAL,
					 "the machine's name has a slash or a "
					 "control character");
	if (cfg->mem < MEM_MIN || cfg->mem > MEM_MAX || cfg->mem % 4096)
		return error_set(e, -EINVAL,
				 "memory of %" PRIu64 " bytes; allowed: 1M to "
				 "1T in steps of 4K",
				 cfg->mem);
	if (cfg->cpus < 1 || cfg->cpus > VM_MAX_VCPUS)
		return error_set(e, -EINVAL, "%u CPUs; allowed: 1 to %d",
				 cfg->cpus, VM_MAX_VCPUS);
	if (cfg->nr_disks > VM_MAX_DISKS)
		return error_set(e, -EINVAL, "%u disks; allowed: up to %d",
				 cfg->nr_disks, VM_MAX_DISKS);
	for (unsigned i = 0; i < cfg->nr_disks; i++) {
		r = check_disk(&cfg->disks[i], i, e);
		if (r)
			return r;
	}
	r = check_serial(cfg->serial, e);
	return r ? r : check_boot(cfg, e);
}
