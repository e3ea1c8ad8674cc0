/* SPDX-License-Identifier: Apache-2.0 */
/*
 * POST /v1/x509-svids and /v1/jwt-svids. The decision and the signature are made on the thread that
 * has the request; the committer's thread only writes down the answer and sends it on its way.
 *
 *	worker: decode, replay?, prepare -> committer: encode, send, log -> worker: count, free
 *			  ^------- pool: prepare again <- CONFLICT
 */
#include "api_impl.h"

#include "mica/bundle.h"
#include "mica/clock.h"

#define BODY_MAX  (256 * 1024)
#define TRIES_MAX 4
#define JSON_TYPE "application/json"

void api_issue_free(struct api_issue *i)
{
	if (!i)
		return;
	mica_candidate_free(i->candidate);
	mica_json_clear(&i->doc);
	mica_buf_clear(&i->csr);
	mica_free(i);
}

/* ---- the end ------------------------------------------------------------------------------- */

/* When http.h is through with the request, on its thread: what nobody waits for. */
static void over(void *state)
{
	struct api_call *c = state;
	struct api_issue *i = c->issue;
	struct metrics *m = &c->a->m;
	int status = atomic_load_explicit(&c->status, memory_order_acquire);

	atomic_fetch_sub_explicit(&c->a->under_way, 1, memory_order_relaxed);
	if (status == 201) {
		metric_add(&m->issuance[i->kind][i->replayed ? METRIC_REPLAYED : METRIC_ISSUED], 1);
		metric_observe(&m->stage[METRIC_AUTH], c->t_auth - c->t_begin);
		metric_observe(&m->stage[METRIC_TOTAL], c->t_end - c->t_begin);
		if (!i->replayed) {
			metric_observe(&m->stage[METRIC_SIGN], c->t_sign - c->t_auth);
			metric_observe(&m->stage[METRIC_COMMIT], c->t_commit - c->t_sign);
		}
	}
	api_unref(c);
}

/* Sends an answer that others may share; takes the reference. */
static void send_shared(struct api_call *c, const struct mica_answer *answer)
{
	bool ok = answer->status == 201;
	api_answer(c,
		&(struct api_answer){.status = answer->status,
			.type = ok ? JSON_TYPE : "application/problem+json",
			.body = answer->bytes,
			.owner = answer,
			.release = (void (*)(const void *))mica_answer_unref});
}

static void send_to_equal(void *ctx, void *job, const struct mica_answer *answer)
{
	struct api_call *c = job;
	(void)ctx;
	c->issue->replayed = true;
	send_shared(c, mica_answer_ref(answer));
}

/* The answer is remembered, or at least goes to those who asked the same meanwhile. */
static void settle(struct api_call *c, const struct mica_answer *answer)
{
	struct api_issue *i = c->issue;
	if (i->remembered)
		mica_replay_finish(c->a->o.replay, i->key, mica_now_ms(), answer,
			answer->status == 201, send_to_equal, NULL);
	i->remembered = false;
}

static void fail(struct api_call *c)
{
	int status = api_error_status(&c->err);
	MICA_AUTO_BUF body;
	const struct mica_answer *answer;

	if (c->issue->remembered) {
		mica_buf_init(&body, 16 * 1024);
		api_problem(&body, status, &c->err, c->expected);
		answer = mica_answer_new(status, mica_buf_slice(&body));
		mica_buf_clear(&body);
		settle(c, answer);
		mica_answer_unref(answer);
	}
	api_fail(c);
}

/* ---- the answer ---------------------------------------------------------------------------- */

/* The roots, for who has not got them; says nothing when there is no bundle to be had now. */
static void put_bundle(struct api_call *c, enum mica_channel channel, struct mica_buf *b)
{
	const struct mica_snapshot *s;
	struct mica_err e = MICA_ERR_INIT;

	if (mica_core_snapshot(c->a->o.core, NULL, channel, MICA_FMT_BUNDLE_PEM, &s, &e) != MICA_OK)
		return;
	api_put_text(b, "bundle", s->bytes);
	mica_snapshot_unref(s);
}

static void put_answer(struct api_call *c, const struct mica_issued *s, struct mica_buf *b)
{
	bool x509 = c->issue->kind == METRIC_X509;

	(void)mica_buf_room(b, s->chain_pem.len + 2048); /* once, and not by doubling */
	mica_buf_put_u8(b, '{');
	api_put_string(b, "spiffe_id", mica_slice_str(s->spiffe_id));
	if (x509) {
		api_put_string(b, "serial", mica_slice_str(s->serial_hex));
		api_put_text(b, "certificate_chain", s->chain_pem);
		api_put_time(b, "not_before", s->not_before);
	} else {
		api_put_string(b, "token", mica_slice_str(s->token));
	}
	api_put_time(b, "not_after", s->not_after);
	api_put_time(b, "renew_after", s->renew_after);
	if (x509) {
		api_put_bool(b, "ttl_clamped", s->ttl_clamped);
		api_put_string(b, "bundle_channel", mica_slice_str(mica_channel_name(s->channel)));
		api_put_u64(b, "bundle_sequence", s->bundle_sequence);
		if (s->bundle_wanted)
			put_bundle(c, s->channel, b);
	}
	api_put_u64(b, "ledger_index", s->ledger_index);
	mica_buf_put_u8(b, '}');
}

/* Nothing of a candidate is said before it is recorded, so that the answer is made here, on the
 * committer's thread: about 2 us. */
static void finish(struct api_call *c)
{
	struct api_issue *i = c->issue;
	const struct mica_answer *answer;
	MICA_AUTO_BUF body;

	mica_buf_init(&body, BODY_MAX);
	mica_candidate_issued(i->candidate, &i->issued);
	put_answer(c, &i->issued, &body);
	if (mica_buf_rc(&body, &c->err) != MICA_OK) {
		/* no configuration makes a chain or a bundle this long */
		c->err.rc = MICA_INTERNAL;
		fail(c);
		return;
	}
	answer = mica_answer_new(201, mica_buf_slice(&body));
	api_log_issued(c); /* here, where the lines of a batch are written together */
	settle(c, answer);
	send_shared(c, answer);
}

/* ---- decide, sign, record ------------------------------------------------------------------ */

static mica_rc prepare(struct api_call *c)
{
	struct api_issue *i = c->issue;
	const struct mica_x509_request x509 = {.caller = c->caller,
		.csr = i->x509.csr,
		.ttl = i->x509.ttl,
		.bundle_sequence = (uint64_t)i->x509.bundle_sequence,
		.instance = i->x509.instance,
		/* who says what it holds will say so again (design 8.3) */
		.outlet = i->x509.has_sequence ? MICA_OUTLET_ACK : MICA_OUTLET_CARRIED};
	const struct mica_jwt_request jwt = {.caller = c->caller,
		.audience = i->jwt.audience,
		.n_audience = i->jwt.n_audience,
		.ttl = i->jwt.ttl};

	if (i->kind == METRIC_X509)
		return mica_core_prepare_x509(
			c->a->o.core, &x509, mica_now_ms(), &i->candidate, &c->err);
	return mica_core_prepare_jwt(c->a->o.core, &jwt, mica_now_ms(), &i->candidate, &c->err);
}

static void recorded(void *ctx, struct mica_candidate *k, mica_rc rc, const struct mica_err *e);

static void go(struct api_call *c)
{
	mica_rc rc;

	api_enter(c);
	rc = prepare(c);
	api_leave(c);
	c->t_sign = mica_mono_ns();
	/* on OK the call may be over already */
	if (rc != MICA_OK ||
		committer_take_submit(
			c->a->o.committer, c->issue->candidate, recorded, c, &c->err) != MICA_OK)
		fail(c);
}

static void go_again(void *job, bool run)
{
	struct api_call *c = job;

	if (run) {
		go(c);
		return;
	}
	mica_fail(&c->err, MICA_UNAVAILABLE, "draining", "this server is about to end");
	fail(c);
}

/* What the decision rests on has changed: again, on another thread than this one. */
static void again(struct api_call *c)
{
	struct api_issue *i = c->issue;

	metric_add(&c->a->m.conflicts, 1);
	mica_candidate_free(MICA_STEAL(i->candidate));
	if (++i->tries < TRIES_MAX && work_push(c->a->work, go_again, c))
		return;
	mica_err_clear(&c->err);
	mica_fail(&c->err, MICA_UNAVAILABLE, "try_again",
		"the state of this authority changed while the request was decided, try again");
	fail(c);
}

/* On the committer's thread. */
static void recorded(void *ctx, struct mica_candidate *k, mica_rc rc, const struct mica_err *e)
{
	struct api_call *c = ctx;
	(void)k; /* c->issue->candidate */

	c->t_commit = mica_mono_ns();
	if (rc == MICA_OK) {
		finish(c);
	} else if (rc == MICA_CONFLICT) {
		again(c);
	} else {
		if (e)
			c->err = *e;
		else
			mica_fail(&c->err, rc, "commit_failed", "the record could not be written");
		fail(c);
	}
}

/* ---- the beginning ------------------------------------------------------------------------- */

static void start(struct api_call *c, enum metric_kind kind)
{
	struct api_issue *i = c->issue = MICA_NEW(struct api_issue);

	i->kind = kind;
	atomic_fetch_add_explicit(&c->a->under_way, 1, memory_order_relaxed);
	atomic_fetch_add(&c->refs, 1);
	http_req_set_state(c->r, c, over);
}

/* `subject` is what is asked for: the CSR, or the audiences. */
static void ask(struct api_call *c, struct mica_slice subject, int64_t ttl)
{
	struct api_issue *i = c->issue;
	const struct mica_caller *k = c->caller;
	const struct mica_answer *answer;
	const struct mica_replay_request q = {.generation = mica_core_generation(c->a->o.core),
		.front = MICA_FRONT_REST,
		.operation = i->kind == METRIC_X509 ? "x509" : "jwt",
		.issuer = k->principal.issuer,
		.credential = c->token.len ? c->token : mica_slice(k->serial, sizeof(k->serial)),
		.subject = subject,
		.ttl = ttl,
		.identity = k->principal.spiffe_id};

	mica_replay_key(&q, i->key);
	/* before anybody else can know of this call */
	api_leave(c);
	api_defer(c);
	switch (mica_replay_begin(c->a->o.replay, i->key, mica_now_ms(), c, &answer)) {
	case MICA_REPLAY_WAIT: return;
	case MICA_REPLAY_DONE:
		i->replayed = true;
		send_shared(c, answer);
		return;
	case MICA_REPLAY_NEW: i->remembered = true; break;
	case MICA_REPLAY_FULL: break;
	}
	go(c);
}

void api_x509(struct api_call *c)
{
	struct api_issue *i;

	start(c, METRIC_X509);
	i = c->issue;
	mica_buf_init(&i->csr, API_CSR_MAX + 64);
	if (!api_plain_x509(c->d->body, &i->csr, &i->x509) &&
		(api_body(c->d->body, &i->doc, &c->err) != MICA_OK ||
			api_decode_x509(&i->doc, &i->x509, &c->err) != MICA_OK)) {
		api_fail(c);
		return;
	}
	ask(c, i->x509.csr, i->x509.ttl);
}

void api_jwt(struct api_call *c)
{
	struct api_jwt_body *j;
	MICA_AUTO_BUF all;

	mica_buf_init(&all, API_AUDIENCE_MAX * 260);
	start(c, METRIC_JWT);
	if (api_body(c->d->body, &c->issue->doc, &c->err) != MICA_OK ||
		api_decode_jwt(&c->issue->doc, &c->issue->jwt, &c->err) != MICA_OK) {
		api_fail(c);
		return;
	}
	j = &c->issue->jwt;
	for (size_t i = 0; i < j->n_audience; i++) {
		mica_buf_put_be16(&all, (uint16_t)j->audience[i].len);
		mica_buf_put_slice(&all, j->audience[i]);
	}
	ask(c, mica_buf_slice(&all), j->ttl);
}
