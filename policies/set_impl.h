/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private to the policy set: its compiled form.
 *
 *	set     scopes: policies of one namespace (or of the root one) with one selector
 *	scope   classes: its DENY, ALLOW, AUDIT policies, enforced or not, for HTTP or not
 *	class   entries: rules, reached through keys of what they ask for ("anchors")
 *
 * A request leads to few scopes through its namespace and labels; in each class the request's own
 * principal, path, port ... are looked up, and only rules found so are evaluated, in full. So an
 * anchor that is too wide costs time and a hash that collides costs time; neither costs truth.
 */
#ifndef MICA_POLICIES_SET_IMPL_H
#define MICA_POLICIES_SET_IMPL_H

#include "impl.h"

#include "mica/policy_set.h"
#include "mica/spiffeid.h"

/* ---- hash -> ids (index.c) --------------------------------------------------------------------
 */

struct index_pair {
	uint64_t hash;
	uint32_t id;
};
struct index_slot {
	uint64_t hash;
	uint32_t first, count; /* of ids; count 0 = free */
};
struct index {
	struct index_pair *pairs; /* until it is frozen */
	size_t n, room;
	struct index_slot *slots;
	uint32_t *ids;
	uint64_t mask;
};
void index_add(struct index *ix, uint64_t hash, uint32_t id);
void index_freeze(struct index *ix);
const uint32_t *index_find(const struct index *ix, uint64_t hash, uint32_t *count);
void index_clear(struct index *ix);

#define HASH_START UINT64_C(0xcbf29ce484222325) /* FNV-1a */
static inline uint64_t hash_octet(uint64_t h, uint8_t c)
{
	return (h ^ c) * UINT64_C(0x100000001b3);
}
static inline uint64_t hash_more(uint64_t h, struct mica_slice s)
{
	for (size_t i = 0; i < s.len; i++)
		h = hash_octet(h, s.p[i]);
	return h;
}
uint64_t hash_mix(uint64_t h, uint64_t salt);

/* ---- compiled rules ---------------------------------------------------------------------------
 */

/* The values of a test, principals with their aliases and hosts in lower case: first n_exact of
 * EXACT in order, for a binary search, then the others. */
struct values {
	const struct mica_policy_value *v;
	unsigned n, n_exact;
};
struct ctest {
	const struct mica_policy_test *test;
	struct values is, is_not;
	enum mica_policy_attr attr;
	bool http;
};
struct cclause {
	const struct ctest *tests;
	unsigned n;
};
struct crule {
	const struct mica_policy *policy;
	unsigned index; /* in its policy */
	unsigned n_from, n_to;
	const struct cclause *from, *to;
	struct cclause when;
	bool http; /* asks for something that only HTTP has */
};
/* A rule, or the part of it with this one source or operation. */
struct entry {
	uint32_t rule;
	int16_t from, to; /* -1 = any */
};

enum set_class {
	CLASS_DENY,
	CLASS_ALLOW,
	CLASS_AUDIT,
	CLASS_DENY_DRY,
	CLASS_ALLOW_DRY,
	CLASS_COUNT
};
enum view { VIEW_HTTP, VIEW_TCP, VIEW_COUNT };

/* What to look up: attribute, form (EXACT, PREFIX, SUFFIX) and, but for EXACT, how much of it.
 * Ordered, so that the hash of a longer prefix goes on from that of a shorter one. */
#define LOOKUP(attr, kind, len) ((uint32_t)(attr) << 24 | (uint32_t)(kind) << 16 | (uint32_t)(len))
#define LOOKUP_ATTR(l)          ((enum mica_policy_attr)((l) >> 24))
#define LOOKUP_KIND(l)          ((enum mica_value_kind)((l) >> 16 & 0xff))
#define LOOKUP_LEN(l)           ((l)&0xffff)
/* Bits of a block of addresses as a length of a prefix. */
#define CIDR_LEN(ip_len, bits) ((ip_len) == 4 ? (bits) : 64u + (bits))

struct reach {
	const uint32_t *lookups;
	unsigned n_lookups;
	const uint32_t *always; /* entries without an anchor */
	unsigned n_always;
};
struct cclass {
	unsigned n_policies;
	uint32_t first_rule, n_rules; /* of the set */
	struct reach reach[VIEW_COUNT];
};
struct scope {
	bool root;
	const char *ns;
	const struct mica_policy_pairs *selector;
	uint32_t first, n; /* of `sorted` */
	struct cclass *classes[CLASS_COUNT]; /* NULL = nothing */
};

struct mica_policy_set {
	unsigned refs; /* atomic */
	struct arena arena;
	const struct mica_policy **policies; /* in policy_order, referenced */
	size_t n;
	size_t n_authorization; /* these stand first */
	uint32_t *first_rule; /* of each of these that has rules */
	const char *root_ns; /* NULL = none */
	struct mica_slice *domains; /* the mesh's trust domain and its aliases */
	unsigned n_domains;
	struct scope *scopes;
	uint32_t n_scopes;
	struct crule *rules;
	uint32_t n_rules, room_rules;
	struct entry *entries;
	uint32_t n_entries, room_entries;
	struct index by_label; /* namespace and label -> scopes */
	struct index by_key; /* anchor -> entries */
};

bool set_is_root(const struct mica_policy_set *s, struct mica_slice ns);
/* Whether labels fulfil a selector. */
bool selector_holds(const struct mica_policy_pairs *selector, const struct mica_policy_workload *w);
uint64_t label_hash(bool root, struct mica_slice ns, const struct mica_policy_pair *label);
enum set_class class_of(const struct mica_policy *p);

/* ---- rules.c of the set: compile.c; anchors: anchor.c ------------------------------------------
 */

/* Appends the rules of a policy to the set's. */
void compile_policy(struct mica_policy_set *s, const struct mica_policy *p);
/* Gives every rule of every class its anchors. LIMIT "policy_set_too_large". */
mica_rc anchor_rules(struct mica_policy_set *s, struct mica_err *e);
/* The key under which an anchor is found. */
uint64_t anchor_key(
	uint32_t scope, enum set_class c, enum view view, uint32_t lookup, uint64_t hash);

/* ---- a request, taken apart once (match.c) ------------------------------------------------------
 */

struct subject {
	const struct mica_policy_request *r;
	struct mica_slice principal, td, ns, account; /* of the peer; empty = none */
	struct mica_slice path; /* without query */
};
void subject_init(struct subject *s, const struct mica_policy_request *r);
/* The string of an attribute that has one; empty = none. */
struct mica_slice subject_string(const struct subject *s, enum mica_policy_attr attr);
const struct mica_ip *subject_ip(const struct subject *s, enum mica_policy_attr attr);
/* The value of `values` that the request has; NULL = none. */
const struct mica_policy_value *match_values(
	const struct subject *s, const struct ctest *t, const struct values *values);
bool match_test(const struct subject *s, const struct ctest *t);
bool match_clause(const struct subject *s, const struct cclause *c);
bool match_entry(const struct mica_policy_set *set, const struct subject *s, const struct entry *e);
/* What is compared without regard to case is kept in lower case. */
static inline bool attr_folds(enum mica_policy_attr attr)
{
	return attr == MICA_ATTR_HOST;
}
static inline uint8_t fold_octet(uint8_t c, bool fold)
{
	return fold && c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

#endif
