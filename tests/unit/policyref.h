/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reference evaluator: Istio's semantics word by word over the model of mica/policy.h, slow and
 * without an index, an alias table or any function of the engine. Property tests hold the engine
 * against it. `bugs` breaks it on purpose, one way at a time: a property test that does not see
 * the difference sees nothing.
 */
#ifndef TESTS_POLICYREF_H
#define TESTS_POLICYREF_H

#include "mica/policy_set.h"

enum ref_bug {
	BUG_NONE,
	BUG_NO_NOT, /* forgets the "not" lists */
	BUG_OR_FOR_AND, /* one test of a clause is enough */
	BUG_AND_FOR_OR, /* all clauses must hold */
	BUG_NO_WHEN,
	BUG_DENY_AS_ALLOW,
	BUG_NO_NAMESPACE, /* a policy is for all namespaces */
	BUG_NO_ROOT, /* the root namespace is one like the others */
	BUG_NO_SELECTOR,
	BUG_DRY_ENFORCED,
	BUG_EMPTY_MATCHES, /* no rules match all */
	BUG_NO_ALIASES,
	BUG_PREFIX_IS_EXACT,
	BUG_SUFFIX_IS_PREFIX,
	BUG_PRESENT_IS_ANY, /* "*" takes what is not there */
	BUG_HOST_CASE,
	BUG_TEMPLATE_STAR, /* {*} takes several segments */
	BUG_CIDR_BIT, /* the last bit of a block is not looked at */
	BUG_ACCOUNT_ANY_NS,
	BUG_TCP_AS_HTTP, /* what only HTTP has is empty, not unknown */
	BUG_QUERY, /* the query is part of the path */
	BUG_ISSUER, /* issuer and subject are one string */
	BUG_COUNT
};

struct ref {
	const struct mica_policy *const *policies;
	size_t n;
	const struct mica_policy_mesh *mesh;
	enum ref_bug bug;
};

static inline bool ref_eq(struct mica_slice a, const char *b)
{
	return a.len == strlen(b) && memcmp(a.p, b, a.len) == 0;
}

static inline bool ref_same(struct mica_slice a, struct mica_slice b, bool fold)
{
	if (a.len != b.len)
		return false;
	for (size_t i = 0; i < a.len; i++) {
		uint8_t x = a.p[i], y = b.p[i];

		if (fold && x >= 'A' && x <= 'Z')
			x = (uint8_t)(x - 'A' + 'a');
		if (fold && y >= 'A' && y <= 'Z')
			y = (uint8_t)(y - 'A' + 'a');
		if (x != y)
			return false;
	}
	return true;
}

/* Any star of `p` is any octets: what prefix, suffix and glob are. */
static inline bool ref_wild(struct mica_slice p, struct mica_slice s, bool fold)
{
	if (p.len == 0)
		return s.len == 0;
	if (p.p[0] == '*') {
		for (size_t i = 0; i <= s.len; i++) {
			if (ref_wild(mica_slice(p.p + 1, p.len - 1), mica_slice(s.p + i, s.len - i),
				    fold))
				return true;
		}
		return false;
	}
	return s.len > 0 && ref_same(mica_slice(p.p, 1), mica_slice(s.p, 1), fold) &&
		ref_wild(mica_slice(p.p + 1, p.len - 1), mica_slice(s.p + 1, s.len - 1), fold);
}

static inline bool ref_path_octet(uint8_t c)
{
	return c &&
		strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
		       "-._~%!$&'()+,;:@",
			c) != NULL;
}

static inline bool ref_template(struct mica_slice t, struct mica_slice s, enum ref_bug bug)
{
	bool any = t.len >= 4 && memcmp(t.p, "{**}", 4) == 0;
	bool one = t.len >= 3 && memcmp(t.p, "{*}", 3) == 0;
	size_t skip = any ? 4 : 3;

	if (t.len == 0)
		return s.len == 0;
	if (!any && !one)
		return s.len && s.p[0] == t.p[0] &&
			ref_template(mica_slice(t.p + 1, t.len - 1), mica_slice(s.p + 1, s.len - 1),
				bug);
	for (size_t i = 0; i <= s.len; i++) {
		if ((any || i > 0) &&
			ref_template(mica_slice(t.p + skip, t.len - skip),
				mica_slice(s.p + i, s.len - i), bug))
			return true;
		if (i < s.len && !ref_path_octet(s.p[i]) &&
			!((any || bug == BUG_TEMPLATE_STAR) && s.p[i] == '/'))
			return false;
	}
	return false;
}

static inline bool ref_cidr(const struct mica_cidr *c, const struct mica_ip *ip, enum ref_bug bug)
{
	unsigned bits = c->bits;

	if (ip->len == 0 || ip->len != c->ip.len)
		return false;
	if (bug == BUG_CIDR_BIT && bits)
		bits--;
	for (unsigned i = 0; i < bits; i++) {
		if (((c->ip.b[i / 8] ^ ip->b[i / 8]) >> (7 - i % 8)) & 1)
			return false;
	}
	return true;
}

static inline bool ref_string(const struct ref *f, enum mica_policy_attr attr,
	const struct mica_policy_value *v, struct mica_slice s)
{
	bool fold = attr == MICA_ATTR_HOST && f->bug != BUG_HOST_CASE;

	if (f->bug == BUG_PRESENT_IS_ANY && v->kind == MICA_VALUE_PRESENT)
		return true;
	if (s.len == 0)
		return false;
	if (v->kind == MICA_VALUE_EXACT)
		return ref_same(v->written, s, fold);
	if (v->kind == MICA_VALUE_TEMPLATE)
		return ref_template(v->written, s, f->bug);
	if (v->kind == MICA_VALUE_PREFIX && f->bug == BUG_PREFIX_IS_EXACT)
		return ref_same(v->text, s, fold);
	if (v->kind == MICA_VALUE_SUFFIX && f->bug == BUG_SUFFIX_IS_PREFIX)
		return s.len >= v->text.len &&
			ref_same(v->text, mica_slice(s.p, v->text.len), fold);
	return ref_wild(v->written, s, fold);
}

/* ---- the peer ----------------------------------------------------------------------------------
 */

struct ref_peer {
	struct mica_slice all, part[12];
	unsigned n;
	struct mica_slice ns, sa;
};

static inline struct ref_peer ref_peer(struct mica_slice id)
{
	struct ref_peer p = {.n = 0};
	size_t at = 9;
	unsigned i = 1;

	if (id.len < 10)
		return p;
	p.all = mica_slice(id.p + 9, id.len - 9);
	for (size_t k = 9; k <= id.len; k++) {
		if (k == id.len || id.p[k] == '/') {
			p.part[p.n++] = mica_slice(id.p + at, k - at);
			at = k + 1;
		}
	}
	while (i < p.n && !ref_eq(p.part[i], "ns"))
		i++;
	if (i + 2 >= p.n) /* something stands behind the namespace */
		return p;
	p.ns = p.part[i + 1];
	for (i += 2; i + 1 < p.n; i++) {
		if (ref_eq(p.part[i], "sa")) {
			p.sa = p.part[i + 1];
			break;
		}
	}
	return p;
}

/* A principal of one of our trust domains means that of all of them. */
static inline bool ref_principal(
	const struct ref *f, const struct mica_policy_value *v, struct mica_slice peer)
{
	const struct mica_policy_mesh *m = f->mesh;
	unsigned slashes = 0, n = m->trust_domain ? 1 + m->n_aliases : 0;
	size_t td = 0, own = 0;
	bool ours = false;

	for (size_t i = 0; i < v->written.len; i++)
		slashes += v->written.p[i] == '/';
	while (td < v->written.len && v->written.p[td] != '/')
		td++;
	while (own < peer.len && peer.p[own] != '/')
		own++;
	if (ref_string(f, MICA_ATTR_PRINCIPAL, v, peer))
		ours = true;
	if (slashes != 4 || (td == 1 && v->written.p[0] == '*') || n == 0 ||
		f->bug == BUG_NO_ALIASES)
		return ours;
	/* does the pattern speak of us? */
	bool about_us = ref_eq(mica_slice(v->written.p, td), "cluster.local");
	bool literal = false, peer_is_ours = false;

	for (unsigned i = 0; i < n; i++) {
		const char *d = i ? m->aliases[i - 1] : m->trust_domain;

		if (ref_wild(mica_slice(v->written.p, td), mica_slice_str(d), false))
			about_us = literal = true;
		peer_is_ours = peer_is_ours || ref_eq(mica_slice(peer.p, own), d);
	}
	if (!about_us)
		return ours;
	/* then it is written anew for each of them, and "cluster.local" itself is no more */
	if (literal && ours && v->written.p[0] == '*')
		return true;
	if (!peer_is_ours || peer.len == 0)
		return false;
	struct mica_slice path = mica_slice(v->written.p + td, v->written.len - td);

	return ref_wild(path, mica_slice(peer.p + own, peer.len - own), false);
}

/* ---- tests
 * --------------------------------------------------------------------------------------- */

static inline bool ref_request_principal(const struct ref *f, const struct mica_policy_value *v,
	struct mica_slice issuer, struct mica_slice subject)
{
	uint8_t joined[1024];
	size_t cut = v->written.len;

	if (issuer.len == 0 || subject.len == 0)
		return false;
	if (v->kind == MICA_VALUE_PRESENT)
		return true;
	if (f->bug == BUG_ISSUER) {
		memcpy(joined, issuer.p, issuer.len);
		joined[issuer.len] = '/';
		memcpy(joined + issuer.len + 1, subject.p, subject.len);
		return ref_wild(
			v->written, mica_slice(joined, issuer.len + 1 + subject.len), false);
	}
	while (cut > 0 && v->written.p[cut - 1] != '/')
		cut--;
	if (cut == 0)
		return v->kind == MICA_VALUE_PREFIX ? ref_wild(v->written, issuer, false)
						    : ref_wild(v->written, subject, false);
	return ref_wild(mica_slice(v->written.p, cut - 1), issuer, false) &&
		ref_wild(mica_slice(v->written.p + cut, v->written.len - cut), subject, false);
}

static inline bool ref_value(const struct ref *f, const struct mica_policy_test *t,
	const struct mica_policy_value *v, const struct mica_policy_request *r)
{
	struct ref_peer peer = ref_peer(r->peer);
	struct mica_slice path = r->path;
	bool found = false;

	for (size_t i = 0; i < r->path.len && f->bug != BUG_QUERY; i++) {
		if (r->path.p[i] == '?' || r->path.p[i] == '#') {
			path.len = i;
			break;
		}
	}
	switch (t->attr) {
	case MICA_ATTR_PRINCIPAL: return ref_principal(f, v, peer.all);
	case MICA_ATTR_REQUEST_PRINCIPAL:
		return ref_request_principal(f, v, r->jwt_issuer, r->jwt_subject);
	case MICA_ATTR_NAMESPACE: return ref_string(f, t->attr, v, peer.ns);
	case MICA_ATTR_SERVICE_ACCOUNT:
		return peer.sa.len && ref_same(v->text, peer.sa, false) &&
			(f->bug == BUG_ACCOUNT_ANY_NS || ref_same(v->ns, peer.ns, false));
	case MICA_ATTR_TRUST_DOMAIN: return peer.n && ref_string(f, t->attr, v, peer.part[0]);
	case MICA_ATTR_SOURCE_IP: return ref_cidr(&v->cidr, &r->source_ip, f->bug);
	case MICA_ATTR_REMOTE_IP: return ref_cidr(&v->cidr, &r->remote_ip, f->bug);
	case MICA_ATTR_DESTINATION_IP: return ref_cidr(&v->cidr, &r->destination_ip, f->bug);
	case MICA_ATTR_HOST: return ref_string(f, t->attr, v, r->host);
	case MICA_ATTR_PORT: return r->port != 0 && r->port == v->port;
	case MICA_ATTR_METHOD: return ref_string(f, t->attr, v, r->method);
	case MICA_ATTR_PATH: return ref_string(f, t->attr, v, path);
	case MICA_ATTR_PRESENTER: return ref_string(f, t->attr, v, r->presenter);
	case MICA_ATTR_SNI: return ref_string(f, t->attr, v, r->sni);
	case MICA_ATTR_HEADER:
		for (unsigned i = 0; i < r->n_headers; i++)
			found = found ||
				(ref_same(r->headers[i].key, t->name, false) &&
					ref_string(f, t->attr, v, r->headers[i].value));
		return found;
	case MICA_ATTR_CLAIM:
		for (unsigned i = 0; i < r->n_claims; i++)
			found = found ||
				(ref_same(r->claims[i].key, t->name, false) &&
					ref_string(f, t->attr, v, r->claims[i].value));
		return found;
	case MICA_ATTR_AUDIENCE:
		for (unsigned i = 0; i < r->n_audiences; i++)
			found = found || ref_string(f, t->attr, v, r->audiences[i]);
		return found;
	default: return false;
	}
}

static inline bool ref_is_http(enum mica_policy_attr a)
{
	return a == MICA_ATTR_REQUEST_PRINCIPAL || a == MICA_ATTR_HOST || a == MICA_ATTR_METHOD ||
		a == MICA_ATTR_PATH || a == MICA_ATTR_HEADER || a == MICA_ATTR_AUDIENCE ||
		a == MICA_ATTR_PRESENTER || a == MICA_ATTR_CLAIM;
}

static inline bool ref_test(
	const struct ref *f, const struct mica_policy_test *t, const struct mica_policy_request *r)
{
	bool is = t->is.n == 0, is_not = false;

	if (ref_is_http(t->attr) && !r->http && f->bug != BUG_TCP_AS_HTTP)
		return true;
	for (unsigned i = 0; i < t->is.n; i++)
		is = is || ref_value(f, t, &t->is.v[i], r);
	for (unsigned i = 0; i < t->is_not.n && f->bug != BUG_NO_NOT; i++)
		is_not = is_not || ref_value(f, t, &t->is_not.v[i], r);
	return is && !is_not;
}

static inline bool ref_clause(const struct ref *f, const struct mica_policy_clause *c,
	const struct mica_policy_request *r)
{
	bool all = true, any = c->n == 0;

	for (unsigned i = 0; i < c->n; i++) {
		bool holds = ref_test(f, &c->tests[i], r);

		all = all && holds;
		any = any || holds;
	}
	return f->bug == BUG_OR_FOR_AND ? any : all;
}

static inline bool ref_clauses(const struct ref *f, const struct mica_policy_clause *c, unsigned n,
	const struct mica_policy_request *r)
{
	bool all = true, any = n == 0;

	for (unsigned i = 0; i < n; i++) {
		bool holds = ref_clause(f, &c[i], r);

		all = all && holds;
		any = any || holds;
	}
	return f->bug == BUG_AND_FOR_OR ? all : any;
}

static inline bool ref_asks_http(const struct mica_policy_clause *c, unsigned n)
{
	bool http = false;

	for (unsigned i = 0; i < n; i++) {
		for (unsigned j = 0; j < c[i].n; j++)
			http = http || ref_is_http(c[i].tests[j].attr);
	}
	return http;
}

static inline bool ref_rule(const struct ref *f, const struct mica_policy *p,
	const struct mica_policy_rule *rule, const struct mica_policy_request *r)
{
	bool http = ref_asks_http(rule->from, rule->n_from) ||
		ref_asks_http(rule->to, rule->n_to) || ref_asks_http(&rule->when, 1);

	if (http && !r->http && p->action == MICA_POLICY_ALLOW && f->bug != BUG_TCP_AS_HTTP)
		return false;
	return ref_clauses(f, rule->from, rule->n_from, r) &&
		ref_clauses(f, rule->to, rule->n_to, r) &&
		(f->bug == BUG_NO_WHEN || ref_clause(f, &rule->when, r));
}

/* ---- policies
 * --------------------------------------------------------------------------------------- */

static inline bool ref_selects(
	const struct ref *f, const struct mica_policy *p, const struct mica_policy_request *r)
{
	bool root = f->mesh->root_ns && strcmp(p->ns, f->mesh->root_ns) == 0;

	if (f->bug == BUG_NO_ROOT)
		root = false;
	if (!root && !ref_eq(r->workload.ns, p->ns) && f->bug != BUG_NO_NAMESPACE)
		return false;
	for (unsigned i = 0; i < p->selector.n && f->bug != BUG_NO_SELECTOR; i++) {
		bool found = false;

		for (unsigned k = 0; k < r->workload.n_labels; k++)
			found = found ||
				(ref_same(r->workload.labels[k].key, p->selector.v[i].key, false) &&
					ref_same(r->workload.labels[k].value,
						p->selector.v[i].value, false));
		if (!found)
			return false;
	}
	return true;
}

static inline bool ref_matches(
	const struct ref *f, const struct mica_policy *p, const struct mica_policy_request *r)
{
	bool any = p->n_rules == 0 && f->bug == BUG_EMPTY_MATCHES;

	for (unsigned i = 0; i < p->n_rules; i++)
		any = any || ref_rule(f, p, &p->rules[i], r);
	return any;
}

struct ref_verdict {
	bool allowed, audited;
	enum mica_policy_why why;
};

/* `dry`: as though policies with dry-run were enforced. */
static inline struct ref_verdict ref_decide(
	const struct ref *f, const struct mica_policy_request *r, bool dry)
{
	bool denied = false, asked = false, allowed = false, audited = false;

	for (size_t i = 0; i < f->n; i++) {
		const struct mica_policy *p = f->policies[i];
		enum mica_policy_action action = p->action;

		if (p->kind != MICA_POLICY_AUTHORIZATION || !ref_selects(f, p, r) ||
			(p->dry_run && !dry && f->bug != BUG_DRY_ENFORCED))
			continue;
		if (f->bug == BUG_DENY_AS_ALLOW && action == MICA_POLICY_DENY)
			action = MICA_POLICY_ALLOW;
		asked = asked || action == MICA_POLICY_ALLOW;
		if (!ref_matches(f, p, r))
			continue;
		denied = denied || action == MICA_POLICY_DENY;
		allowed = allowed || action == MICA_POLICY_ALLOW;
		audited = audited || action == MICA_POLICY_AUDIT;
	}
	if (denied)
		return (struct ref_verdict){false, audited, MICA_WHY_DENY_RULE};
	if (!asked)
		return (struct ref_verdict){true, audited, MICA_WHY_NO_ALLOW_POLICY};
	return (struct ref_verdict){
		allowed, audited, allowed ? MICA_WHY_ALLOW_RULE : MICA_WHY_NO_RULE};
}

#endif
