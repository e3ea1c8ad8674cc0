/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Figures for Prometheus, text format 0.0.4. No registry: counters stand in one struct, any thread
 * adds to them without a lock, and one function writes them all. What others own (sizes, ages,
 * connections) is written beside them by who asks for it, with the same three calls.
 */
#ifndef MICA_SERVER_METRICS_H
#define MICA_SERVER_METRICS_H

#include "mica/buf.h"

#include <stdatomic.h>

typedef atomic_uint_least64_t metric_counter;

static inline void metric_add(metric_counter *c, uint64_t n)
{
	atomic_fetch_add_explicit(c, n, memory_order_relaxed);
}
static inline uint64_t metric_get(const metric_counter *c)
{
	return atomic_load_explicit(c, memory_order_relaxed);
}

/* ---- histograms of durations ---------------------------------------------------------------- */

#define METRIC_BUCKETS 14 /* bounded ones; one more is open */
struct metric_histogram {
	metric_counter bucket[METRIC_BUCKETS + 1]; /* not cumulative */
	metric_counter sum_ns;
};
void metric_observe(struct metric_histogram *h, int64_t ns); /* negative counts as 0 */

/* ---- counters by reason ---------------------------------------------------------------------- */

/* Reasons are literals of this program, so that there are boundedly many; the table has room for
 * all of them, and what does not fit is counted as "other". */
#define METRIC_REASONS 512
struct metric_reasons {
	struct {
		_Atomic(const char *) reason; /* a literal; NULL = free */
		metric_counter n;
	} slot[METRIC_REASONS];
	metric_counter other;
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

#define METRIC_ROUTES 64
struct metrics {
	metric_counter issuance[METRIC_KINDS][METRIC_OUTCOMES];
	struct metric_histogram stage[METRIC_STAGES];
	struct metric_reasons refused;
	metric_counter requests[METRIC_ROUTES][METRIC_CLASSES]; /* by index of the route */
	metric_counter unrouted[METRIC_CLASSES];
	metric_counter rate_limited, keys_refreshed, reviews, conflicts, watchers_refused;
};
/* The path and method of route i, for its labels (several routes may share a path); NULL behind the
 * last. */
typedef const char *metric_route(unsigned i, const char **method);
void metrics_write(const struct metrics *m, metric_route *route, struct mica_buf *out);
/* CPU, memory and files of this process. */
void metrics_write_process(struct mica_buf *out);

/* ---- writing ----------------------------------------------------------------------------- */

/* "# HELP" and "# TYPE"; all values of a family follow it. */
void metric_family(struct mica_buf *out, const char *name, const char *type, const char *help);
/* name{key="value",...} v: pairs of strings, ended by NULL. Values are escaped. */
struct metric_labels {
	const char *key, *value;
};
void metric_u64(struct mica_buf *out, const char *name, const struct metric_labels *labels,
	size_t n_labels, uint64_t v);
void metric_i64(struct mica_buf *out, const char *name, const struct metric_labels *labels,
	size_t n_labels, int64_t v);
void metric_seconds(struct mica_buf *out, const char *name, const struct metric_labels *labels,
	size_t n_labels, int64_t ns);
#define METRIC_LABELS(...)                                                                         \
	(const struct metric_labels[]){__VA_ARGS__},                                               \
		sizeof((const struct metric_labels[]){__VA_ARGS__}) / sizeof(struct metric_labels)

#endif
