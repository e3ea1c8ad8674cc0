/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one owner of libcurl: one-shot HTTP requests with limits. A client keeps connections
 * alive between requests; one client belongs to one thread at a time. Redirects are never
 * followed; only https (and http over a Unix socket or where `plain` allows) is spoken.
 */
#ifndef MICA_HTTP_CLIENT_H
#define MICA_HTTP_CLIENT_H

#include "mica/buf.h"

struct mica_http_client; /* opaque */

struct mica_http_options {
	const char *ca_file; /* PEM; NULL = the system's */
	struct mica_slice ca_pem; /* instead of ca_file; copied */
	const char *unix_socket; /* connect here whatever the URL's host; NULL = TCP */
	const char *cert_pem_file, *key_pem_file; /* client certificate; NULL = none */
	bool plain; /* allow http:// */
	bool no_proxy_env; /* ignore http_proxy and the like (default for servers: true) */
};
mica_rc mica_http_client_new(const struct mica_http_options *o, struct mica_http_client **out,
	struct mica_err *e) MICA_MUST_CHECK;
void mica_http_client_free(struct mica_http_client *c);

struct mica_http_request {
	const char *method; /* "GET", "POST", ... */
	const char *url;
	const char *bearer; /* NULL = none; never logged, not sent to another host */
	const char *content_type; /* of body */
	const char *accept;
	const char *if_none_match;
	struct mica_slice body;
	int64_t timeout_ms; /* whole request; > 0 */
	size_t max_body; /* of the answer; > 0 */
	/* Polled a few times a second; true ends the request as UNAVAILABLE "cancelled". */
	bool (*cancelled)(void *ctx);
	void *ctx;
};
struct mica_http_response {
	int status;
	char *content_type, *etag; /* NULL when absent */
	int retry_after; /* seconds; 0 = absent */
	struct mica_buf body;
};
/* OK whenever an answer with a status came, whatever the status. UNAVAILABLE: `connect_failed`,
 * `tls_failed`, `timeout`, `answer_broken`; LIMIT `answer_too_long`; INVALID `bad_url`.
 * *out is cleared with mica_http_response_clear in every case. */
mica_rc mica_http_do(struct mica_http_client *c, const struct mica_http_request *r,
	struct mica_http_response *out, struct mica_err *e) MICA_MUST_CHECK;
void mica_http_response_clear(struct mica_http_response *r);

#endif
