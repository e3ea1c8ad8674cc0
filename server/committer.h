/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Group commit: one thread that owns the write transaction. Requests that were signed wait here;
 * the thread takes the whole queue, records it in one durable commit, and calls each one back.
 * When nothing else is in flight it commits at once; under load a batch fills for a moment, since
 * small commits and context switches cost more than everything else that is not cryptography.
 */
#ifndef MICA_SERVER_COMMITTER_H
#define MICA_SERVER_COMMITTER_H

#include "mica/core.h"

struct committer; /* opaque */

struct committer_options {
	struct mica_core *core;
	unsigned max_queue; /* submitted and not yet called back */
	int64_t fill_us; /* how long a batch may fill while more requests are in flight */
	/* An outcome is unknown or the store failed: answer nobody, end the process (status 75). */
	void (*fatal)(void *ctx, const struct mica_err *e);
	void *ctx;
};
mica_rc committer_new(const struct committer_options *o, struct committer **out,
	struct mica_err *e) MICA_MUST_CHECK;

/* On the committer's thread, once: rc OK (the candidate may leave now), CONFLICT (prepare again),
 * or the error of the commit. The candidate belongs to the callee again. */
typedef void committer_done(
	void *ctx, struct mica_candidate *k, mica_rc rc, const struct mica_err *e);
/* Takes `k` until `done`. LIMIT "overloaded" with retry_after when the queue is full: then `k`
 * stays the caller's. Any thread; never blocks. */
mica_rc committer_take_submit(struct committer *c, struct mica_candidate *k, committer_done *done,
	void *ctx, struct mica_err *e) MICA_MUST_CHECK;
/* Hint from the fronts: how many requests are being prepared right now (between these calls). A
 * batch waits for them for `fill_us` at most. */
void committer_enter(struct committer *c);
void committer_leave(struct committer *c);

struct committer_stats {
	uint64_t queued, commits, entries, conflicts, refused;
	int64_t last_commit_ns; /* how long */
};
void committer_stats(struct committer *c, struct committer_stats *out);
/* Commits what is queued, then ends the thread. */
void committer_free(struct committer *c);

#endif
