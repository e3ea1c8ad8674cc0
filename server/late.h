/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Refusals are told late, and at a pace: whoever shows bad credentials in a loop waits for each
 * answer and so costs little, from however many addresses and connections it comes, and whoever
 * shows good ones does not notice. One thread, in the order in which they came; an item is the
 * caller's and costs no memory here. It holds for HTTP/2 as well, where one connection asks many
 * things at a time.
 */
#ifndef MICA_SERVER_LATE_H
#define MICA_SERVER_LATE_H

#include "mica/err.h"

#define LATE_LEAST_MS 10 /* each waits so long */
#define LATE_MOST_MS  1000 /* none waits longer, however many there are: it holds a connection */

/* Nothing in here is for others. Zeroed before; lives until `fn` is called. */
struct late_item {
	struct late_item *next, **link; /* what points here; NULL = it does not wait */
	int64_t due_us; /* on the monotonic clock */
	void (*fn)(void *job);
	void *job;
};

/* When the next one is to be told. */
struct late_pace {
	int64_t last_us; /* the one before; 0 = none yet */
	int64_t step_us; /* between two of them */
};
int64_t late_due(struct late_pace *p, int64_t now_us);

struct late; /* opaque */
/* `per_second` of them are told, as long as they wait no longer than LATE_MOST_MS for it.
 * UNAVAILABLE "no_threads". */
mica_rc late_new(unsigned per_second, struct late **out, struct mica_err *e) MICA_MUST_CHECK;
/* `fn(job)` comes later, on the thread of this; it must not block. False when it was stopped: then
 * there is no need to wait any more. Any thread. */
bool late_add(
	struct late *l, struct late_item *i, void (*fn)(void *job), void *job) MICA_MUST_CHECK;
/* Nobody waits for it any more: true when it was waiting, and then `fn` does not come. Any thread.
 */
bool late_remove(struct late *l, struct late_item *i) MICA_MUST_CHECK;
/* Tells all that wait at once, and ends. Once; not from an item. */
void late_stop(struct late *l);
void late_free(struct late *l); /* stops first, if that was not done; NULL is fine */

#endif
