/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The TLS of the gRPC server, by OpenSSL. A key is a whole context, so that a swap is one pointer:
 * connections keep the context they began with.
 *
 * A client certificate is asked for without a list of authorities and is optional. OpenSSL proves
 * that the client holds its key and judges nothing else: the chain goes out as DER, for the
 * caller's own verifier, with whatever roots hold at that moment. An expired one must not fail the
 * handshake (linkerd2-proxy presents what it has). A ticket of OpenSSL carries the leaf alone, so
 * sessions with a client certificate are not resumed.
 */
#include "rpc_impl.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#define CLIENT_CHAIN_MAX 32768 /* octets */
#define CLIENT_CERTS_MAX 10
#define SERVER_CHAIN     8

MICA_CLEANUP_PTR(BIO, BIO_vfree);
MICA_CLEANUP_PTR(X509, X509_free);
MICA_CLEANUP_PTR(EVP_PKEY, EVP_PKEY_free);

struct mica_rpc_key {
	_Atomic unsigned refs;
	SSL_CTX *ctx;
};

struct rpc_tls {
	SSL *ssl; /* its BIO is that of all connections of the loop: see use() */
	int fd;
	bool dry; /* the last read took all that the socket had */
	bool dead; /* no close_notify after an error */
};

/* ---- octets --------------------------------------------------------------------------------- */

/* A read that got less than it asked for has emptied the socket: the next one would only learn
 * that. Writing never raises SIGPIPE. */
static int io_read(BIO *b, char *p, int len)
{
	struct rpc_tls *t = BIO_get_data(b);
	ssize_t n;
	BIO_clear_retry_flags(b);
	if (t->dry) {
		BIO_set_retry_read(b);
		return -1;
	}
	n = recv(t->fd, p, (size_t)len, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		BIO_set_retry_read(b);
	t->dry = n > 0 && n < len;
	return (int)n;
}

static int io_write(BIO *b, const char *p, int len)
{
	struct rpc_tls *t = BIO_get_data(b);
	const ssize_t n = send(t->fd, p, (size_t)len, MSG_NOSIGNAL);
	BIO_clear_retry_flags(b);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		BIO_set_retry_write(b);
	return (int)n;
}

static long io_ctrl(BIO *b, int cmd, long arg, void *ptr)
{
	(void)b, (void)arg, (void)ptr;
	return cmd == BIO_CTRL_FLUSH ? 1 : 0;
}

static BIO_METHOD *io_method;
static pthread_once_t io_once = PTHREAD_ONCE_INIT;
static pthread_key_t io_own; /* the BIO of this thread */

static void io_free(void *io)
{
	BIO_free(io);
}

static void io_make(void)
{
	io_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");
	if (!io_method)
		abort();
	BIO_meth_set_read(io_method, io_read);
	BIO_meth_set_write(io_method, io_write);
	BIO_meth_set_ctrl(io_method, io_ctrl);
	if (pthread_key_create(&io_own, io_free) != 0)
		abort();
}

/* A BIO holds nothing between two calls but whose socket it stands for: one is enough for all
 * connections of a thread. */
static BIO *io_of_thread(void)
{
	BIO *io = pthread_getspecific(io_own);
	if (io)
		return io;
	io = BIO_new(io_method);
	if (!io || pthread_setspecific(io_own, io) != 0)
		abort();
	BIO_set_init(io, 1);
	return io;
}

/* Before each call of OpenSSL that may read or write. */
static SSL *use(struct rpc_tls *t)
{
	ERR_clear_error();
	BIO_set_data(SSL_get_rbio(t->ssl), t);
	return t->ssl;
}

/* ---- keys ----------------------------------------------------------------------------------- */

/* The client's own order does not count; one that offers nothing we know is not refused: some send
 * no ALPN at all, and the preface tells. One that wants HTTP/1.1 is told so in time. */
static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
	const unsigned char *in, unsigned in_len, void *ctx)
{
	bool http1 = false;
	(void)ssl, (void)ctx;
	for (unsigned i = 0; i < in_len && in_len - i > in[i]; i += 1u + in[i]) {
		const struct mica_slice name = mica_slice(in + i + 1, in[i]);
		if (mica_slice_eq_str(name, "h2")) {
			*out = name.p;
			*out_len = (unsigned char)name.len;
			return SSL_TLSEXT_ERR_OK;
		}
		http1 |= mica_slice_eq_str(name, "http/1.1");
	}
	return http1 ? SSL_TLSEXT_ERR_ALERT_FATAL : SSL_TLSEXT_ERR_NOACK;
}

static int take_any(X509_STORE_CTX *store, void *arg)
{
	(void)store, (void)arg;
	return 1;
}

static int ticket_made(SSL *ssl, void *arg)
{
	(void)ssl, (void)arg;
	return 1;
}

static SSL_TICKET_RETURN ticket_read(SSL *ssl, SSL_SESSION *session, const unsigned char *name,
	size_t name_len, SSL_TICKET_STATUS status, void *arg)
{
	(void)ssl, (void)name, (void)name_len, (void)arg;
	if (status == SSL_TICKET_EMPTY || status == SSL_TICKET_NO_DECRYPT)
		return SSL_TICKET_RETURN_IGNORE_RENEW;
	if (SSL_SESSION_get0_peer(session))
		return SSL_TICKET_RETURN_IGNORE;
	return SSL_TICKET_RETURN_USE;
}

/* TLS 1.2 and 1.3, forward secrecy and AEAD alone. X25519 first: it costs a fifth of the handshake
 * less than P-256. Buffers are given back while a connection is idle. */
static bool configure(SSL_CTX *ctx)
{
	static const unsigned char session_context[] = "mica rpc";
	SSL_CTX_set_options(ctx,
		SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
			SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_PRIORITIZE_CHACHA);
	SSL_CTX_set_mode(ctx,
		SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
			SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_read_ahead(ctx, 1);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(ctx, 1);
	SSL_CTX_set_session_ticket_cb(ctx, ticket_made, ticket_read, NULL);
	SSL_CTX_set_max_cert_list(ctx, CLIENT_CHAIN_MAX);
	SSL_CTX_set_max_early_data(ctx, 0);
	SSL_CTX_set_alpn_select_cb(ctx, choose_alpn, NULL);
	SSL_CTX_set_cert_verify_callback(ctx, take_any, NULL);
	return SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 &&
		SSL_CTX_set1_groups_list(ctx, "X25519:P-256:P-384") == 1 &&
		SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM:ECDHE+CHACHA20:!PSK") == 1 &&
		SSL_CTX_set_ciphersuites(ctx,
			"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
			"TLS_CHACHA20_POLY1305_SHA256") == 1 &&
		SSL_CTX_set_session_id_context(ctx, session_context, sizeof(session_context) - 1) ==
		1;
}

static mica_rc bad_key(struct mica_err *e, const char *what)
{
	const unsigned long code = ERR_peek_last_error();
	const char *why = code ? ERR_reason_error_string(code) : NULL;
	ERR_clear_error();
	return mica_fail(e, MICA_INVALID, "tls_key_invalid", "%s%s%s", what, why ? ": " : "",
		why ? why : "");
}

static mica_rc load_chain(SSL_CTX *ctx, struct mica_slice pem, struct mica_err *e)
{
	MICA_AUTO_PTR(BIO) in = BIO_new_mem_buf(pem.p, (int)pem.len);
	for (unsigned n = 0; in && n < SERVER_CHAIN; n++) {
		MICA_AUTO_PTR(X509) x = PEM_read_bio_X509(in, NULL, NULL, NULL);
		if (!x && n > 0 && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE) {
			ERR_clear_error();
			return MICA_OK;
		}
		if (!x ||
			(n == 0 ? SSL_CTX_use_certificate(ctx, x)
				: SSL_CTX_add1_chain_cert(ctx, x)) != 1)
			return bad_key(e, "the certificate chain for serving");
	}
	return mica_fail(e, MICA_INVALID, "tls_key_invalid",
		"the certificate chain for serving: expected less than %d certificates",
		SERVER_CHAIN);
}

static mica_rc load(
	SSL_CTX *ctx, struct mica_slice chain_pem, struct mica_slice pkcs8, struct mica_err *e)
{
	const unsigned char *p = pkcs8.p;
	MICA_AUTO_PTR(EVP_PKEY) key = NULL;
	mica_rc rc;
	ERR_clear_error();
	if (!configure(ctx))
		return bad_key(e, "TLS");
	if (chain_pem.len > INT32_MAX || pkcs8.len > INT32_MAX)
		return mica_fail(
			e, MICA_INVALID, "tls_key_invalid", "the key for serving: too long");
	rc = load_chain(ctx, chain_pem, e);
	if (rc != MICA_OK)
		return rc;
	key = d2i_AutoPrivateKey(NULL, &p, (long)pkcs8.len);
	if (!key || SSL_CTX_use_PrivateKey(ctx, key) != 1 || SSL_CTX_check_private_key(ctx) != 1)
		return bad_key(e, "the private key for serving");
	return MICA_OK;
}

mica_rc mica_rpc_key_new(struct mica_slice chain_pem, struct mica_slice pkcs8,
	struct mica_rpc_key **out, struct mica_err *e)
{
	struct mica_rpc_key *k = MICA_NEW(struct mica_rpc_key);
	mica_rc rc;
	pthread_once(&io_once, io_make);
	atomic_init(&k->refs, 1);
	k->ctx = SSL_CTX_new(TLS_server_method());
	rc = k->ctx ? load(k->ctx, chain_pem, pkcs8, e) : bad_key(e, "TLS");
	if (rc != MICA_OK) {
		mica_rpc_key_unref(k);
		return rc;
	}
	*out = k;
	return MICA_OK;
}

struct mica_rpc_key *rpc_key_ref(struct mica_rpc_key *k)
{
	atomic_fetch_add_explicit(&k->refs, 1, memory_order_relaxed);
	return k;
}

void mica_rpc_key_unref(struct mica_rpc_key *k)
{
	if (!k || atomic_fetch_sub_explicit(&k->refs, 1, memory_order_acq_rel) != 1)
		return;
	SSL_CTX_free(k->ctx);
	mica_free(k);
}

/* ---- connections ---------------------------------------------------------------------------- */

struct rpc_tls *rpc_tls_new(struct mica_rpc_key *k, int fd, bool want_client_cert)
{
	struct rpc_tls *t = MICA_NEW(struct rpc_tls);
	BIO *io = io_of_thread();
	t->ssl = SSL_new(k->ctx);
	t->fd = fd;
	if (!t->ssl) {
		mica_free(t);
		return NULL;
	}
	BIO_up_ref(io);
	SSL_set_bio(t->ssl, io, io);
	SSL_set_accept_state(t->ssl);
	if (want_client_cert)
		SSL_set_verify(t->ssl, SSL_VERIFY_PEER, NULL);
	return t;
}

void rpc_tls_free(struct rpc_tls *t)
{
	if (!t)
		return;
	SSL_free(t->ssl);
	mica_free(t);
}

static int outcome(struct rpc_tls *t, int rc)
{
	switch (SSL_get_error(t->ssl, rc)) {
	case SSL_ERROR_WANT_READ: return RPC_IO_READ;
	case SSL_ERROR_WANT_WRITE: return RPC_IO_WRITE;
	case SSL_ERROR_ZERO_RETURN: return RPC_IO_END;
	default: t->dead = true; return RPC_IO_FAILED;
	}
}

int rpc_tls_handshake(struct rpc_tls *t)
{
	const int rc = SSL_do_handshake(use(t));
	return rc == 1 ? 1 : outcome(t, rc);
}

ssize_t rpc_tls_read(struct rpc_tls *t, uint8_t *p, size_t len)
{
	const int rc = SSL_read(use(t), p, (int)len);
	return rc > 0 ? rc : outcome(t, rc);
}

ssize_t rpc_tls_write(struct rpc_tls *t, const uint8_t *p, size_t len)
{
	const int rc = SSL_write(use(t), p, (int)len);
	return rc > 0 ? rc : outcome(t, rc);
}

bool rpc_tls_buffered(const struct rpc_tls *t)
{
	return SSL_has_pending(t->ssl);
}

void rpc_tls_readable(struct rpc_tls *t)
{
	t->dry = false;
}

void rpc_tls_close(struct rpc_tls *t)
{
	if (!t->dead && SSL_is_init_finished(t->ssl))
		SSL_shutdown(use(t));
	ERR_clear_error();
}

/* On a server's side the chain that OpenSSL tells does not hold the leaf. */
struct mica_slice *rpc_tls_chain(const struct rpc_tls *t, size_t *n)
{
	X509 *leaf = SSL_get0_peer_certificate(t->ssl);
	STACK_OF(X509) *rest = SSL_get_peer_cert_chain(t->ssl);
	X509 *certs[CLIENT_CERTS_MAX];
	int len[CLIENT_CERTS_MAX];
	size_t total = 0;
	struct mica_slice *chain;
	uint8_t *p;
	*n = 0;
	if (!leaf)
		return NULL;
	certs[(*n)++] = leaf;
	for (int i = 0; i < sk_X509_num(rest) && *n < CLIENT_CERTS_MAX; i++)
		certs[(*n)++] = sk_X509_value(rest, i);
	for (size_t i = 0; i < *n; i++) {
		len[i] = i2d_X509(certs[i], NULL);
		total += len[i] > 0 ? (size_t)len[i] : 0;
	}
	chain = mica_alloc(*n * sizeof(*chain) + total);
	p = (uint8_t *)(chain + *n);
	for (size_t i = 0; i < *n; i++) {
		chain[i] = mica_slice(p, len[i] > 0 ? (size_t)len[i] : 0);
		if (len[i] > 0)
			i2d_X509(certs[i], &p);
	}
	return chain;
}
