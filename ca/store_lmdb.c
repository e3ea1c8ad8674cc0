/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store on LMDB, in one directory:
 *
 *	store.lmdb	 the data; record keys begin with their table, values with their revision
 *	store.lmdb-lock	 LMDB's readers
 *	checkpoint	 the ledger's, outside the database
 *
 * The directory itself is locked (flock) while it is open. A commit is durable when LMDB has
 *written the pages, synced them, and written its meta page on a descriptor with O_DSYNC: no flag
 *that weakens this is ever set (but in the control of the durability test).
 *
 * Space is allocated ahead, so that a full disk shows before a commit begins, a sync has no file
 *size to write, and the file always holds every page that the meta page counts: a shorter file was
 *truncated.
 */
#define _GNU_SOURCE /* fallocate */
#include "store_impl.h"

#include "mica/file.h"

#include <errno.h>
#include <dirent.h>
#include <fcntl.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define FILE_NAME    "store.lmdb"
#define FORMAT       1
#define DEFAULT_MAP  ((uint64_t)1 << 40)
#define SMALLEST_MAP ((uint64_t)1 << 30) /* where the address space is limited */
#define CHUNK_MIN    ((uint64_t)1 << 20)
#define CHUNK_MAX    ((uint64_t)64 << 20)
#define CACHED_TXNS  16

/* Keys of our own in the table of records: table 0. */
static const uint8_t key_format[] = {0, 'f'}, key_head[] = {0, 'h'};

enum db { DB_RECORD, DB_ENTRY, DB_GROUP, DB_TILE, DB_INDEX, DB_MARK, DB_COUNT };
static const char *const db_names[DB_COUNT] = {"record", "entry", "group", "tile", "index", "mark"};

struct lmdb {
	struct mica_store base;
	char *path;
	int dir_fd, file_fd; /* file_fd is LMDB's own */
	bool born; /* made here and not complete: what is in the directory is ours */
	bool undo; /* then: it goes with us */
	MDB_env *env;
	MDB_dbi dbi[DB_COUNT];
	unsigned page;
	uint64_t map_size, allocated; /* octets of the file */
	/* Readers hold it while they read; who changes the map holds it alone. */
	pthread_rwlock_t map_lock;
	pthread_mutex_t writing, cache_lock;
	MDB_txn *cached[CACHED_TXNS]; /* reset read transactions */
	unsigned n_cached;
};

/* ---- errors -------------------------------------------------------------------------------- */

static mica_rc lmdb_fail(struct mica_err *e, const char *what, int code)
{
	if (code == MDB_READERS_FULL)
		return mica_fail(
			e, MICA_UNAVAILABLE, "store_busy", "too many readers of the store");
	if (code == ENOSPC || code == EDQUOT || code == EFBIG)
		return mica_fail_fine(e, MICA_UNAVAILABLE, "disk_full",
			"no space left, try again later", "disk_full", "%s: %s", what,
			mdb_strerror(code));
	if (code == MDB_CORRUPTED || code == MDB_PAGE_NOTFOUND || code == MDB_INVALID ||
		code == MDB_VERSION_MISMATCH)
		return mica_fail_fine(e, MICA_CORRUPT, "store_damaged", "the store is damaged",
			"store_damaged", "%s: %s", what, mdb_strerror(code));
	return mica_fail_fine(e, MICA_INTERNAL, "store_failed", "the store is not available",
		"store_failed", "%s: %s", what, mdb_strerror(code));
}

/* ---- reading ------------------------------------------------------------------------------- */

static enum db db_of(enum mica_table t)
{
	return mica_table_is_record(t) ? DB_RECORD
				       : (enum db)(DB_ENTRY + (int)t - (int)MICA_T_ENTRY);
}

/* LMDB's key of (table, key), built in `room`. */
static MDB_val db_key(
	enum mica_table t, struct mica_slice key, uint8_t room[1 + MICA_STORE_KEY_MAX])
{
	if (!mica_table_is_record(t))
		return (MDB_val){key.len, key.p ? (void *)(uintptr_t)key.p : room};
	room[0] = (uint8_t)t;
	if (key.len > 0)
		memcpy(room + 1, key.p, key.len);
	return (MDB_val){1 + key.len, room};
}

static uint64_t be64(const void *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return __builtin_bswap64(v);
}

/* What is stored in a value: records have their revision in front. */
static bool split_value(
	enum mica_table t, const MDB_val *v, struct mica_slice *value, uint64_t *rev)
{
	*value = mica_slice(v->mv_data, v->mv_size);
	*rev = 1;
	if (!mica_table_is_record(t))
		return true;
	if (v->mv_size < 8)
		return false;
	*rev = be64(v->mv_data);
	*value = mica_slice_sub(*value, 8, value->len);
	return true;
}

static mica_rc read_begin(struct lmdb *l, MDB_txn **txn, struct mica_err *e)
{
	int code;

	pthread_rwlock_rdlock(&l->map_lock);
	pthread_mutex_lock(&l->cache_lock);
	*txn = l->n_cached > 0 ? l->cached[--l->n_cached] : NULL;
	pthread_mutex_unlock(&l->cache_lock);
	code = *txn ? mdb_txn_renew(*txn) : mdb_txn_begin(l->env, NULL, MDB_RDONLY, txn);
	if (code == 0)
		return MICA_OK;
	pthread_rwlock_unlock(&l->map_lock);
	return lmdb_fail(e, "begin reading", code);
}

static void read_end(struct lmdb *l, MDB_txn *txn)
{
	mdb_txn_reset(txn);
	pthread_mutex_lock(&l->cache_lock);
	if (l->n_cached < CACHED_TXNS) {
		l->cached[l->n_cached++] = txn;
		txn = NULL;
	}
	pthread_mutex_unlock(&l->cache_lock);
	if (txn)
		mdb_txn_abort(txn);
	pthread_rwlock_unlock(&l->map_lock);
}

static mica_rc damaged(struct mica_err *e)
{
	return lmdb_fail(e, "a record is too short", MDB_CORRUPTED);
}

static mica_rc lmdb_view(struct mica_store *s, enum mica_table t, struct mica_slice key,
	mica_store_view_fn *fn, void *ctx, struct mica_err *e)
{
	struct lmdb *l = (struct lmdb *)s;
	uint8_t room[1 + MICA_STORE_KEY_MAX];
	MDB_val k = db_key(t, key, room), v;
	struct mica_slice value;
	MDB_txn *txn;
	uint64_t rev;
	mica_rc rc = read_begin(l, &txn, e);
	int code;

	if (rc != MICA_OK)
		return rc;
	code = mdb_get(txn, l->dbi[db_of(t)], &k, &v);
	if (code == MDB_NOTFOUND)
		rc = mica_fail(e, MICA_NOT_FOUND, "no_such_record", "there is no such record");
	else if (code != 0)
		rc = lmdb_fail(e, "read", code);
	else
		rc = split_value(t, &v, &value, &rev) ? fn(ctx, value, rev, e) : damaged(e);
	read_end(l, txn);
	return rc;
}

/* Puts the cursor on the first key to show. */
static int scan_start(MDB_cursor *c, const struct mica_scan *scan, MDB_val prefix, MDB_val after,
	MDB_val *k, MDB_val *v)
{
	uint8_t end[1 + MICA_STORE_KEY_MAX];
	size_t len = prefix.mv_size;
	int code;

	if (!scan->reverse) {
		MDB_val want = scan->after.len > 0 ? after : prefix;

		*k = want;
		code = want.mv_size > 0 ? mdb_cursor_get(c, k, v, MDB_SET_RANGE)
					: mdb_cursor_get(c, k, v, MDB_FIRST);
		if (code == 0 && scan->after.len > 0 && k->mv_size == want.mv_size &&
			memcmp(k->mv_data, want.mv_data, want.mv_size) == 0)
			code = mdb_cursor_get(c, k, v, MDB_NEXT);
		return code;
	}
	if (scan->after.len > 0) {
		*k = after;
	} else {
		/* The first key behind all that have the prefix. */
		memcpy(end, prefix.mv_data, len);
		while (len > 0 && end[len - 1] == 0xff)
			len--;
		if (len == 0)
			return mdb_cursor_get(c, k, v, MDB_LAST);
		end[len - 1]++;
		*k = (MDB_val){len, end};
	}
	code = mdb_cursor_get(c, k, v, MDB_SET_RANGE);
	return mdb_cursor_get(c, k, v, code == 0 ? MDB_PREV : MDB_LAST);
}

static mica_rc scan_rows(MDB_cursor *c, const struct mica_scan *scan, mica_store_list_fn *fn,
	void *ctx, struct mica_err *e)
{
	uint8_t room[1 + MICA_STORE_KEY_MAX], room2[1 + MICA_STORE_KEY_MAX];
	MDB_val prefix = db_key(scan->table, scan->prefix, room);
	MDB_val after = db_key(scan->table, scan->after, room2);
	bool record = mica_table_is_record(scan->table);
	MDB_val k, v;
	int code = scan_start(c, scan, prefix, after, &k, &v);

	for (unsigned n = 0; code == 0 && (scan->limit == 0 || n < scan->limit); n++) {
		struct mica_slice key, value;
		uint64_t rev;

		if (k.mv_size < prefix.mv_size ||
			memcmp(k.mv_data, prefix.mv_data, prefix.mv_size) != 0)
			return MICA_OK;
		key = mica_slice(k.mv_data, k.mv_size);
		if (record)
			key = mica_slice_sub(key, 1, key.len);
		if (!split_value(scan->table, &v, &value, &rev))
			return damaged(e);
		if (!fn(ctx, key, value, rev))
			return MICA_OK;
		code = mdb_cursor_get(c, &k, &v, scan->reverse ? MDB_PREV : MDB_NEXT);
	}
	return code == 0 || code == MDB_NOTFOUND ? MICA_OK : lmdb_fail(e, "list", code);
}

static mica_rc lmdb_list(struct mica_store *s, const struct mica_scan *scan, mica_store_list_fn *fn,
	void *ctx, struct mica_err *e)
{
	struct lmdb *l = (struct lmdb *)s;
	MDB_cursor *c;
	MDB_txn *txn;
	mica_rc rc = read_begin(l, &txn, e);
	int code;

	if (rc != MICA_OK)
		return rc;
	code = mdb_cursor_open(txn, l->dbi[db_of(scan->table)], &c);
	if (code == 0) {
		rc = scan_rows(c, scan, fn, ctx, e);
		mdb_cursor_close(c);
	} else {
		rc = lmdb_fail(e, "list", code);
	}
	read_end(l, txn);
	return rc;
}

static mica_rc lmdb_head(struct mica_store *s, struct mica_buf *head, struct mica_err *e)
{
	struct lmdb *l = (struct lmdb *)s;
	MDB_val k = {sizeof(key_head), (void *)(uintptr_t)key_head}, v;
	MDB_txn *txn;
	mica_rc rc = read_begin(l, &txn, e);
	int code;

	if (rc != MICA_OK)
		return rc;
	code = mdb_get(txn, l->dbi[DB_RECORD], &k, &v);
	if (code == MDB_NOTFOUND || (code == 0 && v.mv_size == 8))
		rc = mica_fail(e, MICA_NOT_FOUND, "no_such_record", "there is no ledger");
	else if (code != 0)
		rc = lmdb_fail(e, "read the head", code);
	else if (v.mv_size < 8)
		rc = damaged(e);
	else
		mica_buf_put(head, (const uint8_t *)v.mv_data + 8, v.mv_size - 8);
	read_end(l, txn);
	return rc == MICA_OK ? mica_buf_rc(head, e) : rc;
}

/* ---- writing ------------------------------------------------------------------------------- */

struct lmdb_tx {
	struct mica_tx tx;
	struct lmdb *l;
	MDB_txn *txn;
	struct mica_buf scratch; /* revision and value */
	uint64_t octets, writes; /* written so far: what will have to be allocated */
	bool map_full; /* grow and do it all again */
};

static mica_rc tx_get(struct mica_tx *t, enum mica_table table, struct mica_slice key,
	struct mica_slice *value, uint64_t *rev)
{
	struct lmdb_tx *tx = (struct lmdb_tx *)t;
	uint8_t room[1 + MICA_STORE_KEY_MAX];
	MDB_val k = db_key(table, key, room), v;

	if (mdb_get(tx->txn, tx->l->dbi[db_of(table)], &k, &v) != 0 ||
		!split_value(table, &v, value, rev))
		return MICA_NOT_FOUND;
	return MICA_OK;
}

static mica_rc put_raw(
	struct lmdb_tx *tx, enum db db, MDB_val *k, MDB_val *v, unsigned flags, struct mica_err *e)
{
	int code = mdb_put(tx->txn, tx->l->dbi[db], k, v, flags);

	tx->octets += v->mv_size;
	tx->writes++;
	if (code == 0)
		return MICA_OK;
	tx->map_full = code == MDB_MAP_FULL;
	return lmdb_fail(e, "write", code);
}

static mica_rc tx_put(struct mica_tx *t, enum mica_table table, struct mica_slice key,
	struct mica_slice value, uint64_t rev, struct mica_err *e)
{
	struct lmdb_tx *tx = (struct lmdb_tx *)t;
	uint8_t room[1 + MICA_STORE_KEY_MAX];
	MDB_val k = db_key(table, key, room), v = {value.len, (void *)(uintptr_t)value.p};

	if (mica_table_is_record(table)) {
		mica_buf_reset(&tx->scratch);
		mica_buf_put_be64(&tx->scratch, rev);
		mica_buf_put_slice(&tx->scratch, value);
		v = (MDB_val){tx->scratch.len, tx->scratch.p};
	}
	/* Entries come in order: full pages instead of half ones. */
	return put_raw(tx, db_of(table), &k, &v, table == MICA_T_ENTRY ? MDB_APPEND : 0, e);
}

static mica_rc tx_del(
	struct mica_tx *t, enum mica_table table, struct mica_slice key, struct mica_err *e)
{
	struct lmdb_tx *tx = (struct lmdb_tx *)t;
	uint8_t room[1 + MICA_STORE_KEY_MAX];
	MDB_val k = db_key(table, key, room);
	int code = mdb_del(tx->txn, tx->l->dbi[db_of(table)], &k, NULL);

	tx->writes++;
	if (code == 0 || code == MDB_NOTFOUND)
		return MICA_OK;
	tx->map_full = code == MDB_MAP_FULL;
	return lmdb_fail(e, "delete", code);
}

static mica_rc tx_get_head(struct mica_tx *t, uint64_t *commit, struct mica_buf *head)
{
	struct lmdb_tx *tx = (struct lmdb_tx *)t;
	MDB_val k = {sizeof(key_head), (void *)(uintptr_t)key_head}, v;

	*commit = 0;
	if (mdb_get(tx->txn, tx->l->dbi[DB_RECORD], &k, &v) != 0 || v.mv_size < 8)
		return MICA_NOT_FOUND;
	*commit = be64(v.mv_data);
	mica_buf_put(head, (const uint8_t *)v.mv_data + 8, v.mv_size - 8);
	return MICA_OK;
}

static mica_rc tx_put_head(
	struct mica_tx *t, uint64_t commit, struct mica_slice head, struct mica_err *e)
{
	struct lmdb_tx *tx = (struct lmdb_tx *)t;
	MDB_val k = {sizeof(key_head), (void *)(uintptr_t)key_head}, v;

	mica_buf_reset(&tx->scratch);
	mica_buf_put_be64(&tx->scratch, commit);
	mica_buf_put_slice(&tx->scratch, head);
	v = (MDB_val){tx->scratch.len, tx->scratch.p};
	return put_raw(tx, DB_RECORD, &k, &v, 0, e);
}

static uint64_t pages_used(struct lmdb *l)
{
	MDB_envinfo info;

	return mdb_env_info(l->env, &info) == 0 ? info.me_last_pgno + 1 : 0;
}

/* Makes the file at least `want` octets long, with blocks behind it where the file system can. */
static int allocate(struct lmdb *l, uint64_t want)
{
	uint64_t step = l->allocated / 8;

	if (want <= l->allocated)
		return 0;
	step = step < CHUNK_MIN ? CHUNK_MIN : step > CHUNK_MAX ? CHUNK_MAX : step;
	/* A whole step, or what is needed where there is no more. */
	for (uint64_t to = want + step;; to = want) {
		int code = fallocate(l->file_fd, 0, (off_t)l->allocated,
				   (off_t)(to - l->allocated)) == 0
			? 0
			: errno;

		if (code == EOPNOTSUPP || code == ENOSYS)
			code = ftruncate(l->file_fd, (off_t)to) == 0 ? 0 : errno;
		if (code == 0)
			l->allocated = to;
		if (code == 0 || to == want)
			return code;
	}
}

/* Before a commit: room for what it will write. Pages are copied on write, so that a put may cost a
 * path of pages besides its value; where the disk has no room for that bound, what it will
 * write at least must do: should it turn out to be more, the commit fails and nothing happened. */
static int allocate_for(struct lmdb_tx *tx)
{
	uint64_t used = pages_used(tx->l), data = tx->octets / tx->l->page;
	uint64_t paths = tx->writes < 256 ? 4 * tx->writes : 1024 + tx->writes;
	int code = allocate(tx->l, (used + 64 + paths + 2 * data) * tx->l->page);

	if (code == ENOSPC || code == EDQUOT || code == EFBIG)
		code = allocate(tx->l, (used + 16 + tx->writes / 4 + data) * tx->l->page);
	return code;
}

/* The bound above is generous; were it ever wrong, the file is made as long as its meta page says.
 */
static void allocate_rest(struct lmdb *l)
{
	uint64_t used = pages_used(l) * l->page;

	if (used > l->allocated && ftruncate(l->file_fd, (off_t)used) == 0)
		l->allocated = used;
}

/* No reader is in: the map may move. */
static mica_rc grow_map(struct lmdb *l, struct mica_err *e)
{
	int code;

	pthread_rwlock_wrlock(&l->map_lock);
	while (l->n_cached > 0)
		mdb_txn_abort(l->cached[--l->n_cached]);
	code = mdb_env_set_mapsize(l->env, (size_t)(l->map_size * 2));
	if (code == 0)
		l->map_size *= 2;
	pthread_rwlock_unlock(&l->map_lock);
	return code == 0 ? MICA_OK : lmdb_fail(e, "grow the map", code);
}

static bool out_of_space(struct lmdb *l, int code)
{
	struct statvfs v;

	if (code == ENOSPC || code == EDQUOT || code == EFBIG)
		return true;
	/* LMDB says EIO for a short write, which is how a full disk looks. */
	return code == EIO && fstatvfs(l->file_fd, &v) == 0 && v.f_bavail * v.f_frsize < CHUNK_MIN;
}

/* After a commit that failed. The pages or their sync failed: the old meta page stands, and nothing
 * happened. The meta page itself failed: LMDB refuses to go on, and nobody knows. */
static mica_rc commit_failed(struct lmdb *l, int code, struct mica_err *e)
{
	MDB_txn *txn;
	bool alive = mdb_txn_begin(l->env, NULL, 0, &txn) == 0;

	if (alive)
		mdb_txn_abort(txn);
	if (alive && out_of_space(l, code))
		return lmdb_fail(e, "commit", ENOSPC);
	return mica_fail_fine(e, MICA_INTERNAL, "commit_failed", "the store failed",
		"commit_failed", "commit: %s", mdb_strerror(code));
}

static mica_rc tx_commit(struct lmdb_tx *tx, struct mica_err *e)
{
	int code = allocate_for(tx);

	if (code != 0) {
		mdb_txn_abort(tx->txn);
		return lmdb_fail(e, "allocate", code);
	}
	code = mdb_txn_commit(tx->txn);
	/* The list of free pages is written by the commit, which needs pages for it: none was left,
	 * and nothing has been written yet. */
	tx->map_full = code == MDB_MAP_FULL;
	if (tx->map_full)
		return lmdb_fail(e, "commit", code);
	if (code != 0)
		return commit_failed(tx->l, code, e);
	allocate_rest(tx->l);
	return MICA_OK;
}

typedef mica_rc work_fn(struct mica_tx *tx, void *arg, bool *wrote, struct mica_err *e);

/* Begin, work, commit; once more with a larger map when it was full. */
static mica_rc write_txn(struct lmdb *l, work_fn *work, void *arg, struct mica_err *e)
{
	mica_rc rc;

	pthread_mutex_lock(&l->writing);
	for (bool again = true; again;) {
		struct lmdb_tx tx = {{tx_get, tx_put, tx_del, tx_get_head, tx_put_head}, l, NULL,
			{0}, 0, 0, false};
		struct mica_err mine = MICA_ERR_INIT;
		bool wrote = true;
		int code = mdb_txn_begin(l->env, NULL, 0, &tx.txn);

		again = false;
		if (code != 0) {
			rc = lmdb_fail(e, "begin", code);
			break;
		}
		mica_buf_init(&tx.scratch, MICA_STORE_VALUE_MAX + 8);
		rc = work(&tx.tx, arg, &wrote, &mine);
		if (rc == MICA_OK && wrote)
			rc = tx_commit(&tx, &mine);
		else
			mdb_txn_abort(tx.txn);
		again = tx.map_full && grow_map(l, e) == MICA_OK;
		mica_buf_clear(&tx.scratch);
		if (rc != MICA_OK && !again && e && e->rc == MICA_OK)
			*e = mine;
	}
	pthread_mutex_unlock(&l->writing);
	return rc;
}

struct commit_arg {
	struct mica_change *changes;
	size_t n;
	const struct mica_seal *seal;
};

static mica_rc commit_work(struct mica_tx *tx, void *arg, bool *wrote, struct mica_err *e)
{
	struct commit_arg *a = arg;

	return mica_store_judge(tx, a->changes, a->n, a->seal, wrote, e);
}

static mica_rc lmdb_commit(struct mica_store *s, struct mica_change *changes, size_t n,
	const struct mica_seal *seal, struct mica_err *e)
{
	struct commit_arg a = {changes, n, seal};

	return write_txn((struct lmdb *)s, commit_work, &a, e);
}

struct apply_arg {
	const struct mica_write *writes;
	size_t n;
};

static mica_rc apply_work(struct mica_tx *tx, void *arg, bool *wrote, struct mica_err *e)
{
	struct apply_arg *a = arg;

	*wrote = true;
	return mica_store_put_all(tx, a->writes, a->n, e);
}

static mica_rc lmdb_apply(
	struct mica_store *s, const struct mica_write *writes, size_t n, struct mica_err *e)
{
	struct apply_arg a = {writes, n};

	return write_txn((struct lmdb *)s, apply_work, &a, e);
}

static mica_rc head_work(struct mica_tx *tx, void *arg, bool *wrote, struct mica_err *e)
{
	const struct mica_slice *head = arg;
	MICA_AUTO_BUF old;
	uint64_t commit = 0;

	*wrote = true;
	mica_buf_init(&old, (size_t)1 << 20);
	if (tx->get_head(tx, &commit, &old) == MICA_NOT_FOUND)
		commit = 0;
	return tx->put_head(tx, commit + 1, *head, e);
}

static mica_rc lmdb_set_head(struct mica_store *s, struct mica_slice head, struct mica_err *e)
{
	return write_txn((struct lmdb *)s, head_work, &head, e);
}

/* ---- format -------------------------------------------------------------------------------- */

/* "MICA", format (4), 1 when complete. */
#define FORMAT_LEN 9

static mica_rc write_format(struct mica_tx *tx, bool complete, struct mica_err *e)
{
	uint8_t v[FORMAT_LEN] = {'M', 'I', 'C', 'A', 0, 0, 0, FORMAT, complete};
	MDB_val k = {sizeof(key_format), (void *)(uintptr_t)key_format}, val = {sizeof(v), v};

	return put_raw((struct lmdb_tx *)tx, DB_RECORD, &k, &val, 0, e);
}

static mica_rc complete_work(struct mica_tx *tx, void *arg, bool *wrote, struct mica_err *e)
{
	*wrote = true;
	return write_format(tx, *(bool *)arg, e);
}

static mica_rc lmdb_complete(struct mica_store *s, struct mica_err *e)
{
	struct lmdb *l = (struct lmdb *)s;
	bool yes = true;
	mica_rc rc = write_txn(l, complete_work, &yes, e);

	if (rc == MICA_OK)
		l->born = false;
	return rc;
}

/* From format i to i + 1; there is one format so far. Each runs in the transaction that raises the
 * number. */
typedef mica_rc migrate_fn(struct mica_tx *tx, struct mica_err *e);
static migrate_fn *const migrations[FORMAT + 1] = {NULL};

static mica_rc migrate_work(struct mica_tx *tx, void *arg, bool *wrote, struct mica_err *e)
{
	mica_rc rc = MICA_OK;

	*wrote = true;
	for (unsigned f = *(unsigned *)arg; f < FORMAT && rc == MICA_OK; f++)
		rc = migrations[f] ? migrations[f](tx, e) : MICA_OK;
	return rc == MICA_OK ? write_format(tx, true, e) : rc;
}

static mica_rc foreign(struct mica_err *e, const char *path)
{
	return mica_fail(e, MICA_CORRUPT, "store_foreign", "%s: this is not a store of Mica", path);
}

static mica_rc read_format(struct lmdb *l, bool want_complete, unsigned *format, struct mica_err *e)
{
	MDB_val k = {sizeof(key_format), (void *)(uintptr_t)key_format}, v;
	uint8_t f[FORMAT_LEN];
	MDB_txn *txn;
	mica_rc rc = read_begin(l, &txn, e);
	int code;

	if (rc != MICA_OK)
		return rc;
	code = mdb_get(txn, l->dbi[DB_RECORD], &k, &v);
	if (code == 0 && v.mv_size == FORMAT_LEN)
		memcpy(f, v.mv_data, FORMAT_LEN);
	else
		code = MDB_NOTFOUND;
	read_end(l, txn);
	if (code != 0 || memcmp(f, "MICA", 4) != 0)
		return foreign(e, l->path);
	*format = (unsigned)f[4] << 24 | (unsigned)f[5] << 16 | (unsigned)f[6] << 8 | f[7];
	if (*format > FORMAT)
		return mica_fail(e, MICA_CORRUPT, "store_newer",
			"%s: the store has format %u, this program knows up to %u: it was used by a "
			"newer Mica",
			l->path, *format, FORMAT);
	if (want_complete && f[8] != 1)
		return mica_fail(e, MICA_CORRUPT, "store_partial",
			"%s: the creation of this store did not end; nothing was ever issued from it: "
			"remove the directory and run `mica init` (or `mica restore`) again",
			l->path);
	return MICA_OK;
}

/* ---- life ---------------------------------------------------------------------------------- */

/* Under the lock of a directory that was empty when we took it. */
static void remove_files(struct lmdb *l)
{
	static const char *const names[] = {FILE_NAME, FILE_NAME "-lock", "checkpoint"};

	for (size_t i = 0; i < MICA_ARRAY_LEN(names); i++)
		unlinkat(l->dir_fd, names[i], 0);
}

static void lmdb_close(struct mica_store *s)
{
	struct lmdb *l = (struct lmdb *)s;

	while (l->n_cached > 0)
		mdb_txn_abort(l->cached[--l->n_cached]);
	if (l->env)
		mdb_env_close(l->env);
	if (l->undo)
		remove_files(l);
	if (l->dir_fd >= 0)
		close(l->dir_fd); /* and with it the lock */
	pthread_rwlock_destroy(&l->map_lock);
	pthread_mutex_destroy(&l->writing);
	pthread_mutex_destroy(&l->cache_lock);
	mica_free(l->path);
	mica_free(l->base.dir);
	mica_free(l);
}

static mica_rc lmdb_space(struct mica_store *s, struct mica_store_space *out, struct mica_err *e)
{
	struct lmdb *l = (struct lmdb *)s;
	struct statvfs v;

	if (fstatvfs(l->file_fd, &v) != 0)
		return mica_fail_errno(e, errno, "%s", l->path);
	out->store_bytes = pages_used(l) * l->page;
	out->disk_bytes = (uint64_t)v.f_blocks * v.f_frsize;
	out->disk_free = (uint64_t)v.f_bavail * v.f_frsize;
	return MICA_OK;
}

static mica_rc sync_dir_of(const char *path, struct mica_err *e)
{
	char *copy = mica_strdup(path), *slash = strrchr(copy, '/');
	int fd;

	if (slash)
		slash[slash == copy] = '\0';
	fd = open(slash ? copy : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	mica_free(copy);
	if (fd < 0 || fsync(fd) != 0) {
		int code = errno;

		if (fd >= 0)
			close(fd);
		return mica_fail_errno(e, code, "%s", path);
	}
	close(fd);
	return MICA_OK;
}

/* The map cannot grow while a copy reads it, so that commits would wait for its end: there is room
 * for as much again before it begins. */
static mica_rc make_headroom(struct lmdb *l, struct mica_err *e)
{
	mica_rc rc = MICA_OK;

	pthread_mutex_lock(&l->writing);
	while (rc == MICA_OK && pages_used(l) * l->page > l->map_size / 2)
		rc = grow_map(l, e);
	pthread_mutex_unlock(&l->writing);
	return rc;
}

/* Under a temporary name, synced, then renamed: a copy that can be seen is whole. */
static mica_rc lmdb_copy(
	struct mica_store *s, const char *path, const struct mica_progress *p, struct mica_err *e)
{
	struct lmdb *l = (struct lmdb *)s;
	char tmp[4096];
	MICA_AUTO_FD int fd = -1;
	int code;

	if (snprintf(tmp, sizeof(tmp), "%s.part", path) >= (int)sizeof(tmp))
		return mica_fail_errno(e, ENAMETOOLONG, "%s", path);
	if (access(path, F_OK) == 0)
		return mica_fail_errno(e, EEXIST, "%s", path);
	if (make_headroom(l, e) != MICA_OK)
		return MICA_UNAVAILABLE;
	fd = open(tmp, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return mica_fail_errno(e, errno, "%s", tmp);
	if (p && p->fn)
		p->fn(p->ctx, 0, pages_used(l) * l->page);
	pthread_rwlock_rdlock(&l->map_lock);
	code = mdb_env_copyfd2(l->env, fd, MDB_CP_COMPACT);
	pthread_rwlock_unlock(&l->map_lock);
	if (code == 0 && fsync(fd) != 0)
		code = errno;
	if (code == 0 && rename(tmp, path) != 0)
		code = errno;
	if (code != 0) {
		unlink(tmp);
		return code > 0 ? mica_fail_errno(e, code, "%s", path) : lmdb_fail(e, "copy", code);
	}
	if (p && p->fn)
		p->fn(p->ctx, 1, 1);
	return sync_dir_of(path, e);
}

static const struct mica_store_ops lmdb_ops = {
	.view = lmdb_view,
	.list = lmdb_list,
	.commit = lmdb_commit,
	.apply = lmdb_apply,
	.head = lmdb_head,
	.set_head = lmdb_set_head,
	.complete = lmdb_complete,
	.space = lmdb_space,
	.copy = lmdb_copy,
	.close = lmdb_close,
};

static struct lmdb *lmdb_new(const char *dir, const struct mica_store_options *o)
{
	struct lmdb *l = MICA_NEW(struct lmdb);
	size_t len = strlen(dir) + sizeof(FILE_NAME) + 2;

	l->base.ops = &lmdb_ops;
	l->base.dir = mica_strdup(dir);
	l->base.max_percent = o && o->max_percent ? o->max_percent : 90;
	l->dir_fd = l->file_fd = -1;
	l->path = mica_alloc(len);
	snprintf(l->path, len, "%s/%s", dir, FILE_NAME);
	pthread_rwlock_init(&l->map_lock, NULL);
	pthread_mutex_init(&l->writing, NULL);
	pthread_mutex_init(&l->cache_lock, NULL);
	return l;
}

/* The directory is ours alone, and nobody else has it open. */
static mica_rc lock_dir(struct lmdb *l, struct mica_err *e)
{
	struct stat st;

	l->dir_fd = open(l->base.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (l->dir_fd < 0)
		return mica_fail_errno(e, errno, "%s", l->base.dir);
	if (fstat(l->dir_fd, &st) != 0)
		return mica_fail_errno(e, errno, "%s", l->base.dir);
	if (st.st_uid != geteuid() && st.st_uid != 0 && geteuid() != 0)
		return mica_fail(e, MICA_DENIED, "store_owner",
			"%s: it belongs to user %u, expected ourselves (%u) or root", l->base.dir,
			st.st_uid, geteuid());
	if (st.st_mode & 077)
		return mica_fail(e, MICA_DENIED, "store_exposed",
			"%s: others can reach it (mode %04o), expected 0700", l->base.dir,
			st.st_mode & 07777);
	if (flock(l->dir_fd, LOCK_EX | LOCK_NB) == 0)
		return MICA_OK;
	if (errno == EWOULDBLOCK)
		return mica_fail(e, MICA_CONFLICT, "store_locked",
			"%s: another process has the store open (micad?)", l->base.dir);
	return mica_fail_errno(e, errno, "%s", l->base.dir);
}

static int open_env(struct lmdb *l, const struct mica_store_options *o)
{
	unsigned flags = MDB_NOSUBDIR | MDB_NOTLS | MDB_NORDAHEAD;
	int code = mdb_env_create(&l->env);

	if (o && o->test_nosync)
		flags |= MDB_NOSYNC;
	if (code == 0)
		code = mdb_env_set_maxdbs(l->env, DB_COUNT);
	if (code == 0)
		code = mdb_env_set_maxreaders(l->env, o && o->max_readers ? o->max_readers : 1024);
	if (code == 0)
		code = mdb_env_set_mapsize(l->env, (size_t)l->map_size);
	if (code == 0)
		code = mdb_env_open(l->env, l->path, flags, 0600);
	if (code != 0) {
		mdb_env_close(l->env);
		l->env = NULL;
	}
	return code;
}

static mica_rc start_env(struct lmdb *l, const struct mica_store_options *o, struct mica_err *e)
{
	struct stat st;
	MDB_stat ms;
	int dead = 0, code;

	l->map_size = o && o->map_size ? o->map_size : DEFAULT_MAP;
	while ((code = open_env(l, o)) == ENOMEM && l->map_size > SMALLEST_MAP)
		l->map_size /= 2;
	if (code != 0)
		return lmdb_fail(e, "open", code);
	/* What a process that was killed left behind would keep old pages alive. */
	mdb_reader_check(l->env, &dead);
	if (mdb_env_get_fd(l->env, &l->file_fd) != 0 || mdb_env_stat(l->env, &ms) != 0 ||
		fstat(l->file_fd, &st) != 0)
		return lmdb_fail(e, "open", errno);
	l->page = ms.ms_psize;
	l->allocated = (uint64_t)st.st_size;
	return MICA_OK;
}

static mica_rc open_tables(struct lmdb *l, unsigned flags, struct mica_err *e)
{
	MDB_txn *txn;
	int code = mdb_txn_begin(l->env, NULL, flags ? 0 : MDB_RDONLY, &txn);

	for (size_t i = 0; i < DB_COUNT && code == 0; i++) {
		code = mdb_dbi_open(txn, db_names[i], flags, &l->dbi[i]);
		if (code != 0)
			mdb_txn_abort(txn);
	}
	if (code == 0)
		code = mdb_txn_commit(txn);
	if (code == MDB_NOTFOUND || code == MDB_INCOMPATIBLE)
		return foreign(e, l->path);
	return code == 0 ? MICA_OK : lmdb_fail(e, "open tables", code);
}

/* Nothing but what we may stand beside. */
static mica_rc check_empty(struct lmdb *l, struct mica_err *e)
{
	mica_rc rc = MICA_OK;
	DIR *d;

	/* First: what else lies there, such as its checkpoint, must not hide it. */
	if (access(l->path, F_OK) == 0)
		return mica_fail(e, MICA_CONFLICT, "store_exists",
			"%s: there is a store already; it was not touched", l->base.dir);
	d = opendir(l->base.dir);
	if (!d)
		return mica_fail_errno(e, errno, "%s", l->base.dir);
	for (struct dirent *f; rc == MICA_OK && (f = readdir(d)) != NULL;) {
		if (strcmp(f->d_name, ".") == 0 || strcmp(f->d_name, "..") == 0 ||
			strcmp(f->d_name, "lost+found") == 0)
			continue;
		rc = mica_fail(e, MICA_CONFLICT, "directory_not_empty",
			"%s: expected an empty directory, it holds %s", l->base.dir, f->d_name);
	}
	closedir(d);
	return rc;
}

static mica_rc create_dir(struct lmdb *l, struct mica_err *e)
{
	mica_rc rc = mica_mkdir_p(l->base.dir, 0700, e);

	if (rc != MICA_OK)
		return rc;
	/* An empty directory of ours that was made with a wider mask becomes private; one with
	 * contents stays as it is. */
	rc = check_empty(l, e);
	if (rc == MICA_OK && chmod(l->base.dir, 0700) != 0)
		return mica_fail_errno(e, errno, "%s", l->base.dir);
	if (rc == MICA_OK)
		rc = lock_dir(l, e);
	if (rc == MICA_OK)
		rc = check_empty(l, e);
	/* until its maker says otherwise */
	l->born = l->undo = rc == MICA_OK;
	return rc;
}

void mica_store_take_undo(struct mica_store *s)
{
	if (s && s->ops == &lmdb_ops)
		((struct lmdb *)s)->undo = ((struct lmdb *)s)->born;
	mica_store_close(s);
}

static inline void auto_lmdb(struct lmdb **l)
{
	if (*l)
		lmdb_close(&(*l)->base);
}
#define AUTO_LMDB __attribute__((cleanup(auto_lmdb))) struct lmdb *

mica_rc mica_store_create(const char *dir, const struct mica_store_options *o,
	struct mica_store **out, struct mica_err *e)
{
	AUTO_LMDB l = lmdb_new(dir, o);
	bool complete = false;
	mica_rc rc = create_dir(l, e);

	if (rc == MICA_OK)
		rc = start_env(l, o, e);
	if (rc == MICA_OK)
		rc = open_tables(l, MDB_CREATE, e);
	if (rc == MICA_OK)
		rc = write_txn(l, complete_work, &complete, e);
	if (rc == MICA_OK)
		rc = sync_dir_of(l->path, e);
	l->undo = l->born && rc != MICA_OK;
	if (rc == MICA_OK)
		*out = &MICA_STEAL(l)->base;
	return rc;
}

/* Looks at the file before LMDB maps it: reading past the end of a truncated one would be a SIGBUS.
 */
static mica_rc check_file(struct lmdb *l, struct mica_err *e)
{
	MICA_AUTO_FD int fd = open(l->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;

	if (fd < 0)
		return mica_fail_errno(e, errno, "%s", l->path);
	if (fstat(fd, &st) != 0)
		return mica_fail_errno(e, errno, "%s", l->path);
	if (!S_ISREG(st.st_mode))
		return foreign(e, l->path);
	if (st.st_mode & 077)
		return mica_fail(e, MICA_DENIED, "store_exposed",
			"%s: others can read or write it (mode %04o), expected 0600", l->path,
			st.st_mode & 07777);
	return mica_lmdb_check_meta(fd, l->path, e);
}

static bool exists(const char *dir, const char *name)
{
	char path[4096];

	return snprintf(path, sizeof(path), "%s/%s", dir, name) < (int)sizeof(path) &&
		access(path, F_OK) == 0;
}

static mica_rc find_store(struct lmdb *l, struct mica_err *e)
{
	if (access(l->path, F_OK) == 0)
		return MICA_OK;
	if (exists(l->base.dir, "checkpoint") || exists(l->base.dir, FILE_NAME "-lock"))
		return mica_fail(e, MICA_CORRUPT, "store_partial",
			"%s: " FILE_NAME
			" is missing, other files of a store are there: put it back, or "
			"restore a backup",
			l->base.dir);
	if (access(l->base.dir, F_OK) == 0 && check_empty(l, NULL) != MICA_OK)
		return foreign(e, l->base.dir);
	if (errno != ENOENT && errno != ENOTDIR)
		return mica_fail_errno(e, errno, "%s", l->path);
	return mica_fail(e, MICA_NOT_FOUND, "store_missing",
		"%s: there is no store; `mica init` makes one", l->base.dir);
}

static mica_rc open_existing(
	struct lmdb *l, const struct mica_store_options *o, bool complete, struct mica_err *e)
{
	unsigned format = 0;
	mica_rc rc = check_file(l, e);

	if (rc == MICA_OK)
		rc = start_env(l, o, e);
	if (rc == MICA_OK)
		rc = open_tables(l, 0, e);
	if (rc == MICA_OK)
		rc = read_format(l, complete, &format, e);
	if (rc == MICA_OK && format < FORMAT)
		rc = write_txn(l, migrate_work, &format, e);
	return rc;
}

mica_rc mica_store_open(const char *dir, const struct mica_store_options *o,
	struct mica_store **out, struct mica_err *e)
{
	AUTO_LMDB l = lmdb_new(dir, o);
	mica_rc rc = find_store(l, e);

	if (rc == MICA_OK)
		rc = lock_dir(l, e);
	if (rc == MICA_OK)
		rc = open_existing(l, o, true, e);
	if (rc == MICA_OK)
		*out = &MICA_STEAL(l)->base;
	return rc;
}

static mica_rc copy_file(const char *from, const char *to, struct mica_err *e)
{
	MICA_AUTO_FD int in = open(from, O_RDONLY | O_CLOEXEC);
	MICA_AUTO_FD int out = -1;
	MICA_AUTO_FREE char *block = mica_alloc((size_t)1 << 20);
	ssize_t n;

	if (in < 0)
		return mica_fail_errno(e, errno, "%s", from);
	out = open(to, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	if (out < 0)
		return mica_fail_errno(e, errno, "%s", to);
	while ((n = read(in, block, (size_t)1 << 20)) > 0)
		for (ssize_t at = 0, w; at < n; at += w)
			if ((w = write(out, block + at, (size_t)(n - at))) <= 0)
				return mica_fail_errno(e, w == 0 ? ENOSPC : errno, "%s", to);
	if (n < 0)
		return mica_fail_errno(e, errno, "%s", from);
	return fsync(out) == 0 ? MICA_OK : mica_fail_errno(e, errno, "%s", to);
}

mica_rc mica_store_create_from(const char *path, const char *dir,
	const struct mica_store_options *o, struct mica_store **out, struct mica_err *e)
{
	AUTO_LMDB l = lmdb_new(dir, o);
	bool complete = false;
	mica_rc rc = mica_store_check_file(path, NULL, e);

	if (rc == MICA_OK)
		rc = create_dir(l, e);
	if (rc == MICA_OK)
		rc = copy_file(path, l->path, e);
	if (rc == MICA_OK)
		rc = open_existing(l, o, false, e);
	if (rc == MICA_OK)
		rc = write_txn(l, complete_work, &complete, e);
	if (rc == MICA_OK)
		rc = sync_dir_of(l->path, e);
	l->undo = l->born && rc != MICA_OK;
	if (rc == MICA_OK)
		*out = &MICA_STEAL(l)->base;
	return rc;
}
