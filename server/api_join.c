/* SPDX-License-Identifier: Apache-2.0 */
/* Join tokens: made and revoked by administrators, seen by auditors. */
#include "api_impl.h"

#include "mica/clock.h"

#define TOKEN_MAX (16u << 10)
#define LIST_MAX  (64u << 20)
#define JSON_TYPE "application/json"

/* What follows "id" in a document of ours, for the log: never the token. */
static void log_made(struct api_call *c)
{
	MICA_AUTO_JSON doc = {.root = NULL};
	struct mica_slice id = MICA_SLICE_NULL;
	const struct mica_json_member members[] = {
		{.name = "id", .type = MICA_JSON_STRING, .required = true, .out = &id}};

	if (mica_json_parse(mica_buf_slice(&c->out), NULL, &doc, NULL) == MICA_OK &&
		mica_json_read(&doc, doc.root, "", members, MICA_ARRAY_LEN(members), true, NULL) ==
			MICA_OK)
		api_log_admin(c, "join_token_created", "id", id);
}

void api_join_create(struct api_call *c)
{
	MICA_AUTO_JSON doc = {.root = NULL};
	struct api_join_body b;
	mica_rc rc = api_body(c->d->body, &doc, &c->err);

	mica_buf_init_secret(&c->out, TOKEN_MAX);
	if (rc == MICA_OK)
		rc = api_decode_join(&doc, &b, &c->err);
	if (rc == MICA_OK)
		rc = mica_core_join_create(c->a->desk->core, b.spiffe_id, b.ttl, c->caller,
			mica_now_ms(), &c->out, &c->err);
	if (rc != MICA_OK) {
		api_fail(c);
		return;
	}
	log_made(c);
	api_send(c, 201, JSON_TYPE, NULL);
}

void api_join_list(struct api_call *c)
{
	mica_buf_init(&c->out, LIST_MAX);
	if (mica_core_join_list(c->a->desk->core, mica_now_ms(), &c->out, &c->err) == MICA_OK)
		api_send(c, 200, JSON_TYPE, NULL);
	else
		api_fail(c);
}

void api_join_revoke(struct api_call *c)
{
	if (mica_core_join_revoke(c->a->desk->core, c->param, c->caller, mica_now_ms(), &c->err) !=
		MICA_OK) {
		api_fail(c);
		return;
	}
	api_log_admin(c, "join_token_revoked", "id", c->param);
	api_answer(c, &(struct api_answer){.status = 204});
}
