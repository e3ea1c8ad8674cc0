/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Malicious tokens, classes 1 to 41: form, JSON, algorithms, signatures and keys. Each stands
 * beside its control, so that refusing everything passes nothing.
 */
#include "token_world.h"

#include <pthread.h>

static void a_good_token_says_who_it_is(void **state)
{
	struct judged j;
	char *t = good();
	uint8_t uid[16];
	(void)state;
	judge_with(worlds[W_MAIN], set_a, MICA_FRONT_REST, NOW, mica_slice_str(t), &j);
	check_fate(0, "good", &j, mica_slice_str(t), "ok");
	const struct mica_principal *p = &j.r.principal;
	assert_string_equal(p->issuer, "a");
	assert_string_equal(p->cluster, "a");
	assert_string_equal(p->ns, "payments");
	assert_string_equal(p->sa, "checkout");
	assert_string_equal(p->pod, "checkout-1");
	assert_string_equal(p->node, "node-1");
	assert_string_equal(p->subject, "");
	assert_string_equal(p->spiffe_id, ID);
	assert_int_equal(mica_uuid_parse(MICA_LIT(SA_UID), uid), MICA_OK);
	assert_memory_equal(p->sa_uid.b, uid, 16);
	assert_int_equal(mica_uuid_parse(MICA_LIT(POD_UID), uid), MICA_OK);
	assert_memory_equal(p->pod_uid.b, uid, 16);
	assert_int_equal(mica_uuid_parse(MICA_LIT(NODE_UID), uid), MICA_OK);
	assert_memory_equal(p->node_uid.b, uid, 16);
	assert_int_equal(j.r.evidence.kind, MICA_EV_TOKEN);
	assert_int_equal(j.r.evidence.front, MICA_FRONT_REST);
	assert_string_equal(j.r.evidence.id, JTI);
	assert_int_equal(j.r.evidence.origin_index, 0);
	assert_int_equal(j.r.evidence.origin_time, 0);
	assert_int_equal(j.r.iat, NOW - 600);
	assert_int_equal(j.r.nbf, NOW - 600);
	assert_int_equal(j.r.exp, NOW + 3000);
	assert_int_equal(j.r.evidence.credential_expiry, NOW + 3000);
	assert_string_equal(j.r.audience, "mica");
}

/* ---- 1 to 14: form -------------------------------------------------------------------------- */

static void structure(void **state)
{
	const char *t = good(), *h = part(t, 0), *p = part(t, 1), *s = part(t, 2);
	(void)state;
	expect(0, joined(h, p, s), "ok");
	expect(1, "", "token_empty");
	expect(2, h, "token_not_compact");
	expect(3, tk_printf("%s.%s", h, p), "token_not_compact");
	expect(4, tk_printf("%s.%s", t, s), "token_not_compact");
	expect(4, ".", "token_not_compact");
	expect(4, "......", "token_not_compact");
	expect(5, tk_printf("%s.%s.%s", t, s, s), "token_encrypted");
	expect(5, "....", "token_encrypted");
	expect(6,
		tk_printf(
			"{\"payload\":\"%s\",\"protected\":\"%s\",\"signature\":\"%s\"}", p, h, s),
		"token_not_compact");
	expect(6, "{\"payload\":\"a.b.c\"}", "token_encoding");
	expect(0, "..", "header_malformed");
}

/* 7: the longest that is read, and one octet more. Only the payload grows. */
static void length(void **state)
{
	char *pad = mica_alloc(MICA_TOKEN_MAX);
	(void)state;
	for (size_t n = 11000; n < 11900; n++) {
		memset(pad, 'x', n);
		pad[n] = '\0';
		const struct tk_claim c = {"pad", tk_printf("\"%s\"", pad)};
		char *t = tk_make(keys[KEY_A], HEADER, tk_kubernetes(&c, 1));
		size_t len = strlen(t);
		if (len > MICA_TOKEN_MAX - 2)
			expect(7, t, len > MICA_TOKEN_MAX ? "token_too_long" : "ok");
		if (len > MICA_TOKEN_MAX) {
			mica_free(pad);
			return;
		}
		n += len < MICA_TOKEN_MAX - 16 ? (MICA_TOKEN_MAX - 16 - len) * 3 / 4 : 0;
	}
	fail_msg("no token was long enough");
}

/* 8 to 14, for each part by itself. */
static void encoding(void **state)
{
	static const struct {
		unsigned class;
		const char *text;
	} spoils[] = {{10, "="}, {10, "=="}, {11, "+"}, {11, "/"}, {14, "%2e"}, {14, "?"},
		{14, "#"}, {14, "\xc3\xa4"}, {14, "A\nA"}, {14, " "}, {14, "~"}, {14, "\""},
		{14, "\\"}};
	static const char *const around[] = {
		" ", "\r", "\n", "\t", "\r\n", "\xc2\xa0", "\xef\xbb\xbf"};
	const char *t = good();
	struct judged j;
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(around); i++) {
		expect(8, tk_printf("%s%s", around[i], t), "token_encoding");
		expect(8, tk_printf("%s%s", t, around[i]), "token_encoding");
	}
	judge_with(worlds[W_MAIN], set_a, MICA_FRONT_REST, NOW, mica_slice(t, strlen(t) + 1), &j);
	check_fate(8, "NUL", &j, mica_slice_str(t), "token_encoding");
	expect(9, tk_printf("Bearer %s", t), "token_encoding");
	expect(9, tk_printf("Bearer Bearer %s", t), "token_encoding");
	for (unsigned n = 0; n < 3; n++) {
		char *parts[] = {part(t, 0), part(t, 1), part(t, 2)}, *was = parts[n];
		for (size_t i = 0; i < MICA_ARRAY_LEN(spoils); i++) {
			parts[n] = tk_printf("%s%s", was, spoils[i].text);
			expect(spoils[i].class, joined(parts[0], parts[1], parts[2]),
				"token_encoding");
			parts[n] = tk_printf("%s%s", spoils[i].text, was);
			expect(spoils[i].class, joined(parts[0], parts[1], parts[2]),
				"token_encoding");
		}
		parts[n] = tk_printf("%s%.*s", was, (int)(5 - strlen(was) % 4) % 4, "AAAA");
		assert_int_equal(strlen(parts[n]) % 4, 1);
		expect(13, joined(parts[0], parts[1], parts[2]), "token_encoding");
	}
}

/* 12: "QQ" and "QR" decode alike for those who do not look. */
static void unused_bits(void **state)
{
	static const char alphabet[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	unsigned tried = 0;
	(void)state;
	for (unsigned pad = 0; pad < 3; pad++) {
		const char *h =
			tk_printf("{\"alg\":\"RS256\",%.*s\"kid\":\"a1\"}", (int)pad, "   ");
		const struct tk_claim c = {"pad", tk_printf("\"%.*s\"", (int)pad, "xxx")};
		const char *t = tk_make(keys[KEY_A], h, tk_kubernetes(&c, 1));
		expect(0, t, "ok");
		for (unsigned n = 0; n < 3; n++) {
			char *parts[] = {part(t, 0), part(t, 1), part(t, 2)};
			size_t len = strlen(parts[n]);
			if (len % 4 == 0)
				continue;
			char *last = &parts[n][len - 1];
			*last = alphabet[(strchr(alphabet, *last) - alphabet) | 1];
			expect(12, joined(parts[0], parts[1], parts[2]), "token_encoding");
			tried++;
		}
	}
	assert_in_range(tried, 5, 9);
}

/* ---- 15 to 22: JSON ------------------------------------------------------------------------- */

static char *nested(unsigned depth, const char *open, const char *close)
{
	MICA_AUTO_BUF b;
	mica_buf_init(&b, 65536);
	for (unsigned i = 0; i < depth; i++)
		mica_buf_put_str(&b, open);
	mica_buf_put_str(&b, "1");
	for (unsigned i = 0; i < depth; i++)
		mica_buf_put_str(&b, close);
	return tk_printf("%s", (const char *)b.p);
}

static void headers_are_json(void **state)
{
	const struct {
		unsigned class;
		const char *header, *why;
	} rows[] = {
		{0, HEADER, "ok"},
		{0, " {\"kid\" : \"a1\",\n\"alg\":\"RS256\"} ", "ok"},
		{15, "", "header_malformed"},
		{15, "[]", "header_malformed"},
		{15, "[{\"alg\":\"RS256\",\"kid\":\"a1\"}]", "header_malformed"},
		{15, "\"alg\"", "header_malformed"},
		{15, "7", "header_malformed"},
		{15, "null", "header_malformed"},
		{15, "alg: RS256", "header_malformed"},
		{15, "{\"alg\":\"RS256\",\"kid\":\"a1\"", "header_malformed"},
		{15, "{\"alg\":\"RS256\",\"kid\":\"a1\",}", "header_malformed"},
		{15, "{'alg':'RS256','kid':'a1'}", "header_malformed"},
		{16, HEADER "x", "header_malformed"},
		{16, HEADER HEADER, "header_malformed"},
		{16, HEADER "/* */", "header_malformed"},
		{17, "{\"alg\":\"RS256\",\"kid\":\"a1\",\"alg\":\"none\"}",
			"header_member_duplicate"},
		{17, "{\"alg\":\"none\",\"kid\":\"a1\",\"alg\":\"RS256\"}",
			"header_member_duplicate"},
		{17, "{\"alg\":\"RS256\",\"kid\":\"a1\",\"alg\":\"RS256\"}",
			"header_member_duplicate"},
		{17, "{\"alg\":\"RS256\",\"kid\":\"a1\",\"kid\":\"e1\"}",
			"header_member_duplicate"},
		{18, "\xef\xbb\xbf" HEADER, "header_malformed"},
		{19, "{\"alg\":\"RS256\",\"kid\":\"\xff\"}", "header_malformed"},
		{19, "{\"alg\":\"RS256\",\"kid\":\"\xc0\xae\"}", "header_malformed"},
		{19, "{\"alg\":\"RS256\",\"kid\":\"\xed\xa0\x80\"}", "header_malformed"},
		{20, "{\"alg\":\"RS256\",\"kid\":\"a1\",\"al\\u0067\":\"none\"}",
			"header_member_duplicate"},
		{20, "{\"al\\u0067\":\"RS256\",\"kid\":\"a1\"}", "ok"}, /* the same name, once */
		{21, tk_printf("{\"alg\":\"RS256\",\"kid\":%s}", nested(1900, "[", "]")),
			"header_malformed"},
		{21, nested(1100, "{\"a\":", "}"), "header_malformed"},
		{22, "{\"alg\":\"RS256\",\"kid\":\"a1\\u0000\"}", "header_malformed"},
		{22, "{\"alg\":\"RS256\\u0000\",\"kid\":\"a1\"}", "header_malformed"},
	};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(rows); i++)
		expect(rows[i].class, with_header(rows[i].header), rows[i].why);
}

static void payloads_are_json(void **state)
{
	const char *whole = tk_kubernetes(NULL, 0);
	const struct {
		unsigned class;
		const char *payload, *why;
	} rows[] = {
		{0, whole, "ok"},
		{15, "", "payload_malformed"},
		{15, "[]", "payload_malformed"},
		{15, "7", "payload_malformed"},
		{15, tk_printf("[%s]", whole), "payload_malformed"},
		{15, "{}", "issuer_missing"},
		{16, tk_printf("%sx", whole), "payload_malformed"},
		{16, tk_printf("%s%s", whole, whole), "payload_malformed"},
		{17, tk_printf("{\"sub\":" SUB ",%s", whole + 1), "payload_malformed"},
		{18, tk_printf("\xef\xbb\xbf%s", whole), "payload_malformed"},
		{19, tk_printf("{\"x\":\"\xfe\",%s", whole + 1), "payload_malformed"},
		{20, tk_printf("{\"s\\u0075b\":\"x\",%s", whole + 1), "payload_malformed"},
		{21, tk_printf("{\"x\":%s,%s", nested(2000, "[", "]"), whole + 1),
			"payload_malformed"},
		{21, tk_printf("{\"x\":%s,%s", nested(12, "[", "]"), whole + 1),
			"payload_malformed"},
		{0, tk_printf("{\"x\":%s,%s", nested(11, "[", "]"), whole + 1), "ok"},
		{22, tk_printf("{\"x\":\"\\u0000\",%s", whole + 1), "payload_malformed"},
	};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(rows); i++)
		expect(rows[i].class, tk_make(keys[KEY_A], HEADER, rows[i].payload), rows[i].why);
	expect(22, with_claim("iss", "\"" ISS "\\u0000\""), "payload_malformed");
	expect(22, with_claim("sub", "\"system:serviceaccount:payments:checkout\\u0000x\""),
		"payload_malformed");
}

/* 21: depth costs no stack, whoever asks. */
static void *open_deep(void *token)
{
	struct judged j;
	judge_with(worlds[W_MAIN], set_a, MICA_FRONT_REST, NOW, mica_slice_str(token), &j);
	return j.rc == MICA_UNAUTHENTICATED ? NULL : token;
}

static void depth_costs_no_stack(void **state)
{
	char *deep[] = {with_header(nested(2000, "[", "]")),
		tk_make(keys[KEY_A], HEADER, nested(2000, "[", "]"))};
	pthread_attr_t attr;
	(void)state;
	assert_int_equal(pthread_attr_init(&attr), 0);
	assert_int_equal(pthread_attr_setstacksize(&attr, 128 * 1024), 0);
	for (size_t i = 0; i < MICA_ARRAY_LEN(deep); i++) {
		pthread_t t;
		void *failed = NULL;
		assert_int_equal(pthread_create(&t, &attr, open_deep, deep[i]), 0);
		assert_int_equal(pthread_join(t, &failed), 0);
		assert_null(failed);
	}
	pthread_attr_destroy(&attr);
}

/* ---- 23 to 32: algorithms ------------------------------------------------------------------- */

static char *hmac_token(const void *secret, size_t len)
{
	uint8_t mac[32];
	unsigned n = sizeof(mac);
	char *p = tk_signed_part(header_of("HS256", "a1"), tk_kubernetes(NULL, 0));
	assert_non_null(
		HMAC(EVP_sha256(), secret, (int)len, (const uint8_t *)p, strlen(p), mac, &n));
	return tk_with_sig(p, mac, n);
}

static void unsigned_tokens(void **state)
{
	static const char *const none[] = {"none", "None", "NONE", "nOnE"};
	const char *s = part(good(), 2);
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(none); i++) {
		char *p = tk_signed_part(header_of(none[i], "a1"), tk_kubernetes(NULL, 0));
		expect(23, tk_printf("%s.", p), "alg_none");
		expect(23, tk_printf("%s.%s", p, s), "alg_none");
		expect(23, with_header(header_of(none[i], "a1")), "alg_none");
		expect(23,
			tk_printf("%s.",
				tk_signed_part(tk_printf("{\"alg\":\"%s\"}", none[i]),
					tk_kubernetes(NULL, 0))),
			"alg_none");
	}
	/* a known algorithm, and nothing behind it */
	expect(23, tk_printf("%s.", tk_signed_part(HEADER, tk_kubernetes(NULL, 0))),
		"bad_signature");
}

static void public_keys_are_no_secrets(void **state)
{
	uint8_t *der = NULL;
	int len = i2d_PUBKEY(keys[KEY_A], &der);
	char *n = tk_number(keys[KEY_A], OSSL_PKEY_PARAM_RSA_N, 0), *pem = NULL;
	BIO *b = BIO_new(BIO_s_mem());
	(void)state;
	assert_int_equal(PEM_write_bio_PUBKEY(b, keys[KEY_A]), 1);
	long pem_len = BIO_get_mem_data(b, &pem);
	expect(24, hmac_token(der, (size_t)len), "alg_not_allowed");
	expect(24, hmac_token(pem, (size_t)pem_len), "alg_not_allowed");
	expect(24, hmac_token(pem, (size_t)pem_len - 1), "alg_not_allowed");
	expect(24, hmac_token(n, strlen(n)), "alg_not_allowed");
	expect(24, hmac_token("", 0), "alg_not_allowed");
	OPENSSL_free(der);
	BIO_free(b);
}

static void algorithms_belong_to_keys(void **state)
{
	const char *claims = tk_kubernetes(NULL, 0);
	const struct {
		unsigned class;
		enum key key;
		enum tk_form form;
		const EVP_MD *md;
		const char *header, *why;
	} rows[] = {
		{0, KEY_A, TK_RS, EVP_sha256(), HEADER, "ok"},
		{0, KEY_EC, TK_ES_RAW, EVP_sha256(), header_of("ES256", "e1"), "ok"},
		{0, KEY_EC384, TK_ES_RAW, EVP_sha384(), header_of("ES384", "e384"), "ok"},
		{25, KEY_A, TK_RS, EVP_sha256(), "{\"kid\":\"a1\"}", "alg_missing"},
		{25, KEY_A, TK_RS, EVP_sha256(), "{}", "alg_missing"},
		{25, KEY_A, TK_RS, EVP_sha256(), "{\"alg\":null,\"kid\":\"a1\"}", "alg_missing"},
		{25, KEY_A, TK_RS, EVP_sha256(), "{\"alg\":[\"RS256\"],\"kid\":\"a1\"}",
			"alg_missing"},
		{25, KEY_A, TK_RS, EVP_sha256(), "{\"alg\":7,\"kid\":\"a1\"}", "alg_missing"},
		{25, KEY_A, TK_RS, EVP_sha256(), "{\"alg\":\"\",\"kid\":\"a1\"}", "alg_missing"},
		{25, KEY_A, TK_RS, EVP_sha256(), header_of("rs256", "a1"), "alg_not_allowed"},
		{25, KEY_A, TK_RS, EVP_sha256(), header_of("RS256 ", "a1"), "alg_not_allowed"},
		{26, KEY_A, TK_RS, EVP_sha256(), header_of("RS256", "e1"), "alg_not_allowed"},
		{26, KEY_EC, TK_ES_RAW, EVP_sha256(), header_of("RS256", "e1"), "alg_not_allowed"},
		{26, KEY_EC, TK_ES_RAW, EVP_sha256(), header_of("ES256", "a1"), "alg_not_allowed"},
		{26, KEY_A, TK_RS, EVP_sha256(), header_of("ES256", "a1"), "alg_not_allowed"},
		{26, KEY_A, TK_RS, EVP_sha512(), header_of("RS512", "a1"), "alg_not_allowed"},
		{27, KEY_A, TK_PS, EVP_sha256(), header_of("PS256", "a1"), "alg_not_allowed"},
		{27, KEY_A, TK_PS, EVP_sha256(), HEADER, "bad_signature"},
		{28, KEY_EC384, TK_ES_RAW, EVP_sha256(), header_of("ES256", "e384"),
			"alg_not_allowed"},
		{28, KEY_EC384, TK_ES_RAW, EVP_sha256(), header_of("ES384", "e384"),
			"bad_signature"},
		{28, KEY_EC, TK_ES_RAW, EVP_sha384(), header_of("ES384", "e1"), "alg_not_allowed"},
		{29, KEY_EC, TK_ES_DER, EVP_sha256(), header_of("ES256", "e1"), "bad_signature"},
		{32, KEY_EC, TK_ES_RAW, EVP_sha256(), header_of("ES256K", "e1"), "alg_not_allowed"},
		{32, KEY_EC, TK_ES_RAW, EVP_sha512(), header_of("ES512", "e1"), "alg_not_allowed"},
		{32, KEY_EC, TK_ES_RAW, EVP_sha256(), header_of("EdDSA", "e1"), "alg_not_allowed"},
		{32, KEY_A, TK_RS, EVP_sha1(), header_of("RS1", "a1"), "alg_not_allowed"},
		{32, KEY_A, TK_RS, EVP_sha256(), header_of("HS512", "a1"), "alg_not_allowed"},
	};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(rows); i++)
		expect(rows[i].class,
			tk_make_as(keys[rows[i].key], rows[i].form, rows[i].md, rows[i].header,
				claims),
			rows[i].why);
}

/* 27 again, where PS256 is configured: still a key is one algorithm's. */
static void configured_algorithms_belong_to_keys(void **state)
{
	const char *claims = tk_kubernetes(NULL, 0);
	char *ps =
		tk_make_as(keys[KEY_OTHER], TK_PS, EVP_sha256(), header_of("PS256", "ps"), claims);
	(void)state;
	expect_in(0, W_PS, set_ps, NOW, ps, "ok");
	expect_in(0, W_PS, set_ps, NOW, good(), "ok");
	expect_in(27, W_MAIN, set_ps, NOW, ps, "alg_not_allowed");
	expect_in(27, W_PS, set_ps, NOW,
		tk_make_as(keys[KEY_A], TK_PS, EVP_sha256(), header_of("PS256", "a1"), claims),
		"alg_not_allowed");
	expect_in(27, W_PS, set_ps, NOW,
		tk_make_as(keys[KEY_OTHER], TK_RS, EVP_sha256(), header_of("RS256", "ps"), claims),
		"alg_not_allowed");
	expect_in(27, W_PS, set_ps, NOW,
		tk_make_as(keys[KEY_OTHER], TK_RS, EVP_sha256(), header_of("PS256", "ps"), claims),
		"bad_signature");
}

/* 30: r and s from a number each, in `width` octets. */
static char *ec_token(const BIGNUM *r, const BIGNUM *s, int width)
{
	uint8_t sig[256];
	assert_int_equal(BN_bn2binpad(r, sig, width), width);
	assert_int_equal(BN_bn2binpad(s, sig + width, width), width);
	return tk_with_sig(tk_signed_part(header_of("ES256", "e1"), tk_kubernetes(NULL, 0)), sig,
		2 * (size_t)width);
}

static void psychic_signatures(void **state)
{
	EC_GROUP *g = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
	const BIGNUM *n = EC_GROUP_get0_order(g);
	BIGNUM *zero = BN_new(), *one = BN_new(), *r = BN_new(), *s = BN_new();
	char *t = tk_make_as(keys[KEY_EC], TK_ES_RAW, EVP_sha256(), header_of("ES256", "e1"),
		tk_kubernetes(NULL, 0));
	uint8_t raw[80] = {0};
	size_t len = sizeof(raw);
	(void)state;
	BN_one(one);
	expect(0, t, "ok");
	assert_int_equal(mica_b64url_decode(mica_slice_str(part(t, 2)), raw, &len), MICA_OK);
	assert_int_equal(len, 64);
	BN_bin2bn(raw, 32, r);
	BN_bin2bn(raw + 32, 32, s);
	expect(0, ec_token(r, s, 32), "ok");
	const BIGNUM *pairs[][2] = {{zero, zero}, {n, n}, {zero, s}, {r, zero}, {n, s}, {r, n},
		{one, one}, {one, zero}, {r, one}};
	for (size_t i = 0; i < MICA_ARRAY_LEN(pairs); i++)
		expect(30, ec_token(pairs[i][0], pairs[i][1], 32), "bad_signature");
	expect(30, ec_token(r, s, 33), "bad_signature");
	expect(30, ec_token(r, s, 48), "bad_signature");
	const char *p = tk_signed_part(header_of("ES256", "e1"), tk_kubernetes(NULL, 0));
	for (size_t cut = 0; cut < 80; cut++)
		if (cut != 64)
			expect(30, tk_with_sig(p, raw, cut), "bad_signature");
	/* n - s is as good as s (the signature proves the same): nothing hangs on its octets */
	BN_sub(s, n, s);
	expect(0, ec_token(r, s, 32), "ok");
	BN_free(zero);
	BN_free(one);
	BN_free(r);
	BN_free(s);
	EC_GROUP_free(g);
}

/* 31: what RSA makes of 256 octets without looking at them. */
static size_t raw_rsa(EVP_PKEY *k, const uint8_t em[256], uint8_t sig[256])
{
	size_t len = 256;
	EVP_PKEY_CTX *c = EVP_PKEY_CTX_new(k, NULL);
	assert_int_equal(EVP_PKEY_sign_init(c), 1);
	assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(c, RSA_NO_PADDING), 1);
	assert_int_equal(EVP_PKEY_sign(c, sig, &len, em, 256), 1);
	EVP_PKEY_CTX_free(c);
	return len;
}

/* EMSA-PKCS1-v1_5 with any DigestInfo and any octets behind the hash. */
static void encode_em(uint8_t em[256], const uint8_t *info, size_t info_len, const uint8_t hash[32],
	size_t behind)
{
	size_t at = 256 - behind - 32 - info_len;
	memset(em, 0xff, 256);
	em[0] = 0;
	em[1] = 1;
	em[at - 1] = 0;
	memcpy(em + at, info, info_len);
	memcpy(em + at + info_len, hash, 32);
	memset(em + 256 - behind, 0x5a, behind);
}

static void rsa_padding(void **state)
{
	static const uint8_t info[] = {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
		0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20};
	static const uint8_t no_null[] = {0x30, 0x2f, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48,
		0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x04, 0x20};
	static const uint8_t long_form[] = {0x30, 0x81, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86,
		0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20};
	const char *p = tk_signed_part(HEADER, tk_kubernetes(NULL, 0));
	uint8_t hash[32], em[256], sig[260] = {0};
	(void)state;
	EVP_Q_digest(NULL, "SHA256", NULL, p, strlen(p), hash, NULL);
	encode_em(em, info, sizeof(info), hash, 0);
	size_t len = raw_rsa(keys[KEY_A], em, sig);
	expect(0, tk_with_sig(p, sig, len), "ok");
	for (size_t cut = 0; cut < 256; cut += 15)
		expect(31, tk_with_sig(p, sig, cut), "bad_signature");
	expect(31, tk_with_sig(p, sig, 257), "bad_signature");
	memmove(sig + 1, sig, 256);
	sig[0] = 0;
	expect(31, tk_with_sig(p, sig, 257), "bad_signature");
	for (size_t behind = 1; behind < 200; behind += 33) {
		encode_em(em, info, sizeof(info), hash, behind);
		expect(31, tk_with_sig(p, sig, raw_rsa(keys[KEY_A], em, sig)), "bad_signature");
	}
	encode_em(em, no_null, sizeof(no_null), hash, 0);
	expect(31, tk_with_sig(p, sig, raw_rsa(keys[KEY_A], em, sig)), "bad_signature");
	encode_em(em, long_form, sizeof(long_form), hash, 0);
	expect(31, tk_with_sig(p, sig, raw_rsa(keys[KEY_A], em, sig)), "bad_signature");
	encode_em(em, info, sizeof(info), hash, 0);
	em[1] = 2; /* a padding for encryption */
	expect(31, tk_with_sig(p, sig, raw_rsa(keys[KEY_A], em, sig)), "bad_signature");
	em[1] = 1;
	em[5] = 0xfe;
	expect(31, tk_with_sig(p, sig, raw_rsa(keys[KEY_A], em, sig)), "bad_signature");
	memset(sig, 0xff, sizeof(sig)); /* above n */
	expect(31, tk_with_sig(p, sig, 256), "bad_signature");
	memset(sig, 0, sizeof(sig));
	expect(31, tk_with_sig(p, sig, 256), "bad_signature");
	sig[255] = 1;
	expect(31, tk_with_sig(p, sig, 256), "bad_signature");
}

static void rsa_plus_n(void **state)
{
	const char *t = good();
	uint8_t sig[257];
	size_t len = sizeof(sig);
	BIGNUM *n = NULL, *s = BN_new();
	(void)state;
	assert_int_equal(EVP_PKEY_get_bn_param(keys[KEY_A], OSSL_PKEY_PARAM_RSA_N, &n), 1);
	assert_int_equal(mica_b64url_decode(mica_slice_str(part(t, 2)), sig, &len), MICA_OK);
	BN_bin2bn(sig, (int)len, s);
	BN_add(s, s, n); /* the same modulo n */
	BN_bn2binpad(s, sig, 257);
	expect(31, tk_with_sig(tk_printf("%s.%s", part(t, 0), part(t, 1)), sig, 257),
		"bad_signature");
	BN_free(n);
	BN_free(s);
}

/* A signature longer than that of any key ends with its length. */
static void signatures_are_bounded(void **state)
{
	uint8_t sig[513] = {0};
	const char *p = tk_signed_part(HEADER, tk_kubernetes(NULL, 0));
	(void)state;
	expect(31, tk_with_sig(p, sig, 512), "bad_signature");
	expect(31, tk_with_sig(p, sig, 513), "bad_signature");
}

/* ---- 33 to 41: headers and keys ------------------------------------------------------------- */

/* 34: nothing here can fetch: the functions take no socket, and lint keeps ca/ without one. */
static void headers_bring_no_keys(void **state)
{
	const char *own = tk_jwk(keys[KEY_OTHER], "a1", "");
	const struct {
		unsigned class;
		const char *more, *why;
	} rows[] = {
		{0, "\"typ\":\"JWT\"", "ok"},
		{0, "\"typ\":\"jwt\"", "ok"},
		{0, "\"typ\":\"at+jwt\"", "ok"},
		{0, "\"x5t\":\"AAAA\",\"x5t#S256\":\"AAAA\"", "ok"},
		{33, tk_printf("\"jwk\":%s", own), "header_member_not_allowed"},
		{33, "\"jwk\":null", "header_member_not_allowed"},
		{34, "\"jku\":\"https://evil.example/jwks\"", "header_member_not_allowed"},
		{34, "\"x5u\":\"https://evil.example/chain\"", "header_member_not_allowed"},
		{35, "\"x5c\":[\"MIIB\"]", "header_member_not_allowed"},
		{36, "\"crit\":[\"b64\"],\"b64\":false", "header_crit"},
		{36, "\"crit\":[]", "header_crit"},
		{36, "\"crit\":[\"exp\"]", "header_crit"},
		{36, "\"crit\":null", "header_crit"},
		{36, "\"b64\":false", "header_member_not_allowed"},
		{36, "\"b64\":true", "header_member_not_allowed"},
		{37, "\"zip\":\"DEF\"", "header_member_not_allowed"},
		{37, "\"enc\":\"A256GCM\"", "header_member_not_allowed"},
		{37, "\"p2c\":2147483648,\"p2s\":\"AAAA\"", "header_member_not_allowed"},
		{37, "\"epk\":{}", "header_member_not_allowed"},
		{37, "\"cty\":\"JWT\"", "header_member_not_allowed"},
		{37, "\"\":1", "header_member_not_allowed"},
		{37, "\"Alg\":\"none\"", "header_member_not_allowed"},
		{37, "\"typ\":\"mica-bundle+jws\"", "typ_not_allowed"},
		{37, "\"typ\":\"secevent+jwt\"", "typ_not_allowed"},
		{37, "\"typ\":\"dpop+jwt\"", "typ_not_allowed"},
		{37, "\"typ\":null", "typ_not_allowed"},
		{37, "\"typ\":[\"JWT\"]", "typ_not_allowed"},
		{37, "\"typ\":\"\"", "typ_not_allowed"},
	};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(rows); i++)
		expect(rows[i].class,
			with_header(
				tk_printf("{\"alg\":\"RS256\",\"kid\":\"a1\",%s}", rows[i].more)),
			rows[i].why);
	/* 33: signed by the key that it brings along */
	expect(33,
		tk_make(keys[KEY_OTHER],
			tk_printf("{\"alg\":\"RS256\",\"kid\":\"a1\",\"jwk\":%s}", own),
			tk_kubernetes(NULL, 0)),
		"header_member_not_allowed");
}

static void key_names(void **state)
{
	const struct {
		unsigned class;
		const char *kid, *why; /* kid as JSON */
	} rows[] = {
		{0, "\"a1\"", "ok"},
		{38, "\"a2\"", "unknown_key"},
		{38, "\"A1\"", "unknown_key"},
		{38, "\"a1 \"", "unknown_key"},
		{38, "\"\"", "unknown_key"},
		{38, "\"../../etc/passwd\"", "unknown_key"},
		{38, "\"' OR 1=1 --\"", "unknown_key"},
		{38, "\"%s%n%x\"", "unknown_key"},
		{38, "\"file:///dev/zero\"", "unknown_key"},
		{38,
			"\"\xd0\xb0"
			"1\"",
			"unknown_key"},
		{38, tk_printf("\"%0255d\"", 1), "unknown_key"},
		{38, tk_printf("\"%0256d\"", 1), "kid_malformed"},
		{38, "7", "kid_malformed"},
		{38, "null", "kid_malformed"},
		{38, "[\"a1\"]", "kid_malformed"},
		{38, "{\"a1\":1}", "kid_malformed"},
		{38, "true", "kid_malformed"},
		{38, "\"enc\"", "unknown_key"},
		{40, "\"twice\"", "unknown_key"},
		{40, "\"weak\"", "unknown_key"},
		{40, "\"leaked\"", "unknown_key"},
		{40, "\"oct\"", "unknown_key"},
		{40, "\"e1-rsa\"", "unknown_key"},
	};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(rows); i++)
		for (enum key k = KEY_A; k <= KEY_OTHER; k++)
			if (k == KEY_A || rows[i].class)
				expect(rows[i].class,
					tk_make(keys[k],
						tk_printf("{\"alg\":\"RS256\",\"kid\":%s}",
							rows[i].kid),
						tk_kubernetes(NULL, 0)),
					rows[i].why);
}

static void key_names_that_are_missing(void **state)
{
	const char *header = "{\"alg\":\"RS256\"}";
	MICA_AUTO_FREE char *big = mica_alloc((1 << 20) + 1);
	struct judged j;
	(void)state;
	/* with one key there is no doubt */
	expect_in(0, W_MAIN, set_one, NOW, with_header(header), "ok");
	expect_in(38, W_MAIN, set_a, NOW, with_header(header), "kid_needed");
	expect_in(38, W_MAIN, set_one, NOW,
		tk_make(keys[KEY_OTHER], header, tk_kubernetes(NULL, 0)), "bad_signature");
	memset(big, 'A', 1 << 20);
	judge_with(worlds[W_MAIN], set_a, MICA_FRONT_REST, NOW, mica_slice(big, 1 << 20), &j);
	check_fate(38, "a megabyte", &j, MICA_SLICE_NULL, "token_too_long");
	/* 39: rotated out of the set */
	char *t = good();
	expect_in(0, W_MAIN, set_a, NOW, t, "ok");
	expect_in(39, W_MAIN, set_a_reloaded, NOW, t, "unknown_key");
	expect_in(0, W_MAIN, set_a, NOW, t, "ok");
	judge_with(worlds[W_MAIN], NULL, MICA_FRONT_REST, NOW, mica_slice_str(t), &j);
	assert_int_equal(j.rc, MICA_UNAVAILABLE);
	assert_string_equal(j.e.reason, "issuer_keys_missing");
}

static void one_octet_is_enough(void **state)
{
	const char *t = good(), *p = tk_printf("%s.%s", part(t, 0), part(t, 1));
	const char *ec = tk_make_as(keys[KEY_EC], TK_ES_RAW, EVP_sha256(), header_of("ES256", "e1"),
		tk_kubernetes(NULL, 0));
	const struct tk_claim admin = {"sub", "\"system:serviceaccount:kube-system:admin\""};
	uint8_t raw[256];
	size_t len = sizeof(raw);
	(void)state;
	/* 41: another header, or another payload, over a good signature */
	expect(41, joined(part(ec, 0), part(t, 1), part(t, 2)), "bad_signature");
	expect(41,
		joined(part(with_header("{\"kid\":\"a1\",\"alg\":\"RS256\"}"), 0), part(t, 1),
			part(t, 2)),
		"bad_signature");
	const char *forged = tk_kubernetes(&admin, 1);
	expect(41, joined(part(t, 0), tk_b64(forged, strlen(forged)), part(t, 2)), "bad_signature");
	assert_int_equal(mica_b64url_decode(mica_slice_str(part(t, 2)), raw, &len), MICA_OK);
	for (size_t i = 0; i < len; i += 5) {
		raw[i] ^= (uint8_t)(1 << i % 8);
		expect(41, tk_with_sig(p, raw, len), "bad_signature");
		raw[i] ^= (uint8_t)(1 << i % 8);
	}
	expect(0, tk_with_sig(p, raw, len), "ok");
}

static void every_class_has_its_test(void **state)
{
	(void)state;
	tw_assert_seen(1, 41);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_good_token_says_who_it_is),
		TEST(structure),
		TEST(length),
		TEST(encoding),
		TEST(unused_bits),
		TEST(headers_are_json),
		TEST(payloads_are_json),
		TEST(depth_costs_no_stack),
		TEST(unsigned_tokens),
		TEST(public_keys_are_no_secrets),
		TEST(algorithms_belong_to_keys),
		TEST(configured_algorithms_belong_to_keys),
		TEST(psychic_signatures),
		TEST(rsa_padding),
		TEST(rsa_plus_n),
		TEST(signatures_are_bounded),
		TEST(headers_bring_no_keys),
		TEST(key_names),
		TEST(key_names_that_are_missing),
		TEST(one_octet_is_enough),
		TEST(every_class_has_its_test),
	};
	return cmocka_run_group_tests(tests, make_all, free_all);
}
