/* SPDX-License-Identifier: Apache-2.0 */
/* What requests about policies say in their queries; documents are mica/policy.h's to read. */
#include "api_decode.h"

#include "mica/spiffeid.h"

static const char *const kinds[] = {"AuthorizationPolicy", "PeerAuthentication", NULL};
static const char *const forms[] = {"json", "yaml", "protobuf", NULL};
static const char *const parts[] = {"audit", "deny", "allow", NULL};
static const char *const flags[] = {"false", "true", NULL};

const char *const api_policies_params[] = {"channel", "wait", "namespace", NULL};
const char *const api_compiled_params[] = {"channel", "wait", "target", "workload", "form",
	"strict", "report", "part", "port", "datacenter", "consul_namespace", "service_label",
	NULL};
const char *const api_policy_params[] = {"kind", "channel", "revision", "form", NULL};
const char *const api_policy_change_params[] = {"kind", "channel", NULL};
const char *const api_policies_change_params[] = {"channel", NULL};
const char *const api_policy_kind_params[] = {"kind", NULL};

static mica_rc word(const char *name, struct mica_slice v, const char *const *words, int *out,
	struct mica_err *e)
{
	*out = api_find_word(words, v);
	if (*out >= 0)
		return MICA_OK;
	return words[2] ? mica_fail(e, MICA_INVALID, "bad_parameter",
				  "%s: expected \"%s\", \"%s\" or \"%s\"", name, words[0], words[1],
				  words[2])
			: mica_fail(e, MICA_INVALID, "bad_parameter",
				  "%s: expected \"%s\" or \"%s\"", name, words[0], words[1]);
}

/* "NAMESPACE" or "NAMESPACE/KEY=VALUE,KEY=VALUE". */
static mica_rc workload(struct mica_slice v, struct api_policy_query *out, struct mica_err *e)
{
	struct mica_slice labels = v, one;
	bool more = mica_slice_cut(&labels, '/', &out->workload.ns);

	out->has_workload = true;
	out->workload.labels = out->labels;
	while (more) {
		struct mica_policy_pair *p = &out->labels[out->workload.n_labels];

		more = mica_slice_cut(&labels, ',', &one);
		if (out->workload.n_labels == API_LABELS_MAX)
			return mica_fail(e, MICA_INVALID, "bad_parameter",
				"workload: expected at most %d labels", API_LABELS_MAX);
		p->value = one;
		if (!mica_slice_cut(&p->value, '=', &p->key) || p->key.len == 0)
			return mica_fail(e, MICA_INVALID, "bad_parameter",
				"workload: expected NAMESPACE/KEY=VALUE,KEY=VALUE");
		out->workload.n_labels++;
	}
	if (!mica_k8s_label_ok(out->workload.ns))
		return mica_fail(e, MICA_INVALID, "bad_parameter",
			"workload: expected NAMESPACE or NAMESPACE/KEY=VALUE,KEY=VALUE");
	return MICA_OK;
}

/* "8080" or "8080,9090". */
static mica_rc text(
	const char *name, struct mica_slice v, char *to, size_t size, struct mica_err *e)
{
	if (v.len > 0 && mica_slice_copy(v, to, size) == MICA_OK)
		return MICA_OK;
	return mica_fail(
		e, MICA_INVALID, "bad_parameter", "%s: expected 1 to %zu octets", name, size - 1);
}

static mica_rc ports(struct mica_slice v, struct api_policy_query *out, struct mica_err *e)
{
	struct mica_slice one;
	uint64_t port;
	bool more;

	do {
		more = mica_slice_cut(&v, ',', &one);
		if (out->n_ports == API_PORTS_MAX ||
			mica_parse_u64(one, UINT16_MAX, &port) != MICA_OK || port == 0)
			return mica_fail(e, MICA_INVALID, "bad_parameter",
				"port: expected at most %d numbers of 1 to 65535, with commas",
				API_PORTS_MAX);
		out->ports[out->n_ports++] = (uint16_t)port;
	} while (more);
	return MICA_OK;
}

static mica_rc target(struct mica_slice v, struct api_policy_query *out, struct mica_err *e)
{
	out->has_target = mica_policy_target_named(v, &out->target);
	return out->has_target
		? MICA_OK
		: mica_fail(e, MICA_INVALID, "bad_parameter",
			  "target: expected envoy-http, envoy-network, istio, linkerd or consul");
}

static mica_rc revision(struct mica_slice v, struct api_policy_query *out, struct mica_err *e)
{
	if (mica_parse_u64(v, INT64_MAX, &out->revision) == MICA_OK && out->revision > 0)
		return MICA_OK;
	return mica_fail(e, MICA_INVALID, "bad_parameter", "revision: expected a number from 1 on");
}

static mica_rc one_param(
	const char *name, struct mica_slice v, struct api_policy_query *out, struct mica_err *e)
{
	int i = 0;
	mica_rc rc = MICA_OK;

	if (strcmp(name, "channel") == 0) {
		rc = word(name, v, api_channel_words, &i, e);
		out->channel = (enum mica_channel)i;
	} else if (strcmp(name, "kind") == 0) {
		rc = word(name, v, kinds, &i, e);
		out->kind = (enum mica_policy_kind)i;
		out->has_kind = true;
	} else if (strcmp(name, "form") == 0) {
		rc = word(name, v, forms, &i, e);
		out->form = (enum mica_policy_form)i;
		out->has_form = true;
	} else if (strcmp(name, "strict") == 0) {
		rc = word(name, v, flags, &i, e);
		out->strict = i == 1;
	} else if (strcmp(name, "report") == 0) {
		rc = word(name, v, flags, &i, e);
		out->report = i == 1;
	} else if (strcmp(name, "part") == 0) {
		rc = word(name, v, parts, &i, e);
		out->part = rc == MICA_OK ? parts[i] : NULL;
	} else if (strcmp(name, "port") == 0) {
		rc = ports(v, out, e);
	} else if (strcmp(name, "datacenter") == 0) {
		rc = text(name, v, out->datacenter, sizeof(out->datacenter), e);
	} else if (strcmp(name, "consul_namespace") == 0) {
		rc = text(name, v, out->consul_namespace, sizeof(out->consul_namespace), e);
	} else if (strcmp(name, "service_label") == 0) {
		rc = text(name, v, out->service_label, sizeof(out->service_label), e);
	} else if (strcmp(name, "namespace") == 0) {
		out->ns = v;
	} else if (strcmp(name, "target") == 0) {
		rc = target(v, out, e);
	} else if (strcmp(name, "workload") == 0) {
		rc = workload(v, out, e);
	} else if (strcmp(name, "revision") == 0) {
		rc = revision(v, out, e);
	}
	return rc;
}

mica_rc api_decode_policy_query(const struct api_params *p, const char *const *names,
	struct api_policy_query *out, struct mica_err *e)
{
	mica_rc rc = MICA_OK;

	*out = (struct api_policy_query){.channel = MICA_CHANNEL_LIVE};
	for (int i = 0; names[i] && rc == MICA_OK; i++)
		if (p->has[i])
			rc = one_param(names[i], p->v[i], out, e);
	return rc;
}

/* ---- bodies ---------------------------------------------------------------------------------- */

mica_rc api_decode_policy_rollback(
	const struct mica_json *doc, uint64_t *revision, struct mica_err *e)
{
	int64_t n = 0;
	const struct mica_json_member members[] = {{.name = "revision",
		.type = MICA_JSON_INT,
		.required = true,
		.min = 1,
		.max = (int64_t)1 << 53,
		.out = &n}};
	mica_rc rc = mica_json_read(doc, doc->root, "", members, MICA_ARRAY_LEN(members), false, e);

	*revision = (uint64_t)n;
	return rc;
}

static mica_rc read_key(
	const struct mica_json *doc, json_t *v, struct mica_doc_key *out, struct mica_err *e)
{
	const struct mica_json_member members[] = {
		{.name = "kind", .type = MICA_JSON_STRING, .min = 1, .max = 63, .out = &out->kind},
		{.name = "namespace",
			.type = MICA_JSON_STRING,
			.required = true,
			.min = 1,
			.max = 63,
			.out = &out->ns},
		{.name = "name",
			.type = MICA_JSON_STRING,
			.required = true,
			.min = 1,
			.max = 253,
			.out = &out->name},
	};

	out->kind = mica_slice_str(kinds[0]);
	if (!json_is_object(v))
		return mica_json_fail(doc, v, e, "json_type", "policies: expected objects");
	return mica_json_read(doc, v, "policies", members, MICA_ARRAY_LEN(members), false, e);
}

mica_rc api_decode_policy_keys(
	const struct mica_json *doc, struct mica_doc_key *keys, size_t *n, struct mica_err *e)
{
	json_t *list = NULL, *v;
	const struct mica_json_member members[] = {{.name = "policies",
		.type = MICA_JSON_ARRAY,
		.min = 1,
		.max = API_POLICY_KEYS_MAX,
		.out = &list}};
	mica_rc rc = mica_json_read(doc, doc->root, "", members, MICA_ARRAY_LEN(members), false, e);
	size_t i;

	*n = 0;
	json_array_foreach (list, i, v) {
		if (rc == MICA_OK)
			rc = read_key(doc, v, &keys[(*n)++], e);
	}
	return rc;
}
