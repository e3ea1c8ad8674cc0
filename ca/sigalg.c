/* SPDX-License-Identifier: Apache-2.0 */
/* Signature algorithms: one table for X.509's and JOSE's names of them. */
#include "ossl.h"

#include <pthread.h>

#define OID_SHA2(n)   0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, n
#define OID_RSA(n)    0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, n
#define OID_ECDSA2(n) 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, n

/* RFC 5758 3.2: no parameters. RFC 8410 3: none. RFC 4055 5: NULL. */
#define DER_ECDSA(n)                                                                               \
	{                                                                                          \
		0x30, 0x0a, 0x06, 0x08, OID_ECDSA2(n)                                              \
	}
#define DER_RSA(n)                                                                                 \
	{                                                                                          \
		0x30, 0x0d, 0x06, 0x09, OID_RSA(n), 0x05, 0x00                                     \
	}
/* RFC 4055 3.1: hash, MGF1 with the same hash, salt length; trailer field by default. */
#define DER_PSS(h, salt)                                                                           \
	{                                                                                          \
		0x30, 0x41, 0x06, 0x09, OID_RSA(10), 0x30, 0x34, 0xa0, 0x0f, 0x30, 0x0d, 0x06,     \
			0x09, OID_SHA2(h), 0x05, 0x00, 0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09,         \
			OID_RSA(8), 0x30, 0x0d, 0x06, 0x09, OID_SHA2(h), 0x05, 0x00, 0xa2, 0x03,   \
			0x02, 0x01, salt                                                           \
	}

/* clang-format off */
static const uint8_t der_ecdsa256[] = DER_ECDSA(2), der_ecdsa384[] = DER_ECDSA(3),
		     der_ecdsa512[] = DER_ECDSA(4);
static const uint8_t der_rsa256[] = DER_RSA(11), der_rsa384[] = DER_RSA(12),
		     der_rsa512[] = DER_RSA(13);
static const uint8_t der_pss256[] = DER_PSS(1, 32), der_pss384[] = DER_PSS(2, 48),
		     der_pss512[] = DER_PSS(3, 64);
static const uint8_t der_ed25519[] = {0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70};
#define D(x) {x, sizeof(x)}

static const struct mica_sig_info infos[MICA_SIG_COUNT] = {
	[MICA_SIG_ECDSA_SHA256] = {MICA_FAM_ECDSA, NID_sha256, 32, "ES256", D(der_ecdsa256)},
	[MICA_SIG_ECDSA_SHA384] = {MICA_FAM_ECDSA, NID_sha384, 48, "ES384", D(der_ecdsa384)},
	[MICA_SIG_ECDSA_SHA512] = {MICA_FAM_ECDSA, NID_sha512, 64, NULL, D(der_ecdsa512)},
	[MICA_SIG_RSA_SHA256] = {MICA_FAM_RSA, NID_sha256, 32, "RS256", D(der_rsa256)},
	[MICA_SIG_RSA_SHA384] = {MICA_FAM_RSA, NID_sha384, 48, "RS384", D(der_rsa384)},
	[MICA_SIG_RSA_SHA512] = {MICA_FAM_RSA, NID_sha512, 64, "RS512", D(der_rsa512)},
	[MICA_SIG_PSS_SHA256] = {MICA_FAM_PSS, NID_sha256, 32, "PS256", D(der_pss256)},
	[MICA_SIG_PSS_SHA384] = {MICA_FAM_PSS, NID_sha384, 48, "PS384", D(der_pss384)},
	[MICA_SIG_PSS_SHA512] = {MICA_FAM_PSS, NID_sha512, 64, "PS512", D(der_pss512)},
	[MICA_SIG_ED25519] = {MICA_FAM_ED25519, NID_undef, 0, "EdDSA", D(der_ed25519)},
};

/* Known and refused: RSA with MD2, MD4, MD5, SHA-1 (PKCS #1 arcs 2..5 and OIW's name of the
 * last), ECDSA and DSA with SHA-1. */
static const uint8_t weak_rsa[][9] = {{OID_RSA(2)}, {OID_RSA(3)}, {OID_RSA(4)}, {OID_RSA(5)}};
static const uint8_t weak_ecdsa[] = {0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01};
static const uint8_t weak_dsa[] = {0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x03};
static const uint8_t weak_oiw_rsa[] = {0x2b, 0x0e, 0x03, 0x02, 0x1d};
static const uint8_t oid_pss[] = {OID_RSA(10)};
/* clang-format on */

const struct mica_sig_info *mica_sig_info(enum mica_sig_alg alg)
{
	return &infos[(unsigned)alg < MICA_SIG_COUNT ? alg : MICA_SIG_NONE];
}

struct mica_slice mica_sig_alg_der(enum mica_sig_alg alg)
{
	return mica_sig_info(alg)->der;
}

const char *mica_sig_alg_jose(enum mica_sig_alg alg)
{
	return mica_sig_info(alg)->jose;
}

enum mica_sig_alg mica_sig_alg_from_jose(struct mica_slice name)
{
	for (int i = MICA_SIG_NONE + 1; i < MICA_SIG_COUNT; i++)
		if (infos[i].jose && mica_slice_eq_str(name, infos[i].jose))
			return (enum mica_sig_alg)i;
	return MICA_SIG_NONE;
}

static bool is_weak(struct mica_slice oid)
{
	for (size_t i = 0; i < MICA_ARRAY_LEN(weak_rsa); i++)
		if (mica_slice_eq(oid, mica_slice(weak_rsa[i], sizeof(weak_rsa[i]))))
			return true;
	return mica_slice_eq(oid, mica_slice(weak_ecdsa, sizeof(weak_ecdsa))) ||
		mica_slice_eq(oid, mica_slice(weak_dsa, sizeof(weak_dsa))) ||
		mica_slice_eq(oid, mica_slice(weak_oiw_rsa, sizeof(weak_oiw_rsa)));
}

/* Says why an AlgorithmIdentifier is none of the table's. */
static mica_rc explain_alg(struct mica_slice der, struct mica_err *e)
{
	struct mica_der d = mica_der(der), in;
	struct mica_slice oid = MICA_SLICE_NULL;
	if (!mica_der_enter(&d, MICA_DER_SEQUENCE, &in) || !mica_der_end(&d) ||
		!mica_der_oid(&in, &oid))
		return mica_fail(e, MICA_INVALID, "signature_algorithm_malformed",
			"the signature algorithm is not an AlgorithmIdentifier");
	if (is_weak(oid))
		return mica_fail(e, MICA_INVALID, "signature_algorithm_weak",
			"signatures with MD5 or SHA-1 are refused; use SHA-256");
	bool known = mica_slice_eq(oid, mica_slice(oid_pss, sizeof(oid_pss)));
	for (int i = MICA_SIG_NONE + 1; i < MICA_SIG_COUNT; i++) {
		struct mica_der k = mica_der(infos[i].der), kin;
		struct mica_slice koid = MICA_SLICE_NULL;
		if (mica_der_enter(&k, MICA_DER_SEQUENCE, &kin) && mica_der_oid(&kin, &koid))
			known = known || mica_slice_eq(oid, koid);
	}
	if (known)
		return mica_fail(e, MICA_INVALID, "signature_algorithm_malformed",
			"the parameters of the signature algorithm are not the prescribed ones");
	return mica_fail(e, MICA_INVALID, "signature_algorithm_unknown",
		"the signature algorithm must be ECDSA, RSA or RSA-PSS with SHA-256, -384 or -512, or Ed25519");
}

mica_rc mica_sig_alg_read(struct mica_slice der, enum mica_sig_alg *out, struct mica_err *e)
{
	for (int i = MICA_SIG_NONE + 1; i < MICA_SIG_COUNT; i++) {
		if (mica_slice_eq(der, infos[i].der)) {
			*out = (enum mica_sig_alg)i;
			return MICA_OK;
		}
	}
	return explain_alg(der, e);
}

const EVP_MD *mica_sig_md(const struct mica_sig_info *i)
{
	return i->nid == NID_sha256    ? EVP_sha256()
		: i->nid == NID_sha384 ? EVP_sha384()
				       : EVP_sha512();
}

void mica_sig_digest(const struct mica_sig_info *i, struct mica_slice msg, uint8_t out[64])
{
	if (i->nid == NID_sha256)
		mica_ossl_sha256(msg, out);
	else if (i->nid == NID_sha384)
		SHA384(msg.p, msg.len, out);
	else
		SHA512(msg.p, msg.len, out);
}

bool mica_sig_fits(const struct mica_pubkey *k, enum mica_sig_alg alg, enum mica_sig_form form)
{
	switch (mica_sig_info(alg)->family) {
	case MICA_FAM_ECDSA:
		/* RFC 7518 3.4: ES256 is P-256's, ES384 is P-384's. X.509 has no such rule. */
		if (form == MICA_SIG_RAW)
			return (alg == MICA_SIG_ECDSA_SHA256 && k->type == MICA_KN_P256) ||
				(alg == MICA_SIG_ECDSA_SHA384 && k->type == MICA_KN_P384);
		return mica_key_is_ec(k->type);
	case MICA_FAM_RSA:
	case MICA_FAM_PSS: return mica_key_is_rsa(k->type);
	case MICA_FAM_ED25519: return k->type == MICA_KN_ED25519;
	case MICA_FAM_NONE: break;
	}
	return false;
}

/* ---- shared with signer.c ---------------------------------------------------------------- */

static EC_GROUP *groups[2];

static void make_groups(void)
{
	groups[0] = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
	groups[1] = EC_GROUP_new_by_curve_name(NID_secp384r1);
}

const EC_GROUP *mica_ossl_group(enum mica_key_name type)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, make_groups);
	return groups[type == MICA_KN_P384];
}

mica_rc mica_ossl_fail(struct mica_err *e, mica_rc rc, const char *reason, const char *what)
{
	char text[256] = "no reason given";
	unsigned long code = ERR_peek_last_error();
	if (code)
		ERR_error_string_n(code, text, sizeof(text));
	ERR_clear_error();
	return mica_fail_fine(e, rc, reason, what, reason, "OpenSSL: %s", text);
}
