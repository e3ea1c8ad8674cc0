/* SPDX-License-Identifier: Apache-2.0 */
/* Private keys in the forms that others write them in; what comes out is PKCS #8, read strictly. */
#include "ca_files.h"

#include "mica/pem.h"

#include "ossl.h"

#include <openssl/asn1t.h>
#include <openssl/evp.h>
#include <openssl/pkcs12.h>
#include <openssl/x509.h>

#define KEY_MAX (16 * 1024)
/* What deriving a key may take: openssl's own default is 2048, and a second is a million and more.
 */
#define ROUNDS_MAX 5000000

static mica_rc bad_form(struct mica_err *e, const char *what)
{
	return mica_fail(e, MICA_INVALID, "plugged_key_form",
		"private key: %s; expected PEM of PKCS #8, plain or encrypted, SEC 1 or PKCS #1",
		what);
}

static inline void auto_pkey_(EVP_PKEY **p)
{
	EVP_PKEY_free(*p);
}
static inline void auto_p8_(PKCS8_PRIV_KEY_INFO **p)
{
	PKCS8_PRIV_KEY_INFO_free(*p);
}
static inline void auto_sig_(X509_SIG **p)
{
	X509_SIG_free(*p);
}
#define AUTO_PKEY __attribute__((cleanup(auto_pkey_))) EVP_PKEY *
#define AUTO_P8   __attribute__((cleanup(auto_p8_))) PKCS8_PRIV_KEY_INFO *
#define AUTO_SIG  __attribute__((cleanup(auto_sig_))) X509_SIG *

/* The strict reader has the last word. */
static mica_rc from_info(
	const PKCS8_PRIV_KEY_INFO *info, struct mica_signer **out, struct mica_err *e)
{
	uint8_t *der = NULL;
	int len = i2d_PKCS8_PRIV_KEY_INFO(info, &der);
	mica_rc rc;

	if (len <= 0)
		return mica_ossl_fail(e, MICA_INVALID, "plugged_key_form",
			"private key: it cannot be written as PKCS #8");
	rc = mica_signer_from_pkcs8(mica_slice(der, (size_t)len), out, e);
	OPENSSL_clear_free(der, (size_t)len);
	return rc;
}

/* SEC 1 and PKCS #1 name their curve, or nothing, in their own way. */
static mica_rc from_old(
	int type, struct mica_slice der, struct mica_signer **out, struct mica_err *e)
{
	const uint8_t *at = der.p;
	AUTO_PKEY key = d2i_PrivateKey(type, NULL, &at, (long)der.len);
	AUTO_P8 info = key && at == der.p + der.len ? EVP_PKEY2PKCS8(key) : NULL;

	if (!info) {
		ERR_clear_error();
		return bad_form(e, "not taken by OpenSSL");
	}
	return from_info(info, out, e);
}

static mica_rc from_ec(struct mica_slice der, const struct mica_secret *passphrase,
	struct mica_signer **out, struct mica_err *e)
{
	(void)passphrase;
	return from_old(EVP_PKEY_EC, der, out, e);
}

static mica_rc from_rsa(struct mica_slice der, const struct mica_secret *passphrase,
	struct mica_signer **out, struct mica_err *e)
{
	(void)passphrase;
	return from_old(EVP_PKEY_RSA, der, out, e);
}

static mica_rc from_plain(struct mica_slice der, const struct mica_secret *passphrase,
	struct mica_signer **out, struct mica_err *e)
{
	(void)passphrase;
	return mica_signer_from_pkcs8(der, out, e);
}

/* PBES2 with PBKDF2 (RFC 8018 6.2): its rounds are the writer's choice, and our time. scrypt is
 * bounded by OpenSSL, PBES1 is not taken. */
static bool rounds_ok(const X509_SIG *sig)
{
	const X509_ALGOR *alg;
	PBE2PARAM *p;
	PBKDF2PARAM *k = NULL;
	int64_t rounds = 0;
	bool ok;

	X509_SIG_get0(sig, &alg, NULL);
	if (OBJ_obj2nid(alg->algorithm) != NID_pbes2 || !alg->parameter)
		return false;
	p = ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(PBE2PARAM), alg->parameter);
	if (!p)
		return false;
	ok = OBJ_obj2nid(p->keyfunc->algorithm) != NID_id_pbkdf2;
	if (!ok && p->keyfunc->parameter)
		k = ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(PBKDF2PARAM), p->keyfunc->parameter);
	if (k)
		ok = ASN1_INTEGER_get_int64(&rounds, k->iter) == 1 && rounds > 0 &&
			rounds <= ROUNDS_MAX;
	PBKDF2PARAM_free(k);
	PBE2PARAM_free(p);
	return ok;
}

static mica_rc from_encrypted(struct mica_slice der, const struct mica_secret *passphrase,
	struct mica_signer **out, struct mica_err *e)
{
	struct mica_slice pass = passphrase ? mica_secret_view(passphrase) : MICA_SLICE_NULL;
	const uint8_t *at = der.p;
	AUTO_SIG sig = d2i_X509_SIG(NULL, &at, (long)der.len);
	AUTO_P8 info = NULL;

	if (!sig || at != der.p + der.len || !rounds_ok(sig)) {
		ERR_clear_error();
		return bad_form(e,
			"encrypted in a way that is not taken (PBES2, at most 5 million rounds)");
	}
	info = PKCS8_decrypt(sig, (const char *)pass.p, (int)pass.len);
	if (!info) {
		ERR_clear_error();
		return mica_fail(e, MICA_INVALID, "plugged_passphrase",
			"private key: it does not open with the passphrase of "
			"plugged.passphrase_file");
	}
	return from_info(info, out, e);
}

static const struct form {
	const char *label;
	bool encrypted;
	mica_rc (*read)(struct mica_slice der, const struct mica_secret *passphrase,
		struct mica_signer **out, struct mica_err *e);
} forms[] = {{"PRIVATE KEY", false, from_plain}, {"ENCRYPTED PRIVATE KEY", true, from_encrypted},
	{"EC PRIVATE KEY", false, from_ec}, {"RSA PRIVATE KEY", false, from_rsa}};

/* The next block of one of these labels, or not at all. */
static const struct form *next_form(struct mica_slice *in, struct mica_buf *der)
{
	for (size_t i = 0; i < MICA_ARRAY_LEN(forms); i++) {
		struct mica_slice at = *in;

		mica_buf_reset(der);
		if (mica_pem_next(&at, forms[i].label, NULL, der, NULL) != MICA_OK)
			continue;
		*in = at;
		return &forms[i];
	}
	return NULL;
}

static bool is_blank(struct mica_slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.p[i] != '\n' && s.p[i] != '\r')
			return false;
	return true;
}

mica_rc mica_ca_key_read(struct mica_slice pem, const struct mica_secret *passphrase,
	struct mica_signer **out, struct mica_err *e)
{
	struct mica_slice after = pem;
	const struct form *f;
	MICA_AUTO_BUF der, params;

	mica_buf_init_secret(&der, KEY_MAX);
	mica_buf_init(&params, KEY_MAX);
	if (pem.len > KEY_MAX)
		return bad_form(e, "larger than any");
	/* `openssl ecparam -genkey` writes the curve in front, which the key names again */
	if (mica_pem_next(&after, "EC PARAMETERS", NULL, &params, NULL) == MICA_OK)
		pem = after;
	f = next_form(&pem, &der);
	if (!f)
		return bad_form(e, "not one");
	if (!is_blank(pem))
		return bad_form(e, "something stands behind it");
	if (f->encrypted != (passphrase != NULL))
		return mica_fail(e, MICA_INVALID, "plugged_passphrase",
			f->encrypted ? "private key: it is encrypted, and plugged.passphrase_file "
				       "is not set"
				     : "private key: it is not encrypted, though "
				       "plugged.passphrase_file is set");
	return f->read(mica_buf_slice(&der), passphrase, out, e);
}
