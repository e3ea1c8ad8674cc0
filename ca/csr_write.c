/* SPDX-License-Identifier: Apache-2.0 */
#include "mica/csr.h"
#include "mica/der.h"
#include "mica/pem.h"

/* RFC 2986 4.1, written from its end: attributes [0], key, subject, version 0. */
static struct mica_slice request_info(struct mica_derw *w, const struct mica_signer *key)
{
	size_t mark = mica_derw_mark(w);

	mica_derw_prim(w, MICA_DER_CTX_C(0), NULL, 0);
	mica_derw_put_slice(w, mica_pubkey_spki(mica_signer_public(key)));
	mica_derw_prim(w, MICA_DER_SEQUENCE, NULL, 0);
	mica_derw_unsigned(w, "", 1);
	mica_derw_wrap(w, mark, MICA_DER_SEQUENCE);
	return mica_derw_slice(w);
}

mica_rc mica_csr_write(const struct mica_signer *key, struct mica_buf *pem, struct mica_err *e)
{
	uint8_t info_room[2048], room[4096], sig[MICA_SIG_MAX];
	struct mica_derw info = mica_derw(info_room, sizeof(info_room));
	struct mica_derw w = mica_derw(room, sizeof(room));
	struct mica_slice signed_part = request_info(&info, key);
	size_t len = sizeof(sig);
	mica_rc rc = mica_signer_sign(key, MICA_SIG_DER, signed_part, sig, &len, e);

	if (rc != MICA_OK)
		return rc;
	mica_derw_bits(&w, sig, len);
	mica_derw_put_slice(&w, mica_sig_alg_der(mica_signer_alg(key)));
	mica_derw_put_slice(&w, signed_part);
	mica_derw_wrap(&w, sizeof(room), MICA_DER_SEQUENCE);
	if (!mica_derw_ok(&info) || !mica_derw_ok(&w))
		return mica_fail(e, MICA_INTERNAL, "csr_too_large", "the request is too large");
	mica_pem_put(pem, MICA_PEM_CSR, mica_derw_slice(&w));
	return mica_buf_rc(pem, e);
}
