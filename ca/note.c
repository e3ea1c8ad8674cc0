/* SPDX-License-Identifier: Apache-2.0 */
/* Signed notes, checkpoints and receipts: C2SP signed-note, tlog-checkpoint, tlog-proof. */
#include "mica/note.h"

#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>

#define SIG_ED25519 0x01 /* signed-note: signature type */
#define DASH        "\xe2\x80\x94 " /* U+2014 and a space open a signature line */
#define PROOF_LINE  "c2sp.org/tlog-proof@v1"
#define HASH_B64    44 /* base64 of 32 octets */

/* ---- keys ---------------------------------------------------------------------------------- */

/* signed-note: not empty, well-formed UTF-8, no Unicode space (ASCII's here; we make none other),
 * no plus. */
static bool name_ok(struct mica_slice name)
{
	if (name.len == 0 || name.len >= MICA_NOTE_NAME_MAX || !mica_slice_is_utf8(name))
		return false;
	for (size_t i = 0; i < name.len; i++)
		if (name.p[i] <= ' ' || name.p[i] == '+' || name.p[i] == 0x7f)
			return false;
	return true;
}

static void key_id(struct mica_slice name, const uint8_t raw[32], uint8_t id[4])
{
	uint8_t hash[32];
	SHA256_CTX c;

	SHA256_Init(&c);
	SHA256_Update(&c, name.p, name.len);
	SHA256_Update(&c, "\n\x01", 2);
	SHA256_Update(&c, raw, 32);
	SHA256_Final(hash, &c);
	memcpy(id, hash, 4);
}

mica_rc mica_note_key_init(struct mica_note_key *out, struct mica_slice name,
	const struct mica_pubkey *key, struct mica_err *e)
{
	mica_rc rc;

	memset(out, 0, sizeof(*out));
	if (!name_ok(name))
		return mica_fail(e, MICA_INVALID, "note_key_name",
			"key name: expected UTF-8 without spaces and '+', at most %d octets",
			MICA_NOTE_NAME_MAX - 1);
	if (key->type != MICA_KN_ED25519)
		return mica_fail(
			e, MICA_INVALID, "note_key_type", "log key: expected an Ed25519 key");
	rc = mica_slice_copy(name, out->name, sizeof(out->name));
	if (rc != MICA_OK)
		return rc;
	out->key = *key;
	key_id(name, mica_pubkey_raw(key).p, out->id);
	return MICA_OK;
}

static mica_rc bad_vkey(struct mica_err *e)
{
	return mica_fail(e, MICA_INVALID, "bad_vkey",
		"verifier key: expected NAME+8 hex digits+base64 of an Ed25519 key");
}

mica_rc mica_vkey_parse(struct mica_slice text, struct mica_note_key *out, struct mica_err *e)
{
	struct mica_slice name, hex;
	struct mica_pubkey key;
	uint8_t raw[33], id[4];
	size_t len = sizeof(raw), id_len = sizeof(id);
	mica_rc rc;

	if (!mica_slice_cut(&text, '+', &name) || !mica_slice_cut(&text, '+', &hex) ||
		hex.len != 8 || mica_hex_decode(hex, id, &id_len) != MICA_OK ||
		mica_b64_decode(text, raw, &len) != MICA_OK || len == 0)
		return bad_vkey(e);
	if (raw[0] != SIG_ED25519)
		return mica_fail(e, MICA_INVALID, "note_key_type",
			"verifier key: type %u, expected 1 (Ed25519)", raw[0]);
	if (len != sizeof(raw))
		return bad_vkey(e);
	rc = mica_pubkey_from_ed25519(mica_slice(raw + 1, 32), &key, e);
	if (rc != MICA_OK)
		return rc;
	rc = mica_note_key_init(out, name, &key, e);
	if (rc != MICA_OK)
		return rc;
	/* The id says which name and key belong together: a slip of the pen shows here. */
	return memcmp(out->id, id, sizeof(id)) == 0 ? MICA_OK : bad_vkey(e);
}

void mica_vkey_format(const struct mica_note_key *k, struct mica_buf *out)
{
	uint8_t raw[33] = {SIG_ED25519};

	memcpy(raw + 1, mica_pubkey_raw(&k->key).p, 32);
	mica_buf_put_str(out, k->name);
	mica_buf_put_u8(out, '+');
	mica_buf_put_hex(out, k->id, sizeof(k->id));
	mica_buf_put_u8(out, '+');
	mica_buf_put_b64(out, raw, sizeof(raw));
}

/* ---- notes --------------------------------------------------------------------------------- */

static mica_rc bad_note(struct mica_err *e, const char *what)
{
	return mica_fail(e, MICA_INVALID, "bad_note", "signed note: %s", what);
}

/* "\u2014 name base64": at least the 4 octets of the key id and one of signature. */
static bool read_sig(struct mica_slice line, struct mica_note_sig *out)
{
	struct mica_slice dash = MICA_LIT(DASH);
	uint8_t head[6];
	size_t len = sizeof(head);

	if (!mica_slice_has_prefix(line, dash))
		return false;
	line = mica_slice_sub(line, dash.len, line.len);
	if (!mica_slice_cut(&line, ' ', &out->name) || !name_ok(out->name) || line.len < 8)
		return false;
	out->sig_b64 = line;
	if (mica_b64_decode(mica_slice_sub(line, 0, 8), head, &len) != MICA_OK || len < 5)
		return false;
	memcpy(out->id, head, sizeof(out->id));
	return true;
}

static bool text_ok(struct mica_slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.p[i] < 0x20 && s.p[i] != '\n')
			return false;
	return mica_slice_is_utf8(s);
}

mica_rc mica_note_parse(struct mica_slice src, struct mica_note *out, struct mica_err *e)
{
	struct mica_slice rest, line;
	size_t at;

	memset(out, 0, sizeof(*out));
	if (src.len > MICA_NOTE_MAX)
		return mica_fail(e, MICA_LIMIT, "note_too_long",
			"signed note: longer than %d octets", MICA_NOTE_MAX);
	if (!text_ok(src))
		return bad_note(e, "not UTF-8, or with control characters");
	if (src.len == 0 || src.p[src.len - 1] != '\n')
		return bad_note(e, "it does not end in a newline");
	/* The signatures stand behind the last empty line. */
	for (at = src.len - 1; at > 0 && !(src.p[at] == '\n' && src.p[at - 1] == '\n'); at--)
		;
	if (at == 0)
		return bad_note(e, "no empty line before the signatures");
	out->text = mica_slice_sub(src, 0, at);
	rest = mica_slice_sub(src, at + 1, src.len);
	while (mica_slice_cut(&rest, '\n', &line)) {
		if (out->n_sigs == MICA_NOTE_SIGS_MAX)
			return bad_note(e, "too many signatures");
		if (!read_sig(line, &out->sig[out->n_sigs++]))
			return bad_note(e, "a signature line is malformed");
	}
	return out->n_sigs > 0 ? MICA_OK : bad_note(e, "no signature");
}

static bool is_by(const struct mica_note_sig *s, const struct mica_note_key *k)
{
	return memcmp(s->id, k->id, sizeof(k->id)) == 0 && mica_slice_eq_str(s->name, k->name);
}

mica_rc mica_note_verify(
	const struct mica_note *note, const struct mica_note_key *key, struct mica_err *e)
{
	bool seen = false;

	for (unsigned i = 0; i < note->n_sigs; i++) {
		uint8_t raw[4 + 64 + 4];
		size_t len = sizeof(raw);

		if (!is_by(&note->sig[i], key))
			continue;
		seen = true;
		if (mica_b64_decode(note->sig[i].sig_b64, raw, &len) != MICA_OK || len != 4 + 64 ||
			mica_pubkey_verify(&key->key, MICA_SIG_ED25519, MICA_SIG_RAW, note->text,
				mica_slice(raw + 4, 64), NULL) != MICA_OK)
			return mica_fail(e, MICA_CORRUPT, "note_signature_wrong",
				"signed note: the signature of %s is wrong", key->name);
	}
	return seen ? MICA_OK
		    : mica_fail(e, MICA_CORRUPT, "note_unsigned",
			      "signed note: not signed by %s with this key", key->name);
}

mica_rc mica_note_sign(struct mica_slice text, const struct mica_note_key *key,
	const struct mica_signer *signer, struct mica_buf *out, struct mica_err *e)
{
	uint8_t blob[4 + MICA_SIG_MAX];
	size_t len = MICA_SIG_MAX;
	mica_rc rc = mica_signer_sign(signer, MICA_SIG_RAW, text, blob + 4, &len, e);

	if (rc != MICA_OK)
		return rc;
	memcpy(blob, key->id, 4);
	mica_buf_put_slice(out, text);
	mica_buf_put_str(out, "\n" DASH);
	mica_buf_put_str(out, key->name);
	mica_buf_put_u8(out, ' ');
	mica_buf_put_b64(out, blob, 4 + len);
	mica_buf_put_u8(out, '\n');
	return mica_buf_rc(out, e);
}

/* ---- checkpoints --------------------------------------------------------------------------- */

void mica_checkpoint_format(const struct mica_checkpoint *c, struct mica_buf *out)
{
	mica_buf_printf(out, "%s\n%llu\n", c->origin, (unsigned long long)c->size);
	mica_buf_put_b64(out, c->root.b, MICA_HASH_LEN);
	mica_buf_put_u8(out, '\n');
}

static bool read_hash(struct mica_slice line, struct mica_hash *out)
{
	uint8_t raw[33];
	size_t len = sizeof(raw);

	if (line.len != HASH_B64 || mica_b64_decode(line, raw, &len) != MICA_OK ||
		len != MICA_HASH_LEN)
		return false;
	memcpy(out->b, raw, MICA_HASH_LEN);
	return true;
}

mica_rc mica_checkpoint_parse(
	struct mica_slice text, struct mica_checkpoint *out, struct mica_err *e)
{
	struct mica_slice origin, size, root, extra;
	bool ok = mica_slice_cut(&text, '\n', &origin) && mica_slice_cut(&text, '\n', &size) &&
		mica_slice_cut(&text, '\n', &root);

	memset(out, 0, sizeof(*out));
	ok = ok && origin.len > 0 &&
		mica_slice_copy(origin, out->origin, sizeof(out->origin)) == MICA_OK &&
		mica_parse_u64(size, MICA_TREE_MAX, &out->size) == MICA_OK &&
		read_hash(root, &out->root);
	/* tlog-checkpoint: extension lines are not empty. */
	while (ok && text.len > 0)
		ok = mica_slice_cut(&text, '\n', &extra) && extra.len > 0;
	if (ok)
		return MICA_OK;
	return mica_fail(e, MICA_INVALID, "bad_checkpoint",
		"checkpoint: expected the lines origin, size and base64 of the root");
}

mica_rc mica_checkpoint_open(struct mica_slice src, const struct mica_note_key *key,
	struct mica_checkpoint *out, struct mica_err *e)
{
	struct mica_note note;
	mica_rc rc = mica_note_parse(src, &note, e);

	if (rc == MICA_OK)
		rc = mica_note_verify(&note, key, e);
	if (rc == MICA_OK)
		rc = mica_checkpoint_parse(note.text, out, e);
	if (rc == MICA_OK && strcmp(out->origin, key->name) != 0)
		return mica_fail(e, MICA_CORRUPT, "checkpoint_origin",
			"checkpoint: its origin is not %s", key->name);
	return rc;
}

mica_rc mica_checkpoint_sign(const struct mica_checkpoint *c, const struct mica_note_key *key,
	const struct mica_signer *signer, struct mica_buf *out, struct mica_err *e)
{
	MICA_AUTO_BUF text;

	mica_buf_init(&text, MICA_CHECKPOINT_MAX);
	mica_checkpoint_format(c, &text);
	return mica_note_sign(mica_buf_slice(&text), key, signer, out, e);
}

/* ---- proofs and receipts ------------------------------------------------------------------- */

void mica_proof_format(const struct mica_proof *p, struct mica_buf *out)
{
	for (unsigned i = 0; i < p->n; i++) {
		mica_buf_put_b64(out, p->hash[i].b, MICA_HASH_LEN);
		mica_buf_put_u8(out, '\n');
	}
}

mica_rc mica_proof_parse(struct mica_slice src, struct mica_proof *out, struct mica_err *e)
{
	struct mica_slice line;

	out->n = 0;
	while (src.len > 0) {
		if (!mica_slice_cut(&src, '\n', &line) || out->n == MICA_PROOF_MAX ||
			!read_hash(line, &out->hash[out->n++]))
			return mica_fail(e, MICA_INVALID, "bad_proof",
				"proof: expected at most %d lines of base64 of 32 octets",
				MICA_PROOF_MAX);
	}
	return MICA_OK;
}

void mica_receipt_format(const struct mica_receipt *r, struct mica_buf *out)
{
	mica_buf_printf(out, PROOF_LINE "\nindex %llu\n", (unsigned long long)r->index);
	mica_proof_format(&r->proof, out);
	mica_buf_put_u8(out, '\n');
	mica_buf_put_slice(out, r->checkpoint);
}

static bool read_receipt(struct mica_slice src, struct mica_receipt *out)
{
	struct mica_slice line, index = MICA_LIT("index ");

	if (!mica_slice_cut(&src, '\n', &line) || !mica_slice_eq_str(line, PROOF_LINE) ||
		!mica_slice_cut(&src, '\n', &line))
		return false;
	/* An extra line, which we neither write nor need, may stand before the index. */
	if (mica_slice_has_prefix(line, MICA_LIT("extra ")) && !mica_slice_cut(&src, '\n', &line))
		return false;
	if (!mica_slice_has_prefix(line, index) ||
		mica_parse_u64(mica_slice_sub(line, index.len, line.len), MICA_TREE_MAX - 1,
			&out->index) != MICA_OK)
		return false;
	while (mica_slice_cut(&src, '\n', &line)) {
		if (line.len == 0) {
			out->checkpoint = src;
			return src.len > 0;
		}
		if (out->proof.n == MICA_PROOF_MAX ||
			!read_hash(line, &out->proof.hash[out->proof.n++]))
			return false;
	}
	return false;
}

mica_rc mica_receipt_parse(struct mica_slice src, struct mica_receipt *out, struct mica_err *e)
{
	memset(out, 0, sizeof(*out));
	if (src.len <= MICA_NOTE_MAX && read_receipt(src, out))
		return MICA_OK;
	return mica_fail(e, MICA_INVALID, "bad_receipt",
		"receipt: expected " PROOF_LINE ", index, hashes, an empty line and a checkpoint");
}

mica_rc mica_receipt_check(struct mica_slice receipt, struct mica_slice entry,
	const struct mica_note_key *key, struct mica_checkpoint *at, struct mica_err *e)
{
	struct mica_checkpoint c;
	struct mica_receipt r;
	struct mica_hash leaf;
	mica_rc rc = mica_receipt_parse(receipt, &r, e);

	if (rc == MICA_OK)
		rc = mica_checkpoint_open(r.checkpoint, key, &c, e);
	if (rc != MICA_OK)
		return rc;
	mica_merkle_leaf(entry, &leaf);
	rc = mica_merkle_check_inclusion(&leaf, r.index, c.size, &r.proof, &c.root, e);
	if (rc == MICA_OK && at)
		*at = c;
	return rc;
}
