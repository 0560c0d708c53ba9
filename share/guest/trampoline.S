/*
 * Where a secondary CPU wakes: copied to TRAMPOLINE_AT below 1 MiB, started in
 * real mode by the start-up IPI.  Leaves for smp_cpu_main() on smp_boot_stack.
 */
#define TRAMPOLINE_AT 0x8000

	.section .rodata
	.code16
	.globl trampoline, trampoline_end
trampoline:
	cli
	cld
	xorw %ax, %ax
	movw %ax, %ds
	lgdtl TRAMPOLINE_AT + (pointer - trampoline)
	movl %cr0, %eax
	orb $1, %al
	movl %eax, %cr0
	ljmpl $0x18, $cpu_protected
	.balign 4
pointer:
	.word 4 * 8 - 1
	.long gdt
trampoline_end:

	.section .text
	.code32
cpu_protected:
	movl $0x10, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl smp_boot_stack, %esp
	call enter_long_mode
	ljmp $0x08, $cpu_long

	.code64
cpu_long:
	movl $0x10, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movq smp_boot_stack, %rsp
	call smp_cpu_main
1:	cli
	hlt
	jmp 1b

	.section .note.GNU-stack, "", @progbits
