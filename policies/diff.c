/* SPDX-License-Identifier: Apache-2.0 */
/* Two sets of policies: which requests they decide differently, in words. */
#include "diff.h"

#include <stdio.h>

#define WORKLOADS_MAX 4096
#define PAIRS_MAX     32 /* selectors of a namespace that are tried two by two */
#define ADDRESS                                                                                    \
	{                                                                                          \
		.len = 4, .b = { 192, 0, 2, 1 }                                                    \
	} /* RFC 5737: of nobody */

enum way { SAME, GAINS, LOSES };

struct side {
	const struct mica_policy_set *set;
	bool *same; /* of each policy: the other set has it, too */
};

struct diffing {
	struct side side[2]; /* before, after */
	const struct mica_policy_diff_options *o;
	struct mica_policy_diff *out;
	struct arena *arena; /* of the outcome */
	unsigned room;
};

/* ---- policies that differ -----------------------------------------------------------------------
 */

static bool is_enforced(const struct mica_policy *p)
{
	return p->kind == MICA_POLICY_AUTHORIZATION && !p->dry_run &&
		p->action != MICA_POLICY_AUDIT;
}

static bool equal(const struct mica_policy *a, const struct mica_policy *b)
{
	MICA_AUTO_BUF x, y;

	if (a == b)
		return true;
	mica_buf_init(&x, (size_t)16 << 20);
	mica_buf_init(&y, (size_t)16 << 20);
	mica_policy_put_json(&x, a);
	mica_policy_put_json(&y, b);
	return !x.over && !y.over && mica_slice_eq(mica_buf_slice(&x), mica_buf_slice(&y));
}

static void compare(struct side *s, const struct side *other)
{
	s->same = mica_calloc(s->set->n_authorization + 1, sizeof(s->same[0]));
	for (size_t i = 0; i < s->set->n_authorization; i++) {
		const struct mica_policy *p = s->set->policies[i];
		const struct mica_policy *q = mica_policy_set_find(
			other->set, p->kind, mica_slice_str(p->ns), mica_slice_str(p->name));

		s->same[i] = !is_enforced(p) || (q && equal(p, q));
	}
}

/* Whether policies about a workload differ: else nothing about it does. */
static bool is_touched(const struct diffing *d, const struct mica_policy_workload *w)
{
	for (int k = 0; k < 2; k++)
		for (size_t i = 0; i < d->side[k].set->n_authorization; i++)
			if (!d->side[k].same[i] &&
				mica_policy_selects(d->side[k].set, d->side[k].set->policies[i], w))
				return true;
	return false;
}

/* ---- workloads ----------------------------------------------------------------------------------
 */

struct workloads {
	struct mica_policy_workload *v;
	unsigned n;
	bool complete;
};

static bool has_pairs(
	const struct mica_policy_workload *w, const struct mica_policy_pair *v, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		bool has = false;

		for (unsigned k = 0; k < w->n_labels; k++)
			has |= mica_slice_eq(w->labels[k].key, v[i].key) &&
				mica_slice_eq(w->labels[k].value, v[i].value);
		if (!has)
			return false;
	}
	return true;
}

static void add_workload(struct workloads *all, struct mica_slice ns,
	const struct mica_policy_pair *labels, unsigned n)
{
	for (unsigned i = 0; i < all->n; i++)
		if (mica_slice_eq(all->v[i].ns, ns) && all->v[i].n_labels == n &&
			has_pairs(&all->v[i], labels, n))
			return;
	if (all->n == WORKLOADS_MAX)
		all->complete = false;
	else
		all->v[all->n++] = (struct mica_policy_workload){ns, labels, n};
}

/* Two selectors at once, where no label would have two values. */
static void add_both(struct diffing *d, struct workloads *all, const struct mica_policy_workload *a,
	const struct mica_policy_workload *b)
{
	struct mica_policy_pair *v = arena_alloc(d->arena, a->n_labels + b->n_labels, sizeof(v[0]));
	unsigned n = a->n_labels;

	memcpy(v, a->labels, n * sizeof(v[0]));
	for (unsigned i = 0; i < b->n_labels; i++) {
		bool has = false;

		for (unsigned k = 0; k < a->n_labels; k++) {
			if (!mica_slice_eq(v[k].key, b->labels[i].key))
				continue;
			if (!mica_slice_eq(v[k].value, b->labels[i].value))
				return;
			has = true;
		}
		if (!has)
			v[n++] = b->labels[i];
	}
	add_workload(all, a->ns, v, n);
}

static void workloads_of(struct diffing *d, struct workloads *all, struct mica_slice ns)
{
	const unsigned first = all->n;
	unsigned last;

	add_workload(all, ns, NULL, 0);
	for (int k = 0; k < 2; k++)
		for (size_t i = 0; i < d->side[k].set->n_authorization; i++) {
			const struct mica_policy *p = d->side[k].set->policies[i];

			if (p->selector.n && is_enforced(p) &&
				(mica_slice_eq_str(ns, p->ns) ||
					set_is_root(d->side[k].set, mica_slice_str(p->ns))))
				add_workload(all, ns, p->selector.v, p->selector.n);
		}
	last = all->n;
	all->complete &= last - first <= PAIRS_MAX + 1;
	for (unsigned i = first + 1; i < last && i <= first + PAIRS_MAX; i++)
		for (unsigned k = i + 1; k < last && k <= first + PAIRS_MAX; k++)
			add_both(d, all, &all->v[i], &all->v[k]);
}

static void collect_workloads(struct diffing *d, struct workloads *all)
{
	struct mica_slice seen = MICA_SLICE_NULL;
	bool root = false;

	for (int k = 0; k < 2; k++)
		for (size_t i = 0; i < d->side[k].set->n_authorization; i++) {
			const struct mica_slice ns =
				mica_slice_str(d->side[k].set->policies[i]->ns);
			bool known = mica_slice_eq(ns, seen);

			root |= set_is_root(d->side[k].set, ns);
			for (unsigned j = 0; j < all->n && !known; j++)
				known = mica_slice_eq(all->v[j].ns, ns);
			if (!known && !set_is_root(d->side[k].set, ns))
				workloads_of(d, all, ns);
			seen = ns;
		}
	if (root)
		workloads_of(d, all, MICA_LIT("*"));
}

/* ---- decisions ----------------------------------------------------------------------------------
 */

/* Of a peer: each request by extra, port, and what is not HTTP, then method by method each path. */
struct matrix {
	const struct diff_examples *x;
	unsigned n_http, n; /* of an extra and port; of all */
	enum way *v;
};

static struct mica_policy_request request_of(const struct matrix *m,
	const struct mica_policy_workload *w, struct mica_slice peer, unsigned i)
{
	const struct diff_examples *x = m->x;
	const struct mica_ip address = ADDRESS;
	const unsigned http = i % m->n_http, port = i / m->n_http % x->ports.n;
	struct mica_policy_request r = {.workload = *w,
		.peer = peer,
		.source_ip = address,
		.remote_ip = address,
		.destination_ip = address,
		.port = x->ports.v[port].port,
		.http = http > 0};

	if (http > 0) {
		r.method = x->methods.v[(http - 1) / x->paths.n].text;
		r.path = x->paths.v[(http - 1) % x->paths.n].text;
	}
	return r;
}

static bool decide_peer(struct diffing *d, const struct matrix *m,
	const struct mica_policy_workload *w, struct mica_slice peer, enum way *v)
{
	bool any = false;

	for (unsigned i = 0; i < m->n; i++) {
		struct mica_policy_request r = request_of(m, w, peer, i);
		struct mica_policy_pair pairs[2 * DIFF_ASSIGNS];
		struct mica_policy_verdict before, after;
		struct mica_slice audience;

		diff_apply(&m->x->extras[i / m->n_http / m->x->ports.n], &r, pairs, &audience);
		mica_policy_decide(d->side[0].set, &r, &before);
		mica_policy_decide(d->side[1].set, &r, &after);
		v[i] = SAME;
		if (before.now.allowed != after.now.allowed)
			v[i] = after.now.allowed ? GAINS : LOSES;
		any |= v[i] != SAME;
	}
	d->out->requests += m->n;
	return any;
}

/* ---- in words -----------------------------------------------------------------------------------
 */

struct words {
	struct diffing *d;
	const char **v;
	unsigned n, room;
};

static void say(struct words *to, struct mica_slice text)
{
	if (to->n == to->room) {
		to->room = to->room ? 2 * to->room : 8;
		to->v = mica_realloc(to->v, to->room, sizeof(to->v[0]));
	}
	to->v[to->n++] = (const char *)arena_text(to->d->arena, text).p;
}

static void put_word(struct mica_buf *b, const char *word)
{
	mica_buf_printf(b, "%s%s", b->len ? ", " : "", word);
}

/* Whether two parts of a matrix have `way` at the same places; NULL: everywhere. */
static bool alike(const enum way *a, const enum way *b, unsigned n, unsigned step, enum way way)
{
	for (unsigned i = 0; i < n * step; i += step)
		if ((a[i] == way) != (b ? b[i] == way : true))
			return false;
	return true;
}

static bool has_way(const enum way *a, unsigned n, unsigned step, enum way way)
{
	for (unsigned i = 0; i < n * step; i += step)
		if (a[i] == way)
			return true;
	return false;
}

/* Those of `n` things, each `size` long from `step` to `step`, that are as the first: named in
 * `names`, marked done. */
static bool put_alike(struct mica_buf *names, const struct diff_atoms *atoms, const enum way *v,
	unsigned i, unsigned step, unsigned size, unsigned inner, enum way way)
{
	bool all = true;

	for (unsigned k = 0; k < atoms->n; k++) {
		if (!alike(v + i * step, v + k * step, size, inner, way)) {
			all = false;
			continue;
		}
		if (k < i)
			return false; /* was said with that one */
		put_word(names, atoms->v[k].word);
	}
	if (all) {
		mica_buf_reset(names);
		mica_buf_put_u8(names, '\0'); /* all of them */
	}
	return true;
}

static bool is_all(const struct mica_buf *names)
{
	return names->len == 1 && names->p[0] == '\0';
}

static void say_paths(struct words *to, const struct diff_examples *x, const enum way *http,
	unsigned i, enum way way, const char *where)
{
	MICA_AUTO_BUF paths, methods, text;

	mica_buf_init(&paths, 65536);
	mica_buf_init(&methods, 65536);
	mica_buf_init(&text, 262144);
	if (!put_alike(&paths, &x->paths, http, i, 1, x->methods.n, x->paths.n, way))
		return;
	for (unsigned k = 0; k < x->methods.n; k++)
		if (http[k * x->paths.n + i] == way)
			put_word(&methods, x->methods.v[k].word);
	if (alike(http + i, NULL, x->methods.n, x->paths.n, way)) {
		mica_buf_reset(&methods);
		mica_buf_put_str(&methods, "any method");
	}
	mica_buf_printf(&text, "%.*s on ", MICA_FMT(mica_buf_slice(&methods)));
	if (is_all(&paths))
		mica_buf_put_str(&text, "any path");
	else
		mica_buf_put_slice(&text, mica_buf_slice(&paths));
	mica_buf_put_str(&text, where);
	say(to, mica_buf_slice(&text));
}

/* Of one extra and one port. */
static void say_requests(struct words *to, const struct diff_examples *x, const enum way *v,
	unsigned n, enum way way, const char *where)
{
	MICA_AUTO_BUF text;

	mica_buf_init(&text, 65536);
	if (alike(v, NULL, n, 1, way))
		mica_buf_printf(&text, "everything%s", where);
	else if (alike(v + 1, NULL, n - 1, 1, way))
		mica_buf_printf(&text, "all of HTTP%s", where);
	if (text.len) {
		say(to, mica_buf_slice(&text));
		return;
	}
	for (unsigned i = 0; i < x->paths.n; i++)
		if (has_way(v + 1 + i, x->methods.n, x->paths.n, way))
			say_paths(to, x, v + 1, i, way, where);
	if (v[0] == way) {
		mica_buf_printf(&text, "what is not HTTP%s", where);
		say(to, mica_buf_slice(&text));
	}
}

static void say_ports(
	struct words *to, const struct matrix *m, const enum way *v, enum way way, const char *with)
{
	for (unsigned i = 0; i < m->x->ports.n; i++) {
		MICA_AUTO_BUF names, where;

		mica_buf_init(&names, 65536);
		mica_buf_init(&where, 131072);
		if (!has_way(v + i * m->n_http, m->n_http, 1, way) ||
			!put_alike(&names, &m->x->ports, v, i, m->n_http, m->n_http, 1, way))
			continue;
		if (!is_all(&names))
			mica_buf_printf(&where, " at %.*s", MICA_FMT(mica_buf_slice(&names)));
		mica_buf_put_str(&where, with);
		say_requests(to, m->x, v + i * m->n_http, m->n_http, way,
			where.len ? (const char *)where.p : "");
	}
}

/* Whether one of the parts of an extra changes the same, so that it needs no words. */
static bool part_says(
	const struct matrix *m, const enum way *v, unsigned k, unsigned size, enum way way)
{
	for (int i = 0; i < 2; i++) {
		const unsigned part = m->x->extras[k].parts[i];

		if (part && alike(v + part * size, v + k * size, size, 1, way))
			return true;
	}
	return false;
}

/* Extras that change the same are named once; those that change as requests without any do not
 * matter. */
static void say_what(struct words *to, const struct matrix *m, const enum way *v, enum way way)
{
	const unsigned size = m->n_http * m->x->ports.n;
	bool differ = false;

	for (unsigned k = 1; k < m->x->n_extras; k++)
		differ |= !alike(v, v + k * size, size, 1, way);
	for (unsigned i = 0; i < m->x->n_extras; i++) {
		const enum way *one = v + i * size;
		MICA_AUTO_BUF with;
		bool said = false;

		mica_buf_init(&with, 262144);
		for (unsigned k = 0; k < i && !said; k++)
			said = alike(one, v + k * size, size, 1, way);
		if (said || !has_way(one, size, 1, way))
			continue;
		for (unsigned k = i; differ && i > 0 && k < m->x->n_extras; k++)
			if (alike(one, v + k * size, size, 1, way) &&
				!part_says(m, v, k, size, way))
				mica_buf_printf(&with, "%s%s", with.len ? " or " : " ",
					m->x->extras[k].word);
		if (differ && i == 0)
			mica_buf_put_str(&with, " in other requests");
		say_ports(to, m, one, way, with.len ? (const char *)with.p : "");
	}
}

/* ---- changes ------------------------------------------------------------------------------------
 */

static bool same_words(const char *const *v, unsigned n, const struct words *w)
{
	if (n != w->n)
		return false;
	for (unsigned i = 0; i < n; i++)
		if (strcmp(v[i], w->v[i]) != 0)
			return false;
	return true;
}

/* Whether the same was told of workloads with fewer labels, of which this is one. */
static bool is_said(const struct mica_policy_change *c, const struct mica_policy_workload *w,
	bool gains, const struct words *who, const struct words *what)
{
	return mica_slice_eq_str(w->ns, c->ns) && c->gains == gains &&
		has_pairs(w, c->labels, c->n_labels) && same_words(c->who, c->n_who, who) &&
		same_words(c->what, c->n_what, what);
}

static void add_change(struct diffing *d, const struct mica_policy_workload *w, bool gains,
	const struct words *who, const struct words *what)
{
	struct mica_policy_change *c;
	struct mica_policy_pair *labels = arena_alloc(d->arena, w->n_labels, sizeof(labels[0]));

	for (unsigned i = 0; i < d->out->n; i++)
		if (is_said(&d->out->v[i], w, gains, who, what))
			return;
	for (unsigned i = 0; i < w->n_labels; i++)
		labels[i] = (struct mica_policy_pair){arena_text(d->arena, w->labels[i].key),
			arena_text(d->arena, w->labels[i].value)};
	if (d->out->n == d->room) {
		d->room = d->room ? 2 * d->room : 16;
		d->out->v = mica_realloc(d->out->v, d->room, sizeof(d->out->v[0]));
	}
	c = &d->out->v[d->out->n++];
	*c = (struct mica_policy_change){.ns = (const char *)arena_text(d->arena, w->ns).p,
		.n_labels = w->n_labels,
		.gains = gains,
		.n_who = who->n,
		.n_what = what->n};
	c->labels = labels;
	c->who = arena_alloc(d->arena, who->n, sizeof(c->who[0]));
	memcpy((void *)c->who, who->v, who->n * sizeof(c->who[0]));
	c->what = arena_alloc(d->arena, what->n, sizeof(c->what[0]));
	memcpy((void *)c->what, what->v, what->n * sizeof(c->what[0]));
}

static void say_peers(struct words *who, const struct matrix *m, unsigned i, enum way way)
{
	for (unsigned k = i; k < m->x->peers.n; k++)
		if (alike(m->v + (size_t)i * m->n, m->v + (size_t)k * m->n, m->n, 1, way))
			say(who, mica_slice_str(m->x->peers.v[k].word));
}

/* Peers that change alike are one change. */
static void tell(struct diffing *d, const struct matrix *m, const struct mica_policy_workload *w,
	enum way way)
{
	const struct diff_atoms *peers = &m->x->peers;

	for (unsigned i = 0; i < peers->n; i++) {
		struct words who = {.d = d}, what = {.d = d};
		MICA_AUTO_BUF names;

		mica_buf_init(&names, (size_t)16 << 20);
		if (!has_way(m->v + (size_t)i * m->n, m->n, 1, way) ||
			!put_alike(&names, peers, m->v, i, m->n, m->n, 1, way))
			continue;
		if (is_all(&names) && !(d->o && d->o->n_peers))
			say(&who, mica_slice_str("everybody"));
		else
			say_peers(&who, m, i, way);
		say_what(&what, m, m->v + (size_t)i * m->n, way);
		add_change(d, w, way == GAINS, &who, &what);
		mica_free(who.v);
		mica_free(what.v);
	}
}

static struct mica_slice trust_domain(const struct diffing *d)
{
	for (int k = 1; k >= 0; k--)
		if (d->side[k].set->n_domains)
			return d->side[k].set->domains[0];
	return MICA_LIT("cluster.local");
}

static void collect_examples(
	struct diffing *d, const struct mica_policy_workload *w, struct diff_examples *x)
{
	for (int k = 0; k < 2; k++)
		for (size_t i = 0; i < d->side[k].set->n_authorization; i++) {
			const struct mica_policy *p = d->side[k].set->policies[i];

			if (is_enforced(p) && mica_policy_selects(d->side[k].set, p, w))
				diff_examples_of(x, d->side[k].set, p);
		}
	if (d->o && d->o->n_peers) {
		x->peers.n = 0;
		for (unsigned i = 0; i < d->o->n_peers; i++) {
			const struct mica_slice id = mica_slice_str(d->o->peers[i]);
			diff_atoms_add(x, &x->peers, id, id, 0);
		}
	}
	diff_examples_end(x, !(d->o && d->o->n_peers));
}

/* Extras first, then peers are left out where there are too many combinations. */
static void fit(struct diffing *d, struct diff_examples *x, struct matrix *m)
{
	const uint64_t left = MICA_POLICY_DIFF_REQUESTS - d->out->requests;
	uint64_t one;

	m->n_http = 1 + x->methods.n * x->paths.n;
	one = (uint64_t)m->n_http * x->ports.n;
	while (x->n_extras > 1 && one * x->n_extras * x->peers.n > left) {
		x->n_extras--;
		x->complete = false;
	}
	while (x->peers.n && one * x->n_extras * x->peers.n > left) {
		x->peers.n--;
		x->complete = false;
	}
	m->n = (unsigned)(one * x->n_extras);
}

static void compare_workload(struct diffing *d, const struct mica_policy_workload *w)
{
	struct arena own = {NULL, 0};
	struct diff_examples x;
	struct matrix m = {.x = &x};
	bool any = false;

	diff_examples_init(&x, &own, trust_domain(d));
	collect_examples(d, w, &x);
	fit(d, &x, &m);
	m.v = mica_calloc((size_t)m.n * x.peers.n + 1, sizeof(m.v[0]));
	for (unsigned i = 0; i < x.peers.n; i++)
		any |= decide_peer(d, &m, w, x.peers.v[i].text, m.v + (size_t)i * m.n);
	d->out->workloads++;
	d->out->complete &= x.complete;
	if (any) {
		tell(d, &m, w, GAINS);
		tell(d, &m, w, LOSES);
	}
	mica_free(m.v);
	diff_examples_clear(&x);
	arena_clear(&own);
}

void mica_policy_diff(const struct mica_policy_set *before, const struct mica_policy_set *after,
	const struct mica_policy_diff_options *o, struct mica_policy_diff *out)
{
	struct diffing d = {.side = {{before, NULL}, {after, NULL}}, .o = o, .out = out};
	struct workloads all = {.complete = true};

	*out = (struct mica_policy_diff){.complete = true};
	d.arena = mica_calloc(1, sizeof(*d.arena));
	out->memory = d.arena;
	compare(&d.side[0], &d.side[1]);
	compare(&d.side[1], &d.side[0]);
	all.v = mica_calloc(WORKLOADS_MAX, sizeof(all.v[0]));
	collect_workloads(&d, &all);
	for (unsigned i = 0; i < all.n; i++)
		if (is_touched(&d, &all.v[i]))
			compare_workload(&d, &all.v[i]);
	out->complete &= all.complete;
	mica_free(all.v);
	mica_free(d.side[0].same);
	mica_free(d.side[1].same);
}

void mica_policy_diff_clear(struct mica_policy_diff *d)
{
	if (d->memory)
		arena_clear(d->memory);
	mica_free(d->memory);
	mica_free(d->v);
	*d = (struct mica_policy_diff){.n = 0};
}

static void put_list(struct mica_buf *b, const char *const *v, unsigned n, const char *between)
{
	for (unsigned i = 0; i < n; i++)
		mica_buf_printf(b, "%s%s", i ? between : "", v[i]);
}

void mica_policy_change_put(struct mica_buf *b, const struct mica_policy_change *c)
{
	mica_buf_printf(b, "%s%s", strcmp(c->ns, "*") == 0 ? "namespaces without policies" : c->ns,
		c->n_labels ? ", workloads with " : "");
	for (unsigned i = 0; i < c->n_labels; i++)
		mica_buf_printf(b, "%s%.*s=%.*s", i ? "," : "", MICA_FMT(c->labels[i].key),
			MICA_FMT(c->labels[i].value));
	mica_buf_put_str(b, ": ");
	put_list(b, c->who, c->n_who, ", ");
	mica_buf_put_str(b, c->gains ? " may from now on: " : " may no longer: ");
	put_list(b, c->what, c->n_what, "; ");
}
