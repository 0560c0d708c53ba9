/*
 * NVMe: the admin queue, and one queue for I/O (NVM Express 1.4).  Buffers are
 * pages, so that one PRP entry is enough.
 */
#include "share/guest/guest.h"

#define CLASS	  0x0108
#define ADMIN_LEN 8
#define IO_LEN	  32
#define NSID	  1
#define SIZES	  (6u << 16 | 4u << 20) /* of entries, log 2 */

enum {
	CAP_HIGH = 1,
	CC = 5,
	CSTS = 7,
	AQA = 9,
	ASQ = 10,
	ACQ = 12
}; /* words */
enum { CC_ENABLE = 1, CSTS_READY = 1 };
enum {
	ADMIN_CREATE_SQ = 0x01,
	ADMIN_CREATE_CQ = 0x05,
	ADMIN_IDENTIFY = 0x06,
	ADMIN_SET_FEATURES = 0x09,
	ADMIN_GET_FEATURES = 0x0a
};
enum { FEATURE_WRITE_CACHE = 6, FEATURE_QUEUES = 7 };
enum { IDENTIFY_NAMESPACE = 0, IDENTIFY_CONTROLLER = 1 };
enum { QUEUE_CONTIGUOUS = 1, QUEUE_INTERRUPT = 2 };

struct command {
	uint8_t opcode, flags;
	uint16_t id;
	uint32_t nsid, reserved[2];
	uint64_t metadata, prp[2];
	uint32_t word[6]; /* 10 to 15 */
};

struct completion {
	uint32_t result, reserved;
	uint16_t sq_head, sq;
	uint16_t id, status; /* phase in bit 0 */
};

struct queue {
	struct command *commands;
	volatile struct completion *completions;
	volatile uint32_t *doorbells[2];
	uint16_t len, tail, head, phase;
};

static struct command admin_commands[ADMIN_LEN] __attribute__((aligned(4096)));
static struct completion admin_completions[ADMIN_LEN]
	__attribute__((aligned(4096)));
static struct command io_commands[IO_LEN] __attribute__((aligned(4096)));
static struct completion io_completions[IO_LEN] __attribute__((aligned(4096)));
static uint8_t page[4096] SCRATCH(4096);

static volatile uint32_t *regs;
static struct queue admin = {
	.commands = admin_commands,
	.completions = admin_completions,
	.len = ADMIN_LEN,
	.phase = 1,
};
static struct queue io = {
	.commands = io_commands,
	.completions = io_completions,
	.len = IO_LEN,
	.phase = 1,
};
static bool has_cache;
static int cache_is_on;

/* ---- queues ---- */

static void find_doorbells(struct queue *q, unsigned id)
{
	unsigned stride = regs[CAP_HIGH] & 0xf;

	for (unsigned i = 0; i < 2; i++)
		q->doorbells[i] = regs + 0x1000 / 4 + ((2 * id + i) << stride);
}

static void send(struct queue *q, const struct command *c)
{
	q->commands[q->tail] = *c;
	q->tail = (uint16_t)((q->tail + 1) % q->len);
	compiler_barrier();
	*q->doorbells[0] = q->tail;
}

/* False: there is no answer yet. */
static bool take(struct queue *q, struct completion *answer)
{
	volatile struct completion *at = &q->completions[q->head];

	if ((at->status & 1) != q->phase)
		return false;
	compiler_barrier();
	answer->result = at->result;
	answer->id = at->id;
	answer->status = at->status >> 1;
	q->head = (uint16_t)((q->head + 1) % q->len);
	q->phase ^= !q->head;
	*q->doorbells[1] = q->head;
	return true;
}

/* ---- administration ---- */

static bool command(uint8_t opcode, uint32_t nsid, void *data, uint32_t word10,
		    uint32_t word11, uint32_t *result)
{
	struct command c = {
		.opcode = opcode,
		.nsid = nsid,
		.prp = {(uint64_t)data},
		.word = {word10, word11},
	};
	uint64_t end = timer_ms() + DISK_WAIT_MS;
	struct completion answer;

	send(&admin, &c);
	while (!take(&admin, &answer)) {
		if (timer_ms() > end)
			return false;
		relax();
	}
	if (result)
		*result = answer.result;
	return !answer.status;
}

static bool enable(void)
{
	regs[CC] = 0;
	if (!disk_wait(&regs[CSTS], CSTS_READY, 0))
		return false;
	regs[AQA] = (ADMIN_LEN - 1) << 16 | (ADMIN_LEN - 1);
	regs[ASQ] = (uint32_t)(uint64_t)admin_commands;
	regs[ASQ + 1] = 0;
	regs[ACQ] = (uint32_t)(uint64_t)admin_completions;
	regs[ACQ + 1] = 0;
	regs[CC] = SIZES | CC_ENABLE;
	return disk_wait(&regs[CSTS], CSTS_READY, CSTS_READY);
}

static bool create_queues(void)
{
	uint32_t size = 1 | (IO_LEN - 1) << 16;

	return command(ADMIN_SET_FEATURES, 0, NULL, FEATURE_QUEUES, 0, NULL) &&
	       command(ADMIN_CREATE_CQ, 0, io_completions, size,
		       QUEUE_CONTIGUOUS | QUEUE_INTERRUPT, NULL) &&
	       command(ADMIN_CREATE_SQ, 0, io_commands, size,
		       1 << 16 | QUEUE_CONTIGUOUS, NULL);
}

static bool identify(struct disk_facts *facts)
{
	uint32_t on = 0;

	if (!command(ADMIN_IDENTIFY, 0, page, IDENTIFY_CONTROLLER, 0, NULL))
		return false;
	has_cache = page[525] & 1;
	if (has_cache &&
	    !command(ADMIN_GET_FEATURES, 0, NULL, FEATURE_WRITE_CACHE, 0, &on))
		return false;
	cache_is_on = on & 1;
	if (!command(ADMIN_IDENTIFY, NSID, page, IDENTIFY_NAMESPACE, 0, NULL))
		return false;
	memcpy(&facts->sectors, page, sizeof(facts->sectors));
	/* Its format: blocks of 512 bytes, no metadata. */
	return page[128 + 4 * (page[26] & 15) + 2] == 9;
}

/* ---- the driver ---- */

static bool probe(unsigned nth, struct disk_facts *facts)
{
	const struct pci_device *pci = pci_find_class(CLASS, nth);

	if (!pci)
		return false;
	regs = (volatile uint32_t *)pci_bar(pci->bdf, 0);
	if (!regs)
		return false;
	find_doorbells(&admin, 0);
	find_doorbells(&io, 1);
	facts->slots = DISK_SLOTS;
	facts->can_flush = true;
	facts->by_message = option_number("msix", 1) &&
			    pci_enable_msix(pci->bdf, VECTOR_DISK);
	return enable() && identify(facts) && create_queues();
}

static void submit(unsigned slot, enum disk_op op, uint64_t sector, void *buf,
		   uint32_t len)
{
	static const uint8_t opcodes[] = {
		[DISK_FLUSH] = 0, [DISK_WRITE] = 1, [DISK_READ] = 2};
	struct command c = {
		.opcode = opcodes[op],
		.id = (uint16_t)slot,
		.nsid = NSID,
		.prp = {(uint64_t)buf},
	};

	if (len) {
		c.word[0] = (uint32_t)sector;
		c.word[1] = (uint32_t)(sector >> 32);
		c.word[2] = len / 512 - 1;
	}
	send(&io, &c);
}

static int reap(uint8_t *status)
{
	struct completion answer;

	if (!take(&io, &answer))
		return -1;
	*status = answer.status & 0x7ff ? 1 : 0;
	return answer.id;
}

static int write_cache(void)
{
	return cache_is_on;
}

static bool set_write_cache(bool on)
{
	if (!has_cache || !command(ADMIN_SET_FEATURES, 0, NULL,
				   FEATURE_WRITE_CACHE, on, NULL))
		return false;
	cache_is_on = on;
	return true;
}

const struct disk_driver nvme_driver = {
	.name = "nvme",
	.probe = probe,
	.submit = submit,
	.reap = reap,
	.write_cache = write_cache,
	.set_write_cache = set_write_cache,
};
