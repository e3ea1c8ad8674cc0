/* SPDX-License-Identifier: Apache-2.0 */
/*
 * X.509 certificates: the writer of leaves and authorities, and a strict reader.
 *
 * A certificate is signed in exactly one (static) function of ca/cert.c; what it may contain is
 * what a struct mica_leaf_spec or struct mica_ca_spec can say. The profile:
 *
 *	leaf	   subject O=<trust domain>; SAN [dns_first] URI [dns...] [ip...]; CA:FALSE
 *		   (critical); digitalSignature (critical); serverAuth + clientAuth; AKI. No SKI, no
 *		   AIA; a CRL distribution point only when one is given.
 *	root	   self-signed, subject = issuer; CA:TRUE (critical), no path length;
 *		   keyCertSign + cRLSign (critical); SKI, AKI; SAN URI spiffe://<td>
 *	issuing	   the same, signed by a root, path length 0
 */
#ifndef MICA_CERT_H
#define MICA_CERT_H

#include "mica/buf.h"
#include "mica/key.h"
#include "mica/principal.h"

/* ---- serial numbers ---------------------------------------------------------------------- */

/*
 * 16 octets, written as they are (never trimmed): octets 0-5 are the time in milliseconds since
 * 1970, big-endian, 48 bits of which the top one is 0 until the year 6429; octets 6-15 are random
 * with the top bit of octet 6 set to 0, that is 79 random bits. Positive and 16 octets long in DER,
 * as octet 0 is 01 from 2004 on. An index by serial grows at its end.
 */
#define MICA_SERIAL_LEN 16
void mica_serial_make(int64_t now_ms, uint8_t serial[MICA_SERIAL_LEN]);

/* ---- writing ----------------------------------------------------------------------------- */

#define MICA_CERT_MAX     (8 * 1024) /* a certificate that we read or write */
#define MICA_LEAF_DNS_MAX 32
#define MICA_LEAF_IP_MAX  32

/* An authority that signs: its certificate, parsed once, and its private key. Immutable; any
 * thread. */
struct mica_cert_issuer; /* opaque */

/* `signer` is borrowed and must outlive the issuer. INVALID "cert_*"; "not_an_authority" (no
 * keyCertSign or not CA:TRUE); "key_mismatch" (the certificate is for another key). */
mica_rc mica_cert_issuer_new(struct mica_slice cert_der, const struct mica_signer *signer,
	struct mica_cert_issuer **out, struct mica_err *e) MICA_MUST_CHECK;
void mica_cert_issuer_free(struct mica_cert_issuer *i);
struct mica_slice mica_cert_issuer_der(const struct mica_cert_issuer *i);
const char *mica_cert_issuer_id(const struct mica_cert_issuer *i); /* hex of its SKI */
int64_t mica_cert_issuer_not_before(const struct mica_cert_issuer *i);
int64_t mica_cert_issuer_not_after(const struct mica_cert_issuer *i);

/* Everything that a leaf says. All borrowed. */
struct mica_leaf_spec {
	uint8_t serial[MICA_SERIAL_LEN];
	int64_t not_before, not_after; /* seconds; must lie within the issuer's */
	/* Subject O; "" = empty subject and critical SAN (X509-SVID 3.1). Above 64 octets (RFC 5280
	 * upper bound) O is "SPIFFE". */
	const char *trust_domain;
	const char *dns_first; /* stands before the URI (Linkerd); NULL = none */
	/* The SPIFFE ID, already checked by its owner; NULL where dns_first names the holder alone.
	 */
	const char *uri;
	const char *const *dns; /* behind the URI */
	size_t n_dns;
	const struct mica_slice *ip; /* 4 or 16 octets each; serving certificates only */
	size_t n_ip;
	const struct mica_pubkey *key;
	const char *crl_url; /* where its issuer's CRL is; NULL = it does not say */
};
/* Appends DER to `out`. INVALID "outside_issuer_validity", "validity_empty", "serial_invalid",
 * "name_invalid" (a URI not beginning with spiffe:// or above 2048 octets, a DNS name with other
 * octets than letters, digits, '.', '-', '_', '*' or above 253, a crl_url with others than visible
 * ASCII), "issuer_not_for_leaves"; LIMIT
 * "too_many_names"; UNAVAILABLE "signing_failed". */
mica_rc mica_leaf_sign(const struct mica_cert_issuer *issuer, const struct mica_leaf_spec *spec,
	struct mica_buf *out, struct mica_err *e) MICA_MUST_CHECK;

enum mica_ca_kind { MICA_CA_ROOT, MICA_CA_ISSUING };
struct mica_ca_spec {
	enum mica_ca_kind kind;
	uint8_t serial[MICA_SERIAL_LEN];
	int64_t not_before, not_after;
	const char *trust_domain;
	/* Subject: O=<trust domain>, CN="Mica root <id>" or "Mica issuing <id>", id = hex of the
	 * key id. */
	const struct mica_pubkey *key; /* NULL for a root: its signer's */
	const char *crl_url; /* issuing: where the root's CRL is; NULL = it does not say */
};
/* A self-signed root. The signature is checked before this returns. */
mica_rc mica_root_sign(const struct mica_signer *signer, const struct mica_ca_spec *spec,
	struct mica_buf *out, struct mica_err *e) MICA_MUST_CHECK;
/* An issuing authority under `root` (INVALID "issuer_not_for_authorities" when its path length is
 * 0). The signature is checked before this returns. */
mica_rc mica_issuing_sign(const struct mica_cert_issuer *root, const struct mica_ca_spec *spec,
	struct mica_buf *out, struct mica_err *e) MICA_MUST_CHECK;

/* ---- reading ----------------------------------------------------------------------------- */

/* Named bits of KeyUsage, RFC 5280 4.2.1.3. */
enum mica_key_usage {
	MICA_KU_DIGITAL_SIGNATURE = 1 << 0,
	MICA_KU_NON_REPUDIATION = 1 << 1,
	MICA_KU_KEY_ENCIPHERMENT = 1 << 2,
	MICA_KU_DATA_ENCIPHERMENT = 1 << 3,
	MICA_KU_KEY_AGREEMENT = 1 << 4,
	MICA_KU_KEY_CERT_SIGN = 1 << 5,
	MICA_KU_CRL_SIGN = 1 << 6,
	MICA_KU_ENCIPHER_ONLY = 1 << 7,
	MICA_KU_DECIPHER_ONLY = 1 << 8
};
enum mica_ext_key_usage {
	MICA_EKU_SERVER = 1,
	MICA_EKU_CLIENT = 2,
	MICA_EKU_ANY = 4,
	MICA_EKU_OTHER = 8
};

#define MICA_CERT_NAMES_MAX 64

/* All slices point into the DER that was read. */
struct mica_cert_info {
	struct mica_slice der;
	struct mica_slice tbs; /* what is signed */
	struct mica_slice issuer, subject; /* whole Name elements */
	bool subject_empty;
	struct mica_slice serial; /* INTEGER without sign octet, 1..20 octets */
	int64_t not_before, not_after; /* seconds, both inclusive */
	struct mica_slice spki; /* not looked into: mica_pubkey_read() */
	struct mica_slice ski, aki; /* key identifiers; empty = absent */
	bool has_basic, basic_critical, is_ca;
	int path_len; /* -1 = none */
	bool has_ku, ku_critical;
	unsigned ku; /* enum mica_key_usage; 0 when absent */
	bool has_eku;
	unsigned eku; /* enum mica_ext_key_usage */
	bool has_san, san_critical;
	size_t n_uri, n_dns, n_ip, n_other; /* all SANs; n_other: e-mail, directory ... */
	struct mica_slice uri[4]; /* the first ones */
	struct mica_slice dns[MICA_CERT_NAMES_MAX];
	struct mica_slice ip[MICA_CERT_NAMES_MAX];
	bool has_name_constraints; /* critical or not; not understood here */
	enum mica_sig_alg alg;
	struct mica_slice signature;
};
/* Strict: DER, version 3, both signature algorithms equal, serial positive, no extension twice,
 * none critical that is unknown (name constraints included), no unique ids, names in IA5 without
 * NUL. The signature is not checked. LIMIT "cert_too_large"; INVALID "cert_malformed",
 * "cert_extension_twice", "cert_extension_unknown", "cert_too_many_names", "signature_algorithm_*".
 */
mica_rc mica_cert_read(
	struct mica_slice der, struct mica_cert_info *out, struct mica_err *e) MICA_MUST_CHECK;

#endif
