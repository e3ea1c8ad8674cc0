/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Regular expressions are made of what is escaped and of the pieces below, which know how many
 * instructions they are at most.
 *
 * An ID is "spiffe://TD" and segments that are not empty, of [a-zA-Z0-9._-]; RE2 is asked for "not
 * a slash" in the cheapest way, as two ranges.
 */
#include "target_envoy.h"

#define LIMIT 100
#define BASE  4 /* instructions of an expression that is empty */

#define IN  "[!-.0-~]" /* an octet of a segment */
#define ANY "[!-~]" /* an octet of an ID */
/* Segments, none of which is "ns", "sa": it is "n", or begins otherwise, or goes on. */
#define NOT_NS "(?:/(?:n|(?:[!-.0-mo-~]|n(?:[!-.0-rt-~]|s" IN "))" IN "*))*"
#define NOT_SA "(?:/(?:s|(?:[!-.0-rt-~]|s(?:[!-.0-`b-~]|a" IN "))" IN "*))*"

struct piece {
	const char *text;
	unsigned size;
};
static const struct piece id = {ENVOY_ID, 9}, any = {ANY "*", 3}, segment = {IN "+", 4},
			  part = {IN "*", 4}, td_not_ns = {IN "+" NOT_NS, 20}, ns = {"/ns/", 4},
			  not_sa = {NOT_SA, 16}, sa = {"/sa/", 4}, slash_some = {"/" ANY "+", 3},
			  tail = {"(?:/" ANY "*)?", 4}, one = {"[!$-)+-.0-;@-Z_a-z~]+", 10},
			  rest = {"[!$-)+-;@-Z_a-z~]*", 9};

struct re {
	struct mica_buf b;
	unsigned size;
};

static void begin(struct re *r)
{
	mica_buf_init(&r->b, 4 * MICA_POLICY_VALUE_MAX);
	r->size = BASE;
}

static void put(struct re *r, const struct piece *p)
{
	mica_buf_put_str(&r->b, p->text);
	r->size += p->size;
}

/* Text as itself. RE2 knows every escaped sign of punctuation. */
static void put_text(struct re *r, struct mica_slice s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (!all_in(mica_slice(s.p + i, 1), "-_/:"))
			mica_buf_put_u8(&r->b, '\\');
		mica_buf_put_u8(&r->b, s.p[i]);
	}
	r->size += (unsigned)s.len;
}

static struct mica_slice end(struct envoy *x, struct re *r)
{
	struct mica_slice out = MICA_SLICE_NULL;

	if (r->size <= LIMIT && !r->b.over)
		out = arena_text(&x->arena, mica_buf_slice(&r->b));
	mica_buf_clear(&r->b);
	return out;
}

struct mica_slice envoy_re_suffix(struct envoy *x, struct mica_slice text)
{
	struct re r;

	begin(&r);
	put(&r, &id);
	put(&r, &any);
	put_text(&r, text);
	return end(x, &r);
}

static void put_glob(struct re *r, struct mica_slice glob)
{
	for (size_t i = 0; i < glob.len; i++) {
		if (glob.p[i] == '*')
			put(r, &part);
		else
			put_text(r, mica_slice(glob.p + i, 1));
	}
}

/* Behind the first "ns", and something follows. */
struct mica_slice envoy_re_namespace(struct envoy *x, const struct mica_policy_value *v)
{
	struct re r;

	begin(&r);
	put(&r, &id);
	put(&r, &td_not_ns);
	put(&r, &ns);
	put_glob(&r, v->written); /* in all forms, a star is any number of octets */
	put(&r, &slash_some);
	return end(x, &r);
}

/* Behind the first "sa" behind the namespace. */
struct mica_slice envoy_re_account(struct envoy *x, struct mica_slice name)
{
	struct re r;

	begin(&r);
	put(&r, &id);
	put(&r, &td_not_ns);
	put(&r, &ns);
	put(&r, &segment);
	put(&r, &not_sa);
	put(&r, &sa);
	put_text(&r, name);
	put(&r, &tail);
	return end(x, &r);
}

struct mica_slice envoy_re_plain_account(
	struct envoy *x, struct mica_slice space, struct mica_slice name)
{
	struct re r;

	begin(&r);
	put(&r, &id);
	put(&r, &segment);
	put(&r, &ns);
	put_text(&r, space);
	put(&r, &sa);
	put_text(&r, name);
	return end(x, &r);
}

/* {*} and {**} as mica_policy_template_matches has them. */
struct mica_slice envoy_re_template(struct envoy *x, struct mica_slice template)
{
	struct mica_slice left = template;
	struct re r;

	begin(&r);
	while (left.len) {
		bool all = mica_slice_has_prefix(left, MICA_LIT("{**}"));

		if (all || mica_slice_has_prefix(left, MICA_LIT("{*}"))) {
			put(&r, all ? &rest : &one);
			left = mica_slice_sub(left, all ? 4 : 3, left.len);
			continue;
		}
		put_text(&r, mica_slice(left.p, 1));
		left = mica_slice_sub(left, 1, left.len);
	}
	return end(x, &r);
}
