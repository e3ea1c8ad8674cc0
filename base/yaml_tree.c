/* SPDX-License-Identifier: Apache-2.0 */
/* Events of libyaml -> a small tree with places; refuses what we do not want of YAML. */
#include "mica/yaml.h"
#include "mica/mem.h"

#include <stdio.h>
#include <yaml.h>

#define TEXT_MAX    (256 * 1024)
#define DEPTH_MAX   16
#define MEMBERS_MAX 1024
#define NODES_MAX   (256 * 1024)

void mica_yaml_node_free(struct mica_yaml_node *n)
{
	while (n) {
		struct mica_yaml_node *next = n->next;

		mica_yaml_node_free(n->first); /* at most DEPTH_MAX deep */
		mica_free(n->key);
		mica_free(n->text);
		mica_free(n);
		n = next;
	}
}
MICA_CLEANUP_STRUCT(mica_yaml_node, mica_yaml_node_free);

static void event_free(yaml_event_t *ev)
{
	yaml_event_delete(ev);
}
#define AUTO_EVENT __attribute__((cleanup(event_free))) yaml_event_t

struct reader {
	yaml_parser_t parser;
	const char *name;
	struct mica_err *e;
	unsigned documents, members, nodes;
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
	struct reader *r, const yaml_event_t *ev, unsigned depth, struct mica_yaml_node **out);

static void append(struct mica_yaml_node *parent, struct mica_yaml_node *child)
{
	if (parent->last)
		parent->last->next = child;
	else
		parent->first = child;
	parent->last = child;
	parent->count++;
}

const struct mica_yaml_node *mica_yaml_member(
	const struct mica_yaml_node *mapping, const char *key, size_t len)
{
	for (const struct mica_yaml_node *n = mapping->first; n; n = n->next) {
		if (strlen(n->key) == len && memcmp(n->key, key, len) == 0)
			return n;
	}
	return NULL;
}

static mica_rc read_key(
	struct reader *r, const struct mica_yaml_node *mapping, const yaml_event_t *ev)
{
	const struct mica_yaml_node *other;
	const char *key;

	if (ev->type != YAML_SCALAR_EVENT)
		return fail_at(r, "yaml_syntax", AT(ev->start_mark), "expected a plain key");
	key = (const char *)ev->data.scalar.value;
	if (mapping->count >= r->members)
		return fail_at(r, "yaml_syntax", AT(ev->start_mark),
			"more than %u keys in one mapping", r->members);
	other = mica_yaml_member(mapping, key, ev->data.scalar.length);
	if (other)
		return fail_at(r, "yaml_syntax", AT(ev->start_mark),
			"the key \"%.64s\" appears twice, first in line %d", key, other->key_line);
	return MICA_OK;
}

/* One key and its value; *end when there was none. */
static mica_rc read_member(
	struct reader *r, struct mica_yaml_node *mapping, unsigned depth, bool *end)
{
	AUTO_EVENT key = {0}, value = {0};
	MICA_AUTO_STRUCT(mica_yaml_node) child = NULL;
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

static mica_rc read_entry(
	struct reader *r, struct mica_yaml_node *sequence, unsigned depth, bool *end)
{
	AUTO_EVENT ev = {0};
	struct mica_yaml_node *child = NULL;
	mica_rc rc = next_event(r, &ev);

	*end = ev.type == YAML_SEQUENCE_END_EVENT;
	if (rc != MICA_OK || *end)
		return rc;
	rc = read_node(r, &ev, depth, &child);
	if (rc == MICA_OK)
		append(sequence, child);
	return rc;
}

static mica_rc read_children(struct reader *r, struct mica_yaml_node *parent, unsigned depth)
{
	bool end = false;
	mica_rc rc = MICA_OK;

	while (rc == MICA_OK && !end) {
		rc = parent->kind == MICA_YAML_MAPPING ? read_member(r, parent, depth, &end)
						       : read_entry(r, parent, depth, &end);
	}
	return rc;
}

static mica_rc read_node(
	struct reader *r, const yaml_event_t *ev, unsigned depth, struct mica_yaml_node **out)
{
	MICA_AUTO_STRUCT(mica_yaml_node) n = MICA_NEW(struct mica_yaml_node);
	mica_rc rc = check_event(r, ev);

	if (rc != MICA_OK)
		return rc;
	if (r->nodes++ >= NODES_MAX)
		return fail_at(
			r, "yaml_syntax", AT(ev->start_mark), "more than %d values", NODES_MAX);
	n->line = (int)ev->start_mark.line + 1;
	n->column = (int)ev->start_mark.column + 1;
	if (ev->type == YAML_SCALAR_EVENT) {
		n->plain = ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
		n->text = mica_strdup((const char *)ev->data.scalar.value);
	} else {
		if (depth >= DEPTH_MAX)
			return fail_at(r, "yaml_syntax", n->line, n->column,
				"nested deeper than %d levels", DEPTH_MAX);
		n->kind = ev->type == YAML_MAPPING_START_EVENT ? MICA_YAML_MAPPING
							       : MICA_YAML_SEQUENCE;
		rc = read_children(r, n, depth + 1);
	}
	if (rc == MICA_OK)
		*out = MICA_STEAL(n);
	return rc;
}

/* What follows the start of a document: its tree and its end. */
static mica_rc read_document(
	struct reader *r, const yaml_event_t *start, struct mica_yaml_node **out)
{
	AUTO_EVENT ev = {0}, end = {0};
	MICA_AUTO_STRUCT(mica_yaml_node) root = NULL;
	mica_rc rc;

	if (start->data.document_start.tag_directives.start !=
		start->data.document_start.tag_directives.end)
		return fail_at(
			r, "yaml_syntax", AT(start->start_mark), "directives are not accepted");
	rc = next_event(r, &ev);
	if (rc == MICA_OK)
		rc = read_node(r, &ev, 0, &root);
	if (rc == MICA_OK)
		rc = next_event(r, &end);
	if (rc == MICA_OK && end.type != YAML_DOCUMENT_END_EVENT)
		rc = fail_at(
			r, "yaml_syntax", AT(end.start_mark), "expected the end of the document");
	if (rc == MICA_OK)
		*out = MICA_STEAL(root);
	return rc;
}

/* The next document of the stream; *out is NULL at its end. */
static mica_rc next_document(struct reader *r, unsigned before, struct mica_yaml_node **out)
{
	AUTO_EVENT ev = {0};
	mica_rc rc = next_event(r, &ev);

	*out = NULL;
	if (rc == MICA_OK && ev.type == YAML_STREAM_END_EVENT && before == 0 && r->documents == 1)
		return fail_at(r, "yaml_syntax", AT(ev.start_mark),
			"the text is empty, expected a mapping");
	if (rc != MICA_OK || ev.type == YAML_STREAM_END_EVENT)
		return rc;
	if (ev.type != YAML_DOCUMENT_START_EVENT)
		return fail_at(r, "yaml_syntax", AT(ev.start_mark), "expected a document");
	if (before >= r->documents && r->documents == 1)
		return fail_at(
			r, "yaml_syntax", AT(ev.start_mark), "a second document is not accepted");
	if (before >= r->documents)
		return fail_at(r, "yaml_syntax", AT(ev.start_mark), "more than %u documents",
			r->documents);
	return read_document(r, &ev, out);
}

static mica_rc read_stream(struct reader *r, struct mica_yaml_node **out)
{
	MICA_AUTO_STRUCT(mica_yaml_node) first = NULL;
	struct mica_yaml_node *doc = NULL, **end = &first;
	AUTO_EVENT ev = {0};
	mica_rc rc = next_event(r, &ev);
	unsigned n = 0;

	do {
		if (rc == MICA_OK)
			rc = next_document(r, n, &doc);
		if (rc != MICA_OK)
			return rc;
		*end = doc;
		end = doc ? &doc->next : end;
		n++;
	} while (doc);
	*out = MICA_STEAL(first);
	return MICA_OK;
}

mica_rc mica_yaml_read(struct mica_slice src, const char *name, const struct mica_yaml_limits *lim,
	struct mica_yaml_node **out, struct mica_err *e)
{
	struct reader r = {.name = name, .e = e, .documents = 1, .members = MEMBERS_MAX};
	size_t bytes = lim && lim->bytes ? lim->bytes : TEXT_MAX;
	mica_rc rc;

	*out = NULL;
	if (lim && lim->documents)
		r.documents = lim->documents;
	if (lim && lim->members)
		r.members = lim->members;
	if (src.len > bytes)
		return mica_fail(e, MICA_LIMIT, "yaml_too_long",
			"%s: %zu bytes, expected at most %zu", name ? name : "YAML", src.len,
			bytes);
	if (!mica_slice_is_utf8(src))
		return mica_fail(e, MICA_INVALID, "yaml_syntax", "%s: not well-formed UTF-8",
			name ? name : "YAML");
	if (!yaml_parser_initialize(&r.parser))
		return mica_fail(e, MICA_UNAVAILABLE, "out_of_memory", "out of memory");
	yaml_parser_set_input_string(&r.parser, src.len ? src.p : (const uint8_t *)"", src.len);
	rc = read_stream(&r, out);
	yaml_parser_delete(&r.parser);
	return rc;
}

bool mica_yaml_is_null(const struct mica_yaml_node *n)
{
	static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};

	for (size_t i = 0; n->kind == MICA_YAML_SCALAR && n->plain && i < MICA_ARRAY_LEN(nulls);
		i++) {
		if (strcmp(n->text, nulls[i]) == 0)
			return true;
	}
	return false;
}
