/* SPDX-License-Identifier: Apache-2.0 */
#include "grpc_impl.h"

#include "api_decode.h"
#include "limits.h"
#include "linkerd_policy.h"
#include "peers.h"

#include "mica/clock.h"
#include "mica/log.h"
#include "mica/threads.h"

#include <unistd.h>

#define SERVICES_MAX 8
#define CALL_MS      20000 /* pilot-agent and linkerd2-proxy wait for ever: we do not let them */
#define PEERS_MAX    16384 /* certificates of peers that Envoys ask about: 1 MiB, and their names */
#define MAX_STREAMS  256 /* a node's proxy brings all of its workloads on one connection */

/* What is counted by its own name. */
static const char *const methods[] = {
	GRPC_ISTIO_METHOD,
	GRPC_LINKERD_METHOD,
	GRPC_LINKERD_WATCH_METHOD,
	GRPC_LINKERD_GET_METHOD,
	GRPC_EXT_AUTHZ_METHOD,
	"/grpc.health.v1.Health/Check",
	"/grpc.health.v1.Health/Watch",
	"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
	"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
};
#define METHODS MICA_ARRAY_LEN(methods)

struct grpc {
	struct desk *desk;
	_Atomic(struct mica_rpc_server *) server;
	struct mica_rpc_service services[SERVICES_MAX];
	size_t n_services;
	int at[GRPC_LISTENERS]; /* index of the server's listener; -1 = off */
	struct mica_string_list clusters;
	struct linkerd_policy *policies;
	struct peers *peers;
	mica_metric_counter calls[METHODS + 1][MICA_RPC_CODES]; /* the last row: all other paths */
};

struct desk *grpc_desk(struct grpc *g)
{
	return g->desk;
}

struct linkerd_policy *grpc_linkerd_policies(struct grpc *g)
{
	return g->policies;
}

struct peers *grpc_peers(struct grpc *g)
{
	return g->peers;
}

bool grpc_knows_cluster(const struct grpc *g, struct mica_slice cluster)
{
	for (unsigned i = 0; i < g->clusters.n; i++)
		if (mica_slice_eq_str(cluster, g->clusters.v[i]))
			return true;
	return false;
}

static size_t method_index(struct mica_slice path)
{
	size_t i = 0;

	while (i < METHODS && !mica_slice_eq_str(path, methods[i]))
		i++;
	return i;
}

/* ---- calls --------------------------------------------------------------------------------- */

static void peer_of(const struct mica_rpc_peer *p, struct http_peer *out)
{
	*out = (struct http_peer){.local = p->local, .uid = p->uid, .gid = p->gid, .pid = p->pid};
	memcpy(out->address, p->address, sizeof(out->address));
	memcpy(out->network, p->network, sizeof(out->network));
}

/* The first authorization header that holds a bearer token, as Istio's own server reads them.
 * *any: there is one at all. */
static struct mica_slice bearer(const struct mica_rpc_call *c, bool *any)
{
	struct mica_slice name, value, token;

	*any = false;
	for (unsigned i = 0; i < mica_rpc_headers(c); i++) {
		mica_rpc_header_at(c, i, &name, &value);
		if (!mica_slice_eq_str(name, "authorization"))
			continue;
		*any = true;
		if (api_bearer(value, &token) && token.len)
			return token;
	}
	return MICA_SLICE_NULL;
}

/* The caller may be gone already; what it has of ours is freed here. */
static void over(void *state)
{
	struct grpc_call *k = state;

	ask_over(&k->ask, k->ok);
	mica_free(k);
}

struct grpc_call *grpc_call_new(size_t size, struct grpc *g, struct mica_rpc_call *c,
	const char *method, const struct ask_face *face, enum mica_front front)
{
	struct grpc_call *k = mica_calloc(1, size);
	bool log = atomic_load_explicit(&g->desk->log_address, memory_order_relaxed);

	k->g = g;
	k->c = c;
	k->method = method;
	k->caller.uid = k->caller.gid = k->caller.pid = -1;
	peer_of(mica_rpc_call_data(c)->peer, &k->peer);
	k->ask = (struct ask){.desk = g->desk,
		.face = face,
		.front = front,
		.issues = true,
		.caller = &k->caller,
		.err = &k->err,
		.peer = &k->peer,
		.address = log ? k->peer.address : "",
		.t_begin = mica_mono_ns()};
	mica_rpc_set_state(c, k, over);
	return k;
}

void grpc_call_who(struct grpc_call *k)
{
	const struct mica_rpc_peer *p = mica_rpc_call_data(k->c)->peer;
	struct ask *a = &k->ask;
	bool any;

	a->token = bearer(k->c, &any);
	if (!a->token.len) {
		a->chain = p->chain;
		a->n_chain = p->n_chain;
	}
	if (a->token.len || a->n_chain) {
		ask_who(a);
		return;
	}
	if (any)
		mica_fail(&k->err, MICA_UNAUTHENTICATED, "credential_malformed",
			"expected the metadata authorization: Bearer <token>");
	else
		mica_fail(&k->err, MICA_UNAUTHENTICATED, "credential_missing",
			"nobody is known by this request, expected the metadata authorization: Bearer "
			"<token>, or a client certificate");
	ask_refuse(a);
}

void grpc_cancelled(void *ctx, struct mica_rpc_call *c)
{
	struct grpc_call *k = mica_rpc_state(c);

	(void)ctx;
	if (k)
		ask_abandon(&k->ask);
}

void grpc_answered(struct ask *a, const struct mica_answer *answer)
{
	struct grpc_call *k = grpc_call_of(a);

	a->t_end = mica_mono_ns();
	k->ok = true;
	mica_rpc_reply(k->c, answer->bytes);
	mica_answer_unref(answer);
}

/* ---- errors ---------------------------------------------------------------------------------- */

enum mica_rpc_code grpc_code(const struct mica_err *e)
{
	if (e->rc == MICA_LIMIT && e->reason && strcmp(e->reason, "csr_too_large") == 0)
		return MICA_RPC_INVALID_ARGUMENT;
	return (enum mica_rpc_code)mica_rc_grpc(e->rc == MICA_OK ? MICA_INTERNAL : e->rc);
}

static bool is_ours(enum mica_rpc_code code)
{
	return code == MICA_RPC_UNAVAILABLE || code == MICA_RPC_INTERNAL ||
		code == MICA_RPC_DATA_LOSS || code == MICA_RPC_ABORTED;
}

/* `caller` NULL: nobody is known. Whose fault it is, the class of the error says, whatever code a
 * protocol has for it. */
static void note_refusal(struct desk *d, const char *front, const char *path, int number,
	const struct mica_err *e, const struct mica_caller *caller, const char *address, int kind)
{
	enum mica_rpc_code code = grpc_code(e);

	desk_refused(d,
		&(struct desk_refusal){.front = front,
			.path = path,
			.key = "code",
			.number = number,
			.failed = is_ours(code),
			.rare = code != MICA_RPC_RESOURCE_EXHAUSTED && code != MICA_RPC_UNAVAILABLE,
			.level = code == MICA_RPC_INTERNAL || code == MICA_RPC_DATA_LOSS
				? MICA_ERROR
				: MICA_INFO,
			.err = e,
			.caller = caller,
			.address = address,
			.kind = kind});
}

void grpc_call_fail(struct grpc_call *k)
{
	struct ask *a = &k->ask;
	enum mica_rpc_code code = k->code ? k->code(&k->err) : grpc_code(&k->err);

	note_refusal(a->desk, a->face->name, k->method, (int)code, &k->err,
		a->t_auth ? &k->caller : NULL, a->address, METRIC_X509);
	mica_rpc_end_as(k->c, code, &k->err);
}

void grpc_refuse(
	struct grpc *g, struct mica_rpc_call *c, const char *method, const struct mica_err *e)
{
	bool log = atomic_load_explicit(&g->desk->log_address, memory_order_relaxed);
	struct http_peer peer;

	peer_of(mica_rpc_call_data(c)->peer, &peer);
	if (g->desk->limits && e->rc == MICA_UNAUTHENTICATED)
		limits_address_failure(g->desk->limits, &peer, mica_mono_ms());
	note_refusal(
		g->desk, "grpc", method, (int)grpc_code(e), e, NULL, log ? peer.address : "", -1);
	mica_rpc_end(c, e);
}

void grpc_failed(struct ask *a)
{
	grpc_call_fail(grpc_call_of(a));
}

/* ---- the server ---------------------------------------------------------------------------- */

/* Linkerd's credential is in the message, and who may ask for decisions without TLS needs none. */
static bool shows_nothing(const char *method, const struct mica_rpc_peer *p)
{
	return strcmp(method, GRPC_LINKERD_METHOD) == 0 ||
		(strcmp(method, GRPC_EXT_AUTHZ_METHOD) == 0 && !p->tls);
}

/* Before anything but headers was read. */
static bool admit(void *ctx, struct mica_rpc_call *c, struct mica_err *e)
{
	struct grpc *g = ctx;
	const struct mica_rpc_call_data *data = mica_rpc_call_data(c);
	const struct mica_rpc_peer *p = data->peer;
	size_t m = method_index(data->path);
	const char *method = m < METHODS ? methods[m] : "";
	bool issues =
		strcmp(method, GRPC_ISTIO_METHOD) == 0 || strcmp(method, GRPC_LINKERD_METHOD) == 0;
	bool log = atomic_load_explicit(&g->desk->log_address, memory_order_relaxed);
	bool any;
	struct mica_slice shown = bearer(c, &any);
	struct http_peer peer;
	mica_rc rc;

	peer_of(p, &peer);
	if (!shown.len && p->n_chain)
		shown = p->chain[0];
	rc = shows_nothing(method, p) ? MICA_OK : desk_address_ok(g->desk, &peer, shown, e);
	if (rc == MICA_OK && issues)
		rc = desk_queue_ok(g->desk, e);
	if (rc == MICA_OK)
		return true;
	note_refusal(g->desk, "grpc", method, (int)grpc_code(e), e, NULL, log ? peer.address : "",
		issues ? METRIC_X509 : -1);
	return false;
}

static void finished(
	void *ctx, const struct mica_rpc_call_data *d, enum mica_rpc_code code, const char *reason)
{
	struct grpc *g = ctx;
	(void)reason; /* what has one was counted where it arose */

	if ((unsigned)code < MICA_RPC_CODES)
		mica_metric_add(&g->calls[method_index(d->path)][code], 1);
}

void grpc_threads(const struct mica_config *config, unsigned cores, unsigned *grpc, unsigned *https)
{
	bool on = mica_config_has_grpc(config);

	*grpc = (unsigned)config->grpc.threads;
	*https = (unsigned)config->https.threads;
	if (cores == 0)
		cores = 1;
	if (*grpc == 0)
		*grpc = (cores + 1) / 2;
	if (*https == 0)
		*https = !on ? cores : cores > *grpc ? cores - *grpc : 1;
}

static size_t put_listeners(struct grpc *g, const struct mica_config *config,
	struct mica_rpc_key *key, struct mica_rpc_listener out[GRPC_LISTENERS])
{
	const struct mica_listen *tls = &config->grpc.listen, *plain = &config->grpc.plaintext;
	size_t n = 0;

	for (int i = 0; i < GRPC_LISTENERS; i++)
		g->at[i] = -1;
	if (tls->text && tls->text[0]) {
		g->at[GRPC_TLS] = (int)n;
		out[n++] = (struct mica_rpc_listener){.name = "grpc",
			.host = tls->host,
			.port = tls->port,
			.key = key,
			.want_client_cert = true};
	}
	if (plain->text && plain->text[0]) {
		g->at[GRPC_PLAINTEXT] = (int)n;
		out[n++] = (struct mica_rpc_listener){
			.name = "plaintext", .host = plain->host, .port = plain->port};
	}
	if (config->grpc.socket) {
		g->at[GRPC_SOCKET] = (int)n;
		out[n++] = (struct mica_rpc_listener){
			.name = "socket", .unix_path = config->grpc.socket, .unix_gid = -1};
	}
	return n;
}

static void copy_clusters(struct grpc *g, const struct mica_config *config)
{
	g->clusters.v = mica_calloc(config->n_issuers + 1, sizeof(char *));
	for (unsigned i = 0; i < config->n_issuers; i++)
		if (config->issuers[i].cluster && config->issuers[i].cluster[0])
			g->clusters.v[g->clusters.n++] = mica_strdup(config->issuers[i].cluster);
}

mica_rc grpc_new(struct desk *desk, const struct mica_config *config, struct mica_rpc_key *key,
	struct grpc **out, struct mica_err *e)
{
	struct mica_rpc_listener listeners[GRPC_LISTENERS];
	struct mica_rpc_server *server = NULL;
	struct grpc *g = MICA_NEW(struct grpc);
	struct mica_rpc_options o;
	unsigned https;
	mica_rc rc;

	g->desk = desk;
	copy_clusters(g, config);
	g->peers = peers_new(desk->core, PEERS_MAX,
		(const char *const *)config->policies.trust_domain_aliases.v,
		config->policies.trust_domain_aliases.n);
	g->services[g->n_services++] = grpc_istio(g);
	g->services[g->n_services++] = grpc_linkerd(g);
	g->services[g->n_services++] = grpc_linkerd_policy(g);
	rc = linkerd_policy_new(desk, config, &g->policies, e);
	if (rc != MICA_OK) {
		grpc_free(g);
		return rc;
	}
	g->services[g->n_services++] = grpc_ext_authz(g);
	mica_rpc_options_init(&o);
	o.listeners = listeners;
	o.n_listeners = put_listeners(g, config, key, listeners);
	o.services = g->services;
	o.n_services = g->n_services;
	o.error_domain = GRPC_ERROR_DOMAIN;
	o.reflection = config->grpc.reflection;
	grpc_threads(config, mica_cores(), &o.loops, &https);
	o.max_connections = (unsigned)config->grpc.max_connections;
	o.max_per_address = (unsigned)config->grpc.max_connections_per_address;
	o.max_streams = MAX_STREAMS;
	o.max_message = GRPC_MESSAGE_MAX;
	o.max_age_ms = config->grpc.max_age * 1000;
	o.call_ms = CALL_MS;
	o.admit = admit;
	o.finished = finished;
	o.ctx = g;
	rc = mica_rpc_server_new(&o, &server, e);
	if (rc != MICA_OK) {
		mica_err_context(e, "grpc");
		grpc_free(g);
		return rc;
	}
	atomic_store(&g->server, server);
	*out = g;
	return MICA_OK;
}

const char *grpc_address(const struct grpc *g, enum grpc_listener l)
{
	return g->at[l] < 0 ? "" : mica_rpc_server_address(g->server, (size_t)g->at[l]);
}

void grpc_set_key(struct grpc *g, struct mica_rpc_key *k)
{
	mica_rpc_server_set_key(g->server, k);
}

void grpc_set_serving(struct grpc *g, bool serving)
{
	mica_rpc_server_set_serving(g->server, "", serving);
	for (size_t i = 0; i < g->n_services; i++)
		mica_rpc_server_set_serving(g->server, g->services[i].name, serving);
}

void grpc_drain(struct grpc *g)
{
	mica_rpc_server_drain(g->server);
	linkerd_policy_drain(g->policies);
}

void grpc_stop(struct grpc *g, int64_t wait_ms)
{
	mica_rpc_server_stop(atomic_exchange(&g->server, NULL), wait_ms);
}

void grpc_free(struct grpc *g)
{
	if (!g)
		return;
	if (g->policies)
		linkerd_policy_drain(g->policies);
	mica_rpc_server_stop(g->server, 0);
	linkerd_policy_free(g->policies);
	mica_string_list_clear(&g->clusters);
	peers_free(g->peers);
	mica_free(g);
}

/* ---- metrics ------------------------------------------------------------------------------- */

static const char *const code_names[MICA_RPC_CODES] = {"OK", "CANCELLED", "UNKNOWN",
	"INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
	"RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
	"INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"};

static void put_calls(const struct grpc *g, struct mica_buf *b)
{
	static const char name[] = "mica_grpc_calls_total";

	mica_metric_family(
		b, name, "counter", "Calls that were answered, by method and status code.");
	for (size_t m = 0; m <= METHODS; m++)
		for (size_t c = 0; c < MICA_RPC_CODES; c++) {
			uint64_t n = mica_metric_get(&g->calls[m][c]);

			/* what never happened is told of the codes that most alarms ask for */
			if (n == 0 && c != MICA_RPC_OK && c != MICA_RPC_UNAVAILABLE)
				continue;
			mica_metric_u64(b, name,
				MICA_METRIC_LABELS(
					{"method", m < METHODS ? methods[m] + 1 : "other"},
					{"code", code_names[c]}),
				n);
		}
}

void grpc_write_metrics(const struct grpc *g, struct mica_buf *b)
{
	struct mica_rpc_stats s;
	struct peers_stats peers;

	mica_rpc_server_stats(g->server, &s);
	peers_stats(g->peers, &peers);
	const struct {
		const char *name, *type, *help;
		uint64_t v;
	} f[] = {
		{"mica_grpc_connections", "gauge", "Open gRPC connections.", s.connections_now},
		{"mica_grpc_connections_total", "counter", "gRPC connections taken.",
			s.connections},
		{"mica_grpc_connections_refused_total", "counter", "gRPC connections not taken.",
			s.refused_connections},
		{"mica_grpc_tls_failed_total", "counter", "Handshakes that failed.", s.tls_failed},
		{"mica_grpc_calls", "gauge", "Calls that are not answered yet.", s.calls_now},
		{"mica_linkerd_ports_watched", "gauge",
			"Ports of which Linkerd's proxies watch the policy.",
			linkerd_policy_count(g->policies)},
		{"mica_policy_peers_verified_total", "counter",
			"Certificates of the peers of Envoys that were judged.", peers.verified},
		{"mica_grpc_received_bytes_total", "counter", "Octets of HTTP/2 that came.",
			s.bytes_in},
		{"mica_grpc_sent_bytes_total", "counter", "Octets of HTTP/2 that were sent.",
			s.bytes_out},
	};

	put_calls(g, b);
	for (size_t i = 0; i < MICA_ARRAY_LEN(f); i++) {
		mica_metric_family(b, f[i].name, f[i].type, f[i].help);
		mica_metric_u64(b, f[i].name, NULL, 0, f[i].v);
	}
	mica_metric_family(
		b, "mica_grpc_cuts_total", "counter", "Connections that were cut, by their fault.");
	for (unsigned i = 0; i < MICA_RPC_CUTS; i++)
		mica_metric_u64(b, "mica_grpc_cuts_total",
			MICA_METRIC_LABELS({"fault", mica_rpc_cut_name((enum mica_rpc_cut)i)}),
			s.cuts[i]);
}
