/* SPDX-License-Identifier: Apache-2.0 */
/* From candidates to answers: what conflicts, what fails, and what must never leave. */
#include "coretest.h"

#include "../../ca/core_impl.h"

#include <sched.h>
#include <stdio.h>

static struct mica_candidate *prepared(struct ct *t, int64_t now_ms)
{
	struct mica_candidate *k = NULL;
	struct mica_x509_request r;
	struct mica_caller who;

	ct_caller(t, now_ms, &who);
	r = ct_request(t, &who);
	assert_ok(mica_core_prepare_x509(t->core, &r, now_ms, &k, e));
	return k;
}

static struct mica_issued issued(const struct mica_candidate *k)
{
	struct mica_issued i;

	mica_candidate_issued(k, &i);
	return i;
}

/* Nothing of it can be sent. */
static void assert_withheld(const struct mica_candidate *k)
{
	struct mica_issued i = issued(k);

	assert_null(i.chain_der);
	assert_null(i.token);
	assert_null(i.spiffe_id);
	assert_int_equal(i.chain_pem.len, 0);
	assert_string_equal(i.serial_hex, "");
}

static void assert_conflict(struct ct *t, struct mica_candidate *k)
{
	uint64_t size = mica_ledger_size(t->core->ledger);

	assert_ok(mica_core_commit(t->core, &k, 1, NOW_MS, e));
	assert_int_equal(mica_candidate_rc(k), MICA_CONFLICT);
	assert_withheld(k);
	assert_int_equal(mica_ledger_size(t->core->ledger), size);
	mica_candidate_free(k);
}

/* ---- batches --------------------------------------------------------------------------------- */

static void a_batch_is_recorded_in_one_commit(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k[50];
	struct mica_core_stats before, after;

	mica_core_stats(t->core, &before);
	for (size_t i = 0; i < MICA_ARRAY_LEN(k); i++) {
		k[i] = prepared(t, NOW_MS);
		assert_withheld(k[i]); /* not before the commit */
	}
	assert_ok(mica_core_commit(t->core, k, MICA_ARRAY_LEN(k), NOW_MS, e));
	for (size_t i = 0; i < MICA_ARRAY_LEN(k); i++) {
		struct mica_entry en;
		MICA_AUTO_BUF body;

		assert_int_equal(mica_candidate_rc(k[i]), MICA_OK);
		assert_int_equal(issued(k[i]).ledger_index, before.entries + i);
		ct_entry(t, issued(k[i]).ledger_index, &body, &en);
		assert_true(mica_slice_eq(en.certificate, issued(k[i]).chain_der[0]));
		mica_candidate_free(k[i]);
	}
	mica_core_stats(t->core, &after);
	assert_int_equal(after.commits, before.commits + 1);
	assert_int_equal(after.x509_issued, before.x509_issued + MICA_ARRAY_LEN(k));
	assert_ok(mica_core_commit(t->core, NULL, 0, NOW_MS, e));
}

static void old_and_new_decisions_are_told_apart(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k[4];
	uint64_t size;

	k[0] = prepared(t, NOW_MS);
	k[2] = prepared(t, NOW_MS);
	assert_ok(mica_core_deny(
		t->core, "spiffe_id", MICA_LIT("spiffe://" TD "/ns/x"), true, NULL, NOW_MS, e));
	k[1] = prepared(t, NOW_MS);
	k[3] = prepared(t, NOW_MS);
	size = mica_ledger_size(t->core->ledger);
	assert_ok(mica_core_commit(t->core, k, 4, NOW_MS, e));
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(mica_candidate_rc(k[i]), i % 2 ? MICA_OK : MICA_CONFLICT);
		if (i % 2 == 0) {
			assert_withheld(k[i]);
		} else {
			struct mica_entry en;
			MICA_AUTO_BUF body;

			ct_entry(t, issued(k[i]).ledger_index, &body, &en);
			assert_true(mica_slice_eq(en.certificate, issued(k[i]).chain_der[0]));
		}
		mica_candidate_free(k[i]);
	}
	assert_int_equal(mica_ledger_size(t->core->ledger), size + 2);
}

static void new_keys_of_an_issuer_disturb_nothing(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k = prepared(t, NOW_MS);

	ct_set_jwks(t, NOW_MS + 1);
	assert_ok(mica_core_commit(t->core, &k, 1, NOW_MS, e));
	assert_int_equal(mica_candidate_rc(k), MICA_OK);
	mica_candidate_free(k);
}

/* ---- conflicts ------------------------------------------------------------------------------- */

static void a_denial_in_between_conflicts(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k = prepared(t, NOW_MS);

	assert_ok(mica_core_deny(t->core, "pod_uid", MICA_LIT(POD_UID), true, NULL, NOW_MS, e));
	assert_conflict(t, k);
}

static void a_rule_in_between_conflicts(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k = prepared(t, NOW_MS);

	t->config.x509.max_ttl = 1800;
	assert_ok(mica_core_configure(t->core, &t->config, NOW_MS, e));
	assert_conflict(t, k);
}

static const char *jwt_id(struct ct *t)
{
	struct core_view *v = mica_core_view_get(t->core);
	const char *id = tk_printf("%s", v->auths->v[v->auths->active[MICA_AUTHORITY_JWT]].id);

	mica_core_view_unref(v);
	return id;
}

static void a_taint_in_between_conflicts(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k = prepared(t, NOW_MS);
	struct mica_caller admin = ct_role(MICA_ROLE_ADMIN), who;
	uint64_t generation = mica_core_generation(t->core), size;
	struct mica_x509_request r;
	struct mica_entry en;
	MICA_AUTO_BUF body;

	assert_ok(mica_core_taint(t->core, t->born.issuing_id, &admin, NOW_MS, e));
	assert_true(mica_core_generation(t->core) > generation);
	size = mica_ledger_size(t->core->ledger);
	/* behind it stand the bundles of both channels, which say whose certificates must be
	 * renewed */
	ct_entry(t, size - 3, &body, &en);
	assert_true(mica_slice_eq_str(en.action, "tainted"));
	assert_int_equal(en.actor, MICA_ACTOR_LOCAL);
	assert_int_equal(en.pid, 4711);
	assert_conflict(t, k);
	/* not only the one in flight: nothing more is signed, also by a clock that is behind, and
	 * behind a restart */
	for (int round = 0; round < 2; round++) {
		ct_caller(t, NOW_MS, &who);
		r = ct_request(t, &who);
		for (int64_t at = NOW_MS - 2000; at <= NOW_MS + 2000; at += 1000)
			assert_refused(MICA_UNAVAILABLE, "no_active_authority",
				mica_core_prepare_x509(t->core, &r, at, &k, e));
		assert_refused(MICA_UNAVAILABLE, "no_active_authority",
			mica_core_ready(t->core, NOW_MS, e));
		ct_reopen(t, NOW_MS);
	}
	assert_int_equal(mica_ledger_size(t->core->ledger), size);
}

static void a_taint_names_one_authority_once(void **state)
{
	struct ct *t = *state;
	const char *id = jwt_id(t);

	assert_refused(MICA_NOT_FOUND, "no_such_authority",
		mica_core_taint(t->core, "00", NULL, NOW_MS, e));
	assert_ok(mica_core_taint(t->core, id, NULL, NOW_MS, e));
	assert_refused(
		MICA_CONFLICT, "tainted_already", mica_core_taint(t->core, id, NULL, NOW_MS, e));
}

static void another_authoritys_taint_disturbs_nothing(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k = prepared(t, NOW_MS);

	assert_ok(mica_core_taint(t->core, jwt_id(t), NULL, NOW_MS, e));
	assert_ok(mica_core_commit(t->core, &k, 1, NOW_MS, e));
	assert_int_equal(mica_candidate_rc(k), MICA_OK);
	mica_candidate_free(k);
}

/* ---- stores that fail ------------------------------------------------------------------------ */

static void a_full_disk_answers_unavailable_and_recovers(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k = prepared(t, NOW_MS);
	uint64_t size = mica_ledger_size(t->core->ledger);

	mica_store_set_fault(t->core->store, MICA_FAULT_FULL, 0);
	assert_refused(MICA_UNAVAILABLE, "disk_full", mica_core_commit(t->core, &k, 1, NOW_MS, e));
	assert_int_equal(mica_candidate_rc(k), MICA_UNAVAILABLE);
	assert_withheld(k);
	assert_int_equal(mica_ledger_size(t->core->ledger), size);
	/* when there is space it goes on, with the same candidate too */
	assert_ok(mica_core_commit(t->core, &k, 1, NOW_MS, e));
	assert_int_equal(mica_candidate_rc(k), MICA_OK);
	assert_int_equal(issued(k).ledger_index, size);
	mica_candidate_free(k);
	mica_candidate_free(ct_issue(t, 0, NOW_MS));
}

static void an_unknown_outcome_answers_nobody(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k = prepared(t, NOW_MS), *later = NULL;
	struct mica_x509_request r;
	struct mica_caller who;

	ct_caller(t, NOW_MS, &who);
	r = ct_request(t, &who);
	mica_store_set_fault(t->core->store, MICA_FAULT_UNKNOWN, 0);
	assert_refused(MICA_INTERNAL, "commit_failed", mica_core_commit(t->core, &k, 1, NOW_MS, e));
	assert_int_equal(mica_candidate_rc(k), MICA_INTERNAL);
	assert_withheld(k);
	/* and from then on nothing is signed or recorded */
	assert_refused(MICA_UNAVAILABLE, "store_failed",
		mica_core_prepare_x509(t->core, &r, NOW_MS, &later, e));
	assert_refused(MICA_UNAVAILABLE, "store_failed", mica_core_ready(t->core, NOW_MS, e));
	assert_refused(MICA_INTERNAL, "store_failed", mica_core_maintain(t->core, NOW_MS, NULL, e));
	assert_refused(MICA_INTERNAL, "store_failed", mica_core_commit(t->core, &k, 1, NOW_MS, e));
	mica_candidate_free(k);
	/* a restart finds one consistent ledger */
	ct_reopen(t, NOW_MS);
	mica_candidate_free(ct_issue(t, 0, NOW_MS));
}

static void a_change_that_cannot_be_recorded_does_not_hold(void **state)
{
	struct ct *t = *state;

	mica_store_set_fault(t->core->store, MICA_FAULT_FULL, 0);
	assert_refused(MICA_UNAVAILABLE, "disk_full",
		mica_core_taint(t->core, t->born.issuing_id, NULL, NOW_MS, e));
	mica_store_set_fault(t->core->store, MICA_FAULT_FULL, 0);
	assert_refused(MICA_UNAVAILABLE, "disk_full",
		mica_core_deny(t->core, "pod_uid", MICA_LIT(POD_UID), true, NULL, NOW_MS, e));
	mica_candidate_free(ct_issue(t, 0, NOW_MS));
}

/* ---- the last leaf --------------------------------------------------------------------------- */

static int64_t last_leaf(struct ct *t)
{
	MICA_AUTO_BUF b, key;

	mica_buf_init(&b, 64);
	mica_buf_init(&key, 64);
	mica_buf_printf(&key, "last_leaf/%s", t->born.issuing_id);
	assert_ok(
		mica_store_get(t->core->store, MICA_T_COUNTER, mica_buf_slice(&key), &b, NULL, e));
	assert_int_equal(b.len, 8);
	return (int64_t)mica_cur_be64(&(struct mica_cursor){mica_buf_slice(&b), false});
}

static void the_last_leafs_end_is_kept(void **state)
{
	struct ct *t = *state;
	struct mica_candidate *k;
	int64_t end;

	/* removal of an authority waits for it: it may be a minute late, never early. (Above what
	 * the publisher's own certificate has.) */
	t->config.x509.max_ttl = 3 * DAY;
	assert_ok(mica_core_configure(t->core, &t->config, NOW_MS, e));
	k = ct_issue(t, 3 * DAY - 7, NOW_MS);
	end = issued(k).not_after;
	assert_in_range(last_leaf(t), end, end + 60);
	mica_candidate_free(k);
	mica_candidate_free(ct_issue(t, 60, NOW_MS));
	assert_in_range(last_leaf(t), end, end + 60);
	ct_reopen(t, NOW_MS); /* memory starts anew, the store's value stays */
	mica_candidate_free(ct_issue(t, 60, NOW_MS));
	assert_in_range(last_leaf(t), end, end + 60);
	k = ct_issue(t, 3 * DAY, NOW_MS + 3600000);
	assert_in_range(last_leaf(t), end + 3600, end + 3600 + 67);
	mica_candidate_free(k);
}

/* ---- under load ------------------------------------------------------------------------------ */

#define FRONTS 3
#define QUEUE  64

struct load {
	struct ct *t;
	pthread_mutex_t lock;
	struct mica_candidate *queue[QUEUE];
	unsigned n;
	atomic_bool stop, tainted;
	atomic_uint issued, conflicts, unavailable;
	struct mica_caller who;
};

static void *front(void *ctx)
{
	struct load *l = ctx;
	struct mica_x509_request r = ct_request(l->t, &l->who);

	while (!atomic_load(&l->stop)) {
		struct mica_candidate *k = NULL;
		mica_rc rc = mica_core_prepare_x509(l->t->core, &r, NOW_MS, &k, NULL);
		bool put = false;

		if (rc == MICA_UNAVAILABLE) {
			atomic_fetch_add(&l->unavailable, 1);
			sched_yield();
			continue;
		}
		while (rc == MICA_OK && !put && !atomic_load(&l->stop)) {
			pthread_mutex_lock(&l->lock);
			put = l->n < QUEUE;
			if (put)
				l->queue[l->n++] = k;
			pthread_mutex_unlock(&l->lock);
			if (!put)
				sched_yield();
		}
		if (!put)
			mica_candidate_free(k);
	}
	return NULL;
}

static void *committer(void *ctx)
{
	struct load *l = ctx;

	for (;;) {
		struct mica_candidate *k[QUEUE];
		unsigned n;

		pthread_mutex_lock(&l->lock);
		n = l->n;
		memcpy(k, l->queue, n * sizeof(k[0]));
		l->n = 0;
		pthread_mutex_unlock(&l->lock);
		if (n == 0 && atomic_load(&l->stop))
			return NULL;
		if (n > 0 && mica_core_commit(l->t->core, k, n, NOW_MS, NULL) != MICA_OK)
			abort();
		for (unsigned i = 0; i < n; i++) {
			atomic_fetch_add(
				mica_candidate_rc(k[i]) == MICA_OK ? &l->issued : &l->conflicts, 1);
			mica_candidate_free(k[i]);
		}
	}
}

static void *reader(void *ctx)
{
	struct load *l = ctx;

	while (!atomic_load(&l->stop)) {
		const struct mica_snapshot *s = NULL;
		struct mica_core_stats stats;

		if (mica_core_snapshot(l->t->core, NULL, MICA_CHANNEL_LIVE, MICA_FMT_BUNDLE_JSON,
			    &s, NULL) != MICA_OK ||
			s->bytes.p[0] != '{')
			abort();
		mica_snapshot_unref(s);
		mica_core_stats(l->t->core, &stats);
		sched_yield();
	}
	return NULL;
}

static void wait_for(atomic_uint *what, unsigned least)
{
	while (atomic_load(what) < least)
		sched_yield();
}

/* Design 8.2: after a taint no entry of a higher index names the tainted authority. */
static void no_entry_behind_a_taint_names_the_tainted(void **state)
{
	struct ct *t = *state;
	struct load l = {.t = t};
	pthread_t threads[FRONTS + 2];
	uint64_t at = 0, end, of_it = 0;
	uint8_t id[MICA_KEY_ID_LEN];
	size_t len = sizeof(id);

	assert_int_equal(mica_hex_decode(mica_slice_str(t->born.issuing_id), id, &len), MICA_OK);
	pthread_mutex_init(&l.lock, NULL);
	ct_caller(t, NOW_MS, &l.who);
	for (unsigned i = 0; i < FRONTS; i++)
		pthread_create(&threads[i], NULL, front, &l);
	pthread_create(&threads[FRONTS], NULL, committer, &l);
	pthread_create(&threads[FRONTS + 1], NULL, reader, &l);
	wait_for(&l.issued, 100);
	for (unsigned i = 0; i < 20; i++) {
		/* changes that make views come and go while they are used */
		ct_set_jwks(t, NOW_MS + i);
		assert_ok(mica_core_deny(t->core, "spiffe_id", MICA_LIT("spiffe://" TD "/ns/x"),
			i % 2 == 0, NULL, NOW_MS, e));
	}
	wait_for(&l.issued, 300);
	assert_ok(mica_core_taint(t->core, t->born.issuing_id, NULL, NOW_MS, e));
	wait_for(&l.unavailable, 100);
	atomic_store(&l.stop, true);
	for (unsigned i = 0; i < MICA_ARRAY_LEN(threads); i++)
		pthread_join(threads[i], NULL);
	pthread_mutex_destroy(&l.lock);
	end = mica_ledger_size(t->core->ledger);
	for (uint64_t i = 0; i < end; i++) {
		struct mica_entry en;
		struct mica_entry_keys keys;
		MICA_AUTO_BUF body;

		ct_entry(t, i, &body, &en);
		if (en.type == MICA_ENTRY_AUTHORITY && mica_slice_eq_str(en.action, "tainted"))
			at = i;
		if (en.type != MICA_ENTRY_X509_ISSUED)
			continue;
		assert_ok(mica_entry_keys(&en, &keys, e));
		if (mica_slice_eq(keys.authority, mica_slice(id, sizeof(id)))) {
			assert_int_equal(at, 0);
			of_it++;
		}
	}
	assert_true(at > 0);
	/* each that was answered for is there: these, and the publisher's */
	assert_int_equal(of_it, atomic_load(&l.issued) + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, ct_setup, ct_teardown)
		TEST(a_batch_is_recorded_in_one_commit),
		TEST(old_and_new_decisions_are_told_apart),
		TEST(new_keys_of_an_issuer_disturb_nothing),
		TEST(a_denial_in_between_conflicts),
		TEST(a_rule_in_between_conflicts),
		TEST(a_taint_in_between_conflicts),
		TEST(a_taint_names_one_authority_once),
		TEST(another_authoritys_taint_disturbs_nothing),
		TEST(a_full_disk_answers_unavailable_and_recovers),
		TEST(an_unknown_outcome_answers_nobody),
		TEST(a_change_that_cannot_be_recorded_does_not_hold),
		TEST(the_last_leafs_end_is_kept),
		TEST(no_entry_behind_a_taint_names_the_tainted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
