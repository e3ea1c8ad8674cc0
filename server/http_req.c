/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests, on libmicrohttpd. Its handler is called when the headers are there, for each piece of
 * the body, and once more at the end: request_begin, request_body, request_complete. A deferred
 * request suspends its connection; http_finish attaches the answer, resumes it, and its worker
 * calls the handler again to send it.
 */
#include "http_impl.h"

#include <stdio.h>

/* ---- request records ----------------------------------------------------------------------- */

static struct http_req *req_new(struct worker *w)
{
	struct http_req *r = w->free_reqs;
	if (!r)
		return MICA_NEW(struct http_req);
	w->free_reqs = r->next;
	w->n_free_reqs--;
	r->next = NULL;
	return r;
}

void req_free(struct http_req *r)
{
	mica_free(r->body);
	mica_free(r->target);
	mica_free(r);
}

/* Back to the worker's own records; the buffers stay with it when they are small. */
static void req_recycle(struct worker *w, struct http_req *r)
{
	struct http_req clean = {.body = r->body,
		.body_room = r->body_room,
		.target = r->target,
		.target_room = r->target_room};
	if (w->n_free_reqs >= FREE_REQS) {
		req_free(r);
		return;
	}
	if (clean.body_room > BODY_KEEP) {
		mica_free(clean.body);
		clean.body = NULL;
		clean.body_room = 0;
	}
	*r = clean;
	r->next = w->free_reqs;
	w->free_reqs = r;
	w->n_free_reqs++;
}

/* `w` is NULL where this is not the worker's thread. */
static void req_unref(struct worker *w, struct http_req *r)
{
	struct conn *c = r->conn;
	const bool deferred = r->word != 0;
	if (atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1)
		return;
	if (r->done)
		r->done(r->state);
	if (r->response)
		MHD_destroy_response(r->response);
	if (w)
		req_recycle(w, r);
	else
		req_free(r);
	if (deferred)
		conn_unref(c);
}

const struct http_req_data *http_req_data(const struct http_req *r)
{
	return &r->data;
}

void http_req_set_state(struct http_req *r, void *state, void (*done)(void *state))
{
	r->state = state;
	r->done = done;
}

void *http_req_state(const struct http_req *r)
{
	return r->state;
}

/* ---- answers ------------------------------------------------------------------------------- */

/* libmicrohttpd copies headers; a body is copied unless it has an owner. Any thread. */
static struct MHD_Response *make_response(const struct http_reply *a)
{
	void *bytes = (void *)(uintptr_t)a->body.p;
	struct MHD_Response *m;
	if (a->owner && a->release && a->body.len > 0)
		m = MHD_create_response_from_buffer_with_free_callback_cls(a->body.len, bytes,
			(MHD_ContentReaderFreeCallback)(void (*)(void))a->release,
			(void *)(uintptr_t)a->owner);
	else
		m = MHD_create_response_from_buffer(a->body.len, a->body.len > 0 ? bytes : NULL,
			a->body.len > 0 ? MHD_RESPMEM_MUST_COPY : MHD_RESPMEM_PERSISTENT);
	if (!m)
		abort(); /* out of memory: as everywhere */
	if (a->owner && a->release && a->body.len == 0)
		a->release(a->owner);
	if (a->content_type)
		MHD_add_response_header(m, MHD_HTTP_HEADER_CONTENT_TYPE, a->content_type);
	for (size_t i = 0; i < a->n_headers; i++)
		MHD_add_response_header(m, a->headers[i].name, a->headers[i].value);
	return m;
}

static void attach(struct http_req *r, const struct http_reply *a)
{
	r->response = make_response(a);
	r->status = a->status;
	r->reply_len = a->body.len;
	r->close |= a->close;
}

void http_reply(struct http_req *r, const struct http_reply *a)
{
	if (!r->in_handler || r->response || r->step == R_DEFERRED) {
		MICA_LOG(MICA_ERROR, "http_reply_misused", MICA_I("status", a->status));
		return;
	}
	attach(r, a);
}

/* An answer of this file's own (RFC 9457). */
static void problem(struct http_req *r, int status, const char *reason, const char *text, bool end)
{
	const struct http_header headers[] = {{"Retry-After", "1"}};
	MICA_AUTO_BUF body;

	mica_buf_init(&body, 1024);
	mica_buf_printf(&body,
		"{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%d,\"reason\":\"%s\","
		"\"detail\":",
		MHD_get_reason_phrase_for((unsigned)status), status, reason);
	mica_buf_put_json_string(&body, mica_slice_str(text));
	mica_buf_put_u8(&body, '}');
	attach(r,
		&(struct http_reply){.status = status,
			.content_type = "application/problem+json",
			.headers = headers,
			.n_headers = status == 503 ? 1 : 0,
			.body = mica_buf_slice(&body),
			.close = end});
}

/* Hands the attached answer to libmicrohttpd; from here on the peer's reading has a deadline. */
static enum MHD_Result send_reply(struct http_req *r, int64_t now_ms)
{
	struct conn *c = r->conn;
	struct worker *w = c->worker;
	struct MHD_Response *m = MICA_STEAL(r->response);
	enum MHD_Result ok;
	if (r->close || atomic_load_explicit(&w->server->draining, memory_order_relaxed))
		MHD_add_response_header(m, MHD_HTTP_HEADER_CONNECTION, "close");
	conn_deadline(c,
		now_ms + w->server->o.request_timeout_ms +
			(int64_t)(r->reply_len / SLOWEST_BPS) * 1000);
	conn_phase(c, P_WRITING);
	count(&w->bytes_out, r->reply_len);
	if (r->data.method == HTTP_POST) /* HEAD has no body, whatever its length */
		tls_conn_answer(c, r->reply_len);
	ok = MHD_queue_response(c->mhd, (unsigned)r->status, m);
	MHD_destroy_response(m);
	return ok;
}

/* ---- deferred requests --------------------------------------------------------------------- */

static __thread struct {
	unsigned depth;
	struct http_req *first;
} held;

void http_defer(struct http_req *r)
{
	struct conn *c = r->conn;
	if (!r->in_handler || r->response || r->step == R_DEFERRED) {
		MICA_LOG(MICA_ERROR, "http_defer_misused", MICA_I("status", r->status));
		return;
	}
	r->step = R_DEFERRED;
	atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
	count(&c->worker->deferred, 1);
	MHD_suspend_connection(c->mhd);
	conn_deadline(c, r->data.deadline_ms);
	conn_phase(c, P_DEFERRED);
	r->word = atomic_load_explicit(&c->word, memory_order_relaxed);
}

void http_defer_long(struct http_req *r)
{
	r->data.deadline_ms = INT64_MAX;
	http_defer(r);
}

/* The connection is suspended until its worker handles it, and the worker is there as long as
 * anything is suspended or `finishing` says that somebody is in here. */
static void wake(struct http_req *r)
{
	struct http_server *s = r->conn->worker->server;
	struct MHD_Connection *mhd = r->conn->mhd;
	atomic_fetch_add(&s->finishing, 1);
	MHD_resume_connection(mhd);
	atomic_fetch_sub(&s->finishing, 1);
}

void http_finish(struct http_req *r, const struct http_reply *a)
{
	struct MHD_Response *m = make_response(a);
	struct conn *c = r->conn;
	uint64_t word = r->word, to = (word >> PHASE_BITS << PHASE_BITS) | P_FINISHED;
	struct MHD_Response *unsent = m;
	/* The worker reads what follows only when it finds FINISHED. */
	r->late.response = m;
	r->late.status = a->status;
	r->late.len = a->body.len;
	r->late.close = a->close;
	if (!atomic_compare_exchange_strong(&c->word, &word, to)) {
		MHD_destroy_response(unsent);
		req_unref(NULL, r);
		return;
	}
	/* Ours first: until it is resumed, the connection's own reference keeps it. */
	atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel);
	if (held.depth > 0) {
		r->next = held.first;
		held.first = r;
		return;
	}
	wake(r);
}

void http_finish_begin(void)
{
	held.depth++;
}

/* One of each worker's is resumed from here, and it resumes the others, on its own thread. */
void http_finish_end(void)
{
	if (held.depth == 0 || --held.depth > 0)
		return;
	while (held.first) {
		struct http_req *r = held.first, **at = &r->next, *mine = NULL;
		held.first = NULL;
		for (struct http_req *next, *o = r->next; o; o = next) {
			next = o->next;
			if (o->conn->worker == r->conn->worker) {
				o->next = mine;
				mine = o;
			} else {
				o->next = held.first;
				held.first = o;
			}
		}
		*at = mine;
		wake(r);
	}
}

static void resume_others(struct http_req *r)
{
	struct http_req *o = MICA_STEAL(r->next);
	while (o) {
		struct http_req *next = MICA_STEAL(o->next);
		MHD_resume_connection(o->conn->mhd);
		o = next;
	}
}

/* On the worker, after it was resumed. */
static enum MHD_Result request_resumed(struct http_req *r)
{
	struct conn *c = r->conn;
	enum phase p = PHASE_OF(atomic_load_explicit(&c->word, memory_order_acquire));
	resume_others(r);
	count(&c->worker->resumed, 1);
	r->step = R_READY;
	if (p == P_FINISHED) {
		r->response = r->late.response;
		r->status = r->late.status;
		r->reply_len = r->late.len;
		r->close |= r->late.close;
		r->late.response = NULL;
	} else {
		atomic_fetch_add_explicit(&c->worker->server->timeouts, 1, memory_order_relaxed);
		problem(r, 503, "deadline_exceeded", "no answer in time: try again", false);
	}
	return send_reply(r, mica_mono_ms());
}

/* ---- from the first line to the handler ---------------------------------------------------- */

/* The request line is there. The target is copied: libmicrohttpd splits the query in place. */
void *req_line(void *ctx, const char *uri, struct MHD_Connection *mhd)
{
	struct conn *c = conn_of(mhd);
	struct http_req *r = req_new(c->worker);
	const size_t len = uri ? strlen(uri) : 0;
	(void)ctx;
	r->conn = c;
	atomic_init(&r->refs, 1);
	if (len > r->target_room) {
		r->target_room = len;
		r->target = mica_realloc(r->target, len, 1);
	}
	if (len > 0)
		memcpy(r->target, uri, len);
	r->target_len = len;
	c->handshaken = true;
	if (PHASE_OF(atomic_load_explicit(&c->word, memory_order_relaxed)) == P_IDLE)
		conn_begin_request(c, mica_mono_ms());
	count(&c->worker->begun, 1);
	return r;
}

struct fields {
	struct guard_field list[GUARD_MAX_FIELDS + 1];
	size_t n;
};

static enum MHD_Result take_field(void *ctx, enum MHD_ValueKind kind, const char *name,
	size_t name_len, const char *value, size_t value_len)
{
	struct fields *f = ctx;
	(void)kind;
	if (f->n == MICA_ARRAY_LEN(f->list))
		return MHD_NO;
	f->list[f->n].name = mica_slice(name, name_len);
	f->list[f->n++].value = mica_slice(value, value_len);
	return MHD_YES;
}

static const struct guard_refusal *guard(struct http_req *r, const char *method, const char *url,
	const char *version, struct guard_request *q)
{
	struct fields f;
	struct guard_input in = {.method = mica_slice_str(method),
		.version = mica_slice_str(version),
		.target = mica_slice(r->target, r->target_len),
		.fields = f.list,
		.target_at = (const uint8_t *)url};
	f.n = 0;
	MHD_get_connection_values_n(r->conn->mhd, MHD_HEADER_KIND, take_field, &f);
	in.n_fields = f.n;
	if (r->conn->worker->server->layout_known)
		in.block = mica_slice(method,
			MHD_get_connection_info(
				r->conn->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE)
				->header_size);
	return guard_check(&in, q);
}

static void fill_data(struct http_req *r, const struct guard_request *q, int64_t now_ms)
{
	struct conn *c = r->conn;
	r->length = q->length;
	r->has_body = q->chunked || q->length > 0;
	r->data = (struct http_req_data){.method = q->method,
		.path = q->path,
		.query = q->query,
		.authorization = q->authorization,
		.content_type = q->content_type,
		.if_none_match = q->if_none_match,
		.if_match = q->if_match,
		.accept = q->accept,
		.peer = &c->peer,
		.client_chain = c->chain,
		.n_client_chain = c->n_chain,
		.received_ms = mica_now_ms(),
		.deadline_ms = now_ms + c->worker->server->o.deferred_timeout_ms};
}

/* Between these the handlers of the server may run; a stop waits until none does any more. */
static bool enter(struct worker *w)
{
	atomic_store(&w->in_handler, true);
	return !atomic_load(&w->server->stopping);
}

static void leave(struct worker *w)
{
	atomic_store_explicit(&w->in_handler, false, memory_order_release);
}

static void run_admit(struct http_req *r)
{
	struct worker *w = r->conn->worker;
	const struct http_options *o = &w->server->o;
	bool ok = true;
	if (!enter(w)) {
		problem(r, 503, "shutting_down", "the server is stopping: try again", true);
	} else if (o->admit) {
		r->in_handler = true;
		ok = o->admit(o->ctx, r);
		r->in_handler = false;
	}
	leave(w);
	if (!ok && !r->response)
		problem(r, 500, "internal", "refused without an answer", true);
}

static void run_handler(struct http_req *r)
{
	struct worker *w = r->conn->worker;
	const struct http_options *o = &w->server->o;
	if (!enter(w)) {
		problem(r, 503, "shutting_down", "the server is stopping: try again", true);
	} else {
		r->in_handler = true;
		o->handler(o->ctx, r);
		r->in_handler = false;
	}
	leave(w);
}

/* Whether the body behind a refusal is read, and dropped, so that the connection lives on: a new
 * one would cost us more than all refusals that it brings. Not when it is not there yet, or may be
 * long. */
static bool reads_on(const struct http_req *r, const struct guard_request *q)
{
	return !r->close && !q->chunked && !q->expects &&
		r->length <= r->conn->worker->server->o.max_body;
}

/* The headers are there. An answer that is given here waits for the next call, behind the body; or
 * it is given at once and the connection ends. */
static enum MHD_Result request_begin(
	struct http_req *r, const char *method, const char *url, const char *version)
{
	struct conn *c = r->conn;
	struct worker *w = c->worker;
	const int64_t now = mica_mono_ms();
	struct guard_request q;
	const struct guard_refusal *no = guard(r, method, url, version, &q);
	count(&w->requests, 1);
	r->step = R_BODY;
	r->now_ms = now;
	if (no) {
		count(&w->guard_refused, 1);
		problem(r, no->status, no->reason, no->text, true);
		return send_reply(r, now);
	}
	if (w->server->o.want_client_cert && !tls_conn_chain(c)) {
		count(&w->guard_refused, 1);
		problem(r, 400, "client_chain_too_long", "expected at most 10 certificates", true);
		return send_reply(r, now);
	}
	fill_data(r, &q, now);
	run_admit(r);
	if (!r->response && r->length > w->server->o.max_body)
		problem(r, 413, "body_too_long", "the body is above the limit", true);
	if (r->response && r->has_body && !reads_on(r, &q)) {
		r->close = true;
		return send_reply(r, now);
	}
	return MHD_YES;
}

/* A piece of the body, into our own buffer. What is too long is read on for a while, so that the
 * answer can be sent at its end: libmicrohttpd takes none in between. */
static enum MHD_Result request_body(struct http_req *r, const char *data, size_t len)
{
	const size_t max = r->conn->worker->server->o.max_body;
	r->received += len;
	if (r->received > max) {
		r->too_large = true;
		return r->received > 2 * max + 65536 ? MHD_NO : MHD_YES;
	}
	if (r->response) /* it is refused already */
		return MHD_YES;
	if (r->received > r->body_room) {
		size_t room = r->length > 0 ? (size_t)r->length : 2 * (size_t)r->received;
		r->body_room = room < 1024 ? 1024 : room > max ? max : room;
		r->body_room = r->body_room < r->received ? (size_t)r->received : r->body_room;
		r->body = mica_realloc(r->body, r->body_room, 1);
	}
	memcpy(r->body + r->data.body.len, data, len);
	r->data.body = mica_slice(r->body, (size_t)r->received);
	return MHD_YES;
}

static enum MHD_Result request_complete(struct http_req *r)
{
	if (r->too_large)
		problem(r, 413, "body_too_long", "the body is above the limit", true);
	if (!r->response)
		run_handler(r);
	if (r->step == R_DEFERRED)
		return MHD_YES;
	if (!r->response)
		problem(r, 500, "internal", "no answer was made", true);
	return send_reply(r, r->now_ms);
}

enum MHD_Result req_handle(void *ctx, struct MHD_Connection *mhd, const char *url,
	const char *method, const char *version, const char *data, size_t *len, void **request)
{
	struct http_req *r = *request;
	enum MHD_Result ok;
	(void)ctx, (void)mhd;
	switch (r->step) {
	case R_NEW: return request_begin(r, method, url, version);
	case R_BODY:
		if (*len == 0)
			return request_complete(r);
		ok = request_body(r, data, *len);
		*len = 0;
		return ok;
	case R_DEFERRED: return request_resumed(r);
	case R_READY: break;
	}
	return MHD_NO;
}

/* Answered, or the peer is gone, or the server stops. */
void req_completed(
	void *ctx, struct MHD_Connection *mhd, void **request, enum MHD_RequestTerminationCode code)
{
	struct http_req *r = MICA_STEAL(*request);
	struct conn *c;
	(void)ctx, (void)mhd, (void)code;
	if (!r)
		return;
	c = r->conn;
	resume_others(r);
	if (r->step == R_DEFERRED)
		count(&c->worker->resumed, 1);
	if (PHASE_OF(atomic_load(&c->word)) == P_FINISHED && r->late.response)
		MHD_destroy_response(MICA_STEAL(r->late.response));
	count(&c->worker->over, 1);
	conn_idle(c);
	req_unref(c->worker, r);
}
