/*
 * img: the image tool, `binnacle img` and `binnacle-img`.
 *
 * Option syntax, printed lines and exit statuses are those of Debian 12's tool
 * of the same kind, so that scripts run unchanged.  One subcommand is one file
 * that exports one const struct img_command; the list is in img.c.
 *
 * Thread rule: commands run in a coroutine of the tool's loop; they may call
 * everything marked [co].
 */
#ifndef UI_IMG_IMG_H
#define UI_IMG_IMG_H

#include <stdbool.h>
#include <stdint.h>

#include "core/blk/blk.h"
#include "core/blk/format.h"
#include "core/error.h"

struct json_object;

struct img_tool {
	const char *program; /* before every message */
	struct blk_ctx *ctx;
	struct loop *loop;
};

struct img_command {
	const char *name, *usage; /* usage: the options, one line */
	/* argv[0] is the subcommand. The exit status. */
	int (*run)(struct img_tool *t, int argc, char **argv);
};

extern const struct img_command img_amend, img_bench, img_bitmap, img_check,
	img_commit, img_compare, img_convert, img_create, img_dd, img_info,
	img_map, img_measure, img_rebase, img_resize, img_snapshot;

/* argv[0] is the program or "img"; returns the exit status. Called by main. */
int img_main(const char *program, int argc, char **argv);

/* "PROGRAM: message" on standard error; returns 1, the usual exit status. */
int img_error(struct img_tool *t, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* The same, followed by where to find help. */
int img_usage_error(struct img_tool *t, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* For getopt's '?' and ':' with opterr 0: says what is wrong with argv. */
int img_bad_option(struct img_tool *t, int c, char **argv);

/* Long backing chains need many descriptors: takes all that the system lets
 * this process have. */
void img_raise_limits(void);

/* ---- sizes ---- */

/* "64M", "1.5G", "512"; 0, -EINVAL, or -ERANGE. */
int img_size_parse(const char *text, uint64_t *out);
/* "64 MiB", "1.95 GiB"; text has room for 32 bytes; returns text. */
const char *img_size_text(uint64_t len, char *text);
/* As img_size_parse, with the messages of an image size. */
int img_image_size(struct img_tool *t, const char *text, uint64_t *out);

/* ---- lists of options, -o key=value,... ---- */

struct img_opts {
	struct blk_opt *list;
	unsigned nr;
	bool help;    /* -o help, or ? */
	char **texts; /* what list points into */
	unsigned nr_texts;
};

/* Adds what one -o says; doubled commas stand for one. 0 or -errno. */
int img_opts_add(struct img_opts *o, const char *text);
/* The same for a list that must not be empty or end with a comma; prints what
 * is wrong.  The exit status. */
int img_opts_take(struct img_tool *t, struct img_opts *o, const char *text);
const char *img_opts_find(const struct img_opts *o, const char *key);
void img_opts_fini(struct img_opts *o);
/* What is wrong with the names or types of o's options for format f; e has the
 * lines to print.  0 or -EINVAL. */
int img_opts_check(const struct img_opts *o, const struct blk_format *f,
		   struct error *e);
/* Prints what format f takes with -o. */
void img_opts_help(const struct blk_format *f);
/* A line for each of d, by name. */
void img_opts_list(const struct blk_opt_desc *d);

/* ---- images ---- */

/* What the commands' common options say of an image. */
struct img_source {
	const char *path, *format; /* format NULL: found by probing */
	const char *cache;	   /* "writeback" ...; NULL: writeback */
	const char *snapshot;
	enum blk_aio aio;
	bool discard; /* frees space on the host */
	bool image_opts, share, write, no_backing, check, quiet;
};

/* Options without a letter, as getopt_long() gives them. */
enum {
	IMG_OPT_OBJECT = 256,
	IMG_OPT_IMAGE_OPTS,
	IMG_OPT_OWN /* a command's own from here on */
};

/* -f, -U and --image-opts into s; whatever else getopt_long() gave is refused.
 * The exit status. */
int img_source_option(struct img_tool *t, struct img_source *s, int c,
		      char **argv);
/* NULL after printing why. */
struct blk *img_open(struct img_tool *t, const struct img_source *s);
/* The same without printing. */
struct blk *img_try_open(struct img_tool *t, const struct img_source *s,
			 struct error *e);
/* Sets direct and no_flush; false when there is no such mode. */
bool img_cache_mode(const char *name, struct blk_options *o);
/* NULL after printing "Unknown file format". */
const struct blk_format *img_format(struct img_tool *t, const char *path,
				    const char *name);

/* ---- output ---- */

/* JSON in the layout of the tool's peers: four blanks a level. */
void img_json_print(struct json_object *o);
/* For people: "key: value" lines, dashes as blanks. */
void img_json_print_human(struct json_object *o, int level);
/* "human" or "json"; prints why not and returns false. */
bool img_output_parse(struct img_tool *t, const char *text, bool *json);

/* "    (12.34/100%)" on a terminal's line. */
struct img_progress {
	bool enabled;
	int last; /* hundredths of a percent that stand there + 1; 0: nothing */
};
void img_progress_set(struct img_progress *p, uint64_t done, uint64_t total);
void img_progress_end(struct img_progress *p);

#endif
