/* SPDX-License-Identifier: Apache-2.0 */
/* The half of the store that all implementations share: arguments, judging changes, faults. */
#include "store_impl.h"

/* ---- reading ------------------------------------------------------------------------------- */

static bool table_ok(enum mica_table t)
{
	return (t >= MICA_T_META && t < MICA_T_RECORD_END) || (t >= MICA_T_ENTRY && t < MICA_T_END);
}

static mica_rc check_key(enum mica_table t, struct mica_slice key, struct mica_err *e)
{
	if (table_ok(t) && key.len > 0 && key.len <= MICA_STORE_KEY_MAX)
		return MICA_OK;
	return mica_fail(e, MICA_INTERNAL, "store_argument",
		"store: table %d with a key of %zu octets (1 to %d are possible)", (int)t, key.len,
		MICA_STORE_KEY_MAX);
}

mica_rc mica_store_view(struct mica_store *s, enum mica_table t, struct mica_slice key,
	mica_store_view_fn *fn, void *ctx, struct mica_err *e)
{
	mica_rc rc = check_key(t, key, e);

	return rc == MICA_OK ? s->ops->view(s, t, key, fn, ctx, e) : rc;
}

struct get {
	struct mica_buf *value;
	uint64_t *rev;
};

static mica_rc get_fn(void *ctx, struct mica_slice value, uint64_t rev, struct mica_err *e)
{
	struct get *g = ctx;

	mica_buf_put_slice(g->value, value);
	if (g->rev)
		*g->rev = rev;
	return mica_buf_rc(g->value, e);
}

mica_rc mica_store_get(struct mica_store *s, enum mica_table t, struct mica_slice key,
	struct mica_buf *value, uint64_t *rev, struct mica_err *e)
{
	struct get g = {value, rev};

	mica_buf_reset(value);
	return mica_store_view(s, t, key, get_fn, &g, e);
}

mica_rc mica_store_list(struct mica_store *s, const struct mica_scan *scan, mica_store_list_fn *fn,
	void *ctx, struct mica_err *e)
{
	if (!table_ok(scan->table) || scan->prefix.len > MICA_STORE_KEY_MAX ||
		scan->after.len > MICA_STORE_KEY_MAX)
		return mica_fail(e, MICA_INTERNAL, "store_argument", "store: bad scan");
	return s->ops->list(s, scan, fn, ctx, e);
}

/* ---- judging changes ----------------------------------------------------------------------- */

static bool reads_hold(struct mica_tx *tx, const struct mica_change *c)
{
	for (size_t i = 0; i < c->n_reads; i++) {
		struct mica_slice value;
		uint64_t rev = 0;

		if (tx->get(tx, c->reads[i].table, c->reads[i].key, &value, &rev) != MICA_OK)
			rev = 0;
		if (rev != c->reads[i].rev)
			return false;
	}
	return true;
}

static mica_rc put_max(
	struct mica_tx *tx, const struct mica_write *w, uint64_t rev, struct mica_err *e)
{
	struct mica_slice old;
	uint64_t old_rev;

	if (tx->get(tx, w->table, w->key, &old, &old_rev) == MICA_OK && old.len == w->value.len &&
		memcmp(old.p, w->value.p, old.len) >= 0)
		return MICA_OK;
	return tx->put(tx, w->table, w->key, w->value, rev, e);
}

static mica_rc write_one(
	struct mica_tx *tx, const struct mica_write *w, uint64_t rev, struct mica_err *e)
{
	if (w->op == MICA_MAX)
		return put_max(tx, w, rev, e);
	if (w->op == MICA_DELETE)
		return tx->del(tx, w->table, w->key, e);
	return tx->put(tx, w->table, w->key, w->value, rev, e);
}

mica_rc mica_store_put_all(
	struct mica_tx *tx, const struct mica_write *writes, size_t n, struct mica_err *e)
{
	for (size_t i = 0; i < n; i++) {
		mica_rc rc = write_one(tx, &writes[i], 1, e);

		if (rc != MICA_OK)
			return rc;
	}
	return MICA_OK;
}

/* The ledger's turn: the head is the one under our lock. */
static mica_rc seal_bodies(struct mica_tx *tx, struct mica_change *changes, size_t n,
	const struct mica_slice *bodies, size_t n_bodies, const struct mica_seal *seal,
	struct mica_buf *head, struct mica_err *e)
{
	struct mica_seal_out out = {0};
	mica_rc rc;

	rc = seal->fn(seal->ctx, mica_buf_slice(head), bodies, n_bodies, &out, e);
	if (rc == MICA_OK)
		rc = mica_store_put_all(tx, out.writes, out.n_writes, e);
	if (rc != MICA_OK)
		return rc;
	mica_buf_reset(head);
	mica_buf_put_slice(head, out.head);
	for (size_t i = 0; i < n; i++) {
		if (changes[i].rc != MICA_OK)
			continue;
		changes[i].index = out.first;
		out.first += changes[i].n_entries;
	}
	return mica_buf_rc(head, e);
}

static mica_rc judge_one(struct mica_tx *tx, struct mica_change *c, uint64_t rev,
	struct mica_slice *bodies, size_t *n_bodies, struct mica_err *e)
{
	c->rc = reads_hold(tx, c) ? MICA_OK : MICA_CONFLICT;
	if (c->rc != MICA_OK)
		return MICA_OK;
	for (size_t i = 0; i < c->n_writes; i++) {
		mica_rc rc = write_one(tx, &c->writes[i], rev, e);

		if (rc != MICA_OK)
			return rc;
	}
	for (size_t i = 0; i < c->n_entries; i++)
		bodies[(*n_bodies)++] = c->entries[i];
	return MICA_OK;
}

mica_rc mica_store_judge(struct mica_tx *tx, struct mica_change *changes, size_t n,
	const struct mica_seal *seal, bool *wrote, struct mica_err *e)
{
	MICA_AUTO_FREE struct mica_slice *bodies = NULL;
	MICA_AUTO_BUF head;
	size_t n_bodies = 0, all = 0;
	uint64_t commit = 0;
	mica_rc rc = MICA_OK;

	*wrote = false;
	for (size_t i = 0; i < n; i++)
		all += changes[i].n_entries;
	bodies = mica_calloc(all + 1, sizeof(*bodies));
	mica_buf_init(&head, (size_t)1 << 20);
	rc = tx->get_head(tx, &commit, &head);
	commit++;
	if (rc == MICA_NOT_FOUND)
		rc = MICA_OK;
	for (size_t i = 0; i < n && rc == MICA_OK; i++) {
		rc = judge_one(tx, &changes[i], commit, bodies, &n_bodies, e);
		*wrote = *wrote || changes[i].rc == MICA_OK;
	}
	if (rc == MICA_OK && n_bodies > 0)
		rc = seal_bodies(tx, changes, n, bodies, n_bodies, seal, &head, e);
	if (rc == MICA_OK && *wrote)
		rc = tx->put_head(tx, commit, mica_buf_slice(&head), e);
	return rc;
}

/* ---- changing ------------------------------------------------------------------------------ */

static mica_rc check_write(const struct mica_write *w, bool records, struct mica_err *e)
{
	mica_rc rc = check_key(w->table, w->key, e);

	if (rc != MICA_OK)
		return rc;
	if (mica_table_is_record(w->table) != records || w->value.len > MICA_STORE_VALUE_MAX ||
		(w->op == MICA_MAX && (!records || w->value.len != 8)))
		return mica_fail(e, MICA_INTERNAL, "store_argument",
			"store: this write to table %d is not possible", (int)w->table);
	return MICA_OK;
}

static mica_rc check_change(
	const struct mica_change *c, const struct mica_seal *seal, struct mica_err *e)
{
	mica_rc rc = MICA_OK;

	for (size_t i = 0; i < c->n_reads && rc == MICA_OK; i++)
		rc = check_key(c->reads[i].table, c->reads[i].key, e);
	for (size_t i = 0; i < c->n_writes && rc == MICA_OK; i++)
		rc = check_write(&c->writes[i], true, e);
	if (rc == MICA_OK && c->n_entries > 0 && !seal)
		return mica_fail(e, MICA_INTERNAL, "store_argument",
			"store: entries without a ledger to seal them");
	return rc;
}

static mica_rc failed(struct mica_err *e)
{
	return mica_fail_fine(e, MICA_INTERNAL, "store_failed", "the store is not available",
		"store_failed", "an earlier commit failed: restart");
}

/* Whether the fault that a test asked for is due now. */
static enum mica_store_fault fault_due(struct mica_store *s)
{
	enum mica_store_fault f = (enum mica_store_fault)atomic_load(&s->fault);

	if (f == MICA_FAULT_NONE)
		return f;
	if (atomic_load(&s->fault_after) > 0) {
		atomic_fetch_sub(&s->fault_after, 1);
		return MICA_FAULT_NONE;
	}
	atomic_store(&s->fault, MICA_FAULT_NONE);
	return f;
}

/* Tells what became of a write: an outcome that nobody knows ends all writing. */
static mica_rc settle(
	struct mica_store *s, enum mica_store_fault fault, mica_rc rc, struct mica_err *e)
{
	if (fault == MICA_FAULT_UNKNOWN && rc == MICA_OK)
		rc = mica_fail_fine(e, MICA_INTERNAL, "commit_failed", "the store failed",
			"commit_failed", "fault asked for by a test");
	if (rc == MICA_INTERNAL && e && e->reason && strcmp(e->reason, "commit_failed") == 0)
		atomic_store(&s->failed, true);
	return rc;
}

static mica_rc full(struct mica_err *e)
{
	return mica_fail_fine(e, MICA_UNAVAILABLE, "disk_full", "no space left, try again later",
		"disk_full", "fault asked for by a test");
}

mica_rc mica_store_commit(struct mica_store *s, struct mica_change *changes, size_t n,
	const struct mica_seal *seal, struct mica_err *e)
{
	struct mica_err own = MICA_ERR_INIT;
	enum mica_store_fault fault;
	mica_rc rc = MICA_OK;

	e = e ? e : &own;
	if (atomic_load(&s->failed))
		return failed(e);
	for (size_t i = 0; i < n && rc == MICA_OK; i++)
		rc = check_change(&changes[i], seal, e);
	if (rc != MICA_OK)
		return rc;
	fault = fault_due(s);
	if (fault == MICA_FAULT_FULL)
		return full(e);
	return settle(s, fault, s->ops->commit(s, changes, n, seal, e), e);
}

mica_rc mica_store_apply(
	struct mica_store *s, const struct mica_write *writes, size_t n, struct mica_err *e)
{
	struct mica_err own = MICA_ERR_INIT;
	enum mica_store_fault fault;
	mica_rc rc = MICA_OK;

	e = e ? e : &own;
	if (atomic_load(&s->failed))
		return failed(e);
	for (size_t i = 0; i < n && rc == MICA_OK; i++)
		rc = check_write(&writes[i], false, e);
	if (rc != MICA_OK || n == 0)
		return rc;
	fault = fault_due(s);
	if (fault == MICA_FAULT_FULL)
		return full(e);
	return settle(s, fault, s->ops->apply(s, writes, n, e), e);
}

mica_rc mica_store_head(struct mica_store *s, struct mica_buf *head, struct mica_err *e)
{
	mica_buf_reset(head);
	return s->ops->head(s, head, e);
}

mica_rc mica_store_set_head(struct mica_store *s, struct mica_slice head, struct mica_err *e)
{
	return atomic_load(&s->failed) ? failed(e) : s->ops->set_head(s, head, e);
}

/* ---- life ---------------------------------------------------------------------------------- */

mica_rc mica_store_complete(struct mica_store *s, struct mica_err *e)
{
	return s->ops->complete(s, e);
}

void mica_store_close(struct mica_store *s)
{
	if (s)
		s->ops->close(s);
}

const char *mica_store_dir(const struct mica_store *s)
{
	return s->dir;
}

mica_rc mica_store_space(struct mica_store *s, struct mica_store_space *out, struct mica_err *e)
{
	mica_rc rc;

	memset(out, 0, sizeof(*out));
	rc = s->ops->space(s, out, e);
	if (rc != MICA_OK || out->disk_bytes == 0)
		return rc;
	out->disk_percent = (unsigned)((double)(out->disk_bytes - out->disk_free) * 100.0 /
		(double)out->disk_bytes);
	out->low = out->disk_percent >= s->max_percent;
	return MICA_OK;
}

mica_rc mica_store_copy(
	struct mica_store *s, const char *path, const struct mica_progress *p, struct mica_err *e)
{
	return s->ops->copy(s, path, p, e);
}

void mica_store_set_fault(struct mica_store *s, enum mica_store_fault f, unsigned after)
{
	atomic_store(&s->fault_after, after);
	atomic_store(&s->fault, (int)f);
}
