/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tokens for tests, made by OpenSSL alone: any header, any payload, any key. `tk_why` gives the
 * outcome of one as the fine reason, "ok" when it is accepted.
 */
#ifndef TEST_TOKENS_H
#define TEST_TOKENS_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <setjmp.h>
#include <cmocka.h>

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rsa.h>

#include "mica/buf.h"
#include "mica/token.h"

#define NOW      ((int64_t)1795521600) /* 2026-11-24T12:00:00Z */
#define ISS      "https://kubernetes.default.svc.cluster.local"
#define ISS_B    "https://b.example"
#define ISS_OIDC "https://gitlab.example"
#define SA_UID   "11111111-2222-4333-8444-555555555555"
#define POD_UID  "66666666-7777-4888-8999-aaaaaaaaaaaa"
#define NODE_UID "bbbbbbbb-cccc-4ddd-8eee-ffffffffffff"
#define JTI      "0f0e0d0c-0b0a-4908-8706-050403020100"
#define K8S                                                                                        \
	"{\"namespace\":\"payments\",\"node\":{\"name\":\"node-1\",\"uid\":\"" NODE_UID            \
	"\"},\"pod\":{\"name\":\"checkout-1\",\"uid\":\"" POD_UID                                  \
	"\"},\"serviceaccount\":{\"name\":\"checkout\",\"uid\":\"" SA_UID "\"}}"
#define SUB    "\"system:serviceaccount:payments:checkout\""
#define HEADER "{\"alg\":\"RS256\",\"kid\":\"a1\"}"
#define ID     "spiffe://example.org/ns/payments/sa/checkout"

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

/* ---- a bin: everything that a test makes, freed at its end ---------------------------------- */

#define TK_BIN 4096
static char *tk_bin[TK_BIN];
static unsigned tk_binned;

static inline char *tk_keep(char *s)
{
	assert_true(tk_binned < TK_BIN);
	return tk_bin[tk_binned++] = s;
}

static inline int tk_empty_bin(void **state)
{
	(void)state;
	while (tk_binned)
		mica_free(tk_bin[--tk_binned]);
	return 0;
}

MICA_PRINTF(1, 2)
static inline char *tk_printf(const char *fmt, ...)
{
	char *s = mica_alloc(65536);
	va_list ap;
	va_start(ap, fmt);
	assert_in_range(vsnprintf(s, 65536, fmt, ap), 0, 65535);
	va_end(ap);
	return tk_keep(s);
}

static inline char *tk_b64(const void *p, size_t len)
{
	char *s = tk_keep(mica_alloc(MICA_B64URL_SIZE(len)));
	mica_b64url_encode(p, len, s);
	return s;
}

/* ---- keys ------------------------------------------------------------------------------- */

static inline EVP_PKEY *tk_rsa(unsigned bits)
{
	EVP_PKEY *k = EVP_RSA_gen(bits);
	assert_non_null(k);
	return k;
}

static inline EVP_PKEY *tk_ec(const char *curve)
{
	EVP_PKEY *k = EVP_EC_gen(curve);
	assert_non_null(k);
	return k;
}

static inline char *tk_number(EVP_PKEY *k, const char *name, int width)
{
	BIGNUM *n = NULL;
	uint8_t b[1024];
	assert_int_equal(EVP_PKEY_get_bn_param(k, name, &n), 1);
	int len = width ? width : BN_num_bytes(n);
	assert_int_equal(BN_bn2binpad(n, b, len), len);
	BN_free(n);
	return tk_b64(b, (size_t)len);
}

/* A JWK; `more` begins with a comma when there is more. */
static inline char *tk_jwk(EVP_PKEY *k, const char *kid, const char *more)
{
	if (EVP_PKEY_get_base_id(k) == EVP_PKEY_RSA)
		return tk_printf("{\"kty\":\"RSA\",\"kid\":\"%s\",\"n\":\"%s\",\"e\":\"%s\"%s}",
			kid, tk_number(k, OSSL_PKEY_PARAM_RSA_N, 0),
			tk_number(k, OSSL_PKEY_PARAM_RSA_E, 0), more);
	int bits = EVP_PKEY_get_bits(k), width = (bits + 7) / 8;
	return tk_printf(
		"{\"kty\":\"EC\",\"kid\":\"%s\",\"crv\":\"P-%d\",\"x\":\"%s\",\"y\":\"%s\"%s}", kid,
		bits, tk_number(k, OSSL_PKEY_PARAM_EC_PUB_X, width),
		tk_number(k, OSSL_PKEY_PARAM_EC_PUB_Y, width), more);
}

static inline const struct mica_jwks *tk_jwks(const char *keys, const struct mica_jwks_options *o)
{
	const struct mica_jwks *s = NULL;
	assert_ok(mica_jwks_parse(mica_slice_str(tk_printf("{\"keys\":[%s]}", keys)), o, &s, e));
	return s;
}

/* ---- signing ---------------------------------------------------------------------------- */

enum tk_form { TK_RS, TK_PS, TK_ES_RAW, TK_ES_DER };

static inline size_t tk_raw(EVP_PKEY *k, const uint8_t *der, size_t len, uint8_t *out)
{
	int field = (EVP_PKEY_get_bits(k) + 7) / 8;
	ECDSA_SIG *s = d2i_ECDSA_SIG(NULL, &der, (long)len);
	assert_non_null(s);
	BN_bn2binpad(ECDSA_SIG_get0_r(s), out, field);
	BN_bn2binpad(ECDSA_SIG_get0_s(s), out + field, field);
	ECDSA_SIG_free(s);
	return 2 * (size_t)field;
}

static inline size_t tk_sign(
	EVP_PKEY *k, enum tk_form form, const EVP_MD *md, const char *text, uint8_t sig[1024])
{
	EVP_MD_CTX *c = EVP_MD_CTX_new();
	EVP_PKEY_CTX *pc = NULL;
	uint8_t der[1024];
	size_t len = sizeof(der);
	assert_int_equal(EVP_DigestSignInit(c, &pc, md, NULL, k), 1);
	if (form == TK_PS) {
		EVP_PKEY_CTX_set_rsa_padding(pc, RSA_PKCS1_PSS_PADDING);
		EVP_PKEY_CTX_set_rsa_pss_saltlen(pc, RSA_PSS_SALTLEN_DIGEST);
	}
	assert_int_equal(EVP_DigestSign(c, der, &len, (const uint8_t *)text, strlen(text)), 1);
	EVP_MD_CTX_free(c);
	if (form == TK_ES_RAW)
		return tk_raw(k, der, len, sig);
	memcpy(sig, der, len);
	return len;
}

static inline char *tk_signed_part(const char *header, const char *payload)
{
	return tk_printf("%s.%s", tk_b64(header, strlen(header)), tk_b64(payload, strlen(payload)));
}

static inline char *tk_with_sig(const char *part, const void *sig, size_t len)
{
	return tk_printf("%s.%s", part, tk_b64(sig, len));
}

static inline char *tk_make_as(
	EVP_PKEY *k, enum tk_form form, const EVP_MD *md, const char *header, const char *payload)
{
	uint8_t sig[1024];
	char *part = tk_signed_part(header, payload);
	return tk_with_sig(part, sig, tk_sign(k, form, md, part, sig));
}

static inline char *tk_make(EVP_PKEY *k, const char *header, const char *payload)
{
	return tk_make_as(k, EVP_PKEY_get_base_id(k) == EVP_PKEY_RSA ? TK_RS : TK_ES_RAW,
		EVP_sha256(), header, payload);
}

/* ---- claims: members as raw JSON, one after another overridden (NULL takes it away) ---------- */

struct tk_claim {
	const char *name, *raw;
};

static inline char *tk_claims_of(
	const struct tk_claim *base, size_t n, const struct tk_claim *over, size_t n_over)
{
	char *s = tk_printf("{"), *next = s;
	for (size_t i = 0; i < n + n_over; i++) {
		struct tk_claim c = i < n ? base[i] : over[i - n];
		bool later = false;
		for (size_t k = 0; k < n_over; k++)
			later = later || (i < n && !strcmp(over[k].name, c.name));
		if (!later && c.raw) {
			next = tk_printf("%s%s\"%s\":%s", s, s[1] ? "," : "", c.name, c.raw);
			s = next;
		}
	}
	return tk_printf("%s}", s);
}

static inline char *tk_kubernetes(const struct tk_claim *over, size_t n)
{
	const struct tk_claim base[] = {{"aud", "[\"mica\"]"},
		{"exp", tk_printf("%lld", (long long)NOW + 3000)},
		{"iat", tk_printf("%lld", (long long)NOW - 600)}, {"iss", "\"" ISS "\""},
		{"jti", "\"" JTI "\""}, {"kubernetes.io", K8S},
		{"nbf", tk_printf("%lld", (long long)NOW - 600)}, {"sub", SUB}};
	return tk_claims_of(base, MICA_ARRAY_LEN(base), over, n);
}

static inline char *tk_oidc(const struct tk_claim *over, size_t n)
{
	const struct tk_claim base[] = {{"aud", "\"mica\""},
		{"exp", tk_printf("%lld", (long long)NOW + 300)},
		{"iat", tk_printf("%lld", (long long)NOW)}, {"iss", "\"" ISS_OIDC "\""},
		{"jti", "\"j-1\""}, {"sub", "\"project_path:acme/shop:ref:main\""},
		{"project_path", "\"acme/shop\""}, {"ref", "\"main\""}, {"ref_protected", "true"},
		{"project_id", "42"}};
	return tk_claims_of(base, MICA_ARRAY_LEN(base), over, n);
}

/* ---- issuers ------------------------------------------------------------------------------ */

static inline struct mica_string_list tk_list(const char *a, const char *b)
{
	static char *rooms[256][2];
	static unsigned used;
	char **v = rooms[used++ % 256];
	v[0] = (char *)(uintptr_t)a;
	v[1] = (char *)(uintptr_t)b;
	return (struct mica_string_list){.v = v, .n = (a != NULL) + (b != NULL)};
}

static inline struct mica_issuer_config tk_config(
	const char *name, const char *url, const char *path)
{
	struct mica_issuer_config c = {.name = (char *)(uintptr_t)name,
		.kind = MICA_ISSUER_KUBERNETES,
		.issuer = (char *)(uintptr_t)url,
		.cluster = (char *)(uintptr_t)name,
		.skew = 30,
		.require_pod = true,
		.spiffe_path = (char *)(uintptr_t)path};
	static const int64_t life[] = {3700, 43200, 86400, 3700};
	c.keys.max_stale = 86400;
	memcpy(c.max_token_life, life, sizeof(life));
	c.audiences[MICA_FRONT_REST] = tk_list("mica", NULL);
	c.audiences[MICA_FRONT_ISTIO] = tk_list("istio-ca", NULL);
	c.audiences[MICA_FRONT_LINKERD] = tk_list("identity.l5d.io", NULL);
	return c;
}

static inline struct mica_issuer_config tk_oidc_config(void)
{
	static struct mica_claim_map map[] = {
		{(char *)(uintptr_t) "project", (char *)(uintptr_t) "project_path"},
		{(char *)(uintptr_t) "ref", (char *)(uintptr_t) "ref"}};
	static struct mica_claim_require require[] = {
		{(char *)(uintptr_t) "project_path", (char *)(uintptr_t) "acme/[a-z0-9_-]+"},
		{(char *)(uintptr_t) "ref_protected", (char *)(uintptr_t) "true"},
		{(char *)(uintptr_t) "project_id", (char *)(uintptr_t) "[0-9]+"}};
	struct mica_issuer_config c =
		tk_config("gitlab", ISS_OIDC, "/gitlab/{project|escape}/ref/{ref}");
	c.kind = MICA_ISSUER_OIDC;
	c.cluster = NULL;
	c.claims = map;
	c.n_claims = 2;
	c.require = require;
	c.n_require = 3;
	return c;
}

static inline struct mica_issuers *tk_issuers(const struct mica_issuer_config *c, unsigned n)
{
	struct mica_issuers *s = NULL;
	assert_ok(mica_issuers_new("example.org", c, n, &s, NULL, e));
	return s;
}

#endif
