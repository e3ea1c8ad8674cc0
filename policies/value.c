/* SPDX-License-Identifier: Apache-2.0 */
/* Values of tests: each attribute knows which forms it has, and what can never match. */
#include "impl.h"

#include "mica/spiffeid.h"

#include <stdio.h>

#define ACCOUNTS_MAX 16 /* as Istio has it */
#define ACCOUNT_MAX  320

struct value_at {
	struct reading *r;
	const struct at *at;
	const node_t *n;
};

typedef mica_rc value_fn(const struct value_at *w, struct mica_policy_value *v);

MICA_PRINTF(2, 3)
static mica_rc never(const struct value_at *w, const char *fmt, ...)
{
	char text[MICA_ERR_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
		text[0] = '\0';
	va_end(ap);
	return read_fail(w->r, w->at, w->n, "policy_value", "\"%.128s\" can never match: %s",
		w->n->text, text);
}

/* ---- the four forms of strings ----------------------------------------------------------------
 */

/* A star at one end; a star within is a star, and stars at both ends are no form of Istio's. */
static mica_rc read_form(const struct value_at *w, struct mica_policy_value *v)
{
	struct mica_slice s = v->written;
	size_t n = s.len;

	v->kind = MICA_VALUE_EXACT;
	v->text = s;
	if (n == 1 && s.p[0] == '*') {
		v->kind = MICA_VALUE_PRESENT;
		v->text = MICA_SLICE_NULL;
	} else if (s.p[0] == '*') {
		v->kind = MICA_VALUE_SUFFIX;
		v->text = mica_slice(s.p + 1, n - 1);
	} else if (s.p[n - 1] == '*') {
		v->kind = MICA_VALUE_PREFIX;
		v->text = mica_slice(s.p, n - 1);
	}
	if (v->kind != MICA_VALUE_EXACT && v->text.len && memchr(v->text.p, '*', v->text.len))
		return read_fail(w->r, w->at, w->n, "policy_value",
			"\"%.128s\": expected one star, at the beginning or at the end",
			w->n->text);
	return MICA_OK;
}

static bool inner_star(struct mica_slice s)
{
	return s.len > 2 && memchr(s.p + 1, '*', s.len - 2) != NULL;
}

/* The same where a star within can only be a mistake. */
static mica_rc read_strict_form(const struct value_at *w, struct mica_policy_value *v)
{
	if (inner_star(v->written))
		return read_fail(w->r, w->at, w->n, "policy_value",
			"\"%.128s\": a star is understood at the beginning or at the end only",
			w->n->text);
	return read_form(w, v);
}

static bool parses(const char *before, struct mica_slice text, const char *after, char why[256])
{
	struct mica_err e = MICA_ERR_INIT;
	struct mica_spiffe_id id;
	MICA_AUTO_BUF b;
	bool ok;

	mica_buf_init(&b, MICA_POLICY_VALUE_MAX + 64);
	mica_buf_put_str(&b, MICA_SPIFFE_SCHEME);
	mica_buf_put_str(&b, before);
	mica_buf_put_slice(&b, text);
	mica_buf_put_str(&b, after);
	ok = mica_spiffe_id_parse(mica_buf_slice(&b), &id, &e) == MICA_OK;
	snprintf(why, 256, "%.255s", ok ? "" : e.text);
	return ok;
}

/* What is there must be part of some SPIFFE ID: completed in the shortest way, it is one. */
static mica_rc value_principal(const struct value_at *w, struct mica_policy_value *v)
{
	mica_rc rc = read_strict_form(w, v);
	char why[256] = "";
	bool ok = true;

	if (rc != MICA_OK)
		return rc;
	if (mica_slice_has_prefix(v->written, MICA_LIT(MICA_SPIFFE_SCHEME)))
		return never(w, "a principal is written without spiffe://");
	if (v->kind == MICA_VALUE_EXACT)
		ok = parses("", v->text, "", why);
	else if (v->kind == MICA_VALUE_PREFIX)
		ok = parses("", v->text, "x", why);
	else if (v->kind == MICA_VALUE_SUFFIX)
		ok = parses("x", v->text, "", why) || parses("x/x", v->text, "", why);
	return ok ? MICA_OK : never(w, "it is not part of a SPIFFE ID: %s", why);
}

/* ISSUER/SUBJECT, split at the last '/': see mica_policy_decide's matcher. */
static mica_rc value_request_principal(const struct value_at *w, struct mica_policy_value *v)
{
	struct mica_slice issuer, subject;
	mica_rc rc = read_strict_form(w, v);
	bool two;

	if (rc != MICA_OK || v->kind == MICA_VALUE_PRESENT)
		return rc;
	two = split_last(v->text, &issuer, &subject);
	if (!two && v->kind == MICA_VALUE_EXACT)
		return never(w, "expected ISSUER/SUBJECT");
	if (two && subject.len == 0 && v->kind != MICA_VALUE_PREFIX)
		return never(w, "the subject behind the last '/' is empty");
	if (two && issuer.len == 0 && v->kind != MICA_VALUE_SUFFIX)
		return never(w, "the issuer before the last '/' is empty");
	if (two && (mica_slice_eq_str(issuer, "https:/") || mica_slice_eq_str(issuer, "http:/")))
		return never(w,
			"what stands behind the last '/' is the subject; expected "
			"ISSUER/SUBJECT");
	return MICA_OK;
}

static mica_rc value_namespace(const struct value_at *w, struct mica_policy_value *v)
{
	struct mica_slice s = v->written;
	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = s.p[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-' && c != '*')
			return never(w, "a namespace has a-z, 0-9 and '-'");
	}
	if (memchr(s.p, '*', s.len) == NULL && !mica_k8s_label_ok(s))
		return never(w, "it is not the name of a namespace");
	if (!inner_star(s) && !(s.len > 1 && s.p[0] == '*' && s.p[s.len - 1] == '*'))
		return read_form(w, v);
	v->kind = MICA_VALUE_GLOB;
	v->text = s;
	return MICA_OK;
}

/* NAME in the policy's own namespace, or NAMESPACE/NAME. */
static mica_rc value_account(const struct value_at *w, struct mica_policy_value *v)
{
	struct mica_slice name = v->written, ns;

	if (v->written.len > ACCOUNT_MAX)
		return read_fail(w->r, w->at, w->n, "policy_limit",
			"%zu bytes, expected at most %d", v->written.len, ACCOUNT_MAX);
	if (memchr(v->written.p, '*', v->written.len))
		return never(w, "service accounts have no wildcards; see principals");
	v->kind = MICA_VALUE_ACCOUNT;
	if (!mica_slice_cut(&name, '/', &ns)) {
		name = v->written;
		ns = mica_slice_str(w->r->doc->p.ns);
	}
	if (!mica_k8s_label_ok(ns) || !mica_k8s_subdomain_ok(name))
		return never(w, "expected NAME or NAMESPACE/NAME of a service account");
	v->text = name;
	v->ns = ns;
	return MICA_OK;
}

static mica_rc value_trust_domain(const struct value_at *w, struct mica_policy_value *v)
{
	struct mica_err own = MICA_ERR_INIT;

	v->kind = MICA_VALUE_EXACT;
	v->text = v->written;
	if (mica_trust_domain_check(v->text, &own) != MICA_OK)
		return never(w, "%s", own.text);
	return MICA_OK;
}

static mica_rc value_ip(const struct value_at *w, struct mica_policy_value *v)
{
	struct mica_err own = MICA_ERR_INIT;
	char block[MICA_IP_SIZE];
	bool exact = true;

	v->kind = MICA_VALUE_CIDR;
	if (mica_cidr_parse(v->written, &v->cidr, &exact, &own) != MICA_OK)
		return never(w, "%s", own.text);
	mica_cidr_format(&v->cidr, block);
	if (!exact)
		read_warn(w->r, w->at, v->line, v->column, "policy_host_bits",
			"\"%s\" means all of %s", w->n->text, block);
	return MICA_OK;
}

static mica_rc value_port(const struct value_at *w, struct mica_policy_value *v)
{
	uint64_t port = 0;

	v->kind = MICA_VALUE_PORT;
	if (mica_parse_u64(v->written, 65535, &port) != MICA_OK)
		return never(w, "expected the number of a port, 1 to 65535");
	if (port == 0)
		read_warn(w->r, w->at, v->line, v->column, "policy_port_zero",
			"nothing listens on port 0");
	v->port = (uint16_t)port;
	return MICA_OK;
}

static mica_rc value_host(const struct value_at *w, struct mica_policy_value *v)
{
	mica_rc rc = read_strict_form(w, v);

	if (rc == MICA_OK && !all_in(v->text, "-._:[]~!$&'()+,;=%"))
		rc = never(w, "expected a host, with its port if requests have one");
	return rc;
}

static mica_rc value_method(const struct value_at *w, struct mica_policy_value *v)
{
	mica_rc rc = read_strict_form(w, v);

	if (rc != MICA_OK || v->kind == MICA_VALUE_PRESENT)
		return rc;
	if (!is_token(v->text))
		return never(w, "expected a method such as GET");
	for (size_t i = 0; i < v->text.len; i++) {
		if (v->text.p[i] < 'a' || v->text.p[i] > 'z')
			continue;
		read_warn(w->r, w->at, v->line, v->column, "policy_method_case",
			"\"%s\": methods are compared with their case, GET is not get", w->n->text);
		break;
	}
	return MICA_OK;
}

static mica_rc value_path(const struct value_at *w, struct mica_policy_value *v)
{
	struct mica_slice s = v->written;
	const char *fault;
	mica_rc rc;

	for (size_t i = 0; i < s.len; i++) {
		if (s.p[i] <= 0x20 || s.p[i] >= 0x7f || s.p[i] == '?' || s.p[i] == '#')
			return never(w,
				"a path has no query, fragment, space, or octet that is "
				"not ASCII");
	}
	if (memchr(s.p, '{', s.len) || memchr(s.p, '}', s.len)) {
		fault = template_fault(s);
		v->kind = MICA_VALUE_TEMPLATE;
		v->text = s;
		return fault ? never(w, "%s", fault) : MICA_OK;
	}
	rc = read_strict_form(w, v);
	if (rc != MICA_OK)
		return rc;
	if ((v->kind == MICA_VALUE_EXACT || v->kind == MICA_VALUE_PREFIX) && v->text.p[0] != '/')
		return never(w, "a path begins with '/'");
	return MICA_OK;
}

static mica_rc value_sni(const struct value_at *w, struct mica_policy_value *v)
{
	mica_rc rc = read_strict_form(w, v);

	if (rc == MICA_OK && !all_in(v->text, "-._"))
		rc = never(w, "expected a DNS name");
	for (size_t i = 0; rc == MICA_OK && i < v->text.len; i++) {
		if (v->text.p[i] >= 'A' && v->text.p[i] <= 'Z')
			rc = never(w, "the name of a server is compared in lower case");
	}
	return rc;
}

static value_fn *const readers[MICA_ATTR_COUNT] = {
	[MICA_ATTR_PRINCIPAL] = value_principal,
	[MICA_ATTR_REQUEST_PRINCIPAL] = value_request_principal,
	[MICA_ATTR_NAMESPACE] = value_namespace,
	[MICA_ATTR_SERVICE_ACCOUNT] = value_account,
	[MICA_ATTR_TRUST_DOMAIN] = value_trust_domain,
	[MICA_ATTR_SOURCE_IP] = value_ip,
	[MICA_ATTR_REMOTE_IP] = value_ip,
	[MICA_ATTR_HOST] = value_host,
	[MICA_ATTR_PORT] = value_port,
	[MICA_ATTR_METHOD] = value_method,
	[MICA_ATTR_PATH] = value_path,
	[MICA_ATTR_HEADER] = read_form,
	[MICA_ATTR_AUDIENCE] = read_form,
	[MICA_ATTR_PRESENTER] = read_form,
	[MICA_ATTR_CLAIM] = read_form,
	[MICA_ATTR_DESTINATION_IP] = value_ip,
	[MICA_ATTR_SNI] = value_sni,
};

static mica_rc read_value(
	const struct value_at *w, enum mica_policy_attr attr, struct mica_policy_value *v)
{
	struct mica_slice text;
	mica_rc rc = read_string(w->r, w->at, w->n, MICA_POLICY_VALUE_MAX, &text);

	if (rc != MICA_OK)
		return rc;
	if (text.len == 0)
		return read_fail(w->r, w->at, w->n, "policy_value",
			"an empty string; for whatever is not empty, write \"*\"");
	v->line = w->n->line;
	v->column = w->n->column;
	v->written = arena_text(&w->r->doc->arena, text);
	return readers[attr](w, v);
}

mica_rc read_values(struct reading *r, const struct at *at, const node_t *n,
	enum mica_policy_attr attr, struct mica_policy_values *out)
{
	bool accounts = attr == MICA_ATTR_SERVICE_ACCOUNT;
	mica_rc rc = read_list(r, at, n, accounts ? ACCOUNTS_MAX : MICA_POLICY_VALUES_MAX);
	struct mica_policy_value *v;
	unsigned i = 0;

	if (rc != MICA_OK)
		return rc;
	v = arena_alloc(&r->doc->arena, n->count, sizeof(*v));
	for (const node_t *k = n->first; k && rc == MICA_OK; k = k->next, i++) {
		const struct at here = {.up = at, .index = i};

		rc = read_value(&(struct value_at){.r = r, .at = &here, .n = k}, attr, &v[i]);
	}
	*out = (struct mica_policy_values){.v = v, .n = n->count};
	return rc;
}
