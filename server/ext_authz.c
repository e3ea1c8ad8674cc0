/* SPDX-License-Identifier: Apache-2.0 */
/*
 * envoy.service.auth.v3.Authorization, as Envoy's filters ext_authz ask it, of HTTP and of
 * connections: one call is one decision, made at once on the loop of its connection.
 *
 * Whatever is wrong with a question is answered "denied", never by an error of gRPC, which an Envoy
 * with failure_mode_allow would take for a yes. Errors are for whom we do not answer at all, and
 * for messages that are too long to be read.
 */
#include "decisions.h"
#include "embed.h"
#include "ext_authz.h"
#include "grpc_impl.h"
#include "known.h"
#include "peers.h"
#include "policies.h"

#include "mica/clock.h"
#include "mica/wire.h"

#include <stdio.h>

#define MESSAGE_MAX                                                                                \
	(256 * 1024) /* Envoy's headers are 60 KiB by default, and come twice at most              \
		      */
#define ANSWER_MAX 4096
/* envoy.type.v3.StatusCode */
#define FORBIDDEN   403
#define UNAVAILABLE 503

/* Who asks, found out once a connection, and memory for its answers. */
struct asker {
	bool known;
	uint64_t generation;
	int64_t until_ms;
	unsigned roles;
	char ns[MICA_K8S_NS_MAX + 1]; /* that it is in; "" = none */
	struct mica_buf out, meta;
};

struct question {
	struct ext_authz_request q;
	struct mica_err err;
	char peer[PEERS_ID_SIZE];
};

/* ---- who asks -------------------------------------------------------------------------------- */

static void asker_free(void *state)
{
	struct asker *a = state;

	mica_buf_clear(&a->out);
	mica_buf_clear(&a->meta);
	mica_free(a);
}

static struct asker *asker_of(struct mica_rpc_call *c)
{
	struct asker *a = mica_rpc_peer_state(c);

	if (a)
		return a;
	a = MICA_NEW(struct asker);
	mica_buf_init(&a->out, ANSWER_MAX);
	mica_buf_init(&a->meta, ANSWER_MAX);
	mica_rpc_set_peer_state(c, a, asker_free);
	return a;
}

static void remember(struct asker *a, const struct mica_caller *who)
{
	struct mica_slice ns = mica_slice_str(who->principal.ns);

	if (ns.len == 0)
		ns = ext_authz_namespace(mica_slice_str(who->principal.spiffe_id));
	if (mica_slice_copy(ns, a->ns, sizeof(a->ns)) != MICA_OK)
		a->ns[0] = '\0';
	a->roles = who->roles;
	a->until_ms = (who->evidence.credential_expiry + 1) * 1000;
	a->known = true;
}

/* Over TLS an SVID of ours, which is looked at again when something has changed; who can reach the
 * socket or the plaintext listener may ask. */
static mica_rc check_asker(struct desk *d, const struct mica_rpc_peer *p, struct asker *a,
	int64_t now_ms, struct mica_err *e)
{
	struct mica_caller who, peer;
	uint64_t generation;
	mica_rc rc;

	if (!p->tls)
		return MICA_OK;
	generation = mica_core_generation(d->core);
	if (a->known && a->generation == generation && now_ms < a->until_ms)
		return MICA_OK;
	a->known = false;
	if (p->n_chain == 0)
		return mica_fail(e, MICA_UNAUTHENTICATED, "credential_missing",
			"nobody is known by this connection, expected a client certificate");
	rc = mica_core_authenticate_svid(d->core, p->chain, p->n_chain, now_ms, &who, e);
	/* the deny list too */
	if (rc == MICA_OK)
		rc = mica_core_judge_peer(d->core, p->chain[0], now_ms, &peer, e);
	if (rc != MICA_OK)
		return rc;
	known_add(d->known, p->chain[0]);
	remember(a, &who);
	a->generation = generation;
	return MICA_OK;
}

/* A proxy asks about workloads of its own namespace; with a role, about all. */
static mica_rc may_ask(const struct asker *a, const struct mica_rpc_peer *p, struct mica_slice ns,
	struct mica_err *e)
{
	if (!p->tls || (a->roles & (MICA_ROLE_AUDITOR | MICA_ROLE_ADMIN)) ||
		(a->ns[0] && mica_slice_eq_str(ns, a->ns)))
		return MICA_OK;
	return mica_fail(e, MICA_DENIED, "workload_not_yours",
		"a proxy may ask about workloads of its own namespace");
}

/* ---- answers --------------------------------------------------------------------------------- */

/* An entry of a Struct's map: {key = 1; Value value = 2}. */
static void put_text(struct mica_buf *b, const char *key, struct mica_slice v)
{
	struct mica_slice k = mica_slice_str(key);
	size_t value = mica_wire_bytes_size(3, v.len);

	mica_wire_put_head(b, 1, mica_wire_bytes_size(1, k.len) + mica_wire_bytes_size(2, value));
	mica_wire_put_bytes(b, 1, k);
	mica_wire_put_head(b, 2, value);
	mica_wire_put_bytes(b, 3, v);
}

static void put_policy(struct mica_buf *b, const char *key, const struct mica_policy *p)
{
	char name[520];
	int n = snprintf(name, sizeof(name), "%s/%s", p->ns, p->name);

	if (n > 0 && (size_t)n < sizeof(name))
		put_text(b, key, mica_slice(name, (size_t)n));
}

/* For access logs; who was denied is not told. */
static void put_outcome(
	struct mica_buf *b, const char *const keys[3], const struct mica_policy_outcome *o)
{
	char rule[16];

	put_text(b, keys[0], mica_slice_str(mica_policy_why_name(o->why)));
	if (!o->policy)
		return;
	put_policy(b, keys[1], o->policy);
	snprintf(rule, sizeof(rule), "%u", o->rule + 1);
	put_text(b, keys[2], mica_slice_str(rule));
}

static void put_verdict(struct mica_buf *b, const struct mica_policy_verdict *v)
{
	static const char *const now[] = {"why", "policy", "rule"};
	static const char *const dry[] = {"dry_run_why", "dry_run_policy", "dry_run_rule"};

	put_outcome(b, now, &v->now);
	if (v->dry_run.allowed != v->now.allowed) {
		put_text(b, "dry_run", v->dry_run.allowed ? MICA_LIT("allow") : MICA_LIT("deny"));
		put_outcome(b, dry, &v->dry_run);
	}
	if (v->audit)
		put_policy(b, "audit", v->audit);
}

/* DeniedHttpResponse {HttpStatus status = 1; string body = 3} */
static void put_denied(struct mica_buf *out, const char *reason, unsigned status)
{
	char text[128];
	int n = snprintf(text, sizeof(text), "denied: %s\n", reason);
	struct mica_slice body = mica_slice(text, n > 0 ? (size_t)n : 0);
	MICA_AUTO_BUF code;

	mica_buf_init(&code, 16);
	mica_wire_put_varint(&code, 1, status);
	mica_wire_put_head(
		out, 2, mica_wire_bytes_size(1, code.len) + mica_wire_bytes_size(3, body.len));
	mica_wire_put_bytes(out, 1, mica_buf_slice(&code));
	mica_wire_put_bytes(out, 3, body);
}

/* CheckResponse {google.rpc.Status status = 1; DeniedHttpResponse denied_response = 2; Struct
 * dynamic_metadata = 4}. `reason` NULL: allowed. */
static void reply(struct mica_rpc_call *c, struct asker *a, const char *reason, unsigned status)
{
	struct mica_slice meta = mica_buf_slice(&a->meta);

	mica_buf_reset(&a->out);
	if (reason) {
		/* google.rpc.Status {int32 code = 1; string message = 2} */
		struct mica_slice text = mica_slice_str(reason);

		mica_wire_put_head(&a->out, 1, 2 + mica_wire_bytes_size(2, text.len));
		mica_wire_put_varint(&a->out, 1, MICA_RPC_PERMISSION_DENIED);
		mica_wire_put_bytes(&a->out, 2, text);
		put_denied(&a->out, reason, status);
	} else {
		mica_wire_put_bytes(&a->out, 1, MICA_SLICE_NULL);
	}
	if (meta.len)
		mica_wire_put_bytes(&a->out, 4, meta);
	mica_rpc_reply(c, mica_buf_slice(&a->out));
}

/* ---- the method ------------------------------------------------------------------------------ */

static void decide(struct desk *d, struct mica_rpc_call *c, struct asker *a, struct question *x,
	int64_t now_ms)
{
	enum mica_channel ch = x->q.canary ? MICA_CHANNEL_CANARY : MICA_CHANNEL_LIVE;
	struct mica_policy_set *set = policies_get(d->policies, ch, NULL);
	struct mica_policy_verdict v;

	x->q.r.peer = mica_slice_str(x->peer);
	mica_policy_decide(set, &x->q.r, &v);
	decisions_add(d->decisions, DECISION_ENVOY, x->q.r.workload.ns, &v, now_ms / 1000);
	put_verdict(&a->meta, &v);
	reply(c, a, v.now.allowed ? NULL : mica_policy_why_name(v.now.why), FORBIDDEN);
	mica_policy_set_unref(set);
}

static void check(void *ctx, struct mica_rpc_call *c, struct mica_slice message)
{
	const struct mica_rpc_peer *p = mica_rpc_call_data(c)->peer;
	struct grpc *g = ctx;
	struct desk *d = grpc_desk(g);
	struct asker *a = asker_of(c);
	int64_t now_ms = mica_now_ms();
	struct question x;
	mica_rc rc;

	x.err = (struct mica_err)MICA_ERR_INIT;
	if (check_asker(d, p, a, now_ms, &x.err) != MICA_OK) {
		grpc_refuse(g, c, GRPC_EXT_AUTHZ_METHOD, &x.err);
		return;
	}
	mica_buf_reset(&a->meta);
	rc = ext_authz_request_read(message, &x.q, &x.err);
	if (rc == MICA_OK)
		rc = may_ask(a, p, x.q.r.workload.ns, &x.err);
	if (rc == MICA_OK)
		rc = peers_judge(
			grpc_peers(g), x.q.principal, x.q.certificate, now_ms, x.peer, &x.err);
	if (rc == MICA_OK) {
		decide(d, c, a, &x, now_ms);
		return;
	}
	decisions_refused(d->decisions, DECISION_ENVOY, x.err.reason);
	put_text(&a->meta, "why", mica_slice_str(x.err.reason));
	reply(c, a, x.err.reason, x.err.rc == MICA_UNAVAILABLE ? UNAVAILABLE : FORBIDDEN);
}

static const struct mica_rpc_method methods[] = {
	{.name = "Check", .kind = MICA_RPC_UNARY, .max_message = MESSAGE_MAX, .call = check}};

struct mica_rpc_service grpc_ext_authz(struct grpc *g)
{
	return (struct mica_rpc_service){.name = "envoy.service.auth.v3.Authorization",
		.methods = methods,
		.n_methods = MICA_ARRAY_LEN(methods),
		.ctx = g,
		.descriptors = mica_slice(embed_ext_authz, embed_ext_authz_len)};
}
