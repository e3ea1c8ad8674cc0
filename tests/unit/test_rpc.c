/* SPDX-License-Identifier: Apache-2.0 */
/* The coding of gRPC. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "rpc/rpc_impl.h"

#include <stdlib.h>

static void content_types(void **state)
{
	static const struct {
		const char *s;
		enum rpc_type t;
	} rows[] = {{"application/grpc", RPC_TYPE_GRPC}, {"application/grpc+proto", RPC_TYPE_GRPC},
		{"application/grpc;x=y", RPC_TYPE_GRPC},
		{"application/grpc+proto;x", RPC_TYPE_GRPC}, {"APPLICATION/grpc", RPC_TYPE_GRPC},
		{"application/grpc+json", RPC_TYPE_CODEC}, {"application/grpc+", RPC_TYPE_CODEC},
		{"application/grpc-web", RPC_TYPE_OTHER}, {"application/grp", RPC_TYPE_OTHER},
		{"", RPC_TYPE_OTHER}, {"text/plain", RPC_TYPE_OTHER},
		{"application/grpcx", RPC_TYPE_OTHER}};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(rows); i++)
		assert_int_equal(rpc_content_type(mica_slice_str(rows[i].s)), rows[i].t);
}

static void timeouts(void **state)
{
	static const struct {
		const char *s;
		int64_t ms; /* -1 = refused */
	} rows[] = {{"1H", 3600000}, {"2M", 120000}, {"3S", 3000}, {"4m", 4}, {"5u", 1}, {"6n", 1},
		{"1000001u", 1001}, {"99999999H", 359999996400000}, {"0S", 0}, {"0n", 0},
		{"00000001S", 1000}, {"000000001S", -1}, {"123456789m", -1}, {"S", -1}, {"", -1},
		{"1", -1}, {"1s", -1}, {"1h", -1}, {"-1S", -1}, {" 1S", -1}, {"1 S", -1},
		{"1S ", -1}, {"1.5S", -1}};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(rows); i++) {
		struct mica_err e = MICA_ERR_INIT;
		int64_t ms = -1;
		const mica_rc rc = rpc_timeout(mica_slice_str(rows[i].s), &ms, &e);
		assert_int_equal(ms, rows[i].ms);
		assert_int_equal(rc, rows[i].ms < 0 ? MICA_INVALID : MICA_OK);
	}
}

/* However the octets arrive, the same messages come out. */
static void framing_in_pieces(void **state)
{
	static const uint8_t octets[] = {
		0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 'a', 'b', 'c', 0, 0, 0, 0, 1, 'd'};
	(void)state;
	for (size_t piece = 1; piece <= sizeof(octets); piece++) {
		struct rpc_reader r = {.max = 3};
		enum mica_rpc_code code;
		struct mica_err e = MICA_ERR_INIT;
		MICA_AUTO_BUF message, all;
		unsigned n = 0;
		mica_buf_init(&message, 3);
		mica_buf_init(&all, 64);
		for (size_t at = 0; at < sizeof(octets); at += piece) {
			struct mica_slice in =
				mica_slice_sub(mica_slice(octets, sizeof(octets)), at, piece);
			while (rpc_read(&r, &in, &message, &code, &e) == RPC_READ_MESSAGE) {
				mica_buf_printf(&all, "%.*s.", MICA_FMT(mica_buf_slice(&message)));
				mica_buf_reset(&message);
				n++;
			}
			assert_int_equal(in.len, 0);
		}
		assert_int_equal(n, 3);
		assert_string_equal((const char *)all.p, ".abc.d.");
		assert_true(rpc_reader_between(&r));
	}
}

static void bad_frames(void **state)
{
	static const struct {
		uint8_t head[5];
		bool encoded;
		enum mica_rpc_code code;
		const char *reason;
	} rows[] = {{{0, 0, 0, 0, 11}, false, MICA_RPC_RESOURCE_EXHAUSTED, "message_too_long"},
		{{0, 0xff, 0xff, 0xff, 0xff}, false, MICA_RPC_RESOURCE_EXHAUSTED,
			"message_too_long"},
		{{1, 0, 0, 0, 1}, false, MICA_RPC_INTERNAL, "compression_unnamed"},
		{{1, 0, 0, 0, 1}, true, MICA_RPC_UNIMPLEMENTED, "compression_unsupported"},
		{{2, 0, 0, 0, 1}, false, MICA_RPC_INTERNAL, "bad_message_flag"}};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(rows); i++) {
		struct rpc_reader r = {.max = 10, .encoded = rows[i].encoded};
		struct mica_slice in = mica_slice(rows[i].head, 5);
		struct mica_err e = MICA_ERR_INIT;
		enum mica_rpc_code code = MICA_RPC_OK;
		MICA_AUTO_BUF message;
		mica_buf_init(&message, 10);
		assert_int_equal(rpc_read(&r, &in, &message, &code, &e), RPC_READ_BAD);
		assert_int_equal(code, rows[i].code);
		assert_string_equal(e.reason, rows[i].reason);
		assert_int_equal(message.room, 0); /* before anything is kept */
	}
}

static void bin_headers(void **state)
{
	static const struct {
		const char *s;
		int len; /* -1 = refused */
	} rows[] = {{"", 0}, {"AA", 1}, {"AA==", 1}, {"AAE", 2}, {"AAE=", 2}, {"AAEC", 3},
		{"A", -1}, {"A===", -1}, {"AA=", -1}, {"AB", -1}, {"AAF", -1}, {"A-", -1},
		{"A A=", -1}, {"AA==AA==", -1}};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(rows); i++) {
		uint8_t out[8];
		size_t len = sizeof(out);
		const mica_rc rc = mica_rpc_bin_decode(mica_slice_str(rows[i].s), out, &len);
		assert_int_equal(rc == MICA_OK ? (int)len : -1, rows[i].len);
	}
	uint8_t small[2];
	size_t len = sizeof(small);
	assert_int_equal(mica_rpc_bin_decode(MICA_LIT("AAEC"), small, &len), MICA_LIMIT);
}

static void metadata_names(void **state)
{
	static const struct {
		const char *name, *value;
		bool ok;
	} rows[] = {{"a", "v", true}, {"a-b_c.9", "", true}, {"a", "in side", true},
		{"a-bin", "\x01\xff", true}, {"", "v", false}, {"A", "v", false},
		{"a b", "v", false}, {"grpc-status", "0", false}, {"grpc-x", "0", false},
		{"content-type", "x", false}, {"te", "x", false}, {"connection", "x", false},
		{":status", "200", false}, {"a", " v", false}, {"a", "v ", false},
		{"a", "a\nb", false}, {"a", "\xc3\xa4", false}, {"a", "\x7f", false}};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(rows); i++)
		assert_int_equal(rpc_meta_allowed(mica_slice_str(rows[i].name),
					 mica_slice_str(rows[i].value)),
			rows[i].ok);
}

static void lists(void **state)
{
	struct rpc_meta m = {.n = 0};
	struct mica_slice name, value;
	size_t at = 0;
	(void)state;
	mica_buf_init(&m.b, 24);
	assert_true(rpc_meta_put(&m, MICA_LIT("a"), MICA_LIT("bcd")));
	assert_true(rpc_meta_put(&m, MICA_LIT("e"), MICA_SLICE_NULL));
	assert_false(rpc_meta_put(&m, MICA_LIT("too"), MICA_LIT("much for it")));
	assert_int_equal(m.n, 2);
	assert_true(rpc_meta_next(&m, &at, &name, &value));
	assert_true(mica_slice_eq_str(name, "a") && mica_slice_eq_str(value, "bcd"));
	assert_true(rpc_meta_next(&m, &at, &name, &value));
	assert_true(mica_slice_eq_str(name, "e") && value.len == 0);
	assert_false(rpc_meta_next(&m, &at, &name, &value));
	mica_buf_clear(&m.b);
}

static void percent(void **state)
{
	MICA_AUTO_BUF b;
	(void)state;
	mica_buf_init(&b, 100);
	rpc_percent_encode(MICA_LIT(" a~%\t\n\x7f\xc3\xa4"), &b);
	assert_string_equal((const char *)b.p, " a~%25%09%0A%7F%C3%A4");
}

/* The longest text in its worst coding still makes trailers that fit. */
static void longest_status(void **state)
{
	struct mica_err e = MICA_ERR_INIT;
	struct rpc_meta m = {.n = 0};
	struct mica_slice name, value;
	MICA_AUTO_BUF text;
	size_t at = 0;
	unsigned found = 0;
	(void)state;
	mica_buf_init(&text, 1024);
	for (unsigned i = 0; i < 255; i++)
		mica_buf_put_str(&text, "\xc3\xa4");
	mica_fail(&e, MICA_LIMIT, "a_reason", "%s", (const char *)text.p);
	e.retry_after = 1;
	mica_buf_init(&m.b, RPC_META_MAX);
	rpc_status_put(&m, MICA_RPC_RESOURCE_EXHAUSTED, &e, "domain.example");
	while (rpc_meta_next(&m, &at, &name, &value))
		found += value.len > 0;
	assert_int_equal(found, 3);
	assert_false(m.b.over);
	mica_buf_clear(&m.b);
}

static void options_and_services(void **state)
{
	static void (*const f)(void *, struct mica_rpc_call *, struct mica_slice) =
		(void (*)(void *, struct mica_rpc_call *, struct mica_slice))abort;
	const struct mica_rpc_method good = {.name = "M", .call = f}, none = {.name = "M"},
				     bidi = {.name = "M", .kind = MICA_RPC_BIDI, .call = f};
	const struct mica_rpc_method twice[] = {good, good};
	const struct {
		struct mica_rpc_service s;
		bool ok;
	} rows[] = {{{.name = "a.S", .methods = &good, .n_methods = 1}, true},
		{{.name = "", .methods = &good, .n_methods = 1}, false}, {{.name = "a.S"}, false},
		{{.name = "a.S", .methods = &none, .n_methods = 1}, false},
		{{.name = "a.S", .methods = &bidi, .n_methods = 1}, false},
		{{.name = "a.S", .methods = twice, .n_methods = 2}, false},
		{{.name = "a.S",
			 .methods = &good,
			 .n_methods = 1,
			 .descriptors = MICA_LIT("\x0a\x7fjunk")},
			false}};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(rows); i++) {
		struct mica_rpc_options o;
		struct rpc_core *k = NULL;
		struct mica_err e = MICA_ERR_INIT;
		bool service;
		mica_rpc_options_init(&o);
		o.services = &rows[i].s;
		o.n_services = 1;
		o.reflection = true;
		if (!rows[i].ok) {
			assert_int_equal(rpc_core_new(&o, 1, &k, &e), MICA_INVALID);
			assert_string_equal(e.reason, "service_invalid");
			continue;
		}
		assert_int_equal(rpc_core_new(&o, 1, &k, &e), MICA_OK);
		assert_non_null(rpc_core_find(k, MICA_LIT("/a.S/M"), &service));
		assert_null(rpc_core_find(k, MICA_LIT("/a.S/"), &service));
		assert_true(service);
		assert_null(rpc_core_find(k, MICA_LIT("/a.S/MM"), &service));
		assert_true(service);
		assert_null(rpc_core_find(k, MICA_LIT("/a.SS/M"), &service));
		assert_false(service);
		assert_null(rpc_core_find(k, MICA_LIT("/"), &service));
		assert_false(service);
		assert_null(rpc_core_find(k, MICA_LIT(""), &service));
		assert_false(service);
		rpc_core_unref(k);
	}
}

/* Plaintext is for loopback alone, and what cannot be listened on says so. */
static void listeners(void **state)
{
	static const struct {
		struct mica_rpc_listener l;
		mica_rc rc;
		const char *reason;
	} rows[] = {{{.host = "0.0.0.0"}, MICA_INVALID, "listen_address"},
		{{.host = "::"}, MICA_INVALID, "listen_address"},
		{{.host = "localhost"}, MICA_INVALID, "listen_address"},
		{{.host = ""}, MICA_INVALID, "listen_address"},
		{{.unix_path = ""}, MICA_INVALID, "listen_address"},
		{{.unix_path = "/no/such/folder/s", .unix_gid = -1}, MICA_NOT_FOUND,
			"no_such_file"},
		{{.host = "127.0.0.1"}, MICA_OK, NULL}};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(rows); i++) {
		struct mica_rpc_server *s = NULL;
		struct mica_rpc_options o;
		struct mica_err e = MICA_ERR_INIT;
		mica_rpc_options_init(&o);
		o.listeners = &rows[i].l;
		o.n_listeners = 1;
		assert_int_equal(mica_rpc_server_new(&o, &s, &e), rows[i].rc);
		if (rows[i].reason)
			assert_string_equal(e.reason, rows[i].reason);
		else
			assert_memory_equal(mica_rpc_server_address(s, 0), "127.0.0.1:", 10);
		mica_rpc_server_stop(s, 1000);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(content_types),
		cmocka_unit_test(timeouts), cmocka_unit_test(framing_in_pieces),
		cmocka_unit_test(bad_frames), cmocka_unit_test(bin_headers),
		cmocka_unit_test(metadata_names), cmocka_unit_test(lists),
		cmocka_unit_test(percent), cmocka_unit_test(longest_status),
		cmocka_unit_test(options_and_services), cmocka_unit_test(listeners)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
