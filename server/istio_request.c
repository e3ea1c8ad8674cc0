/* SPDX-License-Identifier: Apache-2.0 */
#include "istio.h"

#include "mica/wire.h"

/* google.protobuf.Value: the string in it, if it is one. The last of a oneof counts. */
static mica_rc read_value(struct mica_slice m, struct mica_slice *out, struct mica_err *e)
{
	struct mica_wire_field f;
	mica_rc rc;

	*out = MICA_SLICE_NULL;
	while ((rc = mica_wire_next(&m, &f, e)) == MICA_OK)
		if (f.number >= 1 && f.number <= 6)
			*out = f.number == 3 && f.type == MICA_WIRE_BYTES ? f.bytes
									  : MICA_SLICE_NULL;
	return rc == MICA_NOT_FOUND ? MICA_OK : rc;
}

/* An entry of map<string, Value>: {string key = 1; Value value = 2}. */
static mica_rc read_entry(struct mica_slice m, struct istio_request *q, struct mica_err *e)
{
	struct mica_slice key = MICA_SLICE_NULL, value = MICA_SLICE_NULL, *to;
	struct mica_wire_field f;
	mica_rc rc;

	while ((rc = mica_wire_next(&m, &f, e)) == MICA_OK) {
		if (f.type == MICA_WIRE_BYTES && f.number == 1)
			key = f.bytes;
		if (f.type == MICA_WIRE_BYTES && f.number == 2)
			value = f.bytes;
	}
	if (rc != MICA_NOT_FOUND)
		return rc;
	to = mica_slice_eq_str(key, "CertSigner")                ? &q->signer
		: mica_slice_eq_str(key, "ImpersonatedIdentity") ? &q->impersonated
								 : NULL;
	return to ? read_value(value, to, e) : MICA_OK;
}

/* google.protobuf.Struct: {map<string, Value> fields = 1}. */
static mica_rc read_metadata(struct mica_slice m, struct istio_request *q, struct mica_err *e)
{
	struct mica_wire_field f;
	mica_rc rc;

	while ((rc = mica_wire_next(&m, &f, e)) == MICA_OK) {
		if (f.type == MICA_WIRE_BYTES && f.number == 1)
			rc = read_entry(f.bytes, q, e);
		if (rc != MICA_OK)
			return rc;
	}
	return rc == MICA_NOT_FOUND ? MICA_OK : rc;
}

mica_rc istio_request_read(struct mica_slice m, struct istio_request *q, struct mica_err *e)
{
	struct mica_wire_field f;
	mica_rc rc;

	*q = (struct istio_request){.ttl = 0};
	while ((rc = mica_wire_next(&m, &f, e)) == MICA_OK) {
		if (f.type == MICA_WIRE_BYTES && f.number == 1)
			q->csr = f.bytes;
		if (f.type == MICA_WIRE_VARINT && f.number == 3)
			q->ttl = (int64_t)f.value;
		if (f.type == MICA_WIRE_BYTES && f.number == 4)
			rc = read_metadata(f.bytes, q, e);
		if (rc != MICA_OK)
			return rc;
	}
	return rc == MICA_NOT_FOUND ? MICA_OK : rc;
}
