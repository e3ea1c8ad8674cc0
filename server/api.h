/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The REST API of micad (docs/API.md, openapi.json): decodes a request, calls one use case of the
 * core, encodes its answer. No rule lives here. One api serves all listeners of the process:
 *
 *	desk_new, api_new
 *	http_server_new {.handler = api_handler, .admit = api_admit, .ctx = api_door(a, API_PUBLIC)}
 *	...					for each listener that the configuration has
 *	api_set_server(a, API_PUBLIC, server)	so that /metrics and /v1/configuration know it
 *
 * and to end, in this order, so that every deferred request is answered by its owner:
 *
 *	api_drain	long polls are answered 503; /readyz says "draining"
 *	http_server_drain each
 *	mica_keys_retire, mica_kube_retire of all: all that waits there is called back
 *	desk_stop, api_stop	end the pool and a backup; what was not begun is answered 503
 *	committer_stop	commits what is queued and calls back
 *	http_server_stop each
 *	api_free, mica_keys_free, mica_kube_free, desk_free, committer_free, mica_core_close
 *
 * Threads: handlers run on the workers of http.h and never block: what waits (a refresh of keys, a
 * TokenReview, a commit, a long poll) is deferred, and what may take long (an administrator's
 * change, a query, a decision that must be made again) runs on the desk's small pool.
 */
#ifndef MICA_SERVER_API_H
#define MICA_SERVER_API_H

#include "desk.h"

struct api; /* opaque */
struct plugged; /* plugged.h */
struct policies_dir; /* policies_dir.h */

/* Which listener a request came in by. */
enum api_listener { API_PUBLIC, API_WATCH, API_ADMIN, API_METRICS, API_LISTENER_COUNT };

struct api_options {
	struct desk *desk; /* borrowed until api_free */
	struct plugged *plugged; /* borrowed; NULL = nothing is plugged in */
	struct policies_dir *policies_dir; /* borrowed; NULL = there is none */
	const struct mica_config *config; /* what counts is copied */
	/* Groups of the admin socket (-1 = none): peers of them are admins or auditors; root and
	 * `own_uid` are always admins. */
	int64_t admin_gid, audit_gid, own_uid;
	const char *version; /* literal */
};
mica_rc api_new(const struct api_options *o, struct api **out, struct mica_err *e) MICA_MUST_CHECK;
/* The `ctx` of a listener's handler and admit. */
void *api_door(struct api *a, enum api_listener l);
http_handler api_handler;
http_admit api_admit;
/* Once, before or soon after it serves; NULL takes it away again (before http_server_stop). */
void api_set_server(struct api *a, enum api_listener l, struct http_server *s);

struct grpc; /* grpc.h */
/* The same of the gRPC front. */
void api_set_grpc(struct api *a, struct grpc *g);

/* A snapshot changed: watchers whose bundle it is get it, spread over one second, or at once when
 * an authority was compromised. Any thread. */
void api_wake(struct api *a, bool compromised);
/* After a reload: what may change while running. Any thread. */
void api_reconfigure(struct api *a, const struct mica_config *config);

void api_drain(struct api *a);
void api_stop(struct api *a);
void api_free(struct api *a);

/* The OpenAPI document, built in. */
struct mica_slice api_openapi(void);

#endif
