/* SPDX-License-Identifier: Apache-2.0 */
/* One suite for every store, and what LMDB's files must withstand. */
#include "pki.h"

#include "mica/file.h"
#include "mica/store.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

struct fix {
	struct mica_store *s;
	char dir[64];
	bool lmdb;
};

static void remove_dir(const char *dir)
{
	static const char *const names[] = {
		"store.lmdb", "store.lmdb-lock", "checkpoint", "other", "x", "copy", "copy.part"};
	char path[160];

	for (size_t i = 0; i < MICA_ARRAY_LEN(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		unlink(path);
	}
	rmdir(dir);
}

static void make_dir(char dir[64])
{
	snprintf(dir, 64, "/tmp/mica-store-XXXXXX");
	assert_non_null(mkdtemp(dir));
}

static int setup_mem(void **state)
{
	struct fix *f = MICA_NEW(struct fix);

	f->s = mica_store_mem();
	*state = f;
	return 0;
}

static int setup_lmdb(void **state)
{
	struct fix *f = MICA_NEW(struct fix);
	const struct mica_store_options o = {.map_size = 1 << 20}; /* it has to grow */

	f->lmdb = true;
	make_dir(f->dir);
	assert_ok(mica_store_create(f->dir, &o, &f->s, e));
	assert_ok(mica_store_complete(f->s, e));
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fix *f = *state;

	mica_store_close(f->s);
	if (f->lmdb)
		remove_dir(f->dir);
	mica_free(f);
	return 0;
}

/* ---- helpers ------------------------------------------------------------------------------- */

#define KEY(t, k)     MICA_T_##t, MICA_LIT(k)
#define PUT(t, k, v)  ((struct mica_write){MICA_T_##t, MICA_PUT, MICA_LIT(k), MICA_LIT(v)})
#define DEL(t, k)     ((struct mica_write){MICA_T_##t, MICA_DELETE, MICA_LIT(k), MICA_SLICE_NULL})
#define READ(t, k, r) ((struct mica_read){MICA_T_##t, MICA_LIT(k), r})
#define WRITES(...)                                                                                \
	.writes = (const struct mica_write[]){__VA_ARGS__},                                        \
	.n_writes = sizeof((const struct mica_write[]){__VA_ARGS__}) / sizeof(struct mica_write)
#define READS(...)                                                                                 \
	.reads = (const struct mica_read[]){__VA_ARGS__},                                          \
	.n_reads = sizeof((const struct mica_read[]){__VA_ARGS__}) / sizeof(struct mica_read)

static uint64_t rev_of(struct mica_store *s, enum mica_table t, struct mica_slice key)
{
	uint64_t rev = 0;
	MICA_AUTO_BUF b;

	mica_buf_init(&b, 1 << 16);
	return mica_store_get(s, t, key, &b, &rev, NULL) == MICA_OK ? rev : 0;
}

static void expect(struct mica_store *s, enum mica_table t, struct mica_slice key, const char *want)
{
	MICA_AUTO_BUF b;
	mica_rc rc;

	mica_buf_init(&b, 1 << 16);
	rc = mica_store_get(s, t, key, &b, NULL, NULL);
	if (!want) {
		assert_int_equal(rc, MICA_NOT_FOUND);
		return;
	}
	assert_int_equal(rc, MICA_OK);
	assert_true(mica_slice_eq_str(mica_buf_slice(&b), want));
}

/* A ledger of sorts: its head is "<size>", entries go under their index. */
struct sealer {
	unsigned calls, fail;
	char head[32], old[32];
	struct mica_write w[4096];
	uint8_t keys[4096][8];
};

static mica_rc seal(void *ctx, struct mica_slice head, const struct mica_slice *bodies, size_t n,
	struct mica_seal_out *out, struct mica_err *e)
{
	struct sealer *s = ctx;
	uint64_t size = 0;

	s->calls++;
	if (s->fail)
		return mica_fail(e, MICA_UNAVAILABLE, "signing_failed", "no key");
	snprintf(s->old, sizeof(s->old), "%.*s", MICA_FMT(head));
	if (head.len > 0)
		assert_int_equal(mica_parse_u64(head, UINT64_MAX, &size), MICA_OK);
	out->first = size;
	for (size_t i = 0; i < n; i++) {
		uint64_t be = __builtin_bswap64(size + i);

		memcpy(s->keys[i], &be, 8);
		s->w[i] = (struct mica_write){
			MICA_T_ENTRY, MICA_PUT, mica_slice(s->keys[i], 8), bodies[i]};
	}
	snprintf(s->head, sizeof(s->head), "%llu", (unsigned long long)(size + n));
	out->head = mica_slice_str(s->head);
	out->writes = s->w;
	out->n_writes = n;
	return MICA_OK;
}

static struct sealer sealer;
static const struct mica_seal with = {seal, &sealer};

static struct mica_slice be64(uint64_t v)
{
	static uint8_t b[8];

	v = __builtin_bswap64(v);
	memcpy(b, &v, 8);
	return mica_slice(b, 8);
}

/* ---- the suite ----------------------------------------------------------------------------- */

static void put_get_delete(void **state)
{
	struct mica_store *s = ((struct fix *)*state)->s;
	struct mica_change c = {
		WRITES(PUT(META, "a", "1"), PUT(KEY, "a", "2"), PUT(META, "b", ""))};
	uint64_t rev;

	expect(s, KEY(META, "a"), NULL);
	assert_ok(mica_store_commit(s, &c, 1, NULL, e));
	assert_int_equal(c.rc, MICA_OK);
	expect(s, KEY(META, "a"), "1");
	expect(s, KEY(KEY, "a"), "2"); /* tables do not mix */
	expect(s, KEY(META, "b"), "");
	rev = rev_of(s, KEY(META, "a"));
	assert_true(rev > 0);
	c = (struct mica_change){WRITES(DEL(META, "a"), DEL(META, "absent"), PUT(META, "b", "3"))};
	assert_ok(mica_store_commit(s, &c, 1, NULL, e));
	expect(s, KEY(META, "a"), NULL);
	expect(s, KEY(META, "b"), "3");
	assert_true(rev_of(s, KEY(META, "b")) > rev);
	/* what comes back after a deletion does not look like the old one */
	c = (struct mica_change){WRITES(PUT(META, "a", "1"))};
	assert_ok(mica_store_commit(s, &c, 1, NULL, e));
	assert_true(rev_of(s, KEY(META, "a")) > rev);
}

static void conflicts(void **state)
{
	struct mica_store *s = ((struct fix *)*state)->s;
	struct mica_change first = {READS(READ(META, "x", 0)), WRITES(PUT(META, "x", "1"))};
	struct mica_slice body = MICA_LIT("body"), body2 = MICA_LIT("body2");
	uint64_t rev;

	sealer = (struct sealer){0};
	assert_ok(mica_store_commit(s, &first, 1, NULL, e));
	assert_int_equal(first.rc, MICA_OK);
	/* it is there now */
	assert_ok(mica_store_commit(s, &first, 1, NULL, e));
	assert_int_equal(first.rc, MICA_CONFLICT);
	rev = rev_of(s, KEY(META, "x"));
	{
		/* The second of a batch sees what the first wrote; the third read something else;
		 * the fourth reads what is absent. */
		struct mica_change batch[] = {
			{READS(READ(META, "x", rev)), WRITES(PUT(META, "x", "2")), .entries = &body,
				.n_entries = 1},
			{READS(READ(META, "x", rev)), WRITES(PUT(META, "y", "lost")),
				.entries = &body, .n_entries = 1},
			{READS(READ(META, "z", 0)), WRITES(PUT(META, "z", "3")), .entries = &body2,
				.n_entries = 1},
			{READS(READ(META, "nothing", 7)), WRITES(PUT(META, "w", "lost"))},
		};

		assert_ok(mica_store_commit(s, batch, 4, &with, e));
		assert_int_equal(batch[0].rc, MICA_OK);
		assert_int_equal(batch[1].rc, MICA_CONFLICT);
		assert_int_equal(batch[2].rc, MICA_OK);
		assert_int_equal(batch[3].rc, MICA_CONFLICT);
		assert_int_equal(batch[0].index, 0);
		assert_int_equal(batch[2].index, 1);
	}
	expect(s, KEY(META, "x"), "2");
	expect(s, KEY(META, "y"), NULL);
	expect(s, KEY(META, "w"), NULL);
	expect(s, MICA_T_ENTRY, be64(1), "body2");
	expect(s, MICA_T_ENTRY, be64(2), NULL);
	/* nothing but conflicts: nothing is written, the ledger is not asked */
	sealer.calls = 0;
	first.entries = &body;
	first.n_entries = 1;
	assert_ok(mica_store_commit(s, &first, 1, &with, e));
	assert_int_equal(first.rc, MICA_CONFLICT);
	assert_int_equal(sealer.calls, 0);
}

static void heads(void **state)
{
	struct mica_store *s = ((struct fix *)*state)->s;
	struct mica_slice bodies[] = {MICA_LIT("a"), MICA_LIT("b"), MICA_LIT("c")};
	struct mica_change c[2] = {
		{.entries = bodies, .n_entries = 2}, {.entries = bodies, .n_entries = 3}};
	struct mica_change plain = {WRITES(PUT(META, "a", "1"))};
	MICA_AUTO_BUF head;

	sealer = (struct sealer){0};
	mica_buf_init(&head, 100);
	assert_refused(MICA_NOT_FOUND, "no_such_record", mica_store_head(s, &head, e));
	assert_ok(mica_store_commit(s, &plain, 1, NULL, e));
	assert_refused(MICA_NOT_FOUND, "no_such_record", mica_store_head(s, &head, e));
	assert_ok(mica_store_commit(s, c, 2, &with, e));
	assert_string_equal(sealer.old, "");
	assert_int_equal(c[1].index, 2);
	assert_ok(mica_store_head(s, &head, e));
	assert_string_equal((char *)head.p, "5");
	assert_ok(mica_store_commit(s, &plain, 1, &with, e)); /* no entry: the head stays */
	assert_int_equal(sealer.calls, 1);
	/* a sealer that fails undoes everything */
	sealer.fail = 1;
	c[0].writes = (const struct mica_write[]){PUT(META, "a", "2")};
	c[0].n_writes = 1;
	assert_refused(MICA_UNAVAILABLE, "signing_failed", mica_store_commit(s, c, 2, &with, e));
	expect(s, KEY(META, "a"), "1");
	assert_ok(mica_store_head(s, &head, e));
	assert_string_equal((char *)head.p, "5");
	sealer.fail = 0;
	assert_ok(mica_store_commit(s, c, 1, &with, e));
	assert_int_equal(c[0].index, 5);
	assert_ok(mica_store_set_head(s, MICA_LIT("9"), e));
	assert_ok(mica_store_head(s, &head, e));
	assert_string_equal((char *)head.p, "9");
}

static void raise_to(struct mica_store *s, uint64_t v)
{
	uint8_t b[8];
	struct mica_write w = {MICA_T_COUNTER, MICA_MAX, MICA_LIT("n"), {b, 8}};
	struct mica_change c = {.writes = &w, .n_writes = 1};

	memcpy(b, be64(v).p, 8);
	assert_ok(mica_store_commit(s, &c, 1, NULL, e));
	assert_int_equal(c.rc, MICA_OK);
}

static void maxima(void **state)
{
	struct mica_store *s = ((struct fix *)*state)->s;
	static const uint64_t in[] = {5, 3, 5, 300, 299, UINT64_MAX, 0},
			      out[] = {5, 5, 5, 300, 300, UINT64_MAX, UINT64_MAX};

	for (size_t i = 0; i < MICA_ARRAY_LEN(in); i++) {
		MICA_AUTO_BUF b;

		raise_to(s, in[i]);
		mica_buf_init(&b, 8);
		assert_ok(mica_store_get(s, KEY(COUNTER, "n"), &b, NULL, e));
		assert_memory_equal(b.p, be64(out[i]).p, 8);
	}
	{
		struct mica_write w = {MICA_T_COUNTER, MICA_MAX, MICA_LIT("n"), MICA_LIT("123")};
		struct mica_change c = {.writes = &w, .n_writes = 1};

		assert_refused(
			MICA_INTERNAL, "store_argument", mica_store_commit(s, &c, 1, NULL, e));
	}
}

struct listed {
	char text[256];
	unsigned stop_after, n;
};

static bool list_fn(void *ctx, struct mica_slice key, struct mica_slice value, uint64_t rev)
{
	struct listed *l = ctx;
	size_t at = strlen(l->text);

	assert_true(rev > 0);
	snprintf(l->text + at, sizeof(l->text) - at, "%.*s=%.*s ", MICA_FMT(key), MICA_FMT(value));
	return ++l->n != l->stop_after;
}

static void list_is(struct mica_store *s, const char *prefix, const char *after, bool reverse,
	unsigned limit, const char *want)
{
	struct mica_scan scan = {
		MICA_T_DENY, mica_slice_str(prefix), mica_slice_str(after), reverse, limit};
	struct listed l = {0};

	assert_ok(mica_store_list(s, &scan, list_fn, &l, e));
	assert_string_equal(l.text, want);
}

static void lists(void **state)
{
	struct mica_store *s = ((struct fix *)*state)->s;
	struct mica_change c = {WRITES(PUT(DENY, "b2", "2"), PUT(DENY, "a", "0"),
		PUT(DENY, "b1", "1"), PUT(DENY, "b", "x"), PUT(DENY, "c", "9"),
		PUT(META, "b3", "n"), PUT(JWKS, "a", "n"), PUT(DENY, "\xff\xff", "f"))};

	list_is(s, "", "", false, 0, "");
	list_is(s, "", "", true, 0, "");
	assert_ok(mica_store_commit(s, &c, 1, NULL, e));
	list_is(s, "", "", false, 0, "a=0 b=x b1=1 b2=2 c=9 \xff\xff=f ");
	list_is(s, "", "", true, 0, "\xff\xff=f c=9 b2=2 b1=1 b=x a=0 ");
	list_is(s, "b", "", false, 0, "b=x b1=1 b2=2 ");
	list_is(s, "b", "", true, 0, "b2=2 b1=1 b=x ");
	list_is(s, "b", "b1", false, 0, "b2=2 ");
	list_is(s, "b", "b1", true, 0, "b=x ");
	list_is(s, "b", "b", true, 0, "");
	list_is(s, "", "b1", false, 1, "b2=2 ");
	list_is(s, "", "bb", false, 2, "c=9 \xff\xff=f ");
	list_is(s, "\xff", "", true, 0, "\xff\xff=f ");
	list_is(s, "zz", "", false, 0, "");
	{
		struct mica_scan scan = {.table = MICA_T_DENY};
		struct listed l = {.stop_after = 2};

		assert_ok(mica_store_list(s, &scan, list_fn, &l, e));
		assert_int_equal(l.n, 2);
	}
}

static void derived(void **state)
{
	struct mica_store *s = ((struct fix *)*state)->s;
	struct mica_write w[] = {
		PUT(GROUP, "g", "1"), PUT(INDEX, "i", "2"), PUT(GROUP, "g", "3"), DEL(INDEX, "i")};
	struct mica_write record = PUT(META, "a", "1");
	struct mica_change c = {WRITES(PUT(GROUP, "g", "no"))};

	assert_ok(mica_store_apply(s, w, 4, e));
	expect(s, KEY(GROUP, "g"), "3");
	expect(s, KEY(INDEX, "i"), NULL);
	assert_refused(MICA_INTERNAL, "store_argument", mica_store_apply(s, &record, 1, e));
	assert_refused(MICA_INTERNAL, "store_argument", mica_store_commit(s, &c, 1, NULL, e));
}

static void arguments(void **state)
{
	struct mica_store *s = ((struct fix *)*state)->s;
	static uint8_t big[MICA_STORE_KEY_MAX + 1];
	struct mica_slice body = MICA_LIT("b");
	struct mica_write w = {MICA_T_META, MICA_PUT, {big, sizeof(big)}, MICA_LIT("v")};
	struct mica_change c = {.writes = &w, .n_writes = 1};

	assert_refused(MICA_INTERNAL, "store_argument", mica_store_commit(s, &c, 1, NULL, e));
	w.key.len = 0;
	assert_refused(MICA_INTERNAL, "store_argument", mica_store_commit(s, &c, 1, NULL, e));
	w.key.len = MICA_STORE_KEY_MAX;
	assert_ok(mica_store_commit(s, &c, 1, NULL, e));
	w.table = MICA_T_RECORD_END;
	assert_refused(MICA_INTERNAL, "store_argument", mica_store_commit(s, &c, 1, NULL, e));
	c = (struct mica_change){.entries = &body, .n_entries = 1};
	assert_refused(MICA_INTERNAL, "store_argument", mica_store_commit(s, &c, 1, NULL, e));
}

static void faults(void **state)
{
	struct mica_store *s = ((struct fix *)*state)->s;
	struct mica_change c = {WRITES(PUT(META, "a", "1"))};

	mica_store_set_fault(s, MICA_FAULT_FULL, 1);
	assert_ok(mica_store_commit(s, &c, 1, NULL, e));
	assert_refused(MICA_UNAVAILABLE, "disk_full", mica_store_commit(s, &c, 1, NULL, e));
	assert_ok(mica_store_commit(s, &c, 1, NULL, e));
	mica_store_set_fault(s, MICA_FAULT_UNKNOWN, 0);
	assert_refused(MICA_INTERNAL, "commit_failed", mica_store_commit(s, &c, 1, NULL, e));
	assert_refused(MICA_INTERNAL, "store_failed", mica_store_commit(s, &c, 1, NULL, e));
}

/* Values of many sizes, until the first map is many times too small. */
static void grows(void **state)
{
	struct mica_store *s = ((struct fix *)*state)->s;
	static char value[50000];
	char key[16];

	memset(value, 'v', sizeof(value));
	for (int i = 0; i < 200; i++) {
		struct mica_write w = {MICA_T_SNAPSHOT, MICA_PUT, MICA_SLICE_NULL,
			mica_slice(value, (size_t)i * 250)};
		struct mica_change c = {.writes = &w, .n_writes = 1};

		snprintf(key, sizeof(key), "k%d", i);
		w.key = mica_slice_str(key);
		assert_ok(mica_store_commit(s, &c, 1, NULL, e));
	}
	for (int i = 0; i < 200; i++) {
		MICA_AUTO_BUF b;

		snprintf(key, sizeof(key), "k%d", i);
		mica_buf_init(&b, 1 << 16);
		assert_ok(mica_store_get(s, MICA_T_SNAPSHOT, mica_slice_str(key), &b, NULL, e));
		assert_int_equal(b.len, (size_t)i * 250);
	}
}

/* The commit itself needs pages, for the list of free ones: the map may be full only then. Where
 * that happens depends on sizes, so many are tried; each store ends with what was written. */
static void full_at_the_commit(void **state)
{
	static char value[40000];

	(void)state;
	memset(value, 'v', sizeof(value));
	for (size_t size = 4000; size < sizeof(value); size += 1500) {
		struct fix *f = NULL;

		assert_int_equal(setup_lmdb((void **)&f), 0);
		for (unsigned i = 0; i < 1500000 / size; i++) {
			struct mica_write w[3];
			char keys[3][16];

			for (unsigned j = 0; j < 3; j++) {
				snprintf(
					keys[j], sizeof(keys[j]), "k%u", j < 2 ? 2 * i + j : i / 2);
				w[j] = (struct mica_write){MICA_T_SNAPSHOT,
					j < 2 ? MICA_PUT : MICA_DELETE, mica_slice_str(keys[j]),
					mica_slice(value, j < 2 ? size / (j + 1) : 0)};
			}
			assert_ok(mica_store_commit(f->s,
				&(struct mica_change){.writes = w, .n_writes = 3}, 1, NULL, e));
			expect(f->s, MICA_T_SNAPSHOT, w[2].key, NULL);
		}
		assert_int_equal(teardown((void **)&f), 0);
	}
}

struct reader {
	struct mica_store *s;
	bool stop;
	unsigned reads;
};

/* Two records are written together: no reader may see one without the other. */
static bool pair_fn(void *ctx, struct mica_slice key, struct mica_slice value, uint64_t rev)
{
	uint64_t *revs = ctx;

	(void)value;
	revs[key.p[0] == 'q'] = rev;
	return true;
}

static void *read_pairs(void *arg)
{
	struct reader *r = arg;

	while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED)) {
		struct mica_scan scan = {.table = MICA_T_POLICY};
		uint64_t revs[2] = {0, 0};

		if (mica_store_list(r->s, &scan, pair_fn, revs, NULL) != MICA_OK ||
			revs[0] != revs[1])
			return (void *)1;
		r->reads++;
	}
	return NULL;
}

static void isolated(void **state)
{
	struct reader r = {.s = ((struct fix *)*state)->s};
	struct mica_change c = {WRITES(PUT(POLICY, "p", "1"), PUT(POLICY, "q", "1"))};
	pthread_t t;
	void *bad;

	assert_int_equal(pthread_create(&t, NULL, read_pairs, &r), 0);
	for (int i = 0; i < 100; i++)
		assert_ok(mica_store_commit(r.s, &c, 1, NULL, e));
	__atomic_store_n(&r.stop, true, __ATOMIC_RELAXED);
	pthread_join(t, &bad);
	assert_null(bad);
}

/* ---- LMDB's files -------------------------------------------------------------------------- */

static void reopens(void **state)
{
	struct fix *f = *state;
	struct mica_change c = {WRITES(PUT(META, "a", "1"))};
	struct mica_store_space space;
	struct mica_store *other;
	uint64_t rev;

	assert_ok(mica_store_commit(f->s, &c, 1, NULL, e));
	rev = rev_of(f->s, KEY(META, "a"));
	assert_refused(MICA_CONFLICT, "store_locked", mica_store_open(f->dir, NULL, &other, e));
	assert_refused(MICA_CONFLICT, "store_exists", mica_store_create(f->dir, NULL, &other, e));
	assert_ok(mica_store_space(f->s, &space, e));
	assert_true(space.store_bytes > 8192 && space.disk_bytes >= space.disk_free);
	mica_store_close(f->s);
	assert_ok(mica_store_open(f->dir, NULL, &f->s, e));
	expect(f->s, KEY(META, "a"), "1");
	assert_int_equal(rev_of(f->s, KEY(META, "a")), rev);
	assert_string_equal(mica_store_dir(f->s), f->dir);
}

static void path_of(const struct fix *f, const char *name, char out[128])
{
	snprintf(out, 128, "%s/%s", f->dir, name);
}

static void file_of(const struct fix *f, struct mica_buf *out)
{
	char path[128];

	path_of(f, "store.lmdb", path);
	mica_buf_init(out, 64 << 20);
	assert_ok(mica_file_read(path, out, e));
}

/* Refused, and every octet of the file is as it was. */
static void refuses(struct fix *f, mica_rc rc, const char *reason)
{
	MICA_AUTO_BUF before, after;

	file_of(f, &before);
	f->s = NULL;
	assert_refused(rc, reason, mica_store_open(f->dir, NULL, &f->s, e));
	file_of(f, &after);
	assert_true(mica_slice_eq(mica_buf_slice(&before), mica_buf_slice(&after)));
}

/* Changes the record of the format by means of LMDB itself. */
static void write_format(struct fix *f, const void *p, size_t len)
{
	char path[128];
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;
	MDB_val k = {2, (char[]){0, 'f'}}, v = {len, (void *)(uintptr_t)p};

	path_of(f, "store.lmdb", path);
	assert_int_equal(mdb_env_create(&env), 0);
	mdb_env_set_maxdbs(env, 8);
	assert_int_equal(mdb_env_open(env, path, MDB_NOSUBDIR, 0600), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
	assert_int_equal(mdb_dbi_open(txn, "record", 0, &dbi), 0);
	assert_int_equal(mdb_put(txn, dbi, &k, &v, 0), 0);
	assert_int_equal(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
}

static void refuses_formats(void **state)
{
	struct fix *f = *state;

	mica_store_close(f->s);
	write_format(f, "MICA\0\0\0\2\1", 9);
	refuses(f, MICA_CORRUPT, "store_newer");
	write_format(f, "MICA\0\0\0\1\0", 9);
	refuses(f, MICA_CORRUPT, "store_partial");
	write_format(f, "ACIM\0\0\0\1\1", 9);
	refuses(f, MICA_CORRUPT, "store_foreign");
	write_format(f, "MICA", 4);
	refuses(f, MICA_CORRUPT, "store_foreign");
	write_format(f, "MICA\0\0\0\1\1", 9);
	assert_ok(mica_store_open(f->dir, NULL, &f->s, e));
}

static void spoil(struct fix *f, off_t at, const void *p, size_t len)
{
	char path[128];
	MICA_AUTO_FD int fd = -1;

	path_of(f, "store.lmdb", path);
	fd = open(path, O_WRONLY);
	assert_true(fd >= 0);
	if (p)
		assert_int_equal(pwrite(fd, p, len, at), (ssize_t)len);
	else
		assert_int_equal(ftruncate(fd, at), 0);
}

static void refuses_files(void **state)
{
	struct fix *f = *state;
	MICA_AUTO_BUF whole;
	char path[128];

	mica_store_close(f->s);
	f->s = NULL;
	file_of(f, &whole);
	path_of(f, "store.lmdb", path);
	spoil(f, 3 * 4096, NULL, 0);
	refuses(f, MICA_CORRUPT, "store_truncated");
	spoil(f, 100, NULL, 0);
	refuses(f, MICA_CORRUPT, "store_foreign");
	spoil(f, 0, NULL, 0);
	refuses(f, MICA_CORRUPT, "store_foreign");
	assert_ok(mica_file_write_atomic(path, MICA_LIT("SQLite format 3, or whatever"), 0600, e));
	refuses(f, MICA_CORRUPT, "store_foreign");
	assert_ok(mica_file_write_atomic(path, mica_buf_slice(&whole), 0600, e));
	assert_int_equal(chmod(path, 0640), 0);
	refuses(f, MICA_DENIED, "store_exposed");
	assert_int_equal(chmod(path, 0600), 0);
	assert_int_equal(chmod(f->dir, 0755), 0);
	refuses(f, MICA_DENIED, "store_exposed");
	assert_int_equal(chmod(f->dir, 0700), 0);
	assert_ok(mica_store_check_file(path, NULL, e));
	assert_ok(mica_store_open(f->dir, NULL, &f->s, e));
}

static void refuses_directories(void **state)
{
	struct fix *f = *state;
	char dir[64], path[160];
	struct mica_store *s = NULL;
	struct stat st;

	(void)f;
	make_dir(dir);
	assert_refused(MICA_NOT_FOUND, "store_missing", mica_store_open(dir, NULL, &s, e));
	snprintf(path, sizeof(path), "%s/x", dir);
	assert_refused(MICA_NOT_FOUND, "store_missing", mica_store_open(path, NULL, &s, e));
	snprintf(path, sizeof(path), "%s/other", dir);
	assert_ok(mica_file_write_atomic(path, MICA_LIT("x"), 0600, e));
	assert_refused(MICA_CORRUPT, "store_foreign", mica_store_open(dir, NULL, &s, e));
	assert_refused(MICA_CONFLICT, "directory_not_empty", mica_store_create(dir, NULL, &s, e));
	snprintf(path, sizeof(path), "%s/checkpoint", dir);
	assert_ok(mica_file_write_atomic(path, MICA_LIT("x"), 0600, e));
	assert_refused(MICA_CORRUPT, "store_partial", mica_store_open(dir, NULL, &s, e));
	remove_dir(dir);
	/* made with the directory, for us alone */
	assert_ok(mica_store_create(dir, NULL, &s, e));
	assert_int_equal(stat(dir, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	snprintf(path, sizeof(path), "%s/store.lmdb", dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	mica_store_close(s);
	s = NULL;
	assert_refused(MICA_CORRUPT, "store_partial", mica_store_open(dir, NULL, &s, e));
	remove_dir(dir);
}

/* A child may not make files longer than this: what a full disk looks like. */
static int fill_disk(const char *dir)
{
	static char value[20000];
	struct mica_write w = {
		MICA_T_SNAPSHOT, MICA_PUT, MICA_SLICE_NULL, {(uint8_t *)value, sizeof(value)}};
	struct mica_change c = {.writes = &w, .n_writes = 1};
	struct rlimit lim = {3 << 20, RLIM_INFINITY};
	struct mica_store *s;
	mica_rc rc = MICA_OK;
	char key[16];
	int i;

	signal(SIGXFSZ, SIG_IGN);
	if (setrlimit(RLIMIT_FSIZE, &lim) != 0 || mica_store_open(dir, NULL, &s, NULL) != MICA_OK)
		return 10;
	for (i = 0; i < 1000 && rc == MICA_OK; i++) {
		struct mica_err e = MICA_ERR_INIT;

		snprintf(key, sizeof(key), "k%d", i);
		w.key = mica_slice_str(key);
		rc = mica_store_commit(s, &c, 1, NULL, &e);
		if (rc != MICA_OK && (rc != MICA_UNAVAILABLE || strcmp(e.reason, "disk_full") != 0))
			return 11;
	}
	if (rc == MICA_OK || i < 50)
		return 12;
	/* Reading goes on; and when there is space, so does writing. */
	{
		MICA_AUTO_BUF b;

		mica_buf_init(&b, 1 << 16);
		if (mica_store_get(s, MICA_T_SNAPSHOT, w.key, &b, NULL, NULL) != MICA_NOT_FOUND ||
			mica_store_get(s, MICA_T_SNAPSHOT, MICA_LIT("k0"), &b, NULL, NULL) !=
				MICA_OK)
			return 13;
	}
	lim.rlim_cur = RLIM_INFINITY;
	if (setrlimit(RLIMIT_FSIZE, &lim) != 0 ||
		mica_store_commit(s, &c, 1, NULL, NULL) != MICA_OK)
		return 14;
	mica_store_close(s);
	return 0;
}

static void full_disk(void **state)
{
	struct fix *f = *state;
	char path[128];
	int status;
	pid_t pid;

	mica_store_close(f->s);
	f->s = NULL;
	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(fill_disk(f->dir));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	path_of(f, "store.lmdb", path);
	assert_ok(mica_store_check_file(path, NULL, e));
	assert_ok(mica_store_open(f->dir, NULL, &f->s, e));
}

static void copies(void **state)
{
	struct fix *f = *state;
	struct mica_change c = {WRITES(PUT(META, "a", "1"), PUT(KEY, "k", "2"))};
	struct mica_store *s = NULL;
	char path[128], dir[64];

	assert_ok(mica_store_commit(f->s, &c, 1, NULL, e));
	path_of(f, "copy", path);
	assert_ok(mica_store_copy(f->s, path, NULL, e));
	assert_refused(MICA_CONFLICT, "exists_already", mica_store_copy(f->s, path, NULL, e));
	assert_ok(mica_store_check_file(path, NULL, e));
	make_dir(dir);
	assert_ok(mica_store_create_from(path, dir, NULL, &s, e));
	expect(s, KEY(META, "a"), "1");
	mica_store_close(s);
	s = NULL;
	assert_refused(MICA_CORRUPT, "store_partial", mica_store_open(dir, NULL, &s, e));
	assert_refused(
		MICA_CONFLICT, "store_exists", mica_store_create_from(path, dir, NULL, &s, e));
	remove_dir(dir);
	assert_ok(mica_store_create_from(path, dir, NULL, &s, e));
	assert_ok(mica_store_complete(s, e));
	mica_store_close(s);
	assert_ok(mica_store_open(dir, NULL, &s, e));
	expect(s, KEY(KEY, "k"), "2");
	assert_int_equal(rev_of(s, KEY(KEY, "k")), rev_of(f->s, KEY(KEY, "k")));
	mica_store_close(s);
	remove_dir(dir);
}

/* The walk over all pages finds what was changed in the structure of the file. */
static void walk_finds_damage(void **state)
{
	struct fix *f = *state;
	unsigned found = 0, tries = 0;
	MICA_AUTO_BUF whole;
	char path[128];

	grows(state);
	mica_store_close(f->s);
	f->s = NULL;
	file_of(f, &whole);
	path_of(f, "store.lmdb", path);
	assert_ok(mica_store_check_file(path, NULL, e));
	/* heads of pages: number, kind, bounds */
	for (off_t page = 2; page < 300; page += 7)
		for (int at = 0; at < 16; at += 5) {
			uint8_t v = (uint8_t)(whole.p[page * 4096 + at] ^ 0x41);

			spoil(f, page * 4096 + at, &v, 1);
			tries++;
			found += mica_store_check_file(path, NULL, NULL) != MICA_OK;
			v ^= 0x41;
			spoil(f, page * 4096 + at, &v, 1);
		}
	assert_ok(mica_store_check_file(path, NULL, e));
	/* free pages and the inside of large values are no structure */
	assert_true(found > 10 && tries > 100);
}

#define both(t)                                                                                    \
	cmocka_unit_test_setup_teardown(t, setup_mem, teardown),                                   \
	{                                                                                          \
#t " (lmdb)", t, setup_lmdb, teardown, NULL                                        \
	}
#define lmdb_only(t) cmocka_unit_test_setup_teardown(t, setup_lmdb, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		both(put_get_delete),
		both(conflicts),
		both(heads),
		both(maxima),
		both(lists),
		both(derived),
		both(arguments),
		both(faults),
		both(grows),
		cmocka_unit_test(full_at_the_commit),
		both(isolated),
		lmdb_only(reopens),
		lmdb_only(refuses_formats),
		lmdb_only(refuses_files),
		lmdb_only(refuses_directories),
		lmdb_only(full_disk),
		lmdb_only(copies),
		lmdb_only(walk_finds_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
