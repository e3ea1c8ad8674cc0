/* SPDX-License-Identifier: Apache-2.0 */
/*
 * io.linkerd.proxy.inbound.InboundServerPolicies, as Linkerd's policy controller serves it to its
 * proxies (inbound.proto of linkerd2-proxy-api):
 *
 *	WatchPort(PortSpec) -> Server, and another one after each change
 *	GetPort(PortSpec)   -> Server
 *	PortSpec {string workload = 1; uint32 port = 2}
 *
 * A pod asks about itself: its client certificate, or a token for Linkerd, says which it is.
 */
#ifndef MICA_SERVER_LINKERD_POLICY_H
#define MICA_SERVER_LINKERD_POLICY_H

#include "mica/config.h"
#include "mica/slice.h"

struct linkerd_port_spec {
	char ns[MICA_K8S_NS_MAX + 1], pod[MICA_K8S_NAME_MAX + 1];
	uint16_t port;
};
/* INVALID "message_invalid", "port_invalid", "workload_invalid", "workload_external". */
mica_rc linkerd_port_read(struct mica_slice message, struct linkerd_port_spec *out,
	struct mica_err *e) MICA_MUST_CHECK;

/* The streams, and the thread that looks after them. */
struct linkerd_policy; /* opaque */
struct desk;
/* What counts of the configuration is copied; `desk` is borrowed until the free. INTERNAL, as
 * errno: no thread. */
mica_rc linkerd_policy_new(struct desk *desk, const struct mica_config *config,
	struct linkerd_policy **out, struct mica_err *e) MICA_MUST_CHECK;
unsigned linkerd_policy_count(struct linkerd_policy *l); /* who watches now */
/* Ends all streams, UNAVAILABLE "draining"; nobody is taken any more. */
void linkerd_policy_drain(struct linkerd_policy *l);
void linkerd_policy_free(struct linkerd_policy *l); /* behind the server's end; NULL is fine */

#endif
