/* SPDX-License-Identifier: Apache-2.0 */
/* How the core is: for callers, for operators, for probes and for meters. */
#include "core_impl.h"

#include <inttypes.h>
#include <stdio.h>

static const char *const fronts[MICA_FRONT_COUNT] = {"rest", "istio", "linkerd", "consul"};

void mica_core_put_string(struct mica_buf *b, const char *before, const char *name, const char *v)
{
	mica_buf_printf(b, "%s\"%s\":", before, name);
	mica_buf_put_json_string(b, mica_slice_str(v));
}

/* 0 and never become null. */
void mica_core_put_time(struct mica_buf *b, const char *before, const char *name, int64_t t)
{
	char text[MICA_TIME_SIZE];

	mica_time_format(t, text);
	if (t <= 0 || t == MICA_TIME_NEVER)
		mica_buf_printf(b, "%s\"%s\":null", before, name);
	else
		mica_buf_printf(b, "%s\"%s\":\"%s\"", before, name, text);
}

static void put_strings(struct mica_buf *b, const struct mica_string_list *l)
{
	mica_buf_put_u8(b, '[');
	for (unsigned i = 0; i < l->n; i++) {
		if (i)
			mica_buf_put_u8(b, ',');
		mica_buf_put_json_string(b, mica_slice_str(l->v[i]));
	}
	mica_buf_put_u8(b, ']');
}

static void put_log(struct mica_buf *b, struct mica_core *c)
{
	const struct mica_note_key *key = mica_ledger_key(c->ledger);
	MICA_AUTO_BUF vkey;

	mica_buf_init(&vkey, MICA_VKEY_MAX);
	mica_vkey_format(key, &vkey);
	mica_core_put_string(b, ",\"log\":{", "origin", key->name);
	mica_buf_put_str(b, ",\"vkey\":");
	mica_buf_put_json_string(b, mica_buf_slice(&vkey));
}

/* ---- what callers may know ------------------------------------------------------------------- */

static void put_issuer(struct mica_buf *b, const struct mica_issuer *i)
{
	bool any = false;

	mica_core_put_string(b, "{", "name", mica_issuer_name(i));
	mica_core_put_string(b, ",", "issuer", mica_issuer_url(i));
	mica_core_put_string(b, ",", "kind",
		mica_issuer_kind(i) == MICA_ISSUER_KUBERNETES ? "kubernetes" : "oidc");
	mica_buf_put_str(b, ",\"audiences\":{");
	for (int f = 0; f < MICA_FRONT_COUNT; f++) {
		const struct mica_string_list *l = mica_issuer_audiences(i, (enum mica_front)f);

		if (l->n == 0)
			continue;
		mica_buf_printf(b, "%s\"%s\":", any ? "," : "", fronts[f]);
		put_strings(b, l);
		any = true;
	}
	mica_buf_printf(b, "},\"renewal_max_age\":%" PRId64 "}", mica_issuer_renewal_max_age(i));
}

static void put_key_types(struct mica_buf *b, uint32_t types)
{
	const char *sep = "";

	mica_buf_put_u8(b, '[');
	for (unsigned i = 0; i < MICA_KN_COUNT; i++) {
		if (!(types >> i & 1))
			continue;
		mica_buf_printf(b, "%s\"%s\"", sep, mica_key_name((enum mica_key_name)i));
		sep = ",";
	}
	mica_buf_put_u8(b, ']');
}

mica_rc mica_core_configuration(struct mica_core *c, struct mica_buf *json, struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	const struct core_policy *p = v->policy;

	mica_core_put_string(json, "{", "trust_domain", p->trust_domain);
	mica_buf_put_str(json, ",\"issuers\":[");
	for (unsigned i = 0; i < mica_issuers_count(p->issuers); i++) {
		if (i)
			mica_buf_put_u8(json, ',');
		put_issuer(json, mica_issuers_at(p->issuers, i));
	}
	mica_buf_printf(json,
		"],\"x509\":{\"ttl\":%" PRId64 ",\"min_ttl\":%" PRId64 ",\"max_ttl\":%" PRId64
		",\"key_types\":",
		p->ttl, p->min_ttl, p->max_ttl);
	put_key_types(json, p->key_types);
	mica_buf_printf(json,
		"},\"jwt\":{\"ttl\":%" PRId64 ",\"max_ttl\":%" PRId64 ",\"audiences\":", p->jwt_ttl,
		p->jwt_max_ttl);
	put_strings(json, &p->jwt_audiences);
	if (p->jwt_issuer)
		mica_core_put_string(json, ",", "issuer", p->jwt_issuer);
	mica_buf_printf(json, "},\"bundle\":{\"refresh_hint\":%" PRId64 "}", p->refresh_hint);
	put_log(json, c);
	mica_buf_put_str(json, "}}");
	return mica_buf_rc(json, e);
}

/* ---- status ---------------------------------------------------------------------------------- */

void mica_core_put_authority(struct mica_buf *b, struct mica_core *c,
	const struct core_authorities *a, unsigned i, int64_t now)
{
	const struct mica_authority *v = &a->v[i];

	mica_core_put_string(b, "{", "id", v->id);
	mica_core_put_string(b, ",", "kind", mica_authority_kind_name(v->kind));
	if (v->parent[0])
		mica_core_put_string(b, ",", "parent", v->parent);
	mica_core_put_string(
		b, ",", "state", mica_authority_state_name(mica_authority_state_at(v, now)));
	mica_core_put_time(b, ",", "not_before", v->not_before);
	mica_core_put_time(b, ",", "not_after", v->not_after);
	mica_core_put_time(b, ",", "last_leaf_expiry", mica_core_last_leaf(c, v->id));
	mica_buf_printf(b,
		",\"canary\":%s,\"published\":%s,\"standby\":%s,\"key\":\"%s\","
		"\"subject_key_id\":",
		mica_authority_in_canary(v, now) ? "true" : "false",
		mica_authority_is_published(v, now) ? "true" : "false",
		v->standby ? "true" : "false",
		v->envelope.len == 0     ? "elsewhere"
			: a->more[i].key ? "unlocked"
					 : "locked");
	if (a->more[i].ski.len > 0) {
		mica_buf_put_u8(b, '"');
		mica_buf_put_hex(b, a->more[i].ski.p, a->more[i].ski.len);
		mica_buf_put_u8(b, '"');
	} else {
		mica_buf_put_str(b, "null");
	}
	mica_buf_put_str(b, ",\"times\":[");
	for (unsigned k = 0; k < v->n_times; k++) {
		mica_core_put_string(
			b, k ? ",{" : "{", "event", mica_authority_event_name(v->times[k].event));
		mica_core_put_time(b, ",", "at", v->times[k].at);
		mica_buf_put_u8(b, '}');
	}
	mica_buf_put_str(b, "]}");
}

static void put_issuer_keys(struct mica_buf *b, const struct core_view *v, unsigned i, int64_t now)
{
	const struct mica_issuer *is = mica_issuers_at(v->policy->issuers, i);
	const struct core_issuer_keys *k = &v->keys->v[i];
	bool stale = k->jwks && now - k->fetched > mica_issuer_max_stale(is);

	mica_core_put_string(b, i ? ",{" : "{", "name", mica_issuer_name(is));
	mica_core_put_string(b, ",", "issuer", mica_issuer_url(is));
	mica_buf_printf(b, ",\"keys\":%zu,\"skipped\":%zu,\"stale\":%s",
		k->jwks ? mica_jwks_count(k->jwks) : 0,
		k->jwks ? mica_jwks_skipped_count(k->jwks) : 0, stale ? "true" : "false");
	mica_core_put_time(b, ",", "fetched", k->fetched);
	mica_buf_put_u8(b, '}');
}

static void put_store(struct mica_buf *b, struct mica_core *c)
{
	struct mica_ledger_stats s;

	mica_ledger_stats(c->ledger, &s);
	put_log(b, c);
	mica_buf_printf(b,
		",\"size\":%" PRIu64 ",\"indexed\":%" PRIu64 "},\"store\":{\"path\":", s.size,
		s.indexed);
	mica_buf_put_json_string(b, mica_slice_str(mica_store_dir(c->store)));
	mica_buf_printf(b,
		",\"bytes\":%" PRIuFAST64 ",\"disk_free\":%" PRIuFAST64
		",\"space_low\":%s,\"failed\":%s}",
		atomic_load(&c->store_bytes), atomic_load(&c->disk_free),
		atomic_load(&c->space_low) ? "true" : "false",
		atomic_load(&c->failed) ? "true" : "false");
}

mica_rc mica_core_status(
	struct mica_core *c, int64_t now_ms, struct mica_buf *json, struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	int64_t now = now_ms / 1000;

	mica_core_put_string(json, "{", "trust_domain", v->policy->trust_domain);
	mica_core_put_time(json, ",", "time", now);
	mica_buf_put_str(json, ",\"authorities\":[");
	for (unsigned i = 0; i < v->auths->n; i++) {
		if (i)
			mica_buf_put_u8(json, ',');
		mica_core_put_authority(json, c, v->auths, i, now);
	}
	mica_buf_put_str(json, "],\"issuers\":[");
	for (unsigned i = 0; i < v->keys->n; i++)
		put_issuer_keys(json, v, i, now);
	mica_buf_printf(json, "],\"bundle\":{\"live\":%" PRIu64 ",\"canary\":%" PRIu64,
		v->pub->sequence[MICA_CHANNEL_LIVE], v->pub->sequence[MICA_CHANNEL_CANARY]);
	mica_core_put_time(json, ",", "signed_at", v->pub->signed_at);
	mica_core_put_time(json, ",", "publisher_not_after", v->pub->publisher_end);
	mica_buf_printf(json, "},\"deny\":{\"spiffe_ids\":%zu,\"pod_uids\":%zu,\"keys\":%zu}",
		v->deny->d.n_ids + v->policy->deny.n_ids,
		v->deny->d.n_pods + v->policy->deny.n_pods, v->deny->d.n_keys);
	put_store(json, c);
	mica_buf_put_u8(json, '}');
	return mica_buf_rc(json, e);
}

/* ---- the deny list --------------------------------------------------------------------------- */

static void put_denied(
	struct mica_buf *b, bool *any, const char *kind, const char *value, const char *source)
{
	mica_core_put_string(b, *any ? ",{" : "{", "kind", kind);
	mica_core_put_string(b, ",", "value", value);
	mica_core_put_string(b, ",", "source", source);
	mica_buf_put_u8(b, '}');
	*any = true;
}

static void put_denials(
	struct mica_buf *b, bool *any, const struct core_denials *d, const char *source)
{
	char uid[MICA_UUID_SIZE], key[65];

	for (size_t i = 0; i < d->n_ids; i++)
		put_denied(b, any, "spiffe_id", d->ids[i], source);
	for (size_t i = 0; i < d->n_pods; i++) {
		mica_uuid_format(d->pods[i].b, uid);
		put_denied(b, any, "pod_uid", uid, source);
	}
	for (size_t i = 0; i < d->n_keys; i++) {
		mica_hex_encode(d->keys[i], sizeof(d->keys[i]), key);
		put_denied(b, any, "key", key, source);
	}
}

mica_rc mica_core_denied(struct mica_core *c, struct mica_buf *json, struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	bool any = false;

	mica_buf_put_str(json, "{\"denied\":[");
	put_denials(json, &any, &v->deny->d, "store");
	put_denials(json, &any, &v->policy->deny, "configuration");
	mica_buf_put_str(json, "]}");
	return mica_buf_rc(json, e);
}

/* ---- readiness ------------------------------------------------------------------------------- */

/* Not ready when no issuer's tokens can be checked; one of several is its own trouble. */
static mica_rc check_issuers(const struct core_view *v, int64_t now, struct mica_err *e)
{
	for (unsigned i = 0; i < v->keys->n; i++) {
		const struct mica_issuer *is = mica_issuers_at(v->policy->issuers, i);
		const struct core_issuer_keys *k = &v->keys->v[i];

		if (k->jwks && now - k->fetched <= mica_issuer_max_stale(is))
			return MICA_OK;
	}
	if (v->keys->n == 0)
		return MICA_OK;
	return mica_fail(e, MICA_UNAVAILABLE, "issuer_keys_missing",
		"there are no usable keys of any of %u issuers, so no token can be checked",
		v->keys->n);
}

mica_rc mica_core_ready(struct mica_core *c, int64_t now_ms, struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	int64_t now = now_ms / 1000;
	int at = mica_core_active(v->auths, MICA_AUTHORITY_ISSUING, now);
	mica_rc rc = mica_core_can_issue(c, e);

	if (rc != MICA_OK)
		return rc;
	if (at < 0 || !v->auths->more[at].key)
		return mica_fail(e, MICA_UNAVAILABLE, "no_active_authority",
			"there is no issuing authority that may sign now");
	rc = mica_signer_probe(v->auths->more[at].key->signer, e);
	return rc == MICA_OK ? check_issuers(v, now, e) : rc;
}

/* ---- figures --------------------------------------------------------------------------------- */

static int64_t end_of(const struct core_view *v, enum mica_authority_kind kind)
{
	int at = v->auths->active[kind];

	return at < 0 ? 0 : v->auths->v[at].not_after;
}

void mica_core_stats(struct mica_core *c, struct mica_core_stats *out)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	int64_t now = atomic_load(&c->now_ms) / 1000;
	struct mica_rotation_stock stock;
	struct mica_ledger_stats s;

	mica_ledger_stats(c->ledger, &s);
	mica_rotation_stock_of(&v->policy->rotation, v->auths->v, v->auths->n,
		now > v->auths->from ? now : v->auths->from, &stock);
	*out = (struct mica_core_stats){.entries = s.size,
		.x509_issued = atomic_load(&c->x509_issued),
		.jwt_issued = atomic_load(&c->jwt_issued),
		.conflicts = atomic_load(&c->conflicts),
		.commits = s.commits,
		.index_lag = s.size - s.indexed,
		.store_bytes = atomic_load(&c->store_bytes),
		.disk_free_bytes = atomic_load(&c->disk_free),
		.root_not_after = end_of(v, MICA_AUTHORITY_ROOT),
		.issuing_not_after = end_of(v, MICA_AUTHORITY_ISSUING),
		.jwt_key_not_after = end_of(v, MICA_AUTHORITY_JWT),
		.bundle_sequence = v->pub->sequence[MICA_CHANNEL_LIVE],
		.rotation_steps = atomic_load(&c->rotation_steps),
		.compromises = atomic_load(&c->hurries),
		.exposed = atomic_load(&c->exposed),
		.renewals_done = atomic_load(&c->renewals_done),
		.renewal_seconds = atomic_load(&c->renewal_seconds),
		.revoked = v->revoked->n,
		.crls = v->crls ? v->crls->n : 0,
		.clock_frozen = atomic_load(&c->clock_frozen),
		.clock_unproven = atomic_load(&c->clock_unproven),
		.signed_ahead = stock.ahead,
		.signature_needed = stock.needed,
		.signature_by = stock.covered,
		.space_low = atomic_load(&c->space_low)};
	mica_core_lineage_stats(c, out);
	mica_core_crls_look(v, atomic_load(&c->now_ms), &out->crl_end, &out->crls_late);
}
