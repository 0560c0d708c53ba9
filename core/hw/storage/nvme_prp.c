/*
 * A command's memory: physical region pages (NVMe 1.4, 4.3).
 *
 * PRP 1 is the first page, from an offset on; PRP 2 is the second, or the
 * list of all others.  A list goes on in another page when its last entry
 * isn't the last one wanted; each page holds at least one entry more, so that
 * a list that points at itself ends with the command's length.
 */
#include "core/hw/iov.h"
#include "core/hw/storage/nvme_int.h"

struct walk {
	struct nvme *n;
	struct iovec *iov;
	int nr;
	uint64_t left;
	bool to_guest;
};

static enum nvme_status add_piece(struct walk *w, uint64_t addr, uint64_t len)
{
	struct iovec *new = w->iov + w->nr;
	int nr;

	if (len > w->left)
		len = w->left;
	nr = dma_map(nvme_mem(w->n), addr, len, w->to_guest, new,
		     NVME_MAX_IOV - w->nr);
	if (nr < 0)
		return NVME_DATA_TRANSFER_ERROR;
	w->left -= len;
	/* Pages beside each other are one piece for the drive. */
	if (w->nr && nr == 1 &&
	    (uint8_t *)new[-1].iov_base + new[-1].iov_len == new->iov_base)
		new[-1].iov_len += len;
	else
		w->nr += nr;
	return NVME_OK;
}

static enum nvme_status add_page(struct walk *w, uint64_t addr)
{
	if (addr % NVME_PAGE)
		return NVME_PRP_OFFSET;
	return add_piece(w, addr, NVME_PAGE);
}

/* One page of a list; *next is where it goes on. */
static enum nvme_status add_list(struct walk *w, uint64_t at, uint64_t *next)
{
	uint64_t entries[NVME_PAGE / 8];
	uint64_t nr = (NVME_PAGE - at % NVME_PAGE) / 8;
	uint64_t wanted = (w->left + NVME_PAGE - 1) / NVME_PAGE;
	enum nvme_status status = NVME_OK;
	bool goes_on = wanted > nr;

	if (wanted < nr)
		nr = wanted;
	if (dma_read(nvme_mem(w->n), at, entries, nr * 8))
		return NVME_DATA_TRANSFER_ERROR;
	if (goes_on)
		nr--;
	for (uint64_t i = 0; i < nr && !status; i++)
		status = add_page(w, entries[i]);
	if (goes_on)
		*next = entries[nr];
	return status;
}

static enum nvme_status add_lists(struct walk *w, uint64_t at)
{
	enum nvme_status status = NVME_OK;

	if (at % 8)
		return NVME_PRP_OFFSET;
	while (w->left && !status) {
		status = add_list(w, at, &at);
		/* Only the first may begin within its page. */
		if (!status && w->left && at % NVME_PAGE)
			status = NVME_PRP_OFFSET;
	}
	return status;
}

enum nvme_status nvme_map(struct nvme *n, const struct nvme_cmd *cmd,
			  uint64_t len, bool to_guest, struct iovec *iov,
			  int *nr)
{
	struct walk w = {n, iov, 0, len, to_guest};
	enum nvme_status status;

	*nr = 0;
	if (len > NVME_MAX_LEN)
		return NVME_INVALID_FIELD;
	if (!len)
		return NVME_OK;
	if (cmd->prp1 % 4)
		return NVME_PRP_OFFSET;
	status = add_piece(&w, cmd->prp1, NVME_PAGE - cmd->prp1 % NVME_PAGE);
	if (!status && w.left > NVME_PAGE)
		status = add_lists(&w, cmd->prp2);
	else if (!status && w.left)
		status = add_page(&w, cmd->prp2);
	*nr = w.nr;
	return status;
}

enum nvme_status nvme_store(struct nvme *n, const struct nvme_cmd *cmd,
			    const void *buf, uint64_t len, uint64_t room)
{
	enum nvme_status status;
	int nr;

	if (len > room)
		len = room;
	status = nvme_map(n, cmd, room, true, n->scratch, &nr);
	if (status)
		return status;
	iov_write(n->scratch, nr, 0, buf, len);
	dma_mark_iov(nvme_mem(n), n->scratch, nr, len);
	return NVME_OK;
}
