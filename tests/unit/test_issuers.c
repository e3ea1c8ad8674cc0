/* SPDX-License-Identifier: Apache-2.0 */
/* Issuers: which configurations are taken, and that no two of them can speak for each other. */
#include "tokens.h"

#include "mica/spiffeid.h"

#define PATH "/ns/{namespace}/sa/{serviceaccount}"

static char *str(const char *s)
{
	return (char *)(uintptr_t)s;
}

/* The reason why a configuration is refused ("ok" when it is not); where, by *fault. */
static const char *outcome(
	const struct mica_issuer_config *c, unsigned n, struct mica_issuer_fault *fault)
{
	struct mica_issuers *s = NULL;
	struct mica_err e = MICA_ERR_INIT;
	*fault = (struct mica_issuer_fault){.issuer = 99};
	mica_rc rc = mica_issuers_new("example.org", c, n, &s, fault, &e);
	if (rc == MICA_OK) {
		assert_int_equal(mica_issuers_count(s), n);
		mica_issuers_free(s);
		return "ok";
	}
	assert_null(s);
	assert_int_equal(rc, MICA_INVALID);
	if (c[fault->issuer].name) /* cut when it is too long */
		assert_non_null(strstr(e.text, tk_printf("%.63s", c[fault->issuer].name)));
	return e.reason;
}

static void expect(unsigned row, const struct mica_issuer_config *c, unsigned n, const char *reason,
	unsigned issuer, const char *setting)
{
	struct mica_issuer_fault f;
	const char *got = outcome(c, n, &f);
	if (strcmp(got, reason) != 0)
		fail_msg("row %u: %s, expected %s", row, got, reason);
	if (strcmp(reason, "ok") == 0)
		return;
	assert_int_equal(f.issuer, issuer);
	if (strcmp(f.setting, setting) != 0)
		fail_msg("row %u: points at %s, expected %s", row, f.setting, setting);
	/* who does not care where may say so */
	struct mica_issuers *s = NULL;
	assert_int_equal(mica_issuers_new("example.org", c, n, &s, NULL, NULL), MICA_INVALID);
}

static struct mica_issuer_config prod(void)
{
	return tk_config("prod", ISS, PATH);
}

/* ---- one issuer ----------------------------------------------------------------------------- */

static void names(void **state)
{
	static const struct {
		const char *name, *reason;
	} rows[] = {{"a", "ok"}, {"prod-2", "ok"},
		{"012345678901234567890123456789012345678901234567890123456789012", "ok"},
		{"0123456789012345678901234567890123456789012345678901234567890123",
			"issuer_name_invalid"},
		{NULL, "issuer_name_invalid"}, {"", "issuer_name_invalid"},
		{"Prod", "issuer_name_invalid"}, {"a.b", "issuer_name_invalid"},
		{"-a", "issuer_name_invalid"}, {"a-", "issuer_name_invalid"},
		{"a b", "issuer_name_invalid"}, {"a/b", "issuer_name_invalid"}};
	(void)state;
	for (unsigned i = 0; i < MICA_ARRAY_LEN(rows); i++) {
		struct mica_issuer_config c = prod();
		c.name = str(rows[i].name);
		expect(i, &c, 1, rows[i].reason, 0, "name");
	}
}

static void urls(void **state)
{
	const struct {
		const char *url, *kubernetes, *oidc; /* NULL = issuer_url_invalid */
	} rows[] = {
		{"https://a", "ok", "ok"},
		{"https://a:6443/path/", "ok", "ok"},
		{"https://[2001:db8::1]:6443", "ok", "ok"},
		{"api", "ok", NULL}, /* kube-apiserver takes a name without ':' */
		{"kubernetes/serviceaccount", NULL, NULL}, /* that of legacy tokens */
		{"", NULL, NULL},
		{NULL, NULL, NULL},
		{"http://a", NULL, NULL},
		{"HTTPS://a", NULL, NULL},
		{"https:/a", NULL, NULL},
		{"https://", NULL, NULL},
		{"https:///a", NULL, NULL},
		{"https://:443", NULL, NULL},
		{"https://u@a", NULL, NULL},
		{"https://a?b", NULL, NULL},
		{"https://a#b", NULL, NULL},
		{"https://a b", NULL, NULL},
		{"https://a\n", NULL, NULL},
		{"https://\xd0\xb0", NULL, NULL}, /* an a of Cyrillic */
		{"urn:a", NULL, NULL},
		{tk_printf("https://%0504d", 1), "ok", "ok"},
		{tk_printf("https://%0505d", 1), NULL, NULL},
	};
	(void)state;
	for (unsigned i = 0; i < MICA_ARRAY_LEN(rows); i++) {
		struct mica_issuer_config k = prod(), o = tk_oidc_config();
		k.issuer = o.issuer = str(rows[i].url);
		expect(i, &k, 1, rows[i].kubernetes ? "ok" : "issuer_url_invalid", 0, "issuer");
		expect(i, &o, 1, rows[i].oidc ? "ok" : "issuer_url_invalid", 0, "issuer");
	}
}

static void clusters(void **state)
{
	static const struct {
		const char *cluster, *reason;
	} rows[] = {{"", "ok"}, {NULL, "ok"}, {"Prod_1.eu-west", "ok"}, {"..", NULL}, {".", NULL},
		{"a/b", NULL}, {"a b", NULL}, {"a%2f", NULL}, {"\xc3\xa4", NULL},
		{"012345678901234567890123456789012345678901234567890123456789012", "ok"},
		{"0123456789012345678901234567890123456789012345678901234567890123", NULL}};
	(void)state;
	for (unsigned i = 0; i < MICA_ARRAY_LEN(rows); i++) {
		struct mica_issuer_config c = prod();
		c.cluster = str(rows[i].cluster);
		expect(i, &c, 1, rows[i].reason ? "ok" : "issuer_cluster_invalid", 0, "cluster");
	}
}

static void audiences(void **state)
{
	const struct {
		const char *a, *b;
		bool ok;
	} rows[] = {{"mica", NULL, true}, {"mica", "https://mica.example/", true},
		{"mica", "", false}, {"", NULL, false}, {"mi ca", NULL, false},
		{"mica\t", NULL, false},
		{"m\xc3\xaf"
		 "ca",
			NULL, false},
		{tk_printf("%0255d", 1), NULL, true}, {tk_printf("%0256d", 1), NULL, false}};
	struct mica_issuer_config none = prod();
	(void)state;
	for (unsigned i = 0; i < MICA_ARRAY_LEN(rows); i++) {
		struct mica_issuer_config c = prod();
		c.audiences[MICA_FRONT_ISTIO] = tk_list(rows[i].a, rows[i].b);
		expect(i, &c, 1, rows[i].ok ? "ok" : "issuer_audience_invalid", 0, "audiences");
	}
	memset(none.audiences, 0, sizeof(none.audiences));
	expect(100, &none, 1, "issuer_audience_invalid", 0, "audiences");
	none.audiences[MICA_FRONT_CONSUL] = tk_list("consul", NULL);
	expect(101, &none, 1, "ok", 0, "");
}

static void lifetimes(void **state)
{
	static const struct {
		int64_t life, skew, renewal;
		const char *setting; /* NULL = ok */
	} rows[] = {{1, 0, 0, NULL}, {366 * 86400, 600, INT64_MAX, NULL},
		{0, 0, 0, "max_token_life"}, {-1, 0, 0, "max_token_life"},
		{INT64_MIN, 0, 0, "max_token_life"}, {366 * 86400 + 1, 0, 0, "max_token_life"},
		{INT64_MAX, 0, 0, "max_token_life"}, {60, -1, 0, "skew"}, {60, 601, 0, "skew"},
		{60, INT64_MAX, 0, "skew"}, {60, INT64_MIN, 0, "skew"}, {60, 0, -1, "skew"}};
	(void)state;
	for (unsigned i = 0; i < MICA_ARRAY_LEN(rows); i++) {
		struct mica_issuer_config c = prod();
		c.max_token_life[MICA_FRONT_REST] = rows[i].life;
		c.skew = rows[i].skew;
		c.renewal_max_age = rows[i].renewal;
		expect(i, &c, 1, rows[i].setting ? "issuer_lifetime_invalid" : "ok", 0,
			rows[i].setting);
	}
	/* a front without an audience needs no cap */
	struct mica_issuer_config c = prod();
	c.max_token_life[MICA_FRONT_CONSUL] = 0;
	expect(100, &c, 1, "ok", 0, "");
}

static void claims(void **state)
{
	const struct {
		const char *name, *claim, *reason;
	} rows[] = {{"team", "team", "ok"}, {"t_1", "https://example/team", "ok"},
		{"sub", "sub", NULL}, {"cluster", "c", NULL}, {"issuer", "i", NULL},
		{"", "c", NULL}, {NULL, "c", NULL}, {"Team", "c", NULL}, {"1a", "c", NULL},
		{"_a", "c", NULL}, {"a-b", "c", NULL}, {"a", "", NULL}, {"a", NULL, NULL},
		{tk_printf("a%062d", 1), "c", "ok"}, {tk_printf("a%063d", 1), "c", NULL}};
	(void)state;
	for (unsigned i = 0; i < MICA_ARRAY_LEN(rows); i++) {
		struct mica_issuer_config c = tk_oidc_config();
		struct mica_claim_map map = {str(rows[i].name), str(rows[i].claim)};
		c.claims = &map;
		c.n_claims = 1;
		c.spiffe_path = str("/ci/{sub|hex}");
		expect(i, &c, 1, rows[i].reason ? "ok" : "issuer_claim_invalid", 0, "claims");
	}
	struct mica_issuer_config k = prod(), o = tk_oidc_config();
	struct mica_claim_map twice[] = {{str("a"), str("x")}, {str("a"), str("y")}};
	k.claims = twice;
	k.n_claims = 1;
	expect(100, &k, 1, "issuer_claim_invalid", 0, "claims");
	o.claims = twice;
	o.n_claims = 2;
	expect(101, &o, 1, "issuer_claim_invalid", 0, "claims");
	struct mica_claim_map many[30];
	for (unsigned i = 0; i < 30; i++)
		many[i] = (struct mica_claim_map){tk_printf("c%u", i), str("c")};
	o.claims = many;
	o.spiffe_path = str("/ci/{c28}");
	o.n_claims = 29;
	expect(102, &o, 1, "ok", 0, "");
	o.n_claims = 30;
	expect(103, &o, 1, "issuer_claim_invalid", 0, "claims");
}

static void required_claims(void **state)
{
	static const struct {
		const char *claim, *pattern, *reason;
	} rows[] = {{"ref", "main", "ok"}, {"ref", "refs/heads/*", "ok"}, {"ref", "[a-z]+", "ok"},
		{"", "x", "issuer_claim_invalid"}, {NULL, "x", "issuer_claim_invalid"},
		{"ref", "[a-", "pattern_invalid"}, {"ref", "a\\", "pattern_invalid"}};
	(void)state;
	for (unsigned i = 0; i < MICA_ARRAY_LEN(rows); i++) {
		struct mica_issuer_config c = tk_oidc_config();
		struct mica_claim_require r = {str(rows[i].claim), str(rows[i].pattern)};
		c.require = &r;
		c.n_require = 1;
		expect(i, &c, 1, rows[i].reason, 0, "require");
	}
	struct mica_issuer_config k = prod();
	struct mica_claim_require r = {str("a"), str("b")};
	k.require = &r;
	k.n_require = 1;
	expect(100, &k, 1, "issuer_claim_invalid", 0, "require");
}

static void paths(void **state)
{
	static const struct {
		const char *path, *reason;
	} rows[] = {{PATH, "ok"}, {"/x/{pod}", "ok"}, {"/{cluster}" PATH, "ok"},
		{"/{issuer}" PATH, "ok"}, {"", "template_syntax"}, {NULL, "template_syntax"},
		{"ns/{namespace}", "template_syntax"}, {"/ns/{namespace", "template_syntax"},
		{"/ns/{namespace}/", "template_syntax"}, {"/ns/../x", "template_syntax"},
		{"/ns/{project}", "template_unknown_field"},
		{"/ns/{sub}", "template_unknown_field"},
		{"/ns/{namespace|base64}", "template_unknown_encoding"},
		{"/{namespace}{serviceaccount}", "template_ambiguous"},
		{"/mica/{namespace}", "template_reserved"}, {"/mica", "template_reserved"}};
	(void)state;
	for (unsigned i = 0; i < MICA_ARRAY_LEN(rows); i++) {
		struct mica_issuer_config c = prod();
		c.spiffe_path = str(rows[i].path);
		expect(i, &c, 1, rows[i].reason, 0, "spiffe_path");
	}
	/* a cluster without a name names nothing */
	struct mica_issuer_config c = prod();
	c.cluster = NULL;
	c.spiffe_path = str("/{cluster}" PATH);
	expect(100, &c, 1, "template_syntax", 0, "spiffe_path");
}

static void a_trust_domain_must_be_one(void **state)
{
	struct mica_issuer_config c = prod();
	struct mica_issuers *s = NULL;
	(void)state;
	assert_refused(MICA_INVALID, "trust_domain_invalid",
		mica_issuers_new("Example.org", &c, 1, &s, NULL, e));
	assert_refused(
		MICA_INVALID, "trust_domain_invalid", mica_issuers_new("", &c, 1, &s, NULL, e));
	/* none at all is fine: there are other ways to prove who one is */
	assert_ok(mica_issuers_new("example.org", NULL, 0, &s, NULL, e));
	assert_int_equal(mica_issuers_count(s), 0);
	assert_null(mica_issuers_at(s, 0));
	mica_issuers_free(s);
	mica_issuers_free(NULL);
}

/* ---- two issuers ---------------------------------------------------------------------------- */

static struct mica_issuer_config other(const char *path)
{
	return tk_config("other", ISS_B, path);
}

static void each_is_itself(void **state)
{
	struct mica_issuer_config two[] = {prod(), other("/b" PATH)};
	(void)state;
	expect(0, two, 2, "ok", 0, "");
	two[1].name = str("prod");
	expect(1, two, 2, "issuer_name_duplicate", 1, "name");
	two[1].name = str("other");
	two[1].issuer = str(ISS);
	expect(2, two, 2, "issuer_url_duplicate", 1, "issuer");
	/* exactly: a token with that slash is another issuer's */
	two[1].issuer = str(ISS "/");
	expect(3, two, 2, "ok", 0, "");
	two[1].cluster = str("prod");
	expect(4, two, 2, "issuer_cluster_invalid", 1, "cluster");
	two[1].same_names_as = tk_list("prod", NULL);
	expect(5, two, 2, "ok", 0, "");
	two[0].cluster = two[1].cluster = NULL;
	two[1].same_names_as = tk_list(NULL, NULL);
	expect(6, two, 2, "ok", 0, "");
}

static void names_are_kept_apart_by_a_literal(void **state)
{
	static const struct {
		const char *a, *b;
		bool ok;
	} rows[] = {
		{PATH, PATH, false},
		{"/a" PATH, "/b" PATH, true},
		{"/{cluster}" PATH, "/{cluster}" PATH, true}, /* known names are literals */
		{"/{issuer}" PATH, "/{issuer}" PATH, true},
		{PATH, "/{cluster}" PATH, true}, /* ns is not "other" */
		{PATH, "/ns/{namespace}/sb/{serviceaccount}", true},
		{"/{namespace}/{serviceaccount}", PATH, false},
		{"/{namespace}/x", "/y/{serviceaccount}", false},
		/* one below the other would be a prefix in a policy */
		{"/ns/{namespace}", PATH, false},
		{"/ns/a/sa/{serviceaccount}", PATH, false},
		{"/ns/a/sa/{serviceaccount}", "/ns/b/sa/{serviceaccount}", true},
		/* a placeholder's charset is not a literal */
		{"/ns/p.{namespace}", "/ns/q.{namespace}", false},
		{"/fixed", "/fixed", false},
		{"/fixed", "/fixed/more", false},
		{"/fixed", "/other", true},
	};
	(void)state;
	for (unsigned i = 0; i < MICA_ARRAY_LEN(rows); i++) {
		struct mica_issuer_config two[] = {
			tk_config("prod", ISS, rows[i].a), other(rows[i].b)};
		struct mica_issuer_config swapped[] = {two[1], two[0]};
		expect(i, two, 2, rows[i].ok ? "ok" : "names_overlap", 1, "spiffe_path");
		expect(i, swapped, 2, rows[i].ok ? "ok" : "names_overlap", 1, "spiffe_path");
	}
}

static void one_of_many_is_enough_to_overlap(void **state)
{
	struct mica_issuer_config many[20];
	(void)state;
	for (unsigned i = 0; i < 20; i++)
		many[i] = tk_config(tk_printf("i%u", i), tk_printf("https://%u.example", i),
			tk_printf("/c%u" PATH, i));
	expect(0, many, 20, "ok", 0, "");
	many[17].spiffe_path = many[3].spiffe_path;
	expect(1, many, 20, "names_overlap", 17, "spiffe_path");
}

static void same_names_must_mean_the_same(void **state)
{
	struct mica_issuer_config two[] = {prod(), other(PATH)};
	(void)state;
	two[1].same_names_as = tk_list("prod", NULL);
	expect(0, two, 2, "ok", 0, "");
	/* either may say it */
	two[0].same_names_as = tk_list("other", NULL);
	two[1].same_names_as = tk_list(NULL, NULL);
	expect(1, two, 2, "ok", 0, "");
	/* alike in text, not in meaning */
	two[1].spiffe_path = str("/ns/{serviceaccount}/sa/{namespace}");
	expect(2, two, 2, "names_overlap", 1, "same_names_as");
	two[1].spiffe_path = str("/ns/{namespace}/sa/{pod}");
	expect(3, two, 2, "names_overlap", 1, "same_names_as");
	/* it does not reach further than it says */
	struct mica_issuer_config three[] = {
		prod(), other(PATH), tk_config("c", "https://c", PATH)};
	three[1].same_names_as = tk_list("prod", NULL);
	three[2].same_names_as = tk_list("prod", NULL);
	expect(4, three, 3, "names_overlap", 2, "spiffe_path");
	three[2].same_names_as = tk_list("prod", "other");
	expect(5, three, 3, "ok", 0, "");
}

static void kinds_and_claims_count_for_meaning(void **state)
{
	struct mica_claim_map map[] = {
		{str("ref"), str("ref")}, {str("project"), str("project_path")}};
	struct mica_claim_map other_claim[] = {
		{str("project"), str("name")}, {str("ref"), str("ref")}};
	struct mica_issuer_config two[] = {tk_oidc_config(), tk_oidc_config()};
	(void)state;
	two[1].name = str("gitlab-b");
	two[1].issuer = str("https://b.gitlab.example");
	expect(0, two, 2, "names_overlap", 1, "spiffe_path");
	two[1].same_names_as = tk_list("gitlab", NULL);
	expect(1, two, 2, "ok", 0, "");
	two[1].claims = map; /* in another order */
	expect(2, two, 2, "ok", 0, "");
	two[1].claims = other_claim; /* one field, of another claim */
	expect(3, two, 2, "names_overlap", 1, "same_names_as");
	struct mica_issuer_config mixed[] = {tk_config("prod", ISS, "/x/fixed"), tk_oidc_config()};
	mixed[1].spiffe_path = str("/x/fixed");
	mixed[1].same_names_as = tk_list("prod", NULL);
	expect(4, mixed, 2, "names_overlap", 1, "same_names_as");
}

static void same_names_as_somebody(void **state)
{
	struct mica_issuer_config two[] = {prod(), other("/b" PATH)};
	(void)state;
	two[0].same_names_as = tk_list("nobody", NULL);
	expect(0, two, 2, "same_names_unknown", 0, "same_names_as");
	two[0].same_names_as = tk_list("prod", NULL);
	expect(1, two, 2, "same_names_unknown", 0, "same_names_as");
	two[0].same_names_as = tk_list("other", "");
	expect(2, two, 2, "same_names_unknown", 0, "same_names_as");
	two[0].same_names_as = tk_list("other", NULL);
	expect(3, two, 2, "ok", 0, "");
}

/* ---- what is read back ---------------------------------------------------------------------- */

static void keeps_its_own_copy(void **state)
{
	struct mica_issuer_config c[] = {prod(), tk_oidc_config()};
	char url[] = ISS, name[] = "prod";
	(void)state;
	c[0].issuer = url;
	c[0].name = name;
	c[0].review.mode = MICA_REVIEW_ALWAYS;
	c[0].review.allow_on_failure = true;
	c[0].renewal_max_age = 77;
	c[1].keys.allow_ps = true;
	MICA_AUTO_ISSUERS s = tk_issuers(c, 2);
	memset(url, 'x', sizeof(url) - 1);
	memset(name, 'x', sizeof(name) - 1);
	const struct mica_issuer *a = mica_issuers_at(s, 0), *b = mica_issuers_named(s, "gitlab");
	assert_ptr_equal(mica_issuers_named(s, "prod"), a);
	assert_ptr_equal(mica_issuers_at(s, 1), b);
	assert_null(mica_issuers_at(s, 2));
	assert_null(mica_issuers_named(s, "Prod"));
	assert_int_equal(mica_issuer_index(b), 1);
	assert_string_equal(mica_issuer_url(a), ISS);
	assert_string_equal(mica_issuer_name(a), "prod");
	assert_string_equal(mica_issuer_cluster(a), "prod");
	assert_string_equal(mica_issuer_cluster(b), "");
	assert_int_equal(mica_issuer_kind(a), MICA_ISSUER_KUBERNETES);
	assert_int_equal(mica_issuer_kind(b), MICA_ISSUER_OIDC);
	assert_int_equal(mica_issuer_review(a), MICA_REVIEW_ALWAYS);
	assert_int_equal(mica_issuer_review(b), MICA_REVIEW_NEVER);
	assert_true(mica_issuer_review_allow_on_failure(a));
	assert_int_equal(mica_issuer_renewal_max_age(a), 77);
	assert_int_equal(mica_issuer_max_stale(a), 86400);
	assert_false(mica_issuer_jwks_options(a).allow_ps);
	assert_true(mica_issuer_jwks_options(b).allow_ps);
	assert_false(mica_issuer_jwks_options(b).allow_eddsa);
	assert_int_equal(mica_issuer_audiences(a, MICA_FRONT_ISTIO)->n, 1);
	assert_string_equal(mica_issuer_audiences(a, MICA_FRONT_ISTIO)->v[0], "istio-ca");
	assert_int_equal(mica_issuer_audiences(a, MICA_FRONT_CONSUL)->n, 0);
}

static void vouches_for_its_own_names_only(void **state)
{
	static const struct {
		const char *id;
		bool ok;
	} rows[] = {
		{"spiffe://example.org/ns/payments/sa/checkout", true},
		{"spiffe://example.org/ns/payments/sa/checkout.v2", true},
		{"spiffe://example.org/ns/Payments/sa/checkout", false},
		{"spiffe://example.org/ns/payments/sa/checkout/x", false},
		{"spiffe://example.org/ns/payments/sa/", false},
		{"spiffe://example.org/ns/../sa/checkout", false},
		{"spiffe://example.org/mica/server", false},
		{"spiffe://example.org/b/ns/payments/sa/checkout", false},
		{"spiffe://example.org", false},
		{"spiffe://example.com/ns/payments/sa/checkout", false},
		{"spiffe://example.org.evil/ns/payments/sa/checkout", false},
		{"spiffe://example.orgns/payments/sa/checkout", false},
		{"SPIFFE://example.org/ns/payments/sa/checkout", false},
		{"/ns/payments/sa/checkout", false},
		{"", false},
	};
	struct mica_issuer_config c[] = {prod(), other("/b" PATH)};
	MICA_AUTO_ISSUERS s = tk_issuers(c, 2);
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(rows); i++)
		if (mica_issuer_may_name(mica_issuers_at(s, 0), mica_slice_str(rows[i].id)) !=
			rows[i].ok)
			fail_msg("%s: expected %d", rows[i].id, rows[i].ok);
	assert_true(mica_issuer_may_name(
		mica_issuers_at(s, 1), MICA_LIT("spiffe://example.org/b/ns/payments/sa/checkout")));
	assert_false(mica_issuer_may_name(mica_issuers_at(s, 0), MICA_SLICE_NULL));
}

/* ---- warnings ------------------------------------------------------------------------------- */

static void free_warnings(struct mica_string_list *l)
{
	for (unsigned i = 0; i < l->n; i++)
		mica_free(l->v[i]);
	mica_free(l->v);
	*l = (struct mica_string_list){.n = 0};
}

static void warns_of_what_is_probably_not_meant(void **state)
{
	struct mica_issuer_config c[] = {prod(), tk_oidc_config(),
		tk_config("all-of-ns", ISS_B, "/by-ns/{namespace}"),
		tk_config("one", "https://one", "/one")};
	struct mica_string_list roles = tk_list("spiffe://example.org/ns/infra/sa/admin",
					"spiffe://example.org/people/admin"),
				w = {.n = 0};
	(void)state;
	c[1].n_require = 0;
	MICA_AUTO_ISSUERS s = tk_issuers(c, 4);
	mica_issuers_warnings(s, &roles, &w);
	assert_int_equal(w.n, 4);
	assert_string_equal(w.v[0],
		"a role is given to spiffe://example.org/ns/infra/sa/admin, a name that issuer prod can make");
	assert_non_null(strstr(w.v[1], "issuer gitlab: no required claims"));
	assert_non_null(strstr(w.v[2], "issuer all-of-ns: spiffe_path /by-ns/{namespace} lacks"));
	assert_non_null(strstr(w.v[3], "issuer one: spiffe_path /one lacks"));
	/* appends to what is there */
	mica_issuers_warnings(s, NULL, &w);
	assert_int_equal(w.n, 7);
	free_warnings(&w);
	c[1] = tk_oidc_config();
	MICA_AUTO_ISSUERS quiet = tk_issuers(c, 2);
	mica_issuers_warnings(quiet, NULL, &w);
	assert_int_equal(w.n, 0);
	free_warnings(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),
		cmocka_unit_test(urls),
		cmocka_unit_test(clusters),
		cmocka_unit_test(audiences),
		cmocka_unit_test(lifetimes),
		cmocka_unit_test(claims),
		cmocka_unit_test(required_claims),
		cmocka_unit_test(paths),
		cmocka_unit_test(a_trust_domain_must_be_one),
		cmocka_unit_test(each_is_itself),
		cmocka_unit_test(names_are_kept_apart_by_a_literal),
		cmocka_unit_test(one_of_many_is_enough_to_overlap),
		cmocka_unit_test(same_names_must_mean_the_same),
		cmocka_unit_test(kinds_and_claims_count_for_meaning),
		cmocka_unit_test(same_names_as_somebody),
		cmocka_unit_test(keeps_its_own_copy),
		cmocka_unit_test(vouches_for_its_own_names_only),
		cmocka_unit_test(warns_of_what_is_probably_not_meant),
	};
	return cmocka_run_group_tests(tests, NULL, tk_empty_bin);
}
