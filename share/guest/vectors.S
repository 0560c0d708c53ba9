/*
 * Entries of the interrupt descriptor table: one 16-byte stub per vector, all
 * leading to interrupt_dispatch(struct frame *).  Hardware interrupts and
 * exceptions only: the guest must run where `int n` can't.
 */
#define VECTORS 64

	.section .text
	.balign 16
	.globl vector_stubs
vector_stubs:
	.set vector, 0
	.rept VECTORS
	.balign 16
	.if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17)
	pushq $0 /* where the CPU pushes no error code */
	.endif
	pushq $vector
	jmp common
	.set vector, vector + 1
	.endr

common:
	pushq %rax
	pushq %rcx
	pushq %rdx
	pushq %rsi
	pushq %rdi
	pushq %r8
	pushq %r9
	pushq %r10
	pushq %r11
	cld
	movq %rsp, %rdi
	call interrupt_dispatch
	popq %r11
	popq %r10
	popq %r9
	popq %r8
	popq %rdi
	popq %rsi
	popq %rdx
	popq %rcx
	popq %rax
	addq $16, %rsp
	iretq

	.section .note.GNU-stack, "", @progbits
