/* SPDX-License-Identifier: Apache-2.0 */
/* TokenReview: what is asked, which answers count for what, and for how long one is remembered. */
#include "tokens.h"

#include "mica/json.h"

#define K(name) "authentication.kubernetes.io/" name
#define USER    "system:serviceaccount:payments:checkout"
#define NIL_UID "00000000-0000-0000-0000-000000000000"
#define EXTRA                                                                                      \
	"{" JTI_IS ",\"" K("node-name") "\":[\"node-1\"],\"" K("node-uid") "\":[\"" NODE_UID       \
									   "\"]," POD_IS "}"
#define JTI_IS "\"" K("credential-id") "\":[\"JTI=" JTI "\"]"
#define POD_IS "\"" K("pod-name") "\":[\"checkout-1\"],\"" K("pod-uid") "\":[\"" POD_UID "\"]"

static struct mica_issuers *issuers;
static const struct mica_issuer *issuer;

static int make_all(void **state)
{
	struct mica_issuer_config c = tk_config("a", ISS, "/ns/{namespace}/sa/{serviceaccount}");
	(void)state;
	c.audiences[MICA_FRONT_REST] = tk_list("mica", "https://mica.example/\"x\"");
	issuers = tk_issuers(&c, 1);
	issuer = mica_issuers_at(issuers, 0);
	return 0;
}

static int free_all(void **state)
{
	mica_issuers_free(issuers);
	return tk_empty_bin(state);
}

static struct mica_uid uid_of(const char *text)
{
	struct mica_uid u;
	assert_int_equal(mica_uuid_parse(mica_slice_str(text), u.b), MICA_OK);
	return u;
}

/* As claims.c reads it from a good token. */
static struct mica_principal principal(void)
{
	struct mica_principal p = {.issuer = "a",
		.cluster = "a",
		.ns = "payments",
		.sa = "checkout",
		.pod = "checkout-1",
		.node = "node-1",
		.spiffe_id = ID};
	p.sa_uid = uid_of(SA_UID);
	p.pod_uid = uid_of(POD_UID);
	p.node_uid = uid_of(NODE_UID);
	return p;
}

/* ---- the question ---------------------------------------------------------------------------- */

static void the_question(void **state)
{
	MICA_AUTO_BUF b, tiny;
	(void)state;
	mica_buf_init_secret(&b, 4096);
	assert_ok(mica_review_request(issuer, MICA_FRONT_REST, MICA_LIT("h.p.s"), &b, e));
	assert_string_equal((const char *)b.p,
		"{\"apiVersion\":\"authentication.k8s.io/v1\",\"kind\":\"TokenReview\","
		"\"spec\":{\"token\":\"h.p.s\",\"audiences\":[\"mica\",\"https://mica.example/\\\"x\\\"\"]}}");
	mica_buf_reset(&b);
	assert_ok(mica_review_request(issuer, MICA_FRONT_ISTIO, MICA_LIT("h.p.s"), &b, e));
	assert_non_null(strstr((const char *)b.p, "\"audiences\":[\"istio-ca\"]"));
	mica_buf_init_secret(&tiny, 64);
	assert_refused(MICA_LIMIT, "too_long",
		mica_review_request(issuer, MICA_FRONT_REST, MICA_LIT("h.p.s"), &tiny, e));
}

/* ---- answers -----------------------------------------------------------------------------------
 */

static char *user(const char *name, const char *uid, const char *extra)
{
	return tk_printf(
		"{\"username\":\"%s\",\"uid\":\"%s\",\"groups\":[\"system:authenticated\"],\"extra\":%s}",
		name, uid, extra);
}

static char *yes_to(const char *who, const char *audiences)
{
	return tk_printf("{\"authenticated\":true,\"user\":%s,\"audiences\":%s}", who, audiences);
}

static char *yes_with(const char *extra)
{
	return yes_to(user(USER, SA_UID, extra), "[\"mica\"]");
}

static char *no_because(const char *error)
{
	return tk_printf("{\"user\":{},\"error\":\"%s\"}", error);
}

static char *answer(const char *status)
{
	return tk_printf(
		"{\"kind\":\"TokenReview\",\"apiVersion\":\"authentication.k8s.io/v1\","
		"\"metadata\":{\"creationTimestamp\":null},\"spec\":{\"token\":\"h.p.s\"},\"status\":%s}",
		status);
}

static mica_rc judge(const struct mica_principal *p, const char *id, int http,
	struct mica_slice text, struct mica_err *e)
{
	struct mica_evidence ev = {.kind = MICA_EV_TOKEN};
	memcpy(ev.id, id, strlen(id) + 1);
	mica_rc rc = mica_review_judge(issuer, MICA_FRONT_REST, p, &ev, http, text, e);
	assert_int_equal(rc, e->rc);
	return rc;
}

static void expect_for(const struct mica_principal *p, int http, const char *text, const char *want)
{
	struct mica_err e = MICA_ERR_INIT;
	mica_rc rc = judge(p, JTI, http, mica_slice_str(text), &e);
	if (strcmp(mica_err_fine(&e), want) != 0)
		fail_msg("%d %s: %s [%s], expected %s", http, text, mica_err_fine(&e), e.detail,
			want);
	if (rc == MICA_OK)
		return;
	bool trouble = strcmp(want, "token_review_failed") == 0;
	assert_int_equal(rc, trouble ? MICA_UNAVAILABLE : MICA_DENIED);
	assert_string_equal(
		e.reason, trouble || strcmp(want, "pod_gone") == 0 ? want : "token_review_refused");
	/* our own trouble is never called a refusal, nor the other way */
	assert_int_equal(strstr(e.text, "try again") != NULL, trouble);
	assert_null(strstr(e.text, "h.p.s"));
}

static void expect(int http, const char *text, const char *want)
{
	struct mica_principal p = principal();
	expect_for(&p, http, text, want);
}

static void answers_are_judged(void **state)
{
	const char *who = user(USER, SA_UID, EXTRA);
	const struct {
		const char *status, *why;
	} rows[] = {
		{yes_to(who, "[\"mica\"]"), "ok"},
		{yes_to(who, "[\"x\",\"mica\"]"), "ok"},
		{yes_to(who, "[\"https://mica.example/\\\"x\\\"\"]"), "ok"},
		{tk_printf("{\"error\":\"\",%s", yes_to(who, "[\"mica\"]") + 1), "ok"},
		/* what the server leaves out it does not know: an older one knows no nodes, no ids
		 */
		{yes_with("{" POD_IS "}"), "ok"},
		{"{}", "review_refused"}, /* `false` is left out in JSON */
		{"{\"authenticated\":false}", "review_refused"},
		{tk_printf("{\"authenticated\":false,\"user\":%s,\"audiences\":[\"mica\"]}", who),
			"review_refused"},
		{no_because(""), "review_refused"},
		{no_because("[invalid bearer token, unknown]"), "review_refused"},
		{no_because("token has been revoked"), "review_refused"},
		{no_because("[invalid bearer token, service account token has been invalidated]"),
			"pod_gone"},
		/* yes, and a reason why not */
		{tk_printf("{\"error\":\"x\",%s", yes_to(who, "[\"mica\"]") + 1),
			"review_contradiction"},
		{tk_printf("{\"error\":\"service account token has been invalidated\",%s",
			 yes_to(who, "[\"mica\"]") + 1),
			"review_contradiction"},
		/* for somebody else's audience, or by a server that knows of none */
		{yes_to(who, "[\"istio-ca\"]"), "review_audience"},
		{yes_to(who, "[\"https://kubernetes.default.svc\"]"), "review_audience"},
		{yes_to(who, "[]"), "review_audience"},
		{yes_to(who, "null"), "review_audience"},
		{yes_to(who, "\"mica\""), "review_audience"},
		{yes_to(who, "[[\"mica\"]]"), "review_audience"},
		{yes_to(who, "{\"mica\":\"mica\"}"), "review_audience"},
		{yes_to(who, "[\"MICA\"]"), "review_audience"},
		{tk_printf("{\"authenticated\":true,\"user\":%s}", who), "review_audience"},
		/* half of an answer is none */
		{"null", "token_review_failed"},
		{"[]", "token_review_failed"},
		{"\"authenticated\"", "token_review_failed"},
		{"{\"authenticated\":\"true\"}", "token_review_failed"},
		{"{\"authenticated\":1}", "token_review_failed"},
		{"{\"authenticated\":null}", "token_review_failed"},
		{"{\"error\":7}", "token_review_failed"},
		{tk_printf("{\"error\":{},%s", yes_to(who, "[\"mica\"]") + 1),
			"token_review_failed"},
	};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(rows); i++) {
		expect(201, answer(rows[i].status), rows[i].why);
		expect(200, answer(rows[i].status), rows[i].why);
	}
}

static void the_user_must_be_the_tokens(void **state)
{
	const char *ours = "[\"mica\"]";
	const char *const bad[] = {
		"{\"authenticated\":true,\"audiences\":[\"mica\"]}",
		yes_to("null", ours),
		yes_to("\"" USER "\"", ours),
		yes_to("{}", ours),
		yes_to(user("system:serviceaccount:payments:cart", SA_UID, EXTRA), ours),
		yes_to(user("system:serviceaccount:kube-system:checkout", SA_UID, EXTRA), ours),
		yes_to(user("system:serviceaccount:payments:checkout2", SA_UID, EXTRA), ours),
		yes_to(user("system:anonymous", SA_UID, EXTRA), ours),
		yes_to(user("", SA_UID, EXTRA), ours),
		yes_to(user(USER, POD_UID, EXTRA), ours),
		yes_to(user(USER, "", EXTRA), ours),
		yes_to(user(USER, NIL_UID, EXTRA), ours),
		/* a pod of the same name came back */
		yes_with("{\"" K("pod-name") "\":[\"checkout-1\"],\"" K("pod-uid") "\":[\"" SA_UID
										   "\"]}"),
		yes_with("{\"" K("pod-name") "\":[\"checkout-2\"],\"" K("pod-uid") "\":[\"" POD_UID
										   "\"]}"),
		yes_with("{\"" K("pod-name") "\":[\"checkout-1\"]}"),
		yes_with("{\"" K("pod-uid") "\":[\"" POD_UID "\"]}"),
		yes_with("{\"" K("pod-name") "\":[],\"" K("pod-uid") "\":[]}"),
		yes_with("{\"" K("pod-name") "\":[\"checkout-1\",\"x\"],\"" K(
			"pod-uid") "\":[\"" POD_UID "\"]}"),
		yes_with("{\"" K("pod-name") "\":\"checkout-1\",\"" K("pod-uid") "\":\"" POD_UID
										 "\"}"),
		yes_with("{\"" K("pod-name") "\":[null],\"" K("pod-uid") "\":[null]}"),
		yes_with("{}"),
		yes_with("[]"),
		yes_with("null"),
		yes_with("{\"" K("node-name") "\":[\"node-2\"]," POD_IS "}"),
		yes_with("{\"" K("node-uid") "\":[\"" POD_UID "\"]," POD_IS "}"),
		yes_with("{\"" K("credential-id") "\":[\"JTI=other\"]," POD_IS "}"),
		yes_with("{\"" K("credential-id") "\":[\"" JTI "\"]," POD_IS "}"),
		yes_with("{\"" K("credential-id") "\":[]," POD_IS "}"),
	};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(bad); i++)
		expect(201, answer(bad[i]), "review_user_mismatch");
}

/* A token that is bound to less is held against what it says, no more and no less. */
static void tokens_that_say_less(void **state)
{
	struct mica_principal p = principal();
	struct mica_err e = MICA_ERR_INIT;
	(void)state;
	memset(&p.node_uid, 0, sizeof(p.node_uid)); /* the node was gone when it was made */
	expect_for(&p, 201, answer(yes_with("{\"" K("node-name") "\":[\"node-1\"]," POD_IS "}")),
		"ok");
	expect_for(&p, 201, answer(yes_with("{\"" K("node-name") "\":[\"node-2\"]," POD_IS "}")),
		"review_user_mismatch");
	p.node[0] = '\0';
	expect_for(&p, 201, answer(yes_with("{" POD_IS "}")), "ok");
	expect_for(&p, 201, answer(yes_with("{\"" K("node-name") "\":[\"node-1\"]," POD_IS "}")),
		"review_user_mismatch");
	p.pod[0] = '\0';
	memset(&p.pod_uid, 0, sizeof(p.pod_uid));
	expect_for(&p, 201, answer(yes_with("{}")), "ok");
	expect_for(&p, 201, answer(yes_with("{" POD_IS "}")), "review_user_mismatch");
	expect_for(&p, 201, answer(yes_with("{\"" K("pod-uid") "\":[\"" NIL_UID "\"]}")),
		"review_user_mismatch");
	/* without a jti there is no id to compare: an answer that has one is for another token */
	p = principal();
	const char *text = answer(yes_with("{" POD_IS "}"));
	assert_int_equal(judge(&p, "sha256:00", 201, mica_slice_str(text), &e), MICA_OK);
	text = answer(yes_with("{" JTI_IS "," POD_IS "}"));
	assert_int_equal(judge(&p, "sha256:00", 201, mica_slice_str(text), &e), MICA_DENIED);
}

/* 69, 70: what is not an answer says nothing about the token. */
static void our_own_trouble(void **state)
{
	static const int statuses[] = {0, -1, 100, 202, 204, 301, 302, 400, 401, 403, 404, 409, 422,
		429, 500, 502, 503, 504, 2000};
	const char *good = answer(yes_with(EXTRA)), *no = answer("{\"authenticated\":false}");
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(statuses); i++) {
		expect(statuses[i], good, "token_review_failed");
		expect(statuses[i], no, "token_review_failed");
	}
	expect(201, good, "ok");
	for (size_t len = 0; len < strlen(good); len++)
		expect(201, tk_printf("%.*s", (int)len, good), "token_review_failed");
	tk_empty_bin(state);
	good = answer(yes_with(EXTRA));
	const char *const junk[] = {"null", "[]", "7", "\"TokenReview\"", "{}",
		"<html>Bad Gateway</html>",
		"{\"kind\":\"Status\",\"status\":\"Failure\",\"code\":403}",
		"{\"kind\":\"Status\",\"status\":{\"authenticated\":true}}",
		"{\"kind\":[\"TokenReview\"],\"status\":{}}", "{\"kind\":\"TokenReview\"}",
		"{\"status\":{\"authenticated\":false}}", tk_printf("%s%s", good, good),
		tk_printf("%s x", good), tk_printf("\xef\xbb\xbf%s", good),
		tk_printf("{\"kind\":\"TokenReview\",%s", good + 1)};
	for (size_t i = 0; i < MICA_ARRAY_LEN(junk); i++)
		expect(201, junk[i], "token_review_failed");
}

static void answers_are_bounded(void **state)
{
	struct mica_principal p = principal();
	const char *good = answer(yes_with(EXTRA));
	MICA_AUTO_BUF b;
	(void)state;
	mica_buf_init(&b, 2 * MICA_REVIEW_ANSWER_MAX);
	mica_buf_put_str(&b, good);
	while (b.len < MICA_REVIEW_ANSWER_MAX)
		mica_buf_put_u8(&b, ' ');
	struct mica_err e = MICA_ERR_INIT;
	assert_int_equal(judge(&p, JTI, 201, mica_buf_slice(&b), &e), MICA_OK);
	mica_buf_put_u8(&b, ' ');
	assert_int_equal(judge(&p, JTI, 201, mica_buf_slice(&b), &e), MICA_UNAVAILABLE);
}

/* Its words for what is gone, whole; half of them is some other trouble. */
static void what_is_gone_is_said_in_known_words(void **state)
{
	static const struct {
		const char *error, *why;
	} rows[] = {
		{"service account token has been invalidated", "pod_gone"},
		{"[invalid bearer token, service account token has been invalidated]", "pod_gone"},
		{"serviceaccounts \\\"checkout\\\" not found", "pod_gone"},
		{"service account payments/checkout has been deleted", "pod_gone"},
		{"service account UID (a) does not match claim (b)", "pod_gone"},
		{"pod UID (a) does not match service account pod ref claim b", "pod_gone"},
		{"node UID (a) does not match service account node ref claim b", "pod_gone"},
		{"service account token has been seen", "review_refused"},
		{"serviceaccounts \\\"checkout\\\" is forbidden", "review_refused"},
		{"service account token has expired", "review_refused"},
		{"service account UID (a", "review_refused"},
		{"pod UID (a) is unknown", "review_refused"},
		{"node UID (a) does not match service account pod ref claim b", "review_refused"},
		{"key invalidated", "review_refused"},
		{"not found", "review_refused"},
		{"", "review_refused"},
	};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(rows); i++)
		expect(201, answer(no_because(rows[i].error)), rows[i].why);
}

/* What a server says of us must not reach a caller: it may quote the token. */
static void details_are_for_the_operator(void **state)
{
	struct mica_principal p = principal();
	struct mica_err e = MICA_ERR_INIT;
	(void)state;
	const char *text = answer(no_because("said <h.p.s>"));
	assert_int_equal(judge(&p, JTI, 201, mica_slice_str(text), &e), MICA_DENIED);
	assert_null(strstr(e.text, "said"));
	assert_non_null(strstr(e.detail, "said"));
	assert_non_null(strstr(e.detail, "issuer a"));
}

/* ---- what is remembered ------------------------------------------------------------------------
 */

/* The n-th pod of a service account. */
static struct mica_principal pod(uint32_t n)
{
	struct mica_principal p = principal();
	memcpy(p.pod_uid.b, &n, sizeof(n));
	return p;
}

static void verdicts_last_as_long_as_their_mode_says(void **state)
{
	struct mica_review_cache *c = mica_review_cache_new(64);
	const struct mica_principal yes = pod(1), no = pod(2), unasked = pod(3);
	const struct {
		enum mica_review_mode mode;
		const struct mica_principal *who;
		int64_t after;
		enum mica_review_verdict verdict;
	} rows[] = {
		{MICA_REVIEW_FIRST_USE, &yes, 0, MICA_VERDICT_YES},
		{MICA_REVIEW_FIRST_USE, &yes, 599, MICA_VERDICT_YES},
		{MICA_REVIEW_FIRST_USE, &yes, 600, MICA_VERDICT_UNKNOWN},
		{MICA_REVIEW_FIRST_USE, &yes, INT64_MAX - NOW, MICA_VERDICT_UNKNOWN},
		{MICA_REVIEW_ALWAYS, &yes, 0, MICA_VERDICT_YES},
		{MICA_REVIEW_ALWAYS, &yes, 9, MICA_VERDICT_YES},
		{MICA_REVIEW_ALWAYS, &yes, 10, MICA_VERDICT_UNKNOWN},
		{MICA_REVIEW_FIRST_USE, &no, 0, MICA_VERDICT_NO},
		{MICA_REVIEW_FIRST_USE, &no, 4, MICA_VERDICT_NO},
		{MICA_REVIEW_FIRST_USE, &no, 5, MICA_VERDICT_UNKNOWN},
		{MICA_REVIEW_ALWAYS, &no, 4, MICA_VERDICT_NO},
		{MICA_REVIEW_ALWAYS, &no, 5, MICA_VERDICT_UNKNOWN},
		{MICA_REVIEW_FIRST_USE, &unasked, 0, MICA_VERDICT_UNKNOWN},
		{MICA_REVIEW_ALWAYS, &unasked, 0, MICA_VERDICT_UNKNOWN},
		{MICA_REVIEW_NEVER, &unasked, 0, MICA_VERDICT_YES},
		{MICA_REVIEW_NEVER, &no, 0, MICA_VERDICT_YES},
		/* the clock went back: what comes from the future may be wrong */
		{MICA_REVIEW_FIRST_USE, &yes, -1, MICA_VERDICT_UNKNOWN},
		{MICA_REVIEW_FIRST_USE, &no, -1, MICA_VERDICT_UNKNOWN},
		{MICA_REVIEW_ALWAYS, &yes, -86400, MICA_VERDICT_UNKNOWN},
		{MICA_REVIEW_FIRST_USE, &yes, 0, MICA_VERDICT_YES},
	};
	(void)state;
	mica_review_cache_put(c, &yes, MICA_VERDICT_YES, NOW);
	mica_review_cache_put(c, &no, MICA_VERDICT_NO, NOW);
	mica_review_cache_put(c, &unasked, MICA_VERDICT_UNKNOWN, NOW);
	for (size_t i = 0; i < MICA_ARRAY_LEN(rows); i++) {
		enum mica_review_verdict v =
			mica_review_cache_get(c, rows[i].mode, rows[i].who, NOW + rows[i].after);
		if (v != rows[i].verdict)
			fail_msg("row %zu: %d", i, v);
	}
	mica_review_cache_free(c);
	mica_review_cache_free(NULL);
}

static enum mica_review_verdict get(
	struct mica_review_cache *c, const struct mica_principal *p, int64_t now)
{
	return mica_review_cache_get(c, MICA_REVIEW_FIRST_USE, p, now);
}

static void a_later_verdict_replaces_an_earlier_one(void **state)
{
	struct mica_review_cache *c = mica_review_cache_new(64);
	const struct mica_principal p = pod(1);
	(void)state;
	mica_review_cache_put(c, &p, MICA_VERDICT_YES, NOW);
	mica_review_cache_put(c, &p, MICA_VERDICT_NO, NOW + 100);
	assert_int_equal(get(c, &p, NOW + 101), MICA_VERDICT_NO);
	assert_int_equal(
		get(c, &p, NOW + 105), MICA_VERDICT_UNKNOWN); /* the yes is gone for good */
	mica_review_cache_put(c, &p, MICA_VERDICT_YES, NOW + 106);
	assert_int_equal(get(c, &p, NOW + 107), MICA_VERDICT_YES);
	/* "unknown" is no verdict */
	mica_review_cache_put(c, &p, MICA_VERDICT_UNKNOWN, NOW + 108);
	assert_int_equal(get(c, &p, NOW + 109), MICA_VERDICT_YES);
	/* after the clock went back it is asked anew, and that answer counts */
	mica_review_cache_put(c, &p, MICA_VERDICT_NO, NOW - 50);
	assert_int_equal(get(c, &p, NOW - 49), MICA_VERDICT_NO);
	assert_int_equal(get(c, &p, NOW + 107), MICA_VERDICT_UNKNOWN);
	mica_review_cache_free(c);
}

static void a_verdict_is_for_one_pod_of_one_account_of_one_issuer(void **state)
{
	struct mica_review_cache *c = mica_review_cache_new(1); /* all are neighbours */
	struct mica_principal p = pod(1), other = p;
	(void)state;
	mica_review_cache_put(c, &p, MICA_VERDICT_YES, NOW);
	other.pod_uid.b[15] ^= 1;
	assert_int_equal(get(c, &other, NOW), MICA_VERDICT_UNKNOWN);
	other = p;
	other.sa_uid.b[0] ^= 1;
	assert_int_equal(get(c, &other, NOW), MICA_VERDICT_UNKNOWN);
	other = p;
	memcpy(other.issuer, "b", 2);
	assert_int_equal(get(c, &other, NOW), MICA_VERDICT_UNKNOWN);
	/* names do not count: UIDs are what lasts */
	other = p;
	memcpy(other.pod, "x", 2);
	assert_int_equal(get(c, &other, NOW), MICA_VERDICT_YES);
	/* a principal that is no service account is not remembered, under no key */
	memset(&other.sa_uid, 0, sizeof(other.sa_uid));
	mica_review_cache_put(c, &other, MICA_VERDICT_YES, NOW);
	assert_int_equal(get(c, &other, NOW), MICA_VERDICT_UNKNOWN);
	/* one without a pod is */
	other = p;
	memset(&other.pod_uid, 0, sizeof(other.pod_uid));
	mica_review_cache_put(c, &other, MICA_VERDICT_NO, NOW);
	assert_int_equal(get(c, &other, NOW), MICA_VERDICT_NO);
	assert_int_equal(get(c, &p, NOW), MICA_VERDICT_YES);
	mica_review_cache_free(c);
}

static void an_issuer_can_be_forgotten(void **state)
{
	struct mica_review_cache *c = mica_review_cache_new(64);
	struct mica_principal a = pod(1), b = pod(1);
	(void)state;
	memcpy(b.issuer, "b", 2);
	mica_review_cache_put(c, &a, MICA_VERDICT_YES, NOW);
	mica_review_cache_put(c, &b, MICA_VERDICT_YES, NOW);
	mica_review_cache_forget(c, "c");
	assert_int_equal(get(c, &a, NOW), MICA_VERDICT_YES);
	mica_review_cache_forget(c, "a");
	assert_int_equal(get(c, &a, NOW), MICA_VERDICT_UNKNOWN);
	assert_int_equal(get(c, &b, NOW), MICA_VERDICT_YES);
	mica_review_cache_forget(c, NULL);
	assert_int_equal(get(c, &b, NOW), MICA_VERDICT_UNKNOWN);
	mica_review_cache_free(c);
}

static unsigned known(struct mica_review_cache *c, uint32_t from, uint32_t to, int64_t now)
{
	unsigned n = 0;
	for (uint32_t i = from; i < to; i++) {
		const struct mica_principal p = pod(i);
		n += get(c, &p, now) != MICA_VERDICT_UNKNOWN;
	}
	return n;
}

static void a_full_cache_forgets_the_oldest(void **state)
{
	struct mica_review_cache *c = mica_review_cache_new(1); /* 4 */
	(void)state;
	for (uint32_t i = 0; i < 10; i++) {
		const struct mica_principal p = pod(i);
		mica_review_cache_put(c, &p, MICA_VERDICT_YES, NOW + i);
		assert_int_equal(known(c, 0, 10, NOW + i), i < 4 ? i + 1 : 4);
		assert_int_equal(known(c, i < 3 ? 0 : i - 3, i + 1, NOW + i), i < 4 ? i + 1 : 4);
	}
	/* one that is there already costs nobody his place */
	const struct mica_principal p = pod(6);
	mica_review_cache_put(c, &p, MICA_VERDICT_YES, NOW + 20);
	assert_int_equal(known(c, 6, 10, NOW + 20), 4);
	/* the clock went back: what nobody can use makes room first */
	for (uint32_t i = 20; i < 24; i++) {
		const struct mica_principal fresh = pod(i);
		mica_review_cache_put(c, &fresh, MICA_VERDICT_YES, NOW - 1000 + i);
	}
	assert_int_equal(known(c, 20, 24, NOW - 900), 4);
	mica_review_cache_free(c);
}

/* However many come, memory is what was asked for, and no verdict goes to another. */
static void memory_is_bounded(void **state)
{
	struct mica_review_cache *c = mica_review_cache_new(1000); /* 1024 */
	(void)state;
	for (uint32_t i = 0; i < 20000; i++) {
		const struct mica_principal p = pod(i);
		mica_review_cache_put(
			c, &p, i % 2 ? MICA_VERDICT_YES : MICA_VERDICT_NO, NOW + i / 10000);
		assert_int_equal(get(c, &p, NOW + 1), i % 2 ? MICA_VERDICT_YES : MICA_VERDICT_NO);
	}
	assert_in_range(known(c, 0, 20000, NOW + 1), 900, 1024);
	for (uint32_t i = 0; i < 20000; i++) {
		const struct mica_principal p = pod(i);
		enum mica_review_verdict v = get(c, &p, NOW + 1);
		assert_true(v == MICA_VERDICT_UNKNOWN ||
			v == (i % 2 ? MICA_VERDICT_YES : MICA_VERDICT_NO));
	}
	mica_review_cache_free(c);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, NULL, tk_empty_bin)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_question),
		TEST(answers_are_judged),
		TEST(the_user_must_be_the_tokens),
		TEST(tokens_that_say_less),
		TEST(our_own_trouble),
		TEST(answers_are_bounded),
		TEST(what_is_gone_is_said_in_known_words),
		TEST(details_are_for_the_operator),
		TEST(verdicts_last_as_long_as_their_mode_says),
		TEST(a_later_verdict_replaces_an_earlier_one),
		TEST(a_verdict_is_for_one_pod_of_one_account_of_one_issuer),
		TEST(an_issuer_can_be_forgotten),
		TEST(a_full_cache_forgets_the_oldest),
		TEST(memory_is_bounded),
	};
	return cmocka_run_group_tests(tests, make_all, free_all);
}
