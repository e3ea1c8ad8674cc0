/* SPDX-License-Identifier: Apache-2.0 */
#include "keys_fetch.h"

#include "mica/clock.h"
#include "mica/file.h"
#include "mica/http_client.h"
#include "mica/json.h"
#include "mica/mem.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define DISCOVERY_MAX ((size_t)64 * 1024)
#define URL_MAX       4096
#define WELL_KNOWN    "/.well-known/openid-configuration"

/* ---- settings -------------------------------------------------------------------------------- */

void keys_source_init(struct keys_source *s, const struct mica_issuer_config *c)
{
	*s = (struct keys_source){.name = mica_strdup(c->name),
		.issuer = mica_strdup(c->issuer),
		.discovery = c->keys.discovery,
		.jwks_uri = mica_strdup(c->keys.jwks_uri),
		.jwks_file = mica_strdup(c->keys.jwks_file),
		.ca_file = mica_strdup(c->keys.ca_file),
		.token_file = mica_strdup(c->keys.token_file),
		.refresh = c->keys.refresh,
		.max_stale = c->keys.max_stale,
		.timeout = c->keys.timeout};
	s->allow_hosts.v = mica_calloc(c->keys.allow_hosts.n + 1, sizeof(char *));
	for (; s->allow_hosts.n < c->keys.allow_hosts.n; s->allow_hosts.n++)
		s->allow_hosts.v[s->allow_hosts.n] =
			mica_strdup(c->keys.allow_hosts.v[s->allow_hosts.n]);
}

void keys_source_clear(struct keys_source *s)
{
	mica_free(s->name);
	mica_free(s->issuer);
	mica_free(s->jwks_uri);
	mica_free(s->jwks_file);
	mica_free(s->ca_file);
	mica_free(s->token_file);
	for (unsigned i = 0; i < s->allow_hosts.n; i++)
		mica_free(s->allow_hosts.v[i]);
	mica_free(s->allow_hosts.v);
	*s = (struct keys_source){.name = NULL};
}

static bool same(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

bool keys_source_equals(const struct keys_source *s, const struct mica_issuer_config *c)
{
	if (s->allow_hosts.n != c->keys.allow_hosts.n)
		return false;
	for (unsigned i = 0; i < s->allow_hosts.n; i++)
		if (!same(s->allow_hosts.v[i], c->keys.allow_hosts.v[i]))
			return false;
	return same(s->name, c->name) && same(s->issuer, c->issuer) &&
		s->discovery == c->keys.discovery && same(s->jwks_uri, c->keys.jwks_uri) &&
		same(s->jwks_file, c->keys.jwks_file) && same(s->ca_file, c->keys.ca_file) &&
		same(s->token_file, c->keys.token_file) && s->refresh == c->keys.refresh &&
		s->max_stale == c->keys.max_stale && s->timeout == c->keys.timeout;
}

/* ---- fetching -------------------------------------------------------------------------------- */

/* One attempt: all its requests share a deadline and a connection. */
struct attempt {
	const struct keys_source *s;
	struct mica_http_client *client;
	int64_t deadline_ms;
	bool (*cancelled)(void *ctx);
	void *ctx;
};

static mica_rc get(const struct attempt *a, const char *url, size_t max,
	struct mica_http_response *r, struct mica_err *e)
{
	MICA_AUTO_BUF token;
	struct mica_http_request q = {.method = "GET",
		.url = url,
		.accept = "application/jwk-set+json, application/json",
		.max_body = max,
		.cancelled = a->cancelled,
		.ctx = a->ctx};
	mica_rc rc;

	mica_buf_init_secret(&token, 0);
	q.timeout_ms = a->deadline_ms - mica_mono_ms();
	if (q.timeout_ms <= 0)
		return mica_fail(e, MICA_UNAVAILABLE, "timeout", "GET %s: no time was left", url);
	if (a->s->token_file) {
		rc = mica_file_read_token(a->s->token_file, &token, e);
		if (rc != MICA_OK)
			return rc;
		q.bearer = (const char *)token.p;
	}
	rc = mica_http_do(a->client, &q, r, e);
	if (rc != MICA_OK || r->status == 200)
		return rc;
	rc = mica_fail(e, MICA_UNAVAILABLE, "http_status", "GET %s: status %d; expected 200", url,
		r->status);
	if (e)
		e->retry_after = r->retry_after;
	return rc;
}

/* "host" allows every port of it, "host:port" that one. */
static bool host_allowed(const struct mica_string_list *allowed, const struct mica_http_url *u)
{
	char with_port[300];

	snprintf(with_port, sizeof(with_port), "%s:%u", u->host, u->port);
	for (unsigned i = 0; i < allowed->n; i++)
		if (strcasecmp(allowed->v[i], u->host) == 0 ||
			strcasecmp(allowed->v[i], with_port) == 0)
			return true;
	return false;
}

static mica_rc check_jwks_uri(const struct keys_source *s, const char *uri, struct mica_err *e)
{
	struct mica_http_url own, u;
	struct mica_err why = MICA_ERR_INIT;

	if (mica_http_url_parse(uri, &u, &why) != MICA_OK)
		return mica_fail(e, MICA_INVALID, "jwks_uri_not_allowed",
			"jwks_uri of the discovery document: %s", why.text);
	if (!u.https)
		return mica_fail(e, MICA_INVALID, "jwks_uri_not_allowed",
			"jwks_uri \"%s\" is not https", uri);
	if (mica_http_url_parse(s->issuer, &own, e) != MICA_OK)
		return MICA_INVALID;
	if (strcmp(own.host, u.host) == 0 || host_allowed(&s->allow_hosts, &u))
		return MICA_OK;
	return mica_fail(e, MICA_INVALID, "jwks_uri_not_allowed",
		"jwks_uri \"%s\" is neither on the issuer's host nor on one of keys.allow_hosts",
		uri);
}

static mica_rc read_discovery(
	const struct keys_source *s, struct mica_slice body, char *uri, struct mica_err *e)
{
	const struct mica_json_limits limits = {.bytes = DISCOVERY_MAX};
	struct mica_slice issuer = MICA_SLICE_NULL, jwks_uri = MICA_SLICE_NULL;
	const struct mica_json_member members[] = {
		{.name = "issuer", .type = MICA_JSON_STRING, .required = true, .out = &issuer},
		{.name = "jwks_uri", .type = MICA_JSON_STRING, .required = true, .out = &jwks_uri},
	};
	struct mica_err why = MICA_ERR_INIT;
	MICA_AUTO_JSON d = {.root = NULL};

	if (mica_json_parse(body, &limits, &d, &why) != MICA_OK ||
		mica_json_read(&d, d.root, "", members, MICA_ARRAY_LEN(members), true, &why) !=
			MICA_OK)
		return mica_fail(
			e, MICA_INVALID, "discovery_malformed", "discovery document: %s", why.text);
	/* OpenID Connect Discovery 1.0, 4.3: MUST exactly match */
	if (!mica_slice_eq_str(issuer, s->issuer))
		return mica_fail(e, MICA_INVALID, "discovery_issuer_mismatch",
			"the discovery document is of issuer \"%.*s\"; expected \"%s\"",
			MICA_FMT(issuer), s->issuer);
	if (mica_slice_copy(jwks_uri, uri, URL_MAX) != MICA_OK)
		return mica_fail(e, MICA_INVALID, "discovery_malformed",
			"discovery document: jwks_uri is too long or holds a NUL");
	return check_jwks_uri(s, uri, e);
}

static mica_rc discover(const struct attempt *a, char *uri, struct mica_err *e)
{
	MICA_AUTO_HTTP_RESPONSE r = {0};
	char url[URL_MAX];
	size_t len = strlen(a->s->issuer);
	mica_rc rc;

	/* 4.1: a "/" at the end is cut first */
	if (len > 0 && a->s->issuer[len - 1] == '/')
		len--;
	if (len > URL_MAX - sizeof(WELL_KNOWN))
		return mica_fail(e, MICA_INVALID, "bad_url", "the issuer's URL is too long");
	snprintf(url, sizeof(url), "%.*s" WELL_KNOWN, (int)len, a->s->issuer);
	rc = get(a, url, DISCOVERY_MAX, &r, e);
	return rc == MICA_OK ? read_discovery(a->s, mica_buf_slice(&r.body), uri, e) : rc;
}

static mica_rc fetch(const struct attempt *a, struct mica_buf *document, struct mica_err *e)
{
	MICA_AUTO_HTTP_RESPONSE r = {0};
	char uri[URL_MAX];
	mica_rc rc = MICA_OK;

	if (a->s->discovery)
		rc = discover(a, uri, e);
	if (rc == MICA_OK)
		rc = get(a, a->s->discovery ? uri : a->s->jwks_uri, document->cap, &r, e);
	if (rc != MICA_OK)
		return rc;
	mica_buf_put_slice(document, mica_buf_slice(&r.body));
	return mica_buf_rc(document, e);
}

mica_rc keys_fetch(const struct keys_source *s, bool (*cancelled)(void *ctx), void *ctx,
	struct mica_buf *document, struct mica_err *e)
{
	const struct mica_http_options o = {.ca_file = s->ca_file, .no_proxy_env = true};
	MICA_AUTO_HTTP_CLIENT client = NULL;
	struct attempt a = {.s = s, .cancelled = cancelled, .ctx = ctx};
	mica_rc rc;

	if (s->jwks_file)
		return mica_file_read(s->jwks_file, document, e);
	/* Fetches are minutes apart: no connection is worth to be kept. */
	rc = mica_http_client_new(&o, &client, e);
	if (rc != MICA_OK)
		return rc;
	a.client = client;
	a.deadline_ms = mica_mono_ms() + s->timeout * 1000;
	return fetch(&a, document, e);
}
