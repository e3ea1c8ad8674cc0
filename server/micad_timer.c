/* SPDX-License-Identifier: Apache-2.0 */
/* What the daemon looks at once a second: maintenance, what is to be told of it, its own
 * certificate. */
#define _GNU_SOURCE /* pthread_setname_np */
#include "micad_impl.h"

#include "mica/clock.h"

#include <stdio.h>
#include <unistd.h>

#define TICK_MS 1000

/* Tells of a failure when it begins and when it ends, not every second. */
static void tell(const char *event, const char *ended, mica_rc rc, const struct mica_err *e,
	const char **last)
{
	const char *reason = rc == MICA_OK ? NULL : mica_err_fine(e);

	if (reason && reason != *last)
		MICA_LOG(MICA_ERROR, event, MICA_E(e));
	if (!reason && *last)
		MICA_LOG(MICA_INFO, ended, MICA_S("after", *last));
	*last = reason;
}

/* Another authority has taken over for a tainted one: who waits is told at once, and our own
 * certificate must not be the one that is not believed. */
static void look_for_compromise(struct micad *m)
{
	struct mica_core_stats s;

	mica_core_stats(m->core, &s);
	if (s.compromises == m->compromises)
		return;
	m->compromises = s.compromises;
	MICA_LOG(MICA_WARN, "authority_replaced", MICA_S("why", "tainted"),
		MICA_I("root_not_after", s.root_not_after),
		MICA_I("issuing_not_after", s.issuing_not_after));
	serving_hurry(m->serving);
	api_wake(m->api, true);
}

/* What began or ended since the last look; the ledger has who it is. */
static void look_for_news(struct micad *m)
{
	struct mica_core_stats s, *was = &m->seen;

	mica_core_stats(m->core, &s);
	if (s.clock_frozen && !was->clock_frozen)
		MICA_LOG(MICA_ERROR, "clock_disagrees", MICA_S("next", "mica rotation clock"));
	if (!s.clock_frozen && was->clock_frozen)
		MICA_LOG(MICA_INFO, "clock_agrees", MICA_I("now", mica_now()));
	if (s.clock_unproven && !was->clock_unproven)
		MICA_LOG(MICA_WARN, "clock_unproven", MICA_I("now", mica_now()));
	if (!s.clock_unproven && was->clock_unproven)
		MICA_LOG(MICA_INFO, "clock_proven", MICA_I("now", mica_now()));
	if (s.lineage_forks != was->lineage_forks)
		MICA_LOG(MICA_WARN, "lineage_forked",
			MICA_I("lines", (int64_t)(s.lineage_forks - was->lineage_forks)));
	if (s.renewals_missed != was->renewals_missed)
		MICA_LOG(MICA_INFO, "renewals_missed",
			MICA_I("lines", (int64_t)(s.renewals_missed - was->renewals_missed)));
	*was = s;
}

/* What an offline root has signed ahead comes to its end, or no longer does. */
static void look_for_signatures(struct micad *m)
{
	struct mica_core_stats s;

	mica_core_stats(m->core, &s);
	if (s.signature_needed == m->signature_needed)
		return;
	m->signature_needed = s.signature_needed;
	if (s.signature_needed)
		MICA_LOG(MICA_WARN, "signature_needed", MICA_I("ahead", s.signed_ahead),
			MICA_I("by", s.signature_by),
			MICA_S("next", "mica authority csr, and let the root sign"));
	else
		MICA_LOG(MICA_INFO, "signatures_suffice", MICA_I("ahead", s.signed_ahead),
			MICA_I("until", s.signature_by));
}

/* Nobody has anything of what was compromised any more. */
static void look_for_renewals(struct micad *m)
{
	struct mica_core_stats s;

	mica_core_stats(m->core, &s);
	if (s.renewals_done == m->renewals)
		return;
	m->renewals = s.renewals_done;
	MICA_LOG(MICA_INFO, "compromise_renewed", MICA_I("seconds", s.renewal_seconds));
}

/* Whoever checks CRLs refuses everybody when they have ended. */
static void look_at_crls(struct micad *m)
{
	struct mica_core_stats s;

	mica_core_stats(m->core, &s);
	if (s.crls_late > 0 && !m->crls_late)
		MICA_LOG(MICA_ERROR, "crl_late", MICA_I("crls", s.crls_late),
			MICA_I("first_end", s.crl_end),
			MICA_S("next",
				"see maintenance_failed; relying parties refuse what a CRL "
				"that has ended was to tell of"));
	if (s.crls_late == 0 && m->crls_late)
		MICA_LOG(MICA_INFO, "crl_in_time", MICA_I("first_end", s.crl_end));
	m->crls_late = s.crls_late > 0;
}

static void maintain(struct micad *m, const char **last)
{
	struct mica_err e = MICA_ERR_INIT;
	bool changed = false;
	int64_t now_ms = mica_now_ms();
	mica_rc rc = mica_core_tick(m->core, now_ms, mica_mono_ms(), &e), last_rc;

	last_rc = mica_core_maintain(m->core, now_ms, &changed, &e);
	rc = rc == MICA_OK ? last_rc : rc;
	if (rc == MICA_INTERNAL)
		micad_fatal(m, &e);
	tell("maintenance_failed", "maintenance_works_again", rc, &e, last);
	if (changed)
		api_wake(m->api, false);
	look_for_compromise(m);
	look_for_news(m);
	look_for_signatures(m);
	look_for_renewals(m);
	look_at_crls(m);
}

static void renew_serving(struct micad *m, const char **last)
{
	struct mica_err e = MICA_ERR_INIT;
	struct serving_key key;
	mica_rc rc = serving_renew(m->serving, mica_now_ms(), &key, &e);

	/* Not due yet again: a failure of before stands until the next attempt succeeds. */
	if (rc == MICA_OK && !key.http)
		return;
	tell("serving_certificate_not_renewed", "serving_certificate_renewed_again", rc, &e, last);
	if (rc != MICA_OK)
		return;
	for (int i = 0; i < API_LISTENER_COUNT; i++)
		if (m->door[i] && (i == API_PUBLIC || i == API_WATCH))
			http_server_set_tls(m->door[i], key.http);
	if (m->grpc)
		grpc_set_key(m->grpc, key.rpc);
	serving_key_clear(&m->tls);
	m->tls = key;
	MICA_LOG(MICA_INFO, "serving_certificate_renewed",
		MICA_I("not_after", serving_not_after(m->serving)));
}

/* After a start without a certificate. */
static void open_late(struct micad *m, const char **last)
{
	struct mica_err e = MICA_ERR_INIT;
	mica_rc rc;

	if (!m->tls.http || m->door[API_PUBLIC])
		return;
	rc = micad_open_tls_doors(m, &e);
	tell("listener_not_opened", "listener_opened", rc, &e, last);
	if (rc != MICA_OK)
		return;
	micad_say_listening(m);
}

/* What /readyz would say: health checks of gRPC get the last word of it. */
static void tell_health(struct micad *m)
{
	struct mica_err e = MICA_ERR_INIT;

	if (m->grpc)
		grpc_set_serving(m->grpc, mica_core_ready(m->core, mica_now_ms(), &e) == MICA_OK);
}

void *micad_run_timer(void *arg)
{
	struct micad *m = arg;
	const char *maintenance = NULL, *serving = NULL, *listeners = NULL;

	pthread_setname_np(pthread_self(), "timer");
	while (!atomic_load(&m->stopping)) {
		maintain(m, &maintenance);
		renew_serving(m, &serving);
		open_late(m, &listeners);
		tell_health(m);
		atomic_store(&m->ticked_ms, mica_mono_ms());
		usleep(TICK_MS * 1000);
	}
	return NULL;
}
