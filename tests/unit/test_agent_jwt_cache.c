/* SPDX-License-Identifier: Apache-2.0 */
/* Who gets which JWT-SVID, and when micad is asked. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "agent/jwt_cache.h"

#include <stdio.h>

#define T0     INT64_C(1800000000000)
#define LIFE   INT64_C(300000)
#define MARGIN INT64_C(5000) /* a token that ends so soon is of no use to who gets it */

static unsigned told; /* calls of `wanted` */

static void wanted(void *ctx)
{
	(void)ctx;
	told++;
}

/* What a caller got. */
struct got {
	unsigned n;
	char token[32];
	struct mica_err e;
};

static void done(void *ctx, const struct jwt *t, const struct mica_err *e)
{
	struct got *g = ctx;

	g->n++;
	g->token[0] = '\0';
	if (t)
		snprintf(g->token, sizeof(g->token), "%s", (const char *)t->token.p);
	else
		g->e = *e;
}

static const struct jwt *token(const char *text, int64_t renew_after_ms, int64_t not_after_ms)
{
	struct jwt *t = MICA_NEW(struct jwt);

	t->refs = 1;
	t->renew_after_ms = renew_after_ms;
	t->not_after_ms = not_after_ms;
	mica_buf_init_secret(&t->token, 64);
	mica_buf_put(&t->token, text, strlen(text) + 1);
	return t;
}

static void ask(
	struct jwt_cache *c, unsigned identity, const char *audience, int64_t now, struct got *g)
{
	const struct mica_slice one = mica_slice_str(audience);

	*g = (struct got){.n = 0};
	jwt_cache_get(c, identity, &one, 1, now, done, g);
}

static void answer(struct jwt_cache *c, struct jwt_question *q, const char *text, int64_t now)
{
	const struct jwt *t = token(text, now + LIFE / 2, now + LIFE);

	jwt_cache_answer(c, q, t, NULL);
	jwt_unref(t);
}

/* Asks, and answers as micad would. */
static void fill(struct jwt_cache *c, unsigned identity, const char *audience, const char *text)
{
	struct jwt_question *q;
	struct got g;

	ask(c, identity, audience, T0, &g);
	q = jwt_cache_take(c);
	assert_non_null(q);
	answer(c, q, text, T0);
	assert_string_equal(g.token, text);
}

static struct jwt_cache *fresh(unsigned max)
{
	told = 0;
	return jwt_cache_new(max, wanted, NULL);
}

static void a_token_is_asked_for_once(void **state)
{
	struct jwt_cache *c = fresh(4);
	struct jwt_question *q;
	struct got a, b, later;

	(void)state;
	ask(c, 0, "db", T0, &a);
	ask(c, 0, "db", T0, &b);
	assert_int_equal(told, 1);
	assert_int_equal(a.n + b.n, 0);
	q = jwt_cache_take(c);
	assert_non_null(q);
	assert_null(jwt_cache_take(c));
	answer(c, q, "one", T0);
	assert_int_equal(a.n, 1);
	assert_int_equal(b.n, 1);
	assert_string_equal(a.token, "one");
	assert_string_equal(b.token, "one");
	ask(c, 0, "db", T0 + 1000, &later);
	assert_string_equal(later.token, "one");
	assert_int_equal(told, 1);
	jwt_cache_free(c);
}

/* The set of audiences is the key: neither order nor repetition counts, nor where one audience ends
 * and the next begins in a text. */
static void the_key_is_a_set(void **state)
{
	const struct mica_slice ab[] = {MICA_LIT("a"), MICA_LIT("b")},
				baab[] = {MICA_LIT("b"), MICA_LIT("a"), MICA_LIT("a"),
					MICA_LIT("b")},
				joined[] = {MICA_LIT("ab")}, more[] = {MICA_LIT("a")};
	struct mica_slice told_of[JWT_AUDIENCES_MAX];
	struct jwt_cache *c = fresh(8);
	struct jwt_question *q;
	struct got g = {.n = 0};

	(void)state;
	jwt_cache_get(c, 0, baab, 4, T0, done, &g);
	q = jwt_cache_take(c);
	assert_int_equal(jwt_question_identity(q), 0);
	assert_int_equal(jwt_question_audience(q, told_of), 2);
	assert_true(mica_slice_eq_str(told_of[0], "a"));
	assert_true(mica_slice_eq_str(told_of[1], "b"));
	answer(c, q, "both", T0);
	jwt_cache_get(c, 0, ab, 2, T0, done, &g);
	assert_int_equal(g.n, 2);
	assert_string_equal(g.token, "both");
	assert_int_equal(told, 1);

	jwt_cache_get(c, 0, joined, 1, T0, done, &g);
	jwt_cache_get(c, 0, more, 1, T0, done, &g);
	jwt_cache_get(c, 1, ab, 2, T0, done, &g); /* somebody else's */
	assert_int_equal(g.n, 2);
	assert_int_equal(told, 4);
	for (unsigned i = 0; i < 3; i++)
		answer(c, jwt_cache_take(c), "other", T0);
	assert_int_equal(g.n, 5);
	jwt_cache_free(c);
}

static void past_its_renew_after_it_is_renewed_behind(void **state)
{
	struct jwt_cache *c = fresh(4);
	struct got g;

	(void)state;
	fill(c, 0, "db", "old");
	told = 0;
	ask(c, 0, "db", T0 + LIFE / 2 - 1, &g);
	assert_int_equal(told, 0);
	ask(c, 0, "db", T0 + LIFE / 2, &g);
	assert_string_equal(g.token, "old");
	assert_int_equal(told, 1);
	ask(c, 0, "db", T0 + LIFE / 2 + 1, &g);
	assert_int_equal(told, 1);
	answer(c, jwt_cache_take(c), "new", T0 + LIFE / 2);
	ask(c, 0, "db", T0 + LIFE / 2 + 2, &g);
	assert_string_equal(g.token, "new");
	jwt_cache_free(c);
}

/* Nobody gets a token that ends while it is on its way. */
static void none_that_is_about_to_end(void **state)
{
	struct jwt_cache *c = fresh(4);
	struct got g, late;

	(void)state;
	fill(c, 0, "db", "old");
	ask(c, 0, "db", T0 + LIFE - MARGIN - 1, &g);
	assert_string_equal(g.token, "old");
	ask(c, 0, "db", T0 + LIFE - MARGIN, &late);
	assert_int_equal(late.n, 0);
	answer(c, jwt_cache_take(c), "new", T0 + LIFE);
	assert_string_equal(late.token, "new");
	jwt_cache_free(c);
}

/* A renewal that fails behind a caller's back takes nothing away; who waits is told why. */
static void failures(void **state)
{
	struct mica_err e = MICA_ERR_INIT;
	struct jwt_cache *c = fresh(4);
	struct got g;

	(void)state;
	mica_fail(&e, MICA_UNAVAILABLE, "connect_failed", "nobody there");
	fill(c, 0, "db", "old");
	ask(c, 0, "db", T0 + LIFE / 2, &g);
	jwt_cache_answer(c, jwt_cache_take(c), NULL, &e);
	assert_int_equal(g.n, 1);
	told = 0;
	ask(c, 0, "db", T0 + LIFE / 2, &g);
	assert_string_equal(g.token, "old");
	assert_int_equal(told, 1);
	jwt_cache_answer(c, jwt_cache_take(c), NULL, &e);
	ask(c, 0, "db", T0 + LIFE, &g);
	assert_int_equal(g.n, 0);
	jwt_cache_answer(c, jwt_cache_take(c), NULL, &e);
	assert_int_equal(g.n, 1);
	assert_string_equal(g.e.reason, "connect_failed");
	assert_int_equal(g.e.rc, MICA_UNAVAILABLE);
	jwt_cache_free(c);
}

/* What was not asked for the longest makes room; what is being asked for cannot. */
static void bounds(void **state)
{
	struct jwt_question *q[3];
	struct jwt_cache *c = fresh(3);
	struct got g[4];

	(void)state;
	fill(c, 0, "a", "A");
	fill(c, 0, "b", "B");
	fill(c, 0, "c", "C");
	ask(c, 0, "a", T0, &g[0]); /* so b is the oldest */
	fill(c, 0, "d", "D");
	told = 0;
	ask(c, 0, "a", T0, &g[0]);
	ask(c, 0, "c", T0, &g[1]);
	ask(c, 0, "d", T0, &g[2]);
	assert_int_equal(told, 0);
	ask(c, 0, "b", T0, &g[3]);
	assert_int_equal(told, 1);
	answer(c, jwt_cache_take(c), "B", T0);

	for (unsigned i = 0; i < 3; i++) {
		const char name[] = {(char)('x' + i), '\0'};

		ask(c, 0, name, T0, &g[i]);
		q[i] = jwt_cache_take(c);
	}
	ask(c, 0, "w", T0, &g[3]);
	assert_int_equal(g[3].n, 1);
	assert_int_equal(g[3].e.rc, MICA_LIMIT);
	assert_string_equal(g[3].e.reason, "too_many_tokens");
	for (unsigned i = 0; i < 3; i++) {
		answer(c, q[i], "late", T0);
		assert_string_equal(g[i].token, "late");
	}
	ask(c, 0, "w", T0, &g[3]);
	assert_int_equal(g[3].n, 0);
	answer(c, jwt_cache_take(c), "W", T0);
	jwt_cache_free(c);
}

static void what_is_held(void **state)
{
	struct jwt_cache *c = fresh(4);
	const struct jwt *longer;
	struct got g;
	unsigned n = 9;
	int64_t end = 0;

	(void)state;
	jwt_cache_held(c, T0, &n, &end);
	assert_int_equal(n, 0);
	assert_true(end == INT64_MAX);
	fill(c, 0, "a", "A");
	ask(c, 0, "b", T0, &g);
	jwt_cache_held(c, T0, &n, &end); /* one that is asked for is not held */
	assert_int_equal(n, 1);
	longer = token("B", T0 + LIFE, T0 + 2 * LIFE);
	jwt_cache_answer(c, jwt_cache_take(c), longer, NULL);
	jwt_unref(longer);
	jwt_cache_held(c, T0, &n, &end);
	assert_int_equal(n, 2);
	assert_true(end == T0 + LIFE);
	jwt_cache_held(c, T0 + LIFE, &n, &end);
	assert_int_equal(n, 1);
	assert_true(end == T0 + 2 * LIFE);
	jwt_cache_free(c);
}

static void the_end(void **state)
{
	struct mica_err e = MICA_ERR_INIT;
	struct jwt_cache *c = fresh(4);
	struct got a, b, late;

	(void)state;
	fill(c, 0, "kept", "K");
	ask(c, 0, "a", T0, &a);
	ask(c, 0, "b", T0, &b);
	mica_fail(&e, MICA_UNAVAILABLE, "stopping", "this agent is about to end");
	jwt_cache_stop(c, &e);
	assert_int_equal(a.n, 1);
	assert_int_equal(b.n, 1);
	assert_string_equal(a.e.reason, "stopping");
	ask(c, 0, "kept", T0, &late);
	assert_int_equal(late.n, 1);
	assert_string_equal(late.e.reason, "stopping");
	jwt_cache_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_token_is_asked_for_once),
		cmocka_unit_test(the_key_is_a_set),
		cmocka_unit_test(past_its_renew_after_it_is_renewed_behind),
		cmocka_unit_test(none_that_is_about_to_end),
		cmocka_unit_test(failures),
		cmocka_unit_test(bounds),
		cmocka_unit_test(what_is_held),
		cmocka_unit_test(the_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
