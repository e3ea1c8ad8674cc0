/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plugged-in authority: an issuing authority with its key, the certificates above it and the
 * roots that are to be trusted, from the files that Istio and cert-manager have them in. Pure: the
 * files were read by somebody else, all of one moment.
 */
#ifndef MICA_CA_CA_FILES_H
#define MICA_CA_CA_FILES_H

#include "mica/core.h"

#include "ca_check.h"

#define MICA_CA_FILES_ROOTS 16
#define MICA_CA_FILES_POOL  8 /* certificates beside the issuing authority's own */

/* What they hold. Slices point into `der`. */
struct mica_ca_set {
	struct mica_buf der;
	struct mica_ca_cert issuing;
	struct mica_ca_cert pool[MICA_CA_FILES_POOL];
	struct mica_ca_cert roots[MICA_CA_FILES_ROOTS];
	size_t n_pool, n_roots;
	struct mica_signer *key; /* of `issuing` */
};
void mica_ca_set_free(struct mica_ca_set *s);
static inline void mica_auto_ca_set_(struct mica_ca_set **s)
{
	mica_ca_set_free(*s);
}
#define MICA_AUTO_CA_SET __attribute__((cleanup(mica_auto_ca_set_))) struct mica_ca_set *

/* Reads them; what the certificates say is not judged, but that the key is that of the issuing one.
 * INVALID "pem_*", "cert_*", "key_*", "signature_algorithm_*", each with the file's name in front;
 * besides:
 *	plugged_key_mismatch	the key is not that of the certificate
 *	plugged_is_root		the issuing authority is its own root
 *	plugged_passphrase	the key is encrypted and there is no passphrase, or the wrong one,
 *or there is one and the key is not encrypted plugged_key_form	none of the forms that a key can
 *have: PKCS #8, plain or encrypted (PBES2), SEC 1, PKCS #1 LIMIT "pem_too_many". */
mica_rc mica_ca_set_read(
	const struct mica_plug *in, struct mica_ca_set **out, struct mica_err *e) MICA_MUST_CHECK;
/* A private key from PEM in any of these forms. */
mica_rc mica_ca_key_read(struct mica_slice pem, const struct mica_secret *passphrase,
	struct mica_signer **out, struct mica_err *e) MICA_MUST_CHECK;

#endif
