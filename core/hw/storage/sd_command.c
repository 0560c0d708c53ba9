/*
 * The card's commands: chapter 4.  A table says in which states each is legal;
 * what is not answered is remembered as an illegal command.
 */
#include <string.h>

#include "core/hw/storage/sd_card.h"

#define OCR_VOLTAGES 0x00ff8000u
#define OCR_HIGH     (1u << 30)
#define OCR_READY    (1u << 31)

#define STATUS_READY_FOR_DATA (1u << 8)
#define STATUS_APP	      (1u << 5)

#define IF_COND_VOLTAGE 0x100u /* 2.7 to 3.6 V */

#define IN(state) (1u << (state))
#define ANY	  0x1ffu

enum outcome {
	ILLEGAL, /* no answer */
	SILENT,	 /* obeyed without an answer */
	R1,	 /* the status */
	SHORT,	 /* what the handler put into the answer */
	LONG
};

struct call {
	uint32_t arg;
	uint32_t blocks; /* that the host will move, 0: it doesn't know */
	struct sd_reply *reply;
};

struct command {
	uint8_t index;
	uint16_t states;
	enum outcome (*run)(struct sd_card *c, const struct call *k);
};

static bool is_addressed(const struct sd_card *c, uint32_t arg)
{
	return arg >> 16 == c->rca;
}

/* ---- identification ---- */

static enum outcome go_idle(struct sd_card *c, const struct call *k)
{
	(void)k;
	sd_card_power_off(c);
	return SILENT;
}

static enum outcome all_send_cid(struct sd_card *c, const struct call *k)
{
	memcpy(k->reply->data, c->cid, sizeof(c->cid));
	c->state = SD_IDENT;
	return LONG;
}

static uint32_t status_of(const struct sd_card *c)
{
	uint32_t status = c->status | (uint32_t)c->state << 9;

	if (!sd_card_busy(c))
		status |= STATUS_READY_FOR_DATA;
	if (c->app)
		status |= STATUS_APP;
	return status;
}

static enum outcome send_address(struct sd_card *c, const struct call *k)
{
	uint32_t status = status_of(c);

	c->rca = (uint16_t)(c->rca + 0x1234);
	if (!c->rca)
		c->rca = 0x1234;
	c->state = SD_STBY;
	k->reply->value = (uint32_t)c->rca << 16 | (status >> 8 & 0xc000) |
			  (status >> 6 & 0x2000) | (status & 0x1fff);
	return SHORT;
}

static enum outcome send_if_cond(struct sd_card *c, const struct call *k)
{
	(void)c;
	if ((k->arg & 0xf00) != IF_COND_VOLTAGE)
		return ILLEGAL;
	k->reply->value = k->arg & 0xfff;
	return SHORT;
}

/* A host that doesn't know of high capacity is kept waiting: 4.2.3. */
static enum outcome send_op_cond(struct sd_card *c, const struct call *k)
{
	if ((k->arg & OCR_VOLTAGES) && (k->arg & OCR_HIGH)) {
		c->ready = true;
		c->state = SD_READY;
	}
	k->reply->value = OCR_VOLTAGES;
	if (c->ready)
		k->reply->value |= OCR_READY | OCR_HIGH;
	return SHORT;
}

/* ---- addressing ---- */

static enum outcome deselect(struct sd_card *c)
{
	if (c->state == SD_PRG)
		c->state = SD_DIS;
	else if (c->state == SD_TRAN || c->state == SD_DATA) {
		sd_abort(c);
		c->state = SD_STBY;
	}
	return SILENT;
}

static enum outcome select_card(struct sd_card *c, const struct call *k)
{
	if (!is_addressed(c, k->arg))
		return deselect(c);
	if (c->state == SD_STBY)
		c->state = SD_TRAN;
	else if (c->state == SD_DIS)
		c->state = SD_PRG;
	else
		return ILLEGAL;
	return R1;
}

static enum outcome send_csd(struct sd_card *c, const struct call *k)
{
	if (!is_addressed(c, k->arg))
		return SILENT;
	sd_read_csd(c, k->reply->data);
	return LONG;
}

static enum outcome send_cid(struct sd_card *c, const struct call *k)
{
	if (!is_addressed(c, k->arg))
		return SILENT;
	memcpy(k->reply->data, c->cid, sizeof(c->cid));
	return LONG;
}

static enum outcome send_status(struct sd_card *c, const struct call *k)
{
	return is_addressed(c, k->arg) ? R1 : SILENT;
}

/* ---- transfers ---- */

static enum outcome switch_function(struct sd_card *c, const struct call *k)
{
	sd_switch(c, k->arg);
	sd_send_register(c, 64);
	return R1;
}

static enum outcome stop(struct sd_card *c, const struct call *k)
{
	(void)k;
	if (c->phase == SD_WRITE) {
		sd_start_program(c);
	} else {
		sd_abort(c);
		c->state = SD_TRAN;
	}
	return R1;
}

static enum outcome set_block_len(struct sd_card *c, const struct call *k)
{
	if (k->arg > SD_BLOCK)
		c->status |= SD_BLOCK_LEN_ERROR;
	else
		c->block_len = k->arg;
	return R1;
}

static enum outcome set_block_count(struct sd_card *c, const struct call *k)
{
	c->planned = k->arg;
	return R1;
}

/* The range of a transfer that begins at block arg; false: it leaves the card.
 * A multiple transfer of no given length may go to the end. */
static bool range(struct sd_card *c, uint32_t arg, bool multiple, uint64_t *off,
		  uint64_t *len)
{
	uint64_t nr = drive_len(c->drive) / SD_BLOCK, want = 1;

	if (multiple)
		want = c->planned ? c->planned : nr - (arg < nr ? arg : nr);
	if (arg >= nr || want > nr - arg) {
		c->status |= SD_OUT_OF_RANGE;
		return false;
	}
	*off = (uint64_t)arg * SD_BLOCK;
	*len = want * SD_BLOCK;
	return true;
}

static void read_blocks(struct sd_card *c, uint32_t arg, bool multiple,
			uint32_t blocks)
{
	uint64_t off, len;

	if (!range(c, arg, multiple, &off, &len))
		return;
	sd_abort(c);
	sd_start_read(c, off, len, !multiple || c->planned, blocks);
}

static void write_blocks(struct sd_card *c, uint32_t arg, bool multiple)
{
	uint64_t off, len;

	if (!range(c, arg, multiple, &off, &len))
		return;
	if (sd_is_protected(c)) {
		c->status |= SD_WP_VIOLATION;
		return;
	}
	sd_abort(c);
	sd_start_write(c, off, len, !multiple || c->planned);
}

static enum outcome read_single(struct sd_card *c, const struct call *k)
{
	read_blocks(c, k->arg, false, k->blocks);
	return R1;
}

static enum outcome read_multiple(struct sd_card *c, const struct call *k)
{
	read_blocks(c, k->arg, true, k->blocks);
	return R1;
}

static enum outcome write_single(struct sd_card *c, const struct call *k)
{
	write_blocks(c, k->arg, false);
	return R1;
}

static enum outcome write_multiple(struct sd_card *c, const struct call *k)
{
	write_blocks(c, k->arg, true);
	return R1;
}

static enum outcome program_csd(struct sd_card *c, const struct call *k)
{
	(void)k;
	sd_abort(c);
	sd_take_register(c, SD_CSD_LEN);
	return R1;
}

/* ---- erase: 4.3.5 ---- */

static enum outcome erase_first(struct sd_card *c, const struct call *k)
{
	c->erase_first = k->arg;
	c->has_erase_first = true;
	c->has_erase_last = false;
	return R1;
}

static enum outcome erase_last(struct sd_card *c, const struct call *k)
{
	if (!c->has_erase_first)
		c->status |= SD_ERASE_SEQ_ERROR;
	else
		c->has_erase_last = true;
	c->erase_last = k->arg;
	return R1;
}

static enum outcome erase(struct sd_card *c, const struct call *k)
{
	(void)k;
	uint64_t nr = drive_len(c->drive) / SD_BLOCK;
	bool is_complete = c->has_erase_first && c->has_erase_last;

	c->has_erase_first = c->has_erase_last = false;
	if (!is_complete) {
		c->status |= SD_ERASE_SEQ_ERROR;
	} else if (c->erase_first > c->erase_last || c->erase_last >= nr) {
		c->status |= SD_ERASE_PARAM | SD_OUT_OF_RANGE;
	} else if (sd_is_protected(c)) {
		c->status |= SD_WP_VIOLATION;
	} else {
		sd_abort(c);
		c->erase_off = (uint64_t)c->erase_first * SD_BLOCK;
		c->erase_len = ((uint64_t)c->erase_last - c->erase_first + 1) *
			       SD_BLOCK;
		sd_start_program(c);
	}
	return R1;
}

/* ---- application commands ---- */

static enum outcome app_command(struct sd_card *c, const struct call *k)
{
	if (!is_addressed(c, k->arg))
		return SILENT;
	c->app = true;
	return R1;
}

static enum outcome set_bus_width(struct sd_card *c, const struct call *k)
{
	if ((k->arg & 3) & 1)
		return ILLEGAL;
	c->wide = k->arg & 2;
	return R1;
}

static enum outcome send_ssr(struct sd_card *c, const struct call *k)
{
	(void)k;
	sd_fill_ssr(c);
	sd_send_register(c, 64);
	return R1;
}

static enum outcome send_written(struct sd_card *c, const struct call *k)
{
	(void)k;
	for (unsigned i = 0; i < 4; i++)
		c->reg[i] = (uint8_t)(c->written >> (24 - 8 * i));
	sd_send_register(c, 4);
	return R1;
}

static enum outcome send_scr(struct sd_card *c, const struct call *k)
{
	(void)k;
	sd_fill_scr(c);
	sd_send_register(c, 8);
	return R1;
}

/* Hints and switches that change nothing here: how many blocks to erase ahead
 * (ACMD23), the pull-up on DAT3 (ACMD42). */
static enum outcome accept(struct sd_card *c, const struct call *k)
{
	(void)k;
	(void)c;
	return R1;
}

/* ---- dispatch ---- */

#define ADDRESSED                                                              \
	(IN(SD_STBY) | IN(SD_TRAN) | IN(SD_DATA) | IN(SD_RCV) | IN(SD_PRG) |   \
	 IN(SD_DIS))

static const struct command commands[] = {
	{0, ANY, go_idle},
	{2, IN(SD_READY), all_send_cid},
	{3, IN(SD_IDENT) | IN(SD_STBY), send_address},
	{6, IN(SD_TRAN), switch_function},
	{7, ADDRESSED & ~IN(SD_RCV), select_card},
	{8, IN(SD_IDLE), send_if_cond},
	{9, IN(SD_STBY), send_csd},
	{10, IN(SD_STBY), send_cid},
	{12, IN(SD_DATA) | IN(SD_RCV), stop},
	{13, ADDRESSED, send_status},
	{16, IN(SD_TRAN), set_block_len},
	{17, IN(SD_TRAN), read_single},
	{18, IN(SD_TRAN), read_multiple},
	{23, IN(SD_TRAN), set_block_count},
	{24, IN(SD_TRAN), write_single},
	{25, IN(SD_TRAN), write_multiple},
	{27, IN(SD_TRAN), program_csd},
	{32, IN(SD_TRAN), erase_first},
	{33, IN(SD_TRAN), erase_last},
	{38, IN(SD_TRAN), erase},
	{55, IN(SD_IDLE) | ADDRESSED, app_command},
};

static const struct command app_commands[] = {
	{6, IN(SD_TRAN), set_bus_width}, {13, IN(SD_TRAN), send_ssr},
	{22, IN(SD_TRAN), send_written}, {23, IN(SD_TRAN), accept},
	{41, IN(SD_IDLE), send_op_cond}, {42, IN(SD_TRAN), accept},
	{51, IN(SD_TRAN), send_scr},
};

static const struct command *find(const struct command *list, size_t nr,
				  uint8_t index)
{
	for (size_t i = 0; i < nr; i++)
		if (list[i].index == index)
			return &list[i];
	return NULL;
}

/* One that isn't an application command runs as the ordinary one. */
static const struct command *find_any(bool app, uint8_t index)
{
	const struct command *cmd = NULL;

	if (app)
		cmd = find(app_commands,
			   sizeof(app_commands) / sizeof(*app_commands), index);
	if (!cmd)
		cmd = find(commands, sizeof(commands) / sizeof(*commands),
			   index);
	return cmd;
}

/* An erase is broken off by any other command but these: 4.3.5. */
static void check_erase_sequence(struct sd_card *c, uint8_t index)
{
	if (!c->has_erase_first || index == 13 || index == 32 || index == 33 ||
	    index == 38)
		return;
	c->has_erase_first = c->has_erase_last = false;
	c->status |= SD_ERASE_RESET;
}

void sd_card_command(struct sd_card *c, uint8_t index, uint32_t arg,
		     uint32_t blocks, struct sd_reply *reply)
{
	const struct command *cmd = find_any(c->app, index);
	const struct call k = {arg, blocks, reply};
	uint32_t before = status_of(c);
	enum outcome r = ILLEGAL;
	bool was_app = c->app;

	*reply = (struct sd_reply){0};
	c->app = false;
	check_erase_sequence(c, index);
	if (cmd && (cmd->states & IN(c->state)))
		r = cmd->run(c, &k);
	/* A count is for the command that follows it only. */
	if (index != 23)
		c->planned = 0;
	if (r == ILLEGAL)
		c->status |= SD_ILLEGAL_COMMAND;
	if (r == R1) {
		/* The state is that in which the command came. */
		reply->value = before | c->status;
		if (c->app || was_app)
			reply->value |= STATUS_APP;
		c->status = 0;
	}
	if (r == LONG)
		reply->kind = SD_REPLY_LONG;
	else if (r == R1 || r == SHORT)
		reply->kind = SD_REPLY_SHORT;
}
