/* SPDX-License-Identifier: Apache-2.0 */
/* Policies in memory and as records: core_docs.h. */
#include "core_docs.h"

#define VERSION   1
#define HEAD_LEN  (1 + 8 + 8 + 8 + 1)
#define HEAD_CHAR 'd'
#define REV_CHAR  'h'

static const char *const actions[] = {"put", "deleted", "rolled_back"};
static const char *const owners[] = {"api", "directory"};

const char *mica_doc_action_name(enum doc_action a)
{
	return (unsigned)a < MICA_ARRAY_LEN(actions) ? actions[a] : "?";
}

const char *mica_doc_owner_name(enum mica_doc_owner owner)
{
	return (unsigned)owner < MICA_ARRAY_LEN(owners) ? owners[owner] : "?";
}

static mica_rc damaged(struct mica_err *e)
{
	return mica_fail(
		e, MICA_CORRUPT, "record_malformed", "the stored record of a policy is damaged");
}

/* ---- keys ------------------------------------------------------------------------------------ */

static bool name_ok(struct mica_slice s, size_t max)
{
	if (s.len == 0 || s.len > max)
		return false;
	for (size_t i = 0; i < s.len; i++)
		if (s.p[i] <= ' ' || s.p[i] > '~' || s.p[i] == '/')
			return false;
	return true;
}

mica_rc mica_core_doc_key(const struct mica_doc_key *k, struct mica_buf *out, struct mica_err *e)
{
	if (!name_ok(k->kind, 63) || !name_ok(k->ns, 63) || !name_ok(k->name, 253))
		return mica_fail(e, MICA_INVALID, "bad_policy_name",
			"'%.*s/%.*s' does not name a policy; expected a namespace of up to 63 characters and a name of up to 253",
			MICA_FMT(k->ns), MICA_FMT(k->name));
	mica_buf_put_slice(out, k->kind);
	mica_buf_put_u8(out, 0);
	mica_buf_put_slice(out, k->ns);
	mica_buf_put_u8(out, 0);
	mica_buf_put_slice(out, k->name);
	return mica_buf_rc(out, e);
}

static bool split(struct mica_slice key, struct mica_doc_key *out)
{
	return mica_slice_cut(&key, 0, &out->kind) && mica_slice_cut(&key, 0, &out->ns) &&
		(out->name = key).len > 0;
}

struct mica_slice mica_core_head_record(struct mica_slice key, struct mica_buf *out)
{
	mica_buf_reset(out);
	mica_buf_put_u8(out, HEAD_CHAR);
	mica_buf_put_slice(out, key);
	return mica_buf_slice(out);
}

struct mica_slice mica_core_revision_record(
	struct mica_slice key, uint64_t revision, struct mica_buf *out)
{
	mica_buf_reset(out);
	mica_buf_put_u8(out, REV_CHAR);
	mica_buf_put_slice(out, key);
	mica_buf_put_u8(out, 0);
	mica_buf_put_be64(out, revision);
	return mica_buf_slice(out);
}

/* ---- records --------------------------------------------------------------------------------- */

void mica_core_head_encode(const struct core_doc_head *h, struct mica_buf *out)
{
	mica_buf_put_u8(out, VERSION);
	mica_buf_put_be64(out, h->last);
	mica_buf_put_be64(out, h->live ? h->live->revision : 0);
	mica_buf_put_be64(out, h->canary ? h->canary->revision : 0);
	mica_buf_put_u8(out, (uint8_t)h->owner);
}

void mica_core_doc_encode(const struct core_doc *d, struct mica_buf *out)
{
	mica_buf_put_u8(out, VERSION);
	mica_buf_put_u8(out, (uint8_t)d->action);
	mica_buf_put_u8(out, d->dry_run);
	mica_buf_put_be64(out, (uint64_t)d->time_ms);
	mica_buf_put_be64(out, d->from);
	mica_buf_put_be16(out, (uint16_t)d->actor.len);
	mica_buf_put_slice(out, d->actor);
	mica_buf_put_slice(out, d->text);
}

static void free_doc(void *part)
{
	struct core_doc *d = part;

	mica_free(d->mem);
	mica_free(d);
}

struct core_doc *mica_core_doc_decode(
	struct mica_slice key, uint64_t revision, struct mica_slice value)
{
	CORE_AUTO_PART struct core_doc *d = mica_core_part_new(sizeof(*d), free_doc);
	struct mica_cursor c;
	uint8_t version, action;

	d->mem = mica_alloc(key.len + value.len + 1);
	memcpy(d->mem, key.p, key.len);
	memcpy(d->mem + key.len, value.p, value.len);
	d->key = mica_slice(d->mem, key.len);
	c = (struct mica_cursor){mica_slice(d->mem + key.len, value.len), false};
	version = mica_cur_u8(&c);
	action = mica_cur_u8(&c);
	d->dry_run = mica_cur_u8(&c) != 0;
	d->time_ms = (int64_t)mica_cur_be64(&c);
	d->from = mica_cur_be64(&c);
	d->actor = mica_cur_take(&c, mica_cur_be16(&c));
	d->text = c.s;
	if (c.bad || version != VERSION || action >= MICA_ARRAY_LEN(actions) ||
		!split(d->key, &d->name) || (action == DOC_DELETED) != (d->text.len == 0))
		return NULL;
	d->revision = revision;
	d->action = (enum doc_action)action;
	return MICA_STEAL(d);
}

mica_rc mica_core_doc_read(struct mica_store *s, struct mica_slice key, uint64_t revision,
	struct core_doc **out, struct mica_err *e)
{
	MICA_AUTO_BUF at, value;
	mica_rc rc;

	mica_buf_init(&at, MICA_STORE_KEY_MAX);
	mica_buf_init(&value, DOC_VALUE_MAX);
	rc = mica_store_get(
		s, MICA_T_POLICY, mica_core_revision_record(key, revision, &at), &value, NULL, e);
	if (rc != MICA_OK)
		return rc;
	*out = mica_core_doc_decode(key, revision, mica_buf_slice(&value));
	return *out ? MICA_OK : damaged(e);
}

void mica_core_doc_fill(
	const struct core_doc_head *h, const struct core_doc *d, struct mica_doc *out)
{
	*out = (struct mica_doc){.key = d->name,
		.revision = d->revision,
		.owner = h ? h->owner : MICA_DOC_API,
		.deleted = d->action == DOC_DELETED,
		.dry_run = d->dry_run,
		.canary = h && h->canary == d,
		.time_ms = d->time_ms,
		.text = d->text};
}

/* ---- the part -------------------------------------------------------------------------------- */

static void free_docs(void *part)
{
	struct core_docs *d = part;

	for (size_t i = 0; i < d->n; i++) {
		mica_core_part_unref(d->v[i].live);
		mica_core_part_unref(d->v[i].canary);
	}
	for (int ch = 0; ch < MICA_CHANNEL_COUNT; ch++) {
		mica_snapshot_unref(d->list[ch]);
		for (int f = 0; f < DOC_FORMS; f++)
			mica_snapshot_unref(d->snap[ch][f]);
	}
	mica_free(d->v);
	mica_free(d);
}

struct core_docs *mica_core_docs_copy(const struct core_docs *from, size_t more)
{
	struct core_docs *d = mica_core_part_new(sizeof(*d), free_docs);
	struct core_part part = d->part;

	*d = *from;
	d->part = part;
	d->v = mica_calloc(from->n + more + 1, sizeof(*d->v));
	for (size_t i = 0; i < d->n; i++) {
		d->v[i] = from->v[i];
		mica_core_part_ref(d->v[i].live);
		mica_core_part_ref(d->v[i].canary);
	}
	for (int ch = 0; ch < MICA_CHANNEL_COUNT; ch++) {
		if (d->list[ch])
			mica_snapshot_ref(d->list[ch]);
		for (int f = 0; f < DOC_FORMS; f++)
			if (d->snap[ch][f])
				mica_snapshot_ref(d->snap[ch][f]);
	}
	return d;
}

struct core_doc_head *mica_core_docs_find(
	const struct core_docs *d, size_t n, struct mica_slice key)
{
	size_t from = 0;

	while (from < n) {
		size_t mid = from + (n - from) / 2;
		int cmp = mica_slice_cmp(key, mica_core_head_key(&d->v[mid]));

		if (cmp == 0)
			return &d->v[mid];
		if (cmp < 0)
			n = mid;
		else
			from = mid + 1;
	}
	return NULL;
}

static int by_key(const void *a, const void *b)
{
	return mica_slice_cmp(mica_core_head_key(a), mica_core_head_key(b));
}

void mica_core_docs_sort(struct core_docs *d)
{
	qsort(d->v, d->n, sizeof(*d->v), by_key);
}

mica_rc mica_core_docs_count(struct core_docs *d, struct mica_err *e)
{
	struct mica_docs_stats *s = &d->stats;

	memset(s, 0, sizeof(*s));
	for (size_t i = 0; i < d->n; i++) {
		const struct core_doc_head *h = &d->v[i];

		s->waiting += h->canary != NULL;
		s->dry_run += mica_core_doc_is(h->live) && h->live->dry_run;
		for (int ch = 0; ch < MICA_CHANNEL_COUNT; ch++) {
			const struct core_doc *doc = mica_core_head_doc(h, (enum mica_channel)ch);

			s->documents[ch] += mica_core_doc_is(doc);
			s->bytes[ch] += doc ? doc->text.len : 0;
		}
	}
	if (d->n > MICA_DOCS_MAX)
		return mica_fail(e, MICA_LIMIT, "too_many_policies",
			"there would be %zu policies, deleted ones included; expected at most %d",
			d->n, MICA_DOCS_MAX);
	for (int ch = 0; ch < MICA_CHANNEL_COUNT; ch++)
		if (s->bytes[ch] > MICA_DOCS_TEXT_MAX)
			return mica_fail(e, MICA_LIMIT, "policies_too_large",
				"all policies would have %zu octets; expected at most %d",
				s->bytes[ch], MICA_DOCS_TEXT_MAX);
	return MICA_OK;
}

/* The next head that has something in force in the channel, from *i on; NULL = no more. */
static const struct core_doc *next_doc(const struct core_docs *d, enum mica_channel ch, size_t *i)
{
	while (*i < d->n) {
		const struct core_doc *doc = mica_core_head_doc(&d->v[(*i)++], ch);

		if (mica_core_doc_is(doc))
			return doc;
	}
	return NULL;
}

/* A revision in force is one object, whatever part has it. */
bool mica_core_docs_same(const struct core_docs *a, const struct core_docs *b, enum mica_channel ch)
{
	size_t i = 0, j = 0;
	const struct core_doc *x, *y;

	do {
		x = next_doc(a, ch, &i);
		y = next_doc(b, ch, &j);
	} while (x && x == y);
	return x == y;
}

/* ---- loading --------------------------------------------------------------------------------- */

struct found {
	struct mica_buf mem; /* key length 2, key, head */
	size_t n;
};

static bool find_head(void *ctx, struct mica_slice key, struct mica_slice value, uint64_t rev)
{
	struct found *f = ctx;

	(void)rev;
	if (value.len != HEAD_LEN || value.p[0] != VERSION) {
		f->mem.over = true;
		return false;
	}
	mica_buf_put_be16(&f->mem, (uint16_t)(key.len - 1));
	mica_buf_put(&f->mem, key.p + 1, key.len - 1);
	mica_buf_put_slice(&f->mem, value);
	f->n++;
	return true;
}

static mica_rc load_doc(struct mica_store *s, struct mica_slice key, uint64_t revision,
	struct core_doc **out, struct mica_err *e)
{
	struct mica_err own = MICA_ERR_INIT;
	mica_rc rc = revision ? mica_core_doc_read(s, key, revision, out, &own) : MICA_OK;

	if (rc == MICA_NOT_FOUND)
		return damaged(e);
	return rc == MICA_OK ? MICA_OK : mica_fail(e, rc, own.reason, "%s", own.text);
}

static mica_rc load_head(
	struct mica_store *s, struct mica_cursor *c, struct core_docs *d, struct mica_err *e)
{
	struct core_doc_head *h = &d->v[d->n++];
	struct mica_slice key = mica_cur_take(c, mica_cur_be16(c));
	uint64_t live, canary;
	uint8_t owner;
	mica_rc rc;

	mica_cur_u8(c); /* version */
	h->last = mica_cur_be64(c);
	live = mica_cur_be64(c);
	canary = mica_cur_be64(c);
	owner = mica_cur_u8(c);
	rc = load_doc(s, key, live, &h->live, e);
	if (rc == MICA_OK)
		rc = load_doc(s, key, canary, &h->canary, e);
	if (rc == MICA_OK &&
		(c->bad || owner >= MICA_ARRAY_LEN(owners) || live > h->last || canary > h->last ||
			(!live && !canary)))
		rc = damaged(e);
	h->owner = (enum mica_doc_owner)owner;
	if (!h->live && !h->canary)
		d->n--; /* it has no key */
	return rc;
}

mica_rc mica_core_docs_load(struct mica_store *s, struct core_docs **out, struct mica_err *e)
{
	static const struct core_docs none;
	const char kind = HEAD_CHAR;
	struct mica_scan scan = {.table = MICA_T_POLICY, .prefix = mica_slice(&kind, 1)};
	CORE_AUTO_PART struct core_docs *d = NULL;
	struct found f = {.n = 0};
	struct mica_cursor c;
	mica_rc rc;

	mica_buf_init(&f.mem, (size_t)(MICA_DOCS_MAX + 1) * (2 + DOC_KEY_MAX + HEAD_LEN));
	rc = mica_store_list(s, &scan, find_head, &f, e);
	if (rc == MICA_OK && f.mem.over)
		rc = damaged(e);
	d = mica_core_docs_copy(&none, f.n);
	c = (struct mica_cursor){mica_buf_slice(&f.mem), false};
	for (size_t i = 0; i < f.n && rc == MICA_OK; i++)
		rc = load_head(s, &c, d, e);
	mica_buf_clear(&f.mem);
	if (rc != MICA_OK)
		return rc;
	mica_core_docs_sort(d);
	rc = mica_core_docs_count(d, e);
	if (rc == MICA_OK)
		*out = MICA_STEAL(d);
	return rc;
}
