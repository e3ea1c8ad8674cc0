/* SPDX-License-Identifier: Apache-2.0 */
/* Linkerd: what the rules say of a cell, and which of them could not be said. */
#include "target_linkerd.h"

#include <stdio.h>

struct cell {
	const struct lkd_port *p;
	unsigned path, method, net, peer;
};

/* ---- tests ----------------------------------------------------------------------------------- */

static enum lkd_answer begins(const struct lkd_path *path, const struct mica_policy_value *v)
{
	const bool cell_of_its_own = lkd_path_is_plain(v->text);
	struct mica_slice rest = v->text, literal;

	switch (v->kind) {
	/* What is no path, as in OPTIONS *, is not promised to be let in. */
	case MICA_VALUE_PRESENT: return path->text.len ? LKD_YES : LKD_QUIET;
	case MICA_VALUE_PREFIX:
		if (mica_slice_has_prefix(path->text, v->text))
			return LKD_YES;
		/* fall through */
	case MICA_VALUE_EXACT:
		return cell_of_its_own || !mica_slice_has_prefix(v->text, path->text) ? LKD_NO
										      : LKD_MAYBE;
	case MICA_VALUE_TEMPLATE: (void)mica_slice_cut(&rest, '{', &literal); break;
	default: return LKD_MAYBE;
	}
	return mica_slice_has_prefix(literal, path->text) ||
			mica_slice_has_prefix(path->text, literal)
		? LKD_MAYBE
		: LKD_NO;
}

static enum lkd_answer path_has(
	const struct cell *c, const struct ctest *t, const struct values *values)
{
	const struct mica_policy_request r = {.http = true};
	const struct lkd_path *path = &c->p->paths[c->path];
	const struct subject s = {.r = &r, .path = path->text};
	enum lkd_answer a = LKD_NO;

	if (path->exact)
		return match_values(&s, t, values) ? LKD_YES : LKD_NO;
	for (unsigned i = 0; i < values->n && a != LKD_YES; i++)
		a = lkd_or(a, begins(path, &values->v[i]));
	return a;
}

static enum lkd_answer method_has(
	const struct cell *c, const struct ctest *t, const struct values *values)
{
	const char *method = c->p->methods[c->method];
	const struct mica_policy_request r = {.http = true, .method = mica_slice_str(method)};
	const struct subject s = {.r = &r};
	enum lkd_answer a = LKD_NO;

	if (method)
		return match_values(&s, t, values) ? LKD_YES : LKD_NO;
	for (unsigned i = 0; i < values->n; i++) {
		const struct mica_policy_value *v = &values->v[i];
		bool known = false;

		if (v->kind == MICA_VALUE_PRESENT)
			return LKD_YES;
		for (unsigned k = 1; v->kind == MICA_VALUE_EXACT && k < c->p->n_methods; k++)
			known |= mica_slice_eq_str(v->text, c->p->methods[k]);
		a = known ? a : LKD_MAYBE;
	}
	return a;
}

static enum lkd_answer net_has(const struct cell *c, const struct values *values)
{
	const struct mica_cidr *net = &c->p->nets[c->net].cidr;
	const bool mapped = memcmp(net, &lkd_mapped, sizeof(*net)) == 0;
	enum lkd_answer a = LKD_NO;

	for (unsigned i = 0; mapped && i < values->n; i++)
		if (values->v[i].cidr.ip.len == 4)
			a = lkd_or(a, values->v[i].cidr.bits ? LKD_QUIET : LKD_YES);
	for (unsigned i = 0; !mapped && i < values->n; i++)
		if (values->v[i].cidr.bits <= net->bits &&
			mica_cidr_has(&values->v[i].cidr, &net->ip))
			return LKD_YES;
	return a;
}

static enum lkd_answer cell_has(
	const struct cell *c, const struct ctest *t, const struct values *values)
{
	const struct lkd_peer *peer = &c->p->peers[c->peer];
	const struct mica_policy_request r = {.port = c->p->port};
	const struct subject s = {.r = &r};

	switch (t->attr) {
	case MICA_ATTR_PRINCIPAL:
	case MICA_ATTR_NAMESPACE:
	case MICA_ATTR_SERVICE_ACCOUNT:
	case MICA_ATTR_TRUST_DOMAIN: return lkd_peer_has(c->p, peer, t, values);
	case MICA_ATTR_SOURCE_IP: return net_has(c, values);
	case MICA_ATTR_PATH: return path_has(c, t, values);
	case MICA_ATTR_METHOD: return method_has(c, t, values);
	case MICA_ATTR_PORT: return match_values(&s, t, values) ? LKD_YES : LKD_NO;
	default: return LKD_MAYBE;
	}
}

static enum lkd_answer test_holds(const struct cell *c, const struct ctest *t)
{
	enum lkd_answer a = LKD_YES;

	if (t->http && c->path == LKD_NOT_HTTP)
		return LKD_YES;
	if (t->is.n)
		a = cell_has(c, t, &t->is);
	if (t->is_not.n && a != LKD_NO)
		a = lkd_and(a, lkd_not(cell_has(c, t, &t->is_not)));
	return a;
}

static enum lkd_answer clause_holds(const struct cell *c, const struct cclause *clause)
{
	enum lkd_answer a = LKD_YES;

	for (unsigned i = 0; i < clause->n && a != LKD_NO; i++)
		a = lkd_and(a, test_holds(c, &clause->tests[i]));
	return a;
}

static enum lkd_answer any_holds(const struct cell *c, const struct cclause *v, unsigned n)
{
	enum lkd_answer a = n ? LKD_NO : LKD_YES;

	for (unsigned i = 0; i < n && a != LKD_YES; i++)
		a = lkd_or(a, clause_holds(c, &v[i]));
	return a;
}

static enum lkd_answer rule_holds(const struct cell *c, const struct lkd_rule *r)
{
	enum lkd_answer a;

	if (r->rule->http && c->path == LKD_NOT_HTTP && r->policy->action == MICA_POLICY_ALLOW)
		return LKD_NO;
	a = any_holds(c, r->rule->from, r->rule->n_from);
	if (a != LKD_NO)
		a = lkd_and(a, any_holds(c, r->rule->to, r->rule->n_to));
	return a == LKD_NO ? a : lkd_and(a, clause_holds(c, &r->rule->when));
}

/* ---- losses ---------------------------------------------------------------------------------- */

static const struct {
	const char *reason, *what;
} lacks[MICA_ATTR_COUNT] = {
	[MICA_ATTR_PRINCIPAL] = {"linkerd_principal",
		"of principals Linkerd knows accounts, namespaces, all of the mesh and anybody"},
	[MICA_ATTR_REQUEST_PRINCIPAL] = {"linkerd_jwt", "Linkerd verifies no JWT"},
	[MICA_ATTR_NAMESPACE] = {"linkerd_namespace", "Linkerd knows no patterns of namespaces"},
	[MICA_ATTR_SERVICE_ACCOUNT] = {"linkerd_principal", "Linkerd cannot say this account"},
	[MICA_ATTR_TRUST_DOMAIN] = {"linkerd_trust_domain",
		"of other trust domains Linkerd knows single SPIFFE IDs"},
	[MICA_ATTR_SOURCE_IP] = {"linkerd_network", "Linkerd cannot say this network"},
	[MICA_ATTR_REMOTE_IP] = {"linkerd_remote_ip",
		"Linkerd does not know the client behind a proxy"},
	[MICA_ATTR_HOST] = {"linkerd_host", "hosts are not compiled"},
	[MICA_ATTR_PORT] = {"linkerd_port", "Linkerd cannot say this port"},
	[MICA_ATTR_METHOD] = {"linkerd_method", "of methods a route knows the nine of HTTP"},
	[MICA_ATTR_PATH] = {"linkerd_path",
		"of paths exact ones and beginnings in ASCII are compiled, no ends and templates"},
	[MICA_ATTR_HEADER] = {"linkerd_header", "headers are not compiled"},
	[MICA_ATTR_AUDIENCE] = {"linkerd_jwt", "Linkerd verifies no JWT"},
	[MICA_ATTR_PRESENTER] = {"linkerd_jwt", "Linkerd verifies no JWT"},
	[MICA_ATTR_CLAIM] = {"linkerd_jwt", "Linkerd verifies no JWT"},
	[MICA_ATTR_DESTINATION_IP] = {"linkerd_destination_ip",
		"Linkerd does not ask for the destination's address"},
	[MICA_ATTR_SNI] = {"linkerd_sni", "Linkerd does not ask for the server name"},
};
/* Of the others. */
static const struct {
	const char *reason, *what;
} others[] = {
	{"linkerd_except", "Linkerd cannot let in all of these peers but some"},
	{"linkerd_too_large", "the rules about a port divide requests too finely; it is closed"},
	{"linkerd_ports", "a port that neither a policy nor the options name is closed"},
	{"linkerd_root_namespace", "only namespaces that have policies get it"},
};

static void lose(struct lkd_port *p, const struct lkd_rule *r, unsigned loss, int line, int column,
	const char *reason, const char *what)
{
	const bool deny = r->policy->action == MICA_POLICY_DENY;
	uint32_t *noted = &p->said[r->rule - p->t->set->rules];

	if (*noted & 1U << loss)
		return;
	*noted |= 1U << loss;
	target_lose(p->t, r->policy, r->rule->index, line, column, reason, "%s: %s", what,
		deny ? "the rule denies more" : "the rule allows less");
}

void lkd_lose_rule(struct lkd_port *p, const struct lkd_rule *r, enum lkd_loss loss)
{
	lose(p, r, loss, r->rule->policy->rules[r->rule->index].line,
		r->rule->policy->rules[r->rule->index].column, others[loss - LKD_EXCEPT].reason,
		others[loss - LKD_EXCEPT].what);
}

static const struct ctest *unsure(const struct cell *c, const struct cclause *v, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		for (unsigned k = 0; k < v[i].n; k++)
			if (test_holds(c, &v[i].tests[k]) == LKD_MAYBE)
				return &v[i].tests[k];
	return NULL;
}

static void lose_test(struct lkd_port *p, const struct cell *c, const struct lkd_rule *r)
{
	const struct ctest *t = unsure(c, r->rule->from, r->rule->n_from);

	t = t ? t : unsure(c, r->rule->to, r->rule->n_to);
	t = t ? t : unsure(c, &r->rule->when, 1);
	if (t)
		lose(p, r, t->attr, t->test->line, t->test->column, lacks[t->attr].reason,
			lacks[t->attr].what);
}

/* ---- the verdict ----------------------------------------------------------------------------- */

static enum lkd_answer any_rule(const struct cell *c, unsigned from, unsigned to)
{
	enum lkd_answer a = LKD_NO;

	for (unsigned i = from; i < to && a != LKD_YES; i++)
		a = lkd_or(a, rule_holds(c, &c->p->rules[i]));
	return a;
}

bool lkd_judge(struct lkd_port *p, unsigned path, unsigned method, unsigned net, unsigned peer)
{
	const struct cell c = {p, path, method, net, peer};
	enum lkd_answer a, d;

	if (p->strict_mtls && peer == LKD_ANYBODY)
		return false;
	a = p->any_allow ? any_rule(&c, 0, p->n_allow) : LKD_YES;
	if (a == LKD_NO)
		return false;
	d = any_rule(&c, p->n_allow, p->n_rules);
	if (lkd_and(a, lkd_not(d)) == LKD_MAYBE) {
		for (unsigned i = 0; i < p->n_rules; i++)
			if (rule_holds(&c, &p->rules[i]) == LKD_MAYBE)
				lose_test(p, &c, &p->rules[i]);
	}
	return a == LKD_YES && d == LKD_NO;
}

static const struct lkd_rule *first_rule(
	const struct cell *c, unsigned from, unsigned to, enum lkd_answer least)
{
	for (unsigned i = from; i < to; i++)
		if (rule_holds(c, &c->p->rules[i]) >= least)
			return &c->p->rules[i];
	return NULL;
}

static bool is_below(const struct lkd_port *p, unsigned peer, unsigned of)
{
	while (peer > of)
		peer = p->peers[peer].parent;
	return peer == of;
}

/* Whoever keeps somebody below out, else who lets the node in. */
void lkd_lose_except(
	struct lkd_port *p, unsigned path, unsigned method, unsigned net, unsigned peer)
{
	struct cell c = {p, path, method, net, peer};
	const struct lkd_rule *r = NULL;

	for (c.peer = peer + 1; !r && c.peer < p->n_peers; c.peer++)
		if (is_below(p, c.peer, peer))
			r = first_rule(&c, p->n_allow, p->n_rules, LKD_QUIET);
	c.peer = peer;
	r = r ? r : first_rule(&c, 0, p->n_allow, LKD_YES);
	if (r)
		lkd_lose_rule(p, r, LKD_EXCEPT);
}
