/* SPDX-License-Identifier: Apache-2.0 */
/* Real servers on loopback, with clients that behave and clients that do not. */
#define _GNU_SOURCE /* strcasestr, memmem */
#include "http_peer.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>

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

static void state_done(void *state)
{
	struct app *a = state;
	atomic_fetch_add(&a->states_done, 1);
}

static void shared_release(const void *owner)
{
	struct app *a = (struct app *)(uintptr_t)owner;
	atomic_fetch_add(&a->released, 1);
}

static void reply_text(struct http_req *r, int status, const char *text)
{
	http_reply(r,
		&(struct http_reply){.status = status,
			.content_type = "text/plain",
			.body = mica_slice_str(text)});
}

static void answer_echo(struct http_req *r)
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
static void answer_who(struct http_req *r)
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

static void handle(void *ctx, struct http_req *r)
{
	struct app *a = ctx;
	const struct http_req_data *d = http_req_data(r);
	http_req_set_state(r, a, state_done);
	if (mica_slice_eq_str(d->path, "/defer")) {
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

static bool admit(void *ctx, struct http_req *r)
{
	struct app *a = ctx;
	atomic_fetch_add(&a->admitted, 1);
	assert_int_equal(http_req_data(r)->body.len, 0);
	if (a->refuse_status == 0)
		return true;
	reply_text(r, a->refuse_status, "refused");
	return false;
}

static unsigned waiting(struct app *a)
{
	unsigned n;
	pthread_mutex_lock(&a->lock);
	n = a->n_deferred;
	pthread_mutex_unlock(&a->lock);
	return n;
}

static void await(struct app *a, unsigned n)
{
	const int64_t until = mica_mono_ms() + 20000;
	while (waiting(a) < n && mica_mono_ms() < until)
		usleep(1000);
	assert_int_equal(waiting(a), n);
}

static char local_host[] = "127.0.0.1";
static const struct mica_listen loopback = {.host = local_host};

static struct http_options options(struct app *a)
{
	struct http_options o = {.name = "test",
		.listen = &loopback,
		.unix_gid = -1,
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

static void app_start(struct app *a, const struct http_options *o)
{
	assert_ok(http_server_new(o, &a->server, e));
}

static void app_stop(struct app *a)
{
	http_server_stop(a->server, 2000);
	pthread_mutex_destroy(&a->lock);
}

/* ---- plain --------------------------------------------------------------------------------- */

static void a_request_reaches_the_handler_as_it_came(void **state)
{
	struct app a;
	struct http_options o = options(&a);
	struct client c;
	struct answer r;
	(void)state;
	app_start(&a, &o);
	client_open(&c, http_server_address(a.server));
	assert_int_equal(client_ask(&c,
				 "POST /v1/x%41?a=b&c=%2F+d&e HTTP/1.1\r\nHost: h\r\n"
				 "Authorization: Bearer t \r\nContent-Type: application/json\r\n"
				 "Content-Length: 5\r\n\r\nhello",
				 &r),
		200);
	assert_string_equal(
		r.body, "2|/v1/x%41|a=b&c=%2F+d&e|Bearer t|application/json|127.0.0.1|0|0|0|hello");
	assert_non_null(strstr(r.head, "\r\nX-One: 1\r\n"));
	/* on the same connection: chunked, HEAD, nothing */
	assert_int_equal(client_ask(&c,
				 "PUT /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
				 "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
				 &r),
		200);
	assert_string_equal(r.body, "3|/c||||127.0.0.1|0|0|0|abcde");
	assert_true(client_say(&c, "HEAD /h HTTP/1.1\r\nHost: h\r\n\r\n"));
	assert_true(client_answer(&c, &r, true));
	assert_int_equal(r.status, 200);
	assert_int_equal(length_in(r.head), strlen("1|/h||||127.0.0.1|0|0|0|"));
	assert_int_equal(client_ask(&c, GET("/unchanged"), &r), 304);
	assert_int_equal(client_ask(&c, GET("/shared"), &r), 200);
	assert_string_equal(r.body, "shared");
	assert_int_equal(client_ask(&c, GET("/forgotten"), &r), 500);
	assert_true(client_ended(&c));
	assert_int_equal(atomic_load(&a.released), 1);
	client_close(&c);
	app_stop(&a);
	assert_int_equal(atomic_load(&a.states_done), 6);
}

static void *finish_all(void *ctx)
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

static void finish_in_a_thread(struct app *a)
{
	pthread_t t;
	pthread_create(&t, NULL, finish_all, a);
	pthread_join(t, NULL);
	a->n_deferred = 0;
}

static void an_answer_comes_later_from_another_thread(void **state)
{
	struct app a;
	struct http_options o = options(&a);
	struct client c;
	struct answer r;
	struct http_stats s;
	(void)state;
	app_start(&a, &o);
	client_open(&c, http_server_address(a.server));
	for (unsigned i = 0; i < 3; i++) {
		assert_true(client_say(&c, GET("/defer")));
		await(&a, 1);
		http_server_stats(a.server, &s);
		assert_int_equal(s.deferred_now, 1);
		finish_in_a_thread(&a);
		assert_true(client_answer(&c, &r, false));
		assert_int_equal(r.status, 201);
		assert_string_equal(r.body, "later");
	}
	client_close(&c);
	app_stop(&a);
	assert_int_equal(atomic_load(&a.states_done), 3);
}

static void a_thousand_wait_at_once(void **state)
{
	enum { N = 1000 };
	struct app a;
	struct http_options o = options(&a);
	int fds[N];
	(void)state;
	app_start(&a, &o);
	for (unsigned i = 0; i < N; i++) {
		fds[i] = dial_from(NULL, http_server_address(a.server));
		assert_true(fds[i] >= 0);
		assert_true(send(fds[i], GET("/defer"), strlen(GET("/defer")), 0) > 0);
	}
	await(&a, N);
	finish_in_a_thread(&a);
	for (unsigned i = 0; i < N; i++) {
		char in[512] = "";
		assert_true(recv(fds[i], in, sizeof(in) - 1, 0) > 0);
		assert_memory_equal(in, "HTTP/1.1 201", 12);
		close(fds[i]);
	}
	app_stop(&a);
	assert_int_equal(atomic_load(&a.states_done), N);
}

static void a_refusal_before_the_body(void **state)
{
	struct app a;
	struct http_options o = options(&a);
	struct client c;
	struct answer r;
	(void)state;
	o.admit = admit;
	app_start(&a, &o);
	a.refuse_status = 429;
	client_open(&c, http_server_address(a.server));
	/* without a body the connection goes on; with one it ends, and nothing of it was read */
	assert_int_equal(client_ask(&c, GET("/a"), &r), 429);
	assert_int_equal(client_ask(&c, GET("/b"), &r), 429);
	assert_int_equal(client_ask(&c,
				 "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 4096\r\n"
				 "Expect: 100-continue\r\n\r\n",
				 &r),
		429);
	assert_true(client_ended(&c));
	client_close(&c);
	assert_int_equal(atomic_load(&a.admitted), 3);
	app_stop(&a);
	assert_int_equal(atomic_load(&a.states_done), 0);
}

/* ---- bodies, pipelines, sizes -------------------------------------------------------------- */

static void a_body_is_whole_or_refused(void **state)
{
	struct app a;
	struct http_options o = options(&a);
	struct client c;
	struct answer r;
	char *big = mica_alloc(200000);
	(void)state;
	memset(big, 'x', 199999);
	app_start(&a, &o);
	/* in pieces, and as long as it may be */
	client_open(&c, http_server_address(a.server));
	assert_true(client_say(&c,
		"POST /b HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4096\r\n\r\n"));
	assert_true(client_answer(&c, &r, false));
	assert_int_equal(r.status, 100);
	for (unsigned i = 0; i < 4; i++) {
		usleep(2000);
		assert_true(client_send(&c, big, 1024));
	}
	assert_true(client_answer(&c, &r, false));
	assert_int_equal(r.status, 200);
	assert_int_equal(r.body_len, strlen("2|/b||||127.0.0.1|0|0|0|") + 4096);
	/* one byte more, said before: refused before it is read */
	assert_int_equal(
		client_ask(&c, "POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 4097\r\n\r\n", &r),
		413);
	assert_non_null(strstr(r.head, "application/problem+json"));
	assert_non_null(strstr(r.body, "\"reason\":\"body_too_long\""));
	assert_true(client_ended(&c));
	client_close(&c);
	/* one byte more, not said before */
	client_open(&c, http_server_address(a.server));
	assert_true(client_say(
		&c, "POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1001\r\n"));
	assert_true(client_send(&c, big, 4097));
	assert_int_equal(client_ask(&c, "\r\n0\r\n\r\n", &r), 413);
	assert_true(client_ended(&c));
	client_close(&c);
	/* and far more: cut */
	client_open(&c, http_server_address(a.server));
	assert_true(client_say(
		&c, "POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n30d3f\r\n"));
	client_send(&c, big, 199999);
	assert_true(client_ended(&c));
	client_close(&c);
	mica_free(big);
	app_stop(&a);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
	static const char two[] = "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc" GET(
		"/defer") "POST /3 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nde";
	struct app a;
	struct http_options o = options(&a);
	struct client c;
	struct answer r;
	(void)state;
	app_start(&a, &o);
	client_open(&c, http_server_address(a.server));
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(client_ask(&c, two, &r), 200);
		assert_string_equal(r.body, "2|/1||||127.0.0.1|0|0|0|abc");
		await(&a, 1);
		finish_in_a_thread(&a);
		assert_true(client_answer(&c, &r, false));
		assert_int_equal(r.status, 201);
		assert_true(client_answer(&c, &r, false));
		assert_string_equal(r.body, "2|/3||||127.0.0.1|0|0|0|de");
	}
	client_close(&c);
	app_stop(&a);
}

/* The verdicts are in test_guard.c; here: they are asked, answered, and nothing behind is read. */
static void the_guard_ends_a_connection(void **state)
{
	static const struct {
		const char *raw;
		int status; /* 0 = cut or refused by the library with any 4xx */
	} bad[] = {
		{"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: "
		 "chunked\r\n\r\n0\r\n\r\n" GET("/smuggled"),
			400},
		{"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n" GET(
			 "/smuggled"),
			400},
		{"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length : 3\r\n\r\n" GET("/smuggled"), 400},
		{"GET /x HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n" GET("/smuggled"), 400},
		{"GET /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n 0\r\n\r\n" GET("/smuggled"),
			400},
		{"GET /x HTTP/1.1\nHost: h\n\n" GET("/smuggled"), 400},
		{"GET /x HTTP/1.1\r\nHost: h\r\nX: a\nY: b\r\n\r\n" GET("/smuggled"), 400},
		{"GET /x HTTP/1.1\r\nHost: h\r\nX: a\rY: b\r\n\r\n" GET("/smuggled"), 400},
		{"GET /a%00b HTTP/1.1\r\nHost: h\r\n\r\n" GET("/smuggled"), 400},
		{"GET /a/../b HTTP/1.1\r\nHost: h\r\n\r\n" GET("/smuggled"), 400},
		{"GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n" GET("/smuggled"), 400},
		{"GET / HTTP/1.2\r\nHost: h\r\n\r\n" GET("/smuggled"), 505},
		{"GET / HTTP/1.0\r\nHost: h\r\n\r\n" GET("/smuggled"), 505},
		{"GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n" GET("/smuggled"), 400},
		{"GET / HTTP/1.1\r\n\r\n" GET("/smuggled"), 400},
		{"GET /a b HTTP/1.1\r\nHost: h\r\n\r\n" GET("/smuggled"), 400},
		{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
	};
	struct app a;
	struct http_options o = options(&a);
	struct http_stats s;
	(void)state;
	app_start(&a, &o);
	for (size_t i = 0; i < MICA_ARRAY_LEN(bad); i++) {
		struct client c;
		struct answer r;
		client_open(&c, http_server_address(a.server));
		assert_int_equal(client_ask(&c, bad[i].raw, &r), bad[i].status);
		assert_non_null(strcasestr(r.head, "\r\nConnection: close\r\n"));
		if (!client_ended(&c))
			fail_msg("case %zu: the connection goes on: %s", i, c.in);
		client_close(&c);
	}
	http_server_stats(a.server, &s);
	assert_int_equal(s.guard_refused, MICA_ARRAY_LEN(bad) - 1); /* HTTP/2: by the library */
	app_stop(&a);
	assert_int_equal(atomic_load(&a.states_done), 0);
}

/* What is long but allowed passes, with other lines than the usual ones. */
static void the_guard_lets_real_requests_pass(void **state)
{
	struct app a;
	struct http_options o = options(&a);
	struct client c;
	struct answer r;
	MICA_AUTO_BUF b;
	(void)state;
	mica_buf_init(&b, 1 << 20);
	mica_buf_put_str(&b, "\r\nGET /long?q=");
	for (unsigned i = 0; i < 3000; i++)
		mica_buf_put_u8(&b, 'q');
	mica_buf_put_str(&b,
		" HTTP/1.1\r\nhost:h\r\nCookie: a=b; c=d; $e=\"f\"\r\nX:\t \r\nAuthorization:Bearer ");
	for (unsigned i = 0; i < 3000; i++)
		mica_buf_put_u8(&b, 't');
	for (unsigned i = 0; i < 50; i++)
		mica_buf_printf(&b, "\r\nX-%u:   some value ", i);
	mica_buf_put_str(&b, "\r\n\r\n");
	app_start(&a, &o);
	client_open(&c, http_server_address(a.server));
	for (unsigned i = 0; i < 3; i++) {
		assert_true(client_send(&c, b.p, b.len));
		assert_true(client_answer(&c, &r, false));
		assert_int_equal(r.status, 200);
	}
	/* byte by byte */
	for (size_t i = 0; i < 400; i++)
		assert_true(client_send(&c, b.p + i, 1));
	assert_true(client_send(&c, b.p + 400, b.len - 400));
	assert_true(client_answer(&c, &r, false));
	assert_int_equal(r.status, 200);
	client_close(&c);
	app_stop(&a);
}

/* ---- time ---------------------------------------------------------------------------------- */

/* Sends `piece` every 50 ms until the connection is ended; how long that took. */
static int64_t drip(struct client *c, const char *piece)
{
	const int64_t since = mica_mono_ms();
	while (mica_mono_ms() - since < 15000) {
		struct pollfd p = {.fd = c->fd, .events = POLLIN};
		if (poll(&p, 1, 50) == 1) {
			assert_true(client_ended(c));
			return mica_mono_ms() - since;
		}
		client_say(c, piece);
	}
	return 15000;
}

static void start_hasty(struct app *a, struct http_options *o)
{
	o->idle_timeout_ms = 1000;
	o->request_timeout_ms = 600;
	o->deferred_timeout_ms = 400;
	app_start(a, o);
}

static void a_slow_request_is_cut(void **state)
{
	static const char *const begin[] = {"GET / HTTP/1.1\r\nX: ",
		"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4000\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n"};
	struct app a;
	struct http_options o = options(&a);
	struct identity id;
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	struct http_stats s;
	(void)state;
	identity_init(&id, "server");
	for (unsigned tls = 0; tls < 2; tls++) {
		o = options(&a);
		o.tls = tls ? id.serving : NULL;
		start_hasty(&a, &o);
		for (size_t i = 0; i < MICA_ARRAY_LEN(begin); i++) {
			struct client c;
			int64_t ms;
			if (tls)
				assert_true(client_open_tls(
					&c, http_server_address(a.server), ctx, NULL));
			else
				client_open(&c, http_server_address(a.server));
			assert_true(client_say(&c, begin[i]));
			ms = drip(&c, "a");
			assert_in_range(ms, 400, 1500);
			client_close(&c);
		}
		http_server_stats(a.server, &s);
		assert_int_equal(s.timeouts, MICA_ARRAY_LEN(begin));
		app_stop(&a);
	}
	identity_clear(&id);
	SSL_CTX_free(ctx);
}

/* The first line alone: under TLS its first byte is seen, in plain only its end. */
static void a_slow_first_line_is_cut(void **state)
{
	struct app a;
	struct http_options o = options(&a);
	struct identity id;
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	struct client c;
	(void)state;
	identity_init(&id, "server");
	start_hasty(&a, &o);
	client_open(&c, http_server_address(a.server));
	assert_in_range(drip(&c, "G"), 1400, 2500);
	client_close(&c);
	app_stop(&a);
	o = options(&a);
	o.tls = id.serving;
	start_hasty(&a, &o);
	assert_true(client_open_tls(&c, http_server_address(a.server), ctx, NULL));
	usleep(500000);
	assert_in_range(drip(&c, "G"), 400, 1500);
	client_close(&c);
	app_stop(&a);
	identity_clear(&id);
	SSL_CTX_free(ctx);
}

static void a_slow_handshake_is_cut(void **state)
{
	/* the head of a record with a ClientHello of 200 bytes */
	static const char hello[] = "\x16\x03\x01\x00\xc8\x01\x01\x01\xc4\x03\x03";
	struct app a;
	struct http_options o = options(&a);
	struct identity id;
	struct client c;
	struct http_stats s;
	(void)state;
	identity_init(&id, "server");
	o.tls = id.serving;
	start_hasty(&a, &o);
	client_open(&c, http_server_address(a.server));
	assert_true(client_send(&c, hello, 5));
	assert_in_range(drip(&c, "\1"), 400, 1500);
	client_close(&c);
	client_open(&c, http_server_address(a.server));
	assert_in_range(drip(&c, ""), 400, 1500);
	client_close(&c);
	for (unsigned i = 0; i < 500; i++) {
		http_server_stats(a.server, &s);
		if (s.connections_now == 0)
			break;
		usleep(10000);
	}
	assert_int_equal(s.timeouts, 2);
	assert_int_equal(s.tls_failed, 2);
	app_stop(&a);
	identity_clear(&id);
}

static void idle_connections_live_their_time(void **state)
{
	struct app a;
	struct http_options o = options(&a);
	struct identity id;
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	struct client c;
	struct answer r;
	(void)state;
	identity_init(&id, "server");
	o.tls = id.serving;
	o.idle_timeout_ms = 3000;
	o.request_timeout_ms = 300;
	app_start(&a, &o);
	assert_true(client_open_tls(&c, http_server_address(a.server), ctx, NULL));
	/* longer than a request may take, before the first and between two */
	usleep(900000);
	assert_int_equal(client_ask(&c, GET("/a"), &r), 200);
	usleep(900000);
	assert_int_equal(client_ask(&c, GET("/a"), &r), 200);
	assert_in_range(drip(&c, ""), 2500, 6000);
	client_close(&c);
	app_stop(&a);
	identity_clear(&id);
	SSL_CTX_free(ctx);
}

/* Nobody finishes: 503 in time, the connection lives on; and who comes too late harms nobody. */
static void a_deferred_request_has_a_deadline(void **state)
{
	struct app a;
	struct http_options o = options(&a);
	struct client c;
	struct answer r;
	struct http_stats s;
	(void)state;
	start_hasty(&a, &o);
	client_open(&c, http_server_address(a.server));
	assert_int_equal(client_ask(&c, GET("/defer"), &r), 503);
	assert_non_null(strstr(r.head, "\r\nRetry-After: 1\r\n"));
	assert_non_null(strstr(r.body, "\"reason\":\"deadline_exceeded\""));
	assert_true(client_say(&c, GET("/defer")));
	await(&a, 2);
	assert_int_equal(atomic_load(&a.states_done), 0); /* its owner still has it */
	/* the late one first: it must not be taken for the second */
	finish_in_a_thread(&a);
	assert_true(client_answer(&c, &r, false));
	assert_int_equal(r.status, 201);
	assert_int_equal(client_ask(&c, GET("/a"), &r), 200);
	http_server_stats(a.server, &s);
	assert_int_equal(s.timeouts, 1);
	assert_int_equal(s.deferred_now, 0);
	client_close(&c);
	app_stop(&a);
	assert_int_equal(atomic_load(&a.states_done), 3);
}

static void a_peer_that_reads_nothing_is_cut(void **state)
{
	struct app a;
	struct http_options o = options(&a);
	struct client c;
	struct http_stats s;
	const int small = 4096;
	MICA_AUTO_BUF b;
	(void)state;
	o.max_body = 65536;
	o.request_timeout_ms = 600;
	app_start(&a, &o);
	client_open(&c, http_server_address(a.server));
	setsockopt(c.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	mica_buf_init(&b, 1 << 20);
	mica_buf_put_str(&b, "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 4000\r\n\r\n");
	memset(mica_buf_room(&b, 4000), 'x', 4000);
	mica_buf_added(&b, 4000);
	/* answers pile up, until nothing more is read of us */
	for (size_t at = 0, total = 0; total < 200000000; total++) {
		struct pollfd p = {.fd = c.fd, .events = POLLOUT};
		ssize_t n = poll(&p, 1, 200) == 1
			? send(c.fd, b.p + at, b.len - at, MSG_NOSIGNAL | MSG_DONTWAIT)
			: -1;
		if (n < 0)
			break;
		at = (at + (size_t)n) % b.len;
	}
	for (unsigned i = 0; i < 300; i++) {
		http_server_stats(a.server, &s);
		if (s.connections_now == 0)
			break;
		usleep(10000);
	}
	assert_int_equal(s.connections_now, 0);
	assert_int_equal(s.timeouts, 1);
	assert_int_equal(s.guard_refused, 0);
	client_close(&c);
	app_stop(&a);
}

/* ---- ends ---------------------------------------------------------------------------------- */

static void *stop_soon(void *ctx)
{
	struct app *a = ctx;
	http_server_stop(a->server, 300);
	return NULL;
}

/* A stop answers what waits, does not panic, and a finish that comes later only cleans up. */
static void a_stop_answers_what_is_deferred(void **state)
{
	enum { N = 50 };
	struct app a;
	struct http_options o = options(&a);
	struct client *c = mica_calloc(N, sizeof(*c));
	struct answer r;
	pthread_t t;
	(void)state;
	app_start(&a, &o);
	for (unsigned i = 0; i < N; i++) {
		client_open(&c[i], http_server_address(a.server));
		assert_true(client_say(&c[i], GET("/defer")));
	}
	await(&a, N);
	pthread_create(&t, NULL, stop_soon, &a);
	for (unsigned i = 0; i < N; i++) {
		assert_true(client_answer(&c[i], &r, false));
		assert_int_equal(r.status, 503);
		assert_non_null(strcasestr(r.head, "\r\nConnection: close\r\n"));
		client_close(&c[i]);
	}
	pthread_join(t, NULL);
	assert_int_equal(atomic_load(&a.states_done), 0);
	finish_in_a_thread(&a);
	assert_int_equal(atomic_load(&a.states_done), N);
	mica_free(c);
	pthread_mutex_destroy(&a.lock);
}

/* Drained: what is under way is answered and ends its connection; nobody new gets in. */
static void a_drain_lets_answers_out(void **state)
{
	struct app a;
	struct http_options o = options(&a);
	struct client c, idle;
	struct answer r;
	char address[64];
	pthread_t t;
	(void)state;
	app_start(&a, &o);
	snprintf(address, sizeof(address), "%s", http_server_address(a.server));
	client_open(&c, address);
	client_open(&idle, address);
	assert_int_equal(client_ask(&idle, GET("/a"), &r), 200);
	assert_true(client_say(&c, GET("/defer")));
	await(&a, 1);
	http_server_drain(a.server);
	assert_int_equal(dial_from(NULL, address), -1);
	pthread_create(&t, NULL, finish_all, &a);
	assert_true(client_answer(&c, &r, false));
	assert_int_equal(r.status, 201);
	assert_non_null(strcasestr(r.head, "\r\nConnection: close\r\n"));
	assert_true(client_ended(&c));
	pthread_join(t, NULL);
	assert_int_equal(client_ask(&idle, GET("/a"), &r), 200);
	assert_true(client_ended(&idle));
	client_close(&c);
	client_close(&idle);
	app_stop(&a);
}

static void a_peer_that_left_leaks_nothing(void **state)
{
	enum { N = 100 };
	struct app a;
	struct http_options o = options(&a);
	struct http_stats s;
	(void)state;
	app_start(&a, &o);
	for (unsigned i = 0; i < N; i++) {
		struct linger hard = {1, 0};
		int fd = dial_from(NULL, http_server_address(a.server));
		assert_true(send(fd, GET("/defer"), strlen(GET("/defer")), 0) > 0);
		await(&a, i + 1);
		if (i % 2)
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
		close(fd);
	}
	finish_in_a_thread(&a);
	for (unsigned i = 0; i < 500; i++) {
		http_server_stats(a.server, &s);
		if (s.connections_now == 0)
			break;
		usleep(10000);
	}
	assert_int_equal(s.connections_now, 0);
	assert_int_equal(s.deferred_now, 0);
	assert_int_equal(atomic_load(&a.states_done), N);
	app_stop(&a);
}

/* ---- numbers of connections ---------------------------------------------------------------- */

/* How many of `n` connections from `from` are served. */
static unsigned served(const char *from, const char *address, int *fds, unsigned n)
{
	unsigned ok = 0;
	for (unsigned i = 0; i < n; i++) {
		char in[256];
		fds[i] = dial_from(from, address);
		if (fds[i] >= 0 && send(fds[i], GET("/a"), strlen(GET("/a")), MSG_NOSIGNAL) > 0)
			ok += recv(fds[i], in, sizeof(in), 0) > 0;
	}
	return ok;
}

static void hang_up(int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

static void connections_are_counted(void **state)
{
	struct app a;
	struct http_options o = options(&a);
	struct http_stats s;
	int one[20], two[20], three[20];
	(void)state;
	o.max_connections = 25;
	o.max_per_address = 10;
	app_start(&a, &o);
	assert_int_equal(served("127.0.0.2", http_server_address(a.server), one, 20), 10);
	assert_int_equal(served("127.0.0.3", http_server_address(a.server), two, 20), 10);
	assert_int_equal(served("127.0.0.4", http_server_address(a.server), three, 20), 5);
	http_server_stats(a.server, &s);
	assert_int_equal(s.connections_now, 25);
	assert_int_equal(s.refused_connections, 35);
	/* who leaves makes room */
	hang_up(one, 20);
	for (unsigned i = 0; i < 500 && s.connections_now > 15; i++) {
		usleep(10000);
		http_server_stats(a.server, &s);
	}
	assert_int_equal(served("127.0.0.2", http_server_address(a.server), one, 20), 10);
	hang_up(one, 20);
	hang_up(two, 20);
	hang_up(three, 20);
	app_stop(&a);
}

static void ipv6_is_counted_by_64(void **state)
{
	static char six[] = "::1";
	const struct mica_listen listen = {.host = six};
	struct app a;
	struct http_options o = options(&a);
	int fds[6];
	(void)state;
	o.listen = &listen;
	o.max_per_address = 4;
	app_start(&a, &o);
	assert_memory_equal(http_server_address(a.server), "[::1]:", 6);
	assert_int_equal(served(NULL, http_server_address(a.server), fds, 6), 4);
	hang_up(fds, 6);
	app_stop(&a);
}

static void addresses_that_cannot_be(void **state)
{
	static char no[] = "localhost", other[] = "192.0.2.1";
	struct mica_listen listen = {.host = no};
	struct app a, b;
	struct http_options o = options(&a), second = options(&b);
	struct http_server *s;
	(void)state;
	second.listen = &listen;
	assert_refused(MICA_INVALID, "listen_address", http_server_new(&second, &s, e));
	listen.host = other;
	assert_refused(MICA_INVALID, "listen_address", http_server_new(&second, &s, e));
	app_start(&a, &o);
	listen.host = local_host;
	listen.port = (uint16_t)strtoul(strrchr(http_server_address(a.server), ':') + 1, NULL, 10);
	assert_refused(MICA_CONFLICT, "address_in_use", http_server_new(&second, &s, e));
	app_stop(&a);
	/* the port of a server that ended is free at once */
	app_start(&b, &second);
	app_stop(&b);
}

/* ---- Unix ---------------------------------------------------------------------------------- */

static void a_unix_socket_tells_who_calls(void **state)
{
	char path[] = "/tmp/mica-http-XXXXXX", sock[64], want[128];
	struct app a;
	struct http_options o = options(&a);
	struct client c;
	struct answer r;
	struct stat st;
	mode_t before;
	(void)state;
	assert_non_null(mkdtemp(path));
	snprintf(sock, sizeof(sock), "%s/s", path);
	o.listen = NULL;
	o.unix_path = sock;
	o.unix_gid = getgid();
	o.threads = 1;
	before = umask(0);
	app_start(&a, &o);
	umask(before);
	assert_int_equal(stat(sock, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0660);
	assert_int_equal(st.st_gid, getgid());
	assert_string_equal(http_server_address(a.server), sock);
	client_open(&c, sock);
	assert_int_equal(client_ask(&c, GET("/u"), &r), 200);
	snprintf(want, sizeof(want), "0|/u|||||1|%d|0|", (int)getuid());
	assert_string_equal(r.body, want);
	{
		struct http_server *second;
		assert_refused(MICA_CONFLICT, "address_in_use", http_server_new(&o, &second, e));
	}
	client_close(&c);
	app_stop(&a);
	assert_int_not_equal(stat(sock, &st), 0);
	rmdir(path);
}

/* ---- TLS ----------------------------------------------------------------------------------- */

static void tls_serves_and_changes_its_key(void **state)
{
	struct app a;
	struct http_options o = options(&a);
	struct identity one, two;
	struct client c, d;
	struct answer r;
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	X509 *seen;
	(void)state;
	identity_init(&one, "one");
	identity_init(&two, "two");
	o.tls = one.serving;
	app_start(&a, &o);
	assert_true(client_open_tls(&c, http_server_address(a.server), ctx, NULL));
	assert_int_equal(client_ask(&c, GET("/t"), &r), 200);
	http_server_set_tls(a.server, two.serving);
	assert_true(client_open_tls(&d, http_server_address(a.server), ctx, NULL));
	seen = SSL_get1_peer_certificate(d.ssl);
	assert_int_equal(X509_cmp(seen, two.cert), 0);
	X509_free(seen);
	assert_int_equal(client_ask(&d, GET("/t"), &r), 200);
	assert_int_equal(client_ask(&c, GET("/t"), &r), 200);
	client_close(&c);
	client_close(&d);
	app_stop(&a);
	identity_clear(&one);
	identity_clear(&two);
	SSL_CTX_free(ctx);
}

/* ---- client certificates and resumption ----------------------------------------------------- */

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
	SSL_SESSION **slot = SSL_get_app_data(ssl);
	if (!slot)
		return 0;
	SSL_SESSION_free(*slot);
	*slot = session;
	return 1;
}

static SSL_CTX *client_ctx(const struct identity *id, int version)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_min_proto_version(ctx, version);
	SSL_CTX_set_max_proto_version(ctx, version);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(ctx, keep_session);
	if (id) {
		assert_int_equal(SSL_CTX_use_certificate(ctx, id->cert), 1);
		assert_int_equal(SSL_CTX_use_PrivateKey(ctx, id->key), 1);
	}
	return ctx;
}

/* Who the server says we are on a new connection; a session in *keep is resumed, a new one put
 * there. Several requests, since the chain is read once. */
static void who_am_i(
	const char *address, SSL_CTX *ctx, SSL_SESSION **keep, bool resumed, const char *want)
{
	struct client c;
	struct answer r;
	client_open(&c, address);
	c.ssl = SSL_new(ctx);
	SSL_set_fd(c.ssl, c.fd);
	SSL_set_app_data(c.ssl, keep);
	if (*keep)
		SSL_set_session(c.ssl, *keep);
	assert_int_equal(SSL_connect(c.ssl), 1);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(client_ask(&c, GET("/who"), &r), 200);
		assert_string_equal(r.body, want);
	}
	assert_int_equal(SSL_session_reused(c.ssl), resumed);
	client_close(&c);
}

static void a_client_is_who_its_key_says(void **state)
{
	static const int versions[] = {TLS1_3_VERSION, TLS1_2_VERSION};
	struct app a;
	struct http_options o = options(&a);
	struct identity server, alice, bob;
	const char *at;
	(void)state;
	identity_init(&server, "server");
	identity_init(&alice, "alice");
	identity_init(&bob, "bob");
	o.tls = server.serving;
	o.want_client_cert = true;
	app_start(&a, &o);
	at = http_server_address(a.server);
	for (size_t v = 0; v < MICA_ARRAY_LEN(versions); v++) {
		SSL_CTX *none = client_ctx(NULL, versions[v]),
			*as_alice = client_ctx(&alice, versions[v]),
			*as_bob = client_ctx(&bob, versions[v]);
		SSL_SESSION *of_none = NULL, *of_alice = NULL, *of_bob = NULL;
		who_am_i(at, none, &of_none, false, "nobody");
		who_am_i(at, as_alice, &of_alice, false, "alice");
		who_am_i(at, as_bob, &of_bob, false, "bob");
		assert_true(of_none && of_alice && of_bob);
		/* a resumed session is the one it was, whoever else came in between */
		for (unsigned i = 0; i < 3; i++) {
			who_am_i(at, as_alice, &of_alice, true, "alice");
			who_am_i(at, as_bob, &of_bob, true, "bob");
			who_am_i(at, none, &of_none, true, "nobody");
		}
		/* after the server's key changed too */
		http_server_set_tls(a.server, bob.serving);
		who_am_i(at, as_alice, &of_alice, true, "alice");
		http_server_set_tls(a.server, server.serving);
		SSL_SESSION_free(of_none);
		SSL_SESSION_free(of_alice);
		SSL_SESSION_free(of_bob);
		SSL_CTX_free(none);
		SSL_CTX_free(as_alice);
		SSL_CTX_free(as_bob);
	}
	app_stop(&a);
	identity_clear(&server);
	identity_clear(&alice);
	identity_clear(&bob);
}

/* A ticket of another process is no ticket here, and costs a full handshake, with the certificate.
 */
static void a_foreign_ticket_proves_nothing(void **state)
{
	struct app a, b;
	struct http_options o = options(&a), p = options(&b);
	struct identity server, alice;
	SSL_SESSION *session = NULL;
	SSL_CTX *ctx, *none;
	(void)state;
	identity_init(&server, "server");
	identity_init(&alice, "alice");
	ctx = client_ctx(&alice, TLS1_3_VERSION);
	none = client_ctx(NULL, TLS1_3_VERSION);
	o.tls = p.tls = server.serving;
	o.want_client_cert = p.want_client_cert = true;
	app_start(&a, &o);
	app_start(&b, &p);
	who_am_i(http_server_address(a.server), ctx, &session, false, "alice");
	who_am_i(http_server_address(b.server), none, &session, false, "nobody");
	SSL_SESSION_free(session);
	SSL_CTX_free(ctx);
	SSL_CTX_free(none);
	app_stop(&a);
	app_stop(&b);
	identity_clear(&server);
	identity_clear(&alice);
}

/* A chain of `n` certificates is what it is, or too long, or ends the handshake. */
static void chains_are_bounded(void **state)
{
	struct app a;
	struct http_options o = options(&a);
	struct identity server, alice;
	(void)state;
	identity_init(&server, "server");
	identity_init(&alice, "alice");
	o.tls = server.serving;
	o.want_client_cert = true;
	app_start(&a, &o);
	for (unsigned n = 1; n < 200; n = n * 2 + 1) {
		SSL_CTX *ctx = client_ctx(&alice, TLS1_3_VERSION);
		struct client c;
		struct answer r;
		for (unsigned i = 1; i < n; i++)
			SSL_CTX_add1_chain_cert(ctx, server.cert);
		memset(&r, 0, sizeof(r));
		if (client_open_tls(&c, http_server_address(a.server), ctx, NULL))
			client_ask(&c, GET("/who"), &r);
		if (n <= 10)
			assert_string_equal(r.body, "alice");
		else
			assert_true(r.status == 400 || r.status == 0);
		client_close(&c);
		SSL_CTX_free(ctx);
	}
	app_stop(&a);
	identity_clear(&server);
	identity_clear(&alice);
}

static void only_good_tls_is_spoken(void **state)
{
	struct app a;
	struct http_options o = options(&a);
	struct identity server;
	struct client c;
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	(void)state;
	identity_init(&server, "server");
	o.tls = server.serving;
	app_start(&a, &o);
	assert_true(client_open_tls(&c, http_server_address(a.server), ctx, NULL));
	assert_string_equal(SSL_get_version(c.ssl), "TLSv1.3");
	assert_int_equal(SSL_get_negotiated_group(c.ssl), NID_X25519);
	assert_string_equal(SSL_get_cipher(c.ssl), "TLS_AES_128_GCM_SHA256");
	client_close(&c);
	SSL_CTX_set_security_level(ctx, 0);
	SSL_CTX_set_min_proto_version(ctx, TLS1_VERSION);
	SSL_CTX_set_max_proto_version(ctx, TLS1_1_VERSION);
	assert_false(client_open_tls(&c, http_server_address(a.server), ctx, NULL));
	client_close(&c);
	SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_set_cipher_list(ctx, "AES128-SHA:AES128-GCM-SHA256:ECDHE-ECDSA-AES128-SHA");
	assert_false(client_open_tls(&c, http_server_address(a.server), ctx, NULL));
	client_close(&c);
	SSL_CTX_free(ctx);
	app_stop(&a);
	identity_clear(&server);
}

static void keys_that_do_not_fit_are_refused(void **state)
{
	struct identity one, two;
	struct http_tls_key *k;
	BIO *pem = BIO_new(BIO_s_mem());
	PKCS8_PRIV_KEY_INFO *p8;
	unsigned char *der = NULL;
	char *text;
	long len;
	int n;
	(void)state;
	identity_init(&one, "one");
	identity_init(&two, "two");
	PEM_write_bio_X509(pem, one.cert);
	len = BIO_get_mem_data(pem, &text);
	p8 = EVP_PKEY2PKCS8(two.key);
	n = i2d_PKCS8_PRIV_KEY_INFO(p8, &der);
	assert_refused(MICA_INVALID, "tls_key_invalid",
		http_tls_key_new(mica_slice(text, (size_t)len), mica_slice(der, (size_t)n), &k, e));
	assert_refused(MICA_INVALID, "tls_key_invalid",
		http_tls_key_new(mica_slice(text, (size_t)len), MICA_LIT("no key"), &k, e));
	assert_refused(MICA_INVALID, "tls_key_invalid",
		http_tls_key_new(MICA_LIT("no chain"), mica_slice(der, (size_t)n), &k, e));
	assert_refused(MICA_INVALID, "tls_key_invalid",
		http_tls_key_new(MICA_SLICE_NULL, mica_slice(der, (size_t)n), &k, e));
	PKCS8_PRIV_KEY_INFO_free(p8);
	OPENSSL_free(der);
	BIO_free(pem);
	identity_clear(&one);
	identity_clear(&two);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_reaches_the_handler_as_it_came),
		cmocka_unit_test(an_answer_comes_later_from_another_thread),
		cmocka_unit_test(a_thousand_wait_at_once),
		cmocka_unit_test(a_refusal_before_the_body),
		cmocka_unit_test(a_body_is_whole_or_refused),
		cmocka_unit_test(pipelined_requests_are_answered_in_order),
		cmocka_unit_test(the_guard_ends_a_connection),
		cmocka_unit_test(the_guard_lets_real_requests_pass),
		cmocka_unit_test(a_slow_request_is_cut),
		cmocka_unit_test(a_slow_first_line_is_cut),
		cmocka_unit_test(a_slow_handshake_is_cut),
		cmocka_unit_test(idle_connections_live_their_time),
		cmocka_unit_test(a_deferred_request_has_a_deadline),
		cmocka_unit_test(a_peer_that_reads_nothing_is_cut),
		cmocka_unit_test(a_stop_answers_what_is_deferred),
		cmocka_unit_test(a_drain_lets_answers_out),
		cmocka_unit_test(a_peer_that_left_leaks_nothing),
		cmocka_unit_test(connections_are_counted),
		cmocka_unit_test(ipv6_is_counted_by_64),
		cmocka_unit_test(addresses_that_cannot_be),
		cmocka_unit_test(a_unix_socket_tells_who_calls),
		cmocka_unit_test(tls_serves_and_changes_its_key),
		cmocka_unit_test(a_client_is_who_its_key_says),
		cmocka_unit_test(a_foreign_ticket_proves_nothing),
		cmocka_unit_test(chains_are_bounded),
		cmocka_unit_test(only_good_tls_is_spoken),
		cmocka_unit_test(keys_that_do_not_fit_are_refused),
	};
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
