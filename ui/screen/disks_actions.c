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
		   "? The image below its top one gets all that this one "
		   "holds, and keeps it.");
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

/* ---- the drive ---- */

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

const struct action disks_actions[NR_DISKS_ACTIONS] = {
	{.name = "disk-panel",
	 .keys = "Enter",
	 .hint = "panel",
	 .help = "the disk's state, activity, images in turn",
	 .run = run_panel},
	{.name = "nearer",
	 .keys = "+ =",
	 .hint = "nearer",
	 .help = "the map of images four times as close",
	 .run = run_nearer},
	{.name = "farther",
	 .keys = "-",
	 .hint = "farther",
	 .help = "the map of images from farther away",
	 .run = run_farther},
	{.name = "medium",
	 .keys = "c",
	 .arg = ARG_FILE,
	 .hint = "medium",
	 .help = "another medium for a CD-ROM drive",
	 .run = run_medium,
	 .prompt = prompt_medium},
	{.name = "stream",
	 .keys = "u",
	 .hint = "stream",
	 .help = "pull up what the images below hold",
	 .run = run_stream},
	{.name = "mirror",
	 .keys = "m",
	 .arg = ARG_FILE,
	 .hint = "mirror",
	 .help = "copy the disk, and keep the copy the same",
	 .run = run_mirror,
	 .prompt = prompt_mirror},
	{.name = "commit",
	 .keys = "I",
	 .hint = "commit",
	 .help = "write the top image into the one below",
	 .run = run_commit,
	 .ask = ask_commit},
	{.name = "finish-job",
	 .keys = "d",
	 .help = "let a mirror go as a copy",
	 .run = run_finish},
	{.name = "cancel-job",
	 .keys = "A",
	 .help = "end the job on the disk, undone",
	 .run = run_cancel,
	 .ask = ask_cancel},
	{.name = "map-left",
	 .help = "move left in the map (Left key there)",
	 .run = run_left},
	{.name = "map-right",
	 .help = "move right in the map (Right key there)",
	 .run = run_right},
};
