/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The short way of reading claims takes what kube-apiserver writes, and leaves whatever has a
 * second form or a doubtful meaning to the long way. That both say the same is the fuzzer's
 * (fuzz_token).
 */
#include "tokens.h"

#include "mica/file.h"

#include "token.h" /* ca/ */

#define REF     "{\"name\":\"a\",\"uid\":\"u\"}"
#define CLUSTER "\"kubernetes.io\":{\"namespace\":\"n\",\"pod\":" REF ",\"serviceaccount\":" REF "}"
#define TIMES   "\"exp\":1795625359,\"iat\":1795621759"
#define ISS_    "\"iss\":\"https://a\""

static void ordinary_claims_are_read(void **state)
{
	const char *text = "{\"aud\":[\"mica\",\"other\"]," TIMES "," ISS_ ",\"jti\":\"j\"," CLUSTER
			   ",\"nbf\":1795621760,\"sub\":\"s\"}";
	struct token_plain p;

	(void)state;
	assert_true(mica_token_plain_read(mica_slice_str(text), &p));
	assert_true(mica_slice_eq_str(p.iss, "https://a") && mica_slice_eq_str(p.jti, "j"));
	assert_true(mica_slice_eq_str(p.sub, "s") && mica_slice_eq_str(p.ns, "n"));
	assert_int_equal(p.n_aud, 2);
	assert_true(mica_slice_eq_str(p.aud[0], "mica") && mica_slice_eq_str(p.aud[1], "other"));
	assert_int_equal(p.exp, 1795625359);
	assert_int_equal(p.iat, 1795621759);
	assert_int_equal(p.nbf, 1795621760);
	assert_true(p.warnafter == 0 && p.node.name.len == 0);
	assert_true(mica_slice_eq_str(p.pod.name, "a") && mica_slice_eq_str(p.sa.uid, "u"));
}

static void anything_else_goes_the_long_way(void **state)
{
	static const char *const cases[] = {"", "{", "{}", "[]", "null", "{" TIMES "}", "{" ISS_,
		"{" ISS_ "} ", " {" ISS_ "}", "{" ISS_ " }", "{ " ISS_ "}", "{" ISS_ ",}",
		"{" ISS_ "}{}", "{" ISS_ "," ISS_ "}", "{\"iss\" :\"https://a\"}",
		"{\"iss\": \"https://a\"}", "{\"iss\":\"\"}", "{\"iss\":7}", "{\"iss\":null}",
		"{\"iss\":\"https:\\/\\/a\"}", "{\"\\u0069ss\":\"https://a\"}",
		"{\"iss\":\"https://\xc3\xa4\"}", "{\"iss\":\"https://a\x7f\"}",
		"{\"iss\":\"https://a\n\"}", "{" ISS_ ",\"email\":\"x\"}",
		"{" ISS_ ",\"kubernetes.io/serviceaccount/namespace\":\"n\"}",
		"{" ISS_ ",\"exp\":0}", "{" ISS_ ",\"exp\":-1}", "{" ISS_ ",\"exp\":01}",
		"{" ISS_ ",\"exp\":1.0}", "{" ISS_ ",\"exp\":1e9}", "{" ISS_ ",\"exp\":\"1\"}",
		"{" ISS_ ",\"exp\":253402300800}", "{" ISS_ ",\"exp\":1000000000000}",
		"{" ISS_ ",\"exp\":99999999999999999999}", "{" ISS_ ",\"aud\":[]}",
		"{" ISS_ ",\"aud\":[\"a\",]}", "{" ISS_ ",\"aud\":[\"a\" ,\"b\"]}",
		"{" ISS_ ",\"aud\":[[\"a\"]]}", "{" ISS_ ",\"aud\":\"\"}",
		"{" ISS_ ",\"aud\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"10\","
		"\"11\",\"12\",\"13\",\"14\",\"15\",\"16\",\"17\"]}",
		"{" ISS_ ",\"kubernetes.io\":{}}", "{" ISS_ ",\"kubernetes.io\":[]}",
		"{" ISS_ ",\"kubernetes.io\":{\"namespace\":\"n\",\"secret\":" REF "}}",
		"{" ISS_ ",\"kubernetes.io\":{\"pod\":" REF ",\"pod\":" REF "}}",
		"{" ISS_ ",\"kubernetes.io\":{\"pod\":{\"uid\":\"u\"}}}",
		"{" ISS_ ",\"kubernetes.io\":{\"pod\":{\"name\":\"a\",\"uid\":\"u\",\"x\":\"\"}}}",
		"{" ISS_ ",\"kubernetes.io\":{\"pod\":{\"name\":\"a\",\"name\":\"b\"}}}",
		"{" ISS_ ",\"kubernetes.io\":{\"pod\":null}}"};
	struct token_plain p;

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++)
		if (mica_token_plain_read(mica_slice_str(cases[i]), &p))
			fail_msg("%s was read", cases[i]);
	assert_false(mica_token_plain_read(MICA_LIT("{" ISS_ "}\0"), &p));
}

/* A shape that no real token has would be worth nothing. */
static void tokens_of_a_real_server_are_ordinary(void **state)
{
	const char *top = mica_env("MICA_SRCDIR");
	const struct mica_json_limits lim = {.bytes = 1 << 20};
	unsigned ordinary = 0;
	size_t i;
	json_t *v;
	MICA_AUTO_BUF text;
	MICA_AUTO_JSON d = {.root = NULL};

	(void)state;
	mica_buf_init(&text, 1 << 20);
	assert_ok(mica_file_read(
		tk_printf("%s/tests/data/kube/tokens.json", top ? top : "."), &text, e));
	assert_ok(mica_json_parse(mica_buf_slice(&text), &lim, &d, e));
	json_array_foreach (json_object_get(d.root, "tokens"), i, v) {
		struct mica_slice rest = mica_json_str(json_object_get(v, "token")), part;
		uint8_t payload[MICA_TOKEN_MAX];
		size_t len = sizeof(payload);
		struct token_plain p;

		assert_true(mica_slice_cut(&rest, '.', &part) && mica_slice_cut(&rest, '.', &part));
		assert_int_equal(mica_b64url_decode(part, payload, &len), MICA_OK);
		ordinary += mica_token_plain_read(mica_slice(payload, len), &p);
	}
	assert_true(i > 0 && ordinary * 2 > i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ordinary_claims_are_read),
		cmocka_unit_test(anything_else_goes_the_long_way),
		cmocka_unit_test_teardown(tokens_of_a_real_server_are_ordinary, tk_empty_bin),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
