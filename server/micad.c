/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* pthread_setname_np */
#include "micad.h"

#include "api.h"
#include "desk.h"
#include "grpc.h"
#include "keys.h"
#include "kube.h"
#include "limits.h"
#include "plugged.h"
#include "serving.h"

#include "mica/clock.h"
#include "mica/key.h"
#include "mica/log.h"
#include "mica/mem.h"

#include <errno.h>
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define TICK_MS             1000
#define STUCK_MS            60000 /* a timer that did not tick for so long: no more word to the watchdog */
#define COMMIT_FILL_US      6000
#define REPLAYS_MAX         8192
#define REPLAY_WAITERS_MAX  16
#define DRAIN_MS            10000
#define BURST_PART          4
#define ANONYMOUS_FACTOR    10
#define LIMITS_MAX          65536
#define METRICS_CONNECTIONS 64
#define ADMIN_CONNECTIONS   64
#define WATCH_SPARE         64 /* connections beside the watchers themselves */
#define FIRST_KEYS_MS       2000 /* what a first start waits for issuers that do not answer */

struct micad {
	const char *config_path;
	struct mica_config *config; /* as started: what needs a restart is read from here */
	struct mica_config *current; /* as reloaded; NULL = config */
	int64_t admin_gid, audit_gid;
	struct mica_core *core;
	struct committer *committer;
	struct mica_replay *replay;
	struct limits *limits;
	struct mica_keys *keys;
	struct mica_kube *kube;
	struct plugged *plugged; /* NULL = nothing is plugged in */
	struct desk *desk;
	struct api *api;
	struct serving *serving;
	struct grpc *grpc;
	struct serving_key tls; /* empty: there is none yet */
	struct http_server *door[API_LISTENER_COUNT];
	pthread_t timer;
	bool timer_runs;
	atomic_bool stopping;
	_Atomic int64_t ticked_ms; /* monotonic */
	uint64_t compromises; /* the timer's: as they were at its last look */
	struct mica_core_stats seen; /* the timer's */
	bool signature_needed; /* the same */
	uint64_t renewals; /* the same */
	bool crls_late;
};

/* The store's outcome is unknown: whatever this process believes may be wrong. Nobody is answered;
 * the supervisor starts a new one, which reads what is really there. */
static void fatal(void *ctx, const struct mica_err *e)
{
	(void)ctx;
	MICA_LOG(MICA_ERROR, "store_failed", MICA_E(e), MICA_S("next", "exits; restart it"));
	_exit(mica_rc_exit(MICA_UNAVAILABLE));
}

/* ---- start --------------------------------------------------------------------------------- */

static void prepare_process(void)
{
	struct rlimit files;

	mica_process_harden();
	signal(SIGPIPE, SIG_IGN);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
		files.rlim_cur = files.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &files) != 0)
			MICA_LOG(MICA_WARN, "file_limit_not_raised", MICA_I("errno", errno));
	}
	if (!mica_keys_secure_memory())
		MICA_LOG(MICA_WARN, "memory_not_locked",
			MICA_S("next", "raise RLIMIT_MEMLOCK (LimitMEMLOCK= of the unit)"));
}

static void log_warnings(const struct mica_config *c)
{
	for (unsigned i = 0; i < c->warnings.n; i++)
		MICA_LOG(MICA_WARN, "config_warning", MICA_S("text", c->warnings.v[i]));
}

static mica_rc load_config(struct micad *m, struct mica_err *e)
{
	mica_rc rc = mica_config_load(m->config_path, &m->config, e);

	if (rc != MICA_OK)
		return rc;
	mica_log_setup(STDERR_FILENO, m->config->log.json ? MICA_LOG_JSON : MICA_LOG_LOGFMT,
		(enum mica_log_level)m->config->log.level);
	log_warnings(m->config);
	return MICA_OK;
}

static mica_rc group_id(const char *name, const char *setting, int64_t *gid, struct mica_err *e)
{
	char room[4096];
	struct group entry, *found = NULL;

	*gid = -1;
	if (!name)
		return MICA_OK;
	if (getgrnam_r(name, &entry, room, sizeof(room), &found) != 0 || !found)
		return mica_fail(e, MICA_INVALID, "no_such_group",
			"%s: there is no group \"%s\" on this machine", setting, name);
	*gid = entry.gr_gid;
	return MICA_OK;
}

static mica_rc open_core(struct micad *m, struct mica_err *e)
{
	const struct mica_secret_source source = {
		.file = m->config->passphrase.file,
		.env = m->config->passphrase.env,
		.credential = m->config->passphrase.credential,
	};
	MICA_AUTO_SECRET passphrase = NULL;
	struct mica_open_times times = {.clock = mica_mono_ns};
	struct mica_core_stats stats;
	mica_rc rc = mica_secret_load(&source, &passphrase, e);

	if (rc == MICA_OK)
		rc = mica_core_open(m->config, passphrase, mica_now_ms(), &m->core, &times, e);
	if (rc != MICA_OK)
		return rc;
	mica_core_stats(m->core, &stats);
	MICA_LOG(MICA_INFO, "store_opened", MICA_S("path", m->config->store.path),
		MICA_MS("unlock_ms", times.unlock_ns), MICA_MS("open_ms", times.open_ns),
		MICA_I("entries", stats.entries));
	return MICA_OK;
}

/* Settings are per minute; a quarter of that at once. Who has no credential at all may ask as often
 * as others may fail: bundles and tiles are for everybody, but caches exist. */
static struct limits_options limits_of(const struct mica_config *c)
{
	const unsigned failures = (unsigned)c->limits.failures_per_address;
	const unsigned identity = (unsigned)c->limits.requests_per_identity;

	return (struct limits_options){
		.failures = {.per_minute = failures, .burst = failures / BURST_PART},
		.anonymous = {.per_minute = failures * ANONYMOUS_FACTOR,
			.burst = failures * ANONYMOUS_FACTOR / BURST_PART},
		.identity = {.per_minute = identity, .burst = identity / BURST_PART},
		.max_addresses = LIMITS_MAX,
		.max_identities = LIMITS_MAX,
	};
}

/* A full disk or the lack of an authority ends issuing, not reading (design 8.2, 8.4): then the
 * certificate of before is served with, and without one the socket and the metrics alone are open
 * until there is one. */
static mica_rc first_certificate(struct micad *m, struct mica_err *e)
{
	struct mica_err why = MICA_ERR_INIT, own = MICA_ERR_INIT;
	mica_rc rc = serving_renew(m->serving, mica_now_ms(), &m->tls, &why);

	if (rc == MICA_OK)
		return MICA_OK;
	if (rc != MICA_UNAVAILABLE && rc != MICA_CONFLICT && rc != MICA_LIMIT) {
		*e = why;
		return rc;
	}
	MICA_LOG(MICA_ERROR, "serving_certificate_not_issued", MICA_E(&why));
	if (serving_last(m->serving, &m->tls, &own) == MICA_OK)
		MICA_LOG(MICA_WARN, "serving_with_the_last_certificate",
			MICA_I("not_after", serving_not_after(m->serving)));
	else
		MICA_LOG(MICA_ERROR, "not_serving_https", MICA_E(&own),
			MICA_S("next", "opens the listeners when a certificate can be issued"));
	return MICA_OK;
}

/* The answers of one commit, and what is logged of them, leave together. */
static void batch_begin(void)
{
	http_finish_begin();
	mica_rpc_batch_begin();
	mica_log_hold();
}

static void batch_end(void)
{
	mica_rpc_batch_end();
	http_finish_end();
	mica_log_release();
}

static mica_rc start_parts(struct micad *m, struct mica_err *e)
{
	const struct committer_options committer = {
		.core = m->core,
		.max_queue = (unsigned)m->config->limits.queue,
		.fill_us = COMMIT_FILL_US,
		.before = batch_begin,
		.after = batch_end,
		.fatal = fatal,
		.ctx = m,
	};
	const struct limits_options limits = limits_of(m->config);
	struct desk_options desk = {.core = m->core, .config = m->config};
	struct api_options api = {
		.config = m->config,
		.admin_gid = m->admin_gid,
		.audit_gid = m->audit_gid,
		.own_uid = geteuid(),
		.version = MICA_VERSION,
	};
	mica_rc rc = committer_new(&committer, &m->committer, e);

	if (rc != MICA_OK)
		return rc;
	m->replay = mica_replay_new(REPLAYS_MAX, REPLAY_WAITERS_MAX);
	m->limits = limits_new(&limits);
	rc = mica_keys_new(m->core, m->config, NULL, &m->keys, e);
	if (rc == MICA_OK)
		rc = mica_kube_new(m->core, m->config, NULL, &m->kube, e);
	if (rc != MICA_OK)
		return rc;
	mica_keys_wait(m->keys, FIRST_KEYS_MS);
	/* what signs has to be there before our own certificate is asked for */
	m->plugged = plugged_new(&(struct plugged_options){.core = m->core, .config = m->config});
	desk.committer = m->committer;
	desk.replay = m->replay;
	desk.limits = m->limits;
	desk.keys = m->keys;
	desk.kube = m->kube;
	rc = desk_new(&desk, &m->desk, e);
	api.desk = m->desk;
	api.plugged = m->plugged;
	if (rc == MICA_OK)
		rc = api_new(&api, &m->api, e);
	if (rc != MICA_OK)
		return rc;
	m->serving = serving_new(m->core, m->committer, m->config);
	return first_certificate(m, e);
}

/* Opens one listener with what all have in common. */
static mica_rc open_door(
	struct micad *m, enum api_listener which, struct http_options *o, struct mica_err *e)
{
	static const char *const names[] = {"https", "watch", "admin", "metrics"};
	mica_rc rc;

	o->name = names[which];
	o->unix_gid = which == API_ADMIN ? m->admin_gid : -1;
	o->unix_gid2 = which == API_ADMIN ? m->audit_gid : -1;
	o->max_body = (size_t)m->config->https.max_request_body;
	o->idle_timeout_ms = m->config->https.idle_timeout * 1000;
	o->request_timeout_ms = m->config->https.request_timeout * 1000;
	o->handler = api_handler;
	o->admit = api_admit;
	o->ctx = api_door(m->api, which);
	rc = http_server_new(o, &m->door[which], e);
	if (rc != MICA_OK) {
		mica_err_context(e, "%s", o->name);
		return rc;
	}
	api_set_server(m->api, which, m->door[which]);
	return MICA_OK;
}

static unsigned cores(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n > 0 ? (unsigned)n : 1;
}

/* Those that need a certificate, and are not open yet. */
static mica_rc open_tls_doors(struct micad *m, struct mica_err *e)
{
	const struct mica_config *c = m->config;
	struct http_options watch = {.listen = &c->https.watch,
		.tls = m->tls.http,
		.want_client_cert = true,
		.threads = 1,
		.max_connections = (unsigned)c->https.max_watchers + WATCH_SPARE,
		.max_per_address = (unsigned)c->https.max_connections_per_address,
		.deferred_timeout_ms = 90 * 1000};
	struct http_options https = {.listen = &c->https.listen,
		.tls = m->tls.http,
		.want_client_cert = true,
		.max_connections = (unsigned)c->https.max_connections,
		.max_per_address = (unsigned)c->https.max_connections_per_address,
		.deferred_timeout_ms = 90 * 1000};
	unsigned loops;
	mica_rc rc = MICA_OK;

	grpc_threads(c, cores(), &loops, &https.threads);
	if (c->https.watch.text && c->https.watch.text[0] && !m->door[API_WATCH])
		rc = open_door(m, API_WATCH, &watch, e);
	if (rc == MICA_OK && !m->grpc && mica_config_has_grpc(c))
		rc = grpc_new(m->desk, c, m->tls.rpc, &m->grpc, e);
	if (rc == MICA_OK && m->grpc)
		api_set_grpc(m->api, m->grpc);
	if (rc == MICA_OK && !m->door[API_PUBLIC])
		rc = open_door(m, API_PUBLIC, &https, e);
	return rc;
}

/* The files have brought another root, or another authority that signs. */
static void plugged_changed(void *ctx)
{
	struct micad *m = ctx;

	api_wake(m->api, false);
}

static mica_rc open_doors(struct micad *m, struct mica_err *e)
{
	const struct mica_config *c = m->config;
	struct http_options metrics = {.listen = &c->metrics,
		.threads = 1,
		.max_connections = METRICS_CONNECTIONS,
		.deferred_timeout_ms = 10000};
	struct http_options admin = {.unix_path = c->admin.socket,
		.threads = 1,
		.max_connections = ADMIN_CONNECTIONS,
		.deferred_timeout_ms = 90 * 1000};
	mica_rc rc = MICA_OK;

	if (c->metrics.text && c->metrics.text[0])
		rc = open_door(m, API_METRICS, &metrics, e);
	if (rc == MICA_OK && c->admin.socket && c->admin.socket[0])
		rc = open_door(m, API_ADMIN, &admin, e);
	if (rc == MICA_OK && m->plugged)
		rc = plugged_start(m->plugged, plugged_changed, m, e);
	return rc == MICA_OK && m->tls.http ? open_tls_doors(m, e) : rc;
}

static struct mica_field door_field(const struct micad *m, enum api_listener l, const char *key)
{
	return MICA_S(m->door[l] ? key : NULL, m->door[l] ? http_server_address(m->door[l]) : "");
}

static struct mica_field grpc_field(const struct micad *m, enum grpc_listener l, const char *key)
{
	return desk_field(key, m->grpc ? grpc_address(m->grpc, l) : "");
}

static void say_ready(const struct micad *m)
{
	MICA_LOG(MICA_INFO, "ready", door_field(m, API_PUBLIC, "https"),
		door_field(m, API_WATCH, "watch"), grpc_field(m, GRPC_TLS, "grpc"),
		grpc_field(m, GRPC_PLAINTEXT, "grpc_plaintext"),
		grpc_field(m, GRPC_SOCKET, "grpc_socket"), door_field(m, API_METRICS, "metrics"),
		door_field(m, API_ADMIN, "admin"), MICA_S("trust_domain", m->config->trust_domain),
		MICA_S("version", MICA_VERSION), MICA_I("pid", getpid()));
	if (m->door[API_PUBLIC])
		sd_notifyf(0, "READY=1\nSTATUS=Serving %s on %s", m->config->trust_domain,
			http_server_address(m->door[API_PUBLIC]));
	else
		sd_notify(0,
			"READY=1\nSTATUS=No certificate to serve with: the socket alone is open");
}

/* ---- while running ------------------------------------------------------------------------- */

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
		fatal(m, &e);
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
	rc = open_tls_doors(m, &e);
	tell("listener_not_opened", "listener_opened", rc, &e, last);
	if (rc != MICA_OK)
		return;
	MICA_LOG(MICA_INFO, "listening", door_field(m, API_PUBLIC, "https"),
		door_field(m, API_WATCH, "watch"), grpc_field(m, GRPC_TLS, "grpc"),
		grpc_field(m, GRPC_PLAINTEXT, "grpc_plaintext"),
		grpc_field(m, GRPC_SOCKET, "grpc_socket"));
	sd_notifyf(0, "STATUS=Serving %s on %s", m->config->trust_domain,
		http_server_address(m->door[API_PUBLIC]));
}

/* What /readyz would say: health checks of gRPC get the last word of it. */
static void tell_health(struct micad *m)
{
	struct mica_err e = MICA_ERR_INIT;

	if (m->grpc)
		grpc_set_serving(m->grpc, mica_core_ready(m->core, mica_now_ms(), &e) == MICA_OK);
}

static void *run_timer(void *arg)
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

static void say_what_needs_restart(const struct micad *m, const struct mica_config *fresh)
{
	struct mica_string_list names = {0};

	mica_config_needs_restart(m->config, fresh, &names);
	for (unsigned i = 0; i < names.n; i++)
		MICA_LOG(MICA_WARN, "reload_needs_restart", MICA_S("setting", names.v[i]));
	mica_string_list_clear(&names);
}

/* Nothing that was fetched or asked by an issuer's old settings reaches the core as if it
 * were by the new ones: such fetches end first. When the core refuses, the old ones go on.
 */
static mica_rc configure(struct micad *m, struct mica_config *fresh, struct mica_err *e)
{
	const struct mica_config *now = m->current ? m->current : m->config;
	struct mica_err own = MICA_ERR_INIT;
	mica_rc rc;

	mica_keys_retire(m->keys, fresh);
	mica_kube_retire(m->kube, fresh);
	rc = mica_core_configure(m->core, fresh, mica_now_ms(), e);
	if (rc == MICA_OK)
		now = fresh;
	if (mica_keys_reload(m->keys, now, &own) != MICA_OK ||
		mica_kube_reload(m->kube, now, &own) != MICA_OK)
		MICA_LOG(MICA_ERROR, "issuers_incomplete", MICA_E(&own));
	return rc;
}

static mica_rc apply(struct micad *m, struct mica_config *fresh, struct mica_err *e)
{
	const struct limits_options limits = limits_of(fresh);
	static const char detail[] = "{}";
	mica_rc rc = configure(m, fresh, e);

	if (rc == MICA_OK)
		rc = mica_core_record(
			m->core, "reload", NULL, mica_slice_str(detail), mica_now_ms(), e);
	if (rc != MICA_OK)
		return rc;
	mica_log_level((enum mica_log_level)fresh->log.level);
	desk_reconfigure(m->desk, fresh);
	api_reconfigure(m->api, fresh);
	limits_set_rates(m->limits, &limits);
	return MICA_OK;
}

static void reload(struct micad *m)
{
	struct mica_err e = MICA_ERR_INIT;
	struct mica_config *fresh = NULL;
	mica_rc rc = mica_config_load(m->config_path, &fresh, &e);

	sd_notify(0, "RELOADING=1");
	plugged_look(m->plugged);
	if (rc == MICA_OK)
		rc = apply(m, fresh, &e);
	if (rc == MICA_INTERNAL)
		fatal(m, &e);
	if (rc != MICA_OK) {
		MICA_LOG(MICA_ERROR, "reload_refused", MICA_E(&e),
			MICA_S("next", "the configuration of before goes on"));
		mica_config_free(fresh);
	} else {
		log_warnings(fresh);
		say_what_needs_restart(m, fresh);
		mica_config_free(m->current);
		m->current = fresh;
		MICA_LOG(MICA_INFO, "reloaded", MICA_S("config", m->config_path));
	}
	sd_notify(0, "READY=1");
}

/* Signals, and a sign of life once a second while the timer has one. */
static void watch_over(struct micad *m, const sigset_t *signals)
{
	const struct timespec tick = {.tv_sec = 1};
	const bool watchdog = sd_watchdog_enabled(0, NULL) > 0;

	for (;;) {
		int sig = sigtimedwait(signals, NULL, &tick);

		if (sig == SIGTERM || sig == SIGINT) {
			MICA_LOG(MICA_INFO, "stopping",
				MICA_S("signal", sig == SIGTERM ? "TERM" : "INT"));
			return;
		}
		if (sig == SIGHUP)
			reload(m);
		if (watchdog && mica_mono_ms() - atomic_load(&m->ticked_ms) < STUCK_MS)
			sd_notify(0, "WATCHDOG=1");
	}
}

/* ---- stop
 * ---------------------------------------------------------------------------------- */

/* In the order that api.h gives: every request that was taken is answered by its owner. */
static void stop(struct micad *m)
{
	sd_notify(0, "STOPPING=1");
	if (m->api)
		api_drain(m->api);
	for (int i = 0; i < API_LISTENER_COUNT; i++)
		if (m->door[i])
			http_server_drain(m->door[i]);
	if (m->grpc)
		grpc_drain(m->grpc);
	atomic_store(&m->stopping, true);
	if (m->timer_runs)
		pthread_join(m->timer, NULL);
	/* whoever waits for them is answered; a request that comes whole later finds nobody, so
	 * that they themselves outlive the fronts */
	if (m->keys)
		mica_keys_retire(m->keys, NULL);
	if (m->kube)
		mica_kube_retire(m->kube, NULL);
	if (m->desk)
		desk_stop(m->desk);
	if (m->api)
		api_stop(m->api);
	if (m->committer)
		committer_stop(m->committer);
	for (int i = 0; i < API_LISTENER_COUNT; i++) {
		if (!m->door[i])
			continue;
		api_set_server(m->api, (enum api_listener)i, NULL);
		http_server_stop(m->door[i], DRAIN_MS);
	}
	if (m->grpc) {
		api_set_grpc(m->api, NULL);
		grpc_stop(m->grpc, DRAIN_MS);
	}
	serving_free(m->serving);
	serving_key_clear(&m->tls);
	grpc_free(m->grpc);
	api_free(m->api);
	mica_keys_free(m->keys);
	mica_kube_free(m->kube);
	plugged_free(m->plugged);
	desk_free(m->desk);
	committer_free(m->committer);
	limits_free(m->limits);
	mica_replay_free(m->replay);
	mica_core_close(m->core);
	mica_config_free(m->current);
	mica_config_free(m->config);
}

static mica_rc start(struct micad *m, struct mica_err *e)
{
	mica_rc rc = load_config(m, e);

	if (rc == MICA_OK)
		rc = group_id(m->config->admin.group, "admin.group", &m->admin_gid, e);
	if (rc == MICA_OK)
		rc = group_id(m->config->admin.audit_group, "admin.audit_group", &m->audit_gid, e);
	if (rc == MICA_OK)
		rc = open_core(m, e);
	if (rc == MICA_OK)
		rc = start_parts(m, e);
	if (rc == MICA_OK)
		rc = open_doors(m, e);
	if (rc != MICA_OK)
		return rc;
	/* From here on the timer may open listeners. */
	say_ready(m);
	atomic_store(&m->ticked_ms, mica_mono_ms());
	m->timer_runs = pthread_create(&m->timer, NULL, run_timer, m) == 0;
	if (!m->timer_runs)
		return mica_fail(
			e, MICA_INTERNAL, "thread_failed", "cannot start the timer's thread");
	return MICA_OK;
}

int micad_run(const char *config_path)
{
	struct micad m = {.config_path = config_path};
	struct mica_err e = MICA_ERR_INIT;
	sigset_t signals;
	mica_rc rc;

	/* Blocked in every thread; the main one takes them when it has the time. */
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	mica_mem_tune();
	prepare_process();
	rc = start(&m, &e);
	if (rc == MICA_OK) {
		watch_over(&m, &signals);
	} else {
		MICA_LOG(MICA_ERROR, "start_failed", MICA_E(&e));
		sd_notifyf(0, "STATUS=%s", e.text);
	}
	stop(&m);
	if (rc == MICA_OK)
		MICA_LOG(MICA_INFO, "stopped", MICA_I("log_lines_dropped", mica_log_dropped()));
	return mica_rc_exit(rc);
}

int micad_check_config(const char *config_path)
{
	struct mica_config *c = NULL;
	struct mica_err e = MICA_ERR_INIT;
	mica_rc rc = mica_config_load(config_path, &c, &e);

	if (rc != MICA_OK) {
		fprintf(stderr, "micad: %s\n", e.text);
		return mica_rc_exit(rc);
	}
	for (unsigned i = 0; i < c->warnings.n; i++)
		printf("warning: %s\n", c->warnings.v[i]);
	printf("%s: correct\n", config_path);
	mica_config_free(c);
	return 0;
}
