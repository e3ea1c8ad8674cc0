/* SPDX-License-Identifier: Apache-2.0 */
/* Policies for readers; and looking at those of a store at rest. */
#include "core_docs.h"

#include <inttypes.h>

uint64_t mica_core_policies_visit(
	struct mica_core *c, enum mica_channel ch, mica_doc_fn *fn, void *ctx)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);

	for (size_t i = 0; i < v->docs->n; i++) {
		const struct core_doc_head *h = &v->docs->v[i];
		const struct core_doc *d = mica_core_head_doc(h, ch);
		struct mica_doc out;

		if (!mica_core_doc_is(d))
			continue;
		mica_core_doc_fill(h, d, &out);
		if (!fn(ctx, &out))
			break;
	}
	return v->docs->sequence[ch];
}

static mica_rc no_policy(struct mica_err *e, const struct mica_doc_key *k)
{
	return mica_fail(e, MICA_NOT_FOUND, "no_such_policy", "there is no %.*s %.*s/%.*s",
		MICA_FMT(k->kind), MICA_FMT(k->ns), MICA_FMT(k->name));
}

static mica_rc find(const struct core_view *v, const struct mica_doc_key *key, struct mica_buf *mem,
	const struct core_doc_head **out, struct mica_err *e)
{
	mica_rc rc = mica_core_doc_key(key, mem, NULL);

	*out = rc == MICA_OK ? mica_core_docs_find(v->docs, v->docs->n, mica_buf_slice(mem)) : NULL;
	return *out ? MICA_OK : no_policy(e, key);
}

mica_rc mica_core_policy(struct mica_core *c, enum mica_channel ch, const struct mica_doc_key *key,
	uint64_t revision, mica_doc_fn *fn, void *ctx, struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	CORE_AUTO_PART struct core_doc *was = NULL;
	const struct core_doc_head *h;
	const struct core_doc *d;
	struct mica_err own = MICA_ERR_INIT;
	struct mica_doc out;
	MICA_AUTO_BUF mem;
	mica_rc rc;

	mica_buf_init(&mem, DOC_KEY_MAX);
	rc = find(v, key, &mem, &h, e);
	if (rc != MICA_OK)
		return rc;
	d = mica_core_head_doc(h, ch);
	if (revision == 0 && !mica_core_doc_is(d))
		return no_policy(e, key);
	if (revision != 0) {
		rc = mica_core_doc_read(c->store, mica_buf_slice(&mem), revision, &was, &own);
		if (rc == MICA_NOT_FOUND)
			return mica_fail(e, MICA_NOT_FOUND, "no_such_revision",
				"there is no revision %" PRIu64 " of it, or it is kept no longer",
				revision);
		if (rc != MICA_OK)
			return mica_fail(e, rc, own.reason, "%s", own.text);
		d = was;
	}
	mica_core_doc_fill(h, d, &out);
	fn(ctx, &out);
	return MICA_OK;
}

/* ---- history --------------------------------------------------------------------------------- */

static void put_channels(
	struct mica_buf *b, const struct core_doc_head *h, const struct core_doc *d)
{
	const char *sep = "";

	mica_buf_put_str(b, ",\"channels\":[");
	for (int ch = 0; ch < MICA_CHANNEL_COUNT; ch++) {
		const struct core_doc *now = mica_core_head_doc(h, (enum mica_channel)ch);

		if (!now || now->revision != d->revision)
			continue;
		mica_buf_printf(b, "%s\"%s\"", sep, mica_channel_name((enum mica_channel)ch));
		sep = ",";
	}
	mica_buf_put_u8(b, ']');
}

static void put_revision(
	struct mica_buf *b, const struct core_doc_head *h, const struct core_doc *d)
{
	uint8_t hash[32];

	mica_buf_printf(b, "{\"revision\":%" PRIu64, d->revision);
	mica_core_put_string(b, ",", "action", mica_doc_action_name(d->action));
	if (d->from)
		mica_buf_printf(b, ",\"from\":%" PRIu64, d->from);
	mica_core_put_time(b, ",", "time", d->time_ms / 1000);
	mica_buf_put_str(b, ",\"actor\":");
	mica_buf_put_slice(b, d->actor);
	if (d->text.len > 0) {
		mica_sha256(d->text, hash);
		mica_buf_printf(b, ",\"dry_run\":%s,\"sha256\":\"", d->dry_run ? "true" : "false");
		mica_buf_put_hex(b, hash, sizeof(hash));
		mica_buf_put_u8(b, '"');
	}
	put_channels(b, h, d);
	mica_buf_put_u8(b, '}');
}

struct past {
	struct mica_buf *json;
	const struct core_doc_head *head;
	size_t prefix;
	unsigned n;
};

static bool put_past(void *ctx, struct mica_slice key, struct mica_slice value, uint64_t rev)
{
	struct past *p = ctx;
	struct mica_cursor c = {mica_slice_sub(key, p->prefix, key.len), false};
	CORE_AUTO_PART struct core_doc *d =
		mica_core_doc_decode(mica_core_head_key(p->head), mica_cur_be64(&c), value);

	(void)rev;
	if (!d || c.bad)
		return true; /* `mica store check` has to say that */
	mica_buf_put_str(p->json, p->n++ ? "," : "");
	put_revision(p->json, p->head, d);
	return true;
}

mica_rc mica_core_policy_history(struct mica_core *c, const struct mica_doc_key *key,
	struct mica_buf *json, struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	struct mica_scan scan = {.table = MICA_T_POLICY, .reverse = true};
	struct past p = {.json = json};
	const struct mica_doc_key *name;
	MICA_AUTO_BUF mem, record;
	mica_rc rc;

	mica_buf_init(&mem, DOC_KEY_MAX);
	mica_buf_init(&record, MICA_STORE_KEY_MAX);
	rc = find(v, key, &mem, &p.head, e);
	if (rc != MICA_OK)
		return rc;
	scan.prefix = mica_core_revision_record(mica_buf_slice(&mem), 0, &record);
	scan.prefix.len -= 8;
	p.prefix = scan.prefix.len;
	name = p.head->live ? &p.head->live->name : &p.head->canary->name;
	mica_buf_put_str(json, "{\"kind\":");
	mica_buf_put_json_string(json, name->kind);
	mica_buf_put_str(json, ",\"namespace\":");
	mica_buf_put_json_string(json, name->ns);
	mica_buf_put_str(json, ",\"name\":");
	mica_buf_put_json_string(json, name->name);
	mica_core_put_string(json, ",", "owner", mica_doc_owner_name(p.head->owner));
	mica_buf_put_str(json, ",\"revisions\":[");
	rc = mica_store_list(c->store, &scan, put_past, &p, e);
	mica_buf_put_str(json, "]}");
	return rc == MICA_OK ? mica_buf_rc(json, e) : rc;
}

/* ---- a store at rest ------------------------------------------------------------------------- */

mica_rc mica_core_policies_check(struct mica_store *s, struct mica_err *e)
{
	CORE_AUTO_PART struct core_docs *d = NULL;

	return mica_core_docs_load(s, &d, e);
}
