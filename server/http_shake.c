/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handshakes that wait for their peer. libmicrohttpd under epoll takes a connection for readable
 * until a read of *data* finds nothing; what finds nothing during a handshake is not seen, so that
 * a peer that has sent one octet and no more would keep its worker turning. Here such a connection
 * is suspended, and a thread that waits for all of them resumes it when something has come.
 */
#define _GNU_SOURCE /* pthread_setname_np */
#include "http_impl.h"

#include "mica/clock.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#define EVENTS 64

/* On the worker, from within GnuTLS. Nothing is suspended any more once the server stops. */
void shake_wait(struct conn *c)
{
	struct worker *w = c->worker;
	struct http_server *s = w->server;
	struct epoll_event ev = {.events = EPOLLIN | EPOLLONESHOT, .data.ptr = c};

	atomic_store(&w->in_handler, true);
	if (!atomic_load(&s->stopping)) {
		c->shake_waits = true;
		count(&w->shakes_parked, 1);
		MHD_suspend_connection(c->mhd);
		/* last: it may be resumed at once, though not handled before we return */
		if (epoll_ctl(s->shake_epoll, c->shake_known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, c->fd,
			    &ev) != 0)
			MHD_resume_connection(c->mhd);
		c->shake_known = true;
	}
	atomic_store_explicit(&w->in_handler, false, memory_order_release);
}

/* On the worker, when the connection is handled again, or ends. */
void shake_waited(struct conn *c)
{
	if (c->shake_waits)
		count(&c->worker->shakes_resumed, 1);
	c->shake_waits = false;
}

uint64_t shakes_waiting(struct http_server *s)
{
	uint64_t resumed = 0, parked = 0;

	for (unsigned i = 0; i < s->n_workers; i++)
		resumed += atomic_load(&s->workers[i].shakes_resumed);
	for (unsigned i = 0; i < s->n_workers; i++)
		parked += atomic_load(&s->workers[i].shakes_parked);
	return parked - resumed;
}

static void *shake_main(void *ctx)
{
	struct http_server *s = ctx;
	struct epoll_event ev[EVENTS];

	for (;;) {
		int n = epoll_wait(s->shake_epoll, ev, EVENTS, -1);

		for (int i = 0; i < n; i++) {
			struct conn *c = ev[i].data.ptr;

			if (!c)
				return NULL;
			/* once resumed it may be gone */
			atomic_fetch_add(&s->finishing, 1);
			MHD_resume_connection(c->mhd);
			atomic_fetch_sub(&s->finishing, 1);
		}
	}
}

mica_rc shake_start(struct http_server *s, struct mica_err *e)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};
	int rc;

	s->shake_epoll = epoll_create1(EPOLL_CLOEXEC);
	s->shake_end = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->shake_epoll < 0 || s->shake_end < 0 ||
		epoll_ctl(s->shake_epoll, EPOLL_CTL_ADD, s->shake_end, &ev) != 0)
		rc = errno;
	else
		rc = pthread_create(&s->shake, NULL, shake_main, s);
	if (rc == 0) {
		s->shake_runs = true;
		pthread_setname_np(s->shake, "mica-shake");
		return MICA_OK;
	}
	shake_stop(s);
	return mica_fail_errno(e, rc, "the thread of handshakes");
}

/* When none waits and none will. */
void shake_stop(struct http_server *s)
{
	if (s->shake_runs) {
		eventfd_write(s->shake_end, 1);
		pthread_join(s->shake, NULL);
	}
	s->shake_runs = false;
	if (s->shake_epoll >= 0)
		close(s->shake_epoll);
	if (s->shake_end >= 0)
		close(s->shake_end);
	s->shake_epoll = s->shake_end = -1;
}
