/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one verifier of X.509-SVIDs (X509-SVID 5, RFC 5280 6.1): client certificates of every
 * front, the publisher's chain, the programs of the CLI. Our own path validation over the strict
 * reader; tests hold it against OpenSSL's.
 */
#ifndef MICA_VERIFY_H
#define MICA_VERIFY_H

#include "mica/cert.h"

#define MICA_CHAIN_MAX 5 /* certificates presented: leaf and at most 4 authorities */

/* The roots of one trust domain. Immutable; any thread. */
struct mica_trust; /* opaque */

/* Copies. `n` may be 0: then nothing is trusted. Roots must be authorities (CA:TRUE, keyCertSign);
 * they need not be self-signed and their own signature is not checked. INVALID "cert_*" | "key_*" |
 * "not_an_authority" | "trust_domain_invalid" (too long), LIMIT "too_many_roots" (32). */
mica_rc mica_trust_new(const char *trust_domain, const struct mica_slice *roots, size_t n,
	struct mica_trust **out, struct mica_err *e) MICA_MUST_CHECK;
void mica_trust_free(struct mica_trust *t);
static inline void mica_auto_trust_(struct mica_trust **p)
{
	mica_trust_free(*p);
}
#define MICA_AUTO_TRUST __attribute__((cleanup(mica_auto_trust_))) struct mica_trust *

/* What a valid SVID says. Plain data. */
struct mica_svid {
	char spiffe_id[MICA_SPIFFE_ID_MAX + 1];
	uint8_t serial[20]; /* left-aligned */
	uint8_t serial_len;
	int64_t not_before, not_after;
	struct mica_pubkey key;
	char issuer_id[MICA_KEY_ID_SIZE]; /* hex of the AKI, "" when it is absent or not 20 octets
					   */
	size_t root; /* index of the root that the path ends at */
};

/* `chain` as presented, leaf first, in order; a root at its end is fine. The path is: the chain's
 *certificates one by one until one is issued by a root. `skew` seconds are granted at both ends of
 *the leaf's validity only (0 for none).
 *
 * UNAUTHENTICATED, each with e->text for the caller:
 *	"svid_missing"	   no certificate
 *	"svid_malformed"   the reader or a rule of X509-SVID refused one: no or several URI SANs,
 *not a SPIFFE ID, no path, CA:TRUE, key usage, extended key usage without clientAuth/serverAuth;
 *e->fine has the reason of the reader "svid_wrong_trust_domain" "svid_expired" |
 *"svid_not_yet_valid"  any of the path "svid_untrusted"   no path to a root; e->fine:
 *"issuer_unknown", "signature_invalid", "issuer_not_authority", "path_too_long"
 */
mica_rc mica_verify_svid(const struct mica_trust *t, const struct mica_slice *chain, size_t n,
	int64_t now, int64_t skew, struct mica_svid *out, struct mica_err *e) MICA_MUST_CHECK;

/* Whether `id` is a SPIFFE ID of a workload: spiffe://, lower-case trust domain, a path without
 * empty, "." or ".." segments (SPIFFE-ID 2.1-2.3). *td_len is the length of the trust domain behind
 * "spiffe://". */
bool mica_spiffe_id_is_workload(struct mica_slice id, size_t *td_len);

#endif
