/* SPDX-License-Identifier: Apache-2.0 */
/* Strict numbers and codings. One value has one text, so that what was checked is what is
 * compared later: nothing here skips, pads, rounds or guesses. */
#include "mica/slice.h"

#include <limits.h>

static bool digits(struct mica_slice s, uint64_t max, uint64_t *out)
{
	uint64_t v = 0;

	if (s.len == 0 || s.len > 20 || (s.len > 1 && s.p[0] == '0'))
		return false;
	for (size_t i = 0; i < s.len; i++) {
		unsigned d = (unsigned)s.p[i] - '0';

		if (d > 9 || __builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, d, &v))
			return false;
	}
	if (v > max)
		return false;
	*out = v;
	return true;
}

mica_rc mica_parse_u64(struct mica_slice s, uint64_t max, uint64_t *out)
{
	return digits(s, max, out) ? MICA_OK : MICA_INVALID;
}

mica_rc mica_parse_i64(struct mica_slice s, int64_t min, int64_t max, int64_t *out)
{
	bool negative = s.len > 0 && s.p[0] == '-';
	uint64_t v;
	int64_t i;

	if (negative)
		s = mica_slice_sub(s, 1, s.len);
	if (!digits(s, (uint64_t)INT64_MAX + (negative ? 1u : 0u), &v) || (negative && v == 0))
		return MICA_INVALID;
	i = negative ? -(int64_t)(v - 1) - 1 : (int64_t)v;
	if (i < min || i > max)
		return MICA_INVALID;
	*out = i;
	return MICA_OK;
}

static const struct {
	char letter;
	int64_t seconds;
} units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};

mica_rc mica_parse_duration(struct mica_slice s, int64_t max, int64_t *out)
{
	int64_t unit = 1, seconds;
	uint64_t v;

	for (size_t i = 0; s.len > 0 && i < sizeof(units) / sizeof(units[0]); i++) {
		if (s.p[s.len - 1] != (uint8_t)units[i].letter)
			continue;
		unit = units[i].seconds;
		s.len--;
		break;
	}
	if (!digits(s, INT64_MAX, &v) || __builtin_mul_overflow((int64_t)v, unit, &seconds) ||
		seconds > max)
		return MICA_INVALID;
	*out = seconds;
	return MICA_OK;
}

/* ---- hex ---------------------------------------------------------------------------------- */

static const char hex_digits[] = "0123456789abcdef";

/* 0..15, or 0xff for what is no hex digit. Zero stands for "unset", so values are plus one. */
static uint8_t hex_value(uint8_t c)
{
	static const uint8_t plus_one[256] = {['0'] = 1,
		['1'] = 2,
		['2'] = 3,
		['3'] = 4,
		['4'] = 5,
		['5'] = 6,
		['6'] = 7,
		['7'] = 8,
		['8'] = 9,
		['9'] = 10,
		['a'] = 11,
		['b'] = 12,
		['c'] = 13,
		['d'] = 14,
		['e'] = 15,
		['f'] = 16,
		['A'] = 11,
		['B'] = 12,
		['C'] = 13,
		['D'] = 14,
		['E'] = 15,
		['F'] = 16};

	return (uint8_t)(plus_one[c] - 1);
}

mica_rc mica_hex_decode(struct mica_slice s, uint8_t *out, size_t *len)
{
	if (s.len % 2 != 0)
		return MICA_INVALID;
	if (s.len / 2 > *len)
		return MICA_LIMIT;
	for (size_t i = 0; i < s.len / 2; i++) {
		uint8_t high = hex_value(s.p[2 * i]), low = hex_value(s.p[2 * i + 1]);

		if ((high | low) & 0x80)
			return MICA_INVALID;
		out[i] = (uint8_t)(high << 4 | low);
	}
	*len = s.len / 2;
	return MICA_OK;
}

void mica_hex_encode(const void *p, size_t len, char *out)
{
	const uint8_t *in = p;

	for (size_t i = 0; i < len; i++) {
		out[2 * i] = hex_digits[in[i] >> 4];
		out[2 * i + 1] = hex_digits[in[i] & 15];
	}
	out[2 * len] = '\0';
}

/* ---- base64: one engine, two alphabets ---------------------------------------------------- */

#define X 0xff
/* clang-format off */
static const uint8_t std_values[256] = {
	X,X,X,X,X,X,X,X,X,X,X,X,X,X,X,X, X,X,X,X,X,X,X,X,X,X,X,X,X,X,X,X,
	X,X,X,X,X,X,X,X,X,X,X,62,X,X,X,63, 52,53,54,55,56,57,58,59,60,61,X,X,X,X,X,X,
	X,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14, 15,16,17,18,19,20,21,22,23,24,25,X,X,X,X,X,
	X,26,27,28,29,30,31,32,33,34,35,36,37,38,39,40, 41,42,43,44,45,46,47,48,49,50,51,X,X,X,X,X,
	[128 ... 255] = X,
};
static const uint8_t url_values[256] = {
	X,X,X,X,X,X,X,X,X,X,X,X,X,X,X,X, X,X,X,X,X,X,X,X,X,X,X,X,X,X,X,X,
	X,X,X,X,X,X,X,X,X,X,X,X,X,62,X,X, 52,53,54,55,56,57,58,59,60,61,X,X,X,X,X,X,
	X,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14, 15,16,17,18,19,20,21,22,23,24,25,X,X,X,X,63,
	X,26,27,28,29,30,31,32,33,34,35,36,37,38,39,40, 41,42,43,44,45,46,47,48,49,50,51,X,X,X,X,X,
	[128 ... 255] = X,
};
/* clang-format on */
#undef X

static const char std_alphabet[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char url_alphabet[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* The last 2 or 3 characters: 1 or 2 bytes, and bits that nobody uses and that must be zero,
 * or else one value would have several texts (RFC 4648 3.5). */
static bool decode_tail(const uint8_t *values, const uint8_t *p, size_t n, uint8_t *out)
{
	uint8_t a = values[p[0]], b = values[p[1]], c = n == 3 ? values[p[2]] : 0;

	if ((a | b | c) & 0x80)
		return false;
	if (n == 2 ? b & 0x0f : c & 0x03)
		return false;
	out[0] = (uint8_t)(a << 2 | b >> 4);
	if (n == 3)
		out[1] = (uint8_t)(b << 4 | c >> 2);
	return true;
}

/* `s` without padding. Four characters a step; their validity is collected in one byte and
 * looked at once at the end, so the loop of a good token has no branch but its own. */
static mica_rc decode64(const uint8_t *values, struct mica_slice s, uint8_t *out, size_t *len)
{
	size_t whole = s.len / 4, tail = s.len % 4, need = whole * 3 + (tail ? tail - 1 : 0);
	const uint8_t *p = s.p;
	uint8_t bad = 0;

	if (tail == 1)
		return MICA_INVALID;
	if (need > *len)
		return MICA_LIMIT;
	for (size_t i = 0; i < whole; i++, p += 4, out += 3) {
		uint8_t a = values[p[0]], b = values[p[1]], c = values[p[2]], d = values[p[3]];

		bad = (uint8_t)(bad | a | b | c | d);
		out[0] = (uint8_t)(a << 2 | b >> 4);
		out[1] = (uint8_t)(b << 4 | c >> 2);
		out[2] = (uint8_t)(c << 6 | d);
	}
	if ((bad & 0x80) || (tail && !decode_tail(values, p, tail, out)))
		return MICA_INVALID;
	*len = need;
	return MICA_OK;
}

static size_t encode64(const char *alphabet, bool pad, const uint8_t *p, size_t len, char *out)
{
	char *o = out;

	for (; len >= 3; len -= 3, p += 3) {
		uint32_t v = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];

		*o++ = alphabet[v >> 18];
		*o++ = alphabet[v >> 12 & 63];
		*o++ = alphabet[v >> 6 & 63];
		*o++ = alphabet[v & 63];
	}
	if (len > 0) {
		uint32_t v = (uint32_t)p[0] << 8 | (len == 2 ? p[1] : 0u);

		*o++ = alphabet[v >> 10];
		*o++ = alphabet[v >> 4 & 63];
		if (len == 2)
			*o++ = alphabet[v << 2 & 63];
		for (size_t i = len; pad && i < 3; i++)
			*o++ = '=';
	}
	*o = '\0';
	return (size_t)(o - out);
}

mica_rc mica_b64url_decode(struct mica_slice s, uint8_t *out, size_t *len)
{
	return decode64(url_values, s, out, len);
}

size_t mica_b64url_encode(const void *p, size_t len, char *out)
{
	return encode64(url_alphabet, false, p, len, out);
}

mica_rc mica_b64_decode(struct mica_slice s, uint8_t *out, size_t *len)
{
	if (s.len % 4 != 0)
		return MICA_INVALID;
	for (int i = 0; i < 2 && s.len > 0 && s.p[s.len - 1] == '='; i++)
		s.len--;
	return decode64(std_values, s, out, len);
}

size_t mica_b64_encode(const void *p, size_t len, char *out)
{
	return encode64(std_alphabet, true, p, len, out);
}

/* ---- time: the proleptic Gregorian calendar, without locale and time zone ------------------ */

#define TIME_END 253402300800 /* 10000-01-01T00:00:00Z */

static bool is_leap(int64_t y)
{
	return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
}

static int64_t days_in(int64_t year, int64_t month)
{
	static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

	return days[month - 1] + (month == 2 && is_leap(year));
}

/* Days from 1970-01-01 to the first of January of `year` >= 1970. */
static int64_t days_before_year(int64_t year)
{
	int64_t y = year - 1;

	return (year - 1970) * 365 + (y / 4 - 1969 / 4) - (y / 100 - 1969 / 100) +
		(y / 400 - 1969 / 400);
}

/* Exactly n digits at p, leading zeros allowed: the fields of a date have fixed widths. */
static bool fixed(const uint8_t *p, size_t n, int64_t min, int64_t max, int64_t *out)
{
	int64_t v = 0;

	for (size_t i = 0; i < n; i++) {
		if (p[i] < '0' || p[i] > '9')
			return false;
		v = v * 10 + (p[i] - '0');
	}
	*out = v;
	return v >= min && v <= max;
}

mica_rc mica_time_parse(struct mica_slice s, int64_t *unix_seconds)
{
	static const char shape[] = "dddd-dd-ddTdd:dd:ddZ";
	int64_t year, month, day, hour, minute, second, days;

	if (s.len != sizeof(shape) - 1)
		return MICA_INVALID;
	for (size_t i = 0; i < s.len; i++) {
		if (shape[i] != 'd' && s.p[i] != (uint8_t)shape[i])
			return MICA_INVALID;
	}
	if (!fixed(s.p, 4, 1970, 9999, &year) || !fixed(s.p + 5, 2, 1, 12, &month) ||
		!fixed(s.p + 8, 2, 1, days_in(year, month), &day) ||
		!fixed(s.p + 11, 2, 0, 23, &hour) || !fixed(s.p + 14, 2, 0, 59, &minute) ||
		!fixed(s.p + 17, 2, 0, 59, &second))
		return MICA_INVALID;
	days = days_before_year(year) + day - 1;
	for (int64_t m = 1; m < month; m++)
		days += days_in(year, m);
	*unix_seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
	return MICA_OK;
}

static void put_fixed(char *p, size_t n, int64_t v)
{
	for (size_t i = n; i-- > 0; v /= 10)
		p[i] = (char)('0' + v % 10);
}

void mica_time_format(int64_t unix_seconds, char out[MICA_TIME_SIZE])
{
	int64_t t = unix_seconds < 0 ? 0 : unix_seconds >= TIME_END ? TIME_END - 1 : unix_seconds;
	int64_t day = t / 86400, left = t % 86400, year = 1970 + day / 366, month = 1;

	/* The guess is never too late and at most a few years too early. */
	while (days_before_year(year + 1) <= day)
		year++;
	day -= days_before_year(year);
	for (; day >= days_in(year, month); month++)
		day -= days_in(year, month);
	memcpy(out, "0000-00-00T00:00:00Z", MICA_TIME_SIZE);
	put_fixed(out, 4, year);
	put_fixed(out + 5, 2, month);
	put_fixed(out + 8, 2, day + 1);
	put_fixed(out + 11, 2, left / 3600);
	put_fixed(out + 14, 2, left / 60 % 60);
	put_fixed(out + 17, 2, left % 60);
}

/* ---- UUID --------------------------------------------------------------------------------- */

static bool dash_at(size_t i)
{
	return i == 8 || i == 13 || i == 18 || i == 23;
}

mica_rc mica_uuid_parse(struct mica_slice s, uint8_t out[16])
{
	size_t n = 0;
	uint8_t tmp[16] = {0};

	if (s.len != MICA_UUID_SIZE - 1)
		return MICA_INVALID;
	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = s.p[i], v = hex_value(c);

		if (dash_at(i)) {
			if (c != '-')
				return MICA_INVALID;
			continue;
		}
		if (v > 15 || (c >= 'A' && c <= 'F'))
			return MICA_INVALID;
		tmp[n / 2] = (uint8_t)(tmp[n / 2] << 4 | v);
		n++;
	}
	memcpy(out, tmp, sizeof(tmp));
	return MICA_OK;
}

void mica_uuid_format(const uint8_t uuid[16], char out[MICA_UUID_SIZE])
{
	size_t n = 0;

	for (size_t i = 0; i < MICA_UUID_SIZE - 1; i++) {
		if (dash_at(i)) {
			out[i] = '-';
			continue;
		}
		out[i] = hex_digits[n % 2 ? uuid[n / 2] & 15 : uuid[n / 2] >> 4];
		n++;
	}
	out[MICA_UUID_SIZE - 1] = '\0';
}
