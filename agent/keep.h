/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the agent has: the trust bundle, and an SVID for each identity. Whoever gets something puts
 * it here; whoever hands it out takes a view, which does not change, and is told when there is
 * something new. Any thread.
 */
#ifndef MICA_AGENT_KEEP_H
#define MICA_AGENT_KEEP_H

#include "config.h"
#include "svid.h"
#include "trust.h"

struct keep; /* opaque */
struct keep *keep_new(unsigned n_identities);
void keep_free(struct keep *k); /* NULL is fine */

/* Called after each change, outside of the lock, by whoever made it. Before there are threads; at
 * most 4. */
void keep_listen(struct keep *k, void (*changed)(void *ctx), void *ctx);

void keep_set_trust(struct keep *k, const struct trust *t); /* takes a reference of its own */
void keep_set_svid(struct keep *k, unsigned i, const struct svid *s); /* the same; ends a trouble */
/* Why identity i gets none: kept until it gets one. */
void keep_set_trouble(struct keep *k, unsigned i, const struct mica_err *why);
/* Puts away SVIDs that have expired. */
void keep_tick(struct keep *k, int64_t now_ms);

const struct trust *keep_trust(struct keep *k); /* a reference, or NULL */
const struct svid *keep_svid(struct keep *k, unsigned i);
/* False when there is none. */
bool keep_trouble(struct keep *k, unsigned i, struct mica_err *out);

/* All at one moment. */
struct keep_view {
	uint64_t version; /* another one whenever something has changed */
	const struct trust *trust; /* NULL = none yet */
	const struct svid *svid[AGENT_IDENTITIES_MAX]; /* NULL = none that is valid */
};
void keep_view_get(struct keep *k, struct keep_view *out);
void keep_view_clear(struct keep_view *v);
#define AUTO_KEEP_VIEW __attribute__((cleanup(keep_view_clear))) struct keep_view

#endif
