#include "ui/cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Every option: the parser, its table and the help come from these lines. */
struct option_def {
	const char *name;
	int has_arg;
	int (*apply)(struct run_options *o, const char *arg, struct error *e);
};

static int set_text(char *dst, size_t room, const char *arg, const char *name,
		    struct error *e)
{
	if (strlen(arg) >= room)
		return error_set(e, -EINVAL,
				 "--%s: the text is longer than %zu bytes",
				 name, room - 1);
	strcpy(dst, arg);
	return 0;
}

#define TEXT_OPTION(member, optname)                                           \
	static int apply_##member(struct run_options *o, const char *arg,      \
				  struct error *e)                             \
	{                                                                      \
		return set_text(o->config.member, sizeof(o->config.member),    \
				arg, optname, e);                              \
	}

TEXT_OPTION(name, "name")
TEXT_OPTION(kernel, "kernel")
TEXT_OPTION(initrd, "initrd")
TEXT_OPTION(append, "append")
TEXT_OPTION(firmware, "firmware")
TEXT_OPTION(option_rom, "option-rom")
TEXT_OPTION(boot_order, "boot")
TEXT_OPTION(vnc, "vnc")
TEXT_OPTION(vnc_password_file, "vnc-password-file")
TEXT_OPTION(serial, "serial")

static int apply_mem(struct run_options *o, const char *arg, struct error *e)
{
	int ret = vm_parse_size(arg, &o->config.mem, e);

	return ret ? error_prefix(e, ret, "--mem") : 0;
}

static int apply_cpus(struct run_options *o, const char *arg, struct error *e)
{
	char *end;
	unsigned long n = strtoul(arg, &end, 10);

	if (*arg == '\0' || *end != '\0' || n < 1 || n > VM_MAX_VCPUS)
		return error_set(e, -EINVAL,
				 "--cpus %s: give a number from 1 to %d", arg,
				 VM_MAX_VCPUS);
	o->config.cpus = n;
	return 0;
}

/* One "key=value" or flag behind a disk's path. */
static int disk_property(struct vm_disk_config *d, const char *text,
			 struct error *e)
{
	if (!strcmp(text, "readonly")) {
		d->readonly = true;
	} else if (!strcmp(text, "scratch")) {
		d->scratch = true;
	} else if (!strcmp(text, "volatile")) {
		d->is_volatile = true;
	} else if (!strncmp(text, "bus=", 4)) {
		return set_text(d->bus, sizeof(d->bus), text + 4, "disk", e);
	} else if (!strncmp(text, "cache=", 6)) {
		return set_text(d->cache, sizeof(d->cache), text + 6, "disk",
				e);
	} else if (!strncmp(text, "cache-size=", 11)) {
		return vm_parse_size(text + 11, &d->cache_len, e);
	} else if (!strncmp(text, "max-unflushed-age=", 18)) {
		return vm_parse_unflushed_age(text + 18, &d->max_unflushed_s,
					      e);
	} else if (!strncmp(text, "aio=", 4)) {
		return set_text(d->aio, sizeof(d->aio), text + 4, "disk", e);
	} else if (!strncmp(text, "werror=", 7)) {
		return set_text(d->werror, sizeof(d->werror), text + 7, "disk",
				e);
	} else if (!strncmp(text, "rerror=", 7)) {
		return set_text(d->rerror, sizeof(d->rerror), text + 7, "disk",
				e);
	} else if (!strncmp(text, "format=", 7)) {
		return set_text(d->format, sizeof(d->format), text + 7, "disk",
				e);
	} else {
		return error_set(
			e, -EINVAL,
			"--disk: '%s' is not known; there are "
			"bus=BUS, cache=MODE, "
			"aio=threads|native|io_uring, cache-size=SIZE, "
			"max-unflushed-age=SECONDS, format=raw|qcow2, "
			"werror=enospc|report|stop|ignore, "
			"rerror=report|stop|ignore, "
			"readonly, scratch and volatile",
			text);
	}
	return 0;
}

static int add_disk(struct run_options *o, const char *arg, bool cdrom,
		    struct error *e)
{
	struct vm_disk_config *d = &o->config.disks[o->config.nr_disks];
	const char *comma = strchr(arg, ',');
	size_t len = comma ? (size_t)(comma - arg) : strlen(arg);
	char property[64];
	int ret = 0;

	if (o->config.nr_disks == VM_MAX_DISKS)
		return error_set(e, -EINVAL,
				 "there are more than %d disks; leave some out",
				 VM_MAX_DISKS);
	if (len >= sizeof(d->path))
		return error_set(e, -ENAMETOOLONG,
				 "the disk's path is longer "
				 "than a path can be");
	memset(d, 0, sizeof(*d));
	memcpy(d->path, arg, len);
	d->cdrom = d->readonly = cdrom;
	strcpy(d->bus, vm_disk_usual_bus(cdrom));
	while (comma && !ret) {
		arg = comma + 1;
		comma = strchr(arg, ',');
		snprintf(property, sizeof(property), "%.*s",
			 comma ? (int)(comma - arg) : (int)strlen(arg), arg);
		ret = disk_property(d, property, e);
	}
	if (!ret)
		o->config.nr_disks++;
	return ret;
}

static int apply_disk(struct run_options *o, const char *arg, struct error *e)
{
	return add_disk(o, arg, false, e);
}

static int apply_cdrom(struct run_options *o, const char *arg, struct error *e)
{
	return add_disk(o, arg, true, e);
}

static int apply_headless(struct run_options *o, const char *arg,
			  struct error *e)
{
	(void)arg;
	(void)e;
	o->headless = true;
	return 0;
}

static int apply_no_vga(struct run_options *o, const char *arg, struct error *e)
{
	(void)arg;
	(void)e;
	o->config.vga = false;
	return 0;
}

static int apply_debug_exit(struct run_options *o, const char *arg,
			    struct error *e)
{
	(void)arg;
	(void)e;
	o->config.debug_exit = true;
	return 0;
}

static int apply_help(struct run_options *o, const char *arg, struct error *e)
{
	(void)arg;
	(void)e;
	o->help = true;
	return 0;
}

static const struct option_def defs[] = {
	{"name", required_argument, apply_name},
	{"mem", required_argument, apply_mem},
	{"cpus", required_argument, apply_cpus},
	{"kernel", required_argument, apply_kernel},
	{"initrd", required_argument, apply_initrd},
	{"append", required_argument, apply_append},
	{"firmware", required_argument, apply_firmware},
	{"option-rom", required_argument, apply_option_rom},
	{"disk", required_argument, apply_disk},
	{"cdrom", required_argument, apply_cdrom},
	{"boot", required_argument, apply_boot_order},
	{"vnc", required_argument, apply_vnc},
	{"vnc-password-file", required_argument, apply_vnc_password_file},
	{"serial", required_argument, apply_serial},
	{"no-vga", no_argument, apply_no_vga},
	{"debug-exit", no_argument, apply_debug_exit},
	{"headless", no_argument, apply_headless},
	{"help", no_argument, apply_help},
};

#define NR_DEFS (sizeof(defs) / sizeof(defs[0]))

const char run_options_help[] =
	"  --name NAME            what the machine is called\n"
	"  --mem SIZE             RAM: 512M, 2G (512M)\n"
	"  --cpus N               virtual CPUs, 1 to 16 (1)\n"
	"  --kernel FILE          Linux bzImage or PVH ELF, started directly\n"
	"  --initrd FILE          its initial RAM disk\n"
	"  --append TEXT          its command line\n"
	"  --disk FILE[,PROP...]  a disk: bus=BUS, readonly,\n"
	"                         scratch (writes go to an overlay),\n"
	"                         volatile (power cuts can be tried),\n"
	"                         cache=writeback|none|writethrough|\n"
	"                         directsync|unsafe,\n"
	"                         aio=threads|native|io_uring,\n"
	"                         format=raw|qcow2, cache-size=SIZE,\n"
	"                         max-unflushed-age=SECONDS,\n"
	"                         werror=enospc|report|stop|ignore,\n"
	"                         rerror=report|stop|ignore\n"
	"  --cdrom FILE           a CD-ROM image\n"
	"  --boot ORDER           c: disk, d: CD-ROM (cd)\n"
	"  --firmware FILE        instead of SeaBIOS\n"
	"  --option-rom FILE      PCI option ROM of an extra function\n"
	"  --vnc ADDRESS:DISPLAY  VNC server: 127.0.0.1:1 is port 5901\n"
	"  --vnc-password-file F  first line is the password\n"
	"  --serial WHERE         stdio, none or file:PATH\n"
	"  --no-vga               no display adapter\n"
	"  --debug-exit           guest may end the run through port 0x501\n"
	"  --headless             no screen, the serial line on stdio\n"
	"  --help                 this text\n";

/* The machine file, if the line names one, must be read before the options
 * that change it, wherever it stands: find it first. */
static int parse_all(int argc, char **argv, const struct option *longs,
		     struct run_options *o, struct error *e)
{
	int index, c;

	optind = 1;
	opterr = 0;
	while ((c = getopt_long(argc, argv, "+:h", longs, &index)) != -1) {
		int ret;

		if (c == 'h') {
			o->help = true;
			continue;
		}
		if (c == ':')
			return error_set(e, -EINVAL,
					 "%s needs a value; see "
					 "'binnacle run --help'",
					 argv[optind - 1]);
		if (c == '?')
			return error_set(e, -EINVAL,
					 "'%s' is not an option; "
					 "see 'binnacle run --help'",
					 argv[optind - 1]);
		ret = defs[index].apply(o, optarg, e);
		if (ret)
			return ret;
	}
	if (optind < argc)
		return error_set(e, -EINVAL,
				 "'%s' is one argument too many; one machine "
				 "file at most, then options",
				 argv[optind]);
	return 0;
}

int run_options_parse(int argc, char **argv, struct run_options *out,
		      struct error *e)
{
	struct option longs[NR_DEFS + 1];
	size_t i;
	int ret;

	for (i = 0; i < NR_DEFS; i++)
		longs[i] = (struct option){defs[i].name, defs[i].has_arg, NULL,
					   256 + (int)i};
	longs[NR_DEFS] = (struct option){0};

	memset(out, 0, sizeof(*out));
	vm_config_init(&out->config);
	if (argc > 1 && argv[1][0] != '-') {
		ret = vm_config_load(&out->config, argv[1], e);
		if (ret)
			return ret;
		argc--;
		argv++;
	}
	ret = parse_all(argc, argv, longs, out, e);
	if (!ret && out->config.vnc_password_file[0] && !out->config.vnc[0])
		return error_set(e, -EINVAL,
				 "a VNC password is of no use without "
				 "--vnc ADDRESS:DISPLAY");
	return ret;
}
