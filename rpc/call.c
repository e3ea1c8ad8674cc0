/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A call from its headers to its end.
 *
 * It has up to two holders: its stream, until that is closed, and its method, from when it was
 * given the call until it has ended it. The record is freed when neither is left. All of this is
 * done on the loop; answer.c brings here what other threads post.
 */
#include "rpc_impl.h"

/* ---- blocks --------------------------------------------------------------------------------- */

struct rpc_block *rpc_block_new(struct mica_slice message, bool framed)
{
	const size_t head = framed ? 5 : 0;
	struct rpc_block *b = mica_realloc(NULL, sizeof(*b) + head + message.len, 1);
	b->next = NULL;
	b->off = 0;
	b->len = head + message.len;
	if (framed) {
		b->data[0] = 0;
		for (unsigned i = 0; i < 4; i++)
			b->data[1 + i] = (uint8_t)(message.len >> (24 - 8 * i));
	}
	if (message.len > 0)
		memcpy(b->data + head, message.p, message.len);
	return b;
}

void rpc_blocks_free(struct mica_rpc_call *c, struct rpc_block **list)
{
	struct rpc_block *b;
	while ((b = *list)) {
		*list = b->next;
		atomic_fetch_sub_explicit(&c->queued, b->len - b->off, memory_order_relaxed);
		mica_free(b);
	}
}

static void drop_answer(struct mica_rpc_call *c)
{
	rpc_blocks_free(c, &c->out);
	c->out_tail = &c->out;
	c->stall_since = 0;
}

/* ---- records -------------------------------------------------------------------------------- */

/* Empty and wiped; memory is kept unless it is much. */
static void buf_keep(struct mica_buf *b)
{
	if (b->room > RPC_KEEP) {
		const size_t cap = b->cap;
		mica_buf_clear(b);
		mica_buf_init_secret(b, cap);
	} else {
		mica_buf_reset(b);
	}
}

/* The first use of a record: until then its cap is 0. */
void rpc_buf_cap(struct mica_buf *b, size_t cap)
{
	if (b->cap == cap)
		return;
	mica_buf_clear(b);
	mica_buf_init_secret(b, cap);
}

/* What a record keeps while it is free is the memory of its buffers, wiped. */
static struct mica_rpc_call *record(struct rpc_home *h)
{
	struct mica_rpc_call *c = h->free_calls;
	if (!c)
		return MICA_NEW(struct mica_rpc_call);
	h->free_calls = c->next;
	h->n_free_calls--;
	return c;
}

void rpc_call_record_clear(struct mica_rpc_call *c)
{
	mica_buf_clear(&c->head.b);
	mica_buf_clear(&c->headers.b);
	mica_buf_clear(&c->trailers.b);
	mica_buf_clear(&c->message);
	mica_buf_clear(&c->status.b);
	mica_buf_clear(&c->held);
	mica_free(c);
}

static void record_give_back(struct rpc_home *h, struct mica_rpc_call *c)
{
	struct mica_buf head, headers, trailers, message;
	if (h->n_free_calls >= RPC_FREE_CALLS) {
		rpc_call_record_clear(c);
		return;
	}
	buf_keep(&c->head.b), buf_keep(&c->headers.b);
	buf_keep(&c->trailers.b), buf_keep(&c->message);
	mica_buf_clear(&c->status.b);
	mica_buf_clear(&c->held);
	head = c->head.b, headers = c->headers.b;
	trailers = c->trailers.b, message = c->message;
	memset(c, 0, sizeof(*c));
	c->head.b = head, c->headers.b = headers;
	c->trailers.b = trailers, c->message = message;
	c->next = h->free_calls;
	h->free_calls = c;
	h->n_free_calls++;
}

struct mica_rpc_call *rpc_call_new(struct rpc_session *s, int32_t stream)
{
	struct mica_rpc_call *c = record(s->home);
	const struct mica_rpc_options *o = &s->core->o;
	c->core = s->core;
	c->home = s->home;
	c->session = s;
	c->peer = s->peer;
	c->peer->refs++;
	c->stream = stream;
	c->data.peer = &s->peer->pub;
	c->data.deadline_ms = INT64_MAX;
	c->request_by_ms = INT64_MAX;
	c->out_tail = &c->out;
	c->posted_tail = &c->posted;
	/* 4 octets more a header than their text, 32 less than what is counted */
	rpc_buf_cap(&c->head.b, o->max_header_bytes);
	rpc_buf_cap(&c->headers.b, RPC_META_MAX);
	rpc_buf_cap(&c->trailers.b, 2 * RPC_META_MAX);
	c->next = s->calls;
	if (c->next)
		c->next->prev = c;
	s->calls = c;
	s->n_calls++;
	s->idle_since = 0;
	return c;
}

static void unlink_from_session(struct mica_rpc_call *c)
{
	struct rpc_session *s = c->session;
	*(c->prev ? &c->prev->next : &s->calls) = c->next;
	if (c->next)
		c->next->prev = c->prev;
	c->prev = c->next = NULL;
	if (--s->n_calls == 0) {
		s->idle_since = s->now_ms;
		s->wake_at(s, s->now_ms + s->core->o.idle_ms);
	}
	rpc_session_buffered(s, c->message.len, 0);
	c->session = NULL;
}

static void maybe_free(struct mica_rpc_call *c)
{
	struct rpc_home *h = c->home;
	struct rpc_core *k = c->given ? c->core : NULL;
	if (c->busy || c->session || (c->given && !c->ended))
		return;
	drop_answer(c);
	if (c->done)
		c->done(c->state);
	rpc_peer_unref(c->peer);
	record_give_back(h, c);
	if (k)
		rpc_core_unref(k);
}

/* ---- answers, on the loop ------------------------------------------------------------------- */

static void note_code(struct mica_rpc_call *c, enum mica_rpc_code code, const char *reason)
{
	if (c->answered)
		return;
	c->answered = true;
	c->code = code;
	c->reason = reason;
	if (c->plain)
		return;
	rpc_count(&c->home->n.codes[code], 1);
	if (c->core->o.finished)
		c->core->o.finished(c->core->o.ctx, &c->data, code, reason);
}

/* The answer is complete, but for what waits to be sent. Trailers hold the status. */
static void finish_stream(struct mica_rpc_call *c, const struct rpc_meta *headers)
{
	const bool alone = !c->out; /* headers and trailers in one */
	c->refused = true; /* what the client still sends */
	if (c->responded) {
		rpc_h2_resume(c);
		return;
	}
	c->responded = true;
	rpc_h2_respond(c, "200", "application/grpc", headers, alone ? c->tail : NULL, !alone);
}

/* Its method learns that nobody waits any more; the end is still due. */
static void cancel(struct mica_rpc_call *c)
{
	const struct mica_rpc_method *m;
	if (atomic_exchange_explicit(&c->cancelled, true, memory_order_relaxed) || !c->given ||
		c->ended)
		return;
	m = c->method->m;
	if (!m->cancelled)
		return;
	c->busy++;
	m->cancelled(c->method->service->ctx, c);
	c->busy--;
}

/* We answer, not its method: nobody asked it yet, or it took too long. */
void rpc_call_fail_as(struct mica_rpc_call *c, enum mica_rpc_code code, const struct mica_err *e)
{
	if (c->answered || !c->session)
		return;
	if (!c->responded)
		drop_answer(c);
	mica_buf_init(&c->status.b, RPC_META_MAX);
	rpc_status_put(&c->status, code, e, c->core->o.error_domain);
	c->tail = &c->status;
	note_code(c, code, e->reason);
	finish_stream(c, NULL);
	cancel(c);
}

void rpc_call_fail(struct mica_rpc_call *c, const struct mica_err *e)
{
	rpc_call_fail_as(c, (enum mica_rpc_code)mica_rc_grpc(e->rc), e);
}

void rpc_call_http(struct mica_rpc_call *c, const char *status, const char *body)
{
	struct mica_slice text = mica_slice_str(body);
	c->plain = true;
	c->refused = true;
	c->responded = true;
	note_code(c, MICA_RPC_OK, NULL);
	if (text.len > 0) {
		*c->out_tail = rpc_block_new(text, false);
		c->out_tail = &(*c->out_tail)->next;
		atomic_fetch_add_explicit(&c->queued, text.len, memory_order_relaxed);
	}
	rpc_h2_respond(c, status, text.len ? "text/plain" : NULL, NULL, NULL, text.len > 0);
}

void rpc_call_closed(struct mica_rpc_call *c)
{
	unlink_from_session(c);
	drop_answer(c);
	if (c->data.received_ms) /* else its headers never came, or were no headers */
		note_code(c, MICA_RPC_CANCELLED, "cancelled");
	cancel(c);
	maybe_free(c);
}

/* ---- time ----------------------------------------------------------------------------------- */

static void overdue(struct mica_rpc_call *c)
{
	struct mica_err e = MICA_ERR_INIT;
	if (c->own_bound) {
		mica_fail(&e, MICA_UNAVAILABLE, "overdue", "the answer took too long, try again");
		e.retry_after = 1;
		rpc_call_fail(c, &e);
	} else {
		mica_fail(
			&e, MICA_UNAVAILABLE, "deadline_exceeded", "the client's deadline is over");
		rpc_call_fail_as(c, MICA_RPC_DEADLINE_EXCEEDED, &e);
	}
}

int64_t rpc_call_tick(struct mica_rpc_call *c, int64_t now_ms)
{
	const int64_t stall_at = c->stall_since ? c->stall_since + c->core->o.stall_ms : INT64_MAX;
	int64_t next = stall_at;
	if (now_ms >= stall_at) {
		rpc_h2_abort(c);
		rpc_count(&c->home->n.cuts[MICA_RPC_CUT_STALL], 1);
		return INT64_MAX;
	}
	if (c->answered)
		return next;
	if (now_ms >= c->data.deadline_ms) {
		overdue(c);
		return next;
	}
	if (now_ms >= c->request_by_ms) {
		struct mica_err e = MICA_ERR_INIT;
		mica_fail(&e, MICA_UNAVAILABLE, "request_timeout",
			"the request was not complete in time");
		rpc_call_fail_as(c, MICA_RPC_DEADLINE_EXCEEDED, &e);
		return next;
	}
	if (c->data.deadline_ms < next)
		next = c->data.deadline_ms;
	return c->request_by_ms < next ? c->request_by_ms : next;
}

/* ---- sending -------------------------------------------------------------------------------- */

size_t rpc_call_pull(struct mica_rpc_call *c, uint8_t *buf, size_t len, bool *end)
{
	size_t done = 0;
	struct rpc_block *b;
	while (done < len && (b = c->out)) {
		const size_t n = b->len - b->off < len - done ? b->len - b->off : len - done;
		memcpy(buf + done, b->data + b->off, n);
		done += n;
		b->off += n;
		if (b->off < b->len)
			break;
		c->out = b->next;
		if (!c->out)
			c->out_tail = &c->out;
		mica_free(b);
	}
	atomic_fetch_sub_explicit(&c->queued, done, memory_order_relaxed);
	c->stall_octets += done;
	if (!c->out) {
		c->stall_since = 0;
	} else if (c->stall_octets >= RPC_STALL_MIN) {
		c->stall_octets = 0;
		c->stall_since = c->session->now_ms;
	}
	if (c->held.len > 0 || atomic_load_explicit(&c->wants_room, memory_order_relaxed))
		c->session->writers = true;
	*end = !c->out && c->answered;
	return done;
}

void rpc_call_drained(struct mica_rpc_call *c)
{
	const size_t queued = atomic_load_explicit(&c->queued, memory_order_relaxed);
	if (c->held.len > 0 && queued <= c->core->o.max_queued)
		rpc_call_read_held(c);
	if (queued > c->core->o.max_queued / 2 || !rpc_call_listens(c) || !c->method->m->writable ||
		!atomic_exchange_explicit(&c->wants_room, false, memory_order_relaxed))
		return;
	c->busy++;
	c->method->m->writable(c->method->service->ctx, c);
	c->busy--;
	maybe_free(c);
}

static void apply_blocks(struct mica_rpc_call *c, struct rpc_block *first, struct rpc_block **tail)
{
	if (!first)
		return;
	if (!c->out) {
		c->stall_since = c->session->now_ms;
		c->stall_octets = 0;
		c->session->wake_at(c->session, c->stall_since + c->core->o.stall_ms);
	}
	*c->out_tail = first;
	c->out_tail = tail;
	if (!c->session->served && !rpc_core_is_own(c->core, c->method))
		c->session->served = true;
	if (c->responded) {
		rpc_h2_resume(c);
	} else if (c->method->m->kind != MICA_RPC_UNARY) {
		c->responded = true;
		rpc_h2_respond(c, "200", "application/grpc", &c->headers, NULL, true);
	}
}

static void apply_end(struct mica_rpc_call *c)
{
	struct mica_err e = MICA_ERR_INIT;
	if (c->end_code == MICA_RPC_OK && c->method->m->kind == MICA_RPC_UNARY && !c->out) {
		mica_fail(&e, MICA_INTERNAL, "answer_missing", "the method gave no answer");
		rpc_call_fail(c, &e);
		return;
	}
	if (c->end_code != MICA_RPC_OK && c->method->m->kind == MICA_RPC_UNARY)
		drop_answer(c);
	c->tail = &c->trailers;
	note_code(c, c->end_code, c->end_reason);
	finish_stream(c, &c->headers);
}

void rpc_call_apply(
	struct mica_rpc_call *c, struct rpc_block *first, struct rpc_block **tail, bool end)
{
	if (c->session && !c->answered)
		apply_blocks(c, first, tail);
	else
		rpc_blocks_free(c, &first);
	if (end) {
		c->ended = true;
		atomic_fetch_sub_explicit(&c->core->app_calls, 1, memory_order_relaxed);
		c->peer->n_app--;
		if (c->session && !c->answered)
			apply_end(c);
	}
	if (c->session)
		c->session->dirty(c->session);
	maybe_free(c);
}
