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
	struct kube_pods **pods;
	unsigned n_pods;
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

static bool lists(const struct mica_issuer_config *c)
{
	return c->impersonation.accounts.n > 0 && c->impersonation.url;
}

static bool pods_are_configured(const struct kube_pods *p, const struct mica_config *config)
{
	for (unsigned i = 0; i < config->n_issuers; i++)
		if (kube_pods_is_of(p, &config->issuers[i]))
			return true;
	return false;
}

static void retire_pods(struct mica_kube *k, const struct mica_config *config)
{
	MICA_AUTO_FREE struct kube_pods **gone =
		mica_calloc(k->n_pods + 1, sizeof(struct kube_pods *));
	unsigned n_gone = 0, n_kept = 0;

	pthread_rwlock_wrlock(&k->lock);
	for (unsigned i = 0; i < k->n_pods; i++) {
		if (config && pods_are_configured(k->pods[i], config))
			k->pods[n_kept++] = k->pods[i];
		else
			gone[n_gone++] = k->pods[i];
	}
	k->n_pods = n_kept;
	pthread_rwlock_unlock(&k->lock);
	for (unsigned i = 0; i < n_gone; i++)
		kube_pods_stop(gone[i]);
	for (unsigned i = 0; i < n_gone; i++)
		kube_pods_take_free(gone[i]);
}

static void retire_reviews(struct mica_kube *k, const struct mica_config *config)
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

void mica_kube_retire(struct mica_kube *k, const struct mica_config *config)
{
	retire_reviews(k, config);
	retire_pods(k, config);
}

static struct kube_pods *find_pods(struct mica_kube *k, const char *issuer)
{
	for (unsigned i = 0; i < k->n_pods; i++)
		if (strcmp(k->pods[i]->name, issuer) == 0)
			return k->pods[i];
	return NULL;
}

/* Under the lock. */
static mica_rc start_pods(struct mica_kube *k, const struct mica_config *config, struct mica_err *e)
{
	mica_rc rc = MICA_OK;

	k->pods = mica_realloc(
		k->pods, k->n_pods + config->n_issuers + 1, sizeof(struct kube_pods *));
	for (unsigned i = 0; i < config->n_issuers && rc == MICA_OK; i++) {
		const struct mica_issuer_config *c = &config->issuers[i];
		if (!lists(c) || find_pods(k, c->name))
			continue;
		rc = kube_pods_new(c, &k->tuning, &k->pods[k->n_pods], e);
		k->n_pods += rc == MICA_OK;
	}
	return rc;
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
	if (rc == MICA_OK)
		rc = start_pods(k, config, e);
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
	mica_free(k->pods);
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

/* ---- pods of nodes --------------------------------------------------------------------------- */

const struct mica_node_pods *mica_kube_pods_known(struct mica_kube *k, const char *issuer,
	const char *node, int64_t max_age_ms, int64_t *age_ms)
{
	const struct mica_node_pods *found = NULL;
	struct kube_pods *p;

	pthread_rwlock_rdlock(&k->lock);
	p = find_pods(k, issuer);
	if (p)
		found = kube_pods_known(p, node, max_age_ms, age_ms);
	pthread_rwlock_unlock(&k->lock);
	return found;
}

void mica_kube_pods(struct mica_kube *k, const char *issuer, const char *node, int64_t max_age_ms,
	mica_kube_pods_done *done, void *ctx)
{
	struct kube_pods_waiter *w = MICA_NEW(struct kube_pods_waiter);
	const struct mica_node_pods *pods = NULL;
	struct mica_err e = MICA_ERR_INIT;
	struct kube_pods *p;
	bool taken = false;

	*w = (struct kube_pods_waiter){.done = done, .ctx = ctx};
	pthread_rwlock_rdlock(&k->lock);
	p = find_pods(k, issuer);
	if (p) {
		taken = kube_pods_take_waiter(p, node, max_age_ms, w, &pods, &e);
	} else {
		mica_fail_fine(&e, MICA_UNAVAILABLE, "pods_unavailable",
			"the cluster could not be asked which pods run on this node; try again",
			"pods_no_server", "issuer %s lists no pods", issuer);
		e.retry_after = 1;
	}
	pthread_rwlock_unlock(&k->lock);
	if (!taken)
		mica_free(w);
	if (!taken || pods)
		done(ctx, pods, pods ? NULL : &e);
	mica_node_pods_unref(pods);
}

unsigned mica_kube_pods_status(struct mica_kube *k, struct mica_kube_pods_status *out, unsigned max)
{
	unsigned n;

	pthread_rwlock_rdlock(&k->lock);
	n = k->n_pods;
	for (unsigned i = 0; i < n && i < max; i++) {
		struct kube_pods *p = k->pods[i];
		pthread_mutex_lock(&p->lock);
		out[i] = p->status;
		out[i].nodes = p->n_nodes;
		pthread_mutex_unlock(&p->lock);
	}
	pthread_rwlock_unlock(&k->lock);
	return n;
}
