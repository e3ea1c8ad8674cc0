/* SPDX-License-Identifier: Apache-2.0 */
/* Revoking certificates, what is revoked, and CRLs that were signed elsewhere. */
#include "client.h"

#include "mica/crl.h"
#include "mica/file.h"
#include "mica/pem.h"

#include <stdio.h>

static mica_rc check_serial(const char *text, struct mica_err *e)
{
	uint8_t serial[16];
	size_t len = sizeof(serial);

	if (mica_hex_decode(mica_slice_str(text), serial, &len) == MICA_OK && len == sizeof(serial))
		return MICA_OK;
	return mica_fail(e, MICA_INVALID, "bad_serial",
		"'%.60s' is not a serial number: 32 hex digits, see `mica certificate show FILE`",
		text);
}

mica_rc cmd_certificate_revoke(struct cli *c, struct mica_err *e)
{
	const char *reason = cli_set(c, OPT_REASON) ? cli_str(c, OPT_REASON) : "unspecified";
	char path[128], body[128];
	struct client_request r = {.method = "POST", .path = path};
	RESPONSE_AUTO answer = {0};
	CLIENT_AUTO k = NULL;
	mica_rc rc = check_serial(c->args[0], e);

	snprintf(path, sizeof(path), "/v1/certificates/%.32s/revoke", c->args[0]);
	/* one of the choices of the option */
	snprintf(body, sizeof(body), "{\"reason\":\"%.64s\"}", reason);
	r.body = mica_slice_str(body);
	if (rc == MICA_OK)
		rc = client_open(c, CLIENT_ADMIN | CLIENT_CREDENTIAL, &k, e);
	if (rc == MICA_OK)
		rc = client_do(k, &r, &answer, e);
	if (rc != MICA_OK)
		return rc;
	wr_object(c->w, NULL);
	wr_cstr(c->w, "serial", c->args[0]);
	wr_cstr(c->w, "state", "revoked");
	wr_cstr(c->w, "reason", reason);
	wr_end(c->w);
	return MICA_OK;
}

mica_rc cmd_certificate_revoked(struct cli *c, struct mica_err *e)
{
	static const struct wr_column columns[] = {
		{"serial", 32}, {"authority", 40}, {"at", 20}, {"not_after", 20}, {"reason", 0}};
	struct client_request r = {.path = "/v1/revocations"};
	RESPONSE_AUTO answer = {0};
	MICA_AUTO_JSON d = {0};
	CLIENT_AUTO k = NULL;
	mica_rc rc = client_open(c, CLIENT_ADMIN | CLIENT_CREDENTIAL, &k, e);

	if (rc == MICA_OK)
		rc = client_json(k, &r, &answer, &d, e);
	if (rc != MICA_OK)
		return rc;
	wr_object(c->w, NULL);
	wr_json_table(c->w, "revoked", json_object_get(d.root, "revoked"), columns,
		MICA_ARRAY_LEN(columns));
	wr_end(c->w);
	return MICA_OK;
}

/* DER, as other tools write it, becomes PEM; micad judges it. */
static mica_rc read_crl(const char *path, struct mica_buf *json, struct mica_err *e)
{
	MICA_AUTO_BUF file, pem;
	mica_rc rc;

	mica_buf_init(&file, MICA_CRL_MAX);
	mica_buf_init(&pem, 2 * MICA_CRL_MAX);
	rc = mica_file_read(path, &file, e);
	if (rc != MICA_OK)
		return rc;
	if (file.len > 0 && file.p[0] == 0x30)
		mica_pem_put(&pem, MICA_PEM_CRL, mica_buf_slice(&file));
	else
		mica_buf_put_slice(&pem, mica_buf_slice(&file));
	mica_buf_put_str(json, "{\"crl\":");
	mica_buf_put_json_string(json, mica_buf_slice(&pem));
	mica_buf_put_u8(json, '}');
	return mica_buf_rc(json, e);
}

mica_rc cmd_authority_crl(struct cli *c, struct mica_err *e)
{
	char path[128];
	struct client_request r = {.method = "POST", .path = path};
	RESPONSE_AUTO answer = {0};
	CLIENT_AUTO k = NULL;
	MICA_AUTO_BUF body;
	mica_rc rc;

	mica_buf_init(&body, 4 * MICA_CRL_MAX);
	snprintf(path, sizeof(path), "/v1/authorities/%.40s/crl", c->args[0]);
	rc = read_crl(c->args[1], &body, e);
	r.body = mica_buf_slice(&body);
	if (rc == MICA_OK)
		rc = client_open(c, CLIENT_ADMIN | CLIENT_CREDENTIAL, &k, e);
	if (rc == MICA_OK)
		rc = client_do(k, &r, &answer, e);
	if (rc != MICA_OK)
		return rc;
	wr_object(c->w, NULL);
	wr_cstr(c->w, "authority", c->args[0]);
	wr_cstr(c->w, "state", "published");
	wr_end(c->w);
	return MICA_OK;
}
