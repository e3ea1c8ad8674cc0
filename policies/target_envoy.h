/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to the compiler for Envoy.
 *
 *	target_envoy.c		policies -> filters
 *	target_envoy_expr.c	and, or, not; true and false are gone when it is written
 *	target_envoy_attr.c	a value of an attribute -> what Envoy matches it with
 *	target_envoy_re.c	what only a regular expression can say
 */
#ifndef MICA_TARGET_ENVOY_H
#define MICA_TARGET_ENVOY_H

#include "pbtree.h"
#include "target_impl.h"

/* One compilation, and where it stands. */
struct envoy {
	struct target_run *t;
	struct arena arena;
	bool tcp; /* for connections: nothing is HTTP */
	bool quiet; /* losses are not noted: they were, or nothing is enforced */
	const struct mica_policy *policy;
	unsigned rule;
	const struct mica_policy_test *test;
};

/* ---- conditions ----------------------------------------------------------------------------- */

enum expr_op { EXPR_FALSE, EXPR_TRUE, EXPR_LEAF, EXPR_AND, EXPR_OR, EXPR_NOT };
/* Part of one other at most. */
struct expr {
	enum expr_op op;
	struct pb *leaf; /* the field of a Permission or Principal */
	struct expr *first, *last, *next;
};
struct expr *expr_const(struct envoy *x, bool value);
struct expr *expr_leaf(struct envoy *x, struct pb *field);
struct expr *expr_not(struct envoy *x, struct expr *e);
/* All of, one of what is added: with nothing in it an AND is true, an OR is false. */
struct expr *expr_list(struct envoy *x, enum expr_op op);
void expr_add(struct expr *list, struct expr *e);
struct expr *expr_done(struct envoy *x, struct expr *list); /* simplest form of a list */
struct expr *expr_both(struct envoy *x, struct expr *a, struct expr *b);
/* Writes it as Permission or Principal in the field `f` of `to`. */
void expr_put(struct envoy *x, const struct expr *e, enum mica_policy_side side, struct pb *to,
	const struct pb_field *f);

/* ---- attributes ----------------------------------------------------------------------------- */

/* Whether the request has the value, as exactly as Envoy can say it. What it cannot say in full is
 * a loss, and then true of fewer requests if `narrow`, else of more. */
struct expr *envoy_value(struct envoy *x, const struct mica_policy_value *v, bool narrow);

/* ---- regular expressions -------------------------------------------------------------------- */

/* Envoy compares all of a text, and refuses a configuration with an expression of more than 100
 * instructions of RE2, as bootstraps have it; so they are counted here, and one that is too long is
 * none (empty). Whoever asks does without. */

#define ENVOY_ID "spiffe://"
/* IDs that end with `end`. */
struct mica_slice envoy_re_suffix(struct envoy *x, struct mica_slice end);
/* IDs of this namespace: EXACT, PREFIX, SUFFIX, PRESENT, GLOB. */
struct mica_slice envoy_re_namespace(struct envoy *x, const struct mica_policy_value *v);
/* IDs with this service account, in whatever namespace. */
struct mica_slice envoy_re_account(struct envoy *x, struct mica_slice name);
/* "spiffe://TD/ns/NS/sa/NAME" and no other form. */
struct mica_slice envoy_re_plain_account(
	struct envoy *x, struct mica_slice ns, struct mica_slice name);
struct mica_slice envoy_re_template(struct envoy *x, struct mica_slice template);

#endif
