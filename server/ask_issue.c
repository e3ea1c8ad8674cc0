/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What they get. The decision and the signature are made on the thread that has the request; the
 * committer's thread only writes down the answer and sends it on its way.
 */
#include "ask.h"

#include "mica/clock.h"
#include "mica/jwt.h"

#define BODY_MAX  (256 * 1024)
#define TRIES_MAX 4

/* ---- the end ------------------------------------------------------------------------------- */

void ask_over(struct ask *a, bool ok)
{
	struct metrics *m = &a->desk->m;

	mica_candidate_free(MICA_STEAL(a->candidate));
	if (!a->started)
		return;
	a->started = false;
	atomic_fetch_sub_explicit(&a->desk->under_way, 1, memory_order_relaxed);
	if (!ok)
		return;
	mica_metric_add(&m->issuance[a->kind][a->replayed ? METRIC_REPLAYED : METRIC_ISSUED], 1);
	metric_observe(&m->stage[METRIC_AUTH], a->t_auth - a->t_begin);
	metric_observe(&m->stage[METRIC_TOTAL], a->t_end - a->t_begin);
	if (!a->replayed) {
		metric_observe(&m->stage[METRIC_SIGN], a->t_sign - a->t_auth);
		metric_observe(&m->stage[METRIC_COMMIT], a->t_commit - a->t_sign);
	}
}

static void give_equal(void *ctx, void *job, const struct mica_answer *answer)
{
	struct ask *a = job;

	if (answer) {
		a->replayed = true;
		a->face->answered(a, mica_answer_ref(answer));
		return;
	}
	*a->err = *(const struct mica_err *)ctx;
	a->face->failed(a);
}

/* The answer is remembered, or at least goes to those who asked the same meanwhile; so does an
 * error (answer NULL). */
static void settle(struct ask *a, const struct mica_answer *answer)
{
	if (a->remembered)
		mica_replay_finish(a->desk->replay, a->key, mica_now_ms(), answer, answer != NULL,
			give_equal, a->err);
	a->remembered = false;
}

static void fail(struct ask *a)
{
	ask_leave(a);
	settle(a, NULL);
	a->face->failed(a);
}

static void log_issued(const struct ask *a)
{
	const struct mica_issued *i = &a->issued;
	const struct mica_principal *p = &a->caller->principal;
	bool x509 = a->kind == METRIC_X509;

	MICA_LOG(MICA_INFO, x509 ? "x509_issued" : "jwt_issued", MICA_S("spiffe_id", i->spiffe_id),
		desk_field("serial", x509 ? i->serial_hex : ""), MICA_I("index", i->ledger_index),
		MICA_I("not_after", i->not_after), desk_field("front", a->face->name),
		desk_field("issuer", p->issuer), desk_field("pod", p->pod),
		desk_field("evidence", a->caller->evidence.id),
		desk_field("asked_by", a->caller->evidence.asker.pod),
		desk_field("address", a->address), MICA_MS("ms", a->t_commit - a->t_begin));
}

/* Nothing of a candidate is said before it is recorded, so that the answer is made here, on the
 * committer's thread: about 2 us. */
static void finish(struct ask *a)
{
	const struct mica_answer *answer;
	MICA_AUTO_BUF body;

	mica_buf_init(&body, BODY_MAX);
	mica_candidate_issued(a->candidate, &a->issued);
	a->face->write(a, &body);
	if (body.over)
		/* no configuration makes a chain or a bundle this long */
		mica_fail(a->err, MICA_INTERNAL, "answer_too_long",
			"the answer is longer than this server sends");
	if (a->err->rc != MICA_OK) {
		fail(a);
		return;
	}
	answer = mica_answer_new(0, mica_buf_slice(&body));
	log_issued(a); /* here, where the lines of a batch are written together */
	settle(a, answer);
	a->face->answered(a, answer);
}

/* ---- decide, sign, record ------------------------------------------------------------------ */

static mica_rc prepare(struct ask *a)
{
	struct mica_core *core = a->desk->core;

	if (a->kind == METRIC_X509)
		return mica_core_prepare_x509(core, &a->x509, mica_now_ms(), &a->candidate, a->err);
	return mica_core_prepare_jwt(core, &a->jwt, mica_now_ms(), &a->candidate, a->err);
}

static void recorded(void *ctx, struct mica_candidate *k, mica_rc rc, const struct mica_err *e);

static void go(struct ask *a)
{
	mica_rc rc;

	ask_enter(a);
	rc = prepare(a);
	ask_leave(a);
	a->t_sign = mica_mono_ns();
	/* on OK it may be over already */
	if (rc != MICA_OK ||
		committer_take_submit(a->desk->committer, a->candidate, recorded, a, a->err) !=
			MICA_OK)
		fail(a);
}

static void go_again(void *job, bool run)
{
	struct ask *a = job;

	if (run) {
		go(a);
		return;
	}
	mica_fail(a->err, MICA_UNAVAILABLE, "draining", "this server is about to end");
	fail(a);
}

/* What the decision rests on has changed: again, on another thread than this one. */
static void again(struct ask *a)
{
	mica_metric_add(&a->desk->m.conflicts, 1);
	mica_candidate_free(MICA_STEAL(a->candidate));
	if (++a->tries < TRIES_MAX && work_push(a->desk->work, go_again, a))
		return;
	mica_err_clear(a->err);
	mica_fail(a->err, MICA_UNAVAILABLE, "try_again",
		"the state of this authority changed while the request was decided, try again");
	fail(a);
}

/* On the committer's thread. */
static void recorded(void *ctx, struct mica_candidate *k, mica_rc rc, const struct mica_err *e)
{
	struct ask *a = ctx;
	(void)k; /* a->candidate */

	a->t_commit = mica_mono_ns();
	if (rc == MICA_OK) {
		finish(a);
	} else if (rc == MICA_CONFLICT) {
		again(a);
	} else {
		if (e)
			*a->err = *e;
		else
			mica_fail(a->err, rc, "commit_failed", "the record could not be written");
		fail(a);
	}
}

/* ---- the beginning ------------------------------------------------------------------------- */

void ask_start(struct ask *a, enum metric_kind kind)
{
	a->kind = kind;
	a->started = true;
	atomic_fetch_add_explicit(&a->desk->under_way, 1, memory_order_relaxed);
}

/* `subject` is what is asked for: the CSR, or the audiences. */
static void begin(struct ask *a, struct mica_slice subject, int64_t ttl)
{
	const struct mica_caller *k = a->caller;
	const struct mica_answer *answer;
	const struct mica_replay_request q = {.generation = mica_core_generation(a->desk->core),
		.front = a->front,
		.operation = a->kind == METRIC_X509 ? "x509" : "jwt",
		.issuer = k->principal.issuer,
		.credential = a->token.len ? a->token : mica_slice(k->serial, sizeof(k->serial)),
		.subject = subject,
		.ttl = ttl,
		.identity = k->principal.spiffe_id};

	mica_replay_key(&q, a->key);
	/* before anybody else can know of it */
	ask_leave(a);
	if (a->face->leave)
		a->face->leave(a, false);
	switch (mica_replay_begin(a->desk->replay, a->key, mica_now_ms(), a, &answer)) {
	case MICA_REPLAY_WAIT: return;
	case MICA_REPLAY_DONE:
		a->replayed = true;
		a->face->answered(a, answer);
		return;
	case MICA_REPLAY_NEW: a->remembered = true; break;
	case MICA_REPLAY_FULL: break;
	}
	go(a);
}

void ask_x509(struct ask *a, const struct mica_x509_request *r)
{
	a->x509 = *r;
	a->x509.caller = a->caller;
	begin(a, r->csr, r->ttl);
}

void ask_jwt(struct ask *a, const struct mica_jwt_request *r)
{
	MICA_AUTO_BUF all;

	mica_buf_init(&all, MICA_JWT_AUD_MAX * 260);
	a->jwt = *r;
	a->jwt.caller = a->caller;
	for (size_t i = 0; i < r->n_audience; i++) {
		mica_buf_put_be16(&all, (uint16_t)r->audience[i].len);
		mica_buf_put_slice(&all, r->audience[i]);
	}
	begin(a, mica_buf_slice(&all), r->ttl);
}
