/* SPDX-License-Identifier: Apache-2.0 */
/* Authorities and their rotation, for auditors to see and for administrators to move. */
#include "api_impl.h"

#include "mica/clock.h"

#define DOC_MAX   (4u << 20)
#define JSON_TYPE "application/json"

static void send_or_fail(struct api_call *c, mica_rc rc, int status)
{
	if (rc == MICA_OK)
		api_send(c, status, JSON_TYPE, NULL);
	else
		api_fail(c);
}

static mica_rc take_id(struct api_call *c, char id[48])
{
	if (mica_slice_copy(c->param, id, 48) == MICA_OK)
		return MICA_OK;
	return mica_fail(&c->err, MICA_NOT_FOUND, "no_such_authority",
		"no authority has this id; GET /v1/authorities lists them");
}

/* ---- seeing ------------------------------------------------------------------------------ */

void api_authorities(struct api_call *c)
{
	mica_buf_init(&c->out, DOC_MAX);
	send_or_fail(c,
		mica_core_authorities(c->a->desk->core, NULL, mica_now_ms(), &c->out, &c->err),
		200);
}

void api_authority(struct api_call *c)
{
	char id[48];
	mica_rc rc = take_id(c, id);

	mica_buf_init(&c->out, DOC_MAX);
	if (rc == MICA_OK)
		rc = mica_core_authorities(c->a->desk->core, id, mica_now_ms(), &c->out, &c->err);
	send_or_fail(c, rc, 200);
}

void api_rotation(struct api_call *c)
{
	mica_buf_init(&c->out, DOC_MAX);
	send_or_fail(c,
		mica_core_rotation_status(c->a->desk->core, mica_now_ms(), &c->out, &c->err), 200);
}

void api_rotation_plan(struct api_call *c)
{
	int64_t ahead = 0, now_ms = mica_now_ms();
	mica_rc rc = api_decode_plan_query(&c->query, &ahead, &c->err);

	mica_buf_init(&c->out, DOC_MAX);
	if (rc == MICA_OK)
		rc = mica_core_rotation_plan(
			c->a->desk->core, now_ms, now_ms / 1000 + ahead, &c->out, &c->err);
	send_or_fail(c, rc, 200);
}

/* ---- moving ------------------------------------------------------------------------------ */

/* The bundle may be another; who waits for it is told. */
static void done(
	struct api_call *c, mica_rc rc, const char *event, const char *key, struct mica_slice value)
{
	if (rc != MICA_OK) {
		api_fail(c);
		return;
	}
	api_log_admin(c, event, key, value);
	api_wake(c->a, false);
	api_answer(c, &(struct api_answer){.status = 204});
}

static void created(struct api_call *c, mica_rc rc, const char *event, const char *id)
{
	if (rc == MICA_OK) {
		api_log_admin(c, event, "authority", mica_slice_str(id));
		api_wake(c->a, false);
		mica_buf_init(&c->out, 256);
		mica_buf_printf(&c->out, "{\"id\":\"%s\"}", id);
	}
	send_or_fail(c, rc, 201);
}

void api_authority_prepare(struct api_call *c)
{
	MICA_AUTO_JSON doc = {.root = NULL};
	struct api_authority_body b;
	char id[MICA_KEY_ID_SIZE] = "";
	mica_rc rc = api_body(c->d->body, &doc, &c->err);

	if (rc == MICA_OK)
		rc = api_decode_authority(&doc, &b, &c->err);
	if (rc == MICA_OK)
		rc = mica_core_prepare_authority(
			c->a->desk->core, b.kind, b.recover, c->caller, mica_now_ms(), id, &c->err);
	created(c, rc, "authority_prepared", id);
}

typedef mica_rc change_fn(struct mica_core *c, const char *id, bool force,
	const struct mica_caller *actor, int64_t now_ms, struct mica_err *e);

static void change(struct api_call *c, change_fn *fn, const char *event)
{
	MICA_AUTO_JSON doc = {.root = NULL};
	bool force;
	char id[48];
	mica_rc rc = take_id(c, id);

	if (rc == MICA_OK)
		rc = api_body(c->d->body, &doc, &c->err);
	if (rc == MICA_OK)
		rc = api_decode_force(&doc, &force, &c->err);
	if (rc == MICA_OK)
		rc = fn(c->a->desk->core, id, force, c->caller, mica_now_ms(), &c->err);
	done(c, rc, event, "authority", c->param);
}

void api_authority_activate(struct api_call *c)
{
	change(c, mica_core_activate, "authority_activated");
}

/* Out of the bundle, or onto the CRL of its root: then everybody is in a hurry. */
void api_authority_revoke(struct api_call *c)
{
	MICA_AUTO_JSON doc = {.root = NULL};
	struct api_revoke_body b = {.force = false};
	int64_t now_ms = mica_now_ms();
	char id[48];
	mica_rc rc = take_id(c, id);

	if (rc == MICA_OK)
		rc = api_body(c->d->body, &doc, &c->err);
	if (rc == MICA_OK)
		rc = api_decode_revoke(&doc, &b, &c->err);
	if (rc == MICA_OK && b.crl_only)
		rc = mica_core_revoke_by_crl(c->a->desk->core, id, c->caller, now_ms, &c->err);
	else if (rc == MICA_OK)
		rc = mica_core_revoke(c->a->desk->core, id, b.force, c->caller, now_ms, &c->err);
	if (rc == MICA_OK && b.crl_only)
		api_wake(c->a, true);
	done(c, rc, b.crl_only ? "authority_revoked_by_crl" : "authority_revoked", "authority",
		c->param);
}

static void start(struct api_call *c, const struct api_rotation_body *b)
{
	char id[MICA_KEY_ID_SIZE] = "";
	mica_rc rc = mica_core_rotation_start(
		c->a->desk->core, b->kind, c->caller, mica_now_ms(), id, &c->err);

	created(c, rc, "rotation_started", id);
}

void api_rotation_move(struct api_call *c)
{
	MICA_AUTO_JSON doc = {.root = NULL};
	struct mica_core *core = c->a->desk->core;
	struct api_rotation_body b;
	int64_t now_ms = mica_now_ms();
	mica_rc rc = api_body(c->d->body, &doc, &c->err);

	if (rc == MICA_OK)
		rc = api_decode_rotation(&doc, &b, &c->err);
	if (rc != MICA_OK) {
		api_fail(c);
		return;
	}
	switch (b.action) {
	case API_ROTATION_START: start(c, &b); break;
	case API_ROTATION_ROLLBACK:
		rc = mica_core_roll_back(core, b.kind, b.force, c->caller, now_ms, &c->err);
		done(c, rc, "rotation_rolled_back", "kind",
			mica_slice_str(mica_authority_kind_name(b.kind)));
		break;
	case API_ROTATION_CONFIRM:
		rc = mica_core_confirm(core, b.outlet, c->caller, now_ms, &c->err);
		done(c, rc, "outlet_confirmed", "outlet", b.outlet);
		break;
	case API_ROTATION_WITHDRAW:
		rc = mica_core_withdraw(core, b.kind, c->caller, now_ms, &c->err);
		done(c, rc, "canary_withdrawn", "kind",
			mica_slice_str(mica_authority_kind_name(b.kind)));
		break;
	case API_ROTATION_CLOCK:
		rc = mica_core_clock_accept(core, c->caller, now_ms, &c->err);
		done(c, rc, "clock_accepted", NULL, MICA_SLICE_NULL);
		break;
	}
}
