/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread that talks to micad: renews the SVIDs of all identities as their machines say
 * (renew.h), asks for JWT-SVIDs, reports what holders have. One kept-alive connection for all.
 */
#ifndef MICA_AGENT_TALK_H
#define MICA_AGENT_TALK_H

#include "jwt_cache.h"

struct talk; /* opaque */
struct talk_options {
	const struct agent_config *config;
	struct keep *keep;
	struct anchor *anchor;
	struct join *join;
	struct figures *figures; /* may be NULL */
	/* micad's bundle has a higher sequence than the one that is held. */
	void (*bundle_is_old)(void *ctx);
	void *ctx;
};
struct talk *talk_new(const struct talk_options *o);
mica_rc talk_start(struct talk *t, struct mica_err *e) MICA_MUST_CHECK;
/* Ends the thread; who waits for a JWT-SVID gets UNAVAILABLE "stopping". */
void talk_stop(struct talk *t);
void talk_free(struct talk *t); /* NULL is fine */

/* Before the start: identity i has this one from before a restart. */
void talk_have(struct talk *t, unsigned i, const struct svid *s);

struct jwt_cache *talk_jwts(struct talk *t);
/* Asks soon for all SVIDs. */
void talk_hurry(struct talk *t);
/* The holders of identity i have the bundle with this sequence: micad is told, unless it was. */
void talk_ack(struct talk *t, unsigned i, uint64_t sequence);

#endif
