/* SPDX-License-Identifier: Apache-2.0 */
/* Sets of policies: the table of Istio's semantics, explanations, modes of PeerAuthentication. */
#include "mica/file.h"
#include "mica/policy_case.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define HEAD(kind, ns, name)                                                                       \
	"---\napiVersion: security.istio.io/v1\nkind: " kind "\nmetadata: {name: " name            \
	", namespace: " ns "}\nspec: "
#define POLICY(ns, name) HEAD("AuthorizationPolicy", ns, name)
#define PEER(ns, name)   HEAD("PeerAuthentication", ns, name)

static struct mica_policy_set *set_of(const char *text, const struct mica_policy_mesh *mesh)
{
	struct mica_err e = MICA_ERR_INIT;
	struct mica_policy_set *set = NULL;
	MICA_AUTO_POLICIES all;

	if (mica_policies_parse(mica_slice_str(text), "t", NULL, &all, &e) != MICA_OK ||
		mica_policy_set_new(mesh, all.v, all.n, &set, &e) != MICA_OK)
		fail_msg("%s", e.text);
	return set;
}

/* ---- the table ---------------------------------------------------------------------------------
 */

static void read_data(const char *name, struct mica_buf *out)
{
	const char *dir = mica_env("MICA_SRCDIR");
	struct mica_err e = MICA_ERR_INIT;
	char path[4096];

	snprintf(path, sizeof(path), "%s/tests/data/policy/%s", dir ? dir : ".", name);
	mica_buf_init(out, MICA_POLICY_TEXT_MAX);
	if (mica_file_read(path, out, &e) != MICA_OK)
		fail_msg("%s", e.text);
}

static void decides_as_istio(void **state)
{
	struct mica_err e = MICA_ERR_INIT;
	struct mica_policy_set *set;
	MICA_AUTO_POLICY_CASES cases;
	MICA_AUTO_BUF table, policies;
	unsigned wrong = 0, flipped = 0;

	(void)state;
	read_data("semantics.test.yaml", &table);
	read_data("semantics.yaml", &policies);
	if (mica_policy_cases_parse(mica_buf_slice(&table), "table", &cases, &e) != MICA_OK)
		fail_msg("%s", e.text);
	assert_true(cases.n >= 80);
	set = set_of((const char *)policies.p, &cases.mesh);
	for (unsigned i = 0; i < cases.n; i++) {
		struct mica_policy_case c = cases.v[i];
		struct mica_policy_verdict v;
		MICA_AUTO_BUF why;

		mica_buf_init(&why, 4096);
		if (!mica_policy_case_holds(set, &c, &v, &why)) {
			print_error("line %d, %s: %s\n", c.line, c.name, (const char *)why.p);
			wrong++;
		}
		c.allowed = !c.allowed; /* the table can fail */
		flipped += !mica_policy_case_holds(set, &c, &v, NULL);
	}
	assert_int_equal(wrong, 0);
	assert_int_equal(flipped, cases.n);
	mica_policy_set_unref(set);
}

static void tables_are_checked(void **state)
{
	static const struct {
		const char *text, *reason;
		int line, column;
	} cases[] = {
		{"kind: PolicyTest\n", "policy_missing_field", 1, 1},
		{"apiVersion: mica/v1\nkind: PolicyTests\n", "policy_kind", 2, 7},
		{"apiVersion: mica/v1\nkind: PolicyTest\npolicies: []\n", "policy_empty_list", 3,
			11},
		{"apiVersion: mica/v1\nkind: PolicyTest\npolicies: [a]\ncases:\n- name: x\n"
		 "  request: {}\n  expect: deny\n",
			"policy_missing_field", 6, 12},
		{"apiVersion: mica/v1\nkind: PolicyTest\npolicies: [a]\ncases:\n- name: x\n"
		 "  request: {workload: {namespace: a}, peer: \"td/a\"}\n  expect: deny\n",
			"policy_value", 6, 45},
		{"apiVersion: mica/v1\nkind: PolicyTest\npolicies: [a]\ncases:\n- name: x\n"
		 "  request: {workload: {namespace: a}, sourceIp: 10.0.0.0/8}\n  expect: deny\n",
			"policy_value", 6, 49},
		{"apiVersion: mica/v1\nkind: PolicyTest\npolicies: [a]\ncases:\n- name: x\n"
		 "  request: {workload: {namespace: a}}\n  expect: yes\n",
			"policy_type", 7, 11},
	};

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++) {
		struct mica_err e = MICA_ERR_INIT;
		MICA_AUTO_POLICY_CASES out;

		assert_int_equal(
			mica_policy_cases_parse(mica_slice_str(cases[i].text), "t", &out, &e),
			MICA_INVALID);
		if (strcmp(e.reason, cases[i].reason) != 0 || e.line != cases[i].line ||
			e.column != cases[i].column)
			fail_msg("case %zu: %s: %s", i, e.reason, e.text);
	}
}

/* As POST /v1/authorize gets it: JSON. */
static void a_request_by_itself(void **state)
{
	static const char text[] =
		"{\"workload\":{\"namespace\":\"a\",\"labels\":{\"app\":\"x\"}},\"port\":8080,"
		"\"peer\":\"spiffe://td/ns/b/sa/c\",\"headers\":{\"X-A\":\"\\u00e9\\/1\"}}";
	struct mica_err e = MICA_ERR_INIT;
	MICA_AUTO_POLICY_CASES out;
	const struct mica_policy_request *r;

	(void)state;
	assert_int_equal(
		mica_policy_request_parse(mica_slice_str(text), "body", &out, &e), MICA_OK);
	r = &out.v[0].request;
	assert_int_equal(out.n, 1);
	assert_true(r->http && r->port == 8080 && r->n_headers == 1);
	assert_true(mica_slice_eq_str(r->workload.ns, "a"));
	assert_true(mica_slice_eq_str(r->headers[0].key, "x-a"));
	assert_true(mica_slice_eq_str(r->headers[0].value, "\xc3\xa9/1"));
	mica_policy_cases_clear(&out);
	assert_int_equal(mica_policy_request_parse(MICA_LIT("{\n\"port\":1}"), "body", &out, &e),
		MICA_INVALID);
	assert_string_equal(e.reason, "policy_missing_field");
	assert_int_equal(out.n, 0);
}

/* ---- explanations
 * -------------------------------------------------------------------------------- */

static void write_finding(void *ctx, const struct mica_policy_finding *f)
{
	mica_policy_finding_put(ctx, f);
	mica_buf_put_u8(ctx, '\n');
}

static void explains(void **state)
{
	static const char text[] = POLICY("a",
		"z") "{action: DENY, rules: [{from: [{source: {namespaces: [bad]}}]}]}\n" POLICY("a",
		"allow") "{rules: [{from: [{source: {principals: [td/ns/x/sa/y]}}, "
			 "{source: {namespaces: [x], notPrincipals: [\"*/sa/z\"]}}], "
			 "to: [{operation: {methods: [GET]}}]}, "
			 "{when: [{key: \"request.headers[a]\", values: [\"1\", \"2\", \"3\", \"4\", \"5\"]}]}]}\n" POLICY(
				 "b", "other") "{rules: [{}]}\n" POLICY("a",
				 "none") "{action: AUDIT}\n";
	const struct mica_policy_request http = {.workload = {.ns = MICA_LIT("a")},
		.peer = MICA_LIT("spiffe://td/ns/x/sa/z"),
		.http = true,
		.method = MICA_LIT("GET")};
	const struct mica_policy_request tcp = {
		.workload = {.ns = MICA_LIT("a")}, .peer = MICA_LIT("spiffe://td/ns/bad/sa/z")};
	struct mica_policy_set *set = set_of(text, NULL);
	MICA_AUTO_BUF b;

	(void)state;
	mica_buf_init(&b, 65536);
	mica_policy_explain(set, &http, write_finding, &b);
	assert_string_equal((const char *)b.p,
		"DENY a/z rule 1 does not match: from 1: namespaces: has none of \"bad\"\n"
		"ALLOW a/allow rule 1 does not match: from 1: principals: has none of "
		"\"td/ns/x/sa/y\"\n"
		"ALLOW a/allow rule 2 does not match: when request.headers[a]: has none of "
		"\"1\", \"2\", \"3\", \"4\" and 1 more\n"
		"AUDIT a/none has no rules\n");
	mica_buf_reset(&b);
	mica_policy_explain(set, &tcp, write_finding, &b);
	assert_string_equal((const char *)b.p,
		"DENY a/z rule 1 matches\n"
		"ALLOW a/allow rule 1 does not match: it asks for what only HTTP has\n"
		"ALLOW a/allow rule 2 does not match: it asks for what only HTTP has\n"
		"AUDIT a/none has no rules\n");
	mica_policy_set_unref(set);
}

/* ---- PeerAuthentication
 * ---------------------------------------------------------------------------- */

static void has_modes(void **state)
{
	static const char text[] = PEER("root", "mesh") "{mtls: {mode: STRICT}}\n" PEER(
		"a", "space") "{mtls: {mode: PERMISSIVE}}\n" PEER("a",
		"app") "{selector: {matchLabels: {app: x}}, mtls: {mode: DISABLE}, "
		       "portLevelMtls: {80: {mode: STRICT}, 81: {mode: UNSET}}}\n" PEER("a",
			       "unset") "{selector: {matchLabels: {app: y}}}\n"
					"---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\n"
					"metadata: {name: late, namespace: b, creationTimestamp: 2026-01-02T00:00:00Z}\n"
					"spec: {mtls: {mode: DISABLE}}\n"
					"---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\n"
					"metadata: {name: old, namespace: b, creationTimestamp: 2026-01-01T00:00:00Z}\n"
					"spec: {mtls: {mode: PERMISSIVE}}\n";
	static const struct {
		const char *ns, *app;
		uint16_t port;
		enum mica_mtls_mode mode;
	} cases[] = {
		{"c", "x", 80, MICA_MTLS_STRICT}, /* the mesh's */
		{"a", "z", 80, MICA_MTLS_PERMISSIVE}, /* the namespace's */
		{"a", "x", 80, MICA_MTLS_STRICT}, /* the port's */
		{"a", "x", 82, MICA_MTLS_DISABLE}, /* the workload's */
		{"a", "x", 81, MICA_MTLS_DISABLE}, /* UNSET inherits */
		{"a", "y", 80, MICA_MTLS_PERMISSIVE}, /* as a whole, too */
		{"b", "x", 80, MICA_MTLS_PERMISSIVE}, /* the oldest of two */
	};
	const struct mica_policy_mesh mesh = {.root_ns = "root"};
	struct mica_policy_set *set = set_of(text, &mesh), *bare = set_of(text, NULL);

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++) {
		struct mica_policy_pair label = {MICA_LIT("app"), mica_slice_str(cases[i].app)};
		struct mica_policy_workload w = {
			.ns = mica_slice_str(cases[i].ns), .labels = &label, .n_labels = 1};

		if (mica_policy_mtls(set, &w, cases[i].port) != cases[i].mode)
			fail_msg("case %zu", i);
		if (i == 0) /* nobody says anything */
			assert_int_equal(mica_policy_mtls(bare, &w, 80), MICA_MTLS_PERMISSIVE);
	}
	mica_policy_set_unref(set);
	mica_policy_set_unref(bare);
}

/* ---- the set itself
 * ----------------------------------------------------------------------------------- */

static void holds_policies(void **state)
{
	static const char text[] = PEER("a", "p") "{}\n" POLICY("b", "x") "{}\n" POLICY(
		"a", "y") "{}\n" POLICY("a", "p") "{}\n";
	struct mica_policy_set *set = set_of(text, NULL), *again = mica_policy_set_ref(set);
	const struct mica_policy *p;

	(void)state;
	mica_policy_set_unref(set);
	assert_int_equal(mica_policy_set_count(again), 4);
	assert_string_equal(mica_policy_set_at(again, 0)->name, "p");
	assert_int_equal(mica_policy_set_at(again, 3)->kind, MICA_POLICY_PEER);
	p = mica_policy_set_find(again, MICA_POLICY_AUTHORIZATION, MICA_LIT("a"), MICA_LIT("y"));
	assert_string_equal(p->name, "y");
	assert_null(mica_policy_set_find(again, MICA_POLICY_PEER, MICA_LIT("a"), MICA_LIT("y")));
	assert_null(mica_policy_set_find(
		again, MICA_POLICY_AUTHORIZATION, MICA_LIT("a"), MICA_LIT("")));
	mica_policy_set_unref(again);
}

static void refuses_what_is_wrong(void **state)
{
	const struct mica_policy_mesh bad = {.trust_domain = "Not.A.Domain"};
	struct mica_err e = MICA_ERR_INIT;
	struct mica_policy_set *set;
	MICA_AUTO_POLICIES a, b;

	(void)state;
	assert_int_equal(mica_policy_set_new(&bad, NULL, 0, &set, &e), MICA_INVALID);
	assert_string_equal(e.reason, "trust_domain_invalid");
	assert_null(set);
	mica_err_clear(&e);
	assert_int_equal(
		mica_policies_parse(MICA_LIT(POLICY("a", "x") "{}\n"), "t", NULL, &a, &e), MICA_OK);
	assert_int_equal(
		mica_policies_parse(MICA_LIT(POLICY("a", "x") "{}\n"), "t", NULL, &b, &e), MICA_OK);
	const struct mica_policy *twice[] = {a.v[0], b.v[0]};

	assert_int_equal(mica_policy_set_new(NULL, twice, 2, &set, &e), MICA_INVALID);
	assert_string_equal(e.reason, "policy_duplicate");
}

/* More selectors about one workload than have room without memory. */
static void many_selectors(void **state)
{
	struct mica_policy_pair labels[100];
	struct mica_policy_request r = {
		.workload = {.ns = MICA_LIT("a"), .labels = labels, .n_labels = 100}, .port = 7};
	struct mica_policy_verdict v;
	struct mica_policy_set *set;
	char names[100][8];
	MICA_AUTO_BUF b;

	(void)state;
	mica_buf_init(&b, 1 << 20);
	for (unsigned i = 0; i < 100; i++) {
		snprintf(names[i], sizeof(names[i]), "l%u", i);
		labels[i] = (struct mica_policy_pair){mica_slice_str(names[i]), MICA_LIT("x")};
		mica_buf_printf(&b,
			"---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
			"metadata: {name: p%u, namespace: a}\nspec: {action: %s, "
			"selector: {matchLabels: {l%u: x}}, "
			"rules: [{to: [{operation: {ports: [\"%u\"]}}]}]}\n",
			i, i == 99 ? "DENY" : "ALLOW", i, i == 99 ? 7 : i + 100);
	}
	set = set_of((const char *)b.p, NULL);
	mica_policy_decide(set, &r, &v);
	assert_int_equal(v.now.why, MICA_WHY_DENY_RULE);
	assert_string_equal(v.now.policy->name, "p99");
	r.port = 198;
	mica_policy_decide(set, &r, &v);
	assert_int_equal(v.now.why, MICA_WHY_ALLOW_RULE);
	assert_string_equal(v.now.policy->name, "p98");
	mica_policy_set_unref(set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(decides_as_istio),
		cmocka_unit_test(tables_are_checked),
		cmocka_unit_test(a_request_by_itself),
		cmocka_unit_test(explains),
		cmocka_unit_test(has_modes),
		cmocka_unit_test(holds_policies),
		cmocka_unit_test(refuses_what_is_wrong),
		cmocka_unit_test(many_selectors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
