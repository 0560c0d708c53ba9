/*
 * nvme_spec: names for the numbers of NVM Express 1.4 that the controller and
 * its tests use.
 *
 * Thread rule: constants, [any].
 */
#ifndef CORE_HW_STORAGE_NVME_SPEC_H
#define CORE_HW_STORAGE_NVME_SPEC_H

#include <stdint.h>

/* Controller registers (3.1), by offset in BAR 0. */
enum nvme_reg {
	NVME_CAP = 0x00,
	NVME_VS = 0x08,
	NVME_INTMS = 0x0c,
	NVME_INTMC = 0x10,
	NVME_CC = 0x14,
	NVME_CSTS = 0x1c,
	NVME_AQA = 0x24,
	NVME_ASQ = 0x28,
	NVME_ACQ = 0x30,
	NVME_DOORBELLS = 0x1000
};

#define NVME_CC_EN	   (1u << 0)
#define NVME_CC_CSS(cc)	   ((cc) >> 4 & 7)
#define NVME_CC_MPS(cc)	   ((cc) >> 7 & 0xf)
#define NVME_CC_AMS(cc)	   ((cc) >> 11 & 7)
#define NVME_CC_SHN(cc)	   ((cc) >> 14 & 3)
#define NVME_CC_IOSQES(cc) ((cc) >> 16 & 0xf)
#define NVME_CC_IOCQES(cc) ((cc) >> 20 & 0xf)
#define NVME_CC_USED	   0x00fffff1u

#define NVME_CSTS_RDY	    (1u << 0)
#define NVME_CSTS_CFS	    (1u << 1)
#define NVME_CSTS_SHST	    (3u << 2)
#define NVME_CSTS_SHST_BUSY (1u << 2)
#define NVME_CSTS_SHST_DONE (2u << 2)

#define NVME_SQE_LEN 64
#define NVME_CQE_LEN 16
#define NVME_SQE_LOG 6
#define NVME_CQE_LOG 4

/* A command (4.2); what an opcode does with dw10 on is its own. */
struct nvme_cmd {
	uint8_t opcode, flags; /* fused in bits 0-1, PSDT in bits 6-7 */
	uint16_t cid;
	uint32_t nsid;
	uint32_t dw2, dw3;
	uint64_t mptr, prp1, prp2;
	uint32_t dw10, dw11, dw12, dw13, dw14, dw15;
};

/* A completion (4.6); status holds the phase in bit 0. */
struct nvme_cqe {
	uint32_t result, dw1;
	uint16_t sq_head, sqid;
	uint16_t cid, status;
};

enum nvme_admin_opcode {
	NVME_DELETE_SQ = 0x00,
	NVME_CREATE_SQ = 0x01,
	NVME_GET_LOG_PAGE = 0x02,
	NVME_DELETE_CQ = 0x04,
	NVME_CREATE_CQ = 0x05,
	NVME_IDENTIFY = 0x06,
	NVME_ABORT = 0x08,
	NVME_SET_FEATURES = 0x09,
	NVME_GET_FEATURES = 0x0a,
	NVME_ASYNC_EVENT = 0x0c,
	NVME_DOORBELL_BUFFER = 0x7c
};

enum nvme_io_opcode {
	NVME_FLUSH = 0x00,
	NVME_WRITE = 0x01,
	NVME_READ = 0x02,
	NVME_WRITE_ZEROES = 0x08,
	NVME_DSM = 0x09
};

/* Bits of dw12 of commands with a range of blocks. */
#define NVME_RW_FUA	 (1u << 30)
#define NVME_ZEROES_DEAC (1u << 25)
#define NVME_DSM_DEALLOC (1u << 2) /* dw11 */

/* Status: type in bits 8-10, code in bits 0-7 (4.6.1). */
enum nvme_status {
	NVME_OK = 0x000,
	NVME_INVALID_OPCODE = 0x001,
	NVME_INVALID_FIELD = 0x002,
	NVME_DATA_TRANSFER_ERROR = 0x004,
	NVME_INTERNAL_ERROR = 0x006,
	NVME_ABORT_REQUESTED = 0x007,
	NVME_INVALID_NAMESPACE = 0x00b,
	NVME_SEQUENCE_ERROR = 0x00c,
	NVME_PRP_OFFSET = 0x013,
	NVME_WRITE_PROTECTED = 0x020,
	NVME_LBA_RANGE = 0x080,
	NVME_CAPACITY_EXCEEDED = 0x081,
	NVME_CQ_INVALID = 0x100,
	NVME_INVALID_QUEUE_ID = 0x101,
	NVME_INVALID_QUEUE_SIZE = 0x102,
	NVME_EVENT_LIMIT = 0x105,
	NVME_INVALID_VECTOR = 0x108,
	NVME_INVALID_LOG_PAGE = 0x109,
	NVME_INVALID_DELETION = 0x10c,
	NVME_NOT_SAVEABLE = 0x10d,
	NVME_NOT_CHANGEABLE = 0x10e,
	NVME_NOT_NS_SPECIFIC = 0x10f,
	NVME_WRITE_FAULT = 0x280,
	NVME_READ_ERROR = 0x281,
	/* Not on the wire: the drive has it; something else answers. */
	NVME_SUBMIT = 0x10000,
	NVME_LATER = 0x20000
};

#define NVME_STATUS_MORE (1u << 13) /* the error log tells more */
#define NVME_STATUS_DNR	 (1u << 14) /* do not retry */

/* Identify: what is asked for (CNS, 5.15). */
enum nvme_cns {
	NVME_CNS_NS = 0,
	NVME_CNS_CTRL = 1,
	NVME_CNS_NS_LIST = 2,
	NVME_CNS_NS_DESC = 3
};

/* Log pages (5.14.1). */
enum nvme_log {
	NVME_LOG_ERROR = 1,
	NVME_LOG_SMART = 2,
	NVME_LOG_FIRMWARE = 3,
	NVME_LOG_CHANGED_NS = 4,
	NVME_LOG_EFFECTS = 5
};

/* Features (5.21.1). */
enum nvme_feature {
	NVME_FEAT_ARBITRATION = 0x01,
	NVME_FEAT_POWER = 0x02,
	NVME_FEAT_TEMPERATURE = 0x04,
	NVME_FEAT_RECOVERY = 0x05,
	NVME_FEAT_WRITE_CACHE = 0x06,
	NVME_FEAT_QUEUES = 0x07,
	NVME_FEAT_COALESCING = 0x08,
	NVME_FEAT_VECTOR = 0x09,
	NVME_FEAT_ATOMICITY = 0x0a,
	NVME_FEAT_EVENTS = 0x0b
};

/* Asynchronous events (5.2.1): type, and the information of each. */
enum nvme_event_type {
	NVME_EVENT_ERROR = 0,
	NVME_EVENT_SMART = 1,
	NVME_EVENT_NOTICE = 2,
	NVME_NR_EVENT_TYPES = 3
};
#define NVME_EVENT_BAD_DOORBELL	      0
#define NVME_EVENT_BAD_DOORBELL_VALUE 1
#define NVME_EVENT_TEMPERATURE	      1
#define NVME_EVENT_NS_CHANGED	      0

#endif
