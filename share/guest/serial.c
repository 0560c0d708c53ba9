/* COM1, a 16550 at 115200 8N1, written by polling, FIFO-full at a time. */
#include "share/guest/guest.h"

#define COM1 0x3f8
#define FIFO 16

enum {
	REG_DATA = 0,
	REG_IER = 1,
	REG_FCR = 2,
	REG_LCR = 3,
	REG_MCR = 4,
	REG_LSR = 5
};
enum { LSR_READY = 0x01, LSR_EMPTY = 0x20 };

static volatile bool received;

static void on_interrupt(void)
{
	received = true;
}

void serial_init(void)
{
	outb(COM1 + REG_IER, 0);
	outb(COM1 + REG_LCR, 0x80);
	outb(COM1 + REG_DATA, 1);
	outb(COM1 + REG_IER, 0);
	outb(COM1 + REG_LCR, 0x03);
	outb(COM1 + REG_FCR, 0x07);
	outb(COM1 + REG_MCR, 0x0b);
}

void serial_listen(void)
{
	interrupt_route_isa(4, on_interrupt);
	outb(COM1 + REG_IER, 0x01);
	received = true; /* what came before the interrupt was on */
}

void serial_write(const char *text, size_t len)
{
	while (len) {
		size_t nr = len < FIFO ? len : FIFO;

		/* Bounded: a line that nobody drains must not stop us. */
		for (unsigned i = 0; i < 100000; i++) {
			if (inb(COM1 + REG_LSR) & LSR_EMPTY)
				break;
		}
		len -= nr;
		__asm__ volatile("rep outsb"
				 : "+S"(text), "+c"(nr)
				 : "d"((uint16_t)(COM1 + REG_DATA))
				 : "memory");
	}
}

int serial_read(void)
{
	if (!received)
		return -1;
	if (inb(COM1 + REG_LSR) & LSR_READY)
		return inb(COM1 + REG_DATA);
	received = false;
	/* A byte between the test and the store raises its own interrupt only
	 * if the line had gone down: look once more. */
	if (!(inb(COM1 + REG_LSR) & LSR_READY))
		return -1;
	received = true;
	return inb(COM1 + REG_DATA);
}

void print(const char *fmt, ...)
{
	char line[256];
	va_list args;
	int len;

	va_start(args, fmt);
	len = text_vformat(line, sizeof(line) - 2, fmt, args);
	va_end(args);
	line[len++] = '\r';
	line[len++] = '\n';
	serial_write(line, (size_t)len);
}
