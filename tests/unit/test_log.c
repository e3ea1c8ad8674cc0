/* SPDX-License-Identifier: Apache-2.0 */
/* The log: no value forges a field, a line or a terminal's state, and no reader stops us. */
#include "mica/log.h"
#include "mica/buf.h"
#include "mica/clock.h"
#include "mica/json.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <cmocka.h>
#include <sys/socket.h>

static int fds[2];

static void start(enum mica_log_format format, enum mica_log_level min)
{
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
	mica_log_setup(fds[1], format, min);
}

static void stop(void)
{
	mica_log_setup(STDERR_FILENO, MICA_LOG_LOGFMT, MICA_INFO);
	close(fds[0]);
	close(fds[1]);
}

/* What was written since, without the time, which must have its form. */
static const char *got(char out[20000])
{
	const char *ts = "ts=dddd-dd-ddTdd:dd:dd.dddZ ";
	ssize_t n = read(fds[0], out, 19999);

	out[n > 0 ? n : 0] = '\0';
	if (strncmp(out, "ts=", 3) != 0)
		return out;
	for (size_t i = 0; ts[i]; i++) {
		if (ts[i] == 'd')
			assert_true(out[i] >= '0' && out[i] <= '9');
		else
			assert_int_equal(out[i], ts[i]);
	}
	return out + strlen(ts);
}

static void logfmt(void **state)
{
	struct mica_err e = MICA_ERR_INIT;
	char out[20000];

	(void)state;
	start(MICA_LOG_LOGFMT, MICA_INFO);
	MICA_LOG(MICA_INFO, "x509_issued", MICA_S("spiffe_id", "spiffe://example.org/ns/a/sa/b"),
		MICA_I("index", -42), MICA_B("renewed", true), MICA_MS("took", 1234567),
		MICA_S("empty", ""), MICA_S("text", "two words"));
	assert_string_equal(got(out),
		"level=info event=x509_issued spiffe_id=spiffe://example.org/ns/a/"
		"sa/b index=-42 renewed=true took=1.234 empty=\"\" "
		"text=\"two words\"\n");
	mica_fail_fine(&e, MICA_INVALID, "token_invalid", "bad token", "bad_signature", "key 7");
	MICA_LOG(MICA_WARN, "refused", MICA_E(&e));
	assert_string_equal(got(out),
		"level=warn event=refused reason=bad_signature "
		"error=\"bad token\" detail=\"key 7\"\n");
	mica_log_event(MICA_ERROR, "bare", NULL, 0);
	assert_string_equal(got(out), "level=error event=bare\n");
	MICA_LOG(MICA_INFO, "limits", MICA_I("low", INT64_MIN), MICA_I("high", INT64_MAX),
		MICA_MS("past", -1500000), MICA_MS("zero", -999), MICA_MS("min", INT64_MIN));
	assert_string_equal(got(out),
		"level=info event=limits low=-9223372036854775808 "
		"high=9223372036854775807 past=-1.500 zero=0.000 "
		"min=-9223372036854.775\n");
	stop();
}

static void levels(void **state)
{
	char out[20000];

	(void)state;
	start(MICA_LOG_LOGFMT, MICA_WARN);
	MICA_LOG(MICA_INFO, "quiet", MICA_I("a", 1));
	assert_string_equal(got(out), "");
	MICA_LOG(MICA_ERROR, "loud", MICA_I("a", 1));
	assert_string_equal(got(out), "level=error event=loud a=1\n");
	mica_log_level(MICA_DEBUG);
	MICA_LOG(MICA_DEBUG, "now", MICA_I("a", 1));
	assert_string_equal(got(out), "level=debug event=now a=1\n");
	stop();
}

/* Every attempt to make one value look like more than one value. */
static void forgery(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{"x\nts=2026-01-01T00:00:00.000Z level=info event=admin",
			"\"x\\nts=2026-01-01T00:00:00.000Z level=info event=admin\""},
		{"x level=error", "\"x level=error\""},
		{"\" level=error \"", "\"\\\" level=error \\\"\""},
		{"\\\" a=b", "\"\\\\\\\" a=b\""},
		{"a=b", "\"a=b\""},
		{"\x1b[2J\x1b]0;title\x07", "\"\\u001b[2J\\u001b]0;title\\u0007\""},
		{"\xc2\x9b"
		 "2J",
			"\"\\u009b2J\""},
		{"\r\n\t\x08", "\"\\r\\n\\t\\u0008\""},
		{"\xe2\x80\xaetxt.exe", "\"\\u202etxt.exe\""},
		{"\xe2\x80\xa8", "\"\\u2028\""},
		{"\xff\xc0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
		{"\xf3\xa0\x81\x81", "\"\xef\xbf\xbd\""}, /* tag letters: not seen by people */
		{"caf\xc3\xa9", "\"caf\xc3\xa9\""},
		{"'quoted'", "\"'quoted'\""},
	};
	char out[20000], expected[256];

	(void)state;
	start(MICA_LOG_LOGFMT, MICA_INFO);
	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++) {
		MICA_LOG(MICA_INFO, "e", MICA_S("v", cases[i].in), MICA_I("end", 1));
		snprintf(expected, sizeof(expected), "level=info event=e v=%s end=1\n",
			cases[i].out);
		assert_string_equal(got(out), expected);
	}
	MICA_LOG(MICA_INFO, "a b\nc", MICA_I("k =\n", 1));
	assert_string_equal(got(out), "level=info event=\"a b\\nc\" k___=1\n");
	stop();
}

/* Whatever one byte is: one line, which ends where it should, in both formats. */
static void every_byte(void **state)
{
	char out[20000];

	(void)state;
	for (int format = 0; format < 2; format++) {
		start(format ? MICA_LOG_JSON : MICA_LOG_LOGFMT, MICA_INFO);
		for (int c = 0; c < 256; c++) {
			uint8_t b[3] = {'a', (uint8_t)c, 'z'};
			size_t n;

			MICA_LOG(MICA_INFO, "e", MICA_SL("v", mica_slice(b, 3)), MICA_I("end", 1));
			got(out);
			n = strlen(out);
			assert_true(n > 0 && strcspn(out, "\n") == n - 1);
			for (size_t i = 0; i + 1 < n; i++)
				assert_true((uint8_t)out[i] >= 0x20 && out[i] != 0x7f);
			assert_string_equal(
				out + n - (format ? 10 : 7), format ? ",\"end\":1}\n" : " end=1\n");
		}
		stop();
	}
}

static void json(void **state)
{
	struct mica_err e = MICA_ERR_INIT;
	MICA_AUTO_JSON d;
	char out[20000];

	(void)state;
	start(MICA_LOG_JSON, MICA_INFO);
	MICA_LOG(MICA_INFO, "e", MICA_S("v", "\"}\n{\"level\":\"\xff\x1b"), MICA_I("i", -7),
		MICA_B("b", false), MICA_MS("ms", 2500000));
	got(out);
	assert_int_equal(mica_json_parse(mica_slice_str(out), NULL, &d, &e), MICA_OK);
	assert_int_equal(json_object_size(d.root), 7);
	assert_string_equal(json_string_value(json_object_get(d.root, "v")),
		"\"}\n{\"level\":\"\xef\xbf\xbd\x1b");
	assert_int_equal(json_integer_value(json_object_get(d.root, "i")), -7);
	assert_string_equal(json_string_value(json_object_get(d.root, "level")), "info");
	assert_int_equal(strlen(json_string_value(json_object_get(d.root, "ts"))), 24);
	stop();
}

/* Lines around the limit, with a long value at each phase: whole, parsable, and marked when cut. */
static void long_lines(void **state)
{
	char out[20000], value[9000];

	(void)state;
	for (int format = 0; format < 2; format++) {
		start(format ? MICA_LOG_JSON : MICA_LOG_LOGFMT, MICA_INFO);
		for (size_t len = 7900; len < 8300; len++) {
			struct mica_err e = MICA_ERR_INIT;
			MICA_AUTO_JSON d = {0};
			size_t n;

			for (size_t i = 0; i < len; i++)
				value[i] = len % 3 == 0 ? 'x'
					: len % 3 == 1  ? '\n'
							: "\xc3\xa9"[i % 2];
			MICA_LOG(MICA_INFO, "e", MICA_SL("v", mica_slice(value, len)),
				MICA_I("i", 123456), MICA_S("s", "s"), MICA_B("b", true));
			got(out);
			n = strlen(out);
			assert_true(n > 0 && n <= 8192 && strcspn(out, "\n") == n - 1);
			if (len > 8200)
				assert_non_null(strstr(out, "truncated"));
			assert_true(mica_slice_is_utf8(mica_slice_str(out)));
			if (format)
				assert_int_equal(mica_json_parse(mica_slice_str(out), NULL, &d, &e),
					MICA_OK);
		}
		stop();
	}
}

/* A pipe that nobody reads: one line waits its time, the others are dropped at once, and when it
 * is read again lines are whole. */
static void full_pipe(void **state)
{
	uint64_t before = mica_log_dropped();
	char out[20000], filler[1000];
	int64_t from;
	ssize_t n;

	(void)state;
	memset(filler, 'f', sizeof(filler));
	start(MICA_LOG_LOGFMT, MICA_INFO);
	from = mica_mono_ms();
	for (int i = 0; i < 1000; i++)
		MICA_LOG(MICA_INFO, "e", MICA_SL("f", mica_slice(filler, sizeof(filler))));
	assert_true(mica_mono_ms() - from < 1000);
	assert_true(mica_log_dropped() > before);
	while ((n = read(fds[0], out, sizeof(out))) > 0)
		;
	before = mica_log_dropped();
	MICA_LOG(MICA_INFO, "again", MICA_I("a", 1));
	n = read(fds[0], out, sizeof(out) - 1);
	assert_true(n > 0);
	out[n] = '\0';
	/* after a line that went out in part, the next begins on a line of its own */
	assert_non_null(strstr(out, "event=again a=1\n"));
	assert_true(out[0] == '\n' || strncmp(out, "ts=", 3) == 0);
	assert_true(mica_log_dropped() == before);
	stop();
}

/* The descriptor that we got may be shared with a shell: it stays as it was. */
static void shared_descriptor(void **state)
{
	(void)state;
	start(MICA_LOG_LOGFMT, MICA_INFO);
	assert_int_equal(fcntl(fds[1], F_GETFL) & O_NONBLOCK, 0);
	stop();
}

static void socket_without_reader(void **state)
{
	uint64_t before = mica_log_dropped();
	char filler[1000];
	int64_t from;
	int pair[2];

	(void)state;
	memset(filler, 'f', sizeof(filler));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	mica_log_setup(pair[1], MICA_LOG_LOGFMT, MICA_INFO);
	from = mica_mono_ms();
	for (int i = 0; i < 1000; i++)
		MICA_LOG(MICA_INFO, "e", MICA_SL("f", mica_slice(filler, sizeof(filler))));
	assert_true(mica_mono_ms() - from < 1000);
	assert_true(mica_log_dropped() > before);
	close(pair[0]);
	before = mica_log_dropped();
	MICA_LOG(MICA_INFO, "nobody", MICA_I("a", 1)); /* and no SIGPIPE */
	assert_true(mica_log_dropped() == before + 1);
	mica_log_setup(STDERR_FILENO, MICA_LOG_LOGFMT, MICA_INFO);
	close(pair[1]);
}

static void bad_descriptor(void **state)
{
	uint64_t before = mica_log_dropped();

	(void)state;
	mica_log_setup(-1, MICA_LOG_LOGFMT, MICA_INFO);
	errno = 77;
	MICA_LOG(MICA_INFO, "e", MICA_I("a", 1));
	assert_int_equal(errno, 77);
	assert_true(mica_log_dropped() == before + 1);
	mica_log_setup(STDERR_FILENO, MICA_LOG_LOGFMT, MICA_INFO);
}

static void *chatter(void *arg)
{
	for (int i = 0; i < 200; i++)
		MICA_LOG(MICA_INFO, "thread", MICA_S("who", arg), MICA_S("text", "a b c"));
	return NULL;
}

static void threads(void **state)
{
	static char out[200000];
	static const char *const names[] = {"a", "b", "c", "d"};
	pthread_t t[4];
	unsigned lines = 0;
	size_t n;
	FILE *f = tmpfile();

	(void)state;
	assert_non_null(f);
	mica_log_setup(fileno(f), MICA_LOG_LOGFMT, MICA_INFO);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, chatter, (void *)names[i]), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	mica_log_setup(STDERR_FILENO, MICA_LOG_LOGFMT, MICA_INFO);
	rewind(f);
	while (fgets(out, sizeof(out), f)) {
		n = strlen(out);
		lines++;
		assert_memory_equal(out, "ts=", 3);
		assert_true(n > 14);
		assert_string_equal(out + n - 14, " text=\"a b c\"\n");
	}
	assert_int_equal(lines, 800);
	fclose(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(logfmt),
		cmocka_unit_test(levels),
		cmocka_unit_test(forgery),
		cmocka_unit_test(every_byte),
		cmocka_unit_test(json),
		cmocka_unit_test(long_lines),
		cmocka_unit_test(full_pipe),
		cmocka_unit_test(shared_descriptor),
		cmocka_unit_test(socket_without_reader),
		cmocka_unit_test(bad_descriptor),
		cmocka_unit_test(threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
