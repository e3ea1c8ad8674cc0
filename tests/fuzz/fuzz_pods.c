/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists of a node's pods: whatever an API server says, what is read of it are names and UIDs as
 * Kubernetes has them, of this node; and an identity is given away only for a pod that the document
 * holds, beside the pod that asks.
 */
#include "mica/nodepods.h"
#include "mica/spiffeid.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ID  "spiffe://example.org/ns/payments/sa/checkout"
#define UID "12121212-7777-4888-8999-aaaaaaaaaaaa"

static void require(bool ok)
{
	if (!ok)
		abort();
}

static struct mica_issuers *make_issuers(void)
{
	static char name[] = "a", url[] = "https://a", mica[] = "mica";
	static char path[] = "/ns/{namespace}/sa/{serviceaccount}",
		    agent[] = "istio-system/ztunnel";
	static char *audiences[] = {mica}, *accounts[] = {agent};
	struct mica_issuer_config c = {.name = name, .issuer = url, .spiffe_path = path};
	struct mica_issuers *s = NULL;

	c.audiences[MICA_FRONT_ISTIO] = (struct mica_string_list){.v = audiences, .n = 1};
	c.max_token_life[MICA_FRONT_ISTIO] = 3700;
	c.impersonation.accounts = (struct mica_string_list){.v = accounts, .n = 1};
	require(mica_issuers_new("example.org", &c, 1, &s, NULL, NULL) == MICA_OK);
	return s;
}

static const char *text(const json_t *o, const char *a, const char *b)
{
	const char *s = json_string_value(json_object_get(json_object_get(o, a), b));

	return s ? s : "";
}

/* Whether the document has a pod of this account that has not ended, read without our reader. */
static bool holds(const json_t *doc, const char *ns, const char *sa, const char *uid)
{
	const json_t *items = json_object_get(doc, "items");

	for (size_t i = 0; i < json_array_size(items); i++) {
		const json_t *p = json_array_get(items, i);
		const char *phase = text(p, "status", "phase");
		if (!strcmp(text(p, "metadata", "namespace"), ns) &&
			!strcmp(text(p, "spec", "serviceAccountName"), sa) &&
			!strcmp(text(p, "spec", "nodeName"), "node-1") &&
			(!uid || !strcmp(text(p, "metadata", "uid"), uid)) &&
			strcmp(phase, "Failed") != 0 && strcmp(phase, "Succeeded") != 0)
			return true;
	}
	return false;
}

static void check_judgement(
	const struct mica_issuer *issuer, const struct mica_node_pods *pods, struct mica_slice in)
{
	struct mica_principal asker = {.issuer = "a",
		.ns = "istio-system",
		.sa = "ztunnel",
		.pod = "ztunnel-x",
		.node = "node-1"};
	struct mica_principal out;
	struct mica_err e = MICA_ERR_INIT;
	json_t *doc;

	require(mica_uuid_parse(MICA_LIT(UID), asker.pod_uid.b) == MICA_OK);
	if (mica_impersonation_judge(issuer, &asker, MICA_LIT(ID), pods, NULL, NULL, &out, &e) !=
		MICA_OK) {
		require(e.rc == MICA_DENIED && strncmp(e.reason, "impersonation_", 14) == 0);
		return;
	}
	require(strcmp(out.spiffe_id, ID) == 0 && strcmp(out.sa, "checkout") == 0);
	doc = json_loadb((const char *)in.p, in.len, JSON_REJECT_DUPLICATES, NULL);
	require(holds(doc, "payments", "checkout", NULL));
	require(holds(doc, "istio-system", "ztunnel", UID));
	json_decref(doc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct mica_issuers *issuers;
	struct mica_slice in = mica_slice(data, size);
	struct mica_node_pods *p = mica_node_pods_new("node-1");
	struct mica_err e = MICA_ERR_INIT;
	MICA_AUTO_BUF next;
	mica_rc rc;

	if (issuers == NULL)
		issuers = make_issuers();
	mica_buf_init(&next, MICA_NODE_NEXT_MAX);
	rc = mica_node_pods_read(p, in, &next, &e);
	require(rc == e.rc && (rc == MICA_OK || rc == MICA_UNAVAILABLE));
	require(next.len < MICA_NODE_NEXT_MAX && !next.over);
	for (size_t i = 0; i < mica_node_pods_count(p); i++) {
		const struct mica_node_pod *pod = mica_node_pods_at(p, i);
		require(mica_k8s_label_ok(mica_slice_str(pod->ns)));
		require(mica_k8s_subdomain_ok(mica_slice_str(pod->name)));
		require(mica_k8s_subdomain_ok(mica_slice_str(pod->sa)));
	}
	if (rc == MICA_OK)
		check_judgement(mica_issuers_at(issuers, 0), p, in);
	mica_node_pods_unref(p);
	return 0;
}
