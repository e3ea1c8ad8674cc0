/* SPDX-License-Identifier: Apache-2.0 */
/* Authorities that others sign: requests for the signer, and what it sends back. */
#include "api_impl.h"

#include "mica/clock.h"
#include "mica/rotation.h"

#define DOC_MAX    (1u << 20)
#define IMPORT_MAX (256 * 1024)
#define JSON_TYPE  "application/json"

void api_authority_requests(struct api_call *c)
{
	MICA_AUTO_JSON doc = {.root = NULL};
	int64_t count = MICA_SIGNED_AHEAD;
	const struct mica_json_member members[] = {
		{.name = "count", .type = MICA_JSON_INT, .max = MICA_REQUESTS_MAX, .out = &count},
	};
	mica_rc rc = api_body(c->d->body, &doc, &c->err);

	mica_buf_init(&c->out, DOC_MAX);
	if (rc == MICA_OK)
		rc = mica_json_read(
			&doc, doc.root, "", members, MICA_ARRAY_LEN(members), false, &c->err);
	if (rc == MICA_OK)
		rc = mica_core_requests(c->a->desk->core, (unsigned)count, c->caller, mica_now_ms(),
			&c->out, &c->err);
	if (rc != MICA_OK) {
		api_fail(c);
		return;
	}
	api_log_admin(c, "authorities_requested", NULL, MICA_SLICE_NULL);
	api_send(c, 200, JSON_TYPE, NULL);
}

void api_authority_import(struct api_call *c)
{
	MICA_AUTO_JSON doc = {.root = NULL};
	struct mica_import in = {.new_root = false};
	const struct mica_json_member members[] = {
		{.name = "pem",
			.type = MICA_JSON_STRING,
			.required = true,
			.max = IMPORT_MAX,
			.out = &in.pem},
		{.name = "new_root", .type = MICA_JSON_BOOL, .out = &in.new_root},
		{.name = "standby", .type = MICA_JSON_BOOL, .out = &in.standby},
	};
	mica_rc rc = api_body(c->d->body, &doc, &c->err);

	mica_buf_init(&c->out, DOC_MAX);
	if (rc == MICA_OK)
		rc = mica_json_read(
			&doc, doc.root, "", members, MICA_ARRAY_LEN(members), false, &c->err);
	if (rc == MICA_OK && in.standby && !in.new_root)
		rc = mica_fail(&c->err, MICA_INVALID, "standby_is_for_roots",
			"standby: it is said of a new root; expected new_root, too");
	if (rc == MICA_OK)
		rc = mica_core_import(
			c->a->desk->core, &in, c->caller, mica_now_ms(), &c->out, &c->err);
	if (rc != MICA_OK) {
		api_fail(c);
		return;
	}
	api_log_admin(c, "authorities_imported", NULL, MICA_SLICE_NULL);
	api_wake(c->a, false);
	api_send(c, 201, JSON_TYPE, NULL);
}
