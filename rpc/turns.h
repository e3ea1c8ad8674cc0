/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose turn it is while the server is flooded. A connection whose calls were served is known to be
 * somebody's who is served; one that is new may be one more of those that are cut as soon as it is
 * clear what they are, and come again. While connections are being cut, new ones wait in a queue
 * and get a share of their loop's time together, so that whatever comes over ever new connections
 * leaves the rest of it to who is served. At other times nobody waits.
 *
 * All on one loop.
 */
#ifndef MICA_RPC_TURNS_H
#define MICA_RPC_TURNS_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>

/* Cut within a second, so many connections are a flood, until a second has gone without. */
#define RPC_FLOOD_CUTS 8
/* Of the time of a loop: so many us of CPU, then a pause of a ms. */
#define RPC_TURNS_US 200

struct rpc_turn {
	struct rpc_turn *prev, *next;
};
struct rpc_turns {
	struct rpc_turn queue; /* a ring */
	struct event timer;
	void (*take)(struct rpc_turn *turn);
	int64_t since_ms, until_ms; /* of the cuts that are counted; of the flood */
	unsigned cuts;
};
/* `take` is called with a turn that is no longer in the queue, and may free it. */
void rpc_turns_init(
	struct rpc_turns *t, struct event_base *base, void (*take)(struct rpc_turn *turn));
/* A connection was cut for what came over it. */
void rpc_turns_cut(struct rpc_turns *t, int64_t now_ms);
/* True: there is a flood, and the turn will be taken later. It may wait already. */
bool rpc_turns_wait(struct rpc_turns *t, struct rpc_turn *turn, int64_t now_ms);
/* Waits no longer, if it did. */
void rpc_turns_leave(struct rpc_turn *turn);

#endif
