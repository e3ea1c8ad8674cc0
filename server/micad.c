/* SPDX-License-Identifier: Apache-2.0 */
#include "micad_impl.h"

#include "keys.h"
#include "kube.h"
#include "limits.h"
#include "plugged.h"
#include "policies_dir.h"

#include "mica/clock.h"
#include "mica/key.h"
#include "mica/mem.h"

#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define STUCK_MS           60000 /* a timer that did not tick for so long: no more word to the watchdog */
#define COMMIT_FILL_US     6000
#define REPLAYS_MAX        8192
#define REPLAY_WAITERS_MAX 16
#define DRAIN_MS           10000
#define BURST_PART         4
#define ANONYMOUS_FACTOR   10
#define LIMITS_MAX         65536
#define FIRST_KEYS_MS      2000 /* what a first start waits for issuers that do not answer */

/* The store's outcome is unknown: whatever this process believes may be wrong. Nobody is answered;
 * the supervisor starts a new one, which reads what is really there. */
void micad_fatal(void *ctx, const struct mica_err *e)
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
		.fatal = micad_fatal,
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
	if (rc != MICA_OK)
		return rc;
	m->policies_dir = policies_dir_new(
		&(struct policies_dir_options){.policies = m->desk->policies, .config = m->config});
	api.policies_dir = m->policies_dir;
	api.desk = m->desk;
	api.plugged = m->plugged;
	rc = api_new(&api, &m->api, e);
	if (rc != MICA_OK)
		return rc;
	m->serving = serving_new(m->core, m->committer, m->config);
	return first_certificate(m, e);
}

/* ---- while running ------------------------------------------------------------------------- */

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
	policies_dir_look(m->policies_dir);
	if (rc == MICA_OK)
		rc = apply(m, fresh, &e);
	if (rc == MICA_INTERNAL)
		micad_fatal(m, &e);
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
	policies_dir_free(m->policies_dir); /* it wakes who waits */
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
		rc = micad_open_doors(m, e);
	if (rc != MICA_OK)
		return rc;
	/* From here on the timer may open listeners. */
	micad_say_ready(m);
	atomic_store(&m->ticked_ms, mica_mono_ms());
	m->timer_runs = pthread_create(&m->timer, NULL, micad_run_timer, m) == 0;
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
