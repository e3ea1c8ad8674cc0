/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the core share.
 *
 * All that a decision depends on is one immutable *view*: the configuration as rules, the
 * authorities with their keys, the deny list, issuers' keys, and what is published. It is made of
 * parts that are shared by reference: a change makes a new part, and a view of it and the others.
 *
 * Threads: whoever decides takes a reference to the view (mica_core_view_get: four atomic
 * operations, no lock) and keeps it as long as it needs anything of it; a candidate keeps one for
 * its life. Changes are made under `admin`, one at a time: what they write is committed, then the
 * new view is put in place. `commit` is held around every commit with entries, by the committer and
 * by changes; whoever needs both takes `admin` first.
 *
 * Records in the store:
 *
 *	META       trust_domain       its text
 *	           kek                record of the key-encryption key
 *	           rules              1 | SHA-256 of the rules; its revision is that of the rules
 *	           deny               1; its revision is that of the deny list
 *	           clock              1 | overruled time of the ledger (ms) 8 | clock (ms) 8 |
 *proven (ms) 8
 *	           holders            1 | all certificates until then (ms) 8 have their holders
 *	           lineage            1 | all certificates until then (ms) 8 have their links
 *	           confirmed/<authority>/<outlet>     1 | time (ms) 8
 *	           revoked            1; its revision is that of the revoked certificates
 *	AUTHORITY  <id>               mica/authority.h
 *	KEY        log, publication,  envelopes, sealed under these names
 *	           serving
 *	DENY       kind 1 | SHA-256 of the value    the value
 *	JWKS       <issuer>           1 | fetched (ms) 8 | url length 2, url | document
 *	LINEAGE    serial 16          1 | flags 1 | end (s) 8 | presented (s) 8 | a successor was
 *(s) 8 | whom it follows 16 | line 16 | last successor 16 | the one that was presented first 16
 *	SNAPSHOT   default/<channel>  1 | sequence 8 | content's hash 32 | origin of the log
 *	           publisher          1 | authority id 40 | certificate
 *	           serving            1 | chain in PEM
 *	           crl/<authority>    1 | number 8 | signed (ms) 8 | this update (s) 8 | next
 *update (s) 8 | content's hash 32 | DER
 *	REVOKED    authority 20 | serial      1 | time (ms) 8 | end of the certificate (s) 8 |
 *reason 1
 *	HOLDER     channel 1 | kind 1 | who 16      1 | sequence 8 | time (ms) 8 | expiry (s) 8 | of
 *a pod 1 | SPIFFE ID COUNTER    last_leaf/<id>     greatest end of what it signed, seconds, up to a
 *minute more
 *	           carried            the same, of certificates whose holders have the bundle that
 *came with them
 *	           carried/<id>       as it was when the root of this id was published
 *
 * of join tokens, by handle:
 *
 *	JOIN       handle 16          1 | created 8 | end 8 | state 1 | since 8 | SHA-256 32 | ID
 *
 * and of policies, whose key is kind 00 namespace 00 name:
 *
 *	POLICY     d | key            1 | last revision 8 | live 8 | canary 8 | owner 1: revisions
 *	                              in force, 0 = none; canary 0 = as live
 *	           h | key | 00 | revision 8    1 | action 1 | dry-run 1 | time (ms) 8 | rolled
 *back to 8 | actor length 2, actor | text
 *	SNAPSHOT   policies           1 | sequence of live 8 | of canary 8 | origin of the log
 */
#ifndef MICA_CA_CORE_IMPL_H
#define MICA_CA_CORE_IMPL_H

#include "mica/authority.h"
#include "mica/bundle.h"
#include "mica/cert.h"
#include "mica/core.h"
#include "mica/crl.h"
#include "mica/ledger.h"
#include "mica/linkerd.h"
#include "mica/rotation.h"
#include "mica/spiffeid.h"
#include "mica/template.h"
#include "mica/token.h"
#include "mica/verify.h"

#include <pthread.h>
#include <stdatomic.h>

#define CORE_BACKDATE      60 /* design 4.2: min(60 s, TTL / 10) */
#define CORE_CA_BACKDATE   300 /* a new authority is valid for clocks that are behind, too */
#define CORE_AUTHORITY_MAX 64
#define CORE_CRL_VALIDITY  86400 /* unless the configuration says otherwise */
#define CORE_CRL_URL_SIZE  1100
#define CORE_READERS       64 /* token readers kept for reuse */
#define CORE_ACKS_MAX      65536 /* acknowledgements that wait to be written */
#define CORE_JOIN_REPLAY   60 /* seconds that a spent join token may be repeated (replay.h) */

/* ---- parts of a view ------------------------------------------------------------------------- */

/* Head of each part. */
struct core_part {
	atomic_uint refs;
	void (*free)(void *part);
};
void *mica_core_part_new(size_t size, void (*free)(void *part)); /* one reference */
void *mica_core_part_ref(void *part); /* NULL stays NULL */
void mica_core_part_unref(void *part); /* NULL is fine */

/* Who gets nothing. Sorted; looked up without a lock. */
struct core_denials {
	char **ids; /* SPIFFE IDs: what lies below one is denied too */
	struct mica_uid *pods;
	uint8_t (*keys)[32]; /* SHA-256 of SubjectPublicKeyInfos */
	size_t n_ids, n_pods, n_keys;
};
void mica_core_denials_add_id(struct core_denials *d, const char *id);
void mica_core_denials_add_pod(struct core_denials *d, const struct mica_uid *pod);
void mica_core_denials_add_key(struct core_denials *d, const uint8_t key[32]);
void mica_core_denials_sort(struct core_denials *d);
void mica_core_denials_clear(struct core_denials *d);
bool mica_core_denies(const struct core_denials *d, const struct mica_principal *p);
bool mica_core_denies_id(const struct core_denials *d, struct mica_slice spiffe_id);

struct core_rule {
	char *issuer, *ns, *sa; /* "" = all; a trailing '*' matches any rest */
	struct mica_template **dns;
	unsigned n_dns;
	int64_t ttl, max_ttl;
	uint32_t key_types;
};

/* The configuration, compiled. */
struct core_policy {
	struct core_part part;
	uint64_t rev; /* of the record `rules` */
	uint8_t hash[32]; /* of all that follows */
	char trust_domain[MICA_TD_MAX + 1];
	struct mica_issuers *issuers;
	struct mica_join *join; /* NULL: no join tokens */
	const char **issuer_names; /* as long as the core lives */
	struct core_rule *rules; /* the first that matches counts */
	unsigned n_rules;
	int64_t ttl, max_ttl, min_ttl;
	uint32_t key_types;
	int64_t jwt_ttl, jwt_max_ttl;
	struct mica_string_list jwt_audiences; /* none = any */
	char *jwt_issuer; /* NULL = tokens have no `iss` */
	struct mica_string_list admins, auditors;
	struct mica_string_list own_dns; /* Mica's own DNS names: nobody else's */
	struct core_denials deny;
	int64_t refresh_hint;
	struct mica_linkerd linkerd;
	struct mica_rotation_policy rotation;
	int64_t crl_validity; /* seconds from one CRL to the end of it */
	char *crl_url[2]; /* before and behind the authority's id; NULL = none is named */
	struct core_outlet {
		char *name;
		int64_t propagation; /* 0 = unknown */
		bool crl; /* it is declared to consume CRLs */
	} * outlets;
	unsigned n_outlets;
	struct mica_string_list unsure_outlets; /* without propagation: they are confirmed */
	struct core_denials canary; /* whose bundles are the canary channel's: SPIFFE IDs */
	enum mica_key_name authority_key;
	bool caller_address;
	bool refuse_forks;
};
mica_rc mica_core_policy_new(struct mica_core *c, const struct mica_config *config,
	struct core_policy **out, struct mica_err *e) MICA_MUST_CHECK;
/* Which channel's bundles somebody gets. */
enum mica_channel mica_core_channel(const struct core_policy *p, const char *spiffe_id);
/* NULL when none matches. */
const struct core_rule *mica_core_rule(
	const struct core_policy *p, const struct mica_principal *who);
unsigned mica_core_roles(const struct core_policy *p, const char *spiffe_id);

/* An authority's private half, kept while any view may sign with it. */
struct core_key {
	struct core_part part;
	struct mica_signer *signer;
	struct mica_cert_issuer *issuer; /* issuing authorities */
};
struct core_authority_more {
	uint64_t rev;
	struct mica_pubkey pub;
	struct core_key *key; /* NULL: roots, and keys that are not here */
	struct mica_buf pem; /* of its certificate, and of those between it and the root */
	/* What is sent behind a leaf: its certificate and those between it and the root. */
	struct mica_slice chain[1 + MICA_AUTHORITY_CHAIN_MAX];
	size_t n_chain;
	/* Subject key identifier of its certificate: what its leaves name. Of one that others have
	 * signed it may be another than its id. Empty without a certificate. */
	struct mica_slice ski;
};
struct core_authorities {
	struct core_part part;
	struct mica_authority *v;
	struct core_authority_more *more; /* of v[i] */
	unsigned n;
	/* What follows from their times, in seconds [from, until). */
	int64_t from, until;
	int active[MICA_AUTHORITY_KIND_COUNT]; /* index, -1 = none */
	struct mica_trust *trust; /* the published roots */
};
/* Index of the authority that signs at `now`, -1 when there is none. */
int mica_core_active(const struct core_authorities *a, enum mica_authority_kind kind, int64_t now);
/* Index of the authority with this id, -1 = none; and one that must be there: NOT_FOUND
 * "no_such_authority". */
int mica_core_authority_find(const struct core_authorities *a, const char *id);
mica_rc mica_core_authority_need(const struct core_authorities *a, const char *id, int *at,
	struct mica_err *e) MICA_MUST_CHECK;
/* Index of the authority that a certificate's authority key identifier names; -1 = none. */
int mica_core_authority_named(const struct core_authorities *a, struct mica_slice aki);
/* Reads all authorities and unlocks the keys of those that sign; `old` (may be NULL) lends keys
 * that are unlocked already. */
mica_rc mica_core_authorities_load(struct mica_core *c, const char *trust_domain,
	const struct core_authorities *old, int64_t now, struct core_authorities **out,
	struct mica_err *e) MICA_MUST_CHECK;

struct core_deny {
	struct core_part part;
	uint64_t rev; /* of the record `deny` */
	struct core_denials d;
};
mica_rc mica_core_deny_load(
	struct mica_core *c, struct core_deny **out, struct mica_err *e) MICA_MUST_CHECK;

/* Keys of each issuer of the policy, by its index. */
struct core_issuer_keys {
	const struct mica_jwks *jwks; /* NULL: never a good copy */
	int64_t fetched; /* seconds; 0 = never */
};
struct core_keys {
	struct core_part part;
	unsigned n;
	struct core_issuer_keys *v;
};
struct core_keys *mica_core_keys_new(unsigned n);
mica_rc mica_core_keys_load(struct mica_core *c, const struct core_policy *p,
	struct core_keys **out, struct mica_err *e) MICA_MUST_CHECK;

/* What was revoked, as long as CRLs name it; sorted by serial. */
struct core_revoked_one {
	char authority[MICA_KEY_ID_SIZE];
	uint8_t serial[MICA_CRL_SERIAL_MAX], len;
	enum mica_crl_reason reason;
	int64_t at_ms, end; /* end of the certificate, seconds */
};
struct core_revoked {
	struct core_part part;
	uint64_t rev; /* of the record `revoked` */
	size_t n;
	struct core_revoked_one *v;
};

/* One list, in its forms. */
struct core_crl {
	char authority[MICA_KEY_ID_SIZE];
	uint64_t number;
	int64_t signed_ms, this_update, next_update;
	uint8_t hash[32]; /* of what it names */
	const struct mica_snapshot *der, *pem;
};
struct core_crls {
	struct core_part part;
	uint64_t generation; /* of the view it was made for */
	int64_t look_ms; /* nothing is due before */
	unsigned n;
	struct core_crl v[CORE_AUTHORITY_MAX];
	const struct mica_snapshot *all; /* each of them, in PEM */
};

struct core_published {
	struct core_part part;
	uint64_t sequence[MICA_CHANNEL_COUNT];
	uint8_t hash[MICA_CHANNEL_COUNT][32];
	const struct mica_snapshot *snap[MICA_CHANNEL_COUNT][MICA_FMT_COUNT];
	int64_t signed_at; /* seconds; 0 = there is no signed form */
	char publisher_authority[MICA_KEY_ID_SIZE];
	int64_t publisher_end; /* of the publisher's certificate; 0 = there is none */
	struct mica_buf publisher; /* DER */
};

struct core_docs; /* core_policies.c */

struct core_view {
	atomic_uint refs;
	struct core_policy *policy;
	struct core_authorities *auths;
	struct core_deny *deny;
	struct core_keys *keys;
	struct core_revoked *revoked;
	struct core_crls *crls; /* NULL until the first are made, within open */
	struct core_published *pub; /* NULL until the first is made, within open */
	struct core_docs *docs; /* NULL until they are read, within open */
	/* Keys that nobody may bring: our own and denied ones; sorted. */
	uint8_t (*no_keys)[32];
	size_t n_no_keys;
	struct mica_renewal_calls calls; /* who shall renew sooner */
	uint64_t generation;
};
/* A new reference to the current view; any thread, no lock. */
struct core_view *mica_core_view_get(struct mica_core *c);
void mica_core_view_unref(struct core_view *v); /* NULL is fine */
static inline void mica_core_auto_view_(struct core_view **v)
{
	mica_core_view_unref(*v);
}
#define CORE_AUTO_VIEW __attribute__((cleanup(mica_core_auto_view_))) struct core_view *

/* Parts that a new view takes (NULL = as they are); under `admin`. Takes the references. */
struct core_parts {
	struct core_policy *policy;
	struct core_authorities *auths;
	struct core_deny *deny;
	struct core_keys *keys;
	struct core_published *pub;
	struct core_revoked *revoked;
	struct core_crls *crls;
	struct core_docs *docs;
};
void mica_core_view_take_set(struct mica_core *c, const struct core_parts *parts);

static inline void mica_core_auto_part_(void *p)
{
	void *part;

	memcpy(&part, p, sizeof(part)); /* p points to a pointer to a part */
	mica_core_part_unref(part);
}
#define CORE_AUTO_PART __attribute__((cleanup(mica_core_auto_part_)))

/* ---- the core -------------------------------------------------------------------------------- */

struct core_acks; /* core_acks.c */
struct core_lineage; /* core_lineage.c */
struct core_renewals; /* core_renewed.c */

struct core_last_leaf {
	char id[MICA_KEY_ID_SIZE];
	int64_t end;
};

/* What rotation remembers between two looks. */
struct core_rotation {
	struct mica_clock_memory clock;
	enum mica_clock_word word;
	int64_t mono_ms; /* 0 = nobody tells */
	int64_t overruled_ms; /* a greatest time of the ledger that was wrong, as somebody has said
			       */
	int64_t look_again; /* seconds: nothing is removed before */
	int64_t kept_ms; /* when proven_ms was stored last */
	bool unproven_told;
};

struct mica_core {
	struct mica_store *store;
	struct mica_ledger *ledger;
	struct mica_kek *kek;
	struct mica_signer *log_key, *publication_key;

	_Atomic(struct core_view *) view;
	/* Who is between reading `view` and counting its reference; see mica_core_view_take_set. */
	atomic_uint phase;
	char pad0[64];
	atomic_uint entering0;
	char pad1[64];
	atomic_uint entering1;
	char pad2[64];

	pthread_mutex_t admin; /* changes */
	pthread_mutex_t commit; /* commits with entries */
	struct core_last_leaf last_leaf[CORE_AUTHORITY_MAX]; /* under commit: as it is stored */
	unsigned n_last_leaf;
	int64_t carried; /* exactly, since the start; 0 = nobody. Under commit */

	pthread_mutex_t review_lock;
	struct mica_review_cache *review;
	struct core_acks *acks;
	struct core_lineage *lineage;
	_Atomic(struct mica_token_reader *) readers[CORE_READERS];

	char **names; /* issuers' names, kept; under admin */
	unsigned n_names;

	atomic_bool space_low, failed, clock_frozen, clock_unproven;
	_Atomic int64_t told; /* greatest `iat` of a token that was verified, seconds */
	atomic_bool rules_unrecorded; /* the view's rules: nothing is issued by them */
	bool stale; /* under admin: the store has changed and the view could not follow yet */
	bool renumbered; /* under admin: so have the bundle's numbers */
	struct core_rotation rotation; /* under admin */
	_Atomic int64_t now_ms; /* greatest seen by maintain and commit */
	atomic_uint_fast64_t generation, x509_issued, jwt_issued, conflicts, commits,
		rotation_steps, hurries;
	atomic_uint_fast64_t store_bytes, disk_free;
	int64_t space_looked; /* maintain's, and open's */
	int64_t revoked_pruned_ms; /* under admin */
	struct core_renewals *renewals; /* under admin */
	bool renewals_told; /* under admin */
	_Atomic int64_t renewal_seconds; /* from the last taint to its last renewal; 0 = none yet */
	atomic_uint_fast64_t exposed, renewals_done;
};

/* A name that lives as long as the core; under admin or before others know of the core. */
const char *mica_core_keep_name(struct mica_core *c, const char *name);
/* A reader of tokens for this thread, for a while. */
struct mica_token_reader *mica_core_reader_take(struct mica_core *c);
void mica_core_reader_give(struct mica_core *c, struct mica_token_reader *r);

/* ---- changes other than issuance ------------------------------------------------------------- */

#define CORE_CHANGE_READS   16
#define CORE_CHANGE_WRITES  (1 << 18)
#define CORE_CHANGE_ENTRIES (1 << 16)

/* Reads, writes and entries of one change, with the memory that they need. Begins as zeros. */
struct core_change {
	struct mica_read reads[CORE_CHANGE_READS];
	struct mica_write *writes;
	struct mica_slice *entries;
	size_t n_reads, n_writes, n_entries;
	void **mem;
	size_t n_mem, room_mem;
	bool over;
};
void mica_core_change_clear(struct core_change *ch);
#define CORE_AUTO_CHANGE __attribute__((cleanup(mica_core_change_clear))) struct core_change
/* All copy. */
void mica_core_change_read(
	struct core_change *ch, enum mica_table t, struct mica_slice key, uint64_t rev);
void mica_core_change_write(struct core_change *ch, enum mica_write_op op, enum mica_table t,
	struct mica_slice key, struct mica_slice value);

/* An entry of state or administration. */
struct core_note {
	enum mica_entry_type type;
	const char *action;
	const char *authority; /* NULL = none */
	struct mica_slice detail; /* JSON object, empty = none */
};
/* `actor` NULL = micad itself. */
mica_rc mica_core_change_note(struct core_change *ch, const struct core_note *n,
	const struct mica_caller *actor, int64_t now_ms, struct mica_err *e) MICA_MUST_CHECK;
/* CONFLICT "changed_meanwhile"; else as mica_ledger_commit. Under `admin`; takes `commit` when
 * there are entries. */
mica_rc mica_core_change_commit(struct mica_core *c, struct core_change *ch, int64_t now_ms,
	struct mica_err *e) MICA_MUST_CHECK;
/* The ledger's commit, remembering that the store has failed. Under `commit` when there are
 * entries. */
mica_rc mica_core_ledger_commit(struct mica_core *c, struct mica_change *changes, size_t n,
	int64_t now_ms, struct mica_err *e) MICA_MUST_CHECK;

/* Records the view's rules when a start could not; under `admin`. */
mica_rc mica_core_record_rules(
	struct mica_core *c, int64_t now_ms, struct mica_err *e) MICA_MUST_CHECK;
void mica_core_look_at_space(struct mica_core *c, int64_t now_ms);
/* The greatest `now` that was ever given. */
void mica_core_see_now(struct mica_core *c, int64_t now_ms);
/* Revision of a record, 0 = there is none. */
mica_rc mica_core_rev(struct mica_core *c, enum mica_table t, struct mica_slice key, uint64_t *rev,
	struct mica_err *e) MICA_MUST_CHECK;

/* ---- issuance -------------------------------------------------------------------------------- */

/* A decision to issue a certificate: everything that may be said is said. */
struct core_decision {
	const struct mica_principal *principal;
	const struct mica_evidence *evidence;
	const char *address;
	const struct mica_pubkey *key;
	const char *dns_first; /* NULL = the SPIFFE ID stands first */
	bool no_uri; /* dns_first alone names the holder */
	const char *const *dns;
	size_t n_dns;
	const struct mica_slice *ip;
	size_t n_ip;
	int64_t requested_ttl, ttl;
	bool clamped;
	enum mica_outlet_class outlet;
	uint64_t bundle_sequence; /* what the caller holds */
	struct mica_slice instance; /* empty = unsaid */
};

/* A join token that a candidate spends: its record, as it was read and as it is to be. */
struct core_join_use {
	char handle[17];
	uint64_t rev;
	struct mica_buf record;
};

struct mica_candidate {
	struct core_view *view;
	int authority; /* in view->auths */
	mica_rc rc; /* INTERNAL until it was committed */
	int64_t end; /* of its validity, seconds */
	/* x509 of class `ack`: its holder, and what that one has said it holds */
	bool acks;
	enum mica_channel channel;
	/* x509: whom it follows, until when that one lives; the line of its instance; zero = none
	 */
	uint8_t before[16], line[16];
	int64_t before_end;
	bool renews; /* it follows from a certificate, which must not be revoked meanwhile */
	struct core_join_use *join; /* NULL: no join token stands behind it */
	bool carried; /* x509 of class `carried` */
	struct mica_uid pod;
	uint8_t serial[16];
	uint64_t said;
	char *spiffe_id;
	struct mica_buf body; /* its entry */
	struct mica_buf cert, pem; /* x509 */
	struct mica_buf token; /* jwt */
	struct mica_slice chain[MICA_CHAIN_MAX];
	struct mica_issued issued;
};
static inline void mica_core_auto_candidate_(struct mica_candidate **k)
{
	mica_candidate_free(*k);
}
#define CORE_AUTO_CANDIDATE                                                                        \
	__attribute__((cleanup(mica_core_auto_candidate_))) struct mica_candidate *

/* DENIED "denied_by_list". */
mica_rc mica_core_check_denied(const struct core_view *v, const struct mica_principal *p,
	struct mica_err *e) MICA_MUST_CHECK;
/* The same of whom only the name is known. */
mica_rc mica_core_check_denied_id(
	const struct core_view *v, struct mica_slice spiffe_id, struct mica_err *e) MICA_MUST_CHECK;
/* Signs and writes the entry; all rules were looked at. */
mica_rc mica_core_make_x509(struct core_view *v, const struct core_decision *d, int64_t now_ms,
	struct mica_candidate **out, struct mica_err *e) MICA_MUST_CHECK;
/* Principal and evidence of micad itself, under /mica/<name>. */
mica_rc mica_core_self(const char *trust_domain, const char *name, int64_t now,
	struct mica_principal *p, struct mica_evidence *ev, struct mica_err *e) MICA_MUST_CHECK;
/* UNAVAILABLE when nothing may be issued now. */
mica_rc mica_core_can_issue(struct mica_core *c, struct mica_err *e) MICA_MUST_CHECK;

/* ---- join tokens (core_join.c) ----------------------------------------------------------------
 */

struct mica_join; /* join.h */
/* While they are on. UNAUTHENTICATED "token_invalid", "join_token_expired" | "_spent" | "_revoked".
 * *out begins as zeros. */
mica_rc mica_core_authenticate_join(struct mica_core *c, const struct core_view *v,
	struct mica_slice token, int64_t now, struct mica_caller *out,
	struct mica_err *e) MICA_MUST_CHECK;
/* What a candidate for this caller must spend; NULL for one without a join token. As above. */
mica_rc mica_core_join_use(struct mica_core *c, const struct mica_caller *caller, int64_t now,
	struct core_join_use **out, struct mica_err *e) MICA_MUST_CHECK;
void mica_core_join_use_free(struct core_join_use *u); /* NULL is fine */
/* Of a store that was restored. */
mica_rc mica_core_join_forget(struct mica_store *s, struct mica_err *e) MICA_MUST_CHECK;

/* ---- publishing ------------------------------------------------------------------------------ */

/* Makes what is published from the current view when it differs, or is to be signed again, and puts
 * it in place. Under admin. */
mica_rc mica_core_publish(
	struct mica_core *c, int64_t now_ms, bool *changed, struct mica_err *e) MICA_MUST_CHECK;
/* Numbers for what differs from what was published, into a change: for a content that is not in the
 * view yet. `sequence` are the bundles' from then on. When the change is committed,
 * c->renumbered is to be set. Under admin. */
mica_rc mica_core_renumber(struct mica_core *c, const struct core_view *v,
	const struct core_authorities *a, struct core_change *ch, int64_t now_ms,
	uint64_t sequence[MICA_CHANNEL_COUNT], struct mica_err *e) MICA_MUST_CHECK;
/* The content of a channel's bundle at `now`; memory is `c`'s part only. */
struct core_content {
	struct mica_slice roots[MICA_BUNDLE_KEYS_MAX];
	struct mica_bundle_key keys[MICA_BUNDLE_KEYS_MAX];
	const char *renew[MICA_BUNDLE_KEYS_MAX];
	char renew_text[MICA_BUNDLE_KEYS_MAX][MICA_KEY_ID_SIZE];
	struct mica_bundle_content b;
};
void mica_core_content(const struct core_policy *p, const struct core_authorities *a,
	enum mica_channel ch, int64_t now, struct core_content *out);
/* The record of a channel. */
void mica_core_put_sequence(struct core_change *ch, enum mica_channel channel, uint64_t sequence,
	const uint8_t hash[32], const char *origin);

/* ---- revocation ------------------------------------------------------------------------------ */

mica_rc mica_core_revoked_load(
	struct mica_core *c, struct core_revoked **out, struct mica_err *e) MICA_MUST_CHECK;
mica_rc mica_core_reload_revoked(struct mica_core *c, struct mica_err *e) MICA_MUST_CHECK;
/* NULL when it is not revoked, or nobody has to be told any more. */
const struct core_revoked_one *mica_core_revoked(
	const struct core_view *v, struct mica_slice serial);
/* UNAUTHENTICATED "svid_revoked". */
mica_rc mica_core_check_revoked(const struct core_view *v, const struct mica_caller *caller,
	struct mica_err *e) MICA_MUST_CHECK;
/* The record, and what it depends on, into a change. LIMIT "too_many_revoked". */
mica_rc mica_core_put_revoked(struct core_change *ch, const struct core_view *v,
	const struct core_revoked_one *one, struct mica_err *e) MICA_MUST_CHECK;
/* {"at", "reason"} */
void mica_core_put_revocation(struct mica_buf *json, const struct core_revoked_one *one);
/* Lets go of what ended long ago, a bounded part of it. Under admin. */
mica_rc mica_core_revoked_prune(
	struct mica_core *c, int64_t now_ms, struct mica_err *e) MICA_MUST_CHECK;
/* ,"exposed": [...], "if_compromised": {...}: of each compromised authority what becomes of it, and
 * who believes it until when. */
void mica_core_put_exposure(const struct core_view *v, const struct mica_rotation_facts *f,
	int64_t now, struct mica_buf *json);
/* Where the CRL of an authority is, as certificates say it; NULL when they do not. */
const char *mica_core_crl_url(
	const struct core_policy *p, const char *authority, char out[CORE_CRL_URL_SIZE]);
/* At the start: the lists as they were signed last. */
mica_rc mica_core_crls_load(
	struct mica_core *c, struct core_crls **out, struct mica_err *e) MICA_MUST_CHECK;
/* Signs the lists that are due, or that name something else than what was revoked, and puts them
 * in place. What cannot be signed stays as it is; the first trouble is told. Under admin. */
mica_rc mica_core_crls_publish(
	struct mica_core *c, int64_t now_ms, struct mica_err *e) MICA_MUST_CHECK;
/* Its record, into a change; `der` is what it holds. */
void mica_core_put_crl(struct core_change *ch, const struct core_crl *r, struct mica_slice der);
/* Whether a list that this authority has signed could be taken at `now` (seconds); `same`: it is
 * there already. Of an authority that is not here yet, too. */
mica_rc mica_core_check_crl(const struct core_view *v, const char *id,
	const struct mica_crl_info *info, int64_t now, bool *same,
	struct mica_err *e) MICA_MUST_CHECK;
/* A list that was read, of an authority whose key is elsewhere: judged, recorded, published. Under
 * admin. */
mica_rc mica_core_take_crl(struct mica_core *c, const char *id, const struct mica_crl_info *info,
	const struct mica_caller *actor, int64_t now_ms, struct mica_err *e) MICA_MUST_CHECK;
const struct core_crl *mica_core_find_crl(const struct core_crls *l, const char *authority);
/* Whether the key that signs its list is here. */
bool mica_core_signs_crl(const struct core_view *v, unsigned at);
/* Of all lists the first end, and how many have passed the half of their life. */
void mica_core_crls_look(
	const struct core_view *v, int64_t now_ms, int64_t *first_end, unsigned *late);

/* ---- rotation -------------------------------------------------------------------------------- */

/* Reads the authorities again, as of `now` (seconds) or the view's time if that is later. */
mica_rc mica_core_reload_authorities(
	struct mica_core *c, int64_t now, struct mica_err *e) MICA_MUST_CHECK;
/* The greatest time ever used, or `now_ms`: what is decided on. Under admin. */
int64_t mica_core_decision_ms(const struct mica_core *c, int64_t now_ms);
/* Nothing is removed for one propagation time from now. */
void mica_core_look_again(struct mica_core *c, int64_t now_ms);
/* At the start, when the ledger is there: what is known of the clock. */
mica_rc mica_core_rotation_open(
	struct mica_core *c, int64_t now_ms, struct mica_err *e) MICA_MUST_CHECK;
/* One step, committed, and the view that follows; the bundle is published by who asked for it.
 * `more`: members for the entry's detail, each with a comma before it. Under admin. */
mica_rc mica_core_step(struct mica_core *c, const struct mica_rotation_step *s,
	const struct mica_caller *actor, struct mica_slice more, int64_t now_ms,
	struct mica_err *e) MICA_MUST_CHECK;
/* What the decision needs besides the records. Under admin. */
mica_rc mica_core_gather(struct mica_core *c, const struct core_view *v, int64_t now,
	struct mica_rotation_fact facts[CORE_AUTHORITY_MAX], struct mica_err *e) MICA_MUST_CHECK;
/* Key of the record that an outlet was confirmed for an authority. */
struct mica_slice mica_core_confirmed_key(const char *id, const char *outlet, char out[160]);
/* The decision on what is in the store. Under admin. */
mica_rc mica_core_rotation_next(struct mica_core *c, const struct core_view *v, int64_t now_ms,
	struct mica_rotation_step *out, struct mica_err *e) MICA_MUST_CHECK;
/* Does what is due, step by step, each of them one transaction. Under admin. */
mica_rc mica_core_rotate(
	struct mica_core *c, int64_t now_ms, bool *hurry, struct mica_err *e) MICA_MUST_CHECK;
/* Rotates and publishes behind a change by hand; failures are maintain's to try again. Under admin.
 */
void mica_core_go_on(struct mica_core *c, int64_t now_ms);
/* A token was verified that was made at `iat` (seconds): another clock than ours. Any thread. */
void mica_core_hear_clock(struct mica_core *c, int64_t iat);
/* The clock of now is right, whatever was seen before. Under admin. */
mica_rc mica_core_accept_clock(struct mica_core *c, const struct mica_caller *actor, int64_t now_ms,
	struct mica_err *e) MICA_MUST_CHECK;
/* Greatest end of what an authority signed, as it is stored; 0 = nothing. */
int64_t mica_core_last_leaf(struct mica_core *c, const char *id);
/* A number of the store's; 0 = there is none. */
int64_t mica_core_counter(struct mica_core *c, const char *key);
/* Greatest end of a certificate of class `carried`; 0 = none. A minute more right after a start. */
int64_t mica_core_carried(struct mica_core *c);
void mica_core_forget_last_leaf(struct mica_core *c, const char *id);

/* ---- what is written behind: core_mark.c -------------------------------------------------------
 *
 * Who holds what, and who renewed what, is written after the answer has left. A mark in the store
 * says until when all of it is there: after a start the ledger is read again from it on.
 */

struct core_mark {
	const char *name; /* key of MICA_T_META */
	/* as it was put last */
	int64_t ms;
	uint64_t issued;
};
void mica_core_mark_begin(struct core_mark *m, int64_t now_ms);
/* With what is written anyway; by itself once a minute, when anything was issued. The caller knows
 * that nothing of before is missing. */
void mica_core_mark_put(
	struct mica_core *c, struct core_mark *m, struct core_change *ch, int64_t now_ms);
/* From when on something may be missing; 0 = from the beginning. */
int64_t mica_core_mark_read(struct mica_core *c, const struct core_mark *m, int64_t now_ms);

/* ---- the canary channel: core_canary.c ---------------------------------------------------------
 */

/* What waits there: the authority's index, -1 = nothing more from `from` on. */
int mica_core_in_canary(const struct core_authorities *a, int from, int64_t now);
/* ,"canary": {...} of a status. */
void mica_core_put_canary(struct mica_buf *b, const struct core_view *v, int64_t now);

/* One authority as JSON, as `mica status` has it. */
void mica_core_put_authority(struct mica_buf *b, struct mica_core *c,
	const struct core_authorities *a, unsigned i, int64_t now);
/* ,"name": behind something, or with another beginning. Times: 0 and never become null. */
void mica_core_put_string(struct mica_buf *b, const char *before, const char *name, const char *v);
void mica_core_put_time(struct mica_buf *b, const char *before, const char *name, int64_t t);

/* ---- authorities that others sign ------------------------------------------------------------ */

#define CORE_BRING_MAX 12
_Static_assert(CORE_BRING_MAX <= CORE_CHANGE_READS, "a change has room for them");

/* Records of authorities that one change brings, new ones and altered ones. Begun and cleared by
 * its functions; under admin. */
struct core_bring {
	struct mica_core *c;
	struct core_view *v;
	const struct mica_caller *actor;
	int64_t now_ms, now;
	struct mica_authority rec[CORE_BRING_MAX];
	int was[CORE_BRING_MAX]; /* index in the view, -1 = it is new */
	unsigned n;
	bool bundle; /* a root is new, or has another certificate */
	struct core_change ch;
};
void mica_core_bring_begin(
	struct core_bring *b, struct mica_core *c, const struct mica_caller *actor, int64_t now_ms);
void mica_core_bring_clear(struct core_bring *b);
#define CORE_AUTO_BRING __attribute__((cleanup(mica_core_bring_clear))) struct core_bring
/* A record to be written: of the view's authority `at`, or a new one of a kind and key (-1),
 * created now. CONFLICT "too_many_authorities". */
mica_rc mica_core_bring_add(struct core_bring *b, int at, enum mica_authority_kind kind,
	const struct mica_pubkey *key, struct mica_authority **out,
	struct mica_err *e) MICA_MUST_CHECK;
/* An entry about one of them; `more`: members of its detail, each with a comma before it. */
mica_rc mica_core_bring_note(struct core_bring *b, const struct mica_authority *a,
	const char *action, struct mica_slice more, struct mica_err *e) MICA_MUST_CHECK;
/* All of it in one transaction, with the bundle's numbers, and the view that follows. OK when there
 * is nothing to write, too. */
mica_rc mica_core_bring_commit(struct core_bring *b, struct mica_err *e) MICA_MUST_CHECK;

/* Of one that waits for its certificate: its times and its sealed key. */
mica_rc mica_core_pending_fill(const struct mica_kek *kek, const struct mica_signer *key,
	int64_t now, struct mica_authority *a, struct mica_err *e) MICA_MUST_CHECK;
/* ,"signatures": {...} or null. */
void mica_core_put_stock(struct mica_buf *b, const struct mica_rotation_stock *s);

/* ---- who still has something of a compromised authority -------------------------------------- */

struct core_renewals *mica_core_renewals_new(void);
void mica_core_renewals_free(struct core_renewals *r);
/* Reads on in the ledger, a bounded part of it. Under admin, like those below. */
mica_rc mica_core_renewals_look(
	struct mica_core *c, int64_t now_ms, struct mica_err *e) MICA_MUST_CHECK;
/* Whether nobody has, and there is something compromised. */
bool mica_core_renewed(const struct mica_core *c, const struct core_view *v, int64_t now);
/* ,"compromise": null or {...}: how many there are, and who. */
void mica_core_put_renewals(struct mica_core *c, struct mica_buf *json);
/* ,"holders", "renewed", "ended", "seconds": for the entry of a removal. */
void mica_core_put_renewed(const struct mica_core *c, struct mica_buf *json);

/* ---- policies: core_policies.c ----------------------------------------------------------------
 */

/* At the start: reads them, and numbers them when they have no number in this log. A full disk
 * leaves that to publish. Under admin. */
mica_rc mica_core_policies_open(
	struct mica_core *c, int64_t now_ms, struct mica_err *e) MICA_MUST_CHECK;
/* Signs what is to be signed again. Behind mica_core_publish; under admin. */
mica_rc mica_core_policies_publish(
	struct mica_core *c, int64_t now_ms, bool *changed, struct mica_err *e) MICA_MUST_CHECK;
/* As mica_core_snapshot. */
mica_rc mica_core_policies_snapshot(const struct core_view *v, enum mica_channel ch,
	enum mica_format f, const struct mica_snapshot **out, struct mica_err *e) MICA_MUST_CHECK;
/* Of a store at rest: every record can be read, and what is in force is there. CORRUPT
 * "record_malformed". */
mica_rc mica_core_policies_check(struct mica_store *s, struct mica_err *e) MICA_MUST_CHECK;
/* The chain of an authority's certificates, behind the publisher's in chain[0]; how many there are
 * then. */
size_t mica_core_publisher_chain(
	const struct core_view *v, const char *id, struct mica_slice chain[MICA_CHAIN_MAX]);

/* ---- acknowledgements ------------------------------------------------------------------------ */

/* A certificate of class `ack` is out: from now on its holder is one that is waited for. */
void mica_core_acks_born(struct mica_core *c, const struct mica_candidate *k, int64_t now_ms);
/* At the start: holders whose certificates were recorded and who were not written any more will be
 * read again, by the flushes that follow; until then nobody can be said to have all. */
void mica_core_acks_begin(struct mica_core *c, int64_t now_ms);
struct core_acks *mica_core_acks_new(void);
void mica_core_acks_free(struct core_acks *a);
/* Whether every live holder of class `ack` has said that it has a bundle of its channel of
 * `sequence` or later. */
mica_rc mica_core_acked(struct mica_core *c, const uint64_t sequence[MICA_CHANNEL_COUNT],
	int64_t now, bool *acked, struct mica_err *e) MICA_MUST_CHECK;
/* The first bundles that have an authority. */
void mica_core_first_bundles(const struct mica_authority *a, uint64_t sequence[MICA_CHANNEL_COUNT]);
/* ,"missing": [...], "missing_count", "holders": who has not, by SPIFFE ID. */
mica_rc mica_core_put_missing(struct mica_core *c, const uint64_t sequence[MICA_CHANNEL_COUNT],
	int64_t now, struct mica_buf *json, struct mica_err *e) MICA_MUST_CHECK;
/* Writes what waits, a bounded part of it. */
mica_rc mica_core_acks_flush(
	struct mica_core *c, int64_t now_ms, struct mica_err *e) MICA_MUST_CHECK;

/* ---- lineage -----------------------------------------------------------------------------------
 */

struct core_lineage *mica_core_lineage_new(void);
void mica_core_lineage_free(struct core_lineage *l);
/* At the start: links are read again by the flushes that follow; until then nothing is concluded.
 */
void mica_core_lineage_begin(struct mica_core *c, int64_t now_ms);
/* Whom a candidate follows. */
void mica_core_lineage_note(struct mica_candidate *k, const struct core_decision *d);
/* It is recorded. */
void mica_core_lineage_born(struct mica_core *c, const struct mica_candidate *k);
/* A certificate was presented by who has its key. Any thread. */
void mica_core_lineage_seen(struct mica_core *c, const uint8_t serial[16], int64_t now);
/* DENIED "lineage_forked", if such ones are to be refused. */
mica_rc mica_core_lineage_check(struct mica_core *c, const struct core_view *v,
	const struct mica_caller *caller, struct mica_err *e) MICA_MUST_CHECK;
/* Reads again, looks for ends, and writes what waits, a bounded part of each. */
mica_rc mica_core_lineage_flush(
	struct mica_core *c, int64_t now_ms, struct mica_err *e) MICA_MUST_CHECK;
void mica_core_lineage_stats(struct mica_core *c, struct mica_core_stats *out);

#endif
