/* SPDX-License-Identifier: Apache-2.0 */
/* The small HTTP server for figures and probes, over real sockets. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "mica/clock.h"
#include "mica/file.h"
#include "mica/http_plain.h"
#include "mica/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define PATIENCE_MS 20000
#define CROWD       16 /* connections that it keeps */

static void get(void *ctx, struct mica_slice path, struct mica_http_plain_answer *out)
{
	(void)ctx;
	if (mica_slice_eq_str(path, "/figures")) {
		out->status = 200;
		mica_buf_put_str(&out->body, "one 1\n");
	} else if (mica_slice_eq_str(path, "/big")) {
		out->status = 200;
		for (unsigned i = 0; i < 900 * 1024; i++)
			mica_buf_put_u8(&out->body, 'x');
	}
}

static struct mica_http_plain *started(void)
{
	struct mica_http_plain *s = NULL;
	struct mica_err e = MICA_ERR_INIT;
	const struct mica_http_plain_options o = {.host = "127.0.0.1", .get = get};

	if (mica_http_plain_new(&o, &s, &e) != MICA_OK)
		fail_msg("%s: %s", e.reason, e.text);
	return s;
}

static int dial(const struct mica_http_plain *s)
{
	struct sockaddr_in a = {.sin_family = AF_INET};
	const char *colon = strrchr(mica_http_plain_address(s), ':');
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	a.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

static void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Until the end of the connection. */
static void hear(int fd, struct mica_buf *out)
{
	char b[4096];

	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		ssize_t n;

		assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
		n = recv(fd, b, sizeof(b), 0);
		if (n <= 0)
			break;
		mica_buf_put(out, b, (size_t)n);
	}
	mica_buf_put_u8(out, '\0');
}

static void answers(void **state)
{
	static const struct {
		const char *request, *status, *body;
	} rows[] = {
		{"GET /figures HTTP/1.1\r\nHost: x\r\n\r\n", "200 OK", "one 1\n"},
		{"GET /figures?a=b HTTP/1.0\r\n\r\n", "200 OK", "one 1\n"},
		{"HEAD /figures HTTP/1.1\r\nHost: x\r\n\r\n", "200 OK", ""},
		{"GET /other HTTP/1.1\r\n\r\n", "404 Not Found", ""},
		{"GET /figuresx HTTP/1.1\r\n\r\n", "404 Not Found", ""},
		{"POST /figures HTTP/1.1\r\n\r\n", "405 Method Not Allowed", ""},
		{"GET figures HTTP/1.1\r\n\r\n", "400 Bad Request", ""},
		{"GET /figures\r\n\r\n", "400 Bad Request", ""},
		{"GET /figures HTTP/2.0\r\n\r\n", "400 Bad Request", ""},
		{"\r\n\r\n", "400 Bad Request", ""},
		{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400 Bad Request", ""},
	};
	struct mica_http_plain *s = started();

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(rows); i++) {
		const int fd = dial(s);
		const char *text, *body;
		MICA_AUTO_BUF b;

		mica_buf_init(&b, 65536);
		say(fd, rows[i].request);
		hear(fd, &b);
		close(fd);
		text = (const char *)b.p;
		assert_int_equal(strncmp(text, "HTTP/1.1 ", 9), 0);
		assert_int_equal(strncmp(text + 9, rows[i].status, strlen(rows[i].status)), 0);
		body = strstr(text, "\r\n\r\n");
		assert_non_null(body);
		assert_string_equal(body + 4, rows[i].body);
		assert_non_null(strstr(text,
			strstr(rows[i].status, "200") ? "Content-Length: 6\r\n"
						      : "Content-Length: 0\r\n"));
	}
	mica_http_plain_stop(s);
}

/* A request that comes octet by octet, and an answer that fills every buffer on the way. */
static void slowly_and_long(void **state)
{
	static const char request[] = "GET /big HTTP/1.1\r\nHost: x\r\n\r\n";
	struct mica_http_plain *s = started();
	const int fd = dial(s);
	MICA_AUTO_BUF b;

	(void)state;
	mica_buf_init(&b, 2 << 20);
	for (const char *p = request; *p; p++) {
		assert_int_equal(send(fd, p, 1, MSG_NOSIGNAL), 1);
		poll(NULL, 0, 1);
	}
	poll(NULL, 0, 50);
	hear(fd, &b);
	close(fd);
	assert_non_null(strstr((char *)b.p, "Content-Length: 921600\r\n"));
	assert_int_equal(strlen(strstr((char *)b.p, "\r\n\r\n") + 4), 921600);
	mica_http_plain_stop(s);
}

static void a_head_has_a_bound(void **state)
{
	struct mica_http_plain *s = started();
	const int fd = dial(s);
	char line[4096];
	MICA_AUTO_BUF b;

	(void)state;
	mica_buf_init(&b, 65536);
	memset(line, 'a', sizeof(line));
	memcpy(line, "GET /figures HTTP/1.1\r\nX: ", 26);
	assert_int_equal(send(fd, line, sizeof(line), MSG_NOSIGNAL), sizeof(line));
	hear(fd, &b);
	close(fd);
	assert_int_equal(strncmp((char *)b.p, "HTTP/1.1 431 ", 13), 0);
	mica_http_plain_stop(s);
}

/* Those who say nothing make room: at once for others, and after a while of themselves. */
static void the_silent_make_room(void **state)
{
	struct mica_http_plain *s = started();
	int silent[CROWD], fd;
	const int64_t began = mica_mono_ms();
	MICA_AUTO_BUF b;

	(void)state;
	mica_buf_init(&b, 65536);
	for (unsigned i = 0; i < CROWD; i++)
		silent[i] = dial(s);
	fd = dial(s);
	say(fd, "GET /figures HTTP/1.1\r\n\r\n");
	hear(fd, &b);
	close(fd);
	assert_non_null(strstr((char *)b.p, "one 1\n"));
	assert_true(mica_mono_ms() - began < 4000);
	for (unsigned i = 0; i < CROWD; i++) {
		mica_buf_reset(&b);
		hear(silent[i], &b); /* its end */
		assert_int_equal(b.len, 1);
		close(silent[i]);
	}
	assert_true(mica_mono_ms() - began >= 4000);
	mica_http_plain_stop(s);
}

static void on_a_unix_socket(void **state)
{
	char folder[] = "/tmp/mica-plain-XXXXXX", path[64];
	struct mica_err e = MICA_ERR_INIT;
	struct mica_http_plain *s = NULL, *second = NULL;
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct stat st;
	MICA_AUTO_BUF b;
	int fd;

	(void)state;
	mica_buf_init(&b, 65536);
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/m.sock", folder);
	const struct mica_http_plain_options o = {.unix_path = path, .unix_mode = 0600, .get = get};

	assert_int_equal(mica_http_plain_new(&o, &s, &e), MICA_OK);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(mica_http_plain_new(&o, &second, &e), MICA_CONFLICT);
	assert_string_equal(e.reason, "address_in_use");
	assert_null(second);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	say(fd, "GET /figures HTTP/1.1\r\n\r\n");
	hear(fd, &b);
	close(fd);
	assert_non_null(strstr((char *)b.p, "one 1\n"));
	mica_http_plain_stop(s);
	assert_int_equal(stat(path, &st), -1);
	assert_int_equal(errno, ENOENT);
	rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers),
		cmocka_unit_test(slowly_and_long),
		cmocka_unit_test(a_head_has_a_bound),
		cmocka_unit_test(the_silent_make_room),
		cmocka_unit_test(on_a_unix_socket),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
