/* SPDX-License-Identifier: Apache-2.0 */
/* A small application on the HTTP server, for its tests. */
#ifndef TEST_HTTP_APP_H
#define TEST_HTTP_APP_H

#include "http_peer.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#define GET(path)       "GET " path " HTTP/1.1\r\nHost: h\r\n\r\n"
#define GET_CLOSE(path) "GET " path " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"

/* ---- a small application ------------------------------------------------------------------- */

struct app {
	pthread_mutex_t lock;
	struct http_req *deferred[4096];
	unsigned n_deferred;
	atomic_uint states_done, released, admitted;
	int refuse_status; /* of admit; 0 = lets all pass */
	struct http_server *server;
};

static inline void state_done(void *state)
{
	struct app *a = state;
	atomic_fetch_add(&a->states_done, 1);
}

static inline void shared_release(const void *owner)
{
	struct app *a = (struct app *)(uintptr_t)owner;
	atomic_fetch_add(&a->released, 1);
}

static inline void reply_text(struct http_req *r, int status, const char *text)
{
	http_reply(r,
		&(struct http_reply){.status = status,
			.content_type = "text/plain",
			.body = mica_slice_str(text)});
}

static inline void answer_echo(struct http_req *r)
{
	const struct http_req_data *d = http_req_data(r);
	const struct http_header h[] = {{"X-One", "1"}};
	MICA_AUTO_BUF b;
	mica_buf_init(&b, 1 << 20);
	mica_buf_printf(&b, "%d|%.*s|%.*s|%.*s|%.*s|%s|%d|%lld|%zu|", (int)d->method,
		MICA_FMT(d->path), MICA_FMT(d->query), MICA_FMT(d->authorization),
		MICA_FMT(d->content_type), d->peer->address, d->peer->local,
		(long long)d->peer->uid, d->n_client_chain);
	mica_buf_put_slice(&b, d->body);
	http_reply(r,
		&(struct http_reply){.status = 200,
			.content_type = "text/plain",
			.headers = h,
			.n_headers = 1,
			.body = mica_buf_slice(&b)});
}

/* The names of the client's certificate, as this server sees it. */
static inline void answer_who(struct http_req *r)
{
	const struct http_req_data *d = http_req_data(r);
	char cn[64] = "nobody";
	if (d->n_client_chain > 0) {
		const unsigned char *p = d->client_chain[0].p;
		X509 *x = d2i_X509(NULL, &p, (long)d->client_chain[0].len);
		X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, cn, sizeof(cn));
		X509_free(x);
	}
	reply_text(r, 200, cn);
}

static inline void handle(void *ctx, struct http_req *r)
{
	struct app *a = ctx;
	const struct http_req_data *d = http_req_data(r);
	http_req_set_state(r, a, state_done);
	if (mica_slice_eq_str(d->path, "/defer") || mica_slice_eq_str(d->path, "/work")) {
		if (mica_slice_eq_str(d->path, "/work"))
			http_defer_long(r);
		else
			http_defer(r);
		pthread_mutex_lock(&a->lock);
		a->deferred[a->n_deferred++] = r;
		pthread_mutex_unlock(&a->lock);
	} else if (mica_slice_eq_str(d->path, "/shared")) {
		http_reply(r,
			&(struct http_reply){.status = 200,
				.content_type = "text/plain",
				.body = MICA_LIT("shared"),
				.owner = a,
				.release = shared_release});
	} else if (mica_slice_eq_str(d->path, "/who")) {
		answer_who(r);
	} else if (mica_slice_eq_str(d->path, "/unchanged")) {
		http_reply(r, &(struct http_reply){.status = 304});
	} else if (mica_slice_eq_str(d->path, "/forgotten")) {
		return;
	} else {
		answer_echo(r);
	}
}

static inline bool admit(void *ctx, struct http_req *r)
{
	struct app *a = ctx;
	atomic_fetch_add(&a->admitted, 1);
	assert_int_equal(http_req_data(r)->body.len, 0);
	if (a->refuse_status == 0)
		return true;
	reply_text(r, a->refuse_status, "refused");
	return false;
}

static inline unsigned waiting(struct app *a)
{
	unsigned n;
	pthread_mutex_lock(&a->lock);
	n = a->n_deferred;
	pthread_mutex_unlock(&a->lock);
	return n;
}

static inline void await(struct app *a, unsigned n)
{
	const int64_t until = mica_mono_ms() + 20000;
	while (waiting(a) < n && mica_mono_ms() < until)
		usleep(1000);
	assert_int_equal(waiting(a), n);
}

static char local_host[] = "127.0.0.1";
static const struct mica_listen loopback = {.host = local_host};

static inline struct http_options options(struct app *a)
{
	struct http_options o = {.name = "test",
		.listen = &loopback,
		.unix_gid = -1,
		.unix_gid2 = -1,
		.threads = 2,
		.max_connections = 3000,
		.max_body = 4096,
		.idle_timeout_ms = 10000,
		.request_timeout_ms = 5000,
		.deferred_timeout_ms = 10000,
		.handler = handle,
		.ctx = a};
	memset(a, 0, sizeof(*a));
	pthread_mutex_init(&a->lock, NULL);
	return o;
}

static inline void app_start(struct app *a, const struct http_options *o)
{
	assert_ok(http_server_new(o, &a->server, e));
}

static inline void app_stop(struct app *a)
{
	http_server_stop(a->server, 2000);
	pthread_mutex_destroy(&a->lock);
}

static inline void *finish_all(void *ctx)
{
	struct app *a = ctx;
	http_finish_begin();
	for (unsigned i = 0; i < a->n_deferred; i++)
		http_finish(a->deferred[i],
			&(struct http_reply){.status = 201,
				.content_type = "text/plain",
				.body = MICA_LIT("later")});
	http_finish_end();
	return NULL;
}

static inline void finish_in_a_thread(struct app *a)
{
	pthread_t t;
	pthread_create(&t, NULL, finish_all, a);
	pthread_join(t, NULL);
	a->n_deferred = 0;
}

#endif
