/* SPDX-License-Identifier: Apache-2.0 */
/* The store in memory: one sorted array for each table. For tests, and for trying things out. */
#include "store_impl.h"

#include <pthread.h>

struct row {
	struct mica_slice key, value; /* owned */
	uint64_t rev;
};

struct table {
	struct row *rows;
	size_t n, room;
};

struct mem {
	struct mica_store base;
	pthread_mutex_t writing; /* one commit at a time */
	pthread_rwlock_t lock; /* of what follows: a commit takes it only to publish */
	struct table tables[MICA_T_END];
	struct mica_slice head; /* owned */
	bool has_head;
	uint64_t commit;
};

/* ---- tables -------------------------------------------------------------------------------- */

static void slice_set(struct mica_slice *dst, struct mica_slice src)
{
	uint8_t *p = mica_memdup(src.p ? src.p : (const uint8_t *)"", src.len);

	mica_free((void *)(uintptr_t)dst->p);
	*dst = mica_slice(p, src.len);
}

static void slice_drop(struct mica_slice *s)
{
	mica_free((void *)(uintptr_t)s->p);
	*s = MICA_SLICE_NULL;
}

/* Where `key` is, or would be. */
static size_t find(const struct table *t, struct mica_slice key, bool *there)
{
	size_t lo = 0, hi = t->n;

	/* Entries are appended and looked at from the end. */
	if (t->n > 0 && mica_slice_cmp(t->rows[t->n - 1].key, key) < 0)
		lo = t->n;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (mica_slice_cmp(t->rows[mid].key, key) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	*there = lo < t->n && mica_slice_eq(t->rows[lo].key, key);
	return lo;
}

static void table_put(struct table *t, struct mica_slice key, struct mica_slice value, uint64_t rev)
{
	bool there;
	size_t at = find(t, key, &there);

	if (!there) {
		if (t->n == t->room) {
			t->room = t->room ? t->room * 2 : 16;
			t->rows = mica_realloc(t->rows, t->room, sizeof(*t->rows));
		}
		memmove(&t->rows[at + 1], &t->rows[at], (t->n - at) * sizeof(*t->rows));
		memset(&t->rows[at], 0, sizeof(*t->rows));
		slice_set(&t->rows[at].key, key);
		t->n++;
	}
	slice_set(&t->rows[at].value, value);
	t->rows[at].rev = rev;
}

static void table_del(struct table *t, struct mica_slice key)
{
	bool there;
	size_t at = find(t, key, &there);

	if (!there)
		return;
	slice_drop(&t->rows[at].key);
	slice_drop(&t->rows[at].value);
	memmove(&t->rows[at], &t->rows[at + 1], (t->n - at - 1) * sizeof(*t->rows));
	t->n--;
}

/* ---- reading ------------------------------------------------------------------------------- */

static mica_rc mem_view(struct mica_store *s, enum mica_table t, struct mica_slice key,
	mica_store_view_fn *fn, void *ctx, struct mica_err *e)
{
	struct mem *m = (struct mem *)s;
	bool there;
	mica_rc rc;
	size_t at;

	pthread_rwlock_rdlock(&m->lock);
	at = find(&m->tables[t], key, &there);
	if (there)
		rc = fn(ctx, m->tables[t].rows[at].value, m->tables[t].rows[at].rev, e);
	else
		rc = mica_fail(e, MICA_NOT_FOUND, "no_such_record", "there is no such record");
	pthread_rwlock_unlock(&m->lock);
	return rc;
}

static void scan_forward(
	const struct table *t, const struct mica_scan *scan, mica_store_list_fn *fn, void *ctx)
{
	bool there = false;
	size_t at = find(t, scan->prefix, &there);

	if (scan->after.len > 0 && mica_slice_cmp(scan->after, scan->prefix) >= 0) {
		at = find(t, scan->after, &there);
		at += there;
	}
	for (unsigned n = 0; at < t->n && (scan->limit == 0 || n < scan->limit); at++, n++) {
		const struct row *r = &t->rows[at];

		if (!mica_slice_has_prefix(r->key, scan->prefix) ||
			!fn(ctx, r->key, r->value, r->rev))
			return;
	}
}

/* Keys from the last one that is below `after` and has the prefix. */
static void scan_backward(
	const struct table *t, const struct mica_scan *scan, mica_store_list_fn *fn, void *ctx)
{
	size_t at = t->n;
	unsigned n = 0;
	bool there;

	if (scan->after.len > 0)
		at = find(t, scan->after, &there);
	else
		while (at > 0 && mica_slice_cmp(t->rows[at - 1].key, scan->prefix) > 0 &&
			!mica_slice_has_prefix(t->rows[at - 1].key, scan->prefix))
			at--;
	for (; at-- > 0 && (scan->limit == 0 || n < scan->limit); n++) {
		const struct row *r = &t->rows[at];

		if (!mica_slice_has_prefix(r->key, scan->prefix) ||
			!fn(ctx, r->key, r->value, r->rev))
			return;
	}
}

static mica_rc mem_list(struct mica_store *s, const struct mica_scan *scan, mica_store_list_fn *fn,
	void *ctx, struct mica_err *e)
{
	struct mem *m = (struct mem *)s;

	(void)e;
	pthread_rwlock_rdlock(&m->lock);
	if (scan->reverse)
		scan_backward(&m->tables[scan->table], scan, fn, ctx);
	else
		scan_forward(&m->tables[scan->table], scan, fn, ctx);
	pthread_rwlock_unlock(&m->lock);
	return MICA_OK;
}

static mica_rc mem_head(struct mica_store *s, struct mica_buf *head, struct mica_err *e)
{
	struct mem *m = (struct mem *)s;
	mica_rc rc;

	pthread_rwlock_rdlock(&m->lock);
	if (m->has_head) {
		mica_buf_put_slice(head, m->head);
		rc = mica_buf_rc(head, e);
	} else {
		rc = mica_fail(e, MICA_NOT_FOUND, "no_such_record", "there is no ledger");
	}
	pthread_rwlock_unlock(&m->lock);
	return rc;
}

/* ---- writing: a list of what will be, published at once
 * ------------------------------------------- */

struct pending {
	enum mica_table table;
	struct mica_slice key, value; /* owned */
	uint64_t rev; /* 0 = deleted */
};

struct mem_tx {
	struct mica_tx tx;
	struct mem *m;
	struct pending *p;
	size_t n, room;
	struct mica_slice head; /* owned */
	uint64_t commit;
	bool has_head;
};

static mica_rc tx_get(struct mica_tx *t, enum mica_table table, struct mica_slice key,
	struct mica_slice *value, uint64_t *rev)
{
	struct mem_tx *tx = (struct mem_tx *)t;
	const struct table *rows = &tx->m->tables[table];
	bool there;
	size_t at;

	for (size_t i = tx->n; i-- > 0;) {
		if (tx->p[i].table != table || !mica_slice_eq(tx->p[i].key, key))
			continue;
		*value = tx->p[i].value;
		*rev = tx->p[i].rev;
		return tx->p[i].rev ? MICA_OK : MICA_NOT_FOUND;
	}
	/* Only we change the tables, and not before the end. */
	at = find(rows, key, &there);
	if (!there)
		return MICA_NOT_FOUND;
	*value = rows->rows[at].value;
	*rev = rows->rows[at].rev;
	return MICA_OK;
}

static mica_rc tx_put(struct mica_tx *t, enum mica_table table, struct mica_slice key,
	struct mica_slice value, uint64_t rev, struct mica_err *e)
{
	struct mem_tx *tx = (struct mem_tx *)t;
	struct pending *p;

	(void)e;
	if (tx->n == tx->room) {
		tx->room = tx->room ? tx->room * 2 : 64;
		tx->p = mica_realloc(tx->p, tx->room, sizeof(*tx->p));
	}
	p = &tx->p[tx->n++];
	memset(p, 0, sizeof(*p));
	p->table = table;
	p->rev = rev;
	slice_set(&p->key, key);
	slice_set(&p->value, value);
	return MICA_OK;
}

static mica_rc tx_del(
	struct mica_tx *t, enum mica_table table, struct mica_slice key, struct mica_err *e)
{
	return tx_put(t, table, key, MICA_SLICE_NULL, 0, e);
}

static mica_rc tx_get_head(struct mica_tx *t, uint64_t *commit, struct mica_buf *head)
{
	struct mem_tx *tx = (struct mem_tx *)t;

	*commit = tx->m->commit;
	mica_buf_put_slice(head, tx->m->head);
	return tx->m->has_head ? MICA_OK : MICA_NOT_FOUND;
}

static mica_rc tx_put_head(
	struct mica_tx *t, uint64_t commit, struct mica_slice head, struct mica_err *e)
{
	struct mem_tx *tx = (struct mem_tx *)t;

	(void)e;
	tx->commit = commit;
	tx->has_head = true;
	slice_set(&tx->head, head);
	return MICA_OK;
}

static void tx_publish(struct mem_tx *tx)
{
	struct mem *m = tx->m;

	pthread_rwlock_wrlock(&m->lock);
	for (size_t i = 0; i < tx->n; i++) {
		struct pending *p = &tx->p[i];

		if (p->rev)
			table_put(&m->tables[p->table], p->key, p->value, p->rev);
		else
			table_del(&m->tables[p->table], p->key);
	}
	if (tx->has_head) {
		m->commit = tx->commit;
		m->has_head = m->has_head || tx->head.len > 0;
		slice_set(&m->head, tx->head);
	}
	pthread_rwlock_unlock(&m->lock);
}

static void tx_end(struct mem_tx *tx)
{
	for (size_t i = 0; i < tx->n; i++) {
		slice_drop(&tx->p[i].key);
		slice_drop(&tx->p[i].value);
	}
	slice_drop(&tx->head);
	mica_free(tx->p);
	pthread_mutex_unlock(&tx->m->writing);
}

static struct mem_tx tx_begin(struct mem *m)
{
	struct mem_tx tx = {{tx_get, tx_put, tx_del, tx_get_head, tx_put_head}, m, NULL, 0, 0,
		MICA_SLICE_NULL, 0, false};

	pthread_mutex_lock(&m->writing);
	return tx;
}

static mica_rc mem_commit(struct mica_store *s, struct mica_change *changes, size_t n,
	const struct mica_seal *seal, struct mica_err *e)
{
	struct mem_tx tx = tx_begin((struct mem *)s);
	bool wrote;
	mica_rc rc = mica_store_judge(&tx.tx, changes, n, seal, &wrote, e);

	if (rc == MICA_OK && wrote)
		tx_publish(&tx);
	tx_end(&tx);
	return rc;
}

static mica_rc mem_apply(
	struct mica_store *s, const struct mica_write *writes, size_t n, struct mica_err *e)
{
	struct mem_tx tx = tx_begin((struct mem *)s);
	mica_rc rc = mica_store_put_all(&tx.tx, writes, n, e);

	if (rc == MICA_OK)
		tx_publish(&tx);
	tx_end(&tx);
	return rc;
}

static mica_rc mem_set_head(struct mica_store *s, struct mica_slice head, struct mica_err *e)
{
	struct mem_tx tx = tx_begin((struct mem *)s);

	(void)e;
	tx_put_head(&tx.tx, tx.m->commit + 1, head, NULL);
	tx_publish(&tx);
	tx_end(&tx);
	return MICA_OK;
}

/* ---- life ---------------------------------------------------------------------------------- */

static mica_rc mem_complete(struct mica_store *s, struct mica_err *e)
{
	(void)s;
	(void)e;
	return MICA_OK;
}

static mica_rc mem_space(struct mica_store *s, struct mica_store_space *out, struct mica_err *e)
{
	(void)s;
	(void)e;
	out->disk_bytes = out->disk_free = UINT64_MAX;
	return MICA_OK;
}

static mica_rc mem_copy(
	struct mica_store *s, const char *path, const struct mica_progress *p, struct mica_err *e)
{
	(void)s;
	(void)p;
	return mica_fail(
		e, MICA_INVALID, "store_in_memory", "%s: a store in memory has no copy", path);
}

static void mem_close(struct mica_store *s)
{
	struct mem *m = (struct mem *)s;

	for (size_t t = 0; t < MICA_T_END; t++) {
		for (size_t i = 0; i < m->tables[t].n; i++) {
			slice_drop(&m->tables[t].rows[i].key);
			slice_drop(&m->tables[t].rows[i].value);
		}
		mica_free(m->tables[t].rows);
	}
	slice_drop(&m->head);
	pthread_mutex_destroy(&m->writing);
	pthread_rwlock_destroy(&m->lock);
	mica_free(m);
}

static const struct mica_store_ops mem_ops = {
	.view = mem_view,
	.list = mem_list,
	.commit = mem_commit,
	.apply = mem_apply,
	.head = mem_head,
	.set_head = mem_set_head,
	.complete = mem_complete,
	.space = mem_space,
	.copy = mem_copy,
	.close = mem_close,
};

struct mica_store *mica_store_mem(void)
{
	struct mem *m = MICA_NEW(struct mem);

	m->base.ops = &mem_ops;
	m->base.max_percent = 90;
	pthread_mutex_init(&m->writing, NULL);
	pthread_rwlock_init(&m->lock, NULL);
	return &m->base;
}
