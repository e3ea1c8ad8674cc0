/* SPDX-License-Identifier: Apache-2.0 */
/* Real servers on loopback, with clients that behave and clients that do not. */
#define _GNU_SOURCE /* strcasestr */
#include "http_app.h"

#include <errno.h>
#include <grp.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <sys/stat.h>

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
	/* without a body the connection goes on, and behind one that is here; else it ends */
	assert_int_equal(client_ask(&c, GET("/a"), &r), 429);
	assert_int_equal(client_ask(&c, GET("/b"), &r), 429);
	assert_int_equal(
		client_ask(&c, "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nGET ", &r),
		429);
	assert_null(strcasestr(r.head, "\r\nConnection: close\r\n"));
	assert_int_equal(client_ask(&c, GET("/b"), &r), 429);
	assert_int_equal(client_ask(&c,
				 "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 4096\r\n"
				 "Expect: 100-continue\r\n\r\n",
				 &r),
		429);
	assert_non_null(strcasestr(r.head, "\r\nConnection: close\r\n"));
	assert_true(client_ended(&c));
	client_close(&c);
	client_open(&c, http_server_address(a.server));
	assert_int_equal(client_ask(&c,
				 "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
				 "4\r\nGET \r\n0\r\n\r\n",
				 &r),
		429);
	assert_true(client_ended(&c));
	client_close(&c);
	assert_int_equal(atomic_load(&a.admitted), 6);
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

/* ":8443", the default of https.listen, is "::" here. */
static void all_addresses_are_ipv4_too(void **state)
{
	static char all[] = "::";
	const struct mica_listen listen = {.host = all};
	struct app a;
	struct http_options o = options(&a);
	char four[32], six[32];
	const char *port;
	int fds[6];
	(void)state;
	o.listen = &listen;
	o.max_per_address = 4;
	app_start(&a, &o);
	port = strrchr(http_server_address(a.server), ':');
	snprintf(four, sizeof(four), "127.0.0.1%s", port);
	snprintf(six, sizeof(six), "[::1]%s", port);
	assert_int_equal(served(NULL, six, fds, 1), 1);
	hang_up(fds, 1);
	/* each IPv4 address counts by itself */
	assert_int_equal(served("127.0.0.2", four, fds, 6), 4);
	assert_int_equal(served("127.0.0.3", four, fds + 4, 1), 1);
	hang_up(fds, 5);
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

/* Whether a process of user 65533, in `group` alone, may connect. Only root can be others. */
static bool may_connect(const char *sock, gid_t group)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	pid_t child = fork();
	int status = 0;

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", sock);
	if (child == 0) {
		int fd = socket(AF_UNIX, SOCK_STREAM, 0);
		if (setgroups(0, NULL) != 0 || setgid(group) != 0 || setuid(65533) != 0)
			_exit(2);
		_exit(connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0 ? 0
				: errno == EACCES                        ? 1
									 : 2);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_in_range(WEXITSTATUS(status), 0, 1);
	return WEXITSTATUS(status) == 0;
}

static void both_groups_reach_the_socket(void **state)
{
	char path[] = "/tmp/mica-http-XXXXXX", sock[64];
	static const struct {
		int64_t one, other;
		bool may[4]; /* groups 7001 to 7004 */
	} cases[] = {{-1, -1, {false}}, {7002, -1, {false, true}}, {-1, 7003, {false, false, true}},
		{7003, 7002, {false, true, true}}, {7001, 7004, {true, false, false, true}},
		{7001, 7001, {true}}};
	(void)state;
	if (geteuid() != 0)
		skip();
	assert_non_null(mkdtemp(path));
	assert_int_equal(chmod(path, 0755), 0);
	snprintf(sock, sizeof(sock), "%s/s", path);
	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++) {
		struct app a;
		struct http_options o = options(&a);
		o.listen = NULL;
		o.unix_path = sock;
		o.unix_gid = cases[i].one;
		o.unix_gid2 = cases[i].other;
		o.threads = 1;
		app_start(&a, &o);
		for (gid_t g = 0; g < 4; g++)
			if (may_connect(sock, 7001 + g) != cases[i].may[g])
				fail_msg("case %zu: group %u", i, 7001 + g);
		app_stop(&a);
	}
	rmdir(path);
}

/* As in a sandbox: who may not change the group of the socket opens it by an access list. */
static void a_sandboxed_server_admits_its_group(void **state)
{
	char path[] = "/tmp/mica-http-XXXXXX", sock[64];
	pid_t child;
	int ready[2], end[2];
	char byte;
	(void)state;
	if (geteuid() != 0)
		skip();
	assert_non_null(mkdtemp(path));
	assert_int_equal(chmod(path, 0777), 0);
	snprintf(sock, sizeof(sock), "%s/s", path);
	assert_int_equal(pipe(ready) | pipe(end), 0);
	child = fork();
	if (child == 0) {
		struct app a;
		struct http_options o = options(&a);
		o.listen = NULL;
		o.unix_path = sock;
		o.unix_gid = 7001;
		o.threads = 1;
		if (setgroups(0, NULL) != 0 || setgid(65534) != 0 || setuid(65534) != 0)
			_exit(2);
		close(end[1]);
		app_start(&a, &o);
		_exit(write(ready[1], "r", 1) == 1 && read(end[0], &byte, 1) == 0 ? 0 : 1);
	}
	close(ready[1]);
	close(end[0]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_true(may_connect(sock, 7001));
	assert_false(may_connect(sock, 7002));
	close(end[1]);
	waitpid(child, NULL, 0);
	close(ready[0]);
	unlink(sock);
	rmdir(path);
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
		cmocka_unit_test(a_stop_answers_what_is_deferred),
		cmocka_unit_test(a_drain_lets_answers_out),
		cmocka_unit_test(a_peer_that_left_leaks_nothing),
		cmocka_unit_test(connections_are_counted),
		cmocka_unit_test(ipv6_is_counted_by_64),
		cmocka_unit_test(all_addresses_are_ipv4_too),
		cmocka_unit_test(addresses_that_cannot_be),
		cmocka_unit_test(a_unix_socket_tells_who_calls),
		cmocka_unit_test(both_groups_reach_the_socket),
		cmocka_unit_test(a_sandboxed_server_admits_its_group),
	};
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
