/* SPDX-License-Identifier: Apache-2.0 */
#include "audit_verify.h"

#include "mica/entry.h"
#include "mica/mem.h"

#include <stdio.h>

static mica_rc broken(struct mica_err *e, const char *reason, const char *fmt, ...)
	MICA_PRINTF(3, 4);

static mica_rc broken(struct mica_err *e, const char *reason, const char *fmt, ...)
{
	char text[MICA_ERR_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return mica_fail(e, MICA_CORRUPT, reason, "%s", text);
}

bool audit_is_broken(const struct mica_err *e)
{
	static const char *const reasons[] = {"note_unsigned", "note_signature_wrong",
		"checkpoint_origin", "log_shrunk", "log_forked", "tiles_wrong", "entry_wrong"};

	for (size_t i = 0; e->reason && i < MICA_ARRAY_LEN(reasons); i++)
		if (strcmp(e->reason, reasons[i]) == 0)
			return true;
	return false;
}

/* ---- checkpoints --------------------------------------------------------------------------- */

static mica_rc check_root(
	const struct mica_checkpoint *cp, const struct audit_tiles *tiles, struct mica_err *e)
{
	struct mica_hash root;
	mica_rc rc = mica_merkle_root(tiles->read, tiles->ctx, cp->size, &root, e);

	if (rc == MICA_OK && !mica_hash_eq(&root, &cp->root))
		rc = broken(e, "tiles_wrong",
			"the hash tiles do not lead to the root that was signed for %llu entries",
			(unsigned long long)cp->size);
	return rc;
}

/* The tiles lead to the new root already: when they do not lead to the old one, too, then two trees
 * that do not contain one another were signed. */
static mica_rc check_growth(const struct mica_checkpoint *seen, const struct mica_checkpoint *cp,
	const struct audit_tiles *tiles, struct mica_err *e)
{
	struct mica_proof proof;
	mica_rc rc =
		mica_merkle_consistency(tiles->read, tiles->ctx, seen->size, cp->size, &proof, e);

	if (rc != MICA_OK)
		return rc;
	if (mica_merkle_check_consistency(
		    seen->size, &seen->root, cp->size, &cp->root, &proof, NULL) == MICA_OK)
		return MICA_OK;
	return broken(e, "log_forked",
		"the log of %llu entries does not contain the one of %llu entries that was seen "
		"before: two different logs were signed",
		(unsigned long long)cp->size, (unsigned long long)seen->size);
}

static mica_rc check_sizes(
	const struct mica_checkpoint *seen, const struct mica_checkpoint *cp, struct mica_err *e)
{
	if (cp->size < seen->size)
		return broken(e, "log_shrunk",
			"the log has %llu entries, and had %llu before: entries were taken away",
			(unsigned long long)cp->size, (unsigned long long)seen->size);
	if (cp->size == seen->size && !mica_hash_eq(&cp->root, &seen->root))
		return broken(e, "log_forked", "two different logs of %llu entries were signed",
			(unsigned long long)cp->size);
	return MICA_OK;
}

mica_rc audit_advance(const struct mica_note_key *key, const struct mica_checkpoint *seen,
	struct mica_slice note, const struct audit_tiles *tiles, struct mica_checkpoint *out,
	struct mica_err *e)
{
	mica_rc rc = mica_checkpoint_open(note, key, out, e);

	if (rc == MICA_OK && seen)
		rc = check_sizes(seen, out, e);
	if (rc == MICA_OK)
		rc = check_root(out, tiles, e);
	if (rc == MICA_OK && seen && seen->size < out->size)
		rc = check_growth(seen, out, tiles, e);
	return rc;
}

/* ---- every tile ---------------------------------------------------------------------------- */

static void fold(struct mica_hash *h, struct mica_hash *out)
{
	for (unsigned n = MICA_TILE_WIDTH; n > 1; n /= 2)
		for (unsigned i = 0; i < n / 2; i++)
			mica_merkle_node(&h[2 * i], &h[2 * i + 1], &h[i]);
	*out = h[0];
}

/* A full tile hashes to its place in the level above. `above` holds tile `*loaded` of that level.
 */
static mica_rc check_below(const struct mica_checkpoint *cp, const struct audit_tiles *tiles,
	unsigned level, uint64_t n, struct mica_hash *above, uint64_t *loaded, struct mica_err *e)
{
	struct mica_hash own[MICA_TILE_WIDTH], folded;
	uint64_t up = n / MICA_TILE_WIDTH;
	mica_rc rc = tiles->read(tiles->ctx, level, n, MICA_TILE_WIDTH, (uint8_t *)own, e);

	if (rc == MICA_OK && *loaded != up)
		rc = tiles->read(tiles->ctx, level + 1, up,
			mica_tile_width(cp->size, level + 1, up), (uint8_t *)above, e);
	if (rc != MICA_OK)
		return rc;
	*loaded = up;
	fold(own, &folded);
	if (mica_hash_eq(&folded, &above[n % MICA_TILE_WIDTH]))
		return MICA_OK;
	return broken(e, "tiles_wrong",
		"tile %u/%llu does not hash to its place in the level above", level,
		(unsigned long long)n);
}

mica_rc audit_deep(const struct mica_checkpoint *cp, uint64_t from, const struct audit_tiles *tiles,
	audit_progress *progress, void *ctx, struct mica_err *e)
{
	MICA_AUTO_FREE struct mica_hash *above = mica_calloc(MICA_TILE_WIDTH, sizeof(*above));

	for (unsigned level = 0; level < 7; level++) {
		uint64_t full = cp->size >> ((level + 1) * MICA_TILE_HEIGHT), loaded = UINT64_MAX;

		for (uint64_t n = from >> ((level + 1) * MICA_TILE_HEIGHT); n < full; n++) {
			mica_rc rc = check_below(cp, tiles, level, n, above, &loaded, e);

			if (rc != MICA_OK)
				return rc;
			if (progress && level == 0)
				progress(ctx, n * MICA_TILE_WIDTH, cp->size);
		}
	}
	return check_root(cp, tiles, e);
}

/* ---- entries ------------------------------------------------------------------------------- */

/* Tile 0/n as the entries at hand make it; all others as they are read. */
struct override {
	const struct audit_tiles *tiles;
	uint64_t n;
	unsigned width;
	const struct mica_hash *leaves;
};

static mica_rc read_over(void *ctx, unsigned level, uint64_t n, unsigned width,
	uint8_t out[MICA_TILE_BYTES], struct mica_err *e)
{
	const struct override *o = ctx;

	if (level != 0 || n != o->n)
		return o->tiles->read(o->tiles->ctx, level, n, width, out, e);
	if (width > o->width)
		return mica_fail(e, MICA_INTERNAL, "tile_out_of_range", "entries: too few of them");
	memcpy(out, o->leaves, (size_t)width * MICA_HASH_LEN);
	return MICA_OK;
}

/* A proof for the first entry of a tile is made of hashes over all the others of that tile. Made
 * from our own hashes of the entries and leading to the signed root, it proves each of them. */
static mica_rc prove_leaves(const struct mica_checkpoint *cp, const struct audit_tiles *tiles,
	uint64_t n, const struct mica_hash *leaves, unsigned width, struct mica_err *e)
{
	struct override o = {tiles, n, width, leaves};
	uint64_t first = n * MICA_TILE_WIDTH;
	struct mica_proof proof;
	mica_rc rc = mica_merkle_inclusion(read_over, &o, first, cp->size, &proof, e);

	if (rc != MICA_OK)
		return rc;
	if (mica_merkle_check_inclusion(&leaves[0], first, cp->size, &proof, &cp->root, NULL) ==
		MICA_OK)
		return MICA_OK;
	return broken(e, "entry_wrong", "entries %llu to %llu are not those that the tree holds",
		(unsigned long long)first, (unsigned long long)(first + width - 1));
}

mica_rc audit_entry(const struct mica_checkpoint *cp, const struct audit_tiles *tiles,
	uint64_t index, struct mica_slice entry, struct mica_err *e)
{
	struct mica_proof proof;
	struct mica_hash leaf;
	mica_rc rc;

	if (index >= cp->size)
		return mica_fail(e, MICA_NOT_FOUND, "no_such_entry",
			"entry %llu: the log has %llu entries", (unsigned long long)index,
			(unsigned long long)cp->size);
	mica_merkle_leaf(entry, &leaf);
	rc = mica_merkle_inclusion(tiles->read, tiles->ctx, index, cp->size, &proof, e);
	if (rc != MICA_OK)
		return rc;
	if (mica_merkle_check_inclusion(&leaf, index, cp->size, &proof, &cp->root, NULL) == MICA_OK)
		return MICA_OK;
	return broken(e, "entry_wrong", "entry %llu is not the one that the tree holds",
		(unsigned long long)index);
}

/* tlog-tiles: each entry with 2 octets of length in front. */
static mica_rc split_bundle(struct mica_slice bundle, uint64_t n, unsigned width,
	struct mica_slice entries[MICA_TILE_WIDTH], struct mica_hash leaves[MICA_TILE_WIDTH],
	struct mica_err *e)
{
	struct mica_cursor cur = {.s = bundle};

	for (unsigned i = 0; i < width; i++) {
		uint16_t len = mica_cur_be16(&cur);

		entries[i] = mica_cur_take(&cur, len);
		mica_merkle_leaf(entries[i], &leaves[i]);
	}
	if (!cur.bad && cur.s.len == 0)
		return MICA_OK;
	return broken(e, "entry_wrong", "bundle %llu does not hold %u entries",
		(unsigned long long)n, width);
}

mica_rc audit_bundle(const struct mica_checkpoint *cp, const struct audit_tiles *tiles, uint64_t n,
	struct mica_slice bundle, audit_each *each, void *ctx, struct mica_err *e)
{
	struct mica_slice entries[MICA_TILE_WIDTH];
	struct mica_hash leaves[MICA_TILE_WIDTH];
	unsigned width = mica_tile_width(cp->size, 0, n);
	mica_rc rc;

	if (width == 0)
		return mica_fail(e, MICA_NOT_FOUND, "no_such_entry",
			"bundle %llu: the log has %llu entries", (unsigned long long)n,
			(unsigned long long)cp->size);
	rc = split_bundle(bundle, n, width, entries, leaves, e);
	if (rc == MICA_OK)
		rc = prove_leaves(cp, tiles, n, leaves, width, e);
	for (unsigned i = 0; i < width && rc == MICA_OK && each; i++)
		rc = each(ctx, n * MICA_TILE_WIDTH + i, entries[i], e);
	return rc;
}

/* ---- what is remembered ------------------------------------------------------------------------
 */

#define STATE_LINE "mica-audit-1"

void audit_state_write(
	const struct mica_note_key *key, struct mica_slice note, struct mica_buf *out)
{
	mica_buf_put_str(out, STATE_LINE "\n");
	mica_vkey_format(key, out);
	mica_buf_put_str(out, "\n\n");
	mica_buf_put_slice(out, note);
}

mica_rc audit_state_read(struct mica_slice text, struct mica_note_key *key, struct mica_slice *note,
	struct mica_checkpoint *cp, struct mica_err *e)
{
	struct mica_err why = MICA_ERR_INIT;
	struct mica_slice line, vkey;
	bool ok = mica_slice_cut(&text, '\n', &line) && mica_slice_eq_str(line, STATE_LINE) &&
		mica_slice_cut(&text, '\n', &vkey) && mica_slice_cut(&text, '\n', &line) &&
		line.len == 0;

	*note = text;
	if (ok && mica_vkey_parse(vkey, key, &why) == MICA_OK &&
		mica_checkpoint_open(text, key, cp, &why) == MICA_OK)
		return MICA_OK;
	return mica_fail(e, MICA_CORRUPT, "audit_state_damaged",
		"it is not a checkpoint that was remembered here%s%s", why.text[0] ? ": " : "",
		why.text);
}

bool audit_origin(struct mica_slice note, char origin[MICA_NOTE_NAME_MAX])
{
	struct mica_slice line;

	if (!mica_slice_cut(&note, '\n', &line) || line.len == 0 || !mica_slice_is_utf8(line))
		return false;
	for (size_t i = 0; i < line.len; i++)
		if (line.p[i] <= ' ' || line.p[i] == 0x7f)
			return false;
	return mica_slice_copy(line, origin, MICA_NOTE_NAME_MAX) == MICA_OK;
}
