/*
 * nvme_int: what the parts of the NVMe controller share.
 *
 *   nvme.c          registers, PCI function, life, state
 *   nvme_queue.c    rings, doorbells, interrupts
 *   nvme_run.c      the engine on the I/O loop: takes, submits, answers
 *   nvme_prp.c      a command's memory
 *   nvme_admin.c    admin commands, asynchronous events
 *   nvme_identify.c what it says of itself
 *   nvme_features.c Set and Get Features
 *   nvme_log.c      log pages
 *   nvme_io.c       commands of the NVM command set
 *
 * Invariants: a command is taken only when its completion queue has room for
 * its answer and a slot is free, so that an answer never waits.  `held` counts
 * slots that are not free, and those of each queue.  A reset with slots held
 * sets `resetting`: nothing is taken until the last of them has come back,
 * unanswered; CSTS.RDY reads 1 until then.
 *
 * Thread rule: "locked" is dev.lock held, inside the world or with the world
 * stopped; the slots that came back (`done`) belong to the loop.
 */
#ifndef CORE_HW_STORAGE_NVME_INT_H
#define CORE_HW_STORAGE_NVME_INT_H

#include "core/blk/drive.h"
#include "core/hw/pci.h"
#include "core/hw/storage/nvme_spec.h"
#include "core/loop.h"

#define NVME_NR_QUEUES	 17 /* pairs: admin and 16 for I/O */
#define NVME_MAX_ENTRIES 1024
#define NVME_NR_SLOTS	 256
#define NVME_PAGE	 4096u
#define NVME_MDTS	 8 /* 2^8 pages: 1 MiB a command */
#define NVME_MAX_LEN	 ((uint64_t)NVME_PAGE << NVME_MDTS)
#define NVME_MAX_IOV	 ((1 << NVME_MDTS) + 1)
#define NVME_MAX_EVENTS	 4 /* Async Event Requests */
#define NVME_NR_ERRORS	 16
#define NVME_BLOCK	 512u
#define NVME_MAX_RANGES	 256 /* of a Dataset Management */
#define NVME_VENDOR	 0x1af4
#define NVME_DEVICE	 0x10f0
#define NVME_ALL_NS	 0xffffffffu
#define NVME_TEMPERATURE 313 /* kelvin: what the disk always has */

#define NVME_BAR	 0
#define NVME_BAR_LEN	 0x4000
#define NVME_MSIX_OFF	 0x2000
#define NVME_PER_FEATURE 12 /* features 0 to 0xb */

struct nvme;
struct nvme_slot;

/* The step after a drive request: a status, or NVME_SUBMIT for one more. */
typedef enum nvme_status nvme_after_fn(struct nvme *n, struct nvme_slot *s,
				       int res);

struct nvme_slot {
	struct drive_req req;
	struct nvme *n;
	struct nvme_slot *next; /* of the free, taken or done ones */
	struct nvme_sq *sq;	/* NULL: the shutdown's flush */
	struct nvme_cmd cmd;
	uint32_t result;
	nvme_after_fn *after;
	int res;
	unsigned range, nr_ranges; /* Dataset Management */
	int nr_iov;
	struct iovec iov[NVME_MAX_IOV];
};

struct nvme_sq {
	bool is_live;
	uint16_t cqid, len, head, tail;
	uint64_t base;
	uint8_t *host;
	unsigned held;
	struct nvme_slot *deleter; /* waits until held is 0 */
	uint64_t doorbell_addr;	   /* where the engine watches: UINT64_MAX */
};

struct nvme_cq {
	bool is_live, wants_interrupts, phase;
	bool is_full; /* a command waits for room */
	uint16_t vector, len, head, tail;
	uint64_t base;
	uint8_t *host;
	unsigned held;
};

/* An entry of the error log (5.14.1.1). */
struct nvme_error {
	uint64_t nr, lba;
	uint16_t sqid, cid, status;
	uint32_t nsid;
};

struct nvme {
	struct pci_dev pci; /* first */
	struct drive *drive;
	struct loop *io;
	struct loop_fd kick;
	struct nvme_bell *bell;
	struct nvme_slot *slots;	     /* NVME_NR_SLOTS */
	struct nvme_slot *done, **done_tail; /* the loop's */
	struct device_counter *commands, *errors, *kicks, *interrupts;
	bool wce_default;

	/* Locked from here on. */
	struct nvme_slot *free;
	unsigned held;
	bool resetting;
	uint32_t intms, cc, csts, aqa;
	uint64_t asq, acq;
	bool wce;
	struct nvme_sq sqs[NVME_NR_QUEUES];
	struct nvme_cq cqs[NVME_NR_QUEUES];
	uint32_t due; /* completion queues with news, by bit */
	/* The doorbell buffers: where, 0 for none. */
	uint64_t shadow, wishes;
	uint32_t *shadow_host, *wishes_host;

	uint32_t feature[NVME_PER_FEATURE]; /* simple ones, by id */
	uint32_t cold;			    /* under threshold */
	uint32_t vector_alone;		    /* not coalesced, by bit */
	uint16_t nr_granted;		    /* I/O queues */
	uint32_t seen;			    /* I/O opcodes, by bit */
	bool seen_fua, seen_cache;	    /* and features, for people */

	uint16_t waiting[NVME_MAX_EVENTS]; /* cids of event requests */
	uint8_t nr_waiting;
	uint8_t event_due[NVME_NR_EVENT_TYPES]; /* information + 1 */
	bool event_masked[NVME_NR_EVENT_TYPES]; /* until the log is read */
	bool ns_changed;
	uint64_t ns_len; /* bytes, as the guest knows it */

	uint64_t nr_errors;
	struct nvme_error error_log[NVME_NR_ERRORS]; /* a ring */
	uint64_t reads, writes, blocks_read, blocks_written;
	struct iovec scratch[NVME_MAX_IOV]; /* of an admin command */
};

static inline struct nvme *nvme_of(struct device *dev)
{
	return (struct nvme *)(void *)dev;
}

static inline struct mem *nvme_mem(const struct nvme *n)
{
	return n->pci.dev.m->mem;
}

static inline unsigned nvme_sqid(const struct nvme *n, const struct nvme_sq *sq)
{
	return (unsigned)(sq - n->sqs);
}

/* ---- nvme.c ---- */

/* Locked: the controller can't go on (CSTS.CFS) until it is reset. */
void nvme_fatal(struct nvme *n, const char *why);
/* Locked: the last slot of a reset has come back. */
void nvme_drained(struct nvme *n);
/* Locked: do doorbells count?  May commands be taken? */
bool nvme_is_ready(const struct nvme *n);
bool nvme_is_running(const struct nvme *n);

/* ---- nvme_queue.c ---- */

/* Locked: a queue of len entries at base; false: not in RAM. */
bool nvme_sq_open(struct nvme *n, unsigned id, uint64_t base, unsigned len,
		  unsigned cqid);
bool nvme_cq_open(struct nvme *n, unsigned id, uint64_t base, unsigned len,
		  unsigned vector, bool wants_interrupts);
/* Locked: ends it, with nothing held. */
void nvme_sq_close(struct nvme *n, unsigned id);
void nvme_cq_close(struct nvme *n, unsigned id);
/* Locked: host addresses of what was loaded; false: not in RAM. */
bool nvme_queues_map(struct nvme *n);
/* Locked: the doorbell buffers at these pages, 0 for none; false: not in
 * RAM. */
bool nvme_buffers_set(struct nvme *n, uint64_t shadow, uint64_t wishes);

/* Locked: the guest wrote a doorbell register, by its index. */
void nvme_doorbell(struct nvme *n, unsigned index, uint32_t value);
/* Locked: the engine watches the doorbells whose value is in the buffer. */
void nvme_place_doorbells(struct nvme *n);
void nvme_remove_doorbells(struct nvme *n);
/* [any] Wakes the loop. */
void nvme_poke(struct nvme *n);

/* Locked, on the loop: is there a command?  When there is none, the guest is
 * asked to ring for the next one, unless an answer that is due soon looks. */
bool nvme_sq_pending(struct nvme *n, struct nvme_sq *sq);
/* Locked: takes the next command, which is there. */
void nvme_sq_pop(struct nvme_sq *sq, struct nvme_cmd *cmd);
/* Locked: can one more answer be promised? */
bool nvme_cq_has_room(struct nvme *n, struct nvme_cq *cq);
/* Locked: an answer. */
void nvme_post(struct nvme *n, struct nvme_sq *sq, uint16_t cid,
	       unsigned status, uint32_t result);
/* Locked: interrupts for what was posted; and the pin as it is to be. */
void nvme_interrupt(struct nvme *n);
void nvme_pin(struct nvme *n);

/* ---- nvme_run.c ---- */

/* 0 or -ENOMEM: slots, and what wakes the loop for slots that came back. */
int nvme_slots_init(struct nvme *n);
void nvme_slots_fini(struct nvme *n);
/* On the loop, unlocked: everything there is to do; without `take` only for
 * slots that came back. */
void nvme_run(struct nvme *n, bool take);
/* Locked: a slot of a deletion that a reset overtook. */
void nvme_slot_free(struct nvme *n, struct nvme_slot *s);

/* ---- nvme_prp.c ---- */

/* Appends the host pieces of a command's len bytes to iov (room for
 * NVME_MAX_IOV; len at most NVME_MAX_LEN) and stores how many. */
enum nvme_status nvme_map(struct nvme *n, const struct nvme_cmd *cmd,
			  uint64_t len, bool to_guest, struct iovec *iov,
			  int *nr);
/* Locked: len bytes of buf to the command's memory, room bytes in all. */
enum nvme_status nvme_store(struct nvme *n, const struct nvme_cmd *cmd,
			    const void *buf, uint64_t len, uint64_t room);

/* ---- commands ---- */

/* Locked, on the loop: a status, NVME_SUBMIT when the slot goes to the drive,
 * NVME_LATER when it is answered by other means. */
enum nvme_status nvme_admin(struct nvme *n, struct nvme_slot *s);
enum nvme_status nvme_io(struct nvme *n, struct nvme_slot *s);
enum nvme_status nvme_identify(struct nvme *n, struct nvme_slot *s);
enum nvme_status nvme_set_features(struct nvme *n, struct nvme_slot *s);
enum nvme_status nvme_get_features(struct nvme *n, struct nvme_slot *s);
enum nvme_status nvme_get_log(struct nvme *n, struct nvme_slot *s);

/* What the log of effects says of an opcode (5.14.1.5); 0: not supported. */
uint8_t nvme_admin_effects(uint8_t opcode);
uint8_t nvme_io_effects(uint8_t opcode);
/* Makes the slot's request a flush; an nvme_after_fn for requests that end
 * with their status. */
enum nvme_status nvme_flush(struct nvme_slot *s);
/* Locked: features as they are after a reset. */
void nvme_features_reset(struct nvme *n);
/* Locked: bits of SMART's critical warning. */
uint8_t nvme_warnings(const struct nvme *n);
/* Locked: remembers a command that failed. */
void nvme_log_error(struct nvme *n, const struct nvme_slot *s, unsigned status);
/* Locked: something to tell, and the telling, when the guest asked for it. */
void nvme_event(struct nvme *n, enum nvme_event_type type, unsigned info);
void nvme_events_send(struct nvme *n);
/* Locked: looks whether the disk has another length now. */
void nvme_look_at_length(struct nvme *n);

#endif
