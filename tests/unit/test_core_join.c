/* SPDX-License-Identifier: Apache-2.0 */
/* Join tokens through the core: made, used once, and what they are refused for. */
#include "../../ca/core_impl.h"
#include "../../ca/join.h"

#include "coretest.h"

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, ct_teardown)
#define WEB     "spiffe://" TD "/vm/web-1"
#define WEEK    (7 * DAY)

static int setup(void **state)
{
	struct ct *t = ct_new();
	struct mica_config *c = &t->config;

	c->join.name = ct_str("join");
	c->join.spiffe_path = ct_str("/vm/{name}");
	c->join.ttl = 3600;
	c->join.max_ttl = DAY;
	c->join.renewal_max_age = 30 * DAY;
	ct_init(t);
	ct_open_at(t, NOW_MS);
	*state = t;
	return 0;
}

static const struct mica_caller *admin(void)
{
	static struct mica_caller a;

	a = ct_role(MICA_ROLE_ADMIN);
	return &a;
}

static json_t *make(struct ct *t, const char *id, int64_t ttl, int64_t now)
{
	MICA_AUTO_BUF json;

	mica_buf_init(&json, 65536);
	assert_ok(mica_core_join_create(
		t->core, mica_slice_str(id), ttl, admin(), now * 1000, &json, e));
	return ct_json(&json);
}

/* Its text, kept. */
static const char *made(struct ct *t, const char *id, int64_t ttl, int64_t now)
{
	json_t *j = make(t, id, ttl, now);
	const char *text = tk_keep(mica_strdup(json_string_value(json_object_get(j, "token"))));

	json_decref(j);
	return text;
}

static const char *reason_of(struct ct *t, const char *token, int64_t now, struct mica_caller *out)
{
	static struct mica_err err;
	struct mica_caller room;

	err = (struct mica_err)MICA_ERR_INIT;
	if (mica_core_authenticate_token(t->core, mica_slice_str(token), MICA_FRONT_REST,
		    now * 1000, out ? out : &room, NULL, &err) == MICA_OK)
		return "ok";
	assert_int_equal(err.rc, MICA_UNAUTHENTICATED);
	return err.reason;
}

static mica_rc prepare(struct ct *t, const struct mica_caller *who, int64_t now,
	struct mica_candidate **k, struct mica_err *err)
{
	struct mica_x509_request r = ct_request(t, who);

	*err = (struct mica_err)MICA_ERR_INIT;
	return mica_core_prepare_x509(t->core, &r, now * 1000, k, err);
}

/* "fresh" ... of all that there are: "" for none. */
static char *states(struct ct *t, int64_t now)
{
	MICA_AUTO_BUF json, out;
	const json_t *list;
	char *text;
	json_t *j;

	mica_buf_init(&json, 1 << 20);
	mica_buf_init(&out, 65536);
	assert_ok(mica_core_join_list(t->core, now * 1000, &json, e));
	j = ct_json(&json);
	list = json_object_get(j, "tokens");
	for (size_t i = 0; i < json_array_size(list); i++)
		mica_buf_printf(&out, "%s%s", i ? " " : "",
			json_string_value(json_object_get(json_array_get(list, i), "state")));
	json_decref(j);
	text = tk_keep(mica_slice_dup(mica_buf_slice(&out)));
	return text;
}

static void one_gives_one(void **state)
{
	struct ct *t = *state;
	const char *token = made(t, WEB, 0, NOW);
	struct mica_caller who, svid;
	struct mica_candidate *k = NULL, *l = NULL;
	struct mica_issued issued;
	struct mica_err err;
	struct mica_entry en;
	MICA_AUTO_BUF body;

	assert_string_equal(reason_of(t, token, NOW, &who), "ok");
	assert_string_equal(who.principal.spiffe_id, WEB);
	assert_int_equal(who.roles, 0);
	k = ct_issue_for(t, &who, 0, NOW_MS);
	mica_candidate_issued(k, &issued);
	ct_entry(t, issued.ledger_index, &body, &en);
	assert_int_equal(en.ev_kind, MICA_EV_JOIN);
	assert_true(mica_slice_eq_str(en.issuer, "join"));
	assert_memory_equal(en.ev_id.p, token + 10, JOIN_HANDLE_LEN);
	assert_int_equal(en.ev_id.len, JOIN_HANDLE_LEN);
	assert_int_equal(en.origin_time, NOW);
	assert_string_equal(states(t, NOW), "spent");
	/* who it is is known for a minute, for a replay; nothing more comes of it */
	assert_string_equal(reason_of(t, token, NOW + CORE_JOIN_REPLAY, &who), "ok");
	assert_int_equal(prepare(t, &who, NOW + 1, &l, &err), MICA_UNAUTHENTICATED);
	assert_string_equal(err.reason, "join_token_spent");
	assert_string_equal(
		reason_of(t, token, NOW + CORE_JOIN_REPLAY + 1, NULL), "join_token_spent");
	/* also after a restart */
	ct_svid(t, k, NOW_MS, &svid);
	mica_candidate_free(k);
	ct_reopen(t, NOW_MS + 70000);
	assert_string_equal(reason_of(t, token, NOW + 70, NULL), "join_token_spent");
	/* the certificate renews for 30 days from then */
	assert_int_equal(svid.evidence.origin_time, NOW);
	assert_int_equal(prepare(t, &svid, NOW + 30 * DAY, &l, &err), MICA_UNAVAILABLE);
	assert_int_equal(prepare(t, &svid, NOW + 3 * DAY, &l, &err), MICA_OK);
	mica_candidate_free(MICA_STEAL(l));
	assert_int_equal(prepare(t, &svid, NOW + 30 * DAY + 1, &l, &err), MICA_DENIED);
	assert_string_equal(err.reason, "fresh_evidence_needed");
}

/* Two that were decided on the same record: in one batch, and one after the other. */
static void of_two_one_conflicts(void **state)
{
	struct ct *t = *state;

	for (int together = 0; together < 2; together++) {
		struct mica_candidate *k[3] = {NULL};
		struct mica_caller who, other;
		struct mica_err err;

		assert_string_equal(reason_of(t, made(t, WEB, 0, NOW), NOW, &who), "ok");
		assert_string_equal(reason_of(t, made(t, "", 0, NOW), NOW, &other), "ok");
		assert_int_equal(prepare(t, &who, NOW, &k[0], &err), MICA_OK);
		assert_int_equal(prepare(t, &who, NOW, &k[1], &err), MICA_OK);
		assert_int_equal(prepare(t, &other, NOW, &k[2], &err), MICA_OK);
		if (together)
			assert_ok(mica_core_commit(t->core, k, 3, NOW_MS, e));
		for (int i = 0; !together && i < 3; i++)
			assert_ok(mica_core_commit(t->core, &k[i], 1, NOW_MS, e));
		assert_int_equal(mica_candidate_rc(k[0]), MICA_OK);
		assert_int_equal(mica_candidate_rc(k[1]), MICA_CONFLICT);
		assert_int_equal(mica_candidate_rc(k[2]), MICA_OK);
		for (int i = 0; i < 3; i++)
			mica_candidate_free(MICA_STEAL(k[i]));
		assert_int_equal(prepare(t, &who, NOW, &k[0], &err), MICA_UNAUTHENTICATED);
		assert_string_equal(err.reason, "join_token_spent");
	}
}

static void a_revocation_overtakes(void **state)
{
	struct ct *t = *state;
	const char *token = made(t, WEB, 0, NOW);
	struct mica_candidate *k = NULL;
	char id[JOIN_HANDLE_SIZE];
	struct mica_caller who;
	struct mica_err err;

	assert_true(mica_join_handle(mica_slice_str(token), id));
	assert_string_equal(reason_of(t, token, NOW, &who), "ok");
	assert_int_equal(prepare(t, &who, NOW, &k, &err), MICA_OK);
	assert_ok(mica_core_join_revoke(t->core, mica_slice_str(id), admin(), NOW_MS, e));
	assert_ok(mica_core_commit(t->core, &k, 1, NOW_MS, e));
	assert_int_equal(mica_candidate_rc(k), MICA_CONFLICT);
	mica_candidate_free(MICA_STEAL(k));
	assert_int_equal(prepare(t, &who, NOW, &k, &err), MICA_UNAUTHENTICATED);
	assert_string_equal(err.reason, "join_token_revoked");
	assert_string_equal(reason_of(t, token, NOW, NULL), "join_token_revoked");
	assert_string_equal(states(t, NOW), "revoked");
}

static void its_time(void **state)
{
	struct ct *t = *state;
	const char *token = made(t, WEB, 100, NOW), *gone = made(t, "", 1, NOW);

	assert_string_equal(reason_of(t, token, NOW + 99, NULL), "ok");
	assert_string_equal(reason_of(t, token, NOW + 100, NULL), "join_token_expired");
	assert_string_equal(states(t, NOW + 100), "expired expired");
	/* a week later nobody asks, and the next one that is made takes them away */
	(void)made(t, WEB, 0, NOW + WEEK + 100);
	assert_int_equal(strlen(states(t, NOW + WEEK + 100)), sizeof("expired fresh") - 1);
	assert_string_equal(reason_of(t, gone, NOW + WEEK + 100, NULL), "token_invalid");
}

/* Before a token holds nothing is told but what is expected: the same for all of them. */
static void what_is_none(void **state)
{
	struct ct *t = *state;
	const char *token = made(t, WEB, 0, NOW);
	struct mica_err err = MICA_ERR_INIT, first = MICA_ERR_INIT;
	struct mica_caller who;
	size_t len = strlen(token);

	assert_int_equal(len, JOIN_TEXT_SIZE - 1);
	for (size_t i = sizeof(JOIN_PREFIX) - 1; i < len; i++) {
		char *bad = tk_keep(mica_strdup(token));

		bad[i] = bad[i] == '0' ? '1' : '0';
		assert_string_equal(reason_of(t, bad, NOW, NULL), "token_invalid");
		bad[i] = '\0';
		assert_string_equal(reason_of(t, bad, NOW, NULL), "token_invalid");
	}
	assert_int_equal(mica_core_authenticate_token(t->core, MICA_LIT(JOIN_PREFIX),
				 MICA_FRONT_REST, NOW_MS, &who, NULL, &first),
		MICA_UNAUTHENTICATED);
	assert_int_equal(mica_core_authenticate_token(t->core,
				 mica_slice_str(tk_printf("%.*s%064d", (int)len - 64, token, 0)),
				 MICA_FRONT_REST, NOW_MS, &who, NULL, &err),
		MICA_UNAUTHENTICATED);
	assert_string_equal(first.text, err.text);
	/* at another door it is nothing at all */
	assert_int_equal(mica_core_authenticate_token(t->core, mica_slice_str(token),
				 MICA_FRONT_ISTIO, NOW_MS, &who, NULL, NULL),
		MICA_UNAUTHENTICATED);
	assert_string_equal(states(t, NOW), "fresh");
}

static void for_a_certificate_alone(void **state)
{
	struct ct *t = *state;
	const struct mica_slice audience = MICA_LIT("x");
	struct mica_jwt_request r = {.audience = &audience, .n_audience = 1};
	struct mica_candidate *k = NULL;
	struct mica_err err = MICA_ERR_INIT;
	struct mica_caller who;

	assert_string_equal(reason_of(t, made(t, WEB, 0, NOW), NOW, &who), "ok");
	r.caller = &who;
	assert_int_equal(mica_core_prepare_jwt(t->core, &r, NOW_MS, &k, &err), MICA_DENIED);
	assert_string_equal(err.reason, "fresh_evidence_needed");
	/* a denied name spends nothing */
	assert_ok(mica_core_deny(t->core, "spiffe_id", MICA_LIT(WEB), true, admin(), NOW_MS, e));
	assert_int_equal(prepare(t, &who, NOW, &k, &err), MICA_DENIED);
	assert_string_equal(err.reason, "denied_by_list");
	assert_string_equal(states(t, NOW), "fresh");
}

static void what_is_asked_for(void **state)
{
	static const struct {
		const char *id;
		int64_t ttl;
		const char *reason;
	} bad[] = {
		{"spiffe://" TD "/ns/a/sa/b", 0, "name_not_allowed"},
		{"spiffe://" TD "/vm/a/b", 0, "name_not_allowed"},
		{"spiffe://" TD "/mica/server", 0, "name_not_allowed"},
		{"spiffe://other.org/vm/a", 0, "name_not_allowed"},
		{WEB, DAY + 1, "bad_join_ttl"},
	};
	struct ct *t = *state;
	struct mica_err err;
	MICA_AUTO_BUF json;
	json_t *j;

	mica_buf_init(&json, 65536);
	for (size_t i = 0; i < MICA_ARRAY_LEN(bad); i++) {
		err = (struct mica_err)MICA_ERR_INIT;
		assert_int_equal(mica_core_join_create(t->core, mica_slice_str(bad[i].id),
					 bad[i].ttl, admin(), NOW_MS, &json, &err),
			MICA_INVALID);
		assert_string_equal(err.reason, bad[i].reason);
	}
	assert_int_equal(json.len, 0);
	j = make(t, "", 0, NOW);
	assert_string_equal(json_string_value(json_object_get(j, "spiffe_id")),
		tk_printf("spiffe://" TD "/vm/%s", json_string_value(json_object_get(j, "id"))));
	json_decref(j);
	assert_int_equal(mica_core_join_revoke(t->core, MICA_LIT("x"), admin(), NOW_MS, NULL),
		MICA_NOT_FOUND);
}

/* No configuration lets an issuer make a machine's name; and what a change takes away is gone. */
static void whose_names(void **state)
{
	static const struct {
		const char *name, *path, *reason;
	} bad[] = {
		{"prod", "/vm/{name}", "issuer_name_duplicate"},
		{"Join", "/vm/{name}", "issuer_name_invalid"},
		{"join", "/ns/{name}", "names_overlap"},
		{"join", "/{name}", "names_overlap"},
		{"join", "/vm", "config_value"},
		{"join", "/mica/{name}", "template_reserved"},
		{"join", "/vm/{pod}", "template_unknown_field"},
	};
	struct ct *t = *state;
	struct mica_candidate *k = NULL;
	struct mica_caller who;
	struct mica_err err;

	assert_string_equal(reason_of(t, made(t, WEB, 0, NOW), NOW, &who), "ok");
	for (size_t i = 0; i < MICA_ARRAY_LEN(bad); i++) {
		err = (struct mica_err)MICA_ERR_INIT;
		t->config.join.name = ct_str(bad[i].name);
		t->config.join.spiffe_path = ct_str(bad[i].path);
		assert_int_equal(
			mica_core_configure(t->core, &t->config, NOW_MS, &err), MICA_INVALID);
		assert_string_equal(err.reason, bad[i].reason);
	}
	t->config.join.name = ct_str("join");
	t->config.join.spiffe_path = ct_str("/machine/{name}");
	assert_ok(mica_core_configure(t->core, &t->config, NOW_MS, e));
	assert_int_equal(prepare(t, &who, NOW, &k, &err), MICA_DENIED);
	assert_string_equal(err.reason, "name_not_allowed");
	t->config.join.spiffe_path = NULL;
	assert_ok(mica_core_configure(t->core, &t->config, NOW_MS, e));
	assert_int_equal(prepare(t, &who, NOW, &k, &err), MICA_DENIED);
	err = (struct mica_err)MICA_ERR_INIT;
	assert_int_equal(
		mica_core_join_create(t->core, MICA_SLICE_NULL, 0, admin(), NOW_MS, NULL, &err),
		MICA_CONFLICT);
	assert_string_equal(err.reason, "join_tokens_off");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(one_gives_one),
		TEST(of_two_one_conflicts),
		TEST(a_revocation_overtakes),
		TEST(its_time),
		TEST(what_is_none),
		TEST(for_a_certificate_alone),
		TEST(what_is_asked_for),
		TEST(whose_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
