/* SPDX-License-Identifier: Apache-2.0 */
/* Buffers never pass their cap, and say so once at the end; cursors never read past theirs. */
#include "mica/buf.h"

#include <setjmp.h>
#include <cmocka.h>

static void grows_to_its_cap(void **state)
{
	struct mica_err e = MICA_ERR_INIT;

	(void)state;
	for (size_t cap = 0; cap < 300; cap += 7) {
		MICA_AUTO_BUF b;

		mica_buf_init(&b, cap);
		assert_string_equal((const char *)b.p, "");
		for (size_t i = 0; i < cap; i++) {
			mica_buf_put_u8(&b, (uint8_t)('a' + i % 26));
			assert_int_equal(b.p[b.len], 0);
		}
		assert_int_equal(mica_buf_rc(&b, NULL), MICA_OK);
		assert_int_equal(b.len, cap);
		assert_true(b.room <= cap + 1);
		mica_buf_put_u8(&b, 'x');
		assert_int_equal(mica_buf_rc(&b, &e), MICA_LIMIT);
		assert_int_equal(b.len, cap);
	}
	assert_string_equal(e.reason, "too_long");
}

static void over_is_sticky(void **state)
{
	MICA_AUTO_BUF b;
	size_t len = 9;

	(void)state;
	mica_buf_init(&b, 4);
	mica_buf_put_str(&b, "abc");
	mica_buf_put_str(&b, "de");
	mica_buf_put_str(&b, "f");
	mica_buf_put_str(&b, "");
	mica_buf_put_hex(&b, "", 0);
	assert_string_equal((const char *)b.p, "abc");
	assert_null(mica_buf_room(&b, 1));
	mica_buf_added(&b, 1);
	assert_int_equal(b.len, 3);
	assert_null(mica_buf_take(&b, &len));
	assert_int_equal(len, 0);
	mica_buf_reset(&b);
	assert_int_equal(mica_buf_rc(&b, NULL), MICA_OK);
	mica_buf_put_str(&b, "wxyz");
	assert_int_equal(mica_buf_rc(&b, NULL), MICA_OK);
}

static void huge_lengths(void **state)
{
	(void)state;
	for (int i = 0; i < 5; i++) {
		MICA_AUTO_BUF b;

		mica_buf_init(&b, i % 2 ? SIZE_MAX : 1000);
		mica_buf_put_u8(&b, 'x');
		if (i < 2)
			assert_null(mica_buf_room(&b, SIZE_MAX));
		else if (i == 2)
			mica_buf_put_hex(&b, "", SIZE_MAX / 2 + 1);
		else if (i == 3)
			mica_buf_put_b64(&b, "", SIZE_MAX - 1);
		else
			mica_buf_put_b64url(&b, "", SIZE_MAX / 4 + 1);
		assert_int_equal(mica_buf_rc(&b, NULL), MICA_LIMIT);
		assert_int_equal(b.len, 1);
	}
}

static void encoders(void **state)
{
	MICA_AUTO_BUF b;

	(void)state;
	mica_buf_init(&b, 100);
	mica_buf_put_be16(&b, 0x0102);
	mica_buf_put_be32(&b, 0x03040506);
	mica_buf_put_be64(&b, 0x0708090a0b0c0d0e);
	assert_memory_equal(b.p, "\1\2\3\4\5\6\7\10\11\12\13\14\15\16", 14);
	mica_buf_reset(&b);
	mica_buf_put_hex(&b, "\xab", 1);
	mica_buf_put_b64(&b, "\xfb", 1);
	mica_buf_put_b64url(&b, "\xfb", 1);
	mica_buf_printf(&b, "<%d>", -5);
	mica_buf_printf(&b, "%s", "");
	assert_string_equal((const char *)b.p, "ab+w==-w<-5>");
}

/* With exactly the room that the text needs. */
static void exact_fits(void **state)
{
	(void)state;
	for (size_t n = 0; n < 20; n++) {
		size_t sizes[3] = {2 * n, MICA_B64_SIZE(n) - 1, MICA_B64URL_SIZE(n) - 1};

		for (size_t i = 0; i < 6; i++) {
			size_t size = sizes[i / 2], cap = size - (i % 2 && size ? 1 : 0);
			MICA_AUTO_BUF b;

			mica_buf_init(&b, cap);
			if (i / 2 == 0)
				mica_buf_put_hex(&b, "01234567890123456789", n);
			else if (i / 2 == 1)
				mica_buf_put_b64(&b, "01234567890123456789", n);
			else
				mica_buf_put_b64url(&b, "01234567890123456789", n);
			assert_int_equal(mica_buf_rc(&b, NULL), cap == size ? MICA_OK : MICA_LIMIT);
			assert_int_equal(b.len, cap == size ? size : 0);
		}
	}
}

static void printf_at_the_cap(void **state)
{
	MICA_AUTO_BUF b;

	(void)state;
	mica_buf_init(&b, 5);
	mica_buf_printf(&b, "%s", "12345");
	assert_int_equal(mica_buf_rc(&b, NULL), MICA_OK);
	mica_buf_reset(&b);
	mica_buf_printf(&b, "%s", "123456");
	assert_int_equal(mica_buf_rc(&b, NULL), MICA_LIMIT);
	assert_int_equal(b.len, 0);
}

static void json_strings(void **state)
{
	static const struct {
		const char *in;
		size_t len;
		const char *out;
	} cases[] = {{"", 0, "\"\""}, {"a\"b\\c", 5, "\"a\\\"b\\\\c\""},
		{"\0\x1f\x7f", 3, "\"\\u0000\\u001f\\u007f\""}, {"\n\t", 2, "\"\\n\\t\""},
		{"\xc3\xa9\xf0\x9f\x98\x80", 6, "\"\xc3\xa9\xf0\x9f\x98\x80\""},
		{"\xff"
		 "a\xe2\x82",
			4,
			"\"\xef\xbf\xbd"
			"a\xef\xbf\xbd\xef\xbf\xbd\""},
		{"\xe2\x80\xa8", 3, "\"\\u2028\""}, {"\xc2\x9b", 2, "\"\\u009b\""}};

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++) {
		MICA_AUTO_BUF b;

		mica_buf_init(&b, 100);
		mica_buf_put_json_string(&b, mica_slice(cases[i].in, cases[i].len));
		assert_string_equal((const char *)b.p, cases[i].out);
	}
}

static void taking(void **state)
{
	MICA_AUTO_BUF b;
	MICA_AUTO_FREE uint8_t *one = NULL, *none = NULL;
	size_t len;

	(void)state;
	mica_buf_init(&b, 10);
	none = mica_buf_take(&b, &len);
	assert_non_null(none);
	assert_string_equal((char *)none, "");
	assert_int_equal(len, 0);
	mica_buf_put_str(&b, "abc");
	one = mica_buf_take(&b, &len);
	assert_int_equal(len, 3);
	assert_string_equal((char *)one, "abc");
	assert_int_equal(b.len, 0);
	mica_buf_put_str(&b, "0123456789");
	assert_int_equal(mica_buf_rc(&b, NULL), MICA_OK);
}

static void secrets_are_wiped(void **state)
{
	struct mica_buf b;

	(void)state;
	mica_buf_init_secret(&b, 1000);
	mica_buf_put_str(&b, "hunter2");
	mica_buf_reset(&b);
	for (size_t i = 0; i < b.room; i++)
		assert_int_equal(b.p[i], 0);
	for (int i = 0; i < 100; i++)
		mica_buf_put_str(&b, "0123456789");
	assert_int_equal(mica_buf_rc(&b, NULL), MICA_OK);
	assert_memory_equal(b.p + 990, "0123456789", 11);
	mica_buf_clear(&b);
	assert_int_equal(b.len, 0);
}

static void zeroed_is_usable(void **state)
{
	struct mica_buf b = {0};

	(void)state;
	mica_buf_put_str(&b, "x");
	assert_int_equal(mica_buf_rc(&b, NULL), MICA_LIMIT);
	mica_buf_clear(&b);
}

static void cursor(void **state)
{
	struct mica_cursor c = {.s = MICA_LIT("\1\2\3\4\5\6\7\10\11\12\13\14\15\16\17")};

	(void)state;
	assert_int_equal(mica_cur_u8(&c), 1);
	assert_int_equal(mica_cur_be16(&c), 0x0203);
	assert_int_equal(mica_cur_be32(&c), 0x04050607);
	assert_true(mica_cur_be64(&c) == 0x08090a0b0c0d0e0f);
	assert_false(c.bad);
	assert_int_equal(mica_cur_take(&c, 0).len, 0);
	assert_false(c.bad);
	assert_int_equal(mica_cur_u8(&c), 0);
	assert_true(c.bad);

	c = (struct mica_cursor){.s = MICA_LIT("abc")};
	assert_int_equal(mica_cur_be32(&c), 0);
	assert_true(c.bad);
	assert_int_equal(mica_cur_u8(&c), 0); /* sticky, although there are bytes */
	c = (struct mica_cursor){.s = MICA_LIT("abc")};
	assert_int_equal(mica_cur_take(&c, SIZE_MAX).len, 0);
	assert_true(c.bad);
	c = (struct mica_cursor){.s = MICA_SLICE_NULL};
	assert_int_equal(mica_cur_take(&c, 0).len, 0);
	assert_false(c.bad);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(grows_to_its_cap),
		cmocka_unit_test(over_is_sticky),
		cmocka_unit_test(huge_lengths),
		cmocka_unit_test(encoders),
		cmocka_unit_test(exact_fits),
		cmocka_unit_test(printf_at_the_cap),
		cmocka_unit_test(json_strings),
		cmocka_unit_test(taking),
		cmocka_unit_test(secrets_are_wiped),
		cmocka_unit_test(zeroed_is_usable),
		cmocka_unit_test(cursor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
