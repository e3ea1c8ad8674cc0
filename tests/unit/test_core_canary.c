/* SPDX-License-Identifier: Apache-2.0 */
/* The canary channel through the core: who gets what first, who is waited for, and how it ends. */
#include "../../ca/core_impl.h"

#include "coretest.h"

#define TEST(f)  cmocka_unit_test_setup_teardown(f, canary_setup, ct_teardown)
#define NAME(sa) "spiffe://" TD "/ns/payments/sa/" sa

static int canary_setup(void **state)
{
	struct ct *t = ct_new();
	struct mica_config *c = &t->config;

	c->x509.ttl = 60;
	c->x509.max_ttl = 120;
	c->x509.min_ttl = 1;
	c->jwt.ttl = c->jwt.max_ttl = 60;
	c->bundle.refresh_hint = 5;
	c->authorities.root_life = 7200;
	c->authorities.issuing_life = c->authorities.jwt_life = 900;
	c->rotation.root.automatic = c->rotation.issuing.automatic = true;
	c->rotation.jwt.automatic = c->rotation.standby = true;
	c->rotation.root.rotate_at = c->rotation.issuing.rotate_at = 50;
	c->rotation.jwt.rotate_at = 50;
	c->rotation.propagation = 15;
	c->rotation.hold = 130;
	c->rotation.ack_timeout = 600;
	c->rotation.skew = 5;
	c->rotation.trash = 60;
	c->rotation.deadline = 90;
	c->rotation.canary.spiffe_ids = tk_list(NAME("other"), NULL);
	c->rotation.canary.time = 40;
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

static bool has(struct ct *t, enum mica_channel ch, const char *id)
{
	CORE_AUTO_VIEW v = mica_core_view_get(t->core);
	const char *pem = ct_snapshot(t, ch, MICA_FMT_BUNDLE_PEM);
	const char *jwks = ct_snapshot(t, ch, MICA_FMT_JWKS);

	for (unsigned i = 0; i < v->auths->n; i++) {
		char *text;
		bool in;

		if (strcmp(v->auths->v[i].id, id) != 0)
			continue;
		if (v->auths->v[i].kind == MICA_AUTHORITY_JWT)
			return strstr(jwks, id) != NULL;
		text = mica_slice_dup(mica_buf_slice(&v->auths->more[i].pem));
		in = strstr(pem, text) != NULL;
		mica_free(text);
		return in;
	}
	return false;
}

static enum mica_authority_state state_of(struct ct *t, const char *id, int64_t now)
{
	CORE_AUTO_VIEW v = mica_core_view_get(t->core);

	for (unsigned i = 0; i < v->auths->n; i++)
		if (strcmp(v->auths->v[i].id, id) == 0)
			return mica_authority_state_at(&v->auths->v[i], now);
	return (enum mica_authority_state)0;
}

static json_t *status(struct ct *t, int64_t now)
{
	struct mica_buf b;
	json_t *j;

	mica_buf_init(&b, 1 << 20);
	assert_ok(mica_core_rotation_status(t->core, now * 1000, &b, e));
	j = ct_json(&b);
	mica_buf_clear(&b);
	return j;
}

static const char *text(const json_t *j, const char *name)
{
	return json_string_value(json_object_get(j, name));
}

static struct mica_caller admin(void)
{
	return ct_role(MICA_ROLE_ADMIN);
}

/* Past the first standby, which goes through the channel too. */
static int64_t settled(struct ct *t)
{
	int64_t now = NOW;

	for (; now < NOW + 120; now += 5)
		maintain(t, now);
	assert_int_equal(mica_core_bundle_sequence(t->core, MICA_CHANNEL_LIVE),
		mica_core_bundle_sequence(t->core, MICA_CHANNEL_CANARY));
	return now;
}

static void start(struct ct *t, int64_t now, char id[41])
{
	struct mica_caller who = admin();

	assert_ok(mica_core_rotation_start(t->core, MICA_AUTHORITY_ROOT, &who, now * 1000, id, e));
}

/* ---- its way -----------------------------------------------------------------------------------
 */

static void the_canary_channel_has_it_first(void **state)
{
	struct ct *t = *state;
	int64_t now = settled(t);
	uint64_t live = mica_core_bundle_sequence(t->core, MICA_CHANNEL_LIVE), canary;
	struct mica_caller who = admin();
	json_t *j, *step;
	char id[41];

	start(t, now, id);
	canary = mica_core_bundle_sequence(t->core, MICA_CHANNEL_CANARY);
	assert_true(has(t, MICA_CHANNEL_CANARY, id) && !has(t, MICA_CHANNEL_LIVE, id));
	assert_true(canary > live);
	assert_int_equal(mica_core_bundle_sequence(t->core, MICA_CHANNEL_LIVE), live);
	j = status(t, now);
	step = json_array_get(json_object_get(json_object_get(j, "canary"), "steps"), 0);
	assert_string_equal(text(step, "authority"), id);
	assert_string_equal(text(step, "step"), "publish");
	assert_string_equal(
		text(json_array_get(json_object_get(j, "rotations"), 0), "waits_for"), "canary");
	json_decref(j);
	/* nobody activates what not everybody has, whoever insists */
	assert_refused(MICA_CONFLICT, "in_canary",
		mica_core_activate(t->core, id, true, &who, now * 1000, e));
	maintain(t, now + 39);
	assert_false(has(t, MICA_CHANNEL_LIVE, id));
	/* its end: one counter, both channels have one bundle under a higher number */
	maintain(t, now + 40);
	assert_true(has(t, MICA_CHANNEL_LIVE, id));
	assert_true(mica_core_bundle_sequence(t->core, MICA_CHANNEL_LIVE) > canary);
	assert_int_equal(mica_core_bundle_sequence(t->core, MICA_CHANNEL_LIVE),
		mica_core_bundle_sequence(t->core, MICA_CHANNEL_CANARY));
	/* and only now it counts */
	assert_int_equal(state_of(t, id, now + 40), MICA_AS_PUBLISHED);
	maintain(t, now + 40 + 19);
	assert_int_equal(state_of(t, id, now + 59), MICA_AS_PUBLISHED);
	maintain(t, now + 40 + 20);
	assert_int_equal(state_of(t, id, now + 60), MICA_AS_ACTIVE);
}

static void it_is_withdrawn_before_anybody_else_has_it(void **state)
{
	struct ct *t = *state;
	struct mica_caller who = admin();
	int64_t now = settled(t);
	char id[41];

	assert_refused(MICA_CONFLICT, "nothing_in_canary",
		mica_core_withdraw(t->core, MICA_AUTHORITY_ROOT, &who, now * 1000, e));
	start(t, now, id);
	assert_refused(MICA_CONFLICT, "nothing_in_canary",
		mica_core_withdraw(t->core, MICA_AUTHORITY_JWT, &who, now * 1000, e));
	assert_ok(mica_core_withdraw(t->core, MICA_AUTHORITY_ROOT, &who, (now + 10) * 1000, e));
	assert_false(has(t, MICA_CHANNEL_CANARY, id));
	assert_int_equal(state_of(t, id, now + 10), MICA_AS_REMOVED);
	/* who had the canary's bundle sees numbers grow, too */
	assert_int_equal(mica_core_bundle_sequence(t->core, MICA_CHANNEL_LIVE),
		mica_core_bundle_sequence(t->core, MICA_CHANNEL_CANARY));
	for (int64_t at = now + 10; at < now + 200; at += 5)
		maintain(t, at);
	assert_false(has(t, MICA_CHANNEL_LIVE, id));
	start(t, now + 200, id); /* another one */
	assert_true(has(t, MICA_CHANNEL_CANARY, id));
}

static void what_leaves_leaves_the_canary_channel_first(void **state)
{
	struct ct *t = *state;
	struct mica_caller who = admin();
	int64_t now = settled(t), gone = 0, back = 0;
	char id[41] = "";
	CORE_AUTO_VIEW v = mica_core_view_get(t->core);

	for (unsigned i = 0; i < v->auths->n; i++)
		if (v->auths->v[i].kind == MICA_AUTHORITY_JWT)
			memcpy(id, v->auths->v[i].id, sizeof(id));
	for (; now < NOW + 900 && !gone; now += 5) {
		maintain(t, now);
		gone = has(t, MICA_CHANNEL_CANARY, id) ? 0 : now;
	}
	assert_true(gone != 0 && has(t, MICA_CHANNEL_LIVE, id));
	assert_int_equal(state_of(t, id, now), MICA_AS_RETIRED);
	/* it was too early: back it is, and stays a while */
	assert_ok(mica_core_withdraw(t->core, MICA_AUTHORITY_JWT, &who, now * 1000, e));
	back = now;
	assert_true(has(t, MICA_CHANNEL_CANARY, id));
	maintain(t, back + 39);
	assert_true(has(t, MICA_CHANNEL_CANARY, id));
	maintain(t, back + 41);
	assert_false(has(t, MICA_CHANNEL_CANARY, id));
	/* somebody says that it is right */
	assert_ok(mica_core_confirm(t->core, MICA_LIT("canary"), &who, (back + 42) * 1000, e));
	assert_false(has(t, MICA_CHANNEL_LIVE, id));
	assert_refused(MICA_CONFLICT, "nothing_to_confirm",
		mica_core_confirm(t->core, MICA_LIT("canary"), &who, (back + 43) * 1000, e));
}

static void by_hand_alone_it_waits_for_a_hand(void **state)
{
	struct ct *t = *state;
	struct mica_caller who = admin();
	int64_t now = settled(t);
	char id[41];

	t->config.rotation.canary.time = 0;
	assert_ok(mica_core_configure(t->core, &t->config, now * 1000, e));
	start(t, now, id);
	for (int64_t at = now; at < now + 300; at += 20)
		maintain(t, at);
	assert_false(has(t, MICA_CHANNEL_LIVE, id));
	assert_ok(mica_core_confirm(t->core, MICA_LIT("canary"), &who, (now + 301) * 1000, e));
	assert_true(has(t, MICA_CHANNEL_LIVE, id));
}

static void without_a_channel_it_ends_at_once(void **state)
{
	struct ct *t = *state;
	int64_t now = settled(t);
	char id[41];

	start(t, now, id);
	t->config.rotation.canary.spiffe_ids.n = 0;
	assert_ok(mica_core_configure(t->core, &t->config, now * 1000, e));
	maintain(t, now + 1);
	assert_true(has(t, MICA_CHANNEL_LIVE, id));
}

/* Nobody waits for canaries when keys are stolen. */
static void an_emergency_passes_it_by(void **state)
{
	struct ct *t = *state;
	struct mica_caller who = admin();
	int64_t now = NOW + 1;
	char root[41] = "";

	maintain(t, now); /* the standby is in the canary channel alone */
	{
		CORE_AUTO_VIEW v = mica_core_view_get(t->core);

		for (unsigned i = 0; i < v->auths->n; i++)
			if (v->auths->v[i].kind == MICA_AUTHORITY_ROOT &&
				mica_authority_state_at(&v->auths->v[i], now) == MICA_AS_ACTIVE)
				memcpy(root, v->auths->v[i].id, sizeof(root));
	}
	assert_ok(mica_core_taint(t->core, root, &who, now * 1000, e));
	maintain(t, now + 1);
	assert_ok(mica_core_ready(t->core, (now + 1) * 1000, e));
	mica_candidate_free(ct_issue(t, 60, (now + 1) * 1000));
}

/* ---- whose it is -------------------------------------------------------------------------------
 */

static struct mica_issued issue(struct ct *t, const struct mica_caller *who, uint64_t has_sequence,
	int64_t now, struct mica_candidate **k)
{
	struct mica_x509_request r = ct_request(t, who);
	struct mica_issued i;

	r.ttl = 100;
	r.outlet = MICA_OUTLET_ACK;
	r.bundle_sequence = has_sequence;
	assert_ok(mica_core_prepare_x509(t->core, &r, now * 1000, k, e));
	assert_ok(mica_core_commit(t->core, k, 1, now * 1000, e));
	mica_candidate_issued(*k, &i);
	return i;
}

static void answers_are_about_the_holders_channel(void **state)
{
	struct ct *t = *state;
	int64_t now = settled(t);
	struct mica_candidate *k[2];
	struct mica_caller live, other;
	struct mica_issued i;
	uint64_t before = mica_core_bundle_sequence(t->core, MICA_CHANNEL_LIVE);
	char id[41];

	start(t, now, id);
	ct_caller(t, now * 1000, &live);
	ct_other(t, now * 1000, &other);
	i = issue(t, &live, before, now, &k[0]);
	assert_int_equal(i.channel, MICA_CHANNEL_LIVE);
	assert_int_equal(i.bundle_sequence, before);
	assert_false(i.bundle_wanted);
	i = issue(t, &other, before, now, &k[1]);
	assert_int_equal(i.channel, MICA_CHANNEL_CANARY);
	assert_int_equal(
		i.bundle_sequence, mica_core_bundle_sequence(t->core, MICA_CHANNEL_CANARY));
	assert_true(i.bundle_wanted);
	mica_candidate_free(k[0]);
	mica_candidate_free(k[1]);
}

/* Both are waited for, each by the numbers of its own channel. */
static void holders_compare_within_a_channel(void **state)
{
	struct ct *t = *state;
	int64_t now = settled(t);
	struct mica_candidate *k[2];
	struct mica_caller live, other;
	uint64_t first;
	char id[41];
	json_t *j;

	start(t, now, id);
	first = mica_core_bundle_sequence(t->core, MICA_CHANNEL_CANARY);
	ct_caller(t, now * 1000, &live);
	ct_other(t, now * 1000, &other);
	(void)issue(t, &live, 1, now, &k[0]);
	(void)issue(t, &other, 1, now, &k[1]);
	maintain(t, now + 40);
	maintain(t, now + 61);
	j = status(t, now + 61);
	assert_int_equal(json_integer_value(json_object_get(j, "missing_count")), 2);
	json_decref(j);
	/* the canary's holder has had it since the first bundle of its channel that had it */
	assert_ok(mica_core_ack(t->core, &other, MICA_CHANNEL_CANARY, first, (now + 61) * 1000, e));
	maintain(t, now + 62);
	j = status(t, now + 62);
	assert_int_equal(json_integer_value(json_object_get(j, "missing_count")), 1);
	assert_string_equal(
		text(json_array_get(json_object_get(j, "missing"), 0), "channel"), "live");
	json_decref(j);
	assert_int_equal(state_of(t, id, now + 62), MICA_AS_PUBLISHED);
	/* that number is none of the live channel's */
	assert_ok(mica_core_ack(t->core, &live, MICA_CHANNEL_LIVE, first, (now + 62) * 1000, e));
	maintain(t, now + 63);
	assert_int_equal(state_of(t, id, now + 63), MICA_AS_PUBLISHED);
	assert_ok(mica_core_ack(t->core, &live, MICA_CHANNEL_LIVE,
		mica_core_bundle_sequence(t->core, MICA_CHANNEL_LIVE), (now + 63) * 1000, e));
	maintain(t, now + 64);
	maintain(t, now + 65);
	assert_int_equal(state_of(t, id, now + 65), MICA_AS_ACTIVE);
	mica_candidate_free(k[0]);
	mica_candidate_free(k[1]);
}

/* The answers before a step are about it. */
static void renewals_are_called_for(void **state)
{
	struct ct *t = *state;
	int64_t now = settled(t);
	struct mica_candidate *k[3];
	struct mica_caller live;
	struct mica_issued i;
	char id[41];

	ct_caller(t, now * 1000, &live);
	i = issue(t, &live, mica_core_bundle_sequence(t->core, MICA_CHANNEL_LIVE), now, &k[0]);
	assert_in_range(i.renew_after, now + 50, now + 60);
	start(t, now, id);
	/* it comes in 40 s: renew behind that */
	i = issue(t, &live, mica_core_bundle_sequence(t->core, MICA_CHANNEL_LIVE), now, &k[1]);
	assert_in_range(i.renew_after, now + 40, now + 60);
	maintain(t, now + 40);
	/* it is there, and is waited for: speak again soon */
	i = issue(t, &live, 1, now + 41, &k[2]);
	assert_in_range(i.renew_after, now + 41, now + 41 + 60);
	for (int n = 0; n < 3; n++)
		mica_candidate_free(k[n]);
}

static void in_a_compromise_the_bundle_says_who_must_renew(void **state)
{
	struct ct *t = *state;
	struct mica_caller who = admin();
	int64_t now = settled(t);
	char issuing[41] = "";
	json_t *j, *renew;

	j = json_loads(ct_snapshot(t, MICA_CHANNEL_LIVE, MICA_FMT_BUNDLE_JSON),
		JSON_REJECT_DUPLICATES, NULL);
	assert_null(json_object_get(j, "mica_renew"));
	assert_int_equal(json_integer_value(json_object_get(j, "spiffe_refresh_hint")), 5);
	json_decref(j);
	{
		CORE_AUTO_VIEW v = mica_core_view_get(t->core);

		memcpy(issuing, v->auths->v[v->auths->active[MICA_AUTHORITY_ISSUING]].id, 41);
	}
	mica_candidate_free(ct_issue(t, 120, now * 1000)); /* somebody needs it still */
	assert_ok(mica_core_taint(t->core, issuing, &who, now * 1000, e));
	j = json_loads(ct_snapshot(t, MICA_CHANNEL_LIVE, MICA_FMT_BUNDLE_JSON),
		JSON_REJECT_DUPLICATES, NULL);
	renew = json_object_get(j, "mica_renew");
	assert_string_equal(
		json_string_value(json_array_get(json_object_get(renew, "authorities"), 0)),
		issuing);
	assert_true(text(renew, "before") != NULL);
	assert_int_equal(json_integer_value(json_object_get(j, "spiffe_refresh_hint")), 1);
	json_decref(j);
	for (int64_t at = now; at < now + 150; at += 5)
		maintain(t, at);
	j = json_loads(ct_snapshot(t, MICA_CHANNEL_LIVE, MICA_FMT_BUNDLE_JSON),
		JSON_REJECT_DUPLICATES, NULL);
	assert_null(json_object_get(j, "mica_renew"));
	json_decref(j);
}

/* ---- the clock of a start
 * ------------------------------------------------------------------------ */

static unsigned removed(struct ct *t, int64_t now)
{
	CORE_AUTO_VIEW v = mica_core_view_get(t->core);
	unsigned n = 0;

	for (unsigned i = 0; i < v->auths->n; i++)
		n += mica_authority_state_at(&v->auths->v[i], now) == MICA_AS_REMOVED;
	return n;
}

/* A day ahead, and nobody's clock agrees: whatever has expired by it stays where it is. */
static void a_start_far_ahead_takes_nothing_away(void **state)
{
	struct ct *t = *state;
	struct mica_caller who = admin();
	int64_t now = settled(t), wrong = now + DAY;
	struct mica_core_stats s;
	unsigned before = removed(t, now);
	json_t *j;

	ct_reopen(t, wrong * 1000);
	for (int64_t at = wrong; at < wrong + 600; at += 20)
		maintain(t, at);
	mica_core_stats(t->core, &s);
	assert_true(s.clock_unproven);
	assert_int_equal(removed(t, wrong + 600), before);
	j = status(t, wrong + 600);
	assert_false(json_boolean_value(json_object_get(json_object_get(j, "clock"), "proven")));
	json_decref(j);
	/* not even another start makes it any truer */
	ct_reopen(t, (wrong + 700) * 1000);
	for (int64_t at = wrong + 700; at < wrong + 900; at += 20)
		maintain(t, at);
	assert_int_equal(removed(t, wrong + 900), before);
	/* somebody says that it is right */
	assert_ok(mica_core_clock_accept(t->core, &who, (wrong + 901) * 1000, e));
	for (int64_t at = wrong + 902; at < wrong + 1000; at += 10)
		maintain(t, at);
	assert_true(removed(t, wrong + 1000) > before);
}

static void a_token_proves_it(void **state)
{
	struct ct *t = *state;
	int64_t now = settled(t), later = now + DAY;
	struct mica_core_stats s;
	struct mica_caller who;
	unsigned before = removed(t, now);

	ct_reopen(t, later * 1000);
	ct_set_jwks(t, later * 1000);
	maintain(t, later);
	mica_core_stats(t->core, &s);
	assert_true(s.clock_unproven);
	ct_caller(t, (later + 1) * 1000, &who); /* made a minute ago */
	maintain(t, later + 2);
	mica_core_stats(t->core, &s);
	assert_false(s.clock_unproven);
	for (int64_t at = later + 3; at < later + 100; at += 10)
		maintain(t, at);
	assert_true(removed(t, later + 100) > before);
	/* a start soon after that needs no proof */
	ct_reopen(t, (later + 200) * 1000);
	maintain(t, later + 201);
	mica_core_stats(t->core, &s);
	assert_false(s.clock_unproven);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_canary_channel_has_it_first),
		TEST(it_is_withdrawn_before_anybody_else_has_it),
		TEST(what_leaves_leaves_the_canary_channel_first),
		TEST(by_hand_alone_it_waits_for_a_hand),
		TEST(without_a_channel_it_ends_at_once),
		TEST(an_emergency_passes_it_by),
		TEST(answers_are_about_the_holders_channel),
		TEST(holders_compare_within_a_channel),
		TEST(renewals_are_called_for),
		TEST(in_a_compromise_the_bundle_says_who_must_renew),
		TEST(a_start_far_ahead_takes_nothing_away),
		TEST(a_token_proves_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
