/* SPDX-License-Identifier: Apache-2.0 */
/* Long polls against a core that has nothing but snapshots. */
#include "tokens.h"

#include "server/watch.h"

#include "mica/clock.h"
#include "mica/core.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

/* ---- the core ------------------------------------------------------------------------------ */

static struct mica_snapshot old = {.etag = "\"default-live-1\""},
			    new = {.etag = "\"default-live-2\""};
static _Atomic(const struct mica_snapshot *) current = &old;
static atomic_uint asked;

mica_rc mica_core_snapshot(struct mica_core *c, const char *td, enum mica_channel ch,
	enum mica_format f, const struct mica_snapshot **out, struct mica_err *e)
{
	(void)c, (void)td, (void)f, (void)e;
	atomic_fetch_add(&asked, 1);
	*out = ch == MICA_CHANNEL_LIVE ? atomic_load(&current) : &old;
	return MICA_OK;
}

const struct mica_snapshot *mica_snapshot_ref(const struct mica_snapshot *s)
{
	return s;
}

void mica_snapshot_unref(const struct mica_snapshot *s)
{
	(void)s;
}

/* ---- who waits ----------------------------------------------------------------------------- */

struct job {
	atomic_int end; /* -1 = waits */
	atomic_llong at; /* mica_mono_ms */
	const char *etag;
};

static void done(void *job, const struct mica_snapshot *s, enum watch_end end)
{
	struct job *j = job;

	j->etag = s ? s->etag : NULL;
	atomic_store(&j->at, mica_mono_ms());
	assert_int_equal(atomic_exchange(&j->end, (int)end), -1); /* once */
}

static struct watch *make(unsigned max, unsigned max_shared)
{
	const struct watch_options o = {.max = max, .max_shared = max_shared, .done = done};
	struct watch *w = NULL;

	atomic_store(&current, &old);
	assert_ok(watch_new(&o, &w, e));
	return w;
}

static struct watch_for poll(struct watch *w, int64_t wait_ms)
{
	return (struct watch_for){
		.etag = old.etag, .wait_ms = wait_ms, .generation = watch_generation(w)};
}

static void start(struct watch *w, struct job *j, const struct watch_for *f)
{
	atomic_init(&j->end, -1);
	assert_ok(watch_add(w, f, j, e));
}

static void await(struct job *j, enum watch_end end)
{
	for (int i = 0; i < 300 && atomic_load(&j->end) < 0; i++)
		usleep(10000);
	assert_int_equal(atomic_load(&j->end), end);
}

static void time_ends_a_poll(void **state)
{
	struct watch *w = make(4, 4);
	struct watch_for f = poll(w, 150), g = poll(w, 40);
	int64_t before = mica_mono_ms();
	struct job a, b;
	(void)state;

	start(w, &a, &f);
	start(w, &b, &g);
	await(&a, WATCH_TIME_OVER);
	await(&b, WATCH_TIME_OVER);
	assert_in_range(atomic_load(&a.at) - before, 149, 400);
	assert_in_range(atomic_load(&b.at) - before, 39, 300);
	assert_string_equal(a.etag, old.etag);
	assert_int_equal(watch_count(w, false), 0);
	watch_free(w);
}

static void a_change_reaches_all_within_its_time(void **state)
{
	enum { N = 2000 };
	struct watch *w = make(N, 0);
	struct job *j = mica_calloc(N, sizeof(*j));
	struct watch_for f = poll(w, 60000);
	int64_t before, first = INT64_MAX, last = 0;
	unsigned early = 0, asks;
	(void)state;

	for (int i = 0; i < N; i++)
		start(w, &j[i], &f);
	atomic_store(&current, &new);
	usleep(30000);
	assert_int_equal(watch_count(w, false), N); /* nobody looks without a wake */
	asks = atomic_load(&asked);
	before = mica_mono_ms();
	watch_wake(w, 400);
	for (int i = 0; i < N; i++) {
		int64_t at;
		await(&j[i], WATCH_CHANGED);
		assert_string_equal(j[i].etag, new.etag);
		at = atomic_load(&j[i].at) - before;
		first = at < first ? at : first;
		last = at > last ? at : last;
		early += at < 200;
	}
	/* spread, and in ticks: not one answer a millisecond, nor all at once */
	assert_in_range(first, 0, 100);
	assert_in_range(last, 300, 700);
	assert_in_range(early, N / 4, N * 3 / 4);
	assert_in_range(atomic_load(&asked) - asks, 5, 60);
	watch_free(w);
	mica_free(j);
}

static void a_compromise_reaches_all_at_once(void **state)
{
	struct watch *w = make(600, 0);
	struct job *j = mica_calloc(600, sizeof(*j));
	struct watch_for f = poll(w, 60000);
	int64_t before;
	(void)state;

	for (int i = 0; i < 600; i++)
		start(w, &j[i], &f);
	atomic_store(&current, &new);
	before = mica_mono_ms();
	watch_wake(w, 0);
	for (int i = 0; i < 600; i++) {
		await(&j[i], WATCH_CHANGED);
		assert_in_range(atomic_load(&j[i].at) - before, 0, 200);
	}
	watch_free(w);
	mica_free(j);
}

/* Another channel's change wakes them, too, and they go on waiting. */
static void others_changes_do_not_end_a_poll(void **state)
{
	struct watch *w = make(4, 4);
	struct watch_for f = poll(w, 200), g = f;
	struct job a, b;
	(void)state;

	g.channel = MICA_CHANNEL_CANARY;
	start(w, &a, &f);
	start(w, &b, &g);
	atomic_store(&current, &new);
	watch_wake(w, 0);
	await(&a, WATCH_CHANGED);
	assert_int_equal(atomic_load(&b.end), -1);
	await(&b, WATCH_TIME_OVER);
	watch_free(w);
}

/* What changes between the look of the handler and the beginning of the wait is not missed. */
static void a_change_in_between_is_not_missed(void **state)
{
	struct watch *w = make(4, 4);
	struct watch_for f = poll(w, 60000);
	struct job a;
	(void)state;

	atomic_store(&current, &new);
	watch_wake(w, 1000);
	start(w, &a, &f);
	await(&a, WATCH_CHANGED);
	watch_free(w);
}

static void bounds_and_drain(void **state)
{
	struct watch *w = make(2, 1);
	struct watch_for own = poll(w, 60000), shared = own;
	struct job a, b, c, d;
	(void)state;

	shared.shared = true;
	start(w, &a, &own);
	start(w, &b, &own);
	start(w, &c, &shared);
	assert_refused(MICA_LIMIT, "too_many_watchers", watch_add(w, &own, &d, e));
	assert_refused(MICA_LIMIT, "too_many_watchers", watch_add(w, &shared, &d, e));
	watch_set_max(w, 3, 1);
	start(w, &d, &own);
	watch_drain(w);
	await(&a, WATCH_DRAIN);
	await(&b, WATCH_DRAIN);
	await(&c, WATCH_DRAIN);
	await(&d, WATCH_DRAIN);
	assert_int_equal(watch_count(w, false) + watch_count(w, true), 0);
	assert_refused(MICA_UNAVAILABLE, "draining", watch_add(w, &own, &a, e));
	watch_free(w);
	w = make(2, 2);
	start(w, &a, &own);
	watch_free(w); /* ends who waits */
	assert_int_equal(atomic_load(&a.end), WATCH_DRAIN);
}

/* Adds and wakes from several threads: everybody is answered, once. */
struct crowd {
	struct watch *w;
	struct job *jobs;
	int n;
};

static void *add_many(void *arg)
{
	struct crowd *c = arg;

	for (int i = 0; i < c->n; i++) {
		struct watch_for f = poll(c->w, i % 7 * 5);
		start(c->w, &c->jobs[i], &f);
		if (i % 50 == 0)
			watch_wake(c->w, i % 3);
	}
	return NULL;
}

static void everybody_is_answered_once(void **state)
{
	enum { T = 4, N = 1000 };
	struct watch *w = make(T * N, 0);
	struct job *j = mica_calloc(T * N, sizeof(*j));
	struct crowd c[T];
	pthread_t t[T];
	(void)state;

	for (int i = 0; i < T; i++) {
		c[i] = (struct crowd){w, j + i * N, N};
		assert_int_equal(pthread_create(&t[i], NULL, add_many, &c[i]), 0);
	}
	for (int i = 0; i < T; i++)
		pthread_join(t[i], NULL);
	for (int i = 0; i < T * N; i++)
		await(&j[i], WATCH_TIME_OVER);
	assert_int_equal(watch_count(w, false), 0);
	watch_free(w);
	mica_free(j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(time_ends_a_poll),
		cmocka_unit_test(a_change_reaches_all_within_its_time),
		cmocka_unit_test(a_compromise_reaches_all_at_once),
		cmocka_unit_test(others_changes_do_not_end_a_poll),
		cmocka_unit_test(a_change_in_between_is_not_missed),
		cmocka_unit_test(bounds_and_drain),
		cmocka_unit_test(everybody_is_answered_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
