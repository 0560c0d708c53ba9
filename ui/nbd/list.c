/*
 * nbd --list: what another server offers.
 */
#include <inttypes.h>
#include <stdio.h>

#include "core/blk/nbd/address.h"
#include "core/blk/nbd/list.h"
#include "ui/nbd/nbd.h"

static void print_flags(uint32_t flags)
{
	static const char *const names[] = {
		NULL,	      "readonly", "flush",  "fua",
		"rotational", "trim",	  "zeroes", "df",
		"multi",      "resize",	  "cache",  "fast-zero"};

	printf("  flags: 0x%x (", flags);
	for (unsigned i = 1; i < sizeof(names) / sizeof(names[0]); i++)
		if (flags >> i & 1)
			printf(" %s", names[i]);
	printf(" )\n");
}

static void print_export(const struct nbd_listed *x)
{
	printf(" export: '%s'\n", x->name);
	if (x->description)
		printf("  description: %s\n", x->description);
	if (x->flags) {
		printf("  size:  %" PRIu64 "\n", x->len);
		print_flags(x->flags);
	}
	if (x->min_block)
		printf("  min block: %u\n", x->min_block);
	if (x->opt_block)
		printf("  opt block: %u\n", x->opt_block);
	if (x->max_block)
		printf("  max block: %u\n", x->max_block);
	if (x->nr_contexts)
		printf("  available meta contexts: %u\n", x->nr_contexts);
	for (unsigned i = 0; i < x->nr_contexts; i++)
		printf("   %s\n", x->contexts[i]);
}

int nbd_print_list(struct img_tool *t, const struct nbd_address *a)
{
	struct nbd_listed *list = NULL;
	struct error e = {0};
	int nr = nbd_list(a, &list, &e);

	if (nr < 0)
		return img_error(t, "%s", e.msg);
	printf("exports available: %d\n", nr);
	for (int i = 0; i < nr; i++)
		print_export(&list[i]);
	nbd_list_free(list, nr);
	return 0;
}
