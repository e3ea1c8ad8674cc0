/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client side of `make bench`: many kept-alive TLS connections on one thread that ask a running
 * micad for certificates, every request with a token and a key of its own.
 *
 *	load prepare ISSUER_KEY KID ISSUER COUNT FILE	requests, made beforehand
 *	load run HOST PORT CA PID FILE SEQUENCE FIRST REQUESTS CLIENTS [new|grpc|grpc-new|linkerd]
 *							one JSON object
 *	load hold HOST PORT CA COUNT [ETAG]		COUNT idle connections, or waiting watchers
 *
 * `run` sends the requests FIRST to FIRST + REQUESTS - 1 of the file, each of them once, and says
 *in them that it holds bundle SEQUENCE. It reads the CPU time of the server's threads from the
 *kernel before and after. With `new` each request has a connection of its own; with `grpc` the same
 *tokens and keys go to Istio's certificate service, one call at a time on each connection, and with
 *`linkerd` to Linkerd's.
 *`hold` says "held" and stays until its input ends. Whatever happens, no call lasts longer than ten
 *minutes.
 */
#define _GNU_SOURCE /* strcasestr */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "mica/buf.h"
#include "mica/clock.h"
#include "mica/file.h"
#include "mica/wire.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define ANSWER_MAX  16384
#define REQUEST_MAX 8192
#define LIFE_MAX    600 /* seconds */

#define TRUST_DOMAIN "bench.mica.example" /* of the bench's configuration */

/* Stands in the requests for the sequence of a server's bundle, which is its time in ms. */
#define SEQUENCE     "1000000000000"
#define SEQUENCE_LEN (sizeof(SEQUENCE) - 1)

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "load: %s failed: %s\n", what, strerror(errno));
	ERR_print_errors_fp(stderr);
	exit(1);
}

static uint64_t number(const char *text)
{
	uint64_t n = 0;

	must(mica_parse_u64(mica_slice_str(text), UINT64_C(1) << 53, &n) == MICA_OK, text);
	return n;
}

/* ---- prepare ------------------------------------------------------------------------------- */

struct prepare {
	RSA *key;
	const char *kid, *issuer;
	uint64_t from, to;
	int64_t now;
	struct mica_buf out;
	pthread_t thread;
};

static void put_uuid(struct mica_buf *b, uint64_t n)
{
	uint8_t uuid[16] = {0x5a, 0, 0, 0, 0, 0, 0x40, 0, 0x80};
	char text[MICA_UUID_SIZE];

	for (int i = 0; i < 7; i++)
		uuid[15 - i] = (uint8_t)(n >> (8 * i));
	mica_uuid_format(uuid, text);
	mica_buf_put_str(b, text);
}

/* A bound token of its own pod, in the shape of kube-apiserver's. */
static void put_token(struct mica_buf *b, const struct prepare *p, uint64_t n)
{
	MICA_AUTO_BUF head, claims, text;
	uint8_t hash[32], sig[512];
	unsigned len = sizeof(sig);

	mica_buf_init(&head, 1024);
	mica_buf_init(&claims, 4096);
	mica_buf_init(&text, 8192);
	mica_buf_printf(&head, "{\"alg\":\"RS256\",\"kid\":\"%s\"}", p->kid);
	mica_buf_printf(&claims,
		"{\"aud\":[\"mica\"],\"exp\":%lld,\"iat\":%lld,\"iss\":\"%s\",\"jti\":\"",
		(long long)p->now + 3600, (long long)p->now, p->issuer);
	put_uuid(&claims, n);
	mica_buf_printf(&claims,
		"\",\"kubernetes.io\":{\"namespace\":\"ns-%u\",\"node\":{\"name\":\"node-%u\",\"uid\":\"",
		(unsigned)(n % 50), (unsigned)(n % 200));
	put_uuid(&claims, n % 200 + (UINT64_C(1) << 40));
	mica_buf_printf(
		&claims, "\"},\"pod\":{\"name\":\"pod-%llu\",\"uid\":\"", (unsigned long long)n);
	put_uuid(&claims, n + (UINT64_C(2) << 40));
	mica_buf_printf(&claims, "\"},\"serviceaccount\":{\"name\":\"sa-%u\",\"uid\":\"",
		(unsigned)(n % 1000));
	put_uuid(&claims, n % 1000 + (UINT64_C(3) << 40));
	mica_buf_printf(&claims, "\"}},\"nbf\":%lld,\"sub\":\"system:serviceaccount:ns-%u:sa-%u\"}",
		(long long)p->now, (unsigned)(n % 50), (unsigned)(n % 1000));
	mica_buf_put_b64url(&text, head.p, head.len);
	mica_buf_put_u8(&text, '.');
	mica_buf_put_b64url(&text, claims.p, claims.len);
	EVP_Digest(text.p, text.len, hash, NULL, EVP_sha256(), NULL);
	must(RSA_sign(NID_sha256, hash, 32, sig, &len, p->key) == 1, "signing a token");
	mica_buf_put_u8(&text, '.');
	mica_buf_put_b64url(&text, sig, len);
	mica_buf_put_slice(b, mica_buf_slice(&text));
}

/* The name that Linkerd has for who asks; other fronts do not look at it. */
static void add_name(X509_REQ *req, uint64_t n)
{
	STACK_OF(X509_EXTENSION) *all = sk_X509_EXTENSION_new_null();
	X509_EXTENSION *e;
	char san[256];

	snprintf(san, sizeof(san), "DNS:sa-%u.ns-%u.serviceaccount.identity.linkerd." TRUST_DOMAIN,
		(unsigned)(n % 1000), (unsigned)(n % 50));
	e = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, san);
	must(e && sk_X509_EXTENSION_push(all, e) == 1 && X509_REQ_add_extensions(req, all) == 1,
		"naming a request");
	sk_X509_EXTENSION_pop_free(all, X509_EXTENSION_free);
}

static void put_csr(struct mica_buf *b, uint64_t n)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509_REQ *req = X509_REQ_new();
	BIO *bio = BIO_new(BIO_s_mem());
	char *pem = NULL;
	long len;

	must(key && req && bio, "making a request");
	add_name(req, n);
	must(X509_REQ_set_pubkey(req, key) && X509_REQ_sign(req, key, EVP_sha256()) &&
			PEM_write_bio_X509_REQ(bio, req),
		"making a request");
	len = BIO_get_mem_data(bio, &pem);
	mica_buf_put_json_string(b, mica_slice(pem, (size_t)len));
	BIO_free(bio);
	X509_REQ_free(req);
	EVP_PKEY_free(key);
}

static void *prepare_some(void *arg)
{
	struct prepare *p = arg;

	for (uint64_t n = p->from; n < p->to; n++) {
		MICA_AUTO_BUF body, request;

		mica_buf_init(&body, REQUEST_MAX);
		mica_buf_init(&request, REQUEST_MAX);
		mica_buf_put_str(&body, "{\"csr\":");
		put_csr(&body, n);
		mica_buf_put_str(&body, ",\"bundle_sequence\":" SEQUENCE "}");
		mica_buf_put_str(&request,
			"POST /v1/x509-svids HTTP/1.1\r\nHost: localhost\r\n"
			"Content-Type: application/json\r\nAuthorization: Bearer ");
		put_token(&request, p, n);
		mica_buf_printf(&request, "\r\nContent-Length: %zu\r\n\r\n", body.len);
		mica_buf_put_slice(&request, mica_buf_slice(&body));
		must(mica_buf_rc(&request, NULL) == MICA_OK, "fitting a request");
		mica_buf_put_be32(&p->out, (uint32_t)request.len);
		mica_buf_put_slice(&p->out, mica_buf_slice(&request));
	}
	return NULL;
}

static int prepare(char **argv)
{
	enum { THREADS = 2 };
	struct prepare p[THREADS];
	FILE *in = fopen(argv[0], "r"), *out;
	RSA *key = in ? PEM_read_RSAPrivateKey(in, NULL, NULL, NULL) : NULL;
	uint64_t count = number(argv[3]);

	must(key != NULL, "reading the issuer's key");
	fclose(in);
	out = fopen(argv[4], "wb");
	must(out != NULL, argv[4]);
	for (int i = 0; i < THREADS; i++) {
		p[i] = (struct prepare){.key = key,
			.kid = argv[1],
			.issuer = argv[2],
			.from = count * (uint64_t)i / THREADS,
			.to = count * (uint64_t)(i + 1) / THREADS,
			.now = mica_now()};
		mica_buf_init(&p[i].out, (size_t)1 << 31);
		pthread_create(&p[i].thread, NULL, prepare_some, &p[i]);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(p[i].thread, NULL);
		must(fwrite(p[i].out.p, 1, p[i].out.len, out) == p[i].out.len, "writing");
		mica_buf_clear(&p[i].out);
	}
	must(fclose(out) == 0, "writing");
	RSA_free(key);
	return 0;
}

/* ---- connections --------------------------------------------------------------------------- */

struct target {
	struct sockaddr_in addr;
	SSL_CTX *tls;
	int epoll;
};

static void target_init(struct target *t, const char *host, const char *port, const char *ca)
{
	struct rlimit files;

	t->addr = (struct sockaddr_in){
		.sin_family = AF_INET, .sin_port = htons((uint16_t)number(port))};
	must(inet_pton(AF_INET, host, &t->addr.sin_addr) == 1, host);
	t->tls = SSL_CTX_new(TLS_client_method());
	must(t->tls && SSL_CTX_load_verify_file(t->tls, ca), "reading the roots");
	SSL_CTX_set_verify(t->tls, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set1_groups_list(t->tls, "X25519:P-256");
	SSL_CTX_set_mode(t->tls, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE);
	t->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
}

struct conn {
	const struct target *t;
	int fd;
	SSL *ssl;
	struct mica_slice send; /* what is left of the request */
	bool h2, settings; /* to be acknowledged */
	uint32_t stream; /* of the call; 0 = none yet */
	size_t seen; /* octets of the answer whose frames were looked at */
	size_t message; /* octets of DATA */
	uint8_t out[REQUEST_MAX + 128];
	int64_t began;
	size_t got, want; /* octets of the answer; want 0 = its length is not known yet */
	char answer[ANSWER_MAX + 1];
};

static void conn_open(struct conn *c)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
	int one = 1, rc;

	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	must(c->fd >= 0, "a socket");
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	rc = connect(c->fd, (const struct sockaddr *)&c->t->addr, sizeof(c->t->addr));
	must(rc == 0 || errno == EINPROGRESS, "connecting");
	c->ssl = SSL_new(c->t->tls);
	SSL_set_fd(c->ssl, c->fd);
	SSL_set1_host(c->ssl, "localhost");
	SSL_set_tlsext_host_name(c->ssl, "localhost");
	SSL_set_connect_state(c->ssl);
	must(epoll_ctl(c->t->epoll, EPOLL_CTL_ADD, c->fd, &ev) == 0, "epoll");
	c->got = c->want = c->seen = 0;
	c->stream = 0;
	c->settings = false;
}

static void conn_close(struct conn *c)
{
	SSL_free(c->ssl);
	close(c->fd);
	c->ssl = NULL;
}

static bool again(struct conn *c, int rc)
{
	int why = SSL_get_error(c->ssl, rc);

	ERR_clear_error();
	if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)
		return true;
	fprintf(stderr, "load: connection lost (%d)\n", why);
	ERR_print_errors_fp(stderr);
	exit(1);
}

/* HTTP/2: the frames that are whole; a call is over with the one that ends its stream. */
enum { H2_FRAME = 9, H2_DATA = 0, H2_HEADERS = 1, H2_SETTINGS = 4, H2_GOAWAY = 7 };

static void measure_frames(struct conn *c)
{
	while (c->got - c->seen >= H2_FRAME) {
		const uint8_t *p = (const uint8_t *)c->answer + c->seen;
		const size_t len = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
		const uint32_t stream =
			(uint32_t)p[5] << 24 | (uint32_t)p[6] << 16 | (uint32_t)p[7] << 8 | p[8];

		must(len + H2_FRAME <= ANSWER_MAX, "a frame of a few kilobytes");
		if (c->got - c->seen < H2_FRAME + len)
			return;
		must(p[3] != H2_GOAWAY, "a connection that stays");
		if (p[3] == H2_SETTINGS && !(p[4] & 1))
			c->settings = true;
		if (p[3] == H2_DATA && stream == c->stream)
			c->message += len;
		c->seen += H2_FRAME + len;
		if (stream == c->stream && stream && (p[4] & 1))
			c->want = c->got;
	}
}

/* The whole answer's length, once its header is there. */
static void measure(struct conn *c)
{
	char *end, *len;

	if (c->h2) {
		measure_frames(c);
		return;
	}
	c->answer[c->got] = '\0';
	end = strstr(c->answer, "\r\n\r\n");
	if (!end)
		return;
	len = strcasestr(c->answer, "content-length: ");
	c->want = (size_t)(end + 4 - c->answer);
	if (len && len < end)
		c->want += strtoul(len + 16, NULL, 10);
	must(c->want <= ANSWER_MAX, "an answer of a few kilobytes");
}

/* As far as it goes without waiting; true when the answer is complete. */
static bool conn_step(struct conn *c)
{
	while (c->send.len > 0) {
		int n = SSL_write(c->ssl, c->send.p, (int)c->send.len);

		if (n <= 0)
			return !again(c, n);
		c->send = mica_slice_sub(c->send, (size_t)n, c->send.len);
	}
	while (c->want == 0 || c->got < c->want) {
		int n = SSL_read(c->ssl, c->answer + c->got, (int)(ANSWER_MAX - c->got));

		if (n <= 0)
			return !again(c, n);
		c->got += (size_t)n;
		if (c->want == 0)
			measure(c);
	}
	return true;
}

/* ---- run ----------------------------------------------------------------------------------- */

/* What all threads of a process used, as the scheduler counts it: of the time slices, each is a
 * switch to the thread. */
struct usage {
	int64_t cpu_ns, switches;
};

static void usage_of(const char *pid, struct usage *u)
{
	char path[64];
	DIR *d;

	*u = (struct usage){.cpu_ns = 0};
	snprintf(path, sizeof(path), "/proc/%s/task", pid);
	d = opendir(path);
	must(d != NULL, path);
	for (struct dirent *t; (t = readdir(d)) != NULL;) {
		char stat[64 + 256];
		long long ns = 0, waited = 0, slices = 0;
		FILE *f;

		if (t->d_name[0] == '.')
			continue;
		snprintf(stat, sizeof(stat), "/proc/%s/task/%.20s/schedstat", pid, t->d_name);
		f = fopen(stat, "r");
		if (f && fscanf(f, "%lld %lld %lld", &ns, &waited, &slices) == 3) {
			u->cpu_ns += ns;
			u->switches += slices;
		}
		if (f)
			fclose(f);
	}
	closedir(d);
}

struct requests {
	uint8_t *bytes;
	struct mica_slice *v;
	size_t n;
};

/* The body's last member, so that nothing else has to be moved. */
static void say_sequence(uint8_t *request, size_t len, const char *sequence)
{
	must(len > SEQUENCE_LEN + 1 && strlen(sequence) == SEQUENCE_LEN, "a sequence");
	must(memcmp(request + len - 1 - SEQUENCE_LEN, SEQUENCE, SEQUENCE_LEN) == 0, "a request");
	memcpy(request + len - 1 - SEQUENCE_LEN, sequence, SEQUENCE_LEN);
}

static void load_requests(const char *path, const char *sequence, struct requests *r)
{
	FILE *f = fopen(path, "rb");
	size_t size, at = 0;

	must(f != NULL, path);
	fseek(f, 0, SEEK_END);
	size = (size_t)ftell(f);
	rewind(f);
	r->bytes = mica_alloc(size + 1);
	must(fread(r->bytes, 1, size, f) == size, path);
	fclose(f);
	r->v = mica_calloc(size / 256 + 1, sizeof(*r->v));
	for (r->n = 0; at + 4 <= size; r->n++) {
		struct mica_cursor c = {.s = mica_slice(r->bytes + at, 4)};
		size_t len = (size_t)mica_cur_u8(&c) << 24;

		len |= (size_t)mica_cur_u8(&c) << 16;
		len |= (size_t)mica_cur_u8(&c) << 8;
		len |= mica_cur_u8(&c);
		must(at + 4 + len <= size, "a whole request");
		say_sequence(r->bytes + at + 4, len, sequence);
		r->v[r->n] = mica_slice(r->bytes + at + 4, len);
		at += 4 + len;
	}
}

/* ---- gRPC ---------------------------------------------------------------------------------- */

static void put_frame(
	struct mica_buf *b, uint8_t type, uint8_t flags, uint32_t stream, struct mica_slice payload)
{
	mica_buf_put_u8(b, 0);
	mica_buf_put_be16(b, (uint16_t)payload.len);
	mica_buf_put_u8(b, type);
	mica_buf_put_u8(b, flags);
	mica_buf_put_be32(b, stream);
	mica_buf_put_slice(b, payload);
}

/* HPACK: a string as it is, a literal that nobody remembers. */
static void put_string(struct mica_buf *b, struct mica_slice s)
{
	size_t n = s.len;

	if (n >= 127) {
		mica_buf_put_u8(b, 127);
		for (n -= 127; n >= 128; n >>= 7)
			mica_buf_put_u8(b, (uint8_t)(n & 127) | 128);
	}
	mica_buf_put_u8(b, (uint8_t)n);
	mica_buf_put_slice(b, s);
}

static void put_literal(struct mica_buf *b, const char *name, struct mica_slice value)
{
	mica_buf_put_u8(b, 0);
	put_string(b, mica_slice_str(name));
	put_string(b, value);
}

static struct mica_slice between(struct mica_slice in, const char *from, const char *to)
{
	const uint8_t *a = memmem(in.p, in.len, from, strlen(from)), *z;

	must(a != NULL, from);
	a += strlen(from);
	z = memmem(a, (size_t)(in.p + in.len - a), to, strlen(to));
	must(z != NULL, to);
	return mica_slice(a, (size_t)(z - a));
}

static void put_pem(struct mica_buf *b, struct mica_slice http)
{
	struct mica_slice csr = between(http, "{\"csr\":\"", "\"");

	for (size_t i = 0; i < csr.len; i++)
		if (csr.p[i] == '\\')
			mica_buf_put_u8(b, csr.p[++i] == 'n' ? '\n' : csr.p[i]);
		else
			mica_buf_put_u8(b, csr.p[i]);
}

/* Linkerd's message: name, token, and the request in DER. */
static void put_certify(struct mica_buf *b, struct mica_slice pem, struct mica_slice token)
{
	BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.len);
	X509_REQ *req = PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL);
	STACK_OF(X509_EXTENSION) *all = req ? X509_REQ_get_extensions(req) : NULL;
	GENERAL_NAMES *names = X509V3_get_d2i(all, NID_subject_alt_name, NULL, NULL);
	const ASN1_STRING *name = names ? sk_GENERAL_NAME_value(names, 0)->d.dNSName : NULL;
	uint8_t *der = NULL;
	int len = req ? i2d_X509_REQ(req, &der) : -1;

	must(name && len > 0, "reading a request again");
	mica_wire_put_bytes(
		b, 1, mica_slice(ASN1_STRING_get0_data(name), (size_t)ASN1_STRING_length(name)));
	mica_wire_put_bytes(b, 2, token);
	mica_wire_put_bytes(b, 3, mica_slice(der, (size_t)len));
	OPENSSL_free(der);
	GENERAL_NAMES_free(names);
	sk_X509_EXTENSION_pop_free(all, X509_EXTENSION_free);
	X509_REQ_free(req);
	BIO_free(bio);
}

/* A request of the file as one of Istio's or Linkerd's: HEADERS and DATA of stream 1. */
static struct mica_slice as_call(struct mica_slice http, bool linkerd)
{
	struct mica_slice token = between(http, "Bearer ", "\r\n");
	MICA_AUTO_BUF pem, message, data, head;
	struct mica_buf out;

	mica_buf_init(&pem, REQUEST_MAX);
	mica_buf_init(&message, REQUEST_MAX);
	mica_buf_init(&data, REQUEST_MAX);
	mica_buf_init(&head, REQUEST_MAX);
	mica_buf_init(&out, REQUEST_MAX);
	put_pem(&pem, http);
	if (linkerd) {
		put_certify(&message, mica_buf_slice(&pem), token);
	} else {
		mica_wire_put_bytes(&message, 1, mica_buf_slice(&pem));
		mica_wire_put_varint(&message, 3, 3600);
	}
	mica_buf_put_u8(&data, 0);
	mica_buf_put_be32(&data, (uint32_t)message.len);
	mica_buf_put_slice(&data, mica_buf_slice(&message));
	put_literal(&head, ":method", MICA_LIT("POST"));
	put_literal(&head, ":scheme", MICA_LIT("https"));
	put_literal(&head, ":authority", MICA_LIT("localhost"));
	put_literal(&head, ":path",
		linkerd ? MICA_LIT("/io.linkerd.proxy.identity.Identity/Certify")
			: MICA_LIT("/istio.v1.auth.IstioCertificateService/CreateCertificate"));
	put_literal(&head, "content-type", MICA_LIT("application/grpc"));
	put_literal(&head, "te", MICA_LIT("trailers"));
	mica_buf_reset(&pem);
	mica_buf_put_str(&pem, "Bearer ");
	mica_buf_put_slice(&pem, token);
	if (!linkerd)
		put_literal(&head, "authorization", mica_buf_slice(&pem));
	put_frame(&out, H2_HEADERS, 4, 1, mica_buf_slice(&head));
	put_frame(&out, H2_DATA, 1, 1, mica_buf_slice(&data));
	must(mica_buf_rc(&out, NULL) == MICA_OK, "fitting a call");
	return mica_slice(out.p, out.len); /* kept until the end */
}

static void set_stream(uint8_t *frames, uint32_t stream)
{
	const size_t second = H2_FRAME + ((size_t)frames[1] << 8 | frames[2]);

	for (int i = 0; i < 4; i++)
		frames[5 + i] = frames[second + 5 + (size_t)i] = (uint8_t)(stream >> (24 - 8 * i));
}

/* What stands before the call: the preface, or an acknowledgement. */
static void send_call(struct conn *c, struct mica_slice call)
{
	static const char first[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
				    "\0\0\0\4\0\0\0\0\0"
				    "\0\0\4\x8\0\0\0\0\0\x7f\xf0\0\0",
			  ack[] = "\0\0\0\4\1\0\0\0\0";
	size_t n = 0;

	if (c->stream == 0) {
		n = sizeof(first) - 1;
		memcpy(c->out, first, n);
	} else if (c->settings) {
		n = sizeof(ack) - 1;
		memcpy(c->out, ack, n);
		c->settings = false;
	}
	c->stream = c->stream ? c->stream + 2 : 1;
	c->seen = c->message = 0;
	memcpy(c->out + n, call.p, call.len);
	set_stream(c->out + n, c->stream);
	c->send = mica_slice(c->out, n + call.len);
}

struct run {
	struct requests *requests;
	size_t first, next, done, all;
	uint64_t created, refused;
	double *ms;
	bool fresh; /* a connection a request */
	bool h2;
};

static void begin(struct run *r, struct conn *c)
{
	if (r->next == r->all)
		return;
	if (!c->ssl)
		conn_open(c);
	c->got = c->want = 0;
	if (c->h2)
		send_call(c, r->requests->v[r->first + r->next++]);
	else
		c->send = r->requests->v[r->first + r->next++];
	c->began = mica_mono_ns();
}

static void finish(struct run *r, struct conn *c)
{
	/* a call that is refused has no message */
	bool created = c->h2 ? c->message > 800 : strncmp(c->answer, "HTTP/1.1 201 ", 13) == 0;

	r->ms[r->done++] = (double)(mica_mono_ns() - c->began) / 1e6;
	r->created += created;
	if (!created && r->refused++ == 0)
		fprintf(stderr, "load: first refusal: %.400s\n", c->answer);
	if (r->fresh)
		conn_close(c);
}

static int by_value(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void drive(struct run *r, struct target *t, struct conn *conns, unsigned clients)
{
	struct epoll_event ev[256];

	for (unsigned i = 0; i < clients && r->next < r->all; i++)
		begin(r, &conns[i]);
	while (r->done < r->all) {
		int n = epoll_wait(t->epoll, ev, 256, 30000);

		must(n > 0, "an answer within thirty seconds");
		for (int i = 0; i < n; i++) {
			struct conn *c = ev[i].data.ptr;

			while (c->ssl && (c->send.len || c->want || c->got || c->began) &&
				conn_step(c)) {
				finish(r, c);
				c->began = 0;
				c->got = c->want = 0;
				if (r->next == r->all)
					break;
				begin(r, c);
			}
		}
	}
}

static void run_init(struct run *r, struct requests *requests, int argc, char **argv)
{
	bool linkerd;

	load_requests(argv[4], argv[5], requests);
	r->requests = requests;
	r->first = number(argv[6]);
	r->all = number(argv[7]);
	must(r->all > 0 && r->first <= requests->n && r->all <= requests->n - r->first,
		"requests that were not sent yet");
	linkerd = argc > 9 && strcmp(argv[9], "linkerd") == 0;
	r->fresh = argc > 9 && strcmp(argv[9], "grpc") != 0 && !linkerd;
	r->h2 = linkerd || (argc > 9 && strncmp(argv[9], "grpc", 4) == 0);
	for (size_t i = 0; r->h2 && i < r->all; i++)
		requests->v[r->first + i] = as_call(requests->v[r->first + i], linkerd);
	r->ms = mica_calloc(r->all, sizeof(double));
}

static void print_run(struct run *r, double seconds, const struct usage *u)
{
	const double n = (double)r->done;

	qsort(r->ms, r->done, sizeof(double), by_value);
	printf("{\"requests\": %zu, \"created\": %llu, \"seconds\": %.3f, \"per_second\": %.0f, "
	       "\"cpu_us\": %.2f, \"switches\": %.3f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, "
	       "\"p999_ms\": %.3f}\n",
		r->done, (unsigned long long)r->created, seconds, n / seconds,
		(double)u->cpu_ns / 1e3 / n, (double)u->switches / n, r->ms[r->done / 2],
		r->ms[r->done * 99 / 100], r->ms[r->done * 999 / 1000]);
}

static int run(int argc, char **argv)
{
	struct target t;
	struct requests requests = {0};
	struct run r = {.next = 0};
	unsigned clients = (unsigned)number(argv[8]);
	struct conn *conns = mica_calloc(clients, sizeof(*conns));
	struct usage before, after;
	int64_t began;
	double seconds;

	target_init(&t, argv[0], argv[1], argv[2]);
	run_init(&r, &requests, argc, argv);
	if (r.h2)
		SSL_CTX_set_alpn_protos(t.tls, (const uint8_t *)"\2h2", 3);
	for (unsigned i = 0; i < clients; i++) {
		conns[i].t = &t;
		conns[i].h2 = r.h2;
		if (!r.fresh) { /* handshakes are not part of the figures */
			conn_open(&conns[i]);
			while (SSL_do_handshake(conns[i].ssl) != 1)
				must(again(&conns[i], -1) && usleep(50) == 0, "a handshake");
		}
	}
	usage_of(argv[3], &before);
	began = mica_mono_ns();
	drive(&r, &t, conns, clients);
	seconds = (double)(mica_mono_ns() - began) / 1e9;
	usage_of(argv[3], &after);
	after.cpu_ns -= before.cpu_ns;
	after.switches -= before.switches;
	print_run(&r, seconds, &after);
	return r.refused ? 1 : 0;
}

/* ---- hold ---------------------------------------------------------------------------------- */

static int hold(int argc, char **argv)
{
	struct target t;
	size_t count = number(argv[3]);
	struct conn **conns = mica_calloc(count, sizeof(*conns));
	MICA_AUTO_BUF request;
	struct epoll_event ev[256];

	mica_buf_init(&request, 4096);
	target_init(&t, argv[0], argv[1], argv[2]);
	if (argc > 4)
		mica_buf_printf(&request,
			"GET /v1/bundle?wait=60 HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: %s\r\n\r\n",
			argv[4]);
	for (size_t i = 0; i < count; i++) {
		struct conn *c = conns[i] = MICA_NEW(struct conn);

		c->t = &t;
		conn_open(c);
		while (SSL_do_handshake(c->ssl) != 1)
			must(again(c, -1) && usleep(50) == 0, "a handshake");
		c->send = mica_buf_slice(&request);
		if (argc > 4)
			(void)conn_step(c);
	}
	puts("held");
	fflush(stdout);
	must(fcntl(0, F_SETFL, O_NONBLOCK) == 0, "standard input");
	for (char c; read(0, &c, 1) != 0;) {
		int n = epoll_wait(t.epoll, ev, 256, 200);

		/* A watcher whose wait ended asks again. */
		for (int i = 0; i < n && argc > 4; i++) {
			struct conn *w = ev[i].data.ptr;

			if (conn_step(w)) {
				w->got = w->want = 0;
				w->send = mica_buf_slice(&request);
				(void)conn_step(w);
			}
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	alarm(LIFE_MAX);
	if (argc == 7 && strcmp(argv[1], "prepare") == 0)
		return prepare(argv + 2);
	if ((argc == 11 || argc == 12) && strcmp(argv[1], "run") == 0)
		return run(argc - 2, argv + 2);
	if ((argc == 6 || argc == 7) && strcmp(argv[1], "hold") == 0)
		return hold(argc - 2, argv + 2);
	fputs("usage: load prepare KEY KID ISSUER COUNT FILE\n"
	      "       load run HOST PORT CA PID FILE SEQUENCE FIRST REQUESTS CLIENTS "
	      "[new|grpc|grpc-new|linkerd]\n"
	      "       load hold HOST PORT CA COUNT [ETAG]\n",
		stderr);
	return 2;
}
