/* SPDX-License-Identifier: Apache-2.0 */
/* An HTTP/2 session of the gRPC server without a network: frames made and read by hand. */
#ifndef MICA_TESTS_RPC_SESSION_H
#define MICA_TESTS_RPC_SESSION_H

#include "rpc/rpc_impl.h"

#include <nghttp2/nghttp2.h>

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

/* ---- a service ------------------------------------------------------------------------------- */

/* Calls of "Kept" stay here until a test ends them. */
static struct mica_rpc_call *kept[256];
static unsigned n_kept, n_cancelled, n_done, n_writable, n_messages;

static void state_done(void *state)
{
	(void)state;
	n_done++;
}

static void do_echo(void *ctx, struct mica_rpc_call *c, struct mica_slice m)
{
	(void)ctx;
	mica_rpc_reply(c, m);
}

static void do_keep(void *ctx, struct mica_rpc_call *c, struct mica_slice m)
{
	(void)ctx, (void)m;
	if (n_kept == MICA_ARRAY_LEN(kept)) {
		mica_rpc_end(c, NULL);
		return;
	}
	mica_rpc_set_state(c, c, state_done);
	kept[n_kept++] = c;
}

static void do_cancelled(void *ctx, struct mica_rpc_call *c)
{
	(void)ctx, (void)c;
	n_cancelled++;
}

static void do_writable(void *ctx, struct mica_rpc_call *c)
{
	(void)ctx, (void)c;
	n_writable++;
}

static void chat_message(void *ctx, struct mica_rpc_call *c, struct mica_slice m)
{
	(void)ctx;
	n_messages++;
	if (mica_rpc_send(c, m) != MICA_OK)
		abort(); /* one answer a message always fits */
}

static void chat_begin(void *ctx, struct mica_rpc_call *c, struct mica_slice m)
{
	(void)ctx, (void)c, (void)m;
}

static void chat_over(void *ctx, struct mica_rpc_call *c)
{
	(void)ctx;
	mica_rpc_end(c, NULL);
}

static const struct mica_rpc_method t_methods[] = {
	{.name = "Echo", .call = do_echo, .max_message = 100000},
	{.name = "Kept", .call = do_keep, .cancelled = do_cancelled},
	{.name = "Stream",
		.kind = MICA_RPC_SERVER_STREAM,
		.call = do_keep,
		.cancelled = do_cancelled,
		.writable = do_writable},
	{.name = "Chat",
		.kind = MICA_RPC_BIDI,
		.call = chat_begin,
		.message = chat_message,
		.half_closed = chat_over,
		.cancelled = chat_over}};
static const struct mica_rpc_service t_services[] = {
	{.name = "t.T", .methods = t_methods, .n_methods = MICA_ARRAY_LEN(t_methods)}};

/* ---- a session ------------------------------------------------------------------------------- */

struct world {
	struct rpc_session s; /* its first member */
	struct rpc_core *core;
	struct rpc_peer *peer;
	int64_t now, wake;
	struct mica_buf in, out;
	size_t read; /* of out */
	nghttp2_hd_inflater *inflater;
	char status[16], grpc_status[16]; /* of the last block of headers */
};

static void w_dirty(struct rpc_session *s)
{
	(void)s;
}

static void w_wake(struct rpc_session *s, int64_t ms)
{
	struct world *w = (struct world *)s;
	if (ms < w->wake)
		w->wake = ms;
}

static void world_begin(struct world *w, const struct mica_rpc_options *o)
{
	struct mica_err e = MICA_ERR_INIT;
	memset(w, 0, sizeof(*w));
	if (rpc_core_new(o, 1, &w->core, &e) != MICA_OK ||
		nghttp2_hd_inflate_new(&w->inflater) != 0)
		abort();
	w->now = 1000000;
	w->wake = INT64_MAX;
	w->peer = MICA_NEW(struct rpc_peer);
	atomic_init(&w->peer->refs, 1);
	w->s.dirty = w_dirty;
	w->s.wake_at = w_wake;
	rpc_home_enter(&w->core->homes[0]);
	rpc_session_init(&w->s, w->core, &w->core->homes[0], w->peer, w->now);
	mica_buf_init(&w->in, 1 << 24);
	mica_buf_init(&w->out, 1 << 24);
}

static struct mica_rpc_options world_options(void)
{
	struct mica_rpc_options o;
	mica_rpc_options_init(&o);
	o.services = t_services;
	o.n_services = MICA_ARRAY_LEN(t_services);
	o.reflection = true;
	return o;
}

/* Ends the session, not the calls that are kept. */
static void world_end(struct world *w)
{
	rpc_session_clear(&w->s);
	rpc_peer_unref(w->peer);
	rpc_home_end(&w->core->homes[0]);
	rpc_core_unref(w->core);
	nghttp2_hd_inflate_del(w->inflater);
	mica_buf_clear(&w->in);
	mica_buf_clear(&w->out);
}

/* ---- frames ---------------------------------------------------------------------------------- */

static void put_frame(
	struct mica_buf *b, uint8_t type, uint8_t flags, int32_t stream, struct mica_slice payload)
{
	mica_buf_put_u8(b, (uint8_t)(payload.len >> 16));
	mica_buf_put_be16(b, (uint16_t)payload.len);
	mica_buf_put_u8(b, type);
	mica_buf_put_u8(b, flags);
	mica_buf_put_be32(b, (uint32_t)stream);
	mica_buf_put_slice(b, payload);
}

/* A literal without indexing. */
static void put_header(struct mica_buf *b, const char *name, const char *value)
{
	mica_buf_put_u8(b, 0);
	mica_buf_put_u8(b, (uint8_t)strlen(name));
	mica_buf_put_str(b, name);
	mica_buf_put_u8(b, (uint8_t)strlen(value));
	mica_buf_put_str(b, value);
}

__attribute__((unused)) static void put_request(
	struct mica_buf *b, int32_t stream, const char *method, const char *timeout, bool end)
{
	MICA_AUTO_BUF block, path;
	mica_buf_init(&block, 4096);
	mica_buf_init(&path, 128);
	mica_buf_printf(&path, "/t.T/%s", method);
	put_header(&block, ":method", "POST");
	put_header(&block, ":scheme", "http");
	put_header(&block, ":authority", "t");
	put_header(&block, ":path", (const char *)path.p);
	put_header(&block, "content-type", "application/grpc");
	if (timeout)
		put_header(&block, "grpc-timeout", timeout);
	put_frame(b, NGHTTP2_HEADERS, end ? 5 : 4, stream, mica_buf_slice(&block));
}

/* In frames of at most 16,000 octets. */
__attribute__((unused)) static void put_message(
	struct mica_buf *b, int32_t stream, struct mica_slice m, bool end)
{
	MICA_AUTO_BUF all;
	struct mica_slice left;
	mica_buf_init(&all, m.len + 5);
	mica_buf_put_u8(&all, 0);
	mica_buf_put_be32(&all, (uint32_t)m.len);
	mica_buf_put_slice(&all, m);
	for (left = mica_buf_slice(&all); left.len > 0;) {
		const struct mica_slice one = mica_slice_sub(left, 0, 16000);
		left = mica_slice_sub(left, one.len, left.len);
		put_frame(b, NGHTTP2_DATA, end && left.len == 0, stream, one);
	}
}

__attribute__((unused)) static void put_hello(struct mica_buf *b)
{
	mica_buf_put_slice(b, MICA_LIT(PREFACE));
	put_frame(b, NGHTTP2_SETTINGS, 0, 0, MICA_SLICE_NULL);
}

/* Feeds what was put and takes what comes. */
static void exchange(struct world *w)
{
	uint8_t *buf = mica_alloc(4 * RPC_FRAME_MAX);
	size_t n;
	rpc_session_recv(&w->s, w->in.p, w->in.len, w->now);
	mica_buf_reset(&w->in);
	rpc_home_inbox(&w->core->homes[0]);
	while ((n = rpc_session_pull(&w->s, buf, 4 * RPC_FRAME_MAX, w->now)) > 0)
		mica_buf_put(&w->out, buf, n);
	mica_free(buf);
}

struct got {
	uint8_t type, flags;
	int32_t stream;
	struct mica_slice payload;
};

static void read_headers(struct world *w, struct mica_slice in)
{
	int flags = 0;
	while (true) {
		nghttp2_nv nv;
		const ssize_t n = nghttp2_hd_inflate_hd2(w->inflater, &nv, &flags, in.p, in.len, 1);
		if (n < 0)
			abort();
		in = mica_slice_sub(in, (size_t)n, in.len);
		if (flags & NGHTTP2_HD_INFLATE_EMIT) {
			const struct mica_slice name = mica_slice(nv.name, nv.namelen);
			char *to = mica_slice_eq_str(name, ":status")    ? w->status
				: mica_slice_eq_str(name, "grpc-status") ? w->grpc_status
									 : NULL;
			if (to &&
				mica_slice_copy(mica_slice(nv.value, nv.valuelen), to, 16) !=
					MICA_OK)
				abort();
		}
		if (flags & NGHTTP2_HD_INFLATE_FINAL)
			break;
	}
	nghttp2_hd_inflate_end_headers(w->inflater);
}

/* The next frame that came; false when there is none. */
static bool next_frame(struct world *w, struct got *g)
{
	const uint8_t *p = w->out.p + w->read;
	size_t len;
	if (w->out.len - w->read < 9)
		return false;
	len = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
	g->type = p[3];
	g->flags = p[4];
	g->stream =
		(int32_t)((uint32_t)p[5] << 24 | (uint32_t)p[6] << 16 | (uint32_t)p[7] << 8 | p[8]);
	if (len > w->out.len - w->read - 9)
		abort();
	g->payload = mica_slice(p + 9, len);
	w->read += 9 + len;
	if (g->type == NGHTTP2_HEADERS)
		read_headers(w, g->payload);
	return true;
}

#endif
