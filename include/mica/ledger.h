/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger: an append-only Merkle tree of entries over a store, with a checkpoint
 * signed for every commit. Entries, tiles, head and checkpoint are one transaction with the records
 * that changed; only when that is durable does the new checkpoint become visible here.
 *
 * Threads: one thread at a time commits entries; changes without entries may be committed from any.
 * One thread at a time calls mica_ledger_maintain. Readers may be any number.
 *
 * Its state is O(log n): opening it reads no more than the last tiles. Look-ups go through derived
 * runs that maintain() writes behind, completed from memory for what is newer.
 */
#ifndef MICA_LEDGER_H
#define MICA_LEDGER_H

#include "mica/entry.h"
#include "mica/note.h"
#include "mica/store.h"

struct mica_ledger; /* opaque */

/* "<trust domain>/log/<16 random hex digits>": origin of a log and name of its key; never reused.
 */
void mica_ledger_origin(const char *trust_domain, char out[MICA_NOTE_NAME_MAX]);

/* Starts an empty log in a new store: its head, signed, and the checkpoint outside the database (in
 * the store's directory). `signer` is an Ed25519 key. CONFLICT "log_exists". */
mica_rc mica_ledger_create(struct mica_store *s, const char *origin,
	const struct mica_signer *signer, int64_t now_ms, struct mica_err *e) MICA_MUST_CHECK;

/* Opens the log of a store; both are borrowed and must outlive it. Without a signer it is
 * read-only: `key` (of mica_vkey_parse or mica_note_key_init) says whose it is. CORRUPT
 * "log_missing", "log_damaged" (head and tiles do not fit), "log_key_mismatch",
 * "log_behind_checkpoint" (smaller than a checkpoint that was published: restored by hand?),
 * "log_forked" (another tree than the published one), "checkpoint_missing" (the file outside the
 * database). */
mica_rc mica_ledger_open(struct mica_store *s, const struct mica_signer *signer,
	const struct mica_note_key *key, struct mica_ledger **out,
	struct mica_err *e) MICA_MUST_CHECK;
void mica_ledger_close(struct mica_ledger *l); /* writes the checkpoint outside when it moved */
const struct mica_note_key *mica_ledger_key(
	const struct mica_ledger *l); /* its name is the origin */
/* Origin of the log in a store, before a key is at hand. */
mica_rc mica_ledger_stored_origin(
	struct mica_store *s, char out[MICA_NOTE_NAME_MAX], struct mica_err *e) MICA_MUST_CHECK;

/* mica_store_commit with the tree grown and its checkpoint signed. INVALID "entry_invalid" (a body
 * is empty or above MICA_ENTRY_MAX: nothing happens). The greatest `now_ms` ever given is kept
 * (mica_ledger_now_ms). */
mica_rc mica_ledger_commit(struct mica_ledger *l, struct mica_change *changes, size_t n,
	int64_t now_ms, struct mica_err *e) MICA_MUST_CHECK;
int64_t mica_ledger_now_ms(struct mica_ledger *l);

/* ---- what is published ----------------------------------------------------------------------- */

struct mica_log_head {
	uint64_t size;
	struct mica_hash root;
	int64_t now_ms; /* greatest `now` of its commits */
	size_t note_len;
	char note[MICA_CHECKPOINT_MAX]; /* the signed checkpoint */
};
void mica_ledger_head(struct mica_ledger *l, struct mica_log_head *out);
uint64_t mica_ledger_size(struct mica_ledger *l);

/* Appends to `out`. NOT_FOUND "no_such_entry" / "no_such_tile" beyond the published tree. */
mica_rc mica_ledger_entry(struct mica_ledger *l, uint64_t index, struct mica_buf *out,
	struct mica_err *e) MICA_MUST_CHECK;
mica_rc mica_ledger_tile(struct mica_ledger *l, const struct mica_tile_id *id, struct mica_buf *out,
	struct mica_err *e) MICA_MUST_CHECK; /* bundles too */
/* INVALID "bad_proof_range"; NOT_FOUND beyond the published tree. */
mica_rc mica_ledger_inclusion(struct mica_ledger *l, uint64_t index, uint64_t size,
	struct mica_proof *out, struct mica_err *e) MICA_MUST_CHECK;
mica_rc mica_ledger_consistency(struct mica_ledger *l, uint64_t old_size, uint64_t new_size,
	struct mica_proof *out, struct mica_err *e) MICA_MUST_CHECK;
/* tlog-proof of an entry against the published checkpoint. */
mica_rc mica_ledger_receipt(struct mica_ledger *l, uint64_t index, struct mica_buf *out,
	struct mica_err *e) MICA_MUST_CHECK;

/* ---- look-ups ------------------------------------------------------------------------------ */

/* All conditions hold; zero or empty = any. Entries come in the order of their index. */
struct mica_ledger_query {
	struct mica_slice spiffe_id;
	const struct mica_uid *pod_uid;
	struct mica_slice serial; /* 16 octets */
	enum mica_entry_type type;
	struct mica_slice action;
	int64_t since_ms, until_ms; /* time of the entry, since <= t <= until */
	bool oldest_first;
	unsigned limit; /* 1..1000; 0 = 100 */
	struct mica_slice cursor; /* `next` of the page before */
};
#define MICA_CURSOR_SIZE 24
/* `entry` lives during the call; must not call the ledger. false = stop (as if the limit was
 * reached). */
typedef bool mica_entry_fn(
	void *ctx, uint64_t index, const struct mica_entry *entry, struct mica_slice bytes);
/* *next is "" at the end; a cursor stays valid while entries are added. A page may be short, or
 * empty, and have a `next`: the work of one call is bounded. INVALID "bad_cursor". */
mica_rc mica_ledger_query(struct mica_ledger *l, const struct mica_ledger_query *q,
	mica_entry_fn *fn, void *ctx, char next[MICA_CURSOR_SIZE],
	struct mica_err *e) MICA_MUST_CHECK;
/* NOT_FOUND "no_such_certificate". */
mica_rc mica_ledger_by_serial(struct mica_ledger *l, const uint8_t serial[16], uint64_t *index,
	struct mica_err *e) MICA_MUST_CHECK;
/* The newest X509_ISSUED entry for a SPIFFE ID that is valid at `at` (seconds). NOT_FOUND
 * "no_such_certificate". */
mica_rc mica_ledger_latest(struct mica_ledger *l, struct mica_slice spiffe_id, int64_t at,
	uint64_t *index, struct mica_err *e) MICA_MUST_CHECK;

/* ---- written behind ------------------------------------------------------------------------ */

/* Seals groups, writes indexes, and the checkpoint outside the database when it moved. About once a
 * second; bounded work a call (*more, optional: there is more to do). Errors as mica_store_apply.
 */
mica_rc mica_ledger_maintain(struct mica_ledger *l, bool *more, struct mica_err *e) MICA_MUST_CHECK;

struct mica_ledger_stats {
	uint64_t size, sealed, indexed; /* entries */
	uint64_t commits;
};
void mica_ledger_stats(struct mica_ledger *l, struct mica_ledger_stats *out);

/* ---- whole logs ---------------------------------------------------------------------------- */

struct mica_check_report {
	uint64_t entries, tiles, records;
};
/* For a log at rest (nobody commits or maintains). Reads everything: each entry decodes and hashes
 * into its tile, tiles into the signed root, indexes lead to the entries that they name. CORRUPT
 * "log_damaged" with the first place that is wrong. */
mica_rc mica_ledger_check(struct mica_ledger *l, const struct mica_progress *p,
	struct mica_check_report *out, struct mica_err *e) MICA_MUST_CHECK;

/* Static files of the log below `dir` (made): checkpoint and hash tiles, with `full` entry bundles
 * too. Incremental; each file is written whole; the checkpoint last. */
mica_rc mica_ledger_export(struct mica_ledger *l, const char *dir, bool full,
	const struct mica_progress *p, struct mica_err *e) MICA_MUST_CHECK;

/* `mica backup FILE`: FILE and FILE.manifest (JSON: format, origin, size, root, time, checkpoint,
 * length and SHA-256 of FILE). Hot and consistent. CONFLICT "exists_already". */
mica_rc mica_ledger_backup(struct mica_ledger *l, const char *path, int64_t now_ms,
	const struct mica_progress *p, struct mica_err *e) MICA_MUST_CHECK;

/* `mica restore FILE`: first mica_backup_open verifies the manifest and makes a store in `dir`
 * (absent or empty), not complete yet; then, with the log key unlocked from it, mica_ledger_restart
 * ends the old log: the tree goes on under a new origin, its next entry (LOG "restored") names the
 * last known checkpoint of the old and the gap; mica_store_complete makes the store usable. CORRUPT
 * "backup_manifest", "backup_damaged". */
mica_rc mica_backup_open(const char *path, const char *dir, const struct mica_progress *p,
	struct mica_store **out, struct mica_err *e) MICA_MUST_CHECK;
struct mica_restore {
	const char *new_origin;
	const struct mica_signer *signer;
	/* The last checkpoint that is known of the old log (the file outside its database, a
	 * witness); empty = none. Must be signed by the old log's key. */
	struct mica_slice known_checkpoint;
	enum mica_actor_kind actor;
	uint32_t uid, gid, pid;
	int64_t now_ms;
};
/* Entries [lost_from, lost_to) existed and are lost; without a known checkpoint lost_to is
 * lost_from, and what was issued between the times may be lost. */
struct mica_restore_report {
	char old_origin[MICA_NOTE_NAME_MAX];
	uint64_t lost_from, lost_to;
	int64_t backup_now_ms, now_ms;
};
mica_rc mica_ledger_restart(struct mica_store *s, const struct mica_restore *r,
	struct mica_restore_report *out, struct mica_err *e) MICA_MUST_CHECK;

static inline void mica_auto_ledger_(struct mica_ledger **p)
{
	mica_ledger_close(*p);
}
#define MICA_AUTO_LEDGER __attribute__((cleanup(mica_auto_ledger_))) struct mica_ledger *

#endif
