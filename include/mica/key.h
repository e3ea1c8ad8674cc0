/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys: public ones as plain data, private ones behind a signer, and their encryption at rest.
 *
 * A public key is read from its SubjectPublicKeyInfo by our own strict reader and used by the
 * cheapest call OpenSSL has for its type: the decoders and EVP layers of OpenSSL 3.0 cost two to
 * four times the signature check itself.
 */
#ifndef MICA_KEY_H
#define MICA_KEY_H

#include "mica/buf.h"
#include "mica/config.h" /* enum mica_key_name */
#include "mica/secret.h"
#include "mica/slice.h"

/* ---- algorithms ------------------------------------------------------------------------ */

enum mica_sig_alg {
	MICA_SIG_NONE,
	MICA_SIG_ECDSA_SHA256,
	MICA_SIG_ECDSA_SHA384,
	MICA_SIG_ECDSA_SHA512,
	MICA_SIG_RSA_SHA256, /* PKCS #1 v1.5 */
	MICA_SIG_RSA_SHA384,
	MICA_SIG_RSA_SHA512,
	MICA_SIG_PSS_SHA256, /* MGF1 with the same hash, salt as long as the hash */
	MICA_SIG_PSS_SHA384,
	MICA_SIG_PSS_SHA512,
	MICA_SIG_ED25519,
	MICA_SIG_COUNT
};
/* How an ECDSA signature is written; other algorithms have one form only. */
enum mica_sig_form {
	MICA_SIG_DER, /* SEQUENCE { r, s }: X.509 */
	MICA_SIG_RAW /* r || s, each as long as the field: JOSE (RFC 7518 3.4) */
};
#define MICA_SIG_MAX 512 /* RSA-4096 */

/* The algorithm of an AlgorithmIdentifier (whole element). INVALID "signature_algorithm_weak" (MD5,
 * SHA-1), "signature_algorithm_unknown", "signature_algorithm_malformed". */
mica_rc mica_sig_alg_read(
	struct mica_slice der, enum mica_sig_alg *out, struct mica_err *e) MICA_MUST_CHECK;
/* The other way: whole AlgorithmIdentifier. Static memory. */
struct mica_slice mica_sig_alg_der(enum mica_sig_alg alg);
/* JOSE names (RFC 7518 3.1, RFC 8037): RS256 ... PS512, ES256, ES384, EdDSA; MICA_SIG_NONE when
 * unknown. */
enum mica_sig_alg mica_sig_alg_from_jose(struct mica_slice name);
/* "ES256" ...; NULL for an algorithm that JOSE has not (it has no ECDSA SHA-512 over our curves).
 */
const char *mica_sig_alg_jose(enum mica_sig_alg alg);

/* ---- public keys ----------------------------------------------------------------------- */

#define MICA_SPKI_MAX 600 /* RSA-4096 has 550 octets */

/* Plain data without a pointer: copy it freely. Only mica_pubkey_* fill it, so one that exists
 * has passed every check of mica_pubkey_read. */
struct mica_pubkey {
	enum mica_key_name type; /* an RSA key of another size counts as the next smaller name */
	unsigned bits; /* 256, 384, 2048..4096 */
	uint16_t spki_len;
	uint16_t raw_at, raw_len; /* within spki: EC point (04 x y), Ed25519 octets, RSA modulus */
	uint32_t rsa_e;
	uint8_t spki[MICA_SPKI_MAX]; /* canonical DER */
	uint8_t spki_sha256[32];
};

/* From a whole SubjectPublicKeyInfo. Taken are: P-256 and P-384 by name with an uncompressed point
 * on the curve; RSA of 2048..4096 bits, odd exponent in 65537..2^32-1, modulus without a prime
 * factor below 752 and without the ROCA fingerprint; Ed25519 without the points of small order.
 * There is no table of Debian's weak keys of 2008: their sizes that a caller may use here went out
 * with them, and the lists are larger than this program. INVALID "key_malformed" (not DER, not on
 * the curve, explicit or compressed, ...), "key_type_not_allowed" (another algorithm or curve),
 * "key_weak" (size, exponent, factors, ROCA, small order). */
mica_rc mica_pubkey_read(
	struct mica_slice spki, struct mica_pubkey *out, struct mica_err *e) MICA_MUST_CHECK;
/* From the parts that a JWK has; the same checks. Curve by `type` (P256 or P384); coordinates must
 * have the length of the field (RFC 7518 6.2.1.2). */
mica_rc mica_pubkey_from_ec(enum mica_key_name type, struct mica_slice x, struct mica_slice y,
	struct mica_pubkey *out, struct mica_err *e) MICA_MUST_CHECK;
/* Big-endian without leading zero octets (RFC 7518 6.3.1). */
mica_rc mica_pubkey_from_rsa(struct mica_slice n, struct mica_slice exponent,
	struct mica_pubkey *out, struct mica_err *e) MICA_MUST_CHECK;
mica_rc mica_pubkey_from_ed25519(
	struct mica_slice x, struct mica_pubkey *out, struct mica_err *e) MICA_MUST_CHECK;

static inline struct mica_slice mica_pubkey_spki(const struct mica_pubkey *k)
{
	return mica_slice(k->spki, k->spki_len);
}
/* The raw part: 04||x||y, Ed25519's 32 octets, or RSA's modulus. */
static inline struct mica_slice mica_pubkey_raw(const struct mica_pubkey *k)
{
	return mica_slice(k->spki + k->raw_at, k->raw_len);
}
bool mica_pubkey_eq(const struct mica_pubkey *a, const struct mica_pubkey *b);

/* Subject key identifier: the leftmost 160 bits of SHA-256 over the BIT STRING's content (RFC 7093
 * 2 method 1; no SHA-1). In hex it is the id of an authority and the `kid` of its JWTs. */
#define MICA_KEY_ID_LEN  20
#define MICA_KEY_ID_SIZE 41
void mica_pubkey_id(const struct mica_pubkey *k, uint8_t id[MICA_KEY_ID_LEN]);
void mica_pubkey_id_hex(const struct mica_pubkey *k, char hex[MICA_KEY_ID_SIZE]);

/* What keys a caller may bring. */
struct mica_key_policy {
	uint32_t types; /* bit i = enum mica_key_name i */
	const uint8_t (*denied)[32]; /* SHA-256 of SPKIs: our own keys, compromised ones; sorted
					ascending by memcmp */
	size_t n_denied;
};
/* INVALID "key_type_not_allowed" (names what is allowed), "key_denied". */
mica_rc mica_key_policy_check(const struct mica_key_policy *p, const struct mica_pubkey *k,
	struct mica_err *e) MICA_MUST_CHECK;
/* Sorts hashes for `denied`. */
void mica_key_denied_sort(uint8_t (*hashes)[32], size_t n);

/* One check with a key seen once (a CSR's). Any thread. OK, or INVALID "signature_invalid",
 * "signature_algorithm_mismatch" (the algorithm is not for this key; in RAW form ES256 is P-256's
 * and ES384 P-384's alone). Signatures are strict: minimal DER, 0 < r, s < n, exact lengths. */
mica_rc mica_pubkey_verify(const struct mica_pubkey *k, enum mica_sig_alg alg,
	enum mica_sig_form form, struct mica_slice msg, struct mica_slice sig,
	struct mica_err *e) MICA_MUST_CHECK;

/* A key that checks many signatures (an issuer's, an authority's): parsed once, immutable, any
 * number of threads at a time. Answers as mica_pubkey_verify does. */
struct mica_verifier; /* opaque */
mica_rc mica_verifier_new(const struct mica_pubkey *k, struct mica_verifier **out,
	struct mica_err *e) MICA_MUST_CHECK;
void mica_verifier_free(struct mica_verifier *v);
const struct mica_pubkey *mica_verifier_key(const struct mica_verifier *v);
mica_rc mica_verifier_verify(const struct mica_verifier *v, enum mica_sig_alg alg,
	enum mica_sig_form form, struct mica_slice msg, struct mica_slice sig,
	struct mica_err *e) MICA_MUST_CHECK;

/* ---- private keys ---------------------------------------------------------------------- */

struct mica_signer; /* opaque */

/* What a home of private keys (this process, later PKCS #11) has to do. `ctx` is its own. */
struct mica_signer_ops {
	/* ECDSA answers in `form`. *len in: room (MICA_SIG_MAX is enough), out: bytes. Any number
	 * of threads at a time. */
	mica_rc (*sign)(void *ctx, enum mica_sig_alg alg, enum mica_sig_form form,
		struct mica_slice msg, uint8_t *sig, size_t *len, struct mica_err *e);
	/* PKCS #8 in the clear, or NULL when the key cannot leave its home. */
	mica_rc (*pkcs8)(void *ctx, struct mica_secret **out, struct mica_err *e);
	void (*free)(void *ctx);
};
/* Takes `ctx`. */
struct mica_signer *mica_signer_take_new(
	const struct mica_signer_ops *ops, void *ctx, const struct mica_pubkey *pub);

/* Once per process, before the first private key and before other threads: puts OpenSSL's private
 * numbers into locked memory that is not dumped. Best effort where RLIMIT_MEMLOCK forbids; false
 * then. Later calls answer as the first did. */
bool mica_keys_secure_memory(void);

/* A new key of this process. P256, P384, ED25519, RSA*. */
mica_rc mica_signer_generate(
	enum mica_key_name type, struct mica_signer **out, struct mica_err *e) MICA_MUST_CHECK;
/* From unencrypted PKCS #8 (DER). INVALID "key_malformed" | "key_type_not_allowed" | "key_weak".
 * The private half must fit the public one. */
mica_rc mica_signer_from_pkcs8(
	struct mica_slice der, struct mica_signer **out, struct mica_err *e) MICA_MUST_CHECK;
/* DENIED "key_not_exportable". */
mica_rc mica_signer_pkcs8(
	const struct mica_signer *s, struct mica_secret **out, struct mica_err *e) MICA_MUST_CHECK;
void mica_signer_free(struct mica_signer *s); /* wipes */

const struct mica_pubkey *mica_signer_public(const struct mica_signer *s);
/* The algorithm that it signs with: P-256 SHA-256, P-384 SHA-384, RSA PKCS #1 SHA-256, Ed25519. */
enum mica_sig_alg mica_signer_alg(const struct mica_signer *s);
/* Any number of threads at a time. UNAVAILABLE "signing_failed". */
mica_rc mica_signer_sign(const struct mica_signer *s, enum mica_sig_form form,
	struct mica_slice msg, uint8_t sig[MICA_SIG_MAX], size_t *len,
	struct mica_err *e) MICA_MUST_CHECK;
/* Signs something and checks it with the public key: at start and for readiness, and before a CA
 * certificate leaves. A signature of a leaf is not checked again: it would cost three times the
 * signing. UNAVAILABLE "signing_failed". */
mica_rc mica_signer_probe(const struct mica_signer *s, struct mica_err *e) MICA_MUST_CHECK;

void mica_sha256(struct mica_slice s, uint8_t hash[32]);

/* ---- at rest --------------------------------------------------------------------------- */

/*
 * One key-encryption key for a store, made from its passphrase by scrypt once per start. What is
 * stored:
 *
 *   the record (once):  "MKEK" 01 | log2 N, r, p (1 octet each) | salt 32 | check 32
 *   an envelope (per key): "MKEY" 01 | nonce 12 | PKCS #8 under AES-256-GCM | tag 16
 *
 * scrypt gives 64 octets: the first 32 are the key, the others pass through SHA-256 to become
 * `check`, so that a wrong passphrase is told apart from a damaged envelope. The associated data of
 * an envelope are its header, the purpose and the name it is stored under: one that was altered, or
 * put in another's place, does not open.
 */
struct mica_kek; /* opaque; in locked memory */

enum mica_key_purpose {
	MICA_KEY_ROOT = 1,
	MICA_KEY_ISSUING,
	MICA_KEY_JWT,
	MICA_KEY_LOG,
	MICA_KEY_PUBLICATION,
	MICA_KEY_SERVING
};
#define MICA_KEY_PURPOSE_COUNT 7
const char *mica_key_purpose_name(
	enum mica_key_purpose p); /* "root" "issuing" "jwt" "log" "publication" "serving" */

/* A new salt; appends the record to `record`. About 0.1 s and 64 MiB (N = 2^16, r = 8, p = 1);
 * UNAVAILABLE "scrypt_failed" without that memory (unlock, too). */
mica_rc mica_kek_create(const struct mica_secret *passphrase, struct mica_buf *record,
	struct mica_kek **out, struct mica_err *e) MICA_MUST_CHECK;
/* UNAUTHENTICATED "wrong_passphrase"; CORRUPT "kek_record_malformed" (also for costs out of
 * bounds). */
mica_rc mica_kek_unlock(const struct mica_secret *passphrase, struct mica_slice record,
	struct mica_kek **out, struct mica_err *e) MICA_MUST_CHECK;
void mica_kek_free(struct mica_kek *k);
/* For tests alone, which open many stores: log2 of N for records made from now on. */
void mica_kek_set_test_cost(unsigned log2_n);
/* `name` is what the key is stored under (authority id, ...), 1..255 octets (else INTERNAL
 * "key_name_invalid"). Appends the envelope. */
mica_rc mica_kek_seal(const struct mica_kek *k, enum mica_key_purpose purpose, const char *name,
	const struct mica_signer *key, struct mica_buf *envelope,
	struct mica_err *e) MICA_MUST_CHECK;
/* CORRUPT "key_envelope_malformed" | "key_envelope_damaged" (altered, of another name or purpose,
 * or sealed under another passphrase). */
mica_rc mica_kek_open(const struct mica_kek *k, enum mica_key_purpose purpose, const char *name,
	struct mica_slice envelope, struct mica_signer **out, struct mica_err *e) MICA_MUST_CHECK;

static inline void mica_auto_signer_(struct mica_signer **p)
{
	mica_signer_free(*p);
}
static inline void mica_auto_verifier_(struct mica_verifier **p)
{
	mica_verifier_free(*p);
}
static inline void mica_auto_kek_(struct mica_kek **p)
{
	mica_kek_free(*p);
}
/* The free functions take NULL. */
#define MICA_AUTO_SIGNER   __attribute__((cleanup(mica_auto_signer_))) struct mica_signer *
#define MICA_AUTO_VERIFIER __attribute__((cleanup(mica_auto_verifier_))) struct mica_verifier *
#define MICA_AUTO_KEK      __attribute__((cleanup(mica_auto_kek_))) struct mica_kek *

#endif
