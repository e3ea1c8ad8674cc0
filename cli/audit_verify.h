/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an auditor proves about a log, from signed checkpoints and tiles that nobody needs to be
 * believed for. Pure: tiles come from a reader (a directory, a server, a test), nothing is
 * remembered here.
 *
 * The log breaks a promise, and the answer is CORRUPT, when
 *	note_unsigned, note_signature_wrong, checkpoint_origin	another key signed it, or none
 *	log_shrunk	the tree is smaller than one that was seen
 *	log_forked	it does not contain the one that was seen: two trees were signed
 *	tiles_wrong	its hash tiles do not lead to the root that it signed
 *	entry_wrong	an entry is not the one that the tree holds
 * NOT_FOUND "tile_missing": it does not hand out what its checkpoint promises. That may be a
 *moment's trouble, and proves nothing as long as it lasts.
 */
#ifndef MICA_CLI_AUDIT_VERIFY_H
#define MICA_CLI_AUDIT_VERIFY_H

#include "mica/note.h"

/* Where tiles come from; ids are those of a tree of size `size`. */
struct audit_tiles {
	mica_tile_reader *read;
	void *ctx;
};

/* A checkpoint that comes, against the one that was seen (NULL: the first one). OK: `out` is signed
 * by `key`, its tiles lead to its root, and it contains `seen`. `out` is filled as soon as the
 * signature holds, so that evidence can name it. */
mica_rc audit_advance(const struct mica_note_key *key, const struct mica_checkpoint *seen,
	struct mica_slice note, const struct audit_tiles *tiles, struct mica_checkpoint *out,
	struct mica_err *e) MICA_MUST_CHECK;

/* All tiles of all levels that are full since a tree of `from` entries: each hash of a level is
 * that of the tile below it, and the top leads to the root. `progress` may be NULL. */
typedef void audit_progress(void *ctx, uint64_t done, uint64_t all);
mica_rc audit_deep(const struct mica_checkpoint *cp, uint64_t from, const struct audit_tiles *tiles,
	audit_progress *progress, void *ctx, struct mica_err *e) MICA_MUST_CHECK;

/* An entry by its bytes, and a bundle of entries as it is served: number `n` of the tree of `cp`,
 * whole as far as that tree has it. `each` gets the entries when all of them were proved. */
mica_rc audit_entry(const struct mica_checkpoint *cp, const struct audit_tiles *tiles,
	uint64_t index, struct mica_slice entry, struct mica_err *e) MICA_MUST_CHECK;
typedef mica_rc audit_each(void *ctx, uint64_t index, struct mica_slice entry, struct mica_err *e);
mica_rc audit_bundle(const struct mica_checkpoint *cp, const struct audit_tiles *tiles, uint64_t n,
	struct mica_slice bundle, audit_each *each, void *ctx, struct mica_err *e) MICA_MUST_CHECK;

/* Whether an error means that the log broke a promise. */
bool audit_is_broken(const struct mica_err *e);

/* ---- what is remembered ------------------------------------------------------------------------
 */

/* "mica-audit-1\n", the verifier key in a line, an empty line, the signed checkpoint. */
void audit_state_write(
	const struct mica_note_key *key, struct mica_slice note, struct mica_buf *out);
/* CORRUPT "audit_state_damaged". `note` is borrowed from `text`; its signature was checked. */
mica_rc audit_state_read(struct mica_slice text, struct mica_note_key *key, struct mica_slice *note,
	struct mica_checkpoint *cp, struct mica_err *e) MICA_MUST_CHECK;
/* The first line of a checkpoint, unproved: to find what is remembered of that log. False when it
 * has none that could be an origin. */
bool audit_origin(struct mica_slice note, char origin[MICA_NOTE_NAME_MAX]);

#endif
