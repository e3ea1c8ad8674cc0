/* SPDX-License-Identifier: Apache-2.0 */
/* What Linkerd's proxies ask the policy of: names that are taken are Kubernetes' own, and are found
 * again in a message that says the same in the other form. */
#include "server/linkerd_policy.h"

#include "mica/spiffeid.h"
#include "mica/wire.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
	if (!ok)
		abort();
}

static void again(const struct linkerd_port_spec *q, const char *form)
{
	struct linkerd_port_spec r;
	MICA_AUTO_BUF m, workload;

	mica_buf_init(&m, 4096);
	mica_buf_init(&workload, 1024);
	if (form[0] == '{')
		mica_buf_printf(&workload, "{\"ns\":\"%s\",\"pod\":\"%s\"}", q->ns, q->pod);
	else
		mica_buf_printf(&workload, "%s:%s", q->ns, q->pod);
	mica_wire_put_bytes(&m, 1, mica_buf_slice(&workload));
	mica_wire_put_varint(&m, 2, q->port);
	require(linkerd_port_read(mica_buf_slice(&m), &r, NULL) == MICA_OK);
	require(r.port == q->port && strcmp(r.ns, q->ns) == 0 && strcmp(r.pod, q->pod) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mica_err e = MICA_ERR_INIT;
	struct linkerd_port_spec q;

	if (linkerd_port_read(mica_slice(data, size), &q, &e) != MICA_OK) {
		require(e.rc == MICA_INVALID && e.reason && e.text[0]);
		return 0;
	}
	require(q.port && mica_k8s_label_ok(mica_slice_str(q.ns)) &&
		mica_k8s_subdomain_ok(mica_slice_str(q.pod)));
	again(&q, ":");
	again(&q, "{");
	return 0;
}
