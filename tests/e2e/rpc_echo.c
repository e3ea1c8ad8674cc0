/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A gRPC server with methods that do what tests want, on the public contract alone:
 *
 *	rpc_echo [--tls CHAIN.pem KEY.der] [--plain] [--unix PATH] [--want-cert] [--set
 *NAME=NUMBER]...
 *
 * Messages are plain octets. Each line of standard output is "listening ADDRESS"; SIGHUP reads the
 *key again, SIGTERM drains and ends.
 */
#include "mica/clock.h"
#include "mica/file.h"
#include "mica/mem.h"
#include "mica/rpc.h"

#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>

static _Atomic(struct mica_rpc_server *) server; /* NULL while it begins */
static bool refuse_all;

/* ---- answers that come later, from another thread -------------------------------------------- */

struct later {
	struct later *next;
	struct mica_rpc_call *call;
	struct mica_slice message;
	int64_t due_ms;
};
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed;
static struct later *waiting;
static bool ending;

static int64_t finish_due(void)
{
	const int64_t now = mica_mono_ms();
	int64_t next = now + 1000;
	mica_rpc_batch_begin();
	for (struct later **at = &waiting; *at;) {
		struct later *l = *at;
		if (l->due_ms > now && !ending) {
			next = l->due_ms < next ? l->due_ms : next;
			at = &l->next;
			continue;
		}
		*at = l->next;
		mica_rpc_reply(l->call, l->message);
		mica_free(l);
	}
	mica_rpc_batch_end();
	return next;
}

static void *worker(void *arg)
{
	pthread_mutex_lock(&lock);
	while (!ending || waiting) {
		const int64_t next = finish_due();
		struct timespec t = {.tv_sec = next / 1000, .tv_nsec = next % 1000 * 1000000};
		if (!ending)
			pthread_cond_timedwait(&changed, &lock, &t);
	}
	pthread_mutex_unlock(&lock);
	return arg;
}

static void answer_later(struct mica_rpc_call *c, struct mica_slice message, int64_t ms)
{
	struct later *l = MICA_NEW(struct later);
	l->call = c;
	l->message = message; /* holds until the end */
	l->due_ms = mica_mono_ms() + ms;
	pthread_mutex_lock(&lock);
	l->next = waiting;
	waiting = l;
	pthread_cond_signal(&changed);
	pthread_mutex_unlock(&lock);
}

/* ---- unary methods --------------------------------------------------------------------------- */

static uint64_t number(struct mica_slice s)
{
	uint64_t n = 0;
	return mica_parse_u64(s, UINT32_MAX, &n) == MICA_OK ? n : 0;
}

static void echo_metadata(struct mica_rpc_call *c)
{
	struct mica_slice v;
	uint8_t octets[1024];
	size_t len = sizeof(octets);
	if (mica_rpc_header(c, "x-grpc-test-echo-initial", &v, NULL) &&
		mica_rpc_add_header(c, "x-grpc-test-echo-initial", v) != MICA_OK)
		abort();
	if (mica_rpc_header(c, "x-grpc-test-echo-trailing-bin", &v, NULL) &&
		mica_rpc_bin_decode(v, octets, &len) == MICA_OK &&
		mica_rpc_add_trailer(c, "x-grpc-test-echo-trailing-bin", mica_slice(octets, len)) !=
			MICA_OK)
		abort();
}

static void unary(void *ctx, struct mica_rpc_call *c, struct mica_slice m)
{
	(void)ctx;
	echo_metadata(c);
	mica_rpc_reply(c, m);
}

static void later(void *ctx, struct mica_rpc_call *c, struct mica_slice m)
{
	(void)ctx;
	echo_metadata(c);
	answer_later(c, m, 0);
}

static void sleeping(void *ctx, struct mica_rpc_call *c, struct mica_slice m)
{
	(void)ctx;
	answer_later(c, m, (int64_t)number(m));
}

/* "CODE RETRY_AFTER REASON TEXT" */
static void failing(void *ctx, struct mica_rpc_call *c, struct mica_slice m)
{
	struct mica_err e = MICA_ERR_INIT;
	struct mica_slice code, retry, reason;
	(void)ctx;
	mica_slice_cut(&m, ' ', &code);
	mica_slice_cut(&m, ' ', &retry);
	mica_slice_cut(&m, ' ', &reason);
	if (mica_slice_eq_str(reason, "none")) {
		mica_rpc_end_as(c, (enum mica_rpc_code)number(code), NULL);
		return;
	}
	mica_fail(&e, MICA_INTERNAL, "test_reason", "%.*s", MICA_FMT(m));
	e.retry_after = (int)number(retry);
	mica_rpc_end_as(c, (enum mica_rpc_code)number(code), &e);
}

/* An error of the class that the message names by its number. */
static void classed(void *ctx, struct mica_rpc_call *c, struct mica_slice m)
{
	struct mica_err e = MICA_ERR_INIT;
	(void)ctx;
	mica_fail(&e, (mica_rc)number(m), "test_reason", "class %u", (unsigned)number(m));
	mica_rpc_end(c, &e);
}

static void silent(void *ctx, struct mica_rpc_call *c, struct mica_slice m)
{
	(void)ctx, (void)m;
	mica_rpc_end(c, NULL);
}

static void headers(void *ctx, struct mica_rpc_call *c, struct mica_slice m)
{
	MICA_AUTO_BUF out;
	(void)ctx, (void)m;
	mica_buf_init(&out, 65536);
	for (unsigned i = 0; i < mica_rpc_headers(c); i++) {
		struct mica_slice name, value;
		mica_rpc_header_at(c, i, &name, &value);
		mica_buf_put_slice(&out, name);
		mica_buf_put_str(&out, "=");
		mica_buf_put_slice(&out, value);
		mica_buf_put_str(&out, "\n");
	}
	mica_rpc_reply(c, mica_buf_slice(&out));
}

static void chain(void *ctx, struct mica_rpc_call *c, struct mica_slice m)
{
	const struct mica_rpc_peer *p = mica_rpc_call_data(c)->peer;
	MICA_AUTO_BUF out;
	(void)ctx, (void)m;
	mica_buf_init(&out, 65536);
	for (size_t i = 0; i < p->n_chain; i++)
		mica_buf_put_slice(&out, p->chain[i]);
	mica_rpc_reply(c, mica_buf_slice(&out));
}

/* Also how many calls this connection has seen before. */
static void who(void *ctx, struct mica_rpc_call *c, struct mica_slice m)
{
	const struct mica_rpc_call_data *d = mica_rpc_call_data(c);
	const struct mica_rpc_peer *p = d->peer;
	uintptr_t *n = mica_rpc_peer_state(c);
	MICA_AUTO_BUF out;
	(void)ctx, (void)m;
	if (!n) {
		n = MICA_NEW(uintptr_t);
		mica_rpc_set_peer_state(c, n, mica_free);
	}
	mica_buf_init(&out, 4096);
	mica_buf_printf(&out,
		"address=%s tls=%d local=%d uid=%d gid=%d pid=%d certs=%zu listener=%s authority=%.*s "
		"before=%zu left=%lld",
		p->address, p->tls, p->local, (int)p->uid, (int)p->gid, (int)p->pid, p->n_chain,
		p->listener, MICA_FMT(d->authority), (size_t)(*n)++,
		(long long)(d->deadline_ms - mica_mono_ms()));
	mica_rpc_reply(c, mica_buf_slice(&out));
}

static void stats(void *ctx, struct mica_rpc_call *c, struct mica_slice m)
{
	struct mica_rpc_stats s = {0};
	MICA_AUTO_BUF out;
	(void)ctx, (void)m;
	if (server)
		mica_rpc_server_stats(server, &s);
	mica_buf_init(&out, 4096);
	mica_buf_printf(&out,
		"connections_now=%zu connections=%zu refused=%zu tls_failed=%zu calls_now=%zu "
		"calls=%zu bytes_in=%zu bytes_out=%zu",
		(size_t)s.connections_now, (size_t)s.connections, (size_t)s.refused_connections,
		(size_t)s.tls_failed, (size_t)s.calls_now, (size_t)s.calls, (size_t)s.bytes_in,
		(size_t)s.bytes_out);
	for (unsigned i = 0; i < MICA_RPC_CODES; i++)
		mica_buf_printf(&out, " code_%u=%zu", i, (size_t)s.codes[i]);
	for (unsigned i = 0; i < MICA_RPC_CUTS; i++)
		mica_buf_printf(&out, " cut_%s=%zu", mica_rpc_cut_name((enum mica_rpc_cut)i),
			(size_t)s.cuts[i]);
	mica_rpc_reply(c, mica_buf_slice(&out));
}

/* "0 SERVICE" or "1 SERVICE" */
static void serving(void *ctx, struct mica_rpc_call *c, struct mica_slice m)
{
	struct mica_slice yes;
	(void)ctx;
	mica_slice_cut(&m, ' ', &yes);
	MICA_AUTO_FREE char *name = mica_slice_dup(m);
	if (server)
		mica_rpc_server_set_serving(server, name, number(yes) != 0);
	mica_rpc_reply(c, MICA_SLICE_NULL);
}

/* ---- streams --------------------------------------------------------------------------------- */

/* "N SIZE": N messages of SIZE octets, as fast as they are read. */
struct counting {
	uint64_t left;
	size_t size;
};

static void count_on(struct mica_rpc_call *c)
{
	struct counting *n = mica_rpc_state(c);
	MICA_AUTO_FREE uint8_t *octets = mica_alloc(n->size + 1);
	for (; n->left > 0; n->left--)
		if (mica_rpc_send(c, mica_slice(octets, n->size)) != MICA_OK)
			return;
	mica_rpc_end(c, NULL);
}

static void counted(void *ctx, struct mica_rpc_call *c, struct mica_slice m)
{
	struct counting *n = MICA_NEW(struct counting);
	struct mica_slice first;
	(void)ctx;
	mica_slice_cut(&m, ' ', &first);
	n->left = number(first);
	n->size = (size_t)number(m);
	mica_rpc_set_state(c, n, mica_free);
	count_on(c);
}

static void room(void *ctx, struct mica_rpc_call *c)
{
	(void)ctx;
	count_on(c);
}

static void given_up(void *ctx, struct mica_rpc_call *c)
{
	(void)ctx;
	mica_rpc_end(c, NULL);
}

static void chat_begin(void *ctx, struct mica_rpc_call *c, struct mica_slice m)
{
	(void)ctx, (void)m;
	echo_metadata(c);
}

static void chat(void *ctx, struct mica_rpc_call *c, struct mica_slice m)
{
	struct mica_err e = MICA_ERR_INIT;
	(void)ctx;
	if (mica_slice_eq_str(m, "fail")) {
		mica_fail(&e, MICA_DENIED, "test_reason", "as asked");
		mica_rpc_end(c, &e);
	} else if (mica_rpc_send(c, m) != MICA_OK) {
		mica_fail(&e, MICA_LIMIT, "full", "more than one answer a message?");
		mica_rpc_end(c, &e);
	}
}

/* Begins a stream that ends with its client. */
static void forever(void *ctx, struct mica_rpc_call *c, struct mica_slice m)
{
	(void)ctx;
	if (mica_rpc_send(c, m) != MICA_OK)
		abort();
}

/* A method that forgets about its call until the server ends. */
static void stuck(void *ctx, struct mica_rpc_call *c, struct mica_slice m)
{
	(void)ctx;
	answer_later(c, m, 3600000);
}

static const struct mica_rpc_method methods[] = {
	{.name = "Unary", .call = unary, .max_message = 4 << 20},
	{.name = "Later", .call = later},
	{.name = "Sleep", .call = sleeping},
	{.name = "Fail", .call = failing},
	{.name = "Class", .call = classed},
	{.name = "Silent", .call = silent},
	{.name = "Headers", .call = headers},
	{.name = "Chain", .call = chain},
	{.name = "Who", .call = who},
	{.name = "Stats", .call = stats},
	{.name = "Serving", .call = serving},
	{.name = "Stuck", .call = stuck},
	{.name = "Count",
		.kind = MICA_RPC_SERVER_STREAM,
		.call = counted,
		.writable = room,
		.cancelled = given_up},
	{.name = "Forever", .kind = MICA_RPC_SERVER_STREAM, .call = forever, .cancelled = given_up},
	{.name = "Chat",
		.kind = MICA_RPC_BIDI,
		.call = chat_begin,
		.message = chat,
		.half_closed = given_up,
		.cancelled = given_up},
};
static const struct mica_rpc_service services[] = {
	{.name = "test.Echo", .methods = methods, .n_methods = MICA_ARRAY_LEN(methods)}};

static bool admit(void *ctx, struct mica_rpc_call *c, struct mica_err *e)
{
	struct mica_slice v;
	(void)ctx;
	if (!refuse_all && !mica_rpc_header(c, "x-refuse", &v, NULL))
		return true;
	mica_fail(e, MICA_LIMIT, "rate_limited", "too many of late");
	e->retry_after = 7;
	return false;
}

/* ---- the program ----------------------------------------------------------------------------- */

#define OPTION(name)                                                                               \
	{                                                                                          \
#name, offsetof(struct mica_rpc_options, name),                                    \
			sizeof(((struct mica_rpc_options *)0)->name)                               \
	}
static const struct {
	const char *name;
	size_t at, size;
} settings[] = {OPTION(loops), OPTION(max_connections), OPTION(max_per_address),
	OPTION(max_streams), OPTION(max_calls), OPTION(max_message), OPTION(max_headers),
	OPTION(max_header_bytes), OPTION(max_queued), OPTION(max_buffered),
	OPTION(max_buffered_all), OPTION(handshake_ms), OPTION(headers_ms), OPTION(request_ms),
	OPTION(call_ms), OPTION(stall_ms), OPTION(idle_ms), OPTION(max_age_ms), OPTION(grace_ms)};

static void set(struct mica_rpc_options *o, const char *pair)
{
	struct mica_slice value = mica_slice_str(pair), name;
	uint64_t n;
	mica_slice_cut(&value, '=', &name);
	n = number(value);
	for (size_t i = 0; i < MICA_ARRAY_LEN(settings); i++)
		if (mica_slice_eq_str(name, settings[i].name)) {
			memcpy((uint8_t *)o + settings[i].at, &n, settings[i].size);
			return;
		}
	fprintf(stderr, "%s: no such setting\n", pair);
	exit(2);
}

static struct mica_rpc_key *load(const char *chain_file, const char *key_file)
{
	struct mica_err e = MICA_ERR_INIT;
	struct mica_rpc_key *k = NULL;
	MICA_AUTO_BUF pem, der;
	mica_buf_init(&pem, 65536);
	mica_buf_init(&der, 65536);
	if (mica_file_read(chain_file, &pem, &e) != MICA_OK ||
		mica_file_read(key_file, &der, &e) != MICA_OK ||
		mica_rpc_key_new(mica_buf_slice(&pem), mica_buf_slice(&der), &k, &e) != MICA_OK)
		fprintf(stderr, "%s\n", e.text);
	return k;
}

static void serve(const char *chain_file, const char *key_file, const sigset_t *signals)
{
	struct mica_rpc_key *k;
	int sig;
	while (sigwait(signals, &sig) == 0 && sig != SIGTERM) {
		if (sig == SIGUSR1)
			mica_rpc_server_drain(server);
		if (sig != SIGHUP || !chain_file || !(k = load(chain_file, key_file)))
			continue;
		mica_rpc_server_set_key(server, k);
		mica_rpc_key_unref(k);
	}
}

int main(int argc, char **argv)
{
	struct mica_rpc_listener listeners[3] = {0};
	struct mica_rpc_server *made = NULL;
	struct mica_rpc_options o;
	struct mica_err e = MICA_ERR_INIT;
	const char *chain_file = NULL, *key_file = NULL;
	pthread_condattr_t mono;
	pthread_t thread;
	sigset_t signals;
	size_t n = 0;
	bool want = false;
	mica_rpc_options_init(&o);
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--tls") == 0 && i + 2 < argc) {
			chain_file = argv[++i];
			key_file = argv[++i];
			listeners[n++] = (struct mica_rpc_listener){.name = "tls",
				.host = "127.0.0.1",
				.key = load(chain_file, key_file)};
		} else if (strcmp(argv[i], "--plain") == 0) {
			listeners[n++] =
				(struct mica_rpc_listener){.name = "plain", .host = "127.0.0.1"};
		} else if (strcmp(argv[i], "--unix") == 0 && i + 1 < argc) {
			listeners[n++] = (struct mica_rpc_listener){
				.name = "unix", .unix_path = argv[++i], .unix_gid = -1};
		} else if (strcmp(argv[i], "--want-cert") == 0) {
			want = true;
		} else if (strcmp(argv[i], "--refuse") == 0) {
			refuse_all = true;
		} else if (strcmp(argv[i], "--set") == 0 && i + 1 < argc) {
			set(&o, argv[++i]);
		} else {
			fprintf(stderr, "%s: see the head of rpc_echo.c\n", argv[i]);
			return 2;
		}
	}
	for (size_t i = 0; i < n; i++)
		listeners[i].want_client_cert = want && listeners[i].key;
	o.listeners = listeners;
	o.n_listeners = n;
	o.services = services;
	o.n_services = MICA_ARRAY_LEN(services);
	o.reflection = true;
	o.error_domain = "test.example";
	o.admit = admit;
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGHUP);
	sigaddset(&signals, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	pthread_condattr_init(&mono);
	pthread_condattr_setclock(&mono, CLOCK_MONOTONIC);
	pthread_cond_init(&changed, &mono);
	if (pthread_create(&thread, NULL, worker, NULL) != 0)
		return 1;
	if (mica_rpc_server_new(&o, &made, &e) != MICA_OK) {
		fprintf(stderr, "%s: %s\n", e.reason, e.text);
		return mica_rc_exit(e.rc);
	}
	server = made;
	for (size_t i = 0; i < n; i++)
		printf("listening %s\n", mica_rpc_server_address(server, i));
	fflush(stdout);
	serve(chain_file, key_file, &signals);
	mica_rpc_server_stop(server, 3000);
	for (size_t i = 0; i < n; i++)
		mica_rpc_key_unref(listeners[i].key);
	pthread_mutex_lock(&lock);
	ending = true; /* what is left is answered after the server's end */
	pthread_cond_signal(&changed);
	pthread_mutex_unlock(&lock);
	pthread_join(thread, NULL);
	return 0;
}
