#include "core/blk/export.h"

#include <errno.h>
#include <stdlib.h>

#include "core/blk/blk.h"
#include "core/blk/nbd/address.h"
#include "core/blk/nbd/server.h"
#include "core/blk/view.h"
#include "core/error.h"

struct blk_export {
	struct blk *view;
	struct nbd_server *server;
};

static int serve(struct blk_export *x, const struct nbd_address *a,
		 struct error *e)
{
	struct nbd_server_config cfg = {0};
	struct nbd_export_config export = {
		.name = a->export,
		.description = "a running disk, as it was at one moment",
		.blk = x->view,
	};
	int ret;

	x->server = nbd_server_create(blk_ctx_of(x->view), &cfg, e);
	if (!x->server)
		return -ENOMEM;
	ret = nbd_server_add_export(x->server, &export, e);
	return ret ? ret : nbd_server_listen(x->server, a, e);
}

void blk_export_stop(struct blk_export *x)
{
	if (!x)
		return;
	nbd_server_destroy(x->server);
	blk_unref(x->view);
	free(x);
}

struct blk_export *blk_export_start(struct blk *disk, const char *address,
				    struct error *e)
{
	struct blk_export *x = calloc(1, sizeof(*x));
	struct nbd_address a = {0};
	int ret;

	if (!x) {
		error_set(e, -ENOMEM, "no memory for an export");
		return NULL;
	}
	ret = nbd_address_parse(address, &a, e);
	if (!ret) {
		x->view = blk_view_create(disk, e);
		ret = x->view ? serve(x, &a, e) : -EIO;
	}
	nbd_address_fini(&a);
	if (!ret)
		return x;
	blk_export_stop(x);
	return NULL;
}
