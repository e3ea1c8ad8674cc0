/* SPDX-License-Identifier: Apache-2.0 */
/* The wire format of protobuf: what is taken, what is refused, and that both are each other's. */
#include "mica/mem.h"
#include "mica/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static mica_rc next(const char *octets, size_t len, struct mica_wire_field *f)
{
	struct mica_slice m = mica_slice(octets, len);

	return mica_wire_next(&m, f, NULL);
}
#define NEXT(literal, f) next(literal, sizeof(literal) - 1, f)

static void fields_are_taken(void **state)
{
	struct mica_wire_field f;
	(void)state;

	assert_int_equal(NEXT("\x08\x00", &f), MICA_OK);
	assert_true(f.number == 1 && f.type == MICA_WIRE_VARINT && f.value == 0);
	assert_int_equal(NEXT("\x08\xac\x02", &f), MICA_OK);
	assert_true(f.value == 300);
	assert_int_equal(NEXT("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", &f), MICA_OK);
	assert_true(f.value == UINT64_MAX);
	/* longer than it must be, which writers may do */
	assert_int_equal(NEXT("\x88\x80\x00\x81\x80\x80\x00", &f), MICA_OK);
	assert_true(f.number == 1 && f.value == 1);
	assert_int_equal(NEXT("\x11\1\2\3\4\5\6\7\x80", &f), MICA_OK);
	assert_true(f.number == 2 && f.type == MICA_WIRE_FIXED64 && f.value == 0x8007060504030201);
	assert_int_equal(NEXT("\x1d\1\2\3\4", &f), MICA_OK);
	assert_true(f.number == 3 && f.type == MICA_WIRE_FIXED32 && f.value == 0x04030201);
	assert_int_equal(NEXT("\x22\x03"
			      "a\0c",
				 &f),
		MICA_OK);
	assert_true(f.number == 4 && f.bytes.len == 3 && memcmp(f.bytes.p, "a\0c", 3) == 0);
	assert_int_equal(NEXT("\xfa\xff\xff\xff\x0f\x00", &f), MICA_OK);
	assert_true(f.number == (1u << 29) - 1 && f.bytes.len == 0);
}

static void the_end_is_no_error(void **state)
{
	struct mica_slice m = mica_slice("\x08\x01\x08\x02", 4);
	struct mica_err e = MICA_ERR_INIT;
	struct mica_wire_field f;
	(void)state;

	assert_int_equal(mica_wire_next(&m, &f, &e), MICA_OK);
	assert_int_equal(mica_wire_next(&m, &f, &e), MICA_OK);
	assert_true(f.value == 2 && m.len == 0);
	assert_int_equal(mica_wire_next(&m, &f, &e), MICA_NOT_FOUND);
	assert_int_equal(e.rc, MICA_OK);
}

static void what_is_cut_or_out_of_range_is_refused(void **state)
{
	static const struct {
		const char *octets;
		size_t len;
	} bad[] = {
#define BAD(x) {x, sizeof(x) - 1}
		BAD("\x08"), BAD("\x08\x80"), BAD("\x80"),
		BAD("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"),
		BAD("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), BAD("\x11\1\2\3\4\5\6\7"),
		BAD("\x1d\1\2\3"), BAD("\x22"), BAD("\x22\x01"), BAD("\x22\x02x"),
		BAD("\x22\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x"), BAD("\x00\x00"),
		BAD("\x02\x00"), BAD("\x0b"), BAD("\x0c"), BAD("\x0e\x00"), BAD("\x0f\x00"),
		BAD("\x80\x80\x80\x80\x10\x00"), BAD("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00")
#undef BAD
	};
	(void)state;

	for (size_t i = 0; i < MICA_ARRAY_LEN(bad); i++) {
		struct mica_slice m = mica_slice(bad[i].octets, bad[i].len);
		struct mica_err e = MICA_ERR_INIT;
		struct mica_wire_field f;

		assert_int_equal(mica_wire_next(&m, &f, &e), MICA_INVALID);
		assert_string_equal(e.reason, "message_invalid");
	}
}

static void what_is_put_is_taken(void **state)
{
	static const uint64_t values[] = {0, 1, 127, 128, 16383, 16384, 1u << 31, UINT64_MAX};
	struct mica_wire_field f;
	(void)state;

	for (size_t i = 0; i < MICA_ARRAY_LEN(values); i++) {
		MICA_AUTO_BUF b;
		struct mica_slice m;

		mica_buf_init(&b, 1024);
		mica_wire_put_varint(&b, 3, values[i]);
		mica_wire_put_bytes(&b, 2000, mica_slice("\0\1", 2));
		m = mica_buf_slice(&b);
		assert_int_equal(mica_wire_next(&m, &f, NULL), MICA_OK);
		assert_true(f.number == 3 && f.value == values[i]);
		assert_int_equal(mica_wire_next(&m, &f, NULL), MICA_OK);
		assert_true(f.number == 2000 && f.bytes.len == 2);
		assert_int_equal(mica_wire_next(&m, &f, NULL), MICA_NOT_FOUND);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields_are_taken),
		cmocka_unit_test(the_end_is_no_error),
		cmocka_unit_test(what_is_cut_or_out_of_range_is_refused),
		cmocka_unit_test(what_is_put_is_taken),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
