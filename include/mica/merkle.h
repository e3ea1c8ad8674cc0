/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Merkle tree of RFC 6962 2.1 over tiles of C2SP tlog-tiles: hashing, the state that grows
 * (a frontier, O(log n)), proofs, and their checks. Pure: no store, no clock, no allocation.
 * The checks are what `mica audit verify` runs on an auditor's machine.
 */
#ifndef MICA_MERKLE_H
#define MICA_MERKLE_H

#include "mica/slice.h"

#define MICA_HASH_LEN      32
#define MICA_TILE_HEIGHT   8
#define MICA_TILE_WIDTH    256 /* hashes in a full tile, entries in a full bundle */
#define MICA_TILE_BYTES    8192 /* 256 * 32 */
#define MICA_TREE_MAX      ((uint64_t)1 << 62) /* sizes and indices are below */
#define MICA_PROOF_MAX     64 /* hashes in a proof; C2SP allows 63 */
#define MICA_TILE_PATH_MAX 64

struct mica_hash {
	uint8_t b[MICA_HASH_LEN];
};

/* RFC 6962 2.1: SHA-256(0x00 || entry), SHA-256(0x01 || left || right), SHA-256() for an empty
 * tree. */
void mica_merkle_leaf(struct mica_slice entry, struct mica_hash *out);
void mica_merkle_node(
	const struct mica_hash *left, const struct mica_hash *right, struct mica_hash *out);
void mica_merkle_empty(struct mica_hash *out);
bool mica_hash_eq(const struct mica_hash *a, const struct mica_hash *b);

/* ---- the tree that grows ------------------------------------------------------------------- */

/* Roots of the full subtrees that make up a tree, largest first: one for each 1 in the size. */
struct mica_frontier {
	uint64_t size;
	unsigned n;
	struct mica_hash peak[MICA_PROOF_MAX];
};
void mica_frontier_init(struct mica_frontier *f); /* the empty tree */
void mica_frontier_add(struct mica_frontier *f, const struct mica_hash *leaf);
void mica_frontier_root(const struct mica_frontier *f, struct mica_hash *out);

/* ---- tiles --------------------------------------------------------------------------------- */

/* A tile, or a bundle of entries, by its place. */
struct mica_tile_id {
	bool entries; /* a bundle: level is 0 then */
	unsigned level; /* 0..7 */
	uint64_t n;
	unsigned width; /* 1..256; 256 = full */
};
/* Hashes that tile (level, n) has in a tree of `size`: 0..256. A bundle is as wide as its level-0
 * tile. */
unsigned mica_tile_width(uint64_t size, unsigned level, uint64_t n);
/* "tile/0/x001/x234/067", "tile/1/000.p/17", "tile/entries/000.p/3". */
void mica_tile_path(const struct mica_tile_id *id, char out[MICA_TILE_PATH_MAX]);
/* The other way, of what stands behind "tile/": "0/x001/067.p/8". Canonical form only, else
 * INVALID "bad_tile_path". */
mica_rc mica_tile_path_parse(
	struct mica_slice path, struct mica_tile_id *out, struct mica_err *e) MICA_MUST_CHECK;

/* Gives the first `width` hashes (width * 32 octets) of a tile. */
typedef mica_rc mica_tile_reader(void *ctx, unsigned level, uint64_t n, unsigned width,
	uint8_t out[MICA_TILE_BYTES], struct mica_err *e);

/* ---- proofs, made from tiles --------------------------------------------------------------- */

struct mica_proof {
	unsigned n;
	struct mica_hash hash[MICA_PROOF_MAX];
};
/* INVALID "bad_proof_range" unless index < size (for the others: old <= new). */
mica_rc mica_merkle_inclusion(mica_tile_reader *read, void *ctx, uint64_t index, uint64_t size,
	struct mica_proof *out, struct mica_err *e) MICA_MUST_CHECK;
mica_rc mica_merkle_consistency(mica_tile_reader *read, void *ctx, uint64_t old_size,
	uint64_t new_size, struct mica_proof *out, struct mica_err *e) MICA_MUST_CHECK;
mica_rc mica_merkle_root(mica_tile_reader *read, void *ctx, uint64_t size, struct mica_hash *root,
	struct mica_err *e) MICA_MUST_CHECK;
mica_rc mica_merkle_frontier(mica_tile_reader *read, void *ctx, uint64_t size,
	struct mica_frontier *out, struct mica_err *e) MICA_MUST_CHECK;

/* ---- their checks (RFC 9162 2.1.3.2, 2.1.4.2)
 * ---------------------------------------------------- */

/* CORRUPT "inclusion_proof_wrong", "consistency_proof_wrong" (also for a wrong number of hashes). A
 * tree is consistent with the empty one by an empty proof; with itself by an empty proof and equal
 * roots. */
mica_rc mica_merkle_check_inclusion(const struct mica_hash *leaf, uint64_t index, uint64_t size,
	const struct mica_proof *proof, const struct mica_hash *root,
	struct mica_err *e) MICA_MUST_CHECK;
mica_rc mica_merkle_check_consistency(uint64_t old_size, const struct mica_hash *old_root,
	uint64_t new_size, const struct mica_hash *new_root, const struct mica_proof *proof,
	struct mica_err *e) MICA_MUST_CHECK;

#endif
