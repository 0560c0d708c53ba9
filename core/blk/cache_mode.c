#include "core/blk/cache_mode.h"

#include <stddef.h>
#include <stdio.h>

const struct cache_mode cache_modes[DRIVE_NR_PRESETS] = {
	[DRIVE_WRITEBACK] = {"writeback", false, true, false},
	[DRIVE_NONE] = {"none", true, true, false},
	[DRIVE_WRITETHROUGH] = {"writethrough", false, false, false},
	[DRIVE_DIRECTSYNC] = {"directsync", true, false, false},
	[DRIVE_UNSAFE] = {"unsafe", false, true, true},
};

enum cache_fate cache_fate(const struct cache_mode *mode, bool wce, bool is_raw,
			   enum cache_event event)
{
	/* What completed is in the host's hands, but for a format's tables. */
	if (event == CACHE_GUEST_CRASH || (event == CACHE_OUR_CRASH && is_raw))
		return CACHE_ALL;
	if (mode->ignore_flush)
		return event == CACHE_OUR_CRASH ? CACHE_FLUSHED : CACHE_NOTHING;
	return wce ? CACHE_FLUSHED : CACHE_ALL;
}

const char *cache_event_name(enum cache_event event)
{
	static const char *const names[CACHE_NR_EVENTS] = {
		[CACHE_GUEST_CRASH] = "guest crash",
		[CACHE_OUR_CRASH] = "crash of binnacle",
		[CACHE_HOST_CRASH] = "host crash",
		[CACHE_POWER_LOSS] = "power loss",
	};

	return names[event];
}

static const char *fate_name(enum cache_fate fate)
{
	static const char *const names[] = {
		[CACHE_ALL] = "all",
		[CACHE_FLUSHED] = "flushed",
		[CACHE_NOTHING] = "nothing",
	};

	return names[fate];
}

const char *cache_fate_text(enum cache_fate fate)
{
	static const char *const texts[] = {
		[CACHE_ALL] = "every write that completed is there",
		[CACHE_FLUSHED] = "what the guest flushed is there",
		[CACHE_NOTHING] = "nothing is certain to be there",
	};

	return texts[fate];
}

static const char *fate_of(const struct cache_mode *m, enum cache_event event)
{
	return fate_name(cache_fate(m, m->wce, true, event));
}

static void mode_line(const struct cache_mode *m, char *text)
{
	enum cache_fate raw = cache_fate(m, m->wce, true, CACHE_OUR_CRASH);
	enum cache_fate other = cache_fate(m, m->wce, false, CACHE_OUR_CRASH);

	char ours[16];

	snprintf(ours, sizeof(ours), "%s%s", fate_name(raw),
		 raw == other ? "" : "*");
	snprintf(text, 128, "%-13s %-6s %-6s %-9s %-12s %-9s %s", m->name,
		 m->direct ? "no" : "yes", m->wce ? "on" : "off",
		 fate_of(m, CACHE_GUEST_CRASH), ours,
		 fate_of(m, CACHE_HOST_CRASH), fate_of(m, CACHE_POWER_LOSS));
}

const char *cache_mode_help(unsigned i, char *text)
{
	static const char *const head[] = {
		"              host   guest  what is there after a crash of "
		"the",
		"mode          cache  cache  guest     binnacle     host      "
		"power loss",
	};
	static const char *const tail[] = {
		"all: every write that completed; flushed: what the guest "
		"flushed;",
		"nothing: nothing is certain. * in a qcow2 image: flushed.",
	};

	if (i < 2)
		return head[i];
	i -= 2;
	if (i < DRIVE_NR_PRESETS) {
		mode_line(&cache_modes[i], text);
		return text;
	}
	i -= DRIVE_NR_PRESETS;
	return i < 2 ? tail[i] : NULL;
}
