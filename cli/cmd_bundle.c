/* SPDX-License-Identifier: Apache-2.0 */
/* Whom to trust: bundle show, bundle watch. */
#include "client.h"
#include "roots.h"

#include "mica/cert.h"
#include "mica/clock.h"
#include "mica/file.h"
#include "mica/pem.h"

#include <stdio.h>

#define BUNDLE_ANSWER_MAX ((size_t)4 << 20)
#define WAIT_SECONDS      50
#define RETRY_MS          5000

enum form { FORM_JSON, FORM_PEM, FORM_JWS };

struct watch {
	struct cli *c;
	struct client *k;
	bool summary; /* no --format: the JSON form, explained */
	enum form form;
	struct mica_buf path;
	struct roots trusted; /* for the signed form */
	char etag[128];
	uint64_t sequence;
	bool first;
};

static void watch_clear(struct watch *x)
{
	client_free(x->k);
	mica_buf_clear(&x->path);
	roots_clear(&x->trusted);
}

/* ---- one document ------------------------------------------------------------------------------
 */

static void show_root(struct writer *w, struct mica_slice der)
{
	struct mica_cert_info info;
	struct mica_pubkey key;
	char id[2 * 32 + 1] = "";

	if (mica_cert_read(der, &info, NULL) != MICA_OK) {
		wr_cstr(w, "error", "not a certificate");
		return;
	}
	if (info.ski.len > 0 && info.ski.len <= 32)
		mica_hex_encode(info.ski.p, info.ski.len, id);
	wr_cstr(w, "id", id);
	if (mica_pubkey_read(info.spki, &key, NULL) == MICA_OK)
		wr_cstr(w, "key", mica_key_name(key.type));
	wr_time(w, "not_before", info.not_before);
	wr_time(w, "not_after", info.not_after);
}

static void show_summary(struct writer *w, const struct bundle_info *b, const struct roots *r)
{
	static const struct wr_column columns[] = {
		{"use", 9}, {"id", 40}, {"key", 7}, {"not_after", 20}};

	wr_object(w, NULL);
	wr_uint(w, "sequence", b->sequence);
	wr_int(w, "refresh_hint", b->refresh_hint);
	wr_table(w, "keys", columns, MICA_ARRAY_LEN(columns));
	for (unsigned i = 0; i < b->n_keys; i++) {
		wr_object(w, NULL);
		wr_cstr(w, "use", b->keys[i].x509 ? "x509-svid" : "jwt-svid");
		if (b->keys[i].x509)
			show_root(w, r->v[b->keys[i].root]);
		else
			wr_str(w, "id", b->keys[i].kid);
		wr_end(w);
	}
	wr_end(w);
	wr_end(w);
}

static mica_rc read_json(struct mica_slice body, struct mica_json *d, struct bundle_info *b,
	struct roots *r, struct mica_err *e)
{
	struct mica_json_limits limits = {.bytes = BUNDLE_ANSWER_MAX};
	mica_rc rc = mica_json_parse(body, &limits, d, e);

	return rc == MICA_OK ? bundle_read(d, d->root, b, r, e) : rc;
}

/* Roots for the signed form that were not given: those that this micad publishes now. What came
 * over a connection that was verified is as good as that connection. */
static mica_rc fetch_roots(struct client *k, struct roots *r, struct mica_err *e)
{
	struct client_request q = {
		.path = "/v1/bundle.pem", .anonymous = true, .max_body = BUNDLE_ANSWER_MAX};
	RESPONSE_AUTO answer = {0};
	mica_rc rc = client_do(k, &q, &answer, e);

	return rc == MICA_OK ? roots_from_pem(r, mica_buf_slice(&answer.body), e) : rc;
}

static mica_rc known_roots(struct watch *x, struct mica_err *e)
{
	const char *path = cli_str(x->c, OPT_ROOTS);

	if (!path)
		path = cli_str(x->c, OPT_CA);
	return path ? roots_from_file(&x->trusted, path, e) : fetch_roots(x->k, &x->trusted, e);
}

/* The roots of a verified bundle are those that the next one is verified with. */
static mica_rc adopt_roots(struct watch *x, const struct bundle_jws *j, struct mica_err *e)
{
	struct mica_json_limits limits = {.bytes = BUNDLE_ANSWER_MAX};
	MICA_AUTO_JSON d = {0};
	struct bundle_info b;
	struct roots fresh;
	mica_rc rc = mica_json_parse(mica_buf_slice(&j->payload), &limits, &d, e);

	roots_init(&fresh);
	if (rc == MICA_OK)
		rc = bundle_read(&d, json_object_get(d.root, "bundle"), &b, &fresh, e);
	if (rc != MICA_OK) {
		roots_clear(&fresh);
		return rc;
	}
	roots_clear(&x->trusted);
	x->trusted = fresh;
	return MICA_OK;
}

/* Whatever form: that it is what it says, and its sequence (0: PEM has none). */
static mica_rc judge(
	struct watch *x, struct mica_slice body, uint64_t *sequence, struct mica_err *e)
{
	mica_rc rc;

	*sequence = 0;
	if (x->form == FORM_PEM) {
		ROOTS_AUTO r;

		roots_init(&r);
		return roots_from_pem(&r, body, e);
	}
	if (x->form == FORM_JWS) {
		BUNDLE_JWS_AUTO j;

		bundle_jws_init(&j);
		rc = bundle_jws_verify(body, &x->trusted, mica_now(), &j, e);
		*sequence = j.sequence;
		return rc == MICA_OK ? adopt_roots(x, &j, e) : rc;
	}
	MICA_AUTO_JSON d = {0};
	struct bundle_info b;
	ROOTS_AUTO r;

	roots_init(&r);
	rc = read_json(body, &d, &b, &r, e);
	*sequence = rc == MICA_OK ? b.sequence : 0;
	return rc;
}

static mica_rc show(struct watch *x, struct mica_slice body, struct mica_err *e)
{
	const char *path = cli_str(x->c, OPT_OUT);
	MICA_AUTO_JSON d = {0};
	struct bundle_info b;
	ROOTS_AUTO r;
	mica_rc rc;

	roots_init(&r);
	if (path && !x->summary)
		return mica_file_write_atomic(path, body, 0644, e);
	if (!x->summary) {
		wr_raw(x->c->w, body);
		if (body.len > 0 && body.p[body.len - 1] != '\n')
			wr_raw(x->c->w, MICA_LIT("\n"));
		return MICA_OK;
	}
	rc = read_json(body, &d, &b, &r, e);
	if (rc == MICA_OK)
		show_summary(x->c->w, &b, &r);
	return rc;
}

/* ---- fetching -------------------------------------------------------------------------------- */

static mica_rc make_path(struct watch *x, bool wait, struct mica_err *e)
{
	static const char *const ends[] = {"", ".pem", ".jws"};
	struct cli *c = x->c;

	mica_buf_reset(&x->path);
	if (c->n_args > 0) {
		if (x->form != FORM_JSON)
			return mica_fail(e, MICA_INVALID, "bad_option",
				"--format: of another trust domain there is json alone");
		for (const char *p = c->args[0]; *p; p++)
			if (!strchr("abcdefghijklmnopqrstuvwxyz0123456789.-_", *p))
				return mica_fail(e, MICA_INVALID, "trust_domain_invalid",
					"'%.80s' is not a trust domain", c->args[0]);
		mica_buf_printf(&x->path, "/v1/bundles/%s", c->args[0]);
	} else {
		mica_buf_printf(&x->path, "/v1/bundle%s", ends[x->form]);
	}
	client_query(&x->path, "channel", mica_slice_str(cli_str(c, OPT_CHANNEL)));
	if (wait)
		mica_buf_printf(&x->path, "%cwait=%d",
			memchr(x->path.p, '?', x->path.len) ? '&' : '?', WAIT_SECONDS);
	return mica_buf_rc(&x->path, e);
}

static mica_rc watch_open(struct watch *x, struct cli *c, struct mica_err *e)
{
	mica_rc rc;

	memset(x, 0, sizeof(*x));
	x->c = c;
	x->summary = !cli_set(c, OPT_FORMAT);
	x->form = (enum form)cli_int(c, OPT_FORMAT, FORM_JSON);
	x->first = true;
	mica_buf_init(&x->path, 2048);
	roots_init(&x->trusted);
	rc = client_open(c, 0, &x->k, e);
	if (rc == MICA_OK && x->form == FORM_JWS)
		rc = known_roots(x, e);
	return rc;
}

static mica_rc check_sequence(struct watch *x, uint64_t sequence, struct mica_err *e)
{
	if (sequence < x->sequence)
		return mica_fail(e, MICA_CORRUPT, "sequence_back",
			"the bundle's sequence went back from %llu to %llu: an old bundle is being "
			"served",
			(unsigned long long)x->sequence, (unsigned long long)sequence);
	x->sequence = sequence;
	return MICA_OK;
}

/* One request; *changed when there was something new, which is shown. */
static mica_rc step(struct watch *x, bool wait, bool *changed, struct mica_err *e)
{
	struct client_request q = {.anonymous = true,
		.max_body = BUNDLE_ANSWER_MAX,
		.if_none_match = x->etag[0] ? x->etag : NULL};
	RESPONSE_AUTO answer = {0};
	uint64_t sequence;
	mica_rc rc = make_path(x, wait && x->etag[0], e);

	*changed = false;
	q.path = (const char *)x->path.p;
	if (wait)
		q.timeout_ms = (WAIT_SECONDS + 20) * 1000;
	if (rc == MICA_OK)
		rc = client_do(x->k, &q, &answer, e);
	if (rc != MICA_OK || answer.status == 304)
		return rc;
	rc = judge(x, mica_buf_slice(&answer.body), &sequence, e);
	if (rc == MICA_OK && sequence > 0)
		rc = check_sequence(x, sequence, e);
	if (rc != MICA_OK)
		return rc;
	x->etag[0] = '\0';
	if (answer.etag)
		snprintf(x->etag, sizeof(x->etag), "%s",
			strlen(answer.etag) < sizeof(x->etag) ? answer.etag : "");
	*changed = true;
	return show(x, mica_buf_slice(&answer.body), e);
}

mica_rc cmd_bundle_show(struct cli *c, struct mica_err *e)
{
	struct watch x;
	bool changed;
	mica_rc rc = watch_open(&x, c, e);

	if (rc == MICA_OK && x.summary && cli_set(c, OPT_OUT))
		rc = mica_fail(e, MICA_INVALID, "bad_option", "--out: which form? give --format");
	if (rc == MICA_OK)
		rc = step(&x, false, &changed, e);
	if (rc == MICA_OK && cli_set(c, OPT_OUT)) {
		wr_object(c->w, NULL);
		wr_cstr(c->w, "file", cli_str(c, OPT_OUT));
		if (x.sequence > 0)
			wr_uint(c->w, "sequence", x.sequence);
		wr_end(c->w);
	}
	watch_clear(&x);
	return rc;
}

/* Trouble of a moment is waited for; what is wrong for good ends the watch. */
static bool for_a_moment(mica_rc rc)
{
	return rc == MICA_UNAVAILABLE || rc == MICA_LIMIT;
}

static mica_rc keep_watching(struct watch *x, struct mica_err *e)
{
	while (!cli_stopped()) {
		struct mica_err own = MICA_ERR_INIT;
		bool changed;
		mica_rc rc = step(x, true, &changed, &own);

		if (cli_stopped())
			break;
		if (rc != MICA_OK && (!for_a_moment(rc) || cli_set(x->c, OPT_ONCE)))
			return mica_fail_at(
				e, rc, own.reason, own.line, own.column, "%s", own.text);
		if (rc != MICA_OK) {
			cli_sleep(own.retry_after > 0 ? own.retry_after * 1000 : RETRY_MS);
			continue;
		}
		if (changed && x->summary == false && cli_set(x->c, OPT_OUT)) {
			wr_object(x->c->w, NULL);
			wr_cstr(x->c->w, "file", cli_str(x->c, OPT_OUT));
			wr_uint(x->c->w, "sequence", x->sequence);
			wr_end(x->c->w);
		}
		rc = wr_flush(x->c->w, e);
		if (rc != MICA_OK || (changed && cli_set(x->c, OPT_ONCE) && !x->first))
			return rc;
		x->first = false;
		/* An answer without an ETag cannot be waited for. */
		if (changed && !x->etag[0])
			cli_sleep(RETRY_MS);
	}
	return MICA_OK;
}

mica_rc cmd_bundle_watch(struct cli *c, struct mica_err *e)
{
	struct watch x;
	mica_rc rc = watch_open(&x, c, e);

	wr_stream(c->w);
	if (rc == MICA_OK && x.summary && cli_set(c, OPT_OUT))
		rc = mica_fail(e, MICA_INVALID, "bad_option", "--out: which form? give --format");
	if (rc == MICA_OK)
		rc = keep_watching(&x, e);
	watch_clear(&x);
	return rc;
}
