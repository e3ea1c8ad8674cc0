/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What operators and probes are told, over plain HTTP where `metrics.listen` says:
 *
 *	/metrics	figures for Prometheus (figures.h)
 *	/healthz	200 while the agent runs
 *	/readyz		200 when each identity has a valid certificate and there is a bundle, else
 *			503 with what is missing
 *
 * No key, token, certificate or SPIFFE ID is told.
 */
#ifndef MICA_AGENT_METRICS_H
#define MICA_AGENT_METRICS_H

#include "figures.h"
#include "jwt_cache.h"
#include "sds.h"
#include "workload.h"

struct metrics; /* opaque */
struct metrics_options {
	const struct agent_config *config;
	struct figures *figures;
	struct keep *keep;
	struct jwt_cache *jwts;
	struct workload *workload;
	struct sds *sds;
	const struct mica_rpc_server *server;
};
/* *out is NULL when the configuration has no `metrics.listen`. As mica_http_plain_new. */
mica_rc metrics_new(
	const struct metrics_options *o, struct metrics **out, struct mica_err *e) MICA_MUST_CHECK;
const char *metrics_address(const struct metrics *m); /* "" of NULL */
/* Before those whose state it tells are stopped. NULL is fine. */
void metrics_stop(struct metrics *m);

/* Whether all is there at this time; appends a line for each thing that is not. */
bool metrics_ready(const struct agent_config *c, const struct keep_view *v, int64_t now_ms,
	struct mica_buf *missing);

#endif
