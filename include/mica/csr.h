/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificate signing requests (PKCS #10, RFC 2986). Only the key is taken: subject and attributes
 * must be well-formed and are otherwise ignored, whatever names or rights they ask for.
 */
#ifndef MICA_CSR_H
#define MICA_CSR_H

#include "mica/key.h"

#define MICA_CSR_MAX (16 * 1024)

/* PEM (exactly one block, label CERTIFICATE REQUEST or NEW CERTIFICATE REQUEST) or DER (starts with
 *30); the key's own signature is checked (proof of possession), and the key against `policy`.
 *Everything is checked in the order below and the cheap before the dear.
 *
 * LIMIT   "csr_too_large"
 * INVALID "csr_empty"
 *	   "csr_not_pem"	    neither DER nor a PEM block of the right label
 *	   "csr_trailing_data"	    something before or behind the one request: text, a second
 *block, octets "csr_malformed"	    not DER, not PKCS #10, not version 0 "signature_algorithm_weak"
 *| "_unknown" | "_malformed" | "_mismatch"  as in key.h "key_malformed" | "key_type_not_allowed" |
 *"key_weak" | "key_denied"  as in key.h "csr_bad_signature"	    the holder of the key did not
 *sign this
 */
mica_rc mica_csr_read(struct mica_slice csr, const struct mica_key_policy *policy,
	struct mica_pubkey *out, struct mica_err *e) MICA_MUST_CHECK;

/* Our own request: PKCS #10 in PEM with the key alone, no subject and no attributes, since only the
 * key is taken. Appends. UNAVAILABLE "signing_failed"; LIMIT when `pem` is full. */
mica_rc mica_csr_write(
	const struct mica_signer *key, struct mica_buf *pem, struct mica_err *e) MICA_MUST_CHECK;

/* A request for an issuing authority of ours, for whoever has the root's key: subject and
 * extensions (extensionRequest, RFC 2985 5.4.2) are those that its certificate shall have. Appends
 * DER. INVALID "name_invalid" (trust domain); UNAVAILABLE "signing_failed". */
mica_rc mica_csr_make(const struct mica_signer *key, const char *trust_domain, struct mica_buf *out,
	struct mica_err *e) MICA_MUST_CHECK;

/* What names a request asks for, in DER alone: common names of its subject, and subjectAltName of
 * its extensionRequest (RFC 2985 5.4.2). They prove nothing and give nothing; a protocol that
 * demands them of its clients can look whether they are there. Slices point into `der`. The
 * signature is not checked, and the key is not looked at. LIMIT "csr_too_large"; INVALID
 * "csr_empty", "csr_trailing_data", "csr_malformed" (PEM, too; an extension twice, or names that
 * are not well-formed). */
struct mica_csr_names {
	struct mica_slice cn; /* the first */
	struct mica_slice dns; /* the first */
	size_t n_cn, n_dns;
	size_t n_others; /* URIs, addresses, and all others */
};
mica_rc mica_csr_names(
	struct mica_slice der, struct mica_csr_names *out, struct mica_err *e) MICA_MUST_CHECK;

#endif
