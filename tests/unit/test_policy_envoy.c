/* SPDX-License-Identifier: Apache-2.0 */
/* RBAC for Envoy: what each part of a policy becomes. That Envoy decides as the engine does is
 * shown by tests/e2e/test_policy_envoy.py. */
#include "mica/policy_compile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define HTTP_TYPE "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
#define TCP_TYPE  "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC"

struct compiled {
	struct mica_policy_set *set;
	struct mica_policy_compile_options o;
	struct mica_policy_report report;
	struct mica_buf b;
	struct mica_err e;
	mica_rc rc;
};

static const struct mica_policy_workload workload = {.ns = MICA_LIT("a")};

static void make(struct compiled *c, const char *text)
{
	static const char *const aliases[] = {"old"};
	const struct mica_policy_mesh mesh = {
		.root_ns = "root", .trust_domain = "td", .aliases = aliases, .n_aliases = 1};
	MICA_AUTO_POLICIES all;

	*c = (struct compiled){.o = {.target = MICA_TARGET_ENVOY_HTTP, .workload = &workload},
		.report = MICA_POLICY_REPORT_INIT,
		.e = MICA_ERR_INIT};
	mica_buf_init(&c->b, 1 << 20);
	if (mica_policies_parse(mica_slice_str(text), "t", NULL, &all, &c->e) != MICA_OK ||
		mica_policy_set_new(&mesh, all.v, all.n, &c->set, &c->e) != MICA_OK)
		fail_msg("%s", c->e.text);
}

static void run(struct compiled *c)
{
	mica_buf_reset(&c->b);
	c->e = (struct mica_err)MICA_ERR_INIT;
	c->rc = mica_policy_compile(c->set, &c->o, &c->b, &c->report, &c->e);
}

static void unmake(struct compiled *c)
{
	mica_policy_set_unref(c->set);
	mica_policy_report_clear(&c->report);
	mica_buf_clear(&c->b);
}

/* A policy of namespace a, with what its spec says. */
#define POLICY(name, spec)                                                                         \
	"---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: " name \
	", namespace: a}\nspec: {" spec "}\n"
#define DRY(name, spec)                                                                            \
	"---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: " name \
	", namespace: a, annotations: {istio.io/dry-run: \"true\"}}\nspec: {" spec "}\n"

#define AUDIT_NONE "{\"name\":\"mica.audit\",\"typed_config\":{\"@type\":\"" HTTP_TYPE "\"}}"
#define DENY_NONE  "{\"name\":\"mica.deny\",\"typed_config\":{\"@type\":\"" HTTP_TYPE "\"}}"
#define ALLOW_NONE "{\"name\":\"mica.allow\",\"typed_config\":{\"@type\":\"" HTTP_TYPE "\"}}"

static void becomes(const char *text, enum mica_policy_target target, const char *expected)
{
	struct compiled c;

	make(&c, text);
	c.o.target = target;
	run(&c);
	assert_int_equal(c.rc, MICA_OK);
	assert_string_equal((const char *)c.b.p, expected);
	assert_int_equal(c.report.n, 0);
	unmake(&c);
}

/* Without a policy that allows nothing is asked; one without rules allows nothing; a DENY policy
 * without rules denies nothing. */
static void empty_sets(void **state)
{
	(void)state;
	becomes(POLICY("x", "action: AUDIT"), MICA_TARGET_ENVOY_HTTP,
		"{\"http_filters\":[{\"name\":\"mica.audit\",\"typed_config\":{\"@type\":\"" HTTP_TYPE
		"\",\"rules\":{\"action\":\"LOG\"}}}," DENY_NONE "," ALLOW_NONE "]}\n");
	becomes(POLICY("x", ""), MICA_TARGET_ENVOY_HTTP,
		"{\"http_filters\":[" AUDIT_NONE "," DENY_NONE
		",{\"name\":\"mica.allow\",\"typed_config\":{\"@type\":\"" HTTP_TYPE
		"\",\"rules\":{\"action\":\"ALLOW\"}}}]}\n");
	becomes(POLICY("x", "action: DENY"), MICA_TARGET_ENVOY_HTTP,
		"{\"http_filters\":[" AUDIT_NONE
		",{\"name\":\"mica.deny\",\"typed_config\":{\"@type\":\"" HTTP_TYPE
		"\",\"rules\":{\"action\":\"DENY\"}}}," ALLOW_NONE "]}\n");
}

/* The Policy of the only rule of an ALLOW policy. */
static void rule_becomes(const char *rule, const char *permissions, const char *principals)
{
	char text[1024], expected[4096];

	snprintf(text, sizeof(text), POLICY("x", "rules: [%s]"), rule);
	snprintf(expected, sizeof(expected),
		"{\"http_filters\":[" AUDIT_NONE "," DENY_NONE
		",{\"name\":\"mica.allow\",\"typed_config\":{\"@type\":\"" HTTP_TYPE
		"\",\"rules\":{\"action\":\"ALLOW\",\"policies\":{\"ns[a]-policy[x]-rule[0]\":{"
		"\"permissions\":[%s],\"principals\":[%s]}}}}}]}\n",
		permissions, principals);
	becomes(text, MICA_TARGET_ENVOY_HTTP, expected);
}

#define ANY      "{\"any\":true}"
#define ID(how)  "{\"authenticated\":{\"principal_name\":{" how "}}}"
#define NOT_NS   "(?:/(?:n|(?:[!-.0-mo-~]|n(?:[!-.0-rt-~]|s[!-.0-~]))[!-.0-~]*))*"
#define NOT_SA   "(?:/(?:s|(?:[!-.0-rt-~]|s(?:[!-.0-`b-~]|a[!-.0-~]))[!-.0-~]*))*"
#define REGEX(r) "\"safe_regex\":{\"regex\":\"" r "\"}"

static void sources(void **state)
{
	(void)state;
	rule_becomes("{}", ANY, ANY);
	rule_becomes("{from: [{source: {principals: [td/ns/b/sa/c]}}]}", ANY,
		ID("\"exact\":\"spiffe://td/ns/b/sa/c\"") "," ID(
			"\"exact\":\"spiffe://old/ns/b/sa/c\""));
	rule_becomes("{from: [{source: {principals: ['*', 'x/*']}}]}", ANY,
		ID("\"prefix\":\"spiffe://\"") "," ID("\"prefix\":\"spiffe://x/\""));
	rule_becomes("{from: [{source: {principals: ['*b.c']}}]}", ANY,
		ID(REGEX("spiffe://[!-~]*b\\\\.c")));
	rule_becomes("{from: [{source: {notPrincipals: [td/x]}}]}", ANY,
		"{\"not_id\":" ID("\"exact\":\"spiffe://td/x\"") "}");
	rule_becomes("{from: [{source: {namespaces: [b]}}]}", ANY,
		ID(REGEX("spiffe://[!-.0-~]+" NOT_NS "/ns/b/[!-~]+")));
	rule_becomes("{from: [{source: {serviceAccounts: [c]}}]}", ANY,
		"{\"and_ids\":{\"ids\":[" ID(
			REGEX("spiffe://[!-.0-~]+" NOT_NS
			      "/ns/a/[!-~]+")) "," ID(REGEX("spiffe://[!-.0-~]+" NOT_NS
							    "/ns/[!-.0-~]+" NOT_SA
							    "/sa/c(?:/[!-~]*)?")) "]}}");
	rule_becomes("{from: [{source: {trustDomains: [td]}}]}", ANY,
		ID("\"exact\":\"spiffe://td\"") "," ID("\"prefix\":\"spiffe://td/\""));
	rule_becomes("{from: [{source: {ipBlocks: [10.0.0.0/8], notRemoteIpBlocks: ['fd00::1']}}]}",
		ANY,
		"{\"and_ids\":{\"ids\":[{\"direct_remote_ip\":{\"address_prefix\":\"10.0.0.0\","
		"\"prefix_len\":8}},{\"not_id\":{\"remote_ip\":{\"address_prefix\":\"fd00::1\","
		"\"prefix_len\":128}}}]}}");
}

#define MATCH(name, how) "{\"header\":{\"name\":\"" name "\",\"string_match\":{" how "}}}"

static void operations(void **state)
{
	(void)state;
	rule_becomes("{to: [{operation: {hosts: [A.B], methods: [GET, P*]}}]}",
		"{\"and_rules\":{\"rules\":[" MATCH(":authority",
			"\"exact\":\"A.B\",\"ignore_case\":true") ",{\"or_rules\":{"
								  "\"rules\":[" MATCH(":method",
									  "\"exact\":\"GET\"") "," MATCH(":method",
									  "\"prefix\":\"P\"") "]}}]}}",
		ANY);
	rule_becomes("{to: [{operation: {methods: ['*']}}]}",
		"{\"and_rules\":{\"rules\":[{\"header\":{\"name\":\":method\",\"present_match\":true}},"
		"{\"not_rule\":" MATCH(":method", "\"exact\":\"\"") "}]}}",
		ANY);
	rule_becomes("{to: [{operation: {paths: ['/a*', '*.b', '/x/{*}/{**}']}}]}",
		"{\"url_path\":{\"path\":{\"prefix\":\"/a\"}}},"
		"{\"url_path\":{\"path\":{\"suffix\":\".b\"}}},"
		"{\"url_path\":{\"path\":{" REGEX(
			"/x/[!$-)+-.0-;@-Z_a-z~]+/[!$-)+-;@-Z_a-z~]*") "}}}",
		ANY);
	rule_becomes("{to: [{operation: {ports: ['80', '0']}}]}", "{\"destination_port\":80}", ANY);
	rule_becomes("{when: [{key: connection.sni, values: ['*']}, "
		     "{key: 'request.headers[X-A]', notValues: [b]}]}",
		"{\"not_rule\":{\"requested_server_name\":{\"exact\":\"\"}}}",
		"{\"not_id\":" MATCH("x-a", "\"exact\":\"b\"") "}");
}

#define CLAIM(path, value)                                                                                             \
	"{\"sourced_metadata\":{\"metadata_matcher\":{\"filter\":\"envoy.filters.http.jwt_authn\",\"path\":[{\"key\":" \
	"\"payload\"}," path "],\"value\":{" value "}}}}"
#define IS(how)    "\"string_match\":{" how "}"
#define HAS(how)   "\"list_match\":{\"one_of\":{" IS(how) "}}"
#define ISS        "{\"key\":\"iss\"}"
#define SUB        "{\"key\":\"sub\"}"
#define BOTH(a, b) "{\"and_ids\":{\"ids\":[" a "," b "]}}"
#define SOMETHING  REGEX("(?s).+")

static void tokens(void **state)
{
	(void)state;
	rule_becomes("{from: [{source: {requestPrincipals: ['https://i/*', '*/s', '*']}}]}", ANY,
		BOTH(CLAIM(ISS, IS("\"exact\":\"https://i\"")), CLAIM(SUB, IS(SOMETHING))) "," BOTH(
			CLAIM(ISS, IS(SOMETHING)),
			CLAIM(SUB, IS("\"exact\":\"s\""))) "," BOTH(CLAIM(ISS, IS(SOMETHING)),
			CLAIM(SUB, IS(SOMETHING))));
	rule_becomes("{when: [{key: 'request.auth.claims[r][s]', values: [x]}]}", ANY,
		CLAIM("{\"key\":\"r\"},{\"key\":\"s\"}", IS("\"exact\":\"x\"")) "," CLAIM(
			"{\"key\":\"r\"},{\"key\":\"s\"}", HAS("\"exact\":\"x\"")));
	rule_becomes("{when: [{key: request.auth.presenter, values: [x]}]}", ANY,
		CLAIM("{\"key\":\"azp\"}", IS("\"exact\":\"x\"")));
}

#define TCP_NONE(name)                                                                             \
	"{\"name\":\"mica." name "\",\"typed_config\":{\"@type\":\"" TCP_TYPE                      \
	"\",\"stat_prefix\":\"mica_" name ".\"}}"

/* What asks for HTTP: an ALLOW rule is gone, a DENY rule forgets it. */
static void connections(void **state)
{
	(void)state;
	becomes(POLICY("x", "rules: [{to: [{operation: {methods: [GET]}}]}]"),
		MICA_TARGET_ENVOY_NETWORK,
		"{\"filters\":[" TCP_NONE("audit") "," TCP_NONE(
			"deny") ",{\"name\":\"mica.allow\",\"typed_config\":{\"@type\":\"" TCP_TYPE
				"\",\"rules\":{\"action\":\"ALLOW\"},\"stat_prefix\":"
				"\"mica_allow.\"}}]}\n");
	becomes(POLICY("x",
			"action: DENY, rules: [{to: [{operation: {methods: [GET], "
			"ports: ['80']}}]}]"),
		MICA_TARGET_ENVOY_NETWORK,
		"{\"filters\":[" TCP_NONE(
			"audit") ",{\"name\":\"mica.deny\",\"typed_config\":{\"@type\":\"" TCP_TYPE
				 "\",\"rules\":{\"action\":\"DENY\",\"policies\":{\"ns[a]-policy[x]-"
				 "rule[0]\":{\"permissions\":[{\"destination_port\":80}],"
				 "\"principals\":[{\"any\":true}]}}},\"stat_prefix\":\"mica_deny.\"}"
				 "}," TCP_NONE("allow") "]}\n");
}

/* Shadow rules are what would be enforced: all of an action. */
static void dry_runs(void **state)
{
	(void)state;
	becomes(POLICY("x", "action: DENY") DRY("y", "action: DENY, rules: [{}]"),
		MICA_TARGET_ENVOY_HTTP,
		"{\"http_filters\":[" AUDIT_NONE
		",{\"name\":\"mica.deny\",\"typed_config\":{\"@type\":\"" HTTP_TYPE
		"\",\"rules\":{\"action\":\"DENY\"},\"shadow_rules\":{\"action\":\"DENY\",\"policies\":"
		"{\"ns[a]-policy[y]-rule[0]\":{\"permissions\":[{\"any\":true}],\"principals\":[{"
		"\"any\":true}]}}},\"shadow_rules_stat_prefix\":\"mica_dry_run_deny_\"}}," ALLOW_NONE
		"]}\n");
	becomes(DRY("y", ""), MICA_TARGET_ENVOY_HTTP,
		"{\"http_filters\":[" AUDIT_NONE "," DENY_NONE
		",{\"name\":\"mica.allow\",\"typed_config\":{\"@type\":\"" HTTP_TYPE
		"\",\"shadow_rules\":{\"action\":\"ALLOW\"},\"shadow_rules_stat_prefix\":\"mica_dry_"
		"run_allow_\"}}]}\n");
}

/* Other namespaces' policies are not about it, those of the root are. */
static void whose(void **state)
{
	struct compiled c;

	(void)state;
	make(&c,
		POLICY("x", "selector: {matchLabels: {app: b}}, rules: [{}]")
			POLICY("r", "action: DENY, rules: [{}, {}]") POLICY("y", ""));
	run(&c);
	assert_int_equal(c.rc, MICA_OK);
	assert_int_equal(c.report.policies, 2);
	assert_int_equal(c.report.rules, 2);
	assert_null(strstr((const char *)c.b.p, "policy[x]"));
	assert_non_null(strstr((const char *)c.b.p, "policy[r]-rule[1]"));
	unmake(&c);
}

#define N40 "aaaaaaaaaabbbbbbbbbbccccccccccdddddddddd"

/* A name that is too long for a regular expression: a value less of ALLOW, a wider DENY. */
static void losses(void **state)
{
	struct compiled c;

	(void)state;
	make(&c, POLICY("x", "rules: [{from: [{source: {serviceAccounts: [" N40 "]}}]}]"));
	run(&c);
	assert_int_equal(c.rc, MICA_OK);
	assert_int_equal(c.report.n, 1);
	assert_string_equal(c.report.v[0].reason, "envoy_regex_too_long");
	assert_false(c.report.v[0].denied_more);
	assert_non_null(strstr((const char *)c.b.p, "spiffe://[!-.0-~]+/ns/a/sa/" N40 "\"}"));
	c.o.strict = true;
	run(&c);
	assert_int_equal(c.rc, MICA_CONFLICT);
	assert_string_equal(c.e.reason, "policy_inexpressible");
	unmake(&c);

	make(&c, POLICY("x", "rules: [{from: [{source: {notServiceAccounts: [" N40 "]}}]}]"));
	run(&c);
	assert_non_null(strstr((const char *)c.b.p,
		"\"contains\":\"/ns/a/\"}}},{\"authenticated\":{\"principal_name\":{\"contains\":"
		"\"/sa/" N40 "\""));
	unmake(&c);

	make(&c,
		POLICY("x",
			"rules: [{to: [{operation: {paths: ['/" N40 "/" N40 "/" N40 "/{*}']}}]}]"));
	run(&c);
	assert_int_equal(c.report.n, 1);
	assert_null(strstr((const char *)c.b.p, "\"policies\""));
	assert_non_null(strstr((const char *)c.b.p, "{\"action\":\"ALLOW\"}"));
	unmake(&c);

	make(&c,
		POLICY("x",
			"action: DENY, rules: [{to: [{operation: {paths: ['/" N40 "/" N40 "/" N40
			"/{*}']}}]}]"));
	run(&c);
	assert_true(c.report.v[0].denied_more);
	assert_non_null(strstr((const char *)c.b.p, "\"permissions\":[{\"any\":true}]"));
	unmake(&c);
}

/* A part is what Envoy reads from a file of its own. */
static void parts(void **state)
{
	struct compiled c;

	(void)state;
	make(&c, POLICY("x", ""));
	c.o.part = "allow";
	run(&c);
	assert_string_equal((const char *)c.b.p,
		"{\"resources\":[{\"@type\":\"type.googleapis.com/"
		"envoy.config.core.v3.TypedExtensionConfig\",\"name\":\"mica.allow\","
		"\"typed_config\":{\"@type\":\"" HTTP_TYPE
		"\",\"rules\":{\"action\":\"ALLOW\"}}}]}\n");
	c.o.part = "forbid";
	run(&c);
	assert_int_equal(c.rc, MICA_INVALID);
	assert_string_equal(c.e.reason, "part_unknown");
	c.o.target = MICA_TARGET_ISTIO;
	c.o.part = "allow";
	run(&c);
	assert_string_equal(c.e.reason, "part_unknown");
	unmake(&c);
}

/* The octets of a small one: each text behind its tag and length. */
static void octets(void **state)
{
	static const uint8_t expected[] =
		"\x12\x94\x01" /* resources */
		"\x0a\x3d"
		"type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig\x12\x53"
		"\x0a\x09mica.deny\x12\x46\x0a\x3e" HTTP_TYPE "\x12\x04"
		"\x0a\x02\x08\x01"; /* rules: their action */
	struct compiled c;

	(void)state;
	make(&c, POLICY("x", "action: DENY"));
	c.o.form = MICA_FORM_PROTOBUF;
	c.o.part = "deny";
	run(&c);
	assert_int_equal(c.rc, MICA_OK);
	assert_int_equal(c.b.len, sizeof(expected) - 1);
	assert_memory_equal(c.b.p, expected, sizeof(expected) - 1);
	unmake(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty_sets),
		cmocka_unit_test(sources),
		cmocka_unit_test(operations),
		cmocka_unit_test(tokens),
		cmocka_unit_test(connections),
		cmocka_unit_test(dry_runs),
		cmocka_unit_test(whose),
		cmocka_unit_test(losses),
		cmocka_unit_test(parts),
		cmocka_unit_test(octets),
	};
	return cmocka_run_group_tests_name("policy_envoy", tests, NULL, NULL);
}
