/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the ledger share. Values in the store:
 *
 *	head		      1 | size 8 | now_ms 8 | note length 2 | signed checkpoint | peaks 32
 *each ENTRY  index 8	      an entry
 *	GROUP  number 8	      0 (stored as it is) | 256 times: length 2, entry
 *	TILE   level 1, n 8   hashes; level 0 when full, others as they grow
 *	INDEX  kind, level, n 4   sorted run: (key 8, offset 4) each; or zones
 *	MARK   "mark"	      sealed 8 | indexed 8 | merged 8
 */
#ifndef MICA_CA_LEDGER_IMPL_H
#define MICA_CA_LEDGER_IMPL_H

#include "mica/ledger.h"

#include <pthread.h>
#include <stdatomic.h>

#define GROUP      256U /* entries sealed into one value */
#define RUN        4096U /* entries in a run of level 0 */
#define RUN_MERGED 65536U /* and of level 1 */
#define LEVELS     8
#define GUARD_FILE "checkpoint"

/* The tree as it grows: frontier and the last tile of each level. */
struct log_tree {
	struct mica_frontier frontier;
	struct mica_hash edge[LEVELS][MICA_TILE_WIDTH];
};

/* Look-up keys of one entry; 0 = it has none. */
struct log_row {
	uint64_t spiffe, pod, serial;
	int64_t time_ms;
	unsigned type;
};

/* Which entries there are in a stretch: a query passes over what cannot match. */
struct log_zone {
	int64_t min_ms, max_ms;
	uint64_t types; /* bit i = type i */
};

struct log_marks {
	uint64_t sealed, indexed, merged;
};

struct mica_ledger {
	struct mica_store *store;
	const struct mica_signer *signer;
	struct mica_note_key key;
	char *guard; /* path; NULL for a store in memory */
	uint64_t guard_size; /* of the checkpoint outside; maintain's alone */

	pthread_mutex_t lock; /* of head and of which tree is the current one */
	struct mica_log_head head;
	struct log_tree *tree, *next; /* published; being built (the committer's) */
	uint64_t commits;

	/* the committer's */
	struct mica_log_head next_head;
	bool built; /* `next` is what the commit under way makes */
	int64_t now_ms;
	struct mica_write *writes;
	size_t n_writes, room;
	struct log_write_mem {
		uint8_t key[9];
		uint8_t *tile; /* owned; NULL for an entry */
	} * mem;
	struct mica_buf head_bytes;

	pthread_mutex_t tail_lock; /* of what follows */
	struct log_row *tail; /* of entries [marks.indexed, tail_end) */
	uint64_t tail_end;
	size_t tail_room;
	struct log_marks marks;
};

/* ledger.c */
struct log_head_value {
	uint64_t size;
	int64_t now_ms;
	struct mica_slice note;
	struct mica_frontier frontier;
};
mica_rc mica_log_head_read(struct mica_slice bytes, struct log_head_value *out, struct mica_err *e);
void mica_log_head_write(const struct log_head_value *h, struct mica_buf *out);
mica_rc mica_log_write_guard(const char *path, struct mica_slice note, struct mica_err *e);
char *mica_log_guard_path(const struct mica_store *s); /* NULL in memory */
mica_rc mica_log_damaged(struct mica_err *e, const char *fmt, ...) MICA_PRINTF(2, 3);
/* mica_tile_reader over the published tree; ctx is the ledger. */
mica_rc mica_log_read_tile(void *ctx, unsigned level, uint64_t n, unsigned width,
	uint8_t out[MICA_TILE_BYTES], struct mica_err *e);
/* Entries [from, to) in order; fn returns false to stop. Slices live during the call, which must
 * not use the store. */
typedef bool mica_log_each_fn(void *ctx, uint64_t index, struct mica_slice entry);
mica_rc mica_log_each(struct mica_ledger *l, uint64_t from, uint64_t to, mica_log_each_fn *fn,
	void *ctx, struct mica_err *e);
static inline void mica_log_be64(uint64_t v, uint8_t out[8])
{
	v = __builtin_bswap64(v);
	memcpy(out, &v, 8);
}
static inline uint64_t mica_log_get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, 8);
	return __builtin_bswap64(v);
}

/* ledger_index.c */
enum run_kind { RUN_SPIFFE = 1, RUN_POD = 2, RUN_SERIAL = 3, RUN_ZONE = 4 };
void mica_log_row(struct mica_slice entry, struct log_row *out);
/* The run of `kind` for rows [0, n), appended to `out`; zones: one for each GROUP of rows. */
void mica_log_build_run(
	enum run_kind kind, const struct log_row *rows, size_t n, struct mica_buf *out);
mica_rc mica_log_load_marks(struct mica_ledger *l, struct mica_err *e);
struct mica_slice mica_log_run_key(enum run_kind kind, unsigned level, uint64_t n, uint8_t key[6]);

#endif
