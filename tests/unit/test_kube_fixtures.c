/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tokens, keys and TokenReview answers of a real kube-apiserver (tests/data/kube, recorded by
 * tests/e2e/kube/record.py), judged at the time of their recording.
 */
#include "tokens.h"

#include "mica/file.h"
#include "mica/json.h"

static struct mica_buf texts[4];
static struct mica_json tokens, reviews;
static const struct mica_jwks *keys, *keys_rotated;
static struct mica_token_reader *reader;

static struct mica_slice load(struct mica_buf *b, const char *name)
{
	const char *top = mica_env("MICA_SRCDIR");
	mica_buf_init(b, 1 << 20);
	assert_ok(mica_file_read(tk_printf("%s/tests/data/kube/%s", top ? top : ".", name), b, e));
	return mica_buf_slice(b);
}

static void load_json(struct mica_buf *b, const char *name, struct mica_json *out)
{
	struct mica_json_limits lim = {.bytes = 1 << 20};
	assert_ok(mica_json_parse(load(b, name), &lim, out, e));
}

static int load_all(void **state)
{
	(void)state;
	load_json(&texts[0], "tokens.json", &tokens);
	load_json(&texts[1], "reviews.json", &reviews);
	assert_ok(mica_jwks_parse(load(&texts[2], "jwks.json"), NULL, &keys, e));
	assert_ok(mica_jwks_parse(load(&texts[3], "jwks-rotated.json"), NULL, &keys_rotated, e));
	reader = mica_token_reader_new();
	return 0;
}

static int free_all(void **state)
{
	mica_json_clear(&tokens);
	mica_json_clear(&reviews);
	mica_jwks_unref(keys);
	mica_jwks_unref(keys_rotated);
	mica_token_reader_free(reader);
	for (size_t i = 0; i < MICA_ARRAY_LEN(texts); i++)
		mica_buf_clear(&texts[i]);
	return tk_empty_bin(state);
}

/* ---- what was recorded --------------------------------------------------------------------- */

static const json_t *recorded(const struct mica_json *d, const char *list, const char *name)
{
	size_t i;
	json_t *v;
	json_array_foreach (json_object_get(d->root, list), i, v)
		if (!strcmp(json_string_value(json_object_get(v, "name")), name))
			return v;
	fail_msg("%s has no \"%s\"", list, name);
	return NULL;
}

static const json_t *recorded_token(const char *name)
{
	return recorded(&tokens, "tokens", name);
}

static const char *str(const json_t *o, const char *member)
{
	const char *s = json_string_value(json_object_get(o, member));
	assert_non_null(s);
	return s;
}

static int64_t num(const json_t *o, const char *member)
{
	assert_true(json_is_integer(json_object_get(o, member)));
	return json_integer_value(json_object_get(o, member));
}

/* The server's only issuer, as its administrator would configure it. */
static struct mica_issuer_config config(void)
{
	return tk_config("prod", ISS, "/ns/{namespace}/sa/{serviceaccount}");
}

static mica_rc verify_with(const struct mica_issuers *is, struct mica_slice token,
	const struct mica_jwks *set, enum mica_front front, int64_t now,
	struct mica_token_result *out, struct mica_err *e)
{
	const struct mica_issuer *i = NULL;
	mica_rc rc = mica_token_open(reader, is, token, front, &i, e);
	return rc ? rc : mica_token_verify(reader, set, now, out, e);
}

static mica_rc verify(const char *name, const struct mica_jwks *set, enum mica_front front,
	int64_t now, struct mica_token_result *out, struct mica_err *e)
{
	struct mica_issuer_config c = config();
	MICA_AUTO_ISSUERS is = tk_issuers(&c, 1);
	return verify_with(
		is, mica_slice_str(str(recorded_token(name), "token")), set, front, now, out, e);
}

static void assert_uid(const struct mica_uid *u, const char *text)
{
	char hex[33] = "";
	size_t n = 0;
	for (const char *p = text; *p && n < 32; p++)
		if (*p != '-')
			hex[n++] = *p;
	for (size_t i = 0; i < sizeof(u->b); i++)
		if (*text)
			assert_memory_equal(tk_printf("%02x", u->b[i]), &hex[2 * i], 2);
		else
			assert_int_equal(u->b[i], 0);
}

/* ---- tokens --------------------------------------------------------------------------------- */

static void assert_says(const struct mica_token_result *r, const json_t *t)
{
	const struct mica_principal *p = &r->principal;
	assert_string_equal(p->issuer, "prod");
	assert_string_equal(p->ns, str(t, "namespace"));
	assert_string_equal(str(t, "sub"), tk_printf("system:serviceaccount:%s:%s", p->ns, p->sa));
	assert_string_equal(p->pod, str(t, "pod"));
	assert_string_equal(p->node, str(t, "node"));
	assert_uid(&p->sa_uid, str(t, "serviceaccount_uid"));
	assert_uid(&p->pod_uid, str(t, "pod_uid"));
	assert_uid(&p->node_uid, str(t, "node_uid"));
	assert_string_equal(
		p->spiffe_id, tk_printf("spiffe://example.org/ns/%s/sa/%s", p->ns, p->sa));
	assert_int_equal(r->evidence.kind, MICA_EV_TOKEN);
	assert_string_equal(r->evidence.id, str(t, "jti"));
	assert_int_equal(r->iat, num(t, "iat"));
	assert_int_equal(r->exp, num(t, "exp"));
	assert_int_equal(r->evidence.credential_expiry, r->exp);
}

static void pods_tokens_say_who_they_are(void **state)
{
	static const char *const good[] = {"pod", "short", "other_pod"};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(good); i++) {
		const json_t *t = recorded_token(good[i]);
		struct mica_token_result r;
		assert_ok(verify(good[i], keys, MICA_FRONT_REST, num(t, "iat"), &r, e));
		assert_says(&r, t);
		assert_string_equal(r.audience, "mica");
		assert_true(r.principal.pod[0]);
	}
}

static void time_ends_them_to_the_second(void **state)
{
	const json_t *t = recorded_token("pod");
	int64_t iat = num(t, "iat"), exp = num(t, "exp");
	struct mica_slice token = mica_slice_str(str(t, "token"));
	static const unsigned skews[] = {0, 30};
	struct mica_token_result r;
	(void)state;
	assert_int_equal(exp - iat, 3600);
	for (size_t i = 0; i < MICA_ARRAY_LEN(skews); i++) {
		struct mica_issuer_config c = config();
		c.skew = skews[i];
		MICA_AUTO_ISSUERS is = tk_issuers(&c, 1);
		int64_t first = iat - skews[i], last = exp + skews[i] - 1;
#define AT(now) verify_with(is, token, keys, MICA_FRONT_REST, now, &r, e)
		assert_refused(MICA_UNAUTHENTICATED, "token_not_yet_valid", AT(first - 1));
		assert_ok(AT(first));
		assert_ok(AT(last));
		assert_refused(MICA_UNAUTHENTICATED, "token_expired", AT(last + 1));
#undef AT
	}
}

static void others_are_refused(void **state)
{
	static const struct {
		const char *name;
		enum mica_front front;
		const char *why;
	} cases[] = {
		{"istio", MICA_FRONT_REST, "audience_mismatch"},
		{"pod", MICA_FRONT_ISTIO, "audience_mismatch"},
		{"pod", MICA_FRONT_LINKERD, "audience_mismatch"},
		{"api", MICA_FRONT_REST, "audience_mismatch"},
		{"no_pod", MICA_FRONT_REST, "pod_missing"},
		{"node_bound", MICA_FRONT_REST, "pod_missing"},
		{"secret_bound", MICA_FRONT_REST, "secret_bound"},
	};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++) {
		struct mica_token_result r;
		assert_refused(MICA_UNAUTHENTICATED, cases[i].why,
			verify(cases[i].name, keys, cases[i].front,
				num(recorded_token(cases[i].name), "iat"), &r, e));
	}
}

static void each_front_takes_its_own(void **state)
{
	struct mica_token_result r;
	int64_t now = num(recorded_token("istio"), "iat");
	(void)state;
	assert_ok(verify("istio", keys, MICA_FRONT_ISTIO, now, &r, e));
	assert_says(&r, recorded_token("istio"));
	assert_ok(verify("other_pod", keys, MICA_FRONT_ISTIO, now, &r, e));
	assert_string_equal(r.audience, "istio-ca");
}

/* A year in `exp`, the truth in `warnafter`: what pods have mounted by default. */
static void year_long_tokens_are_refused_or_end_when_they_warn(void **state)
{
	const json_t *t = recorded_token("extended");
	int64_t iat = num(t, "iat"), warn = num(t, "warnafter");
	struct mica_slice token = mica_slice_str(str(t, "token"));
	struct mica_issuer_config c = config();
	struct mica_token_result r;
	(void)state;
	assert_int_equal(warn - iat, 3607);
	assert_int_equal(num(t, "exp") - iat, 365 * 86400);
	c.audiences[MICA_FRONT_REST] = tk_list(ISS, NULL);
	MICA_AUTO_ISSUERS strict = tk_issuers(&c, 1);
	assert_refused(MICA_UNAUTHENTICATED, "lifetime_too_long",
		verify_with(strict, token, keys, MICA_FRONT_REST, iat, &r, e));
	c.max_token_life[MICA_FRONT_REST] = 365 * 86400;
	MICA_AUTO_ISSUERS lax = tk_issuers(&c, 1);
	assert_ok(verify_with(lax, token, keys, MICA_FRONT_REST, iat, &r, e));
	assert_int_equal(r.exp, warn);
	assert_refused(MICA_UNAUTHENTICATED, "token_expired",
		verify_with(lax, token, keys, MICA_FRONT_REST, warn + c.skew, &r, e));
}

static void pods_may_be_optional(void **state)
{
	static const char *const names[] = {"no_pod", "node_bound"};
	struct mica_issuer_config c = config();
	(void)state;
	c.require_pod = false;
	MICA_AUTO_ISSUERS is = tk_issuers(&c, 1);
	for (size_t i = 0; i < MICA_ARRAY_LEN(names); i++) {
		const json_t *t = recorded_token(names[i]);
		struct mica_token_result r;
		assert_ok(verify_with(is, mica_slice_str(str(t, "token")), keys, MICA_FRONT_REST,
			num(t, "iat"), &r, e));
		assert_says(&r, t);
	}
}

static void a_rotated_key_is_unknown_until_fetched(void **state)
{
	int64_t now = num(recorded_token("rotated"), "iat");
	struct mica_token_result r;
	struct mica_err why = MICA_ERR_INIT;
	(void)state;
	assert_int_equal(mica_jwks_count(keys), 1);
	assert_int_equal(mica_jwks_count(keys_rotated), 2);
	assert_int_equal(
		verify("rotated", keys, MICA_FRONT_REST, now, &r, &why), MICA_UNAUTHENTICATED);
	assert_string_equal(why.reason, "token_invalid");
	assert_string_equal(why.fine, "unknown_key");
	assert_ok(verify("rotated", keys_rotated, MICA_FRONT_REST, now, &r, e));
	assert_ok(verify("pod", keys_rotated, MICA_FRONT_REST, now, &r, e));
}

static void every_octet_counts(void **state)
{
	const json_t *t = recorded_token("pod");
	struct mica_issuer_config c = config();
	MICA_AUTO_ISSUERS is = tk_issuers(&c, 1);
	struct mica_token_result r;
	char *s = tk_printf("%s", str(t, "token"));
	size_t len = strlen(s);
	(void)state;
	assert_in_range(len, 900, 1400);
	for (size_t i = 0; i < len; i++) {
		char was = s[i];
		s[i] = was == 'A' ? 'B' : 'A';
		assert_refused(MICA_UNAUTHENTICATED, "token_invalid",
			verify_with(is, mica_slice_str(s), keys, MICA_FRONT_REST, num(t, "iat"), &r,
				e));
		s[i] = was;
		assert_refused(MICA_UNAUTHENTICATED, "token_invalid",
			verify_with(is, (struct mica_slice){(uint8_t *)s, i}, keys, MICA_FRONT_REST,
				num(t, "iat"), &r, e));
	}
	assert_ok(verify_with(is, mica_slice_str(s), keys, MICA_FRONT_REST, num(t, "iat"), &r, e));
}

/* ---- TokenReview ---------------------------------------------------------------------------- */

static mica_rc judge(const char *token, const char *review, struct mica_err *why)
{
	const json_t *v = recorded(&reviews, "reviews", review), *t = recorded_token(token);
	struct mica_issuer_config c = config();
	struct mica_token_result r;
	MICA_AUTO_ISSUERS is = tk_issuers(&c, 1);
	assert_ok(verify_with(
		is, mica_slice_str(str(t, "token")), keys, MICA_FRONT_REST, num(t, "iat"), &r, e));
	return mica_review_judge(mica_issuers_at(is, 0), MICA_FRONT_REST, &r.principal, &r.evidence,
		(int)num(v, "status"), mica_slice_str(str(v, "answer")), why);
}

static void reviews_are_judged(void **state)
{
	static const struct {
		const char *token, *review;
		mica_rc rc;
		const char *why, *fine;
	} cases[] = {
		{"pod", "yes", MICA_OK, NULL, NULL},
		{"other_pod", "yes_other", MICA_OK, NULL, NULL},
		/* the answer for one pod proves nothing for another */
		{"pod", "yes_other", MICA_DENIED, "token_review_refused", "review_user_mismatch"},
		{"other_pod", "yes", MICA_DENIED, "token_review_refused", "review_user_mismatch"},
		/* nor that for one token of a pod for another */
		{"short", "yes", MICA_DENIED, "token_review_refused", "review_user_mismatch"},
		{"pod", "wrong_audience", MICA_DENIED, "token_review_refused", "review_refused"},
		{"late", "pod_gone", MICA_DENIED, "pod_gone", NULL},
		{"later", "pod_replaced", MICA_DENIED, "pod_gone", NULL},
		{"cart_late", "account_gone", MICA_DENIED, "pod_gone", NULL},
		{"cart_later", "account_replaced", MICA_DENIED, "pod_gone", NULL},
		{"pod", "key_gone", MICA_DENIED, "token_review_refused", "review_refused"},
		/* our own trouble is nobody's refusal */
		{"pod", "forbidden", MICA_UNAVAILABLE, "token_review_failed", NULL},
		{"pod", "unknown_asker", MICA_UNAVAILABLE, "token_review_failed", NULL},
	};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++) {
		struct mica_err e = MICA_ERR_INIT;
		mica_rc rc = judge(cases[i].token, cases[i].review, &e);
		if (rc != cases[i].rc)
			fail_msg("%s, %s: %d %s [%s] %s", cases[i].token, cases[i].review, rc,
				e.reason ? e.reason : "", e.fine ? e.fine : "", e.detail);
		if (cases[i].why)
			assert_string_equal(e.reason, cases[i].why);
		if (cases[i].fine)
			assert_string_equal(e.fine ? e.fine : "", cases[i].fine);
	}
}

static void our_question_is_the_one_that_was_answered(void **state)
{
	const json_t *v = recorded(&reviews, "reviews", "yes");
	struct mica_issuer_config c = config();
	MICA_AUTO_ISSUERS is = tk_issuers(&c, 1);
	MICA_AUTO_BUF body;
	MICA_AUTO_JSON d = {0};
	(void)state;
	mica_buf_init_secret(&body, 64 * 1024);
	assert_ok(mica_review_request(mica_issuers_at(is, 0), MICA_FRONT_REST,
		mica_slice_str(str(recorded_token("pod"), "token")), &body, e));
	assert_ok(mica_json_parse(mica_buf_slice(&body), NULL, &d, e));
	assert_true(json_equal(d.root, json_object_get(v, "request")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pods_tokens_say_who_they_are),
		cmocka_unit_test(time_ends_them_to_the_second),
		cmocka_unit_test(others_are_refused),
		cmocka_unit_test(each_front_takes_its_own),
		cmocka_unit_test(year_long_tokens_are_refused_or_end_when_they_warn),
		cmocka_unit_test(pods_may_be_optional),
		cmocka_unit_test(a_rotated_key_is_unknown_until_fetched),
		cmocka_unit_test(every_octet_counts),
		cmocka_unit_test(reviews_are_judged),
		cmocka_unit_test(our_question_is_the_one_that_was_answered),
	};
	return cmocka_run_group_tests(tests, load_all, free_all);
}
