/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server: event loops, one a core, each a thread with its connections. The first loop accepts
 * and hands each connection to the loop that has the fewest: SO_REUSEPORT would spread them by
 * chance, and a node's proxy brings all its calls over one connection.
 */
#define _GNU_SOURCE /* accept4, pthread_setname_np */
#include "loop_impl.h"

#include "mica/threads.h"

#include <errno.h>
#include <event2/thread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>

#define ACCEPT_AT_ONCE   64
#define REST_MS          100 /* after accept failed for want of descriptors or memory */
#define STACK            ((size_t)1 << 20)
#define TRIM_EVERY_S     5
#define TRIM_CONNECTIONS 1000 /* new ones since the last time */
#define TRIM_STRAGGLERS  50

/* ---- accepting ------------------------------------------------------------------------------ */

static struct rpc_loop *idlest(struct mica_rpc_server *s)
{
	struct rpc_loop *best = &s->loops[0];
	for (unsigned i = 1; i < s->n_loops; i++)
		if (atomic_load_explicit(&s->loops[i].n_conns, memory_order_relaxed) <
			atomic_load_explicit(&best->n_conns, memory_order_relaxed))
			best = &s->loops[i];
	return best;
}

void rpc_server_left(
	struct mica_rpc_server *s, struct rpc_loop *l, bool counted, const uint8_t network[16])
{
	if (counted)
		rpc_address_leave(s->addresses, network);
	atomic_fetch_sub_explicit(&l->n_conns, 1, memory_order_relaxed);
	atomic_fetch_sub_explicit(&s->n_conns, 1, memory_order_relaxed);
}

static void hand_over(struct rpc_loop *to, const struct rpc_handover *h)
{
	struct rpc_handover *own = mica_memdup(h, sizeof(*h));
	pthread_mutex_lock(&to->lock);
	own->next = to->handed;
	to->handed = own;
	pthread_mutex_unlock(&to->lock);
	rpc_home_wake(to->home);
}

static bool is_welcome(struct mica_rpc_server *s, const struct rpc_listen *l,
	const struct mica_rpc_peer *peer, bool *counted)
{
	const struct mica_rpc_options *o = &s->core->o;
	*counted = false;
	if (atomic_load_explicit(&s->n_conns, memory_order_relaxed) >= o->max_connections ||
		(o->accept && !o->accept(o->ctx, peer)))
		return false;
	if (o->max_per_address == 0 || l->o.unix_path)
		return true;
	*counted = rpc_address_enter(s->addresses, peer->network, o->max_per_address);
	return *counted;
}

static void welcome(struct rpc_listen *l, int fd)
{
	struct mica_rpc_server *s = l->server;
	struct rpc_handover h = {.fd = fd, .listen = l, .peer = MICA_NEW(struct rpc_peer)};
	struct rpc_loop *to = idlest(s);
	atomic_init(&h.peer->refs, 1);
	h.peer->pub.tls = l->o.key != NULL;
	rpc_peer_read(fd, l, &h.peer->pub);
	if (!is_welcome(s, l, &h.peer->pub, &h.counted)) {
		atomic_fetch_add_explicit(&s->refused, 1, memory_order_relaxed);
		rpc_peer_unref(h.peer);
		close(fd);
		return;
	}
	atomic_fetch_add_explicit(&to->n_conns, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&s->n_conns, 1, memory_order_relaxed);
	if (to == &s->loops[0])
		rpc_conn_new(to, &h);
	else
		hand_over(to, &h);
}

static void on_accept(evutil_socket_t fd, short what, void *ctx)
{
	struct rpc_listen *l = ctx;
	struct mica_rpc_server *s = l->server;
	const struct timeval rest = {0, REST_MS * 1000};
	(void)what;
	for (unsigned i = 0; i < ACCEPT_AT_ONCE; i++) {
		const int one = accept4((int)fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (one >= 0) {
			welcome(l, one);
			continue;
		}
		if (errno == ECONNABORTED || errno == EINTR)
			continue;
		if (errno != EAGAIN) { /* no descriptors: it would fire at once again */
			for (size_t k = 0; k < s->n_listens; k++)
				event_del(s->listens[k].event);
			event_add(&s->rest, &rest);
		}
		break;
	}
	rpc_loop_settle(&s->loops[0]);
}

static void on_rested(evutil_socket_t fd, short what, void *ctx)
{
	struct mica_rpc_server *s = ctx;
	(void)fd, (void)what;
	for (size_t k = 0; k < s->n_listens && !atomic_load(&s->draining); k++)
		event_add(s->listens[k].event, NULL);
}

/* A crowd of handshakes leaves holes of 16 KiB where their buffers were: trimmed while it lasts,
 * and once more when its last handshakes are over: those of the time before have had theirs, and
 * fewer than TRIM_STRAGGLERS came since. */
static void on_trim(evutil_socket_t fd, short what, void *ctx)
{
	struct mica_rpc_server *s = ctx;
	uint64_t n = 0;
	(void)fd, (void)what;
	for (unsigned i = 0; i < s->n_loops; i++)
		n += atomic_load_explicit(&s->loops[i].home->n.connections, memory_order_relaxed);
	if (n - s->trimmed_at < TRIM_CONNECTIONS && !s->trim_again)
		return;
	mica_mem_trim();
	s->trim_again = n - s->trimmed_at >= TRIM_STRAGGLERS;
	s->trimmed_at = n;
}

/* ---- loops ---------------------------------------------------------------------------------- */

static bool take_handed(struct rpc_loop *l)
{
	struct rpc_handover *h, *next;
	bool any;
	pthread_mutex_lock(&l->lock);
	h = MICA_STEAL(l->handed);
	pthread_mutex_unlock(&l->lock);
	for (any = h != NULL; h; h = next) {
		next = h->next;
		rpc_conn_new(l, h);
		mica_free(h);
	}
	return any;
}

static void shut(struct rpc_loop *l)
{
	struct mica_rpc_server *s = l->server;
	struct rpc_conn *c, *next;
	for (size_t k = 0; l == s->loops && k < s->n_listens; k++) {
		event_del(s->listens[k].event);
		rpc_listen_close(&s->listens[k]);
	}
	for (c = l->conns; c; c = next) {
		next = rpc_conn_next(c);
		rpc_conn_shutdown(c);
	}
	l->shut = true;
}

static void on_wake(evutil_socket_t fd, short what, void *ctx)
{
	struct rpc_loop *l = ctx;
	uint64_t n;
	bool fresh;
	(void)what;
	if (read((int)fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
		return;
	fresh = take_handed(l);
	rpc_home_inbox(l->home);
	if (atomic_load(&l->server->draining) && (fresh || !l->shut))
		shut(l);
	rpc_loop_settle(l);
	if (atomic_load(&l->server->stopping))
		event_base_loopbreak(l->base);
}

static void *loop_main(void *ctx)
{
	struct rpc_loop *l = ctx;
	rpc_home_enter(l->home);
	event_base_dispatch(l->base);
	take_handed(l);
	while (l->conns)
		rpc_conn_free(l->conns);
	rpc_home_end(l->home);
	return NULL;
}

/* Signals stay with the program's main thread. */
static mica_rc loop_start(struct rpc_loop *l, struct mica_err *e)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int rc;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&l->thread, &attr, loop_main, l);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (rc != 0)
		return mica_fail_errno(e, rc, "a thread for gRPC");
	pthread_setname_np(l->thread, "mica-rpc");
	return MICA_OK;
}

static mica_rc loop_init(
	struct mica_rpc_server *s, struct rpc_loop *l, struct rpc_home *home, struct mica_err *e)
{
	struct event_config *config = event_config_new();
	l->server = s;
	l->core = s->core;
	l->home = home;
	home->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (config) {
		event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
		l->base = event_base_new_with_config(config);
		event_config_free(config);
	}
	if (home->wake_fd < 0 || !l->base)
		return mica_fail_errno(e, errno, "an event loop");
	event_assign(&l->wake, l->base, home->wake_fd, EV_READ | EV_PERSIST, on_wake, l);
	event_add(&l->wake, NULL);
	rpc_turns_init(&l->turns, l->base, rpc_conn_turn);
	return MICA_OK;
}

/* ---- servers -------------------------------------------------------------------------------- */

static void server_free(struct mica_rpc_server *s)
{
	for (size_t i = 0; i < s->n_listens; i++) {
		struct rpc_listen *l = &s->listens[i];
		rpc_listen_close(l);
		if (l->event)
			event_free(l->event);
		mica_rpc_key_unref(l->key);
		pthread_mutex_destroy(&l->key_lock);
		mica_free((void *)(uintptr_t)l->o.host);
		mica_free((void *)(uintptr_t)l->o.unix_path);
	}
	for (unsigned i = 0; i < s->n_loops; i++) {
		struct rpc_handover *h;
		while ((h = s->loops[i].handed)) { /* to a loop that had ended */
			s->loops[i].handed = h->next;
			close(h->fd);
			rpc_peer_unref(h->peer);
			mica_free(h);
		}
		if (s->loops[i].base)
			event_base_free(s->loops[i].base);
		pthread_mutex_destroy(&s->loops[i].lock);
	}
	rpc_addresses_free(s->addresses);
	rpc_core_unref(s->core);
	mica_free(s->listens);
	mica_free(s->loops);
	mica_free(s);
}

static mica_rc listen_all(
	struct mica_rpc_server *s, const struct mica_rpc_options *o, struct mica_err *e)
{
	for (size_t i = 0; i < o->n_listeners; i++) {
		struct rpc_listen *l = &s->listens[i];
		mica_rc rc;
		l->o = o->listeners[i];
		l->o.name = l->o.name ? l->o.name : "grpc";
		l->o.host = mica_strdup(l->o.host);
		l->o.unix_path = mica_strdup(l->o.unix_path);
		l->key = l->o.key ? rpc_key_ref(l->o.key) : NULL;
		l->server = s;
		l->fd = -1;
		pthread_mutex_init(&l->key_lock, NULL);
		s->n_listens++;
		rc = rpc_listen_open(l, e);
		if (rc != MICA_OK)
			return rc;
		l->event = event_new(s->loops[0].base, l->fd, EV_READ | EV_PERSIST, on_accept, l);
		if (!l->event || event_add(l->event, NULL) != 0)
			return mica_fail_errno(e, ENOMEM, "listen on %s", l->address);
	}
	return MICA_OK;
}

static void join(struct mica_rpc_server *s)
{
	atomic_store(&s->stopping, true);
	for (unsigned i = 0; i < s->n_started; i++)
		rpc_home_wake(s->loops[i].home);
	for (unsigned i = 0; i < s->n_started; i++)
		pthread_join(s->loops[i].thread, NULL);
}

static mica_rc start(
	struct mica_rpc_server *s, const struct mica_rpc_options *o, struct mica_err *e)
{
	const struct timeval trim_every = {TRIM_EVERY_S, 0};
	mica_rc rc = MICA_OK;
	for (unsigned i = 0; i < s->n_loops && rc == MICA_OK; i++)
		rc = loop_init(s, &s->loops[i], &s->core->homes[i], e);
	if (rc == MICA_OK)
		rc = listen_all(s, o, e);
	if (rc != MICA_OK)
		return rc;
	event_assign(&s->rest, s->loops[0].base, -1, 0, on_rested, s);
	event_assign(&s->trim, s->loops[0].base, -1, EV_PERSIST, on_trim, s);
	event_add(&s->trim, &trim_every);
	for (; s->n_started < s->n_loops && rc == MICA_OK; s->n_started += rc == MICA_OK)
		rc = loop_start(&s->loops[s->n_started], e);
	if (rc != MICA_OK)
		join(s);
	return rc;
}

mica_rc mica_rpc_server_new(
	const struct mica_rpc_options *o, struct mica_rpc_server **out, struct mica_err *e)
{
	struct mica_rpc_server *s = MICA_NEW(struct mica_rpc_server);
	const unsigned n = o->loops > 0 ? o->loops : mica_cores();
	mica_rc rc = rpc_core_new(o, n, &s->core, e);
	if (rc != MICA_OK) {
		mica_free(s);
		return rc;
	}
	s->n_loops = n;
	s->loops = mica_calloc(n, sizeof(*s->loops));
	for (unsigned i = 0; i < n; i++)
		pthread_mutex_init(&s->loops[i].lock, NULL);
	s->listens = mica_calloc(o->n_listeners, sizeof(*s->listens));
	s->addresses = rpc_addresses_new(o->max_connections);
	rc = start(s, o, e);
	if (rc != MICA_OK) {
		server_free(s);
		return rc;
	}
	*out = s;
	return MICA_OK;
}

const char *mica_rpc_server_address(const struct mica_rpc_server *s, size_t listener)
{
	return s->listens[listener].address;
}

void mica_rpc_server_set_key(struct mica_rpc_server *s, struct mica_rpc_key *k)
{
	for (size_t i = 0; i < s->n_listens; i++) {
		struct rpc_listen *l = &s->listens[i];
		struct mica_rpc_key *old;
		if (!l->o.key)
			continue;
		pthread_mutex_lock(&l->key_lock);
		old = l->key;
		l->key = rpc_key_ref(k);
		pthread_mutex_unlock(&l->key_lock);
		mica_rpc_key_unref(old);
	}
}

void mica_rpc_server_set_serving(struct mica_rpc_server *s, const char *service, bool serving)
{
	rpc_core_set_serving(s->core, service, serving);
}

void mica_rpc_server_drain(struct mica_rpc_server *s)
{
	if (atomic_exchange(&s->draining, true))
		return;
	atomic_store(&s->core->draining, true);
	rpc_health_changed(s->core);
	for (unsigned i = 0; i < s->n_loops; i++)
		rpc_home_wake(s->loops[i].home);
}

static void nap(void)
{
	const struct timespec t = {0, 1000000};
	nanosleep(&t, NULL);
}

void mica_rpc_server_stop(struct mica_rpc_server *s, int64_t wait_ms)
{
	const int64_t until = mica_mono_ms() + wait_ms;
	if (!s)
		return;
	mica_rpc_server_drain(s);
	while (atomic_load(&s->n_conns) > 0 && mica_mono_ms() < until)
		nap();
	join(s);
	server_free(s);
}

/* ---- figures -------------------------------------------------------------------------------- */

const char *mica_rpc_cut_name(enum mica_rpc_cut c)
{
	static const char *const names[MICA_RPC_CUTS] = {
		[MICA_RPC_CUT_RESETS] = "resets",
		[MICA_RPC_CUT_FRAMES] = "frames",
		[MICA_RPC_CUT_PROTOCOL] = "protocol",
		[MICA_RPC_CUT_HANDSHAKE] = "handshake",
		[MICA_RPC_CUT_HEADERS] = "headers",
		[MICA_RPC_CUT_STALL] = "stall",
	};
	return c < MICA_RPC_CUTS ? names[c] : "unknown";
}

static uint64_t get(const rpc_counter *c)
{
	return atomic_load_explicit((rpc_counter *)(uintptr_t)c, memory_order_relaxed);
}

void mica_rpc_server_stats(const struct mica_rpc_server *s, struct mica_rpc_stats *out)
{
	struct mica_rpc_server *own = (struct mica_rpc_server *)(uintptr_t)s;
	*out = (struct mica_rpc_stats){.connections_now = atomic_load(&own->n_conns),
		.refused_connections = atomic_load(&own->refused),
		.calls_now = atomic_load(&own->core->app_calls)};
	for (unsigned i = 0; i < s->n_loops; i++) {
		const struct rpc_home *h = s->loops[i].home;
		out->connections += get(&h->n.connections);
		out->tls_failed += get(&h->n.tls_failed);
		out->calls += get(&h->n.calls);
		out->bytes_in += get(&h->n.bytes_in);
		out->bytes_out += get(&h->n.bytes_out);
		for (unsigned k = 0; k < MICA_RPC_CODES; k++)
			out->codes[k] += get(&h->n.codes[k]);
		for (unsigned k = 0; k < MICA_RPC_CUTS; k++)
			out->cuts[k] += get(&h->n.cuts[k]);
	}
}
