/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* pthread_setname_np */
#include "committer.h"

#include "mica/clock.h"
#include "mica/mem.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

/* More would only make the first of a batch wait longer. */
#define BATCH_MAX 1024
/* A batch is looked at this many times while it fills, and goes when it grew no more: the larger
 * the one before was, the less often, since each look is two switches of a core that has work. */
#define FILL_SLICES       2
#define FILL_SLICES_SMALL 16
#define SMALL_BATCH       16

struct job {
	struct mica_candidate *k;
	committer_done *done;
	void *ctx;
};

struct committer {
	struct committer_options o;
	pthread_t thread;
	pthread_mutex_t mutex;
	pthread_cond_t wake;
	/* Under the mutex: a ring of what waits. */
	struct job *ring;
	unsigned room, head, n;
	bool idle; /* the thread sleeps until there is something */
	bool stopping, joined;
	struct committer_stats stats;
	atomic_uint preparing;
	/* Of the thread alone. */
	struct job batch[BATCH_MAX];
	struct mica_candidate *candidates[BATCH_MAX];
};

void committer_enter(struct committer *c)
{
	atomic_fetch_add_explicit(&c->preparing, 1, memory_order_relaxed);
}

void committer_leave(struct committer *c)
{
	atomic_fetch_sub_explicit(&c->preparing, 1, memory_order_relaxed);
}

mica_rc committer_take_submit(struct committer *c, struct mica_candidate *k, committer_done *done,
	void *ctx, struct mica_err *e)
{
	bool wake, stopping;

	pthread_mutex_lock(&c->mutex);
	stopping = c->stopping;
	if (stopping || c->n == c->room) {
		c->stats.refused++;
		pthread_mutex_unlock(&c->mutex);
		if (stopping)
			return mica_fail(e, MICA_UNAVAILABLE, "stopping",
				"this server is stopping; ask again");
		if (e && e->rc == MICA_OK)
			e->retry_after = 1;
		return mica_fail(e, MICA_LIMIT, "overloaded",
			"too many requests are waiting to be recorded; ask again");
	}
	c->ring[(c->head + c->n) % c->room] = (struct job){.k = k, .done = done, .ctx = ctx};
	c->n++;
	wake = c->idle;
	c->idle = false;
	pthread_mutex_unlock(&c->mutex);
	/* Only the first one of a batch wakes the thread. */
	if (wake)
		pthread_cond_signal(&c->wake);
	return MICA_OK;
}

static unsigned queued(struct committer *c)
{
	unsigned n;

	pthread_mutex_lock(&c->mutex);
	n = c->n;
	pthread_mutex_unlock(&c->mutex);
	return n;
}

/* Lets a batch grow while it does. A lone request is never held up: it waits only when another is
 * being prepared, or when the batch before had company. */
static void fill(struct committer *c, unsigned last)
{
	const int slices = last >= SMALL_BATCH ? FILL_SLICES : FILL_SLICES_SMALL;
	struct timespec slice = {.tv_nsec = c->o.fill_us * 1000 / slices};
	unsigned n = queued(c), before;

	if (c->o.fill_us <= 0)
		return;
	for (int i = 0; i < slices && n < BATCH_MAX; i++) {
		if (last <= 1 && n <= 1 &&
			atomic_load_explicit(&c->preparing, memory_order_relaxed) == 0)
			return;
		before = n;
		nanosleep(&slice, NULL);
		n = queued(c);
		if (n == before)
			return;
	}
}

/* Sleeps until there is something; false when there never will be. */
static bool wait_for_work(struct committer *c)
{
	bool more;

	pthread_mutex_lock(&c->mutex);
	while (c->n == 0 && !c->stopping) {
		c->idle = true;
		pthread_cond_wait(&c->wake, &c->mutex);
	}
	c->idle = false;
	more = c->n > 0;
	pthread_mutex_unlock(&c->mutex);
	return more;
}

static unsigned take(struct committer *c)
{
	unsigned n;

	pthread_mutex_lock(&c->mutex);
	n = c->n < BATCH_MAX ? c->n : BATCH_MAX;
	for (unsigned i = 0; i < n; i++) {
		c->batch[i] = c->ring[(c->head + i) % c->room];
		c->candidates[i] = c->batch[i].k;
	}
	pthread_mutex_unlock(&c->mutex);
	return n;
}

/* Makes room only now: max_queue bounds what is waiting together with what is being committed. */
static void count(struct committer *c, unsigned n, mica_rc rc, int64_t ns)
{
	uint64_t conflicts = 0;

	for (unsigned i = 0; rc == MICA_OK && i < n; i++)
		conflicts += mica_candidate_rc(c->candidates[i]) != MICA_OK;
	pthread_mutex_lock(&c->mutex);
	c->head = (c->head + n) % c->room;
	c->n -= n;
	c->stats.commits++;
	c->stats.last_commit_ns = ns;
	c->stats.commit_ns += ns;
	c->stats.conflicts += conflicts;
	if (rc == MICA_OK)
		c->stats.entries += n - conflicts;
	else
		c->stats.failed += n;
	pthread_mutex_unlock(&c->mutex);
}

static void commit(struct committer *c, unsigned n)
{
	struct mica_err e = MICA_ERR_INIT;
	int64_t started = mica_mono_ns();
	mica_rc rc = mica_core_commit(c->o.core, c->candidates, n, mica_now_ms(), &e);

	if (rc == MICA_INTERNAL) {
		c->o.fatal(c->o.ctx, &e);
		/* Should that return, the clients are told nothing that is not known. */
		mica_err_clear(&e);
		rc = mica_fail(
			&e, MICA_UNAVAILABLE, "store_failed", "the store has failed; ask again");
	}
	count(c, n, rc, mica_mono_ns() - started);
	if (c->o.before)
		c->o.before();
	for (unsigned i = 0; i < n; i++) {
		struct job *j = &c->batch[i];

		j->done(j->ctx, j->k, rc == MICA_OK ? mica_candidate_rc(j->k) : rc, &e);
	}
	if (c->o.after)
		c->o.after();
}

static void *run(void *arg)
{
	struct committer *c = arg;
	unsigned n = 0;

	pthread_setname_np(pthread_self(), "committer");
	while (wait_for_work(c)) {
		fill(c, n);
		n = take(c);
		commit(c, n);
	}
	return NULL;
}

static void destroy(struct committer *c)
{
	pthread_mutex_destroy(&c->mutex);
	pthread_cond_destroy(&c->wake);
	mica_free(c->ring);
	mica_free(c);
}

mica_rc committer_new(const struct committer_options *o, struct committer **out, struct mica_err *e)
{
	struct committer *c = MICA_NEW(struct committer);
	int rc;

	c->o = *o;
	c->room = o->max_queue ? o->max_queue : 1;
	c->ring = mica_calloc(c->room, sizeof(*c->ring));
	pthread_mutex_init(&c->mutex, NULL);
	pthread_cond_init(&c->wake, NULL);
	rc = pthread_create(&c->thread, NULL, run, c);
	if (rc != 0) {
		destroy(c);
		return mica_fail(e, MICA_INTERNAL, "thread_failed",
			"cannot start the committer's thread: %s", strerror(rc));
	}
	*out = c;
	return MICA_OK;
}

void committer_stats(struct committer *c, struct committer_stats *out)
{
	pthread_mutex_lock(&c->mutex);
	*out = c->stats;
	out->queued = c->n;
	pthread_mutex_unlock(&c->mutex);
}

void committer_stop(struct committer *c)
{
	bool join;

	pthread_mutex_lock(&c->mutex);
	c->stopping = true;
	join = !c->joined;
	c->joined = true;
	pthread_mutex_unlock(&c->mutex);
	pthread_cond_signal(&c->wake);
	if (join)
		pthread_join(c->thread, NULL);
}

void committer_free(struct committer *c)
{
	if (!c)
		return;
	committer_stop(c);
	destroy(c);
}
