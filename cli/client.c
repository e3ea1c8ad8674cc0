/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* memmem */
#include "client.h"

#include "mica/clock.h"
#include "mica/file.h"
#include "mica/token.h"

#include <stdio.h>
#include <unistd.h>

#define DEFAULT_SOCKET     "/run/mica/admin.sock"
#define DEFAULT_TIMEOUT_MS 30000
#define ANSWER_MAX         ((size_t)1 << 20)
#define REASONS_MAX        256

struct client {
	struct mica_http_client *http;
	char *base; /* "https://host:port", without a '/' at its end */
	char *where;
	struct mica_secret *token;
	int64_t timeout_ms;
	bool local;
};

void client_free(struct client *k)
{
	if (!k)
		return;
	mica_http_client_free(k->http);
	mica_secret_free(k->token);
	mica_free(k->base);
	mica_free(k->where);
	mica_free(k);
}

bool client_is_local(const struct client *k)
{
	return k->local;
}

const char *client_where(const struct client *k)
{
	return k->where;
}

/* ---- errors of micad ------------------------------------------------------------------------- */

/* Reasons are literals all over the program. Those that micad sends are few; each is kept once. */
static const char *intern(struct mica_slice reason)
{
	static char *kept[REASONS_MAX];
	static size_t n;

	for (size_t i = 0; i < reason.len; i++) {
		uint8_t ch = reason.p[i];

		if (!(ch >= 'a' && ch <= 'z') && !(ch >= '0' && ch <= '9') && ch != '_')
			return "http_status";
	}
	if (reason.len == 0 || reason.len > 64)
		return "http_status";
	for (size_t i = 0; i < n; i++)
		if (mica_slice_eq_str(reason, kept[i]))
			return kept[i];
	if (n == REASONS_MAX)
		return "http_status";
	kept[n] = mica_slice_dup(reason);
	return kept[n++];
}

static mica_rc class_of(int status)
{
	static const struct {
		int status;
		mica_rc rc;
	} classes[] = {{400, MICA_INVALID}, {401, MICA_UNAUTHENTICATED}, {403, MICA_DENIED},
		{404, MICA_NOT_FOUND}, {409, MICA_CONFLICT}, {412, MICA_CONFLICT},
		{413, MICA_LIMIT}, {429, MICA_LIMIT}, {502, MICA_UNAVAILABLE},
		{503, MICA_UNAVAILABLE}, {504, MICA_UNAVAILABLE}};

	for (size_t i = 0; i < MICA_ARRAY_LEN(classes); i++)
		if (classes[i].status == status)
			return classes[i].rc;
	return status >= 400 && status < 500 ? MICA_INVALID : MICA_INTERNAL;
}

mica_rc client_problem(int status, int retry_after, struct mica_slice body, struct mica_err *e)
{
	struct mica_slice reason = {0}, detail = MICA_LIT(""), expected = {0};
	int64_t line = 0, column = 0;
	const struct mica_json_member members[] = {
		{.name = "reason", .type = MICA_JSON_STRING, .required = true, .out = &reason},
		{.name = "detail", .type = MICA_JSON_STRING, .out = &detail},
		{.name = "expected", .type = MICA_JSON_STRING, .out = &expected},
		{.name = "line", .type = MICA_JSON_INT, .out = &line},
		{.name = "column", .type = MICA_JSON_INT, .out = &column}};
	MICA_AUTO_JSON d = {0};
	mica_rc rc = class_of(status);

	if (mica_json_parse(body, NULL, &d, NULL) != MICA_OK || !json_is_object(d.root) ||
		mica_json_read(&d, d.root, "", members, MICA_ARRAY_LEN(members), true, NULL) !=
			MICA_OK)
		return mica_fail(e, rc, "http_status",
			"the answer has status %d and does not say why: is this micad?", status);
	if (expected.len > 0 && !memmem(detail.p, detail.len, expected.p, expected.len))
		rc = mica_fail(e, rc, intern(reason), "%.*s; expected: %.*s", MICA_FMT(detail),
			MICA_FMT(expected));
	else
		rc = mica_fail(e, rc, intern(reason), "%.*s", MICA_FMT(detail));
	if (e && retry_after > 0)
		e->retry_after = retry_after;
	if (e && line > 0 && line < 1 << 30)
		e->line = (int)line;
	if (e && column > 0 && column < 1 << 30)
		e->column = (int)column;
	return rc;
}

/* ---- opening --------------------------------------------------------------------------------- */

static char *trimmed(const char *url)
{
	size_t len = strlen(url);

	while (len > 0 && url[len - 1] == '/')
		len--;
	return mica_strndup(url, len);
}

/* Without https a token would go over the wire for all to read. */
static mica_rc check_url(const char *url, struct mica_err *e)
{
	if (strncmp(url, "https://", 8) == 0 && url[8] != '\0')
		return MICA_OK;
	return mica_fail(e, MICA_INVALID, "bad_url", "%.200s: expected https://HOST[:PORT]", url);
}

static bool use_socket(const struct cli *c, unsigned flags)
{
	const struct cli_value *url = &c->v[OPT_URL], *socket = &c->v[OPT_SOCKET];

	if (url->set && !url->from_env)
		return false;
	if (socket->set && !socket->from_env)
		return true;
	if (flags & CLIENT_ADMIN)
		return socket->set || !url->set;
	return !url->set;
}

static mica_rc load_token(struct cli *c, struct client *k, struct mica_err *e)
{
	struct mica_slice text;
	MICA_AUTO_BUF b;
	mica_rc rc;

	mica_buf_init_secret(&b, MICA_TOKEN_MAX + 2);
	rc = mica_file_read(cli_str(c, OPT_TOKEN_FILE), &b, e);
	if (rc != MICA_OK)
		return rc;
	text = mica_buf_slice(&b);
	while (text.len > 0 && (text.p[text.len - 1] == '\n' || text.p[text.len - 1] == '\r'))
		text.len--;
	if (text.len == 0)
		return mica_fail(e, MICA_INVALID, "token_file_empty",
			"%s: expected a token, it is empty", cli_str(c, OPT_TOKEN_FILE));
	for (size_t i = 0; i < text.len; i++)
		if (text.p[i] <= ' ' || text.p[i] > '~')
			return mica_fail(e, MICA_INVALID, "token_file_malformed",
				"%s: expected one token in a line of its own",
				cli_str(c, OPT_TOKEN_FILE));
	b.p[text.len] = '\0'; /* so that it is a C string there, too */
	k->token = mica_secret_new(b.p, text.len + 1);
	return MICA_OK;
}

/* As a C string, for a header; secrets are read-only and end with the NUL of load_token. */
static const char *bearer(const struct client *k)
{
	return k->token ? (const char *)mica_secret_view(k->token).p : NULL;
}

static struct client *new_client(struct cli *c)
{
	struct client *k = MICA_NEW(struct client);

	k->timeout_ms = cli_int(c, OPT_TIMEOUT, DEFAULT_TIMEOUT_MS / 1000) * 1000;
	return k;
}

static mica_rc open_with(struct cli *c, unsigned flags, const char *cert, const char *key,
	struct client **out, struct mica_err *e)
{
	CLIENT_AUTO k = new_client(c);
	struct mica_http_options o = {.cert_pem_file = cert, .key_pem_file = key};
	const char *socket = cli_str(c, OPT_SOCKET);
	mica_rc rc = MICA_OK;

	*out = NULL;
	k->local = !cert && use_socket(c, flags);
	if (k->local && !socket && !(flags & CLIENT_ADMIN) && access(DEFAULT_SOCKET, F_OK) != 0)
		return mica_fail(
			e, MICA_INVALID, "no_server", "where is micad? --url is not given");
	if (k->local) {
		o.unix_socket = socket ? socket : DEFAULT_SOCKET;
		o.plain = true;
		k->base = mica_strdup("http://mica");
		k->where = mica_strdup(o.unix_socket);
	} else if (!cli_set(c, OPT_URL)) {
		return mica_fail(
			e, MICA_INVALID, "no_server", "where is micad? --url is not given");
	} else {
		o.ca_file = cli_str(c, OPT_CA);
		k->base = trimmed(cli_str(c, OPT_URL));
		k->where = mica_strdup(k->base);
		rc = check_url(k->base, e);
	}
	if (rc == MICA_OK)
		rc = mica_http_client_new(&o, &k->http, e);
	if (rc == MICA_OK)
		*out = MICA_STEAL(k);
	return rc;
}

mica_rc client_open(struct cli *c, unsigned flags, struct client **out, struct mica_err *e)
{
	const char *dir = cli_str(c, OPT_SVID);
	char cert[4096], key[4096];
	bool local = use_socket(c, flags), pair = false, token = cli_set(c, OPT_TOKEN_FILE);
	mica_rc rc;

	/* On the socket an administrator is who the kernel says, whatever the environment has. */
	if (local && (flags & CLIENT_ADMIN) && c->v[OPT_TOKEN_FILE].from_env)
		token = false;
	if (dir && !local && !token) {
		pair = snprintf(cert, sizeof(cert), "%s/cert.pem", dir) < (int)sizeof(cert) &&
			snprintf(key, sizeof(key), "%s/key.pem", dir) < (int)sizeof(key);
		if (!pair)
			return mica_fail(e, MICA_INVALID, "bad_option", "--svid: too long a path");
	}
	rc = open_with(c, flags, pair ? cert : NULL, pair ? key : NULL, out, e);
	if (rc == MICA_OK && token)
		rc = load_token(c, *out, e);
	if (rc == MICA_OK && (flags & CLIENT_CREDENTIAL) && !token && !pair && !local)
		rc = mica_fail(e, MICA_INVALID, "no_credential",
			"who asks? neither --token-file nor --svid is given");
	if (rc != MICA_OK) {
		client_free(*out);
		*out = NULL;
	}
	return rc;
}

mica_rc client_open_pair(
	struct cli *c, const char *cert, const char *key, struct client **out, struct mica_err *e)
{
	return open_with(c, 0, cert, key, out, e);
}

mica_rc client_open_url(struct cli *c, const char *url, struct client **out, struct mica_err *e)
{
	CLIENT_AUTO k = new_client(c);
	/* What is read there is signed: http will do. */
	struct mica_http_options o = {.ca_file = cli_str(c, OPT_CA), .plain = true};
	mica_rc rc = mica_http_client_new(&o, &k->http, e);

	*out = NULL;
	if (rc != MICA_OK)
		return rc;
	k->base = trimmed(url);
	k->where = mica_strdup(k->base);
	*out = MICA_STEAL(k);
	return MICA_OK;
}

/* ---- requests -------------------------------------------------------------------------------- */

static bool stopped(void *ctx)
{
	(void)ctx;
	return cli_stopped();
}

/* Whether there is time to do as the answer says. Its memory is given back then. */
static bool try_again(
	const struct client_request *r, int64_t end_ms, struct mica_http_response *out)
{
	int64_t wait = out->retry_after > 0 ? out->retry_after * 1000 : 1000;

	if (!r->patient || (out->status != 503 && out->status != 429) ||
		mica_mono_ms() + wait >= end_ms)
		return false;
	mica_http_response_clear(out);
	return cli_sleep(wait);
}

mica_rc client_do(struct client *k, const struct client_request *r, struct mica_http_response *out,
	struct mica_err *e)
{
	MICA_AUTO_BUF url;
	struct mica_http_request q = {.method = r->method ? r->method : "GET",
		.bearer = r->anonymous ? NULL : bearer(k),
		.content_type = r->body.len > 0 ? "application/json" : NULL,
		.if_none_match = r->if_none_match,
		.if_match = r->if_match,
		.body = r->body,
		.timeout_ms = r->timeout_ms ? r->timeout_ms : k->timeout_ms,
		.max_body = r->max_body ? r->max_body : ANSWER_MAX,
		.cancelled = r->cancelled ? r->cancelled : stopped,
		.ctx = r->ctx};
	int64_t end_ms = mica_mono_ms() + q.timeout_ms;
	mica_rc rc;

	mica_buf_init(&url, 16384);
	mica_buf_printf(&url, "%s%s", k->base, r->path);
	rc = mica_buf_rc(&url, e);
	q.url = (const char *)url.p;
	do {
		if (rc == MICA_OK)
			rc = mica_http_do(k->http, &q, out, e);
	} while (rc == MICA_OK && try_again(r, end_ms, out));
	if (rc != MICA_OK) {
		if (k->local)
			mica_err_context(e, "%s", k->where);
		return rc;
	}
	if ((out->status >= 200 && out->status < 300) || out->status == 304)
		return MICA_OK;
	return client_problem(out->status, out->retry_after, mica_buf_slice(&out->body), e);
}

mica_rc client_json(struct client *k, const struct client_request *r,
	struct mica_http_response *out, struct mica_json *d, struct mica_err *e)
{
	struct mica_json_limits limits = {.bytes = r->max_body ? r->max_body : ANSWER_MAX};
	mica_rc rc = client_do(k, r, out, e);

	if (rc != MICA_OK)
		return rc;
	rc = mica_json_parse(mica_buf_slice(&out->body), &limits, d, e);
	if (rc == MICA_OK && !json_is_object(d->root))
		rc = mica_fail(e, MICA_INVALID, "answer_malformed", "expected a JSON object");
	if (rc != MICA_OK)
		mica_err_context(e, "the answer of %s", k->where);
	return rc;
}

void client_query(struct mica_buf *path, const char *name, struct mica_slice value)
{
	static const char plain[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";

	if (value.len == 0)
		return;
	mica_buf_printf(path, "%c%s=", memchr(path->p, '?', path->len) ? '&' : '?', name);
	for (size_t i = 0; i < value.len; i++) {
		if (memchr(plain, value.p[i], sizeof(plain) - 1))
			mica_buf_put_u8(path, value.p[i]);
		else
			mica_buf_printf(path, "%%%02X", value.p[i]);
	}
}
