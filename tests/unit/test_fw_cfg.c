#include "tests/unit/board.h"

#include <endian.h>

#include "core/hw/isa/fw_cfg.h"

#define ERROR_BIT 1u
#define READ	  2u
#define SKIP	  4u
#define SELECT	  8u
#define WRITE	  16u
#define REQUEST	  0x1000u
#define BUFFER	  0x2000u

static int setup(void **state)
{
	struct board *b = board_create();

	board_add(b, &fw_cfg_class, &(struct device_args){.name = "fw_cfg"});
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	board_destroy(*state);
	return 0;
}

static void select_key(struct board *b, uint16_t key)
{
	out(b, 0x510, key, 2);
}

static void read_bytes(struct board *b, void *buf, size_t len)
{
	uint8_t *p = buf;

	while (len--)
		*p++ = in(b, 0x511, 1);
}

static uint8_t *ram(struct board *b, uint32_t gpa)
{
	return mem_block_host(b->ram_block) + gpa;
}

/* Returns the control word that the device left. */
static uint32_t dma(struct board *b, uint32_t control, uint32_t len,
		    uint64_t gpa)
{
	uint32_t words[2] = {htobe32(control), htobe32(len)};
	uint64_t addr = htobe64(gpa);

	memcpy(ram(b, REQUEST), words, 8);
	memcpy(ram(b, REQUEST + 8), &addr, 8);
	out(b, 0x514, 0, 4);
	out(b, 0x518, htobe32(REQUEST), 4);
	memcpy(words, ram(b, REQUEST), 4);
	return be32toh(words[0]);
}

/* Key of a named file, 0 when the directory lacks it. */
static uint16_t file_key(struct board *b, const char *name, uint32_t *len)
{
	uint32_t nr;

	select_key(b, FW_CFG_FILE_DIR);
	read_bytes(b, &nr, 4);
	for (nr = be32toh(nr); nr; nr--) {
		uint8_t entry[64];
		uint32_t size;

		read_bytes(b, entry, sizeof(entry));
		if (strcmp((char *)entry + 8, name))
			continue;
		memcpy(&size, entry, 4);
		*len = be32toh(size);
		return entry[4] << 8 | entry[5];
	}
	return 0;
}

static void signature_and_id(void **state)
{
	struct board *b = *state;
	char text[5] = {0};

	select_key(b, FW_CFG_SIGNATURE);
	read_bytes(b, text, 4);
	assert_string_equal(text, "QEMU");
	select_key(b, FW_CFG_ID);
	assert_int_equal(in(b, 0x511, 1), 3);
	assert_int_equal(in(b, 0x514, 4), 0x554d4551);
	assert_int_equal(in(b, 0x518, 4), 0x47464320);
}

static void files_are_listed_and_read(void **state)
{
	struct board *b = *state;
	struct fw_cfg *f = b->m.fw_cfg;
	uint32_t len = 0;
	char text[8] = {0};
	uint16_t key;

	assert_int_equal(fw_cfg_add_file(f, "etc/one", "first", 5, NULL), 0);
	assert_int_equal(fw_cfg_add_file(f, "etc/two", "second", 6, NULL), 0);
	assert_int_equal(fw_cfg_add_file(f, "etc/one", "again!!", 7, NULL), 0);
	key = file_key(b, "etc/one", &len);
	assert_int_equal(key, 0x20);
	assert_int_equal(len, 7);
	select_key(b, key);
	read_bytes(b, text, 7);
	assert_string_equal(text, "again!!");
	assert_int_equal(in(b, 0x511, 1), 0); /* past the end */
	assert_int_equal(file_key(b, "etc/two", &len), 0x21);
	assert_int_equal(file_key(b, "etc/three", &len), 0);
}

static void string_input_reads_a_run(void **state)
{
	struct board *b = *state;
	char text[6] = {0};

	fw_cfg_add_item(b->m.fw_cfg, FW_CFG_BOOT_MENU, "abcde", 5, NULL);
	select_key(b, FW_CFG_BOOT_MENU);
	bus_pio(b->m.bus, NULL, 0x511, text, 1, 5, false);
	assert_string_equal(text, "abcde");
}

static void dma_reads(void **state)
{
	struct board *b = *state;

	fw_cfg_add_item(b->m.fw_cfg, FW_CFG_BOOT_MENU, "0123456789", 10, NULL);
	memset(ram(b, BUFFER), 0xcc, 32);
	assert_int_equal(
		dma(b, SELECT | READ | FW_CFG_BOOT_MENU << 16, 4, BUFFER), 0);
	assert_memory_equal(ram(b, BUFFER), "0123\xcc", 5);
	assert_int_equal(dma(b, SKIP, 2, 0), 0);
	/* Past the end: zeroes. */
	assert_int_equal(dma(b, READ, 8, BUFFER), 0);
	assert_memory_equal(ram(b, BUFFER), "6789\0\0\0\0\xcc", 9);
}

static void hostile_dma_is_answered(void **state)
{
	struct board *b = *state;
	uint32_t sel = SELECT | FW_CFG_SIGNATURE << 16;

	/* Buffer outside RAM, across its end, wrapping around. */
	assert_int_equal(dma(b, sel | READ, 4, 0x40000000), ERROR_BIT);
	assert_int_equal(dma(b, sel | READ, 4, BOARD_RAM - 2), ERROR_BIT);
	assert_int_equal(dma(b, sel | READ, 0xffffffff, UINT64_MAX - 16),
			 ERROR_BIT);
	/* Gigabytes of zeroes, writes, a key nobody has. */
	assert_int_equal(dma(b, sel | READ, 0xffffffff, 0x3000), ERROR_BIT);
	assert_int_equal(dma(b, sel | WRITE, 4, BUFFER), ERROR_BIT);
	assert_int_equal(dma(b, SELECT | READ | 0xbeefu << 16, 4, BUFFER), 0);
	assert_int_equal(*(uint32_t *)ram(b, BUFFER), 0);
	/* Skipping over the end and around. */
	assert_int_equal(dma(b, sel | SKIP, 0xffffffff, 0), 0);
	assert_int_equal(dma(b, SKIP, 0xffffffff, 0), 0);
	assert_int_equal(dma(b, READ, 4, BUFFER), 0);
	assert_int_equal(*(uint32_t *)ram(b, BUFFER), 0);
	/* The request itself outside RAM. */
	out(b, 0x514, htobe32(0xffffffff), 4);
	out(b, 0x518, htobe32(0xfffffff0), 4);
	out(b, 0x514, htobe32(0), 4);
	out(b, 0x518, htobe32(BOARD_RAM - 8), 4);
	/* Halves and odd lengths start nothing. */
	out(b, 0x518, htobe32(REQUEST), 2);
	out(b, 0x516, htobe32(REQUEST), 4);
	select_key(b, FW_CFG_SIGNATURE);
	assert_int_equal(in(b, 0x511, 1), 'Q');
}

/* The buffer lies over the request: the device read that before. */
static void dma_over_its_own_request(void **state)
{
	struct board *b = *state;

	dma(b, SELECT | READ | FW_CFG_SIGNATURE << 16, 16, REQUEST);
	select_key(b, FW_CFG_ID);
	assert_int_equal(in(b, 0x511, 1), 3);
}

static void names_and_room_are_checked(void **state)
{
	struct board *b = *state;
	struct fw_cfg *f = b->m.fw_cfg;
	struct error e = {0};
	char name[80];
	int r = 0;

	memset(name, 'x', sizeof(name));
	name[FW_CFG_NAME_LEN] = '\0';
	assert_int_equal(fw_cfg_add_file(f, name, "", 0, &e), -EINVAL);
	assert_int_equal(fw_cfg_add_file(f, "", "", 0, &e), -EINVAL);
	name[FW_CFG_NAME_LEN - 1] = '\0';
	assert_int_equal(fw_cfg_add_file(f, name, "", 0, &e), 0);
	assert_int_equal(fw_cfg_add_item(f, 0x20, "", 0, &e), -EINVAL);
	for (unsigned i = 0; i < 200 && !r; i++) {
		snprintf(name, sizeof(name), "file%u", i);
		r = fw_cfg_add_file(f, name, "", 0, &e);
	}
	assert_int_equal(r, -ENOSPC);
}

static void machine_is_described(void **state)
{
	struct board *b = *state;
	uint32_t len = 0;
	uint64_t value;
	uint16_t cpus;
	uint8_t map[40];

	b->m.ram_above_4g = 0x40000000;
	assert_int_equal(fw_cfg_add_machine(&b->m, 1500, NULL), 0);
	select_key(b, FW_CFG_RAM_SIZE);
	read_bytes(b, &value, 8);
	assert_int_equal(value, BOARD_RAM + 0x40000000ull);
	select_key(b, FW_CFG_NB_CPUS);
	read_bytes(b, &cpus, 2);
	assert_int_equal(cpus, 2);
	select_key(b, file_key(b, "etc/e820", &len));
	assert_int_equal(len, 40);
	read_bytes(b, map, 40);
	memcpy(&value, map + 20, 8);
	assert_int_equal(value, 0x100000000);
	assert_int_equal(map[16], 1);
	assert_int_not_equal(file_key(b, "etc/system-states", &len), 0);
	assert_int_equal(len, 6);
	assert_int_not_equal(file_key(b, "etc/boot-menu-wait", &len), 0);
}

static void state_moves(void **state)
{
	struct board *b = *state, *other = board_create();
	struct device *dev = board_add(other, &fw_cfg_class,
				       &(struct device_args){.name = "fw_cfg"});

	select_key(b, FW_CFG_SIGNATURE);
	in(b, 0x511, 1);
	board_move_state(device_find(&b->m, "fw_cfg"), dev);
	assert_int_equal(in(other, 0x511, 1), 'E');
	board_destroy(other);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(signature_and_id),
		T(files_are_listed_and_read),
		T(string_input_reads_a_run),
		T(dma_reads),
		T(hostile_dma_is_answered),
		T(dma_over_its_own_request),
		T(names_and_room_are_checked),
		T(machine_is_described),
		T(state_moves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
