/* SPDX-License-Identifier: Apache-2.0 */
/* Identities: svid fetch, jwt fetch. */
#include "client.h"
#include "pair.h"

#include "mica/cert.h"
#include "mica/csr.h"
#include "mica/file.h"
#include "mica/pem.h"

#include <stdio.h>

static const enum mica_key_name key_names[] = {MICA_KN_P256, MICA_KN_P384, MICA_KN_RSA2048,
	MICA_KN_RSA3072, MICA_KN_RSA4096, MICA_KN_ED25519};

/* What POST /v1/x509-svids answers. Borrowed from its document. */
struct answer {
	struct mica_slice spiffe_id, serial, chain, not_before, not_after, renew_after, bundle;
	int64_t index, sequence;
	bool clamped;
};

static mica_rc read_answer(const struct mica_json *d, struct answer *a, struct mica_err *e)
{
	const struct mica_json_member members[] = {{.name = "spiffe_id",
							   .type = MICA_JSON_STRING,
							   .required = true,
							   .out = &a->spiffe_id},
		{.name = "serial", .type = MICA_JSON_STRING, .required = true, .out = &a->serial},
		{.name = "certificate_chain",
			.type = MICA_JSON_STRING,
			.required = true,
			.out = &a->chain},
		{.name = "not_before",
			.type = MICA_JSON_STRING,
			.required = true,
			.out = &a->not_before},
		{.name = "not_after",
			.type = MICA_JSON_STRING,
			.required = true,
			.out = &a->not_after},
		{.name = "renew_after",
			.type = MICA_JSON_STRING,
			.required = true,
			.out = &a->renew_after},
		{.name = "ttl_clamped", .type = MICA_JSON_BOOL, .out = &a->clamped},
		{.name = "bundle", .type = MICA_JSON_STRING, .out = &a->bundle},
		{.name = "bundle_sequence",
			.type = MICA_JSON_INT,
			.required = true,
			.out = &a->sequence},
		{.name = "ledger_index",
			.type = MICA_JSON_INT,
			.required = true,
			.out = &a->index}};

	return mica_json_read(d, d->root, "", members, MICA_ARRAY_LEN(members), true, e);
}

static mica_rc request_body(
	struct cli *c, const struct mica_signer *key, struct mica_buf *body, struct mica_err *e)
{
	MICA_AUTO_BUF csr;
	mica_rc rc;

	mica_buf_init(&csr, 8192);
	rc = mica_csr_write(key, &csr, e);
	if (rc != MICA_OK)
		return rc;
	mica_buf_put_str(body, "{\"csr\":");
	mica_buf_put_json_string(body, mica_buf_slice(&csr));
	if (cli_set(c, OPT_TTL))
		mica_buf_printf(body, ",\"ttl\":%lld", (long long)cli_int(c, OPT_TTL, 0));
	mica_buf_put_u8(body, '}');
	return mica_buf_rc(body, e);
}

/* The chain must be for the key that was made here: whatever else came, it would not serve. */
static mica_rc check_chain(struct mica_slice pem, const struct mica_signer *key, struct mica_err *e)
{
	struct mica_slice certs[8];
	struct mica_cert_info info;
	MICA_AUTO_BUF der;
	size_t n;
	mica_rc rc;

	mica_buf_init(&der, 8 * MICA_CERT_MAX);
	rc = mica_pem_certs(pem, &der, certs, MICA_ARRAY_LEN(certs), &n, e);
	if (rc == MICA_OK)
		rc = mica_cert_read(certs[0], &info, e);
	if (rc == MICA_OK && !mica_slice_eq(info.spki, mica_pubkey_spki(mica_signer_public(key))))
		rc = mica_fail(e, MICA_INVALID, "certificate_for_other_key",
			"it is not for the key that asked for it");
	if (rc != MICA_OK)
		mica_err_context(e, "the certificate that came");
	return rc;
}

static mica_rc write_files(
	struct cli *c, const struct answer *a, const struct mica_signer *key, struct mica_err *e)
{
	MICA_AUTO_SECRET pkcs8 = NULL;
	struct pair_files files = {.cert = a->chain, .bundle = a->bundle};
	MICA_AUTO_BUF pem;
	mica_rc rc = mica_signer_pkcs8(key, &pkcs8, e);

	mica_buf_init_secret(&pem, 16384);
	if (rc != MICA_OK)
		return rc;
	mica_pem_put(&pem, "PRIVATE KEY", mica_secret_view(pkcs8));
	rc = mica_buf_rc(&pem, e);
	files.key = mica_buf_slice(&pem);
	return rc == MICA_OK ? pair_write(cli_str(c, OPT_OUT), &files, e) : rc;
}

static void show_answer(struct cli *c, const struct answer *a)
{
	struct writer *w = c->w;
	const char *dir = cli_str(c, OPT_OUT);

	wr_object(w, NULL);
	wr_str(w, "spiffe_id", a->spiffe_id);
	wr_str(w, "serial", a->serial);
	wr_str(w, "not_before", a->not_before);
	wr_str(w, "not_after", a->not_after);
	wr_str(w, "renew_after", a->renew_after);
	wr_bool(w, "ttl_clamped", a->clamped);
	wr_int(w, "bundle_sequence", a->sequence);
	wr_int(w, "ledger_index", a->index);
	if (dir)
		wr_cstr(w, "directory", dir);
	else if (wr_format(w) == OUT_JSON)
		wr_str(w, "certificate_chain", a->chain);
	wr_end(w);
	if (a->clamped)
		wr_note(w, "The TTL was above what is allowed: it is as long as it may be.");
	if (!dir)
		wr_note(w, "The key was thrown away: --out DIR keeps it.");
}

static mica_rc open_for_svid(struct cli *c, struct client **k, struct mica_err *e)
{
	const char *dir = cli_str(c, OPT_OUT);
	char cert[4096], key[4096];

	if (!cli_set(c, OPT_RENEW))
		return client_open(c, CLIENT_CREDENTIAL, k, e);
	if (!dir)
		return mica_fail(e, MICA_INVALID, "missing_argument",
			"--renew: which certificate? --out DIR is not given");
	if (snprintf(cert, sizeof(cert), "%s/cert.pem", dir) >= (int)sizeof(cert) ||
		snprintf(key, sizeof(key), "%s/key.pem", dir) >= (int)sizeof(key))
		return mica_fail(e, MICA_INVALID, "bad_option", "--out: too long a path");
	return client_open_pair(c, cert, key, k, e);
}

mica_rc cmd_svid_fetch(struct cli *c, struct mica_err *e)
{
	enum mica_key_name type = key_names[cli_int(c, OPT_KEY_TYPE, 0)];
	struct client_request r = {.method = "POST", .path = "/v1/x509-svids", .patient = true};
	RESPONSE_AUTO answer = {0};
	MICA_AUTO_SIGNER key = NULL;
	MICA_AUTO_JSON d = {0};
	struct answer a = {.index = 0};
	CLIENT_AUTO k = NULL;
	MICA_AUTO_BUF body;
	mica_rc rc = open_for_svid(c, &k, e);

	mica_buf_init(&body, 32768);
	if (rc == MICA_OK)
		rc = mica_signer_generate(type, &key, e);
	if (rc == MICA_OK)
		rc = request_body(c, key, &body, e);
	r.body = mica_buf_slice(&body);
	if (rc == MICA_OK)
		rc = client_json(k, &r, &answer, &d, e);
	if (rc == MICA_OK)
		rc = read_answer(&d, &a, e);
	if (rc == MICA_OK)
		rc = check_chain(a.chain, key, e);
	if (rc == MICA_OK && cli_set(c, OPT_OUT))
		rc = write_files(c, &a, key, e);
	if (rc == MICA_OK)
		show_answer(c, &a);
	return rc;
}

/* ---- JWT-SVIDs ------------------------------------------------------------------------------- */

static void jwt_body(struct cli *c, struct mica_buf *body)
{
	const struct cli_value *aud = &c->v[OPT_AUDIENCE];

	mica_buf_put_str(body, "{\"audience\":[");
	for (unsigned i = 0; i < aud->n; i++) {
		mica_buf_put_str(body, i ? "," : "");
		mica_buf_put_json_string(body, mica_slice_str(aud->list[i]));
	}
	mica_buf_put_u8(body, ']');
	if (cli_set(c, OPT_TTL))
		mica_buf_printf(body, ",\"ttl\":%lld", (long long)cli_int(c, OPT_TTL, 0));
	mica_buf_put_u8(body, '}');
}

/* In text the token alone, so that it can stand in a command line; else what is known of it. */
static mica_rc show_jwt(
	struct cli *c, const struct mica_json *d, struct mica_slice token, struct mica_err *e)
{
	const char *path = cli_str(c, OPT_OUT), *key;
	json_t *v;
	mica_rc rc = MICA_OK;

	if (path)
		rc = mica_file_write_atomic(path, token, 0600, e);
	if (rc != MICA_OK)
		return rc;
	if (!path && wr_format(c->w) == OUT_TEXT) {
		wr_raw(c->w, token);
		wr_raw(c->w, MICA_LIT("\n"));
		return MICA_OK;
	}
	wr_object(c->w, NULL);
	json_object_foreach (d->root, key, v)
		if (!path || strcmp(key, "token") != 0)
			wr_json(c->w, key, v);
	if (path)
		wr_cstr(c->w, "file", path);
	wr_end(c->w);
	return MICA_OK;
}

static mica_rc check_token(struct mica_slice token, struct mica_err *e)
{
	for (size_t i = 0; i < token.len; i++)
		if (token.p[i] <= ' ' || token.p[i] > '~')
			return mica_fail(e, MICA_INVALID, "answer_malformed",
				"the answer's token is not one");
	return MICA_OK;
}

mica_rc cmd_jwt_fetch(struct cli *c, struct mica_err *e)
{
	struct client_request r = {.method = "POST", .path = "/v1/jwt-svids", .patient = true};
	struct mica_slice token = {0};
	const struct mica_json_member members[] = {{.name = "token",
		.type = MICA_JSON_STRING,
		.required = true,
		.min = 1,
		.out = &token}};
	RESPONSE_AUTO answer = {0};
	MICA_AUTO_JSON d = {0};
	CLIENT_AUTO k = NULL;
	MICA_AUTO_BUF body;
	mica_rc rc;

	mica_buf_init(&body, 32768);
	if (!cli_set(c, OPT_AUDIENCE))
		return mica_fail(e, MICA_INVALID, "missing_argument",
			"whom is the token for? --audience NAME is not given");
	rc = client_open(c, CLIENT_CREDENTIAL, &k, e);
	if (rc != MICA_OK)
		return rc;
	jwt_body(c, &body);
	rc = mica_buf_rc(&body, e);
	r.body = mica_buf_slice(&body);
	if (rc == MICA_OK)
		rc = client_json(k, &r, &answer, &d, e);
	if (rc == MICA_OK)
		rc = mica_json_read(&d, d.root, "", members, 1, true, e);
	if (rc == MICA_OK)
		rc = check_token(token, e);
	return rc == MICA_OK ? show_jwt(c, &d, token, e) : rc;
}
