/* SPDX-License-Identifier: Apache-2.0 */
#include "metrics.h"

#include "mica/clock.h"
#include "mica/file.h"

#include <dirent.h>
#include <inttypes.h>

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
	metric_add(&h->bucket[i], 1);
	metric_add(&h->sum_ns, (uint64_t)ns);
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
			metric_add(&r->slot[at].n, 1);
			return;
		}
	}
	metric_add(&r->other, 1);
}

/* ---- writing ------------------------------------------------------------------------------- */

void metric_family(struct mica_buf *out, const char *name, const char *type, const char *help)
{
	mica_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* Text format 0.0.4: in a label value \, " and newline are escaped. */
static void put_label_value(struct mica_buf *out, const char *s)
{
	for (; *s; s++) {
		if (*s == '\\' || *s == '"')
			mica_buf_put_u8(out, '\\');
		if (*s == '\n')
			mica_buf_put_str(out, "\\n");
		else
			mica_buf_put_u8(out, (uint8_t)*s);
	}
}

static void put_name(
	struct mica_buf *out, const char *name, const struct metric_labels *labels, size_t n_labels)
{
	mica_buf_put_str(out, name);
	for (size_t i = 0; i < n_labels; i++) {
		mica_buf_put_u8(out, i ? ',' : '{');
		mica_buf_put_str(out, labels[i].key);
		mica_buf_put_str(out, "=\"");
		put_label_value(out, labels[i].value);
		mica_buf_put_u8(out, '"');
	}
	mica_buf_put_str(out, n_labels ? "} " : " ");
}

void metric_u64(struct mica_buf *out, const char *name, const struct metric_labels *labels,
	size_t n_labels, uint64_t v)
{
	put_name(out, name, labels, n_labels);
	mica_buf_printf(out, "%" PRIu64 "\n", v);
}

void metric_i64(struct mica_buf *out, const char *name, const struct metric_labels *labels,
	size_t n_labels, int64_t v)
{
	put_name(out, name, labels, n_labels);
	mica_buf_printf(out, "%" PRId64 "\n", v);
}

void metric_seconds(struct mica_buf *out, const char *name, const struct metric_labels *labels,
	size_t n_labels, int64_t ns)
{
	put_name(out, name, labels, n_labels);
	mica_buf_printf(out, "%s%" PRId64 ".%09" PRId64 "\n", ns < 0 ? "-" : "",
		(ns < 0 ? -ns : ns) / 1000000000, (ns < 0 ? -ns : ns) % 1000000000);
}

static const char *const kinds[METRIC_KINDS] = {"x509", "jwt"};
static const char *const outcomes[METRIC_OUTCOMES] = {"issued", "replayed", "refused", "failed"};
static const char *const stages[METRIC_STAGES] = {"auth", "sign", "commit", "total"};
static const char *const classes[METRIC_CLASSES] = {"2xx", "3xx", "4xx", "5xx"};

static void write_stages(const struct metrics *m, struct mica_buf *out)
{
	const char *name = "mica_issuance_duration_seconds";
	metric_family(out, name, "histogram",
		"Time that issuing took, by stage: to know who asks, to decide and sign, to record "
		"durably, and from request to answer.");
	for (size_t s = 0; s < METRIC_STAGES; s++) {
		const struct metric_histogram *h = &m->stage[s];
		uint64_t all = 0;
		for (size_t i = 0; i <= METRIC_BUCKETS; i++) {
			all += metric_get(&h->bucket[i]);
			metric_u64(out, "mica_issuance_duration_seconds_bucket",
				METRIC_LABELS({"stage", stages[s]}, {"le", bound_names[i]}), all);
		}
		metric_seconds(out, "mica_issuance_duration_seconds_sum",
			METRIC_LABELS({"stage", stages[s]}), (int64_t)metric_get(&h->sum_ns));
		metric_u64(out, "mica_issuance_duration_seconds_count",
			METRIC_LABELS({"stage", stages[s]}), all);
	}
}

static void write_reasons(const struct metrics *m, struct mica_buf *out)
{
	const char *name = "mica_refusals_total";
	metric_family(out, name, "counter", "Requests that were not served, by reason.");
	for (size_t i = 0; i < METRIC_REASONS; i++) {
		const char *reason = atomic_load(&m->refused.slot[i].reason);
		if (reason)
			metric_u64(out, name, METRIC_LABELS({"reason", reason}),
				metric_get(&m->refused.slot[i].n));
	}
	metric_u64(out, name, METRIC_LABELS({"reason", "other"}), metric_get(&m->refused.other));
}

static void write_requests(
	const struct metrics *m, const char *(*route)(unsigned i), struct mica_buf *out)
{
	const char *name = "mica_http_requests_total", *r;
	metric_family(
		out, name, "counter", "Requests that were answered, by route and class of status.");
	for (unsigned i = 0; i < METRIC_ROUTES && (r = route(i)) != NULL; i++)
		for (size_t c = 0; c < METRIC_CLASSES; c++)
			metric_u64(out, name, METRIC_LABELS({"route", r}, {"code", classes[c]}),
				metric_get(&m->requests[i][c]));
	for (size_t c = 0; c < METRIC_CLASSES; c++)
		metric_u64(out, name, METRIC_LABELS({"route", "none"}, {"code", classes[c]}),
			metric_get(&m->unrouted[c]));
}

void metrics_write(const struct metrics *m, const char *(*route)(unsigned i), struct mica_buf *out)
{
	const struct {
		const metric_counter *c;
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

	metric_family(out, "mica_issuance_total", "counter",
		"Requests for SVIDs by kind and outcome; failed is our own trouble.");
	for (size_t k = 0; k < METRIC_KINDS; k++)
		for (size_t o = 0; o < METRIC_OUTCOMES; o++)
			metric_u64(out, "mica_issuance_total",
				METRIC_LABELS({"kind", kinds[k]}, {"outcome", outcomes[o]}),
				metric_get(&m->issuance[k][o]));
	write_stages(m, out);
	write_reasons(m, out);
	write_requests(m, route, out);
	for (size_t i = 0; i < MICA_ARRAY_LEN(plain); i++) {
		metric_family(out, plain[i].name, "counter", plain[i].help);
		metric_u64(out, plain[i].name, NULL, 0, metric_get(plain[i].c));
	}
}

/* ---- the process --------------------------------------------------------------------------- */

/* proc(5): statm is "size resident ..." in pages. */
static uint64_t resident_bytes(void)
{
	MICA_AUTO_BUF b;
	struct mica_err e = MICA_ERR_INIT;
	struct mica_slice s, word;
	uint64_t pages = 0;
	long page = sysconf(_SC_PAGESIZE);

	mica_buf_init(&b, 256);
	if (mica_file_read("/proc/self/statm", &b, &e) != MICA_OK || page <= 0)
		return 0;
	s = mica_buf_slice(&b);
	if (!mica_slice_cut(&s, ' ', &word) || !mica_slice_cut(&s, ' ', &word) ||
		mica_parse_u64(word, UINT64_MAX / (uint64_t)page, &pages) != MICA_OK)
		return 0;
	return pages * (uint64_t)page;
}

static uint64_t open_files(void)
{
	DIR *d = opendir("/proc/self/fd");
	uint64_t n = 0;
	if (!d)
		return 0;
	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n > 3 ? n - 3 : 0; /* ".", ".." and the folder itself */
}

void metrics_write_process(struct mica_buf *out)
{
	metric_family(
		out, "mica_process_cpu_seconds_total", "counter", "CPU time of this process.");
	metric_seconds(out, "mica_process_cpu_seconds_total", NULL, 0, mica_process_cpu_ns());
	metric_family(out, "mica_process_resident_memory_bytes", "gauge", "Memory in RAM.");
	metric_u64(out, "mica_process_resident_memory_bytes", NULL, 0, resident_bytes());
	metric_family(out, "mica_process_open_fds", "gauge", "Open files and sockets.");
	metric_u64(out, "mica_process_open_fds", NULL, 0, open_files());
}
