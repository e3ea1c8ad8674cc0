/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server: libmicrohttpd's daemon with its worker threads, from start to stop. Requests are in
 * http_req.c, connections in http_conn.c, TLS in http_tls.c, sockets in http_listen.c.
 */
#define _GNU_SOURCE /* dup3 */
#include "http_impl.h"

#include "mica/threads.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <time.h>

/* ---- what libmicrohttpd calls ---------------------------------------------------------------- */

static size_t keep_percent(void *ctx, struct MHD_Connection *mhd, char *s)
{
	(void)ctx, (void)mhd;
	return strlen(s);
}

MICA_PRINTF(2, 0) static void on_log(void *ctx, const char *fmt, va_list ap)
{
	const struct http_server *s = ctx;
	char line[256];
	int n = vsnprintf(line, sizeof(line), fmt, ap);
	while (n > 0 && n < (int)sizeof(line) && line[n - 1] == '\n')
		line[--n] = '\0';
	MICA_LOG(MICA_DEBUG, "http_library", MICA_S("server", s->o.name), MICA_S("text", line));
}

static void on_panic(void *ctx, const char *file, unsigned line, const char *reason)
{
	(void)ctx;
	MICA_LOG(MICA_ERROR, "http_library_panic", MICA_S("file", file), MICA_I("line", line),
		MICA_S("text", reason ? reason : ""));
	abort();
}

#define OPTION(o, v)      ((struct MHD_OptionItem){(o), (intptr_t)(v), NULL})
#define OPTION_P(o, p)    ((struct MHD_OptionItem){(o), 0, (void *)(uintptr_t)(p)})
#define OPTION_F(o, f, p) ((struct MHD_OptionItem){(o), (intptr_t)(f), (p)})

/* The limits of libmicrohttpd are its last line only: each worker could take all connections,
 * since it would else refuse some while another has room; conn_policy keeps the real number. */
static mica_rc daemon_start(struct http_server *s, struct mica_err *e)
{
	const unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME |
		MHD_USE_ERROR_LOG | (s->o.tls ? MHD_USE_TLS : 0);
	struct MHD_OptionItem o[24];
	unsigned n = 0;
	o[n++] = OPTION_F(MHD_OPTION_EXTERNAL_LOGGER, on_log, s);
	o[n++] = OPTION(MHD_OPTION_LISTEN_SOCKET, s->listen_fd);
	o[n++] = OPTION(MHD_OPTION_CONNECTION_MEMORY_LIMIT, 16384);
	o[n++] = OPTION(MHD_OPTION_CONNECTION_LIMIT, (s->o.max_connections + 64) * s->n_workers);
	o[n++] = OPTION(
		MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)((s->o.idle_timeout_ms + 999) / 1000));
	/* not strict: it would look for Host and spaces, as the guard does, but writes the head of
	 * its refusal twice */
	o[n++] = OPTION(MHD_OPTION_STRICT_FOR_CLIENT, 0);
	o[n++] = OPTION_F(MHD_OPTION_NOTIFY_COMPLETED, req_completed, s);
	o[n++] = OPTION_F(MHD_OPTION_NOTIFY_CONNECTION, conn_notify, s);
	o[n++] = OPTION_F(MHD_OPTION_URI_LOG_CALLBACK, req_line, s);
	o[n++] = OPTION_F(MHD_OPTION_UNESCAPE_CALLBACK, keep_percent, s);
	if (s->n_workers > 1)
		o[n++] = OPTION(MHD_OPTION_THREAD_POOL_SIZE, s->n_workers);
	if (s->o.tls) {
		o[n++] = OPTION_P(MHD_OPTION_HTTPS_PRIORITIES, http_tls_priorities);
		o[n++] = OPTION_P(MHD_OPTION_HTTPS_CERT_CALLBACK2, tls_retrieve);
	}
	o[n] = OPTION(MHD_OPTION_END, 0);
	s->daemon = MHD_start_daemon(
		flags, 0, conn_policy, s, req_handle, s, MHD_OPTION_ARRAY, o, MHD_OPTION_END);
	if (!s->daemon)
		return mica_fail(e, MICA_INTERNAL, "http_failed",
			"%s: the HTTP library could not start: %s", s->address, strerror(errno));
	return MICA_OK;
}

static struct http_server *server_alloc(const struct http_options *o)
{
	struct http_server *s = MICA_NEW(struct http_server);
	s->o = *o;
	if (s->o.max_connections == 0)
		s->o.max_connections = 10000;
	s->o.name = mica_strdup(o->name ? o->name : "http");
	s->o.unix_path = mica_strdup(o->unix_path);
	s->o.listen = NULL;
	s->listen_fd = -1;
	s->layout_known = strncmp(MHD_get_version(), "0.9.7", 5) == 0;
	s->n_workers = o->threads > 0 ? o->threads : mica_cores();
	s->shake_epoll = s->shake_end = -1;
	s->workers = mica_calloc(s->n_workers, sizeof(struct worker));
	for (unsigned i = 0; i < s->n_workers; i++) {
		s->workers[i].server = s;
		pthread_mutex_init(&s->workers[i].lock, NULL);
	}
	mica_random(&s->hash_key, sizeof(s->hash_key));
	pthread_mutex_init(&s->addresses_lock, NULL);
	for (s->n_buckets = 64; s->n_buckets < o->max_connections && s->n_buckets < 1u << 16;)
		s->n_buckets *= 2;
	s->addresses = mica_calloc(s->n_buckets, sizeof(struct address *));
	return s;
}

static void server_free(struct http_server *s)
{
	for (unsigned i = 0; i < s->n_workers; i++) {
		struct http_req *r;
		mica_free(s->workers[i].ahead);
		while ((r = s->workers[i].free_reqs)) {
			s->workers[i].free_reqs = r->next;
			req_free(r);
		}
		pthread_mutex_destroy(&s->workers[i].lock);
	}
	tls_server_clear(s);
	pthread_mutex_destroy(&s->addresses_lock);
	mica_free(s->addresses);
	mica_free(s->workers);
	mica_free((void *)(uintptr_t)s->o.name);
	mica_free((void *)(uintptr_t)s->o.unix_path);
	mica_free(s);
}

static mica_rc server_start(struct http_server *s, const struct http_options *o, struct mica_err *e)
{
	mica_rc rc = tls_server_init(s, e);
	if (rc == MICA_OK)
		rc = listen_open(o, s->address, sizeof(s->address), &s->listen_fd, e);
	if (rc == MICA_OK && o->tls)
		rc = shake_start(s, e);
	if (rc == MICA_OK)
		rc = sweeper_start(s, e);
	if (rc != MICA_OK) {
		shake_stop(s);
		if (s->listen_fd >= 0)
			close(s->listen_fd);
		return rc;
	}
	rc = daemon_start(s, e);
	if (rc != MICA_OK) {
		sweeper_stop(s);
		shake_stop(s);
		close(s->listen_fd);
	}
	return rc;
}

mica_rc http_server_new(const struct http_options *o, struct http_server **out, struct mica_err *e)
{
	struct http_server *s = server_alloc(o);
	mica_rc rc;
	MHD_set_panic_func(on_panic, NULL);
	rc = server_start(s, o, e);
	if (rc != MICA_OK) {
		server_free(s);
		return rc;
	}
	*out = s;
	return MICA_OK;
}

const char *http_server_address(const struct http_server *s)
{
	return s->address;
}

static uint64_t read_counter(const counter *c)
{
	return atomic_load_explicit((counter *)(uintptr_t)c, memory_order_relaxed);
}

static uint64_t under_way(const struct http_server *s)
{
	uint64_t over = 0, begun = 0;
	for (unsigned i = 0; i < s->n_workers; i++)
		over += read_counter(&s->workers[i].over);
	for (unsigned i = 0; i < s->n_workers; i++)
		begun += read_counter(&s->workers[i].begun);
	return begun - over;
}

static uint64_t suspended(const struct http_server *s)
{
	uint64_t resumed = 0, deferred = 0;
	for (unsigned i = 0; i < s->n_workers; i++)
		resumed += atomic_load((counter *)(uintptr_t)&s->workers[i].resumed);
	for (unsigned i = 0; i < s->n_workers; i++)
		deferred += atomic_load((counter *)(uintptr_t)&s->workers[i].deferred);
	return deferred - resumed;
}

void http_server_stats(const struct http_server *s, struct http_stats *out)
{
	struct http_server *own = (struct http_server *)(uintptr_t)s;
	*out = (struct http_stats){.connections_now = atomic_load(&own->connections_now),
		.refused_connections = atomic_load(&own->refused),
		.timeouts = atomic_load(&own->timeouts),
		.deferred_now = suspended(s)};
	for (unsigned i = 0; i < s->n_workers; i++) {
		const struct worker *w = &s->workers[i];
		out->connections += read_counter(&w->connections);
		out->requests += read_counter(&w->requests);
		out->guard_refused += read_counter(&w->guard_refused);
		out->tls_failed += read_counter(&w->tls_failed);
		out->bytes_out += read_counter(&w->bytes_out);
	}
}

/*
 * The listening socket is replaced, in its place, by one that nobody can reach: the kernel takes
 * the old one out of every epoll set with its last descriptor. MHD_quiesce_daemon does the same in
 * several steps, which race with its own workers and then end in a panic.
 */
void http_server_drain(struct http_server *s)
{
	if (atomic_exchange(&s->draining, true))
		return;
	MICA_AUTO_FD int mute = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (mute < 0 || dup3(mute, s->listen_fd, O_CLOEXEC) < 0)
		MICA_LOG(MICA_WARN, "http_drain", MICA_S("server", s->o.name),
			MICA_S("error", strerror(errno)));
	if (s->o.unix_path)
		unlink(s->o.unix_path);
}

static void nap(void)
{
	const struct timespec t = {0, 1000000};
	nanosleep(&t, NULL);
}

static bool any_in_handler(const struct http_server *s)
{
	for (unsigned i = 0; i < s->n_workers; i++)
		if (atomic_load((_Atomic bool *)(uintptr_t)&s->workers[i].in_handler))
			return true;
	return false;
}

/* libmicrohttpd panics when it is stopped with suspended connections. So: no handler starts any
 * more, those that run come to their end, and all that is deferred is answered and resumed. */
void http_server_stop(struct http_server *s, int64_t wait_ms)
{
	const int64_t until = mica_mono_ms() + wait_ms;
	if (!s)
		return;
	http_server_drain(s);
	while (under_way(s) > 0 && mica_mono_ms() < until)
		nap();
	atomic_store(&s->stopping, true);
	while (any_in_handler(s))
		nap();
	while (suspended(s) + shakes_waiting(s) > 0 || atomic_load(&s->finishing) > 0) {
		sweep_deferred(s);
		nap();
	}
	sweeper_stop(s);
	shake_stop(s);
	MHD_stop_daemon(s->daemon);
	server_free(s);
}
