/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Look-ups. What they need follows from the entries, so it is written behind: entries are sealed
 * into groups, and each 4,096 of them get sorted runs of look-up keys, sixteen of which are merged
 * into one. Which runs there are follows from the marks alone. A zone says from when to when, and
 * of which types, the entries of a stretch are, so that a search by time or type passes over the
 * rest. Entries that have no run yet are looked up in memory.
 */
#include "ledger_impl.h"

#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>

#include <stdio.h>

#define ITEM_LEN    12 /* of a run: key 8, offset 4 */
#define ZONE_LEN    24
#define SEAL_GROUPS 4 /* in one transaction: commits wait for it */
#define STEPS       16 /* transactions in one call of maintain */
#define HITS_MAX    256
#define WORK_MAX    8192 /* entries read for one page */
#define KIND_KEYS   3 /* spiffe, pod, serial */
#define RUNS_MERGED (RUN_MERGED / RUN)

/* ---- rows ---------------------------------------------------------------------------------- */

/* Keys are 64 bits; the few that collide are told apart by reading the entry. */
static uint64_t key_of(struct mica_slice s)
{
	uint8_t hash[32];

	if (s.len == 0)
		return 0;
	SHA256(s.p, s.len, hash);
	return mica_log_get64(hash) | 1;
}

static uint64_t serial_key(struct mica_slice serial)
{
	return serial.len >= 8 ? mica_log_get64(serial.p) : 0;
}

static uint64_t pod_key(const struct mica_uid *u)
{
	static const struct mica_uid none;

	return memcmp(u, &none, sizeof(none)) == 0 ? 0 : key_of(mica_slice(u->b, sizeof(u->b)));
}

void mica_log_row(struct mica_slice entry, struct log_row *out)
{
	struct mica_entry_keys k;
	struct mica_entry en;

	memset(out, 0, sizeof(*out));
	if (mica_entry_decode(entry, &en, NULL) != MICA_OK)
		return; /* of a newer format: it stays findable by its index */
	out->time_ms = en.time_ms;
	out->type = en.type;
	if (mica_entry_keys(&en, &k, NULL) != MICA_OK)
		return;
	out->spiffe = key_of(k.spiffe_id);
	out->pod = pod_key(&k.pod_uid);
	out->serial = serial_key(k.serial);
}

static uint64_t row_key(const struct log_row *r, enum run_kind kind)
{
	return kind == RUN_SPIFFE ? r->spiffe : kind == RUN_POD ? r->pod : r->serial;
}

/* ---- runs ---------------------------------------------------------------------------------- */

struct item {
	uint64_t key;
	uint32_t offset;
};

static int item_cmp(const void *a, const void *b)
{
	const struct item *x = a, *y = b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return (x->offset > y->offset) - (x->offset < y->offset);
}

static void put_item(struct mica_buf *out, const struct item *i)
{
	mica_buf_put_be64(out, i->key);
	mica_buf_put_be32(out, i->offset);
}

static struct item get_item(const uint8_t *p)
{
	struct item i = {mica_log_get64(p), 0};

	i.offset = (uint32_t)p[8] << 24 | (uint32_t)p[9] << 16 | (uint32_t)p[10] << 8 | p[11];
	return i;
}

static void zone_start(struct log_zone *z)
{
	*z = (struct log_zone){INT64_MAX, INT64_MIN, 0};
}

static void zone_add(struct log_zone *z, int64_t min_ms, int64_t max_ms, uint64_t types)
{
	z->min_ms = min_ms < z->min_ms ? min_ms : z->min_ms;
	z->max_ms = max_ms > z->max_ms ? max_ms : z->max_ms;
	z->types |= types;
}

static void zone_put(struct mica_buf *out, const struct log_zone *z)
{
	mica_buf_put_be64(out, (uint64_t)z->min_ms);
	mica_buf_put_be64(out, (uint64_t)z->max_ms);
	mica_buf_put_be64(out, z->types);
}

static struct log_zone zone_get(const uint8_t *p)
{
	return (struct log_zone){
		(int64_t)mica_log_get64(p), (int64_t)mica_log_get64(p + 8), mica_log_get64(p + 16)};
}

static void build_zones(const struct log_row *rows, size_t n, struct mica_buf *out)
{
	for (size_t g = 0; g < n; g += GROUP) {
		struct log_zone z;

		zone_start(&z);
		for (size_t i = g; i < n && i < g + GROUP; i++)
			zone_add(&z, rows[i].time_ms, rows[i].time_ms,
				(uint64_t)1 << (rows[i].type & 63));
		zone_put(out, &z);
	}
}

void mica_log_build_run(
	enum run_kind kind, const struct log_row *rows, size_t n, struct mica_buf *out)
{
	MICA_AUTO_FREE struct item *items = NULL;
	size_t n_items = 0;

	if (kind == RUN_ZONE) {
		build_zones(rows, n, out);
		return;
	}
	items = mica_calloc(n + 1, sizeof(*items));
	for (size_t i = 0; i < n; i++)
		if (row_key(&rows[i], kind) != 0)
			items[n_items++] = (struct item){row_key(&rows[i], kind), (uint32_t)i};
	qsort(items, n_items, sizeof(*items), item_cmp);
	for (size_t i = 0; i < n_items; i++)
		put_item(out, &items[i]);
}

struct mica_slice mica_log_run_key(enum run_kind kind, unsigned level, uint64_t n, uint8_t key[6])
{
	key[0] = (uint8_t)kind;
	key[1] = (uint8_t)level;
	key[2] = (uint8_t)(n >> 24);
	key[3] = (uint8_t)(n >> 16);
	key[4] = (uint8_t)(n >> 8);
	key[5] = (uint8_t)n;
	return mica_slice(key, 6);
}

/* ---- marks --------------------------------------------------------------------------------- */

static const struct mica_slice mark_key = {(const uint8_t *)"mark", 4};

static struct mica_slice marks_bytes(const struct log_marks *m, uint8_t out[24])
{
	mica_log_be64(m->sealed, out);
	mica_log_be64(m->indexed, out + 8);
	mica_log_be64(m->merged, out + 16);
	return mica_slice(out, 24);
}

mica_rc mica_log_load_marks(struct mica_ledger *l, struct mica_err *e)
{
	struct mica_err own = MICA_ERR_INIT;
	MICA_AUTO_BUF v;
	mica_rc rc;

	mica_buf_init(&v, 64);
	rc = mica_store_get(l->store, MICA_T_MARK, mark_key, &v, NULL, &own);
	if (rc == MICA_OK && v.len == 24) {
		l->marks.sealed = mica_log_get64(v.p);
		l->marks.indexed = mica_log_get64(v.p + 8);
		l->marks.merged = mica_log_get64(v.p + 16);
	} else if (rc != MICA_NOT_FOUND) {
		return rc == MICA_OK ? mica_log_damaged(e, "the marks are malformed")
				     : mica_fail(e, rc, own.reason, "%s", own.text);
	}
	if (l->marks.sealed > l->head.size || l->marks.indexed > l->head.size ||
		l->marks.merged > l->marks.indexed || l->marks.sealed % GROUP != 0 ||
		l->marks.indexed % RUN != 0 || l->marks.merged % RUN_MERGED != 0)
		return mica_log_damaged(e, "the marks do not fit the tree");
	l->tail_end = l->marks.indexed;
	return MICA_OK;
}

static struct log_marks get_marks(struct mica_ledger *l)
{
	struct log_marks m;

	pthread_mutex_lock(&l->tail_lock);
	m = l->marks;
	pthread_mutex_unlock(&l->tail_lock);
	return m;
}

/* After the store has them. The tail loses what has a run now. */
static void set_marks(struct mica_ledger *l, const struct log_marks *m)
{
	pthread_mutex_lock(&l->tail_lock);
	if (m->indexed > l->marks.indexed) {
		size_t gone = (size_t)(m->indexed - l->marks.indexed);

		memmove(l->tail, l->tail + gone,
			(size_t)(l->tail_end - m->indexed) * sizeof(*l->tail));
	}
	l->marks = *m;
	pthread_mutex_unlock(&l->tail_lock);
}

/* ---- the tail in memory -------------------------------------------------------------------- */

static bool add_row(void *ctx, uint64_t index, struct mica_slice entry)
{
	struct mica_ledger *l = ctx;
	size_t n = (size_t)(l->tail_end - l->marks.indexed);

	(void)index;
	if (n == l->tail_room) {
		l->tail_room = l->tail_room ? l->tail_room * 2 : 512;
		l->tail = mica_realloc(l->tail, l->tail_room, sizeof(*l->tail));
	}
	mica_log_row(entry, &l->tail[n]);
	l->tail_end++;
	return true;
}

/* Reads the entries up to `size` that have no row yet; at most a few thousand when maintain runs.
 * With tail_lock. */
static mica_rc fill_tail(struct mica_ledger *l, uint64_t size, struct mica_err *e)
{
	return l->tail_end < size ? mica_log_each(l, l->tail_end, size, add_row, l, e) : MICA_OK;
}

/* ---- written behind ------------------------------------------------------------------------ */

struct sealing {
	struct mica_buf group[SEAL_GROUPS];
	uint64_t first;
};

static bool seal_entry(void *ctx, uint64_t index, struct mica_slice entry)
{
	struct sealing *s = ctx;
	struct mica_buf *b = &s->group[(index - s->first) / GROUP];

	if (b->len == 0)
		mica_buf_put_u8(b, 0);
	mica_buf_put_be16(b, (uint16_t)entry.len);
	mica_buf_put_slice(b, entry);
	return true;
}

static mica_rc write_groups(struct mica_ledger *l, struct sealing *s, unsigned groups,
	struct log_marks *m, struct mica_err *e)
{
	size_t n = 0, entries = (size_t)groups * GROUP;
	MICA_AUTO_FREE struct mica_write *w = mica_calloc(entries + groups + 1, sizeof(*w));
	MICA_AUTO_FREE uint8_t *keys = mica_calloc(entries + groups, 8);
	uint8_t mark[24];

	for (size_t i = 0; i < entries; i++, n++) {
		mica_log_be64(s->first + i, keys + n * 8);
		w[n] = (struct mica_write){
			MICA_T_ENTRY, MICA_DELETE, mica_slice(keys + n * 8, 8), MICA_SLICE_NULL};
	}
	for (size_t g = 0; g < groups; g++, n++) {
		mica_log_be64(s->first / GROUP + g, keys + n * 8);
		w[n] = (struct mica_write){MICA_T_GROUP, MICA_PUT, mica_slice(keys + n * 8, 8),
			mica_buf_slice(&s->group[g])};
	}
	m->sealed += entries;
	w[n++] = (struct mica_write){MICA_T_MARK, MICA_PUT, mark_key, marks_bytes(m, mark)};
	return mica_store_apply(l->store, w, n, e);
}

static mica_rc seal_step(struct mica_ledger *l, uint64_t size, bool *did, struct mica_err *e)
{
	struct log_marks m = get_marks(l);
	struct sealing s = {.first = m.sealed};
	mica_rc rc;

	*did = m.sealed + SEAL_GROUPS * GROUP <= size;
	if (!*did)
		return MICA_OK;
	for (unsigned g = 0; g < SEAL_GROUPS; g++)
		mica_buf_init(&s.group[g], (size_t)GROUP * (MICA_ENTRY_MAX + 2) + 1);
	rc = mica_log_each(l, s.first, s.first + SEAL_GROUPS * GROUP, seal_entry, &s, e);
	if (rc == MICA_OK)
		rc = write_groups(l, &s, SEAL_GROUPS, &m, e);
	if (rc == MICA_OK)
		set_marks(l, &m);
	for (unsigned g = 0; g < SEAL_GROUPS; g++)
		mica_buf_clear(&s.group[g]);
	return rc;
}

static mica_rc index_step(struct mica_ledger *l, uint64_t size, bool *did, struct mica_err *e)
{
	struct log_marks m = get_marks(l);
	MICA_AUTO_FREE struct log_row *rows = NULL;
	struct mica_write w[RUN_ZONE + 1];
	struct mica_buf run[RUN_ZONE];
	uint8_t keys[RUN_ZONE][6], mark[24];
	mica_rc rc;

	*did = m.indexed + RUN <= size;
	if (!*did)
		return MICA_OK;
	pthread_mutex_lock(&l->tail_lock);
	rc = fill_tail(l, m.indexed + RUN, e);
	if (rc == MICA_OK)
		rows = mica_memdup(l->tail, RUN * sizeof(*rows));
	pthread_mutex_unlock(&l->tail_lock);
	if (rc != MICA_OK)
		return rc;
	for (unsigned k = 0; k < RUN_ZONE; k++) {
		mica_buf_init(&run[k], (size_t)RUN * ITEM_LEN);
		mica_log_build_run((enum run_kind)(k + 1), rows, RUN, &run[k]);
		w[k] = (struct mica_write){MICA_T_INDEX, MICA_PUT,
			mica_log_run_key((enum run_kind)(k + 1), 0, m.indexed / RUN, keys[k]),
			mica_buf_slice(&run[k])};
	}
	m.indexed += RUN;
	w[RUN_ZONE] = (struct mica_write){MICA_T_MARK, MICA_PUT, mark_key, marks_bytes(&m, mark)};
	rc = mica_store_apply(l->store, w, RUN_ZONE + 1, e);
	if (rc == MICA_OK)
		set_marks(l, &m);
	for (unsigned k = 0; k < RUN_ZONE; k++)
		mica_buf_clear(&run[k]);
	return rc;
}

/* Sixteen sorted lists into one: their heads are compared, which is quick enough for 65,536. */
static void merge_items(const struct mica_buf *in, struct mica_buf *out)
{
	size_t at[RUNS_MERGED] = {0};

	for (;;) {
		struct item least = {UINT64_MAX, UINT32_MAX};
		int from = -1;

		for (unsigned r = 0; r < RUNS_MERGED; r++) {
			struct item i;

			if (at[r] + ITEM_LEN > in[r].len)
				continue;
			i = get_item(in[r].p + at[r]);
			i.offset += r * RUN;
			if (from < 0 || item_cmp(&i, &least) < 0) {
				least = i;
				from = (int)r;
			}
		}
		if (from < 0)
			return;
		at[from] += ITEM_LEN;
		put_item(out, &least);
	}
}

/* A zone for each of the sixteen runs. */
static void merge_zones(const struct mica_buf *in, struct mica_buf *out)
{
	for (unsigned r = 0; r < RUNS_MERGED; r++) {
		struct log_zone all;

		zone_start(&all);
		for (size_t at = 0; at + ZONE_LEN <= in[r].len; at += ZONE_LEN) {
			struct log_zone z = zone_get(in[r].p + at);

			zone_add(&all, z.min_ms, z.max_ms, z.types);
		}
		zone_put(out, &all);
	}
}

static mica_rc load_runs(struct mica_ledger *l, enum run_kind kind, uint64_t first,
	struct mica_buf *in, struct mica_err *e)
{
	uint8_t key[6];

	for (unsigned r = 0; r < RUNS_MERGED; r++) {
		mica_rc rc = mica_store_get(l->store, MICA_T_INDEX,
			mica_log_run_key(kind, 0, first + r, key), &in[r], NULL, e);

		if (rc != MICA_OK)
			return rc;
	}
	return MICA_OK;
}

/* One kind of run at a time; the mark moves with the last, so that a merge that was cut off is
 * done again. Zones of level 0 stay: they lead to the groups. */
static mica_rc merge_kind(struct mica_ledger *l, enum run_kind kind, struct log_marks *m,
	struct mica_buf *in, struct mica_buf *out, struct mica_err *e)
{
	struct mica_write w[RUNS_MERGED * KIND_KEYS + 2];
	uint8_t keys[RUNS_MERGED * KIND_KEYS][6], key[6], mark[24];
	uint64_t n = m->merged / RUN_MERGED, first = n * RUNS_MERGED;
	size_t n_writes = 0;
	mica_rc rc = load_runs(l, kind, first, in, e);

	if (rc != MICA_OK)
		return rc;
	if (kind == RUN_ZONE)
		merge_zones(in, out);
	else
		merge_items(in, out);
	w[n_writes++] = (struct mica_write){
		MICA_T_INDEX, MICA_PUT, mica_log_run_key(kind, 1, n, key), mica_buf_slice(out)};
	if (kind == RUN_ZONE) { /* the last: now the small ones go */
		for (unsigned i = 0; i < RUNS_MERGED * KIND_KEYS; i++)
			w[n_writes++] = (struct mica_write){MICA_T_INDEX, MICA_DELETE,
				mica_log_run_key((enum run_kind)(1 + i / RUNS_MERGED), 0,
					first + i % RUNS_MERGED, keys[i]),
				MICA_SLICE_NULL};
		m->merged += RUN_MERGED;
		w[n_writes++] =
			(struct mica_write){MICA_T_MARK, MICA_PUT, mark_key, marks_bytes(m, mark)};
	}
	return mica_store_apply(l->store, w, n_writes, e);
}

static mica_rc merge_step(struct mica_ledger *l, bool *did, struct mica_err *e)
{
	struct log_marks m = get_marks(l);
	struct mica_buf in[RUNS_MERGED], out;
	mica_rc rc = MICA_OK;

	*did = m.merged + RUN_MERGED <= m.indexed;
	if (!*did)
		return MICA_OK;
	for (unsigned r = 0; r < RUNS_MERGED; r++)
		mica_buf_init(&in[r], (size_t)RUN * ITEM_LEN);
	for (unsigned k = RUN_SPIFFE; k <= RUN_ZONE && rc == MICA_OK; k++) {
		mica_buf_init(&out, (size_t)RUN_MERGED * ITEM_LEN);
		rc = merge_kind(l, (enum run_kind)k, &m, in, &out, e);
		mica_buf_clear(&out);
	}
	if (rc == MICA_OK)
		set_marks(l, &m);
	for (unsigned r = 0; r < RUNS_MERGED; r++)
		mica_buf_clear(&in[r]);
	return rc;
}

static mica_rc guard_step(struct mica_ledger *l, struct mica_err *e)
{
	struct mica_log_head head;
	mica_rc rc;

	if (!l->guard || !l->signer)
		return MICA_OK;
	mica_ledger_head(l, &head);
	if (head.size <= l->guard_size)
		return MICA_OK;
	rc = mica_log_write_guard(l->guard, mica_slice(head.note, head.note_len), e);
	if (rc == MICA_OK)
		l->guard_size = head.size;
	return rc;
}

mica_rc mica_ledger_maintain(struct mica_ledger *l, bool *more, struct mica_err *e)
{
	uint64_t size = mica_ledger_size(l);
	bool sealed = true, indexed = true, merged = true;
	mica_rc rc = guard_step(l, e);

	for (unsigned i = 0; i < STEPS && rc == MICA_OK && (sealed || indexed || merged); i++) {
		rc = seal_step(l, size, &sealed, e);
		if (rc == MICA_OK)
			rc = index_step(l, size, &indexed, e);
		if (rc == MICA_OK)
			rc = merge_step(l, &merged, e);
	}
	if (more)
		*more = rc == MICA_OK && (sealed || indexed || merged);
	return rc;
}

void mica_ledger_stats(struct mica_ledger *l, struct mica_ledger_stats *out)
{
	struct log_marks m = get_marks(l);

	memset(out, 0, sizeof(*out));
	out->sealed = m.sealed;
	out->indexed = m.indexed;
	pthread_mutex_lock(&l->lock);
	out->size = l->head.size;
	out->commits = l->commits;
	pthread_mutex_unlock(&l->lock);
}

/* ---- searching ----------------------------------------------------------------------------- */

struct search {
	struct mica_ledger *l;
	const struct mica_ledger_query *q;
	enum run_kind kind; /* 0 = by time and type alone */
	uint64_t key;
	uint64_t lo, hi; /* what is left: [lo, hi) */
	mica_entry_fn *fn;
	void *ctx;
	unsigned found, limit, work;
	uint64_t last; /* index of the last entry that was given */
	bool stop;
	struct mica_buf bytes;
};

static bool zone_fits(const struct mica_ledger_query *q, const struct log_zone *z)
{
	if (q->since_ms && z->max_ms < q->since_ms)
		return false;
	if (q->until_ms && z->min_ms > q->until_ms)
		return false;
	return !q->type || z->types >> (q->type & 63) & 1;
}

static bool row_fits(const struct search *s, const struct log_row *r)
{
	struct log_zone z = {r->time_ms, r->time_ms, (uint64_t)1 << (r->type & 63)};

	return zone_fits(s->q, &z) && (s->kind == 0 || row_key(r, s->kind) == s->key);
}

static bool entry_fits(const struct mica_ledger_query *q, const struct mica_entry *en)
{
	struct mica_entry_keys k;

	if ((q->type && en->type != q->type) || (q->since_ms && en->time_ms < q->since_ms) ||
		(q->until_ms && en->time_ms > q->until_ms) ||
		(q->action.len > 0 && !mica_slice_eq(q->action, en->action)) ||
		(q->pod_uid && memcmp(q->pod_uid, &en->pod_uid, sizeof(en->pod_uid)) != 0))
		return false;
	if (q->spiffe_id.len == 0 && q->serial.len == 0)
		return true;
	return mica_entry_keys(en, &k, NULL) == MICA_OK &&
		(q->spiffe_id.len == 0 || mica_slice_eq(q->spiffe_id, k.spiffe_id)) &&
		(q->serial.len == 0 || mica_slice_eq(q->serial, k.serial));
}

/* Where the search goes on after `index` was looked at. */
static void pass(struct search *s, uint64_t index)
{
	if (s->q->oldest_first)
		s->lo = index + 1;
	else
		s->hi = index;
}

static mica_rc offer(struct search *s, uint64_t index, struct mica_err *e)
{
	struct mica_entry en;
	mica_rc rc;

	mica_buf_reset(&s->bytes);
	rc = mica_ledger_entry(s->l, index, &s->bytes, e);
	if (rc != MICA_OK)
		return rc;
	pass(s, index);
	s->work++;
	if (mica_entry_decode(mica_buf_slice(&s->bytes), &en, NULL) != MICA_OK ||
		!entry_fits(s->q, &en))
		return MICA_OK;
	s->found++;
	s->last = index;
	s->stop = !s->fn(s->ctx, index, &en, mica_buf_slice(&s->bytes)) || s->found >= s->limit;
	return MICA_OK;
}

static mica_rc offer_all(struct search *s, const uint64_t *hit, size_t n, struct mica_err *e)
{
	mica_rc rc = MICA_OK;

	for (size_t i = 0; i < n && rc == MICA_OK && !s->stop && s->work < WORK_MAX; i++)
		rc = offer(s, hit[i], e);
	return rc;
}

/* Everything in [from, to) was looked at, unless the list of hits was full. */
static mica_rc finish_block(struct search *s, uint64_t from, uint64_t to, const uint64_t *hit,
	size_t n, struct mica_err *e)
{
	mica_rc rc = offer_all(s, hit, n, e);

	if (rc == MICA_OK && !s->stop && n < HITS_MAX && s->work < WORK_MAX) {
		if (s->q->oldest_first)
			s->lo = to;
		else
			s->hi = from;
	}
	return rc;
}

/* What has no run yet. */
static mica_rc search_tail(struct search *s, uint64_t *from, struct mica_err *e)
{
	struct mica_ledger *l = s->l;
	uint64_t hit[HITS_MAX], lo, hi = s->hi;
	size_t n = 0;
	mica_rc rc;

	pthread_mutex_lock(&l->tail_lock);
	*from = l->marks.indexed;
	if (s->q->oldest_first && s->lo < *from) { /* indexed meanwhile */
		pthread_mutex_unlock(&l->tail_lock);
		return MICA_OK;
	}
	lo = s->lo > *from ? s->lo : *from;
	rc = fill_tail(l, hi, e);
	for (uint64_t i = 0; rc == MICA_OK && lo < hi && i < hi - lo && n < HITS_MAX; i++) {
		uint64_t index = s->q->oldest_first ? lo + i : hi - 1 - i;

		if (row_fits(s, &l->tail[index - *from]))
			hit[n++] = index;
	}
	pthread_mutex_unlock(&l->tail_lock);
	if (rc == MICA_OK && lo < hi)
		rc = finish_block(s, lo, hi, hit, n, e);
	return rc;
}

struct run_search {
	struct search *s;
	uint64_t base; /* index of offset 0 */
	uint64_t hit[HITS_MAX];
	size_t n;
};

/* First item that is not below (key, offset). */
static size_t lower_bound(struct mica_slice run, uint64_t key, uint64_t offset)
{
	size_t lo = 0, hi = run.len / ITEM_LEN;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		struct item i = get_item(run.p + mid * ITEM_LEN);

		if (i.key < key || (i.key == key && i.offset < offset))
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static mica_rc search_run(void *ctx, struct mica_slice run, uint64_t rev, struct mica_err *e)
{
	struct run_search *r = ctx;
	struct search *s = r->s;
	uint64_t from = s->lo > r->base ? s->lo - r->base : 0;
	uint64_t to = s->hi > r->base ? s->hi - r->base : 0;
	size_t a, b;

	(void)rev;
	(void)e;
	a = lower_bound(run, s->key, from);
	b = lower_bound(run, s->key, to);
	for (size_t i = 0; i < b - a && r->n < HITS_MAX; i++) {
		size_t at = s->q->oldest_first ? a + i : b - 1 - i;

		r->hit[r->n++] = r->base + get_item(run.p + at * ITEM_LEN).offset;
	}
	return MICA_OK;
}

struct zone_search {
	const struct mica_ledger_query *q;
	uint64_t fits; /* bit i: part i may hold what is looked for */
};

static mica_rc search_zone(void *ctx, struct mica_slice value, uint64_t rev, struct mica_err *e)
{
	struct zone_search *z = ctx;

	(void)rev;
	(void)e;
	for (size_t i = 0; i < 16 && (i + 1) * ZONE_LEN <= value.len; i++) {
		struct log_zone zone = zone_get(value.p + i * ZONE_LEN);

		if (zone_fits(z->q, &zone))
			z->fits |= (uint64_t)1 << i;
	}
	return MICA_OK;
}

static mica_rc zones_of(
	struct search *s, unsigned level, uint64_t n, uint64_t *fits, struct mica_err *e)
{
	struct zone_search z = {s->q, 0};
	uint8_t key[6];
	mica_rc rc = mica_store_view(s->l->store, MICA_T_INDEX,
		mica_log_run_key(RUN_ZONE, level, n, key), search_zone, &z, e);

	*fits = z.fits;
	return rc;
}

static void skip(struct search *s, uint64_t from, uint64_t to)
{
	if (s->q->oldest_first)
		s->lo = to;
	else
		s->hi = from;
}

/* A run that holds the place where the search stands. */
static mica_rc search_key_block(struct search *s, unsigned level, uint64_t n, struct mica_err *e)
{
	uint64_t len = level ? RUN_MERGED : RUN, from = n * len, to = from + len, fits;
	struct run_search r = {.s = s, .base = from};
	uint8_t key[6];
	mica_rc rc;

	if (s->q->since_ms || s->q->until_ms || s->q->type) {
		rc = zones_of(s, level, n, &fits, e);
		if (rc != MICA_OK)
			return rc;
		if (fits == 0) {
			skip(s, from, to);
			return MICA_OK;
		}
	}
	rc = mica_store_view(s->l->store, MICA_T_INDEX, mica_log_run_key(s->kind, level, n, key),
		search_run, &r, e);
	return rc == MICA_OK ? finish_block(s, from, to, r.hit, r.n, e) : rc;
}

/* By time and type: groups whose zone fits, entry by entry. */
static mica_rc search_zone_block(struct search *s, uint64_t n, struct mica_err *e)
{
	uint64_t fits = 0, at = s->q->oldest_first ? s->lo : s->hi - 1, group, from, to, hit[GROUP];
	size_t hits = 0;
	mica_rc rc = zones_of(s, 0, n, &fits, e);

	if (rc != MICA_OK)
		return rc;
	if (fits == 0) {
		skip(s, n * RUN, (n + 1) * RUN);
		return MICA_OK;
	}
	group = at / GROUP;
	from = group * GROUP;
	to = from + GROUP;
	if (!(fits >> (group % (RUN / GROUP)) & 1)) {
		skip(s, from, to);
		return MICA_OK;
	}
	for (uint64_t i = 0; i < GROUP; i++) {
		uint64_t index = s->q->oldest_first ? from + i : to - 1 - i;

		if (index >= s->lo && index < s->hi)
			hit[hits++] = index;
	}
	rc = offer_all(s, hit, hits, e);
	return rc;
}

/* One step from where the search stands. */
static mica_rc search_step(struct search *s, struct mica_err *e)
{
	struct log_marks m = get_marks(s->l);
	uint64_t at = s->q->oldest_first ? s->lo : s->hi - 1, fits = 1;
	struct mica_err own = MICA_ERR_INIT;
	mica_rc rc;

	if (at >= m.indexed)
		return search_tail(s, &m.indexed, e);
	if (s->kind != 0) {
		rc = search_key_block(
			s, at < m.merged, at / (at < m.merged ? RUN_MERGED : RUN), &own);
		/* Merged between the look at the marks and the look at the run. */
		if (rc == MICA_NOT_FOUND) {
			own = (struct mica_err)MICA_ERR_INIT;
			rc = search_key_block(s, 1, at / RUN_MERGED, &own);
		}
	} else {
		rc = at < m.merged ? zones_of(s, 1, at / RUN_MERGED, &fits, &own) : MICA_OK;
		if (rc == MICA_OK && fits == 0)
			skip(s, at / RUN_MERGED * RUN_MERGED, (at / RUN_MERGED + 1) * RUN_MERGED);
		else if (rc == MICA_OK)
			rc = search_zone_block(s, at / RUN, &own);
	}
	if (rc == MICA_NOT_FOUND)
		return mica_log_damaged(e, "an index run is missing");
	if (rc != MICA_OK && e && e->rc == MICA_OK)
		*e = own;
	return rc;
}

/* The most selective condition chooses the index. */
static void choose(struct search *s)
{
	if (s->q->serial.len > 0) {
		s->kind = RUN_SERIAL;
		s->key = serial_key(s->q->serial);
	} else if (s->q->pod_uid) {
		s->kind = RUN_POD;
		s->key = pod_key(s->q->pod_uid);
	} else if (s->q->spiffe_id.len > 0) {
		s->kind = RUN_SPIFFE;
		s->key = key_of(s->q->spiffe_id);
	}
}

/* Cursor: direction, and the index where the next page begins (a), or before which (b). */
static mica_rc read_cursor(struct search *s, struct mica_err *e)
{
	struct mica_slice c = s->q->cursor;
	uint64_t at;

	if (c.len == 0)
		return MICA_OK;
	if (c.p[0] != (s->q->oldest_first ? 'a' : 'b') ||
		mica_parse_u64(mica_slice_sub(c, 1, c.len), MICA_TREE_MAX, &at) != MICA_OK)
		return mica_fail(e, MICA_INVALID, "bad_cursor",
			"cursor: expected the `next` of a page in the same order");
	if (s->q->oldest_first)
		s->lo = at;
	else if (at < s->hi)
		s->hi = at;
	return MICA_OK;
}

static void write_cursor(const struct search *s, char next[MICA_CURSOR_SIZE])
{
	next[0] = '\0';
	if (s->lo < s->hi)
		snprintf(next, MICA_CURSOR_SIZE, "%c%llu", s->q->oldest_first ? 'a' : 'b',
			(unsigned long long)(s->q->oldest_first ? s->lo : s->hi));
}

mica_rc mica_ledger_query(struct mica_ledger *l, const struct mica_ledger_query *q,
	mica_entry_fn *fn, void *ctx, char next[MICA_CURSOR_SIZE], struct mica_err *e)
{
	struct search s = {.l = l, .q = q, .fn = fn, .ctx = ctx, .hi = mica_ledger_size(l)};
	unsigned blocks = 0;
	mica_rc rc;

	next[0] = '\0';
	s.limit = q->limit == 0 ? 100 : q->limit > 1000 ? 1000 : q->limit;
	choose(&s);
	rc = read_cursor(&s, e);
	mica_buf_init(&s.bytes, MICA_ENTRY_MAX);
	while (rc == MICA_OK && s.lo < s.hi && !s.stop && s.work < WORK_MAX && blocks++ < 100000)
		rc = search_step(&s, e);
	mica_buf_clear(&s.bytes);
	if (rc == MICA_OK)
		write_cursor(&s, next);
	return rc;
}

struct first {
	uint64_t index;
	int64_t at; /* the certificate must be valid then; 0 = any */
	bool found;
};

static bool take_first(
	void *ctx, uint64_t index, const struct mica_entry *entry, struct mica_slice bytes)
{
	struct first *f = ctx;
	struct mica_entry_keys k;

	(void)bytes;
	if (f->at &&
		(mica_entry_keys(entry, &k, NULL) != MICA_OK || k.not_before > f->at ||
			k.not_after < f->at))
		return true;
	f->index = index;
	f->found = true;
	return false;
}

static mica_rc no_certificate(struct mica_err *e)
{
	return mica_fail(e, MICA_NOT_FOUND, "no_such_certificate", "there is no such certificate");
}

mica_rc mica_ledger_by_serial(
	struct mica_ledger *l, const uint8_t serial[16], uint64_t *index, struct mica_err *e)
{
	/* A serial begins with its time: first where its entry should be, then everywhere. */
	int64_t made = (int64_t)(mica_log_get64(serial) >> 16), slack = 600000;
	struct mica_ledger_query q = {.serial = mica_slice(serial, 16), .limit = 1};

	for (unsigned pass_no = 0; pass_no < 2; pass_no++) {
		struct first f = {0};
		char next[MICA_CURSOR_SIZE];
		mica_rc rc;

		q.since_ms = pass_no == 0 && made > slack ? made - slack : 0;
		q.until_ms = pass_no == 0 ? made + slack : 0;
		rc = mica_ledger_query(l, &q, take_first, &f, next, e);
		if (rc != MICA_OK)
			return rc;
		if (f.found) {
			*index = f.index;
			return MICA_OK;
		}
	}
	return no_certificate(e);
}

mica_rc mica_ledger_latest(struct mica_ledger *l, struct mica_slice spiffe_id, int64_t at,
	uint64_t *index, struct mica_err *e)
{
	struct mica_ledger_query q = {
		.spiffe_id = spiffe_id, .type = MICA_ENTRY_X509_ISSUED, .limit = 1000};
	struct first f = {.at = at};
	char next[MICA_CURSOR_SIZE];
	mica_rc rc = mica_ledger_query(l, &q, take_first, &f, next, e);

	if (rc != MICA_OK)
		return rc;
	*index = f.index;
	return f.found ? MICA_OK : no_certificate(e);
}
