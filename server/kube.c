/* SPDX-License-Identifier: Apache-2.0 */
#include "kube_impl.h"

#include "mica/mem.h"

#include <string.h>

/* A token, each octet escaped, and all audiences. */
#define BODY_MAX ((size_t)256 * 1024)

struct mica_kube {
	struct mica_core *core;
	struct mica_kube_tuning tuning;
	pthread_rwlock_t lock; /* the table; pools have their own */
	struct kube_pool **pools;
	unsigned n;
};

static struct kube_pool *find(struct mica_kube *k, const char *issuer)
{
	for (unsigned i = 0; i < k->n; i++)
		if (strcmp(k->pools[i]->settings.name, issuer) == 0)
			return k->pools[i];
	return NULL;
}

static bool asks(const struct mica_issuer_config *c)
{
	return c->review.mode != MICA_REVIEW_NEVER && c->review.url;
}

static bool is_configured(const struct kube_pool *p, const struct mica_config *config)
{
	bool found = false;

	for (unsigned i = 0; i < config->n_issuers && !found; i++) {
		struct kube_settings s;
		if (!asks(&config->issuers[i]))
			continue;
		kube_settings_init(&s, &config->issuers[i]);
		found = kube_settings_equal(&p->settings, &s);
		kube_settings_clear(&s);
	}
	return found;
}

void mica_kube_retire(struct mica_kube *k, const struct mica_config *config)
{
	MICA_AUTO_FREE struct kube_pool **gone = mica_calloc(k->n + 1, sizeof(struct kube_pool *));
	unsigned n_gone = 0, n_kept = 0;

	pthread_rwlock_wrlock(&k->lock);
	for (unsigned i = 0; i < k->n; i++) {
		if (config && is_configured(k->pools[i], config))
			k->pools[n_kept++] = k->pools[i];
		else
			gone[n_gone++] = k->pools[i];
	}
	k->n = n_kept;
	pthread_rwlock_unlock(&k->lock);
	for (unsigned i = 0; i < n_gone; i++)
		kube_pool_stop(gone[i]);
	for (unsigned i = 0; i < n_gone; i++)
		kube_pool_take_free(gone[i]);
}

mica_rc mica_kube_reload(struct mica_kube *k, const struct mica_config *config, struct mica_err *e)
{
	mica_rc rc = MICA_OK;

	mica_kube_retire(k, config);
	pthread_rwlock_wrlock(&k->lock);
	k->pools = mica_realloc(k->pools, k->n + config->n_issuers + 1, sizeof(struct kube_pool *));
	for (unsigned i = 0; i < config->n_issuers && rc == MICA_OK; i++) {
		const struct mica_issuer_config *c = &config->issuers[i];
		if (!asks(c) || find(k, c->name))
			continue;
		rc = kube_pool_new(k->core, c, &k->tuning, &k->pools[k->n], e);
		k->n += rc == MICA_OK;
	}
	pthread_rwlock_unlock(&k->lock);
	return rc;
}

mica_rc mica_kube_new(struct mica_core *core, const struct mica_config *config,
	const struct mica_kube_tuning *tuning, struct mica_kube **out, struct mica_err *e)
{
	const struct mica_kube_tuning none = {0}, *t = tuning ? tuning : &none;
	struct mica_kube *k = MICA_NEW(struct mica_kube);
	mica_rc rc;

	*out = NULL;
	k->core = core;
	k->tuning = (struct mica_kube_tuning){.threads = t->threads ? t->threads : 4,
		.queue = t->queue ? t->queue : 256,
		.waiters = t->waiters ? t->waiters : 1024,
		.rest_ms = t->rest_ms ? t->rest_ms : 500};
	if (k->tuning.threads > KUBE_THREADS_MAX)
		k->tuning.threads = KUBE_THREADS_MAX;
	pthread_rwlock_init(&k->lock, NULL);
	rc = mica_kube_reload(k, config, e);
	if (rc != MICA_OK) {
		mica_kube_free(k);
		return rc;
	}
	*out = k;
	return MICA_OK;
}

void mica_kube_free(struct mica_kube *k)
{
	if (!k)
		return;
	mica_kube_retire(k, NULL);
	pthread_rwlock_destroy(&k->lock);
	mica_free(k->pools);
	mica_free(k);
}

static mica_rc no_server(const char *issuer, struct mica_err *e)
{
	mica_fail_fine(e, MICA_UNAVAILABLE, "token_review_failed",
		"the cluster could not be asked about the token; try again", "review_no_server",
		"no review is configured for issuer %s", issuer);
	e->retry_after = 1;
	return MICA_UNAVAILABLE;
}

/* Takes the job; not NULL: the waiter that is not served, and why. */
static struct kube_waiter *take_job(
	struct mica_kube *k, const char *issuer, struct kube_job *job, struct kube_verdict *why)
{
	struct kube_waiter *refused;
	struct kube_pool *p;

	pthread_rwlock_rdlock(&k->lock);
	p = find(k, issuer);
	if (p) {
		refused = kube_pool_take_job(p, job, &why->rc, &why->err);
	} else {
		refused = MICA_STEAL(job->waiters);
		kube_job_free(job);
		why->rc = no_server(issuer, &why->err);
	}
	pthread_rwlock_unlock(&k->lock);
	return refused;
}

static struct kube_job *job_new(const uint8_t *pod_uid, const uint8_t *sa_uid)
{
	struct kube_job *job = MICA_NEW(struct kube_job);

	memcpy(job->key, pod_uid, sizeof(struct mica_uid));
	memcpy(job->key + sizeof(struct mica_uid), sa_uid, sizeof(struct mica_uid));
	mica_buf_init_secret(&job->body, BODY_MAX);
	job->n_waiters = 1;
	job->waiters = MICA_NEW(struct kube_waiter);
	return job;
}

void mica_kube_review(struct mica_kube *k, const struct mica_caller *caller,
	struct mica_slice token, mica_kube_done *done, void *ctx)
{
	const struct mica_principal *p = &caller->principal;
	struct kube_job *job = job_new(p->pod_uid.b, p->sa_uid.b);
	struct kube_verdict why = {.rc = MICA_OK};
	struct kube_waiter *refused;

	job->caller = *caller;
	*job->waiters = (struct kube_waiter){.done = done, .ctx = ctx};
	why.rc = mica_core_review_request(k->core, caller, token, &job->body, &why.err);
	if (why.rc == MICA_OK) {
		refused = take_job(k, p->issuer, job, &why);
	} else {
		refused = MICA_STEAL(job->waiters);
		kube_job_free(job);
	}
	kube_answer(refused, &why);
}

unsigned mica_kube_status(struct mica_kube *k, struct mica_kube_status *out, unsigned max)
{
	unsigned n;

	pthread_rwlock_rdlock(&k->lock);
	n = k->n;
	for (unsigned i = 0; i < n && i < max; i++) {
		pthread_mutex_lock(&k->pools[i]->lock);
		out[i] = k->pools[i]->status;
		pthread_mutex_unlock(&k->pools[i]->lock);
	}
	pthread_rwlock_unlock(&k->lock);
	return n;
}
