/* From keys to the codes of a PC keyboard. */
#include "ui/screen/console_parts.h"

enum { SC_CTRL = 0x1d, SC_ALT = 0x38, SC_SHIFT = 0x2a };

static const unsigned char letters[26] = {
	0x1e, 0x30, 0x2e, 0x20, 0x12, 0x21, 0x22, 0x23, 0x17,
	0x24, 0x25, 0x26, 0x32, 0x31, 0x18, 0x19, 0x10, 0x13,
	0x1f, 0x14, 0x16, 0x2f, 0x11, 0x2d, 0x15, 0x2c,
};

static const struct {
	uint32_t code;
	unsigned scancode;
} specials[] = {
	{K_UP, 0x148},	    {K_DOWN, 0x150},	  {K_LEFT, 0x14b},
	{K_RIGHT, 0x14d},   {K_HOME, 0x147},	  {K_END, 0x14f},
	{K_PAGE_UP, 0x149}, {K_PAGE_DOWN, 0x151}, {K_INSERT, 0x152},
	{K_DELETE, 0x153},  {K_BACKSPACE, 0x0e},  {K_ENTER, 0x1c},
	{K_TAB, 0x0f},	    {K_ESC, 0x01},	  {' ', 0x39},
	{'[', 0x1a},	    {']', 0x1b},	  {'\\', 0x2b},
	{'-', 0x0c},	    {'=', 0x0d},	  {';', 0x27},
	{'\'', 0x28},	    {'`', 0x29},	  {',', 0x33},
	{'.', 0x34},	    {'/', 0x35},
};

/* Set 1 make code (bit 8: e0) of a key without modifiers, 0 when none. */
static unsigned keyboard_scancode(uint32_t code)
{
	if (code >= 'a' && code <= 'z')
		return letters[code - 'a'];
	if (code >= '1' && code <= '9')
		return code - '1' + 2;
	if (code == '0')
		return 0x0b;
	if (code >= K_F1 && code < K_F1 + 10)
		return 0x3b + (code - K_F1);
	if (code == K_F1 + 10 || code == K_F12)
		return 0x57 + (code - K_F1 - 10);
	for (size_t i = 0; i < sizeof(specials) / sizeof(specials[0]); i++)
		if (specials[i].code == code)
			return specials[i].scancode;
	return 0;
}

bool keyboard_press(struct console *c, const struct key *k)
{
	unsigned code = keyboard_scancode(k->code);

	if (k->code < K_NONE && !(k->mods & (MOD_CTRL | MOD_ALT)))
		return console_type(c, k->code);
	if (!code)
		return false;
	if (k->mods & MOD_CTRL)
		console_key(c, SC_CTRL, true);
	if (k->mods & MOD_ALT)
		console_key(c, SC_ALT, true);
	if (k->mods & MOD_SHIFT)
		console_key(c, SC_SHIFT, true);
	console_key(c, (uint16_t)code, true);
	console_key(c, (uint16_t)code, false);
	if (k->mods & MOD_SHIFT)
		console_key(c, SC_SHIFT, false);
	if (k->mods & MOD_ALT)
		console_key(c, SC_ALT, false);
	if (k->mods & MOD_CTRL)
		console_key(c, SC_CTRL, false);
	return true;
}

void keyboard_type(struct console *c, const char *text)
{
	struct key k = {0};
	uint32_t ch;

	while ((ch = text_next(&text)) != 0) {
		k.code = ch == '\n' || ch == '\r' ? K_ENTER
			 : ch == '\t'		  ? K_TAB
			 : ch == 0x1b		  ? K_ESC
						  : ch;
		keyboard_press(c, &k);
	}
}
