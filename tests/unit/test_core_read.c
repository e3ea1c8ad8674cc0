/* SPDX-License-Identifier: Apache-2.0 */
/* What may be read by whom; acknowledgements, records, backups; how the core says it is. */
#include "coretest.h"

#include "../../ca/core_impl.h"

#include <stdio.h>

static struct mica_issued issued(const struct mica_candidate *k)
{
	struct mica_issued i;

	mica_candidate_issued(k, &i);
	return i;
}

static const char *str(const json_t *obj, const char *name)
{
	return json_string_value(json_object_get(obj, name));
}

static int64_t num(const json_t *obj, const char *name)
{
	return json_integer_value(json_object_get(obj, name));
}

/* ---- proofs ---------------------------------------------------------------------------------- */

static mica_rc proof(struct ct *t, const struct mica_caller *reader, uint64_t index,
	struct mica_buf *out, struct mica_err *e)
{
	mica_buf_init(out, 65536);
	return mica_core_proof(t->core, reader, index, out, e);
}

static void a_proof_is_for_its_holder_and_auditors(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k = ct_issue(t, 0, NOW_MS);
	struct mica_caller own, other, auditor = ct_role(MICA_ROLE_AUDITOR), none = ct_role(0);
	uint64_t index = issued(k).ledger_index;
	const struct mica_caller *const may[] = {&own, &auditor};
	struct mica_entry en;
	MICA_AUTO_BUF body, out;

	ct_svid(t, k, NOW_MS, &own);
	ct_other(t, NOW_MS, &other);
	ct_entry(t, index, &body, &en);
	for (size_t i = 0; i < MICA_ARRAY_LEN(may); i++) {
		MICA_AUTO_BUF good;

		assert_ok(proof(t, may[i], index, &good, e));
		assert_ok(mica_receipt_check(mica_buf_slice(&good), mica_buf_slice(&body),
			mica_ledger_key(t->core->ledger), NULL, e));
	}
	/* others do not learn whether it is there */
	assert_refused(MICA_NOT_FOUND, "no_such_entry", proof(t, &other, index, &out, e));
	assert_refused(MICA_NOT_FOUND, "no_such_entry", proof(t, &none, index, &out, e));
	assert_refused(MICA_NOT_FOUND, "no_such_entry", proof(t, &other, 99999, &out, e));
	assert_refused(MICA_NOT_FOUND, "no_such_entry", proof(t, &auditor, 99999, &out, e));
	/* entries of administration are nobody's */
	assert_refused(MICA_NOT_FOUND, "no_such_entry", proof(t, &own, 0, &out, e));
	mica_candidate_free(k);
}

static void a_certificate_is_for_its_holder_and_auditors(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k = ct_issue(t, 0, NOW_MS);
	struct mica_caller own, other, auditor = ct_role(MICA_ROLE_AUDITOR);
	struct mica_slice serial;
	MICA_AUTO_BUF json;
	json_t *doc;
	BIO *b;
	X509 *x, *want;

	struct mica_issued i = issued(k);
	serial = mica_slice_str(i.serial_hex);
	mica_buf_init(&json, 65536);
	ct_caller(t, NOW_MS, &own);
	ct_other(t, NOW_MS, &other);
	assert_ok(mica_core_certificate(t->core, &own, serial, &json, e));
	doc = ct_json(&json);
	assert_string_equal(str(doc, "spiffe_id"), ID);
	assert_string_equal(str(doc, "serial"), i.serial_hex);
	assert_string_equal(str(doc, "authority"), t->born.issuing_id);
	assert_int_equal(num(doc, "ledger_index"), i.ledger_index);
	assert_string_equal(str(json_object_get(json_object_get(doc, "event"), "principal"), "pod"),
		"checkout-1");
	b = BIO_new_mem_buf(str(doc, "certificate"), -1);
	x = PEM_read_bio_X509(b, NULL, NULL, NULL);
	want = ct_x509(i.chain_der[0]);
	assert_int_equal(X509_cmp(x, want), 0);
	X509_free(x);
	X509_free(want);
	BIO_free(b);
	json_decref(doc);
	mica_buf_reset(&json);
	assert_ok(mica_core_certificate(t->core, &auditor, serial, &json, e));
	assert_refused(MICA_NOT_FOUND, "no_such_certificate",
		mica_core_certificate(t->core, &other, serial, &json, e));
	assert_refused(MICA_NOT_FOUND, "no_such_certificate",
		mica_core_certificate(
			t->core, &auditor, MICA_LIT("01020304050607080102030405060708"), &json, e));
	assert_refused(MICA_INVALID, "bad_serial",
		mica_core_certificate(t->core, &auditor, MICA_LIT("0102"), &json, e));
	assert_refused(MICA_INVALID, "bad_serial",
		mica_core_certificate(t->core, &auditor, MICA_LIT(""), &json, e));
	mica_candidate_free(k);
}

/* ---- static files ---------------------------------------------------------------------------- */

static void the_log_can_be_followed(void **state)
{
	struct ct *t = *state;
	struct mica_checkpoint at;
	struct mica_hash leaf;
	MICA_AUTO_BUF note, tile, bundle;
	struct mica_cursor cur;

	mica_candidate_free(ct_issue(t, 0, NOW_MS));
	mica_buf_init(&note, MICA_CHECKPOINT_MAX);
	mica_buf_init(&tile, MICA_TILE_BYTES);
	mica_buf_init(&bundle, 1 << 20);
	assert_ok(mica_core_checkpoint(t->core, &note, e));
	assert_ok(mica_checkpoint_open(
		mica_buf_slice(&note), mica_ledger_key(t->core->ledger), &at, e));
	assert_string_equal(at.origin, t->born.origin);
	assert_true(at.size > 10 && at.size < 256);
	assert_ok(mica_core_tile(t->core, 0, 0, (unsigned)at.size, &tile, e));
	assert_ok(mica_core_entry_bundle(t->core, 0, (unsigned)at.size, &bundle, e));
	assert_int_equal(tile.len, at.size * MICA_HASH_LEN);
	cur = (struct mica_cursor){mica_buf_slice(&bundle), false};
	for (uint64_t i = 0; i < at.size; i++) {
		mica_merkle_leaf(mica_cur_take(&cur, mica_cur_be16(&cur)), &leaf);
		assert_memory_equal(leaf.b, tile.p + i * MICA_HASH_LEN, MICA_HASH_LEN);
	}
	assert_false(cur.bad);
	assert_refused(MICA_NOT_FOUND, "no_such_tile",
		mica_core_tile(t->core, 0, 0, (unsigned)at.size + 1, &tile, e));
	assert_refused(MICA_NOT_FOUND, "no_such_tile", mica_core_tile(t->core, 9, 0, 1, &tile, e));
	assert_refused(MICA_NOT_FOUND, "no_such_tile",
		mica_core_tile(t->core, 0, UINT64_MAX, 1, &tile, e));
	assert_refused(MICA_NOT_FOUND, "no_such_tile",
		mica_core_entry_bundle(t->core, UINT64_MAX, 256, &bundle, e));
	assert_refused(
		MICA_NOT_FOUND, "no_such_tile", mica_core_entry_bundle(t->core, 0, 0, &bundle, e));
}

/* ---- events ---------------------------------------------------------------------------------- */

static json_t *events(
	struct ct *t, const struct mica_caller *reader, const struct mica_event_query *q)
{
	MICA_AUTO_BUF json;

	mica_buf_init(&json, 4 << 20);
	assert_ok(mica_core_events(t->core, reader, q, &json, e));
	return ct_json(&json);
}

static size_t count(
	struct ct *t, const struct mica_caller *reader, const struct mica_event_query *q)
{
	json_t *doc = events(t, reader, q);
	size_t n = json_array_size(json_object_get(doc, "events"));

	json_decref(doc);
	return n;
}

/* Five of ours a second apart, three of another's. */
static void fill(struct ct *t, struct mica_caller *own, struct mica_caller *other)
{
	ct_caller(t, NOW_MS, own);
	ct_other(t, NOW_MS, other);
	for (int i = 0; i < 5; i++)
		mica_candidate_free(ct_issue_for(t, own, 0, NOW_MS + 1000 * i));
	for (int i = 0; i < 3; i++)
		mica_candidate_free(ct_issue_for(t, other, 0, NOW_MS + 1000 * i));
}

static void filters_hold_together(void **state)
{
	struct ct *t = *state;
	struct mica_caller own, other, auditor = ct_role(MICA_ROLE_AUDITOR);
	const struct mica_event_query all = {.limit = 1000};
	struct mica_event_query q = all;

	fill(t, &own, &other);
	q.spiffe_id = MICA_LIT(ID);
	assert_int_equal(count(t, &auditor, &q), 5);
	q.since = NOW + 2;
	assert_int_equal(count(t, &auditor, &q), 3);
	q.until = NOW + 3;
	assert_int_equal(count(t, &auditor, &q), 2);
	q = all;
	q.pod_uid = MICA_LIT(POD_UID);
	assert_int_equal(count(t, &auditor, &q), 5);
	q = all;
	q.type = MICA_LIT("authority");
	assert_int_equal(count(t, &auditor, &q), 6);
	q.type = MICA_LIT("x509_issued"); /* with the publisher's */
	assert_int_equal(count(t, &auditor, &q), 9);
	q.spiffe_id = MICA_LIT("spiffe://" TD "/mica/publisher");
	assert_int_equal(count(t, &auditor, &q), 1);
	q.spiffe_id = MICA_LIT("spiffe://" TD "/nobody");
	assert_int_equal(count(t, &auditor, &q), 0);
}

static void bad_filters_are_refused(void **state)
{
	static const struct mica_event_query bad[] = {{.limit = 1001}, {.since = -1},
		{.until = INT64_MAX}, {.pod_uid = {(const uint8_t *)"x", 1}},
		{.serial = {(const uint8_t *)"00", 2}}, {.type = {(const uint8_t *)"leaf", 4}}};
	struct ct *t = *state;
	struct mica_caller auditor = ct_role(MICA_ROLE_AUDITOR);
	MICA_AUTO_BUF json;

	mica_buf_init(&json, 65536);
	for (size_t i = 0; i < MICA_ARRAY_LEN(bad); i++)
		assert_refused(MICA_INVALID, "bad_filter",
			mica_core_events(t->core, &auditor, &bad[i], &json, e));
	assert_refused(MICA_INVALID, "bad_cursor",
		mica_core_events(t->core, &auditor,
			&(struct mica_event_query){.cursor = MICA_LIT("nonsense")}, &json, e));
	assert_int_equal(json.len, 0); /* nothing half made */
}

static void a_cursor_stays_valid_while_entries_come(void **state)
{
	struct ct *t = *state;
	struct mica_caller own, other, auditor = ct_role(MICA_ROLE_AUDITOR);
	struct mica_event_query q = {.spiffe_id = MICA_LIT(ID), .oldest_first = false, .limit = 2};
	int64_t last = INT64_MAX;
	size_t seen = 0;
	json_t *doc, *ev;
	char cursor[MICA_CURSOR_SIZE];
	size_t i;

	fill(t, &own, &other);
	for (;;) {
		doc = events(t, &auditor, &q);
		json_array_foreach (json_object_get(doc, "events"), i, ev) {
			assert_true(num(ev, "index") < last);
			last = num(ev, "index");
			seen++;
		}
		if (json_is_null(json_object_get(doc, "next")))
			break;
		snprintf(cursor, sizeof(cursor), "%s", str(doc, "next"));
		q.cursor = mica_slice_str(cursor);
		json_decref(doc);
		/* new ones do not disturb those who read backwards */
		mica_candidate_free(ct_issue_for(t, &own, 0, NOW_MS + 60000));
	}
	json_decref(doc);
	assert_int_equal(seen, 5);
}

static void workloads_see_their_own(void **state)
{
	struct ct *t = *state;
	struct mica_caller own, other, none = ct_role(0);
	struct mica_event_query q = {.limit = 1000};
	size_t i;
	json_t *doc, *ev;

	fill(t, &own, &other);
	doc = events(t, &own, &q);
	assert_int_equal(json_array_size(json_object_get(doc, "events")), 5);
	json_array_foreach (json_object_get(doc, "events"), i, ev)
		assert_string_equal(str(ev, "spiffe_id"), ID);
	json_decref(doc);
	q.spiffe_id = mica_slice_str(other.principal.spiffe_id);
	assert_int_equal(count(t, &own, &q), 0);
	assert_int_equal(count(t, &other, &q), 3);
	q.spiffe_id = MICA_SLICE_NULL;
	q.type = MICA_LIT("authority");
	assert_int_equal(count(t, &own, &q), 0);
	assert_int_equal(count(t, &none, &q), 0);
}

/* ---- acknowledgements ------------------------------------------------------------------------ */

static uint64_t held(struct ct *t, const struct mica_caller *who)
{
	uint8_t key[18] = {MICA_CHANNEL_LIVE, who->has_serial ? 's' : 'p'};
	struct mica_cursor cur;
	MICA_AUTO_BUF b;

	mica_buf_init(&b, 4096);
	memcpy(key + 2, who->has_serial ? who->serial : who->principal.pod_uid.b, 16);
	if (mica_store_get(t->core->store, MICA_T_HOLDER, mica_slice(key, sizeof(key)), &b, NULL,
		    NULL) != MICA_OK)
		return 0;
	cur = (struct mica_cursor){mica_buf_slice(&b), false};
	assert_int_equal(mica_cur_u8(&cur), 1);
	return mica_cur_be64(&cur);
}

static void who_says_that_it_holds_a_bundle_is_remembered(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k = ct_issue(t, 0, NOW_MS);
	uint64_t seq = mica_core_bundle_sequence(t->core, MICA_CHANNEL_LIVE);
	struct mica_caller by_svid, by_pod, none = ct_role(MICA_ROLE_ADMIN);
	const struct mica_caller *const both[] = {&by_svid, &by_pod};

	ct_svid(t, k, NOW_MS, &by_svid);
	ct_caller(t, NOW_MS, &by_pod);
	for (size_t i = 0; i < MICA_ARRAY_LEN(both); i++) {
		assert_ok(mica_core_ack(t->core, both[i], MICA_CHANNEL_LIVE, seq - 1, NOW_MS, e));
		assert_ok(mica_core_ack(t->core, both[i], MICA_CHANNEL_LIVE, seq, NOW_MS, e));
		/* a late older word takes nothing back */
		assert_ok(mica_core_ack(t->core, both[i], MICA_CHANNEL_LIVE, seq - 2, NOW_MS, e));
		assert_int_equal(held(t, both[i]), 0); /* written behind */
	}
	assert_ok(mica_core_maintain(t->core, NOW_MS + 1000, NULL, e));
	assert_int_equal(held(t, &by_svid), seq);
	assert_int_equal(held(t, &by_pod), seq);
	assert_refused(MICA_INVALID, "no_such_sequence",
		mica_core_ack(t->core, &by_svid, MICA_CHANNEL_LIVE, seq + 1, NOW_MS, e));
	assert_refused(MICA_INVALID, "no_such_sequence",
		mica_core_ack(t->core, &by_svid, MICA_CHANNEL_LIVE, 0, NOW_MS, e));
	assert_refused(MICA_INVALID, "no_holder",
		mica_core_ack(t->core, &none, MICA_CHANNEL_LIVE, seq, NOW_MS, e));
	assert_refused(MICA_INVALID, "no_such_channel",
		mica_core_ack(t->core, &by_svid, MICA_CHANNEL_COUNT, seq, NOW_MS, e));
	mica_candidate_free(k);
}

static void acks_outlive_restarts_and_not_their_certificate(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k = ct_issue(t, 0, NOW_MS);
	uint64_t seq = mica_core_bundle_sequence(t->core, MICA_CHANNEL_LIVE);
	struct mica_caller who;

	ct_svid(t, k, NOW_MS, &who);
	assert_ok(mica_core_ack(t->core, &who, MICA_CHANNEL_LIVE, seq, NOW_MS, e));
	assert_ok(mica_core_maintain(t->core, NOW_MS + 1000, NULL, e));
	ct_reopen(t, NOW_MS + 2000);
	assert_int_equal(held(t, &who), seq);
	assert_ok(mica_core_maintain(t->core, NOW_MS + 3000000, NULL, e));
	assert_int_equal(held(t, &who), seq);
	assert_ok(mica_core_maintain(t->core, NOW_MS + 3700000, NULL, e));
	assert_int_equal(held(t, &who), 0);
	mica_candidate_free(k);
}

static void many_acks_are_bounded_and_all_written(void **state)
{
	struct ct *t = *state;
	uint64_t seq = mica_core_bundle_sequence(t->core, MICA_CHANNEL_LIVE);
	struct mica_caller who;
	unsigned n = 2500;

	ct_caller(t, NOW_MS, &who);
	for (unsigned i = 0; i < n; i++) {
		memcpy(who.principal.pod_uid.b + 12, &i, 4);
		assert_ok(mica_core_ack(t->core, &who, MICA_CHANNEL_LIVE, seq, NOW_MS, e));
	}
	for (int i = 1; i <= 3; i++)
		assert_ok(mica_core_maintain(t->core, NOW_MS + 1000 * i, NULL, e));
	for (unsigned i = 0; i < n; i++) {
		memcpy(who.principal.pod_uid.b + 12, &i, 4);
		assert_int_equal(held(t, &who), seq);
	}
	for (unsigned i = 0; i < CORE_ACKS_MAX; i++) {
		memcpy(who.principal.pod_uid.b + 12, &i, 4);
		assert_ok(mica_core_ack(t->core, &who, MICA_CHANNEL_LIVE, seq, NOW_MS, e));
	}
	memset(who.principal.pod_uid.b, 0xff, 16);
	assert_refused(MICA_LIMIT, "too_many_acks",
		mica_core_ack(t->core, &who, MICA_CHANNEL_LIVE, seq, NOW_MS, e));
}

/* ---- administration -------------------------------------------------------------------------- */

static void changes_are_recorded_with_their_actor(void **state)
{
	struct ct *t = *state;
	struct mica_caller local = ct_role(MICA_ROLE_ADMIN), remote;
	struct mica_entry en;
	MICA_AUTO_BUF one, two;

	local.uid = 1000;
	ct_caller(t, NOW_MS, &remote);
	assert_ok(mica_core_record(
		t->core, "reloaded", &local, MICA_LIT("{\"file\":\"x\"}"), NOW_MS, e));
	ct_entry(t, mica_ledger_size(t->core->ledger) - 1, &one, &en);
	assert_int_equal(en.type, MICA_ENTRY_ADMIN);
	assert_true(mica_slice_eq_str(en.action, "reloaded"));
	assert_true(mica_slice_eq_str(en.detail, "{\"file\":\"x\"}"));
	assert_int_equal(en.actor, MICA_ACTOR_LOCAL);
	assert_int_equal(en.uid, 1000);
	assert_ok(mica_core_record(t->core, "backup", &remote, MICA_SLICE_NULL, NOW_MS, e));
	ct_entry(t, mica_ledger_size(t->core->ledger) - 1, &two, &en);
	assert_int_equal(en.actor, MICA_ACTOR_SPIFFE);
	assert_true(mica_slice_eq_str(en.actor_id, ID));
	assert_refused(MICA_INVALID, "entry_invalid",
		mica_core_record(t->core, "No Such", NULL, MICA_SLICE_NULL, NOW_MS, e));
	assert_refused(MICA_INVALID, "entry_invalid",
		mica_core_record(t->core, "reloaded", NULL, MICA_LIT("[]"), NOW_MS, e));
}

static void a_backup_holds_what_was_issued(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k = ct_issue(t, 0, NOW_MS);
	struct mica_store *copy = NULL;
	char path[256], dir[128];
	MICA_AUTO_BUF a, b;

	snprintf(path, sizeof(path), "%s/backup", t->dir);
	snprintf(dir, sizeof(dir), "%s/x", t->dir);
	assert_ok(mica_core_backup(t->core, path, NULL, NULL, e));
	assert_refused(
		MICA_CONFLICT, "exists_already", mica_core_backup(t->core, path, NULL, NULL, e));
	assert_ok(mica_backup_open(path, dir, NULL, &copy, e));
	mica_buf_init(&a, 1 << 20);
	mica_buf_init(&b, 1 << 20);
	assert_ok(mica_store_head(copy, &a, e));
	assert_ok(mica_store_head(t->core->store, &b, e));
	assert_true(mica_slice_eq(mica_buf_slice(&a), mica_buf_slice(&b)));
	mica_store_close(copy);
	snprintf(path, sizeof(path), "%s/store.lmdb", dir);
	unlink(path);
	snprintf(path, sizeof(path), "%s/store.lmdb-lock", dir);
	unlink(path);
	rmdir(dir);
	mica_candidate_free(k);
}

/* ---- how it is ------------------------------------------------------------------------------- */

static void the_configuration_says_what_callers_may_know(void **state)
{
	struct ct *t = *state;
	MICA_AUTO_BUF json;
	json_t *doc, *issuer;

	mica_buf_init(&json, 65536);
	assert_ok(mica_core_configuration(t->core, &json, e));
	doc = ct_json(&json);
	assert_string_equal(str(doc, "trust_domain"), TD);
	issuer = json_array_get(json_object_get(doc, "issuers"), 0);
	assert_string_equal(str(issuer, "name"), "prod");
	assert_string_equal(
		json_string_value(json_array_get(
			json_object_get(json_object_get(issuer, "audiences"), "istio"), 0)),
		"istio-ca");
	assert_int_equal(num(json_object_get(doc, "x509"), "max_ttl"), DAY);
	assert_int_equal(
		json_array_size(json_object_get(json_object_get(doc, "x509"), "key_types")), 3);
	assert_string_equal(str(json_object_get(doc, "log"), "vkey"), t->born.vkey);
	json_decref(doc);
}

static void the_status_shows_derived_states(void **state)
{
	struct ct *t = *state;
	unsigned tainted = 0, active = 0;
	MICA_AUTO_BUF json;
	json_t *doc, *a, *log;
	size_t i;

	mica_candidate_free(ct_issue(t, 0, NOW_MS));
	assert_ok(mica_core_taint(t->core, t->born.issuing_id, NULL, NOW_MS, e));
	mica_buf_init(&json, 65536);
	assert_ok(mica_core_status(t->core, NOW_MS, &json, e));
	doc = ct_json(&json);
	json_array_foreach (json_object_get(doc, "authorities"), i, a) {
		tainted += strcmp(str(a, "state"), "tainted") == 0;
		active += strcmp(str(a, "state"), "active") == 0;
		if (strcmp(str(a, "id"), t->born.issuing_id) == 0)
			assert_non_null(str(a, "last_leaf_expiry"));
		if (strcmp(str(a, "kind"), "root") == 0)
			assert_string_equal(str(a, "key"), "locked");
	}
	assert_int_equal(tainted, 1);
	assert_int_equal(active, 2);
	log = json_object_get(doc, "log");
	assert_int_equal(num(log, "size"), mica_ledger_size(t->core->ledger));
	assert_int_equal(num(json_array_get(json_object_get(doc, "issuers"), 0), "keys"), 1);
	assert_true(json_is_false(json_object_get(json_object_get(doc, "store"), "failed")));
	json_decref(doc);
}

static void readiness_is_proved(void **state)
{
	struct ct *t = *state;

	assert_ok(mica_core_ready(t->core, NOW_MS, e));
	assert_ok(mica_core_taint(t->core, t->born.issuing_id, NULL, NOW_MS, e));
	assert_refused(
		MICA_UNAVAILABLE, "no_active_authority", mica_core_ready(t->core, NOW_MS, e));
}

static void figures_count(void **state)
{
	struct ct *t = *state;
	struct mica_core_stats s;

	mica_candidate_free(ct_issue(t, 0, NOW_MS));
	assert_ok(mica_core_maintain(t->core, NOW_MS + 1000, NULL, e));
	mica_core_stats(t->core, &s);
	assert_int_equal(s.entries, mica_ledger_size(t->core->ledger));
	assert_int_equal(s.x509_issued, 2); /* the publisher's, too */
	assert_int_equal(s.jwt_issued, 0);
	assert_int_equal(s.issuing_not_after, t->born.issuing_not_after);
	assert_int_equal(s.root_not_after, t->born.root_not_after);
	assert_true(s.store_bytes > 0 && s.disk_free_bytes > 0 && !s.space_low);
	assert_int_equal(s.bundle_sequence, mica_core_bundle_sequence(t->core, MICA_CHANNEL_LIVE));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, ct_setup, ct_teardown)
		TEST(a_proof_is_for_its_holder_and_auditors),
		TEST(a_certificate_is_for_its_holder_and_auditors),
		TEST(the_log_can_be_followed),
		TEST(filters_hold_together),
		TEST(bad_filters_are_refused),
		TEST(a_cursor_stays_valid_while_entries_come),
		TEST(workloads_see_their_own),
		TEST(who_says_that_it_holds_a_bundle_is_remembered),
		TEST(acks_outlive_restarts_and_not_their_certificate),
		TEST(many_acks_are_bounded_and_all_written),
		TEST(changes_are_recorded_with_their_actor),
		TEST(a_backup_holds_what_was_issued),
		TEST(the_configuration_says_what_callers_may_know),
		TEST(the_status_shows_derived_states),
		TEST(readiness_is_proved),
		TEST(figures_count),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
