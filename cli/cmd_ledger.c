/* SPDX-License-Identifier: Apache-2.0 */
/* ledger export: the log as static files, fetched from micad, proved before it counts. */
#include "audit.h"
#include "progress.h"

#include "mica/entry.h"
#include "mica/file.h"

#include <stdio.h>
#include <unistd.h>

#define LEVELS    8
#define CHECKFILE "checkpoint"
/* How far the entries of a directory reach: they may have been left out for a while. The same name
 * as the store's own export has. */
#define FULL_MARK "tile/entries/.exported"

struct export
{
	struct cli *c;
	struct audit a;
	const char *dir;
	struct source *here; /* what was written */
	uint64_t old_size, old_full;
	struct progress_line line;
	uint64_t files;
};

static mica_rc path_of(struct export *x, const char *name, char out[4096], struct mica_err *e)
{
	if (snprintf(out, 4096, "%s/%s", x->dir, name) >= 4096)
		return mica_fail(e, MICA_INVALID, "path_too_long", "%.80s...: too long", x->dir);
	return MICA_OK;
}

static mica_rc write_below(
	struct export *x, const char *name, struct mica_slice data, struct mica_err *e)
{
	char path[4096], *slash;
	mica_rc rc = path_of(x, name, path, e);

	if (rc != MICA_OK)
		return rc;
	slash = strrchr(path, '/');
	*slash = '\0';
	rc = mica_mkdir_p(path, 0755, e);
	*slash = '/';
	if (rc == MICA_OK)
		rc = mica_file_write_atomic(path, data, 0644, e);
	x->files += rc == MICA_OK;
	return rc;
}

/* ---- where the last export ended
 * ------------------------------------------------------------------ */

static mica_rc read_mark(struct export *x, const char *name, struct mica_checkpoint *cp,
	bool *there, struct mica_err *e)
{
	struct mica_err own = MICA_ERR_INIT;
	char path[4096];
	MICA_AUTO_BUF note;
	mica_rc rc;

	*there = false;
	mica_buf_init(&note, MICA_NOTE_MAX);
	rc = path_of(x, name, path, e);
	if (rc != MICA_OK)
		return rc;
	rc = mica_file_read(path, &note, &own);
	if (rc == MICA_NOT_FOUND)
		return MICA_OK;
	if (rc == MICA_OK)
		rc = mica_checkpoint_open(mica_buf_slice(&note), &x->a.key, cp, &own);
	if (rc != MICA_OK)
		return mica_fail(e, MICA_CONFLICT, "export_foreign",
			"%s: its checkpoint is not of this log (%s)", x->dir, own.text);
	*there = true;
	return MICA_OK;
}

static mica_rc begin(struct export *x, struct mica_err *e)
{
	struct mica_checkpoint full;
	bool there;
	mica_rc rc = read_mark(x, CHECKFILE, &x->a.last, &x->a.seen, e);

	if (rc == MICA_OK)
		x->old_size = x->a.seen ? x->a.last.size : 0;
	if (rc == MICA_OK)
		rc = read_mark(x, FULL_MARK, &full, &there, e);
	if (rc == MICA_OK && there)
		x->old_full = full.size;
	return rc;
}

/* ---- tiles --------------------------------------------------------------------------------- */

static mica_rc export_level(struct export *x, unsigned level, struct mica_err *e)
{
	struct audit_tiles tiles = source_tiles(x->a.source);
	unsigned shift = level * MICA_TILE_HEIGHT;
	uint64_t old = x->old_size >> shift, all = x->a.last.size >> shift;

	for (uint64_t n = old / MICA_TILE_WIDTH; n * MICA_TILE_WIDTH < all; n++) {
		struct mica_tile_id id = {
			false, level, n, mica_tile_width(x->a.last.size, level, n)};
		uint8_t bytes[MICA_TILE_BYTES];
		char name[MICA_TILE_PATH_MAX];
		mica_rc rc;

		if (cli_stopped())
			return mica_fail(e, MICA_UNAVAILABLE, "cancelled", "stopped");
		if (mica_tile_width(x->old_size, level, n) == id.width)
			continue;
		rc = tiles.read(tiles.ctx, level, n, id.width, bytes, e);
		mica_tile_path(&id, name);
		if (rc == MICA_OK)
			rc = write_below(
				x, name, mica_slice(bytes, (size_t)id.width * MICA_HASH_LEN), e);
		if (rc != MICA_OK)
			return rc;
		if (level == 0)
			progress_show(&x->line, n * MICA_TILE_WIDTH, x->a.last.size);
	}
	return MICA_OK;
}

/* Entries are proved against the tiles that were written and checked. */
static mica_rc export_entries(struct export *x, struct mica_err *e)
{
	struct audit_tiles tiles = source_tiles(x->here);
	uint64_t size = x->a.last.size;
	MICA_AUTO_BUF bundle;
	mica_rc rc = MICA_OK;

	mica_buf_init(&bundle, 1);
	x->line.what = "entries";
	for (uint64_t n = x->old_full / MICA_TILE_WIDTH; n * MICA_TILE_WIDTH < size; n++) {
		struct mica_tile_id id = {true, 0, n, mica_tile_width(size, 0, n)};
		char name[MICA_TILE_PATH_MAX];

		if (cli_stopped())
			return mica_fail(e, MICA_UNAVAILABLE, "cancelled", "stopped");
		if (mica_tile_width(x->old_full, 0, n) == id.width)
			continue;
		rc = source_bundle(x->a.source, size, n, &bundle, e);
		if (rc == MICA_OK)
			rc = audit_bundle(
				&x->a.last, &tiles, n, mica_buf_slice(&bundle), NULL, NULL, e);
		mica_tile_path(&id, name);
		if (rc == MICA_OK)
			rc = write_below(x, name, mica_buf_slice(&bundle), e);
		if (rc != MICA_OK)
			return rc;
		progress_show(&x->line, n * MICA_TILE_WIDTH, size);
	}
	return write_below(x, FULL_MARK, mica_buf_slice(&x->a.note), e);
}

/* The partial tile of the former size, once the new checkpoint is there: a reader that has the old
 * one takes the full tile. */
static void remove_partial(struct export *x, bool entries, unsigned level, uint64_t old_size)
{
	uint64_t n = (old_size >> (level * MICA_TILE_HEIGHT)) / MICA_TILE_WIDTH;
	struct mica_tile_id id = {entries, level, n, mica_tile_width(old_size, level, n)};
	char name[MICA_TILE_PATH_MAX], path[4096];

	if (id.width == 0 || mica_tile_width(x->a.last.size, level, n) != MICA_TILE_WIDTH)
		return;
	mica_tile_path(&id, name);
	if (path_of(x, name, path, NULL) != MICA_OK)
		return;
	unlink(path);
	*strrchr(path, '/') = '\0';
	rmdir(path);
}

static mica_rc export_all(struct export *x, struct mica_err *e)
{
	struct audit_tiles written = source_tiles(x->here);
	uint64_t old = x->old_size;
	mica_rc rc = MICA_OK;

	for (unsigned level = 0; level < LEVELS && rc == MICA_OK; level++)
		rc = export_level(x, level, e);
	/* What is on disk now, not what came: a file that was altered there is found, too. */
	if (rc == MICA_OK)
		rc = audit_deep(&x->a.last, old, &written, NULL, NULL, e);
	if (rc == MICA_OK && cli_set(x->c, OPT_FULL))
		rc = export_entries(x, e);
	if (rc == MICA_OK)
		rc = write_below(x, CHECKFILE, mica_buf_slice(&x->a.note), e);
	for (unsigned level = 0; level < LEVELS && rc == MICA_OK; level++)
		remove_partial(x, false, level, old);
	if (rc == MICA_OK && cli_set(x->c, OPT_FULL))
		remove_partial(x, true, 0, x->old_full);
	return rc;
}

static void export_clear(struct export *x)
{
	progress_end(&x->line);
	source_free(x->here);
	audit_clear(&x->a);
}

mica_rc cmd_ledger_export(struct cli *c, struct mica_err *e)
{
	struct export x = {.c = c, .dir = c->args[0], .line = {.what = "tiles"}};
	unsigned flags = AUDIT_STATELESS | AUDIT_LOCAL;
	mica_rc rc;

	if (cli_set(c, OPT_HASHES) && cli_set(c, OPT_FULL))
		return mica_fail(e, MICA_INVALID, "bad_option",
			"--hashes and --full: one of them, --full has the hashes, too");
	x.here = source_open_dir(x.dir);
	rc = audit_open(&x.a, c, flags | (cli_set(c, OPT_FULL) ? AUDIT_RIGHTS : 0), e);
	if (rc == MICA_OK)
		rc = begin(&x, e);
	if (rc == MICA_OK)
		rc = audit_step(&x.a, NULL, e);
	if (rc == MICA_OK)
		rc = export_all(&x, e);
	progress_end(&x.line);
	if (rc == MICA_OK) {
		wr_object(c->w, NULL);
		wr_cstr(c->w, "directory", x.dir);
		wr_cstr(c->w, "origin", x.a.last.origin);
		wr_uint(c->w, "size", x.a.last.size);
		wr_uint(c->w, "size_before", x.old_size);
		wr_uint(c->w, "files_written", x.files);
		wr_cstr(c->w, "holds", cli_set(c, OPT_FULL) ? "hashes and entries" : "hashes");
		wr_end(c->w);
	}
	export_clear(&x);
	return rc;
}
