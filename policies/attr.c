/* SPDX-License-Identifier: Apache-2.0 */
/* Names: of attributes, kinds, actions and modes. */
#include "impl.h"

#define SOURCE    MICA_SIDE_SOURCE
#define OPERATION MICA_SIDE_OPERATION

static const struct mica_policy_attr_info infos[MICA_ATTR_COUNT] = {
	{MICA_ATTR_PRINCIPAL, SOURCE, false, "principals", "notPrincipals", "source.principal"},
	{MICA_ATTR_REQUEST_PRINCIPAL, SOURCE, true, "requestPrincipals", "notRequestPrincipals",
		"request.auth.principal"},
	{MICA_ATTR_NAMESPACE, SOURCE, false, "namespaces", "notNamespaces", "source.namespace"},
	{MICA_ATTR_SERVICE_ACCOUNT, SOURCE, false, "serviceAccounts", "notServiceAccounts",
		"source.serviceAccount"},
	{MICA_ATTR_TRUST_DOMAIN, SOURCE, false, "trustDomains", "notTrustDomains",
		"source.trustDomain"},
	{MICA_ATTR_SOURCE_IP, SOURCE, false, "ipBlocks", "notIpBlocks", "source.ip"},
	{MICA_ATTR_REMOTE_IP, SOURCE, false, "remoteIpBlocks", "notRemoteIpBlocks", "remote.ip"},
	{MICA_ATTR_HOST, OPERATION, true, "hosts", "notHosts", NULL},
	{MICA_ATTR_PORT, OPERATION, false, "ports", "notPorts", "destination.port"},
	{MICA_ATTR_METHOD, OPERATION, true, "methods", "notMethods", NULL},
	{MICA_ATTR_PATH, OPERATION, true, "paths", "notPaths", NULL},
	{MICA_ATTR_HEADER, SOURCE, true, NULL, NULL, "request.headers"},
	{MICA_ATTR_AUDIENCE, SOURCE, true, NULL, NULL, "request.auth.audiences"},
	{MICA_ATTR_PRESENTER, SOURCE, true, NULL, NULL, "request.auth.presenter"},
	{MICA_ATTR_CLAIM, SOURCE, true, NULL, NULL, "request.auth.claims"},
	{MICA_ATTR_DESTINATION_IP, OPERATION, false, NULL, NULL, "destination.ip"},
	{MICA_ATTR_SNI, OPERATION, false, NULL, NULL, "connection.sni"},
};

const struct mica_policy_attr_info *mica_policy_attr_of(enum mica_policy_attr attr)
{
	return &infos[attr];
}

const char *mica_policy_kind_name(enum mica_policy_kind kind)
{
	return kind == MICA_POLICY_PEER ? "PeerAuthentication" : "AuthorizationPolicy";
}

const char *mica_policy_action_name(enum mica_policy_action action)
{
	static const char *const names[] = {"ALLOW", "DENY", "AUDIT"};

	return names[action];
}

const char *mica_mtls_mode_name(enum mica_mtls_mode mode)
{
	static const char *const names[] = {"UNSET", "DISABLE", "PERMISSIVE", "STRICT"};

	return names[mode];
}

int policy_order(const struct mica_policy *a, const struct mica_policy *b)
{
	int by = (int)a->kind - (int)b->kind;

	if (by == 0)
		by = strcmp(a->ns, b->ns);
	return by ? by : strcmp(a->name, b->name);
}

const struct mica_policy *mica_policy_ref(const struct mica_policy *p)
{
	__atomic_fetch_add(&((struct policy_doc *)p)->refs, 1, __ATOMIC_RELAXED);
	return p;
}

void mica_policy_unref(const struct mica_policy *p)
{
	struct policy_doc *doc = (struct policy_doc *)p;

	if (doc == NULL || __atomic_sub_fetch(&doc->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	arena_clear(&doc->arena);
	mica_free(doc);
}
