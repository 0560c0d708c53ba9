#include "core/blk/filter/fault_script.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"

#define WORD_MAX 64
#define ERRNOS	 134

struct parser {
	const char *name, *at;
	unsigned line;
	struct error *e;
	char word[WORD_MAX];
	struct fault_script *out;
	struct fault_rule *rule;
};

static int wrong(struct parser *p, const char *what)
{
	return error_set(p->e, -EINVAL, "%s, line %u: %s '%s'", p->name,
			 p->line, what, p->word);
}

static bool is_end(char c)
{
	return !c || c == '\n' || c == ';' || c == '#';
}

/* The next word of the rule: its length, or 0 at its end. */
static int next_word(struct parser *p)
{
	unsigned n = 0;

	while (*p->at == ' ' || *p->at == '\t' || *p->at == '\r')
		p->at++;
	while (!is_end(p->at[n]) && !strchr(" \t\r", p->at[n]))
		n++;
	if (n >= WORD_MAX) {
		memcpy(p->word, p->at, WORD_MAX - 1);
		p->word[WORD_MAX - 1] = 0;
		return wrong(p, "the word is too long:");
	}
	memcpy(p->word, p->at, n);
	p->word[n] = 0;
	p->at += n;
	return n;
}

/* ---- values ---- */

static int parse_number(struct parser *p, const char *text, const char *units,
			uint64_t *out, const char **end)
{
	const char *unit;
	char *stop;

	errno = 0;
	*out = strtoull(text, &stop, 0);
	if (errno || stop == text || *text == '-')
		return wrong(p, "not a number:");
	unit = *stop ? strchr(units, *stop) : NULL;
	if (unit) {
		unsigned shift = 10 * (unit - units + 1);

		if (*out > (uint64_t)INT64_MAX >> shift)
			return wrong(p, "the number is too large:");
		*out <<= shift;
		stop++;
	}
	*end = stop;
	return 0;
}

static int number(struct parser *p, uint64_t *out)
{
	const char *end;
	int ret = parse_number(p, p->word, "", out, &end);

	return !ret && *end ? wrong(p, "not a number:") : ret;
}

static int parse_range(struct parser *p, struct fault_rule *r)
{
	const char *end;
	uint64_t len = 0;
	int ret = parse_number(p, p->word, "kMG", &r->off, &end);

	if (!ret && *end != '+')
		ret = wrong(p, "not OFFSET+LENGTH:");
	if (!ret)
		ret = parse_number(p, end + 1, "kMG", &len, &end);
	if (!ret && *end)
		ret = wrong(p, "not OFFSET+LENGTH:");
	if (!ret && r->off > INT64_MAX - len)
		ret = wrong(p, "the range is too large:");
	r->has_range = true;
	r->end = r->off + len;
	return ret;
}

static int parse_delay(struct parser *p, uint64_t *ns)
{
	static const struct {
		const char *name;
		uint64_t ns;
	} units[] = {
		{"ns", 1}, {"us", 1000}, {"ms", 1000000}, {"s", 1000000000}};
	const char *end;
	int ret = parse_number(p, p->word, "", ns, &end);

	if (ret)
		return ret;
	for (unsigned i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(end, units[i].name))
			continue;
		if (*ns > 3600ull * 1000000000 / units[i].ns)
			return wrong(p, "longer than an hour:");
		*ns *= units[i].ns;
		return 0;
	}
	return wrong(p, "not a time in ns, us, ms or s:");
}

static int parse_errno(struct parser *p, int *error)
{
	for (int i = 1; i < ERRNOS; i++) {
		const char *name = strerrorname_np(i);

		if (name && !strcmp(name, p->word)) {
			*error = -i;
			return 0;
		}
	}
	return wrong(p, "no such errno:");
}

static int parse_probability(struct parser *p, double *out)
{
	char *end;

	*out = strtod(p->word, &end);
	if (end == p->word || *end || !(*out >= 0 && *out <= 1))
		return wrong(p, "not a probability from 0 to 1:");
	return 0;
}

static int parse_state(struct parser *p, unsigned *out)
{
	uint64_t v;
	int ret = number(p, &v);

	if (!ret && (!v || v > 1000000))
		ret = wrong(p, "not a state from 1 to 1000000:");
	*out = v;
	return ret;
}

/* ---- rules ---- */

static int take_flag(struct parser *p, bool *known)
{
	struct fault_rule *r = p->rule;

	*known = true;
	if (!strcmp(p->word, "once"))
		r->count = 1;
	else if (!strcmp(p->word, "immediately"))
		r->immediately = true;
	else if (!strcmp(p->word, "after"))
		r->after = true;
	else
		*known = false;
	return 0;
}

static int take_value(struct parser *p, const char *key)
{
	struct fault_rule *r = p->rule;

	if (!strcmp(key, "range"))
		return parse_range(p, r);
	if (!strcmp(key, "skip"))
		return number(p, &r->skip);
	if (!strcmp(key, "count"))
		return number(p, &r->count);
	if (!strcmp(key, "probability"))
		return parse_probability(p, &r->probability);
	if (!strcmp(key, "errno"))
		return parse_errno(p, &r->error);
	if (!strcmp(key, "delay"))
		return parse_delay(p, &r->delay_ns);
	if (!strcmp(key, "state"))
		return parse_state(p, &r->state);
	return parse_state(p, &r->set_state);
}

static bool takes_value(const char *key)
{
	static const char *const keys[] = {"range", "skip",	"count",
					   "errno", "delay",	"probability",
					   "state", "set-state"};

	for (unsigned i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (!strcmp(keys[i], key))
			return true;
	return false;
}

static unsigned find_op(const char *word)
{
	static const struct {
		const char *name;
		unsigned op;
	} ops[] = {{"read", FAULT_READ},     {"write", FAULT_WRITE},
		   {"zeroes", FAULT_ZEROES}, {"discard", FAULT_DISCARD},
		   {"flush", FAULT_FLUSH},   {"truncate", FAULT_TRUNCATE},
		   {"any", FAULT_ANY}};

	for (unsigned i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		if (!strcmp(ops[i].name, word))
			return ops[i].op;
	return 0;
}

static int parse_words(struct parser *p)
{
	char key[WORD_MAX];
	bool known;
	int n;

	while ((n = next_word(p)) > 0) {
		int ret = take_flag(p, &known);

		if (!ret && !known) {
			if (!takes_value(p->word))
				return wrong(p, "unknown word");
			memcpy(key, p->word, sizeof(key));
			n = next_word(p);
			if (n <= 0) {
				memcpy(p->word, key, sizeof(key));
				return n ? n : wrong(p, "no value after");
			}
			ret = take_value(p, key);
		}
		if (ret)
			return ret;
	}
	return n;
}

static int parse_seed(struct parser *p)
{
	uint64_t v;
	int ret = next_word(p);

	if (ret <= 0)
		return ret ? ret : wrong(p, "no value after seed");
	ret = number(p, &v);
	if (!ret && next_word(p))
		ret = wrong(p, "unknown word");
	p->out->seed = v;
	return ret;
}

static int parse_rule(struct parser *p)
{
	struct fault_rule *r;
	int ret = next_word(p);

	if (ret <= 0)
		return ret;
	if (!strcmp(p->word, "seed"))
		return parse_seed(p);
	if (p->out->nr == FAULT_RULES_MAX)
		return wrong(p, "too many rules:");
	r = p->rule = &p->out->rules[p->out->nr];
	*r = (struct fault_rule){.ops = find_op(p->word), .probability = 1};
	if (!r->ops)
		return wrong(p, "unknown operation");
	ret = parse_words(p);
	if (ret)
		return ret;
	if (!r->error && !r->delay_ns && !r->set_state)
		return wrong(p, "the rule does nothing: no errno, delay or "
				"set-state");
	if ((r->after || r->immediately) && !r->error)
		return wrong(p, "without an errno there is no after or "
				"immediately");
	p->out->nr++;
	return 0;
}

int fault_script_parse(const char *text, const char *name,
		       struct fault_script *out, struct error *e)
{
	struct parser p = {
		.name = name, .at = text, .line = 1, .e = e, .out = out};

	*out = (struct fault_script){.seed = 1};
	for (;;) {
		int ret = parse_rule(&p);

		if (ret)
			return ret;
		if (*p.at == '#')
			p.at += strcspn(p.at, "\n");
		if (!*p.at)
			return 0;
		p.line += *p.at++ == '\n';
	}
}
