/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that we make: for issuing authorities below a root whose key is elsewhere, and for
 * SVIDs.
 */
#include "mica/csr.h"
#include "mica/pem.h"

#include "x509.h"

/* extensionRequest, 1.2.840.113549.1.9.14 */
static const uint8_t oid_request[] = {
	0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x0e};

/* RFC 2986 4: what is signed. */
static void write_info(struct mica_derw *w, const char *trust_domain, const struct mica_pubkey *key)
{
	uint8_t ski[MICA_KEY_ID_LEN];
	size_t mark = mica_derw_mark(w);

	mica_pubkey_id(key, ski);
	mica_x509_put_ca_extensions(w, trust_domain, MICA_CA_ISSUING, NULL,
		mica_slice(ski, sizeof(ski)), MICA_SLICE_NULL);
	mica_derw_wrap(w, mark, MICA_DER_SEQUENCE);
	mica_derw_wrap(w, mark, MICA_DER_SET);
	mica_derw_put(w, oid_request, sizeof(oid_request));
	mica_derw_wrap(w, mark, MICA_DER_SEQUENCE);
	mica_derw_wrap(w, mark, MICA_DER_CTX_C(0));
	mica_derw_put_slice(w, mica_pubkey_spki(key));
	mica_x509_put_ca_subject(w, trust_domain, MICA_CA_ISSUING, key);
	mica_derw_put(w, "\x02\x01\x00", 3); /* version 1 */
	mica_derw_wrap(w, mark, MICA_DER_SEQUENCE);
}

/* RFC 2986 4.1, of which an SVID's request has the least: no attributes, no subject, version 0. */
static void write_plain_info(struct mica_derw *w, const struct mica_pubkey *key)
{
	size_t mark = mica_derw_mark(w);

	mica_derw_prim(w, MICA_DER_CTX_C(0), NULL, 0);
	mica_derw_put_slice(w, mica_pubkey_spki(key));
	mica_derw_prim(w, MICA_DER_SEQUENCE, NULL, 0);
	mica_derw_unsigned(w, "", 1);
	mica_derw_wrap(w, mark, MICA_DER_SEQUENCE);
}

/* `w` gets the whole request. */
static mica_rc sign_info(const struct mica_signer *key, const struct mica_derw *info,
	struct mica_derw *w, struct mica_err *e)
{
	uint8_t sig[MICA_SIG_MAX];
	size_t len = sizeof(sig);
	mica_rc rc = mica_signer_sign(key, MICA_SIG_DER, mica_derw_slice(info), sig, &len, e);

	if (rc != MICA_OK)
		return rc;
	mica_derw_bits(w, sig, len);
	mica_derw_put_slice(w, mica_sig_alg_der(mica_signer_alg(key)));
	mica_derw_put_slice(w, mica_derw_slice(info));
	mica_derw_wrap(w, w->room, MICA_DER_SEQUENCE);
	if (!mica_derw_ok(info) || !mica_derw_ok(w))
		return mica_fail(e, MICA_INTERNAL, "csr_too_large", "the request is too large");
	return MICA_OK;
}

mica_rc mica_csr_make(const struct mica_signer *key, const char *trust_domain, struct mica_buf *out,
	struct mica_err *e)
{
	uint8_t room[MICA_CSR_MAX / 4], whole[MICA_CSR_MAX / 2];
	struct mica_derw info = mica_derw(room, sizeof(room));
	struct mica_derw w = mica_derw(whole, sizeof(whole));
	mica_rc rc;

	if (!*trust_domain || strlen(trust_domain) > MICA_TD_MAX)
		return mica_fail(e, MICA_INVALID, "name_invalid",
			"certificate request: a trust domain has 1 to %d octets", MICA_TD_MAX);
	write_info(&info, trust_domain, mica_signer_public(key));
	rc = sign_info(key, &info, &w, e);
	if (rc != MICA_OK)
		return rc;
	mica_buf_put_slice(out, mica_derw_slice(&w));
	return mica_buf_rc(out, e);
}

mica_rc mica_csr_write(const struct mica_signer *key, struct mica_buf *pem, struct mica_err *e)
{
	uint8_t room[MICA_CSR_MAX / 8], whole[MICA_CSR_MAX / 4];
	struct mica_derw info = mica_derw(room, sizeof(room));
	struct mica_derw w = mica_derw(whole, sizeof(whole));
	mica_rc rc;

	write_plain_info(&info, mica_signer_public(key));
	rc = sign_info(key, &info, &w, e);
	if (rc != MICA_OK)
		return rc;
	mica_pem_put(pem, MICA_PEM_CSR, mica_derw_slice(&w));
	return mica_buf_rc(pem, e);
}
