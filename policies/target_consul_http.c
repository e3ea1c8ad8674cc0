/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Consul: permissions. One has a path, methods and headers that must all hold, so a term is one for
 * each way to fulfil it. What must not be is asked of Envoy's pseudo headers, which a permission
 * may name as any other: an inverted header does not hold where there is none, so that this is a
 * way of its own.
 *
 * Envoy's regular expressions know UTF-8 alone: an octet that is none matches not even '.'. Where
 * an expression that does not match lets in, a permission before all others denies such paths.
 */
#include "target_consul.h"

#define PERMISSIONS_MAX 256 /* of a term */
#define HEADERS_MAX     64 /* of a permission */

/* ---- how many ----------------------------------------------------------------------------------
 */

static const char *const methods[] = {
	"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE"};

/* Consul refuses other methods in their list. */
static bool standard(const struct values *v)
{
	for (unsigned i = 0; i < v->n; i++) {
		bool known = false;
		for (size_t k = 0; k < MICA_ARRAY_LEN(methods); k++)
			known |= v->v[i].kind == MICA_VALUE_EXACT &&
				mica_slice_eq_str(v->v[i].text, methods[k]);
		if (!known)
			return false;
	}
	return v->n > 0;
}

/* Ways to fulfil a test: a value that is there, or that nothing is there. */
static unsigned ways(const struct ctest *t)
{
	if (t->attr == MICA_ATTR_METHOD)
		return t->is.n == 0 || standard(&t->is) ? 1 : t->is.n;
	return t->is.n ? t->is.n : 2;
}

unsigned csl_term_size(const struct csl_term *t)
{
	size_t n = 1, headers = 0;
	for (unsigned i = 0; i < t->n && n <= PERMISSIONS_MAX; i++) {
		n *= ways(t->tests[i]);
		headers += t->tests[i]->is_not.n + 2;
	}
	return n > PERMISSIONS_MAX || headers > HEADERS_MAX ? 0 : (unsigned)n;
}

/* ---- expressions -------------------------------------------------------------------------------
 */

static void put_quoted(struct mica_buf *b, struct mica_slice s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (strchr("\\.+*?()|[]{}^$", s.p[i]) && s.p[i])
			mica_buf_put_u8(b, '\\');
		mica_buf_put_u8(b, s.p[i]);
	}
}

/* As mica_policy_template_matches(). */
static void put_template(struct mica_buf *b, struct mica_slice s)
{
	static const char octets[] = "-A-Za-z0-9._~%!$&'()+,;:@";
	while (s.len) {
		const uint8_t *brace = memchr(s.p, '{', s.len);
		const size_t plain = brace ? (size_t)(brace - s.p) : s.len;
		put_quoted(b, mica_slice_sub(s, 0, plain));
		s = mica_slice_sub(s, plain, s.len);
		if (mica_slice_has_prefix(s, MICA_LIT("{**}"))) {
			mica_buf_printf(b, "[%s/]*", octets);
			s = mica_slice_sub(s, 4, s.len);
		} else if (s.len) {
			mica_buf_printf(b, "[%s]+", octets);
			s = mica_slice_sub(s, 3, s.len);
		}
	}
}

/* A path as it is sent, with query: whether it is `v`. */
static void put_sent(struct mica_buf *b, const struct mica_policy_value *v)
{
	if (v->kind == MICA_VALUE_SUFFIX)
		mica_buf_put_str(b, "[^?#]*");
	if (v->kind == MICA_VALUE_TEMPLATE)
		put_template(b, v->text);
	else
		put_quoted(b, v->text);
	mica_buf_put_str(b, "(?:[?#].*)?");
}

/* ---- a permission ------------------------------------------------------------------------------
 */

struct header {
	struct mica_slice name;
	const char *form; /* "Exact" ... */
	struct mica_slice value; /* Present has none */
	bool invert;
};
struct permission {
	const struct mica_policy_value *path;
	const struct ctest *methods;
	struct header headers[HEADERS_MAX];
	unsigned n_headers;
};
struct putting {
	struct csl *c;
	struct mica_buf *b;
	const struct csl_term *term;
	struct permission p;
	bool deny, some;
};

static void push(struct permission *p, struct mica_slice name, const char *form,
	struct mica_slice value, bool invert)
{
	p->headers[p->n_headers++] = (struct header){name, form, value, invert};
}

static void push_regex(struct csl *c, struct permission *p, struct mica_slice name,
	const struct mica_policy_value *v, bool invert)
{
	MICA_AUTO_BUF b;
	mica_buf_init(&b, 65536);
	put_sent(&b, v);
	push(p, name, "Regex", arena_text(&c->arena, mica_buf_slice(&b)), invert);
}

/* One value of a header. "*" is one that is not empty. */
static void push_value(struct csl *c, struct permission *p, struct mica_slice name,
	const struct mica_policy_value *v, bool invert)
{
	const bool path = mica_slice_eq_str(name, ":path");
	switch (v->kind) {
	case MICA_VALUE_PREFIX: push(p, name, "Prefix", v->text, invert); return;
	case MICA_VALUE_PRESENT:
		push(p, name, "Present", MICA_SLICE_NULL, false);
		push(p, name, "Regex", MICA_LIT("^$"), true);
		return;
	case MICA_VALUE_SUFFIX:
		if (!path) {
			push(p, name, "Suffix", v->text, invert);
			return;
		}
		break;
	case MICA_VALUE_EXACT:
		if (!path) {
			push(p, name, "Exact", v->text, invert);
			return;
		}
		break;
	default: break;
	}
	push_regex(c, p, name, v, invert);
}

static void put_path(struct mica_buf *b, const struct mica_policy_value *v)
{
	MICA_AUTO_BUF regex;
	if (v->kind == MICA_VALUE_EXACT || v->kind == MICA_VALUE_PREFIX) {
		mica_buf_printf(b, "\"Path%s\":", v->kind == MICA_VALUE_EXACT ? "Exact" : "Prefix");
		mica_buf_put_json_string(b, v->text);
		return;
	}
	mica_buf_init(&regex, 65536);
	if (v->kind != MICA_VALUE_TEMPLATE)
		mica_buf_put_str(&regex, v->kind == MICA_VALUE_PRESENT ? ".+" : ".*");
	if (v->kind == MICA_VALUE_TEMPLATE)
		put_template(&regex, v->text);
	else
		put_quoted(&regex, v->text);
	mica_buf_put_str(b, "\"PathRegex\":");
	mica_buf_put_json_string(b, mica_buf_slice(&regex));
}

static void put_methods(struct mica_buf *b, const struct values *v)
{
	unsigned n = 0;
	mica_buf_put_str(b, "\"Methods\":[");
	for (size_t k = 0; k < MICA_ARRAY_LEN(methods); k++)
		for (unsigned i = 0; i < v->n; i++)
			if (mica_slice_eq_str(v->v[i].text, methods[k])) {
				mica_buf_printf(b, "%s\"%s\"", n++ ? "," : "", methods[k]);
				break;
			}
	mica_buf_put_str(b, "]");
}

static void put_header(struct mica_buf *b, const struct header *h)
{
	mica_buf_put_str(b, "{\"Name\":");
	mica_buf_put_json_string(b, h->name);
	mica_buf_printf(b, ",\"%s\":", h->form);
	if (h->value.p)
		mica_buf_put_json_string(b, h->value);
	else
		mica_buf_put_str(b, "true");
	mica_buf_put_str(b, h->invert ? ",\"Invert\":true}" : "}");
}

static void put_permission(struct putting *x)
{
	static const struct header any = {
		.name = {(const uint8_t *)":method", 7}, .form = "Present"};
	const struct permission *p = &x->p;
	const bool all = !p->path && !p->methods && p->n_headers == 0;
	mica_buf_printf(x->b, "%s{\"Action\":\"%s\",\"HTTP\":{", x->some ? "," : "",
		x->deny ? "deny" : "allow");
	x->some = true;
	if (p->path)
		put_path(x->b, p->path);
	if (p->methods) {
		mica_buf_put_str(x->b, p->path ? "," : "");
		put_methods(x->b, &p->methods->is);
	}
	if (p->n_headers || all)
		mica_buf_put_str(x->b, p->path || p->methods ? ",\"Header\":[" : "\"Header\":[");
	if (all)
		put_header(x->b, &any);
	for (unsigned i = 0; i < p->n_headers; i++) {
		mica_buf_put_str(x->b, i ? "," : "");
		put_header(x->b, &p->headers[i]);
	}
	mica_buf_put_str(x->b, p->n_headers || all ? "]}}" : "}}");
}

/* ---- terms -------------------------------------------------------------------------------------
 */

static struct mica_slice header_of(const struct ctest *t)
{
	if (t->attr == MICA_ATTR_METHOD)
		return MICA_LIT(":method");
	return t->attr == MICA_ATTR_PATH ? MICA_LIT(":path") : t->test->name;
}

static void put_from(struct putting *x, unsigned i);

/* What must be there is `v` (NULL: anything), and what must not be is not. */
static void put_way(struct putting *x, unsigned i, const struct mica_policy_value *v)
{
	const struct permission before = x->p;
	const struct ctest *t = x->term->tests[i];
	const struct mica_slice name = header_of(t);
	if (v && t->attr == MICA_ATTR_PATH)
		x->p.path = v;
	else if (v && !(t->attr == MICA_ATTR_METHOD && v->kind == MICA_VALUE_PRESENT))
		push_value(x->c, &x->p, name, v, false);
	for (unsigned k = 0; k < t->is_not.n; k++)
		push_value(x->c, &x->p, name, &t->is_not.v[k], true);
	put_from(x, i + 1);
	x->p = before;
}

/* It is not there at all; or, of a header that must not be "any", empty. */
static void put_absent(struct putting *x, unsigned i)
{
	const struct permission before = x->p;
	push(&x->p, header_of(x->term->tests[i]), "Present", MICA_SLICE_NULL, true);
	put_from(x, i + 1);
	x->p = before;
}

static bool unwanted_any(const struct ctest *t)
{
	for (unsigned k = 0; k < t->is_not.n; k++)
		if (t->is_not.v[k].kind == MICA_VALUE_PRESENT)
			return true;
	return false;
}

static void put_empty(struct putting *x, unsigned i)
{
	const struct permission before = x->p;
	push(&x->p, header_of(x->term->tests[i]), "Regex", MICA_LIT("^$"), false);
	put_from(x, i + 1);
	x->p = before;
}

static void put_from(struct putting *x, unsigned i)
{
	const struct ctest *t = i < x->term->n ? x->term->tests[i] : NULL;
	if (!t) {
		put_permission(x);
		return;
	}
	if (t->attr == MICA_ATTR_METHOD && standard(&t->is)) {
		x->p.methods = t;
		put_way(x, i, NULL);
		x->p.methods = NULL;
		return;
	}
	for (unsigned k = 0; k < t->is.n && !unwanted_any(t); k++)
		put_way(x, i, &t->is.v[k]);
	if (t->is.n)
		return;
	if (unwanted_any(t))
		put_empty(x, i);
	else
		put_way(x, i, NULL);
	if (t->attr != MICA_ATTR_METHOD)
		put_absent(x, i);
}

static bool needs_guard(const struct csl_terms *terms, bool deny)
{
	for (size_t i = 0; i < terms->n; i++)
		for (unsigned k = 0; k < terms->v[i].n; k++) {
			const struct ctest *t = terms->v[i].tests[k];
			if (t->attr != MICA_ATTR_PATH)
				continue;
			for (unsigned j = 0; deny && j < t->is.n; j++)
				if (t->is.v[j].kind == MICA_VALUE_SUFFIX ||
					t->is.v[j].kind == MICA_VALUE_PRESENT)
					return true;
			for (unsigned j = 0; j < t->is_not.n; j++)
				if (t->is_not.v[j].kind != MICA_VALUE_PREFIX)
					return true;
		}
	return false;
}

static void put_terms(struct putting *x, const struct csl_terms *terms, bool deny)
{
	x->deny = deny;
	for (size_t i = 0; i < terms->n; i++) {
		x->term = &terms->v[i];
		put_from(x, 0);
	}
}

void csl_put_permissions(struct csl *c, struct mica_buf *b)
{
	struct putting x = {.c = c, .b = b, .deny = true};
	mica_buf_put_str(b, "\"Permissions\":[");
	if (needs_guard(&c->deny, true) || needs_guard(&c->allow, false)) {
		push(&x.p, MICA_LIT(":path"), "Regex", MICA_LIT(".*"), true);
		put_permission(&x);
		x.p.n_headers = 0;
	}
	put_terms(&x, &c->deny, true);
	put_terms(&x, &c->allow, false);
	x.deny = true;
	put_permission(&x); /* all others */
	mica_buf_put_str(b, "]");
}
