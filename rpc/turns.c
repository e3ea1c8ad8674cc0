/* SPDX-License-Identifier: Apache-2.0 */
#include "turns.h"

#include "mica/clock.h"

#include <stddef.h>

#define FLOOD_MS 1000
#define PAUSE_US 1000

static void take_some(evutil_socket_t fd, short what, void *ctx)
{
	const struct timeval pause = {0, PAUSE_US};
	const int64_t until = mica_thread_cpu_ns() + (int64_t)RPC_TURNS_US * 1000;
	struct rpc_turns *t = ctx;
	struct rpc_turn *turn;
	(void)fd, (void)what;
	do {
		turn = t->queue.next;
		if (turn == &t->queue)
			return;
		rpc_turns_leave(turn);
		t->take(turn);
	} while (mica_thread_cpu_ns() < until);
	event_add(&t->timer, &pause);
}

void rpc_turns_init(
	struct rpc_turns *t, struct event_base *base, void (*take)(struct rpc_turn *turn))
{
	*t = (struct rpc_turns){.take = take};
	t->queue.prev = t->queue.next = &t->queue;
	event_assign(&t->timer, base, -1, 0, take_some, t);
}

void rpc_turns_cut(struct rpc_turns *t, int64_t now_ms)
{
	if (now_ms >= t->since_ms + FLOOD_MS) {
		t->since_ms = now_ms;
		t->cuts = 0;
	}
	if (++t->cuts >= RPC_FLOOD_CUTS)
		t->until_ms = now_ms + FLOOD_MS;
}

bool rpc_turns_wait(struct rpc_turns *t, struct rpc_turn *turn, int64_t now_ms)
{
	const struct timeval pause = {0, PAUSE_US};
	if (turn->next)
		return true;
	if (now_ms >= t->until_ms && t->queue.next == &t->queue)
		return false;
	turn->prev = t->queue.prev;
	turn->next = &t->queue;
	turn->prev->next = turn;
	t->queue.prev = turn;
	if (!event_pending(&t->timer, EV_TIMEOUT, NULL))
		event_add(&t->timer, &pause);
	return true;
}

void rpc_turns_leave(struct rpc_turn *turn)
{
	if (!turn->next)
		return;
	turn->prev->next = turn->next;
	turn->next->prev = turn->prev;
	turn->prev = turn->next = NULL;
}
