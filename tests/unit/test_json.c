/* SPDX-License-Identifier: Apache-2.0 */
/* JSON: what is refused, and that every refusal names the place. */
#include "mica/json.h"
#include "mica/buf.h"

#include <setjmp.h>
#include <stdio.h>
#include <cmocka.h>

static mica_rc parse(const char *text, struct mica_json *d, struct mica_err *e)
{
	mica_err_clear(e);
	return mica_json_parse(mica_slice_str(text), NULL, d, e);
}

static void accepted(void **state)
{
	static const char *const good[] = {"0", "\"x\"", "null", "true", " [ ] ", "{}", "-1", "1.5",
		"{\"a\":{\"b\":[1,2,{\"c\":null}]}}", "\"\\u00e9\\ud83d\\ude00\"",
		"\"\xf0\x9f\x98\x80\"", "9223372036854775807",
		"[\"]]]]]]]]]]]]]]]]]]]]]]]]\\\"[[[[[[[[[[[[[[[[[[[[[[[[\"]",
		"[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]"};

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(good); i++) {
		MICA_AUTO_JSON d;
		struct mica_err e = MICA_ERR_INIT;

		assert_int_equal(parse(good[i], &d, &e), MICA_OK);
		assert_non_null(d.root);
	}
}

static void refused(void **state)
{
	static const struct {
		const char *text;
		int line, column;
	} bad[] = {{"", 1, 1}, {" ", 1, 1}, {"{", 1, 1}, {"[1,]", 1, 4}, {"[1] 2", 1, 5},
		{"{\"a\":1,\n \"a\":2}", 2, 4}, {"\xef\xbb\xbf{}", 1, 1}, {"{'a':1}", 1, 2},
		{"[\"\\u0000\"]", 1, 2}, {"{\"\\u0000\":1}", 1, 2}, {"\"\\ud800\"", 1, 1},
		{"\"\xff\"", 1, 2}, {"\"\xc0\x80\"", 1, 2}, {"\"\xed\xa0\x80\"", 1, 2},
		{"\"\xf4\x90\x80\x80\"", 1, 2}, {"\"\xe2\x82\"", 1, 2}, {"[01]", 1, 3},
		{"[+1]", 1, 2}, {"[1.]", 1, 2}, {"[.5]", 1, 2}, {"[NaN]", 1, 2},
		{"[9223372036854775808]", 1, 2}, {"[1e999]", 1, 2}, {"[True]", 1, 2},
		{"\"a\nb\"", 1, 1}, {"[1] // c", 1, 5},
		{"[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]", 1, 17}, {"{\"a\":1}}", 1, 8},
		{"{\"\\u0061\":1,\"a\":2}", 1, 13}};

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(bad); i++) {
		MICA_AUTO_JSON d;
		struct mica_err e = MICA_ERR_INIT;

		assert_int_equal(parse(bad[i].text, &d, &e), MICA_INVALID);
		assert_null(d.root);
		assert_string_equal(e.reason, "json_syntax");
		if (e.line != bad[i].line || e.column < 1)
			fail_msg("case %zu: %s at %d:%d", i, e.text, e.line, e.column);
	}
}

static void refused_bytes(void **state)
{
	struct mica_err e = MICA_ERR_INIT;
	MICA_AUTO_JSON d;

	(void)state;
	assert_int_equal(mica_json_parse(mica_slice("[1]\0", 4), NULL, &d, &e), MICA_INVALID);
	assert_int_equal(e.column, 4);
	assert_non_null(strstr(e.text, "NUL"));
}

static void limits(void **state)
{
	const struct mica_json_limits tight = {.bytes = 8, .depth = 2};
	struct mica_err e = MICA_ERR_INIT;
	MICA_AUTO_JSON d;

	(void)state;
	assert_int_equal(mica_json_parse(MICA_LIT("[123456]"), &tight, &d, &e), MICA_OK);
	mica_json_clear(&d);
	assert_int_equal(mica_json_parse(MICA_LIT("[1234567]"), &tight, &d, &e), MICA_LIMIT);
	assert_string_equal(e.reason, "json_too_long");
	mica_err_clear(&e);
	assert_int_equal(mica_json_parse(MICA_LIT("[[[1]]]"), &tight, &d, &e), MICA_INVALID);
	assert_int_equal(e.column, 3);
}

/* 64 KiB of brackets, open and closed, in strings and not, must cost nothing. */
static void depth_bomb(void **state)
{
	static const char *const units[] = {"[", "{\"a\":", "[{\"a\":", "]", "\"[", "\\[\""};

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(units); i++) {
		struct mica_err e = MICA_ERR_INIT;
		MICA_AUTO_JSON d;
		MICA_AUTO_BUF b;

		mica_buf_init(&b, 65536);
		while (b.len + strlen(units[i]) <= 65536)
			mica_buf_put_str(&b, units[i]);
		assert_int_equal(mica_json_parse(mica_buf_slice(&b), NULL, &d, &e), MICA_INVALID);
		assert_string_equal(e.reason, "json_syntax");
	}
}

/* A syntax error never quotes its input: it could be a token in the wrong place. */
static void no_secret_in_errors(void **state)
{
	struct mica_err e = MICA_ERR_INIT;
	MICA_AUTO_JSON d;

	(void)state;
	assert_int_equal(parse("{\"token\": eyJhbGciOi}", &d, &e), MICA_INVALID);
	assert_null(strstr(e.text, "eyJ"));
	assert_string_equal(e.text, "line 1 column 20: not valid JSON");
}

struct got {
	struct mica_slice name;
	int64_t ttl;
	bool on, on_set, ttl_set;
	json_t *list, *object, *any;
};

static mica_rc read_root(const char *text, struct got *g, bool open, struct mica_err *e)
{
	const struct mica_json_member members[] = {
		{.name = "name",
			.type = MICA_JSON_STRING,
			.required = true,
			.min = 1,
			.max = 4,
			.out = &g->name},
		{.name = "ttl",
			.type = MICA_JSON_INT,
			.min = 1,
			.max = 60,
			.out = &g->ttl,
			.present = &g->ttl_set},
		{.name = "on", .type = MICA_JSON_BOOL, .out = &g->on, .present = &g->on_set},
		{.name = "list", .type = MICA_JSON_ARRAY, .max = 2, .out = &g->list},
		{.name = "object", .type = MICA_JSON_OBJECT, .out = &g->object},
		{.name = "any", .type = MICA_JSON_ANY, .out = &g->any},
	};
	MICA_AUTO_JSON d;
	mica_rc rc;

	*g = (struct got){.ttl = 30};
	mica_err_clear(e);
	assert_int_equal(mica_json_parse(mica_slice_str(text), NULL, &d, e), MICA_OK);
	rc = mica_json_read(&d, d.root, "", members, MICA_ARRAY_LEN(members), open, e);
	if (rc == MICA_OK)
		assert_true(mica_slice_eq_str(g->name, "x"));
	return rc;
}

static void reading(void **state)
{
	struct mica_err e = MICA_ERR_INIT;
	struct got g;

	(void)state;
	assert_int_equal(read_root("{\"name\":\"x\"}", &g, false, &e), MICA_OK);
	assert_true(g.ttl == 30 && !g.ttl_set && !g.on_set && !g.list);
	assert_int_equal(
		read_root("{\"name\":\"x\",\"ttl\":60,\"on\":true,\"list\":[1,2],\"object\":{},"
			  "\"any\":null}",
			&g, false, &e),
		MICA_OK);
	assert_true(g.ttl == 60 && g.ttl_set && g.on && g.on_set && g.list && g.object && g.any);
	assert_int_equal(read_root("{\"name\":\"x\",\"more\":1}", &g, true, &e), MICA_OK);
}

static void reading_refused(void **state)
{
	static const struct {
		const char *text, *reason, *say;
		int line, column;
	} bad[] = {
		{"[]", "json_type", "expected an object, found an array", 1, 1},
		{"{}", "json_missing_member", "the member \"name\" is missing, expected a string",
			1, 1},
		{"{\"name\":\"x\",\n  \"nmae\": 1}", "json_unknown_member",
			"nmae: unknown member, expected one that is documented", 2, 3},
		{"{\"name\":\"x\",\n  \"ttl\": \"1h\"}", "json_type",
			"ttl: expected an integer, found a string", 2, 10},
		{"{\"name\":\"x\",\"ttl\":1.0}", "json_type",
			"ttl: expected an integer, found a fraction", 1, 19},
		{"{\"name\":null}", "json_type", "name: expected a string, found null", 1, 9},
		{"{\"any\":true,\"on\":true,\"name\":true}", "json_type",
			"name: expected a string, found true", 1, 30},
		{"{\"name\":\"\"}", "json_range", "name: expected 1 to 4 bytes, found 0", 1, 9},
		{"{\"name\":\"12345\"}", "json_range", "name: expected 1 to 4 bytes, found 5", 1,
			9},
		{"{\"name\":\"x\",\"ttl\":61}", "json_range", "ttl: expected 1 to 60, found 61", 1,
			19},
		{"{\"name\":\"x\",\"ttl\":0}", "json_range", "ttl: expected 1 to 60, found 0", 1,
			19},
		{"{\"name\":\"x\",\"list\":[1,2,3]}", "json_range",
			"list: expected 0 to 2 entries, found 3", 1, 20},
		{"{\"any\":{\"a\\\"}]\":[\"}\",{\"on\":1}]},\"\xc3\xa9\":1,\"name\":\"x\"}",
			"json_unknown_member",
			"\xc3\xa9: unknown member, expected one that is documented", 1, 33},
		{"{\"any\":[\"\\\\\",\"\\\"\", -1.5e3 , true,{}],\"on\" : \"\xf0\x9f\x98\x80\",\"name\":\"x\"}",
			"json_type", "on: expected true or false, found a string", 1, 45},
	};

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(bad); i++) {
		struct mica_err e = MICA_ERR_INIT;
		struct got g;

		assert_int_equal(read_root(bad[i].text, &g, false, &e), MICA_INVALID);
		assert_string_equal(e.reason, bad[i].reason);
		assert_string_equal(e.text, bad[i].say);
		if (e.line != bad[i].line || e.column != bad[i].column)
			fail_msg("case %zu: at %d:%d", i, e.line, e.column);
	}
}

static void path_in_text(void **state)
{
	const struct mica_json_member members[] = {
		{.name = "kid", .type = MICA_JSON_STRING, .required = true}};
	struct mica_err e = MICA_ERR_INIT;
	MICA_AUTO_JSON d;
	const json_t *key;

	(void)state;
	assert_int_equal(parse("{\"keys\":[{\"kid\":\"a\"},\n{\"kid\":7},{}]}", &d, &e), MICA_OK);
	key = json_array_get(json_object_get(d.root, "keys"), 0);
	assert_int_equal(mica_json_read(&d, key, "keys[0]", members, 1, false, &e), MICA_OK);
	key = json_array_get(json_object_get(d.root, "keys"), 1);
	assert_int_equal(mica_json_read(&d, key, "keys[1]", members, 1, false, &e), MICA_INVALID);
	assert_string_equal(e.text, "keys[1].kid: expected a string, found an integer");
	assert_true(e.line == 2 && e.column == 8);
	mica_err_clear(&e);
	key = json_array_get(json_object_get(d.root, "keys"), 2);
	assert_int_equal(mica_json_read(&d, key, "keys[2]", members, 1, false, &e), MICA_INVALID);
	assert_string_equal(e.text, "keys[2]: the member \"kid\" is missing, expected a string");
	assert_true(e.line == 2 && e.column == 11);
}

static void own_errors(void **state)
{
	struct mica_err e = MICA_ERR_INIT;
	MICA_AUTO_JSON d;

	(void)state;
	assert_int_equal(parse("{\"a\":\n  [1, \"x\", true, true, null]}", &d, &e), MICA_OK);
	const json_t *a = json_object_get(d.root, "a");

	assert_int_equal(mica_json_fail(&d, json_array_get(a, 1), &e, "my_reason", "bad %d", 7),
		MICA_INVALID);
	assert_string_equal(e.reason, "my_reason");
	assert_string_equal(e.text, "bad 7");
	assert_true(e.line == 2 && e.column == 7);
	mica_err_clear(&e);
	/* true is one value in jansson: which of the two is meant cannot be known */
	assert_int_equal(mica_json_fail(&d, json_array_get(a, 2), &e, "r", "x"), MICA_INVALID);
	assert_true(e.line == 0 && e.column == 0);
	mica_err_clear(&e);
	assert_int_equal(mica_json_fail(&d, json_array_get(a, 4), &e, "r", "x"), MICA_INVALID);
	assert_true(e.line == 2 && e.column == 24);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accepted),
		cmocka_unit_test(refused),
		cmocka_unit_test(refused_bytes),
		cmocka_unit_test(limits),
		cmocka_unit_test(depth_bomb),
		cmocka_unit_test(no_secret_in_errors),
		cmocka_unit_test(reading),
		cmocka_unit_test(reading_refused),
		cmocka_unit_test(path_in_text),
		cmocka_unit_test(own_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
