/* SPDX-License-Identifier: Apache-2.0 */
/* Errors: the first one wins, texts are one clean line, classes have their codes. */
#include "mica/err.h"
#include "mica/slice.h"

#include <errno.h>
#include <setjmp.h>
#include <cmocka.h>

static void first_wins(void **state)
{
	struct mica_err e = MICA_ERR_INIT;

	(void)state;
	assert_string_equal(mica_err_fine(&e), "ok");
	assert_int_equal(mica_fail(&e, MICA_DENIED, "first", "no %s", "entry"), MICA_DENIED);
	assert_int_equal(mica_fail(&e, MICA_LIMIT, "second", "x"), MICA_LIMIT);
	assert_int_equal(mica_fail_fine(&e, MICA_LIMIT, "third", "x", "y", "z"), MICA_LIMIT);
	assert_int_equal(mica_fail_at(&e, MICA_LIMIT, "fourth", 1, 2, "x"), MICA_LIMIT);
	assert_int_equal(mica_fail_errno(&e, ENOENT, "x"), MICA_NOT_FOUND);
	assert_int_equal(e.rc, MICA_DENIED);
	assert_string_equal(e.reason, "first");
	assert_string_equal(e.text, "no entry");
	assert_string_equal(mica_err_fine(&e), "first");
	assert_null(e.fine);
	assert_int_equal(e.line, 0);
	mica_err_clear(&e);
	assert_int_equal(e.rc, MICA_OK);
	assert_string_equal(e.text, "");
}

static void no_error_object(void **state)
{
	(void)state;
	assert_int_equal(mica_fail(NULL, MICA_INVALID, "r", "x"), MICA_INVALID);
	assert_int_equal(mica_fail_fine(NULL, MICA_INVALID, "r", "x", "f", "d"), MICA_INVALID);
	assert_int_equal(mica_fail_at(NULL, MICA_INVALID, "r", 1, 1, "x"), MICA_INVALID);
	assert_int_equal(mica_fail_errno(NULL, ENOSPC, "x"), MICA_UNAVAILABLE);
	mica_err_context(NULL, "x");
}

/* Whoever fails with OK, or with a number that is no class, has a bug: never a success. */
static void never_ok(void **state)
{
	struct mica_err e = MICA_ERR_INIT;

	(void)state;
	assert_int_equal(mica_fail(&e, MICA_OK, "r", "x"), MICA_INTERNAL);
	assert_int_equal(e.rc, MICA_INTERNAL);
	assert_int_equal(mica_fail(NULL, (mica_rc)77, "r", "x"), MICA_INTERNAL);
	assert_int_equal(mica_rc_http((mica_rc)77), 500);
	assert_int_equal(mica_rc_grpc((mica_rc)-1), 13);
}

static void fine(void **state)
{
	struct mica_err e = MICA_ERR_INIT;

	(void)state;
	mica_fail_fine(&e, MICA_UNAUTHENTICATED, "token_invalid", "expected a token",
		"bad_signature", "key %d", 3);
	assert_string_equal(e.reason, "token_invalid");
	assert_string_equal(e.text, "expected a token");
	assert_string_equal(e.fine, "bad_signature");
	assert_string_equal(e.detail, "key 3");
	assert_string_equal(mica_err_fine(&e), "bad_signature");
}

static void one_clean_line(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{"a\nb\rc\td", "a?b?c?d"},
		{"\x1b[31mred\x7f", "?[31mred?"},
		{"\xc2\x9b"
		 "31m",
			"?31m"}, /* C1: CSI in one character */
		{"a\xe2\x80\xa8"
		 "b",
			"a?b"}, /* line separator */
		{"\xe2\x80\xae"
		 "cod.exe",
			"?cod.exe"}, /* right-to-left override */
		{"\xff\xfe", "??"},
		{"caf\xc3\xa9 \xf0\x9f\x98\x80", "caf\xc3\xa9 \xf0\x9f\x98\x80"},
		{"cut \xe2\x82", "cut ??"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct mica_err e = MICA_ERR_INIT;

		mica_fail(&e, MICA_INVALID, "r", "%s", cases[i].in);
		assert_string_equal(e.text, cases[i].out);
	}
}

/* A cut text must not end within a character, whatever its phase. */
static void cut_at_a_character(void **state)
{
	char text[3 * MICA_ERR_TEXT_MAX];

	(void)state;
	for (size_t phase = 0; phase < 4; phase++) {
		struct mica_err e = MICA_ERR_INIT;
		size_t n = phase;

		memset(text, 'x', phase);
		for (; n + 4 < sizeof(text); n += 4)
			memcpy(text + n, "\xf0\x9f\x98\x80", 4);
		text[n] = '\0';
		mica_fail(&e, MICA_INVALID, "r", "%s", text);
		assert_true(mica_slice_is_utf8(mica_slice_str(e.text)));
		assert_null(strchr(e.text, '?'));
		assert_true(strlen(e.text) > MICA_ERR_TEXT_MAX - 5);
	}
}

static void context(void **state)
{
	struct mica_err e = MICA_ERR_INIT;
	char longer[2 * MICA_ERR_TEXT_MAX];

	(void)state;
	mica_err_context(&e, "unset");
	assert_string_equal(e.text, "");
	mica_fail_at(&e, MICA_INVALID, "r", 3, 9, "bad");
	mica_err_context(&e, "key %d", 2);
	mica_err_context(&e, "file\n");
	assert_string_equal(e.text, "file?: key 2: bad");
	assert_true(e.line == 3 && e.column == 9);
	memset(longer, 'y', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	mica_err_context(&e, "%s", longer);
	assert_non_null(strstr(e.text, "file?: key 2: bad"));
}

static void from_errno(void **state)
{
	static const struct {
		int errnum;
		mica_rc rc;
		const char *reason;
	} cases[] = {{ENOENT, MICA_NOT_FOUND, "no_such_file"},
		{ENOSPC, MICA_UNAVAILABLE, "disk_full"}, {EDQUOT, MICA_UNAVAILABLE, "disk_full"},
		{EACCES, MICA_DENIED, "permission_denied"},
		{EPERM, MICA_DENIED, "permission_denied"},
		{ENOMEM, MICA_UNAVAILABLE, "out_of_memory"},
		{EMFILE, MICA_UNAVAILABLE, "too_many_open_files"}, {EIO, MICA_INTERNAL, "io_error"},
		{EEXIST, MICA_CONFLICT, "exists_already"}, {0, MICA_INTERNAL, "io_error"}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct mica_err e = MICA_ERR_INIT;

		assert_int_equal(mica_fail_errno(&e, cases[i].errnum, "%s", "/x"), cases[i].rc);
		assert_string_equal(e.reason, cases[i].reason);
		assert_memory_equal(e.text, "/x: ", 4);
	}
}

static void codes(void **state)
{
	static const struct {
		mica_rc rc;
		const char *name;
		int http, grpc;
	} cases[MICA_RC_COUNT] = {{MICA_OK, "OK", 200, 0}, {MICA_INVALID, "INVALID", 400, 3},
		{MICA_UNAUTHENTICATED, "UNAUTHENTICATED", 401, 16}, {MICA_DENIED, "DENIED", 403, 7},
		{MICA_NOT_FOUND, "NOT_FOUND", 404, 5}, {MICA_CONFLICT, "CONFLICT", 409, 10},
		{MICA_LIMIT, "LIMIT", 429, 8}, {MICA_UNAVAILABLE, "UNAVAILABLE", 503, 14},
		{MICA_CORRUPT, "CORRUPT", 500, 15}, {MICA_INTERNAL, "INTERNAL", 500, 13}};

	(void)state;
	for (int i = 0; i < MICA_RC_COUNT; i++) {
		assert_int_equal(cases[i].rc, i);
		assert_string_equal(mica_rc_name(cases[i].rc), cases[i].name);
		assert_int_equal(mica_rc_http(cases[i].rc), cases[i].http);
		assert_int_equal(mica_rc_grpc(cases[i].rc), cases[i].grpc);
		for (int j = 0; j < i; j++)
			assert_int_not_equal(mica_rc_exit(cases[i].rc), mica_rc_exit(cases[j].rc));
	}
	assert_int_equal(mica_rc_exit(MICA_OK), 0);
	assert_int_equal(mica_rc_exit(MICA_UNAVAILABLE), 75);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_wins),
		cmocka_unit_test(no_error_object),
		cmocka_unit_test(never_ok),
		cmocka_unit_test(fine),
		cmocka_unit_test(one_clean_line),
		cmocka_unit_test(cut_at_a_character),
		cmocka_unit_test(context),
		cmocka_unit_test(from_errno),
		cmocka_unit_test(codes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
