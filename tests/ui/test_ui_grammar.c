/* Keys, actions, layers and layout, over pretended machines. */
#include "tests/ui/pretend.h"

#include <errno.h>
#include <locale.h>

#include "ui/screen/layout.h"

static void type(struct ui *ui, const char *text)
{
	struct key k = {0};

	while ((k.code = text_next(&text)) != 0)
		ui_key(ui, &k);
}

/* ---- tables ---- */

/* Every key of every action is a key, and no key does two things. */
static void keys_are_unique_on_each_screen(void **state)
{
	struct fixture *f = *state;
	const struct action *a, *found;
	const struct screen *s;
	char name[32];
	struct key k;
	size_t n;

	for (int i = 0; (s = ui_screen(i)) != NULL; i++) {
		ui_switch(f->ui, i);
		for (int j = 0; (a = action_at(s, j)) != NULL; j++) {
			const char *keys = a->keys;

			while (keys && *keys) {
				n = strcspn(keys, " ");
				assert_in_range(n, 1, sizeof(name) - 1);
				memcpy(name, keys, n);
				name[n] = '\0';
				assert_int_equal(key_parse(name, &k), 0);
				found = action_by_key(f->ui, &k);
				if (found != a)
					fail_msg("%s: %s is %s and %s", s->name,
						 name, found->name, a->name);
				keys += n + strspn(keys + n, " ");
			}
		}
	}
}

static void names_are_unique_and_explained(void **state)
{
	const struct action *a;
	const struct screen *s;

	(void)state;
	for (int i = 0; (s = ui_screen(i)) != NULL; i++) {
		for (int j = 0; (a = action_at(s, j)) != NULL; j++) {
			assert_ptr_equal(action_by_name(s, a->name), a);
			assert_null(strchr(a->name, ' '));
			assert_true(strlen(a->help) > 5);
			/* Fits a help row of 80 columns. */
			assert_true(strlen(a->name) <= 18);
			if (text_width(a->help) > 43)
				fail_msg("%s: help is too long", a->name);
		}
	}
}

/* What destroys is a capital letter and asks. */
static void destructive_is_a_capital_and_asks(void **state)
{
	static const char *const names[] = {
		"power-off",	"power-button", "reset", "delete",
		"ctrl-alt-del", "quit-session", "nmi"};
	const struct action *a;

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		a = action_by_name(ui_screen(0), names[i]);
		assert_non_null(a);
		assert_non_null(a->ask);
		if (a->keys)
			assert_true(a->keys[0] >= 'A' && a->keys[0] <= 'Z' &&
				    !a->keys[1]);
	}
	for (int i = 0; (a = action_at(ui_screen(0), i)) != NULL; i++)
		if (a->keys && !a->keys[1] && a->keys[0] >= 'A' &&
		    a->keys[0] <= 'Z')
			assert_non_null(a->ask);
}

static void settings_bind_other_keys(void **state)
{
	struct fixture *f = *state;
	struct error e = {0};

	assert_int_equal(settings_parse(&f->ui->settings,
					"{\"keys\": {\"detach\": \"d Ctrl-D\","
					" \"log\": \"q\", \"zoom\": \"\"}}",
					"test", &e),
			 0);
	assert_true(press(f->ui, "Ctrl-D") & EFFECT_DETACH);
	assert_true(shows(f->ui, "d detach"));
	assert_false(press(f->ui, "q") & EFFECT_DETACH);
	assert_int_equal(f->ui->current, SCREEN_LOG);
	press(f->ui, "5");
	press(f->ui, "1");
	press(f->ui, "z");
	assert_false(ui_view(f->ui)->zoom);
	assert_int_equal(settings_parse(&f->ui->settings,
					"{\"keys\": {\"detach\": \"Hyper-x\"}}",
					"test", &e),
			 -EINVAL);
	assert_int_equal(
		settings_parse(&f->ui->settings, "{\"keys\": 3}", "test", &e),
		-EINVAL);
}

/* The file that people copy from says what the tables say. */
static void keymap_file_is_true(void **state)
{
	static char text[16384], config[16500];
	FILE *in = fopen(SHARE_DIR "/keymap/default.json", "r");
	const struct action *a;
	const struct screen *s;
	struct settings set;
	struct error e = {0};
	int nr = 0;

	(void)state;
	assert_non_null(in);
	text[fread(text, 1, sizeof(text) - 1, in)] = '\0';
	fclose(in);
	snprintf(config, sizeof(config), "{\"keys\": %s}", text);
	settings_init(&set);
	if (settings_parse(&set, config, "default.json", &e))
		fail_msg("%s", e.msg);
	for (int i = 0; (s = ui_screen(i)) != NULL; i++) {
		for (int j = 0; (a = action_at(s, j)) != NULL; j++) {
			const char *keys = settings_keys(&set, a->name);

			/* Those that work everywhere are counted once. */
			if (i && j >= s->nr_actions)
				break;
			nr++;
			if (!keys || strcmp(keys, a->keys ? a->keys : ""))
				fail_msg("default.json: \"%s\": \"%s\"",
					 a->name, a->keys ? a->keys : "");
		}
	}
	assert_int_equal(nr, set.nr_bindings);
}

/* ---- layers ---- */

static void confirmation_defaults_to_no(void **state)
{
	struct fixture *f = *state;
	struct machine *m = fleet_find(f->ui->fleet, "alpha");

	start(f->ui, "alpha");
	press(f->ui, "O");
	assert_ptr_equal(f->ui->layer.open, &layer_confirm);
	assert_true(shows(f->ui, "Power off 'alpha'?"));
	press(f->ui, "Enter");
	ui_refresh(f->ui);
	assert_null(f->ui->layer.open);
	assert_int_equal(m->status.state, VM_RUNNING);
	press(f->ui, "O");
	press(f->ui, "Esc");
	press(f->ui, "O");
	press(f->ui, "x");
	press(f->ui, "n");
	ui_refresh(f->ui);
	assert_int_equal(m->status.state, VM_RUNNING);
	press(f->ui, "O");
	press(f->ui, "y");
	ui_refresh(f->ui);
	assert_int_equal(m->status.state, VM_OFF);
}

static void q_detaches_and_never_powers_off(void **state)
{
	struct fixture *f = *state;
	struct machine *m = fleet_find(f->ui->fleet, "alpha");

	start(f->ui, "alpha");
	for (int i = 0; i < UI_NR_SCREENS; i++) {
		ui_switch(f->ui, i);
		assert_true(press(f->ui, "q") & EFFECT_DETACH);
	}
	ui_refresh(f->ui);
	assert_int_equal(m->status.state, VM_RUNNING);
	/* Not in a confirmation: there it means no. */
	press(f->ui, "Q");
	assert_false(press(f->ui, "q") & (EFFECT_DETACH | EFFECT_QUIT));
}

static void esc_clears_one_layer_at_a_time(void **state)
{
	struct fixture *f = *state;
	struct view *v = ui_view(f->ui);

	press(f->ui, "z");
	press(f->ui, "/");
	type(f->ui, "ser");
	press(f->ui, "Enter");
	press(f->ui, "?");
	assert_ptr_equal(f->ui->layer.open, &layer_help);
	press(f->ui, "Esc");
	assert_null(f->ui->layer.open);
	assert_string_equal(v->filter, "ser");
	press(f->ui, "Esc");
	assert_string_equal(v->filter, "");
	assert_true(v->zoom);
	press(f->ui, "Esc");
	assert_false(v->zoom);
}

static void palette_completes(void **state)
{
	struct fixture *f = *state;
	struct line line;
	char candidates[256];

	line_set(&line, "pow");
	palette_complete(f->ui, &line, candidates, sizeof(candidates));
	assert_string_equal(line.text, "power-");
	assert_non_null(strstr(candidates, "power-off"));
	assert_non_null(strstr(candidates, "power-button"));
	line_set(&line, "power-of");
	palette_complete(f->ui, &line, candidates, sizeof(candidates));
	assert_string_equal(line.text, "power-off ");
	line_set(&line, "power-off al");
	palette_complete(f->ui, &line, candidates, sizeof(candidates));
	assert_string_equal(line.text, "power-off alpha");
	line_set(&line, "theme mo");
	palette_complete(f->ui, &line, candidates, sizeof(candidates));
	assert_string_equal(line.text, "theme mono");
	line_set(&line, "xyzzy");
	palette_complete(f->ui, &line, candidates, sizeof(candidates));
	assert_string_equal(line.text, "xyzzy");
	/* Actions of other screens can be named everywhere. */
	line_set(&line, "slot-");
	palette_complete(f->ui, &line, candidates, sizeof(candidates));
	assert_string_equal(line.text, "slot-events ");
}

static void help_runs_what_is_chosen(void **state)
{
	struct fixture *f = *state;

	press(f->ui, "F1");
	type(f->ui, "RAM blocks");
	ui_draw(f->ui);
	press(f->ui, "Enter");
	assert_null(f->ui->layer.open);
	assert_int_equal(f->ui->current, SCREEN_MEMORY);
	/* A destructive one still asks. */
	press(f->ui, "?");
	type(f->ui, "quit-session");
	assert_false(press(f->ui, "Enter") & EFFECT_QUIT);
	assert_ptr_equal(f->ui->layer.open, &layer_confirm);
}

static void lines_are_edited(void **state)
{
	struct fixture *f = *state;
	struct line *line = &f->ui->layer.line;

	press(f->ui, ":");
	type(f->ui, "h\xc3\xa4llo world");
	press(f->ui, "Ctrl-W");
	assert_string_equal(line->text, "h\xc3\xa4llo ");
	press(f->ui, "Home");
	press(f->ui, "Right");
	press(f->ui, "Del");
	assert_string_equal(line->text, "hllo ");
	press(f->ui, "Backspace");
	assert_string_equal(line->text, "llo ");
	press(f->ui, "End");
	press(f->ui, "Ctrl-U");
	assert_string_equal(line->text, "");
	for (int i = 0; i < 400; i++)
		type(f->ui, "\xc3\xa4");
	assert_true(strlen(line->text) < sizeof(line->text));
	assert_int_equal(strlen(line->text) % 2, 0);
	ui_draw(f->ui);
}

/* ---- the guest's keyboard ---- */

static void escape_takes_the_keyboard_back(void **state)
{
	struct fixture *f = *state;

	start(f->ui, "alpha");
	press(f->ui, "2");
	ui_draw(f->ui);
	assert_true(console_is_grabbed(f->ui));
	/* All of these go to the guest. */
	assert_int_equal(press(f->ui, "q") & EFFECT_DETACH, 0);
	press(f->ui, "3");
	press(f->ui, "?");
	press(f->ui, "Esc");
	assert_int_equal(f->ui->current, SCREEN_CONSOLE);
	assert_null(f->ui->layer.open);
	assert_true(shows(f->ui, "010 004 02a 035 001"));
	press(f->ui, "Ctrl-O");
	assert_false(console_is_grabbed(f->ui));
	press(f->ui, "3");
	assert_int_equal(f->ui->current, SCREEN_DEVICES);
	/* Configured to another key, Ctrl-O is the guest's. */
	key_parse("F12", &f->ui->settings.escape);
	press(f->ui, "2");
	ui_draw(f->ui);
	press(f->ui, "Ctrl-O");
	assert_true(console_is_grabbed(f->ui));
	assert_true(shows(f->ui, "F12 takes the keyboard back"));
	press(f->ui, "F12");
	assert_false(console_is_grabbed(f->ui));
}

static void mouse_clicks_into_the_guest(void **state)
{
	struct fixture *f = *state;
	struct key k = {.code = K_MOUSE, .row = 5, .col = 20, .buttons = 1};

	start(f->ui, "alpha");
	ui_switch(f->ui, SCREEN_CONSOLE);
	ui_draw(f->ui);
	assert_false(console_is_grabbed(f->ui));
	ui_key(f->ui, &k);
	assert_true(console_is_grabbed(f->ui));
	/* The bar still leads to other screens. */
	k.row = 0;
	k.col = f->ui->tabs[SCREEN_LOG].col + 1;
	ui_key(f->ui, &k);
	assert_int_equal(f->ui->current, SCREEN_LOG);
	/* What the guest's keyboard has no key for is said. */
	press(f->ui, "2");
	ui_draw(f->ui);
	press(f->ui, "\xe6\xbc\xa2");
	assert_true(shows(f->ui, "can't type"));
}

static void keyboard_comes_back_when_the_guest_stops(void **state)
{
	struct fixture *f = *state;

	start(f->ui, "alpha");
	press(f->ui, "2");
	assert_true(console_is_grabbed(f->ui));
	ui_command(f->ui, "power-off");
	ui_refresh(f->ui);
	assert_false(console_is_grabbed(f->ui));
	assert_true(press(f->ui, "q") & EFFECT_DETACH);
}

/* ---- sizes ---- */

static void every_screen_draws_at_every_size(void **state)
{
	struct fixture *f = *state;

	start(f->ui, "alpha");
	for (int screen = 0; screen < UI_NR_SCREENS; screen++) {
		ui_switch(f->ui, screen);
		for (int rows = 1; rows <= 70; rows += rows < 30 ? 1 : 13) {
			for (int cols = 1; cols <= 210; cols += 7) {
				ui_resize(f->ui, rows, cols);
				ui_draw(f->ui);
				press(f->ui, "Right");
				press(f->ui, "Down");
				press(f->ui, "z");
				ui_draw(f->ui);
			}
		}
	}
}

static void keys_are_ignored_below_the_least_size(void **state)
{
	struct fixture *f = *state;

	ui_resize(f->ui, UI_MIN_ROWS - 1, 80);
	assert_int_equal(press(f->ui, "q"), EFFECT_NONE);
	assert_int_equal(press(f->ui, "3"), EFFECT_NONE);
	assert_int_equal(f->ui->current, SCREEN_MACHINES);
	assert_true(shows(f->ui, "too small"));
	ui_resize(f->ui, UI_MIN_ROWS, UI_MIN_COLS);
	assert_false(shows(f->ui, "too small"));
	press(f->ui, "3");
	assert_int_equal(f->ui->current, SCREEN_DEVICES);
}

/* Whatever is pressed, wherever: screens keep drawing. */
static void random_keys_do_no_harm(void **state)
{
	static const char *const machines[] = {"alpha", "crash", "serial"};
	struct fixture *f = *state;
	unsigned x = 20151104;
	struct key k;

	for (size_t i = 0; i < 3; i++)
		ui_command(f->ui, i ? i == 1 ? "start crash" : "start serial"
				    : "start alpha");
	for (int i = 0; i < 20000; i++) {
		x = x * 1103515245 + 12345;
		k = (struct key){.code = 0x20 + (x >> 16) % 0x5f};
		if (x >> 30 == 0)
			k.code = K_UP + (x >> 16) % (K_F12 - K_UP + 1);
		if (x >> 28 == 15)
			k.mods = (x >> 10) & 7;
		k.row = (int)(x >> 8) % 30 - 2;
		k.col = (int)(x >> 12) % 90 - 2;
		k.buttons = x >> 5 & 31;
		/* Their folder and the machine that types must stay. */
		if (k.code == 'D')
			continue;
		ui_key(f->ui, &k);
		if (i % 7 == 0)
			ui_refresh(f->ui);
		if (i % 500 == 0) {
			ui_resize(f->ui, (int)(x >> 9) % 60,
				  (int)(x >> 15) % 200);
			ui_choose(f->ui, fleet_find(f->ui->fleet,
						    machines[i / 500 % 3]));
		}
		ui_draw(f->ui);
	}
}

static void panels_fold(void **state)
{
	struct view v = {.nr_panels = 2};
	struct rect out[4];

	(void)state;
	layout_panels(&v, (struct rect){1, 0, 21, 80}, 2, out);
	assert_int_equal(out[0].rows + out[1].rows, 21);
	assert_int_equal(out[0].cols, 80);
	layout_panels(&v, (struct rect){1, 0, 50, 200}, 2, out);
	assert_int_equal(out[0].cols + out[1].cols, 200);
	assert_int_equal(out[0].rows, 50);
	v.focus = 1;
	layout_panels(&v, (struct rect){1, 0, 10, 80}, 2, out);
	assert_int_equal(out[0].rows, 0);
	assert_int_equal(out[1].rows, 10);
	v.zoom = true;
	layout_panels(&v, (struct rect){1, 0, 50, 200}, 2, out);
	assert_int_equal(out[0].rows, 0);
	assert_int_equal(out[1].cols, 200);
	v = (struct view){.nr_panels = 4, .focus = 0};
	layout_panels(&v, (struct rect){1, 0, 21, 80}, 4, out);
	assert_int_equal(out[0].rows + out[3].rows, 21);
	assert_int_equal(out[1].rows + out[2].rows, 0);
}

static void lists_stay_inside(void **state)
{
	struct list l = {.sel = 9, .top = 5};

	(void)state;
	list_fit(&l, 3, 10);
	assert_int_equal(l.sel, 2);
	assert_int_equal(l.top, 0);
	list_fit(&l, 100, 10);
	list_move(&l, 50);
	assert_int_equal(l.sel, 52);
	assert_int_equal(l.top, 43);
	list_move(&l, -1000);
	assert_int_equal(l.sel, 0);
	list_fit(&l, 0, 10);
	assert_int_equal(l.sel, 0);
	assert_int_equal(l.top, 0);
}

static void filter_narrows_lists(void **state)
{
	struct fixture *f = *state;

	press(f->ui, "/");
	type(f->ui, "SERIAL line");
	assert_true(shows(f->ui, "serial "));
	assert_false(shows(f->ui, "crash "));
	press(f->ui, "Enter");
	press(f->ui, "Down");
	assert_string_equal(f->ui->machine->id, "serial");
	start(f->ui, "serial");
	press(f->ui, "3");
	ui_command(f->ui, "filter virtio disk");
	assert_true(shows(f->ui, "00:02.0"));
	assert_false(shows(f->ui, "vcpu0"));
}

static void write_machine(const char *path, int cpus)
{
	FILE *out = fopen(path, "w");

	assert_non_null(out);
	fprintf(out, "{ \"name\": \"changing\", \"cpus\": %d }", cpus);
	fclose(out);
}

static void changed_file_counts_at_the_next_start(void **state)
{
	struct fixture *f = *state;
	char dir[] = "/tmp/binnacle-test-XXXXXX", path[64];
	struct machine *m;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/changing.json", dir);
	write_machine(path, 2);
	fleet_scan(f->ui->fleet, dir);
	m = fleet_find(f->ui->fleet, "changing");
	start(f->ui, "changing");
	assert_int_equal(vm_config(m->vm)->cpus, 2);
	for (int i = 0; i < UI_NR_SCREENS; i++) {
		ui_switch(f->ui, i);
		ui_draw(f->ui);
	}
	write_machine(path, 4);
	/* Not while it runs, nor when it is merely paused. */
	ui_command(f->ui, "pause");
	ui_refresh(f->ui);
	start(f->ui, "changing");
	assert_int_equal(vm_config(m->vm)->cpus, 2);
	ui_switch(f->ui, SCREEN_CONSOLE);
	ui_draw(f->ui);
	ui_command(f->ui, "power-off");
	ui_refresh(f->ui);
	start(f->ui, "changing");
	assert_int_equal(vm_config(m->vm)->cpus, 4);
	ui_draw(f->ui);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(dir), 0);
}

static void mouse_chooses_a_screen(void **state)
{
	struct fixture *f = *state;
	struct key k = {.code = K_MOUSE, .buttons = 1};

	ui_draw(f->ui);
	k.col = f->ui->tabs[SCREEN_LOG].col + 1;
	ui_key(f->ui, &k);
	assert_int_equal(f->ui->current, SCREEN_LOG);
	assert_true(press(f->ui, "%") & EFFECT_MOUSE);
	assert_false(f->ui->mouse);
}

int main(void)
{
#define UI_TEST(f)                                                             \
	cmocka_unit_test_setup_teardown(f, pretend_set_up, pretend_tear_down)
	const struct CMUnitTest tests[] = {
		UI_TEST(keys_are_unique_on_each_screen),
		cmocka_unit_test(names_are_unique_and_explained),
		cmocka_unit_test(destructive_is_a_capital_and_asks),
		UI_TEST(settings_bind_other_keys),
		cmocka_unit_test(keymap_file_is_true),
		UI_TEST(confirmation_defaults_to_no),
		UI_TEST(q_detaches_and_never_powers_off),
		UI_TEST(esc_clears_one_layer_at_a_time),
		UI_TEST(palette_completes),
		UI_TEST(help_runs_what_is_chosen),
		UI_TEST(lines_are_edited),
		UI_TEST(escape_takes_the_keyboard_back),
		UI_TEST(mouse_clicks_into_the_guest),
		UI_TEST(keyboard_comes_back_when_the_guest_stops),
		UI_TEST(every_screen_draws_at_every_size),
		UI_TEST(keys_are_ignored_below_the_least_size),
		UI_TEST(random_keys_do_no_harm),
		cmocka_unit_test(panels_fold),
		cmocka_unit_test(lists_stay_inside),
		UI_TEST(filter_narrows_lists),
		UI_TEST(changed_file_counts_at_the_next_start),
		UI_TEST(mouse_chooses_a_screen),
	};

	setlocale(LC_CTYPE, "C.UTF-8");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
