/*
 * The in-kernel PICs, IOAPIC and PIT, message routes, irqfd and ioeventfd.
 *
 * KVM takes the routing table as a whole: it is rebuilt from the fixed lines
 * and the bound messages each time a message changes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "core/error.h"
#include "core/kvm_int.h"
#include "core/vcpu_state.h"

#define PIC_LINES    16
#define IOAPIC_LINES 24

static int routes_push_locked(struct accel_vm *vm);

int kvm_irq_create(struct accel_vm *vm, struct error *e)
{
	struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
	struct kvm_reinject_control reinject = {.pit_reinject = 0};
	int ret = kvm_ioctl(vm->fd, KVM_CREATE_IRQCHIP, NULL);

	if (ret)
		return error_errno(e, -ret, "KVM: creating interrupt chips");
	ret = kvm_ioctl(vm->fd, KVM_CREATE_PIT2, &pit);
	if (ret)
		return error_errno(e, -ret, "KVM: creating the PIT");
	/* As in a PC, a tick that nobody takes is lost: made up for in a burst,
	 * ticks would starve the lines below them, the keyboard's first. */
	ret = kvm_ioctl(vm->fd, KVM_REINJECT_CONTROL, &reinject);
	if (ret)
		return error_errno(e, -ret, "KVM: setting up the PIT");
	/* KVM's own table has the PIT on the wrong IOAPIC input. */
	ret = routes_push_locked(vm);
	if (ret)
		return error_errno(e, -ret, "KVM: wiring the interrupts");
	return 0;
}

void kvm_irq_destroy(struct accel_vm *vm)
{
	free(vm->routes);
	pthread_mutex_destroy(&vm->lock);
}

static int irq_line(struct accel_vm *vm, unsigned gsi, bool level)
{
	struct kvm_irq_level arg = {.irq = gsi, .level = level};

	return kvm_ioctl(vm->fd, KVM_IRQ_LINE, &arg);
}

static int msi(struct accel_vm *vm, uint64_t addr, uint32_t data)
{
	struct kvm_msi arg = {
		.address_lo = (uint32_t)addr,
		.address_hi = (uint32_t)(addr >> 32),
		.data = data,
	};

	return kvm_ioctl(vm->fd, KVM_SIGNAL_MSI, &arg);
}

/* ---- routes ---- */

static size_t add_lines(struct kvm_irq_routing_entry *out)
{
	size_t n = 0;
	unsigned i;

	for (i = 0; i < PIC_LINES; i++) {
		out[n].gsi = i;
		out[n].type = KVM_IRQ_ROUTING_IRQCHIP;
		out[n].u.irqchip.irqchip =
			i < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE;
		out[n++].u.irqchip.pin = i % 8;
	}
	for (i = 0; i < IOAPIC_LINES; i++) {
		/* A PC wires the PIT (line 0) to IOAPIC input 2. */
		if (i == 2)
			continue;
		out[n].gsi = i;
		out[n].type = KVM_IRQ_ROUTING_IRQCHIP;
		out[n].u.irqchip.irqchip = KVM_IRQCHIP_IOAPIC;
		out[n++].u.irqchip.pin = i == 0 ? 2 : i;
	}
	return n;
}

static int routes_push_locked(struct accel_vm *vm)
{
	size_t room = PIC_LINES + IOAPIC_LINES + vm->nr_routes, n, i;
	struct kvm_irq_routing *table;
	int ret;

	table = calloc(1, sizeof(*table) + room * sizeof(table->entries[0]));
	if (!table)
		return -ENOMEM;
	n = add_lines(table->entries);
	for (i = 0; i < vm->nr_routes; i++, n++) {
		const struct kvm_route *r = &vm->routes[i];
		struct kvm_irq_routing_entry *out = &table->entries[n];

		out->gsi = r->gsi;
		out->type = KVM_IRQ_ROUTING_MSI;
		out->u.msi.address_lo = (uint32_t)r->addr;
		out->u.msi.address_hi = (uint32_t)(r->addr >> 32);
		out->u.msi.data = r->data;
	}
	table->nr = (uint32_t)n;
	ret = kvm_ioctl(vm->fd, KVM_SET_GSI_ROUTING, table);
	free(table);
	return ret;
}

static struct kvm_route *route_find_locked(struct accel_vm *vm, unsigned gsi)
{
	size_t i;

	for (i = 0; i < vm->nr_routes; i++) {
		if (vm->routes[i].gsi == gsi)
			return &vm->routes[i];
	}
	return NULL;
}

static struct kvm_route *route_add_locked(struct accel_vm *vm, unsigned gsi)
{
	struct kvm_route *p;
	size_t room;

	if (vm->nr_routes == vm->room_routes) {
		room = vm->room_routes ? vm->room_routes * 2 : 16;
		p = realloc(vm->routes, room * sizeof(*p));
		if (!p)
			return NULL;
		vm->routes = p;
		vm->room_routes = room;
	}
	p = &vm->routes[vm->nr_routes++];
	*p = (struct kvm_route){.gsi = gsi, .fd = -1};
	return p;
}

static int irqfd_bind(struct accel_vm *vm, unsigned gsi, int fd, bool add)
{
	struct kvm_irqfd arg = {
		.fd = (uint32_t)fd,
		.gsi = gsi,
		.flags = add ? 0 : KVM_IRQFD_FLAG_DEASSIGN,
	};

	return kvm_ioctl(vm->fd, KVM_IRQFD, &arg);
}

static int irqfd_remove_locked(struct accel_vm *vm, unsigned gsi)
{
	struct kvm_route *r = route_find_locked(vm, gsi);

	if (!r)
		return 0;
	if (r->fd >= 0)
		irqfd_bind(vm, gsi, r->fd, false);
	*r = vm->routes[--vm->nr_routes];
	return routes_push_locked(vm);
}

static int irqfd_set_locked(struct accel_vm *vm, unsigned gsi, int fd,
			    uint64_t addr, uint32_t data)
{
	struct kvm_route *r = route_find_locked(vm, gsi);
	int ret;

	if (!r)
		r = route_add_locked(vm, gsi);
	if (!r)
		return -ENOMEM;
	r->addr = addr;
	r->data = data;
	ret = routes_push_locked(vm);
	if (!ret && r->fd != fd) {
		if (r->fd >= 0)
			irqfd_bind(vm, gsi, r->fd, false);
		r->fd = -1;
		ret = irqfd_bind(vm, gsi, fd, true);
		if (!ret)
			r->fd = fd;
	}
	if (ret)
		irqfd_remove_locked(vm, gsi);
	return ret;
}

static int irqfd(struct accel_vm *vm, unsigned gsi, int fd, uint64_t addr,
		 uint32_t data)
{
	int ret;

	if (gsi < KVM_FIRST_MSI_GSI)
		return -EINVAL;
	pthread_mutex_lock(&vm->lock);
	if (fd < 0)
		ret = irqfd_remove_locked(vm, gsi);
	else
		ret = irqfd_set_locked(vm, gsi, fd, addr, data);
	pthread_mutex_unlock(&vm->lock);
	return ret;
}

static int ioeventfd(struct accel_vm *vm, uint64_t addr, unsigned len,
		     bool is_port, int fd, bool add)
{
	struct kvm_ioeventfd arg = {
		.addr = addr,
		.len = len,
		.fd = fd,
	};

	if (is_port)
		arg.flags |= KVM_IOEVENTFD_FLAG_PIO;
	if (!add)
		arg.flags |= KVM_IOEVENTFD_FLAG_DEASSIGN;
	return kvm_ioctl(vm->fd, KVM_IOEVENTFD, &arg);
}

/* ---- state ---- */

static int chip_move(struct accel_vm *vm, enum accel_dir dir, uint32_t id,
		     struct kvm_irqchip *chip)
{
	chip->chip_id = id;
	return kvm_ioctl(vm->fd,
			 dir == ACCEL_GET ? KVM_GET_IRQCHIP : KVM_SET_IRQCHIP,
			 chip);
}

static int clock_move(struct accel_vm *vm, enum accel_dir dir, uint64_t *ns)
{
	struct kvm_clock_data clock = {.clock = *ns};
	int ret;

	if (dir == ACCEL_SET)
		return kvm_ioctl(vm->fd, KVM_SET_CLOCK, &clock);
	ret = kvm_ioctl(vm->fd, KVM_GET_CLOCK, &clock);
	*ns = clock.clock;
	return ret;
}

static int chipset_state(struct accel_vm *vm, enum accel_dir dir,
			 struct chipset_state *s, struct error *e)
{
	const char *verb = dir == ACCEL_GET ? "reading" : "setting";
	int ret = chip_move(vm, dir, KVM_IRQCHIP_PIC_MASTER, &s->pic_master);

	if (!ret)
		ret = chip_move(vm, dir, KVM_IRQCHIP_PIC_SLAVE, &s->pic_slave);
	if (ret)
		return error_errno(e, -ret, "KVM: %s the PICs", verb);
	ret = chip_move(vm, dir, KVM_IRQCHIP_IOAPIC, &s->ioapic);
	if (ret)
		return error_errno(e, -ret, "KVM: %s the IOAPIC", verb);
	ret = kvm_ioctl(vm->fd, dir == ACCEL_GET ? KVM_GET_PIT2 : KVM_SET_PIT2,
			&s->pit);
	if (ret)
		return error_errno(e, -ret, "KVM: %s the PIT", verb);
	ret = clock_move(vm, dir, &s->clock_ns);
	if (ret)
		return error_errno(e, -ret, "KVM: %s the clock", verb);
	return 0;
}

const struct accel_fast kvm_fast = {
	.irq_line = irq_line,
	.msi = msi,
	.irqfd = irqfd,
	.ioeventfd = ioeventfd,
	.chipset_state = chipset_state,
};
