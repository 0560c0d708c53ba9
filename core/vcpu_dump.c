#include "core/vcpu_dump.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "core/vcpu_state.h"

#define CR0_PE	    (1ull << 0)
#define CR0_PG	    (1ull << 31)
#define CR4_PSE	    (1ull << 4)
#define CR4_PAE	    (1ull << 5)
#define CR4_LA57    (1ull << 12)
#define EFER_LMA    (1ull << 10)
#define PTE_PRESENT 1ull
#define PTE_LARGE   (1ull << 7)
#define PTE_ADDR    0x000ffffffffff000ull
#define RFLAGS_VM   (1ull << 17)
#define DUMP_INSN   16

/* ---- page tables ---- */

/* Tables of 8-byte entries, nine bits a level, from the level given. */
static int walk_long(const struct vcpu_state *s, struct mem *mem,
		     uint64_t table, int level, uint64_t linear, uint64_t *gpa)
{
	bool pae = !(s->sregs.efer & EFER_LMA);

	for (;; level--) {
		unsigned shift = 12 + 9 * (unsigned)(level - 1);
		uint64_t index = linear >> shift & 0x1ff, pte;

		if (pae && level == 3)
			index &= 3;
		if (dma_read(mem, table + index * 8, &pte, sizeof(pte)))
			return -EFAULT;
		if (!(pte & PTE_PRESENT))
			return -EFAULT;
		if (level == 1 ||
		    (level <= 3 && !(pae && level == 3) && (pte & PTE_LARGE))) {
			uint64_t mask = (1ull << shift) - 1;

			*gpa = (pte & PTE_ADDR & ~mask) | (linear & mask);
			return 0;
		}
		table = pte & PTE_ADDR;
	}
}

static int walk_32(const struct vcpu_state *s, struct mem *mem, uint64_t linear,
		   uint64_t *gpa)
{
	uint64_t at = (s->sregs.cr3 & 0xfffff000) + (linear >> 22 & 0x3ff) * 4;
	uint32_t pte;

	if (dma_read(mem, at, &pte, sizeof(pte)) || !(pte & PTE_PRESENT))
		return -EFAULT;
	if ((s->sregs.cr4 & CR4_PSE) && (pte & PTE_LARGE)) {
		*gpa = (pte & 0xffc00000) | (linear & 0x3fffff);
		return 0;
	}
	at = (pte & 0xfffff000) + (linear >> 12 & 0x3ff) * 4;
	if (dma_read(mem, at, &pte, sizeof(pte)) || !(pte & PTE_PRESENT))
		return -EFAULT;
	*gpa = (pte & 0xfffff000) | (linear & 0xfff);
	return 0;
}

int vcpu_walk(const struct vcpu_state *s, struct mem *mem, uint64_t linear,
	      uint64_t *gpa)
{
	uint64_t cr3 = s->sregs.cr3;

	if (!(s->sregs.cr0 & CR0_PG)) {
		*gpa = (uint32_t)linear;
		return 0;
	}
	if (s->sregs.efer & EFER_LMA)
		return walk_long(s, mem, cr3 & PTE_ADDR,
				 s->sregs.cr4 & CR4_LA57 ? 5 : 4, linear, gpa);
	linear = (uint32_t)linear;
	if (s->sregs.cr4 & CR4_PAE)
		return walk_long(s, mem, cr3 & 0xffffffe0, 3, linear, gpa);
	return walk_32(s, mem, linear, gpa);
}

/* ---- text ---- */

struct out {
	char *text;
	size_t len, used;
};

static void __attribute__((format(printf, 2, 3)))
put(struct out *o, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (o->used >= o->len)
		return;
	va_start(ap, fmt);
	n = vsnprintf(o->text + o->used, o->len - o->used, fmt, ap);
	va_end(ap);
	if (n > 0)
		o->used += (size_t)n;
}

static void put_reg(struct out *o, const char *name, uint64_t value, char end)
{
	put(o, "%-3s %016llx%c", name, (unsigned long long)value, end);
}

static void put_regs(struct out *o, const struct kvm_regs *r)
{
	put_reg(o, "rax", r->rax, ' ');
	put_reg(o, "rbx", r->rbx, ' ');
	put_reg(o, "rcx", r->rcx, '\n');
	put_reg(o, "rdx", r->rdx, ' ');
	put_reg(o, "rsi", r->rsi, ' ');
	put_reg(o, "rdi", r->rdi, '\n');
	put_reg(o, "rbp", r->rbp, ' ');
	put_reg(o, "rsp", r->rsp, ' ');
	put_reg(o, "r8", r->r8, '\n');
	put_reg(o, "r9", r->r9, ' ');
	put_reg(o, "r10", r->r10, ' ');
	put_reg(o, "r11", r->r11, '\n');
	put_reg(o, "r12", r->r12, ' ');
	put_reg(o, "r13", r->r13, ' ');
	put_reg(o, "r14", r->r14, '\n');
	put_reg(o, "r15", r->r15, ' ');
	put_reg(o, "rip", r->rip, ' ');
	put_reg(o, "flg", r->rflags, '\n');
}

static void put_segment(struct out *o, const char *name,
			const struct kvm_segment *g, char end)
{
	put(o, "%s %04x base %08llx limit %08x%c", name, g->selector,
	    (unsigned long long)g->base, g->limit, end);
}

static void put_system(struct out *o, const struct kvm_sregs *r)
{
	put_reg(o, "cr0", r->cr0, ' ');
	put_reg(o, "cr2", r->cr2, ' ');
	put_reg(o, "cr3", r->cr3, '\n');
	put_reg(o, "cr4", r->cr4, ' ');
	put_reg(o, "efr", r->efer, '\n');
	put_segment(o, "cs", &r->cs, ' ');
	put_segment(o, "ss", &r->ss, '\n');
	put_segment(o, "ds", &r->ds, ' ');
	put_segment(o, "es", &r->es, '\n');
	put(o, "gdt %llx+%x idt %llx+%x tr %04x ldt %04x\n",
	    (unsigned long long)r->gdt.base, r->gdt.limit,
	    (unsigned long long)r->idt.base, r->idt.limit, r->tr.selector,
	    r->ldt.selector);
}

static const char *mode_name(const struct vcpu_state *s)
{
	if (!(s->sregs.cr0 & CR0_PE))
		return "real mode";
	if (s->regs.rflags & RFLAGS_VM)
		return "virtual 8086 mode";
	if (s->sregs.efer & EFER_LMA)
		return s->sregs.cs.l ? "64-bit mode" : "compatibility mode";
	return s->sregs.cs.db ? "32-bit protected mode"
			      : "16-bit protected mode";
}

static void put_insn(struct out *o, const struct vcpu_state *s, struct mem *mem)
{
	uint64_t linear = s->regs.rip, gpa;
	unsigned i;

	if (!(s->sregs.efer & EFER_LMA) || !s->sregs.cs.l)
		linear = (uint32_t)(linear + s->sregs.cs.base);
	put(o, "%s, instruction at %llx:", mode_name(s),
	    (unsigned long long)linear);
	for (i = 0; i < DUMP_INSN; i++) {
		uint8_t byte;

		if (vcpu_walk(s, mem, linear + i, &gpa) ||
		    dma_read(mem, gpa, &byte, 1)) {
			put(o, " ??");
			break;
		}
		put(o, " %02x", byte);
	}
	put(o, "\n");
}

void vcpu_dump(const struct vcpu_state *s, struct mem *mem, char *text,
	       size_t len)
{
	struct out o = {.text = text, .len = len};

	if (!len)
		return;
	text[0] = 0;
	put_insn(&o, s, mem);
	put_regs(&o, &s->regs);
	put_system(&o, &s->sregs);
}
