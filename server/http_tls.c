/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The GnuTLS side. libmicrohttpd makes the sessions; here they get our certificate (which may
 * change while serving), tickets for resumption, and the wish for a client certificate.
 *
 * A client certificate is asked for without a list of authorities, is optional, and GnuTLS only
 * proves that the client holds its key: the chain goes to the handler as DER, for our one
 * verifier, with whatever roots hold at that moment. A ticket carries the chain of the session it
 * came from, sealed with our key, so a resumed session yields that chain.
 */
#include "http_impl.h"

#include <errno.h>

#define HANDSHAKE_MAX 32768 /* bytes of one handshake message: bounds a client's chain */
#define SERVER_CHAIN  8

/* TLS 1.3 and 1.2 with forward secrecy and AEAD alone; libmicrohttpd's default admits TLS 1.0.
 * X25519 first: it costs a fifth of the handshake less than P-256. */
const char http_tls_priorities[] =
	"NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:"
	"+CHACHA20-POLY1305:-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1:+GROUP-SECP384R1:-RSA:"
	"-DHE-RSA:%SERVER_PRECEDENCE";

struct http_tls_key {
	_Atomic unsigned refs;
	gnutls_pcert_st chain[SERVER_CHAIN];
	unsigned n_chain;
	gnutls_privkey_t key;
};

/* ---- keys ---------------------------------------------------------------------------------- */

struct http_tls_key *tls_key_ref(struct http_tls_key *k)
{
	atomic_fetch_add_explicit(&k->refs, 1, memory_order_relaxed);
	return k;
}

void http_tls_key_unref(struct http_tls_key *k)
{
	if (!k || atomic_fetch_sub_explicit(&k->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (unsigned i = 0; i < k->n_chain; i++)
		gnutls_pcert_deinit(&k->chain[i]);
	if (k->key)
		gnutls_privkey_deinit(k->key);
	mica_free(k);
}

static gnutls_datum_t datum(struct mica_slice s)
{
	return (gnutls_datum_t){(unsigned char *)(uintptr_t)s.p, (unsigned)s.len};
}

static mica_rc bad_key(struct mica_err *e, const char *what, int code)
{
	return mica_fail(e, MICA_INVALID, "tls_key_invalid", "%s: %s", what, gnutls_strerror(code));
}

/* The public keys of the leaf and of the private key are the same. */
static bool belongs(const struct http_tls_key *k)
{
	unsigned char of_cert[64], of_key[64];
	size_t n_cert = sizeof(of_cert), n_key = sizeof(of_key);
	gnutls_pubkey_t pub;
	bool same;
	if (gnutls_pubkey_init(&pub) != 0)
		return false;
	same = gnutls_pubkey_import_privkey(pub, k->key, 0, 0) == 0 &&
		gnutls_pubkey_get_key_id(pub, GNUTLS_KEYID_USE_SHA256, of_key, &n_key) == 0 &&
		gnutls_pubkey_get_key_id(
			k->chain[0].pubkey, GNUTLS_KEYID_USE_SHA256, of_cert, &n_cert) == 0 &&
		n_key == n_cert && memcmp(of_key, of_cert, n_key) == 0;
	gnutls_pubkey_deinit(pub);
	return same;
}

static mica_rc load(struct http_tls_key *k, struct mica_slice chain_pem, struct mica_slice pkcs8,
	struct mica_err *e)
{
	const gnutls_datum_t pem = datum(chain_pem), der = datum(pkcs8);
	unsigned n = SERVER_CHAIN;
	int rc = gnutls_pcert_list_import_x509_raw(
		k->chain, &n, &pem, GNUTLS_X509_FMT_PEM, GNUTLS_X509_CRT_LIST_FAIL_IF_UNSORTED);
	if (rc < 0)
		return bad_key(e, "the certificate chain for serving", rc);
	k->n_chain = n;
	rc = gnutls_privkey_init(&k->key);
	if (rc == 0)
		rc = gnutls_privkey_import_x509_raw(k->key, &der, GNUTLS_X509_FMT_DER, NULL, 0);
	if (rc < 0)
		return bad_key(e, "the private key for serving", rc);
	if (!belongs(k))
		return mica_fail(e, MICA_INVALID, "tls_key_invalid",
			"the private key for serving does not belong to the first certificate");
	return MICA_OK;
}

mica_rc http_tls_key_new(struct mica_slice chain_pem, struct mica_slice pkcs8,
	struct http_tls_key **out, struct mica_err *e)
{
	struct http_tls_key *k = MICA_NEW(struct http_tls_key);
	mica_rc rc;
	atomic_init(&k->refs, 1);
	rc = load(k, chain_pem, pkcs8, e);
	if (rc != MICA_OK) {
		http_tls_key_unref(k);
		return rc;
	}
	*out = k;
	return MICA_OK;
}

/* ---- the server's key ---------------------------------------------------------------------- */

void http_server_set_tls(struct http_server *s, struct http_tls_key *k)
{
	struct http_tls_key *old;
	pthread_mutex_lock(&s->tls_lock);
	old = s->tls;
	s->tls = tls_key_ref(k);
	pthread_mutex_unlock(&s->tls_lock);
	http_tls_key_unref(old);
}

mica_rc tls_server_init(struct http_server *s, struct mica_err *e)
{
	pthread_mutex_init(&s->tls_lock, NULL);
	if (!s->o.tls)
		return MICA_OK;
	s->tls = tls_key_ref(s->o.tls);
	if (gnutls_session_ticket_key_generate(&s->ticket_key) != 0)
		return mica_fail(e, MICA_INTERNAL, "tls_failed", "no key for TLS session tickets");
	return MICA_OK;
}

void tls_server_clear(struct http_server *s)
{
	http_tls_key_unref(s->tls);
	if (s->ticket_key.data)
		gnutls_memset(s->ticket_key.data, 0, s->ticket_key.size);
	gnutls_free(s->ticket_key.data);
	pthread_mutex_destroy(&s->tls_lock);
}

/* ---- sessions ------------------------------------------------------------------------------ */

int tls_retrieve(gnutls_session_t session, const struct gnutls_cert_retr_st *info,
	gnutls_pcert_st **certs, unsigned int *n_certs, gnutls_ocsp_data_st **ocsp,
	unsigned int *n_ocsp, gnutls_privkey_t *key, unsigned int *flags)
{
	struct conn *c = conn_of(gnutls_session_get_ptr(session));
	struct http_server *s = c->worker->server;
	(void)info;
	if (!c->key) {
		pthread_mutex_lock(&s->tls_lock);
		c->key = tls_key_ref(s->tls);
		pthread_mutex_unlock(&s->tls_lock);
	}
	*certs = c->key->chain;
	*n_certs = c->key->n_chain;
	*ocsp = NULL;
	*n_ocsp = 0;
	*key = c->key->key;
	*flags = 0; /* all of it stays ours; the connection holds its reference */
	return 0;
}

/* The client's Finished came: from now on the connection is idle, not on its way to be one. */
static int handshake_done(gnutls_session_t session, unsigned int type, unsigned int when,
	unsigned int incoming, const gnutls_datum_t *msg)
{
	struct conn *c = conn_of(gnutls_session_get_ptr(session));
	(void)type, (void)when, (void)msg;
	if (incoming && !c->handshaken) {
		c->handshaken = true;
		conn_idle(c);
	}
	return 0;
}

/* ---- records --------------------------------------------------------------------------------
 * GnuTLS asks for the five octets of a record's header and then for the record, and libmicrohttpd
 * sends header and body of an answer as two records: each of these would be a system call, and two
 * packets. So some octets are read ahead, and the first record waits for the second.
 */

/* A request with its token and most CSRs; bounds also what a connection can make us keep. */
#define AHEAD_MAX 4096
#define HELD_MAX  2048

static struct tls_bytes *bytes_new(const void *p, size_t len)
{
	struct tls_bytes *b = mica_alloc(sizeof(*b) + len);
	b->at = 0;
	b->len = len;
	if (p)
		memcpy(b->bytes, p, len);
	return b;
}

static ssize_t take_ahead(struct tls_bytes *b, void *data, size_t len)
{
	size_t n = b->len - b->at < len ? b->len - b->at : len;
	memcpy(data, b->bytes + b->at, n);
	b->at += n;
	return (ssize_t)n;
}

/* The connection that read ahead last has not taken all of it: it keeps the rest itself. */
static void move_ahead(struct worker *w)
{
	struct tls_bytes *b = w->ahead;
	w->ahead_of->ahead = bytes_new(b->bytes + b->at, b->len - b->at);
	w->ahead_of = NULL;
}

static ssize_t receive(struct conn *c, void *data, size_t len)
{
	struct worker *w = c->worker;
	ssize_t n;
	if (len >= AHEAD_MAX)
		return recv(c->fd, data, len, 0);
	if (w->ahead_of)
		move_ahead(w);
	if (!w->ahead)
		w->ahead = bytes_new(NULL, AHEAD_MAX);
	n = recv(c->fd, w->ahead->bytes, AHEAD_MAX, 0);
	if (n <= 0)
		return n;
	w->ahead->at = 0;
	w->ahead->len = (size_t)n;
	n = take_ahead(w->ahead, data, len);
	if (w->ahead->at < w->ahead->len)
		w->ahead_of = c;
	return n;
}

static ssize_t next_bytes(struct conn *c, void *data, size_t len)
{
	struct worker *w = c->worker;
	ssize_t n;
	if (w->ahead_of == c) {
		n = take_ahead(w->ahead, data, len);
		if (w->ahead->at == w->ahead->len)
			w->ahead_of = NULL;
		return n;
	}
	if (!c->ahead)
		return receive(c, data, len);
	n = take_ahead(c->ahead, data, len);
	if (c->ahead->at == c->ahead->len)
		mica_free(MICA_STEAL(c->ahead));
	return n;
}

static ssize_t again(void)
{
	errno = EAGAIN;
	return -1;
}

/* The first bytes of a request start its time: libmicrohttpd tells only when a line is whole, and
 * its own timeout starts anew with each byte. */
static ssize_t pull(gnutls_transport_ptr_t ptr, void *data, size_t len)
{
	struct conn *c = ptr;
	ssize_t n;
	shake_waited(c);
	n = next_bytes(c, data, len);
	if (n < 0 && errno == EAGAIN && !c->handshaken) {
		shake_wait(c);
		return again();
	}
	if (n > 0 && PHASE_OF(atomic_load_explicit(&c->word, memory_order_relaxed)) == P_IDLE)
		conn_begin_request(c, mica_mono_ms());
	return n;
}

#define IOV_MAX_ 16

static size_t iov_len(const giovec_t *iov, int n)
{
	size_t len = 0;
	for (int i = 0; i < n; i++)
		len += iov[i].iov_len;
	return len;
}

static bool hold(struct conn *c, const giovec_t *iov, int n, size_t len)
{
	size_t at = 0;
	/* one as long as the body may have it in it already */
	if (c->held || len > HELD_MAX || len >= c->hold)
		return false;
	c->held = bytes_new(NULL, len);
	for (int i = 0; i < n; at += iov[i++].iov_len)
		memcpy(c->held->bytes + at, iov[i].iov_base, iov[i].iov_len);
	return true;
}

/* What was held first; then as much of the rest as goes. */
static ssize_t push_both(struct conn *c, const giovec_t *iov, int n)
{
	struct tls_bytes *h = c->held;
	const size_t left = h->len - h->at;
	struct iovec all[IOV_MAX_] = {{h->bytes + h->at, left}};
	struct msghdr m = {.msg_iov = all, .msg_iovlen = 1};
	ssize_t sent;
	for (int i = 0; i < n && m.msg_iovlen < IOV_MAX_; i++)
		all[m.msg_iovlen++] = (struct iovec){iov[i].iov_base, iov[i].iov_len};
	sent = sendmsg(c->fd, &m, MSG_NOSIGNAL);
	if (sent < 0)
		return sent;
	if ((size_t)sent < left) {
		h->at += (size_t)sent;
		return again();
	}
	mica_free(MICA_STEAL(c->held));
	return (size_t)sent > left ? sent - (ssize_t)left : again();
}

static ssize_t push(gnutls_transport_ptr_t ptr, const giovec_t *iov, int n)
{
	struct conn *c = ptr;
	struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)n};
	const size_t len = iov_len(iov, n);
	if (c->hold && hold(c, iov, n, len)) {
		c->hold = 0;
		return (ssize_t)len;
	}
	c->hold = 0;
	return c->held ? push_both(c, iov, n) : sendmsg(c->fd, &m, MSG_NOSIGNAL);
}

/* An answer with a body of `len` is about to be sent. */
void tls_conn_answer(struct conn *c, size_t len)
{
	if (c->tls)
		c->hold = len;
}

void tls_conn_end(struct conn *c)
{
	shake_waited(c);
	if (c->worker->ahead_of == c)
		c->worker->ahead_of = NULL;
	mica_free(MICA_STEAL(c->ahead));
	mica_free(MICA_STEAL(c->held));
}

void tls_conn_start(struct conn *c)
{
	const struct http_server *s = c->worker->server;
	gnutls_transport_set_ptr(c->tls, c);
	gnutls_transport_set_pull_function(c->tls, pull);
	gnutls_transport_set_vec_push_function(c->tls, push);
	gnutls_handshake_set_hook_function(
		c->tls, GNUTLS_HANDSHAKE_FINISHED, GNUTLS_HOOK_POST, handshake_done);
	gnutls_handshake_set_max_packet_length(c->tls, HANDSHAKE_MAX);
	gnutls_session_ticket_enable_server(c->tls, &s->ticket_key);
	if (s->o.want_client_cert)
		gnutls_certificate_server_set_request(c->tls, GNUTLS_CERT_REQUEST);
}

/* Our own copy: a deferred request may outlive its session. */
bool tls_conn_chain(struct conn *c)
{
	unsigned n = 0;
	const gnutls_datum_t *peers;
	size_t total = 0;
	uint8_t *p;
	if (c->chain_read || !c->tls)
		return true;
	peers = gnutls_certificate_get_peers(c->tls, &n);
	if (!peers)
		n = 0;
	if (n > CHAIN_MAX)
		return false;
	c->chain_read = true;
	if (n == 0)
		return true;
	for (unsigned i = 0; i < n; i++)
		total += peers[i].size;
	c->chain = mica_alloc(n * sizeof(struct mica_slice) + total);
	c->n_chain = n;
	p = (uint8_t *)(c->chain + n);
	for (unsigned i = 0; i < n; i++) {
		memcpy(p, peers[i].data, peers[i].size);
		c->chain[i] = mica_slice(p, peers[i].size);
		p += peers[i].size;
	}
	return true;
}
