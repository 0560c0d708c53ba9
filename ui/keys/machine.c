/* Actions on a machine: the chosen one, or the one a command names. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "ui/keys/action.h"
#include "ui/screen/screens.h"
#include "ui/screen/ui.h"

static struct machine *target(struct ui *ui, const char *arg)
{
	struct machine *m = arg ? fleet_find(ui->fleet, arg) : ui->machine;

	if (!m && arg)
		ui_say(ui, true, "there is no machine '%s'", arg);
	else if (!m)
		ui_say(ui, true, "there is no machine");
	return m;
}

static bool can_start(const struct ui *ui)
{
	const struct machine *m = ui->machine;

	return m && !m->broken.code &&
	       (machine_is_stopped(m) || machine_is_paused(m));
}

static bool is_running(const struct ui *ui)
{
	return ui->machine && machine_is_running(ui->machine);
}

static bool can_pause(const struct ui *ui)
{
	return is_running(ui) ||
	       (ui->machine && machine_is_paused(ui->machine));
}

static bool is_stopped(const struct ui *ui)
{
	return ui->machine && machine_is_stopped(ui->machine);
}

/* Has been started, and was not powered off since. */
static bool is_on(const struct ui *ui)
{
	return ui_vm(ui) && !machine_is_stopped(ui->machine);
}

static unsigned fail(struct ui *ui, const struct error *e)
{
	ui_say(ui, true, "%s", e->msg);
	return EFFECT_FAILED;
}

static unsigned post(struct ui *ui, const char *arg, enum vm_command_kind kind,
		     const char *said)
{
	struct machine *m = target(ui, arg);
	struct error e = {0};

	if (!m)
		return EFFECT_FAILED;
	if (fleet_command(ui->fleet, m, kind, 0, NULL, &e))
		return fail(ui, &e);
	ui_say(ui, false, "%s: %s", m->id, said);
	return EFFECT_DRAW;
}

static unsigned run_start(struct ui *ui, const char *arg)
{
	struct machine *m = target(ui, arg);
	bool chosen = m == ui->machine;
	struct error e = {0};
	int ret;

	if (!m)
		return EFFECT_FAILED;
	if (machine_is_running(m)) {
		ui_say(ui, false, "%s is running already", m->id);
		return EFFECT_DRAW;
	}
	ui_say(ui, false, "starting %s", m->id);
	/* Screens let go of a vm that may be replaced. */
	if (chosen && machine_is_stopped(m))
		ui_choose(ui, NULL);
	ret = fleet_start(ui->fleet, m, &e);
	if (chosen)
		ui_choose(ui, m);
	return ret ? fail(ui, &e) : EFFECT_DRAW;
}

static unsigned run_pause(struct ui *ui, const char *arg)
{
	struct machine *m = target(ui, arg);

	if (!m)
		return EFFECT_FAILED;
	if (machine_is_paused(m))
		return post(ui, arg, VM_CMD_RESUME, "going on");
	if (!machine_is_running(m)) {
		ui_say(ui, true, "%s is not running", m->id);
		return EFFECT_FAILED;
	}
	return post(ui, arg, VM_CMD_PAUSE, "paused");
}

/* ---- destructive ones, with their questions ---- */

static struct machine *live_target(struct ui *ui, const char *arg)
{
	struct machine *m = target(ui, arg);

	if (m && (m->life != MACHINE_LIVE || machine_is_stopped(m))) {
		ui_say(ui, true, "%s is not running", m->id);
		return NULL;
	}
	return m;
}

static bool ask(struct ui *ui, const char *arg, char *question, size_t len,
		const char *fmt_before, const char *fmt_after)
{
	struct machine *m = live_target(ui, arg);

	if (!m)
		return false;
	snprintf(question, len, "%s '%s'%s", fmt_before, m->id, fmt_after);
	return true;
}

static bool ask_reset(struct ui *ui, const char *arg, char *question,
		      size_t len)
{
	return ask(ui, arg, question, len, "Reset",
		   "? What the guest has not written is lost.");
}

static unsigned run_reset(struct ui *ui, const char *arg)
{
	return post(ui, arg, VM_CMD_RESET, "reset");
}

static bool ask_powerdown(struct ui *ui, const char *arg, char *question,
			  size_t len)
{
	return ask(ui, arg, question, len, "Press the power button of",
		   "? The guest may shut down.");
}

static unsigned run_powerdown(struct ui *ui, const char *arg)
{
	return post(ui, arg, VM_CMD_POWERDOWN, "power button pressed");
}

static bool ask_poweroff(struct ui *ui, const char *arg, char *question,
			 size_t len)
{
	return ask(ui, arg, question, len, "Power off",
		   "? What the guest has not written is lost.");
}

static unsigned run_poweroff(struct ui *ui, const char *arg)
{
	return post(ui, arg, VM_CMD_POWEROFF, "powering off");
}

/* [MACHINE:]MODE [SEED] */
static const char *split_cut(const char *arg, char *id, size_t room)
{
	size_t name = arg ? strcspn(arg, ": ") : 0;

	*id = '\0';
	if (!arg)
		return "torn";
	if (arg[name] != ':')
		return arg;
	snprintf(id, room, "%.*s", (int)name, arg);
	return arg + name + 1;
}

static bool ask_cut_power(struct ui *ui, const char *arg, char *question,
			  size_t len)
{
	char id[64];

	split_cut(arg, id, sizeof(id));
	return ask(ui, *id ? id : NULL, question, len, "Cut the power of",
		   "? Its memory is lost, and of its disks what the guest has "
		   "not flushed.");
}

static unsigned run_cut_power(struct ui *ui, const char *arg)
{
	char id[64];
	const char *how = split_cut(arg, id, sizeof(id));
	struct machine *m = target(ui, *id ? id : NULL);
	struct error e = {0};

	if (!m)
		return EFFECT_FAILED;
	if (fleet_command(ui->fleet, m, VM_CMD_CUT_POWER, 0, how, &e))
		return fail(ui, &e);
	ui_say(ui, false, "%s: cutting the power", m->id);
	return EFFECT_DRAW;
}

static bool ask_nmi(struct ui *ui, const char *arg, char *question, size_t len)
{
	return ask(ui, arg, question, len, "Send an NMI to",
		   "? Many guests stop at it.");
}

static unsigned run_nmi(struct ui *ui, const char *arg)
{
	return post(ui, arg, VM_CMD_NMI, "NMI sent");
}

static bool ask_ctrl_alt_del(struct ui *ui, const char *arg, char *question,
			     size_t len)
{
	(void)arg;
	return ask(ui, NULL, question, len, "Send Ctrl-Alt-Del to",
		   "? Most guests restart at it.");
}

static unsigned run_ctrl_alt_del(struct ui *ui, const char *arg)
{
	(void)arg;
	console_ctrl_alt_del(ui);
	return EFFECT_DRAW;
}

static bool ask_delete(struct ui *ui, const char *arg, char *question,
		       size_t len)
{
	struct machine *m = target(ui, arg);

	if (!m)
		return false;
	snprintf(question, len,
		 "Delete '%s' and its file? Its disks stay where they are.",
		 m->id);
	return true;
}

static unsigned run_delete(struct ui *ui, const char *arg)
{
	struct machine *m = target(ui, arg);
	struct error e = {0};
	bool chosen = m == ui->machine;
	int at = fleet_index(ui->fleet, m), last;
	char id[64];

	if (!m)
		return EFFECT_FAILED;
	snprintf(id, sizeof(id), "%s", m->id);
	if (chosen)
		ui_choose(ui, NULL);
	if (fleet_delete(ui->fleet, m, &e)) {
		if (chosen)
			ui_choose(ui, m);
		return fail(ui, &e);
	}
	last = (int)fleet_count(ui->fleet) - 1;
	if (chosen && last >= 0)
		ui_choose(ui, fleet_at(ui->fleet,
				       (unsigned)(at > last ? last : at)));
	ui_say(ui, false, "deleted %s", id);
	return EFFECT_DRAW;
}

/* ---- by name only ---- */

/* arg: [MACHINE:]NUMBER of a disk, and what kind is about. */
static unsigned post_to_disk(struct ui *ui, enum vm_command_kind kind,
			     const char *arg, const char *usage)
{
	const char *at = arg ? arg : "";
	size_t name = strcspn(at, ": ");
	bool is_named = at[name] == ':';
	struct error e = {0};
	unsigned long index;
	struct machine *m;
	char id[64], *end;

	snprintf(id, sizeof(id), "%.*s", (int)name, at);
	at += is_named ? name + 1 : 0;
	index = strtoul(at, &end, 10);
	if (end == at || index >= VM_MAX_DISKS) {
		ui_say(ui, true, "%s", usage);
		return EFFECT_FAILED;
	}
	m = target(ui, is_named ? id : NULL);
	if (!m)
		return EFFECT_FAILED;
	end += strspn(end, " ");
	if (fleet_command(ui->fleet, m, kind, (unsigned)index, end, &e))
		return fail(ui, &e);
	if (kind == VM_CMD_CHANGE_MEDIUM)
		ui_say(ui, false, *end ? "changing the medium" : "ejecting");
	else
		ui_say(ui, false, "disk %lu: %s", index, end);
	return EFFECT_DRAW;
}

static unsigned run_medium(struct ui *ui, const char *arg)
{
	return post_to_disk(ui, VM_CMD_CHANGE_MEDIUM, arg,
			    "change-medium [MACHINE:]DISK [FILE]: the disk's "
			    "number, and the new medium or nothing to eject");
}

static unsigned run_disk(struct ui *ui, const char *arg)
{
	return post_to_disk(ui, VM_CMD_DISK, arg,
			    "disk [MACHINE:]DISK commit, stream, mirror PATH, "
			    "finish, pause, resume, cancel, export ADDRESS or "
			    "end-export");
}

static unsigned run_type(struct ui *ui, const char *arg)
{
	if (!arg || !ui_vm(ui)) {
		ui_say(ui, true,
		       arg ? "no machine is running"
			   : "type TEXT: what to type");
		return EFFECT_FAILED;
	}
	console_type_text(ui, arg);
	return EFFECT_DRAW;
}

const struct action machine_actions[] = {
	{.name = "start",
	 .keys = "s",
	 .hint = "start",
	 .arg = ARG_MACHINE,
	 .here = can_start,
	 .help = "start the machine, or let it go on",
	 .run = run_start},
	{.name = "pause",
	 .keys = "p",
	 .hint = "pause",
	 .arg = ARG_MACHINE,
	 .here = can_pause,
	 .help = "stop the machine's time, or let it go on",
	 .run = run_pause},
	{.name = "power-button",
	 .keys = "B",
	 .hint = "button",
	 .arg = ARG_MACHINE,
	 .here = is_running,
	 .help = "ask the guest to shut down",
	 .run = run_powerdown,
	 .ask = ask_powerdown},
	{.name = "power-off",
	 .keys = "O",
	 .hint = "off",
	 .arg = ARG_MACHINE,
	 .here = is_on,
	 .help = "pull the plug",
	 .run = run_poweroff,
	 .ask = ask_poweroff},
	{.name = "reset",
	 .keys = "R",
	 .hint = "reset",
	 .arg = ARG_MACHINE,
	 .here = is_on,
	 .help = "press the reset button",
	 .run = run_reset,
	 .ask = ask_reset},
	{.name = "ctrl-alt-del",
	 .keys = "C",
	 .here = is_running,
	 .help = "press Ctrl-Alt-Del in the guest",
	 .run = run_ctrl_alt_del,
	 .ask = ask_ctrl_alt_del},
	{.name = "delete",
	 .keys = "D",
	 .arg = ARG_MACHINE,
	 .here = is_stopped,
	 .help = "delete the machine's file",
	 .run = run_delete,
	 .ask = ask_delete},
	{.name = "cut-power",
	 .arg = ARG_TEXT,
	 .here = is_on,
	 .help = "HOW [SEED]: none, all, subset or torn stays",
	 .run = run_cut_power,
	 .ask = ask_cut_power},
	{.name = "nmi",
	 .arg = ARG_MACHINE,
	 .here = is_running,
	 .help = "send a non-maskable interrupt",
	 .run = run_nmi,
	 .ask = ask_nmi},
	{.name = "change-medium",
	 .arg = ARG_TEXT,
	 .here = is_on,
	 .help = "DISK FILE: another medium for a drive",
	 .run = run_medium},
	{.name = "disk",
	 .arg = ARG_TEXT,
	 .here = is_on,
	 .help = "DISK JOB: commit, stream, mirror PATH ...",
	 .run = run_disk},
	{.name = "type",
	 .arg = ARG_TEXT,
	 .here = is_running,
	 .help = "TEXT: type into the guest",
	 .run = run_type},
};
const int nr_machine_actions =
	sizeof(machine_actions) / sizeof(*machine_actions);
