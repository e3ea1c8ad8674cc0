/* SPDX-License-Identifier: Apache-2.0 */
/* Linkerd: whom rules name, and which rules name whom. */
#include "target_linkerd.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- forms of principals -------------------------------------------------------------------- */

/* Cuts off what follows the last '/'. */
static bool cut_last(struct mica_slice *s, struct mica_slice *last)
{
	size_t at = s->len;

	while (at > 0 && s->p[at - 1] != '/')
		at--;
	if (at == 0)
		return false;
	*last = mica_slice(s->p + at, s->len - at);
	s->len = at - 1;
	return true;
}

static bool cut_word(struct mica_slice *s, const char *word)
{
	struct mica_slice last;

	return cut_last(s, &last) && mica_slice_eq_str(last, word);
}

bool lkd_pod_of_end(struct mica_slice end, struct mica_slice *ns, struct mica_slice *sa)
{
	return cut_last(&end, sa) && sa->len && cut_word(&end, "sa") && cut_last(&end, ns);
}

bool lkd_pod_of(struct mica_slice principal, struct mica_slice *td, struct mica_slice *ns,
	struct mica_slice *sa)
{
	if (!cut_last(&principal, sa) || !cut_word(&principal, "sa") || !cut_last(&principal, ns) ||
		!cut_word(&principal, "ns"))
		return false;
	*td = principal;
	return memchr(td->p, '/', td->len) == NULL;
}

bool lkd_ns_of_start(struct mica_slice td, struct mica_slice start, struct mica_slice *ns)
{
	struct mica_slice part;

	return mica_slice_cut(&start, '/', &part) && mica_slice_eq(part, td) &&
		mica_slice_cut(&start, '/', &part) && mica_slice_eq_str(part, "ns") &&
		mica_slice_cut(&start, '/', ns);
}

/* ---- collecting ------------------------------------------------------------------------------ */

struct found {
	enum lkd_peer_kind kind;
	struct mica_slice ns, principal;
};
struct finding {
	struct lkd_port *p;
	struct found *v;
	size_t n, room;
};

static void add_found(struct finding *f, enum lkd_peer_kind kind, struct mica_slice ns,
	struct mica_slice principal)
{
	if (f->n == f->room) {
		f->room = f->room ? 2 * f->room : 64;
		f->v = mica_realloc(f->v, f->room, sizeof(*f->v));
	}
	f->v[f->n++] = (struct found){kind, ns, principal};
}

static struct mica_slice joined(struct lkd_port *p, struct mica_slice ns, struct mica_slice sa)
{
	char text[MICA_SPIFFE_ID_MAX + 1];
	int n = snprintf(text, sizeof(text), "%.*s/ns/%.*s/sa/%.*s", (int)p->td.len, p->td.p,
		(int)ns.len, ns.p, (int)sa.len, sa.p);

	if (n < 0 || (size_t)n >= sizeof(text))
		return MICA_SLICE_NULL;
	return arena_text(&p->arena, mica_slice(text, (size_t)n));
}

static const char *dns_name(struct lkd_port *p, struct mica_slice ns, struct mica_slice sa)
{
	char out[MICA_LINKERD_NAME_MAX + 1], a[MICA_K8S_NS_MAX + 1], b[MICA_K8S_NS_MAX + 1];

	if (mica_slice_copy(ns, a, sizeof(a)) != MICA_OK ||
		mica_slice_copy(sa, b, sizeof(b)) != MICA_OK ||
		mica_linkerd_name(&p->linkerd, a, b, out, NULL) != MICA_OK)
		return NULL;
	return (const char *)arena_text(&p->arena, mica_slice_str(out)).p;
}

static void add_principal(struct finding *f, struct mica_slice principal)
{
	char id[MICA_SPIFFE_ID_MAX + 1];
	struct mica_spiffe_id parsed;
	struct mica_slice td, ns, sa;
	int n = snprintf(id, sizeof(id), "spiffe://%.*s", (int)principal.len, principal.p);

	/* What is no SPIFFE ID is nobody's. */
	if (n < 0 || (size_t)n >= sizeof(id) ||
		mica_spiffe_id_parse(mica_slice(id, (size_t)n), &parsed, NULL) != MICA_OK)
		return;
	if (lkd_pod_of(principal, &td, &ns, &sa) && mica_slice_eq(td, f->p->td) &&
		dns_name(f->p, ns, sa))
		add_found(f, LKD_ACCOUNT, ns, principal);
	else
		add_found(f, LKD_ID, MICA_SLICE_NULL, principal);
}

static void add_ns(struct finding *f, struct mica_slice ns)
{
	if (mica_k8s_label_ok(ns))
		add_found(f, LKD_NAMESPACE, ns, MICA_SLICE_NULL);
}

static void find_in_value(
	struct finding *f, enum mica_policy_attr attr, const struct mica_policy_value *v)
{
	struct mica_slice ns, sa;

	if (attr == MICA_ATTR_SERVICE_ACCOUNT)
		add_principal(f, joined(f->p, v->ns, v->text));
	else if (attr == MICA_ATTR_NAMESPACE && v->kind == MICA_VALUE_EXACT)
		add_ns(f, v->text);
	else if (attr == MICA_ATTR_PRINCIPAL && v->kind == MICA_VALUE_EXACT)
		add_principal(f, v->text);
	else if (attr == MICA_ATTR_PRINCIPAL && v->kind == MICA_VALUE_PREFIX &&
		lkd_ns_of_start(f->p->td, v->text, &ns))
		add_ns(f, ns);
	else if (attr == MICA_ATTR_PRINCIPAL && v->kind == MICA_VALUE_SUFFIX &&
		lkd_pod_of_end(v->text, &ns, &sa))
		add_principal(f, joined(f->p, ns, sa));
}

static void find_in_clause(struct finding *f, const struct cclause *c)
{
	for (unsigned i = 0; i < c->n; i++) {
		const struct ctest *t = &c->tests[i];

		for (unsigned k = 0; k < t->is.n; k++)
			find_in_value(f, t->attr, &t->is.v[k]);
		for (unsigned k = 0; k < t->is_not.n; k++)
			find_in_value(f, t->attr, &t->is_not.v[k]);
	}
}

static int by_place(const void *a, const void *b)
{
	const struct found *x = a, *y = b;
	int by = (int)x->kind - (int)y->kind;

	by = by ? by : mica_slice_cmp(x->ns, y->ns);
	return by ? by : mica_slice_cmp(x->principal, y->principal);
}

/* ---- the forest ------------------------------------------------------------------------------ */

static struct mica_slice arena_join(
	struct arena *a, const char *head, struct mica_slice s, const char *tail)
{
	const size_t before = strlen(head), behind = strlen(tail);
	uint8_t *p = arena_alloc(a, before + s.len + behind + 1, 1);

	memcpy(p, head, before);
	if (s.len)
		memcpy(p + before, s.p, s.len);
	memcpy(p + before + s.len, tail, behind);
	return mica_slice(p, before + s.len + behind);
}

/* Somebody of the cell, for tests that all of it answer alike. */
static void take_apart(struct lkd_port *p, struct lkd_peer *n)
{
	const char *tail = "";

	if (n->kind == LKD_NAMESPACE)
		tail = "x";
	else if (n->kind == LKD_MESH)
		tail = "x/sa/x";
	if (n->principal.len)
		n->request.peer = arena_join(&p->arena, MICA_SPIFFE_SCHEME, n->principal, tail);
	subject_init(&n->subject, &n->request);
}

static unsigned ns_node(const struct lkd_port *p, struct mica_slice ns)
{
	for (unsigned i = LKD_MESH + 1; i < p->n_peers; i++)
		if (p->peers[i].kind == LKD_NAMESPACE && mica_slice_eq(p->peers[i].ns, ns))
			return i;
	return LKD_MESH;
}

static const char *suffix_of(struct lkd_port *p, const char *before, struct mica_slice ns)
{
	char text[2 * MICA_LINKERD_NAME_MAX + 16];

	snprintf(text, sizeof(text), "*.%.*s%sserviceaccount.identity.%s.%s", (int)ns.len,
		ns.len ? (const char *)ns.p : "", before, p->linkerd.control_ns,
		p->linkerd.trust_domain);
	return (const char *)arena_text(&p->arena, mica_slice_str(text)).p;
}

static void place(struct lkd_port *p, const struct found *f)
{
	struct lkd_peer *n = &p->peers[p->n_peers];
	struct mica_slice td, ns, sa;

	n->kind = f->kind;
	n->parent = LKD_AUTHENTICATED;
	n->ns = f->ns;
	n->principal = f->principal;
	if (f->kind == LKD_NAMESPACE) {
		n->parent = LKD_MESH;
		n->principal = joined(p, f->ns, MICA_SLICE_NULL);
		n->name = suffix_of(p, ".", f->ns);
	} else {
		n->id = (const char *)arena_join(&p->arena, MICA_SPIFFE_SCHEME, f->principal, "").p;
		n->name = n->id;
	}
	if (f->kind == LKD_ACCOUNT && lkd_pod_of(f->principal, &td, &ns, &sa)) {
		n->parent = ns_node(p, ns);
		n->name = dns_name(p, ns, sa);
	}
	take_apart(p, n);
	p->n_peers++;
}

static void plant(struct lkd_port *p)
{
	for (unsigned i = 0; i <= LKD_MESH; i++) {
		struct lkd_peer *n = &p->peers[i];

		n->kind = (enum lkd_peer_kind)i;
		n->parent = i ? i - 1 : 0;
		n->name = i == LKD_MESH ? suffix_of(p, "", MICA_SLICE_NULL) : "*";
		if (i == LKD_MESH)
			n->principal = arena_join(&p->arena, "", p->td, "/ns/");
		take_apart(p, n);
	}
	p->n_peers = LKD_MESH + 1;
}

void lkd_peers_make(struct lkd_port *p)
{
	struct finding f = {.p = p};

	for (unsigned i = 0; i < p->n_rules; i++) {
		const struct crule *r = p->rules[i].rule;

		for (unsigned k = 0; k < r->n_from; k++)
			find_in_clause(&f, &r->from[k]);
		find_in_clause(&f, &r->when);
	}
	if (f.n)
		qsort(f.v, f.n, sizeof(*f.v), by_place);
	p->peers = arena_alloc(&p->arena, f.n + LKD_MESH + 1, sizeof(*p->peers));
	plant(p);
	for (size_t i = 0; i < f.n; i++)
		if (i == 0 || by_place(&f.v[i - 1], &f.v[i]) != 0)
			place(p, &f.v[i]);
	mica_free(f.v);
}

/* ---- whether a cell has a value -------------------------------------------------------------- */

static bool is_own_domain(const struct lkd_port *p, struct mica_slice start)
{
	const struct mica_policy_set *s = p->t->set;
	struct mica_slice td = start;

	(void)mica_slice_cut(&start, '/', &td);
	for (unsigned i = 0; i < s->n_domains; i++)
		if (mica_slice_eq(s->domains[i], td))
			return true;
	return mica_slice_eq(td, p->td) || mica_slice_eq_str(td, "cluster.local");
}

/* Whoever is authenticated and neither a pod of the mesh nor named: nothing is known of them. That
 * they are not let in is said of what only they can have. */
static enum lkd_answer stranger_has(
	const struct lkd_port *p, enum mica_policy_attr attr, const struct mica_policy_value *v)
{
	if (v->kind == MICA_VALUE_PRESENT &&
		(attr == MICA_ATTR_PRINCIPAL || attr == MICA_ATTR_TRUST_DOMAIN))
		return LKD_YES;
	switch (attr) {
	case MICA_ATTR_PRINCIPAL:
		if (v->kind == MICA_VALUE_EXACT)
			return LKD_NO;
		if (v->kind == MICA_VALUE_SUFFIX)
			return LKD_QUIET;
		return memchr(v->text.p, '/', v->text.len) && is_own_domain(p, v->text) ? LKD_QUIET
											: LKD_MAYBE;
	case MICA_ATTR_TRUST_DOMAIN: return is_own_domain(p, v->text) ? LKD_QUIET : LKD_MAYBE;
	default: return LKD_QUIET;
	}
}

static enum lkd_answer principal_has(const struct lkd_peer *n, const struct mica_policy_value *v)
{
	struct mica_slice ns, sa, rest;

	switch (v->kind) {
	case MICA_VALUE_PRESENT: return LKD_YES;
	case MICA_VALUE_PREFIX:
		if (mica_slice_has_prefix(n->principal, v->text))
			return LKD_YES;
		if (!mica_slice_has_prefix(v->text, n->principal))
			return LKD_NO;
		rest = mica_slice(v->text.p + n->principal.len, v->text.len - n->principal.len);
		/* A namespace that is named has a cell of its own. */
		return n->kind == LKD_MESH && memchr(rest.p, '/', rest.len) ? LKD_NO : LKD_MAYBE;
	case MICA_VALUE_SUFFIX: return lkd_pod_of_end(v->text, &ns, &sa) ? LKD_NO : LKD_MAYBE;
	default: return LKD_NO; /* an account that is named has a cell of its own */
	}
}

static enum lkd_answer many_have(const struct lkd_port *p, const struct lkd_peer *n,
	const struct ctest *t, const struct mica_policy_value *v)
{
	const struct values one = {v, 1, v->kind == MICA_VALUE_EXACT};

	if (n->kind == LKD_AUTHENTICATED)
		return stranger_has(p, t->attr, v);
	switch (t->attr) {
	case MICA_ATTR_PRINCIPAL: return principal_has(n, v);
	case MICA_ATTR_SERVICE_ACCOUNT: return LKD_NO;
	case MICA_ATTR_NAMESPACE:
		if (n->kind == LKD_NAMESPACE || v->kind == MICA_VALUE_PRESENT)
			break;
		return v->kind == MICA_VALUE_EXACT ? LKD_NO : LKD_MAYBE;
	default: break;
	}
	return match_values(&n->subject, t, &one) ? LKD_YES : LKD_NO;
}

enum lkd_answer lkd_peer_has(const struct lkd_port *p, const struct lkd_peer *peer,
	const struct ctest *t, const struct values *values)
{
	enum lkd_answer a = LKD_NO;
	unsigned i = 0;

	if (peer->kind == LKD_ACCOUNT || peer->kind == LKD_ID)
		return match_values(&peer->subject, t, values) ? LKD_YES : LKD_NO;
	if (peer->kind == LKD_ANYBODY)
		return LKD_NO; /* who has no identity */
	if (peer->kind == LKD_NAMESPACE &&
		(t->attr == MICA_ATTR_NAMESPACE || t->attr == MICA_ATTR_TRUST_DOMAIN))
		return match_values(&peer->subject, t, values) ? LKD_YES : LKD_NO;
	/* Of many nobody is what an exact value names: that has a cell of its own. */
	if (t->attr == MICA_ATTR_PRINCIPAL ||
		(t->attr == MICA_ATTR_NAMESPACE && peer->kind == LKD_MESH))
		i = values->n_exact;
	for (; i < values->n && a != LKD_YES; i++)
		a = lkd_or(a, many_have(p, peer, t, &values->v[i]));
	return a;
}
