/* SPDX-License-Identifier: Apache-2.0 */
/* What requests say, decoded: each bad input has its own reason. */
#include "tokens.h"

#include "server/api_decode.h"

#include "mica/json.h"

/* ---- queries ------------------------------------------------------------------------------- */

static mica_rc parse(
	const char *query, const char *const *names, struct api_params *p, struct mica_err *e)
{
	return api_params_parse(mica_slice_str(query), names, p, e);
}

static mica_rc bundle(const char *query, struct api_bundle_query *q, struct mica_err *e)
{
	struct api_params p;
	mica_rc rc = parse(query, api_bundle_params, &p, e);

	if (rc == MICA_OK)
		rc = api_decode_bundle_query(&p, q, e);
	api_params_clear(&p);
	return rc;
}

static void bundle_queries(void **state)
{
	struct api_bundle_query q;
	(void)state;

	assert_ok(bundle("", &q, e));
	assert_int_equal(q.channel, MICA_CHANNEL_LIVE);
	assert_int_equal(q.wait, 0);
	assert_ok(bundle("wait=60s&channel=canary", &q, e));
	assert_int_equal(q.channel, MICA_CHANNEL_CANARY);
	assert_int_equal(q.wait, 60);
	assert_ok(bundle("wait=1m", &q, e));
	assert_int_equal(q.wait, 60);
	assert_ok(bundle("wait=%35", &q, e));
	assert_int_equal(q.wait, 5);
}

static void bad_queries(void **state)
{
	static const struct {
		const char *query, *reason;
	} cases[] = {
		{"x", "unknown_parameter"},
		{"=1", "unknown_parameter"},
		{"&", "unknown_parameter"},
		{"wait=1&", "unknown_parameter"},
		{"Wait=1", "unknown_parameter"},
		{"wait=1&wait=1", "repeated_parameter"},
		{"channel=live&wait=1&channel=live", "repeated_parameter"},
		{"wait", "bad_parameter"},
		{"wait=", "bad_parameter"},
		{"wait=61", "bad_parameter"},
		{"wait=-1", "bad_parameter"},
		{"wait=1.5", "bad_parameter"},
		{"wait=060", "bad_parameter"},
		{"wait=%3", "bad_parameter"},
		{"wait=%", "bad_parameter"},
		{"wait=%zz", "bad_parameter"},
		{"wait=%00", "bad_parameter"},
		{"wait=%ff", "bad_parameter"},
		{"wait=%c0%80", "bad_parameter"},
		{"wait=1+1", "bad_parameter"},
		{"channel=", "bad_parameter"},
		{"channel=Live", "bad_parameter"},
		{"channel=live%20", "bad_parameter"},
	};
	struct api_bundle_query q;
	(void)state;

	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++) {
		struct mica_err e = MICA_ERR_INIT;
		if (bundle(cases[i].query, &q, &e) != MICA_INVALID ||
			strcmp(e.reason, cases[i].reason) != 0)
			fail_msg("%s: expected %s, got %s", cases[i].query, cases[i].reason,
				e.reason ? e.reason : "ok");
	}
}

static mica_rc events(
	struct api_params *p, const char *query, struct mica_event_query *q, struct mica_err *e)
{
	mica_rc rc = parse(query, api_event_params, p, e);

	return rc == MICA_OK ? api_decode_event_query(p, q, e) : rc;
}

static void event_queries(void **state)
{
	struct mica_event_query q;
	struct api_params p;
	(void)state;

	assert_ok(events(&p, "", &q, e));
	assert_int_equal(q.limit, 0);
	assert_int_equal(
		q.spiffe_id.len + q.pod_uid.len + q.serial.len + q.type.len + q.cursor.len, 0);
	assert_false(q.oldest_first);
	api_params_clear(&p);
	assert_ok(events(&p,
		"spiffe_id=spiffe%3A%2F%2Fexample.org/ns/a/sa/b&pod_uid=" POD_UID
		"&serial=01A20d612000c3d5b1a2978843f1e6aa&type=x509_issued&since=2026-11-24T12:00:00Z"
		"&until=2026-11-24T13%3A00%3A00Z&order=oldest&limit=1000&cursor=abc",
		&q, e));
	assert_true(mica_slice_eq_str(q.spiffe_id, "spiffe://example.org/ns/a/sa/b"));
	assert_true(mica_slice_eq_str(q.pod_uid, POD_UID));
	assert_true(mica_slice_eq_str(q.type, "x509_issued"));
	assert_true(mica_slice_eq_str(q.cursor, "abc"));
	assert_int_equal(q.since, NOW);
	assert_int_equal(q.until, NOW + 3600);
	assert_true(q.oldest_first);
	assert_int_equal(q.limit, 1000);
	api_params_clear(&p);
}

static void bad_event_queries(void **state)
{
	static const char *const cases[] = {"limit=0", "limit=1001", "limit=1e3",
		"limit=", "order=up", "order=", "since=yesterday", "since=2026-11-24",
		"since=2026-11-24T12:00:00+00:00", "until=1795521600", "pod_uid=x",
		"pod_uid=66666666-7777-4888-8999-AAAAAAAAAAAA", "serial=12",
		"serial=", "spiffe_id=payments", "spiffe_id=", "type=", "cursor="};
	(void)state;

	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++) {
		struct mica_err e = MICA_ERR_INIT;
		struct mica_event_query q;
		struct api_params p;
		if (events(&p, cases[i], &q, &e) != MICA_INVALID ||
			strcmp(e.reason, "bad_parameter") != 0)
			fail_msg("%s: %s", cases[i], e.reason ? e.reason : "ok");
		api_params_clear(&p);
	}
}

/* ---- paths and headers --------------------------------------------------------------------- */

static void tile_paths(void **state)
{
	static const struct {
		const char *path;
		bool entries, ok;
		unsigned level, width;
		uint64_t n;
	} cases[] = {
		{"0/000", false, true, 0, 256, 0},
		{"63/x001/x234/567.p/255", false, true, 63, 255, 1234567},
		{"x001/067", true, true, 0, 256, 1067},
		{"000.p/1", true, true, 0, 1, 0},
		{"x018/x446/x744/x073/x709/x551/615", true, true, 0, 256, UINT64_MAX},
		{"x018/x446/x744/x073/x709/x551/616", true, false, 0, 0, 0},
		{"64/000", false, false, 0, 0, 0},
		{"00/000", false, false, 0, 0, 0},
		{"000", false, false, 0, 0, 0},
		{"0/", false, false, 0, 0, 0},
		{"0/00", false, false, 0, 0, 0},
		{"0/0000", false, false, 0, 0, 0},
		{"0/x000/001", false, false, 0, 0, 0},
		{"0/001/234", false, false, 0, 0, 0},
		{"0/x001/x234", false, false, 0, 0, 0},
		{"0/000.p/0", false, false, 0, 0, 0},
		{"0/000.p/256", false, false, 0, 0, 0},
		{"0/000.p/01", false, false, 0, 0, 0},
		{"0/000.p/", false, false, 0, 0, 0},
		{"0/000.p", false, false, 0, 0, 0},
		{"0/000.p/1.p/1", false, false, 0, 0, 0},
		{"", true, false, 0, 0, 0},
	};
	(void)state;

	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++) {
		unsigned level = 0, width = 0;
		uint64_t n = 0;
		bool ok = api_decode_tile(
			mica_slice_str(cases[i].path), cases[i].entries, &level, &n, &width);
		if (ok != cases[i].ok ||
			(ok &&
				(level != cases[i].level || width != cases[i].width ||
					n != cases[i].n)))
			fail_msg("%s: %d %u %llu %u", cases[i].path, ok, level,
				(unsigned long long)n, width);
	}
}

static void headers(void **state)
{
	struct mica_slice token;
	(void)state;

	assert_true(api_etag_matches(MICA_LIT("\"a-live-1\""), "\"a-live-1\""));
	assert_true(api_etag_matches(MICA_LIT("*"), "\"a-live-1\""));
	assert_true(api_etag_matches(MICA_LIT("\"x\" , W/\"a-live-1\""), "\"a-live-1\""));
	assert_false(api_etag_matches(MICA_LIT("a-live-1"), "\"a-live-1\""));
	assert_false(api_etag_matches(MICA_LIT("\"a-live-12\""), "\"a-live-1\""));
	assert_false(api_etag_matches(MICA_LIT(""), "\"a-live-1\""));
	assert_true(api_is_json(MICA_LIT("application/json")));
	assert_true(api_is_json(MICA_LIT("Application/JSON ; charset=utf-8")));
	assert_false(api_is_json(MICA_LIT("application/jsonx")));
	assert_false(api_is_json(MICA_LIT("application/jso")));
	assert_false(api_is_json(MICA_LIT("")));
	assert_true(api_bearer(MICA_LIT("Bearer a.b.c"), &token));
	assert_true(mica_slice_eq_str(token, "a.b.c"));
	assert_true(api_bearer(MICA_LIT("bEARER   x"), &token));
	assert_true(mica_slice_eq_str(token, "x"));
	assert_false(api_bearer(MICA_LIT("Bearer"), &token));
	assert_false(api_bearer(MICA_LIT("Basic x"), &token));
	assert_false(api_bearer(MICA_LIT("Bearerx y"), &token));
}

/* ---- bodies -------------------------------------------------------------------------------- */

enum kind { B_X509, B_JWT, B_ACK, B_EXPLAIN, B_DENY, B_BACKUP };

static mica_rc decode(enum kind kind, const char *body, struct mica_err *e)
{
	MICA_AUTO_JSON doc = {.root = NULL};
	struct api_x509_body x;
	struct api_jwt_body j;
	struct api_ack_body a;
	struct api_explain_body ex;
	struct api_deny_body d;
	struct mica_slice path;
	mica_rc rc = api_body(mica_slice_str(body), &doc, e);

	if (rc != MICA_OK)
		return rc;
	switch (kind) {
	case B_X509: return api_decode_x509(&doc, &x, e);
	case B_JWT: return api_decode_jwt(&doc, &j, e);
	case B_ACK: return api_decode_ack(&doc, &a, e);
	case B_EXPLAIN: return api_decode_explain(&doc, &ex, e);
	case B_DENY: return api_decode_deny(&doc, &d, e);
	case B_BACKUP: return api_decode_backup(&doc, &path, e);
	}
	return MICA_INTERNAL;
}

static void bodies(void **state)
{
	static const struct {
		enum kind kind;
		const char *body, *reason; /* NULL = good */
	} cases[] = {
		{B_X509, "{\"csr\":\"x\"}", NULL},
		{B_X509, "{\"csr\":\"x\",\"ttl\":60,\"bundle_sequence\":0}", NULL},
		{B_X509, "{\"csr\":\"x\",\"bundle_sequence\":9007199254740992}", NULL},
		{B_X509, "", "json_syntax"},
		{B_X509, "{", "json_syntax"},
		{B_X509, "{\"csr\":\"x\"} x", "json_syntax"},
		{B_X509, "{\"csr\":\"x\",\"csr\":\"y\"}", "json_syntax"},
		{B_X509, "{\"csr\":\"\\u0000\"}", "json_syntax"},
		{B_X509, "{\"csr\":[[[[[[1]]]]]]}", "json_syntax"},
		{B_X509, "\"csr\"", "json_type"},
		{B_X509, "[]", "json_type"},
		{B_X509, "null", "json_type"},
		{B_X509, "{}", "json_missing_member"},
		{B_X509, "{\"csr\":null}", "json_type"},
		{B_X509, "{\"csr\":1}", "json_type"},
		{B_X509, "{\"csr\":\"\"}", "json_range"},
		{B_X509, "{\"csr\":\"x\",\"ttl\":\"60\"}", "json_type"},
		{B_X509, "{\"csr\":\"x\",\"ttl\":60.0}", "json_type"},
		{B_X509, "{\"csr\":\"x\",\"ttl\":0}", "json_range"},
		{B_X509, "{\"csr\":\"x\",\"ttl\":-1}", "json_range"},
		{B_X509, "{\"csr\":\"x\",\"ttl\":99999999999}", "json_range"},
		{B_X509, "{\"csr\":\"x\",\"ttl\":99999999999999999999}", "json_syntax"},
		{B_X509, "{\"csr\":\"x\",\"bundle_sequence\":9007199254740993}", "json_range"},
		{B_X509, "{\"csr\":\"x\",\"spiffe_id\":\"y\"}", "json_unknown_member"},
		{B_X509, "{\"csr\":\"x\",\"instance\":\"envoy.1\"}", NULL},
		{B_X509, "{\"csr\":\"x\",\"instance\":\"\"}", "json_range"},
		{B_X509, "{\"csr\":\"x\",\"instance\":7}", "json_type"},
		{B_JWT, "{\"audience\":[\"a\"]}", NULL},
		{B_JWT, "{\"audience\":\"a\"}", "json_type"},
		{B_JWT, "{\"audience\":[]}", "json_range"},
		{B_JWT, "{\"audience\":[\"\"]}", "json_range"},
		{B_JWT, "{\"audience\":[null]}", "json_type"},
		{B_JWT,
			"{\"audience\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"10\","
			"\"11\",\"12\",\"13\",\"14\",\"15\",\"16\",\"17\"]}",
			"json_range"},
		{B_ACK, "{\"sequence\":1}", NULL},
		{B_ACK, "{\"sequence\":1,\"channel\":\"canary\"}", NULL},
		{B_ACK, "{\"sequence\":0}", "json_range"},
		{B_ACK, "{\"sequence\":1,\"channel\":\"beta\"}", "json_range"},
		{B_ACK, "{\"channel\":\"live\"}", "json_missing_member"},
		{B_EXPLAIN, "{\"token\":\"\"}", NULL},
		{B_EXPLAIN, "{\"token\":\"x\",\"front\":\"istio\"}", NULL},
		{B_EXPLAIN, "{\"token\":\"x\",\"front\":\"ftp\"}", "json_range"},
		{B_DENY, "{\"kind\":\"key\",\"value\":\"x\"}", NULL},
		{B_DENY, "{\"kind\":\"name\",\"value\":\"x\"}", "bad_deny_entry"},
		{B_DENY, "{\"kind\":\"key\",\"value\":\"\"}", "json_range"},
		{B_DENY, "{\"kind\":\"key\"}", "json_missing_member"},
		{B_BACKUP, "{\"path\":\"/a\"}", NULL},
		{B_BACKUP, "{\"path\":\"a\"}", "bad_path"},
		{B_BACKUP, "{\"path\":\"\"}", "json_range"},
	};
	(void)state;

	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++) {
		struct mica_err e = MICA_ERR_INIT;
		mica_rc rc = decode(cases[i].kind, cases[i].body, &e);
		const char *got = rc == MICA_OK ? NULL : e.reason;
		if ((got == NULL) != (cases[i].reason == NULL) ||
			(got && strcmp(got, cases[i].reason) != 0))
			fail_msg("%s: expected %s, got %s", cases[i].body,
				cases[i].reason ? cases[i].reason : "ok", got ? got : "ok");
		/* who sent a document learns where it is wrong */
		if (got && (rc != MICA_INVALID || e.line < 1))
			fail_msg("%s: no place in %s", cases[i].body, e.text);
	}
}

/* Ordinary documents are read without a parser; all others are left to it. */
static void plain_documents(void **state)
{
	static const struct {
		const char *body;
		bool plain;
	} cases[] = {
		{"{\"csr\":\"a\\nb\"}", true},
		{" {\n\"ttl\" : 60 ,\t\"csr\":\"a\\/\\r\", \"bundle_sequence\":9007199254740992 } ",
			true},
		{"{\"csr\":\"a\",\"bundle_sequence\":0}", true},
		{"", false},
		{"{}", false},
		{"{\"ttl\":60}", false},
		{"{\"csr\":\"\"}", false},
		{"{\"csr\":\"a\"", false},
		{"{\"csr\":\"a\"}x", false},
		{"{\"csr\":\"a\",}", false},
		{"{\"csr\":\"a\",\"csr\":\"b\"}", false},
		{"{\"csr\":\"a\",\"ttl\":60,\"ttl\":60}", false},
		{"{\"csr\":\"a\",\"bundle_sequence\":0,\"bundle_sequence\":0}", false},
		{"{\"csr\":\"\\u0041\"}", false},
		{"{\"csr\":\"\xc3\xa9\"}", false},
		{"{\"csr\":\"a\nb\"}", false},
		{"{\"csr\":\"a\",\"ttl\":0}", false},
		{"{\"csr\":\"a\",\"ttl\":-1}", false},
		{"{\"csr\":\"a\",\"ttl\":060}", false},
		{"{\"csr\":\"a\",\"ttl\":60.0}", false},
		{"{\"csr\":\"a\",\"ttl\":6e1}", false},
		{"{\"csr\":\"a\",\"ttl\":99999999999999999999}", false},
		{"{\"csr\":\"a\",\"bundle_sequence\":9007199254740993}", false},
		{"{\"csr\":\"a\",\"x\":1}", false},
		{"{\"csr\":null}", false},
	};
	(void)state;

	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++) {
		struct api_x509_body b;
		MICA_AUTO_BUF mem;

		mica_buf_init(&mem, API_CSR_MAX + 64);
		if (api_plain_x509(mica_slice_str(cases[i].body), &mem, &b) != cases[i].plain)
			fail_msg("%s", cases[i].body);
	}
	{
		struct api_x509_body b;
		MICA_AUTO_BUF mem;

		mica_buf_init(&mem, API_CSR_MAX + 64);
		assert_true(api_plain_x509(mica_slice_str(cases[1].body), &mem, &b));
		assert_true(mica_slice_eq_str(b.csr, "a/\r"));
		assert_int_equal(b.ttl, 60);
		assert_true(b.has_sequence);
		assert_int_equal(b.bundle_sequence, 9007199254740992);
	}
}

static void a_body_is_bounded(void **state)
{
	char *csr = tk_keep(mica_alloc(API_CSR_MAX + 3)), *body;
	struct mica_err e = MICA_ERR_INIT;
	(void)state;

	memset(csr, 'x', API_CSR_MAX);
	body = tk_printf("{\"csr\":\"%s\"}", csr);
	assert_int_equal(decode(B_X509, body, &e), MICA_OK);
	csr[API_CSR_MAX] = 'x';
	body = tk_printf("{\"csr\":\"%s\"}", csr);
	assert_int_equal(decode(B_X509, body, &e), MICA_INVALID);
	assert_string_equal(e.reason, "json_range");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bundle_queries),
		cmocka_unit_test(bad_queries),
		cmocka_unit_test(event_queries),
		cmocka_unit_test(bad_event_queries),
		cmocka_unit_test(tile_paths),
		cmocka_unit_test(headers),
		cmocka_unit_test_teardown(bodies, tk_empty_bin),
		cmocka_unit_test(plain_documents),
		cmocka_unit_test_teardown(a_body_is_bounded, tk_empty_bin),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
