/* SPDX-License-Identifier: Apache-2.0 */
#include "sds_request.h"

#include "wire.h"

static mica_rc invalid(struct mica_err *e)
{
	return mica_fail(
		e, MICA_INVALID, "message_invalid", "this is not a message of Envoy's discovery");
}

static mica_rc add_name(struct sds_names *names, struct mica_slice name, struct mica_err *e)
{
	if (names->n == SDS_NAMES_MAX || name.len > SDS_NAME_MAX)
		return mica_fail(e, MICA_LIMIT, "too_many_names",
			"expected at most %d names of %d octets", SDS_NAMES_MAX, SDS_NAME_MAX);
	/* names are kept as strings: this one would be another each time it is looked for */
	if (name.len > 0 && memchr(name.p, '\0', name.len))
		return invalid(e);
	names->v[names->n++] = name;
	return MICA_OK;
}

/* google.protobuf.Value {string_value = 3, bool_value = 4}: "true" counts as true. */
static bool is_true(struct wire *outer, struct mica_slice value)
{
	struct wire w = {.s = value};
	struct mica_wire_field f;
	bool yes = false;

	while (wire_next(&w, &f)) {
		if (f.number == 4 && f.type == MICA_WIRE_VARINT)
			yes = f.value != 0;
		else if (f.number == 3 && f.type == MICA_WIRE_BYTES)
			yes = mica_slice_eq_str(f.bytes, "true");
	}
	outer->bad |= w.bad;
	return yes;
}

/* An entry of map<string, T>: {key = 1, value = 2}. */
static void read_entry(struct wire *outer, struct mica_slice entry, struct mica_slice *key,
	struct mica_slice *value)
{
	struct wire w = {.s = entry};
	struct mica_wire_field f;

	*key = *value = MICA_SLICE_NULL;
	while (wire_next(&w, &f))
		if (wire_is_text(&w, &f, 1))
			*key = f.bytes;
		else if (wire_is_bytes(&w, &f, 2))
			*value = f.bytes;
	outer->bad |= w.bad;
}

/* google.protobuf.Struct {fields = 1}, its first level alone. SPIRE's agent knows the first of the
 * two, and Envoys that were set up for it say it. */
static void read_metadata(struct wire *outer, struct mica_slice metadata, struct sds_request *out)
{
	struct wire w = {.s = metadata};
	struct mica_slice key, value;
	struct mica_wire_field f;

	while (wire_next(&w, &f)) {
		if (!wire_is_bytes(&w, &f, 1))
			continue;
		read_entry(&w, f.bytes, &key, &value);
		if (mica_slice_eq_str(key, "disable_spiffe_cert_validation")) {
			out->says_validator = true;
			out->validator = is_true(&w, value) ? AGENT_PLAIN : AGENT_SPIFFE;
		} else if (mica_slice_eq_str(key, "spiffe_cert_validation")) {
			out->says_validator = true;
			out->validator = is_true(&w, value) ? AGENT_SPIFFE : AGENT_PLAIN;
		}
	}
	outer->bad |= w.bad;
}

/* Node {id = 1, metadata = 3} */
static void read_node(struct wire *outer, struct mica_slice node, struct sds_request *out)
{
	struct wire w = {.s = node};
	struct mica_wire_field f;

	out->has_node = true;
	while (wire_next(&w, &f))
		if (wire_is_text(&w, &f, 1))
			out->node_id = f.bytes;
		else if (wire_is_bytes(&w, &f, 3))
			read_metadata(&w, f.bytes, out);
	outer->bad |= w.bad;
}

/* google.rpc.Status {message = 2}; that it is there is the refusal. */
static void read_status(struct wire *outer, struct mica_slice status, struct sds_request *out)
{
	struct wire w = {.s = status};
	struct mica_wire_field f;

	out->nack = true;
	while (wire_next(&w, &f))
		if (wire_is_text(&w, &f, 2))
			out->nack_message = f.bytes;
	outer->bad |= w.bad;
}

/* DiscoveryRequest {version_info = 1, node = 2, resource_names = 3, type_url = 4,
 * response_nonce = 5, error_detail = 6} */
mica_rc sds_request_read(struct mica_slice message, struct sds_request *out, struct mica_err *e)
{
	struct wire w = {.s = message};
	struct mica_wire_field f;
	mica_rc rc = MICA_OK;

	memset(out, 0, sizeof(*out));
	while (rc == MICA_OK && wire_next(&w, &f)) {
		if (wire_is_text(&w, &f, 3))
			rc = add_name(&out->names, f.bytes, e);
		else if (wire_is_bytes(&w, &f, 2))
			read_node(&w, f.bytes, out);
		else if (wire_is_text(&w, &f, 4))
			out->type_url = f.bytes;
		else if (wire_is_text(&w, &f, 5))
			out->nonce = f.bytes;
		else if (wire_is_bytes(&w, &f, 6))
			read_status(&w, f.bytes, out);
	}
	return rc == MICA_OK && w.bad ? invalid(e) : rc;
}

static mica_rc add_has(
	struct wire *w, struct sds_request *out, struct mica_slice entry, struct mica_err *e)
{
	if (out->n_has == SDS_NAMES_MAX)
		return mica_fail(e, MICA_LIMIT, "too_many_names", "expected at most %d versions",
			SDS_NAMES_MAX);
	read_entry(w, entry, &out->has[out->n_has].name, &out->has[out->n_has].version);
	out->n_has++;
	return MICA_OK;
}

/* DeltaDiscoveryRequest {node = 1, type_url = 2, resource_names_subscribe = 3,
 * resource_names_unsubscribe = 4, initial_resource_versions = 5, response_nonce = 6,
 * error_detail = 7} */
mica_rc sds_delta_read(struct mica_slice message, struct sds_request *out, struct mica_err *e)
{
	struct wire w = {.s = message};
	struct mica_wire_field f;
	mica_rc rc = MICA_OK;

	memset(out, 0, sizeof(*out));
	while (rc == MICA_OK && wire_next(&w, &f)) {
		if (wire_is_bytes(&w, &f, 1))
			read_node(&w, f.bytes, out);
		else if (wire_is_text(&w, &f, 2))
			out->type_url = f.bytes;
		else if (wire_is_text(&w, &f, 3))
			rc = add_name(&out->names, f.bytes, e);
		else if (wire_is_text(&w, &f, 4))
			rc = add_name(&out->gone, f.bytes, e);
		else if (wire_is_bytes(&w, &f, 5))
			rc = add_has(&w, out, f.bytes, e);
		else if (wire_is_text(&w, &f, 6))
			out->nonce = f.bytes;
		else if (wire_is_bytes(&w, &f, 7))
			read_status(&w, f.bytes, out);
	}
	return rc == MICA_OK && w.bad ? invalid(e) : rc;
}
