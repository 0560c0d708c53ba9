/*
 * The demo guest: what its parts promise each other.
 *
 * A bare-metal program in long mode with one-to-one 2 MiB pages, integer
 * instructions only, hardware interrupts only.  Unlike the rest of the project
 * it keeps its state in globals: there is one machine.  CPU 0 does everything
 * that talks (serial, screen, disk, keys); the other CPUs only dirty memory.
 * Interrupt handlers set flags and fill rings; the work is done in main.c's
 * loop.  Modes, keys and the lines on serial are in README.md.
 */
#ifndef SHARE_GUEST_GUEST_H
#define SHARE_GUEST_GUEST_H
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "share/guest/cpu.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define PAGE	      4096ul
#define MIB	      (1ul << 20)
#define CPU_MAX	      16
#define SCREEN_COLS   80
#define SCREEN_ROWS   25

/* Memory that nobody clears at the start: the section is bss by another name,
 * behind what boot.S fills. */
#define SCRATCH(align)                                                         \
	__attribute__((section(".scratch,\"aw\",@nobits#"), aligned(align)))

/* text.c: strings, and the serial line's printf. */
void *memcpy(void *to, const void *from, size_t len);
void *memset(void *to, int byte, size_t len);
int memcmp(const void *a, const void *b, size_t len);
size_t strlen(const char *text);
bool text_equal(const char *a, const char *b, size_t len);
/* %c %s %u %x %lu %lx with a width and 0; returns the length, NUL included
 * only in the buffer. */
int text_format(char *buf, size_t size, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
int text_vformat(char *buf, size_t size, const char *fmt, va_list args);

/* serial.c: COM1.  Lines end in \r\n. */
void serial_init(void);
void serial_write(const char *text, size_t len);
void serial_listen(void); /* needs interrupt_init() */
int serial_read(void);	  /* a byte, or -1 */
void print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* option.c: the command line, words of name or name=value. */
void option_init(const char *command_line);
const char *option_line(void);
/* The value of the last word of that name; NULL when there is none. */
const char *option_text(const char *name);
uint64_t option_number(const char *name, uint64_t otherwise);
/* Is word one of the comma-separated words of the option's value? */
bool option_has(const char *name, const char *word);

/* memory.c: RAM from the loader's map, pages mapped one to one. */
struct memory_entry { /* as in the PVH memory map */
	uint64_t address;
	uint64_t size;
	uint32_t type; /* 1 is RAM */
	uint32_t reserved;
};
void memory_init(const struct memory_entry *map, unsigned nr);
/* Makes [address, address + len) accessible; the first 4 GiB always are. */
bool memory_map(uint64_t address, uint64_t len);
uint64_t memory_ram_pages(void);	  /* of RAM that the guest can dirty */
uint64_t memory_ram_page(uint64_t index); /* address of the index-th of them */
uint64_t memory_low_end(void);	   /* first address past RAM below 4 GiB */
uint32_t *memory_page_table(void); /* a number per page, for dirty.c; zeroed */

/* acpi.c: tables by signature, and what three of them say. */
struct acpi_info {
	uint16_t pm1a_control; /* 0: none */
	uint8_t s5_type;
	uint8_t reset_space, reset_value; /* space 1: I/O port */
	uint64_t reset_address;		  /* 0: none */
	uint64_t ioapic, ecam;		  /* addresses, 0: none */
	unsigned nr_cpus;
	uint8_t cpu_apic[CPU_MAX];
	uint32_t isa_gsi[16];
	uint16_t isa_flags[16]; /* MPS INTI flags */
};
extern struct acpi_info acpi;
void acpi_init(uint64_t rsdp); /* 0: looks for it below 1 MiB */

/* interrupt.c: the descriptor table, PIC and IOAPIC. */
struct frame {
	uint64_t r11, r10, r9, r8, rdi, rsi, rdx, rcx, rax;
	uint64_t vector, error, rip, cs, rflags, rsp, ss;
};
enum { VECTOR_ISA = 32, VECTOR_TIMER = 48, VECTOR_DISK, VECTOR_SPURIOUS = 63 };
void interrupt_init(void); /* on CPU 0, once */
void interrupt_load(void); /* on each CPU */
void interrupt_route_isa(unsigned irq, void (*handler)(void));
void interrupt_set_handler(unsigned vector, void (*handler)(void));
/* Returns when this CPU had an interrupt since the last return. */
void interrupt_wait(void);
void interrupt_dispatch(struct frame *frame);

/* timer.c: the local APIC, its tick, and time by the TSC. */
void timer_init(void);	   /* CPU 0: measures, starts the tick */
void timer_init_cpu(void); /* the others */
uint64_t timer_ms(void);   /* since timer_init() */
unsigned timer_hz(void);
uint64_t timer_ticks(void); /* of CPU 0 */
uint32_t lapic_read(unsigned reg);
void lapic_write(unsigned reg, uint32_t value);
unsigned lapic_id(void);
void lapic_enable(void); /* before anything else of it is set */

/* pci.c: configuration space by 0xCF8; addresses are bus << 8 | devfn. */
struct pci_device {
	uint16_t bdf, vendor, device;
	uint16_t class; /* base class << 8 | subclass */
};
uint32_t pci_read(uint16_t bdf, unsigned offset, unsigned bytes);
void pci_write(uint16_t bdf, unsigned offset, unsigned bytes, uint32_t value);
void pci_init(void); /* scans; places BARs that the firmware left empty */
const struct pci_device *pci_find(uint16_t vendor, uint16_t device,
				  unsigned nth);
const struct pci_device *pci_find_class(uint16_t class, unsigned nth);
uint64_t pci_bar(uint16_t bdf, unsigned bar);	/* mapped address, 0: none */
uint16_t pci_ports(uint16_t bdf, unsigned bar); /* the first, 0: none */
unsigned pci_capability(uint16_t bdf, uint8_t id, unsigned after);
/* Routes the device's only message, or its MSI-X entry 0, to a vector of CPU 0;
 * false: it can't. */
bool pci_enable_msi(uint16_t bdf, unsigned vector);
bool pci_enable_msix(uint16_t bdf, unsigned vector);

/* A driver of disks on one bus; it has one disk at a time, and a file. */
#define DISK_SLOTS   16	   /* requests at a time, at most */
#define DISK_WAIT_MS 10000 /* for an answer */
enum disk_op { DISK_READ, DISK_WRITE, DISK_FLUSH };
struct disk_facts {
	uint64_t sectors; /* of 512 bytes */
	unsigned slots;	  /* requests at a time, 1 to DISK_SLOTS */
	bool can_flush;	  /* false: an answered write is stable */
	bool by_message;  /* answers come by MSI or MSI-X */
};
struct disk_driver {
	const char *name; /* of the bus, as in `bus=` */
	/* Readies the nth disk of the bus; false: there is none. */
	bool (*probe)(unsigned nth, struct disk_facts *facts);
	/* In slot 0 ... slots - 1; buf is a page, len up to PAGE. */
	void (*submit)(unsigned slot, enum disk_op op, uint64_t sector,
		       void *buf, uint32_t len);
	/* A finished slot and its status (0 is good), or -1. */
	int (*reap)(uint8_t *status);
	/* Optional.  1 on, 0 off, -1 the device does not say. */
	int (*write_cache)(void);
	/* Optional.  Nothing may be in flight. */
	bool (*set_write_cache)(bool on);
};
extern const struct disk_driver virtio_blk_driver, ahci_driver, ide_driver;
extern const struct disk_driver virtio_scsi_driver, nvme_driver, sdhci_driver;

/* disk.c: the disk that the options choose; calls as the driver has them. */
bool disk_init(void);
const char *disk_bus(void); /* "none" when there is no disk */
const struct disk_facts *disk_facts(void);
int disk_write_cache(void);
bool disk_set_write_cache(bool on);
void disk_submit(unsigned slot, enum disk_op op, uint64_t sector, void *buf,
		 uint32_t len);
int disk_reap(uint8_t *status);
/* Until the register's bits of mask are value; false: they never were. */
bool disk_wait(volatile uint32_t *reg, uint32_t mask, uint32_t value);

/* record.c: numbered records on the disk. */
void record_init(void);
void record_find(void); /* scans: `disk found=` */
void record_work(void); /* called often while writing is on */
void record_set_writing(bool on);
bool record_is_writing(void);
/* When every request was answered; false: one never was, or there's no disk. */
bool record_set_cache(bool on);
uint64_t record_written(void);
uint64_t record_found(void);
uint64_t record_flushed(void);

/* dirty.c: pages that carry a sequence number and a checksum. */
void dirty_init(void);
void dirty_work(unsigned cpu); /* called once a tick on each CPU */
void dirty_set_on(bool on);
bool dirty_is_on(void);
void dirty_change_rate(int direction); /* doubles or halves */
void dirty_change_span(int direction);
uint64_t dirty_rate(void);	    /* pages a second, all CPUs */
uint64_t dirty_span(void);	    /* pages */
uint64_t dirty_count(void);	    /* pages written since the start */
uint64_t dirty_sum(void);	    /* of the checksums that memory must hold */
bool dirty_verify(uint64_t *pages); /* prints `verify ...` */
bool dirty_break_page(void);	    /* so that a verification fails */
uint64_t dirty_cpu_count(unsigned cpu);
/* A number that changes when pages in the part-th of nr parts are written. */
uint64_t dirty_part_mark(unsigned part, unsigned nr);

/* smp.c: the other CPUs. */
struct cpu {
	unsigned index; /* first: smp_index() reads it through %gs */
	uint8_t apic_id;
	volatile bool online, woken;
	volatile bool parked;
	volatile uint64_t ticks;
};
extern struct cpu cpus[CPU_MAX];
extern unsigned nr_cpus; /* that run, CPU 0 included */
void smp_init(void);
unsigned smp_index(void);
void smp_park(bool park); /* returns when every other CPU has obeyed */
void smp_cpu_main(void);

/* vga.c: the screen's memory.  screen.c: text cells in either mode. */
bool vga_set_graphics(bool on); /* false: there is no such device */
bool vga_is_graphics(void);
void vga_fill(unsigned x, unsigned y, unsigned w, unsigned h, uint32_t rgb);
void vga_glyph(unsigned col, unsigned row, char c, uint32_t fore,
	       uint32_t back);
void screen_clear(void);
bool screen_set_graphics(bool on); /* false: text instead */
/* attr is a VGA attribute byte; cells that do not change cost nothing. */
void screen_text(unsigned row, unsigned col, uint8_t attr, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
void screen_cell(unsigned row, unsigned col, uint8_t attr, char c);
extern const uint8_t font_rows[95][7]; /* 5 bits a row, from ' ' to '~' */

/* panel.c: what the screen shows. */
void panel_draw(void);
void panel_beat(void);
void panel_animate(void);
void panel_verified(bool ok, uint64_t pages);
void panel_key(const char *code, const char *name);

/* keyboard.c: PS/2 set 1 through the i8042, and its meaning. */
void keyboard_init(void);
/* The next press: true, its scan code (0x100 | code after 0xe0), character. */
bool keyboard_read(unsigned *scancode, char *c);

/* power.c: ways to end. */
void power_off(void) __attribute__((noreturn));
void power_exit(uint8_t code) __attribute__((noreturn));
void power_reset(void) __attribute__((noreturn));
void power_triple_fault(void) __attribute__((noreturn));
void power_panic(const struct frame *frame) __attribute__((noreturn));

/* wild.c: accesses that nothing answers. */
void wild_run(void);

/* main.c */
extern uint64_t beat_count;
void guest_main(void) __attribute__((noreturn));
#endif
