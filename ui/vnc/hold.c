/*
 * Clients that would make the library wait.
 *
 * libvncserver reads a message in one go and sends an update in one go; on
 * the only thread that would let one client's half a message, or its full
 * pipe, stop the others.  So a client is put on hold (the library skips it)
 * until its message is whole and its pipe has room.
 */
#include "ui/vnc/vnc_impl.h"

#include <endian.h>
#include <linux/sockios.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define FULL_PIPE   (128 * 1024) /* bytes not yet taken by the other side */
#define MAX_WHOLE   (32 * 1024)	 /* what surely fits into a socket's buffer */
#define VERSION_LEN 12

static int message_len(const uint8_t *head, int len)
{
	uint16_t count;
	uint32_t text;

	switch (head[0]) {
	case rfbSetPixelFormat:
		return sz_rfbSetPixelFormatMsg;
	case rfbSetEncodings:
		if (len < sz_rfbSetEncodingsMsg)
			return sz_rfbSetEncodingsMsg;
		memcpy(&count, head + 2, sizeof(count));
		return sz_rfbSetEncodingsMsg + 4 * be16toh(count);
	case rfbFramebufferUpdateRequest:
		return sz_rfbFramebufferUpdateRequestMsg;
	case rfbKeyEvent:
		return sz_rfbKeyEventMsg;
	case rfbPointerEvent:
		return sz_rfbPointerEventMsg;
	case rfbClientCutText:
		if (len < sz_rfbClientCutTextMsg)
			return sz_rfbClientCutTextMsg;
		memcpy(&text, head + 4, sizeof(text));
		text = be32toh(text);
		if (text > INT32_MAX) /* an extended one: negative */
			text = 0 - text;
		return text > MAX_WHOLE ? MAX_WHOLE
					: sz_rfbClientCutTextMsg + (int)text;
	case 255: /* QEMU's */
		return sz_rfbQemuExtendedKeyEventMsg;
	}
	return 1;
}

static int needed(rfbClientPtr cl)
{
	uint8_t head[8];
	ssize_t n;
	int len;

	switch (cl->state) {
	case RFB_PROTOCOL_VERSION:
		return VERSION_LEN;
	case RFB_AUTHENTICATION:
		return CHALLENGESIZE;
	case RFB_NORMAL:
		n = recv(cl->sock, head, sizeof(head), MSG_PEEK | MSG_DONTWAIT);
		if (n <= 0)
			return 0;
		len = message_len(head, (int)n);
		return len > MAX_WHOLE ? MAX_WHOLE : len;
	default:
		return 1;
	}
}

static bool is_half(rfbClientPtr cl)
{
	struct pollfd p = {.fd = cl->sock, .events = POLLRDHUP};
	int have = 0;

	if (ioctl(cl->sock, FIONREAD, &have) || have == 0)
		return false;
	if (have >= needed(cl))
		return false;
	/* The rest will never come: let the library find out. */
	return poll(&p, 1, 0) == 0;
}

static bool is_full(rfbClientPtr cl)
{
	int waiting = 0;

	return !ioctl(cl->sock, SIOCOUTQ, &waiting) && waiting > FULL_PIPE;
}

bool vnc_hold_update(rfbClientPtr cl, struct vnc_client *client,
		     uint64_t now_ns)
{
	bool half = is_half(cl);

	if (!half)
		client->half_since_ns = 0;
	else if (!client->half_since_ns)
		client->half_since_ns = now_ns;
	cl->onHold = half || is_full(cl);
	return half && now_ns - client->half_since_ns > VNC_HALF_NS;
}
