/* SPDX-License-Identifier: Apache-2.0 */
/* The other side for tests of the HTTP server: identities by OpenSSL, clients with blocking
 * sockets, plain, Unix and TLS, which send exactly the bytes that they are told. */
#ifndef TEST_HTTP_PEER_H
#define TEST_HTTP_PEER_H

#include "pki.h"

#include "server/http.h"
#include "mica/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

/* ---- identities ---------------------------------------------------------------------------- */

struct identity {
	X509 *cert;
	EVP_PKEY *key;
	struct http_tls_key *serving;
};

static inline void identity_init(struct identity *id, const char *cn)
{
	X509_NAME *name;
	PKCS8_PRIV_KEY_INFO *p8;
	BIO *pem = BIO_new(BIO_s_mem());
	unsigned char *der = NULL;
	char *text;
	long len;
	int n;
	id->key = EVP_EC_gen("P-256");
	id->cert = X509_new();
	X509_set_version(id->cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(id->cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(id->cert), -60);
	X509_gmtime_adj(X509_getm_notAfter(id->cert), 3600);
	X509_set_pubkey(id->cert, id->key);
	name = X509_get_subject_name(id->cert);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)cn, -1, -1, 0);
	X509_set_issuer_name(id->cert, name);
	assert_true(X509_sign(id->cert, id->key, EVP_sha256()) > 0);
	PEM_write_bio_X509(pem, id->cert);
	len = BIO_get_mem_data(pem, &text);
	p8 = EVP_PKEY2PKCS8(id->key);
	n = i2d_PKCS8_PRIV_KEY_INFO(p8, &der);
	assert_ok(http_tls_key_new(
		mica_slice(text, (size_t)len), mica_slice(der, (size_t)n), &id->serving, e));
	PKCS8_PRIV_KEY_INFO_free(p8);
	OPENSSL_free(der);
	BIO_free(pem);
}

static inline void identity_clear(struct identity *id)
{
	http_tls_key_unref(id->serving);
	X509_free(id->cert);
	EVP_PKEY_free(id->key);
}

/* ---- clients ------------------------------------------------------------------------------- */

struct client {
	int fd;
	SSL *ssl;
	size_t len; /* of what is read and not yet taken */
	char in[65536];
};

static inline int dial_from(const char *from, const char *address)
{
	struct timeval limit = {20, 0};
	int fd;
	if (address[0] == '/') {
		struct sockaddr_un a = {.sun_family = AF_UNIX};
		memcpy(a.sun_path, address, strlen(address) + 1);
		fd = socket(AF_UNIX, SOCK_STREAM, 0);
		if (connect(fd, (struct sockaddr *)&a, sizeof(a)) != 0) {
			close(fd);
			return -1;
		}
	} else {
		const char *colon = strrchr(address, ':');
		const bool six = address[0] == '[';
		struct sockaddr_in a = {.sin_family = AF_INET}, b = a;
		struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
		a.sin_port = a6.sin6_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
		a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		fd = socket(six ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
		if (from) {
			inet_pton(AF_INET, from, &b.sin_addr);
			bind(fd, (struct sockaddr *)&b, sizeof(b));
		}
		if (connect(fd, six ? (struct sockaddr *)&a6 : (struct sockaddr *)&a,
			    six ? sizeof(a6) : sizeof(a)) != 0) {
			close(fd);
			return -1;
		}
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	return fd;
}

static inline void client_open(struct client *c, const char *address)
{
	memset(c, 0, sizeof(*c));
	c->fd = dial_from(NULL, address);
	assert_true(c->fd >= 0);
}

/* False when the handshake fails. `session` (may be NULL) is offered for resumption. */
static inline bool client_open_tls(
	struct client *c, const char *address, SSL_CTX *ctx, SSL_SESSION *session)
{
	client_open(c, address);
	c->ssl = SSL_new(ctx);
	SSL_set_fd(c->ssl, c->fd);
	if (session)
		SSL_set_session(c->ssl, session);
	return SSL_connect(c->ssl) == 1;
}

static inline void client_close(struct client *c)
{
	if (c->ssl) {
		SSL_shutdown(c->ssl);
		SSL_free(c->ssl);
	}
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	c->ssl = NULL;
}

static inline bool client_send(struct client *c, const void *p, size_t len)
{
	if (c->ssl)
		return SSL_write(c->ssl, p, (int)len) == (int)len;
	return send(c->fd, p, len, MSG_NOSIGNAL) == (ssize_t)len;
}

static inline bool client_say(struct client *c, const char *text)
{
	return client_send(c, text, strlen(text));
}

/* More bytes; 0 at the end of the stream, -1 on an error or when nothing came in time. */
static inline long client_read(struct client *c)
{
	const size_t room = sizeof(c->in) - 1 - c->len;
	long n = c->ssl ? SSL_read(c->ssl, c->in + c->len, (int)room)
			: recv(c->fd, c->in + c->len, room, 0);
	if (n > 0)
		c->len += (size_t)n;
	c->in[c->len] = '\0';
	return n;
}

/* No more bytes come and the connection is ended. */
static inline bool client_ended(struct client *c)
{
	return c->len == 0 && client_read(c) <= 0 && (c->ssl || errno != EAGAIN);
}

struct answer {
	int status;
	char head[4096], body[60000];
	size_t body_len;
};

static inline size_t length_in(const char *head)
{
	const char *at = strcasestr(head, "\r\ncontent-length:");
	return at ? strtoul(at + 17, NULL, 10) : 0;
}

/* One answer; false when the connection ends before it is whole. */
static inline bool client_answer(struct client *c, struct answer *a, bool head_only)
{
	char *end;
	size_t head, body;
	memset(a, 0, sizeof(*a));
	while (!(end = strstr(c->in, "\r\n\r\n")))
		if (client_read(c) <= 0)
			return false;
	head = (size_t)(end - c->in) + 4;
	assert_true(head < sizeof(a->head));
	memcpy(a->head, c->in, head);
	a->status = atoi(a->head + 9);
	body = head_only ? 0 : length_in(a->head);
	assert_true(head + body < sizeof(c->in));
	while (c->len < head + body)
		if (client_read(c) <= 0)
			return false;
	memcpy(a->body, c->in + head, body);
	a->body_len = body;
	c->len -= head + body;
	memmove(c->in, c->in + head + body, c->len + 1);
	return true;
}

/* Sends `text` and returns the status of the answer, 0 when there is none. */
static inline int client_ask(struct client *c, const char *text, struct answer *a)
{
	struct answer own;
	if (!client_say(c, text) || !client_answer(c, a ? a : &own, false))
		return 0;
	return a ? a->status : own.status;
}

#endif
