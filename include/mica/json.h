/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Typed JSON reading over jansson. Every refusal names the place: line and column in
 * *e, and the path ("keys[2].kid") in its text. Duplicates are refused, always. json_t is
 * jansson's and passed through: use its accessors (json_array_get, json_object_foreach ...) on
 * what belongs to a document; everything is borrowed from the document, nothing is changed.
 * Texts of refusals never quote string values, which may be secrets. Any thread, one document
 * each.
 */
#ifndef MICA_JSON_H
#define MICA_JSON_H

#include "mica/mem.h"
#include "mica/slice.h"

#include <jansson.h>

/* A parsed document that still knows its text, so that an error about a value can be placed. */
struct mica_json {
	json_t *root; /* owned */
	struct mica_slice src; /* borrowed: must outlive the document */
};

struct mica_json_limits {
	size_t bytes; /* 0 = 64 KiB */
	unsigned depth; /* 0 = 16 */
};

/* INVALID "json_syntax": not JSON, not UTF-8, BOM, trailing bytes, duplicate key (with the fine
 * reason "json_duplicate_member"), NUL in a string, deeper than the limit; LIMIT "json_too_long".
 * Any JSON value may be the root. */
mica_rc mica_json_parse(struct mica_slice src, const struct mica_json_limits *lim,
	struct mica_json *out, struct mica_err *e) MICA_MUST_CHECK;
void mica_json_clear(struct mica_json *d);
#define MICA_AUTO_JSON __attribute__((cleanup(mica_json_clear))) struct mica_json

/* Members of an object by table. Unknown members are INVALID "json_unknown_member" unless
 * `open` is set. Results point into the document. */
enum mica_json_type {
	MICA_JSON_STRING,
	MICA_JSON_INT,
	MICA_JSON_BOOL,
	MICA_JSON_OBJECT,
	MICA_JSON_ARRAY,
	MICA_JSON_ANY
};
struct mica_json_member {
	const char *name;
	enum mica_json_type type;
	bool required;
	/* INT: range; STRING: length in bytes; ARRAY: count of entries. `min` always holds (so an
	 * INT without it is not negative); max 0 = no upper bound. */
	int64_t min, max;
	/* STRING: struct mica_slice *; INT: int64_t *; BOOL: bool *; else json_t ** (borrowed).
	 * Untouched when the member is absent; NULL = only its type is checked. */
	void *out;
	bool *present; /* optional */
};
/* `path` names obj in messages ("" for the root). null is a value of no type but ANY. INVALID
 * "json_type" | "json_missing_member" | "json_unknown_member" | "json_range", with line and column.
 */
mica_rc mica_json_read(const struct mica_json *d, const json_t *obj, const char *path,
	const struct mica_json_member *members, size_t n, bool open,
	struct mica_err *e) MICA_MUST_CHECK;
/* Places an INVALID error of the caller's own at `value`, which must belong to the document.
 * true, false and null have no place of their own when there are several of them. */
mica_rc mica_json_fail(const struct mica_json *d, const json_t *value, struct mica_err *e,
	const char *reason, const char *fmt, ...) MICA_PRINTF(5, 6);
struct mica_slice mica_json_str(const json_t *string); /* borrowed */

#endif
