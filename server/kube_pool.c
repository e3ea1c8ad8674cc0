/* SPDX-License-Identifier: Apache-2.0 */
/* The threads that ask one API server, their queue, and when to leave it alone. */
#include "kube_impl.h"

#include "mica/clock.h"
#include "mica/file.h"
#include "mica/http_client.h"
#include "mica/log.h"
#include "mica/mem.h"
#include "mica/threads.h"
#include "mica/token.h"

#include <stdio.h>
#include <string.h>

#define FAILURES_TO_REST 3
#define REST_MAX_MS      10000
#define RETRY_AFTER_MAX  60
#define RESOURCE         "/apis/authentication.k8s.io/v1/tokenreviews"

/* ---- settings -------------------------------------------------------------------------------- */

void kube_settings_init(struct kube_settings *s, const struct mica_issuer_config *c)
{
	MICA_AUTO_BUF url;
	struct mica_slice given = mica_slice_str(c->review.url);

	while (given.len > 0 && given.p[given.len - 1] == '/')
		given.len--;
	mica_buf_init(&url, 8192);
	mica_buf_put_slice(&url, given);
	if (!mica_slice_has_suffix(given, MICA_LIT(RESOURCE)))
		mica_buf_put_str(&url, RESOURCE);
	*s = (struct kube_settings){.name = mica_strdup(c->name),
		.url = mica_strdup((const char *)url.p),
		.ca_file = mica_strdup(c->review.ca_file),
		.token_file = mica_strdup(c->review.token_file),
		.allow_on_failure = c->review.allow_on_failure,
		.timeout_ms = c->review.timeout * 1000};
}

void kube_settings_clear(struct kube_settings *s)
{
	mica_free(s->name);
	mica_free(s->url);
	mica_free(s->ca_file);
	mica_free(s->token_file);
	*s = (struct kube_settings){.name = NULL};
}

static bool same(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

bool kube_settings_equal(const struct kube_settings *a, const struct kube_settings *b)
{
	return same(a->name, b->name) && same(a->url, b->url) && same(a->ca_file, b->ca_file) &&
		same(a->token_file, b->token_file) && a->allow_on_failure == b->allow_on_failure &&
		a->timeout_ms == b->timeout_ms;
}

/* ---- one call -------------------------------------------------------------------------------- */

void kube_call(struct mica_http_client *client, struct mica_http_request *q, const char *token_file,
	int64_t deadline_ms, struct mica_http_response *answer, struct mica_err *e)
{
	MICA_AUTO_BUF token;
	MICA_AUTO_BUF before;

	mica_buf_init_secret(&token, 0);
	mica_buf_init_secret(&before, SIZE_MAX);
	/* A token that was renewed while we used the old one: once more with the new one. */
	for (unsigned i = 0; i < 2; i++) {
		q->timeout_ms = deadline_ms - mica_mono_ms();
		if (q->timeout_ms <= 0) {
			mica_fail(e, MICA_UNAVAILABLE, "timeout", "no time was left to ask");
			return;
		}
		if (token_file) {
			mica_buf_clear(&token);
			if (mica_file_read_token(token_file, &token, e) != MICA_OK)
				return;
			if (i > 0 &&
				mica_slice_eq_secret(
					mica_buf_slice(&token), mica_buf_slice(&before)))
				return;
			mica_buf_put_slice(&before, mica_buf_slice(&token));
			q->bearer = (const char *)token.p;
		}
		mica_http_response_clear(answer);
		if (mica_http_do(client, q, answer, e) != MICA_OK || answer->status != 401 ||
			!token_file)
			return;
	}
}

/* ---- answers --------------------------------------------------------------------------------- */

void kube_answer(struct kube_waiter *all, const struct kube_verdict *v)
{
	while (all) {
		struct kube_waiter *next = all->next;
		all->done(all->ctx, v->rc, &v->err);
		mica_free(all);
		all = next;
	}
}

void kube_job_free(struct kube_job *job)
{
	mica_buf_clear(&job->body);
	mica_free(job);
}

static mica_rc unavailable(
	const struct kube_pool *p, const char *fine, int64_t wait_ms, struct mica_err *e)
{
	mica_fail_fine(e, MICA_UNAVAILABLE, "token_review_failed",
		"the cluster could not be asked about the token; try again", fine,
		"TokenReview of issuer %s", p->settings.name);
	e->retry_after = wait_ms <= 1000 ? 1 : (int)((wait_ms + 999) / 1000);
	return MICA_UNAVAILABLE;
}

/* Nobody was asked, since the API server rests: under the lock. */
static mica_rc resting(struct kube_pool *p, int64_t now_ms, unsigned n, struct mica_err *e)
{
	if (p->settings.allow_on_failure) {
		p->status.allowed += n;
		return MICA_OK;
	}
	p->status.refused_resting += n;
	return unavailable(p, "review_resting", p->rest_until_ms - now_ms, e);
}

static bool is_resting(const struct kube_pool *p, int64_t now_ms)
{
	return p->failures >= FAILURES_TO_REST && now_ms < p->rest_until_ms;
}

/* ---- the queue ------------------------------------------------------------------------------- */

static bool same_pod(const struct kube_job *a, const struct kube_job *b)
{
	static const struct mica_uid none;

	/* Without a service account's UID a token stands for itself. */
	return memcmp(a->key, b->key, sizeof(a->key)) == 0 &&
		memcmp(a->key + sizeof(none), &none, sizeof(none)) != 0;
}

static struct kube_job *find_same(struct kube_pool *p, const struct kube_job *job)
{
	for (struct kube_job *j = p->queue; j; j = j->next)
		if (same_pod(j, job))
			return j;
	for (struct kube_job *j = p->running; j; j = j->next)
		if (same_pod(j, job))
			return j;
	return NULL;
}

/* Under the lock. True: `job` was taken, into the queue or (its waiter) into another's. */
static bool admit(struct kube_pool *p, struct kube_job *job, mica_rc *rc, struct mica_err *e)
{
	struct kube_job *other = find_same(p, job);
	int64_t now_ms = mica_mono_ms();

	if (p->stop) {
		*rc = unavailable(p, "review_ended", 1000, e);
		return false;
	}
	if (other && other->n_waiters < p->tuning.waiters) {
		job->waiters->next = other->waiters;
		other->waiters = MICA_STEAL(job->waiters);
		other->n_waiters++;
		p->status.shared++;
		return true;
	}
	/* Behind the rest one caller asks for all. */
	if (is_resting(p, now_ms) ||
		(p->failures >= FAILURES_TO_REST && (p->queue || p->running))) {
		*rc = resting(p, now_ms, 1, e);
		return false;
	}
	if (other || p->status.queued >= p->tuning.queue) {
		p->status.refused_full++;
		*rc = unavailable(p, "review_queue_full", 1000, e);
		return false;
	}
	p->status.queued++;
	*p->queue_end = job;
	p->queue_end = &job->next;
	pthread_cond_signal(&p->wake);
	return true;
}

struct kube_waiter *kube_pool_take_job(
	struct kube_pool *p, struct kube_job *job, mica_rc *rc, struct mica_err *e)
{
	struct kube_waiter *mine = NULL;
	bool admitted;

	job->deadline_ms = mica_mono_ms() + p->settings.timeout_ms;
	pthread_mutex_lock(&p->lock);
	admitted = admit(p, job, rc, e);
	if (!admitted)
		mine = MICA_STEAL(job->waiters);
	/* A question that another one answers, or nobody, is not asked. */
	if (!job->waiters)
		kube_job_free(job);
	pthread_mutex_unlock(&p->lock);
	return mine;
}

static struct kube_job *pop(struct kube_pool *p)
{
	struct kube_job *job = p->queue;

	p->queue = job->next;
	if (!p->queue)
		p->queue_end = &p->queue;
	p->status.queued--;
	return job;
}

static void remove_running(struct kube_pool *p, struct kube_job *job)
{
	for (struct kube_job **at = &p->running; *at; at = &(*at)->next)
		if (*at == job) {
			*at = job->next;
			p->status.running--;
			return;
		}
}

/* ---- asking ---------------------------------------------------------------------------------- */

struct outcome {
	struct kube_verdict v; /* for the callers */
	int status; /* 0 = no answer came */
	struct mica_slice answer;
	bool asked;
	bool failed; /* nothing was said about the token */
	struct mica_err why; /* then: for the log */
	int retry_after;
	int64_t ms;
};

static bool cancelled(void *ctx)
{
	struct kube_pool *p = ctx;
	bool stop;

	pthread_mutex_lock(&p->lock);
	stop = p->stop;
	pthread_mutex_unlock(&p->lock);
	return stop;
}

static void judge(struct kube_pool *p, struct kube_job *job, struct outcome *o)
{
	if (o->status != 0 && o->status != 200 && o->status != 201)
		mica_fail(&o->why, MICA_UNAVAILABLE, "http_status",
			"POST %s: status %d; expected 201%s", p->settings.url, o->status,
			o->status == 401           ? " (is token_file good?)"
				: o->status == 403 ? " (may we create tokenreviews?)"
						   : "");
	o->v.rc = mica_core_review_judge(
		p->core, &job->caller, o->status, o->answer, mica_now_ms(), &o->v.err);
	o->failed = o->why.rc != MICA_OK || o->v.rc == MICA_UNAVAILABLE;
	if (o->failed && o->why.rc == MICA_OK)
		o->why = o->v.err;
}

/* `answer` lives as long as the outcome. */
static void ask(struct kube_pool *p, struct mica_http_client *client, struct kube_job *job,
	struct mica_http_response *answer, struct outcome *o)
{
	struct mica_http_request q = {.method = "POST",
		.url = p->settings.url,
		.content_type = "application/json",
		.accept = "application/json",
		.body = mica_buf_slice(&job->body),
		.max_body = MICA_REVIEW_ANSWER_MAX,
		.cancelled = cancelled,
		.ctx = p};
	int64_t start_ms = mica_mono_ms();

	o->asked = true;
	kube_call(client, &q, p->settings.token_file, job->deadline_ms, answer, &o->why);
	o->ms = mica_mono_ms() - start_ms;
	if (o->why.rc == MICA_OK) {
		o->status = answer->status;
		o->answer = mica_buf_slice(&answer->body);
	}
	o->retry_after = answer->retry_after;
	judge(p, job, o);
}

/* The wait for a thread counts, too: bounded latency, whoever is in front. */
static bool is_pointless(struct kube_pool *p, struct kube_job *job, struct outcome *o)
{
	int64_t now_ms = mica_mono_ms();
	bool rests;

	pthread_mutex_lock(&p->lock);
	rests = is_resting(p, now_ms);
	if (rests)
		o->v.rc = resting(p, now_ms, job->n_waiters, &o->v.err);
	pthread_mutex_unlock(&p->lock);
	if (!rests && now_ms >= job->deadline_ms)
		o->v.rc = unavailable(p, "review_timeout", 1000, &o->v.err);
	return rests || o->v.rc != MICA_OK;
}

/* Under the lock: how long the API server is left alone. */
static void rest(struct kube_pool *p, const struct outcome *o)
{
	int64_t ms = p->tuning.rest_ms;
	int asked = o->retry_after < RETRY_AFTER_MAX ? o->retry_after : RETRY_AFTER_MAX;

	for (unsigned i = FAILURES_TO_REST; i < p->failures && ms < REST_MAX_MS; i++)
		ms *= 2;
	ms = mica_jitter(ms < REST_MAX_MS ? ms : REST_MAX_MS, 50);
	if (asked * INT64_C(1000) > ms)
		ms = asked * INT64_C(1000);
	p->rest_until_ms = mica_mono_ms() + ms;
}

/* Under the lock. */
static void count(struct kube_pool *p, struct outcome *o)
{
	struct mica_kube_status *s = &p->status;

	if (!o->asked)
		return;
	s->asked++;
	s->last_ms = o->ms;
	s->failing = o->failed;
	s->reason = NULL;
	s->error[0] = '\0';
	if (!o->failed) {
		s->answered++;
		p->failures = 0;
		return;
	}
	s->failed++;
	s->reason = mica_err_fine(&o->why);
	memcpy(s->error, o->why.text, sizeof(s->error));
	if (++p->failures >= FAILURES_TO_REST)
		rest(p, o);
}

static void conclude(struct kube_pool *p, struct kube_job *job, struct outcome *o)
{
	bool was_failing, stop;
	struct kube_waiter *all;

	pthread_mutex_lock(&p->lock);
	was_failing = p->status.failing;
	stop = p->stop;
	if (!stop)
		count(p, o);
	remove_running(p, job);
	all = MICA_STEAL(job->waiters);
	if (o->failed && stop) {
		mica_err_clear(&o->v.err);
		o->v.rc = unavailable(p, "review_ended", 1000, &o->v.err);
	} else if (o->failed && p->settings.allow_on_failure) {
		p->status.allowed += job->n_waiters;
		o->v.rc = MICA_OK;
	} else if (o->failed && o->v.err.retry_after == 0) {
		o->v.err.retry_after = 1;
	}
	pthread_mutex_unlock(&p->lock);
	if (o->asked && !stop && o->failed && !was_failing)
		MICA_LOG(MICA_WARN, "token_review_failing", MICA_S("issuer", p->settings.name),
			MICA_B("allowed", p->settings.allow_on_failure), MICA_E(&o->why));
	if (o->asked && !stop && !o->failed && was_failing)
		MICA_LOG(MICA_INFO, "token_review_recovered", MICA_S("issuer", p->settings.name));
	if (o->v.rc == MICA_OK)
		mica_err_clear(&o->v.err);
	kube_answer(all, &o->v);
	kube_job_free(job);
}

static void work(struct kube_pool *p, struct mica_http_client *client, struct kube_job *job)
{
	MICA_AUTO_HTTP_RESPONSE answer = {0};
	struct outcome o = {.asked = false};

	if (!is_pointless(p, job, &o))
		ask(p, client, job, &answer, &o);
	conclude(p, job, &o);
}

static void *pool_main(void *arg)
{
	struct kube_pool *p = arg;
	const struct mica_http_options options = {
		.ca_file = p->settings.ca_file, .no_proxy_env = true};
	MICA_AUTO_HTTP_CLIENT client = NULL;
	struct mica_err e = MICA_ERR_INIT;

	if (mica_http_client_new(&options, &client, &e) != MICA_OK)
		MICA_LOG(MICA_ERROR, "token_review_client", MICA_E(&e));
	pthread_mutex_lock(&p->lock);
	while (client && !p->stop) {
		struct kube_job *job;
		if (!p->queue) {
			pthread_cond_wait(&p->wake, &p->lock);
			continue;
		}
		job = pop(p);
		job->next = p->running;
		p->running = job;
		p->status.running++;
		pthread_mutex_unlock(&p->lock);
		work(p, client, job);
		pthread_mutex_lock(&p->lock);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* ---- life ------------------------------------------------------------------------------------ */

void kube_pool_stop(struct kube_pool *p)
{
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_broadcast(&p->wake);
	pthread_mutex_unlock(&p->lock);
}

void kube_pool_take_free(struct kube_pool *p)
{
	struct kube_verdict ended = {.rc = MICA_UNAVAILABLE};

	for (unsigned i = 0; i < p->n_threads; i++)
		pthread_join(p->threads[i], NULL);
	unavailable(p, "review_ended", 1000, &ended.err);
	while (p->queue) {
		struct kube_job *job = pop(p);
		kube_answer(job->waiters, &ended);
		kube_job_free(job);
	}
	pthread_cond_destroy(&p->wake);
	pthread_mutex_destroy(&p->lock);
	kube_settings_clear(&p->settings);
	mica_free(p);
}

mica_rc kube_pool_new(struct mica_core *core, const struct mica_issuer_config *c,
	const struct mica_kube_tuning *tuning, struct kube_pool **out, struct mica_err *e)
{
	struct kube_pool *p = MICA_NEW(struct kube_pool);
	mica_rc rc = MICA_OK;

	p->core = core;
	p->tuning = *tuning;
	kube_settings_init(&p->settings, c);
	p->queue_end = &p->queue;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->wake, NULL);
	snprintf(p->status.issuer, sizeof(p->status.issuer), "%s", c->name);
	for (; p->n_threads < tuning->threads && rc == MICA_OK; p->n_threads += rc == MICA_OK)
		rc = mica_thread_start(&p->threads[p->n_threads], pool_main, p, "TokenReview", e);
	if (rc != MICA_OK) {
		kube_pool_stop(p);
		kube_pool_take_free(p);
		return rc;
	}
	*out = p;
	return MICA_OK;
}
