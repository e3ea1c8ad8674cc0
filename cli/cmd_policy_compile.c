/* SPDX-License-Identifier: Apache-2.0 */
/* `mica policy compile`: files of policies in the form of a mesh. */
#include "policy_files.h"

#include "mica/file.h"
#include "mica/policy_compile.h"

#define COMPILED_MAX ((size_t)256 << 20)

static void show_loss(struct writer *w, const struct mica_policy_loss *l)
{
	wr_object(w, NULL);
	wr_cstr(w, "namespace", l->ns);
	wr_cstr(w, "name", l->name);
	wr_uint(w, "rule", l->rule + 1);
	wr_int(w, "line", l->line);
	wr_int(w, "column", l->column);
	wr_cstr(w, "effect", l->denied_more ? "denies_more" : "allows_less");
	wr_cstr(w, "reason", l->reason);
	wr_cstr(w, "text", l->text);
	wr_end(w);
}

static void show_report(struct cli *c, const struct mica_policy_report *r)
{
	static const struct wr_column columns[] = {
		{"namespace", 12}, {"name", 20}, {"rule", 4}, {"effect", 11}, {"text", 0}};

	wr_uint(c->w, "policies", r->policies);
	wr_uint(c->w, "rules", r->rules);
	wr_uint(c->w, "lost", r->n);
	wr_table(c->w, "losses", columns, MICA_ARRAY_LEN(columns));
	for (unsigned i = 0; i < r->n && i < MICA_POLICY_LOSSES_MAX; i++)
		show_loss(c->w, &r->v[i]);
	wr_end(c->w);
}

static mica_rc options(struct cli *c, const struct mica_policy_workload *w, bool given,
	struct mica_policy_compile_options *o, struct mica_err *e)
{
	static const char *const forms[] = {"json", "yaml", "protobuf"};
	const char *target = cli_str(c, OPT_TARGET), *as = cli_str(c, OPT_AS);

	*o = (struct mica_policy_compile_options){.workload = given ? w : NULL,
		.strict = cli_set(c, OPT_STRICT),
		.part = cli_str(c, OPT_PART)};
	if (!target || !mica_policy_target_named(mica_slice_str(target), &o->target))
		return mica_fail(e, MICA_INVALID, "missing_argument",
			"--target is missing: envoy-http, envoy-network, istio, linkerd or consul");
	o->form = mica_policy_target_of(o->target)->form;
	for (unsigned i = 0; as && i < MICA_ARRAY_LEN(forms); i++)
		if (strcmp(as, forms[i]) == 0)
			o->form = (enum mica_policy_form)i;
	return MICA_OK;
}

/* What Linkerd's form asks besides. */
struct linkerd_options {
	struct mica_linkerd names;
	uint16_t ports[CLI_LIST_MAX];
};

static mica_rc linkerd_options(struct cli *c, struct linkerd_options *l,
	struct mica_policy_compile_options *o, struct mica_err *e)
{
	const char *ns = cli_str(c, OPT_LINKERD_NAMESPACE);
	const char *td = cli_str(c, OPT_LINKERD_TRUST_DOMAIN);
	const struct cli_value *ports = &c->v[OPT_PORT];
	uint64_t port;

	*l = (struct linkerd_options){.names = {.spiffe = false}};
	for (unsigned i = 0; i < ports->n; i++) {
		if (mica_parse_u64(mica_slice_str(ports->list[i]), 65535, &port) != MICA_OK ||
			!port)
			return mica_fail(e, MICA_INVALID, "bad_option",
				"--port %.20s: expected 1 to 65535", ports->list[i]);
		l->ports[i] = (uint16_t)port;
	}
	o->ports = l->ports;
	o->n_ports = ports->n;
	o->linkerd = &l->names;
	if (mica_slice_copy(mica_slice_str(ns ? ns : "linkerd"), l->names.control_ns,
		    sizeof(l->names.control_ns)) != MICA_OK ||
		mica_slice_copy(mica_slice_str(td ? td : "cluster.local"), l->names.trust_domain,
			sizeof(l->names.trust_domain)) != MICA_OK)
		return mica_fail(e, MICA_INVALID, "bad_option",
			"--linkerd-namespace, --linkerd-trust-domain: a name is too long");
	return MICA_OK;
}

static void put_base64(struct writer *w, const struct mica_buf *text)
{
	MICA_AUTO_BUF b;

	mica_buf_init(&b, 2 * COMPILED_MAX);
	mica_buf_put_b64(&b, text->p, text->len);
	wr_str(w, "base64", mica_buf_slice(&b));
}

/* Without --out the text goes out as it is, and the report only shows as JSON: a program that
 * wants both asks for it. */
static mica_rc show(struct cli *c, const struct mica_policy_compile_options *o,
	const struct mica_buf *text, const struct mica_policy_report *r, struct mica_err *e)
{
	const char *out = cli_str(c, OPT_OUT);
	mica_rc rc = MICA_OK;

	if (out)
		rc = mica_file_write_atomic(out, mica_buf_slice(text), 0644, e);
	if (rc != MICA_OK)
		return rc;
	if (!out && wr_format(c->w) == OUT_TEXT) {
		wr_raw(c->w, mica_buf_slice(text));
		return MICA_OK;
	}
	wr_object(c->w, NULL);
	wr_cstr(c->w, "target", mica_policy_target_of(o->target)->name);
	if (out)
		wr_cstr(c->w, "file", out);
	else if (o->form == MICA_FORM_PROTOBUF)
		put_base64(c->w, text);
	else
		wr_str(c->w, "compiled", mica_buf_slice(text));
	show_report(c, r);
	wr_end(c->w);
	return MICA_OK;
}

mica_rc cmd_policy_compile(struct cli *c, struct mica_err *e)
{
	MICA_AUTO_POLICY_REPORT report = MICA_POLICY_REPORT_INIT;
	struct mica_policy_compile_options o;
	struct mica_policy_pair pairs[CLI_LIST_MAX];
	struct mica_policy_workload workload;
	const struct mica_consul consul = {.datacenter = cli_str(c, OPT_CONSUL_DATACENTER),
		.only_namespace = cli_str(c, OPT_CONSUL_NAMESPACE),
		.service_label = cli_str(c, OPT_CONSUL_SERVICE_LABEL)};
	struct mica_policy_set *set = NULL;
	struct linkerd_options linkerd;
	MICA_AUTO_BUF text;
	bool given;
	mica_rc rc = policy_workload(c, pairs, &workload, &given, e);

	mica_buf_init(&text, COMPILED_MAX);
	if (rc == MICA_OK)
		rc = options(c, &workload, given, &o, e);
	if (rc == MICA_OK)
		rc = linkerd_options(c, &linkerd, &o, e);
	if (rc == MICA_OK)
		rc = policy_files_set(c, c->args, c->n_args, &set, e);
	o.consul = &consul;
	if (rc == MICA_OK)
		rc = mica_policy_compile(set, &o, &text, &report, e);
	if (rc == MICA_OK)
		rc = show(c, &o, &text, &report, e);
	mica_policy_set_unref(set);
	return rc;
}
