/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For the services of the gRPC front. A call that issues is one struct grpc_call, which a service
 * may make the first member of its own:
 *
 *	method -> grpc_call_new -> decode -> grpc_call_who -> face->known -> ask_x509 -> answered
 *
 * Where an error is found, grpc_call_fail logs, counts and ends the call. Nobody may touch a call
 * that was answered or has failed.
 */
#ifndef MICA_SERVER_GRPC_IMPL_H
#define MICA_SERVER_GRPC_IMPL_H

#include "ask.h"
#include "grpc.h"

#define GRPC_ERROR_DOMAIN "mica"
#define GRPC_MESSAGE_MAX  (64 * 1024) /* of a request */

struct grpc_call {
	struct ask ask; /* its err and caller are those here */
	struct grpc *g;
	struct mica_rpc_call *c;
	const char *method; /* its path, a literal */
	struct mica_err err;
	struct mica_caller caller;
	struct http_peer peer;
	bool ok; /* answered with an SVID */
	enum mica_rpc_code (*code)(const struct mica_err *e); /* NULL = grpc_code */
};
static inline struct grpc_call *grpc_call_of(struct ask *a)
{
	return (struct grpc_call *)((char *)a - offsetof(struct grpc_call, ask));
}

/* Zeroed, `size` octets with a struct grpc_call at the beginning; lives as long as the RPC. The
 * face's answered and failed should be those here. */
struct grpc_call *grpc_call_new(size_t size, struct grpc *g, struct mica_rpc_call *c,
	const char *method, const struct ask_face *face, enum mica_front front);
/* Who asks: the first authorization header with a bearer token, else the client's certificate. Goes
 * on with face->known, or fails. */
void grpc_call_who(struct grpc_call *k);
/* Of methods. */
void grpc_cancelled(void *ctx, struct mica_rpc_call *c);
/* Of faces: the answer's octets are the message. */
void grpc_answered(struct ask *a, const struct mica_answer *answer);
void grpc_failed(struct ask *a);
/* k->err says why. */
void grpc_call_fail(struct grpc_call *k);
/* By the class of an error. Clients try again what is RESOURCE_EXHAUSTED: what can never succeed is
 * another code. */
enum mica_rpc_code grpc_code(const struct mica_err *e);

/* Ends a call that has none of these: logs, counts, and counts against the address. */
void grpc_refuse(
	struct grpc *g, struct mica_rpc_call *c, const char *method, const struct mica_err *e);

struct desk *grpc_desk(struct grpc *g);
struct peers *grpc_peers(struct grpc *g); /* peers.h */
/* Whether some issuer is configured for this cluster. */
bool grpc_knows_cluster(const struct grpc *g, struct mica_slice cluster);

/* ---- services ------------------------------------------------------------------------------ */

#define GRPC_ISTIO_METHOD "/istio.v1.auth.IstioCertificateService/CreateCertificate"
struct mica_rpc_service grpc_istio(struct grpc *g);

#define GRPC_LINKERD_METHOD "/io.linkerd.proxy.identity.Identity/Certify"
struct mica_rpc_service grpc_linkerd(struct grpc *g);

#define GRPC_LINKERD_WATCH_METHOD "/io.linkerd.proxy.inbound.InboundServerPolicies/WatchPort"
#define GRPC_LINKERD_GET_METHOD   "/io.linkerd.proxy.inbound.InboundServerPolicies/GetPort"
struct linkerd_policy;
struct linkerd_policy *grpc_linkerd_policies(struct grpc *g);
struct mica_rpc_service grpc_linkerd_policy(struct grpc *g);
#define GRPC_EXT_AUTHZ_METHOD "/envoy.service.auth.v3.Authorization/Check"
struct mica_rpc_service grpc_ext_authz(struct grpc *g);

#endif
