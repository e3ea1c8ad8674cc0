/* SPDX-License-Identifier: Apache-2.0 */
/* Authorities as others make them: by OpenSSL, with whatever is wrong with them. */
#ifndef TEST_OTHERCA_H
#define TEST_OTHERCA_H

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>

#include "mica/mem.h"

struct oca {
	EVP_PKEY *key;
	X509 *cert;
};

/* What is NULL or 0 is as an ordinary root, or issuing authority, has it; "" leaves it out. */
struct oca_spec {
	const char *cn, *basic, *usage, *san, *eku, *constraints, *ski, *aki;
	int64_t begin, end;
	const struct oca *by; /* NULL = itself */
	const struct oca *sign; /* whose key signs; NULL = by */
	EVP_PKEY *key; /* NULL = a new one on P-256; one reference is taken */
	X509_REQ *req; /* whose key and subject are used */
};

#define OCA_BEGIN (NOW - 3600)
#define OCA_END   (NOW + (int64_t)400 * 86400)

static inline EVP_PKEY *oca_key(void)
{
	EVP_PKEY *k = EVP_EC_gen("P-256");

	assert_non_null(k);
	return k;
}

static inline void oca_extension(
	X509 *x, X509 *by, int nid, const char *value, const char *fallback)
{
	X509V3_CTX ctx;
	X509_EXTENSION *ext;

	if (!value)
		value = fallback;
	if (!value || !*value)
		return;
	X509V3_set_ctx(&ctx, by, x, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	assert_non_null(ext);
	assert_int_equal(X509_add_ext(x, ext, -1), 1);
	X509_EXTENSION_free(ext);
}

static inline void oca_names(X509 *x, const struct oca_spec *s)
{
	const char *cn = s->cn ? s->cn : s->by ? "issuing" : "root";
	X509_NAME *n = X509_NAME_new();

	if (*cn)
		assert_int_equal(X509_NAME_add_entry_by_txt(n, "CN", MBSTRING_ASC,
					 (const unsigned char *)cn, -1, -1, 0),
			1);
	X509_set_subject_name(x, s->req ? X509_REQ_get_subject_name(s->req) : n);
	X509_set_issuer_name(
		x, s->by ? X509_get_subject_name(s->by->cert) : X509_get_subject_name(x));
	X509_NAME_free(n);
}

static inline struct oca oca_make(const struct oca_spec *s)
{
	static long serial;
	struct oca c = {.key = s->req ? X509_REQ_get_pubkey(s->req)
			: s->key      ? s->key
				      : oca_key(),
		.cert = X509_new()};
	const struct oca *sign = s->sign ? s->sign : s->by ? s->by : &c;
	X509 *by = s->by ? s->by->cert : c.cert;

	X509_set_version(c.cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(c.cert), 1000 + ++serial);
	ASN1_TIME_set(X509_getm_notBefore(c.cert), (time_t)(s->begin ? s->begin : OCA_BEGIN));
	ASN1_TIME_set(X509_getm_notAfter(c.cert), (time_t)(s->end ? s->end : OCA_END));
	oca_names(c.cert, s);
	X509_set_pubkey(c.cert, c.key);
	oca_extension(c.cert, by, NID_basic_constraints, s->basic,
		s->by ? "critical,CA:TRUE,pathlen:0" : "critical,CA:TRUE");
	oca_extension(c.cert, by, NID_key_usage, s->usage, "critical,keyCertSign,cRLSign");
	oca_extension(c.cert, by, NID_ext_key_usage, s->eku, NULL);
	oca_extension(c.cert, by, NID_name_constraints, s->constraints, NULL);
	oca_extension(c.cert, by, NID_subject_key_identifier, s->ski, "hash");
	oca_extension(c.cert, by, NID_authority_key_identifier, s->aki, "keyid");
	oca_extension(c.cert, by, NID_subject_alt_name, s->san, "URI:spiffe://" TD);
	assert_true(X509_sign(c.cert, sign->key, EVP_sha256()) > 0);
	return c;
}

static inline void oca_free(struct oca *c)
{
	EVP_PKEY_free(c->key);
	X509_free(c->cert);
	c->key = NULL;
	c->cert = NULL;
}

/* PEM, kept by the test's bin (tokens.h). */
static inline char *oca_bio(BIO *b)
{
	char *p = NULL;
	long len = BIO_get_mem_data(b, &p);
	char *s = tk_keep(mica_strndup(p, (size_t)len));

	BIO_free(b);
	return s;
}

static inline char *oca_pem(const struct oca *c)
{
	BIO *b = BIO_new(BIO_s_mem());

	assert_int_equal(PEM_write_bio_X509(b, c->cert), 1);
	return oca_bio(b);
}

/* PKCS #8; with a passphrase encrypted. */
static inline char *oca_key_pem(EVP_PKEY *key, const char *passphrase)
{
	BIO *b = BIO_new(BIO_s_mem());

	assert_int_equal(
		PEM_write_bio_PKCS8PrivateKey(b, key, passphrase ? EVP_aes_256_cbc() : NULL,
			passphrase, passphrase ? (int)strlen(passphrase) : 0, NULL, NULL),
		1);
	return oca_bio(b);
}

#endif
