/* SPDX-License-Identifier: Apache-2.0 */
#include "figures.h"

#include "mica/log.h"

static const char *const kinds[FIGURE_KINDS] = {"x509", "jwt", "bundle", "files", "program"};
static const char *const lines[FIGURE_LINES] = {"requests", "watch"};
static const char *const streams[FIGURE_STREAMS] = {
	"x509_svid", "x509_bundles", "jwt_bundles", "sds", "sds_delta"};

void figures_ok(struct figures *f, enum figure_kind k)
{
	if (f)
		mica_metric_add(&f->kind[k].ok, 1);
}

void figures_failed(struct figures *f, enum figure_kind k, int64_t now_ms)
{
	if (!f)
		return;
	mica_metric_add(&f->kind[k].failed, 1);
	atomic_store(&f->kind[k].failed_at, now_ms / 1000);
}

void figures_reached(struct figures *f, enum figure_line l, bool reached)
{
	if (f)
		atomic_store(&f->reached[l], reached);
}

void figures_bundle(struct figures *f, int64_t mono_ms)
{
	if (f)
		atomic_store(&f->bundle_ms, mono_ms);
}

void figures_nack(struct figures *f)
{
	if (f)
		mica_metric_add(&f->sds_nacks, 1);
}

/* ---- writing ------------------------------------------------------------------------------- */

static int64_t seconds_left(int64_t end_ms, int64_t now_ms)
{
	return end_ms > now_ms ? (end_ms - now_ms) / 1000 : 0;
}

static void put_svids(const struct figures_now *n, struct mica_buf *out)
{
	const char *held = "mica_agent_svids", *left = "mica_agent_svid_left_seconds";

	mica_metric_family(out, held, "gauge", "SVIDs that are held and valid.");
	mica_metric_u64(out, held, MICA_METRIC_LABELS({"kind", "x509"}), n->x509);
	mica_metric_u64(out, held, MICA_METRIC_LABELS({"kind", "jwt"}), n->jwt);
	mica_metric_family(out, left, "gauge",
		"Seconds until the first of them ends; x509: 0 when an identity has none.");
	mica_metric_i64(out, left, MICA_METRIC_LABELS({"kind", "x509"}),
		seconds_left(n->x509_end_ms, n->now_ms));
	if (n->jwt > 0)
		mica_metric_i64(out, left, MICA_METRIC_LABELS({"kind", "jwt"}),
			seconds_left(n->jwt_end_ms, n->now_ms));
}

static void put_results(const struct figures *f, struct mica_buf *out)
{
	const char *done = "mica_agent_results_total", *at = "mica_agent_failed_seconds";

	mica_metric_family(out, done, "counter",
		"SVIDs asked for, exchanges about the bundle, sets of files, programs told.");
	for (unsigned k = 0; k < FIGURE_KINDS; k++) {
		mica_metric_u64(out, done,
			MICA_METRIC_LABELS({"kind", kinds[k]}, {"outcome", "ok"}),
			mica_metric_get(&f->kind[k].ok));
		mica_metric_u64(out, done,
			MICA_METRIC_LABELS({"kind", kinds[k]}, {"outcome", "failed"}),
			mica_metric_get(&f->kind[k].failed));
	}
	mica_metric_family(
		out, at, "gauge", "When it failed last, in seconds since 1970; 0 = never.");
	for (unsigned k = 0; k < FIGURE_KINDS; k++)
		mica_metric_i64(out, at, MICA_METRIC_LABELS({"kind", kinds[k]}),
			atomic_load(&f->kind[k].failed_at));
}

static void put_bundle(const struct figures *f, const struct figures_now *n, struct mica_buf *out)
{
	const char *age = "mica_agent_bundle_age_seconds";
	const int64_t said = atomic_load(&f->bundle_ms);

	mica_metric_family(out, age, "gauge",
		"Time since micad said that the bundle is the newest; -1 = not since the start.");
	mica_metric_i64(out, age, NULL, 0, said ? (n->mono_ms - said) / 1000 : -1);
}

static void put_lines(const struct figures *f, struct mica_buf *out)
{
	const char *name = "mica_agent_micad_reachable";

	mica_metric_family(out, name, "gauge", "1 = the last exchange with micad had an answer.");
	for (unsigned l = 0; l < FIGURE_LINES; l++)
		mica_metric_u64(out, name, MICA_METRIC_LABELS({"connection", lines[l]}),
			atomic_load(&f->reached[l]));
}

static void put_plain(const struct figures *f, const struct figures_now *n, struct mica_buf *out)
{
	const struct {
		const char *name, *type, *help;
		uint64_t v;
	} rows[] = {
		{"mica_agent_ready", "gauge",
			"1 = each identity has a valid certificate, and there is a bundle.",
			n->ready},
		{"mica_agent_identities", "gauge", "Identities of the configuration.",
			n->identities},
		{"mica_agent_bundle_sequence", "gauge", "Sequence of the bundle; 0 = none.",
			n->sequence},
		{"mica_agent_bundle_roots", "gauge", "Roots in it.", n->roots},
		{"mica_agent_connections", "gauge", "Connections to the socket.", n->connections},
		{"mica_agent_calls_total", "counter", "Calls over them.", n->calls},
		{"mica_agent_sds_nacks_total", "counter", "Answers that an Envoy refused.",
			mica_metric_get(&f->sds_nacks)},
		{"mica_agent_start_time_seconds", "gauge",
			"When it started, in seconds since 1970.", (uint64_t)n->started_ms / 1000},
		{"mica_agent_log_lines_dropped_total", "counter",
			"Log lines that nobody read in time.", mica_log_dropped()},
	};

	for (size_t i = 0; i < MICA_ARRAY_LEN(rows); i++) {
		mica_metric_family(out, rows[i].name, rows[i].type, rows[i].help);
		mica_metric_u64(out, rows[i].name, NULL, 0, rows[i].v);
	}
}

void figures_write(const struct figures *f, const struct figures_now *n, struct mica_buf *out)
{
	const char *open = "mica_agent_streams", *build = "mica_agent_build_info";

	put_plain(f, n, out);
	put_svids(n, out);
	put_results(f, out);
	put_bundle(f, n, out);
	put_lines(f, out);
	mica_metric_family(out, open, "gauge", "Streams that are open, by what they get.");
	for (unsigned i = 0; i < FIGURE_STREAMS; i++)
		mica_metric_u64(out, open, MICA_METRIC_LABELS({"api", streams[i]}), n->streams[i]);
	mica_metric_family(out, build, "gauge", "Always 1; the version is in its label.");
	mica_metric_u64(out, build, MICA_METRIC_LABELS({"version", n->version}), 1);
	mica_metric_process(out);
}
