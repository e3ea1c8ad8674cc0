/* SPDX-License-Identifier: Apache-2.0 */
/* Signed notes, checkpoints and receipts. */
#include "pki.h"

#include "mica/note.h"

/* The example of the Go module checksum database's note package (golang.org/x/mod/sumdb/note). */
#define GO_VKEY "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
#define GO_NOTE                                                                                    \
	"If you think cryptography is the answer to your problem,\n"                               \
	"then you don't know what your problem is.\n"                                              \
	"\n"                                                                                       \
	"\xe2\x80\x94 PeterNeumann "                                                               \
	"x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"

#define ORIGIN "example.org/log/0123456789abcdef"

static struct mica_signer *signer;
static struct mica_note_key key;

static int setup(void **state)
{
	(void)state;
	return mica_signer_generate(MICA_KN_ED25519, &signer, NULL) != MICA_OK ||
		mica_note_key_init(&key, MICA_LIT(ORIGIN), mica_signer_public(signer), NULL) !=
		MICA_OK;
}

static int teardown(void **state)
{
	(void)state;
	mica_signer_free(signer);
	return 0;
}

static void golden(void **state)
{
	struct mica_note_key k;
	struct mica_note n;
	MICA_AUTO_BUF b;

	(void)state;
	assert_ok(mica_vkey_parse(MICA_LIT(GO_VKEY), &k, e));
	mica_buf_init(&b, 512);
	mica_vkey_format(&k, &b);
	assert_string_equal((char *)b.p, GO_VKEY);
	assert_ok(mica_note_parse(MICA_LIT(GO_NOTE), &n, e));
	assert_int_equal(n.n_sigs, 1);
	assert_ok(mica_note_verify(&n, &k, e));
	assert_refused(MICA_CORRUPT, "note_unsigned", mica_note_verify(&n, &key, e));
}

static void bad_vkeys(void **state)
{
	static const char *const bad[] = {"", "a", "a+b", "PeterNeumann+c74f20a3",
		"PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
		"PeterNeumanm+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
		"PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10T",
		"PeterNeumann+c74f20+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "x+00000000+",
		"PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW\n"};
	struct mica_pubkey p256 = {.type = MICA_KN_P256};
	struct mica_note_key k;

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(bad); i++)
		assert_refused(
			MICA_INVALID, "bad_vkey", mica_vkey_parse(mica_slice_str(bad[i]), &k, e));
	assert_refused(MICA_INVALID, "note_key_type",
		mica_vkey_parse(MICA_LIT("x+00000000+AhpcqQcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"),
			&k, e));
	assert_refused(MICA_INVALID, "note_key_name",
		mica_note_key_init(&k, MICA_LIT("a b"), mica_signer_public(signer), e));
	assert_refused(MICA_INVALID, "note_key_name",
		mica_note_key_init(&k, MICA_LIT("a+b"), mica_signer_public(signer), e));
	assert_refused(
		MICA_INVALID, "note_key_type", mica_note_key_init(&k, MICA_LIT("a"), &p256, e));
}

static void bad_notes(void **state)
{
	static const char *const bad[] = {"", "\n", "text\n", "text\n\n", "text\n\nno dash\n",
		"text\n\n\xe2\x80\x94 n\n", "text\n\n\xe2\x80\x94 n AAAA\n",
		"text\n\n\xe2\x80\x94 n AAAAAAA=", "text\n\xe2\x80\x94 n AAAAAAAA\n",
		"te\tx\n\n\xe2\x80\x94 n AAAAAAAA\n", "\xff\n\n\xe2\x80\x94 n AAAAAAAA\n",
		"text\n\n- n AAAAAAAA\n", "text\n\n\xe2\x80\x94  AAAAAAAA\n",
		"text\n\n\xe2\x80\x94 a+b AAAAAAAA\n", "text\n\n\xe2\x80\x94 n AAAAAAAA\n\n"};
	static char big[MICA_NOTE_MAX + 1];
	struct mica_note n;
	MICA_AUTO_BUF b;

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(bad); i++)
		assert_refused(
			MICA_INVALID, "bad_note", mica_note_parse(mica_slice_str(bad[i]), &n, e));
	assert_ok(mica_note_parse(mica_slice_str("text\n\n\xe2\x80\x94 n AAAAAAAA\n"), &n, e));
	assert_refused(
		MICA_LIMIT, "note_too_long", mica_note_parse(mica_slice(big, sizeof(big)), &n, e));
	mica_buf_init(&b, 65536);
	mica_buf_put_str(&b, "text\n\n");
	for (int i = 0; i <= MICA_NOTE_SIGS_MAX; i++)
		mica_buf_put_str(&b, "\xe2\x80\x94 n AAAAAAAA\n");
	assert_refused(MICA_INVALID, "bad_note", mica_note_parse(mica_buf_slice(&b), &n, e));
}

static void checkpoints(void **state)
{
	static const char *const bad[] = {"", "o\n", "o\n1\n", "o\n1\nAAAA\n",
		"o\n01\n" /* zero */
		"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
		"o\n-1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
		"o\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=\n", /* unused bits */
		"\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
		"o\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
		"o\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n",
		"o\n99999999999999999999\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"};
	struct mica_checkpoint c = {.origin = ORIGIN, .size = 77}, d;
	struct mica_note_key other;
	MICA_AUTO_BUF b;

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(bad); i++)
		assert_refused(MICA_INVALID, "bad_checkpoint",
			mica_checkpoint_parse(mica_slice_str(bad[i]), &d, e));
	assert_ok(mica_checkpoint_parse(
		mica_slice_str("o\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\nextension\n"),
		&d, e));
	mica_merkle_empty(&c.root);
	mica_buf_init(&b, 4096);
	assert_ok(mica_checkpoint_sign(&c, &key, signer, &b, e));
	assert_ok(mica_checkpoint_open(mica_buf_slice(&b), &key, &d, e));
	assert_int_equal(d.size, 77);
	assert_string_equal(d.origin, ORIGIN);
	assert_true(mica_hash_eq(&c.root, &d.root));
	b.p[sizeof(ORIGIN)] = '8'; /* another size */
	assert_refused(MICA_CORRUPT, "note_signature_wrong",
		mica_checkpoint_open(mica_buf_slice(&b), &key, &d, e));
	/* One log's checkpoint under another log's name */
	mica_buf_reset(&b);
	assert_ok(mica_note_key_init(&other, MICA_LIT("other"), mica_signer_public(signer), e));
	assert_ok(mica_checkpoint_sign(&c, &other, signer, &b, e));
	assert_refused(MICA_CORRUPT, "checkpoint_origin",
		mica_checkpoint_open(mica_buf_slice(&b), &other, &d, e));
}

static void receipts(void **state)
{
	struct mica_checkpoint c = {.origin = ORIGIN, .size = 2}, at;
	struct mica_receipt r = {.index = 1, .proof = {.n = 1}}, back;
	struct mica_hash leaf;
	MICA_AUTO_BUF note, b;

	(void)state;
	mica_buf_init(&note, 4096);
	mica_buf_init(&b, 8192);
	mica_merkle_leaf(MICA_LIT("zero"), &r.proof.hash[0]);
	mica_merkle_leaf(MICA_LIT("one"), &leaf);
	mica_merkle_node(&r.proof.hash[0], &leaf, &c.root);
	assert_ok(mica_checkpoint_sign(&c, &key, signer, &note, e));
	r.checkpoint = mica_buf_slice(&note);
	mica_receipt_format(&r, &b);
	assert_ok(mica_receipt_parse(mica_buf_slice(&b), &back, e));
	assert_int_equal(back.index, 1);
	assert_int_equal(back.proof.n, 1);
	assert_ok(mica_receipt_check(mica_buf_slice(&b), MICA_LIT("one"), &key, &at, e));
	assert_int_equal(at.size, 2);
	assert_refused(MICA_CORRUPT, "inclusion_proof_wrong",
		mica_receipt_check(mica_buf_slice(&b), MICA_LIT("two"), &key, NULL, e));
	for (size_t cut = 0; cut < b.len - note.len; cut++)
		assert_refused(MICA_INVALID, "bad_receipt",
			mica_receipt_parse(mica_slice_sub(mica_buf_slice(&b), 0, cut), &back, e));
}

static void proofs(void **state)
{
	struct mica_proof p = {.n = 3}, q;
	MICA_AUTO_BUF b;

	(void)state;
	mica_buf_init(&b, 8192);
	p.hash[1].b[0] = 7;
	mica_proof_format(&p, &b);
	assert_ok(mica_proof_parse(mica_buf_slice(&b), &q, e));
	assert_int_equal(q.n, 3);
	assert_memory_equal(p.hash, q.hash, 3 * sizeof(p.hash[0]));
	assert_refused(
		MICA_INVALID, "bad_proof", mica_proof_parse(mica_slice(b.p, b.len - 1), &q, e));
	assert_refused(MICA_INVALID, "bad_proof", mica_proof_parse(MICA_LIT("\n"), &q, e));
	p.n = 31;
	mica_proof_format(&p, &b);
	mica_proof_format(&p, &b);
	assert_refused(MICA_INVALID, "bad_proof", mica_proof_parse(mica_buf_slice(&b), &q, e));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(golden),
		cmocka_unit_test(bad_vkeys),
		cmocka_unit_test(bad_notes),
		cmocka_unit_test(checkpoints),
		cmocka_unit_test(receipts),
		cmocka_unit_test(proofs),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
