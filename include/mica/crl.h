/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificate revocation lists (RFC 5280 5): the writer, and a strict reader. A list is complete:
 * it names every certificate of its issuer that was revoked and that somebody may still have to be
 * told of.
 *
 *	version 2; issuer = subject of the authority; thisUpdate, nextUpdate; per entry serial,
 *	time and, unless it is unspecified, reasonCode; extensions: AKI, CRLNumber. None is
 *critical.
 */
#ifndef MICA_CRL_H
#define MICA_CRL_H

#include "mica/cert.h"

#define MICA_PEM_CRL "X509 CRL"

#define MICA_CRL_SERIAL_MAX  20 /* RFC 5280 4.1.2.2 */
#define MICA_CRL_ENTRIES_MAX 65536
/* Octets of the longest list: an entry takes 60 at most. */
#define MICA_CRL_MAX (64 * MICA_CRL_ENTRIES_MAX + 2 * MICA_CERT_MAX)

/* RFC 5280 5.3.1, but for those that take a revocation back. */
enum mica_crl_reason {
	MICA_CRL_UNSPECIFIED = 0,
	MICA_CRL_KEY_COMPROMISE = 1,
	MICA_CRL_CA_COMPROMISE = 2,
	MICA_CRL_AFFILIATION_CHANGED = 3,
	MICA_CRL_SUPERSEDED = 4,
	MICA_CRL_CESSATION_OF_OPERATION = 5,
	MICA_CRL_PRIVILEGE_WITHDRAWN = 9
};
/* "unspecified" "key_compromise" "ca_compromise" "affiliation_changed" "superseded"
 * "cessation_of_operation" "privilege_withdrawn"; NULL for others. */
const char *mica_crl_reason_name(enum mica_crl_reason r);
/* INVALID "bad_reason", with those that there are. */
mica_rc mica_crl_reason_parse(
	struct mica_slice name, enum mica_crl_reason *out, struct mica_err *e) MICA_MUST_CHECK;

struct mica_crl_entry {
	struct mica_slice serial; /* without sign octet, 1..MICA_CRL_SERIAL_MAX */
	int64_t revoked; /* seconds */
	enum mica_crl_reason reason;
};
struct mica_crl_spec {
	uint64_t number; /* CRLNumber: it only grows */
	int64_t this_update, next_update; /* seconds */
	const struct mica_crl_entry *entries;
	size_t n;
};
/* Appends DER to `out`. The signature is checked before this returns. INVALID "issuer_not_for_crls"
 * (its certificate has a KeyUsage without cRLSign), "validity_empty", "serial_invalid"; LIMIT
 * "too_many_revoked"; UNAVAILABLE "signing_failed". */
mica_rc mica_crl_sign(const struct mica_cert_issuer *issuer, const struct mica_crl_spec *spec,
	struct mica_buf *out, struct mica_err *e) MICA_MUST_CHECK;

/* All slices point into the DER that was read. */
struct mica_crl_info {
	struct mica_slice der;
	struct mica_slice tbs; /* what is signed */
	struct mica_slice issuer; /* whole Name */
	int64_t this_update, next_update; /* seconds */
	bool has_number;
	uint64_t number;
	struct mica_slice aki; /* empty = absent */
	struct mica_slice entries; /* for mica_crl_next */
	size_t n;
	enum mica_sig_alg alg;
	struct mica_slice signature;
};
/* Strict: DER, version 2, both signature algorithms equal, nextUpdate, a number below 2^64, no
 * extension twice, none critical that is unknown: so no delta, no list of a part, none of others.
 * The signature is not checked. INVALID "crl_malformed", "crl_extension_twice",
 * "crl_extension_unknown", "signature_algorithm_*"; LIMIT "crl_too_large". */
mica_rc mica_crl_read(
	struct mica_slice der, struct mica_crl_info *out, struct mica_err *e) MICA_MUST_CHECK;
/* The next entry of a list that was read; false at the end. Reasons may be any of RFC 5280 5.3.1.
 */
bool mica_crl_next(struct mica_slice *entries, struct mica_crl_entry *out);

#endif
