/* SPDX-License-Identifier: Apache-2.0 */
/* Rotation through the core: a store, a moving clock, leaves that are checked by OpenSSL. */
#include "../../ca/core_impl.h"

#include "coretest.h"

#define TEST(f) cmocka_unit_test_setup_teardown(f, rot_setup, ct_teardown)

#define LONG 9000

/* Lives of minutes, as of a playground. */
static void short_lives(struct ct *t)
{
	struct mica_config *c = &t->config;

	c->x509.ttl = 60;
	c->x509.max_ttl = 120;
	c->x509.min_ttl = 1;
	c->jwt.ttl = 60;
	c->jwt.max_ttl = 60;
	c->bundle.refresh_hint = 5;
	c->authorities.root_life = 7200;
	c->authorities.issuing_life = 900;
	c->authorities.jwt_life = 900;
	c->rotation.root.automatic = c->rotation.issuing.automatic = true;
	c->rotation.jwt.automatic = c->rotation.standby = true;
	c->rotation.root.rotate_at = 50;
	c->rotation.issuing.rotate_at = c->rotation.jwt.rotate_at = 50;
	c->rotation.propagation = 15;
	c->rotation.hold = 130;
	c->rotation.ack_timeout = 60;
	c->rotation.skew = 5;
	c->rotation.trash = 60;
	c->rotation.deadline = 90;
}

static int rot_setup(void **state)
{
	static char csr[2048];
	struct ct *t = ct_new();
	struct mica_rotation_policy p;

	short_lives(t);
	mica_rotation_policy_of(&t->config, &p);
	assert_true(mica_rotation_policy_holds(&p, NULL));
	/* long tests throw away what others keep until their end */
	snprintf(csr, sizeof(csr), "%s", t->csr);
	t->csr = csr;
	ct_init(t);
	ct_open_at(t, NOW_MS);
	ct_set_jwks(t, NOW_MS);
	*state = t;
	return 0;
}

static bool maintain(struct ct *t, int64_t now)
{
	bool changed = false;

	assert_ok(mica_core_tick(t->core, now * 1000, now * 1000, e));
	assert_ok(mica_core_maintain(t->core, now * 1000, &changed, e));
	return changed;
}

/* Of a kind and state; how many. */
static unsigned count(struct ct *t, enum mica_authority_kind kind, enum mica_authority_state s,
	int64_t now, char id[MICA_KEY_ID_SIZE])
{
	CORE_AUTO_VIEW v = mica_core_view_get(t->core);
	unsigned n = 0;

	for (unsigned i = 0; i < v->auths->n; i++) {
		if (v->auths->v[i].kind != kind ||
			mica_authority_state_at(&v->auths->v[i], now) != s)
			continue;
		if (id)
			memcpy(id, v->auths->v[i].id, MICA_KEY_ID_SIZE);
		n++;
	}
	return n;
}

struct id {
	char s[MICA_KEY_ID_SIZE];
};

static struct id active(struct ct *t, enum mica_authority_kind kind, int64_t now)
{
	struct id id = {""};

	assert_int_equal(count(t, kind, MICA_AS_ACTIVE, now, id.s), 1);
	return id;
}

static int judged(struct ct *t, const struct mica_candidate *k, int64_t now)
{
	struct mica_issued i;

	mica_candidate_issued(k, &i);
	return ct_openssl(t, i.chain_der, i.n_chain, now);
}

static void verifies(struct ct *t, const struct mica_candidate *k, int64_t now)
{
	assert_int_equal(judged(t, k, now), X509_V_OK);
}

/* Beyond a life of the first root, with a certificate every few seconds: each verifies from its
 * first second to its last, and nothing fails. */
static void it_rotates_by_itself(void **state)
{
	struct ct *t = *state;
	struct id first_root = active(t, MICA_AUTHORITY_ROOT, NOW);
	struct id first_jwt = active(t, MICA_AUTHORITY_JWT, NOW);
	struct mica_candidate *k = NULL, *old = NULL;
	unsigned changes = 0;
	int64_t born = 0;

	for (int64_t now = NOW; now < NOW + LONG; now += 9) {
		changes += maintain(t, now);
		if (!k || now >= born + 50) {
			mica_candidate_free(old);
			old = k;
			k = ct_issue(t, 115, now * 1000);
			born = now;
		}
		verifies(t, k, now);
		if (old)
			verifies(t, old, now);
		(void)active(t, MICA_AUTHORITY_ROOT, now);
		(void)active(t, MICA_AUTHORITY_ISSUING, now);
		(void)active(t, MICA_AUTHORITY_JWT, now);
		(void)tk_empty_bin(state);
	}
	mica_candidate_free(k);
	mica_candidate_free(old);
	assert_string_not_equal(first_root.s, active(t, MICA_AUTHORITY_ROOT, NOW + LONG).s);
	assert_string_not_equal(first_jwt.s, active(t, MICA_AUTHORITY_JWT, NOW + LONG).s);
	assert_true(changes > 20);
	/* what was removed is destroyed: nothing piles up */
	{
		CORE_AUTO_VIEW v = mica_core_view_get(t->core);

		assert_true(v->auths->n < 16);
	}
}

/* ---- what goes wrong ------------------------------------------------------------------------- */

/* The store fails at the commit after `after` more; then micad ends, and a new one goes on. */
static int64_t fail_once(struct ct *t, enum mica_store_fault f, unsigned after, int64_t from)
{
	struct mica_candidate *k = ct_issue(t, 100, from * 1000);
	struct mica_err own = MICA_ERR_INIT;
	int64_t now = from;
	mica_rc rc;

	mica_store_set_fault(t->core->store, f, after);
	do {
		now += 5;
		rc = mica_core_maintain(t->core, now * 1000, NULL, &own);
	} while (rc == MICA_OK && now < from + 3000);
	assert_int_equal(rc, f == MICA_FAULT_FULL ? MICA_UNAVAILABLE : MICA_INTERNAL);
	if (f == MICA_FAULT_UNKNOWN)
		ct_reopen(t, now * 1000);
	(void)maintain(t, ++now);
	if (now < from + 100)
		verifies(t, k, now);
	mica_candidate_free(k);
	k = ct_issue(t, 100, now * 1000);
	verifies(t, k, now);
	mica_candidate_free(k);
	return now;
}

/* At each commit of rotations in turn. */
static void it_goes_on_after_any_commit(void **state)
{
	struct ct *t = *state;
	struct id first = active(t, MICA_AUTHORITY_ROOT, NOW);
	int64_t now = NOW;

	for (unsigned i = 0; i < 80 || now < NOW + 2 * 7200; i++) {
		now = fail_once(t, i & 1 ? MICA_FAULT_FULL : MICA_FAULT_UNKNOWN, i / 2 % 9, now);
		(void)active(t, MICA_AUTHORITY_ROOT, now);
		(void)active(t, MICA_AUTHORITY_ISSUING, now);
		(void)active(t, MICA_AUTHORITY_JWT, now);
		(void)tk_empty_bin(state);
	}
	assert_string_not_equal(first.s, active(t, MICA_AUTHORITY_ROOT, now).s);
}

/* One step is one transaction: no reader of the store sees a bundle without its authority. */
static void a_step_is_whole_or_not_at_all(void **state)
{
	struct ct *t = *state;
	int64_t due = NOW + 3700;
	uint64_t before = mica_core_bundle_sequence(t->core, MICA_CHANNEL_LIVE);
	struct mica_err own = MICA_ERR_INIT;
	CORE_AUTO_VIEW v = NULL;

	mica_store_set_fault(t->core->store, MICA_FAULT_FULL, 0);
	assert_int_equal(mica_core_maintain(t->core, due * 1000, NULL, &own), MICA_UNAVAILABLE);
	assert_int_equal(mica_core_bundle_sequence(t->core, MICA_CHANNEL_LIVE), before);
	assert_true(maintain(t, due));
	assert_true(mica_core_bundle_sequence(t->core, MICA_CHANNEL_LIVE) > before);
	v = mica_core_view_get(t->core);
	for (unsigned i = 0; i < v->auths->n; i++)
		if (v->auths->v[i].kind == MICA_AUTHORITY_ROOT &&
			mica_authority_state_at(&v->auths->v[i], due) == MICA_AS_PUBLISHED &&
			!v->auths->v[i].standby)
			assert_in_range(v->auths->v[i].sequence, before + 1,
				mica_core_bundle_sequence(t->core, MICA_CHANNEL_LIVE));
}

/* ---- compromise ------------------------------------------------------------------------------ */

static void a_tainted_issuing_authority_takes_its_root_with_it(void **state)
{
	struct ct *t = *state;
	struct id root = active(t, MICA_AUTHORITY_ROOT, NOW);
	struct id issuing = active(t, MICA_AUTHORITY_ISSUING, NOW);
	struct mica_caller admin = ct_role(MICA_ROLE_ADMIN);
	struct mica_candidate *k = ct_issue(t, 120, NOW_MS);
	int64_t now = NOW + 1;

	assert_ok(mica_core_taint(t->core, issuing.s, &admin, now * 1000, e));
	/* the standby serves from that moment on, and what the old one signed is still accepted */
	assert_string_not_equal(active(t, MICA_AUTHORITY_ROOT, now).s, root.s);
	assert_string_not_equal(active(t, MICA_AUTHORITY_ISSUING, now).s, issuing.s);
	verifies(t, k, now);
	mica_candidate_free(k);
	k = ct_issue(t, 120, now * 1000);
	verifies(t, k, now);
	/* until the deadline: then nobody who has the stolen key is believed */
	for (; now < NOW + 120; now += 10)
		(void)maintain(t, now);
	assert_int_equal(count(t, MICA_AUTHORITY_ROOT, MICA_AS_REMOVED, now, NULL), 1);
	assert_null(strstr(ct_snapshot(t, MICA_CHANNEL_LIVE, MICA_FMT_BUNDLE_JSON), root.s));
	/* and there is a new standby */
	assert_int_equal(count(t, MICA_AUTHORITY_ROOT, MICA_AS_READY, now, NULL), 1);
	mica_candidate_free(k);
}

/* Whoever has to renew has until the deadline, however long ago anything happened before. */
static void the_deadline_begins_with_the_taint(void **state)
{
	struct ct *t = *state;
	struct id root = active(t, MICA_AUTHORITY_ROOT, NOW);
	struct mica_caller admin = ct_role(MICA_ROLE_ADMIN);
	struct mica_candidate *k;
	int64_t now = NOW + 1;

	(void)maintain(t, now);
	now += 300; /* no step is due in between */
	k = ct_issue(t, 120, now * 1000);
	assert_ok(mica_core_taint(t->core, root.s, &admin, now * 1000, e));
	(void)maintain(t, now + 85);
	verifies(t, k, now + 85);
	(void)maintain(t, now + 92);
	assert_int_equal(judged(t, k, now + 92), X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY);
	mica_candidate_free(k);
}

/* ---- the clock ---------------------------------------------------------------------------------
 */

static void a_clock_that_jumps_rotates_nothing(void **state)
{
	struct ct *t = *state;
	struct id root = active(t, MICA_AUTHORITY_ROOT, NOW);
	struct id jwt = active(t, MICA_AUTHORITY_JWT, NOW);
	int64_t jump = NOW + 3700;
	bool changed;

	(void)maintain(t, NOW + 1);
	/* an hour in a second: everything is due by it */
	assert_ok(mica_core_tick(t->core, jump * 1000, (NOW + 2) * 1000, e));
	assert_ok(mica_core_maintain(t->core, jump * 1000, &changed, e));
	assert_string_equal(active(t, MICA_AUTHORITY_ROOT, jump).s, root.s);
	assert_int_equal(count(t, MICA_AUTHORITY_ROOT, MICA_AS_PUBLISHED, jump, NULL), 0);
	assert_int_equal(count(t, MICA_AUTHORITY_JWT, MICA_AS_EXPIRED, jump, NULL), 1);
	assert_non_null(strstr(ct_snapshot(t, MICA_CHANNEL_LIVE, MICA_FMT_BUNDLE_JSON), jwt.s));
	/* it comes back: the clock is behind what was seen, until it has caught up */
	assert_ok(mica_core_tick(t->core, (NOW + 3) * 1000, (NOW + 3) * 1000, e));
	assert_ok(mica_core_maintain(t->core, (NOW + 3) * 1000, &changed, e));
	assert_int_equal(t->core->rotation.word, MICA_CLOCK_BEHIND);
	assert_int_equal(count(t, MICA_AUTHORITY_ROOT, MICA_AS_PUBLISHED, jump, NULL), 0);
	(void)maintain(t, jump);
	assert_int_equal(t->core->rotation.word, MICA_CLOCK_AGREES);
	assert_int_equal(count(t, MICA_AUTHORITY_ROOT, MICA_AS_PUBLISHED, jump, NULL), 1);
}

/* ---- recovery ----------------------------------------------------------------------------------
 */

static void after_a_long_stop_the_standby_or_a_new_one_serves(void **state)
{
	struct ct *t = *state;
	int64_t now = NOW + 1000; /* the issuing authority and the JWT key have expired meanwhile */

	ct_reopen(t, now * 1000);
	assert_refused(
		MICA_UNAVAILABLE, "no_active_authority", mica_core_ready(t->core, now * 1000, e));
	assert_ok(mica_core_maintain(t->core, now * 1000, NULL, e));
	ct_set_jwks(t, now * 1000);
	assert_ok(mica_core_ready(t->core, now * 1000, e));
	mica_candidate_free(ct_issue(t, 60, now * 1000));
	now = NOW + 7300; /* roots too: there is nothing to go on with */
	ct_reopen(t, now * 1000);
	assert_ok(mica_core_maintain(t->core, now * 1000, NULL, e));
	assert_refused(
		MICA_UNAVAILABLE, "no_active_authority", mica_core_ready(t->core, now * 1000, e));
}

/* An issuing authority that ends with its root is not replaced by one that would, too. */
static void at_the_end_of_a_root_nothing_is_made_over_and_over(void **state)
{
	struct ct *t = *state;
	int64_t now;

	t->config.rotation.root.automatic = t->config.rotation.standby = false;
	assert_ok(mica_core_configure(t->core, &t->config, NOW_MS, e));
	for (now = NOW; now < NOW + 7100; now += 50) {
		assert_ok(mica_core_maintain(t->core, now * 1000, NULL, e));
		(void)active(t, MICA_AUTHORITY_ISSUING, now);
	}
	assert_true(atomic_load(&t->core->rotation_steps) < 250);
}

/* After a stop nothing is removed or destroyed before a second look. */
static void removal_waits_for_a_second_look(void **state)
{
	struct ct *t = *state;
	int64_t now = NOW + 600;
	unsigned published;

	assert_ok(mica_core_maintain(t->core, now * 1000, NULL, e));
	published = count(t, MICA_AUTHORITY_ISSUING, MICA_AS_RETIRED, now, NULL);
	assert_int_equal(published, 1);
	now += 600; /* it could go by now */
	ct_reopen(t, now * 1000);
	assert_ok(mica_core_maintain(t->core, now * 1000, NULL, e));
	assert_int_equal(count(t, MICA_AUTHORITY_ISSUING, MICA_AS_REMOVED, now, NULL), 0);
	now += 31;
	assert_ok(mica_core_maintain(t->core, now * 1000, NULL, e));
	assert_true(count(t, MICA_AUTHORITY_ISSUING, MICA_AS_REMOVED, now, NULL) > 0);
}

/* ---- by hand -----------------------------------------------------------------------------------
 */

static json_t *doc(struct mica_buf *b)
{
	json_t *j = ct_json(b);

	mica_buf_clear(b);
	return j;
}

static json_t *status(struct ct *t, int64_t now)
{
	struct mica_buf b;

	mica_buf_init(&b, 1 << 20);
	assert_ok(mica_core_rotation_status(t->core, now * 1000, &b, e));
	return doc(&b);
}

static const char *text(const json_t *j, const char *name)
{
	return json_string_value(json_object_get(j, name));
}

static void everything_by_hand(void **state)
{
	struct ct *t = *state;
	struct mica_caller admin = ct_role(MICA_ROLE_ADMIN);
	struct id old = active(t, MICA_AUTHORITY_ROOT, NOW);
	int64_t now = NOW + 10;
	char id[41], other[41];
	json_t *j;

	/* a successor that not everybody has cannot be used yet */
	assert_ok(
		mica_core_rotation_start(t->core, MICA_AUTHORITY_ROOT, &admin, now * 1000, id, e));
	assert_refused(MICA_CONFLICT, "rotation_running",
		mica_core_rotation_start(
			t->core, MICA_AUTHORITY_ROOT, &admin, now * 1000, other, e));
	assert_refused(MICA_CONFLICT, "not_everywhere",
		mica_core_activate(t->core, id, false, &admin, now * 1000, e));
	j = status(t, now);
	assert_string_equal(text(json_array_get(json_object_get(j, "rotations"), 0), "waits_for"),
		"propagation");
	assert_string_equal(
		text(json_array_get(json_object_get(j, "rotations"), 0), "successor"), id);
	json_decref(j);
	/* whoever insists is obeyed */
	assert_ok(mica_core_activate(t->core, id, true, &admin, now * 1000, e));
	assert_string_equal(active(t, MICA_AUTHORITY_ROOT, now).s, id);
	assert_refused(MICA_CONFLICT, "active_already",
		mica_core_activate(t->core, id, false, &admin, now * 1000, e));
	mica_candidate_free(ct_issue(t, 60, now * 1000));
	/* back */
	assert_refused(MICA_CONFLICT, "active",
		mica_core_revoke(t->core, id, false, &admin, now * 1000, e));
	assert_ok(mica_core_roll_back(t->core, MICA_AUTHORITY_ROOT, false, &admin, now * 1000, e));
	assert_string_equal(active(t, MICA_AUTHORITY_ROOT, now).s, old.s);
	/* the newer one is in use: it is not thrown away without a word */
	assert_refused(MICA_CONFLICT, "in_use",
		mica_core_revoke(t->core, id, false, &admin, now * 1000, e));
	assert_ok(mica_core_revoke(t->core, id, true, &admin, now * 1000, e));
	assert_int_equal(count(t, MICA_AUTHORITY_ROOT, MICA_AS_REMOVED, now, NULL), 1);
	assert_refused(MICA_CONFLICT, "root_usable",
		mica_core_prepare_authority(
			t->core, MICA_AUTHORITY_ROOT, true, &admin, now * 1000, id, e));
	assert_refused(MICA_CONFLICT, "no_way_back",
		mica_core_roll_back(t->core, MICA_AUTHORITY_JWT, false, &admin, now * 1000, e));
	assert_refused(MICA_NOT_FOUND, "no_such_authority",
		mica_core_activate(t->core, "00", false, &admin, now * 1000, e));
}

/* When all is lost, and only then. */
static void a_new_root_when_there_is_none(void **state)
{
	struct ct *t = *state;
	struct mica_caller admin = ct_role(MICA_ROLE_ADMIN);
	int64_t now = NOW + 8000;
	char id[41];

	ct_reopen(t, now * 1000);
	(void)maintain(t, now);
	assert_refused(
		MICA_UNAVAILABLE, "no_active_authority", mica_core_ready(t->core, now * 1000, e));
	assert_ok(mica_core_prepare_authority(
		t->core, MICA_AUTHORITY_ROOT, true, &admin, now * 1000, id, e));
	assert_string_equal(active(t, MICA_AUTHORITY_ROOT, now).s, id);
	ct_set_jwks(t, now * 1000);
	assert_ok(mica_core_ready(t->core, now * 1000, e));
	mica_candidate_free(ct_issue(t, 60, now * 1000));
}

/* An outlet whose propagation nobody knows stops a rotation of roots, and says so. */
static void an_unknown_outlet_is_waited_for(void **state)
{
	static struct mica_outlet_config outlets[] = {{.name = (char *)(uintptr_t) "linkerd"}};
	struct ct *t = *state;
	struct mica_caller admin = ct_role(MICA_ROLE_ADMIN);
	struct id old = active(t, MICA_AUTHORITY_ROOT, NOW);
	int64_t now;
	char id[41];
	json_t *j;

	t->config.rotation.outlets = outlets;
	t->config.rotation.n_outlets = 1;
	assert_ok(mica_core_configure(t->core, &t->config, NOW_MS, e));
	assert_refused(MICA_CONFLICT, "nothing_to_confirm",
		mica_core_confirm(t->core, MICA_LIT("linkerd"), &admin, NOW_MS, e));
	assert_ok(mica_core_rotation_start(t->core, MICA_AUTHORITY_ROOT, &admin, NOW_MS, id, e));
	for (now = NOW; now < NOW + 600; now += 20)
		(void)maintain(t, now);
	assert_string_equal(active(t, MICA_AUTHORITY_ROOT, now).s, old.s);
	j = status(t, now);
	assert_string_equal(text(json_array_get(json_object_get(j, "rotations"), 0), "waits_for"),
		"confirmation");
	assert_string_equal(
		json_string_value(json_array_get(json_object_get(j, "unconfirmed"), 0)), "linkerd");
	json_decref(j);
	assert_refused(MICA_NOT_FOUND, "no_such_outlet",
		mica_core_confirm(t->core, MICA_LIT("istio"), &admin, now * 1000, e));
	assert_ok(mica_core_confirm(t->core, MICA_LIT("linkerd"), &admin, now * 1000, e));
	assert_string_equal(active(t, MICA_AUTHORITY_ROOT, now).s, id);
}

/* A holder that said what it has, and has not the newest, is waited for and named. */
static void who_is_missing_is_named(void **state)
{
	struct ct *t = *state;
	struct mica_caller admin = ct_role(MICA_ROLE_ADMIN), who;
	struct id old = active(t, MICA_AUTHORITY_ROOT, NOW);
	int64_t now = NOW + 1;
	char id[41];
	json_t *j, *m;

	ct_caller(t, NOW_MS, &who);
	assert_ok(mica_core_ack(t->core, &who, MICA_CHANNEL_LIVE,
		mica_core_bundle_sequence(t->core, MICA_CHANNEL_LIVE), NOW_MS, e));
	(void)maintain(t, now);
	assert_ok(
		mica_core_rotation_start(t->core, MICA_AUTHORITY_ROOT, &admin, now * 1000, id, e));
	(void)maintain(t, now += 40);
	assert_string_equal(active(t, MICA_AUTHORITY_ROOT, now).s, old.s);
	j = status(t, now);
	assert_string_equal(
		text(json_array_get(json_object_get(j, "rotations"), 0), "waits_for"), "acks");
	m = json_object_get(j, "missing");
	assert_int_equal(json_array_size(m), 1);
	assert_string_equal(text(json_array_get(m, 0), "spiffe_id"), who.principal.spiffe_id);
	json_decref(j);
	assert_ok(mica_core_ack(t->core, &who, MICA_CHANNEL_LIVE,
		mica_core_bundle_sequence(t->core, MICA_CHANNEL_LIVE), now * 1000, e));
	(void)maintain(t, now + 1); /* it is written behind */
	(void)maintain(t, now + 2);
	assert_string_equal(active(t, MICA_AUTHORITY_ROOT, now + 2).s, id);
}

/* Who has a certificate and says that it acknowledges is waited for from the beginning; also when
 * micad was killed before it was written down. */
static void who_never_said_a_word_is_missing_too(void **state)
{
	struct ct *t = *state;
	struct mica_caller admin = ct_role(MICA_ROLE_ADMIN), who;
	struct id old = active(t, MICA_AUTHORITY_ROOT, NOW);
	struct mica_candidate *k = NULL;
	struct mica_x509_request r;
	int64_t now = NOW + 1;
	char id[41];
	json_t *j;

	ct_caller(t, NOW_MS, &who);
	r = ct_request(t, &who);
	r.ttl = 120;
	r.outlet = MICA_OUTLET_ACK;
	r.bundle_sequence = mica_core_bundle_sequence(t->core, MICA_CHANNEL_LIVE);
	assert_ok(mica_core_prepare_x509(t->core, &r, NOW_MS, &k, e));
	assert_ok(mica_core_commit(t->core, &k, 1, NOW_MS, e));
	mica_candidate_free(k);
	ct_reopen(t, now * 1000); /* it was only in memory */
	(void)maintain(t, now);
	assert_ok(
		mica_core_rotation_start(t->core, MICA_AUTHORITY_ROOT, &admin, now * 1000, id, e));
	(void)maintain(t, now += 40);
	assert_string_equal(active(t, MICA_AUTHORITY_ROOT, now).s, old.s);
	j = status(t, now);
	assert_string_equal(
		text(json_array_get(json_object_get(j, "rotations"), 0), "waits_for"), "acks");
	assert_string_equal(text(json_array_get(json_object_get(j, "missing"), 0), "spiffe_id"),
		who.principal.spiffe_id);
	json_decref(j);
	/* it is not waited for for ever */
	(void)maintain(t, now += 30);
	assert_string_equal(active(t, MICA_AUTHORITY_ROOT, now).s, id);
}

static int64_t missing_count(struct ct *t, int64_t now)
{
	json_t *j = status(t, now);
	int64_t n = json_integer_value(json_object_get(j, "missing_count"));

	json_decref(j);
	return n;
}

/* After a kill the holders are read from the ledger again, but not while it starts: opening takes
 * the same time however many there are, and nobody can be said to have all meanwhile. */
static void holders_are_read_again_a_part_at_a_time(void **state)
{
	enum { HOLDERS = 2300 };
	struct ct *t = *state;
	struct mica_caller admin = ct_role(MICA_ROLE_ADMIN), who;
	struct mica_candidate *k[HOLDERS];
	int64_t now = NOW + 1;
	const uint64_t first[MICA_CHANNEL_COUNT] = {1, 1};
	bool acked = true;
	char id[41];

	ct_caller(t, NOW_MS, &who);
	for (int i = 0; i < HOLDERS; i++) {
		struct mica_x509_request r = ct_request(t, &who);

		who.principal.pod_uid.b[0] = (uint8_t)i;
		who.principal.pod_uid.b[1] = (uint8_t)(i >> 8);
		r.ttl = 120;
		r.outlet = MICA_OUTLET_ACK;
		assert_ok(mica_core_prepare_x509(t->core, &r, NOW_MS, &k[i], e));
	}
	assert_ok(mica_core_commit(t->core, k, HOLDERS, NOW_MS, e));
	for (int i = 0; i < HOLDERS; i++)
		mica_candidate_free(k[i]);
	ct_reopen(t, now * 1000); /* they were only in memory */
	assert_ok(mica_core_acked(t->core, first, now, &acked, e));
	assert_false(acked);
	(void)maintain(t, now);
	assert_in_range(missing_count(t, now), 0, HOLDERS - 1);
	/* a disk that is full for a while loses nobody */
	mica_store_set_fault(t->core->store, MICA_FAULT_FULL, 0);
	assert_int_equal(mica_core_maintain(t->core, ++now * 1000, NULL, NULL), MICA_UNAVAILABLE);
	for (int i = 0; i < 8; i++)
		(void)maintain(t, ++now);
	assert_ok(
		mica_core_rotation_start(t->core, MICA_AUTHORITY_ROOT, &admin, now * 1000, id, e));
	(void)maintain(t, ++now);
	assert_int_equal(missing_count(t, now), HOLDERS);
}

/* The plan is what then happens. */
static void the_plan_comes_true(void **state)
{
	struct ct *t = *state;
	struct mica_buf b;
	json_t *j, *s;
	size_t i;

	(void)maintain(t, NOW);
	mica_buf_init(&b, 1 << 20);
	assert_ok(mica_core_rotation_plan(t->core, NOW_MS, NOW + 1200, &b, e));
	j = doc(&b);
	assert_true(json_array_size(json_object_get(j, "steps")) > 5);
	json_array_foreach (json_object_get(j, "steps"), i, s) {
		uint64_t before = atomic_load(&t->core->rotation_steps);
		int64_t at;

		assert_int_equal(mica_time_parse(mica_slice_str(text(s, "at")), &at), MICA_OK);
		if (strcmp(text(s, "action"), "remove") == 0)
			break; /* it depends on what is issued meanwhile */
		(void)maintain(t, at - 1);
		assert_int_equal(atomic_load(&t->core->rotation_steps), before);
		while (i + 1 < json_array_size(json_object_get(j, "steps")) &&
			strcmp(text(json_array_get(json_object_get(j, "steps"), i + 1), "at"),
				text(s, "at")) == 0)
			i++;
		(void)maintain(t, at);
		assert_true(atomic_load(&t->core->rotation_steps) > before);
	}
	assert_true(i > 2);
	json_decref(j);
}

static void an_accepted_clock_is_the_measure(void **state)
{
	struct ct *t = *state;
	struct mica_caller admin = ct_role(MICA_ROLE_ADMIN);
	struct mica_candidate *k;
	int64_t wrong = NOW + 5000, now = NOW + 10;

	/* it began with a wrong clock, and made what it thought was due */
	ct_reopen(t, wrong * 1000);
	assert_ok(mica_core_maintain(t->core, wrong * 1000, NULL, e));
	assert_ok(mica_core_tick(t->core, now * 1000, now * 1000, e));
	assert_ok(mica_core_maintain(t->core, now * 1000, NULL, e));
	assert_int_equal(t->core->rotation.word, MICA_CLOCK_BEHIND);
	assert_ok(mica_core_clock_accept(t->core, &admin, now * 1000, e));
	assert_int_equal(t->core->rotation.word, MICA_CLOCK_AGREES);
	(void)active(t, MICA_AUTHORITY_ISSUING, now);
	k = ct_issue(t, 60, now * 1000);
	verifies(t, k, now);
	mica_candidate_free(k);
	ct_reopen(t, now * 1000);
	(void)maintain(t, now + 1);
	assert_int_equal(t->core->rotation.word, MICA_CLOCK_AGREES);
	k = ct_issue(t, 60, now * 1000);
	verifies(t, k, now);
	mica_candidate_free(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(it_rotates_by_itself),
		TEST(it_goes_on_after_any_commit),
		TEST(a_step_is_whole_or_not_at_all),
		TEST(a_tainted_issuing_authority_takes_its_root_with_it),
		TEST(the_deadline_begins_with_the_taint),
		TEST(a_clock_that_jumps_rotates_nothing),
		TEST(after_a_long_stop_the_standby_or_a_new_one_serves),
		TEST(at_the_end_of_a_root_nothing_is_made_over_and_over),
		TEST(removal_waits_for_a_second_look),
		TEST(everything_by_hand),
		TEST(a_new_root_when_there_is_none),
		TEST(an_unknown_outlet_is_waited_for),
		TEST(who_is_missing_is_named),
		TEST(who_never_said_a_word_is_missing_too),
		TEST(holders_are_read_again_a_part_at_a_time),
		TEST(the_plan_comes_true),
		TEST(an_accepted_clock_is_the_measure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
