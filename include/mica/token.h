/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tokens: from the octets of a bearer token to a principal, or to the reason why not. Pure: no
 * clock, no socket, no store; keys come in as an immutable set, so that whoever fetches them may do
 * so between the two halves:
 *
 *	mica_token_open     form, header, issuer by exact `iss`      (trusts nothing)
 *	  -> the caller takes that issuer's key set
 *	mica_token_verify   signature, then all that it vouches for
 *	  -> UNAUTHENTICATED with fine "unknown_key": refresh that set, verify once more
 *
 * Secrecy of reasons: until the signature holds, the caller's reason is `token_invalid` and its
 *text says which audience and form are expected; e->fine names the real one. After it, reason and
 *text are exact. The token itself is in no message.
 *
 * Any string of octets has one outcome, after bounded work.
 */
#ifndef MICA_TOKEN_H
#define MICA_TOKEN_H

#include "mica/buf.h"
#include "mica/config.h"
#include "mica/jwks.h"
#include "mica/principal.h"

#define MICA_TOKEN_MAX     (16 * 1024)
#define MICA_TOKEN_AUD_MAX 16 /* entries of `aud` */

/* ---- issuers ---------------------------------------------------------------------------- */

struct mica_issuer; /* opaque, part of its set */
struct mica_issuers; /* opaque, immutable, any thread */

/* Where a refusal points: for a message with a line. */
struct mica_issuer_fault {
	unsigned issuer; /* index in the configuration */
	const char *setting; /* "spiffe_path", "audiences", ... as in struct mica_issuer_config */
};

/*
 * Compiles and cross-checks. The configuration is copied. `fault` may be NULL. INVALID:
 *	issuer_name_invalid, issuer_name_duplicate
 *	issuer_url_invalid	OIDC: https, no query, fragment or user; Kubernetes: also a plain
 *				name, but never that of legacy tokens
 *	issuer_url_duplicate	one `iss` belongs to one issuer
 *	issuer_cluster_invalid	not [A-Za-z0-9._-]; or that of another issuer without same_names_as
 *	issuer_audience_invalid	none at all, empty, over 255 octets, not visible ASCII
 *	issuer_lifetime_invalid	cap or skew out of bounds
 *	issuer_claim_invalid	bad or repeated names of mapped or required claims; mapped claims
 *for Kubernetes template_*, pattern_invalid
 *	names_overlap		two issuers can make one name, and neither says same_names_as the
 *				other; or does, but the kinds or templates differ: what means one
 *				thing for one would mean another for the other
 *	same_names_unknown	same_names_as names no other issuer
 * Names below /mica are reserved.
 */
mica_rc mica_issuers_new(const char *trust_domain, const struct mica_issuer_config *config,
	unsigned n, struct mica_issuers **out, struct mica_issuer_fault *fault,
	struct mica_err *e) MICA_MUST_CHECK;
void mica_issuers_free(struct mica_issuers *s); /* NULL is fine */
unsigned mica_issuers_count(const struct mica_issuers *s);
const struct mica_issuer *mica_issuers_at(const struct mica_issuers *s, unsigned i);
/* By the name that it has in the configuration; NULL when there is none. */
const struct mica_issuer *mica_issuers_named(const struct mica_issuers *s, const char *name);
/* Appends to *out what is legal and probably not meant: a role's ID that an issuer can make, a
 * Kubernetes template without namespace or service account, an OIDC issuer without required
 * claims. */
void mica_issuers_warnings(const struct mica_issuers *s, const struct mica_string_list *role_ids,
	struct mica_string_list *out);

unsigned mica_issuer_index(const struct mica_issuer *i); /* as in the configuration */
const char *mica_issuer_name(const struct mica_issuer *i);
const char *mica_issuer_url(const struct mica_issuer *i);
const char *mica_issuer_cluster(const struct mica_issuer *i);
enum mica_issuer_kind mica_issuer_kind(const struct mica_issuer *i);
enum mica_review_mode mica_issuer_review(const struct mica_issuer *i);
bool mica_issuer_review_allow_on_failure(const struct mica_issuer *i);
int64_t mica_issuer_renewal_max_age(const struct mica_issuer *i);
int64_t mica_issuer_max_stale(const struct mica_issuer *i); /* seconds after the last fetch */
/* How its key set is to be read. */
struct mica_jwks_options mica_issuer_jwks_options(const struct mica_issuer *i);
const struct mica_string_list *mica_issuer_audiences(
	const struct mica_issuer *i, enum mica_front front);
/* Whether this issuer may vouch for `spiffe_id` at all: in our trust domain, of its template's
 * shape, not reserved. For renewals, whose token is long gone. */
bool mica_issuer_may_name(const struct mica_issuer *i, struct mica_slice spiffe_id);
/* Fills p->spiffe_id of a pod of this issuer (Kubernetes), whose other fields are set: the name
 * that its own token would give it. DENIED as mica_template_expand. */
mica_rc mica_issuer_name_pod(
	const struct mica_issuer *i, struct mica_principal *p, struct mica_err *e) MICA_MUST_CHECK;

/* ---- verification ------------------------------------------------------------------------ */

/* Memory for one verification at a time: one per thread, reused; about 40 KiB. Holds claims of the
 * last token until the next one or mica_token_close. */
struct mica_token_reader; /* opaque */
struct mica_token_reader *mica_token_reader_new(void);
void mica_token_reader_free(struct mica_token_reader *r); /* NULL is fine */

/*
 * Reads form, header and issuer. `token` is borrowed until mica_token_close or the next open.
 * *issuer gets the one that the token names: nothing is proved yet. UNAUTHENTICATED
 * "token_invalid", fine:
 *	token_empty, token_too_long, token_not_compact (not three parts), token_encrypted (five),
 *	token_encoding (a part is not canonical base64url), header_malformed,
 *	header_member_duplicate, header_member_not_allowed (jwk, jku, x5u, x5c, zip, enc, b64 ...),
 *	header_crit, alg_missing, alg_none, alg_not_allowed, typ_not_allowed, kid_malformed,
 *	payload_malformed, issuer_missing, issuer_unknown, legacy_token, bad_signature (longer than
 *	any)
 */
mica_rc mica_token_open(struct mica_token_reader *r, const struct mica_issuers *issuers,
	struct mica_slice token, enum mica_front front, const struct mica_issuer **issuer,
	struct mica_err *e) MICA_MUST_CHECK;

struct mica_token_result {
	struct mica_principal principal;
	/* kind TOKEN, id = jti, or "sha256:<hex of the signed octets>" when it has none;
	 * credential_expiry = exp below. origin_* are 0. */
	struct mica_evidence evidence;
	int64_t iat;
	int64_t nbf; /* 0 when absent */
	int64_t exp; /* the earlier one of `exp` and Kubernetes' `warnafter` */
	char audience[256]; /* the one that matched */
};

/*
 * Checks the signature with `keys` (the set of the issuer that open found; NULL counts as a set
 * without keys), then the claims at `now` (seconds) for the front of open. May be called again with
 * other keys. *out is filled on OK only.
 *
 * Before the signature holds: UNAUTHENTICATED "token_invalid", fine unknown_key (the caller should
 * refresh once), kid_needed, alg_not_allowed (the key is another algorithm's), bad_signature.
 * After it: UNAUTHENTICATED
 *	token_expired		exp <= now - skew: at its last second a token still counts for
 *				`skew` seconds, and not at all with skew 0
 *	token_not_yet_valid	nbf > now + skew, or iat > now + skew
 *	time_claim_malformed	exp or iat missing; not an integer from 1 to year 9999; iat > exp
 *	lifetime_too_long	exp - iat above the cap of this issuer and front
 *	audience_mismatch, audience_malformed
 *	jti_malformed, subject_malformed
 *	legacy_token		flat claims of secret-based tokens
 *	kubernetes_claims_missing, kubernetes_claims_malformed (names, UIDs), subject_mismatch
 *	secret_bound, pod_missing
 *	claim_missing, claim_malformed, claim_mismatch	(OIDC)
 * and DENIED name_value_missing, name_value_invalid, name_too_long, name_reserved.
 * UNAVAILABLE "issuer_keys_missing" when keys is NULL (there was never a good copy; fine also for a
 * stale one, which the caller passes as NULL).
 */
mica_rc mica_token_verify(struct mica_token_reader *r, const struct mica_jwks *keys, int64_t now,
	struct mica_token_result *out, struct mica_err *e) MICA_MUST_CHECK;
/* Forgets the token (its decoded octets are wiped). */
void mica_token_close(struct mica_token_reader *r);

/*
 * Why a token is accepted or refused, as one JSON object for `mica token explain`:
 *	{"accepted":false,"reason":"token_expired","issuer":"prod","verified":true,
 *	 "steps":[{"check":"expiry","passed":false,"reason":"token_expired","text":"..."}, ...],
 *	 "claims":{"iss":...,"sub":...,"aud":...,"exp":...,...},"spiffe_id":"..."}
 * All checks behind the signature run, also after one failed. Claims are the registered ones, the
 * Kubernetes ones and those that the configuration names; they count for nothing when `verified` is
 * false. Neither the token nor its signature is in it. `keys` gives a borrowed set or NULL.
 * Refusal of the token is not an error here.
 */
mica_rc mica_token_explain(struct mica_token_reader *r, const struct mica_issuers *issuers,
	struct mica_slice token, enum mica_front front, int64_t now,
	const struct mica_jwks *(*keys)(void *ctx, const struct mica_issuer *issuer), void *ctx,
	struct mica_buf *json, struct mica_err *e) MICA_MUST_CHECK;

/* ---- TokenReview: what a local check cannot know ------------------------------------------ */

/* Appends the body of POST /apis/authentication.k8s.io/v1/tokenreviews, with our audiences for this
 * front. It holds the token: give a secret buffer. */
mica_rc mica_review_request(const struct mica_issuer *i, enum mica_front front,
	struct mica_slice token, struct mica_buf *body, struct mica_err *e) MICA_MUST_CHECK;
#define MICA_REVIEW_ANSWER_MAX (64 * 1024)
/*
 * Judges the answer against what the token said. OK: authenticated, for an audience of ours, the
 * same user, UIDs, pod, node and token id. DENIED "pod_gone" (the API server has invalidated the
 * token: its pod, node or service account is gone), "token_review_refused" (fine review_refused,
 * review_audience, review_user_mismatch, review_contradiction). UNAVAILABLE "token_review_failed":
 * no answer (http_status 0), another status than 200 and 201 (so also 401 and 403: that is our own
 * trouble), too long, not JSON, not a TokenReview, no status. Never "not authenticated" for
 * something that was not said.
 */
mica_rc mica_review_judge(const struct mica_issuer *i, enum mica_front front,
	const struct mica_principal *p, const struct mica_evidence *ev, int http_status,
	struct mica_slice answer, struct mica_err *e) MICA_MUST_CHECK;

#define MICA_REVIEW_FIRST_USE_YES 600 /* seconds that an answer is remembered */
#define MICA_REVIEW_ALWAYS_YES    10
#define MICA_REVIEW_NO            5

enum mica_review_verdict { MICA_VERDICT_UNKNOWN, MICA_VERDICT_YES, MICA_VERDICT_NO };
/* Remembers verdicts per (issuer, pod UID, service account UID). Bounded: a full cache forgets the
 * oldest of a bucket, which costs a question. One thread at a time. */
struct mica_review_cache; /* opaque */
struct mica_review_cache *mica_review_cache_new(size_t max_entries); /* rounded up to 4 * 2^n */
void mica_review_cache_free(struct mica_review_cache *c); /* NULL is fine */
/* UNKNOWN = ask. In mode NEVER always YES. A verdict from the future (the clock went back) counts
 * as unknown. The key is p->issuer and its UIDs; a principal without a service account UID is
 * never remembered. */
enum mica_review_verdict mica_review_cache_get(struct mica_review_cache *c,
	enum mica_review_mode mode, const struct mica_principal *p, int64_t now);
/* Only YES and NO are kept; a later verdict replaces an earlier one. */
void mica_review_cache_put(struct mica_review_cache *c, const struct mica_principal *p,
	enum mica_review_verdict v, int64_t now);
/* Forgets an issuer (its configuration changed), or all with NULL. */
void mica_review_cache_forget(struct mica_review_cache *c, const char *issuer);

static inline void mica_auto_issuers_(struct mica_issuers **p)
{
	mica_issuers_free(*p);
}
static inline void mica_auto_token_reader_(struct mica_token_reader **p)
{
	mica_token_reader_free(*p);
}
#define MICA_AUTO_ISSUERS __attribute__((cleanup(mica_auto_issuers_))) struct mica_issuers *
#define MICA_AUTO_TOKEN_READER                                                                     \
	__attribute__((cleanup(mica_auto_token_reader_))) struct mica_token_reader *

#endif
