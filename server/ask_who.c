/* SPDX-License-Identifier: Apache-2.0 */
/* Who asks: a bearer token, or a client SVID. */
#include "ask.h"

#include "keys.h"
#include "known.h"
#include "kube.h"
#include "limits.h"

#include "mica/clock.h"

#define PARKED_MAX 512 /* requests that wait for keys or a TokenReview */

void ask_enter(struct ask *a)
{
	if (!a->entered)
		committer_enter(a->desk->committer);
	a->entered = true;
}

void ask_leave(struct ask *a)
{
	if (a->entered)
		committer_leave(a->desk->committer);
	a->entered = false;
}

static void unpark(struct ask *a)
{
	if (a->parked)
		atomic_fetch_sub(&a->desk->parked, 1);
	a->parked = false;
}

static void fail(struct ask *a)
{
	ask_leave(a);
	unpark(a);
	a->face->failed(a);
}

void ask_push(struct ask *a, work_fn *fn, void *job)
{
	if (work_push(a->desk->work, fn, job))
		return;
	mica_fail(a->err, MICA_UNAVAILABLE, "overloaded",
		"too many requests are under way, try again");
	fail(a);
}

static void told_late(void *job)
{
	struct ask *a = job;

	a->face->failed(a);
}

void ask_refuse(struct ask *a)
{
	struct desk *d = a->desk;
	/* our own trouble is no failure of the caller's */
	bool theirs = a->err->rc == MICA_UNAUTHENTICATED || a->err->rc == MICA_DENIED;

	if (!theirs || a->peer->local) {
		fail(a);
		return;
	}
	if (d->limits)
		limits_address_failure(d->limits, a->peer, mica_mono_ms());
	ask_leave(a);
	unpark(a);
	if (a->face->leave)
		a->face->leave(a, false);
	if (!late_add(d->late, &a->late, told_late, a))
		a->face->failed(a);
}

void ask_abandon(struct ask *a)
{
	if (late_remove(a->desk->late, &a->late))
		a->face->failed(a);
}

/* ---- known ----------------------------------------------------------------------------------- */

static bool identity_ok(struct ask *a, int *retry)
{
	const struct mica_principal *p = &a->caller->principal;
	static const struct mica_uid none;
	struct mica_slice id = mica_slice_str(p->spiffe_id);

	/* pods of one identity do not share one bucket */
	if (memcmp(&p->pod_uid, &none, sizeof(none)) != 0)
		id = mica_slice(p->pod_uid.b, sizeof(p->pod_uid.b));
	if (!a->desk->limits || id.len == 0)
		return true;
	return limits_identity_allowed(a->desk->limits, id, mica_mono_ms(), retry);
}

void ask_known(struct ask *a)
{
	int retry = 1;

	a->t_auth = mica_mono_ns();
	if (mica_slice_copy(mica_slice_str(a->address), a->caller->address,
		    sizeof(a->caller->address)) != MICA_OK)
		a->caller->address[0] = '\0';
	if (identity_ok(a, &retry)) {
		a->face->known(a);
		return;
	}
	mica_fail(a->err, MICA_LIMIT, "identity_rate_limited",
		"too many requests of this identity, try again later");
	a->err->retry_after = retry;
	fail(a);
}

/* The credential holds: whoever shows it is let in even while its address is in disgrace. */
static void credential_good(struct ask *a)
{
	if (a->desk->limits && !a->peer->local)
		known_add(a->desk->known, a->token.len ? a->token : a->chain[0]);
}

/* ---- away, and back -------------------------------------------------------------------------- */

/* Leaves the front's thread, if there is room among those who wait. */
static bool park(struct ask *a)
{
	if (atomic_fetch_add(&a->desk->parked, 1) >= PARKED_MAX) {
		atomic_fetch_sub(&a->desk->parked, 1);
		return false;
	}
	a->parked = true;
	ask_leave(a);
	if (a->face->leave)
		a->face->leave(a, true);
	return true;
}

/* On the pool, for one that was parked: what the front's thread would have gone on with. */
static void go_on(struct ask *a, bool run, void (*next)(struct ask *a))
{
	unpark(a);
	if (!run) {
		mica_err_clear(a->err);
		mica_fail(a->err, MICA_UNAVAILABLE, "draining", "this server is about to end");
		fail(a);
		return;
	}
	if (a->issues)
		ask_enter(a);
	next(a);
}

/* ---- TokenReview --------------------------------------------------------------------------- */

static void run_reviewed(void *job, bool run)
{
	go_on(job, run, ask_known);
}

/* On a thread of the asker's, or on the front's itself. */
static void reviewed(void *job, mica_rc rc, const struct mica_err *e)
{
	struct ask *a = job;

	if (rc == MICA_OK) {
		ask_push(a, run_reviewed, a);
		return;
	}
	unpark(a);
	*a->err = *e;
	ask_refuse(a);
}

/* It cannot be asked: what then holds is configured, and the core's to decide. */
static void go_without(struct ask *a)
{
	if (mica_core_review_judge(
		    a->desk->core, a->caller, 0, MICA_SLICE_NULL, mica_now_ms(), a->err) == MICA_OK)
		ask_known(a);
	else
		ask_refuse(a);
}

static void review(struct ask *a)
{
	struct desk *d = a->desk;

	switch (mica_core_review_need(d->core, a->caller, mica_now_ms())) {
	case MICA_REVIEW_NOT_NEEDED:
	case MICA_REVIEW_CACHED_YES: ask_known(a); return;
	case MICA_REVIEW_CACHED_NO:
		mica_fail(a->err, MICA_DENIED, "token_review_refused",
			"the cluster's API server refused this token a moment ago");
		ask_refuse(a);
		return;
	case MICA_REVIEW_ASK: break;
	}
	if (!d->kube) {
		go_without(a);
		return;
	}
	if (!park(a)) {
		mica_fail(a->err, MICA_UNAVAILABLE, "overloaded",
			"too many requests wait for the cluster's API server, try again");
		fail(a);
		return;
	}
	mica_metric_add(&d->m.reviews, 1);
	mica_kube_review(d->kube, a->caller, a->token, reviewed, a);
}

/* ---- on behalf of a pod -------------------------------------------------------------------- */

static mica_rc judge(struct ask *a, const struct mica_node_pods *pods)
{
	struct mica_caller pod;
	mica_rc rc =
		mica_core_impersonation_judge(a->desk->core, a->caller, a->as, pods, &pod, a->err);

	if (rc == MICA_OK)
		*a->caller = pod;
	return rc;
}

static void run_as(void *job, bool run)
{
	struct ask *a = job;

	go_on(a, run, a->as_then);
}

/* On a thread of the client's, or on the front's itself. */
static void listed(void *job, const struct mica_node_pods *pods, const struct mica_err *e)
{
	struct ask *a = job;

	if (!pods)
		*a->err = *e;
	if (pods && judge(a, pods) == MICA_OK)
		ask_push(a, run_as, a);
	else
		ask_refuse(a);
}

/* What is remembered of the node is good enough for a yes; for a no it must be new, since pods come
 * at any time and their agent asks for them at once. */
static bool is_judged(struct ask *a, int64_t *max_age_ms)
{
	const struct mica_principal *p = &a->caller->principal;
	MICA_AUTO_STRUCT(mica_node_pods) pods = NULL;
	int64_t age_ms = 0;
	mica_rc rc;

	*max_age_ms = MICA_KUBE_PODS_AGE_MS;
	pods = (struct mica_node_pods *)(uintptr_t)mica_kube_pods_known(
		a->desk->kube, p->issuer, p->node, *max_age_ms, &age_ms);
	if (!pods)
		return false;
	rc = judge(a, pods);
	if (rc == MICA_OK)
		a->as_then(a);
	else if (rc != MICA_DENIED || age_ms < MICA_KUBE_PODS_MISS_MS)
		ask_refuse(a);
	else
		*max_age_ms = MICA_KUBE_PODS_MISS_MS;
	return *max_age_ms != MICA_KUBE_PODS_MISS_MS;
}

void ask_as(struct ask *a, struct mica_slice identity, void (*then)(struct ask *a))
{
	struct desk *d = a->desk;
	char issuer[MICA_NAME_MAX + 1], node[MICA_K8S_NAME_MAX + 1];
	int64_t max_age_ms;

	a->as = identity;
	a->as_then = then;
	if (mica_core_impersonation_admit(d->core, a->caller, identity, a->err) != MICA_OK) {
		ask_refuse(a);
		return;
	}
	if (!d->kube) {
		mica_fail(a->err, MICA_UNAVAILABLE, "pods_unavailable",
			"no cluster can be asked which pods run on this node");
		fail(a);
		return;
	}
	if (is_judged(a, &max_age_ms))
		return;
	mica_err_clear(a->err);
	if (!park(a)) {
		mica_fail(a->err, MICA_UNAVAILABLE, "overloaded",
			"too many requests wait for the cluster's API server, try again");
		fail(a);
		return;
	}
	/* it may be over before that returns */
	memcpy(issuer, a->caller->principal.issuer, sizeof(issuer));
	memcpy(node, a->caller->principal.node, sizeof(node));
	mica_kube_pods(d->kube, issuer, node, max_age_ms, listed, a);
}

/* ---- tokens -------------------------------------------------------------------------------- */

static void check_token(struct ask *a);

static void run_refreshed(void *job, bool run)
{
	go_on(job, run, check_token);
}

/* On a thread of the fetcher's, or on the front's itself. */
static void refreshed(void *job, bool fresh)
{
	struct ask *a = job;

	if (fresh) {
		ask_push(a, run_refreshed, a);
		return;
	}
	unpark(a);
	ask_refuse(a);
}

/* An unknown key: the issuer may have a new one. No keys at all: the first fetch may be under way,
 * since micad serves before it has ended. Asked for once a request; how often it is fetched for all
 * of them is the fetcher's to bound. */
static bool refresh(struct ask *a, const char *issuer)
{
	struct mica_keys *keys = a->desk->keys;
	const char *why = mica_err_fine(a->err);

	if (a->refreshed || !issuer || !keys ||
		(strcmp(why, "unknown_key") != 0 && strcmp(why, "issuer_keys_missing") != 0))
		return false;
	a->refreshed = true;
	if (!park(a))
		return false;
	mica_metric_add(&a->desk->m.keys_refreshed, 1);
	mica_keys_refresh(keys, issuer, refreshed, a);
	return true;
}

static void check_token(struct ask *a)
{
	const char *issuer = NULL;
	mica_rc rc;

	mica_err_clear(a->err);
	rc = mica_core_authenticate_token(
		a->desk->core, a->token, a->front, mica_now_ms(), a->caller, &issuer, a->err);
	if (rc == MICA_OK) {
		credential_good(a);
		review(a);
	} else if (!refresh(a, issuer)) {
		ask_refuse(a);
	}
}

static void check_svid(struct ask *a)
{
	if (mica_core_authenticate_svid(a->desk->core, a->chain, a->n_chain, mica_now_ms(),
		    a->caller, a->err) != MICA_OK) {
		ask_refuse(a);
		return;
	}
	a->caller->evidence.front = a->front;
	credential_good(a);
	ask_known(a);
}

void ask_who(struct ask *a)
{
	if (a->issues)
		ask_enter(a);
	if (a->n_chain && !a->token.len)
		check_svid(a);
	else
		check_token(a);
}
