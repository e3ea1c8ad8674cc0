/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Group commit: one thread that owns the write transaction. What was signed waits here; the
 * thread takes the whole queue, records it in one durable commit, and calls each one back. When
 * nothing else is in flight it commits at once; under load a batch fills for a moment, since small
 * commits and context switches cost more than everything else that is not cryptography.
 */
#ifndef MICA_SERVER_COMMITTER_H
#define MICA_SERVER_COMMITTER_H

#include "mica/core.h"

struct committer; /* opaque */

struct committer_options {
	struct mica_core *core;
	unsigned max_queue; /* submitted and not yet called back */
	int64_t fill_us; /* the longest that a batch may fill while more is coming; 0 = never waits
			  */
	/* Around the calls back of one batch, on the committer's thread; may be NULL. */
	void (*before)(void);
	void (*after)(void);
	/* The outcome of a commit is unknown, or the store failed: nobody may be answered, and this
	 * must end the process (status 75). On the committer's thread. */
	void (*fatal)(void *ctx, const struct mica_err *e);
	void *ctx;
};
/* INTERNAL "thread_failed". */
mica_rc committer_new(const struct committer_options *o, struct committer **out,
	struct mica_err *e) MICA_MUST_CHECK;

/* On the committer's thread, once: rc OK (the candidate may leave now), CONFLICT (prepare again),
 * or the error of the commit in *e. The candidate belongs to the callee again. Must not block. */
typedef void committer_done(
	void *ctx, struct mica_candidate *k, mica_rc rc, const struct mica_err *e);
/* Takes `k` until `done`. LIMIT "overloaded" with retry_after when the queue is full, UNAVAILABLE
 * "stopping" after committer_stop: then `k` stays the caller's. Any thread; never blocks. */
mica_rc committer_take_submit(struct committer *c, struct mica_candidate *k, committer_done *done,
	void *ctx, struct mica_err *e) MICA_MUST_CHECK;
/* A hint of the fronts: between these two calls a request is being prepared, so that a batch that
 * is about to be committed may wait for it. Leave before submitting. */
void committer_enter(struct committer *c);
void committer_leave(struct committer *c);

struct committer_stats {
	uint64_t queued; /* now */
	uint64_t commits, entries, conflicts, failed, refused;
	int64_t last_commit_ns, commit_ns; /* the last one; all together */
};
void committer_stats(struct committer *c, struct committer_stats *out);
/* Takes nothing more, commits what is queued, ends the thread. */
void committer_stop(struct committer *c);
void committer_free(struct committer *c); /* stops first; NULL is fine */

#endif
