/*
 * blk_aio: how requests run beside the loop; one backend is one file that
 * exports one const struct blk_aio_class.
 *
 * Thread rule: create, destroy and submit by the drive's loop; run is called
 * on a thread that may sleep; completed on any thread.  Destroy with nothing
 * in flight.
 */
#ifndef CORE_BLK_AIO_H
#define CORE_BLK_AIO_H

struct blk_aio;
struct drive_req;
struct error;

/* Whom a backend serves. */
struct blk_aio_client {
	void *opaque;
	/* Does the request, sleeping as needed; 0 or -errno. */
	int (*run)(void *opaque, struct drive_req *req);
	/* Takes the request back; req->res is set. */
	void (*completed)(void *opaque, struct drive_req *req);
};

struct blk_aio_class {
	const char *name;
	/* NULL with the reason in e. */
	struct blk_aio *(*create)(const struct blk_aio_client *client,
				  struct error *e);
	void (*destroy)(struct blk_aio *aio);
	/* Takes the request; req->next is the backend's until completed. */
	void (*submit)(struct blk_aio *aio, struct drive_req *req);
};

/* A few threads that sleep in ordinary system calls. */
extern const struct blk_aio_class blk_aio_threads;

#endif
