/* SPDX-License-Identifier: Apache-2.0 */
/* Errors as RFC 9457 documents, JSON output, and the log of what was answered. */
#include "api_impl.h"

#include "mica/clock.h"
#include "mica/log.h"

#include <inttypes.h>

/* ---- JSON output ----------------------------------------------------------------------------- */

static void put_name(struct mica_buf *b, const char *name)
{
	size_t len = strlen(name);
	uint8_t *to = mica_buf_room(b, len + 4);
	bool first = b->len > 0 && b->p[b->len - 1] == '{';

	if (!to)
		return;
	if (!first)
		*to++ = ',';
	*to++ = '"';
	memcpy(to, name, len);
	memcpy(to + len, "\":", 2);
	mica_buf_added(b, len + (first ? 3 : 4));
}

void api_put_string(struct mica_buf *b, const char *name, struct mica_slice v)
{
	put_name(b, name);
	mica_buf_put_json_string(b, v);
}

void api_put_time(struct mica_buf *b, const char *name, int64_t t)
{
	char text[MICA_TIME_SIZE];
	mica_time_format(t, text);
	put_name(b, name);
	mica_buf_put_u8(b, '"');
	mica_buf_put(b, text, MICA_TIME_SIZE - 1);
	mica_buf_put_u8(b, '"');
}

void api_put_u64(struct mica_buf *b, const char *name, uint64_t v)
{
	char text[24];
	size_t at = sizeof(text);

	do
		text[--at] = (char)('0' + v % 10);
	while ((v /= 10) != 0);
	put_name(b, name);
	mica_buf_put(b, text + at, sizeof(text) - at);
}

void api_put_bool(struct mica_buf *b, const char *name, bool v)
{
	put_name(b, name);
	mica_buf_put_str(b, v ? "true" : "false");
}

void api_put_text(struct mica_buf *b, const char *name, struct mica_slice v)
{
	put_name(b, name);
	mica_buf_put_u8(b, '"');
	while (v.len) {
		const uint8_t *end = memchr(v.p, '\n', v.len);
		size_t len = end ? (size_t)(end - v.p) : v.len;
		mica_buf_put(b, v.p, len);
		if (end)
			mica_buf_put(b, "\\n", 2);
		v = mica_slice_sub(v, len + (end ? 1 : 0), v.len);
	}
	mica_buf_put_u8(b, '"');
}

/* ---- problems -------------------------------------------------------------------------------- */

/* Reasons whose class says less than HTTP can: of what is above a limit, only a rate is 429; our
 * own full queues and lost races are no fault of the caller's. */
static const struct {
	const char *reason;
	int status;
} special[] = {
	{"rate_limited", 429},
	{"identity_rate_limited", 429},
	{"content_type", 415},
	{"overloaded", 503},
	{"too_many_watchers", 503},
	{"too_many_acks", 503},
	{"changed_meanwhile", 503},
};

int api_error_status(const struct mica_err *e)
{
	for (size_t i = 0; e->reason && i < MICA_ARRAY_LEN(special); i++)
		if (strcmp(e->reason, special[i].reason) == 0)
			return special[i].status;
	if (e->rc == MICA_LIMIT)
		return 413; /* a document, or something in it, is too large */
	return mica_rc_http(e->rc == MICA_OK ? MICA_INTERNAL : e->rc);
}

void api_problem(struct mica_buf *out, int status, const struct mica_err *e, const char *expected)
{
	mica_buf_put_str(out, "{\"type\":\"about:blank\"");
	api_put_string(out, "title", mica_slice_str(api_status_phrase(status)));
	api_put_u64(out, "status", (uint64_t)status);
	api_put_string(out, "reason", mica_slice_str(e->reason ? e->reason : "internal"));
	api_put_string(out, "detail", mica_slice_str(e->text));
	if (expected)
		api_put_string(out, "expected", mica_slice_str(expected));
	if (e->line > 0)
		api_put_u64(out, "line", (uint64_t)e->line);
	if (e->column > 0)
		api_put_u64(out, "column", (uint64_t)e->column);
	if (status == 429 || status == 503)
		api_put_u64(out, "retry_after", e->retry_after > 0 ? (uint64_t)e->retry_after : 1);
	mica_buf_put_u8(out, '}');
}

void api_fail_status(struct api_call *c, int status)
{
	MICA_AUTO_BUF body;

	mica_buf_init(&body, 16 * 1024);
	api_problem(&body, status, &c->err, c->expected);
	api_log_refused(c, status);
	api_answer(c,
		&(struct api_answer){.status = status,
			.type = "application/problem+json",
			.body = mica_buf_slice(&body),
			.retry_after = c->err.retry_after});
}

void api_fail(struct api_call *c)
{
	int status = api_error_status(&c->err);
	/* where nothing was sent, what is too large is ours */
	if (status == 413 && c->route && !c->route->body)
		status = 500;
	api_fail_status(c, status);
}

/* ---- log --------------------------------------------------------------------------------- */

static int kind_of(const struct api_call *c)
{
	if (!c->route || !api_issues(c->route))
		return -1;
	return c->route->run == api_x509 ? METRIC_X509 : METRIC_JWT;
}

void api_log_refused(struct api_call *c, int status)
{
	desk_refused(c->a->desk,
		&(struct desk_refusal){.front = "",
			.path = c->route ? c->route->path : "",
			.key = "status",
			.number = status,
			.failed = status >= 500,
			.rare = status != 429 && status != 503,
			.level = status == 500  ? MICA_ERROR
				: status == 404 ? MICA_DEBUG
						: MICA_INFO,
			.err = &c->err,
			.caller = c->caller,
			.address = c->address,
			.kind = kind_of(c)});
}

void api_log_admin(struct api_call *c, const char *event, const char *key, struct mica_slice value)
{
	const struct mica_caller *k = c->caller;
	bool local = k->uid >= 0 && k->principal.spiffe_id[0] == '\0';

	MICA_LOG(MICA_WARN, event, MICA_SL(key, value),
		desk_field("spiffe_id", k->principal.spiffe_id),
		MICA_I(local ? "uid" : NULL, k->uid), MICA_I(local ? "pid" : NULL, k->pid),
		desk_field("address", c->address));
}
