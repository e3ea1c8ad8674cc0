/* SPDX-License-Identifier: Apache-2.0 */
/* The CRL of an authority whose key is elsewhere: signed there, judged here, published like others.
 */
#include "core_impl.h"

#include "mica/pem.h"

#include <inttypes.h>
#include <openssl/sha.h>

static mica_rc wrong_issuer(struct mica_err *e, const char *id)
{
	return mica_fail(
		e, MICA_INVALID, "crl_wrong_issuer", "CRL: it is not one of authority %s", id);
}

/* Its name, its key identifier and its signature are those of the authority. */
static mica_rc check_issuer(
	const struct core_view *v, int at, const struct mica_crl_info *c, struct mica_err *e)
{
	const struct mica_authority *a = &v->auths->v[at];
	struct mica_cert_info cert;
	mica_rc rc;

	if (a->cert.len == 0)
		return wrong_issuer(e, a->id);
	rc = mica_cert_read(mica_buf_slice(&a->cert), &cert, e);
	if (rc != MICA_OK)
		return rc;
	if (!mica_slice_eq(cert.subject, c->issuer) ||
		(c->aki.len > 0 && cert.ski.len > 0 && !mica_slice_eq(c->aki, cert.ski)))
		return wrong_issuer(e, a->id);
	if (mica_pubkey_verify(&v->auths->more[at].pub, c->alg, MICA_SIG_DER, c->tbs, c->signature,
		    NULL) != MICA_OK)
		return mica_fail(e, MICA_INVALID, "crl_bad_signature",
			"CRL: its signature is not one of authority %s", a->id);
	return MICA_OK;
}

static mica_rc check_time(
	const struct core_view *v, const struct mica_crl_info *c, int64_t now, struct mica_err *e)
{
	char from[MICA_TIME_SIZE], to[MICA_TIME_SIZE];

	if (c->this_update <= now + v->policy->rotation.skew && c->next_update > now)
		return MICA_OK;
	mica_time_format(c->this_update, from);
	mica_time_format(c->next_update, to);
	return mica_fail(e, MICA_INVALID, "crl_not_in_time",
		"CRL: it is for the time from %s to %s, which is not now", from, to);
}

/* Who asks again for what is there already is told that it is. */
static mica_rc check_number(
	const struct core_crl *old, const struct mica_crl_info *c, bool *same, struct mica_err *e)
{
	*same = old && mica_slice_eq(old->der->bytes, c->der);
	if (!old || *same || c->number > old->number)
		return MICA_OK;
	return mica_fail(e, MICA_CONFLICT, "crl_not_newer",
		"CRL: its number is %" PRIu64 ", and one of number %" PRIu64
		" is published; expected "
		"a greater one",
		c->number, old->number);
}

static mica_rc note(struct core_change *ch, const struct mica_crl_info *c, const char *id,
	const struct mica_caller *actor, int64_t now_ms, struct mica_err *e)
{
	struct core_note n = {
		.type = MICA_ENTRY_AUTHORITY, .action = "crl_imported", .authority = id};
	char end[MICA_TIME_SIZE];
	MICA_AUTO_BUF detail;

	mica_time_format(c->next_update, end);
	mica_buf_init(&detail, 256);
	mica_buf_printf(&detail, "{\"number\":%" PRIu64 ",\"next_update\":\"%s\",\"revoked\":%zu}",
		c->number, end, c->n);
	n.detail = mica_buf_slice(&detail);
	return mica_core_change_note(ch, &n, actor, now_ms, e);
}

static mica_rc store(struct mica_core *c, const struct mica_crl_info *info, const char *id,
	const struct mica_caller *actor, int64_t now_ms, struct mica_err *e)
{
	struct core_crl r = {.number = info->number,
		.signed_ms = info->this_update * 1000,
		.this_update = info->this_update,
		.next_update = info->next_update};
	CORE_AUTO_CHANGE ch = {.n_reads = 0};
	mica_rc rc;

	memcpy(r.authority, id, sizeof(r.authority));
	SHA256(info->der.p, info->der.len, r.hash);
	mica_core_put_crl(&ch, &r, info->der);
	rc = note(&ch, info, id, actor, now_ms, e);
	return rc == MICA_OK ? mica_core_change_commit(c, &ch, now_ms, e) : rc;
}

static mica_rc check_elsewhere(const struct core_view *v, int at, struct mica_err *e)
{
	if (at < 0 || !mica_core_signs_crl(v, (unsigned)at))
		return MICA_OK;
	return mica_fail(e, MICA_CONFLICT, "crl_signed_here",
		"the key of this authority is here: micad signs its CRLs");
}

mica_rc mica_core_check_crl(const struct core_view *v, const char *id,
	const struct mica_crl_info *info, int64_t now, bool *same, struct mica_err *e)
{
	mica_rc rc = check_elsewhere(v, mica_core_authority_find(v->auths, id), e);

	if (rc == MICA_OK)
		rc = check_time(v, info, now, e);
	if (rc == MICA_OK)
		rc = check_number(mica_core_find_crl(v->crls, id), info, same, e);
	return rc;
}

mica_rc mica_core_take_crl(struct mica_core *c, const char *id, const struct mica_crl_info *info,
	const struct mica_caller *actor, int64_t now_ms, struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	int64_t now = mica_core_decision_ms(c, now_ms) / 1000;
	struct core_crls *l = NULL;
	bool same = false;
	int at;
	mica_rc rc = mica_core_authority_need(v->auths, id, &at, e);

	if (rc == MICA_OK)
		rc = check_elsewhere(v, at, e);
	if (rc == MICA_OK)
		rc = check_issuer(v, at, info, e);
	if (rc == MICA_OK)
		rc = mica_core_check_crl(v, id, info, now, &same, e);
	if (rc != MICA_OK || same)
		return rc;
	rc = store(c, info, id, actor, now_ms, e);
	if (rc == MICA_OK)
		rc = mica_core_crls_load(c, &l, e);
	if (rc != MICA_OK)
		return rc;
	mica_core_view_take_set(c, &(struct core_parts){.crls = l});
	return mica_core_crls_publish(c, now_ms, e);
}

/* One block, and nothing else. */
static mica_rc read_pem(struct mica_slice pem, struct mica_buf *der, struct mica_err *e)
{
	struct mica_err own = MICA_ERR_INIT;
	MICA_AUTO_BUF more;
	mica_rc rc = mica_pem_next(&pem, MICA_PEM_CRL, NULL, der, &own);

	mica_buf_init(&more, MICA_CRL_MAX);
	if (rc == MICA_NOT_FOUND)
		return mica_fail(e, MICA_INVALID, "crl_malformed", "CRL: the text is empty");
	if (rc == MICA_LIMIT)
		return mica_fail(
			e, rc, "crl_too_large", "CRL: at most %d octets are taken", MICA_CRL_MAX);
	if (rc != MICA_OK)
		return mica_fail(e, rc, own.reason, "%s", own.text);
	if (mica_pem_next(&pem, MICA_PEM_CRL, NULL, &more, NULL) == MICA_NOT_FOUND)
		return MICA_OK;
	return mica_fail(
		e, MICA_INVALID, "crl_malformed", "CRL: something stands behind its block");
}

mica_rc mica_core_import_crl(struct mica_core *c, const char *authority_id, struct mica_slice pem,
	const struct mica_caller *actor, int64_t now_ms, struct mica_err *e)
{
	struct mica_crl_info info;
	MICA_AUTO_BUF der;
	mica_rc rc;

	mica_buf_init(&der, MICA_CRL_MAX);
	rc = read_pem(pem, &der, e);
	if (rc == MICA_OK)
		rc = mica_crl_read(mica_buf_slice(&der), &info, e);
	if (rc != MICA_OK)
		return rc;
	pthread_mutex_lock(&c->admin);
	rc = mica_core_take_crl(c, authority_id, &info, actor, now_ms, e);
	pthread_mutex_unlock(&c->admin);
	return rc;
}
