/* SPDX-License-Identifier: Apache-2.0 */
#include "mica/err.h"

#include "utf8.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct {
	const char *name;
	int http, grpc, exit;
} classes[MICA_RC_COUNT] = {
	[MICA_OK] = {"OK", 200, 0, 0},
	[MICA_INVALID] = {"INVALID", 400, 3, 2},
	[MICA_UNAUTHENTICATED] = {"UNAUTHENTICATED", 401, 16, 3},
	[MICA_DENIED] = {"DENIED", 403, 7, 4},
	[MICA_NOT_FOUND] = {"NOT_FOUND", 404, 5, 5},
	[MICA_CONFLICT] = {"CONFLICT", 409, 10, 6},
	[MICA_LIMIT] = {"LIMIT", 429, 8, 7},
	[MICA_UNAVAILABLE] = {"UNAVAILABLE", 503, 14, 75}, /* EX_TEMPFAIL of sysexits.h */
	[MICA_CORRUPT] = {"CORRUPT", 500, 15, 8},
	[MICA_INTERNAL] = {"INTERNAL", 500, 13, 1},
};

/* A value that is no class at all is a bug, so it counts as one. */
static mica_rc known(mica_rc rc)
{
	return (unsigned)rc < MICA_RC_COUNT ? rc : MICA_INTERNAL;
}

/* Error texts reach terminals, log lines and JSON: one line of well-formed UTF-8. The result
 * is never longer than the text was, and a sequence that was cut at the end goes. */
static void clean(char *text)
{
	const uint8_t *in = (const uint8_t *)text;
	size_t n = strlen(text), o = 0;

	for (size_t i = 0; i < n;) {
		uint32_t cp;
		size_t len = mica_utf8_next(in + i, n - i, &cp);

		if (len == 0 && n == MICA_ERR_TEXT_MAX - 1 && n - i < 4)
			break;
		if (len == 0 || mica_utf8_unsafe(cp)) {
			text[o++] = '?';
			i += len ? len : 1;
			continue;
		}
		memmove(text + o, in + i, len);
		o += len;
		i += len;
	}
	text[o] = '\0';
}

MICA_PRINTF(2, 0) static void put_text(char out[MICA_ERR_TEXT_MAX], const char *fmt, va_list ap)
{
	if (vsnprintf(out, MICA_ERR_TEXT_MAX, fmt, ap) < 0)
		out[0] = '\0';
	clean(out);
}

MICA_PRINTF(6, 0)
static mica_rc fill(struct mica_err *e, mica_rc rc, const char *reason, int line, int column,
	const char *fmt, va_list ap)
{
	rc = known(rc);
	if (rc == MICA_OK)
		rc = MICA_INTERNAL; /* failing with OK is a bug, never a success */
	if (e == NULL || e->rc != MICA_OK)
		return rc;
	e->rc = rc;
	e->reason = reason;
	e->fine = NULL;
	e->line = line;
	e->column = column;
	e->detail[0] = '\0';
	put_text(e->text, fmt, ap);
	return rc;
}

mica_rc mica_fail(struct mica_err *e, mica_rc rc, const char *reason, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	rc = fill(e, rc, reason, 0, 0, fmt, ap);
	va_end(ap);
	return rc;
}

mica_rc mica_fail_fine(struct mica_err *e, mica_rc rc, const char *reason, const char *public_text,
	const char *fine, const char *detail_fmt, ...)
{
	va_list ap;

	if (e == NULL || e->rc != MICA_OK)
		return mica_fail(NULL, rc, reason, "%s", public_text);
	rc = mica_fail(e, rc, reason, "%s", public_text);
	e->fine = fine;
	va_start(ap, detail_fmt);
	put_text(e->detail, detail_fmt, ap);
	va_end(ap);
	return rc;
}

mica_rc mica_fail_at(struct mica_err *e, mica_rc rc, const char *reason, int line, int column,
	const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	rc = fill(e, rc, reason, line, column, fmt, ap);
	va_end(ap);
	return rc;
}

static const struct {
	int errnum;
	mica_rc rc;
	const char *reason;
} errnos[] = {
	{ENOENT, MICA_NOT_FOUND, "no_such_file"},
	{ENOTDIR, MICA_NOT_FOUND, "no_such_file"},
	{EACCES, MICA_DENIED, "permission_denied"},
	{EPERM, MICA_DENIED, "permission_denied"},
	{EROFS, MICA_DENIED, "read_only"},
	{EEXIST, MICA_CONFLICT, "exists_already"},
	{ENOSPC, MICA_UNAVAILABLE, "disk_full"},
	{EDQUOT, MICA_UNAVAILABLE, "disk_full"},
	{ENOMEM, MICA_UNAVAILABLE, "out_of_memory"},
	{EMFILE, MICA_UNAVAILABLE, "too_many_open_files"},
	{ENFILE, MICA_UNAVAILABLE, "too_many_open_files"},
};

/* The result is copied out by strerror_r's XSI form, or is the constant of its GNU form. */
static const char *message_of(int errnum, char *room, size_t size)
{
#if defined(_GNU_SOURCE)
	return strerror_r(errnum, room, size);
#else
	return strerror_r(errnum, room, size) == 0 ? room : "unknown error";
#endif
}

mica_rc mica_fail_errno(struct mica_err *e, int errnum, const char *fmt, ...)
{
	mica_rc rc = MICA_INTERNAL;
	const char *reason = "io_error";
	char what[MICA_ERR_TEXT_MAX], room[128];
	va_list ap;

	for (size_t i = 0; i < sizeof(errnos) / sizeof(errnos[0]); i++) {
		if (errnos[i].errnum != errnum)
			continue;
		rc = errnos[i].rc;
		reason = errnos[i].reason;
	}
	va_start(ap, fmt);
	put_text(what, fmt, ap);
	va_end(ap);
	return mica_fail(e, rc, reason, "%s: %s", what, message_of(errnum, room, sizeof(room)));
}

void mica_err_context(struct mica_err *e, const char *fmt, ...)
{
	char context[MICA_ERR_TEXT_MAX], text[MICA_ERR_TEXT_MAX];
	va_list ap;
	int n;

	if (e == NULL || e->rc == MICA_OK)
		return;
	va_start(ap, fmt);
	put_text(context, fmt, ap);
	va_end(ap);
	memcpy(text, e->text, sizeof(text));
	n = snprintf(e->text, sizeof(e->text), "%.250s: %s", context, text);
	if (n < 0)
		memcpy(e->text, text, sizeof(text));
	clean(e->text);
}

void mica_err_clear(struct mica_err *e)
{
	*e = (struct mica_err)MICA_ERR_INIT;
}

const char *mica_err_fine(const struct mica_err *e)
{
	if (e->rc == MICA_OK)
		return "ok";
	if (e->fine)
		return e->fine;
	return e->reason ? e->reason : "unknown";
}

const char *mica_rc_name(mica_rc rc)
{
	return classes[known(rc)].name;
}

int mica_rc_http(mica_rc rc)
{
	return classes[known(rc)].http;
}

int mica_rc_grpc(mica_rc rc)
{
	return classes[known(rc)].grpc;
}

int mica_rc_exit(mica_rc rc)
{
	return classes[known(rc)].exit;
}
