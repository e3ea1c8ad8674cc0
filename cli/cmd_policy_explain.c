/* SPDX-License-Identifier: Apache-2.0 */
/* `mica policy explain`: one request, what is decided and why. */
#include "policy_files.h"

#include "mica/file.h"
#include "mica/policy_case.h"

/* ---- the request -------------------------------------------------------------------------------
 */

static void put_member(struct mica_buf *b, const char *name, const char *value)
{
	if (!value)
		return;
	mica_buf_printf(b, ",\"%s\":", name);
	mica_buf_put_json_string(b, mica_slice_str(value));
}

static mica_rc put_pairs(struct cli *c, struct mica_buf *b, enum cli_opt option, struct mica_err *e)
{
	const struct cli_value *v = &c->v[option];

	for (unsigned i = 0; i < v->n; i++) {
		const char *sep = strchr(v->list[i], '=');

		if (!sep || sep == v->list[i])
			return mica_fail(e, MICA_INVALID, "bad_option",
				"--%s %.60s: expected NAME=VALUE", cli_options[option].name,
				v->list[i]);
		mica_buf_put_str(b, i ? "," : "");
		mica_buf_put_json_string(b, mica_slice(v->list[i], (size_t)(sep - v->list[i])));
		mica_buf_put_u8(b, ':');
		mica_buf_put_json_string(b, mica_slice_str(sep + 1));
	}
	return MICA_OK;
}

/* The options as the text that --request reads, so that both mean the same. */
static mica_rc put_request(struct cli *c, struct mica_buf *b, struct mica_err *e)
{
	const struct cli_value *ports = &c->v[OPT_PORT];
	mica_rc rc;

	if (!cli_str(c, OPT_NAMESPACE) || ports->n > 1)
		return mica_fail(e, MICA_INVALID, "missing_argument",
			"expected --namespace of the workload and at most one --port, or "
			"--request");
	mica_buf_put_str(b, "{\"workload\":{\"namespace\":");
	mica_buf_put_json_string(b, mica_slice_str(cli_str(c, OPT_NAMESPACE)));
	mica_buf_put_str(b, ",\"labels\":{");
	rc = put_pairs(c, b, OPT_LABEL, e);
	mica_buf_put_str(b, "}}");
	put_member(b, "peer", cli_str(c, OPT_PEER));
	put_member(b, "sourceIp", cli_str(c, OPT_SOURCE_IP));
	put_member(b, "host", cli_str(c, OPT_HOST));
	put_member(b, "method", cli_str(c, OPT_METHOD));
	put_member(b, "path", cli_str(c, OPT_PATH));
	put_member(b, "port", ports->n ? ports->list[0] : NULL);
	if (rc == MICA_OK && c->v[OPT_HEADER].n) {
		mica_buf_put_str(b, ",\"headers\":{");
		rc = put_pairs(c, b, OPT_HEADER, e);
		mica_buf_put_str(b, "}");
	}
	mica_buf_put_str(b, "}");
	return rc;
}

static mica_rc read_request(struct cli *c, struct mica_policy_cases *out, struct mica_err *e)
{
	const char *file = cli_str(c, OPT_REQUEST);
	MICA_AUTO_BUF text;
	mica_rc rc;

	mica_buf_init(&text, MICA_POLICY_TEXT_MAX);
	rc = file ? mica_file_read(file, &text, e) : put_request(c, &text, e);
	if (rc == MICA_OK)
		rc = mica_policy_request_parse(
			mica_buf_slice(&text), file ? file : "options", out, e);
	return rc;
}

/* ---- the answer --------------------------------------------------------------------------------
 */

static void put_rule(void *ctx, const struct mica_policy_finding *f)
{
	struct writer *w = ctx;
	MICA_AUTO_BUF text;

	mica_buf_init(&text, 65536);
	mica_policy_finding_put(&text, f);
	if (f->policy->dry_run)
		mica_buf_put_str(&text, " (dry run)");
	wr_object(w, NULL);
	wr_cstr(w, "action", mica_policy_action_name(f->policy->action));
	wr_cstr(w, "namespace", f->policy->ns);
	wr_cstr(w, "name", f->policy->name);
	if (f->policy->n_rules)
		wr_uint(w, "rule", f->rule + 1);
	wr_bool(w, "matches", f->matches);
	wr_bool(w, "dry_run", f->policy->dry_run);
	wr_str(w, "text", mica_buf_slice(&text));
	wr_end(w);
}

static void put_by(struct writer *w, const char *key, const struct mica_policy *p, unsigned rule)
{
	MICA_AUTO_BUF b;

	if (!p)
		return;
	mica_buf_init(&b, 1024);
	mica_buf_printf(&b, "%s/%s rule %u", p->ns, p->name, rule + 1);
	wr_str(w, key, mica_buf_slice(&b));
}

static void show(
	struct cli *c, const struct mica_policy_set *set, const struct mica_policy_request *r)
{
	static const struct wr_column columns[] = {{"text", 0}};
	struct mica_policy_verdict v;

	mica_policy_decide(set, r, &v);
	wr_object(c->w, NULL);
	wr_verdict(c->w, "verdict", v.now.allowed, v.now.allowed ? "allow" : "deny");
	wr_cstr(c->w, "why", mica_policy_why_name(v.now.why));
	put_by(c->w, "by", v.now.policy, v.now.rule);
	wr_cstr(c->w, "dry_run", v.dry_run.allowed ? "allow" : "deny");
	put_by(c->w, "audited_by", v.audit, v.audit_rule);
	wr_table(c->w, "rules", columns, MICA_ARRAY_LEN(columns));
	mica_policy_explain(set, r, put_rule, c->w);
	wr_end(c->w);
	wr_end(c->w);
	c->exit_status = v.now.allowed ? 0 : CLI_EXIT_MATCHED;
}

mica_rc cmd_policy_explain(struct cli *c, struct mica_err *e)
{
	MICA_AUTO_POLICY_CASES request = {.n = 0};
	struct mica_policy_set *set = NULL;
	mica_rc rc = read_request(c, &request, e);

	if (rc == MICA_OK)
		rc = policy_files_set(c, c->args, c->n_args, &set, e);
	if (rc == MICA_OK)
		show(c, set, &request.v[0].request);
	mica_policy_set_unref(set);
	return rc;
}
