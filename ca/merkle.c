/* SPDX-License-Identifier: Apache-2.0 */
/* The Merkle tree: hashing, frontier, proofs from tiles and their checks. */
#include "mica/merkle.h"

#include "mica/buf.h"

#define OPENSSL_SUPPRESS_DEPRECATED /* SHA256_*: EVP costs as much again for two short blocks */
#include <openssl/sha.h>

#include <stdio.h>

_Static_assert(sizeof(struct mica_hash) == MICA_HASH_LEN, "hashes lie side by side in tiles");

void mica_merkle_leaf(struct mica_slice entry, struct mica_hash *out)
{
	SHA256_CTX c;

	SHA256_Init(&c);
	SHA256_Update(&c, "\0", 1);
	if (entry.len > 0)
		SHA256_Update(&c, entry.p, entry.len);
	SHA256_Final(out->b, &c);
}

void mica_merkle_node(
	const struct mica_hash *left, const struct mica_hash *right, struct mica_hash *out)
{
	SHA256_CTX c;

	SHA256_Init(&c);
	SHA256_Update(&c, "\1", 1);
	SHA256_Update(&c, left->b, MICA_HASH_LEN);
	SHA256_Update(&c, right->b, MICA_HASH_LEN);
	SHA256_Final(out->b, &c);
}

void mica_merkle_empty(struct mica_hash *out)
{
	SHA256((const uint8_t *)"", 0, out->b);
}

bool mica_hash_eq(const struct mica_hash *a, const struct mica_hash *b)
{
	return memcmp(a->b, b->b, MICA_HASH_LEN) == 0;
}

/* ---- frontier ------------------------------------------------------------------------------ */

void mica_frontier_init(struct mica_frontier *f)
{
	memset(f, 0, sizeof(*f));
}

void mica_frontier_add(struct mica_frontier *f, const struct mica_hash *leaf)
{
	struct mica_hash h = *leaf;

	/* Each 1 at the end of the size is a subtree as large as what is being carried. */
	for (uint64_t s = f->size; s & 1; s >>= 1)
		mica_merkle_node(&f->peak[--f->n], &h, &h);
	f->peak[f->n++] = h;
	f->size++;
}

void mica_frontier_root(const struct mica_frontier *f, struct mica_hash *out)
{
	if (f->n == 0) {
		mica_merkle_empty(out);
		return;
	}
	*out = f->peak[f->n - 1];
	for (unsigned i = f->n - 1; i-- > 0;)
		mica_merkle_node(&f->peak[i], out, out);
}

/* ---- tiles --------------------------------------------------------------------------------- */

unsigned mica_tile_width(uint64_t size, unsigned level, uint64_t n)
{
	uint64_t hashes;

	if (level > 7)
		return 0;
	hashes = size >> (level * MICA_TILE_HEIGHT);
	if (n >= (MICA_TREE_MAX >> MICA_TILE_HEIGHT) || n * MICA_TILE_WIDTH >= hashes)
		return 0;
	hashes -= n * MICA_TILE_WIDTH;
	return hashes > MICA_TILE_WIDTH ? MICA_TILE_WIDTH : (unsigned)hashes;
}

/* tlog-tiles: three digits a segment, all but the last with an x: 1234067 is x001/x234/067. */
void mica_tile_path(const struct mica_tile_id *id, char out[MICA_TILE_PATH_MAX])
{
	size_t at =
		(size_t)(id->entries ? snprintf(out, MICA_TILE_PATH_MAX, "tile/entries/")
				     : snprintf(out, MICA_TILE_PATH_MAX, "tile/%u/", id->level));
	uint64_t unit = 1;

	while (id->n / unit >= 1000)
		unit *= 1000;
	for (; unit > 1; unit /= 1000)
		at += (size_t)snprintf(out + at, MICA_TILE_PATH_MAX - at, "x%03u/",
			(unsigned)(id->n / unit % 1000));
	at += (size_t)snprintf(out + at, MICA_TILE_PATH_MAX - at, "%03u", (unsigned)(id->n % 1000));
	if (id->width < MICA_TILE_WIDTH)
		snprintf(out + at, MICA_TILE_PATH_MAX - at, ".p/%u", id->width);
}

static bool three_digits(struct mica_slice s, uint64_t *n)
{
	if (s.len != 3 || *n > MICA_TREE_MAX / 1000)
		return false;
	for (size_t i = 0; i < 3; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		*n = *n * 10 + (uint64_t)(s.p[i] - '0');
	}
	return true;
}

static bool read_number(struct mica_slice *rest, uint64_t *n, bool *partial)
{
	struct mica_slice part;

	*n = 0;
	for (bool first = true, more = true; more; first = false) {
		more = mica_slice_cut(rest, '/', &part);
		if (part.len == 4 && part.p[0] == 'x') {
			if (!more || !three_digits(mica_slice_sub(part, 1, 3), n))
				return false;
			/* x000 in front would be a second name for the same tile */
			if (first && *n == 0)
				return false;
			continue;
		}
		*partial = mica_slice_has_suffix(part, MICA_LIT(".p"));
		if (*partial)
			part.len -= 2;
		return *partial == more && three_digits(part, n);
	}
	return false;
}

static bool read_path(struct mica_slice path, struct mica_tile_id *out)
{
	struct mica_slice head;
	uint64_t v;
	bool partial = false;

	memset(out, 0, sizeof(*out));
	if (!mica_slice_cut(&path, '/', &head))
		return false;
	out->entries = mica_slice_eq_str(head, "entries");
	if (!out->entries) {
		if (mica_parse_u64(head, 7, &v) != MICA_OK)
			return false;
		out->level = (unsigned)v;
	}
	if (!read_number(&path, &out->n, &partial))
		return false;
	out->width = MICA_TILE_WIDTH;
	if (!partial)
		return true;
	if (mica_parse_u64(path, MICA_TILE_WIDTH - 1, &v) != MICA_OK || v == 0)
		return false;
	out->width = (unsigned)v;
	return true;
}

mica_rc mica_tile_path_parse(struct mica_slice path, struct mica_tile_id *out, struct mica_err *e)
{
	if (path.len < MICA_TILE_PATH_MAX && read_path(path, out))
		return MICA_OK;
	return mica_fail(e, MICA_INVALID, "bad_tile_path",
		"tile: expected LEVEL/NNN, LEVEL/xNNN/NNN or entries/NNN, with .p/1 to .p/255 for a "
		"partial one");
}

/* ---- hashes of the tree, out of tiles ----------------------------------------------------------
 */

struct source {
	mica_tile_reader *read;
	void *ctx;
	uint64_t size;
};

/* MTH of 2^height hashes side by side; overwrites them. */
static void fold(struct mica_hash *h, unsigned height, struct mica_hash *out)
{
	for (unsigned n = 1U << height; n > 1; n /= 2)
		for (unsigned i = 0; i < n / 2; i++)
			mica_merkle_node(&h[2 * i], &h[2 * i + 1], &h[i]);
	*out = h[0];
}

/* Root of the full subtree of 2^level leaves that begins at index << level. */
static mica_rc node_at(const struct source *s, unsigned level, uint64_t index,
	struct mica_hash *out, struct mica_err *e)
{
	struct mica_hash h[MICA_TILE_WIDTH];
	unsigned tile_level = level / MICA_TILE_HEIGHT, height = level % MICA_TILE_HEIGHT;
	uint64_t first = index << height, n = first / MICA_TILE_WIDTH;
	unsigned at = (unsigned)(first % MICA_TILE_WIDTH);
	unsigned width = mica_tile_width(s->size, tile_level, n);
	mica_rc rc;

	if (width < at + (1U << height))
		return mica_fail(e, MICA_INTERNAL, "tile_out_of_range",
			"tree: level %u index %llu is not a full subtree", level,
			(unsigned long long)index);
	rc = s->read(s->ctx, tile_level, n, width, (uint8_t *)h, e);
	if (rc == MICA_OK)
		fold(h + at, height, out);
	return rc;
}

mica_rc mica_merkle_frontier(mica_tile_reader *read, void *ctx, uint64_t size,
	struct mica_frontier *out, struct mica_err *e)
{
	struct source s = {read, ctx, size};

	mica_frontier_init(out);
	out->size = size;
	for (int level = 61; level >= 0; level--) {
		mica_rc rc;

		if (!(size >> level & 1))
			continue;
		rc = node_at(&s, (unsigned)level, (size >> level) - 1, &out->peak[out->n++], e);
		if (rc != MICA_OK)
			return rc;
	}
	return MICA_OK;
}

mica_rc mica_merkle_root(mica_tile_reader *read, void *ctx, uint64_t size, struct mica_hash *root,
	struct mica_err *e)
{
	struct mica_frontier f;
	mica_rc rc = mica_merkle_frontier(read, ctx, size, &f, e);

	if (rc == MICA_OK)
		mica_frontier_root(&f, root);
	return rc;
}

/* MTH(D[from:to]), where from is a multiple of the smallest power of two that is >= to - from: the
 * peaks of the range, folded from the right. */
static mica_rc range_root(const struct source *s, uint64_t from, uint64_t to, struct mica_hash *out,
	struct mica_err *e)
{
	struct mica_hash peak[MICA_PROOF_MAX];
	unsigned n = 0;

	for (int level = 61; level >= 0; level--) {
		mica_rc rc;

		if (!((to - from) >> level & 1))
			continue;
		rc = node_at(s, (unsigned)level, from >> level, &peak[n++], e);
		if (rc != MICA_OK)
			return rc;
		from += (uint64_t)1 << level;
	}
	*out = peak[n - 1];
	while (--n > 0)
		mica_merkle_node(&peak[n - 1], out, out);
	return MICA_OK;
}

/* Largest power of two smaller than n (n >= 2): RFC 6962's k. */
static uint64_t split(uint64_t n)
{
	return (uint64_t)1 << (63 - __builtin_clzll(n - 1));
}

static void reverse(struct mica_proof *p)
{
	for (unsigned i = 0; i < p->n / 2; i++) {
		struct mica_hash t = p->hash[i];

		p->hash[i] = p->hash[p->n - 1 - i];
		p->hash[p->n - 1 - i] = t;
	}
}

static mica_rc bad_range(struct mica_err *e, uint64_t a, uint64_t b)
{
	return mica_fail(e, MICA_INVALID, "bad_proof_range",
		"proof: there is none from %llu to a tree of %llu", (unsigned long long)a,
		(unsigned long long)b);
}

/* RFC 6962 2.1.1, walking down from the root: the siblings come in reverse order. */
mica_rc mica_merkle_inclusion(mica_tile_reader *read, void *ctx, uint64_t index, uint64_t size,
	struct mica_proof *out, struct mica_err *e)
{
	struct source s = {read, ctx, size};
	uint64_t from = 0, to = size;

	out->n = 0;
	if (index >= size || size > MICA_TREE_MAX)
		return bad_range(e, index, size);
	while (to - from > 1) {
		uint64_t mid = from + split(to - from);
		bool left = index < mid;
		mica_rc rc =
			range_root(&s, left ? mid : from, left ? to : mid, &out->hash[out->n++], e);

		if (rc != MICA_OK)
			return rc;
		if (left)
			to = mid;
		else
			from = mid;
	}
	reverse(out);
	return MICA_OK;
}

/* RFC 6962 2.1.2: SUBPROOF(m, D, whole), walking down. */
mica_rc mica_merkle_consistency(mica_tile_reader *read, void *ctx, uint64_t old_size,
	uint64_t new_size, struct mica_proof *out, struct mica_err *e)
{
	struct source s = {read, ctx, new_size};
	uint64_t from = 0, to = new_size;
	bool whole = true; /* the subtree is the old tree itself, whose root the verifier has */
	mica_rc rc;

	out->n = 0;
	if (old_size > new_size || new_size > MICA_TREE_MAX)
		return bad_range(e, old_size, new_size);
	if (old_size == 0 || old_size == new_size)
		return MICA_OK;
	while (to != old_size) {
		uint64_t mid = from + split(to - from);
		bool left = old_size <= mid;

		rc = range_root(&s, left ? mid : from, left ? to : mid, &out->hash[out->n++], e);
		if (rc != MICA_OK)
			return rc;
		if (left) {
			to = mid;
		} else {
			from = mid;
			whole = false;
		}
	}
	if (!whole) {
		rc = range_root(&s, from, to, &out->hash[out->n++], e);
		if (rc != MICA_OK)
			return rc;
	}
	reverse(out);
	return MICA_OK;
}

/* ---- checks -------------------------------------------------------------------------------- */

static mica_rc wrong_inclusion(struct mica_err *e, const char *what)
{
	return mica_fail(e, MICA_CORRUPT, "inclusion_proof_wrong", "inclusion proof: %s", what);
}

/* RFC 9162 2.1.3.2 */
mica_rc mica_merkle_check_inclusion(const struct mica_hash *leaf, uint64_t index, uint64_t size,
	const struct mica_proof *proof, const struct mica_hash *root, struct mica_err *e)
{
	uint64_t fn = index, sn = size - 1;
	struct mica_hash r = *leaf;

	if (index >= size || size > MICA_TREE_MAX || proof->n > MICA_PROOF_MAX)
		return wrong_inclusion(e, "the index is not in the tree");
	for (unsigned i = 0; i < proof->n; i++) {
		if (sn == 0)
			return wrong_inclusion(e, "too many hashes");
		if ((fn & 1) || fn == sn) {
			mica_merkle_node(&proof->hash[i], &r, &r);
			while (!(fn & 1) && fn != 0) {
				fn >>= 1;
				sn >>= 1;
			}
		} else {
			mica_merkle_node(&r, &proof->hash[i], &r);
		}
		fn >>= 1;
		sn >>= 1;
	}
	if (sn != 0)
		return wrong_inclusion(e, "too few hashes");
	if (!mica_hash_eq(&r, root))
		return wrong_inclusion(e, "it does not lead to the root");
	return MICA_OK;
}

static mica_rc wrong_consistency(struct mica_err *e, const char *what)
{
	return mica_fail(e, MICA_CORRUPT, "consistency_proof_wrong", "consistency proof: %s", what);
}

/* The walk of RFC 9162 2.1.4.2 from `r` = root of the last full subtree of the old tree. */
static mica_rc consistency_walk(uint64_t fn, uint64_t sn, struct mica_hash fr, struct mica_hash sr,
	const struct mica_hash *h, unsigned n, const struct mica_hash *old_root,
	const struct mica_hash *new_root, struct mica_err *e)
{
	for (unsigned i = 0; i < n; i++) {
		if (sn == 0)
			return wrong_consistency(e, "too many hashes");
		if ((fn & 1) || fn == sn) {
			mica_merkle_node(&h[i], &fr, &fr);
			mica_merkle_node(&h[i], &sr, &sr);
			while (!(fn & 1) && fn != 0) {
				fn >>= 1;
				sn >>= 1;
			}
		} else {
			mica_merkle_node(&sr, &h[i], &sr);
		}
		fn >>= 1;
		sn >>= 1;
	}
	if (sn != 0)
		return wrong_consistency(e, "too few hashes");
	if (!mica_hash_eq(&fr, old_root) || !mica_hash_eq(&sr, new_root))
		return wrong_consistency(e, "the newer tree does not contain the older one");
	return MICA_OK;
}

mica_rc mica_merkle_check_consistency(uint64_t old_size, const struct mica_hash *old_root,
	uint64_t new_size, const struct mica_hash *new_root, const struct mica_proof *proof,
	struct mica_err *e)
{
	uint64_t fn = old_size - 1, sn = new_size - 1;
	struct mica_hash first, empty;
	unsigned at = 0;

	if (old_size > new_size || new_size > MICA_TREE_MAX || proof->n > MICA_PROOF_MAX)
		return wrong_consistency(e, "the older tree is the larger one");
	if (old_size == 0 || old_size == new_size) {
		mica_merkle_empty(&empty);
		if (proof->n != 0)
			return wrong_consistency(e, "too many hashes");
		if (!mica_hash_eq(old_root, old_size == 0 ? &empty : new_root))
			return wrong_consistency(e, "two roots for one size");
		return MICA_OK;
	}
	if (proof->n == 0)
		return wrong_consistency(e, "too few hashes");
	/* An old tree that is one full subtree is its own first hash. */
	if ((old_size & (old_size - 1)) == 0)
		first = *old_root;
	else
		first = proof->hash[at++];
	while (fn & 1) {
		fn >>= 1;
		sn >>= 1;
	}
	return consistency_walk(
		fn, sn, first, first, proof->hash + at, proof->n - at, old_root, new_root, e);
}
