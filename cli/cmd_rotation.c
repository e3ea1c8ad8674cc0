/* SPDX-License-Identifier: Apache-2.0 */
/* Authorities and their rotation: to see what is and what will be, and to move it by hand. */
#include "client.h"

#include "mica/mem.h"

#include <inttypes.h>
#include <stdio.h>

static mica_rc ask(
	struct cli *c, const struct client_request *r, struct mica_json *d, struct mica_err *e)
{
	RESPONSE_AUTO answer = {0};
	CLIENT_AUTO k = NULL;
	mica_rc rc = client_open(c, CLIENT_ADMIN | CLIENT_CREDENTIAL, &k, e);

	return rc == MICA_OK ? client_json(k, r, &answer, d, e) : rc;
}

/* An answer without a document. */
static mica_rc tell(struct cli *c, const struct client_request *r, struct mica_err *e)
{
	RESPONSE_AUTO answer = {0};
	CLIENT_AUTO k = NULL;
	mica_rc rc = client_open(c, CLIENT_ADMIN | CLIENT_CREDENTIAL, &k, e);

	return rc == MICA_OK ? client_do(k, r, &answer, e) : rc;
}

static mica_rc check_id(const char *text, struct mica_err *e)
{
	uint8_t id[20];
	size_t len = sizeof(id);

	if (mica_hex_decode(mica_slice_str(text), id, &len) == MICA_OK && len == sizeof(id))
		return MICA_OK;
	return mica_fail(e, MICA_INVALID, "bad_authority_id",
		"'%.60s' is not the id of an authority: 40 hex digits, see `mica authority list`",
		text);
}

static mica_rc check_kind(const char *text, struct mica_err *e)
{
	static const char *const kinds[] = {"root", "issuing", "jwt"};

	for (size_t i = 0; i < MICA_ARRAY_LEN(kinds); i++)
		if (strcmp(kinds[i], text) == 0)
			return MICA_OK;
	return mica_fail(e, MICA_INVALID, "bad_kind",
		"'%.60s' is no kind of authority; expected root, issuing or jwt", text);
}

static void show_done(struct cli *c, const char *key, const char *value, const char *state)
{
	wr_object(c->w, NULL);
	wr_cstr(c->w, key, value);
	wr_cstr(c->w, "state", state);
	wr_end(c->w);
}

/* ---- authorities --------------------------------------------------------------------------- */

mica_rc cmd_authority_list(struct cli *c, struct mica_err *e)
{
	static const struct wr_column columns[] = {{"id", 40}, {"kind", 7}, {"state", 9},
		{"standby", 7}, {"not_after", 20}, {"last_leaf_expiry", 0}};
	struct client_request r = {.path = "/v1/authorities"};
	MICA_AUTO_JSON d = {0};
	mica_rc rc = ask(c, &r, &d, e);

	if (rc != MICA_OK)
		return rc;
	wr_object(c->w, NULL);
	wr_json_table(c->w, "authorities", json_object_get(d.root, "authorities"), columns,
		MICA_ARRAY_LEN(columns));
	wr_end(c->w);
	return MICA_OK;
}

mica_rc cmd_authority_show(struct cli *c, struct mica_err *e)
{
	char path[128];
	struct client_request r = {.path = path};
	MICA_AUTO_JSON d = {0};
	mica_rc rc = check_id(c->args[0], e);

	snprintf(path, sizeof(path), "/v1/authorities/%.40s", c->args[0]);
	if (rc == MICA_OK)
		rc = ask(c, &r, &d, e);
	if (rc == MICA_OK)
		wr_json(c->w, NULL, d.root);
	return rc;
}

/* What was made, by its id. */
static mica_rc make(struct cli *c, const char *path, const char *body, struct mica_err *e)
{
	struct client_request r = {.method = "POST", .path = path, .body = mica_slice_str(body)};
	MICA_AUTO_JSON d = {0};
	mica_rc rc = ask(c, &r, &d, e);

	if (rc == MICA_OK)
		wr_json(c->w, NULL, d.root);
	return rc;
}

mica_rc cmd_authority_prepare(struct cli *c, struct mica_err *e)
{
	char body[128];
	mica_rc rc = check_kind(c->args[0], e);

	if (rc != MICA_OK)
		return rc;
	snprintf(body, sizeof(body), "{\"kind\":\"%s\",\"recover\":%s}", c->args[0],
		cli_set(c, OPT_RECOVER) ? "true" : "false");
	return make(c, "/v1/authorities", body, e);
}

static mica_rc change(struct cli *c, const char *verb, const char *state, struct mica_err *e)
{
	char path[128];
	struct client_request r = {.method = "POST",
		.path = path,
		.body = cli_set(c, OPT_FORCE) ? MICA_LIT("{\"force\":true}") : MICA_LIT("{}")};
	mica_rc rc = check_id(c->args[0], e);

	snprintf(path, sizeof(path), "/v1/authorities/%.40s/%s", c->args[0], verb);
	if (rc == MICA_OK)
		rc = tell(c, &r, e);
	if (rc == MICA_OK)
		show_done(c, "authority", c->args[0], state);
	return rc;
}

mica_rc cmd_authority_activate(struct cli *c, struct mica_err *e)
{
	return change(c, "activate", "active", e);
}

mica_rc cli_revoke_by_crl(struct cli *c, struct mica_err *e)
{
	char path[128];
	struct client_request r = {
		.method = "POST", .path = path, .body = MICA_LIT("{\"crl_only\":true}")};
	mica_rc rc = check_id(c->args[0], e);

	if (rc == MICA_OK && cli_set(c, OPT_FORCE))
		rc = mica_fail(e, MICA_INVALID, "bad_option",
			"--crl-only cannot be forced: whoever consumes no CRL would go on believing");
	snprintf(path, sizeof(path), "/v1/authorities/%.40s/revoke", c->args[0]);
	if (rc == MICA_OK)
		rc = tell(c, &r, e);
	if (rc == MICA_OK)
		show_done(c, "authority", c->args[0], "revoked by CRL");
	return rc;
}

mica_rc cmd_authority_revoke(struct cli *c, struct mica_err *e)
{
	if (cli_set(c, OPT_CRL_ONLY))
		return cli_revoke_by_crl(c, e);
	return change(c, "revoke", "removed", e);
}

/* ---- rotation ------------------------------------------------------------------------------ */

/* By outlet it is in the JSON form. */
static const struct wr_column exposed[] = {
	{"authority", 40}, {"kind", 7}, {"way", 7}, {"since", 20}, {"until", 20}, {"removes", 0}};

mica_rc cmd_rotation_status(struct cli *c, struct mica_err *e)
{
	static const struct wr_column kinds[] = {{"kind", 7}, {"next", 8}, {"waits_for", 16},
		{"until", 20}, {"due", 20}, {"text", 0}};
	static const struct wr_column missing[] = {
		{"channel", 7}, {"sequence", 16}, {"expires", 20}, {"spiffe_id", 0}};
	struct client_request r = {.path = "/v1/rotation"};
	MICA_AUTO_JSON d = {0};
	const char *key;
	json_t *v;
	mica_rc rc = ask(c, &r, &d, e);

	if (rc != MICA_OK)
		return rc;
	wr_object(c->w, NULL);
	json_object_foreach (d.root, key, v) {
		if (strcmp(key, "exposed") == 0)
			wr_json_table(c->w, key, v, exposed, MICA_ARRAY_LEN(exposed));
		else if (strcmp(key, "rotations") == 0)
			wr_json_table(c->w, key, v, kinds, MICA_ARRAY_LEN(kinds));
		else if (strcmp(key, "missing") == 0)
			wr_json_table(c->w, key, v, missing, MICA_ARRAY_LEN(missing));
		else
			wr_json(c->w, key, v);
	}
	wr_end(c->w);
	return MICA_OK;
}

mica_rc cmd_rotation_plan(struct cli *c, struct mica_err *e)
{
	static const struct wr_column steps[] = {{"at", 20}, {"action", 8}, {"kind", 7},
		{"channel", 7}, {"authority", 40}, {"why", 16}, {"instead", 0}};
	char path[64];
	struct client_request r = {.path = path};
	MICA_AUTO_JSON d = {0};
	const char *key;
	json_t *v;
	mica_rc rc;

	snprintf(path, sizeof(path), "/v1/rotation/plan?ahead=%" PRId64,
		cli_int(c, OPT_AHEAD, (int64_t)366 * 86400));
	rc = ask(c, &r, &d, e);
	if (rc != MICA_OK)
		return rc;
	wr_object(c->w, NULL);
	json_object_foreach (d.root, key, v) {
		if (strcmp(key, "exposed") == 0)
			wr_json_table(c->w, key, v, exposed, MICA_ARRAY_LEN(exposed));
		else if (strcmp(key, "steps") == 0)
			wr_json_table(c->w, key, v, steps, MICA_ARRAY_LEN(steps));
		else
			wr_json(c->w, key, v);
	}
	wr_end(c->w);
	return MICA_OK;
}

mica_rc cmd_rotation_start(struct cli *c, struct mica_err *e)
{
	char body[128];
	mica_rc rc = check_kind(c->args[0], e);

	if (rc != MICA_OK)
		return rc;
	snprintf(body, sizeof(body), "{\"action\":\"start\",\"kind\":\"%s\"}", c->args[0]);
	return make(c, "/v1/rotation", body, e);
}

static mica_rc move(struct cli *c, struct mica_slice body, const char *key, const char *value,
	const char *state, struct mica_err *e)
{
	struct client_request r = {.method = "POST", .path = "/v1/rotation", .body = body};
	mica_rc rc = tell(c, &r, e);

	if (rc == MICA_OK)
		show_done(c, key, value, state);
	return rc;
}

mica_rc cmd_rotation_rollback(struct cli *c, struct mica_err *e)
{
	char body[128];
	mica_rc rc = check_kind(c->args[0], e);

	if (rc != MICA_OK)
		return rc;
	snprintf(body, sizeof(body), "{\"action\":\"rollback\",\"kind\":\"%s\",\"force\":%s}",
		c->args[0], cli_set(c, OPT_FORCE) ? "true" : "false");
	return move(c, mica_slice_str(body), "kind", c->args[0], "rolled back", e);
}

mica_rc cmd_rotation_confirm(struct cli *c, struct mica_err *e)
{
	MICA_AUTO_BUF body;
	mica_rc rc;

	mica_buf_init(&body, 4096);
	mica_buf_put_str(&body, "{\"action\":\"confirm\",\"outlet\":");
	mica_buf_put_json_string(&body, mica_slice_str(c->args[0]));
	mica_buf_put_u8(&body, '}');
	rc = mica_buf_rc(&body, e);
	return rc == MICA_OK ? move(c, mica_buf_slice(&body), "outlet", c->args[0], "confirmed", e)
			     : rc;
}

mica_rc cmd_rotation_withdraw(struct cli *c, struct mica_err *e)
{
	char body[128];
	mica_rc rc = check_kind(c->args[0], e);

	if (rc != MICA_OK)
		return rc;
	snprintf(body, sizeof(body), "{\"action\":\"withdraw\",\"kind\":\"%s\"}", c->args[0]);
	return move(c, mica_slice_str(body), "kind", c->args[0], "withdrawn", e);
}

mica_rc cmd_rotation_clock(struct cli *c, struct mica_err *e)
{
	struct client_request r = {.path = "/v1/rotation"};
	MICA_AUTO_JSON d = {0};
	mica_rc rc;

	if (cli_set(c, OPT_ACCEPT))
		return move(
			c, MICA_LIT("{\"action\":\"clock\"}"), "clock", "accepted", "agrees", e);
	rc = ask(c, &r, &d, e);
	if (rc == MICA_OK)
		wr_json(c->w, NULL, json_object_get(d.root, "clock"));
	return rc;
}
