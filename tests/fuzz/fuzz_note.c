/* SPDX-License-Identifier: Apache-2.0 */
/* What an auditor reads from strangers: notes, checkpoints, receipts, proofs, keys, tile paths.
 * What is taken is written back as it was. */
#include "mica/note.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same(const struct mica_buf *b, struct mica_slice want)
{
	if (!mica_slice_eq(mica_buf_slice(b), want))
		abort();
}

static void receipt(struct mica_slice in, struct mica_buf *b)
{
	struct mica_receipt r;

	if (mica_receipt_parse(in, &r, NULL) != MICA_OK)
		return;
	mica_buf_reset(b);
	mica_receipt_format(&r, b);
	/* an "extra" line is read over */
	if (b->len == in.len)
		same(b, in);
}

static void checkpoint(struct mica_slice text, struct mica_buf *b)
{
	struct mica_checkpoint c;

	if (mica_checkpoint_parse(text, &c, NULL) != MICA_OK)
		return;
	mica_buf_reset(b);
	mica_checkpoint_format(&c, b);
	/* extension lines are read over */
	same(b, mica_slice_sub(text, 0, b->len));
}

static void proof(struct mica_slice in, struct mica_buf *b)
{
	struct mica_hash h = {{0}};
	struct mica_proof p;

	if (mica_proof_parse(in, &p, NULL) != MICA_OK)
		return;
	mica_buf_reset(b);
	mica_proof_format(&p, b);
	same(b, in);
	for (uint64_t size = 0; size < 70; size += 3) {
		if (mica_merkle_check_inclusion(&h, size / 2, size, &p, &h, NULL) == MICA_OK &&
			size != 1)
			abort(); /* nobody knows an inner hash of zeros */
		if (mica_merkle_check_consistency(size, &h, size + 5, &h, &p, NULL) == MICA_OK)
			abort();
	}
}

static void path(struct mica_slice in, struct mica_buf *b)
{
	char text[MICA_TILE_PATH_MAX];
	struct mica_tile_id id;

	if (mica_tile_path_parse(in, &id, NULL) != MICA_OK)
		return;
	mica_tile_path(&id, text);
	mica_buf_reset(b);
	mica_buf_put_str(b, text + 5);
	same(b, in);
}

static void vkey(struct mica_slice in, struct mica_buf *b)
{
	struct mica_note_key k;

	if (mica_vkey_parse(in, &k, NULL) != MICA_OK)
		return;
	mica_buf_reset(b);
	mica_vkey_format(&k, b);
	if (b->len != in.len) /* hex may be upper case */
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char test_key[] =
		"PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
	struct mica_slice in = mica_slice(data, size);
	struct mica_checkpoint c;
	struct mica_note_key k;
	struct mica_note n;
	MICA_AUTO_BUF b;

	mica_buf_init(&b, 2 * MICA_NOTE_MAX);
	if (mica_note_parse(in, &n, NULL) == MICA_OK)
		checkpoint(n.text, &b);
	if (mica_vkey_parse(MICA_LIT(test_key), &k, NULL) != MICA_OK)
		abort();
	/* no checkpoint is signed by that key */
	if (mica_checkpoint_open(in, &k, &c, NULL) == MICA_OK)
		abort();
	checkpoint(in, &b);
	receipt(in, &b);
	proof(in, &b);
	path(in, &b);
	vkey(in, &b);
	return 0;
}
