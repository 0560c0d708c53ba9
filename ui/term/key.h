/*
 * key: what a person pressed, apart from how a terminal encodes it.
 *
 * Thread rule: pure functions over values; [any] thread.
 */
#ifndef UI_TERM_KEY_H
#define UI_TERM_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Keys without a character follow Unicode's last code point. */
enum key_code {
	K_NONE = 0x110000,
	K_UP,
	K_DOWN,
	K_LEFT,
	K_RIGHT,
	K_HOME,
	K_END,
	K_PAGE_UP,
	K_PAGE_DOWN,
	K_INSERT,
	K_DELETE,
	K_BACKSPACE,
	K_ENTER,
	K_TAB,
	K_ESC,
	K_MOUSE,
	K_F1,
	K_F12 = K_F1 + 11,
};

enum { MOD_SHIFT = 1, MOD_CTRL = 2, MOD_ALT = 4 };

/* Mouse buttons: bit 0 left, 1 middle, 2 right, 3 wheel up, 4 wheel down. */
struct key {
	uint32_t code; /* a code point, or enum key_code */
	unsigned mods;
	int row, col; /* K_MOUSE */
	unsigned buttons;
};

/* "a", "F1", "Ctrl-O", "Alt-x", "Shift-Tab", "Space", "Enter": fills k. 0 or
 * -EINVAL. */
int key_parse(const char *name, struct key *k);
/* The name that key_parse takes, in at most len bytes. */
void key_to_text(const struct key *k, char *buf, size_t len);
/* Same code and modifiers; letters with Ctrl compare without case. */
bool key_equal(const struct key *a, const struct key *b);
/* True when the key is a character to put into a line of text. */
bool key_is_text(const struct key *k);

#endif
