/* SPDX-License-Identifier: Apache-2.0 */
/* Who waits for a turn while connections are being cut, and how much of the loop that costs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "rpc/turns.h"

#include "mica/clock.h"
#include "mica/mem.h"

#include <string.h>

#define MANY 50

static struct rpc_turns turns;
static struct rpc_turn one[MANY];
static unsigned order[10 * MANY], n_taken;
static bool again; /* each that had its turn comes back at once */
static int64_t spent_ns;

static void spin(int64_t us)
{
	const int64_t until = mica_thread_cpu_ns() + us * 1000;
	while (mica_thread_cpu_ns() < until)
		;
}

static void take(struct rpc_turn *turn)
{
	const int64_t begun = mica_thread_cpu_ns();
	if (n_taken < MICA_ARRAY_LEN(order))
		order[n_taken++] = (unsigned)(turn - one);
	assert_null(turn->next);
	if (!again)
		return;
	spin(50);
	spent_ns += mica_thread_cpu_ns() - begun;
	assert_true(rpc_turns_wait(&turns, turn, 1000));
}

static int begin(void **state)
{
	struct event_base *base = event_base_new();
	memset(one, 0, sizeof(one));
	n_taken = 0;
	spent_ns = 0;
	again = false;
	rpc_turns_init(&turns, base, take);
	*state = base;
	return base ? 0 : -1;
}

static int end(void **state)
{
	event_del(&turns.timer);
	event_base_free(*state);
	return 0;
}

static void flood(int64_t at_ms)
{
	for (unsigned i = 0; i < RPC_FLOOD_CUTS; i++)
		rpc_turns_cut(&turns, at_ms);
}

static void nobody_waits_in_peace(void **state)
{
	(void)state;
	assert_false(rpc_turns_wait(&turns, &one[0], 1000));
	/* a client now and then that is cut is no flood */
	for (int64_t at = 1000; at < 60000; at += 1000 / (RPC_FLOOD_CUTS - 2)) {
		rpc_turns_cut(&turns, at);
		assert_false(rpc_turns_wait(&turns, &one[0], at));
	}
}

static void a_flood_ends(void **state)
{
	(void)state;
	flood(1000);
	assert_true(rpc_turns_wait(&turns, &one[0], 1000));
	assert_true(rpc_turns_wait(&turns, &one[0], 1999)); /* still, and once only */
	rpc_turns_leave(&one[0]);
	rpc_turns_leave(&one[0]);
	assert_true(rpc_turns_wait(&turns, &one[1], 1999));
	rpc_turns_leave(&one[1]);
	assert_false(rpc_turns_wait(&turns, &one[0], 2000));
}

static void they_come_in_order(void **state)
{
	flood(1000);
	for (unsigned i = 0; i < MANY; i++)
		assert_true(rpc_turns_wait(&turns, &one[i], 1000));
	rpc_turns_leave(&one[7]); /* closed meanwhile */
	event_base_dispatch(*state); /* ends when nobody waits */
	assert_int_equal(n_taken, MANY - 1);
	for (unsigned i = 0; i < n_taken; i++)
		assert_int_equal(order[i], i < 7 ? i : i + 1);
	/* who comes behind those that wait, waits behind them, flood or not */
	assert_true(rpc_turns_wait(&turns, &one[0], 1000));
	assert_true(rpc_turns_wait(&turns, &one[1], 9000));
}

/* However many there are and however busy: a share of the loop, all of them in turn. */
static void they_get_a_share(void **state)
{
	const struct timeval half = {0, 500000};
	const int64_t begun = mica_mono_ns();
	unsigned most = 0, least = UINT32_MAX, counts[MANY] = {0};
	flood(1000);
	again = true;
	for (unsigned i = 0; i < MANY; i++)
		assert_true(rpc_turns_wait(&turns, &one[i], 1000));
	event_base_loopexit(*state, &half);
	event_base_dispatch(*state);
	assert_true(spent_ns > 0);
	assert_true(4 * spent_ns < mica_mono_ns() - begun);
	for (unsigned i = 0; i < n_taken; i++)
		counts[order[i]]++;
	for (unsigned i = 0; i < MANY; i++) {
		most = counts[i] > most ? counts[i] : most;
		least = counts[i] < least ? counts[i] : least;
	}
	assert_true(most <= least + 1);
	for (unsigned i = 0; i < MANY; i++)
		rpc_turns_leave(&one[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(nobody_waits_in_peace, begin, end),
		cmocka_unit_test_setup_teardown(a_flood_ends, begin, end),
		cmocka_unit_test_setup_teardown(they_come_in_order, begin, end),
		cmocka_unit_test_setup_teardown(they_get_a_share, begin, end),
	};
	return cmocka_run_group_tests_name("rpc_turns", tests, NULL, NULL);
}
