/* SPDX-License-Identifier: Apache-2.0 */
/* Tables of requests and expected verdicts. */
#include "impl.h"

#include "mica/policy_case.h"
#include "mica/spiffeid.h"

MICA_CLEANUP_STRUCT(mica_yaml_node, mica_yaml_node_free);

/* ---- small things
 * ---------------------------------------------------------------------------------- */

static mica_rc text_of(
	const struct reading *r, const struct at *at, const node_t *n, struct mica_slice *out)
{
	struct mica_slice s;
	mica_rc rc = read_string(r, at, n, MICA_POLICY_VALUE_MAX, &s);

	if (rc == MICA_OK)
		*out = arena_text(&r->doc->arena, s);
	return rc;
}

static mica_rc word_of(
	const struct reading *r, const struct at *at, const node_t *n, const char **out)
{
	struct mica_slice s = MICA_SLICE_NULL;
	mica_rc rc = text_of(r, at, n, &s);

	*out = (const char *)s.p;
	return rc;
}

static mica_rc truth_of(const struct reading *r, const struct at *at, const node_t *n, bool *out)
{
	*out = n->kind == MICA_YAML_SCALAR && n->plain && strcmp(n->text, "true") == 0;
	if (*out || (n->kind == MICA_YAML_SCALAR && n->plain && strcmp(n->text, "false") == 0))
		return MICA_OK;
	return read_fail(r, at, n, "policy_type", "expected true or false");
}

static mica_rc verdict_of(const struct reading *r, const struct at *at, const node_t *n, bool *out)
{
	static const char *const names[] = {"deny", "allow"};
	unsigned which = 0;
	mica_rc rc = read_choice(r, at, n, names, 2, &which);

	*out = which == 1;
	return rc;
}

static mica_rc ip_of(
	const struct reading *r, const struct at *at, const node_t *n, struct mica_ip *out)
{
	struct mica_err own = MICA_ERR_INIT;
	struct mica_slice s;
	mica_rc rc = read_string(r, at, n, 64, &s);

	if (rc == MICA_OK && mica_ip_parse(s, out, &own) != MICA_OK)
		rc = read_fail(r, at, n, "policy_value", "%s", own.text);
	return rc;
}

/* Names and strings; `fold`: names in lower case. */
static mica_rc pairs_of(const struct reading *r, const struct at *at, const node_t *n, bool fold,
	const struct mica_policy_pair **out, unsigned *count)
{
	mica_rc rc = read_mapping(r, at, n, 0);
	struct mica_policy_pair *v = arena_alloc(&r->doc->arena, n->count, sizeof(*v));
	unsigned i = 0;

	for (const node_t *k = n->first; rc == MICA_OK && k; k = k->next, i++) {
		const struct at here = {.up = at, .key = k->key};
		uint8_t *name;

		v[i].key = arena_text(&r->doc->arena, mica_slice_str(k->key));
		name = (uint8_t *)v[i].key.p;
		for (size_t j = 0; fold && j < v[i].key.len; j++)
			name[j] |= name[j] >= 'A' && name[j] <= 'Z' ? 0x20 : 0;
		rc = text_of(r, &here, k, &v[i].value);
	}
	*out = v;
	*count = i;
	return rc;
}

/* ---- the JWT
 * ------------------------------------------------------------------------------------------ */

static mica_rc jwt_issuer(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	return text_of(r, at, n, &((struct mica_policy_request *)to)->jwt_issuer);
}

static mica_rc jwt_subject(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	return text_of(r, at, n, &((struct mica_policy_request *)to)->jwt_subject);
}

static mica_rc jwt_presenter(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	return text_of(r, at, n, &((struct mica_policy_request *)to)->presenter);
}

static mica_rc jwt_audiences(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	struct mica_policy_request *q = to;
	mica_rc rc = read_list(r, at, n, 0);
	struct mica_slice *v = arena_alloc(&r->doc->arena, n->count, sizeof(*v));

	for (const node_t *k = n->first; rc == MICA_OK && k; k = k->next) {
		const struct at here = {.up = at, .index = q->n_audiences};

		rc = text_of(r, &here, k, &v[q->n_audiences++]);
	}
	q->audiences = v;
	return rc;
}

static size_t count_scalars(const node_t *n)
{
	size_t all = n->kind == MICA_YAML_SCALAR;

	for (const node_t *k = n->first; k; k = k->next)
		all += count_scalars(k);
	return all;
}

struct claims {
	struct mica_policy_pair *v;
	unsigned n;
};

/* {a: {b: [x, y]}} -> "[a][b]" x, "[a][b]" y */
static mica_rc flatten(const struct reading *r, const struct at *at, const node_t *n,
	struct mica_slice name, struct claims *out)
{
	mica_rc rc = MICA_OK;

	if (n->kind == MICA_YAML_SCALAR) {
		out->v[out->n].key = name;
		return text_of(r, at, n, &out->v[out->n++].value);
	}
	for (const node_t *k = n->first; rc == MICA_OK && k; k = k->next) {
		const struct at here = {.up = at, .key = k->key};
		MICA_AUTO_BUF b;

		mica_buf_init(&b, 2 * MICA_POLICY_VALUE_MAX);
		if (k->key == NULL) { /* an entry of a list has the list's name */
			rc = flatten(r, at, k, name, out);
			continue;
		}
		mica_buf_put_slice(&b, name);
		mica_buf_printf(&b, "[%s]", k->key);
		if (b.over || b.len > MICA_POLICY_VALUE_MAX)
			return read_fail_key(
				r, &here, k, "policy_limit", "a name that is too long");
		rc = flatten(r, &here, k, arena_text(&r->doc->arena, mica_buf_slice(&b)), out);
	}
	return rc;
}

static mica_rc jwt_claims(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	struct mica_policy_request *q = to;
	struct claims c = {.v = arena_alloc(&r->doc->arena, count_scalars(n), sizeof(*c.v))};
	mica_rc rc = read_mapping(r, at, n, 0);

	if (rc == MICA_OK)
		rc = flatten(r, at, n, MICA_SLICE_NULL, &c);
	q->claims = c.v;
	q->n_claims = c.n;
	return rc;
}

static mica_rc request_jwt(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	static const struct read_field fields[] = {
		{"issuer", jwt_issuer, true},
		{"subject", jwt_subject, true},
		{"audiences", jwt_audiences, false},
		{"presenter", jwt_presenter, false},
		{"claims", jwt_claims, false},
	};

	((struct mica_policy_request *)to)->http = true;
	return read_fields(r, at, n, fields, MICA_ARRAY_LEN(fields), to);
}

/* ---- the request
 * ---------------------------------------------------------------------------------------- */

static mica_rc workload_namespace(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	struct mica_policy_workload *w = to;
	mica_rc rc = text_of(r, at, n, &w->ns);

	/* in one that cannot be there are no policies, and everything would be allowed */
	if (rc == MICA_OK && !mica_k8s_label_ok(w->ns))
		rc = read_fail(r, at, n, "policy_value", "expected the name of a namespace");
	return rc;
}

static mica_rc workload_labels(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	struct mica_policy_workload *w = to;

	return pairs_of(r, at, n, false, &w->labels, &w->n_labels);
}

static mica_rc request_workload(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	static const struct read_field fields[] = {
		{"namespace", workload_namespace, true},
		{"labels", workload_labels, false},
	};

	return read_fields(r, at, n, fields, MICA_ARRAY_LEN(fields),
		&((struct mica_policy_request *)to)->workload);
}

static mica_rc request_peer(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	struct mica_policy_request *q = to;
	struct mica_err own = MICA_ERR_INIT;
	struct mica_spiffe_id id;
	mica_rc rc = text_of(r, at, n, &q->peer);

	if (rc == MICA_OK && mica_spiffe_id_parse(q->peer, &id, &own) != MICA_OK)
		rc = read_fail(r, at, n, "policy_value", "no SPIFFE ID: %s", own.text);
	return rc;
}

static mica_rc request_source_ip(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	return ip_of(r, at, n, &((struct mica_policy_request *)to)->source_ip);
}

static mica_rc request_remote_ip(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	return ip_of(r, at, n, &((struct mica_policy_request *)to)->remote_ip);
}

static mica_rc request_destination_ip(
	struct reading *r, const struct at *at, const node_t *n, void *to)
{
	return ip_of(r, at, n, &((struct mica_policy_request *)to)->destination_ip);
}

static mica_rc request_port(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	uint64_t port = 0;

	if (n->kind != MICA_YAML_SCALAR ||
		mica_parse_u64(mica_slice_str(n->text), 65535, &port) != MICA_OK || port == 0)
		return read_fail(r, at, n, "policy_value", "expected a port, 1 to 65535");
	((struct mica_policy_request *)to)->port = (uint16_t)port;
	return MICA_OK;
}

static mica_rc request_sni(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	return text_of(r, at, n, &((struct mica_policy_request *)to)->sni);
}

static mica_rc request_host(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	((struct mica_policy_request *)to)->http = true;
	return text_of(r, at, n, &((struct mica_policy_request *)to)->host);
}

static mica_rc request_method(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	((struct mica_policy_request *)to)->http = true;
	return text_of(r, at, n, &((struct mica_policy_request *)to)->method);
}

static mica_rc request_path(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	((struct mica_policy_request *)to)->http = true;
	return text_of(r, at, n, &((struct mica_policy_request *)to)->path);
}

static mica_rc request_headers(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	struct mica_policy_request *q = to;

	q->http = true;
	return pairs_of(r, at, n, true, &q->headers, &q->n_headers);
}

/* ---- cases
 * ------------------------------------------------------------------------------------------------
 */

static mica_rc case_name(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	return word_of(r, at, n, &((struct mica_policy_case *)to)->name);
}

/* HTTP is what has a method, path, host, header or JWT. */
static mica_rc case_request(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	static const struct read_field fields[] = {
		{"workload", request_workload, true},
		{"peer", request_peer, false},
		{"sourceIp", request_source_ip, false},
		{"remoteIp", request_remote_ip, false},
		{"destinationIp", request_destination_ip, false},
		{"port", request_port, false},
		{"sni", request_sni, false},
		{"host", request_host, false},
		{"method", request_method, false},
		{"path", request_path, false},
		{"headers", request_headers, false},
		{"jwt", request_jwt, false},
	};

	return read_fields(r, at, n, fields, MICA_ARRAY_LEN(fields),
		&((struct mica_policy_case *)to)->request);
}

static mica_rc case_expect(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	return verdict_of(r, at, n, &((struct mica_policy_case *)to)->allowed);
}

static mica_rc case_dry_run(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	((struct mica_policy_case *)to)->has_dry_run = true;
	return verdict_of(r, at, n, &((struct mica_policy_case *)to)->dry_run_allowed);
}

static mica_rc case_audited(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	((struct mica_policy_case *)to)->has_audited = true;
	return truth_of(r, at, n, &((struct mica_policy_case *)to)->audited);
}

static mica_rc case_by(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	return word_of(r, at, n, &((struct mica_policy_case *)to)->by);
}

static mica_rc table_cases(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	static const struct read_field fields[] = {
		{"name", case_name, true},
		{"request", case_request, true},
		{"expect", case_expect, true},
		{"dryRun", case_dry_run, false},
		{"audited", case_audited, false},
		{"by", case_by, false},
	};
	struct mica_policy_cases *out = to;
	mica_rc rc = read_list(r, at, n, MICA_POLICY_CASES_MAX);
	struct mica_policy_case *v;

	if (rc != MICA_OK)
		return rc;
	v = arena_alloc(&r->doc->arena, n->count, sizeof(*v));
	out->v = v;
	for (const node_t *k = n->first; rc == MICA_OK && k; k = k->next) {
		const struct at here = {.up = at, .index = out->n};

		v[out->n].line = k->line;
		v[out->n].column = k->column;
		rc = read_fields(r, &here, k, fields, MICA_ARRAY_LEN(fields), &v[out->n++]);
	}
	return rc;
}

/* ---- the table
 * ---------------------------------------------------------------------------------------------- */

static mica_rc words_of(const struct reading *r, const struct at *at, const node_t *n, unsigned max,
	const char *const **out, unsigned *count)
{
	mica_rc rc = read_list(r, at, n, max);
	const char **v;

	if (rc != MICA_OK)
		return rc;
	v = arena_alloc(&r->doc->arena, n->count, sizeof(*v));
	for (const node_t *k = n->first; rc == MICA_OK && k; k = k->next) {
		const struct at here = {.up = at, .index = *count};

		rc = word_of(r, &here, k, &v[(*count)++]);
	}
	*out = v;
	return rc;
}

static mica_rc table_policies(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	struct mica_policy_cases *out = to;

	return words_of(r, at, n, 256, &out->files, &out->n_files);
}

static mica_rc mesh_root(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	return word_of(r, at, n, &((struct mica_policy_mesh *)to)->root_ns);
}

static mica_rc mesh_domain(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	return word_of(r, at, n, &((struct mica_policy_mesh *)to)->trust_domain);
}

static mica_rc mesh_aliases(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	struct mica_policy_mesh *mesh = to;

	return words_of(r, at, n, 64, &mesh->aliases, &mesh->n_aliases);
}

static mica_rc table_mesh(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	static const struct read_field fields[] = {
		{"rootNamespace", mesh_root, false},
		{"trustDomain", mesh_domain, false},
		{"trustDomainAliases", mesh_aliases, false},
	};

	return read_fields(
		r, at, n, fields, MICA_ARRAY_LEN(fields), &((struct mica_policy_cases *)to)->mesh);
}

static mica_rc table_version(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	(void)to;
	if (n->kind == MICA_YAML_SCALAR && strcmp(n->text, "mica/v1") == 0)
		return MICA_OK;
	return read_fail(r, at, n, "policy_kind", "expected the apiVersion mica/v1");
}

static mica_rc table_kind(struct reading *r, const struct at *at, const node_t *n, void *to)
{
	(void)to;
	if (n->kind == MICA_YAML_SCALAR && strcmp(n->text, "PolicyTest") == 0)
		return MICA_OK;
	return read_fail(r, at, n, "policy_kind", "expected the kind PolicyTest");
}

static const struct mica_yaml_limits limits = {.bytes = MICA_POLICY_TEXT_MAX, .members = 256};

mica_rc mica_policy_request_parse(
	struct mica_slice text, const char *name, struct mica_policy_cases *out, struct mica_err *e)
{
	struct reading r = {.name = name, .doc = MICA_NEW(struct policy_doc), .e = e};
	struct mica_policy_case *one = arena_alloc(&r.doc->arena, 1, sizeof(*one));
	MICA_AUTO_STRUCT(mica_yaml_node) root = NULL;
	mica_rc rc;

	*out = (struct mica_policy_cases){.v = one, .n = 1, .memory = r.doc};
	rc = mica_yaml_read(text, name, &limits, &root, e);
	if (rc == MICA_OK)
		rc = case_request(&r, NULL, root, one);
	if (rc != MICA_OK)
		mica_policy_cases_clear(out);
	return rc;
}

mica_rc mica_policy_cases_parse(
	struct mica_slice text, const char *name, struct mica_policy_cases *out, struct mica_err *e)
{
	static const struct read_field fields[] = {
		{"apiVersion", table_version, true},
		{"kind", table_kind, true},
		{"policies", table_policies, true},
		{"mesh", table_mesh, false},
		{"cases", table_cases, true},
	};
	struct reading r = {.name = name, .doc = MICA_NEW(struct policy_doc), .e = e};
	MICA_AUTO_STRUCT(mica_yaml_node) root = NULL;
	mica_rc rc;

	*out = (struct mica_policy_cases){.memory = r.doc};
	rc = mica_yaml_read(text, name, &limits, &root, e);
	if (rc == MICA_OK)
		rc = read_fields(&r, NULL, root, fields, MICA_ARRAY_LEN(fields), out);
	if (rc != MICA_OK)
		mica_policy_cases_clear(out);
	return rc;
}

void mica_policy_cases_clear(struct mica_policy_cases *c)
{
	struct policy_doc *doc = c->memory;

	if (doc)
		arena_clear(&doc->arena);
	mica_free(doc);
	*c = (struct mica_policy_cases){.n = 0};
}

/* ---- comparing
 * ------------------------------------------------------------------------------------------------
 */

static const char *word(bool allowed)
{
	return allowed ? "allow" : "deny";
}

static void put_outcome(struct mica_buf *b, const struct mica_policy_outcome *o)
{
	mica_buf_printf(b, "%s by %s", word(o->allowed), mica_policy_why_name(o->why));
	if (o->policy)
		mica_buf_printf(b, " %s/%s:%u", o->policy->ns, o->policy->name, o->rule + 1);
}

static bool is_by(const struct mica_policy_outcome *o, const char *by)
{
	size_t len = o->policy ? strlen(o->policy->ns) : 0;

	return o->policy && strncmp(by, o->policy->ns, len) == 0 && by[len] == '/' &&
		strcmp(by + len + 1, o->policy->name) == 0;
}

bool mica_policy_case_holds(const struct mica_policy_set *s, const struct mica_policy_case *c,
	struct mica_policy_verdict *verdict, struct mica_buf *why)
{
	struct mica_buf none;
	struct mica_buf *b = why;
	size_t start;

	if (b == NULL) {
		mica_buf_init(&none, 4096);
		b = &none;
	}
	start = b->len;
	mica_policy_decide(s, &c->request, verdict);
	if (verdict->now.allowed != c->allowed || (c->by && !is_by(&verdict->now, c->by))) {
		mica_buf_printf(b, "expected %s%s%s, found ", word(c->allowed), c->by ? " by " : "",
			c->by ? c->by : "");
		put_outcome(b, &verdict->now);
	} else if (c->has_dry_run && verdict->dry_run.allowed != c->dry_run_allowed) {
		mica_buf_printf(b, "expected %s with dry runs, found ", word(c->dry_run_allowed));
		put_outcome(b, &verdict->dry_run);
	} else if (c->has_audited && (verdict->audit != NULL) != c->audited) {
		mica_buf_printf(b, "expected %s, found the contrary",
			c->audited ? "to be audited" : "not to be audited");
	}
	bool holds = b->len == start && !b->over;

	if (why == NULL)
		mica_buf_clear(&none);
	return holds;
}
