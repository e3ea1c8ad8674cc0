/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two readers look at every text. The first builds a small tree with places (yaml_tree.c),
 * refuses what we do not want of YAML, and checks the tree against the schema: its
 * messages are for people. The second is libcyaml, which fills the structs; it is lenient where
 * a configuration must not be (any word is a true boolean, 010 is 8), but never sees such text.
 */
#include "mica/yaml.h"
#include "mica/buf.h"

#include <inttypes.h>
#include <stdio.h>

MICA_CLEANUP_STRUCT(mica_yaml_node, mica_yaml_node_free);

/* ---- tree against schema -------------------------------------------------------------------- */

/* Where in the document a check stands, linked from the inside out, for messages. */
struct place {
	const struct place *up;
	const char *key; /* NULL: entry `index` of a sequence */
	unsigned index;
};

struct checker {
	const char *name;
	struct mica_err *e;
};

static void put_path(struct mica_buf *b, const struct place *at)
{
	if (at == NULL)
		return;
	put_path(b, at->up);
	if (at->key)
		mica_buf_printf(b, "%s%.64s", b->len ? "." : "", at->key);
	else
		mica_buf_printf(b, "[%u]", at->index);
}

MICA_PRINTF(5, 6)
static mica_rc fail_schema(
	const struct checker *c, const struct place *at, int line, int column, const char *fmt, ...)
{
	char text[MICA_ERR_TEXT_MAX];
	MICA_AUTO_BUF path;
	va_list ap;

	mica_buf_init(&path, 2048);
	put_path(&path, at);
	va_start(ap, fmt);
	if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
		text[0] = '\0';
	va_end(ap);
	return mica_fail_at(c->e, MICA_INVALID, "yaml_schema", line, column,
		"%s%s%d:%d: %.200s%s%s", c->name ? c->name : "", c->name ? ":" : "", line, column,
		(const char *)path.p, path.len ? ": " : "", text);
}

static mica_rc check(const struct checker *c, const struct place *at,
	const struct mica_yaml_node *n, const cyaml_schema_value_t *s);

static const char *found(const struct mica_yaml_node *n)
{
	if (n->kind != MICA_YAML_SCALAR)
		return n->kind == MICA_YAML_MAPPING ? "a mapping" : "a list";
	if (n->plain && n->text[0] == '\0')
		return "nothing";
	return "a single value";
}

static mica_rc check_scalar_form(const struct checker *c, const struct place *at,
	const struct mica_yaml_node *n, const char *wanted)
{
	if (n->kind == MICA_YAML_SCALAR && !mica_yaml_is_null(n))
		return MICA_OK;
	return fail_schema(c, at, n->line, n->column, "expected %s, found %s", wanted, found(n));
}

static mica_rc check_number(const struct checker *c, const struct place *at,
	const struct mica_yaml_node *n, const cyaml_schema_value_t *s)
{
	unsigned bits = s->data_size >= 8 ? 64 : s->data_size * 8;
	bool is_signed = s->type == CYAML_INT;
	uint64_t max = (UINT64_MAX >> (64 - bits)) >> (is_signed ? 1 : 0), u;
	int64_t low = is_signed ? -(int64_t)max - 1 : 0, i;
	mica_rc rc = check_scalar_form(c, at, n, "a whole number");

	if (rc != MICA_OK)
		return rc;
	rc = is_signed ? mica_parse_i64(mica_slice_str(n->text), low, (int64_t)max, &i)
		       : mica_parse_u64(mica_slice_str(n->text), max, &u);
	if (rc == MICA_OK && n->plain)
		return MICA_OK;
	return fail_schema(c, at, n->line, n->column,
		"expected a whole number from %" PRId64 " to %" PRIu64 ", found \"%.40s\"%s", low,
		max, n->text, n->plain ? "" : " in quotes");
}

/* cyaml takes every word that it does not know for "true": so `flase` would switch things on. */
static mica_rc check_bool(const struct checker *c, const struct place *at,
	const struct mica_yaml_node *n, const cyaml_schema_value_t *s)
{
	mica_rc rc = check_scalar_form(c, at, n, "true or false");

	(void)s;
	if (rc != MICA_OK)
		return rc;
	if (n->plain && (strcmp(n->text, "true") == 0 || strcmp(n->text, "false") == 0))
		return MICA_OK;
	return fail_schema(c, at, n->line, n->column, "expected true or false, found \"%.40s\"%s",
		n->text, n->plain ? "" : " in quotes");
}

static mica_rc check_enum(const struct checker *c, const struct place *at,
	const struct mica_yaml_node *n, const cyaml_schema_value_t *s)
{
	MICA_AUTO_BUF names;

	mica_buf_init(&names, 1024);
	for (uint32_t i = 0; i < s->enumeration.count; i++) {
		if (n->kind == MICA_YAML_SCALAR &&
			strcmp(n->text, s->enumeration.strings[i].str) == 0)
			return MICA_OK;
		mica_buf_printf(&names, "%s%s", i ? ", " : "", s->enumeration.strings[i].str);
	}
	if (n->kind != MICA_YAML_SCALAR || mica_yaml_is_null(n))
		return fail_schema(c, at, n->line, n->column, "expected one of %s, found %s",
			(const char *)names.p, found(n));
	return fail_schema(c, at, n->line, n->column, "expected one of %s, found \"%.40s\"",
		(const char *)names.p, n->text);
}

static mica_rc check_flags(const struct checker *c, const struct place *at,
	const struct mica_yaml_node *n, const cyaml_schema_value_t *s)
{
	unsigned index = 0;
	mica_rc rc = MICA_OK;

	if (n->kind != MICA_YAML_SEQUENCE)
		return fail_schema(
			c, at, n->line, n->column, "expected a list, found %s", found(n));
	for (const struct mica_yaml_node *k = n->first; k && rc == MICA_OK; k = k->next) {
		const struct place here = {.up = at, .index = index++};

		rc = check_enum(c, &here, k, s);
	}
	return rc;
}

static mica_rc check_string(const struct checker *c, const struct place *at,
	const struct mica_yaml_node *n, const cyaml_schema_value_t *s)
{
	mica_rc rc = check_scalar_form(c, at, n, "a string");
	size_t len;

	if (rc != MICA_OK)
		return rc;
	len = strlen(n->text);
	if (len < s->string.min)
		return fail_schema(c, at, n->line, n->column,
			"expected at least %" PRIu32 " characters, found %zu", s->string.min, len);
	if (len > s->string.max)
		return fail_schema(c, at, n->line, n->column,
			"expected at most %" PRIu32 " characters, found %zu", s->string.max, len);
	return MICA_OK;
}

static const cyaml_schema_field_t *field(const cyaml_schema_value_t *s, const char *key)
{
	for (const cyaml_schema_field_t *f = s->mapping.fields; f->key; f++) {
		if (strcmp(f->key, key) == 0)
			return f;
	}
	return NULL;
}

static mica_rc fail_unknown(const struct checker *c, const struct place *at,
	const struct mica_yaml_node *k, const cyaml_schema_value_t *s)
{
	MICA_AUTO_BUF names;

	mica_buf_init(&names, 4096);
	for (const cyaml_schema_field_t *f = s->mapping.fields; f->key; f++)
		mica_buf_printf(&names, "%s%s", names.len ? ", " : "", f->key);
	return fail_schema(c, at, k->key_line, k->key_column,
		"unknown key \"%.64s\", expected one of %s", k->key, (const char *)names.p);
}

static mica_rc check_mapping(const struct checker *c, const struct place *at,
	const struct mica_yaml_node *n, const cyaml_schema_value_t *s)
{
	mica_rc rc = MICA_OK;

	if (n->kind != MICA_YAML_MAPPING)
		return fail_schema(
			c, at, n->line, n->column, "expected a mapping, found %s", found(n));
	for (const struct mica_yaml_node *k = n->first; k && rc == MICA_OK; k = k->next) {
		const struct place here = {.up = at, .key = k->key};
		const cyaml_schema_field_t *f = field(s, k->key);

		rc = f ? check(c, &here, k, &f->value) : fail_unknown(c, at, k, s);
	}
	for (const cyaml_schema_field_t *f = s->mapping.fields; f->key && rc == MICA_OK; f++) {
		if (!(f->value.flags & CYAML_FLAG_OPTIONAL) &&
			mica_yaml_member(n, f->key, strlen(f->key)) == NULL)
			rc = fail_schema(
				c, at, n->line, n->column, "the key \"%s\" is missing", f->key);
	}
	return rc;
}

static mica_rc check_sequence(const struct checker *c, const struct place *at,
	const struct mica_yaml_node *n, const cyaml_schema_value_t *s)
{
	mica_rc rc = MICA_OK;
	unsigned index = 0;

	if (n->kind != MICA_YAML_SEQUENCE)
		return fail_schema(
			c, at, n->line, n->column, "expected a list, found %s", found(n));
	if (n->count < s->sequence.min)
		return fail_schema(c, at, n->line, n->column,
			"expected at least %" PRIu32 " entries, found %u", s->sequence.min,
			n->count);
	if (n->count > s->sequence.max)
		return fail_schema(c, at, n->line, n->column,
			"expected at most %" PRIu32 " entries, found %u", s->sequence.max,
			n->count);
	for (const struct mica_yaml_node *k = n->first; k && rc == MICA_OK; k = k->next) {
		const struct place here = {.up = at, .index = index++};

		rc = check(c, &here, k, s->sequence.entry);
	}
	return rc;
}

/* What is not listed is left to cyaml alone: bit fields, floats, what is to be ignored. */
static mica_rc (*const checks[CYAML__TYPE_COUNT])(const struct checker *, const struct place *,
	const struct mica_yaml_node *, const cyaml_schema_value_t *) = {
	[CYAML_INT] = check_number,
	[CYAML_UINT] = check_number,
	[CYAML_BOOL] = check_bool,
	[CYAML_ENUM] = check_enum,
	[CYAML_FLAGS] = check_flags,
	[CYAML_STRING] = check_string,
	[CYAML_MAPPING] = check_mapping,
	[CYAML_SEQUENCE] = check_sequence,
	[CYAML_SEQUENCE_FIXED] = check_sequence,
};

static mica_rc check(const struct checker *c, const struct place *at,
	const struct mica_yaml_node *n, const cyaml_schema_value_t *s)
{
	const unsigned null_str = CYAML_FLAG_POINTER_NULL_STR, null = CYAML_FLAG_POINTER_NULL;

	if (mica_yaml_is_null(n) &&
		((s->flags & null_str) == null_str ||
			((s->flags & null) == null && n->text[0] == '\0')))
		return MICA_OK;
	return checks[s->type] ? checks[s->type](c, at, n, s) : MICA_OK;
}

/* ---- second reader: libcyaml ---------------------------------------------------------------- */

static void *cyaml_memory(void *ctx, void *p, size_t size)
{
	(void)ctx;
	if (size > 0)
		return mica_realloc(p, size, 1);
	mica_free(p);
	return NULL;
}

struct capture {
	char text[256];
};

/* The first message is what is wrong, the others are a backtrace. */
static void cyaml_message(cyaml_log_t level, void *ctx, const char *fmt, va_list ap)
	MICA_PRINTF(3, 0);
static void cyaml_message(cyaml_log_t level, void *ctx, const char *fmt, va_list ap)
{
	struct capture *c = ctx;

	if (level < CYAML_LOG_ERROR || c->text[0] != '\0')
		return;
	if (vsnprintf(c->text, sizeof(c->text), fmt, ap) < 0)
		c->text[0] = '\0';
	c->text[strcspn(c->text, "\n")] = '\0';
}

static cyaml_config_t cyaml_setup(struct capture *c)
{
	return (cyaml_config_t){
		.log_fn = cyaml_message,
		.log_ctx = c,
		.mem_fn = cyaml_memory,
		.log_level = CYAML_LOG_ERROR,
		.flags = CYAML_CFG_NO_ALIAS,
	};
}

/* What only cyaml knows how to refuse: a float or bit field, or a schema that is wrong itself. */
static mica_rc fail_unforeseen(
	const char *name, cyaml_err_t err, const struct capture *said, struct mica_err *e)
{
	char text[256];

	snprintf(text, sizeof(text), "%s: %s", name ? name : "YAML", cyaml_strerror(err));
	return mica_fail_fine(
		e, MICA_INVALID, "yaml_schema", text, "yaml_unforeseen", "%s", said->text);
}

mica_rc mica_yaml_load(struct mica_slice src, const char *name, const cyaml_schema_value_t *schema,
	void **out, struct mica_err *e)
{
	const struct checker c = {.name = name, .e = e};
	MICA_AUTO_STRUCT(mica_yaml_node) root = NULL;
	struct capture said = {{0}};
	const cyaml_config_t config = cyaml_setup(&said);
	cyaml_data_t *data = NULL;
	cyaml_err_t err;
	mica_rc rc;

	*out = NULL;
	rc = mica_yaml_read(src, name, NULL, &root, e);
	if (rc == MICA_OK)
		rc = check(&c, NULL, root, schema);
	if (rc != MICA_OK)
		return rc;
	err = cyaml_load_data(src.p, src.len, &config, schema, &data, NULL);
	if (err != CYAML_OK)
		return fail_unforeseen(name, err, &said, e);
	*out = data;
	return MICA_OK;
}

void mica_yaml_free(const cyaml_schema_value_t *schema, void *value)
{
	struct capture said = {{0}};
	const cyaml_config_t config = cyaml_setup(&said);

	if (value)
		(void)cyaml_free(&config, schema, value, 0);
}

/* ---- places of what loaded well -------------------------------------------------------------- */

static const struct mica_yaml_node *entry(const struct mica_yaml_node *sequence, uint64_t index)
{
	const struct mica_yaml_node *n = sequence->first;

	for (; n && index > 0; index--)
		n = n->next;
	return n;
}

/* One step of a path: "[3]" or "key"; the dot before a key is taken too. */
static const struct mica_yaml_node *step(const struct mica_yaml_node *from, const char **path)
{
	const char *p = *path;
	size_t len;
	uint64_t index;

	if (*p == '[') {
		len = strcspn(p, "]");
		if (p[len] != ']' || from->kind != MICA_YAML_SEQUENCE ||
			mica_parse_u64(mica_slice(p + 1, len - 1), UINT32_MAX, &index) != MICA_OK)
			return NULL;
		*path = p + len + 1;
		return entry(from, index);
	}
	p += *p == '.';
	len = strcspn(p, ".[");
	*path = p + len;
	return from->kind == MICA_YAML_MAPPING && len > 0 ? mica_yaml_member(from, p, len) : NULL;
}

struct mica_yaml_doc {
	struct mica_yaml_node *root;
	char *name; /* NULL = none */
};
MICA_CLEANUP_STRUCT(mica_yaml_doc, mica_yaml_doc_free);

mica_rc mica_yaml_doc_new(
	struct mica_slice src, const char *name, struct mica_yaml_doc **out, struct mica_err *e)
{
	struct mica_yaml_node *root = NULL;
	mica_rc rc = mica_yaml_read(src, name, NULL, &root, e);

	*out = NULL;
	if (rc != MICA_OK)
		return rc;
	*out = MICA_NEW(struct mica_yaml_doc);
	(*out)->root = root;
	(*out)->name = mica_strdup(name);
	return MICA_OK;
}

void mica_yaml_doc_free(struct mica_yaml_doc *d)
{
	if (d == NULL)
		return;
	mica_yaml_node_free(d->root);
	mica_free(d->name);
	mica_free(d);
}

static const struct mica_yaml_node *find(const struct mica_yaml_doc *d, const char *path)
{
	const struct mica_yaml_node *n = d->root;

	while (n && *path)
		n = step(n, &path);
	return n;
}

bool mica_yaml_doc_locate(const struct mica_yaml_doc *d, const char *path, int *line, int *column)
{
	const struct mica_yaml_node *n = find(d, path);

	*line = n ? n->line : 0;
	*column = n ? n->column : 0;
	return n != NULL;
}

bool mica_yaml_locate(struct mica_slice src, const char *path, int *line, int *column)
{
	MICA_AUTO_STRUCT(mica_yaml_doc) d = NULL;

	*line = *column = 0;
	return mica_yaml_doc_new(src, NULL, &d, NULL) == MICA_OK &&
		mica_yaml_doc_locate(d, path, line, column);
}

mica_rc mica_yaml_doc_pairs(const struct mica_yaml_doc *d, const char *path,
	struct mica_yaml_pair *out, unsigned *n, struct mica_err *e)
{
	const struct checker c = {.name = d->name, .e = e};
	const struct place at = {.key = path};
	const struct mica_yaml_node *mapping = find(d, path);
	unsigned room = *n;

	*n = 0;
	if (mapping == NULL || mica_yaml_is_null(mapping))
		return MICA_OK;
	if (mapping->kind != MICA_YAML_MAPPING)
		return fail_schema(&c, &at, mapping->line, mapping->column,
			"expected a mapping, found %s", found(mapping));
	if (mapping->count > room)
		return fail_schema(&c, &at, mapping->line, mapping->column,
			"expected at most %u entries, found %u", room, mapping->count);
	for (const struct mica_yaml_node *k = mapping->first; k; k = k->next) {
		const struct place here = {.up = &at, .key = k->key};
		mica_rc rc = check_scalar_form(&c, &here, k, "a string");

		if (rc != MICA_OK)
			return rc;
		out[(*n)++] = (struct mica_yaml_pair){.key = k->key,
			.value = k->text,
			.line = k->key_line,
			.column = k->key_column};
	}
	return MICA_OK;
}
