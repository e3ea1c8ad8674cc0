/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The core: identity, issuance, authorities, bundle and ledger behind one narrow interface.
 * Plain data in, plain data out: no pointer into the core's state leaves it, so that it can
 * move into a process of its own. It opens no socket, starts no thread, reads no clock and
 * writes no log; `now_ms` is milliseconds since 1970.
 *
 * Threads: a front thread calls mica_core_prepare_* (parse, check, sign; lock-free on an immutable
 * view); exactly one thread at a time, the committer, calls mica_core_commit. Readers may be any
 * number. Changes (set_jwks, configure, taint, deny, record) may come from any thread and take
 * turns; one thread at a time calls mica_core_maintain. A candidate belongs to one thread at a
 * time. All of it must have ended before mica_core_close.
 *
 *	request --authenticate--> principal + evidence --prepare--> candidate --commit--> answer
 *
 * Nothing of a candidate may leave before mica_core_commit returned OK for it.
 */
#ifndef MICA_CORE_H
#define MICA_CORE_H

#include "mica/authority.h"
#include "mica/buf.h"
#include "mica/config.h"
#include "mica/nodepods.h"
#include "mica/principal.h"
#include "mica/secret.h"

struct mica_core; /* opaque */

/* ---- life ------------------------------------------------------------------------------ */

struct mica_init_result {
	char origin[MICA_TD_MAX + 32]; /* of the log */
	char vkey[512]; /* note verifier key of the log */
	char root_id[41], issuing_id[41]; /* authority ids: hex of the subject key id */
	int64_t root_not_after, issuing_not_after;
	unsigned pending; /* keys that wait for the signature of a root elsewhere */
};
/* `mica init`: makes the store of config->store.path and in it the set `default`: a root, an
 * issuing authority (with authorities.root: offline neither, but issuing keys that wait for their
 * certificates; with files neither), a JWT key, the log key and the publication key, each encrypted
 * under the passphrase, the first bundle and the first ledger entries. CONFLICT "store_exists" when
 * a store is there already, "directory_not_empty" when something else is (nothing is touched); a
 * failure leaves nothing behind, a crash half way a
 * store that is refused as `store_partial` and says to remove it. */
mica_rc mica_core_init(const struct mica_config *config, const struct mica_secret *passphrase,
	int64_t now_ms, struct mica_init_result *out, struct mica_err *e) MICA_MUST_CHECK;

/* ---- a store at rest ------------------------------------------------------------------------ */

struct mica_progress; /* store.h */
struct mica_note_key; /* note.h */
struct mica_caller;

/* `mica store check`: every page, entry, tile and index of the store of config->store.path, and the
 * signed root. The log's key is unlocked with the passphrase, or is `key` (then the passphrase is
 * not needed and may be NULL). CONFLICT "store_locked" while micad has it; CORRUPT as store.h and
 * ledger.h say; UNAUTHENTICATED "wrong_passphrase"; INVALID "trust_domain_mismatch". */
struct mica_check_result {
	char origin[MICA_TD_MAX + 32]; /* of the log */
	uint64_t entries, tiles, records;
};
mica_rc mica_core_check(const struct mica_config *config, const struct mica_secret *passphrase,
	const struct mica_note_key *key, const struct mica_progress *p,
	struct mica_check_result *out, struct mica_err *e) MICA_MUST_CHECK;

/* `mica restore FILE`: makes the store of config->store.path, which must be absent or empty, from a
 * backup. Its log goes on under a new origin; the next entry names the old one and the gap.
 * `known_checkpoint` is the last one that is known of the lost log (empty = none); it must be
 * signed by its key. `actor` is who restores (uid, gid, pid). A failure leaves nothing behind, a
 * crash half way a store that is refused as `store_partial`. CONFLICT "store_exists"; CORRUPT
 * "backup_manifest", "backup_damaged", "note_*"; UNAUTHENTICATED "wrong_passphrase"; INVALID
 * "trust_domain_mismatch".
 */
struct mica_restore_result {
	char old_origin[MICA_TD_MAX + 32], origin[MICA_TD_MAX + 32];
	char vkey[512]; /* of the log under its new name */
	uint64_t entries; /* of the restored log, the one that says so included */
	/* Entries [lost_from, lost_to) of the old log are lost, when a checkpoint was known; else
	 * lost_to is lost_from, and what was issued behind backup_time may be lost. */
	uint64_t lost_from, lost_to;
	bool checkpoint_known;
	int64_t backup_time; /* seconds: the last commit that the backup holds */
};
mica_rc mica_core_restore(const struct mica_config *config, const struct mica_secret *passphrase,
	const char *backup, struct mica_slice known_checkpoint, const struct mica_caller *actor,
	int64_t now_ms, const struct mica_progress *p, struct mica_restore_result *out,
	struct mica_err *e) MICA_MUST_CHECK;

/* How long the parts of opening took, for the start-up log line: by the caller's clock
 * (mica_mono_ns), since this side has none. */
struct mica_open_times {
	int64_t (*clock)(void); /* in; NULL = nothing is measured */
	int64_t unlock_ns, open_ns; /* out */
};
/* NOT_FOUND "store_missing" (says to run `mica init`), CORRUPT "store_partial" | "store_foreign" |
 * "store_newer" | "log_behind_checkpoint" ..., UNAUTHENTICATED "wrong_passphrase", CONFLICT
 * "store_locked", INVALID "trust_domain_mismatch". Never makes a key. The config is copied. */
mica_rc mica_core_open(const struct mica_config *config, const struct mica_secret *passphrase,
	int64_t now_ms, struct mica_core **out, struct mica_open_times *times,
	struct mica_err *e) MICA_MUST_CHECK;
void mica_core_close(struct mica_core *c);
/* What may change while running: rules, deny, roles, x509, jwt, limits. A change is recorded;
 * candidates that were decided on the old rules conflict. INVALID "trust_domain_mismatch" and what
 * token.h and template.h say: then the old configuration stays. Others as a commit. */
mica_rc mica_core_configure(struct mica_core *c, const struct mica_config *config, int64_t now_ms,
	struct mica_err *e) MICA_MUST_CHECK;

/* ---- issuers' keys: fetched by the server, judged and kept here ------------------------------ */

/* A fetched JWKS document for issuer `name`. On OK the keys are in force and the document is kept
 * as the last good copy across restarts. *usable and *skipped (optional) count keys. On error the
 * old keys stay: NOT_FOUND "no_such_issuer", INVALID or LIMIT "jwks_*", UNAVAILABLE "disk_full". */
mica_rc mica_core_set_jwks(struct mica_core *c, const char *issuer, struct mica_slice document,
	int64_t now_ms, unsigned *usable, unsigned *skipped, struct mica_err *e) MICA_MUST_CHECK;
/* When the keys of `issuer` were last fetched, 0 = never; and how many there are. */
mica_rc mica_core_jwks_age(struct mica_core *c, const char *issuer, int64_t *fetched,
	unsigned *keys, struct mica_err *e) MICA_MUST_CHECK;

/* ---- who asks -------------------------------------------------------------------------- */

enum mica_role { MICA_ROLE_WORKLOAD = 1, MICA_ROLE_AUDITOR = 2, MICA_ROLE_ADMIN = 4 }; /* a mask */

struct mica_caller {
	struct mica_principal principal;
	struct mica_evidence evidence;
	unsigned roles;
	/* For a caller with an SVID: its serial (16 bytes); else zero. */
	uint8_t serial[16];
	bool has_serial;
	/* For a local administrator on the socket; uid -1 otherwise. */
	int64_t uid, gid, pid;
	char address[64]; /* for log and ledger; "" = not kept */
};

/* A bearer token on a front. UNAUTHENTICATED "token_invalid" etc. with `fine`. *issuer_name
 * (optional) is the issuer that the token names, NULL when none of ours; it lives as long as the
 * core. When e->fine is "unknown_key" the server may refresh that issuer's keys and try again once.
 * UNAVAILABLE "issuer_keys_stale" (older than max_stale), "issuer_keys_missing" (never fetched).
 * A join token (`mica-join-...`, on the REST front) besides "join_token_expired" |
 * "join_token_spent" | "join_token_revoked"; its caller has no role, and gets an X.509-SVID alone.
 * Does not write. */
mica_rc mica_core_authenticate_token(struct mica_core *c, struct mica_slice token,
	enum mica_front front, int64_t now_ms, struct mica_caller *out, const char **issuer_name,
	struct mica_err *e) MICA_MUST_CHECK;
/* A client certificate chain in DER, leaf first: our one verifier, then the ledger says who it was
 * issued to. UNAUTHENTICATED "svid_*": those of verify.h, "svid_unknown" (the ledger has not this
 * very certificate), "svid_denied" (its key is on the deny list, or one of ours), "svid_revoked".
 */
mica_rc mica_core_authenticate_svid(struct mica_core *c, const struct mica_slice *chain, size_t n,
	int64_t now_ms, struct mica_caller *out, struct mica_err *e) MICA_MUST_CHECK;
/* Who stands before a proxy that asks about him: the certificate that he has shown and whose key
 * he has, alone, since proxies pass on no more; the authorities above it are ours to know. Judged
 * as above; the caller has no roles, and is not taken for one who came here himself. Besides:
 * DENIED "denied_by_list". */
mica_rc mica_core_judge_peer(struct mica_core *c, struct mica_slice leaf, int64_t now_ms,
	struct mica_caller *out, struct mica_err *e) MICA_MUST_CHECK;
/* The same when a proxy tells the name alone, which it has verified or not: it must be of our trust
 * domain or of one of `aliases` (UNAUTHENTICATED "svid_wrong_trust_domain"), and not be denied.
 * Revocation cannot be looked at. Fast. */
struct mica_spiffe_id; /* spiffeid.h */
mica_rc mica_core_judge_name(struct mica_core *c, const struct mica_spiffe_id *id,
	const char *const *aliases, unsigned n_aliases, struct mica_err *e) MICA_MUST_CHECK;
/* Why a token would be accepted or refused, as JSON {"accepted", "reason", "steps": [...],
 * "claims": {...}}; never the token or its signature. For auditors and admins. */
mica_rc mica_core_explain_token(struct mica_core *c, struct mica_slice token, enum mica_front front,
	int64_t now_ms, struct mica_buf *json, struct mica_err *e) MICA_MUST_CHECK;
/* Whether TokenReview is asked for this caller, and the verdict's cache; the server does the
 * asking. */
enum mica_review_need {
	MICA_REVIEW_NOT_NEEDED,
	MICA_REVIEW_CACHED_YES,
	MICA_REVIEW_CACHED_NO,
	MICA_REVIEW_ASK
};
enum mica_review_need mica_core_review_need(
	struct mica_core *c, const struct mica_caller *caller, int64_t now_ms);
/* The request body for the API server, and the judgement of its answer (which also feeds the
 * cache): OK, DENIED "pod_gone" | "token_review_refused", UNAVAILABLE "token_review_failed".
 * `status` 0 = no answer came. */
mica_rc mica_core_review_request(struct mica_core *c, const struct mica_caller *caller,
	struct mica_slice token, struct mica_buf *body, struct mica_err *e) MICA_MUST_CHECK;
mica_rc mica_core_review_judge(struct mica_core *c, const struct mica_caller *caller, int status,
	struct mica_slice answer, int64_t now_ms, struct mica_err *e) MICA_MUST_CHECK;

/* A caller that asks for the identity of a pod on its node (nodepods.h). `admit` is looked at
 * first, before the cluster is asked for the pods of caller->principal.node; then `judge`, whose
 * *out is the caller to issue for: the pod as principal, who asked in its evidence, no roles. Both:
 * DENIED as nodepods.h says, "denied_by_list" (who asks is on the deny list). `out` may not be
 * `caller`. */
mica_rc mica_core_impersonation_admit(struct mica_core *c, const struct mica_caller *caller,
	struct mica_slice identity, struct mica_err *e) MICA_MUST_CHECK;
mica_rc mica_core_impersonation_judge(struct mica_core *c, const struct mica_caller *caller,
	struct mica_slice identity, const struct mica_node_pods *pods, struct mica_caller *out,
	struct mica_err *e) MICA_MUST_CHECK;

/* Bundles come in two channels: the canary channel gets what is published, and loses what is
 * removed, before the live one. */
enum mica_channel { MICA_CHANNEL_LIVE, MICA_CHANNEL_CANARY, MICA_CHANNEL_COUNT };

/* ---- issuance -------------------------------------------------------------------------- */

/* How a certificate names its holder. */
enum mica_scheme {
	MICA_SCHEME_SPIFFE, /* the principal's SPIFFE ID */
	MICA_SCHEME_LINKERD /* its name in Linkerd, first; EC keys alone */
};

struct mica_x509_request {
	const struct mica_caller *caller;
	struct mica_slice csr; /* PEM or DER; only its key is taken */
	int64_t ttl; /* seconds; 0 = default */
	uint64_t bundle_sequence; /* what the caller holds; 0 = unsaid */
	enum mica_outlet_class outlet;
	enum mica_scheme scheme;
	struct mica_slice identity; /* LINKERD: the name that is asked for */
	/* Of several programs in one pod, which one: the same for each of its requests,
	 * [A-Za-z0-9._-] up to MICA_INSTANCE_MAX. Its certificates are of one line. Empty = unsaid.
	 */
	struct mica_slice instance;
};
struct mica_jwt_request {
	const struct mica_caller *caller;
	const struct mica_slice *audience;
	size_t n_audience; /* 1..16 */
	int64_t ttl;
};
/* Mica's own serving certificate: the key is the server's, names come from the configuration. */
struct mica_self_request {
	struct mica_slice spki;
	const struct mica_string_list *dns_names, *ip_addresses;
	int64_t ttl;
};

struct mica_candidate; /* a signed thing that has not been recorded yet; opaque */

/* DENIED "denied_by_list" | "fresh_evidence_needed" | "name_not_allowed" | "identity_mismatch" (it
 * has another name in the scheme than it asks for) | "linkerd_name_invalid" | "lineage_forked"
 * (when the configuration says so, of a renewal only), INVALID "csr_*" | "key_*" | "ttl_too_short"
 * | "audience_not_allowed" | "bad_instance", UNAVAILABLE "no_active_authority" | "store_full" |
 * "store_failed" (a commit has failed: the process is about to end). A TTL above the maximum, or
 * beyond the authority's end, is clamped. For the server's own certificate besides: INVALID
 * "dns_name_invalid" | "address_invalid" | "too_many_names". */
mica_rc mica_core_prepare_x509(struct mica_core *c, const struct mica_x509_request *r,
	int64_t now_ms, struct mica_candidate **out, struct mica_err *e) MICA_MUST_CHECK;
mica_rc mica_core_prepare_jwt(struct mica_core *c, const struct mica_jwt_request *r, int64_t now_ms,
	struct mica_candidate **out, struct mica_err *e) MICA_MUST_CHECK;
mica_rc mica_core_prepare_self(struct mica_core *c, const struct mica_self_request *r,
	int64_t now_ms, struct mica_candidate **out, struct mica_err *e) MICA_MUST_CHECK;
void mica_candidate_free(struct mica_candidate *k);

/* One durable batch. OK: each candidate has its own mica_candidate_rc: OK, or CONFLICT (its
 * read set changed: prepare again). Anything else: none of them may leave, and each has this code.
 * UNAVAILABLE "disk_full": nothing happened, the same ones may be committed later. INTERNAL
 * "commit_failed" means that the outcome is unknown and the process must exit with status 75;
 * "store_failed" the same for a commit behind such a one. */
mica_rc mica_core_commit(struct mica_core *c, struct mica_candidate **k, size_t n, int64_t now_ms,
	struct mica_err *e) MICA_MUST_CHECK;
mica_rc mica_candidate_rc(const struct mica_candidate *k);

/* What an answer says; valid after a commit with OK, borrowed from the candidate; else all of it is
 * empty. renew_after lies between 50 % and 60 % of the way from now to not_after, spread by random
 * octets of the certificate itself; or sooner, when a step of a rotation is helped by it
 * (rotation.h, struct mica_renewal_calls). bundle_sequence and bundle_wanted are about the bundle
 * of `channel`, which is the canary channel for the identities that the configuration lists. */
struct mica_issued {
	const char *spiffe_id;
	char serial_hex[33]; /* x509 */
	struct mica_slice chain_pem; /* x509: leaf first, then issuing; no root */
	const struct mica_slice *chain_der; /* x509, the same */
	size_t n_chain;
	const char *token; /* jwt */
	int64_t not_before, not_after, renew_after;
	bool ttl_clamped;
	uint64_t ledger_index;
	uint64_t bundle_sequence;
	bool bundle_wanted; /* the caller's is older or unsaid */
	enum mica_channel channel;
};
void mica_candidate_issued(const struct mica_candidate *k, struct mica_issued *out);

/* Changes with everything that a decision depends on: the deny list, the rules, an authority. Part
 * of the key of a replay (replay.h). */
uint64_t mica_core_generation(struct mica_core *c);

/* ---- what is published ---------------------------------------------------------------------- */

enum mica_format {
	MICA_FMT_BUNDLE_JSON,
	MICA_FMT_BUNDLE_PEM,
	MICA_FMT_BUNDLE_JWS,
	MICA_FMT_JWKS,
	MICA_FMT_POLICIES_JSON, /* core_policies.h */
	MICA_FMT_POLICIES_JWS,
	MICA_FMT_COUNT
};

/* An immutable encoding, shared by all readers. Reference-counted; any thread. */
struct mica_snapshot {
	struct mica_slice bytes;
	uint64_t sequence;
	char etag[96]; /* with its quotes: "\"default-live-1732450000000\"" */
	int64_t expires; /* JWS: exp; 0 otherwise */
};
const struct mica_snapshot *mica_snapshot_ref(const struct mica_snapshot *s);
void mica_snapshot_unref(const struct mica_snapshot *s);
/* The current one; a new reference. NOT_FOUND "no_such_trust_domain" (td NULL = the default set);
 * UNAVAILABLE "not_signed" for a signed form that no issuing authority could certify yet. */
mica_rc mica_core_snapshot(struct mica_core *c, const char *td, enum mica_channel ch,
	enum mica_format f, const struct mica_snapshot **out, struct mica_err *e) MICA_MUST_CHECK;
uint64_t mica_core_bundle_sequence(struct mica_core *c, enum mica_channel ch);
/* What the caller says it holds: evidence, written behind by mica_core_maintain. A holder speaks
 * for its certificate, or its token's pod. INVALID "no_such_channel" | "no_such_sequence" (nothing
 * of this number was published) | "no_holder"; LIMIT "too_many_acks" (too many wait to be written).
 */
mica_rc mica_core_ack(struct mica_core *c, const struct mica_caller *caller, enum mica_channel ch,
	uint64_t sequence, int64_t now_ms, struct mica_err *e) MICA_MUST_CHECK;

/* ---- revocation ------------------------------------------------------------------------------ */

/* The CRL of a root or issuing authority, by its id (40 hex digits): snapshots as above, shared by
 * all readers; `authority` is not looked at for MICA_CRL_ALL_PEM. NOT_FOUND "no_such_crl": there is
 * no such authority, it was removed, or its key is elsewhere. */
enum mica_crl_form { MICA_CRL_DER, MICA_CRL_PEM, MICA_CRL_ALL_PEM };
mica_rc mica_core_crl(struct mica_core *c, struct mica_slice authority, enum mica_crl_form form,
	const struct mica_snapshot **out, struct mica_err *e) MICA_MUST_CHECK;
/* The CRL (PEM) of an authority whose key is elsewhere, signed there: published from then on.
 * INVALID as mica_crl_read and mica_pem_next, "crl_wrong_issuer", "crl_bad_signature",
 * "crl_not_in_time"; CONFLICT "crl_not_newer" (its number), "crl_signed_here"; NOT_FOUND
 * "no_such_authority". What is published already is OK. */
mica_rc mica_core_import_crl(struct mica_core *c, const char *authority_id, struct mica_slice pem,
	const struct mica_caller *actor, int64_t now_ms, struct mica_err *e) MICA_MUST_CHECK;
/* The certificate of this serial is not to be trusted any more. After OK, which is durable, it
 * neither authenticates nor renews, and the CRL of its authority names it. `reason`: a name of
 * crl.h, empty = unspecified. INVALID "bad_serial" | "bad_reason"; NOT_FOUND "no_such_certificate";
 * CONFLICT "revoked_already" | "certificate_expired" | "own_certificate" (micad's own); LIMIT
 * "too_many_revoked". Any thread. */
mica_rc mica_core_revoke_certificate(struct mica_core *c, struct mica_slice serial_hex,
	struct mica_slice reason, const struct mica_caller *actor, int64_t now_ms,
	struct mica_err *e) MICA_MUST_CHECK;
/* {"revoked": [{"serial", "authority", "at", "not_after", "reason"}, ...]}: what CRLs name. */
mica_rc mica_core_revocations(
	struct mica_core *c, struct mica_buf *json, struct mica_err *e) MICA_MUST_CHECK;

/* ---- the ledger's read side -------------------------------------------------------------------
 */

/* Ready-made bodies of C2SP tlog-tiles and tlog-proof. NOT_FOUND beyond the published tree. */
mica_rc mica_core_checkpoint(
	struct mica_core *c, struct mica_buf *out, struct mica_err *e) MICA_MUST_CHECK;
mica_rc mica_core_tile(struct mica_core *c, unsigned level, uint64_t n, unsigned width,
	struct mica_buf *out, struct mica_err *e) MICA_MUST_CHECK;
mica_rc mica_core_entry_bundle(struct mica_core *c, uint64_t n, unsigned width,
	struct mica_buf *out, struct mica_err *e) MICA_MUST_CHECK;
/* `reader` may have it when it is auditor or admin, or the holder of entry `index` (else
 * NOT_FOUND). */
mica_rc mica_core_proof(struct mica_core *c, const struct mica_caller *reader, uint64_t index,
	struct mica_buf *out, struct mica_err *e) MICA_MUST_CHECK;
/* {"certificate": PEM, "ledger_index", "spiffe_id", "serial", "authority", "not_before",
 * "not_after", "revoked": null or {"at", "reason"}, "entry": its octets in base64, "event":
 * {...}}: same rule, NOT_FOUND
 * "no_such_certificate". Serial in hex, else INVALID "bad_serial". */
mica_rc mica_core_certificate(struct mica_core *c, const struct mica_caller *reader,
	struct mica_slice serial_hex, struct mica_buf *json, struct mica_err *e) MICA_MUST_CHECK;

struct mica_event_query {
	struct mica_slice spiffe_id, pod_uid, serial, type, cursor; /* empty = any */
	int64_t since, until; /* seconds; 0 = open */
	bool oldest_first;
	unsigned limit; /* 1..1000; 0 = 100 */
};
/* {"events": [...], "next": cursor or null}. Workloads see what was issued to their SPIFFE ID only.
 * A cursor stays valid while entries are added; a page ends early at 2 MiB. INVALID "bad_cursor" |
 * "bad_filter". */
mica_rc mica_core_events(struct mica_core *c, const struct mica_caller *reader,
	const struct mica_event_query *q, struct mica_buf *json,
	struct mica_err *e) MICA_MUST_CHECK;

/* ---- running it ------------------------------------------------------------------------- */

/* GET /v1/configuration: what callers may know, without listeners (the server adds those). */
mica_rc mica_core_configuration(
	struct mica_core *c, struct mica_buf *json, struct mica_err *e) MICA_MUST_CHECK;
/* `mica status`: authorities with derived states, log, store, issuers' keys; no secret. */
mica_rc mica_core_status(struct mica_core *c, int64_t now_ms, struct mica_buf *json,
	struct mica_err *e) MICA_MUST_CHECK;
/* Really signs with the active issuing authority and checks the signature; looks at space, at
 * expiry of authorities, at issuers' keys. UNAVAILABLE "store_failed" | "store_full" |
 * "no_active_authority" | "signing_failed" | "issuer_keys_missing" (no issuer has usable ones). */
mica_rc mica_core_ready(struct mica_core *c, int64_t now_ms, struct mica_err *e) MICA_MUST_CHECK;
/* What the monotonic clock says, before mica_core_maintain: how a wall clock that jumps is known.
 * While it disagrees with what was seen, nothing rotates by time; issuing goes on. After a start
 * that is more than 10 minutes behind the last time that was proved, nothing is taken away until a
 * token that was made within the last 10 minutes was verified, or an administrator accepts the
 * clock. Errors as a commit: what begins or ends is recorded. */
mica_rc mica_core_tick(
	struct mica_core *c, int64_t now_ms, int64_t mono_ms, struct mica_err *e) MICA_MUST_CHECK;
/* Writes behind: indexes, acks, what follows from authorities' times, rotation, JWS re-signing
 * (hourly), space check. Call about once a second from one thread. *changed (optional) tells that a
 * snapshot changed and watchers should be woken. Each part is done even if another fails; the first
 * trouble is told. INTERNAL: as a commit, the process must exit with status 75. */
mica_rc mica_core_maintain(
	struct mica_core *c, int64_t now_ms, bool *changed, struct mica_err *e) MICA_MUST_CHECK;
/* A change by an administrator that only needs a record (reload, backup, restart ...): `type` is of
 * [a-z0-9_]. `actor` NULL = micad itself, here and below. INVALID "entry_invalid". */
mica_rc mica_core_record(struct mica_core *c, const char *type, const struct mica_caller *actor,
	struct mica_slice detail_json, int64_t now_ms, struct mica_err *e) MICA_MUST_CHECK;
/* An authority is no longer to be trusted: it signs nothing more. After OK, which is durable, no
 * entry of a higher index names it. NOT_FOUND "no_such_authority", CONFLICT "tainted_already". Any
 * thread. */
mica_rc mica_core_taint(struct mica_core *c, const char *authority_id,
	const struct mica_caller *actor, int64_t now_ms, struct mica_err *e) MICA_MUST_CHECK;
/* ---- rotation by hand ------------------------------------------------------------------------
 *
 * What micad does by itself (rotation.h), asked for by an administrator. `kind` is an enum
 * mica_authority_kind. A step that would break certificates is CONFLICT with the reason, what it
 * breaks and until when; with `force` it is taken, and that is recorded. All are durable and in the
 * ledger after OK; any thread. Errors besides as a commit.
 */

/* A successor is made and published; it takes over when everybody has it. `id` is its own. CONFLICT
 * "rotation_running", "none_active", "no_usable_root". */
mica_rc mica_core_rotation_start(struct mica_core *c, enum mica_authority_kind kind,
	const struct mica_caller *actor, int64_t now_ms, char id[41],
	struct mica_err *e) MICA_MUST_CHECK;
/* An authority is made and published, and waits: it is never activated by plan. With `recover` a
 * root, active at once, when no other one is usable: CONFLICT "root_usable"; INVALID
 * "recover_is_for_roots". */
mica_rc mica_core_prepare_authority(struct mica_core *c, enum mica_authority_kind kind,
	bool recover, const struct mica_caller *actor, int64_t now_ms, char id[41],
	struct mica_err *e) MICA_MUST_CHECK;
/* CONFLICT "not_everywhere" (force), "in_canary" (not even then), "active_already", "retired",
 * "not_usable"; NOT_FOUND "no_such_authority". */
mica_rc mica_core_activate(struct mica_core *c, const char *authority_id, bool force,
	const struct mica_caller *actor, int64_t now_ms, struct mica_err *e) MICA_MUST_CHECK;
/* Back to the one that retired last. CONFLICT "no_way_back", "too_little_left" (force),
 * "not_everywhere" (force). */
mica_rc mica_core_roll_back(struct mica_core *c, enum mica_authority_kind kind, bool force,
	const struct mica_caller *actor, int64_t now_ms, struct mica_err *e) MICA_MUST_CHECK;
/* A root, or JWT key, leaves the bundle now. CONFLICT "in_use" (force), "active",
 * "no_replacement", "removed_already", "root_vouches_for_it"; NOT_FOUND "no_such_authority". */
mica_rc mica_core_revoke(struct mica_core *c, const char *authority_id, bool force,
	const struct mica_caller *actor, int64_t now_ms, struct mica_err *e) MICA_MUST_CHECK;
/* An issuing authority is compromised, and every relying party consumes CRLs: it is tainted, and
 * the CRL of its root names it; the root stays. CONFLICT "outlets_ignore_crls" (an outlet of the
 * configuration is not declared to consume them, or none is there), "no_crl_signer" (the root's key
 * is not here, the root is tainted, or in no bundle), "crl_only_is_for_issuing",
 * "removed_already", "revoked_already"; NOT_FOUND "no_such_authority". */
mica_rc mica_core_revoke_by_crl(struct mica_core *c, const char *authority_id,
	const struct mica_caller *actor, int64_t now_ms, struct mica_err *e) MICA_MUST_CHECK;
/* Whoever is reached by this outlet has the newest bundle; the outlet "canary": what the canary
 * channel has is right, and comes to everybody. NOT_FOUND "no_such_outlet"; CONFLICT
 * "nothing_to_confirm". */
mica_rc mica_core_confirm(struct mica_core *c, struct mica_slice outlet,
	const struct mica_caller *actor, int64_t now_ms, struct mica_err *e) MICA_MUST_CHECK;
/* What of this kind the canary channel has got, or lost, and the live one has not, is taken back: a
 * successor is removed, what was removed is published there again. CONFLICT "nothing_in_canary". */
mica_rc mica_core_withdraw(struct mica_core *c, enum mica_authority_kind kind,
	const struct mica_caller *actor, int64_t now_ms, struct mica_err *e) MICA_MUST_CHECK;
/* The clock is right, and what was seen before was not. */
mica_rc mica_core_clock_accept(struct mica_core *c, const struct mica_caller *actor, int64_t now_ms,
	struct mica_err *e) MICA_MUST_CHECK;
/* ---- authorities that others sign --------------------------------------------------------------
 *
 * With authorities.root: offline the root's key is never here. Issuing keys are made ahead, and
 * wait in state pending for certificates that whoever has the root's key signs; at least two are to
 * be signed and unused at any time (rotation.h: MICA_SIGNED_AHEAD). Durable and in the ledger after
 * OK; any thread. Errors besides as a commit.
 */

#define MICA_REQUESTS_MAX 8

/* Makes keys until `count` wait for a signature, and tells all that wait: {"made", "signatures": as
 * in the status of rotation, "requests": [{"id", "created", "csr": PEM}], "extensions": a file for
 * openssl's -extfile, with a section mica_<id> for each}. INVALID "too_many_requests_ahead";
 * CONFLICT "root_not_offline", "too_many_authorities". */
mica_rc mica_core_requests(struct mica_core *c, unsigned count, const struct mica_caller *actor,
	int64_t now_ms, struct mica_buf *json, struct mica_err *e) MICA_MUST_CHECK;

#define MICA_IMPORT_MAX 8 /* certificates at once */

/* What the signer has sent back: certificates for requests that wait, roots, CRLs of roots, in one
 * PEM text in any order. All of it is taken, or nothing. A root that is not known is published, and
 * used when everybody has it and it has signed something; `new_root` says that it is meant
 * (otherwise INVALID "root_unknown"), `standby` that it is kept for an emergency. *json:
 * {"imported": [{"id", "kind", "state", "not_after"}], "crls": how many}; CRLs are taken behind the
 * certificates, each by itself, as mica_core_import_crl does. CONFLICT "root_not_offline",
 * "imported_already" (all of it), "already_certified", "key_taken", "subject_taken",
 * "root_unusable"; INVALID "pem_*", "cert_*", "key_*", "import_empty", "no_such_request",
 * "issuer_unknown", and "ca_*": what ca_check.h asks.
 */
struct mica_import {
	struct mica_slice pem;
	bool new_root, standby;
};
mica_rc mica_core_import(struct mica_core *c, const struct mica_import *in,
	const struct mica_caller *actor, int64_t now_ms, struct mica_buf *json,
	struct mica_err *e) MICA_MUST_CHECK;

/* A plugged-in authority (authorities.root: files): what its files hold, all of one moment. */
struct mica_plug_file {
	const char *name; /* for messages */
	struct mica_slice text; /* PEM */
};
struct mica_plug {
	/* The issuing authority first, and those above it perhaps; those above it, may be empty;
	 * the roots to be trusted; the private key of the first of `cert`. */
	struct mica_plug_file cert, chain, roots, key;
	const struct mica_secret *passphrase; /* of the key; NULL = it is not encrypted */
};
struct mica_plug_result {
	bool changed; /* something was written */
	char issuing_id[41], root_id[41]; /* of what the files hold */
	bool active; /* that issuing authority signs; false: its root is not known everywhere yet */
	/* What it lacks, and does without: no CRL can be signed with it; strict clients (Python
	 * 3.13, OpenSSL's -x509_strict) refuse what it signs. */
	bool no_crl_sign, no_key_ids;
};
/* Checks all of it and takes it, or nothing: the key is sealed in the store as all are. Roots are
 * published, and used when everybody has them; an issuing authority below the active root signs at
 * once. What was taken from files that do not hold it any more, and was never used, goes. Durable
 * and in the ledger after OK; any thread. CONFLICT "root_not_in_files" (authorities.root),
 * "root_unusable", "key_given_up" (tainted or removed), "key_taken", "same_key_other_root",
 * "root_renamed"; INVALID "pem_*", "cert_*", "key_*", "plugged_*", "ca_*": ca_files.h and
 * ca_check.h have them all. */
mica_rc mica_core_plug(struct mica_core *c, const struct mica_plug *files, int64_t now_ms,
	struct mica_plug_result *out, struct mica_err *e) MICA_MUST_CHECK;

/* {"authorities": [...]} as in `status`; of one id: {...} with its certificate, NOT_FOUND
 * "no_such_authority". */
mica_rc mica_core_authorities(struct mica_core *c, const char *authority_id, int64_t now_ms,
	struct mica_buf *json, struct mica_err *e) MICA_MUST_CHECK;
/* What each rotation waits for, until when, and who is missing; of compromised authorities who has
 * not renewed, and who is exposed until when. */
mica_rc mica_core_rotation_status(struct mica_core *c, int64_t now_ms, struct mica_buf *json,
	struct mica_err *e) MICA_MUST_CHECK;
/* {"steps": [...]}: what will happen by `until` (seconds), by the same machine with a moved clock.
 */
mica_rc mica_core_rotation_plan(struct mica_core *c, int64_t now_ms, int64_t until,
	struct mica_buf *json, struct mica_err *e) MICA_MUST_CHECK;

/* The deny list of the store (the configuration has one of its own): adds or takes away one entry.
 * kind "spiffe_id" | "pod_uid" | "key" (hex SHA-256 of a SubjectPublicKeyInfo). After OK no entry
 * of a higher index is for what is denied. INVALID "bad_deny_entry"; NOT_FOUND "not_denied" when
 * there is nothing to take away. Any thread. */
mica_rc mica_core_deny(struct mica_core *c, const char *kind, struct mica_slice value, bool denied,
	const struct mica_caller *actor, int64_t now_ms, struct mica_err *e) MICA_MUST_CHECK;
/* {"denied": [{"kind", "value", "source": "store" | "configuration"}, ...]}: the whole list. */
mica_rc mica_core_denied(
	struct mica_core *c, struct mica_buf *json, struct mica_err *e) MICA_MUST_CHECK;
/* ---- join tokens -------------------------------------------------------------------------------
 *
 * For machines that have no issuer: one use, a name, an end. Only their hashes are kept. Durable
 * and in the ledger after OK; any thread. CONFLICT "join_tokens_off".
 */

/* {"token", "id", "spiffe_id", "expires"}: a secret, told once. `spiffe_id` empty = a name of its
 * own, by the configured template; `ttl` 0 = the configured one. INVALID "name_not_allowed" (not of
 * the template), "spiffe_id_*", "bad_join_ttl"; CONFLICT "too_many_join_tokens". */
mica_rc mica_core_join_create(struct mica_core *c, struct mica_slice spiffe_id, int64_t ttl,
	const struct mica_caller *actor, int64_t now_ms, struct mica_buf *json,
	struct mica_err *e) MICA_MUST_CHECK;
/* {"tokens": [{"id", "state": "fresh" | "spent" | "expired" | "revoked", "spiffe_id", "created",
 * "expires", "changed"}]}: until a week after their end. */
mica_rc mica_core_join_list(struct mica_core *c, int64_t now_ms, struct mica_buf *json,
	struct mica_err *e) MICA_MUST_CHECK;
/* NOT_FOUND "no_such_join_token"; CONFLICT "join_token_spent". */
mica_rc mica_core_join_revoke(struct mica_core *c, struct mica_slice id,
	const struct mica_caller *actor, int64_t now_ms, struct mica_err *e) MICA_MUST_CHECK;

/* The server's own TLS key and chain, sealed in the store, so that a start can serve reads while
 * nothing can be issued (a full disk, no active authority): keep replaces what is kept. Errors of
 * keep are those of a change and of mica_signer_from_pkcs8; of kept: NOT_FOUND "no_serving_key",
 * CORRUPT "snapshot_malformed" | "key_envelope_*". `chain_pem` is appended to. Any thread. */
mica_rc mica_core_keep_serving(struct mica_core *c, const struct mica_secret *pkcs8,
	struct mica_slice chain_pem, int64_t now_ms, struct mica_err *e) MICA_MUST_CHECK;
mica_rc mica_core_kept_serving(struct mica_core *c, struct mica_secret **pkcs8,
	struct mica_buf *chain_pem, struct mica_err *e) MICA_MUST_CHECK;
/* Hot, consistent copy. `progress` may be NULL. */
mica_rc mica_core_backup(struct mica_core *c, const char *path,
	void (*progress)(void *ctx, uint64_t done, uint64_t all), void *ctx,
	struct mica_err *e) MICA_MUST_CHECK;

/* Figures for /metrics; monotonic since start unless said. */
struct mica_core_stats {
	uint64_t entries; /* size of the published tree */
	uint64_t x509_issued, jwt_issued, conflicts, commits;
	uint64_t index_lag; /* entries not yet in the derived indexes */
	uint64_t store_bytes, disk_free_bytes;
	int64_t root_not_after, issuing_not_after, jwt_key_not_after;
	uint64_t bundle_sequence;
	uint64_t rotation_steps; /* that micad took by itself */
	uint64_t compromises; /* that made another authority take over */
	uint64_t exposed; /* holders that have something of a compromised authority */
	uint64_t renewals_done; /* compromises after which everybody had renewed */
	int64_t renewal_seconds; /* of the last one, from the command to the last renewal; 0 = none
				  */
	uint64_t revoked; /* certificates that CRLs name */
	unsigned crls, crls_late; /* published; of these past the half of their life */
	int64_t crl_end; /* the first nextUpdate; 0 = there is none */
	bool space_low;
	/* Below an offline root; all 0 without one. */
	unsigned signed_ahead; /* issuing authorities that wait to be used */
	bool signature_needed; /* now, and by when: then nothing could follow what signs */
	int64_t signature_by;
	bool clock_frozen; /* nothing rotates: the clock disagrees with what was seen */
	/* Lines of certificates (docs/API.md, Renewal): certificates that are followed now; two
	 * holders of one line; lines that ended with nothing behind them; certificates for which
	 * there was no room. */
	uint64_t lineage_links, lineage_forks, renewals_missed, lineage_untracked;
	bool clock_unproven; /* nothing leaves by plan: no other clock has agreed since the start */
};
void mica_core_stats(struct mica_core *c, struct mica_core_stats *out);

#endif
