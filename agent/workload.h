/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The SPIFFE Workload API (SPIFFE_Workload_API.md, SPIFFE_Workload_Endpoint.md) as a service of a
 * mica_rpc_server. Streams get the full state at once and at each change. Codes:
 *
 *	INVALID_ARGUMENT	a message or header that is not right; not to be repeated
 *	PERMISSION_DENIED	the peer may use no identity, or not the one it names; or micad
 *				gives it none
 *	UNAVAILABLE		there is nothing yet: micad could not be asked
 *
 * What a caller asks for while the agent is still starting is waited for, up to WORKLOAD_HOLD_MS.
 */
#ifndef MICA_AGENT_WORKLOAD_H
#define MICA_AGENT_WORKLOAD_H

#include "keep.h"
#include "talk.h"

#include "mica/rpc.h"

#define WORKLOAD_HOLD_MS 5000
#define WORKLOAD_SERVICE "SpiffeWorkloadAPI"

struct workload; /* opaque */
struct workload_options {
	const struct agent_config *config;
	struct keep *keep;
	struct jwt_cache *jwts;
};
struct workload *workload_new(const struct workload_options *o);
/* After the server was stopped. NULL is fine. */
void workload_free(struct workload *w);
/* Lives as long as `w`. */
struct mica_rpc_service workload_service(struct workload *w);

/* For keep_listen: sends what is new. */
void workload_changed(void *w);
/* Once a second: ends streams that have waited for too long for their first message. */
void workload_tick(struct workload *w);

/* How many are open now. */
void workload_streams(
	struct workload *w, unsigned *x509_svid, unsigned *x509_bundles, unsigned *jwt_bundles);

/* INVALID "security_header_missing" for a call of this service without exactly one
 * `workload.spiffe.io: true` (Workload Endpoint 3); others pass. */
mica_rc workload_admit(const struct mica_rpc_call *c, struct mica_err *e) MICA_MUST_CHECK;

#endif
