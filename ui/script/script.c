#include "ui/script/script.h"

#include <errno.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/error.h"
#include "ui/screen/ui.h"

#define MS	  1000000ull
#define LINE_LEN  1024
#define POLL_MS	  50
#define WAIT_SECS 60
#define EXPECT_MS 30000

struct script {
	char path[1024];
	FILE *in;
	int number;
	char line[LINE_LEN]; /* the step being taken */
	bool pending;	     /* it waits and is tried again */
	uint64_t deadline_ns;
	char *rest; /* key, type: what is still to be pressed */
	bool failed;
	struct error error;
};

struct step {
	const char *name;
	/* Returns milliseconds until it wants to go on; *done: the next line
	 * may follow. */
	int (*take)(struct script *s, struct ui *ui, const char *arg,
		    uint64_t now, unsigned *effects, bool *done);
};

struct script *script_open(const char *path, struct error *e)
{
	struct script *s = calloc(1, sizeof(*s));

	if (!s) {
		error_set(e, -ENOMEM, "no memory for a script");
		return NULL;
	}
	s->in = fopen(path, "re");
	if (!s->in) {
		error_errno(e, errno, "opening script '%s'", path);
		free(s);
		return NULL;
	}
	snprintf(s->path, sizeof(s->path), "%s", path);
	return s;
}

void script_close(struct script *s)
{
	if (!s)
		return;
	fclose(s->in);
	free(s);
}

bool script_failed(const struct script *s, struct error *e)
{
	if (s->failed && e)
		*e = s->error;
	return s->failed;
}

static int fail(struct script *s, struct ui *ui, const char *fmt,
		const char *what)
{
	char text[200];

	snprintf(text, sizeof(text), fmt, what);
	error_set(&s->error, -EPROTO, "%s:%d: %s", s->path, s->number, text);
	s->failed = true;
	fprintf(stderr, "%s\nThe screen was:\n", s->error.msg);
	canvas_write(&ui->canvas, stderr);
	return 0;
}

static bool on_screen(struct ui *ui, const char *text)
{
	char row[4096];

	for (int i = 0; i < ui->canvas.rows; i++) {
		canvas_row_text(&ui->canvas, i, row, sizeof(row));
		if (strstr(row, text))
			return true;
	}
	return false;
}

static bool matches(struct ui *ui, const regex_t *re)
{
	char row[4096];

	for (int i = 0; i < ui->canvas.rows; i++) {
		canvas_row_text(&ui->canvas, i, row, sizeof(row));
		if (!regexec(re, row, 0, NULL, 0))
			return true;
	}
	return false;
}

/* Arms the step's deadline at its first try; true when it has passed. */
static bool is_late(struct script *s, uint64_t now, uint64_t ms)
{
	if (!s->pending) {
		s->pending = true;
		s->deadline_ns = now + ms * MS;
	}
	return now >= s->deadline_ns;
}

/* ---- steps ---- */

/* One key a call, so that each shows its effect in a frame of its own. */
static int take_key(struct script *s, struct ui *ui, const char *arg,
		    uint64_t now, unsigned *effects, bool *done)
{
	struct key k;
	char name[64];
	size_t n;

	(void)now;
	if (!s->pending)
		s->rest = (char *)arg;
	s->pending = true;
	n = strcspn(s->rest, " ");
	snprintf(name, sizeof(name), "%.*s", (int)n, s->rest);
	s->rest += n + strspn(s->rest + n, " ");
	if (key_parse(name, &k))
		return fail(s, ui, "'%s' is not a key", name);
	*effects = ui_key(ui, &k);
	*done = !*s->rest;
	return 0;
}

static uint32_t unescape(const char **text)
{
	uint32_t ch = text_next(text);

	if (ch != '\\' || !**text)
		return ch;
	ch = text_next(text);
	return ch == 'n' ? K_ENTER : ch == 't' ? K_TAB : ch == 'e' ? K_ESC : ch;
}

static int take_type(struct script *s, struct ui *ui, const char *arg,
		     uint64_t now, unsigned *effects, bool *done)
{
	struct key k = {0};

	(void)s;
	(void)now;
	while ((k.code = unescape(&arg)) != 0)
		*effects |= ui_key(ui, &k);
	*done = true;
	return 0;
}

static int take_wait(struct script *s, struct ui *ui, const char *arg,
		     uint64_t now, unsigned *effects, bool *done)
{
	char pattern[LINE_LEN];
	const char *end = NULL;
	uint64_t secs = WAIT_SECS;
	regex_t re;
	bool found;

	(void)effects;
	if (*arg == '"')
		end = strrchr(arg + 1, '"');
	if (end)
		arg++;
	else
		end = arg + strcspn(arg, " ");
	snprintf(pattern, sizeof(pattern), "%.*s", (int)(end - arg), arg);
	end += *end == '"';
	if (strtoul(end, NULL, 10))
		secs = strtoul(end, NULL, 10);
	if (regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB))
		return fail(s, ui, "'%s' is not a regular expression", pattern);
	found = matches(ui, &re);
	regfree(&re);
	*done = found;
	if (!found && is_late(s, now, secs * 1000))
		return fail(s, ui, "'%s' did not appear in time", pattern);
	return found ? 0 : POLL_MS;
}

static int take_expect(struct script *s, struct ui *ui, const char *arg,
		       uint64_t now, unsigned *effects, bool *done)
{
	(void)effects;
	*done = on_screen(ui, arg);
	if (!*done && is_late(s, now, EXPECT_MS))
		return fail(s, ui, "'%s' is not on the screen", arg);
	return *done ? 0 : POLL_MS;
}

static int take_expect_not(struct script *s, struct ui *ui, const char *arg,
			   uint64_t now, unsigned *effects, bool *done)
{
	(void)now;
	(void)effects;
	if (on_screen(ui, arg))
		return fail(s, ui, "'%s' is on the screen", arg);
	*done = true;
	return 0;
}

static int take_sleep(struct script *s, struct ui *ui, const char *arg,
		      uint64_t now, unsigned *effects, bool *done)
{
	(void)ui;
	(void)effects;
	*done = is_late(s, now, strtoul(arg, NULL, 10));
	return *done ? 0 : (int)((s->deadline_ns - now) / MS) + 1;
}

static int take_resize(struct script *s, struct ui *ui, const char *arg,
		       uint64_t now, unsigned *effects, bool *done)
{
	int cols, rows;

	(void)now;
	if (sscanf(arg, "%dx%d", &cols, &rows) != 2)
		return fail(s, ui, "'%s' is not COLSxROWS", arg);
	if (ui_resize(ui, rows, cols))
		return fail(s, ui, "no memory for %s", arg);
	*effects = EFFECT_DRAW;
	*done = true;
	return 0;
}

static int take_save(struct script *s, struct ui *ui, const char *arg,
		     uint64_t now, unsigned *effects, bool *done)
{
	FILE *out = fopen(arg, "we");

	(void)now;
	(void)effects;
	if (!out)
		return fail(s, ui, "'%s' can't be written", arg);
	canvas_write(&ui->canvas, out);
	fclose(out);
	*done = true;
	return 0;
}

static int take_print(struct script *s, struct ui *ui, const char *arg,
		      uint64_t now, unsigned *effects, bool *done)
{
	(void)s;
	(void)now;
	(void)effects;
	if (*arg)
		printf("---- %s ----\n", arg);
	canvas_write(&ui->canvas, stdout);
	fflush(stdout);
	*done = true;
	return 0;
}

static int take_echo(struct script *s, struct ui *ui, const char *arg,
		     uint64_t now, unsigned *effects, bool *done)
{
	(void)s;
	(void)ui;
	(void)now;
	(void)effects;
	puts(arg);
	fflush(stdout);
	*done = true;
	return 0;
}

static int take_command(struct script *s, struct ui *ui, const char *arg,
			uint64_t now, unsigned *effects, bool *done)
{
	(void)now;
	ui->message[0] = '\0';
	*effects = ui_command(ui, arg);
	if (*effects & EFFECT_FAILED)
		return fail(s, ui, "%s", ui->message);
	*done = true;
	return 0;
}

static const struct step steps[] = {
	{"key", take_key},	    {"keys", take_key},
	{"type", take_type},	    {"wait-text", take_wait},
	{"expect", take_expect},    {"expect-not", take_expect_not},
	{"sleep-ms", take_sleep},   {"resize", take_resize},
	{"save-screen", take_save}, {"print-screen", take_print},
	{"echo", take_echo},
};

static int take(struct script *s, struct ui *ui, uint64_t now,
		unsigned *effects, bool *done)
{
	size_t n = strcspn(s->line, " ");
	const char *arg = s->line + n + strspn(s->line + n, " ");

	if (s->line[0] == ':')
		return take_command(s, ui, s->line, now, effects, done);
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		if (strlen(steps[i].name) == n &&
		    !strncmp(s->line, steps[i].name, n))
			return steps[i].take(s, ui, arg, now, effects, done);
	return fail(s, ui, "'%s' is not a step", s->line);
}

static bool next_line(struct script *s)
{
	size_t n;

	for (;;) {
		if (!fgets(s->line, sizeof(s->line), s->in))
			return false;
		s->number++;
		s->line[strcspn(s->line, "\r\n")] = '\0';
		n = strspn(s->line, " \t");
		memmove(s->line, s->line + n, strlen(s->line + n) + 1);
		if (s->line[0] && s->line[0] != '#')
			return true;
	}
}

int script_step(struct script *s, struct ui *ui, uint64_t now_ns,
		unsigned *effects)
{
	bool done = false;
	int wait;

	*effects = EFFECT_NONE;
	if (s->failed)
		return -1;
	if (!s->pending && !next_line(s))
		return -1;
	wait = take(s, ui, now_ns, effects, &done);
	s->pending = !done;
	return s->failed ? -1 : wait;
}
