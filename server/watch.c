/* SPDX-License-Identifier: Apache-2.0 */
/* A heap of who waits, by the time at which they are looked at next. */
#include "watch.h"

#include "http.h"

#include "mica/clock.h"
#include "mica/mem.h"

#include <pthread.h>
#include <stdio.h>
#include <time.h>

#define TICK_MS 20 /* at most 50 walks a second over those who wait */
#define BATCH   512

struct waiter {
	void *job;
	int64_t due, end; /* mica_mono_ms */
	enum mica_channel channel;
	enum mica_format format;
	bool shared;
	char *td;
	char etag[sizeof(((struct mica_snapshot *)0)->etag)];
};

struct watch {
	struct watch_options o;
	pthread_mutex_t lock;
	pthread_cond_t come;
	pthread_t thread;
	bool running, draining, stopped;
	struct waiter **heap;
	unsigned n, room;
	unsigned count[2]; /* own listener, shared; those who are being looked at included */
	uint64_t generation;
};

/* What one look at a batch found, so that a snapshot is asked for once. */
struct looked {
	const struct mica_snapshot *s[MICA_CHANNEL_COUNT][MICA_FMT_COUNT];
	bool known[MICA_CHANNEL_COUNT][MICA_FMT_COUNT];
};

/* ---- the heap ------------------------------------------------------------------------------ */

static void sift_up(struct watch *w, unsigned i)
{
	struct waiter *x = w->heap[i];
	for (; i > 0 && w->heap[(i - 1) / 2]->due > x->due; i = (i - 1) / 2)
		w->heap[i] = w->heap[(i - 1) / 2];
	w->heap[i] = x;
}

static void sift_down(struct watch *w, unsigned i)
{
	struct waiter *x = w->heap[i];
	for (unsigned c; (c = 2 * i + 1) < w->n; i = c) {
		if (c + 1 < w->n && w->heap[c + 1]->due < w->heap[c]->due)
			c++;
		if (w->heap[c]->due >= x->due)
			break;
		w->heap[i] = w->heap[c];
	}
	w->heap[i] = x;
}

static void push(struct watch *w, struct waiter *x)
{
	if (w->n == w->room) {
		w->room = w->room ? w->room * 2 : 64;
		w->heap = mica_realloc(w->heap, w->room, sizeof(struct waiter *));
	}
	w->heap[w->n++] = x;
	sift_up(w, w->n - 1);
}

static struct waiter *pop(struct watch *w)
{
	struct waiter *x = w->heap[0];
	w->heap[0] = w->heap[--w->n];
	if (w->n)
		sift_down(w, 0);
	return x;
}

/* Everybody is due within `spread_ms` at the latest. Caller holds the lock. */
static void hasten(struct watch *w, int64_t spread_ms)
{
	int64_t now = mica_mono_ms();
	for (unsigned i = 0; i < w->n; i++) {
		int64_t at = now + spread_ms * i / w->n;
		if (at < w->heap[i]->due)
			w->heap[i]->due = at;
	}
	for (unsigned i = w->n / 2; i-- > 0;)
		sift_down(w, i);
	pthread_cond_signal(&w->come);
}

/* ---- looking ------------------------------------------------------------------------------- */

/* Borrowed from *l, or a reference of its own in *own. NULL when there is none. */
static const struct mica_snapshot *look(
	struct watch *w, const struct waiter *x, struct looked *l, const struct mica_snapshot **own)
{
	struct mica_err e = MICA_ERR_INIT;
	const struct mica_snapshot **at = &l->s[x->channel][x->format];

	*own = NULL;
	if (x->td) {
		if (mica_core_snapshot(w->o.core, x->td, x->channel, x->format, own, &e) != MICA_OK)
			*own = NULL;
		return *own;
	}
	if (!l->known[x->channel][x->format]) {
		if (mica_core_snapshot(w->o.core, NULL, x->channel, x->format, at, &e) != MICA_OK)
			*at = NULL;
		l->known[x->channel][x->format] = true;
	}
	return *at;
}

static void end(
	struct watch *w, struct waiter *x, const struct mica_snapshot *s, enum watch_end how)
{
	w->o.done(x->job, s, how);
	mica_free(x->td);
	mica_free(x);
}

/* True when its wait is over; otherwise it goes back. */
static bool look_at(struct watch *w, struct waiter *x, struct looked *l, bool draining)
{
	const struct mica_snapshot *own = NULL, *s = draining ? NULL : look(w, x, l, &own);
	bool changed = s && strcmp(s->etag, x->etag) != 0;
	bool over = draining || changed || mica_mono_ms() >= x->end;

	if (over)
		end(w, x, s, draining ? WATCH_DRAIN : changed ? WATCH_CHANGED : WATCH_TIME_OVER);
	mica_snapshot_unref(own);
	return over;
}

/* Caller holds the lock, which is free while the batch is looked at. */
static void run_batch(struct watch *w)
{
	struct waiter *batch[BATCH];
	unsigned n = 0, ended[2] = {0, 0};
	int64_t now = mica_mono_ms();
	uint64_t generation = w->generation;
	bool draining = w->draining;
	struct looked l = {.known = {{false}}};

	while (n < BATCH && w->n && w->heap[0]->due <= now)
		batch[n++] = pop(w);
	pthread_mutex_unlock(&w->lock);
	http_finish_begin();
	for (unsigned i = 0; i < n; i++) {
		bool shared = batch[i]->shared;
		if (look_at(w, batch[i], &l, draining)) {
			ended[shared]++;
			batch[i] = NULL;
		}
	}
	http_finish_end();
	for (unsigned c = 0; c < MICA_CHANNEL_COUNT; c++)
		for (unsigned f = 0; f < MICA_FMT_COUNT; f++)
			mica_snapshot_unref(l.s[c][f]);
	pthread_mutex_lock(&w->lock);
	w->count[0] -= ended[0];
	w->count[1] -= ended[1];
	for (unsigned i = 0; i < n; i++)
		if (batch[i]) {
			/* a change that came while we looked is looked at again */
			batch[i]->due =
				w->generation != generation || w->draining ? now : batch[i]->end;
			push(w, batch[i]);
		}
}

static void wait_until(struct watch *w, int64_t ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
	pthread_cond_timedwait(&w->come, &w->lock, &t);
}

static void *loop(void *arg)
{
	struct watch *w = arg;
	int64_t tick = 0;

	pthread_mutex_lock(&w->lock);
	while (!w->stopped || w->n) {
		int64_t now = mica_mono_ms();
		if (w->n == 0) {
			pthread_cond_wait(&w->come, &w->lock);
		} else if (w->heap[0]->due > now) {
			wait_until(w, w->heap[0]->due);
		} else if (now < tick) {
			wait_until(w, tick);
		} else {
			while (w->n && w->heap[0]->due <= now)
				run_batch(w);
			tick = mica_mono_ms() + TICK_MS;
		}
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

/* ---- the outside --------------------------------------------------------------------------- */

mica_rc watch_new(const struct watch_options *o, struct watch **out, struct mica_err *e)
{
	struct watch *w = MICA_NEW(struct watch);
	pthread_condattr_t attr;
	int err;

	w->o = *o;
	w->generation = 1;
	pthread_mutex_init(&w->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&w->come, &attr);
	pthread_condattr_destroy(&attr);
	err = pthread_create(&w->thread, NULL, loop, w);
	w->running = err == 0;
	if (err) {
		watch_free(w);
		return mica_fail_errno(e, err, "starting a thread");
	}
	*out = w;
	return MICA_OK;
}

uint64_t watch_generation(struct watch *w)
{
	uint64_t g;
	pthread_mutex_lock(&w->lock);
	g = w->generation;
	pthread_mutex_unlock(&w->lock);
	return g;
}

/* Caller holds the lock. */
static mica_rc admit(struct watch *w, bool shared, struct mica_err *e)
{
	if (w->draining)
		return mica_fail(e, MICA_UNAVAILABLE, "draining", "this server is about to end");
	if (w->count[shared] < (shared ? w->o.max_shared : w->o.max))
		return MICA_OK;
	return mica_fail(e, MICA_LIMIT, "too_many_watchers",
		"too many long polls wait, at most %u are taken here; ask without wait",
		shared ? w->o.max_shared : w->o.max);
}

mica_rc watch_add(struct watch *w, const struct watch_for *f, void *job, struct mica_err *e)
{
	struct waiter *x = MICA_NEW(struct waiter);
	mica_rc rc;

	*x = (struct waiter){.job = job,
		.channel = f->channel,
		.format = f->format,
		.shared = f->shared,
		.td = mica_strdup(f->td)};
	snprintf(x->etag, sizeof(x->etag), "%s", f->etag);
	pthread_mutex_lock(&w->lock);
	rc = admit(w, f->shared, e);
	if (rc == MICA_OK) {
		x->end = mica_mono_ms() + f->wait_ms;
		x->due = w->generation == f->generation ? x->end : mica_mono_ms();
		w->count[f->shared]++;
		push(w, x);
		if (w->heap[0] == x)
			pthread_cond_signal(&w->come);
	}
	pthread_mutex_unlock(&w->lock);
	if (rc != MICA_OK) {
		mica_free(x->td);
		mica_free(x);
	}
	return rc;
}

void watch_wake(struct watch *w, int64_t spread_ms)
{
	pthread_mutex_lock(&w->lock);
	w->generation++;
	hasten(w, spread_ms);
	pthread_mutex_unlock(&w->lock);
}

void watch_set_max(struct watch *w, unsigned max, unsigned max_shared)
{
	pthread_mutex_lock(&w->lock);
	w->o.max = max;
	w->o.max_shared = max_shared;
	pthread_mutex_unlock(&w->lock);
}

unsigned watch_count(struct watch *w, bool shared)
{
	unsigned n;
	pthread_mutex_lock(&w->lock);
	n = w->count[shared];
	pthread_mutex_unlock(&w->lock);
	return n;
}

void watch_drain(struct watch *w)
{
	pthread_mutex_lock(&w->lock);
	w->draining = true;
	hasten(w, 0);
	pthread_mutex_unlock(&w->lock);
}

void watch_free(struct watch *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	w->draining = w->stopped = true;
	hasten(w, 0);
	pthread_mutex_unlock(&w->lock);
	if (w->running)
		pthread_join(w->thread, NULL);
	pthread_cond_destroy(&w->come);
	pthread_mutex_destroy(&w->lock);
	mica_free(w->heap);
	mica_free(w);
}
