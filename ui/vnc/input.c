/*
 * Keys and the pointer.
 *
 * A client that knows QEMU's extended key event (RFB community wiki, pseudo
 * encoding -258) sends key positions, which fit any layout.  Others send
 * symbols; these are typed on a US keyboard, with shift pressed or let go for
 * the one key where the client's layout has it otherwise.  Such a client has
 * already applied its caps lock, so that key isn't passed on.
 */
#include "ui/vnc/vnc_impl.h"

#include <endian.h>
#include <stddef.h>
#include <string.h>

#define SCAN_LSHIFT 0x2a
#define SCAN_RSHIFT 0x36

#define ENCODING_EXTENDED_KEY (-258)
#define MESSAGE_QEMU	      255
#define QEMU_EXTENDED_KEY     0

#define BUTTONS	   0x07 /* left, middle, right */
#define WHEEL_UP   0x08
#define WHEEL_DOWN 0x10

static struct vnc *server_of(rfbClientPtr cl)
{
	return cl->screen->screenData;
}

static bool is_held(const struct vnc_client *client, uint16_t scancode)
{
	return client->held[scancode / 8] >> (scancode % 8) & 1;
}

static void press(struct vnc *v, struct vnc_client *client, uint16_t scancode,
		  bool down)
{
	if (scancode >= 512)
		return;
	if (down)
		client->held[scancode / 8] |= 1u << (scancode % 8);
	else
		client->held[scancode / 8] &= ~(1u << (scancode % 8));
	console_key(v->console, scancode, down);
}

/* Presses a key while shift is as the character needs it. */
static void press_char(struct vnc *v, struct vnc_client *client,
		       uint16_t scancode, bool shift)
{
	bool left = is_held(client, SCAN_LSHIFT);
	bool right = is_held(client, SCAN_RSHIFT);

	if (shift && !left && !right)
		console_key(v->console, SCAN_LSHIFT, true);
	if (!shift && left)
		console_key(v->console, SCAN_LSHIFT, false);
	if (!shift && right)
		console_key(v->console, SCAN_RSHIFT, false);
	press(v, client, scancode, true);
	if (shift && !left && !right)
		console_key(v->console, SCAN_LSHIFT, false);
	if (!shift && left)
		console_key(v->console, SCAN_LSHIFT, true);
	if (!shift && right)
		console_key(v->console, SCAN_RSHIFT, true);
}

static void on_key(rfbBool down, rfbKeySym keysym, rfbClientPtr cl)
{
	struct vnc_client *client = cl->clientData;
	uint16_t scancode;
	bool is_char, shift;

	if (!client || !vnc_keysym_key(keysym, &scancode, &is_char, &shift))
		return;
	if (down && is_char)
		press_char(server_of(cl), client, scancode, shift);
	else
		press(server_of(cl), client, scancode, down);
}

static int scale(int pos, int size)
{
	if (pos < 0 || size < 2)
		return 0;
	if (pos >= size)
		pos = size - 1;
	return (int)((int64_t)pos * 32767 / (size - 1));
}

static void on_pointer(int mask, int x, int y, rfbClientPtr cl)
{
	struct vnc *v = server_of(cl);
	struct vnc_client *client = cl->clientData;
	unsigned buttons = (unsigned)mask & (BUTTONS | WHEEL_UP | WHEEL_DOWN);
	unsigned turned;
	int dz;

	if (!client ||
	    (x == client->x && y == client->y && buttons == client->buttons))
		return;
	turned = buttons & ~client->buttons;
	if (console_has_absolute(v->console)) {
		console_pointer(v->console, scale(x, v->width),
				scale(y, v->height), buttons);
	} else {
		dz = (turned & WHEEL_DOWN ? 1 : 0) -
		     (turned & WHEEL_UP ? 1 : 0);
		console_pointer_rel(v->console,
				    client->x < 0 ? 0 : x - client->x,
				    client->x < 0 ? 0 : y - client->y, dz,
				    buttons & BUTTONS);
	}
	client->x = x;
	client->y = y;
	client->buttons = buttons;
}

void vnc_input_release(struct vnc *v, struct vnc_client *client)
{
	uint16_t scancode;

	for (scancode = 0; scancode < 512; scancode++)
		if (is_held(client, scancode))
			press(v, client, scancode, false);
	if (!client->buttons)
		return;
	if (console_has_absolute(v->console))
		console_pointer(v->console, scale(client->x, v->width),
				scale(client->y, v->height), 0);
	else
		console_pointer_rel(v->console, 0, 0, 0, 0);
	client->buttons = 0;
}

/* ---- the extended key event ---- */

/* The server's word that it knows the event: an empty rectangle. */
static rfbBool tell_extended(rfbClientPtr cl)
{
	struct {
		rfbFramebufferUpdateMsg update;
		rfbFramebufferUpdateRectHeader rect;
	} msg;

	memset(&msg, 0, sizeof(msg));
	msg.update.type = rfbFramebufferUpdate;
	msg.update.nRects = htobe16(1);
	msg.rect.encoding = htobe32((uint32_t)ENCODING_EXTENDED_KEY);
	return rfbWriteExact(cl, (const char *)&msg,
			     sz_rfbFramebufferUpdateMsg +
				     sz_rfbFramebufferUpdateRectHeader) > 0;
}

static rfbBool extension_enable(rfbClientPtr cl, void **data, int encoding)
{
	struct vnc_client *client = cl->clientData;

	(void)data;
	if (encoding != ENCODING_EXTENDED_KEY || !client)
		return FALSE;
	if (!client->told_extended && !tell_extended(cl))
		rfbCloseClient(cl);
	client->told_extended = true;
	return TRUE;
}

static rfbBool extension_message(rfbClientPtr cl, void *data,
				 const rfbClientToServerMsg *message)
{
	struct vnc_client *client = cl->clientData;
	/* After the type: submessage, down (16 bits), symbol, key code. */
	uint8_t body[11];
	uint32_t code;

	(void)data;
	if (message->type != MESSAGE_QEMU || !client)
		return FALSE;
	if (rfbReadExact(cl, (char *)body, sizeof(body)) <= 0 ||
	    body[0] != QEMU_EXTENDED_KEY) {
		rfbCloseClient(cl);
		return TRUE;
	}
	memcpy(&code, body + 7, sizeof(code));
	code = be32toh(code);
	if (cl->viewOnly || code == 0 || code > 0xff)
		return TRUE;
	/* Bit 7 stands for the e0 prefix. */
	press(server_of(cl), client,
	      (uint16_t)((code & 0x7f) | (code & 0x80) << 1),
	      body[1] || body[2]);
	return TRUE;
}

static const int extension_encodings[] = {ENCODING_EXTENDED_KEY, 0};

/* libvncserver chains it into a list of the whole process: that's why it is
 * neither const nor part of a server. */
static rfbProtocolExtension vnc_extension = {
	.pseudoEncodings = (int *)extension_encodings,
	.enablePseudoEncoding = extension_enable,
	.handleMessage = extension_message,
};

void vnc_input_init(struct vnc *v)
{
	v->screen->kbdAddEvent = on_key;
	v->screen->ptrAddEvent = on_pointer;
	rfbRegisterProtocolExtension(&vnc_extension); /* once is enough */
}

void vnc_input_forget(rfbClientPtr cl)
{
	rfbExtensionData **p = &cl->extensions, *gone;

	while (*p) {
		if ((*p)->extension != &vnc_extension) {
			p = &(*p)->next;
			continue;
		}
		gone = *p;
		*p = gone->next;
		free(gone);
	}
}
