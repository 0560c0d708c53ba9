# tests/linux/vmm.sh - sourced inside the rig (busybox sh): one way to start a
# Linux guest under either monitor, so that a test or a benchmark names the
# monitor and nothing else.
#
#   vmm_exec MONITOR MB CPUS KERNEL APPEND [DISK[,cache=MODE]]
#
# MONITOR is binnacle or qemu. It replaces the shell by the monitor, so call it
# in a subshell or with &; then $! is the monitor's process. The guest's serial
# line is standard output. The initrd is /initrd; more arguments for the monitor
# are taken from $vmm_extra.

vmm_exec()
{
	local monitor=$1
	shift
	"vmm_exec_$monitor" "$@"
}

vmm_exec_binnacle()
{
	exec binnacle run --headless --mem "${1}M" --cpus "$2" --kernel "$3" \
		--initrd /initrd --append "console=ttyS0 $4" \
		${5:+--disk "$5"} $vmm_extra </dev/null
}

vmm_exec_qemu()
{
	exec qemu-system-x86_64 -accel kvm -M q35 -cpu host -m "$1" -smp "$2" \
		-nodefaults -display none -vga std -serial stdio -no-reboot \
		-kernel "$3" -initrd /initrd -append "console=ttyS0 $4" \
		${5:+-drive "file=$5,if=virtio,format=raw"} \
		-device virtio-rng-pci $vmm_extra </dev/null
}
