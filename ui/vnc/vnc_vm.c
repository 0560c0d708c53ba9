#include "ui/vnc/vnc.h"

#include <stddef.h>

#include "core/vm.h"

int vnc_start_vm(struct vm *vm, struct vnc **out, struct error *e)
{
	const struct vm_config *cfg = vm_config(vm);
	struct vnc_config vnc = {
		.console = vm_console(vm),
		.log = vm_log(vm),
		.name = cfg->name,
		.listen = cfg->vnc,
		.password_file = cfg->vnc_password_file,
	};

	*out = NULL;
	if (!cfg->vnc[0])
		return 0;
	*out = vnc_start(&vnc, e);
	return *out ? 0 : -1;
}
