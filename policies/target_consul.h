/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Consul: intentions, entry by entry the sources of a destination.
 *
 * Of all intentions about a connection exactly one counts: that of the most exact destination, then
 * of the most exact source. So each destination's entry is complete: it has everything that is
 * about the destination, for each service and namespace that a rule tells apart, and for `*`. To a
 * source belong permissions, of which the first that matches decides: those of DENY rules, then
 * those of ALLOW rules, then one that denies.
 *
 * Permissions know paths, methods and headers. Everything else that a rule asks is answered here,
 * per source: YES, NO, or MAYBE where Consul cannot tell. A rule of ALLOW with a MAYBE is left out,
 * a rule of DENY matches as though it did not ask; where that matters it is a loss.
 */
#ifndef MICA_TARGET_CONSUL_H
#define MICA_TARGET_CONSUL_H

#include "set_impl.h"
#include "target_impl.h"

enum csl_answer { CSL_NO, CSL_MAYBE, CSL_YES };

enum csl_loss {
	CSL_LOSS_SOURCE,
	CSL_LOSS_ADDRESS,
	CSL_LOSS_PORT,
	CSL_LOSS_HOST,
	CSL_LOSS_HEADER,
	CSL_LOSS_JWT,
	CSL_LOSS_SNI,
	CSL_LOSS_SELECTOR,
	CSL_LOSS_NAMESPACE,
	CSL_LOSS_PERMISSIONS,
	CSL_LOSS_MANY,
	CSL_LOSS_COUNT,
	CSL_LOSS_NONE = CSL_LOSS_COUNT
};

/* Who asks: a service; all others of a namespace (no name); all others (no namespace either). */
struct csl_name {
	struct mica_slice ns, name;
};
struct csl_names {
	struct csl_name *v;
	size_t n, room;
};
void csl_names_add(struct csl_names *s, struct csl_name one);
/* In the order of namespace and name, each once. */
void csl_names_sort(struct csl_names *s);
bool csl_names_has(const struct csl_names *s, struct csl_name one);

struct csl_source {
	struct csl_name of;
	struct mica_slice
		known; /* what their principals begin with; all of it when they have a name */
	struct mica_policy_request request;
	struct subject subject; /* what is known of them */
};

/* A policy about a destination; whether it is about all workloads there. */
struct csl_policy {
	const struct mica_policy *p;
	const struct crule *rules;
	enum csl_answer selects;
};

/* A rule for one source: what of it is asked of the request itself. None: it always matches. */
struct csl_term {
	const struct csl_policy *policy;
	const struct crule *rule;
	const struct ctest **tests; /* of METHOD, PATH, HEADER */
	unsigned n;
	bool http; /* ALLOW: what is not HTTP it does not allow */
};
struct csl_terms {
	struct csl_term *v;
	size_t n, room;
};
struct csl_lost {
	const struct crule *rule; /* NULL: of the policy as such */
	const struct mica_policy *policy;
	enum csl_loss loss;
	int line, column;
};

struct csl {
	struct target_run *t;
	struct mica_slice td;
	const char *middle; /* of a principal, between namespace and name: "sa", "dc/DC/svc" */
	bool accounts; /* it is "sa": service accounts are services */
	struct mica_slice only_ns; /* Community Edition: the namespace there is */
	struct mica_slice label; /* whose value is the name of a workload's service */
	uint32_t *said; /* of each rule of the set: which losses are noted */

	struct arena arena; /* of one destination */
	struct csl_policy *policies;
	size_t n_policies;
	bool any_allow, sure_allow; /* an ALLOW policy is about it, perhaps; surely */
	struct csl_names services, namespaces; /* that rules about it name */

	/* Of one source. */
	struct csl_terms deny, allow;
	struct csl_lost *lost;
	size_t n_lost, room_lost;
};

/* A name that Consul's own patterns take for nothing else. */
bool csl_name_ok(struct mica_slice name);
/* The services and namespaces that the rules about the destination name (target_consul_names.c). */
void csl_collect(struct csl *c);
void csl_source_init(struct csl *c, struct csl_name of, struct csl_source *s);
/* Whether all that `s` stands for pass the test of a peer's identity. */
enum csl_answer csl_source_passes(
	const struct csl *c, const struct csl_source *s, const struct ctest *t);
/* Fills c->deny and c->allow for a source, and c->lost (target_consul_terms.c). */
void csl_terms_make(struct csl *c, const struct csl_source *s);
void csl_lose(struct csl *c, const struct csl_policy *p, const struct crule *r, enum csl_loss loss,
	int line, int column);
/* How many permissions a term takes; 0: more than are written. */
unsigned csl_term_size(const struct csl_term *t);
/* "Permissions":[...] of the terms (target_consul_http.c). */
void csl_put_permissions(struct csl *c, struct mica_buf *b);

#endif
