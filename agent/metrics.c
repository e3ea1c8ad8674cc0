/* SPDX-License-Identifier: Apache-2.0 */
#include "metrics.h"

#include "mica/clock.h"
#include "mica/http_plain.h"

struct metrics {
	struct metrics_options o;
	int64_t started_ms;
	struct mica_http_plain *http;
};

bool metrics_ready(const struct agent_config *c, const struct keep_view *v, int64_t now_ms,
	struct mica_buf *missing)
{
	bool ready = v->trust != NULL;

	if (!ready)
		mica_buf_put_str(missing, "no trust bundle\n");
	for (unsigned i = 0; i < c->n_identities; i++) {
		if (v->svid[i] && v->svid[i]->times.not_after > now_ms)
			continue;
		mica_buf_printf(missing, "no valid certificate for the identity %s\n",
			c->identities[i].name);
		ready = false;
	}
	return ready;
}

/* ---- figures ------------------------------------------------------------------------------- */

static void look_at_svids(
	const struct agent_config *c, const struct keep_view *v, struct figures_now *n)
{
	MICA_AUTO_BUF missing;

	mica_buf_init(&missing, 16384);
	n->identities = c->n_identities;
	n->ready = metrics_ready(c, v, n->now_ms, &missing);
	n->x509_end_ms = INT64_MAX;
	for (unsigned i = 0; i < c->n_identities; i++) {
		const int64_t end = v->svid[i] ? v->svid[i]->times.not_after : 0;

		if (end > n->now_ms)
			n->x509++;
		if (end < n->x509_end_ms)
			n->x509_end_ms = end;
	}
	if (v->trust) {
		n->sequence = v->trust->sequence;
		n->roots = v->trust->n_roots;
	}
}

static void put_figures(struct metrics *m, struct mica_buf *out)
{
	struct figures_now n = {.version = MICA_VERSION,
		.now_ms = mica_now_ms(),
		.mono_ms = mica_mono_ms(),
		.started_ms = m->started_ms};
	AUTO_KEEP_VIEW v = {.version = 0};
	struct mica_rpc_stats s;

	keep_view_get(m->o.keep, &v);
	look_at_svids(m->o.config, &v, &n);
	jwt_cache_held(m->o.jwts, n.now_ms, &n.jwt, &n.jwt_end_ms);
	workload_streams(m->o.workload, &n.streams[FIGURE_X509_SVID],
		&n.streams[FIGURE_X509_BUNDLES], &n.streams[FIGURE_JWT_BUNDLES]);
	sds_streams(m->o.sds, &n.streams[FIGURE_SDS], &n.streams[FIGURE_SDS_DELTA]);
	mica_rpc_server_stats(m->o.server, &s);
	n.connections = s.connections_now;
	n.calls = s.calls;
	figures_write(m->o.figures, &n, out);
}

/* ---- serving ------------------------------------------------------------------------------- */

static void put_ready(struct metrics *m, struct mica_http_plain_answer *out)
{
	AUTO_KEEP_VIEW v = {.version = 0};

	keep_view_get(m->o.keep, &v);
	out->status = 503;
	if (!metrics_ready(m->o.config, &v, mica_now_ms(), &out->body))
		return;
	out->status = 200;
	mica_buf_put_str(&out->body, "ready\n");
}

static void get(void *ctx, struct mica_slice path, struct mica_http_plain_answer *out)
{
	struct metrics *m = ctx;

	if (mica_slice_eq_str(path, "/metrics")) {
		out->status = 200;
		out->type = "text/plain; version=0.0.4; charset=utf-8";
		put_figures(m, &out->body);
	} else if (mica_slice_eq_str(path, "/healthz")) {
		out->status = 200;
		mica_buf_put_str(&out->body, "ok\n");
	} else if (mica_slice_eq_str(path, "/readyz")) {
		put_ready(m, out);
	}
}

mica_rc metrics_new(const struct metrics_options *o, struct metrics **out, struct mica_err *e)
{
	const struct agent_config *c = o->config;
	struct metrics *m;
	mica_rc rc;

	*out = NULL;
	if (c->metrics.listen[0] == '\0')
		return MICA_OK;
	m = MICA_NEW(struct metrics);
	m->o = *o;
	m->started_ms = mica_now_ms();
	rc = mica_http_plain_new(
		&(struct mica_http_plain_options){.host = c->metrics.host,
			.port = c->metrics.port,
			.unix_path = c->metrics.listen[0] == '/' ? c->metrics.listen : NULL,
			.get = get,
			.ctx = m},
		&m->http, e);
	if (rc == MICA_OK)
		*out = m;
	else
		mica_free(m);
	return rc;
}

const char *metrics_address(const struct metrics *m)
{
	return m ? mica_http_plain_address(m->http) : "";
}

void metrics_stop(struct metrics *m)
{
	if (!m)
		return;
	mica_http_plain_stop(m->http);
	mica_free(m);
}
