/* SPDX-License-Identifier: Apache-2.0 */
/* Consul: what is left of the rules about a destination for one source. */
#include "target_consul.h"

static const enum csl_loss losses[MICA_ATTR_COUNT] = {
	[MICA_ATTR_PRINCIPAL] = CSL_LOSS_SOURCE,
	[MICA_ATTR_REQUEST_PRINCIPAL] = CSL_LOSS_JWT,
	[MICA_ATTR_NAMESPACE] = CSL_LOSS_SOURCE,
	[MICA_ATTR_SERVICE_ACCOUNT] = CSL_LOSS_SOURCE,
	[MICA_ATTR_TRUST_DOMAIN] = CSL_LOSS_SOURCE,
	[MICA_ATTR_SOURCE_IP] = CSL_LOSS_ADDRESS,
	[MICA_ATTR_REMOTE_IP] = CSL_LOSS_ADDRESS,
	[MICA_ATTR_HOST] = CSL_LOSS_HOST,
	[MICA_ATTR_PORT] = CSL_LOSS_PORT,
	[MICA_ATTR_METHOD] = CSL_LOSS_MANY,
	[MICA_ATTR_PATH] = CSL_LOSS_MANY,
	[MICA_ATTR_HEADER] = CSL_LOSS_HEADER,
	[MICA_ATTR_AUDIENCE] = CSL_LOSS_JWT,
	[MICA_ATTR_PRESENTER] = CSL_LOSS_JWT,
	[MICA_ATTR_CLAIM] = CSL_LOSS_JWT,
	[MICA_ATTR_DESTINATION_IP] = CSL_LOSS_ADDRESS,
	[MICA_ATTR_SNI] = CSL_LOSS_SNI,
};

void csl_lose(struct csl *c, const struct csl_policy *p, const struct crule *r, enum csl_loss loss,
	int line, int column)
{
	if (c->n_lost == c->room_lost) {
		c->room_lost = c->room_lost ? 2 * c->room_lost : 16;
		c->lost = mica_realloc(c->lost, c->room_lost, sizeof(c->lost[0]));
	}
	c->lost[c->n_lost++] = (struct csl_lost){r, p->p, loss, line, column};
}

static bool has_any(const struct values *values)
{
	for (unsigned i = 0; i < values->n; i++)
		if (values->v[i].kind == MICA_VALUE_PRESENT)
			return true;
	return false;
}

/* Whether a permission can ask it. */
static bool of_request(const struct ctest *t)
{
	switch (t->attr) {
	/* every HTTP request has these: "not any" is for what is not HTTP */
	case MICA_ATTR_METHOD:
	case MICA_ATTR_PATH: return !has_any(&t->is_not);
	/* Envoy has no "host" but an :authority */
	case MICA_ATTR_HEADER: return !mica_slice_eq_str(t->test->name, "host");
	default: return false;
	}
}

static enum csl_answer passes(
	const struct csl *c, const struct csl_source *s, const struct ctest *t)
{
	switch (t->attr) {
	case MICA_ATTR_PRINCIPAL:
	case MICA_ATTR_NAMESPACE:
	case MICA_ATTR_SERVICE_ACCOUNT:
	case MICA_ATTR_TRUST_DOMAIN: return csl_source_passes(c, s, t);
	default: return CSL_MAYBE;
	}
}

/* Where all tests of a clause go: of it, into a term. */
struct adding {
	struct csl *c;
	const struct csl_source *s;
	struct csl_term term;
	size_t mark; /* losses before it */
};

/* False: with this clause the rule does not match. */
static bool add_clause(struct adding *a, const struct cclause *clause)
{
	for (unsigned i = 0; i < clause->n; i++) {
		const struct ctest *t = &clause->tests[i];
		if (of_request(t)) {
			a->term.tests[a->term.n++] = t;
			continue;
		}
		switch (passes(a->c, a->s, t)) {
		case CSL_YES: continue;
		case CSL_NO: a->c->n_lost = a->mark; return false;
		case CSL_MAYBE:
			csl_lose(a->c, a->term.policy, a->term.rule, losses[t->attr], t->test->line,
				t->test->column);
		}
	}
	return true;
}

static void keep(struct csl_terms *to, const struct csl_term *term)
{
	if (to->n == to->room) {
		to->room = to->room ? 2 * to->room : 16;
		to->v = mica_realloc(to->v, to->room, sizeof(to->v[0]));
	}
	to->v[to->n++] = *term;
}

/* One source, one operation, the conditions. */
static void add_term(struct csl *c, const struct csl_source *s, const struct csl_policy *p,
	const struct crule *r, const struct cclause *from, const struct cclause *to)
{
	struct adding a = {.c = c,
		.s = s,
		.term = {.policy = p, .rule = r, .http = r->http},
		.mark = c->n_lost};
	const unsigned n = (from ? from->n : 0) + (to ? to->n : 0) + r->when.n;
	a.term.tests = arena_alloc(&c->arena, n, sizeof(a.term.tests[0]));
	if ((from && !add_clause(&a, from)) || (to && !add_clause(&a, to)) ||
		!add_clause(&a, &r->when))
		return;
	if (p->selects == CSL_MAYBE)
		csl_lose(c, p, r, CSL_LOSS_SELECTOR, p->p->line, p->p->column);
	if (csl_term_size(&a.term) == 0) {
		csl_lose(c, p, r, CSL_LOSS_MANY, p->p->rules[r->index].line,
			p->p->rules[r->index].column);
		a.term.n = 0;
	}
	if (p->p->action == MICA_POLICY_DENY)
		keep(&c->deny, &a.term);
	else if (c->n_lost == a.mark)
		keep(&c->allow, &a.term);
}

static void add_rule(struct csl *c, const struct csl_source *s, const struct csl_policy *p,
	const struct crule *r)
{
	for (unsigned i = 0; i < r->n_from || i == 0; i++)
		for (unsigned k = 0; k < r->n_to || k == 0; k++)
			add_term(c, s, p, r, r->n_from ? &r->from[i] : NULL,
				r->n_to ? &r->to[k] : NULL);
}

void csl_terms_make(struct csl *c, const struct csl_source *s)
{
	c->deny.n = c->allow.n = c->n_lost = 0;
	for (size_t i = 0; i < c->n_policies; i++)
		for (unsigned k = 0; k < c->policies[i].p->n_rules; k++)
			add_rule(c, s, &c->policies[i], &c->policies[i].rules[k]);
	if (!c->any_allow)
		keep(&c->allow, &(struct csl_term){.n = 0});
	/* who is perhaps not closed is closed */
	for (size_t i = 0; c->any_allow && !c->sure_allow && i < c->n_policies; i++) {
		const struct csl_policy *p = &c->policies[i];
		if (p->p->action == MICA_POLICY_ALLOW)
			csl_lose(c, p, NULL, CSL_LOSS_SELECTOR, p->p->line, p->p->column);
	}
}
