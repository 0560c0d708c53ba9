/*
 * kvm_int: what the files of the KVM engine share; nobody else's.
 *
 * kvm.c holds the VM and its slots, kvm_irq.c interrupts and eventfds,
 * kvm_vcpu.c the running, kvm_cpuid.c what the guest's CPU claims to be,
 * kvm_state.c reading state out and putting it back.
 *
 * Thread rule: as accel.h.
 */
#ifndef CORE_KVM_INT_H
#define CORE_KVM_INT_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdint.h>

#include "core/accel.h"
#include "core/kvm.h"

#define KVM_FIRST_MSI_GSI 24
#define KVM_MAX_CPUID	  256

struct kvm_route {
	uint32_t gsi;
	int fd; /* bound eventfd, -1: none */
	uint64_t addr;
	uint32_t data;
};

struct accel_vm {
	int kvm_fd, fd;
	unsigned nr_vcpus;
	size_t run_len; /* of a vCPU's shared page */
	uint32_t xsave_len;
	struct kvm_msr_list *msr_list;
	pthread_mutex_t lock; /* protects the routes */
	struct kvm_route *routes;
	size_t nr_routes, room_routes;
};

struct accel_vcpu {
	struct accel_vm *vm;
	unsigned index;
	int fd;
	struct kvm_run *run;
	int tid; /* atomic: of the thread that runs it, 0 before */
};

/* 0 or -errno; -EINTR is left to the caller. */
int kvm_ioctl(int fd, unsigned long request, void *arg);
/* The value of a capability, 0 when it is missing. */
int kvm_cap(const struct accel_vm *vm, int fd, int cap);

/* Interrupt chips and routes; create: 0 or -errno. */
int kvm_irq_create(struct accel_vm *vm, struct error *e);
void kvm_irq_destroy(struct accel_vm *vm);
extern const struct accel_fast kvm_fast;

/* Gives the vCPU its CPUID leaves; 0 or -errno. */
int kvm_cpuid_init(struct accel_vcpu *vcpu, struct error *e);

/* The vCPU's part of the table; see accel.h. */
struct accel_vcpu *kvm_vcpu_create(struct accel_vm *vm, unsigned index,
				   struct error *e);
void kvm_vcpu_destroy(struct accel_vcpu *vcpu);
enum accel_exit kvm_vcpu_run(struct accel_vcpu *vcpu,
			     const struct accel_bus *bus, char *text,
			     size_t text_len);
void kvm_vcpu_kick(struct accel_vcpu *vcpu);
uint64_t kvm_vcpu_rip(struct accel_vcpu *vcpu);
int kvm_vcpu_state(struct accel_vcpu *vcpu, enum accel_dir dir,
		   struct vcpu_state *state, struct error *e);

#endif
