/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two clusters and a GitLab, their keys, tokens of theirs and what becomes of them: what the tests
 * of tokens share. `expect` takes the number of a class of malicious tokens (0 for good ones).
 */
#ifndef TEST_TOKEN_WORLD_H
#define TEST_TOKEN_WORLD_H

#include "tokens.h"

#include <openssl/pem.h>

#include "mica/json.h"

#define YEAR (365 * 86400)

enum key { KEY_A, KEY_B, KEY_OTHER, KEY_EC, KEY_EC384, KEY_COUNT };
enum world { W_MAIN, W_NO_SKEW, W_PS, W_LONG, W_NO_POD, W_COUNT };

static bool seen[71]; /* by a row that was refused */

static EVP_PKEY *keys[KEY_COUNT];
static const struct mica_jwks *set_a, *set_a_reloaded, *set_one, *set_b, *set_ps;
static struct mica_issuers *worlds[W_COUNT];
static struct mica_token_reader *reader;

/* ---- the world: two clusters and a GitLab ----------------------------------------------- */

static inline struct mica_issuers *make_world(enum world w)
{
	struct mica_issuer_config c[] = {tk_config("a", ISS, "/ns/{namespace}/sa/{serviceaccount}"),
		tk_config("b", ISS_B, "/b/ns/{namespace}/sa/{serviceaccount}"), tk_oidc_config()};
	c[0].audiences[MICA_FRONT_REST] = tk_list("mica", "mica.example.org");
	c[0].skew = w == W_NO_SKEW ? 0 : 30;
	c[0].keys.allow_ps = w == W_PS;
	c[0].require_pod = w != W_NO_POD;
	if (w == W_LONG)
		c[0].max_token_life[MICA_FRONT_REST] = YEAR + 3600;
	return tk_issuers(c, 3);
}

static inline int make_all(void **state)
{
	(void)state;
	for (int i = 0; i < KEY_EC; i++)
		keys[i] = tk_rsa(2048);
	keys[KEY_EC] = tk_ec("P-256");
	keys[KEY_EC384] = tk_ec("P-384");
	EVP_PKEY *weak = tk_rsa(1024);
	char *a1 = tk_jwk(keys[KEY_A], "a1", ""), *ec = tk_jwk(keys[KEY_EC], "e1", "");
	/* what 40 names, each unusable; what stands beside them is not */
	char *bad = tk_printf("%s,%s,%s,%s,%s,{\"kty\":\"oct\",\"kid\":\"oct\",\"k\":\"c2VjcmV0\"},"
			      "{\"kty\":\"RSA\",\"kid\":\"e1-rsa\",\"n\":\"%s\",\"e\":\"AQ\"}",
		tk_jwk(keys[KEY_OTHER], "twice", ""), tk_jwk(keys[KEY_OTHER], "twice", ""),
		tk_jwk(keys[KEY_OTHER], "enc", ",\"use\":\"enc\""),
		tk_jwk(keys[KEY_OTHER], "leaked", ",\"d\":\"AQ\""), tk_jwk(weak, "weak", ""),
		tk_number(keys[KEY_OTHER], OSSL_PKEY_PARAM_RSA_N, 0));
	set_a = tk_jwks(
		tk_printf("%s,%s,%s,%s", a1, ec, tk_jwk(keys[KEY_EC384], "e384", ""), bad), NULL);
	set_a_reloaded = tk_jwks(tk_printf("%s,%s", ec, tk_jwk(keys[KEY_OTHER], "a2", "")), NULL);
	set_one = tk_jwks(a1, NULL);
	set_b = tk_jwks(tk_jwk(keys[KEY_B], "b1", ""), NULL);
	const struct mica_jwks_options ps = {.allow_ps = true};
	set_ps = tk_jwks(
		tk_printf("%s,%s", a1, tk_jwk(keys[KEY_OTHER], "ps", ",\"alg\":\"PS256\"")), &ps);
	for (int w = 0; w < W_COUNT; w++)
		worlds[w] = make_world((enum world)w);
	reader = mica_token_reader_new();
	EVP_PKEY_free(weak);
	return 0;
}

static inline int free_all(void **state)
{
	const struct mica_jwks *sets[] = {set_a, set_a_reloaded, set_one, set_b, set_ps};
	for (int i = 0; i < KEY_COUNT; i++)
		EVP_PKEY_free(keys[i]);
	for (size_t i = 0; i < MICA_ARRAY_LEN(sets); i++)
		mica_jwks_unref(sets[i]);
	for (int w = 0; w < W_COUNT; w++)
		mica_issuers_free(worlds[w]);
	mica_token_reader_free(reader);
	return tk_empty_bin(state);
}

/* ---- judging -------------------------------------------------------------------------------- */

struct judged {
	mica_rc rc;
	struct mica_err e;
	struct mica_token_result r;
};

/* As the core does it: open, take the keys of the issuer that was found, verify. */
static inline void judge_with(const struct mica_issuers *is, const struct mica_jwks *of_a,
	enum mica_front front, int64_t now, struct mica_slice token, struct judged *j)
{
	const struct mica_issuer *i = NULL;
	*j = (struct judged){.e = MICA_ERR_INIT};
	j->rc = mica_token_open(reader, is, token, front, &i, &j->e);
	if (j->rc == MICA_OK)
		j->rc = mica_token_verify(reader,
			strcmp(mica_issuer_name(i), "a") == 0 ? of_a : set_b, now, &j->r, &j->e);
	assert_int_equal(j->rc, j->e.rc);
}

/* No text may show the token or what makes it one: any run of 16 of its octets would. */
static inline void assert_secret(const struct judged *j, struct mica_slice token)
{
	char piece[17] = "";
	for (size_t i = 0; i + 16 <= token.len; i += 8) {
		memcpy(piece, token.p + i, 16);
		if (strstr(j->e.text, piece) || strstr(j->e.detail, piece))
			fail_msg("part of a token is shown: %s [%s]", j->e.text, j->e.detail);
	}
}

/* Before the signature holds a caller learns one reason and one text. */
static const char *const early[] = {"token_empty", "token_too_long", "token_not_compact",
	"token_encrypted", "token_encoding", "header_malformed", "header_member_duplicate",
	"header_member_not_allowed", "header_crit", "alg_missing", "alg_none", "alg_not_allowed",
	"typ_not_allowed", "kid_malformed", "payload_malformed", "issuer_missing", "issuer_unknown",
	"unknown_key", "kid_needed", "bad_signature"};

static inline bool is_early(const char *fine)
{
	for (size_t i = 0; i < MICA_ARRAY_LEN(early); i++)
		if (strcmp(early[i], fine) == 0)
			return true;
	return false;
}

static inline void check_fate(unsigned class, const char *what, const struct judged *j,
	struct mica_slice token, const char *want)
{
	const char *got = mica_err_fine(&j->e);
	if (strcmp(got, want) != 0)
		fail_msg("class %u, %s: %s [%s], expected %s", class, what, got, j->e.detail, want);
	assert_secret(j, token);
	if (strcmp(want, "ok") == 0) {
		assert_string_not_equal(j->r.principal.spiffe_id, "");
		return;
	}
	seen[class] = true;
	if (is_early(want)) {
		assert_int_equal(j->rc, MICA_UNAUTHENTICATED);
		assert_string_equal(j->e.reason, "token_invalid");
		assert_string_equal(j->e.text,
			"expected a valid token for the audience mica or mica.example.org, signed by a "
			"configured issuer, as a compact JWS (header.payload.signature)");
	} else if (strcmp(j->e.reason, "token_invalid") != 0) {
		assert_string_equal(j->e.reason, want);
	}
	/* nothing is learned from a refusal */
	assert_string_equal(j->r.principal.spiffe_id, "");
}

static inline void expect_in(unsigned class, enum world w, const struct mica_jwks *of_a,
	int64_t now, const char *token, const char *want)
{
	struct judged j;
	struct mica_slice t = mica_slice_str(token);
	judge_with(worlds[w], of_a, MICA_FRONT_REST, now, t, &j);
	check_fate(class, tk_printf("%.200s", token), &j, t, want);
}

static inline void expect(unsigned class, const char *token, const char *want)
{
	expect_in(class, W_MAIN, set_a, NOW, token, want);
}

static inline char *good(void)
{
	return tk_make(keys[KEY_A], HEADER, tk_kubernetes(NULL, 0));
}

/* A good token but for one claim. */
static inline char *with_claim(const char *name, const char *raw)
{
	const struct tk_claim c = {name, raw};
	return tk_make(keys[KEY_A], HEADER, tk_kubernetes(&c, 1));
}

static inline char *with_header(const char *header)
{
	return tk_make(keys[KEY_A], header, tk_kubernetes(NULL, 0));
}

/* ---- parts of tokens -------------------------------------------------------------------- */

#define REF(name, uid) "{\"name\":\"" name "\",\"uid\":\"" uid "\"}"
#define SA_REF         REF("checkout", SA_UID)
#define POD_REF        REF("checkout-1", POD_UID)

static inline char *part(const char *token, unsigned n)
{
	for (; n; n--)
		token = strchr(token, '.') + 1;
	return tk_printf("%.*s", (int)strcspn(token, "."), token);
}

static inline char *joined(const char *a, const char *b, const char *c)
{
	return tk_printf("%s.%s.%s", a, b, c);
}

static inline char *header_of(const char *alg, const char *kid)
{
	return tk_printf("{\"alg\":\"%s\",\"kid\":\"%s\"}", alg, kid);
}

static inline char *seconds(int64_t t)
{
	return tk_printf("%lld", (long long)t);
}

static inline char *bound(const char *pod, const char *node, const char *sa)
{
	char *pod_member = pod ? tk_printf(",\"pod\":%s", pod) : tk_printf("%s", "");
	char *node_member = node ? tk_printf(",\"node\":%s", node) : tk_printf("%s", "");
	return with_claim("kubernetes.io",
		tk_printf("{\"namespace\":\"payments\",\"serviceaccount\":%s%s%s}", sa, pod_member,
			node_member));
}

static inline char *gitlab(const char *name, const char *raw)
{
	const struct tk_claim c = {name, raw};
	return tk_make(keys[KEY_B], header_of("RS256", "b1"), tk_oidc(&c, name ? 1 : 0));
}

/* Of the classes first..last each was refused at least once here. */
static inline void tw_assert_seen(unsigned first, unsigned last)
{
	for (unsigned class = first; class <= last; class ++)
		if (!seen[class])
			fail_msg("class %u of malicious tokens has no test", class);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, NULL, tk_empty_bin)

#endif
