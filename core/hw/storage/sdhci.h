/*
 * sdhci: how a card finds the slot it sits in.
 *
 * Thread rule: main loop, before the machine starts or with the world stopped.
 */
#ifndef CORE_HW_STORAGE_SDHCI_H
#define CORE_HW_STORAGE_SDHCI_H

struct device;
struct drive_req;
struct error;
struct sd_card;

/* Puts the card into the controller's slot; 0, or -errno with the reason
 * (taken, not an SD controller). */
int sdhci_attach(struct device *controller, struct sd_card *c, struct error *e);
/* Takes it out; nothing may be in flight.  A card that isn't in is fine. */
void sdhci_detach(struct sd_card *c);
/* Completion of a card's drive request: on its loop. */
void sdhci_req_done(struct drive_req *req, int res);

#endif
