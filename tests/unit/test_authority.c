/* SPDX-License-Identifier: Apache-2.0 */
#include "pki.h"

#include "mica/authority.h"

#define T 1000000

static void fill(struct mica_authority *a)
{
	mica_authority_init(a);
	snprintf(a->set, sizeof(a->set), "%s", MICA_SET_DEFAULT);
	snprintf(a->id, sizeof(a->id), "%s", "00112233445566778899aabbccddeeff00112233");
	snprintf(a->parent, sizeof(a->parent), "%s", "ffeeddccbbaa99887766554433221100ffeeddcc");
	a->kind = MICA_AUTHORITY_ISSUING;
	a->not_before = T;
	a->not_after = T + 1000;
	mica_buf_put_str(&a->cert, "certificate");
	mica_buf_put_str(&a->spki, "key");
	mica_buf_put_str(&a->envelope, "sealed");
}

static void record_keeps_everything(void **state)
{
	MICA_AUTO_AUTHORITY a, b;
	MICA_AUTO_BUF one, two;
	(void)state;
	fill(&a);
	mica_buf_init(&one, MICA_AUTHORITY_RECORD_MAX);
	mica_buf_init(&two, MICA_AUTHORITY_RECORD_MAX);
	a.standby = true;
	a.canary_sequence = 1732450000001;
	a.sequence = 1732450000000;
	assert_ok(mica_authority_add_time(&a, MICA_AE_CREATED, T, e));
	assert_ok(mica_authority_add_time(&a, MICA_AE_ACTIVE, T + 5, e));
	assert_ok(mica_authority_encode(&a, &one, e));
	/* a field of a later version is kept */
	mica_buf_put_be16(&one, 0x100);
	mica_buf_put_be32(&one, 3);
	mica_buf_put_str(&one, "new");
	assert_ok(mica_authority_decode(mica_buf_slice(&one), &b, e));
	assert_string_equal(b.set, a.set);
	assert_string_equal(b.id, a.id);
	assert_string_equal(b.parent, a.parent);
	assert_int_equal(b.kind, a.kind);
	assert_true(b.not_before == a.not_before && b.not_after == a.not_after);
	assert_int_equal(b.n_times, 2);
	assert_int_equal(b.times[1].event, MICA_AE_ACTIVE);
	assert_true(b.times[1].at == T + 5);
	assert_true(b.standby && b.sequence == 1732450000000);
	assert_int_equal(b.canary_sequence, 1732450000001);
	assert_true(mica_slice_eq_str(mica_buf_slice(&b.cert), "certificate"));
	assert_ok(mica_authority_encode(&b, &two, e));
	assert_true(mica_slice_eq(mica_buf_slice(&one), mica_buf_slice(&two)));
}

static void record_refuses_what_it_must(void **state)
{
	MICA_AUTO_AUTHORITY a, b;
	MICA_AUTO_BUF good, bad;
	(void)state;
	fill(&a);
	mica_buf_init(&good, MICA_AUTHORITY_RECORD_MAX);
	mica_buf_init(&bad, MICA_AUTHORITY_RECORD_MAX);
	assert_ok(mica_authority_add_time(&a, MICA_AE_CREATED, T, e));
	assert_ok(mica_authority_encode(&a, &good, e));
	for (size_t len = 0; len < good.len; len++)
		assert_refused(MICA_CORRUPT, "authority_malformed",
			mica_authority_decode(mica_slice(good.p, len), &b, e));
	mica_buf_put_slice(&bad, mica_buf_slice(&good));
	bad.p[4] = 2;
	assert_refused(
		MICA_CORRUPT, "store_newer", mica_authority_decode(mica_buf_slice(&bad), &b, e));
	bad.p[4] = 1;
	mica_buf_put_be16(&bad, 0x8001);
	mica_buf_put_be32(&bad, 0);
	assert_refused(
		MICA_CORRUPT, "store_newer", mica_authority_decode(mica_buf_slice(&bad), &b, e));
	mica_authority_init(&b);
}

struct step {
	enum mica_authority_event ev;
	int64_t at;
};
static const struct state_case {
	const char *what;
	struct step steps[8];
	int64_t now;
	enum mica_authority_state want;
	bool published;
} cases[] = {
	{"new", {{MICA_AE_CREATED, T}}, T, MICA_AS_PENDING, false},
	{"published", {{MICA_AE_CREATED, T}, {MICA_AE_PUBLISHED, T + 1}}, T + 1, MICA_AS_PUBLISHED,
		true},
	{"a time that is to come does not count",
		{{MICA_AE_PUBLISHED, T}, {MICA_AE_READY, T + 5}, {MICA_AE_ACTIVE, T + 9}}, T + 4,
		MICA_AS_PUBLISHED, true},
	{"ready", {{MICA_AE_PUBLISHED, T}, {MICA_AE_READY, T + 5}}, T + 5, MICA_AS_READY, true},
	{"active", {{MICA_AE_PUBLISHED, T}, {MICA_AE_READY, T}, {MICA_AE_ACTIVE, T}}, T,
		MICA_AS_ACTIVE, true},
	{"retired", {{MICA_AE_PUBLISHED, T}, {MICA_AE_ACTIVE, T}, {MICA_AE_RETIRED, T + 5}}, T + 5,
		MICA_AS_RETIRED, true},
	{"rolled back to",
		{{MICA_AE_PUBLISHED, T}, {MICA_AE_ACTIVE, T}, {MICA_AE_RETIRED, T + 5},
			{MICA_AE_ACTIVE, T + 7}},
		T + 7, MICA_AS_ACTIVE, true},
	{"retired in the second of its activation",
		{{MICA_AE_PUBLISHED, T}, {MICA_AE_ACTIVE, T}, {MICA_AE_RETIRED, T}}, T,
		MICA_AS_RETIRED, true},
	{"tainted while active",
		{{MICA_AE_PUBLISHED, T}, {MICA_AE_ACTIVE, T}, {MICA_AE_TAINTED, T + 1}}, T + 1,
		MICA_AS_TAINTED, true},
	{"nothing activates what is tainted",
		{{MICA_AE_PUBLISHED, T}, {MICA_AE_TAINTED, T + 1}, {MICA_AE_ACTIVE, T + 2}}, T + 3,
		MICA_AS_TAINTED, true},
	{"revoked", {{MICA_AE_PUBLISHED, T}, {MICA_AE_TAINTED, T + 1}, {MICA_AE_REVOKED, T + 2}},
		T + 3, MICA_AS_REVOKED, true},
	{"the last second", {{MICA_AE_PUBLISHED, T}, {MICA_AE_ACTIVE, T}}, T + 1000, MICA_AS_ACTIVE,
		true},
	/* it leaves the bundle by a step alone: the clock may be wrong */
	{"expired", {{MICA_AE_PUBLISHED, T}, {MICA_AE_ACTIVE, T}}, T + 1001, MICA_AS_EXPIRED, true},
	{"removed", {{MICA_AE_PUBLISHED, T}, {MICA_AE_ACTIVE, T}, {MICA_AE_REMOVED, T + 9}}, T + 9,
		MICA_AS_REMOVED, false},
};

static void state_follows_from_times(void **state)
{
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++) {
		MICA_AUTO_AUTHORITY a;
		fill(&a);
		for (size_t s = 0; cases[i].steps[s].ev; s++)
			assert_ok(mica_authority_add_time(
				&a, cases[i].steps[s].ev, cases[i].steps[s].at, e));
		if (mica_authority_state_at(&a, cases[i].now) != cases[i].want ||
			mica_authority_is_published(&a, cases[i].now) != cases[i].published)
			fail_msg("%s: %s", cases[i].what,
				mica_authority_state_name(
					mica_authority_state_at(&a, cases[i].now)));
	}
}

static void active_is_one(void **state)
{
	struct mica_authority a[3];
	(void)state;
	for (size_t i = 0; i < 3; i++) {
		fill(&a[i]);
		assert_ok(mica_authority_add_time(&a[i], MICA_AE_PUBLISHED, T, e));
	}
	assert_int_equal(
		mica_authority_active(a, 3, MICA_SET_DEFAULT, MICA_AUTHORITY_ISSUING, T), -1);
	assert_ok(mica_authority_add_time(&a[0], MICA_AE_ACTIVE, T, e));
	assert_ok(mica_authority_add_time(&a[1], MICA_AE_ACTIVE, T + 2, e));
	assert_int_equal(
		mica_authority_active(a, 3, MICA_SET_DEFAULT, MICA_AUTHORITY_ISSUING, T + 1), 0);
	assert_int_equal(
		mica_authority_active(a, 3, MICA_SET_DEFAULT, MICA_AUTHORITY_ISSUING, T + 2), 1);
	assert_int_equal(
		mica_authority_active(a, 3, MICA_SET_DEFAULT, MICA_AUTHORITY_JWT, T + 2), -1);
	assert_int_equal(mica_authority_active(a, 3, "other", MICA_AUTHORITY_ISSUING, T + 2), -1);
	assert_true(mica_authority_next_change(&a[1], T) == T + 2);
	assert_true(mica_authority_next_change(&a[1], T + 2) == T + 1001);
	assert_true(mica_authority_next_change(&a[1], T + 1001) == MICA_TIME_NEVER);
	for (size_t i = 0; i < 3; i++)
		mica_authority_clear(&a[i]);
}

static void times_are_bounded(void **state)
{
	MICA_AUTO_AUTHORITY a;
	(void)state;
	fill(&a);
	for (int i = 0; i < MICA_AUTHORITY_TIMES_MAX; i++)
		assert_ok(mica_authority_add_time(&a, MICA_AE_ACTIVE, T + i, e));
	assert_refused(MICA_LIMIT, "too_many_times",
		mica_authority_add_time(&a, MICA_AE_TAINTED, T + 99, e));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(record_keeps_everything),
		cmocka_unit_test(record_refuses_what_it_must),
		cmocka_unit_test(state_follows_from_times),
		cmocka_unit_test(active_is_one),
		cmocka_unit_test(times_are_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
