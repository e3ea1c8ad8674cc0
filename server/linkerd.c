/* SPDX-License-Identifier: Apache-2.0 */
/*
 * io.linkerd.proxy.identity.Identity, as Linkerd's own controller serves it to its proxies
 * (identity.proto of linkerd2-proxy-api):
 *
 *	CertifyRequest  {string identity = 1; bytes token = 2; bytes certificate_signing_request =
 *3} CertifyResponse {bytes leaf_certificate = 1; repeated bytes intermediate_certificates = 2;
 *			 Timestamp valid_until = 3}
 *
 * The credential is the token in the message alone: a proxy may present a certificate besides, even
 * one that is over. Codes are those of linkerd2 pkg/identity/service.go.
 */
#include "embed.h"
#include "grpc_impl.h"
#include "linkerd.h"

#include "mica/clock.h"
#include "mica/linkerd.h"
#include "mica/wire.h"

struct linkerd_call {
	struct grpc_call k;
	struct linkerd_request q;
};

/* ---- codes --------------------------------------------------------------------------------- */

/* Linkerd's own words for what it refuses. Where it has none, the class of the error decides. */
static enum mica_rpc_code code_of(const struct mica_err *e)
{
	static const struct {
		const char *reason;
		enum mica_rpc_code code;
	} codes[] = {
		{"csr_names_differ", MICA_RPC_FAILED_PRECONDITION},
		{"identity_mismatch", MICA_RPC_FAILED_PRECONDITION},
		{"linkerd_name_invalid", MICA_RPC_INVALID_ARGUMENT},
		{"key_type_not_allowed", MICA_RPC_INTERNAL},
		{"pod_gone", MICA_RPC_FAILED_PRECONDITION},
		{"token_review_refused", MICA_RPC_FAILED_PRECONDITION},
		{"token_review_failed", MICA_RPC_INTERNAL},
	};

	for (size_t i = 0; e->reason && i < MICA_ARRAY_LEN(codes); i++)
		if (strcmp(e->reason, codes[i].reason) == 0)
			return codes[i].code;
	/* "authentication token could not be authenticated" */
	if (e->rc == MICA_UNAUTHENTICATED)
		return MICA_RPC_FAILED_PRECONDITION;
	return grpc_code(e);
}

/* ---- answers --------------------------------------------------------------------------------- */

/* The leaf, and what leads from it to a root, its own issuer first. No root: proxies have theirs
 * from where they were started. */
static void write_certificates(struct ask *a, struct mica_buf *out)
{
	const struct mica_issued *s = &a->issued;
	const int64_t until =
		mica_linkerd_valid_until(mica_now_ms() / 1000, s->renew_after, s->not_after);
	MICA_AUTO_BUF time;

	mica_wire_put_bytes(out, 1, s->chain_der[0]);
	for (size_t i = 1; i < s->n_chain; i++)
		mica_wire_put_bytes(out, 2, s->chain_der[i]);
	mica_buf_init(&time, 16);
	mica_wire_put_varint(&time, 1, (uint64_t)until);
	mica_wire_put_bytes(out, 3, mica_buf_slice(&time));
}

/* ---- the call ------------------------------------------------------------------------------ */

static void known(struct ask *a)
{
	struct linkerd_call *l = (struct linkerd_call *)grpc_call_of(a);
	const struct mica_x509_request r = {.csr = l->q.csr,
		.scheme = MICA_SCHEME_LINKERD,
		.identity = l->q.identity,
		/* proxies say nothing of the roots that they have (design 8.3) */
		.outlet = MICA_OUTLET_NONE};

	ask_start(a, METRIC_X509);
	ask_x509(a, &r);
}

static const struct ask_face face = {.name = "linkerd",
	.known = known,
	.write = write_certificates,
	.answered = grpc_answered,
	.failed = grpc_failed};

/* What can be said without knowing who asks is said first, as in Linkerd, and costs nothing. */
static void certify(void *ctx, struct mica_rpc_call *c, struct mica_slice message)
{
	struct linkerd_call *l = (struct linkerd_call *)grpc_call_new(
		sizeof(*l), ctx, c, GRPC_LINKERD_METHOD, &face, MICA_FRONT_LINKERD);
	struct linkerd_request *q = &l->q;
	struct mica_err unread = MICA_ERR_INIT;
	struct grpc_call *k = &l->k;
	mica_rc rc = linkerd_request_read(message, q, &unread);

	k->code = code_of;
	/* what it shows is known only now */
	if (desk_address_ok(k->ask.desk, &k->peer, q->token, &k->err) != MICA_OK) {
		grpc_call_fail(k);
		return;
	}
	if (rc != MICA_OK) {
		k->err = unread;
		grpc_call_fail(k);
		return;
	}
	if (mica_linkerd_check_csr(q->csr, q->identity, &k->err) != MICA_OK) {
		ask_refuse(&k->ask);
		return;
	}
	k->ask.token = q->token;
	ask_who(&k->ask);
}

static const struct mica_rpc_method linkerd_methods[] = {
	{.name = "Certify", .kind = MICA_RPC_UNARY, .call = certify, .cancelled = grpc_cancelled}};

struct mica_rpc_service grpc_linkerd(struct grpc *g)
{
	return (struct mica_rpc_service){.name = "io.linkerd.proxy.identity.Identity",
		.methods = linkerd_methods,
		.n_methods = MICA_ARRAY_LEN(linkerd_methods),
		.ctx = g,
		.descriptors = mica_slice(embed_linkerd, embed_linkerd_len)};
}
