/*
 * The Disks screen, and the page that explains it: both say what the tables of
 * the code say.
 */
#include "tests/ui/pretend.h"

#include "ui/screen/disks_parts.h"

static struct view *view(struct ui *ui)
{
	return &ui->views[SCREEN_DISKS];
}

static struct disks_view *disks(struct ui *ui)
{
	return view(ui)->data;
}

static int set_up(void **state)
{
	int r = pretend_set_up(state);
	struct ui *ui = ((struct fixture *)*state)->ui;

	start(ui, "alpha");
	ui_resize(ui, 60, 200);
	ui_switch(ui, SCREEN_DISKS);
	ui_draw(ui);
	return r;
}

/* ---- words ---- */

static void every_term_is_on_the_screen(void **state)
{
	struct ui *ui = ((struct fixture *)*state)->ui;

	/* A power cut is told of once there was one. */
	ui_command(ui, "cut-disks torn");
	/* Of requests that wait, when the host could not do them. */
	ui_command(ui, "nmi");
	ui_refresh(ui);
	ui->message[0] = '\0';
	for (int i = 0; i < nr_disks_terms; i++)
		if (!shows(ui, disks_terms[i].name))
			fail_msg("'%s' is explained, but not there",
				 disks_terms[i].name);
}

/* The next line of the page that begins a row of a table. */
static bool next_row(FILE *in, char *line, int len)
{
	while (fgets(line, len, in))
		if (line[0] == '|' && strncmp(line, "| ---", 5) != 0 &&
		    strncmp(line, "| name", 6) != 0 &&
		    strncmp(line, "| keys", 6) != 0)
			return true;
	return false;
}

static void quote_keys(const char *keys, char *buf, size_t len)
{
	size_t n, used = 0;

	*buf = '\0';
	for (; keys && *keys; keys += n + strspn(keys + n, " ")) {
		n = strcspn(keys, " ");
		used += (size_t)snprintf(buf + used, len - used, "%s`%.*s`",
					 used ? " " : "", (int)n, keys);
	}
}

static void the_page_says_what_the_tables_say(void **state)
{
	FILE *in = fopen(SHARE_DIR "/doc/disks.md", "r");
	char line[512], expect[512], keys[64];

	(void)state;
	assert_non_null(in);
	for (int i = 0; i < nr_disks_terms; i++) {
		snprintf(expect, sizeof(expect), "| %s | %s |\n",
			 disks_terms[i].name, disks_terms[i].meaning);
		assert_true(next_row(in, line, sizeof(line)));
		assert_string_equal(line, expect);
	}
	for (int i = 0; i < NR_DISKS_ACTIONS; i++) {
		const struct action *a = &disks_actions[i];

		quote_keys(a->keys, keys, sizeof(keys));
		snprintf(expect, sizeof(expect), "| %s | `%s` | %s |\n", keys,
			 a->name, a->help);
		assert_true(next_row(in, line, sizeof(line)));
		assert_string_equal(line, expect);
	}
	assert_false(next_row(in, line, sizeof(line)));
	fclose(in);
}

/* ---- rates ---- */

/* What nobody looked at counts with its mean; the past has an end. */
static void a_gap_has_its_mean(void **state)
{
	struct ui *ui = ((struct fixture *)*state)->ui;
	struct disks_view *dv = disks(ui);
	struct disks_history *h = &dv->history[0][VM_DISK_READ];

	dv->nr_history = 0;
	dv->sampled_ns -= 3000000000;
	h->last_ops -= 3000;
	ui_draw(ui);
	/* A loaded machine may take its time between the two. */
	assert_in_range(dv->nr_history, 3, 60);
	for (int i = 0; i < dv->nr_history; i++)
		assert_in_range(h->ops[i], 3000 / 60, 1000);
	assert_int_equal(h->last_ops, dv->facts[0].flow[VM_DISK_READ].ops);
	dv->sampled_ns -= 500000000000;
	h->last_ops -= 12000;
	ui_draw(ui);
	assert_int_equal(dv->nr_history, DISKS_HISTORY);
	assert_in_range(h->ops[0], 20, 24);
	/* Counters that begin anew are no rate. */
	dv->sampled_ns -= 1000000000;
	h->last_ops += 1000;
	ui_draw(ui);
	assert_int_equal(h->ops[DISKS_HISTORY - 1], 0);
}

/* ---- the map ---- */

/* What the cursor is on stays under it, whichever way one looks. */
static void zooming_keeps_the_place(void **state)
{
	struct ui *ui = ((struct fixture *)*state)->ui;
	struct disks_look *k = &disks(ui)->look;
	uint64_t here, cell;

	view(ui)->focus = DISKS_MAP;
	for (int i = 0; i < 150; i++)
		press(ui, "Right");
	ui_draw(ui);
	here = k->off + k->shown_cell * (uint64_t)k->cursor;
	for (int i = 0; i < 12; i++) {
		press(ui, "+");
		ui_draw(ui);
		cell = k->off + k->shown_cell * (uint64_t)k->cursor;
		assert_true(cell <= here && here < cell + k->shown_cell);
		here = cell;
		assert_true(k->off + k->shown_cell * k->at.nr_cells <=
			    disks(ui)->rows[0].len);
	}
	assert_int_equal(k->shown_cell, 512);
	for (int i = 0; i < 12; i++)
		press(ui, "-");
	ui_draw(ui);
	assert_int_equal(k->cell, 0);
	assert_int_equal(k->off, 0);
}

static void the_map_follows_the_cursor(void **state)
{
	struct ui *ui = ((struct fixture *)*state)->ui;
	struct disks_look *k = &disks(ui)->look;
	uint64_t end;

	view(ui)->focus = DISKS_MAP;
	press(ui, "+");
	press(ui, "+");
	ui_draw(ui);
	for (int i = 0; i < 100000 && press(ui, "Right"); i++)
		if (k->cursor == (int)k->at.nr_cells - 1 &&
		    k->off + k->cell * k->at.nr_cells + k->cell >
			    disks(ui)->rows[0].len)
			break;
	ui_draw(ui);
	end = k->off + k->cell * k->at.nr_cells;
	assert_true(end <= disks(ui)->rows[0].len &&
		    end + k->cell > disks(ui)->rows[0].len);
	for (int i = 0; i < 1000; i++)
		press(ui, "Shift-Left");
	assert_int_equal(k->off, 0);
	assert_int_equal(k->cursor, 0);
}

static void the_mouse_points_and_zooms(void **state)
{
	struct ui *ui = ((struct fixture *)*state)->ui;
	struct disks_look *k = &disks(ui)->look;
	struct key m = {.code = K_MOUSE, .buttons = 1};

	m.row = k->strips.row;
	m.col = k->strips.col + 20;
	ui_key(ui, &m);
	assert_int_equal(view(ui)->focus, DISKS_MAP);
	assert_int_equal(k->cursor, 20);
	m.buttons = 8;
	ui_draw(ui);
	ui_key(ui, &m);
	ui_draw(ui);
	assert_int_equal(k->shown_cell, 16384);
	m.buttons = 16;
	ui_key(ui, &m);
	ui_draw(ui);
	ui_key(ui, &m);
	ui_draw(ui);
	assert_int_equal(k->cell, 0);
	assert_int_equal(k->off, 0);
}

/* ---- the grammar ---- */

static void a_prompt_asks_then_confirms(void **state)
{
	struct ui *ui = ((struct fixture *)*state)->ui;

	ui_command(ui, "filter");
	press(ui, "Esc");
	press(ui, "X");
	assert_ptr_equal(ui->layer.open, &layer_prompt);
	press(ui, "Enter");
	assert_ptr_equal(ui->layer.open, &layer_confirm);
	assert_true(shows(ui, "Cut the power of 'disk0'"));
	press(ui, "Enter");
	assert_null(ui->layer.open);
	assert_string_equal(ui->message, "nothing was done");
	/* By the palette too, with the argument: only the question. */
	press(ui, ":");
	line_set(&ui->layer.line, "delete-snapshot fresh");
	press(ui, "Enter");
	assert_ptr_equal(ui->layer.open, &layer_confirm);
	press(ui, "n");
}

static void the_filter_hides_disks(void **state)
{
	struct ui *ui = ((struct fixture *)*state)->ui;

	assert_true(shows(ui, "/disks/pretended.img"));
	ui_command(ui, "filter nothing-like-it");
	assert_false(shows(ui, "/disks/pretended.img"));
	press(ui, "f");
	assert_string_equal(ui->message, "no disk is chosen");
	ui_command(ui, "filter VIRTIO");
	assert_true(shows(ui, "/disks/pretended.img"));
	assert_false(shows(ui, "/disks/unsafe.img"));
}

#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, set_up, pretend_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(every_term_is_on_the_screen),
		cmocka_unit_test(the_page_says_what_the_tables_say),
		TEST(a_gap_has_its_mean),
		TEST(zooming_keeps_the_place),
		TEST(the_map_follows_the_cursor),
		TEST(the_mouse_points_and_zooms),
		TEST(a_prompt_asks_then_confirms),
		TEST(the_filter_hides_disks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
