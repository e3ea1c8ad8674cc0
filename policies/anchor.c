/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Anchors: of each rule one thing that a request must have, by which the rule is found. A rule may
 * be anchored by its sources (each of them has a key then), by its operations, or by one condition;
 * the choice falls on the keys that fewest rules share. For requests that are not HTTP the choice
 * is made again among what they have.
 */
#include "set_impl.h"

#define KEYS_MAX 8000000 /* values of a set, over both views */

struct anchoring {
	struct mica_policy_set *s;
	uint32_t scope;
	enum set_class class;
	enum view view;
	struct index counts; /* how many rules could be found by a key */
	bool counting;
	/* keys that are made now */
	uint32_t *lookups, *always;
	uint32_t n_lookups, room_lookups, n_always, room_always;
};

uint64_t anchor_key(
	uint32_t scope, enum set_class c, enum view view, uint32_t lookup, uint64_t hash)
{
	uint64_t place = ((uint64_t)scope * CLASS_COUNT + c) * VIEW_COUNT + view;

	return hash_mix(hash, place << 32 | lookup);
}

static uint32_t *push(uint32_t *list, uint32_t *n, uint32_t *room, uint32_t v)
{
	if (*n == *room) {
		*room = *room ? 2 * *room : 64;
		list = mica_realloc(list, *room, sizeof(list[0]));
	}
	list[(*n)++] = v;
	return list;
}

/* ---- the key of one value
 * --------------------------------------------------------------------------- */

static uint64_t hash_back(struct mica_slice s)
{
	uint64_t h = HASH_START;

	for (size_t i = s.len; i > 0; i--)
		h = hash_octet(h, s.p[i - 1]);
	return h;
}

/* What stands before the first of `stop`; false when nothing does. */
static bool literal_prefix(struct mica_slice s, uint8_t stop, struct mica_slice *out)
{
	struct mica_slice rest = s;

	mica_slice_cut(&rest, stop, out);
	return out->len > 0;
}

static bool string_key(enum mica_policy_attr attr, const struct mica_policy_value *v,
	uint32_t *lookup, uint64_t *hash)
{
	enum mica_value_kind kind = v->kind;
	struct mica_slice text = v->text;
	uint32_t len;

	if (kind == MICA_VALUE_GLOB || kind == MICA_VALUE_TEMPLATE) {
		if (!literal_prefix(v->text, kind == MICA_VALUE_GLOB ? '*' : '{', &text))
			return false;
		kind = MICA_VALUE_PREFIX;
	}
	if (kind != MICA_VALUE_EXACT && kind != MICA_VALUE_PREFIX && kind != MICA_VALUE_SUFFIX)
		return false;
	len = kind == MICA_VALUE_EXACT ? 0 : (uint32_t)text.len;
	*lookup = LOOKUP(attr, kind, len);
	*hash = kind == MICA_VALUE_SUFFIX ? hash_back(text) : hash_more(HASH_START, text);
	return true;
}

/* False: the value cannot be an anchor. */
static bool value_key(enum mica_policy_attr attr, const struct mica_policy_value *v,
	uint32_t *lookup, uint64_t *hash)
{
	*hash = HASH_START;
	switch (attr) {
	case MICA_ATTR_PRINCIPAL:
	case MICA_ATTR_NAMESPACE:
	case MICA_ATTR_TRUST_DOMAIN:
	case MICA_ATTR_HOST:
	case MICA_ATTR_METHOD:
	case MICA_ATTR_PATH:
	case MICA_ATTR_PRESENTER:
	case MICA_ATTR_SNI: return string_key(attr, v, lookup, hash);
	case MICA_ATTR_PORT:
		*lookup = LOOKUP(attr, MICA_VALUE_EXACT, 0);
		*hash = hash_octet(hash_octet(*hash, (uint8_t)(v->port >> 8)), (uint8_t)v->port);
		return true;
	case MICA_ATTR_SERVICE_ACCOUNT:
		*lookup = LOOKUP(attr, MICA_VALUE_EXACT, 0);
		*hash = hash_more(hash_octet(hash_more(*hash, v->ns), '/'), v->text);
		return true;
	case MICA_ATTR_SOURCE_IP:
	case MICA_ATTR_REMOTE_IP:
	case MICA_ATTR_DESTINATION_IP:
		*lookup = LOOKUP(attr, MICA_VALUE_PREFIX, CIDR_LEN(v->cidr.ip.len, v->cidr.bits));
		*hash = hash_more(*hash, mica_slice(v->cidr.ip.b, v->cidr.ip.len));
		return true;
	default: return false;
	}
}

/* ---- how good an anchor is
 * ---------------------------------------------------------------------------- */

static bool usable(const struct anchoring *a, const struct ctest *t)
{
	return t->is.n > 0 && (a->view == VIEW_HTTP || !t->http);
}

/* Rules behind the most common key of a test; UINT32_MAX when it is no anchor. While counting, the
 * keys are counted instead. */
static uint32_t test_cost(struct anchoring *a, const struct ctest *t)
{
	uint32_t worst = 0, count;

	if (!usable(a, t))
		return UINT32_MAX;
	for (unsigned i = 0; i < t->is.n; i++) {
		uint32_t lookup;
		uint64_t hash, key;

		if (!value_key(t->attr, &t->is.v[i], &lookup, &hash))
			return UINT32_MAX;
		key = anchor_key(a->scope, a->class, a->view, lookup, hash);
		if (a->counting) {
			index_add(&a->counts, key, 0);
			continue;
		}
		index_find(&a->counts, key, &count);
		worst = count > worst ? count : worst;
	}
	return worst;
}

static const struct ctest *best_test(struct anchoring *a, const struct cclause *c, uint32_t *cost)
{
	const struct ctest *best = NULL;

	*cost = UINT32_MAX;
	for (unsigned i = 0; i < c->n; i++) {
		uint32_t this = test_cost(a, &c->tests[i]);

		if (this < *cost) {
			*cost = this;
			best = &c->tests[i];
		}
	}
	return best;
}

/* Of clauses of which one must hold, each needs an anchor. */
static uint32_t clauses_cost(struct anchoring *a, const struct cclause *c, unsigned n)
{
	uint32_t worst = n ? 0 : UINT32_MAX;

	for (unsigned i = 0; i < n; i++) {
		uint32_t cost;

		(void)best_test(a, &c[i], &cost);
		worst = cost > worst ? cost : worst;
	}
	return worst;
}

static void count_rule(struct anchoring *a, const struct crule *r)
{
	uint32_t cost;

	(void)clauses_cost(a, r->from, r->n_from);
	(void)clauses_cost(a, r->to, r->n_to);
	(void)best_test(a, &r->when, &cost);
}

/* ---- making keys
 * ----------------------------------------------------------------------------------------- */

static uint32_t add_entry(struct anchoring *a, uint32_t rule, int from, int to)
{
	struct mica_policy_set *s = a->s;

	if (s->n_entries == s->room_entries) {
		s->room_entries = s->room_entries ? 2 * s->room_entries : 64;
		s->entries = mica_realloc(s->entries, s->room_entries, sizeof(s->entries[0]));
	}
	s->entries[s->n_entries] =
		(struct entry){.rule = rule, .from = (int16_t)from, .to = (int16_t)to};
	return s->n_entries++;
}

static void add_keys(struct anchoring *a, const struct ctest *t, uint32_t entry)
{
	for (unsigned i = 0; i < t->is.n; i++) {
		uint32_t lookup = 0;
		uint64_t hash = 0;

		if (!value_key(t->attr, &t->is.v[i], &lookup, &hash))
			continue; /* such a test was not chosen */
		index_add(&a->s->by_key, anchor_key(a->scope, a->class, a->view, lookup, hash),
			entry);
		a->lookups = push(a->lookups, &a->n_lookups, &a->room_lookups, lookup);
	}
}

static void add_clauses(
	struct anchoring *a, uint32_t rule, const struct cclause *c, unsigned n, bool from)
{
	for (unsigned i = 0; i < n; i++) {
		uint32_t cost;
		const struct ctest *t = best_test(a, &c[i], &cost);
		uint32_t entry = add_entry(a, rule, from ? (int)i : -1, from ? -1 : (int)i);

		if (t)
			add_keys(a, t, entry);
	}
}

static void anchor_rule(struct anchoring *a, uint32_t rule)
{
	const struct crule *r = &a->s->rules[rule];
	uint32_t from = clauses_cost(a, r->from, r->n_from), to = clauses_cost(a, r->to, r->n_to),
		 when = UINT32_MAX;
	const struct ctest *t = best_test(a, &r->when, &when);

	if (from != UINT32_MAX && from <= to && from <= when)
		add_clauses(a, rule, r->from, r->n_from, true);
	else if (to != UINT32_MAX && to <= when)
		add_clauses(a, rule, r->to, r->n_to, false);
	else if (t)
		add_keys(a, t, add_entry(a, rule, -1, -1));
	else
		a->always =
			push(a->always, &a->n_always, &a->room_always, add_entry(a, rule, -1, -1));
}

/* ---- classes
 * ---------------------------------------------------------------------------------------------- */

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* An ALLOW rule that asks for HTTP is not there for what is not HTTP. */
static bool in_view(const struct anchoring *a, const struct crule *r)
{
	return a->view == VIEW_HTTP || !r->http || r->policy->action != MICA_POLICY_ALLOW;
}

static void make_reach(struct anchoring *a, const struct cclass *c, struct reach *out)
{
	uint32_t unique = 0, *lookups;

	a->n_lookups = a->n_always = 0;
	for (uint32_t i = c->first_rule; i < c->first_rule + c->n_rules; i++) {
		if (in_view(a, &a->s->rules[i]))
			anchor_rule(a, i);
	}
	if (a->n_lookups)
		qsort(a->lookups, a->n_lookups, sizeof(a->lookups[0]), by_number);
	for (uint32_t i = 0; i < a->n_lookups; i++) {
		if (i == 0 || a->lookups[i] != a->lookups[i - 1])
			a->lookups[unique++] = a->lookups[i];
	}
	lookups = arena_alloc(&a->s->arena, unique + a->n_always, sizeof(*lookups));
	if (unique)
		memcpy(lookups, a->lookups, unique * sizeof(*lookups));
	if (a->n_always)
		memcpy(lookups + unique, a->always, a->n_always * sizeof(*lookups));
	*out = (struct reach){.lookups = lookups,
		.n_lookups = unique,
		.always = lookups + unique,
		.n_always = a->n_always};
}

static void each_class(struct anchoring *a)
{
	for (a->scope = 0; a->scope < a->s->n_scopes; a->scope++) {
		for (int k = 0; k < CLASS_COUNT * VIEW_COUNT; k++) {
			struct cclass *c = a->s->scopes[a->scope].classes[k / VIEW_COUNT];

			a->class = k / VIEW_COUNT;
			a->view = k % VIEW_COUNT;
			if (c == NULL)
				continue;
			if (!a->counting) {
				make_reach(a, c, &c->reach[a->view]);
				continue;
			}
			for (uint32_t i = c->first_rule; i < c->first_rule + c->n_rules; i++) {
				if (in_view(a, &a->s->rules[i]))
					count_rule(a, &a->s->rules[i]);
			}
		}
	}
}

/* How many keys there can be at most, before there is one. */
static size_t count_values(const struct mica_policy_set *s)
{
	size_t n = 0;

	for (uint32_t i = 0; i < s->n_rules; i++) {
		const struct crule *r = &s->rules[i];

		for (unsigned k = 0; k < r->n_from + r->n_to + 1; k++) {
			const struct cclause *c = k < r->n_from ? &r->from[k]
				: k < r->n_from + r->n_to       ? &r->to[k - r->n_from]
								: &r->when;

			n += 1;
			for (unsigned j = 0; j < c->n; j++)
				n += c->tests[j].is.n;
		}
	}
	return n * VIEW_COUNT;
}

mica_rc anchor_rules(struct mica_policy_set *s, struct mica_err *e)
{
	struct anchoring a = {.s = s, .counting = true};

	if (count_values(s) > KEYS_MAX)
		return mica_fail(e, MICA_LIMIT, "policy_set_too_large",
			"the policies have %zu values, expected at most %d", count_values(s) / 2,
			KEYS_MAX / 2);
	each_class(&a);
	index_freeze(&a.counts);
	a.counting = false;
	each_class(&a);
	index_freeze(&s->by_key);
	index_clear(&a.counts);
	mica_free(a.lookups);
	mica_free(a.always);
	return MICA_OK;
}
