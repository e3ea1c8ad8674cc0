/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replays of an identical request: a client that repeats what it sent, because an answer was lost
 * or slow, gets the same answer and no second certificate; equals at the same time share one
 *result. In memory, bounded, for one minute. Any thread.
 *
 * A front authenticates first, then
 *
 *	mica_replay_key(&request, key);			request.generation = mica_core_generation()
 *	switch (mica_replay_begin(r, key, now_ms, job, &answer)) {
 *	case MICA_REPLAY_NEW:	  prepare, commit, mica_replay_finish() (or _abandon())
 *	case MICA_REPLAY_WAIT:	  nothing: `job` comes back from the finish of its equal
 *	case MICA_REPLAY_DONE:	  send `answer`, unref it
 *	case MICA_REPLAY_FULL:	  prepare, commit; nothing to finish
 *	}
 *
 * The generation is in the key: after a change of the deny list, the rules or an authority nothing
 * of before is given out again.
 */
#ifndef MICA_REPLAY_H
#define MICA_REPLAY_H

#include "mica/buf.h"
#include "mica/principal.h"

#define MICA_REPLAY_MS      60000
#define MICA_REPLAY_KEY_LEN 32

struct mica_replay; /* opaque */

/* At most `max` requests are remembered, each with at most `max_waiters` equals that wait. */
struct mica_replay *mica_replay_new(unsigned max, unsigned max_waiters);
void mica_replay_free(struct mica_replay *r);

/* What makes two requests identical. */
struct mica_replay_request {
	uint64_t generation; /* mica_core_generation */
	enum mica_front front;
	const char *operation; /* "x509", "jwt" */
	const char *issuer;
	struct mica_slice credential; /* the token, or the serial of the presented certificate */
	struct mica_slice subject; /* CSR; audiences of a JWT */
	int64_t ttl;
	const char *identity; /* what was asked for, where one can ask; else the caller's */
};
/* SHA-256 over all of it, each part with its length. */
void mica_replay_key(const struct mica_replay_request *q, uint8_t key[MICA_REPLAY_KEY_LEN]);

/* A finished answer, shared. */
struct mica_answer {
	int status; /* the front's own */
	struct mica_slice bytes;
};
/* Copies. */
const struct mica_answer *mica_answer_new(int status, struct mica_slice bytes);
const struct mica_answer *mica_answer_ref(const struct mica_answer *a);
void mica_answer_unref(const struct mica_answer *a); /* NULL is fine */

enum mica_replay_verdict { MICA_REPLAY_NEW, MICA_REPLAY_WAIT, MICA_REPLAY_DONE, MICA_REPLAY_FULL };
enum mica_replay_verdict mica_replay_begin(struct mica_replay *r,
	const uint8_t key[MICA_REPLAY_KEY_LEN], int64_t now_ms, void *job,
	const struct mica_answer **answer);

/* The answer for the request and all that wait for it: `each` is called once per waiting job, from
 * this thread and without a lock held; it takes its own reference. Remembered when `keep` (an
 * answer of success); NULL when there is none, and then `ctx` says why. */
void mica_replay_finish(struct mica_replay *r, const uint8_t key[MICA_REPLAY_KEY_LEN],
	int64_t now_ms, const struct mica_answer *answer, bool keep,
	void (*each)(void *ctx, void *job, const struct mica_answer *answer), void *ctx);
/* A job that waits goes away (its connection closed). False when it is not waiting (any more). */
bool mica_replay_forget_job(
	struct mica_replay *r, const uint8_t key[MICA_REPLAY_KEY_LEN], void *job);
unsigned mica_replay_count(struct mica_replay *r);

#endif
