/* SPDX-License-Identifier: Apache-2.0 */
/* SPIFFE-ID 2: what is an ID, and what is not. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "mica/mem.h"
#include "mica/spiffeid.h"

static struct mica_slice repeat(char c, size_t n, const char *before)
{
	static char room[4096];
	size_t at = strlen(before);
	memcpy(room, before, at);
	memset(room + at, c, n);
	return mica_slice(room, at + n);
}

static void check_parse(struct mica_slice text, const char *reason)
{
	struct mica_spiffe_id id = {.text = MICA_SLICE_NULL};
	struct mica_err e = MICA_ERR_INIT;
	mica_rc rc = mica_spiffe_id_parse(text, &id, &e);
	if (reason == NULL) {
		assert_int_equal(rc, MICA_OK);
		assert_true(mica_slice_eq(id.text, text));
		return;
	}
	if (rc == MICA_OK)
		fail_msg("%.*s was taken", MICA_FMT(text));
	assert_int_equal(rc, MICA_INVALID);
	assert_string_equal(e.reason, reason);
	assert_true(e.text[0] != '\0');
	assert_null(id.text.p);
}

static void accepts_what_the_standard_allows(void **state)
{
	static const char *const good[] = {"spiffe://example.org", "spiffe://example.org/a",
		"spiffe://example.org/ns/payments/sa/checkout", "spiffe://a..b/x", "spiffe://-/x",
		"spiffe://_/x", "spiffe://./x", "spiffe://127.0.0.1/x", "spiffe://td/...",
		"spiffe://td/A-Z_0.9/.hidden", "spiffe://td/..a"};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(good); i++)
		check_parse(mica_slice_str(good[i]), NULL);
}

static void refuses_what_it_forbids(void **state)
{
	static const struct {
		const char *text, *reason;
	} bad[] = {
		{"", "spiffe_id_scheme"},
		{"spiffe", "spiffe_id_scheme"},
		{"spiffe:/td/x", "spiffe_id_scheme"},
		{"SPIFFE://td/x", "spiffe_id_scheme"},
		{"https://td/x", "spiffe_id_scheme"},
		{" spiffe://td/x", "spiffe_id_scheme"},
		{"spiffe://", "spiffe_id_trust_domain"},
		{"spiffe:///x", "spiffe_id_trust_domain"},
		{"spiffe://TD/x", "spiffe_id_trust_domain"},
		{"spiffe://td:443/x", "spiffe_id_trust_domain"},
		{"spiffe://u@td/x", "spiffe_id_trust_domain"},
		{"spiffe://u:p@td/x", "spiffe_id_trust_domain"},
		{"spiffe://t%64/x", "spiffe_id_trust_domain"},
		{"spiffe://[::1]/x", "spiffe_id_trust_domain"},
		{"spiffe://t\xc3\xa4/x", "spiffe_id_trust_domain"},
		{"spiffe://td ", "spiffe_id_trust_domain"},
		{"spiffe://td\\x", "spiffe_id_trust_domain"},
		{"spiffe://td/x?q", "spiffe_id_query"},
		{"spiffe://td?q", "spiffe_id_query"},
		{"spiffe://td/x?", "spiffe_id_query"},
		{"spiffe://td/x#f", "spiffe_id_fragment"},
		{"spiffe://td#", "spiffe_id_fragment"},
		{"spiffe://td/", "spiffe_id_path"},
		{"spiffe://td/x/", "spiffe_id_path"},
		{"spiffe://td//x", "spiffe_id_path"},
		{"spiffe://td/x//y", "spiffe_id_path"},
		{"spiffe://td/.", "spiffe_id_path"},
		{"spiffe://td/..", "spiffe_id_path"},
		{"spiffe://td/x/../y", "spiffe_id_path"},
		{"spiffe://td/./y", "spiffe_id_path"},
		{"spiffe://td/%41", "spiffe_id_path"},
		{"spiffe://td/x%2fy", "spiffe_id_path"},
		{"spiffe://td/x y", "spiffe_id_path"},
		{"spiffe://td/x:y", "spiffe_id_path"},
		{"spiffe://td/x\n", "spiffe_id_path"},
		{"spiffe://td/\xc3\xa4", "spiffe_id_path"},
	};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(bad); i++)
		check_parse(mica_slice_str(bad[i].text), bad[i].reason);
	check_parse(mica_slice("spiffe://td/x\0y", 15), "spiffe_id_path");
	check_parse(mica_slice("spiffe://t\0d/x", 14), "spiffe_id_trust_domain");
	check_parse(MICA_SLICE_NULL, "spiffe_id_scheme");
}

static void every_octet_has_one_answer(void **state)
{
	static const char td[] = "abcdefghijklmnopqrstuvwxyz0123456789.-_";
	char text[] = "spiffe://aXb/pYq";
	(void)state;
	for (unsigned c = 0; c < 256; c++) {
		struct mica_spiffe_id id;
		bool in_td = c && strchr(td, (int)c), upper = c >= 'A' && c <= 'Z';
		text[10] = (char)c;
		text[14] = 'Y';
		/* a '/' there makes another ID of it, which is good as well */
		assert_int_equal(mica_spiffe_id_parse(mica_slice(text, 16), &id, NULL) == MICA_OK,
			in_td || c == '/');
		text[10] = 'x';
		text[14] = (char)c;
		assert_int_equal(mica_spiffe_id_parse(mica_slice(text, 16), &id, NULL) == MICA_OK,
			in_td || upper || c == '/');
	}
}

static void bounds_are_exact(void **state)
{
	struct mica_slice s = repeat('a', 255, "spiffe://");
	(void)state;
	check_parse(s, NULL);
	check_parse(repeat('a', 256, "spiffe://"), "spiffe_id_trust_domain");
	check_parse(repeat('a', 2048 - 12, "spiffe://td/"), NULL);
	check_parse(repeat('a', 2049 - 12, "spiffe://td/"), "spiffe_id_too_long");
	assert_int_equal(mica_trust_domain_check(repeat('a', 255, ""), NULL), MICA_OK);
	assert_int_equal(mica_trust_domain_check(repeat('a', 256, ""), NULL), MICA_INVALID);
	assert_int_equal(mica_trust_domain_check(MICA_SLICE_NULL, NULL), MICA_INVALID);
}

static void takes_an_id_apart(void **state)
{
	struct mica_spiffe_id id;
	struct mica_slice rest, segment;
	(void)state;
	assert_int_equal(
		mica_spiffe_id_parse(MICA_LIT("spiffe://example.org/ns/a"), &id, NULL), MICA_OK);
	assert_true(mica_slice_eq_str(id.td, "example.org"));
	assert_true(mica_slice_eq_str(id.path, "/ns/a"));
	assert_true(mica_spiffe_id_member_of(&id, MICA_LIT("example.org")));
	assert_false(mica_spiffe_id_member_of(&id, MICA_LIT("example.or")));
	assert_false(mica_spiffe_id_member_of(&id, MICA_LIT("example.orgs")));
	rest = id.path;
	assert_true(mica_spiffe_next_segment(&rest, &segment));
	assert_true(mica_slice_eq_str(segment, "ns"));
	assert_true(mica_spiffe_next_segment(&rest, &segment));
	assert_true(mica_slice_eq_str(segment, "a"));
	assert_false(mica_spiffe_next_segment(&rest, &segment));
	assert_int_equal(mica_spiffe_id_parse(MICA_LIT("spiffe://td"), &id, NULL), MICA_OK);
	assert_int_equal(id.path.len, 0);
}

static void a_workload_has_a_path(void **state)
{
	struct mica_spiffe_id id;
	struct mica_err e = MICA_ERR_INIT;
	(void)state;
	assert_int_equal(
		mica_spiffe_id_parse_workload(MICA_LIT("spiffe://td/x"), &id, &e), MICA_OK);
	assert_int_equal(
		mica_spiffe_id_parse_workload(MICA_LIT("spiffe://td"), &id, &e), MICA_INVALID);
	assert_string_equal(e.reason, "spiffe_id_no_path");
}

static void makes_what_it_would_parse(void **state)
{
	char out[MICA_SPIFFE_ID_MAX + 1];
	struct mica_err e = MICA_ERR_INIT;
	(void)state;
	assert_int_equal(mica_spiffe_id_make(MICA_LIT("td"), MICA_LIT("/a/b"), out, &e), MICA_OK);
	assert_string_equal(out, "spiffe://td/a/b");
	assert_int_equal(mica_spiffe_id_make(MICA_LIT("td"), MICA_SLICE_NULL, out, &e), MICA_OK);
	assert_string_equal(out, "spiffe://td");
	assert_int_equal(mica_spiffe_id_make(MICA_LIT("td"), MICA_LIT("a"), out, &e), MICA_INVALID);
	assert_string_equal(e.reason, "spiffe_id_path");
	assert_int_equal(
		mica_spiffe_id_make(MICA_LIT("T"), MICA_LIT("/a"), out, NULL), MICA_INVALID);
	assert_int_equal(
		mica_spiffe_id_make(MICA_LIT("td"), repeat('a', 2048 - 12, "/"), out, NULL),
		MICA_OK);
	assert_int_equal(strlen(out), 2048);
	assert_int_equal(
		mica_spiffe_id_make(MICA_LIT("td"), repeat('a', 2049 - 12, "/"), out, NULL),
		MICA_INVALID);
}

static void knows_what_is_reserved(void **state)
{
	(void)state;
	assert_true(mica_spiffe_path_is_reserved(MICA_LIT("/mica")));
	assert_true(mica_spiffe_path_is_reserved(MICA_LIT("/mica/server")));
	assert_false(mica_spiffe_path_is_reserved(MICA_LIT("/micas/server")));
	assert_false(mica_spiffe_path_is_reserved(MICA_LIT("/Mica/server")));
	assert_false(mica_spiffe_path_is_reserved(MICA_LIT("/ns/mica")));
	assert_false(mica_spiffe_path_is_reserved(MICA_SLICE_NULL));
	assert_true(mica_spiffe_id_under(MICA_LIT("spiffe://td/a/b"), MICA_LIT("spiffe://td/a")));
	assert_true(mica_spiffe_id_under(MICA_LIT("spiffe://td/a/b"), MICA_LIT("spiffe://td/a/")));
	assert_true(mica_spiffe_id_under(MICA_LIT("spiffe://td/a"), MICA_LIT("spiffe://td/a")));
	assert_false(mica_spiffe_id_under(MICA_LIT("spiffe://td/ab"), MICA_LIT("spiffe://td/a")));
	assert_false(mica_spiffe_id_under(MICA_LIT("spiffe://td/a"), MICA_SLICE_NULL));
}

static void dns_names_are_strict(void **state)
{
	static const char *const good[] = {"a", "a.b", "checkout.payments.svc",
		"checkout.payments.svc.cluster.local", "1a.b", "a-b.c--d", "xn--a.b", "1.2.3.4a"};
	static const char *const bad[] = {"", ".", "a.", ".a", "a..b", "-a", "a-", "a.-b", "A.b",
		"*.a", "a_b", "a b", "127.0.0.1", "a.1", "a/b", "\xc3\xa4", "::1"};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(good); i++)
		if (mica_dns_name_check(mica_slice_str(good[i]), NULL))
			fail_msg("%s was refused", good[i]);
	for (size_t i = 0; i < MICA_ARRAY_LEN(bad); i++) {
		struct mica_err e = MICA_ERR_INIT;
		if (mica_dns_name_check(mica_slice_str(bad[i]), &e) != MICA_INVALID)
			fail_msg("%s was taken", bad[i]);
		assert_string_equal(e.reason, "dns_name_invalid");
	}
	assert_int_equal(mica_dns_name_check(repeat('a', 63, "b."), NULL), MICA_OK);
	assert_int_equal(mica_dns_name_check(repeat('a', 64, "b."), NULL), MICA_INVALID);
	char room[260];
	memset(room, 'a', sizeof(room));
	for (size_t i = 60; i < sizeof(room); i += 60)
		room[i] = '.';
	assert_int_equal(mica_dns_name_check(mica_slice(room, 253), NULL), MICA_OK);
	assert_int_equal(mica_dns_name_check(mica_slice(room, 254), NULL), MICA_INVALID);
}

static void kubernetes_names(void **state)
{
	(void)state;
	assert_true(mica_k8s_label_ok(MICA_LIT("kube-system")));
	assert_false(mica_k8s_label_ok(MICA_LIT("a.b")));
	assert_false(mica_k8s_label_ok(repeat('a', 64, "")));
	assert_true(mica_k8s_subdomain_ok(MICA_LIT("a.b-c.d")));
	assert_true(mica_k8s_subdomain_ok(MICA_LIT("1")));
	assert_true(mica_k8s_subdomain_ok(repeat('a', 253, "")));
	assert_false(mica_k8s_subdomain_ok(repeat('a', 254, "")));
	static const char *const bad[] = {"", ".a", "a.", "a..b", "-a", "a-", "a.-b", "a-.b", "A",
		"a_b", "a/b", "a%2fb", ".."};
	for (size_t i = 0; i < MICA_ARRAY_LEN(bad); i++)
		if (mica_k8s_subdomain_ok(mica_slice_str(bad[i])))
			fail_msg("%s was taken", bad[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accepts_what_the_standard_allows),
		cmocka_unit_test(refuses_what_it_forbids),
		cmocka_unit_test(every_octet_has_one_answer),
		cmocka_unit_test(bounds_are_exact),
		cmocka_unit_test(takes_an_id_apart),
		cmocka_unit_test(a_workload_has_a_path),
		cmocka_unit_test(makes_what_it_would_parse),
		cmocka_unit_test(knows_what_is_reserved),
		cmocka_unit_test(dns_names_are_strict),
		cmocka_unit_test(kubernetes_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
