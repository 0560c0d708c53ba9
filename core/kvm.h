/*
 * kvm: the engine on Linux's KVM, with its in-kernel interrupt chips.
 *
 * Thread rule: as accel.h says.
 */
#ifndef CORE_KVM_H
#define CORE_KVM_H

#include "core/accel.h"

/* Opens /dev/kvm at vm_create; the addresses from KVM_RESERVED_GPA on are the
 * engine's own and must stay free of RAM and devices. */
extern const struct accel_ops kvm_accel;

#define KVM_RESERVED_GPA 0xfeffc000u /* identity map page, then 3 TSS pages */
#define KVM_RESERVED_LEN 0x4000u

#endif
