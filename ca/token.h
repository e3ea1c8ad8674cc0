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

struct token_header {
	enum mica_sig_alg alg;
	bool has_kid;
	uint16_t kid_len;
	char kid[MICA_KID_MAX + 1];
};

struct mica_token_reader {
	const struct mica_issuers *issuers;
	const struct mica_issuer *issuer;
	enum mica_front front;
	enum token_stage stage;
	bool open;
	struct mica_slice signed_part; /* of the token: header.payload */
	struct token_header header;
	struct mica_json claims; /* its source is `payload` */
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

#endif
