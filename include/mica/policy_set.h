/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A policy set: policies, compiled into one immutable snapshot that decides about requests.
 *
 *	mica_policy_set_new(mesh, policies) -> set -> mica_policy_decide(set, request) -> verdict
 *
 * Istio's order, over the policies that select the workload (those of its namespace and of the root
 * namespace, whose selectors its labels fulfil):
 *	1. a rule of a DENY policy matches: denied
 *	2. there is no ALLOW policy: allowed
 *	3. a rule of an ALLOW policy matches: allowed
 *	4. denied
 * AUDIT policies change nothing. Policies with dry-run count only for what the verdict *would* be.
 * docs/POLICIES.md has the truth tables.
 *
 * A set may be used by any number of threads at once; it is counted.
 */
#ifndef MICA_POLICY_SET_H
#define MICA_POLICY_SET_H

#include "mica/policy.h"

#define MICA_POLICY_SET_MAX 100000 /* policies of a set */

/* ---- the request ----------------------------------------------------------------------------- */

/* Who is asked: borrowed, as everything here. */
struct mica_policy_workload {
	struct mica_slice ns;
	const struct mica_policy_pair *labels;
	unsigned n_labels;
};

/* Whoever fills it has verified it: a peer without a verified certificate has no `peer`, a JWT that
 * was not verified gives neither issuer nor claims. */
struct mica_policy_request {
	struct mica_policy_workload workload;
	/* The connection. */
	struct mica_slice peer; /* "spiffe://td/..."; empty = none */
	struct mica_ip source_ip, remote_ip, destination_ip;
	uint16_t port; /* of the destination; 0 = unknown */
	struct mica_slice sni; /* in lower case */
	/* HTTP. Without it, what only HTTP has is unknown: an ALLOW rule that asks for it does not
	 * match, and a DENY or AUDIT rule matches as though it did not ask. */
	bool http;
	struct mica_slice host; /* :authority, with its port when it has one */
	struct mica_slice method;
	struct mica_slice path; /* normalised; what begins with '?' or '#' is not looked at */
	/* Names in lower case, once each; the values of one that came several times joined by ','.
	 */
	const struct mica_policy_pair *headers;
	unsigned n_headers;
	/* The JWT: empty, none. */
	struct mica_slice jwt_issuer, jwt_subject;
	const struct mica_slice *audiences;
	unsigned n_audiences;
	struct mica_slice presenter; /* claim azp */
	/* Claims, "[a]" or "[a][b]" -> a string; a list is several of one name. */
	const struct mica_policy_pair *claims;
	unsigned n_claims;
};

/* ---- the set --------------------------------------------------------------------------------- */

struct mica_policy_mesh {
	/* Policies in it are for all namespaces; NULL = there is none. */
	const char *root_ns;
	/* A principal of one of these, or of "cluster.local", in the form TD/ns/NS/sa/SA means that
	 * of each of them. NULL = no aliases at all. */
	const char *trust_domain;
	const char *const *aliases;
	unsigned n_aliases;
};

struct mica_policy_set; /* opaque */

/* References the policies. LIMIT "policy_set_too_large"; INVALID "policy_duplicate": two of a kind,
 * namespace and name; "trust_domain_invalid". */
mica_rc mica_policy_set_new(const struct mica_policy_mesh *mesh,
	const struct mica_policy *const *policies, size_t n, struct mica_policy_set **out,
	struct mica_err *e) MICA_MUST_CHECK;
struct mica_policy_set *mica_policy_set_ref(struct mica_policy_set *s);
void mica_policy_set_unref(struct mica_policy_set *s); /* NULL is fine */
size_t mica_policy_set_count(const struct mica_policy_set *s);
/* The i-th policy, in the order of kind, namespace, name. */
const struct mica_policy *mica_policy_set_at(const struct mica_policy_set *s, size_t i);
/* By kind, namespace and name; NULL when there is none. */
const struct mica_policy *mica_policy_set_find(const struct mica_policy_set *s,
	enum mica_policy_kind kind, struct mica_slice ns, struct mica_slice name);

/* Whether `p` is about the workload: for compilers, which want all that are. */
bool mica_policy_selects(const struct mica_policy_set *s, const struct mica_policy *p,
	const struct mica_policy_workload *w);
/* What a value of MICA_ATTR_PRINCIPAL means with the aliases of the mesh, for compilers: calls `fn`
 * with each principal pattern ("td/ns/a/sa/b"), at least once. */
void mica_policy_principals(const struct mica_policy_set *s, const struct mica_policy_value *v,
	void (*fn)(void *ctx, enum mica_value_kind kind, struct mica_slice text), void *ctx);

/* ---- decisions ------------------------------------------------------------------------------- */

enum mica_policy_why {
	MICA_WHY_NO_ALLOW_POLICY, /* allowed: nothing denies, and no ALLOW policy selects it */
	MICA_WHY_ALLOW_RULE, /* allowed by policy and rule */
	MICA_WHY_DENY_RULE, /* denied by policy and rule */
	MICA_WHY_NO_RULE /* denied: there are ALLOW policies, and none of their rules matches */
};
const char *mica_policy_why_name(enum mica_policy_why why); /* "no_allow_policy" ... */

struct mica_policy_outcome {
	bool allowed;
	enum mica_policy_why why;
	/* ALLOW_RULE, DENY_RULE: one that matches (several may), borrowed from the set; NO_RULE:
	 * NULL.
	 */
	const struct mica_policy *policy;
	unsigned rule; /* from 0 */
};
struct mica_policy_verdict {
	struct mica_policy_outcome now; /* what is enforced */
	/* What would be, were the policies with dry-run enforced; equal to `now` when none of them
	 * is about the workload. */
	struct mica_policy_outcome dry_run;
	/* An AUDIT rule that matches; NULL = none. */
	const struct mica_policy *audit;
	unsigned audit_rule;
};
/* Always decides. A `peer` that is no SPIFFE ID is none. Microseconds; no memory is allocated but
 * for a workload that dozens of different selectors select. */
void mica_policy_decide(const struct mica_policy_set *s, const struct mica_policy_request *r,
	struct mica_policy_verdict *out);

/* The mode that PeerAuthentication gives a port: port before workload before namespace before
 * root namespace; of several the oldest, then the first by name. PERMISSIVE when nobody says. */
enum mica_mtls_mode mica_policy_mtls(
	const struct mica_policy_set *s, const struct mica_policy_workload *w, uint16_t port);

/* ---- explanations ---------------------------------------------------------------------------- */

/* Why a rule of a policy that selects the workload does or does not match. */
enum mica_policy_part {
	MICA_PART_NONE, /* it matches; or the policy has no rules (`rule` is 0 then) */
	MICA_PART_HTTP, /* it asks for what only HTTP has, and the request is not HTTP */
	MICA_PART_FROM,
	MICA_PART_TO,
	MICA_PART_WHEN
};
struct mica_policy_finding {
	const struct mica_policy *policy;
	unsigned rule;
	bool matches;
	enum mica_policy_part part; /* the first that fails */
	/* FROM, TO: of the clause that got farthest, the test that fails; WHEN: the test. */
	const struct mica_policy_test *test;
	unsigned clause; /* from 0 */
	/* The value of `is_not` that the request has; NULL: it has none of `is`. */
	const struct mica_policy_value *unwanted;
};
/* Calls `fn` with every rule of every policy that selects the workload, in the order DENY, ALLOW,
 * AUDIT, then namespace and name. Slow, obvious, and of the same opinion as decide. */
void mica_policy_explain(const struct mica_policy_set *s, const struct mica_policy_request *r,
	void (*fn)(void *ctx, const struct mica_policy_finding *f), void *ctx);
/* "payments/api rule 2 does not match: from 1: principals: has none of "a", "b"" */
void mica_policy_finding_put(struct mica_buf *b, const struct mica_policy_finding *f);

#endif
