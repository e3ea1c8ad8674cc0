/* SPDX-License-Identifier: Apache-2.0 */
/* What an implementation of the store provides, and what it may use of the common half. */
#ifndef MICA_CA_STORE_IMPL_H
#define MICA_CA_STORE_IMPL_H

#include "mica/store.h"

#include <stdatomic.h>

struct mica_store_ops {
	mica_rc (*view)(struct mica_store *s, enum mica_table t, struct mica_slice key,
		mica_store_view_fn *fn, void *ctx, struct mica_err *e);
	mica_rc (*list)(struct mica_store *s, const struct mica_scan *scan, mica_store_list_fn *fn,
		void *ctx, struct mica_err *e);
	mica_rc (*commit)(struct mica_store *s, struct mica_change *changes, size_t n,
		const struct mica_seal *seal, struct mica_err *e);
	mica_rc (*apply)(struct mica_store *s, const struct mica_write *writes, size_t n,
		struct mica_err *e);
	mica_rc (*head)(struct mica_store *s, struct mica_buf *head, struct mica_err *e);
	mica_rc (*set_head)(struct mica_store *s, struct mica_slice head, struct mica_err *e);
	mica_rc (*complete)(struct mica_store *s, struct mica_err *e);
	mica_rc (*space)(struct mica_store *s, struct mica_store_space *out, struct mica_err *e);
	mica_rc (*copy)(struct mica_store *s, const char *path, const struct mica_progress *p,
		struct mica_err *e);
	void (*close)(struct mica_store *s);
};

/* First member of every implementation. */
struct mica_store {
	const struct mica_store_ops *ops;
	char *dir; /* owned; NULL in memory */
	unsigned max_percent;
	atomic_bool failed; /* a commit's outcome is unknown: no more writes */
	atomic_int fault; /* enum mica_store_fault */
	atomic_uint fault_after;
};

static inline bool mica_table_is_record(enum mica_table t)
{
	return t < MICA_T_RECORD_END;
}

/* What mica_store_judge needs of a write transaction. Slices that get() gives live until the next
 * call. get() answers NOT_FOUND without filling an error. */
struct mica_tx {
	mica_rc (*get)(struct mica_tx *tx, enum mica_table t, struct mica_slice key,
		struct mica_slice *value, uint64_t *rev);
	mica_rc (*put)(struct mica_tx *tx, enum mica_table t, struct mica_slice key,
		struct mica_slice value, uint64_t rev, struct mica_err *e);
	mica_rc (*del)(
		struct mica_tx *tx, enum mica_table t, struct mica_slice key, struct mica_err *e);
	/* The head: number of the last commit and the ledger's own bytes. */
	mica_rc (*get_head)(struct mica_tx *tx, uint64_t *commit, struct mica_buf *head);
	mica_rc (*put_head)(
		struct mica_tx *tx, uint64_t commit, struct mica_slice head, struct mica_err *e);
};
/* The whole of a commit but its beginning and end. *wrote: there is something to make durable. */
mica_rc mica_store_judge(struct mica_tx *tx, struct mica_change *changes, size_t n,
	const struct mica_seal *seal, bool *wrote, struct mica_err *e);
mica_rc mica_store_put_all(
	struct mica_tx *tx, const struct mica_write *writes, size_t n, struct mica_err *e);

/* ca/store_pages.c */
/* Which of LMDB's two meta pages counts, and whether the file holds all of its pages. */
mica_rc mica_lmdb_check_meta(int fd, const char *path, struct mica_err *e);

#endif
