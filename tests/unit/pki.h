/* SPDX-License-Identifier: Apache-2.0 */
/* A small PKI for tests: a root, an issuing authority, leaves; and OpenSSL as the other side. */
#ifndef TEST_PKI_H
#define TEST_PKI_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#define OPENSSL_SUPPRESS_DEPRECATED /* keys of forms that the new calls no longer make */
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "mica/cert.h"
#include "mica/csr.h"
#include "mica/der.h"
#include "mica/verify.h"

#define NOW ((int64_t)1795521600) /* 2026-11-24T12:00:00Z */
#define TD  "example.org"
#define ID  "spiffe://example.org/ns/payments/sa/checkout"

#define assert_ok(call)                                                                            \
	do {                                                                                       \
		struct mica_err e_ = MICA_ERR_INIT;                                                \
		struct mica_err *e = &e_;                                                          \
		if ((call) != MICA_OK)                                                             \
			fail_msg("%s: %s: %s [%s]", #call, e_.reason ? e_.reason : "?", e_.text,   \
				e_.detail);                                                        \
	} while (0)
#define assert_refused(code, why, call)                                                            \
	do {                                                                                       \
		struct mica_err e_ = MICA_ERR_INIT;                                                \
		struct mica_err *e = &e_;                                                          \
		mica_rc rc_ = (call);                                                              \
		if (rc_ == MICA_OK)                                                                \
			fail_msg("%s was accepted, expected %s", #call, why);                      \
		assert_string_equal(e_.reason, why);                                               \
		assert_int_equal(rc_, code);                                                       \
		assert_int_equal(e_.rc, code);                                                     \
		assert_true(e_.text[0] != '\0');                                                   \
	} while (0)

struct pki {
	struct mica_signer *root_key, *issuing_key;
	struct mica_buf root_der, issuing_der;
	struct mica_cert_issuer *root, *issuing;
	struct mica_pubkey leaf_key;
	struct mica_signer *leaf_signer;
};

static inline void pki_serial(uint8_t serial[MICA_SERIAL_LEN], uint8_t n)
{
	static const uint8_t time[6] = {0x01, 0xa2, 0x0d, 0x61, 0x20, 0x00};
	memset(serial, n, MICA_SERIAL_LEN);
	memcpy(serial, time, sizeof(time));
}

static inline void pki_init(struct pki *p, enum mica_key_name type)
{
	struct mica_ca_spec s = {.kind = MICA_CA_ROOT, .trust_domain = TD};
	s.not_before = NOW - 86400;
	s.not_after = NOW + 365 * 86400;
	pki_serial(s.serial, 1);
	mica_buf_init(&p->root_der, MICA_CERT_MAX);
	mica_buf_init(&p->issuing_der, MICA_CERT_MAX);
	assert_ok(mica_signer_generate(type, &p->root_key, e));
	assert_ok(mica_signer_generate(type, &p->issuing_key, e));
	assert_ok(mica_signer_generate(MICA_KN_P256, &p->leaf_signer, e));
	p->leaf_key = *mica_signer_public(p->leaf_signer);
	assert_ok(mica_root_sign(p->root_key, &s, &p->root_der, e));
	assert_ok(mica_cert_issuer_new(mica_buf_slice(&p->root_der), p->root_key, &p->root, e));
	s.kind = MICA_CA_ISSUING;
	s.key = mica_signer_public(p->issuing_key);
	s.not_after = NOW + 7 * 86400;
	pki_serial(s.serial, 2);
	assert_ok(mica_issuing_sign(p->root, &s, &p->issuing_der, e));
	assert_ok(mica_cert_issuer_new(
		mica_buf_slice(&p->issuing_der), p->issuing_key, &p->issuing, e));
}

static inline void pki_clear(struct pki *p)
{
	mica_cert_issuer_free(p->issuing);
	mica_cert_issuer_free(p->root);
	mica_signer_free(p->root_key);
	mica_signer_free(p->issuing_key);
	mica_signer_free(p->leaf_signer);
	mica_buf_clear(&p->root_der);
	mica_buf_clear(&p->issuing_der);
}

/* An ordinary leaf's decision; the test changes what it is about. */
static inline struct mica_leaf_spec pki_spec(const struct pki *p)
{
	struct mica_leaf_spec s = {.not_before = NOW - 60,
		.not_after = NOW + 3600,
		.trust_domain = TD,
		.uri = ID,
		.key = &p->leaf_key};
	pki_serial(s.serial, 3);
	return s;
}

static inline X509 *pki_x509(struct mica_slice der)
{
	const uint8_t *at = der.p;
	X509 *x = d2i_X509(NULL, &at, (long)der.len);
	assert_non_null(x);
	assert_ptr_equal(at, der.p + der.len);
	return x;
}

/* OpenSSL's verdict on a path: X509_V_OK or the reason. */
static inline int pki_openssl_verify(const struct mica_slice *chain, size_t n,
	const struct mica_slice *roots, size_t n_roots, int64_t now)
{
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	STACK_OF(X509) *more = sk_X509_new_null();
	X509 *leaf = NULL;
	int err = X509_V_ERR_UNSPECIFIED;
	bool parsed = true;
	for (size_t i = 0; i < n_roots; i++) {
		X509 *x = pki_x509(roots[i]);
		X509_STORE_add_cert(store, x);
		X509_free(x);
	}
	for (size_t i = 0; i < n; i++) {
		const uint8_t *at = chain[i].p;
		X509 *x = d2i_X509(NULL, &at, (long)chain[i].len);
		if (!x || at != chain[i].p + chain[i].len)
			parsed = false;
		if (i == 0)
			leaf = x;
		else if (x)
			sk_X509_push(more, x);
	}
	if (parsed && leaf && X509_STORE_CTX_init(ctx, store, leaf, more)) {
		X509_VERIFY_PARAM *p = X509_STORE_CTX_get0_param(ctx);
		X509_VERIFY_PARAM_set_time(p, (time_t)now);
		X509_VERIFY_PARAM_set_purpose(p, X509_PURPOSE_SSL_CLIENT);
		err = X509_verify_cert(ctx) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(ctx);
	}
	ERR_clear_error();
	X509_free(leaf);
	sk_X509_pop_free(more, X509_free);
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	return err;
}

#endif
