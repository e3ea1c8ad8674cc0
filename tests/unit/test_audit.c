/* SPDX-License-Identifier: Apache-2.0 */
/* What an auditor's machine finds out about a log, against logs that keep their promises and logs
 * that do not. */
#include "pki.h"

#include "cli/audit_verify.h"

#define SIZE_MAX_TEST 70000
#define ORIGIN        "example.org/log/0123456789abcdef"

/* A log in memory: every entry is its own number in text, after a letter that tells logs apart. */
struct log {
	uint64_t size;
	struct mica_hash *level[3]; /* 0: leaves; 1: each over 256; 2: over 65,536 */
	uint64_t
		missing; /* number of a tile of level 0 that is not handed out; UINT64_MAX = none */
};

static struct mica_signer *signer, *stranger;
static struct mica_note_key key, foreign;

static struct mica_slice entry_text(char letter, uint64_t i, char out[32])
{
	snprintf(out, 32, "%c%llu", letter, (unsigned long long)i);
	return mica_slice_str(out);
}

static void fold_level(struct log *l, unsigned level)
{
	uint64_t n = l->size >> ((level + 1) * MICA_TILE_HEIGHT);
	struct mica_hash row[MICA_TILE_WIDTH];

	l->level[level + 1] = mica_calloc(n + 1, sizeof(struct mica_hash));
	for (uint64_t i = 0; i < n; i++) {
		memcpy(row, l->level[level] + i * MICA_TILE_WIDTH, sizeof(row));
		for (unsigned w = MICA_TILE_WIDTH; w > 1; w /= 2)
			for (unsigned k = 0; k < w / 2; k++)
				mica_merkle_node(&row[2 * k], &row[2 * k + 1], &row[k]);
		l->level[level + 1][i] = row[0];
	}
}

/* Entries from `fork` on carry another letter. */
static struct log *make_log(uint64_t size, uint64_t fork)
{
	struct log *l = MICA_NEW(struct log);
	char text[32];

	l->size = size;
	l->missing = UINT64_MAX;
	l->level[0] = mica_calloc(size + 1, sizeof(struct mica_hash));
	for (uint64_t i = 0; i < size; i++)
		mica_merkle_leaf(entry_text(i < fork ? 'e' : 'f', i, text), &l->level[0][i]);
	fold_level(l, 0);
	fold_level(l, 1);
	return l;
}

static void free_log(struct log *l)
{
	for (unsigned i = 0; i < 3; i++)
		mica_free(l->level[i]);
	mica_free(l);
}

static mica_rc read_log(void *ctx, unsigned level, uint64_t n, unsigned width,
	uint8_t out[MICA_TILE_BYTES], struct mica_err *e)
{
	const struct log *l = ctx;
	uint64_t have = l->size >> (level * MICA_TILE_HEIGHT);

	if (level == 0 && n == l->missing)
		return mica_fail(
			e, MICA_NOT_FOUND, "tile_missing", "tile 0/%llu", (unsigned long long)n);
	assert_true(level < 3 && n * MICA_TILE_WIDTH + width <= have);
	memcpy(out, l->level[level] + n * MICA_TILE_WIDTH, (size_t)width * MICA_HASH_LEN);
	return MICA_OK;
}

static struct audit_tiles tiles_of(struct log *l)
{
	return (struct audit_tiles){read_log, l};
}

static void root_of(const struct log *l, uint64_t size, struct mica_hash *out)
{
	struct mica_frontier f;

	mica_frontier_init(&f);
	for (uint64_t i = 0; i < size; i++)
		mica_frontier_add(&f, &l->level[0][i]);
	mica_frontier_root(&f, out);
}

/* A checkpoint of the first `size` entries, signed. */
static void sign(const struct log *l, uint64_t size, const struct mica_note_key *by,
	const struct mica_signer *with, struct mica_buf *note, struct mica_checkpoint *cp)
{
	memset(cp, 0, sizeof(*cp));
	snprintf(cp->origin, sizeof(cp->origin), "%s", by->name);
	cp->size = size;
	root_of(l, size, &cp->root);
	mica_buf_init(note, MICA_CHECKPOINT_MAX);
	assert_ok(mica_checkpoint_sign(cp, by, with, note, e));
}

static int setup(void **state)
{
	(void)state;
	assert_ok(mica_signer_generate(MICA_KN_ED25519, &signer, e));
	assert_ok(mica_signer_generate(MICA_KN_ED25519, &stranger, e));
	assert_ok(mica_note_key_init(&key, mica_slice_str(ORIGIN), mica_signer_public(signer), e));
	assert_ok(mica_note_key_init(
		&foreign, mica_slice_str(ORIGIN), mica_signer_public(stranger), e));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	mica_signer_free(signer);
	mica_signer_free(stranger);
	return 0;
}

static const uint64_t sizes[] = {0, 1, 2, 3, 255, 256, 257, 511, 1000, 65535, 65536, 65537, 70000};

static void growth_is_consistent(void **state)
{
	struct log *l = make_log(SIZE_MAX_TEST, UINT64_MAX);
	struct mica_checkpoint seen, now;
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(sizes); i++) {
		for (size_t j = i; j < MICA_ARRAY_LEN(sizes); j += 3) {
			struct mica_checkpoint cp;
			struct audit_tiles tiles;
			MICA_AUTO_BUF old, note;

			l->size = sizes[j]; /* nothing behind the tree is handed out */
			tiles = tiles_of(l);
			sign(l, sizes[i], &key, signer, &old, &seen);
			sign(l, sizes[j], &key, signer, &note, &cp);
			assert_ok(
				audit_advance(&key, &seen, mica_buf_slice(&note), &tiles, &now, e));
			assert_int_equal(now.size, sizes[j]);
			assert_true(mica_hash_eq(&now.root, &cp.root));
		}
	}
	free_log(l);
}

static void broken_promises_have_names(void **state)
{
	struct log *good = make_log(1000, UINT64_MAX), *fork = make_log(1200, 700);
	struct audit_tiles good_tiles = tiles_of(good), fork_tiles = tiles_of(fork);
	struct mica_checkpoint seen, now, other;
	MICA_AUTO_BUF a, b, same, small, alien;
	(void)state;
	sign(good, 1000, &key, signer, &a, &seen);
	/* larger, another tree from entry 700 on */
	sign(fork, 1200, &key, signer, &b, &other);
	assert_refused(MICA_CORRUPT, "log_forked",
		audit_advance(&key, &seen, mica_buf_slice(&b), &fork_tiles, &now, e));
	assert_int_equal(now.size, 1200);
	/* of the same size */
	fork->size = 1000;
	sign(fork, 1000, &key, signer, &same, &other);
	assert_refused(MICA_CORRUPT, "log_forked",
		audit_advance(&key, &seen, mica_buf_slice(&same), &fork_tiles, &now, e));
	/* smaller, though a true beginning */
	sign(good, 999, &key, signer, &small, &other);
	assert_refused(MICA_CORRUPT, "log_shrunk",
		audit_advance(&key, &seen, mica_buf_slice(&small), &good_tiles, &now, e));
	/* signed by another key of the same name */
	sign(good, 1000, &foreign, stranger, &alien, &other);
	assert_refused(MICA_CORRUPT, "note_unsigned",
		audit_advance(&key, &seen, mica_buf_slice(&alien), &good_tiles, &now, e));
	/* the first look takes the forked one: there is nothing to contradict */
	assert_ok(audit_advance(&key, NULL, mica_buf_slice(&same), &fork_tiles, &now, e));
	free_log(good);
	free_log(fork);
}

static void tiles_are_not_believed(void **state)
{
	struct log *l = make_log(1000, UINT64_MAX), *other = make_log(1000, 999);
	struct audit_tiles tiles = tiles_of(l), wrong = tiles_of(other);
	struct mica_checkpoint seen, now;
	MICA_AUTO_BUF a, b;
	(void)state;
	sign(l, 500, &key, signer, &a, &seen);
	sign(l, 1000, &key, signer, &b, &now);
	assert_refused(MICA_CORRUPT, "tiles_wrong",
		audit_advance(&key, &seen, mica_buf_slice(&b), &wrong, &now, e));
	l->missing = 3;
	assert_refused(MICA_NOT_FOUND, "tile_missing",
		audit_advance(&key, &seen, mica_buf_slice(&b), &tiles, &now, e));
	l->missing = UINT64_MAX;
	assert_ok(audit_advance(&key, &seen, mica_buf_slice(&b), &tiles, &now, e));
	free_log(l);
	free_log(other);
}

static void a_signature_counts_for_every_octet(void **state)
{
	struct log *l = make_log(300, UINT64_MAX);
	struct audit_tiles tiles = tiles_of(l);
	struct mica_checkpoint cp, now;
	MICA_AUTO_BUF note;
	(void)state;
	sign(l, 300, &key, signer, &note, &cp);
	for (size_t i = 0; i < note.len; i++) {
		struct mica_err e = MICA_ERR_INIT;

		note.p[i] ^= 1;
		assert_int_not_equal(
			audit_advance(&key, NULL, mica_buf_slice(&note), &tiles, &now, &e),
			MICA_OK);
		note.p[i] ^= 1;
	}
	assert_ok(audit_advance(&key, NULL, mica_buf_slice(&note), &tiles, &now, e));
	free_log(l);
}

/* The proof of consistency passes over most tiles; --deep does not pass over one. */
static void deep_reads_every_tile(void **state)
{
	struct log *l = make_log(SIZE_MAX_TEST, UINT64_MAX);
	struct audit_tiles tiles = tiles_of(l);
	struct mica_checkpoint cp;
	MICA_AUTO_BUF note;
	static const struct {
		unsigned level;
		uint64_t at;
	} places[] = {{0, 0}, {0, 255}, {0, 256}, {0, 30000}, {0, 65535}, {0, 69999}, {1, 0},
		{1, 100}, {1, 255}, {1, 256}, {1, 272}, {2, 0}};
	(void)state;
	sign(l, SIZE_MAX_TEST, &key, signer, &note, &cp);
	assert_ok(audit_deep(&cp, 0, &tiles, NULL, NULL, e));
	assert_ok(audit_deep(&cp, 69000, &tiles, NULL, NULL, e));
	for (size_t i = 0; i < MICA_ARRAY_LEN(places); i++) {
		uint8_t *octet = &l->level[places[i].level][places[i].at].b[17];

		*octet ^= 0x40;
		assert_refused(
			MICA_CORRUPT, "tiles_wrong", audit_deep(&cp, 0, &tiles, NULL, NULL, e));
		*octet ^= 0x40;
	}
	/* from 69,000 on the first tiles are old */
	l->level[0][0].b[0] ^= 1;
	assert_ok(audit_deep(&cp, 69000, &tiles, NULL, NULL, e));
	l->level[0][68999].b[0] ^= 1;
	assert_refused(MICA_CORRUPT, "tiles_wrong", audit_deep(&cp, 68900, &tiles, NULL, NULL, e));
	free_log(l);
}

/* ---- entries ------------------------------------------------------------------------------- */

static void put_bundle(struct mica_buf *b, char letter, uint64_t from, uint64_t to)
{
	char text[32];

	mica_buf_init(b, 65536);
	for (uint64_t i = from; i < to; i++) {
		struct mica_slice s = entry_text(letter, i, text);

		mica_buf_put_be16(b, (uint16_t)s.len);
		mica_buf_put_slice(b, s);
	}
}

static mica_rc count(void *ctx, uint64_t index, struct mica_slice entry, struct mica_err *e)
{
	uint64_t *n = ctx;
	char text[32];

	(void)e;
	assert_true(mica_slice_eq(entry, entry_text('e', index, text)));
	++*n;
	return MICA_OK;
}

static void bundles_are_proved_before_they_are_read(void **state)
{
	struct log *l = make_log(1000, UINT64_MAX);
	struct audit_tiles tiles = tiles_of(l);
	struct mica_checkpoint cp;
	MICA_AUTO_BUF note;
	uint64_t n = 0;
	(void)state;
	sign(l, 1000, &key, signer, &note, &cp);
	for (uint64_t tile = 0; tile < 4; tile++) {
		uint64_t from = tile * 256, to = from + 256 > 1000 ? 1000 : from + 256;
		MICA_AUTO_BUF b;

		put_bundle(&b, 'e', from, to);
		assert_ok(audit_bundle(&cp, &tiles, tile, mica_buf_slice(&b), count, &n, e));
		assert_int_equal(n, to);
		/* the tree's own tile of these entries is not asked */
		l->missing = tile;
		assert_ok(audit_bundle(&cp, &tiles, tile, mica_buf_slice(&b), NULL, NULL, e));
		l->missing = UINT64_MAX;
		for (uint64_t at = from; at < to; at += 51) {
			size_t octet = 0;

			for (uint64_t i = from; i <= at; i++)
				octet +=
					2 + (size_t)(i < at ? b.p[octet] << 8 | b.p[octet + 1] : 0);
			b.p[octet] ^= 2;
			assert_refused(MICA_CORRUPT, "entry_wrong",
				audit_bundle(&cp, &tiles, tile, mica_buf_slice(&b), count, &n, e));
			b.p[octet] ^= 2;
		}
		/* cut, and too long */
		assert_refused(MICA_CORRUPT, "entry_wrong",
			audit_bundle(&cp, &tiles, tile, mica_slice(b.p, b.len - 1), count, &n, e));
		mica_buf_put_u8(&b, 0);
		assert_refused(MICA_CORRUPT, "entry_wrong",
			audit_bundle(&cp, &tiles, tile, mica_buf_slice(&b), count, &n, e));
		assert_int_equal(n, to);
	}
	assert_refused(MICA_NOT_FOUND, "no_such_entry",
		audit_bundle(&cp, &tiles, 4, MICA_SLICE_NULL, count, &n, e));
	free_log(l);
}

static void an_entry_is_at_its_place_only(void **state)
{
	struct log *l = make_log(1000, UINT64_MAX);
	struct audit_tiles tiles = tiles_of(l);
	struct mica_checkpoint cp;
	MICA_AUTO_BUF note;
	char text[32];
	(void)state;
	sign(l, 1000, &key, signer, &note, &cp);
	for (uint64_t i = 0; i < 1000; i += 37) {
		assert_ok(audit_entry(&cp, &tiles, i, entry_text('e', i, text), e));
		assert_refused(MICA_CORRUPT, "entry_wrong",
			audit_entry(&cp, &tiles, (i + 1) % 1000, entry_text('e', i, text), e));
		assert_refused(MICA_CORRUPT, "entry_wrong",
			audit_entry(&cp, &tiles, i, entry_text('f', i, text), e));
	}
	assert_refused(MICA_NOT_FOUND, "no_such_entry",
		audit_entry(&cp, &tiles, 1000, entry_text('e', 1000, text), e));
	free_log(l);
}

/* ---- memory -------------------------------------------------------------------------------- */

static void what_is_remembered_comes_back(void **state)
{
	struct log *l = make_log(300, UINT64_MAX);
	struct mica_checkpoint cp, back;
	struct mica_note_key k;
	struct mica_slice note;
	MICA_AUTO_BUF signed_note, text;
	(void)state;
	mica_buf_init(&text, 65536);
	sign(l, 300, &key, signer, &signed_note, &cp);
	audit_state_write(&key, mica_buf_slice(&signed_note), &text);
	assert_ok(audit_state_read(mica_buf_slice(&text), &k, &note, &back, e));
	assert_int_equal(back.size, 300);
	assert_true(mica_hash_eq(&back.root, &cp.root));
	assert_true(mica_slice_eq(note, mica_buf_slice(&signed_note)));
	assert_true(mica_pubkey_eq(&k.key, &key.key));
	/* whoever changes the file changes nothing unnoticed */
	for (size_t i = 0; i < text.len; i++) {
		struct mica_err e = MICA_ERR_INIT;

		text.p[i] ^= 1;
		assert_int_equal(audit_state_read(mica_buf_slice(&text), &k, &note, &back, &e),
			MICA_CORRUPT);
		assert_string_equal(e.reason, "audit_state_damaged");
		text.p[i] ^= 1;
	}
	free_log(l);
}

static void origins_are_read_before_keys_are_known(void **state)
{
	char origin[MICA_NOTE_NAME_MAX];
	char longest[MICA_NOTE_NAME_MAX + 2];
	(void)state;
	assert_true(audit_origin(MICA_LIT(ORIGIN "\n12\nroot\n"), origin));
	assert_string_equal(origin, ORIGIN);
	assert_false(audit_origin(MICA_LIT(""), origin));
	assert_false(audit_origin(MICA_LIT("\n"), origin));
	assert_false(audit_origin(MICA_LIT(ORIGIN), origin));
	assert_false(audit_origin(MICA_LIT("a b\n"), origin));
	assert_false(audit_origin(MICA_LIT("<html>\x01\n"), origin));
	assert_false(audit_origin(MICA_LIT("\xff\n"), origin));
	memset(longest, 'a', sizeof(longest));
	longest[sizeof(longest) - 1] = '\n';
	assert_false(audit_origin(mica_slice(longest, sizeof(longest)), origin));
}

static void only_broken_promises_are_broken(void **state)
{
	struct mica_err e = MICA_ERR_INIT;
	(void)state;
	assert_false(audit_is_broken(&e));
	e.reason = "tile_missing";
	assert_false(audit_is_broken(&e));
	e.reason = "connect_failed";
	assert_false(audit_is_broken(&e));
	e.reason = "log_forked";
	assert_true(audit_is_broken(&e));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(growth_is_consistent),
		cmocka_unit_test(broken_promises_have_names),
		cmocka_unit_test(tiles_are_not_believed),
		cmocka_unit_test(a_signature_counts_for_every_octet),
		cmocka_unit_test(deep_reads_every_tile),
		cmocka_unit_test(bundles_are_proved_before_they_are_read),
		cmocka_unit_test(an_entry_is_at_its_place_only),
		cmocka_unit_test(what_is_remembered_comes_back),
		cmocka_unit_test(origins_are_read_before_keys_are_known),
		cmocka_unit_test(only_broken_promises_are_broken),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
