/*
 * What clients may ask.  A request is {"request": NAME, ...}; every one but
 * resize is answered by {"ok": true, ...} or {"ok": false, "error": SENTENCE}.
 */
#include <errno.h>
#include <json-c/json.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "ui/screen/ui.h"
#include "ui/session/server_int.h"

static const char *text_of(struct json_object *o, const char *key)
{
	struct json_object *v;

	if (!json_object_object_get_ex(o, key, &v) ||
	    !json_object_is_type(v, json_type_string))
		return "";
	return json_object_get_string(v);
}

static bool flag_of(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) &&
	       json_object_get_boolean(v);
}

static struct json_object *answer(bool ok)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "ok", json_object_new_boolean(ok));
	return o;
}

static struct json_object *refuse(const char *why)
{
	struct json_object *o = answer(false);

	json_object_object_add(o, "error", json_object_new_string(why));
	return o;
}

/* ---- requests ---- */

static struct json_object *do_attach(struct server *s, struct client *c,
				     struct json_object *request)
{
	struct term_options o = {
		.tty = c->channel.passed,
		.type = text_of(request, "term"),
		.ascii = flag_of(request, "ascii"),
		.no_color = flag_of(request, "no_color"),
		.mouse = s->ui->mouse,
	};
	struct error e = {0};

	if (c->channel.passed < 0)
		return refuse("attach passes no terminal");
	/* The terminal changes hands; the session must not end between. */
	for (int i = 0; i < SERVER_MAX_CLIENTS; i++) {
		if (s->clients[i].attached) {
			bool quit = s->quit;

			server_detach(s, "attached from another terminal");
			s->quit = quit;
		}
	}
	if (server_lend(s, &o, &e)) {
		s->quit |= !fleet_active(s->ui->fleet);
		return refuse(e.msg);
	}
	c->attached = s->was_attached = true;
	close(c->channel.passed);
	c->channel.passed = -1;
	return answer(true);
}

static struct json_object *do_resize(struct server *s, struct client *c,
				     struct json_object *request)
{
	(void)request;
	if (c->attached)
		server_effects(s, EFFECT_DRAW | EFFECT_REDRAW);
	return NULL;
}

/* Paths of the disks whose flushes are ignored. */
static struct json_object *unsafe_disks(const struct machine *m)
{
	struct json_object *list = json_object_new_array();

	for (unsigned i = 0; i < m->config.nr_disks; i++)
		if (!strcmp(m->config.disks[i].cache, "unsafe"))
			json_object_array_add(list,
					      json_object_new_string(
						      m->config.disks[i].path));
	return list;
}

static void add_machine(struct json_object *list, const struct machine *m)
{
	struct json_object *o = json_object_new_object();
	int live = m->life == MACHINE_LIVE;

	json_object_object_add(o, "id", json_object_new_string(m->id));
	json_object_object_add(o, "state",
			       json_object_new_string(machine_state_text(m)));
	if (*machine_reason(m))
		json_object_object_add(
			o, "reason", json_object_new_string(machine_reason(m)));
	json_object_object_add(o, "cpus",
			       json_object_new_int((int)m->config.cpus));
	json_object_object_add(o, "memory",
			       json_object_new_int64((int64_t)m->config.mem));
	json_object_object_add(
		o, "uptime_ns",
		json_object_new_int64(live ? (int64_t)m->status.uptime_ns : 0));
	json_object_object_add(o, "vnc", json_object_new_string(m->config.vnc));
	json_object_object_add(o, "description",
			       json_object_new_string(m->config.description));
	json_object_object_add(o, "unsafe_disks", unsafe_disks(m));
	json_object_array_add(list, o);
}

static struct json_object *do_list(struct server *s, struct client *c,
				   struct json_object *request)
{
	struct json_object *o = answer(true), *list = json_object_new_array();

	(void)c;
	(void)request;
	ui_refresh(s->ui);
	for (unsigned i = 0; i < fleet_count(s->ui->fleet); i++)
		add_machine(list, fleet_at(s->ui->fleet, i));
	json_object_object_add(o, "version",
			       json_object_new_string(BINNACLE_VERSION));
	json_object_object_add(o, "pid", json_object_new_int(getpid()));
	json_object_object_add(o, "attached",
			       json_object_new_boolean(s->term != NULL));
	json_object_object_add(o, "machines", list);
	return o;
}

static struct json_object *do_command(struct server *s, struct client *c,
				      struct json_object *request)
{
	struct json_object *o;
	unsigned effects;

	(void)c;
	s->ui->message[0] = '\0';
	effects = ui_command(s->ui, text_of(request, "line"));
	if (effects & EFFECT_FAILED)
		return refuse(s->ui->message);
	o = answer(true);
	json_object_object_add(o, "message",
			       json_object_new_string(s->ui->message));
	server_effects(s, effects);
	return o;
}

static struct json_object *do_run(struct server *s, struct client *c,
				  struct json_object *request)
{
	struct json_object *config, *o;
	struct vm_config cfg;
	struct error e = {0};

	(void)c;
	vm_config_init(&cfg);
	if (!json_object_object_get_ex(request, "config", &config))
		return refuse("run names no machine");
	if (vm_config_parse(&cfg, json_object_to_json_string(config), "/",
			    &e) ||
	    server_run_machine(s, &cfg, &e))
		return refuse(e.msg);
	o = answer(true);
	json_object_object_add(o, "id",
			       json_object_new_string(s->ui->machine->id));
	return o;
}

static const struct request {
	const char *name;
	struct json_object *(*run)(struct server *s, struct client *c,
				   struct json_object *request);
} requests[] = {
	{"attach", do_attach},	 {"resize", do_resize}, {"list", do_list},
	{"command", do_command}, {"run", do_run},
};

static struct json_object *dispatch(struct server *s, struct client *c,
				    struct json_object *request)
{
	const char *name = text_of(request, "request");

	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
		if (!strcmp(requests[i].name, name))
			return requests[i].run(s, c, request);
	return refuse("there is no such request");
}

/* ---- clients ---- */

void server_admit(struct server *s)
{
	int fd = socket_accept(s->listen_fd);

	if (fd < 0)
		return;
	for (int i = 0; i < SERVER_MAX_CLIENTS; i++) {
		if (s->clients[i].channel.fd >= 0)
			continue;
		if (channel_init(&s->clients[i].channel, fd))
			break;
		s->clients[i].attached = false;
		return;
	}
	close(fd);
}

static bool has_clients(const struct server *s)
{
	for (int i = 0; i < SERVER_MAX_CLIENTS; i++)
		if (s->clients[i].channel.fd >= 0)
			return true;
	return false;
}

static void forget(struct server *s, struct client *c)
{
	bool attached = c->attached;

	c->attached = false;
	channel_fini(&c->channel);
	if (attached)
		server_detach(s, "the client has gone");
	/* Started for somebody who never came. */
	else if (!s->was_attached && !has_clients(s) &&
		 !fleet_active(s->ui->fleet))
		s->quit = true;
}

void client_farewell(struct client *c, const char *why)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "event", json_object_new_string("detached"));
	json_object_object_add(o, "why", json_object_new_string(why));
	channel_send(&c->channel, o, -1);
	c->attached = false;
	channel_fini(&c->channel);
}

void server_hear(struct server *s, struct client *c)
{
	struct json_object *request, *reply;
	int ret = channel_read(&c->channel);
	bool bad = false;

	while (c->channel.fd >= 0 &&
	       (request = channel_next(&c->channel, &bad)) != NULL) {
		reply = dispatch(s, c, request);
		json_object_put(request);
		if (!reply)
			continue;
		if (c->channel.fd < 0)
			json_object_put(reply);
		else if (channel_send(&c->channel, reply, -1))
			ret = -EPIPE;
	}
	if (c->channel.fd >= 0 && (ret || bad))
		forget(s, c);
}
