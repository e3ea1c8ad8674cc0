/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which pods run on a node: lists by spec.nodeName, remembered for a moment. A list is asked for in
 * pages, and in smaller ones when a page of large pods is longer than we take; what cannot be had
 * whole is not had at all.
 */
#include "kube_impl.h"

#include "mica/clock.h"
#include "mica/http_client.h"
#include "mica/log.h"
#include "mica/mem.h"
#include "mica/threads.h"
#include "mica/nodepods.h"

#include <stdio.h>
#include <string.h>

#define NODES_MAX        2048
#define SWEEP_MS         1000
#define FAILURES_TO_REST 3
#define REST_MAX_MS      10000
#define RETRY_AFTER_MAX  60
#define URL_MAX          (8 * 1024 + 3 * MICA_NODE_NEXT_MAX)
#define RESTARTS_MAX     3 /* of a list whose mark has expired */

/* ---- settings -------------------------------------------------------------------------------- */

static bool same(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

bool kube_pods_is_of(const struct kube_pods *p, const struct mica_issuer_config *c)
{
	return c->impersonation.accounts.n > 0 && same(p->name, c->name) &&
		same(p->url, c->impersonation.url) && same(p->ca_file, c->impersonation.ca_file) &&
		same(p->token_file, c->impersonation.token_file) &&
		p->timeout_ms == c->impersonation.timeout * 1000;
}

/* ---- answers --------------------------------------------------------------------------------- */

static mica_rc unavailable(
	const struct kube_pods *p, const char *fine, int64_t wait_ms, struct mica_err *e)
{
	mica_fail_fine(e, MICA_UNAVAILABLE, "pods_unavailable",
		"the cluster could not be asked which pods run on this node; try again", fine,
		"pods of issuer %s", p->name);
	e->retry_after = wait_ms <= 1000 ? 1 : (int)((wait_ms + 999) / 1000);
	return MICA_UNAVAILABLE;
}

static void answer(
	struct kube_pods_waiter *all, const struct mica_node_pods *pods, const struct mica_err *e)
{
	while (all) {
		struct kube_pods_waiter *next = all->next;
		all->done(all->ctx, pods, pods ? NULL : e);
		mica_free(all);
		all = next;
	}
}

/* ---- nodes, under the lock ------------------------------------------------------------------- */

static struct kube_node **place_of(struct kube_pods *p, const char *name)
{
	uint32_t h = 2166136261U; /* FNV-1a: names come from tokens that were verified */
	struct kube_node **at;

	for (const char *c = name; *c; c++)
		h = (h ^ (uint8_t)*c) * 16777619U;
	at = &p->buckets[(h ^ h >> 16) % KUBE_PODS_BUCKETS];
	while (*at && strcmp((*at)->name, name) != 0)
		at = &(*at)->next;
	return at;
}

static void forget(struct kube_pods *p, struct kube_node **at)
{
	struct kube_node *n = *at;

	*at = n->next;
	p->n_nodes--;
	mica_node_pods_unref(n->pods);
	mica_free(n->name);
	mica_free(n);
}

/* What is too old for everybody is not kept: memory follows the nodes that were asked for of late.
 */
static void sweep(struct kube_pods *p, int64_t now_ms)
{
	if (now_ms - p->swept_ms < SWEEP_MS)
		return;
	p->swept_ms = now_ms;
	for (unsigned b = 0; b < KUBE_PODS_BUCKETS; b++)
		for (struct kube_node **at = &p->buckets[b]; *at;) {
			bool old = !(*at)->pods || now_ms - (*at)->begun_ms > MICA_KUBE_PODS_AGE_MS;
			if (old && !(*at)->busy)
				forget(p, at);
			else
				at = &(*at)->next;
		}
}

static bool is_fresh(const struct kube_node *n, int64_t max_age_ms, int64_t now_ms)
{
	return n && n->pods && now_ms - n->begun_ms <= max_age_ms;
}

static struct kube_node *add_node(struct kube_pods *p, const char *name)
{
	struct kube_node *n = MICA_NEW(struct kube_node), **at = place_of(p, name);

	n->name = mica_strdup(name);
	*at = n;
	p->n_nodes++;
	return n;
}

static void enqueue(struct kube_pods *p, struct kube_node *n, int64_t now_ms)
{
	n->busy = true;
	n->behind = NULL;
	n->deadline_ms = now_ms + p->timeout_ms;
	*p->queue_end = n;
	p->queue_end = &n->behind;
	p->status.busy++;
	pthread_cond_signal(&p->wake);
}

static struct kube_node *pop(struct kube_pods *p)
{
	struct kube_node *n = p->queue;

	p->queue = n->behind;
	if (!p->queue)
		p->queue_end = &p->queue;
	return n;
}

/* ---- asking for a list ----------------------------------------------------------------------- */

const struct mica_node_pods *kube_pods_known(
	struct kube_pods *p, const char *node, int64_t max_age_ms, int64_t *age_ms)
{
	const struct mica_node_pods *found = NULL;
	int64_t now_ms = mica_mono_ms();
	const struct kube_node *n;

	pthread_mutex_lock(&p->lock);
	n = *place_of(p, node);
	if (is_fresh(n, max_age_ms, now_ms)) {
		found = mica_node_pods_ref(n->pods);
		*age_ms = now_ms - n->begun_ms;
	}
	pthread_mutex_unlock(&p->lock);
	return found;
}

/* Under the lock; NULL with *e when nobody is asked. */
static struct kube_node *admit(
	struct kube_pods *p, const char *node, int64_t now_ms, struct mica_err *e)
{
	struct kube_node *n = *place_of(p, node);
	bool resting = p->failures >= FAILURES_TO_REST &&
		(now_ms < p->rest_until_ms || p->status.busy > 0);

	if (p->stop) {
		unavailable(p, "pods_ended", 1000, e);
		return NULL;
	}
	if (n && n->busy && n->n_waiters < p->tuning.waiters) {
		p->status.shared++;
		return n;
	}
	if (resting || (n && n->busy) || (!n && p->n_nodes >= NODES_MAX) ||
		p->status.busy >= p->tuning.queue) {
		p->status.refused++;
		unavailable(p, resting ? "pods_resting" : "pods_queue_full",
			resting ? p->rest_until_ms - now_ms : 1000, e);
		return NULL;
	}
	if (!n)
		n = add_node(p, node);
	enqueue(p, n, now_ms);
	return n;
}

bool kube_pods_take_waiter(struct kube_pods *p, const char *node, int64_t max_age_ms,
	struct kube_pods_waiter *w, const struct mica_node_pods **pods, struct mica_err *e)
{
	int64_t now_ms = mica_mono_ms();
	struct kube_node *n;

	*pods = NULL;
	pthread_mutex_lock(&p->lock);
	sweep(p, now_ms);
	n = *place_of(p, node);
	if (is_fresh(n, max_age_ms, now_ms)) {
		*pods = mica_node_pods_ref(n->pods);
		mica_free(w);
	} else {
		n = admit(p, node, now_ms, e);
		if (n) {
			w->next = n->waiters;
			n->waiters = w;
			n->n_waiters++;
		}
	}
	pthread_mutex_unlock(&p->lock);
	return *pods || n;
}

/* ---- one list -------------------------------------------------------------------------------- */

static bool cancelled(void *ctx)
{
	struct kube_pods *p = ctx;
	bool stop;

	pthread_mutex_lock(&p->lock);
	stop = p->stop;
	pthread_mutex_unlock(&p->lock);
	return stop;
}

/* RFC 3986 2.3: all but the unreserved. */
static void put_encoded(struct mica_buf *b, struct mica_slice s)
{
	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = s.p[i];
		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			c == '-' || c == '.' || c == '_' || c == '~')
			mica_buf_put_u8(b, c);
		else
			mica_buf_printf(b, "%%%02X", c);
	}
}

struct listing {
	struct kube_pods *p;
	struct mica_http_client *client;
	const char *node;
	int64_t deadline_ms;
	int retry_after;
	bool expired; /* the mark of the next page: the list begins again */
};

static mica_rc fetch_page(struct listing *l, unsigned limit, struct mica_slice next,
	struct mica_http_response *page, struct mica_err *e)
{
	struct mica_http_request q = {.method = "GET",
		.accept = "application/json",
		.max_body = MICA_NODE_PAGE_MAX,
		.cancelled = cancelled,
		.ctx = l->p};
	MICA_AUTO_BUF url;

	mica_buf_init(&url, URL_MAX);
	mica_buf_put_str(&url, l->p->url);
	mica_buf_put_str(&url, "/api/v1/pods?fieldSelector=spec.nodeName%3D");
	put_encoded(&url, mica_slice_str(l->node));
	mica_buf_printf(&url, "&limit=%u", limit);
	if (next.len) {
		mica_buf_put_str(&url, "&continue=");
		put_encoded(&url, next);
	}
	if (mica_buf_rc(&url, e) != MICA_OK)
		return MICA_LIMIT;
	q.url = (const char *)url.p;
	kube_call(l->client, &q, l->p->token_file, l->deadline_ms, page, e);
	l->retry_after = page->retry_after;
	if (e->rc != MICA_OK)
		return e->rc;
	/* an expired mark, kubernetes.md 2 */
	l->expired = page->status == 410 && next.len > 0;
	if (page->status != 200)
		return mica_fail(e, MICA_UNAVAILABLE, "http_status",
			"GET %s/api/v1/pods: status %d; expected 200%s", l->p->url, page->status,
			page->status == 401           ? " (is token_file good?)"
				: page->status == 403 ? " (may we list pods?)"
						      : "");
	return MICA_OK;
}

/* All pages of `limit` pods. */
static mica_rc fetch_list(
	struct listing *l, unsigned limit, struct mica_node_pods **out, struct mica_err *e)
{
	MICA_AUTO_STRUCT(mica_node_pods) pods = mica_node_pods_new(l->node);
	MICA_AUTO_BUF next;
	mica_rc rc;

	mica_buf_init(&next, MICA_NODE_NEXT_MAX);
	l->expired = false;
	do {
		MICA_AUTO_HTTP_RESPONSE page = {0};

		rc = fetch_page(l, limit, mica_buf_slice(&next), &page, e);
		if (rc == MICA_OK)
			rc = mica_node_pods_read(pods, mica_buf_slice(&page.body), &next, e);
	} while (rc == MICA_OK && next.len > 0);
	if (rc == MICA_OK)
		*out = MICA_STEAL(pods);
	return rc;
}

/* Pods may be as large as 1.5 MiB; most are a hundredth of that. */
static mica_rc fetch(struct listing *l, struct mica_node_pods **out, struct mica_err *e)
{
	static const unsigned limits[] = {200, 20, 2};
	unsigned restarts = 0;
	mica_rc rc = MICA_UNAVAILABLE;

	for (size_t i = 0; i < MICA_ARRAY_LEN(limits);) {
		mica_err_clear(e);
		rc = fetch_list(l, limits[i], out, e);
		if (rc == MICA_OK)
			return MICA_OK;
		if (l->expired && restarts++ < RESTARTS_MAX)
			continue;
		if (strcmp(e->reason, "answer_too_long") != 0)
			return rc;
		i++;
	}
	return rc;
}

/* ---- what became of it ----------------------------------------------------------------------- */

/* Under the lock: how long the API server is left alone. */
static void rest(struct kube_pods *p, int retry_after)
{
	int64_t ms = p->tuning.rest_ms;
	int asked = retry_after < RETRY_AFTER_MAX ? retry_after : RETRY_AFTER_MAX;

	for (unsigned i = FAILURES_TO_REST; i < p->failures && ms < REST_MAX_MS; i++)
		ms *= 2;
	ms = mica_jitter(ms < REST_MAX_MS ? ms : REST_MAX_MS, 50);
	if (asked * INT64_C(1000) > ms)
		ms = asked * INT64_C(1000);
	p->rest_until_ms = mica_mono_ms() + ms;
}

/* Under the lock. */
static void count(struct kube_pods *p, const struct mica_err *why, int retry_after)
{
	p->status.asked++;
	p->status.failing = why->rc != MICA_OK;
	p->status.reason = why->rc != MICA_OK ? mica_err_fine(why) : NULL;
	if (why->rc == MICA_OK) {
		p->failures = 0;
		return;
	}
	p->status.failed++;
	if (++p->failures >= FAILURES_TO_REST)
		rest(p, retry_after);
}

static void tell(const struct kube_pods *p, bool was_failing, const struct mica_err *why)
{
	if (why->rc != MICA_OK && !was_failing)
		MICA_LOG(MICA_WARN, "node_pods_failing", MICA_S("issuer", p->name), MICA_E(why));
	if (why->rc == MICA_OK && was_failing)
		MICA_LOG(MICA_INFO, "node_pods_recovered", MICA_S("issuer", p->name));
}

/* `pods` NULL: not had, and why. */
static void conclude(struct kube_pods *p, struct kube_node *n, const struct mica_node_pods *pods,
	int64_t begun_ms, const struct mica_err *why, int retry_after)
{
	struct kube_pods_waiter *all;
	struct mica_err e = MICA_ERR_INIT;
	bool was_failing, stop;

	pthread_mutex_lock(&p->lock);
	stop = p->stop;
	was_failing = p->status.failing;
	if (!stop)
		count(p, why, retry_after);
	if (pods) {
		mica_node_pods_unref(n->pods);
		n->pods = mica_node_pods_ref(pods);
		n->begun_ms = begun_ms;
	}
	n->busy = false;
	p->status.busy--;
	all = MICA_STEAL(n->waiters);
	n->n_waiters = 0;
	pthread_mutex_unlock(&p->lock);
	/* `n` may be gone from here on */
	if (!stop)
		tell(p, was_failing, why);
	if (!pods)
		unavailable(p, stop ? "pods_ended" : mica_err_fine(why), 1000, &e);
	answer(all, pods, &e);
}

static void work(struct kube_pods *p, struct mica_http_client *client, struct kube_node *n)
{
	MICA_AUTO_STRUCT(mica_node_pods) pods = NULL;
	struct listing l = {
		.p = p, .client = client, .node = n->name, .deadline_ms = n->deadline_ms};
	struct mica_err why = MICA_ERR_INIT;
	int64_t begun_ms = mica_mono_ms();

	/* the wait for a thread counts, too */
	if (begun_ms >= n->deadline_ms)
		mica_fail(&why, MICA_UNAVAILABLE, "pods_timeout", "no time was left to ask");
	else
		(void)!fetch(&l, &pods, &why);
	conclude(p, n, pods, begun_ms, &why, l.retry_after);
}

static void *pods_main(void *arg)
{
	struct kube_pods *p = arg;
	const struct mica_http_options options = {.ca_file = p->ca_file, .no_proxy_env = true};
	MICA_AUTO_HTTP_CLIENT client = NULL;
	struct mica_err e = MICA_ERR_INIT;

	if (mica_http_client_new(&options, &client, &e) != MICA_OK)
		MICA_LOG(MICA_ERROR, "node_pods_client", MICA_E(&e));
	pthread_mutex_lock(&p->lock);
	while (client && !p->stop) {
		struct kube_node *n;
		if (!p->queue) {
			pthread_cond_wait(&p->wake, &p->lock);
			continue;
		}
		n = pop(p);
		pthread_mutex_unlock(&p->lock);
		work(p, client, n);
		pthread_mutex_lock(&p->lock);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* ---- life ------------------------------------------------------------------------------------ */

void kube_pods_stop(struct kube_pods *p)
{
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_broadcast(&p->wake);
	pthread_mutex_unlock(&p->lock);
}

void kube_pods_take_free(struct kube_pods *p)
{
	struct mica_err ended = MICA_ERR_INIT;

	for (unsigned i = 0; i < p->n_threads; i++)
		pthread_join(p->threads[i], NULL);
	unavailable(p, "pods_ended", 1000, &ended);
	for (unsigned b = 0; b < KUBE_PODS_BUCKETS; b++)
		while (p->buckets[b]) {
			answer(MICA_STEAL(p->buckets[b]->waiters), NULL, &ended);
			forget(p, &p->buckets[b]);
		}
	pthread_cond_destroy(&p->wake);
	pthread_mutex_destroy(&p->lock);
	mica_free(p->name);
	mica_free(p->url);
	mica_free(p->ca_file);
	mica_free(p->token_file);
	mica_free(p);
}

mica_rc kube_pods_new(const struct mica_issuer_config *c, const struct mica_kube_tuning *tuning,
	struct kube_pods **out, struct mica_err *e)
{
	struct kube_pods *p = MICA_NEW(struct kube_pods);
	mica_rc rc = MICA_OK;

	p->name = mica_strdup(c->name);
	p->url = mica_strdup(c->impersonation.url);
	p->ca_file = mica_strdup(c->impersonation.ca_file);
	p->token_file = mica_strdup(c->impersonation.token_file);
	p->timeout_ms = c->impersonation.timeout * 1000;
	p->tuning = *tuning;
	p->queue_end = &p->queue;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->wake, NULL);
	snprintf(p->status.issuer, sizeof(p->status.issuer), "%s", c->name);
	for (; p->n_threads < KUBE_PODS_THREADS && rc == MICA_OK; p->n_threads += rc == MICA_OK)
		rc = mica_thread_start(&p->threads[p->n_threads], pods_main, p, "lists of pods", e);
	if (rc != MICA_OK) {
		kube_pods_stop(p);
		kube_pods_take_free(p);
		return rc;
	}
	*out = p;
	return MICA_OK;
}
