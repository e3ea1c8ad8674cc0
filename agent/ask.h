/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Questions to micad over its REST API: one connection that is kept, made anew when what micad is
 * known by has changed. One thread at a time.
 */
#ifndef MICA_AGENT_ASK_H
#define MICA_AGENT_ASK_H

#include "anchor.h"
#include "figures.h"
#include "join.h"
#include "keep.h"

struct ask; /* opaque */
struct ask_options {
	const struct agent_config *config;
	struct keep *keep;
	struct anchor *anchor;
	struct join *join; /* may be NULL: then no identity joins */
	struct figures *figures; /* may be NULL */
	enum figure_line line; /* for them */
	bool (*cancelled)(void *ctx); /* polled while it waits; may be NULL */
	void *ctx;
};
struct ask *ask_new(const struct ask_options *o);
void ask_free(struct ask *a); /* NULL is fine */

/*
 * Each of them: what mica_http_do() says; "bootstrap_unusable" and "pin_mismatch" of anchor.h; and
 * what micad answered, by class, with its reason and detail in the text and its retry_after:
 * INVALID "micad_invalid", UNAUTHENTICATED "micad_unauthenticated", DENIED "micad_denied",
 * NOT_FOUND "micad_not_found", CONFLICT "micad_conflict", LIMIT "micad_limit",
 * UNAVAILABLE "micad_unavailable", INTERNAL "micad_failed".
 */

/* A key is made, and an SVID for it asked for with the identity's token; for one that joins, with
 * its join token, or the SVID that it has, and what comes is kept (join.h). `bundle_sequence`: what
 * its holders are known to have; 0 = nothing. Besides: "token_file_unusable", NOT_FOUND
 * "join_needed", svid.h. */
mica_rc ask_x509(struct ask *a, const struct agent_identity *id, uint64_t bundle_sequence,
	const struct svid **out, struct mica_err *e) MICA_MUST_CHECK;

/* A JWT-SVID. */
struct jwt {
	_Atomic unsigned refs;
	char id[MICA_SPIFFE_ID_MAX + 1];
	struct mica_buf token; /* a secret; a C string */
	int64_t renew_after_ms, not_after_ms;
};
const struct jwt *jwt_ref(const struct jwt *t); /* NULL stays NULL */
void jwt_unref(const struct jwt *t); /* NULL is fine */
/* From micad's answer. INVALID "answer_malformed" | "spiffe_id_*". */
mica_rc jwt_read(const char *td, struct mica_slice answer, const struct jwt **out,
	struct mica_err *e) MICA_MUST_CHECK;
mica_rc ask_jwt(struct ask *a, const struct agent_identity *id, const struct mica_slice *audience,
	size_t n, const struct jwt **out, struct mica_err *e) MICA_MUST_CHECK;

/* The bundle, when it is another than `etag` (in and out; "" = any) within `wait` seconds (0 = at
 * once); else *out is NULL. *mark and *bootstrap: by what micad was known. */
#define ASK_ETAG_SIZE 160
struct ask_bundle {
	char etag[ASK_ETAG_SIZE];
	unsigned wait;
	const struct trust *trust; /* out: a reference, or NULL */
	bool bootstrap;
	uint8_t mark[32];
};
mica_rc ask_bundle(struct ask *a, struct ask_bundle *b, struct mica_err *e) MICA_MUST_CHECK;

/* The holders of `s` have the bundle with this sequence. */
mica_rc ask_ack(
	struct ask *a, const struct svid *s, uint64_t sequence, struct mica_err *e) MICA_MUST_CHECK;

#endif
