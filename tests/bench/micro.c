/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the microseconds of one certificate go: the raw operations of OpenSSL and ours around them,
 * on one thread, in CPU time; the best of several rounds. One JSON object. `micro raw` stops after
 * the raw ones, which is what `make bench` asks between its rounds.
 */
#define OPENSSL_SUPPRESS_DEPRECATED /* the floor is measured by the cheapest calls there are */
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/obj_mac.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "mica/cert.h"
#include "mica/clock.h"
#include "mica/csr.h"
#include "mica/jwt.h"
#include "mica/verify.h"

#include <stdio.h>

#define ROUNDS 7

static double best_of(void (*fn)(void *), void *ctx, int n)
{
	double best = 1e12;
	for (int r = 0; r < ROUNDS; r++) {
		int64_t t = mica_thread_cpu_ns();
		for (int i = 0; i < n; i++)
			fn(ctx);
		double us = (double)(mica_thread_cpu_ns() - t) / 1e3 / n;
		best = us < best ? us : best;
	}
	return best;
}

struct raw {
	EC_KEY *ec;
	ECDSA_SIG *sig;
	RSA *rsa;
	uint8_t hash[32], rsa_sig[256];
	unsigned rsa_len;
};

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "micro: %s failed\n", what);
	exit(1);
}

static void raw_verify(void *p)
{
	struct raw *r = p;
	must(ECDSA_do_verify(r->hash, 32, r->sig, r->ec) == 1, "verify");
}

static void raw_sign(void *p)
{
	struct raw *r = p;
	ECDSA_SIG_free(ECDSA_do_sign(r->hash, 32, r->ec));
}

static void raw_rsa_verify(void *p)
{
	struct raw *r = p;
	must(RSA_verify(NID_sha256, r->hash, 32, r->rsa_sig, r->rsa_len, r->rsa) == 1, "rsa");
}

static void raw_init(struct raw *r)
{
	BIGNUM *e = BN_new();
	memset(r->hash, 7, sizeof(r->hash));
	r->ec = EC_KEY_new_by_curve_name(NID_X9_62_prime256v1);
	EC_KEY_generate_key(r->ec);
	r->sig = ECDSA_do_sign(r->hash, 32, r->ec);
	r->rsa = RSA_new();
	BN_set_word(e, RSA_F4);
	RSA_generate_key_ex(r->rsa, 2048, e, NULL);
	RSA_sign(NID_sha256, r->hash, 32, r->rsa_sig, &r->rsa_len, r->rsa);
	BN_free(e);
}

struct ours {
	struct mica_signer *root_key, *issuing_key;
	struct mica_cert_issuer *root, *issuing;
	struct mica_buf root_der, issuing_der, leaf, token;
	struct mica_slice csr_der, csr_pem;
	struct mica_pubkey key;
	struct mica_trust *trust;
	struct mica_verifier *rs256;
	struct raw *raw;
	int64_t now;
};

static const struct mica_key_policy any_key = {.types = 0x3f};

static void our_csr_der(void *p)
{
	struct ours *o = p;
	must(!mica_csr_read(o->csr_der, &any_key, &o->key, NULL), "csr");
}

static void our_csr_pem(void *p)
{
	struct ours *o = p;
	must(!mica_csr_read(o->csr_pem, &any_key, &o->key, NULL), "csr");
}

static void our_leaf(void *p)
{
	struct ours *o = p;
	struct mica_leaf_spec s = {.not_before = o->now - 60,
		.not_after = o->now + 3600,
		.trust_domain = "example.org",
		.uri = "spiffe://example.org/ns/payments/sa/checkout",
		.key = &o->key};
	mica_serial_make(o->now * 1000, s.serial);
	mica_buf_reset(&o->leaf);
	must(!mica_leaf_sign(o->issuing, &s, &o->leaf, NULL), "leaf");
}

static void our_verify(void *p)
{
	struct ours *o = p;
	struct mica_svid svid;
	struct mica_slice chain[] = {mica_buf_slice(&o->leaf), mica_buf_slice(&o->issuing_der)};
	must(!mica_verify_svid(o->trust, chain, 2, o->now, 0, &svid, NULL), "chain");
}

static void our_jwt(void *p)
{
	struct ours *o = p;
	char jti[MICA_JTI_SIZE];
	struct mica_slice aud = MICA_LIT("mica");
	mica_jti_make(jti);
	struct mica_jwt_spec s = {.sub = "spiffe://example.org/ns/payments/sa/checkout",
		.aud = &aud,
		.n_aud = 1,
		.iat = o->now,
		.exp = o->now + 300,
		.jti = jti};
	mica_buf_reset(&o->token);
	must(!mica_jwt_sign(o->issuing_key, "kid", &s, &o->token, NULL), "jwt");
}

static void our_rs256(void *p)
{
	struct ours *o = p;
	static const uint8_t msg[700];
	struct mica_err e = MICA_ERR_INIT;
	mica_rc rc = mica_verifier_verify(o->rs256, MICA_SIG_RSA_SHA256, MICA_SIG_RAW,
		mica_slice(msg, sizeof(msg)), mica_slice(o->raw->rsa_sig, o->raw->rsa_len), &e);
	must(!rc, "rs256");
}

static void make_csr(struct ours *o)
{
	static uint8_t der[2048], pem[4096];
	EVP_PKEY *k = EVP_EC_gen("P-256");
	X509_REQ *r = X509_REQ_new();
	uint8_t *at = der;
	X509_REQ_set_pubkey(r, k);
	X509_REQ_sign(r, k, EVP_sha256());
	size_t len = (size_t)i2d_X509_REQ(r, &at);
	MICA_AUTO_BUF b;
	mica_buf_init(&b, sizeof(pem));
	o->csr_der = mica_slice(der, len);
	mica_buf_printf(&b, "-----BEGIN CERTIFICATE REQUEST-----\n");
	for (size_t i = 0; i < len; i += 48) {
		mica_buf_put_b64(&b, der + i, len - i < 48 ? len - i : 48);
		mica_buf_put_str(&b, "\n");
	}
	mica_buf_put_str(&b, "-----END CERTIFICATE REQUEST-----\n");
	memcpy(pem, b.p, b.len);
	o->csr_pem = mica_slice(pem, b.len);
	X509_REQ_free(r);
	EVP_PKEY_free(k);
}

static void ours_init(struct ours *o)
{
	struct mica_ca_spec s = {.kind = MICA_CA_ROOT, .trust_domain = "example.org"};
	o->now = mica_now();
	s.not_before = o->now - 3600;
	s.not_after = o->now + 86400;
	mica_buf_init(&o->root_der, MICA_CERT_MAX);
	mica_buf_init(&o->issuing_der, MICA_CERT_MAX);
	mica_buf_init(&o->leaf, MICA_CERT_MAX);
	mica_buf_init(&o->token, MICA_CERT_MAX);
	must(!mica_signer_generate(MICA_KN_P256, &o->root_key, NULL), "key");
	must(!mica_signer_generate(MICA_KN_P256, &o->issuing_key, NULL), "key");
	mica_serial_make(o->now * 1000, s.serial);
	must(!mica_root_sign(o->root_key, &s, &o->root_der, NULL), "root");
	must(!mica_cert_issuer_new(mica_buf_slice(&o->root_der), o->root_key, &o->root, NULL),
		"root");
	s.kind = MICA_CA_ISSUING;
	s.key = mica_signer_public(o->issuing_key);
	must(!mica_issuing_sign(o->root, &s, &o->issuing_der, NULL), "issuing");
	must(!mica_cert_issuer_new(
		     mica_buf_slice(&o->issuing_der), o->issuing_key, &o->issuing, NULL),
		"issuing");
	struct mica_slice root = mica_buf_slice(&o->root_der);
	must(!mica_trust_new("example.org", &root, 1, &o->trust, NULL), "trust");
	make_csr(o);
}

/* Our RS256 check against a signature over 700 octets, as long as a token's signing input. */
static void rs256_init(struct ours *o)
{
	static const uint8_t msg[700];
	uint8_t n[512];
	struct mica_pubkey k;
	const BIGNUM *bn;
	SHA256(msg, sizeof(msg), o->raw->hash);
	RSA_sign(NID_sha256, o->raw->hash, 32, o->raw->rsa_sig, &o->raw->rsa_len, o->raw->rsa);
	RSA_get0_key(o->raw->rsa, &bn, NULL, NULL);
	size_t len = (size_t)BN_bn2bin(bn, n);
	must(!mica_pubkey_from_rsa(mica_slice(n, len), mica_slice("\x01\x00\x01", 3), &k, NULL),
		"rsa key");
	must(!mica_verifier_new(&k, &o->rs256, NULL), "rsa key");
}

static int print_raw(double v, double s, double r)
{
	printf("{\"raw_p256_verify_us\": %.2f, \"raw_p256_sign_us\": %.2f, "
	       "\"raw_rs256_verify_us\": %.2f, \"floor_us\": %.2f}\n",
		v, s, r, v + s + r);
	return 0;
}

int main(int argc, char **argv)
{
	struct raw raw = {.ec = NULL};
	struct ours o = {.raw = &raw};
	bool locked = mica_keys_secure_memory();
	raw_init(&raw);
	double v = best_of(raw_verify, &raw, 500), s = best_of(raw_sign, &raw, 1000),
	       r = best_of(raw_rsa_verify, &raw, 2000);
	if (argc > 1 && strcmp(argv[1], "raw") == 0)
		return print_raw(v, s, r);
	ours_init(&o);
	rs256_init(&o);
	double cd = best_of(our_csr_der, &o, 500), cp = best_of(our_csr_pem, &o, 500),
	       l = best_of(our_leaf, &o, 1000), rs = best_of(our_rs256, &o, 2000),
	       ch = best_of(our_verify, &o, 300), j = best_of(our_jwt, &o, 1000);
	printf("{\"locked_memory\": %s,\n", locked ? "true" : "false");
	printf(" \"raw_p256_verify_us\": %.2f,\n \"raw_p256_sign_us\": %.2f,\n", v, s);
	printf(" \"raw_rs256_verify_us\": %.2f,\n \"floor_us\": %.2f,\n", r, v + s + r);
	printf(" \"csr_der_us\": %.2f,\n \"csr_pem_us\": %.2f,\n", cd, cp);
	printf(" \"leaf_us\": %.2f,\n \"rs256_us\": %.2f,\n", l, rs);
	printf(" \"ours_us\": %.2f,\n \"ours_ratio\": %.4f,\n", cp + l + rs,
		(cp + l + rs) / (v + s + r));
	printf(" \"chain_of_two_us\": %.2f,\n \"jwt_es256_us\": %.2f}\n", ch, j);
	return 0;
}
