/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Envoy: three RBAC filters, one behind the other, with the policies of one action each. AUDIT is
 * Envoy's action LOG; dry runs are the shadow rules of the filter of their action.
 *
 * A rule becomes a Policy: `from` and what `when` asks of the source are its principals, `to` and
 * the rest of `when` its permissions.
 */
#include "target_envoy.h"

#include <stdio.h>

#define MESSAGE(name, number)                                                                      \
	{                                                                                          \
		name, number, PB_MESSAGE, false                                                    \
	}
#define STRING(name, number)                                                                       \
	{                                                                                          \
		name, number, PB_STRING, false                                                     \
	}

/* ---- a rule --------------------------------------------------------------------------------- */

static bool is_narrow(const struct envoy *x)
{
	return x->policy->action == MICA_POLICY_ALLOW;
}

static struct expr *one_of(struct envoy *x, const struct mica_policy_values *values, bool narrow)
{
	struct expr *list = expr_list(x, EXPR_OR);

	for (unsigned i = 0; i < values->n; i++)
		expr_add(list, envoy_value(x, &values->v[i], narrow));
	return expr_done(x, list);
}

/* What only HTTP has is not asked of a connection: an ALLOW rule does not come here then. */
static struct expr *test(struct envoy *x, const struct mica_policy_test *t)
{
	struct expr *is, *is_not;

	x->test = t;
	if (x->tcp && mica_policy_attr_of(t->attr)->http)
		return expr_const(x, true);
	is = t->is.n ? one_of(x, &t->is, is_narrow(x)) : expr_const(x, true);
	is_not = expr_not(x, one_of(x, &t->is_not, !is_narrow(x)));
	return expr_both(x, is, is_not);
}

static struct expr *clauses(struct envoy *x, const struct mica_policy_clause *c, unsigned n)
{
	struct expr *any = expr_list(x, EXPR_OR);

	if (n == 0)
		return expr_const(x, true);
	for (unsigned i = 0; i < n; i++) {
		struct expr *all = expr_list(x, EXPR_AND);

		for (unsigned k = 0; k < c[i].n; k++)
			expr_add(all, test(x, &c[i].tests[k]));
		expr_add(any, expr_done(x, all));
	}
	return expr_done(x, any);
}

/* The conditions of one side. */
static struct expr *when(
	struct envoy *x, const struct mica_policy_clause *c, enum mica_policy_side side)
{
	struct expr *all = expr_list(x, EXPR_AND);

	for (unsigned i = 0; i < c->n; i++)
		if (mica_policy_attr_of(c->tests[i].attr)->side == side)
			expr_add(all, test(x, &c->tests[i]));
	return expr_done(x, all);
}

static bool asks_http(const struct mica_policy_clause *c, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		for (unsigned k = 0; k < c[i].n; k++)
			if (mica_policy_attr_of(c[i].tests[k].attr)->http)
				return true;
	return false;
}

static bool is_for_http(const struct mica_policy_rule *r)
{
	return asks_http(r->from, r->n_from) || asks_http(r->to, r->n_to) || asks_http(&r->when, 1);
}

/* An OR at the top is the list itself. */
static void put_side(struct envoy *x, const struct expr *e, enum mica_policy_side side,
	struct pb *to, const struct pb_field *f)
{
	if (e->op != EXPR_OR) {
		expr_put(x, e, side, to, f);
		return;
	}
	for (const struct expr *k = e->first; k; k = k->next)
		expr_put(x, k, side, to, f);
}

static void put_rule(struct envoy *x, const struct mica_policy_rule *r, struct pb *rbac)
{
	static const struct pb_field f_policies = {"policies", 2, PB_ENTRY, true},
				     f_permissions = {"permissions", 1, PB_MESSAGE, true},
				     f_principals = {"principals", 2, PB_MESSAGE, true};
	struct expr *source, *operation;
	char name[512];
	struct pb *policy;

	if (x->tcp && x->policy->action == MICA_POLICY_ALLOW && is_for_http(r))
		return;
	source = expr_both(x, clauses(x, r->from, r->n_from), when(x, &r->when, MICA_SIDE_SOURCE));
	operation =
		expr_both(x, clauses(x, r->to, r->n_to), when(x, &r->when, MICA_SIDE_OPERATION));
	if (source->op == EXPR_FALSE || operation->op == EXPR_FALSE)
		return; /* never matches */
	snprintf(name, sizeof(name), "ns[%s]-policy[%s]-rule[%u]", x->policy->ns, x->policy->name,
		x->rule);
	policy = pb_add_text(
		&x->arena, rbac, &f_policies, arena_text(&x->arena, mica_slice_str(name)));
	put_side(x, operation, MICA_SIDE_OPERATION, policy, &f_permissions);
	put_side(x, source, MICA_SIDE_SOURCE, policy, &f_principals);
}

/* ---- the policies of an action -------------------------------------------------------------- */

static bool is_asked(
	const struct envoy *x, const struct mica_policy *p, enum mica_policy_action action)
{
	return target_wants(x->t, p) && p->action == action;
}

static void count(
	const struct envoy *x, enum mica_policy_action action, unsigned *enforced, unsigned *dry)
{
	*enforced = *dry = 0;
	for (size_t i = 0; i < mica_policy_set_count(x->t->set); i++) {
		const struct mica_policy *p = mica_policy_set_at(x->t->set, i);

		if (is_asked(x, p, action))
			++*(p->dry_run ? dry : enforced);
	}
}

static void put_policy(struct envoy *x, const struct mica_policy *p, struct pb *rbac)
{
	x->policy = p;
	for (x->rule = 0; x->rule < p->n_rules; x->rule++)
		put_rule(x, &p->rules[x->rule], rbac);
}

static void put_rbac(struct envoy *x, enum mica_policy_action action, bool shadow, struct pb *to,
	const struct pb_field *f)
{
	static const struct pb_field f_action = {"action", 1, PB_ENUM, false};
	static const char *const names[] = {"ALLOW", "DENY", "LOG"};
	struct pb *rbac = pb_add(&x->arena, to, f),
		  *named = pb_add_text(&x->arena, rbac, &f_action, mica_slice_str(names[action]));

	named->value = (unsigned)action;
	x->quiet = shadow;
	for (size_t i = 0; i < mica_policy_set_count(x->t->set); i++) {
		const struct mica_policy *p = mica_policy_set_at(x->t->set, i);

		if (!is_asked(x, p, action) || (p->dry_run && !shadow))
			continue;
		put_policy(x, p, rbac);
	}
}

/* ---- the filters ---------------------------------------------------------------------------- */

static const struct {
	const char *name, *part;
	enum mica_policy_action action;
	const char *stats, *shadow; /* prefixes of figures */
} filters[] = {
	{"mica.audit", "audit", MICA_POLICY_AUDIT, "mica_audit.", "mica_dry_run_audit_"},
	{"mica.deny", "deny", MICA_POLICY_DENY, "mica_deny.", "mica_dry_run_deny_"},
	{"mica.allow", "allow", MICA_POLICY_ALLOW, "mica_allow.", "mica_dry_run_allow_"},
};

#define HTTP_TYPE    "envoy.extensions.filters.http.rbac.v3.RBAC"
#define NETWORK_TYPE "envoy.extensions.filters.network.rbac.v3.RBAC"

/* Without rules a filter does nothing; with rules and no policy ALLOW denies all, which is what an
 * ALLOW policy without rules is for. */
static void put_config(struct envoy *x, unsigned i, struct pb *any)
{
	static const struct pb_field f_rules = MESSAGE("rules", 1),
				     f_shadow = MESSAGE("shadow_rules", 2),
				     f_stats = STRING("stat_prefix", 3),
				     f_prefix[] = {STRING("shadow_rules_stat_prefix", 3),
					     STRING("shadow_rules_stat_prefix", 5)};
	unsigned enforced, dry;

	count(x, filters[i].action, &enforced, &dry);
	if (enforced)
		put_rbac(x, filters[i].action, false, any, &f_rules);
	if (dry)
		put_rbac(x, filters[i].action, true, any, &f_shadow);
	if (x->tcp)
		pb_add_text(&x->arena, any, &f_stats, mica_slice_str(filters[i].stats));
	if (dry)
		pb_add_text(&x->arena, any, &f_prefix[x->tcp], mica_slice_str(filters[i].shadow));
}

static struct pb *put_filter(
	struct envoy *x, unsigned i, struct pb *to, const struct pb_field *config)
{
	static const struct pb_field f_name = STRING("name", 1);
	struct pb *any;

	pb_add_text(&x->arena, to, &f_name, mica_slice_str(filters[i].name));
	any = pb_add_text(
		&x->arena, to, config, x->tcp ? MICA_LIT(NETWORK_TYPE) : MICA_LIT(HTTP_TYPE));
	put_config(x, i, any);
	return any;
}

/* As a DiscoveryResponse, which Envoy reads from a file that it watches. */
static void put_part(struct envoy *x, unsigned i, struct pb *to)
{
	static const struct pb_field f_resources = {"resources", 2, PB_ANY, true},
				     f_config = {"typed_config", 2, PB_ANY, false};
	struct pb *resource = pb_add_text(
		&x->arena, to, &f_resources, MICA_LIT("envoy.config.core.v3.TypedExtensionConfig"));

	put_filter(x, i, resource, &f_config);
}

static void put_all(struct envoy *x, struct pb *to)
{
	static const struct pb_field f_filters[] = {
		{"http_filters", 5, PB_MESSAGE, true}, {"filters", 3, PB_MESSAGE, true}};
	static const struct pb_field f_config = {"typed_config", 4, PB_ANY, false};

	for (unsigned i = 0; i < MICA_ARRAY_LEN(filters); i++)
		put_filter(x, i, pb_add(&x->arena, to, &f_filters[x->tcp]), &f_config);
}

static void tell_what(struct target_run *t)
{
	for (size_t i = 0; i < mica_policy_set_count(t->set); i++) {
		const struct mica_policy *p = mica_policy_set_at(t->set, i);

		if (!target_wants(t, p))
			continue;
		t->report->policies++;
		t->report->rules += p->n_rules;
	}
}

static bool find_part(struct target_run *t, unsigned *part)
{
	for (*part = 0; *part < MICA_ARRAY_LEN(filters); ++*part)
		if (strcmp(t->o->part, filters[*part].part) == 0)
			return true;
	t->rc = mica_fail(t->e, MICA_INVALID, "part_unknown",
		"'%.40s' is no part of it, expected audit, deny or allow", t->o->part);
	return false;
}

void target_envoy(struct target_run *t)
{
	static const struct pb_field f_root = MESSAGE("", 0);
	struct envoy x = {.t = t, .tcp = t->o->target == MICA_TARGET_ENVOY_NETWORK};
	struct pb *root;
	unsigned part = 0;

	if (t->o->part && !find_part(t, &part))
		return;
	root = pb_add(&x.arena, NULL, &f_root);
	tell_what(t);
	if (t->o->part)
		put_part(&x, part, root);
	else
		put_all(&x, root);
	if (t->o->form == MICA_FORM_PROTOBUF) {
		pb_put_wire(t->b, root);
	} else {
		pb_put_json(t->b, root);
		mica_buf_put_str(t->b, "\n");
	}
	arena_clear(&x.arena);
}
