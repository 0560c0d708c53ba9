/*
 * MC146818 real-time clock and CMOS memory.
 *
 * The clock is the host's plus an offset that the guest changes by setting
 * the time.  Flags are worked out when somebody looks: a timer runs only while
 * the guest enabled an interrupt.  Specification: Motorola MC146818A.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "core/device.h"
#include "core/error.h"
#include "core/hw/isa/isa.h"
#include "core/irq.h"
#include "core/loop.h"
#include "core/migration/state.h"

#define RTC_PORT 0x70
#define RTC_GSI	 8

enum {
	RTC_SECOND,
	RTC_SECOND_ALARM,
	RTC_MINUTE,
	RTC_MINUTE_ALARM,
	RTC_HOUR,
	RTC_HOUR_ALARM,
	RTC_WEEKDAY,
	RTC_DAY,
	RTC_MONTH,
	RTC_YEAR,
	RTC_A,
	RTC_B,
	RTC_C,
	RTC_D,
	RTC_CENTURY = 0x32
};

#define A_UPDATING    0x80
#define A_DEFAULT     0x26 /* 32768 Hz time base, 1024 Hz rate */
#define B_SET	      0x80
#define B_BINARY      0x04
#define B_24H	      0x02
#define FLAG_IRQ      0x80
#define FLAG_PERIODIC 0x40
#define FLAG_ALARM    0x20
#define FLAG_UPDATE   0x10
#define FLAG_ALL      (FLAG_PERIODIC | FLAG_ALARM | FLAG_UPDATE)
#define D_VALID	      0x80
#define HOUR_PM	      0x80
#define ALARM_ANY     0xc0 /* both bits: any value matches */

#define CMOS_EQUIPMENT	  0x14
#define CMOS_BASE_KIB	  0x15
#define CMOS_EXT_KIB	  0x17
#define CMOS_EXT_KIB_2	  0x30
#define CMOS_EXT_64K	  0x34
#define CMOS_BOOT_3	  0x38
#define CMOS_BOOT_1_2	  0x3d
#define CMOS_ABOVE_4G_64K 0x5b
#define CMOS_MORE_CPUS	  0x5f

#define NS_PER_S      1000000000ll
#define UPDATE_NS     244000ll /* how long A_UPDATING warns before a second */
#define SECONDS_A_DAY 86400ll
#define LAST_SECOND   8000000000ll /* in the year 2223; fits as nanoseconds */

struct rtc {
	struct device dev;
	struct bus_ports ports;
	struct irq irq;
	struct loop_timer timer;
	uint8_t index;
	uint8_t cmos[128];
	int64_t offset_ns; /* guest's clock minus the host's */
	int64_t seen_ns;   /* guest's clock when flags were last worked out */
};

/* ---- the clock ---- */

static int64_t guest_ns(const struct rtc *s)
{
	struct timespec ts;
	int64_t ns;

	clock_gettime(CLOCK_REALTIME, &ts);
	if (__builtin_add_overflow(ts.tv_sec * NS_PER_S + ts.tv_nsec,
				   s->offset_ns, &ns) ||
	    ns > LAST_SECOND * NS_PER_S)
		return LAST_SECOND * NS_PER_S;
	return ns < 0 ? 0 : ns;
}

static uint8_t encode(const struct rtc *s, int v)
{
	return s->cmos[RTC_B] & B_BINARY ? v : v / 10 % 10 << 4 | v % 10;
}

static int decode(const struct rtc *s, uint8_t v)
{
	return s->cmos[RTC_B] & B_BINARY ? v : (v >> 4) * 10 + (v & 15);
}

static uint8_t encode_hour(const struct rtc *s, int hour)
{
	if (s->cmos[RTC_B] & B_24H)
		return encode(s, hour);
	return encode(s, hour % 12 ? hour % 12 : 12) |
	       (hour >= 12 ? HOUR_PM : 0);
}

static int decode_hour(const struct rtc *s, uint8_t v)
{
	if (s->cmos[RTC_B] & B_24H)
		return decode(s, v);
	return decode(s, v & ~HOUR_PM) % 12 + (v & HOUR_PM ? 12 : 0);
}

/* Writes the clock's time into the registers. */
static void time_show(struct rtc *s, int64_t ns)
{
	time_t t = ns / NS_PER_S;
	struct tm tm;

	gmtime_r(&t, &tm);
	s->cmos[RTC_SECOND] = encode(s, tm.tm_sec);
	s->cmos[RTC_MINUTE] = encode(s, tm.tm_min);
	s->cmos[RTC_HOUR] = encode_hour(s, tm.tm_hour);
	s->cmos[RTC_WEEKDAY] = encode(s, tm.tm_wday + 1);
	s->cmos[RTC_DAY] = encode(s, tm.tm_mday);
	s->cmos[RTC_MONTH] = encode(s, tm.tm_mon + 1);
	s->cmos[RTC_YEAR] = encode(s, tm.tm_year % 100);
	s->cmos[RTC_CENTURY] = encode(s, (tm.tm_year + 1900) / 100);
}

/* Sets the clock to what the registers say. */
static void time_take(struct rtc *s)
{
	struct tm tm = {
		.tm_sec = decode(s, s->cmos[RTC_SECOND]),
		.tm_min = decode(s, s->cmos[RTC_MINUTE]),
		.tm_hour = decode_hour(s, s->cmos[RTC_HOUR]),
		.tm_mday = decode(s, s->cmos[RTC_DAY]),
		.tm_mon = decode(s, s->cmos[RTC_MONTH]) - 1,
		.tm_year = decode(s, s->cmos[RTC_YEAR]) +
			   decode(s, s->cmos[RTC_CENTURY]) * 100 - 1900,
	};
	int64_t t = timegm(&tm);
	struct timespec ts;

	if (t < 0)
		t = 0;
	if (t > LAST_SECOND)
		t = LAST_SECOND;
	clock_gettime(CLOCK_REALTIME, &ts);
	s->offset_ns = (t - ts.tv_sec) * NS_PER_S - ts.tv_nsec;
	s->seen_ns = guest_ns(s);
}

/* ---- flags and interrupts ---- */

/* 0: no periodic flag. */
static int64_t period_ns(const struct rtc *s)
{
	unsigned rate = s->cmos[RTC_A] & 15;

	if (!rate)
		return 0;
	if (rate <= 2)
		rate += 7;
	return (NS_PER_S << (rate - 1)) / 32768;
}

static bool alarm_field(const struct rtc *s, unsigned reg, int value)
{
	uint8_t v = s->cmos[reg];

	if ((v & ALARM_ANY) == ALARM_ANY)
		return true;
	return (reg == RTC_HOUR_ALARM ? decode_hour(s, v) : decode(s, v)) ==
	       value;
}

static bool alarm_at(const struct rtc *s, int64_t second)
{
	int in_day = second % SECONDS_A_DAY;

	return alarm_field(s, RTC_SECOND_ALARM, in_day % 60) &&
	       alarm_field(s, RTC_MINUTE_ALARM, in_day / 60 % 60) &&
	       alarm_field(s, RTC_HOUR_ALARM, in_day / 3600);
}

static void flags_update(struct rtc *s)
{
	int64_t now = guest_ns(s), period = period_ns(s);
	int64_t first = s->seen_ns / NS_PER_S + 1, last = now / NS_PER_S;

	if (period && now / period != s->seen_ns / period)
		s->cmos[RTC_C] |= FLAG_PERIODIC;
	if (!(s->cmos[RTC_B] & B_SET) && last >= first) {
		s->cmos[RTC_C] |= FLAG_UPDATE;
		/* A day's seconds hold every alarm. */
		if (first < last - SECONDS_A_DAY)
			first = last - SECONDS_A_DAY;
		for (int64_t t = first; t <= last; t++)
			if (alarm_at(s, t)) {
				s->cmos[RTC_C] |= FLAG_ALARM;
				break;
			}
	}
	s->seen_ns = now;
	s->cmos[RTC_C] &= ~FLAG_IRQ;
	if (s->cmos[RTC_C] & s->cmos[RTC_B] & FLAG_ALL)
		s->cmos[RTC_C] |= FLAG_IRQ;
	irq_set(&s->irq, s->cmos[RTC_C] & FLAG_IRQ);
}

/* The next moment at which an enabled flag may come. */
static void timer_arm(struct rtc *s)
{
	uint8_t want = s->cmos[RTC_B] & FLAG_ALL & ~s->cmos[RTC_C];
	int64_t now = s->seen_ns, period = period_ns(s), step = INT64_MAX;

	if ((want & FLAG_PERIODIC) && period)
		step = period - now % period;
	if ((want & (FLAG_ALARM | FLAG_UPDATE)) &&
	    step > NS_PER_S - now % NS_PER_S)
		step = NS_PER_S - now % NS_PER_S;
	if (step == INT64_MAX)
		loop_timer_stop(&s->timer);
	else
		loop_timer_set(&s->timer, loop_now_ns() + step);
}

static void rtc_look(struct rtc *s)
{
	flags_update(s);
	timer_arm(s);
}

static void timer_due(void *arg)
{
	struct rtc *s = arg;

	pthread_mutex_lock(&s->dev.lock);
	rtc_look(s);
	pthread_mutex_unlock(&s->dev.lock);
}

/* ---- registers ---- */

static bool is_time(unsigned reg)
{
	return reg == RTC_SECOND || reg == RTC_MINUTE || reg == RTC_HOUR ||
	       (reg >= RTC_WEEKDAY && reg <= RTC_YEAR) || reg == RTC_CENTURY;
}

static uint8_t reg_read(struct rtc *s, unsigned reg)
{
	int64_t now = guest_ns(s);
	uint8_t value;

	if (is_time(reg) && !(s->cmos[RTC_B] & B_SET))
		time_show(s, now);
	if (reg == RTC_A && !(s->cmos[RTC_B] & B_SET) &&
	    now % NS_PER_S >= NS_PER_S - UPDATE_NS)
		return s->cmos[RTC_A] | A_UPDATING;
	if (reg != RTC_C)
		return s->cmos[reg];
	flags_update(s);
	value = s->cmos[RTC_C];
	s->cmos[RTC_C] = 0;
	irq_set(&s->irq, false);
	timer_arm(s);
	return value;
}

static void b_write(struct rtc *s, uint8_t value)
{
	uint8_t old = s->cmos[RTC_B];

	if (!(old & B_SET) && (value & B_SET))
		time_show(s, guest_ns(s));
	s->cmos[RTC_B] = value;
	if ((old & B_SET) && !(value & B_SET))
		time_take(s);
}

static void reg_write(struct rtc *s, unsigned reg, uint8_t value)
{
	bool running = !(s->cmos[RTC_B] & B_SET);

	if (is_time(reg) && running) {
		time_show(s, guest_ns(s));
		s->cmos[reg] = value;
		time_take(s);
	} else if (reg == RTC_A) {
		s->cmos[RTC_A] = value & ~A_UPDATING;
	} else if (reg == RTC_B) {
		flags_update(s);
		b_write(s, value);
	} else if (reg != RTC_C && reg != RTC_D) {
		s->cmos[reg] = value;
	}
	if (reg <= RTC_D)
		rtc_look(s);
}

static uint64_t rtc_read(void *opaque, uint64_t off, unsigned len)
{
	struct rtc *s = opaque;

	(void)len;
	return off ? reg_read(s, s->index) : 0xff;
}

static void rtc_write(void *opaque, uint64_t off, uint64_t value, unsigned len)
{
	struct rtc *s = opaque;

	(void)len;
	if (off)
		reg_write(s, s->index, value);
	else
		s->index = value & 0x7f; /* bit 7 masks the NMI */
}

static const struct bus_ops rtc_ops = {
	.read = rtc_read,
	.write = rtc_write,
	.max_len = 1,
};

/* ---- what the firmware finds ---- */

static void cmos_put16(struct rtc *s, unsigned reg, uint64_t value)
{
	if (value > 0xffff)
		value = 0xffff;
	s->cmos[reg] = value;
	s->cmos[reg + 1] = value >> 8;
}

static void cmos_fill(struct rtc *s)
{
	const struct machine *m = s->dev.m;
	uint64_t below = m->ram_below_4g, above = m->ram_above_4g >> 16;
	uint64_t ext = below > (1 << 20) ? (below - (1 << 20)) >> 10 : 0;

	s->cmos[RTC_A] = A_DEFAULT;
	s->cmos[RTC_B] = B_24H;
	s->cmos[RTC_D] = D_VALID;
	s->cmos[CMOS_EQUIPMENT] = 0x06; /* FPU, PS/2 mouse */
	cmos_put16(s, CMOS_BASE_KIB, 640);
	cmos_put16(s, CMOS_EXT_KIB, ext);
	cmos_put16(s, CMOS_EXT_KIB_2, ext);
	cmos_put16(s, CMOS_EXT_64K,
		   below > (16 << 20) ? (below - (16 << 20)) >> 16 : 0);
	s->cmos[CMOS_ABOVE_4G_64K] = above;
	s->cmos[CMOS_ABOVE_4G_64K + 1] = above >> 8;
	s->cmos[CMOS_ABOVE_4G_64K + 2] = above >> 16;
	s->cmos[CMOS_MORE_CPUS] = m->nr_vcpus ? m->nr_vcpus - 1 : 0;
}

static uint8_t boot_code(char c)
{
	switch (c) {
	case 'c':
		return 2;
	case 'd':
		return 3;
	case 'n':
		return 4;
	default:
		return 0;
	}
}

void rtc_set_boot_order(struct machine *m, const char *order)
{
	uint8_t code[3] = {0};

	for (unsigned i = 0; i < 3 && order[i]; i++)
		code[i] = boot_code(order[i]);
	for (struct device *d = m->devices; d; d = d->next) {
		struct rtc *s = (struct rtc *)d;

		if (d->cls != &rtc_class)
			continue;
		s->cmos[CMOS_BOOT_1_2] = code[0] | code[1] << 4;
		/* Bit 0: no check of a floppy's signature. */
		s->cmos[CMOS_BOOT_3] = code[2] << 4 | 1;
	}
}

/* ---- life ---- */

static int rtc_create(struct device *dev, const struct device_args *args,
		      struct error *e)
{
	struct rtc *s = (struct rtc *)dev;

	(void)args;
	(void)e;
	irq_init(&s->irq, dev->m->irq, RTC_GSI);
	dev->line = &s->irq;
	loop_timer_init(&s->timer, dev->m->main, timer_due, s);
	isa_ports_add(dev, &s->ports, "rtc", RTC_PORT, 2, &rtc_ops);
	s->seen_ns = guest_ns(s);
	cmos_fill(s);
	rtc_set_boot_order(dev->m, "cd");
	return 0;
}

static void rtc_destroy(struct device *dev)
{
	struct rtc *s = (struct rtc *)dev;

	loop_timer_stop(&s->timer);
	bus_ports_remove(dev->m->bus, &s->ports);
	irq_set(&s->irq, false);
}

/* The battery keeps time and memory. */
static void rtc_reset(struct device *dev)
{
	struct rtc *s = (struct rtc *)dev;

	if (s->cmos[RTC_B] & B_SET)
		b_write(s, s->cmos[RTC_B] & ~B_SET);
	s->cmos[RTC_B] &= ~FLAG_ALL;
	s->cmos[RTC_C] = 0;
	s->index = 0;
	rtc_look(s);
}

static int rtc_check(void *obj, int version, struct error *e)
{
	struct rtc *s = obj;

	(void)version;
	if (s->index > 0x7f || s->seen_ns < 0 ||
	    s->seen_ns > LAST_SECOND * NS_PER_S)
		return error_set(e, -EINVAL,
				 "clock: index %u or time out of range",
				 s->index);
	return 0;
}

static const struct state_field rtc_fields[] = {
	STATE_FIELD(struct rtc, index),
	STATE_ARRAY(struct rtc, cmos),
	STATE_FIELD(struct rtc, offset_ns),
	STATE_FIELD(struct rtc, seen_ns),
};

static const struct state_desc rtc_state = {
	.name = "rtc",
	.version = 1,
	.oldest = 1,
	.fields = rtc_fields,
	.nr_fields = sizeof(rtc_fields) / sizeof(rtc_fields[0]),
	.check = rtc_check,
};

static int rtc_loaded(struct device *dev, struct error *e)
{
	(void)e;
	rtc_look((struct rtc *)dev);
	return 0;
}

const struct device_class rtc_class = {
	.name = "rtc",
	.summary = "real-time clock and CMOS memory",
	.bus = DEVICE_ON_ISA,
	.size = sizeof(struct rtc),
	.create = rtc_create,
	.destroy = rtc_destroy,
	.reset = rtc_reset,
	.state = &rtc_state,
	.loaded = rtc_loaded,
};
