/* What the screen shows: state on each beat, the map of dirtying, the keys. */
#include "share/guest/guest.h"

#define MAP_ROW	 13
#define MAP_COL	 8
#define MAP_ROWS 4
#define MAP_COLS 64
#define BAR_ROW	 19
#define LABEL	 0x0b
#define VALUE	 0x0f
#define BANNER	 0x1f
#define HELP	 0x07
#define KEY	 0x0e
#define ALARM	 0x4f

#define KEY_ROW	     9
#define BAND_Y	     416 /* pixels */
#define BAND_HEIGHT  48
#define STRIPES	     20
#define STRIPE_WIDTH 32

static uint16_t marks[MAP_ROWS * MAP_COLS];
static uint8_t heat[MAP_ROWS * MAP_COLS];
static const char heat_letters[] = {'.', ':', 'o', 'O'};
static const uint8_t heat_colours[] = {0x08, 0x09, 0x0a, 0x0e};
static unsigned bar, stripe;
static char last_key[20];
static bool verified, verified_ok;
static uint64_t verified_pages;

static void draw_help(void)
{
	static const char *const lines[] = {
		"d dirtying   + - rate   [ ] span   v verify   "
		"w disk writing   c cache",
		"g graphics or text   a animation   x wild accesses   "
		"b break a page   s status",
		"p triple fault   r reset   o power off   e exit",
	};

	for (unsigned i = 0; i < ARRAY_SIZE(lines); i++)
		screen_text(21 + i, 2, HELP, "%s", lines[i]);
}

/* A band of colour below the text; the bright stripe moves each frame. */
static void draw_stripe(unsigned i, bool bright)
{
	unsigned red = i * 10, blue = 200 - red;
	uint32_t rgb = red << 16 | 0x5000 | blue;

	vga_fill(i * STRIPE_WIDTH, BAND_Y, STRIPE_WIDTH, BAND_HEIGHT,
		 bright ? 0xffd166 : rgb);
}

static void draw_band(void)
{
	if (!vga_is_graphics())
		return;
	for (unsigned i = 0; i < STRIPES; i++)
		draw_stripe(i, i == stripe);
}

static void move_stripe(void)
{
	if (!vga_is_graphics())
		return;
	draw_stripe(stripe, false);
	stripe = (stripe + 1) % STRIPES;
	draw_stripe(stripe, true);
}

void panel_draw(void)
{
	for (unsigned col = 0; col < SCREEN_COLS; col++)
		screen_cell(0, col, BANNER, ' ');
	screen_text(0, 2, BANNER, "Binnacle demo guest");
	screen_text(0, 52, BANNER, "%lu MiB, %u of %u CPUs",
		    memory_low_end() / MIB, nr_cpus, acpi.nr_cpus);
	screen_text(2, 2, LABEL, "beat");
	screen_text(3, 2, LABEL, "memory");
	screen_text(4, 2, LABEL, "dirtied");
	screen_text(5, 2, LABEL, "sum");
	screen_text(6, 2, LABEL, "verify");
	screen_text(7, 2, LABEL, "disk");
	screen_text(KEY_ROW, 2, LABEL, "key");
	screen_text(MAP_ROW - 1, 2, LABEL,
		    "memory written, span from end to end");
	memset(marks, 0, sizeof(marks));
	memset(heat, 0xff, sizeof(heat));
	screen_text(KEY_ROW, 12, KEY, "%s", last_key);
	draw_help();
	draw_band();
}

static void draw_map(void)
{
	for (unsigned i = 0; i < MAP_ROWS * MAP_COLS; i++) {
		uint16_t mark =
			(uint16_t)dirty_part_mark(i, MAP_ROWS * MAP_COLS);
		uint8_t was = heat[i];

		if (was == 0xff)
			heat[i] = 0;
		else if (mark != marks[i])
			heat[i] = 3;
		else if (heat[i])
			heat[i]--;
		marks[i] = mark;
		if (heat[i] != was)
			screen_cell(
				MAP_ROW + i / MAP_COLS, MAP_COL + i % MAP_COLS,
				heat_colours[heat[i]], heat_letters[heat[i]]);
	}
}

void panel_beat(void)
{
	screen_text(2, 12, VALUE, "%lu  at %lu.%lu s  ", beat_count,
		    timer_ms() / 1000, timer_ms() / 100 % 10);
	screen_text(3, 12, VALUE, "%lu MiB span, %lu pages/s, %s     ",
		    dirty_span() * PAGE / MIB, dirty_rate(),
		    dirty_is_on() ? "on" : "off");
	screen_text(4, 12, VALUE, "%lu pages", dirty_count());
	screen_text(5, 12, VALUE, "%016lx", dirty_sum());
	if (verified)
		screen_text(6, 12, verified_ok ? VALUE : ALARM,
			    "%s, %lu pages   ", verified_ok ? "ok" : "BAD",
			    verified_pages);
	screen_text(7, 12, VALUE, "%s: wrote %lu, flushed %lu, found %lu  ",
		    disk_bus(), record_written(), record_flushed(),
		    record_found());
	draw_map();
}

void panel_verified(bool ok, uint64_t pages)
{
	verified = true;
	verified_ok = ok;
	verified_pages = pages;
	panel_beat();
}

void panel_key(const char *code, const char *name)
{
	text_format(last_key, sizeof(last_key), "%7s %9s", code, name);
	screen_text(KEY_ROW, 12, KEY, "%s", last_key);
}

void panel_animate(void)
{
	screen_cell(BAR_ROW, MAP_COL + bar, LABEL, ' ');
	bar = (bar + 1) % MAP_COLS;
	screen_cell(BAR_ROW, MAP_COL + bar, 0x30, ' ');
	move_stripe();
	draw_map();
}
