/*
 * sd_card: an SD memory card (SDHC, SDXC): its command set, its state machine
 * and its block buffer, without the registers of a host controller.  Physical
 * Layer Simplified Specification 3.01.
 *
 * The controller gives commands to sd_card_command, moves data through
 * sd_card_peek/consume and sd_card_room/produce, and submits what
 * sd_card_next_req returns to the drive, from the drive's loop and without the
 * lock; completions go to sd_card_req_done.
 *
 * The card's buffer has two halves: while one is read or programmed the other
 * takes part in the transfer.  A card has no write cache: it stays busy at the
 * end of a write command until all of it is on stable storage.
 *
 * Thread rule: all calls under the lock of the controller (it protects the
 * whole card; its own lock is unused), or with the world stopped.  No call
 * submits to the drive or sleeps.
 */
#ifndef CORE_HW_STORAGE_SD_CARD_H
#define CORE_HW_STORAGE_SD_CARD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "core/blk/drive.h"
#include "core/device.h"

#define SD_BLOCK    512u
#define SD_HALF_LEN 65536u
#define SD_CSD_LEN  16u
#define SD_REG_MAX  64u /* the longest register that goes over DAT */

/* CURRENT_STATE: 4.10.1. */
enum sd_state {
	SD_IDLE,
	SD_READY,
	SD_IDENT,
	SD_STBY,
	SD_TRAN,
	SD_DATA,
	SD_RCV,
	SD_PRG,
	SD_DIS,
	SD_NR_STATES
};

/* What the card is doing with data. */
enum sd_phase {
	SD_QUIET,
	SD_SEND_REGISTER,
	SD_TAKE_REGISTER,
	SD_READ,
	SD_WRITE,
	SD_PROGRAM, /* what is in the buffer, then an erase, then a flush */
	SD_NR_PHASES
};

/* A request to the drive; one of an older epoch answers nobody. */
struct sd_io {
	struct drive_req req;
	struct sd_card *card;
	struct iovec iov;
	uint32_t epoch;
	bool busy;
};

struct sd_half {
	struct sd_io io;
	uint64_t off;	     /* its place on the disk */
	uint32_t len, taken; /* bytes in data; those the host has had */
	uint8_t data[SD_HALF_LEN];
};

struct sd_card {
	struct device dev; /* first */
	struct drive *drive;
	struct loop *io;
	struct device *host; /* the controller, while plugged */
	uint8_t csd[SD_CSD_LEN], cid[16];
	/* Registers. */
	uint8_t state, phase;
	uint32_t status; /* error bits that the next answer tells */
	uint16_t rca;
	bool app, ready;
	bool wide, high_speed;
	bool is_protected;  /* TMP_WRITE_PROTECT of the CSD */
	uint32_t block_len; /* CMD16; data blocks are SD_BLOCK always */
	uint32_t planned;   /* blocks, CMD23; 0: until it is stopped */
	uint32_t written;   /* blocks of the last write, ACMD22 */
	uint32_t erase_first, erase_last;
	bool has_erase_first, has_erase_last;
	/* The transfer. */
	uint8_t reg[SD_REG_MAX];
	uint32_t reg_len, reg_pos;
	uint64_t off, left;	/* host: bytes until the card says no more */
	uint64_t fetch, unread; /* READ: next byte of the disk, how many */
	uint32_t chunk;		/* READ: bytes at a time */
	bool is_bounded;	/* ends by itself when left is 0 */
	uint64_t erase_off, erase_len;
	bool io_failed;
	uint8_t head; /* READ: half that the host reads; else: that it fills */
	/* Not moved: nothing is in flight then. */
	uint32_t epoch;
	unsigned held;
	bool draining;
	struct sd_io extra; /* erase, flush */
	struct sd_half half[2];
	struct device_counter *flushes;
};

enum sd_reply_kind { SD_NO_REPLY, SD_REPLY_SHORT, SD_REPLY_LONG };

struct sd_reply {
	enum sd_reply_kind kind;
	uint32_t value;	  /* short: bits 39..8 */
	uint8_t data[16]; /* long: bits 127..0, the first byte is the highest */
};

/* One command. blocks: how many the host will move in its data phase, 0 when it
 * doesn't know. */
void sd_card_command(struct sd_card *c, uint8_t index, uint32_t arg,
		     uint32_t blocks, struct sd_reply *reply);
/* Power is off: all is forgotten, requests in flight answer nobody. */
void sd_card_power_off(struct sd_card *c);
/* It programs, or has no room for the next block. */
bool sd_card_busy(const struct sd_card *c);
/* And shows that: DAT0 is low, unless it was deselected. */
bool sd_card_pulls_dat0(const struct sd_card *c);
/* The host may send data (true) or receive it; both false: no data phase. */
bool sd_card_receives(const struct sd_card *c);
bool sd_card_sends(const struct sd_card *c);
/* Bytes of a block in this data phase. */
uint32_t sd_card_unit(const struct sd_card *c);
/* The transfer failed in the host's image: told once. */
bool sd_card_take_failure(struct sd_card *c);
/* No more data will come, or be taken: the data phase is over, or stuck. */
bool sd_card_starved(const struct sd_card *c);

/* The next bytes for the host, *len of them (0: none yet). */
const uint8_t *sd_card_peek(struct sd_card *c, uint32_t *len);
/* The host has had n of them. */
void sd_card_consume(struct sd_card *c, uint32_t n);
/* Where the host's next bytes go, *len at most (0: no room yet). */
uint8_t *sd_card_room(struct sd_card *c, uint32_t *len);
/* The host has put n bytes there. */
void sd_card_produce(struct sd_card *c, uint32_t n);

/* A request to submit now, NULL when there is none; each goes to
 * sd_card_req_done. */
struct drive_req *sd_card_next_req(struct sd_card *c);
void sd_card_req_done(struct sd_card *c, struct drive_req *req, int res);

/* ---- between sd_card.c, sd_command.c and sd_register.c ---- */

/* Begins data phases. */
void sd_send_register(struct sd_card *c, uint32_t len);
void sd_take_register(struct sd_card *c, uint32_t len);
void sd_start_read(struct sd_card *c, uint64_t off, uint64_t len, bool bounded,
		   uint32_t blocks);
void sd_start_write(struct sd_card *c, uint64_t off, uint64_t len,
		    bool bounded);
/* Ends the write that goes on, or begins an erase: busy until it is stable. */
void sd_start_program(struct sd_card *c);
/* Forgets the transfer. */
void sd_abort(struct sd_card *c);

/* Fills c->csd and c->cid. 0, or -EINVAL with the reason why a disk of that
 * length can't be a card. */
int sd_identify(struct sd_card *c, uint64_t len, bool readonly,
		struct error *e);
/* SCR (8 bytes), SSR (64 bytes), and the answer of CMD6 (64 bytes) into
 * c->reg. */
void sd_fill_scr(struct sd_card *c);
void sd_fill_ssr(struct sd_card *c);
void sd_switch(struct sd_card *c, uint32_t arg);
/* CMD9: the CSD as it is now. */
void sd_read_csd(const struct sd_card *c, uint8_t *out);
/* CMD27: a new CSD arrived in c->reg; false: it changes what is fixed. */
bool sd_program_csd(struct sd_card *c);
bool sd_is_protected(const struct sd_card *c);

/* Error bits of the card's status: 4.10.1. */
#define SD_OUT_OF_RANGE	   (1u << 31)
#define SD_BLOCK_LEN_ERROR (1u << 29)
#define SD_ERASE_SEQ_ERROR (1u << 28)
#define SD_ERASE_PARAM	   (1u << 27)
#define SD_WP_VIOLATION	   (1u << 26)
#define SD_ILLEGAL_COMMAND (1u << 22)
#define SD_ECC_FAILED	   (1u << 21)
#define SD_ERROR	   (1u << 19)
#define SD_CSD_OVERWRITE   (1u << 16)
#define SD_ERASE_RESET	   (1u << 13)

#endif
