/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PEM (RFC 7468), strictly: "-----BEGIN LABEL-----", canonical base64 in lines of 1..76
 * characters of which all but the last are of one length, "-----END LABEL-----"; LF or CRLF; blank
 * lines between blocks. No text before, between or behind, no headers.
 */
#ifndef MICA_PEM_H
#define MICA_PEM_H

#include "mica/buf.h"

#define MICA_PEM_CERT "CERTIFICATE"
#define MICA_PEM_CSR  "CERTIFICATE REQUEST"

/* Lines of 64 characters and a final newline. */
void mica_pem_put(struct mica_buf *out, const char *label, struct mica_slice der);

/* The next block of *in, which shall have `label` (or `label2` when not NULL). The bytes are
 * appended to `der`. NOT_FOUND "pem_end" when nothing but blank lines is left, INVALID
 * "pem_malformed" | "pem_label". LIMIT when `der` is full. */
mica_rc mica_pem_next(struct mica_slice *in, const char *label, const char *label2,
	struct mica_buf *der, struct mica_err *e) MICA_MUST_CHECK;

/* A list of certificates: 1..max blocks. The slices point into `der`, which the caller keeps.
 * INVALID "pem_malformed" | "pem_label" | "pem_empty", LIMIT "pem_too_many". */
mica_rc mica_pem_certs(struct mica_slice in, struct mica_buf *der, struct mica_slice *certs,
	size_t max, size_t *n, struct mica_err *e) MICA_MUST_CHECK;

#endif
