/*
 * Every disk that a machine can have says what its guest can be told of a write
 * cache, and gets exactly the cache modes that go with it: each device and each
 * mode through the one place that refuses.
 */
#include "tests/unit/fake_pc.h"

#include "core/hw/classes.h"
#include "core/vm_disk_bus.h"

struct row {
	const char *name;
	enum drive_wce_cap wce;
	bool flush, fua, discard;
};

/* A device that is missing here fails the test: its record is to be looked at
 * by a person. */
static const struct row rows[] = {
	{"virtio-blk-pci", DRIVE_WCE_NEGOTIABLE, true, false, true},
	{"ata-disk", DRIVE_WCE_NEGOTIABLE, true, true, true},
	{"atapi-cdrom", DRIVE_WCE_NEGOTIABLE, true, false, false},
	{"scsi-disk", DRIVE_WCE_NEGOTIABLE, true, true, true},
	{"scsi-cdrom", DRIVE_WCE_NEGOTIABLE, true, false, false},
	{"nvme", DRIVE_WCE_NEGOTIABLE, true, true, true},
	{"sd-card", DRIVE_WCE_NEVER, false, false, false},
};

static const struct row *row_of(const char *name)
{
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (!strcmp(rows[i].name, name))
			return &rows[i];
	fail_msg("nothing is known of '%s'", name);
	return NULL;
}

struct attempt {
	struct fake_pc *pc;
	struct device *controller, *disk;
	struct drive *drive;
};

/* One disk on a bus; the device or NULL with the reason in pc->e. */
static void plug(struct attempt *a, const struct vm_disk_bus *bus, bool cdrom,
		 enum drive_preset preset, bool asked)
{
	struct fake_pc *pc = a->pc;
	struct drive_config cfg = {.path = pc->disk_path,
				   .preset = preset,
				   .preset_asked = asked,
				   .readonly = cdrom};
	struct device_args args = {.devfn = -1, .io = pc->io, .name = "ctl"};
	const struct device_class *cls =
		device_class_find(cdrom ? bus->cdrom : bus->disk);

	assert_non_null(cls);
	world_stop(pc->m.world, NULL);
	if (bus->controller)
		a->controller = device_create(
			&pc->m, device_class_find(bus->controller), &args,
			&pc->e);
	a->drive = drive_open(pc->io, &cfg, NULL, &pc->e);
	assert_non_null(a->drive);
	assert_null(drive_device_caps(a->drive));
	args = (struct device_args){.devfn = -1,
				    .io = pc->io,
				    .drive = a->drive,
				    .is_cdrom = cdrom,
				    .parent = a->controller,
				    .name = "disk"};
	a->disk = device_create(&pc->m, cls, &args, &pc->e);
	bus_commit(pc->m.bus, NULL);
	world_resume(pc->m.world);
}

static void unplug(struct attempt *a)
{
	world_stop(a->pc->m.world, NULL);
	device_destroy(a->disk);
	device_destroy(a->controller);
	drive_close(a->drive);
	bus_commit(a->pc->m.bus, NULL);
	world_resume(a->pc->m.world);
	a->disk = a->controller = NULL;
	a->drive = NULL;
}

static void check_record(const struct drive_caps *caps, const struct row *row)
{
	assert_non_null(caps);
	assert_string_equal(caps->device, row->name);
	assert_int_equal(caps->wce, row->wce);
	assert_int_equal(caps->flush, row->flush);
	assert_int_equal(caps->fua, row->fua);
	assert_int_equal(caps->discard, row->discard);
	/* Who has a cache for sure or at will can flush it. */
	assert_true(caps->flush || caps->wce == DRIVE_WCE_NEVER);
}

static void each_device_says_what_it_can(void **state)
{
	struct attempt a = {.pc = *state};
	const struct vm_disk_bus *bus;

	for (size_t i = 0; (bus = vm_disk_bus_at(i)); i++)
		for (unsigned cdrom = 0; cdrom < 2; cdrom++) {
			if (!(cdrom ? bus->cdrom : bus->disk))
				continue;
			plug(&a, bus, cdrom, DRIVE_WRITEBACK, false);
			if (!a.disk)
				fail_msg("%s: %s", bus->name, a.pc->e.msg);
			check_record(drive_device_caps(a.drive),
				     row_of(a.disk->cls->name));
			unplug(&a);
		}
}

static void check_refusal(const struct row *row, const char *mode,
			  const char *msg)
{
	char word[40];

	snprintf(word, sizeof(word), "cache %s", mode);
	if (!strstr(msg, row->name) || !strstr(msg, word) ||
	    !strstr(msg, "allowed: writethrough, directsync, unsafe"))
		fail_msg("%s, %s: '%s'", row->name, mode, msg);
}

static void each_mode_is_kept_or_refused(void **state)
{
	struct attempt a = {.pc = *state};
	const struct vm_disk_bus *bus;
	unsigned refused = 0;

	for (size_t i = 0; (bus = vm_disk_bus_at(i)); i++) {
		const struct row *row = row_of(bus->disk);

		for (int p = 0; p < DRIVE_NR_PRESETS; p++) {
			const struct cache_mode *m = &cache_modes[p];
			bool fits = row->wce != DRIVE_WCE_NEVER || !m->wce ||
				    m->ignore_flush;

			plug(&a, bus, false, p, true);
			if (!a.disk && fits)
				fail_msg("%s, %s: %s", bus->name, m->name,
					 a.pc->e.msg);
			assert_int_equal(!!a.disk, fits);
			if (!fits)
				check_refusal(row, m->name, a.pc->e.msg);
			else
				assert_int_equal(
					drive_wce(a.drive),
					m->wce && row->wce != DRIVE_WCE_NEVER);
			refused += !fits;
			unplug(&a);
			/* A default that can't be kept gives way to a safe one. */
			plug(&a, bus, false, p, false);
			assert_non_null(a.disk);
			unplug(&a);
		}
	}
	assert_int_equal(refused, 2);
}

#define T(name) cmocka_unit_test_setup_teardown(name, pc_setup, pc_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(each_device_says_what_it_can),
		T(each_mode_is_kept_or_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
