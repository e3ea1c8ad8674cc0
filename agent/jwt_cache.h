/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JWT-SVIDs by identity and audience. A token that is good is given at once; one that is past its
 * renew_after is given, too, and renewed behind it; for what is missing callers wait, and equals
 * share one question. Whoever asks micad takes the questions out one by one. Bounded: tokens that
 * were not asked for the longest are forgotten. Any thread.
 */
#ifndef MICA_AGENT_JWT_CACHE_H
#define MICA_AGENT_JWT_CACHE_H

#include "ask.h"

#define JWT_AUDIENCES_MAX 16 /* of one token, as in mica/jwt.h */
#define JWT_AUDIENCE_MAX  1024 /* octets of one */

struct jwt_cache; /* opaque */
/* `wanted` is called when there is a question to take, on the thread that asked. */
struct jwt_cache *jwt_cache_new(unsigned max, void (*wanted)(void *ctx), void *ctx);
/* Nobody may be waiting. NULL is fine. */
void jwt_cache_free(struct jwt_cache *c);

/* `done` is called exactly once, at once or on another thread: with a token (borrowed), or with the
 * reason why there is none. At most JWT_AUDIENCES_MAX audiences, in any order. When nothing can be
 * forgotten: LIMIT "too_many_tokens". */
typedef void (*jwt_done)(void *ctx, const struct jwt *t, const struct mica_err *e);
void jwt_cache_get(struct jwt_cache *c, unsigned identity, const struct mica_slice *audience,
	size_t n, int64_t now_ms, jwt_done done, void *ctx);

/* A question: answer it with jwt_cache_answer(). */
struct jwt_question; /* opaque */
struct jwt_question *jwt_cache_take(struct jwt_cache *c); /* NULL = none */
unsigned jwt_question_identity(const struct jwt_question *q);
size_t jwt_question_audience(
	const struct jwt_question *q, struct mica_slice out[JWT_AUDIENCES_MAX]);
/* With a token (a reference is taken) or an error. */
void jwt_cache_answer(
	struct jwt_cache *c, struct jwt_question *q, const struct jwt *t, const struct mica_err *e);
/* How many tokens are kept that are valid, and when the first of them ends (INT64_MAX = none). */
void jwt_cache_held(struct jwt_cache *c, int64_t now_ms, unsigned *n, int64_t *end_ms);
/* Everybody who waits, or will, gets this error. */
void jwt_cache_stop(struct jwt_cache *c, const struct mica_err *e);

#endif
