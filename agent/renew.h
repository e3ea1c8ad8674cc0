/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When to ask for the next SVID: a pure machine. It reads no clock and does nothing; whoever owns
 * it passes the time, tells it what happened, and does what it says. So a year of renewals and
 * outages is tested in milliseconds.
 *
 *	renew_init(&r, seed)
 *	renew_next(&r, now) -> RENEW_ASK	ask micad now, then say how it went:
 *		renew_issued(&r, now, times)	it gave one
 *		renew_failed(&r, now, why)	it did not
 *	renew_next(&r, now) -> RENEW_WAIT	nothing until r.at, or until renew_hurry()
 *
 * What it decides:
 *	- The CA says when (renew_after); only a delay of up to 1/32 of what is left is added here,
 *	  so that agents that were started together do not stay together.
 *	- After a failure it waits 1 s, 2 s, 4 s ... up to a minute, each time a random part of it
 *	  (half to all): what failed together does not come back together. The nearer the end of
 *	  the SVID, the shorter: never more than an eighth of what is left, nor less than a second.
 *	  From its end on the waits grow anew from a second: nobody is served until one succeeds.
 *	  Where micad says how long to wait, that is the least, and half of it more is spread.
 *	- Nothing is ever given up: an SVID that has expired is asked for like the first one.
 *	- A clock that jumps is followed: a time to wait for that lies further ahead than any wait
 *	  that is ever chosen is chosen anew.
 */
#ifndef MICA_AGENT_RENEW_H
#define MICA_AGENT_RENEW_H

#include "mica/err.h"

/* Milliseconds since 1970. */
struct renew_times {
	int64_t not_before, renew_after, not_after;
};

struct renew {
	bool has; /* one was issued, expired or not */
	bool ended; /* a failure came behind its end */
	struct renew_times svid;
	int64_t at; /* when to ask; INT64_MIN = now */
	unsigned failures; /* in a row; counted anew from the end of the SVID on */
	int64_t waited_from; /* when `at` was chosen */
	uint64_t random; /* state of its own generator */
};

enum renew_action { RENEW_ASK, RENEW_WAIT };
#define RENEW_BACKOFF_FIRST ((int64_t)1000)
#define RENEW_BACKOFF_MAX   ((int64_t)60000)

/* `seed` is random for each agent, and chosen in a test. */
void renew_init(struct renew *r, uint64_t seed);
enum renew_action renew_next(struct renew *r, int64_t now);
/* Its times may lie anywhere: what cannot be is mended (a renew_after outside of its life becomes
 * the middle). */
void renew_issued(struct renew *r, int64_t now, const struct renew_times *t);
/* `retry_after` in seconds as micad said it; 0 = unsaid. */
void renew_failed(struct renew *r, int64_t now, int retry_after);
/* Something speaks for asking at once (another token, another bundle, an administrator). Does
 * not end a back-off: what has failed a moment ago is not asked again for that. */
void renew_hurry(struct renew *r, int64_t now);
/* An SVID that relying parties take now. */
bool renew_valid(const struct renew *r, int64_t now);
/* How long the k-th failure in a row waits: from *low to *high milliseconds. */
void renew_backoff(const struct renew *r, int64_t now, int64_t *low, int64_t *high);

#endif
