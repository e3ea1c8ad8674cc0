/* SPDX-License-Identifier: Apache-2.0 */
/* What an agent believes: bundles, which of them it takes, and JWT-SVIDs of others. */
#include "pki.h"

#include "agent/validate.h"
#include "agent/watch.h"

#include "mica/bundle.h"
#include "mica/jwt.h"

#include <stdio.h>

#define DB "spiffe://example.org/db"

struct world {
	struct pki p;
	struct mica_signer *key, *other;
	char kid[MICA_KEY_ID_SIZE];
	const struct trust *t;
};

static const struct trust *bundle(struct world *w, uint64_t sequence)
{
	const struct mica_slice root = mica_buf_slice(&w->p.root_der);
	const struct mica_bundle_key key = {.kid = w->kid, .key = mica_signer_public(w->key)};
	const struct mica_bundle_content c = {.set = "default",
		.trust_domain = TD,
		.sequence = sequence,
		.refresh_hint = 60,
		.roots = &root,
		.n_roots = 1,
		.jwt_keys = &key,
		.n_jwt_keys = 1};
	const struct trust *t;
	MICA_AUTO_BUF json;
	mica_buf_init(&json, 65536);
	assert_ok(mica_bundle_put_json(&c, &json, e));
	assert_ok(trust_read(TD, mica_buf_slice(&json), &t, e));
	return t;
}

static int setup(void **state)
{
	struct world *w = MICA_NEW(struct world);
	pki_init(&w->p, MICA_KN_P256);
	assert_ok(mica_signer_generate(MICA_KN_P256, &w->key, e));
	assert_ok(mica_signer_generate(MICA_KN_P256, &w->other, e));
	mica_pubkey_id_hex(mica_signer_public(w->key), w->kid);
	w->t = bundle(w, 7);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	trust_unref(w->t);
	mica_signer_free(w->key);
	mica_signer_free(w->other);
	pki_clear(&w->p);
	mica_free(w);
	return 0;
}

static void a_bundle_in_every_form(void **state)
{
	struct world *w = *state;
	assert_int_equal(w->t->n_roots, 1);
	assert_true(mica_slice_eq(trust_root(w->t, 0), mica_buf_slice(&w->p.root_der)));
	assert_int_equal(w->t->sequence, 7);
	assert_string_equal(w->t->id, "spiffe://" TD);
	assert_int_equal(mica_jwks_count(w->t->keys), 1);
	assert_non_null(strstr((const char *)w->t->jwks.p, "jwt-svid"));
	assert_null(strstr((const char *)w->t->jwks.p, "x509-svid"));
	AUTO_TRUST plain = NULL;
	assert_ok(trust_from_pem(TD, mica_buf_slice(&w->t->pem), &plain, e));
	assert_true(mica_slice_eq(mica_buf_slice(&plain->der), mica_buf_slice(&w->t->der)));
}

static void bundles_that_are_none(void **state)
{
	static const struct {
		const char *json, *reason;
	} bad[] = {{"", "bundle_malformed"}, {"[]", "bundle_malformed"}, {"{}", "bundle_malformed"},
		{"{\"keys\":{}}", "bundle_malformed"}, {"{\"keys\":[]}", "bundle_empty"},
		{"{\"keys\":[],\"keys\":[]}", "bundle_malformed"},
		{"{\"keys\":[],\"spiffe_sequence\":-1}", "bundle_malformed"},
		{"{\"keys\":[{\"kty\":\"EC\",\"use\":\"x509-svid\",\"x5c\":[\"AAAA\"]}]}",
			"bundle_empty"},
		{"{\"keys\":[1,null,\"x\",{\"use\":\"x509-svid\"}]}", "bundle_empty"}};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(bad); i++) {
		const struct trust *t;
		assert_refused(MICA_INVALID, bad[i].reason,
			trust_read(TD, mica_slice_str(bad[i].json), &t, e));
		assert_null(t);
	}
}

/* A leaf is no root, whoever says so. */
static void a_leaf_is_no_root(void **state)
{
	struct world *w = *state;
	struct mica_leaf_spec spec = pki_spec(&w->p);
	const struct trust *t;
	MICA_AUTO_BUF der;
	MICA_AUTO_BUF pem;
	mica_buf_init(&der, MICA_CERT_MAX);
	mica_buf_init(&pem, 65536);
	assert_ok(mica_leaf_sign(w->p.issuing, &spec, &der, e));
	mica_buf_put_str(&pem, "{\"keys\":[{\"kty\":\"EC\",\"use\":\"x509-svid\",\"x5c\":[\"");
	mica_buf_put_b64(&pem, der.p, der.len);
	mica_buf_put_str(&pem, "\"]}]}");
	assert_refused(MICA_INVALID, "bundle_empty", trust_read(TD, mica_buf_slice(&pem), &t, e));
}

static void which_bundle_is_taken(void **state)
{
	struct world *w = *state;
	AUTO_TRUST newer = bundle(w, 8);
	AUTO_TRUST none = bundle(w, 0);
	assert_ok(watch_take(NULL, w->t, false, e));
	assert_ok(watch_take(w->t, w->t, false, e));
	assert_ok(watch_take(w->t, newer, false, e));
	assert_refused(MICA_CONFLICT, "bundle_went_back", watch_take(newer, w->t, false, e));
	assert_ok(watch_take(newer, w->t, true, e));
	assert_refused(MICA_CONFLICT, "bundle_without_sequence", watch_take(w->t, none, true, e));
	/* the same number, another key */
	MICA_AUTO_SIGNER keep = MICA_STEAL(w->key);
	w->key = MICA_STEAL(w->other);
	AUTO_TRUST changed = bundle(w, 7);
	w->other = MICA_STEAL(w->key);
	w->key = MICA_STEAL(keep);
	assert_refused(
		MICA_CONFLICT, "bundle_changed_silently", watch_take(w->t, changed, false, e));
}

/* ---- JWT-SVIDs ------------------------------------------------------------------------------ */

static void sign(struct world *w, const char *header, const char *claims, struct mica_buf *out)
{
	uint8_t sig[MICA_SIG_MAX];
	size_t len = sizeof(sig);
	mica_buf_reset(out);
	mica_buf_put_b64url(out, header, strlen(header));
	mica_buf_put_u8(out, '.');
	mica_buf_put_b64url(out, claims, strlen(claims));
	assert_ok(mica_signer_sign(w->key, MICA_SIG_RAW, mica_buf_slice(out), sig, &len, e));
	mica_buf_put_u8(out, '.');
	mica_buf_put_b64url(out, sig, len);
}

/* The template with its %s or %lld filled in. */
static void fill(char *out, size_t size, const char *template, const char *text)
{
	const char *at = strstr(template, "%s");
	if (!at)
		snprintf(out, size, "%s", template);
	else
		snprintf(out, size, "%.*s%s%s", (int)(at - template), template, text, at + 2);
}

static void fill_number(char *out, size_t size, const char *template, int64_t n)
{
	const char *at = strstr(template, "%lld");
	assert_non_null(at);
	snprintf(out, size, "%.*s%lld%s", (int)(at - template), template, (long long)n, at + 4);
}

static const char *verdict(struct world *w, struct mica_slice token)
{
	struct mica_err e = MICA_ERR_INIT;
	AUTO_VALIDATED v = {.claims = {.root = NULL}};
	if (validate_jwt(&w->t, 1, token, MICA_LIT(DB), NOW, &v, &e) == MICA_OK)
		return "good";
	assert_int_equal(e.rc, MICA_INVALID);
	assert_string_equal(e.reason, "jwt_svid_invalid");
	return e.fine;
}

static void tokens(void **state)
{
	struct world *w = *state;
	const char *h = "{\"alg\":\"ES256\",\"kid\":\"%s\",\"typ\":\"JWT\"}";
	const char *c = "{\"sub\":\"" ID "\",\"aud\":[\"x\",\"" DB "\"],\"exp\":%lld}";
	const struct {
		const char *header, *claims, *verdict;
		int64_t exp;
	} cases[] = {
		{h, c, "good", NOW + 60},
		{"{\"alg\":\"ES256\",\"kid\":\"%s\"}", c, "good", NOW + 60},
		{"{\"alg\":\"ES256\",\"kid\":\"%s\",\"typ\":\"JOSE\"}", c, "good", NOW + 60},
		{h, "{\"sub\":\"" ID "\",\"aud\":\"" DB "\",\"exp\":%lld}", "good", NOW + 1},
		{h, c, "expired", NOW - 31},
		{h, "{\"sub\":\"" ID "\",\"aud\":\"" DB "\",\"nbf\":1795521700,\"exp\":%lld}",
			"not_yet_valid", NOW + 600},
		{h, "{\"sub\":\"" ID "\",\"aud\":\"other\",\"exp\":%lld}", "audience", NOW + 60},
		{h, "{\"sub\":\"" ID "\",\"aud\":[],\"exp\":%lld}", "claims", NOW + 60},
		{h, "{\"sub\":\"" ID "\",\"exp\":%lld}", "claims", NOW + 60},
		{h, "{\"sub\":\"" ID "\",\"aud\":\"" DB "\",\"x\":%lld}", "claims", NOW + 60},
		{h, "{\"sub\":\"spiffe://" TD "\",\"aud\":\"" DB "\",\"exp\":%lld}", "claims",
			NOW + 60},
		{h, "{\"sub\":\"spiffe://elsewhere/a\",\"aud\":\"" DB "\",\"exp\":%lld}",
			"untrusted", NOW + 60},
		{h, "[%lld]", "form", 1},
		{"{\"alg\":\"none\",\"kid\":\"%s\"}", c, "algorithm", NOW + 60},
		{"{\"alg\":\"HS256\",\"kid\":\"%s\"}", c, "algorithm", NOW + 60},
		{"{\"alg\":\"EdDSA\",\"kid\":\"%s\"}", c, "algorithm", NOW + 60},
		{"{\"alg\":\"RS256\",\"kid\":\"%s\"}", c, "key", NOW + 60},
		{"{\"alg\":\"ES256\",\"kid\":\"x%s\"}", c, "key", NOW + 60},
		{"{\"alg\":\"ES256\"}", c, "header", NOW + 60},
		{"{\"alg\":\"ES256\",\"kid\":\"%s\",\"typ\":\"at+jwt\"}", c, "header", NOW + 60},
		{"{\"alg\":\"ES256\",\"kid\":\"%s\",\"crit\":[]}", c, "header", NOW + 60},
		{"{\"alg\":\"ES256\",\"kid\":\"%s\",\"jwk\":{}}", c, "header", NOW + 60},
		{"{\"alg\":\"ES256\",\"alg\":\"ES256\",\"kid\":\"%s\"}", c, "form", NOW + 60},
	};
	MICA_AUTO_BUF token;
	mica_buf_init(&token, 65536);
	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++) {
		char header[512], claims[512];
		fill(header, sizeof(header), cases[i].header, w->kid);
		fill_number(claims, sizeof(claims), cases[i].claims, cases[i].exp);
		sign(w, header, claims, &token);
		if (strcmp(verdict(w, mica_buf_slice(&token)), cases[i].verdict) != 0)
			fail_msg("%zu: %s, expected %s", i, verdict(w, mica_buf_slice(&token)),
				cases[i].verdict);
	}
}

/* Any octet that is another one makes it another token. */
static void a_token_that_was_changed(void **state)
{
	struct world *w = *state;
	char header[512];
	MICA_AUTO_BUF token;
	mica_buf_init(&token, 65536);
	fill(header, sizeof(header), "{\"alg\":\"ES256\",\"kid\":\"%s\"}", w->kid);
	sign(w, header, "{\"sub\":\"" ID "\",\"aud\":\"" DB "\",\"exp\":1795521700}", &token);
	assert_string_equal(verdict(w, mica_buf_slice(&token)), "good");
	for (size_t i = 0; i + 1 < token.len; i++) {
		const uint8_t keep = token.p[i];
		token.p[i] = keep == 'A' ? 'B' : 'A';
		assert_string_not_equal(verdict(w, mica_buf_slice(&token)), "good");
		token.p[i] = keep;
	}
	for (size_t len = 0; len < token.len; len++)
		assert_string_not_equal(verdict(w, mica_slice(token.p, len)), "good");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bundle_in_every_form),
		cmocka_unit_test(bundles_that_are_none),
		cmocka_unit_test(a_leaf_is_no_root),
		cmocka_unit_test(which_bundle_is_taken),
		cmocka_unit_test(tokens),
		cmocka_unit_test(a_token_that_was_changed),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
