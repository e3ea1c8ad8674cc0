/* SPDX-License-Identifier: Apache-2.0 */
/* Consul: destinations, and an entry for each. See target_consul.h. */
#include "target_consul.h"

#include "mica/spiffeid.h"

#define PERMISSIONS_BYTES ((size_t)64 << 20)

/* ---- losses ------------------------------------------------------------------------------------
 */

static const struct {
	const char *reason, *what;
} losses[CSL_LOSS_COUNT] = {
	[CSL_LOSS_SOURCE] = {"consul_source",
		"a source is a service, all of a namespace, or all; not a part of a name"},
	[CSL_LOSS_ADDRESS] = {"consul_address", "intentions know no addresses"},
	[CSL_LOSS_PORT] = {"consul_port", "intentions are about all ports of a service"},
	[CSL_LOSS_HOST] = {"consul_host", "permissions know no hosts"},
	[CSL_LOSS_HEADER] = {"consul_header", "Envoy keeps the host elsewhere than in a header"},
	[CSL_LOSS_JWT] = {"consul_jwt", "JWTs are not compiled for Consul"},
	[CSL_LOSS_SNI] = {"consul_sni", "intentions know no name of the server"},
	[CSL_LOSS_SELECTOR] = {"consul_selector",
		"intentions are about whole services, not about some of their workloads"},
	[CSL_LOSS_NAMESPACE] = {"consul_namespace",
		"Consul has one namespace, and this policy is of another"},
	[CSL_LOSS_PERMISSIONS] = {"consul_permissions",
		"only a service that policies name can have permissions; what needs them is closed"},
	[CSL_LOSS_MANY] = {"consul_too_many", "this takes too many permissions"},
};

static void report(struct csl *c, const struct csl_lost *l)
{
	const bool deny = l->policy->action == MICA_POLICY_DENY;
	const char *what = l->loss == CSL_LOSS_PERMISSIONS ? ""
		: deny                                     ? ": the rule denies more"
							   : ": the rule allows less";
	if (l->rule) {
		uint32_t *said = &c->said[l->rule - c->t->set->rules];
		if (*said & 1U << l->loss)
			return;
		*said |= 1U << l->loss;
	}
	target_lose(c->t, l->policy, l->rule ? l->rule->index : 0, l->line, l->column,
		losses[l->loss].reason, "%s%s", losses[l->loss].what, what);
}

/* Of a source that is allowed, or denied, whatever it asks for, only that side's losses matter. */
static void report_all(struct csl *c, bool of_allow, bool of_deny)
{
	for (size_t i = 0; i < c->n_lost; i++)
		if (c->lost[i].policy->action == MICA_POLICY_DENY ? of_deny : of_allow)
			report(c, &c->lost[i]);
}

/* ---- a source ----------------------------------------------------------------------------------
 */

/* A term that matches whatever is asked; `need_tcp`: and what is not HTTP, too. */
static bool has_empty(const struct csl_terms *terms, bool need_tcp)
{
	for (size_t i = 0; i < terms->n; i++)
		if (terms->v[i].n == 0 && !(need_tcp && terms->v[i].http))
			return true;
	return false;
}

/* Whether a DENY rule that loses nothing denies all of it: then nothing else matters. */
static bool surely_denied(const struct csl *c)
{
	for (size_t i = 0; i < c->deny.n; i++) {
		const struct csl_term *t = &c->deny.v[i];
		bool lossy = t->n > 0 || t->policy->selects == CSL_MAYBE;
		for (size_t k = 0; k < c->n_lost && !lossy; k++)
			lossy = c->lost[k].rule == t->rule;
		if (!lossy)
			return true;
	}
	return false;
}

static bool lost_allow(const struct csl *c)
{
	for (size_t i = 0; i < c->n_lost; i++)
		if (c->lost[i].policy->action == MICA_POLICY_ALLOW)
			return true;
	return false;
}

/* Permissions where the destination may not have any. */
static void close_wildcard(struct csl *c)
{
	for (size_t i = 0; i < c->allow.n; i++) {
		const struct csl_term *t = &c->allow.v[i];
		if (t->rule)
			csl_lose(c, t->policy, t->rule, CSL_LOSS_PERMISSIONS, t->policy->p->line,
				t->policy->p->column);
	}
	for (size_t i = 0; i < c->deny.n; i++)
		csl_lose(c, c->deny.v[i].policy, c->deny.v[i].rule, CSL_LOSS_PERMISSIONS,
			c->deny.v[i].policy->p->line, c->deny.v[i].policy->p->column);
}

static void put_action(struct csl *c, bool wildcard, struct mica_buf *b)
{
	const bool allowed = c->deny.n == 0 && has_empty(&c->allow, true);
	const bool denied = c->allow.n == 0 || has_empty(&c->deny, false);
	if (allowed) {
		mica_buf_put_str(b, "\"Action\":\"allow\"");
		return;
	}
	if (!surely_denied(c)) {
		if (!denied && wildcard)
			close_wildcard(c);
		report_all(c, true, c->allow.n > 0 || lost_allow(c));
	}
	if (denied || wildcard)
		mica_buf_put_str(b, "\"Action\":\"deny\"");
	else
		csl_put_permissions(c, b);
}

/* ---- an entry ----------------------------------------------------------------------------------
 */

struct destination {
	struct csl_name of; /* no name: all services of the namespace; no namespace: all */
	bool workload; /* it is the one that was asked for */
};

/* 2 a service, 1 all of a namespace, 0 all. Community Edition's names are of the one it has. */
static unsigned exactness(const struct csl_name *n)
{
	return n->name.len ? 2 : n->ns.len ? 1 : 0;
}

static void put_name(const struct csl *c, struct mica_buf *b, const struct csl_name *n)
{
	mica_buf_put_str(b, "\"Name\":");
	mica_buf_put_json_string(b, n->name.len ? n->name : MICA_LIT("*"));
	if (c->only_ns.len)
		return;
	mica_buf_put_str(b, ",\"Namespace\":");
	mica_buf_put_json_string(b, n->ns.len ? n->ns : MICA_LIT("*"));
}

static unsigned precedence(const struct csl_name *destination, const struct csl_name *source)
{
	const unsigned of[] = {3, 6, 9};
	return of[exactness(destination)] - (2 - exactness(source));
}

struct entry_source {
	struct csl_name of;
	struct mica_slice body; /* its action or permissions */
};

/* The source that decides for `of` when it has none of its own. */
static const struct entry_source *wider(
	const struct entry_source *v, size_t n, const struct csl_name *of)
{
	const struct entry_source *best = NULL;
	for (size_t i = 0; i < n; i++) {
		const struct csl_name *x = &v[i].of;
		if (x->name.len || (x->ns.len && !mica_slice_eq(x->ns, of->ns)) ||
			(x->ns.len && !of->name.len))
			continue;
		if (!best || x->ns.len)
			best = &v[i];
	}
	return best;
}

static void put_source(
	struct csl *c, const struct destination *d, const struct entry_source *s, bool first)
{
	struct mica_buf *b = c->t->b;
	mica_buf_put_str(b, first ? "\n  {" : ",\n  {");
	put_name(c, b, &s->of);
	mica_buf_printf(b, ",\"Type\":\"consul\",\"Precedence\":%u,", precedence(&d->of, &s->of));
	mica_buf_put_slice(b, s->body);
	mica_buf_put_str(b, "}");
}

/* All, namespaces, services: as a more exact one is needed only where it differs. */
static size_t make_sources(struct csl *c, const struct destination *d, struct entry_source *v)
{
	const size_t n_ns = c->only_ns.len ? 0 : c->namespaces.n;
	const size_t n = 1 + n_ns + c->services.n;
	for (size_t i = 0; i < n; i++) {
		struct csl_source s;
		MICA_AUTO_BUF b;
		if (i == 0)
			v[i].of = (struct csl_name){.ns = c->only_ns};
		else
			v[i].of = i <= n_ns ? c->namespaces.v[i - 1] : c->services.v[i - 1 - n_ns];
		mica_buf_init(&b, PERMISSIONS_BYTES);
		csl_source_init(c, v[i].of, &s);
		csl_terms_make(c, &s);
		put_action(c, d->of.name.len == 0, &b);
		v[i].body = arena_text(&c->arena, mica_buf_slice(&b));
		if (b.over)
			c->t->rc = mica_buf_rc(&b, c->t->e);
	}
	return n;
}

static void put_entry(struct csl *c, const struct destination *d, bool first)
{
	struct mica_buf *b = c->t->b;
	struct entry_source *v;
	bool any = false;
	size_t n;
	csl_collect(c);
	v = arena_alloc(&c->arena, 1 + c->namespaces.n + c->services.n, sizeof(*v));
	n = make_sources(c, d, v);
	mica_buf_put_str(b,
		first ? "\n {\"Kind\":\"service-intentions\","
		      : ",\n {\"Kind\":\"service-intentions\",");
	put_name(c, b, &d->of);
	mica_buf_put_str(b, ",\"Sources\":[");
	/* in the order in which they are looked at */
	for (size_t i = n; i-- > 0;) {
		const struct entry_source *w = i ? wider(v, n, &v[i].of) : NULL;
		if (w && w != &v[i] && mica_slice_eq(w->body, v[i].body))
			continue;
		put_source(c, d, &v[i], !any);
		any = true;
	}
	mica_buf_put_str(b, "]}");
}

/* ---- which policies are about a destination
 * ------------------------------------------------------ */

static bool is_enforced(const struct mica_policy *p)
{
	return p->kind == MICA_POLICY_AUTHORIZATION && !p->dry_run &&
		p->action != MICA_POLICY_AUDIT;
}

static enum csl_answer selects(
	const struct csl *c, const struct mica_policy *p, const struct destination *d)
{
	const bool root = set_is_root(c->t->set, mica_slice_str(p->ns));
	enum csl_answer a = CSL_YES;
	if (d->workload)
		return mica_policy_selects(c->t->set, p, c->t->o->workload) ? CSL_YES : CSL_NO;
	if (!root && !mica_slice_eq_str(d->of.ns, p->ns))
		return CSL_NO;
	for (unsigned i = 0; i < p->selector.n; i++) {
		const struct mica_policy_pair *s = &p->selector.v[i];
		if (!mica_slice_eq(s->key, c->label))
			a = CSL_MAYBE;
		else if (d->of.ns.len && !mica_slice_eq(s->value, d->of.name))
			return CSL_NO; /* and who has that name has an entry of its own */
		else if (!d->of.ns.len)
			a = CSL_MAYBE;
	}
	return a;
}

static void add_destination(struct csl *c, const struct destination *d, bool first)
{
	const struct mica_policy_set *set = c->t->set;
	c->n_policies = 0;
	c->any_allow = c->sure_allow = false;
	for (size_t i = 0; i < set->n_authorization; i++) {
		const struct mica_policy *p = set->policies[i];
		const enum csl_answer a = is_enforced(p) ? selects(c, p, d) : CSL_NO;
		if (a == CSL_NO)
			continue;
		c->policies[c->n_policies++] = (struct csl_policy){
			p, p->n_rules ? &set->rules[set->first_rule[i]] : NULL, a};
		c->any_allow |= p->action == MICA_POLICY_ALLOW;
		c->sure_allow |= p->action == MICA_POLICY_ALLOW && a == CSL_YES;
	}
	put_entry(c, d, first);
	arena_clear(&c->arena);
}

/* ---- the destinations
 * ---------------------------------------------------------------------------- */

static const struct mica_slice *service_of(
	const struct csl *c, const struct mica_policy_pair *labels, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (mica_slice_eq(labels[i].key, c->label))
			return &labels[i].value;
	return NULL;
}

/* What a policy speaks of: its namespace, and the service that it selects. One of the root
 * namespace speaks of its service wherever there are policies. */
static void collect_destination(struct csl *c, const struct mica_policy *p, bool root,
	const struct csl_names *namespaces, struct csl_names *out)
{
	const struct mica_slice *name = service_of(c, p->selector.v, p->selector.n);
	const struct mica_slice ns = mica_slice_str(p->ns);
	if (!root && name)
		csl_names_add(out, (struct csl_name){ns, *name});
	for (size_t i = 0; root && name && i < namespaces->n; i++)
		csl_names_add(out, (struct csl_name){namespaces->v[i].ns, *name});
}

static void lose_namespace(struct csl *c, const struct mica_policy *p)
{
	target_lose(c->t, p, 0, p->line, p->column, losses[CSL_LOSS_NAMESPACE].reason, "%s",
		losses[CSL_LOSS_NAMESPACE].what);
}

static void collect_destinations(struct csl *c, struct csl_names *out)
{
	const struct mica_policy_set *set = c->t->set;
	struct csl_names namespaces = {NULL, 0, 0};
	bool root = false;
	for (size_t i = 0; i < set->n_authorization; i++) {
		const struct mica_slice ns = mica_slice_str(set->policies[i]->ns);
		if (!is_enforced(set->policies[i]))
			continue;
		if (set_is_root(set, ns))
			root = true;
		else if (!c->only_ns.len || mica_slice_eq(ns, c->only_ns))
			csl_names_add(&namespaces, (struct csl_name){.ns = ns});
		else
			lose_namespace(c, set->policies[i]);
	}
	if (root)
		csl_names_add(
			c->only_ns.len ? &namespaces : out, (struct csl_name){.ns = c->only_ns});
	csl_names_sort(&namespaces);
	for (size_t i = 0; i < namespaces.n; i++)
		csl_names_add(out, namespaces.v[i]);
	for (size_t i = 0; i < set->n_authorization; i++) {
		const struct mica_policy *p = set->policies[i];
		const bool is_root = set_is_root(set, mica_slice_str(p->ns));
		if (is_enforced(p) &&
			(is_root ||
				csl_names_has(&namespaces,
					(struct csl_name){.ns = mica_slice_str(p->ns)})))
			collect_destination(c, p, is_root, &namespaces, out);
	}
	csl_names_sort(out);
	mica_free(namespaces.v);
}

static void put_all(struct csl *c)
{
	struct csl_names all = {NULL, 0, 0};
	collect_destinations(c, &all);
	for (size_t i = 0; i < all.n && c->t->rc == MICA_OK; i++)
		add_destination(c, &(struct destination){.of = all.v[i]}, i == 0);
	mica_free(all.v);
}

static void put_workload(struct csl *c)
{
	const struct mica_policy_workload *w = c->t->o->workload;
	const struct mica_slice *name = service_of(c, w->labels, w->n_labels);
	struct destination d = {.workload = true};
	if (!name || (c->only_ns.len && !mica_slice_eq(w->ns, c->only_ns))) {
		c->t->rc = mica_fail(c->t->e, MICA_INVALID, "workload_missing",
			"the workload is no service of Consul: expected namespace%s%.*s and label "
			"%.*s",
			c->only_ns.len ? " " : "", MICA_FMT(c->only_ns), MICA_FMT(c->label));
		return;
	}
	d.of = (struct csl_name){w->ns, *name};
	add_destination(c, &d, true);
}

/* ---- all of it
 * ----------------------------------------------------------------------------------- */

static void count(struct csl *c)
{
	for (size_t i = 0; i < c->t->set->n_authorization; i++)
		if (target_wants(c->t, c->t->set->policies[i])) {
			c->t->report->policies++;
			c->t->report->rules += c->t->set->policies[i]->n_rules;
		}
}

static mica_rc init(struct csl *c, struct arena *names)
{
	const struct mica_consul *o = c->t->o->consul;
	const char *dc = o ? o->datacenter : NULL;
	MICA_AUTO_BUF b;
	mica_buf_init(&b, 512);
	if (c->t->set->n_domains == 0)
		return mica_fail(c->t->e, MICA_INVALID, "trust_domain_missing",
			"consul: the mesh's trust domain must be given; sources are principals of it");
	if (dc && (!csl_name_ok(mica_slice_str(dc)) || strcmp(dc, "sa") == 0))
		return mica_fail(c->t->e, MICA_INVALID, "datacenter_invalid",
			"\"%.60s\" is not the name of a data centre", dc);
	if (dc)
		mica_buf_printf(&b, "dc/%s/svc", dc);
	c->td = c->t->set->domains[0];
	c->accounts = !dc;
	c->middle = dc ? (const char *)arena_text(names, mica_buf_slice(&b)).p : "sa";
	c->only_ns = mica_slice_str(o && o->only_namespace ? o->only_namespace : "");
	c->label = mica_slice_str(o && o->service_label ? o->service_label : "app");
	c->said = arena_alloc(names, c->t->set->n_rules, sizeof(c->said[0]));
	c->policies = arena_alloc(names, c->t->set->n_authorization, sizeof(c->policies[0]));
	return MICA_OK;
}

void target_consul(struct target_run *t)
{
	struct csl c = {.t = t};
	struct arena names = {NULL, 0};
	t->rc = init(&c, &names);
	if (t->rc == MICA_OK) {
		count(&c);
		mica_buf_put_str(t->b, "[");
		(t->o->workload ? put_workload : put_all)(&c);
		mica_buf_put_str(t->b, "\n]\n");
	}
	mica_free(c.services.v);
	mica_free(c.namespaces.v);
	mica_free(c.deny.v);
	mica_free(c.allow.v);
	mica_free(c.lost);
	arena_clear(&c.arena);
	arena_clear(&names);
}
