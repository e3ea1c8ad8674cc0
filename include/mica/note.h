/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a log signs and hands out, in the formats of C2SP: signed-note v1.0.0,
 * tlog-checkpoint v1.0.0 and tlog-proof. Strict readers over borrowed text. Pure; any thread.
 *
 *	example.org/log/0123456789abcdef		origin = name of the key
 *	1234						size of the tree
 *	qvD2...=					its root
 *							an empty line
 *	\u2014 example.org/log/0123456789abcdef m7Zk...	key id and Ed25519 signature
 */
#ifndef MICA_NOTE_H
#define MICA_NOTE_H

#include "mica/key.h"
#include "mica/merkle.h"

#define MICA_NOTE_MAX       (64 * 1024) /* a note that we read */
#define MICA_NOTE_SIGS_MAX  32
#define MICA_NOTE_NAME_MAX  320 /* of a key: trust domain (255) + "/log/" + 16 */
#define MICA_CHECKPOINT_MAX 2048 /* a signed checkpoint of ours */
#define MICA_VKEY_MAX       512

/* An Ed25519 key of a log under its name. Plain data. */
struct mica_note_key {
	char name[MICA_NOTE_NAME_MAX];
	uint8_t id[4]; /* SHA-256(name || 0A || 01 || key)[:4] */
	struct mica_pubkey key;
};
/* INVALID "note_key_name" (empty, space, '+', control characters, not UTF-8, too long),
 * "note_key_type" (not Ed25519). */
mica_rc mica_note_key_init(struct mica_note_key *out, struct mica_slice name,
	const struct mica_pubkey *key, struct mica_err *e) MICA_MUST_CHECK;
/* vkey: "<name>+<8 hex>+<base64(01 || key)>". INVALID "bad_vkey", "note_key_name", "note_key_type".
 */
mica_rc mica_vkey_parse(
	struct mica_slice text, struct mica_note_key *out, struct mica_err *e) MICA_MUST_CHECK;
void mica_vkey_format(const struct mica_note_key *k, struct mica_buf *out);

struct mica_note_sig {
	struct mica_slice name;
	uint8_t id[4];
	struct mica_slice sig_b64; /* of id || signature, canonical */
};
struct mica_note {
	struct mica_slice text; /* what is signed, with its last newline */
	unsigned n_sigs;
	struct mica_note_sig sig[MICA_NOTE_SIGS_MAX];
};
/* INVALID "bad_note"; LIMIT "note_too_long". */
mica_rc mica_note_parse(
	struct mica_slice src, struct mica_note *out, struct mica_err *e) MICA_MUST_CHECK;
/* OK when `key` signed it. Signatures of others are ignored. CORRUPT "note_unsigned" (none by this
 * key), "note_signature_wrong". */
mica_rc mica_note_verify(const struct mica_note *note, const struct mica_note_key *key,
	struct mica_err *e) MICA_MUST_CHECK;
/* Appends `text` (which must end in a newline) and its signature. UNAVAILABLE "signing_failed". */
mica_rc mica_note_sign(struct mica_slice text, const struct mica_note_key *key,
	const struct mica_signer *signer, struct mica_buf *out, struct mica_err *e) MICA_MUST_CHECK;

struct mica_checkpoint {
	char origin[MICA_NOTE_NAME_MAX];
	uint64_t size;
	struct mica_hash root;
};
/* The text that is signed. Extension lines are taken and ignored by the parser, never written.
 * INVALID "bad_checkpoint". */
void mica_checkpoint_format(const struct mica_checkpoint *c, struct mica_buf *out);
mica_rc mica_checkpoint_parse(
	struct mica_slice text, struct mica_checkpoint *out, struct mica_err *e) MICA_MUST_CHECK;
/* A signed one: parse, verify with `key`, origin equals the key's name (else CORRUPT
 * "checkpoint_origin"). */
mica_rc mica_checkpoint_open(struct mica_slice note, const struct mica_note_key *key,
	struct mica_checkpoint *out, struct mica_err *e) MICA_MUST_CHECK;
mica_rc mica_checkpoint_sign(const struct mica_checkpoint *c, const struct mica_note_key *key,
	const struct mica_signer *signer, struct mica_buf *out, struct mica_err *e) MICA_MUST_CHECK;

/* A receipt: "c2sp.org/tlog-proof@v1\nindex N\n<hashes>\n\n<signed checkpoint>". */
struct mica_receipt {
	uint64_t index;
	struct mica_proof proof;
	struct mica_slice checkpoint; /* the signed note */
};
void mica_receipt_format(const struct mica_receipt *r, struct mica_buf *out);
/* INVALID "bad_receipt". */
mica_rc mica_receipt_parse(
	struct mica_slice src, struct mica_receipt *out, struct mica_err *e) MICA_MUST_CHECK;
/* Everything at once: the receipt is for `entry`, and its checkpoint (put into *at, optional) is
 * signed by `key`. */
mica_rc mica_receipt_check(struct mica_slice receipt, struct mica_slice entry,
	const struct mica_note_key *key, struct mica_checkpoint *at,
	struct mica_err *e) MICA_MUST_CHECK;

/* Hashes as lines of base64 (consistency proofs on the wire), and back; at most MICA_PROOF_MAX.
 * INVALID "bad_proof". */
void mica_proof_format(const struct mica_proof *p, struct mica_buf *out);
mica_rc mica_proof_parse(
	struct mica_slice src, struct mica_proof *out, struct mica_err *e) MICA_MUST_CHECK;

#endif
