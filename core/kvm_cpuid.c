/*
 * What the guest's CPU claims to be: what KVM supports on this host, with a
 * topology of one package and as many cores as there are vCPUs.
 *
 * Hidden: nested virtualization, performance counters, AMX and SGX, whose
 * state isn't moved between machines.
 */
#include <cpuid.h>
#include <errno.h>
#include <stdlib.h>

#include "core/error.h"
#include "core/kvm_int.h"

#define LEAF1_ECX_VMX	       (1u << 5)
#define LEAF1_ECX_TSC_DEADLINE (1u << 24)
#define LEAF1_ECX_HYPERVISOR   (1u << 31)
#define LEAF1_EDX_HTT	       (1u << 28)
#define LEAF7_EBX_SGX	       (1u << 2)
#define LEAF7_ECX_SGX_LC       (1u << 30)
#define LEAF7_EDX_AMX	       ((1u << 22) | (1u << 24) | (1u << 25))
#define LEAFD_EAX_AMX	       ((1u << 17) | (1u << 18))
#define EXT1_ECX_CMP_LEGACY    (1u << 1)
#define EXT1_ECX_SVM	       (1u << 2)

#define LEAF_BRAND_FIRST 0x80000002u
#define LEAF_BRAND_LAST	 0x80000004u

/* Bits that number n cores. */
static unsigned core_bits(unsigned n)
{
	unsigned bits = 0;

	while ((1u << bits) < n)
		bits++;
	return bits;
}

static void fix_leaf1(struct kvm_cpuid_entry2 *c, const struct accel_vcpu *vcpu)
{
	unsigned n = vcpu->vm->nr_vcpus;

	c->ebx = (c->ebx & 0xffff) | (1u << core_bits(n)) << 16 |
		 vcpu->index << 24;
	c->ecx &= ~LEAF1_ECX_VMX;
	c->ecx |= LEAF1_ECX_HYPERVISOR;
	if (kvm_cap(vcpu->vm, -1, KVM_CAP_TSC_DEADLINE_TIMER))
		c->ecx |= LEAF1_ECX_TSC_DEADLINE;
	if (n > 1)
		c->edx |= LEAF1_EDX_HTT;
	else
		c->edx &= ~LEAF1_EDX_HTT;
}

/* Caches up to level 2 belong to a core, the third level to the package. */
static void fix_cache(struct kvm_cpuid_entry2 *c, unsigned n, bool intel)
{
	unsigned level = c->eax >> 5 & 7;
	unsigned sharing = level >= 3 ? n - 1 : 0;

	if (!(c->eax & 0x1f))
		return;
	c->eax = (c->eax & 0x3fff) | sharing << 14;
	if (intel)
		c->eax |= (n - 1) << 26;
}

static void fix_topology(struct kvm_cpuid_entry2 *c,
			 const struct accel_vcpu *vcpu)
{
	unsigned n = vcpu->vm->nr_vcpus;

	c->eax = c->ebx = 0;
	c->ecx = c->index & 0xff;
	c->edx = vcpu->index;
	if (c->index == 0) {
		c->ebx = 1;
		c->ecx |= 1 << 8; /* threads */
	} else if (c->index == 1) {
		c->eax = core_bits(n);
		c->ebx = n;
		c->ecx |= 2 << 8; /* cores */
	}
}

static void fix_entry(struct kvm_cpuid_entry2 *c, const struct accel_vcpu *vcpu)
{
	unsigned n = vcpu->vm->nr_vcpus;

	switch (c->function) {
	case 1:
		fix_leaf1(c, vcpu);
		break;
	case 4:
		fix_cache(c, n, true);
		break;
	case 7:
		if (c->index == 0) {
			c->ebx &= ~LEAF7_EBX_SGX;
			c->ecx &= ~LEAF7_ECX_SGX_LC;
			c->edx &= ~LEAF7_EDX_AMX;
		}
		break;
	case 0xa:
	case 0x12:
	case 0x1d:
	case 0x1e:
		c->eax = c->ebx = c->ecx = c->edx = 0;
		break;
	case 0xb:
	case 0x1f:
		fix_topology(c, vcpu);
		break;
	case 0xd:
		if (c->index == 0)
			c->eax &= ~LEAFD_EAX_AMX;
		break;
	case 0x80000001:
		c->ecx &= ~(EXT1_ECX_SVM | EXT1_ECX_CMP_LEGACY);
		if (n > 1)
			c->ecx |= EXT1_ECX_CMP_LEGACY;
		break;
	case 0x80000008:
		c->ecx = (c->ecx & ~0xf0ffu) | core_bits(n) << 12 | (n - 1);
		break;
	case 0x8000000a:
		c->eax = c->ebx = c->ecx = c->edx = 0;
		break;
	case 0x8000001d:
		fix_cache(c, n, false);
		break;
	case 0x8000001e:
		c->eax = vcpu->index;
		c->ebx = vcpu->index & 0xff;
		c->ecx = 0;
		break;
	}
}

static struct kvm_cpuid_entry2 *find_or_add(struct kvm_cpuid2 *cpuid,
					    uint32_t function)
{
	struct kvm_cpuid_entry2 *c;
	uint32_t i;

	for (i = 0; i < cpuid->nent; i++) {
		if (cpuid->entries[i].function == function)
			return &cpuid->entries[i];
	}
	if (cpuid->nent == KVM_MAX_CPUID)
		return NULL;
	c = &cpuid->entries[cpuid->nent++];
	*c = (struct kvm_cpuid_entry2){.function = function};
	return c;
}

/* The CPU's name, which KVM leaves out: the host's. */
static void add_brand(struct kvm_cpuid2 *cpuid)
{
	uint32_t leaf;

	if ((unsigned)__get_cpuid_max(0x80000000, NULL) < LEAF_BRAND_LAST)
		return;
	for (leaf = LEAF_BRAND_FIRST; leaf <= LEAF_BRAND_LAST; leaf++) {
		struct kvm_cpuid_entry2 *c = find_or_add(cpuid, leaf);

		if (c)
			__cpuid(leaf, c->eax, c->ebx, c->ecx, c->edx);
	}
}

/* KVM may list only the first level of a topology leaf. */
static void add_core_level(struct kvm_cpuid2 *cpuid, uint32_t function)
{
	uint32_t i;
	bool first = false, second = false;

	for (i = 0; i < cpuid->nent; i++) {
		if (cpuid->entries[i].function == function) {
			first |= cpuid->entries[i].index == 0;
			second |= cpuid->entries[i].index == 1;
		}
	}
	if (first && !second && cpuid->nent < KVM_MAX_CPUID) {
		cpuid->entries[cpuid->nent++] = (struct kvm_cpuid_entry2){
			.function = function,
			.index = 1,
			.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
		};
	}
}

int kvm_cpuid_init(struct accel_vcpu *vcpu, struct error *e)
{
	struct kvm_cpuid2 *cpuid;
	uint32_t i;
	int ret;

	cpuid = calloc(1, sizeof(*cpuid) +
				  KVM_MAX_CPUID * sizeof(cpuid->entries[0]));
	if (!cpuid)
		return error_set(e, -ENOMEM, "no memory for CPUID");
	cpuid->nent = KVM_MAX_CPUID;
	ret = kvm_ioctl(vcpu->vm->kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid);
	if (ret) {
		error_errno(e, -ret, "KVM: supported CPUID");
		goto out;
	}
	add_core_level(cpuid, 0xb);
	add_core_level(cpuid, 0x1f);
	add_brand(cpuid);
	for (i = 0; i < cpuid->nent; i++)
		fix_entry(&cpuid->entries[i], vcpu);
	ret = kvm_ioctl(vcpu->fd, KVM_SET_CPUID2, cpuid);
	if (ret)
		error_errno(e, -ret, "KVM: CPUID of vCPU %u", vcpu->index);
out:
	free(cpuid);
	return ret;
}
