/* Strings without a C library, and a small printf. */
#include "share/guest/guest.h"

void *memcpy(void *to, const void *from, size_t len)
{
	void *start = to;

	__asm__ volatile("rep movsb"
			 : "+D"(to), "+S"(from), "+c"(len)
			 :
			 : "memory");
	return start;
}

void *memset(void *to, int byte, size_t len)
{
	void *start = to;

	__asm__ volatile("rep stosb"
			 : "+D"(to), "+c"(len)
			 : "a"(byte)
			 : "memory");
	return start;
}

int memcmp(const void *a, const void *b, size_t len)
{
	const uint8_t *x = a, *y = b;

	for (; len; len--, x++, y++) {
		if (*x != *y)
			return *x - *y;
	}
	return 0;
}

size_t strlen(const char *text)
{
	size_t len = 0;

	while (text[len])
		len++;
	return len;
}

bool text_equal(const char *a, const char *b, size_t len)
{
	return strlen(b) == len && !memcmp(a, b, len);
}

struct out {
	char *buf;
	size_t size, len;
};

static void put(struct out *o, char c)
{
	if (o->len + 1 < o->size)
		o->buf[o->len++] = c;
}

static void put_number(struct out *o, uint64_t value, unsigned base,
		       unsigned width, char pad)
{
	char digits[24];
	unsigned nr = 0;

	do {
		digits[nr++] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	for (; width > nr; width--)
		put(o, pad);
	while (nr)
		put(o, digits[--nr]);
}

static void put_text(struct out *o, const char *text, unsigned width)
{
	for (; *text; text++) {
		put(o, *text);
		if (width)
			width--;
	}
	for (; width; width--)
		put(o, ' ');
}

int text_vformat(char *buf, size_t size, const char *fmt, va_list args)
{
	struct out o = {buf, size, 0};

	for (; *fmt; fmt++) {
		unsigned width = 0;
		bool is_long = false;
		char pad = ' ';

		if (*fmt != '%') {
			put(&o, *fmt);
			continue;
		}
		if (*++fmt == '0')
			pad = '0';
		for (; *fmt >= '0' && *fmt <= '9'; fmt++)
			width = width * 10 + *fmt - '0';
		for (; *fmt == 'l'; fmt++)
			is_long = true;
		if (*fmt == 'c')
			put(&o, (char)va_arg(args, int));
		else if (*fmt == 's')
			put_text(&o, va_arg(args, const char *), width);
		else
			put_number(&o,
				   is_long ? va_arg(args, uint64_t)
					   : va_arg(args, unsigned),
				   *fmt == 'x' ? 16 : 10, width, pad);
	}
	if (size)
		buf[o.len] = '\0';
	return (int)o.len;
}

int text_format(char *buf, size_t size, const char *fmt, ...)
{
	va_list args;
	int len;

	va_start(args, fmt);
	len = text_vformat(buf, size, fmt, args);
	va_end(args);
	return len;
}
