/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the HTTP server share; nobody else includes it. */
#ifndef MICA_SERVER_HTTP_IMPL_H
#define MICA_SERVER_HTTP_IMPL_H

#include "guard.h"
#include "http.h"

#include "mica/clock.h"
#include "mica/log.h"
#include "mica/mem.h"
#include "mica/secret.h"

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#define CHAIN_MAX   10 /* certificates that a client may send */
#define FREE_REQS   64 /* request records that a worker keeps */
#define BODY_KEEP   8192 /* a body buffer up to this size stays with its record */
#define SLOWEST_BPS 8192 /* an answer may be read as slowly as this */

/*
 * Where a connection is. The phase is the low 3 bits of conn.word, a number that counts requests
 * the rest, so that a compare-and-swap on it means one certain request. The worker that owns the
 * connection writes it; only out of DEFERRED others may move it: to FINISHED (http_finish) or
 * OVERDUE (the sweeper, or a stop), whoever is first.
 */
enum phase {
	P_HANDSHAKE, /* TLS */
	P_IDLE, /* before the first byte of a request */
	P_READING,
	P_WRITING, /* handled: the answer is on its way */
	P_DEFERRED,
	P_FINISHED,
	P_OVERDUE
};
#define PHASE_BITS  3
#define PHASE_OF(w) ((enum phase)((w) & ((1u << PHASE_BITS) - 1)))

/* A counter with one writer: an increment is a plain load and store. */
typedef _Atomic uint64_t counter;
static inline void count(counter *c, uint64_t n)
{
	atomic_store_explicit(
		c, atomic_load_explicit(c, memory_order_relaxed) + n, memory_order_relaxed);
}

struct worker {
	struct http_server *server;
	pthread_mutex_t lock; /* of the list: taken when a connection opens, ends, or is swept */
	struct conn *conns;
	struct http_req *free_reqs; /* the worker's own */
	unsigned n_free_reqs;
	/* What was received in one call and not asked for yet, of one connection at a time. */
	struct conn *ahead_of;
	struct tls_bytes *ahead;
	counter connections, requests, guard_refused, tls_failed, bytes_out;
	counter begun, over; /* requests; their difference is under way */
	counter deferred, resumed; /* likewise */
	counter shakes_parked, shakes_resumed; /* likewise */
	_Atomic bool in_handler;
};

/* Octets of a TLS record on their way, in or out. */
struct tls_bytes {
	size_t at, len;
	uint8_t bytes[];
};

/* One peer's place in the table of connections by address. */
struct address {
	struct address *next;
	uint8_t network[16];
	unsigned n;
};

struct http_server {
	struct http_options o; /* strings copied */
	char address[128];
	struct MHD_Daemon *daemon;
	int listen_fd; /* the daemon's */
	bool layout_known; /* how this version of the library leaves the header block is known */
	struct worker *workers;
	unsigned n_workers;
	_Atomic unsigned n_started; /* workers that have taken their record */
	_Atomic unsigned connections_now;
	_Atomic uint64_t refused, timeouts;
	_Atomic unsigned finishing; /* threads that are waking a worker */
	_Atomic bool draining, stopping;
	pthread_mutex_t addresses_lock;
	struct address **addresses;
	unsigned n_buckets; /* a power of two */
	uint64_t hash_key;
	/* Handshakes that wait */
	int shake_epoll, shake_end;
	pthread_t shake;
	bool shake_runs;
	/* TLS */
	pthread_mutex_t tls_lock;
	struct http_tls_key *tls;
	gnutls_datum_t ticket_key;
	/* sweeper */
	pthread_t sweeper;
	pthread_mutex_t sweep_lock;
	pthread_cond_t sweep_wake;
	bool sweep_end;
};

struct conn {
	_Atomic uint64_t word;
	_Atomic int64_t deadline_ms;
	_Atomic unsigned refs; /* the connection's own, and one for each deferred request */
	struct conn *prev, *next;
	struct worker *worker;
	struct MHD_Connection *mhd;
	int fd;
	bool counted, handshaken, chain_read;
	bool shake_waits, shake_known; /* suspended in its handshake; in that epoll set */
	gnutls_session_t tls;
	struct tls_bytes *ahead; /* received, when its worker's room was needed for another's */
	struct tls_bytes *held; /* the record with an answer's header, until its body comes */
	size_t hold; /* length of that body; 0 = nothing is to be held */
	struct http_tls_key *key; /* that this handshake uses */
	struct http_peer peer;
	struct mica_slice *chain; /* one block, of the slices and what they point to */
	size_t n_chain;
};

struct http_req {
	struct http_req_data data;
	struct conn *conn;
	struct http_req *next; /* free list, or others that are finished too */
	_Atomic unsigned refs; /* the connection's, and the finisher's while deferred */
	enum { R_NEW, R_BODY, R_READY, R_DEFERRED } step;
	bool in_handler, close, too_large, has_body;
	int64_t now_ms; /* mica_mono_ms() when the headers were there */
	uint64_t word; /* of conn, once deferred */
	uint64_t length, received;
	size_t body_room, target_room;
	uint8_t *body, *target;
	size_t target_len;
	struct MHD_Response *response;
	int status;
	size_t reply_len;
	struct { /* what http_finish brings: the worker's to read once the phase is FINISHED */
		struct MHD_Response *response;
		int status;
		size_t len;
		bool close;
	} late;
	void *state;
	void (*done)(void *state);
};

/* ---- http_req.c: from the first line of a request to its answer ----------------------------- */
void *req_line(void *ctx, const char *uri, struct MHD_Connection *mhd);
enum MHD_Result req_handle(void *ctx, struct MHD_Connection *mhd, const char *url,
	const char *method, const char *version, const char *data, size_t *len, void **request);
void req_completed(void *ctx, struct MHD_Connection *mhd, void **request,
	enum MHD_RequestTerminationCode code);
void req_free(struct http_req *r);

/* ---- http_conn.c: connections, their limits and deadlines ---------------------------------- */
struct worker *worker_self(struct http_server *s);
enum MHD_Result conn_policy(void *ctx, const struct sockaddr *addr, socklen_t len);
void conn_notify(void *ctx, struct MHD_Connection *c, void **socket_context,
	enum MHD_ConnectionNotificationCode code);
void conn_unref(struct conn *c);
static inline void conn_phase(struct conn *c, enum phase p)
{
	uint64_t w = atomic_load_explicit(&c->word, memory_order_relaxed);
	atomic_store_explicit(&c->word, (w >> PHASE_BITS << PHASE_BITS) | p, memory_order_release);
}
static inline void conn_deadline(struct conn *c, int64_t at_ms)
{
	atomic_store_explicit(&c->deadline_ms, at_ms, memory_order_relaxed);
}
/* Ends the current request: the next one has another number. */
void conn_idle(struct conn *c);
void conn_begin_request(struct conn *c, int64_t now_ms);
mica_rc sweeper_start(struct http_server *s, struct mica_err *e) MICA_MUST_CHECK;
void sweeper_stop(struct http_server *s);
/* Answers all that is deferred with 503, whatever its deadline. */
void sweep_deferred(struct http_server *s);

/* ---- http_tls.c ---------------------------------------------------------------------------- */
extern const char http_tls_priorities[];
/* gnutls_certificate_retrieve_function3 */
int tls_retrieve(gnutls_session_t session, const struct gnutls_cert_retr_st *info,
	gnutls_pcert_st **certs, unsigned int *n_certs, gnutls_ocsp_data_st **ocsp,
	unsigned int *n_ocsp, gnutls_privkey_t *key, unsigned int *flags);
void tls_conn_start(struct conn *c);
/* Fills c->chain from the session, once; false when the client sent more than we take. */
bool tls_conn_chain(struct conn *c) MICA_MUST_CHECK;
void tls_conn_answer(struct conn *c, size_t len);
void tls_conn_end(struct conn *c);
mica_rc tls_server_init(struct http_server *s, struct mica_err *e) MICA_MUST_CHECK;
void tls_server_clear(struct http_server *s);
struct http_tls_key *tls_key_ref(struct http_tls_key *k);
struct conn *conn_of(struct MHD_Connection *c);

/* ---- http_shake.c: handshakes that wait for their peer ----------------------------------------
 */
void shake_wait(struct conn *c);
void shake_waited(struct conn *c);
uint64_t shakes_waiting(struct http_server *s);
mica_rc shake_start(struct http_server *s, struct mica_err *e) MICA_MUST_CHECK;
void shake_stop(struct http_server *s);

/* ---- http_listen.c ------------------------------------------------------------------------- */
/* A listening socket; writes where it listens to `address`. */
mica_rc listen_open(const struct http_options *o, char *address, size_t size, int *out,
	struct mica_err *e) MICA_MUST_CHECK;

#endif
