/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one Kubernetes API client: TokenReview, and which pods run on a node. Each issuer that asks
 *for reviews has a small pool of threads with connections to its API server and a bounded queue, so
 *that a cluster that is down or slow holds up only its own callers. One question is under way for
 *each (issuer, pod, service account); all who come meanwhile share its answer. The core makes the
 *question, judges the answer and remembers it.
 *
 *	mica_core_review_need says ASK -> mica_kube_review(k, caller, token, done, ctx)
 *
 * After three failures in a row an API server is left alone for a moment (half a second, doubling
 * up to ten, or what its Retry-After says up to a minute) and then asked by one caller first.
 */
#ifndef MICA_SERVER_KUBE_H
#define MICA_SERVER_KUBE_H

#include "mica/config.h"
#include "mica/core.h"

struct mica_kube; /* opaque */

/* For each issuer; 0 = the default. */
struct mica_kube_tuning {
	unsigned threads; /* 4; at most 16 */
	unsigned queue; /* questions that wait for a thread: 256 */
	unsigned waiters; /* who share one question: 1024 */
	int64_t rest_ms; /* the first rest after failures: 500 */
};

/* `config` is copied (issuers whose review mode is not never); `core` is borrowed and must outlive
 * it; `tuning` may be NULL. UNAVAILABLE "no_threads". Issuers whose pods may be asked for on
 * others' behalf list pods, whatever their review mode. */
mica_rc mica_kube_new(struct mica_core *core, const struct mica_config *config,
	const struct mica_kube_tuning *tuning, struct mica_kube **out,
	struct mica_err *e) MICA_MUST_CHECK;
/* Ends the questions under way within a fraction of a second; who waits gets UNAVAILABLE. */
void mica_kube_free(struct mica_kube *k); /* NULL is fine */
/* As mica_keys_retire and mica_keys_reload: an answer of an API server by old settings is not
 * judged by new ones. With config NULL all end, and whoever asks later gets UNAVAILABLE. */
void mica_kube_retire(struct mica_kube *k, const struct mica_config *config);
mica_rc mica_kube_reload(
	struct mica_kube *k, const struct mica_config *config, struct mica_err *e) MICA_MUST_CHECK;

/* `e` is borrowed; unset when rc is OK. */
typedef void mica_kube_done(void *ctx, mica_rc rc, const struct mica_err *e);
/*
 * Asks the API server of the caller's issuer. Never blocks; caller and token are copied. `done` is
 * called exactly once, from another thread or before the return, after at most the issuer's
 * review.timeout and a fraction of a second:
 *	OK		the token's pod is there; or the API server could not be asked and the
 *			issuer says on_failure: allow
 *	DENIED		"pod_gone" | "token_review_refused", as mica_core_review_judge
 *	UNAVAILABLE	"token_review_failed" with retry_after; fine review_queue_full,
 *			review_resting, review_timeout, review_ended, review_no_server, or the
 *			core's. What is our own overload is never allowed by on_failure.
 */
void mica_kube_review(struct mica_kube *k, const struct mica_caller *caller,
	struct mica_slice token, mica_kube_done *done, void *ctx);

/* ---- pods of a node ------------------------------------------------------------------------- */

/* Lists count for so long, from when they were asked for. */
#define MICA_KUBE_PODS_AGE_MS 10000
/* Who misses a pod in one may have a newer one, at most this often for a node. */
#define MICA_KUBE_PODS_MISS_MS 1000

/* What is known of the pods of `node` in the cluster of `issuer`, asked for at most `max_age_ms`
 * ago: a reference, and how old it is; else NULL. Never waits. */
const struct mica_node_pods *mica_kube_pods_known(struct mica_kube *k, const char *issuer,
	const char *node, int64_t max_age_ms, int64_t *age_ms);

/* `pods` and `e` are borrowed; one of them is NULL. */
typedef void mica_kube_pods_done(
	void *ctx, const struct mica_node_pods *pods, const struct mica_err *e);
/* The same, asked for if need be: one call at a time for a node, shared by all who come meanwhile.
 * Never blocks. `done` is called exactly once, from another thread or before the return, after at
 * most the issuer's impersonation.timeout and a fraction of a second. UNAVAILABLE
 * "pods_unavailable" with retry_after; fine pods_queue_full, pods_resting, pods_timeout,
 * pods_ended, pods_no_server, http_status, or what mica_http_do and mica_node_pods_read say. */
void mica_kube_pods(struct mica_kube *k, const char *issuer, const char *node, int64_t max_age_ms,
	mica_kube_pods_done *done, void *ctx);

struct mica_kube_pods_status {
	char issuer[MICA_NAME_MAX + 1];
	bool failing; /* the last list could not be had */
	uint64_t asked, failed; /* lists */
	uint64_t shared; /* callers who got the answer to another's question */
	uint64_t refused; /* callers who could not be waited for, or while the API server rests */
	unsigned nodes, busy; /* that are remembered; that are being asked for */
	const char *reason; /* of the last failure, a literal; NULL when not failing */
};
/* Fills at most `max`; returns how many issuers there are that list pods. */
unsigned mica_kube_pods_status(
	struct mica_kube *k, struct mica_kube_pods_status *out, unsigned max);

/* ---- figures of reviews ---------------------------------------------------------------------- */

struct mica_kube_status {
	char issuer[MICA_NAME_MAX + 1];
	bool failing; /* the last question had no usable answer */
	uint64_t asked, answered,
		failed; /* questions; of these usable answers, yes or no, and none */
	uint64_t shared; /* callers who got the answer to another's question */
	uint64_t refused_full, refused_resting;
	uint64_t allowed; /* unasked, by on_failure: allow */
	unsigned queued, running;
	int64_t last_ms; /* how long the last question took */
	const char *reason; /* of the last failure, a literal; NULL when not failing */
	char error[MICA_ERR_TEXT_MAX];
};
/* Fills at most `max`; returns how many issuers with reviews there are. */
unsigned mica_kube_status(struct mica_kube *k, struct mica_kube_status *out, unsigned max);

#endif
