/* SPDX-License-Identifier: Apache-2.0 */
/* The deadlines of the HTTP server, against clients that drip. */
#define _GNU_SOURCE /* strcasestr */
#include "http_app.h"

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

/* A backup takes as long as it takes; the end of the server is the end of it, too. */
static void long_work_has_no_deadline(void **state)
{
	struct app a;
	struct http_options o = options(&a);
	struct client c;
	struct answer r;
	struct http_stats s;
	(void)state;
	start_hasty(&a, &o);
	client_open(&c, http_server_address(a.server));
	assert_true(client_say(&c, GET("/work")));
	await(&a, 1);
	usleep(1500000); /* longer than any limit of this server */
	finish_in_a_thread(&a);
	assert_true(client_answer(&c, &r, false));
	assert_int_equal(r.status, 201);
	http_server_stats(a.server, &s);
	assert_int_equal(s.timeouts, 0);
	client_close(&c);
	app_stop(&a);
}

/* Owners that finish at the very time at which the sweeper does: each request is answered once,
 * by one of them, and each connection goes on. */
static void a_finish_may_meet_the_deadline(void **state)
{
	enum { N = 60, ROUNDS = 8 };
	struct app a;
	struct http_options o = options(&a);
	struct client *c = mica_calloc(N, sizeof(*c));
	unsigned in_time = 0, late = 0;
	(void)state;
	o.deferred_timeout_ms = 60;
	app_start(&a, &o);
	for (unsigned i = 0; i < N; i++)
		client_open(&c[i], http_server_address(a.server));
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < N; i++)
			assert_true(client_say(&c[i], GET("/defer")));
		await(&a, N);
		usleep(40000 + round * 6000);
		finish_in_a_thread(&a);
		for (unsigned i = 0; i < N; i++) {
			struct answer r;
			assert_true(client_answer(&c[i], &r, false));
			in_time += r.status == 201;
			late += r.status == 503;
		}
	}
	assert_int_equal(in_time + late, N * ROUNDS);
	assert_true(late > 0);
	for (unsigned i = 0; i < N; i++)
		client_close(&c[i]);
	mica_free(c);
	app_stop(&a);
	assert_int_equal(atomic_load(&a.states_done), N * ROUNDS);
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
		ssize_t n = poll(&p, 1, 5000) == 1 /* until we are cut */
			? send(c.fd, b.p + at, b.len - at, MSG_NOSIGNAL | MSG_DONTWAIT)
			: -1;
		if (n < 0)
			break;
		at = (at + (size_t)n) % b.len;
	}
	for (unsigned i = 0; i < 1500; i++) { /* a busy machine takes its time */
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_slow_request_is_cut),
		cmocka_unit_test(a_slow_first_line_is_cut),
		cmocka_unit_test(a_slow_handshake_is_cut),
		cmocka_unit_test(idle_connections_live_their_time),
		cmocka_unit_test(a_deferred_request_has_a_deadline),
		cmocka_unit_test(long_work_has_no_deadline),
		cmocka_unit_test(a_finish_may_meet_the_deadline),
		cmocka_unit_test(a_peer_that_reads_nothing_is_cut),
	};
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
