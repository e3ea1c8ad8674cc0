/* SPDX-License-Identifier: Apache-2.0 */
/* PeerAuthentication: which mode holds for a port of a workload. */
#include "set_impl.h"

enum level { WORKLOAD, NAMESPACE, MESH, LEVELS };

/* Whether `p` comes before `other`: the oldest, of which no age is known last, then by name. */
static bool before(const struct mica_policy *p, const struct mica_policy *other)
{
	int64_t a = p->created ? p->created : INT64_MAX,
		b = other->created ? other->created : INT64_MAX;

	return a != b ? a < b : strcmp(p->name, other->name) < 0;
}

/* In the root namespace a selector is not looked at, as Istio has it. */
static bool level_of(const struct mica_policy_set *s, const struct mica_policy *p,
	const struct mica_policy_workload *w, enum level *level)
{
	if (set_is_root(s, mica_slice_str(p->ns))) {
		*level = MESH;
		return true;
	}
	*level = p->selector.n ? WORKLOAD : NAMESPACE;
	return mica_slice_eq_str(w->ns, p->ns) && selector_holds(&p->selector, w);
}

static enum mica_mtls_mode port_mode(const struct mica_policy *p, uint16_t port)
{
	for (unsigned i = 0; i < p->n_ports; i++) {
		if (p->ports[i].port == port)
			return p->ports[i].mode;
	}
	return MICA_MTLS_UNSET;
}

enum mica_mtls_mode mica_policy_mtls(
	const struct mica_policy_set *s, const struct mica_policy_workload *w, uint16_t port)
{
	const struct mica_policy *first[LEVELS] = {NULL};
	enum mica_mtls_mode mode = MICA_MTLS_UNSET;

	for (size_t i = s->n_authorization; i < s->n; i++) {
		const struct mica_policy *p = s->policies[i];
		enum level at;

		if (level_of(s, p, w, &at) && (first[at] == NULL || before(p, first[at])))
			first[at] = p;
	}
	if (first[WORKLOAD])
		mode = port_mode(first[WORKLOAD], port);
	for (int at = WORKLOAD; at < LEVELS && mode == MICA_MTLS_UNSET; at++) {
		if (first[at])
			mode = first[at]->mtls;
	}
	return mode == MICA_MTLS_UNSET ? MICA_MTLS_PERMISSIVE : mode;
}
