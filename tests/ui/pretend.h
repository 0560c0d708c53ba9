/*
 * pretend: a user interface over pretended machines, for tests of screens.
 *
 * Thread rule: the test's.
 */
#ifndef TESTS_UI_PRETEND_H
#define TESTS_UI_PRETEND_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/log.h"
#include "ui/screen/screens.h"
#include "ui/screen/ui.h"

struct fixture {
	struct ui *ui;
	struct log *log;
};

static inline int pretend_set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct error e = {0};

	/* No config of the person who runs the tests. */
	setenv("XDG_CONFIG_HOME", "/nonexistent", 1);
	f->log = log_create(LOG_LEVEL_ERROR + 1);
	f->ui = ui_create(SHARE_DIR, f->log, &e);
	if (!f->ui)
		fail_msg("%s", e.msg);
	fleet_scan(f->ui->fleet, MACHINES_DIR);
	ui_refresh(f->ui);
	ui_show(f->ui, true, false, false);
	*state = f;
	return 0;
}

static inline int pretend_tear_down(void **state)
{
	struct fixture *f = *state;

	ui_destroy(f->ui);
	log_destroy(f->log);
	free(f);
	return 0;
}

static inline unsigned press(struct ui *ui, const char *name)
{
	struct key k;

	assert_int_equal(key_parse(name, &k), 0);
	return ui_key(ui, &k);
}

static inline bool shows(struct ui *ui, const char *text)
{
	char row[4096];

	ui_draw(ui);
	for (int i = 0; i < ui->canvas.rows; i++) {
		canvas_row_text(&ui->canvas, i, row, sizeof(row));
		if (strstr(row, text))
			return true;
	}
	return false;
}

/* Until a helper thread has made the machine. */
static inline void start(struct ui *ui, const char *id)
{
	struct machine *m = fleet_find(ui->fleet, id);

	assert_non_null(m);
	ui_choose(ui, m);
	ui_command(ui, "start");
	for (int i = 0; i < 60000 && !machine_is_running(m); i++) {
		ui_refresh(ui);
		usleep(1000);
	}
	assert_true(machine_is_running(m));
}

#endif
