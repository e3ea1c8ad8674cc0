/* SPDX-License-Identifier: Apache-2.0 */
/* Linkerd: the networks, paths and methods that the rules of a port divide requests by. */
#include "target_linkerd.h"

#include <stdlib.h>

/* Beyond these a port is closed, and that is a loss: a text of megabytes helps nobody. */
#define CELLS_MAX 500000
#define WORK_MAX  200000000.0 /* cells times rules and their values: a second */

static const char *const registered[] = {
	"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"};
#define REGISTERED (sizeof(registered) / sizeof(registered[0]))

/* ---- every value of every test --------------------------------------------------------------- */

typedef void value_fn(struct lkd_port *p, const struct ctest *t, const struct mica_policy_value *v);

static void each_in_clause(struct lkd_port *p, const struct cclause *c, value_fn *fn)
{
	for (unsigned i = 0; i < c->n; i++) {
		const struct ctest *t = &c->tests[i];

		for (unsigned k = 0; k < t->is.n; k++)
			fn(p, t, &t->is.v[k]);
		for (unsigned k = 0; k < t->is_not.n; k++)
			fn(p, t, &t->is_not.v[k]);
	}
}

static void each_value(struct lkd_port *p, value_fn *fn)
{
	for (unsigned i = 0; i < p->n_rules; i++) {
		const struct crule *r = p->rules[i].rule;

		for (unsigned k = 0; k < r->n_from; k++)
			each_in_clause(p, &r->from[k], fn);
		for (unsigned k = 0; k < r->n_to; k++)
			each_in_clause(p, &r->to[k], fn);
		each_in_clause(p, &r->when, fn);
	}
}

/* ---- networks -------------------------------------------------------------------------------- */

static void count_net(struct lkd_port *p, const struct ctest *t, const struct mica_policy_value *v)
{
	(void)v;
	p->n_nets += t->attr == MICA_ATTR_SOURCE_IP;
}

static void add_net(struct lkd_port *p, const struct ctest *t, const struct mica_policy_value *v)
{
	if (t->attr == MICA_ATTR_SOURCE_IP)
		p->nets[p->n_nets++].cidr = v->cidr;
}

static int by_block(const void *a, const void *b)
{
	const struct mica_cidr *x = &((const struct lkd_net *)a)->cidr;
	const struct mica_cidr *y = &((const struct lkd_net *)b)->cidr;
	int by = (int)x->ip.len - (int)y->ip.len;

	by = by ? by : memcmp(x->ip.b, y->ip.b, sizeof(x->ip.b));
	return by ? by : (int)x->bits - (int)y->bits;
}

static bool is_inside(const struct mica_cidr *a, const struct mica_cidr *of)
{
	return of->bits <= a->bits && mica_cidr_has(of, &a->ip);
}

const struct mica_cidr lkd_mapped = {
	.ip = {.len = 16, .b = {[10] = 0xff, [11] = 0xff}}, .bits = 96};

/* In this order a block stands behind all that it is in, so its parent is the one before it or
 * somewhere above that. */
static void make_nets(struct lkd_port *p)
{
	unsigned n = 0;

	each_value(p, count_net);
	p->nets = arena_alloc(&p->arena, p->n_nets + 3, sizeof(*p->nets));
	p->nets[0].cidr.ip.len = 4;
	p->nets[1].cidr.ip.len = 16;
	p->nets[2].cidr = lkd_mapped;
	p->n_nets = p->n_nets ? 3 : 2;
	each_value(p, add_net);
	qsort(p->nets, p->n_nets, sizeof(*p->nets), by_block);
	for (unsigned i = 0; i < p->n_nets; i++) {
		struct lkd_net *net = &p->nets[n];

		if (n && by_block(&p->nets[i], net - 1) == 0)
			continue;
		net->cidr = p->nets[i].cidr;
		net->parent = n;
		if (net->cidr.bits) {
			net->parent = n - 1;
			while (!is_inside(&net->cidr, &p->nets[net->parent].cidr))
				net->parent = p->nets[net->parent].parent;
		}
		n++;
	}
	p->n_nets = n;
}

/* ---- paths ----------------------------------------------------------------------------------- */

/* A path that is "*" is one that begins with '/': what has none is not HTTP's usual. */
static bool divides_paths(const struct ctest *t, const struct mica_policy_value *v)
{
	return t->attr == MICA_ATTR_PATH && lkd_path_is_plain(v->text) &&
		(v->kind == MICA_VALUE_EXACT || v->kind == MICA_VALUE_PREFIX ||
			v->kind == MICA_VALUE_PRESENT);
}

static void count_path(struct lkd_port *p, const struct ctest *t, const struct mica_policy_value *v)
{
	p->n_paths += divides_paths(t, v);
}

static void add_path(struct lkd_port *p, const struct ctest *t, const struct mica_policy_value *v)
{
	if (divides_paths(t, v))
		p->paths[p->n_paths++] = (struct lkd_path){
			.text = v->kind == MICA_VALUE_PRESENT ? MICA_LIT("/") : v->text,
			.exact = v->kind == MICA_VALUE_EXACT};
}

static int by_text(const void *a, const void *b)
{
	const struct lkd_path *x = a, *y = b;
	const size_t len = x->text.len < y->text.len ? x->text.len : y->text.len;
	int by = len ? memcmp(x->text.p, y->text.p, len) : 0;

	by = by ? by : (x->text.len > y->text.len) - (x->text.len < y->text.len);
	return by ? by : (int)x->exact - (int)y->exact;
}

static void make_paths(struct lkd_port *p)
{
	unsigned n = 0;

	each_value(p, count_path);
	p->paths = arena_alloc(&p->arena, p->n_paths + 1, sizeof(*p->paths));
	p->n_paths = 1;
	each_value(p, add_path);
	qsort(p->paths, p->n_paths, sizeof(*p->paths), by_text);
	for (unsigned i = 0; i < p->n_paths; i++) {
		const struct lkd_path path = p->paths[i];
		unsigned up = n ? n - 1 : 0;

		if (n && by_text(&path, &p->paths[n - 1]) == 0)
			continue;
		while (up &&
			(p->paths[up].exact ||
				!mica_slice_has_prefix(path.text, p->paths[up].text)))
			up = p->paths[up].parent;
		p->paths[n] = path;
		p->paths[n++].parent = up;
	}
	p->n_paths = n;
}

/* ---- methods --------------------------------------------------------------------------------- */

static void add_known(struct lkd_port *p, const char *method)
{
	unsigned k = 1;

	while (k < p->n_methods && p->methods[k] != method)
		k++;
	p->methods[k] = method;
	p->n_methods += k == p->n_methods;
}

/* A value that is none of the nine may be of any other one: then these are told apart from it. */
static void add_method(struct lkd_port *p, const struct ctest *t, const struct mica_policy_value *v)
{
	const struct values one = {v, 1, v->kind == MICA_VALUE_EXACT};
	struct mica_policy_request r = {.http = true};
	const struct subject s = {.r = &r};
	bool exact = false;

	if (t->attr != MICA_ATTR_METHOD || v->kind == MICA_VALUE_PRESENT)
		return;
	for (unsigned i = 0; i < REGISTERED; i++)
		exact |= v->kind == MICA_VALUE_EXACT && mica_slice_eq_str(v->text, registered[i]);
	for (unsigned i = 0; i < REGISTERED; i++) {
		r.method = mica_slice_str(registered[i]);
		if (!exact || match_values(&s, t, &one))
			add_known(p, registered[i]);
	}
}

static void count_value(
	struct lkd_port *p, const struct ctest *t, const struct mica_policy_value *v)
{
	(void)t, (void)v;
	p->n_values++;
}

bool lkd_cells_make(struct lkd_port *p)
{
	double cells;

	lkd_peers_make(p);
	make_nets(p);
	make_paths(p);
	p->methods = arena_alloc(&p->arena, REGISTERED + 1, sizeof(*p->methods));
	p->n_methods = 1;
	each_value(p, add_method);
	cells = (double)p->n_peers * p->n_nets * (p->n_paths * p->n_methods + 1);
	each_value(p, count_value);
	return cells <= CELLS_MAX && cells * ((double)p->n_rules + p->n_values) <= WORK_MAX;
}
