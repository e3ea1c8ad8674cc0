/* SPDX-License-Identifier: Apache-2.0 */
/* What all compilers have in common, and the one that loses nothing. */
#include "mica/policy_compile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define HEAD(kind, ns, name)                                                                       \
	"---\napiVersion: security.istio.io/v1\nkind: " kind "\nmetadata: {name: " name            \
	", namespace: " ns "}\nspec: "

static const char text[] = HEAD("PeerAuthentication", "a", "mtls") "{mtls: {mode: STRICT}}\n" HEAD(
	"AuthorizationPolicy", "b",
	"other") "{action: DENY, rules: [{}]}\n" HEAD("AuthorizationPolicy", "a",
	"pay") "{selector: {matchLabels: {app: pay}}, "
	       "rules: [{from: [{source: {principals: [td/ns/a/sa/b]}}]}]}\n";

static struct mica_policy_set *set_of(struct mica_slice of)
{
	struct mica_err e = MICA_ERR_INIT;
	struct mica_policy_set *set = NULL;
	MICA_AUTO_POLICIES all;
	if (mica_policies_parse(of, "t", NULL, &all, &e) != MICA_OK ||
		mica_policy_set_new(NULL, all.v, all.n, &set, &e) != MICA_OK)
		fail_msg("%s", e.text);
	return set;
}

static void compile(const struct mica_policy_set *s, const struct mica_policy_compile_options *o,
	struct mica_buf *b)
{
	struct mica_err e = MICA_ERR_INIT;
	mica_buf_init(b, 1 << 20);
	if (mica_policy_compile(s, o, b, NULL, &e) != MICA_OK)
		fail_msg("%s", e.text);
}

static void istio_is_a_fixed_point(void **state)
{
	static const enum mica_policy_form forms[] = {MICA_FORM_YAML, MICA_FORM_JSON};
	struct mica_policy_set *set = set_of(mica_slice_str(text));
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		const struct mica_policy_compile_options o = {
			.target = MICA_TARGET_ISTIO, .form = forms[i]};
		struct mica_policy_set *again;
		MICA_AUTO_BUF one, two;
		compile(set, &o, &one);
		again = set_of(mica_buf_slice(&one));
		assert_int_equal(mica_policy_set_count(again), 3);
		compile(again, &o, &two);
		assert_true(mica_slice_eq(mica_buf_slice(&one), mica_buf_slice(&two)));
		mica_policy_set_unref(again);
	}
	mica_policy_set_unref(set);
}

/* Of one workload: what is about it, and nothing else. */
static void a_workload_gets_its_own(void **state)
{
	const struct mica_policy_workload w = {.ns = mica_slice_str("a")};
	const struct mica_policy_compile_options o = {
		.target = MICA_TARGET_ISTIO, .form = MICA_FORM_YAML, .workload = &w};
	struct mica_policy_set *set = set_of(mica_slice_str(text)), *own;
	MICA_AUTO_BUF b;
	(void)state;
	compile(set, &o, &b);
	own = set_of(mica_buf_slice(&b));
	assert_int_equal(mica_policy_set_count(own), 1);
	assert_string_equal(mica_policy_set_at(own, 0)->name, "mtls");
	mica_policy_set_unref(own);
	mica_policy_set_unref(set);
}

static void says_what_it_lacks(void **state)
{
	const struct mica_policy_compile_options o = {
		.target = MICA_TARGET_ISTIO, .form = MICA_FORM_PROTOBUF};
	struct mica_policy_set *set = set_of(mica_slice_str(text));
	struct mica_err e = MICA_ERR_INIT;
	enum mica_policy_target t;
	MICA_AUTO_BUF b;
	(void)state;
	mica_buf_init(&b, 1 << 20);
	assert_int_equal(mica_policy_compile(set, &o, &b, NULL, &e), MICA_INVALID);
	assert_string_equal(e.reason, "form_unsupported");
	assert_int_equal(b.len, 0);
	assert_true(mica_policy_target_named(mica_slice_str("consul"), &t));
	assert_int_equal(t, MICA_TARGET_CONSUL);
	assert_false(mica_policy_target_named(mica_slice_str("nginx"), &t));
	for (unsigned i = 0; i < MICA_TARGET_COUNT; i++)
		assert_int_equal(mica_policy_target_of(i)->target, i);
	mica_policy_set_unref(set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(istio_is_a_fixed_point),
		cmocka_unit_test(a_workload_gets_its_own),
		cmocka_unit_test(says_what_it_lacks),
	};
	return cmocka_run_group_tests_name("policy_target", tests, NULL, NULL);
}
