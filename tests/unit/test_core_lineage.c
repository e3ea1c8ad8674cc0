/* SPDX-License-Identifier: Apache-2.0 */
/* Lineage: who follows whom, what is told of it, and what is not. */
#include "../../ca/core_impl.h"

#include "coretest.h"

#define TEST(f) cmocka_unit_test_setup_teardown(f, lin_setup, ct_teardown)
#define TTL     600

static int lin_setup(void **state)
{
	struct ct *t = ct_new();

	t->issuers[0].renewal_max_age = DAY; /* renewal by certificate */
	ct_init(t);
	ct_open_at(t, NOW_MS);
	ct_set_jwks(t, NOW_MS);
	*state = t;
	return 0;
}

static void maintain(struct ct *t, int64_t now)
{
	assert_ok(mica_core_maintain(t->core, now * 1000, NULL, e));
}

/* Reads what was written before, in a few calls. */
static void settle(struct ct *t, int64_t now)
{
	for (int i = 0; i < 4; i++)
		maintain(t, now);
}

static struct mica_core_stats stats(struct ct *t)
{
	struct mica_core_stats s;

	mica_core_stats(t->core, &s);
	return s;
}

/* The holder of a certificate comes with it. */
static void presents(struct ct *t, const struct mica_candidate *k, int64_t now)
{
	struct mica_caller who;

	ct_svid(t, k, now * 1000, &who);
}

static struct mica_candidate *renews(struct ct *t, const struct mica_candidate *k, int64_t now)
{
	struct mica_caller who;

	ct_svid(t, k, now * 1000, &who);
	return ct_issue_for(t, &who, TTL, now * 1000);
}

static struct mica_candidate *asks(struct ct *t, const char *instance, int64_t now)
{
	struct mica_candidate *k = NULL;
	struct mica_x509_request r;
	struct mica_caller who;

	ct_caller(t, now * 1000, &who);
	r = ct_request(t, &who);
	r.ttl = TTL;
	r.instance = mica_slice_str(instance);
	assert_ok(mica_core_prepare_x509(t->core, &r, now * 1000, &k, e));
	assert_ok(mica_core_commit(t->core, &k, 1, now * 1000, e));
	return k;
}

/* Entries of lineage with this action; the first one's detail. */
static unsigned told(struct ct *t, const char *action, char detail[1024])
{
	struct mica_caller admin = ct_role(MICA_ROLE_ADMIN);
	struct mica_event_query q = {.type = MICA_LIT("lineage"), .limit = 100};
	json_t *doc, *ev;
	unsigned n = 0;
	MICA_AUTO_BUF b;
	size_t i;

	mica_buf_init(&b, 1 << 20);
	assert_ok(mica_core_events(t->core, &admin, &q, &b, e));
	doc = ct_json(&b);
	json_array_foreach (json_object_get(doc, "events"), i, ev) {
		char *text;

		if (strcmp(json_string_value(json_object_get(ev, "action")), action) != 0)
			continue;
		text = json_dumps(json_object_get(ev, "detail"), JSON_COMPACT);
		if (detail)
			snprintf(detail, 1024, "%s", text);
		free(text);
		n++;
	}
	json_decref(doc);
	return n;
}

static void forget(struct mica_candidate *const *k, size_t n)
{
	for (size_t i = 0; i < n; i++)
		mica_candidate_free(k[i]);
}

/* ---- forks ----------------------------------------------------------------------------------- */

static void two_successors_that_are_both_used_are_a_fork(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k[3] = {ct_issue(t, TTL, NOW_MS)};
	struct mica_issued first, third;
	char detail[1024];

	settle(t, NOW);
	k[1] = renews(t, k[0], NOW + 10);
	k[2] = renews(t, k[0], NOW + 20);
	presents(t, k[1], NOW + 30);
	presents(t, k[1], NOW + 31);
	assert_int_equal(stats(t).lineage_forks, 0);
	presents(t, k[2], NOW + 40);
	assert_int_equal(stats(t).lineage_forks, 1);
	presents(t, k[2], NOW + 41);
	maintain(t, NOW + 42);
	assert_int_equal(stats(t).lineage_forks, 1);
	assert_int_equal(told(t, "forked", detail), 1);
	mica_candidate_issued(k[0], &first);
	mica_candidate_issued(k[2], &third);
	assert_non_null(strstr(detail, first.serial_hex));
	assert_non_null(strstr(detail, third.serial_hex));
	assert_non_null(strstr(detail, first.spiffe_id));
	/* nobody is refused for it unless somebody says so */
	mica_candidate_free(renews(t, k[1], NOW + 50));
	forget(k, 3);
}

/* An answer that was lost makes no fork: its certificate is never presented. */
static void a_successor_that_was_never_seen_is_nobodys(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k[3] = {ct_issue(t, TTL, NOW_MS)};

	settle(t, NOW);
	k[1] = renews(t, k[0], NOW + 10);
	k[2] = renews(t, k[0], NOW + 100);
	presents(t, k[2], NOW + 200);
	assert_int_equal(stats(t).lineage_forks, 0);
	/* nor does its end tell anything: one end, of the one that is used */
	maintain(t, NOW + 10 + TTL + 1);
	assert_int_equal(stats(t).renewals_missed, 0);
	maintain(t, NOW + 100 + TTL + 1);
	assert_int_equal(stats(t).renewals_missed, 1);
	forget(k, 3);
}

static void a_predecessor_that_is_used_again_is_a_fork(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k[2] = {ct_issue(t, TTL, NOW_MS)};

	settle(t, NOW);
	k[1] = renews(t, k[0], NOW + 10);
	presents(t, k[0], NOW + 100); /* it may never have got the other one */
	presents(t, k[1], NOW + 110);
	presents(t, k[0], NOW + 110 + 60); /* connections end */
	assert_int_equal(stats(t).lineage_forks, 0);
	presents(t, k[0], NOW + 110 + 61);
	assert_int_equal(stats(t).lineage_forks, 1);
	forget(k, 2);
}

static void a_forked_line_is_refused_when_that_is_wanted(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k[4] = {ct_issue(t, TTL, NOW_MS)}, *no = NULL;
	struct mica_caller who;
	struct mica_x509_request r;

	t->config.x509.refuse_forks = true;
	assert_ok(mica_core_configure(t->core, &t->config, NOW_MS, e));
	settle(t, NOW);
	k[1] = renews(t, k[0], NOW + 10);
	k[2] = renews(t, k[0], NOW + 20);
	k[3] = renews(t, k[1], NOW + 30); /* one branch has gone on already */
	presents(t, k[2], NOW + 40);
	for (int i = 0; i < 4; i++) {
		ct_svid(t, k[i], (NOW + 50) * 1000, &who);
		r = ct_request(t, &who);
		assert_refused(MICA_DENIED, "lineage_forked",
			mica_core_prepare_x509(t->core, &r, (NOW + 50) * 1000, &no, e));
	}
	/* a fresh token begins a line of its own */
	mica_candidate_free(k[3]);
	k[3] = ct_issue(t, TTL, (NOW + 60) * 1000);
	mica_candidate_free(renews(t, k[3], NOW + 70));
	forget(k, 4);
}

/* ---- missed renewals ---------------------------------------------------------------------------
 */

static void a_line_that_ends_is_told_once(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k[4] = {ct_issue(t, TTL, NOW_MS)};
	struct mica_issued last;
	int64_t now = NOW;
	char detail[1024];

	settle(t, NOW);
	for (int i = 1; i < 4; i++) {
		k[i] = renews(t, k[i - 1], now += TTL / 2);
		maintain(t, now);
	}
	assert_int_equal(stats(t).renewals_missed, 0);
	maintain(t, now + TTL);
	assert_int_equal(stats(t).renewals_missed, 0);
	maintain(t, now += TTL + 1);
	maintain(t, now += 60);
	assert_int_equal(stats(t).renewals_missed, 1);
	assert_int_equal(told(t, "renewal_missed", detail), 1);
	mica_candidate_issued(k[3], &last);
	assert_non_null(strstr(detail, last.serial_hex));
	assert_non_null(strstr(detail, last.spiffe_id));
	assert_int_equal(stats(t).lineage_links, 0);
	forget(k, 4);
}

/* Who comes with a token each time presents no predecessor: there is no line. */
static void a_token_alone_makes_no_line(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k = ct_issue(t, TTL, NOW_MS);

	settle(t, NOW);
	presents(t, k, NOW + 1);
	mica_candidate_free(k);
	mica_candidate_free(ct_issue(t, TTL, (NOW + 300) * 1000));
	assert_int_equal(stats(t).lineage_links, 0);
	maintain(t, NOW + 300 + TTL + 1);
	assert_int_equal(stats(t).renewals_missed, 0);
	assert_int_equal(told(t, "renewal_missed", NULL), 0);
}

/* Two programs in a pod are two lines; one that never came again was a short job. */
static void instances_of_a_pod_are_lines(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k[5];
	char detail[1024];

	settle(t, NOW);
	k[0] = asks(t, "proxy", NOW);
	k[1] = asks(t, "app.1", NOW + 1);
	k[2] = asks(t, "job", NOW + 2);
	k[3] = asks(t, "proxy", NOW + 300);
	k[4] = asks(t, "app.1", NOW + 301);
	for (int i = 0; i < 5; i++)
		presents(t, k[i], NOW + 310);
	presents(t, k[3], NOW + 311);
	assert_int_equal(stats(t).lineage_forks, 0);
	maintain(t, NOW + TTL + 3);
	assert_int_equal(stats(t).renewals_missed, 1); /* the job was seen, and is gone */
	maintain(t, NOW + 300 + TTL + 1);
	assert_int_equal(stats(t).renewals_missed, 2);
	maintain(t, NOW + 300 + TTL + 2);
	assert_int_equal(stats(t).renewals_missed, 3);
	assert_int_equal(told(t, "renewal_missed", detail), 3);
	assert_non_null(strstr(detail, "pod_uid"));
	forget(k, 5);
}

static void an_instance_is_a_word(void **state)
{
	static char long_one[MICA_INSTANCE_MAX + 2];
	const char *const bad[] = {"a b", "a/b", "\xc3\xa4", long_one};
	struct ct *t = *state;
	struct mica_candidate *k = NULL;
	struct mica_caller who;

	memset(long_one, 'x', MICA_INSTANCE_MAX + 1);
	ct_caller(t, NOW_MS, &who);
	for (size_t i = 0; i < MICA_ARRAY_LEN(bad); i++) {
		struct mica_x509_request r = ct_request(t, &who);

		r.instance = mica_slice_str(bad[i]);
		assert_refused(MICA_INVALID, "bad_instance",
			mica_core_prepare_x509(t->core, &r, NOW_MS, &k, e));
	}
	long_one[MICA_INSTANCE_MAX] = '\0';
	mica_candidate_free(asks(t, long_one, NOW));
}

/* ---- restarts
 * ------------------------------------------------------------------------------------ */

static void what_was_seen_survives_a_restart(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k[3] = {ct_issue(t, TTL, NOW_MS)};

	settle(t, NOW);
	k[1] = renews(t, k[0], NOW + 10);
	k[2] = renews(t, k[0], NOW + 20);
	presents(t, k[1], NOW + 30);
	maintain(t, NOW + 31);
	ct_reopen(t, (NOW + 40) * 1000);
	settle(t, NOW + 41);
	assert_int_equal(stats(t).lineage_links, 3);
	presents(t, k[2], NOW + 50);
	assert_int_equal(stats(t).lineage_forks, 1);
	/* and it is told once, whatever happens then */
	maintain(t, NOW + 51);
	ct_reopen(t, (NOW + 60) * 1000);
	settle(t, NOW + 61);
	presents(t, k[1], NOW + 70);
	presents(t, k[2], NOW + 71);
	maintain(t, NOW + 72);
	assert_int_equal(told(t, "forked", NULL), 1);
	forget(k, 3);
}

/* What was not written behind is in the ledger. */
static void lines_are_read_again_from_the_ledger(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k[4] = {ct_issue(t, TTL, NOW_MS)};

	settle(t, NOW);
	k[1] = renews(t, k[0], NOW + 10);
	k[2] = asks(t, "proxy", NOW + 20);
	k[3] = asks(t, "proxy", NOW + 30);
	ct_reopen(t, (NOW + 40) * 1000); /* killed: nothing was written */
	assert_int_equal(stats(t).lineage_links, 0);
	settle(t, NOW + 41);
	assert_int_equal(stats(t).lineage_links, 4);
	maintain(t, NOW + 10 + TTL + 1);
	assert_int_equal(stats(t).renewals_missed, 1);
	maintain(t, NOW + 30 + TTL + 1);
	assert_int_equal(stats(t).renewals_missed, 2);
	forget(k, 4);
}

/* A disk that is full for a while loses nothing, and nothing is told twice. */
static void a_full_disk_delays_it(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k[2] = {ct_issue(t, TTL, NOW_MS)};
	int64_t now = NOW + 10 + TTL + 1;

	settle(t, NOW);
	k[1] = renews(t, k[0], NOW + 10);
	maintain(t, NOW + 11);
	for (int i = 0; i < 3; i++) {
		mica_store_set_fault(t->core->store, MICA_FAULT_FULL, 0);
		assert_int_equal(
			mica_core_lineage_flush(t->core, now++ * 1000, NULL), MICA_UNAVAILABLE);
	}
	settle(t, now);
	assert_int_equal(told(t, "renewal_missed", NULL), 1);
	assert_int_equal(stats(t).lineage_links, 0);
	forget(k, 2);
}

/* ---- an outage ---------------------------------------------------------------------------------
 */

enum { LINES = 1300 };

/* One more certificate for each line, in one commit. */
static void all_ask(struct ct *t, int64_t now)
{
	MICA_AUTO_FREE struct mica_candidate **k = mica_calloc(LINES, sizeof(*k));
	struct mica_caller who;

	ct_caller(t, now * 1000, &who);
	for (int i = 0; i < LINES; i++) {
		struct mica_x509_request r = ct_request(t, &who);
		char name[16];

		snprintf(name, sizeof(name), "line-%d", i);
		r.ttl = TTL;
		r.instance = mica_slice_str(name);
		assert_ok(mica_core_prepare_x509(t->core, &r, now * 1000, &k[i], e));
	}
	assert_ok(mica_core_commit(t->core, k, LINES, now * 1000, e));
	for (int i = 0; i < LINES; i++)
		mica_candidate_free(k[i]);
}

/* All lines of a cluster end at once: what is told of them is bounded, and none is forgotten. */
static void an_outage_is_told_within_bounds(void **state)
{
	struct mica_event_query q = {.type = MICA_LIT("lineage"), .limit = 1000};
	struct ct *t = *state;
	struct mica_caller admin = ct_role(MICA_ROLE_ADMIN);
	int64_t end = NOW + 10 + TTL + 1;
	unsigned n = 0, untold = 0;
	char next[64] = "";
	size_t i;

	settle(t, NOW);
	all_ask(t, NOW);
	maintain(t, NOW + 1); /* a part is written */
	all_ask(t, NOW + 10);
	ct_reopen(t, (NOW + 20) * 1000);
	for (int m = 0; m < 6; m++)
		maintain(t, NOW + 21);
	assert_int_equal(stats(t).lineage_links, 2 * LINES);
	for (int m = 0; m < 100; m++)
		maintain(t, end + m);
	assert_int_equal(stats(t).renewals_missed, LINES);
	assert_int_equal(stats(t).lineage_links, 0);
	do {
		json_t *doc, *ev;
		MICA_AUTO_BUF b;

		mica_buf_init(&b, 4 << 20);
		q.cursor = mica_slice_str(next);
		assert_ok(mica_core_events(t->core, &admin, &q, &b, e));
		doc = ct_json(&b);
		json_array_foreach (json_object_get(doc, "events"), i, ev) {
			json_t *count = json_object_get(json_object_get(ev, "detail"), "count");

			n += !count;
			untold += count ? (unsigned)json_integer_value(count) : 0;
		}
		snprintf(next, sizeof(next), "%s",
			json_is_string(json_object_get(doc, "next"))
				? json_string_value(json_object_get(doc, "next"))
				: "");
		json_decref(doc);
	} while (next[0]);
	assert_int_equal(n, 1024);
	assert_int_equal(untold, LINES - 1024);
}

/* ---- many at once ------------------------------------------------------------------------------
 */

#define CROWD 6

/* Holders who renew at half of a life, lose answers and try again, and thieves with copies. */
struct crowd {
	struct ct *t;
	uint64_t chance;
	int64_t now;
	struct mica_candidate *has[CROWD], *stolen[CROWD];
	bool both[CROWD]; /* somebody has a copy, and both have used theirs */
	unsigned lost[CROWD]; /* answers in a row */
};

static unsigned draw(struct crowd *w, unsigned n)
{
	w->chance = w->chance * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (unsigned)(w->chance >> 33) % n;
}

static void take(struct mica_candidate **at, struct mica_candidate *k)
{
	mica_candidate_free(*at);
	*at = k;
}

static void holder_acts(struct crowd *w, unsigned i)
{
	struct mica_candidate *k = renews(w->t, w->has[i], w->now);

	if (draw(w, 3) == 0 && w->lost[i]++ < 2) {
		mica_candidate_free(k); /* the answer was lost: it goes on with what it has */
		return;
	}
	w->lost[i] = 0;
	take(&w->has[i], k);
	if (draw(w, 2))
		presents(w->t, w->has[i], w->now + 1);
}

/* Both go on from one certificate, and use what they got. */
static void thief_acts(struct crowd *w, unsigned i)
{
	take(&w->stolen[i], renews(w->t, w->has[i], w->now));
	take(&w->has[i], renews(w->t, w->has[i], w->now + 1));
	presents(w->t, w->stolen[i], w->now + 2);
	presents(w->t, w->has[i], w->now + 3);
	maintain(w->t, w->now + 4); /* a kill before that would be its luck */
	w->both[i] = true;
}

static void run_crowd(struct ct *t, uint64_t seed, bool thieves)
{
	struct crowd w = {.t = t, .chance = seed, .now = NOW + 1};
	unsigned forked = 0;

	settle(t, NOW);
	for (unsigned i = 0; i < CROWD; i++)
		w.has[i] = ct_issue(t, TTL, w.now * 1000);
	for (unsigned step = 0; step < 60; step++) {
		w.now += 20;
		/* by turns, so that nobody's certificate ends: 6 times 20 s of 600 */
		holder_acts(&w, step % CROWD);
		if (thieves && draw(&w, 12) == 0)
			thief_acts(&w, step % CROWD);
		if (draw(&w, 3) == 0)
			maintain(t, w.now + 5);
		if (draw(&w, 15) == 0) {
			ct_reopen(t, (w.now + 6) * 1000); /* at any moment */
			settle(t, w.now + 7);
		}
	}
	maintain(t, w.now + 10);
	for (unsigned i = 0; i < CROWD; i++) {
		forked += w.both[i];
		mica_candidate_free(w.has[i]);
		mica_candidate_free(w.stolen[i]);
	}
	if (thieves) {
		assert_true(forked > 0 && told(t, "forked", NULL) >= forked);
		return;
	}
	assert_int_equal(told(t, "forked", NULL), 0);
	assert_int_equal(told(t, "renewal_missed", NULL), 0);
}

/* Whatever is lost, and whenever micad is killed: nobody honest is accused. */
static void nobody_honest_is_accused(void **state)
{
	struct ct *t = *state;

	run_crowd(t, 4711, false);
}

static void no_thief_goes_unseen(void **state)
{
	struct ct *t = *state;

	run_crowd(t, 4711, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(two_successors_that_are_both_used_are_a_fork),
		TEST(a_successor_that_was_never_seen_is_nobodys),
		TEST(a_predecessor_that_is_used_again_is_a_fork),
		TEST(a_forked_line_is_refused_when_that_is_wanted),
		TEST(a_line_that_ends_is_told_once),
		TEST(a_token_alone_makes_no_line),
		TEST(instances_of_a_pod_are_lines),
		TEST(an_instance_is_a_word),
		TEST(what_was_seen_survives_a_restart),
		TEST(lines_are_read_again_from_the_ledger),
		TEST(a_full_disk_delays_it),
		TEST(an_outage_is_told_within_bounds),
		TEST(nobody_honest_is_accused),
		TEST(no_thief_goes_unseen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
