/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP client against servers that answer well, slowly, too much, too little and wrongly. */
#include "peer.h"

#include "mica/http_client.h"

#include <openssl/err.h>

#define TOKEN "secret-token-0123456789"

static struct peer_ca ca, other_ca;
static char dir[] = "/tmp/mica-http-XXXXXX";

static const char *in_dir(const char *name)
{
	static char path[4][128];
	static unsigned n;
	char *p = path[n++ % 4];

	snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
	return p;
}

static void put_file(const char *path, struct mica_slice data)
{
	assert_int_equal(mica_file_write_atomic(path, data, 0600, NULL), MICA_OK);
}

struct got {
	mica_rc rc;
	struct mica_err e;
	struct mica_http_response r;
	int64_t ms;
};

static struct mica_http_request get_of(const char *url)
{
	return (struct mica_http_request){
		.method = "GET", .url = url, .bearer = TOKEN, .timeout_ms = 5000, .max_body = 1000};
}

static void ask(struct mica_http_client *c, const struct mica_http_request *r, struct got *g)
{
	int64_t start = mica_mono_ms();

	*g = (struct got){.rc = MICA_OK};
	g->rc = mica_http_do(c, r, &g->r, &g->e);
	g->ms = mica_mono_ms() - start;
	assert_null(strstr(g->e.text, TOKEN));
	assert_null(strstr(g->e.detail, TOKEN));
	assert_int_equal(g->rc, g->e.rc);
}

static struct mica_http_client *client_of(const struct mica_http_options *o)
{
	struct mica_http_client *c;
	assert_int_equal(mica_http_client_new(o, &c, NULL), MICA_OK);
	return c;
}

static struct mica_http_client *plain_client(void)
{
	return client_of(&(struct mica_http_options){.plain = true, .no_proxy_env = true});
}

static struct mica_http_client *tls_client(const struct peer_ca *trusted)
{
	return client_of(&(struct mica_http_options){
		.ca_pem = mica_buf_slice(&trusted->pem), .no_proxy_env = true});
}

/* One GET to a peer that answers by `answer`: the outcome. */
static void try_get(bool tls, peer_answer *answer, const void *ctx, struct got *g)
{
	MICA_AUTO_HTTP_CLIENT c = tls ? tls_client(&ca) : plain_client();
	struct mica_http_request r;
	struct peer p;
	char url[64];

	peer_start(&p, tls ? peer_tls(&ca, "IP:127.0.0.1") : NULL, answer, ctx);
	r = get_of(peer_url(&p, "/x?secret=1", url, sizeof(url)));
	ask(c, &r, g);
	assert_null(strstr(g->e.text, "secret=1"));
	peer_stop(&p);
}

static void expect_failure(
	bool tls, peer_answer *answer, const void *ctx, mica_rc rc, const char *reason)
{
	struct got g;

	try_get(tls, answer, ctx, &g);
	if (g.rc == MICA_OK)
		fail_msg("status %d for %s, expected %s", g.r.status, ctx ? (const char *)ctx : "",
			reason);
	if (strcmp(g.e.reason, reason) != 0)
		fail_msg("%s: %s, expected %s", g.e.reason, g.e.text, reason);
	assert_int_equal(g.rc, rc);
	assert_true(g.ms < 4000);
	mica_http_response_clear(&g.r);
}

/* ---- what comes through ---------------------------------------------------------------------- */

static bool say_ctx(struct peer_conn *c, const void *ctx)
{
	peer_say(c, ctx);
	return false;
}

static void answers_come_through(void **state)
{
	static const struct {
		const char *raw, *body, *type, *etag;
		int status, retry_after;
	} cases[] = {
		{"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nETag: \"a-1\"\r\n"
		 "Content-Length: 2\r\n\r\n{}",
			"{}", "application/json", "\"a-1\"", 200, 0},
		{"HTTP/1.1 304 Not Modified\r\nETag:\"b\"  \r\n\r\n", "", NULL, "\"b\"", 304, 0},
		{"HTTP/1.1 404 Not Found\r\nContent-Length: 1\r\n\r\nx", "x", NULL, NULL, 404, 0},
		{"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", "", NULL, NULL,
			503, 7},
		{"HTTP/1.1 503 Busy\r\nRetry-After: 99999999\r\nContent-Length: 0\r\n\r\n", "",
			NULL, NULL, 503, 86400},
		{"HTTP/1.1 429 Slow\r\nRetry-After: -3\r\nContent-Length: 0\r\n\r\n", "", NULL,
			NULL, 429, 0},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
			"abc", NULL, NULL, 200, 0},
		/* What a preliminary answer says is not the answer's. */
		{"HTTP/1.1 103 Early Hints\r\nETag: \"early\"\r\n\r\n"
		 "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
			"", NULL, NULL, 200, 0},
		/* Octets that could forge a line of a log are no content type. */
		{"HTTP/1.1 200 OK\r\nContent-Type: a\x1b[2Jb\r\nContent-Length: 0\r\n\r\n", "",
			NULL, NULL, 200, 0},
	};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++) {
		struct got g;
		try_get(i % 2 == 0, say_ctx, cases[i].raw, &g);
		if (g.rc != MICA_OK)
			fail_msg("case %zu: %s", i, g.e.text);
		assert_int_equal(g.r.status, cases[i].status);
		assert_int_equal(g.r.retry_after, cases[i].retry_after);
		assert_string_equal((const char *)g.r.body.p, cases[i].body);
		assert_string_equal(g.r.content_type ? g.r.content_type : "-",
			cases[i].type ? cases[i].type : "-");
		assert_string_equal(g.r.etag ? g.r.etag : "-", cases[i].etag ? cases[i].etag : "-");
		mica_http_response_clear(&g.r);
	}
}

static bool say_request(struct peer_conn *c, const void *ctx)
{
	(void)ctx;
	return peer_reply(c, "200 OK", NULL, c->request);
}

static void requests_say_what_they_should(void **state)
{
	MICA_AUTO_HTTP_CLIENT c = plain_client();
	struct mica_http_request r;
	struct got g;
	struct peer p;
	char url[64];
	const char *said;
	(void)state;
	peer_start(&p, NULL, say_request, NULL);
	r = get_of(peer_url(&p, "/a/../b?q=1", url, sizeof(url)));
	r.method = "POST";
	r.content_type = "application/json";
	r.accept = "text/plain";
	r.if_none_match = "\"e\"";
	r.body = MICA_LIT("{\"a\":1}");
	ask(c, &r, &g);
	said = (const char *)g.r.body.p;
	assert_true(strncmp(said, "POST /a/../b?q=1 HTTP/1.1\r\n", 27) == 0);
	assert_non_null(strstr(said, "\r\nAuthorization: Bearer " TOKEN "\r\n"));
	assert_non_null(strstr(said, "\r\nContent-Type: application/json\r\n"));
	assert_non_null(strstr(said, "\r\nAccept: text/plain\r\n"));
	assert_non_null(strstr(said, "\r\nIf-None-Match: \"e\"\r\n"));
	assert_non_null(strstr(said, "\r\nUser-Agent: mica/"));
	assert_null(strcasestr(said, "expect"));
	assert_null(strcasestr(said, "accept-encoding"));
	assert_non_null(strstr(said, "\r\n\r\n{\"a\":1}"));
	mica_http_response_clear(&g.r);
	/* Nothing of a request stays behind for the next one. */
	r = get_of(url);
	r.bearer = NULL;
	ask(c, &r, &g);
	said = (const char *)g.r.body.p;
	assert_true(strncmp(said, "GET ", 4) == 0);
	assert_null(strcasestr(said, "authorization"));
	assert_null(strcasestr(said, "content-"));
	assert_null(strcasestr(said, "if-none-match"));
	mica_http_response_clear(&g.r);
	r.method = "DELETE";
	r.body = MICA_LIT("{}");
	ask(c, &r, &g);
	assert_true(strncmp((const char *)g.r.body.p, "DELETE ", 7) == 0);
	assert_non_null(strstr((const char *)g.r.body.p, "\r\n\r\n{}"));
	mica_http_response_clear(&g.r);
	peer_stop(&p);
}

static void connections_are_kept(void **state)
{
	MICA_AUTO_HTTP_CLIENT c = tls_client(&ca);
	struct mica_http_request r;
	struct got g;
	struct peer p;
	char url[64];
	(void)state;
	peer_start(&p, peer_tls(&ca, "IP:127.0.0.1"), say_request, NULL);
	r = get_of(peer_url(&p, "/", url, sizeof(url)));
	for (unsigned i = 0; i < 5; i++) {
		ask(c, &r, &g);
		assert_int_equal(g.rc, MICA_OK);
		mica_http_response_clear(&g.r);
	}
	assert_int_equal(p.requests, 5);
	assert_int_equal(p.connections, 1);
	peer_stop(&p);
}

static bool reply_and_hang_up(struct peer_conn *c, const void *ctx)
{
	(void)ctx;
	peer_reply(c, "200 OK", NULL, "x");
	return false; /* without Connection: close */
}

static void a_connection_closed_meanwhile_is_replaced(void **state)
{
	MICA_AUTO_HTTP_CLIENT c = plain_client();
	struct mica_http_request r;
	struct got g;
	struct peer p;
	char url[64];
	(void)state;
	peer_start(&p, NULL, reply_and_hang_up, NULL);
	r = get_of(peer_url(&p, "/", url, sizeof(url)));
	r.method = "POST";
	r.body = MICA_LIT("body");
	for (unsigned i = 0; i < 5; i++) {
		ask(c, &r, &g);
		if (g.rc != MICA_OK)
			fail_msg("%s", g.e.text);
		mica_http_response_clear(&g.r);
	}
	peer_stop(&p);
}

/* ---- limits and lies ------------------------------------------------------------------------- */

static bool endless(struct peer_conn *c, const void *ctx)
{
	static const char chunk[] = "64\r\n"
				    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
				    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n";
	peer_say(c, ctx);
	while (!c->peer->stop && peer_say(c, chunk))
		continue;
	return false;
}

static bool announce_and_hang(struct peer_conn *c, const void *ctx)
{
	peer_say(c, ctx);
	peer_wait_gone(c, 8000);
	return false;
}

static bool endless_headers(struct peer_conn *c, const void *ctx)
{
	peer_say(c, ctx);
	while (!c->peer->stop && peer_say(c, "X-A: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\r\n"))
		continue;
	return false;
}

static bool endless_hints(struct peer_conn *c, const void *ctx)
{
	(void)ctx;
	while (!c->peer->stop && peer_say(c, "HTTP/1.1 103 Early Hints\r\n\r\n"))
		continue;
	return false;
}

static void too_much_is_cut_off(void **state)
{
	(void)state;
	expect_failure(true, endless, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
		MICA_LIMIT, "answer_too_long");
	expect_failure(false, endless, "HTTP/1.1 200 OK\r\n\r\n", MICA_LIMIT, "answer_too_long");
	/* What is announced is refused before it comes. */
	expect_failure(false, announce_and_hang, "HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n",
		MICA_LIMIT, "answer_too_long");
	expect_failure(false, announce_and_hang,
		"HTTP/1.1 200 OK\r\nContent-Length: 9999999999999\r\n\r\n", MICA_LIMIT,
		"answer_too_long");
	expect_failure(true, endless_headers, "HTTP/1.1 200 OK\r\n", MICA_LIMIT, "answer_too_long");
	expect_failure(false, endless_hints, NULL, MICA_LIMIT, "answer_too_long");
}

static void the_limit_itself_is_allowed(void **state)
{
	char raw[1200];
	struct got g;
	(void)state;
	snprintf(raw, sizeof(raw), "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n%01000d", 0);
	try_get(false, say_ctx, raw, &g);
	assert_int_equal(g.rc, MICA_OK);
	assert_int_equal(g.r.body.len, 1000);
	mica_http_response_clear(&g.r);
}

static bool reset_now(struct peer_conn *c, const void *ctx)
{
	if (ctx)
		peer_say(c, ctx);
	peer_reset(c);
	return false;
}

static void broken_answers_are_not_answers(void **state)
{
	static const char *const broken[] = {
		"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nonly", /* less than announced */
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nonly\r\n", /* no end */
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nonly\r\n",
		"HTTP/1.1 200 OK\r\nContent-Le", /* inside the headers */
		"SSH-2.0-OpenSSH_9.2\r\n", "", /* closed without a word */
	};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(broken); i++)
		for (unsigned tls = 0; tls < 2; tls++)
			expect_failure(tls, say_ctx, broken[i], MICA_UNAVAILABLE, "answer_broken");
	/* What ends with its connection might be cut by anybody on the way. */
	expect_failure(
		false, say_ctx, "HTTP/1.1 200 OK\r\n\r\n", MICA_UNAVAILABLE, "answer_broken");
	expect_failure(true, say_ctx, "HTTP/1.1 200 OK\r\n\r\nmight be more", MICA_UNAVAILABLE,
		"answer_broken");
	expect_failure(false, reset_now, NULL, MICA_UNAVAILABLE, "answer_broken");
	expect_failure(false, reset_now, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nonly",
		MICA_UNAVAILABLE, "answer_broken");
}

static bool drip(struct peer_conn *c, const void *ctx)
{
	(void)ctx;
	peer_say(c, "HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n");
	while (peer_say(c, ".") && !peer_wait_gone(c, 50))
		continue;
	return false;
}

static void timed_out(peer_answer *answer)
{
	MICA_AUTO_HTTP_CLIENT c = plain_client();
	struct mica_http_request r;
	struct got g;
	struct peer p;
	char url[64];

	peer_start(&p, NULL, answer, "");
	r = get_of(peer_url(&p, "/", url, sizeof(url)));
	r.timeout_ms = 400;
	ask(c, &r, &g);
	assert_int_equal(g.rc, MICA_UNAVAILABLE);
	assert_string_equal(g.e.reason, "timeout");
	assert_in_range(g.ms, 350, 2500);
	mica_http_response_clear(&g.r);
	peer_stop(&p);
}

static void the_whole_request_has_a_deadline(void **state)
{
	(void)state;
	timed_out(announce_and_hang);
	timed_out(drip); /* each octet in time, the whole not */
}

static bool after_three(void *ctx)
{
	unsigned *n = ctx;
	return ++*n >= 3;
}

static void requests_can_be_given_up(void **state)
{
	MICA_AUTO_HTTP_CLIENT c = plain_client();
	struct mica_http_request r;
	unsigned polled = 0;
	struct got g;
	struct peer p;
	char url[64];
	(void)state;
	peer_start(&p, NULL, announce_and_hang, "");
	r = get_of(peer_url(&p, "/", url, sizeof(url)));
	r.cancelled = after_three;
	r.ctx = &polled;
	ask(c, &r, &g);
	assert_int_equal(g.rc, MICA_UNAVAILABLE);
	assert_string_equal(g.e.reason, "cancelled");
	assert_true(g.ms < 2500); /* polled several times a second */
	mica_http_response_clear(&g.r);
	/* The client is good for another request. */
	p.answer = say_request;
	polled = 0;
	ask(c, &r, &g);
	assert_int_equal(g.rc, MICA_OK);
	mica_http_response_clear(&g.r);
	peer_stop(&p);
}

/* ---- where requests go ----------------------------------------------------------------------- */

static void redirects_are_answers(void **state)
{
	struct peer target;
	char raw[256];
	struct got g;
	(void)state;
	peer_start(&target, NULL, say_request, NULL);
	snprintf(raw, sizeof(raw),
		"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:%u/\r\nContent-Length: 0\r\n\r\n",
		target.port);
	try_get(false, say_ctx, raw, &g);
	assert_int_equal(g.rc, MICA_OK);
	assert_int_equal(g.r.status, 302);
	assert_int_equal(target.connections, 0);
	mica_http_response_clear(&g.r);
	peer_stop(&target);
}

static void the_environment_names_no_proxy(void **state)
{
	MICA_AUTO_HTTP_CLIENT deaf = plain_client();
	MICA_AUTO_HTTP_CLIENT open =
		client_of(&(struct mica_http_options){.plain = true, .no_proxy_env = false});
	struct mica_http_request r;
	struct peer p, proxy;
	char url[64], proxy_url[64];
	struct got g;
	(void)state;
	peer_start(&p, NULL, say_request, NULL);
	peer_start(&proxy, NULL, say_request, NULL);
	r = get_of(peer_url(&p, "/", url, sizeof(url)));
	setenv("http_proxy", peer_url(&proxy, "", proxy_url, sizeof(proxy_url)), 1);
	setenv("all_proxy", proxy_url, 1);
	ask(deaf, &r, &g);
	assert_int_equal(g.rc, MICA_OK);
	assert_int_equal(proxy.connections, 0);
	assert_int_equal(p.requests, 1);
	mica_http_response_clear(&g.r);
	ask(open, &r, &g); /* the control: whoever wants it has it */
	assert_int_equal(g.rc, MICA_OK);
	assert_int_equal(proxy.requests, 1);
	mica_http_response_clear(&g.r);
	unsetenv("http_proxy");
	unsetenv("all_proxy");
	peer_stop(&p);
	peer_stop(&proxy);
}

static void unix_sockets(void **state)
{
	MICA_AUTO_HTTP_CLIENT c =
		client_of(&(struct mica_http_options){.unix_socket = in_dir("sock")});
	struct mica_http_request r = get_of("http://micad/v1/status");
	struct mica_http_client *none;
	struct mica_err e = MICA_ERR_INIT;
	char path[200];
	struct got g;
	struct peer p;
	(void)state;
	ask(c, &r, &g);
	assert_string_equal(g.e.reason, "connect_failed");
	mica_http_response_clear(&g.r);
	peer_start_unix(&p, in_dir("sock"), say_request, NULL);
	ask(c, &r, &g);
	assert_int_equal(g.rc, MICA_OK);
	assert_non_null(strstr((const char *)g.r.body.p, "\r\nHost: micad\r\n"));
	mica_http_response_clear(&g.r);
	peer_stop(&p);
	memset(path, 'a', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(
		mica_http_client_new(&(struct mica_http_options){.unix_socket = path}, &none, &e),
		MICA_INVALID);
	assert_string_equal(e.reason, "bad_socket_path");
	assert_null(none);
}

static void nobody_there(void **state)
{
	MICA_AUTO_HTTP_CLIENT c = plain_client();
	struct mica_http_request r;
	struct got g;
	struct peer p;
	char url[64];
	(void)state;
	peer_start(&p, NULL, say_request, NULL);
	peer_stop(&p);
	r = get_of(peer_url(&p, "/", url, sizeof(url)));
	ask(c, &r, &g);
	assert_int_equal(g.rc, MICA_UNAVAILABLE);
	if (strcmp(g.e.reason, "connect_failed") != 0)
		fail_msg("%s: %s", g.e.reason, g.e.text);
	mica_http_response_clear(&g.r);
}

/* ---- TLS ------------------------------------------------------------------------------------- */

/* The outcome of one GET through `c` to a peer with `tls`, which is taken. */
static const char *tls_outcome(struct mica_http_client *c, SSL_CTX *tls)
{
	struct mica_http_request r;
	struct got g;
	struct peer p;
	char url[64];

	peer_start(&p, tls, say_request, NULL);
	snprintf(url, sizeof(url), "https://127.0.0.1:%u/", p.port);
	r = get_of(url);
	ask(c, &r, &g);
	assert_int_equal(p.requests, g.rc == MICA_OK ? 1 : 0);
	mica_http_response_clear(&g.r);
	peer_stop(&p);
	return g.rc == MICA_OK ? "ok" : g.e.reason;
}

static void only_the_right_server_is_spoken_to(void **state)
{
	MICA_AUTO_HTTP_CLIENT c = tls_client(&ca);
	MICA_AUTO_HTTP_CLIENT stranger = tls_client(&other_ca);
	MICA_AUTO_HTTP_CLIENT system = client_of(&(struct mica_http_options){.plain = false});
	SSL_CTX *old = peer_tls(&ca, "IP:127.0.0.1");
	(void)state;
	assert_string_equal(tls_outcome(c, peer_tls(&ca, "IP:127.0.0.1")), "ok");
	assert_string_equal(tls_outcome(stranger, peer_tls(&ca, "IP:127.0.0.1")), "tls_failed");
	assert_string_equal(tls_outcome(system, peer_tls(&ca, "IP:127.0.0.1")), "tls_failed");
	assert_string_equal(tls_outcome(c, peer_tls(&ca, "IP:127.0.0.2")), "tls_failed");
	assert_string_equal(tls_outcome(c, peer_tls(&ca, "DNS:127.0.0.1")), "tls_failed");
	assert_string_equal(tls_outcome(c, peer_tls(&ca, NULL)), "tls_failed");
	assert_string_equal(tls_outcome(c, NULL), "tls_failed"); /* does not speak TLS */
	/* Level 0 lets the test's side speak 1.1 at all. */
	SSL_CTX_set_security_level(old, 0);
	SSL_CTX_set_min_proto_version(old, TLS1_VERSION);
	SSL_CTX_set_max_proto_version(old, TLS1_1_VERSION);
	assert_string_equal(tls_outcome(c, old), "tls_failed");
	old = peer_tls(&ca, "IP:127.0.0.1");
	SSL_CTX_set_max_proto_version(old, TLS1_2_VERSION);
	assert_string_equal(tls_outcome(c, old), "ok");
}

static void the_ca_file_is_read_for_each_request(void **state)
{
	MICA_AUTO_HTTP_CLIENT c = client_of(
		&(struct mica_http_options){.ca_file = in_dir("ca.pem"), .no_proxy_env = true});
	struct mica_http_request r;
	struct peer p;
	char url[64];
	struct {
		struct mica_slice content;
		const char *reason; /* NULL = ok */
	} steps[] = {
		{mica_buf_slice(&ca.pem), NULL},
		{mica_buf_slice(&ca.pem), NULL},
		{mica_buf_slice(&other_ca.pem),
			"tls_failed"}, /* a kept connection counts no more */
		{mica_buf_slice(&ca.pem), NULL},
		{MICA_LIT("no certificate"), "ca_file_unusable"},
		{MICA_LIT(""), "ca_file_unusable"},
		{mica_buf_slice(&ca.pem), NULL},
	};
	(void)state;
	peer_start(&p, peer_tls(&ca, "IP:127.0.0.1"), say_request, NULL);
	r = get_of(peer_url(&p, "/", url, sizeof(url)));
	for (size_t i = 0; i < MICA_ARRAY_LEN(steps); i++) {
		struct got g;
		put_file(in_dir("ca.pem"), steps[i].content);
		ask(c, &r, &g);
		if (strcmp(g.e.reason ? g.e.reason : "ok",
			    steps[i].reason ? steps[i].reason : "ok"))
			fail_msg("step %zu: %s: %s", i, g.e.reason, g.e.text);
		mica_http_response_clear(&g.r);
	}
	unlink(in_dir("ca.pem"));
	{
		struct got g;
		ask(c, &r, &g);
		assert_string_equal(g.e.reason, "ca_file_unusable");
		mica_http_response_clear(&g.r);
	}
	peer_stop(&p);
}

static void client_certificates(void **state)
{
	MICA_AUTO_HTTP_CLIENT without = tls_client(&ca);
	MICA_AUTO_HTTP_CLIENT with =
		client_of(&(struct mica_http_options){.ca_pem = mica_buf_slice(&ca.pem),
			.cert_pem_file = in_dir("cert.pem"),
			.key_pem_file = in_dir("key.pem")});
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = peer_cert("client", "URI:spiffe://example.org/a", key, ca.cert, ca.key);
	FILE *f = fopen(in_dir("key.pem"), "w");
	MICA_AUTO_BUF pem;
	(void)state;
	PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
	fclose(f);
	mica_buf_init(&pem, 16384);
	peer_put_pem(&pem, x);
	put_file(in_dir("cert.pem"), mica_buf_slice(&pem));
	for (unsigned i = 0; i < 2; i++) {
		SSL_CTX *tls = peer_tls(&ca, "IP:127.0.0.1");
		SSL_CTX_set_verify(tls, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
		X509_STORE_add_cert(SSL_CTX_get_cert_store(tls), ca.cert);
		if (i == 0)
			assert_string_equal(tls_outcome(with, tls), "ok");
		else /* TLS 1.3 says so only behind the handshake */
			assert_string_not_equal(tls_outcome(without, tls), "ok");
	}
	X509_free(x);
	EVP_PKEY_free(key);
}

static bool hang_up_early(struct peer_conn *c, const void *ctx)
{
	return reset_now(c, ctx);
}

/* A process of default disposition survives the server that goes while a long body is sent. */
static void no_signal_from_a_broken_pipe(void **state)
{
	MICA_AUTO_HTTP_CLIENT c = tls_client(&ca);
	MICA_AUTO_FREE char *big = mica_alloc(8 << 20);
	struct mica_http_request r;
	sigset_t pending;
	struct got g;
	struct peer p;
	char url[64];
	(void)state;
	signal(SIGPIPE, SIG_DFL);
	peer_start(&p, peer_tls(&ca, "IP:127.0.0.1"), hang_up_early, NULL);
	r = get_of(peer_url(&p, "/", url, sizeof(url)));
	r.method = "POST";
	r.body = mica_slice(big, 8 << 20);
	for (unsigned i = 0; i < 8; i++) {
		ask(c, &r, &g);
		assert_int_equal(g.rc, MICA_UNAVAILABLE);
		mica_http_response_clear(&g.r);
	}
	sigpending(&pending);
	assert_int_equal(sigismember(&pending, SIGPIPE), 0);
	peer_stop(&p);
}

/* ---- what is not sent at all -------------------------------------------------------------------
 */

static void bad_urls(void **state)
{
	static const char *const bad[] = {"", "/path", "example.org", "ftp://example.org/",
		"file:///etc/passwd", "https://", "https:///x", "https:/example.org/",
		"https://user@example.org/", "https://user:pw@example.org/",
		"https://:pw@example.org/", "https://example.org/#f", "https://example.org:0/",
		"https://example.org:99999/", "https://example.org:port/", "https://a b/",
		"https://example.org/\r\nX: y", "https://ex\xc3\xa4mple.org/", "javascript:1",
		"https://[::1/", "http://example.org/" /* plain is not allowed */};
	MICA_AUTO_HTTP_CLIENT c = tls_client(&ca);
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(bad); i++) {
		struct mica_http_request r = get_of(bad[i]);
		struct got g;
		ask(c, &r, &g);
		if (g.rc != MICA_INVALID || strcmp(g.e.reason, "bad_url") != 0)
			fail_msg("%s: %s: %s", bad[i], g.e.reason, g.e.text);
		mica_http_response_clear(&g.r);
	}
}

static void parts_of_urls(void **state)
{
	static const struct {
		const char *url, *host;
		bool https;
		unsigned port;
	} cases[] = {
		{"https://example.org", "example.org", true, 443},
		{"HTTPS://EXAMPLE.org:443/x", "example.org", true, 443},
		{"http://10.0.0.1:6443/openid/v1/jwks?x=y", "10.0.0.1", false, 6443},
		{"https://[2001:DB8::1]:8443/", "[2001:db8::1]", true, 8443},
		{"http://a/", "a", false, 80},
	};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++) {
		struct mica_http_url u;
		assert_int_equal(mica_http_url_parse(cases[i].url, &u, NULL), MICA_OK);
		assert_string_equal(u.host, cases[i].host);
		assert_int_equal(u.https, cases[i].https);
		assert_int_equal(u.port, cases[i].port);
	}
}

static void bad_requests(void **state)
{
	MICA_AUTO_HTTP_CLIENT c = plain_client();
	struct mica_http_request r[9];
	struct peer p;
	char url[64];
	(void)state;
	peer_start(&p, NULL, say_request, NULL);
	for (size_t i = 0; i < MICA_ARRAY_LEN(r); i++)
		r[i] = get_of(peer_url(&p, "/", url, sizeof(url)));
	r[0].method = "";
	r[1].method = "GET / HTTP/1.1\r\nX: y\r\n\r\nGET";
	r[2].bearer = TOKEN "\r\nX: y";
	r[3].bearer = TOKEN "\n";
	r[4].accept = "a\r\n\r\n";
	r[5].if_none_match = "\"\x01\"";
	r[6].timeout_ms = 0;
	r[7].max_body = 0;
	r[8].bearer = "t\xc3\xa4";
	for (size_t i = 0; i < MICA_ARRAY_LEN(r); i++) {
		struct got g;
		ask(c, &r[i], &g);
		assert_int_equal(g.rc, MICA_INVALID);
		assert_string_equal(g.e.reason, "bad_request");
		mica_http_response_clear(&g.r);
	}
	assert_int_equal(p.connections, 0);
	peer_stop(&p);
}

static int begin(void **state)
{
	(void)state;
	peer_ca_init(&ca, "the authority");
	peer_ca_init(&other_ca, "another authority");
	return mkdtemp(dir) ? 0 : -1;
}

static int end(void **state)
{
	static const char *const files[] = {"sock", "ca.pem", "cert.pem", "key.pem"};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(files); i++)
		unlink(in_dir(files[i]));
	peer_ca_clear(&ca);
	peer_ca_clear(&other_ca);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_come_through),
		cmocka_unit_test(requests_say_what_they_should),
		cmocka_unit_test(connections_are_kept),
		cmocka_unit_test(a_connection_closed_meanwhile_is_replaced),
		cmocka_unit_test(too_much_is_cut_off),
		cmocka_unit_test(the_limit_itself_is_allowed),
		cmocka_unit_test(broken_answers_are_not_answers),
		cmocka_unit_test(the_whole_request_has_a_deadline),
		cmocka_unit_test(requests_can_be_given_up),
		cmocka_unit_test(redirects_are_answers),
		cmocka_unit_test(the_environment_names_no_proxy),
		cmocka_unit_test(unix_sockets),
		cmocka_unit_test(nobody_there),
		cmocka_unit_test(only_the_right_server_is_spoken_to),
		cmocka_unit_test(the_ca_file_is_read_for_each_request),
		cmocka_unit_test(client_certificates),
		cmocka_unit_test(no_signal_from_a_broken_pipe),
		cmocka_unit_test(bad_urls),
		cmocka_unit_test(parts_of_urls),
		cmocka_unit_test(bad_requests),
	};
	return cmocka_run_group_tests(tests, begin, end);
}
