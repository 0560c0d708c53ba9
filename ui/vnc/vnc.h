/*
 * vnc: the guest's screen, keyboard and pointer over the RFB protocol.
 *
 * A server shows one console to any number of clients.  It listens on
 * loopback unless told otherwise, and refuses any other address without a
 * password.  A client that talks nonsense is dropped; the others and the
 * process don't notice.  While nobody is connected the display rests.
 *
 * Thread rule: vnc_start, vnc_stop and vnc_status_copy are [any].  Each server
 * has one thread, which alone calls libvncserver.
 */
#ifndef UI_VNC_VNC_H
#define UI_VNC_VNC_H

#include <stdint.h>

struct console;
struct error;
struct log;
struct vm;
struct vnc;

#define VNC_MAX_CLIENTS 16

struct vnc_config {
	struct console *console; /* outlives the server */
	struct log *log;	 /* likewise; NULL is fine */
	const char *name;	 /* the desktop's name */
	/* "HOST:DISPLAY" (port 5900 + DISPLAY), "HOST::PORT" (0: any free),
	 * "[V6]:DISPLAY", ":DISPLAY" (loopback) or "unix:PATH". */
	const char *listen;
	/* The first line, of which RFB uses eight characters.  NULL or empty:
	 * no password. */
	const char *password_file;
};

struct vnc_status {
	char address[160]; /* what it listens on, for people */
	unsigned port;	   /* 0: a Unix socket */
	unsigned clients;
	uint64_t connections, dropped; /* so far; dropped: by the server */
};

/* Listens when it returns.  NULL with the reason in e: an address that can't
 * be parsed or bound, a password file without a password, an address that
 * others can reach and no password. */
struct vnc *vnc_start(const struct vnc_config *cfg, struct error *e);
/* The server that a machine's config asks for; *out is NULL when it asks for
 * none.  0, or -1 with the reason in e.  Stop it before vm_destroy. */
int vnc_start_vm(struct vm *vm, struct vnc **out, struct error *e);
/* Disconnects the clients and frees; NULL is fine. */
void vnc_stop(struct vnc *v);
/* What the server does now, copied out. */
void vnc_status_copy(struct vnc *v, struct vnc_status *out);

#endif
