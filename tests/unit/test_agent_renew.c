/* SPDX-License-Identifier: Apache-2.0 */
/* When an agent renews: years of it, in virtual time. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "agent/renew.h"

#define T0     INT64_C(1795521600000)
#define SECOND INT64_C(1000)
#define HOUR   (3600 * SECOND)

static struct renew_times life(int64_t now, int64_t ttl)
{
	return (struct renew_times){.not_before = now - 60 * SECOND,
		.renew_after = now + ttl / 2,
		.not_after = now + ttl};
}

/* Lets the time pass till it asks; the time it asked at. */
static int64_t run_until_ask(struct renew *r, int64_t now, int64_t step)
{
	while (renew_next(r, now) == RENEW_WAIT)
		now += step;
	return now;
}

static void the_first_is_asked_for_at_once(void **state)
{
	(void)state;
	struct renew r;
	renew_init(&r, 1);
	assert_int_equal(renew_next(&r, T0), RENEW_ASK);
	assert_false(renew_valid(&r, T0));
}

/* For 10 years: never before renew_after, never later than 1/32 of what is left. */
static void the_ca_says_when(void **state)
{
	(void)state;
	struct renew r;
	int64_t now = T0, renewals = 0;
	renew_init(&r, 7);
	while (now < T0 + 10 * 366 * 24 * HOUR) {
		const struct renew_times t = life(now, HOUR);
		renew_issued(&r, now, &t);
		const int64_t at = run_until_ask(&r, now, SECOND);
		assert_true(at >= t.renew_after);
		assert_true(at <= t.renew_after + (t.not_after - t.renew_after) / 32 + SECOND);
		assert_true(renew_valid(&r, at));
		now = at;
		renewals++;
	}
	assert_true(renewals > 100000);
}

static void a_herd_is_spread(void **state)
{
	(void)state;
	enum { N = 1000, SLOTS = 50 };
	unsigned slot[SLOTS] = {0}, used = 0;
	for (uint64_t i = 0; i < N; i++) {
		struct renew r;
		const struct renew_times t = life(T0, HOUR);
		renew_init(&r, i * 0x9e3779b97f4a7c15u);
		renew_issued(&r, T0, &t);
		const int64_t late = r.at - t.renew_after,
			      window = (t.not_after - t.renew_after) / 32;
		slot[late * SLOTS / (window + 1)]++;
	}
	for (unsigned i = 0; i < SLOTS; i++) {
		used += slot[i] > 0;
		assert_true(slot[i] < 3 * N / SLOTS);
	}
	assert_int_equal(used, SLOTS);
}

/* Waits double from a second to a minute, each a random part of it. */
static void failures_back_off(void **state)
{
	(void)state;
	static const int64_t most[] = {1, 2, 4, 8, 16, 32, 60, 60, 60};
	for (uint64_t seed = 0; seed < 200; seed++) {
		struct renew r;
		int64_t now = T0;
		renew_init(&r, seed);
		for (unsigned i = 0; i < 9; i++) {
			assert_int_equal(renew_next(&r, now), RENEW_ASK);
			renew_failed(&r, now, 0);
			assert_int_equal(renew_next(&r, now), RENEW_WAIT);
			assert_in_range(r.at - now, most[i] * SECOND / 2, most[i] * SECOND);
			now = r.at;
		}
	}
}

/* An outage that is longer than the SVID lives: it is asked for on and on, more often when its end
 * is near, and the first answer after it counts. */
static void an_outage(void **state)
{
	(void)state;
	struct renew r;
	const struct renew_times t = life(T0, HOUR);
	int64_t now, asked_in_the_last_minute = 0, longest_after = 0;
	renew_init(&r, 3);
	renew_issued(&r, T0, &t);
	now = run_until_ask(&r, T0, SECOND);
	while (now < T0 + 3 * HOUR) {
		renew_failed(&r, now, 0);
		const int64_t next = run_until_ask(&r, now, 100);
		if (now < t.not_after) {
			assert_true(next - now <= (t.not_after - now) / 8 + SECOND + 100);
			asked_in_the_last_minute +=
				next > t.not_after - 60 * SECOND && next < t.not_after;
		} else if (next - now > longest_after) {
			longest_after = next - now;
		}
		now = next;
	}
	assert_true(asked_in_the_last_minute >= 5);
	assert_true(longest_after <= RENEW_BACKOFF_MAX + 100);
	assert_false(renew_valid(&r, now));
	const struct renew_times fresh = life(now, HOUR);
	renew_issued(&r, now, &fresh);
	assert_true(renew_valid(&r, now));
	assert_int_equal(r.failures, 0);
}

/* Lives of seconds: many short waits in front of the end. Behind it, where nobody is served, the
 * next tries are soon, and grow apart only then. */
static void behind_the_end_waits_begin_anew(void **state)
{
	static const int64_t most[] = {1, 2, 4, 8, 16, 32, 60, 60};
	(void)state;
	for (uint64_t seed = 0; seed < 200; seed++) {
		struct renew r;
		const struct renew_times t = life(T0, 20 * SECOND);
		int64_t now;
		renew_init(&r, seed);
		renew_issued(&r, T0, &t);
		now = r.at;
		while (now < t.not_after) {
			renew_failed(&r, now, 0);
			now = r.at;
		}
		for (unsigned i = 0; i < 8; i++) {
			renew_failed(&r, now, 0);
			assert_in_range(r.at - now, most[i] * SECOND / 2, most[i] * SECOND);
			now = r.at;
		}
		/* and the same once more with the next one */
		const struct renew_times next = life(now, 20 * SECOND);
		renew_issued(&r, now, &next);
		renew_failed(&r, next.not_after, 0);
		assert_in_range(r.at - next.not_after, SECOND / 2, SECOND);
	}
}

static void micad_says_how_long_to_wait(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 200; seed++) {
		struct renew r;
		renew_init(&r, seed);
		renew_failed(&r, T0, 30);
		assert_in_range(r.at - T0, 30 * SECOND, 45 * SECOND);
		renew_init(&r, seed);
		renew_failed(&r, T0, INT32_MAX);
		assert_true(r.at - T0 <= 36 * HOUR);
		renew_init(&r, seed);
		renew_failed(&r, T0, -5);
		assert_in_range(r.at - T0, SECOND / 2, SECOND);
	}
}

/* What cannot be is mended, and nothing is asked for in a loop. */
static void odd_lives(void **state)
{
	(void)state;
	const struct renew_times odd[] = {
		{.not_before = T0, .renew_after = T0 - HOUR, .not_after = T0 + HOUR},
		{.not_before = T0, .renew_after = T0 + 2 * HOUR, .not_after = T0 + HOUR},
		{.not_before = T0 - 3 * HOUR, .renew_after = T0 - 2 * HOUR, .not_after = T0 - HOUR},
		{.not_before = T0, .renew_after = T0, .not_after = T0},
		{.not_before = T0, .renew_after = 0, .not_after = T0 + 1},
	};
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		struct renew r;
		renew_init(&r, i);
		renew_issued(&r, T0, &odd[i]);
		assert_int_equal(renew_next(&r, T0), RENEW_WAIT);
		assert_true(r.at >= T0 + SECOND);
	}
	struct renew r;
	renew_init(&r, 9);
	renew_issued(&r, T0, &odd[0]);
	assert_in_range(r.at, T0 + HOUR / 2, T0 + HOUR / 2 + HOUR / 64 + 1);
}

/* Forward: what has become due is due. Back: a wait lasts as long as it was meant to. */
static void clocks_jump(void **state)
{
	(void)state;
	struct renew r;
	const struct renew_times t = life(T0, HOUR);
	renew_init(&r, 5);
	renew_issued(&r, T0, &t);
	assert_int_equal(renew_next(&r, T0 + 5 * HOUR), RENEW_ASK);
	renew_issued(&r, T0, &t);
	const int64_t meant = r.at - T0, back = T0 - 1000 * HOUR;
	assert_int_equal(renew_next(&r, back), RENEW_WAIT);
	assert_int_equal(run_until_ask(&r, back, SECOND) / SECOND, (back + meant + 999) / SECOND);
	renew_init(&r, 5);
	renew_failed(&r, T0, 0);
	assert_int_equal(renew_next(&r, back), RENEW_WAIT);
	assert_true(run_until_ask(&r, back, 100) - back <= SECOND + 100);
}

static void a_hurry_spreads_and_ends_no_back_off(void **state)
{
	(void)state;
	struct renew r;
	const struct renew_times t = life(T0, HOUR);
	renew_init(&r, 11);
	renew_issued(&r, T0, &t);
	renew_hurry(&r, T0);
	assert_true(r.at <= T0 + SECOND);
	renew_failed(&r, T0, 20);
	const int64_t at = r.at;
	renew_hurry(&r, T0);
	assert_int_equal(r.at, at);
	/* never later than it would have been */
	renew_init(&r, 12);
	renew_hurry(&r, T0);
	assert_int_equal(renew_next(&r, T0), RENEW_ASK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_is_asked_for_at_once),
		cmocka_unit_test(the_ca_says_when),
		cmocka_unit_test(a_herd_is_spread),
		cmocka_unit_test(failures_back_off),
		cmocka_unit_test(an_outage),
		cmocka_unit_test(behind_the_end_waits_begin_anew),
		cmocka_unit_test(micad_says_how_long_to_wait),
		cmocka_unit_test(odd_lives),
		cmocka_unit_test(clocks_jump),
		cmocka_unit_test(a_hurry_spreads_and_ends_no_back_off),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
