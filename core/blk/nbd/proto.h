/*
 * proto: the numbers of the NBD protocol (doc/proto.md of the NBD project,
 * section "Values").
 *
 * Thread rule: constants and pure functions.
 */
#ifndef CORE_BLK_NBD_PROTO_H
#define CORE_BLK_NBD_PROTO_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define NBD_MAGIC	  0x4e42444d41474943ull /* "NBDMAGIC" */
#define NBD_OPTION_MAGIC  0x49484156454f5054ull /* "IHAVEOPT" */
#define NBD_REPLY_MAGIC	  0x0003e889045565a9ull
#define NBD_REQUEST_MAGIC 0x25609513u
#define NBD_SIMPLE_MAGIC  0x67446698u
#define NBD_CHUNK_MAGIC	  0x668e33efu
#define NBD_REQUEST_LEN	  28
#define NBD_DATA_MAX	  (32u << 20) /* of a request */
#define NBD_CONTEXT	  "base:allocation"
#define NBD_CONTEXT_ID	  1u

enum { NBD_FIXED_NEWSTYLE = 1, NBD_NO_ZEROES = 2 };

enum nbd_option {
	NBD_OPT_EXPORT_NAME = 1,
	NBD_OPT_ABORT,
	NBD_OPT_LIST,
	NBD_OPT_PEEK_EXPORT,
	NBD_OPT_STARTTLS,
	NBD_OPT_INFO,
	NBD_OPT_GO,
	NBD_OPT_STRUCTURED_REPLY,
	NBD_OPT_LIST_META_CONTEXT,
	NBD_OPT_SET_META_CONTEXT
};

#define NBD_REP_ERROR 0x80000000u
enum nbd_reply {
	NBD_REP_ACK = 1,
	NBD_REP_SERVER,
	NBD_REP_INFO,
	NBD_REP_META_CONTEXT
};
#define NBD_REP_ERR_UNSUP   (NBD_REP_ERROR + 1)
#define NBD_REP_ERR_POLICY  (NBD_REP_ERROR + 2)
#define NBD_REP_ERR_INVALID (NBD_REP_ERROR + 3)
#define NBD_REP_ERR_UNKNOWN (NBD_REP_ERROR + 6)
#define NBD_REP_ERR_TOO_BIG (NBD_REP_ERROR + 9)

enum nbd_info {
	NBD_INFO_EXPORT,
	NBD_INFO_NAME,
	NBD_INFO_DESCRIPTION,
	NBD_INFO_BLOCK_SIZE
};

/* Of an export, in the transmission phase. */
enum {
	NBD_FLAG_HAS_FLAGS = 1,
	NBD_FLAG_READ_ONLY = 2,
	NBD_FLAG_FLUSH = 4,
	NBD_FLAG_FUA = 8,
	NBD_FLAG_TRIM = 32,
	NBD_FLAG_WRITE_ZEROES = 64,
	NBD_FLAG_DF = 128,
	NBD_FLAG_MULTI_CONN = 256,
	NBD_FLAG_CACHE = 1024,
	NBD_FLAG_FAST_ZERO = 2048
};

enum nbd_command {
	NBD_CMD_READ,
	NBD_CMD_WRITE,
	NBD_CMD_DISC,
	NBD_CMD_FLUSH,
	NBD_CMD_TRIM,
	NBD_CMD_CACHE,
	NBD_CMD_WRITE_ZEROES,
	NBD_CMD_BLOCK_STATUS,
	NBD_NR_COMMANDS
};

enum {
	NBD_CMD_FUA = 1,
	NBD_CMD_NO_HOLE = 2,
	NBD_CMD_DF = 4,
	NBD_CMD_REQ_ONE = 8,
	NBD_CMD_FAST_ZERO = 16
};

enum nbd_chunk {
	NBD_CHUNK_NONE,
	NBD_CHUNK_DATA,
	NBD_CHUNK_HOLE,
	NBD_CHUNK_STATUS = 5,
	NBD_CHUNK_ERROR = 0x8001
};
#define NBD_CHUNK_DONE 1

enum { NBD_STATE_HOLE = 1, NBD_STATE_ZERO = 2 };

/* Big-endian numbers at any address; put returns what is behind. */
static inline uint16_t nbd_get16(const void *p)
{
	uint16_t n;

	memcpy(&n, p, sizeof(n));
	return be16toh(n);
}

static inline uint32_t nbd_get32(const void *p)
{
	uint32_t n;

	memcpy(&n, p, sizeof(n));
	return be32toh(n);
}

static inline uint64_t nbd_get64(const void *p)
{
	uint64_t n;

	memcpy(&n, p, sizeof(n));
	return be64toh(n);
}

static inline uint8_t *nbd_put16(void *p, uint16_t n)
{
	n = htobe16(n);
	return (uint8_t *)memcpy(p, &n, sizeof(n)) + sizeof(n);
}

static inline uint8_t *nbd_put32(void *p, uint32_t n)
{
	n = htobe32(n);
	return (uint8_t *)memcpy(p, &n, sizeof(n)) + sizeof(n);
}

static inline uint8_t *nbd_put64(void *p, uint64_t n)
{
	n = htobe64(n);
	return (uint8_t *)memcpy(p, &n, sizeof(n)) + sizeof(n);
}

#endif
