/* SPDX-License-Identifier: Apache-2.0 */
/* A text -> its documents: kinds, metadata, selectors; what is inside of rules is in rules.c. */
#include "impl.h"

#include "mica/spiffeid.h"

#include <stdio.h>

#define API_GROUP    "security.istio.io"
#define DRY_RUN      "istio.io/dry-run"
#define LAST_APPLIED "kubectl.kubernetes.io/last-applied-configuration"

MICA_CLEANUP_STRUCT(mica_yaml_node, mica_yaml_node_free);

/* ---- pairs --------------------------------------------------------------------------------------
 */

static bool is_qualified(struct mica_slice s)
{
	return s.len > 0 && s.len <= 63 && all_in(s, "-._") && all_in(mica_slice(s.p, 1), "") &&
		all_in(mica_slice(s.p + s.len - 1, 1), "");
}

/* [PREFIX/]NAME, as labels and annotations are called. */
static bool is_label_key(struct mica_slice key)
{
	struct mica_slice name = key, prefix;

	if (!mica_slice_cut(&name, '/', &prefix))
		return is_qualified(key);
	return mica_k8s_subdomain_ok(prefix) && is_qualified(name);
}

static int by_key(const void *a, const void *b)
{
	const struct mica_policy_pair *x = a, *y = b;

	return mica_slice_cmp(x->key, y->key);
}

static mica_rc read_pair(struct reading *r, const struct at *at, const node_t *n, bool labels,
	struct mica_policy_pair *out)
{
	struct mica_slice key = mica_slice_str(n->key), value;
	mica_rc rc;

	if (!is_label_key(key))
		return read_fail_key(r, at, n, "policy_name",
			"\"%.128s\" is not the name of a label or annotation", n->key);
	/* an annotation may be a text of many lines */
	if (!labels && n->kind == MICA_YAML_SCALAR && !n->plain)
		value = mica_slice_str(n->text);
	else if ((rc = read_string(r, at, n, MICA_POLICY_VALUE_MAX, &value)) != MICA_OK)
		return rc;
	if (labels && value.len && !is_qualified(value))
		return read_fail(
			r, at, n, "policy_name", "\"%.128s\" is not the value of a label", n->text);
	out->key = arena_text(&r->doc->arena, key);
	out->value = arena_text(&r->doc->arena, value);
	return MICA_OK;
}

/* Sorted by key; what kubectl leaves behind is left out. */
static mica_rc read_pairs(struct reading *r, const struct at *at, const node_t *n, bool labels,
	struct mica_policy_pairs *out)
{
	mica_rc rc = read_mapping(r, at, n, 0);
	struct mica_policy_pair *v;

	if (rc == MICA_OK && n->count > MICA_POLICY_PAIRS_MAX)
		rc = read_fail(r, at, n, "policy_limit", "%u entries, expected at most %d",
			n->count, MICA_POLICY_PAIRS_MAX);
	if (rc != MICA_OK)
		return rc;
	v = arena_alloc(&r->doc->arena, n->count, sizeof(*v));
	for (const node_t *k = n->first; k && rc == MICA_OK; k = k->next) {
		const struct at here = {.up = at, .key = k->key};

		if (strcmp(k->key, LAST_APPLIED) == 0)
			continue;
		rc = read_pair(r, &here, k, labels, &v[out->n]);
		out->n += rc == MICA_OK;
	}
	qsort(v, out->n, sizeof(*v), by_key);
	out->v = v;
	return rc;
}

/* ---- metadata -----------------------------------------------------------------------------------
 */

static mica_rc meta_name(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	struct mica_policy *p = to;
	struct mica_slice s;
	mica_rc rc = read_string(r, at, n, 253, &s);

	if (rc == MICA_OK && !mica_k8s_subdomain_ok(s))
		rc = read_fail(
			r, at, n, "policy_name", "\"%.64s\" is not the name of an object", n->text);
	if (rc == MICA_OK)
		p->name = (const char *)arena_text(&r->doc->arena, s).p;
	return rc;
}

static mica_rc meta_namespace(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	struct mica_policy *p = to;
	struct mica_slice s;
	mica_rc rc = read_string(r, at, n, 63, &s);

	if (rc == MICA_OK && !mica_k8s_label_ok(s))
		rc = read_fail(r, at, n, "policy_name", "\"%.64s\" is not the name of a namespace",
			n->text);
	if (rc == MICA_OK)
		p->ns = (const char *)arena_text(&r->doc->arena, s).p;
	return rc;
}

static mica_rc meta_labels(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	return read_pairs(r, at, n, true, &((struct mica_policy *)to)->labels);
}

static mica_rc meta_annotations(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	struct mica_policy *p = to;
	const node_t *dry =
		n->kind == MICA_YAML_MAPPING ? mica_yaml_member(n, DRY_RUN, strlen(DRY_RUN)) : NULL;
	const struct at here = {.up = at, .key = DRY_RUN};
	mica_rc rc = read_pairs(r, at, n, false, &p->annotations);

	if (rc != MICA_OK || dry == NULL)
		return rc;
	p->dry_run = strcmp(dry->text, "true") == 0;
	if (!p->dry_run && strcmp(dry->text, "false") != 0)
		return read_fail(r, &here, dry, "policy_value",
			"expected \"true\" or \"false\", found \"%.64s\"", dry->text);
	return MICA_OK;
}

static mica_rc meta_created(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	struct mica_policy *p = to;

	if (mica_yaml_is_null(n)) /* as kubectl's dry runs write it */
		return MICA_OK;
	if (n->kind != MICA_YAML_SCALAR ||
		mica_time_parse(mica_slice_str(n->text), &p->created) != MICA_OK)
		return read_fail(
			r, at, n, "policy_value", "expected a time such as 2026-11-24T12:00:00Z");
	return MICA_OK;
}

static mica_rc read_metadata(struct reading *r, const struct at *at, const node_t *n)
{
	static const struct read_field fields[] = {
		{"name", meta_name, true},
		{"namespace", meta_namespace, false},
		{"labels", meta_labels, false},
		{"annotations", meta_annotations, false},
		{"creationTimestamp", meta_created, false},
		/* what an API server adds; nothing of it is a policy */
		{"uid", NULL, false},
		{"resourceVersion", NULL, false},
		{"generation", NULL, false},
		{"managedFields", NULL, false},
		{"ownerReferences", NULL, false},
		{"finalizers", NULL, false},
		{"selfLink", NULL, false},
		{"deletionTimestamp", NULL, false},
		{"deletionGracePeriodSeconds", NULL, false},
	};

	return read_fields(r, at, n, fields, MICA_ARRAY_LEN(fields), &r->doc->p);
}

/* ---- spec ---------------------------------------------------------------------------------------
 */

static mica_rc selector_labels(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	return read_pairs(r, at, n, true, &((struct mica_policy *)to)->selector);
}

static mica_rc spec_selector(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	static const struct read_field fields[] = {{"matchLabels", selector_labels, false}};

	return read_fields(r, at, n, fields, MICA_ARRAY_LEN(fields), to);
}

static mica_rc spec_action(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	static const char *const names[] = {"ALLOW", "DENY", "AUDIT"};
	unsigned which = 0;
	mica_rc rc;

	if (n->kind == MICA_YAML_SCALAR && strcmp(n->text, "CUSTOM") == 0)
		return read_fail(r, at, n, "policy_unsupported",
			"CUSTOM asks a provider of Istio's own; expected ALLOW, DENY or AUDIT");
	rc = read_choice(r, at, n, names, MICA_ARRAY_LEN(names), &which);
	((struct mica_policy *)to)->action = which;
	return rc;
}

static mica_rc spec_unsupported(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	(void)to;
	return read_fail_key(r, at, n, "policy_unsupported", "%s",
		strcmp(n->key, "provider") == 0
			? "a provider belongs to CUSTOM, which is not supported"
			: "only a selector says which workloads a policy is about");
}

static mica_rc read_mode(
	const struct reading *r, const struct at *at, const node_t *n, enum mica_mtls_mode *out)
{
	static const char *const names[] = {"UNSET", "DISABLE", "PERMISSIVE", "STRICT"};
	unsigned which = 0;
	mica_rc rc = read_choice(r, at, n, names, MICA_ARRAY_LEN(names), &which);

	*out = which;
	return rc;
}

static mica_rc mtls_mode(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	return read_mode(r, at, n, to);
}

static mica_rc read_mtls(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	static const struct read_field fields[] = {{"mode", mtls_mode, false}};

	return read_fields(r, at, n, fields, MICA_ARRAY_LEN(fields), to);
}

static mica_rc spec_mtls(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	return read_mtls(r, at, n, &((struct mica_policy *)to)->mtls);
}

static int by_port(const void *a, const void *b)
{
	const struct mica_policy_port_mode *x = a, *y = b;

	return (int)x->port - (int)y->port;
}

static mica_rc spec_ports(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	mica_rc rc = read_mapping(r, at, n, MICA_POLICY_PAIRS_MAX);
	struct mica_policy_port_mode *v;
	struct mica_policy *p = to;
	uint64_t port = 0;

	if (rc != MICA_OK)
		return rc;
	v = arena_alloc(&r->doc->arena, n->count, sizeof(*v));
	for (const node_t *k = n->first; k && rc == MICA_OK; k = k->next) {
		const struct at here = {.up = at, .key = k->key};

		if (mica_parse_u64(mica_slice_str(k->key), 65535, &port) != MICA_OK || port == 0)
			return read_fail_key(r, &here, k, "policy_value",
				"\"%.64s\" is no port, expected 1 to 65535", k->key);
		v[p->n_ports].port = (uint16_t)port;
		rc = read_mtls(r, &here, k, &v[p->n_ports++].mode);
	}
	qsort(v, p->n_ports, sizeof(*v), by_port);
	p->ports = v;
	return rc;
}

static mica_rc check_authorization(struct reading *r, const struct at *at, const node_t *n)
{
	const struct mica_policy *p = &r->doc->p;

	if (p->dry_run && p->action == MICA_POLICY_AUDIT)
		return read_fail(r, at, n, "policy_unsupported",
			"a dry run of AUDIT would be nothing: it changes no verdict");
	if (p->n_rules == 0)
		read_warn(r, at, n->line, n->column, "policy_no_rules",
			p->action == MICA_POLICY_ALLOW
				? "without rules nothing is allowed that no other policy allows"
				: "without rules it never matches");
	return MICA_OK;
}

static mica_rc read_spec(struct reading *r, const struct at *at, const node_t *n)
{
	static const struct read_field authorization[] = {
		{"selector", spec_selector, false},
		{"action", spec_action, false},
		{"rules", read_rules, false},
		{"provider", spec_unsupported, false},
		{"targetRef", spec_unsupported, false},
		{"targetRefs", spec_unsupported, false},
	};
	static const struct read_field peer[] = {
		{"selector", spec_selector, false},
		{"mtls", spec_mtls, false},
		{"portLevelMtls", spec_ports, false},
	};
	struct mica_policy *p = &r->doc->p;
	mica_rc rc;

	if (p->kind == MICA_POLICY_AUTHORIZATION) {
		rc = read_fields(r, at, n, authorization, MICA_ARRAY_LEN(authorization), p);
		return rc == MICA_OK ? check_authorization(r, at, n) : rc;
	}
	rc = read_fields(r, at, n, peer, MICA_ARRAY_LEN(peer), p);
	if (rc == MICA_OK && p->n_ports && p->selector.n == 0)
		rc = read_fail(r, at, n, "policy_missing_field",
			"portLevelMtls is for the ports of some workloads: the field \"selector\" "
			"is missing");
	return rc;
}

/* ---- documents ----------------------------------------------------------------------------------
 */

static const node_t *member(const node_t *n, const char *key)
{
	return mica_yaml_member(n, key, strlen(key));
}

static mica_rc read_head(struct reading *r, const struct at *at, const node_t *n)
{
	const node_t *version = member(n, "apiVersion"), *kind = member(n, "kind");
	static const char *const kinds[] = {"AuthorizationPolicy", "PeerAuthentication"};

	if (version == NULL || kind == NULL)
		return read_fail(r, at, n, "policy_kind",
			"expected the fields apiVersion and kind of an object of Kubernetes");
	if (version->kind != MICA_YAML_SCALAR ||
		(strcmp(version->text, API_GROUP "/v1") != 0 &&
			strcmp(version->text, API_GROUP "/v1beta1") != 0))
		return read_fail(r, at, version, "policy_kind",
			"expected the apiVersion " API_GROUP "/v1, found \"%.64s\"",
			version->kind == MICA_YAML_SCALAR ? version->text : "...");
	for (unsigned i = 0; i < MICA_ARRAY_LEN(kinds); i++) {
		r->doc->p.kind = i;
		if (kind->kind == MICA_YAML_SCALAR && strcmp(kind->text, kinds[i]) == 0)
			return MICA_OK;
	}
	return read_fail(r, at, kind, "policy_kind",
		"expected the kind AuthorizationPolicy or PeerAuthentication, found \"%.64s\"",
		kind->kind == MICA_YAML_SCALAR ? kind->text : "...");
}

/* What a policy is called decides what its values mean, so metadata is read before spec. */
static mica_rc read_object(struct reading *r, const struct at *at, const node_t *n)
{
	static const struct read_field fields[] = {
		{"apiVersion", NULL, true},
		{"kind", NULL, true},
		{"metadata", NULL, true},
		{"spec", NULL, false},
		{"status", NULL, false},
	};
	const struct at meta = {.up = at, .key = "metadata"}, spec = {.up = at, .key = "spec"};
	static const node_t nothing = {.kind = MICA_YAML_MAPPING};
	node_t absent = nothing;
	mica_rc rc = read_mapping(r, at, n, 0);

	absent.line = n->line;
	absent.column = n->column;
	if (rc == MICA_OK)
		rc = read_head(r, at, n);
	if (rc == MICA_OK)
		rc = read_fields(r, at, n, fields, MICA_ARRAY_LEN(fields), NULL);
	if (rc == MICA_OK)
		rc = read_metadata(r, &meta, member(n, "metadata"));
	if (rc == MICA_OK)
		rc = read_spec(r, &spec, member(n, "spec") ? member(n, "spec") : &absent);
	return rc;
}

static mica_rc add_object(struct reading *r, const struct at *at, const node_t *n)
{
	struct mica_policies *out = r->out;
	mica_rc rc;

	if (out->n >= MICA_POLICY_DOCS_MAX)
		return read_fail(r, at, n, "policy_limit", "more than %d policies in one text",
			MICA_POLICY_DOCS_MAX);
	r->doc = MICA_NEW(struct policy_doc);
	r->doc->refs = 1;
	if ((out->n & (out->n - 1)) == 0) /* full at every power of two */
		out->v = mica_realloc(out->v, out->n ? 2u * out->n : 1, sizeof(out->v[0]));
	out->v[out->n++] = &r->doc->p;
	r->doc->p.line = n->line;
	r->doc->p.column = n->column;
	r->doc->p.ns = (const char *)arena_text(&r->doc->arena, mica_slice_str(r->default_ns)).p;
	rc = read_object(r, at, n);
	return rc;
}

/* What `kubectl get -o yaml` writes of several. */
static mica_rc read_items(struct reading *r, const node_t *n)
{
	static const struct read_field fields[] = {
		{"apiVersion", NULL, true},
		{"kind", NULL, true},
		{"metadata", NULL, false},
		{"items", NULL, true},
	};
	const struct at items = {.key = "items"};
	const node_t *list;
	mica_rc rc = read_fields(r, NULL, n, fields, MICA_ARRAY_LEN(fields), NULL);
	unsigned i = 0;

	if (rc != MICA_OK)
		return rc;
	list = member(n, "items");
	rc = read_list(r, &items, list, 0);
	for (const node_t *k = list->first; k && rc == MICA_OK; k = k->next) {
		const struct at here = {.up = &items, .index = i++};

		rc = add_object(r, &here, k);
	}
	return rc;
}

static bool is_list(const node_t *n)
{
	const node_t *kind = n->kind == MICA_YAML_MAPPING ? member(n, "kind") : NULL;
	size_t len = kind && kind->kind == MICA_YAML_SCALAR ? strlen(kind->text) : 0;

	return len >= 4 && strcmp(kind->text + len - 4, "List") == 0;
}

static int in_order(const void *a, const void *b)
{
	const struct mica_policy *x = *(const struct mica_policy *const *)a;
	const struct mica_policy *y = *(const struct mica_policy *const *)b;
	int by = policy_order(x, y);

	return by ? by : x->line - y->line;
}

static mica_rc check_duplicates(const struct reading *r)
{
	const struct mica_policies *all = r->out;
	const struct mica_policy **v MICA_AUTO_FREE =
		mica_memdup(all->v, all->n * sizeof(all->v[0]));

	qsort(v, all->n, sizeof(v[0]), in_order);
	for (unsigned i = 1; i < all->n; i++) {
		const struct mica_policy *p = v[i];
		const node_t at = {.line = p->line, .column = p->column};

		if (policy_order(v[i - 1], p) == 0)
			return read_fail(r, NULL, &at, "policy_duplicate",
				"the %s %s/%s is there twice, first in line %d",
				mica_policy_kind_name(p->kind), p->ns, p->name, v[i - 1]->line);
	}
	return MICA_OK;
}

static mica_rc read_documents(struct reading *r, const node_t *first)
{
	static const node_t start = {.line = 1, .column = 1};
	mica_rc rc = MICA_OK;

	for (const node_t *n = first; n && rc == MICA_OK; n = n->next) {
		if (mica_yaml_is_null(n)) /* between two "---" */
			continue;
		rc = is_list(n) ? read_items(r, n) : add_object(r, NULL, n);
	}
	if (rc == MICA_OK && r->out->n == 0)
		rc = read_fail(r, NULL, &start, "policy_empty", "there is no policy in it");
	return rc == MICA_OK ? check_duplicates(r) : rc;
}

mica_rc mica_policies_parse(struct mica_slice text, const char *name, const char *default_ns,
	struct mica_policies *out, struct mica_err *e)
{
	static const struct mica_yaml_limits limits = {
		.bytes = MICA_POLICY_TEXT_MAX, .documents = MICA_POLICY_DOCS_MAX, .members = 256};
	struct reading r = {.name = name,
		.default_ns = default_ns ? default_ns : "default",
		.out = out,
		.e = e};
	MICA_AUTO_STRUCT(mica_yaml_node) docs = NULL;
	mica_rc rc;

	*out = (struct mica_policies)MICA_POLICIES_INIT;
	rc = mica_yaml_read(text, name, &limits, &docs, e);
	if (rc == MICA_OK)
		rc = read_documents(&r, docs);
	if (rc != MICA_OK)
		mica_policies_clear(out);
	return rc;
}

void mica_policies_clear(struct mica_policies *p)
{
	for (unsigned i = 0; i < p->n; i++)
		mica_policy_unref(p->v[i]);
	mica_free(p->v);
	*p = (struct mica_policies)MICA_POLICIES_INIT;
}
