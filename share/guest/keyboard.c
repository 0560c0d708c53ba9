/* The PS/2 keyboard: scan codes of set 1, which the i8042 translates to. */
#include "share/guest/guest.h"

#define DATA	0x60
#define CONTROL 0x64
#define RING	64
#define TRIES	20000

enum { STATUS_FULL = 0x01, STATUS_BUSY = 0x02, STATUS_AUX = 0x20 };
enum { CONFIG_IRQ = 0x01, CONFIG_NO_CLOCK = 0x10, CONFIG_TRANSLATE = 0x40 };
enum {
	CODE_EXTENDED = 0xe0,
	CODE_RELEASE = 0x80,
	CODE_SHIFT_LEFT = 0x2a,
	CODE_SHIFT_RIGHT = 0x36,
	CODE_PAD_MINUS = 0x4a,
	CODE_PAD_PLUS = 0x4e
};

static const char plain[] =
	"\0\0331234567890-=\b\tqwertyuiop[]\n\0asdfghjkl;'`\0\\zxcvbnm,./\0*"
	"\0 ";
static const char shifted[] =
	"\0\033!@#$%^&*()_+\b\tQWERTYUIOP{}\n\0ASDFGHJKL:\"~\0|ZXCVBNM<>?\0*"
	"\0 ";

static volatile uint8_t ring[RING];
static volatile unsigned head, tail;
static bool extended, shift;

static void on_interrupt(void)
{
	uint8_t status;

	while ((status = inb(CONTROL)) & STATUS_FULL) {
		uint8_t code = inb(DATA);

		if (status == 0xff)
			return;
		if (status & STATUS_AUX || head - tail == RING)
			continue;
		ring[head++ % RING] = code;
	}
}

static void wait_ready(void)
{
	for (unsigned i = 0; i < TRIES && inb(CONTROL) & STATUS_BUSY; i++)
		relax();
}

static void command(uint8_t value)
{
	wait_ready();
	outb(CONTROL, value);
}

static void data(uint8_t value)
{
	wait_ready();
	outb(DATA, value);
}

static uint8_t answer(void)
{
	for (unsigned i = 0; i < TRIES; i++) {
		if (inb(CONTROL) & STATUS_FULL)
			return inb(DATA);
		relax();
	}
	return 0;
}

void keyboard_init(void)
{
	uint8_t config;

	if (inb(CONTROL) == 0xff)
		return;
	command(0xad);
	command(0xa7);
	for (unsigned i = 0; i < 32 && inb(CONTROL) & STATUS_FULL; i++)
		(void)inb(DATA);
	command(0x20);
	config = answer();
	config |= CONFIG_IRQ | CONFIG_TRANSLATE;
	config &= (uint8_t)~CONFIG_NO_CLOCK;
	command(0x60);
	data(config);
	command(0xae);
	interrupt_route_isa(1, on_interrupt);
	data(0xf4); /* scan; its answer reads as a release and is dropped */
}

bool keyboard_read(unsigned *scancode, char *c)
{
	while (tail != head) {
		uint8_t code = ring[tail++ % RING];
		bool was_extended = extended;

		extended = code == CODE_EXTENDED;
		if (extended)
			continue;
		if ((code & 0x7f) == CODE_SHIFT_LEFT ||
		    (code & 0x7f) == CODE_SHIFT_RIGHT) {
			if (!was_extended)
				shift = !(code & CODE_RELEASE);
			continue;
		}
		if (code & CODE_RELEASE)
			continue;
		*scancode = was_extended ? CODE_EXTENDED << 8 | code : code;
		*c = '\0';
		if (code == CODE_PAD_PLUS)
			*c = '+';
		else if (code == CODE_PAD_MINUS)
			*c = '-';
		else if (!was_extended && code < sizeof(plain) - 1)
			*c = shift ? shifted[code] : plain[code];
		return true;
	}
	return false;
}
