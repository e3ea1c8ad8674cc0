/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes of policies. The next part is made beside the one in force, with the records and entries
 * that lead to it; they are committed in one transaction, then the part is put in place.
 */
#include "core_docs.h"

#include <inttypes.h>

#define SWEEP_MAX  32 /* deleted documents that one change forgets */
#define DETAIL_MAX 32768

struct work {
	struct mica_core *c;
	struct core_view *v;
	const struct core_docs *old;
	struct core_docs *next;
	size_t n_old; /* heads that are sorted: what comes in is behind them */
	struct core_change ch;
	const struct mica_caller *actor;
	int64_t now_ms;
	enum mica_channel channel;
	enum mica_doc_owner owner;
	bool directory_on;
	size_t changed;
	struct mica_buf actor_json, mem;
};

static void begin(struct work *w, struct mica_core *c, size_t more, const struct mica_caller *a,
	int64_t now_ms)
{
	*w = (struct work){.c = c, .v = mica_core_view_get(c), .actor = a, .now_ms = now_ms};
	w->old = w->v->docs;
	w->next = mica_core_docs_copy(w->old, more);
	w->n_old = w->next->n;
	mica_buf_init(&w->mem, MICA_STORE_KEY_MAX);
	mica_buf_init(&w->actor_json, DOC_ACTOR_MAX);
	if (!a) {
		mica_buf_put_str(&w->actor_json, "{\"kind\":\"system\"}");
	} else if (a->uid >= 0) {
		mica_buf_printf(&w->actor_json,
			"{\"kind\":\"local\",\"uid\":%" PRId64 ",\"gid\":%" PRId64
			",\"pid\":%" PRId64 "}",
			a->uid, a->gid, a->pid);
	} else {
		mica_core_put_string(
			&w->actor_json, "{\"kind\":\"spiffe\",", "id", a->principal.spiffe_id);
		mica_buf_put_u8(&w->actor_json, '}');
	}
}

static void end(struct work *w)
{
	mica_core_part_unref(w->next);
	mica_core_view_unref(w->v);
	mica_core_change_clear(&w->ch);
	mica_buf_clear(&w->mem);
	mica_buf_clear(&w->actor_json);
}
#define AUTO_WORK __attribute__((cleanup(end))) struct work

static void put_slice(struct mica_buf *b, const char *before, const char *name, struct mica_slice v)
{
	mica_buf_printf(b, "%s\"%s\":", before, name);
	mica_buf_put_json_string(b, v);
}

/* What an error calls a document. */
#define NAMED(k) MICA_FMT((k)->kind), MICA_FMT((k)->ns), MICA_FMT((k)->name)

/* ---- records and entries --------------------------------------------------------------------- */

static mica_rc note(struct work *w, const char *action, enum mica_channel channel,
	const struct core_doc_head *h, const struct core_doc *d, struct mica_err *e)
{
	struct core_note n = {.type = MICA_ENTRY_POLICY, .action = action};
	uint8_t hash[32];
	MICA_AUTO_BUF b;

	mica_buf_init(&b, DETAIL_MAX);
	mica_core_put_string(&b, "{", "channel", mica_channel_name(channel));
	put_slice(&b, ",", "kind", d->name.kind);
	put_slice(&b, ",", "namespace", d->name.ns);
	put_slice(&b, ",", "name", d->name.name);
	mica_buf_printf(&b, ",\"revision\":%" PRIu64, d->revision);
	if (d->from)
		mica_buf_printf(&b, ",\"from\":%" PRIu64, d->from);
	mica_core_put_string(&b, ",", "owner", mica_doc_owner_name(h->owner));
	if (d->text.len > 0) {
		mica_sha256(d->text, hash);
		mica_buf_printf(&b, ",\"dry_run\":%s,\"sha256\":\"", d->dry_run ? "true" : "false");
		mica_buf_put_hex(&b, hash, sizeof(hash));
		mica_buf_put_u8(&b, '"');
	}
	if (d->text.len > 0 && d->text.len <= MICA_DOC_ENTRY_TEXT) {
		mica_buf_put_str(&b, ",\"document\":");
		mica_buf_put_slice(&b, d->text);
	}
	mica_buf_put_u8(&b, '}');
	n.detail = mica_buf_slice(&b);
	return mica_core_change_note(&w->ch, &n, w->actor, w->now_ms, e);
}

static void write_head(struct work *w, const struct core_doc_head *h)
{
	MICA_AUTO_BUF value;

	mica_buf_init(&value, 64);
	mica_core_head_encode(h, &value);
	mica_core_change_write(&w->ch, MICA_PUT, MICA_T_POLICY,
		mica_core_head_record(mica_core_head_key(h), &w->mem), mica_buf_slice(&value));
}

static void forget(struct work *w, struct mica_slice key, uint64_t revision)
{
	mica_core_change_write(&w->ch, MICA_DELETE, MICA_T_POLICY,
		mica_core_revision_record(key, revision, &w->mem), MICA_SLICE_NULL);
}

/* A revision that is too old to be kept, unless it is in force. */
static void prune(struct work *w, const struct core_doc_head *h, uint64_t revision)
{
	if (revision == 0 || revision + MICA_DOC_HISTORY > h->last ||
		(h->live && h->live->revision == revision) ||
		(h->canary && h->canary->revision == revision))
		return;
	forget(w, mica_core_head_key(h), revision);
}

/* ---- one edit -------------------------------------------------------------------------------- */

static void set(struct core_doc **at, struct core_doc *d)
{
	mica_core_part_unref(*at);
	*at = d;
}

/* Takes the reference of `d`: the change that it is comes into force. */
static void enforce(
	struct work *w, enum mica_channel channel, struct core_doc_head *h, struct core_doc *d)
{
	uint64_t live = h->live ? h->live->revision : 0;
	uint64_t canary = h->canary ? h->canary->revision : 0;

	h->last = d->revision;
	/* what is gone in canary alone, and never was live, is gone */
	if (channel == MICA_CHANNEL_CANARY && (mica_core_doc_is(d) || mica_core_doc_is(h->live))) {
		set(&h->canary, d);
	} else {
		set(&h->live, d);
		set(&h->canary, NULL);
	}
	prune(w, h, live);
	prune(w, h, canary);
	if (h->last > MICA_DOC_HISTORY)
		prune(w, h, h->last - MICA_DOC_HISTORY);
}

/* A new revision of a head (NULL: of a new one). `like` has what it says. */
static mica_rc revise(struct work *w, enum mica_channel channel, struct core_doc_head *h,
	struct mica_slice key, const struct core_doc *like, struct core_doc **out,
	struct mica_err *e)
{
	struct core_doc said = *like, *d;
	struct mica_slice record;
	MICA_AUTO_BUF value;
	mica_rc rc;

	said.time_ms = w->now_ms;
	said.actor = mica_buf_slice(&w->actor_json);
	mica_buf_init(&value, DOC_VALUE_MAX);
	mica_core_doc_encode(&said, &value);
	rc = mica_buf_rc(&value, e);
	if (rc != MICA_OK)
		return rc;
	d = mica_core_doc_decode(key, h ? h->last + 1 : 1, mica_buf_slice(&value));
	if (!d)
		return mica_fail(e, MICA_INTERNAL, "record_malformed", "no revision was made");
	record = mica_core_revision_record(key, d->revision, &w->mem);
	mica_core_change_write(&w->ch, MICA_PUT, MICA_T_POLICY, record, mica_buf_slice(&value));
	if (!h)
		h = &w->next->v[w->next->n++];
	h->owner = w->owner;
	h->touched = true;
	enforce(w, channel, h, d);
	write_head(w, h);
	w->changed++;
	*out = d;
	return note(w, mica_doc_action_name(d->action), channel, h, d, e);
}

static mica_rc check_head(const struct work *w, const struct core_doc_head *h,
	const struct core_doc *now, const struct mica_doc_edit *ed, struct mica_err *e)
{
	uint64_t revision = mica_core_doc_is(now) ? now->revision : 0;

	if (h && h->touched)
		return mica_fail(e, MICA_INVALID, "policy_twice",
			"%.*s %.*s/%.*s: named twice in one change", NAMED(&ed->key));
	if (h && h->owner == MICA_DOC_DIRECTORY && w->owner != MICA_DOC_DIRECTORY &&
		w->directory_on)
		return mica_fail(e, MICA_CONFLICT, "policy_of_directory",
			"%.*s %.*s/%.*s comes from the directory of policies, and is changed there",
			NAMED(&ed->key));
	if (ed->expect == MICA_REVISION_ANY || ed->expect == revision)
		return MICA_OK;
	return mica_fail(e, MICA_CONFLICT, "revision_mismatch",
		"%.*s %.*s/%.*s: revision %" PRIu64
		" is in force (0 = there is none), not the expected %" PRIu64,
		NAMED(&ed->key), revision, ed->expect);
}

static mica_rc write_edit(struct work *w, struct core_doc_head *h, struct mica_slice key,
	struct mica_doc_edit *ed, const struct core_doc *like, struct mica_err *e)
{
	struct core_doc *made;
	mica_rc rc = revise(w, w->channel, h, key, like, &made, e);

	if (rc != MICA_OK)
		return rc;
	ed->revision = made->revision;
	ed->changed = true;
	return MICA_OK;
}

static mica_rc put(struct work *w, struct core_doc_head *h, const struct core_doc *now,
	struct mica_slice key, struct mica_doc_edit *ed, const struct core_doc *like,
	struct mica_err *e)
{
	if (mica_core_doc_is(now) && mica_slice_eq(now->text, like->text) && h->owner == w->owner) {
		ed->revision = now->revision;
		h->touched = true;
		return MICA_OK;
	}
	return write_edit(w, h, key, ed, like, e);
}

static mica_rc delete_doc(struct work *w, struct core_doc_head *h, const struct core_doc *now,
	struct mica_slice key, struct mica_doc_edit *ed, const struct core_doc *like,
	struct mica_err *e)
{
	if (mica_core_doc_is(now))
		return write_edit(w, h, key, ed, like, e);
	return mica_fail(
		e, MICA_NOT_FOUND, "no_such_policy", "there is no %.*s %.*s/%.*s", NAMED(&ed->key));
}

static mica_rc no_revision(const struct mica_doc_edit *ed, uint64_t revision, struct mica_err *e)
{
	return mica_fail(e, MICA_NOT_FOUND, "no_such_revision",
		"%.*s %.*s/%.*s has no revision %" PRIu64 ", or it is kept no longer",
		NAMED(&ed->key), revision);
}

static mica_rc roll_back(struct work *w, struct core_doc_head *h, const struct core_doc *now,
	struct mica_slice key, struct mica_doc_edit *ed, struct mica_err *e)
{
	CORE_AUTO_PART struct core_doc *was = NULL;
	struct mica_err own = MICA_ERR_INIT;
	struct core_doc like;
	mica_rc rc;

	if (!h)
		return mica_fail(e, MICA_NOT_FOUND, "no_such_policy",
			"there is no %.*s %.*s/%.*s, and never was", NAMED(&ed->key));
	rc = mica_core_doc_read(w->c->store, key, ed->to, &was, &own);
	if (rc == MICA_NOT_FOUND)
		return no_revision(ed, ed->to, e);
	if (rc != MICA_OK)
		return mica_fail(e, rc, own.reason, "%s", own.text);
	like = *was;
	like.from = ed->to;
	if (was->action == DOC_DELETED)
		return delete_doc(w, h, now, key, ed, &like, e);
	like.action = DOC_ROLLED_BACK;
	return put(w, h, now, key, ed, &like, e);
}

static mica_rc check_text(const struct mica_doc_edit *ed, struct mica_err *e)
{
	if (ed->text.len > MICA_DOC_TEXT_MAX)
		return mica_fail(e, MICA_LIMIT, "policy_too_large",
			"%.*s %.*s/%.*s: has %zu octets; expected at most %d", NAMED(&ed->key),
			ed->text.len, MICA_DOC_TEXT_MAX);
	/* It becomes part of a document as it is. */
	if (ed->text.len < 2 || ed->text.p[0] != '{' || ed->text.p[ed->text.len - 1] != '}' ||
		memchr(ed->text.p, '\n', ed->text.len) || !mica_slice_is_utf8(ed->text))
		return mica_fail(e, MICA_INVALID, "bad_policy_text",
			"%.*s %.*s/%.*s: its text is not a JSON object in one line",
			NAMED(&ed->key));
	return MICA_OK;
}

static mica_rc edit(struct work *w, struct mica_doc_edit *ed, struct mica_err *e)
{
	struct core_doc like = {.action = DOC_PUT, .dry_run = ed->dry_run, .text = ed->text};
	struct core_doc_head *h;
	const struct core_doc *now;
	struct mica_slice key;
	MICA_AUTO_BUF mem;
	mica_rc rc;

	ed->revision = 0;
	ed->changed = false;
	mica_buf_init(&mem, DOC_KEY_MAX);
	rc = mica_core_doc_key(&ed->key, &mem, e);
	if (rc != MICA_OK)
		return rc;
	key = mica_buf_slice(&mem);
	h = mica_core_docs_find(w->next, w->n_old, key);
	now = h ? mica_core_head_doc(h, w->channel) : NULL;
	rc = check_head(w, h, now, ed, e);
	if (rc == MICA_OK && ed->op == MICA_DOC_PUT)
		rc = check_text(ed, e);
	if (rc != MICA_OK)
		return rc;
	if (ed->op == MICA_DOC_PUT)
		return put(w, h, now, key, ed, &like, e);
	if (ed->op == MICA_DOC_ROLLBACK)
		return roll_back(w, h, now, key, ed, e);
	like = (struct core_doc){.action = DOC_DELETED};
	return delete_doc(w, h, now, key, ed, &like, e);
}

/* ---- all of it ------------------------------------------------------------------------------- */

/* What the directory does not have any more. */
static mica_rc delete_rest(struct work *w, size_t *deleted, struct mica_err *e)
{
	const struct core_doc gone = {.action = DOC_DELETED};
	struct core_doc *made;
	mica_rc rc = MICA_OK;

	for (size_t i = 0; i < w->n_old && rc == MICA_OK; i++) {
		struct core_doc_head *h = &w->next->v[i];

		if (h->touched || h->owner != MICA_DOC_DIRECTORY || !mica_core_doc_is(h->live))
			continue;
		rc = revise(w, MICA_CHANNEL_LIVE, h, h->live->key, &gone, &made, e);
		++*deleted;
	}
	return rc;
}

/* Lets go of some that were deleted long ago. */
static void sweep(struct work *w)
{
	int64_t before = w->now_ms - (int64_t)MICA_DOC_KEEP * 1000;
	size_t n = 0, gone = 0;

	for (size_t i = 0; i < w->next->n; i++) {
		struct core_doc_head *h = &w->next->v[i];

		if (gone == SWEEP_MAX || h->canary || mica_core_doc_is(h->live) ||
			h->live->time_ms > before) {
			w->next->v[n++] = *h;
			continue;
		}
		for (uint64_t r = h->last; r > 0 && r + MICA_DOC_HISTORY > h->last; r--)
			forget(w, h->live->key, r);
		forget(w, h->live->key, h->live->revision);
		mica_core_change_write(&w->ch, MICA_DELETE, MICA_T_POLICY,
			mica_core_head_record(h->live->key, &w->mem), MICA_SLICE_NULL);
		mica_core_part_unref(h->live);
		gone++;
	}
	w->next->n = n;
}

static mica_rc check_twice(const struct core_docs *d, struct mica_err *e)
{
	for (size_t i = 1; i < d->n; i++) {
		const struct mica_doc_key *k;

		if (!mica_slice_eq(mica_core_head_key(&d->v[i - 1]), mica_core_head_key(&d->v[i])))
			continue;
		k = d->v[i].live ? &d->v[i].live->name : &d->v[i].canary->name;
		return mica_fail(e, MICA_INVALID, "policy_twice",
			"%.*s %.*s/%.*s: named twice in one change", NAMED(k));
	}
	return MICA_OK;
}

/* Which revision the record with the sequences has got; else the next change asks. */
static void learn_rev(struct mica_core *c, struct core_docs *d)
{
	d->rev_known =
		mica_core_rev(c, MICA_T_SNAPSHOT, MICA_LIT("policies"), &d->rev, NULL) == MICA_OK;
}

static mica_rc finish(struct work *w, struct mica_err *e)
{
	struct mica_err own = MICA_ERR_INIT;
	mica_rc rc;

	mica_core_docs_sort(w->next);
	rc = check_twice(w->next, e);
	if (rc != MICA_OK)
		return rc;
	sweep(w);
	for (size_t i = 0; i < w->next->n; i++)
		w->next->v[i].touched = false;
	rc = mica_core_docs_count(w->next, e);
	if (rc == MICA_OK && !w->next->rev_known)
		rc = mica_core_rev(w->c, MICA_T_SNAPSHOT, MICA_LIT("policies"), &w->next->rev, e);
	if (rc == MICA_OK)
		rc = mica_core_docs_publish(w->c, w->old->numbered ? w->old : NULL, w->next, &w->ch,
			true, w->now_ms, e);
	if (rc != MICA_OK)
		return rc;
	/* What cannot be signed now maintain signs. */
	if (mica_core_docs_sign(w->c, w->v, w->next, w->now_ms / 1000, &own) != MICA_OK)
		w->next->signed_at = 0;
	rc = mica_core_change_commit(w->c, &w->ch, w->now_ms, e);
	if (rc != MICA_OK)
		return rc;
	w->next->numbered = true;
	learn_rev(w->c, w->next);
	mica_core_view_take_set(w->c, &(struct core_parts){.docs = MICA_STEAL(w->next)});
	return MICA_OK;
}

static mica_rc change(struct work *w, struct mica_docs_change *ch, struct mica_err *e)
{
	mica_rc rc = MICA_OK;

	w->channel = ch->channel;
	w->owner = ch->owner;
	w->directory_on = ch->directory_on;
	if (ch->expect_sequence && ch->expect_sequence != w->old->sequence[ch->channel])
		return mica_fail(e, MICA_CONFLICT, "sequence_mismatch",
			"the policies have sequence %" PRIu64 ", not the expected %" PRIu64,
			w->old->sequence[ch->channel], ch->expect_sequence);
	for (size_t i = 0; i < ch->n && rc == MICA_OK; i++) {
		rc = edit(w, &ch->edits[i], e);
		if (rc != MICA_OK)
			ch->failed = i;
	}
	if (rc == MICA_OK && ch->owner == MICA_DOC_DIRECTORY)
		rc = delete_rest(w, &ch->deleted, e);
	ch->changed = w->changed;
	ch->sequence = w->next->sequence[ch->channel];
	if (rc != MICA_OK || w->changed == 0)
		return rc;
	rc = finish(w, e);
	if (rc == MICA_OK) {
		CORE_AUTO_VIEW v = mica_core_view_get(w->c);

		ch->sequence = v->docs->sequence[ch->channel];
	}
	return rc;
}

mica_rc mica_core_policies_change(
	struct mica_core *c, struct mica_docs_change *ch, int64_t now_ms, struct mica_err *e)
{
	mica_rc rc;

	ch->failed = SIZE_MAX;
	ch->changed = ch->deleted = 0;
	if ((unsigned)ch->channel >= MICA_CHANNEL_COUNT ||
		(ch->owner == MICA_DOC_DIRECTORY && ch->channel != MICA_CHANNEL_LIVE))
		return mica_fail(e, MICA_INVALID, "no_such_channel", "no such channel");
	if (ch->n > MICA_DOCS_MAX)
		return mica_fail(e, MICA_LIMIT, "too_many_policies",
			"a change of %zu policies; expected at most %d", ch->n, MICA_DOCS_MAX);
	pthread_mutex_lock(&c->admin);
	{
		AUTO_WORK w;

		begin(&w, c, ch->n, ch->actor, now_ms);
		rc = change(&w, ch, e);
	}
	pthread_mutex_unlock(&c->admin);
	return rc;
}

/* ---- canary to live -------------------------------------------------------------------------- */

/* The document is live as it is in canary, or in canary as it is live. */
static mica_rc move(struct work *w, struct core_doc_head *h, bool withdraw, struct mica_err *e)
{
	const struct core_doc gone = {.action = DOC_DELETED};
	CORE_AUTO_PART struct core_doc *was = mica_core_part_ref(h->canary);
	struct core_doc *made;
	uint64_t live = h->live ? h->live->revision : 0;

	w->owner = h->owner;
	if (withdraw && !h->live) /* it never was: what is left is its history */
		return revise(w, MICA_CHANNEL_LIVE, h, was->key, &gone, &made, e);
	if (!withdraw)
		set(&h->live, mica_core_part_ref(was));
	set(&h->canary, NULL);
	prune(w, h, live);
	prune(w, h, was->revision);
	write_head(w, h);
	w->changed++;
	return note(w, withdraw ? "withdrawn" : "promoted", MICA_CHANNEL_CANARY, h, was, e);
}

static mica_rc nothing(struct mica_err *e, const struct mica_doc_key *k)
{
	if (!k)
		return mica_fail(e, MICA_CONFLICT, "nothing_in_canary",
			"no policy has anything in the canary channel alone");
	return mica_fail(e, MICA_CONFLICT, "nothing_in_canary",
		"%.*s %.*s/%.*s is in the canary channel as it is in the live one", NAMED(k));
}

static mica_rc move_named(
	struct work *w, const struct mica_doc_key *k, bool withdraw, struct mica_err *e)
{
	struct core_doc_head *h;
	MICA_AUTO_BUF key;
	mica_rc rc;

	mica_buf_init(&key, DOC_KEY_MAX);
	rc = mica_core_doc_key(k, &key, e);
	if (rc != MICA_OK)
		return rc;
	h = mica_core_docs_find(w->next, w->n_old, mica_buf_slice(&key));
	if (!h)
		return mica_fail(e, MICA_NOT_FOUND, "no_such_policy", "there is no %.*s %.*s/%.*s",
			NAMED(k));
	return h->canary ? move(w, h, withdraw, e) : nothing(e, k);
}

static mica_rc move_all(struct work *w, bool withdraw, struct mica_err *e)
{
	mica_rc rc = MICA_OK;

	for (size_t i = 0; i < w->n_old && rc == MICA_OK; i++)
		if (w->next->v[i].canary)
			rc = move(w, &w->next->v[i], withdraw, e);
	return rc == MICA_OK && w->changed == 0 ? nothing(e, NULL) : rc;
}

mica_rc mica_core_policies_promote(struct mica_core *c, const struct mica_doc_key *keys, size_t n,
	bool withdraw, const struct mica_caller *actor, int64_t now_ms, uint64_t *sequence,
	size_t *n_done, struct mica_err *e)
{
	mica_rc rc = MICA_OK;

	pthread_mutex_lock(&c->admin);
	{
		AUTO_WORK w;

		begin(&w, c, 0, actor, now_ms);
		for (size_t i = 0; i < n && rc == MICA_OK; i++)
			rc = move_named(&w, &keys[i], withdraw, e);
		if (n == 0)
			rc = move_all(&w, withdraw, e);
		if (rc == MICA_OK)
			rc = finish(&w, e);
		*n_done = w.changed;
	}
	pthread_mutex_unlock(&c->admin);
	if (rc == MICA_OK) {
		CORE_AUTO_VIEW v = mica_core_view_get(c);

		*sequence = v->docs->sequence[MICA_CHANNEL_LIVE];
	}
	return rc;
}
