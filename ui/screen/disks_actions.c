/* Disks: what can be done to the chosen disk, and the map's keys. */
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "ui/screen/disks_parts.h"
#include "ui/screen/screens.h"

/* ---- to the machine ---- */

static const struct vm_disk_row *target(struct ui *ui, int *index)
{
	const struct vm_disk_row *d = disks_chosen(ui, index);

	if (!d)
		ui_say(ui, true,
		       ui_vm(ui) ? "no disk is chosen"
				 : "no machine is running");
	return d;
}

static unsigned post(struct ui *ui, enum vm_command_kind kind, const char *text,
		     const char *said)
{
	const struct vm_disk_row *d;
	struct error e = {0};
	int index;

	d = target(ui, &index);
	if (!d)
		return EFFECT_FAILED;
	if (fleet_command(ui->fleet, ui->machine, kind, (unsigned)index, text,
			  &e)) {
		ui_say(ui, true, "%s", e.msg);
		return EFFECT_FAILED;
	}
	ui_say(ui, false, "%s: %s", d->name, said);
	return EFFECT_DRAW;
}

/* "verb argument" for a disk; without an argument: how to say it. */
static unsigned post_with(struct ui *ui, const char *verb, const char *arg,
			  const char *usage)
{
	char text[VM_PATH_LEN];

	if (!arg || !*arg) {
		ui_say(ui, true, "%s", usage);
		return EFFECT_FAILED;
	}
	snprintf(text, sizeof(text), "%s %s", verb, arg);
	return post(ui, VM_CMD_DISK, text, text);
}

static bool ask(struct ui *ui, char *question, size_t len, const char *before,
		const char *after)
{
	const struct vm_disk_row *d = target(ui, NULL);

	if (!d)
		return false;
	snprintf(question, len, "%s '%s' of '%s'%s", before, d->name,
		 ui->machine->id, after);
	return true;
}

static bool prompt(struct ui *ui, struct action_prompt *out, const char *label,
		   const char *answer)
{
	const struct vm_disk_row *d = target(ui, NULL);

	if (!d)
		return false;
	snprintf(out->label, sizeof(out->label), "%s: %s", d->name, label);
	snprintf(out->answer, sizeof(out->answer), "%.255s", answer);
	return true;
}

/* A name beside the image's own: "disk.qcow2" gives "disk-WORD.qcow2". */
static void name_beside(const char *path, const char *word, char *out,
			size_t len)
{
	const char *slash = strrchr(path, '/');
	const char *dot = strrchr(slash ? slash : path, '.');
	size_t stem = dot ? (size_t)(dot - path) : strlen(path);

	snprintf(out, len, "%.*s-%s.qcow2", (int)stem, path, word);
}

/* ---- jobs ---- */

static bool ask_commit(struct ui *ui, const char *arg, char *question,
		       size_t len)
{
	(void)arg;
	return ask(ui, question, len, "Commit",
		   "? The lowest of its images gets what those above it hold, "
		   "and the disk goes on there.");
}

static unsigned run_commit(struct ui *ui, const char *arg)
{
	(void)arg;
	return post(ui, VM_CMD_DISK, "commit", "commit begins");
}

static unsigned run_stream(struct ui *ui, const char *arg)
{
	(void)arg;
	return post(ui, VM_CMD_DISK, "stream", "stream begins");
}

static bool prompt_mirror(struct ui *ui, struct action_prompt *out)
{
	const struct vm_disk_row *d = disks_chosen(ui, NULL);
	char path[256] = "";

	if (d)
		name_beside(d->path, "copy", path, sizeof(path));
	return prompt(ui, out, "mirror to a new file", path);
}

static unsigned run_mirror(struct ui *ui, const char *arg)
{
	return post_with(ui, "mirror", arg, "mirror PATH: name a new file");
}

static unsigned run_finish(struct ui *ui, const char *arg)
{
	(void)arg;
	return post(ui, VM_CMD_DISK, "finish", "the job is to end");
}

static bool ask_cancel(struct ui *ui, const char *arg, char *question,
		       size_t len)
{
	(void)arg;
	return ask(ui, question, len, "Cancel the job on",
		   "? What it has done so far is of no use.");
}

static unsigned run_cancel(struct ui *ui, const char *arg)
{
	(void)arg;
	return post(ui, VM_CMD_DISK, "cancel", "the job is cancelled");
}

/* ---- stability ---- */

static const struct vm_disk_facts *facts_of(struct ui *ui)
{
	struct disks_view *dv = ui->views[SCREEN_DISKS].data;
	int index;

	return disks_chosen(ui, &index) ? &dv->facts[index] : NULL;
}

static unsigned run_flush(struct ui *ui, const char *arg)
{
	(void)arg;
	return post(ui, VM_CMD_DISK, "flush", "flushing");
}

static unsigned run_write_cache(struct ui *ui, const char *arg)
{
	const struct vm_disk_facts *f = facts_of(ui);
	bool turn_on = arg ? !strcmp(arg, "on") : f && !f->now.wce;

	if (arg && strcmp(arg, "on") != 0 && strcmp(arg, "off") != 0) {
		ui_say(ui, true, "write-cache on or off");
		return EFFECT_FAILED;
	}
	return turn_on ? post(ui, VM_CMD_DISK, "wce on", "write cache on")
		       : post(ui, VM_CMD_DISK, "wce off", "write cache off");
}

/* ---- images ---- */

static bool prompt_snapshot(struct ui *ui, struct action_prompt *out)
{
	const struct vm_disk_facts *f = facts_of(ui);
	char name[32];

	snprintf(name, sizeof(name), "snapshot-%u",
		 f ? f->all_snapshots + 1 : 1);
	return prompt(ui, out, "snapshot inside the image, called", name);
}

static unsigned run_snapshot(struct ui *ui, const char *arg)
{
	return post_with(ui, "snapshot", arg, "snapshot NAME");
}

static bool prompt_old_snapshot(struct ui *ui, struct action_prompt *out,
				const char *label)
{
	const struct vm_disk_facts *f = facts_of(ui);
	unsigned n = f ? f->nr_snapshots : 0;

	return prompt(ui, out, label, n ? f->snapshots[n - 1].name : "");
}

static bool prompt_delete(struct ui *ui, struct action_prompt *out)
{
	return prompt_old_snapshot(ui, out, "delete the snapshot");
}

static bool ask_delete(struct ui *ui, const char *arg, char *question,
		       size_t len)
{
	char after[160];

	snprintf(after, sizeof(after),
		 "? The snapshot '%.64s' can't be had back.", arg ? arg : "");
	return ask(ui, question, len, "Delete from", after);
}

static unsigned run_delete(struct ui *ui, const char *arg)
{
	return post_with(ui, "delete-snapshot", arg, "delete-snapshot NAME");
}

static bool prompt_apply(struct ui *ui, struct action_prompt *out)
{
	return prompt_old_snapshot(ui, out, "go back to the snapshot");
}

static bool ask_apply(struct ui *ui, const char *arg, char *question,
		      size_t len)
{
	char after[160];

	snprintf(after, sizeof(after),
		 " back to '%.64s'? What was written since is lost.",
		 arg ? arg : "");
	return ask(ui, question, len, "Take", after);
}

static unsigned run_apply(struct ui *ui, const char *arg)
{
	return post_with(ui, "apply-snapshot", arg, "apply-snapshot NAME");
}

static bool prompt_overlay(struct ui *ui, struct action_prompt *out)
{
	const struct vm_disk_row *d = disks_chosen(ui, NULL);
	char path[256] = "";

	if (d)
		name_beside(d->path, "overlay", path, sizeof(path));
	return prompt(ui, out, "a new image on top, in", path);
}

static unsigned run_overlay(struct ui *ui, const char *arg)
{
	return post_with(ui, "overlay", arg, "overlay PATH: name a new file");
}

static bool prompt_resize(struct ui *ui, struct action_prompt *out)
{
	const struct vm_disk_row *d = disks_chosen(ui, NULL);
	uint64_t len = d ? d->len : 0;
	char size[32];

	if (len && len % (1 << 20) == 0)
		snprintf(size, sizeof(size), "%lluM",
			 (unsigned long long)(len >> 20));
	else
		snprintf(size, sizeof(size), "%llu", (unsigned long long)len);
	return prompt(ui, out, "resize to", size);
}

static unsigned run_resize(struct ui *ui, const char *arg)
{
	return post_with(ui, "resize", arg, "resize SIZE: 2G, 512M ...");
}

/* ---- the drive ---- */

static bool prompt_throttle(struct ui *ui, struct action_prompt *out)
{
	const struct vm_disk_facts *f = facts_of(ui);

	return prompt(ui, out, "throttle (or off)",
		      f && f->throttle[0] ? f->throttle
					  : "iops-total=100 bps-total=1M");
}

static unsigned run_throttle(struct ui *ui, const char *arg)
{
	return post_with(ui, "throttle", arg,
			 "throttle iops-total=100 bps-read=1M ..., or off");
}

static bool prompt_medium(struct ui *ui, struct action_prompt *out)
{
	const struct vm_disk_row *d = disks_chosen(ui, NULL);

	if (d && !d->cdrom) {
		ui_say(ui, true, "%s is no CD-ROM drive: its medium stays",
		       d->name);
		return false;
	}
	return prompt(ui, out, "another medium (nothing: eject)",
		      d ? d->path : "");
}

static unsigned run_medium(struct ui *ui, const char *arg)
{
	return post(ui, VM_CMD_CHANGE_MEDIUM, arg ? arg : "",
		    arg && *arg ? "changing the medium" : "ejecting");
}

/* ---- power ---- */

/* Only what ends with the machine may be cut, and only where a cache that
 * forgets stands before it. */
static bool can_cut(const struct ui *ui, int i)
{
	const struct disks_view *dv = ui->views[SCREEN_DISKS].data;

	return dv->facts[i].scratch && vm_config(dv->vm)->disks[i].is_volatile;
}

static bool prompt_cut(struct ui *ui, struct action_prompt *out)
{
	const struct vm_disk_row *d;
	int index;

	d = target(ui, &index);
	if (!d)
		return false;
	if (!can_cut(ui, index)) {
		ui_say(ui, true,
		       "%s is no scratch disk with a volatile cache: its power "
		       "stays",
		       d->name);
		return false;
	}
	return prompt(ui, out, "cut; of the rest keep none, all, subset, torn",
		      "torn");
}

static bool ask_cut(struct ui *ui, const char *arg, char *question, size_t len)
{
	const struct disks_view *dv = ui->views[SCREEN_DISKS].data;
	char names[128] = "";
	size_t n = 0;

	(void)arg;
	if (!target(ui, NULL))
		return false;
	for (int i = 0; i < dv->nr && n < sizeof(names); i++)
		if (can_cut(ui, i))
			n += (size_t)snprintf(names + n, sizeof(names) - n,
					      "%s'%s'", n ? ", " : "",
					      dv->rows[i].name);
	snprintf(question, len,
		 "Cut the power of %s of '%s'? The guest's memory is lost, and "
		 "what it has not flushed.",
		 names, ui->machine->id);
	return true;
}

static unsigned run_cut(struct ui *ui, const char *arg)
{
	return post(ui, VM_CMD_CUT_POWER, arg && *arg ? arg : "torn",
		    "cutting the power");
}

/* ---- the screen ---- */

static struct disks_view *map_view(struct ui *ui)
{
	ui_switch(ui, SCREEN_DISKS);
	ui->views[SCREEN_DISKS].focus = DISKS_MAP;
	return ui->views[SCREEN_DISKS].data;
}

static unsigned run_nearer(struct ui *ui, const char *arg)
{
	(void)arg;
	disks_map_zoom(map_view(ui), true);
	return EFFECT_DRAW;
}

static unsigned run_farther(struct ui *ui, const char *arg)
{
	(void)arg;
	disks_map_zoom(map_view(ui), false);
	return EFFECT_DRAW;
}

static unsigned run_left(struct ui *ui, const char *arg)
{
	(void)arg;
	disks_map_move(map_view(ui), -1);
	return EFFECT_DRAW;
}

static unsigned run_right(struct ui *ui, const char *arg)
{
	(void)arg;
	disks_map_move(map_view(ui), 1);
	return EFFECT_DRAW;
}

static unsigned run_explain(struct ui *ui, const char *arg)
{
	(void)arg;
	ui_switch(ui, SCREEN_DISKS);
	layer_open(ui, &layer_explain);
	return EFFECT_DRAW;
}

/* From the list into the panel below, then through the others. */
static unsigned run_panel(struct ui *ui, const char *arg)
{
	struct view *v = &ui->views[SCREEN_DISKS];
	struct disks_view *dv = v->data;

	(void)arg;
	v->focus = v->focus == DISKS_LIST  ? dv->lower
		   : v->focus == DISKS_MAP ? DISKS_STATE
					   : v->focus + 1;
	return EFFECT_DRAW;
}

/* ---- what can be done here ---- */

static bool has_disk(const struct ui *ui)
{
	return disks_shown(ui, NULL);
}

static bool has_medium(const struct ui *ui)
{
	const struct vm_disk_row *d = disks_shown(ui, NULL);

	return d && d->cdrom;
}

static bool has_job(const struct ui *ui)
{
	const struct vm_disk_row *d = disks_shown(ui, NULL);

	return d && (!strcmp(d->job_state, "running") ||
		     !strcmp(d->job_state, "paused") ||
		     !strcmp(d->job_state, "ready"));
}

static bool has_scratch(const struct ui *ui)
{
	int index;

	return disks_shown(ui, &index) && can_cut(ui, index);
}

const struct action disks_actions[NR_DISKS_ACTIONS] = {
	{.name = "disk-panel",
	 .here = has_disk,
	 .keys = "Enter",
	 .hint = "panel",
	 .help = "the disk's state, activity, images in turn",
	 .run = run_panel},
	{.name = "flush-disk",
	 .here = has_disk,
	 .keys = "f",
	 .hint = "flush",
	 .help = "make what was written stable now",
	 .run = run_flush},
	{.name = "write-cache",
	 .here = has_disk,
	 .keys = "w",
	 .arg = ARG_TEXT,
	 .hint = "WCE",
	 .help = "write cache on or off",
	 .run = run_write_cache},
	{.name = "cut-disks",
	 .here = has_scratch,
	 .keys = "X",
	 .arg = ARG_TEXT,
	 .hint = "cut",
	 .help = "cut the power; see what scratch disks keep",
	 .run = run_cut,
	 .prompt = prompt_cut,
	 .ask = ask_cut},
	{.name = "nearer",
	 .here = has_disk,
	 .keys = "+ =",
	 .hint = "nearer",
	 .help = "the map of images four times as close",
	 .run = run_nearer},
	{.name = "explain",
	 .keys = "i",
	 .hint = "explain",
	 .help = "what is on this screen, in words",
	 .run = run_explain},
	{.name = "snapshot",
	 .here = has_disk,
	 .keys = "n",
	 .arg = ARG_TEXT,
	 .hint = "snapshot",
	 .help = "NAME: keep what is there inside the image",
	 .run = run_snapshot,
	 .prompt = prompt_snapshot},
	{.name = "overlay",
	 .here = has_disk,
	 .keys = "o",
	 .arg = ARG_FILE,
	 .hint = "overlay",
	 .help = "PATH: a new image on top; this one stays",
	 .run = run_overlay,
	 .prompt = prompt_overlay},
	{.name = "commit",
	 .here = has_disk,
	 .keys = "I",
	 .hint = "commit",
	 .help = "write all images into the lowest one",
	 .run = run_commit,
	 .ask = ask_commit},
	{.name = "stream",
	 .here = has_disk,
	 .keys = "u",
	 .hint = "stream",
	 .help = "pull up what the images below hold",
	 .run = run_stream},
	{.name = "mirror",
	 .here = has_disk,
	 .keys = "m",
	 .arg = ARG_FILE,
	 .hint = "mirror",
	 .help = "PATH: copy the disk, keep the copy the same",
	 .run = run_mirror,
	 .prompt = prompt_mirror},
	{.name = "finish-job",
	 .here = has_job,
	 .keys = "d",
	 .hint = "finish",
	 .help = "let a mirror go as a copy",
	 .run = run_finish},
	{.name = "cancel-job",
	 .here = has_job,
	 .keys = "A",
	 .hint = "abandon",
	 .help = "end the job on the disk, undone",
	 .run = run_cancel,
	 .ask = ask_cancel},
	{.name = "resize",
	 .here = has_disk,
	 .keys = "r",
	 .arg = ARG_TEXT,
	 .hint = "resize",
	 .help = "SIZE: make the disk larger",
	 .run = run_resize,
	 .prompt = prompt_resize},
	{.name = "throttle",
	 .here = has_disk,
	 .keys = "b",
	 .arg = ARG_TEXT,
	 .hint = "throttle",
	 .help = "WORDS: at most so much a second, or off",
	 .run = run_throttle,
	 .prompt = prompt_throttle},
	{.name = "medium",
	 .here = has_medium,
	 .keys = "c",
	 .arg = ARG_FILE,
	 .hint = "medium",
	 .help = "another medium for a CD-ROM drive",
	 .run = run_medium,
	 .prompt = prompt_medium},
	{.name = "farther",
	 .here = has_disk,
	 .keys = "-",
	 .help = "the map of images from farther away",
	 .run = run_farther},
	{.name = "map-left",
	 .here = has_disk,
	 .help = "move left in the map (Left key there)",
	 .run = run_left},
	{.name = "map-right",
	 .here = has_disk,
	 .help = "move right in the map (Right key there)",
	 .run = run_right},
	{.name = "delete-snapshot",
	 .here = has_disk,
	 .arg = ARG_TEXT,
	 .help = "NAME: of those inside the image",
	 .run = run_delete,
	 .prompt = prompt_delete,
	 .ask = ask_delete},
	{.name = "apply-snapshot",
	 .here = has_disk,
	 .arg = ARG_TEXT,
	 .help = "NAME: go back to it; the machine is off",
	 .run = run_apply,
	 .prompt = prompt_apply,
	 .ask = ask_apply},
};
