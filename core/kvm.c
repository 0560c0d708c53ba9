/*
 * The VM and its memory slots.
 */
#include "core/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/error.h"
#include "core/kvm_int.h"
#include "core/vcpu_state.h"

#define KVM_DEVICE "/dev/kvm"

int kvm_ioctl(int fd, unsigned long request, void *arg)
{
	return ioctl(fd, request, arg) < 0 ? -errno : 0;
}

int kvm_cap(const struct accel_vm *vm, int fd, int cap)
{
	int ret = ioctl(fd < 0 ? vm->kvm_fd : fd, KVM_CHECK_EXTENSION, cap);

	return ret < 0 ? 0 : ret;
}

static int open_error(int err, struct error *e)
{
	switch (err) {
	case ENOENT:
	case ENXIO:
	case ENODEV:
		return error_set(e, -err,
				 KVM_DEVICE " is missing: load the module "
					    "kvm_intel or kvm_amd, and switch "
					    "virtualization on in the "
					    "firmware's setup");
	case EACCES:
	case EPERM:
		return error_set(e, -err,
				 "no permission to use " KVM_DEVICE
				 ": add the user to the group kvm "
				 "(adduser NAME kvm) and log in again");
	default:
		return error_errno(e, err, "opening " KVM_DEVICE);
	}
}

static const struct {
	int cap;
	const char *name;
} needed[] = {
	{KVM_CAP_USER_MEMORY, "user memory"},
	{KVM_CAP_IRQCHIP, "in-kernel interrupt chips"},
	{KVM_CAP_PIT2, "an in-kernel PIT"},
	{KVM_CAP_IRQFD, "irqfd"},
	{KVM_CAP_IOEVENTFD, "ioeventfd"},
	{KVM_CAP_IRQ_ROUTING, "interrupt routing"},
	{KVM_CAP_IMMEDIATE_EXIT, "immediate exit"},
	{KVM_CAP_READONLY_MEM, "read-only memory slots"},
	{KVM_CAP_EXT_CPUID, "CPUID"},
	{KVM_CAP_MP_STATE, "MP state"},
	{KVM_CAP_VCPU_EVENTS, "vCPU events"},
};

static int check_caps(struct accel_vm *vm, struct error *e)
{
	size_t i;
	int version = ioctl(vm->kvm_fd, KVM_GET_API_VERSION, 0);

	if (version != KVM_API_VERSION)
		return error_set(e, -ENOTSUP,
				 "this kernel's KVM has API version %d, "
				 "needed is %d",
				 version, KVM_API_VERSION);
	for (i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		if (!kvm_cap(vm, -1, needed[i].cap))
			return error_set(e, -ENOTSUP,
					 "this kernel's KVM lacks %s: a newer "
					 "kernel is needed",
					 needed[i].name);
	}
	return 0;
}

static int read_msr_list(struct accel_vm *vm)
{
	struct kvm_msr_list probe = {.nmsrs = 0};

	kvm_ioctl(vm->kvm_fd, KVM_GET_MSR_INDEX_LIST, &probe);
	vm->msr_list = calloc(1, sizeof(*vm->msr_list) +
					 probe.nmsrs * sizeof(uint32_t));
	if (!vm->msr_list)
		return -ENOMEM;
	vm->msr_list->nmsrs = probe.nmsrs;
	return kvm_ioctl(vm->kvm_fd, KVM_GET_MSR_INDEX_LIST, vm->msr_list);
}

/* What must be set before the first vCPU exists. */
static int set_up(struct accel_vm *vm, struct error *e)
{
	uint64_t identity = KVM_RESERVED_GPA;
	int ret;

	ret = kvm_ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity);
	if (ret)
		return error_errno(e, -ret, "KVM: identity map address");
	if (ioctl(vm->fd, KVM_SET_TSS_ADDR, KVM_RESERVED_GPA + 0x1000ul))
		return error_errno(e, errno, "KVM: TSS address");
	ret = read_msr_list(vm);
	if (ret)
		return error_errno(e, -ret, "KVM: list of MSRs");
	ret = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (ret < (int)sizeof(struct kvm_run))
		return error_set(e, -ENOTSUP, "KVM: size of the run page");
	vm->run_len = (size_t)ret;
	vm->xsave_len = (uint32_t)kvm_cap(vm, vm->fd, KVM_CAP_XSAVE2);
	if (vm->xsave_len < sizeof(struct kvm_xsave))
		vm->xsave_len = sizeof(struct kvm_xsave);
	if (vm->xsave_len > VCPU_XSAVE_LEN)
		return error_set(e, -ENOTSUP,
				 "KVM: vector state of %u bytes is more than "
				 "the %u that are supported",
				 vm->xsave_len, VCPU_XSAVE_LEN);
	return kvm_irq_create(vm, e);
}

static void vm_destroy(struct accel_vm *vm)
{
	if (!vm)
		return;
	kvm_irq_destroy(vm);
	if (vm->fd >= 0)
		close(vm->fd);
	if (vm->kvm_fd >= 0)
		close(vm->kvm_fd);
	free(vm->msr_list);
	free(vm);
}

static struct accel_vm *vm_create(unsigned nr_vcpus, struct error *e)
{
	struct accel_vm *vm = calloc(1, sizeof(*vm));

	if (!vm) {
		error_set(e, -ENOMEM, "no memory for a virtual machine");
		return NULL;
	}
	vm->fd = -1;
	vm->nr_vcpus = nr_vcpus;
	pthread_mutex_init(&vm->lock, NULL);
	vm->kvm_fd = open(KVM_DEVICE, O_RDWR | O_CLOEXEC);
	if (vm->kvm_fd < 0) {
		open_error(errno, e);
		goto fail;
	}
	if (check_caps(vm, e))
		goto fail;
	do {
		vm->fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
	} while (vm->fd < 0 && errno == EINTR);
	if (vm->fd < 0) {
		error_errno(e, errno, "KVM: creating a virtual machine");
		goto fail;
	}
	if (set_up(vm, e))
		goto fail;
	return vm;
fail:
	vm_destroy(vm);
	return NULL;
}

static int slot_set(struct accel_vm *vm, const struct accel_slot *slot)
{
	struct kvm_userspace_memory_region r = {
		.slot = slot->id,
		.guest_phys_addr = slot->gpa,
		.memory_size = slot->len,
		.userspace_addr = (uintptr_t)slot->host,
	};

	if (slot->readonly)
		r.flags |= KVM_MEM_READONLY;
	if (slot->log_dirty)
		r.flags |= KVM_MEM_LOG_DIRTY_PAGES;
	if (!slot->len)
		r.flags = 0;
	return kvm_ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &r);
}

static int slot_dirty(struct accel_vm *vm, uint32_t id, uint64_t *bitmap)
{
	struct kvm_dirty_log log = {.slot = id, .dirty_bitmap = bitmap};

	return kvm_ioctl(vm->fd, KVM_GET_DIRTY_LOG, &log);
}

const struct accel_ops kvm_accel = {
	.name = "kvm",
	.vm_create = vm_create,
	.vm_destroy = vm_destroy,
	.slot_set = slot_set,
	.slot_dirty = slot_dirty,
	.vcpu_create = kvm_vcpu_create,
	.vcpu_destroy = kvm_vcpu_destroy,
	.run = kvm_vcpu_run,
	.kick = kvm_vcpu_kick,
	.rip = kvm_vcpu_rip,
	.vcpu_state = kvm_vcpu_state,
	.fast = &kvm_fast,
};
