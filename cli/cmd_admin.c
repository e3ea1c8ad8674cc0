/* SPDX-License-Identifier: Apache-2.0 */
/* Working a running micad: status, token explain, authority taint, deny, backup, certificate show.
 */
#include "client.h"
#include "progress.h"

#include "mica/cert.h"
#include "mica/clock.h"
#include "mica/config.h"
#include "mica/file.h"
#include "mica/jwks.h"
#include "mica/pem.h"
#include "mica/token.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void auto_config(struct mica_config **c)
{
	mica_config_free(*c);
}
#define CONFIG_AUTO __attribute__((cleanup(auto_config))) struct mica_config *

/* ---- status -------------------------------------------------------------------------------- */

/* Lists of things of one kind are tables for people; JSON has all that there is. */
static void show_status(struct writer *w, const json_t *root)
{
	static const struct wr_column authorities[] = {{"id", 40}, {"kind", 7}, {"state", 9},
		{"key", 9}, {"not_after", 20}, {"last_leaf_expiry", 0}};
	static const struct wr_column issuers[] = {{"name", 16}, {"keys", 4}, {"skipped", 7},
		{"stale", 5}, {"fetched", 20}, {"issuer", 0}};
	const char *key;
	json_t *v;

	wr_object(w, NULL);
	json_object_foreach ((json_t *)(uintptr_t)root, key, v) {
		if (strcmp(key, "authorities") == 0 && json_is_array(v))
			wr_json_table(w, key, v, authorities, MICA_ARRAY_LEN(authorities));
		else if (strcmp(key, "issuers") == 0 && json_is_array(v))
			wr_json_table(w, key, v, issuers, MICA_ARRAY_LEN(issuers));
		else
			wr_json(w, key, v);
	}
	wr_end(w);
}

mica_rc cmd_status(struct cli *c, struct mica_err *e)
{
	struct client_request r = {.path = "/v1/status"};
	RESPONSE_AUTO answer = {0};
	MICA_AUTO_JSON d = {0};
	CLIENT_AUTO k = NULL;
	mica_rc rc = client_open(c, CLIENT_ADMIN | CLIENT_CREDENTIAL, &k, e);

	if (rc == MICA_OK)
		rc = client_json(k, &r, &answer, &d, e);
	if (rc == MICA_OK)
		show_status(c->w, d.root);
	return rc;
}

/* ---- authority taint, deny ------------------------------------------------------------------- */

static mica_rc change(struct cli *c, const struct client_request *r, struct mica_err *e)
{
	RESPONSE_AUTO answer = {0};
	CLIENT_AUTO k = NULL;
	mica_rc rc = client_open(c, CLIENT_ADMIN | CLIENT_CREDENTIAL, &k, e);

	return rc == MICA_OK ? client_do(k, r, &answer, e) : rc;
}

mica_rc cmd_authority_taint(struct cli *c, struct mica_err *e)
{
	char path[128];
	uint8_t id[20];
	size_t len = sizeof(id);
	struct client_request r = {.method = "POST", .path = path};
	mica_rc rc;

	if (cli_set(c, OPT_CRL_ONLY))
		return cli_revoke_by_crl(c, e);
	if (mica_hex_decode(mica_slice_str(c->args[0]), id, &len) != MICA_OK || len != sizeof(id))
		return mica_fail(e, MICA_INVALID, "bad_authority_id",
			"'%.60s' is not the id of an authority: 40 hex digits, see `mica status`",
			c->args[0]);
	snprintf(path, sizeof(path), "/v1/authorities/%s/taint", c->args[0]);
	rc = change(c, &r, e);
	if (rc != MICA_OK)
		return rc;
	wr_object(c->w, NULL);
	wr_cstr(c->w, "authority", c->args[0]);
	wr_cstr(c->w, "state", "tainted");
	wr_end(c->w);
	return MICA_OK;
}

static mica_rc deny(struct cli *c, const char *method, const char *done, struct mica_err *e)
{
	struct client_request r = {.method = method, .path = "/v1/deny"};
	MICA_AUTO_BUF body;
	mica_rc rc;

	mica_buf_init(&body, 16384);
	mica_buf_put_str(&body, "{\"kind\":");
	mica_buf_put_json_string(&body, mica_slice_str(c->args[0]));
	mica_buf_put_str(&body, ",\"value\":");
	mica_buf_put_json_string(&body, mica_slice_str(c->args[1]));
	mica_buf_put_u8(&body, '}');
	rc = mica_buf_rc(&body, e);
	r.body = mica_buf_slice(&body);
	if (rc == MICA_OK)
		rc = change(c, &r, e);
	if (rc != MICA_OK)
		return rc;
	wr_object(c->w, NULL);
	wr_cstr(c->w, "kind", c->args[0]);
	wr_cstr(c->w, "value", c->args[1]);
	wr_cstr(c->w, "state", done);
	wr_end(c->w);
	return MICA_OK;
}

mica_rc cmd_deny_list(struct cli *c, struct mica_err *e)
{
	static const struct wr_column columns[] = {{"kind", 9}, {"source", 13}, {"value", 0}};
	struct client_request r = {.path = "/v1/deny"};
	RESPONSE_AUTO answer = {0};
	MICA_AUTO_JSON d = {0};
	CLIENT_AUTO k = NULL;
	mica_rc rc = client_open(c, CLIENT_ADMIN | CLIENT_CREDENTIAL, &k, e);

	if (rc == MICA_OK)
		rc = client_json(k, &r, &answer, &d, e);
	if (rc != MICA_OK)
		return rc;
	wr_object(c->w, NULL);
	wr_json_table(c->w, "denied", json_object_get(d.root, "denied"), columns,
		MICA_ARRAY_LEN(columns));
	wr_end(c->w);
	return MICA_OK;
}

mica_rc cmd_deny_add(struct cli *c, struct mica_err *e)
{
	return deny(c, "POST", "denied", e);
}

mica_rc cmd_deny_remove(struct cli *c, struct mica_err *e)
{
	return deny(c, "DELETE", "not denied", e);
}

/* ---- backup -------------------------------------------------------------------------------- */

/* How far it is, asked on a second connection while the first waits for the end. */
struct backup_watch {
	struct client *k;
	struct progress_line line;
	int64_t last_ms;
};

static bool look_at_backup(void *ctx)
{
	struct backup_watch *b = ctx;
	struct client_request r = {.path = "/v1/status", .timeout_ms = 2000};
	RESPONSE_AUTO answer = {0};
	MICA_AUTO_JSON d = {0};
	json_t *now;
	int64_t ms = mica_mono_ms();

	if (cli_stopped() || !isatty(STDERR_FILENO) || ms - b->last_ms < 1000)
		return cli_stopped();
	b->last_ms = ms;
	if (client_json(b->k, &r, &answer, &d, NULL) != MICA_OK)
		return false;
	now = json_object_get(d.root, "backup");
	if (json_is_object(now))
		progress_show(&b->line, (uint64_t)json_integer_value(json_object_get(now, "done")),
			(uint64_t)json_integer_value(json_object_get(now, "all")));
	return false;
}

/* micad writes it, and has another working directory: the path must be absolute. */
static mica_rc absolute(const char *path, struct mica_buf *out, struct mica_err *e)
{
	char here[PATH_MAX];

	if (path[0] == '/') {
		mica_buf_put_str(out, path);
		return mica_buf_rc(out, e);
	}
	if (!getcwd(here, sizeof(here)))
		return mica_fail_errno(e, errno, "the working directory");
	mica_buf_printf(out, "%s/%s", here, path);
	return mica_buf_rc(out, e);
}

mica_rc cmd_backup(struct cli *c, struct mica_err *e)
{
	struct backup_watch b = {.line = {.what = "copying"}};
	struct client_request r = {.method = "POST",
		.path = "/v1/backups",
		.timeout_ms = 24 * 3600 * 1000,
		.cancelled = look_at_backup,
		.ctx = &b};
	RESPONSE_AUTO answer = {0};
	MICA_AUTO_JSON d = {0};
	CLIENT_AUTO k = NULL;
	CLIENT_AUTO second = NULL;
	MICA_AUTO_BUF path, body;
	mica_rc rc;

	mica_buf_init(&path, 8192);
	mica_buf_init(&body, 16384);
	rc = absolute(c->args[0], &path, e);
	if (rc == MICA_OK)
		rc = client_open(c, CLIENT_ADMIN | CLIENT_CREDENTIAL, &k, e);
	if (rc == MICA_OK)
		rc = client_open(c, CLIENT_ADMIN | CLIENT_CREDENTIAL, &second, e);
	if (rc != MICA_OK)
		return rc;
	b.k = second;
	mica_buf_put_str(&body, "{\"path\":");
	mica_buf_put_json_string(&body, mica_buf_slice(&path));
	mica_buf_put_u8(&body, '}');
	r.body = mica_buf_slice(&body);
	rc = client_json(k, &r, &answer, &d, e);
	progress_end(&b.line);
	if (rc != MICA_OK)
		return rc;
	wr_json(c->w, NULL, d.root);
	wr_note(c->w, "Keep it and its manifest together, and the passphrase elsewhere.");
	return MICA_OK;
}

/* ---- token explain --------------------------------------------------------------------------- */

static mica_rc read_token(struct cli *c, struct mica_buf *token, struct mica_err *e)
{
	mica_rc rc;

	if (!cli_set(c, OPT_TOKEN_FILE))
		return mica_fail(e, MICA_INVALID, "missing_argument",
			"which token? --token-file FILE is not given");
	rc = mica_file_read(cli_str(c, OPT_TOKEN_FILE), token, e);
	while (rc == MICA_OK && token->len > 0 &&
		(token->p[token->len - 1] == '\n' || token->p[token->len - 1] == '\r'))
		token->p[--token->len] = '\0';
	return rc;
}

/* Who asks is not the token that is asked about. */
static mica_rc explain_by_micad(struct cli *c, struct mica_slice token,
	struct mica_http_response *answer, struct mica_json *d, struct mica_err *e)
{
	struct client_request r = {.method = "POST", .path = "/v1/tokens/explain"};
	const char *front = cli_set(c, OPT_FRONT) ? cli_str(c, OPT_FRONT) : "rest";
	struct mica_err own = MICA_ERR_INIT;
	CLIENT_AUTO k = NULL;
	MICA_AUTO_BUF body;
	mica_rc rc;

	mica_buf_init_secret(&body, 65536);
	c->v[OPT_TOKEN_FILE].set = false;
	rc = client_open(c, CLIENT_ADMIN | CLIENT_CREDENTIAL, &k, &own);
	if (rc != MICA_OK && own.reason && strcmp(own.reason, "no_credential") == 0)
		return mica_fail(e, rc, own.reason,
			"who asks? --token-file is the token in question: give --svid DIR, or ask on "
			"micad's machine with --socket PATH");
	if (rc != MICA_OK)
		return mica_fail(e, rc, own.reason, "%s", own.text);
	mica_buf_put_str(&body, "{\"token\":");
	mica_buf_put_json_string(&body, token);
	mica_buf_printf(&body, ",\"front\":\"%s\"}", front);
	rc = mica_buf_rc(&body, e);
	r.body = mica_buf_slice(&body);
	return rc == MICA_OK ? client_json(k, &r, answer, d, e) : rc;
}

/* Keys of issuers, by their place in the configuration. */
struct offline_keys {
	unsigned n;
	const struct mica_jwks **v;
};

static const struct mica_jwks *keys_of(void *ctx, const struct mica_issuer *issuer)
{
	struct offline_keys *k = ctx;
	unsigned i = mica_issuer_index(issuer);

	return i < k->n ? k->v[i] : NULL;
}

/* "[ISSUER=]FILE"; without a name the file serves all issuers that have none of their own. */
static mica_rc load_keys(struct cli *c, const struct mica_issuers *issuers, struct offline_keys *k,
	struct mica_err *e)
{
	const struct cli_value *files = &c->v[OPT_JWKS_FILE];

	for (unsigned f = 0; f < files->n; f++) {
		struct mica_slice path = mica_slice_str(files->list[f]), name = {0};
		bool named = memchr(path.p, '=', path.len) && mica_slice_cut(&path, '=', &name);
		bool used = false;
		MICA_AUTO_BUF b;
		mica_rc rc;

		mica_buf_init(&b, MICA_JWKS_BYTES_MAX);
		rc = mica_file_read((const char *)path.p, &b, e);
		for (unsigned i = 0; i < k->n && rc == MICA_OK; i++) {
			const struct mica_issuer *is = mica_issuers_at(issuers, i);
			struct mica_jwks_options o = mica_issuer_jwks_options(is);

			if (named ? !mica_slice_eq_str(name, mica_issuer_name(is))
				  : k->v[i] != NULL)
				continue;
			mica_jwks_unref(k->v[i]);
			k->v[i] = NULL;
			rc = mica_jwks_parse(mica_buf_slice(&b), &o, &k->v[i], e);
			used = true;
		}
		if (rc != MICA_OK)
			return rc;
		if (!used)
			return mica_fail(e, MICA_INVALID, "bad_option",
				"--jwks-file: the configuration has no issuer '%.*s'",
				MICA_FMT(name));
	}
	return MICA_OK;
}

static mica_rc explain_with(struct cli *c, const struct mica_config *config,
	struct mica_slice token, struct offline_keys *k, struct mica_buf *json, struct mica_err *e)
{
	MICA_AUTO_ISSUERS issuers = NULL;
	MICA_AUTO_TOKEN_READER reader = mica_token_reader_new();
	enum mica_front front = (enum mica_front)cli_int(c, OPT_FRONT, MICA_FRONT_REST);
	mica_rc rc = mica_issuers_new(
		config->trust_domain, config->issuers, config->n_issuers, &issuers, NULL, e);

	if (rc == MICA_OK)
		rc = load_keys(c, issuers, k, e);
	if (rc == MICA_OK)
		rc = mica_token_explain(reader, issuers, token, front, c->now, keys_of, k, json, e);
	return rc;
}

static mica_rc explain_here(
	struct cli *c, struct mica_slice token, struct mica_buf *json, struct mica_err *e)
{
	struct offline_keys k = {.n = 0};
	CONFIG_AUTO config = NULL;
	mica_rc rc = mica_config_load(cli_str(c, OPT_CONFIG), &config, e);

	if (rc != MICA_OK)
		return rc;
	k.n = config->n_issuers;
	k.v = mica_calloc(k.n + 1, sizeof(*k.v));
	rc = explain_with(c, config, token, &k, json, e);
	for (unsigned i = 0; i < k.n; i++)
		mica_jwks_unref(k.v[i]);
	mica_free(k.v);
	return rc;
}

static void show_steps(struct writer *w, const json_t *steps)
{
	static const struct wr_column columns[] = {
		{"check", 24}, {"result", 8}, {"reason", 24}, {"text", 0}};
	json_t *one;
	size_t i;

	wr_table(w, "steps", columns, MICA_ARRAY_LEN(columns));
	json_array_foreach (steps, i, one) {
		json_t *text = json_object_get(one, "text"),
		       *reason = json_object_get(one, "reason");

		wr_object(w, NULL);
		wr_str(w, "check", mica_json_str(json_object_get(one, "check")));
		wr_cstr(w, "result",
			json_is_true(json_object_get(one, "passed")) ? "ok" : "FAILED");
		if (json_is_string(reason))
			wr_str(w, "reason", mica_json_str(reason));
		if (json_is_string(text))
			wr_str(w, "text", mica_json_str(text));
		wr_end(w);
	}
	wr_end(w);
}

static void show_explained(struct cli *c, const json_t *root)
{
	bool accepted = json_is_true(json_object_get(root, "accepted"));
	const char *key;
	json_t *v;

	c->exit_status = accepted ? 0 : mica_rc_exit(MICA_UNAUTHENTICATED);
	if (wr_format(c->w) == OUT_JSON) {
		wr_json(c->w, NULL, root);
		return;
	}
	wr_object(c->w, NULL);
	wr_verdict(c->w, "verdict", accepted, accepted ? "accepted" : "refused");
	json_object_foreach ((json_t *)(uintptr_t)root, key, v) {
		if (strcmp(key, "accepted") == 0)
			continue;
		if (strcmp(key, "steps") == 0 && json_is_array(v))
			show_steps(c->w, v);
		else
			wr_json(c->w, key, v);
	}
	wr_end(c->w);
}

mica_rc cmd_token_explain(struct cli *c, struct mica_err *e)
{
	struct mica_json_limits limits = {.bytes = (size_t)1 << 20};
	RESPONSE_AUTO answer = {0};
	MICA_AUTO_JSON d = {0};
	MICA_AUTO_BUF token, json;
	mica_rc rc;

	mica_buf_init_secret(&token, MICA_TOKEN_MAX * 2);
	mica_buf_init(&json, (size_t)1 << 20);
	rc = read_token(c, &token, e);
	if (rc != MICA_OK)
		return rc;
	/* MICA_CONFIG alone does not mean that one wants to judge here. */
	if (cli_set(c, OPT_JWKS_FILE) && !cli_set(c, OPT_CONFIG))
		return mica_fail(e, MICA_INVALID, "missing_argument",
			"--jwks-file: whose rules? --config FILE is not given");
	if (cli_set(c, OPT_JWKS_FILE) || (cli_set(c, OPT_CONFIG) && !c->v[OPT_CONFIG].from_env)) {
		rc = explain_here(c, mica_buf_slice(&token), &json, e);
		if (rc == MICA_OK)
			rc = mica_json_parse(mica_buf_slice(&json), &limits, &d, e);
	} else {
		rc = explain_by_micad(c, mica_buf_slice(&token), &answer, &d, e);
	}
	if (rc == MICA_OK)
		show_explained(c, d.root);
	return rc;
}

/* ---- certificate show ------------------------------------------------------------------------ */

static void show_names(
	struct writer *w, const char *key, const struct mica_slice *v, size_t n, size_t max)
{
	wr_list(w, key);
	for (size_t i = 0; i < n && i < max; i++)
		wr_str(w, NULL, v[i]);
	wr_end(w);
}

static void show_hex(struct writer *w, const char *key, struct mica_slice v)
{
	char hex[2 * 64 + 1];

	if (v.len == 0 || v.len > 64)
		return;
	mica_hex_encode(v.p, v.len, hex);
	wr_cstr(w, key, hex);
}

/* SPIFFE numbers have 16 octets; a top octet of zero counts. */
static void show_certificate(struct writer *w, struct mica_slice der, int64_t now)
{
	struct mica_err why = MICA_ERR_INIT;
	struct mica_cert_info i;
	struct mica_pubkey key;

	wr_object(w, NULL);
	if (mica_cert_read(der, &i, &why) != MICA_OK) {
		wr_verdict(w, "verdict", false, why.text);
		wr_end(w);
		return;
	}
	if (i.n_uri == 1)
		wr_str(w, "spiffe_id", i.uri[0]);
	show_hex(w, "serial", i.serial);
	wr_cstr(w, "kind", i.is_ca ? "authority" : "leaf");
	wr_time(w, "not_before", i.not_before);
	wr_time(w, "not_after", i.not_after);
	wr_verdict(w, "validity", now >= i.not_before && now <= i.not_after,
		now < i.not_before          ? "not yet"
			: now > i.not_after ? "over"
					    : "now");
	if (mica_pubkey_read(i.spki, &key, NULL) == MICA_OK)
		wr_cstr(w, "key", mica_key_name(key.type));
	show_hex(w, "subject_key_id", i.ski);
	show_hex(w, "authority", i.aki);
	if (i.n_dns > 0)
		show_names(w, "dns_names", i.dns, i.n_dns, MICA_CERT_NAMES_MAX);
	if (i.n_uri > 1)
		show_names(w, "uris", i.uri, i.n_uri, MICA_ARRAY_LEN(i.uri));
	wr_end(w);
}

static mica_rc show_file(struct cli *c, const char *path, struct mica_err *e)
{
	struct mica_slice certs[16];
	MICA_AUTO_BUF pem, der;
	size_t n = 0;
	mica_rc rc;

	mica_buf_init(&pem, (size_t)1 << 20);
	mica_buf_init(&der, 16 * MICA_CERT_MAX);
	rc = mica_file_read(path, &pem, e);
	if (rc == MICA_OK)
		rc = mica_pem_certs(
			mica_buf_slice(&pem), &der, certs, MICA_ARRAY_LEN(certs), &n, e);
	if (rc != MICA_OK)
		return rc;
	if (wr_format(c->w) == OUT_JSON)
		wr_list(c->w, NULL);
	for (size_t i = 0; i < n; i++)
		show_certificate(c->w, certs[i], c->now);
	if (wr_format(c->w) == OUT_JSON)
		wr_end(c->w);
	return MICA_OK;
}

mica_rc cmd_certificate_show(struct cli *c, struct mica_err *e)
{
	char path[128];
	uint8_t serial[16];
	size_t len = sizeof(serial);
	struct client_request r = {.path = path};
	RESPONSE_AUTO answer = {0};
	MICA_AUTO_JSON d = {0};
	CLIENT_AUTO k = NULL;
	mica_rc rc;

	if (mica_hex_decode(mica_slice_str(c->args[0]), serial, &len) != MICA_OK ||
		len != sizeof(serial))
		return show_file(c, c->args[0], e);
	snprintf(path, sizeof(path), "/v1/certificates/%s", c->args[0]);
	rc = client_open(c, CLIENT_ADMIN | CLIENT_CREDENTIAL, &k, e);
	if (rc == MICA_OK)
		rc = client_json(k, &r, &answer, &d, e);
	if (rc == MICA_OK)
		wr_json(c->w, NULL, d.root);
	return rc;
}
