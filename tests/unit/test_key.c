/* SPDX-License-Identifier: Apache-2.0 */
/* Public and private keys, with OpenSSL's own encoders and signatures on the other side. */
#include "pki.h"

#include <pthread.h>

#define OIDS_EC "\x06\x07\x2a\x86\x48\xce\x3d\x02\x01"

static struct mica_slice spki_of(EVP_PKEY *k, uint8_t *room)
{
	uint8_t *at = room;
	int len = i2d_PUBKEY(k, &at);
	assert_true(len > 0);
	return mica_slice(room, (size_t)len);
}

static EVP_PKEY *evp_of(struct mica_slice spki)
{
	const uint8_t *at = spki.p;
	EVP_PKEY *k = d2i_PUBKEY(NULL, &at, (long)spki.len);
	assert_non_null(k);
	return k;
}

/* RSA keys take long to make: one for all tests. */
static struct mica_signer *make(enum mica_key_name type)
{
	static struct mica_secret *rsa;
	struct mica_signer *s;
	if (type == MICA_KN_RSA2048 && rsa) {
		assert_ok(mica_signer_from_pkcs8(mica_secret_view(rsa), &s, e));
		return s;
	}
	assert_ok(mica_signer_generate(type, &s, e));
	if (type == MICA_KN_RSA2048)
		assert_ok(mica_signer_pkcs8(s, &rsa, e));
	return s;
}

static void reads_what_openssl_writes(void **state)
{
	(void)state;
	EVP_PKEY *keys[] = {EVP_EC_gen("P-256"), EVP_EC_gen("P-384"), EVP_RSA_gen(2048),
		EVP_RSA_gen(2056), EVP_RSA_gen(2560), EVP_PKEY_Q_keygen(NULL, NULL, "ED25519")};
	static const enum mica_key_name types[] = {MICA_KN_P256, MICA_KN_P384, MICA_KN_RSA2048,
		MICA_KN_RSA2048, MICA_KN_RSA2048, MICA_KN_ED25519};
	for (size_t i = 0; i < MICA_ARRAY_LEN(keys); i++) {
		uint8_t room[1024];
		struct mica_pubkey k;
		struct mica_slice der = spki_of(keys[i], room);
		assert_ok(mica_pubkey_read(der, &k, e));
		assert_int_equal(k.type, types[i]);
		assert_int_equal(k.bits, i == 5 ? 256 : EVP_PKEY_get_bits(keys[i]));
		assert_true(mica_slice_eq(mica_pubkey_spki(&k), der));
		/* Every octet of the framing counts: none may change without a refusal or another
		 * key. */
		for (size_t at = 0; at < der.len; at++) {
			struct mica_pubkey other;
			room[at] ^= 0x01;
			if (!mica_pubkey_read(der, &other, NULL))
				assert_false(mica_pubkey_eq(&k, &other));
			room[at] ^= 0x01;
		}
		for (size_t len = 0; len < der.len; len++)
			assert_int_not_equal(
				mica_pubkey_read(mica_slice(room, len), &k, NULL), MICA_OK);
		EVP_PKEY_free(keys[i]);
	}
}

static void refused(const char *why, const void *spki, size_t len)
{
	struct mica_pubkey k;
	assert_refused(MICA_INVALID, why, mica_pubkey_read(mica_slice(spki, len), &k, e));
}

static void other_kinds(void **state)
{
	(void)state;
	EVP_PKEY *keys[] = {EVP_EC_gen("P-521"), EVP_EC_gen("P-224"), EVP_EC_gen("secp256k1"),
		EVP_PKEY_Q_keygen(NULL, NULL, "X25519"), EVP_PKEY_Q_keygen(NULL, NULL, "ED448"),
		EVP_PKEY_Q_keygen(NULL, NULL, "X448")};
	for (size_t i = 0; i < MICA_ARRAY_LEN(keys); i++) {
		uint8_t room[1024];
		struct mica_slice der = spki_of(keys[i], room);
		refused("key_type_not_allowed", der.p, der.len);
		EVP_PKEY_free(keys[i]);
	}
	/* id-RSASSA-PSS as the type of a key */
	static const char pss[] =
		"\x30\x10\x30\x0b\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a\x03\x01\x00";
	refused("key_type_not_allowed", pss, sizeof(pss) - 1);
	refused("key_malformed", "", 0);
	refused("key_malformed", "\x30\x00", 2);
	refused("key_malformed", "\x30\x80\x00\x00", 4);
}

/* One EC key in a form that OpenSSL can be asked for. */
static void ec_form(const char *why, int explicit_curve, point_conversion_form_t form)
{
	uint8_t room[1024], *at = room;
	EC_KEY *k = EC_KEY_new_by_curve_name(NID_X9_62_prime256v1);
	EC_KEY_generate_key(k);
	if (explicit_curve)
		EC_KEY_set_asn1_flag(k, OPENSSL_EC_EXPLICIT_CURVE);
	EC_KEY_set_conv_form(k, form);
	int len = i2d_EC_PUBKEY(k, &at);
	assert_true(len > 0);
	refused(why, room, (size_t)len);
	EC_KEY_free(k);
}

static void ec_forms(void **state)
{
	(void)state;
	struct mica_pubkey k;
	struct mica_signer *s;
	ec_form("key_malformed", 1, POINT_CONVERSION_UNCOMPRESSED);
	ec_form("key_malformed", 0, POINT_CONVERSION_COMPRESSED);
	ec_form("key_malformed", 0, POINT_CONVERSION_HYBRID);
	static const char infinity[] = "\x30\x19\x30\x13" OIDS_EC
				       "\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x02\x00\x00";
	refused("key_malformed", infinity, sizeof(infinity) - 1);

	for (int type = MICA_KN_P256; type <= MICA_KN_P384; type++) {
		uint8_t spki[MICA_SPKI_MAX];
		assert_ok(mica_signer_generate((enum mica_key_name)type, &s, e));
		k = *mica_signer_public(s);
		memcpy(spki, k.spki, k.spki_len);
		spki[k.spki_len - 1] ^= 1; /* off the curve */
		refused("key_malformed", spki, k.spki_len);
		memset(spki + k.raw_at + 1, 0xff, k.raw_len - 1u); /* x, y >= p */
		refused("key_malformed", spki, k.spki_len);
		memset(spki + k.raw_at + 1, 0, k.raw_len - 1u);
		refused("key_malformed", spki, k.spki_len);
		mica_signer_free(s);
	}
}

static void ed25519_points(void **state)
{
	(void)state;
	struct mica_pubkey k;
	static const char *const small[] = {
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"};
	static const char *const not_canonical[] = {
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"};
	for (int sign = 0; sign < 2; sign++) {
		for (size_t i = 0; i < 8; i++) {
			uint8_t y[32];
			size_t len = sizeof(y);
			const char *hex = i < 5 ? small[i] : not_canonical[i - 5];
			assert_int_equal(mica_hex_decode(mica_slice_str(hex), y, &len), MICA_OK);
			y[31] |= (uint8_t)(sign << 7);
			assert_refused(MICA_INVALID, i < 5 ? "key_weak" : "key_malformed",
				mica_pubkey_from_ed25519(mica_slice(y, 32), &k, e));
		}
	}
	uint8_t y[33] = {9};
	assert_refused(
		MICA_INVALID, "key_malformed", mica_pubkey_from_ed25519(mica_slice(y, 31), &k, e));
	assert_refused(
		MICA_INVALID, "key_malformed", mica_pubkey_from_ed25519(mica_slice(y, 33), &k, e));
}

/* ---- RSA -------------------------------------------------------------------------------- */

static void rsa_number(const char *why, const BIGNUM *n, const char *exponent, size_t exponent_len)
{
	uint8_t raw[2048];
	struct mica_pubkey k;
	size_t len = (size_t)BN_bn2bin(n, raw);
	struct mica_slice x = mica_slice(exponent, exponent_len);
	if (!why) {
		assert_ok(mica_pubkey_from_rsa(mica_slice(raw, len), x, &k, e));
		return;
	}
	assert_refused(MICA_INVALID, why, mica_pubkey_from_rsa(mica_slice(raw, len), x, &k, e));
}
#define F4 "\x01\x00\x01", 3

/* A modulus with the fingerprint: 65537^a modulo the primes 3..167, and no small factor. */
static BIGNUM *roca_modulus(BN_CTX *ctx)
{
	BIGNUM *m = BN_new(), *n = BN_new(), *k = BN_new(), *a = BN_new();
	BN_one(m);
	for (unsigned p = 3; p < 168; p += 2) {
		bool prime = true;
		for (unsigned d = 3; d * d <= p; d += 2)
			prime = prime && p % d;
		if (prime)
			BN_mul_word(m, p);
	}
	BN_set_word(n, 65537);
	BN_set_word(a, 123456789);
	BN_mod_exp(n, n, a, m, ctx);
	BN_mul_word(m, 2);
	if (!BN_is_odd(n)) /* odd modulo 2M */
		BN_add_word(n, 0), BN_rshift1(a, m), BN_add(n, n, a);
	BN_set_bit(k, 2047 - BN_num_bits(m) + 1);
	BN_mul(k, k, m, ctx);
	BN_add(n, n, k);
	for (bool ok = false; !ok;) {
		ok = true;
		BN_add(n, n, m);
		for (unsigned p = 169; p < 752; p += 2)
			ok = ok && BN_mod_word(n, p) != 0;
	}
	BN_free(m);
	BN_free(k);
	BN_free(a);
	return n;
}

static void rsa_numbers(void **state)
{
	(void)state;
	BN_CTX *ctx = BN_CTX_new();
	BIGNUM *p = BN_new(), *n = BN_new();
	EVP_PKEY *good = EVP_RSA_gen(2048), *small = EVP_RSA_gen(1024);
	BIGNUM *gn = NULL, *sn = NULL;
	EVP_PKEY_get_bn_param(good, "n", &gn);
	EVP_PKEY_get_bn_param(small, "n", &sn);
	rsa_number(NULL, gn, F4);
	rsa_number(NULL, gn, "\xff\xff\xff\xff", 4);
	rsa_number("key_weak", sn, F4);
	rsa_number("key_weak", gn, "\x01", 1);
	rsa_number("key_weak", gn, "\x03", 1);
	rsa_number("key_weak", gn, "\xff\xff", 2);
	rsa_number("key_weak", gn, "\x01\x00\x02", 3);
	rsa_number("key_weak", gn, "\x01\x00\x00\x00\x01", 5);
	rsa_number("key_malformed", gn, "\x00\x01\x00\x01", 4); /* RFC 7518 6.3.1 */

	BN_copy(n, gn);
	BN_sub_word(n, 1);
	rsa_number("key_weak", n, F4); /* even */
	BN_lshift(n, gn, 4096);
	BN_set_bit(n, 0);
	rsa_number("key_weak", n, F4); /* 6144 bits */
	BN_set_bit(n, 8190);
	rsa_number("key_weak", n, F4); /* above 8192: too long to write */
	for (unsigned q = 3; q < 752; q += q == 3 ? 744 : 4) {
		BN_copy(n, gn);
		while (BN_mod_word(n, q) != 0)
			BN_add_word(n, 2);
		rsa_number("key_weak", n, F4);
	}
	BN_generate_prime_ex(p, 1024, 0, NULL, NULL, NULL);
	BN_set_bit(p, 1022);
	while (!BN_is_odd(p) || BN_check_prime(p, ctx, NULL) != 1)
		BN_add_word(p, 2);
	BN_sqr(n, p, ctx);
	rsa_number("key_weak", n, F4);
	BIGNUM *roca = roca_modulus(ctx);
	assert_int_equal(BN_num_bits(roca), 2048);
	rsa_number("key_weak", roca, F4);
	BN_add_word(roca, 2);
	BN_free(roca);
	BN_free(gn);
	BN_free(sn);
	BN_free(p);
	BN_free(n);
	BN_CTX_free(ctx);
	EVP_PKEY_free(good);
	EVP_PKEY_free(small);
}

static void rsa_parameters(void **state)
{
	(void)state;
	struct mica_signer *s;
	uint8_t room[MICA_SPKI_MAX + 8];
	s = make(MICA_KN_RSA2048);
	struct mica_der d = mica_der(mica_pubkey_spki(mica_signer_public(s))), in;
	struct mica_slice bits, whole;
	mica_der_enter(&d, MICA_DER_SEQUENCE, &in);
	mica_der_next(&in, MICA_DER_SEQUENCE, NULL, NULL);
	mica_der_next(&in, MICA_DER_BIT_STRING, &bits, &whole);
	/* RFC 3279 2.3.1: NULL there must be. */
	struct mica_derw w = mica_derw(room, sizeof(room));
	size_t mark = mica_derw_mark(&w);
	mica_derw_put_slice(&w, whole);
	mica_derw_put(&w, "\x30\x0b\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01", 13);
	mica_derw_wrap(&w, mark, MICA_DER_SEQUENCE);
	refused("key_malformed", mica_derw_slice(&w).p, mica_derw_slice(&w).len);
	mica_signer_free(s);
}

/* ---- signatures ----------------------------------------------------------------------------- */

static const struct {
	enum mica_key_name type;
	enum mica_sig_alg alg;
	const char *md;
	bool pss;
} pairs[] = {
	{MICA_KN_P256, MICA_SIG_ECDSA_SHA256, "SHA256", false},
	{MICA_KN_P256, MICA_SIG_ECDSA_SHA384, "SHA384", false},
	{MICA_KN_P256, MICA_SIG_ECDSA_SHA512, "SHA512", false},
	{MICA_KN_P384, MICA_SIG_ECDSA_SHA384, "SHA384", false},
	{MICA_KN_P384, MICA_SIG_ECDSA_SHA256, "SHA256", false},
	{MICA_KN_RSA2048, MICA_SIG_RSA_SHA256, "SHA256", false},
	{MICA_KN_RSA2048, MICA_SIG_RSA_SHA384, "SHA384", false},
	{MICA_KN_RSA2048, MICA_SIG_RSA_SHA512, "SHA512", false},
	{MICA_KN_RSA2048, MICA_SIG_PSS_SHA256, "SHA256", true},
	{MICA_KN_RSA2048, MICA_SIG_PSS_SHA384, "SHA384", true},
	{MICA_KN_RSA2048, MICA_SIG_PSS_SHA512, "SHA512", true},
	{MICA_KN_ED25519, MICA_SIG_ED25519, NULL, false},
};

static EVP_PKEY *private_evp(const struct mica_signer *s)
{
	struct mica_secret *der = NULL;
	assert_ok(mica_signer_pkcs8(s, &der, e));
	const uint8_t *at = mica_secret_view(der).p;
	EVP_PKEY *k = d2i_AutoPrivateKey(NULL, &at, (long)mica_secret_view(der).len);
	assert_non_null(k);
	mica_secret_free(der);
	return k;
}

static size_t openssl_sign(
	EVP_PKEY *k, const char *md, bool pss, struct mica_slice msg, uint8_t *sig)
{
	size_t len = MICA_SIG_MAX;
	EVP_PKEY_CTX *pctx;
	EVP_MD_CTX *c = EVP_MD_CTX_new();
	assert_int_equal(EVP_DigestSignInit_ex(c, &pctx, md, NULL, NULL, k, NULL), 1);
	if (pss) {
		EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING);
		EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST);
	}
	assert_int_equal(EVP_DigestSign(c, sig, &len, msg.p, msg.len), 1);
	EVP_MD_CTX_free(c);
	return len;
}

static void verifies_what_openssl_signs(void **state)
{
	(void)state;
	struct mica_slice msg = MICA_LIT("what is signed");
	for (size_t i = 0; i < MICA_ARRAY_LEN(pairs); i++) {
		struct mica_signer *s;
		uint8_t sig[MICA_SIG_MAX];
		s = make(pairs[i].type);
		const struct mica_pubkey *k = mica_signer_public(s);
		EVP_PKEY *evp = private_evp(s);
		size_t len = openssl_sign(evp, pairs[i].md, pairs[i].pss, msg, sig);
		struct mica_slice ss = mica_slice(sig, len);
		struct mica_verifier *v;
		assert_ok(mica_pubkey_verify(k, pairs[i].alg, MICA_SIG_DER, msg, ss, e));
		assert_ok(mica_verifier_new(k, &v, e));
		for (int again = 0; again < 3; again++)
			assert_ok(mica_verifier_verify(v, pairs[i].alg, MICA_SIG_DER, msg, ss, e));
		assert_true(mica_pubkey_eq(mica_verifier_key(v), k));
		/* A flipped bit anywhere, another message, a cut or a longer signature. */
		for (size_t at = 0; at<len; at += len> 100 ? 17 : 1) {
			sig[at] ^= 0x10;
			assert_refused(MICA_INVALID, "signature_invalid",
				mica_pubkey_verify(k, pairs[i].alg, MICA_SIG_DER, msg, ss, e));
			sig[at] ^= 0x10;
		}
		assert_refused(MICA_INVALID, "signature_invalid",
			mica_verifier_verify(
				v, pairs[i].alg, MICA_SIG_DER, MICA_LIT("else"), ss, e));
		for (size_t n = 0; n<len; n += len> 100 ? 31 : 1)
			assert_refused(MICA_INVALID, "signature_invalid",
				mica_verifier_verify(
					v, pairs[i].alg, MICA_SIG_DER, msg, mica_slice(sig, n), e));
		uint8_t longer[MICA_SIG_MAX + 1] = {0};
		memcpy(longer, sig, len);
		assert_refused(MICA_INVALID, "signature_invalid",
			mica_verifier_verify(v, pairs[i].alg, MICA_SIG_DER, msg,
				mica_slice(longer, len + 1), e));
		for (int a = MICA_SIG_NONE; a <= MICA_SIG_COUNT; a++)
			if (a != (int)pairs[i].alg)
				assert_int_not_equal(mica_verifier_verify(v, (enum mica_sig_alg)a,
							     MICA_SIG_DER, msg, ss, NULL),
					MICA_OK);
		mica_verifier_free(v);
		EVP_PKEY_free(evp);
		mica_signer_free(s);
	}
}

static void openssl_verifies_what_we_sign(void **state)
{
	(void)state;
	static const enum mica_key_name types[] = {
		MICA_KN_P256, MICA_KN_P384, MICA_KN_RSA2048, MICA_KN_ED25519};
	static const char *const mds[] = {"SHA256", "SHA384", "SHA256", NULL};
	struct mica_slice msg = MICA_LIT("what is signed");
	for (size_t i = 0; i < MICA_ARRAY_LEN(types); i++) {
		struct mica_signer *s;
		uint8_t sig[MICA_SIG_MAX];
		size_t len;
		s = make(types[i]);
		assert_ok(mica_signer_probe(s, e));
		assert_ok(mica_signer_sign(s, MICA_SIG_DER, msg, sig, &len, e));
		EVP_PKEY *k = evp_of(mica_pubkey_spki(mica_signer_public(s)));
		EVP_MD_CTX *c = EVP_MD_CTX_new();
		EVP_DigestVerifyInit_ex(c, NULL, mds[i], NULL, NULL, k, NULL);
		assert_int_equal(EVP_DigestVerify(c, sig, len, msg.p, msg.len), 1);
		assert_ok(mica_signer_sign(s, MICA_SIG_RAW, msg, sig, &len, e));
		assert_ok(mica_pubkey_verify(mica_signer_public(s), mica_signer_alg(s),
			MICA_SIG_RAW, msg, mica_slice(sig, len), e));
		if (types[i] == MICA_KN_P256)
			assert_int_equal(len, 64);
		EVP_MD_CTX_free(c);
		EVP_PKEY_free(k);
		mica_signer_free(s);
	}
}

/* RFC 7515 A.3 */
static void jose_example(void **state)
{
	(void)state;
	uint8_t x[32], y[32], sig[64];
	size_t lx = 32, ly = 32, ls = 64;
	struct mica_pubkey k;
	mica_rc rc =
		mica_b64url_decode(MICA_LIT("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"), x, &lx);
	rc |= mica_b64url_decode(MICA_LIT("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"), y, &ly);
	rc |= mica_b64url_decode(
		MICA_LIT("DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSA"
			 "pmWQxfKTUJqPP3-Kg6NU1Q"),
		sig, &ls);
	assert_int_equal(rc, MICA_OK);
	struct mica_slice msg = MICA_LIT(
		"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt"
		"cGxlLmNvbS9pc19yb290Ijp0cnVlfQ");
	assert_ok(mica_pubkey_from_ec(MICA_KN_P256, mica_slice(x, 32), mica_slice(y, 32), &k, e));
	assert_ok(mica_pubkey_verify(
		&k, MICA_SIG_ECDSA_SHA256, MICA_SIG_RAW, msg, mica_slice(sig, 64), e));
	assert_refused(MICA_INVALID, "signature_invalid",
		mica_pubkey_verify(
			&k, MICA_SIG_ECDSA_SHA256, MICA_SIG_DER, msg, mica_slice(sig, 64), e));
	assert_refused(MICA_INVALID, "signature_algorithm_mismatch",
		mica_pubkey_verify(
			&k, MICA_SIG_ECDSA_SHA384, MICA_SIG_RAW, msg, mica_slice(sig, 64), e));
	assert_refused(MICA_INVALID, "signature_algorithm_mismatch",
		mica_pubkey_verify(
			&k, MICA_SIG_ECDSA_SHA512, MICA_SIG_RAW, msg, mica_slice(sig, 64), e));
	assert_refused(MICA_INVALID, "key_malformed",
		mica_pubkey_from_ec(MICA_KN_P256, mica_slice(x, 31), mica_slice(y, 32), &k, e));
	assert_refused(MICA_INVALID, "key_type_not_allowed",
		mica_pubkey_from_ec(MICA_KN_ED25519, mica_slice(x, 32), mica_slice(y, 32), &k, e));
}

/* Signatures that other checkers took: zero, the order, negative, padded numbers. */
static void ecdsa_edges(void **state)
{
	(void)state;
	struct mica_signer *s;
	uint8_t raw[64], sig[MICA_SIG_MAX], order[32];
	size_t len, order_len = 32;
	struct mica_slice msg = MICA_LIT("m");
	assert_ok(mica_signer_generate(MICA_KN_P256, &s, e));
	const struct mica_pubkey *k = mica_signer_public(s);
	assert_int_equal(
		mica_hex_decode(
			MICA_LIT(
				"ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"),
			order, &order_len),
		MICA_OK);
	assert_ok(mica_signer_sign(s, MICA_SIG_RAW, msg, sig, &len, e));
	for (int i = 0; i < 6; i++) { /* r or s or both: 0, n */
		memcpy(raw, sig, 64);
		if (i % 3 != 1)
			memcpy(raw, i < 3 ? (const uint8_t[32]){0} : order, 32);
		if (i % 3 != 0)
			memcpy(raw + 32, i < 3 ? (const uint8_t[32]){0} : order, 32);
		assert_refused(MICA_INVALID, "signature_invalid",
			mica_pubkey_verify(k, MICA_SIG_ECDSA_SHA256, MICA_SIG_RAW, msg,
				mica_slice(raw, 64), e));
	}
	static const char *const ders[] = {"\x30\x06\x02\x01\x00\x02\x01\x00",
		"\x30\x06\x02\x01\x01\x02\x01\x01", "\x30\x06\x02\x01\xff\x02\x01\xff",
		"\x30\x06\x02\x01\x01\x02\x01\x80"};
	for (size_t i = 0; i < MICA_ARRAY_LEN(ders); i++)
		assert_refused(MICA_INVALID, "signature_invalid",
			mica_pubkey_verify(k, MICA_SIG_ECDSA_SHA256, MICA_SIG_DER, msg,
				mica_slice(ders[i], 8), e));
	/* The right numbers, but r has one zero octet more than DER allows; or data behind. */
	uint8_t room[96], der[96];
	struct mica_derw w = mica_derw(room, sizeof(room));
	size_t mark = mica_derw_mark(&w);
	mica_derw_unsigned(&w, sig + 32, 32);
	memcpy(der + 2, sig, 32);
	der[0] = der[1] = 0;
	mica_derw_prim(&w, MICA_DER_INTEGER, der, 34);
	mica_derw_wrap(&w, mark, MICA_DER_SEQUENCE);
	assert_refused(MICA_INVALID, "signature_invalid",
		mica_pubkey_verify(
			k, MICA_SIG_ECDSA_SHA256, MICA_SIG_DER, msg, mica_derw_slice(&w), e));
	mica_signer_free(s);
}

/* PKCS #1 v1.5 with anything but the one right encoding: made with the private key, so only the
 * padding is wrong. */
static void rsa_padding(void **state)
{
	(void)state;
	struct mica_signer *s;
	struct mica_slice msg = MICA_LIT("m");
	uint8_t em[256], sig[256], good[256], hash[32];
	static const uint8_t info[] = {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
		0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20};
	s = make(MICA_KN_RSA2048);
	EVP_PKEY *evp = private_evp(s);
	RSA *rsa = EVP_PKEY_get1_RSA(evp);
	SHA256(msg.p, msg.len, hash);
	memset(good, 0xff, sizeof(good));
	good[0] = 0;
	good[1] = 1;
	good[256 - 32 - sizeof(info) - 1] = 0;
	memcpy(good + 256 - 32 - sizeof(info), info, sizeof(info));
	memcpy(good + 256 - 32, hash, 32);
	for (int i = 0; i < 6; i++) {
		memcpy(em, good, sizeof(em));
		if (i == 1)
			em[1] = 2;
		if (i == 2)
			em[100] = 0xfe;
		if (i == 3) { /* without the NULL of the AlgorithmIdentifier */
			static const uint8_t bare[] = {0x30, 0x2f, 0x30, 0x0b, 0x06, 0x09, 0x60,
				0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x04, 0x20};
			em[256 - 32 - sizeof(info) - 1] = 0xff;
			em[256 - 32 - sizeof(info)] = 0xff;
			em[256 - 32 - sizeof(bare) - 1] = 0;
			memcpy(em + 256 - 32 - sizeof(bare), bare, sizeof(bare));
		}
		if (i == 4) { /* garbage behind the hash */
			memset(em + 2, 0xff, 8);
			em[10] = 0;
			memcpy(em + 11, good + 256 - 32 - sizeof(info), sizeof(info) + 32);
		}
		if (i == 5)
			em[250] ^= 1;
		assert_int_equal(RSA_private_encrypt(256, em, sig, rsa, RSA_NO_PADDING), 256);
		mica_rc rc = mica_pubkey_verify(mica_signer_public(s), MICA_SIG_RSA_SHA256,
			MICA_SIG_DER, msg, mica_slice(sig, 256), NULL);
		assert_int_equal(rc, i == 0 ? MICA_OK : MICA_INVALID);
	}
	RSA_free(rsa);
	EVP_PKEY_free(evp);
	mica_signer_free(s);
}

/* ---- private keys --------------------------------------------------------------------------- */

static void pkcs8(void **state)
{
	(void)state;
	static const char *const kinds[] = {"P-256", "P-384", NULL, "ED25519"};
	for (size_t i = 0; i < MICA_ARRAY_LEN(kinds); i++) {
		EVP_PKEY *k = !kinds[i] ? EVP_RSA_gen(2048)
			: i == 3        ? EVP_PKEY_Q_keygen(NULL, NULL, kinds[i])
					: EVP_EC_gen(kinds[i]);
		uint8_t der[4096], spki[1024], *at = der;
		PKCS8_PRIV_KEY_INFO *p8 = EVP_PKEY2PKCS8(k);
		int len = i2d_PKCS8_PRIV_KEY_INFO(p8, &at);
		assert_true(len > 0);
		struct mica_signer *s = NULL, *other = NULL;
		struct mica_secret *out = NULL;
		assert_ok(mica_signer_from_pkcs8(mica_slice(der, (size_t)len), &s, e));
		assert_true(
			mica_slice_eq(mica_pubkey_spki(mica_signer_public(s)), spki_of(k, spki)));
		assert_ok(mica_signer_pkcs8(s, &out, e));
		assert_true(mica_slice_eq(mica_secret_view(out), mica_slice(der, (size_t)len)));
		/* No prefix, no longer one, and a changed octet never gives a key that does not
		 * work. */
		for (int n = 0; n<len; n += len> 500 ? 41 : 1)
			assert_int_not_equal(
				mica_signer_from_pkcs8(mica_slice(der, (size_t)n), &other, NULL),
				MICA_OK);
		for (int n = 0; n<len; n += len> 500 ? 97 : 3) {
			der[n] ^= 0x04;
			if (!mica_signer_from_pkcs8(mica_slice(der, (size_t)len), &other, NULL)) {
				assert_ok(mica_signer_probe(other, e));
				mica_signer_free(other);
			}
			der[n] ^= 0x04;
		}
		mica_secret_free(out);
		mica_signer_free(s);
		PKCS8_PRIV_KEY_INFO_free(p8);
		EVP_PKEY_free(k);
	}
	struct mica_signer *s;
	assert_refused(MICA_INVALID, "key_malformed", mica_signer_from_pkcs8(MICA_LIT("x"), &s, e));
}

static mica_rc no_sign(void *ctx, enum mica_sig_alg alg, enum mica_sig_form form,
	struct mica_slice msg, uint8_t *sig, size_t *len, struct mica_err *e)
{
	(void)ctx, (void)alg, (void)form, (void)msg;
	memset(sig, 0, 64); /* a module that answers nonsense */
	*len = 64;
	(void)e;
	return MICA_OK;
}
static void no_free(void *ctx)
{
	(void)ctx;
}

static void a_module_that_lies(void **state)
{
	(void)state;
	static const struct mica_signer_ops ops = {no_sign, NULL, no_free};
	struct mica_signer *real, *s;
	struct mica_secret *out = NULL;
	assert_ok(mica_signer_generate(MICA_KN_P256, &real, e));
	s = mica_signer_take_new(&ops, NULL, mica_signer_public(real));
	assert_refused(MICA_UNAVAILABLE, "signing_failed", mica_signer_probe(s, e));
	assert_refused(MICA_DENIED, "key_not_exportable", mica_signer_pkcs8(s, &out, e));
	mica_signer_free(s);
	mica_signer_free(real);
}

static void *sign_many(void *p)
{
	const struct mica_signer *s = p;
	for (int i = 0; i < 100; i++) {
		uint8_t sig[MICA_SIG_MAX];
		size_t len;
		if (mica_signer_sign(s, MICA_SIG_DER, MICA_LIT("m"), sig, &len, NULL) ||
			mica_pubkey_verify(mica_signer_public(s), mica_signer_alg(s), MICA_SIG_DER,
				MICA_LIT("m"), mica_slice(sig, len), NULL))
			return p;
	}
	return NULL;
}

static void many_threads(void **state)
{
	(void)state;
	static const enum mica_key_name types[] = {MICA_KN_P256, MICA_KN_ED25519};
	for (size_t t = 0; t < MICA_ARRAY_LEN(types); t++) {
		struct mica_signer *s;
		pthread_t threads[4];
		assert_ok(mica_signer_generate(types[t], &s, e));
		for (int i = 0; i < 4; i++)
			assert_int_equal(pthread_create(&threads[i], NULL, sign_many, s), 0);
		for (int i = 0; i < 4; i++) {
			void *bad;
			pthread_join(threads[i], &bad);
			assert_null(bad);
		}
		mica_signer_free(s);
	}
}

static void ids_and_policy(void **state)
{
	(void)state;
	struct mica_signer *s;
	uint8_t want[32], denied[3][32] = {{0xff}, {0}, {0x7f}};
	char hex[MICA_KEY_ID_SIZE], want_hex[MICA_KEY_ID_SIZE];
	assert_ok(mica_signer_generate(MICA_KN_P256, &s, e));
	const struct mica_pubkey *k = mica_signer_public(s);
	struct mica_slice point = mica_pubkey_raw(k);
	SHA256(point.p, point.len, want);
	mica_hex_encode(want, MICA_KEY_ID_LEN, want_hex);
	mica_pubkey_id_hex(k, hex);
	assert_string_equal(hex, want_hex);

	struct mica_key_policy p = {.types = 1u << MICA_KN_P256};
	assert_ok(mica_key_policy_check(&p, k, e));
	p.types = 1u << MICA_KN_P384 | 1u << MICA_KN_RSA2048;
	assert_refused(MICA_INVALID, "key_type_not_allowed", mica_key_policy_check(&p, k, e));
	p.types = 0x3f;
	mica_key_denied_sort(denied, 3);
	p.denied = denied;
	p.n_denied = 3;
	assert_ok(mica_key_policy_check(&p, k, e));
	memcpy(denied[0], k->spki_sha256, 32);
	mica_key_denied_sort(denied, 3);
	assert_refused(MICA_INVALID, "key_denied", mica_key_policy_check(&p, k, e));
	mica_signer_free(s);
}

static void algorithms(void **state)
{
	(void)state;
	static const struct {
		const char *oid;
		int len;
		const char *reason;
	} bad[] = {
		{"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x04\x05\x00", 15,
			"signature_algorithm_weak"}, /* MD5 */
		{"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05\x05\x00", 15,
			"signature_algorithm_weak"}, /* SHA-1 */
		{"\x30\x09\x06\x07\x2a\x86\x48\xce\x3d\x04\x01", 11, "signature_algorithm_weak"},
		{"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x01", 12,
			"signature_algorithm_unknown"}, /* SHA-224 */
		{"\x30\x0c\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02\x05\x00", 14,
			"signature_algorithm_malformed"},
		{"\x30\x0b\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b", 13,
			"signature_algorithm_malformed"},
		{"\x30\x0b\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a", 13,
			"signature_algorithm_malformed"}, /* PSS by default: SHA-1 */
		{"\x30\x00", 2, "signature_algorithm_malformed"},
		{"", 0, "signature_algorithm_malformed"},
	};
	enum mica_sig_alg alg;
	for (size_t i = 0; i < MICA_ARRAY_LEN(bad); i++)
		assert_refused(MICA_INVALID, bad[i].reason,
			mica_sig_alg_read(mica_slice(bad[i].oid, (size_t)bad[i].len), &alg, e));
	for (int i = MICA_SIG_NONE + 1; i < MICA_SIG_COUNT; i++) {
		assert_ok(mica_sig_alg_read(mica_sig_alg_der((enum mica_sig_alg)i), &alg, e));
		assert_int_equal(alg, i);
		const char *name = mica_sig_alg_jose(alg);
		if (name)
			assert_int_equal(mica_sig_alg_from_jose(mica_slice_str(name)), i);
	}
	static const char *const unknown[] = {
		"none", "HS256", "ES256K", "ES512", "RS1", "es256", "", "ES25"};
	for (size_t i = 0; i < MICA_ARRAY_LEN(unknown); i++)
		assert_int_equal(mica_sig_alg_from_jose(mica_slice_str(unknown[i])), MICA_SIG_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_what_openssl_writes),
		cmocka_unit_test(other_kinds),
		cmocka_unit_test(ec_forms),
		cmocka_unit_test(ed25519_points),
		cmocka_unit_test(rsa_numbers),
		cmocka_unit_test(rsa_parameters),
		cmocka_unit_test(verifies_what_openssl_signs),
		cmocka_unit_test(openssl_verifies_what_we_sign),
		cmocka_unit_test(jose_example),
		cmocka_unit_test(ecdsa_edges),
		cmocka_unit_test(rsa_padding),
		cmocka_unit_test(pkcs8),
		cmocka_unit_test(a_module_that_lies),
		cmocka_unit_test(many_threads),
		cmocka_unit_test(ids_and_policy),
		cmocka_unit_test(algorithms),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
