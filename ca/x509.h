/* SPDX-License-Identifier: Apache-2.0 */
/* What csr.c, cert.c, crl.c and verify.c share. */
#ifndef MICA_CA_X509_H
#define MICA_CA_X509_H

#include "mica/cert.h"
#include "mica/der.h"

/* Name (RFC 5280 4.1.2.4): SEQUENCE OF SET OF { type, value }; reads one. *empty: no attribute. */
bool mica_x509_name(struct mica_der *d, struct mica_slice *whole, bool *empty);

/* What an authority puts into all that it signs; borrowed from it. */
struct mica_issuer_parts {
	struct mica_slice subject; /* whole Name */
	struct mica_slice aki; /* whole Extension */
	const struct mica_signer *signer;
	bool signs_crls; /* its KeyUsage says cRLSign, or it has none */
};
void mica_cert_issuer_parts(const struct mica_cert_issuer *i, struct mica_issuer_parts *out);

#endif
