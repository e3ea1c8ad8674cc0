/* SPDX-License-Identifier: Apache-2.0 */
/* Authorities below a root whose key is elsewhere: requests out, certificates in. */
#include "client.h"

#include "mica/file.h"
#include "mica/mem.h"

#include <inttypes.h>
#include <stdio.h>

#define IMPORT_MAX (256 * 1024)

static mica_rc ask(struct cli *c, const char *path, struct mica_slice body, struct mica_json *d,
	struct mica_http_response *answer, struct mica_err *e)
{
	struct client_request r = {.method = "POST", .path = path, .body = body};
	CLIENT_AUTO k = NULL;
	mica_rc rc = client_open(c, CLIENT_ADMIN | CLIENT_CREDENTIAL, &k, e);

	return rc == MICA_OK ? client_json(k, &r, answer, d, e) : rc;
}

/* ---- requests ---------------------------------------------------------------------------------
 */

static mica_rc write_one(
	const char *dir, const char *name, const char *end, const json_t *text, struct mica_err *e)
{
	char path[4096];

	if (!json_is_string(text))
		return mica_fail(e, MICA_INTERNAL, "bad_answer",
			"micad's answer lacks what it should hold; is it of another version?");
	if ((size_t)snprintf(path, sizeof(path), "%s/%.64s%s", dir, name, end) >= sizeof(path))
		return mica_fail(e, MICA_INVALID, "path_too_long", "%.60s...: too long", dir);
	return mica_file_write_atomic(path, mica_json_str(text), 0644, e);
}

/* Ids come from micad, and become names of files. */
static bool is_id(const json_t *id)
{
	uint8_t raw[20];
	size_t len = sizeof(raw);

	return json_is_string(id) && mica_hex_decode(mica_json_str(id), raw, &len) == MICA_OK &&
		len == sizeof(raw);
}

static mica_rc write_all(const char *dir, const struct mica_json *d, struct mica_err *e)
{
	const json_t *list = json_object_get(d->root, "requests");
	mica_rc rc = mica_mkdir_p(dir, 0755, e);

	for (size_t i = 0; i < json_array_size(list) && rc == MICA_OK; i++) {
		const json_t *r = json_array_get(list, i), *id = json_object_get(r, "id");

		rc = is_id(id) ? write_one(dir, json_string_value(id), ".csr",
					 json_object_get(r, "csr"), e)
			       : mica_fail(e, MICA_INTERNAL, "bad_answer",
					 "micad's answer has a request without an id");
	}
	return rc == MICA_OK
		? write_one(dir, "extensions", ".cnf", json_object_get(d->root, "extensions"), e)
		: rc;
}

static void show_requests(struct cli *c, const struct mica_json *d, const char *dir)
{
	static const struct wr_column columns[] = {{"id", 40}, {"created", 0}};
	const char *key;
	json_t *v;

	if (wr_format(c->w) == OUT_JSON) {
		wr_json(c->w, NULL, d->root);
		return;
	}
	wr_object(c->w, NULL);
	json_object_foreach (d->root, key, v) {
		if (strcmp(key, "requests") == 0)
			wr_json_table(c->w, key, v, columns, MICA_ARRAY_LEN(columns));
		else if (strcmp(key, "extensions") != 0)
			wr_json(c->w, key, v);
	}
	if (dir)
		wr_cstr(c->w, "written_to", dir);
	wr_end(c->w);
	if (dir)
		wr_note(c->w,
			"Next: let the signer sign each ID.csr with the section mica_ID of "
			"extensions.cnf, then `mica authority import`.");
	else
		wr_note(c->w,
			"With --out DIR the requests are written there, with a file of "
			"extensions for openssl.");
}

mica_rc cmd_authority_csr(struct cli *c, struct mica_err *e)
{
	const char *dir = cli_set(c, OPT_OUT) ? cli_str(c, OPT_OUT) : NULL;
	RESPONSE_AUTO answer = {0};
	MICA_AUTO_JSON d = {0};
	char body[64] = "{}";
	uint64_t count = 0;
	mica_rc rc = MICA_OK;

	if (c->n_args > 0) {
		if (mica_parse_u64(mica_slice_str(c->args[0]), 8, &count) != MICA_OK)
			return mica_fail(e, MICA_INVALID, "bad_count",
				"'%.60s' is no number of requests; expected 0 to 8", c->args[0]);
		snprintf(body, sizeof(body), "{\"count\":%" PRIu64 "}", count);
	}
	rc = ask(c, "/v1/authority-requests", mica_slice_str(body), &d, &answer, e);
	if (rc == MICA_OK && dir)
		rc = write_all(dir, &d, e);
	if (rc == MICA_OK)
		show_requests(c, &d, dir);
	return rc;
}

/* ---- certificates ------------------------------------------------------------------------------
 */

static mica_rc read_files(struct cli *c, struct mica_buf *all, struct mica_err *e)
{
	mica_rc rc = MICA_OK;

	for (unsigned i = 0; i < c->n_args && rc == MICA_OK; i++) {
		MICA_AUTO_BUF one;

		mica_buf_init(&one, IMPORT_MAX);
		rc = mica_file_read(c->args[i], &one, e);
		mica_buf_put_slice(all, mica_buf_slice(&one));
		mica_buf_put_u8(all, '\n');
	}
	return rc == MICA_OK ? mica_buf_rc(all, e) : rc;
}

mica_rc cmd_authority_import(struct cli *c, struct mica_err *e)
{
	static const struct wr_column columns[] = {
		{"id", 40}, {"kind", 7}, {"state", 9}, {"not_after", 0}};
	bool standby = cli_set(c, OPT_STANDBY);
	RESPONSE_AUTO answer = {0};
	MICA_AUTO_JSON d = {0};
	MICA_AUTO_BUF pem, body;
	mica_rc rc;

	mica_buf_init(&pem, IMPORT_MAX);
	mica_buf_init(&body, 4 * IMPORT_MAX);
	rc = read_files(c, &pem, e);
	mica_buf_put_str(&body, "{\"pem\":");
	mica_buf_put_json_string(&body, mica_buf_slice(&pem));
	mica_buf_printf(&body, ",\"new_root\":%s,\"standby\":%s}",
		standby || cli_set(c, OPT_NEW_ROOT) ? "true" : "false", standby ? "true" : "false");
	if (rc == MICA_OK)
		rc = mica_buf_rc(&body, e);
	if (rc == MICA_OK)
		rc = ask(c, "/v1/authority-certificates", mica_buf_slice(&body), &d, &answer, e);
	if (rc != MICA_OK)
		return rc;
	wr_object(c->w, NULL);
	wr_json_table(c->w, "imported", json_object_get(d.root, "imported"), columns,
		MICA_ARRAY_LEN(columns));
	wr_json(c->w, "crls", json_object_get(d.root, "crls"));
	wr_end(c->w);
	return MICA_OK;
}
