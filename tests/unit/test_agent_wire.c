/* SPDX-License-Identifier: Apache-2.0 */
/* The wire format against messages that are known, octet for octet. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "agent/wire.h"

static void put_and_read_back(void **state)
{
	(void)state;
	struct wire w;
	struct mica_wire_field f;
	MICA_AUTO_BUF b;
	mica_buf_init(&b, 4096);
	mica_wire_put_varint(&b, 1, 150);
	wire_put_text(&b, 2, "testing");
	wire_put_text(&b, 3, "");
	mica_wire_put_double(&b, 4, 1.0);
	mica_wire_put_bytes(&b, 16, MICA_LIT(""));
	static const uint8_t want[] = {0x08, 0x96, 0x01, 0x12, 0x07, 't', 'e', 's', 't', 'i', 'n',
		'g', 0x21, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0x82, 0x01, 0x00};
	assert_int_equal(b.len, sizeof(want));
	assert_memory_equal(b.p, want, sizeof(want));
	assert_int_equal(mica_wire_bytes_size(2, 7), 9);
	assert_int_equal(mica_wire_bytes_size(16, 0), 3);

	w = (struct wire){.s = mica_buf_slice(&b)};
	assert_true(wire_next(&w, &f));
	assert_int_equal(f.number, 1);
	assert_int_equal(f.value, 150);
	assert_false(wire_is_text(&w, &f, 2));
	assert_true(wire_next(&w, &f));
	assert_true(wire_is_text(&w, &f, 2));
	assert_true(mica_slice_eq_str(f.bytes, "testing"));
	assert_true(wire_next(&w, &f));
	assert_int_equal(f.type, MICA_WIRE_FIXED64);
	assert_true(wire_next(&w, &f));
	assert_true(wire_is_bytes(&w, &f, 16));
	assert_int_equal(f.bytes.len, 0);
	assert_false(wire_next(&w, &f));
	assert_false(w.bad);
}

static void bad(const void *p, size_t len)
{
	struct wire w = {.s = mica_slice(p, len)};
	struct mica_wire_field f;
	while (wire_next(&w, &f))
		continue;
	assert_true(w.bad);
	assert_false(wire_next(&w, &f));
}

static void what_is_not_well_formed(void **state)
{
	(void)state;
	bad("\x08", 1); /* a value is missing */
	bad("\x00\x01", 2); /* field 0 */
	bad("\x0b\x0c", 2); /* groups */
	bad("\x0e\x00", 2); /* type 6 */
	bad("\x12\x05"
	    "abc",
		5); /* longer than what is there */
	bad("\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11);
	bad("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11); /* 65 bits */
	bad("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12);
	bad("\x0d\x00\x00\x00", 4);
	bad("\x09\x00\x00\x00\x00\x00\x00\x00", 8);
	bad("\x80\x80\x80\x80\x80\x01\x00", 7); /* a tag above 32 bits */
}

static void types_and_text_are_checked(void **state)
{
	(void)state;
	struct wire w = {.s = mica_slice("\x08\x01", 2)};
	struct mica_wire_field f;
	assert_true(wire_next(&w, &f));
	assert_false(wire_is_bytes(&w, &f, 1));
	assert_true(w.bad);
	w = (struct wire){.s = mica_slice("\x0a\x02\xc3\x28", 4)};
	assert_true(wire_next(&w, &f));
	assert_false(wire_is_text(&w, &f, 1));
	assert_true(w.bad);
	/* the largest varint */
	w = (struct wire){.s = mica_slice("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11)};
	assert_true(wire_next(&w, &f));
	assert_true(f.value == UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(put_and_read_back),
		cmocka_unit_test(what_is_not_well_formed),
		cmocka_unit_test(types_and_text_are_checked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
