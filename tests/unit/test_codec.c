/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers, hex, base64, times and UUIDs: one text for one value. */
#include "mica/buf.h"

#include <limits.h>
#include <setjmp.h>
#include <stdio.h>
#include <cmocka.h>

#define SL(s) mica_slice_str(s)

static void u64(void **state)
{
	static const char *const bad[] = {"", "00", "01", "+1", "-1", " 1", "1 ", "1.0", "0x1",
		"1e3", "18446744073709551616", "99999999999999999999", "184467440737095516150",
		"\xd9\xa1"};
	uint64_t v = 7;

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(bad); i++)
		assert_int_equal(mica_parse_u64(SL(bad[i]), UINT64_MAX, &v), MICA_INVALID);
	assert_int_equal(v, 7);
	assert_int_equal(mica_parse_u64(mica_slice("1\0", 2), UINT64_MAX, &v), MICA_INVALID);
	assert_int_equal(mica_parse_u64(SL("0"), 0, &v), MICA_OK);
	assert_int_equal(v, 0);
	assert_int_equal(mica_parse_u64(SL("18446744073709551615"), UINT64_MAX, &v), MICA_OK);
	assert_true(v == UINT64_MAX);
	assert_int_equal(mica_parse_u64(SL("11"), 10, &v), MICA_INVALID);
	assert_int_equal(mica_parse_u64(SL("10"), 10, &v), MICA_OK);
}

static void i64(void **state)
{
	int64_t v = 7;

	(void)state;
	assert_int_equal(
		mica_parse_i64(SL("-9223372036854775808"), INT64_MIN, INT64_MAX, &v), MICA_OK);
	assert_true(v == INT64_MIN);
	assert_int_equal(
		mica_parse_i64(SL("9223372036854775807"), INT64_MIN, INT64_MAX, &v), MICA_OK);
	assert_true(v == INT64_MAX);
	assert_int_equal(mica_parse_i64(SL("-1"), -1, 1, &v), MICA_OK);
	assert_true(v == -1);
	static const char *const bad[] = {"", "-", "-0", "--1", "+1", "-01", "9223372036854775808",
		"-9223372036854775809", "2", "-2"};
	for (size_t i = 0; i < 8; i++)
		assert_int_equal(
			mica_parse_i64(SL(bad[i]), INT64_MIN, INT64_MAX, &v), MICA_INVALID);
	for (size_t i = 0; i < MICA_ARRAY_LEN(bad); i++)
		assert_int_equal(mica_parse_i64(SL(bad[i]), -1, 1, &v), MICA_INVALID);
}

static void durations(void **state)
{
	static const struct {
		const char *text;
		int64_t seconds; /* -1 = refused */
	} cases[] = {{"0", 0}, {"90", 90}, {"90s", 90}, {"15m", 900}, {"1h", 3600},
		{"30d", 2592000}, {"106751991167300d", 106751991167300 * 86400},
		{"106751991167301d", -1}, {"", -1}, {"s", -1}, {"1w", -1}, {"1h30m", -1},
		{"1 h", -1}, {"-1h", -1}, {"01h", -1}, {"1H", -1}, {"1ms", -1}, {"1.5h", -1},
		{"hh", -1}, {"9223372036854775807", INT64_MAX}, {"9223372036854775808", -1}};

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++) {
		int64_t v = -1;
		mica_rc rc = mica_parse_duration(SL(cases[i].text), INT64_MAX, &v);

		assert_int_equal(rc, cases[i].seconds < 0 ? MICA_INVALID : MICA_OK);
		assert_true(v == cases[i].seconds);
	}
	int64_t v;
	assert_int_equal(mica_parse_duration(SL("61s"), 60, &v), MICA_INVALID);
	assert_int_equal(mica_parse_duration(SL("1m"), 60, &v), MICA_OK);
}

static void hex(void **state)
{
	uint8_t all[256], back[256];
	char text[513];
	size_t len = sizeof(back);

	(void)state;
	for (int i = 0; i < 256; i++)
		all[i] = (uint8_t)i;
	mica_hex_encode(all, sizeof(all), text);
	assert_int_equal(strlen(text), 512);
	assert_memory_equal(text, "000102", 6);
	assert_string_equal(text + 506, "fdfeff");
	assert_int_equal(mica_hex_decode(SL(text), back, &len), MICA_OK);
	assert_int_equal(len, 256);
	assert_memory_equal(all, back, 256);
	len = 1;
	assert_int_equal(mica_hex_decode(SL("aF"), back, &len), MICA_OK);
	assert_int_equal(back[0], 0xaf);
	assert_int_equal(mica_hex_decode(SL("0001"), back, &len), MICA_LIMIT);
	assert_int_equal(mica_hex_decode(SL("0"), back, &len), MICA_INVALID);
	len = 0;
	assert_int_equal(mica_hex_decode(MICA_SLICE_NULL, back, &len), MICA_OK);
	mica_hex_encode(NULL, 0, text);
	assert_string_equal(text, "");
}

/* Every byte that is no digit, in both places. */
static void hex_alphabet(void **state)
{
	(void)state;
	for (int c = 0; c < 256; c++) {
		bool good =
			(c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');

		for (int at = 0; at < 2; at++) {
			uint8_t in[2] = {'0', '0'}, out;
			size_t len = 1;

			in[at] = (uint8_t)c;
			assert_int_equal(mica_hex_decode(mica_slice(in, 2), &out, &len),
				good ? MICA_OK : MICA_INVALID);
		}
	}
}

/* RFC 4648 10 */
static void base64_vectors(void **state)
{
	static const char *const std[] = {
		"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
	static const char *const url[] = {"", "Zg", "Zm8", "Zm9v", "Zm9vYg", "Zm9vYmE", "Zm9vYmFy"};
	char text[MICA_B64_SIZE(6)];
	uint8_t back[6];

	(void)state;
	for (size_t n = 0; n <= 6; n++) {
		size_t len = n;

		assert_int_equal(mica_b64_encode("foobar", n, text), strlen(std[n]));
		assert_string_equal(text, std[n]);
		assert_int_equal(mica_b64_decode(SL(text), back, &len), MICA_OK);
		assert_int_equal(len, n);
		assert_memory_equal(back, "foobar", n);
		assert_int_equal(mica_b64url_encode("foobar", n, text), strlen(url[n]));
		assert_int_equal(MICA_B64URL_SIZE(n), strlen(url[n]) + 1);
		assert_int_equal(MICA_B64_SIZE(n), strlen(std[n]) + 1);
		assert_string_equal(text, url[n]);
		assert_int_equal(mica_b64url_decode(SL(text), back, &len), MICA_OK);
		assert_int_equal(len, n);
		assert_memory_equal(back, "foobar", n);
		if (n == 0)
			continue;
		len = n - 1;
		assert_int_equal(mica_b64url_decode(SL(text), back, &len), MICA_LIMIT);
		assert_int_equal(len, n - 1);
	}
	assert_int_equal(mica_b64_encode("\xfb\xff", 2, text), 4);
	assert_string_equal(text, "+/8=");
	mica_b64url_encode("\xfb\xff", 2, text);
	assert_string_equal(text, "-_8");
}

static void base64_refused(void **state)
{
	static const char *const url[] = {"Z", "Zg=", "Zg==", "Zm9vY", "Zh", "Zm9", "Z+8", "Z/8",
		" Zg", "Zg\n", "Zm\n9v", "Zm9v=", "Z.8A", "====", "Zm\xc3\xa9"};
	static const char *const std[] = {"Zg", "Zg=", "Zm8",
		"Zh==", "Zm9=", "Z===", "====", "Zm=v", "Zg==Zg==", "Zm9v\n",
		"Zm9v====", "-_8=", "=Zg=", "Zg= ", "Zm9vZ==="};
	uint8_t out[16];

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(url); i++) {
		size_t len = sizeof(out);

		assert_int_equal(mica_b64url_decode(SL(url[i]), out, &len), MICA_INVALID);
	}
	for (size_t i = 0; i < MICA_ARRAY_LEN(std); i++) {
		size_t len = sizeof(out);

		assert_int_equal(mica_b64_decode(SL(std[i]), out, &len), MICA_INVALID);
	}
}

/* All texts of two characters: exactly 256 of 65536 are good, and they give all bytes. */
static void base64_is_injective(void **state)
{
	unsigned seen[256] = {0}, good = 0;

	(void)state;
	for (int i = 0; i < 65536; i++) {
		uint8_t in[2] = {(uint8_t)(i >> 8), (uint8_t)i}, out;
		size_t len = 1;

		if (mica_b64url_decode(mica_slice(in, 2), &out, &len) != MICA_OK)
			continue;
		good++;
		seen[out]++;
	}
	assert_int_equal(good, 256);
	for (int i = 0; i < 256; i++)
		assert_int_equal(seen[i], 1);
}

/* Every byte value at every place of a group of four, for both alphabets. */
static void base64_alphabets(void **state)
{
	static const char url[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	static const char std[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	(void)state;
	for (int c = 0; c < 256; c++) {
		for (int at = 0; at < 4; at++) {
			uint8_t in[8] = "AAAAAAAA", out[6];
			size_t len = sizeof(out);

			in[at] = (uint8_t)c;
			assert_int_equal(mica_b64url_decode(mica_slice(in, 8), out, &len),
				c && strchr(url, c) ? MICA_OK : MICA_INVALID);
			assert_int_equal(mica_b64_decode(mica_slice(in, 8), out, &len),
				c && strchr(std, c) ? MICA_OK : MICA_INVALID);
		}
	}
}

static void base64_round_trip(void **state)
{
	uint8_t in[300], back[300];
	char text[MICA_B64_SIZE(300)];

	(void)state;
	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)(i * 167 + 13);
	for (size_t n = 0; n <= sizeof(in); n++) {
		size_t len = sizeof(back);

		mica_b64url_encode(in, n, text);
		assert_int_equal(mica_b64url_decode(SL(text), back, &len), MICA_OK);
		assert_int_equal(len, n);
		assert_memory_equal(in, back, n);
		len = sizeof(back);
		mica_b64_encode(in, n, text);
		assert_int_equal(mica_b64_decode(SL(text), back, &len), MICA_OK);
		assert_int_equal(len, n);
		assert_memory_equal(in, back, n);
	}
}

static void times(void **state)
{
	static const struct {
		const char *text;
		int64_t t;
	} cases[] = {{"1970-01-01T00:00:00Z", 0}, {"1970-01-01T00:00:01Z", 1},
		{"1972-02-29T23:59:59Z", 68255999}, {"1999-12-31T23:59:59Z", 946684799},
		{"2000-02-29T12:00:00Z", 951825600}, {"2000-03-01T00:00:00Z", 951868800},
		{"2038-01-19T03:14:08Z", 2147483648}, {"2049-12-31T23:59:59Z", 2524607999},
		{"2050-01-01T00:00:00Z", 2524608000}, {"2100-02-28T23:59:59Z", 4107542399},
		{"2100-03-01T00:00:00Z", 4107542400}, {"2026-11-24T12:00:00Z", 1795521600},
		{"9999-12-31T23:59:59Z", 253402300799}};
	char text[MICA_TIME_SIZE];

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++) {
		int64_t t = -1;

		assert_int_equal(mica_time_parse(SL(cases[i].text), &t), MICA_OK);
		assert_true(t == cases[i].t);
		mica_time_format(cases[i].t, text);
		assert_string_equal(text, cases[i].text);
	}
	mica_time_format(-1, text);
	assert_string_equal(text, "1970-01-01T00:00:00Z");
	mica_time_format(INT64_MAX, text);
	assert_string_equal(text, "9999-12-31T23:59:59Z");
}

/* Each day of four centuries, once there and back, against a plain count. */
static void time_every_day(void **state)
{
	char text[MICA_TIME_SIZE], before[MICA_TIME_SIZE] = "";

	(void)state;
	for (int64_t day = 0; day < 146097 + 31; day++) {
		int64_t back = -1;

		mica_time_format(day * 86400 + day % 86400, text);
		assert_true(strcmp(before, text) < 0);
		assert_int_equal(mica_time_parse(SL(text), &back), MICA_OK);
		assert_true(back == day * 86400 + day % 86400);
		memcpy(before, text, sizeof(text));
	}
}

static void times_refused(void **state)
{
	static const char *const bad[] = {"", "1969-12-31T23:59:59Z", "2026-11-24T12:00:00",
		"2026-11-24T12:00:00z", "2026-11-24t12:00:00Z", "2026-11-24 12:00:00Z",
		"2026-11-24T12:00:00+00:00", "2026-11-24T12:00:00.0Z", "2026-11-24T24:00:00Z",
		"2026-11-24T12:60:00Z", "2016-12-31T23:59:60Z", "2026-02-29T00:00:00Z",
		"2100-02-29T00:00:00Z", "2026-00-10T00:00:00Z", "2026-13-10T00:00:00Z",
		"2026-11-00T00:00:00Z", "2026-11-31T00:00:00Z", "2026-1-024T00:00:00Z",
		"+026-11-24T12:00:00Z", "10000-01-01T00:00:00Z", "2026-11-24T12:00:00Z ",
		"2026-11-24T 2:00:00Z", "2026/11/24T12:00:00Z", "0000-01-01T00:00:00Z"};
	int64_t t = 5;

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(bad); i++)
		assert_int_equal(mica_time_parse(SL(bad[i]), &t), MICA_INVALID);
	assert_int_equal(t, 5);
}

static void uuids(void **state)
{
	static const char good[] = "0f8fad5b-d9cb-469f-a165-70867728950e";
	static const char *const bad[] = {"", "0F8FAD5B-D9CB-469F-A165-70867728950E",
		"0f8fad5bd9cb469fa16570867728950e", "0f8fad5b-d9cb-469f-a165-70867728950",
		"0f8fad5b-d9cb-469f-a165-70867728950e0", "0f8fad5b_d9cb-469f-a165-70867728950e",
		"0f8fad5b-d9cb-469f-a165-70867728950g", "{f8fad5b-d9cb-469f-a165-70867728950}",
		"0f8fad5-bd9cb-469f-a165-70867728950e"};
	uint8_t id[16];
	char text[MICA_UUID_SIZE];

	(void)state;
	assert_int_equal(mica_uuid_parse(SL(good), id), MICA_OK);
	assert_int_equal(id[0], 0x0f);
	assert_int_equal(id[15], 0x0e);
	mica_uuid_format(id, text);
	assert_string_equal(text, good);
	for (size_t i = 0; i < MICA_ARRAY_LEN(bad); i++)
		assert_int_equal(mica_uuid_parse(SL(bad[i]), id), MICA_INVALID);
	assert_int_equal(id[0], 0x0f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(u64),
		cmocka_unit_test(i64),
		cmocka_unit_test(durations),
		cmocka_unit_test(hex),
		cmocka_unit_test(hex_alphabet),
		cmocka_unit_test(base64_vectors),
		cmocka_unit_test(base64_refused),
		cmocka_unit_test(base64_is_injective),
		cmocka_unit_test(base64_alphabets),
		cmocka_unit_test(base64_round_trip),
		cmocka_unit_test(times),
		cmocka_unit_test(time_every_day),
		cmocka_unit_test(times_refused),
		cmocka_unit_test(uuids),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
