/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger's core: opening, committing with a signed tree, and reading entries, tiles and proofs.
 */
#include "ledger_impl.h"

#include "mica/file.h"
#include "mica/secret.h"

#include <stdio.h>

mica_rc mica_log_damaged(struct mica_err *e, const char *fmt, ...)
{
	char what[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	return mica_fail(e, MICA_CORRUPT, "log_damaged", "ledger: %s", what);
}

void mica_ledger_origin(const char *trust_domain, char out[MICA_NOTE_NAME_MAX])
{
	uint8_t r[8];
	char hex[17];

	mica_random(r, sizeof(r));
	mica_hex_encode(r, sizeof(r), hex);
	snprintf(out, MICA_NOTE_NAME_MAX, "%.255s/log/%s", trust_domain, hex);
}

/* ---- head ---------------------------------------------------------------------------------- */

mica_rc mica_log_head_read(struct mica_slice bytes, struct log_head_value *out, struct mica_err *e)
{
	struct mica_cursor c = {bytes, false};
	unsigned version = mica_cur_u8(&c);

	memset(out, 0, sizeof(*out));
	out->size = mica_cur_be64(&c);
	out->now_ms = (int64_t)mica_cur_be64(&c);
	out->note = mica_cur_take(&c, mica_cur_be16(&c));
	out->frontier.size = out->size;
	out->frontier.n = (unsigned)__builtin_popcountll(out->size);
	if (c.bad || version != 1 || out->size > MICA_TREE_MAX ||
		c.s.len != (size_t)out->frontier.n * MICA_HASH_LEN)
		return mica_log_damaged(e, "the head is malformed");
	if (c.s.len > 0)
		memcpy(out->frontier.peak, c.s.p, c.s.len);
	return MICA_OK;
}

void mica_log_head_write(const struct log_head_value *h, struct mica_buf *out)
{
	mica_buf_put_u8(out, 1);
	mica_buf_put_be64(out, h->size);
	mica_buf_put_be64(out, (uint64_t)h->now_ms);
	mica_buf_put_be16(out, (uint16_t)h->note.len);
	mica_buf_put_slice(out, h->note);
	mica_buf_put(out, h->frontier.peak, (size_t)h->frontier.n * MICA_HASH_LEN);
}

/* Signs the head of `f` and puts note and all into *head. */
static mica_rc sign_head(const struct mica_frontier *f, const struct mica_note_key *key,
	const struct mica_signer *signer, int64_t now_ms, struct mica_log_head *head,
	struct mica_err *e)
{
	struct mica_checkpoint c = {.size = f->size};
	MICA_AUTO_BUF note;
	mica_rc rc;

	memcpy(c.origin, key->name, sizeof(c.origin));
	mica_frontier_root(f, &c.root);
	mica_buf_init(&note, sizeof(head->note));
	rc = mica_checkpoint_sign(&c, key, signer, &note, e);
	if (rc != MICA_OK)
		return rc;
	head->size = c.size;
	head->root = c.root;
	head->now_ms = now_ms;
	head->note_len = note.len;
	memcpy(head->note, note.p, note.len);
	return MICA_OK;
}

char *mica_log_guard_path(const struct mica_store *s)
{
	const char *dir = mica_store_dir(s);
	size_t len = dir ? strlen(dir) + sizeof(GUARD_FILE) + 1 : 0;
	char *path = dir ? mica_alloc(len) : NULL;

	if (path)
		snprintf(path, len, "%s/%s", dir, GUARD_FILE);
	return path;
}

mica_rc mica_log_write_guard(const char *path, struct mica_slice note, struct mica_err *e)
{
	return path ? mica_file_write_atomic(path, note, 0600, e) : MICA_OK;
}

mica_rc mica_ledger_create(struct mica_store *s, const char *origin,
	const struct mica_signer *signer, int64_t now_ms, struct mica_err *e)
{
	struct log_head_value value = {.now_ms = now_ms};
	MICA_AUTO_FREE char *guard = mica_log_guard_path(s);
	struct mica_log_head head;
	struct mica_note_key key;
	MICA_AUTO_BUF bytes;
	mica_rc rc;

	mica_buf_init(&bytes, sizeof(head) + sizeof(value));
	if (mica_store_head(s, &bytes, NULL) != MICA_NOT_FOUND)
		return mica_fail(
			e, MICA_CONFLICT, "log_exists", "the store holds a ledger already");
	rc = mica_note_key_init(&key, mica_slice_str(origin), mica_signer_public(signer), e);
	if (rc == MICA_OK)
		rc = sign_head(&value.frontier, &key, signer, now_ms, &head, e);
	if (rc != MICA_OK)
		return rc;
	value.note = mica_slice(head.note, head.note_len);
	mica_buf_reset(&bytes);
	mica_log_head_write(&value, &bytes);
	rc = mica_store_set_head(s, mica_buf_slice(&bytes), e);
	return rc == MICA_OK ? mica_log_write_guard(guard, value.note, e) : rc;
}

/* ---- growing ------------------------------------------------------------------------------- */

static void drop_writes(struct mica_ledger *l)
{
	for (size_t i = 0; i < l->n_writes; i++)
		mica_free(l->mem[i].tile);
	l->n_writes = 0;
}

/* Keys and tiles move when the arrays grow, so slices are made in finish_writes. */
static struct log_write_mem *add_write(
	struct mica_ledger *l, enum mica_table t, struct mica_slice value)
{
	struct log_write_mem *m;

	if (l->n_writes == l->room) {
		l->room = l->room ? l->room * 2 : 256;
		l->writes = mica_realloc(l->writes, l->room, sizeof(*l->writes));
		l->mem = mica_realloc(l->mem, l->room, sizeof(*l->mem));
	}
	l->writes[l->n_writes] = (struct mica_write){t, MICA_PUT, MICA_SLICE_NULL, value};
	m = &l->mem[l->n_writes++];
	m->tile = NULL;
	return m;
}

static void add_tile(
	struct mica_ledger *l, const struct log_tree *t, unsigned level, uint64_t n, unsigned width)
{
	size_t len = (size_t)width * MICA_HASH_LEN;
	uint8_t *copy = mica_memdup(t->edge[level], len);
	struct log_write_mem *m = add_write(l, MICA_T_TILE, mica_slice(copy, len));

	m->tile = copy;
	m->key[0] = (uint8_t)level;
	mica_log_be64(n, m->key + 1);
}

static void finish_writes(struct mica_ledger *l)
{
	for (size_t i = 0; i < l->n_writes; i++)
		l->writes[i].key = l->writes[i].table == MICA_T_TILE ? mica_slice(l->mem[i].key, 9)
								     : mica_slice(l->mem[i].key, 8);
}

/* One leaf more. On its way up the carry passes the roots of full tiles: each is the next hash of
 * the level above. Bit i of *dirty: the tile of level i was touched. */
static void tree_add(
	struct mica_ledger *l, struct log_tree *t, const struct mica_hash *leaf, unsigned *dirty)
{
	struct mica_frontier *f = &t->frontier;
	struct mica_hash h = *leaf;
	uint64_t s = f->size;

	for (unsigned bit = 0;; bit++, s >>= 1) {
		if (bit % MICA_TILE_HEIGHT == 0) {
			unsigned level = bit / MICA_TILE_HEIGHT, at = s % MICA_TILE_WIDTH;

			t->edge[level][at] = h;
			*dirty |= 1U << level;
			if (at == MICA_TILE_WIDTH - 1) {
				add_tile(l, t, level, s / MICA_TILE_WIDTH, MICA_TILE_WIDTH);
				*dirty &= ~(1U << level);
			}
		}
		if (!(s & 1))
			break;
		mica_merkle_node(&f->peak[--f->n], &h, &h);
	}
	f->peak[f->n++] = h;
	f->size++;
}

static void tree_copy(struct log_tree *dst, const struct log_tree *src)
{
	dst->frontier = src->frontier;
	for (unsigned level = 0; level < LEVELS; level++) {
		uint64_t hashes = src->frontier.size >> (level * MICA_TILE_HEIGHT);

		if (hashes == 0)
			return;
		memcpy(dst->edge[level], src->edge[level],
			(hashes % MICA_TILE_WIDTH) * MICA_HASH_LEN);
	}
}

static mica_rc tree_load(struct mica_ledger *l, struct log_tree *t, const struct mica_frontier *f,
	struct mica_err *e);

/* Another process that shares the store may have appended: then the tree is read again. */
static mica_rc start_next(
	struct mica_ledger *l, const struct log_head_value *old, struct mica_err *e)
{
	drop_writes(l);
	if (old->size != l->tree->frontier.size)
		return tree_load(l, l->next, &old->frontier, e);
	tree_copy(l->next, l->tree);
	return MICA_OK;
}

static void add_bodies(
	struct mica_ledger *l, uint64_t first, const struct mica_slice *bodies, size_t n)
{
	unsigned dirty = 0;

	for (size_t i = 0; i < n; i++) {
		struct mica_hash leaf;

		mica_log_be64(first + i, add_write(l, MICA_T_ENTRY, bodies[i])->key);
		mica_merkle_leaf(bodies[i], &leaf);
		tree_add(l, l->next, &leaf, &dirty);
	}
	/* The last tile of level 0 is its entries' hashes: those are there. */
	for (unsigned level = 1; level < LEVELS; level++) {
		uint64_t hashes = l->next->frontier.size >> (level * MICA_TILE_HEIGHT);

		if (dirty >> level & 1)
			add_tile(l, l->next, level, hashes / MICA_TILE_WIDTH,
				(unsigned)(hashes % MICA_TILE_WIDTH));
	}
	finish_writes(l);
}

/* Called by the store with the head that it has locked. */
static mica_rc seal(void *ctx, struct mica_slice head, const struct mica_slice *bodies, size_t n,
	struct mica_seal_out *out, struct mica_err *e)
{
	struct mica_ledger *l = ctx;
	struct log_head_value v;
	mica_rc rc = mica_log_head_read(head, &v, e);

	if (rc == MICA_OK)
		rc = start_next(l, &v, e);
	if (rc != MICA_OK)
		return rc;
	out->first = v.size;
	add_bodies(l, v.size, bodies, n);
	l->now_ms = l->now_ms < v.now_ms ? v.now_ms : l->now_ms;
	rc = sign_head(&l->next->frontier, &l->key, l->signer, l->now_ms, &l->next_head, e);
	if (rc != MICA_OK)
		return rc;
	v.frontier = l->next->frontier;
	v.size = v.frontier.size;
	v.now_ms = l->now_ms;
	v.note = mica_slice(l->next_head.note, l->next_head.note_len);
	mica_buf_reset(&l->head_bytes);
	mica_log_head_write(&v, &l->head_bytes);
	out->head = mica_buf_slice(&l->head_bytes);
	out->writes = l->writes;
	out->n_writes = l->n_writes;
	l->built = true;
	return mica_buf_rc(&l->head_bytes, e);
}

static void publish(struct mica_ledger *l)
{
	struct log_tree *old;

	pthread_mutex_lock(&l->lock);
	old = l->tree;
	l->tree = l->next;
	l->next = old;
	l->head = l->next_head;
	l->commits++;
	pthread_mutex_unlock(&l->lock);
	l->built = false;
}

static mica_rc check_bodies(
	const struct mica_change *changes, size_t n, bool *any, struct mica_err *e)
{
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < changes[i].n_entries; k++) {
			*any = true;
			if (changes[i].entries[k].len == 0 ||
				changes[i].entries[k].len > MICA_ENTRY_MAX)
				return mica_fail(e, MICA_INVALID, "entry_invalid",
					"ledger entry: %zu octets, expected 1 to %d",
					changes[i].entries[k].len, MICA_ENTRY_MAX);
		}
	return MICA_OK;
}

mica_rc mica_ledger_commit(struct mica_ledger *l, struct mica_change *changes, size_t n,
	int64_t now_ms, struct mica_err *e)
{
	const struct mica_seal sealer = {seal, l};
	bool any = false;
	mica_rc rc = check_bodies(changes, n, &any, e);

	if (rc != MICA_OK)
		return rc;
	if (!any)
		return mica_store_commit(l->store, changes, n, NULL, e);
	if (!l->signer)
		return mica_fail(
			e, MICA_INTERNAL, "log_read_only", "the ledger is open for reading");
	l->now_ms = now_ms;
	l->built = false;
	rc = mica_store_commit(l->store, changes, n, &sealer, e);
	if (rc == MICA_OK && l->built)
		publish(l);
	return rc;
}

/* ---- what is published --------------------------------------------------------------------- */

void mica_ledger_head(struct mica_ledger *l, struct mica_log_head *out)
{
	pthread_mutex_lock(&l->lock);
	*out = l->head;
	pthread_mutex_unlock(&l->lock);
}

uint64_t mica_ledger_size(struct mica_ledger *l)
{
	uint64_t size;

	pthread_mutex_lock(&l->lock);
	size = l->head.size;
	pthread_mutex_unlock(&l->lock);
	return size;
}

int64_t mica_ledger_now_ms(struct mica_ledger *l)
{
	int64_t now;

	pthread_mutex_lock(&l->lock);
	now = l->head.now_ms;
	pthread_mutex_unlock(&l->lock);
	return now;
}

const struct mica_note_key *mica_ledger_key(const struct mica_ledger *l)
{
	return &l->key;
}

struct take_tile {
	uint8_t *out;
	size_t len;
};

static mica_rc take_tile(void *ctx, struct mica_slice value, uint64_t rev, struct mica_err *e)
{
	struct take_tile *t = ctx;

	(void)rev;
	if (value.len < t->len || value.len > MICA_TILE_BYTES)
		return mica_log_damaged(
			e, "a tile has %zu octets, expected %zu", value.len, t->len);
	memcpy(t->out, value.p, t->len);
	return MICA_OK;
}

static mica_rc stored_tile(struct mica_ledger *l, unsigned level, uint64_t n, unsigned width,
	uint8_t out[MICA_TILE_BYTES], struct mica_err *e)
{
	struct take_tile t = {out, (size_t)width * MICA_HASH_LEN};
	uint8_t key[9] = {(uint8_t)level};
	struct mica_err own = MICA_ERR_INIT;
	mica_rc rc;

	mica_log_be64(n, key + 1);
	rc = mica_store_view(
		l->store, MICA_T_TILE, mica_slice(key, sizeof(key)), take_tile, &t, &own);
	if (rc == MICA_NOT_FOUND)
		return mica_log_damaged(e, "tile %u/%llu is missing", level, (unsigned long long)n);
	if (rc != MICA_OK && e && e->rc == MICA_OK)
		*e = own;
	return rc;
}

mica_rc mica_log_read_tile(void *ctx, unsigned level, uint64_t n, unsigned width,
	uint8_t out[MICA_TILE_BYTES], struct mica_err *e)
{
	struct mica_ledger *l = ctx;
	bool found = false;
	uint64_t hashes;

	pthread_mutex_lock(&l->lock);
	hashes = l->tree->frontier.size >> (level * MICA_TILE_HEIGHT);
	if (n == hashes / MICA_TILE_WIDTH && width <= hashes % MICA_TILE_WIDTH) {
		memcpy(out, l->tree->edge[level], (size_t)width * MICA_HASH_LEN);
		found = true;
	}
	pthread_mutex_unlock(&l->lock);
	return found ? MICA_OK : stored_tile(l, level, n, width, out, e);
}

/* ---- entries ------------------------------------------------------------------------------- */

struct each {
	uint64_t from, to; /* what is left */
	mica_log_each_fn *fn;
	void *ctx;
	bool stopped, bad;
};

/* Entries of a sealed group: all lengths are checked. */
static mica_rc each_in_group(void *ctx, struct mica_slice value, uint64_t rev, struct mica_err *e)
{
	struct each *a = ctx;
	uint64_t index = a->from / GROUP * GROUP, end = index + GROUP;
	struct mica_cursor c = {value, false};

	(void)rev;
	if (mica_cur_u8(&c) != 0)
		return mica_log_damaged(e, "group %llu is stored in a way that is not known",
			(unsigned long long)(index / GROUP));
	for (; index < end && !a->stopped; index++) {
		struct mica_slice entry = mica_cur_take(&c, mica_cur_be16(&c));

		if (c.bad)
			return mica_log_damaged(
				e, "group %llu is cut off", (unsigned long long)(index / GROUP));
		if (index < a->from || index >= a->to)
			continue;
		a->stopped = !a->fn(a->ctx, index, entry);
		a->from = index + 1;
	}
	return MICA_OK;
}

static bool each_in_tail(void *ctx, struct mica_slice key, struct mica_slice value, uint64_t rev)
{
	struct each *a = ctx;

	(void)rev;
	if (key.len != 8 || mica_log_get64(key.p) != a->from)
		return false;
	a->stopped = !a->fn(a->ctx, a->from, value);
	a->from++;
	return !a->stopped && a->from < a->to;
}

/* From the open tail, one by one. */
static mica_rc walk_tail(struct mica_ledger *l, struct each *a, struct mica_err *e)
{
	uint8_t before[8];
	struct mica_scan scan = {.table = MICA_T_ENTRY};

	if (a->from > 0) {
		mica_log_be64(a->from - 1, before);
		scan.after = mica_slice(before, sizeof(before));
	}
	return mica_store_list(l->store, &scan, each_in_tail, a, e);
}

mica_rc mica_log_each(struct mica_ledger *l, uint64_t from, uint64_t to, mica_log_each_fn *fn,
	void *ctx, struct mica_err *e)
{
	struct each a = {from, to, fn, ctx, false, false};

	/* A group that is being sealed is first in one place, then in the other: look twice. */
	for (unsigned misses = 0; a.from < a.to && !a.stopped;) {
		struct mica_err own = MICA_ERR_INIT;
		uint64_t at = a.from;
		uint8_t key[8];
		mica_rc rc;

		rc = walk_tail(l, &a, &own);
		if (rc == MICA_OK && a.from == at) {
			mica_log_be64(at / GROUP, key);
			rc = mica_store_view(l->store, MICA_T_GROUP, mica_slice(key, sizeof(key)),
				each_in_group, &a, &own);
		}
		if (rc == MICA_NOT_FOUND && misses++ > 0)
			return mica_log_damaged(e, "entry %llu is missing", (unsigned long long)at);
		if (rc != MICA_OK && rc != MICA_NOT_FOUND) {
			if (e && e->rc == MICA_OK)
				*e = own;
			return rc;
		}
		if (a.from > at)
			misses = 0;
	}
	return MICA_OK;
}

static mica_rc take_entry(void *ctx, struct mica_slice value, uint64_t rev, struct mica_err *e)
{
	(void)rev;
	mica_buf_put_slice(ctx, value);
	return mica_buf_rc(ctx, e);
}

static bool take_one(void *ctx, uint64_t index, struct mica_slice entry)
{
	(void)index;
	mica_buf_put_slice(ctx, entry);
	return true;
}

static mica_rc no_such(struct mica_err *e, const char *reason, uint64_t n, uint64_t size)
{
	return mica_fail(e, MICA_NOT_FOUND, reason,
		"ledger: %llu is not in the tree, which has %llu entries", (unsigned long long)n,
		(unsigned long long)size);
}

mica_rc mica_ledger_entry(
	struct mica_ledger *l, uint64_t index, struct mica_buf *out, struct mica_err *e)
{
	uint64_t size = mica_ledger_size(l);
	uint8_t key[8];
	mica_rc rc;

	if (index >= size)
		return no_such(e, "no_such_entry", index, size);
	mica_log_be64(index, key);
	rc = mica_store_view(
		l->store, MICA_T_ENTRY, mica_slice(key, sizeof(key)), take_entry, out, NULL);
	if (rc == MICA_NOT_FOUND)
		rc = mica_log_each(l, index, index + 1, take_one, out, e);
	return rc == MICA_OK ? mica_buf_rc(out, e) : rc;
}

static bool take_bundle(void *ctx, uint64_t index, struct mica_slice entry)
{
	(void)index;
	mica_buf_put_be16(ctx, (uint16_t)entry.len);
	mica_buf_put_slice(ctx, entry);
	return true;
}

mica_rc mica_ledger_tile(struct mica_ledger *l, const struct mica_tile_id *id, struct mica_buf *out,
	struct mica_err *e)
{
	uint64_t size = mica_ledger_size(l), first = id->n * MICA_TILE_WIDTH;
	unsigned level = id->entries ? 0 : id->level;
	uint8_t tile[MICA_TILE_BYTES];
	mica_rc rc;

	if (id->width == 0 || id->width > mica_tile_width(size, level, id->n))
		return mica_fail(e, MICA_NOT_FOUND, "no_such_tile",
			"ledger: this tile is not in the tree, which has %llu entries",
			(unsigned long long)size);
	if (id->entries) {
		rc = mica_log_each(l, first, first + id->width, take_bundle, out, e);
		return rc == MICA_OK ? mica_buf_rc(out, e) : rc;
	}
	rc = mica_log_read_tile(l, level, id->n, id->width, tile, e);
	if (rc != MICA_OK)
		return rc;
	mica_buf_put(out, tile, (size_t)id->width * MICA_HASH_LEN);
	return mica_buf_rc(out, e);
}

/* ---- proofs -------------------------------------------------------------------------------- */

mica_rc mica_ledger_inclusion(struct mica_ledger *l, uint64_t index, uint64_t size,
	struct mica_proof *out, struct mica_err *e)
{
	uint64_t have = mica_ledger_size(l);

	if (size > have)
		return no_such(e, "no_such_tree", size, have);
	return mica_merkle_inclusion(mica_log_read_tile, l, index, size, out, e);
}

mica_rc mica_ledger_consistency(struct mica_ledger *l, uint64_t old_size, uint64_t new_size,
	struct mica_proof *out, struct mica_err *e)
{
	uint64_t have = mica_ledger_size(l);

	if (new_size > have)
		return no_such(e, "no_such_tree", new_size, have);
	return mica_merkle_consistency(mica_log_read_tile, l, old_size, new_size, out, e);
}

mica_rc mica_ledger_receipt(
	struct mica_ledger *l, uint64_t index, struct mica_buf *out, struct mica_err *e)
{
	struct mica_receipt r = {.index = index};
	struct mica_log_head head;
	mica_rc rc;

	mica_ledger_head(l, &head);
	if (index >= head.size)
		return no_such(e, "no_such_entry", index, head.size);
	rc = mica_merkle_inclusion(mica_log_read_tile, l, index, head.size, &r.proof, e);
	if (rc != MICA_OK)
		return rc;
	r.checkpoint = mica_slice(head.note, head.note_len);
	mica_receipt_format(&r, out);
	return mica_buf_rc(out, e);
}

/* ---- opening ------------------------------------------------------------------------------- */

struct load {
	struct log_tree *t;
	unsigned n;
};

static bool load_leaf(void *ctx, uint64_t index, struct mica_slice entry)
{
	struct load *a = ctx;

	mica_merkle_leaf(entry, &a->t->edge[0][index % MICA_TILE_WIDTH]);
	a->n++;
	return true;
}

/* The last tiles of a tree: the open one of level 0 from its entries, the others from the store. */
static mica_rc tree_load(struct mica_ledger *l, struct log_tree *t, const struct mica_frontier *f,
	struct mica_err *e)
{
	struct load a = {t, 0};
	uint64_t size = f->size;
	mica_rc rc = MICA_OK;

	t->frontier = *f;
	for (unsigned level = 1; level < LEVELS && rc == MICA_OK; level++) {
		uint64_t hashes = size >> (level * MICA_TILE_HEIGHT);

		if (hashes % MICA_TILE_WIDTH != 0)
			rc = stored_tile(l, level, hashes / MICA_TILE_WIDTH,
				(unsigned)(hashes % MICA_TILE_WIDTH), (uint8_t *)t->edge[level], e);
	}
	if (rc == MICA_OK)
		rc = mica_log_each(
			l, size / MICA_TILE_WIDTH * MICA_TILE_WIDTH, size, load_leaf, &a, e);
	return rc;
}

/* The head is signed, and says what the tiles say. */
static mica_rc check_head(struct mica_ledger *l, const struct log_head_value *v, struct mica_err *e)
{
	struct mica_frontier f;
	struct mica_checkpoint c;
	struct mica_hash root;
	mica_rc rc = mica_checkpoint_open(v->note, &l->key, &c, e);

	if (rc != MICA_OK)
		return rc;
	mica_frontier_root(&v->frontier, &root);
	if (c.size != v->size || !mica_hash_eq(&root, &c.root))
		return mica_log_damaged(e, "the head does not fit its checkpoint");
	rc = mica_merkle_frontier(mica_log_read_tile, l, v->size, &f, e);
	if (rc != MICA_OK)
		return rc;
	if (memcmp(f.peak, v->frontier.peak, (size_t)f.n * MICA_HASH_LEN) != 0)
		return mica_log_damaged(e, "the last tiles do not fit the signed root");
	return MICA_OK;
}

/* What was published must be a part of what there is. */
static mica_rc check_guard(struct mica_ledger *l, struct mica_err *e)
{
	struct mica_err own = MICA_ERR_INIT;
	struct mica_checkpoint c;
	struct mica_hash root;
	MICA_AUTO_BUF note;
	mica_rc rc;

	if (!l->guard)
		return MICA_OK;
	mica_buf_init(&note, MICA_CHECKPOINT_MAX);
	rc = mica_file_read(l->guard, &note, &own);
	if (rc == MICA_NOT_FOUND)
		return mica_fail(e, MICA_CORRUPT, "checkpoint_missing",
			"%s: the last published checkpoint is missing; after a loss of files use "
			"`mica restore`",
			l->guard);
	if (rc != MICA_OK)
		return mica_fail(e, rc, own.reason, "%s", own.text);
	rc = mica_checkpoint_open(mica_buf_slice(&note), &l->key, &c, e);
	if (rc != MICA_OK) {
		mica_err_context(e, "%s", l->guard);
		return rc;
	}
	if (c.size > l->head.size)
		return mica_fail(e, MICA_CORRUPT, "log_behind_checkpoint",
			"the ledger has %llu entries, but a checkpoint of %llu was published (%s): was "
			"an old copy put back? `mica restore` does it right",
			(unsigned long long)l->head.size, (unsigned long long)c.size, l->guard);
	rc = mica_merkle_root(mica_log_read_tile, l, c.size, &root, e);
	if (rc != MICA_OK)
		return rc;
	if (!mica_hash_eq(&root, &c.root))
		return mica_fail(e, MICA_CORRUPT, "log_forked",
			"the ledger's tree of %llu entries is not the one that was published (%s)",
			(unsigned long long)c.size, l->guard);
	l->guard_size = c.size;
	return MICA_OK;
}

static mica_rc stored_head(
	struct mica_store *s, struct mica_buf *bytes, struct log_head_value *v, struct mica_err *e)
{
	struct mica_err own = MICA_ERR_INIT;
	mica_rc rc = mica_store_head(s, bytes, &own);

	if (rc == MICA_NOT_FOUND)
		return mica_fail(e, MICA_CORRUPT, "log_missing", "the store holds no ledger");
	if (rc != MICA_OK) {
		if (e && e->rc == MICA_OK)
			*e = own;
		return rc;
	}
	return mica_log_head_read(mica_buf_slice(bytes), v, e);
}

mica_rc mica_ledger_stored_origin(
	struct mica_store *s, char out[MICA_NOTE_NAME_MAX], struct mica_err *e)
{
	struct log_head_value v;
	struct mica_slice line;
	MICA_AUTO_BUF bytes;
	mica_rc rc;

	mica_buf_init(&bytes, (size_t)1 << 20);
	rc = stored_head(s, &bytes, &v, e);
	if (rc != MICA_OK)
		return rc;
	mica_slice_cut(&v.note, '\n', &line);
	if (mica_slice_copy(line, out, MICA_NOTE_NAME_MAX) != MICA_OK)
		return mica_log_damaged(e, "the head is malformed");
	return MICA_OK;
}

static mica_rc open_key(struct mica_ledger *l, const struct mica_note_key *key, struct mica_err *e)
{
	char origin[MICA_NOTE_NAME_MAX];
	mica_rc rc = mica_ledger_stored_origin(l->store, origin, e);

	if (rc != MICA_OK)
		return rc;
	if (l->signer)
		return mica_note_key_init(
			&l->key, mica_slice_str(origin), mica_signer_public(l->signer), e);
	if (!key || strcmp(key->name, origin) != 0)
		return mica_fail(e, MICA_CORRUPT, "log_key_mismatch",
			"the ledger is %s, expected %s", origin, key ? key->name : "a key");
	l->key = *key;
	return MICA_OK;
}

static mica_rc open_tree(struct mica_ledger *l, struct mica_err *e)
{
	struct log_head_value v;
	MICA_AUTO_BUF bytes;
	mica_rc rc;

	mica_buf_init(&bytes, (size_t)1 << 20);
	rc = stored_head(l->store, &bytes, &v, e);
	if (rc != MICA_OK)
		return rc;
	if (v.note.len > sizeof(l->head.note))
		return mica_log_damaged(e, "the head is malformed");
	l->head.size = v.size;
	l->head.now_ms = v.now_ms;
	l->head.note_len = v.note.len;
	memcpy(l->head.note, v.note.p, v.note.len);
	mica_frontier_root(&v.frontier, &l->head.root);
	rc = tree_load(l, l->tree, &v.frontier, e);
	return rc == MICA_OK ? check_head(l, &v, e) : rc;
}

mica_rc mica_ledger_open(struct mica_store *s, const struct mica_signer *signer,
	const struct mica_note_key *key, struct mica_ledger **out, struct mica_err *e)
{
	MICA_AUTO_LEDGER l = MICA_NEW(struct mica_ledger);
	mica_rc rc;

	l->store = s;
	l->signer = signer;
	l->tree = MICA_NEW(struct log_tree);
	l->next = MICA_NEW(struct log_tree);
	l->guard_size = UINT64_MAX; /* nothing is written outside before the check */
	pthread_mutex_init(&l->lock, NULL);
	pthread_mutex_init(&l->tail_lock, NULL);
	mica_buf_init(&l->head_bytes, sizeof(l->head) + sizeof(struct mica_frontier));
	l->guard = mica_log_guard_path(s);
	rc = open_key(l, key, e);
	if (rc == MICA_OK)
		rc = open_tree(l, e);
	if (rc == MICA_OK)
		rc = check_guard(l, e);
	if (rc == MICA_OK)
		rc = mica_log_load_marks(l, e);
	if (rc == MICA_OK)
		*out = MICA_STEAL(l);
	return rc;
}

void mica_ledger_close(struct mica_ledger *l)
{
	if (!l)
		return;
	if (l->guard && l->guard_size < l->head.size &&
		mica_log_write_guard(l->guard, mica_slice(l->head.note, l->head.note_len), NULL) !=
			MICA_OK)
		l->guard_size = 0; /* the older one still holds */
	drop_writes(l);
	mica_free(l->writes);
	mica_free(l->mem);
	mica_buf_clear(&l->head_bytes);
	mica_free(l->tree);
	mica_free(l->next);
	mica_free(l->tail);
	mica_free(l->guard);
	pthread_mutex_destroy(&l->lock);
	pthread_mutex_destroy(&l->tail_lock);
	mica_free(l);
}
