/* SPDX-License-Identifier: Apache-2.0 */
#include "mica/log.h"
#include "mica/clock.h"
#include "mica/mem.h"

#include "utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define LINE_MAX_ 8192
/* Kept free while fields are written, so that every line can be closed properly. */
#define LINE_RESERVE 32
#define BLOCK_MS     100
#define HELD_MAX     (2 * LINE_MAX_)

static struct {
	pthread_mutex_t lock; /* one line after the other; protects the rest of this block */
	int fd, reopened;
	bool socket;
	size_t chunk; /* what may be written at once after a poll without blocking */
	bool stalled; /* the last line did not go out in time: do not wait for the next */
	bool torn; /* the last line went out in part */
} sink = {
	.lock = PTHREAD_MUTEX_INITIALIZER, .fd = STDERR_FILENO, .reopened = -1, .chunk = PIPE_BUF};

static _Atomic int threshold = MICA_INFO;
static _Atomic int line_format = MICA_LOG_LOGFMT;
static _Atomic uint64_t dropped;

/* Of this thread: lines that go out together. */
static __thread struct {
	bool on;
	size_t len;
	char text[HELD_MAX];
} held;

/* ---- where lines go ------------------------------------------------------------------------ */

/* O_NONBLOCK belongs to the open file, which we may share with a shell and its other children:
 * so a pipe or terminal is opened once more, and a socket is asked not to block call by call.
 * Where opening is forbidden (a container's pipe that belongs to root) no more is written than
 * what a pipe that polls writable takes at once. */
void mica_log_setup(int fd, enum mica_log_format format, enum mica_log_level min)
{
	char path[64];
	struct stat st;

	pthread_mutex_lock(&sink.lock);
	if (sink.reopened >= 0)
		close(sink.reopened);
	sink.reopened = -1;
	sink.fd = fd;
	sink.socket = sink.stalled = sink.torn = false;
	sink.chunk = PIPE_BUF;
	if (fstat(fd, &st) == 0) {
		sink.socket = S_ISSOCK(st.st_mode);
		if (S_ISREG(st.st_mode) || sink.socket)
			sink.chunk = LINE_MAX_;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		if (S_ISFIFO(st.st_mode) || (S_ISCHR(st.st_mode) && isatty(fd)))
			sink.reopened = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	}
	if (sink.reopened >= 0) {
		sink.fd = sink.reopened;
		sink.chunk = LINE_MAX_;
	}
	pthread_mutex_unlock(&sink.lock);
	atomic_store(&line_format, (int)format);
	atomic_store(&threshold, (int)min);
}

void mica_log_level(enum mica_log_level min)
{
	atomic_store(&threshold, (int)min);
}

uint64_t mica_log_dropped(void)
{
	return atomic_load(&dropped);
}

static ssize_t put_some(const char *p, size_t n)
{
	if (n > sink.chunk)
		n = sink.chunk;
	if (sink.socket)
		return send(sink.fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	return write(sink.fd, p, n);
}

/* How much is out by the deadline (mica_mono_ms). */
static size_t put_until(const char *line, size_t n, int64_t deadline)
{
	size_t done = 0;

	while (done < n) {
		struct pollfd pfd = {.fd = sink.fd, .events = POLLOUT};
		int64_t left = deadline - mica_mono_ms();
		ssize_t k;

		if (poll(&pfd, 1, left > 0 ? (int)left : 0) == 0)
			break;
		k = put_some(line + done, n - done);
		if (k < 0 && errno != EINTR && errno != EAGAIN)
			break;
		done += k > 0 ? (size_t)k : 0;
	}
	return done;
}

/* Whole lines, of which those count as dropped that are not out in time to their end. */
static void put_lines(const char *text, size_t n)
{
	int64_t deadline;
	size_t done = 0;

	pthread_mutex_lock(&sink.lock);
	deadline = mica_mono_ms() + (sink.stalled ? 0 : BLOCK_MS);
	/* the line before went out in part: it ends here */
	if (sink.torn && put_until("\n", 1, deadline) == 1)
		sink.torn = false;
	if (!sink.torn)
		done = put_until(text, n, deadline);
	if (done > 0)
		sink.torn = text[done - 1] != '\n';
	sink.stalled = done < n;
	pthread_mutex_unlock(&sink.lock);
	for (size_t i = done; i < n; i++)
		if (text[i] == '\n')
			atomic_fetch_add(&dropped, 1);
}

static void put_held(void)
{
	if (held.len > 0)
		put_lines(held.text, held.len);
	held.len = 0;
}

static void put_line(const char *line, size_t n, bool at_once)
{
	if (!held.on) {
		put_lines(line, n);
		return;
	}
	if (n > sizeof(held.text) - held.len)
		put_held();
	memcpy(held.text + held.len, line, n);
	held.len += n;
	if (at_once)
		put_held();
}

void mica_log_hold(void)
{
	held.on = true;
}

void mica_log_release(void)
{
	put_held();
	held.on = false;
}

/* ---- how lines look ------------------------------------------------------------------------ */

struct line {
	size_t len;
	bool cut, json;
	char text[LINE_MAX_];
};

static bool put(struct line *l, const char *p, size_t n)
{
	if (l->cut || n > LINE_MAX_ - LINE_RESERVE - l->len) {
		l->cut = true;
		return false;
	}
	memcpy(l->text + l->len, p, n);
	l->len += n;
	return true;
}

/* The same from the reserve: for what begins the line, or closes it or a value. */
static void put_closing(struct line *l, const char *s)
{
	size_t n = strlen(s);

	memcpy(l->text + l->len, s, n);
	l->len += n;
}

/* The form of one code point inside quotes; `n` is 0 for a byte that is no UTF-8. */
static size_t escape(char out[16], const uint8_t *p, size_t n, uint32_t cp)
{
	static const char replacement[] = "\xef\xbf\xbd";

	if (n == 0 || cp >= 0xe0000) {
		memcpy(out, replacement, 3);
		return 3;
	}
	if (cp == '"' || cp == '\\') {
		out[0] = '\\';
		out[1] = (char)cp;
		return 2;
	}
	if (cp == '\n' || cp == '\r' || cp == '\t') {
		out[0] = '\\';
		out[1] = cp == '\n' ? 'n' : cp == '\r' ? 'r' : 't';
		return 2;
	}
	if (mica_utf8_unsafe(cp))
		return (size_t)snprintf(out, 16, "\\u%04x", (unsigned)cp);
	memcpy(out, p, n);
	return n;
}

static void put_quoted(struct line *l, struct mica_slice s)
{
	char out[16];

	if (!put(l, "\"", 1))
		return;
	for (size_t i = 0; i < s.len;) {
		uint32_t cp = 0;
		size_t n = mica_utf8_next(s.p + i, s.len - i, &cp);

		if (!put(l, out, escape(out, s.p + i, n, cp)))
			break;
		i += n ? n : 1;
	}
	put_closing(l, "\"");
}

/* What stands without quotes in logfmt: what no reader takes for a separator. */
static bool is_plain(struct mica_slice s)
{
	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = s.p[i];

		if (c <= ' ' || c >= 0x7f || c == '"' || c == '=' || c == '\\' || c == '\'' ||
			c == '`')
			return false;
	}
	return s.len > 0;
}

static void put_start(struct line *l, struct mica_slice s)
{
	size_t room = LINE_MAX_ - LINE_RESERVE - l->len;
	bool cut = s.len > room;

	put(l, (const char *)s.p, cut ? room : s.len);
	l->cut |= cut;
}

static void put_string(struct line *l, struct mica_slice s)
{
	if (l->json || !is_plain(s))
		put_quoted(l, s);
	else
		put_start(l, s);
}

/* Keys are literals of ours; should one be computed one day, it still cannot forge a field. */
static bool put_key(struct line *l, const char *key)
{
	size_t start = l->len;

	put(l, l->json ? ",\"" : " ", l->json ? 2 : 1);
	for (const char *k = key; *k; k++) {
		bool word = (*k >= 'a' && *k <= 'z') || (*k >= 'A' && *k <= 'Z') ||
			(*k >= '0' && *k <= '9') || *k == '_' || *k == '.';

		put(l, word ? k : "_", 1);
	}
	put(l, l->json ? "\":" : "=", l->json ? 2 : 1);
	if (l->cut || l->len + 24 > LINE_MAX_ - LINE_RESERVE) {
		l->cut = true;
		l->len = start; /* a key without any of its value says nothing */
	}
	return !l->cut;
}

/* Decimal, by hand: some numbers stand in every line. */
static void put_number(struct line *l, bool minus, uint64_t v)
{
	char digits[24];
	size_t at = sizeof(digits);

	do
		digits[--at] = (char)('0' + v % 10);
	while (v /= 10);
	if (minus)
		digits[--at] = '-';
	put(l, digits + at, sizeof(digits) - at);
}

static void put_thousandths(struct line *l, unsigned v)
{
	const char digits[4] = {
		'.', (char)('0' + v / 100), (char)('0' + v / 10 % 10), (char)('0' + v % 10)};

	put(l, digits, sizeof(digits));
}

static void put_field(struct line *l, const struct mica_field *f)
{
	uint64_t size = f->i < 0 ? -(uint64_t)f->i : (uint64_t)f->i;

	switch (f->kind) {
	case MICA_F_SLICE: put_string(l, f->s); return;
	/* put_key made sure that a number fits */
	case MICA_F_INT: put_number(l, f->i < 0, size); return;
	case MICA_F_BOOL: put(l, f->i ? "true" : "false", f->i ? 4 : 5); return;
	case MICA_F_MS: /* given in nanoseconds */
		size /= 1000;
		put_number(l, f->i < 0 && size, size / 1000);
		put_thousandths(l, (unsigned)(size % 1000));
		return;
	}
}

static void put_head(struct line *l, enum mica_log_level level, const char *event)
{
	static const char *const names[] = {"debug", "info", "warn", "error"};
	char day[MICA_TIME_SIZE];
	int64_t now = mica_now_ms();
	unsigned i = (unsigned)level < MICA_ARRAY_LEN(names) ? (unsigned)level : MICA_ERROR;

	mica_time_format(now / 1000, day);
	put_closing(l, l->json ? "{\"ts\":\"" : "ts=");
	put(l, day, MICA_TIME_SIZE - 2); /* the Z goes behind the milliseconds */
	put_thousandths(l, (unsigned)(now % 1000));
	put_closing(l, l->json ? "Z\",\"level\":\"" : "Z level=");
	put_closing(l, names[i]);
	put_closing(l, l->json ? "\",\"event\":" : " event=");
	put_string(l, mica_slice_str(event));
}

void mica_log_event(
	enum mica_log_level level, const char *event, const struct mica_field *fields, size_t n)
{
	int saved = errno;
	MICA_UNINIT struct line l;

	if ((int)level < atomic_load(&threshold))
		return;
	l.len = 0;
	l.cut = false;
	l.json = atomic_load(&line_format) == MICA_LOG_JSON;
	put_head(&l, level, event);
	for (size_t i = 0; i < n && !l.cut; i++) {
		if (fields[i].key && put_key(&l, fields[i].key))
			put_field(&l, &fields[i]);
	}
	if (l.cut)
		put_closing(&l, l.json ? ",\"truncated\":true" : " truncated=true");
	put_closing(&l, l.json ? "}\n" : "\n");
	put_line(l.text, l.len, level >= MICA_WARN);
	errno = saved;
}
