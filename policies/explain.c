/* SPDX-License-Identifier: Apache-2.0 */
/* Why: every rule that is about the workload, one after the other, without any index. */
#include "set_impl.h"

struct explaining {
	const struct mica_policy_set *set;
	struct subject subject;
	void (*fn)(void *ctx, const struct mica_policy_finding *f);
	void *ctx;
};

/* How many tests of a clause hold before the first that does not; c->n when all do. */
static unsigned holds_until(const struct subject *s, const struct cclause *c)
{
	unsigned i = 0;

	while (i < c->n && match_test(s, &c->tests[i]))
		i++;
	return i;
}

static void blame(const struct subject *s, const struct ctest *t, enum mica_policy_part part,
	unsigned clause, struct mica_policy_finding *f)
{
	f->part = part;
	f->clause = clause;
	f->test = t->test;
	if (t->is.n == 0 || match_values(s, t, &t->is))
		f->unwanted = match_values(s, t, &t->is_not);
}

/* True when one of them holds; else the one that got farthest is to blame. */
static bool explain_clauses(const struct subject *s, const struct cclause *c, unsigned n,
	enum mica_policy_part part, struct mica_policy_finding *f)
{
	unsigned best = 0, farthest = 0;

	for (unsigned i = 0; i < n; i++) {
		unsigned until = holds_until(s, &c[i]);

		if (until == c[i].n)
			return true;
		if (i == 0 || until > farthest) {
			best = i;
			farthest = until;
		}
	}
	if (n == 0)
		return true;
	blame(s, &c[best].tests[farthest], part, best, f);
	return false;
}

static void explain_rule(const struct explaining *x, const struct crule *r)
{
	const struct subject *s = &x->subject;
	struct mica_policy_finding f = {.policy = r->policy, .rule = r->index};
	unsigned when;

	if (r->http && !s->r->http && r->policy->action == MICA_POLICY_ALLOW) {
		f.part = MICA_PART_HTTP;
		x->fn(x->ctx, &f);
		return;
	}
	f.matches = explain_clauses(s, r->from, r->n_from, MICA_PART_FROM, &f) &&
		explain_clauses(s, r->to, r->n_to, MICA_PART_TO, &f);
	when = f.matches ? holds_until(s, &r->when) : r->when.n;
	if (when < r->when.n) {
		f.matches = false;
		blame(s, &r->when.tests[when], MICA_PART_WHEN, 0, &f);
	}
	x->fn(x->ctx, &f);
}

/* The i-th policy; its rules stand together, in the order of their numbers. */
static void explain_policy(const struct explaining *x, size_t i)
{
	const struct mica_policy_finding none = {.policy = x->set->policies[i]};

	if (none.policy->n_rules == 0)
		x->fn(x->ctx, &none);
	for (unsigned k = 0; k < none.policy->n_rules; k++)
		explain_rule(x, &x->set->rules[x->set->first_rule[i] + k]);
}

void mica_policy_explain(const struct mica_policy_set *s, const struct mica_policy_request *r,
	void (*fn)(void *ctx, const struct mica_policy_finding *f), void *ctx)
{
	static const enum mica_policy_action actions[] = {
		MICA_POLICY_DENY, MICA_POLICY_ALLOW, MICA_POLICY_AUDIT};
	struct explaining x = {.set = s, .fn = fn, .ctx = ctx};

	subject_init(&x.subject, r);
	for (size_t k = 0; k < MICA_ARRAY_LEN(actions); k++) {
		for (size_t i = 0; i < s->n_authorization; i++) {
			const struct mica_policy *p = s->policies[i];

			if (p->action == actions[k] && mica_policy_selects(s, p, &r->workload))
				explain_policy(&x, i);
		}
	}
}

/* ---- in words
 * --------------------------------------------------------------------------------------------- */

static void put_test(struct mica_buf *b, const struct mica_policy_finding *f)
{
	const struct mica_policy_test *t = f->test;
	const struct mica_policy_attr_info *info = mica_policy_attr_of(t->attr);
	unsigned shown = t->is.n < 4 ? t->is.n : 4;

	if (f->part == MICA_PART_WHEN)
		mica_buf_printf(b, "when %s", info->key);
	else
		mica_buf_printf(b, "%s %u: %s", f->part == MICA_PART_FROM ? "from" : "to",
			f->clause + 1, info->field);
	if (t->name.len && t->attr == MICA_ATTR_HEADER)
		mica_buf_printf(b, "[%.*s]", MICA_FMT(t->name));
	else
		mica_buf_put_slice(b, t->name);
	if (f->unwanted) {
		mica_buf_printf(b, ": has the unwanted \"%.*s\"", MICA_FMT(f->unwanted->written));
		return;
	}
	mica_buf_put_str(b, ": has none of ");
	for (unsigned i = 0; i < shown; i++)
		mica_buf_printf(b, "%s\"%.*s\"", i ? ", " : "", MICA_FMT(t->is.v[i].written));
	if (shown < t->is.n)
		mica_buf_printf(b, " and %u more", t->is.n - shown);
}

void mica_policy_finding_put(struct mica_buf *b, const struct mica_policy_finding *f)
{
	const struct mica_policy *p = f->policy;

	mica_buf_printf(b, "%s %s/%s ", mica_policy_action_name(p->action), p->ns, p->name);
	if (p->n_rules == 0) {
		mica_buf_put_str(b, "has no rules");
		return;
	}
	mica_buf_printf(b, "rule %u %s", f->rule + 1, f->matches ? "matches" : "does not match: ");
	if (f->part == MICA_PART_HTTP)
		mica_buf_put_str(b, "it asks for what only HTTP has");
	else if (f->part != MICA_PART_NONE)
		put_test(b, f);
}
