/* SPDX-License-Identifier: Apache-2.0 */
/* Bundles and key sets: snapshots of the core, shared by all readers; with long polls. */
#include "api_impl.h"

static const char *const types[MICA_FMT_COUNT] = {
	[MICA_FMT_BUNDLE_JSON] = "application/json",
	[MICA_FMT_BUNDLE_PEM] = "application/x-pem-file",
	[MICA_FMT_BUNDLE_JWS] = "application/jose",
	[MICA_FMT_JWKS] = "application/jwk-set+json",
	[MICA_FMT_POLICIES_JSON] = "application/json",
	[MICA_FMT_POLICIES_JWS] = "application/jose",
};
#define REVALIDATE "no-cache" /* a cache may keep it, and asks each time */

static const struct {
	void (*run)(struct api_call *c);
	enum mica_format format;
} formats[] = {
	{api_bundle_json, MICA_FMT_BUNDLE_JSON},
	{api_bundle_of, MICA_FMT_BUNDLE_JSON},
	{api_bundle_pem, MICA_FMT_BUNDLE_PEM},
	{api_bundle_jws, MICA_FMT_BUNDLE_JWS},
	{api_jwks, MICA_FMT_JWKS},
	{api_policies_jws, MICA_FMT_POLICIES_JWS},
	{api_policies, MICA_FMT_POLICIES_JSON},
	{api_compiled, MICA_FMT_POLICIES_JSON},
};

static enum mica_format format_of(const struct api_call *c)
{
	size_t i = 0;
	while (i + 1 < MICA_ARRAY_LEN(formats) && formats[i].run != c->route->run)
		i++;
	return formats[i].format;
}

/* Takes the reference. */
static void send(struct api_call *c, const struct mica_snapshot *s, bool changed)
{
	struct api_answer a = {.status = 304, .cache = REVALIDATE};

	if (changed && api_policies_built(c)) {
		mica_snapshot_unref(s);
		api_policies_build(c);
		return;
	}
	memcpy(c->etag, s->etag, sizeof(c->etag));
	a.etag = c->etag;
	if (changed) {
		a.status = 200;
		a.type = types[format_of(c)];
		a.body = s->bytes;
		a.owner = s;
		a.release = (void (*)(const void *))mica_snapshot_unref;
	} else {
		mica_snapshot_unref(s);
	}
	api_answer(c, &a);
}

void api_watch_answer(void *call, const struct mica_snapshot *s, enum watch_end end)
{
	struct api_call *c = call;

	if (s && end != WATCH_DRAIN) {
		send(c, mica_snapshot_ref(s), end == WATCH_CHANGED);
		return;
	}
	mica_fail(&c->err, MICA_UNAVAILABLE, "draining",
		"this server is about to end, ask again or ask another one");
	api_fail(c);
}

static bool shared_listener(const struct api_call *c)
{
	return c->door != API_WATCH;
}

void api_serve(struct api_call *c, const char *td)
{
	struct api_bundle_query q;
	struct watch_for f = {.shared = shared_listener(c), .format = format_of(c), .td = td};
	const struct mica_snapshot *s;
	struct mica_slice has = c->d->if_none_match;

	if (c->route->params && api_decode_bundle_query(&c->query, &q, &c->err) != MICA_OK) {
		api_fail(c);
		return;
	}
	f.channel = c->route->params ? q.channel : MICA_CHANNEL_LIVE;
	f.wait_ms = c->route->params ? q.wait * 1000 : 0;
	f.generation = f.wait_ms ? watch_generation(c->a->watch) : 0;
	if (mica_core_snapshot(c->a->desk->core, td, f.channel, f.format, &s, &c->err) != MICA_OK) {
		api_fail(c);
		return;
	}
	if (has.len == 0 || !api_etag_matches(has, s->etag)) {
		send(c, s, true);
		return;
	}
	if (f.wait_ms == 0) {
		send(c, s, false);
		return;
	}
	memcpy(c->etag, s->etag, sizeof(c->etag));
	mica_snapshot_unref(s);
	f.etag = c->etag;
	api_defer(c);
	/* on OK the call may be over already */
	if (watch_add(c->a->watch, &f, c, &c->err) == MICA_OK)
		return;
	if (c->err.rc == MICA_LIMIT)
		mica_metric_add(&c->a->desk->m.watchers_refused, 1);
	api_fail(c);
}

void api_bundle_json(struct api_call *c)
{
	api_serve(c, NULL);
}

void api_bundle_pem(struct api_call *c)
{
	api_serve(c, NULL);
}

void api_bundle_jws(struct api_call *c)
{
	api_serve(c, NULL);
}

void api_bundle_of(struct api_call *c)
{
	char td[MICA_TD_MAX + 1];

	if (mica_slice_copy(c->param, td, sizeof(td)) == MICA_OK) {
		api_serve(c, td);
		return;
	}
	mica_fail(&c->err, MICA_NOT_FOUND, "no_such_trust_domain",
		"no bundle of such a trust domain is known here");
	api_fail(c);
}

void api_jwks(struct api_call *c)
{
	if (atomic_load(&c->a->oidc_discovery)) {
		api_serve(c, NULL);
		return;
	}
	mica_fail(&c->err, MICA_NOT_FOUND, "no_such_path",
		"OIDC discovery is off (jwt.oidc_discovery); GET /v1/bundle has the keys");
	api_fail(c);
}

void api_ack(struct api_call *c)
{
	MICA_AUTO_JSON doc = {.root = NULL};
	struct api_ack_body b;
	mica_rc rc = api_body(c->d->body, &doc, &c->err);

	if (rc == MICA_OK)
		rc = api_decode_ack(&doc, &b, &c->err);
	if (rc == MICA_OK)
		rc = mica_core_ack(c->a->desk->core, c->caller, b.channel, (uint64_t)b.sequence,
			c->d->received_ms, &c->err);
	if (rc == MICA_OK)
		api_answer(c, &(struct api_answer){.status = 204});
	else
		api_fail(c);
}
