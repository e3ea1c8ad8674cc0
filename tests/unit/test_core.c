/* SPDX-License-Identifier: Apache-2.0 */
/* The core's life: what init makes, what open refuses, what survives in between. */
#define _GNU_SOURCE /* memmem */
#include "coretest.h"

#include "../../ca/core_impl.h"

#include <lmdb.h>

static mica_rc try_open(struct ct *t, struct mica_err *e)
{
	return mica_core_open(&t->config, t->pass, NOW_MS, &t->core, NULL, e);
}

static mica_rc try_init(struct ct *t, struct mica_err *e)
{
	return mica_core_init(&t->config, t->pass, NOW_MS, &t->born, e);
}

/* ---- the main line --------------------------------------------------------------------------- */

static void a_token_becomes_a_recorded_certificate(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k = ct_issue(t, 0, NOW_MS);
	struct mica_entry_keys keys;
	struct mica_issued i;
	struct mica_entry en;
	MICA_AUTO_BUF body;

	mica_candidate_issued(k, &i);
	assert_string_equal(i.spiffe_id, ID);
	assert_int_equal(i.n_chain, 2);
	assert_int_equal(ct_openssl(t, i.chain_der, i.n_chain, NOW), X509_V_OK);
	assert_int_not_equal(ct_openssl(t, i.chain_der, i.n_chain, i.not_after + 1), X509_V_OK);
	ct_entry(t, i.ledger_index, &body, &en);
	assert_int_equal(en.type, MICA_ENTRY_X509_ISSUED);
	assert_true(mica_slice_eq(en.certificate, i.chain_der[0]));
	assert_true(mica_slice_eq_str(en.issuer, "prod"));
	assert_true(mica_slice_eq_str(en.ns, "payments"));
	assert_true(mica_slice_eq_str(en.pod, "checkout-1"));
	assert_true(mica_slice_eq_str(en.ev_id, JTI));
	assert_int_equal(en.ev_kind, MICA_EV_TOKEN);
	assert_int_equal(en.origin_index, 0);
	assert_int_equal(en.origin_time, NOW);
	assert_ok(mica_entry_keys(&en, &keys, e));
	assert_true(mica_slice_eq_str(keys.spiffe_id, ID));
	mica_candidate_free(k);
}

/* ---- what init makes ------------------------------------------------------------------------- */

static void init_says_what_it_made(void **state)
{
	struct ct *t = *state;
	const struct mica_note_key *key;
	struct mica_note_key parsed;
	struct core_view *v;

	ct_init(t);
	ct_open_at(t, NOW_MS);
	key = mica_ledger_key(t->core->ledger);
	assert_string_equal(t->born.origin, key->name);
	assert_true(strncmp(t->born.origin, TD "/log/", strlen(TD "/log/")) == 0);
	assert_ok(mica_vkey_parse(mica_slice_str(t->born.vkey), &parsed, e));
	assert_true(mica_pubkey_eq(&parsed.key, &key->key));
	v = mica_core_view_get(t->core);
	assert_int_equal(v->auths->n, 3);
	for (unsigned i = 0; i < v->auths->n; i++) {
		const struct mica_authority *a = &v->auths->v[i];

		assert_int_equal(mica_authority_state_at(a, NOW), MICA_AS_ACTIVE);
		/* a root's key is unlocked for one signature, not kept */
		assert_int_equal(v->auths->more[i].key == NULL, a->kind == MICA_AUTHORITY_ROOT);
		if (a->kind == MICA_AUTHORITY_ROOT)
			assert_string_equal(a->id, t->born.root_id);
		if (a->kind == MICA_AUTHORITY_ISSUING) {
			assert_string_equal(a->id, t->born.issuing_id);
			assert_string_equal(a->parent, t->born.root_id);
			assert_int_equal(a->not_after, t->born.issuing_not_after);
		}
	}
	mica_core_view_unref(v);
}

static void init_records_what_it_made(void **state)
{
	static const char *const expected[] = {"log created", "authority created",
		"authority activated", "authority created", "authority activated",
		"authority created", "authority activated", "key created", "key created",
		"bundle published"};
	struct ct *t = *state;

	ct_init(t);
	ct_open_at(t, NOW_MS);
	for (size_t i = 0; i < MICA_ARRAY_LEN(expected); i++) {
		struct mica_entry en;
		MICA_AUTO_BUF body;
		char text[64];

		ct_entry(t, i, &body, &en);
		snprintf(text, sizeof(text), "%s %.*s", mica_entry_type_name(en.type),
			MICA_FMT(en.action));
		assert_string_equal(text, expected[i]);
		assert_int_equal(en.actor, MICA_ACTOR_SYSTEM);
	}
}

static void no_key_lies_in_the_clear(void **state)
{
	struct ct *t = *state;
	struct core_view *v;
	MICA_AUTO_BUF file;
	char path[128];

	ct_init(t);
	ct_open_at(t, NOW_MS);
	snprintf(path, sizeof(path), "%s/store.lmdb", t->dir);
	mica_buf_init(&file, 64 << 20);
	assert_ok(mica_file_read(path, &file, e));
	v = mica_core_view_get(t->core);
	for (unsigned i = 0; i < v->auths->n; i++) {
		MICA_AUTO_SECRET secret = NULL;
		struct mica_slice pub = mica_buf_slice(&v->auths->v[i].spki), der;

		/* the public half is found: we look in the right place */
		assert_non_null(memmem(file.p, file.len, pub.p, pub.len));
		if (!v->auths->more[i].key)
			continue;
		assert_ok(mica_signer_pkcs8(v->auths->more[i].key->signer, &secret, e));
		der = mica_secret_view(secret);
		/* PKCS #8 of P-256: the private number is octets 36 to 67 */
		assert_true(der.len > 68);
		assert_null(memmem(file.p, file.len, der.p + 36, 32));
	}
	mica_core_view_unref(v);
}

/* ---- refusals -------------------------------------------------------------------------------- */

static void open_needs_a_store(void **state)
{
	struct ct *t = *state;

	assert_refused(MICA_NOT_FOUND, "store_missing", try_open(t, e));
	assert_null(t->core);
}

static void wrong_passphrase_opens_nothing(void **state)
{
	struct ct *t = *state;
	struct mica_secret *right = t->pass;

	ct_init(t);
	t->pass = mica_secret_new("wrong horse", 11);
	assert_refused(MICA_UNAUTHENTICATED, "wrong_passphrase", try_open(t, e));
	mica_secret_free(t->pass);
	t->pass = right;
	ct_open_at(t, NOW_MS);
}

static void init_touches_no_store_that_is_there(void **state)
{
	struct ct *t = *state;
	struct mica_init_result first;

	ct_init(t);
	first = t->born;
	assert_refused(MICA_CONFLICT, "store_exists", try_init(t, e));
	ct_open_at(t, NOW_MS);
	assert_string_equal(first.origin, mica_ledger_key(t->core->ledger)->name);
}

static void a_trust_domain_is_for_ever(void **state)
{
	struct ct *t = *state;

	ct_init(t);
	t->config.trust_domain = ct_str("example.com");
	assert_refused(MICA_INVALID, "trust_domain_mismatch", try_open(t, e));
	t->config.trust_domain = ct_str(TD);
	ct_open_at(t, NOW_MS);
	t->config.trust_domain = ct_str("example.com");
	assert_refused(MICA_INVALID, "trust_domain_mismatch",
		mica_core_configure(t->core, &t->config, NOW_MS, e));
}

static void a_bad_trust_domain_makes_no_store(void **state)
{
	struct ct *t = *state;

	t->config.trust_domain = ct_str("Example.org");
	assert_refused(MICA_INVALID, "trust_domain_invalid", try_init(t, e));
	assert_refused(MICA_NOT_FOUND, "store_missing", try_open(t, e));
}

static void a_store_half_made_is_refused(void **state)
{
	struct ct *t = *state;
	struct mica_store *s = NULL;

	assert_ok(mica_store_create(t->dir, NULL, &s, e));
	mica_store_close(s);
	assert_refused(MICA_CORRUPT, "store_partial", try_open(t, e));
	assert_refused(MICA_CONFLICT, "store_exists", try_init(t, e));
}

static void write_format(struct ct *t, const void *value, size_t len)
{
	char path[128];
	MDB_val k = {2, (void *)(uintptr_t) "\0f"}, v = {len, (void *)(uintptr_t)value};
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;

	snprintf(path, sizeof(path), "%s/store.lmdb", t->dir);
	assert_int_equal(mdb_env_create(&env), 0);
	mdb_env_set_maxdbs(env, 8);
	assert_int_equal(mdb_env_open(env, path, MDB_NOSUBDIR, 0600), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
	assert_int_equal(mdb_dbi_open(txn, "record", 0, &dbi), 0);
	assert_int_equal(mdb_put(txn, dbi, &k, &v, 0), 0);
	assert_int_equal(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
}

static void a_newer_store_is_refused(void **state)
{
	struct ct *t = *state;

	ct_init(t);
	write_format(t, "MICA\0\0\0\2\1", 9);
	assert_refused(MICA_CORRUPT, "store_newer", try_open(t, e));
	write_format(t, "MICA\0\0\0\1\1", 9);
	ct_open_at(t, NOW_MS);
}

static void only_one_opens_it(void **state)
{
	struct ct *t = *state;
	struct mica_core *first;

	ct_init(t);
	ct_open_at(t, NOW_MS);
	first = t->core;
	t->core = NULL;
	assert_refused(MICA_CONFLICT, "store_locked", try_open(t, e));
	t->core = first;
}

/* A key that does not open is an error, never a reason for a new one. */
static void a_damaged_key_is_not_replaced(void **state)
{
	struct ct *t = *state;
	struct mica_write w = {.table = MICA_T_KEY,
		.op = MICA_PUT,
		.key = MICA_LIT("log"),
		.value = MICA_LIT("x")};
	struct mica_change ch = {.writes = &w, .n_writes = 1};
	struct mica_store *s = NULL;

	ct_init(t);
	assert_ok(mica_store_open(t->dir, NULL, &s, e));
	assert_ok(mica_store_commit(s, &ch, 1, NULL, e));
	mica_store_close(s);
	assert_refused(MICA_CORRUPT, "key_envelope_malformed", try_open(t, e));
	w.op = MICA_DELETE;
	assert_ok(mica_store_open(t->dir, NULL, &s, e));
	assert_ok(mica_store_commit(s, &ch, 1, NULL, e));
	mica_store_close(s);
	assert_refused(MICA_CORRUPT, "store_damaged", try_open(t, e));
}

/* ---- what survives --------------------------------------------------------------------------- */

static void what_was_issued_is_there_after_a_restart(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k = ct_issue(t, 0, NOW_MS);
	struct mica_issued i;
	struct mica_caller who;
	uint64_t size = mica_ledger_size(t->core->ledger);

	mica_candidate_issued(k, &i);
	ct_reopen(t, NOW_MS + 5000);
	/* the same configuration, publisher and bundle: nothing new is recorded */
	assert_int_equal(mica_ledger_size(t->core->ledger), size);
	assert_ok(mica_core_authenticate_svid(
		t->core, i.chain_der, i.n_chain, NOW_MS + 6000, &who, e));
	assert_string_equal(who.principal.spiffe_id, ID);
	assert_int_equal(ct_openssl(t, i.chain_der, i.n_chain, NOW), X509_V_OK);
	mica_candidate_free(k);
}

static void opening_tells_its_times(void **state)
{
	struct ct *t = *state;
	struct mica_open_times times = {-1, -1};

	ct_init(t);
	assert_ok(mica_core_open(&t->config, t->pass, NOW_MS, &t->core, &times, e));
	assert_true(times.unlock_ns > 0 && times.open_ns > 0);
}

/* A change of rules is recorded once and moves the generation. */
static void rules_are_recorded_when_they_change(void **state)
{
	struct ct *t = *state;
	uint64_t size = mica_ledger_size(t->core->ledger);
	uint64_t generation = mica_core_generation(t->core);
	struct mica_entry en;
	MICA_AUTO_BUF body;

	assert_ok(mica_core_configure(t->core, &t->config, NOW_MS, e));
	assert_int_equal(mica_ledger_size(t->core->ledger), size);
	t->config.x509.max_ttl = 7200;
	assert_ok(mica_core_configure(t->core, &t->config, NOW_MS, e));
	assert_true(mica_core_generation(t->core) > generation);
	assert_int_equal(mica_ledger_size(t->core->ledger), size + 1);
	ct_entry(t, size, &body, &en);
	assert_true(mica_slice_eq_str(en.action, "rules_changed"));
	ct_reopen(t, NOW_MS);
	assert_int_equal(mica_ledger_size(t->core->ledger), size + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(fn)  cmocka_unit_test_setup_teardown(fn, ct_setup, ct_teardown)
#define EMPTY(fn) cmocka_unit_test_setup_teardown(fn, ct_setup_empty, ct_teardown)
		TEST(a_token_becomes_a_recorded_certificate),
		EMPTY(init_says_what_it_made),
		EMPTY(init_records_what_it_made),
		EMPTY(no_key_lies_in_the_clear),
		EMPTY(open_needs_a_store),
		EMPTY(wrong_passphrase_opens_nothing),
		EMPTY(init_touches_no_store_that_is_there),
		EMPTY(a_trust_domain_is_for_ever),
		EMPTY(a_bad_trust_domain_makes_no_store),
		EMPTY(a_store_half_made_is_refused),
		EMPTY(a_newer_store_is_refused),
		EMPTY(only_one_opens_it),
		EMPTY(a_damaged_key_is_not_replaced),
		TEST(what_was_issued_is_there_after_a_restart),
		EMPTY(opening_tells_its_times),
		TEST(rules_are_recorded_when_they_change),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
