/* SPDX-License-Identifier: Apache-2.0 */
/* Documents of Istio's schema: what is read, what is refused and where, what is given back. */
#include "mica/policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define HEAD                                                                                       \
	"apiVersion: security.istio.io/v1\n" /* 1 */                                               \
	"kind: AuthorizationPolicy\n"                                                              \
	"metadata: {name: p, namespace: a}\n"                                                      \
	"spec:\n" /* 4 */
#define PEER                                                                                       \
	"apiVersion: security.istio.io/v1\n"                                                       \
	"kind: PeerAuthentication\n"                                                               \
	"metadata: {name: p}\n"                                                                    \
	"spec:\n"

static mica_rc parse(const char *text, struct mica_policies *out, struct mica_err *e)
{
	return mica_policies_parse(mica_slice_str(text), "f.yaml", NULL, out, e);
}

static void assert_good(const char *text, struct mica_policies *out)
{
	struct mica_err e = MICA_ERR_INIT;

	if (parse(text, out, &e) != MICA_OK)
		fail_msg("refused: %s", e.text);
}

static char *json_of(const struct mica_policy *p)
{
	MICA_AUTO_BUF b;

	mica_buf_init(&b, 1 << 20);
	mica_policy_put_json(&b, p);
	return mica_strdup((const char *)b.p);
}

static char *yaml_of(const struct mica_policy *p)
{
	MICA_AUTO_BUF b;

	mica_buf_init(&b, 1 << 20);
	mica_policy_put_yaml(&b, p);
	return mica_strdup((const char *)b.p);
}

/* ---- all of it, and back ------------------------------------------------------------------------
 */

static const char everything[] =
	"apiVersion: security.istio.io/v1beta1\n"
	"kind: AuthorizationPolicy\n"
	"metadata:\n"
	"  namespace: pay\n"
	"  name: api\n"
	"  creationTimestamp: 2026-11-24T12:00:00Z\n"
	"  uid: 1\n"
	"  managedFields: [{a: {b: c}}]\n"
	"  labels: {team: x}\n"
	"  annotations:\n"
	"    istio.io/dry-run: \"true\"\n"
	"    kubectl.kubernetes.io/last-applied-configuration: \"{}\"\n"
	"status: {conditions: []}\n"
	"spec:\n"
	"  rules:\n"
	"  - when:\n"
	"    - {values: [a, \"b*\"], key: \"request.headers[X-Env]\"}\n"
	"    - {key: \"request.auth.claims[realm][roles]\", notValues: [\"*admin\"]}\n"
	"    - {key: connection.sni, values: [\"*.example.org\"]}\n"
	"    - {key: destination.ip, values: [\"fd00::/8\"]}\n"
	"    - {key: request.auth.audiences, values: [\"*\"]}\n"
	"    - {key: request.auth.presenter, values: [me]}\n"
	"    - {key: source.serviceAccount, values: [web]}\n"
	"    to:\n"
	"    - operation:\n"
	"        notPorts: [\"1\"]\n"
	"        ports: [\"443\", \"8443\"]\n"
	"        hosts: [\"*.example.org\", \"a:*\"]\n"
	"        notHosts: [b]\n"
	"        methods: [GET]\n"
	"        notMethods: [\"P*\"]\n"
	"        paths: [/a, \"/b/*\", \"*.html\", \"/c/{*}/{**}\"]\n"
	"        notPaths: [\"/b/secret\"]\n"
	"    from:\n"
	"    - source:\n"
	"        principals: [td/ns/a/sa/b, \"td/ns/*\", \"*/sa/b\"]\n"
	"        notPrincipals: [td/ns/a/sa/c]\n"
	"        requestPrincipals: [\"https://i/s\", \"https://i/*\"]\n"
	"        notRequestPrincipals: [\"https://i/x\"]\n"
	"        namespaces: [a, \"b-*\", \"*-c\", \"d*e\"]\n"
	"        notNamespaces: [z]\n"
	"        serviceAccounts: [b, a/b]\n"
	"        notServiceAccounts: [c]\n"
	"        trustDomains: [td]\n"
	"        notTrustDomains: [other]\n"
	"        ipBlocks: [10.0.0.0/8, 1.2.3.4]\n"
	"        notIpBlocks: [10.1.0.0/16]\n"
	"        remoteIpBlocks: [\"::1\"]\n"
	"        notRemoteIpBlocks: [\"::ffff:10.0.0.0/104\"]\n"
	"  - {}\n"
	"  action: DENY\n"
	"  selector: {matchLabels: {app: api, \"on\": \"1\"}}\n";

static const char everything_json[] =
	"{\"apiVersion\":\"security.istio.io/v1\",\"kind\":\"AuthorizationPolicy\","
	"\"metadata\":{\"name\":\"api\",\"namespace\":\"pay\",\"labels\":{\"team\":\"x\"},"
	"\"annotations\":{\"istio.io/dry-run\":\"true\"},"
	"\"creationTimestamp\":\"2026-11-24T12:00:00Z\"},"
	"\"spec\":{\"selector\":{\"matchLabels\":{\"app\":\"api\",\"on\":\"1\"}},\"action\":\"DENY\","
	"\"rules\":[{\"from\":[{\"source\":{"
	"\"principals\":[\"td/ns/a/sa/b\",\"td/ns/*\",\"*/sa/b\"],"
	"\"notPrincipals\":[\"td/ns/a/sa/c\"],"
	"\"requestPrincipals\":[\"https://i/s\",\"https://i/*\"],"
	"\"notRequestPrincipals\":[\"https://i/x\"],"
	"\"namespaces\":[\"a\",\"b-*\",\"*-c\",\"d*e\"],\"notNamespaces\":[\"z\"],"
	"\"serviceAccounts\":[\"b\",\"a/b\"],\"notServiceAccounts\":[\"c\"],"
	"\"trustDomains\":[\"td\"],\"notTrustDomains\":[\"other\"],"
	"\"ipBlocks\":[\"10.0.0.0/8\",\"1.2.3.4\"],\"notIpBlocks\":[\"10.1.0.0/16\"],"
	"\"remoteIpBlocks\":[\"::1\"],\"notRemoteIpBlocks\":[\"::ffff:10.0.0.0/104\"]}}],"
	"\"to\":[{\"operation\":{\"hosts\":[\"*.example.org\",\"a:*\"],\"notHosts\":[\"b\"],"
	"\"ports\":[\"443\",\"8443\"],\"notPorts\":[\"1\"],\"methods\":[\"GET\"],"
	"\"notMethods\":[\"P*\"],"
	"\"paths\":[\"/a\",\"/b/*\",\"*.html\",\"/c/{*}/{**}\"],\"notPaths\":[\"/b/secret\"]}}],"
	"\"when\":[{\"key\":\"request.headers[x-env]\",\"values\":[\"a\",\"b*\"]},"
	"{\"key\":\"request.auth.claims[realm][roles]\",\"notValues\":[\"*admin\"]},"
	"{\"key\":\"connection.sni\",\"values\":[\"*.example.org\"]},"
	"{\"key\":\"destination.ip\",\"values\":[\"fd00::/8\"]},"
	"{\"key\":\"request.auth.audiences\",\"values\":[\"*\"]},"
	"{\"key\":\"request.auth.presenter\",\"values\":[\"me\"]},"
	"{\"key\":\"source.serviceAccount\",\"values\":[\"web\"]}]},{}]}}";

static void reads_everything(void **state)
{
	MICA_AUTO_POLICIES a, b, c;
	char *json MICA_AUTO_FREE = NULL, *yaml MICA_AUTO_FREE = NULL, *again MICA_AUTO_FREE = NULL,
		   *third MICA_AUTO_FREE = NULL;

	(void)state;
	assert_good(everything, &a);
	assert_int_equal(a.n, 1);
	assert_int_equal(a.n_warnings, 0);
	json = json_of(a.v[0]);
	assert_string_equal(json, everything_json);
	assert_good(json, &b);
	again = json_of(b.v[0]);
	assert_string_equal(again, everything_json);
	yaml = yaml_of(a.v[0]);
	assert_good(yaml, &c);
	third = json_of(c.v[0]);
	assert_string_equal(third, everything_json);
}

/* What the text became, where a rewrite would not show it. */
static void has_the_model(void **state)
{
	MICA_AUTO_POLICIES all;
	const struct mica_policy *p;
	const struct mica_policy_clause *from, *to;

	(void)state;
	assert_good(everything, &all);
	p = all.v[0];
	assert_int_equal(p->action, MICA_POLICY_DENY);
	assert_true(p->dry_run);
	assert_int_equal(p->created, 1795521600);
	assert_int_equal(p->n_rules, 2);
	assert_int_equal(p->annotations.n, 1);
	from = &p->rules[0].from[0];
	to = &p->rules[0].to[0];
	assert_int_equal(from->n, 7);
	assert_int_equal(from->tests[0].attr, MICA_ATTR_PRINCIPAL);
	assert_int_equal(from->tests[0].is.v[1].kind, MICA_VALUE_PREFIX);
	assert_true(mica_slice_eq_str(from->tests[0].is.v[1].text, "td/ns/"));
	assert_int_equal(from->tests[0].is.v[2].kind, MICA_VALUE_SUFFIX);
	assert_int_equal(from->tests[2].is.v[3].kind, MICA_VALUE_GLOB);
	/* a service account without a namespace is one of the policy's own */
	assert_true(mica_slice_eq_str(from->tests[3].is.v[0].ns, "pay"));
	assert_true(mica_slice_eq_str(from->tests[3].is.v[1].ns, "a"));
	assert_int_equal(from->tests[5].is.v[0].cidr.bits, 8);
	assert_int_equal(from->tests[5].is.v[1].cidr.bits, 32);
	/* an IPv4 block inside of IPv6 is the IPv4 block */
	assert_int_equal(from->tests[6].is_not.v[0].cidr.ip.len, 4);
	assert_int_equal(from->tests[6].is_not.v[0].cidr.bits, 8);
	assert_int_equal(to->tests[1].attr, MICA_ATTR_PORT);
	assert_int_equal(to->tests[1].is.v[1].port, 8443);
	assert_int_equal(to->tests[3].is.v[3].kind, MICA_VALUE_TEMPLATE);
	assert_true(mica_slice_eq_str(p->rules[0].when.tests[0].name, "x-env"));
	assert_true(mica_slice_eq_str(p->rules[0].when.tests[1].name, "[realm][roles]"));
	assert_int_equal(to->tests[1].line, 26);
	assert_int_equal(to->tests[1].is.v[1].line, 27);
	assert_int_equal(to->tests[1].is.v[1].column, 24);
}

static void reads_many_documents(void **state)
{
	MICA_AUTO_POLICIES a, b;
	static const char stream[] =
		"---\n---\n" HEAD "  rules: [{}]\n---\n" PEER "  mtls: {mode: STRICT}\n---\n"
		"{\"apiVersion\": \"security.istio.io/v1\", \"kind\": \"AuthorizationPolicy\",\n"
		"\t\"metadata\": {\"name\": \"q\"}}\n";
	static const char list[] =
		"apiVersion: v1\nkind: List\nmetadata: {resourceVersion: \"\"}\nitems:\n"
		"- apiVersion: security.istio.io/v1\n  kind: AuthorizationPolicy\n"
		"  metadata: {name: x, namespace: y}\n  spec: {rules: [{}]}\n";

	(void)state;
	assert_good(stream, &a);
	assert_int_equal(a.n, 3);
	assert_string_equal(a.v[0]->ns, "a");
	assert_int_equal(a.v[1]->kind, MICA_POLICY_PEER);
	assert_string_equal(a.v[1]->ns, "default");
	assert_string_equal(a.v[2]->name, "q");
	assert_int_equal(a.v[2]->n_rules, 0);
	assert_good(list, &b);
	assert_int_equal(b.n, 1);
	assert_string_equal(b.v[0]->ns, "y");
}

static void reads_peer_authentication(void **state)
{
	MICA_AUTO_POLICIES all;
	char *json MICA_AUTO_FREE = NULL;

	(void)state;
	assert_good(PEER "  selector: {matchLabels: {a: b}}\n  mtls: {mode: STRICT}\n"
			 "  portLevelMtls: {8080: {mode: DISABLE}, 80: {mode: PERMISSIVE}}\n",
		&all);
	json = json_of(all.v[0]);
	assert_string_equal(json,
		"{\"apiVersion\":\"security.istio.io/v1\",\"kind\":\"PeerAuthentication\","
		"\"metadata\":{\"name\":\"p\",\"namespace\":\"default\"},"
		"\"spec\":{\"selector\":{\"matchLabels\":{\"a\":\"b\"}},"
		"\"mtls\":{\"mode\":\"STRICT\"},"
		"\"portLevelMtls\":{\"80\":{\"mode\":\"PERMISSIVE\"},\"8080\":{\"mode\":\"DISABLE\"}"
		"}}}");
}

/* ---- what is refused, and where
 * ------------------------------------------------------------------ */

struct refused {
	const char *text, *reason;
	int line, column;
	const char *says; /* part of the message */
};

#define RULE(x) HEAD "  rules:\n  - " x "\n" /* line 6, column 5 */
#define FROM(x) RULE("from: [{source: {" x "}}]")
#define TO(x)   RULE("to: [{operation: {" x "}}]")
#define WHEN(x) RULE("when: [{" x "}]")

static const struct refused refusals[] = {
	/* documents */
	{"", "policy_empty", 1, 1, "no policy"},
	{"---\n---\n", "policy_empty", 1, 1, "no policy"},
	{"a: [\n", "yaml_syntax", 2, 1, ""},
	{"[]", "policy_type", 1, 1, "an object"},
	{"kind: AuthorizationPolicy\n", "policy_kind", 1, 1, "apiVersion"},
	{"apiVersion: security.istio.io/v2\nkind: AuthorizationPolicy\n", "policy_kind", 1, 13,
		"security.istio.io/v1"},
	{"apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {name: a}\n",
		"policy_kind", 2, 7, "RequestAuthentication"},
	{"apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n", "policy_missing_field", 1,
		1, "metadata"},
	{"apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {}\n",
		"policy_missing_field", 3, 11, "name"},
	{HEAD "  rules: []\nspecs: {}\n", "policy_unknown_field", 6, 1, "specs"},
	{HEAD "  action: ALLOW\n  action: DENY\n", "yaml_syntax", 6, 3, "twice"},
	{HEAD "  rules: &a []\n", "yaml_syntax", 5, 10, "anchors"},
	{HEAD "---\n" HEAD, "policy_type", 4, 6, "found nothing"},
	{HEAD " {}\n---\n" HEAD " {}\n", "policy_duplicate", 7, 1, "line 1"},
	/* metadata */
	{"apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: A_b}\n",
		"policy_name", 3, 18, "A_b"},
	{"apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: 12}\n",
		"policy_type", 3, 18, "number"},
	{"apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
	 "metadata: {name: a, namespace: a.b}\n",
		"policy_name", 3, 32, "a.b"},
	{"apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
	 "metadata: {name: a, annotations: {istio.io/dry-run: true}}\n",
		"policy_type", 3, 53, "quotes"},
	{"apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
	 "metadata: {name: a, annotations: {istio.io/dry-run: \"yes\"}}\n",
		"policy_value", 3, 53, "\"true\""},
	{"apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
	 "metadata: {name: a, annotations: {istio.io/dry-run: \"true\"}}\nspec: {action: AUDIT}\n",
		"policy_unsupported", 4, 7, "AUDIT"},
	{"apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
	 "metadata: {name: a, labels: {a/b/c: x}}\n",
		"policy_name", 3, 30, "a/b/c"},
	/* spec */
	{HEAD "  action: CUSTOM\n", "policy_unsupported", 5, 11, "CUSTOM"},
	{HEAD "  provider: {name: x}\n", "policy_unsupported", 5, 3, "provider"},
	{HEAD "  targetRefs: [{kind: Gateway}]\n", "policy_unsupported", 5, 3, "selector"},
	{HEAD "  action: allow\n", "policy_value", 5, 11, "ALLOW, DENY, AUDIT"},
	{HEAD "  rule: []\n", "policy_unknown_field", 5, 3, "rules"},
	{HEAD "  rules: {}\n", "policy_type", 5, 10, "a list"},
	{HEAD "  rules:\n", "policy_type", 5, 9, "nothing"},
	{HEAD "  selector: {matchLabels: {app: \"*\"}}\n", "policy_name", 5, 33, "\"*\""},
	{HEAD "  selector: {matchLabels: {app: 1}}\n", "policy_type", 5, 33, "quotes"},
	{HEAD "  selector: {app: a}\n", "policy_unknown_field", 5, 14, "matchLabels"},
	{HEAD "  rules:\n  -\n", "policy_type", 6, 4, "nothing"},
	/* rules */
	{RULE("form: []"), "policy_unknown_field", 6, 5, "from, to, when"},
	{RULE("from: []"), "policy_empty_list", 6, 11, "nothing in it"},
	{RULE("from: [{}]"), "policy_missing_field", 6, 12, "source"},
	{RULE("from: [{source: {}}]"), "policy_empty_list", 6, 21, "nothing in it"},
	{RULE("to: [{source: {}}]"), "policy_unknown_field", 6, 11, "operation"},
	{RULE("when: [{values: [a]}]"), "policy_missing_field", 6, 12, "key"},
	{FROM("principal: [a]"), "policy_unknown_field", 6, 22, "principals"},
	{FROM("ports: [\"1\"]"), "policy_unknown_field", 6, 22, "notXxx"},
	{FROM("principals: a"), "policy_type", 6, 34, "a list"},
	{FROM("principals: []"), "policy_empty_list", 6, 34, "nothing in it"},
	{FROM("principals: [\"\"]"), "policy_value", 6, 35, "empty string"},
	/* values that can never match */
	{FROM("principals: [\"spiffe://td/ns/a/sa/b\"]"), "policy_value", 6, 35, "without spiffe"},
	{FROM("principals: [TD/ns/a/sa/b]"), "policy_value", 6, 35, "SPIFFE ID"},
	{FROM("principals: [td//a]"), "policy_value", 6, 35, "SPIFFE ID"},
	{FROM("principals: [\"td//*\"]"), "policy_value", 6, 35, "SPIFFE ID"},
	{FROM("notPrincipals: [\"*/sa/\"]"), "policy_value", 6, 38, "SPIFFE ID"},
	{FROM("principals: [\"td/*/sa/b\"]"), "policy_value", 6, 35, "star"},
	{FROM("principals: [\"*a*\"]"), "policy_value", 6, 35, "star"},
	{FROM("requestPrincipals: [nobody]"), "policy_value", 6, 42, "ISSUER/SUBJECT"},
	{FROM("requestPrincipals: [\"https://i*\"]"), "policy_value", 6, 42, "ISSUER/SUBJECT"},
	{FROM("namespaces: [A]"), "policy_value", 6, 35, "a-z"},
	{FROM("namespaces: [\"-a\"]"), "policy_value", 6, 35, "namespace"},
	{FROM("serviceAccounts: [\"*\"]"), "policy_value", 6, 40, "no wildcards"},
	{FROM("serviceAccounts: [a/b/c]"), "policy_value", 6, 40, "NAMESPACE/NAME"},
	{FROM("trustDomains: [\"*.org\"]"), "policy_value", 6, 37, ""},
	{FROM("ipBlocks: [10.0.0.0/33]"), "policy_value", 6, 33, "0 to 32"},
	{FROM("ipBlocks: [10.0.0]"), "policy_value", 6, 33, "10.0.0.0/8"},
	{FROM("ipBlocks: [\"fe80::1%eth0\"]"), "policy_value", 6, 33, ""},
	{TO("ports: [80]"), "policy_type", 6, 31, "quotes"},
	{TO("ports: [\"080\"]"), "policy_value", 6, 31, "port"},
	{TO("ports: [\"65536\"]"), "policy_value", 6, 31, "port"},
	{TO("ports: [\"http\"]"), "policy_value", 6, 31, "port"},
	{TO("hosts: [\"a/b\"]"), "policy_value", 6, 31, "host"},
	{TO("hosts: [\"a.*.org\"]"), "policy_value", 6, 31, "star"},
	{TO("methods: [\"GET POST\"]"), "policy_value", 6, 33, "method"},
	{TO("methods: [on]"), "policy_type", 6, 33, "truth value"},
	{TO("paths: [a]"), "policy_value", 6, 31, "begins with '/'"},
	{TO("paths: [\"a*\"]"), "policy_value", 6, 31, "begins with '/'"},
	{TO("paths: [\"/a?b\"]"), "policy_value", 6, 31, "query"},
	{TO("paths: [\"/a/*/b\"]"), "policy_value", 6, 31, "star"},
	{TO("paths: [\"/a/{*}x\"]"), "policy_value", 6, 31, "segment"},
	{TO("paths: [\"/a/{id}\"]"), "policy_value", 6, 31, "segment"},
	{TO("paths: [\"/{**}/{*}\"]"), "policy_value", 6, 31, "{**}"},
	{TO("paths: [\"/a//{*}\"]"), "policy_value", 6, 31, "empty segment"},
	/* conditions */
	{WHEN("key: source.namespace"), "policy_missing_field", 6, 12, "notValues"},
	{WHEN("key: source.nmespace, values: [a]"), "policy_value", 6, 18, "source.namespace"},
	{WHEN("key: source.namespaces, values: [a]"), "policy_value", 6, 18, "unknown key"},
	{WHEN("key: request.headers, values: [a]"), "policy_value", 6, 18, "request.headers[NAME]"},
	{WHEN("key: \"request.headers[a][b]\", values: [a]"), "policy_value", 6, 18, "header"},
	{WHEN("key: \"request.headers[:path]\", values: [a]"), "policy_value", 6, 18, "header"},
	{WHEN("key: \"request.auth.claims[]\", values: [a]"), "policy_value", 6, 18,
		"claims[NAME]"},
	{WHEN("key: \"experimental.envoy.filters.a[b]\", values: [a]"), "policy_unsupported", 6, 18,
		"Envoy"},
	{WHEN("values: [\"1.2.3.4/40\"], key: destination.ip"), "policy_value", 6, 22, "0 to 32"},
	{WHEN("key: destination.port, notValues: [x]"), "policy_value", 6, 48, "port"},
	/* PeerAuthentication */
	{PEER "  rules: []\n", "policy_unknown_field", 5, 3, "portLevelMtls"},
	{PEER "  mtls: {mode: strict}\n", "policy_value", 5, 16, "STRICT"},
	{PEER "  portLevelMtls: {80: {mode: STRICT}}\n", "policy_missing_field", 5, 3, "selector"},
	{PEER "  selector: {matchLabels: {a: b}}\n  portLevelMtls: {0: {mode: STRICT}}\n",
		"policy_value", 6, 19, "port"},
};

static void refuses_with_a_place(void **state)
{
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(refusals); i++) {
		const struct refused *x = &refusals[i];
		struct mica_err e = MICA_ERR_INIT;
		MICA_AUTO_POLICIES out;
		char place[32];

		if (parse(x->text, &out, &e) == MICA_OK)
			fail_msg("accepted: %s", x->text);
		snprintf(place, sizeof(place), "f.yaml:%d:%d: ", x->line, x->column);
		if (strcmp(e.reason, x->reason) != 0 || e.line != x->line ||
			e.column != x->column || strncmp(e.text, place, strlen(place)) != 0 ||
			strstr(e.text, x->says) == NULL)
			fail_msg("case %zu, expected %s at %d:%d with \"%s\", found %s: %s\n%s", i,
				x->reason, x->line, x->column, x->says, e.reason, e.text, x->text);
		assert_int_equal(out.n, 0);
		assert_null(out.v);
	}
}

/* A path in a message leads to the value. */
static void names_the_path(void **state)
{
	struct mica_err e = MICA_ERR_INIT;
	MICA_AUTO_POLICIES out;

	(void)state;
	assert_int_equal(parse(HEAD "  rules:\n  - {}\n  - to:\n    - operation:\n"
				    "        ports: [\"1\", x]\n",
				 &out, &e),
		MICA_INVALID);
	assert_string_equal(e.text,
		"f.yaml:9:22: spec.rules[1].to[0].operation.ports[1]: \"x\" can never match: "
		"expected the number of a port, 1 to 65535");
}

static void warns(void **state)
{
	static const struct refused cases[] = {
		{HEAD "  {}\n", "policy_no_rules", 5, 3, "nothing is allowed"},
		{HEAD "  action: DENY\n", "policy_no_rules", 5, 3, "never matches"},
		{FROM("ipBlocks: [10.0.0.1/8]"), "policy_host_bits", 6, 33, "10.0.0.0/8"},
		{TO("methods: [get]"), "policy_method_case", 6, 33, "case"},
		{TO("ports: [\"0\"]"), "policy_port_zero", 6, 31, "port 0"},
		{TO("ports: [\"1\", \"2\"], notPorts: [\"3\", \"2\"]"), "policy_contradiction", 6,
			58, "not wanted"},
		{WHEN("key: source.ip, values: [1.1.1.1], notValues: [1.1.1.1]"),
			"policy_contradiction", 6, 60, "not wanted"},
	};

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++) {
		const struct mica_policy_warning *w;
		MICA_AUTO_POLICIES out;

		assert_good(cases[i].text, &out);
		assert_int_equal(out.n_warnings, 1);
		w = &out.warnings[0];
		assert_string_equal(w->reason, cases[i].reason);
		assert_int_equal(w->line, cases[i].line);
		if (w->column != cases[i].column || strstr(w->text, cases[i].says) == NULL)
			fail_msg("case %zu: %s", i, w->text);
	}
}

/* All are counted, the first are kept. */
static void warns_within_bounds(void **state)
{
	MICA_AUTO_POLICIES out;
	MICA_AUTO_BUF b;

	(void)state;
	mica_buf_init(&b, 65536);
	mica_buf_put_str(&b, HEAD "  rules: [{to: [{operation: {methods: [get");
	for (unsigned i = 0; i < MICA_POLICY_WARNINGS_MAX + 9; i++)
		mica_buf_printf(&b, ", get%u", i);
	mica_buf_put_str(&b, "]}}]}]\n");
	assert_good((const char *)b.p, &out);
	assert_int_equal(out.n_warnings, MICA_POLICY_WARNINGS_MAX + 10);
	assert_non_null(strstr(out.warnings[0].text, "\"get\""));
	assert_non_null(strstr(out.warnings[MICA_POLICY_WARNINGS_MAX - 1].text, "\"get30\""));
}

static void is_bounded(void **state)
{
	static const struct {
		const char *before, *each, *after;
		unsigned n;
		const char *reason;
	} cases[] = {
		{HEAD "  rules:\n", "  - {}\n", "", MICA_POLICY_RULES_MAX, "policy_limit"},
		{HEAD "  rules:\n  - from:\n", "    - {source: {namespaces: [a]}}\n", "",
			MICA_POLICY_PARTS_MAX, "policy_limit"},
		{HEAD "  rules: [{from: [{source: {namespaces: [a", ", a", "]}}]}]\n",
			MICA_POLICY_VALUES_MAX - 1, "policy_limit"},
		{HEAD "  rules: [{from: [{source: {serviceAccounts: [a", ", a", "]}}]}]\n", 15,
			"policy_limit"},
		{HEAD "  rules: [{from: [{source: {namespaces: [\"*", "a", "\"]}}]}]\n",
			MICA_POLICY_VALUE_MAX - 1, "policy_limit"},
		{HEAD "  {}\n", "#########", "\n", (MICA_POLICY_TEXT_MAX - sizeof(HEAD) - 5) / 9,
			"yaml_too_long"},
	};

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++) {
		for (unsigned more = 0; more < 2; more++) {
			struct mica_err e = MICA_ERR_INIT;
			MICA_AUTO_POLICIES out;
			MICA_AUTO_BUF b;

			mica_buf_init(&b, 2 * MICA_POLICY_TEXT_MAX);
			mica_buf_put_str(&b, cases[i].before);
			for (unsigned k = 0; k < cases[i].n + more; k++)
				mica_buf_put_str(&b, cases[i].each);
			mica_buf_put_str(&b, cases[i].after);
			if (parse((const char *)b.p, &out, &e) != (more ? e.rc : MICA_OK) ||
				(more && e.rc == MICA_OK))
				fail_msg("case %zu, %u more: %s", i, more, e.text);
			if (more)
				assert_string_equal(e.reason, cases[i].reason);
		}
	}
}

/* ---- small parts
 * ---------------------------------------------------------------------------------- */

static void templates_match(void **state)
{
	static const struct {
		const char *template, *path;
		bool matches;
	} cases[] = {
		{"/foo/{*}", "/foo/bar", true},
		{"/foo/{*}", "/foo/bar/baz", false},
		{"/foo/{*}", "/foo/", false},
		{"/foo/{*}", "/foo", false},
		{"/foo/{*}", "/foo/a=b", false}, /* as Envoy has it */
		{"/foo/{**}/", "/foo/bar/", true},
		{"/foo/{**}/", "/foo//", true},
		{"/foo/{**}/", "/foo/bar", false},
		{"/foo/{**}", "/foo/", true},
		{"/foo/{**}", "/foo/a/b/c", true},
		{"/foo/{**}", "/foo", false},
		{"/foo/{*}/bar/{**}", "/foo/buzz/bar/", true},
		{"/foo/{*}/bar/{**}", "/foo/buzz/bar/baz/x", true},
		{"/foo/{*}/bar/{**}", "/foo/a/b/bar/baz", false},
		{"/{**}/x", "/a/b/x", true},
		{"/{**}/x", "//x", true},
		{"/{**}/x", "/x", false},
		{"/{*}", "/", false},
		{"/{**}", "/", true},
	};

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++) {
		if (mica_policy_template_matches(mica_slice_str(cases[i].template),
			    mica_slice_str(cases[i].path)) != cases[i].matches)
			fail_msg("%s against %s", cases[i].template, cases[i].path);
	}
}

static void blocks_hold_addresses(void **state)
{
	static const struct {
		const char *block, *ip;
		bool has;
	} cases[] = {
		{"10.0.0.0/8", "10.255.0.1", true},
		{"10.0.0.0/8", "11.0.0.0", false},
		{"10.1.2.3", "10.1.2.3", true},
		{"10.1.2.3", "10.1.2.2", false},
		{"10.0.0.0/9", "10.128.0.0", false},
		{"10.0.0.0/9", "10.127.0.0", true},
		{"0.0.0.0/0", "1.2.3.4", true},
		{"0.0.0.0/0", "::1", false},
		{"::/0", "1.2.3.4", false},
		{"::/0", "fd00::1", true},
		{"10.0.0.0/8", "::ffff:10.0.0.1", true},
		{"::ffff:10.0.0.0/104", "10.9.9.9", true},
		{"fd00::/7", "fe00::", false},
	};

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++) {
		struct mica_cidr c;
		struct mica_ip ip;
		bool exact;

		assert_int_equal(
			mica_cidr_parse(mica_slice_str(cases[i].block), &c, &exact, NULL), MICA_OK);
		assert_int_equal(mica_ip_parse(mica_slice_str(cases[i].ip), &ip, NULL), MICA_OK);
		if (mica_cidr_has(&c, &ip) != cases[i].has)
			fail_msg("%s has %s", cases[i].block, cases[i].ip);
	}
}

static void documents_are_counted(void **state)
{
	const struct mica_policy *kept;
	MICA_AUTO_POLICIES out;

	(void)state;
	assert_good(everything, &out);
	kept = mica_policy_ref(out.v[0]);
	mica_policies_clear(&out);
	assert_string_equal(kept->name, "api");
	mica_policy_unref(kept);
	mica_policy_unref(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_everything),
		cmocka_unit_test(has_the_model),
		cmocka_unit_test(reads_many_documents),
		cmocka_unit_test(reads_peer_authentication),
		cmocka_unit_test(refuses_with_a_place),
		cmocka_unit_test(names_the_path),
		cmocka_unit_test(warns),
		cmocka_unit_test(warns_within_bounds),
		cmocka_unit_test(is_bounded),
		cmocka_unit_test(templates_match),
		cmocka_unit_test(blocks_hold_addresses),
		cmocka_unit_test(documents_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
