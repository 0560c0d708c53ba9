#include <errno.h>
#include <string.h>

#include "core/error.h"
#include "core/hw/isa/ps2.h"
#include "core/migration/state.h"

#define ACK	      0xfa
#define RESEND	      0xfe
#define SELF_TEST_OK  0xaa
#define CMD_LEDS      0xed
#define CMD_ECHO      0xee
#define CMD_SET	      0xf0
#define CMD_ID	      0xf2
#define CMD_TYPEMATIC 0xf3
#define CMD_ENABLE    0xf4
#define CMD_DISABLE   0xf5
#define CMD_DEFAULT   0xf6
#define CMD_RESEND    0xfe
#define CMD_RESET     0xff

#define BREAK	   0xf0
#define EXTENDED   0xe0
#define SCAN_PAUSE 0x146
#define SCAN_E0	   0x100

/* ---- queue ---- */

bool ps2_queue_put(struct ps2_queue *q, const uint8_t *bytes, unsigned n)
{
	if (PS2_QUEUE_LEN - q->nr < n)
		return false;
	for (unsigned i = 0; i < n; i++)
		q->bytes[(q->first + q->nr++) % PS2_QUEUE_LEN] = bytes[i];
	return true;
}

void ps2_queue_clear(struct ps2_queue *q)
{
	q->first = 0;
	q->nr = 0;
}

uint8_t ps2_queue_get(struct ps2_queue *q)
{
	uint8_t c = q->bytes[q->first];

	q->first = (q->first + 1) % PS2_QUEUE_LEN;
	q->nr--;
	return c;
}

/* ---- scan codes ---- */

/* Set 1 make code of each set 2 make code; 0x80 and up stay as they are,
 * but for 0x83 and 0x84. */
static const uint8_t set2_to_set1[0x85] = {
	0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40,
	0x3e, 0x0f, 0x29, 0x59, 0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a,
	0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b, 0x67, 0x2e, 0x2d, 0x20,
	0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d,
	0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24,
	0x16, 0x08, 0x09, 0x5f, 0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60,
	0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61, 0x6d, 0x73, 0x28, 0x74,
	0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76,
	0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b,
	0x47, 0x7e, 0x7f, 0x6f, 0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45,
	0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54, 0x80, 0x81, 0x82, 0x41,
	0x54,
};

uint8_t ps2_translate(uint8_t set2)
{
	return set2 < sizeof(set2_to_set1) ? set2_to_set1[set2] : set2;
}

/* The set 2 code of a set 1 make code; 0: none.  From the end, because the
 * unused low codes repeat what 0x83 and 0x84 mean. */
static uint8_t set2_of(uint8_t set1)
{
	for (unsigned i = sizeof(set2_to_set1) - 1; i; i--)
		if (set2_to_set1[i] == set1)
			return i;
	return 0;
}

static unsigned code_set1(uint8_t code, bool extended, bool down, uint8_t *out)
{
	unsigned n = 0;

	if (extended)
		out[n++] = EXTENDED;
	out[n++] = code | (down ? 0 : 0x80);
	return n;
}

static unsigned code_set2(uint8_t code, bool extended, bool down, uint8_t *out)
{
	uint8_t set2 = set2_of(code);
	unsigned n = 0;

	if (!set2)
		return 0;
	if (extended)
		out[n++] = EXTENDED;
	if (!down)
		out[n++] = BREAK;
	out[n++] = set2;
	return n;
}

/* As many bytes as a real keyboard keeps: firmware empties no more before it
 * gives up on the keyboard.  A guest that does not read loses keys. */
static void keys_put(struct ps2_kbd *k, const uint8_t *bytes, unsigned n)
{
	if (k->queue.nr + n <= PS2_KEYS_LEN)
		ps2_queue_put(&k->queue, bytes, n);
}

static void pause_key(struct ps2_kbd *k)
{
	static const uint8_t set1[] = {0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5};
	static const uint8_t set2[] = {0xe1, 0x14, 0x77, 0xe1,
				       0xf0, 0x14, 0xf0, 0x77};

	if (k->set == 1)
		keys_put(k, set1, sizeof(set1));
	else
		keys_put(k, set2, sizeof(set2));
}

void ps2_kbd_key(struct ps2_kbd *k, uint16_t scancode, bool down)
{
	bool extended = scancode & SCAN_E0;
	uint8_t code = scancode & 0x7f, out[4];
	unsigned n;

	if (!k->scanning)
		return;
	if ((scancode & 0x17f) == SCAN_PAUSE) {
		if (down)
			pause_key(k);
		return;
	}
	n = k->set == 1 ? code_set1(code, extended, down, out)
			: code_set2(code, extended, down, out);
	keys_put(k, out, n);
}

/* ---- commands ---- */

static void reply(struct ps2_kbd *k, uint8_t c)
{
	k->last = c;
	ps2_queue_put(&k->queue, &c, 1);
}

static void defaults(struct ps2_kbd *k)
{
	k->set = 2;
	k->leds = 0;
	k->command = 0;
}

void ps2_kbd_reset(struct ps2_kbd *k)
{
	defaults(k);
	k->scanning = true;
	k->last = 0;
	ps2_queue_clear(&k->queue);
}

static void argument(struct ps2_kbd *k, uint8_t value)
{
	uint8_t command = k->command;

	k->command = 0;
	reply(k, ACK);
	if (command == CMD_LEDS) {
		k->leds = value & 7;
	} else if (command == CMD_SET) {
		if (value == 0)
			reply(k, k->set);
		else if (value <= 2)
			k->set = value;
	}
}

static void command(struct ps2_kbd *k, uint8_t value)
{
	switch (value) {
	case CMD_LEDS:
	case CMD_SET:
	case CMD_TYPEMATIC:
		k->command = value;
		reply(k, ACK);
		break;
	case CMD_ECHO:
		reply(k, CMD_ECHO);
		break;
	case CMD_ID:
		reply(k, ACK);
		reply(k, 0xab);
		reply(k, 0x83);
		break;
	case CMD_ENABLE:
		k->scanning = true;
		reply(k, ACK);
		break;
	case CMD_DISABLE:
	case CMD_DEFAULT:
		defaults(k);
		k->scanning = value == CMD_DEFAULT;
		ps2_queue_clear(&k->queue);
		reply(k, ACK);
		break;
	case CMD_RESEND:
		reply(k, k->last);
		break;
	case CMD_RESET:
		ps2_kbd_reset(k);
		reply(k, ACK);
		reply(k, SELF_TEST_OK);
		break;
	default:
		reply(k, RESEND);
	}
}

void ps2_kbd_write(struct ps2_kbd *k, uint8_t value)
{
	/* A value that can't be an argument starts a new command. */
	if (k->command && value < 0xed)
		argument(k, value);
	else
		command(k, value);
}

/* ---- state ---- */

static int kbd_check(void *obj, int version, struct error *e)
{
	struct ps2_kbd *k = obj;

	(void)version;
	if (k->queue.first >= PS2_QUEUE_LEN || k->queue.nr > PS2_QUEUE_LEN ||
	    k->set < 1 || k->set > 2)
		return error_set(e, -EINVAL,
				 "keyboard: queue at %u with %u bytes, scan "
				 "code set %u",
				 k->queue.first, k->queue.nr, k->set);
	return 0;
}

static const struct state_field kbd_fields[] = {
	STATE_ARRAY(struct ps2_kbd, queue.bytes),
	STATE_FIELD(struct ps2_kbd, queue.first),
	STATE_FIELD(struct ps2_kbd, queue.nr),
	STATE_FIELD(struct ps2_kbd, command),
	STATE_FIELD(struct ps2_kbd, set),
	STATE_FIELD(struct ps2_kbd, leds),
	STATE_FIELD(struct ps2_kbd, last),
	STATE_FIELD(struct ps2_kbd, scanning),
};

const struct state_desc ps2_kbd_state = {
	.name = "ps2-keyboard",
	.version = 1,
	.oldest = 1,
	.fields = kbd_fields,
	.nr_fields = sizeof(kbd_fields) / sizeof(kbd_fields[0]),
	.check = kbd_check,
};
