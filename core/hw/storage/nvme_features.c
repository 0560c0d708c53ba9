/*
 * Set and Get Features: NVMe 1.4, 5.21 and 5.9.  One table: what each feature
 * is at first, which bits of it count, and how the ones that do more than
 * remember a value are set and read.  None is saved over a reset, none belongs
 * to a namespace.
 */
#include "core/hw/storage/nvme_int.h"

#define SAVE	  (1u << 31) /* dw10 of Set Features */
#define SELECT(c) ((c)->dw10 >> 8 & 7)

enum select { CURRENT = 0, DEFAULT = 1, SAVED = 2, CAPABILITIES = 3 };
#define CAN_CHANGE 4u

/* Kelvin: thresholds that never speak. */
#define TEMPERATURE_HOT	 0xffff
#define TEMPERATURE_COLD 0

#define EVENTS_OFFERED (1u << 8 | 0xff)

struct feature {
	uint32_t initial, mask;
	bool is_here;
	/* Optional. */
	enum nvme_status (*set)(struct nvme *n, struct nvme_slot *s);
	enum nvme_status (*get)(struct nvme *n, const struct nvme_slot *s,
				bool initial, uint32_t *value);
};

/* ---- temperature ---- */

uint8_t nvme_warnings(const struct nvme *n)
{
	bool is_odd = NVME_TEMPERATURE >= n->feature[NVME_FEAT_TEMPERATURE] ||
		      NVME_TEMPERATURE <= n->cold;

	return is_odd ? 1u << NVME_EVENT_TEMPERATURE : 0;
}

static void look_at_warnings(struct nvme *n)
{
	if (nvme_warnings(n) & n->feature[NVME_FEAT_EVENTS])
		nvme_event(n, NVME_EVENT_SMART, NVME_EVENT_TEMPERATURE);
}

/* The one sensor is the composite; all of them may be set at once. */
static bool is_sensor(uint32_t dw11, bool set)
{
	unsigned sensor = dw11 >> 16 & 0xf, which = dw11 >> 20 & 3;

	return (!sensor || (set && sensor == 0xf)) && which < 2;
}

static enum nvme_status set_temperature(struct nvme *n, struct nvme_slot *s)
{
	uint32_t dw11 = s->cmd.dw11;

	if (!is_sensor(dw11, true))
		return NVME_INVALID_FIELD;
	if (dw11 & 1u << 20)
		n->cold = dw11 & 0xffff;
	else
		n->feature[NVME_FEAT_TEMPERATURE] = dw11 & 0xffff;
	look_at_warnings(n);
	return NVME_OK;
}

static enum nvme_status get_temperature(struct nvme *n,
					const struct nvme_slot *s, bool initial,
					uint32_t *value)
{
	uint32_t dw11 = s->cmd.dw11;

	if (!is_sensor(dw11, false))
		return NVME_INVALID_FIELD;
	if (dw11 & 1u << 20)
		*value = initial ? TEMPERATURE_COLD : n->cold;
	else
		*value = initial ? TEMPERATURE_HOT
				 : n->feature[NVME_FEAT_TEMPERATURE];
	return NVME_OK;
}

/* ---- write cache ---- */

/* Turned off, it is off when all that it held is stable. */
static enum nvme_status set_cache(struct nvme *n, struct nvme_slot *s)
{
	n->wce = s->cmd.dw11 & 1;
	n->seen_cache = true;
	/* Also when it was off: that flush may be under way, or have failed. */
	return n->wce ? NVME_OK : nvme_flush(s);
}

static enum nvme_status get_cache(struct nvme *n, const struct nvme_slot *s,
				  bool initial, uint32_t *value)
{
	(void)s;
	*value = initial ? n->wce_default : n->wce;
	return NVME_OK;
}

/* ---- queues and vectors ---- */

static enum nvme_status set_queues(struct nvme *n, struct nvme_slot *s)
{
	uint32_t sqs = s->cmd.dw11 & 0xffff, cqs = s->cmd.dw11 >> 16;
	uint32_t last = sqs > cqs ? sqs : cqs;

	for (unsigned i = 1; i < NVME_NR_QUEUES; i++)
		if (n->sqs[i].is_live || n->cqs[i].is_live)
			return NVME_SEQUENCE_ERROR;
	if (last == 0xffff)
		return NVME_INVALID_FIELD;
	if (last > NVME_NR_QUEUES - 2)
		last = NVME_NR_QUEUES - 2;
	n->nr_granted = (uint16_t)(last + 1);
	s->result = last | last << 16;
	return NVME_OK;
}

static enum nvme_status get_queues(struct nvme *n, const struct nvme_slot *s,
				   bool initial, uint32_t *value)
{
	uint32_t last = initial ? NVME_NR_QUEUES - 2 : n->nr_granted - 1u;

	(void)s;
	*value = last | last << 16;
	return NVME_OK;
}

static enum nvme_status set_vector(struct nvme *n, struct nvme_slot *s)
{
	unsigned vector = s->cmd.dw11 & 0xffff;

	if (vector >= n->pci.msix.nr)
		return NVME_INVALID_FIELD;
	n->vector_alone &= ~(1u << vector);
	if (s->cmd.dw11 & 1u << 16)
		n->vector_alone |= 1u << vector;
	return NVME_OK;
}

static enum nvme_status get_vector(struct nvme *n, const struct nvme_slot *s,
				   bool initial, uint32_t *value)
{
	unsigned vector = s->cmd.dw11 & 0xffff;

	if (vector >= n->pci.msix.nr)
		return NVME_INVALID_FIELD;
	*value = vector;
	if (!initial && (n->vector_alone & 1u << vector))
		*value |= 1u << 16;
	return NVME_OK;
}

/* ---- others ---- */

/* One power state. */
static enum nvme_status set_power(struct nvme *n, struct nvme_slot *s)
{
	(void)n;
	return s->cmd.dw11 & 0x1f ? NVME_INVALID_FIELD : NVME_OK;
}

static enum nvme_status set_events(struct nvme *n, struct nvme_slot *s)
{
	n->feature[NVME_FEAT_EVENTS] = s->cmd.dw11 & EVENTS_OFFERED;
	look_at_warnings(n);
	return NVME_OK;
}

static const struct feature features[NVME_PER_FEATURE] = {
	[NVME_FEAT_ARBITRATION] = {6, 0xffffff07, true, NULL, NULL},
	[NVME_FEAT_POWER] = {0, 0, true, set_power, NULL},
	[NVME_FEAT_TEMPERATURE] = {TEMPERATURE_HOT, 0xffff, true,
				   set_temperature, get_temperature},
	[NVME_FEAT_RECOVERY] = {0, 0xffff, true, NULL, NULL},
	[NVME_FEAT_WRITE_CACHE] = {0, 0, true, set_cache, get_cache},
	[NVME_FEAT_QUEUES] = {0, 0, true, set_queues, get_queues},
	[NVME_FEAT_COALESCING] = {0, 0xffff, true, NULL, NULL},
	[NVME_FEAT_VECTOR] = {0, 0, true, set_vector, get_vector},
	[NVME_FEAT_ATOMICITY] = {0, 1, true, NULL, NULL},
	[NVME_FEAT_EVENTS] = {0, EVENTS_OFFERED, true, set_events, NULL},
};

static const struct feature *feature_of(const struct nvme_slot *s)
{
	unsigned id = s->cmd.dw10 & 0xff;

	return id < NVME_PER_FEATURE && features[id].is_here ? &features[id]
							     : NULL;
}

void nvme_features_reset(struct nvme *n)
{
	for (unsigned i = 0; i < NVME_PER_FEATURE; i++)
		n->feature[i] = features[i].initial;
	n->cold = TEMPERATURE_COLD;
	n->vector_alone = 0;
	n->nr_granted = NVME_NR_QUEUES - 1;
	n->wce = n->wce_default;
	n->seen = 0;
	n->seen_fua = n->seen_cache = false;
}

enum nvme_status nvme_set_features(struct nvme *n, struct nvme_slot *s)
{
	const struct feature *f = feature_of(s);

	if (!f)
		return NVME_INVALID_FIELD;
	if (s->cmd.dw10 & SAVE)
		return NVME_NOT_SAVEABLE;
	if (s->cmd.nsid == 1)
		return NVME_NOT_NS_SPECIFIC;
	if (f->set)
		return f->set(n, s);
	n->feature[s->cmd.dw10 & 0xff] = s->cmd.dw11 & f->mask;
	return NVME_OK;
}

enum nvme_status nvme_get_features(struct nvme *n, struct nvme_slot *s)
{
	const struct feature *f = feature_of(s);
	unsigned select = SELECT(&s->cmd);
	bool initial = select == DEFAULT || select == SAVED;

	if (!f || select > CAPABILITIES)
		return NVME_INVALID_FIELD;
	if (select == CAPABILITIES)
		s->result = CAN_CHANGE;
	else if (f->get)
		return f->get(n, s, initial, &s->result);
	else
		s->result =
			initial ? f->initial : n->feature[s->cmd.dw10 & 0xff];
	return NVME_OK;
}
