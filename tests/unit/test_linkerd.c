/* SPDX-License-Identifier: Apache-2.0 */
/* Linkerd's identities: names, requests as its proxies write them, certificates as they take them.
 */
#include "coretest.h"

#include "mica/csr.h"
#include "mica/linkerd.h"

#include "../../ca/core_impl.h"

#define NAME "checkout.payments.serviceaccount.identity.linkerd.cluster.local"

static const struct mica_linkerd usual = {
	.control_ns = "linkerd", .trust_domain = "cluster.local", .spiffe = true};

/* ---- names ----------------------------------------------------------------------------------- */

static void names(void **state)
{
	struct mica_linkerd l = usual;
	char label[80], out[MICA_LINKERD_NAME_MAX + 1];

	(void)state;
	assert_ok(mica_linkerd_name(&usual, "payments", "checkout", out, e));
	assert_string_equal(out, NAME);
	/* a service account may have dots in Kubernetes, and then has no name here: it could be
	 * read as another namespace's */
	assert_refused(MICA_DENIED, "linkerd_name_invalid",
		mica_linkerd_name(&usual, "payments", "checkout.v2", out, e));
	assert_string_equal(out, "");
	assert_refused(MICA_DENIED, "linkerd_name_invalid",
		mica_linkerd_name(&usual, "payments", "", out, e));
	assert_refused(MICA_DENIED, "linkerd_name_invalid",
		mica_linkerd_name(&usual, "a.b", "checkout", out, e));
	assert_refused(MICA_DENIED, "linkerd_name_invalid",
		mica_linkerd_name(&usual, "payments", "Checkout", out, e));
	memset(label, 'a', sizeof(label));
	label[64] = '\0';
	assert_refused(MICA_DENIED, "linkerd_name_invalid",
		mica_linkerd_name(&usual, "payments", label, out, e));
	label[63] = '\0';
	assert_ok(mica_linkerd_name(&usual, label, label, out, e));
	memset(l.trust_domain, 'b', 120);
	l.trust_domain[60] = '.';
	assert_refused(
		MICA_DENIED, "linkerd_name_invalid", mica_linkerd_name(&l, label, label, out, e));
}

static void settings(void **state)
{
	struct mica_linkerd l = usual;

	(void)state;
	assert_ok(mica_linkerd_check(&l, e));
	snprintf(l.trust_domain, sizeof(l.trust_domain), "a_b.example");
	assert_refused(MICA_INVALID, "linkerd_trust_domain_invalid", mica_linkerd_check(&l, e));
	l = usual;
	snprintf(l.control_ns, sizeof(l.control_ns), "a.b");
	assert_refused(MICA_INVALID, "linkerd_namespace_invalid", mica_linkerd_check(&l, e));
}

/* 70 % of the way to valid_until is when a proxy comes back: never before half of the life, never
 * later than was meant, and always while the certificate holds. */
static void proxies_come_back_when_they_should(void **state)
{
	const int64_t lives[] = {2, 10, 60, 3600, 86400, 30 * 86400};

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(lives); i++) {
		for (int64_t after = lives[i] / 2; after <= lives[i] * 6 / 10; after++) {
			int64_t v = mica_linkerd_valid_until(NOW, NOW + after, NOW + lives[i]);
			assert_true(v > NOW && v <= NOW + lives[i]);
			int64_t sleep = (v - NOW) * 7 / 10;
			assert_true(sleep <= after && sleep >= after - 1);
			if (after > 1000)
				after += after / 100;
		}
	}
	assert_int_equal(mica_linkerd_valid_until(NOW, NOW, NOW + 1), NOW + 1);
	assert_int_equal(mica_linkerd_valid_until(NOW, NOW + 90, NOW + 100), NOW + 100);
}

/* ---- requests -------------------------------------------------------------------------------- */

struct ask {
	const char *cn, *alt; /* as OpenSSL writes them: "DNS:a,URI:b" */
	const char *cn2;
	bool twice;
};

static struct mica_slice request(EVP_PKEY *key, const struct ask *a)
{
	X509_REQ *r = X509_REQ_new();
	X509_NAME *name = X509_NAME_new();
	STACK_OF(X509_EXTENSION) *all = sk_X509_EXTENSION_new_null();
	uint8_t *der = NULL;
	int len;

	for (const char *cn = a->cn; cn; cn = cn == a->cn ? a->cn2 : NULL) {
		/* Go writes names of any length, OpenSSL only what X.520 allows */
		ASN1_OBJECT *oid = OBJ_nid2obj(NID_commonName);
		X509_NAME_ENTRY *entry = X509_NAME_ENTRY_create_by_OBJ(
			NULL, oid, V_ASN1_UTF8STRING, (const unsigned char *)cn, (int)strlen(cn));
		assert_int_equal(X509_NAME_add_entry(name, entry, -1, 0), 1);
		X509_NAME_ENTRY_free(entry);
	}
	X509_REQ_set_subject_name(r, name);
	X509_REQ_set_pubkey(r, key);
	for (int i = 0; a->alt && i <= a->twice; i++)
		sk_X509_EXTENSION_push(
			all, X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, a->alt));
	if (a->alt)
		X509_REQ_add_extensions(r, all);
	assert_true(X509_REQ_sign(r, key, EVP_sha256()) > 0);
	len = i2d_X509_REQ(r, &der);
	assert_true(len > 0);
	struct mica_slice out = mica_slice(tk_keep(mica_memdup(der, (size_t)len)), (size_t)len);
	OPENSSL_free(der);
	sk_X509_EXTENSION_pop_free(all, X509_EXTENSION_free);
	X509_NAME_free(name);
	X509_REQ_free(r);
	return out;
}

static void what_a_request_asks_for(void **state)
{
	EVP_PKEY *key = tk_ec("P-256");
	const struct {
		const char *why;
		struct ask a;
	} rows[] = {
		{NULL, {.cn = NAME, .alt = "DNS:" NAME}},
		{NULL, {.alt = "DNS:" NAME}},
		{NULL, {.cn = "", .alt = "DNS:" NAME}},
		{"csr_names_differ", {.cn = NAME}},
		{"csr_names_differ", {.cn = "other", .alt = "DNS:" NAME}},
		{"csr_names_differ", {.cn = NAME, .cn2 = "other", .alt = "DNS:" NAME}},
		{"csr_names_differ", {.cn = NAME, .alt = "DNS:other." NAME}},
		{"csr_names_differ", {.cn = NAME, .alt = "DNS:" NAME ",DNS:other"}},
		{"csr_names_differ", {.cn = NAME, .alt = "DNS:" NAME ",DNS:" NAME}},
		{"csr_names_differ", {.cn = NAME, .alt = "DNS:" NAME ",URI:spiffe://a/b"}},
		{"csr_names_differ", {.cn = NAME, .alt = "DNS:" NAME ",email:a@b.example"}},
		{"csr_names_differ", {.cn = NAME, .alt = "DNS:" NAME ",IP:10.0.0.1"}},
		{"csr_names_differ", {.alt = "URI:spiffe://a/b"}},
		{"csr_malformed", {.cn = NAME, .alt = "DNS:" NAME, .twice = true}},
	};

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(rows); i++) {
		struct mica_err err = MICA_ERR_INIT;
		mica_rc rc = mica_linkerd_check_csr(request(key, &rows[i].a), MICA_LIT(NAME), &err);
		const char *got = rc == MICA_OK ? "taken" : err.reason;
		const char *want = rows[i].why ? rows[i].why : "taken";
		if (strcmp(got, want) != 0)
			fail_msg("row %zu: %s, expected %s", i, got, want);
	}
	assert_refused(MICA_INVALID, "csr_empty",
		mica_linkerd_check_csr(MICA_SLICE_NULL, MICA_LIT(NAME), e));
	assert_refused(MICA_INVALID, "csr_malformed",
		mica_linkerd_check_csr(mica_slice_str(ct_csr(key)), MICA_LIT(NAME), e));
	EVP_PKEY_free(key);
}

/* Every prefix and every flipped octet is either refused or says the same names: nothing is read
 * behind the end, and nothing is made up. */
static void broken_requests(void **state)
{
	EVP_PKEY *key = tk_ec("P-256");
	struct mica_slice good = request(
		key, &(const struct ask){.cn = NAME, .alt = "DNS:" NAME ",URI:spiffe://a/b"});
	uint8_t *copy = mica_memdup(good.p, good.len);
	struct mica_csr_names n;

	(void)state;
	assert_ok(mica_csr_names(good, &n, e));
	assert_int_equal(n.n_cn, 1);
	assert_int_equal(n.n_dns, 1);
	assert_int_equal(n.n_others, 1);
	assert_true(mica_slice_eq_str(n.dns, NAME));
	for (size_t len = 0; len < good.len; len++) {
		uint8_t *cut = mica_memdup(good.p, len);
		assert_int_not_equal(mica_csr_names(mica_slice(cut, len), &n, NULL), MICA_OK);
		mica_free(cut);
	}
	for (size_t at = 0; at < good.len; at++) {
		copy[at] ^= 0x21;
		(void)!mica_csr_names(mica_slice(copy, good.len), &n, NULL);
		copy[at] ^= 0x21;
	}
	mica_free(copy);
	EVP_PKEY_free(key);
}

/* ---- certificates ---------------------------------------------------------------------------- */

static int setup(void **state)
{
	struct ct *t = ct_new();

	t->config.linkerd.control_plane_namespace = ct_str("linkerd");
	t->config.linkerd.trust_domain = ct_str("cluster.local");
	t->config.linkerd.spiffe = true;
	t->config.x509.key_types |= 1U << MICA_KN_RSA2048;
	ct_init(t);
	ct_open_at(t, NOW_MS);
	ct_set_jwks(t, NOW_MS);
	*state = t;
	return 0;
}

static mica_rc prepare(struct ct *t, const struct mica_caller *who, struct mica_slice csr,
	const char *identity, struct mica_candidate **k, struct mica_err *e)
{
	const struct mica_x509_request r = {.caller = who,
		.csr = csr,
		.scheme = MICA_SCHEME_LINKERD,
		.identity = mica_slice_str(identity)};

	return mica_core_prepare_x509(t->core, &r, NOW_MS, k, e);
}

static struct mica_slice usual_csr(struct ct *t, const char *name)
{
	return request(t->leaf, &(const struct ask){.cn = name, .alt = tk_printf("DNS:%s", name)});
}

static struct mica_candidate *issue(struct ct *t, const struct mica_caller *who, const char *name)
{
	struct mica_candidate *k = NULL;

	assert_ok(prepare(t, who, usual_csr(t, name), name, &k, e));
	assert_ok(mica_core_commit(t->core, &k, 1, NOW_MS, e));
	return k;
}

/* The names of the leaf in their order, "DNS:a URI:b". */
static char *sans(const struct mica_issued *i)
{
	X509 *x = ct_x509(i->chain_der[0]);
	GENERAL_NAMES *all = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
	char *out = tk_printf("%s", "");

	for (int n = 0; n < sk_GENERAL_NAME_num(all); n++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(all, n);
		const ASN1_IA5STRING *s = g->d.ia5;
		out = tk_printf("%s%s%s:%.*s", out, n ? " " : "",
			g->type == GEN_DNS           ? "DNS"
				: g->type == GEN_URI ? "URI"
						     : "?",
			ASN1_STRING_length(s), ASN1_STRING_get0_data(s));
	}
	GENERAL_NAMES_free(all);
	X509_free(x);
	return out;
}

static void a_proxy_takes_it(void **state)
{
	struct ct *t = *state;
	struct mica_caller who;
	struct mica_candidate *k;
	struct mica_issued i;
	struct mica_entry en;
	MICA_AUTO_BUF body;

	ct_caller(t, NOW_MS, &who);
	k = issue(t, &who, NAME);
	mica_candidate_issued(k, &i);
	/* peers know it by its first name */
	assert_string_equal(sans(&i), "DNS:" NAME " URI:" ID);
	assert_int_equal(i.n_chain, 2);
	assert_int_equal(ct_openssl(t, i.chain_der, i.n_chain, NOW), X509_V_OK);
	ct_entry(t, i.ledger_index, &body, &en);
	assert_true(mica_slice_eq(en.certificate, i.chain_der[0]));
	assert_int_equal(en.sub.len, 0); /* the certificate says it */
	mica_candidate_free(k);
}

static void without_the_spiffe_id(void **state)
{
	struct ct *t = *state;
	struct mica_event_query q = {.spiffe_id = MICA_LIT(ID)};
	const struct mica_caller admin = ct_role(MICA_ROLE_ADMIN);
	struct mica_caller who;
	struct mica_candidate *k;
	struct mica_issued i;
	struct mica_entry en;
	MICA_AUTO_BUF body;
	MICA_AUTO_BUF json;

	t->config.linkerd.spiffe = false;
	assert_ok(mica_core_configure(t->core, &t->config, NOW_MS, e));
	ct_caller(t, NOW_MS, &who);
	k = issue(t, &who, NAME);
	mica_candidate_issued(k, &i);
	assert_string_equal(sans(&i), "DNS:" NAME);
	assert_int_equal(ct_openssl(t, i.chain_der, i.n_chain, NOW), X509_V_OK);
	/* who asks the ledger for the principal finds it all the same */
	ct_entry(t, i.ledger_index, &body, &en);
	assert_true(mica_slice_eq_str(en.sub, ID));
	mica_buf_init(&json, 1 << 20);
	assert_ok(mica_core_events(t->core, &admin, &q, &json, e));
	assert_non_null(strstr((const char *)json.p, i.serial_hex));
	assert_non_null(strstr((const char *)json.p, "\"spiffe_id\":\"" ID "\""));
	/* and it is no SVID */
	assert_refused(MICA_UNAUTHENTICATED, "svid_malformed",
		mica_core_authenticate_svid(t->core, i.chain_der, i.n_chain, NOW_MS, &who, e));
	mica_candidate_free(k);
}

/* linkerd2 writes identities of any length into CN; X.520 ends at 64. */
static void long_names(void **state)
{
	struct ct *t = *state;
	struct mica_caller who;
	struct mica_candidate *k;
	struct mica_issued i;
	char label[64];
	char *name;

	memset(label, 'l', 63);
	label[63] = '\0';
	ct_caller(t, NOW_MS, &who);
	snprintf(who.principal.sa, sizeof(who.principal.sa), "%s", label);
	snprintf(who.principal.spiffe_id, sizeof(who.principal.spiffe_id),
		"spiffe://" TD "/ns/payments/sa/%s", label);
	name = tk_printf("%s.payments.serviceaccount.identity.linkerd.cluster.local", label);
	k = issue(t, &who, name);
	mica_candidate_issued(k, &i);
	assert_string_equal(sans(&i), tk_printf("DNS:%s URI:%s", name, who.principal.spiffe_id));
	assert_int_equal(ct_openssl(t, i.chain_der, i.n_chain, NOW), X509_V_OK);
	mica_candidate_free(k);
}

static void what_is_refused(void **state)
{
	struct ct *t = *state;
	const char *own = "linkerd-identity.linkerd.serviceaccount.identity.linkerd.cluster.local";
	const char *cart = "cart.payments.serviceaccount.identity.linkerd.cluster.local";
	const struct ask usual_ask = {.cn = NAME, .alt = "DNS:" NAME};
	EVP_PKEY *rsa = ct_rsa();
	struct mica_candidate *k = NULL;
	struct mica_caller who;
	MICA_AUTO_BUF stolen;

	ct_caller(t, NOW_MS, &who);
	assert_refused(MICA_DENIED, "identity_mismatch",
		prepare(t, &who, usual_csr(t, cart), cart, &k, e));
	assert_refused(
		MICA_DENIED, "identity_mismatch", prepare(t, &who, usual_csr(t, NAME), "", &k, e));
	assert_refused(MICA_INVALID, "key_type_not_allowed",
		prepare(t, &who, request(rsa, &usual_ask), NAME, &k, e));
	/* the key must be the asker's: Linkerd itself does not look */
	mica_buf_init(&stolen, 65536);
	mica_buf_put_slice(&stolen, usual_csr(t, NAME));
	stolen.p[stolen.len - 4] ^= 1;
	assert_refused(MICA_INVALID, "csr_bad_signature",
		prepare(t, &who, mica_buf_slice(&stolen), NAME, &k, e));
	/* Mica's own name is nobody else's */
	t->config.https.dns_names = tk_list(own, NULL);
	assert_ok(mica_core_configure(t->core, &t->config, NOW_MS, e));
	snprintf(who.principal.ns, sizeof(who.principal.ns), "linkerd");
	snprintf(who.principal.sa, sizeof(who.principal.sa), "linkerd-identity");
	snprintf(who.principal.spiffe_id, sizeof(who.principal.spiffe_id),
		"spiffe://" TD "/ns/linkerd/sa/linkerd-identity");
	assert_refused(
		MICA_DENIED, "name_not_allowed", prepare(t, &who, usual_csr(t, own), own, &k, e));
	EVP_PKEY_free(rsa);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),
		cmocka_unit_test(settings),
		cmocka_unit_test(proxies_come_back_when_they_should),
		cmocka_unit_test(what_a_request_asks_for),
		cmocka_unit_test(broken_requests),
		cmocka_unit_test_setup_teardown(a_proxy_takes_it, setup, ct_teardown),
		cmocka_unit_test_setup_teardown(without_the_spiffe_id, setup, ct_teardown),
		cmocka_unit_test_setup_teardown(long_names, setup, ct_teardown),
		cmocka_unit_test_setup_teardown(what_is_refused, setup, ct_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, tk_empty_bin);
}
