/* SPDX-License-Identifier: Apache-2.0 */
/* Who asks: tokens, SVIDs, and what TokenReview adds. */
#include "core_impl.h"
#include "join.h"

static void start_caller(struct mica_caller *out)
{
	memset(out, 0, sizeof(*out));
	out->uid = out->gid = out->pid = -1;
}

/* A clock that was set back must not revive what has expired: the greatest time that was seen
 * counts. Not when it is far ahead, though: then that one was wrong, and callers would be refused
 * for our own trouble until the clock has caught up. */
#define CLOCK_BACK_MAX_MS (10 * 60 * 1000)
static int64_t latest(struct mica_core *c, int64_t now_ms)
{
	int64_t seen = atomic_load_explicit(&c->now_ms, memory_order_relaxed);

	return seen > now_ms && seen - now_ms <= CLOCK_BACK_MAX_MS ? seen : now_ms;
}

/* Roles are given to names; who is denied has none. */
static void give_roles(const struct core_view *v, struct mica_caller *caller)
{
	caller->roles = MICA_ROLE_WORKLOAD;
	if (!mica_core_denies(&v->policy->deny, &caller->principal) &&
		!mica_core_denies(&v->deny->d, &caller->principal))
		caller->roles |= mica_core_roles(v->policy, caller->principal.spiffe_id);
}

/* ---- tokens ---------------------------------------------------------------------------------- */

static bool is_stale(const struct core_issuer_keys *k, const struct mica_issuer *i, int64_t now)
{
	return k->jwks && now - k->fetched > mica_issuer_max_stale(i);
}

static mica_rc verify_token(struct mica_core *c, struct mica_token_reader *r,
	const struct core_view *v, const struct mica_issuer *issuer, int64_t now,
	struct mica_caller *out, struct mica_err *e)
{
	const struct core_issuer_keys *k = &v->keys->v[mica_issuer_index(issuer)];
	struct mica_token_result found;
	mica_rc rc;

	if (is_stale(k, issuer, now))
		return mica_fail(e, MICA_UNAVAILABLE, "issuer_keys_stale",
			"the keys of issuer %s were last fetched %lld s ago; try again later",
			mica_issuer_name(issuer), (long long)(now - k->fetched));
	rc = mica_token_verify(r, k->jwks, now, &found, e);
	if (rc != MICA_OK)
		return rc;
	mica_core_hear_clock(c, found.iat);
	start_caller(out);
	out->principal = found.principal;
	out->evidence = found.evidence;
	out->evidence.origin_time = now;
	give_roles(v, out);
	return MICA_OK;
}

static mica_rc authenticate_join(struct mica_core *c, const struct core_view *v,
	struct mica_slice token, int64_t now_ms, struct mica_caller *out, const char **issuer_name,
	struct mica_err *e)
{
	if (issuer_name)
		*issuer_name = NULL;
	start_caller(out);
	return mica_core_authenticate_join(c, v, token, latest(c, now_ms) / 1000, out, e);
}

mica_rc mica_core_authenticate_token(struct mica_core *c, struct mica_slice token,
	enum mica_front front, int64_t now_ms, struct mica_caller *out, const char **issuer_name,
	struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	struct mica_token_reader *r;
	const struct mica_issuer *issuer = NULL;
	mica_rc rc;

	if (v->policy->join && front == MICA_FRONT_REST && mica_join_is_token(token))
		return authenticate_join(c, v, token, now_ms, out, issuer_name, e);
	r = mica_core_reader_take(c);
	rc = mica_token_open(r, v->policy->issuers, token, front, &issuer, e);

	if (issuer_name)
		*issuer_name =
			rc == MICA_OK ? v->policy->issuer_names[mica_issuer_index(issuer)] : NULL;
	if (rc == MICA_OK)
		rc = verify_token(c, r, v, issuer, latest(c, now_ms) / 1000, out, e);
	mica_core_reader_give(c, r);
	return rc;
}

struct explain {
	const struct core_view *v;
	int64_t now;
};

static const struct mica_jwks *explain_keys(void *ctx, const struct mica_issuer *issuer)
{
	const struct explain *x = ctx;
	const struct core_issuer_keys *k = &x->v->keys->v[mica_issuer_index(issuer)];

	return is_stale(k, issuer, x->now) ? NULL : k->jwks;
}

mica_rc mica_core_explain_token(struct mica_core *c, struct mica_slice token, enum mica_front front,
	int64_t now_ms, struct mica_buf *json, struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	struct explain x = {v, latest(c, now_ms) / 1000};
	struct mica_token_reader *r = mica_core_reader_take(c);
	mica_rc rc = mica_token_explain(
		r, v->policy->issuers, token, front, x.now, explain_keys, &x, json, e);

	mica_core_reader_give(c, r);
	return rc;
}

/* ---- SVIDs ----------------------------------------------------------------------------------- */

static mica_rc unknown_svid(struct mica_err *e, const char *detail)
{
	return mica_fail_fine(e, MICA_UNAUTHENTICATED, "svid_unknown",
		"this certificate is not in the ledger; expected one that was issued here", NULL,
		"%s", detail);
}

/* Not only the serial: a certificate that a stolen key of an authority has made under a known
 * serial is another one. */
static mica_rc read_entry(struct mica_core *c, uint64_t index, struct mica_slice presented,
	struct mica_caller *out, struct mica_err *e)
{
	struct mica_evidence before;
	struct mica_entry en;
	MICA_AUTO_BUF body;
	mica_rc rc;

	mica_buf_init(&body, MICA_ENTRY_MAX);
	rc = mica_ledger_entry(c->ledger, index, &body, e);
	if (rc == MICA_OK)
		rc = mica_entry_decode(mica_buf_slice(&body), &en, e);
	if (rc != MICA_OK)
		return rc;
	if (!mica_slice_eq(en.certificate, presented))
		return unknown_svid(e, "another certificate was issued under its serial");
	rc = mica_entry_get_principal(&en, &out->principal, e);
	if (rc == MICA_OK)
		rc = mica_entry_get_evidence(&en, index, &before, e);
	if (rc != MICA_OK)
		return rc;
	out->evidence.origin_index = before.origin_index;
	out->evidence.origin_time = before.origin_time;
	return MICA_OK;
}

static bool key_denied(const struct core_view *v, const struct mica_pubkey *key)
{
	const struct mica_key_policy p = {.types = UINT32_MAX,
		.denied = (const uint8_t(*)[32])v->no_keys,
		.n_denied = v->n_no_keys};

	return mica_key_policy_check(&p, key, NULL) != MICA_OK;
}

static mica_rc find_serial(
	struct mica_core *c, const struct mica_svid *s, uint64_t *index, struct mica_err *e)
{
	struct mica_err own = MICA_ERR_INIT;
	mica_rc rc;

	if (s->serial_len != MICA_SERIAL_LEN)
		return unknown_svid(e, "its serial is not one of ours");
	rc = mica_ledger_by_serial(c->ledger, s->serial, index, &own);
	if (rc == MICA_NOT_FOUND)
		return unknown_svid(e, "its serial is not in the ledger");
	return rc == MICA_OK ? MICA_OK : mica_fail(e, rc, own.reason, "%s", own.text);
}

/* All but what follows from its holder's being here. */
static mica_rc judge_svid(struct mica_core *c, const struct core_view *v,
	const struct mica_slice *chain, size_t n, int64_t now, struct mica_caller *out,
	struct mica_err *e)
{
	struct mica_svid s;
	uint64_t index = 0;
	mica_rc rc = mica_verify_svid(v->auths->trust, chain, n, now, 0, &s, e);

	if (rc != MICA_OK)
		return rc;
	if (key_denied(v, &s.key))
		return mica_fail(e, MICA_UNAUTHENTICATED, "svid_denied",
			"the key of this certificate may not be used here");
	rc = find_serial(c, &s, &index, e);
	start_caller(out);
	memcpy(out->serial, s.serial, sizeof(out->serial));
	out->has_serial = rc == MICA_OK;
	if (rc == MICA_OK)
		rc = mica_core_check_revoked(v, out, e);
	if (rc == MICA_OK)
		rc = read_entry(c, index, chain[0], out, e);
	if (rc != MICA_OK)
		return rc;
	out->evidence.kind = MICA_EV_RENEWAL;
	out->evidence.credential_expiry = s.not_after;
	mica_hex_encode(s.serial, MICA_SERIAL_LEN, out->evidence.id);
	return MICA_OK;
}

mica_rc mica_core_authenticate_svid(struct mica_core *c, const struct mica_slice *chain, size_t n,
	int64_t now_ms, struct mica_caller *out, struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	int64_t now = latest(c, now_ms) / 1000;
	mica_rc rc = judge_svid(c, v, chain, n, now, out, e);

	if (rc != MICA_OK)
		return rc;
	mica_core_lineage_seen(c, out->serial, now);
	give_roles(v, out);
	return MICA_OK;
}

/* ---- who stands before a proxy --------------------------------------------------------------- */

mica_rc mica_core_judge_peer(struct mica_core *c, struct mica_slice leaf, int64_t now_ms,
	struct mica_caller *out, struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	struct mica_slice chain[2 + MICA_AUTHORITY_CHAIN_MAX] = {leaf};
	const struct core_authority_more *issuer;
	struct mica_cert_info info;
	size_t n = 1;
	int at = -1;
	mica_rc rc;

	/* what cannot be read is the verifier's to refuse */
	if (mica_cert_read(leaf, &info, NULL) == MICA_OK)
		at = mica_core_authority_named(v->auths, info.aki);
	issuer = at >= 0 ? &v->auths->more[at] : NULL;
	for (size_t i = 0; issuer && i < issuer->n_chain && n < MICA_CHAIN_MAX; i++)
		chain[n++] = issuer->chain[i];
	rc = judge_svid(c, v, chain, n, latest(c, now_ms) / 1000, out, e);
	return rc == MICA_OK ? mica_core_check_denied(v, &out->principal, e) : rc;
}

mica_rc mica_core_judge_name(struct mica_core *c, const struct mica_spiffe_id *id,
	const char *const *aliases, unsigned n_aliases, struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	bool ours = mica_slice_eq_str(id->td, v->policy->trust_domain);

	for (unsigned i = 0; i < n_aliases && !ours; i++)
		ours = mica_slice_eq_str(id->td, aliases[i]);
	if (!ours)
		return mica_fail(e, MICA_UNAUTHENTICATED, "svid_wrong_trust_domain",
			"this name is not of the trust domain %s, nor of one of its aliases",
			v->policy->trust_domain);
	return mica_core_check_denied_id(v, id->text, e);
}

/* ---- on behalf of others --------------------------------------------------------------------- */

static mica_rc issuer_of(const struct core_view *v, const struct mica_caller *caller,
	const struct mica_issuer **issuer, struct mica_err *e)
{
	*issuer = mica_issuers_named(v->policy->issuers, caller->principal.issuer);
	if (*issuer)
		return MICA_OK;
	return mica_fail(e, MICA_DENIED, "impersonation_not_allowed",
		"no configured issuer vouches for this caller");
}

mica_rc mica_core_impersonation_admit(struct mica_core *c, const struct mica_caller *caller,
	struct mica_slice identity, struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	const struct mica_issuer *issuer;
	mica_rc rc = issuer_of(v, caller, &issuer, e);

	if (rc == MICA_OK)
		rc = mica_impersonation_admit(
			issuer, &caller->principal, &caller->evidence, identity, e);
	return rc == MICA_OK ? mica_core_check_denied(v, &caller->principal, e) : rc;
}

static bool denied(const void *ctx, const struct mica_principal *p)
{
	return mica_core_check_denied(ctx, p, NULL) != MICA_OK;
}

/* The configuration may have changed while the cluster was asked: all is looked at again. */
mica_rc mica_core_impersonation_judge(struct mica_core *c, const struct mica_caller *caller,
	struct mica_slice identity, const struct mica_node_pods *pods, struct mica_caller *out,
	struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	const struct mica_principal *p = &caller->principal;
	struct mica_asker *asker = &out->evidence.asker;
	const struct mica_issuer *issuer;
	mica_rc rc = issuer_of(v, caller, &issuer, e);

	if (rc == MICA_OK)
		rc = mica_impersonation_admit(issuer, p, &caller->evidence, identity, e);
	if (rc == MICA_OK)
		rc = mica_core_check_denied(v, p, e);
	*out = *caller;
	if (rc == MICA_OK)
		rc = mica_impersonation_judge(
			issuer, p, identity, pods, denied, v, &out->principal, e);
	if (rc != MICA_OK)
		return rc;
	out->roles = MICA_ROLE_WORKLOAD;
	memcpy(asker->ns, p->ns, sizeof(asker->ns));
	memcpy(asker->sa, p->sa, sizeof(asker->sa));
	memcpy(asker->pod, p->pod, sizeof(asker->pod));
	asker->pod_uid = p->pod_uid;
	return MICA_OK;
}

/* ---- TokenReview ----------------------------------------------------------------------------- */

static const struct mica_issuer *review_issuer(
	const struct core_view *v, const struct mica_caller *caller)
{
	if (caller->evidence.kind != MICA_EV_TOKEN)
		return NULL;
	return mica_issuers_named(v->policy->issuers, caller->principal.issuer);
}

enum mica_review_need mica_core_review_need(
	struct mica_core *c, const struct mica_caller *caller, int64_t now_ms)
{
	static const enum mica_review_need needs[] = {[MICA_VERDICT_UNKNOWN] = MICA_REVIEW_ASK,
		[MICA_VERDICT_YES] = MICA_REVIEW_CACHED_YES,
		[MICA_VERDICT_NO] = MICA_REVIEW_CACHED_NO};
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	const struct mica_issuer *i = review_issuer(v, caller);
	enum mica_review_verdict verdict;

	if (!i || mica_issuer_review(i) == MICA_REVIEW_NEVER)
		return MICA_REVIEW_NOT_NEEDED;
	pthread_mutex_lock(&c->review_lock);
	verdict = mica_review_cache_get(
		c->review, mica_issuer_review(i), &caller->principal, now_ms / 1000);
	pthread_mutex_unlock(&c->review_lock);
	return needs[verdict];
}

static mica_rc no_review(struct mica_err *e)
{
	return mica_fail(e, MICA_INTERNAL, "review_misuse",
		"this caller has no token of a configured issuer to be reviewed");
}

mica_rc mica_core_review_request(struct mica_core *c, const struct mica_caller *caller,
	struct mica_slice token, struct mica_buf *body, struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	const struct mica_issuer *i = review_issuer(v, caller);

	return i ? mica_review_request(i, caller->evidence.front, token, body, e) : no_review(e);
}

mica_rc mica_core_review_judge(struct mica_core *c, const struct mica_caller *caller, int status,
	struct mica_slice answer, int64_t now_ms, struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	const struct mica_issuer *i = review_issuer(v, caller);
	struct mica_err own = MICA_ERR_INIT;
	enum mica_review_verdict verdict;
	mica_rc rc;

	if (!i)
		return no_review(e);
	rc = mica_review_judge(i, caller->evidence.front, &caller->principal, &caller->evidence,
		status, answer, &own);
	/* Our own trouble is no verdict; the configuration says whether it stops anybody. */
	if (rc == MICA_UNAVAILABLE && mica_issuer_review_allow_on_failure(i))
		return MICA_OK;
	if (rc != MICA_OK && e && e->rc == MICA_OK)
		*e = own;
	if (rc != MICA_OK && rc != MICA_DENIED)
		return rc;
	verdict = rc == MICA_OK ? MICA_VERDICT_YES : MICA_VERDICT_NO;
	pthread_mutex_lock(&c->review_lock);
	mica_review_cache_put(c->review, &caller->principal, verdict, now_ms / 1000);
	pthread_mutex_unlock(&c->review_lock);
	return rc;
}
