/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the fronts of micad share: limits, the pool, counters, the log of what was issued or
 * refused. A front has its protocol (http.h, mica/rpc.h) and its words; who asks, what they get and
 * what it costs is decided here and in ask.h, one way for all of them.
 *
 * To end: desk_drain (api_drain does it), then who feeds the pool ends (mica_keys_retire,
 * mica_kube_retire of all), then desk_stop; the fronts after it, then what is borrowed here and
 * desk_free.
 */
#ifndef MICA_SERVER_DESK_H
#define MICA_SERVER_DESK_H

#include "committer.h"
#include "http.h"
#include "metrics.h"
#include "work.h"

#include "mica/config.h"
#include "mica/core.h"
#include "mica/log.h"
#include "mica/replay.h"

struct decisions; /* decisions.h */
struct known; /* known.h */
struct late; /* late.h */
struct limits; /* limits.h */
struct mica_keys; /* keys.h */
struct mica_kube; /* kube.h */
struct policies; /* policies.h */

struct desk_options {
	/* Borrowed until desk_free. */
	struct mica_core *core;
	struct committer *committer;
	struct mica_replay *replay;
	struct limits *limits; /* NULL = none */
	struct mica_keys *keys; /* NULL = none */
	struct mica_kube *kube; /* NULL = none: who must be reviewed is then refused, or not, as
				   the issuer's review.on_failure says */
	const struct mica_config *config; /* what counts is copied */
	unsigned threads; /* of the pool; 0 = 2 */
};

struct desk {
	struct mica_core *core;
	struct committer *committer;
	struct mica_replay *replay;
	struct limits *limits;
	struct mica_keys *keys;
	struct mica_kube *kube;
	struct metrics m;
	struct work *work; /* for what must not hold up a thread of a front */
	struct known *known;
	struct policies *policies; /* in force */
	struct decisions *decisions;
	struct late *late; /* refusals on their way to who caused them */
	atomic_bool draining;
	atomic_uint under_way; /* requests for SVIDs between acceptance and answer */
	atomic_uint parked; /* requests that wait for keys or a TokenReview */
	/* copied from the configuration; may change while running */
	atomic_uint queue_max;
	atomic_bool log_address;
	/* refused requests that were not logged one by one (a flood) */
	atomic_int_least64_t quiet_since; /* second of the last line */
	atomic_uint_least64_t quiet;
};

/* INTERNAL "thread_failed"; what policies_new says. */
mica_rc desk_new(
	const struct desk_options *o, struct desk **out, struct mica_err *e) MICA_MUST_CHECK;
void desk_reconfigure(struct desk *d, const struct mica_config *config);
void desk_drain(struct desk *d);
/* Ends the pool behind what it is doing; what it had not begun is handed back, and refusals that
 * wait are told. */
void desk_stop(struct desk *d);
void desk_free(struct desk *d); /* stops first; NULL is fine */

/* ---- limits --------------------------------------------------------------------------------- */

/* Whether requests from this address are served at all, before they cost anything worth mentioning:
 * LIMIT "rate_limited" with retry_after. `credential` is what the caller shows, empty = nothing. */
mica_rc desk_address_ok(struct desk *d, const struct http_peer *peer, struct mica_slice credential,
	struct mica_err *e) MICA_MUST_CHECK;
/* Whether one more request for an SVID is taken; more than the committer may hold is refused before
 * it costs a signature: UNAVAILABLE "overloaded". */
mica_rc desk_queue_ok(struct desk *d, struct mica_err *e) MICA_MUST_CHECK;

/* ---- counting and log ------------------------------------------------------------------------ */

/* A request that was not served: what is counted and logged of it. */
struct desk_refusal {
	const char *front; /* "rest", "istio", ... */
	const char *path; /* route or method; "" = none */
	const char *key; /* what its answer's number is called: "status", "code" */
	int number;
	bool failed; /* our own trouble */
	bool rare; /* worth a line of its own even in a flood; else some share one */
	enum mica_log_level level;
	const struct mica_err *err;
	const struct mica_caller *caller; /* NULL = nobody is known */
	const char *address; /* "" = not to be logged */
	int kind; /* of the SVID that was asked for (enum metric_kind); -1 = none */
};
void desk_refused(struct desk *d, const struct desk_refusal *r);

/* A field that is left out when it has nothing to say. */
struct mica_field desk_field(const char *key, const char *v);

#endif
