/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Policies for Linkerd's proxies, which ask for one port at a time: what `mica policy compile
 * --target linkerd` writes as objects, as the message that Linkerd's own policy controller would
 * make of them (io.linkerd.proxy.inbound.Server of linkerd2-proxy-api).
 *
 * Pure; any thread. Takes milliseconds where a port has thousands of values.
 */
#ifndef MICA_POLICY_LINKERD_H
#define MICA_POLICY_LINKERD_H

#include "mica/linkerd.h"
#include "mica/policy_set.h"

/* Appends the message: whom port `port` of the workload lets in. What cannot be said lets nobody in
 * (docs/POLICIES.md). `linkerd` NULL: control plane "linkerd", trust domain "cluster.local". The
 * same for the same set. INVALID as mica_linkerd_check; LIMIT "too_long" comes from the buffer. */
mica_rc mica_policy_linkerd_put(struct mica_buf *b, const struct mica_policy_set *s,
	const struct mica_policy_workload *w, uint16_t port, const struct mica_linkerd *linkerd,
	struct mica_err *e) MICA_MUST_CHECK;

#endif
