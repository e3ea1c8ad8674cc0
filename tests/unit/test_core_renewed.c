/* SPDX-License-Identifier: Apache-2.0 */
/* A compromise through the core: who has renewed and who has not, a root that goes when nobody
 * needs it, and an issuing authority that a CRL names instead. */
#include "../../ca/core_impl.h"

#include "coretest.h"

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, ct_teardown)

#define SETTLED (NOW + 60) /* the standby is ready, the second look after the start is over */
#define FOREVER 3000

/* Lives of minutes; a deadline that no test waits for. */
static struct mica_caller anybody;

static int setup(void **state)
{
	struct ct *t = ct_new();
	struct mica_config *c = &t->config;

	memset(&anybody, 0, sizeof(anybody));
	t->issuers[0].renewal_max_age = DAY;
	c->x509.ttl = 600;
	c->x509.max_ttl = 2000;
	c->x509.min_ttl = 1;
	c->bundle.refresh_hint = 5;
	c->authorities.root_life = 90000;
	c->authorities.issuing_life = 20000;
	c->authorities.jwt_life = 90000;
	c->rotation.root.automatic = c->rotation.issuing.automatic = true;
	c->rotation.jwt.automatic = c->rotation.standby = true;
	c->rotation.root.rotate_at = c->rotation.issuing.rotate_at = 50;
	c->rotation.jwt.rotate_at = 50;
	c->rotation.propagation = 15;
	c->rotation.hold = 2010;
	c->rotation.ack_timeout = 30;
	c->rotation.skew = 5;
	c->rotation.trash = 60;
	c->rotation.deadline = FOREVER;
	c->crl.validity = 3600;
	ct_init(t);
	ct_open_at(t, NOW_MS);
	ct_set_jwks(t, NOW_MS);
	*state = t;
	return 0;
}

static void maintain(struct ct *t, int64_t now)
{
	assert_ok(mica_core_tick(t->core, now * 1000, now * 1000, e));
	assert_ok(mica_core_maintain(t->core, now * 1000, NULL, e));
}

static void settle(struct ct *t)
{
	for (int64_t now = NOW; now <= SETTLED; now += 5)
		maintain(t, now);
}

static const struct mica_caller *admin(void)
{
	static struct mica_caller a;

	a = ct_role(MICA_ROLE_ADMIN);
	return &a;
}

struct id {
	char s[MICA_KEY_ID_SIZE];
};

static struct id active(struct ct *t, enum mica_authority_kind kind, int64_t now)
{
	CORE_AUTO_VIEW v = mica_core_view_get(t->core);
	int at = mica_authority_active(v->auths->v, v->auths->n, MICA_SET_DEFAULT, kind, now);
	struct id id;

	assert_true(at >= 0);
	memcpy(id.s, v->auths->v[at].id, sizeof(id.s));
	return id;
}

static bool published(struct ct *t, const char *id, int64_t now)
{
	CORE_AUTO_VIEW v = mica_core_view_get(t->core);

	for (unsigned i = 0; i < v->auths->n; i++)
		if (strcmp(v->auths->v[i].id, id) == 0)
			return mica_authority_is_published(&v->auths->v[i], now);
	return false;
}

/* A pod of its own. */
static void pod(struct ct *t, unsigned n, int64_t now, struct mica_caller *out)
{
	if (anybody.roles == 0) /* a token for each would fill the bin */
		ct_caller(t, now * 1000, &anybody);
	*out = anybody;
	memset(out->principal.pod_uid.b, 0x40, 16);
	out->principal.pod_uid.b[14] = (uint8_t)(n >> 8);
	out->principal.pod_uid.b[15] = (uint8_t)n;
}

static void issue_to(struct ct *t, unsigned n, int64_t ttl, int64_t now)
{
	struct mica_caller who;

	pod(t, n, now, &who);
	mica_candidate_free(ct_issue_for(t, &who, ttl, now * 1000));
}

static json_t *doc(struct ct *t, bool plan, int64_t now)
{
	MICA_AUTO_BUF b;

	mica_buf_init(&b, 4 << 20);
	if (plan)
		assert_ok(mica_core_rotation_plan(t->core, now * 1000, now + 10000, &b, e));
	else
		assert_ok(mica_core_rotation_status(t->core, now * 1000, &b, e));
	return ct_json(&b);
}

static json_int_t number(const json_t *o, const char *name)
{
	const json_t *v = json_object_get(o, name);

	if (!json_is_integer(v))
		fail_msg("%s is no number", name);
	return json_integer_value(v);
}

static json_int_t compromise(struct ct *t, int64_t now, const char *name)
{
	json_t *d = doc(t, false, now);
	json_int_t n = number(json_object_get(d, "compromise"), name);

	json_decref(d);
	return n;
}

/* Long before the deadline, and before the last certificate has ended. */
static void the_root_goes_when_all_have_renewed(void **state)
{
	struct ct *t = *state;
	struct mica_core_stats s;
	struct id root, bad;
	int64_t now = SETTLED;

	settle(t);
	root = active(t, MICA_AUTHORITY_ROOT, now);
	bad = active(t, MICA_AUTHORITY_ISSUING, now);
	for (unsigned i = 0; i < 3; i++)
		issue_to(t, i, 2000, now);
	now += 10;
	assert_ok(mica_core_taint(t->core, bad.s, admin(), now * 1000, e));
	maintain(t, now);
	assert_string_not_equal(active(t, MICA_AUTHORITY_ROOT, now).s, root.s);
	/* micad's own certificate of bundles was renewed with it */
	assert_int_equal(compromise(t, now, "exposed"), 3);
	assert_int_equal(compromise(t, now, "holders"), 4);
	for (unsigned i = 0; i < 3; i++) {
		now += 20;
		issue_to(t, i, 2000, now);
		maintain(t, now);
		assert_int_equal(compromise(t, now, "exposed"), 2 - i);
		assert_true(published(t, root.s, now));
	}
	assert_int_equal(compromise(t, now, "seconds"), 60);
	mica_core_stats(t->core, &s);
	assert_int_equal(s.exposed, 0);
	assert_int_equal(s.renewals_done, 1);
	assert_int_equal(s.renewal_seconds, 60);
	/* the last answer is put to use first */
	maintain(t, now + 5);
	assert_true(published(t, root.s, now + 5));
	maintain(t, now + 6);
	assert_false(published(t, root.s, now + 6));
	mica_core_stats(t->core, &s);
	assert_int_equal(s.renewals_done, 1);
}

/* One is enough to keep it; until that one's certificate has ended. */
static void who_does_not_renew_keeps_it(void **state)
{
	struct ct *t = *state;
	struct id root, bad;
	int64_t now = SETTLED;
	json_t *d;
	const json_t *who;

	settle(t);
	root = active(t, MICA_AUTHORITY_ROOT, now);
	bad = active(t, MICA_AUTHORITY_ISSUING, now);
	issue_to(t, 1, 2000, now);
	issue_to(t, 2, 300, now);
	assert_ok(mica_core_taint(t->core, bad.s, admin(), now * 1000, e));
	issue_to(t, 1, 2000, now + 1);
	for (now += 2; now < SETTLED + 295; now += 5) {
		maintain(t, now);
		assert_true(published(t, root.s, now));
	}
	d = doc(t, false, now);
	who = json_object_get(json_object_get(d, "compromise"), "who");
	assert_int_equal(json_array_size(who), 1);
	assert_string_equal(json_string_value(json_object_get(json_array_get(who, 0), "expires")),
		"2026-11-24T12:06:00Z");
	json_decref(d);
	for (now = SETTLED + 301; now < SETTLED + 320; now += 6)
		maintain(t, now);
	assert_false(published(t, root.s, now));
}

/* A start in the middle reads the ledger again, and knows the same. */
static void a_start_forgets_nobody(void **state)
{
	struct ct *t = *state;
	struct id root, bad;
	int64_t now = SETTLED;

	settle(t);
	root = active(t, MICA_AUTHORITY_ROOT, now);
	bad = active(t, MICA_AUTHORITY_ISSUING, now);
	for (unsigned i = 0; i < 3; i++)
		issue_to(t, i, 2000, now);
	assert_ok(mica_core_taint(t->core, bad.s, admin(), now * 1000, e));
	issue_to(t, 0, 2000, now + 30);
	ct_reopen(t, (now + 31) * 1000);
	now += 32;
	maintain(t, now);
	assert_int_equal(compromise(t, now, "exposed"), 2);
	assert_int_equal(compromise(t, now, "renewed"), 2); /* and micad's own */
	assert_int_equal(compromise(t, now, "seconds"), 30);
	issue_to(t, 1, 2000, now);
	issue_to(t, 2, 2000, now);
	for (; now < SETTLED + 50; now++)
		maintain(t, now);
	/* a second look first */
	assert_true(published(t, root.s, now));
	for (; now < SETTLED + 80; now++)
		maintain(t, now);
	assert_false(published(t, root.s, now));
}

/* Without a pod a holder is its certificate, and follows its renewals. */
static void renewals_are_followed(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *first, *second, *third;
	struct mica_caller who, by_svid;
	int64_t now = SETTLED;
	struct id bad;

	settle(t);
	bad = active(t, MICA_AUTHORITY_ISSUING, now);
	ct_caller(t, now * 1000, &who);
	memset(&who.principal.pod_uid, 0, sizeof(who.principal.pod_uid));
	first = ct_issue_for(t, &who, 2000, now * 1000);
	ct_svid(t, first, now * 1000, &by_svid);
	memset(&by_svid.principal.pod_uid, 0, sizeof(by_svid.principal.pod_uid));
	second = ct_issue_for(t, &by_svid, 2000, (now + 1) * 1000);
	assert_ok(mica_core_taint(t->core, bad.s, admin(), (now + 2) * 1000, e));
	maintain(t, now + 2);
	assert_int_equal(compromise(t, now + 2, "exposed"), 1);
	assert_int_equal(compromise(t, now + 2, "holders"), 2);
	ct_svid(t, second, (now + 3) * 1000, &by_svid);
	memset(&by_svid.principal.pod_uid, 0, sizeof(by_svid.principal.pod_uid));
	third = ct_issue_for(t, &by_svid, 2000, (now + 4) * 1000);
	maintain(t, now + 4);
	assert_int_equal(compromise(t, now + 4, "exposed"), 0);
	mica_candidate_free(first);
	mica_candidate_free(second);
	mica_candidate_free(third);
}

/* A second compromise is about others: what is known of the first says nothing of it. */
static void a_second_one_begins_anew(void **state)
{
	struct ct *t = *state;
	struct id bad, next, root;
	int64_t now = SETTLED;

	settle(t);
	bad = active(t, MICA_AUTHORITY_ISSUING, now);
	issue_to(t, 1, 2000, now);
	assert_ok(mica_core_taint(t->core, bad.s, admin(), now * 1000, e));
	maintain(t, now);
	issue_to(t, 1, 2000, now + 1);
	maintain(t, now + 1);
	assert_int_equal(compromise(t, now + 1, "exposed"), 0);
	/* another standby has to be ready */
	now += 4;
	next = active(t, MICA_AUTHORITY_ISSUING, now);
	root = active(t, MICA_AUTHORITY_ROOT, now);
	assert_ok(mica_core_taint(t->core, next.s, admin(), now * 1000, e));
	assert_true(published(t, root.s, now));
	for (unsigned i = 0; i < 60; i++) {
		maintain(t, now + i);
		assert_true(published(t, root.s, now + i));
	}
	assert_int_equal(compromise(t, now + 60, "exposed"), 1);
}

/* The deadline counts from the command, however long nothing has happened before. */
static void a_taint_counts_from_the_command(void **state)
{
	struct ct *t = *state;
	int64_t now = SETTLED + FOREVER + 1000;
	struct id bad, root;

	settle(t);
	bad = active(t, MICA_AUTHORITY_ISSUING, now);
	root = active(t, MICA_AUTHORITY_ROOT, now);
	issue_to(t, 1, 2000, now);
	assert_ok(mica_core_taint(t->core, bad.s, admin(), now * 1000, e));
	for (int64_t at = now; at < now + 1900; at += 60) {
		maintain(t, at);
		assert_true(published(t, root.s, at));
	}
}

#define CROWD 1500

/* Nobody is lost, and nobody stays, whatever the order in which they come and go. */
static void a_crowd_is_counted(void **state)
{
	struct ct *t = *state;
	static uint16_t order[CROWD];
	int64_t now = SETTLED;
	struct id bad;

	settle(t);
	bad = active(t, MICA_AUTHORITY_ISSUING, now);
	for (unsigned i = 0; i < CROWD; i++) {
		order[i] = (uint16_t)i;
		issue_to(t, i, 2000, now);
	}
	assert_ok(mica_core_taint(t->core, bad.s, admin(), now * 1000, e));
	maintain(t, now + 1);
	assert_int_equal(compromise(t, now + 1, "exposed"), CROWD);
	for (unsigned i = 0, seed = 7; i < CROWD; i++) {
		unsigned k;
		uint16_t was;

		seed = seed * 1103515245u + 12345u;
		k = i + seed / 65536 % (CROWD - i);
		was = order[k];
		order[k] = order[i];
		order[i] = was;
	}
	for (unsigned i = 0; i < CROWD; i++) {
		issue_to(t, order[i], 2000, now + 2);
		if (i % 250 != 249)
			continue;
		maintain(t, now + 2);
		assert_int_equal(compromise(t, now + 2, "exposed"), CROWD - 1 - i);
	}
}

/* ---- a CRL instead --------------------------------------------------------------------------- */

static struct mica_outlet_config outlets[2];

static void configure(struct ct *t, unsigned n, bool first, bool second, int64_t now)
{
	outlets[0] = (struct mica_outlet_config){ct_str("envoy"), 15, first};
	outlets[1] = (struct mica_outlet_config){ct_str("linkerd"), 10, second};
	t->config.rotation.outlets = outlets;
	t->config.rotation.n_outlets = n;
	assert_ok(mica_core_configure(t->core, &t->config, now * 1000, e));
}

static void a_crl_alone_is_refused(void **state)
{
	struct ct *t = *state;
	struct mica_err err = MICA_ERR_INIT;
	struct id bad, root;

	settle(t);
	bad = active(t, MICA_AUTHORITY_ISSUING, SETTLED);
	root = active(t, MICA_AUTHORITY_ROOT, SETTLED);
#define by_crl(why, id)                                                                            \
	assert_refused(MICA_CONFLICT, why,                                                         \
		mica_core_revoke_by_crl(t->core, id, admin(), SETTLED * 1000, e))
	by_crl("outlets_ignore_crls", bad.s);
	configure(t, 2, true, false, SETTLED);
	assert_int_equal(mica_core_revoke_by_crl(t->core, bad.s, admin(), SETTLED * 1000, &err),
		MICA_CONFLICT);
	assert_non_null(strstr(err.text, "linkerd"));
	assert_null(strstr(err.text, "envoy"));
	configure(t, 2, true, true, SETTLED);
	by_crl("crl_only_is_for_issuing", root.s);
	assert_refused(MICA_NOT_FOUND, "no_such_authority",
		mica_core_revoke_by_crl(t->core, "00", admin(), SETTLED * 1000, e));
	/* what a stolen root signs saves nobody */
	assert_ok(mica_core_taint(t->core, root.s, admin(), SETTLED * 1000, e));
	by_crl("no_crl_signer", bad.s);
}

static const struct mica_snapshot *crl(struct ct *t, const char *authority)
{
	const struct mica_snapshot *s = NULL;

	assert_ok(mica_core_crl(t->core, mica_slice_str(authority), MICA_CRL_DER, &s, e));
	return s;
}

/* Whether the root's CRL names the authority's certificate. */
static bool is_named(struct ct *t, const char *root, const char *authority)
{
	CORE_AUTO_VIEW v = mica_core_view_get(t->core);
	const struct mica_snapshot *s = crl(t, root);
	const uint8_t *at = s->bytes.p;
	X509_CRL *list = d2i_X509_CRL(NULL, &at, (long)s->bytes.len);
	X509_REVOKED *r = NULL;
	bool named = false;

	for (unsigned i = 0; i < v->auths->n; i++) {
		X509 *x;

		if (strcmp(v->auths->v[i].id, authority) != 0)
			continue;
		x = ct_x509(mica_buf_slice(&v->auths->v[i].cert));
		named = X509_CRL_get0_by_cert(list, &r, x) == 1;
		X509_free(x);
	}
	X509_CRL_free(list);
	mica_snapshot_unref(s);
	return named;
}

static void the_roots_crl_names_it(void **state)
{
	struct ct *t = *state;
	struct id bad, root;
	struct mica_core_stats before, after;
	struct mica_candidate *k;
	struct mica_issued i;
	int64_t now = SETTLED;

	settle(t);
	configure(t, 2, true, true, now);
	bad = active(t, MICA_AUTHORITY_ISSUING, now);
	root = active(t, MICA_AUTHORITY_ROOT, now);
	issue_to(t, 1, 2000, now);
	assert_false(is_named(t, root.s, bad.s));
	mica_core_stats(t->core, &before);
	assert_ok(mica_core_revoke_by_crl(t->core, bad.s, admin(), now * 1000, e));
	assert_true(is_named(t, root.s, bad.s));
	/* everybody is told, another one signs, and the root stays */
	mica_core_stats(t->core, &after);
	assert_true(after.compromises > before.compromises);
	assert_string_equal(active(t, MICA_AUTHORITY_ROOT, now).s, root.s);
	assert_string_not_equal(active(t, MICA_AUTHORITY_ISSUING, now).s, bad.s);
	k = ct_issue(t, 600, now * 1000);
	mica_candidate_issued(k, &i);
	assert_int_equal(ct_openssl(t, i.chain_der, i.n_chain, now), X509_V_OK);
	mica_candidate_free(k);
	by_crl("revoked_already", bad.s);
	maintain(t, now);
	assert_int_equal(compromise(t, now, "exposed"), 1);
	issue_to(t, 1, 2000, now + 7);
	maintain(t, now + 7);
	assert_int_equal(compromise(t, now + 7, "exposed"), 0);
	assert_int_equal(compromise(t, now + 7, "seconds"), 7);
	/* beyond the deadline of an ordinary compromise, and a start */
	ct_reopen(t, (now + 8) * 1000);
	for (int64_t at = now + 8; at < now + FOREVER + 20; at += 30)
		maintain(t, at);
	now += FOREVER + 20;
	assert_true(published(t, root.s, now));
	assert_string_equal(active(t, MICA_AUTHORITY_ROOT, now).s, root.s);
}

/* ---- who is exposed until when --------------------------------------------------------------- */

static const char *text(const json_t *o, const char *name)
{
	const json_t *v = json_object_get(o, name);

	return json_is_string(v) ? json_string_value(v) : "null";
}

static void the_plan_says_who_is_exposed(void **state)
{
	struct ct *t = *state;
	int64_t now = SETTLED;
	struct id bad, root;
	const json_t *x;
	json_t *d;

	settle(t);
	configure(t, 2, true, false, now);
	bad = active(t, MICA_AUTHORITY_ISSUING, now);
	root = active(t, MICA_AUTHORITY_ROOT, now);
	d = doc(t, true, now);
	assert_int_equal(json_array_size(json_object_get(d, "exposed")), 0);
	x = json_object_get(d, "if_compromised");
	assert_string_equal(text(x, "authority"), bad.s);
	assert_string_equal(text(x, "removes"), root.s);
	assert_string_equal(text(x, "until"), "2026-11-24T12:51:00Z"); /* the deadline */
	x = json_object_get(x, "crl_only");
	assert_true(json_is_false(json_object_get(x, "allowed")));
	assert_int_equal(json_array_size(json_object_get(x, "refused_by")), 1);
	json_decref(d);

	issue_to(t, 1, 2000, now);
	assert_ok(mica_core_taint(t->core, bad.s, admin(), now * 1000, e));
	d = doc(t, true, now);
	x = json_array_get(json_object_get(d, "exposed"), 0);
	assert_string_equal(text(x, "authority"), bad.s);
	assert_string_equal(text(x, "way"), "removal");
	assert_string_equal(text(x, "removes"), root.s);
	assert_string_equal(text(x, "until"), "2026-11-24T12:51:00Z");
	x = json_object_get(x, "who");
	assert_int_equal(json_array_size(x), 3);
	assert_string_equal(text(json_array_get(x, 0), "outlet"), "polls");
	assert_string_equal(text(json_array_get(x, 0), "until"), "2026-11-24T12:51:15Z");
	assert_string_equal(text(json_array_get(x, 2), "until"), "2026-11-24T12:51:10Z");
	json_decref(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_root_goes_when_all_have_renewed),
		TEST(who_does_not_renew_keeps_it),
		TEST(a_start_forgets_nobody),
		TEST(renewals_are_followed),
		TEST(a_second_one_begins_anew),
		TEST(a_taint_counts_from_the_command),
		TEST(a_crowd_is_counted),
		TEST(a_crl_alone_is_refused),
		TEST(the_roots_crl_names_it),
		TEST(the_plan_says_who_is_exposed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
