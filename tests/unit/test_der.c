/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "mica/der.h"
#include "mica/pem.h"

#define S(lit) mica_der(MICA_LIT(lit))

static void lengths(void **state)
{
	(void)state;
	static uint8_t big[70000];
	static const struct {
		uint8_t head[6];
		size_t head_len, len;
		bool ok;
	} cases[] = {
		{{0x04, 0x00}, 2, 0, true},
		{{0x04, 0x7f}, 2, 0x7f, true},
		{{0x04, 0x81, 0x80}, 3, 0x80, true},
		{{0x04, 0x82, 0x01, 0x00}, 4, 0x100, true},
		{{0x04, 0x83, 0x01, 0x00, 0x00}, 5, 0x10000, true},
		{{0x04, 0x81, 0x7f}, 3, 0x7f, false}, /* fits the short form */
		{{0x04, 0x82, 0x00, 0xff}, 4, 0xff, false}, /* leading zero */
		{{0x04, 0x83, 0x00, 0xff, 0xff}, 5, 0xffff, false},
		{{0x04, 0x84, 0x00, 0x00, 0x00, 0x01}, 6, 1, false},
		{{0x04, 0x80}, 2, 10, false}, /* indefinite */
		{{0x04, 0xff}, 2, 10, false}, /* reserved */
		{{0x04, 0x05}, 2, 4, false}, /* cut short */
		{{0x1f, 0x01, 0x01}, 3, 1, false}, /* a tag of several octets */
		{{0x00, 0x00}, 2, 0, false}, /* end-of-contents */
		{{0x04}, 1, 0, false},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t tag;
		struct mica_slice content, whole;
		memcpy(big, cases[i].head, cases[i].head_len);
		struct mica_der d = mica_der(mica_slice(big, cases[i].head_len + cases[i].len));
		bool ok = mica_der_any(&d, &tag, &content, &whole);
		if (ok != cases[i].ok)
			fail_msg("case %zu", i);
		if (!ok) {
			assert_true(d.bad);
			continue;
		}
		assert_int_equal(content.len, cases[i].len);
		assert_int_equal(whole.len, cases[i].len + cases[i].head_len);
		assert_true(mica_der_end(&d));
	}
}

static void integers(void **state)
{
	(void)state;
	struct mica_slice v;
	uint32_t u;
	struct mica_der good = S("\x02\x01\x00"), high = S("\x02\x02\x00\x80"),
			negative = S("\x02\x01\x80"), padded = S("\x02\x02\x00\x7f"),
			empty = S("\x02\x00"), max = S("\x02\x05\x00\xff\xff\xff\xff"),
			over = S("\x02\x05\x01\x00\x00\x00\x00");
	assert_true(mica_der_unsigned(&good, &v) && v.len == 1 && v.p[0] == 0);
	assert_true(mica_der_unsigned(&high, &v) && v.len == 1 && v.p[0] == 0x80);
	assert_false(mica_der_unsigned(&negative, &v));
	assert_false(mica_der_unsigned(&padded, &v));
	assert_false(mica_der_unsigned(&empty, &v));
	assert_true(mica_der_u32(&max, &u) && u == UINT32_MAX);
	assert_false(mica_der_u32(&over, &u));
	assert_false(mica_der_u32(&over, &u)); /* the error is sticky */
}

static void booleans_and_bits(void **state)
{
	(void)state;
	bool b;
	unsigned v;
	struct mica_slice s;
	struct mica_der t = S("\x01\x01\xff"), f = S("\x01\x01\x00"), ber = S("\x01\x01\x01");
	assert_true(mica_der_boolean(&t, &b) && b);
	assert_true(mica_der_boolean(&f, &b) && !b);
	assert_false(mica_der_boolean(&ber, &b));
	struct mica_der key = S("\x03\x02\x00\x05"), unused = S("\x03\x02\x01\x04"),
			none = S("\x03\x00");
	assert_true(mica_der_bits(&key, &s) && s.len == 1);
	assert_false(mica_der_bits(&unused, &s));
	assert_false(mica_der_bits(&none, &s));
	struct mica_der ds = S("\x03\x02\x07\x80"), ca = S("\x03\x02\x01\x06"),
			nine = S("\x03\x03\x07\x00\x80"), zero = S("\x03\x01\x00");
	assert_true(mica_der_named_bits(&ds, &v) && v == 1);
	assert_true(mica_der_named_bits(&ca, &v) && v == 0x60);
	assert_true(mica_der_named_bits(&nine, &v) && v == 0x100);
	assert_true(mica_der_named_bits(&zero, &v) && v == 0);
	struct mica_der not_minimal = S("\x03\x02\x06\x80"), dirty = S("\x03\x02\x07\xc0"),
			trailing = S("\x03\x03\x00\x80\x00"), eight = S("\x03\x02\x08\x80");
	assert_false(mica_der_named_bits(&not_minimal, &v));
	assert_false(mica_der_named_bits(&dirty, &v));
	assert_false(mica_der_named_bits(&trailing, &v));
	assert_false(mica_der_named_bits(&eight, &v));
}

static void oids(void **state)
{
	(void)state;
	struct mica_slice v;
	struct mica_der good = S("\x06\x03\x55\x1d\x0f"), long_arc = S("\x06\x03\x2a\x86\x48"),
			zeros = S("\x06\x03\x2a\x80\x01"), open = S("\x06\x02\x2a\x86"),
			empty = S("\x06\x00");
	assert_true(mica_der_oid(&good, &v));
	assert_true(mica_der_oid(&long_arc, &v));
	assert_false(mica_der_oid(&zeros, &v));
	assert_false(mica_der_oid(&open, &v));
	assert_false(mica_der_oid(&empty, &v));
}

static void times(void **state)
{
	(void)state;
	static const struct {
		const char *der;
		int64_t t; /* -1 = refused */
	} cases[] = {
		{"\x17\x0d"
		 "700101000000Z",
			0},
		{"\x17\x0d"
		 "261124120000Z",
			1795521600},
		{"\x17\x0d"
		 "500101000000Z",
			-631152000},
		{"\x17\x0d"
		 "491231235959Z",
			2524607999},
		{"\x17\x0d"
		 "240229000000Z",
			1709164800},
		{"\x18\x0f"
		 "20500101000000Z",
			2524608000},
		{"\x18\x0f"
		 "99991231235959Z",
			253402300799},
		{"\x18\x0f"
		 "20491231235959Z",
			-1}, /* UTCTime it must be until 2049 */
		{"\x17\x0d"
		 "230229000000Z",
			-1}, /* no such day */
		{"\x17\x0d"
		 "230431000000Z",
			-1},
		{"\x17\x0d"
		 "231301000000Z",
			-1},
		{"\x17\x0d"
		 "230001000000Z",
			-1},
		{"\x17\x0d"
		 "230100000000Z",
			-1},
		{"\x17\x0d"
		 "230101240000Z",
			-1},
		{"\x17\x0d"
		 "230101006000Z",
			-1},
		{"\x17\x0d"
		 "230101000060Z",
			-1},
		{"\x17\x0b"
		 "2301010000Z",
			-1}, /* no seconds */
		{"\x17\x11"
		 "230101000000+0000",
			-1},
		{"\x17\x0d"
		 "23010100000 Z",
			-1},
		{"\x18\x11"
		 "20500101000000.0Z",
			-1},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct mica_slice s = mica_slice_str(cases[i].der);
		struct mica_der d = mica_der(s);
		uint8_t room[32];
		int64_t t = 0;
		bool ok = mica_der_time(&d, &t);
		if (ok != (cases[i].t != -1) || (ok && t != cases[i].t))
			fail_msg("%s: %d %lld", cases[i].der + 2, ok, (long long)t);
		if (!ok)
			continue;
		struct mica_derw w = mica_derw(room, sizeof(room));
		mica_derw_time(&w, t);
		assert_true(mica_slice_eq(mica_derw_slice(&w), s));
	}
	struct mica_derw w = mica_derw(NULL, 0);
	mica_derw_time(&w, 253402300800);
	assert_false(mica_derw_ok(&w));
}

/* Every day of 1950..2460 there and back. */
static void every_day(void **state)
{
	(void)state;
	for (int64_t t = -631152000; t < 15463000000; t += 86400 + 3601) {
		uint8_t room[32];
		int64_t back = 0;
		struct mica_derw w = mica_derw(room, sizeof(room));
		mica_derw_time(&w, t);
		struct mica_der d = mica_der(mica_derw_slice(&w));
		assert_true(mica_der_time(&d, &back));
		assert_true(back == t);
	}
}

static void writing(void **state)
{
	(void)state;
	uint8_t room[600], small[3];
	static const uint8_t zeros[300];
	struct mica_derw w = mica_derw(room, sizeof(room));
	size_t mark = mica_derw_mark(&w);
	mica_derw_unsigned(&w, "\x00\x00\x80", 3);
	mica_derw_unsigned(&w, "\x00", 1);
	mica_derw_prim(&w, MICA_DER_OCTET_STRING, zeros, 300);
	mica_derw_bits(&w, "\x05", 1);
	mica_derw_wrap(&w, mark, MICA_DER_SEQUENCE);
	assert_true(mica_derw_ok(&w));
	struct mica_der d = mica_der(mica_derw_slice(&w)), in;
	struct mica_slice v;
	assert_true(mica_der_enter(&d, MICA_DER_SEQUENCE, &in) && mica_der_end(&d));
	assert_true(mica_der_bits(&in, &v) && v.len == 1 && v.p[0] == 5);
	assert_true(mica_der_next(&in, MICA_DER_OCTET_STRING, &v, NULL) && v.len == 300);
	assert_true(mica_der_unsigned(&in, &v) && v.len == 1 && v.p[0] == 0);
	assert_true(mica_der_unsigned(&in, &v) && v.len == 1 && v.p[0] == 0x80);
	assert_true(mica_der_end(&in));

	w = mica_derw(small, sizeof(small));
	mica_derw_put(&w, "abcd", 4);
	assert_false(mica_derw_ok(&w));
	mica_derw_put(&w, "a", 1); /* sticky */
	assert_false(mica_derw_ok(&w));
	assert_int_equal(mica_derw_slice(&w).len, 0);
}

/* ---- PEM ---------------------------------------------------------------------------------- */

static const char *pem_reason(const char *text, size_t *n)
{
	static struct mica_err e;
	struct mica_buf der;
	struct mica_slice certs[2];
	e = (struct mica_err)MICA_ERR_INIT;
	mica_buf_init(&der, 1000);
	mica_rc rc = mica_pem_certs(mica_slice_str(text), &der, certs, 2, n, &e);
	if (!rc)
		for (size_t i = 0; i < *n; i++)
			assert_memory_equal(certs[i].p, "abc", certs[i].len);
	mica_buf_clear(&der);
	return rc ? e.reason : "ok";
}

static void pem(void **state)
{
	(void)state;
#define B "-----BEGIN CERTIFICATE-----"
#define E "-----END CERTIFICATE-----"
	static const struct {
		const char *text, *reason;
	} cases[] = {
		{B "\nYWJj\n" E "\n", "ok"},
		{B "\nYWJj\n" E, "ok"},
		{B "\r\nYWJj\r\n" E "\r\n", "ok"},
		{B "\nYWI=\n" E "\n" B "\nYWJj\n" E "\n", "ok"},
		{"\n\n" B "\nYWJj\n" E "\n\n" B "\nYWJj\n" E "\n\n", "ok"},
		{B "\nYW\nJj\n" E "\n", "ok"},
		{"", "pem_empty"},
		{"\n", "pem_empty"},
		{"x", "pem_malformed"},
		{B "\nYWJj\n" E "\nx", "pem_malformed"},
		{B "\nYWJj\n" E "\n" B "\nYWJj\n" E "\n" B "\nYWJj\n" E "\n", "pem_too_many"},
		{"text\n" B "\nYWJj\n" E "\n", "pem_malformed"},
		{" " B "\nYWJj\n" E "\n", "pem_malformed"},
		{B " \nYWJj\n" E "\n", "pem_malformed"},
		{B "\nYWJj\n", "pem_malformed"},
		{B "\n" E "\n", "pem_malformed"},
		{B "\n\nYWJj\n" E "\n", "pem_malformed"},
		{B "\nYWJj \n" E "\n", "pem_malformed"},
		{B "\nYWJjYWJj\nYWJj\nYWJjYWJj\n" E "\n", "pem_malformed"},
		{B "\nYWJ\n" E "\n", "pem_malformed"},
		{B "\nYWK=\n" E "\n", "pem_malformed"}, /* unused bits are not 0 */
		{B "\nYW=j\n" E "\n", "pem_malformed"},
		{B "\nProc-Type: 4,ENCRYPTED\n\nYWJj\n" E "\n", "pem_malformed"},
		{B "\nYWJj\n-----END X-----\n", "pem_malformed"},
		{"-----BEGIN X-----\nYWJj\n-----END X-----\n", "pem_label"},
		{"----------\nYWJj\n" E "\n", "pem_malformed"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t n;
		const char *got = pem_reason(cases[i].text, &n);
		if (strcmp(got, cases[i].reason) != 0)
			fail_msg("case %zu: %s, expected %s", i, got, cases[i].reason);
	}
}

static void pem_there_and_back(void **state)
{
	(void)state;
	uint8_t data[200];
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7);
	for (size_t len = 1; len <= sizeof(data); len++) {
		MICA_AUTO_BUF text, der;
		mica_buf_init(&text, 1000);
		mica_buf_init(&der, 1000);
		mica_pem_put(&text, MICA_PEM_CSR, mica_slice(data, len));
		struct mica_slice in = mica_buf_slice(&text);
		assert_int_equal(mica_pem_next(&in, MICA_PEM_CSR, NULL, &der, NULL), MICA_OK);
		assert_int_equal(in.len, 0);
		assert_true(mica_slice_eq(mica_buf_slice(&der), mica_slice(data, len)));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lengths),
		cmocka_unit_test(integers),
		cmocka_unit_test(booleans_and_bits),
		cmocka_unit_test(oids),
		cmocka_unit_test(times),
		cmocka_unit_test(every_day),
		cmocka_unit_test(writing),
		cmocka_unit_test(pem),
		cmocka_unit_test(pem_there_and_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
