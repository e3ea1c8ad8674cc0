/* SPDX-License-Identifier: Apache-2.0 */
/* What callers and operators are told of a token, and what chance makes of good ones. */
#include "token_world.h"

#include "mica/file.h"

/* ---- what is not said ------------------------------------------------------------------------ */

/* One octet of the signature decides between "token_invalid" and the exact reason. */
static void reasons_are_secret_until_the_signature_holds(void **state)
{
	static const struct tk_claim bad[] = {{"exp", "1795521000"}, {"aud", "\"x\""},
		{"sub", "\"x\""}, {"kubernetes.io", "7"}, {"nbf", "1795525000"}, {"jti", "7"}};
	struct judged good_sig, bad_sig, first = {.rc = MICA_OK};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(bad); i++) {
		char *t = with_claim(bad[i].name, bad[i].raw), *last = &t[strlen(t) - 10];
		judge_with(
			worlds[W_MAIN], set_a, MICA_FRONT_REST, NOW, mica_slice_str(t), &good_sig);
		assert_string_not_equal(good_sig.e.reason, "token_invalid");
		*last = *last == 'A' ? 'B' : 'A';
		judge_with(
			worlds[W_MAIN], set_a, MICA_FRONT_REST, NOW, mica_slice_str(t), &bad_sig);
		assert_string_equal(bad_sig.e.reason, "token_invalid");
		assert_string_equal(bad_sig.e.fine, "bad_signature");
		if (i)
			assert_string_equal(bad_sig.e.text, first.e.text);
		first = bad_sig;
	}
}

static void each_front_says_what_it_expects(void **state)
{
	static const char *const wanted[MICA_FRONT_COUNT] = {
		"the audience mica or mica.example.org,", "the audience istio-ca,",
		"the audience identity.l5d.io,", "no issuer is configured for tokens here"};
	struct judged j;
	(void)state;
	for (int f = 0; f < MICA_FRONT_COUNT; f++) {
		judge_with(worlds[W_MAIN], set_a, (enum mica_front)f, NOW, MICA_LIT("x"), &j);
		assert_non_null(strstr(j.e.text, wanted[f]));
	}
}

/* ---- one reader, many tokens --------------------------------------------------------------- */

static void a_reader_keeps_nothing_for_the_next(void **state)
{
	const struct mica_issuer *i = NULL;
	struct mica_token_result r;
	char *a = good(),
	     *ec = tk_make_as(keys[KEY_EC], TK_ES_RAW, EVP_sha256(), header_of("ES256", "e1"),
		     tk_kubernetes(NULL, 0));
	(void)state;
	assert_refused(
		MICA_INTERNAL, "token_not_open", mica_token_verify(reader, set_a, NOW, &r, e));
	assert_ok(
		mica_token_open(reader, worlds[W_MAIN], mica_slice_str(a), MICA_FRONT_REST, &i, e));
	assert_string_equal(mica_issuer_name(i), "a");
	/* with other keys once more, as after a refresh */
	assert_refused(MICA_UNAUTHENTICATED, "token_invalid",
		mica_token_verify(reader, set_b, NOW, &r, e));
	assert_refused(MICA_UNAVAILABLE, "issuer_keys_missing",
		mica_token_verify(reader, NULL, NOW, &r, e));
	assert_ok(mica_token_verify(reader, set_a, NOW, &r, e));
	assert_ok(mica_token_verify(reader, set_a, NOW, &r, e));
	mica_token_close(reader);
	mica_token_close(reader);
	assert_refused(
		MICA_INTERNAL, "token_not_open", mica_token_verify(reader, set_a, NOW, &r, e));
	/* a bad one ends what a good one opened */
	assert_ok(
		mica_token_open(reader, worlds[W_MAIN], mica_slice_str(a), MICA_FRONT_REST, &i, e));
	assert_refused(MICA_UNAUTHENTICATED, "token_invalid",
		mica_token_open(reader, worlds[W_MAIN], MICA_LIT("x"), MICA_FRONT_REST, &i, e));
	assert_null(i);
	assert_refused(
		MICA_INTERNAL, "token_not_open", mica_token_verify(reader, set_a, NOW, &r, e));
	/* headers take turns: the one that is remembered is never another's */
	for (int n = 0; n < 3; n++) {
		expect(0, a, "ok");
		expect(0, ec, "ok");
		expect(41, joined(part(a, 0), part(ec, 1), part(ec, 2)), "bad_signature");
		expect(41, joined(part(ec, 0), part(a, 1), part(a, 2)), "bad_signature");
	}
	/* and its algorithm is judged by each issuer anew */
	char *ps = tk_make_as(keys[KEY_OTHER], TK_PS, EVP_sha256(), header_of("PS256", "ps"),
		tk_kubernetes(NULL, 0));
	expect_in(0, W_PS, set_ps, NOW, ps, "ok");
	expect_in(27, W_MAIN, set_ps, NOW, ps, "alg_not_allowed");
	/* what open refuses is not verified, whatever keys come */
	assert_refused(MICA_UNAUTHENTICATED, "token_invalid",
		mica_token_open(
			reader, worlds[W_MAIN], mica_slice_str(ps), MICA_FRONT_REST, &i, e));
	assert_refused(
		MICA_INTERNAL, "token_not_open", mica_token_verify(reader, set_ps, NOW, &r, e));
	mica_token_reader_free(NULL);
}

/* ---- explaining ---------------------------------------------------------------------------- */

static const struct mica_jwks *give(void *ctx, const struct mica_issuer *issuer)
{
	return strcmp(mica_issuer_name(issuer), "a") ? set_b : ctx;
}

static void explain(const char *token, const struct mica_jwks *of_a, struct mica_json *d)
{
	struct mica_json_limits lim = {.bytes = 65536};
	MICA_AUTO_BUF b;
	char piece[17] = "";
	mica_buf_init(&b, 65536);
	assert_ok(mica_token_explain(reader, worlds[W_MAIN], mica_slice_str(token), MICA_FRONT_REST,
		NOW, give, (void *)(uintptr_t)of_a, &b, e));
	for (size_t i = 0; i + 16 <= strlen(token); i += 8) {
		memcpy(piece, token + i, 16);
		assert_null(strstr((const char *)b.p, piece));
	}
	/* the document borrows its text */
	char *text = tk_printf("%s", (const char *)b.p);
	assert_ok(mica_json_parse(mica_slice_str(text), &lim, d, e));
	/* the same verdict as the one that counts, in the same words */
	struct judged j;
	judge_with(worlds[W_MAIN], of_a, MICA_FRONT_REST, NOW, mica_slice_str(token), &j);
	assert_int_equal(json_is_true(json_object_get(d->root, "accepted")), j.rc == MICA_OK);
	assert_string_equal(
		json_string_value(json_object_get(d->root, "reason")), mica_err_fine(&j.e));
}

/* "form header! ...": the steps, those that failed with a '!' */
static char *steps_of(const struct mica_json *d)
{
	char *s = tk_printf("%s", "");
	size_t i;
	json_t *v;
	json_array_foreach (json_object_get(d->root, "steps"), i, v) {
		bool passed = json_is_true(json_object_get(v, "passed"));
		const char *reason = json_string_value(json_object_get(v, "reason"));
		assert_int_equal(passed, reason == NULL);
		assert_true(json_is_string(json_object_get(v, "text")));
		s = tk_printf("%s%s%s%s", s, i ? " " : "",
			json_string_value(json_object_get(v, "check")), passed ? "" : "!");
	}
	return s;
}

#define TRUSTED "form header payload issuer key signature "

static void explains_every_check(void **state)
{
	const struct tk_claim two[] = {{"exp", "1795521000"}, {"aud", "\"x\""}};
	const struct {
		const char *token, *steps;
		bool verified, claims;
	} rows[] = {
		{good(),
			TRUSTED
			"legacy times expiry begin lifetime audience id kubernetes subject secret pod name",
			true, true},
		{tk_make(keys[KEY_A], HEADER, tk_kubernetes(two, 2)),
			TRUSTED
			"legacy times expiry! begin lifetime audience! id kubernetes subject secret pod name",
			true, true},
		{with_claim("exp", "\"x\""),
			TRUSTED
			"legacy times! expiry! begin! lifetime! audience id kubernetes subject secret pod name",
			true, true},
		/* without a service account there is no name to make */
		{with_claim("kubernetes.io", "7"),
			TRUSTED
			"legacy times expiry begin lifetime audience id kubernetes! subject! secret pod!",
			true, true},
		{bound(NULL, NULL, SA_REF),
			TRUSTED
			"legacy times expiry begin lifetime audience id kubernetes subject secret pod! name",
			true, true},
		{gitlab("ref_protected", "false"),
			TRUSTED "times expiry begin lifetime audience id subject claims! name",
			true, true},
		{gitlab("sub", NULL),
			TRUSTED "times expiry begin lifetime audience id subject! claims", true,
			true},
		{tk_make(keys[KEY_OTHER], HEADER, tk_kubernetes(NULL, 0)),
			"form header payload issuer key signature!", false, true},
		{with_header(header_of("RS256", "zz")), "form header payload issuer key!", false,
			true},
		{with_header(header_of("PS256", "a1")), "form header payload issuer key!", false,
			true},
		{with_claim("iss", "\"https://x\""), "form header payload issuer!", false, true},
		{tk_make(keys[KEY_A], HEADER, "[]"), "form header payload!", false, false},
		{with_header("{}"), "form header!", false, false},
		{"a.b", "form!", false, false},
		{"", "form!", false, false},
	};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(rows); i++) {
		MICA_AUTO_JSON d = {.root = NULL};
		explain(rows[i].token, set_a, &d);
		assert_string_equal(steps_of(&d), rows[i].steps);
		assert_int_equal(
			json_is_true(json_object_get(d.root, "verified")), rows[i].verified);
		assert_int_equal(json_object_get(d.root, "claims") != NULL, rows[i].claims);
		assert_int_equal(json_object_get(d.root, "spiffe_id") != NULL,
			json_is_true(json_object_get(d.root, "accepted")));
	}
	MICA_AUTO_JSON d = {.root = NULL};
	explain(good(), NULL, &d);
	assert_string_equal(steps_of(&d), "form header payload issuer key!");
}

static void explains_the_claims_that_count(void **state)
{
	MICA_AUTO_JSON d = {.root = NULL}, other = {.root = NULL};
	const char *key;
	json_t *value;
	MICA_AUTO_BUF b, tiny;
	(void)state;
	mica_buf_init(&b, 4096);
	explain(gitlab("user_email", "\"alice@example.org\""), set_a, &d);
	json_object_foreach (json_object_get(d.root, "claims"), key, value)
		mica_buf_printf(&b, "%s ", key);
	assert_string_equal((const char *)b.p,
		"iss sub aud exp iat jti project_path ref ref_protected project_id ");
	assert_string_equal(json_string_value(json_object_get(d.root, "issuer")), "gitlab");
	assert_string_equal(json_string_value(json_object_get(d.root, "spiffe_id")),
		"spiffe://example.org/gitlab/acme_2fshop/ref/main");
	explain(good(), set_a, &other);
	const json_t *k8s = json_object_get(json_object_get(other.root, "claims"), "kubernetes.io");
	assert_string_equal(json_string_value(json_object_get(k8s, "namespace")), "payments");
	mica_buf_init(&tiny, 100);
	assert_refused(MICA_LIMIT, "too_long",
		mica_token_explain(reader, worlds[W_MAIN], MICA_LIT("x"), MICA_FRONT_REST, NOW,
			give, NULL, &tiny, e));
}

/* ---- by chance ----------------------------------------------------------------------------- */

static uint64_t seed = 0x6d696361746f6b65; /* unless MICA_SEED is set */
static uint32_t rnd(uint32_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 33) % below;
}

#define MUTANT_MAX 4096

/* Octets of a token, changed one to three times; the other one lends its parts. */
static size_t mutate(char *t, size_t len, const char *other, size_t other_len)
{
	static const char alphabet[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/";
	for (unsigned n = 1 + rnd(3); n && len > 4; n--) {
		size_t at = rnd((uint32_t)len), run = 1 + rnd(8);
		run = run > len - at ? len - at : run;
		switch (rnd(8)) {
		case 0: t[at] = (char)(t[at] ^ 1 << rnd(8)); break;
		case 1: t[at] = alphabet[rnd(sizeof(alphabet) - 1)]; break;
		case 2: t[at] = (char)rnd(256); break;
		case 3: /* take away */
			memmove(t + at, t + at + run, len - at - run);
			len -= run;
			break;
		case 4: /* double */
			if (len + run < MUTANT_MAX) {
				memmove(t + at + run, t + at, len - at);
				len += run;
			}
			break;
		case 5: len = at; break;
		case 6: { /* exchange two */
			size_t to = rnd((uint32_t)len);
			char c = t[at];
			t[at] = t[to];
			t[to] = c;
			break;
		}
		default: /* the rest of another token */
			if (at < other_len) {
				memcpy(t + at, other + at, other_len - at);
				len = other_len;
			}
		}
	}
	return len;
}

/* Three issuers' tokens in 30,000 forms that none of them has signed. */
static void what_was_changed_is_refused(void **state)
{
	const char *of[] = {good(),
		tk_make_as(keys[KEY_EC], TK_ES_RAW, EVP_sha256(), header_of("ES256", "e1"),
			tk_kubernetes(NULL, 0)),
		gitlab(NULL, NULL), with_claim("exp", seconds(NOW + 2999))};
	unsigned changed = 0, reached_signature = 0, reached_key = 0;
	struct judged j;
	(void)state;
	for (unsigned n = 0; n < 30000; n++) {
		const char *from = of[n % 4], *other = of[rnd(4)];
		char t[MUTANT_MAX];
		memcpy(t, from, strlen(from));
		size_t len = mutate(t, strlen(from), other, strlen(other));
		MICA_AUTO_FREE char *exact =
			mica_memdup(t, len); /* for a sanitizer to see its end */
		struct mica_slice s = mica_slice(exact, len);
		bool same = false;
		for (size_t i = 0; i < MICA_ARRAY_LEN(of); i++)
			same = same || mica_slice_eq_str(s, of[i]);
		judge_with(worlds[W_MAIN], set_a, MICA_FRONT_REST, NOW, s, &j);
		if (same != (j.rc == MICA_OK))
			fail_msg("mutation %u: %s: %.*s", n, mica_err_fine(&j.e), MICA_FMT(s));
		if (same)
			continue;
		changed++;
		assert_string_equal(j.e.reason, "token_invalid");
		assert_int_equal(j.rc, MICA_UNAUTHENTICATED);
		reached_signature += strcmp(j.e.fine, "bad_signature") == 0;
		reached_key += strcmp(j.e.fine, "unknown_key") == 0;
	}
	assert_true(changed > 20000);
	print_message("%u mutations of good tokens refused, %u of them by their signature\n",
		changed, reached_signature);
	/* not all of them failed at the door */
	assert_true(reached_signature > 2000);
	assert_true(reached_key > 0);
}

/* Claims that are drawn together, well signed: the first one that is wrong, in the order of the
 * checks, names the refusal; without one the token is good. */
struct draw {
	const char *raw, *why; /* why NULL = fine */
};
static const struct draw exps[] = {{"1795524600", NULL}, {"1795521571", NULL},
	{"1795521570", "token_expired"}, {"1795530000", "lifetime_too_long"},
	{"\"1795524600\"", "time_claim_malformed"}, {NULL, "time_claim_malformed"}};
static const struct draw nbfs[] = {{NULL, NULL}, {"1795521000", NULL}, {"1795521630", NULL},
	{"1795521631", "token_not_yet_valid"}, {"true", "time_claim_malformed"}};
static const struct draw auds[] = {{"\"mica\"", NULL}, {"[\"x\",\"mica\"]", NULL},
	{"\"x\"", "audience_mismatch"}, {"[]", "audience_malformed"}};
static const struct draw jtis[] = {{"\"j\"", NULL}, {NULL, NULL}, {"7", "jti_malformed"}};
static const struct draw k8ss[] = {
	{K8S, NULL}, {NULL, "kubernetes_claims_missing"}, {"[]", "kubernetes_claims_malformed"}};
static const struct draw subs[] = {{SUB, NULL}, {"\"x\"", "subject_malformed"},
	{"\"system:serviceaccount:payments:cart\"", "subject_mismatch"}};

/* The order of ca/claims.c, written down once more: forms of times first, then what they say. */
static const char *expected(const struct draw *const d[6])
{
	static const char *const order[] = {"time_claim_malformed", "token_expired",
		"token_not_yet_valid", "lifetime_too_long"};
	for (size_t o = 0; o < MICA_ARRAY_LEN(order); o++)
		for (int i = 0; i < 2; i++)
			if (d[i]->why && strcmp(d[i]->why, order[o]) == 0)
				return d[i]->why;
	for (int i = 2; i < 6; i++)
		if (d[i]->why)
			return d[i]->why;
	return "ok";
}

#define PICK(pool) &pool[rnd(3) ? 0 : rnd(MICA_ARRAY_LEN(pool))]

static void claims_are_judged_together(void **state)
{
	static const char *const names[] = {"exp", "nbf", "aud", "jti", "kubernetes.io", "sub"};
	unsigned ok = 0, refused = 0;
	(void)state;
	for (unsigned n = 0; n < 3000; n++) {
		const struct draw *const d[] = {
			PICK(exps), PICK(nbfs), PICK(auds), PICK(jtis), PICK(k8ss), PICK(subs)};
		struct tk_claim c[6];
		for (int i = 0; i < 6; i++)
			c[i] = (struct tk_claim){names[i], d[i]->raw};
		char *t = tk_make_as(keys[KEY_EC], TK_ES_RAW, EVP_sha256(),
			header_of("ES256", "e1"), tk_kubernetes(c, 6));
		const char *want = expected(d);
		expect(0, t, want);
		ok += strcmp(want, "ok") == 0;
		refused += strcmp(want, "ok") != 0;
		tk_empty_bin(NULL);
	}
	assert_true(ok > 300);
	assert_true(refused > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(reasons_are_secret_until_the_signature_holds),
		TEST(each_front_says_what_it_expects),
		TEST(a_reader_keeps_nothing_for_the_next),
		TEST(explains_every_check),
		TEST(explains_the_claims_that_count),
		TEST(what_was_changed_is_refused),
		TEST(claims_are_judged_together),
	};
	const char *text = mica_env("MICA_SEED");
	uint64_t other;

	if (text && mica_parse_u64(mica_slice_str(text), UINT32_MAX, &other) == MICA_OK)
		seed += other << 8;
	return cmocka_run_group_tests(tests, make_all, free_all);
}
