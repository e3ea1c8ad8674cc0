/* SPDX-License-Identifier: Apache-2.0 */
/* Revocation through the core: what is revoked neither comes in nor renews, and OpenSSL, with the
 * CRLs that are published, refuses it. */
#include "../../ca/core_impl.h"

#include "coretest.h"

#define TEST(f)  cmocka_unit_test_setup_teardown(f, ct_setup, ct_teardown)
#define VALIDITY (24 * 3600)

static const struct mica_caller *admin(void)
{
	static struct mica_caller a;

	a = ct_role(MICA_ROLE_ADMIN);
	return &a;
}

static void maintain(struct ct *t, int64_t now)
{
	assert_ok(mica_core_maintain(t->core, now * 1000, NULL, e));
}

static struct mica_slice serial_of(const struct mica_candidate *k)
{
	struct mica_issued i;

	mica_candidate_issued(k, &i);
	return mica_slice_str(tk_keep(mica_strdup(i.serial_hex)));
}

static void revoke_it(struct ct *t, const struct mica_candidate *k, int64_t now)
{
	assert_ok(mica_core_revoke_certificate(
		t->core, serial_of(k), MICA_LIT("key_compromise"), admin(), now * 1000, e));
}

static const struct mica_snapshot *crl(struct ct *t, const char *authority)
{
	const struct mica_snapshot *s = NULL;

	assert_ok(mica_core_crl(t->core, mica_slice_str(authority), MICA_CRL_DER, &s, e));
	return s;
}

static uint64_t number(struct ct *t, const char *authority)
{
	const struct mica_snapshot *s = crl(t, authority);
	uint64_t n = s->sequence;

	mica_snapshot_unref(s);
	return n;
}

/* OpenSSL's verdict on a chain with every CRL that is published, read from the PEM file. */
static int judge(struct ct *t, const struct mica_candidate *k, int64_t now, unsigned long flags)
{
	const struct mica_snapshot *all = NULL;
	struct mica_issued i;
	BIO *roots = BIO_new_mem_buf(ct_snapshot(t, MICA_CHANNEL_LIVE, MICA_FMT_BUNDLE_PEM), -1),
	    *lists;
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	STACK_OF(X509) *more = sk_X509_new_null();
	X509 *leaf;
	int err;

	mica_candidate_issued(k, &i);
	leaf = ct_x509(i.chain_der[0]);
	sk_X509_push(more, ct_x509(i.chain_der[1]));
	assert_ok(mica_core_crl(t->core, MICA_SLICE_NULL, MICA_CRL_ALL_PEM, &all, e));
	lists = BIO_new_mem_buf(all->bytes.p, (int)all->bytes.len);
	for (X509 *x; (x = PEM_read_bio_X509(roots, NULL, NULL, NULL)) != NULL; X509_free(x))
		X509_STORE_add_cert(store, x);
	for (X509_CRL *x; (x = PEM_read_bio_X509_CRL(lists, NULL, NULL, NULL)) != NULL;
		X509_CRL_free(x))
		assert_int_equal(X509_STORE_add_crl(store, x), 1);
	assert_int_equal(X509_STORE_CTX_init(ctx, store, leaf, more), 1);
	X509_VERIFY_PARAM_set_time(X509_STORE_CTX_get0_param(ctx), (time_t)now);
	X509_VERIFY_PARAM_set_flags(
		X509_STORE_CTX_get0_param(ctx), X509_V_FLAG_X509_STRICT | flags);
	err = X509_verify_cert(ctx) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(ctx);
	ERR_clear_error();
	X509_free(leaf);
	sk_X509_pop_free(more, X509_free);
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	BIO_free(roots);
	BIO_free(lists);
	mica_snapshot_unref(all);
	return err;
}

#define LEAF  X509_V_FLAG_CRL_CHECK
#define CHAIN (X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL)

static void relying_parties_learn_of_it(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *bad = ct_issue(t, 600, NOW_MS), *good = ct_issue(t, 600, NOW_MS);

	assert_int_equal(judge(t, bad, NOW, LEAF), X509_V_OK);
	assert_int_equal(judge(t, bad, NOW, CHAIN), X509_V_OK);
	revoke_it(t, bad, NOW + 1);
	assert_int_equal(judge(t, bad, NOW + 2, LEAF), X509_V_ERR_CERT_REVOKED);
	assert_int_equal(judge(t, bad, NOW + 2, CHAIN), X509_V_ERR_CERT_REVOKED);
	assert_int_equal(judge(t, good, NOW + 2, CHAIN), X509_V_OK);
	mica_candidate_free(bad);
	mica_candidate_free(good);
}

static void it_comes_in_no_more(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *bad = ct_issue(t, 600, NOW_MS), *good = ct_issue(t, 600, NOW_MS);
	struct mica_candidate *k = NULL;
	struct mica_caller who, before;
	struct mica_x509_request r;
	struct mica_issued i;

	ct_svid(t, bad, NOW_MS, &before);
	revoke_it(t, bad, NOW);
	mica_candidate_issued(bad, &i);
	assert_refused(MICA_UNAUTHENTICATED, "svid_revoked",
		mica_core_authenticate_svid(t->core, i.chain_der, i.n_chain, NOW_MS, &who, e));
	/* nor one who was let in a moment before */
	r = ct_request(t, &before);
	before.evidence.kind = MICA_EV_TOKEN; /* whatever else it has shown */
	assert_refused(MICA_UNAUTHENTICATED, "svid_revoked",
		mica_core_prepare_x509(t->core, &r, NOW_MS, &k, e));
	ct_svid(t, good, NOW_MS, &who);
	mica_candidate_free(bad);
	mica_candidate_free(good);
}

/* An issuer whose callers renew with their certificates. */
static struct mica_candidate *prepare(struct ct *t, const struct mica_caller *who, int64_t now)
{
	struct mica_x509_request r = ct_request(t, who);
	struct mica_candidate *k = NULL;

	assert_ok(mica_core_prepare_x509(t->core, &r, now * 1000, &k, e));
	return k;
}

static int renewals(void **state)
{
	struct ct *t = ct_new();

	t->issuers[0].renewal_max_age = DAY;
	ct_init(t);
	ct_open_at(t, NOW_MS);
	ct_set_jwks(t, NOW_MS);
	*state = t;
	return 0;
}

/* The read set: a renewal that was signed already, and not recorded, never leaves. */
static void a_renewal_under_way_is_overtaken(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *bad = ct_issue(t, 600, NOW_MS);
	struct mica_candidate *k[2];
	struct mica_caller by_svid, by_token;

	ct_svid(t, bad, NOW_MS, &by_svid);
	ct_caller(t, NOW_MS, &by_token);
	k[0] = prepare(t, &by_svid, NOW);
	k[1] = prepare(t, &by_token, NOW);
	revoke_it(t, bad, NOW);
	assert_ok(mica_core_commit(t->core, k, 2, NOW_MS, e));
	assert_int_equal(mica_candidate_rc(k[0]), MICA_CONFLICT);
	/* who came with a token is not held up */
	assert_int_equal(mica_candidate_rc(k[1]), MICA_OK);
	mica_candidate_free(k[0]);
	mica_candidate_free(k[1]);
	mica_candidate_free(bad);
}

#define refused(code, why, serial, reason, now)                                                    \
	assert_refused(code, why,                                                                  \
		mica_core_revoke_certificate(                                                      \
			t->core, serial, reason, admin(), (int64_t)(now)*1000, e))

static void each_refusal_has_its_reason(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k = ct_issue(t, 600, NOW_MS);
	struct mica_slice s = serial_of(k), none = MICA_SLICE_NULL;
	struct mica_event_query q = {.type = MICA_LIT("x509_issued"), .oldest_first = true};
	MICA_AUTO_BUF b;
	json_t *events;

	refused(MICA_INVALID, "bad_serial", MICA_LIT("12"), none, NOW);
	refused(MICA_INVALID, "bad_serial", MICA_LIT("zz"), none, NOW);
	refused(MICA_INVALID, "bad_reason", s, MICA_LIT("certificate_hold"), NOW);
	refused(MICA_NOT_FOUND, "no_such_certificate", MICA_LIT("01a20d612000c3d5b1a2978843f1e6aa"),
		none, NOW);
	refused(MICA_CONFLICT, "certificate_expired", s, none, NOW + 601);
	revoke_it(t, k, NOW);
	refused(MICA_CONFLICT, "revoked_already", s, none, NOW + 1);
	/* the first of all is the publisher's, micad's own */
	mica_buf_init(&b, 1 << 20);
	assert_ok(mica_core_events(t->core, admin(), &q, &b, e));
	events = ct_json(&b);
	s = mica_slice_str(tk_keep(mica_strdup(json_string_value(
		json_object_get(json_array_get(json_object_get(events, "events"), 0), "serial")))));
	json_decref(events);
	refused(MICA_CONFLICT, "own_certificate", s, none, NOW);
	mica_candidate_free(k);
}

static void it_stands_in_the_ledger_and_in_lists(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k = ct_issue(t, 600, NOW_MS);
	struct mica_event_query q = {.type = MICA_LIT("revocation")};
	struct mica_slice serial = serial_of(k);
	json_t *doc, *one;
	MICA_AUTO_BUF b;

	revoke_it(t, k, NOW + 1);
	mica_buf_init(&b, 1 << 20);
	assert_ok(mica_core_events(t->core, admin(), &q, &b, e));
	doc = ct_json(&b);
	assert_int_equal(json_array_size(json_object_get(doc, "events")), 1);
	one = json_array_get(json_object_get(doc, "events"), 0);
	assert_string_equal(json_string_value(json_object_get(one, "action")), "revoked");
	assert_string_equal(
		json_string_value(json_object_get(one, "authority")), t->born.issuing_id);
	one = json_object_get(one, "detail");
	assert_true(mica_slice_eq_str(serial, json_string_value(json_object_get(one, "serial"))));
	assert_string_equal(json_string_value(json_object_get(one, "reason")), "key_compromise");
	assert_string_equal(json_string_value(json_object_get(one, "spiffe_id")),
		"spiffe://" TD "/ns/payments/sa/checkout");
	json_decref(doc);
	mica_buf_reset(&b);
	assert_ok(mica_core_revocations(t->core, &b, e));
	doc = ct_json(&b);
	one = json_array_get(json_object_get(doc, "revoked"), 0);
	assert_string_equal(json_string_value(json_object_get(one, "at")), "2026-11-24T12:00:01Z");
	json_decref(doc);
	mica_buf_reset(&b);
	assert_ok(mica_core_certificate(t->core, admin(), serial, &b, e));
	doc = ct_json(&b);
	one = json_object_get(doc, "revoked");
	assert_string_equal(json_string_value(json_object_get(one, "reason")), "key_compromise");
	json_decref(doc);
	mica_candidate_free(k);
}

/* A start neither signs nor forgets; a clock that goes back makes no number smaller. */
static void numbers_only_grow(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *a = ct_issue(t, 6000, NOW_MS), *b = ct_issue(t, 6000, NOW_MS);
	uint64_t n[4];

	n[0] = number(t, t->born.issuing_id);
	assert_true(n[0] == NOW_MS);
	revoke_it(t, a, NOW + 60);
	n[1] = number(t, t->born.issuing_id);
	assert_true(n[1] == NOW_MS + 60000);
	assert_true(number(t, t->born.root_id) == NOW_MS); /* it names nothing else */
	ct_reopen(t, NOW_MS + 61000);
	assert_true(number(t, t->born.issuing_id) == n[1]);
	assert_int_equal(judge(t, a, NOW + 61, CHAIN), X509_V_ERR_CERT_REVOKED);
	ct_reopen(t, NOW_MS - 60000);
	revoke_it(t, b, NOW - 60);
	n[2] = number(t, t->born.issuing_id);
	assert_true(n[2] > n[1]);
	assert_int_equal(judge(t, b, NOW + 60, CHAIN), X509_V_ERR_CERT_REVOKED);
	mica_candidate_free(a);
	mica_candidate_free(b);
}

static void they_are_signed_anew_in_time(void **state)
{
	struct ct *t = *state;
	struct mica_core_stats s;
	uint64_t n = number(t, t->born.root_id);
	int64_t late = NOW + VALIDITY / 2 + 1;

	maintain(t, NOW + VALIDITY / 4 - 1);
	assert_true(number(t, t->born.root_id) == n);
	maintain(t, NOW + VALIDITY / 4);
	assert_true(number(t, t->born.root_id) > n);
	assert_true(number(t, t->born.issuing_id) > n);
	mica_core_stats(t->core, &s);
	assert_true(s.crls >= 2);
	assert_int_equal(s.crls_late, 0);
	assert_true(s.crl_end == NOW + VALIDITY / 4 + VALIDITY);
	/* nobody maintains it: the half of a life raises the alarm, long before anybody is refused
	 */
	mica_core_see_now(t->core, (late + VALIDITY / 4) * 1000);
	mica_core_stats(t->core, &s);
	assert_int_equal(s.crls_late, s.crls);
	maintain(t, late + VALIDITY / 4);
	mica_core_stats(t->core, &s);
	assert_int_equal(s.crls_late, 0);
}

/* RFC 5280 3.3 */
static void it_leaves_when_it_has_ended_long_ago(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k = ct_issue(t, 600, NOW_MS);
	struct mica_core_stats s;

	revoke_it(t, k, NOW);
	maintain(t, NOW + 600 + VALIDITY - 1);
	mica_core_stats(t->core, &s);
	assert_int_equal(s.revoked, 1);
	maintain(t, NOW + 600 + VALIDITY + 61);
	mica_core_stats(t->core, &s);
	assert_int_equal(s.revoked, 0);
	ct_reopen(t, NOW_MS + (600 + VALIDITY + 62) * (int64_t)1000);
	mica_core_stats(t->core, &s);
	assert_int_equal(s.revoked, 0);
	mica_candidate_free(k);
}

/* "Stop signing" means certificates. */
static void a_tainted_authority_still_says_what_is_revoked(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k = ct_issue(t, 600, NOW_MS);
	const struct mica_snapshot *s = NULL;
	int64_t last;

	assert_ok(mica_core_taint(t->core, t->born.issuing_id, admin(), NOW_MS, e));
	revoke_it(t, k, NOW + 1);
	assert_int_equal(judge(t, k, NOW + 1, LEAF), X509_V_ERR_CERT_REVOKED);
	/* the publisher's certificate lives longer than that of anybody */
	last = mica_core_last_leaf(t->core, t->born.issuing_id);
	maintain(t, last);
	mica_snapshot_unref(crl(t, t->born.issuing_id));
	maintain(t, last + t->config.rotation.skew + 1);
	assert_refused(MICA_NOT_FOUND, "no_such_crl",
		mica_core_crl(t->core, mica_slice_str(t->born.issuing_id), MICA_CRL_DER, &s, e));
	mica_candidate_free(k);
}

static void strangers_have_none(void **state)
{
	struct ct *t = *state;
	const struct mica_snapshot *s = NULL;

	assert_refused(MICA_NOT_FOUND, "no_such_crl",
		mica_core_crl(t->core, MICA_LIT("00"), MICA_CRL_DER, &s, e));
	assert_refused(MICA_NOT_FOUND, "no_such_crl",
		mica_core_crl(t->core, MICA_SLICE_NULL, MICA_CRL_PEM, &s, e));
}

/* ---- what does not go well --------------------------------------------------------------------
 */

static struct mica_slice record_key(const char *authority)
{
	return mica_slice_str(tk_printf("crl/%s", authority));
}

static void put(struct ct *t, enum mica_table table, struct mica_slice key, struct mica_slice value)
{
	struct mica_write w = {.table = table, .op = MICA_PUT, .key = key, .value = value};
	struct mica_change ch = {.writes = &w, .n_writes = 1};

	assert_ok(mica_store_commit(t->core->store, &ch, 1, NULL, e));
}

/* The end between the revocation and its CRL: the next start makes it. */
static void a_start_signs_what_was_not(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k = ct_issue(t, 600, NOW_MS);
	struct mica_slice key = record_key(t->born.issuing_id);
	MICA_AUTO_BUF before;

	mica_buf_init(&before, MICA_CRL_MAX);
	assert_ok(mica_store_get(t->core->store, MICA_T_SNAPSHOT, key, &before, NULL, e));
	revoke_it(t, k, NOW + 1);
	put(t, MICA_T_SNAPSHOT, key, mica_buf_slice(&before));
	ct_reopen(t, NOW_MS + 2000);
	assert_int_equal(judge(t, k, NOW + 2, LEAF), X509_V_ERR_CERT_REVOKED);
	mica_candidate_free(k);
}

static void a_full_disk_keeps_no_revocation_secret(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k = ct_issue(t, 600, NOW_MS);

	/* the revocation is recorded, the CRL cannot be written: it is published all the same */
	mica_store_set_fault(t->core->store, MICA_FAULT_FULL, 1);
	revoke_it(t, k, NOW + 1);
	assert_int_equal(judge(t, k, NOW + 2, LEAF), X509_V_ERR_CERT_REVOKED);
	maintain(t, NOW + 3);
	ct_reopen(t, NOW_MS + 4000);
	assert_int_equal(judge(t, k, NOW + 4, LEAF), X509_V_ERR_CERT_REVOKED);
	mica_candidate_free(k);
}

/* ---- a key that is elsewhere -------------------------------------------------------------------
 */

/* Takes the root's key out of the store; OpenSSL has it from then on. */
static EVP_PKEY *take_root_key(struct ct *t)
{
	MICA_AUTO_SECRET pkcs8 = NULL;
	MICA_AUTO_SIGNER signer = NULL;
	MICA_AUTO_AUTHORITY a;
	MICA_AUTO_BUF record;
	const uint8_t *at;
	EVP_PKEY *key;

	mica_buf_init(&record, MICA_AUTHORITY_RECORD_MAX);
	assert_ok(mica_store_get(t->core->store, MICA_T_AUTHORITY, mica_slice_str(t->born.root_id),
		&record, NULL, e));
	assert_ok(mica_authority_decode(mica_buf_slice(&record), &a, e));
	assert_ok(mica_kek_open(
		t->core->kek, MICA_KEY_ROOT, a.id, mica_buf_slice(&a.envelope), &signer, e));
	assert_ok(mica_signer_pkcs8(signer, &pkcs8, e));
	at = mica_secret_view(pkcs8).p;
	key = d2i_AutoPrivateKey(NULL, &at, (long)mica_secret_view(pkcs8).len);
	assert_non_null(key);
	mica_buf_reset(&a.envelope);
	mica_buf_reset(&record);
	assert_ok(mica_authority_encode(&a, &record, e));
	put(t, MICA_T_AUTHORITY, mica_slice_str(a.id), mica_buf_slice(&record));
	return key;
}

struct offline {
	EVP_PKEY *key;
	X509 *cert;
	long number;
	int64_t from, to;
};

/* A CRL as somebody makes it where the root's key is. */
static struct mica_slice make_crl(const struct offline *o)
{
	X509_CRL *x = X509_CRL_new();
	ASN1_INTEGER *number = ASN1_INTEGER_new();
	ASN1_TIME *time = ASN1_TIME_set(NULL, (time_t)o->from);
	BIO *b = BIO_new(BIO_s_mem());

	assert_int_equal(X509_CRL_set_version(x, 1), 1);
	assert_int_equal(X509_CRL_set_issuer_name(x, X509_get_subject_name(o->cert)), 1);
	assert_int_equal(X509_CRL_set1_lastUpdate(x, time), 1);
	ASN1_TIME_set(time, (time_t)o->to);
	assert_int_equal(X509_CRL_set1_nextUpdate(x, time), 1);
	ASN1_INTEGER_set(number, o->number);
	assert_int_equal(X509_CRL_add1_ext_i2d(x, NID_crl_number, number, 0, 0), 1);
	assert_true(X509_CRL_sign(x, o->key, EVP_sha256()) > 0);
	assert_int_equal(PEM_write_bio_X509_CRL(b, x), 1);
	ASN1_TIME_free(time);
	ASN1_INTEGER_free(number);
	X509_CRL_free(x);
	return mica_slice_str(ct_bio(b));
}

static mica_rc give(struct ct *t, const char *id, const struct offline *o, struct mica_err *err)
{
	return mica_core_import_crl(t->core, id, make_crl(o), admin(), (NOW + 100) * 1000, err);
}

static X509 *root_cert(struct ct *t)
{
	CORE_AUTO_VIEW v = mica_core_view_get(t->core);

	for (unsigned i = 0; i < v->auths->n; i++)
		if (strcmp(v->auths->v[i].id, t->born.root_id) == 0)
			return ct_x509(mica_buf_slice(&v->auths->v[i].cert));
	fail_msg("no root");
	return NULL;
}

#define given(code, why, id, o) assert_refused(code, why, give(t, id, o, e))

static void an_offline_root_has_one_too(void **state)
{
	struct ct *t = *state;
	const char *root = t->born.root_id;
	struct offline o = {.number = 3, .from = NOW, .to = NOW + 40 * DAY}, bad;
	struct mica_candidate *k = ct_issue(t, 6000, NOW_MS);
	EVP_PKEY *other = tk_ec("P-256");
	uint64_t last = number(t, root);
	struct mica_core_stats st;
	struct mica_slice pem;

	o.cert = root_cert(t);
	o.key = take_root_key(t);
	given(MICA_CONFLICT, "crl_signed_here", root, &o); /* the core has not seen it yet */
	ct_reopen(t, NOW_MS + 1000);
	/* the last one of before stands; what is not newer than it is refused */
	given(MICA_CONFLICT, "crl_not_newer", root, &o);
	o.number = (long)last + 1;
	bad = o;
	bad.key = other;
	given(MICA_INVALID, "crl_bad_signature", root, &bad);
	bad = o;
	bad.to = NOW + 99;
	given(MICA_INVALID, "crl_not_in_time", root, &bad);
	bad.from = NOW + 1000;
	bad.to = NOW + 2000;
	given(MICA_INVALID, "crl_not_in_time", root, &bad);
	given(MICA_NOT_FOUND, "no_such_authority", "00", &o);
	given(MICA_CONFLICT, "crl_signed_here", t->born.issuing_id, &o);
	assert_refused(MICA_INVALID, "crl_malformed",
		mica_core_import_crl(t->core, root, MICA_LIT(""), admin(), NOW_MS, e));
	assert_refused(MICA_INVALID, "pem_label",
		mica_core_import_crl(t->core, root, mica_slice_str(t->csr), admin(), NOW_MS, e));

	pem = make_crl(&o);
	assert_refused(MICA_INVALID, "crl_malformed",
		mica_core_import_crl(t->core, root,
			mica_slice_str(tk_printf("%.*s%.*s", MICA_FMT(pem), MICA_FMT(pem))),
			admin(), NOW_MS, e));
	for (unsigned i = 0; i < 2; i++) /* again is fine */
		assert_ok(mica_core_import_crl(t->core, root, pem, admin(), (NOW + 100) * 1000, e));
	assert_true(number(t, root) == last + 1);
	assert_int_equal(judge(t, k, NOW + 100, CHAIN), X509_V_OK);
	/* micad signs the others in time, and keeps this one; its half is told */
	maintain(t, NOW + 19 * (int64_t)DAY);
	assert_true(number(t, root) == last + 1);
	mica_core_stats(t->core, &st);
	assert_int_equal(st.crls_late, 0);
	maintain(t, NOW + 21 * (int64_t)DAY);
	mica_core_stats(t->core, &st);
	assert_int_equal(st.crls_late, 1);
	mica_candidate_free(k);
	EVP_PKEY_free(other);
	EVP_PKEY_free(o.key);
	X509_free(o.cert);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(relying_parties_learn_of_it),
		TEST(it_comes_in_no_more),
		cmocka_unit_test_setup_teardown(
			a_renewal_under_way_is_overtaken, renewals, ct_teardown),
		TEST(each_refusal_has_its_reason),
		TEST(it_stands_in_the_ledger_and_in_lists),
		TEST(numbers_only_grow),
		TEST(they_are_signed_anew_in_time),
		TEST(it_leaves_when_it_has_ended_long_ago),
		TEST(a_tainted_authority_still_says_what_is_revoked),
		TEST(strangers_have_none),
		TEST(a_start_signs_what_was_not),
		TEST(a_full_disk_keeps_no_revocation_secret),
		TEST(an_offline_root_has_one_too),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
