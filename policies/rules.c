/* SPDX-License-Identifier: Apache-2.0 */
/* Rules: sources, operations and conditions all become tests. */
#include "impl.h"

/* ---- fields of a source, fields of an operation ------------------------------------------------
 */

struct clause_reading {
	struct mica_policy_test *tests; /* room for every attribute */
	unsigned n;
	enum mica_policy_side side;
};

/* The attribute whose field this is; *negative for its "not" form. */
static const struct mica_policy_attr_info *attr_of_field(
	enum mica_policy_side side, const char *name, bool *negative)
{
	for (int i = 0; i < MICA_ATTR_COUNT; i++) {
		const struct mica_policy_attr_info *info = mica_policy_attr_of(i);

		if (info->field == NULL || info->side != side)
			continue;
		*negative = strcmp(name, info->not_field) == 0;
		if (*negative || strcmp(name, info->field) == 0)
			return info;
	}
	return NULL;
}

static struct mica_policy_test *test_of(struct clause_reading *c, enum mica_policy_attr attr)
{
	for (unsigned i = 0; i < c->n; i++) {
		if (c->tests[i].attr == attr)
			return &c->tests[i];
	}
	c->tests[c->n].attr = attr;
	return &c->tests[c->n++];
}

static mica_rc fail_field(
	const struct reading *r, const struct at *at, const node_t *n, enum mica_policy_side side)
{
	MICA_AUTO_BUF names;

	mica_buf_init(&names, 1024);
	for (int i = 0; i < MICA_ATTR_COUNT; i++) {
		const struct mica_policy_attr_info *info = mica_policy_attr_of(i);

		if (info->field && info->side == side)
			mica_buf_printf(&names, "%s%s", names.len ? ", " : "", info->field);
	}
	return read_fail_key(r, at, n, "policy_unknown_field",
		"unknown field \"%.64s\", expected one of %s, or notXxx of them", n->key,
		(const char *)names.p);
}

/* A value that must and must not be there. */
static void warn_contradiction(
	struct reading *r, const struct at *at, const struct mica_policy_test *t)
{
	if ((size_t)t->is.n * t->is_not.n > 65536)
		return;
	for (unsigned i = 0; i < t->is.n; i++) {
		for (unsigned j = 0; j < t->is_not.n; j++) {
			const struct mica_policy_value *v = &t->is_not.v[j];

			if (!mica_slice_eq(t->is.v[i].written, v->written))
				continue;
			read_warn(r, at, v->line, v->column, "policy_contradiction",
				"\"%.*s\" is wanted and not wanted at once", MICA_FMT(v->written));
			return;
		}
	}
}

static mica_rc read_clause_fields(
	struct reading *r, const struct at *at, const node_t *n, struct clause_reading *c)
{
	mica_rc rc = read_mapping(r, at, n, MICA_POLICY_PARTS_MAX);

	for (const node_t *k = n->first; rc == MICA_OK && k; k = k->next) {
		const struct at here = {.up = at, .key = k->key};
		bool negative = false;
		const struct mica_policy_attr_info *info =
			attr_of_field(c->side, k->key, &negative);
		struct mica_policy_test *t;

		if (info == NULL)
			return fail_field(r, &here, k, c->side);
		t = test_of(c, info->attr);
		if (t->line == 0) {
			t->line = k->key_line;
			t->column = k->key_column;
		}
		rc = read_values(r, &here, k, info->attr, negative ? &t->is_not : &t->is);
	}
	for (unsigned i = 0; rc == MICA_OK && i < c->n; i++)
		warn_contradiction(r, at, &c->tests[i]);
	return rc;
}

static int by_attr(const void *a, const void *b)
{
	const struct mica_policy_test *x = a, *y = b;

	return (int)x->attr - (int)y->attr;
}

static mica_rc read_clause(struct reading *r, const struct at *at, const node_t *n,
	enum mica_policy_side side, struct mica_policy_clause *out)
{
	const char *name = side == MICA_SIDE_SOURCE ? "source" : "operation";
	struct mica_policy_test tests[MICA_ATTR_COUNT] = {0};
	struct clause_reading c = {.tests = tests, .side = side};
	mica_rc rc = read_mapping(r, at, n, 0);
	const node_t *inner = NULL;

	for (const node_t *k = n->first; rc == MICA_OK && k; k = k->next) {
		const struct at here = {.up = at, .key = k->key};

		if (strcmp(k->key, name) != 0)
			return read_fail_key(r, &here, k, "policy_unknown_field",
				"unknown field \"%.64s\", expected %s", k->key, name);
		inner = k;
		rc = read_clause_fields(r, &here, k, &c);
	}
	if (rc == MICA_OK && inner == NULL)
		return read_fail(
			r, at, n, "policy_missing_field", "the field \"%s\" is missing", name);
	if (rc != MICA_OK)
		return rc;
	qsort(tests, c.n, sizeof(tests[0]), by_attr);
	out->n = c.n;
	out->tests = arena_alloc(&r->doc->arena, c.n, sizeof(tests[0]));
	memcpy((void *)out->tests, tests, c.n * sizeof(tests[0]));
	out->line = inner->line;
	out->column = inner->column;
	return MICA_OK;
}

static mica_rc read_clauses(struct reading *r, const struct at *at, const node_t *n,
	enum mica_policy_side side, const struct mica_policy_clause **out, unsigned *count)
{
	mica_rc rc = read_list(r, at, n, MICA_POLICY_PARTS_MAX);
	struct mica_policy_clause *list;
	unsigned i = 0;

	if (rc != MICA_OK)
		return rc;
	list = arena_alloc(&r->doc->arena, n->count, sizeof(*list));
	for (const node_t *k = n->first; k && rc == MICA_OK; k = k->next, i++) {
		const struct at here = {.up = at, .index = i};

		rc = read_clause(r, &here, k, side, &list[i]);
	}
	*out = list;
	*count = n->count;
	return rc;
}

/* ---- when --------------------------------------------------------------------------------------
 */

static mica_rc fail_key(const struct reading *r, const struct at *at, const node_t *n)
{
	MICA_AUTO_BUF names;

	mica_buf_init(&names, 1024);
	for (int i = 0; i < MICA_ATTR_COUNT; i++) {
		const struct mica_policy_attr_info *info = mica_policy_attr_of(i);
		bool named = i == MICA_ATTR_HEADER || i == MICA_ATTR_CLAIM;

		if (info->key)
			mica_buf_printf(&names, "%s%s%s", names.len ? ", " : "", info->key,
				named ? "[...]" : "");
	}
	return read_fail(r, at, n, "policy_value", "unknown key \"%.64s\", expected one of %s",
		n->text, (const char *)names.p);
}

/* "[a][b]": names without brackets, none of them empty. */
static unsigned brackets(struct mica_slice s)
{
	unsigned n = 0;

	while (s.len) {
		struct mica_slice name;

		if (s.p[0] != '[')
			return 0;
		s = mica_slice_sub(s, 1, s.len);
		if (!mica_slice_cut(&s, ']', &name) || name.len == 0 ||
			memchr(name.p, '[', name.len))
			return 0;
		n++;
	}
	return n;
}

static mica_rc read_key_name(const struct reading *r, const struct at *at, const node_t *n,
	struct mica_slice rest, struct mica_policy_test *to)
{
	unsigned parts = brackets(rest);
	uint8_t *name;

	if (to->attr == MICA_ATTR_CLAIM) {
		if (parts == 0)
			return read_fail(r, at, n, "policy_value",
				"expected request.auth.claims[NAME], or [NAME][NAME] for what is "
				"within");
		to->name = arena_text(&r->doc->arena, rest);
		return MICA_OK;
	}
	rest = parts == 1 ? mica_slice(rest.p + 1, rest.len - 2) : MICA_SLICE_NULL;
	if (!is_token(rest))
		return read_fail(r, at, n, "policy_value",
			"expected request.headers[NAME] with the name of a header");
	to->name = arena_text(&r->doc->arena, rest);
	name = (uint8_t *)to->name.p;
	for (size_t i = 0; i < rest.len; i++)
		name[i] |= name[i] >= 'A' && name[i] <= 'Z' ? 0x20 : 0;
	return MICA_OK;
}

mica_rc read_condition_key(
	const struct reading *r, const struct at *at, const node_t *n, struct mica_policy_test *to)
{
	struct mica_slice key;
	mica_rc rc = read_string(r, at, n, MICA_POLICY_VALUE_MAX, &key);

	if (rc != MICA_OK)
		return rc;
	if (mica_slice_has_prefix(key, MICA_LIT("experimental.")))
		return read_fail(r, at, n, "policy_unsupported",
			"\"%.128s\" is known to Envoy's filters alone", n->text);
	for (int i = 0; i < MICA_ATTR_COUNT; i++) {
		const struct mica_policy_attr_info *info = mica_policy_attr_of(i);
		struct mica_slice base = mica_slice_str(info->key);
		bool named = i == MICA_ATTR_HEADER || i == MICA_ATTR_CLAIM;

		if (info->key == NULL || !mica_slice_has_prefix(key, base))
			continue;
		to->attr = info->attr;
		if (named)
			return read_key_name(r, at, n, mica_slice_sub(key, base.len, key.len), to);
		if (key.len == base.len)
			return MICA_OK;
	}
	return fail_key(r, at, n);
}

static mica_rc condition_key(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	(void)r, (void)at, (void)n, (void)to; /* was read first */
	return MICA_OK;
}

static mica_rc condition_values(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	struct mica_policy_test *t = to;

	return read_values(r, at, n, t->attr, &t->is);
}

static mica_rc condition_not_values(
	struct reading *r, const struct at *at, const node_t *n, void *to)
{
	struct mica_policy_test *t = to;

	return read_values(r, at, n, t->attr, &t->is_not);
}

static mica_rc read_condition(
	struct reading *r, const struct at *at, const node_t *n, struct mica_policy_test *t)
{
	static const struct read_field fields[] = {
		{"key", condition_key, true},
		{"values", condition_values, false},
		{"notValues", condition_not_values, false},
	};
	const struct at key_at = {.up = at, .key = "key"};
	mica_rc rc = read_mapping(r, at, n, 0);
	const node_t *key = rc == MICA_OK ? mica_yaml_member(n, "key", 3) : NULL;

	/* how values are read depends on the key, wherever it stands */
	if (key)
		rc = read_condition_key(r, &key_at, key, t);
	if (rc == MICA_OK)
		rc = read_fields(r, at, n, fields, MICA_ARRAY_LEN(fields), t);
	if (rc == MICA_OK && t->is.n + t->is_not.n == 0)
		rc = read_fail(r, at, n, "policy_missing_field", "expected values or notValues");
	t->line = n->line;
	t->column = n->column;
	if (rc == MICA_OK)
		warn_contradiction(r, at, t);
	return rc;
}

static mica_rc rule_when(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	struct mica_policy_rule *rule = to;
	struct mica_policy_test *tests;
	mica_rc rc = read_list(r, at, n, MICA_POLICY_PARTS_MAX);
	unsigned i = 0;

	if (rc != MICA_OK)
		return rc;
	tests = arena_alloc(&r->doc->arena, n->count, sizeof(*tests));
	for (const node_t *k = n->first; k && rc == MICA_OK; k = k->next, i++) {
		const struct at here = {.up = at, .index = i};

		rc = read_condition(r, &here, k, &tests[i]);
	}
	rule->when = (struct mica_policy_clause){
		.tests = tests, .n = n->count, .line = n->line, .column = n->column};
	return rc;
}

/* ---- rules -------------------------------------------------------------------------------------
 */

static mica_rc rule_from(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	struct mica_policy_rule *rule = to;

	return read_clauses(r, at, n, MICA_SIDE_SOURCE, &rule->from, &rule->n_from);
}

static mica_rc rule_to(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	struct mica_policy_rule *rule = to;

	return read_clauses(r, at, n, MICA_SIDE_OPERATION, &rule->to, &rule->n_to);
}

mica_rc read_rules(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	static const struct read_field fields[] = {
		{"from", rule_from, false},
		{"to", rule_to, false},
		{"when", rule_when, false},
	};
	struct mica_policy *p = to;
	mica_rc rc = read_list(r, at, n, 0);
	struct mica_policy_rule *rules;
	unsigned i = 0;

	if (rc == MICA_OK && n->count > MICA_POLICY_RULES_MAX)
		rc = read_fail(r, at, n, "policy_limit", "%u rules, expected at most %d", n->count,
			MICA_POLICY_RULES_MAX);
	if (rc != MICA_OK)
		return rc;
	rules = arena_alloc(&r->doc->arena, n->count, sizeof(*rules));
	for (const node_t *k = n->first; k && rc == MICA_OK; k = k->next, i++) {
		const struct at here = {.up = at, .index = i};

		rules[i].line = k->line;
		rules[i].column = k->column;
		rc = read_fields(r, &here, k, fields, MICA_ARRAY_LEN(fields), &rules[i]);
	}
	p->rules = rules;
	p->n_rules = n->count;
	return rc;
}
