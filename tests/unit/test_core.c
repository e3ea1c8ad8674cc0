/* SPDX-License-Identifier: Apache-2.0 */
/* The core's life: what init makes, what open refuses, what survives in between. */
#define _GNU_SOURCE /* memmem */
#include "coretest.h"

#include "../../ca/core_impl.h"

#include "mica/clock.h"

#include <lmdb.h>
#include <signal.h>
#include <sys/resource.h>

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

/* A full disk: the next `mica init` finds nothing in its way. */
static void a_failed_init_leaves_nothing(void **state)
{
	struct ct *t = *state;
	struct rlimit unlimited, little;
	struct mica_err why = MICA_ERR_INIT;

	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &unlimited), 0);
	little = unlimited;
	little.rlim_cur = 40000;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
	assert_int_not_equal(try_init(t, &why), MICA_OK);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &unlimited), 0);
	assert_int_equal(rmdir(t->dir), 0);
	assert_ok(try_init(t, e));
	assert_ok(try_open(t, e));
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
	struct mica_open_times times = {.clock = mica_mono_ns};

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

static void a_bad_configuration_changes_nothing(void **state)
{
	struct ct *t = *state;
	uint64_t generation = mica_core_generation(t->core);
	uint64_t size = mica_ledger_size(t->core->ledger);

	t->config.x509.ttl = 1000;
	t->rules[0] = (struct mica_rule){.issuer = ct_str(""),
		.ns = ct_str(""),
		.sa = ct_str(""),
		.dns = tk_list("{nobody}.svc", NULL)};
	t->config.n_rules = 1;
	assert_refused(MICA_INVALID, "template_unknown_field",
		mica_core_configure(t->core, &t->config, NOW_MS, e));
	t->config.n_rules = 0;
	t->config.deny_pod_uids = tk_list("x", NULL);
	assert_refused(MICA_INVALID, "bad_deny_entry",
		mica_core_configure(t->core, &t->config, NOW_MS, e));
	t->config.deny_pod_uids = tk_list(NULL, NULL);
	t->issuers[0].spiffe_path = ct_str("/mica/{namespace}");
	assert_refused(MICA_INVALID, "template_reserved",
		mica_core_configure(t->core, &t->config, NOW_MS, e));
	assert_int_equal(mica_core_generation(t->core), generation);
	assert_int_equal(mica_ledger_size(t->core->ledger), size);
	mica_candidate_free(ct_issue(t, 0, NOW_MS));
}

static bool take_id(void *ctx, struct mica_slice key, struct mica_slice value, uint64_t rev)
{
	(void)value;
	(void)rev;
	mica_buf_put_slice(ctx, key);
	return true;
}

static void a_store_without_authorities_is_refused(void **state)
{
	struct ct *t = *state;
	const struct mica_scan scan = {.table = MICA_T_AUTHORITY};
	struct mica_store *s = NULL;
	MICA_AUTO_BUF ids;

	ct_init(t);
	mica_buf_init(&ids, 1024);
	assert_ok(mica_store_open(t->dir, NULL, &s, e));
	assert_ok(mica_store_list(s, &scan, take_id, &ids, e));
	assert_int_equal(ids.len, 3 * 40);
	for (size_t i = 0; i < ids.len; i += 40) {
		struct mica_write w = {.table = MICA_T_AUTHORITY,
			.op = MICA_DELETE,
			.key = mica_slice(ids.p + i, 40)};
		struct mica_change ch = {.writes = &w, .n_writes = 1};

		assert_ok(mica_store_commit(s, &ch, 1, NULL, e));
	}
	mica_store_close(s);
	assert_refused(MICA_CORRUPT, "store_damaged", try_open(t, e));
}

/* ---- starts that cannot issue ------------------------------------------------------------------
 */

static void a_serving_key_is_kept(void **state)
{
	struct ct *t = *state;
	MICA_AUTO_SIGNER key = NULL;
	MICA_AUTO_SIGNER other = NULL;
	MICA_AUTO_SECRET in = NULL;
	MICA_AUTO_SECRET next = NULL;
	MICA_AUTO_SECRET out = NULL;
	MICA_AUTO_BUF chain, file;
	char path[128];

	mica_buf_init(&chain, 65536);
	mica_buf_init(&file, (size_t)64 << 20);
	assert_refused(
		MICA_NOT_FOUND, "no_serving_key", mica_core_kept_serving(t->core, &out, &chain, e));
	assert_ok(mica_signer_generate(MICA_KN_P256, &key, e));
	assert_ok(mica_signer_generate(MICA_KN_P256, &other, e));
	assert_ok(mica_signer_pkcs8(other, &in, e));
	assert_ok(mica_signer_pkcs8(key, &next, e));
	assert_ok(mica_core_keep_serving(t->core, in, MICA_LIT("old chain"), NOW_MS, e));
	assert_ok(mica_core_keep_serving(t->core, next, MICA_LIT("new chain"), NOW_MS, e));
	ct_reopen(t, NOW_MS);
	assert_ok(mica_core_kept_serving(t->core, &out, &chain, e));
	assert_true(mica_slice_eq_str(mica_buf_slice(&chain), "new chain"));
	assert_true(mica_slice_eq(mica_secret_view(out), mica_secret_view(next)));
	/* sealed: its octets are nowhere in the file */
	snprintf(path, sizeof(path), "%s/store.lmdb", t->dir);
	assert_ok(mica_file_read(path, &file, e));
	assert_null(memmem(file.p, file.len, mica_secret_view(out).p + 36, 32));
}

static void nothing_is_issued_by_rules_that_are_not_recorded(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k = NULL;
	struct mica_x509_request r;
	struct mica_caller who;
	CORE_AUTO_VIEW v = NULL;

	ct_caller(t, NOW_MS, &who);
	r = ct_request(t, &who);
	atomic_store(&t->core->rules_unrecorded, true);
	mica_store_set_fault(t->core->store, MICA_FAULT_FULL, 0);
	v = mica_core_view_get(t->core);
	v->policy->hash[0] ^= 1; /* as if the configuration were another one */
	assert_refused(MICA_UNAVAILABLE, "disk_full", mica_core_maintain(t->core, NOW_MS, NULL, e));
	assert_refused(
		MICA_UNAVAILABLE, "store_full", mica_core_prepare_x509(t->core, &r, NOW_MS, &k, e));
	assert_ok(mica_core_maintain(t->core, NOW_MS, NULL, e));
	mica_candidate_free(ct_issue(t, 0, NOW_MS));
}

/* Design 8.4: without a usable root micad serves reads. */
static void a_store_whose_authorities_are_over_is_read(void **state)
{
	struct ct *t = *state;
	int64_t then = NOW_MS + (int64_t)50 * 365 * DAY * 1000;
	const struct mica_snapshot *snap = NULL;
	struct mica_caller admin = ct_role(MICA_ROLE_ADMIN);
	struct mica_event_query q = {.limit = 10};
	MICA_AUTO_BUF json;

	mica_candidate_free(ct_issue(t, 0, NOW_MS));
	mica_buf_init(&json, (size_t)4 << 20);
	ct_reopen(t, then);
	assert_ok(mica_core_maintain(t->core, then, NULL, e));
	assert_ok(mica_core_snapshot(
		t->core, NULL, MICA_CHANNEL_LIVE, MICA_FMT_BUNDLE_JSON, &snap, e));
	mica_snapshot_unref(snap);
	assert_ok(mica_core_events(t->core, &admin, &q, &json, e));
	assert_ok(mica_core_status(t->core, then, &json, e));
	assert_refused(MICA_UNAVAILABLE, "no_active_authority", mica_core_ready(t->core, then, e));
}

/* ---- backup and restore ---------------------------------------------------------------------- */

static void refused_restore(struct ct *t, const char *backup, const struct mica_secret *pass,
	mica_rc rc, const char *reason)
{
	struct mica_caller who = ct_role(MICA_ROLE_ADMIN);
	struct mica_restore_result r;

	assert_refused(rc, reason,
		mica_core_restore(&t->config, pass, backup, MICA_SLICE_NULL, &who, NOW_MS + 2000,
			NULL, &r, e));
	assert_refused(MICA_NOT_FOUND, "store_missing", try_open(t, e));
	assert_int_equal(rmdir(t->dir), 0); /* it is empty */
}

/* A wrong passphrase is no reason to look for what must be removed before the next try. */
static void refused_restores_leave_nothing(struct ct *t, const char *backup)
{
	MICA_AUTO_SECRET wrong = mica_secret_new("wrong", 5);

	refused_restore(t, backup, wrong, MICA_UNAUTHENTICATED, "wrong_passphrase");
	t->config.trust_domain = ct_str("other.example");
	refused_restore(t, backup, t->pass, MICA_INVALID, "trust_domain_mismatch");
	t->config.trust_domain = ct_str(TD);
}

static void a_restored_store_goes_on(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k = ct_issue(t, 0, NOW_MS);
	struct mica_restore_result r;
	struct mica_check_result found;
	struct mica_issued i;
	struct mica_caller who = ct_role(MICA_ROLE_ADMIN);
	uint64_t first = mica_core_bundle_sequence(t->core, MICA_CHANNEL_LIVE), lost;
	char old_dir[64], backup[128];

	mica_candidate_issued(k, &i);
	snprintf(backup, sizeof(backup), "%s/backup", t->dir);
	assert_ok(mica_core_backup(t->core, backup, NULL, NULL, e));
	/* what comes behind the backup is lost, a bundle under a higher number too */
	t->config.bundle.refresh_hint = 600;
	assert_ok(mica_core_configure(t->core, &t->config, NOW_MS + 1000, e));
	lost = mica_core_bundle_sequence(t->core, MICA_CHANNEL_LIVE);
	assert_true(lost > first);
	t->config.bundle.refresh_hint = 300;
	ct_close(t);
	memcpy(old_dir, t->dir, sizeof(old_dir));
	ct_make_dir(t);
	refused_restores_leave_nothing(t, backup);
	assert_ok(mica_core_restore(
		&t->config, t->pass, backup, MICA_SLICE_NULL, &who, NOW_MS + 2000, NULL, &r, e));
	assert_string_equal(r.old_origin, t->born.origin);
	assert_string_not_equal(r.origin, t->born.origin);
	assert_ok(mica_core_check(&t->config, t->pass, NULL, NULL, &found, e));
	assert_int_equal(found.entries, r.entries);
	ct_open_at(t, NOW_MS + 3000);
	assert_string_equal(mica_ledger_key(t->core->ledger)->name, r.origin);
	/* holders of the lost one see the number grow */
	assert_true(mica_core_bundle_sequence(t->core, MICA_CHANNEL_LIVE) > lost);
	assert_ok(mica_core_authenticate_svid(
		t->core, i.chain_der, i.n_chain, NOW_MS + 3000, &who, e));
	assert_string_equal(who.principal.spiffe_id, ID);
	mica_candidate_free(ct_issue(t, 0, NOW_MS + 4000));
	mica_candidate_free(k);
	ct_remove(t);
	memcpy(t->dir, old_dir, sizeof(old_dir));
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
		EMPTY(a_failed_init_leaves_nothing),
		EMPTY(a_store_half_made_is_refused),
		EMPTY(a_newer_store_is_refused),
		EMPTY(only_one_opens_it),
		EMPTY(a_damaged_key_is_not_replaced),
		TEST(what_was_issued_is_there_after_a_restart),
		EMPTY(opening_tells_its_times),
		TEST(rules_are_recorded_when_they_change),
		TEST(a_bad_configuration_changes_nothing),
		EMPTY(a_store_without_authorities_is_refused),
		TEST(a_serving_key_is_kept),
		TEST(nothing_is_issued_by_rules_that_are_not_recorded),
		TEST(a_store_whose_authorities_are_over_is_read),
		TEST(a_restored_store_goes_on),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
