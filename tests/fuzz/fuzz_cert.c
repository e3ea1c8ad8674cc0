/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates and chains of them (DER, one behind the other), read and verified. What we take,
 * OpenSSL takes; and what a chain's path is taken for, was signed. Nothing here can sign, so a
 * chain that verifies is one of the corpus.
 */
#include "mica/der.h"
#include "mica/verify.h"

#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void agree(struct mica_slice der, const struct mica_cert_info *c)
{
	const uint8_t *at = der.p;
	X509 *x = d2i_X509(NULL, &at, (long)der.len);
	if (!x || at != der.p + der.len)
		abort();
	GENERAL_NAMES *san = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
	size_t uris = 0;
	for (int i = 0; i < sk_GENERAL_NAME_num(san); i++)
		uris += sk_GENERAL_NAME_value(san, i)->type == GEN_URI;
	/* A name that OpenSSL cannot read (an otherName in pieces) leaves it with none. */
	if (san && uris != c->n_uri)
		abort();
	GENERAL_NAMES_free(san);
	X509_free(x);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mica_slice chain[MICA_CHAIN_MAX + 1];
	struct mica_der d = mica_der(mica_slice(data, size));
	struct mica_trust *t = NULL;
	struct mica_svid svid;
	size_t n = 0;
	while (n <= MICA_CHAIN_MAX && d.s.len &&
		mica_der_next(&d, MICA_DER_SEQUENCE, NULL, &chain[n])) {
		struct mica_cert_info c;
		struct mica_pubkey k;
		struct mica_err e = MICA_ERR_INIT;
		mica_rc rc = mica_cert_read(chain[n], &c, &e);
		if (rc ? !e.reason || !e.text[0] : !mica_pubkey_read(c.spki, &k, NULL))
			rc ? abort() : agree(chain[n], &c);
		n++;
	}
	/* The last one is the root. */
	if (n && !mica_trust_new("example.org", &chain[n - 1], 1, &t, NULL)) {
		struct mica_err e = MICA_ERR_INIT;
		mica_rc rc = mica_verify_svid(t, chain, n, 1795521600, 0, &svid, &e);
		if (rc && (rc != MICA_UNAUTHENTICATED || !e.reason || !e.text[0]))
			abort();
		size_t td;
		if (!rc && !mica_spiffe_id_is_workload(mica_slice_str(svid.spiffe_id), &td))
			abort();
	}
	mica_trust_free(t);
	ERR_clear_error();
	return 0;
}
