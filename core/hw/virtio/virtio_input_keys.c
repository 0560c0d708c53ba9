/* Up to 0x58 the key codes equal set 1's make codes, by design of Linux. */
#include "core/hw/virtio/virtio_input_keys.h"

struct extended_key {
	uint8_t make, key;
};

/* After an e0 prefix. */
static const struct extended_key extended[] = {
	{0x10, 165}, /* previous track */
	{0x19, 163}, /* next track */
	{0x1c, 96},  /* keypad Enter */
	{0x1d, 97},  /* right Control */
	{0x20, 113}, /* mute */
	{0x22, 164}, /* play, pause */
	{0x24, 166}, /* stop */
	{0x2e, 114}, /* volume down */
	{0x30, 115}, /* volume up */
	{0x35, 98},  /* keypad slash */
	{0x37, 99},  /* Print Screen */
	{0x38, 100}, /* right Alt */
	{0x46, 119}, /* Pause, with Control */
	{0x47, 102}, /* Home */
	{0x48, 103}, /* up */
	{0x49, 104}, /* Page Up */
	{0x4b, 105}, /* left */
	{0x4d, 106}, /* right */
	{0x4f, 107}, /* End */
	{0x50, 108}, /* down */
	{0x51, 109}, /* Page Down */
	{0x52, 110}, /* Insert */
	{0x53, 111}, /* Delete */
	{0x5b, 125}, /* left logo */
	{0x5c, 126}, /* right logo */
	{0x5d, 127}, /* menu */
	{0x5e, 116}, /* power */
	{0x5f, 142}, /* sleep */
};

uint16_t virtio_input_key(uint16_t scancode)
{
	if (scancode >= 0x101 && scancode <= 0x17f) {
		for (unsigned i = 0; i < sizeof(extended) / sizeof(*extended);
		     i++)
			if (extended[i].make == (scancode & 0x7f))
				return extended[i].key;
		return 0;
	}
	if (scancode >= 0x01 && scancode <= 0x53)
		return scancode;
	switch (scancode) {
	case 0x56: /* the key beside left Shift */
	case 0x57: /* F11 */
	case 0x58: /* F12 */
		return scancode;
	case 0x70:
		return 93; /* Katakana, Hiragana */
	case 0x73:
		return 89; /* Ro */
	case 0x79:
		return 92; /* Henkan */
	case 0x7b:
		return 94; /* Muhenkan */
	case 0x7d:
		return 124; /* Yen */
	}
	return 0;
}
