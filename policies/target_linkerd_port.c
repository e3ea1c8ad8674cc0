/* SPDX-License-Identifier: Apache-2.0 */
/* Linkerd: the cells of a port that are let in, put together to authorizations and routes. */
#include "target_linkerd.h"

#include <stdio.h>
#include <stdlib.h>

#define NOBODY 0 /* the first grant */

/* ---- rules ----------------------------------------------------------------------------------- */

/* The first policy of a namespace that is not before `ns`: they stand in its order. */
static size_t first_of(const struct mica_policy_set *s, struct mica_slice ns)
{
	size_t low = 0, high = s->n_authorization;

	while (low < high) {
		const size_t mid = (low + high) / 2;

		if (mica_slice_cmp(mica_slice_str(s->policies[mid]->ns), ns) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* Of the policies of a namespace those that are enforced and about the workload; their places go to
 * `at`, which has room. */
static size_t select_ns(struct lkd_port *p, struct mica_slice ns, uint32_t *at, size_t *rules)
{
	const struct mica_policy_set *s = p->t->set;
	size_t n = 0;

	for (size_t i = first_of(s, ns); i < s->n_authorization; i++) {
		const struct mica_policy *policy = s->policies[i];

		if (!mica_slice_eq_str(ns, policy->ns))
			break;
		if (policy->dry_run || policy->action == MICA_POLICY_AUDIT ||
			!mica_policy_selects(s, policy, p->workload))
			continue;
		p->any_allow |= policy->action == MICA_POLICY_ALLOW;
		*rules += policy->n_rules;
		at[n++] = (uint32_t)i;
	}
	return n;
}

static void add_rules(
	struct lkd_port *p, const uint32_t *at, size_t n, enum mica_policy_action action)
{
	const struct mica_policy_set *s = p->t->set;

	for (size_t i = 0; i < n; i++) {
		const struct mica_policy *policy = s->policies[at[i]];

		for (unsigned k = 0; policy->action == action && k < policy->n_rules; k++)
			p->rules[p->n_rules++] =
				(struct lkd_rule){&s->rules[s->first_rule[at[i]] + k], policy};
	}
}

static void collect(struct lkd_port *p)
{
	const struct mica_slice root = mica_slice_str(p->t->set->root_ns);
	uint32_t *at MICA_AUTO_FREE = mica_calloc(p->t->set->n_authorization + 1, sizeof(*at));
	size_t rules = 0, n = select_ns(p, p->workload->ns, at, &rules);

	if (root.len && !mica_slice_eq(root, p->workload->ns))
		n += select_ns(p, root, at + n, &rules);
	p->rules = arena_alloc(&p->arena, rules + 1, sizeof(*p->rules));
	add_rules(p, at, n, MICA_POLICY_ALLOW);
	p->n_allow = p->n_rules;
	add_rules(p, at, n, MICA_POLICY_DENY);
}

void lkd_port_begin(struct lkd_port *p, struct target_run *t,
	const struct mica_policy_workload *workload, uint16_t port, uint32_t *said)
{
	*p = (struct lkd_port){.t = t, .port = port, .workload = workload, .said = said};
	snprintf(p->linkerd.control_ns, sizeof(p->linkerd.control_ns), "linkerd");
	snprintf(p->linkerd.trust_domain, sizeof(p->linkerd.trust_domain), "cluster.local");
	if (t->o->linkerd)
		p->linkerd = *t->o->linkerd;
	p->td = t->set->n_domains ? t->set->domains[0] : MICA_LIT("cluster.local");
	p->strict_mtls = mica_policy_mtls(t->set, workload, port) == MICA_MTLS_STRICT;
	collect(p);
}

void lkd_port_clear(struct lkd_port *p)
{
	arena_clear(&p->arena);
}

/* ---- one route: peers by network ------------------------------------------------------------- */

struct peer_list {
	unsigned *v;
	unsigned n;
	bool anybody;
};

/* Of a network the nodes that are let in, with all below. */
static void list_peers(struct lkd_port *p, unsigned path, unsigned method, unsigned net,
	bool *whole, struct peer_list *out)
{
	bool *own = whole + p->n_peers;

	for (unsigned i = 0; i < p->n_peers; i++)
		own[i] = whole[i] = lkd_judge(p, path, method, net, i);
	for (unsigned i = p->n_peers; i-- > 1;)
		whole[p->peers[i].parent] &= whole[i];
	out->v = arena_alloc(&p->arena, p->n_peers, sizeof(*out->v));
	out->n = 0;
	out->anybody = whole[LKD_ANYBODY];
	for (unsigned i = 0; i < p->n_peers; i++) {
		if (own[i] && !whole[i])
			lkd_lose_except(p, path, method, net, i);
		if (i == 0 || !whole[i] || whole[p->peers[i].parent])
			continue;
		if (p->peers[i].kind == LKD_ID && p->t->o->form != MICA_FORM_PROTOBUF)
			lkd_lose_peer(p, path, method, net, i);
		else
			out->v[out->n++] = i;
	}
}

static bool same_peers(const struct peer_list *a, const struct peer_list *b)
{
	return a->anybody == b->anybody && a->n == b->n &&
		(a->n == 0 || memcmp(a->v, b->v, a->n * sizeof(*a->v)) == 0);
}

static bool is_border(const struct lkd_port *p, const unsigned *list_of, unsigned net)
{
	const unsigned up = p->nets[net].parent;

	return up == net || list_of[up] != list_of[net];
}

/* The border next above: the block that `net` is part of when it is none itself. */
static unsigned border_above(const struct lkd_port *p, const unsigned *list_of, unsigned net)
{
	while (!is_border(p, list_of, net))
		net = p->nets[net].parent;
	return net;
}

static void cut_out(
	struct lkd_port *p, const unsigned *list_of, struct lkd_network *block, unsigned net)
{
	block->cidr = &p->nets[net].cidr;
	block->except = arena_alloc(&p->arena, p->n_nets, sizeof(*block->except));
	for (unsigned i = net + 1; i < p->n_nets; i++)
		if (is_border(p, list_of, i) && p->nets[i].parent != i &&
			border_above(p, list_of, p->nets[i].parent) == net)
			block->except[block->n_except++] = &p->nets[i].cidr;
}

static struct lkd_authz authz_of(
	struct lkd_port *p, const unsigned *list_of, unsigned list, const struct peer_list *peers)
{
	struct lkd_network *v = arena_alloc(&p->arena, p->n_nets, sizeof(*v));
	struct lkd_authz a = {.networks = v, .peers = peers->v, .n_peers = peers->n};
	bool all = true;

	if (peers->anybody)
		a.n_peers = 0;
	for (unsigned i = 0; i < p->n_nets; i++) {
		all &= list_of[i] == list;
		if (list_of[i] == list && is_border(p, list_of, i))
			cut_out(p, list_of, &v[a.n_networks++], i);
	}
	if (all)
		a.n_networks = 0;
	return a;
}

static struct lkd_grant grant_of(struct lkd_port *p, unsigned path, unsigned method, bool *whole)
{
	struct peer_list *lists = arena_alloc(&p->arena, p->n_nets, sizeof(*lists));
	unsigned *list_of = arena_alloc(&p->arena, p->n_nets, sizeof(*list_of));
	struct lkd_authz *v = arena_alloc(&p->arena, p->n_nets, sizeof(*v));
	struct lkd_grant g = {.v = v};

	for (unsigned i = 0; i < p->n_nets; i++) {
		list_peers(p, path, method, i, whole, &lists[i]);
		for (list_of[i] = 0; !same_peers(&lists[list_of[i]], &lists[i]);)
			list_of[i]++;
	}
	for (unsigned i = 0; i < p->n_nets; i++)
		if (list_of[i] == i && (lists[i].anybody || lists[i].n))
			v[g.n++] = authz_of(p, list_of, i, &lists[i]);
	return g;
}

/* ---- grants that are alike are one ----------------------------------------------------------- */

static bool same_network(const struct lkd_network *a, const struct lkd_network *b)
{
	return a->cidr == b->cidr && a->n_except == b->n_except &&
		(a->n_except == 0 ||
			memcmp(a->except, b->except, a->n_except * sizeof(*a->except)) == 0);
}

static bool same_authz(const struct lkd_authz *a, const struct lkd_authz *b)
{
	if (a->n_networks != b->n_networks || a->n_peers != b->n_peers ||
		(a->n_peers && memcmp(a->peers, b->peers, a->n_peers * sizeof(*a->peers)) != 0))
		return false;
	for (unsigned i = 0; i < a->n_networks; i++)
		if (!same_network(&a->networks[i], &b->networks[i]))
			return false;
	return true;
}

static bool same_grant(const struct lkd_grant *a, const struct lkd_grant *b)
{
	if (a->n != b->n)
		return false;
	for (unsigned i = 0; i < a->n; i++)
		if (!same_authz(&a->v[i], &b->v[i]))
			return false;
	return true;
}

static unsigned add_grant(
	struct lkd_port *p, struct lkd_server *out, unsigned path, unsigned method, bool *whole)
{
	const struct lkd_grant g = grant_of(p, path, method, whole);
	unsigned i = 0;

	while (i < out->n_grants && !same_grant(&out->grants[i], &g))
		i++;
	if (i == out->n_grants)
		out->grants[out->n_grants++] = g;
	return i;
}

/* ---- routes ---------------------------------------------------------------------------------- */

static void close_port(struct lkd_port *p)
{
	for (unsigned i = 0; i < p->n_rules; i++)
		lkd_lose_rule(p, &p->rules[i], LKD_TOO_LARGE);
}

/* What is let in by path and method: rows of p->n_methods. */
struct grid {
	unsigned *v;
	bool *kept; /* a path that differs from the one that it is in */
};

static const unsigned *row(const struct lkd_port *p, const struct grid *g, unsigned path)
{
	return &g->v[(size_t)path * p->n_methods];
}

static bool same_row(const struct lkd_port *p, const struct grid *g, unsigned a, unsigned b)
{
	return memcmp(row(p, g, a), row(p, g, b), p->n_methods * sizeof(*g->v)) == 0;
}

static unsigned kept_above(const struct lkd_port *p, const struct grid *g, unsigned path)
{
	path = p->paths[path].parent;
	while (!g->kept[path])
		path = p->paths[path].parent;
	return path;
}

/* False: it would be too long. */
static bool match_path(struct lkd_port *p, const struct grid *g, unsigned path, struct lkd_match *m)
{
	const struct lkd_path **inside = arena_alloc(&p->arena, p->n_paths, sizeof(*inside));
	unsigned n = 0;
	MICA_AUTO_BUF b;

	mica_buf_init(&b, LKD_PATH_MAX);
	m->path = p->paths[path].text;
	m->kind = p->paths[path].exact ? LKD_PATH_EXACT : LKD_PATH_REGEX;
	for (unsigned i = path + 1; i < p->n_paths; i++)
		if (g->kept[i] && kept_above(p, g, i) == path)
			inside[n++] = &p->paths[i];
	if (path == 0 && n == 0)
		m->kind = LKD_PATH_ANY;
	if (m->kind != LKD_PATH_REGEX)
		return true;
	lkd_path_regex(&b, m->path, inside, n);
	m->path = arena_text(&p->arena, mica_buf_slice(&b));
	return mica_buf_rc(&b, NULL) == MICA_OK;
}

static void add_matches(
	struct lkd_port *p, const struct grid *g, unsigned path, struct lkd_server *out)
{
	const unsigned *r = row(p, g, path);
	struct lkd_match m = {.method = NULL};
	unsigned some = 0;

	for (unsigned i = 0; i < p->n_methods; i++)
		some |= r[i] ^ NOBODY;
	if (!some)
		return; /* what no route matches is denied */
	if (!match_path(p, g, path, &m)) {
		close_port(p);
		return;
	}
	for (unsigned i = 0; i < p->n_methods; i++) {
		m.method = p->methods[i];
		m.grant = r[i];
		if (i ? r[i] != r[0] : r[0] != NOBODY)
			out->matches[out->n_matches++] = m;
	}
}

static int by_grant(const void *a, const void *b)
{
	const struct lkd_match *x = a, *y = b;
	int by = (x->grant > y->grant) - (x->grant < y->grant);

	by = by ? by : (int)x->kind - (int)y->kind;
	by = by ? by : mica_slice_cmp(x->path, y->path);
	return by ? by : strcmp(x->method ? x->method : "", y->method ? y->method : "");
}

static void make_routes(struct lkd_port *p, const struct grid *g, struct lkd_server *out)
{
	bool one = true; /* all is let in like what is not HTTP */

	for (unsigned i = 0; i < p->n_paths * p->n_methods; i++)
		one &= g->v[i] == out->not_http;
	if (one)
		return;
	for (unsigned i = 0; i < p->n_paths; i++)
		g->kept[i] = i == 0 || !same_row(p, g, i, p->paths[i].parent);
	out->matches =
		arena_alloc(&p->arena, (size_t)p->n_paths * p->n_methods, sizeof(*out->matches));
	for (unsigned i = 0; i < p->n_paths; i++)
		if (g->kept[i])
			add_matches(p, g, i, out);
	qsort(out->matches, out->n_matches, sizeof(*out->matches), by_grant);
}

void lkd_port_judge(struct lkd_port *p, struct lkd_server *out)
{
	const bool fits = lkd_cells_make(p);
	const size_t cells = (size_t)p->n_paths * p->n_methods;
	bool *whole MICA_AUTO_FREE = mica_calloc(p->n_peers, 2 * sizeof(*whole));
	struct grid g = {.v = NULL};

	*out = (struct lkd_server){.n_grants = 1}; /* NOBODY */
	out->grants = arena_alloc(&p->arena, fits ? cells + 2 : 1, sizeof(*out->grants));
	if (!fits) {
		close_port(p);
		return;
	}
	g.v = arena_alloc(&p->arena, cells, sizeof(*g.v));
	g.kept = arena_alloc(&p->arena, p->n_paths, sizeof(*g.kept));
	out->not_http = add_grant(p, out, LKD_NOT_HTTP, 0, whole);
	for (unsigned i = 0; i < cells; i++)
		g.v[i] = add_grant(p, out, i / p->n_methods, i % p->n_methods, whole);
	make_routes(p, &g, out);
}
