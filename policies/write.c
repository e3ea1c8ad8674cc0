/* SPDX-License-Identifier: Apache-2.0 */
/* The canonical text of a policy: one walk over the model, in JSON or in YAML. */
#include "emit.h"
#include "impl.h"

#include <stdio.h>

static void put_values(struct emit *m, const char *key, const struct mica_policy_values *values)
{
	if (values->n == 0)
		return;
	emit_flow(m, key);
	for (unsigned i = 0; i < values->n; i++)
		emit_flow_string(m, values->v[i].written, i == 0);
	emit_flow_end(m);
}

static void put_pairs(struct emit *m, const char *key, const struct mica_policy_pairs *pairs)
{
	if (pairs->n == 0)
		return;
	emit_open(m, key, false);
	for (unsigned i = 0; i < pairs->n; i++)
		emit_pair(m, pairs->v[i].key, pairs->v[i].value);
	emit_end(m);
}

/* ---- rules --------------------------------------------------------------------------------------
 */

static void put_clauses(
	struct emit *m, const char *key, const struct mica_policy_clause *clauses, unsigned n)
{
	if (n == 0)
		return;
	emit_open(m, key, true);
	for (unsigned i = 0; i < n; i++) {
		emit_open(m, NULL, false);
		emit_open(m, strcmp(key, "from") == 0 ? "source" : "operation", false);
		for (unsigned j = 0; j < clauses[i].n; j++) {
			const struct mica_policy_test *t = &clauses[i].tests[j];
			const struct mica_policy_attr_info *info = mica_policy_attr_of(t->attr);

			put_values(m, info->field, &t->is);
			put_values(m, info->not_field, &t->is_not);
		}
		emit_end(m);
		emit_end(m);
	}
	emit_end(m);
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
	emit_open(m, NULL, false);
	emit_string(m, "key", mica_buf_slice(&key));
	put_values(m, "values", &t->is);
	put_values(m, "notValues", &t->is_not);
	emit_end(m);
}

static void put_rule(struct emit *m, const struct mica_policy_rule *r)
{
	if (r->n_from + r->n_to + r->when.n == 0) {
		emit_empty(m, NULL);
		return;
	}
	emit_open(m, NULL, false);
	put_clauses(m, "from", r->from, r->n_from);
	put_clauses(m, "to", r->to, r->n_to);
	if (r->when.n) {
		emit_open(m, "when", true);
		for (unsigned i = 0; i < r->when.n; i++)
			put_condition(m, &r->when.tests[i]);
		emit_end(m);
	}
	emit_end(m);
}

/* ---- documents
 * ----------------------------------------------------------------------------------- */

static void put_metadata(struct emit *m, const struct mica_policy *p)
{
	char created[MICA_TIME_SIZE];

	emit_open(m, "metadata", false);
	emit_string(m, "name", mica_slice_str(p->name));
	emit_string(m, "namespace", mica_slice_str(p->ns));
	put_pairs(m, "labels", &p->labels);
	put_pairs(m, "annotations", &p->annotations);
	if (p->created) {
		mica_time_format(p->created, created);
		emit_string(m, "creationTimestamp", mica_slice_str(created));
	}
	emit_end(m);
}

static void put_selector(struct emit *m, const struct mica_policy *p)
{
	if (p->selector.n == 0)
		return;
	emit_open(m, "selector", false);
	put_pairs(m, "matchLabels", &p->selector);
	emit_end(m);
}

static void put_mode(struct emit *m, enum mica_mtls_mode mode)
{
	emit_word(m, "mode", mica_mtls_mode_name(mode));
}

static void put_peer(struct emit *m, const struct mica_policy *p)
{
	char port[8];

	if (p->mtls != MICA_MTLS_UNSET) {
		emit_open(m, "mtls", false);
		put_mode(m, p->mtls);
		emit_end(m);
	}
	if (p->n_ports == 0)
		return;
	emit_open(m, "portLevelMtls", false);
	for (unsigned i = 0; i < p->n_ports; i++) {
		snprintf(port, sizeof(port), "%u", p->ports[i].port);
		emit_open(m, port, false);
		put_mode(m, p->ports[i].mode);
		emit_end(m);
	}
	emit_end(m);
}

static void put_spec(struct emit *m, const struct mica_policy *p)
{
	bool peer = p->kind == MICA_POLICY_PEER;

	if (peer && p->selector.n == 0 && p->mtls == MICA_MTLS_UNSET) {
		emit_empty(m, "spec");
		return;
	}
	emit_open(m, "spec", false);
	put_selector(m, p);
	if (peer) {
		put_peer(m, p);
	} else {
		emit_word(m, "action", mica_policy_action_name(p->action));
		if (p->n_rules) {
			emit_open(m, "rules", true);
			for (unsigned i = 0; i < p->n_rules; i++)
				put_rule(m, &p->rules[i]);
			emit_end(m);
		}
	}
	emit_end(m);
}

static void put_policy(struct mica_buf *b, const struct mica_policy *p, bool yaml)
{
	struct emit m = {.b = b, .yaml = yaml};

	emit_open(&m, NULL, false);
	emit_word(&m, "apiVersion", "security.istio.io/v1");
	emit_word(&m, "kind", mica_policy_kind_name(p->kind));
	put_metadata(&m, p);
	put_spec(&m, p);
	emit_end(&m);
}

void mica_policy_put_json(struct mica_buf *b, const struct mica_policy *p)
{
	put_policy(b, p, false);
}

void mica_policy_put_yaml(struct mica_buf *b, const struct mica_policy *p)
{
	put_policy(b, p, true);
}
