/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What Envoy knows of a request, by attribute:
 *
 *	peer's ID		authenticated.principal_name, the URI of its certificate
 *	source.ip, remote.ip	direct_remote_ip, remote_ip
 *	host, method, header	header ":authority" without regard to case, ":method", the name
 *	path			url_path, which is without query and fragment
 *	port, destination.ip	destination_port, destination_ip
 *	server name		requested_server_name
 *	JWT			sourced_metadata of envoy.filters.http.jwt_authn, [payload, CLAIM
 *...]
 */
#include "target_envoy.h"

#define JWT_FILTER  "envoy.filters.http.jwt_authn"
#define JWT_PAYLOAD "payload" /* its payload_in_metadata, as Istio configures it */

#define MESSAGE(name, number)                                                                      \
	{                                                                                          \
		name, number, PB_MESSAGE, false                                                    \
	}
#define STRING(name, number)                                                                       \
	{                                                                                          \
		name, number, PB_STRING, false                                                     \
	}

/* ---- type.matcher.v3 ------------------------------------------------------------------------ */

static const struct pb_field f_exact = STRING("exact", 1), f_prefix = STRING("prefix", 2),
			     f_suffix = STRING("suffix", 3),
			     f_ignore_case = {"ignore_case", 6, PB_BOOL, false},
			     f_safe_regex = MESSAGE("safe_regex", 5), f_regex = STRING("regex", 2),
			     f_contains = STRING("contains", 7);

/* A StringMatcher in the field `f` of `to`. */
static void put_matcher(struct envoy *x, struct pb *to, const struct pb_field *f,
	const struct pb_field *how, struct mica_slice text, bool fold)
{
	struct pb *m = pb_add(&x->arena, to, f);

	pb_add_text(&x->arena, m, how, text);
	if (fold)
		pb_add(&x->arena, m, &f_ignore_case);
}

static void put_regex(
	struct envoy *x, struct pb *to, const struct pb_field *f, struct mica_slice regex)
{
	struct pb *m = pb_add(&x->arena, to, f);

	pb_add_text(&x->arena, pb_add(&x->arena, m, &f_safe_regex), &f_regex, regex);
}

static const struct pb_field *how_of(enum mica_value_kind kind)
{
	return kind == MICA_VALUE_PREFIX    ? &f_prefix
		: kind == MICA_VALUE_SUFFIX ? &f_suffix
					    : &f_exact;
}

/* ---- losses --------------------------------------------------------------------------------- */

#define LONG "Envoy bounds regular expressions, and this needs a longer one"

static void lose(struct envoy *x, const struct mica_policy_value *v, const char *what)
{
	if (!x->quiet)
		target_lose(x->t, x->policy, x->rule, v->line, v->column, "envoy_regex_too_long",
			"\"%.100s\": %s", (const char *)v->written.p, what);
}

/* ---- the peer ------------------------------------------------------------------------------- */

static const struct pb_field f_authenticated = MESSAGE("authenticated", 4),
			     f_principal_name = MESSAGE("principal_name", 2);

static struct mica_slice join(
	struct envoy *x, const char *before, struct mica_slice s, const char *after)
{
	size_t n = strlen(before), m = strlen(after);
	uint8_t *p = arena_alloc(&x->arena, n + s.len + m + 1, 1);

	memcpy(p, before, n);
	if (s.len)
		memcpy(p + n, s.p, s.len);
	memcpy(p + n + s.len, after, m);
	return mica_slice(p, n + s.len + m);
}

static struct expr *id_is(struct envoy *x, const struct pb_field *how, struct mica_slice text)
{
	struct pb *leaf = pb_add(&x->arena, NULL, &f_authenticated);

	put_matcher(x, leaf, &f_principal_name, how, text, false);
	return expr_leaf(x, leaf);
}

static struct expr *id_matches(struct envoy *x, struct mica_slice regex)
{
	struct pb *leaf = pb_add(&x->arena, NULL, &f_authenticated);

	put_regex(x, leaf, &f_principal_name, regex);
	return expr_leaf(x, leaf);
}

static struct expr *has_id(struct envoy *x)
{
	return id_is(x, &f_prefix, mica_slice_str(ENVOY_ID));
}

struct principals {
	struct envoy *x;
	const struct mica_policy_value *v;
	struct expr *list;
	bool narrow;
};

/* An end alone would also be found in a DNS name or the subject of the certificate. */
static struct expr *id_ends(struct principals *p, struct mica_slice text)
{
	struct mica_slice regex = envoy_re_suffix(p->x, text);

	if (regex.len)
		return id_matches(p->x, regex);
	lose(p->x, p->v, LONG);
	return p->narrow ? expr_const(p->x, false) : has_id(p->x);
}

static void add_principal(void *ctx, enum mica_value_kind kind, struct mica_slice text)
{
	struct principals *p = ctx;

	if (kind == MICA_VALUE_PRESENT)
		expr_add(p->list, has_id(p->x));
	else if (kind == MICA_VALUE_SUFFIX)
		expr_add(p->list, id_ends(p, text));
	else
		expr_add(p->list, id_is(p->x, how_of(kind), join(p->x, ENVOY_ID, text, "")));
}

static struct expr *principal(struct envoy *x, const struct mica_policy_value *v, bool narrow)
{
	struct principals p = {x, v, expr_list(x, EXPR_OR), narrow};

	mica_policy_principals(x->t->set, v, add_principal, &p);
	return expr_done(x, p.list);
}

static struct expr *namespace(struct envoy *x, const struct mica_policy_value *v, bool narrow)
{
	struct mica_slice regex = envoy_re_namespace(x, v);

	if (regex.len)
		return id_matches(x, regex);
	lose(x, v, LONG);
	return narrow ? expr_const(x, false) : has_id(x);
}

static struct expr *long_account(struct envoy *x, const struct mica_policy_value *v, bool narrow)
{
	struct mica_slice regex = envoy_re_plain_account(x, v->ns, v->text);

	if (!narrow) {
		lose(x, v, LONG);
		return expr_both(x, id_is(x, &f_contains, join(x, "/ns/", v->ns, "/")),
			id_is(x, &f_contains, join(x, "/sa/", v->text, "")));
	}
	lose(x, v, regex.len ? LONG "; only IDs of the form TD/ns/NS/sa/NAME have it" : LONG);
	return regex.len ? id_matches(x, regex) : expr_const(x, false);
}

static struct expr *account(struct envoy *x, const struct mica_policy_value *v, bool narrow)
{
	const struct mica_policy_value ns = {.kind = MICA_VALUE_EXACT, .written = v->ns};
	struct mica_slice in_ns = envoy_re_namespace(x, &ns), named = envoy_re_account(x, v->text);

	if (in_ns.len == 0 || named.len == 0)
		return long_account(x, v, narrow);
	return expr_both(x, id_matches(x, in_ns), id_matches(x, named));
}

static struct expr *trust_domain(struct envoy *x, const struct mica_policy_value *v, bool narrow)
{
	struct expr *list = expr_list(x, EXPR_OR);

	(void)narrow;
	expr_add(list, id_is(x, &f_exact, join(x, ENVOY_ID, v->text, "")));
	expr_add(list, id_is(x, &f_prefix, join(x, ENVOY_ID, v->text, "/")));
	return expr_done(x, list);
}

/* ---- addresses, ports ----------------------------------------------------------------------- */

static struct expr *address(struct envoy *x, const struct mica_policy_value *v, bool narrow)
{
	static const struct pb_field direct = MESSAGE("direct_remote_ip", 10),
				     remote = MESSAGE("remote_ip", 11),
				     destination = MESSAGE("destination_ip", 5),
				     prefix = STRING("address_prefix", 1),
				     len = {"prefix_len", 2, PB_WRAPPED, false};
	const enum mica_policy_attr attr = x->test->attr;
	const struct pb_field *f = attr == MICA_ATTR_SOURCE_IP ? &direct
		: attr == MICA_ATTR_REMOTE_IP                  ? &remote
							       : &destination;
	struct pb *leaf = pb_add(&x->arena, NULL, f);
	struct mica_slice text, ip;
	char block[MICA_IP_SIZE];

	(void)narrow;
	mica_cidr_format(&v->cidr, block);
	text = mica_slice_str(block);
	mica_slice_cut(&text, '/', &ip);
	pb_add_text(&x->arena, leaf, &prefix, arena_text(&x->arena, ip));
	pb_add_uint(&x->arena, leaf, &len, v->cidr.bits);
	return expr_leaf(x, leaf);
}

static struct expr *port(struct envoy *x, const struct mica_policy_value *v, bool narrow)
{
	static const struct pb_field f = {"destination_port", 6, PB_UINT, false};

	(void)narrow;
	if (v->port == 0)
		return expr_const(x, false);
	return expr_leaf(x, pb_add_uint(&x->arena, NULL, &f, v->port));
}

/* ---- strings of HTTP and TLS ---------------------------------------------------------------- */

/* A header is of the other side than ":method": the same message in another field. */
static const struct pb_field f_header[] = {
	[MICA_SIDE_SOURCE] = MESSAGE("header", 6),
	[MICA_SIDE_OPERATION] = MESSAGE("header", 4),
};

static struct pb *header(struct envoy *x, struct mica_slice name)
{
	static const struct pb_field f_name = STRING("name", 1);
	struct pb *leaf =
		pb_add(&x->arena, NULL, &f_header[mica_policy_attr_of(x->test->attr)->side]);

	pb_add_text(&x->arena, leaf, &f_name, name);
	return leaf;
}

static struct expr *header_there(struct envoy *x, struct mica_slice name)
{
	static const struct pb_field f_present = {"present_match", 7, PB_BOOL, false};
	struct pb *leaf = header(x, name);

	pb_add(&x->arena, leaf, &f_present);
	return expr_leaf(x, leaf);
}

static struct expr *header_value(struct envoy *x, struct mica_slice name,
	const struct pb_field *how, struct mica_slice text, bool fold)
{
	static const struct pb_field f_match = MESSAGE("string_match", 13);
	struct pb *leaf = header(x, name);

	put_matcher(x, leaf, &f_match, how, text, fold);
	return expr_leaf(x, leaf);
}

static struct expr *in_header(struct envoy *x, const struct mica_policy_value *v, bool narrow)
{
	const enum mica_policy_attr attr = x->test->attr;
	const struct mica_slice name = attr == MICA_ATTR_HOST ? MICA_LIT(":authority")
		: attr == MICA_ATTR_METHOD                    ? MICA_LIT(":method")
							      : x->test->name;

	(void)narrow;
	if (v->kind == MICA_VALUE_PRESENT)
		return expr_both(x, header_there(x, name),
			expr_not(x, header_value(x, name, &f_exact, MICA_SLICE_NULL, false)));
	return header_value(x, name, how_of(v->kind), v->text, attr == MICA_ATTR_HOST);
}

static const struct pb_field f_url_path = MESSAGE("url_path", 10), f_path = MESSAGE("path", 1);

static struct expr *template(struct envoy *x, const struct mica_policy_value *v, bool narrow)
{
	struct mica_slice regex = envoy_re_template(x, v->text);
	struct pb *leaf = pb_add(&x->arena, NULL, &f_url_path);

	if (regex.len == 0) {
		lose(x, v, LONG);
		return expr_const(x, !narrow);
	}
	put_regex(x, leaf, &f_path, regex);
	return expr_leaf(x, leaf);
}

static struct expr *path(struct envoy *x, const struct mica_policy_value *v, bool narrow)
{
	const bool present = v->kind == MICA_VALUE_PRESENT;
	struct pb *leaf;
	struct expr *e;

	if (v->kind == MICA_VALUE_TEMPLATE)
		return template(x, v, narrow);
	leaf = pb_add(&x->arena, NULL, &f_url_path);
	put_matcher(x, leaf, &f_path, present ? &f_exact : how_of(v->kind), v->text, false);
	e = expr_leaf(x, leaf);
	return present ? expr_both(x, header_there(x, MICA_LIT(":path")), expr_not(x, e)) : e;
}

static struct expr *server_name(struct envoy *x, const struct mica_policy_value *v, bool narrow)
{
	static const struct pb_field f = MESSAGE("requested_server_name", 9);
	const bool present = v->kind == MICA_VALUE_PRESENT;
	struct pb m = {.first = NULL};
	struct expr *e;

	(void)narrow;
	put_matcher(x, &m, &f, present ? &f_exact : how_of(v->kind), v->text, false);
	e = expr_leaf(x, m.first);
	return present ? expr_not(x, e) : e;
}

/* ---- JWT ------------------------------------------------------------------------------------ */

static const struct pb_field f_string_match = MESSAGE("string_match", 3);

/* Metadata of the claim "[a][b]", and what value it has yet to be said. */
static struct pb *claim(struct envoy *x, struct mica_slice name, struct pb **value)
{
	static const struct pb_field f_sourced = MESSAGE("sourced_metadata", 13),
				     f_matcher = MESSAGE("metadata_matcher", 1),
				     f_filter = STRING("filter", 1),
				     f_segment = {"path", 2, PB_MESSAGE, true},
				     f_key = STRING("key", 1), f_value = MESSAGE("value", 3);
	struct pb *leaf = pb_add(&x->arena, NULL, &f_sourced), *m, *segment;
	struct mica_slice key;

	m = pb_add(&x->arena, leaf, &f_matcher);
	pb_add_text(&x->arena, m, &f_filter, MICA_LIT(JWT_FILTER));
	segment = pb_add(&x->arena, m, &f_segment);
	pb_add_text(&x->arena, segment, &f_key, MICA_LIT(JWT_PAYLOAD));
	while (name.len) {
		name = mica_slice_sub(name, 1, name.len); /* the '[' */
		mica_slice_cut(&name, ']', &key);
		segment = pb_add(&x->arena, m, &f_segment);
		pb_add_text(&x->arena, segment, &f_key, key);
	}
	*value = pb_add(&x->arena, m, &f_value);
	return leaf;
}

static void put_claim(
	struct envoy *x, struct pb *value, enum mica_value_kind kind, struct mica_slice text)
{
	if (kind == MICA_VALUE_PRESENT)
		put_regex(x, value, &f_string_match, MICA_LIT("(?s).+"));
	else
		put_matcher(x, value, &f_string_match, how_of(kind), text, false);
}

static struct expr *claim_is(
	struct envoy *x, const char *name, enum mica_value_kind kind, struct mica_slice text)
{
	struct pb *value, *leaf = claim(x, mica_slice_str(name), &value);

	put_claim(x, value, kind, text);
	return expr_leaf(x, leaf);
}

/* A string, or one of a list of strings. */
static struct expr *in_claim(struct envoy *x, const struct mica_policy_value *v, bool narrow)
{
	static const struct pb_field f_list = MESSAGE("list_match", 6),
				     f_one_of = MESSAGE("one_of", 1);
	const struct mica_slice name =
		x->test->attr == MICA_ATTR_AUDIENCE ? MICA_LIT("[aud]") : x->test->name;
	struct expr *either = expr_list(x, EXPR_OR);
	struct pb *value, *leaf = claim(x, name, &value);

	(void)narrow;
	put_claim(x, value, v->kind, v->text);
	expr_add(either, expr_leaf(x, leaf));
	leaf = claim(x, name, &value);
	value = pb_add(&x->arena, pb_add(&x->arena, value, &f_list), &f_one_of);
	put_claim(x, value, v->kind, v->text);
	expr_add(either, expr_leaf(x, leaf));
	return expr_done(x, either);
}

static struct expr *presenter(struct envoy *x, const struct mica_policy_value *v, bool narrow)
{
	(void)narrow;
	return claim_is(x, "[azp]", v->kind, v->text);
}

/* ISSUER/SUBJECT, split at the last '/': a star at the end is the subject's, one at the beginning
 * the issuer's; without a '/' it is the only part that is asked for, and the other must be there.
 */
static struct expr *request_principal(
	struct envoy *x, const struct mica_policy_value *v, bool narrow)
{
	enum mica_value_kind iss = MICA_VALUE_PRESENT, sub = MICA_VALUE_PRESENT;
	struct mica_slice head = MICA_SLICE_NULL, tail = MICA_SLICE_NULL;

	(void)narrow;
	if (v->kind != MICA_VALUE_PRESENT && split_last(v->text, &head, &tail)) {
		iss = v->kind == MICA_VALUE_SUFFIX ? MICA_VALUE_SUFFIX : MICA_VALUE_EXACT;
		sub = v->kind == MICA_VALUE_PREFIX ? MICA_VALUE_PREFIX : MICA_VALUE_EXACT;
	} else if (v->kind == MICA_VALUE_PREFIX) {
		iss = MICA_VALUE_PREFIX;
		head = v->text;
	} else if (v->kind == MICA_VALUE_SUFFIX) {
		sub = MICA_VALUE_SUFFIX;
		tail = v->text;
	}
	/* the beginning or the end of anything */
	iss = head.len ? iss : MICA_VALUE_PRESENT;
	sub = tail.len ? sub : MICA_VALUE_PRESENT;
	return expr_both(x, claim_is(x, "[iss]", iss, head), claim_is(x, "[sub]", sub, tail));
}

/* ---- all of them ---------------------------------------------------------------------------- */

typedef struct expr *value_fn(struct envoy *x, const struct mica_policy_value *v, bool narrow);
static value_fn *const values[MICA_ATTR_COUNT] = {
	[MICA_ATTR_PRINCIPAL] = principal,
	[MICA_ATTR_REQUEST_PRINCIPAL] = request_principal,
	[MICA_ATTR_NAMESPACE] = namespace,
	[MICA_ATTR_SERVICE_ACCOUNT] = account,
	[MICA_ATTR_TRUST_DOMAIN] = trust_domain,
	[MICA_ATTR_SOURCE_IP] = address,
	[MICA_ATTR_REMOTE_IP] = address,
	[MICA_ATTR_HOST] = in_header,
	[MICA_ATTR_PORT] = port,
	[MICA_ATTR_METHOD] = in_header,
	[MICA_ATTR_PATH] = path,
	[MICA_ATTR_HEADER] = in_header,
	[MICA_ATTR_AUDIENCE] = in_claim,
	[MICA_ATTR_PRESENTER] = presenter,
	[MICA_ATTR_CLAIM] = in_claim,
	[MICA_ATTR_DESTINATION_IP] = address,
	[MICA_ATTR_SNI] = server_name,
};

struct expr *envoy_value(struct envoy *x, const struct mica_policy_value *v, bool narrow)
{
	return values[x->test->attr](x, v, narrow);
}
