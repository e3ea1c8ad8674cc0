/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Templates and patterns. The input is parts between NULs: two templates, then values. What a
 * template makes it takes back, other values make another name, and what is called disjoint stays
 * apart.
 */
#include "mica/mem.h"
#include "mica/spiffeid.h"
#include "mica/template.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FIELDS 6
#define PARTS  (2 + 2 * FIELDS)

static const struct mica_template_field fields[FIELDS] = {
	{.name = "namespace", .charset = "a-z0-9-"},
	{.name = "serviceaccount", .charset = "a-z0-9.-"},
	{.name = "any"},
	{.name = "digits", .charset = "0-9"},
	{.name = "cluster", .constant = "prod"},
	{.name = "none", .constant = ""},
};

static void require(bool ok)
{
	if (!ok)
		abort();
}

static struct mica_template *compile(enum mica_template_kind kind, struct mica_slice text)
{
	struct mica_template *t = NULL;
	struct mica_err e = MICA_ERR_INIT;

	if (mica_template_compile(kind, text, fields, FIELDS, &t, &e)) {
		require(t == NULL && e.rc == MICA_INVALID);
		require(strncmp(e.reason, "template_", 9) == 0 && e.text[0] != '\0');
		return NULL;
	}
	require(mica_slice_eq_str(text, mica_template_text(t)));
	require(mica_template_same(t, t));
	require(mica_template_disjoint(t, t, NULL) != MICA_OK);
	return t;
}

static void check_name(
	enum mica_template_kind kind, const struct mica_template *t, struct mica_slice name)
{
	require(mica_template_matches(t, name));
	require(mica_slice_has_prefix(name, mica_template_prefix(t)));
	if (kind == MICA_TEMPLATE_DNS) {
		require(mica_dns_name_check(name, NULL) == MICA_OK);
		return;
	}
	require(name.len > 0 && mica_spiffe_path_check(name, NULL) == MICA_OK);
	require(!mica_spiffe_path_is_reserved(name));
}

/* The name, or false; `out` has room for any. */
static bool expand(enum mica_template_kind kind, const struct mica_template *t,
	const struct mica_slice *v, char out[MICA_SPIFFE_ID_MAX + 1], struct mica_slice *name)
{
	struct mica_err e = MICA_ERR_INIT;
	size_t len = 0;

	if (t == NULL)
		return false;
	if (mica_template_expand(t, v, FIELDS, out, MICA_SPIFFE_ID_MAX + 1, &len, &e)) {
		require(e.rc == MICA_DENIED && strncmp(e.reason, "name_", 5) == 0);
		return false;
	}
	require(len <= MICA_SPIFFE_ID_MAX && out[len] == '\0' && strlen(out) == len);
	*name = mica_slice(out, len);
	check_name(kind, t, *name);
	return true;
}

static bool same_values(
	const struct mica_template *t, const struct mica_slice *a, const struct mica_slice *b)
{
	for (size_t i = 0; i < FIELDS; i++)
		if (mica_template_uses(t, i) && !mica_slice_eq(a[i], b[i]))
			return false;
	return true;
}

static void check_templates(enum mica_template_kind kind, const struct mica_slice parts[PARTS])
{
	char room[3][MICA_SPIFFE_ID_MAX + 1];
	struct mica_slice name[3];
	MICA_AUTO_TEMPLATE a = compile(kind, parts[0]);
	MICA_AUTO_TEMPLATE b = compile(kind, parts[1]);
	bool one = expand(kind, a, parts + 2, room[0], &name[0]);
	bool two = expand(kind, a, parts + 2 + FIELDS, room[1], &name[1]);

	if (one && two)
		require(mica_slice_eq(name[0], name[1]) ==
			same_values(a, parts + 2, parts + 2 + FIELDS));
	if (a == NULL || b == NULL)
		return;
	bool apart = mica_template_disjoint(a, b, NULL) == MICA_OK;
	require(apart == (mica_template_disjoint(b, a, NULL) == MICA_OK));
	require(mica_template_same(a, b) == mica_template_same(b, a));
	require(!(apart && mica_template_same(a, b)));
	if (apart && one)
		require(!mica_template_matches(b, name[0]));
	if (expand(kind, b, parts + 2, room[2], &name[2]) && one && mica_template_same(a, b))
		require(mica_slice_eq(name[0], name[2]));
}

/* Injective, and nothing else is read back. */
static void check_encoding(enum mica_template_encoding enc, struct mica_slice in)
{
	char text[4 * MICA_TEMPLATE_VALUE_MAX];
	uint8_t back[4 * MICA_TEMPLATE_VALUE_MAX];
	size_t len = sizeof(text), n = sizeof(back);

	if (in.len <= MICA_TEMPLATE_VALUE_MAX &&
		mica_template_encode(enc, in, text, &len) == MICA_OK) {
		require(mica_template_decode(enc, mica_slice(text, len), back, &n) == MICA_OK);
		require(mica_slice_eq(in, mica_slice(back, n)));
	}
	n = sizeof(back);
	if (in.len <= sizeof(back) && mica_template_decode(enc, in, back, &n) == MICA_OK) {
		len = sizeof(text);
		require(mica_template_encode(enc, mica_slice(back, n), text, &len) == MICA_OK);
		require(mica_slice_eq(in, mica_slice(text, len)));
	}
}

static void check_patterns(struct mica_slice pattern, struct mica_slice value)
{
	char text[2 * MICA_PATTERN_MAX], longer[MICA_PATTERN_MAX + 1];
	size_t n = 0;
	struct mica_pattern *fresh = NULL;

	if (mica_pattern_compile(pattern, &fresh, NULL) == MICA_OK) {
		MICA_AUTO_PATTERN p = fresh;
		(void)mica_pattern_match(p, value);
		require(pattern.len <= MICA_PATTERN_MAX);
	}
	if (value.len > 60)
		return;
	/* a value with each special octet escaped matches itself and nothing longer or shorter */
	for (size_t i = 0; i < value.len; i++) {
		if (value.p[i] && strchr("*?[]\\+", value.p[i]))
			text[n++] = '\\';
		longer[i] = text[n++] = (char)value.p[i];
	}
	fresh = NULL;
	if (mica_pattern_compile(mica_slice(text, n), &fresh, NULL))
		return;
	MICA_AUTO_PATTERN p = fresh;
	longer[value.len] = 'x';
	require(mica_pattern_match(p, value));
	require(!mica_pattern_match(p, mica_slice(longer, value.len + 1)));
	require(value.len == 0 || !mica_pattern_match(p, mica_slice(longer, value.len - 1)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mica_slice rest = mica_slice(data, size), parts[PARTS];

	for (size_t i = 0; i < PARTS; i++)
		mica_slice_cut(&rest, '\0', &parts[i]);
	check_templates(MICA_TEMPLATE_PATH, parts);
	check_templates(MICA_TEMPLATE_DNS, parts);
	for (int enc = MICA_ENC_NONE; enc < MICA_ENC_COUNT; enc++)
		check_encoding((enum mica_template_encoding)enc, mica_slice(data, size));
	check_patterns(parts[0], parts[1]);
	return 0;
}
