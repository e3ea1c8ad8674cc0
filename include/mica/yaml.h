/* SPDX-License-Identifier: Apache-2.0 */
/*
 * YAML -> structs by libcyaml's tables. One owner of cyaml: base/yaml.c; schemas use
 * cyaml's own macros (a schema is data). Unknown, duplicate, missing and mistyped keys,
 * aliases, anchors, tags and a second document are refused with line and column. Stricter than
 * cyaml: a boolean is true or false, a whole number is decimal without leading zeros, neither
 * stands in quotes, and a key without a value (or with null) is refused unless its schema has
 * CYAML_FLAG_POINTER_NULL(_STR). At most 16 levels, 1,024 keys in one mapping.
 */
#ifndef MICA_YAML_H
#define MICA_YAML_H

#include "mica/slice.h"

#include <cyaml/cyaml.h>

/* Parses at most 256 KiB of YAML into a fresh value of `schema`. INVALID "yaml_syntax" |
 * "yaml_schema" with e->line, e->column and a text such as "NAME:4:3: https.listen: expected ...";
 * for an enum the allowed values are listed; LIMIT "yaml_too_long". `schema` is a mapping with
 * CYAML_FLAG_POINTER. Memory is of mica/mem.h; give it back with mica_yaml_free. */
mica_rc mica_yaml_load(struct mica_slice src, const char *name, const cyaml_schema_value_t *schema,
	void **out, struct mica_err *e) MICA_MUST_CHECK;
void mica_yaml_free(const cyaml_schema_value_t *schema, void *value);

/* The line and column (1-based) of the value at a key path such as "issuers[1].audiences" in a
 * document that loaded well: for errors found later, in cross-checks. False when absent. */
bool mica_yaml_locate(struct mica_slice src, const char *path, int *line, int *column);

/*
 * A document as a tree, for what a schema cannot say: several places of one document, and mappings
 * whose keys are the user's own (CYAML_IGNORE in the schema). Immutable.
 */
struct mica_yaml_doc; /* opaque */
/* As mica_yaml_load, without a schema. `name` is copied. */
mica_rc mica_yaml_doc_new(struct mica_slice src, const char *name, struct mica_yaml_doc **out,
	struct mica_err *e) MICA_MUST_CHECK;
void mica_yaml_doc_free(struct mica_yaml_doc *d); /* NULL is fine */
bool mica_yaml_doc_locate(const struct mica_yaml_doc *d, const char *path, int *line, int *column);

/* A member of such a mapping; borrowed from the document. */
struct mica_yaml_pair {
	const char *key, *value;
	int line, column; /* of the key */
};
/* The members of the mapping at `path`; *n in: room, out: how many. Absent, or a key without a
 * value: none. INVALID "yaml_schema": no mapping, a member that is not a string, or too many. */
mica_rc mica_yaml_doc_pairs(const struct mica_yaml_doc *d, const char *path,
	struct mica_yaml_pair *out, unsigned *n, struct mica_err *e) MICA_MUST_CHECK;

/*
 * Documents as bare trees, for who checks them without a schema. What is refused of YAML is refused
 * here too. The nodes of a mapping have a key; `first`, `next` link what a node holds, in order.
 */
enum mica_yaml_kind { MICA_YAML_SCALAR, MICA_YAML_MAPPING, MICA_YAML_SEQUENCE };
struct mica_yaml_node {
	enum mica_yaml_kind kind;
	bool plain; /* a scalar without quotes */
	int line, column; /* of the value */
	int key_line, key_column; /* of the key, for a member of a mapping */
	char *key; /* NULL for an entry of a sequence */
	char *text; /* of a scalar */
	struct mica_yaml_node *first, *last, *next;
	unsigned count;
};
struct mica_yaml_limits {
	size_t bytes; /* 0 = 256 KiB */
	unsigned documents; /* 0 = 1: one, and no empty text */
	unsigned members; /* of one mapping; 0 = 1,024 */
};
/* The documents of a text, linked by `next`; NULL when there is none. Give them back with
 * mica_yaml_node_free. At most 262,144 values. INVALID "yaml_syntax"; LIMIT "yaml_too_long". */
mica_rc mica_yaml_read(struct mica_slice src, const char *name, const struct mica_yaml_limits *lim,
	struct mica_yaml_node **out, struct mica_err *e) MICA_MUST_CHECK;
void mica_yaml_node_free(struct mica_yaml_node *n); /* with all that follow it */
const struct mica_yaml_node *mica_yaml_member(
	const struct mica_yaml_node *mapping, const char *key, size_t len);
/* Nothing, ~ or null, without quotes. */
bool mica_yaml_is_null(const struct mica_yaml_node *n);

#endif
