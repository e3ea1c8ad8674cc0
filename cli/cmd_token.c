/* SPDX-License-Identifier: Apache-2.0 */
/* Join tokens: token create, list, revoke. */
#include "client.h"

#include "mica/file.h"

#include <stdio.h>

static mica_rc put_body(struct cli *c, struct mica_buf *body, struct mica_err *e)
{
	mica_buf_put_str(body, "{");
	if (cli_set(c, OPT_SPIFFE_ID)) {
		mica_buf_put_str(body, "\"spiffe_id\":");
		mica_buf_put_json_string(body, mica_slice_str(cli_str(c, OPT_SPIFFE_ID)));
	}
	if (cli_set(c, OPT_TTL))
		mica_buf_printf(body, "%s\"ttl\":%lld", cli_set(c, OPT_SPIFFE_ID) ? "," : "",
			(long long)cli_int(c, OPT_TTL, 0));
	mica_buf_put_u8(body, '}');
	return mica_buf_rc(body, e);
}

static const char *member(const json_t *root, const char *name)
{
	const char *text = json_string_value(json_object_get(root, name));

	return text ? text : "";
}

/* With --out it is never on the terminal. */
static mica_rc show_made(struct cli *c, const json_t *root, struct mica_err *e)
{
	const char *path = cli_str(c, OPT_OUT), *token = member(root, "token");
	mica_rc rc = MICA_OK;

	if (path)
		rc = mica_file_write_atomic(path, mica_slice_str(token), 0600, e);
	if (rc != MICA_OK)
		return rc;
	wr_object(c->w, NULL);
	wr_cstr(c->w, path ? "token_file" : "token", path ? path : token);
	wr_cstr(c->w, "id", member(root, "id"));
	wr_cstr(c->w, "spiffe_id", member(root, "spiffe_id"));
	wr_cstr(c->w, "expires", member(root, "expires"));
	wr_end(c->w);
	return MICA_OK;
}

mica_rc cmd_token_create(struct cli *c, struct mica_err *e)
{
	struct client_request r = {.method = "POST", .path = "/v1/join-tokens"};
	RESPONSE_AUTO answer = {0};
	MICA_AUTO_JSON d = {0};
	CLIENT_AUTO k = NULL;
	MICA_AUTO_BUF body;
	mica_rc rc;

	mica_buf_init(&body, 16384);
	rc = put_body(c, &body, e);
	r.body = mica_buf_slice(&body);
	if (rc == MICA_OK)
		rc = client_open(c, CLIENT_ADMIN | CLIENT_CREDENTIAL, &k, e);
	if (rc == MICA_OK)
		rc = client_json(k, &r, &answer, &d, e);
	return rc == MICA_OK ? show_made(c, d.root, e) : rc;
}

mica_rc cmd_token_list(struct cli *c, struct mica_err *e)
{
	static const struct wr_column columns[] = {
		{"id", 16}, {"state", 7}, {"expires", 20}, {"spiffe_id", 0}};
	struct client_request r = {.path = "/v1/join-tokens"};
	RESPONSE_AUTO answer = {0};
	MICA_AUTO_JSON d = {0};
	CLIENT_AUTO k = NULL;
	mica_rc rc = client_open(c, CLIENT_ADMIN | CLIENT_CREDENTIAL, &k, e);

	if (rc == MICA_OK)
		rc = client_json(k, &r, &answer, &d, e);
	if (rc != MICA_OK)
		return rc;
	wr_object(c->w, NULL);
	wr_json_table(c->w, "tokens", json_object_get(d.root, "tokens"), columns,
		MICA_ARRAY_LEN(columns));
	wr_end(c->w);
	return MICA_OK;
}

/* The id, which is in the token: who has that at hand need not cut it out. */
static mica_rc read_id(const char *text, char id[17], struct mica_err *e)
{
	static const char prefix[] = "mica-join-";
	uint8_t raw[8];
	size_t len = sizeof(raw);

	if (strncmp(text, prefix, sizeof(prefix) - 1) == 0)
		text += sizeof(prefix) - 1;
	snprintf(id, 17, "%.16s", text);
	if (mica_hex_decode(mica_slice_str(id), raw, &len) == MICA_OK && len == sizeof(raw) &&
		(text[16] == '\0' || text[16] == '-'))
		return MICA_OK;
	return mica_fail(e, MICA_INVALID, "bad_join_token_id",
		"this is not the id of a join token: 16 hex digits, see `mica token list`");
}

mica_rc cmd_token_revoke(struct cli *c, struct mica_err *e)
{
	char path[64], id[17];
	struct client_request r = {.method = "DELETE", .path = path};
	RESPONSE_AUTO answer = {0};
	CLIENT_AUTO k = NULL;
	mica_rc rc = read_id(c->args[0], id, e);

	snprintf(path, sizeof(path), "/v1/join-tokens/%s", id);
	if (rc == MICA_OK)
		rc = client_open(c, CLIENT_ADMIN | CLIENT_CREDENTIAL, &k, e);
	if (rc == MICA_OK)
		rc = client_do(k, &r, &answer, e);
	if (rc != MICA_OK)
		return rc;
	wr_object(c->w, NULL);
	wr_cstr(c->w, "id", id);
	wr_cstr(c->w, "state", "revoked");
	wr_end(c->w);
	return MICA_OK;
}
