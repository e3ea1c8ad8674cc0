/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trust bundles: what relying parties are told to trust, in each form that is published. Content
 * in, bytes out; snapshots are immutable and shared. Pure, any thread.
 */
#ifndef MICA_BUNDLE_H
#define MICA_BUNDLE_H

#include "mica/core.h"
#include "mica/key.h"

/* Bound of one encoded bundle: 64 authorities of every kind are far below it. */
#define MICA_BUNDLE_MAX      (1024 * 1024)
#define MICA_BUNDLE_KEYS_MAX 64

/* JSON integers are exact below 2^53 everywhere (RFC 8259 6). */
#define MICA_SEQUENCE_MAX ((UINT64_C(1) << 53) - 1)

struct mica_bundle_key {
	const char *kid;
	const struct mica_pubkey *key;
};

/* All borrowed. */
struct mica_bundle_content {
	const char *set, *trust_domain;
	enum mica_channel channel;
	uint64_t sequence;
	int64_t refresh_hint; /* seconds */
	const struct mica_slice *roots; /* DER */
	size_t n_roots;
	const struct mica_bundle_key *jwt_keys;
	size_t n_jwt_keys;
	/* Issuing authorities (ids: what a leaf's authority key identifier says) whose certificates
	 * are to be renewed before a time, since they will no longer be believed; 0 of them = none.
	 */
	const char *const *renew;
	size_t n_renew;
	int64_t renew_before;
};

const char *mica_channel_name(enum mica_channel ch); /* "live" "canary" */
/* INVALID "no_such_channel"; empty = live. */
mica_rc mica_channel_parse(
	struct mica_slice name, enum mica_channel *out, struct mica_err *e) MICA_MUST_CHECK;

/* The next sequence: above the last one and never behind the clock, so that neither a restore nor a
 * new beginning goes back. LIMIT "sequence_exhausted" at 2^53. */
mica_rc mica_sequence_next(
	uint64_t last, int64_t now_ms, uint64_t *out, struct mica_err *e) MICA_MUST_CHECK;

/* SHA-256 over what relying parties see of it, the sequence left out: equal content, equal hash. */
void mica_bundle_hash(const struct mica_bundle_content *c, uint8_t hash[32]);

/* SPIFFE Trust Domain and Bundle 4: JWK set with spiffe_sequence and spiffe_refresh_hint. With
 * `renew` also "mica_renew": {"authorities": [id, ...], "before": time}; RFC 7517 5: who does not
 * know a member passes over it. */
mica_rc mica_bundle_put_json(const struct mica_bundle_content *c, struct mica_buf *out,
	struct mica_err *e) MICA_MUST_CHECK;
/* The roots, one PEM block each. */
mica_rc mica_bundle_put_pem(const struct mica_bundle_content *c, struct mica_buf *out,
	struct mica_err *e) MICA_MUST_CHECK;
/* RFC 7517 key set of the JWT keys alone, for OIDC discovery. */
mica_rc mica_bundle_put_jwks(const struct mica_bundle_content *c, struct mica_buf *out,
	struct mica_err *e) MICA_MUST_CHECK;

#define MICA_JWS_LIFE   (24 * 3600) /* seconds until a signed form expires */
#define MICA_JWS_RESIGN 3600 /* and after which it is signed again */
/* The signed form: compact JWS, typ mica-bundle+jws, with the chain of the publication key in x5c
 * and
 * {"set","trust_domain","channel","sequence","iat","exp","bundle":{...}}. */
mica_rc mica_bundle_put_jws(const struct mica_bundle_content *c, const struct mica_signer *key,
	const struct mica_slice *chain, size_t n_chain, int64_t now, struct mica_buf *out,
	struct mica_err *e) MICA_MUST_CHECK;

/* A snapshot with one reference. Takes the bytes out of `b`. `iat` 0, or for a signed form when it
 * was signed: its ETag tells it apart from the one before, which has the same sequence. */
const struct mica_snapshot *mica_snapshot_take_new(struct mica_buf *b, const char *set,
	enum mica_channel ch, uint64_t sequence, int64_t iat, int64_t expires);
/* The same of something else that is published, under an ETag of its own (with its quotes). */
const struct mica_snapshot *mica_snapshot_take_made(
	struct mica_buf *b, const char *etag, uint64_t sequence, int64_t expires);

#endif
