/* SPDX-License-Identifier: Apache-2.0 */
#include "keys.h"

#include "keys_fetch.h"

#include "mica/clock.h"
#include "mica/jwks.h"
#include "mica/log.h"
#include "mica/mem.h"
#include "mica/threads.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define BACKOFF_MAX_MS  60000
#define RETRY_AFTER_MAX 300 /* seconds that an issuer may ask us to stay away */
#define WAITERS_MAX     4096 /* for each issuer */
#define JUST_NOW_MS     1000
#define THREAD_STACK    ((size_t)1 << 20)

struct waiter {
	struct waiter *next;
	mica_keys_done *done;
	void *ctx;
	int64_t deadline_ms;
};

/* One issuer. `lock` guards what follows it; the rest is the thread's own. */
struct feed {
	struct mica_keys *keys;
	struct keys_source source;
	pthread_t thread;
	/* What the core said about the last document: an unchanged file is not handed on again. */
	struct mica_buf last;
	mica_rc last_rc;
	struct mica_err last_err;
	int64_t handed_ms; /* when the file is handed on even so, for its age */
	unsigned failures; /* in a row */

	pthread_mutex_t lock;
	pthread_cond_t wake; /* the thread */
	pthread_cond_t first; /* who waits for the first attempt */
	bool stop;
	bool forced; /* a refresh was asked for and has not begun */
	bool busy; /* an attempt is under way */
	int64_t next_ms; /* of the next attempt by plan */
	int64_t forced_end_ms; /* of the last attempt that was asked for */
	int64_t ok_ms; /* when keys came last; 0 = never */
	struct waiter *waiters;
	unsigned n_waiters;
	struct mica_keys_status status;
};

struct mica_keys {
	struct mica_core *core;
	struct mica_keys_tuning tuning;
	pthread_rwlock_t lock; /* the table; feeds have their own */
	struct feed **feeds;
	unsigned n;
};

const char *mica_keys_state_name(enum mica_keys_state s)
{
	static const char *const names[MICA_KEYS_STATE_COUNT] = {
		"starting", "fresh", "failing", "stale"};
	return (unsigned)s < MICA_KEYS_STATE_COUNT ? names[s] : "?";
}

/* ---- who waits ------------------------------------------------------------------------------- */

static void answer_all(struct waiter *w, bool again)
{
	while (w) {
		struct waiter *next = w->next;
		w->done(w->ctx, again);
		mica_free(w);
		w = next;
	}
}

/* Takes out those whose time is over (all with `now_ms` INT64_MAX). Under the lock. */
static struct waiter *take_waiters(struct feed *f, int64_t now_ms)
{
	struct waiter *out = NULL, **at = &f->waiters;

	while (*at) {
		struct waiter *w = *at;
		if (w->deadline_ms > now_ms) {
			at = &w->next;
			continue;
		}
		*at = w->next;
		w->next = out;
		out = w;
		f->n_waiters--;
	}
	return out;
}

static bool add_waiter(struct feed *f, mica_keys_done *done, void *ctx, int64_t now_ms)
{
	struct waiter *w;

	if (f->n_waiters >= WAITERS_MAX)
		return false;
	w = MICA_NEW(struct waiter);
	*w = (struct waiter){.next = f->waiters,
		.done = done,
		.ctx = ctx,
		.deadline_ms = now_ms + f->keys->tuning.wait_ms};
	f->waiters = w;
	f->n_waiters++;
	return true;
}

/* Polled during a fetch: whoever has waited long enough goes on without it. */
static bool cancelled(void *ctx)
{
	struct feed *f = ctx;
	struct waiter *late;
	bool stop;

	pthread_mutex_lock(&f->lock);
	stop = f->stop;
	late = take_waiters(f, mica_mono_ms());
	pthread_mutex_unlock(&f->lock);
	answer_all(late, false);
	return stop;
}

/* ---- one attempt ----------------------------------------------------------------------------- */

struct outcome {
	mica_rc rc;
	struct mica_err err;
	bool unchanged; /* a file that was handed on before: not an attempt that counts */
	bool other; /* another document than last time */
	unsigned usable, skipped;
};

static bool is_stopped(struct feed *f)
{
	bool stop;

	pthread_mutex_lock(&f->lock);
	stop = f->stop;
	pthread_mutex_unlock(&f->lock);
	return stop;
}

static void hand_over(struct feed *f, struct mica_slice document, struct outcome *o)
{
	if (is_stopped(f)) {
		o->rc = mica_fail(&o->err, MICA_UNAVAILABLE, "cancelled", "fetching was ended");
		return;
	}
	o->rc = mica_core_set_jwks(f->keys->core, f->source.name, document, mica_now_ms(),
		&o->usable, &o->skipped, &o->err);
	o->other = f->last_rc != MICA_OK || !mica_slice_eq(document, mica_buf_slice(&f->last));
	mica_buf_reset(&f->last);
	mica_buf_put_slice(&f->last, document);
	f->last_rc = o->rc;
	f->last_err = o->err;
	f->handed_ms = mica_mono_ms();
}

static bool is_judged(mica_rc rc)
{
	return rc == MICA_OK || rc == MICA_INVALID || rc == MICA_LIMIT;
}

static void attempt(struct feed *f, bool forced, struct outcome *o)
{
	MICA_AUTO_BUF document;
	bool due = mica_mono_ms() - f->handed_ms >= f->source.refresh * 1000;

	*o = (struct outcome){.rc = MICA_OK};
	mica_buf_init(&document, MICA_JWKS_BYTES_MAX);
	o->rc = keys_fetch(&f->source, cancelled, f, &document, &o->err);
	if (o->rc != MICA_OK)
		return;
	if (f->source.jwks_file && !forced && !due && f->handed_ms != 0 && is_judged(f->last_rc) &&
		mica_slice_eq(mica_buf_slice(&document), mica_buf_slice(&f->last))) {
		o->rc = f->last_rc;
		o->err = f->last_err;
		o->unchanged = true;
		return;
	}
	hand_over(f, mica_buf_slice(&document), o);
}

/* ---- its consequences ------------------------------------------------------------------------ */

static int64_t keys_age(struct feed *f, unsigned *keys)
{
	int64_t fetched = 0, now = mica_now();

	*keys = 0;
	if (mica_core_jwks_age(f->keys->core, f->source.name, &fetched, keys, NULL) != MICA_OK ||
		fetched == 0)
		return -1;
	return now > fetched ? now - fetched : 0;
}

static void log_state(const struct feed *f, enum mica_keys_state before, const struct outcome *o,
	const struct mica_keys_status *now)
{
	const char *issuer = f->source.name;

	if (now->state == MICA_KEYS_FRESH && (before != MICA_KEYS_FRESH || o->other))
		MICA_LOG(MICA_INFO,
			before == MICA_KEYS_FRESH ? "issuer_keys_changed" : "issuer_keys_fresh",
			MICA_S("issuer", issuer), MICA_I("keys", now->keys),
			MICA_I("skipped", now->skipped));
	if (now->state == MICA_KEYS_FAILING && before != MICA_KEYS_FAILING)
		MICA_LOG(MICA_WARN, "issuer_keys_failing", MICA_S("issuer", issuer),
			MICA_I("age", now->age), MICA_I("keys", now->keys), MICA_E(&o->err));
	if (now->state == MICA_KEYS_STALE && before != MICA_KEYS_STALE)
		MICA_LOG(MICA_ERROR, "issuer_keys_stale", MICA_S("issuer", issuer),
			MICA_I("age", now->age), MICA_E(&o->err));
}

static int64_t next_delay(struct feed *f, const struct outcome *o)
{
	const struct mica_keys_tuning *t = &f->keys->tuning;
	int64_t most = f->source.refresh * 1000, wait = t->retry_ms;

	if (f->source.jwks_file)
		return t->file_ms;
	if (o->rc == MICA_OK)
		return mica_jitter(most, 90);
	most = most < BACKOFF_MAX_MS ? most : BACKOFF_MAX_MS;
	for (unsigned i = 1; i < f->failures && wait < most; i++)
		wait *= 2;
	wait = mica_jitter(wait < most ? wait : most, 50);
	if (o->err.retry_after * INT64_C(1000) > wait)
		wait = (o->err.retry_after < RETRY_AFTER_MAX ? o->err.retry_after
							     : RETRY_AFTER_MAX) *
			INT64_C(1000);
	return wait;
}

/* Under the lock. */
static void count(struct feed *f, const struct outcome *o, bool forced)
{
	struct mica_keys_status *s = &f->status;

	s->reason = NULL;
	s->error[0] = '\0';
	s->forced += forced;
	if (o->rc != MICA_OK) {
		s->fetches_failed += !o->unchanged;
		s->reason = mica_err_fine(&o->err);
		memcpy(s->error, o->err.text, sizeof(s->error));
	} else if (!o->unchanged) {
		s->fetches_ok++;
		s->skipped = o->skipped;
		s->last_success = mica_now();
		f->ok_ms = mica_mono_ms();
	}
}

static void conclude(struct feed *f, const struct outcome *o, bool forced)
{
	struct waiter *all;
	struct mica_keys_status now;
	enum mica_keys_state before;
	unsigned keys;
	int64_t age = keys_age(f, &keys);

	f->failures = o->rc == MICA_OK ? 0 : f->failures + 1;
	pthread_mutex_lock(&f->lock);
	before = f->status.state;
	count(f, o, forced);
	f->status.keys = keys;
	f->status.age = age;
	f->status.state = o->rc == MICA_OK             ? MICA_KEYS_FRESH
		: age < 0 || age > f->source.max_stale ? MICA_KEYS_STALE
						       : MICA_KEYS_FAILING;
	now = f->status;
	f->busy = false;
	f->next_ms = mica_mono_ms() + next_delay(f, o);
	if (forced)
		f->forced_end_ms = mica_mono_ms();
	pthread_cond_broadcast(&f->first);
	all = take_waiters(f, INT64_MAX);
	if (f->stop)
		before = now.state; /* what is ended by us is no news */
	pthread_mutex_unlock(&f->lock);
	log_state(f, before, o, &now);
	answer_all(all, o->rc == MICA_OK);
}

static void *feed_main(void *arg)
{
	struct feed *f = arg;
	struct outcome o;

	pthread_mutex_lock(&f->lock);
	while (!f->stop) {
		bool forced = f->forced;
		if (!forced && mica_mono_ms() < f->next_ms) {
			mica_cond_wait_until(&f->wake, &f->lock, f->next_ms);
			continue;
		}
		f->forced = false;
		f->busy = true;
		pthread_mutex_unlock(&f->lock);
		attempt(f, forced, &o);
		conclude(f, &o, forced);
		pthread_mutex_lock(&f->lock);
	}
	pthread_mutex_unlock(&f->lock);
	return NULL;
}

/* ---- life of a feed -------------------------------------------------------------------------- */

static void feed_free(struct feed *f)
{
	answer_all(take_waiters(f, INT64_MAX), false);
	keys_source_clear(&f->source);
	mica_buf_clear(&f->last);
	pthread_cond_destroy(&f->wake);
	pthread_cond_destroy(&f->first);
	pthread_mutex_destroy(&f->lock);
	mica_free(f);
}

static void feed_stop(struct feed *f)
{
	pthread_mutex_lock(&f->lock);
	f->stop = true;
	pthread_cond_signal(&f->wake);
	pthread_mutex_unlock(&f->lock);
}

static void feed_take_free(struct feed *f)
{
	pthread_join(f->thread, NULL);
	feed_free(f);
}

static mica_rc feed_new(struct mica_keys *k, const struct mica_issuer_config *c, struct feed **out,
	struct mica_err *e)
{
	struct feed *f = MICA_NEW(struct feed);
	mica_rc rc;

	f->keys = k;
	keys_source_init(&f->source, c);
	mica_buf_init(&f->last, MICA_JWKS_BYTES_MAX);
	f->forced_end_ms = INT64_MIN / 2;
	f->next_ms = mica_mono_ms();
	pthread_mutex_init(&f->lock, NULL);
	mica_cond_init(&f->wake);
	mica_cond_init(&f->first);
	snprintf(f->status.issuer, sizeof(f->status.issuer), "%s", c->name);
	f->status.age = -1;
	rc = mica_thread_start(&f->thread, feed_main, f, "an issuer's keys", e);
	if (rc != MICA_OK) {
		feed_free(f);
		return rc;
	}
	*out = f;
	return MICA_OK;
}

/* ---- the table ------------------------------------------------------------------------------- */

static const struct mica_issuer_config *config_of(
	const struct feed *f, const struct mica_config *config)
{
	for (unsigned i = 0; i < config->n_issuers; i++)
		if (keys_source_equals(&f->source, &config->issuers[i]))
			return &config->issuers[i];
	return NULL;
}

void mica_keys_retire(struct mica_keys *k, const struct mica_config *config)
{
	MICA_AUTO_FREE struct feed **gone = mica_calloc(k->n + 1, sizeof(struct feed *));
	unsigned n_gone = 0, n_kept = 0;

	pthread_rwlock_wrlock(&k->lock);
	for (unsigned i = 0; i < k->n; i++) {
		if (config && config_of(k->feeds[i], config))
			k->feeds[n_kept++] = k->feeds[i];
		else
			gone[n_gone++] = k->feeds[i];
	}
	k->n = n_kept;
	pthread_rwlock_unlock(&k->lock);
	for (unsigned i = 0; i < n_gone; i++)
		feed_stop(gone[i]);
	for (unsigned i = 0; i < n_gone; i++)
		feed_take_free(gone[i]);
}

static struct feed *find(struct mica_keys *k, const char *issuer)
{
	for (unsigned i = 0; i < k->n; i++)
		if (strcmp(k->feeds[i]->source.name, issuer) == 0)
			return k->feeds[i];
	return NULL;
}

mica_rc mica_keys_reload(struct mica_keys *k, const struct mica_config *config, struct mica_err *e)
{
	mica_rc rc = MICA_OK;

	mica_keys_retire(k, config);
	pthread_rwlock_wrlock(&k->lock);
	k->feeds = mica_realloc(k->feeds, k->n + config->n_issuers + 1, sizeof(struct feed *));
	for (unsigned i = 0; i < config->n_issuers && rc == MICA_OK; i++) {
		if (find(k, config->issuers[i].name))
			continue;
		rc = feed_new(k, &config->issuers[i], &k->feeds[k->n], e);
		k->n += rc == MICA_OK;
	}
	pthread_rwlock_unlock(&k->lock);
	return rc;
}

static int64_t or_default(int64_t v, int64_t otherwise)
{
	return v > 0 ? v : otherwise;
}

mica_rc mica_keys_new(struct mica_core *core, const struct mica_config *config,
	const struct mica_keys_tuning *tuning, struct mica_keys **out, struct mica_err *e)
{
	const struct mica_keys_tuning none = {0}, *t = tuning ? tuning : &none;
	struct mica_keys *k = MICA_NEW(struct mica_keys);
	mica_rc rc;

	k->core = core;
	k->tuning = (struct mica_keys_tuning){.forced_ms = or_default(t->forced_ms, 10000),
		.retry_ms = or_default(t->retry_ms, 1000),
		.file_ms = or_default(t->file_ms, 2000),
		.wait_ms = or_default(t->wait_ms, 5000)};
	pthread_rwlock_init(&k->lock, NULL);
	rc = mica_keys_reload(k, config, e);
	if (rc != MICA_OK) {
		mica_keys_free(k);
		return rc;
	}
	*out = k;
	return MICA_OK;
}

void mica_keys_free(struct mica_keys *k)
{
	if (!k)
		return;
	mica_keys_retire(k, NULL);
	pthread_rwlock_destroy(&k->lock);
	mica_free(k->feeds);
	mica_free(k);
}

void mica_keys_wait(struct mica_keys *k, int64_t ms)
{
	int64_t end_ms = mica_mono_ms() + ms;

	pthread_rwlock_rdlock(&k->lock);
	for (unsigned i = 0; i < k->n; i++) {
		struct feed *f = k->feeds[i];
		if (keys_age(f, &(unsigned){0}) >= 0)
			continue;
		pthread_mutex_lock(&f->lock);
		while (f->status.state == MICA_KEYS_STARTING && mica_mono_ms() < end_ms)
			mica_cond_wait_until(&f->first, &f->lock, end_ms);
		pthread_mutex_unlock(&f->lock);
	}
	pthread_rwlock_unlock(&k->lock);
}

/* ---- unknown keys ---------------------------------------------------------------------------- */

enum verdict { WAIT, AGAIN, NO };

/* Under the lock of `f`. */
static enum verdict decide(struct feed *f, int64_t now_ms)
{
	if (f->stop)
		return NO;
	if (f->busy || f->forced)
		return WAIT;
	/* They came between the caller's look and its question. */
	if (f->ok_ms != 0 && now_ms - f->ok_ms < JUST_NOW_MS)
		return AGAIN;
	if (now_ms - f->forced_end_ms < f->keys->tuning.forced_ms)
		return NO;
	f->forced = true;
	pthread_cond_signal(&f->wake);
	return WAIT;
}

static enum verdict ask(struct mica_keys *k, const char *issuer, mica_keys_done *done, void *ctx)
{
	int64_t now_ms = mica_mono_ms();
	enum verdict v = NO;
	struct feed *f;

	pthread_rwlock_rdlock(&k->lock);
	f = find(k, issuer);
	if (f) {
		pthread_mutex_lock(&f->lock);
		v = decide(f, now_ms);
		if (v == WAIT && done && !add_waiter(f, done, ctx, now_ms))
			v = NO;
		pthread_mutex_unlock(&f->lock);
	}
	pthread_rwlock_unlock(&k->lock);
	return v;
}

void mica_keys_refresh(struct mica_keys *k, const char *issuer, mica_keys_done *done, void *ctx)
{
	enum verdict v = ask(k, issuer, done, ctx);

	if (v != WAIT)
		done(ctx, v == AGAIN);
}

void mica_keys_poke(struct mica_keys *k, const char *issuer)
{
	(void)ask(k, issuer, NULL, NULL);
}

unsigned mica_keys_status(struct mica_keys *k, struct mica_keys_status *out, unsigned max)
{
	unsigned n;

	pthread_rwlock_rdlock(&k->lock);
	n = k->n;
	for (unsigned i = 0; i < n && i < max; i++) {
		struct feed *f = k->feeds[i];
		int64_t age = keys_age(f, &(unsigned){0});
		pthread_mutex_lock(&f->lock);
		out[i] = f->status;
		pthread_mutex_unlock(&f->lock);
		out[i].age = age;
	}
	pthread_rwlock_unlock(&k->lock);
	return n;
}
