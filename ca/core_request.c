/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Issuing keys for a root whose key is elsewhere: made here, ahead, and asked for with requests
 * that whoever has the root's key signs. They wait in state pending until the certificate comes
 * (core_import.c).
 */
#include "core_impl.h"

#include "mica/csr.h"
#include "mica/pem.h"

#include <inttypes.h>
#include <stdio.h>

static bool is_pending(const struct mica_authority *a, int64_t now)
{
	return a->kind == MICA_AUTHORITY_ISSUING && a->cert.len == 0 &&
		mica_authority_state_at(a, now) == MICA_AS_PENDING;
}

mica_rc mica_core_pending_fill(const struct mica_kek *kek, const struct mica_signer *key,
	int64_t now, struct mica_authority *a, struct mica_err *e)
{
	a->not_before = now;
	a->not_after = MICA_AUTHORITY_NO_END;
	return mica_kek_seal(kek, MICA_KEY_ISSUING, a->id, key, &a->envelope, e);
}

static mica_rc add_one(struct core_bring *b, struct mica_err *e)
{
	MICA_AUTO_SIGNER key = NULL;
	struct mica_authority *a;
	mica_rc rc = mica_signer_generate(b->v->policy->authority_key, &key, e);

	if (rc == MICA_OK)
		rc = mica_core_bring_add(
			b, -1, MICA_AUTHORITY_ISSUING, mica_signer_public(key), &a, e);
	if (rc == MICA_OK)
		rc = mica_core_pending_fill(b->c->kek, key, b->now, a, e);
	return rc == MICA_OK ? mica_core_bring_note(b, a, "requested", MICA_SLICE_NULL, e) : rc;
}

static mica_rc make(struct mica_core *c, unsigned count, const struct mica_caller *actor,
	int64_t now_ms, unsigned *made, struct mica_err *e)
{
	CORE_AUTO_BRING b;
	unsigned waiting = 0;
	mica_rc rc = MICA_OK;

	mica_core_bring_begin(&b, c, actor, now_ms);
	for (unsigned i = 0; i < b.v->auths->n; i++)
		waiting += is_pending(&b.v->auths->v[i], b.now);
	if (b.v->policy->rotation.root_home != MICA_ROOT_OFFLINE && count > waiting)
		return mica_fail(e, MICA_CONFLICT, "root_not_offline",
			"requests are for a root whose key is elsewhere (authorities.root: offline)");
	for (; waiting < count && rc == MICA_OK; waiting++, (*made)++)
		rc = add_one(&b, e);
	return rc == MICA_OK ? mica_core_bring_commit(&b, e) : rc;
}

/* ---- what the signer gets ----------------------------------------------------------------------
 */

static mica_rc put_request(struct mica_core *c, const struct core_view *v,
	const struct mica_authority *a, struct mica_buf *json, struct mica_err *e)
{
	MICA_AUTO_SIGNER key = NULL;
	MICA_AUTO_BUF der, pem;
	mica_rc rc = mica_kek_open(
		c->kek, MICA_KEY_ISSUING, a->id, mica_buf_slice(&a->envelope), &key, e);

	mica_buf_init(&der, MICA_CSR_MAX);
	mica_buf_init(&pem, 2 * MICA_CSR_MAX);
	if (rc == MICA_OK)
		rc = mica_csr_make(key, v->policy->trust_domain, &der, e);
	if (rc != MICA_OK) {
		mica_err_context(e, "authority %s", a->id);
		return rc;
	}
	mica_pem_put(&pem, MICA_PEM_CSR, mica_buf_slice(&der));
	mica_core_put_string(json, "{", "id", a->id);
	mica_core_put_time(json, ",", "created",
		mica_authority_first(a, MICA_AE_CREATED, MICA_TIME_NEVER - 1));
	mica_buf_put_str(json, ",\"csr\":");
	mica_buf_put_json_string(json, mica_buf_slice(&pem));
	mica_buf_put_u8(json, '}');
	return mica_buf_rc(json, e);
}

/* A section for each request, as openssl's -extensions takes it: the key's identifier is what Mica
 * calls it by, and openssl's own ("hash") is another. */
static void put_extensions(struct mica_buf *b, const char *trust_domain, const char *id)
{
	mica_buf_printf(b,
		"[ mica_%s ]\n"
		"basicConstraints = critical, CA:TRUE, pathlen:0\n"
		"keyUsage = critical, keyCertSign, cRLSign\n"
		"subjectKeyIdentifier = %s\n"
		"authorityKeyIdentifier = keyid:always\n"
		"subjectAltName = URI:spiffe://%s\n\n",
		id, id, trust_domain);
}

static mica_rc put_requests(
	struct mica_core *c, int64_t now, unsigned made, struct mica_buf *json, struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	struct mica_rotation_stock stock;
	MICA_AUTO_BUF extensions;
	mica_rc rc = MICA_OK;
	unsigned n = 0;

	mica_buf_init(&extensions, 64 * 1024);
	mica_buf_printf(&extensions,
		"# Extensions of the issuing authorities of trust domain %s, for openssl's -extfile.\n\n",
		v->policy->trust_domain);
	mica_rotation_stock_of(&v->policy->rotation, v->auths->v, v->auths->n, now, &stock);
	mica_buf_printf(json, "{\"made\":%u", made);
	mica_core_put_stock(json, &stock);
	mica_buf_put_str(json, ",\"requests\":[");
	for (unsigned i = 0; i < v->auths->n && rc == MICA_OK; i++) {
		if (!is_pending(&v->auths->v[i], now))
			continue;
		if (n++)
			mica_buf_put_u8(json, ',');
		rc = put_request(c, v, &v->auths->v[i], json, e);
		put_extensions(&extensions, v->policy->trust_domain, v->auths->v[i].id);
	}
	mica_buf_put_str(json, "],\"extensions\":");
	mica_buf_put_json_string(json, mica_buf_slice(&extensions));
	mica_buf_put_u8(json, '}');
	return rc == MICA_OK ? mica_buf_rc(json, e) : rc;
}

void mica_core_put_stock(struct mica_buf *b, const struct mica_rotation_stock *s)
{
	if (!s->counts) {
		mica_buf_put_str(b, ",\"signatures\":null");
		return;
	}
	mica_buf_printf(b,
		",\"signatures\":{\"ahead\":%u,\"wanted\":%d,\"pending\":%u,\"needed\":%s,"
		"\"standby\":%s",
		s->ahead, MICA_SIGNED_AHEAD, s->pending, s->needed ? "true" : "false",
		s->standby ? "true" : "false");
	mica_core_put_time(b, ",", "needed_from", s->from);
	mica_core_put_time(b, ",", "needed_by", s->covered);
	mica_buf_put_u8(b, '}');
}

mica_rc mica_core_requests(struct mica_core *c, unsigned count, const struct mica_caller *actor,
	int64_t now_ms, struct mica_buf *json, struct mica_err *e)
{
	unsigned made = 0;
	mica_rc rc;

	if (count > MICA_REQUESTS_MAX)
		return mica_fail(e, MICA_INVALID, "too_many_requests_ahead",
			"at most %d requests can wait for a signature", MICA_REQUESTS_MAX);
	pthread_mutex_lock(&c->admin);
	rc = make(c, count, actor, now_ms, &made, e);
	if (rc == MICA_OK)
		rc = put_requests(c, mica_core_decision_ms(c, now_ms) / 1000, made, json, e);
	pthread_mutex_unlock(&c->admin);
	return rc;
}
