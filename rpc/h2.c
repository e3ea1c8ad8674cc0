/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An HTTP/2 session: the one owner of nghttp2. Octets in, calls out, and back.
 *
 * nghttp2 keeps the protocol; what it does not bound is bounded here. Frames that carry nothing
 * (PING, SETTINGS, PRIORITY, WINDOW_UPDATE, unknown ones, empty DATA) and streams that are reset,
 * by the client (CVE-2023-44487) or by us for its fault (CVE-2025-8671), are paid for from two
 * buckets of the connection; honest work earns frames, for a client acknowledges what it is sent.
 * An empty bucket cuts the connection at that very frame. A stream that was reset while its method
 * is at work still counts among those that a client may have open.
 */
#include "rpc_impl.h"

#include <nghttp2/nghttp2.h>

#define RESETS_BURST     100
#define RESETS_PER_S     10
#define RESETS_BY_BOMB   10
#define FRAMES_BURST     1000
#define FRAMES_PER_S     100
#define EARNED_BY_ANSWER 4
#define EARNED_BY_DATA   2
#define SHUT_NOTICE_MS   500 /* calls that were on their way when the first GOAWAY was sent */
#define WINDOW           (1 << 20) /* of the connection; messages are bounded elsewhere */
#define LENT_VERSION     (0x013400 >> 8) /* 1.52 */
#define MAX_NV           (2 * RPC_META_COUNT + 8)

/* ---- cutting -------------------------------------------------------------------------------- */

void rpc_session_cut(struct rpc_session *s, enum mica_rpc_cut why, uint32_t code)
{
	if (s->cut >= 0)
		return;
	s->cut = (int)why;
	s->cut_code = code;
	rpc_count(&s->home->n.cuts[why], 1);
}

static void bucket_fill(struct rpc_bucket *b, int64_t now_ms, int64_t burst, int64_t per_s)
{
	b->level += (now_ms - b->at_ms) * per_s;
	b->at_ms = now_ms;
	if (b->level > burst * 1000)
		b->level = burst * 1000;
}

/* False: the connection is cut. */
static bool pay_frame(struct rpc_session *s)
{
	bucket_fill(&s->frames, s->now_ms, FRAMES_BURST, FRAMES_PER_S);
	s->frames.level -= 1000;
	if (s->frames.level < 0)
		rpc_session_cut(s, MICA_RPC_CUT_FRAMES, NGHTTP2_ENHANCE_YOUR_CALM);
	return s->cut < 0;
}

static bool pay_resets(struct rpc_session *s, unsigned n)
{
	bucket_fill(&s->resets, s->now_ms, RESETS_BURST, RESETS_PER_S);
	s->resets.level -= 1000 * (int64_t)n;
	if (s->resets.level < 0)
		rpc_session_cut(s, MICA_RPC_CUT_RESETS, NGHTTP2_ENHANCE_YOUR_CALM);
	return s->cut < 0;
}

static void earn(struct rpc_session *s, int64_t frames)
{
	s->frames.level += frames * 1000;
}

/* Of what a connection buffers, the first 16 KiB are its own, the rest counts among all. */
void rpc_session_buffered(struct rpc_session *s, size_t from, size_t to)
{
	const size_t own = RPC_STALL_MIN, had = s->buffered, has = had - from + to,
		     shared_had = had > own ? had - own : 0, shared = has > own ? has - own : 0;
	s->buffered = has;
	if (shared != shared_had)
		atomic_fetch_add_explicit(
			&s->core->buffered, shared - shared_had, memory_order_relaxed);
}

/* ---- what comes ----------------------------------------------------------------------------- */

static struct mica_rpc_call *call_of(nghttp2_session *h2, int32_t stream)
{
	return nghttp2_session_get_stream_user_data(h2, stream);
}

static int on_begin_frame(nghttp2_session *h2, const nghttp2_frame_hd *hd, void *ctx)
{
	struct rpc_session *s = ctx;
	bool ok = true;
	(void)h2;
	s->data_octets = 0;
	s->headers_since = 0;
	switch (hd->type) {
	case NGHTTP2_DATA: break;
	case NGHTTP2_HEADERS:
		s->headers_since = s->now_ms;
		s->wake_at(s, s->now_ms + s->core->o.headers_ms);
		break;
	case NGHTTP2_RST_STREAM: ok = pay_frame(s) && pay_resets(s, 1); break;
	default: ok = pay_frame(s); break;
	}
	return ok ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int on_begin_headers(nghttp2_session *h2, const nghttp2_frame *f, void *ctx)
{
	struct rpc_session *s = ctx;
	if (f->hd.type != NGHTTP2_HEADERS || f->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	nghttp2_session_set_stream_user_data(h2, f->hd.stream_id, rpc_call_new(s, f->hd.stream_id));
	return 0;
}

static int on_header(nghttp2_session *h2, const nghttp2_frame *f, const uint8_t *name,
	size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags, void *ctx)
{
	struct mica_rpc_call *c = call_of(h2, f->hd.stream_id);
	struct rpc_session *s = ctx;
	(void)flags;
	if (!c || rpc_call_header(c, mica_slice(name, name_len), mica_slice(value, value_len)))
		return 0;
	s->prepaid++;
	return pay_resets(s, RESETS_BY_BOMB) ? NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE
					     : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int on_invalid_header(nghttp2_session *h2, const nghttp2_frame *f, const uint8_t *name,
	size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags, void *ctx)
{
	struct rpc_session *s = ctx;
	(void)h2, (void)f, (void)name, (void)name_len, (void)value, (void)value_len, (void)flags;
	s->prepaid++;
	return pay_resets(s, 1) ? NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE
				: NGHTTP2_ERR_CALLBACK_FAILURE;
}

/* Paid for when it comes: until its RST_STREAM is sent, many more could have come. */
static int on_invalid_frame(
	nghttp2_session *h2, const nghttp2_frame *f, int lib_error_code, void *ctx)
{
	struct rpc_session *s = ctx;
	bool ok;
	(void)h2, (void)f;
	/* before our SETTINGS are known, a client may open more streams than we take */
	if (lib_error_code == NGHTTP2_ERR_REFUSED_STREAM) {
		ok = pay_frame(s);
	} else {
		s->prepaid++;
		ok = pay_resets(s, 1);
	}
	return ok ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

/* Frames of unknown types are told to us, so that they can be counted, and ignored. */
static int on_unknown_frame(
	nghttp2_session *h2, void **payload, const nghttp2_frame_hd *hd, void *ctx)
{
	(void)h2, (void)payload, (void)hd, (void)ctx;
	return NGHTTP2_ERR_CANCEL;
}

static int on_frame_recv(nghttp2_session *h2, const nghttp2_frame *f, void *ctx)
{
	struct rpc_session *s = ctx;
	const bool end = f->hd.flags & NGHTTP2_FLAG_END_STREAM;
	struct mica_rpc_call *c;
	switch (f->hd.type) {
	case NGHTTP2_HEADERS:
		s->headers_since = 0;
		c = call_of(h2, f->hd.stream_id);
		if (c && f->headers.cat == NGHTTP2_HCAT_REQUEST)
			rpc_call_headers(c);
		if (c && end)
			rpc_call_half_close(c);
		break;
	case NGHTTP2_DATA:
		c = call_of(h2, f->hd.stream_id);
		if (c && end)
			rpc_call_half_close(c);
		else if (s->data_octets == 0 && !pay_frame(s))
			return NGHTTP2_ERR_CALLBACK_FAILURE;
		break;
	case NGHTTP2_SETTINGS: s->ready = true; break;
	default: break;
	}
	return 0;
}

static int on_data(
	nghttp2_session *h2, uint8_t flags, int32_t stream, const uint8_t *p, size_t len, void *ctx)
{
	struct rpc_session *s = ctx;
	struct mica_rpc_call *c = call_of(h2, stream);
	(void)flags;
	s->data_octets += len;
	/* the connection's window is for all calls: a slow one holds up itself alone */
	nghttp2_session_consume_connection(h2, len);
	if (c)
		rpc_call_data(c, mica_slice(p, len));
	else
		nghttp2_session_consume_stream(h2, stream, len);
	return 0;
}

static int on_stream_close(nghttp2_session *h2, int32_t stream, uint32_t code, void *ctx)
{
	struct mica_rpc_call *c = call_of(h2, stream);
	(void)code, (void)ctx;
	if (c) {
		nghttp2_session_set_stream_user_data(h2, stream, NULL);
		rpc_call_closed(c);
	}
	return 0;
}

/* ---- what goes ------------------------------------------------------------------------------ */

/* An answer is over before its request is: RFC 9113 8.1. */
static void answer_sent(nghttp2_session *h2, struct rpc_session *s, int32_t stream)
{
	const struct mica_rpc_call *c = call_of(h2, stream);
	earn(s, EARNED_BY_ANSWER);
	if (c && !c->half_closed)
		nghttp2_submit_rst_stream(h2, NGHTTP2_FLAG_NONE, stream, NGHTTP2_NO_ERROR);
}

static int on_frame_send(nghttp2_session *h2, const nghttp2_frame *f, void *ctx)
{
	struct rpc_session *s = ctx;
	const bool end = f->hd.flags & NGHTTP2_FLAG_END_STREAM;
	switch (f->hd.type) {
	case NGHTTP2_DATA:
		earn(s, EARNED_BY_DATA);
		/* fall through */
	case NGHTTP2_HEADERS:
		if (end)
			answer_sent(h2, s, f->hd.stream_id);
		break;
	case NGHTTP2_RST_STREAM:
		if (f->rst_stream.error_code == NGHTTP2_REFUSED_STREAM ||
			f->rst_stream.error_code == NGHTTP2_NO_ERROR)
			break;
		if (s->prepaid > 0)
			s->prepaid--;
		else
			pay_resets(s, 1);
		break;
	case NGHTTP2_GOAWAY:
		if (f->goaway.error_code != NGHTTP2_NO_ERROR && s->cut < 0)
			rpc_session_cut(s, MICA_RPC_CUT_PROTOCOL, f->goaway.error_code);
		break;
	default: break;
	}
	return 0;
}

static size_t put_meta(nghttp2_nv *nv, size_t n, const struct rpc_meta *m)
{
	struct mica_slice name, value;
	size_t at = 0;
	while (m && n < MAX_NV && rpc_meta_next(m, &at, &name, &value))
		nv[n++] = (nghttp2_nv){(uint8_t *)(uintptr_t)name.p, (uint8_t *)(uintptr_t)value.p,
			name.len, value.len, NGHTTP2_NV_FLAG_NONE};
	return n;
}

static ssize_t read_data(nghttp2_session *h2, int32_t stream, uint8_t *buf, size_t len,
	uint32_t *flags, nghttp2_data_source *source, void *ctx)
{
	struct mica_rpc_call *c = source->ptr;
	nghttp2_nv nv[MAX_NV];
	bool end;
	const size_t n = rpc_call_pull(c, buf, len, &end);
	(void)ctx;
	if (n == 0 && !end)
		return NGHTTP2_ERR_DEFERRED;
	if (end)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	if (end && !c->plain) {
		*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
		if (nghttp2_submit_trailer(h2, stream, nv, put_meta(nv, 0, c->tail)) != 0)
			return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	}
	return (ssize_t)n;
}

static nghttp2_nv fixed(const char *name, const char *value)
{
	return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name),
		strlen(value), NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE};
}

void rpc_h2_respond(struct mica_rpc_call *c, const char *status, const char *content_type,
	const struct rpc_meta *a, const struct rpc_meta *b, bool with_data)
{
	const nghttp2_data_provider data = {.source.ptr = c, .read_callback = read_data};
	nghttp2_nv nv[MAX_NV];
	size_t n = 0;
	nv[n++] = fixed(":status", status);
	if (content_type)
		nv[n++] = fixed("content-type", content_type);
	if (!c->plain)
		nv[n++] = fixed("grpc-accept-encoding", "identity");
	n = put_meta(nv, n, a);
	n = put_meta(nv, n, b);
	if (nghttp2_submit_response(c->session->h2, c->stream, nv, n, with_data ? &data : NULL) !=
		0)
		rpc_h2_abort(c);
	c->session->dirty(c->session);
}

void rpc_h2_resume(struct mica_rpc_call *c)
{
	/* an error says that it was not waiting */
	(void)nghttp2_session_resume_data(c->session->h2, c->stream);
	c->session->dirty(c->session);
}

void rpc_h2_consume(struct mica_rpc_call *c, size_t n)
{
	nghttp2_session_consume_stream(c->session->h2, c->stream, n);
	c->session->dirty(c->session);
}

void rpc_h2_abort(struct mica_rpc_call *c)
{
	nghttp2_submit_rst_stream(c->session->h2, NGHTTP2_FLAG_NONE, c->stream, NGHTTP2_CANCEL);
	c->session->dirty(c->session);
}

/* ---- sessions ------------------------------------------------------------------------------- */

/*
 * A session of nghttp2 keeps a buffer of 16 KiB for the frame that it sends. What mem_send returned
 * from it is dead once it is copied, which rpc_session_pull does at once; so all sessions of a loop
 * share one, where the version is one whose source we have read. It is wiped after each frame: if
 * a session read it again after all, it would find zeros, never what another one sent. Only the
 * buffer made with the session is lent: further ones, for long blocks of headers, are its own.
 */
static void *h2_malloc(size_t size, void *ctx)
{
	struct rpc_home *h = ctx;
	if (h->lending && size >= RPC_FRAME_MAX && size <= RPC_LENT_MAX) {
		h->lending = false;
		return h->lent;
	}
	return mica_realloc(NULL, size ? size : 1, 1);
}

static void h2_free(void *p, void *ctx)
{
	const struct rpc_home *h = ctx;
	if (p != h->lent)
		mica_free(p);
}

static void *h2_calloc(size_t n, size_t size, void *ctx)
{
	(void)ctx;
	return mica_calloc(n, size);
}

static void *h2_realloc(void *p, size_t size, void *ctx)
{
	const struct rpc_home *h = ctx;
	void *own;
	if (!p)
		return h2_malloc(size, ctx);
	if (p != h->lent)
		return mica_realloc(p, size ? size : 1, 1);
	own = mica_alloc(size > RPC_LENT_MAX ? size : RPC_LENT_MAX);
	memcpy(own, p, RPC_LENT_MAX);
	return own;
}

static void wipe_lent(const struct rpc_session *s, const uint8_t *p, size_t len)
{
	uint8_t *lent = s->home->lent;
	if (lent && p >= lent && p + len <= lent + RPC_LENT_MAX)
		memset(lent + (p - lent), 0, len);
}

/* What nghttp2 bounds itself is a second line here: it counts resets from the client alone. */
static nghttp2_option *options(void)
{
	nghttp2_option *o;
	if (nghttp2_option_new(&o) != 0)
		abort();
	nghttp2_option_set_no_auto_window_update(o, 1);
	nghttp2_option_set_no_closed_streams(o, 1);
	nghttp2_option_set_max_continuations(o, 8);
	nghttp2_option_set_max_settings(o, 32);
	nghttp2_option_set_max_outbound_ack(o, 200);
	nghttp2_option_set_stream_reset_rate_limit(o, 2 * RESETS_BURST, 2 * RESETS_PER_S);
	nghttp2_option_set_max_deflate_dynamic_table_size(o, 1024);
	for (unsigned type = NGHTTP2_CONTINUATION + 1; type <= UINT8_MAX; type++)
		nghttp2_option_set_user_recv_extension_type(o, (uint8_t)type);
	return o;
}

static nghttp2_session_callbacks *callbacks(void)
{
	nghttp2_session_callbacks *cb;
	if (nghttp2_session_callbacks_new(&cb) != 0)
		abort();
	nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
	nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
	nghttp2_session_callbacks_set_on_invalid_header_callback(cb, on_invalid_header);
	nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid_frame);
	nghttp2_session_callbacks_set_unpack_extension_callback(cb, on_unknown_frame);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
	nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
	return cb;
}

static struct {
	nghttp2_option *option;
	nghttp2_session_callbacks *callbacks;
} shared;

static void make_shared(void)
{
	shared.option = options();
	shared.callbacks = callbacks();
}

static void settings(struct rpc_session *s)
{
	const struct mica_rpc_options *o = &s->core->o;
	const nghttp2_settings_entry iv[] = {
		{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, o->max_streams},
		{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)o->max_header_bytes},
		{NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
	};
	nghttp2_submit_settings(s->h2, NGHTTP2_FLAG_NONE, iv, MICA_ARRAY_LEN(iv));
	nghttp2_session_set_local_window_size(s->h2, NGHTTP2_FLAG_NONE, 0, WINDOW);
}

static int64_t jitter(int64_t ms)
{
	uint32_t r;
	mica_random(&r, sizeof(r));
	return ms - ms / 10 + (int64_t)((uint64_t)(ms / 5) * r >> 32);
}

void rpc_session_init(struct rpc_session *s, struct rpc_core *core, struct rpc_home *home,
	struct rpc_peer *peer, int64_t now_ms)
{
	nghttp2_mem mem = {home, h2_malloc, h2_free, h2_calloc, h2_realloc};
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, make_shared);
	s->core = core;
	s->home = home;
	s->peer = peer;
	atomic_fetch_add_explicit(&peer->refs, 1, memory_order_relaxed);
	s->now_ms = now_ms;
	s->cut = -1;
	s->born_ms = now_ms + core->o.handshake_ms;
	s->old_ms = core->o.max_age_ms > 0 ? now_ms + jitter(core->o.max_age_ms) : INT64_MAX;
	s->idle_since = now_ms;
	s->resets = (struct rpc_bucket){RESETS_BURST * 1000, now_ms};
	s->frames = (struct rpc_bucket){FRAMES_BURST * 1000, now_ms};
	if (!home->lent && nghttp2_version(0)->version_num >> 8 == LENT_VERSION)
		home->lent = mica_alloc(RPC_LENT_MAX);
	home->lending = home->lent != NULL;
	if (nghttp2_session_server_new3(&s->h2, shared.callbacks, s, shared.option, &mem) != 0)
		abort();
	home->lending = false;
	settings(s);
}

void rpc_session_clear(struct rpc_session *s)
{
	while (s->calls)
		rpc_call_closed(s->calls);
	nghttp2_session_del(s->h2);
	rpc_peer_unref(s->peer);
}

void rpc_session_recv(struct rpc_session *s, const uint8_t *p, size_t len, int64_t now_ms)
{
	ssize_t n;
	s->now_ms = now_ms;
	if (s->cut >= 0)
		return;
	rpc_count(&s->home->n.bytes_in, len);
	n = nghttp2_session_mem_recv(s->h2, p, len);
	if (n == NGHTTP2_ERR_FLOODED)
		rpc_session_cut(s, MICA_RPC_CUT_FRAMES, NGHTTP2_ENHANCE_YOUR_CALM);
	else if (n < 0)
		rpc_session_cut(s, MICA_RPC_CUT_PROTOCOL, NGHTTP2_PROTOCOL_ERROR);
}

static size_t last_goaway(struct rpc_session *s, uint8_t *buf)
{
	const uint32_t last = (uint32_t)nghttp2_session_get_last_proc_stream_id(s->h2);
	const uint8_t frame[17] = {0, 0, 8, NGHTTP2_GOAWAY, 0, 0, 0, 0, 0, (uint8_t)(last >> 24),
		(uint8_t)(last >> 16), (uint8_t)(last >> 8), (uint8_t)last,
		(uint8_t)(s->cut_code >> 24), (uint8_t)(s->cut_code >> 16),
		(uint8_t)(s->cut_code >> 8), (uint8_t)s->cut_code};
	memcpy(buf, frame, sizeof(frame));
	return sizeof(frame);
}

/* Those that waited for room, once nghttp2 is done. */
static void serve_writers(struct rpc_session *s)
{
	struct mica_rpc_call *c, *next;
	s->writers = false;
	for (c = s->calls; c; c = next) {
		next = c->next;
		rpc_call_drained(c);
	}
}

size_t rpc_session_pull(struct rpc_session *s, uint8_t *buf, size_t room, int64_t now_ms)
{
	size_t used = 0;
	const uint8_t *p;
	ssize_t n;
	s->now_ms = now_ms;
	while (s->cut < 0 && room - used >= RPC_FRAME_MAX) {
		n = nghttp2_session_mem_send(s->h2, &p);
		if (n < 0)
			rpc_session_cut(s, MICA_RPC_CUT_PROTOCOL, NGHTTP2_INTERNAL_ERROR);
		if (n <= 0)
			break;
		memcpy(buf + used, p, (size_t)n);
		wipe_lent(s, p, (size_t)n);
		used += (size_t)n;
	}
	if (s->cut >= 0 && !s->cut_told && room - used >= 17) {
		s->cut_told = true;
		used += last_goaway(s, buf + used);
	}
	if (s->writers && s->cut < 0)
		serve_writers(s);
	rpc_count(&s->home->n.bytes_out, used);
	return used;
}

bool rpc_session_over(const struct rpc_session *s)
{
	if (s->closing || s->cut >= 0)
		return true;
	if (s->final && s->n_calls == 0 && !nghttp2_session_want_write(s->h2))
		return true;
	return !nghttp2_session_want_read(s->h2) && !nghttp2_session_want_write(s->h2);
}

void rpc_session_shutdown(struct rpc_session *s, int64_t now_ms)
{
	if (s->shut || s->cut >= 0)
		return;
	s->now_ms = now_ms;
	s->shut = true;
	s->shut_since = now_ms;
	nghttp2_submit_shutdown_notice(s->h2);
	s->wake_at(s, now_ms + SHUT_NOTICE_MS);
	s->dirty(s);
}

/* ---- time ----------------------------------------------------------------------------------- */

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* The connection as a whole. */
static int64_t tick_session(struct rpc_session *s, int64_t now)
{
	const struct mica_rpc_options *o = &s->core->o;
	int64_t next = INT64_MAX;
	if (!s->ready && now >= s->born_ms)
		rpc_session_cut(s, MICA_RPC_CUT_HANDSHAKE, NGHTTP2_SETTINGS_TIMEOUT);
	if (s->headers_since && now >= s->headers_since + o->headers_ms)
		rpc_session_cut(s, MICA_RPC_CUT_HEADERS, NGHTTP2_ENHANCE_YOUR_CALM);
	if (now >= s->old_ms || (s->idle_since && now >= s->idle_since + o->idle_ms))
		rpc_session_shutdown(s, now);
	if (s->shut && !s->final && now >= s->shut_since + SHUT_NOTICE_MS) {
		s->final = true;
		nghttp2_submit_goaway(s->h2, NGHTTP2_FLAG_NONE,
			nghttp2_session_get_last_proc_stream_id(s->h2), NGHTTP2_NO_ERROR, NULL, 0);
	}
	if (s->shut && now >= s->shut_since + o->grace_ms)
		s->closing = true;
	if (!s->ready)
		next = least(next, s->born_ms);
	if (s->headers_since)
		next = least(next, s->headers_since + o->headers_ms);
	if (!s->shut)
		next = least(next,
			least(s->old_ms, s->idle_since ? s->idle_since + o->idle_ms : INT64_MAX));
	else
		next = least(next, s->shut_since + (s->final ? o->grace_ms : SHUT_NOTICE_MS));
	return next;
}

int64_t rpc_session_tick(struct rpc_session *s, int64_t now_ms)
{
	struct mica_rpc_call *c, *following;
	int64_t next;
	s->now_ms = now_ms;
	next = tick_session(s, now_ms);
	for (c = s->calls; c && s->cut < 0; c = following) {
		following = c->next;
		next = least(next, rpc_call_tick(c, now_ms));
	}
	s->dirty(s);
	return next;
}
