/* SPDX-License-Identifier: Apache-2.0 */
#include "jwt_cache.h"

#include <pthread.h>
#include <stdlib.h>

#define MARGIN_MS 5000 /* a token that ends so soon is not given */

struct waiter {
	struct waiter *next;
	jwt_done done;
	void *ctx;
};

/* An entry is its own question. */
struct jwt_question {
	struct jwt_question *newer, *older; /* by when it was asked for */
	struct jwt_question *next_wanted;
	unsigned identity;
	struct mica_buf audience; /* each with a length of 2 octets in front, sorted */
	const struct jwt *token; /* NULL = none yet */
	struct waiter *waiters;
	enum { IDLE, WANTED, TAKEN } state;
};

struct jwt_cache {
	pthread_mutex_t lock;
	struct jwt_question *newest, *oldest;
	struct jwt_question *wanted, **wanted_tail;
	unsigned n, max;
	bool stopped;
	struct mica_err why_stopped;
	void (*on_wanted)(void *ctx);
	void *ctx;
};

struct jwt_cache *jwt_cache_new(unsigned max, void (*wanted)(void *ctx), void *ctx)
{
	struct jwt_cache *c = MICA_NEW(struct jwt_cache);

	pthread_mutex_init(&c->lock, NULL);
	c->max = max;
	c->on_wanted = wanted;
	c->ctx = ctx;
	c->wanted_tail = &c->wanted;
	return c;
}

static void entry_free(struct jwt_question *q)
{
	jwt_unref(q->token);
	mica_buf_clear(&q->audience);
	mica_free(q);
}

void jwt_cache_free(struct jwt_cache *c)
{
	struct jwt_question *q, *older;

	if (!c)
		return;
	for (q = c->newest; q; q = older) {
		older = q->older;
		entry_free(q);
	}
	pthread_mutex_destroy(&c->lock);
	mica_free(c);
}

/* ---- entries; all under the lock ----------------------------------------------------------- */

static void unlink_entry(struct jwt_cache *c, struct jwt_question *q)
{
	*(q->newer ? &q->newer->older : &c->newest) = q->older;
	*(q->older ? &q->older->newer : &c->oldest) = q->newer;
	q->newer = q->older = NULL;
}

static void link_newest(struct jwt_cache *c, struct jwt_question *q)
{
	q->older = c->newest;
	*(c->newest ? &c->newest->newer : &c->oldest) = q;
	c->newest = q;
}

static int by_text(const void *a, const void *b)
{
	return mica_slice_cmp(*(const struct mica_slice *)a, *(const struct mica_slice *)b);
}

/* The same set in any order, and with repetitions, is one key. */
static void put_key(struct mica_buf *key, const struct mica_slice *audience, size_t n)
{
	struct mica_slice sorted[JWT_AUDIENCES_MAX];

	memcpy(sorted, audience, n * sizeof(*sorted));
	qsort(sorted, n, sizeof(*sorted), by_text);
	for (size_t i = 0; i < n; i++) {
		if (i > 0 && mica_slice_eq(sorted[i], sorted[i - 1]))
			continue;
		mica_buf_put_be16(key, (uint16_t)sorted[i].len);
		mica_buf_put_slice(key, sorted[i]);
	}
}

static struct jwt_question *find(
	const struct jwt_cache *c, unsigned identity, const struct mica_buf *key)
{
	for (struct jwt_question *q = c->newest; q; q = q->older)
		if (q->identity == identity &&
			mica_slice_eq(mica_buf_slice(&q->audience), mica_buf_slice(key)))
			return q;
	return NULL;
}

/* Makes room for one more, if that is possible. */
static bool forget_one(struct jwt_cache *c)
{
	struct jwt_question *q = c->oldest;

	if (c->n < c->max)
		return true;
	while (q && q->state != IDLE)
		q = q->newer;
	if (!q)
		return false;
	unlink_entry(c, q);
	entry_free(q);
	c->n--;
	return true;
}

/* Takes the memory of `key`. */
static struct jwt_question *add(struct jwt_cache *c, unsigned identity, struct mica_buf *key)
{
	struct jwt_question *q;

	if (!forget_one(c))
		return NULL;
	q = MICA_NEW(struct jwt_question);
	q->identity = identity;
	q->audience = *key;
	mica_buf_init(key, 0);
	link_newest(c, q);
	c->n++;
	return q;
}

/* True when somebody has to be told. */
static bool want(struct jwt_cache *c, struct jwt_question *q)
{
	if (q->state != IDLE)
		return false;
	q->state = WANTED;
	q->next_wanted = NULL;
	*c->wanted_tail = q;
	c->wanted_tail = &q->next_wanted;
	return true;
}

static const struct jwt *good(const struct jwt_question *q, int64_t now_ms)
{
	return q->token && q->token->not_after_ms - MARGIN_MS > now_ms ? jwt_ref(q->token) : NULL;
}

static void add_waiter(struct jwt_question *q, jwt_done done, void *ctx)
{
	struct waiter *w = MICA_NEW(struct waiter);

	*w = (struct waiter){.next = q->waiters, .done = done, .ctx = ctx};
	q->waiters = w;
}

/* ---- asking -------------------------------------------------------------------------------- */

void jwt_cache_get(struct jwt_cache *c, unsigned identity, const struct mica_slice *audience,
	size_t n, int64_t now_ms, jwt_done done, void *ctx)
{
	struct mica_err e = MICA_ERR_INIT;
	const struct jwt *token = NULL;
	struct jwt_question *q;
	bool tell = false;
	MICA_AUTO_BUF key;

	mica_buf_init(&key, JWT_AUDIENCES_MAX * (JWT_AUDIENCE_MAX + 2));
	put_key(&key, audience, n);
	pthread_mutex_lock(&c->lock);
	q = c->stopped ? NULL : find(c, identity, &key);
	if (q) {
		unlink_entry(c, q);
		link_newest(c, q);
	} else if (!c->stopped) {
		q = add(c, identity, &key);
	}
	if (q) {
		token = good(q, now_ms);
		if (!token || q->token->renew_after_ms <= now_ms)
			tell = want(c, q);
		if (!token)
			add_waiter(q, done, ctx);
	} else if (c->stopped) {
		e = c->why_stopped;
	} else {
		mica_fail(&e, MICA_LIMIT, "too_many_tokens",
			"%u JWT-SVIDs are being asked for at a time", c->max);
	}
	pthread_mutex_unlock(&c->lock);
	if (tell)
		c->on_wanted(c->ctx);
	if (token || !q)
		done(ctx, token, &e);
	jwt_unref(token);
}

struct jwt_question *jwt_cache_take(struct jwt_cache *c)
{
	struct jwt_question *q;

	pthread_mutex_lock(&c->lock);
	q = c->wanted;
	if (q) {
		c->wanted = q->next_wanted;
		if (!c->wanted)
			c->wanted_tail = &c->wanted;
		q->state = TAKEN;
	}
	pthread_mutex_unlock(&c->lock);
	return q;
}

unsigned jwt_question_identity(const struct jwt_question *q)
{
	return q->identity;
}

size_t jwt_question_audience(const struct jwt_question *q, struct mica_slice out[JWT_AUDIENCES_MAX])
{
	struct mica_cursor cur = {.s = mica_buf_slice(&q->audience)};
	size_t n = 0;

	while (cur.s.len > 0 && n < JWT_AUDIENCES_MAX)
		out[n++] = mica_cur_take(&cur, mica_cur_be16(&cur));
	return n;
}

static void answer_all(struct waiter *w, const struct jwt *t, const struct mica_err *e)
{
	struct waiter *next;

	for (; w; w = next) {
		next = w->next;
		w->done(w->ctx, t, e);
		mica_free(w);
	}
}

void jwt_cache_answer(
	struct jwt_cache *c, struct jwt_question *q, const struct jwt *t, const struct mica_err *e)
{
	struct waiter *waiters;

	pthread_mutex_lock(&c->lock);
	if (t) {
		jwt_unref(q->token);
		q->token = jwt_ref(t);
	}
	waiters = MICA_STEAL(q->waiters);
	q->state = IDLE;
	pthread_mutex_unlock(&c->lock);
	answer_all(waiters, t, e);
}

void jwt_cache_held(struct jwt_cache *c, int64_t now_ms, unsigned *n, int64_t *end_ms)
{
	*n = 0;
	*end_ms = INT64_MAX;
	pthread_mutex_lock(&c->lock);
	for (const struct jwt_question *q = c->newest; q; q = q->older) {
		if (!q->token || q->token->not_after_ms <= now_ms)
			continue;
		(*n)++;
		if (q->token->not_after_ms < *end_ms)
			*end_ms = q->token->not_after_ms;
	}
	pthread_mutex_unlock(&c->lock);
}

void jwt_cache_stop(struct jwt_cache *c, const struct mica_err *e)
{
	struct waiter *all = NULL, *w;

	pthread_mutex_lock(&c->lock);
	c->stopped = true;
	c->why_stopped = *e;
	for (struct jwt_question *q = c->newest; q; q = q->older)
		while ((w = q->waiters)) {
			q->waiters = w->next;
			w->next = all;
			all = w;
		}
	pthread_mutex_unlock(&c->lock);
	answer_all(all, NULL, e);
}
