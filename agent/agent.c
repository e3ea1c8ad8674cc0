/* SPDX-License-Identifier: Apache-2.0 */
#include "agent.h"

#include "anchor.h"
#include "config.h"
#include "files.h"
#include "join.h"
#include "keep.h"
#include "metrics.h"
#include "sds.h"
#include "store.h"
#include "talk.h"
#include "watch.h"
#include "workload.h"

#include "mica/clock.h"
#include "mica/file.h"
#include "mica/key.h"
#include "mica/log.h"
#include "mica/rpc.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#define TICK_MS         1000
#define GRACE_MS        2000
#define CONNECTIONS_MAX 1024
#define STREAMS_MAX     4096 /* of one connection: an Envoy opens one for each secret */
#define CALLS_MAX       8192

struct agent {
	struct agent_config *config;
	struct keep *keep;
	struct anchor *anchor;
	struct join *join;
	struct talk *talk;
	struct watch *watch;
	struct workload *workload;
	struct files *files;
	struct sds *sds;
	struct mica_rpc_service services[2]; /* the server borrows them */
	struct mica_rpc_server *server;
	struct figures figures;
	struct metrics *metrics;
};

/* ---- start --------------------------------------------------------------------------------- */

/* What was held before the restart counts at once: workloads get trust, and micad is known by it.
 */
static void load_state(struct agent *a)
{
	struct mica_err e = MICA_ERR_INIT;
	const struct trust *held = NULL;
	uint8_t mark[32];
	mica_rc rc = store_load(a->config, &held, mark, &e);

	if (rc == MICA_OK) {
		anchor_done(a->anchor, mark);
		keep_set_trust(a->keep, held);
		MICA_LOG(MICA_INFO, "state_loaded", MICA_I("sequence", held->sequence),
			MICA_I("roots", held->n_roots));
	} else if (rc != MICA_NOT_FOUND) {
		MICA_LOG(MICA_WARN, "state_not_loaded", MICA_E(&e),
			MICA_S("next", "begins with the bootstrap"));
	}
	trust_unref(held);
}

/* What has joined goes on with the certificate of before. Of what cannot be opened with this
 * passphrase nothing is written over: the right one may come. */
static mica_rc load_joined(struct agent *a, struct mica_err *e)
{
	for (unsigned i = 0; i < a->config->n_identities; i++) {
		const char *name = a->config->identities[i].name;
		struct mica_err why = MICA_ERR_INIT;
		AUTO_SVID s = NULL;
		mica_rc rc = join_load(a->join, i, &s, &why);

		if (rc == MICA_UNAUTHENTICATED || rc == MICA_UNAVAILABLE)
			return mica_fail(e, rc, why.reason, "%s", why.text);
		if (rc == MICA_OK && mica_now_ms() < s->times.not_after) {
			talk_have(a->talk, i, s);
			MICA_LOG(MICA_INFO, "svid_loaded", MICA_S("identity", name),
				MICA_S("spiffe_id", s->id), MICA_S("serial", s->serial));
		} else if (rc != MICA_OK && rc != MICA_NOT_FOUND) {
			MICA_LOG(MICA_WARN, "svid_not_loaded", MICA_S("identity", name),
				MICA_E(&why));
		}
	}
	return MICA_OK;
}

static void bundle_is_old(void *ctx)
{
	struct agent *a = ctx;

	watch_kick(a->watch);
}

static void held(void *talk, unsigned i, uint64_t sequence)
{
	talk_ack(talk, i, sequence);
}

static bool admit(void *ctx, struct mica_rpc_call *c, struct mica_err *e)
{
	(void)ctx;
	return workload_admit(c, e) == MICA_OK;
}

static void finished(
	void *ctx, const struct mica_rpc_call_data *d, enum mica_rpc_code code, const char *reason)
{
	(void)ctx;
	if (reason)
		MICA_LOG(MICA_DEBUG, "call_refused", MICA_SL("path", d->path),
			MICA_I("uid", d->peer->uid), MICA_I("gid", d->peer->gid),
			MICA_I("pid", d->peer->pid), MICA_I("code", code),
			MICA_S("reason", reason));
}

static mica_rc listen_on_socket(struct agent *a, struct mica_err *e)
{
	const struct mica_rpc_listener listener = {.name = "workload",
		.unix_path = a->config->socket.path,
		.unix_gid = -1,
		.unix_mode = a->config->socket.mode};
	struct mica_rpc_options o;

	a->services[0] = workload_service(a->workload);
	a->services[1] = sds_service(a->sds);
	mica_rpc_options_init(&o);
	o.listeners = &listener;
	o.n_listeners = 1;
	o.services = a->services;
	o.n_services = MICA_ARRAY_LEN(a->services);
	o.error_domain = "mica";
	o.reflection = true;
	o.loops = 1;
	o.max_connections = CONNECTIONS_MAX;
	o.max_streams = STREAMS_MAX;
	o.max_calls = CALLS_MAX;
	o.max_age_ms = 0;
	o.admit = admit;
	o.finished = finished;
	o.ctx = a;
	return mica_rpc_server_new(&o, &a->server, e);
}

static mica_rc tell_operators(struct agent *a, struct mica_err *e)
{
	return metrics_new(&(struct metrics_options){.config = a->config,
				   .figures = &a->figures,
				   .keep = a->keep,
				   .jwts = talk_jwts(a->talk),
				   .workload = a->workload,
				   .sds = a->sds,
				   .server = a->server},
		&a->metrics, e);
}

static mica_rc start(struct agent *a, struct mica_err *e)
{
	mica_rc rc;

	a->keep = keep_new(a->config->n_identities);
	a->anchor = anchor_new(a->config);
	load_state(a);
	a->watch = watch_new(&(struct watch_options){
		.config = a->config, .keep = a->keep, .anchor = a->anchor, .figures = &a->figures});
	a->talk = talk_new(&(struct talk_options){.config = a->config,
		.keep = a->keep,
		.anchor = a->anchor,
		.join = a->join,
		.figures = &a->figures,
		.bundle_is_old = bundle_is_old,
		.ctx = a});
	a->workload = workload_new(&(struct workload_options){
		.config = a->config, .keep = a->keep, .jwts = talk_jwts(a->talk)});
	a->files = files_new(a->config, a->keep, &a->figures);
	a->sds = sds_new(&(struct sds_options){.config = a->config,
		.keep = a->keep,
		.figures = &a->figures,
		.held = held,
		.ctx = a->talk});
	keep_listen(a->keep, workload_changed, a->workload);
	keep_listen(a->keep, files_changed, a->files);
	keep_listen(a->keep, sds_changed, a->sds);
	rc = load_joined(a, e);
	if (rc == MICA_OK)
		rc = listen_on_socket(a, e);
	if (rc == MICA_OK)
		rc = tell_operators(a, e);
	if (rc == MICA_OK)
		rc = watch_start(a->watch, e);
	if (rc == MICA_OK)
		rc = talk_start(a->talk, e);
	if (rc == MICA_OK)
		rc = files_start(a->files, e);
	return rc;
}

/* In the order in which they need each other. */
static void stop(struct agent *a)
{
	if (a->server)
		mica_rpc_server_drain(a->server);
	if (a->watch)
		watch_stop(a->watch);
	if (a->talk)
		talk_stop(a->talk);
	files_stop(a->files);
	metrics_stop(a->metrics);
	mica_rpc_server_stop(a->server, GRACE_MS);
	sds_free(a->sds);
	files_free(a->files);
	workload_free(a->workload);
	talk_free(a->talk);
	join_free(a->join);
	watch_free(a->watch);
	anchor_free(a->anchor);
	keep_free(a->keep);
}

/* ---- while running ------------------------------------------------------------------------- */

static void block_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static void tick(struct agent *a)
{
	keep_tick(a->keep, mica_now_ms());
	workload_tick(a->workload);
}

static void serve(struct agent *a, const sigset_t *signals)
{
	const struct timespec second = {.tv_sec = TICK_MS / 1000};

	for (;;) {
		const int sig = sigtimedwait(signals, NULL, &second);

		if (sig == SIGTERM || sig == SIGINT) {
			MICA_LOG(MICA_INFO, "stopping", MICA_I("signal", sig));
			return;
		}
		if (sig == SIGHUP) {
			MICA_LOG(MICA_INFO, "asked_to_renew", MICA_I("signal", sig));
			talk_hurry(a->talk);
			watch_kick(a->watch);
		}
		tick(a);
	}
}

static int say(const char *path, const struct mica_err *e)
{
	fprintf(stderr, "mica-agent: %s%s%s (%s)\n", strstr(e->text, path) ? "" : path,
		strstr(e->text, path) ? "" : ": ", e->text, e->reason);
	return mica_rc_exit(e->rc);
}

int agent_check_config(const char *path)
{
	struct mica_err e = MICA_ERR_INIT;
	AUTO_AGENT_CONFIG c = NULL;

	if (agent_config_load(path, &c, &e) != MICA_OK)
		return say(path, &e);
	printf("%s: fine; %u %s of %s\n", path, c->n_identities,
		c->n_identities == 1 ? "identity" : "identities", c->trust_domain);
	return 0;
}

int agent_run(const char *path)
{
	struct mica_err e = MICA_ERR_INIT;
	AUTO_AGENT_CONFIG c = NULL;
	struct agent a = {.config = NULL};
	sigset_t signals;
	mica_rc rc;

	if (agent_config_load(path, &c, &e) != MICA_OK)
		return say(path, &e);
	a.config = c;
	mica_log_setup(STDERR_FILENO, c->log.format, c->log.level);
	mica_process_harden();
	if (!mica_keys_secure_memory())
		MICA_LOG(MICA_WARN, "memory_not_locked",
			MICA_S("next", "raise RLIMIT_MEMLOCK (LimitMEMLOCK= of the unit)"));
	block_signals(&signals);
	rc = join_new(c, &a.join, &e);
	if (rc != MICA_OK) {
		MICA_LOG(MICA_ERROR, "not_started", MICA_E(&e));
		return mica_rc_exit(rc);
	}
	rc = start(&a, &e);
	if (rc == MICA_OK) {
		MICA_LOG(MICA_INFO, "ready", MICA_S("socket", c->socket.path),
			MICA_S("metrics", metrics_address(a.metrics)),
			MICA_S("trust_domain", c->trust_domain),
			MICA_I("identities", c->n_identities), MICA_S("version", MICA_VERSION),
			MICA_I("pid", getpid()));
		sd_notifyf(0, "READY=1\nSTATUS=Serving %s", c->socket.path);
		serve(&a, &signals);
		sd_notify(0, "STOPPING=1");
	} else {
		MICA_LOG(MICA_ERROR, "not_started", MICA_E(&e));
	}
	stop(&a);
	return mica_rc_exit(rc);
}
