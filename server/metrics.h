/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Figures for Prometheus, text format 0.0.4. No registry: counters stand in one struct, any thread
 * adds to them without a lock, and one function writes them all. What others own (sizes, ages,
 * connections) is written beside them by who asks for it, with the same calls
 * (mica/metric.h).
 */
#ifndef MICA_SERVER_METRICS_H
#define MICA_SERVER_METRICS_H

#include "mica/metric.h"

/* ---- histograms of durations ---------------------------------------------------------------- */

#define METRIC_BUCKETS 14 /* bounded ones; one more is open */
struct metric_histogram {
	mica_metric_counter bucket[METRIC_BUCKETS + 1]; /* not cumulative */
	mica_metric_counter sum_ns;
};
void metric_observe(struct metric_histogram *h, int64_t ns); /* negative counts as 0 */

/* ---- counters by reason ---------------------------------------------------------------------- */

/* Reasons are literals of this program, so that there are boundedly many; the table has room for
 * all of them, and what does not fit is counted as "other". */
#define METRIC_REASONS 512
struct metric_reasons {
	struct {
		_Atomic(const char *) reason; /* a literal; NULL = free */
		mica_metric_counter n;
	} slot[METRIC_REASONS];
	mica_metric_counter other;
};
void metric_reason(struct metric_reasons *r, const char *reason);

/* ---- what the API counts ----------------------------------------------------------------- */

enum metric_kind { METRIC_X509, METRIC_JWT, METRIC_KINDS };
enum metric_outcome {
	METRIC_ISSUED,
	METRIC_REPLAYED,
	METRIC_REFUSED,
	METRIC_FAILED,
	METRIC_OUTCOMES
};
enum metric_stage { METRIC_AUTH, METRIC_SIGN, METRIC_COMMIT, METRIC_TOTAL, METRIC_STAGES };
enum metric_class { METRIC_2XX, METRIC_3XX, METRIC_4XX, METRIC_5XX, METRIC_CLASSES };

#define METRIC_ROUTES 96
struct metrics {
	mica_metric_counter issuance[METRIC_KINDS][METRIC_OUTCOMES];
	struct metric_histogram stage[METRIC_STAGES];
	struct metric_reasons refused;
	mica_metric_counter requests[METRIC_ROUTES][METRIC_CLASSES]; /* by index of the route */
	mica_metric_counter unrouted[METRIC_CLASSES];
	mica_metric_counter rate_limited, keys_refreshed, reviews, conflicts, watchers_refused;
};
/* The path and method of route i, for its labels (several routes may share a path); NULL behind the
 * last. */
typedef const char *metric_route(unsigned i, const char **method);
void metrics_write(const struct metrics *m, metric_route *route, struct mica_buf *out);

#endif
