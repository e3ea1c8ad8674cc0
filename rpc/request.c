/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a client asks: the headers of a call, then its messages, bounded before they are kept. A
 * whole unary request, or the headers of a stream, are given to the method.
 */
#include "rpc_impl.h"

/* ---- the request: headers ------------------------------------------------------------------- */

bool rpc_call_header(struct mica_rpc_call *c, struct mica_slice name, struct mica_slice value)
{
	const struct mica_rpc_options *o = &c->core->o;
	if (c->half_closed || c->has_message || c->data.received_ms) {
		/* trailers of a request: nobody wants them, but they count */
		c->head_octets += name.len + value.len + 32;
		return c->head_octets <= 4 * o->max_header_bytes;
	}
	c->head_octets += name.len + value.len + 32;
	if (c->head_octets > 4 * o->max_header_bytes)
		return false;
	if (c->head_octets > o->max_header_bytes || c->head.n >= o->max_headers ||
		!rpc_meta_put(&c->head, name, value))
		c->head_over = true;
	else if (name.len > 0 && name.p[0] == ':')
		c->n_pseudo++;
	return true;
}

/* The headers that count, each the last of its name. */
struct known {
	struct mica_slice method, type, timeout, encoding;
};

static void read_known(struct mica_rpc_call *c, struct known *k)
{
	const struct {
		const char *name;
		struct mica_slice *to;
	} table[] = {{":method", &k->method}, {":path", &c->data.path},
		{":authority", &c->data.authority}, {"content-type", &k->type},
		{"grpc-timeout", &k->timeout}, {"grpc-encoding", &k->encoding}};
	struct mica_slice name, value;
	size_t at = 0;
	memset(k, 0, sizeof(*k));
	while (rpc_meta_next(&c->head, &at, &name, &value))
		for (size_t i = 0; i < MICA_ARRAY_LEN(table); i++)
			if (mica_slice_eq_str(name, table[i].name))
				*table[i].to = value;
}

/* What is not gRPC. */
static bool answered_as_http(struct mica_rpc_call *c, const struct known *k)
{
	const bool get = mica_slice_eq_str(k->method, "GET"),
		   post = mica_slice_eq_str(k->method, "POST");
	bool known;
	if (mica_slice_eq_str(c->data.path, "/healthz") && (get || post)) {
		if (rpc_core_serves(c->core, "", &known))
			rpc_call_http(c, "200", "ok\n");
		else
			rpc_call_http(c, "503", "not serving\n");
		return true;
	}
	if (!post) {
		rpc_call_http(c, "405", "expected POST\n");
		return true;
	}
	if (rpc_content_type(k->type) == RPC_TYPE_OTHER) {
		rpc_call_http(c, "415", "expected content-type application/grpc\n");
		return true;
	}
	return false;
}

static bool find_method(struct mica_rpc_call *c, const struct known *k)
{
	struct mica_err e = MICA_ERR_INIT;
	bool service;
	if (rpc_content_type(k->type) == RPC_TYPE_CODEC) {
		mica_fail(&e, MICA_INVALID, "codec_unsupported",
			"content-type: expected application/grpc or application/grpc+proto");
		rpc_call_fail_as(c, MICA_RPC_UNIMPLEMENTED, &e);
		return false;
	}
	c->method = rpc_core_find(c->core, c->data.path, &service);
	if (c->method)
		return true;
	mica_fail(&e, MICA_NOT_FOUND, service ? "method_unknown" : "service_unknown",
		service ? "%.*s: the service has no such method" : "%.*s: no such service here",
		MICA_FMT(c->data.path));
	rpc_call_fail_as(c, MICA_RPC_UNIMPLEMENTED, &e);
	return false;
}

static bool set_times(struct mica_rpc_call *c, const struct known *k)
{
	const struct mica_rpc_options *o = &c->core->o;
	const bool stream = c->method->m->kind != MICA_RPC_UNARY;
	struct mica_err e = MICA_ERR_INIT;
	const int64_t now = c->session->now_ms;
	int64_t ms;
	c->data.deadline_ms = stream ? INT64_MAX : now + o->call_ms;
	c->own_bound = true;
	if (k->timeout.len > 0) {
		if (rpc_timeout(k->timeout, &ms, &e) != MICA_OK) {
			rpc_call_fail(c, &e);
			return false;
		}
		if (stream || ms <= o->call_ms) {
			c->data.deadline_ms = now + ms;
			c->own_bound = false;
		}
	}
	if (c->method->m->kind != MICA_RPC_BIDI)
		c->request_by_ms = now + o->request_ms;
	c->session->wake_at(c->session,
		c->data.deadline_ms < c->request_by_ms ? c->data.deadline_ms : c->request_by_ms);
	return true;
}

/* Nothing runs for streams that are no more than a client may have open ones; reset streams whose
 * method is still at work count. */
static bool has_room(struct mica_rpc_call *c)
{
	const struct mica_rpc_options *o = &c->core->o;
	struct mica_err e = MICA_ERR_INIT;
	if (c->peer->n_app >= o->max_streams)
		mica_fail(&e, MICA_LIMIT, "too_many_calls",
			"%u calls of this connection are under way, some of them abandoned",
			c->peer->n_app);
	else if (atomic_load_explicit(&c->core->app_calls, memory_order_relaxed) >= o->max_calls)
		mica_fail(&e, MICA_LIMIT, "overloaded", "too many calls are under way");
	else
		return true;
	e.retry_after = 1;
	rpc_call_fail(c, &e);
	return false;
}

static bool admitted(struct mica_rpc_call *c)
{
	struct mica_err e = MICA_ERR_INIT;
	bool ok;
	if (!c->core->o.admit)
		return true;
	c->busy++;
	ok = c->core->o.admit(c->core->o.ctx, c, &e);
	c->busy--;
	if (ok)
		return true;
	if (!e.reason)
		mica_fail(&e, MICA_UNAVAILABLE, "refused", "not now");
	rpc_call_fail(c, &e);
	return false;
}

static bool head_fits(struct mica_rpc_call *c)
{
	struct mica_err e = MICA_ERR_INIT;
	if (!c->head_over)
		return true;
	mica_fail(&e, MICA_LIMIT, "headers_too_long",
		"headers: expected at most %u, and %zu octets of them", c->core->o.max_headers,
		c->core->o.max_header_bytes);
	rpc_call_fail(c, &e);
	return false;
}

/* A stream may last for hours: neither its memory nor the secrets in it are needed any more. */
static void forget_message(struct mica_rpc_call *c)
{
	const size_t cap = c->message.cap;
	if (c->session)
		rpc_session_buffered(c->session, c->message.len, 0);
	mica_buf_clear(&c->message);
	rpc_buf_cap(&c->message, cap);
}

static void give(struct mica_rpc_call *c)
{
	c->given = true;
	c->peer->n_app++;
	atomic_fetch_add_explicit(&c->core->app_calls, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&c->core->refs, 1, memory_order_relaxed);
	c->busy++;
	c->method->m->call(c->method->service->ctx, c, mica_buf_slice(&c->message));
	c->busy--;
	if (c->method->m->kind == MICA_RPC_SERVER_STREAM)
		forget_message(c);
}

void rpc_call_headers(struct mica_rpc_call *c)
{
	struct known k;
	c->data.received_ms = mica_now_ms();
	c->data.begun_ns = mica_mono_ns();
	rpc_count(&c->home->n.calls, 1);
	read_known(c, &k);
	c->reader.encoded = k.encoding.len > 0 && !mica_slice_eq_str(k.encoding, "identity");
	if (!head_fits(c) || answered_as_http(c, &k) || !find_method(c, &k) || !has_room(c) ||
		!set_times(c, &k) || !admitted(c))
		return;
	c->reader.max =
		c->method->m->max_message ? c->method->m->max_message : c->core->o.max_message;
	rpc_buf_cap(&c->message, c->reader.max);
	if (c->method->m->kind == MICA_RPC_BIDI)
		give(c);
}

/* ---- the request: messages ------------------------------------------------------------------ */

bool rpc_call_listens(const struct mica_rpc_call *c)
{
	return c->given && !c->ended && !c->answered && c->session &&
		!atomic_load_explicit(&c->cancelled, memory_order_relaxed);
}

static void message_complete(struct mica_rpc_call *c)
{
	const struct mica_rpc_method *m = c->method->m;
	if (m->kind != MICA_RPC_BIDI) {
		c->has_message = true;
		return;
	}
	c->busy++;
	m->message(c->method->service->ctx, c, mica_buf_slice(&c->message));
	c->busy--;
	if (c->session)
		rpc_session_buffered(c->session, c->message.len, 0);
	mica_buf_reset(&c->message);
}

/* One read of the framing; false: no more of this is wanted. */
static bool step(struct mica_rpc_call *c, struct mica_slice *in)
{
	enum mica_rpc_code code = MICA_RPC_INTERNAL;
	struct mica_err e = MICA_ERR_INIT;
	const size_t had = c->message.len;
	enum rpc_read r;
	if (c->has_message) {
		mica_fail(&e, MICA_INTERNAL, "too_many_messages",
			"a second message came, expected one for this method");
		rpc_call_fail(c, &e);
		return false;
	}
	r = rpc_read(&c->reader, in, &c->message, &code, &e);
	rpc_session_buffered(c->session, had, c->message.len);
	if (r == RPC_READ_BAD)
		rpc_call_fail_as(c, code, &e);
	else if (r == RPC_READ_MESSAGE)
		message_complete(c);
	return r != RPC_READ_BAD;
}

/* Requests may fill so much memory, of a connection and altogether; one message that its method
 * takes always fits into a connection. */
static bool fits(struct mica_rpc_call *c, size_t more)
{
	const struct mica_rpc_options *o = &c->core->o;
	const size_t want = c->session->buffered + more;
	struct mica_err e = MICA_ERR_INIT;
	if (want <= RPC_STALL_MIN ||
		((want <= o->max_buffered || want <= c->reader.max + RPC_STALL_MIN) &&
			atomic_load_explicit(&c->core->buffered, memory_order_relaxed) + more <=
				o->max_buffered_all))
		return true;
	mica_fail(
		&e, MICA_LIMIT, "too_much_at_once", "too many octets of requests are on their way");
	e.retry_after = 1;
	rpc_call_fail(c, &e);
	return false;
}

static bool may_read(const struct mica_rpc_call *c)
{
	if (c->refused || !c->session || !c->method)
		return false;
	return c->method->m->kind != MICA_RPC_BIDI ||
		(rpc_call_listens(c) &&
			atomic_load_explicit(&c->queued, memory_order_relaxed) <=
				c->core->o.max_queued);
}

/* Reads as much as may be read; what is left stays in *in. */
static void feed(struct mica_rpc_call *c, struct mica_slice *in)
{
	while (in->len > 0 && may_read(c) && fits(c, in->len) && step(c, in))
		;
}

/* Of a stream whose answers are not read we hold what its window lets in, 64 KiB. */
void rpc_call_data(struct mica_rpc_call *c, struct mica_slice octets)
{
	const size_t n = octets.len;
	if (c->held.len == 0)
		feed(c, &octets);
	if (octets.len > 0 && c->given && rpc_call_listens(c)) {
		if (c->held.cap == 0)
			mica_buf_init_secret(&c->held, 1 << 20);
		mica_buf_put_slice(&c->held, octets);
		rpc_h2_consume(c, n - octets.len);
	} else {
		rpc_h2_consume(c, n);
	}
}

static void end_of_request(struct mica_rpc_call *c)
{
	struct mica_err e = MICA_ERR_INIT;
	const bool bidi = c->method->m->kind == MICA_RPC_BIDI;
	if (!rpc_reader_between(&c->reader))
		mica_fail(&e, MICA_INTERNAL, "message_incomplete",
			"the request ended inside a message");
	else if (!bidi && !c->has_message)
		mica_fail(&e, MICA_INTERNAL, "message_missing",
			"the request ended without a message, expected one");
	if (e.reason) {
		rpc_call_fail(c, &e);
		return;
	}
	if (!bidi) {
		c->request_by_ms = INT64_MAX;
		if (has_room(c))
			give(c);
		return;
	}
	c->busy++;
	c->method->m->half_closed(c->method->service->ctx, c);
	c->busy--;
}

void rpc_call_half_close(struct mica_rpc_call *c)
{
	c->half_closed = true;
	if (c->refused || !c->method || c->held.len > 0 || (c->given && !rpc_call_listens(c)))
		return;
	end_of_request(c);
}

/* There is room again: what was held is read, as far as that goes. */
void rpc_call_read_held(struct mica_rpc_call *c)
{
	struct mica_slice in = mica_buf_slice(&c->held);
	size_t done;
	feed(c, &in);
	if (!rpc_call_listens(c))
		in.len = 0; /* nobody wants it */
	done = c->held.len - in.len;
	memmove(c->held.p, c->held.p + done, in.len);
	c->held.len = in.len;
	if (c->session && done > 0)
		rpc_h2_consume(c, done);
	if (in.len == 0 && c->half_closed && rpc_call_listens(c))
		end_of_request(c);
}
