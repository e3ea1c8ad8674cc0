/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the gRPC server share; nobody else includes it.
 *
 *	loop.c	event loops, conn.c connections: sockets, timers, nothing about HTTP/2;
 *		turns.c: who waits in a flood
 *	tls.c	OpenSSL
 *	h2.c	nghttp2: a session turns octets into calls and back, and cuts floods
 *	request.c, call.c  a call from its headers to its end; answer.c, what methods do with it
 *	grpc.c	the coding of gRPC, pure
 *	core.c	the services of a server; health.c, reflect.c: those it has of itself
 *
 * A session knows no socket and reads no clock: octets and `now` go in, octets come out.
 */
#ifndef MICA_RPC_IMPL_H
#define MICA_RPC_IMPL_H

#include "mica/buf.h"
#include "mica/clock.h"
#include "mica/mem.h"
#include "mica/rpc.h"
#include "mica/secret.h"

#include <pthread.h>
#include <stdatomic.h>

#define RPC_META_MAX   8192 /* of an answer: headers, and trailers */
#define RPC_META_COUNT 32
#define RPC_FREE_CALLS 64 /* call records that a loop keeps */
#define RPC_KEEP       4096 /* a buffer up to this size stays with its record */
#define RPC_STALL_MIN  16384 /* what a client must read in stall_ms */
#define RPC_LENT_MAX   (16384 + 256)
#define RPC_FRAME_MAX  (16384 + 9) /* the longest frame we send */

/* A counter with one writer: an increment is a plain load and store. */
typedef _Atomic uint64_t rpc_counter;
static inline void rpc_count(rpc_counter *c, uint64_t n)
{
	atomic_store_explicit(
		c, atomic_load_explicit(c, memory_order_relaxed) + n, memory_order_relaxed);
}

/* ---- homes: a loop as those see it who answer from elsewhere -------------------------------- */

struct rpc_home {
	pthread_mutex_t lock;
	struct mica_rpc_call *inbox, **inbox_tail; /* calls with something posted */
	bool ended; /* the loop is gone: what is posted is dropped */
	bool woken;
	int wake_fd; /* an eventfd, or -1 */
	struct mica_rpc_call *free_calls;
	unsigned n_free_calls;
	uint8_t *lent; /* h2.c: the frame buffer of all its sessions */
	bool lending;
	struct {
		rpc_counter connections, tls_failed, calls, bytes_in, bytes_out;
		rpc_counter codes[MICA_RPC_CODES], cuts[MICA_RPC_CUTS];
	} n;
};
void rpc_home_init(struct rpc_home *h, int wake_fd); /* takes it */
void rpc_home_wake(struct rpc_home *h); /* any thread */
void rpc_home_enter(struct rpc_home *h); /* this thread is its loop from now on */
void rpc_home_inbox(struct rpc_home *h); /* does what was posted */
void rpc_home_end(struct rpc_home *h); /* nothing is posted any more */
void rpc_home_clear(struct rpc_home *h);

/* ---- core.c: what a server is, apart from its sockets -------------------------------------- */

struct rpc_method {
	char *path; /* "/package.Service/Method" */
	size_t len;
	const struct mica_rpc_service *service;
	const struct mica_rpc_method *m;
};
struct rpc_serving {
	const char *name; /* "" = all */
	_Atomic bool yes;
};
struct rpc_watcher;
struct rpc_reflection; /* reflect.c */

struct rpc_core {
	struct mica_rpc_options o;
	_Atomic unsigned refs; /* the server's, and one for each call that a method has */
	struct rpc_method *methods; /* sorted */
	size_t n_methods;
	struct mica_rpc_service own[3]; /* health, reflection twice */
	unsigned n_own;
	struct rpc_serving *serving; /* [0] is "" */
	size_t n_serving;
	pthread_mutex_t watch_lock;
	struct rpc_watcher *watchers;
	struct rpc_reflection *reflection;
	struct rpc_home *homes; /* one for each loop */
	unsigned n_homes;
	_Atomic unsigned app_calls; /* given to methods and not ended */
	_Atomic size_t buffered; /* see max_buffered_all */
	_Atomic bool draining;
};
mica_rc rpc_core_new(const struct mica_rpc_options *o, unsigned n_homes, struct rpc_core **out,
	struct mica_err *e) MICA_MUST_CHECK;
void rpc_core_ref(struct rpc_core *k);
void rpc_core_unref(struct rpc_core *k);
/* NULL when there is none; *service then says whether the service exists. */
const struct rpc_method *rpc_core_find(
	const struct rpc_core *k, struct mica_slice path, bool *service);
/* One of those that a server has of itself. */
bool rpc_core_is_own(const struct rpc_core *k, const struct rpc_method *m);
bool rpc_core_serves(const struct rpc_core *k, const char *service, bool *known);
void rpc_core_set_serving(struct rpc_core *k, const char *service, bool yes);

/* The descriptors of our own services, embedded at build time. */
extern const unsigned char rpc_descriptors[];
extern const unsigned long rpc_descriptors_len;
struct mica_rpc_service rpc_health_service(struct rpc_core *k);
/* Sends the present state of each watched service that changed; never waits. */
void rpc_health_changed(struct rpc_core *k);

struct mica_rpc_service rpc_reflect_service(struct rpc_core *k, const char *name);
mica_rc rpc_reflection_new(
	struct rpc_core *k, struct rpc_reflection **out, struct mica_err *e) MICA_MUST_CHECK;
void rpc_reflection_free(struct rpc_reflection *r);

/* ---- lists of names and values -------------------------------------------------------------- */

/* [16 bits length of name][16 bits length of value][name][value] ... */
struct rpc_meta {
	struct mica_buf b;
	unsigned n;
};
/* False when it does not fit. */
bool rpc_meta_put(struct rpc_meta *m, struct mica_slice name, struct mica_slice value);
/* `at` begins with 0; false at the end. */
bool rpc_meta_next(
	const struct rpc_meta *m, size_t *at, struct mica_slice *name, struct mica_slice *value);

/* ---- grpc.c --------------------------------------------------------------------------------- */

enum rpc_type {
	RPC_TYPE_GRPC,
	RPC_TYPE_CODEC, /* application/grpc+ something that is not proto */
	RPC_TYPE_OTHER
};
enum rpc_type rpc_content_type(struct mica_slice s);
/* grpc-timeout; in milliseconds, rounded up. INVALID "bad_timeout". */
mica_rc rpc_timeout(struct mica_slice s, int64_t *ms, struct mica_err *e) MICA_MUST_CHECK;

struct rpc_reader {
	size_t max; /* of a message */
	bool encoded; /* grpc-encoding names a compression */
	uint8_t head[5];
	uint8_t n_head;
	size_t left; /* of the message; its head is complete */
};
enum rpc_read {
	RPC_READ_MORE,
	RPC_READ_MESSAGE, /* `message` is complete: reset it before the next call */
	RPC_READ_BAD
};
/* Takes octets from *in. BAD: *code and *e say why. */
enum rpc_read rpc_read(struct rpc_reader *r, struct mica_slice *in, struct mica_buf *message,
	enum mica_rpc_code *code, struct mica_err *e);
bool rpc_reader_between(const struct rpc_reader *r); /* not inside a message */

void rpc_percent_encode(struct mica_slice s, struct mica_buf *out);
/* grpc-status, grpc-message, grpc-status-details-bin; e NULL or unset: the status alone. */
void rpc_status_put(
	struct rpc_meta *m, enum mica_rpc_code code, const struct mica_err *e, const char *domain);
void rpc_bin_encode(struct mica_slice octets, struct mica_buf *out);
bool rpc_meta_allowed(struct mica_slice name, struct mica_slice value);

/* ---- h2.c ----------------------------------------------------------------------------------- */

struct rpc_bucket {
	int64_t level; /* thousandths of a token */
	int64_t at_ms;
};

/* What all calls of a connection share, and what may outlive it. */
struct rpc_peer {
	struct mica_rpc_peer pub; /* its first member */
	_Atomic unsigned refs;
	unsigned n_app; /* given to methods and not ended, abandoned ones too */
	struct mica_slice *chain; /* one block with what the slices point to */
	void *state;
	void (*done)(void *state);
};
void rpc_peer_unref(struct rpc_peer *p);

struct nghttp2_session;
struct rpc_session {
	struct nghttp2_session *h2;
	struct rpc_core *core;
	struct rpc_home *home;
	struct rpc_peer *peer;
	/* to the connection; both may be called at any time on the loop */
	void (*dirty)(struct rpc_session *s); /* there may be octets to pull */
	void (*wake_at)(struct rpc_session *s, int64_t ms); /* tick me then at the latest */
	int64_t now_ms;
	struct mica_rpc_call *calls; /* open streams */
	unsigned n_calls;
	struct rpc_bucket resets, frames;
	unsigned prepaid; /* RST_STREAM that the client has paid for already */
	int64_t born_ms, old_ms; /* end of the handshake's and of the connection's time */
	int64_t idle_since, headers_since; /* 0 = not */
	int64_t shut_since;
	size_t buffered;
	size_t data_octets; /* of the present DATA frame */
	bool ready; /* the client's SETTINGS came */
	bool shut, final; /* first and second GOAWAY are sent */
	bool closing; /* its time is over */
	bool writers; /* some call waits for room */
	bool served; /* a method of the program gave an answer that is no error */
	int cut; /* enum mica_rpc_cut, -1 = not */
	uint32_t cut_code; /* HTTP/2 error code for the last GOAWAY */
	bool cut_told;
};
/* Takes a reference of `peer`. */
void rpc_session_init(struct rpc_session *s, struct rpc_core *core, struct rpc_home *home,
	struct rpc_peer *peer, int64_t now_ms);
void rpc_session_clear(struct rpc_session *s); /* cancels what is open */
void rpc_session_recv(struct rpc_session *s, const uint8_t *p, size_t len, int64_t now_ms);
/* Octets to send, whole frames; `room` at least RPC_FRAME_MAX. 0 = nothing at present. */
size_t rpc_session_pull(struct rpc_session *s, uint8_t *buf, size_t room, int64_t now_ms);
/* Does what is due; returns when to come again (INT64_MAX = never). */
int64_t rpc_session_tick(struct rpc_session *s, int64_t now_ms);
/* No new calls; ends when the last one has. */
void rpc_session_shutdown(struct rpc_session *s, int64_t now_ms);
/* Nothing is left to read or write: close. */
bool rpc_session_over(const struct rpc_session *s);
/* The connection is to be cut, once what can still be pulled is sent. */
void rpc_session_cut(struct rpc_session *s, enum mica_rpc_cut why, uint32_t code);
void rpc_session_buffered(struct rpc_session *s, size_t from, size_t to);

/* for call.c */
void rpc_h2_respond(struct mica_rpc_call *c, const char *status, const char *content_type,
	const struct rpc_meta *a, const struct rpc_meta *b, bool with_data);
void rpc_h2_resume(struct mica_rpc_call *c);
void rpc_h2_consume(struct mica_rpc_call *c, size_t n);
void rpc_h2_abort(struct mica_rpc_call *c); /* RST_STREAM(CANCEL) */

/* ---- call.c --------------------------------------------------------------------------------- */

struct rpc_block {
	struct rpc_block *next;
	size_t len, off;
	uint8_t data[];
};

struct mica_rpc_call {
	struct mica_rpc_call_data data;
	struct rpc_core *core;
	struct rpc_home *home;
	struct rpc_session *session; /* NULL once the stream is closed */
	struct rpc_peer *peer;
	const struct rpc_method *method;
	struct mica_rpc_call *prev, *next; /* of the session; `next` in a free list too */
	int32_t stream;
	unsigned busy; /* inside functions of its method */
	/* the request */
	struct rpc_meta head;
	unsigned n_pseudo;
	size_t head_octets; /* as HTTP/2 counts them */
	bool head_over; /* more than we take */
	bool half_closed; /* all of it is there */
	bool refused; /* what still comes is thrown away */
	struct rpc_reader reader;
	struct mica_buf message;
	bool has_message;
	struct mica_buf held; /* octets that wait until answers are read */
	int64_t request_by_ms;
	bool own_bound; /* the deadline is ours, not the client's */
	/* the answer */
	bool given; /* to its method */
	bool responded; /* headers are with nghttp2 */
	bool answered; /* its code is known */
	bool plain; /* not gRPC: no trailers */
	bool ended; /* the method is done with it */
	struct rpc_block *out, **out_tail;
	int64_t stall_since; /* 0 = nothing waits */
	size_t stall_octets;
	struct rpc_meta status; /* ours, when we answer */
	const struct rpc_meta *tail; /* ours or the method's */
	enum mica_rpc_code code;
	const char *reason;
	_Atomic size_t queued; /* octets that wait, posted ones too */
	_Atomic bool wants_room, cancelled;
	/* the method's, until its end takes effect */
	struct rpc_meta headers, trailers;
	enum mica_rpc_code end_code;
	const char *end_reason;
	/* posted by any thread, under the home's lock */
	_Atomic bool listed;
	struct mica_rpc_call *inbox_next;
	struct rpc_block *posted, **posted_tail;
	bool posted_end;
	void *state;
	void (*done)(void *state);
};
struct rpc_block *rpc_block_new(struct mica_slice message, bool framed);
void rpc_blocks_free(struct mica_rpc_call *c, struct rpc_block **list);
void rpc_call_record_clear(struct mica_rpc_call *c);
struct mica_rpc_call *rpc_call_new(struct rpc_session *s, int32_t stream);
/* What was posted takes effect. */
void rpc_call_apply(
	struct mica_rpc_call *c, struct rpc_block *first, struct rpc_block **tail, bool end);
/* We answer, not its method: nobody asked it yet, or it took too long. */
void rpc_call_fail_as(struct mica_rpc_call *c, enum mica_rpc_code code, const struct mica_err *e);
void rpc_call_fail(struct mica_rpc_call *c, const struct mica_err *e);
void rpc_call_http(struct mica_rpc_call *c, const char *status, const char *body);
/* Sets the cap of a record's buffer that is empty. */
void rpc_buf_cap(struct mica_buf *b, size_t cap);
void rpc_call_closed(struct mica_rpc_call *c); /* its stream is no more */
/* Octets of the answer; *end: no more will come, and trailers follow (unless plain). */
size_t rpc_call_pull(struct mica_rpc_call *c, uint8_t *buf, size_t len, bool *end);
void rpc_call_drained(struct mica_rpc_call *c); /* after a pull, outside of nghttp2 */
int64_t rpc_call_tick(struct mica_rpc_call *c, int64_t now_ms);

/* ---- request.c ------------------------------------------------------------------------------ */

/* False: far beyond the limits, reset the stream. */
bool rpc_call_header(struct mica_rpc_call *c, struct mica_slice name, struct mica_slice value);
void rpc_call_headers(struct mica_rpc_call *c); /* they are complete and valid */
void rpc_call_data(struct mica_rpc_call *c, struct mica_slice octets);
void rpc_call_half_close(struct mica_rpc_call *c);
/* Its method has it and wants more of it. */
bool rpc_call_listens(const struct mica_rpc_call *c);
/* There is room again: what was held is read, as far as that goes. */
void rpc_call_read_held(struct mica_rpc_call *c);

/* ---- tls.c ---------------------------------------------------------------------------------- */

struct rpc_tls; /* one connection */
enum {
	RPC_IO_END = 0,
	RPC_IO_READ = -1, /* again when readable */
	RPC_IO_WRITE = -2, /* again when writable */
	RPC_IO_FAILED = -3
};
struct mica_rpc_key *rpc_key_ref(struct mica_rpc_key *k);
struct rpc_tls *rpc_tls_new(struct mica_rpc_key *k, int fd, bool want_client_cert);
void rpc_tls_free(struct rpc_tls *t);
int rpc_tls_handshake(struct rpc_tls *t); /* 1 = done, or RPC_IO_ */
/* > 0: octets; or RPC_IO_. */
ssize_t rpc_tls_read(struct rpc_tls *t, uint8_t *p, size_t len);
ssize_t rpc_tls_write(struct rpc_tls *t, const uint8_t *p, size_t len);
bool rpc_tls_buffered(const struct rpc_tls *t); /* octets that no socket will announce */
void rpc_tls_readable(struct rpc_tls *t); /* the socket was announced */
void rpc_tls_close(struct rpc_tls *t); /* close_notify, best effort */
/* The client's chain, copied; NULL without one. */
struct mica_slice *rpc_tls_chain(const struct rpc_tls *t, size_t *n);

/* ---- conn.c, loop.c, listen.c ---------------------------------------------------------------- */

struct rpc_loop;
struct rpc_listen {
	struct mica_rpc_listener o; /* strings copied */
	char address[128];
	int fd;
	bool plain_anywhere; /* plaintext beyond loopback: for what is no secret */
	struct mica_rpc_server *server;
	void *event;
	pthread_mutex_t key_lock;
	struct mica_rpc_key *key;
};
mica_rc rpc_listen_open(struct rpc_listen *l, struct mica_err *e) MICA_MUST_CHECK;
void rpc_listen_close(struct rpc_listen *l);
/* Who is there. */
void rpc_peer_read(int fd, const struct rpc_listen *l, struct mica_rpc_peer *out);

struct rpc_addresses; /* connections by address */
struct rpc_addresses *rpc_addresses_new(unsigned expected);
void rpc_addresses_free(struct rpc_addresses *a);
bool rpc_address_enter(struct rpc_addresses *a, const uint8_t network[16], unsigned max);
void rpc_address_leave(struct rpc_addresses *a, const uint8_t network[16]);

#endif
