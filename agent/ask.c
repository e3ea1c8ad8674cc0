/* SPDX-License-Identifier: Apache-2.0 */
#include "ask.h"

#include "mica/csr.h"
#include "mica/file.h"
#include "mica/http_client.h"
#include "mica/json.h"
#include "mica/log.h"
#include "mica/spiffeid.h"

#include <stdatomic.h>
#include <stdio.h>

#define ANSWER_MAX  ((size_t)2 << 20)
#define PROBLEM_MAX ((size_t)64 << 10)
#define URL_SIZE    1400
#define JSON_TYPE   "application/json"

struct ask {
	struct ask_options o;
	struct mica_http_client *http;
	uint8_t known_by[32]; /* SHA-256 of the roots that `http` was made with */
};

struct ask *ask_new(const struct ask_options *o)
{
	struct ask *a = MICA_NEW(struct ask);

	a->o = *o;
	return a;
}

void ask_free(struct ask *a)
{
	if (!a)
		return;
	mica_http_client_free(a->http);
	mica_free(a);
}

/* ---- answers ------------------------------------------------------------------------------- */

static const struct {
	int status;
	mica_rc rc;
	const char *reason;
} classes[] = {
	{400, MICA_INVALID, "micad_invalid"},
	{401, MICA_UNAUTHENTICATED, "micad_unauthenticated"},
	{403, MICA_DENIED, "micad_denied"},
	{404, MICA_NOT_FOUND, "micad_not_found"},
	{409, MICA_CONFLICT, "micad_conflict"},
	{413, MICA_LIMIT, "micad_limit"},
	{429, MICA_LIMIT, "micad_limit"},
	{502, MICA_UNAVAILABLE, "micad_unavailable"},
	{503, MICA_UNAVAILABLE, "micad_unavailable"},
	{504, MICA_UNAVAILABLE, "micad_unavailable"},
};

static mica_rc refused(const struct mica_http_response *r, struct mica_err *e)
{
	const struct mica_json_limits limits = {.bytes = PROBLEM_MAX};
	struct mica_slice reason = {0}, detail = {0};
	const struct mica_json_member members[] = {
		{.name = "reason", .type = MICA_JSON_STRING, .required = true, .out = &reason},
		{.name = "detail", .type = MICA_JSON_STRING, .out = &detail}};
	MICA_AUTO_JSON d = {0};
	mica_rc rc = r->status / 100 == 4 ? MICA_INVALID : MICA_INTERNAL;
	const char *why = rc == MICA_INVALID ? "micad_invalid" : "micad_failed";

	for (size_t i = 0; i < MICA_ARRAY_LEN(classes); i++)
		if (classes[i].status == r->status) {
			rc = classes[i].rc;
			why = classes[i].reason;
		}
	if (mica_json_parse(mica_buf_slice(&r->body), &limits, &d, NULL) == MICA_OK &&
		json_is_object(d.root) &&
		mica_json_read(&d, d.root, "", members, MICA_ARRAY_LEN(members), true, NULL) ==
			MICA_OK)
		rc = mica_fail(e, rc, why, "micad answers %d %.*s: %.*s", r->status,
			MICA_FMT(reason), MICA_FMT(detail));
	else
		rc = mica_fail(e, rc, why, "micad answers %d and does not say why", r->status);
	if (e && r->retry_after > 0)
		e->retry_after = r->retry_after;
	return rc;
}

/* ---- connections --------------------------------------------------------------------------- */

static mica_rc new_client(
	const struct mica_http_options *o, struct mica_http_client **out, struct mica_err *e)
{
	struct mica_http_options mine = *o;

	mine.no_proxy_env = true;
	return mica_http_client_new(&mine, out, e);
}

static mica_rc exchange(struct ask *a, struct mica_http_client *http,
	const struct mica_http_request *r, struct mica_http_response *out, struct mica_err *e)
{
	mica_rc rc = mica_http_do(http, r, out, e);

	/* one that we gave up ourselves says nothing of micad */
	if (rc == MICA_OK || strcmp(e->reason, "cancelled") != 0)
		figures_reached(a->o.figures, a->o.line, rc == MICA_OK);
	return rc;
}

/* Nothing of what comes is believed but a root that has the pinned key (anchor.c). */
static mica_rc learn_pinned(struct ask *a, struct anchor_now *now, struct mica_err *e)
{
	MICA_AUTO_HTTP_CLIENT http = NULL;
	MICA_AUTO_HTTP_RESPONSE answer = {0};
	AUTO_TRUST told = NULL;
	char url[URL_SIZE];
	struct mica_http_request r = {.method = "GET",
		.url = url,
		.timeout_ms = a->o.config->micad.timeout_ms,
		.max_body = ANSWER_MAX,
		.cancelled = a->o.cancelled,
		.ctx = a->o.ctx};
	mica_rc rc = new_client(&(struct mica_http_options){.unverified = true}, &http, e);

	snprintf(url, sizeof(url), "%s/v1/bundle", a->o.config->micad.url);
	if (rc == MICA_OK)
		rc = exchange(a, http, &r, &answer, e);
	if (rc == MICA_OK && answer.status != 200)
		rc = refused(&answer, e);
	if (rc == MICA_OK)
		rc = trust_read(a->o.config->trust_domain, mica_buf_slice(&answer.body), &told, e);
	if (rc == MICA_OK)
		rc = anchor_learn_pinned(a->o.anchor, told, e);
	if (rc != MICA_OK)
		return rc;
	anchor_now_clear(now);
	return anchor_get(a->o.anchor, NULL, now, e);
}

static mica_rc connect_to(struct ask *a, struct anchor_now *now, struct mica_err *e)
{
	AUTO_TRUST held = keep_trust(a->o.keep);
	uint8_t by[32];
	mica_rc rc = anchor_get(a->o.anchor, held, now, e);

	if (rc == MICA_OK && now->pem.len == 0)
		rc = learn_pinned(a, now, e);
	if (rc != MICA_OK)
		return rc;
	mica_sha256(mica_buf_slice(&now->pem), by);
	if (a->http && memcmp(by, a->known_by, sizeof(by)) == 0)
		return MICA_OK;
	mica_http_client_free(MICA_STEAL(a->http));
	memcpy(a->known_by, by, sizeof(by));
	return new_client(
		&(struct mica_http_options){.ca_pem = mica_buf_slice(&now->pem)}, &a->http, e);
}

static mica_rc post(struct ask *a, const char *path, const char *bearer, struct mica_slice body,
	struct mica_http_response *out, struct mica_err *e)
{
	AUTO_ANCHOR_NOW now = {.bootstrap = false};
	char url[URL_SIZE];
	const struct mica_http_request r = {.method = "POST",
		.url = url,
		.bearer = bearer,
		.content_type = JSON_TYPE,
		.accept = JSON_TYPE,
		.body = body,
		.timeout_ms = a->o.config->micad.timeout_ms,
		.max_body = ANSWER_MAX,
		.cancelled = a->o.cancelled,
		.ctx = a->o.ctx};
	mica_rc rc = connect_to(a, &now, e);

	if (rc != MICA_OK)
		return rc;
	snprintf(url, sizeof(url), "%s%s", a->o.config->micad.url, path);
	rc = exchange(a, a->http, &r, out, e);
	if (rc == MICA_OK && out->status / 100 != 2)
		rc = refused(out, e);
	return rc;
}

/* With an SVID: a connection of its own, since the one that is kept shows no certificate. */
static mica_rc post_with_svid(struct ask *a, const struct svid *s, const char *path,
	struct mica_slice body, struct mica_http_response *out, struct mica_err *e)
{
	MICA_AUTO_HTTP_CLIENT http = NULL;
	AUTO_ANCHOR_NOW now = {.bootstrap = false};
	MICA_AUTO_BUF key;
	char url[URL_SIZE];
	const struct mica_http_request r = {.method = "POST",
		.url = url,
		.content_type = JSON_TYPE,
		.accept = JSON_TYPE,
		.body = body,
		.timeout_ms = a->o.config->micad.timeout_ms,
		.max_body = ANSWER_MAX,
		.cancelled = a->o.cancelled,
		.ctx = a->o.ctx};
	mica_rc rc = connect_to(a, &now, e);

	mica_buf_init_secret(&key, PROBLEM_MAX);
	svid_put_key_pem(s, &key);
	if (rc == MICA_OK)
		rc = new_client(&(struct mica_http_options){.ca_pem = mica_buf_slice(&now.pem),
					.cert_pem = mica_buf_slice(&s->pem),
					.key_pem = mica_buf_slice(&key)},
			&http, e);
	snprintf(url, sizeof(url), "%s%s", a->o.config->micad.url, path);
	if (rc == MICA_OK)
		rc = exchange(a, http, &r, out, e);
	return rc == MICA_OK && out->status / 100 != 2 ? refused(out, e) : rc;
}

static unsigned index_of(const struct ask *a, const struct agent_identity *id)
{
	return (unsigned)(id - a->o.config->identities);
}

/* By whatever the identity is known: its token, or for one that has joined the SVID. */
static mica_rc post_as(struct ask *a, const struct agent_identity *id, const char *path,
	struct mica_slice body, struct mica_http_response *out, struct mica_err *e)
{
	AUTO_SVID held = keep_svid(a->o.keep, index_of(a, id));
	MICA_AUTO_BUF token;
	mica_rc rc;

	mica_buf_init_secret(&token, PROBLEM_MAX);
	if (id->join_token_file && held)
		return post_with_svid(a, held, path, body, out, e);
	if (id->join_token_file)
		return mica_fail(e, MICA_UNAVAILABLE, "join_needed",
			"this identity has not joined, or its certificate has ended");
	rc = mica_file_read_token(id->token_file, &token, e);
	return rc == MICA_OK ? post(a, path, (const char *)token.p, body, out, e) : rc;
}

/* ---- X.509-SVIDs --------------------------------------------------------------------------- */

static mica_rc x509_body(const struct agent_identity *id, const struct mica_signer *key,
	uint64_t sequence, struct mica_buf *body, struct mica_err *e)
{
	MICA_AUTO_BUF csr;
	mica_rc rc;

	mica_buf_init(&csr, MICA_CSR_MAX);
	rc = mica_csr_write(key, &csr, e);
	if (rc != MICA_OK)
		return rc;
	mica_buf_put_str(body, "{\"csr\":");
	mica_buf_put_json_string(body, mica_buf_slice(&csr));
	if (id->ttl > 0)
		mica_buf_printf(body, ",\"ttl\":%lld", (long long)id->ttl);
	if (sequence > 0)
		mica_buf_printf(body, ",\"bundle_sequence\":%llu", (unsigned long long)sequence);
	mica_buf_put_u8(body, '}');
	return mica_buf_rc(body, e);
}

static mica_rc ask_plainly(struct ask *a, const struct agent_identity *id, uint64_t bundle_sequence,
	const struct svid **out, struct mica_err *e)
{
	MICA_AUTO_HTTP_RESPONSE answer = {0};
	MICA_AUTO_SIGNER key = NULL;
	MICA_AUTO_BUF body;
	mica_rc rc = mica_signer_generate(id->key_type, &key, e);

	*out = NULL;
	mica_buf_init(&body, 4 * MICA_CSR_MAX);
	if (rc == MICA_OK)
		rc = x509_body(id, key, bundle_sequence, &body, e);
	if (rc == MICA_OK)
		rc = post_as(a, id, "/v1/x509-svids", mica_buf_slice(&body), &answer, e);
	if (rc == MICA_OK)
		rc = svid_read(
			a->o.config->trust_domain, mica_buf_slice(&answer.body), key, out, e);
	return rc;
}

/* A request that micad has not answered is repeated as it was: its token may be spent already, and
 * only the same request gets the same answer (API.md, Replays). */
static mica_rc ask_with_join_token(struct ask *a, const struct agent_identity *id,
	struct mica_slice token, uint64_t bundle_sequence, const struct svid **out,
	struct mica_err *e)
{
	const unsigned i = index_of(a, id);
	struct join_question *q = join_question(a->o.join, i, token);
	MICA_AUTO_HTTP_RESPONSE answer = {0};
	mica_rc rc = MICA_OK;

	if (!q->key) {
		mica_buf_reset(&q->body);
		rc = mica_signer_generate(id->key_type, &q->key, e);
		if (rc == MICA_OK)
			rc = x509_body(id, q->key, bundle_sequence, &q->body, e);
	}
	if (rc == MICA_OK)
		rc = post(a, "/v1/x509-svids", (const char *)token.p, mica_buf_slice(&q->body),
			&answer, e);
	if (rc == MICA_OK)
		rc = svid_read(
			a->o.config->trust_domain, mica_buf_slice(&answer.body), q->key, out, e);
	if (rc == MICA_OK || answer.status == 401)
		join_spent(a->o.join, i, token);
	return rc;
}

static mica_rc join_or_renew(struct ask *a, const struct agent_identity *id,
	uint64_t bundle_sequence, bool *joined, const struct svid **out, struct mica_err *e)
{
	const unsigned i = index_of(a, id);
	AUTO_SVID held = keep_svid(a->o.keep, i);
	struct mica_err why = MICA_ERR_INIT;
	MICA_AUTO_BUF token;
	mica_rc rc;

	mica_buf_init_secret(&token, PROBLEM_MAX);
	rc = join_token(a->o.join, i, &token, &why);
	if (rc == MICA_OK) {
		rc = ask_with_join_token(a, id, mica_buf_slice(&token), bundle_sequence, out, &why);
		*joined = rc == MICA_OK;
		/* one that is good for nothing does not stand in the way */
		if (rc == MICA_UNAUTHENTICATED && held)
			MICA_LOG(MICA_WARN, "join_token_refused", MICA_S("identity", id->name),
				MICA_E(&why));
	}
	if (held && (rc == MICA_NOT_FOUND || rc == MICA_UNAUTHENTICATED)) {
		mica_err_clear(&why);
		rc = ask_plainly(a, id, bundle_sequence, out, &why);
	}
	if (rc == MICA_OK)
		return rc;
	rc = mica_fail(e, rc, why.reason, "%s", why.text);
	if (e)
		e->retry_after = why.retry_after;
	if (rc == MICA_UNAUTHENTICATED || rc == MICA_DENIED)
		join_advise(a->o.join, i, e);
	return rc;
}

/* Kept before it is used: who has shown it to anybody can still show it after a crash. */
static void keep_joined(
	struct ask *a, const struct agent_identity *id, const struct svid *s, bool joined)
{
	struct mica_err why = MICA_ERR_INIT;
	const unsigned i = index_of(a, id);

	if (join_save(a->o.join, i, s, &why) != MICA_OK)
		MICA_LOG(MICA_ERROR, "state_not_kept", MICA_S("identity", id->name), MICA_E(&why),
			MICA_S("next", "a restart would need another join token"));
	if (joined)
		join_remove_token(a->o.join, i);
}

mica_rc ask_x509(struct ask *a, const struct agent_identity *id, uint64_t bundle_sequence,
	const struct svid **out, struct mica_err *e)
{
	bool joined = false;
	mica_rc rc;

	if (!id->join_token_file)
		return ask_plainly(a, id, bundle_sequence, out, e);
	rc = join_or_renew(a, id, bundle_sequence, &joined, out, e);
	if (rc == MICA_OK)
		keep_joined(a, id, *out, joined);
	return rc;
}

/* ---- JWT-SVIDs ----------------------------------------------------------------------------- */

const struct jwt *jwt_ref(const struct jwt *t)
{
	if (t)
		atomic_fetch_add((_Atomic unsigned *)(uintptr_t)&t->refs, 1);
	return t;
}

void jwt_unref(const struct jwt *t)
{
	struct jwt *mine = (struct jwt *)(uintptr_t)t;

	if (!mine || atomic_fetch_sub(&mine->refs, 1) != 1)
		return;
	mica_buf_clear(&mine->token);
	mica_free(mine);
}

static bool is_token(struct mica_slice s)
{
	unsigned dots = 0;

	for (size_t i = 0; i < s.len; i++) {
		const uint8_t c = s.p[i];

		dots += c == '.';
		if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') &&
			c != '.' && c != '-' && c != '_')
			return false;
	}
	return dots == 2;
}

static mica_rc jwt_fill(const char *td, struct mica_slice answer, struct jwt *t, struct mica_err *e)
{
	const struct mica_json_limits limits = {.bytes = ANSWER_MAX};
	struct mica_slice token = {0}, id_text = {0}, renew = {0}, end = {0};
	const struct mica_json_member members[] = {
		{.name = "token", .type = MICA_JSON_STRING, .required = true, .out = &token},
		{.name = "spiffe_id", .type = MICA_JSON_STRING, .required = true, .out = &id_text},
		{.name = "renew_after", .type = MICA_JSON_STRING, .required = true, .out = &renew},
		{.name = "not_after", .type = MICA_JSON_STRING, .required = true, .out = &end}};
	struct mica_spiffe_id id;
	MICA_AUTO_JSON d = {0};
	int64_t renew_after, not_after;
	mica_rc rc;

	if (mica_json_parse(answer, &limits, &d, NULL) != MICA_OK || !json_is_object(d.root) ||
		mica_json_read(&d, d.root, "", members, MICA_ARRAY_LEN(members), true, NULL) !=
			MICA_OK ||
		mica_time_parse(renew, &renew_after) != MICA_OK ||
		mica_time_parse(end, &not_after) != MICA_OK || !is_token(token))
		return mica_fail(e, MICA_INVALID, "answer_malformed",
			"the answer is not a JWT-SVID's: expected token, spiffe_id, renew_after and "
			"not_after");
	rc = mica_spiffe_id_parse_workload(id_text, &id, e);
	if (rc != MICA_OK)
		return rc;
	if (!mica_spiffe_id_member_of(&id, mica_slice_str(td)))
		return mica_fail(e, MICA_INVALID, "answer_malformed",
			"the JWT-SVID that came is for %.*s, expected one of %s", MICA_FMT(id_text),
			td);
	mica_buf_put_slice(&t->token, token);
	t->renew_after_ms = renew_after * 1000;
	t->not_after_ms = not_after * 1000;
	rc = mica_slice_copy(id_text, t->id, sizeof(t->id));
	return rc == MICA_OK ? mica_buf_rc(&t->token, e) : rc;
}

mica_rc jwt_read(
	const char *td, struct mica_slice answer, const struct jwt **out, struct mica_err *e)
{
	struct jwt *t = MICA_NEW(struct jwt);
	mica_rc rc;

	t->refs = 1;
	mica_buf_init_secret(&t->token, PROBLEM_MAX);
	rc = jwt_fill(td, answer, t, e);
	*out = rc == MICA_OK ? t : NULL;
	if (rc != MICA_OK)
		jwt_unref(t);
	return rc;
}

mica_rc ask_jwt(struct ask *a, const struct agent_identity *id, const struct mica_slice *audience,
	size_t n, const struct jwt **out, struct mica_err *e)
{
	MICA_AUTO_HTTP_RESPONSE answer = {0};
	MICA_AUTO_BUF body;
	mica_rc rc;

	*out = NULL;
	mica_buf_init(&body, PROBLEM_MAX);
	mica_buf_put_str(&body, "{\"audience\":[");
	for (size_t i = 0; i < n; i++) {
		mica_buf_put_str(&body, i ? "," : "");
		mica_buf_put_json_string(&body, audience[i]);
	}
	mica_buf_put_str(&body, "]}");
	rc = mica_buf_rc(&body, e);
	if (rc == MICA_OK)
		rc = post_as(a, id, "/v1/jwt-svids", mica_buf_slice(&body), &answer, e);
	if (rc == MICA_OK)
		rc = jwt_read(a->o.config->trust_domain, mica_buf_slice(&answer.body), out, e);
	return rc;
}

/* ---- bundles ------------------------------------------------------------------------------- */

static void bundle_url(const struct ask *a, const struct ask_bundle *b, char out[URL_SIZE])
{
	const struct agent_config *c = a->o.config;
	const char *base = b->wait > 0 && c->micad.watch_url[0] ? c->micad.watch_url : c->micad.url;

	if (b->wait > 0)
		snprintf(out, URL_SIZE, "%s/v1/bundle?channel=%s&wait=%us", base,
			mica_channel_name(c->micad.channel), b->wait);
	else
		snprintf(out, URL_SIZE, "%s/v1/bundle?channel=%s", base,
			mica_channel_name(c->micad.channel));
}

mica_rc ask_bundle(struct ask *a, struct ask_bundle *b, struct mica_err *e)
{
	MICA_AUTO_HTTP_RESPONSE answer = {0};
	AUTO_ANCHOR_NOW now = {.bootstrap = false};
	char url[URL_SIZE];
	const struct mica_http_request r = {.method = "GET",
		.url = url,
		.accept = JSON_TYPE,
		.if_none_match = b->etag[0] ? b->etag : NULL,
		.timeout_ms = a->o.config->micad.timeout_ms + (int64_t)b->wait * 1000,
		.max_body = ANSWER_MAX,
		.cancelled = a->o.cancelled,
		.ctx = a->o.ctx};
	mica_rc rc = connect_to(a, &now, e);

	b->trust = NULL;
	if (rc != MICA_OK)
		return rc;
	b->bootstrap = now.bootstrap;
	memcpy(b->mark, now.mark, sizeof(b->mark));
	bundle_url(a, b, url);
	rc = exchange(a, a->http, &r, &answer, e);
	if (rc != MICA_OK || answer.status == 304)
		return rc;
	if (answer.status != 200)
		return refused(&answer, e);
	rc = trust_read(a->o.config->trust_domain, mica_buf_slice(&answer.body), &b->trust, e);
	if (rc == MICA_OK)
		snprintf(b->etag, sizeof(b->etag), "%s",
			answer.etag && strlen(answer.etag) < sizeof(b->etag) ? answer.etag : "");
	return rc;
}

/* ---- evidence ------------------------------------------------------------------------------ */

/* With the SVID itself, and so for its serial. */
mica_rc ask_ack(struct ask *a, const struct svid *s, uint64_t sequence, struct mica_err *e)
{
	MICA_AUTO_HTTP_RESPONSE answer = {0};
	MICA_AUTO_BUF body;

	mica_buf_init(&body, 256);
	mica_buf_printf(&body, "{\"channel\":\"%s\",\"sequence\":%llu}",
		mica_channel_name(a->o.config->micad.channel), (unsigned long long)sequence);
	return post_with_svid(a, s, "/v1/bundle/acks", mica_buf_slice(&body), &answer, e);
}
