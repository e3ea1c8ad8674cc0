/* SPDX-License-Identifier: Apache-2.0 */
/* What csr.c, csr_write.c, cert.c and verify.c share. */
#ifndef MICA_CA_X509_H
#define MICA_CA_X509_H

#include "mica/cert.h"
#include "mica/der.h"

/* Name (RFC 5280 4.1.2.4): SEQUENCE OF SET OF { type, value }; reads one. *empty: no attribute. */
bool mica_x509_name(struct mica_der *d, struct mica_slice *whole, bool *empty);

/* Subject of an authority of ours: O=<trust domain>, CN="Mica root <id>" or "Mica issuing <id>". */
void mica_x509_put_ca_subject(struct mica_derw *w, const char *trust_domain, enum mica_ca_kind kind,
	const struct mica_pubkey *key);
/* Extensions of an authority of ours, one behind the other. `aki` empty = none. */
void mica_x509_put_ca_extensions(struct mica_derw *w, const char *trust_domain,
	enum mica_ca_kind kind, struct mica_slice ski, struct mica_slice aki);

#endif
