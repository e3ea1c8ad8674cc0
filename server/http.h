/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1.1 serving, free of domain words: the one owner of libmicrohttpd and GnuTLS. A server is
 * one daemon on one listening socket with its worker threads. It guards, reads and bounds
 * requests, and hands whole ones to a handler as plain data.
 *
 *	request complete -> handler(ctx, r), on a worker thread
 *	    http_reply(r, ...)			answered at once, or
 *	    http_defer(r) ... http_finish(r, ...)	from any other thread, later, exactly once
 *
 * Threads: a handler runs on the worker that owns the connection, and must not block. After
 * http_defer only the finishing thread may touch `r`, and after http_finish nobody may.
 */
#ifndef MICA_SERVER_HTTP_H
#define MICA_SERVER_HTTP_H

#include "mica/buf.h"
#include "mica/config.h"

struct http_server; /* opaque */
struct http_req; /* opaque part: http_req_data() */

enum http_method {
	HTTP_GET,
	HTTP_HEAD,
	HTTP_POST,
	HTTP_PUT,
	HTTP_DELETE,
	HTTP_OPTIONS,
	HTTP_OTHER
};

struct http_peer {
	char address[64]; /* numeric, without port; "" on a Unix socket */
	uint8_t network[16]; /* for limits: IPv4-mapped address, or the /64 of an IPv6 one */
	bool local; /* came over a Unix socket: uid, gid, pid hold */
	int64_t uid, gid, pid;
};

/* What a handler sees. Borrowed. Path, query and header slices hold until the handler returns; the
 * rest until the request is over (for a deferred one: until http_finish). */
struct http_req_data {
	enum http_method method;
	struct mica_slice path; /* raw, before '?', begins with '/' */
	struct mica_slice query; /* raw, behind '?'; may be empty */
	struct mica_slice authorization, content_type, if_none_match, if_match,
		accept; /* empty = absent */
	struct mica_slice body;
	const struct http_peer *peer;
	const struct mica_slice
		*client_chain; /* DER, leaf first; NULL without a client certificate */
	size_t n_client_chain;
	int64_t received_ms; /* mica_now_ms() when the last byte of the headers came */
	int64_t deadline_ms; /* on mica_mono_ms(): whole-request deadline for a deferred answer */
};
const struct http_req_data *http_req_data(const struct http_req *r);

/* Room for a handler's own state, one pointer, kept until the end of the request; `done` (may be
 * NULL) is called when the request is over, answered or not, on any thread. */
void http_req_set_state(struct http_req *r, void *state, void (*done)(void *state));
void *http_req_state(const struct http_req *r);

struct http_header {
	const char *name, *value; /* copied */
};
struct http_reply {
	int status;
	const char *content_type; /* NULL when there is no body */
	const struct http_header *headers;
	size_t n_headers;
	struct mica_slice body; /* copied, unless `owner` is given */
	/* Shared immutable bodies (snapshots): `body` stays alive until release(owner). */
	const void *owner;
	void (*release)(const void *owner);
	bool close; /* end the connection behind this answer */
};
void http_reply(struct http_req *r, const struct http_reply *a); /* in the handler, once */
void http_defer(struct http_req *r); /* in the handler: finish comes later */
/* The same for what takes as long as it takes: there is no deadline until the server stops. */
void http_defer_long(struct http_req *r);
/* Any thread, once for each deferred request, even when its time was over before (then nothing is
 * sent) or the server is gone; must come at last. */
void http_finish(struct http_req *r, const struct http_reply *a);
/* Between these, on one thread, http_finish only collects; the second wakes each worker once. For
 * whoever finishes many at a time: a wake-up an answer costs more than the answer. Do not wait for
 * anything in between. */
void http_finish_begin(void);
void http_finish_end(void);

/* How many there are and were; for metrics and limits. */
struct http_stats {
	uint64_t connections_now, connections, refused_connections, requests, guard_refused,
		timeouts, tls_failed, deferred_now, bytes_out;
};

struct http_tls_key; /* a certificate chain and its key, parsed for serving; reference-counted */
/* chain_pem: leaf first; pkcs8: DER of the key. INVALID "tls_key_invalid". */
mica_rc http_tls_key_new(struct mica_slice chain_pem, struct mica_slice pkcs8,
	struct http_tls_key **out, struct mica_err *e) MICA_MUST_CHECK;
void http_tls_key_unref(struct http_tls_key *k);

typedef void http_handler(void *ctx, struct http_req *r);
/* Pre-body check, on the worker, when the headers are there (method, path and headers hold, body
 * is empty): true goes on to read the body; false after http_reply refused it (rate limits,
 * drain, 413 by path ...). May be NULL. */
typedef bool http_admit(void *ctx, struct http_req *r);

struct http_options {
	const char *name; /* "https", "watch", "admin", "metrics": for logs and metrics */
	const struct mica_listen *listen; /* or */
	/* Unix socket, made 0660: for ourselves and members of these groups (-1 = none), by its
	 * group and, where that is not enough or may not be changed, by an access list. */
	const char *unix_path;
	int64_t unix_gid, unix_gid2;
	struct http_tls_key *tls; /* NULL = plain; a reference is taken */
	bool want_client_cert;
	unsigned threads; /* 0 = as many as cores */
	unsigned max_connections; /* 0 = 10,000 */
	unsigned max_per_address; /* IPv4 address or IPv6 /64; 0 = no bound */
	size_t max_body;
	int64_t idle_timeout_ms,
		request_timeout_ms; /* whole request: first byte to last byte of body */
	int64_t deferred_timeout_ms; /* a deferred request that nobody finished: 503, at most */
	http_handler *handler;
	http_admit *admit;
	void *ctx;
};
/* Listens and serves. INVALID "listen_address", CONFLICT "address_in_use", DENIED ..., as errno. */
mica_rc http_server_new(
	const struct http_options *o, struct http_server **out, struct mica_err *e) MICA_MUST_CHECK;
const char *http_server_address(
	const struct http_server *s); /* "127.0.0.1:8443" with the real port, or the path */
void http_server_set_tls(
	struct http_server *s, struct http_tls_key *k); /* for new handshakes; takes a reference */
void http_server_stats(const struct http_server *s, struct http_stats *out);
/* Accepts no more connections; keep-alive ends behind the current answers. */
void http_server_drain(struct http_server *s);
/* Waits for the answers under way up to `wait_ms`, then closes what is left. All deferred requests
 * must be finished by their owners (or are answered 503 here). */
void http_server_stop(struct http_server *s, int64_t wait_ms);

#endif
