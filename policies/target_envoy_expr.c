/* SPDX-License-Identifier: Apache-2.0 */
/* Conditions: what is always or never true disappears, since Envoy has no empty lists. */
#include "target_envoy.h"

/* ---- building ------------------------------------------------------------------------------- */

static struct expr *new_expr(struct envoy *x, enum expr_op op)
{
	struct expr *e = arena_alloc(&x->arena, 1, sizeof(*e));

	e->op = op;
	return e;
}

struct expr *expr_const(struct envoy *x, bool value)
{
	return new_expr(x, value ? EXPR_TRUE : EXPR_FALSE);
}

struct expr *expr_leaf(struct envoy *x, struct pb *field)
{
	struct expr *e = new_expr(x, EXPR_LEAF);

	e->leaf = field;
	return e;
}

struct expr *expr_not(struct envoy *x, struct expr *e)
{
	struct expr *n;

	if (e->op == EXPR_TRUE || e->op == EXPR_FALSE)
		return expr_const(x, e->op == EXPR_FALSE);
	if (e->op == EXPR_NOT)
		return e->first;
	n = new_expr(x, EXPR_NOT);
	n->first = n->last = e;
	return n;
}

struct expr *expr_list(struct envoy *x, enum expr_op op)
{
	return new_expr(x, op);
}

static void append(struct expr *list, struct expr *e)
{
	if (list->last)
		list->last->next = e;
	else
		list->first = e;
	list->last = e;
}

/* A list that is decided, FALSE in an AND and TRUE in an OR, holds nothing but that. */
void expr_add(struct expr *list, struct expr *e)
{
	const enum expr_op decides = list->op == EXPR_AND ? EXPR_FALSE : EXPR_TRUE;

	if (list->first && list->first->op == decides)
		return;
	if (e->op == decides)
		list->first = list->last = e;
	else if (e->op == list->op)
		for (struct expr *k = e->first, *next; k; k = next) {
			next = k->next;
			k->next = NULL;
			append(list, k);
		}
	else if (e->op != EXPR_TRUE && e->op != EXPR_FALSE)
		append(list, e);
}

struct expr *expr_done(struct envoy *x, struct expr *list)
{
	if (list->first == NULL)
		return expr_const(x, list->op == EXPR_AND);
	return list->first == list->last ? list->first : list;
}

struct expr *expr_both(struct envoy *x, struct expr *a, struct expr *b)
{
	struct expr *list = expr_list(x, EXPR_AND);

	expr_add(list, a);
	expr_add(list, b);
	return expr_done(x, list);
}

/* ---- writing -------------------------------------------------------------------------------- */

/* Permission and Principal are the same but for names. */
static const struct {
	struct pb_field and, or, any, not, set;
} forms[] = {
	[MICA_SIDE_SOURCE] = {{"and_ids", 1, PB_MESSAGE, false}, {"or_ids", 2, PB_MESSAGE, false},
		{"any", 3, PB_BOOL, false}, {"not_id", 8, PB_MESSAGE, false},
		{"ids", 1, PB_MESSAGE, true}},
	[MICA_SIDE_OPERATION] = {{"and_rules", 1, PB_MESSAGE, false},
		{"or_rules", 2, PB_MESSAGE, false}, {"any", 3, PB_BOOL, false},
		{"not_rule", 8, PB_MESSAGE, false}, {"rules", 1, PB_MESSAGE, true}},
};

void expr_put(struct envoy *x, const struct expr *e, enum mica_policy_side side, struct pb *to,
	const struct pb_field *f)
{
	struct pb *m = pb_add(&x->arena, to, f), *list;

	switch (e->op) {
	case EXPR_TRUE: pb_add(&x->arena, m, &forms[side].any); break;
	case EXPR_FALSE:
		expr_put(x, &(const struct expr){.op = EXPR_TRUE}, side, m, &forms[side].not );
		break;
	case EXPR_LEAF: pb_adopt(m, e->leaf); break;
	case EXPR_NOT: expr_put(x, e->first, side, m, &forms[side].not ); break;
	default:
		list = pb_add(&x->arena, m, e->op == EXPR_AND ? &forms[side].and : &forms[side].or);
		for (const struct expr *k = e->first; k; k = k->next)
			expr_put(x, k, side, list, &forms[side].set);
	}
}
