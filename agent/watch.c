/* SPDX-License-Identifier: Apache-2.0 */
#include "watch.h"

#include "store.h"

#include "mica/clock.h"
#include "mica/log.h"
#include "mica/threads.h"

#include <stdatomic.h>

#define WAIT_S       60
#define BACKOFF_MS   500
#define BACKOFF_MAX  30000
#define DOUBLING_MAX 8
#define PAUSE_MS     100 /* between two answers, whatever comes */
#define POLL_MS      5000 /* the same where answers have no ETag to wait by */

struct watch {
	struct watch_options o;
	struct ask *ask;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t work;
	bool runs;
	atomic_bool stopping, kicked;
	char etag[ASK_ETAG_SIZE];
	unsigned failures; /* in a row */
	bool told; /* of the failure, in the log */
};

/* A poll that waits is given up when there is reason to ask at once. */
static bool given_up(void *ctx)
{
	struct watch *w = ctx;

	return atomic_load(&w->stopping) || atomic_load(&w->kicked);
}

struct watch *watch_new(const struct watch_options *o)
{
	struct watch *w = MICA_NEW(struct watch);

	w->o = *o;
	pthread_mutex_init(&w->lock, NULL);
	mica_cond_init(&w->work);
	w->ask = ask_new(&(struct ask_options){.config = o->config,
		.keep = o->keep,
		.anchor = o->anchor,
		.figures = o->figures,
		.line = FIGURE_WATCH,
		.cancelled = given_up,
		.ctx = w});
	return w;
}

void watch_free(struct watch *w)
{
	if (!w)
		return;
	ask_free(w->ask);
	pthread_mutex_destroy(&w->lock);
	pthread_cond_destroy(&w->work);
	mica_free(w);
}

static void wake(struct watch *w)
{
	pthread_mutex_lock(&w->lock);
	pthread_cond_signal(&w->work);
	pthread_mutex_unlock(&w->lock);
}

void watch_kick(struct watch *w)
{
	atomic_store(&w->kicked, true);
	wake(w);
}

/* ---- what came ------------------------------------------------------------------------------ */

mica_rc watch_take(
	const struct trust *held, const struct trust *fresh, bool bootstrap, struct mica_err *e)
{
	if (fresh->sequence == 0)
		return mica_fail(e, MICA_CONFLICT, "bundle_without_sequence",
			"a bundle without spiffe_sequence could be any");
	if (!held || bootstrap)
		return MICA_OK;
	if (fresh->sequence < held->sequence)
		return mica_fail(e, MICA_CONFLICT, "bundle_went_back",
			"the bundle that came has the sequence %llu, the one that is held %llu: a "
			"new bootstrap file makes it count",
			(unsigned long long)fresh->sequence, (unsigned long long)held->sequence);
	if (fresh->sequence == held->sequence &&
		memcmp(fresh->hash, held->hash, sizeof(held->hash)) != 0)
		return mica_fail(e, MICA_CONFLICT, "bundle_changed_silently",
			"the bundle that came is another one with the same sequence %llu",
			(unsigned long long)fresh->sequence);
	return MICA_OK;
}

static void save(struct watch *w, const struct trust *t, const uint8_t mark[32])
{
	struct mica_err e = MICA_ERR_INIT;

	if (store_save(w->o.config, t, mark, &e) != MICA_OK)
		MICA_LOG(MICA_WARN, "state_not_saved", MICA_E(&e));
}

static mica_rc take(struct watch *w, const struct ask_bundle *b, struct mica_err *e)
{
	AUTO_TRUST held = keep_trust(w->o.keep);
	const bool same = held && held->sequence == b->trust->sequence && !b->bootstrap;
	mica_rc rc = watch_take(held, b->trust, b->bootstrap, e);
	uint8_t mark[32] = {0};

	if (rc != MICA_OK)
		return rc;
	memcpy(w->etag, b->etag, sizeof(w->etag));
	if (same)
		return MICA_OK;
	if (b->bootstrap)
		anchor_done(w->o.anchor, b->mark);
	(void)anchor_mark(w->o.anchor, mark);
	/* First on disk: what was handed out is never forgotten by a restart. */
	save(w, b->trust, mark);
	keep_set_trust(w->o.keep, b->trust);
	MICA_LOG(MICA_INFO, "bundle_taken", MICA_I("sequence", b->trust->sequence),
		MICA_I("roots", b->trust->n_roots), MICA_B("by_bootstrap", b->bootstrap));
	return MICA_OK;
}

/* ---- the loop ------------------------------------------------------------------------------ */

static void rest(struct watch *w, int64_t ms)
{
	const int64_t until = mica_mono_ms() + ms;

	pthread_mutex_lock(&w->lock);
	while (!given_up(w) && mica_mono_ms() < until)
		mica_cond_wait_until(&w->work, &w->lock, until);
	pthread_mutex_unlock(&w->lock);
}

static void failed(struct watch *w, const struct mica_err *e)
{
	unsigned doublings = w->failures < DOUBLING_MAX ? w->failures : DOUBLING_MAX;
	int64_t wait = (int64_t)BACKOFF_MS << doublings;

	w->failures++;
	figures_failed(w->o.figures, FIGURE_BUNDLE, mica_now_ms());
	if (wait > BACKOFF_MAX)
		wait = BACKOFF_MAX;
	if (wait < (int64_t)e->retry_after * 1000)
		wait = (int64_t)e->retry_after * 1500;
	wait = mica_jitter(wait, 50);
	MICA_LOG(w->told ? MICA_DEBUG : MICA_WARN, "bundle_not_fetched", MICA_E(e),
		MICA_I("again_in_ms", wait));
	w->told = true;
	rest(w, wait);
}

static void step(struct watch *w)
{
	struct ask_bundle b = {.wait = 0};
	struct mica_err e = MICA_ERR_INIT;
	mica_rc rc;

	memcpy(b.etag, w->etag, sizeof(b.etag));
	/* After a failure the next answer shall come at once, whether or not there is news. */
	if (b.etag[0] && w->failures == 0 && !atomic_exchange(&w->kicked, false))
		b.wait = WAIT_S;
	else
		atomic_store(&w->kicked, false);
	rc = ask_bundle(w->ask, &b, &e);
	if (rc == MICA_OK && b.trust)
		rc = take(w, &b, &e);
	trust_unref(b.trust);
	if (given_up(w))
		return;
	if (rc != MICA_OK) {
		failed(w, &e);
		return;
	}
	figures_ok(w->o.figures, FIGURE_BUNDLE);
	figures_bundle(w->o.figures, mica_mono_ms());
	if (w->told)
		MICA_LOG(MICA_INFO, "bundle_fetched_again", MICA_I("failures", w->failures));
	w->failures = 0;
	w->told = false;
	rest(w, w->etag[0] ? PAUSE_MS : POLL_MS);
}

static void *run(void *ctx)
{
	struct watch *w = ctx;

	while (!atomic_load(&w->stopping))
		step(w);
	return NULL;
}

mica_rc watch_start(struct watch *w, struct mica_err *e)
{
	mica_rc rc = mica_thread_start(&w->thread, run, w, "watching the bundle", e);

	w->runs = rc == MICA_OK;
	return rc;
}

void watch_stop(struct watch *w)
{
	atomic_store(&w->stopping, true);
	wake(w);
	if (w->runs)
		pthread_join(w->thread, NULL);
	w->runs = false;
}
