/* SPDX-License-Identifier: Apache-2.0 */
/* Who asks: a bearer token, a client SVID or the peer of a socket, in this order. */
#include "api_impl.h"

#include "keys.h"
#include "limits.h"

#include "mica/clock.h"

#include <grp.h>
#include <pwd.h>
#include <stdio.h>

#define PARKED_MAX      512 /* requests that wait for keys or a TokenReview */
#define REVIEW_BODY_MAX (32 * 1024)
#define GROUPS_MAX      256

static void refuse(struct api_call *c)
{
	/* our own trouble is no failure of the caller's */
	if (c->err.rc == MICA_UNAUTHENTICATED || c->err.rc == MICA_DENIED)
		api_address_failed(c->a, c->d);
	api_fail(c);
}

/* Leaves the worker, if there is room among those who wait. */
static bool park(struct api_call *c)
{
	if (atomic_fetch_add(&c->a->parked, 1) >= PARKED_MAX) {
		atomic_fetch_sub(&c->a->parked, 1);
		return false;
	}
	c->parked = true;
	api_keep(c);
	return true;
}

static void unpark(struct api_call *c)
{
	if (c->parked)
		atomic_fetch_sub(&c->a->parked, 1);
	c->parked = false;
}

/* On the pool, for a call that was parked: what the worker would have gone on with. */
static void go_on(struct api_call *c, bool run, void (*next)(struct api_call *c))
{
	unpark(c);
	if (!run) {
		mica_err_clear(&c->err);
		mica_fail(&c->err, MICA_UNAVAILABLE, "draining", "this server is about to end");
		api_fail(c);
		return;
	}
	if (api_issues(c->route))
		api_enter(c);
	next(c);
}

/* ---- TokenReview --------------------------------------------------------------------------- */

static void run_reviewed(void *job, bool run)
{
	go_on(job, run, api_run);
}

/* On a thread of the asker's. */
static void reviewed(void *job, int status, struct mica_slice answer)
{
	struct api_call *c = job;
	mica_rc rc = mica_core_review_judge(
		c->a->o.core, c->caller, status, answer, mica_now_ms(), &c->err);

	if (rc == MICA_OK) {
		api_push(c, run_reviewed);
		return;
	}
	unpark(c);
	refuse(c);
}

static bool ask(struct api_call *c)
{
	const struct api_kube *kube = &c->a->o.kube;
	const struct mica_principal *p = &c->caller->principal;
	uint8_t key[32];
	MICA_AUTO_BUF body;

	mica_buf_init_secret(&body, REVIEW_BODY_MAX);
	if (!kube->review ||
		mica_core_review_request(c->a->o.core, c->caller, c->token, &body, &c->err) !=
			MICA_OK)
		return false;
	memcpy(key, p->pod_uid.b, 16);
	memcpy(key + 16, p->sa_uid.b, 16);
	if (!park(c))
		return false;
	metric_add(&c->a->m.reviews, 1);
	return kube->review(kube->ctx, p->issuer, key, mica_buf_slice(&body), reviewed, c);
}

static void review(struct api_call *c)
{
	switch (mica_core_review_need(c->a->o.core, c->caller, mica_now_ms())) {
	case MICA_REVIEW_NOT_NEEDED:
	case MICA_REVIEW_CACHED_YES: api_run(c); return;
	case MICA_REVIEW_CACHED_NO:
		mica_fail(&c->err, MICA_DENIED, "token_review_refused",
			"the cluster's API server refused this token a moment ago");
		refuse(c);
		return;
	case MICA_REVIEW_ASK: break;
	}
	if (ask(c))
		return;
	/* it cannot be asked: what then holds is configured, and the core's to decide */
	unpark(c);
	if (c->err.rc == MICA_OK &&
		mica_core_review_judge(c->a->o.core, c->caller, 0, MICA_SLICE_NULL, mica_now_ms(),
			&c->err) == MICA_OK)
		api_run(c);
	else
		refuse(c);
}

/* ---- tokens -------------------------------------------------------------------------------- */

static void check_token(struct api_call *c);

static void run_refreshed(void *job, bool run)
{
	go_on(job, run, check_token);
}

/* On a thread of the fetcher's, or on the worker itself. */
static void refreshed(void *job, bool fresh)
{
	struct api_call *c = job;

	if (fresh) {
		api_push(c, run_refreshed);
		return;
	}
	unpark(c);
	refuse(c);
}

/* An unknown key: the issuer may have a new one. Asked for once a request; how often it is fetched
 * for all of them is the fetcher's to bound. */
static bool refresh(struct api_call *c, const char *issuer)
{
	struct mica_keys *keys = c->a->o.keys;

	if (c->refreshed || !issuer || !keys || strcmp(mica_err_fine(&c->err), "unknown_key") != 0)
		return false;
	c->refreshed = true;
	if (!park(c))
		return false;
	metric_add(&c->a->m.keys_refreshed, 1);
	mica_keys_refresh(keys, issuer, refreshed, c);
	return true;
}

static void check_token(struct api_call *c)
{
	const char *issuer = NULL;
	mica_rc rc;

	mica_err_clear(&c->err);
	rc = mica_core_authenticate_token(c->a->o.core, c->token, MICA_FRONT_REST, mica_now_ms(),
		c->caller, &issuer, &c->err);
	if (rc == MICA_OK)
		review(c);
	else if (!refresh(c, issuer))
		refuse(c);
}

/* ---- the peer of a socket ------------------------------------------------------------------ */

/* Whether the peer is in group `gid`: by its process's group, or by the group database. */
static bool in_group(const struct http_peer *p, int64_t gid)
{
	char mem[4096];
	struct passwd pw, *found = NULL;
	gid_t groups[GROUPS_MAX];
	int n = GROUPS_MAX;

	if (gid < 0 || p->gid == gid)
		return gid >= 0;
	if (getpwuid_r((uid_t)p->uid, &pw, mem, sizeof(mem), &found) != 0 || !found ||
		getgrouplist(pw.pw_name, pw.pw_gid, groups, &n) < 0)
		return false;
	for (int i = 0; i < n; i++)
		if (groups[i] == (gid_t)gid)
			return true;
	return false;
}

static void check_peer(struct api_call *c)
{
	const struct http_peer *p = c->d->peer;
	const struct api_options *o = &c->a->o;
	struct mica_caller *k = c->caller;

	k->evidence.kind = MICA_EV_ADMIN;
	k->uid = p->uid;
	k->gid = p->gid;
	k->pid = p->pid;
	snprintf(k->evidence.id, sizeof(k->evidence.id), "uid:%lld", (long long)p->uid);
	if (p->uid == 0 || p->uid == o->own_uid || in_group(p, o->admin_gid))
		k->roles = MICA_ROLE_ADMIN;
	else if (in_group(p, o->audit_gid))
		k->roles = MICA_ROLE_AUDITOR;
	api_run(c);
}

/* ---- which of them ------------------------------------------------------------------------- */

static void check_svid(struct api_call *c)
{
	if (mica_core_authenticate_svid(c->a->o.core, c->d->client_chain, c->d->n_client_chain,
		    mica_now_ms(), c->caller, &c->err) == MICA_OK)
		api_run(c);
	else
		refuse(c);
}

void api_authenticate(struct api_call *c)
{
	const struct http_req_data *d = c->d;

	if (c->route->who == API_ANYONE) {
		api_run(c);
		return;
	}
	c->caller = MICA_NEW(struct mica_caller);
	c->caller->uid = c->caller->gid = c->caller->pid = -1;
	if (d->authorization.len && api_bearer(d->authorization, &c->token)) {
		check_token(c);
	} else if (d->authorization.len) {
		c->expected = "Authorization: Bearer <token>";
		mica_fail(&c->err, MICA_UNAUTHENTICATED, "credential_malformed",
			"expected the header %s", c->expected);
		refuse(c);
	} else if (d->n_client_chain) {
		check_svid(c);
	} else if (d->peer->local) {
		check_peer(c);
	} else {
		c->expected = "Authorization: Bearer <token>, or a client certificate";
		mica_fail(&c->err, MICA_UNAUTHENTICATED, "credential_missing",
			"nobody is known by this request, expected %s", c->expected);
		refuse(c);
	}
}

/* ---- limits -------------------------------------------------------------------------------- */

bool api_address_ok(struct api *a, const struct http_req_data *d, int *retry_after)
{
	int64_t now = mica_mono_ms();

	if (!a->o.limits || d->peer->local)
		return true;
	if (!limits_address_allowed(a->o.limits, d->peer, now, retry_after))
		return false;
	return d->authorization.len || d->n_client_chain ||
		limits_anonymous_allowed(a->o.limits, d->peer, now, retry_after);
}

void api_address_failed(struct api *a, const struct http_req_data *d)
{
	if (a->o.limits && !d->peer->local)
		limits_address_failure(a->o.limits, d->peer, mica_mono_ms());
}

bool api_identity_ok(struct api_call *c, int *retry_after)
{
	const struct mica_principal *p = &c->caller->principal;
	static const struct mica_uid none;
	struct mica_slice id = mica_slice_str(p->spiffe_id);

	/* pods of one identity do not share one bucket */
	if (memcmp(&p->pod_uid, &none, sizeof(none)) != 0)
		id = mica_slice(p->pod_uid.b, sizeof(p->pod_uid.b));
	if (!c->a->o.limits || id.len == 0)
		return true;
	return limits_identity_allowed(c->a->o.limits, id, mica_mono_ms(), retry_after);
}
