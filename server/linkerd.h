/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages of Linkerd's identity service (identity.proto of linkerd2-proxy-api):
 *
 *	CertifyRequest  {string identity = 1; bytes token = 2; bytes certificate_signing_request =
 *3} CertifyResponse {bytes leaf_certificate = 1; repeated bytes intermediate_certificates = 2;
 *			 Timestamp valid_until = 3}
 */
#ifndef MICA_SERVER_LINKERD_H
#define MICA_SERVER_LINKERD_H

#include "mica/err.h"
#include "mica/slice.h"

struct linkerd_request {
	struct mica_slice identity;
	struct mica_slice token; /* without the line ends that its file has */
	struct mica_slice csr;
};
/* Slices of `message`. Unknown fields are passed over; the last of a field counts. INVALID
 * "message_invalid", "identity_missing", "token_missing", "csr_empty"; out->token is what was read
 * of it in each case. */
mica_rc linkerd_request_read(
	struct mica_slice message, struct linkerd_request *out, struct mica_err *e) MICA_MUST_CHECK;

#endif
