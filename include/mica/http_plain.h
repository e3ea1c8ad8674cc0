/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small HTTP/1.1 server for a program's figures and probes: GET and HEAD, one answer a
 * connection, one thread, no TLS, no bodies of requests. On a numeric address or a Unix socket. For
 * more there is server/http.h of micad.
 *
 * Bounded: 16 connections, of which the oldest makes room for the next; 4 KiB of head; 5 seconds
 * from connecting to the last octet. What is no request of HTTP/1 is 400, another method 405, a
 * head that is too long 431.
 */
#ifndef MICA_HTTP_PLAIN_H
#define MICA_HTTP_PLAIN_H

#include "mica/buf.h"

struct mica_http_plain; /* opaque */

/* 404 and no text unless it is filled in. */
struct mica_http_plain_answer {
	int status; /* 200, 404, 503 */
	const char *type; /* of the text; a literal */
	struct mica_buf body; /* up to 1 MiB */
};

/* Strings are borrowed until the stop. */
struct mica_http_plain_options {
	const char *host; /* numeric address, and */
	uint16_t port; /* 0 = the kernel chooses; or */
	const char *unix_path; /* Unix socket, made 0660 (or `unix_mode`) */
	unsigned unix_mode;
	/* `path` is borrowed, its query cut off. On the server's thread; must not wait. */
	void (*get)(void *ctx, struct mica_slice path, struct mica_http_plain_answer *out);
	void *ctx;
};

/* Listens and serves. INVALID "listen_address", CONFLICT "address_in_use", DENIED ..., as errno;
 * UNAVAILABLE "no_threads". */
mica_rc mica_http_plain_new(const struct mica_http_plain_options *o, struct mica_http_plain **out,
	struct mica_err *e) MICA_MUST_CHECK;
/* "127.0.0.1:9465" with the real port, or the path. */
const char *mica_http_plain_address(const struct mica_http_plain *s);
void mica_http_plain_stop(struct mica_http_plain *s); /* NULL is fine */

#endif
