/* SPDX-License-Identifier: Apache-2.0 */
/* The TLS side of the HTTP server, with OpenSSL as the client. */
#define _GNU_SOURCE /* strcasestr */
#include "http_app.h"

#include <netinet/tcp.h>
#include <time.h>

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

/* ---- handshakes ---------------------------------------------------------------------------- */

static double cpu_ms(void)
{
	struct timespec t;
	assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t), 0);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* Who begins a handshake and says no more costs a place, and no time; a stop does not wait for it.
 */
static void a_stalled_handshake_costs_nothing(void **state)
{
	enum { N = 20, WAIT_MS = 400 };
	struct client c[N];
	struct app a;
	struct http_options o = options(&a);
	struct identity server;
	struct answer r;
	struct client good;
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	double before;
	(void)state;
	identity_init(&server, "server");
	o.tls = server.serving;
	app_start(&a, &o);
	for (unsigned i = 0; i < N; i++) {
		client_open(&c[i], http_server_address(a.server));
		assert_true(client_send(&c[i], "\x16\x03\x01\x02\x00\x01", i % 6 + 1));
	}
	usleep(100000);
	before = cpu_ms();
	usleep(WAIT_MS * 1000);
	assert_true(cpu_ms() - before < WAIT_MS / 4);
	assert_true(client_open_tls(&good, http_server_address(a.server), ctx, NULL));
	assert_int_equal(client_ask(&good, GET("/t"), &r), 200);
	client_close(&good);
	app_stop(&a);
	for (unsigned i = 0; i < N; i++)
		client_close(&c[i]);
	identity_clear(&server);
	SSL_CTX_free(ctx);
}

/* What the client has to say, octet by octet. */
static void say_slowly(int fd, BIO *out)
{
	char octet;
	while (BIO_read(out, &octet, 1) == 1) {
		assert_int_equal(send(fd, &octet, 1, MSG_NOSIGNAL), 1);
		usleep(300);
	}
}

static void a_handshake_may_come_in_pieces(void **state)
{
	const int one = 1;
	struct app a;
	struct http_options o = options(&a);
	struct identity server;
	struct client c;
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(ctx);
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
	char buf[4096];
	int n = 0;
	(void)state;
	identity_init(&server, "server");
	o.tls = server.serving;
	app_start(&a, &o);
	client_open(&c, http_server_address(a.server));
	setsockopt(c.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	SSL_set_bio(ssl, in, out);
	SSL_set_connect_state(ssl);
	while (SSL_do_handshake(ssl) != 1) {
		say_slowly(c.fd, out);
		assert_true((n = (int)recv(c.fd, buf, sizeof(buf), 0)) > 0);
		BIO_write(in, buf, n);
	}
	assert_true(SSL_write(ssl, GET("/t"), sizeof(GET("/t")) - 1) > 0);
	say_slowly(c.fd, out);
	while ((n = SSL_read(ssl, buf, sizeof(buf))) <= 0) {
		assert_true((n = (int)recv(c.fd, buf, sizeof(buf), 0)) > 0);
		BIO_write(in, buf, n);
	}
	assert_true(n > 15 && memcmp(buf, "HTTP/1.1 200 OK", 15) == 0);
	SSL_free(ssl);
	client_close(&c);
	app_stop(&a);
	identity_clear(&server);
	SSL_CTX_free(ctx);
}

/* ---- records ------------------------------------------------------------------------------- */

static void cork(struct client *c, int on)
{
	assert_int_equal(setsockopt(c->fd, IPPROTO_TCP, TCP_CORK, &on, sizeof(on)), 0);
}

static void post(struct client *c, const char *path, size_t len)
{
	static char text[8192], body[4096];
	memset(body, 'x', len);
	snprintf(text, sizeof(text),
		"POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n%.*s", path, len,
		(int)len, body);
	assert_true(client_say(c, text));
}

static void assert_echo(struct client *c, size_t len)
{
	static struct answer r;
	assert_true(client_answer(c, &r, false));
	assert_int_equal(r.status, 200);
	assert_true(r.body_len > len && r.body[r.body_len - len - 1] == '|');
}

/* Four requests in as few segments as they fit into, one of them answered later. */
static void ask_at_once(struct client *c)
{
	cork(c, 1);
	post(c, "/t", 7);
	post(c, "/t", 4000);
	assert_true(client_say(c, "HEAD /t HTTP/1.1\r\nHost: h\r\n\r\n"));
	post(c, "/defer", 1);
	post(c, "/t", 1);
	cork(c, 0);
}

static void records_come_and_go_together(void **state)
{
	enum { N = 5 };
	static struct client c[N];
	struct app a;
	struct http_options o = options(&a);
	struct identity server;
	struct answer r;
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	(void)state;
	identity_init(&server, "server");
	o.tls = server.serving;
	o.threads = 1;
	app_start(&a, &o);
	for (unsigned i = 0; i < N; i++)
		assert_true(client_open_tls(&c[i], http_server_address(a.server), ctx, NULL));
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < N; i++)
			ask_at_once(&c[i]);
		await(&a, N);
		finish_in_a_thread(&a);
		for (unsigned i = 0; i < N; i++) {
			assert_echo(&c[i], 7);
			assert_echo(&c[i], 4000);
			assert_true(client_answer(&c[i], &r, true) && r.status == 200);
			assert_true(client_answer(&c[i], &r, false) && r.status == 201);
			assert_string_equal(r.body, "later");
			assert_echo(&c[i], 1);
		}
	}
	/* one that ends with something unread of it */
	ask_at_once(&c[0]);
	await(&a, 1);
	for (unsigned i = 0; i < N; i++)
		client_close(&c[i]);
	finish_in_a_thread(&a);
	app_stop(&a);
	identity_clear(&server);
	SSL_CTX_free(ctx);
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
		cmocka_unit_test(tls_serves_and_changes_its_key),
		cmocka_unit_test(a_client_is_who_its_key_says),
		cmocka_unit_test(a_foreign_ticket_proves_nothing),
		cmocka_unit_test(chains_are_bounded),
		cmocka_unit_test(a_stalled_handshake_costs_nothing),
		cmocka_unit_test(a_handshake_may_come_in_pieces),
		cmocka_unit_test(records_come_and_go_together),
		cmocka_unit_test(only_good_tls_is_spoken),
		cmocka_unit_test(keys_that_do_not_fit_are_refused),
	};
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
