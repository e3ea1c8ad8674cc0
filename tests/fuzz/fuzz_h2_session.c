/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session of the gRPC server, without a network: the first octet says how its octets arrive and
 * when calls are answered, the rest is what a client sends. Whatever that is, frames are whole,
 * what is held is bounded, and each call that a method was given comes to its end.
 */
#include "unit/rpc_session.h"

#include <stdlib.h>

static void check_frames(struct world *w)
{
	struct got g;
	while (next_frame(w, &g))
		if (g.payload.len > 16384)
			abort();
	if (w->read != w->out.len)
		abort(); /* half a frame */
}

static void end_kept(unsigned how)
{
	struct mica_err e = MICA_ERR_INIT;
	mica_fail(&e, MICA_LIMIT, "later", "not now");
	while (n_kept > 0) {
		struct mica_rpc_call *c = kept[--n_kept];
		if (how & 1)
			(void)!mica_rpc_send(c, MICA_LIT("one more"));
		if (how & 2)
			mica_rpc_end(c, &e);
		else
			mica_rpc_reply(c, MICA_LIT("kept"));
		how ^= how << 1 ^ n_kept;
	}
}

static void feed(struct world *w, struct mica_slice s, unsigned how)
{
	const size_t piece = how & 1 ? 1 + (how >> 4) : 4096;
	unsigned n = 0;
	while (s.len > 0 && w->s.cut < 0 && !rpc_session_over(&w->s)) {
		const struct mica_slice one = mica_slice_sub(s, 0, piece);
		s = mica_slice_sub(s, one.len, s.len);
		mica_buf_put_slice(&w->in, one);
		exchange(w);
		check_frames(w);
		if (how & 2 && ++n % 8 == 0) {
			w->now += 1 + (how & 4 ? 700 : 0);
			(void)rpc_session_tick(&w->s, w->now);
			end_kept(how);
		}
		if (w->s.buffered > w->core->o.max_buffered + 100000 + RPC_STALL_MIN ||
			w->peer->n_app > w->core->o.max_streams ||
			w->s.n_calls > 2 * w->core->o.max_streams)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	const struct mica_slice s = mica_slice_sub(mica_slice(p, len), 1, len);
	const unsigned how = len ? p[0] : 0;
	struct mica_rpc_options o = world_options();
	static struct world w;
	o.max_buffered = 65536;
	o.max_streams = 20;
	n_kept = n_done = n_cancelled = 0;
	world_begin(&w, &o);
	if (!(how & 8))
		put_hello(&w.in);
	feed(&w, s, how);
	if (how & 2)
		end_kept(how);
	world_end(&w);
	end_kept(how >> 1); /* those whose session is gone */
	return 0;
}
