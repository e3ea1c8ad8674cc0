/* SPDX-License-Identifier: Apache-2.0 */
/* One token on its way through token.c (form, signature) and claims.c (what it says). */
#ifndef MICA_CA_TOKEN_H
#define MICA_CA_TOKEN_H

#include "mica/json.h"

#include "issuer.h"

/* How far a token came before its signature; also the steps that an explanation shows. */
enum token_stage {
	STAGE_FORM,
	STAGE_HEADER,
	STAGE_PAYLOAD,
	STAGE_ISSUER,
	STAGE_KEY,
	STAGE_SIGNATURE,
	STAGE_DONE
};

#define HEADER_CACHE_MAX 1024
#define TOKEN_TIME_MAX   253402300799 /* 9999-12-31T23:59:59Z */

struct token_header {
	enum mica_sig_alg alg;
	bool has_kid;
	uint16_t kid_len;
	char kid[MICA_KID_MAX + 1];
};

/* What most tokens say, read without a document tree; what is absent is 0 or empty. Borrowed from
 * the payload. */
struct token_plain_ref {
	struct mica_slice name, uid;
};
struct token_plain {
	struct mica_slice iss, sub, jti, ns;
	struct mica_slice aud[MICA_TOKEN_AUD_MAX];
	unsigned n_aud;
	int64_t exp, iat, nbf, warnafter;
	struct token_plain_ref node, pod, sa;
};
/* False: not of the ordinary shape, which says nothing about whether it is a good one. */
bool mica_token_plain_read(struct mica_slice payload, struct token_plain *out);

struct mica_token_reader {
	const struct mica_issuers *issuers;
	const struct mica_issuer *issuer;
	enum mica_front front;
	enum token_stage stage;
	bool open;
	struct mica_slice signed_part; /* of the token: header.payload */
	struct token_header header;
	bool whole; /* an explanation needs all claims */
	bool is_plain;
	struct token_plain plain; /* of `payload`, if is_plain */
	struct mica_json claims; /* of `payload`; without a root while it is plain */
	size_t payload_len, sig_len;
	uint8_t sig[MICA_SIG_MAX];
	uint8_t payload[MICA_TOKEN_MAX];
	/* The tokens of a cluster have one header for months: the last good one, as it was encoded,
	 * and what it says. */
	size_t cache_len;
	uint8_t cache_text[HEADER_CACHE_MAX];
	struct token_header cache;
};

/* What the signature vouches for, check by check. */
struct token_check {
	const struct mica_token_reader *r;
	const struct mica_issuer *issuer;
	const json_t *claims;
	int64_t now;
	struct mica_token_result *out;
	bool explain;
	char note[192]; /* for an explanation: what was found */
	struct mica_err *e;
};

struct token_step {
	const char *name;
	mica_rc (*run)(struct token_check *c);
	bool identity; /* the name is made of what this one finds */
};
/* In the order in which they count; the last one makes the name. */
const struct token_step *mica_token_steps(enum mica_issuer_kind kind, size_t *n);
/* The claim of a configured name: a member, or behind a '/' a JSON pointer (RFC 6901) through
 * objects. NULL when it is not there. */
const json_t *mica_claim_at(const json_t *claims, const char *name);
/* All of them at once, for claims of the ordinary shape and an issuer of the kind KUBERNETES.
 * False: some step may refuse, and only the steps say why; c->out is spoilt. */
bool mica_token_plain_accept(struct token_check *c, const struct token_plain *p);

#endif
