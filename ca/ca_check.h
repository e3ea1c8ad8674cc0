/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What certificates of authorities must be that others have made: those of a root whose key is
 * elsewhere, and those of a plugged-in authority. Pure: nothing here knows what is in the store.
 */
#ifndef MICA_CA_CA_CHECK_H
#define MICA_CA_CA_CHECK_H

#include "mica/authority.h"
#include "mica/cert.h"
#include "mica/rotation.h"

/* One of them, read. Slices point into the DER that it was read from. */
struct mica_ca_cert {
	struct mica_cert_info info;
	struct mica_pubkey key;
	char id[MICA_KEY_ID_SIZE]; /* of its key */
};
/* As mica_cert_read and mica_pubkey_read say. */
mica_rc mica_ca_cert_read(
	struct mica_slice der, struct mica_ca_cert *out, struct mica_err *e) MICA_MUST_CHECK;
/* Its subject is its issuer. */
bool mica_ca_cert_is_root(const struct mica_ca_cert *c);
/* Whether `up` names itself as the issuer of `c`. */
bool mica_ca_cert_names(const struct mica_ca_cert *c, const struct mica_ca_cert *up);

struct mica_ca_rules {
	const char *trust_domain;
	int64_t now, skew;
	/* What must be left of a validity, seconds: the inequalities of rotation.h. */
	int64_t issuing_least, root_least;
	/* Signed for a request of ours, or a root that signs them: it has the profile of cert.h and
	 * all that strict clients want; an issuing one has path length 0 and the URI of the trust
	 * domain, and ends before its root. Others need not have that. */
	bool own_profile;
};
void mica_ca_rules_of(const struct mica_rotation_policy *p, const char *trust_domain, int64_t now,
	bool own_profile, struct mica_ca_rules *out);

/*
 * All INVALID, each text says what was found and what is expected:
 *	ca_not_authority	not CA:TRUE; not critical (own profile)
 *	ca_key_usage		keyCertSign is missing, or key usage is not critical; no cRLSign
 *(own) ca_ext_key_usage	an extended key usage that forbids what leaves are for
 *	ca_name_constraints	not understood here, so not promised to hold
 *	ca_key_id		a subject key identifier that is not 20 octets long; none, or no
 *				authority key identifier (own)
 *	ca_subject_empty
 *	ca_key_type		a key that authorities cannot have (Ed25519: few can verify it)
 *	ca_uri_missing		no URI spiffe://<trust domain> (own profile)
 *	ca_trust_domain		a SPIFFE ID that is another's, or has a path
 *	ca_path_length		not 0 (own profile), or one above it allows fewer
 *	ca_expired, ca_not_yet_valid, ca_too_short
 *	ca_not_self_signed	a root that its own key did not sign
 *	ca_signature		its issuer's key did not sign it
 *	ca_outlives_issuer	it ends behind one above it (own)
 *	ca_issuer_unknown	the path breaks off: none of the certificates is its issuer
 */
mica_rc mica_ca_check_root(const struct mica_ca_rules *r, const struct mica_ca_cert *c,
	struct mica_err *e) MICA_MUST_CHECK;
mica_rc mica_ca_check_issuing(const struct mica_ca_rules *r, const struct mica_ca_cert *c,
	struct mica_err *e) MICA_MUST_CHECK;
/* From `c`, through those of `pool` (in any order; roots, repetitions and what does not belong to
 * the path are left out), to one of `roots`. *root is its index; path[0 .. *n) are the indices in
 * `pool` of those between, the issuer of `c` first. */
mica_rc mica_ca_find_path(const struct mica_ca_rules *r, const struct mica_ca_cert *c,
	const struct mica_ca_cert *pool, size_t n_pool, const struct mica_ca_cert *roots,
	size_t n_roots, size_t path[MICA_AUTHORITY_CHAIN_MAX], size_t *n, size_t *root,
	struct mica_err *e) MICA_MUST_CHECK;

#endif
