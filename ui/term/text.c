/* Characters: UTF-8, code page 437, ASCII stand-ins, and numbers for people. */
#include "ui/term/canvas.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>
#include <wchar.h>

uint32_t text_next(const char **s)
{
	const unsigned char *p = (const unsigned char *)*s;
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	uint32_t ch;
	int len;

	if (!*p)
		return 0;
	if (*p < 0x80) {
		(*s)++;
		return *p;
	}
	len = *p >= 0xf0 && *p < 0xf5 ? 4 : *p >= 0xe0 && *p < 0xf0 ? 3 : 2;
	ch = *p & (0xffU >> (len + 1));
	(*s)++;
	if (*p < 0xc2 || *p > 0xf4)
		return 0xfffd;
	for (int i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0xfffd;
		ch = ch << 6 | (p[i] & 0x3f);
	}
	*s += len - 1;
	if (ch < least[len] || ch > 0x10ffff || (ch >= 0xd800 && ch < 0xe000))
		return 0xfffd;
	return ch;
}

int text_encode(uint32_t ch, char *buf)
{
	int n = 0;

	if (ch < 0x80) {
		buf[n++] = (char)ch;
	} else if (ch < 0x800) {
		buf[n++] = (char)(0xc0 | ch >> 6);
		buf[n++] = (char)(0x80 | (ch & 0x3f));
	} else if (ch < 0x10000) {
		buf[n++] = (char)(0xe0 | ch >> 12);
		buf[n++] = (char)(0x80 | (ch >> 6 & 0x3f));
		buf[n++] = (char)(0x80 | (ch & 0x3f));
	} else {
		buf[n++] = (char)(0xf0 | (ch >> 18 & 7));
		buf[n++] = (char)(0x80 | (ch >> 12 & 0x3f));
		buf[n++] = (char)(0x80 | (ch >> 6 & 0x3f));
		buf[n++] = (char)(0x80 | (ch & 0x3f));
	}
	buf[n] = '\0';
	return n;
}

int text_width(const char *text)
{
	int width = 0, w;
	uint32_t ch;

	while ((ch = text_next(&text)) != 0) {
		w = wcwidth((wchar_t)ch);
		width += w < 0 ? 1 : w;
	}
	return width;
}

size_t text_wrap(const char *text, int width)
{
	const char *p = text, *blank = NULL;
	int used = 0;

	width = width < 1 ? 1 : width;
	while (*p && *p != '\n' && used < width) {
		if (*p == ' ' && used > width / 2)
			blank = p + 1;
		text_next(&p);
		used++;
	}
	if (!*p || *p == '\n' || !blank || *p == ' ')
		return (size_t)(p - text);
	return (size_t)(blank - text);
}

/* Box drawing: light, heavy and double lines by the arms they have. */
static char ascii_box(uint32_t ch)
{
	if (ch == 0x2500 || ch == 0x2501 || ch == 0x2550)
		return ch == 0x2550 ? '=' : '-';
	if (ch == 0x2502 || ch == 0x2503 || ch == 0x2551)
		return '|';
	if (ch >= 0x2571 && ch <= 0x2573)
		return ch == 0x2571 ? '/' : ch == 0x2572 ? '\\' : 'X';
	if ((ch >= 0x2504 && ch <= 0x250b) || (ch >= 0x254c && ch <= 0x254f))
		return ch & 2 ? '|' : '-';
	return '+';
}

static const struct {
	uint32_t ch;
	char ascii;
} stand_ins[] = {
	{0xa0, ' '},	{0xab, '<'},   {0xb7, '.'},   {0xbb, '>'},
	{0xd7, 'x'},	{0x2013, '-'}, {0x2014, '-'}, {0x2018, '\''},
	{0x2019, '\''}, {0x201c, '"'}, {0x201d, '"'}, {0x2022, '*'},
	{0x2026, '.'},	{0x2190, '<'}, {0x2191, '^'}, {0x2192, '>'},
	{0x2193, 'v'},	{0x2194, '-'}, {0x2195, '|'}, {0x21b5, '<'},
	{0x2264, '<'},	{0x2265, '>'}, {0x2591, '.'}, {0x2592, ':'},
	{0x2593, '%'},	{0x25a0, '#'}, {0x25ac, '-'}, {0x25b2, '^'},
	{0x25b6, '>'},	{0x25b8, '>'}, {0x25ba, '>'}, {0x25bc, 'v'},
	{0x25c0, '<'},	{0x25c4, '<'}, {0x25cb, 'o'}, {0x25cf, '*'},
	{0x25c6, '*'},	{0x2713, 'v'}, {0x2717, 'x'}, {0x23f8, '='},
};

char text_ascii(uint32_t ch)
{
	static const char levels[] = "._-=+*%#";

	if (ch >= 0x20 && ch < 0x7f)
		return (char)ch;
	if (ch < 0x20 || ch == 0x7f)
		return '.';
	if (ch >= 0x2500 && ch <= 0x257f)
		return ascii_box(ch);
	if (ch >= 0x2581 && ch <= 0x2588)
		return levels[ch - 0x2581];
	for (size_t i = 0; i < sizeof(stand_ins) / sizeof(*stand_ins); i++)
		if (stand_ins[i].ch == ch)
			return stand_ins[i].ascii;
	if (ch >= 0x2580 && ch <= 0x259f)
		return '#';
	return '?';
}

/* The upper half, and the pictures that bytes below 0x20 have on screen. */
static const uint16_t cp437_high[128] = {
	0x00c7, 0x00fc, 0x00e9, 0x00e2, 0x00e4, 0x00e0, 0x00e5, 0x00e7, 0x00ea,
	0x00eb, 0x00e8, 0x00ef, 0x00ee, 0x00ec, 0x00c4, 0x00c5, 0x00c9, 0x00e6,
	0x00c6, 0x00f4, 0x00f6, 0x00f2, 0x00fb, 0x00f9, 0x00ff, 0x00d6, 0x00dc,
	0x00a2, 0x00a3, 0x00a5, 0x20a7, 0x0192, 0x00e1, 0x00ed, 0x00f3, 0x00fa,
	0x00f1, 0x00d1, 0x00aa, 0x00ba, 0x00bf, 0x2310, 0x00ac, 0x00bd, 0x00bc,
	0x00a1, 0x00ab, 0x00bb, 0x2591, 0x2592, 0x2593, 0x2502, 0x2524, 0x2561,
	0x2562, 0x2556, 0x2555, 0x2563, 0x2551, 0x2557, 0x255d, 0x255c, 0x255b,
	0x2510, 0x2514, 0x2534, 0x252c, 0x251c, 0x2500, 0x253c, 0x255e, 0x255f,
	0x255a, 0x2554, 0x2569, 0x2566, 0x2560, 0x2550, 0x256c, 0x2567, 0x2568,
	0x2564, 0x2565, 0x2559, 0x2558, 0x2552, 0x2553, 0x256b, 0x256a, 0x2518,
	0x250c, 0x2588, 0x2584, 0x258c, 0x2590, 0x2580, 0x03b1, 0x00df, 0x0393,
	0x03c0, 0x03a3, 0x03c3, 0x00b5, 0x03c4, 0x03a6, 0x0398, 0x03a9, 0x03b4,
	0x221e, 0x03c6, 0x03b5, 0x2229, 0x2261, 0x00b1, 0x2265, 0x2264, 0x2320,
	0x2321, 0x00f7, 0x2248, 0x00b0, 0x2219, 0x00b7, 0x221a, 0x207f, 0x00b2,
	0x25a0, 0x00a0,
};

static const uint16_t cp437_low[32] = {
	0x0020, 0x263a, 0x263b, 0x2665, 0x2666, 0x2663, 0x2660, 0x2022,
	0x25d8, 0x25cb, 0x25d9, 0x2642, 0x2640, 0x266a, 0x266b, 0x263c,
	0x25ba, 0x25c4, 0x2195, 0x203c, 0x00b6, 0x00a7, 0x25ac, 0x21a8,
	0x2191, 0x2193, 0x2192, 0x2190, 0x221f, 0x2194, 0x25b2, 0x25bc,
};

uint32_t text_cp437(uint8_t b)
{
	if (b < 0x20)
		return cp437_low[b];
	if (b == 0x7f)
		return 0x2302;
	return b < 0x80 ? b : cp437_high[b - 0x80];
}

bool text_has(const char *text, const char *needle)
{
	return !*needle || strcasestr(text, needle) != NULL;
}

void text_size(uint64_t bytes, char *buf, size_t len)
{
	static const char *const units[] = {"B",   "KiB", "MiB",
					    "GiB", "TiB", "PiB"};
	unsigned unit = 0;
	uint64_t rest = 0;

	while (bytes >= 1024 && unit < 5) {
		rest = bytes % 1024;
		bytes /= 1024;
		unit++;
	}
	if (rest && bytes < 100)
		snprintf(buf, len, "%llu.%llu %s", (unsigned long long)bytes,
			 (unsigned long long)(rest * 10 / 1024), units[unit]);
	else
		snprintf(buf, len, "%llu %s", (unsigned long long)bytes,
			 units[unit]);
}

void text_count(uint64_t n, char *buf, size_t len)
{
	static const char units[] = " kMGTPE";
	unsigned unit = 0;
	uint64_t rest = 0;

	if (n < 100000) {
		snprintf(buf, len, "%llu", (unsigned long long)n);
		return;
	}
	while (n >= 1000 && unit < 6) {
		rest = n % 1000;
		n /= 1000;
		unit++;
	}
	if (n < 100)
		snprintf(buf, len, "%llu.%llu%c", (unsigned long long)n,
			 (unsigned long long)(rest / 100), units[unit]);
	else
		snprintf(buf, len, "%llu%c", (unsigned long long)n,
			 units[unit]);
}

void text_span(uint64_t ns, char *buf, size_t len)
{
	static const struct {
		uint64_t ns;
		const char *unit;
	} units[] = {
		{3600000000000, "h"}, {60000000000, "min"}, {1000000000, "s"},
		{1000000, "ms"},      {1000, "us"},	    {1, "ns"},
	};
	unsigned i = 0;
	uint64_t n;

	/* Two of the next unit at least: "90 s", not "1 min". */
	while (units[i].ns > 1 && ns < (i < 2 ? 2 : 1) * units[i].ns)
		i++;
	n = ns / units[i].ns;
	if (i >= 2 && units[i].ns > 1 && n < 10)
		snprintf(buf, len, "%llu.%llu %s", (unsigned long long)n,
			 (unsigned long long)(ns % units[i].ns * 10 /
					      units[i].ns),
			 units[i].unit);
	else
		snprintf(buf, len, "%llu %s", (unsigned long long)n,
			 units[i].unit);
}

void text_uptime(uint64_t ns, char *buf, size_t len)
{
	uint64_t s = ns / 1000000000;
	unsigned day = (unsigned)(s / 86400), hour = (unsigned)(s / 3600 % 24);
	unsigned min = (unsigned)(s / 60 % 60), sec = (unsigned)(s % 60);

	if (day)
		snprintf(buf, len, "%ud %02u:%02u", day, hour, min);
	else
		snprintf(buf, len, "%02u:%02u:%02u", hour, min, sec);
}
