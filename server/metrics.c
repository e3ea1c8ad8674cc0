/* SPDX-License-Identifier: Apache-2.0 */
#include "metrics.h"

/* From a commit without waiting to a request that hangs. */
static const int64_t bounds_ns[METRIC_BUCKETS] = {50000, 100000, 250000, 500000, 1000000, 2500000,
	5000000, 10000000, 25000000, 50000000, 100000000, 250000000, 1000000000, 10000000000};
static const char *const bound_names[METRIC_BUCKETS + 1] = {"5e-05", "0.0001", "0.00025", "0.0005",
	"0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "1", "10", "+Inf"};

void metric_observe(struct metric_histogram *h, int64_t ns)
{
	size_t i = 0;
	if (ns < 0)
		ns = 0;
	while (i < METRIC_BUCKETS && ns > bounds_ns[i])
		i++;
	mica_metric_add(&h->bucket[i], 1);
	mica_metric_add(&h->sum_ns, (uint64_t)ns);
}

/* FNV-1a: the reasons are our own words, nobody can choose them to collide. */
static size_t hash(const char *s)
{
	uint32_t h = 2166136261u;
	for (; *s; s++)
		h = (h ^ (uint8_t)*s) * 16777619u;
	return h % METRIC_REASONS;
}

void metric_reason(struct metric_reasons *r, const char *reason)
{
	size_t at = hash(reason);
	for (size_t i = 0; i < METRIC_REASONS; i++, at = (at + 1) % METRIC_REASONS) {
		const char *has = NULL;
		/* on failure `has` is who was first */
		if (atomic_compare_exchange_strong(&r->slot[at].reason, &has, reason) ||
			strcmp(has, reason) == 0) {
			mica_metric_add(&r->slot[at].n, 1);
			return;
		}
	}
	mica_metric_add(&r->other, 1);
}

/* ---- writing ------------------------------------------------------------------------------- */

static const char *const kinds[METRIC_KINDS] = {"x509", "jwt"};
static const char *const outcomes[METRIC_OUTCOMES] = {"issued", "replayed", "refused", "failed"};
static const char *const stages[METRIC_STAGES] = {"auth", "sign", "commit", "total"};
static const char *const classes[METRIC_CLASSES] = {"2xx", "3xx", "4xx", "5xx"};

static void write_stages(const struct metrics *m, struct mica_buf *out)
{
	const char *name = "mica_issuance_duration_seconds";
	mica_metric_family(out, name, "histogram",
		"Time that issuing took, by stage: to know who asks, to decide and sign, to record "
		"durably, and from request to answer.");
	for (size_t s = 0; s < METRIC_STAGES; s++) {
		const struct metric_histogram *h = &m->stage[s];
		uint64_t all = 0;
		for (size_t i = 0; i <= METRIC_BUCKETS; i++) {
			all += mica_metric_get(&h->bucket[i]);
			mica_metric_u64(out, "mica_issuance_duration_seconds_bucket",
				MICA_METRIC_LABELS({"stage", stages[s]}, {"le", bound_names[i]}),
				all);
		}
		mica_metric_seconds(out, "mica_issuance_duration_seconds_sum",
			MICA_METRIC_LABELS({"stage", stages[s]}),
			(int64_t)mica_metric_get(&h->sum_ns));
		mica_metric_u64(out, "mica_issuance_duration_seconds_count",
			MICA_METRIC_LABELS({"stage", stages[s]}), all);
	}
}

static void write_reasons(const struct metrics *m, struct mica_buf *out)
{
	const char *name = "mica_refusals_total";
	mica_metric_family(out, name, "counter", "Requests that were not served, by reason.");
	for (size_t i = 0; i < METRIC_REASONS; i++) {
		const char *reason = atomic_load(&m->refused.slot[i].reason);
		if (reason)
			mica_metric_u64(out, name, MICA_METRIC_LABELS({"reason", reason}),
				mica_metric_get(&m->refused.slot[i].n));
	}
	mica_metric_u64(out, name, MICA_METRIC_LABELS({"reason", "other"}),
		mica_metric_get(&m->refused.other));
}

static void write_requests(const struct metrics *m, metric_route *route, struct mica_buf *out)
{
	const char *name = "mica_http_requests_total", *r, *method;
	mica_metric_family(out, name, "counter",
		"Requests that were answered, by method, route and class of status.");
	for (unsigned i = 0; i < METRIC_ROUTES && (r = route(i, &method)) != NULL; i++)
		for (size_t c = 0; c < METRIC_CLASSES; c++)
			mica_metric_u64(out, name,
				MICA_METRIC_LABELS(
					{"method", method}, {"route", r}, {"code", classes[c]}),
				mica_metric_get(&m->requests[i][c]));
	for (size_t c = 0; c < METRIC_CLASSES; c++)
		mica_metric_u64(out, name,
			MICA_METRIC_LABELS(
				{"method", "none"}, {"route", "none"}, {"code", classes[c]}),
			mica_metric_get(&m->unrouted[c]));
}

void metrics_write(const struct metrics *m, metric_route *route, struct mica_buf *out)
{
	const struct {
		const mica_metric_counter *c;
		const char *name, *help;
	} plain[] = {
		{&m->rate_limited, "mica_rate_limited_total",
			"Requests that were answered 429 before any work."},
		{&m->keys_refreshed, "mica_issuer_key_refreshes_total",
			"Refreshes of an issuer's keys that an unknown key asked for."},
		{&m->reviews, "mica_token_reviews_total", "TokenReviews that were asked."},
		{&m->conflicts, "mica_issuance_conflicts_total",
			"Decisions that were made again because what they rest on had changed."},
		{&m->watchers_refused, "mica_watchers_refused_total",
			"Long polls that were refused because too many waited."},
	};

	mica_metric_family(out, "mica_issuance_total", "counter",
		"Requests for SVIDs by kind and outcome; failed is our own trouble.");
	for (size_t k = 0; k < METRIC_KINDS; k++)
		for (size_t o = 0; o < METRIC_OUTCOMES; o++)
			mica_metric_u64(out, "mica_issuance_total",
				MICA_METRIC_LABELS({"kind", kinds[k]}, {"outcome", outcomes[o]}),
				mica_metric_get(&m->issuance[k][o]));
	write_stages(m, out);
	write_reasons(m, out);
	write_requests(m, route, out);
	for (size_t i = 0; i < MICA_ARRAY_LEN(plain); i++) {
		mica_metric_family(out, plain[i].name, "counter", plain[i].help);
		mica_metric_u64(out, plain[i].name, NULL, 0, mica_metric_get(plain[i].c));
	}
}
