/*
 * io: the disk exerciser, `binnacle io` and `binnacle-io`.
 *
 * Commands, options and printed lines are those of Debian 12's tool of the same
 * kind.  One group of commands is one file that exports a table.
 *
 * Thread rule: commands run in a coroutine of the tool's loop.
 */
#ifndef UI_IO_IO_H
#define UI_IO_IO_H

#include "ui/img/img.h"

struct io {
	struct img_tool tool;
	struct img_source source; /* what `open` and the command line asked */
	struct blk *b;		  /* NULL: none open */
	bool writethrough; /* each write is made stable: unless -t or -n */
	bool misalign, quit;
	bool temporary;	   /* -s: what is written is forgotten */
	bool copy_on_read; /* -C */
	unsigned nr_aio;   /* requests in the background */
	struct co *waiter; /* for nr_aio to become 0 */
};

struct io_command {
	const char *name, *args, *summary;
	int min_args, max_args; /* max_args -1: any number */
	bool needs_file;
	int (*run)(struct io *io, int argc, char **argv); /* 0 or -errno */
	const char *help;				  /* more, or NULL */
};

/* Each ends with a NULL name. */
extern const struct io_command io_basic_commands[], io_rw_commands[],
	io_aio_commands[];

/* NULL when there is none of that name. */
const struct io_command *io_find(const char *name);
/* "name args -- summary". */
void io_print_usage(const struct io_command *c);

/* "writeback" and so on; mode is kept. */
void io_set_cache(struct io *io, const char *mode);
/* Opens what io->source says; prints why not. */
int io_open(struct io *io);
/* Waits for the background, then closes: 0 or -errno of the last flush. */
int io_close(struct io *io);
void io_wait_aio(struct io *io);

/* With -C: what is below a range that will be read comes up into the image;
 * waits for the background. 0 or -errno. */
int io_copy_up(struct io *io, uint64_t off, uint64_t len);

/* "64 KiB", "1.500 MiB", "512 bytes"; text has room for 64 bytes. */
const char *io_size_text(double n, char *text);
/* Prints what is wrong; false then. */
bool io_number(const char *text, uint64_t *out);
bool io_pattern(const char *text, int *out);

/* What a finished request prints. */
struct io_report {
	const char *verb; /* "read", "wrote" */
	uint64_t off, len;
	uint64_t start_ns;
	bool terse; /* for machines */
};
void io_print_report(const struct io_report *r);
/* False, printed, when some byte of buf is not pattern. */
bool io_verify(const void *buf, size_t len, int pattern, uint64_t off);
void io_dump(const void *buf, size_t len, uint64_t off);

/* The exit status; argv[0] is the program. */
int io_main(const char *program, int argc, char **argv);

#endif
