/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is published of policies: a list for each channel, encoded once, and its signed form. The
 * core puts the documents in as they are.
 */
#include "core_docs.h"

#include "mica/jwt.h"

#include <inttypes.h>

#define VERSION  1
#define LIST_MAX (MICA_DOCS_TEXT_MAX + (size_t)MICA_DOCS_MAX * (256 + DOC_KEY_MAX) + 4096)
#define KEY      MICA_LIT("policies")

static void put_slice(struct mica_buf *b, const char *before, const char *name, struct mica_slice v)
{
	mica_buf_printf(b, "%s\"%s\":", before, name);
	mica_buf_put_json_string(b, v);
}

static void put_doc(struct mica_buf *b, const struct core_doc_head *h, const struct core_doc *d)
{
	put_slice(b, "{", "kind", d->name.kind);
	put_slice(b, ",", "namespace", d->name.ns);
	put_slice(b, ",", "name", d->name.name);
	mica_buf_printf(b, ",\"revision\":%" PRIu64, d->revision);
	mica_core_put_time(b, ",", "changed", d->time_ms / 1000);
	mica_core_put_string(b, ",", "owner", mica_doc_owner_name(h->owner));
	mica_buf_printf(b, ",\"dry_run\":%s", d->dry_run ? "true" : "false");
	if (h->canary == d)
		mica_buf_put_str(b, ",\"canary\":true");
	mica_buf_put_str(b, ",\"document\":");
	mica_buf_put_slice(b, d->text);
	mica_buf_put_u8(b, '}');
}

static void put_docs(struct mica_buf *b, const struct core_docs *d, enum mica_channel ch)
{
	const char *sep = "";

	mica_buf_put_str(b, ",\"policies\":[");
	for (size_t i = 0; i < d->n; i++) {
		const struct core_doc *doc = mica_core_head_doc(&d->v[i], ch);

		if (!mica_core_doc_is(doc))
			continue;
		mica_buf_put_str(b, sep);
		put_doc(b, &d->v[i], doc);
		sep = ",";
	}
	mica_buf_put_str(b, "]}");
}

/* The live channel comes first. */
static mica_rc make_list(struct core_docs *d, enum mica_channel ch, struct mica_err *e)
{
	const struct mica_snapshot *live = d->list[MICA_CHANNEL_LIVE], *made;
	MICA_AUTO_BUF b;
	mica_rc rc;

	mica_buf_init(&b, LIST_MAX);
	if (ch != MICA_CHANNEL_LIVE && d->stats.waiting == 0 && live) {
		made = mica_snapshot_ref(live);
	} else {
		put_docs(&b, d, ch);
		rc = mica_buf_rc(&b, e);
		if (rc != MICA_OK)
			return rc;
		made = mica_snapshot_take_made(&b, "", 0, 0);
	}
	mica_snapshot_unref(d->list[ch]);
	d->list[ch] = made;
	return MICA_OK;
}

static mica_rc encode_plain(struct core_docs *d, enum mica_channel ch, struct mica_err *e)
{
	MICA_AUTO_BUF b;
	mica_rc rc = make_list(d, ch, e);

	if (rc != MICA_OK)
		return rc;
	mica_buf_init(&b, LIST_MAX);
	mica_buf_printf(&b, "{\"set\":\"%s\",\"channel\":\"%s\",\"sequence\":%" PRIu64,
		MICA_SET_DEFAULT, mica_channel_name(ch), d->sequence[ch]);
	mica_buf_put_slice(&b, d->list[ch]->bytes);
	rc = mica_buf_rc(&b, e);
	if (rc != MICA_OK)
		return rc;
	mica_snapshot_unref(d->snap[ch][0]);
	d->snap[ch][0] = mica_snapshot_take_new(&b, MICA_SET_DEFAULT, ch, d->sequence[ch], 0, 0);
	return MICA_OK;
}

static mica_rc encode_signed(struct mica_core *c, const struct core_view *v, struct core_docs *d,
	enum mica_channel ch, int64_t now, struct mica_err *e)
{
	struct mica_slice chain[MICA_CHAIN_MAX] = {mica_buf_slice(&v->pub->publisher)};
	size_t n = mica_core_publisher_chain(v, v->pub->publisher_authority, chain);
	MICA_AUTO_BUF claims, b;
	mica_rc rc;

	mica_buf_init(&claims, LIST_MAX);
	mica_buf_init(&b, 2 * LIST_MAX);
	mica_core_put_string(&claims, "{", "set", MICA_SET_DEFAULT);
	mica_core_put_string(&claims, ",", "trust_domain", v->policy->trust_domain);
	mica_core_put_string(&claims, ",", "channel", mica_channel_name(ch));
	mica_buf_printf(&claims, ",\"sequence\":%" PRIu64 ",\"iat\":%" PRId64 ",\"exp\":%" PRId64,
		d->sequence[ch], now, now + MICA_JWS_LIFE);
	mica_buf_put_slice(&claims, d->list[ch]->bytes);
	rc = mica_buf_rc(&claims, e);
	if (rc == MICA_OK)
		rc = mica_jws_sign(c->publication_key, MICA_TYP_POLICY, chain, n,
			mica_buf_slice(&claims), &b, e);
	if (rc != MICA_OK)
		return rc;
	mica_snapshot_unref(d->snap[ch][1]);
	d->snap[ch][1] = mica_snapshot_take_new(
		&b, MICA_SET_DEFAULT, ch, d->sequence[ch], now, now + MICA_JWS_LIFE);
	return MICA_OK;
}

mica_rc mica_core_docs_sign(struct mica_core *c, const struct core_view *v, struct core_docs *d,
	int64_t now, struct mica_err *e)
{
	mica_rc rc = MICA_OK;

	d->signed_at = 0;
	for (int ch = 0; ch < MICA_CHANNEL_COUNT; ch++) {
		mica_snapshot_unref(d->snap[ch][1]);
		d->snap[ch][1] = NULL;
	}
	if (!v->pub || now >= v->pub->publisher_end)
		return MICA_OK;
	for (int ch = 0; ch < MICA_CHANNEL_COUNT && rc == MICA_OK; ch++)
		rc = encode_signed(c, v, d, (enum mica_channel)ch, now, e);
	if (rc != MICA_OK)
		return rc;
	d->signed_at = now;
	memcpy(d->publisher, v->pub->publisher_authority, sizeof(d->publisher));
	d->publisher_end = v->pub->publisher_end;
	return MICA_OK;
}

/* ---- numbers --------------------------------------------------------------------------------- */

static mica_rc note_published(struct core_change *ch, const struct core_docs *d,
	enum mica_channel channel, int64_t now_ms, struct mica_err *e)
{
	struct core_note n = {.type = MICA_ENTRY_POLICY, .action = "published"};
	uint8_t hash[32];
	MICA_AUTO_BUF detail;

	mica_sha256(d->snap[channel][0]->bytes, hash);
	mica_buf_init(&detail, 256);
	mica_buf_printf(&detail,
		"{\"channel\":\"%s\",\"sequence\":%" PRIu64 ",\"policies\":%zu,\"sha256\":\"",
		mica_channel_name(channel), d->sequence[channel], d->stats.documents[channel]);
	mica_buf_put_hex(&detail, hash, 32);
	mica_buf_put_str(&detail, "\"}");
	n.detail = mica_buf_slice(&detail);
	return mica_core_change_note(ch, &n, NULL, now_ms, e);
}

static mica_rc put_record(
	struct mica_core *c, const struct core_docs *d, struct core_change *ch, struct mica_err *e)
{
	MICA_AUTO_BUF b;

	mica_buf_init(&b, 64 + MICA_NOTE_NAME_MAX);
	mica_buf_put_u8(&b, VERSION);
	mica_buf_put_be64(&b, d->sequence[MICA_CHANNEL_LIVE]);
	mica_buf_put_be64(&b, d->sequence[MICA_CHANNEL_CANARY]);
	mica_buf_put_str(&b, mica_ledger_key(c->ledger)->name);
	mica_core_change_read(ch, MICA_T_SNAPSHOT, KEY, d->rev);
	mica_core_change_write(ch, MICA_PUT, MICA_T_SNAPSHOT, KEY, mica_buf_slice(&b));
	return mica_buf_rc(&b, e);
}

/* As bundles are numbered (core_publish.c): one counter, and one number while both are one. */
mica_rc mica_core_docs_publish(struct mica_core *c, const struct core_docs *old,
	struct core_docs *next, struct core_change *ch, bool note, int64_t now_ms,
	struct mica_err *e)
{
	uint64_t *seq = next->sequence, last = seq[0] > seq[1] ? seq[0] : seq[1], n;
	bool one = next->stats.waiting == 0, differs[MICA_CHANNEL_COUNT];
	mica_rc rc = mica_sequence_next(last, now_ms, &n, e);

	for (int i = 0; i < MICA_CHANNEL_COUNT; i++)
		differs[i] = !old || !mica_core_docs_same(old, next, (enum mica_channel)i) ||
			(one && seq[0] != seq[1]);
	for (int i = 0; i < MICA_CHANNEL_COUNT && rc == MICA_OK; i++) {
		if (!differs[i])
			continue;
		seq[i] = one || i == MICA_CHANNEL_LIVE || !differs[MICA_CHANNEL_LIVE] ? n : n + 1;
		rc = encode_plain(next, (enum mica_channel)i, e);
		if (rc == MICA_OK && note)
			rc = note_published(ch, next, (enum mica_channel)i, now_ms, e);
	}
	return rc == MICA_OK ? put_record(c, next, ch, e) : rc;
}

static mica_rc load_numbers(struct mica_core *c, struct core_docs *d, struct mica_err *e)
{
	struct mica_err own = MICA_ERR_INIT;
	struct mica_cursor cur;
	MICA_AUTO_BUF b;
	mica_rc rc;

	mica_buf_init(&b, 1024);
	rc = mica_store_get(c->store, MICA_T_SNAPSHOT, KEY, &b, &d->rev, &own);
	d->rev_known = true;
	if (rc == MICA_NOT_FOUND) {
		d->rev = 0;
		return MICA_OK;
	}
	if (rc != MICA_OK)
		return mica_fail(e, rc, own.reason, "%s", own.text);
	cur = (struct mica_cursor){mica_buf_slice(&b), false};
	if (mica_cur_u8(&cur) != VERSION)
		cur.bad = true;
	d->sequence[MICA_CHANNEL_LIVE] = mica_cur_be64(&cur);
	d->sequence[MICA_CHANNEL_CANARY] = mica_cur_be64(&cur);
	if (cur.bad || d->sequence[0] > MICA_SEQUENCE_MAX || d->sequence[1] > MICA_SEQUENCE_MAX)
		return mica_fail(e, MICA_CORRUPT, "snapshot_malformed",
			"the stored record of the policies' sequences is damaged");
	/* A restored log has another name: what was published behind the backup is not known. */
	d->numbered = mica_slice_eq_str(cur.s, mica_ledger_key(c->ledger)->name);
	return MICA_OK;
}

/* New numbers for what is there already: nothing has changed, so there is no entry. */
static mica_rc renumber(
	struct mica_core *c, struct core_docs *d, int64_t now_ms, struct mica_err *e)
{
	uint64_t before[MICA_CHANNEL_COUNT];
	CORE_AUTO_CHANGE ch = {.n_reads = 0};
	mica_rc rc;

	memcpy(before, d->sequence, sizeof(before));
	rc = mica_core_docs_publish(c, NULL, d, &ch, false, now_ms, e);
	if (rc == MICA_OK)
		rc = mica_core_change_commit(c, &ch, now_ms, e);
	d->numbered = rc == MICA_OK;
	if (rc == MICA_OK)
		return mica_core_rev(c, MICA_T_SNAPSHOT, KEY, &d->rev, e);
	memcpy(d->sequence, before, sizeof(before));
	return rc;
}

mica_rc mica_core_policies_open(struct mica_core *c, int64_t now_ms, struct mica_err *e)
{
	CORE_AUTO_PART struct core_docs *d = NULL;
	struct mica_err own = MICA_ERR_INIT;
	mica_rc rc = mica_core_docs_load(c->store, &d, e);

	if (rc == MICA_OK)
		rc = load_numbers(c, d, e);
	if (rc != MICA_OK)
		return rc;
	if (!d->numbered) {
		rc = renumber(c, d, now_ms, &own);
		if (rc != MICA_OK && rc != MICA_UNAVAILABLE)
			return mica_fail(e, rc, own.reason, "%s", own.text);
	}
	for (int ch = 0; ch < MICA_CHANNEL_COUNT; ch++) {
		rc = encode_plain(d, (enum mica_channel)ch, e);
		if (rc != MICA_OK)
			return rc;
	}
	mica_core_view_take_set(c, &(struct core_parts){.docs = MICA_STEAL(d)});
	return MICA_OK;
}

mica_rc mica_core_policies_publish(
	struct mica_core *c, int64_t now_ms, bool *changed, struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	const struct core_docs *old = v->docs;
	const struct core_published *p = v->pub;
	CORE_AUTO_PART struct core_docs *d = NULL;
	int64_t now = now_ms / 1000;
	bool sign = p && now < p->publisher_end &&
		(old->signed_at == 0 || now >= old->signed_at + MICA_JWS_RESIGN ||
			old->publisher_end != p->publisher_end ||
			strcmp(old->publisher, p->publisher_authority) != 0);
	mica_rc rc = MICA_OK;

	if (old->numbered && !sign)
		return MICA_OK;
	d = mica_core_docs_copy(old, 0);
	if (!d->numbered)
		rc = renumber(c, d, now_ms, e);
	if (rc == MICA_OK)
		rc = mica_core_docs_sign(c, v, d, now, e);
	if (rc != MICA_OK)
		return rc;
	mica_core_view_take_set(c, &(struct core_parts){.docs = MICA_STEAL(d)});
	if (changed)
		*changed = true;
	return MICA_OK;
}

mica_rc mica_core_policies_snapshot(const struct core_view *v, enum mica_channel ch,
	enum mica_format f, const struct mica_snapshot **out, struct mica_err *e)
{
	const struct mica_snapshot *s = v->docs->snap[ch][f == MICA_FMT_POLICIES_JWS];

	if (!s)
		return mica_fail(e, MICA_UNAVAILABLE, "not_signed",
			"there is no signed form, as no issuing authority is active");
	*out = mica_snapshot_ref(s);
	return MICA_OK;
}

void mica_core_policies_stats(struct mica_core *c, struct mica_docs_stats *out)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);

	*out = v->docs->stats;
	memcpy(out->sequence, v->docs->sequence, sizeof(out->sequence));
}
