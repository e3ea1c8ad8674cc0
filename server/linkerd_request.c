/* SPDX-License-Identifier: Apache-2.0 */
#include "linkerd.h"

#include "mica/wire.h"

/* A proxy sends its file as it is, with what an editor left behind. */
static struct mica_slice trim(struct mica_slice s)
{
	while (s.len > 0 && (s.p[s.len - 1] == '\n' || s.p[s.len - 1] == '\r'))
		s.len--;
	return s;
}

mica_rc linkerd_request_read(struct mica_slice m, struct linkerd_request *out, struct mica_err *e)
{
	struct mica_slice *const to[] = {NULL, &out->identity, &out->token, &out->csr};
	struct mica_wire_field f;
	mica_rc rc;

	*out = (struct linkerd_request){.token = MICA_SLICE_NULL};
	while ((rc = mica_wire_next(&m, &f, e)) == MICA_OK)
		if (f.number < sizeof(to) / sizeof(to[0]) && f.type == MICA_WIRE_BYTES)
			*to[f.number] = f.bytes;
	out->token = trim(out->token);
	if (rc != MICA_NOT_FOUND)
		return rc;
	if (!mica_slice_is_utf8(out->identity))
		return mica_fail(e, MICA_INVALID, "message_invalid",
			"the identity is not UTF-8, as a string has to be");
	if (out->identity.len == 0)
		return mica_fail(e, MICA_INVALID, "identity_missing", "missing identity");
	if (out->token.len == 0)
		return mica_fail(e, MICA_INVALID, "token_missing", "missing token");
	if (out->csr.len == 0)
		return mica_fail(
			e, MICA_INVALID, "csr_empty", "missing certificate signing request");
	return MICA_OK;
}
