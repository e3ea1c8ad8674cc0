/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other side of a connection, for tests: a server on 127.0.0.1 (or a Unix socket), plain or
 * TLS by OpenSSL, whose answers, good and bad, a function of the test writes octet by octet. One
 * thread for each connection.
 */
#ifndef TEST_PEER_H
#define TEST_PEER_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "mica/buf.h"
#include "mica/clock.h"
#include "mica/file.h"

#define PEER_REQUEST_MAX (64 * 1024)
#define PEER_CONNS       256

/* ---- an authority and a server's certificate ------------------------------------------------ */

struct peer_ca {
	EVP_PKEY *key;
	X509 *cert;
	struct mica_buf pem;
};

static inline X509 *peer_cert(
	const char *name, const char *ext_san, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key)
{
	static long serial = 1;
	X509 *x = X509_new();
	X509_EXTENSION *ext;
	X509V3_CTX ctx;

	X509_set_version(x, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(x), serial++);
	X509_gmtime_adj(X509_getm_notBefore(x), -3600);
	X509_gmtime_adj(X509_getm_notAfter(x), 86400);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
		(const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(issuer ? issuer : x));
	X509_set_pubkey(x, key);
	X509V3_set_ctx(&ctx, issuer ? issuer : x, x, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, NID_basic_constraints,
		issuer ? "critical,CA:FALSE" : "critical,CA:TRUE");
	X509_add_ext(x, ext, -1);
	X509_EXTENSION_free(ext);
	if (ext_san) {
		ext = X509V3_EXT_conf_nid(NULL, &ctx, NID_subject_alt_name, ext_san);
		X509_add_ext(x, ext, -1);
		X509_EXTENSION_free(ext);
	}
	assert_true(X509_sign(x, issuer_key, EVP_sha256()) > 0);
	return x;
}

static inline void peer_put_pem(struct mica_buf *out, X509 *x)
{
	BIO *b = BIO_new(BIO_s_mem());
	char *p;
	long n;

	PEM_write_bio_X509(b, x);
	n = BIO_get_mem_data(b, &p);
	mica_buf_put(out, p, (size_t)n);
	BIO_free(b);
}

static inline void peer_ca_init(struct peer_ca *ca, const char *name)
{
	ca->key = EVP_EC_gen("P-256");
	ca->cert = peer_cert(name, NULL, ca->key, NULL, ca->key);
	mica_buf_init(&ca->pem, 16384);
	peer_put_pem(&ca->pem, ca->cert);
}

static inline void peer_ca_clear(struct peer_ca *ca)
{
	X509_free(ca->cert);
	EVP_PKEY_free(ca->key);
	mica_buf_clear(&ca->pem);
}

static inline SSL_CTX *peer_tls(const struct peer_ca *ca, const char *san)
{
	SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = peer_cert("server", san, key, ca->cert, ca->key);

	assert_int_equal(SSL_CTX_use_certificate(tls, x), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(tls, key), 1);
	X509_free(x);
	EVP_PKEY_free(key);
	return tls;
}

/* ---- the server ------------------------------------------------------------------------------ */

struct peer;

struct peer_conn {
	struct peer *peer;
	int fd;
	SSL *ssl;
	pthread_t thread;
	atomic_bool over;
	char request[PEER_REQUEST_MAX]; /* the last one, whole, with a NUL */
	size_t len;
};

/* Answers conn->request; false closes the connection. */
typedef bool peer_answer(struct peer_conn *c, const void *ctx);

struct peer {
	int fd;
	uint16_t port;
	SSL_CTX *tls; /* owned */
	_Atomic(peer_answer *) answer; /* may change while it serves */
	const void *ctx;
	pthread_t thread;
	atomic_bool stop;
	atomic_uint connections, requests;
	struct peer_conn *conns[PEER_CONNS];
	unsigned n_conns;
};

static inline bool peer_write(struct peer_conn *c, const void *p, size_t len)
{
	const char *at = p;

	while (len > 0) {
		ssize_t n = c->ssl ? SSL_write(c->ssl, at, (int)len)
				   : send(c->fd, at, len, MSG_NOSIGNAL);
		if (n <= 0)
			return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

static inline bool peer_say(struct peer_conn *c, const char *text)
{
	return peer_write(c, text, strlen(text));
}

/* A whole answer; `extra` are header lines with their ends. */
static inline bool peer_reply(
	struct peer_conn *c, const char *status, const char *extra, const char *body)
{
	char head[2048];

	snprintf(head, sizeof(head), "HTTP/1.1 %s\r\nContent-Length: %zu\r\n%s\r\n", status,
		strlen(body), extra ? extra : "");
	return peer_say(c, head) && peer_say(c, body);
}

/* Waits until the client is gone or the peer stops, at most `ms`: false = time is over. */
static inline bool peer_wait_gone(struct peer_conn *c, int64_t ms)
{
	int64_t end = mica_mono_ms() + ms;

	while (mica_mono_ms() < end && !atomic_load(&c->peer->stop)) {
		struct pollfd p = {.fd = c->fd, .events = POLLRDHUP};
		if (poll(&p, 1, 20) > 0)
			return true;
	}
	return atomic_load(&c->peer->stop);
}

/* Closes with a reset. */
static inline void peer_reset(struct peer_conn *c)
{
	struct linger l = {1, 0};
	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
}

static inline size_t peer_body_len(const char *head)
{
	const char *p = strcasestr(head, "\r\ncontent-length:");
	return p ? strtoul(p + 17, NULL, 10) : 0;
}

static inline const char *peer_body(const struct peer_conn *c)
{
	const char *p = strstr(c->request, "\r\n\r\n");
	return p ? p + 4 : "";
}

/* One request; false at the end of the connection. */
static inline bool peer_read(struct peer_conn *c)
{
	c->len = 0;
	c->request[0] = '\0';
	for (;;) {
		const char *end = strstr(c->request, "\r\n\r\n");
		ssize_t n;
		if (end && c->len >= (size_t)(end + 4 - c->request) + peer_body_len(c->request))
			return true;
		if (c->len >= sizeof(c->request) - 1)
			return false;
		n = c->ssl ? SSL_read(c->ssl, c->request + c->len,
				     (int)(sizeof(c->request) - 1 - c->len))
			   : recv(c->fd, c->request + c->len, sizeof(c->request) - 1 - c->len, 0);
		if (n <= 0)
			return false;
		c->len += (size_t)n;
		c->request[c->len] = '\0';
		if (c->request[0] == 0x16) { /* a TLS record at a door without TLS */
			peer_say(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
			return false;
		}
	}
}

static inline void *peer_serve(void *arg)
{
	struct peer_conn *c = arg;
	bool ok = true;

	if (c->peer->tls) {
		c->ssl = SSL_new(c->peer->tls);
		SSL_set_fd(c->ssl, c->fd);
		ok = SSL_accept(c->ssl) == 1;
	}
	while (ok && !atomic_load(&c->peer->stop) && peer_read(c)) {
		atomic_fetch_add(&c->peer->requests, 1);
		ok = atomic_load(&c->peer->answer)(c, c->peer->ctx);
	}
	SSL_free(c->ssl); /* without a close_notify */
	atomic_store(&c->over, true);
	close(c->fd);
	return NULL;
}

static inline void *peer_accept(void *arg)
{
	struct peer *p = arg;
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL); /* SSL_write may raise SIGPIPE */
	while (!atomic_load(&p->stop)) {
		struct pollfd in = {.fd = p->fd, .events = POLLIN};
		struct peer_conn *c;
		int fd;
		if (poll(&in, 1, 20) <= 0)
			continue;
		fd = accept4(p->fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			continue;
		if (p->n_conns == PEER_CONNS) {
			close(fd);
			continue;
		}
		atomic_fetch_add(&p->connections, 1);
		c = MICA_NEW(struct peer_conn);
		c->peer = p;
		c->fd = fd;
		p->conns[p->n_conns++] = c;
		pthread_create(&c->thread, NULL, peer_serve, c);
	}
	return NULL;
}

static inline void peer_run(
	struct peer *p, int fd, SSL_CTX *tls, peer_answer *answer, const void *ctx)
{
	p->fd = fd;
	p->tls = tls;
	p->answer = answer;
	p->ctx = ctx;
	p->n_conns = 0;
	atomic_init(&p->stop, false);
	atomic_init(&p->connections, 0);
	atomic_init(&p->requests, 0);
	assert_int_equal(listen(fd, 64), 0);
	assert_int_equal(pthread_create(&p->thread, NULL, peer_accept, p), 0);
}

/* Listens on 127.0.0.1 at a port of the kernel's choice. Takes `tls` (NULL = plain). */
static inline void peer_start(struct peer *p, SSL_CTX *tls, peer_answer *answer, const void *ctx)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	p->port = ntohs(at.sin_port);
	peer_run(p, fd, tls, answer, ctx);
}

static inline void peer_start_unix(
	struct peer *p, const char *path, peer_answer *answer, const void *ctx)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	p->port = 0;
	peer_run(p, fd, NULL, answer, ctx);
}

static inline void peer_stop(struct peer *p)
{
	atomic_store(&p->stop, true);
	pthread_join(p->thread, NULL);
	for (unsigned i = 0; i < p->n_conns; i++) {
		if (!atomic_load(&p->conns[i]->over))
			shutdown(p->conns[i]->fd, SHUT_RDWR);
		pthread_join(p->conns[i]->thread, NULL);
		mica_free(p->conns[i]);
	}
	close(p->fd);
	SSL_CTX_free(p->tls);
}

static inline const char *peer_url(const struct peer *p, const char *path, char *out, size_t size)
{
	snprintf(out, size, "%s://127.0.0.1:%u%s", p->tls ? "https" : "http", p->port, path);
	return out;
}

#endif
