/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the Kubernetes client share: the questions to one API server. */
#ifndef MICA_SERVER_KUBE_IMPL_H
#define MICA_SERVER_KUBE_IMPL_H

#include "kube.h"

#include <pthread.h>

#define KUBE_THREADS_MAX 16
#define KUBE_KEY_LEN     32

struct kube_settings {
	char *name, *url; /* url: of the resource tokenreviews */
	char *ca_file, *token_file; /* NULL when unset */
	bool allow_on_failure;
	int64_t timeout_ms;
};
void kube_settings_init(struct kube_settings *s, const struct mica_issuer_config *c);
void kube_settings_clear(struct kube_settings *s);
bool kube_settings_equal(const struct kube_settings *a, const struct kube_settings *b);

struct kube_waiter {
	struct kube_waiter *next;
	mica_kube_done *done;
	void *ctx;
};

/* One question, and who wants its answer. */
struct kube_job {
	struct kube_job *next;
	struct mica_caller caller; /* whose token it is */
	uint8_t key[KUBE_KEY_LEN]; /* the pod's UID, then the service account's */
	struct mica_buf body; /* holds the token; not changed while others can see the job */
	int64_t deadline_ms;
	struct kube_waiter *waiters;
	unsigned n_waiters;
};

/* One API server. `lock` guards all but the first five. */
struct kube_pool {
	struct mica_core *core;
	struct kube_settings settings;
	struct mica_kube_tuning tuning;
	pthread_t threads[KUBE_THREADS_MAX];
	unsigned n_threads;

	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop;
	struct kube_job *queue, **queue_end;
	struct kube_job *running;
	unsigned failures; /* in a row */
	int64_t rest_until_ms;
	struct mica_kube_status status;
};

mica_rc kube_pool_new(struct mica_core *core, const struct mica_issuer_config *c,
	const struct mica_kube_tuning *tuning, struct kube_pool **out,
	struct mica_err *e) MICA_MUST_CHECK;
void kube_pool_stop(struct kube_pool *p); /* at once, without waiting */
void kube_pool_take_free(struct kube_pool *p); /* behind kube_pool_stop */

/* One request: `q` without bearer and timeout, which follow from `token_file` (NULL = none) and the
 * deadline (mica_mono_ms). e is unset when an answer came. A token that was renewed while we used
 * the old one is taken at once. `answer` is a fresh response. */
struct mica_http_client;
struct mica_http_request;
struct mica_http_response;
void kube_call(struct mica_http_client *client, struct mica_http_request *q, const char *token_file,
	int64_t deadline_ms, struct mica_http_response *answer, struct mica_err *e);

/* Takes `job` with its one waiter. Not NULL: this waiter is not served and is to be called back
 * with *rc and *e, outside of every lock. */
struct kube_waiter *kube_pool_take_job(
	struct kube_pool *p, struct kube_job *job, mica_rc *rc, struct mica_err *e);
void kube_job_free(struct kube_job *job);
/* What everybody who waits is told. */
struct kube_verdict {
	mica_rc rc;
	struct mica_err err;
};
void kube_answer(struct kube_waiter *all, const struct kube_verdict *v);

/* ---- pods of nodes (kube_pods.c) ------------------------------------------------------------- */

#define KUBE_PODS_THREADS 2
#define KUBE_PODS_BUCKETS 512

struct kube_pods_waiter {
	struct kube_pods_waiter *next;
	mica_kube_pods_done *done;
	void *ctx;
};

struct kube_node {
	struct kube_node *next; /* in its bucket */
	struct kube_node *behind; /* in the queue */
	char *name;
	const struct mica_node_pods *pods; /* NULL = none that is fresh */
	int64_t begun_ms; /* when they were asked for */
	bool busy; /* queued, or asked for now */
	struct kube_pods_waiter *waiters;
	unsigned n_waiters;
	int64_t deadline_ms;
};

/* The pods of the nodes of one cluster. `lock` guards all below it. */
struct kube_pods {
	char *name, *url, *ca_file, *token_file; /* issuer; https://host:port; NULL when unset */
	int64_t timeout_ms;
	struct mica_kube_tuning tuning;
	pthread_t threads[KUBE_PODS_THREADS];
	unsigned n_threads;

	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop;
	struct kube_node *buckets[KUBE_PODS_BUCKETS];
	unsigned n_nodes;
	int64_t swept_ms;
	struct kube_node *queue, **queue_end;
	unsigned failures; /* in a row */
	int64_t rest_until_ms;
	struct mica_kube_pods_status status;
};

mica_rc kube_pods_new(const struct mica_issuer_config *c, const struct mica_kube_tuning *tuning,
	struct kube_pods **out, struct mica_err *e) MICA_MUST_CHECK;
bool kube_pods_is_of(const struct kube_pods *p, const struct mica_issuer_config *c);
void kube_pods_stop(struct kube_pods *p); /* at once, without waiting */
void kube_pods_take_free(struct kube_pods *p); /* behind kube_pods_stop */
const struct mica_node_pods *kube_pods_known(
	struct kube_pods *p, const char *node, int64_t max_age_ms, int64_t *age_ms);
/* True: `w` will be answered, or *pods (a reference) is the answer. Takes `w` then. False: refused,
 * with *e; `w` is the caller's. */
bool kube_pods_take_waiter(struct kube_pods *p, const char *node, int64_t max_age_ms,
	struct kube_pods_waiter *w, const struct mica_node_pods **pods, struct mica_err *e);

#endif
