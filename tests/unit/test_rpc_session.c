/* SPDX-License-Identifier: Apache-2.0 */
/* A session without a network: what a frame costs to the frame, times to the millisecond, answers
 * from other threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "rpc_session.h"

static struct world w;
static struct mica_rpc_options options;

static int begin(void **state)
{
	(void)state;
	n_kept = n_cancelled = n_done = n_writable = n_messages = 0;
	options = world_options();
	world_begin(&w, &options);
	put_hello(&w.in);
	exchange(&w);
	return 0;
}

static int end(void **state)
{
	(void)state;
	world_end(&w);
	return 0;
}

static void restart(void)
{
	world_end(&w);
	world_begin(&w, &options);
	put_hello(&w.in);
	exchange(&w);
	w.read = w.out.len;
}

/* The frames of a stream as a string: H, h (ends), D, d (ends), R; resets tell their code. */
static const char *story(int32_t stream, uint32_t *code)
{
	static char s[64];
	struct got g;
	size_t n = 0;
	w.read = 0;
	nghttp2_hd_inflate_del(w.inflater);
	if (nghttp2_hd_inflate_new(&w.inflater) != 0)
		abort();
	while (next_frame(&w, &g) && n + 1 < sizeof(s)) {
		if (g.stream != stream)
			continue;
		if (g.type == NGHTTP2_HEADERS)
			s[n++] = g.flags & 1 ? 'h' : 'H';
		else if (g.type == NGHTTP2_DATA)
			s[n++] = g.flags & 1 ? 'd' : 'D';
		else if (g.type == NGHTTP2_RST_STREAM)
			s[n++] = 'R';
		if (g.type == NGHTTP2_RST_STREAM && code)
			*code = g.payload.p[3];
	}
	s[n] = '\0';
	return s;
}

static uint32_t goaway_code(void)
{
	struct got g;
	uint32_t code = UINT32_MAX;
	w.read = 0;
	while (next_frame(&w, &g))
		if (g.type == NGHTTP2_GOAWAY)
			code = g.payload.p[7];
	return code;
}

/* ---- calls ----------------------------------------------------------------------------------- */

static void unary(void **state)
{
	(void)state;
	put_request(&w.in, 1, "Echo", NULL, false);
	put_message(&w.in, 1, MICA_LIT("hello"), true);
	exchange(&w);
	assert_string_equal(story(1, NULL), "HDh");
	assert_string_equal(w.status, "200");
	assert_string_equal(w.grpc_status, "0");
	assert_int_equal(w.s.n_calls, 0);
}

static void error_is_trailers_alone(void **state)
{
	(void)state;
	put_request(&w.in, 1, "Nothing", NULL, true);
	exchange(&w);
	assert_string_equal(story(1, NULL), "h");
	assert_string_equal(w.status, "200");
	assert_string_equal(w.grpc_status, "12");
}

/* The same octets one by one. */
static void octet_by_octet(void **state)
{
	MICA_AUTO_BUF all;
	(void)state;
	mica_buf_init(&all, 4096);
	put_request(&all, 1, "Echo", NULL, false);
	put_message(&all, 1, MICA_LIT("hello"), true);
	for (size_t i = 0; i < all.len; i++) {
		mica_buf_put_u8(&w.in, all.p[i]);
		exchange(&w);
	}
	assert_string_equal(story(1, NULL), "HDh");
}

static void answer_before_the_end_of_the_request(void **state)
{
	uint32_t code = 99;
	(void)state;
	put_request(&w.in, 1, "Nothing", NULL, false);
	exchange(&w);
	assert_string_equal(story(1, &code), "hR");
	assert_int_equal(code, NGHTTP2_NO_ERROR);
}

static void *end_kept(void *arg)
{
	mica_rpc_batch_begin();
	for (unsigned i = 0; i < n_kept; i++)
		mica_rpc_reply(kept[i], MICA_LIT("later"));
	mica_rpc_batch_end();
	return arg;
}

static void answers_from_another_thread(void **state)
{
	pthread_t t;
	(void)state;
	for (int32_t i = 0; i < 50; i++) {
		put_request(&w.in, 2 * i + 1, "Kept", NULL, false);
		put_message(&w.in, 2 * i + 1, MICA_LIT("m"), true);
	}
	exchange(&w);
	assert_int_equal(n_kept, 50);
	assert_string_equal(story(99, NULL), "");
	assert_int_equal(pthread_create(&t, NULL, end_kept, NULL), 0);
	pthread_join(t, NULL);
	assert_int_equal(w.s.n_calls, 50); /* until the loop looks */
	exchange(&w);
	assert_int_equal(w.s.n_calls, 0);
	for (int32_t i = 0; i < 50; i++)
		assert_string_equal(story(2 * i + 1, NULL), "HDh");
	assert_int_equal(n_done, 50);
}

/* Its client is gone, then the loop too: the end is taken all the same. */
static void calls_outlive_their_session(void **state)
{
	(void)state;
	for (int32_t i = 0; i < 2; i++) {
		put_request(&w.in, 2 * i + 1, "Kept", NULL, false);
		put_message(&w.in, 2 * i + 1, MICA_LIT("m"), true);
	}
	exchange(&w);
	put_frame(&w.in, NGHTTP2_RST_STREAM, 0, 1, mica_slice("\0\0\0\x08", 4));
	exchange(&w);
	assert_int_equal(n_cancelled, 1);
	assert_true(mica_rpc_cancelled(kept[0]));
	assert_false(mica_rpc_cancelled(kept[1]));
	assert_true(mica_slice_eq_str(mica_rpc_call_data(kept[0])->path, "/t.T/Kept"));
	assert_int_equal(mica_rpc_send(kept[0], MICA_LIT("x")), MICA_OK);
	mica_rpc_end(kept[0], NULL);
	assert_int_equal(n_done, 1);
	world_end(&w);
	assert_int_equal(n_cancelled, 2);
	mica_rpc_reply(kept[1], MICA_LIT("too late"));
	assert_int_equal(n_done, 2);
	world_begin(&w, &options);
}

static void stream_that_is_full(void **state)
{
	uint8_t octets[10000] = {0};
	unsigned n = 0;
	(void)state;
	put_frame(&w.in, NGHTTP2_SETTINGS, 0, 0, mica_slice("\0\4\0\0\0\0", 6)); /* no window */
	put_request(&w.in, 1, "Stream", NULL, false);
	put_message(&w.in, 1, MICA_LIT("m"), true);
	exchange(&w);
	while (mica_rpc_send(kept[0], mica_slice(octets, sizeof(octets))) == MICA_OK)
		n++;
	assert_int_equal(n, 65536 / 10005 + 1);
	exchange(&w);
	assert_int_equal(n_writable, 0);
	put_frame(&w.in, NGHTTP2_WINDOW_UPDATE, 0, 1, mica_slice("\0\0\xc0\0", 4));
	exchange(&w);
	assert_int_equal(n_writable, 1);
	assert_int_equal(mica_rpc_send(kept[0], MICA_LIT("more")), MICA_OK);
	put_frame(&w.in, NGHTTP2_WINDOW_UPDATE, 0, 1, mica_slice("\0\1\0\0", 4));
	put_frame(&w.in, NGHTTP2_WINDOW_UPDATE, 0, 0, mica_slice("\0\1\0\0", 4));
	mica_rpc_end(kept[0], NULL);
	exchange(&w);
	assert_non_null(strchr(story(1, NULL), 'h'));
	assert_string_equal(w.grpc_status, "0");
}

/* It holds nothing of its request while it lasts; one answer waits with all of it. */
static void stream_forgets_its_request(void **state)
{
	uint8_t octets[3000] = {0};
	const struct mica_slice m = mica_slice(octets, sizeof(octets));
	(void)state;
	put_request(&w.in, 1, "Stream", NULL, false);
	put_message(&w.in, 1, m, false);
	exchange(&w);
	assert_int_equal(w.s.buffered, sizeof(octets));
	put_frame(&w.in, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, MICA_SLICE_NULL);
	exchange(&w);
	assert_int_equal(n_kept, 1);
	assert_int_equal(w.s.buffered, 0);
	assert_int_equal(kept[0]->message.room, 0);
	put_request(&w.in, 3, "Kept", NULL, false);
	put_message(&w.in, 3, m, true);
	exchange(&w);
	assert_int_equal(w.s.buffered, sizeof(octets));
	mica_rpc_reply(kept[0], MICA_LIT("a"));
	mica_rpc_reply(kept[1], MICA_LIT("b"));
	exchange(&w);
	assert_int_equal(w.s.buffered, 0);
}

/* What a client sends on a stream whose answers it does not read waits, and none is lost. */
static void chat_is_held(void **state)
{
	uint8_t octets[1000] = {0};
	(void)state;
	put_frame(&w.in, NGHTTP2_SETTINGS, 0, 0, mica_slice("\0\4\0\0\0\0", 6));
	put_request(&w.in, 1, "Chat", NULL, false);
	exchange(&w);
	for (unsigned i = 0; i < 65; i++)
		put_message(&w.in, 1, mica_slice(octets, sizeof(octets)), false);
	exchange(&w);
	assert_int_equal(n_messages, 65); /* 65,325 octets are queued */
	for (unsigned i = 0; i < 60; i++)
		put_message(&w.in, 1, mica_slice(octets, sizeof(octets)), i == 59);
	exchange(&w);
	assert_int_equal(n_messages, 66); /* the rest is held, and its end with it */
	for (unsigned i = 0; i < 3; i++) {
		put_frame(&w.in, NGHTTP2_WINDOW_UPDATE, 0, 1, mica_slice("\0\0\xff\xff", 4));
		put_frame(&w.in, NGHTTP2_WINDOW_UPDATE, 0, 0, mica_slice("\0\0\xff\xff", 4));
		exchange(&w);
	}
	assert_int_equal(n_messages, 125);
	assert_non_null(strchr(story(1, NULL), 'h'));
	assert_string_equal(w.grpc_status, "0");
}

/* ---- what floods cost ------------------------------------------------------------------------ */

static unsigned frames_until_cut(uint8_t type, uint8_t flags, int32_t stream, struct mica_slice p)
{
	unsigned n = 0;
	while (w.s.cut < 0 && n < 5000) {
		put_frame(&w.in, type, flags, stream, p);
		exchange(&w);
		n++;
	}
	return n;
}

static void frame_floods(void **state)
{
	static const struct {
		uint8_t type, flags;
		struct mica_slice payload;
	} rows[] = {{NGHTTP2_PING, 0, {(const uint8_t *)"12345678", 8}},
		{NGHTTP2_PING, 1, {(const uint8_t *)"12345678", 8}},
		{NGHTTP2_SETTINGS, 0, {NULL, 0}},
		{NGHTTP2_WINDOW_UPDATE, 0, {(const uint8_t *)"\0\0\0\1", 4}}, {0xfa, 0, {NULL, 0}},
		{0x0c, 0xff, {(const uint8_t *)"xxx", 3}}};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(rows); i++) {
		restart();
		/* one was paid for the first SETTINGS */
		assert_int_equal(
			frames_until_cut(rows[i].type, rows[i].flags, 0, rows[i].payload), 1000);
		assert_int_equal(w.s.cut, MICA_RPC_CUT_FRAMES);
		assert_true(rpc_session_over(&w.s));
		assert_int_equal(goaway_code(), NGHTTP2_ENHANCE_YOUR_CALM);
	}
}

/* In one piece: nothing behind the frame that was one too many is looked at. */
static void flood_in_one_read(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3000; i++)
		put_frame(&w.in, NGHTTP2_PING, 0, 0, MICA_LIT("12345678"));
	put_request(&w.in, 1, "Kept", NULL, false);
	put_message(&w.in, 1, MICA_LIT("m"), true);
	exchange(&w);
	assert_int_equal(w.s.cut, MICA_RPC_CUT_FRAMES);
	assert_int_equal(n_kept, 0);
}

static void empty_data(void **state)
{
	(void)state;
	put_request(&w.in, 1, "Echo", NULL, false);
	assert_int_equal(frames_until_cut(NGHTTP2_DATA, 0, 1, MICA_SLICE_NULL), 1000);
	restart();
	put_request(&w.in, 1, "Echo", NULL, false);
	assert_int_equal(frames_until_cut(NGHTTP2_DATA, 8, 1, mica_slice("\3\0\0\0", 4)), 1000);
}

static void time_gives_frames_back(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 999; i++) {
		put_frame(&w.in, NGHTTP2_PING, 0, 0, MICA_LIT("12345678"));
		exchange(&w);
	}
	assert_int_equal(w.s.cut, -1);
	w.now += 500;
	assert_int_equal(frames_until_cut(NGHTTP2_PING, 0, 0, MICA_LIT("12345678")), 51);
}

static void work_gives_frames_back(void **state)
{
	(void)state;
	for (int32_t i = 0; i < 2000; i++) {
		put_request(&w.in, 2 * i + 1, "Echo", NULL, false);
		put_message(&w.in, 2 * i + 1, MICA_LIT("m"), true);
		for (unsigned k = 0; k < 5; k++)
			put_frame(&w.in, NGHTTP2_WINDOW_UPDATE, 0, 0, mica_slice("\0\0\0\1", 4));
		exchange(&w);
	}
	assert_int_equal(w.s.cut, -1);
}

static void resets(void **state)
{
	(void)state;
	for (int32_t i = 0; w.s.cut < 0 && i < 1000; i++) {
		put_request(&w.in, 2 * i + 1, "Kept", NULL, false);
		put_message(&w.in, 2 * i + 1, MICA_LIT("m"), true);
		put_frame(&w.in, NGHTTP2_RST_STREAM, 0, 2 * i + 1, mica_slice("\0\0\0\x08", 4));
		exchange(&w);
	}
	assert_int_equal(w.s.cut, MICA_RPC_CUT_RESETS);
	assert_int_equal(n_kept, 100); /* max_streams, abandoned ones too */
	for (unsigned i = 0; i < n_kept; i++)
		mica_rpc_end(kept[i], NULL);
	assert_int_equal(n_done, 100);
}

/* CVE-2025-8671: streams that we have to reset. */
static void made_you_reset(void **state)
{
	int32_t i;
	(void)state;
	for (i = 0; w.s.cut < 0 && i < 1000; i++) {
		put_request(&w.in, 2 * i + 1, "Kept", NULL, false);
		put_frame(&w.in, NGHTTP2_WINDOW_UPDATE, 0, 2 * i + 1,
			mica_slice("\x7f\xff\xff\xff", 4));
		exchange(&w);
	}
	assert_int_equal(w.s.cut, MICA_RPC_CUT_RESETS);
	assert_int_equal(i, 101);
	restart();
	for (i = 0; w.s.cut < 0 && i < 1000; i++) {
		MICA_AUTO_BUF block;
		mica_buf_init(&block, 256);
		put_header(&block, ":method", "POST");
		put_header(&block, "Upper", "x");
		put_frame(&w.in, NGHTTP2_HEADERS, 5, 2 * i + 1, mica_buf_slice(&block));
		exchange(&w);
	}
	assert_int_equal(w.s.cut, MICA_RPC_CUT_RESETS);
	assert_int_equal(i, 101);
	assert_int_equal(n_kept, 0);
}

static void headers_are_bounded(void **state)
{
	MICA_AUTO_BUF block;
	const char *hundred = "hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh"
			      "hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh";
	(void)state;
	mica_buf_init(&block, 1 << 17);
	put_header(&block, ":method", "POST");
	put_header(&block, ":scheme", "http");
	put_header(&block, ":authority", "t");
	put_header(&block, ":path", "/t.T/Echo");
	put_header(&block, "content-type", "application/grpc");
	for (unsigned i = 0; i < 61; i++)
		put_header(&block, "x", hundred);
	put_frame(&w.in, NGHTTP2_HEADERS, 5, 1, mica_buf_slice(&block));
	exchange(&w);
	assert_string_equal(story(1, NULL), "h");
	assert_string_equal(w.grpc_status, "8");
	assert_int_equal(w.s.cut, -1);
}

/* ---- times ----------------------------------------------------------------------------------- */

static int64_t tick(void)
{
	const int64_t next = rpc_session_tick(&w.s, w.now);
	exchange(&w);
	return next;
}

static void preface_in_time(void **state)
{
	(void)state;
	world_end(&w);
	world_begin(&w, &options);
	assert_int_equal(tick(), w.now + 5000);
	w.now += 4999;
	tick();
	assert_int_equal(w.s.cut, -1);
	w.now += 1;
	tick();
	assert_int_equal(w.s.cut, MICA_RPC_CUT_HANDSHAKE);
}

static void deadline_of_the_client(void **state)
{
	(void)state;
	put_request(&w.in, 1, "Kept", "250m", false);
	put_message(&w.in, 1, MICA_LIT("m"), true);
	exchange(&w);
	assert_int_equal(mica_rpc_call_data(kept[0])->deadline_ms, w.now + 250);
	assert_int_equal(w.wake, w.now + 250);
	w.now += 249;
	assert_int_equal(tick(), w.now + 1);
	assert_string_equal(story(1, NULL), "");
	w.now += 1;
	tick();
	assert_string_equal(story(1, NULL), "h");
	assert_string_equal(w.grpc_status, "4");
	assert_int_equal(n_cancelled, 1);
	mica_rpc_reply(kept[0], MICA_LIT("too late"));
	exchange(&w);
	assert_string_equal(story(1, NULL), "h");
	assert_int_equal(n_done, 1);
}

static void bound_of_our_own(void **state)
{
	(void)state;
	put_request(&w.in, 1, "Kept", "99999999H", false);
	put_message(&w.in, 1, MICA_LIT("m"), true);
	exchange(&w);
	assert_int_equal(mica_rpc_call_data(kept[0])->deadline_ms, w.now + options.call_ms);
	w.now += options.call_ms;
	tick();
	story(1, NULL);
	assert_string_equal(w.grpc_status, "14");
	mica_rpc_end(kept[0], NULL);
}

static void request_in_time(void **state)
{
	(void)state;
	put_request(&w.in, 1, "Kept", NULL, false);
	put_message(&w.in, 1, MICA_LIT("m"), false);
	exchange(&w);
	w.now += options.request_ms;
	tick();
	story(1, NULL);
	assert_string_equal(w.grpc_status, "4");
	assert_int_equal(n_kept, 0);
}

static void headers_in_time(void **state)
{
	(void)state;
	put_frame(&w.in, NGHTTP2_HEADERS, 0, 1, mica_slice("\x83", 1));
	exchange(&w);
	w.now += options.headers_ms - 1;
	tick();
	assert_int_equal(w.s.cut, -1);
	w.now += 1;
	tick();
	assert_int_equal(w.s.cut, MICA_RPC_CUT_HEADERS);
}

static void answers_read_in_time(void **state)
{
	uint32_t code = 99;
	(void)state;
	put_frame(&w.in, NGHTTP2_SETTINGS, 0, 0, mica_slice("\0\4\0\0\0\0", 6));
	put_request(&w.in, 1, "Echo", NULL, false);
	put_message(&w.in, 1, MICA_LIT("m"), true);
	exchange(&w);
	w.now += options.stall_ms - 1;
	put_frame(&w.in, NGHTTP2_WINDOW_UPDATE, 0, 1, mica_slice("\0\0\0\1", 4));
	exchange(&w);
	tick();
	assert_string_equal(story(1, NULL), "HD");
	w.now += 1;
	tick();
	assert_string_equal(story(1, &code), "HDR");
	assert_int_equal(code, NGHTTP2_CANCEL);
}

static void idle_then_shut(void **state)
{
	(void)state;
	put_request(&w.in, 1, "Echo", NULL, false);
	put_message(&w.in, 1, MICA_LIT("m"), true);
	exchange(&w);
	w.now += options.idle_ms - 1;
	tick();
	assert_false(w.s.shut);
	w.now += 1;
	tick();
	assert_true(w.s.shut && !w.s.final && !rpc_session_over(&w.s));
	/* a call that was on its way */
	put_request(&w.in, 3, "Echo", NULL, false);
	put_message(&w.in, 3, MICA_LIT("m"), true);
	exchange(&w);
	assert_string_equal(story(3, NULL), "HDh");
	w.now += 500;
	tick();
	assert_true(w.s.final && rpc_session_over(&w.s));
	assert_int_equal(goaway_code(), NGHTTP2_NO_ERROR);
}

/* Old age waits for calls under way, but not for ever. */
static void age_and_grace(void **state)
{
	(void)state;
	put_request(&w.in, 1, "Kept", NULL, false);
	put_message(&w.in, 1, MICA_LIT("m"), true);
	exchange(&w);
	assert_in_range(
		w.s.old_ms - w.now, options.max_age_ms * 9 / 10, options.max_age_ms * 11 / 10);
	w.now = w.s.old_ms;
	put_request(&w.in, 3, "Stream", NULL, false);
	put_message(&w.in, 3, MICA_LIT("m"), true);
	exchange(&w);
	tick();
	assert_true(w.s.shut);
	w.now += options.grace_ms - 1;
	tick();
	assert_false(rpc_session_over(&w.s));
	w.now += 1;
	tick();
	assert_true(rpc_session_over(&w.s));
	mica_rpc_end(kept[0], NULL);
	mica_rpc_end(kept[1], NULL);
}

#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)
int main(void)
{
	const struct CMUnitTest tests[] = {T(unary), T(error_is_trailers_alone), T(octet_by_octet),
		T(answer_before_the_end_of_the_request), T(answers_from_another_thread),
		T(calls_outlive_their_session), T(stream_that_is_full),
		T(stream_forgets_its_request), T(chat_is_held), T(frame_floods),
		T(flood_in_one_read), T(empty_data), T(time_gives_frames_back),
		T(work_gives_frames_back), T(resets), T(made_you_reset), T(headers_are_bounded),
		T(preface_in_time), T(deadline_of_the_client), T(bound_of_our_own),
		T(request_in_time), T(headers_in_time), T(answers_read_in_time), T(idle_then_shut),
		T(age_and_grace)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
