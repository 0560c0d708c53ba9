#include "core/blk/nbd/address.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"

static int no_memory(struct error *e)
{
	return error_set(e, -ENOMEM, "no memory for the address of a server");
}

static int hex(char c)
{
	if (!isxdigit((unsigned char)c))
		return -1;
	return isdigit((unsigned char)c) ? c - '0' : (c | 32) - 'a' + 10;
}

/* What text[0, len) stands for, %XX resolved; NULL for a broken one. */
static char *decode(const char *text, size_t len)
{
	char *out = malloc(len + 1), *to = out;

	for (size_t i = 0; out && i < len; i++) {
		int high, low;

		if (text[i] != '%') {
			*to++ = text[i];
			continue;
		}
		high = i + 2 < len ? hex(text[i + 1]) : -1;
		low = i + 2 < len ? hex(text[i + 2]) : -1;
		if (high < 0 || low < 0 || !(high | low)) {
			free(out);
			return NULL;
		}
		*to++ = high << 4 | low;
		i += 2;
	}
	if (out)
		*to = 0;
	return out;
}

static int bad(struct error *e, const char *why)
{
	return error_set(e, -EINVAL, "the name is no address of a server: %s",
			 why);
}

/* HOST, HOST:PORT, [IPv6] or [IPv6]:PORT in text[0, len). */
static int parse_host(const char *text, size_t len, struct nbd_address *a,
		      struct error *e)
{
	const char *end = text + len, *colon;
	size_t host_len;

	if (len && *text == '[') {
		const char *close = memchr(text, ']', len);

		if (!close || (close + 1 < end && close[1] != ':'))
			return bad(e, "the brackets are not closed");
		host_len = close - text - 1;
		text++;
		colon = close + 1;
	} else {
		colon = memchr(text, ':', len);
		if (!colon)
			colon = end;
		host_len = colon - text;
	}
	if (!host_len)
		return bad(e, "it names no host");
	a->host = decode(text, host_len);
	a->port = colon + 1 < end ? strndup(colon + 1, end - colon - 1)
				  : strdup(NBD_PORT);
	return a->host && a->port ? 0 : bad(e, "it is malformed");
}

/* The value of socket= in the query that starts at text; NULL: none. */
static char *find_socket(const char *text)
{
	while (*text) {
		size_t len = strcspn(text, "&;");

		if (!strncmp(text, "socket=", 7))
			return decode(text + 7, len - 7);
		text += len + (text[len] != 0);
	}
	return NULL;
}

static int parse_uri(const char *text, bool is_unix, struct nbd_address *a,
		     struct error *e)
{
	const char *p = strchr(text, ':') + 1, *path, *query;
	size_t len = 0;

	if (!strncmp(p, "//", 2)) {
		p += 2;
		len = strcspn(p, "/?");
	}
	path = p + len;
	query = path + strcspn(path, "?#");
	if (is_unix) {
		if (len)
			return bad(e, "a Unix socket has no host");
		a->socket = *query ? find_socket(query + 1) : NULL;
		if (!a->socket || !*a->socket)
			return bad(e, "it has no socket=PATH");
	} else {
		const char *user = memchr(p, '@', len);

		if (user) {
			len -= user + 1 - p;
			p = user + 1;
		}
		if (!len) {
			a->host = strdup("localhost");
			a->port = strdup(NBD_PORT);
		} else if (parse_host(p, len, a, e)) {
			return -EINVAL;
		}
	}
	path += *path == '/';
	a->export = decode(path, query - path);
	return a->export ? 0 : bad(e, "the export's name is malformed");
}

/* nbd:HOST:PORT and nbd:unix:PATH; a name goes on to the end of the text. */
static int parse_old(const char *text, struct nbd_address *a, struct error *e)
{
	const char *p = strchr(text, ':') + 1;
	const char *name = strstr(p, ":exportname=");
	size_t len = name ? (size_t)(name - p) : strlen(p);

	a->export = strdup(name ? name + 12 : "");
	if (!strncmp(p, "unix:", 5)) {
		a->socket = len > 5 ? strndup(p + 5, len - 5) : NULL;
		return a->socket ? 0 : bad(e, "it names no socket");
	}
	if (parse_host(p, len, a, e))
		return -EINVAL;
	return a->export ? 0 : no_memory(e);
}

bool nbd_is_address(const char *text)
{
	return !strncmp(text, "nbd:", 4) || !strncmp(text, "nbd+unix:", 9) ||
	       !strncmp(text, "nbd+tcp:", 8) || !strncmp(text, "nbds:", 5) ||
	       !strncmp(text, "nbds+unix:", 10);
}

int nbd_address_parse(const char *text, struct nbd_address *out,
		      struct error *e)
{
	bool is_unix = !strncmp(text, "nbd+unix:", 9);
	int ret;

	*out = (struct nbd_address){0};
	if (!strncmp(text, "nbds", 4))
		return error_set(e, -ENOTSUP,
				 "TLS is not supported; use nbd: or "
				 "nbd+unix:");
	if (is_unix || !strncmp(text, "nbd:/", 5) ||
	    !strncmp(text, "nbd+tcp:", 8))
		ret = parse_uri(text, is_unix, out, e);
	else if (!strncmp(text, "nbd:", 4))
		ret = parse_old(text, out, e);
	else
		ret = bad(e, "it does not begin with nbd: or nbd+unix:");
	if (!ret && strlen(out->export) > NBD_STRING_MAX)
		ret = bad(e, "the export's name is too long");
	return ret;
}

void nbd_address_fini(struct nbd_address *a)
{
	free(a->socket);
	free(a->host);
	free(a->port);
	free(a->export);
	*a = (struct nbd_address){0};
}

static char *encode(char *to, const char *text)
{
	static const char digits[] = "0123456789ABCDEF";

	for (; *text; text++) {
		unsigned char c = *text;

		if (isalnum(c) || strchr("-._~/:@!$'()*,", c)) {
			*to++ = c;
			continue;
		}
		*to++ = '%';
		*to++ = digits[c >> 4];
		*to++ = digits[c & 15];
	}
	*to = 0;
	return to;
}

char *nbd_address_uri(const struct nbd_address *a)
{
	const char *name = a->export ? a->export : "";
	const char *place = a->socket ? a->socket : a->host;
	char *uri = malloc(64 + 3 * strlen(name) + 3 * strlen(place) +
			   (a->port ? strlen(a->port) : 0));
	char *p = uri;

	if (!uri)
		return NULL;
	if (a->socket) {
		p += sprintf(p, "nbd+unix://%s", *name ? "/" : "");
		p = encode(p, name);
		p += sprintf(p, "?socket=");
		encode(p, a->socket);
		return uri;
	}
	p += sprintf(p, strchr(a->host, ':') ? "nbd://[%s]" : "nbd://%s",
		     a->host);
	if (a->port)
		p += sprintf(p, ":%s", a->port);
	if (*name)
		*p++ = '/';
	encode(p, name);
	return uri;
}
