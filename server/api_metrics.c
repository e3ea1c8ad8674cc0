/* SPDX-License-Identifier: Apache-2.0 */
/* GET /metrics: what the API counts, and what others know. */
#include "api_impl.h"

#include "decisions.h"
#include "grpc.h"
#include "keys.h"
#include "kube.h"
#include "plugged.h"
#include "policies_dir.h"

#include "mica/log.h"

#define ISSUERS_MAX 64
#define TEXT_MAX    (4u << 20)

const char *const api_listener_names[API_LISTENER_COUNT] = {"https", "watch", "admin", "metrics"};

struct mica_keys_status *api_keys_status(struct api *a, unsigned *n)
{
	struct mica_keys_status *s = mica_calloc(ISSUERS_MAX, sizeof(*s));

	*n = a->desk->keys ? mica_keys_status(a->desk->keys, s, ISSUERS_MAX) : 0;
	if (*n > ISSUERS_MAX)
		*n = ISSUERS_MAX;
	return s;
}

struct mica_kube_status *api_review_status(struct api *a, unsigned *n)
{
	struct mica_kube_status *s = mica_calloc(ISSUERS_MAX, sizeof(*s));

	*n = a->desk->kube ? mica_kube_status(a->desk->kube, s, ISSUERS_MAX) : 0;
	if (*n > ISSUERS_MAX)
		*n = ISSUERS_MAX;
	return s;
}

static const char *route_name(unsigned i, const char **method)
{
	static const char *const names[] = {[HTTP_GET] = "GET",
		[HTTP_POST] = "POST",
		[HTTP_PUT] = "PUT",
		[HTTP_DELETE] = "DELETE"};

	if (i >= api_n_routes)
		return NULL;
	*method = names[api_routes[i].method];
	return api_routes[i].path;
}

struct figure {
	const char *name, *type, *help;
	uint64_t v;
};

static void put_figures(struct mica_buf *b, const struct figure *f, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		mica_metric_family(b, f[i].name, f[i].type, f[i].help);
		mica_metric_u64(b, f[i].name, NULL, 0, f[i].v);
	}
}

static uint64_t seconds(int64_t t)
{
	return t > 0 ? (uint64_t)t : 0;
}

static void put_core(struct api *a, struct mica_buf *b)
{
	struct mica_core_stats s;

	mica_core_stats(a->desk->core, &s);
	const struct figure f[] = {
		{"mica_ledger_entries", "gauge", "Entries of the published tree.", s.entries},
		{"mica_ledger_index_lag_entries", "gauge",
			"Entries that are not in the derived indexes yet.", s.index_lag},
		{"mica_store_bytes", "gauge", "Size of the store.", s.store_bytes},
		{"mica_store_disk_free_bytes", "gauge", "Free space where the store is.",
			s.disk_free_bytes},
		{"mica_store_space_low", "gauge", "1 = too little space to issue.", s.space_low},
		{"mica_root_expiry_seconds", "gauge",
			"End of the active root, in seconds since 1970.",
			seconds(s.root_not_after)},
		{"mica_issuing_expiry_seconds", "gauge",
			"End of the active issuing authority, in seconds since 1970.",
			seconds(s.issuing_not_after)},
		{"mica_jwt_key_expiry_seconds", "gauge",
			"End of the active JWT key, in seconds since 1970.",
			seconds(s.jwt_key_not_after)},
		{"mica_bundle_sequence", "gauge", "Sequence of the live bundle.",
			s.bundle_sequence},
		{"mica_clock_frozen", "gauge",
			"1 = the clock disagrees with what was seen, and nothing rotates by time.",
			s.clock_frozen},
		{"mica_clock_unproven", "gauge",
			"1 = no other clock has agreed since the start, and nothing leaves by "
			"plan.",
			s.clock_unproven},
		{"mica_lineage_certificates", "gauge", "Certificates whose line is followed.",
			s.lineage_links},
		{"mica_lineage_forks_total", "counter", "Lines whose certificates two holders use.",
			s.lineage_forks},
		{"mica_lineage_untracked_total", "counter",
			"Certificates whose line is not followed, for want of room.",
			s.lineage_untracked},
		{"mica_renewals_missed_total", "counter",
			"Lines that ended with nothing behind them.", s.renewals_missed},
		{"mica_signatures_ahead", "gauge",
			"Issuing authorities that an offline root has signed and that wait.",
			s.signed_ahead},
		{"mica_signature_needed", "gauge",
			"1 = an offline root has to sign again; by when says the next one.",
			s.signature_needed},
		{"mica_signature_needed_by_seconds", "gauge",
			"When nothing can follow what signs, in seconds since 1970; 0 = never.",
			seconds(s.signature_by)},
		{"mica_compromise_exposed_holders", "gauge",
			"Holders that still have something of a compromised authority.", s.exposed},
		{"mica_compromise_renewal_seconds", "gauge",
			"How long it took in the last compromise until everybody had renewed.",
			seconds(s.renewal_seconds)},
		{"mica_revoked_certificates", "gauge", "Certificates that CRLs name.", s.revoked},
		{"mica_crls", "gauge", "CRLs that are published.", s.crls},
		{"mica_crls_late", "gauge",
			"CRLs that have passed the half of their life and were not signed anew.",
			s.crls_late},
		{"mica_crl_expiry_seconds", "gauge",
			"The first nextUpdate of a published CRL, in seconds since 1970.",
			seconds(s.crl_end)},
	};
	put_figures(b, f, MICA_ARRAY_LEN(f));
}

static void put_committer(struct api *a, struct mica_buf *b)
{
	struct committer_stats s;

	committer_stats(a->desk->committer, &s);
	const struct figure f[] = {
		{"mica_commit_queue", "gauge", "Signed and not recorded yet.", s.queued},
		{"mica_commits_total", "counter", "Durable commits.", s.commits},
		{"mica_commit_entries_total", "counter", "Entries that they recorded.", s.entries},
		{"mica_commit_conflicts_total", "counter",
			"Decisions that a change overtook before they were recorded.", s.conflicts},
		{"mica_commit_refused_total", "counter", "Refused because the queue was full.",
			s.refused},
	};
	put_figures(b, f, MICA_ARRAY_LEN(f));
	mica_metric_family(
		b, "mica_commit_last_duration_seconds", "gauge", "How long the last one took.");
	mica_metric_seconds(b, "mica_commit_last_duration_seconds", NULL, 0, s.last_commit_ns);
}

static void put_http(struct api *a, struct mica_buf *b)
{
	static const struct {
		const char *name, *type, *help;
		size_t at;
	} f[] = {
#define AT(x) offsetof(struct http_stats, x)
		{"mica_http_connections", "gauge", "Open connections.", AT(connections_now)},
		{"mica_http_connections_total", "counter", "Connections taken.", AT(connections)},
		{"mica_http_connections_refused_total", "counter", "Connections not taken.",
			AT(refused_connections)},
		{"mica_http_received_total", "counter", "Requests received.", AT(requests)},
		{"mica_http_guard_refused_total", "counter",
			"Requests that are not well-formed HTTP/1.1.", AT(guard_refused)},
		{"mica_http_timeouts_total", "counter", "Requests that took too long.",
			AT(timeouts)},
		{"mica_http_tls_failed_total", "counter", "Handshakes that failed.",
			AT(tls_failed)},
		{"mica_http_deferred", "gauge", "Requests whose answer comes later.",
			AT(deferred_now)},
		{"mica_http_sent_bytes_total", "counter", "Bytes of bodies that were sent.",
			AT(bytes_out)},
#undef AT
	};
	struct http_stats s[API_LISTENER_COUNT];
	bool on[API_LISTENER_COUNT];

	for (unsigned l = 0; l < API_LISTENER_COUNT; l++) {
		struct http_server *server = atomic_load(&a->door[l].server);
		on[l] = server != NULL;
		if (server)
			http_server_stats(server, &s[l]);
	}
	for (size_t i = 0; i < MICA_ARRAY_LEN(f); i++) {
		mica_metric_family(b, f[i].name, f[i].type, f[i].help);
		for (unsigned l = 0; l < API_LISTENER_COUNT; l++) {
			uint64_t v;
			if (!on[l])
				continue;
			memcpy(&v, (const char *)&s[l] + f[i].at, sizeof(v));
			mica_metric_u64(b, f[i].name,
				MICA_METRIC_LABELS({"listener", api_listener_names[l]}), v);
		}
	}
}

static void put_issuers(struct api *a, struct mica_buf *b)
{
	static const struct {
		const char *name, *type, *help;
	} f[] = {
		{"mica_issuer_keys", "gauge", "Usable keys of an issuer."},
		{"mica_issuer_keys_skipped", "gauge",
			"Keys of its last document that could not be used."},
		{"mica_issuer_keys_age_seconds", "gauge",
			"Time since the keys in force were fetched; -1 = there are none."},
		{"mica_issuer_key_fetches_total", "counter", "Fetches that went well."},
		{"mica_issuer_key_failures_total", "counter", "Fetches that failed."},
	};
	unsigned n;
	MICA_AUTO_FREE struct mica_keys_status *s = api_keys_status(a, &n);

	for (unsigned k = 0; k < MICA_ARRAY_LEN(f); k++) {
		mica_metric_family(b, f[k].name, f[k].type, f[k].help);
		for (unsigned i = 0; i < n; i++) {
			const int64_t v[] = {s[i].keys, s[i].skipped, s[i].age,
				(int64_t)s[i].fetches_ok, (int64_t)s[i].fetches_failed};
			mica_metric_i64(
				b, f[k].name, MICA_METRIC_LABELS({"issuer", s[i].issuer}), v[k]);
		}
	}
}

static void put_reviews(struct api *a, struct mica_buf *b)
{
	static const struct {
		const char *name, *type, *help;
	} f[] = {
		{"mica_review_asked_total", "counter", "Questions to an issuer's API server."},
		{"mica_review_failed_total", "counter", "Of these, without a usable answer."},
		{"mica_review_shared_total", "counter", "Callers who got another's answer."},
		{"mica_review_refused_total", "counter", "Callers who could not be waited for."},
		{"mica_review_allowed_total", "counter", "Callers let in unasked (on_failure)."},
		{"mica_review_waiting", "gauge", "Questions that wait or are under way."},
	};
	unsigned n;
	MICA_AUTO_FREE struct mica_kube_status *s = api_review_status(a, &n);

	for (unsigned k = 0; k < MICA_ARRAY_LEN(f); k++) {
		mica_metric_family(b, f[k].name, f[k].type, f[k].help);
		for (unsigned i = 0; i < n; i++) {
			const uint64_t v[] = {s[i].asked, s[i].failed, s[i].shared,
				s[i].refused_full + s[i].refused_resting, s[i].allowed,
				(uint64_t)s[i].queued + s[i].running};
			mica_metric_u64(
				b, f[k].name, MICA_METRIC_LABELS({"issuer", s[i].issuer}), v[k]);
		}
	}
}

static void put_plugged(struct api *a, struct mica_buf *b)
{
	struct plugged_status s;

	if (!a->o.plugged)
		return;
	plugged_status(a->o.plugged, &s);
	const struct figure f[] = {
		{"mica_plugged_valid", "gauge", "1 = what is in plugged.directory now was taken.",
			s.valid},
		{"mica_plugged_taken_total", "counter", "Changes there that were taken.", s.taken},
		{"mica_plugged_refused_total", "counter", "Changes there that were refused.",
			s.refused},
	};
	put_figures(b, f, MICA_ARRAY_LEN(f));
}

static void put_policies_dir(struct api *a, struct mica_buf *b)
{
	struct policies_dir_status s;

	if (!a->o.policies_dir)
		return;
	policies_dir_status(a->o.policies_dir, &s);
	const struct figure f[] = {
		{"mica_policies_directory_valid", "gauge",
			"1 = what is in policies.directory now was taken.", s.valid},
		{"mica_policies_directory_taken_total", "counter", "Changes there that were taken.",
			s.taken},
		{"mica_policies_directory_refused_total", "counter",
			"Changes there that were refused.", s.refused},
	};
	put_figures(b, f, MICA_ARRAY_LEN(f));
}

static void put_policies(struct api *a, struct mica_buf *b)
{
	struct mica_docs_stats s;

	mica_core_policies_stats(a->desk->core, &s);
	mica_metric_family(b, "mica_policies", "gauge", "Policies in force, by channel.");
	for (int ch = 0; ch < MICA_CHANNEL_COUNT; ch++)
		mica_metric_u64(b, "mica_policies",
			MICA_METRIC_LABELS({"channel", api_channel_words[ch]}), s.documents[ch]);
	mica_metric_family(b, "mica_policies_sequence", "gauge",
		"Number of the last change of policies, by channel.");
	for (int ch = 0; ch < MICA_CHANNEL_COUNT; ch++)
		mica_metric_u64(b, "mica_policies_sequence",
			MICA_METRIC_LABELS({"channel", api_channel_words[ch]}), s.sequence[ch]);
	const struct figure f[] = {
		{"mica_policies_waiting", "gauge",
			"Policies that are otherwise in the canary channel.", s.waiting},
		{"mica_policies_dry_run", "gauge", "Live policies that decide nothing.", s.dry_run},
		{"mica_policies_behind", "gauge",
			"1 = decisions go by older policies than those in force.",
			policies_behind(a->desk->policies)},
	};
	put_figures(b, f, MICA_ARRAY_LEN(f));
	put_policies_dir(a, b);
}

static void put_node_pods(struct api *a, struct mica_buf *b)
{
	static const struct {
		const char *name, *type, *help;
	} f[] = {
		{"mica_node_pods_asked_total", "counter", "Lists of a node's pods asked for."},
		{"mica_node_pods_failed_total", "counter", "Of these, not had."},
		{"mica_node_pods_shared_total", "counter", "Callers who got another's list."},
		{"mica_node_pods_refused_total", "counter", "Callers who could not be waited for."},
		{"mica_node_pods_nodes", "gauge", "Nodes whose pods are remembered."},
	};
	MICA_AUTO_FREE struct mica_kube_pods_status *s = mica_calloc(ISSUERS_MAX, sizeof(*s));
	unsigned n = a->desk->kube ? mica_kube_pods_status(a->desk->kube, s, ISSUERS_MAX) : 0;

	for (unsigned k = 0; n > 0 && k < MICA_ARRAY_LEN(f); k++) {
		mica_metric_family(b, f[k].name, f[k].type, f[k].help);
		for (unsigned i = 0; i < n && i < ISSUERS_MAX; i++) {
			const uint64_t v[] = {
				s[i].asked, s[i].failed, s[i].shared, s[i].refused, s[i].nodes};
			mica_metric_u64(
				b, f[k].name, MICA_METRIC_LABELS({"issuer", s[i].issuer}), v[k]);
		}
	}
}

static void put_own(struct api *a, struct mica_buf *b)
{
	const struct figure f[] = {
		{"mica_under_way", "gauge", "Requests for SVIDs that are not answered yet.",
			atomic_load(&a->desk->under_way)},
		{"mica_parked", "gauge",
			"Requests that wait for an issuer's keys or a TokenReview.",
			atomic_load(&a->desk->parked)},
		{"mica_draining", "gauge", "1 = about to end.", atomic_load(&a->desk->draining)},
		{"mica_start_time_seconds", "gauge", "When it started, in seconds since 1970.",
			seconds(a->started)},
		{"mica_log_lines_dropped_total", "counter", "Log lines that nobody read in time.",
			mica_log_dropped()},
	};

	put_figures(b, f, MICA_ARRAY_LEN(f));
	mica_metric_family(b, "mica_watchers", "gauge", "Long polls that wait.");
	mica_metric_u64(b, "mica_watchers", MICA_METRIC_LABELS({"listener", "watch"}),
		watch_count(a->watch, false));
	mica_metric_u64(b, "mica_watchers", MICA_METRIC_LABELS({"listener", "shared"}),
		watch_count(a->watch, true));
	mica_metric_family(b, "mica_build_info", "gauge", "Always 1; the version is in its label.");
	mica_metric_u64(b, "mica_build_info",
		MICA_METRIC_LABELS({"version", a->o.version ? a->o.version : ""}), 1);
}

void api_metrics(struct api_call *c)
{
	struct api *a = c->a;
	struct mica_buf *b = &c->out;
	struct grpc *g;

	mica_buf_init(b, TEXT_MAX);
	put_own(a, b);
	metrics_write(&a->desk->m, route_name, b);
	decisions_write_metrics(a->desk->decisions, b);
	put_committer(a, b);
	put_core(a, b);
	put_issuers(a, b);
	put_reviews(a, b);
	put_plugged(a, b);
	put_policies(a, b);
	put_node_pods(a, b);
	put_http(a, b);
	g = atomic_load(&a->grpc);
	if (g)
		grpc_write_metrics(g, b);
	mica_metric_process(b);
	api_send(c, 200, "text/plain; version=0.0.4; charset=utf-8", NULL);
}
