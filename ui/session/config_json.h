/*
 * config_json: a machine's configuration as the text of a machine file, to
 * hand it to a session that runs already.
 *
 * Thread rule: pure functions over values; [any] thread.
 */
#ifndef UI_SESSION_CONFIG_JSON_H
#define UI_SESSION_CONFIG_JSON_H

struct json_object;
struct vm_config;

/* An object that vm_config_parse reads back into the same configuration, with
 * absolute paths; the caller puts it. NULL when memory is short. */
struct json_object *config_to_json(const struct vm_config *cfg);

#endif
