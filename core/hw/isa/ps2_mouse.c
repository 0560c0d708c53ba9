#include <errno.h>
#include <string.h>

#include "core/error.h"
#include "core/hw/isa/ps2.h"
#include "core/migration/state.h"

#define ACK	       0xfa
#define RESEND	       0xfe
#define SELF_TEST_OK   0xaa
#define CMD_SCALE_1    0xe6
#define CMD_SCALE_2    0xe7
#define CMD_RESOLUTION 0xe8
#define CMD_STATUS     0xe9
#define CMD_STREAM     0xea
#define CMD_POLL       0xeb
#define CMD_UNWRAP     0xec
#define CMD_WRAP       0xee
#define CMD_REMOTE     0xf0
#define CMD_ID	       0xf2
#define CMD_RATE       0xf3
#define CMD_ENABLE     0xf4
#define CMD_DISABLE    0xf5
#define CMD_DEFAULT    0xf6
#define CMD_RESET      0xff

#define WHEEL_ID    3
#define PACKETS_MAX 4 /* that wait: older movement is summed up instead */
#define SUM_LIMIT   0x7fff

static int clamp(int v, int low, int high)
{
	return v < low ? low : v > high ? high : v;
}

static void reply(struct ps2_mouse *m, uint8_t c)
{
	ps2_queue_put(&m->queue, &c, 1);
}

/* Takes what fits in one packet from the sums. */
static void packet(struct ps2_mouse *m)
{
	int dx = clamp(m->dx, -256, 255), dy = clamp(-m->dy, -256, 255);
	int dz = clamp(m->dz, -8, 7);
	uint8_t p[4] = {0x08 | (m->buttons & 7) | (dx < 0 ? 0x10 : 0) |
				(dy < 0 ? 0x20 : 0),
			dx, dy, dz};

	if (!ps2_queue_put(&m->queue, p, m->id == WHEEL_ID ? 4 : 3))
		return;
	m->dx -= dx;
	m->dy += dy;
	m->dz -= dz;
}

void ps2_mouse_refill(struct ps2_mouse *m)
{
	if (!m->reporting || m->remote)
		return;
	while ((m->dx || m->dy || (m->dz && m->id == WHEEL_ID)) &&
	       m->queue.nr + 4 <= PACKETS_MAX * 4)
		packet(m);
}

void ps2_mouse_move(struct ps2_mouse *m, int dx, int dy, int dz,
		    unsigned buttons)
{
	bool changed = (buttons & 7) != m->buttons;

	if (!m->reporting)
		return;
	m->buttons = buttons & 7;
	m->dx = clamp(m->dx + clamp(dx, -SUM_LIMIT, SUM_LIMIT), -SUM_LIMIT,
		      SUM_LIMIT);
	m->dy = clamp(m->dy + clamp(dy, -SUM_LIMIT, SUM_LIMIT), -SUM_LIMIT,
		      SUM_LIMIT);
	m->dz = clamp(m->dz + clamp(dz, -SUM_LIMIT, SUM_LIMIT), -SUM_LIMIT,
		      SUM_LIMIT);
	/* A click always becomes a packet, whatever waits already. */
	if (changed && !m->remote)
		packet(m);
	ps2_mouse_refill(m);
}

/* ---- commands ---- */

static void defaults(struct ps2_mouse *m)
{
	m->rate = 100;
	m->resolution = 2;
	m->doubled = m->remote = m->reporting = false;
	m->command = 0;
}

void ps2_mouse_reset(struct ps2_mouse *m)
{
	memset(m, 0, sizeof(*m));
	defaults(m);
}

static void rate_set(struct ps2_mouse *m, uint8_t value)
{
	if (m->knock[0] == 200 && m->knock[1] == 100 && value == 80)
		m->id = WHEEL_ID;
	m->knock[0] = m->knock[1];
	m->knock[1] = value;
	m->rate = value;
}

static void argument(struct ps2_mouse *m, uint8_t value)
{
	if (m->command == CMD_RATE)
		rate_set(m, value);
	else
		m->resolution = value & 3;
	m->command = 0;
	reply(m, ACK);
}

static void status(struct ps2_mouse *m)
{
	reply(m, (m->remote ? 0x40 : 0) | (m->reporting ? 0x20 : 0) |
			 (m->doubled ? 0x10 : 0) | (m->buttons & 7));
	reply(m, m->resolution);
	reply(m, m->rate);
}

static void forget(struct ps2_mouse *m)
{
	ps2_queue_clear(&m->queue);
	m->dx = m->dy = m->dz = 0;
}

static bool simple_command(struct ps2_mouse *m, uint8_t value)
{
	switch (value) {
	case CMD_SCALE_1:
	case CMD_SCALE_2:
		m->doubled = value == CMD_SCALE_2;
		return true;
	case CMD_RESOLUTION:
	case CMD_RATE:
		m->command = value;
		return true;
	case CMD_STREAM:
	case CMD_REMOTE:
		m->remote = value == CMD_REMOTE;
		return true;
	case CMD_WRAP:
	case CMD_UNWRAP:
		m->wrap = value == CMD_WRAP;
		return true;
	case CMD_ENABLE:
		m->reporting = true;
		return true;
	case CMD_DISABLE:
		m->reporting = false;
		forget(m);
		return true;
	case CMD_DEFAULT:
		defaults(m);
		forget(m);
		return true;
	default:
		return false;
	}
}

static void command(struct ps2_mouse *m, uint8_t value)
{
	if (simple_command(m, value)) {
		reply(m, ACK);
		return;
	}
	switch (value) {
	case CMD_STATUS:
		reply(m, ACK);
		status(m);
		break;
	case CMD_POLL:
		reply(m, ACK);
		packet(m);
		break;
	case CMD_ID:
		reply(m, ACK);
		reply(m, m->id);
		break;
	case CMD_RESET:
		ps2_mouse_reset(m);
		reply(m, ACK);
		reply(m, SELF_TEST_OK);
		reply(m, 0);
		break;
	default:
		reply(m, RESEND);
	}
}

void ps2_mouse_write(struct ps2_mouse *m, uint8_t value)
{
	if (m->wrap && value != CMD_UNWRAP && value != CMD_RESET)
		reply(m, value);
	else if (m->command)
		argument(m, value);
	else
		command(m, value);
}

/* ---- state ---- */

static int mouse_check(void *obj, int version, struct error *e)
{
	struct ps2_mouse *m = obj;

	(void)version;
	m->dx = clamp(m->dx, -SUM_LIMIT, SUM_LIMIT);
	m->dy = clamp(m->dy, -SUM_LIMIT, SUM_LIMIT);
	m->dz = clamp(m->dz, -SUM_LIMIT, SUM_LIMIT);
	if (m->queue.first >= PS2_QUEUE_LEN || m->queue.nr > PS2_QUEUE_LEN)
		return error_set(e, -EINVAL, "mouse: queue at %u with %u bytes",
				 m->queue.first, m->queue.nr);
	return 0;
}

static const struct state_field mouse_fields[] = {
	STATE_ARRAY(struct ps2_mouse, queue.bytes),
	STATE_FIELD(struct ps2_mouse, queue.first),
	STATE_FIELD(struct ps2_mouse, queue.nr),
	STATE_FIELD(struct ps2_mouse, command),
	STATE_FIELD(struct ps2_mouse, id),
	STATE_FIELD(struct ps2_mouse, rate),
	STATE_FIELD(struct ps2_mouse, resolution),
	STATE_ARRAY(struct ps2_mouse, knock),
	STATE_FIELD(struct ps2_mouse, buttons),
	STATE_FIELD(struct ps2_mouse, reporting),
	STATE_FIELD(struct ps2_mouse, remote),
	STATE_FIELD(struct ps2_mouse, wrap),
	STATE_FIELD(struct ps2_mouse, doubled),
	STATE_FIELD(struct ps2_mouse, dx),
	STATE_FIELD(struct ps2_mouse, dy),
	STATE_FIELD(struct ps2_mouse, dz),
};

const struct state_desc ps2_mouse_state = {
	.name = "ps2-mouse",
	.version = 1,
	.oldest = 1,
	.fields = mouse_fields,
	.nr_fields = sizeof(mouse_fields) / sizeof(mouse_fields[0]),
	.check = mouse_check,
};
