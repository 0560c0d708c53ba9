/*
 * ps2: the keyboard and the mouse behind the i8042.
 *
 * Each turns commands and events into bytes of its queue; the controller takes
 * them one by one.  Keyboard: IBM PS/2 keyboard, scan code sets 1 and 2.
 * Mouse: PS/2 mouse with the IntelliMouse wheel.
 *
 * Thread rule: every call under the controller's lock.
 */
#ifndef CORE_HW_ISA_PS2_H
#define CORE_HW_ISA_PS2_H

#include <stdbool.h>
#include <stdint.h>

struct error;
struct state_desc;

#define PS2_QUEUE_LEN 64u
#define PS2_KEYS_LEN  14u /* bytes of keys that may wait among them */

struct ps2_queue {
	uint8_t bytes[PS2_QUEUE_LEN];
	uint32_t first, nr;
};

/* false when n bytes don't all fit: none is then queued. */
bool ps2_queue_put(struct ps2_queue *q, const uint8_t *bytes, unsigned n);
/* Empties; bytes of a device that the host hasn't read are forgotten. */
void ps2_queue_clear(struct ps2_queue *q);
/* Takes the oldest byte; q->nr must not be 0. */
uint8_t ps2_queue_get(struct ps2_queue *q);

struct ps2_kbd {
	struct ps2_queue queue;
	uint8_t command; /* that waits for its argument, 0: none */
	uint8_t set;	 /* 1 or 2 */
	uint8_t leds, last;
	bool scanning;
};

void ps2_kbd_reset(struct ps2_kbd *k);
void ps2_kbd_write(struct ps2_kbd *k, uint8_t value);
/* scancode as console_key has it. */
void ps2_kbd_key(struct ps2_kbd *k, uint16_t scancode, bool down);
/* Set 2 to set 1, as the controller translates; 0xf0 has no translation. */
uint8_t ps2_translate(uint8_t set2);

struct ps2_mouse {
	struct ps2_queue queue;
	uint8_t command; /* that waits for its argument, 0: none */
	uint8_t id;	 /* 0, or 3 with a wheel */
	uint8_t rate, resolution;
	uint8_t knock[2]; /* the last two rates: three knocks find the wheel */
	uint8_t buttons;
	bool reporting, remote, wrap, doubled;
	int32_t dx, dy, dz; /* not reported yet */
};

void ps2_mouse_reset(struct ps2_mouse *m);
void ps2_mouse_write(struct ps2_mouse *m, uint8_t value);
/* dx to the right, dy down, dz wheel towards the person. */
void ps2_mouse_move(struct ps2_mouse *m, int dx, int dy, int dz,
		    unsigned buttons);
/* The controller took bytes: there may be room for another packet. */
void ps2_mouse_refill(struct ps2_mouse *m);

extern const struct state_desc ps2_kbd_state, ps2_mouse_state;

#endif
