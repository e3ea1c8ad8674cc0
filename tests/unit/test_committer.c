/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The committer against a core that this test plays: it records batches, fails on demand and takes
 * its time. What holds: every candidate comes back exactly once, after its commit; nobody is
 * answered OK when the commit was not; the queue is bounded; a lone request does not wait.
 */
#include "../../server/committer.h"

#include "mica/clock.h"
#include "mica/mem.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

struct mica_candidate {
	mica_rc rc;
	bool committed, conflict;
	atomic_int done;
	mica_rc answer;
};

static struct {
	atomic_int commits, largest;
	atomic_bool blocked;
	int sleep_us;
	mica_rc fail;
	const char *reason;
	int fatal;
} core;

mica_rc mica_core_commit(struct mica_core *c, struct mica_candidate **k, size_t n, int64_t now_ms,
	struct mica_err *e)
{
	assert_true(now_ms > 0);
	assert_null(c);
	while (atomic_load(&core.blocked))
		usleep(100);
	usleep(core.sleep_us);
	atomic_fetch_add(&core.commits, 1);
	if ((int)n > atomic_load(&core.largest))
		atomic_store(&core.largest, (int)n);
	if (core.fail != MICA_OK)
		return mica_fail(e, core.fail, core.reason, "as the test wants");
	for (size_t i = 0; i < n; i++) {
		assert_false(k[i]->committed);
		k[i]->committed = true;
		k[i]->rc = k[i]->conflict ? MICA_CONFLICT : MICA_OK;
	}
	return MICA_OK;
}

mica_rc mica_candidate_rc(const struct mica_candidate *k)
{
	return k->rc;
}

static void done(void *ctx, struct mica_candidate *k, mica_rc rc, const struct mica_err *e)
{
	assert_ptr_equal(ctx, &core);
	if (rc == MICA_OK || rc == MICA_CONFLICT)
		assert_true(k->committed);
	else
		assert_int_equal(e->rc, rc);
	k->answer = rc;
	atomic_fetch_add(&k->done, 1);
}

static void fatal(void *ctx, const struct mica_err *e)
{
	assert_ptr_equal(ctx, &core);
	assert_int_equal(e->rc, MICA_INTERNAL);
	core.fatal++;
}

static struct committer *start(unsigned max_queue, int64_t fill_us)
{
	struct committer_options o = {
		.max_queue = max_queue, .fill_us = fill_us, .fatal = fatal, .ctx = &core};
	struct committer *c = NULL;
	struct mica_err e = MICA_ERR_INIT;

	memset(&core, 0, sizeof(core));
	assert_int_equal(committer_new(&o, &c, &e), MICA_OK);
	return c;
}

static void submit(struct committer *c, struct mica_candidate *k)
{
	struct mica_err e = MICA_ERR_INIT;

	assert_int_equal(committer_take_submit(c, k, done, &core, &e), MICA_OK);
}

static void lone_request_does_not_wait(void **state)
{
	struct committer *c = start(10, 2000000); /* two seconds, if it waited */
	struct mica_candidate k = {0};
	int64_t began = mica_mono_ms();

	(void)state;
	submit(c, &k);
	while (!atomic_load(&k.done))
		usleep(100);
	assert_in_range(mica_mono_ms() - began, 0, 400);
	assert_int_equal(k.answer, MICA_OK);
	committer_free(c);
}

static void a_batch_waits_for_what_is_being_prepared(void **state)
{
	struct committer *c = start(10, 400000);
	struct mica_candidate k[2] = {0};

	(void)state;
	committer_enter(c);
	submit(c, &k[0]);
	usleep(20000);
	assert_int_equal(atomic_load(&k[0].done), 0);
	committer_leave(c);
	submit(c, &k[1]);
	committer_free(c);
	assert_int_equal(atomic_load(&core.commits), 1);
	assert_int_equal(k[0].answer | k[1].answer, MICA_OK);
}

#define THREADS 8
#define EACH    500
static struct mica_candidate many[THREADS][EACH];
static struct committer *shared;

static void *hammer(void *arg)
{
	struct mica_candidate *k = arg;

	for (int i = 0; i < EACH; i++) {
		struct mica_err e = MICA_ERR_INIT;

		k[i].conflict = i % 7 == 3;
		committer_enter(shared);
		committer_leave(shared);
		while (committer_take_submit(shared, &k[i], done, &core, &e) != MICA_OK) {
			assert_string_equal(e.reason, "overloaded");
			assert_int_equal(e.retry_after, 1);
			mica_err_clear(&e);
			usleep(200);
		}
	}
	return NULL;
}

static void everybody_is_called_back_once(void **state)
{
	pthread_t threads[THREADS];
	struct committer_stats s;
	unsigned conflicts = 0;

	(void)state;
	memset(many, 0, sizeof(many));
	shared = start(64, 2000);
	core.sleep_us = 300;
	for (int t = 0; t < THREADS; t++)
		pthread_create(&threads[t], NULL, hammer, many[t]);
	for (int t = 0; t < THREADS; t++)
		pthread_join(threads[t], NULL);
	committer_stop(shared);
	committer_stats(shared, &s);
	for (int t = 0; t < THREADS; t++)
		for (int i = 0; i < EACH; i++) {
			assert_int_equal(atomic_load(&many[t][i].done), 1);
			assert_int_equal(
				many[t][i].answer, many[t][i].conflict ? MICA_CONFLICT : MICA_OK);
			conflicts += many[t][i].conflict;
		}
	assert_int_equal(s.queued, 0);
	assert_int_equal(s.entries + s.conflicts, THREADS * EACH);
	assert_int_equal(s.conflicts, conflicts);
	/* The point of it: far fewer commits than entries. */
	assert_true(s.commits < THREADS * EACH / 2);
	assert_true(atomic_load(&core.largest) <= 64);
	committer_free(shared);
}

static void the_queue_is_bounded_while_a_commit_hangs(void **state)
{
	struct committer *c = start(3, 0);
	struct mica_candidate k[5] = {0};
	struct mica_err e = MICA_ERR_INIT;
	struct committer_stats s;

	(void)state;
	atomic_store(&core.blocked, true);
	for (int i = 0; i < 3; i++)
		submit(c, &k[i]);
	usleep(5000);
	assert_int_equal(committer_take_submit(c, &k[3], done, &core, &e), MICA_LIMIT);
	assert_string_equal(e.reason, "overloaded");
	committer_stats(c, &s);
	assert_int_equal(s.queued, 3);
	assert_int_equal(s.refused, 1);
	atomic_store(&core.blocked, false);
	while (!atomic_load(&k[2].done))
		usleep(100);
	submit(c, &k[4]);
	committer_free(c);
	assert_int_equal(k[4].answer, MICA_OK);
	assert_int_equal(atomic_load(&k[3].done), 0);
}

static void a_full_disk_is_told_and_passes(void **state)
{
	struct committer *c = start(10, 0);
	struct mica_candidate k[2] = {0};

	(void)state;
	core.fail = MICA_UNAVAILABLE;
	core.reason = "disk_full";
	submit(c, &k[0]);
	while (!atomic_load(&k[0].done))
		usleep(100);
	assert_int_equal(k[0].answer, MICA_UNAVAILABLE);
	assert_false(k[0].committed);
	assert_int_equal(core.fatal, 0);
	core.fail = MICA_OK;
	submit(c, &k[1]);
	committer_free(c);
	assert_int_equal(k[1].answer, MICA_OK);
}

static void an_unknown_outcome_is_fatal_and_never_ok(void **state)
{
	struct committer *c = start(10, 0);
	struct mica_candidate k = {0};

	(void)state;
	core.fail = MICA_INTERNAL;
	core.reason = "commit_failed";
	submit(c, &k);
	committer_free(c);
	assert_int_equal(core.fatal, 1);
	assert_int_equal(k.answer, MICA_UNAVAILABLE);
}

static void after_stop_nothing_is_taken_and_nothing_lost(void **state)
{
	struct committer *c = start(10, 1000);
	struct mica_candidate k[4] = {0};
	struct mica_err e = MICA_ERR_INIT;

	(void)state;
	for (int i = 0; i < 3; i++)
		submit(c, &k[i]);
	committer_stop(c);
	for (int i = 0; i < 3; i++)
		assert_int_equal(atomic_load(&k[i].done), 1);
	assert_int_equal(committer_take_submit(c, &k[3], done, &core, &e), MICA_UNAVAILABLE);
	assert_string_equal(e.reason, "stopping");
	committer_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lone_request_does_not_wait),
		cmocka_unit_test(a_batch_waits_for_what_is_being_prepared),
		cmocka_unit_test(everybody_is_called_back_once),
		cmocka_unit_test(the_queue_is_bounded_while_a_commit_hangs),
		cmocka_unit_test(a_full_disk_is_told_and_passes),
		cmocka_unit_test(an_unknown_outcome_is_fatal_and_never_ok),
		cmocka_unit_test(after_stop_nothing_is_taken_and_nothing_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
