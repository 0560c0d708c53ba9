/*
 * The hub counts who holds each line; the engine hears of the first and the
 * last.  A lock per line keeps the engine's calls in the counter's order.
 */
#include "core/irq.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/accel.h"
#include "core/error.h"

#define IRQ_LINES     24
#define IRQ_MSI_FIRST 24
#define IRQ_MSI_END   4096

struct line {
	pthread_mutex_t lock;
	unsigned holders; /* protected by lock */
};

struct irq_hub {
	const struct accel_ops *accel;
	struct accel_vm *vm;
	struct line lines[IRQ_LINES];
	pthread_mutex_t lock; /* protects used */
	uint64_t used[IRQ_MSI_END / 64];
};

struct irq_hub *irq_hub_create(const struct accel_ops *accel,
			       struct accel_vm *vm, struct error *e)
{
	struct irq_hub *hub;
	unsigned i;

	if (!accel->fast) {
		error_set(e, -ENOTSUP,
			  "engine '%s' delivers no interrupts by itself",
			  accel->name);
		return NULL;
	}
	hub = calloc(1, sizeof(*hub));
	if (!hub) {
		error_set(e, -ENOMEM, "no memory for the interrupt lines");
		return NULL;
	}
	hub->accel = accel;
	hub->vm = vm;
	pthread_mutex_init(&hub->lock, NULL);
	for (i = 0; i < IRQ_LINES; i++)
		pthread_mutex_init(&hub->lines[i].lock, NULL);
	return hub;
}

void irq_hub_destroy(struct irq_hub *hub)
{
	unsigned i;

	if (!hub)
		return;
	for (i = 0; i < IRQ_LINES; i++)
		pthread_mutex_destroy(&hub->lines[i].lock);
	pthread_mutex_destroy(&hub->lock);
	free(hub);
}

/* ---- lines ---- */

static void line_change(struct irq_hub *hub, unsigned gsi, bool up)
{
	struct line *line;

	if (gsi >= IRQ_LINES)
		return;
	line = &hub->lines[gsi];
	pthread_mutex_lock(&line->lock);
	if (up && line->holders++ == 0)
		hub->accel->fast->irq_line(hub->vm, gsi, true);
	else if (!up && --line->holders == 0)
		hub->accel->fast->irq_line(hub->vm, gsi, false);
	pthread_mutex_unlock(&line->lock);
}

void irq_init(struct irq *irq, struct irq_hub *hub, unsigned gsi)
{
	irq->hub = hub;
	irq->gsi = gsi;
	irq->level = false;
	irq->raised = 0;
}

void irq_set(struct irq *irq, bool level)
{
	if (irq->level == level)
		return;
	irq->level = level;
	if (level)
		__atomic_fetch_add(&irq->raised, 1, __ATOMIC_RELAXED);
	line_change(irq->hub, irq->gsi, level);
}

void irq_move(struct irq *irq, unsigned gsi)
{
	if (irq->gsi == gsi)
		return;
	if (irq->level)
		line_change(irq->hub, irq->gsi, false);
	irq->gsi = gsi;
	if (irq->level)
		line_change(irq->hub, gsi, true);
}

/* ---- messages ---- */

static int gsi_get(struct irq_hub *hub, unsigned *gsi)
{
	unsigned i;
	int err = -ENOSPC;

	pthread_mutex_lock(&hub->lock);
	for (i = IRQ_MSI_FIRST; i < IRQ_MSI_END; i++) {
		if (!(hub->used[i / 64] & (1ull << i % 64))) {
			hub->used[i / 64] |= 1ull << i % 64;
			*gsi = i;
			err = 0;
			break;
		}
	}
	pthread_mutex_unlock(&hub->lock);
	return err;
}

static void gsi_put(struct irq_hub *hub, unsigned gsi)
{
	pthread_mutex_lock(&hub->lock);
	hub->used[gsi / 64] &= ~(1ull << gsi % 64);
	pthread_mutex_unlock(&hub->lock);
}

int irq_msi_init(struct irq_msi *msi, struct irq_hub *hub)
{
	int err;

	memset(msi, 0, sizeof(*msi));
	msi->hub = hub;
	msi->eventfd = -1;
	if (!hub->accel->fast->irqfd)
		return -ENOTSUP;
	err = gsi_get(hub, &msi->gsi);
	if (err)
		return err;
	msi->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (msi->eventfd < 0) {
		err = -errno;
		gsi_put(hub, msi->gsi);
	}
	return err;
}

void irq_msi_fini(struct irq_msi *msi)
{
	if (!msi->hub)
		return;
	irq_msi_set(msi, 0, 0, false);
	if (msi->eventfd >= 0) {
		close(msi->eventfd);
		gsi_put(msi->hub, msi->gsi);
	}
	msi->eventfd = -1;
	msi->hub = NULL;
}

static bool is_enabled(const struct irq_msi *msi)
{
	return __atomic_load_n(&msi->enabled, __ATOMIC_ACQUIRE);
}

int irq_msi_set(struct irq_msi *msi, uint64_t addr, uint32_t data, bool enable)
{
	const struct accel_fast *fast = msi->hub->accel->fast;
	bool was = is_enabled(msi);
	uint64_t stale;
	int err = 0;

	if (was && !enable) {
		__atomic_store_n(&msi->enabled, false, __ATOMIC_RELEASE);
		if (msi->eventfd >= 0) {
			fast->irqfd(msi->hub->vm, msi->gsi, -1, 0, 0);
			/* A message that was fired into the gap must not
			 * arrive when the eventfd is bound again. */
			(void)!read(msi->eventfd, &stale, sizeof(stale));
		}
		return 0;
	}
	if (!enable || (was && msi->addr == addr && msi->data == data))
		return 0;
	msi->addr = addr;
	msi->data = data;
	if (msi->eventfd >= 0)
		err = fast->irqfd(msi->hub->vm, msi->gsi, msi->eventfd, addr,
				  data);
	__atomic_store_n(&msi->enabled, !err, __ATOMIC_RELEASE);
	return err;
}

void irq_msi_fire(struct irq_msi *msi)
{
	uint64_t one = 1;

	if (!is_enabled(msi))
		return;
	__atomic_fetch_add(&msi->raised, 1, __ATOMIC_RELAXED);
	if (msi->eventfd < 0 ||
	    write(msi->eventfd, &one, sizeof(one)) != sizeof(one))
		msi->hub->accel->fast->msi(msi->hub->vm, msi->addr, msi->data);
}
