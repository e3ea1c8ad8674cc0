/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread that watches the trust bundle: one long poll after the other, so that a new root is
 * here as soon as micad publishes it. It decides whether what came is taken (watch_take).
 */
#ifndef MICA_AGENT_WATCH_H
#define MICA_AGENT_WATCH_H

#include "ask.h"

struct watch; /* opaque */
struct watch_options {
	const struct agent_config *config;
	struct keep *keep;
	struct anchor *anchor;
	struct figures *figures; /* may be NULL */
};
struct watch *watch_new(const struct watch_options *o);
mica_rc watch_start(struct watch *w, struct mica_err *e) MICA_MUST_CHECK;
void watch_stop(struct watch *w);
void watch_free(struct watch *w); /* NULL is fine */
/* Asks now, not at the end of a poll. Any thread. */
void watch_kick(struct watch *w);

/* Whether `fresh` may take the place of `held` (or NULL): a sequence does not go back, and what has
 * the same sequence is the same; unless a new bootstrap vouches for it. CONFLICT
 * "bundle_went_back" | "bundle_changed_silently" | "bundle_without_sequence". */
mica_rc watch_take(const struct trust *held, const struct trust *fresh, bool bootstrap,
	struct mica_err *e) MICA_MUST_CHECK;

#endif
