/* SPDX-License-Identifier: Apache-2.0 */
/* The Merkle tree against RFC 6962's definition, written down as it stands there. */
#include "pki.h"

#include "mica/merkle.h"

#include <stdio.h>

#define MOST 65537U

static struct mica_hash leaves[MOST];
static uint8_t *tiles[3]; /* all hashes of tile levels 0, 1 and 2 */

static void leaf_of(uint64_t i, struct mica_hash *out)
{
	char text[32];

	snprintf(text, sizeof(text), "entry %llu", (unsigned long long)i);
	mica_merkle_leaf(mica_slice_str(text), out);
}

/* RFC 6962 2.1: MTH(D[n]) */
static void mth(const struct mica_hash *d, uint64_t n, struct mica_hash *out)
{
	struct mica_hash l, r;
	uint64_t k = 1;

	if (n == 0) {
		mica_merkle_empty(out);
		return;
	}
	if (n == 1) {
		*out = d[0];
		return;
	}
	while (k * 2 < n)
		k *= 2;
	mth(d, k, &l);
	mth(d + k, n - k, &r);
	mica_merkle_node(&l, &r, out);
}

/* RFC 6962 2.1.1: PATH(m, D[n]) */
static void path(uint64_t m, const struct mica_hash *d, uint64_t n, struct mica_proof *p)
{
	struct mica_hash h;
	uint64_t k = 1;

	if (n <= 1)
		return;
	while (k * 2 < n)
		k *= 2;
	if (m < k) {
		path(m, d, k, p);
		mth(d + k, n - k, &h);
	} else {
		path(m - k, d + k, n - k, p);
		mth(d, k, &h);
	}
	p->hash[p->n++] = h;
}

/* RFC 6962 2.1.2: SUBPROOF(m, D[n], b) */
static void subproof(
	uint64_t m, const struct mica_hash *d, uint64_t n, bool b, struct mica_proof *p)
{
	struct mica_hash h;
	uint64_t k = 1;

	if (m == n) {
		if (!b) {
			mth(d, n, &h);
			p->hash[p->n++] = h;
		}
		return;
	}
	while (k * 2 < n)
		k *= 2;
	if (m <= k) {
		subproof(m, d, k, b, p);
		mth(d + k, n - k, &h);
	} else {
		subproof(m - k, d + k, n - k, false, p);
		mth(d, k, &h);
	}
	p->hash[p->n++] = h;
}

static mica_rc read_tile(void *ctx, unsigned level, uint64_t n, unsigned width,
	uint8_t out[MICA_TILE_BYTES], struct mica_err *e)
{
	uint64_t size = *(uint64_t *)ctx;

	(void)e;
	assert_true(level < 3 && width >= 1);
	assert_int_equal(width, mica_tile_width(size, level, n));
	memcpy(out, tiles[level] + n * MICA_TILE_BYTES, (size_t)width * MICA_HASH_LEN);
	return MICA_OK;
}

static int setup(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < MOST; i++)
		leaf_of(i, &leaves[i]);
	tiles[0] = (uint8_t *)leaves;
	for (unsigned level = 1; level < 3; level++) {
		uint64_t n = MOST >> (8 * level);

		tiles[level] = mica_calloc(n + 256, MICA_HASH_LEN);
		for (uint64_t i = 0; i < n; i++)
			mth(&leaves[i << (8 * level)], (uint64_t)1 << (8 * level),
				(struct mica_hash *)(void *)(tiles[level] + i * MICA_HASH_LEN));
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	mica_free(tiles[1]);
	mica_free(tiles[2]);
	return 0;
}

static const uint64_t sizes[] = {
	0, 1, 2, 3, 7, 8, 255, 256, 257, 511, 513, 4097, 65535, 65536, 65537};

static void known_answers(void **state)
{
	/* RFC 6962 as certificate-transparency's test data have it: empty tree, leaf of "" */
	struct mica_hash h;
	char hex[65];

	(void)state;
	mica_merkle_empty(&h);
	mica_hex_encode(h.b, 32, hex);
	assert_string_equal(
		hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	mica_merkle_leaf(MICA_SLICE_NULL, &h);
	mica_hex_encode(h.b, 32, hex);
	assert_string_equal(
		hex, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
}

static void frontier(void **state)
{
	struct mica_frontier f, g;
	struct mica_hash want, got;
	size_t next = 0;

	(void)state;
	mica_frontier_init(&f);
	for (uint64_t i = 0; i <= MOST; i++) {
		if (next < MICA_ARRAY_LEN(sizes) && i == sizes[next]) {
			next++;
			mth(leaves, i, &want);
			mica_frontier_root(&f, &got);
			assert_true(mica_hash_eq(&want, &got));
			assert_ok(mica_merkle_root(read_tile, &i, i, &got, e));
			assert_true(mica_hash_eq(&want, &got));
			assert_ok(mica_merkle_frontier(read_tile, &i, i, &g, e));
			assert_int_equal(f.n, g.n);
			assert_memory_equal(f.peak, g.peak, f.n * sizeof(f.peak[0]));
		}
		if (i < MOST)
			mica_frontier_add(&f, &leaves[i]);
	}
	assert_int_equal(next, MICA_ARRAY_LEN(sizes));
}

static void spoiled(const struct mica_hash *leaf, uint64_t index, uint64_t size,
	struct mica_proof p, const struct mica_hash *root)
{
	if (p.n > 0) {
		p.hash[p.n / 2].b[5] ^= 1;
		assert_refused(MICA_CORRUPT, "inclusion_proof_wrong",
			mica_merkle_check_inclusion(leaf, index, size, &p, root, e));
		p.hash[p.n / 2].b[5] ^= 1;
		p.n--;
		assert_refused(MICA_CORRUPT, "inclusion_proof_wrong",
			mica_merkle_check_inclusion(leaf, index, size, &p, root, e));
		p.n++;
	}
	p.hash[p.n++] = *leaf;
	assert_refused(MICA_CORRUPT, "inclusion_proof_wrong",
		mica_merkle_check_inclusion(leaf, index, size, &p, root, e));
}

static void inclusion_one(uint64_t index, uint64_t size)
{
	struct mica_proof want = {0}, got;
	struct mica_hash root;

	mth(leaves, size, &root);
	path(index, leaves, size, &want);
	assert_ok(mica_merkle_inclusion(read_tile, &size, index, size, &got, e));
	assert_int_equal(got.n, want.n);
	assert_memory_equal(got.hash, want.hash, want.n * sizeof(want.hash[0]));
	assert_ok(mica_merkle_check_inclusion(&leaves[index], index, size, &got, &root, e));
	spoiled(&leaves[index], index, size, got, &root);
	assert_refused(MICA_CORRUPT, "inclusion_proof_wrong",
		mica_merkle_check_inclusion(
			&leaves[index ? 0 : size - 1], index ? index : size, size, &got, &root, e));
}

static void inclusion(void **state)
{
	static const uint64_t where[][2] = {{0, 65537}, {65536, 65537}, {65535, 65537}, {300, 513},
		{511, 513}, {512, 513}, {255, 257}, {256, 257}, {4000, 4097}, {65535, 65536}};

	(void)state;
	for (uint64_t size = 1; size <= 40; size++)
		for (uint64_t i = 0; i < size; i++)
			inclusion_one(i, size);
	for (size_t i = 0; i < MICA_ARRAY_LEN(where); i++)
		inclusion_one(where[i][0], where[i][1]);
}

static void consistency_one(uint64_t from, uint64_t to)
{
	struct mica_proof want = {0}, got;
	struct mica_hash old_root, new_root;

	mth(leaves, from, &old_root);
	mth(leaves, to, &new_root);
	if (from > 0)
		subproof(from, leaves, to, true, &want);
	assert_ok(mica_merkle_consistency(read_tile, &to, from, to, &got, e));
	assert_int_equal(got.n, want.n);
	assert_memory_equal(got.hash, want.hash, want.n * sizeof(want.hash[0]));
	assert_ok(mica_merkle_check_consistency(from, &old_root, to, &new_root, &got, e));
	if (from == 0)
		return;
	old_root.b[0] ^= 1;
	assert_refused(MICA_CORRUPT, "consistency_proof_wrong",
		mica_merkle_check_consistency(from, &old_root, to, &new_root, &got, e));
	old_root.b[0] ^= 1;
	if (got.n > 0) {
		got.hash[got.n - 1].b[31] ^= 0x80;
		assert_refused(MICA_CORRUPT, "consistency_proof_wrong",
			mica_merkle_check_consistency(from, &old_root, to, &new_root, &got, e));
		got.n--;
		assert_refused(MICA_CORRUPT, "consistency_proof_wrong",
			mica_merkle_check_consistency(from, &old_root, to, &new_root, &got, e));
		got.n++;
	}
	got.n++;
	assert_refused(MICA_CORRUPT, "consistency_proof_wrong",
		mica_merkle_check_consistency(from, &old_root, to, &new_root, &got, e));
}

static void consistency(void **state)
{
	static const uint64_t pairs[][2] = {{1, 65537}, {65536, 65537}, {65535, 65537}, {256, 513},
		{255, 257}, {256, 65536}, {4097, 65537}, {257, 4097}};

	(void)state;
	for (uint64_t to = 0; to <= 40; to++)
		for (uint64_t from = 0; from <= to; from++)
			consistency_one(from, to);
	for (size_t i = 0; i < MICA_ARRAY_LEN(pairs); i++)
		consistency_one(pairs[i][0], pairs[i][1]);
}

static void ranges(void **state)
{
	struct mica_proof p;
	uint64_t size = 10;

	(void)state;
	assert_refused(MICA_INVALID, "bad_proof_range",
		mica_merkle_inclusion(read_tile, &size, 10, 10, &p, e));
	assert_refused(MICA_INVALID, "bad_proof_range",
		mica_merkle_inclusion(read_tile, &size, 0, 0, &p, e));
	assert_refused(MICA_INVALID, "bad_proof_range",
		mica_merkle_consistency(read_tile, &size, 11, 10, &p, e));
	p.n = 0;
	assert_refused(MICA_CORRUPT, "consistency_proof_wrong",
		mica_merkle_check_consistency(2, &leaves[0], 1, &leaves[0], &p, e));
}

static void paths(void **state)
{
	static const struct {
		struct mica_tile_id id;
		const char *path;
	} good[] = {
		{{false, 0, 1234067, 256}, "tile/0/x001/x234/067"}, /* tlog-tiles' example */
		{{false, 1, 0, 17}, "tile/1/000.p/17"},
		{{true, 0, 273, 112}, "tile/entries/273.p/112"},
		{{false, 7, 1000, 255}, "tile/7/x001/000.p/255"},
		{{false, 0, 999999, 256}, "tile/0/x999/999"},
		{{true, 0, 1000000000, 256}, "tile/entries/x001/x000/x000/000"},
	};
	static const char *const bad[] = {"", "0", "0/", "0/1", "0/0001", "8/000", "00/000",
		"-1/000", "0/x000/001", "0/x001", "0/x001/", "0/001/000", "0/000.p", "0/000.p/",
		"0/000.p/0", "0/000.p/256", "0/000.p/01", "0/000.p/1/", "0/000/", "0/x01/000",
		"entries", "entry/000", "0/000.q/1", "0/x001.p/1", "0/abc", "/0/000", "0//000",
		"0/x999/x999/x999/x999/x999/x999/x999/x999/x999/999"};
	char out[MICA_TILE_PATH_MAX];
	struct mica_tile_id id;

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(good); i++) {
		mica_tile_path(&good[i].id, out);
		assert_string_equal(out, good[i].path);
		assert_ok(mica_tile_path_parse(mica_slice_str(out + 5), &id, e));
		assert_int_equal(id.n, good[i].id.n);
		assert_int_equal(id.level, good[i].id.level);
		assert_int_equal(id.width, good[i].id.width);
		assert_int_equal(id.entries, good[i].id.entries);
	}
	for (size_t i = 0; i < MICA_ARRAY_LEN(bad); i++)
		if (mica_tile_path_parse(mica_slice_str(bad[i]), &id, NULL) != MICA_INVALID)
			fail_msg("%s was accepted", bad[i]);
	assert_int_equal(mica_tile_width(70000, 0, 273), 112); /* tlog-tiles' example */
	assert_int_equal(mica_tile_width(70000, 1, 1), 17);
	assert_int_equal(mica_tile_width(70000, 2, 0), 1);
	assert_int_equal(mica_tile_width(70000, 0, 274), 0);
	assert_int_equal(mica_tile_width(70000, 0, UINT64_MAX), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_answers),
		cmocka_unit_test(frontier),
		cmocka_unit_test(inclusion),
		cmocka_unit_test(consistency),
		cmocka_unit_test(ranges),
		cmocka_unit_test(paths),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
