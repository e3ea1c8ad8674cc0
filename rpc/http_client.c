/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libcurl through its multi interface, one transfer at a time: so that a request can be given up
 * within a fraction of a second, and that connections outlive requests.
 */
#include "config.h"

#include "mica/http_client.h"

#include "mica/clock.h"
#include "mica/file.h"
#include "mica/mem.h"
#include "mica/secret.h"

#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/un.h>

#define CA_MAX      (1024 * 1024)
#define HEADERS_MAX ((size_t)64 * 1024)
#define POLL_MS     200
#define A_DAY       86400

struct mica_http_client {
	CURLM *multi;
	CURL *easy;
	char *ca_file, *unix_socket, *cert_file, *key_file;
	struct mica_buf ca; /* what is trusted; empty: the system's */
	struct mica_buf cert, key; /* PEM; empty: files, or none */
	bool plain, no_proxy_env, unverified;
};

/* One request under way. */
struct transfer {
	struct mica_http_client *c;
	const struct mica_http_request *r;
	struct mica_http_response *out;
	struct mica_http_url url;
	struct curl_slist *headers;
	size_t header_bytes;
	bool head_is_whole; /* the empty line behind the headers came */
	bool framed; /* they said where the body ends */
	bool too_long;
	char curl_text[CURL_ERROR_SIZE];
	char where[300]; /* method and URL without query, for messages */
};

static void init_once(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* ---- URLs ---------------------------------------------------------------------------------- */

MICA_CLEANUP_PTR(CURLU, curl_url_cleanup);

static void free_curl_string(char **p)
{
	curl_free(*p);
}
#define AUTO_CURL_STRING __attribute__((cleanup(free_curl_string))) char *

static mica_rc bad_url(struct mica_err *e, const char *why)
{
	return mica_fail(e, MICA_INVALID, "bad_url", "%s; expected https://HOST[:PORT]/PATH", why);
}

static bool visible_ascii(const char *s)
{
	for (; *s; s++)
		if (*s < 0x21 || *s > 0x7e)
			return false;
	return true;
}

static bool has_part(CURLU *u, CURLUPart part)
{
	AUTO_CURL_STRING s = NULL;
	return curl_url_get(u, part, &s, 0) == CURLUE_OK;
}

static mica_rc host_and_port(CURLU *u, struct mica_http_url *out, struct mica_err *e)
{
	AUTO_CURL_STRING host = NULL;
	AUTO_CURL_STRING port = NULL;
	uint64_t n;

	if (curl_url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK || !host[0])
		return bad_url(e, "the URL has no host");
	if (mica_slice_copy(mica_slice_str(host), out->host, sizeof(out->host)) != MICA_OK)
		return bad_url(e, "the host of the URL is too long");
	for (char *p = out->host; *p; p++)
		if (*p >= 'A' && *p <= 'Z')
			*p = (char)(*p + ('a' - 'A'));
	if (curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) != CURLUE_OK ||
		mica_parse_u64(mica_slice_str(port), UINT16_MAX, &n) != MICA_OK || n == 0)
		return bad_url(e, "the port of the URL is none");
	out->port = (uint16_t)n;
	return MICA_OK;
}

mica_rc mica_http_url_parse(const char *url, struct mica_http_url *out, struct mica_err *e)
{
	MICA_AUTO_PTR(CURLU) u = curl_url();
	AUTO_CURL_STRING scheme = NULL;

	*out = (struct mica_http_url){.https = false};
	if (!visible_ascii(url))
		return bad_url(e, "the URL has octets beyond visible ASCII");
	/* libcurl takes https:/host and https:///host; we do not. */
	if (strncasecmp(url, "https://", 8) != 0 && strncasecmp(url, "http://", 7) != 0)
		return bad_url(e, "the URL is neither https:// nor http://");
	if (strstr(url, "://")[3] == '/')
		return bad_url(e, "the URL has no host");
	if (!u || curl_url_set(u, CURLUPART_URL, url, CURLU_PATH_AS_IS) != CURLUE_OK ||
		curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK)
		return bad_url(e, "the URL cannot be read");
	if (has_part(u, CURLUPART_USER) || has_part(u, CURLUPART_PASSWORD) ||
		has_part(u, CURLUPART_FRAGMENT))
		return bad_url(e, "the URL has a user, password or fragment");
	out->https = strcmp(scheme, "https") == 0;
	return host_and_port(u, out, e);
}

/* ---- life ---------------------------------------------------------------------------------- */

mica_rc mica_http_client_new(
	const struct mica_http_options *o, struct mica_http_client **out, struct mica_err *e)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct mica_http_client *c;

	*out = NULL;
	pthread_once(&once, init_once);
	if (o->unix_socket &&
		(!o->unix_socket[0] ||
			strlen(o->unix_socket) >= sizeof(((struct sockaddr_un *)0)->sun_path)))
		return mica_fail(e, MICA_INVALID, "bad_socket_path",
			"a Unix socket's path has 1 to %zu octets",
			sizeof(((struct sockaddr_un *)0)->sun_path) - 1);
	c = MICA_NEW(struct mica_http_client);
	c->multi = curl_multi_init();
	c->easy = curl_easy_init();
	mica_buf_init(&c->ca, CA_MAX);
	if (o->ca_pem.len == 0)
		c->ca_file = mica_strdup(o->ca_file);
	mica_buf_put_slice(&c->ca, o->ca_pem);
	mica_buf_init(&c->cert, CA_MAX);
	mica_buf_init_secret(&c->key, CA_MAX);
	mica_buf_put_slice(&c->cert, o->cert_pem);
	mica_buf_put_slice(&c->key, o->key_pem);
	c->unix_socket = mica_strdup(o->unix_socket);
	c->cert_file = mica_strdup(o->cert_pem_file);
	c->key_file = mica_strdup(o->key_pem_file);
	c->plain = o->plain;
	c->no_proxy_env = o->no_proxy_env;
	c->unverified = o->unverified;
	if (!c->multi || !c->easy || c->ca.over || c->cert.over || c->key.over) {
		mica_http_client_free(c);
		return mica_fail(e, MICA_INTERNAL, "http_client", "no HTTP client could be made");
	}
	curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, 4L);
	*out = c;
	return MICA_OK;
}

void mica_http_client_free(struct mica_http_client *c)
{
	if (!c)
		return;
	curl_easy_cleanup(c->easy);
	curl_multi_cleanup(c->multi);
	mica_buf_clear(&c->ca);
	mica_buf_clear(&c->cert);
	mica_buf_clear(&c->key);
	mica_free(c->ca_file);
	mica_free(c->unix_socket);
	mica_free(c->cert_file);
	mica_free(c->key_file);
	mica_free(c);
}

static void forget_headers(struct mica_http_response *r)
{
	mica_free(MICA_STEAL(r->content_type));
	mica_free(MICA_STEAL(r->etag));
}

void mica_http_response_clear(struct mica_http_response *r)
{
	forget_headers(r);
	mica_buf_clear(&r->body);
	r->status = r->retry_after = 0;
}

/* ---- what libcurl calls ---------------------------------------------------------------------- */

static size_t on_body(char *p, size_t size, size_t n, void *ctx)
{
	struct transfer *t = ctx;

	mica_buf_put(&t->out->body, p, size * n);
	t->too_long = t->out->body.over;
	return t->too_long ? 0 : size * n;
}

static struct mica_slice trimmed(struct mica_slice s)
{
	while (s.len > 0 && s.p[0] <= ' ')
		s = mica_slice(s.p + 1, s.len - 1);
	while (s.len > 0 && s.p[s.len - 1] <= ' ')
		s.len--;
	return s;
}

static bool named(struct mica_slice name, const char *what)
{
	return name.len == strlen(what) && strncasecmp((const char *)name.p, what, name.len) == 0;
}

/* The last one of several counts; a value with other octets than printable ASCII is not kept. */
static void keep(char **to, struct mica_slice value)
{
	for (size_t i = 0; i < value.len; i++)
		if (value.p[i] < ' ' || value.p[i] > '~')
			return;
	mica_free(*to);
	*to = mica_slice_dup(value);
}

static size_t on_header(char *p, size_t size, size_t n, void *ctx)
{
	struct transfer *t = ctx;
	struct mica_slice line = mica_slice(p, size * n), name;

	t->header_bytes += line.len;
	if (t->header_bytes > HEADERS_MAX) {
		t->too_long = true;
		return 0;
	}
	if (mica_slice_has_prefix(line, MICA_LIT("HTTP/"))) {
		forget_headers(t->out); /* behind a 1xx answer the real one begins */
		t->head_is_whole = t->framed = false;
	}
	if (trimmed(line).len == 0)
		t->head_is_whole = true;
	if (!mica_slice_cut(&line, ':', &name))
		return size * n;
	if (named(name, "content-type"))
		keep(&t->out->content_type, trimmed(line));
	else if (named(name, "etag"))
		keep(&t->out->etag, trimmed(line));
	else if (named(name, "content-length") || named(name, "transfer-encoding"))
		t->framed = true;
	return size * n;
}

/* ---- one request --------------------------------------------------------------------------- */

static mica_rc add_header(
	struct transfer *t, const char *name, const char *value, struct mica_err *e)
{
	MICA_AUTO_BUF line;
	struct curl_slist *more;

	if (!value)
		return MICA_OK;
	for (const char *p = value; *p; p++)
		if (*p < ' ' || *p > '~')
			return mica_fail(e, MICA_INVALID, "bad_request",
				"what follows \"%s\" has octets beyond printable ASCII", name);
	mica_buf_init_secret(&line, HEADERS_MAX);
	mica_buf_put_str(&line, name);
	mica_buf_put_str(&line, value);
	if (line.over)
		return mica_fail(
			e, MICA_INVALID, "bad_request", "what follows \"%s\" is too long", name);
	more = curl_slist_append(t->headers, (const char *)line.p);
	if (!more)
		return mica_fail(e, MICA_UNAVAILABLE, "out_of_memory", "no memory for headers");
	t->headers = more;
	return MICA_OK;
}

static mica_rc add_headers(struct transfer *t, struct mica_err *e)
{
	const struct mica_http_request *r = t->r;
	const struct {
		const char *name, *value;
	} all[] = {
		{"Authorization: Bearer ", r->bearer},
		{"Content-Type: ", r->body.len > 0 ? r->content_type : NULL},
		{"Accept: ", r->accept},
		{"If-None-Match: ", r->if_none_match},
		{"If-Match: ", r->if_match},
		/* No pause before the body: none of our bodies is worth a round trip. */
		{"Expect:", ""},
	};
	mica_rc rc = MICA_OK;

	for (size_t i = 0; i < MICA_ARRAY_LEN(all) && rc == MICA_OK; i++)
		rc = add_header(t, all[i].name, all[i].value, e);
	return rc;
}

static void wipe_headers(struct transfer *t)
{
	for (struct curl_slist *h = t->headers; h; h = h->next)
		mica_wipe(h->data, strlen(h->data));
	curl_slist_free_all(t->headers);
	t->headers = NULL;
}

/* The file may be another one than last time (a mounted bundle that was renewed). */
static mica_rc read_ca(struct mica_http_client *c, struct mica_err *e)
{
	MICA_AUTO_BUF now;
	struct mica_err why = MICA_ERR_INIT;

	if (!c->ca_file)
		return MICA_OK;
	mica_buf_init(&now, CA_MAX);
	if (mica_file_read(c->ca_file, &now, &why) != MICA_OK)
		return mica_fail(e, MICA_UNAVAILABLE, "ca_file_unusable", "%s", why.text);
	if (now.len == 0)
		return mica_fail(e, MICA_UNAVAILABLE, "ca_file_unusable", "%s: empty", c->ca_file);
	mica_buf_reset(&c->ca);
	mica_buf_put_slice(&c->ca, mica_buf_slice(&now));
	return MICA_OK;
}

/* The blobs outlive the transfer, so that no copy of a key stays with libcurl. */
static void set_client_cert(struct mica_http_client *c)
{
	struct curl_blob cert = {c->cert.p, c->cert.len, CURL_BLOB_NOCOPY};
	struct curl_blob key = {c->key.p, c->key.len, CURL_BLOB_NOCOPY};
	CURL *h = c->easy;

	if (c->cert.len > 0)
		curl_easy_setopt(h, CURLOPT_SSLCERT_BLOB, &cert);
	if (c->key.len > 0)
		curl_easy_setopt(h, CURLOPT_SSLKEY_BLOB, &key);
	if (c->cert_file)
		curl_easy_setopt(h, CURLOPT_SSLCERT, c->cert_file);
	if (c->key_file)
		curl_easy_setopt(h, CURLOPT_SSLKEY, c->key_file);
}

static void set_tls(struct mica_http_client *c)
{
	CURL *h = c->easy;

	curl_easy_setopt(h, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(h, CURLOPT_SSL_VERIFYPEER, c->unverified ? 0L : 1L);
	curl_easy_setopt(h, CURLOPT_SSL_VERIFYHOST, c->unverified ? 0L : 2L);
	if (c->ca.len > 0) {
		struct curl_blob ca = {c->ca.p, c->ca.len, CURL_BLOB_COPY};
		/* Without these two the system's authorities would be trusted besides. */
		curl_easy_setopt(h, CURLOPT_CAINFO, NULL);
		curl_easy_setopt(h, CURLOPT_CAPATH, NULL);
		curl_easy_setopt(h, CURLOPT_CAINFO_BLOB, &ca);
	}
	set_client_cert(c);
}

static void set_network(struct transfer *t)
{
	struct mica_http_client *c = t->c;
	CURL *h = c->easy;

	curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(
		h, CURLOPT_PROTOCOLS_STR, c->plain || c->unix_socket ? "http,https" : "https");
	curl_easy_setopt(h, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, (long)t->r->timeout_ms);
	curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, (long)t->r->timeout_ms);
	/* A resolver that hangs is left behind at the deadline instead of waited for. */
	curl_easy_setopt(h, CURLOPT_QUICK_EXIT, 1L);
	curl_easy_setopt(h, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	if (c->unix_socket)
		curl_easy_setopt(h, CURLOPT_UNIX_SOCKET_PATH, c->unix_socket);
	if (c->no_proxy_env || c->unix_socket) {
		curl_easy_setopt(h, CURLOPT_PROXY, "");
		curl_easy_setopt(h, CURLOPT_NOPROXY, "*");
	}
	if (t->url.https)
		set_tls(c);
}

static void set_request(struct transfer *t)
{
	const struct mica_http_request *r = t->r;
	CURL *h = t->c->easy;

	curl_easy_setopt(h, CURLOPT_URL, r->url);
	curl_easy_setopt(h, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(h, CURLOPT_USERAGENT, "mica/" PACKAGE_VERSION);
	curl_easy_setopt(h, CURLOPT_HTTPHEADER, t->headers);
	curl_easy_setopt(h, CURLOPT_ERRORBUFFER, t->curl_text);
	curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(h, CURLOPT_WRITEDATA, t);
	curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(h, CURLOPT_HEADERDATA, t);
	/* A length that is announced is refused before its first byte. */
	curl_easy_setopt(h, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)r->max_body);
	if (strcmp(r->method, "HEAD") == 0) {
		curl_easy_setopt(h, CURLOPT_NOBODY, 1L);
	} else if (strcmp(r->method, "GET") != 0) {
		curl_easy_setopt(h, CURLOPT_POST, 1L);
		curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, r->method);
		curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body.len);
		curl_easy_setopt(
			h, CURLOPT_POSTFIELDS, r->body.len > 0 ? (const char *)r->body.p : "");
	}
}

/* Until the transfer is over, or `cancelled` says so: *cancelled then. */
static CURLcode run(struct transfer *t, bool *cancelled)
{
	struct mica_http_client *c = t->c;
	CURLcode code = CURLE_OK;
	int64_t asked = mica_mono_ms();
	int running = 1, left;

	if (curl_multi_add_handle(c->multi, c->easy) != CURLM_OK)
		return CURLE_FAILED_INIT;
	while (!*cancelled) {
		if (curl_multi_perform(c->multi, &running) != CURLM_OK) {
			code = CURLE_FAILED_INIT;
			break;
		}
		if (running == 0) {
			CURLMsg *m = curl_multi_info_read(c->multi, &left);
			code = m ? m->data.result : CURLE_FAILED_INIT;
			break;
		}
		curl_multi_poll(c->multi, NULL, 0, POLL_MS, NULL);
		if (mica_mono_ms() - asked >= POLL_MS) {
			asked = mica_mono_ms();
			*cancelled = t->r->cancelled && t->r->cancelled(t->r->ctx);
		}
	}
	curl_multi_remove_handle(c->multi, c->easy);
	return code;
}

/* OpenSSL writes without MSG_NOSIGNAL: a SIGPIPE that a write of ours raised is taken back here, in
 * this thread, and programs keep whatever they do about it. */
static CURLcode run_without_sigpipe(struct transfer *t, bool *cancelled)
{
	const struct timespec at_once = {0, 0};
	sigset_t sigpipe, old, before, after;
	CURLcode code;

	sigemptyset(&sigpipe);
	sigaddset(&sigpipe, SIGPIPE);
	sigemptyset(&before);
	sigpending(&before);
	pthread_sigmask(SIG_BLOCK, &sigpipe, &old);
	code = run(t, cancelled);
	sigemptyset(&after);
	sigpending(&after);
	if (sigismember(&after, SIGPIPE) == 1 && sigismember(&before, SIGPIPE) != 1)
		while (sigtimedwait(&sigpipe, NULL, &at_once) < 0 && errno == EINTR)
			continue;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return code;
}

static const struct {
	CURLcode code;
	mica_rc rc;
	const char *reason;
} outcomes[] = {
	{CURLE_URL_MALFORMAT, MICA_INVALID, "bad_url"},
	{CURLE_COULDNT_RESOLVE_PROXY, MICA_UNAVAILABLE, "connect_failed"},
	{CURLE_COULDNT_RESOLVE_HOST, MICA_UNAVAILABLE, "connect_failed"},
	{CURLE_COULDNT_CONNECT, MICA_UNAVAILABLE, "connect_failed"},
	{CURLE_PROXY, MICA_UNAVAILABLE, "connect_failed"},
	{CURLE_SSL_CONNECT_ERROR, MICA_UNAVAILABLE, "tls_failed"},
	{CURLE_PEER_FAILED_VERIFICATION, MICA_UNAVAILABLE, "tls_failed"},
	{CURLE_SSL_CERTPROBLEM, MICA_UNAVAILABLE, "tls_failed"},
	{CURLE_SSL_CIPHER, MICA_UNAVAILABLE, "tls_failed"},
	{CURLE_SSL_ISSUER_ERROR, MICA_UNAVAILABLE, "tls_failed"},
	{CURLE_SSL_CACERT_BADFILE, MICA_UNAVAILABLE, "ca_file_unusable"},
	{CURLE_OPERATION_TIMEDOUT, MICA_UNAVAILABLE, "timeout"},
	{CURLE_FILESIZE_EXCEEDED, MICA_LIMIT, "answer_too_long"},
	{CURLE_OUT_OF_MEMORY, MICA_UNAVAILABLE, "out_of_memory"},
};

static mica_rc failure(const struct transfer *t, CURLcode code, struct mica_err *e)
{
	const char *text = t->curl_text[0] ? t->curl_text : curl_easy_strerror(code);

	if (t->too_long)
		code = CURLE_FILESIZE_EXCEEDED;
	if (code == CURLE_FILESIZE_EXCEEDED)
		return mica_fail(e, MICA_LIMIT, "answer_too_long",
			"%s: the answer is longer than the limit of %zu bytes", t->where,
			t->r->max_body);
	for (size_t i = 0; i < MICA_ARRAY_LEN(outcomes); i++)
		if (outcomes[i].code == code)
			return mica_fail(
				e, outcomes[i].rc, outcomes[i].reason, "%s: %s", t->where, text);
	/* Reset, cut off, or not HTTP. */
	return mica_fail(e, MICA_UNAVAILABLE, "answer_broken", "%s: %s", t->where, text);
}

static mica_rc finish(struct transfer *t, CURLcode code, bool cancelled, struct mica_err *e)
{
	long status = 0;
	curl_off_t wait = 0;

	if (cancelled)
		return mica_fail(
			e, MICA_UNAVAILABLE, "cancelled", "%s: the request was given up", t->where);
	if (code != CURLE_OK)
		return failure(t, code, e);
	curl_easy_getinfo(t->c->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(t->c->easy, CURLINFO_RETRY_AFTER, &wait);
	if (!t->head_is_whole || status < 200 || status > 999)
		return mica_fail(e, MICA_UNAVAILABLE, "answer_broken",
			"%s: the answer is cut off or has no status from 200 to 999", t->where);
	/* A body that ends with its connection could be cut short by anybody on the way: libcurl
	 * takes a TLS stream without close_notify for whole. */
	if (status / 100 == 2 && status != 204 && !t->framed)
		return mica_fail(e, MICA_UNAVAILABLE, "answer_broken",
			"%s: the answer does not say where it ends", t->where);
	t->out->status = (int)status;
	t->out->retry_after = wait < 0 ? 0 : wait > A_DAY ? A_DAY : (int)wait;
	return MICA_OK;
}

static mica_rc check(struct transfer *t, struct mica_err *e)
{
	const struct mica_http_request *r = t->r;
	size_t letters = strspn(r->method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");

	if (letters == 0 || letters > 16 || r->method[letters])
		return mica_fail(
			e, MICA_INVALID, "bad_request", "the method is not a word in capitals");
	if (r->timeout_ms <= 0 || r->timeout_ms > INT64_C(1000) * A_DAY || r->max_body == 0)
		return mica_fail(
			e, MICA_INVALID, "bad_request", "a request has a time and size limit");
	if (t->c->unverified && (r->bearer || t->c->cert_file || t->c->cert.len > 0))
		return mica_fail(e, MICA_INVALID, "bad_request",
			"nothing is shown to a server that is not verified");
	if (mica_http_url_parse(r->url, &t->url, e) != MICA_OK)
		return MICA_INVALID;
	if (!t->url.https && !t->c->plain && !t->c->unix_socket)
		return bad_url(e, "plain http is not allowed here");
	return t->url.https ? read_ca(t->c, e) : MICA_OK;
}

mica_rc mica_http_do(struct mica_http_client *c, const struct mica_http_request *r,
	struct mica_http_response *out, struct mica_err *e)
{
	struct transfer t = {.c = c, .r = r, .out = out};
	bool cancelled = false;
	CURLcode code;
	mica_rc rc;

	*out = (struct mica_http_response){.status = 0};
	mica_buf_init_secret(&out->body, r->max_body);
	rc = check(&t, e);
	if (rc != MICA_OK)
		return rc;
	snprintf(t.where, sizeof(t.where), "%s %.*s", r->method, (int)strcspn(r->url, "?"), r->url);
	rc = add_headers(&t, e);
	if (rc == MICA_OK) {
		curl_easy_reset(c->easy);
		set_network(&t);
		set_request(&t);
		code = run_without_sigpipe(&t, &cancelled);
		rc = finish(&t, code, cancelled, e);
		curl_easy_reset(c->easy); /* it points to what ends here */
	}
	wipe_headers(&t);
	return rc;
}
