/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compilers: a policy set in the form of a mesh.
 *
 *	mica_policy_compile(set, options) -> text of the target + report
 *
 * One rule for all of them: what a target cannot express makes access narrower, never wider. A
 * value, a clause or a rule of ALLOW that cannot be said is left out (and what would then be
 * without a limit is left out whole); a test of DENY that cannot be said is left away, so that the
 * rule denies more. Each such case is a loss in the report; with `strict` the first one refuses
 * all. Policies with dry-run are compiled where the target has such a thing, and are otherwise no
 * loss: they enforce nothing. AUDIT likewise.
 *
 * Pure; any thread. docs/POLICIES.md says for each target what it can express.
 */
#ifndef MICA_POLICY_COMPILE_H
#define MICA_POLICY_COMPILE_H

#include "mica/linkerd.h"
#include "mica/policy_set.h"

enum mica_policy_target {
	MICA_TARGET_ENVOY_HTTP, /* RBAC filters for HTTP: envoy.extensions.filters.http.rbac.v3 */
	MICA_TARGET_ENVOY_NETWORK, /* for connections: envoy.extensions.filters.network.rbac.v3 */
	MICA_TARGET_ISTIO, /* normalised YAML, policy by policy */
	MICA_TARGET_LINKERD, /* Server, AuthorizationPolicy, MeshTLSAuthentication ... */
	MICA_TARGET_CONSUL, /* service-intentions config entries */
	MICA_TARGET_COUNT
};
enum mica_policy_form { MICA_FORM_JSON, MICA_FORM_YAML, MICA_FORM_PROTOBUF };
struct mica_policy_target_info {
	enum mica_policy_target target;
	const char *name; /* "envoy-http" ... */
	const char *what; /* for help: one line */
	enum mica_policy_form form; /* when none is asked for */
	unsigned forms; /* mask: 1 << form */
	bool of_workload; /* for one workload, which must be given; else the whole set unless given
			   */
};
/* In the order of the enum. */
const struct mica_policy_target_info *mica_policy_target_of(enum mica_policy_target target);
/* False: there is none of that name. */
bool mica_policy_target_named(struct mica_slice name, enum mica_policy_target *out);

/* What of a policy was not said in full. */
struct mica_policy_loss {
	const char *reason; /* a literal: "linkerd_no_method" ... */
	char ns[64], name[254]; /* of the policy */
	unsigned rule; /* from 0 */
	int line, column; /* in its document */
	bool denied_more; /* a rule of DENY was widened; else one of ALLOW narrowed or left out */
	char text[256]; /* what the target lacks, and what was done */
};
#define MICA_POLICY_LOSSES_MAX 256
struct mica_policy_report {
	struct mica_policy_loss *v; /* the first MICA_POLICY_LOSSES_MAX */
	unsigned n; /* how many there were: may be more than are kept */
	unsigned policies, rules; /* that were looked at */
};
#define MICA_POLICY_REPORT_INIT                                                                    \
	{                                                                                          \
		.v = NULL                                                                          \
	}
void mica_policy_report_clear(struct mica_policy_report *r);
#define MICA_AUTO_POLICY_REPORT                                                                    \
	__attribute__((cleanup(mica_policy_report_clear))) struct mica_policy_report
/* {"policies", "rules", "losses": [...]} as one line of JSON without its end. */
void mica_policy_report_put(struct mica_buf *b, const struct mica_policy_report *r);

/* MICA_TARGET_CONSUL: whom names mean. NULL members are the defaults. */
struct mica_consul {
	/* Principals are TD/ns/NAMESPACE/dc/DATACENTER/svc/SERVICE, as Consul's own. Default:
	 * TD/ns/NAMESPACE/sa/SERVICE, a service being named as its service account. */
	const char *datacenter;
	/* Community Edition has no namespaces: all services are of this one. Default: Enterprise.
	 */
	const char *only_namespace;
	const char
		*service_label; /* of workloads: its value is the service's name. Default: "app" */
};

struct mica_policy_compile_options {
	enum mica_policy_target target;
	enum mica_policy_form form;
	const struct mica_policy_workload *workload; /* NULL = all of the set */
	bool strict;
	/* MICA_TARGET_LINKERD: the names of its identities (NULL: those of control plane namespace
	 * "linkerd" and trust domain "cluster.local"), and ports that get a Server besides those
	 * that policies name; as PROTOBUF it is the message of one port, the only one here, of a
	 * workload. */
	const struct mica_linkerd *linkerd;
	const uint16_t *ports;
	unsigned n_ports;
	/* Envoy: "audit", "deny" or "allow", as a DiscoveryResponse with this filter, which Envoy
	 * reads from a file that it watches. NULL = all three, in the order that they must have, as
	 * a fragment of an HttpConnectionManager or a FilterChain. */
	const char *part;
	const struct mica_consul *consul; /* NULL: the defaults */
};
/*
 * Writes the target's text to `b`; what was lost to *report (which may be NULL). A text is the same
 * for the same set: nothing in it depends on time or chance. INVALID "form_unsupported",
 * "part_unknown", "workload_missing", "trust_domain_missing", "datacenter_invalid"; CONFLICT
 * "policy_inexpressible" when strict, with the first loss in its text; LIMIT "too_long" comes from
 * the buffer. On an error `b` may hold a part.
 */
mica_rc mica_policy_compile(const struct mica_policy_set *s,
	const struct mica_policy_compile_options *o, struct mica_buf *b,
	struct mica_policy_report *report, struct mica_err *e) MICA_MUST_CHECK;

#endif
