/* SPDX-License-Identifier: Apache-2.0 */
/* Single decisions of rotation that random worlds (tests/scenario/rotation.c) meet seldom. */
#include "mica/rotation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#define NOW  INT64_C(1800000000)
#define HOUR 3600
#define DAY  86400
#define LIST 4

static const struct mica_rotation_policy policy = {
	.kind = {[MICA_AUTHORITY_ROOT] = {true, 365 * DAY, 50},
		[MICA_AUTHORITY_ISSUING] = {true, 7 * DAY, 50},
		[MICA_AUTHORITY_JWT] = {true, 7 * DAY, 50}},
	.root_home = MICA_ROOT_OWN,
	.max_leaf_ttl = HOUR,
	.max_jwt_ttl = HOUR,
	.refresh_hint = 300,
	.propagation = 6 * HOUR,
	.hold = 2 * HOUR,
	.ack_timeout = DAY,
	.skew = 60,
	.trash = DAY,
	.deadline = 8 * HOUR,
	.canary = true,
	.canary_time = HOUR};

struct list {
	struct mica_authority v[LIST];
	struct mica_rotation_fact fact[LIST];
	struct mica_rotation_facts f;
	size_t n;
};

/* With a key and a certificate. */
static struct mica_authority *put(struct list *l, const char *id, enum mica_authority_kind kind)
{
	struct mica_authority *a = &l->v[l->n++];

	assert_true(l->n <= LIST);
	mica_authority_init(a);
	snprintf(a->set, sizeof(a->set), "%s", MICA_SET_DEFAULT);
	snprintf(a->id, sizeof(a->id), "%s", id);
	a->kind = kind;
	a->not_before = NOW - 10 * DAY;
	a->not_after = a->not_before + policy.kind[kind].life;
	mica_buf_put_str(&a->envelope, "k");
	mica_buf_put_str(&a->cert, "c");
	l->f.of = l->fact;
	return a;
}

static void at(struct mica_authority *a, enum mica_authority_event ev, int64_t when)
{
	assert_int_equal(mica_authority_add_time(a, ev, when, NULL), MICA_OK);
}

/* Created and published, ready and active, since then. */
static void serves(struct mica_authority *a, int64_t since)
{
	at(a, MICA_AE_CREATED, since);
	at(a, MICA_AE_PUBLISHED, since);
	at(a, MICA_AE_READY, since);
	at(a, MICA_AE_ACTIVE, since);
}

static void clear(struct list *l)
{
	for (size_t i = 0; i < l->n; i++)
		mica_authority_clear(&l->v[i]);
}

/* A clock that nobody has proved says that a stolen issuing authority has ended. Its record says
 * that the root has to go: when it went, and the clock was set right, nobody would know. */
static void a_taint_outlives_a_clock_that_nobody_proved(void **state)
{
	struct list l = {.f.unproven = true};
	struct mica_authority *root = put(&l, "1", MICA_AUTHORITY_ROOT), *stolen;
	struct mica_rotation_step s;

	(void)state;
	serves(root, NOW - 10 * DAY);
	serves(put(&l, "2", MICA_AUTHORITY_ISSUING), NOW - DAY);
	stolen = put(&l, "3", MICA_AUTHORITY_ISSUING);
	serves(stolen, NOW - 9 * DAY);
	at(stolen, MICA_AE_RETIRED, NOW - DAY);
	at(stolen, MICA_AE_TAINTED, NOW);
	stolen->not_after = NOW - HOUR;
	l.v[1].not_after = NOW + 6 * DAY;
	for (size_t i = 1; i < l.n; i++)
		snprintf(l.v[i].parent, sizeof(l.v[i].parent), "%s", root->id);

	s = mica_rotation_next_of(MICA_AUTHORITY_ISSUING, &policy, &l.f, l.v, l.n, NOW);
	assert_int_equal(s.action, MICA_ROT_NONE);
	assert_int_equal(s.why, MICA_RW_UNPROVEN);
	/* by one that was proved it has ended, and harms nobody */
	l.f.unproven = false;
	s = mica_rotation_next_of(MICA_AUTHORITY_ISSUING, &policy, &l.f, l.v, l.n, NOW);
	assert_int_equal(s.action, MICA_ROT_REMOVE);
	assert_int_equal(s.at, 2);
	clear(&l);
}

/* All are stolen but two: one that everybody has had the time to fetch, and one that the canary
 * channel has lost. */
static void in_an_emergency_serves_what_everybody_may_have(void **state)
{
	for (int swap = 0; swap < 2; swap++) {
		struct list l = {.n = 0};
		struct mica_authority *lost, *spread;
		struct mica_rotation_step s;

		(void)state;
		put(&l, swap ? "spread" : "lost", MICA_AUTHORITY_ROOT);
		put(&l, swap ? "lost" : "spread", MICA_AUTHORITY_ROOT);
		lost = &l.v[swap];
		spread = &l.v[!swap];
		serves(lost, NOW - 5 * DAY);
		at(lost, MICA_AE_RETIRED, NOW - 3 * DAY);
		at(lost, MICA_AE_CANARY_OUT, NOW - 2 * DAY);
		at(spread, MICA_AE_CREATED, NOW - DAY);
		at(spread, MICA_AE_PUBLISHED, NOW - DAY);
		s = mica_rotation_next(&policy, &l.f, l.v, l.n, NOW);
		assert_int_equal(s.action, MICA_ROT_ACTIVATE);
		assert_string_equal(l.v[s.at].id, "spread");
		/* what came back to it may not have been fetched, when micad was down */
		at(lost, MICA_AE_CANARY_IN, NOW - DAY);
		spread->times[1].at = NOW - HOUR;
		s = mica_rotation_next(&policy, &l.f, l.v, l.n, NOW);
		assert_string_equal(l.v[s.at].id, "lost");
		l.f.look_again = NOW + HOUR;
		assert_true(mica_rotation_unsure(&policy, &l.f, l.v, swap, -1, NOW));
		l.f.look_again = 0;
		lost->times[lost->n_times - 1].at = NOW - 1;
		/* what nobody can have is worse than what the canary channel has lost */
		spread->times[1].at = NOW - HOUR;
		s = mica_rotation_next(&policy, &l.f, l.v, l.n, NOW);
		assert_int_equal(s.action, MICA_ROT_ACTIVATE);
		assert_string_equal(l.v[s.at].id, "lost");
		clear(&l);
	}
}

/* Certificates that were issued by a clock that was ahead last longer than the longest one. */
static void a_root_that_comes_back_waits_for_what_the_canary_channel_carries(void **state)
{
	struct list l = {.n = 0};
	struct mica_authority *a = put(&l, "1", MICA_AUTHORITY_ROOT);
	int64_t back = NOW - policy.propagation - policy.max_leaf_ttl - 2 * policy.skew;
	struct mica_rotation_fact *f = &l.fact[0];

	(void)state;
	serves(a, NOW - 5 * DAY);
	at(a, MICA_AE_RETIRED, NOW - 3 * DAY);
	at(a, MICA_AE_CANARY_OUT, NOW - 2 * DAY);
	assert_true(mica_rotation_unsure(&policy, &l.f, l.v, 0, -1, NOW));
	at(a, MICA_AE_CANARY_IN, back);
	assert_false(mica_rotation_unsure(&policy, &l.f, l.v, 0, -1, NOW));
	assert_true(mica_rotation_unsure(&policy, &l.f, l.v, 0, -1, back + HOUR));
	/* nobody could fetch it while micad was down */
	l.f.look_again = NOW + 1;
	assert_true(mica_rotation_unsure(&policy, &l.f, l.v, 0, -1, NOW));
	l.f.look_again = NOW;
	f->carried = NOW + 3 * DAY;
	assert_true(mica_rotation_unsure(&policy, &l.f, l.v, 0, -1, NOW));
	assert_false(mica_rotation_unsure(&policy, &l.f, l.v, 0, -1, f->carried + policy.skew));
	clear(&l);
}

/* A key that was taken into use before it was known is no way back until it is. */
static void nobody_goes_back_to_what_is_not_known(void **state)
{
	struct list l = {.n = 0};
	struct mica_authority *jwt = put(&l, "1", MICA_AUTHORITY_JWT);
	struct mica_authority *root = put(&l, "2", MICA_AUTHORITY_ROOT), *newer;
	struct mica_rotation_fact *f = &l.fact[1];

	(void)state;
	for (size_t i = 0; i < l.n; i++) {
		at(&l.v[i], MICA_AE_PUBLISHED, NOW);
		at(&l.v[i], MICA_AE_ACTIVE, NOW);
		at(&l.v[i], MICA_AE_RETIRED, NOW + 1);
	}
	assert_true(mica_rotation_unsure(&policy, &l.f, l.v, 0, -1, NOW + HOUR));
	assert_false(mica_rotation_unsure(
		&policy, &l.f, l.v, 0, -1, NOW + mica_rotation_propagation(&policy, jwt->kind)));
	/* a root: whoever can say that it has it has said so, or its time is over; all outlets */
	f->acked = f->confirmed = true;
	assert_true(mica_rotation_unsure(&policy, &l.f, l.v, 1, -1, NOW + HOUR));
	assert_false(mica_rotation_unsure(&policy, &l.f, l.v, 1, -1, NOW + 7 * HOUR));
	f->acked = false;
	assert_true(mica_rotation_unsure(&policy, &l.f, l.v, 1, -1, NOW + 7 * HOUR));
	assert_false(mica_rotation_unsure(&policy, &l.f, l.v, 1, -1, NOW + DAY));
	f->confirmed = false;
	assert_true(mica_rotation_unsure(&policy, &l.f, l.v, 1, -1, NOW + 2 * DAY));
	/* what is used now came later: whoever has it has the older one */
	newer = put(&l, "3", MICA_AUTHORITY_ROOT);
	at(newer, MICA_AE_PUBLISHED, NOW + 1);
	at(newer, MICA_AE_ACTIVE, NOW + 1);
	assert_false(mica_rotation_unsure(&policy, &l.f, l.v, 1, 2, NOW + HOUR));
	assert_true(mica_rotation_unsure(&policy, &l.f, l.v, 1, 0, NOW + HOUR));
	/* what was ready is known */
	at(root, MICA_AE_READY, NOW);
	assert_false(mica_rotation_unsure(&policy, &l.f, l.v, 1, -1, NOW + HOUR));
	clear(&l);
}

/* A clock that disagrees with itself cannot say how long ago anything was, but in which order. */
static void a_clock_that_disagrees_leaves_the_order(void **state)
{
	struct list l = {.n = 0};
	struct mica_authority *stolen = put(&l, "stolen", MICA_AUTHORITY_ROOT);
	struct mica_authority *back = put(&l, "back", MICA_AUTHORITY_ROOT);
	struct mica_authority *first = put(&l, "first", MICA_AUTHORITY_ROOT);
	struct mica_rotation_step s;

	(void)state;
	serves(stolen, NOW - 4 * DAY);
	at(stolen, MICA_AE_TAINTED, NOW - HOUR);
	serves(back, NOW - 9 * DAY);
	at(back, MICA_AE_RETIRED, NOW - 4 * DAY);
	at(back, MICA_AE_CANARY_OUT, NOW - 4 * DAY);
	at(back, MICA_AE_CANARY_IN, NOW - 2 * DAY);
	at(first, MICA_AE_CREATED, NOW - 3 * DAY);
	at(first, MICA_AE_PUBLISHED, NOW - 3 * DAY);
	s = mica_rotation_next(&policy, &l.f, l.v, l.n, NOW);
	assert_int_equal(s.action, MICA_ROT_ACTIVATE);
	assert_string_equal(l.v[s.at].id, "back");
	l.f.frozen = true;
	s = mica_rotation_next(&policy, &l.f, l.v, l.n, NOW);
	assert_int_equal(s.action, MICA_ROT_ACTIVATE);
	assert_string_equal(l.v[s.at].id, "first");
	first->times[1].at = NOW - DAY;
	s = mica_rotation_next(&policy, &l.f, l.v, l.n, NOW);
	assert_string_equal(l.v[s.at].id, "back");
	/* what the canary channel has lost is known to nobody in it */
	at(back, MICA_AE_CANARY_OUT, NOW - DAY);
	s = mica_rotation_next(&policy, &l.f, l.v, l.n, NOW);
	assert_string_equal(l.v[s.at].id, "first");
	clear(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_taint_outlives_a_clock_that_nobody_proved),
		cmocka_unit_test(in_an_emergency_serves_what_everybody_may_have),
		cmocka_unit_test(a_clock_that_disagrees_leaves_the_order),
		cmocka_unit_test(a_root_that_comes_back_waits_for_what_the_canary_channel_carries),
		cmocka_unit_test(nobody_goes_back_to_what_is_not_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
