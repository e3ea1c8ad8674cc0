/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Envoy's secret discovery service, v3: StreamSecrets, DeltaSecrets and FetchSecrets.
 *
 * A stream names its secrets, in any mix, and gets those that there are: at once, when its names
 * change, and when a secret changes. What is not there (yet) is left out, and comes when it is; an
 * Envoy waits for it. An answer that an Envoy refuses (NACK) is logged and not repeated until its
 * content is another one; what it says of an older answer than the last is ignored.
 *
 * Secrets are encoded once for all streams that get the same. What the Envoys of an identity have
 * accepted of the bundle is reported as evidence: the least of all its streams; and where there is
 * none, what this agent has itself.
 */
#ifndef MICA_AGENT_SDS_H
#define MICA_AGENT_SDS_H

#include "figures.h"
#include "keep.h"

#include "mica/rpc.h"

struct sds; /* opaque */
struct sds_options {
	const struct agent_config *config;
	struct keep *keep;
	struct figures *figures; /* may be NULL */
	/* The holders of identity i have the bundle with this sequence. */
	void (*held)(void *ctx, unsigned i, uint64_t sequence);
	void *ctx;
};
struct sds *sds_new(const struct sds_options *o);
/* After the server was stopped. NULL is fine. */
void sds_free(struct sds *s);
/* Lives as long as `s`. */
struct mica_rpc_service sds_service(struct sds *s);
/* How many are open now. */
void sds_streams(struct sds *s, unsigned *all, unsigned *delta);
void sds_changed(void *s); /* for keep_listen, behind those that hand out without being asked */

#endif
