/*
 * The demo guest's screen and keyboard, through the console that the terminal
 * and the VNC server use: what the guest draws arrives, what is typed too.
 */
#include "tests/unit/vm_test.h"

#include <sys/stat.h>

#define BANNER_PAPER  0x1d3557
#define STRIPE_FIRST  0x0050c8
#define STRIPE_BRIGHT 0xffd166
#define BAND_X	      8
#define BAND_Y	      420

struct seat {
	struct vm *vm;
	struct console *console;
	struct console_viewer *viewer;
	struct vm_test_serial serial;
};

static void sit_down(struct seat *seat, const char *append)
{
	struct vm_config c;

	memset(seat, 0, sizeof(*seat));
	vm_config_init(&c);
	c.mem = 64 << 20;
	strcpy(c.kernel, DEMO_ELF);
	strcpy(c.append, append);
	seat->vm = vm_test_create(&c);
	seat->console = vm_console(seat->vm);
	seat->viewer = console_viewer_create(seat->console, 20);
	assert_non_null(seat->viewer);
	vm_test_do(seat->vm, VM_CMD_RESUME);
	vm_test_wait_serial(seat->vm, &seat->serial, "ready");
}

static void get_up(struct seat *seat)
{
	console_viewer_destroy(seat->viewer);
	vm_destroy(seat->vm);
}

static uint32_t pixel(struct seat *seat, int x, int y)
{
	struct console_info info;
	uint32_t rgb = 0xffffffff;

	console_info(seat->console, &info);
	console_copy_pixels(seat->console, info.generation,
			    (struct console_rect){x, y, 1, 1}, &rgb, 1);
	return rgb;
}

static void wait_pixel(struct seat *seat, int x, int y, uint32_t rgb)
{
	uint64_t end = loop_now_ns() + VM_WAIT_NS;

	while (pixel(seat, x, y) != rgb) {
		if (loop_now_ns() > end)
			VM_TEST_FAIL(seat->vm,
				     "waited in vain for %06x at %d,%d: it is "
				     "%06x",
				     rgb, x, y, pixel(seat, x, y));
		usleep(20000);
	}
}

static void press(struct seat *seat, uint16_t code)
{
	console_key(seat->console, code, true);
	console_key(seat->console, code, false);
}

static void graphics_arrive(void **state)
{
	static struct seat seat;
	struct console_info info;
	struct console_rect r;

	(void)state;
	sit_down(&seat, "mode=draw");
	wait_pixel(&seat, 0, 0, BANNER_PAPER);
	console_info(seat.console, &info);
	assert_false(info.is_text);
	assert_int_equal(info.width, 640);
	assert_int_equal(info.height, 480);
	/* The bright stripe comes by and goes on. */
	wait_pixel(&seat, BAND_X, BAND_Y, STRIPE_BRIGHT);
	wait_pixel(&seat, BAND_X, BAND_Y, STRIPE_FIRST);
	/* With the animation running something has always changed, and it is
	 * less than the whole screen. */
	console_viewer_take(seat.viewer, &r);
	wait_pixel(&seat, BAND_X, BAND_Y, STRIPE_BRIGHT);
	assert_true(console_viewer_take(seat.viewer, &r));
	assert_true(r.w > 0 && r.h > 0 && r.w * r.h < 640 * 480);
	get_up(&seat);
}

static void keys_arrive(void **state)
{
	static struct seat seat;

	(void)state;
	sit_down(&seat, "mode=idle rate=100");
	press(&seat, 0x1e);
	vm_test_wait_serial(seat.vm, &seat.serial, "key 1e a\r\n");
	console_key(seat.console, 0x2a, true);
	press(&seat, 0x2d);
	console_key(seat.console, 0x2a, false);
	vm_test_wait_serial(seat.vm, &seat.serial, "key 2d X\r\n");
	press(&seat, 0x148);
	vm_test_wait_serial(seat.vm, &seat.serial, "key e048 up\r\n");
	assert_true(console_type(seat.console, '+'));
	vm_test_wait_serial(seat.vm, &seat.serial, "rate=200");
	/* A burst is kept in order. */
	for (uint16_t code = 0x23; code < 0x27; code++)
		press(&seat, code);
	vm_test_wait_serial(seat.vm, &seat.serial, "key 26 l\r\n");
	assert_non_null(strstr(seat.serial.text,
			       "key 23 h\r\nkey 24 j\r\nkey 25 k\r\n"));
	get_up(&seat);
}

/* The number that stands there now: a wait for one of them may miss it. */
static unsigned beat_shown(struct seat *seat)
{
	static struct console_text t;
	char row[CONSOLE_MAX_COLS + 1];
	const char *at;

	if (!console_copy_text(seat->console, &t))
		return 0;
	for (int r = 0; r < t.rows; r++) {
		for (int c = 0; c < t.cols; c++)
			row[c] = (char)t.cells[r][c].ch;
		row[t.cols] = '\0';
		at = strstr(row, "beat ");
		if (at)
			return (unsigned)atoi(at + 5);
	}
	return 0;
}

static void text_arrives(void **state)
{
	static struct seat seat;
	static struct console_text text;
	static uint32_t cell[9 * 16];
	struct console_info info;
	unsigned ink = 0;

	(void)state;
	sit_down(&seat, "mode=text heartbeat=200");
	vm_test_wait_screen(seat.vm, "Binnacle demo guest");
	assert_true(console_copy_text(seat.console, &text));
	assert_int_equal(text.cols, 80);
	assert_int_equal(text.rows, 25);
	assert_int_equal(text.cursor_col, -1);
	assert_int_equal(text.cells[0][2].ch, 'B');
	assert_int_equal(text.cells[0][2].attr, 0x1f);
	VM_TEST_UNTIL(seat.vm, beat_shown(&seat) >= 5);
	press(&seat, 0x1f);
	vm_test_wait_screen(seat.vm, "1f      s");
	/* The same as pixels, with the letters that the guest brought. */
	console_info(seat.console, &info);
	assert_true(info.is_text);
	assert_true(console_copy_pixels(
		seat.console, info.generation,
		(struct console_rect){2 * info.width / 80, 0, 8, 16}, cell, 9));
	for (int y = 0; y < 16; y++)
		for (int x = 0; x < 8; x++)
			ink += cell[y * 9 + x] == 0xffffff;
	assert_in_range(ink, 10, 60);
	get_up(&seat);
}

static void modes_change_back_and_forth(void **state)
{
	static struct seat seat;

	(void)state;
	sit_down(&seat, "mode=draw");
	wait_pixel(&seat, 0, 0, BANNER_PAPER);
	assert_false(vm_test_screen_has(seat.vm, "Binnacle"));
	press(&seat, 0x22);
	vm_test_wait_serial(seat.vm, &seat.serial, "screen text");
	vm_test_wait_screen(seat.vm, "Binnacle demo guest");
	press(&seat, 0x22);
	vm_test_wait_serial(seat.vm, &seat.serial, "screen 640x480");
	wait_pixel(&seat, 0, 0, BANNER_PAPER);
	wait_pixel(&seat, BAND_X, BAND_Y, STRIPE_FIRST);
	get_up(&seat);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(graphics_arrive),
		cmocka_unit_test(keys_arrive),
		cmocka_unit_test(text_arrives),
		cmocka_unit_test(modes_change_back_and_forth),
	};
	struct stat st;

	vm_test_need_kvm();
	if (stat(DEMO_ELF, &st)) {
		printf("SKIP: %s was not built\n", DEMO_ELF);
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
