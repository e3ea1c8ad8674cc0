/* SPDX-License-Identifier: Apache-2.0 */
/* Whole logs: verification, export as static files, backup and restore. */
#include "ledger_impl.h"

#include "mica/file.h"
#include "mica/json.h"

#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

static void tell(const struct mica_progress *p, uint64_t done, uint64_t all)
{
	if (p && p->fn)
		p->fn(p->ctx, done, all);
}

/* ---- verification -------------------------------------------------------------------------- */

struct check {
	struct mica_ledger *l;
	const struct mica_progress *progress;
	uint64_t size;
	struct log_tree *tree; /* built again from the entries */
	struct log_row *rows; /* of the stretch of RUN_MERGED that is being read */
	struct log_marks marks;
	struct mica_check_report *report;
	struct mica_err *e;
	mica_rc rc;
};

/* A tile that the entries give must be the stored one. */
static mica_rc check_tile(struct check *c, unsigned level, uint64_t n, unsigned width)
{
	uint8_t stored[MICA_TILE_BYTES];
	mica_rc rc = mica_log_read_tile(c->l, level, n, width, stored, c->e);

	if (rc != MICA_OK)
		return rc;
	c->report->tiles++;
	if (memcmp(stored, c->tree->edge[level], (size_t)width * MICA_HASH_LEN) != 0)
		return mica_log_damaged(c->e, "tile %u/%llu is not what its entries hash to", level,
			(unsigned long long)n);
	return MICA_OK;
}

/* As the committer does, with a look at each tile that becomes full. The stored tiles are read
 * afterwards: here the store is being walked. */
static unsigned check_add(struct check *c, const struct mica_hash *leaf)
{
	struct mica_frontier *f = &c->tree->frontier;
	struct mica_hash h = *leaf;
	unsigned full = 0;
	uint64_t s = f->size;

	for (unsigned bit = 0;; bit++, s >>= 1) {
		if (bit % MICA_TILE_HEIGHT == 0) {
			unsigned level = bit / MICA_TILE_HEIGHT, at = s % MICA_TILE_WIDTH;

			c->tree->edge[level][at] = h;
			if (at == MICA_TILE_WIDTH - 1)
				full |= 1U << level;
		}
		if (!(s & 1))
			break;
		mica_merkle_node(&f->peak[--f->n], &h, &h);
	}
	f->peak[f->n++] = h;
	f->size++;
	return full;
}

static bool check_entry(void *ctx, uint64_t index, struct mica_slice entry)
{
	struct check *c = ctx;
	struct mica_entry_keys k;
	struct mica_entry en;
	struct mica_hash leaf;

	c->rc = mica_entry_decode(entry, &en, c->e);
	if (c->rc == MICA_OK)
		c->rc = mica_entry_keys(&en, &k, c->e);
	if (c->rc != MICA_OK) {
		mica_err_context(c->e, "entry %llu", (unsigned long long)index);
		return false;
	}
	mica_merkle_leaf(entry, &leaf);
	mica_log_row(entry, &c->rows[index % RUN_MERGED]);
	c->report->entries++;
	check_add(c, &leaf);
	return true;
}

static mica_rc check_full_tiles(struct check *c, uint64_t size)
{
	mica_rc rc = MICA_OK;

	/* `size` is a multiple of 256: level 0 is full, and those above that end here too. */
	for (unsigned level = 0; level < LEVELS && rc == MICA_OK; level++) {
		uint64_t hashes = size >> (level * MICA_TILE_HEIGHT);

		if (hashes % MICA_TILE_WIDTH != 0 || hashes == 0)
			return MICA_OK;
		rc = check_tile(c, level, hashes / MICA_TILE_WIDTH - 1, MICA_TILE_WIDTH);
		if (size & (((uint64_t)1 << ((level + 1) * MICA_TILE_HEIGHT)) - 1))
			break;
	}
	return rc;
}

static mica_rc same_run(void *ctx, struct mica_slice value, uint64_t rev, struct mica_err *e)
{
	(void)rev;
	if (mica_slice_eq(value, mica_buf_slice(ctx)))
		return MICA_OK;
	return mica_log_damaged(e, "an index is not what its entries give");
}

static mica_rc check_run(struct check *c, enum run_kind kind, unsigned level, uint64_t n,
	const struct log_row *rows, size_t len)
{
	uint8_t key[6];
	MICA_AUTO_BUF want;
	mica_rc rc;

	mica_buf_init(&want, (size_t)1 << 20);
	mica_log_build_run(kind, rows, len, &want);
	rc = mica_store_view(c->l->store, MICA_T_INDEX, mica_log_run_key(kind, level, n, key),
		same_run, &want, c->e);
	if (rc != MICA_OK)
		mica_err_context(c->e, "index %d/%u/%llu", (int)kind, level, (unsigned long long)n);
	return rc == MICA_NOT_FOUND ? MICA_CORRUPT : rc;
}

/* Runs of the stretch that ends at `end`. */
static mica_rc check_runs(struct check *c, uint64_t start, uint64_t end)
{
	mica_rc rc = MICA_OK;

	for (uint64_t i = start; i + RUN <= end && i + RUN <= c->marks.indexed && rc == MICA_OK;
		i += RUN) {
		rc = check_run(c, RUN_ZONE, 0, i / RUN, c->rows + (i - start), RUN);
		for (unsigned k = RUN_SPIFFE; k < RUN_ZONE && rc == MICA_OK && i >= c->marks.merged;
			k++)
			rc = check_run(c, (enum run_kind)k, 0, i / RUN, c->rows + (i - start), RUN);
	}
	for (unsigned k = RUN_SPIFFE; k < RUN_ZONE && rc == MICA_OK && end <= c->marks.merged; k++)
		rc = check_run(c, (enum run_kind)k, 1, start / RUN_MERGED, c->rows, RUN_MERGED);
	return rc;
}

static mica_rc check_entries(struct check *c)
{
	for (uint64_t at = 0; at < c->size;) {
		uint64_t end = (at / GROUP + 1) * GROUP, start = at / RUN_MERGED * RUN_MERGED;
		mica_rc rc;

		end = end > c->size ? c->size : end;
		rc = mica_log_each(c->l, at, end, check_entry, c, c->e);
		if (rc == MICA_OK)
			rc = c->rc;
		if (rc == MICA_OK && end % GROUP == 0)
			rc = check_full_tiles(c, end);
		if (rc == MICA_OK && (end % RUN_MERGED == 0 || end == c->size))
			rc = check_runs(c, start, end);
		if (rc != MICA_OK)
			return rc;
		at = end;
		tell(c->progress, at, c->size);
	}
	return MICA_OK;
}

/* The partial tiles at the right edge, and the signed root. */
static mica_rc check_top(struct check *c, const struct mica_log_head *head)
{
	struct mica_checkpoint cp;
	struct mica_hash root;
	mica_rc rc =
		mica_checkpoint_open(mica_slice(head->note, head->note_len), &c->l->key, &cp, c->e);

	for (unsigned level = 0; level < LEVELS && rc == MICA_OK; level++) {
		uint64_t hashes = c->size >> (level * MICA_TILE_HEIGHT);

		if (hashes % MICA_TILE_WIDTH != 0)
			rc = check_tile(c, level, hashes / MICA_TILE_WIDTH,
				(unsigned)(hashes % MICA_TILE_WIDTH));
	}
	if (rc != MICA_OK)
		return rc;
	mica_frontier_root(&c->tree->frontier, &root);
	if (cp.size != c->size || !mica_hash_eq(&root, &cp.root))
		return mica_log_damaged(c->e, "the entries do not lead to the signed root");
	return MICA_OK;
}

static bool count_record(void *ctx, struct mica_slice key, struct mica_slice value, uint64_t rev)
{
	(void)key;
	(void)value;
	(void)rev;
	++*(uint64_t *)ctx;
	return true;
}

mica_rc mica_ledger_check(struct mica_ledger *l, const struct mica_progress *p,
	struct mica_check_report *out, struct mica_err *e)
{
	MICA_AUTO_FREE struct log_tree *tree = MICA_NEW(struct log_tree);
	MICA_AUTO_FREE struct log_row *rows = mica_calloc(RUN_MERGED, sizeof(*rows));
	struct check c = {.l = l, .progress = p, .tree = tree, .rows = rows, .report = out};
	struct mica_err own = MICA_ERR_INIT;
	struct mica_log_head head;
	mica_rc rc = MICA_OK;

	c.e = e ? e : &own;
	memset(out, 0, sizeof(*out));
	mica_ledger_head(l, &head);
	c.size = head.size;
	pthread_mutex_lock(&l->tail_lock);
	c.marks = l->marks;
	pthread_mutex_unlock(&l->tail_lock);
	for (unsigned t = MICA_T_META; t < MICA_T_RECORD_END && rc == MICA_OK; t++) {
		struct mica_scan scan = {.table = (enum mica_table)t};

		rc = mica_store_list(l->store, &scan, count_record, &out->records, c.e);
	}
	if (rc == MICA_OK)
		rc = check_entries(&c);
	return rc == MICA_OK ? check_top(&c, &head) : rc;
}

/* ---- export -------------------------------------------------------------------------------- */

struct export
{
	struct mica_ledger *l;
	const char *dir;
	uint64_t old_size, size;
	const struct mica_progress *progress;
	struct mica_err *e;
};

static mica_rc write_below(struct export *x, const char *name, struct mica_slice data)
{
	char path[4096], *slash;
	mica_rc rc;

	if (snprintf(path, sizeof(path), "%s/%s", x->dir, name) >= (int)sizeof(path))
		return mica_fail_errno(x->e, ENAMETOOLONG, "%s", x->dir);
	slash = strrchr(path, '/');
	*slash = '\0';
	rc = mica_mkdir_p(path, 0755, x->e);
	*slash = '/';
	return rc == MICA_OK ? mica_file_write_atomic(path, data, 0644, x->e) : rc;
}

static mica_rc export_tile(struct export *x, const struct mica_tile_id *id)
{
	char name[MICA_TILE_PATH_MAX];
	MICA_AUTO_BUF b;
	mica_rc rc;

	mica_buf_init(&b, (size_t)MICA_TILE_WIDTH * (MICA_ENTRY_MAX + 2));
	rc = mica_ledger_tile(x->l, id, &b, x->e);
	mica_tile_path(id, name);
	return rc == MICA_OK ? write_below(x, name, mica_buf_slice(&b)) : rc;
}

/* Partial tiles of former exports, once the full one is there. */
static void remove_partial(struct export *x, struct mica_tile_id id)
{
	char name[MICA_TILE_PATH_MAX], path[4096];

	for (id.width = 1; id.width < MICA_TILE_WIDTH; id.width++) {
		mica_tile_path(&id, name);
		if (snprintf(path, sizeof(path), "%s/%s", x->dir, name) < (int)sizeof(path))
			unlink(path);
	}
	*strrchr(path, '/') = '\0';
	rmdir(path);
}

static mica_rc export_level(struct export *x, bool entries, unsigned level)
{
	unsigned shift = level * MICA_TILE_HEIGHT;
	uint64_t old = x->old_size >> shift, all = x->size >> shift;

	for (uint64_t n = old / MICA_TILE_WIDTH; n * MICA_TILE_WIDTH < all; n++) {
		struct mica_tile_id id = {entries, level, n, mica_tile_width(x->size, level, n)};
		unsigned before = mica_tile_width(x->old_size, level, n);
		mica_rc rc;

		if (before == id.width)
			continue;
		rc = export_tile(x, &id);
		if (rc != MICA_OK)
			return rc;
		if (id.width == MICA_TILE_WIDTH && before > 0)
			remove_partial(x, id);
		if (level == 0)
			tell(x->progress, n * MICA_TILE_WIDTH, x->size);
	}
	return MICA_OK;
}

/* Where the last export ended; another log's directory is refused. */
static mica_rc export_start(struct export *x, const char *name, bool *there)
{
	struct mica_err own = MICA_ERR_INIT;
	struct mica_checkpoint c;
	struct mica_hash root;
	char path[4096];
	MICA_AUTO_BUF note;
	mica_rc rc;

	*there = false;
	mica_buf_init(&note, MICA_CHECKPOINT_MAX);
	if (snprintf(path, sizeof(path), "%s/%s", x->dir, name) >= (int)sizeof(path))
		return mica_fail_errno(x->e, ENAMETOOLONG, "%s", x->dir);
	rc = mica_file_read(path, &note, &own);
	if (rc == MICA_NOT_FOUND)
		return MICA_OK;
	if (rc == MICA_OK)
		rc = mica_checkpoint_open(mica_buf_slice(&note), &x->l->key, &c, &own);
	if (rc != MICA_OK)
		return mica_fail(x->e, MICA_CONFLICT, "export_foreign",
			"%s: its checkpoint is not of this log (%s)", x->dir, own.text);
	if (c.size > x->size)
		return mica_fail(x->e, MICA_CONFLICT, "export_newer",
			"%s: it holds %llu entries, the log %llu", x->dir,
			(unsigned long long)c.size, (unsigned long long)x->size);
	rc = mica_merkle_root(mica_log_read_tile, x->l, c.size, &root, x->e);
	if (rc == MICA_OK && !mica_hash_eq(&root, &c.root))
		return mica_fail(x->e, MICA_CORRUPT, "log_forked",
			"%s: its checkpoint is of another tree", x->dir);
	x->old_size = c.size;
	*there = true;
	return rc;
}

/* Bundles came later, or not at all, to a directory that had hash tiles alone. */
#define FULL_MARK "tile/entries/.exported"

static mica_rc export_entries(struct export *x, struct mica_slice note)
{
	uint64_t hashes_from = x->old_size;
	bool there;
	mica_rc rc;

	x->old_size = 0;
	rc = export_start(x, FULL_MARK, &there);
	if (rc == MICA_OK)
		rc = export_level(x, true, 0);
	if (rc == MICA_OK)
		rc = write_below(x, FULL_MARK, note);
	x->old_size = hashes_from;
	return rc;
}

mica_rc mica_ledger_export(struct mica_ledger *l, const char *dir, bool full,
	const struct mica_progress *p, struct mica_err *e)
{
	struct export x = {.l = l, .dir = dir, .progress = p, .e = e};
	struct mica_log_head head;
	struct mica_slice note;
	bool there;
	mica_rc rc;

	mica_ledger_head(l, &head);
	note = mica_slice(head.note, head.note_len);
	x.size = head.size;
	rc = export_start(&x, GUARD_FILE, &there);
	if (rc == MICA_OK && full)
		rc = export_entries(&x, note);
	for (unsigned level = 0; level < LEVELS && rc == MICA_OK; level++)
		rc = export_level(&x, false, level);
	/* Last: what it promises is there. */
	if (rc == MICA_OK)
		rc = write_below(&x, GUARD_FILE, note);
	tell(p, x.size, x.size);
	return rc;
}

/* ---- backup -------------------------------------------------------------------------------- */

static mica_rc hash_file(const char *path, char hex[65], uint64_t *length,
	const struct mica_progress *p, struct mica_err *e)
{
	MICA_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	MICA_AUTO_FREE uint8_t *block = mica_alloc((size_t)1 << 20);
	uint8_t hash[32];
	struct stat st;
	SHA256_CTX c;
	ssize_t n;

	*length = 0;
	if (fd < 0 || fstat(fd, &st) != 0)
		return mica_fail_errno(e, errno, "%s", path);
	SHA256_Init(&c);
	while ((n = read(fd, block, (size_t)1 << 20)) > 0) {
		SHA256_Update(&c, block, (size_t)n);
		*length += (uint64_t)n;
		tell(p, *length, (uint64_t)st.st_size);
	}
	if (n < 0)
		return mica_fail_errno(e, errno, "%s", path);
	SHA256_Final(hash, &c);
	mica_hex_encode(hash, sizeof(hash), hex);
	return MICA_OK;
}

static mica_rc manifest_path(const char *path, char out[4096], struct mica_err *e)
{
	if (snprintf(out, 4096, "%s.manifest", path) >= 4096)
		return mica_fail_errno(e, ENAMETOOLONG, "%s", path);
	return MICA_OK;
}

static void write_manifest(const struct mica_log_head *head, const char *origin, int64_t now_ms,
	const char *hex, uint64_t length, struct mica_buf *out)
{
	char time[MICA_TIME_SIZE];

	mica_time_format(now_ms / 1000, time);
	mica_buf_printf(out, "{\n  \"format\": \"mica-backup-1\",\n  \"time\": \"%s\",\n", time);
	mica_buf_put_str(out, "  \"origin\": ");
	mica_buf_put_json_string(out, mica_slice_str(origin));
	mica_buf_printf(
		out, ",\n  \"size\": %llu,\n  \"root\": \"", (unsigned long long)head->size);
	mica_buf_put_b64(out, head->root.b, MICA_HASH_LEN);
	mica_buf_put_str(out, "\",\n  \"checkpoint\": ");
	mica_buf_put_json_string(out, mica_slice(head->note, head->note_len));
	mica_buf_printf(out, ",\n  \"length\": %llu,\n  \"sha256\": \"%s\"\n}\n",
		(unsigned long long)length, hex);
}

mica_rc mica_ledger_backup(struct mica_ledger *l, const char *path, int64_t now_ms,
	const struct mica_progress *p, struct mica_err *e)
{
	struct mica_log_head head;
	char manifest[4096], hex[65];
	MICA_AUTO_BUF text;
	uint64_t length;
	mica_rc rc;

	mica_buf_init(&text, 8192);
	rc = manifest_path(path, manifest, e);
	if (rc != MICA_OK)
		return rc;
	if (access(manifest, F_OK) == 0)
		return mica_fail_errno(e, EEXIST, "%s", manifest);
	/* The copy holds at least this tree. */
	mica_ledger_head(l, &head);
	rc = mica_store_copy(l->store, path, p, e);
	if (rc == MICA_OK)
		rc = hash_file(path, hex, &length, p, e);
	if (rc != MICA_OK)
		return rc;
	write_manifest(&head, l->key.name, now_ms, hex, length, &text);
	rc = mica_buf_rc(&text, e);
	return rc == MICA_OK ? mica_file_write_atomic(manifest, mica_buf_slice(&text), 0600, e)
			     : rc;
}

/* ---- restore ------------------------------------------------------------------------------- */

static mica_rc check_manifest(const char *path, const struct mica_progress *p, struct mica_err *e)
{
	char manifest[4096], hex[65];
	struct mica_slice format = {0}, sha = {0};
	int64_t length = 0;
	uint64_t have;
	MICA_AUTO_JSON d = {0};
	MICA_AUTO_BUF text;
	const struct mica_json_member members[] = {
		{.name = "format", .type = MICA_JSON_STRING, .required = true, .out = &format},
		{.name = "sha256", .type = MICA_JSON_STRING, .required = true, .out = &sha},
		{.name = "length", .type = MICA_JSON_INT, .required = true, .out = &length},
	};
	struct mica_err own = MICA_ERR_INIT;
	mica_rc rc;

	mica_buf_init(&text, 65536);
	rc = manifest_path(path, manifest, e);
	if (rc != MICA_OK)
		return rc;
	rc = mica_file_read(manifest, &text, e);
	if (rc != MICA_OK)
		return rc;
	if (mica_json_parse(mica_buf_slice(&text), NULL, &d, &own) != MICA_OK ||
		mica_json_read(&d, d.root, "", members, MICA_ARRAY_LEN(members), true, &own) !=
			MICA_OK ||
		!mica_slice_eq_str(format, "mica-backup-1"))
		return mica_fail(e, MICA_CORRUPT, "backup_manifest",
			"%s: expected the manifest of a backup: %s", manifest,
			own.text[0] ? own.text : "unknown format");
	rc = hash_file(path, hex, &have, p, e);
	if (rc != MICA_OK)
		return rc;
	if (have != (uint64_t)length || !mica_slice_eq_str(sha, hex))
		return mica_fail(e, MICA_CORRUPT, "backup_damaged",
			"%s: it is not the file that its manifest describes", path);
	return MICA_OK;
}

mica_rc mica_backup_open(const char *path, const char *dir, const struct mica_progress *p,
	struct mica_store **out, struct mica_err *e)
{
	mica_rc rc = check_manifest(path, p, e);

	return rc == MICA_OK ? mica_store_create_from(path, dir, NULL, out, e) : rc;
}

/* The entry that ends the old log: what is known of it, and what may be lost. */
static mica_rc restored_entry(const struct mica_restore *r, const struct mica_restore_report *rep,
	struct mica_slice old_note, struct mica_buf *out, struct mica_err *e)
{
	MICA_AUTO_BUF detail;
	struct mica_entry en = {.type = MICA_ENTRY_LOG,
		.time_ms = r->now_ms,
		.action = MICA_LIT("restored"),
		.actor = r->actor ? r->actor : MICA_ACTOR_SYSTEM,
		.uid = r->uid,
		.gid = r->gid,
		.pid = r->pid};

	mica_buf_init(&detail, 32768);
	mica_buf_put_str(&detail, "{\"old_origin\":");
	mica_buf_put_json_string(&detail, mica_slice_str(rep->old_origin));
	mica_buf_put_str(&detail, ",\"new_origin\":");
	mica_buf_put_json_string(&detail, mica_slice_str(r->new_origin));
	mica_buf_printf(&detail, ",\"lost_from\":%llu,\"lost_to\":%llu,\"backup_time_ms\":%lld",
		(unsigned long long)rep->lost_from, (unsigned long long)rep->lost_to,
		(long long)rep->backup_now_ms);
	mica_buf_put_str(&detail, ",\"old_checkpoint\":");
	mica_buf_put_json_string(
		&detail, r->known_checkpoint.len > 0 ? r->known_checkpoint : old_note);
	mica_buf_put_u8(&detail, '}');
	en.detail = mica_buf_slice(&detail);
	return mica_entry_encode(&en, out, e);
}

static mica_rc known_size(const struct mica_restore *r, const struct mica_note_key *old,
	struct mica_restore_report *out, struct mica_err *e)
{
	struct mica_checkpoint c;
	mica_rc rc;

	out->lost_to = out->lost_from;
	if (r->known_checkpoint.len == 0)
		return MICA_OK;
	rc = mica_checkpoint_open(r->known_checkpoint, old, &c, e);
	if (rc == MICA_OK && c.size > out->lost_to)
		out->lost_to = c.size;
	return rc;
}

static mica_rc append_restored(struct mica_store *s, const struct mica_restore *r,
	struct mica_slice entry, struct mica_err *e)
{
	struct mica_change change = {.entries = &entry, .n_entries = 1};
	MICA_AUTO_LEDGER l = NULL;
	mica_rc rc = mica_ledger_open(s, r->signer, NULL, &l, e);

	if (rc == MICA_OK)
		rc = mica_ledger_commit(l, &change, 1, r->now_ms, e);
	return rc == MICA_OK ? mica_ledger_maintain(l, NULL, e) : rc;
}

/* The head as it stands, which must be what this key signed; and under which name. */
static mica_rc old_log(struct mica_store *s, const struct mica_restore *r, struct mica_buf *bytes,
	struct log_head_value *v, struct mica_note_key *old, struct mica_checkpoint *c,
	struct mica_restore_report *out, struct mica_err *e)
{
	mica_rc rc = mica_ledger_stored_origin(s, out->old_origin, e);

	if (rc == MICA_OK)
		rc = mica_store_head(s, bytes, e);
	if (rc == MICA_OK)
		rc = mica_log_head_read(mica_buf_slice(bytes), v, e);
	if (rc == MICA_OK)
		rc = mica_note_key_init(
			old, mica_slice_str(out->old_origin), mica_signer_public(r->signer), e);
	if (rc == MICA_OK)
		rc = mica_checkpoint_open(v->note, old, c, e);
	if (rc != MICA_OK)
		return rc;
	out->lost_from = v->size;
	out->backup_now_ms = v->now_ms;
	out->now_ms = r->now_ms;
	return known_size(r, old, out, e);
}

/* The same tree, signed under the new name; inside the database, then outside. */
static mica_rc rename_log(struct mica_store *s, const struct mica_restore *r,
	struct log_head_value *v, struct mica_checkpoint *c, struct mica_err *e)
{
	MICA_AUTO_FREE char *guard = mica_log_guard_path(s);
	struct mica_note_key key;
	MICA_AUTO_BUF note, head;
	mica_rc rc;

	mica_buf_init(&note, MICA_CHECKPOINT_MAX);
	mica_buf_init(&head, (size_t)1 << 20);
	rc = mica_note_key_init(
		&key, mica_slice_str(r->new_origin), mica_signer_public(r->signer), e);
	if (rc != MICA_OK)
		return rc;
	memcpy(c->origin, key.name, sizeof(c->origin));
	rc = mica_checkpoint_sign(c, &key, r->signer, &note, e);
	if (rc != MICA_OK)
		return rc;
	v->note = mica_buf_slice(&note);
	mica_log_head_write(v, &head);
	rc = mica_store_set_head(s, mica_buf_slice(&head), e);
	return rc == MICA_OK ? mica_log_write_guard(guard, mica_buf_slice(&note), e) : rc;
}

mica_rc mica_ledger_restart(struct mica_store *s, const struct mica_restore *r,
	struct mica_restore_report *out, struct mica_err *e)
{
	struct mica_note_key old;
	struct log_head_value v;
	struct mica_checkpoint c = {0};
	MICA_AUTO_BUF bytes, entry;
	mica_rc rc;

	memset(out, 0, sizeof(*out));
	mica_buf_init(&bytes, (size_t)1 << 20);
	mica_buf_init(&entry, MICA_ENTRY_MAX);
	rc = old_log(s, r, &bytes, &v, &old, &c, out, e);
	if (rc == MICA_OK && strcmp(r->new_origin, out->old_origin) == 0)
		return mica_fail(e, MICA_INVALID, "origin_reused",
			"restore: a restored log needs an origin of its own");
	if (rc == MICA_OK)
		rc = restored_entry(r, out, v.note, &entry, e);
	if (rc == MICA_OK)
		rc = rename_log(s, r, &v, &c, e);
	return rc == MICA_OK ? append_restored(s, r, mica_buf_slice(&entry), e) : rc;
}
