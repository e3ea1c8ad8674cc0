/* SPDX-License-Identifier: Apache-2.0 */
/* Issuance: what the rules give, what they refuse, and that a refusal changes nothing. */
#define _GNU_SOURCE /* memmem */
#include "coretest.h"

#include "../../ca/core_impl.h"

#include <stdio.h>

static struct mica_issued issued(const struct mica_candidate *k)
{
	struct mica_issued i;

	mica_candidate_issued(k, &i);
	return i;
}

static mica_rc prepare(
	struct ct *t, const struct mica_x509_request *r, int64_t now_ms, struct mica_err *e)
{
	struct mica_candidate *k = NULL;
	mica_rc rc = mica_core_prepare_x509(t->core, r, now_ms, &k, e);

	mica_candidate_free(k);
	return rc;
}

/* Refused with this reason, and nothing has changed by it. */
#define refuses(t, code, why, r)                                                                   \
	do {                                                                                       \
		uint64_t size_ = mica_ledger_size((t)->core->ledger);                              \
		assert_refused(code, why, prepare(t, r, NOW_MS, e));                               \
		assert_int_equal(mica_ledger_size((t)->core->ledger), size_);                      \
	} while (0)

static void reconfigure(struct ct *t)
{
	assert_ok(mica_core_configure(t->core, &t->config, NOW_MS, e));
}

/* ---- what a certificate says ----------------------------------------------------------------- */

static void follows_the_profile(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k = ct_issue(t, 0, NOW_MS);
	struct mica_issued i = issued(k);
	X509 *x = ct_x509(i.chain_der[0]);
	EVP_PKEY *key = X509_get_pubkey(x);
	struct mica_cert_info info;
	char serial[33];

	/* only its key is taken from the request */
	assert_int_equal(EVP_PKEY_eq(key, t->leaf), 1);
	assert_ok(mica_cert_read(i.chain_der[0], &info, e));
	assert_int_equal(info.n_uri, 1);
	assert_true(mica_slice_eq_str(info.uri[0], ID));
	assert_int_equal(info.n_dns + info.n_ip + info.n_other, 0);
	assert_false(info.is_ca);
	assert_int_equal(info.eku, MICA_EKU_SERVER | MICA_EKU_CLIENT);
	assert_int_equal(info.ku, MICA_KU_DIGITAL_SIGNATURE);
	assert_int_equal(info.serial.len, MICA_SERIAL_LEN);
	mica_hex_encode(info.serial.p, info.serial.len, serial);
	assert_string_equal(serial, i.serial_hex);
	assert_int_equal(info.not_before, i.not_before);
	assert_int_equal(info.not_after, i.not_after);
	EVP_PKEY_free(key);
	X509_free(x);
	mica_candidate_free(k);
}

static void chain_pem_is_the_chain(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k = ct_issue(t, 0, NOW_MS);
	struct mica_issued i = issued(k);
	BIO *b = BIO_new_mem_buf(i.chain_pem.p, (int)i.chain_pem.len);

	for (size_t n = 0; n < i.n_chain; n++) {
		X509 *want = ct_x509(i.chain_der[n]);
		X509 *got = PEM_read_bio_X509(b, NULL, NULL, NULL);

		assert_non_null(got);
		assert_int_equal(X509_cmp(want, got), 0);
		X509_free(want);
		X509_free(got);
	}
	assert_null(PEM_read_bio_X509(b, NULL, NULL, NULL)); /* no root */
	ERR_clear_error();
	BIO_free(b);
	mica_candidate_free(k);
}

struct ttl_case {
	int64_t asked, got, backdate;
	bool clamped;
};

static void times_follow_the_ttl(void **state)
{
	static const struct ttl_case cases[] = {{0, 3600, 60, false}, {60, 60, 6, false},
		{300, 300, 30, false}, {600, 600, 60, false}, {DAY, DAY, 60, false},
		{DAY + 1, DAY, 60, true}, {INT64_MAX, DAY, 60, true}};
	struct ct *t = *state;

	for (size_t n = 0; n < MICA_ARRAY_LEN(cases); n++) {
		struct mica_candidate *k = ct_issue(t, cases[n].asked, NOW_MS);
		struct mica_issued i = issued(k);

		assert_int_equal(i.not_after, NOW + cases[n].got);
		assert_int_equal(i.not_before, NOW - cases[n].backdate);
		assert_int_equal(i.ttl_clamped, cases[n].clamped);
		/* at half of what is left, up to a tenth later */
		assert_in_range(i.renew_after, NOW + cases[n].got / 2,
			NOW + cases[n].got / 2 + cases[n].got / 10);
		mica_candidate_free(k);
	}
}

/* A herd that was born together does not come back together. */
static void renewals_spread(void **state)
{
	struct ct *t = *state;
	int64_t first = 0;
	unsigned others = 0;

	for (unsigned n = 0; n < 50; n++) {
		struct mica_candidate *k = ct_issue(t, DAY, NOW_MS);
		int64_t at = issued(k).renew_after;

		first = first ? first : at;
		others += at != first;
		mica_candidate_free(k);
	}
	assert_true(others > 25);
}

static void nothing_outlives_its_issuer(void **state)
{
	struct ct *t = *state;
	int64_t end = t->born.issuing_not_after;
	struct mica_x509_request r;
	struct mica_candidate *k;
	struct mica_caller who;
	struct mica_issued i;

	ct_set_jwks(t, (end - 100) * 1000);
	k = ct_issue(t, 0, (end - 100) * 1000);
	i = issued(k);
	assert_int_equal(i.not_after, end);
	assert_true(i.ttl_clamped);
	assert_int_equal(ct_openssl(t, i.chain_der, i.n_chain, end - 50), X509_V_OK);
	mica_candidate_free(k);
	/* and when it has ended there is none */
	ct_set_jwks(t, (end + 1) * 1000);
	ct_caller(t, (end + 1) * 1000, &who);
	r = ct_request(t, &who);
	assert_refused(
		MICA_UNAVAILABLE, "no_active_authority", prepare(t, &r, (end + 1) * 1000, e));
	assert_refused(MICA_UNAVAILABLE, "no_active_authority",
		mica_core_ready(t->core, (end + 1) * 1000, e));
}

static void not_before_never_precedes_the_issuers(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k;
	int64_t begin = NOW - 1 - CORE_CA_BACKDATE; /* as init has made it */

	/* a clock that went back nearly as far as the authority reaches */
	ct_set_jwks(t, (begin + 10) * 1000);
	k = ct_issue(t, 0, (begin + 10) * 1000);
	assert_int_equal(issued(k).not_before, begin);
	mica_candidate_free(k);
}

static void says_whether_the_bundle_is_wanted(void **state)
{
	struct ct *t = *state;
	uint64_t current = mica_core_bundle_sequence(t->core, MICA_CHANNEL_LIVE);
	const struct {
		uint64_t held;
		bool wanted;
	} cases[] = {{0, true}, {current - 1, true}, {current, false}, {current + 1, false}};
	struct mica_caller who;

	ct_caller(t, NOW_MS, &who);
	for (size_t n = 0; n < MICA_ARRAY_LEN(cases); n++) {
		struct mica_x509_request r = ct_request(t, &who);
		struct mica_candidate *k = NULL;

		r.bundle_sequence = cases[n].held;
		assert_ok(mica_core_prepare_x509(t->core, &r, NOW_MS, &k, e));
		assert_ok(mica_core_commit(t->core, &k, 1, NOW_MS, e));
		assert_int_equal(issued(k).bundle_wanted, cases[n].wanted);
		assert_int_equal(issued(k).bundle_sequence, current);
		mica_candidate_free(k);
	}
}

/* ---- rules ----------------------------------------------------------------------------------- */

static struct mica_rule rule(const char *issuer, const char *ns, const char *sa)
{
	return (struct mica_rule){.issuer = ct_str(issuer), .ns = ct_str(ns), .sa = ct_str(sa)};
}

static void the_first_rule_that_matches_counts(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k;
	struct mica_cert_info info;

	t->rules[0] = rule("prod", "payments", "other*");
	t->rules[0].ttl = 111;
	t->rules[1] = rule("", "pay*", "checkout");
	t->rules[1].ttl = 222;
	t->rules[1].max_ttl = 444;
	t->rules[1].dns = tk_list("{serviceaccount}.{namespace}.svc",
		"{serviceaccount}.{namespace}.svc.cluster.local");
	t->rules[2] = rule("", "", "");
	t->rules[2].ttl = 333;
	t->config.n_rules = 3;
	reconfigure(t);
	k = ct_issue(t, 0, NOW_MS);
	assert_int_equal(issued(k).not_after, NOW + 222);
	assert_ok(mica_cert_read(issued(k).chain_der[0], &info, e));
	assert_int_equal(info.n_dns, 2);
	assert_true(mica_slice_eq_str(info.dns[0], "checkout.payments.svc"));
	assert_true(mica_slice_eq_str(info.dns[1], "checkout.payments.svc.cluster.local"));
	assert_int_equal(ct_openssl(t, issued(k).chain_der, 2, NOW), X509_V_OK);
	mica_candidate_free(k);
	k = ct_issue(t, 3600, NOW_MS);
	assert_int_equal(issued(k).not_after, NOW + 444);
	assert_true(issued(k).ttl_clamped);
	mica_candidate_free(k);
}

static void dns_names_are_strict_and_ours_are_ours(void **state)
{
	struct ct *t = *state;
	struct mica_x509_request r;
	struct mica_caller who;

	t->rules[0] = rule("", "", "");
	t->rules[0].dns = tk_list("{serviceaccount}.{namespace}.svc", NULL);
	t->config.n_rules = 1;
	reconfigure(t);
	ct_caller(t, NOW_MS, &who);
	r = ct_request(t, &who);
	/* a service account may be called so; a label may not */
	snprintf(who.principal.sa, sizeof(who.principal.sa), "a.b");
	snprintf(who.principal.spiffe_id, sizeof(who.principal.spiffe_id),
		"spiffe://" TD "/ns/payments/sa/a.b");
	refuses(t, MICA_DENIED, "name_not_allowed", &r);
	snprintf(who.principal.sa, sizeof(who.principal.sa), "mica");
	snprintf(who.principal.ns, sizeof(who.principal.ns), "mica-system");
	snprintf(who.principal.spiffe_id, sizeof(who.principal.spiffe_id),
		"spiffe://" TD "/ns/mica-system/sa/mica");
	refuses(t, MICA_DENIED, "name_not_allowed", &r);
}

static void rules_choose_key_types(void **state)
{
	struct ct *t = *state;
	EVP_PKEY *p384 = tk_ec("P-384"), *rsa = tk_rsa(2048);
	struct mica_x509_request r;
	struct mica_caller who;

	ct_caller(t, NOW_MS, &who);
	r = ct_request(t, &who);
	r.csr = mica_slice_str(ct_csr(rsa));
	refuses(t, MICA_INVALID, "key_type_not_allowed", &r);
	r.csr = mica_slice_str(ct_csr(p384));
	assert_ok(prepare(t, &r, NOW_MS, e));
	t->rules[0] = rule("", "payments", "");
	t->rules[0].key_types = 1U << MICA_KN_RSA2048;
	t->config.n_rules = 1;
	reconfigure(t);
	refuses(t, MICA_INVALID, "key_type_not_allowed", &r);
	r.csr = mica_slice_str(ct_csr(rsa));
	assert_ok(prepare(t, &r, NOW_MS, e));
	EVP_PKEY_free(p384);
	EVP_PKEY_free(rsa);
}

/* ---- refusals -------------------------------------------------------------------------------- */

static void bad_requests_are_refused(void **state)
{
	struct ct *t = *state;
	struct mica_x509_request r;
	struct mica_caller who;
	char *broken;

	ct_caller(t, NOW_MS, &who);
	r = ct_request(t, &who);
	r.ttl = 59;
	refuses(t, MICA_INVALID, "ttl_too_short", &r);
	r.ttl = -1;
	refuses(t, MICA_INVALID, "ttl_too_short", &r);
	r.ttl = INT64_MIN;
	refuses(t, MICA_INVALID, "ttl_too_short", &r);
	r.ttl = 0;
	r.csr = MICA_SLICE_NULL;
	refuses(t, MICA_INVALID, "csr_empty", &r);
	r.csr = MICA_LIT("not a request");
	refuses(t, MICA_INVALID, "csr_not_pem", &r);
	broken = tk_printf("%s", t->csr);
	broken[strlen(broken) - 60] ^= 1;
	r.csr = mica_slice_str(broken);
	assert_int_equal(prepare(t, &r, NOW_MS, NULL), MICA_INVALID);
}

static EVP_PKEY *stolen(const struct mica_signer *s)
{
	MICA_AUTO_SECRET der = NULL;
	const uint8_t *at;
	EVP_PKEY *key;

	assert_ok(mica_signer_pkcs8(s, &der, e));
	at = mica_secret_view(der).p;
	key = d2i_AutoPrivateKey(NULL, &at, (long)mica_secret_view(der).len);
	assert_non_null(key);
	return key;
}

/* Nobody gets a certificate for a key of the CA itself, not even who holds it. */
static void own_keys_are_refused(void **state)
{
	struct ct *t = *state;
	struct core_view *v = mica_core_view_get(t->core);
	const struct mica_signer *keys[4] = {t->core->log_key, t->core->publication_key};
	struct mica_x509_request r;
	struct mica_caller who;
	size_t n = 2;

	for (unsigned i = 0; i < v->auths->n; i++)
		if (v->auths->more[i].key)
			keys[n++] = v->auths->more[i].key->signer;
	assert_int_equal(n, 4);
	ct_caller(t, NOW_MS, &who);
	r = ct_request(t, &who);
	for (size_t i = 0; i < n; i++) {
		EVP_PKEY *key = stolen(keys[i]);

		r.csr = mica_slice_str(ct_csr(key));
		refuses(t, MICA_INVALID, "key_denied", &r);
		EVP_PKEY_free(key);
	}
	mica_core_view_unref(v);
}

static void names_belong_to_their_issuer(void **state)
{
	struct ct *t = *state;
	struct mica_caller who, local = ct_role(MICA_ROLE_ADMIN);
	struct mica_x509_request r;

	ct_caller(t, NOW_MS, &who);
	r = ct_request(t, &who);
	snprintf(who.principal.spiffe_id, sizeof(who.principal.spiffe_id),
		"spiffe://" TD "/vm/payments");
	refuses(t, MICA_DENIED, "name_not_allowed", &r);
	snprintf(who.principal.spiffe_id, sizeof(who.principal.spiffe_id),
		"spiffe://" TD "/mica/server");
	refuses(t, MICA_DENIED, "name_not_allowed", &r);
	snprintf(who.principal.spiffe_id, sizeof(who.principal.spiffe_id),
		"spiffe://example.com/ns/payments/sa/checkout");
	refuses(t, MICA_DENIED, "name_not_allowed", &r);
	ct_caller(t, NOW_MS, &who);
	snprintf(who.principal.issuer, sizeof(who.principal.issuer), "gone");
	refuses(t, MICA_DENIED, "name_not_allowed", &r);
	/* an administrator on the socket is nobody's workload */
	r.caller = &local;
	refuses(t, MICA_DENIED, "name_not_allowed", &r);
}

static void a_full_disk_stops_issuance(void **state)
{
	struct ct *t = *state;
	struct mica_x509_request r;
	struct mica_caller who;

	ct_caller(t, NOW_MS, &who);
	r = ct_request(t, &who);
	atomic_store(&t->core->space_low, true);
	refuses(t, MICA_UNAVAILABLE, "store_full", &r);
	assert_refused(MICA_UNAVAILABLE, "store_full", mica_core_ready(t->core, NOW_MS, e));
	/* and it is looked for again */
	assert_ok(mica_core_maintain(t->core, NOW_MS + 2000, NULL, e));
	assert_ok(prepare(t, &r, NOW_MS, e));
}

/* ---- the deny list --------------------------------------------------------------------------- */

static mica_rc deny(
	struct ct *t, const char *kind, const char *value, bool denied, struct mica_err *e)
{
	return mica_core_deny(t->core, kind, mica_slice_str(value), denied, NULL, NOW_MS, e);
}

static char *key_hash(EVP_PKEY *key)
{
	uint8_t *der = NULL, hash[32];
	int len = i2d_PUBKEY(key, &der);
	char hex[65];

	EVP_Digest(der, (size_t)len, hash, NULL, EVP_sha256(), NULL);
	OPENSSL_free(der);
	mica_hex_encode(hash, sizeof(hash), hex);
	return tk_printf("%s", hex);
}

static void who_is_denied_gets_nothing(void **state)
{
	struct ct *t = *state;
	const struct {
		const char *kind, *value, *reason;
		mica_rc rc;
	} cases[] = {{"spiffe_id", ID, "denied_by_list", MICA_DENIED},
		{"spiffe_id", "spiffe://" TD "/ns/payments", "denied_by_list", MICA_DENIED},
		{"pod_uid", POD_UID, "denied_by_list", MICA_DENIED},
		{"key", key_hash(t->leaf), "key_denied", MICA_INVALID}};
	struct mica_x509_request r;
	struct mica_caller who;

	ct_caller(t, NOW_MS, &who);
	r = ct_request(t, &who);
	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++) {
		uint64_t generation = mica_core_generation(t->core);

		assert_ok(prepare(t, &r, NOW_MS, e));
		assert_ok(deny(t, cases[i].kind, cases[i].value, true, e));
		assert_true(mica_core_generation(t->core) > generation);
		refuses(t, cases[i].rc, cases[i].reason, &r);
		/* also behind a restart */
		ct_reopen(t, NOW_MS);
		refuses(t, cases[i].rc, cases[i].reason, &r);
		assert_ok(deny(t, cases[i].kind, cases[i].value, false, e));
	}
	assert_ok(prepare(t, &r, NOW_MS, e));
	assert_refused(MICA_NOT_FOUND, "not_denied", deny(t, "spiffe_id", ID, false, e));
}

static void a_name_beside_is_not_denied(void **state)
{
	struct ct *t = *state;
	struct mica_x509_request r;
	struct mica_caller who;

	ct_caller(t, NOW_MS, &who);
	r = ct_request(t, &who);
	assert_ok(deny(t, "spiffe_id", "spiffe://" TD "/ns/pay", true, e));
	assert_ok(deny(t, "spiffe_id", ID "2", true, e));
	assert_ok(deny(t, "spiffe_id", ID "/below", true, e));
	assert_ok(prepare(t, &r, NOW_MS, e));
}

static void bad_deny_entries_are_refused(void **state)
{
	static const char *const bad[][2] = {{"spiffe_id", "spiffe://example.com/x"},
		{"spiffe_id", "payments"}, {"spiffe_id", ""}, {"pod_uid", "x"}, {"pod_uid", ""},
		{"pod_uid", "66666666-7777-4888-8999-AAAAAAAAAAAA"}, {"key", "00"}, {"key", ""},
		{"node", "n"}, {"", ""}};
	struct ct *t = *state;
	uint64_t size = mica_ledger_size(t->core->ledger);

	for (size_t i = 0; i < MICA_ARRAY_LEN(bad); i++)
		assert_refused(
			MICA_INVALID, "bad_deny_entry", deny(t, bad[i][0], bad[i][1], true, e));
	assert_int_equal(mica_ledger_size(t->core->ledger), size);
}

static void the_configuration_denies_too(void **state)
{
	struct ct *t = *state;
	struct mica_x509_request r;
	struct mica_caller who;

	ct_caller(t, NOW_MS, &who);
	r = ct_request(t, &who);
	t->config.deny_pod_uids = tk_list(POD_UID, NULL);
	reconfigure(t);
	refuses(t, MICA_DENIED, "denied_by_list", &r);
	t->config.deny_pod_uids = tk_list(NULL, NULL);
	t->config.deny_spiffe_ids = tk_list("spiffe://" TD "/ns", NULL);
	reconfigure(t);
	refuses(t, MICA_DENIED, "denied_by_list", &r);
	t->config.deny_spiffe_ids = tk_list(NULL, NULL);
	reconfigure(t);
	assert_ok(prepare(t, &r, NOW_MS, e));
}

static void the_list_can_be_read(void **state)
{
	struct ct *t = *state;
	static const char *const expected[] = {"spiffe_id " ID " store",
		"pod_uid " POD_UID " store", "key  store",
		"spiffe_id spiffe://" TD "/ns/x configuration"};
	char *hash = key_hash(t->leaf);
	MICA_AUTO_BUF json;
	json_t *doc, *one;
	size_t i;

	assert_ok(deny(t, "key", hash, true, e));
	assert_ok(deny(t, "pod_uid", POD_UID, true, e));
	assert_ok(deny(t, "spiffe_id", ID, true, e));
	t->config.deny_spiffe_ids = tk_list("spiffe://" TD "/ns/x", NULL);
	reconfigure(t);
	mica_buf_init(&json, 65536);
	assert_ok(mica_core_denied(t->core, &json, e));
	doc = ct_json(&json);
	assert_int_equal(json_array_size(json_object_get(doc, "denied")), 4);
	json_array_foreach (json_object_get(doc, "denied"), i, one) {
		const char *kind = json_string_value(json_object_get(one, "kind"));
		const char *value = json_string_value(json_object_get(one, "value"));

		if (strcmp(kind, "key") == 0) {
			assert_string_equal(value, hash);
			value = "";
		}
		assert_string_equal(tk_printf("%s %s %s", kind, value,
					    json_string_value(json_object_get(one, "source"))),
			expected[i]);
	}
	json_decref(doc);
}

/* ---- renewals -------------------------------------------------------------------------------- */

static void pods_renew_with_a_token(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k = ct_issue(t, 0, NOW_MS);
	struct mica_x509_request r;
	struct mica_caller who;

	ct_svid(t, k, NOW_MS, &who);
	r = ct_request(t, &who);
	refuses(t, MICA_DENIED, "fresh_evidence_needed", &r);
	mica_candidate_free(k);
}

static void renewals_keep_their_origin(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k = NULL, *next = NULL;
	uint64_t origin = 0;
	struct mica_caller who;

	t->issuers[0].renewal_max_age = 7200;
	reconfigure(t);
	k = ct_issue(t, 0, NOW_MS);
	origin = issued(k).ledger_index;
	for (int64_t at = NOW + 1800; at <= NOW + 7200; at += 1800) {
		struct mica_entry en;
		MICA_AUTO_BUF body;

		ct_svid(t, k, at * 1000, &who);
		assert_int_equal(who.evidence.kind, MICA_EV_RENEWAL);
		assert_string_equal(who.evidence.id, issued(k).serial_hex);
		next = ct_issue_for(t, &who, 0, at * 1000);
		ct_entry(t, issued(next).ledger_index, &body, &en);
		assert_int_equal(en.ev_kind, MICA_EV_RENEWAL);
		assert_true(mica_slice_eq_str(en.ev_id, issued(k).serial_hex));
		assert_int_equal(en.origin_index, origin);
		assert_int_equal(en.origin_time, NOW);
		assert_true(mica_slice_eq_str(en.pod, "checkout-1"));
		mica_candidate_free(k);
		k = next;
	}
	/* counted from the token, however often it was renewed in between */
	{
		struct mica_x509_request r;

		ct_svid(t, k, (NOW + 7201) * 1000, &who);
		r = ct_request(t, &who);
		assert_refused(MICA_DENIED, "fresh_evidence_needed",
			prepare(t, &r, (NOW + 7201) * 1000, e));
	}
	mica_candidate_free(k);
}

static void a_renewal_passes_the_same_checks(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k;
	struct mica_x509_request r;
	struct mica_caller who;

	t->issuers[0].renewal_max_age = 7200;
	reconfigure(t);
	k = ct_issue(t, 0, NOW_MS);
	ct_svid(t, k, NOW_MS, &who);
	r = ct_request(t, &who);
	assert_ok(prepare(t, &r, NOW_MS, e));
	assert_ok(deny(t, "pod_uid", POD_UID, true, e));
	refuses(t, MICA_DENIED, "denied_by_list", &r);
	assert_ok(deny(t, "pod_uid", POD_UID, false, e));
	/* the issuer may no longer make that name */
	t->issuers[0].spiffe_path = ct_str("/k8s/{namespace}/sa/{serviceaccount}");
	reconfigure(t);
	refuses(t, MICA_DENIED, "name_not_allowed", &r);
	mica_candidate_free(k);
}

/* ---- JWT-SVIDs ------------------------------------------------------------------------------- */

static json_t *part(const char **at)
{
	size_t len = strcspn(*at, "."), room = len;
	uint8_t *raw = tk_keep(mica_alloc(len + 1)) ? (uint8_t *)tk_bin[tk_binned - 1] : NULL;
	json_t *j;

	assert_int_equal(mica_b64url_decode(mica_slice(*at, len), raw, &room), MICA_OK);
	j = json_loadb((const char *)raw, room, 0, NULL);
	assert_non_null(j);
	*at += len + 1;
	return j;
}

static EVP_PKEY *jwk_key(const json_t *jwk)
{
	struct mica_pubkey pub;
	uint8_t x[32], y[32];
	size_t nx = 32, ny = 32;
	const uint8_t *at;
	EVP_PKEY *key;

	assert_int_equal(
		mica_b64url_decode(mica_json_str(json_object_get(jwk, "x")), x, &nx), MICA_OK);
	assert_int_equal(
		mica_b64url_decode(mica_json_str(json_object_get(jwk, "y")), y, &ny), MICA_OK);
	assert_ok(mica_pubkey_from_ec(MICA_KN_P256, mica_slice(x, nx), mica_slice(y, ny), &pub, e));
	at = pub.spki;
	key = d2i_PUBKEY(NULL, &at, pub.spki_len);
	assert_non_null(key);
	return key;
}

/* By OpenSSL, with the key that the bundle publishes under the token's kid. */
static void check_jwt(struct ct *t, const char *token, const char *kid)
{
	char *bundle = ct_snapshot(t, MICA_CHANNEL_LIVE, MICA_FMT_BUNDLE_JSON);
	json_t *doc = json_loads(bundle, 0, NULL), *jwk, *keys = json_object_get(doc, "keys");
	const char *dot = strrchr(token, '.');
	uint8_t raw[64], der[80], *p = der;
	size_t len = sizeof(raw), i, found = 0;

	assert_int_equal(mica_b64url_decode(mica_slice_str(dot + 1), raw, &len), MICA_OK);
	assert_int_equal(len, 64);
	json_array_foreach (keys, i, jwk) {
		const char *use = json_string_value(json_object_get(jwk, "use"));
		const char *id = json_string_value(json_object_get(jwk, "kid"));
		ECDSA_SIG *s;
		EVP_MD_CTX *c;
		EVP_PKEY *key;
		int n;

		if (strcmp(use, "jwt-svid") != 0 || strcmp(id, kid) != 0)
			continue;
		key = jwk_key(jwk);
		s = ECDSA_SIG_new();
		ECDSA_SIG_set0(s, BN_bin2bn(raw, 32, NULL), BN_bin2bn(raw + 32, 32, NULL));
		n = i2d_ECDSA_SIG(s, &p);
		c = EVP_MD_CTX_new();
		assert_int_equal(EVP_DigestVerifyInit(c, NULL, EVP_sha256(), NULL, key), 1);
		assert_int_equal(EVP_DigestVerify(c, der, (size_t)n, (const uint8_t *)token,
					 (size_t)(dot - token)),
			1);
		EVP_MD_CTX_free(c);
		ECDSA_SIG_free(s);
		EVP_PKEY_free(key);
		found++;
	}
	assert_int_equal(found, 1);
	json_decref(doc);
}

static void a_jwt_svid_holds_against_the_bundle(void **state)
{
	struct ct *t = *state;
	const struct mica_slice aud[] = {MICA_LIT("db"), MICA_LIT("queue")};
	struct mica_jwt_request r = {.audience = aud, .n_audience = 2, .ttl = 120};
	struct mica_candidate *k = NULL;
	struct mica_caller who;
	struct mica_entry en;
	MICA_AUTO_BUF body;
	json_t *head, *claims;
	const char *at;

	ct_caller(t, NOW_MS, &who);
	r.caller = &who;
	assert_ok(mica_core_prepare_jwt(t->core, &r, NOW_MS, &k, e));
	assert_ok(mica_core_commit(t->core, &k, 1, NOW_MS, e));
	at = issued(k).token;
	head = part(&at);
	claims = part(&at);
	assert_string_equal(json_string_value(json_object_get(head, "alg")), "ES256");
	check_jwt(t, issued(k).token, json_string_value(json_object_get(head, "kid")));
	assert_string_equal(json_string_value(json_object_get(claims, "sub")), ID);
	assert_int_equal(json_integer_value(json_object_get(claims, "exp")), NOW + 120);
	assert_int_equal(json_integer_value(json_object_get(claims, "iat")), NOW);
	assert_int_equal(json_array_size(json_object_get(claims, "aud")), 2);
	assert_null(json_object_get(claims, "iss"));
	ct_entry(t, issued(k).ledger_index, &body, &en);
	assert_int_equal(en.type, MICA_ENTRY_JWT_ISSUED);
	assert_true(mica_slice_eq_str(en.jti, json_string_value(json_object_get(claims, "jti"))));
	assert_true(mica_slice_eq_str(en.kid, json_string_value(json_object_get(head, "kid"))));
	assert_int_equal(en.n_aud, 2);
	/* its claims are recorded, never the token */
	assert_null(memmem(body.p, body.len, strrchr(issued(k).token, '.') + 1, 40));
	json_decref(head);
	json_decref(claims);
	mica_candidate_free(k);
}

static mica_rc prepare_jwt(
	struct ct *t, const struct mica_slice *aud, size_t n, int64_t ttl, struct mica_err *e)
{
	struct mica_jwt_request r = {.audience = aud, .n_audience = n, .ttl = ttl};
	struct mica_candidate *k = NULL;
	struct mica_caller who;
	mica_rc rc;

	ct_caller(t, NOW_MS, &who);
	r.caller = &who;
	rc = mica_core_prepare_jwt(t->core, &r, NOW_MS, &k, e);
	mica_candidate_free(k);
	return rc;
}

static void audiences_are_bounded(void **state)
{
	struct ct *t = *state;
	struct mica_slice aud[17], one = MICA_LIT("db");

	for (size_t i = 0; i < MICA_ARRAY_LEN(aud); i++)
		aud[i] = one;
	assert_ok(prepare_jwt(t, aud, 16, 0, e));
	assert_refused(MICA_INVALID, "audience_not_allowed", prepare_jwt(t, aud, 17, 0, e));
	assert_refused(MICA_INVALID, "audience_not_allowed", prepare_jwt(t, aud, 0, 0, e));
	aud[1] = MICA_LIT("");
	assert_refused(MICA_INVALID, "audience_not_allowed", prepare_jwt(t, aud, 2, 0, e));
	aud[1] = MICA_LIT("\xff\xfe");
	assert_refused(MICA_INVALID, "audience_not_allowed", prepare_jwt(t, aud, 2, 0, e));
	aud[1] = mica_slice_str(tk_printf("%0256d", 1));
	assert_refused(MICA_INVALID, "audience_not_allowed", prepare_jwt(t, aud, 2, 0, e));
	assert_refused(MICA_INVALID, "ttl_too_short", prepare_jwt(t, &one, 1, -5, e));
	t->config.jwt.audiences = tk_list("db", NULL);
	reconfigure(t);
	assert_ok(prepare_jwt(t, &one, 1, 0, e));
	aud[0] = MICA_LIT("queue");
	assert_refused(MICA_INVALID, "audience_not_allowed", prepare_jwt(t, aud, 1, 0, e));
}

static void jwt_issuer_and_ttl_follow_the_configuration(void **state)
{
	struct ct *t = *state;
	const struct mica_slice aud = MICA_LIT("db");
	struct mica_jwt_request r = {.audience = &aud, .n_audience = 1, .ttl = DAY};
	struct mica_candidate *k = NULL;
	struct mica_caller who;
	json_t *head, *claims;
	const char *at;

	t->config.jwt.oidc_discovery = true;
	t->config.https.public_host = ct_str("mica.example.org:8443");
	reconfigure(t);
	ct_caller(t, NOW_MS, &who);
	r.caller = &who;
	assert_ok(mica_core_prepare_jwt(t->core, &r, NOW_MS, &k, e));
	assert_ok(mica_core_commit(t->core, &k, 1, NOW_MS, e));
	assert_true(issued(k).ttl_clamped);
	assert_int_equal(issued(k).not_after, NOW + 3600);
	at = issued(k).token;
	head = part(&at);
	claims = part(&at);
	assert_string_equal(
		json_string_value(json_object_get(claims, "iss")), "https://mica.example.org:8443");
	assert_string_equal(json_string_value(json_object_get(claims, "aud")), "db");
	json_decref(head);
	json_decref(claims);
	mica_candidate_free(k);
}

/* ---- Mica's own ------------------------------------------------------------------------------ */

static void the_servers_certificate_has_its_names(void **state)
{
	struct ct *t = *state;
	struct mica_string_list dns = tk_list("mica.mica-system.svc", "localhost");
	struct mica_string_list ip = tk_list("127.0.0.1", "::1");
	struct mica_self_request r = {.dns_names = &dns, .ip_addresses = &ip};
	struct mica_candidate *k = NULL;
	struct mica_entry en;
	MICA_AUTO_BUF body;
	uint8_t *der = NULL;
	X509 *x;

	r.spki = mica_slice(NULL, (size_t)i2d_PUBKEY(t->leaf, &der));
	r.spki.p = der;
	assert_ok(mica_core_prepare_self(t->core, &r, NOW_MS, &k, e));
	assert_ok(mica_core_commit(t->core, &k, 1, NOW_MS, e));
	assert_string_equal(issued(k).spiffe_id, "spiffe://" TD "/mica/server");
	assert_int_equal(ct_openssl(t, issued(k).chain_der, 2, NOW), X509_V_OK);
	x = ct_x509(issued(k).chain_der[0]);
	assert_int_equal(X509_check_host(x, "localhost", 0, 0, NULL), 1);
	assert_int_equal(X509_check_host(x, "mica.mica-system.svc", 0, 0, NULL), 1);
	assert_int_equal(X509_check_host(x, "example.org", 0, 0, NULL), 0);
	assert_int_equal(X509_check_ip_asc(x, "127.0.0.1", 0), 1);
	assert_int_equal(X509_check_ip_asc(x, "::1", 0), 1);
	ct_entry(t, issued(k).ledger_index, &body, &en);
	assert_int_equal(en.ev_kind, MICA_EV_SELF);
	mica_candidate_free(k);
	ip = tk_list("127.0.0.1.example", NULL);
	assert_refused(MICA_INVALID, "address_invalid",
		mica_core_prepare_self(t->core, &r, NOW_MS, &k, e));
	ip = tk_list(NULL, NULL);
	dns = tk_list("*.example.org", NULL);
	assert_refused(MICA_INVALID, "dns_name_invalid",
		mica_core_prepare_self(t->core, &r, NOW_MS, &k, e));
	OPENSSL_free(der);
	X509_free(x);
}

static void the_callers_address_can_be_switched_off(void **state)
{
	struct ct *t = *state;
	struct mica_caller who;

	for (int keep = 1; keep >= 0; keep--) {
		struct mica_candidate *k;
		struct mica_entry en;
		MICA_AUTO_BUF body;

		t->config.log.caller_address = keep != 0;
		reconfigure(t);
		ct_caller(t, NOW_MS, &who);
		snprintf(who.address, sizeof(who.address), "10.0.0.7");
		k = ct_issue_for(t, &who, 0, NOW_MS);
		ct_entry(t, issued(k).ledger_index, &body, &en);
		assert_true(mica_slice_eq_str(en.address, keep ? "10.0.0.7" : ""));
		mica_candidate_free(k);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, ct_setup, ct_teardown)
		TEST(follows_the_profile),
		TEST(chain_pem_is_the_chain),
		TEST(times_follow_the_ttl),
		TEST(renewals_spread),
		TEST(nothing_outlives_its_issuer),
		TEST(not_before_never_precedes_the_issuers),
		TEST(says_whether_the_bundle_is_wanted),
		TEST(the_first_rule_that_matches_counts),
		TEST(dns_names_are_strict_and_ours_are_ours),
		TEST(rules_choose_key_types),
		TEST(bad_requests_are_refused),
		TEST(own_keys_are_refused),
		TEST(names_belong_to_their_issuer),
		TEST(a_full_disk_stops_issuance),
		TEST(who_is_denied_gets_nothing),
		TEST(a_name_beside_is_not_denied),
		TEST(bad_deny_entries_are_refused),
		TEST(the_configuration_denies_too),
		TEST(the_list_can_be_read),
		TEST(pods_renew_with_a_token),
		TEST(renewals_keep_their_origin),
		TEST(a_renewal_passes_the_same_checks),
		TEST(a_jwt_svid_holds_against_the_bundle),
		TEST(audiences_are_bounded),
		TEST(jwt_issuer_and_ttl_follow_the_configuration),
		TEST(the_servers_certificate_has_its_names),
		TEST(the_callers_address_can_be_switched_off),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
