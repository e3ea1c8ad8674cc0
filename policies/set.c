/* SPDX-License-Identifier: Apache-2.0 */
/* The set: which policies there are, and which of them select a workload. */
#include "set_impl.h"

MICA_CLEANUP_STRUCT(mica_policy_set, mica_policy_set_unref);

/* ---- selectors
 * -------------------------------------------------------------------------------------- */

bool set_is_root(const struct mica_policy_set *s, struct mica_slice ns)
{
	return s->root_ns && mica_slice_eq_str(ns, s->root_ns);
}

static bool has_label(const struct mica_policy_workload *w, const struct mica_policy_pair *p)
{
	for (unsigned i = 0; i < w->n_labels; i++) {
		if (mica_slice_eq(w->labels[i].key, p->key))
			return mica_slice_eq(w->labels[i].value, p->value);
	}
	return false;
}

bool selector_holds(const struct mica_policy_pairs *selector, const struct mica_policy_workload *w)
{
	for (unsigned i = 0; i < selector->n; i++) {
		if (!has_label(w, &selector->v[i]))
			return false;
	}
	return true;
}

bool mica_policy_selects(const struct mica_policy_set *s, const struct mica_policy *p,
	const struct mica_policy_workload *w)
{
	struct mica_slice ns = mica_slice_str(p->ns);

	return (set_is_root(s, ns) || mica_slice_eq(ns, w->ns)) && selector_holds(&p->selector, w);
}

uint64_t label_hash(bool root, struct mica_slice ns, const struct mica_policy_pair *label)
{
	uint64_t h = hash_octet(HASH_START, root);

	h = hash_octet(root ? h : hash_more(h, ns), 0);
	if (label == NULL)
		return h;
	return hash_more(hash_octet(hash_more(h, label->key), 0), label->value);
}

enum set_class class_of(const struct mica_policy *p)
{
	static const enum set_class of[][2] = {
		[MICA_POLICY_ALLOW] = {CLASS_ALLOW, CLASS_ALLOW_DRY},
		[MICA_POLICY_DENY] = {CLASS_DENY, CLASS_DENY_DRY},
		[MICA_POLICY_AUDIT] = {CLASS_AUDIT, CLASS_AUDIT},
	};

	return of[p->action][p->dry_run];
}

/* ---- scopes
 * ------------------------------------------------------------------------------------------- */

struct placed {
	const struct mica_policy *p;
	bool root;
};

static int compare_pairs(const struct mica_policy_pairs *a, const struct mica_policy_pairs *b)
{
	int by = a->n < b->n ? -1 : a->n > b->n;

	for (unsigned i = 0; by == 0 && i < a->n; i++) {
		by = mica_slice_cmp(a->v[i].key, b->v[i].key);
		by = by ? by : mica_slice_cmp(a->v[i].value, b->v[i].value);
	}
	return by;
}

static int compare_scopes(const struct placed *x, const struct placed *y)
{
	int by = (int)x->root - (int)y->root;

	by = by ? by : strcmp(x->p->ns, y->p->ns);
	return by ? by : compare_pairs(&x->p->selector, &y->p->selector);
}

static int by_scope(const void *a, const void *b)
{
	const struct placed *x = a, *y = b;
	int by = compare_scopes(x, y);

	by = by ? by : (int)class_of(x->p) - (int)class_of(y->p);
	return by ? by : strcmp(x->p->name, y->p->name);
}

static void compile_class(
	struct mica_policy_set *s, struct scope *scope, const struct mica_policy *p)
{
	struct cclass **c = &scope->classes[class_of(p)];

	if (*c == NULL) {
		*c = arena_alloc(&s->arena, 1, sizeof(**c));
		(*c)->first_rule = s->n_rules;
	}
	(*c)->n_policies++;
	compile_policy(s, p);
	(*c)->n_rules = s->n_rules - (*c)->first_rule;
}

static void make_scopes(struct mica_policy_set *s)
{
	size_t n = s->n_authorization;
	struct placed *sorted MICA_AUTO_FREE = mica_calloc(n + 1, sizeof(*sorted));

	for (size_t i = 0; i < n; i++) {
		sorted[i].p = s->policies[i];
		sorted[i].root = set_is_root(s, mica_slice_str(sorted[i].p->ns));
	}
	if (n)
		qsort(sorted, n, sizeof(*sorted), by_scope);
	s->scopes = arena_alloc(&s->arena, n, sizeof(*s->scopes));
	for (size_t i = 0; i < n; i++) {
		const struct mica_policy *p = sorted[i].p;

		if (i == 0 || compare_scopes(&sorted[i - 1], &sorted[i]) != 0)
			s->scopes[s->n_scopes++] = (struct scope){
				.root = sorted[i].root, .ns = p->ns, .selector = &p->selector};
		compile_class(s, &s->scopes[s->n_scopes - 1], p);
	}
}

/* A scope is found by the label of its selector that fewest scopes have. */
static void index_scopes(struct mica_policy_set *s)
{
	struct index counts = {.n = 0};

	for (uint32_t i = 0; i < s->n_scopes; i++) {
		const struct scope *sc = &s->scopes[i];

		for (unsigned k = 0; k < sc->selector->n; k++)
			index_add(&counts,
				label_hash(sc->root, mica_slice_str(sc->ns), &sc->selector->v[k]),
				0);
	}
	index_freeze(&counts);
	for (uint32_t i = 0; i < s->n_scopes; i++) {
		const struct scope *sc = &s->scopes[i];
		uint64_t best = label_hash(sc->root, mica_slice_str(sc->ns), NULL), h;
		uint32_t fewest = UINT32_MAX, count;

		for (unsigned k = 0; k < sc->selector->n; k++) {
			h = label_hash(sc->root, mica_slice_str(sc->ns), &sc->selector->v[k]);
			index_find(&counts, h, &count);
			best = count < fewest ? h : best;
			fewest = count < fewest ? count : fewest;
		}
		index_add(&s->by_label, best, i);
	}
	index_freeze(&s->by_label);
	index_clear(&counts);
}

/* ---- life
 * ------------------------------------------------------------------------------------------------
 */

static mica_rc add_domain(struct mica_policy_set *s, const char *domain, struct mica_err *e)
{
	mica_rc rc = mica_trust_domain_check(mica_slice_str(domain), e);

	for (unsigned i = 0; rc == MICA_OK && i < s->n_domains; i++) {
		if (mica_slice_eq_str(s->domains[i], domain))
			return MICA_OK;
	}
	if (rc == MICA_OK)
		s->domains[s->n_domains++] = arena_text(&s->arena, mica_slice_str(domain));
	return rc;
}

static mica_rc take_mesh(
	struct mica_policy_set *s, const struct mica_policy_mesh *mesh, struct mica_err *e)
{
	mica_rc rc = MICA_OK;

	if (mesh && mesh->root_ns)
		s->root_ns = (const char *)arena_text(&s->arena, mica_slice_str(mesh->root_ns)).p;
	if (mesh == NULL || mesh->trust_domain == NULL)
		return MICA_OK;
	if (mesh->n_aliases > 64)
		return mica_fail(e, MICA_LIMIT, "policy_set_too_large",
			"%u aliases of the trust domain, expected at most 64", mesh->n_aliases);
	s->domains = arena_alloc(&s->arena, mesh->n_aliases + 1u, sizeof(s->domains[0]));
	rc = add_domain(s, mesh->trust_domain, e);
	for (unsigned i = 0; rc == MICA_OK && i < mesh->n_aliases; i++)
		rc = add_domain(s, mesh->aliases[i], e);
	return rc;
}

static int in_order(const void *a, const void *b)
{
	return policy_order(
		*(const struct mica_policy *const *)a, *(const struct mica_policy *const *)b);
}

static mica_rc take_policies(struct mica_policy_set *s, const struct mica_policy *const *policies,
	size_t n, struct mica_err *e)
{
	if (n > MICA_POLICY_SET_MAX)
		return mica_fail(e, MICA_LIMIT, "policy_set_too_large",
			"%zu policies, expected at most %d", n, MICA_POLICY_SET_MAX);
	s->policies = mica_calloc(n + 1, sizeof(s->policies[0]));
	for (; s->n < n; s->n++)
		s->policies[s->n] = mica_policy_ref(policies[s->n]);
	if (n)
		qsort(s->policies, n, sizeof(s->policies[0]), in_order);
	for (size_t i = 0; i < n; i++) {
		const struct mica_policy *p = s->policies[i];

		s->n_authorization += p->kind == MICA_POLICY_AUTHORIZATION;
		if (i && policy_order(s->policies[i - 1], p) == 0)
			return mica_fail(e, MICA_INVALID, "policy_duplicate",
				"the %s %s/%s is there twice", mica_policy_kind_name(p->kind),
				p->ns, p->name);
	}
	return MICA_OK;
}

/* Where the rules of each policy begin. */
static void note_rules(struct mica_policy_set *s)
{
	s->first_rule = arena_alloc(&s->arena, s->n_authorization, sizeof(s->first_rule[0]));
	for (uint32_t i = 0; i < s->n_rules; i++) {
		const struct mica_policy *p = s->rules[i].policy;
		const struct mica_policy **at =
			bsearch(&p, s->policies, s->n_authorization, sizeof(p), in_order);

		if (at && s->rules[i].index == 0)
			s->first_rule[at - s->policies] = i;
	}
}

mica_rc mica_policy_set_new(const struct mica_policy_mesh *mesh,
	const struct mica_policy *const *policies, size_t n, struct mica_policy_set **out,
	struct mica_err *e)
{
	MICA_AUTO_STRUCT(mica_policy_set) s = MICA_NEW(struct mica_policy_set);
	mica_rc rc;

	*out = NULL;
	s->refs = 1;
	rc = take_mesh(s, mesh, e);
	if (rc == MICA_OK)
		rc = take_policies(s, policies, n, e);
	if (rc != MICA_OK)
		return rc;
	make_scopes(s);
	note_rules(s);
	index_scopes(s);
	rc = anchor_rules(s, e);
	if (rc == MICA_OK)
		*out = MICA_STEAL(s);
	return rc;
}

struct mica_policy_set *mica_policy_set_ref(struct mica_policy_set *s)
{
	__atomic_fetch_add(&s->refs, 1, __ATOMIC_RELAXED);
	return s;
}

void mica_policy_set_unref(struct mica_policy_set *s)
{
	if (s == NULL || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	for (size_t i = 0; i < s->n; i++)
		mica_policy_unref(s->policies[i]);
	mica_free(s->policies);
	mica_free(s->rules);
	mica_free(s->entries);
	index_clear(&s->by_label);
	index_clear(&s->by_key);
	arena_clear(&s->arena);
	mica_free(s);
}

/* ---- what is in it
 * ----------------------------------------------------------------------------------------- */

size_t mica_policy_set_count(const struct mica_policy_set *s)
{
	return s->n;
}

const struct mica_policy *mica_policy_set_at(const struct mica_policy_set *s, size_t i)
{
	return s->policies[i];
}

static int compare_names(const struct mica_policy *p, enum mica_policy_kind kind,
	struct mica_slice ns, struct mica_slice name)
{
	int by = (int)p->kind - (int)kind;

	by = by ? by : mica_slice_cmp(mica_slice_str(p->ns), ns);
	return by ? by : mica_slice_cmp(mica_slice_str(p->name), name);
}

const struct mica_policy *mica_policy_set_find(const struct mica_policy_set *s,
	enum mica_policy_kind kind, struct mica_slice ns, struct mica_slice name)
{
	size_t low = 0, high = s->n;

	while (low < high) {
		size_t mid = (low + high) / 2;
		int by = compare_names(s->policies[mid], kind, ns, name);

		if (by == 0)
			return s->policies[mid];
		low = by < 0 ? mid + 1 : low;
		high = by < 0 ? high : mid;
	}
	return NULL;
}
