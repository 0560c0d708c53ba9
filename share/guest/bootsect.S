/*
 * Boot sector of demo.img.  Loads the sectors behind it by BIOS extended
 * reads, asks the BIOS for the memory map, builds the start info that a PVH
 * loader would have given, copies the image to 1 MiB and enters it in 32-bit
 * protected mode.  Layout of the disk: 0 this sector, 1 command line, 2... image.
 */
#define LOAD_AT	    0xfe00 /* sector 1 here, so the image is at 0x10000 */
#define IMAGE_AT    0x10000
#define CHUNK	    32 /* sectors a read */
#define CHUNKS	    7
#define IMAGE_BYTES ((CHUNK * CHUNKS - 1) * 512)
#define MEMORY_MAP  0x1000 /* 24 bytes an entry, as in a PVH memory map */
#define MAP_MAX	    64
#define SMAP	    0x534d4150

	.code16
	.section .text, "ax"
	.globl boot_sector
boot_sector:
	cli
	cld
	ljmp $0, $1f
1:	xorw %ax, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	movw $0x7c00, %sp
	sti
	movb %dl, drive

	movw $CHUNKS, %bp
read:	movb $0x42, %ah
	movb drive, %dl
	movw $packet, %si
	int $0x13
	jc failed
	addw $CHUNK * 512 / 16, packet_segment
	addl $CHUNK, packet_lba
	decw %bp
	jnz read

	xorl %ebx, %ebx
	movw $MEMORY_MAP, %di
map:	movl $0xe820, %eax
	movl $20, %ecx
	movl $SMAP, %edx
	movl $0, 20(%di)
	int $0x15
	jc mapped
	cmpl $SMAP, %eax
	jne mapped
	addw $24, %di
	incl start_info_entries
	cmpl $MAP_MAX, start_info_entries
	je mapped
	testl %ebx, %ebx
	jnz map
mapped:
	cli
	inb $0x92, %al
	orb $2, %al
	andb $0xfe, %al
	outb %al, $0x92
	lgdtl gdt_pointer
	movl %cr0, %eax
	orb $1, %al
	movl %eax, %cr0
	ljmpl $0x08, $protected

failed:	movw $message, %si
1:	lodsb
	testb %al, %al
	jz 2f
	movb $0x0e, %ah
	movw $7, %bx
	int $0x10
	jmp 1b
2:	hlt
	jmp 2b

	.code32
protected:
	movl $0x10, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl $IMAGE_AT, %esi
	movl $0x100000, %edi
	movl $IMAGE_BYTES / 4, %ecx
	rep movsl
	movl $start_info, %ebx
	movl $0x100000, %eax
	jmp *%eax

message:
	.asciz "demo guest: the disk can't be read\r\n"
drive:	.byte 0
	.balign 4
packet:	.byte 16, 0
	.word CHUNK
	.word 0
packet_segment:
	.word LOAD_AT / 16
packet_lba:
	.quad 1

	.balign 8
start_info: /* struct hvm_start_info, version 1 */
	.long 0x336ec578, 1, 0, 0
	.quad 0
	.quad LOAD_AT /* command line */
	.quad 0
	.quad MEMORY_MAP
start_info_entries:
	.long 0, 0

	.balign 8
gdt:	.quad 0
	.quad 0x00cf9a000000ffff
	.quad 0x00cf92000000ffff
gdt_pointer:
	.word 23
	.long gdt

	.org 440
	.skip 70 /* disk id and an empty partition table */
	.word 0xaa55

	.section .note.GNU-stack, "", @progbits
