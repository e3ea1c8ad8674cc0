/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What key.c and signer.c share of OpenSSL.
 *
 * EC_KEY, ECDSA_* and RSA_* are deprecated in OpenSSL 3.0, and used here on purpose: a key that
 * is seen once (a CSR's) costs 1.6 us to import this way and 36 us through EVP_PKEY_fromdata, and a
 * signature 1 us less. The warning is silenced in the files that include this one, nowhere else.
 */
#ifndef MICA_CA_OSSL_H
#define MICA_CA_OSSL_H

#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/obj_mac.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>

#include "mica/der.h"
#include "mica/key.h"

/* The group of P256 or P384, made once and never changed; any thread. */
const EC_GROUP *mica_ossl_group(enum mica_key_name type);
/* Octets of a field element: 32 or 48. */
static inline size_t mica_ossl_field(enum mica_key_name type)
{
	return type == MICA_KN_P384 ? 48 : 32;
}
static inline bool mica_key_is_ec(enum mica_key_name t)
{
	return t == MICA_KN_P256 || t == MICA_KN_P384;
}
static inline bool mica_key_is_rsa(enum mica_key_name t)
{
	return t >= MICA_KN_RSA2048 && t <= MICA_KN_RSA4096;
}

struct mica_sig_info {
	enum { MICA_FAM_NONE, MICA_FAM_ECDSA, MICA_FAM_RSA, MICA_FAM_PSS, MICA_FAM_ED25519 } family;
	int nid; /* of the hash */
	size_t hash_len;
	const char *jose;
	struct mica_slice der; /* whole AlgorithmIdentifier */
};
const struct mica_sig_info *mica_sig_info(enum mica_sig_alg alg);
/* The hash of `alg` over msg; at most 64 octets. */
void mica_sig_digest(const struct mica_sig_info *i, struct mica_slice msg, uint8_t out[64]);
const EVP_MD *mica_sig_md(const struct mica_sig_info *i);
/* Whether alg is one for this key, in this form. */
bool mica_sig_fits(const struct mica_pubkey *k, enum mica_sig_alg alg, enum mica_sig_form form);

/* mica_pubkey_read without the check that an EC point is on its curve: for a caller that goes on to
 * mica_pubkey_verify, whose import makes that check and refuses with "key_malformed". */
mica_rc mica_pubkey_read_unproved(
	struct mica_slice spki, struct mica_pubkey *out, struct mica_err *e);

static inline void mica_auto_ec_key_(EC_KEY **p)
{
	EC_KEY_free(*p);
}
static inline void mica_auto_rsa_(RSA **p)
{
	RSA_free(*p);
}
static inline void mica_auto_pkey_(EVP_PKEY **p)
{
	EVP_PKEY_free(*p);
}
static inline void mica_auto_md_ctx_(EVP_MD_CTX **p)
{
	EVP_MD_CTX_free(*p);
}
static inline void mica_auto_sig_(ECDSA_SIG **p)
{
	ECDSA_SIG_free(*p);
}
#define MICA_AUTO_EC_KEY __attribute__((cleanup(mica_auto_ec_key_))) EC_KEY *
#define MICA_AUTO_RSA    __attribute__((cleanup(mica_auto_rsa_))) RSA *
#define MICA_AUTO_PKEY   __attribute__((cleanup(mica_auto_pkey_))) EVP_PKEY *
#define MICA_AUTO_MD_CTX __attribute__((cleanup(mica_auto_md_ctx_))) EVP_MD_CTX *
#define MICA_AUTO_SIG    __attribute__((cleanup(mica_auto_sig_))) ECDSA_SIG *

/* SHA256() looks its algorithm up at each call, which costs more than hashing a few hundred octets.
 */
static inline void mica_ossl_sha256(struct mica_slice s, uint8_t out[32])
{
	SHA256_CTX c;

	SHA256_Init(&c);
	if (s.len > 0)
		SHA256_Update(&c, s.p, s.len);
	SHA256_Final(out, &c);
}

/* INTERNAL or UNAVAILABLE with OpenSSL's own words as detail; empties its error queue. */
mica_rc mica_ossl_fail(struct mica_err *e, mica_rc rc, const char *reason, const char *what);

#endif
