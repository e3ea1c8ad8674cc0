/* SPDX-License-Identifier: Apache-2.0 */
/* The policies of a micad: put, read, deleted, taken back, promoted. */
#include "client.h"
#include "policy_files.h"

#include <inttypes.h>
#include <stdio.h>

#define LIST_MAX ((size_t)64 << 20)
#define BODY_MAX ((size_t)1 << 20) /* what micad's socket takes */

static mica_rc ask(
	struct cli *c, const struct client_request *r, struct mica_json *d, struct mica_err *e)
{
	RESPONSE_AUTO answer = {0};
	CLIENT_AUTO k = NULL;
	mica_rc rc = client_open(c, CLIENT_ADMIN | CLIENT_CREDENTIAL, &k, e);

	return rc == MICA_OK ? client_json(k, r, &answer, d, e) : rc;
}

static void query(struct cli *c, struct mica_buf *path, enum cli_opt o, const char *name)
{
	if (cli_set(c, o))
		client_query(path, name, mica_slice_str(cli_str(c, o)));
}

/* "NAMESPACE/NAME". */
static mica_rc split(
	const char *text, struct mica_slice *ns, struct mica_slice *name, struct mica_err *e)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyz0123456789-.";
	bool ok;

	*name = mica_slice_str(text);
	ok = mica_slice_cut(name, '/', ns) && ns->len > 0 && name->len > 0 &&
		strspn(text, plain) == ns->len && strspn(text + ns->len + 1, plain) == name->len;
	if (ok)
		return MICA_OK;
	return mica_fail(e, MICA_INVALID, "bad_policy_name",
		"'%.60s' does not name a policy; expected NAMESPACE/NAME", text);
}

/* "/v1/policies/NAMESPACE/NAME" and what stands behind it. */
static mica_rc path_of(struct cli *c, const char *text, const char *behind, struct mica_buf *path,
	struct mica_err *e)
{
	struct mica_slice ns, name;
	mica_rc rc = split(text, &ns, &name, e);

	mica_buf_init(path, 4096);
	if (rc != MICA_OK)
		return rc;
	mica_buf_printf(path, "/v1/policies/%s%s", text, behind);
	query(c, path, OPT_KIND, "kind");
	return mica_buf_rc(path, e);
}

/* An ETag from the command line: with its quotes or without. */
static const char *if_match(struct cli *c, char out[128])
{
	const char *text = cli_str(c, OPT_IF_MATCH);

	if (!text)
		return NULL;
	snprintf(out, 128, text[0] == '"' || text[0] == '*' ? "%s" : "\"%s\"", text);
	return out;
}

/* ---- policy apply ------------------------------------------------------------------------------
 */

/* All documents as one List of Kubernetes, in canonical form: errors were found here, in the files
 * and lines that the caller knows. */
static mica_rc put_list(struct cli *c, struct mica_buf *body, struct mica_err *e)
{
	const char *sep = "";

	mica_buf_put_str(body, "{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[");
	for (unsigned i = 0; i < c->n_args; i++) {
		MICA_AUTO_POLICIES some = MICA_POLICIES_INIT;
		mica_rc rc = policy_file_load(c->args[i], &some, e);

		if (rc != MICA_OK)
			return rc;
		for (unsigned k = 0; k < some.n_warnings && k < MICA_POLICY_WARNINGS_MAX; k++)
			wr_note(c->w, "warning: %s", some.warnings[k].text);
		for (unsigned k = 0; k < some.n; k++) {
			mica_buf_put_str(body, sep);
			mica_policy_put_json(body, some.v[k]);
			sep = ",";
		}
	}
	mica_buf_put_str(body, "]}");
	if (body->over)
		return mica_fail(e, MICA_LIMIT, "body_too_long",
			"these policies have more than %zu octets: apply them in several steps, or from a directory (policies.directory)",
			BODY_MAX);
	return MICA_OK;
}

mica_rc cmd_policy_apply(struct cli *c, struct mica_err *e)
{
	static const struct wr_column columns[] = {
		{"kind", 19}, {"namespace", 16}, {"name", 24}, {"revision", 8}, {"changed", 0}};
	char etag[128];
	struct client_request r = {.method = "POST", .max_body = LIST_MAX};
	MICA_AUTO_BUF path, body;
	MICA_AUTO_JSON d = {0};
	mica_rc rc;

	mica_buf_init(&path, 4096);
	mica_buf_init(&body, BODY_MAX);
	mica_buf_put_str(&path, "/v1/policies");
	query(c, &path, OPT_CHANNEL, "channel");
	rc = put_list(c, &body, e);
	if (rc != MICA_OK)
		return rc;
	r.path = (const char *)path.p;
	r.body = mica_buf_slice(&body);
	r.if_match = if_match(c, etag);
	rc = ask(c, &r, &d, e);
	if (rc != MICA_OK)
		return rc;
	wr_object(c->w, NULL);
	wr_json(c->w, "channel", json_object_get(d.root, "channel"));
	wr_json(c->w, "sequence", json_object_get(d.root, "sequence"));
	wr_json(c->w, "changed", json_object_get(d.root, "changed"));
	wr_json_table(c->w, "policies", json_object_get(d.root, "policies"), columns,
		MICA_ARRAY_LEN(columns));
	wr_end(c->w);
	return MICA_OK;
}

/* ---- policy get --------------------------------------------------------------------------------
 */

static mica_rc show_list(struct cli *c, struct mica_err *e)
{
	static const struct wr_column columns[] = {{"kind", 19}, {"namespace", 16}, {"name", 24},
		{"revision", 8}, {"dry_run", 7}, {"owner", 9}, {"changed", 0}};
	struct client_request r = {.max_body = LIST_MAX};
	MICA_AUTO_BUF path;
	MICA_AUTO_JSON d = {0};
	mica_rc rc;

	mica_buf_init(&path, 4096);
	mica_buf_put_str(&path, "/v1/policies");
	query(c, &path, OPT_CHANNEL, "channel");
	query(c, &path, OPT_NAMESPACE, "namespace");
	r.path = (const char *)path.p;
	rc = ask(c, &r, &d, e);
	if (rc != MICA_OK)
		return rc;
	if (wr_format(c->w) != OUT_TEXT) {
		wr_json(c->w, NULL, d.root);
		return MICA_OK;
	}
	wr_object(c->w, NULL);
	wr_json(c->w, "channel", json_object_get(d.root, "channel"));
	wr_json(c->w, "sequence", json_object_get(d.root, "sequence"));
	wr_json_table(c->w, "policies", json_object_get(d.root, "policies"), columns,
		MICA_ARRAY_LEN(columns));
	wr_end(c->w);
	return MICA_OK;
}

/* For people the document, as it may be edited and applied again; for programs all about it. */
static mica_rc show_one(struct cli *c, struct mica_err *e)
{
	struct client_request r = {.max_body = LIST_MAX};
	bool text = wr_format(c->w) == OUT_TEXT;
	RESPONSE_AUTO answer = {0};
	CLIENT_AUTO k = NULL;
	MICA_AUTO_BUF path;
	MICA_AUTO_JSON d = {0};
	mica_rc rc = path_of(c, c->args[0], "", &path, e);

	if (rc != MICA_OK)
		return rc;
	query(c, &path, OPT_CHANNEL, "channel");
	if (cli_set(c, OPT_REVISION)) {
		char n[32];

		snprintf(n, sizeof(n), "%" PRId64, cli_int(c, OPT_REVISION, 0));
		client_query(&path, "revision", mica_slice_str(n));
	}
	if (text)
		client_query(&path, "form", MICA_LIT("yaml"));
	r.path = (const char *)path.p;
	rc = client_open(c, CLIENT_ADMIN | CLIENT_CREDENTIAL, &k, e);
	if (rc == MICA_OK && text)
		rc = client_do(k, &r, &answer, e);
	else if (rc == MICA_OK)
		rc = client_json(k, &r, &answer, &d, e);
	if (rc != MICA_OK)
		return rc;
	if (text)
		wr_raw(c->w, mica_buf_slice(&answer.body));
	else
		wr_json(c->w, NULL, d.root);
	return MICA_OK;
}

mica_rc cmd_policy_get(struct cli *c, struct mica_err *e)
{
	if (c->n_args > 0)
		return show_one(c, e);
	if (cli_set(c, OPT_REVISION) || cli_set(c, OPT_KIND))
		return mica_fail(e, MICA_INVALID, "missing_argument",
			"--revision and --kind are of one policy: NAMESPACE/NAME is missing");
	return show_list(c, e);
}

mica_rc cmd_policy_history(struct cli *c, struct mica_err *e)
{
	static const struct wr_column columns[] = {{"revision", 8}, {"action", 11}, {"from", 4},
		{"time", 20}, {"channels", 14}, {"actor", 0}};
	struct client_request r = {.max_body = LIST_MAX};
	MICA_AUTO_BUF path;
	MICA_AUTO_JSON d = {0};
	mica_rc rc = path_of(c, c->args[0], "/history", &path, e);

	r.path = (const char *)path.p;
	if (rc == MICA_OK)
		rc = ask(c, &r, &d, e);
	if (rc != MICA_OK)
		return rc;
	if (wr_format(c->w) != OUT_TEXT) {
		wr_json(c->w, NULL, d.root);
		return MICA_OK;
	}
	wr_object(c->w, NULL);
	wr_json(c->w, "kind", json_object_get(d.root, "kind"));
	wr_json(c->w, "owner", json_object_get(d.root, "owner"));
	wr_json_table(c->w, "revisions", json_object_get(d.root, "revisions"), columns,
		MICA_ARRAY_LEN(columns));
	wr_end(c->w);
	return MICA_OK;
}

/* ---- changes -----------------------------------------------------------------------------------
 */

mica_rc cmd_policy_delete(struct cli *c, struct mica_err *e)
{
	char etag[128];
	struct client_request r = {.method = "DELETE", .if_match = if_match(c, etag)};
	RESPONSE_AUTO answer = {0};
	CLIENT_AUTO k = NULL;
	MICA_AUTO_BUF path;
	mica_rc rc = path_of(c, c->args[0], "", &path, e);

	if (rc != MICA_OK)
		return rc;
	query(c, &path, OPT_CHANNEL, "channel");
	r.path = (const char *)path.p;
	rc = client_open(c, CLIENT_ADMIN | CLIENT_CREDENTIAL, &k, e);
	if (rc == MICA_OK)
		rc = client_do(k, &r, &answer, e);
	if (rc != MICA_OK)
		return rc;
	wr_object(c->w, NULL);
	wr_cstr(c->w, "policy", c->args[0]);
	wr_cstr(c->w, "state", "deleted");
	wr_end(c->w);
	return MICA_OK;
}

mica_rc cmd_policy_rollback(struct cli *c, struct mica_err *e)
{
	char etag[128], body[64];
	struct client_request r = {.method = "POST", .if_match = if_match(c, etag)};
	MICA_AUTO_BUF path;
	MICA_AUTO_JSON d = {0};
	uint64_t n;
	mica_rc rc = path_of(c, c->args[0], "/rollback", &path, e);

	if (rc != MICA_OK)
		return rc;
	if (mica_parse_u64(mica_slice_str(c->args[1]), (uint64_t)1 << 53, &n) != MICA_OK || n == 0)
		return mica_fail(e, MICA_INVALID, "bad_revision",
			"'%.30s' is not a revision; `mica policy history` has them", c->args[1]);
	query(c, &path, OPT_CHANNEL, "channel");
	snprintf(body, sizeof(body), "{\"revision\":%" PRIu64 "}", n);
	r.path = (const char *)path.p;
	r.body = mica_slice_str(body);
	rc = ask(c, &r, &d, e);
	if (rc == MICA_OK)
		wr_json(c->w, NULL, d.root);
	return rc;
}

/* {"policies": [...]}; {} without arguments. */
static mica_rc put_keys(struct cli *c, struct mica_buf *body, struct mica_err *e)
{
	mica_buf_put_str(body, c->n_args ? "{\"policies\":[" : "{");
	for (unsigned i = 0; i < c->n_args; i++) {
		struct mica_slice ns, name;
		mica_rc rc = split(c->args[i], &ns, &name, e);

		if (rc != MICA_OK)
			return rc;
		mica_buf_put_str(body, i ? ",{\"namespace\":" : "{\"namespace\":");
		mica_buf_put_json_string(body, ns);
		mica_buf_put_str(body, ",\"name\":");
		mica_buf_put_json_string(body, name);
		if (cli_set(c, OPT_KIND))
			mica_buf_printf(body, ",\"kind\":\"%s\"", cli_str(c, OPT_KIND));
		mica_buf_put_u8(body, '}');
	}
	mica_buf_put_str(body, c->n_args ? "]}" : "}");
	return mica_buf_rc(body, e);
}

static mica_rc move(struct cli *c, const char *path, struct mica_err *e)
{
	struct client_request r = {.method = "POST", .path = path};
	MICA_AUTO_BUF body;
	MICA_AUTO_JSON d = {0};
	mica_rc rc;

	mica_buf_init(&body, 65536);
	if (c->n_args == 0 && !cli_set(c, OPT_ALL))
		return mica_fail(e, MICA_INVALID, "missing_argument",
			"which? NAMESPACE/NAME, or --all that wait in the canary channel");
	rc = put_keys(c, &body, e);
	r.body = mica_buf_slice(&body);
	if (rc == MICA_OK)
		rc = ask(c, &r, &d, e);
	if (rc == MICA_OK)
		wr_json(c->w, NULL, d.root);
	return rc;
}

mica_rc cmd_policy_promote(struct cli *c, struct mica_err *e)
{
	return move(c, "/v1/policies:promote", e);
}

mica_rc cmd_policy_withdraw(struct cli *c, struct mica_err *e)
{
	return move(c, "/v1/policies:withdraw", e);
}
