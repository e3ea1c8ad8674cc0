/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one owner of libcurl: one-shot HTTP requests with limits. A client keeps connections
 * alive between requests; one client belongs to one thread at a time. Redirects are never
 * followed; only https (and http over a Unix socket or where `plain` allows) is spoken, TLS
 * from 1.2 on, HTTP/1.1. A request that met a connection which the other side had closed
 * meanwhile is sent once more on a new one.
 */
#ifndef MICA_HTTP_CLIENT_H
#define MICA_HTTP_CLIENT_H

#include "mica/buf.h"

struct mica_http_client; /* opaque */

struct mica_http_options {
	/* PEM; NULL = the system's. Read again for every request, and only what it holds is
	 * trusted: connections made with another content are not used again. */
	const char *ca_file;
	struct mica_slice ca_pem; /* instead of ca_file; copied */
	const char *unix_socket; /* connect here whatever the URL's host; NULL = TCP */
	const char *cert_pem_file, *key_pem_file; /* client certificate; NULL = none */
	struct mica_slice cert_pem, key_pem; /* instead of the files; copied, the key wiped */
	/* TLS without any check of who answers: for reading what is proved otherwise (a key that is
	 * pinned). Nothing of ours is sent: a bearer or a client certificate is INVALID
	 * "bad_request". */
	bool unverified;
	bool plain; /* allow http:// */
	bool no_proxy_env; /* ignore http_proxy and the like (default for servers: true) */
};
/* INVALID "bad_socket_path": longer than a Unix socket's address takes. */
mica_rc mica_http_client_new(const struct mica_http_options *o, struct mica_http_client **out,
	struct mica_err *e) MICA_MUST_CHECK;
void mica_http_client_free(struct mica_http_client *c); /* NULL is fine */

struct mica_http_request {
	const char *method; /* "GET", "POST", ... */
	const char *url; /* absolute; no user, no fragment */
	const char *bearer; /* NULL = none; never logged, not sent to another host */
	const char *content_type; /* of body */
	const char *accept;
	const char *if_none_match, *if_match;
	struct mica_slice body; /* not sent with GET and HEAD */
	int64_t timeout_ms; /* whole request; > 0 */
	size_t max_body; /* of the answer; > 0 */
	/* Polled a few times a second; true ends the request as UNAVAILABLE "cancelled". */
	bool (*cancelled)(void *ctx);
	void *ctx;
};
struct mica_http_response {
	int status;
	char *content_type, *etag; /* NULL when absent */
	int retry_after; /* seconds, at most a day; 0 = absent */
	struct mica_buf body; /* wiped when cleared: answers may hold tokens */
};
/* OK whenever a whole answer with a status came, whatever the status. UNAVAILABLE:
 * `connect_failed`, `tls_failed`, `timeout`, `answer_broken`, `cancelled`, `ca_file_unusable`;
 * LIMIT `answer_too_long` (headers count too, 64 KiB); INVALID `bad_url`, `bad_request` (a method,
 * header value, timeout or limit that cannot be sent). Texts name method and URL without its
 * query, never a header.
 * *out is cleared with mica_http_response_clear in every case. */
mica_rc mica_http_do(struct mica_http_client *c, const struct mica_http_request *r,
	struct mica_http_response *out, struct mica_err *e) MICA_MUST_CHECK;
void mica_http_response_clear(struct mica_http_response *r);

/* The parts of an absolute http or https URL. INVALID `bad_url`: another scheme, user, password or
 * fragment, octets beyond visible ASCII, no host. */
struct mica_http_url {
	bool https;
	char host[256]; /* lower case; an IPv6 address stands in brackets */
	uint16_t port; /* the scheme's when the URL names none */
};
mica_rc mica_http_url_parse(
	const char *url, struct mica_http_url *out, struct mica_err *e) MICA_MUST_CHECK;

static inline void mica_auto_http_client_(struct mica_http_client **p)
{
	mica_http_client_free(*p);
}
#define MICA_AUTO_HTTP_CLIENT                                                                      \
	__attribute__((cleanup(mica_auto_http_client_))) struct mica_http_client *
/* Initialise with {0}. */
#define MICA_AUTO_HTTP_RESPONSE                                                                    \
	__attribute__((cleanup(mica_http_response_clear))) struct mica_http_response

#endif
