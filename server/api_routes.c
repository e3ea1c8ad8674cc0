/* SPDX-License-Identifier: Apache-2.0 */
/* The table of routes: what there is, for whom, and what it may answer. openapi.json says the same
 * and a test holds the two together. */
#include "api_impl.h"

#include <stdio.h>

/* What everybody may get, who asks, who sends a document. */
#define ANY    (S(S400) | S(S429) | S(S500) | S(S503))
#define KNOWN  (ANY | S(S401) | S(S403))
#define SENDS  (KNOWN | S(S413) | S(S415))
#define POLLED (ANY | S(S200) | S(S304) | S(S404))

const struct api_route api_routes[] = {
	{HTTP_POST, "/v1/x509-svids", API_EXACT, API_EVERY, API_WORKLOAD, true, false, NULL,
		SENDS | S(S201), api_x509},
	{HTTP_POST, "/v1/jwt-svids", API_EXACT, API_EVERY, API_WORKLOAD, true, false, NULL,
		SENDS | S(S201), api_jwt},
	{HTTP_GET, "/v1/bundle", API_EXACT, API_READS, API_ANYONE, false, false, api_bundle_params,
		POLLED, api_bundle_json},
	{HTTP_GET, "/v1/bundle.pem", API_EXACT, API_READS, API_ANYONE, false, false,
		api_bundle_params, POLLED, api_bundle_pem},
	{HTTP_GET, "/v1/bundle.jws", API_EXACT, API_READS, API_ANYONE, false, false,
		api_bundle_params, POLLED, api_bundle_jws},
	{HTTP_GET, "/v1/bundles/{trust_domain}", API_SEGMENT, API_READS, API_ANYONE, false, false,
		api_bundle_params, POLLED, api_bundle_of},
	{HTTP_POST, "/v1/bundle/acks", API_EXACT, API_EVERY, API_WORKLOAD, true, false, NULL,
		SENDS | S(S204), api_ack},
	{HTTP_GET, "/v1/configuration", API_EXACT, API_READS, API_ANYONE, false, false, NULL,
		ANY | S(S200), api_configuration},
	{HTTP_GET, "/v1/certificates/{serial}", API_SEGMENT, API_READS, API_CALLER, false, true,
		NULL, KNOWN | S(S200) | S(S404), api_certificate},
	{HTTP_POST, "/v1/certificates/{serial}/revoke", API_SEGMENT, API_EVERY, API_ADMINISTRATOR,
		true, true, NULL, SENDS | S(S204) | S(S404) | S(S409), api_certificate_revoke},
	{HTTP_GET, "/v1/revocations", API_EXACT, API_EVERY, API_AUDITOR, false, true, NULL,
		KNOWN | S(S200), api_revocations},
	{HTTP_POST, "/v1/authorities/{id}/crl", API_SEGMENT, API_EVERY, API_ADMINISTRATOR, true,
		true, NULL, SENDS | S(S204) | S(S404) | S(S409), api_crl_import},
	{HTTP_GET, "/v1/crl.pem", API_EXACT, API_READS, API_ANYONE, false, false, NULL,
		ANY | S(S200) | S(S304), api_crl_all},
	{HTTP_GET, "/v1/crl/{authority}.crl", API_SEGMENT, API_READS, API_ANYONE, false, false,
		NULL, POLLED, api_crl_der},
	{HTTP_GET, "/v1/crl/{authority}.pem", API_SEGMENT, API_READS, API_ANYONE, false, false,
		NULL, POLLED, api_crl_pem},
	{HTTP_GET, "/v1/events", API_EXACT, API_READS, API_CALLER, false, true, api_event_params,
		KNOWN | S(S200), api_events},
	{HTTP_GET, "/v1/log/proof/{index}", API_SEGMENT, API_READS, API_CALLER, false, true, NULL,
		KNOWN | S(S200) | S(S404), api_proof},
	{HTTP_GET, "/log/checkpoint", API_EXACT, API_READS, API_ANYONE, false, false, NULL,
		ANY | S(S200), api_checkpoint},
	/* before the hash tiles, whose pattern it fits, too */
	{HTTP_GET, "/log/tile/entries/{tile}", API_REST, API_READS, API_AUDITOR, false, true, NULL,
		KNOWN | S(S200) | S(S404), api_entries},
	{HTTP_GET, "/log/tile/{tile}", API_REST, API_READS, API_ANYONE, false, false, NULL,
		ANY | S(S200) | S(S404), api_tile},
	{HTTP_GET, "/openapi.json", API_EXACT, API_READS, API_ANYONE, false, false, NULL,
		ANY | S(S200), api_openapi_doc},
	{HTTP_GET, "/.well-known/openid-configuration", API_EXACT, API_READS, API_ANYONE, false,
		false, NULL, ANY | S(S200) | S(S404), api_oidc},
	{HTTP_GET, "/v1/jwks", API_EXACT, API_READS, API_ANYONE, false, false, NULL,
		ANY | S(S200) | S(S304) | S(S404), api_jwks},
	{HTTP_GET, "/v1/status", API_EXACT, API_READS, API_AUDITOR, false, true, NULL,
		KNOWN | S(S200), api_status_doc},
	{HTTP_POST, "/v1/tokens/explain", API_EXACT, API_EVERY, API_AUDITOR, true, true, NULL,
		SENDS | S(S200), api_explain},
	{HTTP_GET, "/v1/authorities", API_EXACT, API_EVERY, API_AUDITOR, false, true, NULL,
		KNOWN | S(S200), api_authorities},
	{HTTP_POST, "/v1/authorities", API_EXACT, API_EVERY, API_ADMINISTRATOR, true, true, NULL,
		SENDS | S(S201) | S(S409), api_authority_prepare},
	{HTTP_GET, "/v1/authorities/{id}", API_SEGMENT, API_EVERY, API_AUDITOR, false, true, NULL,
		KNOWN | S(S200) | S(S404), api_authority},
	{HTTP_POST, "/v1/authorities/{id}/activate", API_SEGMENT, API_EVERY, API_ADMINISTRATOR,
		true, true, NULL, SENDS | S(S204) | S(S404) | S(S409), api_authority_activate},
	{HTTP_POST, "/v1/authorities/{id}/revoke", API_SEGMENT, API_EVERY, API_ADMINISTRATOR, true,
		true, NULL, SENDS | S(S204) | S(S404) | S(S409), api_authority_revoke},
	{HTTP_POST, "/v1/authority-requests", API_EXACT, API_EVERY, API_ADMINISTRATOR, true, true,
		NULL, SENDS | S(S200) | S(S409), api_authority_requests},
	{HTTP_POST, "/v1/authority-certificates", API_EXACT, API_EVERY, API_ADMINISTRATOR, true,
		true, NULL, SENDS | S(S201) | S(S409), api_authority_import},
	{HTTP_GET, "/v1/rotation", API_EXACT, API_EVERY, API_AUDITOR, false, true, NULL,
		KNOWN | S(S200), api_rotation},
	{HTTP_GET, "/v1/rotation/plan", API_EXACT, API_EVERY, API_AUDITOR, false, true,
		api_plan_params, KNOWN | S(S200), api_rotation_plan},
	{HTTP_POST, "/v1/rotation", API_EXACT, API_EVERY, API_ADMINISTRATOR, true, true, NULL,
		SENDS | S(S201) | S(S204) | S(S404) | S(S409), api_rotation_move},
	{HTTP_POST, "/v1/authorities/{id}/taint", API_SEGMENT, API_EVERY, API_ADMINISTRATOR, false,
		true, NULL, KNOWN | S(S204) | S(S404) | S(S409), api_taint},
	{HTTP_GET, "/v1/policies", API_EXACT, API_READS, API_CALLER, API_NO_BODY, false,
		api_policies_params, POLLED | KNOWN, api_policies},
	{HTTP_POST, "/v1/policies", API_EXACT, API_EVERY, API_ADMINISTRATOR, API_DOCUMENTS, true,
		api_policies_change_params, SENDS | S(S200) | S(S409) | S(S412),
		api_policies_apply},
	{HTTP_POST, "/v1/policies:validate", API_EXACT, API_EVERY, API_AUDITOR, API_DOCUMENTS, true,
		NULL, SENDS | S(S200), api_policies_validate},
	{HTTP_POST, "/v1/policies:promote", API_EXACT, API_EVERY, API_ADMINISTRATOR, API_JSON, true,
		NULL, SENDS | S(S200) | S(S404) | S(S409), api_policies_promote},
	{HTTP_POST, "/v1/policies:withdraw", API_EXACT, API_EVERY, API_ADMINISTRATOR, API_JSON,
		true, NULL, SENDS | S(S200) | S(S404) | S(S409), api_policies_withdraw},
	{HTTP_GET, "/v1/policies.jws", API_EXACT, API_READS, API_CALLER, API_NO_BODY, false,
		api_bundle_params, POLLED | KNOWN, api_policies_jws},
	{HTTP_GET, "/v1/policies/compiled", API_EXACT, API_READS, API_CALLER, API_NO_BODY, false,
		api_compiled_params, POLLED | KNOWN | S(S409), api_compiled},
	{HTTP_GET, "/v1/policies/{namespace}/{name}", API_PAIR, API_READS, API_CALLER, API_NO_BODY,
		true, api_policy_params, KNOWN | S(S200) | S(S304) | S(S404), api_policy_get},
	{HTTP_PUT, "/v1/policies/{namespace}/{name}", API_PAIR, API_EVERY, API_ADMINISTRATOR,
		API_DOCUMENTS, true, api_policy_change_params, SENDS | S(S200) | S(S409) | S(S412),
		api_policy_put},
	{HTTP_DELETE, "/v1/policies/{namespace}/{name}", API_PAIR, API_EVERY, API_ADMINISTRATOR,
		API_NO_BODY, true, api_policy_change_params,
		KNOWN | S(S204) | S(S404) | S(S409) | S(S412), api_policy_delete},
	{HTTP_GET, "/v1/policies/{namespace}/{name}/history", API_PAIR, API_EVERY, API_AUDITOR,
		API_NO_BODY, true, api_policy_kind_params, KNOWN | S(S200) | S(S404),
		api_policy_history},
	{HTTP_POST, "/v1/policies/{namespace}/{name}/rollback", API_PAIR, API_EVERY,
		API_ADMINISTRATOR, API_JSON, true, api_policy_change_params,
		SENDS | S(S200) | S(S404) | S(S409) | S(S412), api_policy_rollback},
	{HTTP_GET, "/v1/deny", API_EXACT, API_EVERY, API_AUDITOR, false, true, NULL,
		KNOWN | S(S200), api_deny_list},
	{HTTP_POST, "/v1/deny", API_EXACT, API_EVERY, API_ADMINISTRATOR, true, true, NULL,
		SENDS | S(S204), api_deny_add},
	{HTTP_DELETE, "/v1/deny", API_EXACT, API_EVERY, API_ADMINISTRATOR, true, true, NULL,
		SENDS | S(S204) | S(S404), api_deny_remove},
	{HTTP_GET, "/v1/join-tokens", API_EXACT, API_EVERY, API_AUDITOR, false, true, NULL,
		KNOWN | S(S200), api_join_list},
	{HTTP_POST, "/v1/join-tokens", API_EXACT, API_EVERY, API_ADMINISTRATOR, true, true, NULL,
		SENDS | S(S201) | S(S409), api_join_create},
	{HTTP_DELETE, "/v1/join-tokens/{id}", API_SEGMENT, API_EVERY, API_ADMINISTRATOR, false,
		true, NULL, KNOWN | S(S204) | S(S404) | S(S409), api_join_revoke},
	{HTTP_POST, "/v1/authorize", API_EXACT, API_EVERY, API_CALLER, API_JSON, true,
		api_authorize_params, SENDS | S(S200), api_authorize},
	{HTTP_GET, "/v1/authorize/dry-run", API_EXACT, API_EVERY, API_AUDITOR, API_NO_BODY, false,
		NULL, KNOWN | S(S200), api_dry_run},
	{HTTP_POST, "/v1/backups", API_EXACT, API_ON(API_ADMIN), API_LOCAL_ADMIN, true, false, NULL,
		SENDS | S(S201) | S(S409), api_backup},
	{HTTP_GET, "/healthz", API_EXACT, API_HEALTH, API_ANYONE, false, false, NULL, ANY | S(S200),
		api_health},
	{HTTP_GET, "/readyz", API_EXACT, API_HEALTH, API_ANYONE, false, false, NULL, ANY | S(S200),
		api_ready},
	{HTTP_GET, "/metrics", API_EXACT, API_HEALTH, API_ANYONE, false, false, NULL, ANY | S(S200),
		api_metrics},
};
const unsigned api_n_routes = MICA_ARRAY_LEN(api_routes);
_Static_assert(MICA_ARRAY_LEN(api_routes) < METRIC_ROUTES, "a counter for each route");

/* ---- statuses ------------------------------------------------------------------------------ */

/* RFC 9110 15 */
static const struct {
	int code;
	const char *phrase;
} statuses[API_STATUS_COUNT] = {
	[S200] = {200, "OK"},
	[S201] = {201, "Created"},
	[S204] = {204, "No Content"},
	[S304] = {304, "Not Modified"},
	[S400] = {400, "Bad Request"},
	[S401] = {401, "Unauthorized"},
	[S403] = {403, "Forbidden"},
	[S404] = {404, "Not Found"},
	[S409] = {409, "Conflict"},
	[S412] = {412, "Precondition Failed"},
	[S413] = {413, "Content Too Large"},
	[S415] = {415, "Unsupported Media Type"},
	[S429] = {429, "Too Many Requests"},
	[S500] = {500, "Internal Server Error"},
	[S503] = {503, "Service Unavailable"},
};

int api_status_code(enum api_status s)
{
	return statuses[s].code;
}

const char *api_status_phrase(int code)
{
	for (size_t i = 0; i < API_STATUS_COUNT; i++)
		if (statuses[i].code == code)
			return statuses[i].phrase;
	return code == 405 ? "Method Not Allowed" : "Error";
}

/* ---- matching ------------------------------------------------------------------------------ */

/* "x", or for a pair "x/y". */
static bool segments(const struct api_route *t, struct mica_slice param)
{
	struct mica_slice first;

	if (t->kind == API_PAIR && (!mica_slice_cut(&param, '/', &first) || first.len == 0))
		return false;
	return param.len > 0 && memchr(param.p, '/', param.len) == NULL;
}

static bool match(const struct api_route *t, struct mica_slice path, struct mica_slice *param)
{
	const char *brace = strchr(t->path, '{'), *behind;
	struct mica_slice tail;
	size_t before;

	*param = MICA_SLICE_NULL;
	if (t->kind == API_EXACT)
		return mica_slice_eq_str(path, t->path);
	before = (size_t)(brace - t->path);
	if (path.len <= before || memcmp(path.p, t->path, before) != 0)
		return false;
	*param = mica_slice_sub(path, before, path.len);
	if (t->kind == API_REST)
		return true;
	behind = strrchr(brace, '}') + 1;
	tail = mica_slice_str(behind);
	if (param->len <= tail.len || !mica_slice_has_suffix(*param, tail))
		return false;
	param->len -= tail.len;
	return segments(t, *param);
}

static const char *const method_names[] = {[HTTP_GET] = "GET, HEAD",
	[HTTP_POST] = "POST",
	[HTTP_PUT] = "PUT",
	[HTTP_DELETE] = "DELETE"};

static void allow_method(char allow[64], enum http_method m)
{
	size_t n = strlen(allow);
	if (strstr(allow, method_names[m])) /* by another pattern already */
		return;
	snprintf(allow + n, 64 - n, "%s%s", n ? ", " : "", method_names[m]);
}

const struct api_route *api_find_route(enum api_listener door, enum http_method method,
	struct mica_slice path, struct mica_slice *param, char allow[64])
{
	const struct api_route *found = NULL;

	allow[0] = '\0';
	if (method == HTTP_HEAD)
		method = HTTP_GET;
	for (unsigned i = 0; i < api_n_routes && !found; i++) {
		const struct api_route *t = &api_routes[i];
		if (!(t->doors & API_ON(door)) || !match(t, path, param))
			continue;
		if (t->method == method)
			found = t;
		else
			allow_method(allow, t->method);
	}
	return found;
}
