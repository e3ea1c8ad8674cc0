/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pods of one node, as its cluster's API server lists them, and what may be asked for on their
 * behalf. An agent of the node (Istio's ztunnel) shows its own token and asks for the identity of a
 * pod beside it; it gets that only when
 *
 *	its account is trusted with this, by the issuer's configuration
 *	it runs on the node that its token names: the very pod, by UID and account
 *	a pod that has the identity is on the same node, and has not ended
 *
 * Pure: no clock, no socket; whoever lists the pods hands the answers in.
 */
#ifndef MICA_NODEPODS_H
#define MICA_NODEPODS_H

#include "mica/buf.h"
#include "mica/principal.h"
#include "mica/token.h"

#define MICA_NODE_PODS_MAX   4096 /* of one node; kubelet takes 110 by default */
#define MICA_NODE_PAGE_MAX   ((size_t)4 * 1024 * 1024) /* octets of one answer */
#define MICA_NODE_NEXT_MAX   4096 /* of the mark where the next answer goes on */
#define MICA_NODE_DEPTH_MAX  64 /* metadata.managedFields nests deep */
#define MICA_NODE_LABELS_MAX 128 /* of a pod */

struct mica_node_label {
	const char *key, *value;
};
struct mica_node_pod {
	const char *ns, *name, *sa;
	struct mica_uid uid;
	bool ended; /* Succeeded or Failed */
	/* Sorted by key. A pod with more of them than above, or with one that is no text, has none
	 * and !labels_known: what is selected by labels cannot be said of it. */
	const struct mica_node_label *labels;
	unsigned n_labels;
	bool labels_known;
};

/* Immutable once it is read; reference-counted; any thread. */
struct mica_node_pods; /* opaque */

struct mica_node_pods *mica_node_pods_new(const char *node); /* empty; one reference */
/* Appends what one answer to GET /api/v1/pods?fieldSelector=spec.nodeName=NODE holds. `next` is
 * emptied and gets metadata.continue, with a NUL behind it; it stays empty behind the last page.
 * Mirror pods, and pods without an account, are left out. UNAVAILABLE "pods_malformed": no PodList,
 * or not of this node; "pods_too_long" (the page, its pods, or all together). What was read before
 * stays; the list is then not to be used. */
mica_rc mica_node_pods_read(struct mica_node_pods *p, struct mica_slice page, struct mica_buf *next,
	struct mica_err *e) MICA_MUST_CHECK;
const struct mica_node_pods *mica_node_pods_ref(const struct mica_node_pods *p);
void mica_node_pods_unref(const struct mica_node_pods *p); /* NULL is fine */
const char *mica_node_pods_node(const struct mica_node_pods *p);
size_t mica_node_pods_count(const struct mica_node_pods *p);
const struct mica_node_pod *mica_node_pods_at(const struct mica_node_pods *p, size_t i);
/* The pod with this UID; NULL when it is not here. */
const struct mica_node_pod *mica_node_pods_find(
	const struct mica_node_pods *p, const struct mica_uid *uid);
MICA_CLEANUP_STRUCT(mica_node_pods, mica_node_pods_unref);

/* Before the cluster is asked. DENIED:
 *	"impersonation_not_allowed"		the issuer trusts no account with this
 *	"impersonation_not_trusted"	not this account
 *	"impersonation_needs_token"	the caller did not show a token
 *	"impersonation_no_node"		its token names no pod or no node
 *	"impersonation_bad_identity"	`identity` is not a SPIFFE ID of a workload
 *	"impersonation_trust_domain"	of another trust domain
 *	"impersonation_name"		no name that this issuer gives
 */
mica_rc mica_impersonation_admit(const struct mica_issuer *issuer,
	const struct mica_principal *asker, const struct mica_evidence *evidence,
	struct mica_slice identity, struct mica_err *e) MICA_MUST_CHECK;

/* Whether a principal is to be passed over (a deny list). */
typedef bool mica_impersonation_denied(const void *ctx, const struct mica_principal *p);
/* With the pods of the asker's node, after the above. *out is the principal with that identity: of
 * the pods that have it the first one that is not denied. DENIED:
 *	"impersonation_pod_gone"	the asker's pod is not on the node
 *	"impersonation_pod_replaced"	another pod has its name
 *	"impersonation_pod_account"	it runs with another account
 *	"impersonation_pod_ended"	it does not run any more
 *	"impersonation_not_here"	no pod of this identity is on the node, or it has ended
 *	"denied_by_list"		each of them is denied
 */
mica_rc mica_impersonation_judge(const struct mica_issuer *issuer,
	const struct mica_principal *asker, struct mica_slice identity,
	const struct mica_node_pods *pods, mica_impersonation_denied *denied, const void *ctx,
	struct mica_principal *out, struct mica_err *e) MICA_MUST_CHECK;

#endif
