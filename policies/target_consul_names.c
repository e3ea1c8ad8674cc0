/* SPDX-License-Identifier: Apache-2.0 */
/* Consul: which services and namespaces rules tell apart, and what is true of all the others. */
#include "target_consul.h"

#include "mica/spiffeid.h"

/* ---- names ------------------------------------------------------------------------------------
 */

/* Consul puts a source's name into a regular expression as it is: in it a dot would be any octet.
 */
bool csl_name_ok(struct mica_slice name)
{
	return name.len && name.len <= 128 && all_in(name, "-_");
}

void csl_names_add(struct csl_names *s, struct csl_name one)
{
	if (s->n == s->room) {
		s->room = s->room ? 2 * s->room : 16;
		s->v = mica_realloc(s->v, s->room, sizeof(s->v[0]));
	}
	s->v[s->n++] = one;
}

static int by_name(const void *a, const void *b)
{
	const struct csl_name *x = a, *y = b;
	int by = mica_slice_cmp(x->ns, y->ns);
	return by ? by : mica_slice_cmp(x->name, y->name);
}

void csl_names_sort(struct csl_names *s)
{
	size_t n = 0;
	if (s->n)
		qsort(s->v, s->n, sizeof(s->v[0]), by_name);
	for (size_t i = 0; i < s->n; i++)
		if (n == 0 || by_name(&s->v[n - 1], &s->v[i]) != 0)
			s->v[n++] = s->v[i];
	s->n = n;
}

bool csl_names_has(const struct csl_names *s, struct csl_name one)
{
	return s->n && bsearch(&one, s->v, s->n, sizeof(one), by_name) != NULL;
}

/* ---- principals: TD/ns/NAMESPACE/MIDDLE/NAME ---------------------------------------------------
 */

static bool cut_str(struct mica_slice *s, const char *prefix)
{
	const struct mica_slice p = mica_slice_str(prefix);
	if (!mica_slice_has_prefix(*s, p))
		return false;
	*s = mica_slice_sub(*s, p.len, s->len);
	return true;
}

/* What stands behind "TD/ns/"; false: it is no principal of the mesh. */
static bool cut_domain(const struct csl *c, struct mica_slice *s)
{
	if (!mica_slice_has_prefix(*s, c->td))
		return false;
	*s = mica_slice_sub(*s, c->td.len, s->len);
	return cut_str(s, "/ns/");
}

/* A principal in full that is of a service, whatever its name. */
static bool take_service(const struct csl *c, struct mica_slice text, struct csl_name *out)
{
	if (!cut_domain(c, &text) || !mica_slice_cut(&text, '/', &out->ns) ||
		!cut_str(&text, c->middle) || !cut_str(&text, "/"))
		return false;
	out->name = text;
	return text.len && memchr(text.p, '/', text.len) == NULL;
}

/* The end of a principal, "*abc": what of it is the name, and what of it the namespace. */
struct ending {
	struct mica_slice ns, name;
	bool slash; /* it has more than a part of the name */
	bool ns_whole; /* it has all of the namespace */
	bool never; /* no service's principal ends so */
};

static void drop_last(struct mica_slice *s, struct mica_slice *tail)
{
	size_t at = s->len;
	while (at && s->p[at - 1] != '/')
		at--;
	*tail = mica_slice_sub(*s, at, s->len);
	s->len = at ? at - 1 : 0;
}

static struct ending take_ending(const struct csl *c, struct mica_slice text)
{
	const struct mica_slice middle = mica_slice_str(c->middle);
	struct ending x = {.slash = text.len && memchr(text.p, '/', text.len) != NULL};
	struct mica_slice rest = text;
	if (!x.slash) {
		x.name = text;
		return x;
	}
	drop_last(&rest, &x.name);
	x.never = x.name.len == 0;
	if (rest.len <= middle.len) { /* the whole middle, or its end */
		x.never |= !mica_slice_has_suffix(middle, rest);
		return x;
	}
	x.never |= !mica_slice_has_suffix(rest, middle) || rest.p[rest.len - middle.len - 1] != '/';
	if (x.never)
		return x;
	rest.len -= middle.len + 1;
	x.ns_whole = rest.len && memchr(rest.p, '/', rest.len) != NULL;
	drop_last(&rest, &x.ns);
	if (x.ns_whole) {
		/* before it stands "TD/ns", or the end of that */
		struct mica_slice ns;
		struct mica_slice td = rest;
		drop_last(&td, &ns);
		x.never |= rest.len > 2
			? !mica_slice_eq_str(ns, "ns") || !mica_slice_has_suffix(c->td, td)
			: !mica_slice_has_suffix(MICA_LIT("ns"), rest);
	}
	return x;
}

/* ---- what rules name ---------------------------------------------------------------------------
 */

static bool ns_known(const struct csl *c, struct mica_slice ns)
{
	if (c->only_ns.len)
		return mica_slice_eq(ns, c->only_ns);
	return mica_k8s_label_ok(ns);
}

static void add_ns(struct csl *c, struct mica_slice ns)
{
	if (ns_known(c, ns))
		csl_names_add(&c->namespaces, (struct csl_name){.ns = ns});
}

static void add_service(struct csl *c, struct csl_name s)
{
	if (ns_known(c, s.ns) && csl_name_ok(s.name))
		csl_names_add(&c->services, s);
}

static void collect_principal_ns(struct csl *c, const struct mica_policy_value *v)
{
	struct csl_name s;
	struct mica_slice rest = v->text, ns;
	if (v->kind == MICA_VALUE_EXACT && take_service(c, v->text, &s))
		add_ns(c, s.ns);
	if (v->kind == MICA_VALUE_PREFIX && cut_domain(c, &rest) && mica_slice_cut(&rest, '/', &ns))
		add_ns(c, ns);
	if (v->kind == MICA_VALUE_SUFFIX) {
		const struct ending x = take_ending(c, v->text);
		if (!x.never && x.ns_whole)
			add_ns(c, x.ns);
	}
}

static void collect_namespaces(struct csl *c, const struct ctest *t, const struct values *values)
{
	for (unsigned i = 0; i < values->n; i++) {
		const struct mica_policy_value *v = &values->v[i];
		if (t->attr == MICA_ATTR_PRINCIPAL)
			collect_principal_ns(c, v);
		if (t->attr == MICA_ATTR_NAMESPACE && v->kind == MICA_VALUE_EXACT)
			add_ns(c, v->text);
		if (t->attr == MICA_ATTR_SERVICE_ACCOUNT && c->accounts)
			add_ns(c, v->ns);
	}
}

/* An end that fits into namespaces is a name in each of them. */
static void collect_ending(struct csl *c, struct mica_slice text)
{
	const struct ending x = take_ending(c, text);
	for (size_t i = 0; x.slash && !x.never && i < c->namespaces.n; i++) {
		const struct mica_slice ns = c->namespaces.v[i].ns;
		if (x.ns_whole ? mica_slice_eq(ns, x.ns) : mica_slice_has_suffix(ns, x.ns))
			add_service(c, (struct csl_name){ns, x.name});
	}
}

static void collect_services(struct csl *c, const struct ctest *t, const struct values *values)
{
	for (unsigned i = 0; i < values->n; i++) {
		const struct mica_policy_value *v = &values->v[i];
		struct csl_name s;
		if (t->attr == MICA_ATTR_PRINCIPAL && v->kind == MICA_VALUE_SUFFIX)
			collect_ending(c, v->text);
		else if (t->attr == MICA_ATTR_PRINCIPAL && v->kind == MICA_VALUE_EXACT &&
			take_service(c, v->text, &s))
			add_service(c, s);
		else if (t->attr == MICA_ATTR_SERVICE_ACCOUNT && c->accounts)
			add_service(c, (struct csl_name){v->ns, v->text});
	}
}

typedef void collect_fn(struct csl *c, const struct ctest *t, const struct values *values);

static void each_clause(struct csl *c, const struct cclause *clause, collect_fn *fn)
{
	for (unsigned i = 0; i < clause->n; i++) {
		fn(c, &clause->tests[i], &clause->tests[i].is);
		fn(c, &clause->tests[i], &clause->tests[i].is_not);
	}
}

static void each_rule(struct csl *c, collect_fn *fn)
{
	for (size_t i = 0; i < c->n_policies; i++)
		for (unsigned k = 0; k < c->policies[i].p->n_rules; k++) {
			const struct crule *r = &c->policies[i].rules[k];
			for (unsigned j = 0; j < r->n_from; j++)
				each_clause(c, &r->from[j], fn);
			each_clause(c, &r->when, fn);
		}
}

void csl_collect(struct csl *c)
{
	c->services.n = c->namespaces.n = 0;
	if (c->only_ns.len)
		add_ns(c, c->only_ns);
	each_rule(c, collect_namespaces);
	csl_names_sort(&c->namespaces);
	each_rule(c, collect_services);
	csl_names_sort(&c->services);
}

/* ---- answers -----------------------------------------------------------------------------------
 */

void csl_source_init(struct csl *c, struct csl_name of, struct csl_source *s)
{
	MICA_AUTO_BUF b;
	*s = (struct csl_source){.of = of};
	mica_buf_init(&b, MICA_SPIFFE_ID_MAX + 1);
	mica_buf_printf(&b, MICA_SPIFFE_SCHEME "%.*s/ns/", MICA_FMT(c->td));
	if (of.ns.len)
		mica_buf_printf(&b, "%.*s/%s/%.*s", MICA_FMT(of.ns), c->middle, MICA_FMT(of.name));
	s->request.peer = arena_text(&c->arena, mica_buf_slice(&b));
	s->known = mica_slice_sub(s->request.peer, sizeof(MICA_SPIFFE_SCHEME) - 1, b.len);
	if (of.name.len) {
		subject_init(&s->subject, &s->request);
	} else {
		s->request.peer = MICA_SLICE_NULL;
		s->subject = (struct subject){.td = c->td, .ns = of.ns};
	}
	s->subject.r = &s->request;
}

static enum csl_answer beginning_holds(const struct csl_source *s, struct mica_slice text)
{
	struct mica_slice rest = text;
	if (mica_slice_has_prefix(s->known, text))
		return CSL_YES;
	if (!mica_slice_has_prefix(text, s->known))
		return CSL_NO;
	rest = mica_slice_sub(text, s->known.len, text.len);
	if (!memchr(rest.p, '/', rest.len))
		return CSL_MAYBE;
	/* it goes on behind a name, or behind a namespace: such ones have their own source, unless
	 * Consul has no name for them */
	rest.len = (size_t)((const uint8_t *)memchr(rest.p, '/', rest.len) - rest.p);
	return s->of.ns.len || mica_k8s_label_ok(rest) ? CSL_NO : CSL_MAYBE;
}

static enum csl_answer ending_holds(
	const struct csl *c, const struct csl_source *s, struct mica_slice text)
{
	const struct ending x = take_ending(c, text);
	if (x.never)
		return CSL_NO;
	if (!x.slash)
		return CSL_MAYBE;
	if (s->of.ns.len) {
		const bool here = x.ns_whole ? mica_slice_eq(s->of.ns, x.ns)
					     : mica_slice_has_suffix(s->of.ns, x.ns);
		return here && !csl_name_ok(x.name) ? CSL_MAYBE : CSL_NO;
	}
	return x.ns_whole && mica_k8s_label_ok(x.ns) ? CSL_NO : CSL_MAYBE;
}

/* Of a service that a value names, one of a source without name is none, unless Consul has no such
 * name. */
static enum csl_answer other_than(const struct csl_source *s, struct csl_name named)
{
	if (s->of.ns.len)
		return mica_slice_eq(s->of.ns, named.ns) && !csl_name_ok(named.name) ? CSL_MAYBE
										     : CSL_NO;
	return mica_k8s_label_ok(named.ns) ? CSL_NO : CSL_MAYBE;
}

static enum csl_answer principal_holds(
	const struct csl *c, const struct csl_source *s, const struct mica_policy_value *v)
{
	struct csl_name named;
	switch (v->kind) {
	case MICA_VALUE_PRESENT: return CSL_YES;
	case MICA_VALUE_PREFIX: return beginning_holds(s, v->text);
	case MICA_VALUE_SUFFIX: return ending_holds(c, s, v->text);
	default: return take_service(c, v->text, &named) ? other_than(s, named) : CSL_NO;
	}
}

/* A namespace of which only is known that no rule names it. */
static enum csl_answer namespace_holds(const struct mica_policy_value *v)
{
	if (v->kind == MICA_VALUE_PRESENT)
		return CSL_YES;
	return v->kind == MICA_VALUE_EXACT ? CSL_NO : CSL_MAYBE;
}

static enum csl_answer one_holds(const struct csl *c, const struct csl_source *s,
	const struct ctest *t, const struct mica_policy_value *v)
{
	if (t->attr == MICA_ATTR_PRINCIPAL)
		return principal_holds(c, s, v);
	if (t->attr == MICA_ATTR_NAMESPACE)
		return namespace_holds(v);
	return c->accounts ? other_than(s, (struct csl_name){v->ns, v->text}) : CSL_NO;
}

static enum csl_answer any_holds(const struct csl *c, const struct csl_source *s,
	const struct ctest *t, const struct values *values)
{
	enum csl_answer best = CSL_NO;
	if (s->of.name.len || t->attr == MICA_ATTR_TRUST_DOMAIN ||
		(t->attr == MICA_ATTR_NAMESPACE && s->of.ns.len))
		return match_values(&s->subject, t, values) ? CSL_YES : CSL_NO;
	for (unsigned i = 0; i < values->n && best != CSL_YES; i++) {
		const enum csl_answer a = one_holds(c, s, t, &values->v[i]);
		best = a > best ? a : best;
	}
	return best;
}

enum csl_answer csl_source_passes(
	const struct csl *c, const struct csl_source *s, const struct ctest *t)
{
	const enum csl_answer is = t->is.n ? any_holds(c, s, t, &t->is) : CSL_YES;
	const enum csl_answer is_not = t->is_not.n ? any_holds(c, s, t, &t->is_not) : CSL_NO;
	if (is == CSL_NO || is_not == CSL_YES)
		return CSL_NO;
	return is == CSL_YES && is_not == CSL_NO ? CSL_YES : CSL_MAYBE;
}
