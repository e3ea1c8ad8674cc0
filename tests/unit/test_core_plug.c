/* SPDX-License-Identifier: Apache-2.0 */
/* A plugged-in authority: files as others write them, right and wrong, and what becomes of them. */
#include "../../ca/core_impl.h"

#include "coretest.h"
#include "otherca.h"

#include "../../ca/ca_files.h"

#define TEST(f) cmocka_unit_test_setup_teardown(f, plug_setup, ct_teardown)

static void short_lives(struct ct *t)
{
	struct mica_config *c = &t->config;

	c->x509.ttl = 60;
	c->x509.max_ttl = 120;
	c->x509.min_ttl = 1;
	c->jwt.ttl = c->jwt.max_ttl = 60;
	c->bundle.refresh_hint = 5;
	c->authorities.root = MICA_ROOT_FILES;
	c->authorities.root_life = 7200;
	c->authorities.issuing_life = c->authorities.jwt_life = 900;
	c->rotation.root.automatic = c->rotation.issuing.automatic = true;
	c->rotation.jwt.automatic = c->rotation.standby = true;
	c->rotation.root.rotate_at = c->rotation.issuing.rotate_at = 50;
	c->rotation.jwt.rotate_at = 50;
	c->rotation.propagation = 15;
	c->rotation.hold = 130;
	c->rotation.ack_timeout = 60;
	c->rotation.skew = 5;
	c->rotation.trash = 60;
	c->rotation.deadline = 90;
}

static int plug_setup(void **state)
{
	static char csr[2048];
	struct ct *t = ct_new();

	short_lives(t);
	snprintf(csr, sizeof(csr), "%s", t->csr);
	t->csr = csr;
	ct_init(t);
	ct_open_at(t, NOW_MS);
	ct_set_jwks(t, NOW_MS);
	*state = t;
	return 0;
}

static void maintain(struct ct *t, int64_t now)
{
	assert_ok(mica_core_tick(t->core, now * 1000, now * 1000, e));
	assert_ok(mica_core_maintain(t->core, now * 1000, NULL, e));
}

static enum mica_authority_state state_of(struct ct *t, const char *id, int64_t now)
{
	CORE_AUTO_VIEW v = mica_core_view_get(t->core);

	for (unsigned i = 0; i < v->auths->n; i++)
		if (strcmp(v->auths->v[i].id, id) == 0)
			return mica_authority_state_at(&v->auths->v[i], now);
	return 0;
}

static void issues(struct ct *t, int64_t now, size_t n_chain)
{
	struct mica_candidate *k = ct_issue(t, 100, now * 1000);
	struct mica_issued i;

	mica_candidate_issued(k, &i);
	assert_int_equal(i.n_chain, n_chain);
	assert_int_equal(ct_openssl(t, i.chain_der, i.n_chain, now), X509_V_OK);
	mica_candidate_free(k);
}

/* ---- files ----------------------------------------------------------------------------------- */

static struct mica_plug_file file(const char *name, const char *text)
{
	return (struct mica_plug_file){name, mica_slice_str(text ? text : "")};
}

/* As Istio has them; NULL for the chain: there is no such file. */
static struct mica_plug istio(const struct oca *ca, const char *chain, const char *roots)
{
	return (struct mica_plug){.cert = file("ca-cert.pem", oca_pem(ca)),
		.chain = file("cert-chain.pem", chain),
		.roots = file("root-cert.pem", roots),
		.key = file("ca-key.pem", oca_key_pem(ca->key, NULL))};
}

static struct mica_plug_result taken(struct ct *t, const struct mica_plug *p, int64_t now)
{
	struct mica_plug_result r;

	assert_ok(mica_core_plug(t->core, p, now * 1000, &r, e));
	return r;
}

#define refused(t, why, rc, p, now)                                                                \
	do {                                                                                       \
		struct mica_plug_result r_;                                                        \
		assert_refused(rc, why, mica_core_plug((t)->core, p, (now)*1000, &r_, e));         \
	} while (0)

static struct oca root_of(const char *cn)
{
	return oca_make(&(struct oca_spec){.cn = cn, .san = ""});
}

/* Without a URI, as those of others are. */
static struct oca below(const struct oca *root, const char *cn)
{
	return oca_make(
		&(struct oca_spec){.cn = cn, .by = root, .san = "DNS:istiod.istio-system.svc"});
}

/* ---- what is taken --------------------------------------------------------------------------- */

static void it_issues_with_what_is_plugged_in(void **state)
{
	struct ct *t = *state;
	struct oca root = root_of("root"), ca = below(&root, "a");
	struct mica_plug p = istio(&ca, NULL, oca_pem(&root));
	struct mica_plug_result r;

	assert_refused(
		MICA_UNAVAILABLE, "no_active_authority", mica_core_ready(t->core, NOW_MS, e));
	r = taken(t, &p, NOW);
	assert_true(r.changed);
	assert_true(r.active);
	issues(t, NOW, 2);
	assert_string_equal(ct_snapshot(t, MICA_CHANNEL_LIVE, MICA_FMT_BUNDLE_PEM), oca_pem(&root));
	/* the same again is nothing */
	r = taken(t, &p, NOW + 1);
	assert_false(r.changed);
	/* the key is in the store: the files are not needed any more */
	ct_reopen(t, NOW_MS + 2000);
	ct_set_jwks(t, NOW_MS + 2000);
	issues(t, NOW + 2, 2);
	oca_free(&root);
	oca_free(&ca);
}

/* What stands between is sent in order, whatever order it came in; the root is not. */
static void a_chain_is_put_in_order(void **state)
{
	struct ct *t = *state;
	struct oca root = root_of("root");
	struct oca top = oca_make(&(struct oca_spec){
		.cn = "top", .by = &root, .basic = "critical,CA:TRUE,pathlen:2"});
	struct oca mid = oca_make(&(struct oca_spec){
		.cn = "mid", .by = &top, .basic = "critical,CA:TRUE", .san = ""});
	struct oca ca = below(&mid, "a");
	struct oca other = below(&root, "other");
	char *in = tk_printf("%s%s%s%s%s", oca_pem(&root), oca_pem(&other), oca_pem(&top),
		oca_pem(&ca), oca_pem(&mid));
	/* five in one file are more than a chain can have */
	struct mica_plug p = istio(&ca, in, oca_pem(&root));

	refused(t, "pem_too_many", MICA_LIMIT, &p, NOW);
	p = istio(&ca, tk_printf("%s%s%s", oca_pem(&root), oca_pem(&top), oca_pem(&mid)),
		oca_pem(&root));
	assert_true(taken(t, &p, NOW).active);
	issues(t, NOW, 4);
	/* cert-manager has them behind the certificate */
	p = (struct mica_plug){
		.cert = file(
			"tls.crt", tk_printf("%s%s%s", oca_pem(&ca), oca_pem(&mid), oca_pem(&top))),
		.roots = file("ca.crt", oca_pem(&root)),
		.key = file("tls.key", oca_key_pem(ca.key, NULL))};
	assert_false(taken(t, &p, NOW).changed);
	/* the signed form leads to the root, too, and so do our own keys after a start */
	ct_reopen(t, NOW_MS + 1000);
	ct_set_jwks(t, NOW_MS + 1000);
	issues(t, NOW + 1, 4);
	oca_free(&root);
	oca_free(&top);
	oca_free(&mid);
	oca_free(&ca);
	oca_free(&other);
}

/* Below the same root the next one signs at once; back is a step like forth. */
static void another_below_the_same_root_signs_at_once(void **state)
{
	struct ct *t = *state;
	struct oca root = root_of("root"), ca[2] = {below(&root, "a"), below(&root, "b")};
	struct mica_plug_result r[2];
	int64_t now = NOW;

	for (int i = 0; i < 6; i++, now += 5) {
		struct mica_plug p = istio(&ca[i % 2], NULL, oca_pem(&root));

		r[i % 2] = taken(t, &p, now);
		maintain(t, now + 2);
		assert_int_equal(state_of(t, r[i % 2].issuing_id, now + 2), MICA_AS_ACTIVE);
		if (i)
			assert_int_equal(
				state_of(t, r[(i + 1) % 2].issuing_id, now + 2), MICA_AS_RETIRED);
		issues(t, now + 2, 2);
	}
	/* within one second, too */
	for (int i = 0; i < 2; i++) {
		struct mica_plug p = istio(&ca[i], NULL, oca_pem(&root));

		r[i] = taken(t, &p, now);
	}
	for (int i = 1; i < 5; i++)
		maintain(t, now + i);
	assert_int_equal(state_of(t, r[1].issuing_id, now + 5), MICA_AS_ACTIVE);
	oca_free(&root);
	oca_free(&ca[0]);
	oca_free(&ca[1]);
}

/* A new root is published first; what it signed is used when everybody has it. */
static void another_root_takes_its_time(void **state)
{
	struct ct *t = *state;
	struct oca root[2] = {root_of("root 1"), root_of("root 2")};
	struct oca ca[2] = {below(&root[0], "a"), below(&root[1], "b")};
	struct mica_plug p = istio(&ca[0], NULL, oca_pem(&root[0]));
	struct mica_plug_result r[2];
	int64_t now = NOW, active = 0;

	r[0] = taken(t, &p, now);
	for (; now < NOW + 30; now += 5)
		maintain(t, now);
	p = istio(&ca[1], NULL, oca_pem(&root[1]));
	r[1] = taken(t, &p, now);
	assert_true(r[1].changed);
	assert_false(r[1].active);
	assert_int_equal(state_of(t, r[1].root_id, now), MICA_AS_PUBLISHED);
	assert_non_null(
		strstr(ct_snapshot(t, MICA_CHANNEL_LIVE, MICA_FMT_BUNDLE_PEM), oca_pem(&root[1])));
	for (int64_t end = now + 300; now < end; now += 5) {
		maintain(t, now);
		issues(t, now, 2);
		if (!active && state_of(t, r[1].root_id, now) == MICA_AS_ACTIVE)
			active = now - (end - 300);
		(void)tk_empty_bin(state);
	}
	/* propagation and skew have passed, and nobody is missing */
	assert_in_range(active, 20, 90);
	assert_int_equal(state_of(t, r[1].issuing_id, now), MICA_AS_ACTIVE);
	assert_int_equal(state_of(t, r[0].root_id, now), MICA_AS_RETIRED);
	/* back again: whoever is here has the first root still */
	p = istio(&ca[0], NULL, oca_pem(&root[0]));
	r[0] = taken(t, &p, now);
	maintain(t, now + 2);
	assert_int_equal(state_of(t, r[0].root_id, now + 2), MICA_AS_ACTIVE);
	assert_int_equal(state_of(t, r[0].issuing_id, now + 2), MICA_AS_ACTIVE);
	issues(t, now + 2, 2);
	for (int i = 0; i < 2; i++) {
		oca_free(&root[i]);
		oca_free(&ca[i]);
	}
}

static void who_insists_does_not_wait(void **state)
{
	struct ct *t = *state;
	struct oca root[2] = {root_of("root 1"), root_of("root 2")};
	struct oca ca[2] = {below(&root[0], "a"), below(&root[1], "b")};
	struct mica_caller who = ct_role(MICA_ROLE_ADMIN);
	struct mica_plug p = istio(&ca[0], NULL, oca_pem(&root[0]));
	struct mica_plug_result r;

	(void)taken(t, &p, NOW);
	p = istio(&ca[1], NULL, oca_pem(&root[1]));
	r = taken(t, &p, NOW + 1);
	assert_refused(MICA_CONFLICT, "not_everywhere",
		mica_core_activate(t->core, r.root_id, false, &who, NOW_MS + 2000, e));
	assert_ok(mica_core_activate(t->core, r.root_id, true, &who, NOW_MS + 2000, e));
	assert_int_equal(state_of(t, r.issuing_id, NOW + 2), MICA_AS_ACTIVE);
	for (int i = 0; i < 2; i++) {
		oca_free(&root[i]);
		oca_free(&ca[i]);
	}
}

/* The next root can stand in the file long before anything below it does. */
static void roots_can_come_early(void **state)
{
	struct ct *t = *state;
	struct oca root[3] = {root_of("root 1"), root_of("root 2"), root_of("root 3")};
	struct oca ca[2] = {below(&root[0], "a"), below(&root[2], "b")};
	char *all = tk_printf("%s%s%s", oca_pem(&root[0]), oca_pem(&root[1]), oca_pem(&root[2]));
	struct mica_plug p = istio(&ca[0], NULL, all);
	struct mica_plug_result r = taken(t, &p, NOW);
	int64_t now;

	for (now = NOW; now < NOW + 200; now += 5)
		maintain(t, now);
	issues(t, now, 2);
	assert_int_equal(state_of(t, r.root_id, now), MICA_AS_ACTIVE);
	/* whoever is here has it by now: it is used at once, whichever of them it is */
	p = istio(&ca[1], NULL, all);
	r = taken(t, &p, now);
	assert_true(r.active);
	issues(t, now, 2);
	/* what was never used, and is not there any more, goes */
	p = istio(&ca[1], NULL, oca_pem(&root[2]));
	assert_true(taken(t, &p, now + 1).changed);
	assert_null(
		strstr(ct_snapshot(t, MICA_CHANNEL_LIVE, MICA_FMT_BUNDLE_PEM), oca_pem(&root[1])));
	assert_non_null(
		strstr(ct_snapshot(t, MICA_CHANNEL_LIVE, MICA_FMT_BUNDLE_PEM), oca_pem(&root[0])));
	for (int i = 0; i < 3; i++)
		oca_free(&root[i]);
	oca_free(&ca[0]);
	oca_free(&ca[1]);
}

/* Tools that renew a certificate and keep the key. */
static void the_same_key_with_another_certificate(void **state)
{
	struct ct *t = *state;
	struct oca root = root_of("root"), other = root_of("root 2"), ca = below(&root, "a"), again,
		   r2;
	struct mica_plug p = istio(&ca, NULL, oca_pem(&root));
	struct mica_plug_result r = taken(t, &p, NOW);

	EVP_PKEY_up_ref(ca.key);
	again = oca_make(&(struct oca_spec){
		.by = &root, .key = ca.key, .cn = "a", .san = "", .end = NOW + 5000});
	p = istio(&again, NULL, oca_pem(&root));
	assert_true(taken(t, &p, NOW + 1).changed);
	assert_int_equal(state_of(t, r.issuing_id, NOW + 1), MICA_AS_ACTIVE);
	issues(t, NOW + 1, 2);
	{
		CORE_AUTO_VIEW v = mica_core_view_get(t->core);

		assert_int_equal(
			v->auths->v[mica_core_active(v->auths, MICA_AUTHORITY_ISSUING, NOW + 1)]
				.not_after,
			NOW + 5000);
	}
	oca_free(&again);
	/* below another root that key would be two authorities */
	EVP_PKEY_up_ref(ca.key);
	again = oca_make(&(struct oca_spec){.by = &other, .key = ca.key, .cn = "a"});
	p = istio(&again, NULL, oca_pem(&other));
	refused(t, "same_key_other_root", MICA_CONFLICT, &p, NOW + 2);
	oca_free(&again);
	/* the root in the same way: whoever has the old certificate believes as well */
	EVP_PKEY_up_ref(root.key);
	r2 = oca_make(&(struct oca_spec){
		.cn = "root", .key = root.key, .san = "", .end = NOW + (int64_t)800 * 86400});
	p = istio(&ca, NULL, oca_pem(&r2));
	assert_true(taken(t, &p, NOW + 3).changed);
	assert_string_equal(ct_snapshot(t, MICA_CHANNEL_LIVE, MICA_FMT_BUNDLE_PEM), oca_pem(&r2));
	issues(t, NOW + 3, 2);
	oca_free(&r2);
	EVP_PKEY_up_ref(root.key);
	r2 = oca_make(&(struct oca_spec){.cn = "renamed", .key = root.key, .san = ""});
	again = oca_make(&(struct oca_spec){.by = &r2, .cn = "c", .san = ""});
	p = istio(&again, NULL, oca_pem(&r2));
	refused(t, "root_renamed", MICA_CONFLICT, &p, NOW + 4);
	oca_free(&again);
	oca_free(&r2);
	oca_free(&root);
	oca_free(&other);
	oca_free(&ca);
}

/* What strict clients want is not asked of those that others made; it is told. */
static void it_need_not_be_perfect(void **state)
{
	struct ct *t = *state;
	struct oca root = root_of("root");
	struct oca ca = oca_make(&(struct oca_spec){.by = &root,
		.basic = "CA:TRUE",
		.usage = "critical,digitalSignature,keyCertSign",
		.san = "",
		.ski = "",
		.aki = ""});
	struct mica_plug p = istio(&ca, NULL, oca_pem(&root));
	struct mica_plug_result r = taken(t, &p, NOW);
	struct mica_candidate *k;

	assert_true(r.active && r.no_crl_sign && r.no_key_ids);
	k = ct_issue(t, 100, NOW_MS);
	mica_candidate_free(k);
	/* there is no CRL, and that is no trouble */
	maintain(t, NOW + 1);
	maintain(t, NOW + 30);
	oca_free(&root);
	oca_free(&ca);
}

/* cert-manager does not mind when an authority ends behind its issuer; we issue to the first end.
 */
static void the_first_end_of_the_path_counts(void **state)
{
	struct ct *t = *state;
	struct oca root = oca_make(&(struct oca_spec){.cn = "root", .san = "", .end = NOW + 2000});
	struct oca mid = oca_make(&(struct oca_spec){.cn = "mid",
		.by = &root,
		.basic = "critical,CA:TRUE",
		.san = "",
		.end = NOW + 600});
	struct oca ca = below(&mid, "a"), soon, r2;
	struct mica_plug p = istio(&ca, oca_pem(&mid), oca_pem(&root));
	struct mica_candidate *k;
	struct mica_issued i;

	(void)taken(t, &p, NOW);
	k = ct_issue(t, 100, (NOW + 550) * 1000);
	mica_candidate_issued(k, &i);
	assert_int_equal(i.not_after, NOW + 600);
	assert_true(i.ttl_clamped);
	mica_candidate_free(k);
	/* too soon is too soon, wherever it is */
	soon = oca_make(&(struct oca_spec){.cn = "mid",
		.by = &root,
		.basic = "critical,CA:TRUE",
		.san = "",
		.end = NOW + 300});
	r2 = below(&soon, "b");
	p = istio(&r2, oca_pem(&soon), oca_pem(&root));
	refused(t, "ca_too_short", MICA_INVALID, &p, NOW);
	oca_free(&root);
	oca_free(&mid);
	oca_free(&ca);
	oca_free(&soon);
	oca_free(&r2);
}

/* ---- what is refused ------------------------------------------------------------------------- */

static void each_flaw_of_the_authority_has_its_name(void **state)
{
	struct ct *t = *state;
	struct oca root = root_of("root"), good = below(&root, "good"), stranger = root_of("other");
	struct oca forger = root_of("root");
	struct oca narrow = oca_make(&(struct oca_spec){
		.cn = "narrow", .san = "", .basic = "critical,CA:TRUE,pathlen:0"});
	const struct {
		const char *why;
		struct oca_spec s;
	} flaws[] = {
		{"ca_not_authority", {.basic = "critical,CA:FALSE"}},
		{"ca_key_usage", {.usage = "critical,digitalSignature"}},
		{"ca_key_usage", {.usage = ""}},
		{"ca_ext_key_usage", {.eku = "clientAuth"}},
		{"ca_name_constraints", {.constraints = "permitted;DNS:example.org"}},
		{"ca_key_usage", {.usage = "keyCertSign"}},
		{"ca_key_id", {.ski = "010203"}},
		{"ca_trust_domain", {.san = "URI:spiffe://cluster.local"}},
		{"ca_expired", {.begin = NOW - 100, .end = NOW - 1}},
		{"ca_too_short", {.end = NOW + 374}},
		{"ca_signature", {.sign = &forger}},
		{"ca_issuer_unknown", {.by = &stranger}},
		{"ca_key_type", {.key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519")}},
		{"key_weak", {.key = EVP_RSA_gen(1024)}},
		{"key_type_not_allowed", {.key = EVP_EC_gen("secp256k1")}},
	};
	struct mica_plug p = istio(&good, NULL, oca_pem(&root));
	struct mica_plug_result r = taken(t, &p, NOW);

	for (size_t i = 0; i < MICA_ARRAY_LEN(flaws); i++) {
		struct oca_spec s = flaws[i].s;
		struct oca c;

		s.cn = "a";
		s.by = s.by ? s.by : &root;
		s.san = s.san ? s.san : "";
		c = oca_make(&s);
		p = istio(&c, NULL, oca_pem(&root));
		refused(t, flaws[i].why, MICA_INVALID, &p, NOW + 1);
		oca_free(&c);
	}
	/* a path length above it */
	{
		struct oca c = below(&narrow, "a");

		p = istio(&c, NULL, oca_pem(&narrow));
		refused(t, "ca_path_length", MICA_INVALID, &p, NOW + 1);
		oca_free(&c);
	}
	/* what was there before goes on, untouched */
	assert_int_equal(state_of(t, r.issuing_id, NOW + 1), MICA_AS_ACTIVE);
	issues(t, NOW + 1, 2);
	oca_free(&root);
	oca_free(&good);
	oca_free(&stranger);
	oca_free(&forger);
	oca_free(&narrow);
}

static void each_flaw_of_the_files_has_its_name(void **state)
{
	struct ct *t = *state;
	struct oca root = root_of("root"), ca = below(&root, "a"), b = below(&root, "b");
	struct oca deep[4];
	struct mica_plug good = istio(&ca, NULL, oca_pem(&root)), p = good;
	struct mica_secret *pass = mica_secret_new("open sesame", 11);
	char *chain = tk_keep(mica_strdup(""));

	p.key = file("ca-key.pem", oca_key_pem(b.key, NULL));
	refused(t, "plugged_key_mismatch", MICA_INVALID, &p, NOW);
	p.key = file("ca-key.pem", "");
	refused(t, "plugged_key_form", MICA_INVALID, &p, NOW);
	p.key = file("ca-key.pem", tk_printf("%s%s", oca_key_pem(ca.key, NULL), oca_pem(&ca)));
	refused(t, "plugged_key_form", MICA_INVALID, &p, NOW);
	p.key = file("ca-key.pem", oca_key_pem(ca.key, "open sesame"));
	refused(t, "plugged_passphrase", MICA_INVALID, &p, NOW);
	p = good;
	p.passphrase = pass;
	refused(t, "plugged_passphrase", MICA_INVALID, &p, NOW);
	p.key = file("ca-key.pem", oca_key_pem(ca.key, "another"));
	refused(t, "plugged_passphrase", MICA_INVALID, &p, NOW);
	p = good;
	p.cert = file("ca-cert.pem", "");
	refused(t, "pem_empty", MICA_INVALID, &p, NOW);
	p.cert = file("ca-cert.pem", "nonsense");
	refused(t, "pem_malformed", MICA_INVALID, &p, NOW);
	p.cert = file("ca-cert.pem", oca_key_pem(ca.key, NULL));
	refused(t, "pem_label", MICA_INVALID, &p, NOW);
	p = good;
	p.roots = file("root-cert.pem", "");
	refused(t, "pem_empty", MICA_INVALID, &p, NOW);
	p.roots = file("root-cert.pem", oca_pem(&b));
	refused(t, "ca_issuer_unknown", MICA_INVALID, &p, NOW);
	p.roots = file("root-cert.pem", tk_printf("%s%s", oca_pem(&root), oca_pem(&b)));
	refused(t, "ca_not_self_signed", MICA_INVALID, &p, NOW);
	p = istio(&root, NULL, oca_pem(&root));
	refused(t, "plugged_is_root", MICA_INVALID, &p, NOW);
	/* a path that is longer than any that is verified */
	for (int i = 0; i < 4; i++) {
		deep[i] = oca_make(&(struct oca_spec){.cn = tk_printf("deep %d", i),
			.by = i ? &deep[i - 1] : &root,
			.basic = "critical,CA:TRUE",
			.san = ""});
		chain = tk_printf("%s%s", chain, oca_pem(&deep[i]));
	}
	oca_free(&b);
	b = below(&deep[3], "b");
	p = istio(&b, chain, oca_pem(&root));
	refused(t, "ca_path_length", MICA_INVALID, &p, NOW);
	for (int i = 0; i < 4; i++)
		oca_free(&deep[i]);
	/* nothing of it was left behind */
	assert_string_equal(ct_snapshot(t, MICA_CHANNEL_LIVE, MICA_FMT_BUNDLE_PEM), "");
	assert_true(taken(t, &good, NOW).active);
	mica_secret_free(pass);
	oca_free(&root);
	oca_free(&ca);
	oca_free(&b);
}

static void what_was_given_up_does_not_come_back(void **state)
{
	struct ct *t = *state;
	struct oca root = root_of("root"), other = root_of("root 2"), ca = below(&root, "a");
	struct oca b = below(&root, "b"), c = below(&other, "c");
	struct mica_caller who = ct_role(MICA_ROLE_ADMIN);
	struct mica_plug p = istio(&ca, NULL, oca_pem(&root));
	struct mica_plug_result r = taken(t, &p, NOW);
	int64_t now = NOW;

	assert_ok(mica_core_taint(t->core, r.issuing_id, &who, NOW_MS, e));
	refused(t, "key_given_up", MICA_CONFLICT, &p, NOW + 1);
	/* the root has vouched for it, and goes, too, when there is another one */
	p = istio(&c, NULL, tk_printf("%s%s", oca_pem(&other), oca_pem(&root)));
	(void)taken(t, &p, NOW + 2);
	for (now = NOW + 2; now < NOW + 300; now += 5)
		maintain(t, now);
	issues(t, now, 2);
	assert_int_equal(state_of(t, r.root_id, now), MICA_AS_REMOVED);
	assert_string_equal(
		ct_snapshot(t, MICA_CHANNEL_LIVE, MICA_FMT_BUNDLE_PEM), oca_pem(&other));
	/* it still stands in the files, and stays out; nothing comes below it any more */
	assert_false(taken(t, &p, now).changed);
	p = istio(&b, NULL, oca_pem(&root));
	refused(t, "root_unusable", MICA_CONFLICT, &p, now);
	oca_free(&root);
	oca_free(&other);
	oca_free(&ca);
	oca_free(&b);
	oca_free(&c);
}

static void only_with_that_setting(void **state)
{
	struct ct *t = *state;
	struct oca root = root_of("root"), ca = below(&root, "a");
	struct mica_plug p = istio(&ca, NULL, oca_pem(&root));
	struct mica_err own = MICA_ERR_INIT;
	struct mica_plug_result r;

	/* all of it or nothing */
	mica_store_set_fault(t->core->store, MICA_FAULT_FULL, 0);
	assert_int_equal(mica_core_plug(t->core, &p, NOW_MS, &r, &own), MICA_UNAVAILABLE);
	assert_string_equal(ct_snapshot(t, MICA_CHANNEL_LIVE, MICA_FMT_BUNDLE_PEM), "");
	t->config.authorities.root = MICA_ROOT_OWN;
	ct_reopen(t, NOW_MS);
	refused(t, "root_not_in_files", MICA_CONFLICT, &p, NOW);
	oca_free(&root);
	oca_free(&ca);
}

/* ---- forms of keys --------------------------------------------------------------------------- */

static char *old_form(EVP_PKEY *key, bool params)
{
	BIO *b = BIO_new(BIO_s_mem());

	if (params) /* `openssl ecparam -genkey` */
		BIO_puts(b,
			"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n"
			"-----END EC PARAMETERS-----\n");
	assert_int_equal(
		PEM_write_bio_PrivateKey_traditional(b, key, NULL, NULL, 0, NULL, NULL), 1);
	return oca_bio(b);
}

static void keys_come_in_many_forms(void **state)
{
	struct mica_secret *pass = mica_secret_new("open sesame", 11);
	EVP_PKEY *keys[] = {oca_key(), EVP_EC_gen("P-384"), EVP_RSA_gen(2048)};
	struct mica_signer *s[4] = {NULL};

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(keys); i++) {
		const char *plain = oca_key_pem(keys[i], NULL);

		assert_ok(mica_ca_key_read(mica_slice_str(plain), NULL, &s[0], e));
		assert_ok(mica_ca_key_read(
			mica_slice_str(oca_key_pem(keys[i], "open sesame")), pass, &s[1], e));
		assert_ok(
			mica_ca_key_read(mica_slice_str(old_form(keys[i], false)), NULL, &s[2], e));
		assert_ok(mica_ca_key_read(
			mica_slice_str(old_form(keys[i], i == 0)), NULL, &s[3], e));
		for (size_t k = 0; k < MICA_ARRAY_LEN(s); k++) {
			assert_true(
				mica_pubkey_eq(mica_signer_public(s[0]), mica_signer_public(s[k])));
			assert_ok(mica_signer_probe(s[k], e));
		}
		for (size_t k = 0; k < MICA_ARRAY_LEN(s); k++)
			mica_signer_free(s[k]);
		EVP_PKEY_free(keys[i]);
	}
	mica_secret_free(pass);
	(void)tk_empty_bin(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(it_issues_with_what_is_plugged_in),
		TEST(a_chain_is_put_in_order),
		TEST(another_below_the_same_root_signs_at_once),
		TEST(another_root_takes_its_time),
		TEST(who_insists_does_not_wait),
		TEST(roots_can_come_early),
		TEST(the_same_key_with_another_certificate),
		TEST(it_need_not_be_perfect),
		TEST(the_first_end_of_the_path_counts),
		TEST(each_flaw_of_the_authority_has_its_name),
		TEST(each_flaw_of_the_files_has_its_name),
		TEST(what_was_given_up_does_not_come_back),
		TEST(only_with_that_setting),
		cmocka_unit_test(keys_come_in_many_forms),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
