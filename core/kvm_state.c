/*
 * Reading a stopped vCPU's state out and putting it back.
 *
 * Order when reading: MP state first, since KVM accepts a pending INIT or
 * SIPI while answering, which changes everything else.  Order when setting:
 * SREGS (they carry the APIC's base and mode) before the LAPIC; the LAPIC
 * before the MSRs (the TSC deadline arms its timer); registers before events,
 * because setting registers drops a pending exception.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "core/error.h"
#include "core/kvm_int.h"
#include "core/vcpu_state.h"

#define MEM_PAGE_BIT 0x1000ull

/* MTRRs are guest-visible, yet KVM's own list leaves them out. */
static const uint32_t extra_msrs[] = {
	0x200, 0x201, 0x202, 0x203, 0x204, 0x205, 0x206, 0x207, 0x208, 0x209,
	0x20a, 0x20b, 0x20c, 0x20d, 0x20e, 0x20f, 0x250, 0x258, 0x259, 0x268,
	0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f, 0x2ff,
};
#define NR_EXTRA (sizeof(extra_msrs) / sizeof(extra_msrs[0]))

static const struct {
	uint32_t index;
	const char *name;
} msr_names[] = {
	{0x10, "TSC"},
	{0x3b, "TSC_ADJUST"},
	{0x48, "SPEC_CTRL"},
	{0x8b, "UCODE_REV"},
	{0x10a, "ARCH_CAPABILITIES"},
	{0x122, "TSX_CTRL"},
	{0x140, "MISC_FEATURES_ENABLES"},
	{0x174, "SYSENTER_CS"},
	{0x175, "SYSENTER_ESP"},
	{0x176, "SYSENTER_EIP"},
	{0x17a, "MCG_STATUS"},
	{0x17b, "MCG_CTL"},
	{0x1a0, "MISC_ENABLE"},
	{0x277, "PAT"},
	{0x2ff, "MTRRdefType"},
	{0x345, "PERF_CAPABILITIES"},
	{0x6e0, "TSC_DEADLINE"},
	{0xda0, "XSS"},
	{0xc0000081, "STAR"},
	{0xc0000082, "LSTAR"},
	{0xc0000083, "CSTAR"},
	{0xc0000084, "SFMASK"},
	{0xc0000102, "KERNEL_GS_BASE"},
	{0xc0000103, "TSC_AUX"},
	{0xc0000104, "TSC_RATIO"},
	{0xc001011f, "VIRT_SPEC_CTRL"},
	{0x11, "KVM_WALL_CLOCK"},
	{0x12, "KVM_SYSTEM_TIME"},
	{0x4b564d00, "KVM_WALL_CLOCK_NEW"},
	{0x4b564d01, "KVM_SYSTEM_TIME_NEW"},
	{0x4b564d02, "KVM_ASYNC_PF_EN"},
	{0x4b564d03, "KVM_STEAL_TIME"},
	{0x4b564d04, "KVM_PV_EOI_EN"},
	{0x4b564d05, "KVM_POLL_CONTROL"},
};

static void msr_describe(uint32_t index, char *out, size_t len)
{
	size_t i;

	for (i = 0; i < sizeof(msr_names) / sizeof(msr_names[0]); i++) {
		if (msr_names[i].index == index) {
			snprintf(out, len, "%s", msr_names[i].name);
			return;
		}
	}
	snprintf(out, len, "0x%x", index);
}

/* ---- MSRs ---- */

struct msr_batch {
	struct kvm_msrs head;
	struct kvm_msr_entry entries[VCPU_MAX_MSRS];
};

/* Calls the ioctl again and again past each MSR that it stops at; bad (room
 * for VCPU_MAX_MSRS) names them.  Returns how many are bad, or -errno. */
static int msrs_move(struct accel_vcpu *vcpu, unsigned long request,
		     struct msr_batch *batch, uint32_t nr, uint32_t *bad)
{
	struct kvm_msr_entry all[VCPU_MAX_MSRS];
	uint32_t done = 0;
	int nr_bad = 0;

	memcpy(all, batch->entries, nr * sizeof(all[0]));
	while (done < nr) {
		int ret;

		batch->head.nmsrs = nr - done;
		memcpy(batch->entries, all + done,
		       (nr - done) * sizeof(all[0]));
		ret = ioctl(vcpu->fd, request, batch);
		if (ret < 0)
			return -errno;
		memcpy(all + done, batch->entries,
		       (size_t)ret * sizeof(all[0]));
		done += (uint32_t)ret;
		if (done < nr)
			bad[nr_bad++] = done++;
	}
	memcpy(batch->entries, all, nr * sizeof(all[0]));
	return nr_bad;
}

static uint32_t msrs_list(const struct accel_vm *vm, uint32_t *out)
{
	uint32_t n = 0, i;

	for (i = 0; i < vm->msr_list->nmsrs && n + NR_EXTRA < VCPU_MAX_MSRS;
	     i++)
		out[n++] = vm->msr_list->indices[i];
	for (i = 0; i < NR_EXTRA; i++)
		out[n++] = extra_msrs[i];
	return n;
}

static int msrs_get(struct accel_vcpu *vcpu, struct vcpu_state *s,
		    struct msr_batch *batch)
{
	uint32_t list[VCPU_MAX_MSRS], bad[VCPU_MAX_MSRS];
	uint32_t nr = msrs_list(vcpu->vm, list), i;
	int nr_bad, next_bad = 0;

	for (i = 0; i < nr; i++)
		batch->entries[i] = (struct kvm_msr_entry){.index = list[i]};
	nr_bad = msrs_move(vcpu, KVM_GET_MSRS, batch, nr, bad);
	if (nr_bad < 0)
		return nr_bad;
	s->nr_msrs = 0;
	for (i = 0; i < nr; i++) {
		if (next_bad < nr_bad && bad[next_bad] == i) {
			next_bad++;
			continue;
		}
		s->msrs[s->nr_msrs].index = batch->entries[i].index;
		s->msrs[s->nr_msrs++].value = batch->entries[i].data;
	}
	return 0;
}

static bool msr_has(struct accel_vcpu *vcpu, const struct vcpu_msr *m)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} one = {.head.nmsrs = 1, .entry.index = m->index};

	return ioctl(vcpu->fd, KVM_GET_MSRS, &one) == 1 &&
	       one.entry.data == m->value;
}

/* An MSR that can't be set is no failure when it has the value already;
 * otherwise it is named in e, and the rest is set. */
static int msrs_set(struct accel_vcpu *vcpu, const struct vcpu_state *s,
		    struct msr_batch *batch, struct error *e)
{
	uint32_t bad[VCPU_MAX_MSRS], i;
	char name[32], names[200] = "";
	int nr_bad, k;

	if (s->nr_msrs > VCPU_MAX_MSRS)
		return error_set(e, -EINVAL, "vCPU %u: %u MSRs are too many",
				 vcpu->index, s->nr_msrs);
	for (i = 0; i < s->nr_msrs; i++)
		batch->entries[i] = (struct kvm_msr_entry){
			.index = s->msrs[i].index, .data = s->msrs[i].value};
	nr_bad = msrs_move(vcpu, KVM_SET_MSRS, batch, s->nr_msrs, bad);
	if (nr_bad < 0)
		return error_errno(e, -nr_bad, "vCPU %u: setting MSRs",
				   vcpu->index);
	for (k = 0; k < nr_bad; k++) {
		size_t used = strlen(names);

		if (msr_has(vcpu, &s->msrs[bad[k]]))
			continue;
		msr_describe(s->msrs[bad[k]].index, name, sizeof(name));
		snprintf(names + used, sizeof(names) - used, "%s%s",
			 used ? ", " : "", name);
	}
	if (names[0])
		error_set(e, 0, "vCPU %u: this host can't restore MSR %s",
			  vcpu->index, names);
	return 0;
}

/* ---- all of it ---- */

static int vector_move(struct accel_vcpu *vcpu, enum accel_dir dir,
		       struct vcpu_state *s, struct error *e)
{
	uint32_t len = vcpu->vm->xsave_len;
	unsigned long request = KVM_GET_XSAVE;
	int ret;

	if (dir == ACCEL_SET && s->xsave_len != len)
		return error_set(e, -EINVAL,
				 "vCPU %u: the vector state has %u bytes, "
				 "this host's %u",
				 vcpu->index, s->xsave_len, len);
	s->xsave_len = len;
	if (dir == ACCEL_SET)
		request = KVM_SET_XSAVE;
	else if (len > sizeof(struct kvm_xsave))
		request = KVM_GET_XSAVE2;
	ret = kvm_ioctl(vcpu->fd, request, s->xsave);
	if (ret)
		error_errno(e, -ret, "vCPU %u: vector state", vcpu->index);
	return ret;
}

struct part {
	const char *name;
	unsigned long get, set;
	size_t offset; /* in struct vcpu_state */
	int cap;       /* 0: always there */
};

#define PART(what, field, get_, set_, cap_)                                    \
	{                                                                      \
		.name = what, .get = get_, .set = set_,                        \
		.offset = offsetof(struct vcpu_state, field), .cap = cap_      \
	}

static const struct part part_mp =
	PART("MP state", mp_state, KVM_GET_MP_STATE, KVM_SET_MP_STATE, 0);
static const struct part part_sregs =
	PART("system registers", sregs, KVM_GET_SREGS, KVM_SET_SREGS, 0);
static const struct part part_lapic =
	PART("LAPIC", lapic, KVM_GET_LAPIC, KVM_SET_LAPIC, 0);
static const struct part part_regs =
	PART("registers", regs, KVM_GET_REGS, KVM_SET_REGS, 0);
static const struct part part_xcrs =
	PART("XCR0", xcrs, KVM_GET_XCRS, KVM_SET_XCRS, KVM_CAP_XCRS);
static const struct part part_debug =
	PART("debug registers", debugregs, KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS,
	     KVM_CAP_DEBUGREGS);
static const struct part part_events =
	PART("events", events, KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS, 0);

static int part_move(struct accel_vcpu *vcpu, enum accel_dir dir,
		     const struct part *part, struct vcpu_state *s,
		     struct error *e)
{
	int ret;

	if (part->cap && !kvm_cap(vcpu->vm, -1, part->cap))
		return 0;
	ret = kvm_ioctl(vcpu->fd, dir == ACCEL_GET ? part->get : part->set,
			(uint8_t *)s + part->offset);
	if (ret)
		error_errno(e, -ret, "vCPU %u: %s %s", vcpu->index,
			    dir == ACCEL_GET ? "reading" : "setting",
			    part->name);
	return ret;
}

static int state_get(struct accel_vcpu *vcpu, struct vcpu_state *s,
		     struct msr_batch *batch, struct error *e)
{
	static const struct part *const order[] = {
		&part_mp,    &part_regs,  &part_sregs, &part_xcrs,
		&part_debug, &part_lapic, &part_events};
	size_t i;
	int ret;

	memset(s, 0, sizeof(*s));
	for (i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		ret = part_move(vcpu, ACCEL_GET, order[i], s, e);
		if (ret)
			return ret;
	}
	ret = vector_move(vcpu, ACCEL_GET, s, e);
	if (ret)
		return ret;
	ret = msrs_get(vcpu, s, batch);
	if (ret)
		return error_errno(e, -ret, "vCPU %u: reading MSRs",
				   vcpu->index);
	ret = ioctl(vcpu->fd, KVM_GET_TSC_KHZ, 0);
	s->tsc_khz = ret > 0 ? (uint64_t)ret : 0;
	return 0;
}

/* Without TSC scaling only the host's own frequency can be set; the guest's
 * clock then runs at the new host's pace, which kvmclock corrects. */
static void tsc_khz_set(struct accel_vcpu *vcpu, uint64_t khz)
{
	int now = ioctl(vcpu->fd, KVM_GET_TSC_KHZ, 0);

	if (khz && now > 0 && (uint64_t)now != khz)
		ioctl(vcpu->fd, KVM_SET_TSC_KHZ, (unsigned long)khz);
}

/* After a triple fault of a guest without paging KVM on AMD (Linux 6.1 at
 * least) runs on with no root for its nested page tables, for ever, since it
 * loads one only when paging changes.  Another CR3 first makes it do so. */
static int reload_paging(struct accel_vcpu *vcpu, struct vcpu_state *s,
			 struct error *e)
{
	int ret;

	s->sregs.cr3 ^= MEM_PAGE_BIT;
	ret = part_move(vcpu, ACCEL_SET, &part_sregs, s, e);
	s->sregs.cr3 ^= MEM_PAGE_BIT;
	return ret;
}

static int state_set(struct accel_vcpu *vcpu, struct vcpu_state *s,
		     struct msr_batch *batch, struct error *e)
{
	static const struct part *const before[] = {
		&part_sregs, &part_lapic, &part_regs, &part_xcrs, &part_debug};
	static const struct part *const after[] = {&part_mp, &part_events};
	size_t i;
	int ret;

	tsc_khz_set(vcpu, s->tsc_khz);
	ret = reload_paging(vcpu, s, e);
	if (ret)
		return ret;
	for (i = 0; i < sizeof(before) / sizeof(before[0]); i++) {
		ret = part_move(vcpu, ACCEL_SET, before[i], s, e);
		if (ret)
			return ret;
	}
	ret = vector_move(vcpu, ACCEL_SET, s, e);
	if (ret)
		return ret;
	ret = msrs_set(vcpu, s, batch, e);
	if (ret)
		return ret;
	for (i = 0; i < sizeof(after) / sizeof(after[0]); i++) {
		ret = part_move(vcpu, ACCEL_SET, after[i], s, e);
		if (ret)
			return ret;
	}
	return 0;
}

int kvm_vcpu_state(struct accel_vcpu *vcpu, enum accel_dir dir,
		   struct vcpu_state *state, struct error *e)
{
	struct msr_batch *batch = calloc(1, sizeof(*batch));
	int ret;

	if (!batch)
		return error_set(e, -ENOMEM, "no memory for vCPU state");
	if (dir == ACCEL_GET)
		ret = state_get(vcpu, state, batch, e);
	else
		ret = state_set(vcpu, state, batch, e);
	free(batch);
	return ret;
}
