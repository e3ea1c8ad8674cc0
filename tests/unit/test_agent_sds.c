/* SPDX-License-Identifier: Apache-2.0 */
/* What Envoys ask for, what their names mean, and what the secrets look like that they get. */
#include "agentpki.h"

#include "agent/sds_request.h"
#include "agent/sds_secret.h"
#include "agent/wire.h"

#include <stdio.h>

#define SHOP  "spiffe://" TD "/ns/shop/sa/web"
#define OTHER "spiffe://" TD "/ns/shop/sa/other"
#define ALL   UINT32_C(7)

struct world {
	struct pki p;
	struct agent_config *c;
	struct keep_view v; /* identities 0 and 1 have an SVID, 2 has none yet */
};

static int setup(void **state)
{
	static const char text[] =
		"trust_domain: " TD "\nmicad: {url: \"https://m\", bootstrap_file: /r}\n"
		"sds:\n  names:\n"
		"    - {name: cert:8080, is: \"" SHOP "\"}\n"
		"    - {name: roots, is: ROOTCA}\n"
		"    - {name: mine, is: default}\n"
		"    - {name: \"" OTHER "\", is: \"" SHOP "\"}\n"
		"identities:\n"
		"  - {name: a, token_file: /t, allow: {any: true}}\n"
		"  - {name: b, token_file: /t, allow: {any: true}}\n"
		"  - {name: c, token_file: /t, allow: {any: true}}\n";
	struct world *w = MICA_NEW(struct world);
	struct mica_slice root;

	assert_ok(agent_config_parse(mica_slice_str(text), NULL, &w->c, e));
	pki_init(&w->p, MICA_KN_P256);
	root = mica_buf_slice(&w->p.root_der);
	w->v.trust = agent_bundle(&root, 1, 7);
	w->v.svid[0] = agent_svid(&w->p, ID);
	w->v.svid[1] = agent_svid(&w->p, SHOP);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	keep_view_clear(&w->v);
	agent_config_free(w->c);
	pki_clear(&w->p);
	mica_free(w);
	return 0;
}

/* ---- names --------------------------------------------------------------------------------- */

static void names(void **state)
{
	static const struct {
		uint32_t mask;
		const char *name;
		enum sds_kind kind;
		unsigned identity;
	} rows[] = {
		{ALL, "default", SDS_CERTIFICATE, 0},
		{6, "default", SDS_CERTIFICATE, 1}, /* the first that this peer may use */
		{4, "default", SDS_NONE, 0}, /* it has none yet: another's would be wrong */
		{ALL, ID, SDS_CERTIFICATE, 0},
		{ALL, SHOP, SDS_CERTIFICATE, 1},
		{1, SHOP, SDS_NONE, 0}, /* somebody else's */
		{0, "default", SDS_NONE, 0},
		{ALL, "cert:8080", SDS_CERTIFICATE, 1},
		{1, "cert:8080", SDS_NONE, 0}, /* a mapping gives nobody more than he may use */
		{ALL, "mine", SDS_CERTIFICATE, 0},
		{ALL, OTHER, SDS_CERTIFICATE, 1},
		{1, "roots", SDS_BUNDLE, 0},
		{1, "ROOTCA", SDS_BUNDLE, 0},
		{1, "spiffe://" TD, SDS_BUNDLE, 0},
		{1, "ALL", SDS_ALL_BUNDLES, 0},
		{ALL, "rootca", SDS_NONE, 0},
		{ALL, "", SDS_NONE, 0},
		{ALL, "spiffe://other.org", SDS_NONE, 0},
		{ALL, ID "/", SDS_NONE, 0},
	};
	struct world *w = *state;

	for (size_t i = 0; i < MICA_ARRAY_LEN(rows); i++) {
		const struct sds_meaning m =
			sds_resolve(w->c, &w->v, rows[i].mask, mica_slice_str(rows[i].name));

		if (m.kind != rows[i].kind)
			fail_msg("%s for %x: %d", rows[i].name, rows[i].mask, m.kind);
		if (m.kind == SDS_CERTIFICATE)
			assert_int_equal(m.identity, rows[i].identity);
	}
}

static void before_there_is_anything(void **state)
{
	static const char *const all[] = {"default", "ROOTCA", "ALL", ID, "spiffe://" TD, "roots"};
	const struct keep_view none = {.version = 0};
	struct world *w = *state;

	for (size_t i = 0; i < MICA_ARRAY_LEN(all); i++)
		assert_int_equal(
			sds_resolve(w->c, &none, ALL, mica_slice_str(all[i])).kind, SDS_NONE);
}

static void put_name(void *ctx, const char *name)
{
	mica_buf_printf(ctx, "%s ", name);
}

static void who_names_nothing(void **state)
{
	struct world *w = *state;
	MICA_AUTO_BUF b;

	mica_buf_init(&b, 4096);
	sds_each_name(&w->v, 3, ALL, put_name, &b);
	mica_buf_put_u8(&b, '\0');
	assert_string_equal(b.p, ID " " SHOP " spiffe://" TD " ");
	mica_buf_reset(&b);
	sds_each_name(&w->v, 3, 2, put_name, &b);
	mica_buf_put_u8(&b, '\0');
	assert_string_equal(b.p, SHOP " spiffe://" TD " ");
}

/* ---- secrets ------------------------------------------------------------------------------- */

/* The one field `number` of a message, which has no other but those in `also` (0 = none). */
static struct mica_slice field(struct mica_slice message, uint32_t number, uint32_t also)
{
	struct mica_slice found = MICA_SLICE_NULL;
	struct wire r = {.s = message};
	struct mica_wire_field f;
	unsigned n = 0;

	while (wire_next(&r, &f)) {
		assert_true(f.number == number || f.number == also);
		assert_int_equal(f.type, MICA_WIRE_BYTES);
		if (f.number != number)
			continue;
		found = f.bytes;
		n++;
	}
	assert_false(r.bad);
	assert_int_equal(n, 1);
	return found;
}

static void put(struct world *w, struct sds_meaning m, const char *name,
	enum agent_validator validator, struct mica_buf *out)
{
	mica_buf_init_secret(out, 1 << 20);
	sds_put_secret(&m, &w->v, mica_slice_str(name), validator, out);
	assert_false(out->over);
}

/* Secret {name = 1, tls_certificate = 2 {certificate_chain = 1, private_key = 2}}; each a
 * DataSource {inline_bytes = 2}. */
static void a_certificate(void **state)
{
	struct world *w = *state;
	struct mica_slice secret, tls;
	MICA_AUTO_BUF out;
	MICA_AUTO_BUF key;

	mica_buf_init_secret(&key, 16384);
	svid_put_key_pem(w->v.svid[1], &key);
	put(w, (struct sds_meaning){.kind = SDS_CERTIFICATE, .identity = 1}, "cert:8080",
		AGENT_SPIFFE, &out);
	secret = mica_buf_slice(&out);
	/* under the name that was asked for, not what it stands for: an Envoy waits for its own */
	assert_true(mica_slice_eq_str(field(secret, 1, 2), "cert:8080"));
	tls = field(secret, 2, 1);
	assert_true(
		mica_slice_eq(field(field(tls, 1, 2), 2, 0), mica_buf_slice(&w->v.svid[1]->pem)));
	assert_true(mica_slice_eq(field(field(tls, 2, 1), 2, 0), mica_buf_slice(&key)));
	assert_true(key.len > 0);
}

/* Secret {name = 1, validation_context = 4 {trusted_ca = 1 {inline_bytes = 2}}} */
static void roots_as_a_list(void **state)
{
	static const enum sds_kind kinds[] = {SDS_BUNDLE, SDS_ALL_BUNDLES};
	struct world *w = *state;

	for (size_t i = 0; i < MICA_ARRAY_LEN(kinds); i++) {
		struct mica_slice context;
		MICA_AUTO_BUF out;

		put(w, (struct sds_meaning){.kind = kinds[i]}, "ROOTCA", AGENT_PLAIN, &out);
		assert_true(mica_slice_eq_str(field(mica_buf_slice(&out), 1, 4), "ROOTCA"));
		context = field(mica_buf_slice(&out), 4, 1);
		assert_true(mica_slice_eq(
			field(field(context, 1, 0), 2, 0), mica_buf_slice(&w->v.trust->pem)));
	}
}

/* ... {custom_validator_config = 12 {name = 1, typed_config = 2 Any {type_url = 1, value = 2
 * SPIFFECertValidatorConfig {trust_domains = 1 {name = 1, trust_bundle = 2}}}}}: and no trusted_ca,
 * which would let the roots sign for every trust domain. */
static void roots_for_the_spiffe_validator(void **state)
{
	struct world *w = *state;
	struct mica_slice extension, any, domain;
	MICA_AUTO_BUF out;

	put(w, (struct sds_meaning){.kind = SDS_BUNDLE}, "ROOTCA", AGENT_SPIFFE, &out);
	extension = field(field(mica_buf_slice(&out), 4, 1), 12, 0);
	assert_true(mica_slice_eq_str(field(extension, 1, 2), "envoy.tls.cert_validator.spiffe"));
	any = field(extension, 2, 1);
	assert_true(mica_slice_eq_str(field(any, 1, 2),
		"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3."
		"SPIFFECertValidatorConfig"));
	domain = field(field(any, 2, 1), 1, 0);
	assert_true(mica_slice_eq_str(field(domain, 1, 2), TD));
	assert_true(
		mica_slice_eq(field(field(domain, 2, 1), 2, 0), mica_buf_slice(&w->v.trust->pem)));
}

/* ---- requests ------------------------------------------------------------------------------ */

/* Struct {fields = 1 map entry {key = 1, value = 2 Value {string_value = 3 | bool_value = 4}}} */
static void put_metadata(struct mica_buf *out, const char *key, const char *text, bool yes)
{
	MICA_AUTO_BUF value, entry;

	mica_buf_init(&value, 4096);
	mica_buf_init(&entry, 4096);
	if (text)
		wire_put_text(&value, 3, text);
	else
		mica_wire_put_varint(&value, 4, yes);
	wire_put_text(&entry, 1, key);
	mica_wire_put_bytes(&entry, 2, mica_buf_slice(&value));
	mica_wire_put_bytes(out, 1, mica_buf_slice(&entry));
}

static void put_node(struct mica_buf *out, uint32_t number, const struct mica_buf *metadata)
{
	MICA_AUTO_BUF node;

	mica_buf_init(&node, 8192);
	wire_put_text(&node, 1, "envoy-1");
	mica_wire_put_bytes(&node, 3, mica_buf_slice(metadata));
	mica_wire_put_bytes(out, number, mica_buf_slice(&node));
}

static void the_validator_of_a_node(void **state)
{
	static const struct {
		const char *key, *text;
		bool yes, says;
		enum agent_validator is;
	} rows[] = {
		{"spiffe_cert_validation", NULL, true, true, AGENT_SPIFFE},
		{"spiffe_cert_validation", "true", false, true, AGENT_SPIFFE},
		{"spiffe_cert_validation", "yes", false, true, AGENT_PLAIN},
		{"spiffe_cert_validation", NULL, false, true, AGENT_PLAIN},
		{"disable_spiffe_cert_validation", NULL, true, true, AGENT_PLAIN},
		{"disable_spiffe_cert_validation", NULL, false, true, AGENT_SPIFFE},
		{"other", NULL, true, false, AGENT_PLAIN},
	};
	MICA_AUTO_FREE struct sds_request *r = MICA_NEW(struct sds_request);

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(rows); i++) {
		MICA_AUTO_BUF metadata, m;

		mica_buf_init(&metadata, 8192);
		mica_buf_init(&m, 8192);
		put_metadata(&metadata, "zone", "a", false);
		put_metadata(&metadata, rows[i].key, rows[i].text, rows[i].yes);
		put_node(&m, 2, &metadata);
		assert_ok(sds_request_read(mica_buf_slice(&m), r, e));
		assert_true(r->has_node && mica_slice_eq_str(r->node_id, "envoy-1"));
		assert_int_equal(r->says_validator, rows[i].says);
		assert_int_equal(r->validator, rows[i].is);
	}
}

static void a_request(void **state)
{
	MICA_AUTO_FREE struct sds_request *r = MICA_NEW(struct sds_request);
	MICA_AUTO_BUF m, status;

	(void)state;
	mica_buf_init(&m, 8192);
	mica_buf_init(&status, 8192);
	assert_ok(sds_request_read(mica_buf_slice(&m), r, e));
	assert_true(r->names.n == 0 && !r->nack && !r->has_node && r->nonce.len == 0);
	mica_wire_put_varint(&status, 1, 13);
	wire_put_text(&status, 2, "no such key");
	wire_put_text(&m, 3, "default");
	wire_put_text(&m, 3, "ROOTCA");
	wire_put_text(&m, 4, SDS_SECRET_URL);
	wire_put_text(&m, 5, "17");
	mica_wire_put_bytes(&m, 6, mica_buf_slice(&status));
	wire_put_text(&m, 99, "what comes later");
	assert_ok(sds_request_read(mica_buf_slice(&m), r, e));
	assert_int_equal(r->names.n, 2);
	assert_true(mica_slice_eq_str(r->names.v[1], "ROOTCA"));
	assert_true(mica_slice_eq_str(r->type_url, SDS_SECRET_URL));
	assert_true(mica_slice_eq_str(r->nonce, "17"));
	assert_true(r->nack && mica_slice_eq_str(r->nack_message, "no such key"));
	m.len--;
	assert_refused(MICA_INVALID, "message_invalid", sds_request_read(mica_buf_slice(&m), r, e));
}

/* An Envoy that comes back says what it has. */
static void a_delta_request(void **state)
{
	MICA_AUTO_FREE struct sds_request *r = MICA_NEW(struct sds_request);
	MICA_AUTO_BUF m, entry;

	(void)state;
	mica_buf_init(&m, 8192);
	mica_buf_init(&entry, 8192);
	wire_put_text(&entry, 1, "default");
	wire_put_text(&entry, 2, "00112233");
	wire_put_text(&m, 3, "default");
	wire_put_text(&m, 4, "old");
	mica_wire_put_bytes(&m, 5, mica_buf_slice(&entry));
	wire_put_text(&m, 6, "3");
	assert_ok(sds_delta_read(mica_buf_slice(&m), r, e));
	assert_int_equal(r->names.n, 1);
	assert_int_equal(r->gone.n, 1);
	assert_true(mica_slice_eq_str(r->gone.v[0], "old"));
	assert_int_equal(r->n_has, 1);
	assert_true(mica_slice_eq_str(r->has[0].name, "default"));
	assert_true(mica_slice_eq_str(r->has[0].version, "00112233"));
	assert_true(mica_slice_eq_str(r->nonce, "3") && !r->nack);
}

/* It would be another name once it is kept, and so be new with each message. */
static void a_name_with_a_nul(void **state)
{
	MICA_AUTO_FREE struct sds_request *r = MICA_NEW(struct sds_request);
	MICA_AUTO_BUF m;

	(void)state;
	mica_buf_init(&m, 8192);
	mica_wire_put_bytes(&m, 3, mica_slice("a\0b", 3));
	assert_refused(MICA_INVALID, "message_invalid", sds_request_read(mica_buf_slice(&m), r, e));
	assert_refused(MICA_INVALID, "message_invalid", sds_delta_read(mica_buf_slice(&m), r, e));
}

static void too_much(void **state)
{
	MICA_AUTO_FREE struct sds_request *r = MICA_NEW(struct sds_request);
	MICA_AUTO_BUF m;

	(void)state;
	mica_buf_init(&m, 1 << 20);
	for (unsigned i = 0; i < SDS_NAMES_MAX; i++)
		wire_put_text(&m, 3, "x");
	assert_ok(sds_request_read(mica_buf_slice(&m), r, e));
	assert_ok(sds_delta_read(mica_buf_slice(&m), r, e));
	wire_put_text(&m, 3, "x");
	assert_refused(MICA_LIMIT, "too_many_names", sds_request_read(mica_buf_slice(&m), r, e));
	assert_refused(MICA_LIMIT, "too_many_names", sds_delta_read(mica_buf_slice(&m), r, e));
	mica_buf_reset(&m);
	mica_wire_put_head(&m, 3, SDS_NAME_MAX + 1);
	for (unsigned i = 0; i <= SDS_NAME_MAX; i++)
		mica_buf_put_u8(&m, 'x');
	assert_refused(MICA_LIMIT, "too_many_names", sds_request_read(mica_buf_slice(&m), r, e));
	mica_buf_reset(&m);
	for (unsigned i = 0; i <= SDS_NAMES_MAX; i++)
		mica_wire_put_bytes(&m, 5, MICA_LIT(""));
	assert_refused(MICA_LIMIT, "too_many_names", sds_delta_read(mica_buf_slice(&m), r, e));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(names),
		TEST(before_there_is_anything),
		TEST(who_names_nothing),
		TEST(a_certificate),
		TEST(roots_as_a_list),
		TEST(roots_for_the_spiffe_validator),
		cmocka_unit_test(the_validator_of_a_node),
		cmocka_unit_test(a_request),
		cmocka_unit_test(a_delta_request),
		cmocka_unit_test(a_name_with_a_nul),
		cmocka_unit_test(too_much),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
