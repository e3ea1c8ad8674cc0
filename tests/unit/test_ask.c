/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all fronts share (desk.h, ask.h), with a front of the test's own: the real core on a store
 * of its own, the real committer. tests/unit/test_api.c has the same through HTTP.
 */
#define _GNU_SOURCE
#include "coretest.h"

#include "server/ask.h"
#include "server/limits.h"

#include "mica/clock.h"

#include <pthread.h>

/* One request of the test's front. */
struct one {
	struct ask a;
	struct mica_caller caller;
	struct mica_err err;
	struct http_peer peer;
	const char *spoil; /* what `write` says instead of an answer */
	int64_t ttl;
	const char *csr;
	/* under `lock` */
	bool known, over;
	unsigned written, left;
	const struct mica_answer *answer;
	pthread_t known_on, over_on;
};

struct fx {
	struct ct *t;
	struct committer *committer;
	struct mica_replay *replay;
	struct limits *limits;
	struct desk *desk;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool gate; /* closed: the committer records, and calls nobody back */

static void before_batch(void)
{
	pthread_mutex_lock(&lock);
	while (gate)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
}

static void set_gate(bool closed)
{
	pthread_mutex_lock(&lock);
	gate = closed;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

static void fatal(void *ctx, const struct mica_err *e)
{
	(void)ctx;
	fail_msg("the committer gave up: %s", e->text);
}

static int setup(void **state)
{
	struct fx *f = MICA_NEW(struct fx);
	const struct limits_options lo = {.failures = {.per_minute = 60, .burst = 3},
		.anonymous = {.per_minute = 60, .burst = 2},
		.identity = {.per_minute = 60, .burst = 8}};
	struct committer_options co = {.max_queue = 64, .before = before_batch, .fatal = fatal};
	struct desk_options d = {.threads = 1};
	int64_t now = mica_now_ms();

	f->t = ct_new();
	f->t->config.limits.queue = 4;
	assert_ok(mica_core_init(&f->t->config, f->t->pass, now - 1000, &f->t->born, e));
	ct_open_at(f->t, now);
	ct_set_jwks(f->t, now);
	co.core = d.core = f->t->core;
	assert_ok(committer_new(&co, &f->committer, e));
	d.committer = f->committer;
	d.replay = f->replay = mica_replay_new(64, 8);
	d.limits = f->limits = limits_new(&lo);
	d.config = &f->t->config;
	assert_ok(desk_new(&d, &f->desk, e));
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fx *f = *state;
	void *ct = f->t;

	set_gate(false);
	desk_stop(f->desk);
	committer_stop(f->committer);
	assert_int_equal(atomic_load(&f->desk->under_way), 0);
	desk_free(f->desk);
	committer_free(f->committer);
	mica_replay_free(f->replay);
	limits_free(f->limits);
	mica_free(f);
	return ct_teardown(&ct);
}

/* ---- the front ------------------------------------------------------------------------------- */

static struct one *one_of(struct ask *a)
{
	return (struct one *)((char *)a - offsetof(struct one, a));
}

static void finish(struct one *o)
{
	pthread_mutex_lock(&lock);
	assert_false(o->over);
	o->over = true;
	o->over_on = pthread_self();
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

static void leave(struct ask *a, bool keep)
{
	(void)keep;
	one_of(a)->left++;
}

static void known(struct ask *a)
{
	struct one *o = one_of(a);
	const struct mica_x509_request r = {
		.csr = mica_slice_str(o->csr), .ttl = o->ttl, .outlet = MICA_OUTLET_CARRIED};

	o->known = true;
	o->known_on = pthread_self();
	ask_start(a, METRIC_X509);
	ask_x509(a, &r);
}

static void write_answer(struct ask *a, struct mica_buf *out)
{
	struct one *o = one_of(a);

	o->written++;
	if (o->spoil)
		mica_fail(a->err, MICA_UNAVAILABLE, o->spoil, "as the test asked");
	else
		mica_buf_put_str(out, a->issued.serial_hex);
}

static void answered(struct ask *a, const struct mica_answer *answer)
{
	one_of(a)->answer = answer;
	finish(one_of(a));
}

static void failed(struct ask *a)
{
	finish(one_of(a));
}

static const struct ask_face face = {.name = "test",
	.leave = leave,
	.known = known,
	.write = write_answer,
	.answered = answered,
	.failed = failed};

/* ---- requests ----------------------------------------------------------------------------------
 */

static struct mica_slice token_for(struct fx *f, const char *audience)
{
	int64_t now = mica_now();
	const struct tk_claim over[] = {{"aud", tk_printf("[\"%s\"]", audience)},
		{"exp", tk_printf("%lld", (long long)now + 3000)},
		{"iat", tk_printf("%lld", (long long)now - 60)},
		{"nbf", tk_printf("%lld", (long long)now - 60)}};

	return mica_slice_str(
		tk_make(f->t->issuer_key, HEADER, tk_kubernetes(over, MICA_ARRAY_LEN(over))));
}

static struct one *begin(struct fx *f, struct mica_slice token, int64_t ttl)
{
	struct one *o = MICA_NEW(struct one);

	o->ttl = ttl;
	o->csr = f->t->csr;
	o->peer.network[15] = 1;
	o->a = (struct ask){.desk = f->desk,
		.face = &face,
		.front = MICA_FRONT_ISTIO,
		.issues = true,
		.caller = &o->caller,
		.err = &o->err,
		.peer = &o->peer,
		.token = token,
		.address = "192.0.2.1",
		.t_begin = mica_mono_ns()};
	return o;
}

static struct one *wait_for(struct one *o)
{
	pthread_mutex_lock(&lock);
	while (!o->over)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
	return o;
}

static void end(struct one *o)
{
	o->a.t_end = mica_mono_ns();
	ask_over(&o->a, o->answer != NULL);
	mica_answer_unref(o->answer);
	mica_free(o);
}

static struct one *get(struct fx *f, struct mica_slice token, int64_t ttl)
{
	struct one *o = begin(f, token, ttl);

	ask_who(&o->a);
	return wait_for(o);
}

static uint64_t counted(struct fx *f, enum metric_outcome o)
{
	return mica_metric_get(&f->desk->m.issuance[METRIC_X509][o]);
}

static void refused(struct one *o, mica_rc rc, const char *reason)
{
	assert_null(o->answer);
	assert_int_equal(o->err.rc, rc);
	assert_string_equal(o->err.reason, reason);
	end(o);
}

/* ---- tests -------------------------------------------------------------------------------------
 */

static void a_token_becomes_an_answer(void **state)
{
	struct fx *f = *state;
	struct one *o = get(f, token_for(f, "istio-ca"), 0);

	assert_non_null(o->answer);
	assert_true(mica_slice_eq_str(o->answer->bytes, o->a.issued.serial_hex));
	assert_int_equal(o->caller.evidence.front, MICA_FRONT_ISTIO);
	assert_string_equal(o->caller.address, "192.0.2.1");
	assert_string_equal(o->a.issued.spiffe_id, "spiffe://" TD "/ns/payments/sa/checkout");
	/* it was known here, and ended on the committer's thread, after the front knew of it */
	assert_true(pthread_equal(o->known_on, pthread_self()));
	assert_false(pthread_equal(o->over_on, pthread_self()));
	assert_int_equal(o->left, 1);
	assert_true(o->a.t_begin <= o->a.t_auth && o->a.t_auth <= o->a.t_sign &&
		o->a.t_sign <= o->a.t_commit);
	assert_int_equal(atomic_load(&f->desk->under_way), 1);
	assert_int_equal(counted(f, METRIC_ISSUED), 0);
	end(o);
	assert_int_equal(atomic_load(&f->desk->under_way), 0);
	assert_int_equal(counted(f, METRIC_ISSUED), 1);
}

static void the_front_decides_what_a_token_is_for(void **state)
{
	struct fx *f = *state;
	struct one *o = begin(f, token_for(f, "istio-ca"), 0);

	refused(get(f, token_for(f, "mica"), 0), MICA_UNAUTHENTICATED, "audience_mismatch");
	o->a.front = MICA_FRONT_REST;
	ask_who(&o->a);
	refused(wait_for(o), MICA_UNAUTHENTICATED, "audience_mismatch");
}

/* Who shows bad credentials in a loop waits for each answer, and holds up no thread of a front; who
 * sits on this machine is no flood. */
static void a_refusal_is_told_late(void **state)
{
	struct fx *f = *state;
	struct mica_slice bad = token_for(f, "mica");
	struct one *o = get(f, bad, 0);

	assert_false(pthread_equal(o->over_on, pthread_self()));
	assert_int_equal(o->left, 1);
	assert_true(mica_mono_ns() - o->a.t_begin >= LATE_LEAST_MS * INT64_C(1000000));
	refused(o, MICA_UNAUTHENTICATED, "audience_mismatch");
	o = begin(f, bad, 0);
	o->peer.local = true;
	ask_who(&o->a);
	assert_true(o->over && o->left == 0 && pthread_equal(o->over_on, pthread_self()));
	refused(o, MICA_UNAUTHENTICATED, "audience_mismatch");
	/* when the desk ends, all that wait are told */
	o = begin(f, bad, 0);
	ask_who(&o->a);
	desk_stop(f->desk);
	assert_true(o->over);
	refused(o, MICA_UNAUTHENTICATED, "audience_mismatch");
}

static void equals_share_what_was_written_once(void **state)
{
	struct fx *f = *state;
	struct mica_slice token = token_for(f, "istio-ca");
	struct one *o[3];

	set_gate(true);
	for (int i = 0; i < 3; i++) {
		o[i] = begin(f, token, 600);
		ask_who(&o[i]->a);
	}
	set_gate(false);
	for (int i = 0; i < 3; i++)
		wait_for(o[i]);
	assert_int_equal(o[0]->written + o[1]->written + o[2]->written, 1);
	for (int i = 1; i < 3; i++)
		assert_ptr_equal(o[i]->answer, o[0]->answer);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(o[i]->a.replayed, i > 0);
		end(o[i]);
	}
	assert_int_equal(counted(f, METRIC_ISSUED), 1);
	assert_int_equal(counted(f, METRIC_REPLAYED), 2);
	/* and who repeats it later; but not who asks for something else, or at another front */
	o[0] = get(f, token, 600);
	assert_true(o[0]->a.replayed && o[0]->written == 0);
	end(o[0]);
	o[0] = get(f, token, 601);
	assert_false(o[0]->a.replayed);
	end(o[0]);
}

static void equals_share_an_error(void **state)
{
	struct fx *f = *state;
	struct mica_slice token = token_for(f, "istio-ca");
	struct one *o[2];

	set_gate(true);
	for (int i = 0; i < 2; i++) {
		o[i] = begin(f, token, 600);
		o[i]->spoil = "not_now";
		ask_who(&o[i]->a);
	}
	set_gate(false);
	for (int i = 0; i < 2; i++)
		refused(wait_for(o[i]), MICA_UNAVAILABLE, "not_now");
	assert_int_equal(counted(f, METRIC_ISSUED), 0);
	/* an error is not remembered */
	o[0] = get(f, token, 600);
	assert_non_null(o[0]->answer);
	assert_false(o[0]->a.replayed);
	end(o[0]);
}

static void endless(struct ask *a, struct mica_buf *out)
{
	(void)a;
	for (int i = 0; i < 300; i++)
		mica_buf_put_str(out, tk_printf("%01000d", 0));
}

static void an_answer_has_a_bound(void **state)
{
	struct fx *f = *state;
	struct one *o = begin(f, token_for(f, "istio-ca"), 0);
	struct ask_face much = face;

	much.write = endless;
	o->a.face = &much;
	ask_who(&o->a);
	refused(wait_for(o), MICA_INTERNAL, "answer_too_long");
}

static void what_is_wrong_is_said(void **state)
{
	struct fx *f = *state;
	struct one *o = begin(f, token_for(f, "istio-ca"), 0);

	o->csr = "nothing";
	ask_who(&o->a);
	refused(wait_for(o), MICA_INVALID, "csr_not_pem");
	refused(get(f, token_for(f, "istio-ca"), 1), MICA_INVALID, "ttl_too_short");
}

static void failures_count_against_the_address_alone(void **state)
{
	struct fx *f = *state;
	struct mica_slice good = token_for(f, "istio-ca"), bad = token_for(f, "elsewhere");
	struct mica_err e = MICA_ERR_INIT;
	struct http_peer peer = {.network = {[15] = 1}}, other = {.network = {[15] = 2}};

	end(get(f, good, 0));
	for (int i = 0; i < 3; i++) {
		assert_int_equal(desk_address_ok(f->desk, &peer, bad, &e), MICA_OK);
		refused(get(f, bad, 0), MICA_UNAUTHENTICATED, "audience_mismatch");
	}
	assert_int_equal(desk_address_ok(f->desk, &peer, bad, &e), MICA_LIMIT);
	assert_string_equal(e.reason, "rate_limited");
	assert_true(e.retry_after >= 1);
	mica_err_clear(&e);
	/* a credential that was good of late is looked at all the same; so are other addresses */
	assert_int_equal(desk_address_ok(f->desk, &peer, good, &e), MICA_OK);
	assert_int_equal(desk_address_ok(f->desk, &other, bad, &e), MICA_OK);
	/* who shows nothing has a rate of its own */
	assert_int_equal(desk_address_ok(f->desk, &other, MICA_SLICE_NULL, &e), MICA_OK);
	assert_int_equal(desk_address_ok(f->desk, &other, MICA_SLICE_NULL, &e), MICA_OK);
	assert_int_equal(desk_address_ok(f->desk, &other, MICA_SLICE_NULL, &e), MICA_LIMIT);
}

static void our_own_trouble_is_no_failure(void **state)
{
	struct fx *f = *state;
	struct mica_err e = MICA_ERR_INIT;
	struct mica_slice token = token_for(f, "istio-ca");

	for (int i = 0; i < 5; i++) {
		struct one *o = begin(f, token, 600 + i);

		o->spoil = "not_now";
		ask_who(&o->a);
		refused(wait_for(o), MICA_UNAVAILABLE, "not_now");
	}
	assert_int_equal(desk_address_ok(f->desk, &(struct http_peer){.network = {[15] = 1}},
				 token_for(f, "elsewhere"), &e),
		MICA_OK);
}

static void an_identity_has_a_rate(void **state)
{
	struct fx *f = *state;
	struct mica_slice token = token_for(f, "istio-ca");

	for (int i = 0; i < 8; i++)
		end(get(f, token, 600 + i));
	refused(get(f, token, 700), MICA_LIMIT, "identity_rate_limited");
}

static void the_queue_has_an_end(void **state)
{
	struct fx *f = *state;
	struct mica_slice token = token_for(f, "istio-ca");
	struct mica_err e = MICA_ERR_INIT;
	struct one *o[4];

	set_gate(true);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(desk_queue_ok(f->desk, &e), MICA_OK);
		o[i] = begin(f, token, 600 + i);
		ask_who(&o[i]->a);
	}
	assert_int_equal(desk_queue_ok(f->desk, &e), MICA_UNAVAILABLE);
	assert_string_equal(e.reason, "overloaded");
	set_gate(false);
	for (int i = 0; i < 4; i++)
		end(wait_for(o[i]));
	assert_int_equal(desk_queue_ok(f->desk, &e), MICA_OK);
}

/* What a decision rests on changes while it waits for its record: it is made again, elsewhere, and
 * the first one is never seen. */
static void a_decision_is_made_again(void **state)
{
	struct fx *f = *state;
	struct mica_slice token = token_for(f, "istio-ca");
	struct mica_caller admin = ct_role(MICA_ROLE_ADMIN);
	uint64_t conflicts = 0;

	for (int i = 0; i < 200 && conflicts == 0; i++) {
		struct one *first = begin(f, token, 1000 + 2 * i);
		struct one *second = begin(f, token, 1001 + 2 * i);

		first->a.desk->limits = second->a.desk->limits = NULL;
		set_gate(true);
		ask_who(&first->a); /* keeps the committer busy in front of the gate */
		usleep(2000);
		ask_who(&second->a);
		assert_ok(mica_core_deny(f->t->core, "pod_uid",
			mica_slice_str("0b5b3a5e-6a0d-4f0e-9d0c-2f6f0e5d1c3b"), i % 2 == 0, &admin,
			mica_now_ms(), e));
		set_gate(false);
		assert_non_null(wait_for(first)->answer);
		assert_non_null(wait_for(second)->answer);
		conflicts = mica_metric_get(&f->desk->m.conflicts);
		assert_int_equal(second->written, 1);
		end(first);
		end(second);
	}
	assert_true(conflicts > 0);
	f->desk->limits = f->limits;
}

static void one_that_waits_is_handed_back_at_the_end(void **state)
{
	struct fx *f = *state;
	struct one *o = begin(f, token_for(f, "istio-ca"), 0);

	committer_stop(f->committer);
	ask_who(&o->a);
	refused(wait_for(o), MICA_UNAVAILABLE, "stopping");
}

#define T(x) cmocka_unit_test_setup_teardown(x, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_token_becomes_an_answer),
		T(the_front_decides_what_a_token_is_for),
		T(a_refusal_is_told_late),
		T(equals_share_what_was_written_once),
		T(equals_share_an_error),
		T(an_answer_has_a_bound),
		T(what_is_wrong_is_said),
		T(failures_count_against_the_address_alone),
		T(our_own_trouble_is_no_failure),
		T(an_identity_has_a_rate),
		T(the_queue_has_an_end),
		T(a_decision_is_made_again),
		T(one_that_waits_is_handed_back_at_the_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
