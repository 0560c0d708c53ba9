/*
 * vm_config: what the machine's builder asks about a machine's description.
 *
 * Loading and parsing are in vm.h, for front ends; here is what decides
 * whether a description can be built, whoever wrote it.
 * Thread rule: data only, [any].
 */
#ifndef CORE_VM_CONFIG_H
#define CORE_VM_CONFIG_H

struct error;
struct vm_config;

/* 0, or -EINVAL with a sentence about what does not fit and what would. */
int config_check(const struct vm_config *cfg, struct error *e);

#endif
