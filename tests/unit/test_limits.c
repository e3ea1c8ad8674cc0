/* SPDX-License-Identifier: Apache-2.0 */
/* Token buckets in virtual time. */
#include "pki.h"

#include "server/limits.h"

#include <arpa/inet.h>

static const struct limits_options options = {.failures = {.per_minute = 60, .burst = 5},
	.anonymous = {.per_minute = 120, .burst = 3},
	.identity = {.per_minute = 6, .burst = 2},
	.max_addresses = 4096,
	.max_identities = 1};

static struct http_peer peer(const char *text)
{
	struct http_peer p = {.uid = -1};
	uint8_t six[16];
	snprintf(p.address, sizeof(p.address), "%s", text);
	if (inet_pton(AF_INET, text, p.network + 12) == 1) {
		p.network[10] = p.network[11] = 0xff;
	} else {
		assert_int_equal(inet_pton(AF_INET6, text, six), 1);
		memcpy(p.network, six, 8);
	}
	return p;
}

static void failures_use_up_an_address(void **state)
{
	struct limits *l = limits_new(&options);
	const struct http_peer bad = peer("192.0.2.1"), good = peer("192.0.2.2");
	struct limits_stats s;
	int64_t t = 5000000;
	int retry = 0;
	(void)state;
	for (int i = 0; i < 5; i++) {
		assert_true(limits_address_allowed(l, &bad, t, &retry));
		limits_address_failure(l, &bad, t);
	}
	assert_false(limits_address_allowed(l, &bad, t, &retry));
	assert_int_equal(retry, 1);
	assert_true(limits_address_allowed(l, &good, t, &retry));
	/* asking costs nothing; a second later there is one again, and one only */
	assert_false(limits_address_allowed(l, &bad, t + 999, &retry));
	assert_true(limits_address_allowed(l, &bad, t + 1000, &retry));
	assert_true(limits_address_allowed(l, &bad, t + 1000, &retry));
	limits_address_failure(l, &bad, t + 1000);
	assert_false(limits_address_allowed(l, &bad, t + 1000, &retry));
	/* failures under way when it was refused do not lock it out for longer than the bucket */
	for (int i = 0; i < 1000; i++)
		limits_address_failure(l, &bad, t + 1000);
	assert_false(limits_address_allowed(l, &bad, t + 1999, &retry));
	assert_true(limits_address_allowed(l, &bad, t + 2000, &retry));
	/* after a pause all of the burst is there, and no more */
	t += 3600000;
	for (int i = 0; i < 5; i++) {
		assert_true(limits_address_allowed(l, &bad, t, &retry));
		limits_address_failure(l, &bad, t);
	}
	assert_false(limits_address_allowed(l, &bad, t, &retry));
	limits_stats(l, &s);
	assert_int_equal(s.refused_failures, 5);
	limits_free(l);
}

static void anonymous_requests_have_their_own(void **state)
{
	struct limits *l = limits_new(&options);
	const struct http_peer p = peer("198.51.100.7");
	int retry = 0;
	unsigned n = 0;
	(void)state;
	limits_address_failure(l, &p, 0);
	for (int i = 0; i < 3; i++)
		assert_true(limits_anonymous_allowed(l, &p, 0, &retry));
	assert_false(limits_anonymous_allowed(l, &p, 0, &retry));
	assert_int_equal(retry, 1);
	assert_true(limits_address_allowed(l, &p, 0, &retry));
	/* a steady flood is let through at the rate: two a second for a minute */
	for (int64_t t = 500; t <= 60000; t += 10)
		n += limits_anonymous_allowed(l, &p, t, &retry);
	assert_int_equal(n, 120);
	limits_free(l);
}

static void a_64_is_one_address(void **state)
{
	struct limits *l = limits_new(&options);
	const struct http_peer a = peer("2001:db8::1"), b = peer("2001:db8::ffff:2"),
			       other = peer("2001:db8:0:1::1"), loop = peer("::1");
	struct http_peer local = {.local = true};
	(void)state;
	for (int i = 0; i < 5; i++) {
		limits_address_failure(l, i % 2 ? &a : &b, 1000);
		limits_address_failure(l, &loop, 1000);
		limits_address_failure(l, &local, 1000);
	}
	assert_false(limits_address_allowed(l, &a, 1000, NULL));
	assert_false(limits_address_allowed(l, &b, 1000, NULL));
	assert_true(limits_address_allowed(l, &other, 1000, NULL));
	assert_false(limits_address_allowed(l, &loop, 1000, NULL));
	assert_true(limits_address_allowed(l, &local, 1000, NULL));
	limits_free(l);
}

static void an_identity_has_its_own(void **state)
{
	struct limits *l = limits_new(&options);
	int retry = 0;
	(void)state;
	assert_true(limits_identity_allowed(l, MICA_LIT(ID), 0, &retry));
	assert_true(limits_identity_allowed(l, MICA_LIT(ID), 0, &retry));
	assert_false(limits_identity_allowed(l, MICA_LIT(ID), 0, &retry));
	assert_int_equal(retry, 10);
	assert_true(limits_identity_allowed(l, MICA_LIT(ID "2"), 0, &retry));
	assert_true(limits_identity_allowed(l, MICA_LIT(""), 0, &retry));
	assert_false(limits_identity_allowed(l, MICA_LIT(ID), 9001, &retry));
	assert_int_equal(retry, 1);
	assert_true(limits_identity_allowed(l, MICA_LIT(ID), 10000, &retry));
	limits_free(l);
}

static void rates_change_while_serving(void **state)
{
	struct limits_options o = options;
	struct limits *l = limits_new(&o);
	int retry = 0;
	(void)state;
	o.identity = (struct limits_rate){0, 0};
	limits_set_rates(l, &o);
	for (int i = 0; i < 1000; i++)
		assert_true(limits_identity_allowed(l, MICA_LIT(ID), 0, &retry));
	/* a bucket that is deeper than the new one has no more than the new one */
	o.identity = (struct limits_rate){1, 100};
	limits_set_rates(l, &o);
	for (int i = 0; i < 100; i++)
		assert_true(limits_identity_allowed(l, MICA_LIT(ID), 0, &retry));
	assert_false(limits_identity_allowed(l, MICA_LIT(ID), 0, &retry));
	o.identity = (struct limits_rate){60, 2};
	limits_set_rates(l, &o);
	assert_false(limits_identity_allowed(l, MICA_LIT(ID), 0, &retry));
	assert_int_equal(retry, 1);
	assert_true(limits_identity_allowed(l, MICA_LIT(ID), 1000, &retry));
	limits_free(l);
}

/* A flood from many places forgets some of them, never grows, and leaves most of those that are
 * used up refused. */
static void memory_is_bounded(void **state)
{
	enum { BAD = 500, MANY = 200000 };
	struct limits *l = limits_new(&options);
	struct http_peer p = peer("0.0.0.0");
	struct limits_stats s;
	unsigned still = 0;
	(void)state;
	for (unsigned i = 0; i < MANY; i++) {
		memcpy(p.network + 12, &i, 4);
		for (int j = 0; j < (i < BAD ? 5 : 1); j++)
			limits_address_failure(l, &p, 1000);
	}
	for (unsigned i = 0; i < BAD; i++) {
		memcpy(p.network + 12, &i, 4);
		still += !limits_address_allowed(l, &p, 1000, NULL);
	}
	limits_stats(l, &s);
	assert_true(s.forgotten >= MANY - 4096);
	assert_true(still >= BAD * 9 / 10);
	limits_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(failures_use_up_an_address),
		cmocka_unit_test(anonymous_requests_have_their_own),
		cmocka_unit_test(a_64_is_one_address),
		cmocka_unit_test(an_identity_has_its_own),
		cmocka_unit_test(rates_change_while_serving),
		cmocka_unit_test(memory_is_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
