/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An issuer's public keys, from a JWK Set (RFC 7517). Each key is judged and parsed once; then the
 * set is immutable and shared by reference among any number of threads.
 *
 * One key is (kid, alg). Without `alg` an RSA key is RS256's and an EC key its curve's. A key that
 * is not exactly right is left out and said to be (mica_jwks_skipped), the others count: fail
 * closed, one by one. Nothing in a set is ever fetched (`jku`, `x5u`) or trusted by a certificate
 * (`x5c`).
 */
#ifndef MICA_JWKS_H
#define MICA_JWKS_H

#include "mica/key.h"

#define MICA_JWKS_BYTES_MAX (1024 * 1024)
#define MICA_JWKS_KEYS_MAX  100
#define MICA_KID_MAX        255

struct mica_jwks_options {
	bool allow_ps; /* take keys with alg PS256, PS384, PS512 */
	bool allow_eddsa; /* take Ed25519 keys */
};

struct mica_jwks; /* opaque */

/* LIMIT "jwks_too_long" (1 MiB), "jwks_too_many_keys" (100 entries, usable or not); INVALID
 * "jwks_malformed" (not JSON, no array `keys`), "jwks_no_usable_key" (a set that would refuse
 * everybody: the caller goes on with the last good one; the text has the first reasons). `options`
 * may be NULL. The new set has one reference. */
mica_rc mica_jwks_parse(struct mica_slice document, const struct mica_jwks_options *options,
	const struct mica_jwks **out, struct mica_err *e) MICA_MUST_CHECK;
const struct mica_jwks *mica_jwks_ref(const struct mica_jwks *s); /* NULL stays NULL */
void mica_jwks_unref(const struct mica_jwks *s); /* NULL is fine */

/* A usable key; lives as long as its set. */
struct mica_jwk {
	char kid[MICA_KID_MAX + 1]; /* "" when it has none */
	bool has_kid;
	enum mica_sig_alg alg;
	const struct mica_verifier *verifier;
};
size_t mica_jwks_count(const struct mica_jwks *s);
const struct mica_jwk *mica_jwks_key(const struct mica_jwks *s, size_t i);

enum mica_jwks_match {
	MICA_JWKS_FOUND,
	MICA_JWKS_UNKNOWN_KID, /* a refresh may help */
	MICA_JWKS_OTHER_ALG, /* the kid is known, for another algorithm: a refresh will not help */
	MICA_JWKS_KID_NEEDED /* no kid was given and there are several keys */
};
/* `kid` NULL = the token names none: found only when the set has a single usable key. */
enum mica_jwks_match mica_jwks_find(const struct mica_jwks *s, const struct mica_slice *kid,
	enum mica_sig_alg alg, const struct mica_jwk **out);

/* Entries that were left out, for log, alarm and status. `reason` is one of: not_an_object,
 * member_malformed, kty_unknown, symmetric_key, private_key, use_not_sig, key_ops_without_verify,
 * alg_unknown, alg_not_allowed (PS*, EdDSA without their options), alg_mismatch (alg and kty
 * disagree), curve_unknown, kid_too_long, key_malformed, key_weak (size, exponent, small factor,
 * ROCA), duplicate_kid (all entries with the same kid and algorithm). */
struct mica_jwks_skipped {
	unsigned index; /* in `keys` */
	char kid[64]; /* cut, for messages only; "" when it has none */
	const char *reason;
};
size_t mica_jwks_skipped_count(const struct mica_jwks *s);
const struct mica_jwks_skipped *mica_jwks_skipped(const struct mica_jwks *s, size_t i);

static inline void mica_auto_jwks_(const struct mica_jwks **p)
{
	mica_jwks_unref(*p);
}
#define MICA_AUTO_JWKS __attribute__((cleanup(mica_auto_jwks_))) const struct mica_jwks *

#endif
