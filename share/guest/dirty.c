/*
 * Memory that can tell whether it is what was written.
 *
 * A dirtied page carries eight words, one every 512 bytes: the page's index and
 * sequence number, six words derived from them, and their sum.  A table outside
 * of the span holds the sequence number that each page must have: a page that
 * is whole but old is found too.  The sum over all pages is kept while writing
 * and must come out of memory again.
 *
 * Each CPU writes its own part of the span; CPU 0 alone changes rate and span
 * and verifies, with the others parked.
 */
#include "share/guest/guest.h"

#define WORDS	  8
#define STRIDE	  512
#define MIX	  0x9e3779b97f4a7c15
#define STEP	  0xd1b54a32d192ed03
#define RATE_MAX  (1u << 20)
#define BAD_SHOWN 8
#define PART_MAX  512
#define LATE_MS	  20

struct writer {
	uint64_t cursor, count, sum, credit, random;
};

static struct writer writers[CPU_MAX];
static volatile bool on;
static volatile uint64_t rate, span;
static uint64_t span_max, reached;
static bool at_random;
static uint32_t *sequences;
static uint16_t parts[PART_MAX];

static uint64_t page_word(uint64_t index, uint32_t sequence, unsigned k)
{
	uint64_t first = index << 32 | sequence;

	if (!k)
		return first;
	if (k < WORDS - 1)
		return first * MIX + k * STEP;
	return first + (WORDS - 2) * first * MIX +
	       (WORDS - 2) * (WORDS - 1) / 2 * STEP;
}

static void write_page(struct writer *w, uint64_t index)
{
	volatile uint64_t *page = (volatile uint64_t *)memory_ram_page(index);
	uint32_t sequence = sequences[index];

	if (sequence)
		w->sum -= page_word(index, sequence, WORDS - 1);
	sequences[index] = ++sequence;
	for (unsigned k = 0; k < WORDS; k++)
		page[k * STRIDE / sizeof(*page)] =
			page_word(index, sequence, k);
	w->sum += page_word(index, sequence, WORDS - 1);
	w->count++;
	parts[index * PART_MAX / span % PART_MAX]++;
}

static uint64_t next_index(struct writer *w, uint64_t from, uint64_t to)
{
	if (at_random) {
		w->random = w->random * MIX + STEP;
		return from + (w->random >> 32) % (to - from);
	}
	if (w->cursor < from || w->cursor >= to)
		w->cursor = from;
	return w->cursor++;
}

void dirty_work(unsigned cpu)
{
	struct writer *w = &writers[cpu];
	uint64_t from = span * cpu / nr_cpus, to = span * (cpu + 1) / nr_cpus;
	uint64_t share = timer_hz() * nr_cpus, end = timer_ms() + LATE_MS;

	if (!on || from == to)
		return;
	w->credit += rate;
	while (w->credit >= share) {
		w->credit -= share;
		write_page(w, next_index(w, from, to));
		/* What this CPU can't do in time is not made up for. */
		if (!(w->count & 15) && timer_ms() > end)
			w->credit = 0;
	}
}

void dirty_init(void)
{
	span_max = memory_ram_pages();
	span = option_number("span", 16) * MIB / PAGE;
	if (!span || span > span_max)
		span = span_max;
	rate = option_number("rate", 100);
	if (rate > RATE_MAX)
		rate = RATE_MAX;
	at_random = option_has("pattern", "random");
	sequences = memory_page_table();
	fill64(sequences, 0, span / 2 + 1);
	reached = span;
	for (unsigned i = 0; i < CPU_MAX; i++)
		writers[i].random = i;
}

void dirty_set_on(bool wanted)
{
	on = wanted && span;
}

bool dirty_is_on(void)
{
	return on;
}

void dirty_change_rate(int direction)
{
	if (direction > 0 && rate < RATE_MAX)
		rate = rate ? rate * 2 : 1;
	else if (direction < 0)
		rate = rate / 2;
}

void dirty_change_span(int direction)
{
	uint64_t wanted = direction > 0 ? span * 2 : span / 2;

	if (wanted > span_max)
		wanted = span_max;
	if (wanted < MIB / PAGE)
		return;
	smp_park(true);
	for (; reached < wanted; reached++)
		sequences[reached] = 0;
	span = wanted;
	smp_park(false);
}

uint64_t dirty_rate(void)
{
	return rate;
}

uint64_t dirty_span(void)
{
	return span;
}

uint64_t dirty_cpu_count(unsigned cpu)
{
	return writers[cpu].count;
}

uint64_t dirty_count(void)
{
	uint64_t count = 0;

	for (unsigned i = 0; i < nr_cpus; i++)
		count += writers[i].count;
	return count;
}

uint64_t dirty_sum(void)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < nr_cpus; i++)
		sum += writers[i].sum;
	return sum;
}

bool dirty_break_page(void)
{
	for (uint64_t i = 0; i < reached; i++) {
		if (sequences[i]) {
			volatile uint64_t *page =
				(volatile uint64_t *)memory_ram_page(i);

			page[STRIDE / sizeof(*page)]++;
			print("broke page=0x%lx", (uint64_t)page);
			return true;
		}
	}
	return false;
}

/* The first word that is wrong, or WORDS. */
static unsigned check_page(uint64_t index, const volatile uint64_t *page)
{
	unsigned k;

	for (k = 0; k < WORDS; k++) {
		if (page[k * STRIDE / sizeof(*page)] !=
		    page_word(index, sequences[index], k))
			break;
	}
	return k;
}

static void show_bad(uint64_t index, const volatile uint64_t *page, unsigned k)
{
	print("verify BAD page=0x%lx word=%u is=%016lx want=%016lx "
	      "sequence=%u want=%u",
	      (uint64_t)page, k, page[k * STRIDE / sizeof(*page)],
	      page_word(index, sequences[index], k), (uint32_t)page[0],
	      sequences[index]);
}

bool dirty_verify(uint64_t *checked)
{
	uint64_t pages = 0, bad = 0, sum = 0;
	bool ok;

	smp_park(true);
	for (uint64_t i = 0; i < reached; i++) {
		const volatile uint64_t *page;
		unsigned k;

		if (!sequences[i])
			continue;
		page = (const volatile uint64_t *)memory_ram_page(i);
		k = check_page(i, page);
		if (k < WORDS && bad++ < BAD_SHOWN)
			show_bad(i, page, k);
		sum += page[(WORDS - 1) * STRIDE / sizeof(*page)];
		pages++;
	}
	ok = !bad && sum == dirty_sum();
	if (ok)
		print("verify ok pages=%lu sum=%016lx", pages, sum);
	else
		print("verify BAD pages=%lu bad=%lu sum=%016lx want=%016lx",
		      pages, bad, sum, dirty_sum());
	smp_park(false);
	*checked = pages;
	return ok;
}

uint64_t dirty_part_mark(unsigned part, unsigned nr)
{
	return parts[part * PART_MAX / nr];
}
