/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A gRPC server over HTTP/2, free of domain words: the one owner of libnghttp2 and libevent, and of
 * OpenSSL's TLS. A server has event loops, one for each core, and listeners: TLS or plaintext on
 * TCP, plaintext on Unix sockets. It reads, bounds and cuts what comes, and hands whole messages to
 * the methods of its services:
 *
 *	request complete -> method->call(ctx, c, message), on the loop of the connection
 *	    mica_rpc_reply(c, message)			one answer, or
 *	    mica_rpc_send(c, message) ...		any number, then
 *	    mica_rpc_end(c, NULL or why not)		now, or later, from any thread
 *
 * Each call that a method was given must be ended exactly once, even when it was cancelled or its
 * time is over (then nothing is sent) or the server is gone; nobody may touch it afterwards.
 *
 * Threads: the functions of a method run on the loop that owns the connection, and must not wait
 * for anything. A call may be answered from any thread, by one thread at a time.
 *
 * Answers come in bounded time, whatever a method does: a unary call that nobody ended until
 * `call_ms` is answered UNAVAILABLE here.
 */
#ifndef MICA_RPC_H
#define MICA_RPC_H

#include "mica/slice.h"

struct mica_rpc_server; /* opaque */
struct mica_rpc_call; /* opaque */

/* The codes of gRPC; those of errors follow from mica_rc_grpc(). */
enum mica_rpc_code {
	MICA_RPC_OK,
	MICA_RPC_CANCELLED,
	MICA_RPC_UNKNOWN,
	MICA_RPC_INVALID_ARGUMENT,
	MICA_RPC_DEADLINE_EXCEEDED,
	MICA_RPC_NOT_FOUND,
	MICA_RPC_ALREADY_EXISTS,
	MICA_RPC_PERMISSION_DENIED,
	MICA_RPC_RESOURCE_EXHAUSTED,
	MICA_RPC_FAILED_PRECONDITION,
	MICA_RPC_ABORTED,
	MICA_RPC_OUT_OF_RANGE,
	MICA_RPC_UNIMPLEMENTED,
	MICA_RPC_INTERNAL,
	MICA_RPC_UNAVAILABLE,
	MICA_RPC_DATA_LOSS,
	MICA_RPC_UNAUTHENTICATED,
	MICA_RPC_CODES
};

/* ---- calls --------------------------------------------------------------------------------- */

struct mica_rpc_peer {
	char address[64]; /* numeric, without port; "" on a Unix socket */
	uint8_t network[16]; /* for limits: IPv4-mapped address, or the /64 of an IPv6 one */
	bool tls;
	bool local; /* came over a Unix socket: uid, gid, pid hold (-1 = unknown) */
	int64_t uid, gid, pid;
	const char *listener; /* its name */
	/* What the client presented, DER, leaf first; its possession of the leaf's key is proved,
	 * nothing else is checked. NULL without a client certificate. */
	const struct mica_slice *chain;
	size_t n_chain;
};

/* Borrowed; holds until the call is ended. */
struct mica_rpc_call_data {
	struct mica_slice path; /* "/package.Service/Method" */
	struct mica_slice authority; /* may be empty */
	const struct mica_rpc_peer *peer;
	int64_t received_ms; /* mica_now_ms() when its headers were there */
	int64_t begun_ns; /* the same on mica_mono_ns() */
	/* On mica_mono_ms(): the client's deadline or our own bound, whichever is first;
	 * INT64_MAX for a stream without a deadline. */
	int64_t deadline_ms;
};
const struct mica_rpc_call_data *mica_rpc_call_data(const struct mica_rpc_call *c);

/* Metadata of the request, pseudo-headers left out; names are in lower case. Borrowed until the
 * call is ended. */
unsigned mica_rpc_headers(const struct mica_rpc_call *c); /* how many */
void mica_rpc_header_at(const struct mica_rpc_call *c, unsigned i, struct mica_slice *name,
	struct mica_slice *value); /* i < mica_rpc_headers() */
/* The first value of `name`; false when there is none. `*n` (may be NULL): how many there are. */
bool mica_rpc_header(
	const struct mica_rpc_call *c, const char *name, struct mica_slice *value, unsigned *n);
/* The octets of a value of a "-bin" header: base64 with or without padding, canonical. `*len` in:
 * room, out: bytes written. INVALID, LIMIT. */
mica_rc mica_rpc_bin_decode(struct mica_slice value, uint8_t *out, size_t *len) MICA_MUST_CHECK;

/* Metadata of the answer: before its first message, and behind its last. Names are lower case;
 * the value of a name that ends in "-bin" is given as octets. INVALID: a name or value that gRPC
 * does not allow, a reserved name; LIMIT: above 32 of them or 8 KiB. */
mica_rc mica_rpc_add_header(
	struct mica_rpc_call *c, const char *name, struct mica_slice value) MICA_MUST_CHECK;
mica_rc mica_rpc_add_trailer(
	struct mica_rpc_call *c, const char *name, struct mica_slice value) MICA_MUST_CHECK;

/* One message of the answer; copied. LIMIT: more than `max_queued` waits to be sent already and the
 * message was not taken; method->writable is called when there is room again. A method that sends
 * at most one message for each that it gets never meets it. OK also when the call is cancelled. */
mica_rc mica_rpc_send(struct mica_rpc_call *c, struct mica_slice message) MICA_MUST_CHECK;
/* Ends the call; e NULL or unset = OK. The client gets e->text with its reason, and as
 * google.rpc.Status details an ErrorInfo {reason in capitals, error_domain} and, when
 * e->retry_after is set, a RetryInfo. A unary call that ends OK without a message is INTERNAL. */
void mica_rpc_end(struct mica_rpc_call *c, const struct mica_err *e);
/* The same with a code that no class of errors stands for. */
void mica_rpc_end_as(struct mica_rpc_call *c, enum mica_rpc_code code, const struct mica_err *e);
/* send and end in one. */
void mica_rpc_reply(struct mica_rpc_call *c, struct mica_slice message);

/* The client or its deadline has given the call up: what is sent goes nowhere. Any thread. */
bool mica_rpc_cancelled(const struct mica_rpc_call *c);

/* Room for a method's own state, one pointer; `done` (may be NULL) is called once the call is over
 * for everybody, on any thread. */
void mica_rpc_set_state(struct mica_rpc_call *c, void *state, void (*done)(void *state));
void *mica_rpc_state(const struct mica_rpc_call *c);
/* The same for the connection, which all its calls share: what was found out about its client
 * certificate, say. On the loop alone (in the functions of methods, in `admit`). */
void mica_rpc_set_peer_state(struct mica_rpc_call *c, void *state, void (*done)(void *state));
void *mica_rpc_peer_state(const struct mica_rpc_call *c);

/* Between these, on one thread, answers are only collected; the second wakes each loop once. For
 * whoever ends many calls at a time: a wake-up an answer costs more than the answer. Do not wait
 * for anything in between. */
void mica_rpc_batch_begin(void);
void mica_rpc_batch_end(void);

/* ---- services ------------------------------------------------------------------------------ */

enum mica_rpc_kind {
	MICA_RPC_UNARY,
	MICA_RPC_SERVER_STREAM,
	MICA_RPC_BIDI /* client streams too */
};
struct mica_rpc_method {
	const char *name; /* "Check" */
	enum mica_rpc_kind kind;
	size_t max_message; /* of a request; 0 = the server's */
	/* UNARY, SERVER_STREAM: the request is complete. UNARY: `message` holds until the call is
	 * ended; SERVER_STREAM: until the return. BIDI: the headers are there; `message` is
	 * empty. */
	void (*call)(void *ctx, struct mica_rpc_call *c, struct mica_slice message);
	/* BIDI only: a message came (holds until the return); no more will come. What a client
	 * sends is read no further while the answers queued for it exceed max_queued. Not called
	 * after the call was ended or cancelled. */
	void (*message)(void *ctx, struct mica_rpc_call *c, struct mica_slice message);
	void (*half_closed)(void *ctx, struct mica_rpc_call *c);
	/* There is room again after a LIMIT of mica_rpc_send(); may be NULL. */
	void (*writable)(void *ctx, struct mica_rpc_call *c);
	/* The client or a deadline gave the call up before its end, which is still due. At most
	 * once, never after the end was seen; may be NULL. */
	void (*cancelled)(void *ctx, struct mica_rpc_call *c);
};
struct mica_rpc_service {
	const char *name; /* "package.Service" */
	const struct mica_rpc_method *methods;
	size_t n_methods;
	void *ctx;
	/* A serialized FileDescriptorSet with all imports, for reflection; may be empty. */
	struct mica_slice descriptors;
};

/* ---- servers ------------------------------------------------------------------------------- */

struct mica_rpc_key; /* a certificate chain and its key, parsed for serving; reference-counted */
/* chain_pem: leaf first; pkcs8: DER of the key. INVALID "tls_key_invalid". */
mica_rc mica_rpc_key_new(struct mica_slice chain_pem, struct mica_slice pkcs8,
	struct mica_rpc_key **out, struct mica_err *e) MICA_MUST_CHECK;
void mica_rpc_key_unref(struct mica_rpc_key *k); /* NULL is fine */

struct mica_rpc_listener {
	const char *name; /* "grpc", "local": for logs and metrics */
	const char *host; /* numeric address, and */
	uint16_t port; /* 0 = the kernel chooses; or */
	const char *unix_path; /* Unix socket, made 0660 (or `unix_mode`) with group `unix_gid` */
	int64_t unix_gid; /* -1 = as it is */
	unsigned unix_mode; /* 0 = 0660 */
	/* TLS; a reference is taken. NULL = plaintext, which TCP gets on loopback only. */
	struct mica_rpc_key *key;
	bool want_client_cert; /* asked for; optional, and not verified here */
};

struct mica_rpc_options {
	const struct mica_rpc_listener *listeners;
	size_t n_listeners;
	const struct mica_rpc_service *services; /* borrowed until the server is stopped */
	size_t n_services;
	const char *error_domain; /* of ErrorInfo; a literal */
	bool reflection; /* serve grpc.reflection */
	unsigned loops; /* 0 = as many as cores */

	unsigned max_connections;
	unsigned max_per_address; /* IPv4 address or IPv6 /64; 0 = no bound */
	unsigned max_streams; /* a connection: told to the client, and kept for abandoned ones */
	unsigned max_calls; /* that methods have, streams too; above: RESOURCE_EXHAUSTED */
	size_t max_message; /* of a request, where its method says nothing */
	unsigned max_headers;
	size_t max_header_bytes; /* names and values; 32 more for each, as HTTP/2 counts */
	size_t max_queued; /* octets of answers that wait on one call */
	size_t max_buffered; /* octets of requests, a connection; at least the longest message */
	size_t max_buffered_all; /* of all connections, but for 16 KiB each */

	int64_t handshake_ms; /* TLS and the client's preface */
	int64_t headers_ms; /* one block of headers, first octet to last */
	int64_t request_ms; /* one unary request, headers to last octet */
	int64_t call_ms; /* until a unary call is ended */
	int64_t stall_ms; /* a client must read 16 KiB, or all there is, in this time */
	int64_t idle_ms; /* without any call */
	int64_t max_age_ms; /* of a connection, more or less a tenth; 0 = no bound */
	int64_t grace_ms; /* from GOAWAY to the end, for calls under way */

	/* A new connection, before anything is spent on it; false closes it. May be NULL. */
	bool (*accept)(void *ctx, const struct mica_rpc_peer *peer);
	/* The headers of a call are there, no message yet: false refuses it with *e. NULL = all are
	 * let in. */
	bool (*admit)(void *ctx, struct mica_rpc_call *c, struct mica_err *e);
	/* An answer was given or nobody wants it any more: for metrics and logs. `reason` is that
	 * of the error, NULL when OK. May be NULL. On the loop. */
	void (*finished)(void *ctx, const struct mica_rpc_call_data *d, enum mica_rpc_code code,
		const char *reason);
	void *ctx;
};
/* Defaults for all that is a number; the rest is empty. */
void mica_rpc_options_init(struct mica_rpc_options *o);

/* Listens and serves; methods may be called before it returns. INVALID "listen_address" (also
 * plaintext beyond loopback), "service_invalid" (a name twice, a missing function, unreadable
 * descriptors), CONFLICT "address_in_use", DENIED
 * ..., as errno. */
mica_rc mica_rpc_server_new(const struct mica_rpc_options *o, struct mica_rpc_server **out,
	struct mica_err *e) MICA_MUST_CHECK;
/* "127.0.0.1:8443" with the real port, or the path. */
const char *mica_rpc_server_address(const struct mica_rpc_server *s, size_t listener);
/* For new handshakes of all listeners that have a key; takes a reference. Any thread. */
void mica_rpc_server_set_key(struct mica_rpc_server *s, struct mica_rpc_key *k);
/* What grpc.health.v1 and /healthz say; "" is the server as a whole. All serve at first; a name
 * that is no service is ignored. Any thread. */
void mica_rpc_server_set_serving(struct mica_rpc_server *s, const char *service, bool serving);
/* Accepts no more connections, says so on the present ones (GOAWAY) and to health checks. */
void mica_rpc_server_drain(struct mica_rpc_server *s);
/* Drains, waits for the calls under way up to `wait_ms`, then closes what is left. NULL is fine. */
void mica_rpc_server_stop(struct mica_rpc_server *s, int64_t wait_ms);

/* Why a connection was cut. */
enum mica_rpc_cut {
	MICA_RPC_CUT_RESETS, /* streams reset, by the client or for its fault */
	MICA_RPC_CUT_FRAMES, /* frames that carry nothing */
	MICA_RPC_CUT_PROTOCOL, /* not HTTP/2 */
	MICA_RPC_CUT_HANDSHAKE, /* no TLS or no preface in time */
	MICA_RPC_CUT_HEADERS, /* headers too slow */
	MICA_RPC_CUT_STALL, /* answers not read */
	MICA_RPC_CUTS
};
const char *mica_rpc_cut_name(enum mica_rpc_cut c); /* "resets", ... */

struct mica_rpc_stats {
	uint64_t connections_now, connections, refused_connections, tls_failed;
	uint64_t calls_now, calls; /* calls_now: given to methods and not ended */
	uint64_t codes[MICA_RPC_CODES]; /* answers by code */
	uint64_t cuts[MICA_RPC_CUTS];
	uint64_t bytes_in, bytes_out; /* of HTTP/2 */
};
void mica_rpc_server_stats(const struct mica_rpc_server *s, struct mica_rpc_stats *out);

#endif
