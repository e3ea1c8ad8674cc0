/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* accept4 */
#include "mica/http_plain.h"

#include "rpc_impl.h"

#include "mica/file.h"
#include "mica/log.h"
#include "mica/threads.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS_MAX 16
#define HEAD_MAX        4096
#define ANSWER_MAX      ((size_t)1 << 20)
#define LIFE_MS         5000
#define REST_MS         1000 /* without a descriptor left for a connection */

struct plain_conn {
	int fd; /* -1 = free */
	int64_t end_ms; /* on mica_mono_ms() */
	size_t head_len, sent;
	bool answering;
	char head[HEAD_MAX];
	struct mica_buf answer;
};

struct mica_http_plain {
	struct mica_http_plain_options o;
	struct rpc_listen listen;
	int stop_fd;
	int64_t rest_until; /* nothing is accepted before */
	pthread_t thread;
	struct plain_conn conn[CONNECTIONS_MAX];
};

static void conn_close(struct plain_conn *c)
{
	close(c->fd);
	c->fd = -1;
	mica_buf_clear(&c->answer);
}

/* ---- requests and answers ------------------------------------------------------------------ */

static const char *status_text(int status)
{
	static const struct {
		int status;
		const char *text;
	} texts[] = {{200, "OK"}, {400, "Bad Request"}, {404, "Not Found"},
		{405, "Method Not Allowed"}, {431, "Request Header Fields Too Large"},
		{503, "Service Unavailable"}};

	for (size_t i = 0; i < MICA_ARRAY_LEN(texts); i++)
		if (texts[i].status == status)
			return texts[i].text;
	return "Status";
}

static void put_answer(struct plain_conn *c, const struct mica_http_plain_answer *a, bool head)
{
	mica_buf_printf(&c->answer,
		"HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
		"Cache-Control: no-store\r\n%sConnection: close\r\n\r\n",
		a->status, status_text(a->status), a->type, a->body.len,
		a->status == 405 ? "Allow: GET, HEAD\r\n" : "");
	if (!head)
		mica_buf_put_slice(&c->answer, mica_buf_slice(&a->body));
	c->answering = true;
}

/* "GET /path?query HTTP/1.1" */
static int read_request(struct mica_slice line, bool *head, struct mica_slice *path)
{
	struct mica_slice method, target;

	if (!mica_slice_cut(&line, ' ', &method) || !mica_slice_cut(&line, ' ', &target) ||
		!mica_slice_has_prefix(line, MICA_LIT("HTTP/1.")) || line.len != 8 ||
		target.len == 0 || target.p[0] != '/')
		return 400;
	*head = mica_slice_eq_str(method, "HEAD");
	if (!*head && !mica_slice_eq_str(method, "GET"))
		return 405;
	mica_slice_cut(&target, '?', path);
	return 200;
}

static void answer(struct mica_http_plain *s, struct plain_conn *c, int status)
{
	struct mica_http_plain_answer a = {.status = 404, .type = "text/plain; charset=utf-8"};
	struct mica_slice rest = mica_slice(c->head, c->head_len), line, path;
	bool head = false;

	mica_buf_init(&a.body, ANSWER_MAX);
	if (status == 200) {
		mica_slice_cut(&rest, '\r', &line);
		status = read_request(line, &head, &path);
	}
	if (status == 200)
		s->o.get(s->o.ctx, path, &a);
	else
		a.status = status;
	put_answer(c, &a, head);
	mica_buf_clear(&a.body);
}

static bool head_complete(const struct plain_conn *c)
{
	return memmem(c->head, c->head_len, "\r\n\r\n", 4) != NULL;
}

/* ---- sockets ------------------------------------------------------------------------------- */

static bool would_block(ssize_t n)
{
	return n < 0 && (errno == EAGAIN || errno == EINTR);
}

static void on_readable(struct mica_http_plain *s, struct plain_conn *c)
{
	const ssize_t n = recv(c->fd, c->head + c->head_len, HEAD_MAX - c->head_len, 0);

	if (would_block(n))
		return;
	if (n <= 0) {
		conn_close(c);
		return;
	}
	c->head_len += (size_t)n;
	if (head_complete(c))
		answer(s, c, 200);
	else if (c->head_len == HEAD_MAX)
		answer(s, c, 431);
}

static void on_writable(struct plain_conn *c)
{
	const ssize_t n = send(
		c->fd, c->answer.p + c->sent, c->answer.len - c->sent, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (would_block(n))
		return;
	c->sent += n > 0 ? (size_t)n : 0;
	if (n <= 0 || c->sent == c->answer.len)
		conn_close(c);
}

/* One that is free, or the oldest. */
static struct plain_conn *place(struct mica_http_plain *s)
{
	struct plain_conn *oldest = &s->conn[0];

	for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
		if (s->conn[i].fd < 0)
			return &s->conn[i];
		if (s->conn[i].end_ms < oldest->end_ms)
			oldest = &s->conn[i];
	}
	conn_close(oldest);
	return oldest;
}

static void on_connection(struct mica_http_plain *s)
{
	const int fd = accept4(s->listen.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct plain_conn *c;

	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			s->rest_until = mica_mono_ms() + REST_MS;
		return;
	}
	c = place(s);
	*c = (struct plain_conn){.fd = fd, .end_ms = mica_mono_ms() + LIFE_MS};
	mica_buf_init(&c->answer, ANSWER_MAX + HEAD_MAX);
}

/* ---- the loop ------------------------------------------------------------------------------ */

/* Puts away who is late; how long until the next one is. */
static int look_at_time(struct mica_http_plain *s)
{
	const int64_t now = mica_mono_ms();
	int64_t next = s->rest_until > now ? s->rest_until - now : -1;

	for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
		struct plain_conn *c = &s->conn[i];

		if (c->fd >= 0 && c->end_ms <= now)
			conn_close(c);
		if (c->fd >= 0 && (next < 0 || c->end_ms - now < next))
			next = c->end_ms - now;
	}
	return (int)next;
}

static void step(struct mica_http_plain *s, struct pollfd *p)
{
	const int wait = look_at_time(s);
	const bool rests = s->rest_until > mica_mono_ms();

	p[0] = (struct pollfd){.fd = s->stop_fd, .events = POLLIN};
	p[1] = (struct pollfd){.fd = rests ? -1 : s->listen.fd, .events = POLLIN};
	for (size_t i = 0; i < CONNECTIONS_MAX; i++)
		p[2 + i] = (struct pollfd){
			.fd = s->conn[i].fd, .events = s->conn[i].answering ? POLLOUT : POLLIN};
	if (poll(p, 2 + CONNECTIONS_MAX, wait) <= 0)
		return;
	for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
		if (!p[2 + i].revents)
			continue;
		if (s->conn[i].answering)
			on_writable(&s->conn[i]);
		else
			on_readable(s, &s->conn[i]);
	}
	if (p[1].revents)
		on_connection(s);
}

static void *run(void *ctx)
{
	struct mica_http_plain *s = ctx;
	struct pollfd p[2 + CONNECTIONS_MAX] = {{.revents = 0}};

	while (!p[0].revents)
		step(s, p);
	return NULL;
}

/* ---- life ---------------------------------------------------------------------------------- */

static void plain_free(struct mica_http_plain *s)
{
	for (size_t i = 0; i < CONNECTIONS_MAX; i++)
		if (s->conn[i].fd >= 0)
			conn_close(&s->conn[i]);
	rpc_listen_close(&s->listen);
	if (s->stop_fd >= 0)
		close(s->stop_fd);
	mica_free(s);
}

static mica_rc start(struct mica_http_plain *s, struct mica_err *e)
{
	mica_rc rc = rpc_listen_open(&s->listen, e);

	if (rc != MICA_OK)
		return rc;
	s->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->stop_fd < 0)
		return mica_fail_errno(e, errno, "listen on %s", s->listen.address);
	return mica_thread_start(&s->thread, run, s, "figures and probes", e);
}

mica_rc mica_http_plain_new(
	const struct mica_http_plain_options *o, struct mica_http_plain **out, struct mica_err *e)
{
	struct mica_http_plain *s = MICA_NEW(struct mica_http_plain);
	mica_rc rc;

	*out = NULL;
	s->o = *o;
	s->stop_fd = -1;
	s->listen.fd = -1;
	s->listen.plain_anywhere = true;
	s->listen.o = (struct mica_rpc_listener){.name = "metrics",
		.host = o->host,
		.port = o->port,
		.unix_path = o->unix_path,
		.unix_gid = -1,
		.unix_mode = o->unix_mode};
	for (size_t i = 0; i < CONNECTIONS_MAX; i++)
		s->conn[i].fd = -1;
	rc = start(s, e);
	if (rc == MICA_OK)
		*out = s;
	else
		plain_free(s);
	return rc;
}

const char *mica_http_plain_address(const struct mica_http_plain *s)
{
	return s->listen.address;
}

void mica_http_plain_stop(struct mica_http_plain *s)
{
	const uint64_t one = 1;

	if (!s)
		return;
	while (write(s->stop_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		continue;
	pthread_join(s->thread, NULL);
	plain_free(s);
}
