/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a request has what a rule asks for. */
#include "set_impl.h"

/* ---- the request --------------------------------------------------------------------------------
 */

/* The namespace is what follows the first segment "ns", when something follows it again; the
 * account what follows the first "sa" behind that. Elsewhere in a path these words mean nothing. */
static void take_apart(struct subject *s, struct mica_slice path)
{
	struct mica_slice segment, ns = MICA_SLICE_NULL;

	while (ns.len == 0 && mica_spiffe_next_segment(&path, &segment)) {
		if (mica_slice_eq_str(segment, "ns") && !mica_spiffe_next_segment(&path, &ns))
			return;
	}
	if (ns.len == 0 || path.len == 0)
		return;
	s->ns = ns;
	while (mica_spiffe_next_segment(&path, &segment)) {
		if (!mica_slice_eq_str(segment, "sa"))
			continue;
		if (mica_spiffe_next_segment(&path, &segment))
			s->account = segment;
		return;
	}
}

void subject_init(struct subject *s, const struct mica_policy_request *r)
{
	struct mica_spiffe_id id;
	size_t len = 0;

	*s = (struct subject){.r = r};
	if (r->peer.len && mica_spiffe_id_parse(r->peer, &id, NULL) == MICA_OK) {
		s->principal = mica_slice(id.td.p, id.td.len + id.path.len);
		s->td = id.td;
		take_apart(s, id.path);
	}
	while (len < r->path.len && r->path.p[len] != '?' && r->path.p[len] != '#')
		len++;
	s->path = mica_slice(r->path.p, len);
}

struct mica_slice subject_string(const struct subject *s, enum mica_policy_attr attr)
{
	switch (attr) {
	case MICA_ATTR_PRINCIPAL: return s->principal;
	case MICA_ATTR_NAMESPACE: return s->ns;
	case MICA_ATTR_TRUST_DOMAIN: return s->td;
	case MICA_ATTR_HOST: return s->r->host;
	case MICA_ATTR_METHOD: return s->r->method;
	case MICA_ATTR_PATH: return s->path;
	case MICA_ATTR_PRESENTER: return s->r->presenter;
	case MICA_ATTR_SNI: return s->r->sni;
	default: return MICA_SLICE_NULL;
	}
}

const struct mica_ip *subject_ip(const struct subject *s, enum mica_policy_attr attr)
{
	switch (attr) {
	case MICA_ATTR_SOURCE_IP: return &s->r->source_ip;
	case MICA_ATTR_REMOTE_IP: return &s->r->remote_ip;
	default: return &s->r->destination_ip;
	}
}

/* ---- strings ------------------------------------------------------------------------------------
 */

static bool same(const uint8_t *a, const uint8_t *pattern, size_t len, bool fold)
{
	if (!fold)
		return len == 0 || memcmp(a, pattern, len) == 0;
	for (size_t i = 0; i < len; i++) {
		if (fold_octet(a[i], true) != pattern[i])
			return false;
	}
	return true;
}

static bool match_glob(struct mica_slice pattern, struct mica_slice s)
{
	size_t p = 0, i = 0, star = SIZE_MAX, back = 0;

	while (i < s.len) {
		if (p < pattern.len && pattern.p[p] == '*') {
			star = p++;
			back = i;
		} else if (p < pattern.len && pattern.p[p] == s.p[i]) {
			p++;
			i++;
		} else if (star != SIZE_MAX) {
			p = star + 1;
			i = ++back;
		} else {
			return false;
		}
	}
	while (p < pattern.len && pattern.p[p] == '*')
		p++;
	return p == pattern.len;
}

/* What is empty is not there, and has no form. */
static bool match_string(const struct mica_policy_value *v, struct mica_slice s, bool fold)
{
	struct mica_slice t = v->text;

	if (s.len == 0)
		return false;
	switch (v->kind) {
	case MICA_VALUE_EXACT: return s.len == t.len && same(s.p, t.p, t.len, fold);
	case MICA_VALUE_PREFIX: return s.len >= t.len && same(s.p, t.p, t.len, fold);
	case MICA_VALUE_SUFFIX:
		return s.len >= t.len && same(s.p + s.len - t.len, t.p, t.len, fold);
	case MICA_VALUE_PRESENT: return true;
	case MICA_VALUE_GLOB: return match_glob(t, s);
	case MICA_VALUE_TEMPLATE: return mica_policy_template_matches(t, s);
	default: return false;
	}
}

static const struct mica_policy_value *find_exact(
	const struct values *values, struct mica_slice s, bool fold)
{
	unsigned low = 0, high = values->n_exact;

	while (low < high) {
		unsigned mid = (low + high) / 2;
		const struct mica_policy_value *v = &values->v[mid];
		int by = 0;

		if (v->text.len != s.len)
			by = v->text.len < s.len ? -1 : 1;
		for (size_t i = 0; by == 0 && i < s.len; i++)
			by = (int)v->text.p[i] - (int)fold_octet(s.p[i], fold);
		if (by == 0)
			return v;
		low = by < 0 ? mid + 1 : low;
		high = by < 0 ? high : mid;
	}
	return NULL;
}

static const struct mica_policy_value *match_strings(
	const struct values *values, struct mica_slice s, bool fold)
{
	const struct mica_policy_value *v =
		s.len && values->n_exact ? find_exact(values, s, fold) : NULL;

	for (unsigned i = values->n_exact; v == NULL && s.len && i < values->n; i++) {
		if (match_string(&values->v[i], s, fold))
			v = &values->v[i];
	}
	return v;
}

/* ---- what is more than a string
 * ------------------------------------------------------------------ */

/* ISSUER/SUBJECT is split at the last '/', so that neither can pretend to be part of the other. A
 * star at the end is one of the subject's, at the beginning one of the issuer's; without a '/' it
 * is the only part that is asked for. */
static bool match_request_principal(
	const struct mica_policy_value *v, struct mica_slice issuer, struct mica_slice subject)
{
	struct mica_policy_value head = {.kind = MICA_VALUE_EXACT}, tail = head;
	bool two;

	if (issuer.len == 0 || subject.len == 0)
		return false;
	if (v->kind == MICA_VALUE_PRESENT)
		return true;
	two = split_last(v->text, &head.text, &tail.text);
	if (v->kind == MICA_VALUE_PREFIX && !two)
		return match_string(v, issuer, false);
	if (v->kind == MICA_VALUE_SUFFIX && !two)
		return match_string(v, subject, false);
	if (v->kind == MICA_VALUE_PREFIX)
		tail.kind = MICA_VALUE_PREFIX;
	if (v->kind == MICA_VALUE_SUFFIX)
		head.kind = MICA_VALUE_SUFFIX;
	return two && match_string(&head, issuer, false) && match_string(&tail, subject, false);
}

static const struct mica_policy_value *match_pairs(const struct values *values,
	struct mica_slice name, const struct mica_policy_pair *pairs, unsigned n)
{
	const struct mica_policy_value *v = NULL;

	for (unsigned i = 0; v == NULL && i < n; i++) {
		if (mica_slice_eq(pairs[i].key, name))
			v = match_strings(values, pairs[i].value, false);
	}
	return v;
}

static const struct mica_policy_value *match_list(
	const struct values *values, const struct mica_slice *list, unsigned n)
{
	const struct mica_policy_value *v = NULL;

	for (unsigned i = 0; v == NULL && i < n; i++)
		v = match_strings(values, list[i], false);
	return v;
}

static bool match_other(
	const struct subject *s, enum mica_policy_attr attr, const struct mica_policy_value *v)
{
	switch (attr) {
	case MICA_ATTR_REQUEST_PRINCIPAL:
		return match_request_principal(v, s->r->jwt_issuer, s->r->jwt_subject);
	case MICA_ATTR_SERVICE_ACCOUNT:
		return s->account.len && mica_slice_eq(v->ns, s->ns) &&
			mica_slice_eq(v->text, s->account);
	case MICA_ATTR_PORT: return s->r->port && v->port == s->r->port;
	default: return mica_cidr_has(&v->cidr, subject_ip(s, attr));
	}
}

const struct mica_policy_value *match_values(
	const struct subject *s, const struct ctest *t, const struct values *values)
{
	const struct mica_policy_request *r = s->r;

	switch (t->attr) {
	case MICA_ATTR_HEADER: return match_pairs(values, t->test->name, r->headers, r->n_headers);
	case MICA_ATTR_CLAIM: return match_pairs(values, t->test->name, r->claims, r->n_claims);
	case MICA_ATTR_AUDIENCE: return match_list(values, r->audiences, r->n_audiences);
	case MICA_ATTR_REQUEST_PRINCIPAL:
	case MICA_ATTR_SERVICE_ACCOUNT:
	case MICA_ATTR_PORT:
	case MICA_ATTR_SOURCE_IP:
	case MICA_ATTR_REMOTE_IP:
	case MICA_ATTR_DESTINATION_IP: break;
	default: return match_strings(values, subject_string(s, t->attr), attr_folds(t->attr));
	}
	for (unsigned i = 0; i < values->n; i++) {
		if (match_other(s, t->attr, &values->v[i]))
			return &values->v[i];
	}
	return NULL;
}

/* ---- tests, clauses, rules
 * ------------------------------------------------------------------------ */

/* What only HTTP has is not asked of what is not HTTP: an ALLOW rule does not come here then, and a
 * DENY rule matches more. */
bool match_test(const struct subject *s, const struct ctest *t)
{
	if (t->http && !s->r->http)
		return true;
	return (t->is.n == 0 || match_values(s, t, &t->is)) &&
		(t->is_not.n == 0 || !match_values(s, t, &t->is_not));
}

bool match_clause(const struct subject *s, const struct cclause *c)
{
	for (unsigned i = 0; i < c->n; i++) {
		if (!match_test(s, &c->tests[i]))
			return false;
	}
	return true;
}

static bool match_any(const struct subject *s, const struct cclause *clauses, unsigned n, int only)
{
	if (only >= 0)
		return match_clause(s, &clauses[only]);
	for (unsigned i = 0; i < n; i++) {
		if (match_clause(s, &clauses[i]))
			return true;
	}
	return n == 0;
}

bool match_entry(const struct mica_policy_set *set, const struct subject *s, const struct entry *e)
{
	const struct crule *r = &set->rules[e->rule];

	if (r->http && !s->r->http && r->policy->action == MICA_POLICY_ALLOW)
		return false;
	return match_any(s, r->from, r->n_from, e->from) && match_any(s, r->to, r->n_to, e->to) &&
		match_clause(s, &r->when);
}
