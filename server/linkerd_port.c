/* SPDX-License-Identifier: Apache-2.0 */
/* What a Linkerd proxy asks the policy of. */
#include "linkerd_policy.h"

#include "mica/json.h"
#include "mica/spiffeid.h"
#include "mica/wire.h"

#define WORKLOAD_MAX 1024

static mica_rc bad_workload(struct mica_err *e)
{
	return mica_fail(e, MICA_INVALID, "workload_invalid",
		"the workload is not understood; expected NAMESPACE:POD or "
		"{\"ns\":\"NAMESPACE\",\"pod\":\"POD\"}");
}

static mica_rc take_names(struct mica_slice ns, struct mica_slice pod,
	struct linkerd_port_spec *out, struct mica_err *e)
{
	if (!mica_k8s_label_ok(ns) || !mica_k8s_subdomain_ok(pod) ||
		mica_slice_copy(ns, out->ns, sizeof(out->ns)) != MICA_OK ||
		mica_slice_copy(pod, out->pod, sizeof(out->pod)) != MICA_OK)
		return bad_workload(e);
	return MICA_OK;
}

/* What Linkerd's injector writes since it knows more than pods. */
static mica_rc read_json(struct mica_slice text, struct linkerd_port_spec *out, struct mica_err *e)
{
	static const struct mica_json_limits limits = {.bytes = WORKLOAD_MAX, .depth = 4};
	struct mica_slice ns = MICA_SLICE_NULL, pod = ns, external = ns;
	const struct mica_json_member members[] = {
		{"ns", MICA_JSON_STRING, true, 1, MICA_K8S_NS_MAX, &ns, NULL},
		{"pod", MICA_JSON_STRING, false, 1, MICA_K8S_NAME_MAX, &pod, NULL},
		{"external_workload", MICA_JSON_STRING, false, 1, MICA_K8S_NAME_MAX, &external,
			NULL}};
	MICA_AUTO_JSON d = {.root = NULL};

	if (mica_json_parse(text, &limits, &d, NULL) != MICA_OK || !json_is_object(d.root) ||
		mica_json_read(&d, d.root, "", members, MICA_ARRAY_LEN(members), true, NULL) !=
			MICA_OK)
		return bad_workload(e);
	if (external.len)
		return mica_fail(e, MICA_INVALID, "workload_external",
			"policies are served to pods; an ExternalWorkload is not known here");
	return take_names(ns, pod, out, e);
}

static mica_rc read_workload(
	struct mica_slice text, struct linkerd_port_spec *out, struct mica_err *e)
{
	struct mica_slice ns;

	if (text.len > WORKLOAD_MAX)
		return bad_workload(e);
	if (text.len && text.p[0] == '{')
		return read_json(text, out, e);
	if (!mica_slice_cut(&text, ':', &ns))
		return bad_workload(e);
	return take_names(ns, text, out, e);
}

mica_rc linkerd_port_read(
	struct mica_slice message, struct linkerd_port_spec *out, struct mica_err *e)
{
	struct mica_slice workload = MICA_SLICE_NULL;
	struct mica_wire_field f;
	uint64_t port = 0;
	mica_rc rc;

	*out = (struct linkerd_port_spec){.port = 0};
	while ((rc = mica_wire_next(&message, &f, e)) == MICA_OK) {
		if (f.number == 1 && f.type == MICA_WIRE_BYTES)
			workload = f.bytes;
		else if (f.number == 2 && f.type == MICA_WIRE_VARINT)
			port = f.value;
	}
	if (rc != MICA_NOT_FOUND)
		return rc;
	if (port == 0 || port > UINT16_MAX)
		return mica_fail(e, MICA_INVALID, "port_invalid", "expected a port of 1 to 65535");
	out->port = (uint16_t)port;
	return read_workload(workload, out, e);
}
