/* SPDX-License-Identifier: Apache-2.0 */
/* Private to policies/: memory of a document, and how a document is read. */
#ifndef MICA_POLICIES_IMPL_H
#define MICA_POLICIES_IMPL_H

#include "mica/mem.h"
#include "mica/policy.h"
#include "mica/yaml.h"

/* ---- memory that is given back at once (arena.c) --------------------------------------------- */

struct arena_block;
struct arena {
	struct arena_block *blocks;
	size_t used;
};
void *arena_alloc(struct arena *a, size_t n, size_t size); /* zeroed */
struct mica_slice arena_text(struct arena *a, struct mica_slice s); /* followed by a NUL */
void arena_clear(struct arena *a);

/* A document and its memory; `p` stands first, so that one points to the other. */
struct policy_doc {
	struct mica_policy p;
	unsigned refs; /* atomic */
	struct arena arena;
};
/* Kind, namespace, name: as strcmp. */
int policy_order(const struct mica_policy *a, const struct mica_policy *b);

/* ---- reading (read.c) -------------------------------------------------------------------------
 */

/* Where in the document a reader stands, linked from the inside out, for messages. */
struct at {
	const struct at *up;
	const char *key; /* NULL: entry `index` of a list */
	unsigned index;
};

struct reading {
	const char *name; /* of the text; may be NULL */
	const char *default_ns;
	struct mica_policies *out;
	struct policy_doc *doc; /* being read */
	struct mica_err *e;
};

typedef struct mica_yaml_node node_t;

mica_rc read_fail(const struct reading *r, const struct at *at, const node_t *n, const char *reason,
	const char *fmt, ...) MICA_PRINTF(5, 6);
/* The same at the node's key. */
mica_rc read_fail_key(const struct reading *r, const struct at *at, const node_t *n,
	const char *reason, const char *fmt, ...) MICA_PRINTF(5, 6);
void read_warn(struct reading *r, const struct at *at, int line, int column, const char *reason,
	const char *fmt, ...) MICA_PRINTF(6, 7);

/* "policy_type" unless it is one; a mapping or a list that is empty is "policy_empty_list" when
 * `max` is not 0, and more than `max` entries are "policy_limit". */
mica_rc read_mapping(const struct reading *r, const struct at *at, const node_t *n, unsigned max);
mica_rc read_list(const struct reading *r, const struct at *at, const node_t *n, unsigned max);
/* A string: what YAML takes for a number, a truth value or nothing must stand in quotes. At most
 * `max` octets, no control character. */
mica_rc read_string(const struct reading *r, const struct at *at, const node_t *n, size_t max,
	struct mica_slice *out);
/* One of `names` -> its index. */
mica_rc read_choice(const struct reading *r, const struct at *at, const node_t *n,
	const char *const *names, unsigned count, unsigned *out);

typedef mica_rc read_fn(struct reading *r, const struct at *at, const node_t *n, void *to);
struct read_field {
	const char *name;
	read_fn *read; /* NULL: passed over */
	bool required;
};
/* Each member of a mapping to its reader. */
mica_rc read_fields(struct reading *r, const struct at *at, const node_t *n,
	const struct read_field *fields, size_t count, void *to);

/* ---- parts (value.c, rules.c) ------------------------------------------------------------------
 */

mica_rc read_values(struct reading *r, const struct at *at, const node_t *n,
	enum mica_policy_attr attr, struct mica_policy_values *out);
/* A key of `when`. `to->name` is filled, too. */
mica_rc read_condition_key(
	const struct reading *r, const struct at *at, const node_t *n, struct mica_policy_test *to);
read_fn read_rules; /* to: struct mica_policy */

/* ---- characters -------------------------------------------------------------------------------
 */

bool is_token(struct mica_slice s); /* RFC 9110 5.6.2: 1*tchar */
bool all_in(struct mica_slice s, const char *extra); /* letters, digits, `extra` */
/* NULL, or what is wrong with it. */
const char *template_fault(struct mica_slice s);
/* Splits issuer and subject at the last '/'; false when there is none. */
bool split_last(struct mica_slice s, struct mica_slice *head, struct mica_slice *tail);

#endif
