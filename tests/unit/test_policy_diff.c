/* SPDX-License-Identifier: Apache-2.0 */
/* What a change of policies means, in words. */
#include "mica/policy_diff.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define POLICY(name, spec)                                                                         \
	"---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: " name \
	", namespace: a}\nspec: " spec "\n"

static struct mica_policy_set *set_of(const char *text)
{
	static const struct mica_policy_mesh mesh = {.root_ns = "root", .trust_domain = "td"};
	struct mica_err e = MICA_ERR_INIT;
	struct mica_policy_set *set = NULL;
	MICA_AUTO_POLICIES all;
	if (mica_policies_parse(mica_slice_str(text), "t", NULL, &all, &e) != MICA_OK ||
		mica_policy_set_new(&mesh, all.v, all.n, &set, &e) != MICA_OK)
		fail_msg("%s", e.text);
	return set;
}

/* The lines of what changes, of `peers` alone if there are any. */
static void expect(const char *before, const char *after, const char *peer, const char *lines)
{
	struct mica_policy_set *old = set_of(before), *new = set_of(after);
	const struct mica_policy_diff_options o = {.peers = &peer, .n_peers = peer != NULL};
	MICA_AUTO_POLICY_DIFF d;
	MICA_AUTO_BUF b;
	mica_buf_init(&b, 65536);
	mica_policy_diff(old, new, &o, &d);
	mica_policy_set_unref(old);
	mica_policy_set_unref(new);
	for (unsigned i = 0; i < d.n; i++) {
		mica_policy_change_put(&b, &d.v[i]);
		mica_buf_put_str(&b, "\n");
	}
	mica_buf_put_u8(&b, '\0');
	assert_string_equal((const char *)b.p, lines);
	assert_true(d.complete);
}

static void the_same_in_other_words(void **state)
{
	(void)state;
	expect(POLICY("p", "{rules: [{to: [{operation: {methods: [GET, POST]}}]}]}"),
		POLICY("p", "{rules: [{to: [{operation: {methods: [POST]}}]}]}")
			POLICY("q", "{rules: [{to: [{operation: {methods: [GET]}}]}]}"),
		NULL, "");
	expect(POLICY("p", "{action: AUDIT, rules: [{}]}"),
		POLICY("p",
			"{action: DENY, rules: [{to: [{operation: {paths: [/a], "
			"notPaths: [/a]}}], from: [{source: {principals: [none/x], "
			"notPrincipals: [none/x]}}]}]}"),
		"spiffe://td/x", "");
}

static void who_may_do_what(void **state)
{
	(void)state;
	expect(POLICY("p", "{}"), POLICY("p", "{rules: [{}]}"), NULL,
		"a: everybody may from now on: everything\n");
	expect(POLICY("p", "{rules: [{}]}"),
		POLICY("p", "{rules: [{to: [{operation: {ports: ['80']}}]}]}"), NULL,
		"a: everybody may no longer: everything at any other port\n");
	expect(POLICY("p", "{}"),
		POLICY("p", "{rules: [{to: [{operation: {methods: [GET], paths: [/a, /b*]}}]}]}"),
		NULL, "a: everybody may from now on: GET on /a, /b*\n");
	expect(POLICY("p", "{}"),
		POLICY("p", "{rules: [{when: [{key: 'request.headers[x]', values: [y]}]}]}"), NULL,
		"a: everybody may from now on: all of HTTP with request.headers[x] y\n");
	expect(POLICY("p", "{rules: [{}]}"),
		POLICY("p",
			"{selector: {matchLabels: {app: x}}, rules: [{from: [{source: "
			"{namespaces: [b]}}]}]}"),
		NULL,
		"a, workloads with app=x: anyone else of td, anyone of another trust domain, "
		"who has no identity may no longer: everything\n");
}

static void of_some_peers(void **state)
{
	static const char after[] =
		POLICY("p", "{rules: [{from: [{source: {principals: [td/b, td/c]}}]}]}");
	(void)state;
	expect(POLICY("p", "{}"), after, "spiffe://td/b",
		"a: spiffe://td/b may from now on: everything\n");
	expect(POLICY("p", "{}"), after, "spiffe://td/d", "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_same_in_other_words),
		cmocka_unit_test(who_may_do_what),
		cmocka_unit_test(of_some_peers),
	};
	return cmocka_run_group_tests_name("policy_diff", tests, NULL, NULL);
}
