/*
 * The way in.  A PVH loader or the boot sector enters at pvh_entry in 32-bit
 * protected mode, no paging, %ebx pointing to a struct hvm_start_info.  Leaves
 * for start() in long mode with the first 4 GiB mapped one to one.
 */
#define CR0_PG	  0x80000000
#define CR4_PAE	  0x20
#define MSR_EFER  0xc0000080
#define EFER_LME  0x100
#define PTE_TABLE 0x03
#define PTE_LARGE 0x83

	.section .note.pvh, "a", @note
	.balign 4
	.long 4, 8, 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.quad pvh_entry

	.section .text.entry, "ax"
	.code32
	.globl pvh_entry
pvh_entry:
	cli
	cld
	movl $bss_start, %edi
	movl $bss_end, %ecx
	subl %edi, %ecx
	shrl $2, %ecx
	xorl %eax, %eax
	rep stosl
	movl $first_stack_end, %esp

	movl $page_pdpt + PTE_TABLE, page_pml4
	movl $page_pdpt, %edi
	movl $page_directories + PTE_TABLE, %eax
	movl $4, %ecx
1:	movl %eax, (%edi)
	addl $4096, %eax
	addl $8, %edi
	loop 1b
	movl $page_directories, %edi
	movl $PTE_LARGE, %eax
	movl $2048, %ecx
2:	movl %eax, (%edi)
	movl $0, 4(%edi)
	addl $0x200000, %eax
	addl $8, %edi
	loop 2b

	lgdtl gdt_pointer
	call enter_long_mode
	ljmp $0x08, $start_long

/* Used by every CPU: turns paging on; the caller jumps to 64-bit code. */
	.globl enter_long_mode
enter_long_mode:
	movl %cr4, %eax
	orl $CR4_PAE, %eax
	movl %eax, %cr4
	movl $page_pml4, %eax
	movl %eax, %cr3
	movl $MSR_EFER, %ecx
	rdmsr
	orl $EFER_LME, %eax
	wrmsr
	movl %cr0, %eax
	orl $CR0_PG, %eax
	movl %eax, %cr0
	ret

	.code64
start_long:
	movl $0x10, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl $first_stack_end, %esp
	movl %ebx, %edi
	call start
1:	cli
	hlt
	jmp 1b

	.section .data
	.balign 8
	.globl gdt
gdt:	.quad 0
	.quad 0x00af9a000000ffff /* 0x08: 64-bit code */
	.quad 0x00cf92000000ffff /* 0x10: data */
	.quad 0x00cf9a000000ffff /* 0x18: 32-bit code */
gdt_end:
	.balign 8
	.globl gdt_pointer
gdt_pointer:
	.word gdt_end - gdt - 1
	.quad gdt

	.section .bss
	.balign 4096
	.globl page_pml4
page_pml4:
	.skip 4096
	.globl page_pdpt
page_pdpt:
	.skip 4096
	.section .scratch, "aw", @nobits
	.balign 4096
page_directories:
	.skip 4 * 4096
	.skip 16384
first_stack_end:

	.section .note.GNU-stack, "", @progbits
