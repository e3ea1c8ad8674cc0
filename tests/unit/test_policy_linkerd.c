/* SPDX-License-Identifier: Apache-2.0 */
/* Policies in Linkerd's form: what the objects say. Whether they mean the same is
 * tests/e2e/test_policy_linkerd.py's question. */
#include "mica/policy_compile.h"
#include "mica/policy_linkerd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdio.h>

static struct mica_policy_set *set_of(const char *text)
{
	static const struct mica_policy_mesh mesh = {
		.root_ns = "istio-system", .trust_domain = "example.org"};
	struct mica_err e = MICA_ERR_INIT;
	struct mica_policy_set *set = NULL;
	MICA_AUTO_POLICIES all;

	if (mica_policies_parse(mica_slice_str(text), "t", NULL, &all, &e) != MICA_OK ||
		mica_policy_set_new(&mesh, all.v, all.n, &set, &e) != MICA_OK)
		fail_msg("%s", e.text);
	return set;
}

/* A policy of namespace "shop". */
static const char *policy(const char *name, const char *spec)
{
	static char text[2][2048];
	static unsigned at;

	at ^= 1;
	snprintf(text[at], sizeof(text[at]),
		"---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
		"metadata: {name: %s, namespace: shop}\nspec: %s\n",
		name, spec);
	return text[at];
}

struct made {
	struct mica_buf b;
	struct mica_policy_report report;
	struct mica_err e;
	mica_rc rc;
};

static const uint16_t port_80 = 80;

static void make_with(struct made *m, const char *text, struct mica_policy_compile_options o)
{
	struct mica_policy_set *set = set_of(text);

	*m = (struct made){.e = MICA_ERR_INIT};
	mica_buf_init(&m->b, 16 << 20);
	o.target = MICA_TARGET_LINKERD;
	o.form = MICA_FORM_JSON;
	m->rc = mica_policy_compile(set, &o, &m->b, &m->report, &m->e);
	mica_policy_set_unref(set);
}

static void make(struct made *m, const char *text)
{
	make_with(m, text, (struct mica_policy_compile_options){.ports = &port_80, .n_ports = 1});
	assert_int_equal(m->rc, MICA_OK);
}

static void clear(struct made *m)
{
	mica_buf_clear(&m->b);
	mica_policy_report_clear(&m->report);
}

static bool says(const struct made *m, const char *what)
{
	return strstr((const char *)m->b.p, what) != NULL;
}

static unsigned count(const struct made *m, const char *what)
{
	unsigned n = 0;

	for (const char *p = (const char *)m->b.p; (p = strstr(p, what)); p++)
		n++;
	return n;
}

static bool lost(const struct made *m, const char *reason)
{
	for (unsigned i = 0; i < m->report.n; i++)
		if (strcmp(m->report.v[i].reason, reason) == 0)
			return true;
	return false;
}

#define FRONT   "front.web.serviceaccount.identity.linkerd.cluster.local"
#define FRONT_P "example.org/ns/web/sa/front"

static void peers_have_linkerds_names(void **state)
{
	struct made m;
	(void)state;

	make(&m, policy("a", "{rules: [{from: [{source: {principals: [" FRONT_P "]}}]}]}"));
	assert_true(says(&m, "\"identities\":[\"" FRONT "\",\"spiffe://" FRONT_P "\"]"));
	assert_false(says(&m, "NetworkAuthentication"));
	assert_false(says(&m, "HTTPRoute"));
	assert_int_equal(m.report.n, 0);
	clear(&m);
	make(&m, policy("a", "{rules: [{from: [{source: {namespaces: [web]}}]}]}"));
	assert_true(says(
		&m, "\"identities\":[\"*.web.serviceaccount.identity.linkerd.cluster.local\"]"));
	assert_int_equal(m.report.n, 0);
	clear(&m);
	make(&m, policy("a", "{rules: [{from: [{source: {principals: [\"*\"]}}]}]}"));
	assert_true(says(&m, "\"identities\":[\"*\"]"));
	assert_int_equal(m.report.n, 0);
	clear(&m);
	make(&m, policy("a", "{rules: [{from: [{source: {trustDomains: [example.org]}}]}]}"));
	assert_true(
		says(&m, "\"identities\":[\"*.serviceaccount.identity.linkerd.cluster.local\"]"));
	assert_int_equal(m.report.n, 0);
	clear(&m);
	make(&m, policy("a", "{rules: [{from: [{source: {principals: [other.org/x]}}]}]}"));
	assert_true(says(&m, "\"identities\":[\"spiffe://other.org/x\"]"));
	assert_int_equal(m.report.n, 0);
	clear(&m);
}

static void names_are_as_configured(void **state)
{
	const struct mica_linkerd l = {.control_ns = "cp", .trust_domain = "mesh.test"};
	const struct mica_linkerd bad = {.control_ns = "not a label", .trust_domain = "mesh.test"};
	const char *text =
		policy("a", "{rules: [{from: [{source: {principals: [" FRONT_P "]}}]}]}");
	struct made m;
	(void)state;

	make_with(&m, text,
		(struct mica_policy_compile_options){
			.linkerd = &l, .ports = &port_80, .n_ports = 1});
	assert_int_equal(m.rc, MICA_OK);
	assert_true(says(&m, "\"front.web.serviceaccount.identity.cp.mesh.test\""));
	clear(&m);
	make_with(&m, text, (struct mica_policy_compile_options){.linkerd = &bad});
	assert_int_equal(m.rc, MICA_INVALID);
	assert_string_equal(m.e.reason, "linkerd_namespace_invalid");
	clear(&m);
}

static void who_is_denied_is_taken_out(void **state)
{
	struct made m;
	char text[4096];
	(void)state;

	/* exactly, where accounts are listed */
	snprintf(text, sizeof(text), "%s%s",
		policy("a",
			"{rules: [{from: [{source: {principals: [" FRONT_P
			", example.org/ns/web/sa/back]}}]}]}"),
		policy("d",
			"{action: DENY, rules: [{from: [{source: {principals: [" FRONT_P
			"]}}]}]}"));
	make(&m, text);
	assert_true(says(&m, "\"back.web."));
	assert_false(says(&m, FRONT));
	assert_int_equal(m.report.n, 0);
	clear(&m);
	/* else with all that it is part of */
	make(&m,
		policy("d",
			"{action: DENY, rules: [{from: [{source: {principals: [" FRONT_P
			"]}}]}]}"));
	assert_true(says(&m, "\"kind\":\"Server\""));
	assert_false(says(&m, "\"kind\":\"AuthorizationPolicy\""));
	assert_true(lost(&m, "linkerd_except"));
	assert_true(m.report.v[0].denied_more);
	clear(&m);
	/* networks have "except" */
	make(&m,
		policy("d",
			"{action: DENY, rules: [{from: [{source: {ipBlocks: "
			"[10.1.0.0/16, 10.0.0.0/8]}}]}]}"));
	assert_true(says(&m,
		"{\"cidr\":\"0.0.0.0/0\",\"except\":[\"10.0.0.0/8\"]},"
		"{\"cidr\":\"::/0\",\"except\":[\"::ffff:0.0.0.0/96\"]}"));
	assert_int_equal(m.report.n, 0);
	clear(&m);
}

static void routes_do_not_overlap(void **state)
{
	struct made m;
	char text[4096];
	(void)state;

	make(&m,
		policy("a", "{rules: [{to: [{operation: {methods: [GET], paths: [/a/*, /b]}}]}]}"));
	assert_true(says(&m, "{\"type\":\"Exact\",\"value\":\"/b\"},\"method\":\"GET\"}"));
	assert_true(says(&m, "\"value\":\"^/a/.*$\"},\"method\":\"GET\"}"));
	assert_int_equal(count(&m, "\"type\":"), 2);
	assert_int_equal(m.report.n, 0);
	clear(&m);
	snprintf(text, sizeof(text), "%s%s", policy("a", "{rules: [{}]}"),
		policy("d",
			"{action: DENY, rules: [{to: [{operation: {paths: [/ab*, /ac, /x.y]}}]}]}"));
	make(&m, text);
	assert_true(says(&m,
		"\"^(?:[^/].*|/(?:[^ax].*|a(?:[^bc].*|c.+)?|x(?:[^\\\\.].*|\\\\.(?:[^y].*|y.+)?)?)?)?$\""));
	assert_int_equal(m.report.n, 0);
	clear(&m);
	/* a method that is denied is a route that nobody may take */
	make(&m, policy("d", "{action: DENY, rules: [{to: [{operation: {methods: [DELETE]}}]}]}"));
	assert_true(says(&m, "\"method\":\"DELETE\""));
	assert_int_equal(count(&m, "\"kind\":\"HTTPRoute\",\"metadata\""), 2);
	assert_int_equal(count(&m, "\"kind\":\"AuthorizationPolicy\",\"metadata\""), 1);
	assert_int_equal(m.report.n, 0);
	clear(&m);
}

/* A template that is denied takes along what it may be about, and nothing else. */
static void templates_keep_out_what_they_may_match(void **state)
{
	struct made m;
	char text[4096];
	(void)state;

	snprintf(text, sizeof(text), "%s%s",
		policy("a", "{rules: [{to: [{operation: {paths: [/a/*, /b/*, /a/x, /a/x/c]}}]}]}"),
		policy("d", "{action: DENY, rules: [{to: [{operation: {paths: ['/a/{*}/c']}}]}]}"));
	make(&m, text);
	assert_true(lost(&m, "linkerd_path"));
	assert_false(says(&m, "\"^/a/"));
	assert_true(says(&m, "\"^/b/.*$\"") && says(&m, "\"/a/x\""));
	assert_false(says(&m, "\"/a/x/c\""));
	clear(&m);
}

/* Each pod and port has one Server, however selectors overlap. */
static void pods_are_divided(void **state)
{
	struct made m;
	char text[4096];
	(void)state;

	snprintf(text, sizeof(text), "%s%s", policy("a", "{selector: {matchLabels: {app: x}}}"),
		policy("b", "{selector: {matchLabels: {tier: db, app: x}}, action: DENY}"));
	make(&m, text);
	assert_int_equal(count(&m, "\"kind\":\"Server\",\"metadata\""), 3);
	assert_true(says(&m,
		"{\"podSelector\":{\"matchExpressions\":[{\"key\":\"app\","
		"\"operator\":\"NotIn\",\"values\":[\"x\"]}]}"));
	assert_true(says(&m,
		"{\"podSelector\":{\"matchLabels\":{\"app\":\"x\"},"
		"\"matchExpressions\":[{\"key\":\"tier\",\"operator\":\"NotIn\","
		"\"values\":[\"db\"]}]}"));
	assert_true(says(&m, "{\"podSelector\":{\"matchLabels\":{\"app\":\"x\",\"tier\":\"db\"}}"));
	clear(&m);
}

static void a_workload_is_not_its_neighbours(void **state)
{
	const struct mica_policy_pair labels[] = {{MICA_LIT("app"), MICA_LIT("y")}};
	const struct mica_policy_workload w = {MICA_LIT("shop"), labels, 1};
	struct made m;
	(void)state;

	make_with(&m,
		policy("d", "{selector: {matchLabels: {tier: db}}, action: DENY, rules: [{}]}"),
		(struct mica_policy_compile_options){
			.workload = &w, .ports = &port_80, .n_ports = 1});
	assert_int_equal(m.rc, MICA_OK);
	assert_true(says(&m,
		"{\"podSelector\":{\"matchLabels\":{\"app\":\"y\"},"
		"\"matchExpressions\":[{\"key\":\"tier\",\"operator\":\"NotIn\","
		"\"values\":[\"db\"]}]}"));
	assert_int_equal(count(&m, "\"kind\":\"AuthorizationPolicy\",\"metadata\""), 1);
	assert_true(says(&m, "\"requiredAuthenticationRefs\":[]"));
	clear(&m);
}

static void ports_are_those_that_are_named(void **state)
{
	const char *bound = policy("a", "{rules: [{to: [{operation: {ports: [\"8080\"]}}]}]}");
	struct made m;
	(void)state;

	make(&m, bound);
	assert_true(says(&m, "\"port\":80,") && says(&m, "\"port\":8080,"));
	assert_int_equal(count(&m, "\"kind\":\"AuthorizationPolicy\",\"metadata\""), 1);
	clear(&m);
	make_with(&m, bound, (struct mica_policy_compile_options){.strict = true});
	assert_int_equal(m.rc, MICA_OK);
	clear(&m);
	make_with(&m, policy("a", "{rules: [{}]}"),
		(struct mica_policy_compile_options){.ports = NULL});
	assert_true(lost(&m, "linkerd_ports"));
	assert_false(says(&m, "Server"));
	clear(&m);
}

static const struct {
	const char *rule, *reason;
} unsayable[] = {
	{"{when: [{key: \"request.headers[x-env]\", values: [prod]}]}", "linkerd_header"},
	{"{from: [{source: {remoteIpBlocks: [10.0.0.0/8]}}]}", "linkerd_remote_ip"},
	{"{from: [{source: {requestPrincipals: [\"*\"]}}]}", "linkerd_jwt"},
	{"{to: [{operation: {hosts: [a.test]}}]}", "linkerd_host"},
	{"{to: [{operation: {paths: [\"*.html\"]}}]}", "linkerd_path"},
	{"{to: [{operation: {methods: [PURGE]}}]}", "linkerd_method"},
	{"{when: [{key: connection.sni, values: [a.test]}]}", "linkerd_sni"},
	{"{when: [{key: destination.ip, values: [10.0.0.1]}]}", "linkerd_destination_ip"},
	{"{from: [{source: {principals: [\"example.org/ns/web/sa/f*\"]}}]}", "linkerd_principal"},
	{"{from: [{source: {namespaces: [\"w*\"]}}]}", "linkerd_namespace"},
	{"{from: [{source: {trustDomains: [other.org]}}]}", "linkerd_trust_domain"},
};

/* What cannot be said lets nobody in, and keeps everybody out whom it may be about. */
static void what_cannot_be_said_is_narrower(void **state)
{
	char text[1024];
	struct made m;
	(void)state;

	for (unsigned i = 0; i < sizeof(unsayable) / sizeof(unsayable[0]); i++) {
		for (unsigned deny = 0; deny < 2; deny++) {
			snprintf(text, sizeof(text), "{action: %s, rules: [%s]}",
				deny ? "DENY" : "ALLOW", unsayable[i].rule);
			make(&m, policy("p", text));
			if (!lost(&m, unsayable[i].reason))
				fail_msg("%s: not lost", text);
			assert_int_equal(m.report.v[0].denied_more, deny);
			if (!deny)
				assert_false(says(&m, "\"kind\":\"AuthorizationPolicy\""));
			clear(&m);
			make_with(&m, policy("p", text),
				(struct mica_policy_compile_options){
					.ports = &port_80, .n_ports = 1, .strict = true});
			assert_int_equal(m.rc, MICA_CONFLICT);
			clear(&m);
		}
	}
}

static void dry_runs_and_audits_are_nothing(void **state)
{
	struct made m;
	(void)state;

	make(&m, policy("d", "{action: AUDIT, rules: [{to: [{operation: {hosts: [a]}}]}]}"));
	assert_int_equal(m.report.n, 0);
	assert_true(says(&m, "\"requiredAuthenticationRefs\":[]"));
	clear(&m);
}

static void mtls_can_be_demanded(void **state)
{
	struct made m;
	char text[4096];
	(void)state;

	snprintf(text, sizeof(text),
		"%s---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\n"
		"metadata: {name: p, namespace: shop}\nspec: {mtls: {mode: STRICT}}\n",
		policy("a", "{rules: [{}]}"));
	make(&m, text);
	assert_true(says(&m, "\"identities\":[\"*\"]"));
	assert_int_equal(m.report.n, 0);
	clear(&m);
}

/* Thousands of cells are fine, millions are refused: the port is closed, and that is said. */
static void too_much_is_closed(void **state)
{
	struct mica_buf text;
	struct made m;
	(void)state;

	mica_buf_init(&text, 1 << 20);
	mica_buf_put_str(&text, "{rules: [{from: [{source: {namespaces: [a");
	for (unsigned i = 0; i < 1200; i++)
		mica_buf_printf(&text, ", n%u", i);
	mica_buf_put_str(&text, "]}}], to: [{operation: {paths: [/a");
	for (unsigned i = 0; i < 1200; i++)
		mica_buf_printf(&text, ", /p%u", i);
	mica_buf_put_str(&text, "]}}]}]}");
	mica_buf_put_u8(&text, 0);
	{
		struct mica_buf doc;

		mica_buf_init(&doc, 1 << 20);
		mica_buf_put_str(&doc,
			"apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
			"metadata: {name: a, namespace: shop}\nspec: ");
		mica_buf_put(&doc, text.p, text.len);
		make(&m, (const char *)doc.p);
		mica_buf_clear(&doc);
	}
	assert_true(lost(&m, "linkerd_too_large"));
	assert_false(says(&m, "\"kind\":\"AuthorizationPolicy\""));
	clear(&m);
	mica_buf_clear(&text);
}

/* ---- the message ----------------------------------------------------------------------------- */

static void message_of(struct mica_buf *b, const char *text, uint16_t port)
{
	const struct mica_policy_workload w = {.ns = MICA_LIT("shop")};
	struct mica_policy_set *set = set_of(text);

	mica_buf_init(b, 1 << 20);
	assert_int_equal(mica_policy_linkerd_put(b, set, &w, port, NULL, NULL), MICA_OK);
	mica_policy_set_unref(set);
}

static void has_octets(const struct mica_buf *b, const char *octets, size_t len)
{
	for (size_t i = 0; i + len <= b->len; i++)
		if (memcmp(b->p + i, octets, len) == 0)
			return;
	fail_msg("not there: %s", octets);
}
#define HAS(b, octets) has_octets(b, octets, sizeof(octets) - 1)

/* Numbers and types of linkerd2-proxy-api; tests/e2e/test_linkerd_policy.py has all of it read by
 * Google's protobuf. */
static void a_message_is_what_proxies_read(void **state)
{
	MICA_AUTO_BUF b;
	(void)state;

	message_of(&b,
		policy("a",
			"{rules: [{from: [{source: {principals: [" FRONT_P
			"], ipBlocks: [10.1.0.0/16]}}]}]}"),
		80);
	HAS(&b, "\x0a\x06\x0a\x04\x0a\x02\x08\x0a"); /* detect, within 10 s */
	HAS(&b,
		"\x0a\x0b\x0a\x09\x0a\x05\x0d\x00\x00\x01\x0a\x10\x10" /* 10.1.0.0/16 */
		"\x12\x67\x12\x65\x12\x63\x0a\x39\x0a\x37" FRONT);
	HAS(&b, "\x22\x0f\x0a\x04name\x12\x07mica-80");
	mica_buf_clear(&b);
	message_of(&b, policy("a", "{rules: [{from: [{source: {principals: [\"*\"]}}]}]}"), 80);
	HAS(&b, "\x12\x06\x12\x04\x12\x02\x12\x00"); /* a suffix without labels */
	mica_buf_clear(&b);
	message_of(&b, policy("a", "{rules: [{}]}"), 80);
	HAS(&b, "\x0a\x0b\x0a\x09\x0a\x05\x0d\x00\x00\x00\x00\x10\x00"); /* 0.0.0.0/0 */
	HAS(&b, "\x12\x02\x0a\x00"); /* without identity, too */
	mica_buf_clear(&b);
	message_of(&b, policy("a", "{rules: [{to: [{operation: {methods: [GET]}}]}]}"), 80);
	HAS(&b, "\x0a\x03\x12\x01/\x22\x02\x08\x00"); /* prefix "/", method registered 0 */
	mica_buf_clear(&b);
}

/* What nobody may enter is a Server without authorizations, which a proxy takes for that. */
static void nobody_is_no_authorization(void **state)
{
	MICA_AUTO_BUF b;
	(void)state;

	message_of(&b, policy("a", "{}"), 80);
	assert_memory_equal(b.p, "\x0a\x06\x0a\x04\x0a\x02\x08\x0a\x22", 9);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(peers_have_linkerds_names),
		cmocka_unit_test(names_are_as_configured),
		cmocka_unit_test(who_is_denied_is_taken_out),
		cmocka_unit_test(routes_do_not_overlap),
		cmocka_unit_test(templates_keep_out_what_they_may_match),
		cmocka_unit_test(pods_are_divided),
		cmocka_unit_test(a_workload_is_not_its_neighbours),
		cmocka_unit_test(ports_are_those_that_are_named),
		cmocka_unit_test(what_cannot_be_said_is_narrower),
		cmocka_unit_test(dry_runs_and_audits_are_nothing),
		cmocka_unit_test(mtls_can_be_demanded),
		cmocka_unit_test(too_much_is_closed),
		cmocka_unit_test(a_message_is_what_proxies_read),
		cmocka_unit_test(nobody_is_no_authorization),
	};
	return cmocka_run_group_tests_name("policy_linkerd", tests, NULL, NULL);
}
