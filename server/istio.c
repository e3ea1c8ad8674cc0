/* SPDX-License-Identifier: Apache-2.0 */
/*
 * istio.v1.auth.IstioCertificateService, as istiod serves it to sidecars, ztunnel and gateways.
 *
 * The identity is what the credential proves. Of the CSR only the key counts, whatever subject and
 * names it has; of the metadata, CertSigner and ImpersonatedIdentity are looked at.
 */
#define _GNU_SOURCE /* memmem */
#include "embed.h"
#include "grpc_impl.h"
#include "istio.h"

#include "mica/wire.h"

struct istio_call {
	struct grpc_call k;
	struct istio_request q;
};

/* ---- requests ------------------------------------------------------------------------------ */

static mica_rc check_request(const struct istio_request *q, struct mica_err *e)
{
	/* another signer than the one that was asked for would be a silent change of trust */
	if (q->signer.len)
		return mica_fail(e, MICA_INVALID, "signer_unknown",
			"CertSigner \"%.*s\" was asked for; expected none, since this server signs itself",
			MICA_FMT(q->signer));
	return MICA_OK;
}

/* ---- who ----------------------------------------------------------------------------------- */

/* `clusterid` is a hint and proves nothing: Istio sends "Kubernetes" by default. One that names
 * another cluster of ours than the token comes from tells of a wrong token. */
static mica_rc check_cluster(struct grpc_call *k)
{
	const char *proved = k->caller.principal.cluster;
	struct mica_slice id;
	unsigned n = 0;

	if (!mica_rpc_header(k->c, "clusterid", &id, &n) || n != 1 ||
		mica_slice_eq_str(id, proved) || !grpc_knows_cluster(k->g, id))
		return MICA_OK;
	return mica_fail(&k->err, MICA_UNAUTHENTICATED, "cluster_mismatch",
		"clusterid says \"%.*s\", and the token is of cluster \"%s\"; expected a token of the "
		"cluster that the proxy names",
		MICA_FMT(id), proved);
}

static void issue(struct ask *a)
{
	const struct istio_call *i = (const struct istio_call *)grpc_call_of(a);
	const struct mica_x509_request r = {.csr = i->q.csr,
		/* as in istiod: what is no time asks for the default */
		.ttl = i->q.ttl > 0 ? i->q.ttl : 0,
		/* the answer holds the roots, and its holder says nothing (design 8.3) */
		.outlet = MICA_OUTLET_CARRIED};

	ask_start(a, METRIC_X509);
	ask_x509(a, &r);
}

static void known(struct ask *a)
{
	struct istio_call *i = (struct istio_call *)grpc_call_of(a);

	if (check_cluster(&i->k) != MICA_OK || check_request(&i->q, &i->k.err) != MICA_OK) {
		ask_refuse(a);
		return;
	}
	/* ztunnel asks for the pods of its node */
	if (i->q.impersonated.len)
		ask_as(a, i->q.impersonated, issue);
	else
		issue(a);
}

/* ---- answers --------------------------------------------------------------------------------- */

/* The next certificate of a chain in PEM, with its last newline. */
static struct mica_slice next_pem(struct mica_slice *chain)
{
	static const char end[] = "-----END CERTIFICATE-----\n";
	const uint8_t *at = memmem(chain->p, chain->len, end, sizeof(end) - 1);
	size_t len = at ? (size_t)(at - chain->p) + sizeof(end) - 1 : chain->len;
	struct mica_slice one = mica_slice_sub(*chain, 0, len);

	*chain = mica_slice_sub(*chain, len, chain->len);
	return one;
}

/* The leaf, then each intermediate in an element of its own, since ztunnel reads one certificate of
 * each; the last element is all roots, whatever their number. */
static void write_chain(struct ask *a, struct mica_buf *out)
{
	struct mica_slice chain = a->issued.chain_pem;
	const struct mica_snapshot *roots;

	if (mica_core_snapshot(a->desk->core, NULL, a->issued.channel, MICA_FMT_BUNDLE_PEM, &roots,
		    a->err) != MICA_OK)
		return;
	(void)mica_buf_room(out, chain.len + roots->bytes.len + 64); /* once, and not by doubling */
	while (chain.len)
		mica_wire_put_bytes(out, 1, next_pem(&chain));
	mica_wire_put_bytes(out, 1, roots->bytes);
	mica_snapshot_unref(roots);
}

static const struct ask_face face = {.name = "istio",
	.known = known,
	.write = write_chain,
	.answered = grpc_answered,
	.failed = grpc_failed};

/* Istio's own CA says nothing finer to who may not ask for another (istio.md 1.4). */
static enum mica_rpc_code code_of(const struct mica_err *e)
{
	return e->reason && strncmp(e->reason, "impersonation_", 14) == 0 ? MICA_RPC_UNAUTHENTICATED
									  : grpc_code(e);
}

static void create_certificate(void *ctx, struct mica_rpc_call *c, struct mica_slice message)
{
	struct istio_call *i = (struct istio_call *)grpc_call_new(
		sizeof(*i), ctx, c, GRPC_ISTIO_METHOD, &face, MICA_FRONT_ISTIO);

	i->k.code = code_of;
	if (istio_request_read(message, &i->q, &i->k.err) != MICA_OK)
		grpc_call_fail(&i->k);
	else
		grpc_call_who(&i->k);
}

static const struct mica_rpc_method istio_methods[] = {{.name = "CreateCertificate",
	.kind = MICA_RPC_UNARY,
	.call = create_certificate,
	.cancelled = grpc_cancelled}};

struct mica_rpc_service grpc_istio(struct grpc *g)
{
	return (struct mica_rpc_service){.name = "istio.v1.auth.IstioCertificateService",
		.methods = istio_methods,
		.n_methods = MICA_ARRAY_LEN(istio_methods),
		.ctx = g,
		.descriptors = mica_slice(embed_istio, embed_istio_len)};
}
