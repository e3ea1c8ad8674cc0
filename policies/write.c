/* SPDX-License-Identifier: Apache-2.0 */
/* The canonical text of a policy: one walk over the model, in JSON or in YAML. */
#include "impl.h"

#include <stdio.h>

#define DEPTH 12

struct emit {
	struct mica_buf *b;
	bool yaml;
	unsigned depth;
	bool list[DEPTH], some[DEPTH]; /* of each level: it is a list; it has an entry */
	bool dash; /* YAML: the line has its "- " already */
};

static void indent(struct emit *m)
{
	if (!m->dash) {
		for (unsigned i = 1; i < m->depth; i++)
			mica_buf_put_str(m->b, "  ");
	}
	m->dash = false;
}

/* What stands before a value: a comma, a key, a dash. */
static void lead(struct emit *m, struct mica_slice key, bool quoted)
{
	bool first = !m->some[m->depth];

	m->some[m->depth] = true;
	if (m->yaml && m->depth > 0)
		indent(m);
	else if (!m->yaml && !first)
		mica_buf_put_u8(m->b, ',');
	if (m->yaml && m->list[m->depth])
		mica_buf_put_str(m->b, "- ");
	if (key.len == 0)
		return;
	if (quoted || !m->yaml)
		mica_buf_put_json_string(m->b, key);
	else
		mica_buf_put_slice(m->b, key);
	mica_buf_put_str(m->b, m->yaml ? ": " : ":");
}

static void trim_space(struct emit *m)
{
	if (m->b->len && !m->b->over && m->b->p[m->b->len - 1] == ' ')
		m->b->p[--m->b->len] = '\0';
}

static void open_level(struct emit *m, const char *key, bool list)
{
	bool in_list = m->list[m->depth];

	lead(m, mica_slice_str(key), false);
	if (!m->yaml)
		mica_buf_put_u8(m->b, list ? '[' : '{');
	else if (in_list)
		m->dash = true; /* the first member stands behind the dash */
	else if (m->depth > 0) {
		trim_space(m);
		mica_buf_put_u8(m->b, '\n');
	}
	m->depth++;
	m->list[m->depth] = list;
	m->some[m->depth] = false;
}

static void end_level(struct emit *m)
{
	bool list = m->list[m->depth];

	m->depth--;
	if (!m->yaml)
		mica_buf_put_u8(m->b, list ? ']' : '}');
}

static void put_line_end(struct emit *m)
{
	if (m->yaml)
		mica_buf_put_u8(m->b, '\n');
}

static void put_empty(struct emit *m, const char *key)
{
	lead(m, mica_slice_str(key), false);
	mica_buf_put_str(m->b, "{}");
	put_line_end(m);
}

static void put_string(struct emit *m, const char *key, struct mica_slice value)
{
	lead(m, mica_slice_str(key), false);
	mica_buf_put_json_string(m->b, value);
	put_line_end(m);
}

static void put_word(struct emit *m, const char *key, const char *value)
{
	lead(m, mica_slice_str(key), false);
	mica_buf_printf(m->b, m->yaml ? "%s\n" : "\"%s\"", value);
}

static void put_values(struct emit *m, const char *key, const struct mica_policy_values *values)
{
	if (values->n == 0)
		return;
	lead(m, mica_slice_str(key), false);
	mica_buf_put_u8(m->b, '[');
	for (unsigned i = 0; i < values->n; i++) {
		if (i)
			mica_buf_put_str(m->b, m->yaml ? ", " : ",");
		mica_buf_put_json_string(m->b, values->v[i].written);
	}
	mica_buf_put_u8(m->b, ']');
	put_line_end(m);
}

static void put_pairs(struct emit *m, const char *key, const struct mica_policy_pairs *pairs)
{
	if (pairs->n == 0)
		return;
	open_level(m, key, false);
	for (unsigned i = 0; i < pairs->n; i++) {
		lead(m, pairs->v[i].key, true);
		mica_buf_put_json_string(m->b, pairs->v[i].value);
		put_line_end(m);
	}
	end_level(m);
}

/* ---- rules --------------------------------------------------------------------------------------
 */

static void put_clauses(
	struct emit *m, const char *key, const struct mica_policy_clause *clauses, unsigned n)
{
	if (n == 0)
		return;
	open_level(m, key, true);
	for (unsigned i = 0; i < n; i++) {
		open_level(m, NULL, false);
		open_level(m, strcmp(key, "from") == 0 ? "source" : "operation", false);
		for (unsigned j = 0; j < clauses[i].n; j++) {
			const struct mica_policy_test *t = &clauses[i].tests[j];
			const struct mica_policy_attr_info *info = mica_policy_attr_of(t->attr);

			put_values(m, info->field, &t->is);
			put_values(m, info->not_field, &t->is_not);
		}
		end_level(m);
		end_level(m);
	}
	end_level(m);
}

static void put_condition(struct emit *m, const struct mica_policy_test *t)
{
	const char *base = mica_policy_attr_of(t->attr)->key;
	bool header = t->attr == MICA_ATTR_HEADER;
	MICA_AUTO_BUF key;

	mica_buf_init(&key, MICA_POLICY_VALUE_MAX + 64);
	mica_buf_printf(&key, "%s%s", base, header ? "[" : "");
	mica_buf_put_slice(&key, t->name);
	mica_buf_put_str(&key, header ? "]" : "");
	open_level(m, NULL, false);
	put_string(m, "key", mica_buf_slice(&key));
	put_values(m, "values", &t->is);
	put_values(m, "notValues", &t->is_not);
	end_level(m);
}

static void put_rule(struct emit *m, const struct mica_policy_rule *r)
{
	if (r->n_from + r->n_to + r->when.n == 0) {
		put_empty(m, NULL);
		return;
	}
	open_level(m, NULL, false);
	put_clauses(m, "from", r->from, r->n_from);
	put_clauses(m, "to", r->to, r->n_to);
	if (r->when.n) {
		open_level(m, "when", true);
		for (unsigned i = 0; i < r->when.n; i++)
			put_condition(m, &r->when.tests[i]);
		end_level(m);
	}
	end_level(m);
}

/* ---- documents
 * ----------------------------------------------------------------------------------- */

static void put_metadata(struct emit *m, const struct mica_policy *p)
{
	char created[MICA_TIME_SIZE];

	open_level(m, "metadata", false);
	put_string(m, "name", mica_slice_str(p->name));
	put_string(m, "namespace", mica_slice_str(p->ns));
	put_pairs(m, "labels", &p->labels);
	put_pairs(m, "annotations", &p->annotations);
	if (p->created) {
		mica_time_format(p->created, created);
		put_string(m, "creationTimestamp", mica_slice_str(created));
	}
	end_level(m);
}

static void put_selector(struct emit *m, const struct mica_policy *p)
{
	if (p->selector.n == 0)
		return;
	open_level(m, "selector", false);
	put_pairs(m, "matchLabels", &p->selector);
	end_level(m);
}

static void put_mode(struct emit *m, enum mica_mtls_mode mode)
{
	put_word(m, "mode", mica_mtls_mode_name(mode));
}

static void put_peer(struct emit *m, const struct mica_policy *p)
{
	char port[8];

	if (p->mtls != MICA_MTLS_UNSET) {
		open_level(m, "mtls", false);
		put_mode(m, p->mtls);
		end_level(m);
	}
	if (p->n_ports == 0)
		return;
	open_level(m, "portLevelMtls", false);
	for (unsigned i = 0; i < p->n_ports; i++) {
		snprintf(port, sizeof(port), "%u", p->ports[i].port);
		open_level(m, port, false);
		put_mode(m, p->ports[i].mode);
		end_level(m);
	}
	end_level(m);
}

static void put_spec(struct emit *m, const struct mica_policy *p)
{
	bool peer = p->kind == MICA_POLICY_PEER;

	if (peer && p->selector.n == 0 && p->mtls == MICA_MTLS_UNSET) {
		put_empty(m, "spec");
		return;
	}
	open_level(m, "spec", false);
	put_selector(m, p);
	if (peer) {
		put_peer(m, p);
	} else {
		put_word(m, "action", mica_policy_action_name(p->action));
		if (p->n_rules) {
			open_level(m, "rules", true);
			for (unsigned i = 0; i < p->n_rules; i++)
				put_rule(m, &p->rules[i]);
			end_level(m);
		}
	}
	end_level(m);
}

static void put_policy(struct mica_buf *b, const struct mica_policy *p, bool yaml)
{
	struct emit m = {.b = b, .yaml = yaml};

	open_level(&m, NULL, false);
	put_word(&m, "apiVersion", "security.istio.io/v1");
	put_word(&m, "kind", mica_policy_kind_name(p->kind));
	put_metadata(&m, p);
	put_spec(&m, p);
	end_level(&m);
}

void mica_policy_put_json(struct mica_buf *b, const struct mica_policy *p)
{
	put_policy(b, p, false);
}

void mica_policy_put_yaml(struct mica_buf *b, const struct mica_policy *p)
{
	put_policy(b, p, true);
}
