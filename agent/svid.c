/* SPDX-License-Identifier: Apache-2.0 */
#include "svid.h"

#include "mica/json.h"
#include "mica/pem.h"
#include "mica/spiffeid.h"
#include "mica/verify.h"

#include <stdatomic.h>
#include <stdio.h>

#define CHAIN_BYTES ((size_t)MICA_CHAIN_MAX * MICA_CERT_MAX)
#define ANSWER_MAX  ((size_t)1 << 20)

const struct svid *svid_ref(const struct svid *s)
{
	if (s)
		atomic_fetch_add((_Atomic unsigned *)(uintptr_t)&s->refs, 1);
	return s;
}

void svid_unref(const struct svid *s)
{
	struct svid *mine = (struct svid *)(uintptr_t)s;

	if (!mine || atomic_fetch_sub(&mine->refs, 1) != 1)
		return;
	mica_buf_clear(&mine->der);
	mica_buf_clear(&mine->pem);
	mica_secret_free(mine->pkcs8);
	mica_free(mine);
}

void svid_put_key_pem(const struct svid *s, struct mica_buf *out)
{
	mica_pem_put(out, "PRIVATE KEY", mica_secret_view(s->pkcs8));
}

/* ---- reading ------------------------------------------------------------------------------- */

struct answer {
	struct mica_slice chain, renew_after;
	int64_t sequence;
};

static mica_rc read_json(struct mica_json *d, struct answer *a, struct mica_err *e)
{
	const struct mica_json_member members[] = {{.name = "certificate_chain",
							   .type = MICA_JSON_STRING,
							   .required = true,
							   .out = &a->chain},
		{.name = "renew_after",
			.type = MICA_JSON_STRING,
			.required = true,
			.out = &a->renew_after},
		{.name = "bundle_sequence",
			.type = MICA_JSON_INT,
			.max = (int64_t)1 << 53,
			.out = &a->sequence}};
	struct mica_err why = MICA_ERR_INIT;

	if (!json_is_object(d->root) ||
		mica_json_read(d, d->root, "", members, MICA_ARRAY_LEN(members), true, &why) !=
			MICA_OK)
		return mica_fail(e, MICA_INVALID, "answer_malformed",
			"the answer is not an SVID's: %s", why.text);
	return MICA_OK;
}

static mica_rc check_leaf(const char *td, const struct mica_cert_info *info,
	const struct mica_signer *key, struct svid *s, struct mica_err *e)
{
	struct mica_spiffe_id id;
	mica_rc rc;

	if (!mica_slice_eq(info->spki, mica_pubkey_spki(mica_signer_public(key))))
		return mica_fail(e, MICA_INVALID, "certificate_for_other_key",
			"the certificate that came is not for the key that asked for it");
	if (info->n_uri != 1 || info->is_ca)
		return mica_fail(e, MICA_INVALID, "answer_malformed",
			"the certificate that came is not an X.509-SVID's leaf");
	rc = mica_spiffe_id_parse_workload(info->uri[0], &id, e);
	if (rc == MICA_OK && !mica_spiffe_id_member_of(&id, mica_slice_str(td)))
		rc = mica_fail(e, MICA_INVALID, "certificate_for_other_domain",
			"the certificate that came is for %.*s, expected one of %s",
			MICA_FMT(id.text), td);
	if (rc == MICA_OK)
		rc = mica_slice_copy(id.text, s->id, sizeof(s->id));
	if (rc != MICA_OK)
		return rc;
	mica_hex_encode(info->serial.p, info->serial.len, s->serial);
	s->times.not_before = info->not_before * 1000;
	s->times.not_after = info->not_after * 1000;
	return MICA_OK;
}

static mica_rc read_chain(const char *td, struct mica_slice pem, const struct mica_signer *key,
	struct svid *s, struct mica_err *e)
{
	struct mica_slice certs[MICA_CHAIN_MAX];
	struct mica_cert_info info;
	MICA_AUTO_BUF der;
	size_t n = 0;
	mica_rc rc;

	mica_buf_init(&der, CHAIN_BYTES);
	rc = mica_pem_certs(pem, &der, certs, MICA_CHAIN_MAX, &n, e);
	if (rc == MICA_OK)
		rc = mica_cert_read(certs[0], &info, e);
	if (rc == MICA_OK)
		rc = check_leaf(td, &info, key, s, e);
	for (size_t i = 0; i < n && rc == MICA_OK; i++) {
		mica_buf_put_slice(&s->der, certs[i]);
		mica_pem_put(&s->pem, MICA_PEM_CERT, certs[i]);
	}
	if (rc == MICA_OK)
		rc = mica_buf_rc(&s->pem, e);
	return rc;
}

static mica_rc fill(const char *td, struct mica_slice answer, const struct mica_signer *key,
	struct svid *s, struct mica_err *e)
{
	const struct mica_json_limits limits = {.bytes = ANSWER_MAX};
	struct answer a = {.sequence = 0};
	struct mica_err why = MICA_ERR_INIT;
	MICA_AUTO_JSON d = {0};
	int64_t renew_after = 0;
	mica_rc rc = MICA_OK;

	if (mica_json_parse(answer, &limits, &d, &why) != MICA_OK)
		return mica_fail(e, MICA_INVALID, "answer_malformed", "%s", why.text);
	rc = read_json(&d, &a, e);
	if (rc == MICA_OK && mica_time_parse(a.renew_after, &renew_after) != MICA_OK)
		rc = mica_fail(e, MICA_INVALID, "answer_malformed",
			"renew_after is not a time such as 2026-11-24T12:00:00Z");
	if (rc == MICA_OK)
		rc = read_chain(td, a.chain, key, s, e);
	if (rc == MICA_OK)
		rc = mica_signer_pkcs8(key, &s->pkcs8, e);
	s->times.renew_after = renew_after * 1000;
	s->bundle_sequence = (uint64_t)a.sequence;
	return rc;
}

mica_rc svid_read(const char *td, struct mica_slice answer, const struct mica_signer *key,
	const struct svid **out, struct mica_err *e)
{
	struct svid *fresh = MICA_NEW(struct svid);
	AUTO_SVID s = fresh;
	mica_rc rc;

	*out = NULL;
	fresh->refs = 1;
	mica_buf_init(&fresh->der, CHAIN_BYTES);
	mica_buf_init(&fresh->pem, 2 * CHAIN_BYTES);
	rc = fill(td, answer, key, fresh, e);
	if (rc == MICA_OK)
		*out = MICA_STEAL(s);
	return rc;
}
