/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes of YAML by the shape that is expected; whatever is refused says where and what. */
#include "impl.h"

#include <stdio.h>

static void put_path(struct mica_buf *b, const struct at *at)
{
	if (at == NULL)
		return;
	put_path(b, at->up);
	if (at->key)
		mica_buf_printf(b, "%s%.64s", b->len ? "." : "", at->key);
	else
		mica_buf_printf(b, "[%u]", at->index);
}

/* "NAME:LINE:COLUMN: PATH: text" */
MICA_PRINTF(6, 0)
static void put_message(const struct reading *r, const struct at *at, int line, int column,
	struct mica_buf *out, const char *fmt, va_list ap)
{
	char text[MICA_ERR_TEXT_MAX];
	MICA_AUTO_BUF path;

	mica_buf_init(&path, 2048);
	put_path(&path, at);
	if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
		text[0] = '\0';
	mica_buf_printf(out, "%s%s%d:%d: %.200s%s%s", r->name ? r->name : "", r->name ? ":" : "",
		line, column, path.len ? (const char *)path.p : "", path.len ? ": " : "", text);
}

MICA_PRINTF(6, 0)
static mica_rc fail_v(const struct reading *r, const struct at *at, int line, int column,
	const char *reason, const char *fmt, va_list ap)
{
	MICA_AUTO_BUF text;

	mica_buf_init(&text, 4096);
	put_message(r, at, line, column, &text, fmt, ap);
	return mica_fail_at(r->e, MICA_INVALID, reason, line, column, "%s", (const char *)text.p);
}

mica_rc read_fail(const struct reading *r, const struct at *at, const node_t *n, const char *reason,
	const char *fmt, ...)
{
	va_list ap;
	mica_rc rc;

	va_start(ap, fmt);
	rc = fail_v(r, at, n->line, n->column, reason, fmt, ap);
	va_end(ap);
	return rc;
}

mica_rc read_fail_key(const struct reading *r, const struct at *at, const node_t *n,
	const char *reason, const char *fmt, ...)
{
	va_list ap;
	mica_rc rc;

	va_start(ap, fmt);
	rc = fail_v(r, at, n->key_line, n->key_column, reason, fmt, ap);
	va_end(ap);
	return rc;
}

void read_warn(struct reading *r, const struct at *at, int line, int column, const char *reason,
	const char *fmt, ...)
{
	unsigned n = r->out->n_warnings++;
	struct mica_policy_warning *w = &r->out->warnings[n < MICA_POLICY_WARNINGS_MAX ? n : 0];
	struct mica_err clean = MICA_ERR_INIT;
	MICA_AUTO_BUF text;
	va_list ap;

	mica_buf_init(&text, 4096);
	if (n >= MICA_POLICY_WARNINGS_MAX)
		return;
	va_start(ap, fmt);
	put_message(r, at, line, column, &text, fmt, ap);
	va_end(ap);
	/* what is no text becomes '?', as in an error */
	(void)mica_fail(&clean, MICA_INVALID, reason, "%.*s", (int)sizeof(w->text) - 1,
		(const char *)text.p);
	*w = (struct mica_policy_warning){.reason = reason, .line = line, .column = column};
	snprintf(w->text, sizeof(w->text), "%.*s", (int)sizeof(w->text) - 1, clean.text);
}

/* ---- scalars --------------------------------------------------------------------------------- */

static bool one_of(const char *text, const char *const *words)
{
	for (; *words; words++) {
		if (strcmp(text, *words) == 0)
			return true;
	}
	return false;
}

/* What a YAML 1.1 reader makes a number of, such as that of kubectl: 10, 0x1f, 1_000, 1e3, .5 */
static bool looks_numeric(const char *s)
{
	bool digits = false;
	const char *p = s + (*s == '-' || *s == '+');

	if (p[0] == '0' && (p[1] == 'x' || p[1] == 'o' || p[1] == 'b'))
		return p[2] != '\0' && strspn(p + 2, "0123456789abcdefABCDEF_") == strlen(p + 2);
	for (; (*p >= '0' && *p <= '9') || (*p == '_' && digits); p++)
		digits = true;
	if (*p == '.') {
		for (p++; *p >= '0' && *p <= '9'; p++)
			digits = true;
	}
	if (digits && (*p == 'e' || *p == 'E')) {
		p += 1 + (p[1] == '-' || p[1] == '+');
		digits = *p >= '0' && *p <= '9';
		p += strspn(p, "0123456789");
	}
	return digits && *p == '\0';
}

/* What a plain word is when it is not a string; NULL: it is one. */
static const char *other_type(const node_t *n)
{
	static const char *const truths[] = {"true", "True", "TRUE", "false", "False", "FALSE",
		"yes", "Yes", "YES", "no", "No", "NO", "on", "On", "ON", "off", "Off", "OFF", NULL};
	static const char *const floats[] = {".inf", ".Inf", ".INF", "-.inf", "-.Inf", "-.INF",
		"+.inf", "+.Inf", "+.INF", ".nan", ".NaN", ".NAN", NULL};

	if (n->kind != MICA_YAML_SCALAR)
		return n->kind == MICA_YAML_MAPPING ? "an object" : "a list";
	if (!n->plain)
		return NULL;
	if (mica_yaml_is_null(n))
		return "nothing";
	if (one_of(n->text, truths))
		return "a truth value, which needs quotes to be a string";
	if (one_of(n->text, floats) || looks_numeric(n->text))
		return "a number, which needs quotes to be a string";
	return NULL;
}

mica_rc read_string(const struct reading *r, const struct at *at, const node_t *n, size_t max,
	struct mica_slice *out)
{
	const char *other = other_type(n);

	if (other)
		return read_fail(r, at, n, "policy_type", "expected a string, found %s", other);
	*out = mica_slice_str(n->text);
	if (out->len > max)
		return read_fail(r, at, n, "policy_limit",
			"a string of %zu bytes, expected at most %zu", out->len, max);
	for (size_t i = 0; i < out->len; i++) {
		if (out->p[i] < 0x20 || out->p[i] == 0x7f)
			return read_fail(
				r, at, n, "policy_value", "a control character in a string");
	}
	return MICA_OK;
}

mica_rc read_choice(const struct reading *r, const struct at *at, const node_t *n,
	const char *const *names, unsigned count, unsigned *out)
{
	struct mica_slice text = MICA_SLICE_NULL;
	MICA_AUTO_BUF all;
	mica_rc rc;

	mica_buf_init(&all, 1024);
	rc = read_string(r, at, n, 64, &text);
	if (rc != MICA_OK)
		return rc;
	for (unsigned i = 0; i < count; i++) {
		*out = i;
		if (mica_slice_eq_str(text, names[i]))
			return MICA_OK;
		mica_buf_printf(&all, "%s%s", i ? ", " : "", names[i]);
	}
	return read_fail(r, at, n, "policy_value", "expected one of %s, found \"%s\"",
		(const char *)all.p, n->text);
}

/* ---- mappings and lists -----------------------------------------------------------------------
 */

static mica_rc read_container(const struct reading *r, const struct at *at, const node_t *n,
	enum mica_yaml_kind kind, unsigned max)
{
	const char *wanted = kind == MICA_YAML_MAPPING ? "an object" : "a list", *other;

	if (n->kind != kind) {
		other = other_type(n);
		return read_fail(r, at, n, "policy_type", "expected %s, found %s", wanted,
			other ? other : "a string");
	}
	if (max && n->count == 0)
		return read_fail(r, at, n, "policy_empty_list",
			"there is nothing in it: leave it out, or say what is meant");
	if (max && n->count > max)
		return read_fail(
			r, at, n, "policy_limit", "%u entries, expected at most %u", n->count, max);
	return MICA_OK;
}

mica_rc read_mapping(const struct reading *r, const struct at *at, const node_t *n, unsigned max)
{
	return read_container(r, at, n, MICA_YAML_MAPPING, max);
}

mica_rc read_list(const struct reading *r, const struct at *at, const node_t *n, unsigned max)
{
	return read_container(r, at, n, MICA_YAML_SEQUENCE, max);
}

static const struct read_field *field_of(
	const struct read_field *fields, size_t count, const char *key)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(fields[i].name, key) == 0)
			return &fields[i];
	}
	return NULL;
}

static mica_rc fail_unknown(const struct reading *r, const struct at *at, const node_t *n,
	const struct read_field *fields, size_t count)
{
	MICA_AUTO_BUF names;

	mica_buf_init(&names, 1024);
	for (size_t i = 0; i < count; i++)
		mica_buf_printf(&names, "%s%s", i ? ", " : "", fields[i].name);
	return read_fail_key(r, at, n, "policy_unknown_field",
		"unknown field \"%.64s\", expected one of %.300s", n->key,
		names.p ? (const char *)names.p : "");
}

mica_rc read_fields(struct reading *r, const struct at *at, const node_t *n,
	const struct read_field *fields, size_t count, void *to)
{
	mica_rc rc = read_mapping(r, at, n, 0);

	for (const node_t *k = n->first; rc == MICA_OK && k; k = k->next) {
		const struct at here = {.up = at, .key = k->key};
		const struct read_field *f = field_of(fields, count, k->key);

		if (f == NULL)
			rc = fail_unknown(r, at, k, fields, count);
		else if (f->read)
			rc = f->read(r, &here, k, to);
	}
	for (size_t i = 0; rc == MICA_OK && i < count; i++) {
		if (fields[i].required &&
			mica_yaml_member(n, fields[i].name, strlen(fields[i].name)) == NULL)
			rc = read_fail(r, at, n, "policy_missing_field",
				"the field \"%s\" is missing", fields[i].name);
	}
	return rc;
}
