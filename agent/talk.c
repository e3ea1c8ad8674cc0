/* SPDX-License-Identifier: Apache-2.0 */
#include "talk.h"

#include "mica/clock.h"
#include "mica/log.h"
#include "mica/threads.h"

#include <stdatomic.h>

#define TOKENS_MAX 512
#define LOOK_MS    5000 /* the longest wait: clocks jump, machines sleep */
#define ACK_TRIES  5
#define ACK_WAIT   2000 /* milliseconds before it is tried again */

/* Of one identity; the talking thread's alone, but for `acked`. */
struct part {
	struct renew renew;
	uint64_t held; /* what its holders have, as far as they said; under the lock */
	uint64_t told; /* and what micad knows of it */
	unsigned ack_failures;
	int64_t ack_at; /* not before this, on mica_mono_ms() */
	bool failing; /* for the log: told once */
};

struct talk {
	struct talk_options o;
	struct ask *ask;
	struct jwt_cache *jwts;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t work;
	bool runs, hurry, poked;
	atomic_bool stopping;
	struct part part[AGENT_IDENTITIES_MAX];
};

static void poke(void *ctx)
{
	struct talk *t = ctx;

	pthread_mutex_lock(&t->lock);
	t->poked = true;
	pthread_cond_signal(&t->work);
	pthread_mutex_unlock(&t->lock);
}

static bool is_stopping(void *ctx)
{
	return atomic_load(&((struct talk *)ctx)->stopping);
}

struct talk *talk_new(const struct talk_options *o)
{
	struct talk *t = MICA_NEW(struct talk);

	t->o = *o;
	pthread_mutex_init(&t->lock, NULL);
	mica_cond_init(&t->work);
	t->jwts = jwt_cache_new(TOKENS_MAX, poke, t);
	t->ask = ask_new(&(struct ask_options){.config = o->config,
		.keep = o->keep,
		.anchor = o->anchor,
		.join = o->join,
		.figures = o->figures,
		.line = FIGURE_REQUESTS,
		.cancelled = is_stopping,
		.ctx = t});
	for (unsigned i = 0; i < o->config->n_identities; i++) {
		uint64_t seed;

		mica_random(&seed, sizeof(seed));
		renew_init(&t->part[i].renew, seed);
	}
	return t;
}

void talk_free(struct talk *t)
{
	if (!t)
		return;
	ask_free(t->ask);
	jwt_cache_free(t->jwts);
	pthread_mutex_destroy(&t->lock);
	pthread_cond_destroy(&t->work);
	mica_free(t);
}

void talk_have(struct talk *t, unsigned i, const struct svid *s)
{
	renew_issued(&t->part[i].renew, mica_now_ms(), &s->times);
	keep_set_svid(t->o.keep, i, s);
}

struct jwt_cache *talk_jwts(struct talk *t)
{
	return t->jwts;
}

void talk_hurry(struct talk *t)
{
	pthread_mutex_lock(&t->lock);
	t->hurry = true;
	pthread_cond_signal(&t->work);
	pthread_mutex_unlock(&t->lock);
}

void talk_ack(struct talk *t, unsigned i, uint64_t sequence)
{
	pthread_mutex_lock(&t->lock);
	if (t->part[i].held < sequence) {
		t->part[i].held = sequence;
		t->poked = true;
		pthread_cond_signal(&t->work);
	}
	pthread_mutex_unlock(&t->lock);
}

static uint64_t held_by(struct talk *t, unsigned i)
{
	uint64_t sequence;

	pthread_mutex_lock(&t->lock);
	sequence = t->part[i].held;
	pthread_mutex_unlock(&t->lock);
	return sequence;
}

/* ---- renewal ------------------------------------------------------------------------------- */

static void look_at_sequence(struct talk *t, const struct svid *s)
{
	AUTO_TRUST held = keep_trust(t->o.keep);

	/* without one the first is on its way already */
	if (held && s->bundle_sequence > held->sequence)
		t->o.bundle_is_old(t->o.ctx);
}

static void renewed(struct talk *t, unsigned i, const struct svid *s, uint64_t held)
{
	const struct agent_identity *id = &t->o.config->identities[i];
	struct part *p = &t->part[i];
	char end[MICA_TIME_SIZE];

	renew_issued(&p->renew, mica_now_ms(), &s->times);
	p->failing = false;
	/* the certificate is a new one: what its holders have was said with the request */
	p->told = held;
	p->ack_failures = 0;
	keep_set_svid(t->o.keep, i, s);
	figures_ok(t->o.figures, FIGURE_X509);
	mica_time_format(s->times.not_after / 1000, end);
	MICA_LOG(MICA_INFO, "svid_issued", MICA_S("identity", id->name), MICA_S("spiffe_id", s->id),
		MICA_S("serial", s->serial), MICA_S("not_after", end),
		MICA_I("renew_in", (p->renew.at - mica_now_ms()) / 1000));
	look_at_sequence(t, s);
}

static void renew(struct talk *t, unsigned i)
{
	const struct agent_identity *id = &t->o.config->identities[i];
	const uint64_t held = held_by(t, i);
	struct mica_err e = MICA_ERR_INIT;
	struct part *p = &t->part[i];
	AUTO_SVID s = NULL;

	if (ask_x509(t->ask, id, held, &s, &e) == MICA_OK) {
		renewed(t, i, s, held);
		return;
	}
	if (is_stopping(t))
		return;
	renew_failed(&p->renew, mica_now_ms(), e.retry_after);
	figures_failed(t->o.figures, FIGURE_X509, mica_now_ms());
	MICA_LOG(p->failing ? MICA_DEBUG : MICA_WARN, "svid_not_issued",
		MICA_S("identity", id->name), MICA_E(&e),
		MICA_B("still_valid", renew_valid(&p->renew, mica_now_ms())),
		MICA_I("again_in_ms", p->renew.at - mica_now_ms()));
	p->failing = true;
	keep_set_trouble(t->o.keep, i, &e);
}

/* One that is due; how long none will be, otherwise. */
static bool renew_one(struct talk *t, int64_t *wait_ms)
{
	const int64_t now = mica_now_ms();

	for (unsigned i = 0; i < t->o.config->n_identities; i++) {
		struct renew *r = &t->part[i].renew;

		if (renew_next(r, now) == RENEW_ASK) {
			renew(t, i);
			return true;
		}
		if (r->at - now < *wait_ms)
			*wait_ms = r->at - now;
	}
	return false;
}

/* ---- the rest ------------------------------------------------------------------------------ */

static bool answer_one(struct talk *t)
{
	struct jwt_question *q = jwt_cache_take(t->jwts);
	struct mica_slice audience[JWT_AUDIENCES_MAX];
	struct mica_err e = MICA_ERR_INIT;
	const struct jwt *token = NULL;
	const struct agent_identity *id;
	size_t n;

	if (!q)
		return false;
	id = &t->o.config->identities[jwt_question_identity(q)];
	n = jwt_question_audience(q, audience);
	if (ask_jwt(t->ask, id, audience, n, &token, &e) == MICA_OK) {
		figures_ok(t->o.figures, FIGURE_JWT);
		MICA_LOG(MICA_INFO, "jwt_issued", MICA_S("identity", id->name),
			MICA_S("spiffe_id", token->id), MICA_I("audiences", n));
	} else {
		figures_failed(t->o.figures, FIGURE_JWT, mica_now_ms());
		MICA_LOG(MICA_WARN, "jwt_not_issued", MICA_S("identity", id->name), MICA_E(&e));
	}
	jwt_cache_answer(t->jwts, q, token, &e);
	jwt_unref(token);
	return true;
}

static void ack_failed(struct part *p, const char *name, const struct mica_err *e)
{
	const bool last = ++p->ack_failures >= ACK_TRIES;

	MICA_LOG(last ? MICA_WARN : MICA_DEBUG, "ack_not_taken", MICA_S("identity", name),
		MICA_E(e));
	p->ack_at = mica_mono_ms() + mica_jitter(ACK_WAIT, 50);
}

static bool ack_one(struct talk *t)
{
	for (unsigned i = 0; i < t->o.config->n_identities; i++) {
		const char *name = t->o.config->identities[i].name;
		AUTO_SVID s = keep_svid(t->o.keep, i);
		const uint64_t held = held_by(t, i);
		struct part *p = &t->part[i];
		struct mica_err e = MICA_ERR_INIT;

		/* evidence that is lost counts as missing, and comes with the next renewal */
		if (!s || held <= p->told || p->ack_failures >= ACK_TRIES ||
			mica_mono_ms() < p->ack_at)
			continue;
		if (ask_ack(t->ask, s, held, &e) != MICA_OK) {
			ack_failed(p, name, &e);
			return true;
		}
		p->told = held;
		p->ack_failures = 0;
		MICA_LOG(MICA_DEBUG, "bundle_acked", MICA_S("identity", name),
			MICA_I("sequence", held));
		return true;
	}
	return false;
}

static bool ack_waits(struct talk *t)
{
	for (unsigned i = 0; i < t->o.config->n_identities; i++)
		if (held_by(t, i) > t->part[i].told && t->part[i].ack_failures < ACK_TRIES)
			return true;
	return false;
}

static void hurry_all(struct talk *t)
{
	for (unsigned i = 0; i < t->o.config->n_identities; i++)
		renew_hurry(&t->part[i].renew, mica_now_ms());
}

static void wait_for_work(struct talk *t, int64_t ms)
{
	const int64_t until = mica_mono_ms() + (ms < 1 ? 1 : ms);
	bool hurry;

	pthread_mutex_lock(&t->lock);
	while (!t->poked && !t->hurry && !is_stopping(t) && mica_mono_ms() < until)
		mica_cond_wait_until(&t->work, &t->lock, until);
	hurry = t->hurry;
	t->hurry = t->poked = false;
	pthread_mutex_unlock(&t->lock);
	if (hurry)
		hurry_all(t);
}

/* A renewal first: who holds an SVID that ends is worse off than who waits for a token. */
static void *run(void *ctx)
{
	struct talk *t = ctx;

	while (!is_stopping(t)) {
		int64_t wait = LOOK_MS;
		bool busy = renew_one(t, &wait);

		busy = answer_one(t) || busy;
		busy = ack_one(t) || busy;
		if (ack_waits(t) && wait > ACK_WAIT)
			wait = ACK_WAIT;
		if (!busy)
			wait_for_work(t, wait);
	}
	return NULL;
}

mica_rc talk_start(struct talk *t, struct mica_err *e)
{
	mica_rc rc = mica_thread_start(&t->thread, run, t, "talking to micad", e);

	t->runs = rc == MICA_OK;
	return rc;
}

void talk_stop(struct talk *t)
{
	struct mica_err e = MICA_ERR_INIT;

	atomic_store(&t->stopping, true);
	poke(t);
	if (t->runs)
		pthread_join(t->thread, NULL);
	t->runs = false;
	mica_fail(&e, MICA_UNAVAILABLE, "stopping", "this agent is about to end");
	jwt_cache_stop(t->jwts, &e);
}
