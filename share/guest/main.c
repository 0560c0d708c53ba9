/* Puts the parts together and runs the loop on CPU 0. */
#include "share/guest/guest.h"

#define FRAMES 8 /* of animation a second */

uint64_t beat_count;
static uint64_t beat_period, beat_next, frame_next;
static uint64_t verify_every;
static bool animated;

static void beat(void)
{
	beat_count++;
	print("beat %lu ms=%lu ticks=%lu dirty=%lu sum=%016lx rate=%lu "
	      "span=%lu",
	      beat_count, timer_ms(), timer_ticks(), dirty_count(), dirty_sum(),
	      dirty_rate(), dirty_span() * PAGE / MIB);
	for (unsigned i = 1; i < nr_cpus; i++)
		print("cpu %u apic=%u ticks=%lu dirty=%lu", i, cpus[i].apic_id,
		      cpus[i].ticks, dirty_cpu_count(i));
	panel_beat();
}

static void status(void)
{
	print("status dirty=%u rate=%lu span=%lu disk=%u wrote=%lu flushed=%lu",
	      dirty_is_on(), dirty_rate(), dirty_span() * PAGE / MIB,
	      record_is_writing(), record_written(), record_flushed());
	panel_beat();
}

static void verify(void)
{
	uint64_t pages;
	bool ok = dirty_verify(&pages);

	panel_verified(ok, pages);
}

static void toggle_dirty(void)
{
	dirty_set_on(!dirty_is_on());
	status();
}

static void raise_rate(void)
{
	dirty_change_rate(1);
	status();
}

static void lower_rate(void)
{
	dirty_change_rate(-1);
	status();
}

static void grow_span(void)
{
	dirty_change_span(1);
	status();
}

static void shrink_span(void)
{
	dirty_change_span(-1);
	status();
}

static void break_page(void)
{
	if (!dirty_break_page())
		print("broke none");
}

static void toggle_writing(void)
{
	record_set_writing(!record_is_writing());
	status();
}

static void toggle_cache(void)
{
	int now = disk_write_cache();

	if (now < 0 || !record_set_cache(!now))
		print("disk cache=unknown");
	else
		print("disk cache=%s", now ? "off" : "on");
}

static void toggle_graphics(void)
{
	screen_set_graphics(!vga_is_graphics());
	panel_draw();
	panel_beat();
	print("screen %s", vga_is_graphics() ? "640x480" : "text");
}

static void toggle_animation(void)
{
	animated = !animated;
}

static void leave(void)
{
	power_exit((uint8_t)option_number("exit", 0));
}

static const struct {
	char key;
	void (*run)(void);
} commands[] = {
	{'d', toggle_dirty}, {'+', raise_rate},	     {'=', raise_rate},
	{'-', lower_rate},   {']', grow_span},	     {'[', shrink_span},
	{'v', verify},	     {'b', break_page},	     {'w', toggle_writing},
	{'c', toggle_cache}, {'g', toggle_graphics}, {'a', toggle_animation},
	{'s', status},	     {'x', wild_run},	     {'p', power_triple_fault},
	{'r', power_reset},  {'o', power_off},	     {'e', leave},
};

static void act(char key)
{
	for (unsigned i = 0; i < ARRAY_SIZE(commands); i++) {
		if (commands[i].key == key)
			commands[i].run();
	}
}

/* A word for every key: tests read these lines. */
static const char *key_name(unsigned scancode, char c, char *buf)
{
	static const struct {
		unsigned scancode;
		const char *name;
	} names[] = {{0x01, "esc"},	{0x0e, "backspace"}, {0x0f, "tab"},
		     {0x1c, "enter"},	{0x39, "space"},     {0xe048, "up"},
		     {0xe050, "down"},	{0xe04b, "left"},    {0xe04d, "right"},
		     {0xe01c, "enter"}, {0xe053, "delete"}};

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		if (names[i].scancode == scancode)
			return names[i].name;
	}
	buf[0] = c > ' ' && c <= '~' ? c : '?';
	buf[1] = '\0';
	return buf;
}

static void show_key(const char *code, const char *name)
{
	print("key %s %s", code, name);
	panel_key(code, name);
}

static void read_keys(void)
{
	unsigned scancode;
	char buf[2], code[8], c;
	int byte;

	while (keyboard_read(&scancode, &c)) {
		text_format(code, sizeof(code), "%02x", scancode);
		show_key(code, key_name(scancode, c, buf));
		act(c);
	}
	while ((byte = serial_read()) >= 0) {
		show_key("serial", key_name(0, (char)byte, buf));
		act((char)byte);
	}
}

static void set_modes(void)
{
	bool dirty, disk, power = option_has("mode", "power");

	if (!option_text("mode"))
		dirty = animated = true;
	else
		dirty = option_has("mode", "dirty") ||
			option_has("mode", "verify");
	disk = option_has("mode", "disk") || option_has("mode", "verify") ||
	       power;
	animated = animated || option_has("mode", "draw");
	if (option_has("mode", "verify"))
		verify_every = option_number("verify", 5);
	dirty_set_on(dirty);
	if (disk)
		record_find();
	record_set_writing(option_has("mode", "disk") || power);
}

static void init(void)
{
	interrupt_init();
	timer_init();
	smp_init();
	serial_listen();
	irq_enable();
	beat_period = option_number("heartbeat", 1000);
	if (beat_period < 20)
		beat_period = 20;
	print("demo guest start options=\"%s\"", option_line());
	print("machine cpus=%u of %u ram=%lu ioapic=%lx pm1a=%x s5=%u", nr_cpus,
	      acpi.nr_cpus, memory_low_end() / MIB, acpi.ioapic,
	      acpi.pm1a_control, acpi.s5_type);
	pci_init();
	keyboard_init();
	dirty_init();
	if (!screen_set_graphics(!option_has("mode", "text")))
		print("screen none");
	panel_draw();
	record_init();
	beat();
	beat_next = timer_ms() + beat_period;
	set_modes();
	print("ready");
}

static void on_time(uint64_t now)
{
	if (now >= beat_next) {
		beat_next += beat_period;
		if (beat_next < now) /* far behind: don't chase */
			beat_next = now + beat_period;
		beat();
		if (verify_every && beat_count % verify_every == 0)
			verify();
	}
	if (animated && now >= frame_next) {
		frame_next = now + 1000 / FRAMES;
		panel_animate();
	}
}

void guest_main(void)
{
	uint64_t tick = 0;

	init();
	for (;;) {
		interrupt_wait();
		read_keys();
		record_work();
		if (tick == timer_ticks())
			continue;
		tick = timer_ticks();
		dirty_work(0);
		on_time(timer_ms());
	}
}
