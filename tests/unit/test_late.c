/* SPDX-License-Identifier: Apache-2.0 */
#include "server/late.h"

#include "mica/clock.h"
#include "mica/mem.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <cmocka.h>

#define N 50

static struct mica_err err;

/* ---- when ------------------------------------------------------------------------------------ */

static void each_waits_a_little(void **state)
{
	struct late_pace p = {.step_us = 500};

	(void)state;
	assert_int_equal(late_due(&p, 1000000), 1000000 + LATE_LEAST_MS * 1000);
	/* far enough behind it: not one microsecond more */
	assert_int_equal(late_due(&p, 1020000), 1020000 + LATE_LEAST_MS * 1000);
}

static void many_leave_at_the_pace(void **state)
{
	struct late_pace p = {.step_us = 500};
	int64_t now = 1000000, first = late_due(&p, now);

	(void)state;
	for (int i = 1; i <= 1000; i++)
		assert_int_equal(late_due(&p, now), first + i * 500);
	/* when the queue has drained, nobody pays for it any more */
	now += 10000000;
	assert_int_equal(late_due(&p, now), now + LATE_LEAST_MS * 1000);
}

static void nobody_waits_for_ever(void **state)
{
	struct late_pace p = {.step_us = 500};
	int64_t before = 0;

	(void)state;
	for (int64_t i = 0, now = 1000000; i < 100000; i++, now += 7) {
		int64_t due = late_due(&p, now);

		assert_true(due <= now + LATE_MOST_MS * 1000);
		assert_true(due >= before);
		before = due;
	}
}

/* ---- the thread ---------------------------------------------------------------------------- */

struct told {
	struct late_item item;
	pthread_mutex_t *lock;
	int *count;
	int place;
	int64_t added_ms, told_ms;
	pthread_t on;
};

static void tell(void *job)
{
	struct told *t = job;

	pthread_mutex_lock(t->lock);
	t->told_ms = mica_mono_ms();
	t->on = pthread_self();
	t->place = (*t->count)++;
	pthread_mutex_unlock(t->lock);
}

static struct late *begin(unsigned per_second, struct told t[N], pthread_mutex_t *lock, int *count)
{
	struct late *l;

	assert_int_equal(late_new(per_second, &l, &err), MICA_OK);
	for (int i = 0; i < N; i++) {
		t[i] = (struct told){.lock = lock, .count = count, .added_ms = mica_mono_ms()};
		assert_true(late_add(l, &t[i].item, tell, &t[i]));
	}
	return l;
}

static int told(pthread_mutex_t *lock, const int *count)
{
	int n;

	pthread_mutex_lock(lock);
	n = *count;
	pthread_mutex_unlock(lock);
	return n;
}

static void in_order_and_late(void **state)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static struct told t[N];
	int count = 0;
	struct late *l = begin(1000, t, &lock, &count);

	(void)state;
	while (told(&lock, &count) < N)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	late_free(l);
	for (int i = 0; i < N; i++) {
		assert_int_equal(t[i].place, i);
		assert_true(t[i].told_ms - t[i].added_ms >= LATE_LEAST_MS - 1);
		assert_false(pthread_equal(t[i].on, pthread_self()));
	}
	/* the clock is read in whole milliseconds on both sides */
	assert_true(t[N - 1].told_ms - t[0].told_ms >= N - 3);
}

/* Who has gone is not told, and holds up nobody; the others keep their order. */
static void removed_are_not_told(void **state)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static struct told t[N];
	static const int gone[] = {0, 1, 7, N - 1};
	int count = 0, place = 0;
	struct late *l = begin(1, t, &lock, &count);

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(gone); i++) {
		/* the first may have been told already */
		bool waited = late_remove(l, &t[gone[i]].item);

		assert_true(waited || gone[i] == 0);
		assert_false(late_remove(l, &t[gone[i]].item));
	}
	t[N - 1] = (struct told){.lock = &lock, .count = &count};
	assert_true(late_add(l, &t[N - 1].item, tell, &t[N - 1]));
	late_free(l);
	for (int i = 2; i < N; i++)
		if (i != 7) {
			assert_true(t[i].told_ms > 0);
			assert_true(t[i].place >= place);
			place = t[i].place + 1;
		}
	assert_int_equal(t[1].told_ms, 0);
	assert_int_equal(t[7].told_ms, 0);
}

static void the_end_tells_all(void **state)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static struct told t[N], after;
	int count = 0;
	struct late *l = begin(1, t, &lock, &count); /* the last is due in a second */

	(void)state;
	late_stop(l);
	assert_int_equal(count, N);
	for (int i = 0; i < N; i++)
		assert_int_equal(t[i].place, i);
	assert_true(t[N - 1].told_ms - t[0].added_ms < LATE_MOST_MS);
	assert_false(late_add(l, &after.item, tell, &after));
	late_free(l);
	late_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(each_waits_a_little),
		cmocka_unit_test(many_leave_at_the_pace), cmocka_unit_test(nobody_waits_for_ever),
		cmocka_unit_test(in_order_and_late), cmocka_unit_test(removed_are_not_told),
		cmocka_unit_test(the_end_tells_all)};

	return cmocka_run_group_tests_name("late", tests, NULL, NULL);
}
