/* SPDX-License-Identifier: Apache-2.0 */
/* Rules of the model -> rules that are quick to evaluate. */
#include "set_impl.h"

#define CLUSTER_LOCAL "cluster.local" /* Istio: stands for the mesh's own trust domain */

/* ---- trust domain aliases
 * ------------------------------------------------------------------------ */

typedef void principal_fn(void *ctx, enum mica_value_kind kind, struct mica_slice text);

/* TD/ns/NS/sa/SA has five parts; what has not is about no trust domain, says Istio. */
static bool five_parts(struct mica_slice s)
{
	unsigned slashes = 0;

	for (size_t i = 0; i < s.len; i++)
		slashes += s.p[i] == '/';
	return slashes == 4;
}

/* "*x" is an end of `domain`, or they are equal. */
static bool domain_matches(struct mica_slice pattern, struct mica_slice domain, bool *star)
{
	*star = pattern.len && pattern.p[0] == '*';
	return *star ? mica_slice_has_suffix(domain, mica_slice_sub(pattern, 1, pattern.len))
		     : mica_slice_eq(domain, pattern);
}

static bool is_ours(const struct mica_policy_set *s, struct mica_slice pattern)
{
	bool star;

	for (unsigned i = 0; i < s->n_domains; i++) {
		if (domain_matches(pattern, s->domains[i], &star))
			return true;
	}
	return s->n_domains && mica_slice_eq_str(pattern, CLUSTER_LOCAL);
}

/* The principal with another trust domain before its path. */
static void call_replaced(const struct mica_policy_value *v, struct mica_slice path,
	struct mica_slice domain, principal_fn *fn, void *ctx)
{
	bool prefix = v->kind == MICA_VALUE_PREFIX; /* a star at the end stays */
	MICA_AUTO_BUF b;

	mica_buf_init(&b, 2 * MICA_POLICY_VALUE_MAX);
	mica_buf_put_slice(&b, domain);
	mica_buf_put_u8(&b, '/');
	mica_buf_put_slice(&b, path);
	if (prefix)
		b.p[--b.len] = '\0';
	fn(ctx, prefix ? MICA_VALUE_PREFIX : MICA_VALUE_EXACT, mica_buf_slice(&b));
}

void mica_policy_principals(const struct mica_policy_set *s, const struct mica_policy_value *v,
	principal_fn *fn, void *ctx)
{
	struct mica_slice path = v->written, domain;
	bool star = false, kept = false;

	mica_slice_cut(&path, '/', &domain);
	if (!five_parts(v->written) || mica_slice_eq_str(domain, "*") || !is_ours(s, domain)) {
		fn(ctx, v->kind, v->text);
		return;
	}
	for (unsigned i = 0; i < s->n_domains; i++) {
		if (!domain_matches(domain, s->domains[i], &star) || !star) {
			call_replaced(v, path, s->domains[i], fn, ctx);
		} else if (!kept) {
			fn(ctx, v->kind, v->text);
			kept = true;
		}
	}
}

/* ---- values
 * --------------------------------------------------------------------------------------- */

struct filling {
	struct mica_policy_set *s;
	struct mica_policy_value *v;
	const struct mica_policy_value *from;
	unsigned n, room;
};

static void add_principal(void *ctx, enum mica_value_kind kind, struct mica_slice text)
{
	struct filling *f = ctx;
	struct mica_policy_value *v = &f->v[f->n++];

	*v = *f->from;
	v->kind = kind;
	if (kind != f->from->kind || !mica_slice_eq(text, f->from->text))
		v->text = arena_text(&f->s->arena, text);
}

/* Those for the binary search first, in its order. */
static int by_exact(const void *a, const void *b)
{
	const struct mica_policy_value *x = a, *y = b;
	bool ex = x->kind == MICA_VALUE_EXACT, ey = y->kind == MICA_VALUE_EXACT;

	if (ex != ey)
		return ex ? -1 : 1;
	if (ex && x->text.len != y->text.len)
		return x->text.len < y->text.len ? -1 : 1;
	return ex && x->text.len ? memcmp(x->text.p, y->text.p, x->text.len) : 0;
}

static void fold_text(struct mica_policy_set *s, struct mica_policy_value *v)
{
	struct mica_slice text = arena_text(&s->arena, v->text);
	uint8_t *p = (uint8_t *)text.p;

	for (size_t i = 0; i < text.len; i++)
		p[i] = fold_octet(p[i], true);
	v->text = text;
}

static struct values compile_values(struct mica_policy_set *s, enum mica_policy_attr attr,
	const struct mica_policy_values *from)
{
	unsigned each = attr == MICA_ATTR_PRINCIPAL && s->n_domains ? s->n_domains : 1;
	struct filling f = {.s = s};
	struct values out = {.n = 0};

	if (from->n == 0)
		return out;
	f.v = arena_alloc(&s->arena, (size_t)from->n * each, sizeof(f.v[0]));
	for (unsigned i = 0; i < from->n; i++) {
		f.from = &from->v[i];
		if (attr == MICA_ATTR_PRINCIPAL)
			mica_policy_principals(s, f.from, add_principal, &f);
		else
			f.v[f.n++] = from->v[i];
		if (attr_folds(attr))
			fold_text(s, &f.v[f.n - 1]);
	}
	if (attr != MICA_ATTR_REQUEST_PRINCIPAL) /* which is two strings */
		qsort(f.v, f.n, sizeof(f.v[0]), by_exact);
	while (out.n_exact < f.n && f.v[out.n_exact].kind == MICA_VALUE_EXACT)
		out.n_exact++;
	out.v = f.v;
	out.n = f.n;
	return out;
}

/* ---- clauses, rules
 * -------------------------------------------------------------------------------- */

static struct cclause compile_clause(
	struct mica_policy_set *s, const struct mica_policy_clause *from, bool *http)
{
	struct ctest *tests = arena_alloc(&s->arena, from->n, sizeof(*tests));

	for (unsigned i = 0; i < from->n; i++) {
		const struct mica_policy_test *t = &from->tests[i];

		tests[i] = (struct ctest){.test = t,
			.attr = t->attr,
			.http = mica_policy_attr_of(t->attr)->http,
			.is = compile_values(s, t->attr, &t->is),
			.is_not = compile_values(s, t->attr, &t->is_not)};
		*http = *http || tests[i].http;
	}
	return (struct cclause){.tests = tests, .n = from->n};
}

static const struct cclause *compile_clauses(
	struct mica_policy_set *s, const struct mica_policy_clause *from, unsigned n, bool *http)
{
	struct cclause *out = arena_alloc(&s->arena, n, sizeof(*out));

	for (unsigned i = 0; i < n; i++)
		out[i] = compile_clause(s, &from[i], http);
	return out;
}

void compile_policy(struct mica_policy_set *s, const struct mica_policy *p)
{
	for (unsigned i = 0; i < p->n_rules; i++) {
		const struct mica_policy_rule *from = &p->rules[i];
		struct crule *r;

		if (s->n_rules == s->room_rules) {
			s->room_rules = s->room_rules ? 2 * s->room_rules : 64;
			s->rules = mica_realloc(s->rules, s->room_rules, sizeof(s->rules[0]));
		}
		r = &s->rules[s->n_rules++];
		*r = (struct crule){
			.policy = p, .index = i, .n_from = from->n_from, .n_to = from->n_to};
		r->from = compile_clauses(s, from->from, from->n_from, &r->http);
		r->to = compile_clauses(s, from->to, from->n_to, &r->http);
		r->when = compile_clause(s, &from->when, &r->http);
	}
}
