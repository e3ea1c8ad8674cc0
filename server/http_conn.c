/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections: who is there, how many from where, and until when. libmicrohttpd's own timeout is
 * one of inactivity, which a byte a second keeps away for ever; so each connection has a deadline
 * for what it is doing, and a sweeper cuts what is late by shutdown(2) of its socket: its worker
 * then finds it closed.
 */
#define _GNU_SOURCE /* struct ucred, pthread_setname_np */
#include "http_impl.h"

#include "mica/secret.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>

/* ---- addresses ----------------------------------------------------------------------------- */

static bool is_v4_mapped(const struct sockaddr *sa)
{
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)(const void *)sa;
	return sa->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&six->sin6_addr);
}

/* The network that counts as one: an IPv4 address as mapped, the /64 of an IPv6 address. */
static void network_of(const struct sockaddr *sa, uint8_t out[16])
{
	memset(out, 0, 16);
	if (sa->sa_family == AF_INET) {
		const struct sockaddr_in *four = (const struct sockaddr_in *)(const void *)sa;
		out[10] = out[11] = 0xff;
		memcpy(out + 12, &four->sin_addr, 4);
	} else if (sa->sa_family == AF_INET6) {
		const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)(const void *)sa;
		memcpy(out, &six->sin6_addr, is_v4_mapped(sa) ? 16 : 8);
	}
}

static struct address **address_find(struct http_server *s, const uint8_t network[16])
{
	uint64_t a, b, h;
	struct address **at;
	memcpy(&a, network, 8);
	memcpy(&b, network + 8, 8);
	h = (a ^ s->hash_key) * 0x9e3779b97f4a7c15;
	h = (h ^ b ^ h >> 29) * 0xbf58476d1ce4e5b9;
	for (at = &s->addresses[(h >> 32) & (s->n_buckets - 1)]; *at; at = &(*at)->next)
		if (memcmp((*at)->network, network, 16) == 0)
			break;
	return at;
}

/* One connection more from there; false when there are too many, and it is not counted. */
static bool address_enter(struct http_server *s, const uint8_t network[16])
{
	struct address **at, *a;
	bool ok = true;
	pthread_mutex_lock(&s->addresses_lock);
	at = address_find(s, network);
	if (!*at) {
		*at = MICA_NEW(struct address);
		memcpy((*at)->network, network, 16);
	}
	a = *at;
	if (a->n >= s->o.max_per_address)
		ok = false;
	else
		a->n++;
	pthread_mutex_unlock(&s->addresses_lock);
	return ok;
}

static void address_leave(struct http_server *s, const uint8_t network[16])
{
	struct address **at, *a;
	pthread_mutex_lock(&s->addresses_lock);
	at = address_find(s, network);
	a = *at;
	if (a && --a->n == 0) {
		*at = a->next;
		mica_free(a);
	}
	pthread_mutex_unlock(&s->addresses_lock);
}

static bool address_full(struct http_server *s, const uint8_t network[16])
{
	struct address *a;
	bool full;
	pthread_mutex_lock(&s->addresses_lock);
	a = *address_find(s, network);
	full = a && a->n >= s->o.max_per_address;
	pthread_mutex_unlock(&s->addresses_lock);
	return full;
}

static bool by_address(const struct http_server *s)
{
	return s->o.max_per_address > 0 && !s->o.unix_path;
}

/* Before anything is spent on it. The count of this address can still grow between here and the
 * connection's start, where it is checked again. */
enum MHD_Result conn_policy(void *ctx, const struct sockaddr *addr, socklen_t len)
{
	struct http_server *s = ctx;
	uint8_t network[16];
	bool ok = !atomic_load_explicit(&s->draining, memory_order_relaxed) &&
		atomic_load_explicit(&s->connections_now, memory_order_relaxed) <
			s->o.max_connections;
	(void)len;
	if (ok && by_address(s)) {
		network_of(addr, network);
		ok = !address_full(s, network);
	}
	if (!ok)
		atomic_fetch_add_explicit(&s->refused, 1, memory_order_relaxed);
	return ok ? MHD_YES : MHD_NO;
}

/* ---- workers ------------------------------------------------------------------------------- */

/* Each thread of the daemon takes a record when it first calls us. */
struct worker *worker_self(struct http_server *s)
{
	static __thread struct worker *self;
	static __thread uint64_t self_of;
	if (self && self_of == s->hash_key)
		return self;
	self = &s->workers[atomic_fetch_add(&s->n_started, 1) % s->n_workers];
	self_of = s->hash_key;
	return self;
}

/* ---- start and end ------------------------------------------------------------------------- */

struct conn *conn_of(struct MHD_Connection *c)
{
	return MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

static void read_peer(struct conn *c, struct MHD_Connection *mhd)
{
	const struct sockaddr *sa =
		MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr;
	const void *bytes = NULL;
	int family = sa->sa_family;
	if (c->worker->server->o.unix_path) {
		struct ucred u = {.pid = -1, .uid = (uid_t)-1, .gid = (gid_t)-1};
		socklen_t len = sizeof(u);
		bool known = getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &u, &len) == 0;
		c->peer.local = true;
		c->peer.uid = known ? (int64_t)u.uid : -1;
		c->peer.gid = known ? (int64_t)u.gid : -1;
		c->peer.pid = known ? (int64_t)u.pid : -1;
		return;
	}
	network_of(sa, c->peer.network);
	if (family == AF_INET)
		bytes = &((const struct sockaddr_in *)(const void *)sa)->sin_addr;
	else if (is_v4_mapped(sa))
		family = AF_INET, bytes = c->peer.network + 12;
	else if (family == AF_INET6)
		bytes = &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr;
	if (bytes)
		inet_ntop(family, bytes, c->peer.address, sizeof(c->peer.address));
}

static void list_insert(struct conn *c)
{
	struct worker *w = c->worker;
	pthread_mutex_lock(&w->lock);
	c->next = w->conns;
	if (c->next)
		c->next->prev = c;
	w->conns = c;
	pthread_mutex_unlock(&w->lock);
}

static void list_remove(struct conn *c)
{
	struct worker *w = c->worker;
	pthread_mutex_lock(&w->lock);
	*(c->prev ? &c->prev->next : &w->conns) = c->next;
	if (c->next)
		c->next->prev = c->prev;
	pthread_mutex_unlock(&w->lock);
}

static struct conn *start(struct http_server *s, struct MHD_Connection *mhd)
{
	struct conn *c = MICA_NEW(struct conn);
	c->worker = worker_self(s);
	c->mhd = mhd;
	c->fd = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
	atomic_init(&c->refs, 1);
	read_peer(c, mhd);
	atomic_fetch_add_explicit(&s->connections_now, 1, memory_order_relaxed);
	count(&c->worker->connections, 1);
	conn_idle(c);
	return c;
}

static void conn_started(struct http_server *s, struct MHD_Connection *mhd, void **socket_context)
{
	struct conn *c = *socket_context = start(s, mhd);
	c->counted = by_address(s) && address_enter(s, c->peer.network);
	if (by_address(s) && !c->counted) {
		atomic_fetch_add_explicit(&s->refused, 1, memory_order_relaxed);
		shutdown(c->fd, SHUT_RDWR);
	}
	if (s->o.tls) {
		conn_phase(c, P_HANDSHAKE);
		conn_deadline(c, mica_mono_ms() + s->o.request_timeout_ms);
		c->tls = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION)
				 ->tls_session;
		tls_conn_start(c);
	}
	list_insert(c);
}

void conn_unref(struct conn *c)
{
	if (atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
		return;
	mica_free(c->chain);
	mica_free(c);
}

/* The TLS session is gone already, the socket still open: so the sweeper, which holds the list's
 * lock while it looks at a connection, never meets a number that means another socket. */
static void conn_ended(struct http_server *s, struct conn *c)
{
	list_remove(c);
	if (c->counted)
		address_leave(s, c->peer.network);
	if (c->tls && !c->handshaken)
		count(&c->worker->tls_failed, 1);
	tls_conn_end(c);
	http_tls_key_unref(c->key);
	atomic_fetch_sub_explicit(&s->connections_now, 1, memory_order_relaxed);
	conn_unref(c);
}

void conn_notify(void *ctx, struct MHD_Connection *mhd, void **socket_context,
	enum MHD_ConnectionNotificationCode code)
{
	if (code == MHD_CONNECTION_NOTIFY_STARTED)
		conn_started(ctx, mhd, socket_context);
	else if (*socket_context)
		conn_ended(ctx, *socket_context);
}

/* ---- phases -------------------------------------------------------------------------------- */

/* A connection that says nothing is closed by libmicrohttpd itself after the idle timeout. Under
 * TLS the first byte ends this phase (http_tls.c); else nobody sees it before the first line is
 * whole, so there is a deadline for one that drips. */
void conn_idle(struct conn *c)
{
	const struct http_options *o = &c->worker->server->o;
	uint64_t w = atomic_load_explicit(&c->word, memory_order_relaxed);
	conn_deadline(c,
		c->tls ? INT64_MAX : mica_mono_ms() + o->idle_timeout_ms + o->request_timeout_ms);
	atomic_store_explicit(
		&c->word, ((w >> PHASE_BITS) + 1) << PHASE_BITS | P_IDLE, memory_order_release);
}

void conn_begin_request(struct conn *c, int64_t now_ms)
{
	conn_deadline(c, now_ms + c->worker->server->o.request_timeout_ms);
	conn_phase(c, P_READING);
}

/* ---- the sweeper --------------------------------------------------------------------------- */

static void make_overdue(struct conn *c, uint64_t word)
{
	uint64_t to = (word >> PHASE_BITS << PHASE_BITS) | P_OVERDUE;
	if (atomic_compare_exchange_strong(&c->word, &word, to))
		MHD_resume_connection(c->mhd);
}

static void sweep_conn(struct http_server *s, struct conn *c, int64_t now, bool all_deferred)
{
	uint64_t word = atomic_load_explicit(&c->word, memory_order_acquire);
	int64_t deadline = atomic_load_explicit(&c->deadline_ms, memory_order_relaxed);
	enum phase p = PHASE_OF(word);
	if (all_deferred && p == P_HANDSHAKE)
		shutdown(c->fd, SHUT_RDWR);
	if (p == P_FINISHED || p == P_OVERDUE || (deadline > now && !all_deferred))
		return;
	if (p == P_DEFERRED) {
		make_overdue(c, word);
		return;
	}
	/* the same phase of the same request after its deadline was read: it is its deadline */
	if (all_deferred || atomic_load_explicit(&c->word, memory_order_acquire) != word)
		return;
	atomic_fetch_add_explicit(&s->timeouts, 1, memory_order_relaxed);
	conn_deadline(c, INT64_MAX);
	shutdown(c->fd, SHUT_RDWR);
}

static void sweep(struct http_server *s, bool all_deferred)
{
	const int64_t now = mica_mono_ms();
	for (unsigned i = 0; i < s->n_workers; i++) {
		struct worker *w = &s->workers[i];
		pthread_mutex_lock(&w->lock);
		for (struct conn *c = w->conns; c; c = c->next)
			sweep_conn(s, c, now, all_deferred);
		pthread_mutex_unlock(&w->lock);
	}
}

void sweep_deferred(struct http_server *s)
{
	sweep(s, true);
}

static int64_t interval_ms(const struct http_options *o)
{
	int64_t least = o->request_timeout_ms;
	if (o->deferred_timeout_ms < least)
		least = o->deferred_timeout_ms;
	least /= 8;
	return least < 10 ? 10 : least > 500 ? 500 : least;
}

static void *sweeper_main(void *ctx)
{
	struct http_server *s = ctx;
	const int64_t every = interval_ms(&s->o) * 1000000;
	pthread_mutex_lock(&s->sweep_lock);
	while (!s->sweep_end) {
		int64_t at = mica_mono_ns() + every;
		struct timespec t = {at / 1000000000, at % 1000000000};
		pthread_cond_timedwait(&s->sweep_wake, &s->sweep_lock, &t);
		if (s->sweep_end)
			break;
		pthread_mutex_unlock(&s->sweep_lock);
		sweep(s, false);
		pthread_mutex_lock(&s->sweep_lock);
	}
	pthread_mutex_unlock(&s->sweep_lock);
	return NULL;
}

mica_rc sweeper_start(struct http_server *s, struct mica_err *e)
{
	pthread_condattr_t a;
	int rc;
	pthread_condattr_init(&a);
	pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
	pthread_mutex_init(&s->sweep_lock, NULL);
	pthread_cond_init(&s->sweep_wake, &a);
	pthread_condattr_destroy(&a);
	rc = pthread_create(&s->sweeper, NULL, sweeper_main, s);
	if (rc != 0)
		return mica_fail_errno(e, rc, "the sweeper thread");
	pthread_setname_np(s->sweeper, "mica-sweep");
	return MICA_OK;
}

void sweeper_stop(struct http_server *s)
{
	pthread_mutex_lock(&s->sweep_lock);
	s->sweep_end = true;
	pthread_cond_signal(&s->sweep_wake);
	pthread_mutex_unlock(&s->sweep_lock);
	pthread_join(s->sweeper, NULL);
	pthread_cond_destroy(&s->sweep_wake);
	pthread_mutex_destroy(&s->sweep_lock);
}
