/* SPDX-License-Identifier: Apache-2.0 */
#include "guard.h"

#include "mica/mem.h"

enum refusal {
	METHOD,
	VERSION,
	TARGET_LONG,
	TARGET_FORM,
	TARGET_BYTE,
	TARGET_PERCENT,
	TARGET_DOTS,
	FIELDS_MANY,
	LAYOUT,
	FIELD_NAME,
	FIELD_VALUE,
	FIELD_TWICE,
	HOST_MISSING,
	HOST,
	LENGTH,
	LENGTH_AND_ENCODING,
	ENCODING,
	CONTENT_ENCODING,
	EXPECT,
	BODY
};

static const struct guard_refusal refusals[] = {
	[METHOD] = {400, "method_invalid", "the method is not a token of 1 to 16 letters"},
	[VERSION] = {505, "version_unsupported", "expected HTTP/1.1"},
	[TARGET_LONG] = {414, "target_too_long", "expected a request target of at most 4096 bytes"},
	[TARGET_FORM] = {400, "target_invalid",
		"expected a request target in origin form, beginning with '/'"},
	[TARGET_BYTE] = {400, "target_invalid",
		"the request target holds a character that a URI may not hold as it is"},
	[TARGET_PERCENT] = {400, "target_invalid",
		"the request target holds a percent sign without two hex digits, an encoded control "
		"character, or an encoded '/', '\\' or '.' in its path"},
	[TARGET_DOTS] = {400, "target_invalid",
		"the path holds '..' or a segment '.': expected a plain path"},
	[FIELDS_MANY] = {431, "too_many_headers", "expected at most 64 header fields"},
	[LAYOUT] = {400, "header_layout",
		"a header line is folded, holds a NUL, or does not end in CR LF"},
	[FIELD_NAME] = {400, "header_name_invalid",
		"a header name is empty or holds a character that is not allowed in a token"},
	[FIELD_VALUE] = {400, "header_value_invalid", "a header value holds a control character"},
	[FIELD_TWICE] = {400, "header_duplicate",
		"a header that may come once came more than once"},
	[HOST_MISSING] = {400, "host_missing", "expected one Host header"},
	[HOST] = {400, "host_invalid", "expected Host as name or address, with an optional port"},
	[LENGTH] = {400, "content_length_invalid", "expected Content-Length in decimal digits"},
	[LENGTH_AND_ENCODING] = {400, "body_framing",
		"Content-Length and Transfer-Encoding exclude each other"},
	[ENCODING] = {400, "transfer_encoding", "the one Transfer-Encoding here is: chunked"},
	[CONTENT_ENCODING] = {415, "content_encoding", "expected a body without content encoding"},
	[EXPECT] = {417, "expectation_unknown", "the one expectation here is: 100-continue"},
	[BODY] = {400, "body_unexpected", "GET and HEAD take no body"},
};

/* ---- characters: one bit a class ----------------------------------------------------------- */

enum {
	TOKEN = 1, /* RFC 9110 5.6.2: tchar */
	PATH = 2, /* RFC 3986 3.3: pchar and '/' */
	QUERY = 4, /* 3.4: and '?' */
	HOSTNAME = 8, /* RFC 9110 7.2: letters, digits, '-', '.', '_', IPv6 in brackets, port */
	VALUE = 16, /* RFC 9110 5.5: HTAB, SP, VCHAR, obs-text */
	HEX = 32
};

#define ALNUM (TOKEN | PATH | QUERY | HOSTNAME | VALUE)
static const uint8_t class_of[256] = {
	['\t'] = VALUE,
	[' '] = VALUE,
	['0' ... '9'] = ALNUM | HEX,
	['A' ... 'F'] = ALNUM | HEX,
	['G' ... 'Z'] = ALNUM,
	['a' ... 'f'] = ALNUM | HEX,
	['g' ... 'z'] = ALNUM,
	['!'] = TOKEN | PATH | QUERY | VALUE,
	['"'] = VALUE,
	['#'] = TOKEN | VALUE,
	['$'] = TOKEN | PATH | QUERY | VALUE,
	['%'] = TOKEN | PATH | QUERY | VALUE,
	['&'] = TOKEN | PATH | QUERY | VALUE,
	['\''] = TOKEN | PATH | QUERY | VALUE,
	['('] = PATH | QUERY | VALUE,
	[')'] = PATH | QUERY | VALUE,
	['*'] = TOKEN | PATH | QUERY | VALUE,
	['+'] = TOKEN | PATH | QUERY | VALUE,
	[','] = PATH | QUERY | VALUE,
	['-'] = ALNUM,
	['.'] = ALNUM,
	['/'] = PATH | QUERY | VALUE,
	[':'] = PATH | QUERY | HOSTNAME | VALUE,
	[';'] = PATH | QUERY | VALUE,
	['<'] = VALUE,
	['='] = PATH | QUERY | VALUE,
	['>'] = VALUE,
	['?'] = QUERY | VALUE,
	['@'] = PATH | QUERY | VALUE,
	['['] = HOSTNAME | VALUE,
	['\\'] = VALUE,
	[']'] = HOSTNAME | VALUE,
	['^'] = TOKEN | VALUE,
	['_'] = ALNUM,
	['`'] = TOKEN | VALUE,
	['{'] = VALUE,
	['|'] = TOKEN | VALUE,
	['}'] = VALUE,
	['~'] = TOKEN | PATH | QUERY | VALUE,
	[0x80 ... 0xff] = VALUE,
};

static bool all(struct mica_slice s, uint8_t what)
{
	uint8_t common = 0xff;
	for (size_t i = 0; i < s.len; i++)
		common &= class_of[s.p[i]];
	return (common & what) != 0;
}

static uint8_t lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
}

static bool eq_caseless(struct mica_slice a, struct mica_slice lower_case)
{
	if (a.len != lower_case.len)
		return false;
	for (size_t i = 0; i < a.len; i++)
		if (lower(a.p[i]) != lower_case.p[i])
			return false;
	return true;
}

/* ---- the request line ---------------------------------------------------------------------- */

static const struct {
	struct mica_slice name;
	enum http_method method;
} methods[] = {
	{MICA_LIT("GET"), HTTP_GET},
	{MICA_LIT("POST"), HTTP_POST},
	{MICA_LIT("HEAD"), HTTP_HEAD},
	{MICA_LIT("PUT"), HTTP_PUT},
	{MICA_LIT("DELETE"), HTTP_DELETE},
	{MICA_LIT("OPTIONS"), HTTP_OPTIONS},
};

static enum http_method method_of(struct mica_slice name)
{
	for (size_t i = 0; i < MICA_ARRAY_LEN(methods); i++)
		if (mica_slice_eq(name, methods[i].name))
			return methods[i].method;
	return HTTP_OTHER;
}

static unsigned hex_value(uint8_t c)
{
	return c <= '9' ? (unsigned)(c - '0') : (unsigned)((c | 0x20) - 'a' + 10);
}

/* Nothing is decoded here, yet some handler may decode a query parameter one day: no encoded
 * control character; and in a path nothing that would make another path of it. */
static bool percent_ok(struct mica_slice s, bool path)
{
	for (size_t i = 0; i < s.len; i++) {
		unsigned c;
		if (s.p[i] != '%')
			continue;
		if (s.len - i < 3 || !(class_of[s.p[i + 1]] & HEX) || !(class_of[s.p[i + 2]] & HEX))
			return false;
		c = hex_value(s.p[i + 1]) << 4 | hex_value(s.p[i + 2]);
		if (c < 0x20 || c == 0x7f || (path && (c == '/' || c == '\\' || c == '.')))
			return false;
		i += 2;
	}
	return true;
}

static bool dots(struct mica_slice path)
{
	for (size_t i = 0; i + 1 < path.len; i++) {
		if (path.p[i + 1] != '.')
			continue;
		if (path.p[i] == '.')
			return true;
		if (path.p[i] == '/' && (i + 2 == path.len || path.p[i + 2] == '/'))
			return true;
	}
	return false;
}

static const struct guard_refusal *check_target(struct mica_slice target, struct guard_request *out)
{
	const uint8_t *mark;
	if (target.len > GUARD_MAX_TARGET)
		return &refusals[TARGET_LONG];
	if (target.len == 0 || target.p[0] != '/')
		return &refusals[TARGET_FORM];
	mark = memchr(target.p, '?', target.len);
	out->path = mark ? mica_slice(target.p, (size_t)(mark - target.p)) : target;
	out->query = mark ? mica_slice(mark + 1, target.len - out->path.len - 1) : MICA_SLICE_NULL;
	if (!all(out->path, PATH) || !all(out->query, QUERY))
		return &refusals[TARGET_BYTE];
	if (!percent_ok(out->path, true) || !percent_ok(out->query, false))
		return &refusals[TARGET_PERCENT];
	if (dots(out->path))
		return &refusals[TARGET_DOTS];
	return NULL;
}

/* ---- how the parts lie in the block -------------------------------------------------------- */

/*
 * Method SP target SP version CRLF *( name ":" OWS value CRLF ) CRLF, where ':', CR, LF and the
 * spaces of the first line have become NUL. A part that is shorter than it was (a NUL inside), a
 * line that ended in LF alone or was joined with the next one leaves another distance, or other
 * bytes than NUL at its end.
 */
static bool ended(const uint8_t *at, const uint8_t *end)
{
	return end - at >= 2 && at[0] == '\0' && at[1] == '\0';
}

static bool layout_ok(const struct guard_input *in)
{
	const uint8_t *at = in->block.p, *end = in->block.p + in->block.len;
	if (in->method.p != at || in->target_at != at + in->method.len + 1)
		return false;
	at = in->target_at + in->target.len + 1;
	if (in->version.p != at)
		return false;
	at += in->version.len;
	for (size_t i = 0; i < in->n_fields; i++) {
		const struct guard_field *f = &in->fields[i];
		if (!ended(at, end) || f->name.p != at + 2)
			return false;
		at = f->name.p + f->name.len + 1;
		if (f->value.p < at || f->value.p > end)
			return false;
		for (; at < f->value.p; at++)
			if (*at != ' ' && *at != '\t')
				return false;
		at = f->value.p + f->value.len;
	}
	return end - at == 4 && ended(at, end) && ended(at + 2, end);
}

/* ---- fields -------------------------------------------------------------------------------- */

enum known {
	F_HOST,
	F_AUTHORIZATION,
	F_CONTENT_LENGTH,
	F_CONTENT_TYPE,
	F_TRANSFER_ENCODING,
	F_CONTENT_ENCODING,
	F_IF_NONE_MATCH,
	F_IF_MATCH,
	F_ACCEPT,
	F_EXPECT,
	F_COUNT
};

static const struct mica_slice known_names[F_COUNT] = {
	[F_HOST] = MICA_LIT("host"),
	[F_AUTHORIZATION] = MICA_LIT("authorization"),
	[F_CONTENT_LENGTH] = MICA_LIT("content-length"),
	[F_CONTENT_TYPE] = MICA_LIT("content-type"),
	[F_TRANSFER_ENCODING] = MICA_LIT("transfer-encoding"),
	[F_CONTENT_ENCODING] = MICA_LIT("content-encoding"),
	[F_IF_NONE_MATCH] = MICA_LIT("if-none-match"),
	[F_IF_MATCH] = MICA_LIT("if-match"),
	[F_ACCEPT] = MICA_LIT("accept"),
	[F_EXPECT] = MICA_LIT("expect"),
};

static enum known known_of(struct mica_slice name)
{
	for (unsigned k = 0; k < F_COUNT; k++)
		if (eq_caseless(name, known_names[k]))
			return (enum known)k;
	return F_COUNT;
}

static const struct guard_refusal *read_fields(
	const struct guard_input *in, const struct mica_slice *value[F_COUNT])
{
	for (size_t i = 0; i < in->n_fields; i++) {
		const struct guard_field *f = &in->fields[i];
		enum known k;
		if (f->name.len == 0 || !all(f->name, TOKEN))
			return &refusals[FIELD_NAME];
		if (!all(f->value, VALUE))
			return &refusals[FIELD_VALUE];
		k = known_of(f->name);
		if (k == F_COUNT)
			continue;
		/* Accept is a list that may come in several lines: the first one counts. */
		if (value[k] && k != F_ACCEPT)
			return &refusals[FIELD_TWICE];
		if (!value[k])
			value[k] = &f->value;
	}
	return NULL;
}

static struct mica_slice trimmed(const struct mica_slice *s)
{
	struct mica_slice t;
	if (!s)
		return MICA_SLICE_NULL;
	t = *s;
	while (t.len > 0 && (t.p[t.len - 1] == ' ' || t.p[t.len - 1] == '\t'))
		t.len--;
	return t;
}

/* RFC 9112 6.3, without its leniencies. The values are compared as they came, since the parser
 * that frames the body compares them so. */
static const struct guard_refusal *check_body(
	const struct mica_slice *value[F_COUNT], struct guard_request *out)
{
	const struct mica_slice *length = value[F_CONTENT_LENGTH],
				*encoding = value[F_TRANSFER_ENCODING];
	if (length && encoding)
		return &refusals[LENGTH_AND_ENCODING];
	if (encoding && !eq_caseless(*encoding, MICA_LIT("chunked")))
		return &refusals[ENCODING];
	out->chunked = encoding != NULL;
	if (length && mica_parse_u64(*length, INT64_MAX, &out->length) != MICA_OK)
		return &refusals[LENGTH];
	if ((out->chunked || out->length > 0) &&
		(out->method == HTTP_GET || out->method == HTTP_HEAD))
		return &refusals[BODY];
	return NULL;
}

static const struct guard_refusal *check_fields(
	const struct guard_input *in, struct guard_request *out)
{
	const struct mica_slice *value[F_COUNT] = {NULL};
	const struct guard_refusal *no = read_fields(in, value);
	struct mica_slice host = trimmed(value[F_HOST]), expect = trimmed(value[F_EXPECT]),
			  coding = trimmed(value[F_CONTENT_ENCODING]);
	if (no)
		return no;
	if (!value[F_HOST])
		return &refusals[HOST_MISSING];
	if (!all(host, HOSTNAME))
		return &refusals[HOST];
	if (value[F_EXPECT] && !eq_caseless(expect, MICA_LIT("100-continue")))
		return &refusals[EXPECT];
	if (value[F_CONTENT_ENCODING] && !eq_caseless(coding, MICA_LIT("identity")))
		return &refusals[CONTENT_ENCODING];
	out->authorization = trimmed(value[F_AUTHORIZATION]);
	out->content_type = trimmed(value[F_CONTENT_TYPE]);
	out->if_none_match = trimmed(value[F_IF_NONE_MATCH]);
	out->if_match = trimmed(value[F_IF_MATCH]);
	out->accept = trimmed(value[F_ACCEPT]);
	out->expects = value[F_EXPECT] != NULL;
	return check_body(value, out);
}

const struct guard_refusal *guard_check(const struct guard_input *in, struct guard_request *out)
{
	const struct guard_refusal *no;
	*out = (struct guard_request){.method = HTTP_OTHER};
	if (!mica_slice_eq(in->version, MICA_LIT("HTTP/1.1")))
		return &refusals[VERSION];
	if (in->method.len == 0 || in->method.len > 16 || !all(in->method, TOKEN))
		return &refusals[METHOD];
	out->method = method_of(in->method);
	no = check_target(in->target, out);
	if (no)
		return no;
	if (in->n_fields > GUARD_MAX_FIELDS)
		return &refusals[FIELDS_MANY];
	if (in->block.len > 0 && !layout_ok(in))
		return &refusals[LAYOUT];
	return check_fields(in, out);
}
