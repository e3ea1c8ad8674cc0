/* SPDX-License-Identifier: Apache-2.0 */
#include "pki.h"

#include "mica/replay.h"

static struct mica_replay_request request(void)
{
	struct mica_replay_request q = {.generation = 1,
		.operation = "x509",
		.issuer = "prod",
		.credential = MICA_LIT("token"),
		.subject = MICA_LIT("csr"),
		.ttl = 3600,
		.identity = ID};
	return q;
}

static void every_part_makes_another_key(void **state)
{
	uint8_t base[MICA_REPLAY_KEY_LEN], other[MICA_REPLAY_KEY_LEN];
	struct mica_replay_request q[8];
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(q); i++)
		q[i] = request();
	mica_replay_key(&q[0], base);
	q[0].generation = 2;
	q[1].front = MICA_FRONT_ISTIO;
	q[2].operation = "jwt";
	q[3].issuer = "test";
	q[4].credential = MICA_LIT("tokenc");
	q[4].subject = MICA_LIT("sr"); /* not the same when joined */
	q[5].subject = MICA_LIT("csr2");
	q[6].ttl = 0;
	q[7].identity = ID "2";
	for (size_t i = 0; i < MICA_ARRAY_LEN(q); i++) {
		mica_replay_key(&q[i], other);
		assert_memory_not_equal(base, other, sizeof(base));
	}
	q[0] = request();
	mica_replay_key(&q[0], other);
	assert_memory_equal(base, other, sizeof(base));
}

struct woken {
	void *jobs[8];
	int status[8];
	unsigned n;
};

static void wake(void *ctx, void *job, const struct mica_answer *answer)
{
	struct woken *w = ctx;
	w->jobs[w->n] = job;
	w->status[w->n++] = answer->status;
}

static void equals_share_one_result(void **state)
{
	struct mica_replay *r = mica_replay_new(16, 2);
	const struct mica_answer *a = mica_answer_new(201, MICA_LIT("body")), *got;
	uint8_t key[MICA_REPLAY_KEY_LEN] = {7};
	struct woken w = {.n = 0};
	int j1, j2, j3, j4;
	(void)state;
	assert_int_equal(mica_replay_begin(r, key, 1000, &j1, &got), MICA_REPLAY_NEW);
	assert_int_equal(mica_replay_begin(r, key, 1001, &j2, &got), MICA_REPLAY_WAIT);
	assert_int_equal(mica_replay_begin(r, key, 1002, &j3, &got), MICA_REPLAY_WAIT);
	assert_int_equal(mica_replay_begin(r, key, 1002, &j4, &got), MICA_REPLAY_FULL);
	assert_true(mica_replay_forget_job(r, key, &j2));
	assert_false(mica_replay_forget_job(r, key, &j2));
	mica_replay_finish(r, key, 1500, a, true, wake, &w);
	mica_answer_unref(a);
	assert_int_equal(w.n, 1);
	assert_ptr_equal(w.jobs[0], &j3);
	assert_int_equal(w.status[0], 201);
	/* for one minute from the answer on */
	assert_int_equal(mica_replay_begin(r, key, 61499, &j1, &got), MICA_REPLAY_DONE);
	assert_true(mica_slice_eq_str(got->bytes, "body"));
	mica_answer_unref(got);
	assert_int_equal(mica_replay_begin(r, key, 61500, &j1, &got), MICA_REPLAY_NEW);
	mica_replay_free(r);
}

static void failures_are_not_remembered(void **state)
{
	struct mica_replay *r = mica_replay_new(16, 2);
	const struct mica_answer *a = mica_answer_new(503, MICA_LIT("")), *got;
	uint8_t key[MICA_REPLAY_KEY_LEN] = {7};
	struct woken w = {.n = 0};
	int j1, j2;
	(void)state;
	assert_int_equal(mica_replay_begin(r, key, 1000, &j1, &got), MICA_REPLAY_NEW);
	assert_int_equal(mica_replay_begin(r, key, 1001, &j2, &got), MICA_REPLAY_WAIT);
	mica_replay_finish(r, key, 1500, a, false, wake, &w);
	assert_int_equal(w.n, 1);
	assert_int_equal(mica_replay_count(r), 0);
	assert_int_equal(mica_replay_begin(r, key, 1600, &j1, &got), MICA_REPLAY_NEW);
	mica_answer_unref(a);
	mica_replay_free(r);
}

static void memory_is_bounded(void **state)
{
	struct mica_replay *r = mica_replay_new(4, 2);
	const struct mica_answer *a = mica_answer_new(201, MICA_LIT("body")), *got;
	struct woken w = {.n = 0};
	(void)state;
	for (uint8_t i = 0; i < 4; i++) {
		uint8_t key[MICA_REPLAY_KEY_LEN] = {i};
		assert_int_equal(mica_replay_begin(r, key, 1000, &w, &got), MICA_REPLAY_NEW);
		mica_replay_finish(r, key, 1000 + i, a, true, wake, &w);
	}
	uint8_t key[MICA_REPLAY_KEY_LEN] = {9};
	assert_int_equal(mica_replay_begin(r, key, 2000, &w, &got), MICA_REPLAY_FULL);
	assert_int_equal(mica_replay_begin(r, key, 61001, &w, &got), MICA_REPLAY_NEW);
	assert_int_equal(mica_replay_count(r), 3);
	mica_answer_unref(a);
	mica_replay_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_part_makes_another_key),
		cmocka_unit_test(equals_share_one_result),
		cmocka_unit_test(failures_are_not_remembered),
		cmocka_unit_test(memory_is_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
