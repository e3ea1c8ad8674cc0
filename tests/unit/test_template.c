/* SPDX-License-Identifier: Apache-2.0 */
/* Names from templates: one name from one set of values, and nobody else's. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <setjmp.h>
#include <cmocka.h>

#include "mica/mem.h"
#include "mica/spiffeid.h"
#include "mica/template.h"

/* A small generator with a fixed seed: the same run every time. */
static uint64_t seed = 0x9e3779b97f4a7c15;
static uint32_t rnd(uint32_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 33) % below;
}

static const struct mica_template_field fields[] = {
	{.name = "namespace", .charset = "a-z0-9-"},
	{.name = "serviceaccount", .charset = "a-z0-9.-"},
	{.name = "any"},
	{.name = "cluster", .constant = "prod"},
	{.name = "unnamed", .constant = ""},
	{.name = "evil", .constant = "a/b"},
	{.name = "own", .constant = "mica"},
};
enum { NS, SA, ANY };

static struct mica_template *compile(enum mica_template_kind kind, const char *text)
{
	struct mica_template *t = NULL;
	struct mica_err e = MICA_ERR_INIT;
	if (mica_template_compile(
		    kind, mica_slice_str(text), fields, MICA_ARRAY_LEN(fields), &t, &e))
		fail_msg("%s: %s", text, e.text);
	return t;
}

static const char *expand(const struct mica_template *t, const char *ns, const char *sa,
	const char *any, char out[2100])
{
	struct mica_slice v[MICA_ARRAY_LEN(fields)] = {
		mica_slice_str(ns), mica_slice_str(sa), mica_slice_str(any)};
	struct mica_err e = MICA_ERR_INIT;
	size_t len = 0;
	if (mica_template_expand(t, v, MICA_ARRAY_LEN(v), out, 2100, &len, &e)) {
		assert_string_equal(out, "");
		assert_int_equal(e.rc, MICA_DENIED);
		return e.reason;
	}
	assert_int_equal(strlen(out), len);
	assert_true(mica_template_matches(t, mica_slice(out, len)));
	return out;
}

static void expands_paths(void **state)
{
	MICA_AUTO_TEMPLATE t =
		compile(MICA_TEMPLATE_PATH, "/{cluster}/ns/{namespace}/sa/{serviceaccount}");
	char out[2100];
	(void)state;
	assert_string_equal(
		expand(t, "payments", "check.out", "", out), "/prod/ns/payments/sa/check.out");
	assert_true(mica_slice_eq_str(mica_template_prefix(t), "/prod/ns/"));
	assert_true(mica_template_uses(t, NS));
	assert_true(mica_template_uses(t, SA));
	assert_false(mica_template_uses(t, ANY));
	assert_false(mica_template_uses(t, 1000));
	assert_string_equal(mica_template_text(t), "/{cluster}/ns/{namespace}/sa/{serviceaccount}");
	MICA_AUTO_TEMPLATE same = compile(MICA_TEMPLATE_PATH, "/just/this");
	assert_true(mica_slice_eq_str(mica_template_prefix(same), "/just/this"));
	assert_string_equal(expand(same, "", "", "", out), "/just/this");
	MICA_AUTO_TEMPLATE joined =
		compile(MICA_TEMPLATE_PATH, "/x/a_{namespace}_b_{serviceaccount}");
	assert_string_equal(expand(joined, "n", "s.t", "", out), "/x/a_n_b_s.t");
	assert_true(mica_slice_eq_str(mica_template_prefix(joined), "/x/"));
}

static void expands_dns_names(void **state)
{
	MICA_AUTO_TEMPLATE t = compile(MICA_TEMPLATE_DNS, "{serviceaccount}.{namespace}.svc");
	char out[2100], big[200];
	(void)state;
	assert_string_equal(expand(t, "payments", "checkout", "", out), "checkout.payments.svc");
	/* a dot would make two labels of it, and another service of another namespace */
	assert_string_equal(expand(t, "payments", "check.out", "", out), "name_value_invalid");
	assert_string_equal(expand(t, "-a", "b", "", out), "name_value_invalid");
	assert_string_equal(expand(t, "a-", "b", "", out), "name_value_invalid");
	assert_string_equal(expand(t, "", "b", "", out), "name_value_missing");
	memset(big, 'a', sizeof(big));
	big[64] = '\0';
	assert_string_equal(expand(t, big, "b", "", out), "name_value_invalid");
	assert_true(mica_slice_eq_str(mica_template_prefix(t), ""));
	assert_false(mica_template_matches(t, MICA_LIT("a.b.svc.c")));
	assert_false(mica_template_matches(t, MICA_LIT("a.b")));
	assert_false(mica_template_matches(t, MICA_LIT("a.b.SVC")));
	MICA_AUTO_TEMPLATE digits = compile(MICA_TEMPLATE_DNS, "svc.{namespace}");
	assert_string_equal(expand(digits, "1", "", "", out), "name_value_invalid");
	MICA_AUTO_TEMPLATE hex = compile(MICA_TEMPLATE_DNS, "h-{any|hex}-x.svc");
	assert_string_equal(expand(hex, "", "", "A/b", out), "h-412f62-x.svc");
	MICA_AUTO_TEMPLATE wide =
		compile(MICA_TEMPLATE_DNS, "{any}.{any}.{any}.{any}.aaaaaaaaaaaaaaaaaaaaaaaaaaa.b");
	big[60] = '\0';
	assert_string_equal(expand(wide, "", "", big, out), "name_too_long");
}

static void refuses_values(void **state)
{
	MICA_AUTO_TEMPLATE t = compile(MICA_TEMPLATE_PATH, "/x/{any}");
	char out[2100], big[1100];
	static const char *const bad[] = {
		"a/b", "..", ".", "a b", "a%2f", "a:b", "\xc3\xa4", "a\n"};
	(void)state;
	assert_string_equal(expand(t, "", "", "Ok.-_9", out), "/x/Ok.-_9");
	for (size_t i = 0; i < MICA_ARRAY_LEN(bad); i++)
		assert_string_equal(expand(t, "", "", bad[i], out), "name_value_invalid");
	assert_string_equal(expand(t, "", "", "", out), "name_value_missing");
	memset(big, 'a', sizeof(big));
	big[sizeof(big) - 1] = '\0';
	assert_string_equal(expand(t, "", "", big, out), "name_too_long");
	MICA_AUTO_TEMPLATE two = compile(MICA_TEMPLATE_PATH, "/{any}/{any}/{any}");
	big[1000] = '\0';
	assert_string_equal(expand(two, "", "", big, out), "name_too_long");
	MICA_AUTO_TEMPLATE first = compile(MICA_TEMPLATE_PATH, "/{any}/x");
	assert_string_equal(expand(first, "", "", "mica", out), "name_reserved");
	assert_string_equal(expand(first, "", "", "micas", out), "/micas/x");
	assert_false(mica_template_matches(first, MICA_LIT("/mica/x")));
	struct mica_slice v[MICA_ARRAY_LEN(fields)] = {[ANY] = MICA_LIT("abcd")};
	struct mica_err e = MICA_ERR_INIT;
	char small[7];
	assert_int_equal(
		mica_template_expand(t, v, MICA_ARRAY_LEN(v), small, sizeof(small), NULL, &e),
		MICA_DENIED);
	assert_string_equal(e.reason, "name_too_long");
	char fits[8];
	assert_int_equal(
		mica_template_expand(t, v, MICA_ARRAY_LEN(v), fits, sizeof(fits), NULL, &e),
		MICA_OK);
	assert_string_equal(fits, "/x/abcd");
	mica_err_clear(&e);
	assert_int_equal(
		mica_template_expand(t, v, 1, fits, sizeof(fits), NULL, &e), MICA_INTERNAL);
	v[ANY] = mica_slice("a\0b", 3);
	mica_err_clear(&e);
	assert_int_equal(
		mica_template_expand(t, v, MICA_ARRAY_LEN(v), fits, sizeof(fits), NULL, &e),
		MICA_DENIED);
}

static void refuses_templates(void **state)
{
	static const struct {
		enum mica_template_kind kind;
		const char *text, *reason;
	} bad[] = {
		{MICA_TEMPLATE_PATH, "", "template_syntax"},
		{MICA_TEMPLATE_PATH, "/", "template_syntax"},
		{MICA_TEMPLATE_PATH, "ns/{namespace}", "template_syntax"},
		{MICA_TEMPLATE_PATH, "/ns//x", "template_syntax"},
		{MICA_TEMPLATE_PATH, "/ns/", "template_syntax"},
		{MICA_TEMPLATE_PATH, "/ns/..", "template_syntax"},
		{MICA_TEMPLATE_PATH, "/./x", "template_syntax"},
		{MICA_TEMPLATE_PATH, "/n s", "template_syntax"},
		{MICA_TEMPLATE_PATH, "/n%41", "template_syntax"},
		{MICA_TEMPLATE_PATH, "/ns/{namespace", "template_syntax"},
		{MICA_TEMPLATE_PATH, "/ns/namespace}", "template_syntax"},
		{MICA_TEMPLATE_PATH, "/ns/{}", "template_unknown_field"},
		{MICA_TEMPLATE_PATH, "/ns/{nope}", "template_unknown_field"},
		{MICA_TEMPLATE_PATH, "/ns/{Namespace}", "template_unknown_field"},
		{MICA_TEMPLATE_PATH, "/ns/{ namespace}", "template_unknown_field"},
		{MICA_TEMPLATE_PATH, "/ns/{namespace|rot13}", "template_unknown_encoding"},
		{MICA_TEMPLATE_PATH, "/ns/{namespace|}", "template_unknown_encoding"},
		{MICA_TEMPLATE_PATH, "/ns/{unnamed}", "template_syntax"},
		{MICA_TEMPLATE_PATH, "/ns/{evil}", "template_syntax"},
		{MICA_TEMPLATE_PATH, "/ns/{cluster|hex}", "template_syntax"},
		{MICA_TEMPLATE_PATH, "/ns/{namespace}{serviceaccount}", "template_ambiguous"},
		{MICA_TEMPLATE_PATH, "/ns/{namespace}-{serviceaccount}", "template_ambiguous"},
		{MICA_TEMPLATE_PATH, "/ns/{namespace}.{serviceaccount}", "template_ambiguous"},
		{MICA_TEMPLATE_PATH, "/ns/x{namespace}", "template_ambiguous"},
		{MICA_TEMPLATE_PATH, "/ns/x-{namespace}", "template_ambiguous"},
		{MICA_TEMPLATE_PATH, "/ns/{any}_x", "template_ambiguous"},
		{MICA_TEMPLATE_PATH, "/ns/{any|hex}a", "template_ambiguous"},
		{MICA_TEMPLATE_PATH, "/mica/{namespace}", "template_reserved"},
		{MICA_TEMPLATE_PATH, "/mica", "template_reserved"},
		{MICA_TEMPLATE_PATH, "/{own}/{namespace}", "template_reserved"},
		{MICA_TEMPLATE_DNS, "*.{namespace}.svc", "template_syntax"},
		{MICA_TEMPLATE_DNS, "{namespace}.SVC", "template_syntax"},
		{MICA_TEMPLATE_DNS, "{namespace}.svc.", "template_syntax"},
		{MICA_TEMPLATE_DNS, ".{namespace}", "template_syntax"},
		{MICA_TEMPLATE_DNS, "{namespace}.-a", "template_syntax"},
		{MICA_TEMPLATE_DNS, "{any|escape}.svc", "template_unknown_encoding"},
		{MICA_TEMPLATE_DNS, "{namespace}-{serviceaccount}.svc", "template_ambiguous"},
	};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(bad); i++) {
		struct mica_template *t = NULL;
		struct mica_err e = MICA_ERR_INIT;
		if (mica_template_compile(bad[i].kind, mica_slice_str(bad[i].text), fields,
			    MICA_ARRAY_LEN(fields), &t, &e) != MICA_INVALID)
			fail_msg("%s was taken", bad[i].text);
		assert_null(t);
		if (strcmp(e.reason, bad[i].reason) != 0)
			fail_msg("%s: %s, expected %s", bad[i].text, e.reason, bad[i].reason);
		assert_true(e.text[0] != '\0');
	}
	char big[MICA_TEMPLATE_MAX + 2];
	struct mica_template *t = NULL;
	struct mica_err e = MICA_ERR_INIT;
	memset(big, 'a', sizeof(big));
	big[0] = '/';
	assert_int_equal(mica_template_compile(MICA_TEMPLATE_PATH,
				 mica_slice(big, MICA_TEMPLATE_MAX + 1), fields, 1, &t, &e),
		MICA_INVALID);
	assert_string_equal(e.reason, "template_too_long");
	mica_err_clear(&e);
	for (size_t i = 0; i < 100; i += 2)
		big[i] = '/';
	assert_int_equal(
		mica_template_compile(MICA_TEMPLATE_PATH, mica_slice(big, 66), fields, 1, &t, &e),
		MICA_INVALID);
	assert_string_equal(e.reason, "template_syntax");
}

static void encodes(void **state)
{
	static const struct {
		enum mica_template_encoding enc;
		const char *value, *text;
	} is[] = {
		{MICA_ENC_ESCAPE, "a/b_c", "a_2fb__c"},
		{MICA_ENC_ESCAPE, ".", "_2e"},
		{MICA_ENC_ESCAPE, "..", "_2e."},
		{MICA_ENC_ESCAPE, "_", "__"},
		{MICA_ENC_ESCAPE, "\xc3\xa4", "_c3_a4"},
		{MICA_ENC_ESCAPE, "A.b-9", "A.b-9"},
		{MICA_ENC_HEX, "a/", "612f"},
		{MICA_ENC_HEX, "..", "2e2e"},
	};
	/* what the encoder never writes */
	static const char *const not_escape[] = {
		"_61", "_2E", "_", "_2", "_5f", "a_2e", ".", ".a", "a/b", "_g0", "_-", "_2d"};
	static const char *const not_hex[] = {"a", "AB", "0g", "2f2"};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(is); i++) {
		char out[64];
		uint8_t back[64];
		size_t len = sizeof(out), back_len = sizeof(back);
		assert_int_equal(
			mica_template_encode(is[i].enc, mica_slice_str(is[i].value), out, &len),
			MICA_OK);
		assert_true(mica_slice_eq_str(mica_slice(out, len), is[i].text));
		assert_int_equal(
			mica_template_decode(is[i].enc, mica_slice(out, len), back, &back_len),
			MICA_OK);
		assert_true(mica_slice_eq_str(mica_slice(back, back_len), is[i].value));
		len--;
		assert_int_equal(
			mica_template_encode(is[i].enc, mica_slice_str(is[i].value), out, &len),
			MICA_LIMIT);
	}
	for (size_t i = 0; i < MICA_ARRAY_LEN(not_escape); i++) {
		uint8_t back[64];
		size_t len = sizeof(back);
		if (mica_template_decode(MICA_ENC_ESCAPE, mica_slice_str(not_escape[i]), back,
			    &len) != MICA_INVALID)
			fail_msg("%s was decoded", not_escape[i]);
	}
	for (size_t i = 0; i < MICA_ARRAY_LEN(not_hex); i++) {
		uint8_t back[64];
		size_t len = sizeof(back);
		assert_int_equal(
			mica_template_decode(MICA_ENC_HEX, mica_slice_str(not_hex[i]), back, &len),
			MICA_INVALID);
	}
}

/* Octets that are likely to meet: few of them, and those with a meaning. */
static size_t any_value(uint8_t out[8])
{
	static const uint8_t octets[] = {'_', '.', '/', '2', 'e', 'f', 'a', '-', 0xc3, 0, '5'};
	size_t n = 1 + rnd(7);
	for (size_t i = 0; i < n; i++)
		out[i] = octets[rnd(sizeof(octets))];
	return n;
}

/* decode(encode(v)) = v for all v makes the encoding injective; what decodes also encodes back. */
static void encodings_are_injective(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 100000; i++) {
		enum mica_template_encoding enc = i & 1 ? MICA_ENC_ESCAPE : MICA_ENC_HEX;
		uint8_t v[8], back[32];
		char out[32];
		size_t n = any_value(v), len = sizeof(out), back_len = sizeof(back);
		assert_int_equal(mica_template_encode(enc, mica_slice(v, n), out, &len), MICA_OK);
		assert_true(mica_spiffe_segment_ok(mica_slice(out, len)));
		assert_int_equal(
			mica_template_decode(enc, mica_slice(out, len), back, &back_len), MICA_OK);
		assert_true(mica_slice_eq(mica_slice(v, n), mica_slice(back, back_len)));
		back_len = sizeof(back);
		if (mica_template_decode(enc, mica_slice(v, n), back, &back_len) == MICA_OK) {
			len = sizeof(out);
			assert_int_equal(
				mica_template_encode(enc, mica_slice(back, back_len), out, &len),
				MICA_OK);
			assert_true(mica_slice_eq(mica_slice(out, len), mica_slice(v, n)));
		}
	}
}

static const char *const shapes[] = {"/ns/{namespace}/sa/{serviceaccount}",
	"/ns/{namespace}/x_{serviceaccount}", "/{namespace}_{serviceaccount}/x", "/ns/{any}",
	"/ns/{any|escape}/{namespace}", "/ns/{any|hex}_{namespace}", "/a/{any}/b", "/ns/sa/{any}",
	"/{any}/sa/{any|escape}", "/ns/{namespace}_sa_{serviceaccount}/x"};

static void random_values(char ns[8], char sa[8], char any[16])
{
	static const char few[] = "ab-0._", k8s[] = "ab0-.";
	size_t n = 1 + rnd(4);
	for (size_t i = 0; i < n; i++)
		ns[i] = "ab0-"[rnd(4)];
	ns[n] = '\0';
	n = 1 + rnd(4);
	for (size_t i = 0; i < n; i++)
		sa[i] = k8s[rnd(5)];
	sa[n] = '\0';
	n = 1 + rnd(5);
	for (size_t i = 0; i < n; i++)
		any[i] = few[rnd(6)];
	any[n] = '\0';
}

/* Equal names come from equal values: of whatever the template uses. */
static void templates_are_injective(void **state)
{
	(void)state;
	for (size_t s = 0; s < MICA_ARRAY_LEN(shapes); s++) {
		MICA_AUTO_TEMPLATE t = compile(MICA_TEMPLATE_PATH, shapes[s]);
		for (unsigned i = 0; i < 4000; i++) {
			char v[2][3][16], out[2][2100];
			const char *r[2];
			random_values(v[0][0], v[0][1], v[0][2]);
			random_values(v[1][0], v[1][1], v[1][2]);
			for (int k = 0; k < 2; k++)
				r[k] = expand(t, v[k][0], v[k][1], v[k][2], out[k]);
			if (r[0] != out[0] || r[1] != out[1] || strcmp(r[0], r[1]) != 0)
				continue;
			for (size_t f = 0; f < 3; f++)
				if (mica_template_uses(t, f))
					assert_string_equal(v[0][f], v[1][f]);
		}
	}
}

/* What is called disjoint never meets; what one makes, the other does not match. */
static void disjoint_templates_never_meet(void **state)
{
	unsigned pairs = 0;
	(void)state;
	for (size_t a = 0; a < MICA_ARRAY_LEN(shapes); a++)
		for (size_t b = 0; b < MICA_ARRAY_LEN(shapes); b++) {
			MICA_AUTO_TEMPLATE x = compile(MICA_TEMPLATE_PATH, shapes[a]);
			MICA_AUTO_TEMPLATE y = compile(MICA_TEMPLATE_PATH, shapes[b]);
			bool apart = mica_template_disjoint(x, y, NULL) == MICA_OK;
			assert_int_equal(apart, mica_template_disjoint(y, x, NULL) == MICA_OK);
			assert_int_equal(mica_template_same(x, y), a == b);
			pairs += apart;
			for (unsigned i = 0; apart && i < 300; i++) {
				char ns[8], sa[8], any[16], out[2100];
				random_values(ns, sa, any);
				if (expand(x, ns, sa, any, out) == out)
					assert_false(mica_template_matches(y, mica_slice_str(out)));
			}
		}
	assert_true(pairs > 10);
}

static void says_what_overlaps(void **state)
{
	static const struct {
		const char *a, *b;
		bool apart;
	} is[] = {
		{"/ns/{namespace}/sa/{any}", "/ns/{namespace}/sa/{any}", false},
		{"/a/{any}", "/b/{any}", true},
		{"/a/{any}", "/{any}/b", false},
		{"/a/{any}/x", "/a/{any}/y", true},
		{"/{any}", "/{any}/x", false}, /* one below the other */
		{"/a", "/a/b", false},
		{"/a_{namespace}", "/b_{namespace}", false}, /* no literal segment */
		{"/{cluster}/{any}", "/prod/{any}", false},
		{"/{cluster}/{any}", "/test/{any}", true},
	};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(is); i++) {
		MICA_AUTO_TEMPLATE x = compile(MICA_TEMPLATE_PATH, is[i].a);
		MICA_AUTO_TEMPLATE y = compile(MICA_TEMPLATE_PATH, is[i].b);
		struct mica_err e = MICA_ERR_INIT;
		assert_int_equal(mica_template_disjoint(x, y, &e) == MICA_OK, is[i].apart);
		if (!is[i].apart)
			assert_string_equal(e.reason, "names_overlap");
	}
}

static void matches_its_own_names_only(void **state)
{
	MICA_AUTO_TEMPLATE t = compile(MICA_TEMPLATE_PATH, "/ns/{namespace}/sa/{any|escape}");
	static const struct {
		const char *path;
		bool yes;
	} is[] = {{"/ns/a/sa/b", true}, {"/ns/a/sa/_2e", true}, {"/ns/a/sa/_61", false},
		{"/ns/A/sa/b", false}, {"/ns/a.b/sa/b", false}, {"/ns/a/sa", false},
		{"/ns/a/sa/b/c", false}, {"/ns/a/sb/b", false}, {"/ns/a/sa/", false},
		{"ns/a/sa/b", false}, {"/ns//sa/b", false}, {"", false}, {"/", false},
		{"/ns/a/sa/%41", false}, {"/nsx/a/sa/b", false}};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(is); i++)
		if (mica_template_matches(t, mica_slice_str(is[i].path)) != is[i].yes)
			fail_msg("%s: %d", is[i].path, !is[i].yes);
}

static void patterns(void **state)
{
	static const struct {
		const char *pattern, *value;
		bool yes;
	} is[] = {
		{"main", "main", true},
		{"main", "main2", false},
		{"main", "xmain", false},
		{"*", "", true},
		{"*", "any/thing", true},
		{"acme/*", "acme/", true},
		{"acme/*", "acme", false},
		{"acme/*", "acmex/y", false},
		{"*/main", "a/b/main", true},
		{"?", "a", true},
		{"?", "", false},
		{"?", "ab", false},
		{"a*b*c", "a--b--c", true},
		{"a*b*c", "a--c--b", false},
		{"[a-z]", "m", true},
		{"[a-z]", "M", false},
		{"[a-z]+", "", false},
		{"[a-z]+", "abc", true},
		{"[a-z]*x", "x", true},
		{"[a-z]*x", "abx", true},
		{"[^/]+", "a.b", true},
		{"[^/]+", "a/b", false},
		{"acme/[^/]+", "acme/shop", true},
		{"acme/[^/]+", "acme/shop/x", false},
		{"\\*", "*", true},
		{"\\*", "a", false},
		{"[]a]", "a]", false},
		{"[\\]a]+", "]a", true},
		{"[a-]+", "a-", true},
		{"v[0-9]+.[0-9]+", "v1.22", true},
		{"v[0-9]+.[0-9]+", "v1x2", false},
	};
	static const char *const bad[] = {
		"", "[", "[]", "[a", "a]", "+", "a+", "\\", "\\a", "[z-a]", "[^]", "[a-\\]]"};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(is); i++) {
		MICA_AUTO_PATTERN p = NULL;
		struct mica_err e = MICA_ERR_INIT;
		if (strcmp(is[i].pattern, "[]a]") == 0) {
			assert_int_equal(
				mica_pattern_compile(mica_slice_str(is[i].pattern), &p, &e),
				MICA_INVALID);
			continue;
		}
		if (mica_pattern_compile(mica_slice_str(is[i].pattern), &p, &e))
			fail_msg("%s: %s", is[i].pattern, e.text);
		if (mica_pattern_match(p, mica_slice_str(is[i].value)) != is[i].yes)
			fail_msg("%s on %s", is[i].pattern, is[i].value);
	}
	for (size_t i = 0; i < MICA_ARRAY_LEN(bad); i++) {
		MICA_AUTO_PATTERN p = NULL;
		struct mica_err e = MICA_ERR_INIT;
		if (mica_pattern_compile(mica_slice_str(bad[i]), &p, &e) != MICA_INVALID)
			fail_msg("%s was taken", bad[i]);
		assert_string_equal(e.reason, "pattern_invalid");
	}
	MICA_AUTO_PATTERN p = NULL;
	char atoms[80];
	memset(atoms, 'a', sizeof(atoms));
	assert_int_equal(mica_pattern_compile(mica_slice(atoms, 63), &p, NULL), MICA_OK);
	assert_true(mica_pattern_match(p, mica_slice(atoms, 63)));
	MICA_AUTO_PATTERN q = NULL;
	assert_int_equal(mica_pattern_compile(mica_slice(atoms, 64), &q, NULL), MICA_INVALID);
}

/* The kind of pattern that ruins a backtracking engine. */
static void patterns_take_linear_time(void **state)
{
	MICA_AUTO_PATTERN p = NULL;
	MICA_AUTO_FREE char *value = mica_alloc(1 << 20);
	(void)state;
	assert_int_equal(
		mica_pattern_compile(
			MICA_LIT("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b"), &p, NULL),
		MICA_OK);
	memset(value, 'a', 1 << 20);
	assert_false(mica_pattern_match(p, mica_slice(value, 1 << 20)));
}

static void a_principal_has_its_fields(void **state)
{
	static const struct mica_principal p = {
		.issuer = "prod", .cluster = "c1", .ns = "n", .sa = "s", .pod = "p", .node = "w"};
	struct mica_slice v[MICA_PF_COUNT];
	struct mica_template *t = NULL;
	char out[2100];
	(void)state;
	mica_principal_values(&p, v);
	assert_int_equal(
		mica_template_compile(MICA_TEMPLATE_PATH,
			MICA_LIT("/{issuer}/{cluster}/{namespace}/{serviceaccount}/{pod}/{node}"),
			mica_principal_fields, MICA_PF_COUNT, &t, NULL),
		MICA_OK);
	assert_int_equal(
		mica_template_expand(t, v, MICA_PF_COUNT, out, sizeof(out), NULL, NULL), MICA_OK);
	assert_string_equal(out, "/prod/c1/n/s/p/w");
	mica_template_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(expands_paths),
		cmocka_unit_test(expands_dns_names),
		cmocka_unit_test(refuses_values),
		cmocka_unit_test(refuses_templates),
		cmocka_unit_test(encodes),
		cmocka_unit_test(encodings_are_injective),
		cmocka_unit_test(templates_are_injective),
		cmocka_unit_test(disjoint_templates_never_meet),
		cmocka_unit_test(says_what_overlaps),
		cmocka_unit_test(matches_its_own_names_only),
		cmocka_unit_test(patterns),
		cmocka_unit_test(patterns_take_linear_time),
		cmocka_unit_test(a_principal_has_its_fields),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
