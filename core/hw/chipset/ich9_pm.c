#include "core/hw/chipset/ich9_pm.h"

#include <stdio.h>
#include <string.h>

#include "core/device.h"
#include "core/hw/chipset/q35.h"
#include "core/migration/state.h"

#define PM1_STS	 0x00
#define PM1_EN	 0x02
#define PM1_CNT	 0x04
#define PM_TMR	 0x08
#define GPE0_STS 0x20
#define GPE0_EN	 0x28
#define SMI_EN	 0x30

#define STS_TIMER	 0x0001
#define STS_GLOBAL	 0x0020
#define STS_POWER_BUTTON 0x0100
#define STS_RTC		 0x0400
#define STS_WAKE	 0x8000
#define STS_ALL		 (STS_TIMER | STS_GLOBAL | STS_POWER_BUTTON | STS_RTC | STS_WAKE)
#define EN_ALL		 (STS_TIMER | STS_GLOBAL | STS_POWER_BUTTON | STS_RTC)

#define CNT_SCI_EN     0x0001
#define CNT_SLEEP_TYPE 0x1c00
#define CNT_SLEEP_EN   0x2000
#define CNT_WRITABLE   0x1c03

/* The firmware sees that system management mode is already taken care of. */
#define SMI_EN_APMC 0x20

#define TIMER_HZ   3579545ull
#define TIMER_HALF (1ull << 23) /* the top bit changes this often */
#define NS_PER_S   1000000000ull

/* ---- the timer ---- */

static uint64_t ticks_of_ns(uint64_t ns)
{
	return (unsigned __int128)ns * TIMER_HZ / NS_PER_S;
}

static uint64_t ns_of_ticks(uint64_t ticks)
{
	return ((unsigned __int128)ticks * NS_PER_S + TIMER_HZ - 1) / TIMER_HZ;
}

static uint64_t timer_ticks(const struct ich9_pm *pm)
{
	return ticks_of_ns(loop_now_ns() - pm->timer_base_ns);
}

static void sci_update(struct ich9_pm *pm)
{
	bool level = (pm->pm1_sts & pm->pm1_en & EN_ALL) != 0;

	for (unsigned i = 0; i < sizeof(pm->gpe0_sts); i++)
		level |= (pm->gpe0_sts[i] & pm->gpe0_en[i]) != 0;
	irq_set(&pm->sci, level && (pm->pm1_cnt & CNT_SCI_EN));
}

/* Notes top-bit changes since the last look, and looks again when the next
 * one is due if the guest wants to hear of it. */
static void timer_update(struct ich9_pm *pm)
{
	uint64_t halves = timer_ticks(pm) / TIMER_HALF;

	if (halves != pm->overflow_seen) {
		pm->overflow_seen = halves;
		pm->pm1_sts |= STS_TIMER;
	}
	if ((pm->pm1_en & STS_TIMER) && !(pm->pm1_sts & STS_TIMER))
		loop_timer_set(&pm->timer,
			       pm->timer_base_ns +
				       ns_of_ticks((halves + 1) * TIMER_HALF));
	else
		loop_timer_stop(&pm->timer);
	sci_update(pm);
}

static void timer_due(void *arg)
{
	struct ich9_pm *pm = arg;

	pthread_mutex_lock(&pm->dev->lock);
	timer_update(pm);
	pthread_mutex_unlock(&pm->dev->lock);
}

/* ---- registers ---- */

static void put16(uint8_t *p, uint16_t v)
{
	memcpy(p, &v, sizeof(v));
}

static void put32(uint8_t *p, uint32_t v)
{
	memcpy(p, &v, sizeof(v));
}

static uint64_t pm_read(void *opaque, uint64_t off, unsigned len)
{
	struct ich9_pm *pm = opaque;
	uint8_t r[ICH9_PM_LEN] = {0};
	uint64_t value = 0;

	if (off < PM1_STS + 2)
		timer_update(pm);
	put16(r + PM1_STS, pm->pm1_sts);
	put16(r + PM1_EN, pm->pm1_en);
	put16(r + PM1_CNT, pm->pm1_cnt);
	put32(r + PM_TMR, timer_ticks(pm) & 0xffffff);
	memcpy(r + GPE0_STS, pm->gpe0_sts, sizeof(pm->gpe0_sts));
	memcpy(r + GPE0_EN, pm->gpe0_en, sizeof(pm->gpe0_en));
	put32(r + SMI_EN, pm->smi_en);
	memcpy(&value, r + off, len);
	return value;
}

static void sleep_enter(struct ich9_pm *pm)
{
	struct machine *m = pm->dev->m;

	if ((pm->pm1_cnt & CNT_SLEEP_TYPE) >> 10 == Q35_S5_TYPE)
		m->request(m, MACHINE_POWEROFF, 0);
	else
		log_guest(m->log, &pm->dev->limit, pm->dev->name,
			  "the guest asked for sleep type %u, which this "
			  "machine does not offer",
			  (pm->pm1_cnt & CNT_SLEEP_TYPE) >> 10);
}

static void byte_replace(uint16_t *reg, unsigned byte, uint8_t value,
			 uint16_t mask)
{
	uint16_t lane = 0xff << (8 * byte);

	*reg = (*reg & ~(mask & lane)) |
	       ((uint16_t)(value << (8 * byte)) & mask & lane);
}

static void pm_write_byte(struct ich9_pm *pm, unsigned off, uint8_t value)
{
	if (off < PM1_STS + 2)
		pm->pm1_sts &= ~((value << (8 * off)) & STS_ALL);
	else if (off >= PM1_EN && off < PM1_EN + 2)
		byte_replace(&pm->pm1_en, off - PM1_EN, value, EN_ALL);
	else if (off >= PM1_CNT && off < PM1_CNT + 2)
		byte_replace(&pm->pm1_cnt, off - PM1_CNT, value, CNT_WRITABLE);
	else if (off >= GPE0_STS && off < GPE0_STS + 8)
		pm->gpe0_sts[off - GPE0_STS] &= ~value;
	else if (off >= GPE0_EN && off < GPE0_EN + 8)
		pm->gpe0_en[off - GPE0_EN] = value;
	if (off == PM1_CNT + 1 && (value & (CNT_SLEEP_EN >> 8)))
		sleep_enter(pm);
}

static void pm_write(void *opaque, uint64_t off, uint64_t value, unsigned len)
{
	struct ich9_pm *pm = opaque;

	/* What happened before this write is not cleared by the next one. */
	timer_update(pm);
	for (unsigned i = 0; i < len; i++)
		pm_write_byte(pm, off + i, value >> (8 * i));
	timer_update(pm);
}

static const struct bus_ops pm_ops = {
	.read = pm_read,
	.write = pm_write,
	.max_len = 4,
};

void ich9_pm_place(struct ich9_pm *pm, uint16_t port, bool enabled)
{
	enabled = enabled && port;
	if (pm->ports.port != port || pm->ports.enabled != enabled)
		bus_ports_set(pm->dev->m->bus, &pm->ports, port, enabled);
}

void ich9_pm_acpi_enable(struct ich9_pm *pm, bool on)
{
	pm->pm1_cnt &= ~CNT_SCI_EN;
	if (on)
		pm->pm1_cnt |= CNT_SCI_EN;
	sci_update(pm);
}

void ich9_pm_power_button(struct ich9_pm *pm)
{
	pm->pm1_sts |= STS_POWER_BUTTON;
	sci_update(pm);
}

/* ---- life ---- */

void ich9_pm_init(struct ich9_pm *pm, struct device *dev)
{
	pm->dev = dev;
	irq_init(&pm->sci, dev->m->irq, Q35_SCI_GSI);
	dev->line = &pm->sci;
	loop_timer_init(&pm->timer, dev->m->main, timer_due, pm);
	pm->ports = (struct bus_ports){.name = "ich9-pm",
				       .nr = ICH9_PM_LEN,
				       .ops = &pm_ops,
				       .dev = dev,
				       .opaque = pm};
	bus_ports_add(dev->m->bus, &pm->ports);
	ich9_pm_reset(pm);
}

void ich9_pm_fini(struct ich9_pm *pm)
{
	if (!pm->dev)
		return;
	loop_timer_stop(&pm->timer);
	bus_ports_remove(pm->dev->m->bus, &pm->ports);
	irq_set(&pm->sci, false);
}

void ich9_pm_reset(struct ich9_pm *pm)
{
	pm->pm1_sts = 0;
	pm->pm1_en = 0;
	pm->pm1_cnt = 0;
	memset(pm->gpe0_sts, 0, sizeof(pm->gpe0_sts));
	memset(pm->gpe0_en, 0, sizeof(pm->gpe0_en));
	pm->smi_en = SMI_EN_APMC;
	pm->timer_base_ns = loop_now_ns();
	pm->overflow_seen = 0;
	loop_timer_stop(&pm->timer);
	sci_update(pm);
}

static void pm_pre_save(void *obj)
{
	struct ich9_pm *pm = obj;

	pm->timer_ticks = timer_ticks(pm);
}

static int pm_check(void *obj, int version, struct error *e)
{
	struct ich9_pm *pm = obj;

	(void)version;
	(void)e;
	pm->pm1_sts &= STS_ALL;
	pm->pm1_en &= EN_ALL;
	pm->pm1_cnt &= CNT_WRITABLE;
	return 0;
}

static const struct state_field pm_fields[] = {
	STATE_FIELD(struct ich9_pm, timer_ticks),
	STATE_FIELD(struct ich9_pm, overflow_seen),
	STATE_FIELD(struct ich9_pm, pm1_sts),
	STATE_FIELD(struct ich9_pm, pm1_en),
	STATE_FIELD(struct ich9_pm, pm1_cnt),
	STATE_ARRAY(struct ich9_pm, gpe0_sts),
	STATE_ARRAY(struct ich9_pm, gpe0_en),
	STATE_FIELD(struct ich9_pm, smi_en),
};

const struct state_desc ich9_pm_state = {
	.name = "ich9-pm",
	.version = 1,
	.oldest = 1,
	.fields = pm_fields,
	.nr_fields = sizeof(pm_fields) / sizeof(pm_fields[0]),
	.pre_save = pm_pre_save,
	.check = pm_check,
};

void ich9_pm_loaded(struct ich9_pm *pm)
{
	pm->timer_base_ns = loop_now_ns() - ns_of_ticks(pm->timer_ticks);
	timer_update(pm);
}
