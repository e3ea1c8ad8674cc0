/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of the daemon, for the files that start, open and watch over them. */
#ifndef MICA_SERVER_MICAD_IMPL_H
#define MICA_SERVER_MICAD_IMPL_H

#include "micad.h"

#include "api.h"
#include "desk.h"
#include "grpc.h"
#include "serving.h"

#include "mica/log.h"

#include <pthread.h>
#include <stdatomic.h>

struct limits; /* limits.h */
struct plugged; /* plugged.h */
struct policies_dir; /* policies_dir.h */

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
	struct policies_dir *policies_dir; /* NULL = there is none */
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

/* The store's outcome is unknown: does not return. */
void micad_fatal(void *m, const struct mica_err *e);

/* ---- micad_doors.c: listeners ------------------------------------------------------------------
 */

/* What needs no certificate, and the rest if there is one. As http_server_new, grpc_new. */
mica_rc micad_open_doors(struct micad *m, struct mica_err *e) MICA_MUST_CHECK;
/* Those that need a certificate, and are not open yet. */
mica_rc micad_open_tls_doors(struct micad *m, struct mica_err *e) MICA_MUST_CHECK;
void micad_say_ready(const struct micad *m);
/* The same for those that were opened later. */
void micad_say_listening(const struct micad *m);

/* ---- micad_timer.c -----------------------------------------------------------------------------
 */

/* The thread that looks once a second, until m->stopping. */
void *micad_run_timer(void *m);

#endif
