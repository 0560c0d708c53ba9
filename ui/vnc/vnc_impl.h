/*
 * vnc_impl: what the source files of the VNC server share.
 *
 *   vnc.c     life, the thread, its clients
 *   listen.c  addresses and the password file
 *   hold.c    clients that would make the library wait
 *   frame.c   from the console's surface to libvncserver's frame
 *   input.c   key and pointer events, QEMU's extended key event
 *   keysym.c  X key symbols to keys
 *
 * Thread rule: everything belongs to the server's thread, except what is
 * marked.
 */
#ifndef UI_VNC_VNC_IMPL_H
#define UI_VNC_VNC_IMPL_H

#include <pthread.h>
#include <rfb/keysym.h>
#include <rfb/rfb.h>
#include <stdbool.h>

#include "core/console.h"
#include "ui/vnc/vnc.h"

struct vnc {
	struct console *console;
	struct log *log;
	struct console_viewer *viewer;
	rfbScreenInfoPtr screen;
	char name[80];
	char *passwords[2]; /* as libvncserver wants them: ended by NULL */
	char password[64];
	int listen_fd, stop_fd;
	char unix_path[108];
	pthread_t thread;
	uint64_t log_second; /* this second's lines of libvncserver */
	unsigned log_lines;
	/* The frame as libvncserver sends it, and where the console's pixels
	 * are copied before they are compared with it. */
	uint32_t *frame, *copy;
	int width, height;

	pthread_mutex_t lock; /* a leaf; protects: */
	struct vnc_status status;
};

/* What the server knows of one client. */
struct vnc_client {
	bool knows_password, told_extended;
	uint64_t since_ns;
	uint64_t half_since_ns; /* half a message lies there; 0: none */
	uint8_t held[512 / 8];	/* keys, by scan code */
	int x, y;		/* pointer, -1: not seen yet */
	unsigned buttons;
};

/* vnc.c: lets the library serve what is ready, and looks after it. */
void vnc_serve(struct vnc *v);

/* listen.c [any] */
/* Fills listen_fd, unix_path and status. */
int vnc_listen(struct vnc *v, const char *address, struct error *e);
/* Fills password. */
int vnc_read_password(struct vnc *v, const char *path, struct error *e);

/* frame.c */
/* A frame of a size; 0 or -ENOMEM. */
int vnc_frame_resize(struct vnc *v, int width, int height);
/* Brings the frame up to date and marks what changed. */
void vnc_frame_update(struct vnc *v);

/* hold.c: decides whether the library skips the client for now; true when it
 * has owed the rest of a message for too long. */
#define VNC_HALF_NS 5000000000ull
bool vnc_hold_update(rfbClientPtr cl, struct vnc_client *client,
		     uint64_t now_ns);

/* input.c: installs the hooks; lets go of a client's keys and buttons. */
void vnc_input_init(struct vnc *v);
void vnc_input_release(struct vnc *v, struct vnc_client *client);
/* Frees what the library keeps of a client's extension and never frees. */
void vnc_input_forget(rfbClientPtr cl);

/* keysym.c [any]: false when no key of a US keyboard makes it.  is_char: the
 * symbol is a character, and shift says whether the key needs shift. */
bool vnc_keysym_key(uint32_t keysym, uint16_t *scancode, bool *is_char,
		    bool *shift);

#endif
