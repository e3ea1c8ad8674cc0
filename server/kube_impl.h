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

/* One POST of `body`; *status 0 = no answer, and why in *e. `answer` is a fresh response. */
struct mica_http_client;
struct mica_http_response;
void kube_post(const struct kube_settings *s, struct mica_http_client *client,
	struct mica_slice body, int64_t deadline_ms, bool (*cancelled)(void *ctx), void *ctx,
	struct mica_http_response *answer, struct mica_err *e);

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

#endif
