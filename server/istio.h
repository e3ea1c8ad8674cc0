/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages of Istio's certificate service (security/v1alpha1/ca.proto of istio/api):
 *
 *	IstioCertificateRequest  {string csr = 1; int64 validity_duration = 3; Struct metadata = 4}
 *	IstioCertificateResponse {repeated string cert_chain = 1}
 */
#ifndef MICA_SERVER_ISTIO_H
#define MICA_SERVER_ISTIO_H

#include "mica/err.h"
#include "mica/slice.h"

struct istio_request {
	struct mica_slice csr;
	int64_t ttl; /* seconds, as it came: may be negative */
	struct mica_slice signer; /* CertSigner of the metadata; empty = none */
	struct mica_slice impersonated; /* ImpersonatedIdentity; empty = none */
};
/* Slices of `message`. Unknown fields, other keys of the metadata and values that are no strings
 * are passed over; what is there twice counts as protobuf says: the last string, messages one after
 * the other. INVALID "message_invalid". */
mica_rc istio_request_read(
	struct mica_slice message, struct istio_request *out, struct mica_err *e) MICA_MUST_CHECK;

#endif
