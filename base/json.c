/* SPDX-License-Identifier: Apache-2.0 */
#include "mica/json.h"
#include "mica/buf.h"

#include "place.h"

#include <inttypes.h>

#define DEFAULT_BYTES 65536
#define DEFAULT_DEPTH 16

/* ---- parsing ------------------------------------------------------------------------------- */

static mica_rc syntax_at(struct mica_slice src, size_t at, struct mica_err *e, const char *what)
{
	int line, column;

	mica_place(src, at, &line, &column);
	return mica_fail_at(e, MICA_INVALID, "json_syntax", line, column, "line %d column %d: %s",
		line, column, what);
}

/* jansson recurses as deep as it is told to by its input, up to 2048 levels; a stack is spent
 * long before that is of use. So brackets outside of strings are counted first. */
static mica_rc check_depth(struct mica_slice src, unsigned limit, struct mica_err *e)
{
	unsigned depth = 0;
	bool quoted = false;

	for (size_t i = 0; i < src.len; i++) {
		uint8_t c = src.p[i];

		if (quoted) {
			if (c == '\\')
				i++;
			else if (c == '"')
				quoted = false;
			continue;
		}
		if (c == '"')
			quoted = true;
		else if (c == '[' || c == '{')
			depth++;
		else if ((c == ']' || c == '}') && depth > 0)
			depth--;
		if (depth > limit)
			return syntax_at(src, i, e, "nested deeper than is allowed");
	}
	return MICA_OK;
}

/* jansson's own texts quote the input, which may be a secret: ours say what was expected. */
static const char *syntax_text(enum json_error_code code)
{
	static const struct {
		enum json_error_code code;
		const char *text;
	} texts[] = {
		{json_error_premature_end_of_input, "the text ends too early"},
		{json_error_end_of_input_expected, "expected the end of the text after the value"},
		{json_error_null_character, "a string holds a NUL character"},
		{json_error_null_byte_in_key, "a member name holds a NUL character"},
		{json_error_duplicate_key, "a member name appears twice in one object"},
		{json_error_numeric_overflow, "a number is out of range"},
		{json_error_stack_overflow, "nested deeper than is allowed"},
		{json_error_invalid_utf8, "not well-formed UTF-8"},
	};

	for (size_t i = 0; i < MICA_ARRAY_LEN(texts); i++) {
		if (texts[i].code == code)
			return texts[i].text;
	}
	return "not valid JSON";
}

static mica_rc check_text(
	struct mica_slice src, const struct mica_json_limits *lim, struct mica_err *e)
{
	size_t bytes = lim && lim->bytes ? lim->bytes : DEFAULT_BYTES;
	unsigned depth = lim && lim->depth ? lim->depth : DEFAULT_DEPTH;
	const uint8_t *nul;

	if (src.len > bytes)
		return mica_fail(e, MICA_LIMIT, "json_too_long",
			"JSON text of %zu bytes, expected at most %zu", src.len, bytes);
	if (mica_slice_has_prefix(src, MICA_LIT("\xef\xbb\xbf")))
		return syntax_at(src, 0, e, "begins with a byte order mark");
	nul = src.len ? memchr(src.p, '\0', src.len) : NULL;
	if (nul)
		return syntax_at(src, (size_t)(nul - src.p), e, "the text holds a NUL byte");
	return check_depth(src, depth, e);
}

mica_rc mica_json_parse(struct mica_slice src, const struct mica_json_limits *lim,
	struct mica_json *out, struct mica_err *e)
{
	bool unset = e && e->rc == MICA_OK;
	json_error_t je;
	mica_rc rc;
	size_t at;

	*out = (struct mica_json){.src = src};
	rc = check_text(src, lim, e);
	if (rc != MICA_OK)
		return rc;
	out->root = json_loadb(src.len ? (const char *)src.p : "", src.len,
		JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &je);
	if (out->root)
		return MICA_OK;
	if (json_error_code(&je) == json_error_out_of_memory)
		return mica_fail(e, MICA_UNAVAILABLE, "out_of_memory", "out of memory");
	/* position counts what was read, the culprit being the last of it */
	at = je.position > 0 ? (size_t)je.position - 1 : 0;
	rc = syntax_at(src, at, e, syntax_text(json_error_code(&je)));
	if (unset && json_error_code(&je) == json_error_duplicate_key)
		e->fine = "json_duplicate_member";
	return rc;
}

void mica_json_clear(struct mica_json *d)
{
	json_decref(d->root);
	*d = (struct mica_json){.root = NULL};
}

struct mica_slice mica_json_str(const json_t *string)
{
	return mica_slice(json_string_value(string), json_string_length(string));
}

/* ---- placing: the text is walked once more, beside the tree, only when something is wrong ---- */

struct finder {
	struct mica_slice src;
	size_t at;
	/* what is looked for: a value itself, or (with a key) the member of an object */
	const json_t *value, *object;
	const char *key;
	bool want_key;
	size_t found;
	unsigned hits;
};

static uint8_t peek(const struct finder *f)
{
	return f->at < f->src.len ? f->src.p[f->at] : 0;
}

/* White space, and the comma or colon before the next thing: the text is known to be good. */
static void skip_filler(struct finder *f)
{
	while (f->at < f->src.len && peek(f) != 0 && strchr(" \t\r\n,:", peek(f)) != NULL)
		f->at++;
}

static void skip_string(struct finder *f)
{
	for (f->at++; f->at < f->src.len && peek(f) != '"'; f->at++)
		f->at += peek(f) == '\\';
	f->at++;
}

static void skip_scalar(struct finder *f)
{
	if (peek(f) == '"') {
		skip_string(f);
		return;
	}
	while (f->at < f->src.len && strchr(" \t\r\n,:]}", peek(f)) == NULL)
		f->at++;
}

static void hit(struct finder *f, size_t at)
{
	if (f->hits++ == 0)
		f->found = at;
}

static void walk(struct finder *f, const json_t *node);

static void walk_object(struct finder *f, const json_t *node)
{
	const char *key;
	json_t *value;

	/* jansson keeps members in the order of the text */
	json_object_foreach ((json_t *)node, key, value) {
		bool wanted = node == f->object && strcmp(key, f->key) == 0;

		skip_filler(f);
		if (wanted && f->want_key)
			hit(f, f->at);
		skip_string(f);
		skip_filler(f);
		if (wanted && !f->want_key)
			hit(f, f->at);
		walk(f, value);
	}
}

/* As deep as check_depth allowed. */
static void walk(struct finder *f, const json_t *node)
{
	skip_filler(f);
	if (node == f->value)
		hit(f, f->at);
	if (!json_is_object(node) && !json_is_array(node)) {
		skip_scalar(f);
		return;
	}
	f->at++;
	if (json_is_object(node))
		walk_object(f, node);
	for (size_t i = 0; i < json_array_size(node); i++)
		walk(f, json_array_get(node, i));
	skip_filler(f);
	f->at++;
}

/* true, false and null are one value each in jansson, so one that appears twice has no place. */
static void find(const struct mica_json *d, struct finder *f, int *line, int *column)
{
	*line = *column = 0;
	f->src = d->src;
	if (d->root && d->src.len)
		walk(f, d->root);
	if (f->hits == 1)
		mica_place(d->src, f->found, line, column);
}

mica_rc mica_json_fail(const struct mica_json *d, const json_t *value, struct mica_err *e,
	const char *reason, const char *fmt, ...)
{
	struct finder f = {.value = value};
	char text[MICA_ERR_TEXT_MAX];
	int line, column;
	va_list ap;

	find(d, &f, &line, &column);
	va_start(ap, fmt);
	if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
		text[0] = '\0';
	va_end(ap);
	return mica_fail_at(e, MICA_INVALID, reason, line, column, "%s", text);
}

/* ---- reading by table ---------------------------------------------------------------------- */

struct reader {
	const struct mica_json *d;
	const json_t *obj;
	const char *path;
	struct mica_err *e;
};

static const char *const expected[] = {
	[MICA_JSON_STRING] = "a string",
	[MICA_JSON_INT] = "an integer",
	[MICA_JSON_BOOL] = "true or false",
	[MICA_JSON_OBJECT] = "an object",
	[MICA_JSON_ARRAY] = "an array",
	[MICA_JSON_ANY] = "a value",
};

static const char *type_of(const json_t *v)
{
	static const char *const names[] = {
		[JSON_OBJECT] = "an object",
		[JSON_ARRAY] = "an array",
		[JSON_STRING] = "a string",
		[JSON_INTEGER] = "an integer",
		[JSON_REAL] = "a fraction",
		[JSON_TRUE] = "true",
		[JSON_FALSE] = "false",
		[JSON_NULL] = "null",
	};

	return v ? names[json_typeof(v)] : "nothing";
}

/* An error about the member `key` of the object, or with key NULL about the object itself. */
MICA_PRINTF(5, 6)
static mica_rc fail_member(const struct reader *r, const char *key, bool at_key, const char *reason,
	const char *fmt, ...)
{
	struct finder f = {.want_key = at_key};
	char text[MICA_ERR_TEXT_MAX / 2];
	bool dot = r->path[0] && key;
	int line, column;
	va_list ap;

	if (key) {
		f.object = r->obj;
		f.key = key;
	} else {
		f.value = r->obj;
	}
	find(r->d, &f, &line, &column);
	va_start(ap, fmt);
	if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
		text[0] = '\0';
	va_end(ap);
	return mica_fail_at(r->e, MICA_INVALID, reason, line, column, "%.128s%s%.64s%s%s", r->path,
		dot ? "." : "", key ? key : "", r->path[0] || key ? ": " : "", text);
}

static bool is_of(const json_t *v, enum mica_json_type type)
{
	switch (type) {
	case MICA_JSON_STRING: return json_is_string(v);
	case MICA_JSON_INT: return json_is_integer(v);
	case MICA_JSON_BOOL: return json_is_boolean(v);
	case MICA_JSON_OBJECT: return json_is_object(v);
	case MICA_JSON_ARRAY: return json_is_array(v);
	case MICA_JSON_ANY: return true;
	}
	return false;
}

static mica_rc check_range(
	const struct reader *r, const struct mica_json_member *m, int64_t n, const char *unit)
{
	if (n >= m->min && (m->max == 0 || n <= m->max))
		return MICA_OK;
	if (m->max == 0)
		return fail_member(r, m->name, false, "json_range",
			"expected at least %" PRId64 "%s, found %" PRId64, m->min, unit, n);
	return fail_member(r, m->name, false, "json_range",
		"expected %" PRId64 " to %" PRId64 "%s, found %" PRId64, m->min, m->max, unit, n);
}

static mica_rc store(const struct reader *r, const struct mica_json_member *m, json_t *v)
{
	mica_rc rc = MICA_OK;

	switch (m->type) {
	case MICA_JSON_STRING:
		rc = check_range(r, m, (int64_t)json_string_length(v), " bytes");
		*(struct mica_slice *)m->out = mica_json_str(v);
		return rc;
	case MICA_JSON_INT:
		rc = check_range(r, m, json_integer_value(v), "");
		*(int64_t *)m->out = json_integer_value(v);
		return rc;
	case MICA_JSON_BOOL: *(bool *)m->out = json_is_true(v); return MICA_OK;
	case MICA_JSON_ARRAY:
		rc = check_range(r, m, (int64_t)json_array_size(v), " entries");
		*(json_t **)m->out = v;
		return rc;
	case MICA_JSON_OBJECT:
	case MICA_JSON_ANY: *(json_t **)m->out = v; return MICA_OK;
	}
	return MICA_OK;
}

static mica_rc read_member(const struct reader *r, const struct mica_json_member *m)
{
	json_t *v = json_object_get(r->obj, m->name);

	if (m->present)
		*m->present = v != NULL;
	if (v == NULL && m->required)
		return fail_member(r, NULL, false, "json_missing_member",
			"the member \"%s\" is missing, expected %s", m->name, expected[m->type]);
	if (v == NULL)
		return MICA_OK;
	if (!is_of(v, m->type))
		return fail_member(r, m->name, false, "json_type", "expected %s, found %s",
			expected[m->type], type_of(v));
	return m->out ? store(r, m, v) : MICA_OK;
}

static bool is_known(const char *key, const struct mica_json_member *members, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(members[i].name, key) == 0)
			return true;
	}
	return false;
}

mica_rc mica_json_read(const struct mica_json *d, const json_t *obj, const char *path,
	const struct mica_json_member *members, size_t n, bool open, struct mica_err *e)
{
	const struct reader r = {.d = d, .obj = obj, .path = path, .e = e};
	const char *key;
	json_t *value;
	mica_rc rc = MICA_OK;

	if (!json_is_object(obj))
		return fail_member(
			&r, NULL, false, "json_type", "expected an object, found %s", type_of(obj));
	json_object_foreach ((json_t *)obj, key, value) {
		if (!open && !is_known(key, members, n))
			return fail_member(&r, key, true, "json_unknown_member",
				"unknown member, expected one that is documented");
	}
	for (size_t i = 0; i < n && rc == MICA_OK; i++)
		rc = read_member(&r, &members[i]);
	return rc;
}
