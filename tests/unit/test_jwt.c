/* SPDX-License-Identifier: Apache-2.0 */
/* What is signed in JOSE's forms, read back by jansson and by libjose. */
#include "pki.h"

#include "mica/jwt.h"

#include <jansson.h>
#include <jose/jws.h>

static json_t *part(struct mica_slice *token, json_t **json)
{
	static uint8_t room[65536];
	struct mica_slice p;
	size_t len = sizeof(room) - 1;
	mica_slice_cut(token, '.', &p);
	assert_int_equal(mica_b64url_decode(p, room, &len), MICA_OK);
	*json = json_loadb((const char *)room, len, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(*json);
	room[len] = '\0';
	return *json;
}

static char *dumped(json_t *j)
{
	return json_dumps(j, JSON_COMPACT);
}

/* libjose's verdict on a compact token, with the key as our own JWK says it. */
static bool jose_takes(struct mica_slice token, const char *jwk_text)
{
	struct mica_slice h, p;
	json_t *jwk = json_loads(jwk_text, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(jwk);
	json_object_del(jwk, "use"); /* libjose takes `sig` alone */
	mica_slice_cut(&token, '.', &h);
	mica_slice_cut(&token, '.', &p);
	json_t *jws = json_pack("{s:s%,s:s%,s:s%}", "protected", h.p, h.len, "payload", p.p, p.len,
		"signature", token.p, token.len);
	bool ok = jose_jws_ver(NULL, jws, NULL, jwk, false);
	json_decref(jws);
	json_decref(jwk);
	return ok;
}

static void jwt_svids(void **state)
{
	(void)state;
	static const struct {
		enum mica_key_name type;
		const char *alg;
	} kinds[] = {{MICA_KN_P256, "ES256"}, {MICA_KN_P384, "ES384"}, {MICA_KN_RSA2048, "RS256"}};
	const struct mica_slice one[] = {MICA_LIT("spiffe://example.org/db")};
	const struct mica_slice two[] = {MICA_LIT("a"), MICA_LIT("b\"\\\xc3\xa4")};
	for (size_t i = 0; i < MICA_ARRAY_LEN(kinds); i++) {
		struct mica_signer *s;
		MICA_AUTO_BUF token, jwk;
		char jti[MICA_JTI_SIZE], kid[MICA_KEY_ID_SIZE];
		json_t *h, *c;
		mica_buf_init(&token, 65536);
		mica_buf_init(&jwk, 65536);
		mica_jti_make(jti);
		assert_ok(mica_signer_generate(kinds[i].type, &s, e));
		mica_pubkey_id_hex(mica_signer_public(s), kid);
		struct mica_jwt_spec spec = {.sub = ID,
			.aud = one,
			.n_aud = 1,
			.iat = NOW,
			.exp = NOW + 300,
			.jti = jti};
		assert_ok(mica_jwt_sign(s, kid, &spec, &token, e));
		mica_jwk_put_key(&jwk, mica_signer_public(s), "jwt-svid", kid, false);
		struct mica_slice t = mica_buf_slice(&token);
		assert_true(jose_takes(t, (const char *)jwk.p));
		part(&t, &h);
		part(&t, &c);
		char want[512], *got = dumped(h);
		snprintf(want, sizeof(want), "{\"alg\":\"%s\",\"kid\":\"%s\",\"typ\":\"JWT\"}",
			kinds[i].alg, kid);
		assert_string_equal(got, want);
		free(got);
		got = dumped(c);
		snprintf(want, sizeof(want),
			"{\"sub\":\"" ID
			"\",\"aud\":\"spiffe://example.org/db\",\"exp\":%lld,\"iat\":%lld,\"jti\":\"%s\"}",
			(long long)NOW + 300, (long long)NOW, jti);
		assert_string_equal(got, want);
		free(got);
		json_decref(h);
		json_decref(c);
		/* a changed character anywhere, and it does not hold */
		for (size_t at = 0; at < token.len; at += 7) {
			uint8_t keep = token.p[at];
			token.p[at] = keep == 'A' ? 'B' : 'A';
			if (at != token.len - 1) /* whose lowest bits may be unused */
				assert_false(
					jose_takes(mica_buf_slice(&token), (const char *)jwk.p));
			token.p[at] = keep;
		}

		spec.aud = two;
		spec.n_aud = 2;
		spec.iss = "https://example.org";
		mica_buf_reset(&token);
		assert_ok(mica_jwt_sign(s, kid, &spec, &token, e));
		t = mica_buf_slice(&token);
		part(&t, &h);
		part(&t, &c);
		assert_string_equal(json_string_value(json_array_get(json_object_get(c, "aud"), 1)),
			"b\"\\\xc3\xa4");
		assert_string_equal(
			json_string_value(json_object_get(c, "iss")), "https://example.org");
		json_decref(h);
		json_decref(c);
		mica_signer_free(s);
	}
}

static void broken_specs(void **state)
{
	(void)state;
	struct mica_signer *s, *ed;
	MICA_AUTO_BUF token;
	struct mica_slice aud[MICA_JWT_AUD_MAX + 1];
	for (size_t i = 0; i < MICA_ARRAY_LEN(aud); i++)
		aud[i] = MICA_LIT("a");
	mica_buf_init(&token, 65536);
	assert_ok(mica_signer_generate(MICA_KN_P256, &s, e));
	assert_ok(mica_signer_generate(MICA_KN_ED25519, &ed, e));
	const struct mica_jwt_spec good = {
		.sub = ID, .aud = aud, .n_aud = 1, .iat = NOW, .exp = NOW + 1, .jti = "j"};
	assert_refused(
		MICA_INVALID, "key_type_not_allowed", mica_jwt_sign(ed, "k", &good, &token, e));
	assert_refused(MICA_INVALID, "jwt_invalid", mica_jwt_sign(s, "", &good, &token, e));
	assert_refused(MICA_INVALID, "jwt_invalid", mica_jwt_sign(s, NULL, &good, &token, e));
	struct mica_jwt_spec bad[6] = {good, good, good, good, good, good};
	const struct mica_slice empty = MICA_SLICE_NULL;
	bad[0].sub = "";
	bad[1].n_aud = 0;
	bad[2].n_aud = MICA_JWT_AUD_MAX + 1;
	bad[3].exp = NOW;
	bad[4].jti = NULL;
	bad[5].aud = &empty;
	for (size_t i = 0; i < MICA_ARRAY_LEN(bad); i++)
		assert_refused(
			MICA_INVALID, "jwt_invalid", mica_jwt_sign(s, "k", &bad[i], &token, e));
	assert_int_equal(token.len, 0);
	struct mica_buf tiny;
	mica_buf_init(&tiny, 150);
	assert_refused(MICA_LIMIT, "too_long", mica_jwt_sign(s, "k", &good, &tiny, e));
	mica_buf_clear(&tiny);
	mica_signer_free(s);
	mica_signer_free(ed);
}

static void snapshots(void **state)
{
	(void)state;
	struct pki p;
	MICA_AUTO_BUF jws, jwk, leaf;
	json_t *h, *c;
	mica_buf_init(&jws, 65536);
	mica_buf_init(&jwk, 65536);
	mica_buf_init(&leaf, 65536);
	pki_init(&p, MICA_KN_P256);
	struct mica_leaf_spec spec = pki_spec(&p);
	spec.uri = "spiffe://example.org/mica/publisher";
	assert_ok(mica_leaf_sign(p.issuing, &spec, &leaf, e));
	const struct mica_slice chain[] = {mica_buf_slice(&leaf), mica_buf_slice(&p.issuing_der)};
	assert_ok(mica_jws_sign(
		p.leaf_signer, MICA_TYP_BUNDLE, chain, 2, MICA_LIT("{\"keys\":[]}"), &jws, e));
	mica_jwk_put_key(&jwk, &p.leaf_key, "sig", "x", true);
	struct mica_slice t = mica_buf_slice(&jws);
	assert_true(jose_takes(t, (const char *)jwk.p));
	part(&t, &h);
	part(&t, &c);
	assert_int_equal(json_object_size(h), 3);
	assert_string_equal(json_string_value(json_object_get(h, "typ")), "mica-bundle+jws");
	assert_string_equal(json_string_value(json_object_get(h, "alg")), "ES256");
	json_t *x5c = json_object_get(h, "x5c");
	assert_int_equal(json_array_size(x5c), 2);
	for (size_t i = 0; i < 2; i++) {
		uint8_t der[MICA_CERT_MAX];
		size_t len = sizeof(der);
		assert_int_equal(
			mica_b64_decode(mica_slice_str(json_string_value(json_array_get(x5c, i))),
				der, &len),
			MICA_OK);
		assert_true(mica_slice_eq(mica_slice(der, len), chain[i]));
	}
	json_decref(h);
	json_decref(c);
	pki_clear(&p);
}

static void jwks(void **state)
{
	(void)state;
	static const enum mica_key_name kinds[] = {
		MICA_KN_P256, MICA_KN_P384, MICA_KN_RSA2048, MICA_KN_ED25519};
	static const char *const shapes[] = {
		"{\"use\":\"x509-svid\",\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":",
		"{\"use\":\"x509-svid\",\"kty\":\"EC\",\"crv\":\"P-384\",\"x\":",
		"{\"use\":\"x509-svid\",\"kty\":\"RSA\",\"n\":",
		"{\"use\":\"x509-svid\",\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":"};
	static const char *const algs[] = {"ES256", "ES384", "RS256", "EdDSA"};
	for (size_t i = 0; i < MICA_ARRAY_LEN(kinds); i++) {
		struct pki p;
		MICA_AUTO_BUF b;
		mica_buf_init(&b, 65536);
		pki_init(&p, kinds[i]);
		assert_ok(mica_jwk_put_x509(&b, mica_buf_slice(&p.root_der), e));
		assert_true(mica_slice_has_prefix(mica_buf_slice(&b), mica_slice_str(shapes[i])));
		json_t *j = json_loads((const char *)b.p, JSON_REJECT_DUPLICATES, NULL);
		assert_non_null(j);
		assert_null(json_object_get(j, "kid")); /* X509-SVID 6.1 */
		assert_int_equal(json_array_size(json_object_get(j, "x5c")), 1);
		/* and the parts make the same key again */
		uint8_t a[600], c[600];
		size_t al = sizeof(a), cl = sizeof(c);
		struct mica_pubkey k;
		const char *first = json_string_value(json_object_get(j, i == 2 ? "n" : "x"));
		assert_int_equal(mica_b64url_decode(mica_slice_str(first), a, &al), MICA_OK);
		if (i == 3) {
			assert_ok(mica_pubkey_from_ed25519(mica_slice(a, al), &k, e));
		} else {
			const char *second =
				json_string_value(json_object_get(j, i == 2 ? "e" : "y"));
			assert_int_equal(
				mica_b64url_decode(mica_slice_str(second), c, &cl), MICA_OK);
			if (i == 2)
				assert_ok(mica_pubkey_from_rsa(
					mica_slice(a, al), mica_slice(c, cl), &k, e));
			else
				assert_ok(mica_pubkey_from_ec(
					kinds[i], mica_slice(a, al), mica_slice(c, cl), &k, e));
		}
		assert_true(mica_pubkey_eq(&k, mica_signer_public(p.root_key)));
		json_decref(j);
		mica_buf_reset(&b);
		mica_jwk_put_key(&b, &k, "sig", "id", true);
		j = json_loads((const char *)b.p, JSON_REJECT_DUPLICATES, NULL);
		assert_string_equal(json_string_value(json_object_get(j, "alg")), algs[i]);
		assert_string_equal(json_string_value(json_object_get(j, "kid")), "id");
		json_decref(j);
		mica_buf_reset(&b);
		assert_refused(
			MICA_INVALID, "cert_malformed", mica_jwk_put_x509(&b, MICA_LIT("x"), e));
		pki_clear(&p);
	}
	char a[MICA_JTI_SIZE], b[MICA_JTI_SIZE];
	mica_jti_make(a);
	mica_jti_make(b);
	assert_string_not_equal(a, b);
	assert_int_equal(strlen(a), 22);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(jwt_svids),
		cmocka_unit_test(broken_specs),
		cmocka_unit_test(snapshots),
		cmocka_unit_test(jwks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
