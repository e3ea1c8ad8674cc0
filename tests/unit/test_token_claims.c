/* SPDX-License-Identifier: Apache-2.0 */
/* Malicious tokens, classes 42 to 70: well signed, and what they say is wrong. */
#include "token_world.h"

#include "../../ca/token.h"

#include "mica/file.h"

/* Classes that this layer cannot know of, and the tests that hold them. */
static const struct {
	unsigned class;
	const char *file, *word;
} elsewhere[] = {
	{61, "test_tokenreview.c", "what_is_gone_is_said_in_known_words"},
	{64, "test_core_issue.c", "who_is_denied_gets_nothing"},
	{65, "test_replay.c", "equals_share_one_result"},
	{67, "test_core_issue.c", "who_is_denied_gets_nothing"},
	{68, "test_guard.c", "Authorization: a\\r\\nauthorization: b"},
	{69, "test_tokenreview.c", "answers_are_judged"},
	{70, "test_tokenreview.c", "our_own_trouble"},
};

/* A file that is there still has that test. */
static void assert_elsewhere(unsigned class, const char *file, const char *word)
{
	const char *top = mica_env("MICA_SRCDIR");
	struct mica_err e = MICA_ERR_INIT;
	MICA_AUTO_BUF b;
	mica_buf_init(&b, 1 << 20);
	if (mica_file_read(tk_printf("%s/tests/unit/%s", top ? top : ".", file), &b, &e) ==
		MICA_NOT_FOUND)
		return;
	if (strstr(b.p ? (const char *)b.p : "", word) == NULL)
		fail_msg("class %u: %s no longer has %s", class, file, word);
}

/* ---- 42 to 50: times ------------------------------------------------------------------------ */

static void ends(void **state)
{
	const struct {
		unsigned class;
		enum world w;
		const char *exp, *why;
	} rows[] = {
		{42, W_MAIN, NULL, "time_claim_malformed"},
		{43, W_MAIN, seconds(NOW - 31), "token_expired"},
		{43, W_MAIN, seconds(1), "time_claim_malformed"}, /* before iat */
		/* 50: at its last second, and for `skew` seconds behind it */
		{50, W_MAIN, seconds(NOW - 30), "token_expired"},
		{0, W_MAIN, seconds(NOW - 29), "ok"},
		{0, W_MAIN, seconds(NOW), "ok"},
		{50, W_NO_SKEW, seconds(NOW), "token_expired"},
		{0, W_NO_SKEW, seconds(NOW + 1), "ok"},
		{44, W_MAIN, tk_printf("\"%lld\"", (long long)NOW + 3000), "time_claim_malformed"},
		{44, W_MAIN, tk_printf("%lld.0", (long long)NOW + 3000), "time_claim_malformed"},
		{44, W_MAIN, "1.7955246e9", "time_claim_malformed"},
		{44, W_MAIN, "-1", "time_claim_malformed"},
		{44, W_MAIN, "0", "time_claim_malformed"},
		{44, W_MAIN, "-0", "time_claim_malformed"},
		{44, W_MAIN, "9223372036854775807", "time_claim_malformed"},
		{44, W_MAIN, "9223372036854775808", "payload_malformed"},
		{44, W_MAIN, "-9223372036854775808", "time_claim_malformed"},
		{44, W_MAIN, "18446744073709551615", "payload_malformed"},
		{44, W_MAIN, "1e400", "payload_malformed"},
		{44, W_MAIN, "true", "time_claim_malformed"},
		{44, W_MAIN, "null", "time_claim_malformed"},
		{44, W_MAIN, tk_printf("[%lld]", (long long)NOW + 3000), "time_claim_malformed"},
		{44, W_MAIN, "{}", "time_claim_malformed"},
		{44, W_MAIN, "253402300800", "time_claim_malformed"}, /* year 10000 */
		{48, W_MAIN, "253402300799", "lifetime_too_long"},
		{0, W_MAIN, seconds(NOW - 600 + 3700), "ok"},
		{48, W_MAIN, seconds(NOW - 600 + 3701), "lifetime_too_long"},
		{48, W_MAIN, seconds(NOW - 600 + YEAR), "lifetime_too_long"},
		{0, W_LONG, seconds(NOW - 600 + YEAR), "ok"},
	};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(rows); i++)
		expect_in(rows[i].class, rows[i].w, set_a, NOW, with_claim("exp", rows[i].exp),
			rows[i].why);
}

static void begins(void **state)
{
	const struct {
		unsigned class;
		enum world w;
		const char *name, *raw, *why;
	} rows[] = {
		{0, W_MAIN, "nbf", NULL, "ok"},
		{0, W_MAIN, "nbf", seconds(NOW + 30), "ok"},
		{45, W_MAIN, "nbf", seconds(NOW + 31), "token_not_yet_valid"},
		{45, W_NO_SKEW, "nbf", seconds(NOW + 1), "token_not_yet_valid"},
		{0, W_NO_SKEW, "nbf", seconds(NOW), "ok"},
		{45, W_MAIN, "nbf", "\"0\"", "time_claim_malformed"},
		{45, W_MAIN, "nbf", "0", "time_claim_malformed"},
		{45, W_MAIN, "nbf", "null", "time_claim_malformed"},
		{45, W_MAIN, "nbf", "1.5", "time_claim_malformed"},
		{0, W_MAIN, "iat", seconds(NOW + 30), "ok"},
		{46, W_MAIN, "iat", seconds(NOW + 31), "token_not_yet_valid"},
		{46, W_NO_SKEW, "iat", seconds(NOW + 1), "token_not_yet_valid"},
		{47, W_MAIN, "iat", NULL, "time_claim_malformed"},
		{47, W_MAIN, "iat", "\"1\"", "time_claim_malformed"},
		{47, W_MAIN, "iat", "-1", "time_claim_malformed"},
		{47, W_MAIN, "iat", seconds(NOW + 3001), "time_claim_malformed"}, /* behind exp */
		{47, W_MAIN, "iat", "253402300799", "time_claim_malformed"},
		{48, W_MAIN, "iat", "1", "lifetime_too_long"},
	};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(rows); i++)
		expect_in(rows[i].class, rows[i].w, set_a, NOW,
			with_claim(rows[i].name, rows[i].raw), rows[i].why);
}

/* 48: a request for about an hour is answered with a year, and a time to begin to worry. */
static void year_long_tokens_end_when_they_warn(void **state)
{
	const struct {
		unsigned class;
		const char *warnafter, *why;
		int64_t exp;
	} rows[] = {
		{0, seconds(NOW + 3007), "ok", NOW + 3007},
		{0, seconds(NOW - 29), "ok", NOW - 29},
		{48, seconds(NOW - 30), "token_expired", 0},
		{0, seconds(NOW + 2 * YEAR), "ok", NOW + YEAR},
		{48, "0", "time_claim_malformed", 0},
		{48, "\"1\"", "time_claim_malformed", 0},
		{48, "null", "time_claim_malformed", 0},
	};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(rows); i++) {
		const char *k8s = tk_printf("{\"warnafter\":%s,%s", rows[i].warnafter, &K8S[1]);
		const struct tk_claim c[] = {{"exp", seconds(NOW + YEAR)}, {"kubernetes.io", k8s}};
		char *t = tk_make(keys[KEY_A], HEADER, tk_kubernetes(c, 2));
		struct judged j;
		expect_in(rows[i].class, W_LONG, set_a, NOW, t, rows[i].why);
		judge_with(worlds[W_LONG], set_a, MICA_FRONT_REST, NOW, mica_slice_str(t), &j);
		assert_int_equal(j.r.exp, rows[i].exp);
		assert_int_equal(j.r.evidence.credential_expiry, rows[i].exp);
		if (j.rc == MICA_OK)
			expect_in(48, W_MAIN, set_a, NOW, t, "lifetime_too_long");
	}
}

/* 49: the outcome depends on the time that is given and on nothing that was before. What
 * a clock that goes back means is for those who own one. */
static void clock_steps(void **state)
{
	static const struct {
		int64_t now;
		const char *why;
	} steps[] = {{NOW, "ok"}, {NOW + 3029, "ok"}, {NOW + 3030, "token_expired"},
		{NOW + YEAR, "token_expired"}, {NOW + 3029, "ok"}, {NOW - 630, "ok"},
		{NOW - 631, "token_not_yet_valid"}, {NOW - YEAR, "token_not_yet_valid"},
		{1, "token_not_yet_valid"}, {0, "token_not_yet_valid"},
		{253402300799, "token_expired"}, {NOW, "ok"}, {NOW + 3030, "token_expired"}};
	char *t = good();
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(steps); i++)
		expect_in(strcmp(steps[i].why, "ok") ? 49 : 0, W_MAIN, set_a, steps[i].now, t,
			steps[i].why);
}

/* ---- 51 to 56: issuer and audience ----------------------------------------------------------- */

static void issuers_are_exact(void **state)
{
	static const struct {
		const char *iss, *why;
	} rows[] = {
		{NULL, "issuer_missing"},
		{"\"\"", "issuer_missing"},
		{"null", "issuer_missing"},
		{"7", "issuer_missing"},
		{"[\"" ISS "\"]", "issuer_missing"},
		{"{\"" ISS "\":1}", "issuer_missing"},
		{"\"" ISS "/\"", "issuer_unknown"},
		{"\"" ISS ":443\"", "issuer_unknown"},
		{"\"" ISS "@evil.example\"", "issuer_unknown"},
		{"\"" ISS ".evil.example\"", "issuer_unknown"},
		{"\"" ISS "#\"", "issuer_unknown"},
		{"\" " ISS "\"", "issuer_unknown"},
		{"\"" ISS "\\n\"", "issuer_unknown"},
		{"\"HTTPS://kubernetes.default.svc.cluster.local\"", "issuer_unknown"},
		{"\"https://Kubernetes.default.svc.cluster.local\"", "issuer_unknown"},
		{"\"https://kubernetes.default.svc.cluster.loca\"", "issuer_unknown"},
		{"\"http://kubernetes.default.svc.cluster.local\"", "issuer_unknown"},
		{"\"https://kubernetes.default.svc.cluster.local.\"", "issuer_unknown"},
		{"\"https://evil@kubernetes.default.svc.cluster.local\"", "issuer_unknown"},
		{"\"https://kubern\xd0\xb5tes.default.svc.cluster.local\"", "issuer_unknown"},
		{"\"https:\\/\\/kubernetes.default.svc.cluster.local\"",
			NULL}, /* the same, escaped */
		{"\"a\"", "issuer_unknown"}, /* its name in the configuration is not its `iss` */
		{"\"kubernetes/serviceaccount\"", "legacy_token"},
	};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(rows); i++)
		expect(rows[i].why ? 51 : 0, with_claim("iss", rows[i].iss),
			rows[i].why ? rows[i].why : "ok");
}

static void keys_are_bound_to_issuers(void **state)
{
	const struct tk_claim b = {"iss", "\"" ISS_B "\""};
	const char *of_b = tk_kubernetes(&b, 1), *of_a = tk_kubernetes(NULL, 0);
	struct judged j;
	(void)state;
	char *t = tk_make(keys[KEY_B], header_of("RS256", "b1"), of_b);
	judge_with(worlds[W_MAIN], set_a, MICA_FRONT_REST, NOW, mica_slice_str(t), &j);
	check_fate(0, "b's own", &j, mica_slice_str(t), "ok");
	assert_string_equal(
		j.r.principal.spiffe_id, "spiffe://example.org/b/ns/payments/sa/checkout");
	assert_string_equal(j.r.principal.issuer, "b");
	expect(52, tk_make(keys[KEY_A], HEADER, of_b), "unknown_key");
	expect(52, tk_make(keys[KEY_A], header_of("RS256", "b1"), of_b), "bad_signature");
	expect(52, tk_make(keys[KEY_B], header_of("RS256", "b1"), of_a), "unknown_key");
	expect(52, tk_make(keys[KEY_B], HEADER, of_a), "bad_signature");
}

static char *audiences(unsigned n, const char *last)
{
	MICA_AUTO_BUF b;
	mica_buf_init(&b, 4096);
	for (unsigned i = 1; i < n; i++)
		mica_buf_printf(&b, "\"aud-%u\",", i);
	return tk_printf("[%s\"%s\"]", b.p ? (const char *)b.p : "", last);
}

static void audiences_are_exact(void **state)
{
	const struct {
		unsigned class;
		const char *aud, *why;
	} rows[] = {
		{0, "\"mica\"", "ok"}, {0, "[\"mica\"]", "ok"},
		{0, "[\"x\",\"mica.example.org\"]", "ok"}, {0, audiences(16, "mica"), "ok"},
		{53, NULL, "audience_malformed"}, {53, "\"\"", "audience_malformed"},
		{53, "[]", "audience_malformed"}, {53, "7", "audience_malformed"},
		{53, "null", "audience_malformed"}, {53, "{\"mica\":true}", "audience_malformed"},
		{53, "[[\"mica\"]]", "audience_malformed"},
		{53, "[\"mica\",7]", "audience_malformed"},
		{53, "[\"mica\",\"\"]", "audience_malformed"},
		{53, "[null,\"mica\"]", "audience_malformed"},
		{54, "[\"https://kubernetes.default.svc.cluster.local\"]", "audience_mismatch"},
		{54, "[\"https://kubernetes.default.svc\",\"k3s\"]", "audience_mismatch"},
		{55, "\"Mica\"", "audience_mismatch"}, {55, "\"mic\"", "audience_mismatch"},
		{55, "\"micaa\"", "audience_mismatch"}, {55, "\"mica \"", "audience_mismatch"},
		{55, "\"xmica\"", "audience_mismatch"},
		{55, "\"mica.example.or\"", "audience_mismatch"},
		{55, "\"mica,other\"", "audience_mismatch"},
		{55,
			"\"m\xd1\x96"
			"ca\"",
			"audience_mismatch"},
		{55, audiences(17, "mica"), "audience_malformed"},
		{66, "\"mica.example.com\"", "audience_mismatch"},
		{66, "[\"spiffe://example.com\"]", "audience_mismatch"},
		{66, "\"istio-ca\"", "audience_mismatch"}, /* another front's */
	};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(rows); i++)
		expect(rows[i].class, with_claim("aud", rows[i].aud), rows[i].why);
}

/* 66: what is for one door opens no other. */
static void audiences_belong_to_fronts(void **state)
{
	static const char *const aud[MICA_FRONT_COUNT] = {
		"mica", "istio-ca", "identity.l5d.io", NULL};
	(void)state;
	for (int of = 0; of < MICA_FRONT_CONSUL; of++)
		for (int at = 0; at < MICA_FRONT_COUNT; at++) {
			char *t = with_claim("aud", tk_printf("\"%s\"", aud[of]));
			struct judged j;
			judge_with(worlds[W_MAIN], set_a, (enum mica_front)at, NOW,
				mica_slice_str(t), &j);
			assert_string_equal(
				mica_err_fine(&j.e), of == at ? "ok" : "audience_mismatch");
			if (of == at)
				assert_int_equal(j.r.evidence.front, at);
		}
	/* 48: so do the caps */
	const struct tk_claim c[] = {{"aud", "\"istio-ca\""}, {"exp", seconds(NOW - 600 + 43200)}};
	struct judged j;
	char *t = tk_make(keys[KEY_A], HEADER, tk_kubernetes(c, 2));
	judge_with(worlds[W_MAIN], set_a, MICA_FRONT_ISTIO, NOW, mica_slice_str(t), &j);
	assert_string_equal(mica_err_fine(&j.e), "ok");
}

static void legacy_tokens(void **state)
{
	static const char legacy[] =
		"{\"iss\":\"kubernetes/serviceaccount\",\"kubernetes.io/serviceaccount/namespace\":\"payments\","
		"\"kubernetes.io/serviceaccount/secret.name\":\"checkout-token-x\","
		"\"kubernetes.io/serviceaccount/service-account.name\":\"checkout\","
		"\"kubernetes.io/serviceaccount/service-account.uid\":\"" SA_UID "\",\"sub\":" SUB
		"}";
	struct judged j;
	char *t = tk_make(keys[KEY_A], HEADER, legacy);
	(void)state;
	expect(56, t, "legacy_token");
	judge_with(worlds[W_MAIN], set_a, MICA_FRONT_REST, NOW, mica_slice_str(t), &j);
	assert_string_equal(j.e.reason, "token_invalid"); /* nothing was proved yet */
	t = with_claim("kubernetes.io/serviceaccount/namespace", "\"payments\"");
	expect(56, t, "legacy_token");
	judge_with(worlds[W_MAIN], set_a, MICA_FRONT_REST, NOW, mica_slice_str(t), &j);
	assert_string_equal(j.e.reason, "legacy_token");
	assert_int_equal(j.rc, MICA_UNAUTHENTICATED);
	/* CVE-2024-3177 */
	expect(56,
		with_claim("kubernetes.io",
			tk_printf(
				"{\"secret\":{\"name\":\"s\",\"uid\":\"" SA_UID "\"},%s", &K8S[1])),
		"secret_bound");
	expect(56, with_claim("kubernetes.io", tk_printf("{\"secret\":null,%s", &K8S[1])),
		"secret_bound");
}

/* ---- 57 to 63, 67: names --------------------------------------------------------------------- */

static void subjects(void **state)
{
	const struct {
		unsigned class;
		const char *sub, *why;
	} rows[] = {
		{57, NULL, "subject_malformed"},
		{57, "null", "subject_malformed"},
		{57, "[" SUB "]", "subject_malformed"},
		{57, "\"\"", "subject_malformed"},
		{57, "\"system:serviceaccount:\"", "subject_malformed"},
		{57, "\"system:serviceaccount:payments\"", "subject_malformed"},
		{57, "\"system:serviceaccount:payments:\"", "subject_malformed"},
		{57, "\"system:serviceaccount::checkout\"", "subject_malformed"},
		{57, "\"system:serviceaccount:payments:checkout:x\"", "subject_malformed"},
		{57, "\"system:serviceaccount:payments:checkout:\"", "subject_malformed"},
		{57, "\"System:serviceaccount:payments:checkout\"", "subject_malformed"},
		{57, "\" system:serviceaccount:payments:checkout\"", "subject_malformed"},
		{57, "\"system:serviceaccount:Payments:checkout\"", "subject_malformed"},
		{57, "\"system:serviceaccount:payments:..\"", "subject_malformed"},
		{57, "\"system:serviceaccount:payments:checkout/x\"", "subject_malformed"},
		{57, "\"system:serviceaccount:payments:check%2fout\"", "subject_malformed"},
		{57, "\"system:serviceaccount:payments:checkout\\n\"", "subject_malformed"},
		{57, "\"system:serviceaccount:payments:ch\xc3\xa9\"", "subject_malformed"},
		{57, tk_printf("\"system:serviceaccount:payments:%0254d\"", 1),
			"subject_malformed"},
		{58, "\"system:serviceaccount:payments:checkout2\"", "subject_mismatch"},
		{58, "\"system:serviceaccount:payment:checkout\"", "subject_mismatch"},
		{58, "\"system:serviceaccount:checkout:payments\"", "subject_mismatch"},
		{58, "\"system:serviceaccount:kube-system:checkout\"", "subject_mismatch"},
		{63, "\"system:node:node-1\"", "subject_malformed"},
		{63, "\"system:serviceaccounts\"", "subject_malformed"},
		{63, "\"alice@example.org\"", "subject_malformed"},
		{63, "\"kubernetes-admin\"", "subject_malformed"},
	};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(rows); i++)
		expect(rows[i].class, with_claim("sub", rows[i].sub), rows[i].why);
}

/* A token for a service account whose names need not be ones; sub says the same. */
static char *account(const char *ns, const char *sa)
{
	const struct tk_claim c[] = {
		{"kubernetes.io",
			tk_printf("{\"namespace\":\"%s\",\"pod\":{\"name\":\"p\",\"uid\":\"" POD_UID
				  "\"},\"serviceaccount\":{\"name\":\"%s\",\"uid\":\"" SA_UID
				  "\"}}",
				ns, sa)},
		{"sub", tk_printf("\"system:serviceaccount:%s:%s\"", ns, sa)}};
	return tk_make(keys[KEY_A], HEADER, tk_kubernetes(c, 2));
}

/* 57: what would step out of a SPIFFE ID's path. */
static void names_cannot_leave_their_segment(void **state)
{
	const char *bad[] = {"", ".", "..", "../../mica", "a/b", "a%2fb", "A", "a_b", "a b",
		"a\\u0009b", "a\\\\b", "a:b", "-a", "a-", ".a", "a.", "a..b", "\xc3\xa4",
		"\xd0\xb0", "*", "{pod}", "?", "#", tk_printf("%0254d", 1)};
	struct judged j;
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(bad); i++) {
		expect(57, account(bad[i], "checkout"), "kubernetes_claims_malformed");
		expect(57, account("payments", bad[i]), "kubernetes_claims_malformed");
	}
	expect(57, account("a.b", "checkout"), "kubernetes_claims_malformed");
	expect(57, account(tk_printf("%064d", 1), "checkout"), "kubernetes_claims_malformed");
	expect(0, account(tk_printf("%063d", 1), "checkout"), "ok");
	char *longest = tk_printf("%063d.%063d.%063d.%061d", 1, 1, 1, 1);
	assert_int_equal(strlen(longest), 253);
	char *t = account("payments", longest);
	judge_with(worlds[W_MAIN], set_a, MICA_FRONT_REST, NOW, mica_slice_str(t), &j);
	check_fate(0, "the longest", &j, mica_slice_str(t), "ok");
	assert_string_equal(j.r.principal.spiffe_id,
		tk_printf("spiffe://example.org/ns/payments/sa/%s", longest));
	/* 67: "default" is a name like others here; the deny list is the core's */
	expect(0, account("payments", "default"), "ok");
}

#define NIL_UID "00000000-0000-0000-0000-000000000000"

static void structured_claims(void **state)
{
	static const char *const bad_refs[] = {"null", "7", "\"checkout\"", "[]", "[" SA_REF "]",
		"{}", "{\"name\":\"checkout\"}", "{\"uid\":\"" SA_UID "\"}",
		"{\"name\":7,\"uid\":\"" SA_UID "\"}", "{\"name\":\"checkout\",\"uid\":7}",
		"{\"name\":\"checkout\",\"uid\":null}", REF("checkout", ""),
		REF("checkout", "11111111-2222-4333-8444-55555555555"),
		REF("checkout", "11111111-2222-4333-8444-55555555555A"),
		REF("checkout", "111111112222433384445555555555550000"),
		REF("checkout", "{1111111-2222-4333-8444-55555555555}"), REF("checkout", NIL_UID),
		REF("Checkout", SA_UID), REF("", SA_UID), REF("../x", SA_UID)};
	static const char *const not_objects[] = {
		"null", "[]", "\"payments\"", "7", "true", "[" K8S "]", "\"{}\""};
	(void)state;
	expect(0, bound(POD_REF, NULL, SA_REF), "ok");
	expect(59, with_claim("kubernetes.io", NULL), "kubernetes_claims_missing");
	for (size_t i = 0; i < MICA_ARRAY_LEN(not_objects); i++)
		expect(59, with_claim("kubernetes.io", not_objects[i]),
			"kubernetes_claims_malformed");
	expect(59, with_claim("kubernetes.io", "{}"), "kubernetes_claims_malformed");
	for (size_t i = 0; i < MICA_ARRAY_LEN(bad_refs); i++) {
		expect(60, bound(POD_REF, NULL, bad_refs[i]), "kubernetes_claims_malformed");
		expect(61, bound(bad_refs[i], NULL, SA_REF), "kubernetes_claims_malformed");
		/* a node that was gone when the token was made has no UID */
		if (strcmp(bad_refs[i], "{\"name\":\"checkout\"}") != 0)
			expect(62, bound(POD_REF, bad_refs[i], SA_REF),
				"kubernetes_claims_malformed");
	}
	expect(0, bound(POD_REF, "{\"name\":\"node-1\"}", SA_REF), "ok");
	/* 62: bound to a node alone, or to nothing: good for whoever holds it */
	expect(62, bound(NULL, REF("node-1", NODE_UID), SA_REF), "pod_missing");
	expect(61, bound(NULL, NULL, SA_REF), "pod_missing");
	expect_in(0, W_NO_POD, set_a, NOW, bound(NULL, REF("node-1", NODE_UID), SA_REF), "ok");
	expect_in(0, W_NO_POD, set_a, NOW, bound(NULL, NULL, SA_REF), "ok");
	expect_in(
		61, W_NO_POD, set_a, NOW, bound("{}", NULL, SA_REF), "kubernetes_claims_malformed");
}

static void ids(void **state)
{
	const struct {
		const char *jti, *why;
	} rows[] = {{"\"x\"", "ok"}, {tk_printf("\"%0255d\"", 1), "ok"},
		{tk_printf("\"%0256d\"", 1), "jti_malformed"}, {"\"\"", "jti_malformed"},
		{"7", "jti_malformed"}, {"null", "jti_malformed"}, {"\"a b\"", "jti_malformed"},
		{"\"a\\n\"", "jti_malformed"}, {"\"\xc3\xa4\"", "jti_malformed"},
		{"\"\\u007f\"", "jti_malformed"}, {"[\"x\"]", "jti_malformed"}};
	char *without = with_claim("jti", NULL), *other;
	struct judged j, again;
	uint8_t hash[32];
	char hex[65];
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(rows); i++)
		expect(strcmp(rows[i].why, "ok") ? 65 : 0, with_claim("jti", rows[i].jti),
			rows[i].why);
	/* without one it is known by what was signed */
	judge_with(worlds[W_MAIN], set_a, MICA_FRONT_REST, NOW, mica_slice_str(without), &j);
	check_fate(0, "no jti", &j, mica_slice_str(without), "ok");
	const char *text = tk_printf("%s.%s", part(without, 0), part(without, 1));
	EVP_Q_digest(NULL, "SHA256", NULL, text, strlen(text), hash, NULL);
	mica_hex_encode(hash, sizeof(hash), hex);
	assert_string_equal(j.r.evidence.id, tk_printf("sha256:%s", hex));
	const struct tk_claim c[] = {{"jti", NULL}, {"exp", seconds(NOW + 2999)}};
	other = tk_make(keys[KEY_A], HEADER, tk_kubernetes(c, 2));
	judge_with(worlds[W_MAIN], set_a, MICA_FRONT_REST, NOW, mica_slice_str(other), &again);
	assert_string_not_equal(j.r.evidence.id, again.r.evidence.id);
}

/* ---- another kind of issuer ------------------------------------------------------------------ */

static void oidc_claims(void **state)
{
	const struct {
		const char *name, *raw, *why;
	} rows[] = {
		{NULL, NULL, "ok"},
		{"kubernetes.io", K8S, "ok"}, /* says nothing here */
		{"sub", NULL, "subject_malformed"},
		{"sub", "\"\"", "subject_malformed"},
		{"sub", "7", "subject_malformed"},
		{"sub", "\"a\\nb\"", "subject_malformed"},
		{"sub", "\"a\\u007f\"", "subject_malformed"},
		{"sub", tk_printf("\"%0255d\"", 1), "ok"},
		{"sub", tk_printf("\"%0256d\"", 1), "subject_malformed"},
		{"iat", NULL, "time_claim_malformed"},
		{"exp", NULL, "time_claim_malformed"},
		{"aud", "\"gitlab\"", "audience_mismatch"},
		{"project_path", NULL, "claim_missing"},
		{"project_path", "\"evil/shop\"", "claim_mismatch"},
		{"project_path", "\"acme/shop/../../evil\"", "claim_mismatch"},
		{"project_path", "\"xacme/shop\"", "claim_mismatch"},
		{"project_path", "\"acme/Shop\"", "claim_mismatch"},
		{"project_path", "\"acme/\"", "claim_mismatch"},
		{"project_path", "[\"acme/shop\"]", "claim_malformed"},
		{"project_path", "null", "claim_malformed"},
		{"ref_protected", "false", "claim_mismatch"},
		{"ref_protected", NULL, "claim_missing"},
		{"ref_protected", "\"true\"", "ok"}, /* GitLab has changed from one to the other */
		{"ref_protected", "1", "claim_mismatch"},
		{"project_id", "42.0", "claim_malformed"},
		{"project_id", "-42", "claim_mismatch"},
		{"project_id", "9223372036854775807", "ok"},
		{"ref", NULL, "claim_missing"},
		{"ref", "\"\"", "name_value_missing"},
		{"ref", "\"..\"", "name_value_invalid"},
		{"ref", "\"a/b\"", "name_value_invalid"},
		{"ref", "\"a%2fb\"", "name_value_invalid"},
		{"ref", "\"\xc3\xa4\"", "name_value_invalid"},
		{"ref", "17", "ok"},
		{"warnafter", "1", "ok"},
	};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(rows); i++)
		expect(strcmp(rows[i].why, "ok") ? 63 : 0, gitlab(rows[i].name, rows[i].raw),
			rows[i].why);
}

/* Clouds put theirs one inside another. */
static void claims_by_path(void **state)
{
	static const char doc[] =
		"{\"a\":{\"b/c\":{\"~\":\"v\"},\"\":1},\"/x\":1,\"s\":\"t\",\"l\":[1]}";
	json_t *root = json_loads(doc, 0, NULL);
	static const char *const absent[] = {
		"/x", "/s/t", "/", "/a/b", "/a/b/c", "/l/0", "//a", "b", "/a/b~1c/~0/v", "/a//"};
	char deep[600] = "/";
	(void)state;
	assert_non_null(root);
	assert_string_equal(json_string_value(mica_claim_at(root, "/a/b~1c/~0")), "v");
	assert_int_equal(json_integer_value(mica_claim_at(root, "/a/")), 1);
	assert_string_equal(json_string_value(mica_claim_at(root, "/s")), "t");
	assert_string_equal(json_string_value(mica_claim_at(root, "s")), "t");
	for (size_t i = 0; i < MICA_ARRAY_LEN(absent); i++)
		if (mica_claim_at(root, absent[i]))
			fail_msg("%s", absent[i]);
	memset(deep + 1, 'x', sizeof(deep) - 2);
	deep[sizeof(deep) - 1] = '\0';
	assert_null(mica_claim_at(root, deep));
	json_decref(root);
}

static void oidc_names(void **state)
{
	struct judged j;
	char *t = gitlab(NULL, NULL);
	(void)state;
	judge_with(worlds[W_MAIN], set_a, MICA_FRONT_REST, NOW, mica_slice_str(t), &j);
	check_fate(0, "gitlab", &j, mica_slice_str(t), "ok");
	assert_string_equal(
		j.r.principal.spiffe_id, "spiffe://example.org/gitlab/acme_2fshop/ref/main");
	assert_string_equal(j.r.principal.subject, "project_path:acme/shop:ref:main");
	assert_string_equal(j.r.principal.ns, "");
	assert_string_equal(j.r.principal.pod, "");
	assert_string_equal(j.r.principal.cluster, "");
	assert_string_equal(j.r.evidence.id, "j-1");
	/* refusals for a name are DENIED: who it is was proved */
	t = gitlab("ref", "\"a/b\"");
	judge_with(worlds[W_MAIN], set_a, MICA_FRONT_REST, NOW, mica_slice_str(t), &j);
	assert_int_equal(j.rc, MICA_DENIED);
	/* each '_' is written as two: 2,048 octets are passed, the value is below its own limit */
	MICA_AUTO_FREE char *many = mica_alloc(1016);
	memset(many, '_', 1015);
	expect(0, gitlab("project_path", tk_printf("\"acme/%s\"", many)), "name_too_long");
}

static void every_class_has_its_test(void **state)
{
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(elsewhere); i++) {
		assert_elsewhere(elsewhere[i].class, elsewhere[i].file, elsewhere[i].word);
		seen[elsewhere[i].class] = true;
	}
	tw_assert_seen(42, 70);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(ends),
		TEST(begins),
		TEST(year_long_tokens_end_when_they_warn),
		TEST(clock_steps),
		TEST(issuers_are_exact),
		TEST(keys_are_bound_to_issuers),
		TEST(audiences_are_exact),
		TEST(audiences_belong_to_fronts),
		TEST(legacy_tokens),
		TEST(subjects),
		TEST(names_cannot_leave_their_segment),
		TEST(structured_claims),
		TEST(ids),
		TEST(oidc_claims),
		TEST(claims_by_path),
		TEST(oidc_names),
		TEST(every_class_has_its_test),
	};
	return cmocka_run_group_tests(tests, make_all, free_all);
}
