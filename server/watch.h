/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Long polls: who waits for another snapshot than the one they have. One thread looks after all of
 * them, in ticks, since each answer costs their listener a walk over everybody who still waits
 * (libmicrohttpd): ten thousand who wait must not slow down who does not.
 */
#ifndef MICA_SERVER_WATCH_H
#define MICA_SERVER_WATCH_H

#include "mica/core.h"

struct watch; /* opaque */

enum watch_end {
	WATCH_CHANGED, /* there is another snapshot */
	WATCH_TIME_OVER, /* it is still the same one */
	WATCH_DRAIN /* micad ends */
};
/* On the thread of the watch, once per job. `s` (borrowed) is what there is now; NULL with DRAIN or
 * when the core has none. */
typedef void watch_done(void *job, const struct mica_snapshot *s, enum watch_end end);

struct watch_options {
	struct mica_core *core;
	unsigned max; /* who wait on a listener of their own */
	unsigned max_shared; /* who wait on one that issues, too */
	watch_done *done;
};
mica_rc watch_new(
	const struct watch_options *o, struct watch **out, struct mica_err *e) MICA_MUST_CHECK;

struct watch_for {
	bool shared; /* which bound counts */
	const char *td; /* copied; NULL = the default set */
	enum mica_channel channel;
	enum mica_format format;
	const char *etag; /* what the caller has; copied */
	int64_t wait_ms;
	/* watch_generation() before the snapshot was compared with the caller's: a change that came
	 * since is not missed. */
	uint64_t generation;
};
uint64_t watch_generation(struct watch *w);
/* LIMIT "too_many_watchers", UNAVAILABLE "draining": then `job` stays the caller's. The end may
 * come before this returns. Any thread. */
mica_rc watch_add(
	struct watch *w, const struct watch_for *f, void *job, struct mica_err *e) MICA_MUST_CHECK;
/* Snapshots changed: look at everybody within `spread_ms`, evenly. Any thread. */
void watch_wake(struct watch *w, int64_t spread_ms);
void watch_set_max(struct watch *w, unsigned max, unsigned max_shared);
unsigned watch_count(struct watch *w, bool shared);
/* Everybody's poll ends now; nobody is taken any more. */
void watch_drain(struct watch *w);
void watch_free(struct watch *w); /* ends those who still wait; NULL is fine */

#endif
