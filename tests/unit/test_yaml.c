/* SPDX-License-Identifier: Apache-2.0 */
/* YAML by schema: a small configuration with everything that ours has. */
#include "mica/yaml.h"
#include "mica/buf.h"

#include <setjmp.h>
#include <stdio.h>
#include <cmocka.h>

enum mode { NEVER, ONCE, ALWAYS };

struct issuer {
	char *name;
	enum mode review;
	char **audiences;
	unsigned audiences_count;
};
struct conf {
	char *trust_domain;
	struct {
		char *listen;
		uint16_t workers;
		bool strict;
	} https;
	int8_t small;
	struct issuer *issuers;
	unsigned issuers_count;
	char *comment;
};

static const cyaml_strval_t modes[] = {{"never", NEVER}, {"first-use", ONCE}, {"always", ALWAYS}};
static const cyaml_schema_value_t audience = {CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 1, 32)};
static const cyaml_schema_field_t issuer_fields[] = {
	CYAML_FIELD_STRING_PTR("name", CYAML_FLAG_POINTER, struct issuer, name, 1, 8),
	CYAML_FIELD_ENUM("review", CYAML_FLAG_OPTIONAL, struct issuer, review, modes, 3),
	CYAML_FIELD_SEQUENCE(
		"audiences", CYAML_FLAG_POINTER, struct issuer, audiences, &audience, 1, 2),
	CYAML_FIELD_END};
static const cyaml_schema_value_t issuer = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct issuer, issuer_fields)};
static const cyaml_schema_field_t https_fields[] = {
	CYAML_FIELD_STRING_PTR(
		"listen", CYAML_FLAG_POINTER, __typeof__(((struct conf *)0)->https), listen, 0, 64),
	CYAML_FIELD_UINT(
		"workers", CYAML_FLAG_OPTIONAL, __typeof__(((struct conf *)0)->https), workers),
	CYAML_FIELD_BOOL(
		"strict", CYAML_FLAG_OPTIONAL, __typeof__(((struct conf *)0)->https), strict),
	CYAML_FIELD_END};
static const cyaml_schema_field_t conf_fields[] = {
	CYAML_FIELD_STRING_PTR(
		"trust_domain", CYAML_FLAG_POINTER, struct conf, trust_domain, 1, 255),
	CYAML_FIELD_MAPPING("https", CYAML_FLAG_OPTIONAL, struct conf, https, https_fields),
	CYAML_FIELD_INT("small", CYAML_FLAG_OPTIONAL, struct conf, small),
	CYAML_FIELD_SEQUENCE("issuers", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct conf,
		issuers, &issuer, 0, 3),
	CYAML_FIELD_STRING_PTR("comment", CYAML_FLAG_POINTER_NULL_STR | CYAML_FLAG_OPTIONAL,
		struct conf, comment, 0, 64),
	CYAML_FIELD_END};
static const cyaml_schema_value_t schema = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct conf, conf_fields)};

static const char whole[] = "# example\n"
			    "trust_domain: example.org\n"
			    "https:\n"
			    "  listen: \"[::]:8443\"\n"
			    "  workers: 4\n"
			    "  strict: true\n"
			    "small: -128\n"
			    "issuers:\n"
			    "- name: k1\n"
			    "  review: first-use\n"
			    "  audiences: [mica, 'a b']\n"
			    "- name: '123'\n"
			    "  audiences:\n"
			    "    - x\n"
			    "comment: ~\n";

static mica_rc load(const char *text, struct conf **c, struct mica_err *e)
{
	void *out;
	mica_rc rc;

	mica_err_clear(e);
	rc = mica_yaml_load(mica_slice_str(text), "micad.yaml", &schema, &out, e);
	*c = out;
	return rc;
}

static void accepted(void **state)
{
	struct mica_err e = MICA_ERR_INIT;
	struct conf *c;

	(void)state;
	assert_int_equal(load(whole, &c, &e), MICA_OK);
	assert_string_equal(c->trust_domain, "example.org");
	assert_string_equal(c->https.listen, "[::]:8443");
	assert_int_equal(c->https.workers, 4);
	assert_true(c->https.strict);
	assert_int_equal(c->small, -128);
	assert_int_equal(c->issuers_count, 2);
	assert_int_equal(c->issuers[0].review, ONCE);
	assert_int_equal(c->issuers[0].audiences_count, 2);
	assert_string_equal(c->issuers[0].audiences[1], "a b");
	assert_string_equal(c->issuers[1].name, "123");
	assert_null(c->comment);
	mica_yaml_free(&schema, c);
	assert_int_equal(load("{trust_domain: x, small: 127, comment: 'null'}", &c, &e), MICA_OK);
	assert_int_equal(c->small, 127);
	assert_int_equal(c->issuers_count, 0);
	mica_yaml_free(&schema, c);
	assert_int_equal(load("\xef\xbb\xbftrust_domain: \xc3\xa9\n...\n", &c, &e), MICA_OK);
	mica_yaml_free(&schema, c);
	mica_yaml_free(&schema, NULL);
}

struct bad {
	const char *text, *reason, *say;
};

/* The text of an error starts with file, line and column, as compilers say it. */
static void refuse(const struct bad *bad, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct mica_err e = MICA_ERR_INIT;
		struct conf *c;
		char place[64];

		assert_int_equal(load(bad[i].text, &c, &e), MICA_INVALID);
		assert_null(c);
		assert_string_equal(e.reason, bad[i].reason);
		assert_string_equal(e.text, bad[i].say);
		snprintf(place, sizeof(place), "micad.yaml:%d:%d: ", e.line, e.column);
		assert_memory_equal(e.text, place, strlen(place));
	}
}

static void schema_errors(void **state)
{
	static const struct bad bad[] = {
		{"trust_domain: x\nhtps: {}\n", "yaml_schema",
			"micad.yaml:2:1: unknown key \"htps\", expected one of trust_domain, https, small, "
			"issuers, comment"},
		{"trust_domain: x\nhttps:\n  lisen: y\n", "yaml_schema",
			"micad.yaml:3:3: https: unknown key \"lisen\", expected one of listen, workers, strict"},
		{"small: 1\n", "yaml_schema",
			"micad.yaml:1:1: the key \"trust_domain\" is missing"},
		{"trust_domain: x\nissuers:\n- name: a\n  audiences: [b]\n- audiences: [b]\n",
			"yaml_schema", "micad.yaml:5:3: issuers[1]: the key \"name\" is missing"},
		{"trust_domain: [x]\n", "yaml_schema",
			"micad.yaml:1:15: trust_domain: expected a string, found a list"},
		{"trust_domain:\n", "yaml_schema",
			"micad.yaml:1:14: trust_domain: expected a string, found nothing"},
		{"trust_domain: null\n", "yaml_schema",
			"micad.yaml:1:15: trust_domain: expected a string, found a single value"},
		{"trust_domain: ''\n", "yaml_schema",
			"micad.yaml:1:15: trust_domain: expected at least 1 characters, found 0"},
		{"trust_domain: x\nhttps: on\n", "yaml_schema",
			"micad.yaml:2:8: https: expected a mapping, found a single value"},
		{"trust_domain: x\nissuers: {}\n", "yaml_schema",
			"micad.yaml:2:10: issuers: expected a list, found a mapping"},
		{"trust_domain: x\nissuers:\n- name: a\n  audiences: [b]\n  review: sometimes\n",
			"yaml_schema",
			"micad.yaml:5:11: issuers[0].review: expected one of never, first-use, always, found "
			"\"sometimes\""},
		{"trust_domain: x\nissuers:\n- name: a\n  audiences: []\n", "yaml_schema",
			"micad.yaml:4:14: issuers[0].audiences: expected at least 1 entries, found 0"},
		{"trust_domain: x\nissuers:\n- name: a\n  audiences: [a, b, c]\n", "yaml_schema",
			"micad.yaml:4:14: issuers[0].audiences: expected at most 2 entries, found 3"},
		{"trust_domain: x\nissuers:\n- name: a\n  audiences: [a, '']\n", "yaml_schema",
			"micad.yaml:4:18: issuers[0].audiences[1]: expected at least 1 characters, found 0"},
		{"trust_domain: x\nhttps: {listen: y, strict: flase}\n", "yaml_schema",
			"micad.yaml:2:28: https.strict: expected true or false, found \"flase\""},
		{"trust_domain: x\nhttps: {listen: y, strict: 'true'}\n", "yaml_schema",
			"micad.yaml:2:28: https.strict: expected true or false, found \"true\" in quotes"},
		{"trust_domain: x\nhttps: {listen: y, strict: yes}\n", "yaml_schema",
			"micad.yaml:2:28: https.strict: expected true or false, found \"yes\""},
		{"- x\n", "yaml_schema", "micad.yaml:1:1: expected a mapping, found a list"},
		{"just words\n", "yaml_schema",
			"micad.yaml:1:1: expected a mapping, found a single value"},
	};

	(void)state;
	refuse(bad, MICA_ARRAY_LEN(bad));
}

static void numbers(void **state)
{
	static const char *const bad[] = {"65536", "-1", "010", "0x10", "1e3", "1.0", "+1", "''",
		"~", "1_000", "99999999999999999999", "'4'", "four"};
	static const char *const small[] = {"128", "-129", "-0"};
	struct mica_err e = MICA_ERR_INIT;
	struct conf *c;
	char text[128];

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(bad); i++) {
		snprintf(text, sizeof(text), "trust_domain: x\nhttps: {listen: y, workers: %s}\n",
			bad[i]);
		assert_int_equal(load(text, &c, &e), MICA_INVALID);
		assert_non_null(strstr(e.text, "https.workers: expected a whole number"));
	}
	for (size_t i = 0; i < MICA_ARRAY_LEN(small); i++) {
		snprintf(text, sizeof(text), "trust_domain: x\nsmall: %s\n", small[i]);
		assert_int_equal(load(text, &c, &e), MICA_INVALID);
		assert_non_null(strstr(e.text, "small: expected a whole number from -128 to 127"));
	}
	assert_int_equal(
		load("trust_domain: x\nhttps: {listen: y, workers: 65535}\n", &c, &e), MICA_OK);
	assert_int_equal(c->https.workers, 65535);
	mica_yaml_free(&schema, c);
}

static void syntax_errors(void **state)
{
	static const struct bad bad[] = {
		{"", "yaml_syntax", "micad.yaml:1:1: the text is empty, expected a mapping"},
		{"# only a comment\n", "yaml_syntax",
			"micad.yaml:2:1: the text is empty, expected a mapping"},
		{"a: 1\nb: 2\na: 3\n", "yaml_syntax",
			"micad.yaml:3:1: the key \"a\" appears twice, first in line 1"},
		{"a: {b: 1, b: 2}\n", "yaml_syntax",
			"micad.yaml:1:11: the key \"b\" appears twice, first in line 1"},
		{"a: &x 1\n", "yaml_syntax",
			"micad.yaml:1:4: anchors are not accepted, write the value out"},
		{"a: *x\n", "yaml_syntax",
			"micad.yaml:1:4: aliases are not accepted, write the value out"},
		{"a: !!str 1\n", "yaml_syntax", "micad.yaml:1:4: tags are not accepted"},
		{"a: !x [1]\n", "yaml_syntax", "micad.yaml:1:4: tags are not accepted"},
		{"&k a: 1\n", "yaml_syntax",
			"micad.yaml:1:1: anchors are not accepted, write the value out"},
		{"a: 1\n---\na: 2\n", "yaml_syntax",
			"micad.yaml:2:1: a second document is not accepted"},
		{"%TAG ! tag:x,2000:\n---\na: 1\n", "yaml_syntax",
			"micad.yaml:1:1: directives are not accepted"},
		{"? [a]\n: 1\n", "yaml_syntax", "micad.yaml:1:3: expected a plain key"},
		{"a: \"\\0\"\n", "yaml_syntax", "micad.yaml:1:4: a value holds a NUL character"},
		{"\"a\\0b\": 1\n", "yaml_syntax", "micad.yaml:1:1: a value holds a NUL character"},
		{"a: [[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]\n", "yaml_syntax",
			"micad.yaml:1:19: nested deeper than 16 levels"},
	};
	static const char *const more[] = {"a: [1\n", "a: 1\n b: 2\n", "\ta: 1\n", "a: 'x\n",
		"a: @x\n", "a: b: c\n", "a: }\n", "{a: 1", "\x01", "%YAML 3.0\n---\na: 1\n"};

	(void)state;
	refuse(bad, MICA_ARRAY_LEN(bad));
	for (size_t i = 0; i < MICA_ARRAY_LEN(more); i++) {
		struct mica_err e = MICA_ERR_INIT;
		struct conf *c;

		assert_int_equal(load(more[i], &c, &e), MICA_INVALID);
		assert_string_equal(e.reason, "yaml_syntax");
		assert_true(e.line > 0 && e.column > 0);
	}
}

static void hostile(void **state)
{
	static const char laughs[] = "a: &a [x, x, x, x]\nb: &b [*a, *a, *a, *a]\n";
	static const char *const units[] = {
		"[", "{a: ", "- ", "? ", "a: ", "a:\n ", "\"", "k: 1\n"};
	struct mica_err e = MICA_ERR_INIT;
	void *out;

	(void)state;
	assert_int_equal(mica_yaml_load(MICA_LIT(laughs), NULL, &schema, &out, &e), MICA_INVALID);
	assert_string_equal(e.text, "1:4: anchors are not accepted, write the value out");
	for (size_t i = 0; i < MICA_ARRAY_LEN(units); i++) {
		MICA_AUTO_BUF b;

		mica_buf_init(&b, 16384);
		while (b.len + strlen(units[i]) <= 16384)
			mica_buf_put_str(&b, units[i]);
		mica_err_clear(&e);
		assert_int_equal(
			mica_yaml_load(mica_buf_slice(&b), "x", &schema, &out, &e), MICA_INVALID);
	}
	mica_err_clear(&e);
	assert_int_equal(
		mica_yaml_load(MICA_LIT("a: \xff\n"), "x", &schema, &out, &e), MICA_INVALID);
	mica_err_clear(&e);
	/* UTF-16 with its mark: libyaml would take it, and nobody else here would */
	assert_int_equal(mica_yaml_load(MICA_LIT("\xff\xfe"
						 "a\0:\0 \0"
						 "1\0"),
				 "x", &schema, &out, &e),
		MICA_INVALID);
}

static void too_many(void **state)
{
	struct mica_err e = MICA_ERR_INIT;
	MICA_AUTO_BUF b;
	void *out;

	(void)state;
	mica_buf_init(&b, 300 * 1024);
	for (int i = 0; i < 1025; i++)
		mica_buf_printf(&b, "k%d: 1\n", i);
	assert_int_equal(mica_yaml_load(mica_buf_slice(&b), "x", &schema, &out, &e), MICA_INVALID);
	assert_string_equal(e.text, "x:1025:1: more than 1024 keys in one mapping");
	mica_err_clear(&e);
	while (b.len <= 256 * 1024)
		mica_buf_put_str(&b, "# padding\n");
	assert_int_equal(mica_yaml_load(mica_buf_slice(&b), "x", &schema, &out, &e), MICA_LIMIT);
	assert_string_equal(e.reason, "yaml_too_long");
}

static void locate(void **state)
{
	static const struct {
		const char *path;
		int line, column; /* 0 = absent */
	} cases[] = {{"", 2, 1}, {"trust_domain", 2, 15}, {"https", 4, 3}, {"https.workers", 5, 12},
		{"issuers", 9, 1}, {"issuers[0]", 9, 3}, {"issuers[1].name", 12, 9},
		{"issuers[0].audiences[1]", 11, 21}, {"issuers[1].audiences[0]", 14, 7},
		{"issuers[2]", 0, 0}, {"issuers.name", 0, 0}, {"https[0]", 0, 0}, {"nothing", 0, 0},
		{"https.", 0, 0}, {"issuers[", 0, 0}, {"issuers[]", 0, 0}, {"issuers[-1]", 0, 0},
		{"issuers[1", 0, 0}, {"trust_domain.x", 0, 0}, {".", 0, 0},
		{"issuers[99999999999999999999]", 0, 0}};

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++) {
		int line = -1, column = -1;

		if (mica_yaml_locate(MICA_LIT(whole), cases[i].path, &line, &column) !=
				(cases[i].line > 0) ||
			line != cases[i].line || column != cases[i].column)
			fail_msg("%s: %d:%d", cases[i].path, line, column);
	}
	int line, column;
	assert_false(mica_yaml_locate(MICA_LIT("a: ["), "a", &line, &column));
}

static void doc_has_pairs(void **state)
{
	static const char text[] = "own:\n"
				   "  b.c: x\n"
				   "  a: 'y z'\n"
				   "none:\n"
				   "list: [1]\n"
				   "deep: {k: {m: 1}}\n"
				   "empty: {k: }\n";
	static const struct {
		const char *path;
		int line, column;
		const char *say;
	} bad[] = {
		{"list", 5, 7, "f:5:7: list: expected a mapping, found a list"},
		{"deep", 6, 11, "f:6:11: deep.k: expected a string, found a mapping"},
		{"empty", 7, 12, "f:7:12: empty.k: expected a string, found nothing"},
	};
	struct mica_yaml_doc *d = NULL;
	struct mica_yaml_pair pairs[2];
	struct mica_err e = MICA_ERR_INIT;
	unsigned n = 2;
	int line, column;

	(void)state;
	assert_int_equal(mica_yaml_doc_new(MICA_LIT(text), "f", &d, NULL), MICA_OK);
	assert_int_equal(mica_yaml_doc_pairs(d, "own", pairs, &n, NULL), MICA_OK);
	assert_int_equal(n, 2);
	assert_string_equal(pairs[0].key, "b.c");
	assert_string_equal(pairs[0].value, "x");
	assert_int_equal(pairs[0].line, 2);
	assert_int_equal(pairs[0].column, 3);
	assert_string_equal(pairs[1].value, "y z");
	for (size_t i = 0; i < 2; i++, n = 2) {
		assert_int_equal(
			mica_yaml_doc_pairs(d, i ? "none" : "absent", pairs, &n, NULL), MICA_OK);
		assert_int_equal(n, 0);
	}
	for (size_t i = 0; i < MICA_ARRAY_LEN(bad); i++, n = 2) {
		mica_err_clear(&e);
		assert_int_equal(mica_yaml_doc_pairs(d, bad[i].path, pairs, &n, &e), MICA_INVALID);
		assert_string_equal(e.reason, "yaml_schema");
		assert_string_equal(e.text, bad[i].say);
		assert_int_equal(e.line, bad[i].line);
		assert_int_equal(e.column, bad[i].column);
	}
	n = 1;
	mica_err_clear(&e);
	assert_int_equal(mica_yaml_doc_pairs(d, "own", pairs, &n, &e), MICA_INVALID);
	assert_string_equal(e.text, "f:2:3: own: expected at most 1 entries, found 2");
	assert_true(mica_yaml_doc_locate(d, "deep.k.m", &line, &column));
	assert_int_equal(line, 6);
	assert_false(mica_yaml_doc_locate(d, "deep.x", &line, &column));
	mica_yaml_doc_free(d);
	mica_yaml_doc_free(NULL);
	assert_int_equal(mica_yaml_doc_new(MICA_LIT("a: ["), "f", &d, &e), MICA_INVALID);
	assert_null(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accepted),
		cmocka_unit_test(schema_errors),
		cmocka_unit_test(numbers),
		cmocka_unit_test(syntax_errors),
		cmocka_unit_test(hostile),
		cmocka_unit_test(too_many),
		cmocka_unit_test(locate),
		cmocka_unit_test(doc_has_pairs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
