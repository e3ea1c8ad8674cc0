/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store: records under optimistic transactions, and the ledger's appends, in one durable
 * commit. LMDB and memory implement it, PostgreSQL can (`head` is a locked row there): a change
 * lists the revisions that its decision was based on, and what to write; it is left out with
 * CONFLICT when one of them has moved.
 *
 * Two kinds of tables: *records* carry a revision and change only through mica_store_commit;
 * *plain* tables belong to the ledger, hold what follows from the entries, and carry none.
 *
 * Threads: every function may be called from any thread; writers take turns. What mica_store_commit
 * has not returned yet no reader sees. Only one process opens a store.
 */
#ifndef MICA_STORE_H
#define MICA_STORE_H

#include "mica/buf.h"

struct mica_store; /* opaque */

enum mica_table {
	/* records; the core's unless said */
	MICA_T_META = 1,
	MICA_T_AUTHORITY,
	MICA_T_KEY, /* envelopes of private keys */
	MICA_T_DENY,
	MICA_T_JWKS, /* last good copies of issuers' keys */
	MICA_T_HOLDER, /* evidence of who holds which bundle */
	MICA_T_SNAPSHOT, /* published bundles and policies */
	MICA_T_POLICY,
	MICA_T_COUNTER, /* 8-byte big-endian numbers that only grow (MICA_MAX) */
	MICA_T_REVOKED, /* certificates that CRLs name */
	MICA_T_LINEAGE, /* which certificate follows which */
	MICA_T_JOIN, /* join tokens: what is known of them, not themselves */
	MICA_T_RECORD_END,
	/* plain; the ledger's */
	MICA_T_ENTRY = 32, /* open tail, one by one: index -> bytes */
	MICA_T_GROUP, /* 256 sealed entries: number -> bytes */
	MICA_T_TILE, /* level, number -> hashes */
	MICA_T_INDEX, /* derived: sorted runs of look-up keys */
	MICA_T_MARK, /* how far the derived data reach */
	MICA_T_END
};
#define MICA_STORE_KEY_MAX   480 /* octets of a key: 1.. */
#define MICA_STORE_VALUE_MAX (64 << 20)

/* ---- reading ------------------------------------------------------------------------------- */

/* *value (initialised by the caller, emptied first) and *rev (optional; never 0; plain tables: 1).
 * NOT_FOUND "no_such_record" leaves *value empty. UNAVAILABLE "store_busy" (too many readers). */
mica_rc mica_store_get(struct mica_store *s, enum mica_table t, struct mica_slice key,
	struct mica_buf *value, uint64_t *rev, struct mica_err *e) MICA_MUST_CHECK;
/* The same without a copy: `value` lives during `fn` only, whose answer is passed on. `fn` must not
 * call the store. */
typedef mica_rc mica_store_view_fn(
	void *ctx, struct mica_slice value, uint64_t rev, struct mica_err *e);
mica_rc mica_store_view(struct mica_store *s, enum mica_table t, struct mica_slice key,
	mica_store_view_fn *fn, void *ctx, struct mica_err *e) MICA_MUST_CHECK;

/* Keys that begin with `prefix`, in the order of memcmp (backwards when `reverse`), from the one
 * behind `after` (empty = from the start), at most `limit` (0 = all). One consistent view. `fn`
 * returns false to stop; slices live during the call only; it must not call the store. */
struct mica_scan {
	enum mica_table table;
	struct mica_slice prefix, after;
	bool reverse;
	unsigned limit;
};
typedef bool mica_store_list_fn(
	void *ctx, struct mica_slice key, struct mica_slice value, uint64_t rev);
mica_rc mica_store_list(struct mica_store *s, const struct mica_scan *scan, mica_store_list_fn *fn,
	void *ctx, struct mica_err *e) MICA_MUST_CHECK;

/* ---- changing ------------------------------------------------------------------------------ */

/* What a decision was based on: rev as it was read, 0 = there was none. */
struct mica_read {
	enum mica_table table;
	struct mica_slice key;
	uint64_t rev;
};
enum mica_write_op {
	MICA_PUT,
	MICA_DELETE, /* fine when absent */
	MICA_MAX /* value is 8 octets, big-endian; nothing happens unless it is greater */
};
struct mica_write {
	enum mica_table table;
	enum mica_write_op op;
	struct mica_slice key, value;
};
/* One decision: all of it happens or none. */
struct mica_change {
	const struct mica_read *reads;
	size_t n_reads;
	const struct mica_write *writes; /* records only */
	size_t n_writes;
	const struct mica_slice *entries; /* bodies for the ledger, in order; may be none */
	size_t n_entries;
	/* out */
	mica_rc rc; /* OK, or CONFLICT: a read did not hold, nothing of it was written */
	uint64_t index; /* of the first entry */
};

struct mica_seal_out {
	uint64_t first;
	struct mica_slice head;
	const struct mica_write *writes; /* plain tables; PUT or DELETE */
	size_t n_writes;
};

/* Called inside the commit with the head as it is (empty in a new store) and the bodies of all
 * changes that hold, when there is at least one. Makes the head that follows, and writes to plain
 * tables (their memory must live until the commit returns); *first is the index of the first body.
 * It may read the store. On error the whole commit is undone and its answer passed on. */
struct mica_seal {
	mica_rc (*fn)(void *ctx, struct mica_slice head, const struct mica_slice *bodies, size_t n,
		struct mica_seal_out *out, struct mica_err *e);
	void *ctx;
};

/* Judges the changes in order inside one transaction, leaves out those that conflict, and makes the
 * rest durable before it returns. A record's revision becomes the number of the commit that wrote
 * it. OK				each change has its rc; all CONFLICT: nothing was written
 *   UNAVAILABLE "disk_full"	nothing happened; may be tried again when there is space
 *   INTERNAL "commit_failed"	the outcome is unknown: answer nobody, exit with status 75
 *   INTERNAL "store_failed"	this commit or an earlier one failed: nothing happened, exit too
 * `seal` may be NULL when no change has an entry. */
mica_rc mica_store_commit(struct mica_store *s, struct mica_change *changes, size_t n,
	const struct mica_seal *seal, struct mica_err *e) MICA_MUST_CHECK;
/* Derived data: PUT and DELETE in plain tables, all or nothing, durable. Errors as above. */
mica_rc mica_store_apply(struct mica_store *s, const struct mica_write *writes, size_t n,
	struct mica_err *e) MICA_MUST_CHECK;
/* The ledger's head as it is. NOT_FOUND "no_such_record" before the first. */
mica_rc mica_store_head(
	struct mica_store *s, struct mica_buf *head, struct mica_err *e) MICA_MUST_CHECK;
/* Sets the first head, of a log without entries, or the one that ends a log and starts another. No
 * other writer may run. */
mica_rc mica_store_set_head(
	struct mica_store *s, struct mica_slice head, struct mica_err *e) MICA_MUST_CHECK;

/* ---- life ---------------------------------------------------------------------------------- */

struct mica_store_options {
	uint64_t map_size; /* first size of LMDB's map; 0 = 1 TiB (sparse); it grows by itself */
	unsigned max_percent; /* of the disk, from which mica_store_space says `low`; 0 = 90 */
	unsigned max_readers; /* 0 = 1024 */
	bool test_nosync; /* for the control of the durability test alone: not durable */
};

/* A store in memory; complete from the start. */
struct mica_store *mica_store_mem(void);

/* Makes a store in `dir`, which is made (0700) or empty; files are 0600. Until mica_store_complete
 * it is refused by mica_store_open as "store_partial". CONFLICT "store_exists" (there is one:
 * nothing is touched), "directory_not_empty", "store_locked"; else as mica_fail_errno. `o` may be
 * NULL. */
mica_rc mica_store_create(const char *dir, const struct mica_store_options *o,
	struct mica_store **out, struct mica_err *e) MICA_MUST_CHECK;
mica_rc mica_store_complete(struct mica_store *s, struct mica_err *e) MICA_MUST_CHECK;
/* Closes one that create or create_from made and that is not complete, and removes its files: as if
 * it had never been tried. The directory stays, empty. Of a complete one nothing is removed. */
void mica_store_take_undo(struct mica_store *s); /* NULL is fine */
/* Opens what create made. Refusals leave every file as it is: NOT_FOUND "store_missing" (says to
 * run `mica init`); CORRUPT "store_foreign" (not a store of ours), "store_partial" (its creation
 * did not end), "store_newer" (of a newer Mica), "store_truncated", "store_damaged"; CONFLICT
 * "store_locked" (another process has it); DENIED "store_exposed" (others can read or write it),
 * "store_owner" (it is neither ours nor root's). Older formats are migrated. */
mica_rc mica_store_open(const char *dir, const struct mica_store_options *o,
	struct mica_store **out, struct mica_err *e) MICA_MUST_CHECK;
void mica_store_close(struct mica_store *s);
const char *mica_store_dir(const struct mica_store *s); /* NULL for one in memory */

struct mica_store_space {
	uint64_t store_bytes; /* used by the store */
	uint64_t disk_bytes, disk_free; /* of its file system */
	unsigned disk_percent; /* used */
	bool low; /* at or above max_percent: stop issuing */
};
mica_rc mica_store_space(
	struct mica_store *s, struct mica_store_space *out, struct mica_err *e) MICA_MUST_CHECK;

/* Long work tells how far it is; may be NULL. */
typedef void mica_progress_fn(void *ctx, uint64_t done, uint64_t all);
struct mica_progress {
	mica_progress_fn *fn;
	void *ctx;
};

/* A consistent copy into the new file `path` while others write (mode 0600, durable, seen whole or
 * not at all: it grows as `path`.part). CONFLICT "exists_already". */
mica_rc mica_store_copy(struct mica_store *s, const char *path, const struct mica_progress *p,
	struct mica_err *e) MICA_MUST_CHECK;
/* Makes a store in `dir` (as create: absent or empty) from such a copy, not complete yet. */
mica_rc mica_store_create_from(const char *path, const char *dir,
	const struct mica_store_options *o, struct mica_store **out,
	struct mica_err *e) MICA_MUST_CHECK;
/* Looks at every page of the file of a store that is not open: that the tree of pages is one.
 * CORRUPT "store_damaged" | "store_truncated" | "store_foreign". What passes can be opened and read
 * without harm. */
mica_rc mica_store_check_file(
	const char *path, const struct mica_progress *p, struct mica_err *e) MICA_MUST_CHECK;

/* For tests: the commit after `after` more ones fails so (once). */
enum mica_store_fault { MICA_FAULT_NONE, MICA_FAULT_FULL, MICA_FAULT_UNKNOWN };
void mica_store_set_fault(struct mica_store *s, enum mica_store_fault f, unsigned after);

static inline void mica_auto_store_(struct mica_store **p)
{
	mica_store_close(*p);
}
#define MICA_AUTO_STORE __attribute__((cleanup(mica_auto_store_))) struct mica_store *

#endif
