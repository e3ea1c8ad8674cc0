/* SPDX-License-Identifier: Apache-2.0 */
/* What is published: the bundle in all forms, its numbers, and its signed form. */
#include "coretest.h"

#include "../../ca/core_impl.h"

#include <stdio.h>

static uint64_t sequence(struct ct *t)
{
	return mica_core_bundle_sequence(t->core, MICA_CHANNEL_LIVE);
}

static const struct mica_snapshot *snapshot(struct ct *t, enum mica_format f)
{
	const struct mica_snapshot *s = NULL;

	assert_ok(mica_core_snapshot(t->core, NULL, MICA_CHANNEL_LIVE, f, &s, e));
	return s;
}

static bool maintain(struct ct *t, int64_t now_ms)
{
	bool changed = false;

	assert_ok(mica_core_maintain(t->core, now_ms, &changed, e));
	return changed;
}

static json_t *parse(const char *text)
{
	json_t *j = json_loads(text, JSON_REJECT_DUPLICATES, NULL);

	assert_non_null(j);
	return j;
}

static const char *str(const json_t *obj, const char *name)
{
	return json_string_value(json_object_get(obj, name));
}

/* ---- forms ----------------------------------------------------------------------------------- */

/* SPIFFE Trust Domain and Bundle 4, JWT-SVID 4, X509-SVID 6. */
static void the_bundle_follows_spiffe(void **state)
{
	struct ct *t = *state;
	json_t *doc = parse(ct_snapshot(t, MICA_CHANNEL_LIVE, MICA_FMT_BUNDLE_JSON));
	json_t *keys = json_object_get(doc, "keys"), *key;
	unsigned x509 = 0, jwt = 0;
	size_t i;

	assert_int_equal(json_integer_value(json_object_get(doc, "spiffe_sequence")), sequence(t));
	assert_int_equal(json_integer_value(json_object_get(doc, "spiffe_refresh_hint")), 300);
	json_array_foreach (keys, i, key) {
		assert_string_equal(str(key, "kty"), "EC");
		if (strcmp(str(key, "use"), "x509-svid") == 0) {
			const json_t *chain = json_object_get(key, "x5c");

			assert_int_equal(json_array_size(chain), 1);
			assert_null(json_object_get(key, "kid"));
			x509++;
		} else {
			assert_string_equal(str(key, "use"), "jwt-svid");
			assert_int_equal(strlen(str(key, "kid")), 40);
			jwt++;
		}
	}
	assert_int_equal(x509, 1);
	assert_int_equal(jwt, 1);
	json_decref(doc);
}

static void all_forms_are_of_one_content(void **state)
{
	struct ct *t = *state;
	json_t *doc = parse(ct_snapshot(t, MICA_CHANNEL_LIVE, MICA_FMT_BUNDLE_JSON));
	json_t *set = parse(ct_snapshot(t, MICA_CHANNEL_LIVE, MICA_FMT_JWKS));
	json_t *key = json_array_get(json_object_get(set, "keys"), 0);
	struct mica_slice pem =
		mica_slice_str(ct_snapshot(t, MICA_CHANNEL_LIVE, MICA_FMT_BUNDLE_PEM));
	X509 *root;
	BIO *b = BIO_new_mem_buf(pem.p, (int)pem.len);
	char *b64;
	uint8_t *der = NULL;
	int len;

	assert_int_equal(json_array_size(json_object_get(set, "keys")), 1);
	assert_string_equal(str(key, "use"), "sig");
	assert_string_equal(str(key, "alg"), "ES256");
	root = PEM_read_bio_X509(b, NULL, NULL, NULL);
	assert_non_null(root);
	assert_null(PEM_read_bio_X509(b, NULL, NULL, NULL));
	ERR_clear_error();
	len = i2d_X509(root, &der);
	b64 = tk_keep(mica_alloc(MICA_B64_SIZE((size_t)len)));
	mica_b64_encode(der, (size_t)len, b64);
	key = json_array_get(json_object_get(doc, "keys"), 0);
	assert_string_equal(json_string_value(json_array_get(json_object_get(key, "x5c"), 0)), b64);
	OPENSSL_free(der);
	X509_free(root);
	BIO_free(b);
	json_decref(doc);
	json_decref(set);
}

static void readers_share_one_encoding(void **state)
{
	struct ct *t = *state;
	const struct mica_snapshot *a = snapshot(t, MICA_FMT_BUNDLE_JSON);
	const struct mica_snapshot *b = snapshot(t, MICA_FMT_BUNDLE_JSON);
	char etag[96];

	assert_ptr_equal(a, b);
	snprintf(etag, sizeof(etag), "\"default-live-%llu\"", (unsigned long long)sequence(t));
	assert_string_equal(a->etag, etag);
	assert_int_equal(a->expires, 0);
	mica_snapshot_unref(b);
	/* a reader keeps what it has when a new one is published */
	t->config.bundle.refresh_hint = 600;
	assert_ok(mica_core_configure(t->core, &t->config, NOW_MS, e));
	assert_true(a->sequence < sequence(t));
	assert_int_equal(a->bytes.p[0], '{');
	mica_snapshot_unref(a);
}

static void there_is_one_trust_domain(void **state)
{
	struct ct *t = *state;
	const struct mica_snapshot *s = NULL;

	assert_ok(
		mica_core_snapshot(t->core, TD, MICA_CHANNEL_CANARY, MICA_FMT_BUNDLE_JSON, &s, e));
	mica_snapshot_unref(s);
	assert_refused(MICA_NOT_FOUND, "no_such_trust_domain",
		mica_core_snapshot(
			t->core, "example.com", MICA_CHANNEL_LIVE, MICA_FMT_BUNDLE_JSON, &s, e));
}

/* ---- numbers --------------------------------------------------------------------------------- */

static void sequences_only_grow(void **state)
{
	struct ct *t = *state;
	uint64_t first = sequence(t), second;

	/* as made by init, whose clock it shows */
	assert_int_equal(first, NOW_MS - 1000);
	ct_reopen(t, NOW_MS + 100);
	assert_int_equal(sequence(t), first);
	t->config.bundle.refresh_hint = 600;
	assert_ok(mica_core_configure(t->core, &t->config, NOW_MS + 200, e));
	second = sequence(t);
	assert_int_equal(second, NOW_MS + 200);
	/* a clock that went back */
	t->config.bundle.refresh_hint = 700;
	assert_ok(mica_core_configure(t->core, &t->config, NOW_MS - 5000, e));
	assert_int_equal(sequence(t), second + 1);
	ct_reopen(t, NOW_MS - 5000);
	assert_int_equal(sequence(t), second + 1);
	assert_false(maintain(t, NOW_MS + 300));
	assert_int_equal(sequence(t), second + 1);
}

static void a_new_number_is_recorded(void **state)
{
	struct ct *t = *state;
	struct mica_entry en;
	MICA_AUTO_BUF body;
	json_t *detail;

	t->config.bundle.refresh_hint = 600;
	assert_ok(mica_core_configure(t->core, &t->config, NOW_MS, e));
	ct_entry(t, mica_ledger_size(t->core->ledger) - 1, &body, &en);
	assert_int_equal(en.type, MICA_ENTRY_BUNDLE);
	assert_true(mica_slice_eq_str(en.action, "published"));
	detail = json_loadb((const char *)en.detail.p, en.detail.len, 0, NULL);
	assert_int_equal(json_integer_value(json_object_get(detail, "sequence")), sequence(t));
	json_decref(detail);
}

static void an_expired_key_leaves_the_bundle(void **state)
{
	struct ct *t = *state;
	uint64_t before = sequence(t);
	int64_t end = NOW + 30 * DAY; /* of the JWT key, about */
	json_t *doc;

	assert_false(maintain(t, (end - 10) * 1000) && sequence(t) != before);
	assert_true(maintain(t, (end + 10) * 1000));
	assert_true(sequence(t) > before);
	doc = parse(ct_snapshot(t, MICA_CHANNEL_LIVE, MICA_FMT_JWKS));
	assert_int_equal(json_array_size(json_object_get(doc, "keys")), 0);
	json_decref(doc);
}

/* All authorities have ended: what there is goes on being served, and it says that nothing is left.
 */
static void without_a_root_the_bundle_is_empty_and_served(void **state)
{
	struct ct *t = *state;
	int64_t end = t->born.root_not_after;
	uint64_t before = sequence(t);
	json_t *doc;

	assert_true(maintain(t, (end + 1) * 1000));
	assert_true(sequence(t) > before);
	doc = parse(ct_snapshot(t, MICA_CHANNEL_LIVE, MICA_FMT_BUNDLE_JSON));
	assert_int_equal(json_array_size(json_object_get(doc, "keys")), 0);
	json_decref(doc);
	assert_string_equal(ct_snapshot(t, MICA_CHANNEL_LIVE, MICA_FMT_BUNDLE_PEM), "");
	assert_refused(MICA_UNAVAILABLE, "no_active_authority",
		mica_core_ready(t->core, (end + 1) * 1000, e));
	ct_reopen(t, (end + 2) * 1000);
	assert_refused(MICA_UNAVAILABLE, "no_active_authority",
		mica_core_ready(t->core, (end + 2) * 1000, e));
}

/* ---- channels -------------------------------------------------------------------------------- */

/* Puts a JWT authority into the store that only the canary's holders are to know. */
static void put_canary(struct ct *t, bool canary, int64_t removed)
{
	static struct mica_signer *key;
	struct mica_store *s = NULL;
	struct mica_write w = {.table = MICA_T_AUTHORITY, .op = MICA_PUT};
	struct mica_change ch = {.writes = &w, .n_writes = 1};
	MICA_AUTO_AUTHORITY a;
	MICA_AUTO_BUF record;

	if (!key)
		assert_ok(mica_signer_generate(MICA_KN_P256, &key, e));
	mica_authority_init(&a);
	mica_buf_init(&record, MICA_AUTHORITY_RECORD_MAX);
	snprintf(a.set, sizeof(a.set), "default");
	a.kind = MICA_AUTHORITY_JWT;
	mica_pubkey_id_hex(mica_signer_public(key), a.id);
	a.not_before = NOW - DAY;
	a.not_after = NOW + 300 * DAY;
	mica_buf_put_slice(&a.spki, mica_pubkey_spki(mica_signer_public(key)));
	assert_ok(mica_authority_add_time(
		&a, canary ? MICA_AE_CANARY_IN : MICA_AE_PUBLISHED, NOW - 1, e));
	if (removed)
		assert_ok(mica_authority_add_time(&a, MICA_AE_REMOVED, removed, e));
	assert_ok(mica_authority_encode(&a, &record, e));
	w.key = mica_slice_str(a.id);
	w.value = mica_buf_slice(&record);
	ct_close(t);
	assert_ok(mica_store_open(t->dir, NULL, &s, e));
	assert_ok(mica_store_commit(s, &ch, 1, NULL, e));
	mica_store_close(s);
	if (removed) {
		mica_signer_free(key);
		key = NULL;
	}
}

static size_t jwt_keys(struct ct *t, enum mica_channel ch)
{
	json_t *doc = parse(ct_snapshot(t, ch, MICA_FMT_JWKS));
	size_t n = json_array_size(json_object_get(doc, "keys"));

	json_decref(doc);
	return n;
}

static void one_counter_numbers_both_channels(void **state)
{
	struct ct *t = *state;
	uint64_t first = sequence(t), canary;

	assert_int_equal(mica_core_bundle_sequence(t->core, MICA_CHANNEL_CANARY), first);
	put_canary(t, true, 0);
	ct_open_at(t, NOW_MS + 1000);
	canary = mica_core_bundle_sequence(t->core, MICA_CHANNEL_CANARY);
	assert_int_equal(jwt_keys(t, MICA_CHANNEL_CANARY), 2);
	assert_int_equal(jwt_keys(t, MICA_CHANNEL_LIVE), 1);
	assert_int_equal(sequence(t), first);
	assert_true(canary > first);
	/* the end of a canary republishes live with a higher number */
	put_canary(t, true, NOW + 1);
	ct_open_at(t, NOW_MS + 2000);
	assert_int_equal(jwt_keys(t, MICA_CHANNEL_CANARY), 1);
	assert_true(sequence(t) > canary);
	assert_int_equal(mica_core_bundle_sequence(t->core, MICA_CHANNEL_CANARY), sequence(t));
}

/* ---- the signed form ------------------------------------------------------------------------- */

struct jws {
	json_t *head, *claims;
	struct mica_slice chain[4];
	size_t n_chain;
	const char *text;
};

static json_t *decode(const char *at, size_t len)
{
	size_t room = len;
	uint8_t *raw = (uint8_t *)tk_keep(mica_alloc(len + 1));
	json_t *j;

	assert_int_equal(mica_b64url_decode(mica_slice(at, len), raw, &room), MICA_OK);
	j = json_loadb((const char *)raw, room, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(j);
	return j;
}

static void read_jws(struct ct *t, struct jws *w)
{
	const char *dot;
	const json_t *chain;

	w->text = ct_snapshot(t, MICA_CHANNEL_LIVE, MICA_FMT_BUNDLE_JWS);
	dot = strchr(w->text, '.');
	w->head = decode(w->text, (size_t)(dot - w->text));
	w->claims = decode(dot + 1, (size_t)(strrchr(w->text, '.') - dot - 1));
	chain = json_object_get(w->head, "x5c");
	w->n_chain = json_array_size(chain);
	assert_in_range(w->n_chain, 1, MICA_ARRAY_LEN(w->chain));
	for (size_t i = 0; i < w->n_chain; i++) {
		struct mica_slice b64 = mica_json_str(json_array_get(chain, i));
		size_t len = b64.len;
		uint8_t *der = (uint8_t *)tk_keep(mica_alloc(len));

		assert_int_equal(mica_b64_decode(b64, der, &len), MICA_OK);
		w->chain[i] = mica_slice(der, len);
	}
}

static void clear_jws(struct jws *w)
{
	json_decref(w->head);
	json_decref(w->claims);
}

static bool signature_holds(const struct jws *w)
{
	const char *dot = strrchr(w->text, '.');
	uint8_t raw[64], der[80], *p = der;
	size_t len = sizeof(raw);
	X509 *x = ct_x509(w->chain[0]);
	EVP_PKEY *key = X509_get_pubkey(x);
	EVP_MD_CTX *c = EVP_MD_CTX_new();
	ECDSA_SIG *s = ECDSA_SIG_new();
	int n, ok;

	assert_int_equal(mica_b64url_decode(mica_slice_str(dot + 1), raw, &len), MICA_OK);
	assert_int_equal(len, 64);
	ECDSA_SIG_set0(s, BN_bin2bn(raw, 32, NULL), BN_bin2bn(raw + 32, 32, NULL));
	n = i2d_ECDSA_SIG(s, &p);
	assert_int_equal(EVP_DigestVerifyInit(c, NULL, EVP_sha256(), NULL, key), 1);
	ok = EVP_DigestVerify(c, der, (size_t)n, (const uint8_t *)w->text, (size_t)(dot - w->text));
	ECDSA_SIG_free(s);
	EVP_MD_CTX_free(c);
	EVP_PKEY_free(key);
	X509_free(x);
	ERR_clear_error();
	return ok == 1;
}

/* By OpenSSL alone: the chain leads to the root, names the publisher, and its key has signed. */
static void the_signed_form_holds(void **state)
{
	struct ct *t = *state;
	json_t *plain = parse(ct_snapshot(t, MICA_CHANNEL_LIVE, MICA_FMT_BUNDLE_JSON));
	struct mica_cert_info info;
	struct jws w;

	read_jws(t, &w);
	assert_string_equal(str(w.head, "alg"), "ES256");
	assert_string_equal(str(w.head, "typ"), "mica-bundle+jws");
	assert_int_equal(ct_openssl(t, w.chain, w.n_chain, NOW), X509_V_OK);
	assert_int_equal(ct_openssl(t, w.chain, w.n_chain, NOW + DAY), X509_V_OK);
	assert_ok(mica_cert_read(w.chain[0], &info, e));
	assert_true(mica_slice_eq_str(info.uri[0], "spiffe://" TD "/mica/publisher"));
	assert_true(signature_holds(&w));
	assert_string_equal(str(w.claims, "set"), "default");
	assert_string_equal(str(w.claims, "trust_domain"), TD);
	assert_string_equal(str(w.claims, "channel"), "live");
	assert_int_equal(json_integer_value(json_object_get(w.claims, "sequence")), sequence(t));
	assert_int_equal(json_integer_value(json_object_get(w.claims, "iat")), NOW);
	assert_int_equal(json_integer_value(json_object_get(w.claims, "exp")), NOW + DAY);
	assert_true(json_equal(json_object_get(w.claims, "bundle"), plain));
	clear_jws(&w);
	json_decref(plain);
}

static void it_is_signed_again_each_hour(void **state)
{
	struct ct *t = *state;
	const struct mica_snapshot *first = snapshot(t, MICA_FMT_BUNDLE_JWS), *next;
	uint64_t seq = sequence(t);
	struct jws w;

	assert_int_equal(first->expires, NOW + DAY);
	assert_false(maintain(t, (NOW + 3599) * 1000));
	assert_true(maintain(t, (NOW + 3600) * 1000));
	assert_false(maintain(t, (NOW + 3601) * 1000));
	next = snapshot(t, MICA_FMT_BUNDLE_JWS);
	/* the same bundle under another ETag */
	assert_int_equal(next->sequence, first->sequence);
	assert_int_equal(sequence(t), seq);
	assert_string_not_equal(next->etag, first->etag);
	assert_int_equal(next->expires, NOW + 3600 + DAY);
	read_jws(t, &w);
	assert_true(signature_holds(&w));
	clear_jws(&w);
	mica_snapshot_unref(first);
	mica_snapshot_unref(next);
}

static void the_publisher_is_certified_anew_in_time(void **state)
{
	struct ct *t = *state;
	struct jws first, later;

	read_jws(t, &first);
	maintain(t, (NOW + 7200) * 1000);
	read_jws(t, &later);
	assert_true(mica_slice_eq(first.chain[0], later.chain[0]));
	clear_jws(&later);
	/* while the form lives, its certificate does */
	for (int64_t at = NOW; at < NOW + 5 * DAY; at += 3600) {
		maintain(t, at * 1000);
		read_jws(t, &later);
		assert_int_equal(
			ct_openssl(t, later.chain, later.n_chain, at + DAY - 1), X509_V_OK);
		assert_true(signature_holds(&later));
		clear_jws(&later);
	}
	read_jws(t, &later);
	assert_false(mica_slice_eq(first.chain[0], later.chain[0]));
	clear_jws(&first);
	clear_jws(&later);
}

/* Without an authority the last signed form stays. */
static void a_taint_leaves_the_signed_form(void **state)
{
	struct ct *t = *state;
	struct jws w;

	assert_ok(mica_core_taint(t->core, t->born.issuing_id, NULL, NOW_MS, e));
	maintain(t, NOW_MS + 1000);
	read_jws(t, &w);
	assert_true(signature_holds(&w));
	clear_jws(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, ct_setup, ct_teardown)
		TEST(the_bundle_follows_spiffe),
		TEST(all_forms_are_of_one_content),
		TEST(readers_share_one_encoding),
		TEST(there_is_one_trust_domain),
		TEST(sequences_only_grow),
		TEST(a_new_number_is_recorded),
		TEST(an_expired_key_leaves_the_bundle),
		TEST(without_a_root_the_bundle_is_empty_and_served),
		TEST(one_counter_numbers_both_channels),
		TEST(the_signed_form_holds),
		TEST(it_is_signed_again_each_hour),
		TEST(the_publisher_is_certified_anew_in_time),
		TEST(a_taint_leaves_the_signed_form),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
