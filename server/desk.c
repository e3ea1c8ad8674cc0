/* SPDX-License-Identifier: Apache-2.0 */
#include "desk.h"

#include "decisions.h"
#include "known.h"
#include "late.h"
#include "limits.h"
#include "policies.h"

#include "mica/clock.h"

#define POOL_QUEUE 4096
#define KNOWN_MAX  16384 /* credentials that are recognised in a flood: 128 KiB */
#define REFUSALS   2000 /* a second: of what a flood may cost, about an eighth of a core */

static unsigned positive(int64_t v)
{
	return v < 1 ? 1 : v > 1000000 ? 1000000 : (unsigned)v;
}

void desk_reconfigure(struct desk *d, const struct mica_config *config)
{
	atomic_store(&d->log_address, config->log.caller_address);
	atomic_store(&d->queue_max, positive(config->limits.queue));
}

mica_rc desk_new(const struct desk_options *o, struct desk **out, struct mica_err *e)
{
	struct desk *d = MICA_NEW(struct desk);
	mica_rc rc;

	d->core = o->core;
	d->committer = o->committer;
	d->replay = o->replay;
	d->limits = o->limits;
	d->keys = o->keys;
	d->kube = o->kube;
	d->known = known_new(KNOWN_MAX);
	d->decisions = decisions_new();
	desk_reconfigure(d, o->config);
	rc = work_new(o->threads ? o->threads : 2, POOL_QUEUE, &d->work, e);
	if (rc == MICA_OK)
		rc = policies_new(o->core, o->config, &d->policies, e);
	if (rc == MICA_OK)
		rc = late_new(REFUSALS, &d->late, e);
	if (rc != MICA_OK) {
		desk_free(d);
		return rc;
	}
	*out = d;
	return MICA_OK;
}

void desk_drain(struct desk *d)
{
	atomic_store(&d->draining, true);
}

void desk_stop(struct desk *d)
{
	desk_drain(d);
	if (d->work)
		work_stop(d->work);
	if (d->late)
		late_stop(d->late);
}

void desk_free(struct desk *d)
{
	if (!d)
		return;
	work_free(d->work);
	late_free(d->late);
	known_free(d->known);
	policies_free(d->policies);
	decisions_free(d->decisions);
	mica_free(d);
}

/* ---- limits --------------------------------------------------------------------------------- */

static bool address_ok(
	struct desk *d, const struct http_peer *peer, struct mica_slice credential, int *retry)
{
	int64_t now = mica_mono_ms();

	if (!d->limits || peer->local)
		return true;
	if (!limits_address_allowed(d->limits, peer, now, retry))
		return known_has(d->known, credential);
	return credential.len || limits_anonymous_allowed(d->limits, peer, now, retry);
}

mica_rc desk_address_ok(struct desk *d, const struct http_peer *peer, struct mica_slice credential,
	struct mica_err *e)
{
	int retry = 1;

	if (address_ok(d, peer, credential, &retry))
		return MICA_OK;
	mica_metric_add(&d->m.rate_limited, 1);
	mica_fail(e, MICA_LIMIT, "rate_limited",
		"too many requests from this address were refused or came without a credential");
	e->retry_after = retry;
	return MICA_LIMIT;
}

mica_rc desk_queue_ok(struct desk *d, struct mica_err *e)
{
	if (atomic_load_explicit(&d->under_way, memory_order_relaxed) <
		atomic_load_explicit(&d->queue_max, memory_order_relaxed))
		return MICA_OK;
	return mica_fail(
		e, MICA_UNAVAILABLE, "overloaded", "too many requests are under way, try again");
}

/* ---- counting and log ------------------------------------------------------------------------ */

/* What no flood can make long: over the limit one line a second stands for all of them. */
static bool quiet(struct desk *d, int64_t *before)
{
	int_least64_t now = mica_mono_ms() / 1000, last = atomic_load(&d->quiet_since);

	if (last == now || !atomic_compare_exchange_strong(&d->quiet_since, &last, now)) {
		atomic_fetch_add(&d->quiet, 1);
		return true;
	}
	*before = (int64_t)atomic_exchange(&d->quiet, 0);
	return false;
}

struct mica_field desk_field(const char *key, const char *v)
{
	return MICA_S(v[0] ? key : NULL, v);
}

void desk_refused(struct desk *d, const struct desk_refusal *r)
{
	const struct mica_principal *p = r->caller ? &r->caller->principal : NULL;
	int64_t before = 0;

	if (r->kind >= 0)
		mica_metric_add(
			&d->m.issuance[r->kind][r->failed ? METRIC_FAILED : METRIC_REFUSED], 1);
	metric_reason(&d->m.refused, mica_err_fine(r->err));
	/* too many to write: who floods us must not fill the disk, nor take the CPU for it */
	if (!r->rare && quiet(d, &before))
		return;
	MICA_LOG(r->level, "refused", desk_field("front", r->front), desk_field("path", r->path),
		MICA_I(r->key, r->number), MICA_E(r->err), desk_field("issuer", p ? p->issuer : ""),
		desk_field("spiffe_id", p ? p->spiffe_id : ""), desk_field("pod", p ? p->pod : ""),
		desk_field("address", r->address), MICA_I(before ? "unlogged" : NULL, before));
}
