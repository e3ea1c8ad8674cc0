/* SPDX-License-Identifier: Apache-2.0 */
/* Who asks: tokens and the keys that they are checked with, SVIDs, reviews. */
#include "coretest.h"

#include "../../ca/core_impl.h"

#include <stdio.h>

static mica_rc by_token(struct ct *t, struct mica_slice token, int64_t now_ms,
	struct mica_caller *out, const char **issuer, struct mica_err *e)
{
	return mica_core_authenticate_token(
		t->core, token, MICA_FRONT_REST, now_ms, out, issuer, e);
}

static mica_rc by_svid(struct ct *t, const struct mica_candidate *k, int64_t now_ms,
	struct mica_caller *out, struct mica_err *e)
{
	struct mica_issued i;

	mica_candidate_issued(k, &i);
	return mica_core_authenticate_svid(t->core, i.chain_der, i.n_chain, now_ms, out, e);
}

static mica_rc set_jwks(struct ct *t, const char *document, int64_t now_ms, struct mica_err *e)
{
	return mica_core_set_jwks(t->core, "prod", mica_slice_str(document), now_ms, NULL, NULL, e);
}

/* ---- tokens ---------------------------------------------------------------------------------- */

static void a_token_names_a_pod(void **state)
{
	struct ct *t = *state;
	struct mica_caller who;
	const char *issuer = NULL;
	char uid[MICA_UUID_SIZE];

	assert_ok(by_token(t, ct_token(t, NOW), NOW_MS, &who, &issuer, e));
	assert_string_equal(issuer, "prod");
	assert_string_equal(who.principal.spiffe_id, ID);
	assert_string_equal(who.principal.ns, "payments");
	mica_uuid_format(who.principal.pod_uid.b, uid);
	assert_string_equal(uid, POD_UID);
	assert_int_equal(who.evidence.kind, MICA_EV_TOKEN);
	assert_string_equal(who.evidence.id, JTI);
	assert_int_equal(who.evidence.credential_expiry, NOW + 3000);
	assert_int_equal(who.roles, MICA_ROLE_WORKLOAD);
	assert_false(who.has_serial);
	assert_int_equal(who.uid, -1);
}

/* Class 49: what has expired stays so when the clock is set back; a clock that was far ahead for a
 * moment does not shut everybody out. */
static void a_clock_set_back_revives_nothing(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k = ct_issue(t, 3600, NOW_MS);
	const int64_t after = NOW_MS + 3000 * 1000 + 61 * 1000;
	struct mica_caller who;
	struct mica_err err = MICA_ERR_INIT;

	assert_ok(by_token(t, ct_token(t, NOW), NOW_MS, &who, NULL, e));
	assert_int_equal(
		by_token(t, ct_token(t, NOW), after, &who, NULL, &err), MICA_UNAUTHENTICATED);
	assert_string_equal(err.reason, "token_expired");
	assert_ok(mica_core_maintain(t->core, after, NULL, e));
	mica_err_clear(&err);
	assert_int_equal(by_token(t, ct_token(t, NOW), after - 300 * 1000, &who, NULL, &err),
		MICA_UNAUTHENTICATED);
	assert_string_equal(err.reason, "token_expired");
	assert_ok(mica_core_maintain(t->core, NOW_MS + 3601 * 1000, NULL, e));
	mica_err_clear(&err);
	assert_int_equal(by_svid(t, k, NOW_MS + 3500 * 1000, &who, &err), MICA_UNAUTHENTICATED);
	assert_string_equal(err.reason, "svid_expired");
	assert_ok(mica_core_maintain(t->core, NOW_MS + 5 * DAY * INT64_C(1000), NULL, e));
	assert_ok(by_token(t, ct_token(t, NOW), NOW_MS + 1000, &who, NULL, e));
	mica_candidate_free(k);
}

static void roles_are_names_in_the_configuration(void **state)
{
	struct ct *t = *state;
	struct mica_caller who;

	t->config.admins = tk_list(ID, NULL);
	t->config.auditors = tk_list("spiffe://" TD "/x", ID);
	assert_ok(mica_core_configure(t->core, &t->config, NOW_MS, e));
	ct_caller(t, NOW_MS, &who);
	assert_int_equal(who.roles, MICA_ROLE_WORKLOAD | MICA_ROLE_ADMIN | MICA_ROLE_AUDITOR);
	/* who is denied administers nothing */
	assert_ok(mica_core_deny(t->core, "spiffe_id", MICA_LIT(ID), true, NULL, NOW_MS, e));
	ct_caller(t, NOW_MS, &who);
	assert_int_equal(who.roles, MICA_ROLE_WORKLOAD);
}

static void refusals_keep_their_secret(void **state)
{
	struct ct *t = *state;
	struct mica_err e = MICA_ERR_INIT;
	struct mica_caller who;
	const char *issuer = "x";
	EVP_PKEY *other = tk_rsa(2048);
	char *forged = tk_make(other, HEADER, tk_kubernetes(NULL, 0));

	assert_int_equal(by_token(t, mica_slice_str(forged), NOW_MS, &who, &issuer, &e),
		MICA_UNAUTHENTICATED);
	assert_string_equal(e.reason, "token_invalid");
	assert_string_equal(e.fine, "bad_signature");
	mica_err_clear(&e);
	assert_int_equal(
		by_token(t, MICA_LIT("x"), NOW_MS, &who, &issuer, &e), MICA_UNAUTHENTICATED);
	assert_null(issuer);
	mica_err_clear(&e);
	/* after the signature holds the reason is exact */
	assert_int_equal(by_token(t, ct_token(t, NOW), NOW_MS + 4000000, &who, &issuer, &e),
		MICA_UNAUTHENTICATED);
	assert_string_equal(e.reason, "token_expired");
	EVP_PKEY_free(other);
}

/* The server may then look for new keys once; the name tells whose. */
static void an_unknown_key_names_its_issuer(void **state)
{
	struct ct *t = *state;
	struct mica_err why = MICA_ERR_INIT;
	EVP_PKEY *next = tk_rsa(2048);
	struct mica_caller who;
	const char *issuer = NULL;
	char *token = tk_make(next, "{\"alg\":\"RS256\",\"kid\":\"a2\"}", tk_kubernetes(NULL, 0));

	assert_int_equal(by_token(t, mica_slice_str(token), NOW_MS, &who, &issuer, &why),
		MICA_UNAUTHENTICATED);
	assert_string_equal(why.fine, "unknown_key");
	assert_string_equal(issuer, "prod");
	/* the name stays when the configuration goes */
	assert_ok(mica_core_configure(t->core, &t->config, NOW_MS, e));
	assert_string_equal(issuer, "prod");
	assert_ok(set_jwks(t,
		tk_printf("{\"keys\":[%s,%s]}", tk_jwk(t->issuer_key, "a1", ""),
			tk_jwk(next, "a2", "")),
		NOW_MS, e));
	assert_ok(by_token(t, mica_slice_str(token), NOW_MS, &who, &issuer, e));
	EVP_PKEY_free(next);
}

/* ---- issuers' keys --------------------------------------------------------------------------- */

static void keys_survive_a_restart(void **state)
{
	struct ct *t = *state;
	struct mica_caller who;
	int64_t fetched = 0;
	unsigned keys = 0;

	ct_reopen(t, NOW_MS + 60000);
	assert_ok(mica_core_jwks_age(t->core, "prod", &fetched, &keys, e));
	assert_int_equal(fetched, NOW);
	assert_int_equal(keys, 1);
	ct_caller(t, NOW_MS + 60000, &who);
	assert_refused(MICA_NOT_FOUND, "no_such_issuer",
		mica_core_jwks_age(t->core, "test", &fetched, &keys, e));
}

static void kept_keys_belong_to_their_url(void **state)
{
	struct ct *t = *state;
	int64_t fetched = -1;
	unsigned keys = 9;

	/* the name goes over to another issuer: its keys must not */
	t->issuers[0].issuer = ct_str(ISS_B);
	assert_ok(mica_core_configure(t->core, &t->config, NOW_MS, e));
	assert_ok(mica_core_jwks_age(t->core, "prod", &fetched, &keys, e));
	assert_int_equal(fetched, 0);
	assert_int_equal(keys, 0);
	ct_reopen(t, NOW_MS);
	assert_ok(mica_core_jwks_age(t->core, "prod", &fetched, &keys, e));
	assert_int_equal(fetched, 0);
	assert_int_equal(keys, 0);
}

static void stale_keys_are_our_trouble(void **state)
{
	struct ct *t = *state;
	int64_t last = NOW + DAY;
	struct mica_caller who;

	ct_caller(t, last * 1000, &who);
	assert_ok(mica_core_ready(t->core, last * 1000, e));
	assert_refused(MICA_UNAVAILABLE, "issuer_keys_stale",
		by_token(t, ct_token(t, last), (last + 1) * 1000, &who, NULL, e));
	assert_refused(MICA_UNAVAILABLE, "issuer_keys_missing",
		mica_core_ready(t->core, (last + 1) * 1000, e));
	ct_set_jwks(t, (last + 1) * 1000);
	ct_caller(t, (last + 1) * 1000, &who);
}

static void without_keys_nobody_is_refused_for_good(void **state)
{
	struct ct *t = *state;
	struct mica_caller who;

	ct_init(t);
	ct_open_at(t, NOW_MS);
	assert_refused(MICA_UNAVAILABLE, "issuer_keys_missing",
		by_token(t, ct_token(t, NOW), NOW_MS, &who, NULL, e));
	assert_refused(
		MICA_UNAVAILABLE, "issuer_keys_missing", mica_core_ready(t->core, NOW_MS, e));
	ct_set_jwks(t, NOW_MS);
	assert_ok(mica_core_ready(t->core, NOW_MS, e));
}

static void bad_keys_change_nothing(void **state)
{
	static const char *const bad[] = {"", "{}", "{\"keys\":[]}", "not json",
		"{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}"};
	struct ct *t = *state;
	unsigned usable = 0, skipped = 0;
	struct mica_caller who;

	for (size_t i = 0; i < MICA_ARRAY_LEN(bad); i++)
		assert_int_equal(set_jwks(t, bad[i], NOW_MS, NULL), MICA_INVALID);
	ct_caller(t, NOW_MS, &who);
	assert_refused(MICA_NOT_FOUND, "no_such_issuer",
		mica_core_set_jwks(
			t->core, "test", mica_slice_str(ct_jwks(t)), NOW_MS, NULL, NULL, e));
	/* nor does a copy that cannot be kept */
	mica_store_set_fault(t->core->store, MICA_FAULT_FULL, 0);
	assert_refused(MICA_UNAVAILABLE, "disk_full", set_jwks(t, ct_jwks(t), NOW_MS + 9000, e));
	ct_caller(t, NOW_MS, &who);
	assert_ok(mica_core_set_jwks(t->core, "prod",
		mica_slice_str(tk_printf("{\"keys\":[%s,{\"kty\":\"oct\",\"k\":\"AAAA\"}]}",
			tk_jwk(t->issuer_key, "a1", ""))),
		NOW_MS, &usable, &skipped, e));
	assert_int_equal(usable, 1);
	assert_int_equal(skipped, 1);
}

/* ---- SVIDs ----------------------------------------------------------------------------------- */

static void an_svid_says_who_it_was_issued_to(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k = ct_issue(t, 0, NOW_MS);
	struct mica_issued i;
	struct mica_caller who;
	char serial[33];

	mica_candidate_issued(k, &i);
	ct_svid(t, k, NOW_MS, &who);
	assert_string_equal(who.principal.spiffe_id, ID);
	assert_string_equal(who.principal.issuer, "prod");
	assert_string_equal(who.principal.pod, "checkout-1");
	assert_int_equal(who.evidence.kind, MICA_EV_RENEWAL);
	assert_int_equal(who.evidence.origin_index, i.ledger_index);
	assert_int_equal(who.evidence.origin_time, NOW);
	assert_int_equal(who.evidence.credential_expiry, i.not_after);
	assert_true(who.has_serial);
	mica_hex_encode(who.serial, sizeof(who.serial), serial);
	assert_string_equal(serial, i.serial_hex);
	assert_refused(MICA_UNAUTHENTICATED, "svid_expired",
		by_svid(t, k, (i.not_after + 1) * 1000, &who, e));
	assert_refused(MICA_UNAUTHENTICATED, "svid_missing",
		mica_core_authenticate_svid(t->core, NULL, 0, NOW_MS, &who, e));
	assert_refused(MICA_UNAUTHENTICATED, "svid_untrusted",
		mica_core_authenticate_svid(t->core, i.chain_der, 1, NOW_MS, &who, e));
	mica_candidate_free(k);
}

static void a_denied_key_is_nobody(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k = ct_issue(t, 0, NOW_MS);
	struct mica_issued i;
	struct mica_cert_info info;
	struct mica_pubkey key;
	struct mica_caller who;
	char hex[65];

	mica_candidate_issued(k, &i);
	assert_ok(mica_cert_read(i.chain_der[0], &info, e));
	assert_ok(mica_pubkey_read(info.spki, &key, e));
	mica_hex_encode(key.spki_sha256, 32, hex);
	assert_ok(mica_core_deny(t->core, "key", mica_slice_str(hex), true, NULL, NOW_MS, e));
	assert_refused(MICA_UNAUTHENTICATED, "svid_denied", by_svid(t, k, NOW_MS, &who, e));
	mica_candidate_free(k);
}

/* Who has stolen an authority's key makes certificates that verify; the ledger does not know them,
 * nor another one under a serial that it knows. */
static void a_certificate_outside_the_ledger_is_nobody(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k = ct_issue(t, 0, NOW_MS);
	struct core_view *v = mica_core_view_get(t->core);
	int at = v->auths->active[MICA_AUTHORITY_ISSUING];
	struct mica_issued i;
	struct mica_cert_info info;
	struct mica_pubkey key;
	struct mica_caller who;

	mica_candidate_issued(k, &i);
	assert_ok(mica_cert_read(i.chain_der[0], &info, e));
	assert_ok(mica_pubkey_read(info.spki, &key, e));
	for (int known = 0; known < 2; known++) {
		struct mica_leaf_spec s = {.not_before = NOW - 60,
			.not_after = NOW + 3600,
			.trust_domain = TD,
			.uri = "spiffe://" TD "/ns/kube-system/sa/admin",
			.key = &key};
		struct mica_slice chain[2] = {{NULL, 0}, i.chain_der[1]};
		MICA_AUTO_BUF der;

		mica_serial_make(NOW_MS, s.serial);
		if (known)
			memcpy(s.serial, info.serial.p, MICA_SERIAL_LEN);
		mica_buf_init(&der, MICA_CERT_MAX);
		assert_ok(mica_leaf_sign(v->auths->more[at].key->issuer, &s, &der, e));
		chain[0] = mica_buf_slice(&der);
		assert_int_equal(ct_openssl(t, chain, 2, NOW), X509_V_OK);
		assert_refused(MICA_UNAUTHENTICATED, "svid_unknown",
			mica_core_authenticate_svid(t->core, chain, 2, NOW_MS, &who, e));
	}
	mica_core_view_unref(v);
	mica_candidate_free(k);
}

/* ---- who stands before a proxy --------------------------------------------------------------- */

/* A proxy passes on the leaf alone. */
static void a_peer_is_judged_by_its_leaf(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k = ct_issue(t, 0, NOW_MS);
	const struct mica_caller admin = ct_role(MICA_ROLE_ADMIN);
	struct mica_issued i;
	struct mica_caller who;
	struct mica_slice leaf;

	mica_candidate_issued(k, &i);
	leaf = i.chain_der[0];
	assert_ok(mica_core_judge_peer(t->core, leaf, NOW_MS, &who, e));
	assert_string_equal(who.principal.spiffe_id, ID);
	assert_int_equal(who.evidence.credential_expiry, i.not_after);
	assert_int_equal(who.roles, 0);
	assert_refused(MICA_UNAUTHENTICATED, "svid_expired",
		mica_core_judge_peer(t->core, leaf, (i.not_after + 1) * 1000, &who, e));
	assert_refused(MICA_UNAUTHENTICATED, "svid_malformed",
		mica_core_judge_peer(t->core, mica_slice_sub(leaf, 0, 100), NOW_MS, &who, e));
	/* an authority is nobody's name */
	assert_refused(MICA_UNAUTHENTICATED, "svid_malformed",
		mica_core_judge_peer(t->core, i.chain_der[1], NOW_MS, &who, e));
	assert_ok(mica_core_deny(t->core, "spiffe_id", MICA_LIT("spiffe://" TD "/ns/payments"),
		true, &admin, NOW_MS, e));
	assert_refused(MICA_DENIED, "denied_by_list",
		mica_core_judge_peer(t->core, leaf, NOW_MS, &who, e));
	assert_ok(mica_core_deny(t->core, "spiffe_id", MICA_LIT("spiffe://" TD "/ns/payments"),
		false, &admin, NOW_MS, e));
	assert_ok(mica_core_deny(t->core, "pod_uid", MICA_LIT(POD_UID), true, &admin, NOW_MS, e));
	assert_refused(MICA_DENIED, "denied_by_list",
		mica_core_judge_peer(t->core, leaf, NOW_MS, &who, e));
	assert_ok(mica_core_revoke_certificate(
		t->core, mica_slice_str(i.serial_hex), MICA_SLICE_NULL, &admin, NOW_MS, e));
	assert_refused(MICA_UNAUTHENTICATED, "svid_revoked",
		mica_core_judge_peer(t->core, leaf, NOW_MS, &who, e));
	mica_candidate_free(k);
}

static mica_rc judge_name(struct ct *t, const char *name, struct mica_err *err)
{
	static const char *const aliases[] = {"old.example"};
	struct mica_spiffe_id id;

	assert_ok(mica_spiffe_id_parse(mica_slice_str(name), &id, e));
	return mica_core_judge_name(t->core, &id, aliases, MICA_ARRAY_LEN(aliases), err);
}

static void a_name_alone_must_be_ours(void **state)
{
	struct ct *t = *state;

	assert_ok(judge_name(t, ID, e));
	assert_ok(judge_name(t, "spiffe://old.example/ns/payments/sa/checkout", e));
	assert_refused(MICA_UNAUTHENTICATED, "svid_wrong_trust_domain",
		judge_name(t, "spiffe://other.example/ns/payments/sa/checkout", e));
	assert_ok(mica_core_deny(t->core, "spiffe_id", MICA_LIT("spiffe://" TD "/ns/payments"),
		true, NULL, NOW_MS, e));
	assert_refused(MICA_DENIED, "denied_by_list", judge_name(t, ID, e));
	assert_ok(judge_name(t, "spiffe://" TD "/ns/payments2/sa/a", e));
}

/* ---- reviews --------------------------------------------------------------------------------- */

#define REVIEW(status) "{\"kind\":\"TokenReview\",\"status\":" status "}"
#define YES                                                                                        \
	REVIEW("{\"authenticated\":true,\"audiences\":[\"mica\"],\"user\":{"                       \
	       "\"username\":\"system:serviceaccount:payments:checkout\",\"uid\":\"" SA_UID        \
	       "\",\"extra\":{\"authentication.kubernetes.io/pod-name\":[\"checkout-1\"],"         \
	       "\"authentication.kubernetes.io/pod-uid\":[\"" POD_UID "\"]}}}")
#define GONE                                                                                       \
	REVIEW("{\"authenticated\":false,\"error\":"                                               \
	       "\"[invalid bearer token, service account token has been invalidated]\"}")

static void review(struct ct *t, enum mica_review_mode mode, bool allow)
{
	t->issuers[0].review.mode = mode;
	t->issuers[0].review.allow_on_failure = allow;
	assert_ok(mica_core_configure(t->core, &t->config, NOW_MS, e));
}

static mica_rc judge(struct ct *t, const struct mica_caller *who, int status, const char *answer,
	struct mica_err *e)
{
	return mica_core_review_judge(t->core, who, status, mica_slice_str(answer), NOW_MS, e);
}

static void verdicts_are_remembered_for_a_while(void **state)
{
	struct ct *t = *state;
	struct mica_caller who;

	ct_caller(t, NOW_MS, &who);
	assert_int_equal(mica_core_review_need(t->core, &who, NOW_MS), MICA_REVIEW_NOT_NEEDED);
	review(t, MICA_REVIEW_FIRST_USE, false);
	assert_int_equal(mica_core_review_need(t->core, &who, NOW_MS), MICA_REVIEW_ASK);
	assert_ok(judge(t, &who, 201, YES, e));
	assert_int_equal(mica_core_review_need(t->core, &who, NOW_MS), MICA_REVIEW_CACHED_YES);
	assert_int_equal(
		mica_core_review_need(t->core, &who, NOW_MS + 599000), MICA_REVIEW_CACHED_YES);
	assert_int_equal(mica_core_review_need(t->core, &who, NOW_MS + 600000), MICA_REVIEW_ASK);
	assert_refused(MICA_DENIED, "pod_gone", judge(t, &who, 201, GONE, e));
	assert_int_equal(mica_core_review_need(t->core, &who, NOW_MS), MICA_REVIEW_CACHED_NO);
	assert_int_equal(mica_core_review_need(t->core, &who, NOW_MS + 5000), MICA_REVIEW_ASK);
}

static void a_review_that_fails_is_no_verdict(void **state)
{
	struct ct *t = *state;
	struct mica_caller who;

	review(t, MICA_REVIEW_ALWAYS, false);
	ct_caller(t, NOW_MS, &who);
	assert_refused(MICA_UNAVAILABLE, "token_review_failed", judge(t, &who, 0, "", e));
	assert_refused(MICA_UNAVAILABLE, "token_review_failed", judge(t, &who, 500, "{}", e));
	assert_int_equal(mica_core_review_need(t->core, &who, NOW_MS), MICA_REVIEW_ASK);
	review(t, MICA_REVIEW_ALWAYS, true);
	assert_ok(judge(t, &who, 0, "", e));
	/* it let one pass, and asks again for the next */
	assert_int_equal(mica_core_review_need(t->core, &who, NOW_MS), MICA_REVIEW_ASK);
	/* a clear no is one, whatever is allowed on failure */
	assert_refused(MICA_DENIED, "pod_gone", judge(t, &who, 201, GONE, e));
}

static void the_question_is_for_our_audience(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k = ct_issue(t, 0, NOW_MS);
	struct mica_caller who;
	MICA_AUTO_BUF body;
	json_t *doc;

	review(t, MICA_REVIEW_ALWAYS, false);
	ct_caller(t, NOW_MS, &who);
	mica_buf_init(&body, 65536);
	assert_ok(mica_core_review_request(t->core, &who, MICA_LIT("a.b.c"), &body, e));
	doc = ct_json(&body);
	assert_string_equal(
		json_string_value(json_object_get(json_object_get(doc, "spec"), "token")), "a.b.c");
	json_decref(doc);
	/* who comes with a certificate has no token to ask about */
	ct_svid(t, k, NOW_MS, &who);
	assert_int_equal(mica_core_review_need(t->core, &who, NOW_MS), MICA_REVIEW_NOT_NEEDED);
	mica_candidate_free(k);
}

/* ---- explaining ------------------------------------------------------------------------------ */

static void a_token_is_explained_without_showing_it(void **state)
{
	struct ct *t = *state;
	struct mica_slice token = ct_token(t, NOW);
	const char *signature = strrchr((const char *)token.p, '.') + 1;
	MICA_AUTO_BUF json;
	json_t *doc;

	mica_buf_init(&json, 65536);
	assert_ok(mica_core_explain_token(t->core, token, MICA_FRONT_REST, NOW_MS, &json, e));
	assert_null(strstr((const char *)json.p, signature));
	doc = ct_json(&json);
	assert_true(json_is_true(json_object_get(doc, "accepted")));
	json_decref(doc);
	mica_buf_reset(&json);
	assert_ok(mica_core_explain_token(
		t->core, token, MICA_FRONT_REST, NOW_MS + 4000000, &json, e));
	doc = ct_json(&json);
	assert_true(json_is_false(json_object_get(doc, "accepted")));
	assert_string_equal(json_string_value(json_object_get(doc, "reason")), "token_expired");
	json_decref(doc);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(fn)  cmocka_unit_test_setup_teardown(fn, ct_setup, ct_teardown)
#define EMPTY(fn) cmocka_unit_test_setup_teardown(fn, ct_setup_empty, ct_teardown)
		TEST(a_token_names_a_pod),
		TEST(a_clock_set_back_revives_nothing),
		TEST(roles_are_names_in_the_configuration),
		TEST(refusals_keep_their_secret),
		TEST(an_unknown_key_names_its_issuer),
		TEST(keys_survive_a_restart),
		TEST(kept_keys_belong_to_their_url),
		TEST(stale_keys_are_our_trouble),
		EMPTY(without_keys_nobody_is_refused_for_good),
		TEST(bad_keys_change_nothing),
		TEST(an_svid_says_who_it_was_issued_to),
		TEST(a_denied_key_is_nobody),
		TEST(a_certificate_outside_the_ledger_is_nobody),
		TEST(a_peer_is_judged_by_its_leaf),
		TEST(a_name_alone_must_be_ours),
		TEST(verdicts_are_remembered_for_a_while),
		TEST(a_review_that_fails_is_no_verdict),
		TEST(the_question_is_for_our_audience),
		TEST(a_token_is_explained_without_showing_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
