/* SPDX-License-Identifier: Apache-2.0 */
/* Ledger entries: there and back, what is refused, and how they look in JSON. */
#include "pki.h"

#include <stdio.h>

#include "mica/entry.h"
#include "mica/json.h"
#include "mica/secret.h"

#include <jansson.h>

static struct pki pki;
static struct mica_buf leaf;

static int setup(void **state)
{
	struct mica_leaf_spec spec;

	(void)state;
	pki_init(&pki, MICA_KN_P256);
	spec = pki_spec(&pki);
	mica_buf_init(&leaf, MICA_CERT_MAX);
	return mica_leaf_sign(pki.issuing, &spec, &leaf, NULL) != MICA_OK;
}

static int teardown(void **state)
{
	(void)state;
	pki_clear(&pki);
	mica_buf_clear(&leaf);
	return 0;
}

static struct mica_entry x509_entry(void)
{
	return (struct mica_entry){.type = MICA_ENTRY_X509_ISSUED,
		.time_ms = NOW * 1000 + 7,
		.issuer = MICA_LIT("prod"),
		.cluster = MICA_LIT("east"),
		.ns = MICA_LIT("payments"),
		.sa = MICA_LIT("checkout"),
		.pod = MICA_LIT("checkout-7d9f-x2x"),
		.node = MICA_LIT("node-1"),
		.sa_uid = {{1}},
		.pod_uid = {{2, 3}},
		.node_uid = {{4}},
		.ev_kind = MICA_EV_TOKEN,
		.ev_front = MICA_FRONT_ISTIO,
		.ev_id = MICA_LIT("jti-1"),
		.ev_expiry = NOW + 600,
		.origin_time = NOW,
		.requested_ttl = 7200,
		.outlet = MICA_OUTLET_CARRIED,
		.address = MICA_LIT("10.0.0.7"),
		.certificate = mica_buf_slice(&leaf)};
}

static struct mica_entry jwt_entry(void)
{
	struct mica_entry en = x509_entry();

	en.type = MICA_ENTRY_JWT_ISSUED;
	en.certificate = MICA_SLICE_NULL;
	en.sub = MICA_LIT(ID);
	en.jti = MICA_LIT("abc");
	en.kid = MICA_LIT("key-1");
	en.aud[0] = MICA_LIT("db");
	en.aud[1] = MICA_LIT("queue \"q\"");
	en.n_aud = 2;
	en.iat = NOW;
	en.exp = NOW + 300;
	return en;
}

static struct mica_entry change_entry(void)
{
	return (struct mica_entry){.type = MICA_ENTRY_AUTHORITY,
		.time_ms = NOW * 1000,
		.set = MICA_LIT("other"),
		.action = MICA_LIT("tainted"),
		.authority = MICA_LIT("000102030405060708090a0b0c0d0e0f10111213"),
		.actor = MICA_ACTOR_LOCAL,
		.uid = 1000,
		.gid = 100,
		.pid = 4242,
		.detail = MICA_LIT("{\"reason\":\"test\"}")};
}

#define same(a, b, f) assert_true(mica_slice_eq((a).f, (b).f))

static void there_and_back(void **state)
{
	struct mica_entry a[3] = {x509_entry(), jwt_entry(), change_entry()}, b;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		MICA_AUTO_BUF one, two;

		mica_buf_init(&one, MICA_ENTRY_MAX);
		mica_buf_init(&two, MICA_ENTRY_MAX);
		assert_ok(mica_entry_encode(&a[i], &one, e));
		assert_ok(mica_entry_decode(mica_buf_slice(&one), &b, e));
		same(a[i], b, issuer);
		same(a[i], b, cluster);
		same(a[i], b, ns);
		same(a[i], b, sa);
		same(a[i], b, pod);
		same(a[i], b, node);
		same(a[i], b, ev_id);
		same(a[i], b, certificate);
		same(a[i], b, sub);
		same(a[i], b, action);
		same(a[i], b, detail);
		assert_int_equal(a[i].time_ms, b.time_ms);
		assert_int_equal(a[i].ev_expiry, b.ev_expiry);
		assert_int_equal(a[i].n_aud, b.n_aud);
		assert_int_equal(a[i].outlet, b.outlet);
		assert_int_equal(a[i].pid, b.pid);
		assert_memory_equal(&a[i].pod_uid, &b.pod_uid, 16);
		assert_memory_equal(a[i].salt, b.salt, MICA_SALT_LEN);
		/* the encoding is the only one */
		assert_ok(mica_entry_encode(&b, &two, e));
		assert_true(mica_slice_eq(mica_buf_slice(&one), mica_buf_slice(&two)));
		/* no prefix of an entry is one, but at a field's end */
		for (size_t cut = 0; cut < 24; cut++)
			assert_refused(MICA_CORRUPT, "entry_malformed",
				mica_entry_decode(mica_slice(one.p, cut), &b, e));
		printf("type %u: %zu octets\n", (unsigned)a[i].type, one.len);
	}
}

static void salted(void **state)
{
	struct mica_entry a = x509_entry(), b = x509_entry();
	MICA_AUTO_BUF one, two;

	(void)state;
	mica_buf_init(&one, MICA_ENTRY_MAX);
	mica_buf_init(&two, MICA_ENTRY_MAX);
	assert_ok(mica_entry_encode(&a, &one, e));
	assert_ok(mica_entry_encode(&b, &two, e));
	assert_memory_not_equal(a.salt, b.salt, MICA_SALT_LEN);
	assert_false(mica_slice_eq(mica_buf_slice(&one), mica_buf_slice(&two)));
}

static void unencodable(struct mica_entry en)
{
	MICA_AUTO_BUF b;

	mica_buf_init(&b, MICA_ENTRY_MAX);
	assert_refused(MICA_INVALID, "entry_invalid", mica_entry_encode(&en, &b, e));
	assert_int_equal(b.len, 0);
}

static void refused_to_encode(void **state)
{
	static uint8_t big[60000];
	struct mica_entry en;
	MICA_AUTO_BUF b;

	(void)state;
	mica_buf_init(&b, 100);
	en = x509_entry();
	en.certificate = MICA_SLICE_NULL;
	unencodable(en);
	en = x509_entry();
	en.ev_kind = 0;
	unencodable(en);
	en = x509_entry();
	en.ns = mica_slice(big, 64);
	unencodable(en);
	en = x509_entry();
	en.time_ms = -1;
	unencodable(en);
	en = x509_entry();
	en.type = 64;
	unencodable(en);
	en = jwt_entry();
	en.jti = MICA_SLICE_NULL;
	unencodable(en);
	en = jwt_entry();
	en.n_aud = MICA_ENTRY_AUD_MAX + 1;
	unencodable(en);
	en = change_entry();
	en.actor = MICA_ACTOR_NONE;
	unencodable(en);
	en = change_entry();
	en.authority = MICA_LIT("xyz");
	unencodable(en);
	en = change_entry();
	en.detail = MICA_LIT("[1]");
	unencodable(en);
	en = change_entry();
	en.detail = MICA_LIT("{\"a\":1,\"a\":2}");
	unencodable(en);
	en = x509_entry();
	assert_refused(MICA_LIMIT, "entry_too_long", mica_entry_encode(&en, &b, e));
}

static mica_rc decode_with(const char *tail, size_t len, struct mica_entry *en, struct mica_err *e)
{
	static uint8_t bytes[512] = {1, MICA_ENTRY_ADMIN}; /* the entry points into it */

	memcpy(bytes + 24, tail, len);
	return mica_entry_decode(mica_slice(bytes, 24 + len), en, e);
}

#define bad_tail(t)                                                                                \
	assert_refused(MICA_CORRUPT, "entry_malformed", decode_with(t, sizeof(t) - 1, &en, e))

static void refused_to_decode(void **state)
{
	struct mica_entry en;
	uint8_t newer[24] = {2, 1}, type0[24] = {1, 0}, type64[24] = {1, 64};

	(void)state;
	assert_refused(
		MICA_CORRUPT, "entry_newer", mica_entry_decode(mica_slice(newer, 24), &en, e));
	assert_refused(
		MICA_CORRUPT, "entry_malformed", mica_entry_decode(mica_slice(type0, 24), &en, e));
	assert_refused(
		MICA_CORRUPT, "entry_malformed", mica_entry_decode(mica_slice(type64, 24), &en, e));
	bad_tail("\x01"); /* cut off */
	bad_tail("\x01\x05"
		 "abc");
	bad_tail("\x01\xff\x01");
	bad_tail("\x01\x00"); /* empty */
	bad_tail("\x03\x01"
		 "a"
		 "\x02\x01"
		 "b"); /* order */
	bad_tail("\x02\x01"
		 "a"
		 "\x02\x01"
		 "b"); /* twice */
	bad_tail("\x0a\x0f"
		 "0123456789abcde"); /* a UID of 15 */
	bad_tail("\x0c\x01\x01"); /* evidence without a front */
	bad_tail("\x0d\x07"
		 "1234567");
	bad_tail("\x0d\x08\xff"
		 "1234567"); /* negative */
	bad_tail("\x31\x03"
		 "abc"); /* authority */
	bad_tail("\x32\x01\x02"); /* a local actor without ids */
	bad_tail("\x30\x02"
		 "a\0"); /* a NUL */
	/* fields of later versions are passed over */
	assert_ok(decode_with("\x1f\x03"
			      "new"
			      "\x30\x02"
			      "go"
			      "\xf0\x01"
			      "x",
		12, &en, e));
	assert_true(mica_slice_eq_str(en.action, "go"));
	assert_true(mica_slice_eq_str(en.set, "default"));
}

static json_t *render(struct mica_entry *en, unsigned flags)
{
	struct mica_entry back;
	MICA_AUTO_BUF bytes, text;
	json_error_t je;
	json_t *j;

	mica_buf_init(&bytes, MICA_ENTRY_MAX);
	mica_buf_init(&text, 65536);
	assert_ok(mica_entry_encode(en, &bytes, e));
	assert_ok(mica_entry_decode(mica_buf_slice(&bytes), &back, e));
	mica_entry_json(&back, 12, flags, &text);
	j = json_loadb((char *)text.p, text.len, JSON_REJECT_DUPLICATES, &je);
	if (!j)
		fail_msg("%s: %s", je.text, (char *)text.p);
	return j;
}

static const char *text_at(json_t *j, const char *a, const char *b)
{
	j = json_object_get(j, a);
	return json_string_value(b ? json_object_get(j, b) : j);
}

static void as_json(void **state)
{
	struct mica_entry en = x509_entry();
	json_t *j = render(&en, MICA_ENTRY_JSON_CERTIFICATE);

	(void)state;
	assert_string_equal(text_at(j, "type", NULL), "x509_issued");
	assert_string_equal(text_at(j, "time", NULL), "2026-11-24T12:00:00.007Z");
	assert_string_equal(text_at(j, "spiffe_id", NULL), ID);
	assert_string_equal(text_at(j, "serial", NULL), "01a20d61200003030303030303030303");
	assert_string_equal(text_at(j, "authority", NULL), mica_cert_issuer_id(pki.issuing));
	assert_string_equal(
		text_at(j, "principal", "pod_uid"), "02030000-0000-0000-0000-000000000000");
	assert_string_equal(text_at(j, "evidence", "kind"), "token");
	assert_string_equal(text_at(j, "evidence", "front"), "istio");
	assert_string_equal(text_at(j, "address", NULL), "10.0.0.7");
	assert_non_null(strstr(text_at(j, "certificate", NULL), "BEGIN CERTIFICATE"));
	assert_int_equal(
		json_integer_value(json_object_get(json_object_get(j, "evidence"), "origin_index")),
		12);
	json_decref(j);
	j = render(&en, MICA_ENTRY_JSON_NO_ADDRESS);
	assert_null(json_object_get(j, "address"));
	assert_null(json_object_get(j, "certificate"));
	json_decref(j);
	en = jwt_entry();
	j = render(&en, 0);
	assert_string_equal(text_at(j, "type", NULL), "jwt_issued");
	assert_string_equal(json_string_value(json_array_get(json_object_get(j, "audience"), 1)),
		"queue \"q\"");
	json_decref(j);
	en = change_entry();
	j = render(&en, 0);
	assert_string_equal(text_at(j, "set", NULL), "other");
	assert_string_equal(text_at(j, "actor", "kind"), "local");
	assert_string_equal(text_at(j, "detail", "reason"), "test");
	assert_string_equal(
		text_at(j, "authority", NULL), "000102030405060708090a0b0c0d0e0f10111213");
	json_decref(j);
}

static void principals(void **state)
{
	struct mica_entry en = x509_entry(), again = {0};
	struct mica_principal p;
	struct mica_evidence v;

	(void)state;
	assert_ok(mica_entry_get_principal(&en, &p, e));
	assert_string_equal(p.spiffe_id, ID);
	assert_string_equal(p.sa, "checkout");
	assert_ok(mica_entry_get_evidence(&en, 99, &v, e));
	assert_int_equal(v.origin_index, 99); /* primary: itself */
	assert_int_equal(v.origin_time, NOW);
	mica_entry_set_principal(&again, &p);
	mica_entry_set_evidence(&again, &v);
	same(en, again, pod);
	assert_int_equal(again.origin_index, 99);
	en.certificate = MICA_LIT("no DER");
	assert_refused(MICA_CORRUPT, "entry_malformed", mica_entry_get_principal(&en, &p, e));
}

static void names(void **state)
{
	(void)state;
	assert_int_equal(mica_entry_type_parse(MICA_LIT("jwt_issued")), MICA_ENTRY_JWT_ISSUED);
	assert_int_equal(mica_entry_type_parse(MICA_LIT("jwt")), 0);
	assert_string_equal(mica_entry_type_name(MICA_ENTRY_ADMIN), "admin");
	assert_null(mica_entry_type_name(3));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(there_and_back),
		cmocka_unit_test(salted),
		cmocka_unit_test(refused_to_encode),
		cmocka_unit_test(refused_to_decode),
		cmocka_unit_test(as_json),
		cmocka_unit_test(principals),
		cmocka_unit_test(names),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
