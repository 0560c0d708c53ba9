/* The command line: words of name or name=value, a later one wins. */
#include "share/guest/guest.h"

static char line[512];

void option_init(const char *command_line)
{
	size_t i = 0;

	for (; command_line[i] && i < sizeof(line) - 1; i++)
		line[i] = command_line[i] < ' ' ? ' ' : command_line[i];
	while (i && line[i - 1] == ' ')
		i--;
	line[i] = '\0';
}

const char *option_line(void)
{
	return line;
}

/* The value ends at a space or the line's end. */
const char *option_text(const char *name)
{
	const char *found = NULL;
	size_t len = strlen(name);

	for (const char *word = line; *word;) {
		if (strlen(word) >= len && !memcmp(word, name, len)) {
			if (word[len] == '=')
				found = word + len + 1;
			else if (word[len] == ' ' || !word[len])
				found = word + len;
		}
		while (*word && *word != ' ')
			word++;
		while (*word == ' ')
			word++;
	}
	return found;
}

uint64_t option_number(const char *name, uint64_t otherwise)
{
	const char *text = option_text(name);
	uint64_t value = 0;

	if (!text || *text < '0' || *text > '9')
		return otherwise;
	for (; *text >= '0' && *text <= '9'; text++)
		value = value * 10 + (uint64_t)(*text - '0');
	return value;
}

bool option_has(const char *name, const char *word)
{
	const char *text = option_text(name);

	while (text && *text && *text != ' ') {
		size_t len = 0;

		while (text[len] && text[len] != ' ' && text[len] != ',')
			len++;
		if (text_equal(text, word, len))
			return true;
		text += len;
		if (*text == ',')
			text++;
	}
	return false;
}
