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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_reaches_the_handler_as_it_came),
		cmocka_unit_test(an_answer_comes_later_from_another_thread),
		cmocka_unit_test(a_thousand_wait_at_once),
		cmocka_unit_test(a_refusal_before_the_body),
		cmocka_unit_test(a_unix_socket_tells_who_calls),
		cmocka_unit_test(tls_serves_and_changes_its_key),
	};
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
