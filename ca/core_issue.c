/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a request to a signed candidate. Each rule is looked at in one view, the cheap before the
 * dear; then mica_leaf_sign or mica_jwt_sign is given the decision, and the entry is written. No
 * lock, no store: a front thread does all of it.
 */
#include "core_impl.h"

#include "join.h"

#include "mica/csr.h"
#include "mica/jwt.h"
#include "mica/pem.h"

#include <arpa/inet.h>
#include <stdio.h>

#define TTL_MIN_JWT 1
#define BODY_ROOM   1000 /* of a candidate: octets that most take */
#define CERT_ROOM   800

struct names {
	char text[MICA_LEAF_DNS_MAX][MICA_K8S_NAME_MAX + 1];
	const char *v[MICA_LEAF_DNS_MAX];
	size_t n;
};

/* ---- what holds for every issuance ----------------------------------------------------------- */

mica_rc mica_core_can_issue(struct mica_core *c, struct mica_err *e)
{
	if (atomic_load_explicit(&c->failed, memory_order_relaxed))
		return mica_fail(e, MICA_UNAVAILABLE, "store_failed",
			"nothing can be recorded until this server was started again");
	if (atomic_load_explicit(&c->space_low, memory_order_relaxed) ||
		atomic_load_explicit(&c->rules_unrecorded, memory_order_acquire))
		return mica_fail(e, MICA_UNAVAILABLE, "store_full",
			"the disk of the store is nearly full; nothing is issued until there is space");
	return MICA_OK;
}

static mica_rc pick_authority(const struct core_view *v, enum mica_authority_kind kind, int64_t now,
	int *at, struct mica_err *e)
{
	*at = mica_core_active(v->auths, kind, now);
	if (*at >= 0 && v->auths->more[*at].key)
		return MICA_OK;
	return mica_fail(e, MICA_UNAVAILABLE, "no_active_authority",
		"there is no %s authority that may sign now", mica_authority_kind_name(kind));
}

mica_rc mica_core_check_denied(
	const struct core_view *v, const struct mica_principal *p, struct mica_err *e)
{
	if (!mica_core_denies(&v->policy->deny, p) && !mica_core_denies(&v->deny->d, p))
		return MICA_OK;
	return mica_fail(
		e, MICA_DENIED, "denied_by_list", "this identity, or its pod, is on the deny list");
}

mica_rc mica_core_check_denied_id(
	const struct core_view *v, struct mica_slice spiffe_id, struct mica_err *e)
{
	if (!mica_core_denies_id(&v->policy->deny, spiffe_id) &&
		!mica_core_denies_id(&v->deny->d, spiffe_id))
		return MICA_OK;
	return mica_fail(e, MICA_DENIED, "denied_by_list", "this identity is on the deny list");
}

/* Whoever gets nothing gets nothing for others either. */
static mica_rc check_asker(const struct core_view *v, const struct mica_issuer *issuer,
	const struct mica_evidence *ev, struct mica_err *e)
{
	struct mica_principal asker;
	mica_rc rc;

	if (ev->asker.ns[0] == '\0')
		return MICA_OK;
	memset(&asker, 0, sizeof(asker));
	memcpy(asker.ns, ev->asker.ns, sizeof(asker.ns));
	memcpy(asker.sa, ev->asker.sa, sizeof(asker.sa));
	memcpy(asker.pod, ev->asker.pod, sizeof(asker.pod));
	asker.pod_uid = ev->asker.pod_uid;
	rc = mica_issuer_name_pod(issuer, &asker, e);
	return rc == MICA_OK ? mica_core_check_denied(v, &asker, e) : rc;
}

/* What was proved once is proved for this issuer's names alone. */
static mica_rc check_name(const struct core_view *v, const struct mica_principal *p,
	const struct mica_issuer **issuer, struct mica_err *e)
{
	*issuer = mica_issuers_named(v->policy->issuers, p->issuer);
	if (*issuer && mica_issuer_may_name(*issuer, mica_slice_str(p->spiffe_id)))
		return MICA_OK;
	return mica_fail(e, MICA_DENIED, "name_not_allowed",
		*issuer ? "the issuer %s may not vouch for this name"
			: "no configured issuer vouches for this caller%s",
		*issuer ? p->issuer : "");
}

/* Design 8.1: a renewal counts from the last primary evidence. */
static mica_rc check_age(const char *issuer, int64_t max, const struct mica_evidence *ev,
	int64_t now, struct mica_err *e)
{
	if (ev->kind != MICA_EV_RENEWAL || (max > 0 && now - ev->origin_time <= max))
		return MICA_OK;
	if (max == 0)
		return mica_fail(e, MICA_DENIED, "fresh_evidence_needed",
			"callers of issuer %s renew with a token, not with a certificate", issuer);
	return mica_fail(e, MICA_DENIED, "fresh_evidence_needed",
		"the last token is older than %lld s; expected a fresh one", (long long)max);
}

/* A machine that has joined: with its token, and then with its certificates. */
static bool is_joined(const struct core_view *v, const struct mica_principal *p)
{
	return v->policy->join && strcmp(p->issuer, v->policy->join->name) == 0;
}

static mica_rc admit_joined(const struct core_view *v, const struct mica_caller *caller,
	int64_t now, struct mica_err *e)
{
	const struct mica_join *j = v->policy->join;

	if (!mica_join_may_name(j, mica_slice_str(caller->principal.spiffe_id)))
		return mica_fail(e, MICA_DENIED, "name_not_allowed",
			"join tokens may not give this name any more (join_tokens.spiffe_path)");
	return check_age(j->name, j->renewal_max_age, &caller->evidence, now, e);
}

static mica_rc admit_vouched(const struct core_view *v, const struct mica_caller *caller,
	int64_t now, struct mica_err *e)
{
	const struct mica_issuer *issuer;
	mica_rc rc = check_name(v, &caller->principal, &issuer, e);

	if (rc == MICA_OK)
		rc = check_asker(v, issuer, &caller->evidence, e);
	if (rc == MICA_OK)
		rc = check_age(mica_issuer_name(issuer), mica_issuer_renewal_max_age(issuer),
			&caller->evidence, now, e);
	return rc;
}

static mica_rc admit(const struct core_view *v, const struct mica_caller *caller, int64_t now,
	struct mica_err *e)
{
	mica_rc rc = mica_core_check_denied(v, &caller->principal, e);

	if (rc == MICA_OK)
		rc = is_joined(v, &caller->principal) ? admit_joined(v, caller, now, e)
						      : admit_vouched(v, caller, now, e);
	if (rc == MICA_OK)
		rc = mica_core_check_revoked(v, caller, e);
	return rc;
}

/* ---- rules ----------------------------------------------------------------------------------- */

static bool is_own_dns(const struct core_policy *p, const char *name)
{
	for (unsigned i = 0; i < p->own_dns.n; i++)
		if (strcmp(p->own_dns.v[i], name) == 0)
			return true;
	return false;
}

static mica_rc make_names(const struct core_policy *p, const struct core_rule *r,
	const struct mica_principal *who, struct names *out, struct mica_err *e)
{
	struct mica_slice values[MICA_PF_COUNT];

	out->n = 0;
	if (!r || r->n_dns == 0)
		return MICA_OK;
	mica_principal_values(who, values);
	for (unsigned i = 0; i < r->n_dns; i++) {
		struct mica_err own = MICA_ERR_INIT;
		char *name = out->text[out->n];

		if (mica_template_expand(r->dns[i], values, MICA_PF_COUNT, name,
			    sizeof(out->text[0]), NULL, &own) != MICA_OK)
			return mica_fail_fine(e, MICA_DENIED, "name_not_allowed", own.text,
				own.reason, "DNS name of a rule: %s",
				mica_template_text(r->dns[i]));
		if (is_own_dns(p, name))
			return mica_fail_fine(e, MICA_DENIED, "name_not_allowed",
				"a DNS name that a rule gives is Mica's own", "dns_name_reserved",
				"%s", name);
		if (mica_linkerd_is_others(&p->linkerd, name, who->ns, who->sa))
			return mica_fail_fine(e, MICA_DENIED, "name_not_allowed",
				"a DNS name that a rule gives is another account's in Linkerd",
				"dns_name_reserved", "%s", name);
		out->v[out->n++] = name;
	}
	return MICA_OK;
}

struct ttl {
	int64_t asked, fallback, min, max;
	int64_t now, end; /* of the authority */
};

/* Longer than possible is cut and said so; shorter than possible is refused. */
static mica_rc decide_ttl(const struct ttl *t, int64_t *out, bool *clamped, struct mica_err *e)
{
	int64_t ttl = t->asked ? t->asked : t->fallback;

	*clamped = false;
	if (t->asked != 0 && t->asked < t->min)
		return mica_fail(e, MICA_INVALID, "ttl_too_short",
			"a ttl of %lld s was asked for; expected at least %lld s",
			(long long)t->asked, (long long)t->min);
	if (ttl > t->max) {
		ttl = t->max;
		*clamped = t->asked != 0;
	}
	if (ttl > t->end - t->now) {
		ttl = t->end - t->now;
		*clamped = true;
	}
	*out = ttl;
	if (ttl < 1)
		return mica_fail(e, MICA_UNAVAILABLE, "no_active_authority",
			"the authority that signs is at its end");
	return MICA_OK;
}

/* ---- candidates ------------------------------------------------------------------------------ */

void mica_candidate_free(struct mica_candidate *k)
{
	if (!k)
		return;
	mica_core_view_unref(k->view);
	mica_buf_clear(&k->body);
	mica_buf_clear(&k->cert);
	mica_buf_clear(&k->pem);
	mica_buf_clear(&k->token);
	mica_core_join_use_free(k->join);
	mica_free(k->spiffe_id);
	mica_free(k);
}

mica_rc mica_candidate_rc(const struct mica_candidate *k)
{
	return k->rc;
}

void mica_candidate_issued(const struct mica_candidate *k, struct mica_issued *out)
{
	if (k->rc == MICA_OK)
		*out = k->issued;
	else
		memset(out, 0, sizeof(*out)); /* nothing of it may leave */
}

static struct mica_candidate *new_candidate(struct core_view *v, int authority, const char *id)
{
	struct mica_candidate *k = MICA_NEW(struct mica_candidate);

	atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
	k->view = v;
	k->authority = authority;
	k->rc = MICA_INTERNAL;
	k->spiffe_id = mica_strdup(id);
	mica_buf_init(&k->body, MICA_ENTRY_MAX);
	mica_buf_init(&k->cert, MICA_CERT_MAX);
	mica_buf_init(&k->pem, 2 * MICA_CHAIN_MAX * MICA_CERT_MAX);
	/* at once, and not by doubling: most need less */
	(void)mica_buf_room(&k->body, BODY_ROOM);
	(void)mica_buf_room(&k->cert, CERT_ROOM);
	mica_buf_init_secret(&k->token, MICA_TOKEN_MAX);
	k->issued.spiffe_id = k->spiffe_id;
	k->channel = k->issued.channel = mica_core_channel(v->policy, id);
	k->issued.bundle_sequence = v->pub ? v->pub->sequence[k->channel] : 0;
	return k;
}

static void fill_entry(struct mica_entry *en, const struct core_decision *d)
{
	mica_entry_set_principal(en, d->principal);
	mica_entry_set_evidence(en, d->evidence);
	if (d->evidence->kind != MICA_EV_RENEWAL)
		en->origin_index = 0; /* itself */
	en->requested_ttl = d->requested_ttl;
	en->outlet = d->outlet;
	en->address = mica_slice_str(d->address);
	en->instance = d->instance;
}

static mica_rc record_x509(
	struct mica_candidate *k, const struct core_decision *d, int64_t now_ms, struct mica_err *e)
{
	struct mica_entry en = {.type = MICA_ENTRY_X509_ISSUED,
		.time_ms = now_ms,
		.certificate = mica_buf_slice(&k->cert),
		.sub = d->no_uri ? mica_slice_str(k->spiffe_id) : MICA_SLICE_NULL};

	fill_entry(&en, d);
	return mica_entry_encode(&en, &k->body, e);
}

static void put_chain(struct mica_candidate *k)
{
	const struct core_authority_more *m = &k->view->auths->more[k->authority];

	k->chain[0] = mica_buf_slice(&k->cert);
	memcpy(k->chain + 1, m->chain, m->n_chain * sizeof(m->chain[0]));
	mica_pem_put(&k->pem, MICA_PEM_CERT, k->chain[0]);
	mica_buf_put_slice(&k->pem, mica_buf_slice(&m->pem));
	k->issued.chain_pem = mica_buf_slice(&k->pem);
	k->issued.chain_der = k->chain;
	k->issued.n_chain = 1 + m->n_chain;
}

static void fill_spec(struct mica_leaf_spec *s, const struct core_view *v,
	const struct core_decision *d, int64_t now_ms, int64_t issuer_begin)
{
	/* design 4.2; and NotBefore never precedes the issuer's */
	int64_t back = d->ttl / 10 < CORE_BACKDATE ? d->ttl / 10 : CORE_BACKDATE;

	mica_serial_make(now_ms, s->serial);
	s->not_before = now_ms / 1000 - back;
	if (s->not_before < issuer_begin)
		s->not_before = issuer_begin;
	s->not_after = now_ms / 1000 + d->ttl;
	s->trust_domain = v->policy->trust_domain;
	s->dns_first = d->dns_first;
	s->uri = d->no_uri ? NULL : d->principal->spiffe_id;
	s->dns = d->dns;
	s->n_dns = d->n_dns;
	s->ip = d->ip;
	s->n_ip = d->n_ip;
	s->key = d->key;
}

mica_rc mica_core_make_x509(struct core_view *v, const struct core_decision *d, int64_t now_ms,
	struct mica_candidate **out, struct mica_err *e)
{
	struct mica_leaf_spec s = {.dns_first = NULL};
	struct core_decision final = *d;
	const struct mica_cert_issuer *issuer;
	CORE_AUTO_CANDIDATE k = NULL;
	int64_t now = now_ms / 1000;
	char url[CORE_CRL_URL_SIZE];
	mica_rc rc;
	int at;

	rc = pick_authority(v, MICA_AUTHORITY_ISSUING, now, &at, e);
	if (rc != MICA_OK)
		return rc;
	issuer = v->auths->more[at].key->issuer;
	/* its own end, or that of one above it */
	if (final.ttl > v->auths->v[at].not_after - now) {
		final.ttl = v->auths->v[at].not_after - now;
		final.clamped = true;
	}
	k = new_candidate(v, at, d->principal->spiffe_id);
	fill_spec(&s, v, &final, now_ms, mica_cert_issuer_not_before(issuer));
	if (mica_core_signs_crl(v, (unsigned)at))
		s.crl_url = mica_core_crl_url(v->policy, v->auths->v[at].id, url);
	rc = mica_leaf_sign(issuer, &s, &k->cert, e);
	if (rc == MICA_OK)
		rc = record_x509(k, &final, now_ms, e);
	if (rc != MICA_OK)
		return rc;
	put_chain(k);
	k->end = s.not_after;
	mica_hex_encode(s.serial, MICA_SERIAL_LEN, k->issued.serial_hex);
	k->issued.not_before = s.not_before;
	k->issued.not_after = s.not_after;
	k->issued.ttl_clamped = final.clamped;
	k->issued.bundle_wanted = d->bundle_sequence < k->issued.bundle_sequence;
	k->issued.renew_after = mica_renewal_after(&v->calls,
		&(struct mica_renewal){.now = now,
			.end = s.not_after,
			.random = {s.serial[MICA_SERIAL_LEN - 2], s.serial[MICA_SERIAL_LEN - 1]},
			.ack = d->outlet == MICA_OUTLET_ACK,
			.canary = k->channel == MICA_CHANNEL_CANARY,
			.newest = !k->issued.bundle_wanted});
	mica_core_lineage_note(k, d);
	k->acks = d->outlet == MICA_OUTLET_ACK;
	k->carried = d->outlet == MICA_OUTLET_CARRIED;
	k->pod = d->principal->pod_uid;
	k->said = d->bundle_sequence;
	k->renews = d->evidence->kind == MICA_EV_RENEWAL;
	memcpy(k->serial, s.serial, sizeof(k->serial));
	*out = MICA_STEAL(k);
	return MICA_OK;
}

/* ---- X.509-SVIDs ----------------------------------------------------------------------------- */

static const char *address_of(const struct core_view *v, const struct mica_caller *caller)
{
	return v->policy->caller_address ? caller->address : "";
}

static mica_rc check_instance(struct mica_slice s, struct mica_err *e)
{
	static const char others[] = "._-";
	bool fits = s.len <= MICA_INSTANCE_MAX;

	for (size_t i = 0; fits && i < s.len; i++) {
		uint8_t c = s.p[i], l = c | 0x20;

		fits = (l >= 'a' && l <= 'z') || (c >= '0' && c <= '9') ||
			memchr(others, c, sizeof(others) - 1);
	}
	if (fits)
		return MICA_OK;
	return mica_fail(e, MICA_INVALID, "bad_instance",
		"instance: expected 1 to %d of [A-Za-z0-9._-]", MICA_INSTANCE_MAX);
}

static mica_rc decide_x509(const struct core_view *v, const struct mica_x509_request *r,
	const struct core_rule *rule, int64_t now, struct core_decision *d, struct mica_err *e)
{
	const struct core_policy *p = v->policy;
	struct ttl t = {.asked = r->ttl, .min = p->min_ttl, .now = now};
	mica_rc rc;
	int at;

	rc = pick_authority(v, MICA_AUTHORITY_ISSUING, now, &at, e);
	if (rc != MICA_OK)
		return rc;
	t.fallback = rule ? rule->ttl : p->ttl;
	t.max = rule ? rule->max_ttl : p->max_ttl;
	t.end = v->auths->v[at].not_after;
	rc = decide_ttl(&t, &d->ttl, &d->clamped, e);
	d->evidence = &r->caller->evidence;
	d->address = address_of(v, r->caller);
	d->requested_ttl = r->ttl;
	d->outlet = r->outlet;
	d->bundle_sequence = r->bundle_sequence;
	d->instance = r->instance;
	return rc == MICA_OK ? check_instance(r->instance, e) : rc;
}

/* Design 4.2: other names than the SPIFFE ID come from the scheme alone. What Mica itself is called
 * is nobody else's. */
static mica_rc make_linkerd_name(const struct core_policy *p, const struct mica_x509_request *r,
	char name[MICA_LINKERD_NAME_MAX + 1], struct core_decision *d, struct mica_err *e)
{
	const struct mica_principal *who = d->principal;
	mica_rc rc = mica_linkerd_name(&p->linkerd, who->ns, who->sa, name, e);

	if (rc != MICA_OK)
		return rc;
	if (!mica_slice_eq_str(r->identity, name))
		return mica_fail(e, MICA_DENIED, "identity_mismatch",
			"requested identity did not match provided token: requested=%.*s; found=%s",
			MICA_FMT(r->identity), name);
	if (is_own_dns(p, name))
		return mica_fail_fine(e, MICA_DENIED, "name_not_allowed", "this name is Mica's own",
			"dns_name_reserved", "%s", name);
	d->dns_first = name;
	d->no_uri = !p->linkerd.spiffe;
	return MICA_OK;
}

/* With a join token besides: that it is spent by this very certificate. */
static mica_rc make_for(struct mica_core *c, struct core_view *v, const struct mica_caller *caller,
	const struct core_decision *d, int64_t now_ms, struct mica_candidate **out,
	struct mica_err *e)
{
	struct core_join_use *use = NULL;
	mica_rc rc = mica_core_join_use(c, caller, now_ms / 1000, &use, e);

	if (rc == MICA_OK)
		rc = mica_core_make_x509(v, d, now_ms, out, e);
	if (rc == MICA_OK)
		(*out)->join = MICA_STEAL(use);
	mica_core_join_use_free(use);
	return rc;
}

#define EC_KEYS (1U << MICA_KN_P256 | 1U << MICA_KN_P384)

mica_rc mica_core_prepare_x509(struct mica_core *c, const struct mica_x509_request *r,
	int64_t now_ms, struct mica_candidate **out, struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	const struct core_rule *rule = mica_core_rule(v->policy, &r->caller->principal);
	const bool linkerd = r->scheme == MICA_SCHEME_LINKERD;
	/* linkerd2 pkg/identity/service.go: "CSR must contain an ECDSA public key" */
	const struct mica_key_policy keys = {
		.types = (rule ? rule->key_types : v->policy->key_types) &
			(linkerd ? EC_KEYS : UINT32_MAX),
		.denied = (const uint8_t(*)[32])v->no_keys,
		.n_denied = v->n_no_keys};
	struct core_decision d = {.ttl = 0};
	struct mica_pubkey key;
	struct names names;
	char name[MICA_LINKERD_NAME_MAX + 1];
	mica_rc rc = mica_core_can_issue(c, e);

	d.principal = &r->caller->principal;
	if (rc == MICA_OK)
		rc = admit(v, r->caller, now_ms / 1000, e);
	if (rc == MICA_OK && linkerd)
		rc = make_linkerd_name(v->policy, r, name, &d, e);
	if (rc == MICA_OK)
		rc = mica_core_lineage_check(c, v, r->caller, e);
	if (rc == MICA_OK)
		rc = decide_x509(v, r, rule, now_ms / 1000, &d, e);
	if (rc == MICA_OK)
		rc = make_names(v->policy, rule, d.principal, &names, e);
	if (rc == MICA_OK)
		rc = mica_csr_read(r->csr, &keys, &key, e);
	if (rc != MICA_OK)
		return rc;
	d.key = &key;
	d.dns = names.v;
	d.n_dns = names.n;
	return make_for(c, v, r->caller, &d, now_ms, out, e);
}

/* ---- JWT-SVIDs ------------------------------------------------------------------------------- */

static bool audience_ok(const struct core_policy *p, struct mica_slice aud)
{
	if (aud.len == 0 || aud.len > 255 || !mica_slice_is_utf8(aud) ||
		memchr(aud.p, 0, aud.len) != NULL)
		return false;
	for (unsigned i = 0; i < p->jwt_audiences.n; i++)
		if (mica_slice_eq_str(aud, p->jwt_audiences.v[i]))
			return true;
	return p->jwt_audiences.n == 0;
}

static mica_rc check_audience(
	const struct core_policy *p, const struct mica_jwt_request *r, struct mica_err *e)
{
	if (r->n_audience == 0 || r->n_audience > MICA_JWT_AUD_MAX)
		return mica_fail(e, MICA_INVALID, "audience_not_allowed",
			"%zu audiences were asked for; expected 1 to %d", r->n_audience,
			MICA_JWT_AUD_MAX);
	for (size_t i = 0; i < r->n_audience; i++)
		if (!audience_ok(p, r->audience[i]))
			return mica_fail(e, MICA_INVALID, "audience_not_allowed",
				"audience %zu may not be asked for; expected 1 to 255 octets%s",
				i + 1,
				p->jwt_audiences.n ? ", and one that the configuration lists" : "");
	return MICA_OK;
}

static mica_rc record_jwt(struct mica_candidate *k, const struct core_decision *d,
	const struct mica_jwt_spec *s, const char *kid, int64_t now_ms, struct mica_err *e)
{
	struct mica_entry en = {.type = MICA_ENTRY_JWT_ISSUED,
		.time_ms = now_ms,
		.sub = mica_slice_str(s->sub),
		.jti = mica_slice_str(s->jti),
		.kid = mica_slice_str(kid),
		.n_aud = s->n_aud,
		.iat = s->iat,
		.exp = s->exp};

	memcpy(en.aud, s->aud, s->n_aud * sizeof(en.aud[0]));
	fill_entry(&en, d);
	return mica_entry_encode(&en, &k->body, e);
}

static const struct mica_renewal_calls no_calls = {
	{MICA_TIME_NEVER, MICA_TIME_NEVER}, 0, MICA_TIME_NEVER, MICA_TIME_NEVER};

static mica_rc make_jwt(struct core_view *v, const struct core_decision *d,
	const struct mica_jwt_request *r, int authority, int64_t now_ms,
	struct mica_candidate **out, struct mica_err *e)
{
	const char *kid = v->auths->v[authority].id;
	CORE_AUTO_CANDIDATE k = new_candidate(v, authority, d->principal->spiffe_id);
	char jti[MICA_JTI_SIZE];
	struct mica_jwt_spec s = {.iss = v->policy->jwt_issuer,
		.sub = k->spiffe_id,
		.aud = r->audience,
		.n_aud = r->n_audience,
		.iat = now_ms / 1000,
		.exp = now_ms / 1000 + d->ttl,
		.jti = jti};
	mica_rc rc;

	mica_jti_make(jti);
	rc = mica_jwt_sign(v->auths->more[authority].key->signer, kid, &s, &k->token, e);
	if (rc == MICA_OK)
		rc = record_jwt(k, d, &s, kid, now_ms, e);
	if (rc != MICA_OK)
		return rc;
	k->end = s.exp;
	k->renews = d->evidence->kind == MICA_EV_RENEWAL;
	k->issued.token = (const char *)k->token.p;
	k->issued.not_before = s.iat;
	k->issued.not_after = s.exp;
	/* no step is helped by a sooner one */
	k->issued.renew_after = mica_renewal_after(&no_calls,
		&(struct mica_renewal){
			.now = s.iat, .end = s.exp, .random = {(uint8_t)jti[0], (uint8_t)jti[1]}});
	k->issued.ttl_clamped = d->clamped;
	*out = MICA_STEAL(k);
	return MICA_OK;
}

mica_rc mica_core_prepare_jwt(struct mica_core *c, const struct mica_jwt_request *r, int64_t now_ms,
	struct mica_candidate **out, struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	const struct core_policy *p = v->policy;
	struct ttl t = {.asked = r->ttl,
		.fallback = p->jwt_ttl,
		.min = TTL_MIN_JWT,
		.max = p->jwt_max_ttl,
		.now = now_ms / 1000};
	struct core_decision d = {.principal = &r->caller->principal,
		.evidence = &r->caller->evidence,
		.requested_ttl = r->ttl};
	mica_rc rc = mica_core_can_issue(c, e);
	int at = -1;

	if (rc == MICA_OK && r->caller->evidence.kind == MICA_EV_JOIN)
		rc = mica_fail(e, MICA_DENIED, "fresh_evidence_needed",
			"a join token is for an X.509-SVID, which then asks for JWT-SVIDs");
	if (rc == MICA_OK)
		rc = admit(v, r->caller, t.now, e);
	if (rc == MICA_OK)
		rc = mica_core_lineage_check(c, v, r->caller, e);
	if (rc == MICA_OK)
		rc = check_audience(p, r, e);
	if (rc == MICA_OK)
		rc = pick_authority(v, MICA_AUTHORITY_JWT, t.now, &at, e);
	if (rc != MICA_OK)
		return rc;
	t.end = v->auths->v[at].not_after;
	rc = decide_ttl(&t, &d.ttl, &d.clamped, e);
	d.address = address_of(v, r->caller);
	return rc == MICA_OK ? make_jwt(v, &d, r, at, now_ms, out, e) : rc;
}

/* ---- Mica's own ------------------------------------------------------------------------------ */

mica_rc mica_core_self(const char *trust_domain, const char *name, int64_t now,
	struct mica_principal *p, struct mica_evidence *ev, struct mica_err *e)
{
	char path[64];

	memset(p, 0, sizeof(*p));
	memset(ev, 0, sizeof(*ev));
	snprintf(path, sizeof(path), "/%s/%s", MICA_RESERVED_SEGMENT, name);
	snprintf(ev->id, sizeof(ev->id), "%s", name);
	ev->kind = MICA_EV_SELF;
	ev->origin_time = now;
	return mica_spiffe_id_make(
		mica_slice_str(trust_domain), mica_slice_str(path), p->spiffe_id, e);
}

struct addresses {
	uint8_t octets[MICA_LEAF_IP_MAX][16];
	struct mica_slice v[MICA_LEAF_IP_MAX];
	size_t n;
};

static mica_rc read_addresses(
	const struct mica_string_list *l, struct addresses *out, struct mica_err *e)
{
	out->n = 0;
	if (l && l->n > MICA_LEAF_IP_MAX)
		return mica_fail(e, MICA_INVALID, "too_many_names",
			"at most %d addresses fit into a certificate", MICA_LEAF_IP_MAX);
	for (unsigned i = 0; l && i < l->n; i++) {
		uint8_t *to = out->octets[out->n];
		size_t len = 4;

		if (inet_pton(AF_INET, l->v[i], to) != 1) {
			len = 16;
			if (inet_pton(AF_INET6, l->v[i], to) != 1)
				return mica_fail(e, MICA_INVALID, "address_invalid",
					"\"%.64s\" is not an IPv4 or IPv6 address", l->v[i]);
		}
		out->v[out->n++] = mica_slice(to, len);
	}
	return MICA_OK;
}

static mica_rc check_self_dns(const struct mica_string_list *l, struct mica_err *e)
{
	if (l && l->n > MICA_LEAF_DNS_MAX)
		return mica_fail(e, MICA_INVALID, "too_many_names",
			"at most %d DNS names fit into a certificate", MICA_LEAF_DNS_MAX);
	for (unsigned i = 0; l && i < l->n; i++) {
		mica_rc rc = mica_dns_name_check(mica_slice_str(l->v[i]), e);

		if (rc != MICA_OK)
			return rc;
	}
	return MICA_OK;
}

mica_rc mica_core_prepare_self(struct mica_core *c, const struct mica_self_request *r,
	int64_t now_ms, struct mica_candidate **out, struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	struct mica_principal who;
	struct mica_evidence ev;
	struct mica_pubkey key;
	struct addresses ip;
	struct core_decision d = {.principal = &who,
		.evidence = &ev,
		.address = "",
		.key = &key,
		.requested_ttl = r->ttl,
		.ttl = r->ttl > 0 ? r->ttl : v->policy->ttl};
	mica_rc rc = mica_core_can_issue(c, e);

	if (rc == MICA_OK)
		rc = mica_core_self(v->policy->trust_domain, "server", now_ms / 1000, &who, &ev, e);
	if (rc == MICA_OK)
		rc = mica_pubkey_read(r->spki, &key, e);
	if (rc == MICA_OK)
		rc = check_self_dns(r->dns_names, e);
	if (rc == MICA_OK)
		rc = read_addresses(r->ip_addresses, &ip, e);
	if (rc != MICA_OK)
		return rc;
	if (r->dns_names) {
		d.dns = (const char *const *)r->dns_names->v;
		d.n_dns = r->dns_names->n;
	}
	d.ip = ip.v;
	d.n_ip = ip.n;
	return mica_core_make_x509(v, &d, now_ms, out, e);
}
