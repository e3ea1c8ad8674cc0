/* SPDX-License-Identifier: Apache-2.0 */
/* Key sets: what is taken, what is left out and why, and which key a token gets. */
#include "tokens.h"

#include "mica/jwks.h"

static EVP_PKEY *rsa, *small, *p256, *p384, *p521, *ed;
static const struct mica_jwks_options all = {.allow_ps = true, .allow_eddsa = true};

static int make_keys(void **state)
{
	(void)state;
	rsa = tk_rsa(2048);
	small = tk_rsa(1024);
	p256 = tk_ec("P-256");
	p384 = tk_ec("P-384");
	p521 = tk_ec("P-521");
	ed = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	assert_non_null(ed);
	return 0;
}

static int free_keys(void **state)
{
	EVP_PKEY *keys[] = {rsa, small, p256, p384, p521, ed};
	for (size_t i = 0; i < MICA_ARRAY_LEN(keys); i++)
		EVP_PKEY_free(keys[i]);
	return tk_empty_bin(state);
}

static char *ed_jwk(const char *kid, const char *more)
{
	uint8_t x[32];
	size_t len = sizeof(x);
	assert_int_equal(EVP_PKEY_get_raw_public_key(ed, x, &len), 1);
	return tk_printf("{\"kty\":\"OKP\",\"kid\":\"%s\",\"crv\":\"Ed25519\",\"x\":\"%s\"%s}", kid,
		tk_b64(x, len), more);
}

static char *rsa_jwk_of(const char *n, const char *e)
{
	return tk_printf("{\"kty\":\"RSA\",\"kid\":\"k\",\"n\":\"%s\",\"e\":\"%s\"}", n, e);
}

static char *ec_jwk_of(const char *crv, const char *x, const char *y)
{
	return tk_printf("{\"kty\":\"EC\",\"kid\":\"k\",\"crv\":\"%s\",\"x\":\"%s\",\"y\":\"%s\"}",
		crv, x, y);
}

static char *n_of(EVP_PKEY *k)
{
	return tk_number(k, OSSL_PKEY_PARAM_RSA_N, 0);
}
static char *x_of(EVP_PKEY *k, int width)
{
	return tk_number(k, OSSL_PKEY_PARAM_EC_PUB_X, width);
}
static char *y_of(EVP_PKEY *k, int width)
{
	return tk_number(k, OSSL_PKEY_PARAM_EC_PUB_Y, width);
}

/* What becomes of one entry: its algorithm, or the reason why not. A good key stands before and
 * behind it, and has to stay whatever happens. */
static const char *fate(const char *jwk, const struct mica_jwks_options *o)
{
	MICA_AUTO_JWKS s = tk_jwks(
		tk_printf("%s,%s,%s", tk_jwk(rsa, "first", ""), jwk, tk_jwk(p256, "last", "")), o);
	size_t n = mica_jwks_count(s);
	assert_string_equal(mica_jwks_key(s, 0)->kid, "first");
	assert_string_equal(mica_jwks_key(s, n - 1)->kid, "last");
	assert_int_equal(n + mica_jwks_skipped_count(s), 3);
	if (n == 3)
		return mica_sig_alg_jose(mica_jwks_key(s, 1)->alg);
	assert_int_equal(mica_jwks_skipped(s, 0)->index, 1);
	assert_null(mica_jwks_skipped(s, 1));
	return mica_jwks_skipped(s, 0)->reason;
}

static void expect_fate(
	unsigned row, const char *jwk, const struct mica_jwks_options *o, const char *want)
{
	const char *got = fate(jwk, o);
	if (strcmp(got, want) != 0)
		fail_msg("row %u: %.300s: %s, expected %s", row, jwk, got, want);
}

/* ---- what is taken -------------------------------------------------------------------------- */

static void a_key_has_one_algorithm(void **state)
{
	const struct {
		const char *jwk, *alg;
	} rows[] = {
		{tk_jwk(rsa, "k", ""), "RS256"},
		{tk_jwk(rsa, "k", ",\"alg\":\"RS256\""), "RS256"},
		{tk_jwk(rsa, "k", ",\"alg\":\"RS384\""), "RS384"},
		{tk_jwk(rsa, "k", ",\"alg\":\"RS512\""), "RS512"},
		{tk_jwk(rsa, "k", ",\"alg\":\"PS256\""), "PS256"},
		{tk_jwk(rsa, "k", ",\"alg\":\"PS512\""), "PS512"},
		{tk_jwk(p256, "k", ""), "ES256"},
		{tk_jwk(p256, "k", ",\"alg\":\"ES256\""), "ES256"},
		{tk_jwk(p384, "k", ""), "ES384"},
		{ed_jwk("k", ""), "EdDSA"},
		{ed_jwk("k", ",\"alg\":\"EdDSA\""), "EdDSA"},
		{tk_jwk(rsa, "k", ",\"use\":\"sig\""), "RS256"},
		{tk_jwk(rsa, "k", ",\"key_ops\":[\"verify\"]"), "RS256"},
		{tk_jwk(rsa, "k", ",\"key_ops\":[\"sign\",\"verify\"],\"use\":\"sig\""), "RS256"},
		/* RFC 7517 4: unknown members are nobody's business; nothing here is fetched */
		{tk_jwk(rsa, "k",
			 ",\"x5c\":[\"!\"],\"x5u\":\"http://evil/\",\"exp\":null,\"z\":{}"),
			"RS256"},
		{tk_jwk(rsa, "", ""), "RS256"},
		{tk_jwk(rsa, "../../etc/passwd", ""), "RS256"},
	};
	(void)state;
	for (unsigned i = 0; i < MICA_ARRAY_LEN(rows); i++)
		expect_fate(i, rows[i].jwk, &all, rows[i].alg);
}

static void a_kept_key_verifies(void **state)
{
	uint8_t sig[1024];
	struct mica_slice text = MICA_LIT("text");
	MICA_AUTO_JWKS s =
		tk_jwks(tk_printf("%s,%s", tk_jwk(rsa, "r", ""), tk_jwk(p384, "e", "")), NULL);
	const struct mica_jwk *k = mica_jwks_key(s, 0);
	(void)state;
	size_t len = tk_sign(rsa, TK_RS, EVP_sha256(), "text", sig);
	assert_ok(mica_verifier_verify(
		k->verifier, k->alg, MICA_SIG_RAW, text, mica_slice(sig, len), e));
	k = mica_jwks_key(s, 1);
	assert_refused(MICA_INVALID, "signature_algorithm_mismatch",
		mica_verifier_verify(k->verifier, MICA_SIG_RSA_SHA256, MICA_SIG_RAW, text,
			mica_slice(sig, len), e));
	len = tk_sign(p384, TK_ES_RAW, EVP_sha384(), "text", sig);
	assert_ok(mica_verifier_verify(
		k->verifier, k->alg, MICA_SIG_RAW, text, mica_slice(sig, len), e));
	sig[5] ^= 1;
	assert_refused(MICA_INVALID, "signature_invalid",
		mica_verifier_verify(
			k->verifier, k->alg, MICA_SIG_RAW, text, mica_slice(sig, len), e));
}

/* ---- what is left out ----------------------------------------------------------------------- */

static void members_must_be_what_they_are(void **state)
{
	const struct {
		const char *jwk, *why;
	} rows[] = {
		{"null", "not_an_object"},
		{"[]", "not_an_object"},
		{"\"k\"", "not_an_object"},
		{"{}", "kty_unknown"},
		{"{\"kty\":\"rsa\"}", "kty_unknown"},
		{"{\"kty\":\"EC2\"}", "kty_unknown"},
		{"{\"kty\":1}", "member_malformed"},
		{tk_jwk(rsa, "k", ",\"alg\":null"), "member_malformed"},
		{tk_jwk(rsa, "k", ",\"use\":[\"sig\"]"), "member_malformed"},
		{tk_jwk(rsa, "k", ",\"key_ops\":\"verify\""), "member_malformed"},
		{tk_jwk(rsa, "k", ",\"key_ops\":[\"verify\",1]"), "member_malformed"},
		{"{\"kty\":\"RSA\",\"kid\":7,\"n\":\"AQAB\",\"e\":\"AQAB\"}", "member_malformed"},
		{tk_jwk(rsa, "k", ",\"use\":\"enc\""), "use_not_sig"},
		{tk_jwk(rsa, "k", ",\"use\":\"\""), "use_not_sig"},
		{tk_jwk(rsa, "k", ",\"use\":\"SIG\""), "use_not_sig"},
		{tk_jwk(rsa, "k", ",\"use\":\"x509-svid\""), "use_not_sig"},
		{tk_jwk(rsa, "k", ",\"key_ops\":[]"), "key_ops_without_verify"},
		{tk_jwk(rsa, "k", ",\"key_ops\":[\"sign\",\"encrypt\"]"), "key_ops_without_verify"},
		{tk_jwk(rsa, tk_printf("%0256d", 0), ""), "kid_too_long"},
		{tk_jwk(rsa, tk_printf("%0255d", 0), ""), "RS256"},
	};
	(void)state;
	for (unsigned i = 0; i < MICA_ARRAY_LEN(rows); i++)
		expect_fate(i, rows[i].jwk, &all, rows[i].why);
}

/* RFC 7518 6: who may read such a set may sign. */
static void secrets_in_public_are_no_keys(void **state)
{
	static const char *const members[] = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"};
	(void)state;
	expect_fate(0, "{\"kty\":\"oct\",\"kid\":\"k\",\"k\":\"AAAA\",\"alg\":\"HS256\"}", &all,
		"symmetric_key");
	for (unsigned i = 0; i < MICA_ARRAY_LEN(members); i++) {
		const char *more = tk_printf(",\"%s\":\"AQ\"", members[i]);
		expect_fate(i, tk_jwk(rsa, "k", more), &all, "private_key");
		expect_fate(i, tk_jwk(p256, "k", more), &all, "private_key");
		expect_fate(i, ed_jwk("k", more), &all, "private_key");
	}
}

static void algorithms_fit_the_key_and_the_options(void **state)
{
	static const struct mica_jwks_options ps = {.allow_ps = true},
					      eddsa = {.allow_eddsa = true};
	const struct {
		const char *jwk;
		const struct mica_jwks_options *options;
		const char *why;
	} rows[] = {
		{tk_jwk(rsa, "k", ",\"alg\":\"PS256\""), NULL, "alg_not_allowed"},
		{tk_jwk(rsa, "k", ",\"alg\":\"PS384\""), &eddsa, "alg_not_allowed"},
		{tk_jwk(rsa, "k", ",\"alg\":\"PS256\""), &ps, "PS256"},
		{ed_jwk("k", ""), NULL, "alg_not_allowed"},
		{ed_jwk("k", ",\"alg\":\"EdDSA\""), &ps, "alg_not_allowed"},
		{ed_jwk("k", ""), &eddsa, "EdDSA"},
		{tk_jwk(rsa, "k", ",\"alg\":\"ES256\""), &all, "alg_mismatch"},
		{tk_jwk(rsa, "k", ",\"alg\":\"EdDSA\""), &all, "alg_mismatch"},
		{tk_jwk(p256, "k", ",\"alg\":\"RS256\""), &all, "alg_mismatch"},
		{tk_jwk(p256, "k", ",\"alg\":\"ES384\""), &all, "alg_mismatch"},
		{tk_jwk(p384, "k", ",\"alg\":\"ES256\""), &all, "alg_mismatch"},
		{ed_jwk("k", ",\"alg\":\"ES256\""), &all, "alg_mismatch"},
		{tk_jwk(rsa, "k", ",\"alg\":\"none\""), &all, "alg_unknown"},
		{tk_jwk(rsa, "k", ",\"alg\":\"\""), &all, "alg_unknown"},
		{tk_jwk(rsa, "k", ",\"alg\":\"rs256\""), &all, "alg_unknown"},
		{tk_jwk(rsa, "k", ",\"alg\":\"HS256\""), &all, "alg_unknown"},
		{tk_jwk(rsa, "k", ",\"alg\":\"RS1\""), &all, "alg_unknown"},
		{tk_jwk(rsa, "k", ",\"alg\":\"RSA-OAEP\""), &all, "alg_unknown"},
		{tk_jwk(p256, "k", ",\"alg\":\"ES256K\""), &all, "alg_unknown"},
	};
	(void)state;
	for (unsigned i = 0; i < MICA_ARRAY_LEN(rows); i++)
		expect_fate(i, rows[i].jwk, rows[i].options, rows[i].why);
}

/* 65537 plus a multiple of twice the product of the primes up to 167: the ROCA fingerprint
 * (CVE-2017-15361), and no small factor. */
static char *roca_modulus(void)
{
	BIGNUM *m = BN_new(), *n = BN_new();
	uint8_t b[256];
	BN_set_word(m, 2);
	for (unsigned p = 3; p < 168; p += 2) {
		bool prime = true;
		for (unsigned d = 3; d * d <= p; d += 2)
			prime = prime && p % d;
		if (prime)
			BN_mul_word(m, p);
	}
	BN_copy(n, m);
	BN_lshift(n, n, 2048 - BN_num_bits(n));
	BN_add_word(n, 65537);
	for (bool ok = false; !ok;) {
		ok = true;
		BN_add(n, n, m);
		for (unsigned d = 3; d < 752; d += 2)
			ok = ok && BN_mod_word(n, d) != 0;
	}
	assert_int_equal(BN_bn2binpad(n, b, sizeof(b)), sizeof(b));
	assert_true(b[0] & 0x80);
	BN_free(n);
	BN_free(m);
	return tk_b64(b, sizeof(b));
}

static char *filled(size_t len, uint8_t first)
{
	uint8_t *b = mica_alloc(len);
	memset(b, 0xff, len);
	b[0] = first;
	char *s = tk_b64(b, len);
	mica_free(b);
	return s;
}

static void weak_and_broken_numbers(void **state)
{
	const char *n = n_of(rsa), *x = x_of(p256, 32), *y = y_of(p256, 32);
	const struct {
		const char *jwk, *why;
	} rows[] = {
		{rsa_jwk_of(n, "AQAB"), "RS256"},
		{rsa_jwk_of(n_of(small), "AQAB"), "key_weak"},
		{rsa_jwk_of(n, "AQ"), "key_weak"}, /* e = 1: every text is its own signature */
		{rsa_jwk_of(n, "Aw"), "key_weak"},
		{rsa_jwk_of(n, "AQAA"), "key_weak"}, /* even */
		{rsa_jwk_of(roca_modulus(), "AQAB"), "key_weak"},
		{rsa_jwk_of(filled(1024, 0xff), "AQAB"), "key_weak"}, /* 8192 bits */
		{rsa_jwk_of(filled(1025, 0xff), "AQAB"), "key_malformed"},
		{rsa_jwk_of(filled(257, 0), "AQAB"), "key_malformed"}, /* leading zero */
		{rsa_jwk_of("", "AQAB"), "key_malformed"},
		{rsa_jwk_of(n, ""), "key_malformed"},
		{rsa_jwk_of(tk_printf("%s=", n), "AQAB"), "key_malformed"},
		{rsa_jwk_of(tk_printf("%s\\n", n), "AQAB"), "key_malformed"},
		{"{\"kty\":\"RSA\",\"n\":\"AQAB\"}", "key_malformed"},
		{ec_jwk_of("P-256", x, y), "ES256"},
		{ec_jwk_of("P-256", y, x), "key_malformed"}, /* off the curve */
		{ec_jwk_of("P-256", filled(32, 0xff), y), "key_malformed"},
		{ec_jwk_of("P-256", x_of(p256, 33), y_of(p256, 33)), "key_malformed"},
		{ec_jwk_of("P-384", x, y), "key_malformed"},
		{ec_jwk_of("P-256", x, ""), "key_malformed"}, /* compressed, or Montgomery's */
		{ec_jwk_of("P-256", "", ""), "key_malformed"},
		{"{\"kty\":\"EC\",\"crv\":\"P-256\"}", "key_malformed"},
		{tk_jwk(p521, "k", ""), "curve_unknown"},
		{ec_jwk_of("secp256k1", x, y), "curve_unknown"},
		{ec_jwk_of("p-256", x, y), "curve_unknown"},
		{ec_jwk_of("", x, y), "curve_unknown"},
		{"{\"kty\":\"EC\"}", "curve_unknown"},
		{"{\"kty\":\"OKP\",\"crv\":\"Ed448\",\"x\":\"AAAA\"}", "curve_unknown"},
		{"{\"kty\":\"OKP\",\"crv\":\"X25519\",\"x\":\"AAAA\"}", "curve_unknown"},
		{"{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AAAA\"}", "key_malformed"},
		/* a point of small order */
		{tk_printf("{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"%s\"}",
			 tk_b64("\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
				 32)),
			"key_weak"},
	};
	(void)state;
	for (unsigned i = 0; i < MICA_ARRAY_LEN(rows); i++)
		expect_fate(i, rows[i].jwk, &all, rows[i].why);
}

static void assert_skipped(
	const struct mica_jwks *s, size_t i, unsigned index, const char *kid, const char *why)
{
	const struct mica_jwks_skipped *k = mica_jwks_skipped(s, i);
	assert_non_null(k);
	assert_int_equal(k->index, index);
	assert_string_equal(k->kid, kid);
	assert_string_equal(k->reason, why);
}

static void the_left_out_are_said(void **state)
{
	MICA_AUTO_JWKS s = tk_jwks(
		tk_printf("%s,7,%s,%s", tk_jwk(rsa, tk_printf("%070d", 1), ",\"use\":\"enc\""),
			tk_jwk(p256, "good", ""), tk_jwk(small, "weak", "")),
		NULL);
	(void)state;
	assert_int_equal(mica_jwks_count(s), 1);
	assert_string_equal(mica_jwks_key(s, 0)->kid, "good");
	assert_null(mica_jwks_key(s, 1));
	assert_int_equal(mica_jwks_skipped_count(s), 3);
	assert_skipped(s, 0, 0, tk_printf("%063d", 0), "use_not_sig");
	assert_skipped(s, 1, 1, "", "not_an_object");
	assert_skipped(s, 2, 3, "weak", "key_weak");
}

/* ---- one name, several keys ------------------------------------------------------------------ */

static void of_duplicates_none_counts(void **state)
{
	const char *r = tk_jwk(rsa, "k", ""), *second = tk_jwk(rsa, "k", ",\"alg\":\"RS256\"");
	const char *other = tk_jwk(p256, "o", ""), *ec = tk_jwk(p256, "k", "");
	const char *nameless =
		tk_printf("{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"AQAB\"}", n_of(rsa));
	(void)state;
	MICA_AUTO_JWKS two = tk_jwks(tk_printf("%s,%s,%s", r, other, second), NULL);
	assert_int_equal(mica_jwks_count(two), 1);
	assert_string_equal(mica_jwks_key(two, 0)->kid, "o");
	assert_int_equal(mica_jwks_skipped_count(two), 2);
	assert_skipped(two, 0, 0, "k", "duplicate_kid");
	assert_skipped(two, 1, 2, "k", "duplicate_kid");
	MICA_AUTO_JWKS three = tk_jwks(tk_printf("%s,%s,%s,%s", r, r, r, other), NULL);
	assert_int_equal(mica_jwks_skipped_count(three), 3);
	MICA_AUTO_JWKS pairs = tk_jwks(tk_printf("%s,%s,%s,%s,%s", r, r, ec, other, other), NULL);
	assert_int_equal(mica_jwks_count(pairs), 1);
	for (unsigned i = 0; i < 4; i++)
		assert_skipped(pairs, i, i < 2 ? i : i + 1, i < 2 ? "k" : "o", "duplicate_kid");
	/* (kid, alg) is the name of a key, so this is no duplicate */
	MICA_AUTO_JWKS algs =
		tk_jwks(tk_printf("%s,%s,%s", r, ec, tk_jwk(rsa, "k", ",\"alg\":\"RS512\"")), NULL);
	assert_int_equal(mica_jwks_count(algs), 3);
	/* nor is what was unusable anyway */
	MICA_AUTO_JWKS weak = tk_jwks(tk_printf("%s,%s", r, tk_jwk(small, "k", "")), NULL);
	assert_int_equal(mica_jwks_count(weak), 1);
	MICA_AUTO_JWKS without = tk_jwks(tk_printf("%s,%s", nameless, nameless), NULL);
	assert_int_equal(mica_jwks_count(without), 2);
	assert_false(mica_jwks_key(without, 0)->has_kid);
}

static enum mica_jwks_match find(const struct mica_jwks *s, const char *kid, enum mica_sig_alg alg,
	const struct mica_jwk **out)
{
	struct mica_slice k = mica_slice_str(kid);
	return mica_jwks_find(s, kid ? &k : NULL, alg, out);
}

static void finds_by_name_and_algorithm(void **state)
{
	const struct mica_jwk *k = NULL;
	MICA_AUTO_JWKS one = tk_jwks(tk_jwk(rsa, "a", ""), NULL);
	MICA_AUTO_JWKS many =
		tk_jwks(tk_printf("%s,%s,%s,%s", tk_jwk(rsa, "a", ""), tk_jwk(p256, "a", ""),
				tk_jwk(p384, "b", ""), tk_jwk(rsa, "", "")),
			NULL);
	(void)state;
	assert_int_equal(find(many, "a", MICA_SIG_ECDSA_SHA256, &k), MICA_JWKS_FOUND);
	assert_ptr_equal(k, mica_jwks_key(many, 1));
	assert_int_equal(find(many, "a", MICA_SIG_RSA_SHA256, &k), MICA_JWKS_FOUND);
	assert_ptr_equal(k, mica_jwks_key(many, 0));
	assert_int_equal(find(many, "a", MICA_SIG_RSA_SHA384, &k), MICA_JWKS_OTHER_ALG);
	assert_null(k);
	assert_int_equal(find(many, "b", MICA_SIG_ECDSA_SHA256, &k), MICA_JWKS_OTHER_ALG);
	assert_int_equal(find(many, "A", MICA_SIG_RSA_SHA256, &k), MICA_JWKS_UNKNOWN_KID);
	assert_int_equal(find(many, "a ", MICA_SIG_RSA_SHA256, &k), MICA_JWKS_UNKNOWN_KID);
	assert_int_equal(find(many, "", MICA_SIG_RSA_SHA256, &k), MICA_JWKS_FOUND);
	assert_ptr_equal(k, mica_jwks_key(many, 3));
	assert_int_equal(find(many, NULL, MICA_SIG_RSA_SHA256, &k), MICA_JWKS_KID_NEEDED);
	assert_null(k);
	assert_int_equal(find(one, NULL, MICA_SIG_RSA_SHA256, &k), MICA_JWKS_FOUND);
	assert_int_equal(find(one, NULL, MICA_SIG_RSA_SHA512, &k), MICA_JWKS_OTHER_ALG);
	assert_int_equal(find(one, "", MICA_SIG_RSA_SHA256, &k), MICA_JWKS_UNKNOWN_KID);
	/* a key without a name is not found by one: also not by the empty one */
	MICA_AUTO_JWKS nameless = tk_jwks(
		tk_printf("{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"AQAB\"}", n_of(rsa)), NULL);
	assert_int_equal(find(nameless, "", MICA_SIG_RSA_SHA256, &k), MICA_JWKS_UNKNOWN_KID);
	assert_int_equal(find(nameless, NULL, MICA_SIG_RSA_SHA256, &k), MICA_JWKS_FOUND);
}

/* ---- whole sets ----------------------------------------------------------------------------- */

static mica_rc parse(struct mica_slice text, struct mica_err *e)
{
	const struct mica_jwks *s = NULL;
	mica_rc rc = mica_jwks_parse(text, NULL, &s, e);
	assert_true(rc == MICA_OK ? s != NULL : s == NULL);
	mica_jwks_unref(s);
	return rc;
}

static void what_is_no_set(void **state)
{
	static const char *const bad[] = {"", " ", "{", "[]", "null", "7", "\"keys\"", "{}",
		"{\"keys\":{}}", "{\"keys\":null}", "{\"Keys\":[]}", "{\"keys\":[],\"keys\":[]}",
		"{\"keys\":[]} x", "\xef\xbb\xbf{\"keys\":[]}", "{\"keys\":[\"\\u0000\"]}",
		"{\"keys\":[\"\xff\"]}", "<html>", "{\"keys\":[[[[[[[[[1]]]]]]]]]}"};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(bad); i++)
		assert_refused(MICA_INVALID, "jwks_malformed", parse(mica_slice_str(bad[i]), e));
	assert_refused(MICA_INVALID, "jwks_malformed", parse(MICA_SLICE_NULL, e));
	assert_refused(MICA_INVALID, "jwks_no_usable_key", parse(MICA_LIT("{\"keys\":[]}"), e));
}

static void a_set_of_the_unusable_is_refused_and_says_why(void **state)
{
	struct mica_err e = MICA_ERR_INIT;
	const char *secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQ";
	char *text = tk_printf("{\"keys\":[%s,7,{\"kty\":\"oct\",\"k\":\"%s\"},%s]}",
		tk_jwk(small, "s", ""), secret, tk_jwk(p521, "p", ""));
	(void)state;
	assert_int_equal(parse(mica_slice_str(text), &e), MICA_INVALID);
	assert_string_equal(e.reason, "jwks_no_usable_key");
	assert_non_null(strstr(
		e.text, ": keys[0] key_weak, keys[1] not_an_object, keys[2] symmetric_key;"));
	assert_null(strstr(e.text, secret));
}

static void sets_are_bounded(void **state)
{
	MICA_AUTO_BUF b;
	const char *key = tk_jwk(rsa, "a", "");
	(void)state;
	for (unsigned more = 99; more <= 100; more++) {
		mica_buf_init(&b, 2 * MICA_JWKS_BYTES_MAX);
		mica_buf_printf(&b, "{\"keys\":[%s", key);
		for (unsigned i = 0; i < more; i++)
			mica_buf_put_str(&b, ",7");
		mica_buf_put_str(&b, "]}");
		if (more == 99)
			assert_ok(parse(mica_buf_slice(&b), e));
		else
			assert_refused(
				MICA_LIMIT, "jwks_too_many_keys", parse(mica_buf_slice(&b), e));
		mica_buf_clear(&b);
	}
	mica_buf_init(&b, 2 * MICA_JWKS_BYTES_MAX);
	mica_buf_printf(&b, "{\"keys\":[%s]}", key);
	while (b.len < MICA_JWKS_BYTES_MAX)
		mica_buf_put_u8(&b, ' ');
	assert_ok(parse(mica_buf_slice(&b), e));
	mica_buf_put_u8(&b, ' ');
	assert_refused(MICA_LIMIT, "jwks_too_long", parse(mica_buf_slice(&b), e));
}

/* All hundred usable: none is lost, each is found. */
static void a_full_set(void **state)
{
	MICA_AUTO_BUF b;
	const struct mica_jwk *k = NULL;
	(void)state;
	mica_buf_init(&b, 65536);
	for (unsigned i = 0; i < MICA_JWKS_KEYS_MAX; i++) {
		mica_buf_put_str(&b, i ? "," : "");
		mica_buf_put_str(&b, tk_jwk(p256, tk_printf("k%u", i), ""));
	}
	MICA_AUTO_JWKS s = tk_jwks((const char *)b.p, NULL);
	assert_int_equal(mica_jwks_count(s), MICA_JWKS_KEYS_MAX);
	for (unsigned i = 0; i < MICA_JWKS_KEYS_MAX; i++) {
		assert_int_equal(
			find(s, tk_printf("k%u", i), MICA_SIG_ECDSA_SHA256, &k), MICA_JWKS_FOUND);
		assert_ptr_equal(k, mica_jwks_key(s, i));
	}
}

static void a_set_lives_as_long_as_its_holders(void **state)
{
	const struct mica_jwks *a = tk_jwks(tk_jwk(p256, "a", ""), NULL);
	const struct mica_jwks *b = mica_jwks_ref(a);
	(void)state;
	assert_ptr_equal(a, b);
	mica_jwks_unref(a);
	assert_string_equal(mica_jwks_key(b, 0)->kid, "a");
	mica_jwks_unref(b);
	assert_null(mica_jwks_ref(NULL));
	mica_jwks_unref(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_key_has_one_algorithm),
		cmocka_unit_test(a_kept_key_verifies),
		cmocka_unit_test(members_must_be_what_they_are),
		cmocka_unit_test(secrets_in_public_are_no_keys),
		cmocka_unit_test(algorithms_fit_the_key_and_the_options),
		cmocka_unit_test(weak_and_broken_numbers),
		cmocka_unit_test(the_left_out_are_said),
		cmocka_unit_test(of_duplicates_none_counts),
		cmocka_unit_test(finds_by_name_and_algorithm),
		cmocka_unit_test(what_is_no_set),
		cmocka_unit_test(a_set_of_the_unusable_is_refused_and_says_why),
		cmocka_unit_test(sets_are_bounded),
		cmocka_unit_test(a_full_set),
		cmocka_unit_test(a_set_lives_as_long_as_its_holders),
	};
	return cmocka_run_group_tests(tests, make_keys, free_keys);
}
