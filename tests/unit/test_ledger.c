/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger over a store: growing, proving, looking up, and what it refuses to open. */
#define _GNU_SOURCE /* memmem */
#include "fill.h"

#include "mica/file.h"

#include <pthread.h>
#include <stdatomic.h>

#define ORIGIN "example.org/log/00112233445566ff"

static struct fill fill;
static struct mica_signer *signer;

static int setup(void **state)
{
	(void)state;
	fill_init(&fill);
	return mica_signer_generate(MICA_KN_ED25519, &signer, NULL) != MICA_OK;
}

static int teardown(void **state)
{
	(void)state;
	fill_clear(&fill);
	mica_signer_free(signer);
	return 0;
}

static struct mica_ledger *fresh(struct mica_store *s)
{
	struct mica_ledger *l = NULL;

	assert_ok(mica_ledger_create(s, ORIGIN, signer, NOW * 1000, e));
	assert_ok(mica_ledger_open(s, signer, NULL, &l, e));
	return l;
}

static void reopen(struct mica_store *s, struct mica_ledger **l)
{
	mica_ledger_close(*l);
	*l = NULL;
	assert_ok(mica_ledger_open(s, signer, NULL, l, e));
}

static void leaf_of(uint64_t i, struct mica_hash *out)
{
	MICA_AUTO_BUF b;

	mica_buf_init(&b, MICA_ENTRY_MAX);
	fill_entry(&fill, i, &b);
	mica_merkle_leaf(mica_buf_slice(&b), out);
}

static void check_receipt(struct mica_ledger *l, uint64_t index)
{
	struct mica_checkpoint at;
	MICA_AUTO_BUF entry, receipt;

	mica_buf_init(&entry, MICA_ENTRY_MAX);
	mica_buf_init(&receipt, 16384);
	assert_ok(mica_ledger_entry(l, index, &entry, e));
	assert_ok(mica_ledger_receipt(l, index, &receipt, e));
	assert_ok(mica_receipt_check(
		mica_buf_slice(&receipt), mica_buf_slice(&entry), mica_ledger_key(l), &at, e));
	assert_int_equal(at.size, mica_ledger_size(l));
}

/* Through every size up to beyond two full tiles: signed roots, receipts, consistency, reopening.
 */
static void every_size(void **state)
{
	MICA_AUTO_STORE s = mica_store_mem();
	struct mica_ledger *l = fresh(s);
	struct mica_log_head old, head;
	struct mica_frontier f;
	struct mica_hash root;

	(void)state;
	mica_frontier_init(&f);
	mica_ledger_head(l, &head);
	assert_int_equal(head.size, 0);
	mica_merkle_empty(&root);
	assert_true(mica_hash_eq(&root, &head.root));
	for (unsigned step = 0; head.size < 600; step++) {
		uint64_t to = head.size + 1 + step % 5;
		struct mica_proof p;

		old = head;
		fill_ledger(&fill, l, to, 3);
		if (step % 13 == 0)
			reopen(s, &l);
		mica_ledger_head(l, &head);
		assert_int_equal(head.size, to);
		for (uint64_t i = old.size; i < to; i++) {
			struct mica_hash leaf;

			leaf_of(i, &leaf);
			mica_frontier_add(&f, &leaf);
		}
		mica_frontier_root(&f, &root);
		assert_true(mica_hash_eq(&root, &head.root));
		check_receipt(l, to - 1);
		check_receipt(l, to / 2);
		check_receipt(l, 0);
		assert_ok(mica_ledger_consistency(l, old.size, to, &p, e));
		assert_ok(
			mica_merkle_check_consistency(old.size, &old.root, to, &head.root, &p, e));
	}
	assert_true(mica_ledger_now_ms(l) >= fill_time(600));
	mica_ledger_close(l);
}

/* Tiles and bundles of all widths, before and after they are sealed. */
static void tiles(void **state)
{
	MICA_AUTO_STORE s = mica_store_mem();
	struct mica_ledger *l = fresh(s);
	struct mica_tile_id id = {false, 0, 1, 7};
	struct mica_hash leaf;
	MICA_AUTO_BUF b, c;

	(void)state;
	mica_buf_init(&b, 1 << 20);
	mica_buf_init(&c, 1 << 20);
	assert_refused(MICA_NOT_FOUND, "no_such_tile", mica_ledger_tile(l, &id, &b, e));
	fill_ledger(&fill, l, 256 + 7, 32);
	assert_ok(mica_ledger_tile(l, &id, &b, e));
	assert_int_equal(b.len, 7 * 32);
	leaf_of(256 + 6, &leaf);
	assert_memory_equal(b.p + 6 * 32, leaf.b, 32);
	id.width = 8;
	assert_refused(MICA_NOT_FOUND, "no_such_tile", mica_ledger_tile(l, &id, &b, e));
	fill_ledger(&fill, l, 1200, 100);
	for (int sealed = 0; sealed < 2; sealed++) {
		id = (struct mica_tile_id){false, 0, 1, 7};
		mica_buf_reset(&b);
		assert_ok(mica_ledger_tile(l, &id, &b, e)); /* still there for older trees */
		assert_int_equal(b.len, 7 * 32);
		id.width = 256;
		mica_buf_reset(&b);
		assert_ok(mica_ledger_tile(l, &id, &b, e));
		assert_int_equal(b.len, 8192);
		id = (struct mica_tile_id){false, 1, 0, 4};
		mica_buf_reset(&b);
		assert_ok(mica_ledger_tile(l, &id, &b, e));
		assert_int_equal(b.len, 4 * 32);
		id.width = 5;
		assert_refused(MICA_NOT_FOUND, "no_such_tile", mica_ledger_tile(l, &id, &b, e));
		id = (struct mica_tile_id){true, 0, 2, 256};
		mica_buf_reset(&b);
		assert_ok(mica_ledger_tile(l, &id, &b, e));
		mica_buf_reset(&c);
		for (unsigned i = 512; i < 768; i++) {
			MICA_AUTO_BUF entry;

			mica_buf_init(&entry, MICA_ENTRY_MAX);
			fill_entry(&fill, i, &entry);
			mica_buf_put_be16(&c, (uint16_t)entry.len);
			mica_buf_put_slice(&c, mica_buf_slice(&entry));
		}
		assert_true(mica_slice_eq(mica_buf_slice(&b), mica_buf_slice(&c)));
		fill_maintain(l);
	}
	mica_ledger_close(l);
}

/* ---- look-ups ------------------------------------------------------------------------------ */

struct got {
	uint64_t index[20000];
	size_t n;
};

static bool collect(
	void *ctx, uint64_t index, const struct mica_entry *entry, struct mica_slice bytes)
{
	struct got *g = ctx;

	assert_int_equal(entry->time_ms, fill_time(index));
	assert_true(bytes.len > 24);
	assert_true(g->n < MICA_ARRAY_LEN(g->index));
	g->index[g->n++] = index;
	return true;
}

static enum mica_entry_type type_of(uint64_t i)
{
	return i % 16 == 5         ? MICA_ENTRY_JWT_ISSUED
		: i % 5000 == 1234 ? MICA_ENTRY_AUTHORITY
				   : MICA_ENTRY_X509_ISSUED;
}

/* What the filter means, by looking at each entry. */
static bool wanted(const struct mica_ledger_query *q, uint64_t i)
{
	enum mica_entry_type t = type_of(i);
	struct mica_uid pod;
	char id[64];

	fill_id(fill_who(i), id);
	fill_pod(fill_who(i), &pod);
	return (!q->type || t == q->type) && (!q->since_ms || fill_time(i) >= q->since_ms) &&
		(!q->until_ms || fill_time(i) <= q->until_ms) &&
		(q->spiffe_id.len == 0 ||
			(t != MICA_ENTRY_AUTHORITY && mica_slice_eq_str(q->spiffe_id, id))) &&
		(!q->pod_uid || (t != MICA_ENTRY_AUTHORITY && memcmp(&pod, q->pod_uid, 16) == 0)) &&
		(q->action.len == 0 ||
			(t == MICA_ENTRY_AUTHORITY &&
				mica_slice_eq_str(q->action, i % 2 ? "created" : "tainted")));
}

static void query_all(struct mica_ledger *l, struct mica_ledger_query q)
{
	static struct got got;
	char next[MICA_CURSOR_SIZE] = "";
	uint64_t size = mica_ledger_size(l);
	size_t at = 0;

	got.n = 0;
	do {
		char now[MICA_CURSOR_SIZE];
		size_t before = got.n;

		memcpy(now, next, sizeof(now));
		q.cursor = mica_slice_str(now);
		assert_ok(mica_ledger_query(l, &q, collect, &got, next, e));
		assert_true(got.n - before <= (q.limit ? q.limit : 100));
	} while (next[0] && got.n < 15000);
	for (uint64_t i = 0; i < size && at < got.n; i++) {
		uint64_t index = q.oldest_first ? i : size - 1 - i;

		if (!wanted(&q, index))
			continue;
		assert_int_equal(got.index[at], index);
		at++;
	}
	assert_int_equal(at, got.n);
	if (got.n < 15000)
		for (uint64_t i = 0, n = 0; i <= size; i++) {
			if (i == size)
				assert_int_equal(n, got.n);
			else
				n += wanted(&q, i);
		}
}

static void query_many(struct mica_ledger *l)
{
	uint64_t size = mica_ledger_size(l);
	struct mica_uid busy, rare;
	char id[64];

	fill_pod(7, &busy);
	fill_pod(4321, &rare);
	fill_id(7, id);
	for (int oldest = 0; oldest < 2; oldest++) {
		struct mica_ledger_query q = {.oldest_first = oldest, .limit = 1000};
		int64_t from = fill_time(size / 3), to = fill_time(size / 3 + 1500);

		query_all(l,
			(struct mica_ledger_query){.oldest_first = oldest,
				.limit = 1000,
				.type = MICA_ENTRY_AUTHORITY});
		query_all(l,
			(struct mica_ledger_query){
				.oldest_first = oldest, .limit = 1, .type = MICA_ENTRY_AUTHORITY});
		query_all(l,
			(struct mica_ledger_query){.oldest_first = oldest,
				.limit = 1000,
				.type = MICA_ENTRY_AUTHORITY,
				.action = MICA_LIT("tainted")});
		q.since_ms = from;
		q.until_ms = to;
		query_all(l, q);
		q.type = MICA_ENTRY_JWT_ISSUED;
		q.limit = 7;
		query_all(l, q);
		q = (struct mica_ledger_query){
			.oldest_first = oldest, .limit = 1000, .pod_uid = &rare};
		query_all(l, q);
		q.pod_uid = &busy;
		query_all(l, q);
		q.since_ms = from;
		q.until_ms = to;
		query_all(l, q);
		q = (struct mica_ledger_query){
			.oldest_first = oldest, .limit = 1000, .spiffe_id = mica_slice_str(id)};
		query_all(l, q);
		q.spiffe_id = MICA_LIT("spiffe://example.org/nobody");
		query_all(l, q);
		q = (struct mica_ledger_query){.oldest_first = oldest, .until_ms = 5};
		query_all(l, q);
	}
}

static void by_serial(struct mica_ledger *l)
{
	uint64_t size = mica_ledger_size(l), index = 0;
	uint8_t serial[16];

	for (uint64_t i = 0; i < size; i += 1 + size / 97) {
		fill_serial(i, serial);
		if (type_of(i) != MICA_ENTRY_X509_ISSUED)
			continue;
		assert_ok(mica_ledger_by_serial(l, serial, &index, e));
		assert_int_equal(index, i);
	}
	serial[15] ^= 1;
	assert_refused(
		MICA_NOT_FOUND, "no_such_certificate", mica_ledger_by_serial(l, serial, &index, e));
}

/* At sizes with no run, some runs, a merged run; indexes before, after and in the middle of being
 * written; and after a crash, which is a ledger that was not closed: it is opened from the marks.
 */
static void lookups(void **state)
{
	MICA_AUTO_STORE s = mica_store_mem();
	struct mica_ledger *l = fresh(s);
	static const uint64_t sizes[] = {40, 3000, 9000, 70000};
	uint64_t index = 0;
	char id[64];

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(sizes); i++) {
		struct mica_ledger_stats st;

		for (uint64_t at = mica_ledger_size(l); at < sizes[i]; at += 2048) {
			fill_ledger(&fill, l, at + 2048 < sizes[i] ? at + 2048 : sizes[i], 256);
			if (at + 4096 < sizes[i])
				fill_maintain(l);
		}
		query_many(l);
		by_serial(l);
		fill_maintain(l);
		mica_ledger_stats(l, &st);
		assert_int_equal(st.indexed, sizes[i] / 4096 * 4096);
		assert_int_equal(st.sealed, sizes[i] / 1024 * 1024);
		reopen(s, &l);
		query_many(l);
		by_serial(l);
	}
	/* 7 asks often; its last certificate is the last multiple of 8 */
	fill_id(7, id);
	assert_ok(mica_ledger_latest(l, mica_slice_str(id), NOW, &index, e));
	assert_int_equal(index, 69992);
	assert_refused(MICA_NOT_FOUND, "no_such_certificate",
		mica_ledger_latest(l, mica_slice_str(id), NOW + 7200, &index, e));
	{
		struct mica_check_report r;

		assert_ok(mica_ledger_check(l, NULL, &r, e));
		assert_int_equal(r.entries, 70000);
		assert_int_equal(r.tiles, 273 + 1 + 1 + 1 + 1);
	}
	mica_ledger_close(l);
}

static void cursors(void **state)
{
	static const char *const bad[] = {
		"x", "a", "b", "a1x", "b-1", "b01", "b99999999999999999999"};
	MICA_AUTO_STORE s = mica_store_mem();
	struct mica_ledger *l = fresh(s);
	struct mica_ledger_query q = {.limit = 10};
	char next[MICA_CURSOR_SIZE];
	static struct got got;

	(void)state;
	fill_ledger(&fill, l, 50, 50);
	for (size_t i = 0; i < MICA_ARRAY_LEN(bad); i++) {
		q.cursor = mica_slice_str(bad[i]);
		assert_refused(MICA_INVALID, "bad_cursor",
			mica_ledger_query(l, &q, collect, &got, next, e));
	}
	/* a page stays where it was while entries come */
	q.cursor = MICA_SLICE_NULL;
	got.n = 0;
	assert_ok(mica_ledger_query(l, &q, collect, &got, next, e));
	assert_string_equal(next, "b40");
	fill_ledger(&fill, l, 90, 40);
	q.cursor = MICA_LIT("b40");
	assert_ok(mica_ledger_query(l, &q, collect, &got, next, e));
	assert_int_equal(got.index[10], 39);
	/* a cursor of the other order */
	q.oldest_first = true;
	assert_refused(
		MICA_INVALID, "bad_cursor", mica_ledger_query(l, &q, collect, &got, next, e));
	mica_ledger_close(l);
}

/* ---- commits ------------------------------------------------------------------------------- */

static void commits(void **state)
{
	MICA_AUTO_STORE s = mica_store_mem();
	struct mica_ledger *l = fresh(s);
	static uint8_t big[MICA_ENTRY_MAX + 1];
	struct mica_slice body = MICA_LIT("x");
	struct mica_write w = {MICA_T_META, MICA_PUT, MICA_LIT("a"), MICA_LIT("1")};
	struct mica_read r = {MICA_T_META, MICA_LIT("a"), 0};
	struct mica_change c[2] = {{.reads = &r,
					   .n_reads = 1,
					   .writes = &w,
					   .n_writes = 1,
					   .entries = &body,
					   .n_entries = 1},
		{.reads = &r,
			.n_reads = 1,
			.writes = &w,
			.n_writes = 1,
			.entries = &body,
			.n_entries = 1}};
	struct mica_log_head before, after;

	(void)state;
	fill_ledger(&fill, l, 5, 5);
	assert_ok(mica_ledger_commit(l, c, 2, NOW * 1000, e));
	assert_int_equal(c[0].rc, MICA_OK);
	assert_int_equal(c[0].index, 5);
	assert_int_equal(c[1].rc, MICA_CONFLICT);
	assert_int_equal(mica_ledger_size(l), 6);
	mica_ledger_head(l, &before);
	assert_ok(mica_ledger_commit(l, c, 2, NOW * 1000, e)); /* conflicts alone */
	body = MICA_SLICE_NULL;
	assert_refused(MICA_INVALID, "entry_invalid", mica_ledger_commit(l, c, 1, 0, e));
	body = mica_slice(big, sizeof(big));
	assert_refused(MICA_INVALID, "entry_invalid", mica_ledger_commit(l, c, 1, 0, e));
	mica_store_set_fault(s, MICA_FAULT_FULL, 0);
	body = MICA_LIT("x");
	c[0].n_reads = 0;
	assert_refused(MICA_UNAVAILABLE, "disk_full", mica_ledger_commit(l, c, 1, 0, e));
	mica_ledger_head(l, &after);
	assert_memory_equal(&before.root, &after.root, 32);
	assert_int_equal(before.size, after.size);
	/* outcome unknown: nothing of it is published, nothing more is taken */
	mica_store_set_fault(s, MICA_FAULT_UNKNOWN, 0);
	assert_refused(MICA_INTERNAL, "commit_failed", mica_ledger_commit(l, c, 1, 0, e));
	assert_int_equal(mica_ledger_size(l), 6);
	assert_refused(MICA_INTERNAL, "store_failed", mica_ledger_commit(l, c, 1, 0, e));
	/* the next start finds it */
	reopen(s, &l);
	assert_int_equal(mica_ledger_size(l), 7);
	mica_ledger_close(l);
}

/* ---- many threads -------------------------------------------------------------------------- */

struct crowd {
	struct mica_ledger *l;
	atomic_bool stop;
	atomic_uint bad, done;
};

static bool ignore(
	void *ctx, uint64_t index, const struct mica_entry *entry, struct mica_slice bytes)
{
	uint64_t *last = ctx;

	(void)entry;
	(void)bytes;
	if (*last && index >= *last)
		return false;
	*last = index;
	return true;
}

/* What a front thread does: receipts that hold, look-ups, entries. */
static bool read_once(struct mica_ledger *l, unsigned turn)
{
	struct mica_ledger_query q = {.limit = 20, .type = turn % 2 ? MICA_ENTRY_JWT_ISSUED : 0};
	uint64_t size = mica_ledger_size(l), index = size ? turn * 7919U % size : 0, last = 0,
		 at = 0;
	char next[MICA_CURSOR_SIZE];
	uint8_t serial[16];
	MICA_AUTO_BUF entry, receipt;
	bool ok;

	mica_buf_init(&entry, MICA_ENTRY_MAX);
	mica_buf_init(&receipt, 16384);
	if (size == 0)
		return true;
	fill_serial(index, serial);
	ok = mica_ledger_entry(l, index, &entry, NULL) == MICA_OK &&
		mica_ledger_receipt(l, index, &receipt, NULL) == MICA_OK &&
		mica_receipt_check(mica_buf_slice(&receipt), mica_buf_slice(&entry),
			mica_ledger_key(l), NULL, NULL) == MICA_OK &&
		mica_ledger_query(l, &q, ignore, &last, next, NULL) == MICA_OK;
	if (ok && type_of(index) == MICA_ENTRY_X509_ISSUED)
		ok = mica_ledger_by_serial(l, serial, &at, NULL) == MICA_OK && at == index;
	return ok;
}

static void *reader(void *arg)
{
	struct crowd *c = arg;

	for (unsigned i = 0; !atomic_load(&c->stop); i++) {
		if (!read_once(c->l, i))
			atomic_fetch_add(&c->bad, 1);
		atomic_fetch_add(&c->done, 1);
	}
	return NULL;
}

static void *maintainer(void *arg)
{
	struct crowd *c = arg;

	while (!atomic_load(&c->stop)) {
		if (mica_ledger_maintain(c->l, NULL, NULL) != MICA_OK)
			atomic_fetch_add(&c->bad, 1);
		usleep(500);
	}
	return NULL;
}

static void crowd_on(struct mica_store *s)
{
	struct crowd c = {.l = fresh(s)};
	pthread_t t[3];

	assert_int_equal(pthread_create(&t[0], NULL, reader, &c), 0);
	assert_int_equal(pthread_create(&t[1], NULL, reader, &c), 0);
	assert_int_equal(pthread_create(&t[2], NULL, maintainer, &c), 0);
	for (uint64_t to = 500; to <= 9500; to += 500)
		fill_ledger(&fill, c.l, to, 20);
	atomic_store(&c.stop, true);
	for (size_t i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(atomic_load(&c.bad), 0);
	assert_true(atomic_load(&c.done) > 20);
	assert_ok(mica_ledger_maintain(c.l, NULL, e));
	mica_ledger_close(c.l);
}

static void remove_store(const char *dir)
{
	static const char *const names[] = {"store.lmdb", "store.lmdb-lock", "checkpoint"};
	char path[128];

	for (size_t i = 0; i < MICA_ARRAY_LEN(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		unlink(path);
	}
	assert_int_equal(rmdir(dir), 0);
}

static void crowd(void **state)
{
	char dir[] = "/tmp/mica-crowd-XXXXXX";
	/* The map has to grow under the readers. */
	const struct mica_store_options o = {.map_size = 1 << 21};
	struct mica_store *s = mica_store_mem();

	(void)state;
	crowd_on(s);
	mica_store_close(s);
	assert_non_null(mkdtemp(dir));
	assert_ok(mica_store_create(dir, &o, &s, e));
	crowd_on(s);
	mica_store_close(s);
	remove_store(dir);
}

/* ---- opening ------------------------------------------------------------------------------- */

static void put(struct mica_store *s, enum mica_table t, struct mica_slice key, struct mica_slice v)
{
	struct mica_write w = {t, v.p ? MICA_PUT : MICA_DELETE, key, v};

	assert_ok(mica_store_apply(s, &w, 1, e));
}

static mica_rc check(struct mica_ledger *l, struct mica_err *e)
{
	struct mica_check_report r;

	return mica_ledger_check(l, NULL, &r, e);
}

/* Puts another value there, sees the check fail, puts the old one back. */
static void spoil(struct mica_store *s, struct mica_ledger *l, enum mica_table t,
	struct mica_slice key, size_t at)
{
	MICA_AUTO_BUF v;

	mica_buf_init(&v, 4 << 20);
	assert_ok(mica_store_get(s, t, key, &v, NULL, e));
	assert_true(at < v.len);
	v.p[at] ^= 4;
	put(s, t, key, mica_buf_slice(&v));
	assert_int_equal(check(l, NULL), MICA_CORRUPT);
	v.p[at] ^= 4;
	put(s, t, key, mica_buf_slice(&v));
}

static void check_finds(void **state)
{
	static const uint8_t zero[8], entry[8] = {0, 0, 0, 0, 0, 0, 0x14, 0x10}, tile[9],
				      top[9] = {1}, run[6] = {1, 0}, serials[6] = {3, 0},
				      zone[6] = {4, 0};
	MICA_AUTO_STORE s = mica_store_mem();
	struct mica_ledger *l = fresh(s);

	(void)state;
	fill_ledger(&fill, l, 5200, 256);
	fill_maintain(l);
	assert_ok(check(l, e));
	spoil(s, l, MICA_T_GROUP, mica_slice(zero, 8), 100);
	spoil(s, l, MICA_T_GROUP, mica_slice(zero, 8), 0);
	spoil(s, l, MICA_T_GROUP, mica_slice(zero, 8), 1);
	spoil(s, l, MICA_T_ENTRY, mica_slice(entry, 8), 40); /* 5136 */
	spoil(s, l, MICA_T_TILE, mica_slice(tile, 9), 99);
	spoil(s, l, MICA_T_INDEX, mica_slice(run, 6), 7);
	spoil(s, l, MICA_T_INDEX, mica_slice(serials, 6), 11);
	spoil(s, l, MICA_T_INDEX, mica_slice(zone, 6), 9);
	assert_ok(check(l, e));
	/* the right edge is in memory while it is open: a tile that was spoiled shows at the next
	 * start */
	spoil(s, l, MICA_T_ENTRY, mica_slice(entry, 8), 30);
	{
		MICA_AUTO_BUF v;
		struct mica_ledger *other = NULL;

		mica_buf_init(&v, 1 << 16);
		assert_ok(mica_store_get(s, MICA_T_TILE, mica_slice(top, 9), &v, NULL, e));
		v.p[3] ^= 1;
		put(s, MICA_T_TILE, mica_slice(top, 9), mica_buf_slice(&v));
		assert_refused(
			MICA_CORRUPT, "log_damaged", mica_ledger_open(s, signer, NULL, &other, e));
		put(s, MICA_T_TILE, mica_slice(top, 9), MICA_SLICE_NULL);
		assert_refused(
			MICA_CORRUPT, "log_damaged", mica_ledger_open(s, signer, NULL, &other, e));
		v.p[3] ^= 1;
		put(s, MICA_T_TILE, mica_slice(top, 9), mica_buf_slice(&v));
		put(s, MICA_T_MARK, MICA_LIT("mark"), MICA_LIT("short"));
		assert_refused(
			MICA_CORRUPT, "log_damaged", mica_ledger_open(s, signer, NULL, &other, e));
	}
	mica_ledger_close(l);
}

static void refuses(void **state)
{
	MICA_AUTO_STORE s = mica_store_mem();
	MICA_AUTO_SIGNER stranger = NULL;
	struct mica_note_key key, named;
	struct mica_ledger *l = NULL;

	(void)state;
	assert_ok(mica_signer_generate(MICA_KN_ED25519, &stranger, e));
	assert_refused(MICA_CORRUPT, "log_missing", mica_ledger_open(s, signer, NULL, &l, e));
	assert_ok(mica_ledger_create(s, ORIGIN, signer, 0, e));
	assert_refused(MICA_CONFLICT, "log_exists", mica_ledger_create(s, ORIGIN, signer, 0, e));
	assert_refused(MICA_CORRUPT, "note_unsigned", mica_ledger_open(s, stranger, NULL, &l, e));
	assert_refused(MICA_CORRUPT, "log_key_mismatch", mica_ledger_open(s, NULL, NULL, &l, e));
	assert_ok(mica_note_key_init(&named, MICA_LIT("other"), mica_signer_public(signer), e));
	assert_refused(MICA_CORRUPT, "log_key_mismatch", mica_ledger_open(s, NULL, &named, &l, e));
	assert_ok(mica_note_key_init(&key, MICA_LIT(ORIGIN), mica_signer_public(signer), e));
	assert_ok(mica_ledger_open(s, NULL, &key, &l, e));
	{
		struct mica_slice body = MICA_LIT("x");
		struct mica_change c = {.entries = &body, .n_entries = 1};
		MICA_AUTO_BUF b;

		mica_buf_init(&b, 100);
		assert_refused(MICA_INTERNAL, "log_read_only", mica_ledger_commit(l, &c, 1, 0, e));
		assert_refused(MICA_NOT_FOUND, "no_such_entry", mica_ledger_entry(l, 0, &b, e));
		assert_refused(MICA_NOT_FOUND, "no_such_entry", mica_ledger_receipt(l, 0, &b, e));
	}
	mica_ledger_close(l);
	l = NULL;
	assert_ok(mica_store_set_head(s, MICA_LIT("\2whatever"), e));
	assert_refused(MICA_CORRUPT, "log_damaged", mica_ledger_open(s, signer, NULL, &l, e));
}

/* ---- the checkpoint outside the database --------------------------------------------------- */

static void read_path(const char *path, struct mica_buf *b)
{
	mica_buf_init(b, 64 << 20);
	assert_ok(mica_file_read(path, b, e));
}

static void guard(void **state)
{
	char dir[] = "/tmp/mica-ledger-XXXXXX", db[64], outside[64];
	MICA_AUTO_BUF old_db, old_note, note;
	struct mica_store *s = NULL;
	struct mica_ledger *l = NULL;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(db, sizeof(db), "%s/store.lmdb", dir);
	snprintf(outside, sizeof(outside), "%s/checkpoint", dir);
	assert_ok(mica_store_create(dir, NULL, &s, e));
	l = fresh(s);
	assert_ok(mica_store_complete(s, e));
	fill_ledger(&fill, l, 20, 20);
	mica_ledger_close(l); /* writes it */
	mica_store_close(s);
	read_path(db, &old_db);
	read_path(outside, &old_note);
	assert_ok(mica_store_open(dir, NULL, &s, e));
	assert_ok(mica_ledger_open(s, signer, NULL, &l, e));
	fill_ledger(&fill, l, 45, 20);
	assert_ok(mica_ledger_maintain(l, NULL, e));
	read_path(outside, &note);
	assert_non_null(strstr((char *)note.p, "\n45\n"));
	mica_ledger_close(l);
	mica_store_close(s);
	l = NULL;
	/* an older copy of the database, put back by hand */
	assert_ok(mica_file_write_atomic(db, mica_buf_slice(&old_db), 0600, e));
	assert_ok(mica_store_open(dir, NULL, &s, e));
	assert_refused(
		MICA_CORRUPT, "log_behind_checkpoint", mica_ledger_open(s, signer, NULL, &l, e));
	/* ... and grown into another tree */
	assert_ok(mica_file_write_atomic(outside, mica_buf_slice(&old_note), 0600, e));
	assert_ok(mica_ledger_open(s, signer, NULL, &l, e));
	fill.leaf.p[fill.leaf.len - 1] ^= 1;
	fill_ledger(&fill, l, 50, 20);
	fill.leaf.p[fill.leaf.len - 1] ^= 1;
	mica_ledger_close(l);
	l = NULL;
	assert_ok(mica_file_write_atomic(outside, mica_buf_slice(&note), 0600, e));
	assert_refused(MICA_CORRUPT, "log_forked", mica_ledger_open(s, signer, NULL, &l, e));
	assert_ok(mica_file_write_atomic(outside, MICA_LIT("nonsense"), 0600, e));
	assert_refused(MICA_INVALID, "bad_note", mica_ledger_open(s, signer, NULL, &l, e));
	unlink(outside);
	assert_refused(
		MICA_CORRUPT, "checkpoint_missing", mica_ledger_open(s, signer, NULL, &l, e));
	mica_store_close(s);
	remove_store(dir);
}

static void origins(void **state)
{
	char a[MICA_NOTE_NAME_MAX], b[MICA_NOTE_NAME_MAX];

	(void)state;
	mica_ledger_origin("example.org", a);
	mica_ledger_origin("example.org", b);
	assert_int_equal(strlen(a), strlen("example.org/log/") + 16);
	assert_int_equal(strncmp(a, "example.org/log/", 16), 0);
	assert_string_not_equal(a, b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_size),
		cmocka_unit_test(tiles),
		cmocka_unit_test(lookups),
		cmocka_unit_test(cursors),
		cmocka_unit_test(commits),
		cmocka_unit_test(crowd),
		cmocka_unit_test(check_finds),
		cmocka_unit_test(refuses),
		cmocka_unit_test(guard),
		cmocka_unit_test(origins),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
