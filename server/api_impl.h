/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside the API. One struct api_call is one request on its way:
 *
 *	api_handler: find the route -> check the form -> who asks -> may they -> run -> api_answer
 *
 * Who asks and what is issued is ask.h's, which also says where a call leaves the worker and comes
 * back on the pool. One thread has a call at any time; whoever calls api_answer or api_fail has
 * given it away.
 */
#ifndef MICA_SERVER_API_IMPL_H
#define MICA_SERVER_API_IMPL_H

#include "api.h"
#include "api_decode.h"
#include "ask.h"
#include "watch.h"

#include <pthread.h>

/* ---- routes -------------------------------------------------------------------------------- */

enum api_who {
	API_ANYONE, /* nobody is asked who they are */
	API_CALLER, /* anybody who is known */
	API_WORKLOAD, /* known by token or SVID */
	API_AUDITOR, /* auditor or admin */
	API_ADMINISTRATOR,
	API_LOCAL_ADMIN /* by the socket */
};

/* Where a route is served. */
#define API_ON(l)  (1u << (l))
#define API_EVERY  (API_ON(API_PUBLIC) | API_ON(API_ADMIN))
#define API_READS  (API_EVERY | API_ON(API_WATCH))
#define API_HEALTH (API_ON(API_METRICS) | API_ON(API_ADMIN))

enum api_path_kind {
	API_EXACT,
	API_SEGMENT, /* {x} at the end or in the middle: one segment */
	API_PAIR, /* {x}/{y}: two of them, as one parameter */
	API_REST /* {x} at the end: all that follows */
};

/* Statuses that a route may answer with, as openapi.json says: bits by place in this list. */
enum api_status {
	S200,
	S201,
	S204,
	S304,
	S400,
	S401,
	S403,
	S404,
	S409,
	S412,
	S413,
	S415,
	S429,
	S500,
	S503,
	API_STATUS_COUNT
};
#define S(x) (1u << (x))

enum api_body { API_NO_BODY, API_JSON, API_DOCUMENTS /* YAML or JSON */ };

struct api_call;
struct api_route {
	enum http_method method;
	const char *path; /* as in openapi.json */
	enum api_path_kind kind;
	unsigned doors;
	enum api_who who;
	enum api_body body;
	bool pool; /* may take long: runs on the pool */
	const char *const *params; /* of the query; ends with NULL; NULL = none */
	unsigned statuses;
	void (*run)(struct api_call *c);
};
extern const struct api_route api_routes[];
extern const unsigned api_n_routes;
int api_status_code(enum api_status s);
const char *api_status_phrase(int code);

/* The route of `path` for `method`, with its parameter; NULL with *allow filled ("GET, HEAD") when
 * the path is known by another method, or empty when it is not known. */
const struct api_route *api_find_route(enum api_listener door, enum http_method method,
	struct mica_slice path, struct mica_slice *param, char allow[64]);

/* ---- the api -------------------------------------------------------------------------------- */

struct door {
	struct api *a;
	enum api_listener kind;
	_Atomic(struct http_server *) server;
};

struct api {
	struct api_options o; /* config: not to be used, it is borrowed for api_new only */
	struct desk *desk;
	struct door door[API_LISTENER_COUNT];
	_Atomic(struct grpc *) grpc;
	struct watch *watch;
	struct compiled *compiled;
	atomic_bool stopped;
	atomic_bool oidc_discovery; /* copied from the configuration; may change while running */
	/* fixed */
	char *public_host; /* "" when unset */
	int64_t started; /* seconds */
	/* one backup at a time, on a thread of its own */
	pthread_mutex_t backup_lock;
	pthread_t backup_thread;
	bool backup_thread_valid;
	atomic_bool backup_running;
	atomic_uint_least64_t backup_done, backup_all; /* octets */
	char backup_part[4096]; /* the file that grows; under backup_lock */
};

/* ---- a call --------------------------------------------------------------------------------- */

struct api_issue {
	struct mica_json doc; /* holds the audiences, and the CSR of a document that is not plain */
	struct mica_buf csr; /* of a plain one */
	struct api_x509_body x509;
	struct api_jwt_body jwt;
};

struct api_call {
	struct api *a;
	enum api_listener door;
	struct http_req *r;
	const struct http_req_data *d; /* of `r`, or of `kept` */
	const struct api_route *route; /* NULL: none was found */
	struct mica_slice param;
	struct api_params query;
	struct mica_err err;
	const char *expected; /* for problem+json; NULL = unsaid */
	char etag[sizeof(((struct mica_snapshot *)0)->etag)]; /* what a long poll has seen */
	struct ask
		ask; /* its err and caller are those here; the token is part of d->authorization */
	struct mica_caller *caller; /* NULL: nobody is known */
	bool deferred;
	bool long_work; /* takes as long as it takes: its answer has no deadline */
	char address[64]; /* of the caller, when it is to be logged */
	atomic_uint refs; /* the flow's, and http.h's until the request is over */
	atomic_int status; /* of the answer; 0 = not answered yet */
	/* copies for a call that left its worker */
	struct http_req_data kept;
	struct http_peer kept_peer;
	struct mica_buf kept_mem; /* wiped: it may hold a token */
	struct mica_buf out; /* of handlers that build a body */
	struct api_issue *issue;
};

static inline struct api_call *api_call_of(struct ask *a)
{
	return (struct api_call *)((char *)a - offsetof(struct api_call, ask));
}

struct api_answer {
	int status;
	const char *type; /* NULL = no body */
	struct mica_slice body;
	const void *owner;
	void (*release)(const void *owner);
	const char *cache; /* Cache-Control; NULL = "no-store" */
	const char *etag;
	const char *allow;
	const char *lost; /* Mica-Policy-Lost */
	int retry_after; /* 0 = none, but 1 with 429 and 503 */
};
void api_answer(struct api_call *c, const struct api_answer *a);
/* problem+json from c->err (or *e): status by its class. */
void api_fail(struct api_call *c);
void api_fail_status(struct api_call *c, int status);
/* c->out as the body, or the error that it holds. */
void api_send(struct api_call *c, int status, const char *type, const char *cache);
int api_error_status(const struct mica_err *e);
/* {"type":"about:blank",...}; appends. */
void api_problem(struct mica_buf *out, int status, const struct mica_err *e, const char *expected);

/* ,"name": before a value of an object that has something in it already. */
void api_put_string(struct mica_buf *b, const char *name, struct mica_slice v);
void api_put_time(struct mica_buf *b, const char *name, int64_t t);
void api_put_u64(struct mica_buf *b, const char *name, uint64_t v);
void api_put_bool(struct mica_buf *b, const char *name, bool v);
/* A string of printable ASCII and newlines, like PEM: fast. */
void api_put_text(struct mica_buf *b, const char *name, struct mica_slice v);

/* Leaves the worker: the answer comes from another thread. */
void api_defer(struct api_call *c);
/* Copies what c->d borrows, then defers. */
void api_keep(struct api_call *c);
void api_unref(struct api_call *c);

/* Who asks; goes on with api_run, answers itself, or leaves and comes back. */
void api_authenticate(struct api_call *c);
/* When it is known who asks (or nobody was asked). */
void api_run(struct api_call *c);
bool api_issues(const struct api_route *t); /* it makes SVIDs */

/* What the caller of a request shows: a token, or its own certificate; empty = nothing. */
struct mica_slice api_credential(const struct http_req_data *d);
extern const struct ask_face api_face;
/* ---- log ------------------------------------------------------------------------------------- */

void api_log_refused(struct api_call *c, int status);
void api_log_admin(struct api_call *c, const char *event, const char *key, struct mica_slice value);

/* ---- handlers ---------------------------------------------------------------------------- */

void api_x509(struct api_call *c);
void api_jwt(struct api_call *c);
void api_bundle_json(struct api_call *c);
void api_bundle_pem(struct api_call *c);
void api_bundle_jws(struct api_call *c);
void api_bundle_of(struct api_call *c);
void api_ack(struct api_call *c);
void api_configuration(struct api_call *c);
void api_certificate(struct api_call *c);
void api_certificate_revoke(struct api_call *c);
void api_revocations(struct api_call *c);
void api_crl_all(struct api_call *c);
void api_crl_import(struct api_call *c);
void api_crl_der(struct api_call *c);
void api_crl_pem(struct api_call *c);
void api_events(struct api_call *c);
void api_proof(struct api_call *c);
void api_checkpoint(struct api_call *c);
void api_tile(struct api_call *c);
void api_entries(struct api_call *c);
void api_openapi_doc(struct api_call *c);
void api_oidc(struct api_call *c);
void api_jwks(struct api_call *c);
void api_status_doc(struct api_call *c);
void api_explain(struct api_call *c);
void api_taint(struct api_call *c);
void api_authorities(struct api_call *c);
void api_authority(struct api_call *c);
void api_authority_prepare(struct api_call *c);
void api_authority_requests(struct api_call *c);
void api_authority_import(struct api_call *c);
void api_authority_activate(struct api_call *c);
void api_authority_revoke(struct api_call *c);
void api_rotation(struct api_call *c);
void api_rotation_plan(struct api_call *c);
void api_rotation_move(struct api_call *c);
void api_join_create(struct api_call *c);
void api_join_list(struct api_call *c);
void api_join_revoke(struct api_call *c);
void api_policies(struct api_call *c);
void api_policies_jws(struct api_call *c);
void api_compiled(struct api_call *c);
void api_policies_apply(struct api_call *c);
void api_policies_validate(struct api_call *c);
void api_policies_promote(struct api_call *c);
void api_policies_withdraw(struct api_call *c);
void api_policy_get(struct api_call *c);
void api_policy_put(struct api_call *c);
void api_policy_delete(struct api_call *c);
void api_policy_history(struct api_call *c);
void api_policy_rollback(struct api_call *c);
void api_deny_list(struct api_call *c);
void api_deny_add(struct api_call *c);
void api_deny_remove(struct api_call *c);
void api_backup(struct api_call *c);
void api_health(struct api_call *c);
void api_ready(struct api_call *c);
void api_metrics(struct api_call *c);

void api_authorize(struct api_call *c);
void api_dry_run(struct api_call *c);
extern const char *const api_authorize_params[];

extern const char *const api_listener_names[API_LISTENER_COUNT];
/* How fetching keys goes, by issuer; the caller frees it. */
struct mica_keys_status *api_keys_status(struct api *a, unsigned *n);
/* The same of asking clusters about tokens. */
struct mica_kube_status *api_review_status(struct api *a, unsigned *n);
void api_issue_free(struct api_issue *i);
/* Of api_face. */
void api_write(struct ask *a, struct mica_buf *out);
void api_answered(struct ask *a, const struct mica_answer *answer);
/* A snapshot of the core, by the call's route, with ETag and long poll; `td` NULL = the default
 * set. The first two parameters of the route's query are `channel` and `wait`, if it has any. */
void api_serve(struct api_call *c, const char *td);
/* Whether the call wants what is made from a snapshot of policies, not the snapshot itself; and
 * making it, on the pool. */
bool api_policies_built(const struct api_call *c);
void api_policies_build(struct api_call *c);
void api_watch_answer(void *call, const struct mica_snapshot *s, enum watch_end end);

#endif
