/* SPDX-License-Identifier: Apache-2.0 */
/* What loop.c and conn.c share: libevent's side of the server. */
#ifndef MICA_RPC_LOOP_IMPL_H
#define MICA_RPC_LOOP_IMPL_H

#include "rpc_impl.h"
#include "turns.h"

#include <event2/event.h>
#include <event2/event_struct.h>

#define LOOP_IN  16384 /* octets of one read */
#define LOOP_OUT (4 * RPC_FRAME_MAX)

struct rpc_conn;
struct rpc_handover {
	struct rpc_handover *next;
	int fd;
	struct rpc_listen *listen;
	struct rpc_peer *peer;
	bool counted;
};

struct rpc_loop {
	struct mica_rpc_server *server;
	struct rpc_core *core;
	struct rpc_home *home;
	struct event_base *base;
	struct event wake;
	pthread_t thread;
	pthread_mutex_t lock; /* of what follows */
	struct rpc_handover *handed;
	_Atomic unsigned n_conns; /* handed ones too */
	/* the loop's own */
	struct rpc_conn *conns;
	struct rpc_conn *dirty; /* to be flushed before the loop waits again */
	struct rpc_turns turns;
	bool shut;
	uint8_t in[LOOP_IN], out[LOOP_OUT];
};

struct mica_rpc_server {
	struct rpc_core *core;
	struct rpc_loop *loops;
	unsigned n_loops, n_started;
	struct rpc_listen *listens;
	size_t n_listens;
	struct rpc_addresses *addresses;
	struct event rest; /* accepting goes on again */
	struct event trim;
	uint64_t trimmed_at; /* connections then */
	bool trim_again;
	_Atomic unsigned n_conns;
	_Atomic uint64_t refused;
	_Atomic bool draining, stopping;
};

/* ---- conn.c --------------------------------------------------------------------------------- */
/* Takes the handover's socket and its reference of the peer. */
void rpc_conn_new(struct rpc_loop *l, const struct rpc_handover *h);
void rpc_conn_free(struct rpc_conn *c);
void rpc_conn_shutdown(struct rpc_conn *c);
/* It waited; it is its turn. */
void rpc_conn_turn(struct rpc_turn *turn);
struct rpc_conn *rpc_conn_next(struct rpc_conn *c);
/* Flushes what is dirty: at the end of whatever the loop did. */
void rpc_loop_settle(struct rpc_loop *l);
/* A connection is gone. */
void rpc_server_left(
	struct mica_rpc_server *s, struct rpc_loop *l, bool counted, const uint8_t network[16]);

#endif
