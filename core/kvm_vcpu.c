/*
 * Running a vCPU.
 *
 * A kick sets immediate_exit first and then sends a signal whose handler is
 * empty: whether the thread is before, inside or after the ioctl, the next
 * return is KICK.  The flag is cleared only when run() reports the kick.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/error.h"
#include "core/kvm_int.h"

static int kick_signal(void)
{
	return SIGRTMIN + 1;
}

static void on_kick(int sig)
{
	(void)sig;
}

struct accel_vcpu *kvm_vcpu_create(struct accel_vm *vm, unsigned index,
				   struct error *e)
{
	struct accel_vcpu *vcpu = calloc(1, sizeof(*vcpu));
	/* KVM_RUN returns on a signal in any case; other calls go on. */
	struct sigaction act = {.sa_handler = on_kick, .sa_flags = SA_RESTART};
	void *run;

	if (!vcpu) {
		error_set(e, -ENOMEM, "no memory for vCPU %u", index);
		return NULL;
	}
	sigaction(kick_signal(), &act, NULL);
	vcpu->vm = vm;
	vcpu->index = index;
	vcpu->fd = ioctl(vm->fd, KVM_CREATE_VCPU, (unsigned long)index);
	if (vcpu->fd < 0) {
		error_errno(e, errno, "KVM: creating vCPU %u", index);
		goto fail;
	}
	run = mmap(NULL, vm->run_len, PROT_READ | PROT_WRITE, MAP_SHARED,
		   vcpu->fd, 0);
	if (run == MAP_FAILED) {
		error_errno(e, errno, "KVM: run page of vCPU %u", index);
		goto fail;
	}
	vcpu->run = run;
	if (kvm_cpuid_init(vcpu, e))
		goto fail;
	return vcpu;
fail:
	kvm_vcpu_destroy(vcpu);
	return NULL;
}

void kvm_vcpu_destroy(struct accel_vcpu *vcpu)
{
	if (!vcpu)
		return;
	if (vcpu->run)
		munmap(vcpu->run, vcpu->vm->run_len);
	if (vcpu->fd >= 0)
		close(vcpu->fd);
	free(vcpu);
}

void kvm_vcpu_kick(struct accel_vcpu *vcpu)
{
	int tid;

	/* Sequentially consistent: the runner publishes its tid before it
	 * enters the ioctl; either it sees the flag or we see the tid. */
	__atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	tid = __atomic_load_n(&vcpu->tid, __ATOMIC_SEQ_CST);
	if (tid && tid != (int)syscall(SYS_gettid))
		syscall(SYS_tgkill, getpid(), tid, kick_signal());
}

/* The calling thread is this vCPU's: let the kick signal in. */
static void adopt_thread(struct accel_vcpu *vcpu)
{
	int tid = (int)syscall(SYS_gettid);
	sigset_t set;

	if (__atomic_load_n(&vcpu->tid, __ATOMIC_RELAXED) == tid)
		return;
	sigemptyset(&set);
	sigaddset(&set, kick_signal());
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	__atomic_store_n(&vcpu->tid, tid, __ATOMIC_SEQ_CST);
}

/* ---- explaining an end ---- */

static const char *internal_name(uint32_t suberror)
{
	switch (suberror) {
	case KVM_INTERNAL_ERROR_EMULATION:
		return "KVM could not emulate an instruction";
	case KVM_INTERNAL_ERROR_SIMUL_EX:
		return "two exceptions at once";
	case KVM_INTERNAL_ERROR_DELIVERY_EV:
		return "an exit while an event was delivered";
	case KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON:
		return "an exit that KVM does not know";
	default:
		return "internal error";
	}
}

static void explain_insn(const struct kvm_run *run, char *text, size_t len)
{
	uint8_t n = run->emulation_failure.insn_size;
	size_t used = strlen(text);
	unsigned i;

	if (run->internal.suberror != KVM_INTERNAL_ERROR_EMULATION ||
	    run->internal.ndata < 1 ||
	    !(run->emulation_failure.flags &
	      KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES))
		return;
	if (n > sizeof(run->emulation_failure.insn_bytes))
		n = sizeof(run->emulation_failure.insn_bytes);
	if (used < len)
		snprintf(text + used, len - used, ", instruction bytes");
	for (i = 0; i < n; i++) {
		used = strlen(text);
		snprintf(text + used, len - used, " %02x",
			 run->emulation_failure.insn_bytes[i]);
	}
}

static void explain_internal(const struct kvm_run *run, char *text, size_t len)
{
	uint32_t i, n = run->internal.ndata;
	size_t used;

	snprintf(text, len, "%s (suberror %u)",
		 internal_name(run->internal.suberror), run->internal.suberror);
	explain_insn(run, text, len);
	if (run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION)
		return;
	for (i = 0; i < n && i < 16; i++) {
		used = strlen(text);
		snprintf(text + used, len - used, "%s0x%llx",
			 i ? " " : ", data ",
			 (unsigned long long)run->internal.data[i]);
	}
}

static enum accel_exit system_event(const struct kvm_run *run, char *text,
				    size_t len)
{
	snprintf(text, len, "the guest asked for system event %u",
		 run->system_event.type);
	return run->system_event.type == KVM_SYSTEM_EVENT_RESET
		       ? ACCEL_EXIT_SHUTDOWN
		       : ACCEL_EXIT_ERROR;
}

/* ---- running ---- */

/* True when the exit was served and the guest goes on. */
static bool serve(struct kvm_run *run, const struct accel_bus *bus)
{
	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		bus->pio(bus->opaque, run->io.port,
			 (uint8_t *)run + run->io.data_offset, run->io.size,
			 run->io.count, run->io.direction == KVM_EXIT_IO_OUT);
		return true;
	case KVM_EXIT_MMIO:
		bus->mmio(bus->opaque, run->mmio.phys_addr, run->mmio.data,
			  run->mmio.len, run->mmio.is_write);
		return true;
	case KVM_EXIT_IRQ_WINDOW_OPEN:
	case KVM_EXIT_SET_TPR:
		return true;
	default:
		return false;
	}
}

static enum accel_exit explain(struct kvm_run *run, char *text, size_t len)
{
	switch (run->exit_reason) {
	case KVM_EXIT_HLT:
		return ACCEL_EXIT_HLT;
	case KVM_EXIT_DEBUG:
		return ACCEL_EXIT_DEBUG;
	case KVM_EXIT_SHUTDOWN:
		snprintf(text, len, "triple fault");
		return ACCEL_EXIT_SHUTDOWN;
	case KVM_EXIT_SYSTEM_EVENT:
		return system_event(run, text, len);
	case KVM_EXIT_INTERNAL_ERROR:
		explain_internal(run, text, len);
		return ACCEL_EXIT_ERROR;
	case KVM_EXIT_FAIL_ENTRY:
		snprintf(text, len,
			 "the CPU refused to enter the guest (hardware "
			 "reason 0x%llx)",
			 (unsigned long long)
				 run->fail_entry.hardware_entry_failure_reason);
		return ACCEL_EXIT_ERROR;
	default:
		snprintf(text, len,
			 "KVM returned for a reason unknown here "
			 "(%u, hardware 0x%llx)",
			 run->exit_reason,
			 (unsigned long long)run->hw.hardware_exit_reason);
		return ACCEL_EXIT_ERROR;
	}
}

enum accel_exit kvm_vcpu_run(struct accel_vcpu *vcpu,
			     const struct accel_bus *bus, char *text,
			     size_t text_len)
{
	struct kvm_run *run = vcpu->run;

	adopt_thread(vcpu);
	for (;;) {
		int ret = kvm_ioctl(vcpu->fd, KVM_RUN, NULL);

		if (ret == -EINTR) {
			__atomic_store_n(&run->immediate_exit, 0,
					 __ATOMIC_SEQ_CST);
			return ACCEL_EXIT_KICK;
		}
		if (ret == -EAGAIN)
			return ACCEL_EXIT_WAITING;
		if (ret) {
			snprintf(text, text_len, "KVM_RUN failed: %s",
				 strerror(-ret));
			return ACCEL_EXIT_ERROR;
		}
		if (!serve(run, bus))
			return explain(run, text, text_len);
	}
}

uint64_t kvm_vcpu_rip(struct accel_vcpu *vcpu)
{
	struct kvm_regs regs;

	return kvm_ioctl(vcpu->fd, KVM_GET_REGS, &regs) ? 0 : regs.rip;
}
