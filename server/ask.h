/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request on its way, whatever front it came by: plain data in, calls back out.
 *
 *	ask_who		token or SVID -> (the issuer's keys, once) -> (TokenReview) -> known, or
 *failed ask_start	from here on it counts as under way, until ask_over ask_x509	an equal of
 *the last minute? -> decide, sign -> committer -> answered, or failed ask_jwt
 *
 *	front's thread: who, decide, sign -> committer: write, answered -> front: ask_over
 *			  ^------- pool: decide again <- CONFLICT
 *
 * At three places it leaves the front's thread and comes back on the pool: an unknown key, a
 * TokenReview, and a decision that must be made again. One thread has it at any time, and whoever
 * has called `known`, `answered` or `failed` has given it away. All of them come from functions
 * here, from the pool, or from the committer's thread, and must not block.
 */
#ifndef MICA_SERVER_ASK_H
#define MICA_SERVER_ASK_H

#include "desk.h"
#include "late.h"

struct ask;
struct ask_face {
	const char *name; /* of the front, for logs: "rest", "istio", ... */
	/* It leaves this thread, and what its request points at must stay until the end; with
	 * `keep` the token too, which may be replaced by a copy. NULL = all of it stays anyway. May
	 * come twice. */
	void (*leave)(struct ask *a, bool keep);
	/* a->caller is filled. */
	void (*known)(struct ask *a);
	/* The body of the answer, from a->issued; on the committer's thread. It may fill a->err
	 * instead; an overflow is INTERNAL "answer_too_long". Equals are given the same octets. */
	void (*write)(struct ask *a, struct mica_buf *out);
	/* Takes a reference to the answer. */
	void (*answered)(struct ask *a, const struct mica_answer *answer);
	/* a->err says why. */
	void (*failed)(struct ask *a);
};

struct ask {
	/* Given by the front; borrowed. */
	struct desk *desk;
	const struct ask_face *face;
	enum mica_front front;
	bool issues; /* it wants an SVID: a batch that is about to be committed may wait for it */
	struct mica_caller *caller; /* room */
	struct mica_err *err; /* room; unset */
	const struct http_peer *peer;
	struct mica_slice token; /* empty = none: then the chain counts */
	const struct mica_slice *chain; /* DER, leaf first */
	size_t n_chain;
	const char *address; /* "" = not to be logged */
	int64_t t_begin; /* mica_mono_ns(), like all below; 0 = not reached */

	/* What became of it. */
	int64_t t_auth, t_sign, t_commit, t_end; /* t_end is the front's to set */
	enum metric_kind kind;
	struct mica_issued issued; /* in `write` and `answered`, but not for a replay */
	bool replayed;

	/* ask_*.c's own */
	struct mica_slice as; /* whose identity it asks for; empty = its own */
	void (*as_then)(struct ask *a);
	bool refreshed, parked, entered, started, remembered;
	unsigned tries;
	struct mica_x509_request x509;
	struct mica_jwt_request jwt;
	uint8_t key[MICA_REPLAY_KEY_LEN];
	struct mica_candidate *candidate;
	struct late_item late;
};

/* UNAUTHENTICATED, DENIED, UNAVAILABLE as mica_core_authenticate_* and mica_core_review_judge;
 * LIMIT "identity_rate_limited". A refusal counts against the address. */
void ask_who(struct ask *a);
/* The caller is known by other means: what ask_who does behind that. */
void ask_known(struct ask *a);
/* The caller asks for the identity of a pod on its node (mica/nodepods.h): goes on with `then`, and
 * the pod is the caller, or is refused. `identity` is borrowed until then. DENIED
 * "impersonation_*", "denied_by_list"; UNAVAILABLE "pods_unavailable", "overloaded". */
void ask_as(struct ask *a, struct mica_slice identity, void (*then)(struct ask *a));
/* Refused for what it shows: counts against the address, then `failed`, late (late.h). */
void ask_refuse(struct ask *a);

/* Whoever asked has gone: a refusal that waits to be told comes now. On any thread, while the ask
 * is there. */
void ask_abandon(struct ask *a);

void ask_start(struct ask *a, enum metric_kind kind);
/* The requests are copied, what they point at is borrowed until the end; their caller is set here.
 * Errors are those of mica_core_prepare_* and of committer_take_submit; UNAVAILABLE "try_again"
 * when its decision was overtaken again and again; "draining". */
void ask_x509(struct ask *a, const struct mica_x509_request *r);
void ask_jwt(struct ask *a, const struct mica_jwt_request *r);
/* Once, when the front is through with it: counts what nobody waits for. Fine without a start. */
void ask_over(struct ask *a, bool ok);

/* A job for the pool: `fn` gets `job`, or the ask fails ("overloaded"). */
void ask_push(struct ask *a, work_fn *fn, void *job);
/* A batch that waits for the next ones counts those that are being prepared. */
void ask_enter(struct ask *a);
void ask_leave(struct ask *a);

#endif
