/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection: a socket, TLS perhaps, and a session. Octets that the socket did not take wait in
 * `pending`, and nothing more is pulled from the session until they are gone: so what a client does
 * not read stays bounded by the queues of its calls.
 *
 * A connection has one timer, set to the earliest thing that may be due; when it fires, what is due
 * is looked up. A deadline that moves later costs nothing.
 */
#include "loop_impl.h"

#include <errno.h>
#include <stddef.h>
#include <sys/socket.h>

#define READS_AT_ONCE  1 /* then the others have their turn */
#define WRITES_AT_ONCE 8

struct rpc_conn {
	struct rpc_session s; /* its first member */
	struct rpc_loop *loop;
	struct rpc_conn *prev, *next, *dirty_next;
	struct rpc_turn turn;
	struct rpc_tls *tls;
	struct rpc_peer *peer;
	int fd;
	bool counted; /* by address */
	bool handshaken, is_dirty, dead, eof, wants_write;
	uint8_t *pending;
	size_t pending_len, pending_off;
	int64_t stall_since; /* 0 = the socket takes what we have */
	size_t stall_octets;
	int64_t timer_at;
	struct event readable, timer;
	struct event *writable; /* made when a socket takes no more: most always do */
};

static void settle_soon(struct rpc_conn *c)
{
	if (c->is_dirty)
		return;
	c->is_dirty = true;
	c->dirty_next = c->loop->dirty;
	c->loop->dirty = c;
}

static void on_dirty(struct rpc_session *s)
{
	settle_soon((struct rpc_conn *)s);
}

static void wake_at(struct rpc_conn *c, int64_t ms)
{
	const int64_t in = ms - mica_mono_ms();
	struct timeval tv = {0, 0};
	if (ms >= c->timer_at || c->dead)
		return;
	c->timer_at = ms;
	if (in > 0)
		tv = (struct timeval){in / 1000, in % 1000 * 1000};
	event_add(&c->timer, &tv);
}

static void on_wake_at(struct rpc_session *s, int64_t ms)
{
	wake_at((struct rpc_conn *)s, ms);
}

/* ---- octets --------------------------------------------------------------------------------- */

static ssize_t plain(ssize_t n, int again)
{
	if (n >= 0)
		return n;
	return errno == EAGAIN || errno == EINTR ? again : RPC_IO_FAILED;
}

static ssize_t io_read(struct rpc_conn *c, uint8_t *p, size_t len)
{
	if (c->tls)
		return rpc_tls_read(c->tls, p, len);
	return plain(recv(c->fd, p, len, 0), RPC_IO_READ);
}

static ssize_t io_write(struct rpc_conn *c, const uint8_t *p, size_t len)
{
	if (c->tls)
		return rpc_tls_write(c->tls, p, len);
	return plain(send(c->fd, p, len, MSG_NOSIGNAL), RPC_IO_WRITE);
}

static void on_writable(evutil_socket_t fd, short what, void *ctx);

static void want_write(struct rpc_conn *c)
{
	if (!c->writable) {
		c->writable = MICA_NEW(struct event);
		event_assign(c->writable, c->loop->base, c->fd, EV_WRITE, on_writable, c);
	}
	if (!c->wants_write)
		event_add(c->writable, NULL);
	c->wants_write = true;
}

static void progress(struct rpc_conn *c, size_t n)
{
	c->stall_octets += n;
	if (c->stall_octets < RPC_STALL_MIN)
		return;
	c->stall_octets = 0;
	c->stall_since = c->stall_since ? c->s.now_ms : 0;
}

/* Keeps what the socket did not take. */
static void keep(struct rpc_conn *c, const uint8_t *p, size_t len)
{
	c->pending = mica_memdup(p, len);
	c->pending_len = len;
	c->pending_off = 0;
	c->stall_octets = 0;
	c->stall_since = mica_mono_ms();
	wake_at(c, c->stall_since + c->loop->core->o.stall_ms);
	want_write(c);
}

/* False: the socket takes no more. */
static bool write_pending(struct rpc_conn *c)
{
	while (c->pending && !c->dead) {
		const ssize_t n =
			io_write(c, c->pending + c->pending_off, c->pending_len - c->pending_off);
		if (n == RPC_IO_WRITE || n == RPC_IO_READ) {
			want_write(c);
			return false;
		}
		if (n <= 0) {
			c->dead = true;
			return false;
		}
		c->pending_off += (size_t)n;
		progress(c, (size_t)n);
		if (c->pending_off < c->pending_len)
			continue;
		mica_free(MICA_STEAL(c->pending));
		c->stall_since = 0;
	}
	return !c->dead;
}

static bool write_out(struct rpc_conn *c, const uint8_t *p, size_t len)
{
	while (len > 0) {
		const ssize_t n = io_write(c, p, len);
		if (n == RPC_IO_WRITE || n == RPC_IO_READ) {
			keep(c, p, len);
			return false;
		}
		if (n <= 0) {
			c->dead = true;
			return false;
		}
		p += n;
		len -= (size_t)n;
	}
	return true;
}

static void flush(struct rpc_conn *c)
{
	struct rpc_loop *l = c->loop;
	size_t n;
	if (!c->handshaken || !write_pending(c))
		return;
	for (unsigned i = 0; i < WRITES_AT_ONCE; i++) {
		n = rpc_session_pull(&c->s, l->out, sizeof(l->out), c->s.now_ms);
		if (n == 0 || !write_out(c, l->out, n))
			break;
		if (i + 1 == WRITES_AT_ONCE)
			want_write(c); /* the rest when the others had their turn */
	}
	if (!c->pending && (rpc_session_over(&c->s) || c->eof))
		c->dead = true;
}

void rpc_loop_settle(struct rpc_loop *l)
{
	struct rpc_conn *c;
	while ((c = l->dirty)) {
		l->dirty = c->dirty_next;
		c->is_dirty = false;
		if (!c->dead)
			flush(c);
		if (c->dead)
			rpc_conn_free(c);
	}
}

/* ---- events --------------------------------------------------------------------------------- */

static void handshake(struct rpc_conn *c)
{
	switch (rpc_tls_handshake(c->tls)) {
	case 1:
		c->handshaken = true;
		c->peer->chain = rpc_tls_chain(c->tls, &c->peer->pub.n_chain);
		c->peer->pub.chain = c->peer->chain;
		break;
	case RPC_IO_READ: break;
	case RPC_IO_WRITE: want_write(c); break;
	default:
		rpc_count(&c->loop->home->n.tls_failed, 1);
		c->dead = true;
		break;
	}
}

/* While a client does not read, we do not read what it sends beyond one turn: TCP tells it. */
static void read_some(struct rpc_conn *c)
{
	struct rpc_loop *l = c->loop;
	for (unsigned i = 0; i < READS_AT_ONCE && !c->dead && !c->pending && c->s.cut < 0; i++) {
		const ssize_t n = io_read(c, l->in, sizeof(l->in));
		if (n == RPC_IO_READ)
			return;
		if (n == RPC_IO_WRITE) {
			want_write(c);
			return;
		}
		if (n <= 0) {
			c->eof = true;
			c->dead = n < 0;
			return;
		}
		rpc_session_recv(&c->s, l->in, (size_t)n, c->s.now_ms);
		flush(c); /* what it costs us is counted when it is sent */
		if (!c->tls && (size_t)n < sizeof(l->in))
			return;
	}
	if (c->tls && rpc_tls_buffered(c->tls))
		event_active(&c->readable, EV_READ, 0);
}

static void take_turn(struct rpc_conn *c)
{
	if (c->tls)
		rpc_tls_readable(c->tls);
	if (!c->handshaken)
		handshake(c);
	if (c->handshaken && !c->pending)
		read_some(c);
	else if (c->pending)
		event_del(&c->readable);
	settle_soon(c);
	rpc_loop_settle(c->loop);
}

static void on_readable(evutil_socket_t fd, short what, void *ctx)
{
	struct rpc_conn *c = ctx;
	(void)fd, (void)what;
	c->s.now_ms = mica_mono_ms();
	if (!c->s.served && rpc_turns_wait(&c->loop->turns, &c->turn, c->s.now_ms))
		event_del(&c->readable);
	else
		take_turn(c);
}

void rpc_conn_turn(struct rpc_turn *turn)
{
	struct rpc_conn *c = (struct rpc_conn *)((char *)turn - offsetof(struct rpc_conn, turn));
	c->s.now_ms = mica_mono_ms();
	event_add(&c->readable, NULL);
	take_turn(c);
}

static void on_writable(evutil_socket_t fd, short what, void *ctx)
{
	struct rpc_conn *c = ctx;
	const bool was_pending = c->pending != NULL;
	(void)fd, (void)what;
	c->wants_write = false;
	c->s.now_ms = mica_mono_ms();
	if (!c->handshaken) {
		handshake(c);
		event_active(&c->readable, EV_READ, 0); /* what came with its end */
	} else if (write_pending(c) && was_pending) {
		event_add(&c->readable, NULL);
		read_some(c);
	}
	settle_soon(c);
	rpc_loop_settle(c->loop);
}

/* The session's own cuts tell the client so; a socket that takes nothing cannot. */
static void on_timer(evutil_socket_t fd, short what, void *ctx)
{
	struct rpc_conn *c = ctx;
	const struct mica_rpc_options *o = &c->loop->core->o;
	const int64_t now = mica_mono_ms();
	int64_t next;
	(void)fd, (void)what;
	c->timer_at = INT64_MAX;
	next = rpc_session_tick(&c->s, now);
	if (c->stall_since && now >= c->stall_since + o->stall_ms) {
		rpc_count(&c->loop->home->n.cuts[MICA_RPC_CUT_STALL], 1);
		c->dead = true;
	} else if (c->stall_since && c->stall_since + o->stall_ms < next) {
		next = c->stall_since + o->stall_ms;
	}
	if ((c->s.cut >= 0 || c->s.closing) && (c->pending || !c->handshaken))
		c->dead = true;
	if (next < INT64_MAX)
		wake_at(c, next);
	settle_soon(c);
	rpc_loop_settle(c->loop);
}

/* ---- start and end -------------------------------------------------------------------------- */

void rpc_conn_new(struct rpc_loop *l, const struct rpc_handover *h)
{
	struct rpc_conn *c = MICA_NEW(struct rpc_conn);
	struct rpc_listen *listen = h->listen;
	c->loop = l;
	c->fd = h->fd;
	c->counted = h->counted;
	c->peer = h->peer;
	c->timer_at = INT64_MAX;
	c->s.dirty = on_dirty;
	c->s.wake_at = on_wake_at;
	c->next = l->conns;
	if (c->next)
		c->next->prev = c;
	l->conns = c;
	event_assign(&c->readable, l->base, c->fd, EV_READ | EV_PERSIST, on_readable, c);
	event_assign(&c->timer, l->base, -1, 0, on_timer, c);
	rpc_session_init(&c->s, l->core, l->home, c->peer, mica_mono_ms());
	rpc_count(&l->home->n.connections, 1);
	if (c->peer->pub.tls) {
		struct mica_rpc_key *k;
		pthread_mutex_lock(&listen->key_lock);
		k = rpc_key_ref(listen->key);
		pthread_mutex_unlock(&listen->key_lock);
		c->tls = rpc_tls_new(k, c->fd, listen->o.want_client_cert);
		mica_rpc_key_unref(k);
		c->dead = !c->tls;
	} else {
		c->handshaken = true;
	}
	event_add(&c->readable, NULL);
	wake_at(c, rpc_session_tick(&c->s, c->s.now_ms));
	settle_soon(c);
}

void rpc_conn_free(struct rpc_conn *c)
{
	struct rpc_loop *l = c->loop;
	uint8_t network[16];
	memcpy(network, c->peer->pub.network, 16);
	c->dead = true;
	rpc_turns_leave(&c->turn);
	if (c->s.cut == MICA_RPC_CUT_RESETS || c->s.cut == MICA_RPC_CUT_FRAMES ||
		c->s.cut == MICA_RPC_CUT_PROTOCOL)
		rpc_turns_cut(&l->turns, mica_mono_ms());
	for (struct rpc_conn **at = &l->dirty; c->is_dirty && *at; at = &(*at)->dirty_next)
		if (*at == c) {
			*at = c->dirty_next;
			break;
		}
	c->is_dirty = true; /* not again */
	event_del(&c->readable);
	if (c->writable)
		event_del(c->writable);
	event_del(&c->timer);
	rpc_session_clear(&c->s);
	*(c->prev ? &c->prev->next : &l->conns) = c->next;
	if (c->next)
		c->next->prev = c->prev;
	if (c->tls)
		rpc_tls_close(c->tls);
	rpc_tls_free(c->tls);
	close(c->fd);
	mica_free(c->writable);
	mica_free(c->pending);
	rpc_peer_unref(c->peer);
	rpc_server_left(l->server, l, c->counted, network);
	mica_free(c);
}

void rpc_conn_shutdown(struct rpc_conn *c)
{
	rpc_session_shutdown(&c->s, mica_mono_ms());
}

struct rpc_conn *rpc_conn_next(struct rpc_conn *c)
{
	return c->next;
}
