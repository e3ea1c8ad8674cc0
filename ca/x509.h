/* SPDX-License-Identifier: Apache-2.0 */
/* What csr.c, csr_write.c, cert.c, crl.c and verify.c share. */
#ifndef MICA_CA_X509_H
#define MICA_CA_X509_H

#include "mica/cert.h"
#include "mica/der.h"

/* Name (RFC 5280 4.1.2.4): SEQUENCE OF SET OF { type, value }; reads one. *empty: no attribute. */
bool mica_x509_name(struct mica_der *d, struct mica_slice *whole, bool *empty);

/* Subject of an authority of ours: O=<trust domain>, CN="Mica root <id>" or "Mica issuing <id>". */
void mica_x509_put_ca_subject(struct mica_derw *w, const char *trust_domain, enum mica_ca_kind kind,
	const struct mica_pubkey *key);
/* Extensions of an authority of ours, one behind the other. `aki` empty, `crl_url` NULL = none. */
void mica_x509_put_ca_extensions(struct mica_derw *w, const char *trust_domain,
	enum mica_ca_kind kind, const char *crl_url, struct mica_slice ski, struct mica_slice aki);

/* What an authority puts into all that it signs; borrowed from it. */
struct mica_issuer_parts {
	struct mica_slice subject; /* whole Name */
	struct mica_slice aki; /* whole Extension */
	const struct mica_signer *signer;
	bool signs_crls; /* its KeyUsage says cRLSign, or it has none */
};
void mica_cert_issuer_parts(const struct mica_cert_issuer *i, struct mica_issuer_parts *out);

#endif
