/* SPDX-License-Identifier: Apache-2.0 */
/* What csr.c, cert.c and verify.c share. */
#ifndef MICA_CA_X509_H
#define MICA_CA_X509_H

#include "mica/der.h"

/* Name (RFC 5280 4.1.2.4): SEQUENCE OF SET OF { type, value }; reads one. *empty: no attribute. */
bool mica_x509_name(struct mica_der *d, struct mica_slice *whole, bool *empty);

#endif
