#include "core/blk/nbd/list.h"

#include <errno.h>
#include <libnbd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/blk/nbd/address.h"
#include "core/blk/nbd/connect.h"
#include "core/error.h"

#define EXPORTS_MAX  4096
#define CONTEXTS_MAX 64

struct list {
	struct nbd_listed *all;
	int nr;
};

static int on_export(void *arg, const char *name, const char *description)
{
	struct list *l = arg;
	struct nbd_listed *all, *x;

	if (l->nr == EXPORTS_MAX)
		return 0;
	all = realloc(l->all, (l->nr + 1) * sizeof(*all));
	if (!all)
		return -1;
	l->all = all;
	x = &all[l->nr];
	*x = (struct nbd_listed){.name = strdup(name)};
	if (*description)
		x->description = strdup(description);
	if (!x->name)
		return -1;
	l->nr++;
	return 0;
}

static int on_context(void *arg, const char *name)
{
	struct nbd_listed *x = arg;
	void *more;

	if (x->nr_contexts == CONTEXTS_MAX)
		return 0;
	more = realloc(x->contexts, (x->nr_contexts + 1) * sizeof(char *));
	if (!more)
		return -1;
	x->contexts = more;
	x->contexts[x->nr_contexts] = strdup(name);
	if (!x->contexts[x->nr_contexts])
		return -1;
	x->nr_contexts++;
	return 0;
}

static uint32_t block_size(struct nbd_handle *h, int which)
{
	int64_t n = nbd_get_block_size(h, which);

	return n > 0 && n <= UINT32_MAX ? n : 0;
}

static void describe(struct nbd_handle *h, struct nbd_listed *x)
{
	static const struct fact {
		int (*is)(struct nbd_handle *h);
		uint32_t flag;
	} facts[] = {
		{nbd_is_read_only, 2}, {nbd_can_flush, 4},
		{nbd_can_fua, 8},      {nbd_is_rotational, 16},
		{nbd_can_trim, 32},    {nbd_can_zero, 64},
		{nbd_can_df, 128},     {nbd_can_multi_conn, 256},
		{nbd_can_cache, 1024}, {nbd_can_fast_zero, 2048},
	};

	nbd_set_export_name(h, x->name);
	if (nbd_opt_info(h))
		return;
	x->len = nbd_get_size(h) < 0 ? 0 : nbd_get_size(h);
	x->flags = 1;
	for (size_t i = 0; i < sizeof(facts) / sizeof(facts[0]); i++)
		if (facts[i].is(h) == 1)
			x->flags |= facts[i].flag;
	x->min_block = block_size(h, LIBNBD_SIZE_MINIMUM);
	x->opt_block = block_size(h, LIBNBD_SIZE_PREFERRED);
	x->max_block = block_size(h, LIBNBD_SIZE_MAXIMUM);
	nbd_clear_meta_contexts(h);
	nbd_opt_list_meta_context(h,
				  (nbd_context_callback){on_context, x, NULL});
}

static int lib_error(struct error *e)
{
	const char *text = nbd_get_error(), *colon = strstr(text, ": ");
	int err = nbd_get_errno();

	if (!strncmp(text, "nbd_", 4) && colon)
		text = colon + 2;
	return error_set(e, err ? -err : -EIO, "%s", text);
}

static int ask(struct nbd_handle *h, struct list *l, struct error *e)
{
	nbd_list_callback each = {on_export, l, NULL};

	if (nbd_opt_list(h, each) < 0)
		return lib_error(e);
	for (int i = 0; i < l->nr; i++)
		describe(h, &l->all[i]);
	nbd_opt_abort(h);
	return l->nr;
}

int nbd_list(const struct nbd_address *a, struct nbd_listed **out,
	     struct error *e)
{
	struct nbd_handle *h = nbd_create();
	struct list l = {0};
	int fd, ret;

	if (!h)
		return lib_error(e);
	fd = nbd_socket_connect(a, e);
	if (fd < 0) {
		nbd_close(h);
		return fd;
	}
	if (nbd_set_opt_mode(h, true) || nbd_set_full_info(h, true)) {
		close(fd);
		ret = lib_error(e);
	} else if (nbd_connect_socket(h, fd)) {
		ret = lib_error(e);
	} else {
		ret = ask(h, &l, e);
	}
	nbd_close(h);
	if (ret < 0)
		nbd_list_free(l.all, l.nr);
	else
		*out = l.all;
	return ret;
}

void nbd_list_free(struct nbd_listed *list, int nr)
{
	for (int i = 0; i < nr; i++) {
		for (unsigned k = 0; k < list[i].nr_contexts; k++)
			free(list[i].contexts[k]);
		free(list[i].contexts);
		free(list[i].name);
		free(list[i].description);
	}
	free(list);
}
