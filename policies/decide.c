/* SPDX-License-Identifier: Apache-2.0 */
/* The decision: Istio's order over the scopes of the workload. */
#include "set_impl.h"

#define SCOPES_NEAR 64 /* more of them need memory */

struct deciding {
	const struct mica_policy_set *set;
	struct subject subject;
	const struct scope **scopes;
	unsigned n, room;
	bool looked[CLASS_COUNT];
	const struct crule *found[CLASS_COUNT]; /* a rule that matches */
};

/* ---- scopes of the workload
 * --------------------------------------------------------------------------- */

static void add_scope(struct deciding *d, const struct scope *sc, const struct scope **near)
{
	if (d->n == d->room) {
		const struct scope **more = mica_calloc(2u * d->room, sizeof(more[0]));

		memcpy(more, d->scopes, d->n * sizeof(more[0]));
		if (d->scopes != near)
			mica_free(d->scopes);
		d->scopes = more;
		d->room *= 2;
	}
	d->scopes[d->n++] = sc;
}

static void find_scopes(struct deciding *d, bool root, const struct mica_policy_pair *label,
	const struct scope **near)
{
	const struct mica_policy_workload *w = &d->subject.r->workload;
	uint32_t count;
	const uint32_t *ids = index_find(&d->set->by_label, label_hash(root, w->ns, label), &count);

	for (uint32_t i = 0; i < count; i++) {
		const struct scope *sc = &d->set->scopes[ids[i]];

		if (sc->root == root && (root || mica_slice_eq_str(w->ns, sc->ns)) &&
			selector_holds(sc->selector, w))
			add_scope(d, sc, near);
	}
}

static void find_all_scopes(struct deciding *d, const struct scope **near)
{
	const struct mica_policy_workload *w = &d->subject.r->workload;

	for (int root = 0; root < 2; root++) {
		if (root ? d->set->root_ns == NULL : set_is_root(d->set, w->ns))
			continue;
		find_scopes(d, root, NULL, near);
		for (unsigned i = 0; i < w->n_labels; i++)
			find_scopes(d, root, &w->labels[i], near);
	}
}

/* ---- rules of a class
 * ------------------------------------------------------------------------------------ */

/* What was hashed last, so that a longer prefix of the same string goes on from there. */
struct hashing {
	enum mica_policy_attr attr;
	enum mica_value_kind kind;
	struct mica_slice s;
	size_t at;
	uint64_t h;
	bool any;
};

static bool hash_string(struct hashing *g, const struct subject *s, uint32_t lookup, uint64_t *out)
{
	enum mica_policy_attr attr = LOOKUP_ATTR(lookup);
	enum mica_value_kind kind = LOOKUP_KIND(lookup);
	bool fold = attr_folds(attr);
	size_t len;

	if (!g->any || g->attr != attr || g->kind != kind)
		*g = (struct hashing){.any = true,
			.attr = attr,
			.kind = kind,
			.s = subject_string(s, attr),
			.h = HASH_START};
	len = kind == MICA_VALUE_EXACT ? g->s.len : LOOKUP_LEN(lookup);
	if (g->s.len == 0 || len > g->s.len)
		return false;
	for (; g->at < len; g->at++) {
		size_t i = kind == MICA_VALUE_SUFFIX ? g->s.len - 1 - g->at : g->at;

		g->h = hash_octet(g->h, fold_octet(g->s.p[i], fold));
	}
	*out = g->h;
	return true;
}

static bool hash_ip(const struct mica_ip *ip, unsigned code, uint64_t *out)
{
	unsigned len = code < 64 ? 4 : 16, bits = code < 64 ? code : code - 64;
	uint64_t h = HASH_START;

	if (ip->len != len)
		return false;
	for (unsigned i = 0; i < len; i++) {
		unsigned left = bits > 8 * i ? bits - 8 * i : 0;
		unsigned mask = left >= 8 ? 0xff : 0xff00u >> left & 0xff;
		unsigned octet = ip->b[i] & mask;

		h = hash_octet(h, (uint8_t)octet);
	}
	*out = h;
	return true;
}

/* The request's side of an anchor (anchor.c, value_key); false when it cannot have it. */
static bool hash_lookup(struct hashing *g, const struct subject *s, uint32_t lookup, uint64_t *out)
{
	enum mica_policy_attr attr = LOOKUP_ATTR(lookup);

	switch (attr) {
	case MICA_ATTR_PORT:
		*out = hash_octet(
			hash_octet(HASH_START, (uint8_t)(s->r->port >> 8)), (uint8_t)s->r->port);
		return true;
	case MICA_ATTR_SERVICE_ACCOUNT:
		*out = hash_more(hash_octet(hash_more(HASH_START, s->ns), '/'), s->account);
		return s->account.len > 0;
	case MICA_ATTR_SOURCE_IP:
	case MICA_ATTR_REMOTE_IP:
	case MICA_ATTR_DESTINATION_IP: return hash_ip(subject_ip(s, attr), LOOKUP_LEN(lookup), out);
	default: return hash_string(g, s, lookup, out);
	}
}

static const struct crule *first_match(
	const struct deciding *d, const uint32_t *entries, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		const struct entry *e = &d->set->entries[entries[i]];

		if (match_entry(d->set, &d->subject, e))
			return &d->set->rules[e->rule];
	}
	return NULL;
}

static const struct crule *match_class(
	const struct deciding *d, const struct scope *sc, enum set_class class)
{
	enum view view = d->subject.r->http ? VIEW_HTTP : VIEW_TCP;
	const struct reach *reach = &sc->classes[class]->reach[view];
	const struct crule *found = first_match(d, reach->always, reach->n_always);
	uint32_t scope = (uint32_t)(sc - d->set->scopes);
	struct hashing g = {.any = false};

	for (unsigned i = 0; found == NULL && i < reach->n_lookups; i++) {
		uint32_t lookup = reach->lookups[i], count;
		const uint32_t *entries;
		uint64_t hash;

		if (!hash_lookup(&g, &d->subject, lookup, &hash))
			continue;
		entries = index_find(
			&d->set->by_key, anchor_key(scope, class, view, lookup, hash), &count);
		found = first_match(d, entries, count);
	}
	return found;
}

static const struct crule *look(struct deciding *d, enum set_class class)
{
	if (d->looked[class])
		return d->found[class];
	d->looked[class] = true;
	for (unsigned i = 0; i < d->n && d->found[class] == NULL; i++) {
		if (d->scopes[i]->classes[class])
			d->found[class] = match_class(d, d->scopes[i], class);
	}
	return d->found[class];
}

static bool has_class(const struct deciding *d, enum set_class class)
{
	for (unsigned i = 0; i < d->n; i++) {
		if (d->scopes[i]->classes[class])
			return true;
	}
	return false;
}

/* ---- the order
 * -------------------------------------------------------------------------------------------- */

static struct mica_policy_outcome by_rule(enum mica_policy_why why, const struct crule *r)
{
	return (struct mica_policy_outcome){.allowed = why == MICA_WHY_ALLOW_RULE,
		.why = why,
		.policy = r->policy,
		.rule = r->index};
}

static const struct crule *look_both(
	struct deciding *d, enum set_class class, enum set_class dry, bool with_dry)
{
	const struct crule *r = look(d, class);

	return r || !with_dry ? r : look(d, dry);
}

static struct mica_policy_outcome order(struct deciding *d, bool dry)
{
	const struct crule *deny = look_both(d, CLASS_DENY, CLASS_DENY_DRY, dry), *allow;

	if (deny)
		return by_rule(MICA_WHY_DENY_RULE, deny);
	if (!has_class(d, CLASS_ALLOW) && !(dry && has_class(d, CLASS_ALLOW_DRY)))
		return (struct mica_policy_outcome){
			.allowed = true, .why = MICA_WHY_NO_ALLOW_POLICY};
	allow = look_both(d, CLASS_ALLOW, CLASS_ALLOW_DRY, dry);
	if (allow)
		return by_rule(MICA_WHY_ALLOW_RULE, allow);
	return (struct mica_policy_outcome){.allowed = false, .why = MICA_WHY_NO_RULE};
}

void mica_policy_decide(const struct mica_policy_set *s, const struct mica_policy_request *r,
	struct mica_policy_verdict *out)
{
	const struct scope *near[SCOPES_NEAR];
	struct deciding d = {.set = s, .scopes = near, .room = SCOPES_NEAR};
	const struct crule *audit;

	subject_init(&d.subject, r);
	find_all_scopes(&d, near);
	*out = (struct mica_policy_verdict){.now = order(&d, false)};
	out->dry_run = out->now;
	if (has_class(&d, CLASS_DENY_DRY) || has_class(&d, CLASS_ALLOW_DRY))
		out->dry_run = order(&d, true);
	audit = look(&d, CLASS_AUDIT);
	if (audit) {
		out->audit = audit->policy;
		out->audit_rule = audit->index;
	}
	if (d.scopes != near)
		mica_free(d.scopes);
}

const char *mica_policy_why_name(enum mica_policy_why why)
{
	static const char *const names[] = {
		"no_allow_policy", "allow_rule", "deny_rule", "no_rule"};

	return names[why];
}
