/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lenient HTTP parser as libmicrohttpd 0.9.75 is one: lines end in LF or CR LF, a folded line is
 * copied behind the *name* of the one before, NUL ends a value, whatever stands before ':' is a
 * name. It writes NUL over what separates the parts, and hands out what the guard then sees. So
 * that guard and parser can be tested together on raw bytes, without a socket.
 */
#ifndef TEST_LENIENT_H
#define TEST_LENIENT_H

#include "server/guard.h"

#include "mica/mem.h"

#include <string.h>

struct lenient {
	char *block; /* a copy of the raw bytes, with a NUL behind */
	size_t at, len;
	char *target; /* as it came */
	struct guard_field fields[GUARD_MAX_FIELDS + 1];
	struct guard_input in;
};

static inline char *lenient_line(struct lenient *l)
{
	for (size_t i = l->at; i < l->len; i++) {
		char *line = l->block + l->at;
		const bool crlf = l->block[i] == '\r' && i + 1 < l->len && l->block[i + 1] == '\n';
		if (!crlf && l->block[i] != '\n')
			continue;
		l->block[i] = '\0';
		if (crlf)
			l->block[++i] = '\0';
		l->at = i + 1;
		return line;
	}
	return NULL;
}

static inline bool lenient_first(struct lenient *l, size_t *start)
{
	char *line, *uri, *version, *end;
	size_t len;
	do {
		*start = l->at;
		line = lenient_line(l);
	} while (line && line[0] == '\0');
	if (!line)
		return false;
	len = l->at - *start; /* what was the line's end is NUL by now */
	while (len > 0 && line[len - 1] == '\0')
		len--;
	end = line + len;
	uri = memchr(line, ' ', len);
	if (!uri)
		return false;
	*uri++ = '\0';
	while (uri < end && *uri == ' ')
		uri++;
	for (version = end - 1; version > uri && *version == ' ';)
		version--;
	while (version > uri && *version != ' ')
		version--;
	if (version <= uri)
		return false;
	*version++ = '\0';
	if (memchr(uri, ' ', (size_t)(version - uri)) || strncmp(version, "HTTP/1.", 7) != 0)
		return false;
	l->target = mica_strdup(uri);
	l->in.method = mica_slice_str(line);
	l->in.target = mica_slice_str(l->target);
	l->in.target_at = (const uint8_t *)uri;
	l->in.version = mica_slice_str(version);
	uri[strcspn(uri, "?")] = '\0';
	return true;
}

static inline bool lenient_fields(struct lenient *l)
{
	char *name = NULL, *value = NULL, *line;
	for (;;) {
		line = lenient_line(l);
		if (!line)
			return false;
		if (name && (line[0] == ' ' || line[0] == '\t')) {
			line += strspn(line, " \t");
			memmove(name + strlen(name), line, strlen(line) + 1);
			continue;
		}
		if (name && l->in.n_fields < MICA_ARRAY_LEN(l->fields))
			l->fields[l->in.n_fields++] =
				(struct guard_field){mica_slice_str(name), mica_slice_str(value)};
		if (line[0] == '\0')
			return true;
		value = strchr(line, ':');
		if (!value)
			return false;
		name = line;
		*value++ = '\0';
		value += strspn(value, " \t");
	}
}

/* False when this parser itself refuses. `l` is to be cleared in any case. */
static inline bool lenient_parse(struct lenient *l, struct mica_slice raw)
{
	size_t start;
	memset(l, 0, sizeof(*l));
	l->block = mica_alloc(raw.len + 1);
	if (raw.len > 0)
		memcpy(l->block, raw.p, raw.len);
	l->len = raw.len;
	l->in.fields = l->fields;
	if (!lenient_first(l, &start) || !lenient_fields(l))
		return false;
	l->in.block = mica_slice(l->block + start, l->at - start);
	return true;
}

static inline void lenient_clear(struct lenient *l)
{
	mica_free(l->block);
	mica_free(l->target);
}

#endif
