/* SPDX-License-Identifier: Apache-2.0 */
/* POST /v1/x509-svids and /v1/jwt-svids: the forms of what is asked and answered. */
#include "api_impl.h"

#include "mica/bundle.h"

#define JSON_TYPE "application/json"

void api_issue_free(struct api_issue *i)
{
	if (!i)
		return;
	mica_json_clear(&i->doc);
	mica_buf_clear(&i->csr);
	mica_free(i);
}

/* ---- the answer ---------------------------------------------------------------------------- */

/* The roots, for who has not got them; says nothing when there is no bundle to be had now. */
static void put_bundle(struct api_call *c, enum mica_channel channel, struct mica_buf *b)
{
	const struct mica_snapshot *s;
	struct mica_err e = MICA_ERR_INIT;

	if (mica_core_snapshot(c->a->desk->core, NULL, channel, MICA_FMT_BUNDLE_PEM, &s, &e) !=
		MICA_OK)
		return;
	api_put_text(b, "bundle", s->bytes);
	mica_snapshot_unref(s);
}

void api_write(struct ask *a, struct mica_buf *b)
{
	struct api_call *c = api_call_of(a);
	const struct mica_issued *s = &a->issued;
	bool x509 = c->ask.kind == METRIC_X509;

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

void api_answered(struct ask *a, const struct mica_answer *answer)
{
	api_answer(api_call_of(a),
		&(struct api_answer){.status = 201,
			.type = JSON_TYPE,
			.body = answer->bytes,
			.owner = answer,
			.release = (void (*)(const void *))mica_answer_unref});
}

/* When http.h is through with the request, on its thread. */
static void over(void *state)
{
	struct api_call *c = state;

	ask_over(&c->ask, atomic_load_explicit(&c->status, memory_order_acquire) == 201);
	api_unref(c);
}

/* ---- the question ---------------------------------------------------------------------------- */

static void start(struct api_call *c, enum metric_kind kind)
{
	c->issue = MICA_NEW(struct api_issue);
	ask_start(&c->ask, kind);
	atomic_fetch_add(&c->refs, 1);
	http_req_set_state(c->r, c, over);
}

void api_x509(struct api_call *c)
{
	struct mica_x509_request r;
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
	r = (struct mica_x509_request){.csr = i->x509.csr,
		.ttl = i->x509.ttl,
		.bundle_sequence = (uint64_t)i->x509.bundle_sequence,
		.instance = i->x509.instance,
		/* who says what it holds will say so again (design 8.3) */
		.outlet = i->x509.has_sequence ? MICA_OUTLET_ACK : MICA_OUTLET_CARRIED};
	ask_x509(&c->ask, &r);
}

void api_jwt(struct api_call *c)
{
	struct mica_jwt_request r;
	struct api_issue *i;

	start(c, METRIC_JWT);
	i = c->issue;
	if (api_body(c->d->body, &i->doc, &c->err) != MICA_OK ||
		api_decode_jwt(&i->doc, &i->jwt, &c->err) != MICA_OK) {
		api_fail(c);
		return;
	}
	r = (struct mica_jwt_request){
		.audience = i->jwt.audience, .n_audience = i->jwt.n_audience, .ttl = i->jwt.ttl};
	ask_jwt(&c->ask, &r);
}
