/* SPDX-License-Identifier: Apache-2.0 */
#include "pki.h"

static struct mica_secret *secret(const char *s)
{
	return mica_secret_new(s, strlen(s));
}

static void passphrases(void **state)
{
	(void)state;
	MICA_AUTO_BUF record;
	MICA_AUTO_KEK k = NULL;
	struct mica_secret *right = secret("correct horse"), *wrong = secret("correct horse ");
	mica_buf_init(&record, 256);
	assert_ok(mica_kek_create(right, &record, &k, e));
	mica_kek_free(k);
	k = NULL;
	assert_refused(MICA_UNAUTHENTICATED, "wrong_passphrase",
		mica_kek_unlock(wrong, mica_buf_slice(&record), &k, e));
	assert_ok(mica_kek_unlock(right, mica_buf_slice(&record), &k, e));
	mica_kek_free(k);
	k = NULL;
	for (size_t n = 0; n < record.len; n++)
		assert_refused(MICA_CORRUPT, "kek_record_malformed",
			mica_kek_unlock(right, mica_slice(record.p, n), &k, e));
	/* Costs that would take all memory, of another version; a changed salt or check is a wrong
	 * passphrase. */
	static const struct {
		size_t at;
		uint8_t xor ;
		const char *reason;
	} cases[] = {{0, 1, "kek_record_malformed"}, {4, 3, "kek_record_malformed"},
		{5, 0x20, "kek_record_malformed"}, {6, 0xff, "kek_record_malformed"},
		{7, 0xf0, "kek_record_malformed"}, {8, 1, "wrong_passphrase"},
		{71, 1, "wrong_passphrase"}};
	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++) {
		record.p[cases[i].at] ^= cases[i].xor ;
		assert_refused(strcmp(cases[i].reason, "wrong_passphrase") ? MICA_CORRUPT
									   : MICA_UNAUTHENTICATED,
			cases[i].reason, mica_kek_unlock(right, mica_buf_slice(&record), &k, e));
		record.p[cases[i].at] ^= cases[i].xor ;
	}
	mica_secret_free(right);
	mica_secret_free(wrong);
}

/* The cost that programs use; the other tests take less. */
static void real_cost(void **state)
{
	(void)state;
	MICA_AUTO_BUF record;
	MICA_AUTO_KEK k = NULL;
	struct mica_secret *s = secret("p");
	mica_buf_init(&record, 256);
	assert_ok(mica_kek_create(s, &record, &k, e));
	assert_memory_equal(record.p, "MKEK\x01\x10\x08\x01", 8); /* N = 2^16, r = 8, p = 1 */
	mica_secret_free(s);
	mica_kek_set_test_cost(4);
}

static void envelopes(void **state)
{
	(void)state;
	MICA_AUTO_BUF r1, r2, box;
	MICA_AUTO_KEK k1 = NULL;
	MICA_AUTO_KEK k2 = NULL;
	struct mica_secret *p = secret("p");
	mica_buf_init(&r1, 256);
	mica_buf_init(&r2, 256);
	mica_buf_init(&box, 8192);
	assert_ok(mica_kek_create(p, &r1, &k1, e));
	assert_ok(mica_kek_create(p, &r2, &k2, e)); /* the same passphrase, another store */
	static const enum mica_key_name types[] = {
		MICA_KN_P256, MICA_KN_P384, MICA_KN_RSA4096, MICA_KN_ED25519};
	for (size_t i = 0; i < MICA_ARRAY_LEN(types); i++) {
		struct mica_signer *s = NULL, *back = NULL;
		struct mica_secret *clear = NULL;
		mica_buf_reset(&box);
		assert_ok(mica_signer_generate(
			types[i] == MICA_KN_RSA4096 ? MICA_KN_RSA2048 : types[i], &s, e));
		assert_ok(mica_kek_seal(k1, MICA_KEY_ISSUING, "abc", s, &box, e));
		assert_ok(mica_signer_pkcs8(s, &clear, e));
		struct mica_slice v = mica_secret_view(clear), b = mica_buf_slice(&box);
		for (size_t at = 0; at + 16 <= b.len; at++) /* nothing of the key stands in it */
			assert_memory_not_equal(b.p + at, v.p + v.len - 16, 16);
		mica_secret_free(clear);
		assert_ok(mica_kek_open(k1, MICA_KEY_ISSUING, "abc", b, &back, e));
		assert_true(mica_pubkey_eq(mica_signer_public(s), mica_signer_public(back)));
		mica_signer_free(back);
		/* put in another's place */
		assert_refused(MICA_CORRUPT, "key_envelope_damaged",
			mica_kek_open(k1, MICA_KEY_ISSUING, "abd", b, &back, e));
		assert_refused(MICA_CORRUPT, "key_envelope_damaged",
			mica_kek_open(k1, MICA_KEY_ROOT, "abc", b, &back, e));
		assert_refused(MICA_CORRUPT, "key_envelope_damaged",
			mica_kek_open(k2, MICA_KEY_ISSUING, "abc", b, &back, e));
		/* altered: every octet, every length */
		for (size_t at = 0; at < b.len; at++) {
			box.p[at] ^= 0x80;
			assert_refused(MICA_CORRUPT,
				at < 5 ? "key_envelope_malformed" : "key_envelope_damaged",
				mica_kek_open(k1, MICA_KEY_ISSUING, "abc", b, &back, e));
			box.p[at] ^= 0x80;
		}
		for (size_t n = 0; n < b.len; n += 7)
			assert_refused(MICA_CORRUPT,
				n <= 33 ? "key_envelope_malformed" : "key_envelope_damaged",
				mica_kek_open(
					k1, MICA_KEY_ISSUING, "abc", mica_slice(b.p, n), &back, e));
		mica_signer_free(s);
	}
	mica_secret_free(p);
}

static void names(void **state)
{
	(void)state;
	MICA_AUTO_BUF r, box;
	MICA_AUTO_KEK k = NULL;
	struct mica_secret *p = secret("p");
	struct mica_signer *s;
	char name[257];
	memset(name, 'x', 256);
	name[256] = '\0';
	mica_buf_init(&r, 256);
	mica_buf_init(&box, 8192);
	assert_ok(mica_kek_create(p, &r, &k, e));
	assert_ok(mica_signer_generate(MICA_KN_P256, &s, e));
	assert_refused(
		MICA_INTERNAL, "key_name_invalid", mica_kek_seal(k, MICA_KEY_JWT, "", s, &box, e));
	assert_refused(MICA_INTERNAL, "key_name_invalid",
		mica_kek_seal(k, MICA_KEY_JWT, name, s, &box, e));
	assert_refused(MICA_INTERNAL, "key_name_invalid",
		mica_kek_seal(k, (enum mica_key_purpose)0, "x", s, &box, e));
	name[255] = '\0';
	assert_ok(mica_kek_seal(k, MICA_KEY_JWT, name, s, &box, e));
	for (int i = 1; i < MICA_KEY_PURPOSE_COUNT; i++)
		assert_string_not_equal(mica_key_purpose_name((enum mica_key_purpose)i), "unknown");
	mica_signer_free(s);
	mica_secret_free(p);
}

/* What is opened twice under one key must not show that it is the same key. */
static void fresh_nonce(void **state)
{
	(void)state;
	MICA_AUTO_BUF r, a, b;
	MICA_AUTO_KEK k = NULL;
	struct mica_secret *p = secret("p");
	struct mica_signer *s;
	mica_buf_init(&r, 256);
	mica_buf_init(&a, 8192);
	mica_buf_init(&b, 8192);
	assert_ok(mica_kek_create(p, &r, &k, e));
	assert_ok(mica_signer_generate(MICA_KN_P256, &s, e));
	assert_ok(mica_kek_seal(k, MICA_KEY_JWT, "x", s, &a, e));
	assert_ok(mica_kek_seal(k, MICA_KEY_JWT, "x", s, &b, e));
	assert_int_equal(a.len, b.len);
	assert_memory_not_equal(a.p + 5, b.p + 5, 12);
	assert_memory_not_equal(a.p + 17, b.p + 17, 16);
	mica_signer_free(s);
	mica_secret_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(real_cost),
		cmocka_unit_test(passphrases),
		cmocka_unit_test(envelopes),
		cmocka_unit_test(names),
		cmocka_unit_test(fresh_nonce),
	};
	mica_keys_secure_memory();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
