/*
 * The power of machines with a disk on each bus is cut while the demo guest
 * writes: what it was told to be stable is there, under unsafe it isn't; that
 * is every write from when it turns the write cache off.
 *
 * Each run takes, for each bus, unsafe and one of the other presets, by a seed
 * that it prints; BINNACLE_POWER_SEED=N repeats it, BINNACLE_POWER_ALL=1 takes
 * all.
 */
#include "tests/unit/record_guest.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "core/vm_disk_bus.h"

#define DISK_LEN  (8 << 20)
#define NR_CACHES (sizeof(caches) / sizeof(caches[0]))
#define NR_CUTS	  (sizeof(cuts) / sizeof(cuts[0]))

static const char *const caches[] = {"writeback", "none", "writethrough",
				     "directsync"};
static const char *const cuts[] = {"all", "subset", "torn"};

struct fixture {
	char path[32];
	unsigned seed;
	bool all, direct;
};

/* Does the file system bypass the page cache for files like these? */
static bool is_direct(const char *folder)
{
	int fd = open(folder, O_TMPFILE | O_RDWR | O_DIRECT | O_CLOEXEC, 0600);

	if (fd < 0)
		return false;
	close(fd);
	return true;
}

static int make_fixture(void **state)
{
	static struct fixture f = {.path = "/tmp/test_power_buses.XXXXXX"};
	const char *seed = getenv("BINNACLE_POWER_SEED");
	const char *scratch = getenv("TMPDIR");
	int fd = mkstemp(f.path);

	if (fd < 0 || ftruncate(fd, DISK_LEN))
		return -1;
	close(fd);
	f.seed = seed ? (unsigned)atoi(seed) : (unsigned)time(NULL) % 1000;
	f.all = getenv("BINNACLE_POWER_ALL");
	f.direct = is_direct("/tmp") &&
		   is_direct(scratch && *scratch ? scratch : "/var/tmp");
	print_message("BINNACLE_POWER_SEED=%u\n", f.seed);
	if (!f.direct)
		print_message("no O_DIRECT here: without none, directsync\n");
	*state = &f;
	return 0;
}

static int drop_fixture(void **state)
{
	struct fixture *f = *state;

	return unlink(f->path);
}

/* The table of the last cut, beside what the guest says. */
static void check_row(struct record_guest *g, const char *bus,
		      const char *cache, bool is_unsafe)
{
	static struct vm_power_cut facts;
	const struct vm_cut_row *row = &facts.disks[0];
	uint64_t missing = record_guest_missing(g);

	vm_power_cut_copy(g->vm, &facts);
	print_message("%s, %s: %s\n", bus, cache, row->verdict);
	assert_int_equal(facts.nr_disks, 1);
	assert_string_equal(row->bus, bus);
	assert_string_equal(row->cache, cache);
	assert_true(row->promised > 0);
	assert_int_equal(row->no_promise, is_unsafe);
	if (!is_unsafe && (missing || g->lost || row->is_broken))
		fail_msg("%s, %s, cut %s: %llu records are missing, the guest "
			 "says %llu; %s",
			 bus, cache, facts.mode, (unsigned long long)missing,
			 (unsigned long long)g->lost, row->verdict);
	if (missing && row->found == row->promised)
		fail_msg("the guest lost records, the table says: %s",
			 row->verdict);
}

static void cut(struct record_guest *g, const char *mode, unsigned seed)
{
	char how[32];

	snprintf(how, sizeof(how), "%s %u", mode, seed);
	record_guest_cut(g, how);
	assert_true(g->stable > 0 && g->stable <= g->acked);
	assert_int_equal(vm_test_state(g->vm), VM_RUNNING);
}

static void a_promise_is_kept(struct fixture *f, const char *bus,
			      const char *cache, unsigned turn)
{
	static struct record_guest g;
	bool sd = !strcmp(bus, "sd");
	bool through =
		!strcmp(cache, "writethrough") || !strcmp(cache, "directsync");

	/* A card has no flush: a cache is refused unless nobody chose it. */
	if (sd && !through)
		cache = "writeback";
	record_guest_create(&g, f->path, bus, sd && !through ? "" : cache);
	vm_test_do(g.vm, VM_CMD_RESUME);
	cut(&g, "none", f->seed);
	check_row(&g, bus, cache, false);
	if (through || sd)
		assert_int_equal(g.stable, g.acked);
	cut(&g, cuts[(f->seed + turn) % NR_CUTS], f->seed);
	check_row(&g, bus, cache, false);
	if (!through && !sd) {
		record_guest_cache_off(&g);
		cut(&g, "none", f->seed);
		check_row(&g, bus, cache, false);
		assert_int_equal(g.stable, g.acked);
	}
	vm_destroy(g.vm);
}

static void unsafe_loses(struct fixture *f, const char *bus)
{
	static struct record_guest g;

	record_guest_create(&g, f->path, bus, "unsafe");
	vm_test_do(g.vm, VM_CMD_RESUME);
	cut(&g, "none", f->seed);
	check_row(&g, bus, "unsafe", true);
	if (!record_guest_missing(&g))
		fail_msg("%s: nothing was lost under unsafe", bus);
	vm_destroy(g.vm);
}

static void one_bus(void **state, unsigned index)
{
	const char *bus = vm_disk_bus_at(index)->name;
	struct fixture *f = *state;
	unsigned nr = f->all ? NR_CACHES : 1;

	for (unsigned i = 0; i < nr; i++) {
		unsigned turn = index + i;
		const char *cache = caches[(f->seed + turn) % NR_CACHES];

		if (f->direct || !strncmp(cache, "write", 5))
			a_promise_is_kept(f, bus, cache, turn);
	}
	unsafe_loses(f, bus);
}

static void virtio(void **state)
{
	one_bus(state, 0);
}

static void ahci(void **state)
{
	one_bus(state, 1);
}

static void ide(void **state)
{
	one_bus(state, 2);
}

static void scsi(void **state)
{
	one_bus(state, 3);
}

static void nvme(void **state)
{
	one_bus(state, 4);
}

static void sd(void **state)
{
	one_bus(state, 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(virtio), cmocka_unit_test(ahci),
		cmocka_unit_test(ide),	  cmocka_unit_test(scsi),
		cmocka_unit_test(nvme),	  cmocka_unit_test(sd),
	};
	struct stat st;

	vm_test_need_kvm();
	if (stat(DEMO_ELF, &st)) {
		printf("SKIP: %s was not built\n", DEMO_ELF);
		return 77;
	}
	return cmocka_run_group_tests(tests, make_fixture, drop_fixture);
}
