/* SPDX-License-Identifier: Apache-2.0 */
/* When clients are told to renew: by the life of what they have, sooner when a step is helped. */
#include "mica/rotation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#define NOW  INT64_C(1800000000)
#define HOUR 3600
#define DAY  86400

static const struct mica_renewal_calls quiet = {
	{MICA_TIME_NEVER, MICA_TIME_NEVER}, 4 * HOUR, MICA_TIME_NEVER, MICA_TIME_NEVER};

struct range {
	int64_t low, high;
};

/* Over all that chance can be, for a certificate of a day. */
static struct range draw(const struct mica_renewal_calls *c, struct mica_renewal r)
{
	struct range x = {MICA_TIME_NEVER, 0};

	r.now = NOW;
	r.end = NOW + DAY;
	for (unsigned i = 0; i < 65536; i += 17) {
		int64_t at;

		r.random[0] = (uint8_t)(i >> 8);
		r.random[1] = (uint8_t)i;
		at = mica_renewal_after(c, &r);
		x.low = at < x.low ? at : x.low;
		x.high = at > x.high ? at : x.high;
	}
	/* never before it is valid, never behind 60 % of its life */
	assert_true(x.low >= NOW && x.high <= NOW + DAY * 6 / 10);
	return x;
}

#define is_in(x, low_, high_)                                                                      \
	do {                                                                                       \
		assert_in_range((x).low, low_, high_);                                             \
		assert_in_range((x).high, low_, high_);                                            \
		/* spread over nearly all of it, so that no herd comes at once */                  \
		assert_true((x).high - (x).low > ((high_) - (low_)) * 9 / 10);                     \
	} while (0)

static void half_of_a_life_when_nothing_is_on(void **state)
{
	struct range x = draw(&quiet, (struct mica_renewal){.ack = true});

	(void)state;
	is_in(x, NOW + DAY / 2, NOW + DAY * 6 / 10);
}

static void a_root_to_come_calls_for_those_who_must_have_it(void **state)
{
	struct mica_renewal_calls c = quiet;
	struct range x;

	(void)state;
	c.publish[0] = NOW + 2 * HOUR;
	x = draw(&c, (struct mica_renewal){.ack = true, .newest = true});
	is_in(x, NOW + 2 * HOUR, NOW + 6 * HOUR);
	/* who says nothing is not helped, nor is the other channel */
	x = draw(&c, (struct mica_renewal){.ack = false});
	is_in(x, NOW + DAY / 2, NOW + DAY * 6 / 10);
	x = draw(&c, (struct mica_renewal){.ack = true, .canary = true});
	is_in(x, NOW + DAY / 2, NOW + DAY * 6 / 10);
	/* nor whoever comes before it in any case */
	c.publish[0] = NOW + DAY;
	x = draw(&c, (struct mica_renewal){.ack = true});
	is_in(x, NOW + DAY / 2, NOW + DAY * 6 / 10);
	/* a narrow step is not taken narrowly */
	c.publish[0] = NOW + 2 * HOUR;
	c.spread = 1;
	x = draw(&c, (struct mica_renewal){.ack = true});
	is_in(x, NOW + 2 * HOUR, NOW + 2 * HOUR + DAY / 20);
}

static void a_root_that_is_waited_for_calls_for_those_who_have_not_said_a_word(void **state)
{
	struct mica_renewal_calls c = quiet;
	struct range x;

	(void)state;
	c.publish[0] = NOW - HOUR;
	x = draw(&c, (struct mica_renewal){.ack = true});
	is_in(x, NOW, NOW + 3 * HOUR);
	x = draw(&c, (struct mica_renewal){.ack = true, .newest = true});
	is_in(x, NOW + DAY / 2, NOW + DAY * 6 / 10);
	/* when it has waited longer than that, they still come one by one */
	c.publish[0] = NOW - DAY;
	x = draw(&c, (struct mica_renewal){.ack = true});
	is_in(x, NOW, NOW + DAY / 20);
}

static void a_compromise_calls_for_everybody(void **state)
{
	struct mica_renewal_calls c = quiet;
	struct range x;

	(void)state;
	c.replace_from = NOW + HOUR;
	c.replace_to = NOW + 3 * HOUR;
	x = draw(&c, (struct mica_renewal){.ack = false});
	is_in(x, NOW + HOUR, NOW + 3 * HOUR);
}

/* ---- what is foreseen --------------------------------------------------------------------------
 */

static struct mica_rotation_policy policy(void)
{
	struct mica_rotation_policy p = {.max_leaf_ttl = DAY,
		.refresh_hint = 300,
		.propagation = 900,
		.hold = DAY + 60,
		.ack_timeout = 7 * DAY,
		.skew = 60,
		.deadline = 2 * HOUR};

	p.kind[MICA_AUTHORITY_ROOT] = (struct mica_rotation_kind){true, 365 * DAY, 50};
	return p;
}

static void make(struct mica_authority *a, enum mica_authority_kind kind, const char *id)
{
	mica_authority_init(a);
	snprintf(a->set, sizeof(a->set), "default");
	snprintf(a->id, sizeof(a->id), "%s", id);
	a->kind = kind;
	a->not_before = NOW - 100 * DAY;
	a->not_after = NOW + 265 * DAY;
	mica_buf_put_str(&a->envelope, "k");
}

static void at(struct mica_authority *a, enum mica_authority_event ev, int64_t when)
{
	assert_int_equal(mica_authority_add_time(a, ev, when, NULL), MICA_OK);
}

static void begin(struct mica_authority v[3])
{
	make(&v[0], MICA_AUTHORITY_ROOT, "a");
	at(&v[0], MICA_AE_CREATED, NOW - 100 * DAY);
	at(&v[0], MICA_AE_PUBLISHED, NOW - 100 * DAY);
	at(&v[0], MICA_AE_READY, NOW - 100 * DAY);
	at(&v[0], MICA_AE_ACTIVE, NOW - 100 * DAY);
	make(&v[1], MICA_AUTHORITY_ISSUING, "i");
	snprintf(v[1].parent, sizeof(v[1].parent), "a");
	at(&v[1], MICA_AE_CREATED, NOW - 100 * DAY);
	at(&v[1], MICA_AE_PUBLISHED, NOW - 100 * DAY);
	at(&v[1], MICA_AE_ACTIVE, NOW - 100 * DAY);
	make(&v[2], MICA_AUTHORITY_ROOT, "b");
	at(&v[2], MICA_AE_CREATED, NOW - HOUR);
}

static void end(struct mica_authority v[3])
{
	for (int i = 0; i < 3; i++)
		mica_authority_clear(&v[i]);
}

static void the_next_root_is_foreseen(void **state)
{
	struct mica_rotation_policy p = policy();
	struct mica_authority v[3];
	struct mica_renewal_calls c;
	int64_t due;

	(void)state;
	begin(v);
	due = mica_rotation_due(&p, &v[0]);
	mica_renewal_calls_of(&p, v, 2, NOW, &c);
	assert_int_equal(c.publish[0], due);
	assert_int_equal(c.publish[1], due);
	assert_int_equal(c.spread, DAY / 2);
	assert_int_equal(c.replace_from, MICA_TIME_NEVER);
	p.canary = true;
	p.canary_time = HOUR;
	mica_renewal_calls_of(&p, v, 2, NOW, &c);
	assert_int_equal(c.publish[1], mica_rotation_due(&p, &v[0]));
	assert_int_equal(c.publish[0], mica_rotation_due(&p, &v[0]) + HOUR);
	p.canary_time = 0; /* nobody knows when somebody will say so */
	mica_renewal_calls_of(&p, v, 2, NOW, &c);
	assert_int_equal(c.publish[0], MICA_TIME_NEVER);
	p.kind[MICA_AUTHORITY_ROOT].automatic = false;
	mica_renewal_calls_of(&p, v, 2, NOW, &c);
	assert_int_equal(c.publish[1], MICA_TIME_NEVER);
	end(v);
}

static void a_root_on_its_way_is_followed(void **state)
{
	struct mica_rotation_policy p = policy();
	struct mica_authority v[3];
	struct mica_renewal_calls c;

	(void)state;
	begin(v);
	p.canary = true;
	p.canary_time = 2 * HOUR;
	at(&v[2], MICA_AE_CANARY_IN, NOW - HOUR);
	mica_renewal_calls_of(&p, v, 3, NOW, &c);
	assert_int_equal(c.publish[1], NOW - HOUR);
	assert_int_equal(c.publish[0], NOW + HOUR);
	at(&v[2], MICA_AE_PUBLISHED, NOW);
	mica_renewal_calls_of(&p, v, 3, NOW, &c);
	assert_int_equal(c.publish[1], NOW - HOUR);
	assert_int_equal(c.publish[0], NOW);
	at(&v[2], MICA_AE_READY, NOW);
	mica_renewal_calls_of(&p, v, 3, NOW, &c);
	assert_int_equal(c.publish[0], MICA_TIME_NEVER);
	end(v);
}

/* Without a standby what is signed below a root that must go is replaced when the next one serves.
 */
static void a_compromise_is_foreseen_too(void **state)
{
	struct mica_rotation_policy p = policy();
	struct mica_authority v[3];
	struct mica_renewal_calls c;

	(void)state;
	begin(v);
	assert_int_equal(mica_renewal_before(&p, v, 3, 1, NOW), MICA_TIME_NEVER);
	/* a tainted root holds out while what is below it signs, until the next one is known */
	at(&v[0], MICA_AE_TAINTED, NOW - 60);
	at(&v[2], MICA_AE_PUBLISHED, NOW - 50);
	mica_renewal_calls_of(&p, v, 3, NOW, &c);
	assert_int_equal(c.replace_from, NOW - 50 + p.propagation + p.skew);
	assert_int_equal(c.replace_to, NOW - 60 + p.deadline);
	assert_int_equal(mica_renewal_before(&p, v, 3, 1, NOW), NOW - 60 + p.deadline);
	/* once its root has left there is nothing to be said any more */
	at(&v[0], MICA_AE_REMOVED, NOW);
	assert_int_equal(mica_renewal_before(&p, v, 3, 1, NOW), MICA_TIME_NEVER);
	end(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(half_of_a_life_when_nothing_is_on),
		cmocka_unit_test(a_root_to_come_calls_for_those_who_must_have_it),
		cmocka_unit_test(
			a_root_that_is_waited_for_calls_for_those_who_have_not_said_a_word),
		cmocka_unit_test(a_compromise_calls_for_everybody),
		cmocka_unit_test(the_next_root_is_foreseen),
		cmocka_unit_test(a_root_on_its_way_is_followed),
		cmocka_unit_test(a_compromise_is_foreseen_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
