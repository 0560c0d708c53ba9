#include "ui/img/snapshot_list.h"

#include <inttypes.h>
#include <json.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "ui/img/img.h"

/* All snapshots, malloced; *nr of them. */
static struct blk_snapshot_info *load(struct blk *b, int *nr)
{
	const struct blk_format *f = blk_format_find(blk_format(b));
	struct blk_snapshot_info *list = NULL;

	*nr = f && f->snapshots ? f->snapshots(b, NULL, 0) : 0;
	if (*nr > 0)
		list = calloc(*nr, sizeof(*list));
	if (!list) {
		*nr = 0;
		return NULL;
	}
	f->snapshots(b, list, *nr);
	return list;
}

static void add(struct json_object *o, const char *key, uint64_t n)
{
	json_object_object_add(o, key, json_object_new_int64(n));
}

void img_snapshots_add(struct json_object *o, struct blk *b)
{
	int nr;
	struct blk_snapshot_info *list = load(b, &nr);
	struct json_object *all;

	if (!nr)
		return;
	all = json_object_new_array();
	for (int i = 0; i < nr; i++) {
		struct json_object *s = json_object_new_object();

		if (list[i].has_icount)
			add(s, "icount", list[i].icount);
		add(s, "vm-clock-nsec", list[i].vm_clock_ns % 1000000000);
		json_object_object_add(s, "name",
				       json_object_new_string(list[i].name));
		add(s, "date-sec", list[i].date_sec);
		add(s, "date-nsec", list[i].date_nsec);
		add(s, "vm-clock-sec", list[i].vm_clock_ns / 1000000000);
		json_object_object_add(s, "id",
				       json_object_new_string(list[i].id));
		add(s, "vm-state-size", list[i].vm_state_len);
		json_object_array_add(all, s);
	}
	json_object_object_add(o, "snapshots", all);
	free(list);
}

static void print_row(const struct blk_snapshot_info *s)
{
	char date[64] = "", clock[32], size[32], icount[24] = "";
	time_t seconds = s->date_sec;
	uint64_t ms = s->vm_clock_ns / 1000000;
	struct tm tm;

	if (localtime_r(&seconds, &tm))
		strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
	snprintf(clock, sizeof(clock), "%02d:%02d:%02d.%03d",
		 (int)(ms / 3600000), (int)(ms / 60000 % 60),
		 (int)(ms / 1000 % 60), (int)(ms % 1000));
	if (s->has_icount)
		snprintf(icount, sizeof(icount), "%" PRIu64, s->icount);
	printf("%-10s%-17s%8s%20s%13s%11s\n", s->id, s->name,
	       img_size_text(s->vm_state_len, size), date, clock, icount);
}

void img_snapshots_print(struct blk *b, const char *title)
{
	int nr;
	struct blk_snapshot_info *list = load(b, &nr);

	if (nr) {
		printf("%s%-10s%-17s%8s%20s%13s%11s\n", title, "ID", "TAG",
		       "VM SIZE", "DATE", "VM CLOCK", "ICOUNT");
		for (int i = 0; i < nr; i++)
			print_row(&list[i]);
	}
	free(list);
}
