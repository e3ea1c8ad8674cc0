/* SPDX-License-Identifier: Apache-2.0 */
/* Every way of saying two things at once that libmicrohttpd lets pass, and what must pass. */
#include "pki.h"

#include "lenient.h"

#define LINE "POST /v1/x HTTP/1.1\r\n"
#define HOST "Host: ca.example:8443\r\n"

/* reason NULL: passes; "": the lenient parser refuses it by itself */
static const struct {
	const char *raw;
	size_t len; /* 0 = all of raw */
	const char *reason;
	int status;
} cases[] = {
	/* what must pass */
	{"GET / HTTP/1.1\r\n" HOST "\r\n", 0, NULL, 0},
	{"GET /v1/bundle?wait=60s&channel=canary HTTP/1.1\r\n" HOST "\r\n", 0, NULL, 0},
	{"GET /v1/events?spiffe_id=spiffe%3A%2F%2Fa%2Fns%2F.. HTTP/1.1\r\n" HOST "\r\n", 0, NULL,
		0},
	{"GET /log/tile/0/x001/234.p/7 HTTP/1.1\r\n" HOST "\r\n", 0, NULL, 0},
	{"GET /a/.well-known/b..c HTTP/1.1\r\n" HOST "\r\n", 0, "target_invalid", 400},
	{"GET /.well-known/openid-configuration HTTP/1.1\r\n" HOST "\r\n", 0, NULL, 0},
	{LINE HOST "Content-Length: 0\r\n\r\n", 0, NULL, 0},
	{LINE HOST "content-length:5\r\n\r\n", 0, NULL, 0},
	{LINE HOST "Transfer-Encoding: Chunked\r\n\r\n", 0, NULL, 0},
	{LINE HOST "Expect: 100-Continue\r\nContent-Length: 5\r\n\r\n", 0, NULL, 0},
	{LINE HOST "Content-Encoding: identity\r\nContent-Length: 5\r\n\r\n", 0, NULL, 0},
	{LINE "host:\t [::1]:8443 \t\r\nX-Tab: a\tb\r\nX-Empty:\r\nX-Blank: \r\n\r\n", 0, NULL, 0},
	{LINE HOST "X: caf\xc3\xa9\r\n\r\n", 0, NULL, 0},
	{LINE HOST "Accept: a/b\r\nAccept: c/d\r\n\r\n", 0, NULL, 0},
	{LINE "Host:\r\n\r\n", 0, NULL, 0},
	{"\r\n\r\n" LINE HOST "\r\n", 0, NULL, 0},
	{"OPTIONS /v1/x HTTP/1.1\r\n" HOST "\r\n", 0, NULL, 0},
	{"M-SEARCH /v1/x HTTP/1.1\r\n" HOST "\r\n", 0, NULL, 0},
	/* two lengths: RFC 9112 6.3 */
	{LINE HOST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 0, "body_framing",
		400},
	{LINE HOST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 0, "body_framing",
		400},
	{LINE HOST "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 0, "header_duplicate", 400},
	{LINE HOST "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", 0, "header_duplicate", 400},
	{LINE HOST "Content-Length: 5\r\nCONTENT-LENGTH: 6\r\n\r\n", 0, "header_duplicate", 400},
	{LINE HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 0,
		"header_duplicate", 400},
	{LINE HOST "Transfer-Encoding: identity\r\n\r\n", 0, "transfer_encoding", 400},
	{LINE HOST "Transfer-Encoding: gzip, chunked\r\n\r\n", 0, "transfer_encoding", 400},
	{LINE HOST "Transfer-Encoding: chunked, chunked\r\n\r\n", 0, "transfer_encoding", 400},
	{LINE HOST "Transfer-Encoding: xchunked\r\n\r\n", 0, "transfer_encoding", 400},
	{LINE HOST "Transfer-Encoding: chunked \r\n\r\n", 0, "transfer_encoding", 400},
	{LINE HOST "Transfer-Encoding:\r\n\r\n", 0, "transfer_encoding", 400},
	{LINE HOST "Transfer-Encoding : chunked\r\n\r\n", 0, "header_name_invalid", 400},
	{LINE HOST "Transfer-Encoding: \x0b"
		   "chunked\r\n\r\n",
		0, "header_value_invalid", 400},
	/* lengths that are none */
	{LINE HOST "Content-Length : 3\r\n\r\n", 0, "header_name_invalid", 400},
	{LINE HOST "Content-Length: +3\r\n\r\n", 0, "content_length_invalid", 400},
	{LINE HOST "Content-Length: -1\r\n\r\n", 0, "content_length_invalid", 400},
	{LINE HOST "Content-Length: 3, 3\r\n\r\n", 0, "content_length_invalid", 400},
	{LINE HOST "Content-Length: 0x3\r\n\r\n", 0, "content_length_invalid", 400},
	{LINE HOST "Content-Length: 3 \r\n\r\n", 0, "content_length_invalid", 400},
	{LINE HOST "Content-Length: 03\r\n\r\n", 0, "content_length_invalid", 400},
	{LINE HOST "Content-Length:\r\n\r\n", 0, "content_length_invalid", 400},
	{LINE HOST "Content-Length: 18446744073709551616\r\n\r\n", 0, "content_length_invalid",
		400},
	{LINE HOST "Content-Length: 9223372036854775808\r\n\r\n", 0, "content_length_invalid", 400},
	/* bodies where there are none */
	{"GET /x HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\n", 0, "body_unexpected", 400},
	{"HEAD /x HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n", 0, "body_unexpected",
		400},
	{"GET /x HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n", 0, NULL, 0},
	/* lines */
	{LINE HOST "X: a\r\n b\r\n\r\n", 0, "header_layout", 400},
	{LINE HOST "X: a\r\n\tb\r\n\r\n", 0, "header_layout", 400},
	{LINE HOST "Content-Length: 5\r\n 0\r\n\r\n", 0, "header_layout", 400},
	{LINE HOST "X:      a\r\n b\r\nY: c\r\n\r\n", 0, "header_layout", 400},
	{LINE HOST "X:      a\r\n \r\nY: c\r\n\r\n", 0, "header_layout", 400},
	{LINE HOST "X: a\nY: b\r\n\r\n", 0, "header_layout", 400},
	{LINE HOST "X: a\r\n\n", 0, "header_layout", 400},
	{"POST /v1/x HTTP/1.1\n" HOST "\r\n", 0, "header_layout", 400},
	{LINE HOST "X: a\0b\r\n\r\n", sizeof(LINE HOST "X: a\0b\r\n\r\n") - 1, "header_layout",
		400},
	{LINE HOST "X: \0\r\n\r\n", sizeof(LINE HOST "X: \0\r\n\r\n") - 1, "header_layout", 400},
	{LINE HOST "X\0: a\r\n\r\n", sizeof(LINE HOST "X\0: a\r\n\r\n") - 1, "", 0},
	{"POST /v1/x\0y HTTP/1.1\r\n" HOST "\r\n",
		sizeof("POST /v1/x\0y HTTP/1.1\r\n" HOST "\r\n") - 1, "header_layout", 400},
	{"POST\0 /v1/x HTTP/1.1\r\n" HOST "\r\n",
		sizeof("POST\0 /v1/x HTTP/1.1\r\n" HOST "\r\n") - 1, "header_layout", 400},
	{LINE HOST "X: a\rY: b\r\n\r\n", 0, "header_value_invalid", 400},
	{LINE HOST "X: a\r\r\n\r\n", 0, "header_value_invalid", 400},
	{LINE HOST "X: a\x7f\r\n\r\n", 0, "header_value_invalid", 400},
	{LINE HOST "X: \x1b[2J\r\n\r\n", 0, "header_value_invalid", 400},
	{LINE "\tHost: h\r\n\r\n", 0, "header_name_invalid", 400},
	{LINE HOST ": a\r\n\r\n", 0, "header_name_invalid", 400},
	{LINE HOST "X Y: a\r\n\r\n", 0, "header_name_invalid", 400},
	{LINE HOST "X\rY: a\r\n\r\n", 0, "header_name_invalid", 400},
	{LINE HOST "X\xc3\xa9: a\r\n\r\n", 0, "header_name_invalid", 400},
	{LINE HOST "(X): a\r\n\r\n", 0, "header_name_invalid", 400},
	{LINE HOST "no colon\r\n\r\n", 0, "", 0},
	/* who and what once */
	{LINE "\r\n", 0, "host_missing", 400},
	{LINE HOST HOST "\r\n", 0, "header_duplicate", 400},
	{LINE "Host: a/b\r\n\r\n", 0, "host_invalid", 400},
	{LINE "Host: user@h\r\n\r\n", 0, "host_invalid", 400},
	{LINE "Host: a b\r\n\r\n", 0, "host_invalid", 400},
	{LINE "Host: a, b\r\n\r\n", 0, "host_invalid", 400},
	{LINE HOST "Authorization: a\r\nauthorization: b\r\n\r\n", 0, "header_duplicate", 400},
	{LINE HOST "Content-Type: a/b\r\nContent-Type: c/d\r\n\r\n", 0, "header_duplicate", 400},
	{LINE HOST "If-None-Match: a\r\nIf-None-Match: b\r\n\r\n", 0, "header_duplicate", 400},
	{LINE HOST "Expect: 100-continue\r\nExpect: 100-continue\r\n\r\n", 0, "header_duplicate",
		400},
	{LINE HOST "Expect: 200-maybe\r\n\r\n", 0, "expectation_unknown", 417},
	{LINE HOST "Content-Encoding: gzip\r\n\r\n", 0, "content_encoding", 415},
	{LINE HOST "Content-Encoding: identity\r\nContent-Encoding: gzip\r\n\r\n", 0,
		"header_duplicate", 400},
	/* the first line */
	{"GET / HTTP/1.0\r\n" HOST "\r\n", 0, "version_unsupported", 505},
	{"GET / HTTP/1.2\r\n" HOST "\r\n", 0, "version_unsupported", 505},
	{"GET / HTTP/1.1x\r\n" HOST "\r\n", 0, "version_unsupported", 505},
	{"GET / HTTP/1.1 \r\n" HOST "\r\n", 0, "version_unsupported", 505},
	{"GET  / HTTP/1.1\r\n" HOST "\r\n", 0, "header_layout", 400},
	{"G,T / HTTP/1.1\r\n" HOST "\r\n", 0, "method_invalid", 400},
	{"G\rT / HTTP/1.1\r\n" HOST "\r\n", 0, "method_invalid", 400},
	{" / HTTP/1.1\r\n" HOST "\r\n", 0, "method_invalid", 400},
	{"ABCDEFGHIJKLMNOPQ / HTTP/1.1\r\n" HOST "\r\n", 0, "method_invalid", 400},
	{"GET http://h/ HTTP/1.1\r\n" HOST "\r\n", 0, "target_invalid", 400},
	{"GET //h/ HTTP/1.1\r\n" HOST "\r\n", 0, NULL, 0},
	{"OPTIONS * HTTP/1.1\r\n" HOST "\r\n", 0, "target_invalid", 400},
	{"CONNECT h:443 HTTP/1.1\r\n" HOST "\r\n", 0, "target_invalid", 400},
	{"GET ?a HTTP/1.1\r\n" HOST "\r\n", 0, "target_invalid", 400},
	{"GET /a%00b HTTP/1.1\r\n" HOST "\r\n", 0, "target_invalid", 400},
	{"GET /a%2fb HTTP/1.1\r\n" HOST "\r\n", 0, "target_invalid", 400},
	{"GET /a%2Fb HTTP/1.1\r\n" HOST "\r\n", 0, "target_invalid", 400},
	{"GET /a%5cb HTTP/1.1\r\n" HOST "\r\n", 0, "target_invalid", 400},
	{"GET /%2e%2e/b HTTP/1.1\r\n" HOST "\r\n", 0, "target_invalid", 400},
	{"GET /a%0d%0ab HTTP/1.1\r\n" HOST "\r\n", 0, "target_invalid", 400},
	{"GET /a%7f HTTP/1.1\r\n" HOST "\r\n", 0, "target_invalid", 400},
	{"GET /a%2 HTTP/1.1\r\n" HOST "\r\n", 0, "target_invalid", 400},
	{"GET /a% HTTP/1.1\r\n" HOST "\r\n", 0, "target_invalid", 400},
	{"GET /a%zz HTTP/1.1\r\n" HOST "\r\n", 0, "target_invalid", 400},
	{"GET /a?b=%00 HTTP/1.1\r\n" HOST "\r\n", 0, "target_invalid", 400},
	{"GET /a?b=% HTTP/1.1\r\n" HOST "\r\n", 0, "target_invalid", 400},
	{"GET /a/../b HTTP/1.1\r\n" HOST "\r\n", 0, "target_invalid", 400},
	{"GET /.. HTTP/1.1\r\n" HOST "\r\n", 0, "target_invalid", 400},
	{"GET /a/./b HTTP/1.1\r\n" HOST "\r\n", 0, "target_invalid", 400},
	{"GET /a/. HTTP/1.1\r\n" HOST "\r\n", 0, "target_invalid", 400},
	{"GET /a\\b HTTP/1.1\r\n" HOST "\r\n", 0, "target_invalid", 400},
	{"GET /a#b HTTP/1.1\r\n" HOST "\r\n", 0, "target_invalid", 400},
	{"GET /a\tb HTTP/1.1\r\n" HOST "\r\n", 0, "target_invalid", 400},
	{"GET /a\rb HTTP/1.1\r\n" HOST "\r\n", 0, "target_invalid", 400},
	{"GET /caf\xc3\xa9 HTTP/1.1\r\n" HOST "\r\n", 0, "target_invalid", 400},
	{"GET /a?\"b\" HTTP/1.1\r\n" HOST "\r\n", 0, "target_invalid", 400},
};

static void each_variant_has_its_verdict(void **state)
{
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++) {
		struct mica_slice raw = mica_slice(
			cases[i].raw, cases[i].len ? cases[i].len : strlen(cases[i].raw));
		const struct guard_refusal *no = NULL;
		struct guard_request q;
		struct lenient l;
		const bool parsed = lenient_parse(&l, raw);
		const char *want = cases[i].reason;
		if (parsed)
			no = guard_check(&l.in, &q);
		if (!parsed && !(want && want[0] == '\0'))
			fail_msg("case %zu: not even parsed: %s", i, cases[i].raw);
		if (parsed && !want && no)
			fail_msg("case %zu refused, %s: %s", i, no->reason, cases[i].raw);
		if (parsed && want && !no)
			fail_msg("case %zu passed: %s", i, cases[i].raw);
		if (parsed && want) {
			assert_string_equal(no->reason, want);
			assert_int_equal(no->status, cases[i].status);
			assert_true(no->text[0] != '\0');
		}
		lenient_clear(&l);
	}
}

static void what_passes_is_told_apart(void **state)
{
	static const char raw[] =
		"POST /v1/x?a=b?c HTTP/1.1\r\nHost: h\r\nAUTHORIZATION: Bearer x.y.z \r\n"
		"Content-Type:\tapplication/json\r\nif-none-match: \"e\"\r\nAccept: a/b\r\n"
		"Accept: c/d\r\nContent-Length: 12\r\n\r\n";
	struct guard_request q;
	struct lenient l;
	(void)state;
	assert_true(lenient_parse(&l, mica_slice_str(raw)));
	assert_null(guard_check(&l.in, &q));
	assert_int_equal(q.method, HTTP_POST);
	assert_true(mica_slice_eq_str(q.path, "/v1/x"));
	assert_true(mica_slice_eq_str(q.query, "a=b?c"));
	assert_true(mica_slice_eq_str(q.authorization, "Bearer x.y.z"));
	assert_true(mica_slice_eq_str(q.content_type, "application/json"));
	assert_true(mica_slice_eq_str(q.if_none_match, "\"e\""));
	assert_true(mica_slice_eq_str(q.accept, "a/b"));
	assert_false(q.chunked);
	assert_int_equal(q.length, 12);
	lenient_clear(&l);
}

/* A request of `n` fields beside Host, and of a target of `target` bytes. */
static const char *sized(unsigned n, size_t target)
{
	const struct guard_refusal *no = NULL;
	struct guard_request q;
	struct lenient l;
	MICA_AUTO_BUF b;
	mica_buf_init(&b, 1 << 20);
	mica_buf_put_str(&b, "GET /");
	for (size_t i = 1; i < target; i++)
		mica_buf_put_u8(&b, 'a');
	mica_buf_put_str(&b, " HTTP/1.1\r\nHost: h\r\n");
	for (unsigned i = 0; i < n; i++)
		mica_buf_printf(&b, "X-%u: y\r\n", i);
	mica_buf_put_str(&b, "\r\n");
	assert_true(lenient_parse(&l, mica_buf_slice(&b)));
	no = guard_check(&l.in, &q);
	lenient_clear(&l);
	return no ? no->reason : "";
}

static void sizes_are_bounded(void **state)
{
	(void)state;
	assert_string_equal(sized(GUARD_MAX_FIELDS - 1, 10), "");
	assert_string_equal(sized(GUARD_MAX_FIELDS, 10), "too_many_headers");
	assert_string_equal(sized(1, GUARD_MAX_TARGET), "");
	assert_string_equal(sized(1, GUARD_MAX_TARGET + 1), "target_too_long");
}

/* Where the layout is not known, all other rules hold. */
static void without_the_block_the_rest_holds(void **state)
{
	struct guard_request q;
	struct lenient l;
	(void)state;
	assert_true(lenient_parse(&l, MICA_LIT(LINE HOST "X: a\nY: b\r\n\r\n")));
	assert_non_null(guard_check(&l.in, &q));
	l.in.block = MICA_SLICE_NULL;
	assert_null(guard_check(&l.in, &q));
	lenient_clear(&l);
	assert_true(lenient_parse(
		&l, MICA_LIT(LINE HOST "Content-Length: 1\r\nContent-Length: 1\r\n\r\n")));
	l.in.block = MICA_SLICE_NULL;
	assert_non_null(guard_check(&l.in, &q));
	lenient_clear(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_variant_has_its_verdict),
		cmocka_unit_test(what_passes_is_told_apart),
		cmocka_unit_test(sizes_are_bounded),
		cmocka_unit_test(without_the_block_the_rest_holds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
