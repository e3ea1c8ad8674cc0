/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two readers look at every text. The first, over libyaml's events, builds a small tree with
 * places, refuses what we do not want of YAML, and checks the tree against the schema: its
 * messages are for people. The second is libcyaml, which fills the structs; it is lenient where
 * a configuration must not be (any word is a true boolean, 010 is 8), but never sees such text.
 */
#include "mica/yaml.h"
#include "mica/buf.h"

#include <inttypes.h>
#include <stdio.h>
#include <yaml.h>

#define TEXT_MAX    (256 * 1024)
#define DEPTH_MAX   16
#define MEMBERS_MAX 1024

enum kind { SCALAR, MAPPING, SEQUENCE };

struct node {
	enum kind kind;
	bool plain; /* a scalar without quotes */
	int line, column; /* of the value */
	int key_line, key_column; /* of the key, for a member of a mapping */
	char *key; /* NULL for an entry of a sequence */
	char *text; /* of a scalar */
	struct node *first, *last, *next;
	unsigned count;
};

static void node_free(struct node *n)
{
	while (n) {
		struct node *next = n->next;

		node_free(n->first); /* at most DEPTH_MAX deep */
		mica_free(n->key);
		mica_free(n->text);
		mica_free(n);
		n = next;
	}
}
MICA_CLEANUP_STRUCT(node, node_free);

static void event_free(yaml_event_t *ev)
{
	yaml_event_delete(ev);
}
#define AUTO_EVENT __attribute__((cleanup(event_free))) yaml_event_t

/* ---- first reader: events -> tree ----------------------------------------------------------- */

struct reader {
	yaml_parser_t parser;
	const char *name;
	struct mica_err *e;
};

#define AT(mark) (int)(mark).line + 1, (int)(mark).column + 1

MICA_PRINTF(5, 6)
static mica_rc fail_at(
	const struct reader *r, const char *reason, int line, int column, const char *fmt, ...)
{
	char text[MICA_ERR_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
		text[0] = '\0';
	va_end(ap);
	return mica_fail_at(r->e, MICA_INVALID, reason, line, column, "%s%s%d:%d: %s",
		r->name ? r->name : "", r->name ? ":" : "", line, column, text);
}

static mica_rc next_event(struct reader *r, yaml_event_t *ev)
{
	const yaml_parser_t *p = &r->parser;
	const char *problem;

	if (yaml_parser_parse(&r->parser, ev))
		return MICA_OK;
	/* libyaml's texts are constants: they never quote the input */
	problem = p->problem ? p->problem : "not valid YAML";
	if (p->error == YAML_MEMORY_ERROR)
		return mica_fail(r->e, MICA_UNAVAILABLE, "out_of_memory", "out of memory");
	return fail_at(r, "yaml_syntax", AT(p->problem_mark), "%s%s%s", problem,
		p->context ? " " : "", p->context ? p->context : "");
}

static mica_rc refuse_extras(
	struct reader *r, const yaml_event_t *ev, const yaml_char_t *anchor, const yaml_char_t *tag)
{
	if (anchor)
		return fail_at(r, "yaml_syntax", AT(ev->start_mark),
			"anchors are not accepted, write the value out");
	if (tag)
		return fail_at(r, "yaml_syntax", AT(ev->start_mark), "tags are not accepted");
	return MICA_OK;
}

static mica_rc check_event(struct reader *r, const yaml_event_t *ev)
{
	switch (ev->type) {
	case YAML_ALIAS_EVENT:
		return fail_at(r, "yaml_syntax", AT(ev->start_mark),
			"aliases are not accepted, write the value out");
	case YAML_SCALAR_EVENT:
		if (memchr(ev->data.scalar.value, '\0', ev->data.scalar.length))
			return fail_at(r, "yaml_syntax", AT(ev->start_mark),
				"a value holds a NUL character");
		return refuse_extras(r, ev, ev->data.scalar.anchor, ev->data.scalar.tag);
	case YAML_SEQUENCE_START_EVENT:
		return refuse_extras(
			r, ev, ev->data.sequence_start.anchor, ev->data.sequence_start.tag);
	case YAML_MAPPING_START_EVENT:
		return refuse_extras(
			r, ev, ev->data.mapping_start.anchor, ev->data.mapping_start.tag);
	default: return MICA_OK;
	}
}

static mica_rc read_node(
	struct reader *r, const yaml_event_t *ev, unsigned depth, struct node **out);

static void append(struct node *parent, struct node *child)
{
	if (parent->last)
		parent->last->next = child;
	else
		parent->first = child;
	parent->last = child;
	parent->count++;
}

static const struct node *member(const struct node *mapping, const char *key, size_t len)
{
	for (const struct node *n = mapping->first; n; n = n->next) {
		if (strlen(n->key) == len && memcmp(n->key, key, len) == 0)
			return n;
	}
	return NULL;
}

static mica_rc read_key(struct reader *r, const struct node *mapping, const yaml_event_t *ev)
{
	const struct node *other;
	const char *key;

	if (ev->type != YAML_SCALAR_EVENT)
		return fail_at(r, "yaml_syntax", AT(ev->start_mark), "expected a plain key");
	key = (const char *)ev->data.scalar.value;
	if (mapping->count >= MEMBERS_MAX)
		return fail_at(r, "yaml_syntax", AT(ev->start_mark),
			"more than %d keys in one mapping", MEMBERS_MAX);
	other = member(mapping, key, ev->data.scalar.length);
	if (other)
		return fail_at(r, "yaml_syntax", AT(ev->start_mark),
			"the key \"%.64s\" appears twice, first in line %d", key, other->key_line);
	return MICA_OK;
}

/* One key and its value; *end when there was none. */
static mica_rc read_member(struct reader *r, struct node *mapping, unsigned depth, bool *end)
{
	AUTO_EVENT key = {0}, value = {0};
	MICA_AUTO_STRUCT(node) child = NULL;
	mica_rc rc = next_event(r, &key);

	if (rc == MICA_OK)
		rc = check_event(r, &key);
	*end = key.type == YAML_MAPPING_END_EVENT;
	if (rc != MICA_OK || *end)
		return rc;
	rc = read_key(r, mapping, &key);
	if (rc == MICA_OK)
		rc = next_event(r, &value);
	if (rc == MICA_OK)
		rc = read_node(r, &value, depth, &child);
	if (rc != MICA_OK)
		return rc;
	child->key = mica_strdup((const char *)key.data.scalar.value);
	child->key_line = (int)key.start_mark.line + 1;
	child->key_column = (int)key.start_mark.column + 1;
	append(mapping, MICA_STEAL(child));
	return MICA_OK;
}

static mica_rc read_entry(struct reader *r, struct node *sequence, unsigned depth, bool *end)
{
	AUTO_EVENT ev = {0};
	struct node *child = NULL;
	mica_rc rc = next_event(r, &ev);

	*end = ev.type == YAML_SEQUENCE_END_EVENT;
	if (rc != MICA_OK || *end)
		return rc;
	rc = read_node(r, &ev, depth, &child);
	if (rc == MICA_OK)
		append(sequence, child);
	return rc;
}

static mica_rc read_children(struct reader *r, struct node *parent, unsigned depth)
{
	bool end = false;
	mica_rc rc = MICA_OK;

	while (rc == MICA_OK && !end) {
		rc = parent->kind == MAPPING ? read_member(r, parent, depth, &end)
					     : read_entry(r, parent, depth, &end);
	}
	return rc;
}

static mica_rc read_node(
	struct reader *r, const yaml_event_t *ev, unsigned depth, struct node **out)
{
	MICA_AUTO_STRUCT(node) n = MICA_NEW(struct node);
	mica_rc rc = check_event(r, ev);

	if (rc != MICA_OK)
		return rc;
	n->line = (int)ev->start_mark.line + 1;
	n->column = (int)ev->start_mark.column + 1;
	if (ev->type == YAML_SCALAR_EVENT) {
		n->plain = ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
		n->text = mica_strdup((const char *)ev->data.scalar.value);
	} else {
		if (depth >= DEPTH_MAX)
			return fail_at(r, "yaml_syntax", n->line, n->column,
				"nested deeper than %d levels", DEPTH_MAX);
		n->kind = ev->type == YAML_MAPPING_START_EVENT ? MAPPING : SEQUENCE;
		rc = read_children(r, n, depth + 1);
	}
	if (rc == MICA_OK)
		*out = MICA_STEAL(n);
	return rc;
}

/* The next event must be of `type`. */
static mica_rc expect(struct reader *r, yaml_event_type_t type, const char *otherwise)
{
	AUTO_EVENT ev = {0};
	mica_rc rc = next_event(r, &ev);

	if (rc == MICA_OK && ev.type != type)
		rc = fail_at(r, "yaml_syntax", AT(ev.start_mark), "%s", otherwise);
	if (rc == MICA_OK && ev.type == YAML_DOCUMENT_START_EVENT &&
		ev.data.document_start.tag_directives.start !=
			ev.data.document_start.tag_directives.end)
		rc = fail_at(r, "yaml_syntax", AT(ev.start_mark), "directives are not accepted");
	return rc;
}

static mica_rc read_document(struct reader *r, struct node **out)
{
	AUTO_EVENT ev = {0};
	MICA_AUTO_STRUCT(node) root = NULL;
	mica_rc rc = expect(r, YAML_STREAM_START_EVENT, "expected YAML");

	if (rc == MICA_OK)
		rc = expect(r, YAML_DOCUMENT_START_EVENT, "the text is empty, expected a mapping");
	if (rc == MICA_OK)
		rc = next_event(r, &ev);
	if (rc == MICA_OK)
		rc = read_node(r, &ev, 0, &root);
	if (rc == MICA_OK)
		rc = expect(r, YAML_DOCUMENT_END_EVENT, "expected the end of the document");
	if (rc == MICA_OK)
		rc = expect(r, YAML_STREAM_END_EVENT, "a second document is not accepted");
	if (rc == MICA_OK)
		*out = MICA_STEAL(root);
	return rc;
}

static mica_rc read_tree(
	struct mica_slice src, const char *name, struct node **out, struct mica_err *e)
{
	struct reader r = {.name = name, .e = e};
	mica_rc rc;

	if (src.len > TEXT_MAX)
		return mica_fail(e, MICA_LIMIT, "yaml_too_long",
			"%s: %zu bytes, expected at most %d", name ? name : "YAML", src.len,
			TEXT_MAX);
	if (!mica_slice_is_utf8(src))
		return mica_fail(e, MICA_INVALID, "yaml_syntax", "%s: not well-formed UTF-8",
			name ? name : "YAML");
	if (!yaml_parser_initialize(&r.parser))
		return mica_fail(e, MICA_UNAVAILABLE, "out_of_memory", "out of memory");
	yaml_parser_set_input_string(&r.parser, src.len ? src.p : (const uint8_t *)"", src.len);
	rc = read_document(&r, out);
	yaml_parser_delete(&r.parser);
	return rc;
}

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

static mica_rc check(const struct checker *c, const struct place *at, const struct node *n,
	const cyaml_schema_value_t *s);

static const char *found(const struct node *n)
{
	if (n->kind != SCALAR)
		return n->kind == MAPPING ? "a mapping" : "a list";
	if (n->plain && n->text[0] == '\0')
		return "nothing";
	return "a single value";
}

static bool is_null(const struct node *n)
{
	static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};

	for (size_t i = 0; n->kind == SCALAR && n->plain && i < MICA_ARRAY_LEN(nulls); i++) {
		if (strcmp(n->text, nulls[i]) == 0)
			return true;
	}
	return false;
}

static mica_rc check_scalar_form(
	const struct checker *c, const struct place *at, const struct node *n, const char *wanted)
{
	if (n->kind == SCALAR && !is_null(n))
		return MICA_OK;
	return fail_schema(c, at, n->line, n->column, "expected %s, found %s", wanted, found(n));
}

static mica_rc check_number(const struct checker *c, const struct place *at, const struct node *n,
	const cyaml_schema_value_t *s)
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
static mica_rc check_bool(const struct checker *c, const struct place *at, const struct node *n,
	const cyaml_schema_value_t *s)
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

static mica_rc check_enum(const struct checker *c, const struct place *at, const struct node *n,
	const cyaml_schema_value_t *s)
{
	MICA_AUTO_BUF names;

	mica_buf_init(&names, 1024);
	for (uint32_t i = 0; i < s->enumeration.count; i++) {
		if (n->kind == SCALAR && strcmp(n->text, s->enumeration.strings[i].str) == 0)
			return MICA_OK;
		mica_buf_printf(&names, "%s%s", i ? ", " : "", s->enumeration.strings[i].str);
	}
	if (n->kind != SCALAR || is_null(n))
		return fail_schema(c, at, n->line, n->column, "expected one of %s, found %s",
			(const char *)names.p, found(n));
	return fail_schema(c, at, n->line, n->column, "expected one of %s, found \"%.40s\"",
		(const char *)names.p, n->text);
}

static mica_rc check_flags(const struct checker *c, const struct place *at, const struct node *n,
	const cyaml_schema_value_t *s)
{
	unsigned index = 0;
	mica_rc rc = MICA_OK;

	if (n->kind != SEQUENCE)
		return fail_schema(
			c, at, n->line, n->column, "expected a list, found %s", found(n));
	for (const struct node *k = n->first; k && rc == MICA_OK; k = k->next) {
		const struct place here = {.up = at, .index = index++};

		rc = check_enum(c, &here, k, s);
	}
	return rc;
}

static mica_rc check_string(const struct checker *c, const struct place *at, const struct node *n,
	const cyaml_schema_value_t *s)
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

static mica_rc fail_unknown(const struct checker *c, const struct place *at, const struct node *k,
	const cyaml_schema_value_t *s)
{
	MICA_AUTO_BUF names;

	mica_buf_init(&names, 4096);
	for (const cyaml_schema_field_t *f = s->mapping.fields; f->key; f++)
		mica_buf_printf(&names, "%s%s", names.len ? ", " : "", f->key);
	return fail_schema(c, at, k->key_line, k->key_column,
		"unknown key \"%.64s\", expected one of %s", k->key, (const char *)names.p);
}

static mica_rc check_mapping(const struct checker *c, const struct place *at, const struct node *n,
	const cyaml_schema_value_t *s)
{
	mica_rc rc = MICA_OK;

	if (n->kind != MAPPING)
		return fail_schema(
			c, at, n->line, n->column, "expected a mapping, found %s", found(n));
	for (const struct node *k = n->first; k && rc == MICA_OK; k = k->next) {
		const struct place here = {.up = at, .key = k->key};
		const cyaml_schema_field_t *f = field(s, k->key);

		rc = f ? check(c, &here, k, &f->value) : fail_unknown(c, at, k, s);
	}
	for (const cyaml_schema_field_t *f = s->mapping.fields; f->key && rc == MICA_OK; f++) {
		if (!(f->value.flags & CYAML_FLAG_OPTIONAL) &&
			member(n, f->key, strlen(f->key)) == NULL)
			rc = fail_schema(
				c, at, n->line, n->column, "the key \"%s\" is missing", f->key);
	}
	return rc;
}

static mica_rc check_sequence(const struct checker *c, const struct place *at, const struct node *n,
	const cyaml_schema_value_t *s)
{
	mica_rc rc = MICA_OK;
	unsigned index = 0;

	if (n->kind != SEQUENCE)
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
	for (const struct node *k = n->first; k && rc == MICA_OK; k = k->next) {
		const struct place here = {.up = at, .index = index++};

		rc = check(c, &here, k, s->sequence.entry);
	}
	return rc;
}

/* What is not listed is left to cyaml alone: bit fields, floats, what is to be ignored. */
static mica_rc (*const checks[CYAML__TYPE_COUNT])(const struct checker *, const struct place *,
	const struct node *, const cyaml_schema_value_t *) = {
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

static mica_rc check(const struct checker *c, const struct place *at, const struct node *n,
	const cyaml_schema_value_t *s)
{
	const unsigned null_str = CYAML_FLAG_POINTER_NULL_STR, null = CYAML_FLAG_POINTER_NULL;

	if (is_null(n) &&
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
	MICA_AUTO_STRUCT(node) root = NULL;
	struct capture said = {{0}};
	const cyaml_config_t config = cyaml_setup(&said);
	cyaml_data_t *data = NULL;
	cyaml_err_t err;
	mica_rc rc;

	*out = NULL;
	rc = read_tree(src, name, &root, e);
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

static const struct node *entry(const struct node *sequence, uint64_t index)
{
	const struct node *n = sequence->first;

	for (; n && index > 0; index--)
		n = n->next;
	return n;
}

/* One step of a path: "[3]" or "key"; the dot before a key is taken too. */
static const struct node *step(const struct node *from, const char **path)
{
	const char *p = *path;
	size_t len;
	uint64_t index;

	if (*p == '[') {
		len = strcspn(p, "]");
		if (p[len] != ']' || from->kind != SEQUENCE ||
			mica_parse_u64(mica_slice(p + 1, len - 1), UINT32_MAX, &index) != MICA_OK)
			return NULL;
		*path = p + len + 1;
		return entry(from, index);
	}
	p += *p == '.';
	len = strcspn(p, ".[");
	*path = p + len;
	return from->kind == MAPPING && len > 0 ? member(from, p, len) : NULL;
}

struct mica_yaml_doc {
	struct node *root;
	char *name; /* NULL = none */
};
MICA_CLEANUP_STRUCT(mica_yaml_doc, mica_yaml_doc_free);

mica_rc mica_yaml_doc_new(
	struct mica_slice src, const char *name, struct mica_yaml_doc **out, struct mica_err *e)
{
	struct node *root = NULL;
	mica_rc rc = read_tree(src, name, &root, e);

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
	node_free(d->root);
	mica_free(d->name);
	mica_free(d);
}

static const struct node *find(const struct mica_yaml_doc *d, const char *path)
{
	const struct node *n = d->root;

	while (n && *path)
		n = step(n, &path);
	return n;
}

bool mica_yaml_doc_locate(const struct mica_yaml_doc *d, const char *path, int *line, int *column)
{
	const struct node *n = find(d, path);

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
	const struct node *mapping = find(d, path);
	unsigned room = *n;

	*n = 0;
	if (mapping == NULL || is_null(mapping))
		return MICA_OK;
	if (mapping->kind != MAPPING)
		return fail_schema(&c, &at, mapping->line, mapping->column,
			"expected a mapping, found %s", found(mapping));
	if (mapping->count > room)
		return fail_schema(&c, &at, mapping->line, mapping->column,
			"expected at most %u entries, found %u", room, mapping->count);
	for (const struct node *k = mapping->first; k; k = k->next) {
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
