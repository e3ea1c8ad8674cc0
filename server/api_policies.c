/* SPDX-License-Identifier: Apache-2.0 */
/* Policies: what administrators change. */
#include "api_impl.h"

#include "policies.h"

#include "mica/bundle.h"
#include "mica/clock.h"

#include <inttypes.h>
#include <stdio.h>

#define JSON_TYPE    "application/json"
#define ANSWER_MAX   (4u << 20)
#define ERRORS_MAX   32
#define CHUNKS_MAX   10000
#define PADDED_LINES 200000

/* ---- what is wrong with documents ------------------------------------------------------------ */

static void put_finding(
	struct mica_buf *b, bool first, const char *reason, const char *text, int line, int column)
{
	mica_buf_put_str(b, first ? "{" : ",{");
	api_put_string(b, "reason", mica_slice_str(reason));
	api_put_string(b, "detail", mica_slice_str(text));
	if (line > 0)
		api_put_u64(b, "line", (uint64_t)line);
	if (column > 0)
		api_put_u64(b, "column", (uint64_t)column);
	mica_buf_put_u8(b, '}');
}

static void put_warnings(struct mica_buf *b, const struct mica_policies *read)
{
	mica_buf_put_str(b, ",\"warnings\":[");
	for (unsigned i = 0; i < read->n_warnings && i < MICA_POLICY_WARNINGS_MAX; i++) {
		const struct mica_policy_warning *w = &read->warnings[i];

		put_finding(b, i == 0, w->reason, w->text, w->line, w->column);
	}
	mica_buf_put_u8(b, ']');
}

/* A document of several: from a line "---" to the next. */
struct chunk {
	struct mica_slice text;
	size_t line; /* from 0 */
};

static bool next_chunk(struct mica_slice *rest, size_t *line, struct chunk *out)
{
	const uint8_t *begin = rest->p;
	struct mica_slice one;
	size_t lines = 0;
	bool more = rest->len > 0;

	*out = (struct chunk){.line = *line};
	if (!more)
		return false;
	while (rest->len > 0) {
		struct mica_slice before = *rest;

		mica_slice_cut(rest, '\n', &one);
		if (lines > 0 && mica_slice_has_prefix(one, MICA_LIT("---"))) {
			*rest = before;
			break;
		}
		lines++;
	}
	out->text = mica_slice(begin, (size_t)(rest->p - begin));
	if (rest->len == 0)
		out->text.len = (size_t)(one.p + one.len - begin);
	*line += lines;
	return true;
}

/* The reader stops at the first error: it reads each document alone, on its line, to find one in
 * each. */
static unsigned find_errors(struct mica_slice text, const char *ns, struct mica_buf *out)
{
	size_t line = 0, padded = 0;
	unsigned n = 0, chunks = 0;
	struct chunk k;

	while (n < ERRORS_MAX && chunks++ < CHUNKS_MAX && next_chunk(&text, &line, &k)) {
		MICA_AUTO_POLICIES some = MICA_POLICIES_INIT;
		struct mica_err e = MICA_ERR_INIT;
		MICA_AUTO_BUF b;

		padded += k.line;
		if (padded > PADDED_LINES)
			break;
		mica_buf_init(&b, 2 * MICA_POLICY_TEXT_MAX);
		for (size_t i = 0; i < k.line; i++)
			mica_buf_put_u8(&b, '\n');
		mica_buf_put_slice(&b, k.text);
		if (mica_policies_parse(mica_buf_slice(&b), "document", ns, &some, &e) == MICA_OK ||
			strcmp(e.reason, "policy_empty") == 0)
			continue;
		put_finding(out, n == 0, e.reason, e.text, e.line, e.column);
		n++;
	}
	return n;
}

/* The problem of the first error, with all that were found. */
static void fail_documents(struct api_call *c, const char *ns)
{
	int status = api_error_status(&c->err);
	MICA_AUTO_BUF list, body;

	mica_buf_init(&list, 64 * 1024);
	mica_buf_init(&body, 128 * 1024);
	if (find_errors(c->d->body, ns, &list) == 0) /* it is about all of them */
		put_finding(&list, true, c->err.reason, c->err.text, c->err.line, c->err.column);
	api_problem(&body, status, &c->err, c->expected);
	body.len--;
	mica_buf_put_str(&body, ",\"errors\":[");
	mica_buf_put_slice(&body, mica_buf_slice(&list));
	mica_buf_put_str(&body, "]}");
	api_log_refused(c, status);
	api_answer(c,
		&(struct api_answer){.status = status,
			.type = "application/problem+json",
			.body = mica_buf_slice(&body)});
}

/* ---- one document ---------------------------------------------------------------------------- */

/* What the path and the query name. */
struct named {
	struct mica_doc_key key;
	char ns[64];
	struct api_policy_query q;
};

static mica_rc take_name(struct api_call *c, const char *const *params, struct named *out)
{
	struct mica_slice name = c->param, ns;
	mica_rc rc = api_decode_policy_query(&c->query, params, &out->q, &c->err);

	mica_slice_cut(&name, '/', &ns);
	out->key =
		(struct mica_doc_key){mica_slice_str(mica_policy_kind_name(out->q.kind)), ns, name};
	if (rc == MICA_OK && mica_slice_copy(ns, out->ns, sizeof(out->ns)) != MICA_OK)
		rc = mica_fail(&c->err, MICA_INVALID, "bad_policy_name",
			"a namespace has at most 63 characters");
	return rc;
}

static bool take_revision(void *ctx, const struct mica_doc *d)
{
	*(uint64_t *)ctx = d->revision;
	return true;
}

/* If-Match and If-None-Match (RFC 9110 13.1) about what is in force, as the revision that is
 * expected: when it is another one at the change, that is refused. */
static mica_rc expect(struct api_call *c, enum mica_channel ch, struct mica_doc_edit *ed)
{
	const struct http_req_data *d = c->d;
	struct mica_err own = MICA_ERR_INIT;
	uint64_t revision = 0;
	char etag[32];
	bool ok = true;

	ed->expect = MICA_REVISION_ANY;
	if (d->if_match.len == 0 && d->if_none_match.len == 0)
		return MICA_OK;
	if (mica_core_policy(c->a->desk->core, ch, &ed->key, 0, take_revision, &revision, &own) !=
			MICA_OK &&
		own.rc != MICA_NOT_FOUND)
		return mica_fail(&c->err, own.rc, own.reason, "%s", own.text);
	ed->expect = revision;
	snprintf(etag, sizeof(etag), "\"%" PRIu64 "\"", revision);
	if (d->if_match.len > 0)
		ok = revision != 0 && api_etag_matches(d->if_match, etag);
	if (d->if_none_match.len > 0 && revision != 0)
		ok = ok && !api_etag_matches(d->if_none_match, etag);
	if (ok)
		return MICA_OK;
	return mica_fail(&c->err, MICA_CONFLICT, "revision_mismatch",
		"%.*s %.*s/%.*s: revision %" PRIu64 " is in force (0 = there is none)",
		MICA_FMT(ed->key.kind), MICA_FMT(ed->key.ns), MICA_FMT(ed->key.name), revision);
}

static void fail(struct api_call *c)
{
	bool conditional = c->d->if_match.len > 0 || c->d->if_none_match.len > 0;

	if (conditional &&
		(strcmp(c->err.reason, "revision_mismatch") == 0 ||
			strcmp(c->err.reason, "sequence_mismatch") == 0))
		api_fail_status(c, 412);
	else
		api_fail(c);
}

static void put_change(struct mica_buf *b, const struct mica_doc_edit *ed)
{
	api_put_string(b, "kind", ed->key.kind);
	api_put_string(b, "namespace", ed->key.ns);
	api_put_string(b, "name", ed->key.name);
	api_put_u64(b, "revision", ed->revision);
	api_put_bool(b, "changed", ed->changed);
}

static void log_change(struct api_call *c, const char *event, const struct mica_doc_key *k)
{
	char text[128 + 254];

	snprintf(text, sizeof(text), "%.*s %.*s/%.*s", MICA_FMT(k->kind), MICA_FMT(k->ns),
		MICA_FMT(k->name));
	api_log_admin(c, event, "policy", mica_slice_str(text));
}

/* One edit, and what it did. */
static void change(struct api_call *c, struct mica_doc_edit *ed, enum mica_channel ch,
	const struct mica_policies *read, const char *event)
{
	struct mica_docs_change change = {.channel = ch, .edits = ed, .n = 1, .actor = c->caller};
	mica_rc rc = expect(c, ch, ed);

	if (rc == MICA_OK)
		rc = policies_change(c->a->desk->policies, &change, mica_now_ms(), &c->err);
	if (rc != MICA_OK) {
		fail(c);
		return;
	}
	if (ed->changed)
		log_change(c, event, &ed->key);
	if (ed->op == MICA_DOC_DELETE) {
		api_answer(c, &(struct api_answer){.status = 204});
		return;
	}
	mica_buf_init(&c->out, ANSWER_MAX);
	mica_buf_put_u8(&c->out, '{');
	put_change(&c->out, ed);
	api_put_string(&c->out, "channel", mica_slice_str(mica_channel_name(ch)));
	api_put_u64(&c->out, "sequence", change.sequence);
	if (read)
		put_warnings(&c->out, read);
	mica_buf_put_u8(&c->out, '}');
	snprintf(c->etag, sizeof(c->etag), "\"%" PRIu64 "\"", ed->revision);
	api_send(c, 200, JSON_TYPE, NULL);
}

/* The document is the one that the path names. */
static mica_rc check_name(struct api_call *c, const struct named *n, const struct mica_policies *p)
{
	if (p->n != 1)
		return mica_fail(&c->err, MICA_INVALID, "policy_name_mismatch",
			"there are %u documents; expected one (POST /v1/policies takes several)",
			p->n);
	if (mica_slice_eq_str(n->key.ns, p->v[0]->ns) &&
		mica_slice_eq_str(n->key.name, p->v[0]->name) &&
		(!n->q.has_kind || n->q.kind == p->v[0]->kind))
		return MICA_OK;
	return mica_fail(&c->err, MICA_INVALID, "policy_name_mismatch",
		"the document is %s %s/%s; expected what the path and `kind` name",
		mica_policy_kind_name(p->v[0]->kind), p->v[0]->ns, p->v[0]->name);
}

void api_policy_put(struct api_call *c)
{
	MICA_AUTO_POLICIES read = MICA_POLICIES_INIT;
	POLICIES_AUTO_EDITS edits = {.n = 0};
	struct named n;
	mica_rc rc = take_name(c, api_policy_change_params, &n);

	if (rc != MICA_OK) {
		api_fail(c);
		return;
	}
	if (mica_policies_parse(c->d->body, "document", n.ns, &read, &c->err) != MICA_OK) {
		fail_documents(c, n.ns);
		return;
	}
	rc = check_name(c, &n, &read);
	if (rc == MICA_OK)
		rc = policies_edits_of(&read, &edits, &c->err);
	if (rc != MICA_OK) {
		api_fail(c);
		return;
	}
	change(c, &edits.v[0], n.q.channel, &read, "policy_put");
}

void api_policy_delete(struct api_call *c)
{
	struct mica_doc_edit ed = {.op = MICA_DOC_DELETE};
	struct named n;

	if (take_name(c, api_policy_change_params, &n) != MICA_OK) {
		api_fail(c);
		return;
	}
	ed.key = n.key;
	change(c, &ed, n.q.channel, NULL, "policy_deleted");
}

void api_policy_rollback(struct api_call *c)
{
	struct mica_doc_edit ed = {.op = MICA_DOC_ROLLBACK};
	MICA_AUTO_JSON doc = {.root = NULL};
	struct named n;
	mica_rc rc = take_name(c, api_policy_change_params, &n);

	if (rc == MICA_OK)
		rc = api_body(c->d->body, &doc, &c->err);
	if (rc == MICA_OK)
		rc = api_decode_policy_rollback(&doc, &ed.to, &c->err);
	if (rc != MICA_OK) {
		api_fail(c);
		return;
	}
	ed.key = n.key;
	change(c, &ed, n.q.channel, NULL, "policy_rolled_back");
}

/* ---- several documents ----------------------------------------------------------------------- */

/* If-Match about all of them: "default-live-<sequence>", as GET /v1/policies has it. */
static mica_rc expect_sequence(struct api_call *c, struct mica_docs_change *ch)
{
	const struct mica_snapshot *s = NULL;
	bool ok;
	mica_rc rc;

	if (c->d->if_match.len == 0)
		return MICA_OK;
	rc = mica_core_snapshot(
		c->a->desk->core, NULL, ch->channel, MICA_FMT_POLICIES_JSON, &s, &c->err);
	if (rc != MICA_OK)
		return rc;
	ok = api_etag_matches(c->d->if_match, s->etag);
	ch->expect_sequence = s->sequence;
	if (!ok)
		rc = mica_fail(&c->err, MICA_CONFLICT, "sequence_mismatch",
			"the policies of this channel have the ETag %s", s->etag);
	mica_snapshot_unref(s);
	return rc;
}

static void applied(
	struct api_call *c, const struct mica_docs_change *ch, const struct mica_policies *read)
{
	struct mica_buf *b = &c->out;

	mica_buf_init(b, ANSWER_MAX);
	mica_buf_put_u8(b, '{');
	api_put_string(b, "channel", mica_slice_str(mica_channel_name(ch->channel)));
	api_put_u64(b, "sequence", ch->sequence);
	api_put_u64(b, "changed", ch->changed);
	mica_buf_put_str(b, ",\"policies\":[");
	for (size_t i = 0; i < ch->n; i++) {
		mica_buf_put_str(b, i ? ",{" : "{");
		put_change(b, &ch->edits[i]);
		mica_buf_put_u8(b, '}');
	}
	mica_buf_put_u8(b, ']');
	put_warnings(b, read);
	mica_buf_put_u8(b, '}');
	api_send(c, 200, JSON_TYPE, NULL);
}

void api_policies_apply(struct api_call *c)
{
	MICA_AUTO_POLICIES read = MICA_POLICIES_INIT;
	POLICIES_AUTO_EDITS edits = {.n = 0};
	struct mica_docs_change ch = {.actor = c->caller};
	struct api_policy_query q;
	mica_rc rc = api_decode_policy_query(&c->query, api_policies_change_params, &q, &c->err);

	if (rc != MICA_OK) {
		api_fail(c);
		return;
	}
	if (mica_policies_parse(c->d->body, "document", NULL, &read, &c->err) != MICA_OK) {
		fail_documents(c, NULL);
		return;
	}
	ch.channel = q.channel;
	rc = policies_edits_of(&read, &edits, &c->err);
	ch.edits = edits.v;
	ch.n = edits.n;
	if (rc == MICA_OK)
		rc = expect_sequence(c, &ch);
	if (rc == MICA_OK)
		rc = policies_change(c->a->desk->policies, &ch, mica_now_ms(), &c->err);
	if (rc != MICA_OK) {
		fail(c);
		return;
	}
	for (size_t i = 0; i < ch.n; i++)
		if (ch.edits[i].changed)
			log_change(c, "policy_put", &ch.edits[i].key);
	applied(c, &ch, &read);
}

void api_policies_validate(struct api_call *c)
{
	MICA_AUTO_POLICIES read = MICA_POLICIES_INIT;

	if (mica_policies_parse(c->d->body, "document", NULL, &read, &c->err) != MICA_OK) {
		fail_documents(c, NULL);
		return;
	}
	mica_buf_init(&c->out, ANSWER_MAX);
	mica_buf_put_str(&c->out, "{\"valid\":true");
	api_put_u64(&c->out, "policies", read.n);
	put_warnings(&c->out, &read);
	mica_buf_put_u8(&c->out, '}');
	api_send(c, 200, JSON_TYPE, NULL);
}

/* ---- canary to live -------------------------------------------------------------------------- */

static void move(struct api_call *c, bool withdraw)
{
	MICA_AUTO_FREE struct mica_doc_key *keys = mica_calloc(API_POLICY_KEYS_MAX, sizeof(*keys));
	MICA_AUTO_JSON doc = {.root = NULL};
	uint64_t sequence = 0;
	size_t n = 0, done = 0;
	mica_rc rc = api_body(c->d->body, &doc, &c->err);

	if (rc == MICA_OK)
		rc = api_decode_policy_keys(&doc, keys, &n, &c->err);
	if (rc == MICA_OK)
		rc = policies_promote(c->a->desk->policies, keys, n, withdraw, c->caller,
			mica_now_ms(), &sequence, &done, &c->err);
	if (rc != MICA_OK) {
		api_fail(c);
		return;
	}
	for (size_t i = 0; i < n; i++)
		log_change(c, withdraw ? "policy_withdrawn" : "policy_promoted", &keys[i]);
	if (n == 0)
		api_log_admin(c, withdraw ? "policy_withdrawn" : "policy_promoted", "policy",
			MICA_LIT("all"));
	mica_buf_init(&c->out, ANSWER_MAX);
	mica_buf_put_u8(&c->out, '{');
	api_put_u64(&c->out, "sequence", sequence);
	api_put_u64(&c->out, "policies", done);
	mica_buf_put_u8(&c->out, '}');
	api_send(c, 200, JSON_TYPE, NULL);
}

void api_policies_promote(struct api_call *c)
{
	move(c, false);
}

void api_policies_withdraw(struct api_call *c)
{
	move(c, true);
}
