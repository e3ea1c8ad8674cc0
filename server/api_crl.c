/* SPDX-License-Identifier: Apache-2.0 */
/* CRLs for everybody; revoking and what is revoked, for administrators and auditors. */
#include "api_impl.h"

#include "mica/clock.h"

#define LIST_MAX  (64u << 20)
#define JSON_TYPE "application/json"
/* Between two looks at a list of an hour or a day: so late a revocation may be known. */
#define CACHED "public, max-age=60, must-revalidate"

/* ---- lists --------------------------------------------------------------------------------- */

static void serve(struct api_call *c, enum mica_crl_form form, const char *type)
{
	struct api_answer a = {.status = 200, .type = type, .cache = CACHED};
	struct mica_slice has = c->d->if_none_match;
	const struct mica_snapshot *s = NULL;

	if (mica_core_crl(c->a->desk->core, c->param, form, &s, &c->err) != MICA_OK) {
		api_fail(c);
		return;
	}
	memcpy(c->etag, s->etag, sizeof(c->etag));
	a.etag = c->etag;
	if (has.len > 0 && api_etag_matches(has, s->etag)) {
		mica_snapshot_unref(s);
		a.status = 304;
		a.type = NULL;
	} else {
		a.body = s->bytes;
		a.owner = s;
		a.release = (void (*)(const void *))mica_snapshot_unref;
	}
	api_answer(c, &a);
}

/* RFC 2585 4.2 */
void api_crl_der(struct api_call *c)
{
	serve(c, MICA_CRL_DER, "application/pkix-crl");
}

void api_crl_pem(struct api_call *c)
{
	serve(c, MICA_CRL_PEM, "application/x-pem-file");
}

void api_crl_all(struct api_call *c)
{
	serve(c, MICA_CRL_ALL_PEM, "application/x-pem-file");
}

/* Of an authority whose key is elsewhere. */
void api_crl_import(struct api_call *c)
{
	MICA_AUTO_JSON doc = {.root = NULL};
	struct mica_slice pem;
	char id[48];
	mica_rc rc;

	if (mica_slice_copy(c->param, id, sizeof(id)) != MICA_OK)
		rc = mica_fail(&c->err, MICA_NOT_FOUND, "no_such_authority",
			"no authority has this id; GET /v1/authorities lists them");
	else
		rc = api_body(c->d->body, &doc, &c->err);
	if (rc == MICA_OK)
		rc = api_decode_crl(&doc, &pem, &c->err);
	if (rc == MICA_OK)
		rc = mica_core_import_crl(
			c->a->desk->core, id, pem, c->caller, mica_now_ms(), &c->err);
	if (rc != MICA_OK) {
		api_fail(c);
		return;
	}
	api_log_admin(c, "crl_imported", "authority", c->param);
	api_answer(c, &(struct api_answer){.status = 204});
}

/* ---- certificates -------------------------------------------------------------------------- */

void api_certificate_revoke(struct api_call *c)
{
	MICA_AUTO_JSON doc = {.root = NULL};
	struct mica_slice reason = MICA_SLICE_NULL;
	mica_rc rc = api_body(c->d->body, &doc, &c->err);

	if (rc == MICA_OK)
		rc = api_decode_revocation(&doc, &reason, &c->err);
	if (rc == MICA_OK)
		rc = mica_core_revoke_certificate(
			c->a->desk->core, c->param, reason, c->caller, mica_now_ms(), &c->err);
	if (rc != MICA_OK) {
		api_fail(c);
		return;
	}
	api_log_admin(c, "certificate_revoked", "serial", c->param);
	api_answer(c, &(struct api_answer){.status = 204});
}

void api_revocations(struct api_call *c)
{
	mica_buf_init(&c->out, LIST_MAX);
	if (mica_core_revocations(c->a->desk->core, &c->out, &c->err) == MICA_OK)
		api_send(c, 200, JSON_TYPE, NULL);
	else
		api_fail(c);
}
