/* SPDX-License-Identifier: Apache-2.0 */
/* A root whose key is elsewhere: OpenSSL is its keeper, and makes whatever can be wrong. */
#include "../../ca/core_impl.h"

#include "coretest.h"
#include "otherca.h"

#include "mica/csr.h"
#include "mica/pem.h"

#define TEST(f) cmocka_unit_test_setup_teardown(f, off_setup, ct_teardown)

/* Lives of minutes, as of a playground. */
static void short_lives(struct ct *t)
{
	struct mica_config *c = &t->config;

	c->x509.ttl = 60;
	c->x509.max_ttl = 120;
	c->x509.min_ttl = 1;
	c->jwt.ttl = c->jwt.max_ttl = 60;
	c->bundle.refresh_hint = 5;
	c->authorities.root = MICA_ROOT_OFFLINE;
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

static int off_setup(void **state)
{
	static char csr[2048];
	struct ct *t = ct_new();

	short_lives(t);
	snprintf(csr, sizeof(csr), "%s", t->csr); /* long tests throw away what others keep */
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

static struct mica_caller admin(void)
{
	return ct_role(MICA_ROLE_ADMIN);
}

static unsigned count(struct ct *t, enum mica_authority_kind kind, enum mica_authority_state s,
	int64_t now, char id[MICA_KEY_ID_SIZE])
{
	CORE_AUTO_VIEW v = mica_core_view_get(t->core);
	unsigned n = 0;

	for (unsigned i = 0; i < v->auths->n; i++) {
		if (v->auths->v[i].kind != kind ||
			mica_authority_state_at(&v->auths->v[i], now) != s)
			continue;
		if (id)
			memcpy(id, v->auths->v[i].id, MICA_KEY_ID_SIZE);
		n++;
	}
	return n;
}

static void verifies(struct ct *t, const struct mica_candidate *k, int64_t now)
{
	struct mica_issued i;

	mica_candidate_issued(k, &i);
	assert_int_equal(ct_openssl(t, i.chain_der, i.n_chain, now), X509_V_OK);
}

static void issues(struct ct *t, int64_t now)
{
	struct mica_candidate *k = ct_issue(t, 100, now * 1000);

	verifies(t, k, now);
	mica_candidate_free(k);
}

/* ---- the keeper of the root ------------------------------------------------------------------ */

static json_t *requests(struct ct *t, unsigned n, int64_t now)
{
	struct mica_caller who = admin();
	struct mica_buf b;
	json_t *j;

	mica_buf_init(&b, 1 << 20);
	assert_ok(mica_core_requests(t->core, n, &who, now * 1000, &b, e));
	j = ct_json(&b);
	mica_buf_clear(&b);
	return j;
}

static X509_REQ *request(const json_t *list, size_t i)
{
	const json_t *r = json_array_get(json_object_get(list, "requests"), i);
	BIO *b = BIO_new_mem_buf(json_string_value(json_object_get(r, "csr")), -1);
	X509_REQ *req = PEM_read_bio_X509_REQ(b, NULL, NULL, NULL);
	EVP_PKEY *key;

	assert_non_null(req);
	key = X509_REQ_get_pubkey(req);
	assert_int_equal(X509_REQ_verify(req, key), 1);
	EVP_PKEY_free(key);
	BIO_free(b);
	return req;
}

static mica_rc bring(
	struct ct *t, const char *pem, bool new_root, bool standby, int64_t now, struct mica_err *e)
{
	const struct mica_import in = {
		.pem = mica_slice_str(pem), .new_root = new_root, .standby = standby};
	struct mica_caller who = admin();
	MICA_AUTO_BUF out;

	mica_buf_init(&out, 1 << 16);
	return mica_core_import(t->core, &in, &who, now * 1000, &out, e);
}

/* Signs all requests that wait: the first lives for `life`, each other one for `more` longer. */
static char *sign_all(struct ct *t, const struct oca *root, int64_t now, int64_t life, int64_t more)
{
	json_t *list = requests(t, 0, now);
	char *all = tk_keep(mica_strdup(""));

	for (size_t i = 0; i < json_array_size(json_object_get(list, "requests")); i++) {
		X509_REQ *req = request(list, i);
		struct oca_spec s = {.by = root,
			.req = req,
			.begin = now - 10,
			.end = now + life + more * (int64_t)i};
		struct oca c = oca_make(&s);

		all = tk_printf("%s%s", all, oca_pem(&c));
		oca_free(&c);
		X509_REQ_free(req);
	}
	json_decref(list);
	return all;
}

static struct oca new_root(const char *cn, int64_t now, int64_t life)
{
	return oca_make(&(struct oca_spec){.cn = cn, .begin = now - 10, .end = now + life});
}

/* A root, and all that waits signed by it. */
static struct oca first_root(struct ct *t)
{
	struct oca root = new_root("root 1", NOW, 20000);

	assert_ok(bring(t, tk_printf("%s%s", oca_pem(&root), sign_all(t, &root, NOW, 900, 450)),
		true, false, NOW, e));
	return root;
}

/* ---- from the beginning ---------------------------------------------------------------------- */

static void nothing_is_issued_before_the_root_has_signed(void **state)
{
	struct ct *t = *state;
	struct mica_core_stats s;
	struct mica_caller who;
	struct mica_x509_request r;
	struct mica_candidate *k = NULL;
	struct oca root;

	assert_int_equal(count(t, MICA_AUTHORITY_ROOT, MICA_AS_ACTIVE, NOW, NULL), 0);
	assert_int_equal(count(t, MICA_AUTHORITY_ISSUING, MICA_AS_PENDING, NOW, NULL), 3);
	maintain(t, NOW);
	ct_caller(t, NOW_MS, &who);
	r = ct_request(t, &who);
	assert_refused(MICA_UNAVAILABLE, "no_active_authority",
		mica_core_prepare_x509(t->core, &r, NOW_MS, &k, e));
	assert_refused(
		MICA_UNAVAILABLE, "no_active_authority", mica_core_ready(t->core, NOW_MS, e));
	mica_core_stats(t->core, &s);
	assert_true(s.signature_needed);
	/* tokens need no root */
	assert_non_null(
		strstr(ct_snapshot(t, MICA_CHANNEL_LIVE, MICA_FMT_BUNDLE_JSON), "jwt-svid"));
	root = first_root(t);
	assert_int_equal(count(t, MICA_AUTHORITY_ROOT, MICA_AS_ACTIVE, NOW, NULL), 1);
	assert_int_equal(count(t, MICA_AUTHORITY_ISSUING, MICA_AS_ACTIVE, NOW, NULL), 1);
	assert_int_equal(count(t, MICA_AUTHORITY_ISSUING, MICA_AS_READY, NOW, NULL), 2);
	issues(t, NOW);
	mica_core_stats(t->core, &s);
	assert_int_equal(s.signed_ahead, 2);
	assert_false(s.signature_needed);
	/* all of it is in the store */
	ct_reopen(t, NOW_MS + 1000);
	ct_set_jwks(t, NOW_MS + 1000);
	assert_ok(mica_core_ready(t->core, NOW_MS + 1000, e));
	issues(t, NOW + 1);
	oca_free(&root);
}

/* The root may come before what it signs, and the other way round is refused by its name. */
static void a_root_that_has_signed_nothing_waits(void **state)
{
	struct ct *t = *state;
	struct oca root = new_root("root 1", NOW, 20000);
	char *signed_by_it = sign_all(t, &root, NOW, 900, 450);

	assert_refused(MICA_INVALID, "issuer_unknown", bring(t, signed_by_it, true, false, NOW, e));
	assert_refused(
		MICA_INVALID, "root_unknown", bring(t, oca_pem(&root), false, false, NOW, e));
	assert_ok(bring(t, oca_pem(&root), true, false, NOW, e));
	maintain(t, NOW + 1);
	assert_int_equal(count(t, MICA_AUTHORITY_ROOT, MICA_AS_PUBLISHED, NOW + 1, NULL), 1);
	assert_ok(bring(t, signed_by_it, false, false, NOW + 2, e));
	assert_int_equal(count(t, MICA_AUTHORITY_ROOT, MICA_AS_ACTIVE, NOW + 2, NULL), 1);
	issues(t, NOW + 2);
	assert_refused(MICA_CONFLICT, "imported_already",
		bring(t, tk_printf("%s%s", signed_by_it, oca_pem(&root)), false, false, NOW + 3,
			e));
	oca_free(&root);
}

static void requests_say_what_is_to_be_signed(void **state)
{
	struct ct *t = *state;
	const struct mica_key_policy any = {.types = ~0U};
	struct mica_caller who = admin();
	struct mica_pubkey key;
	MICA_AUTO_BUF none;
	char id[MICA_KEY_ID_SIZE];
	json_t *list = requests(t, 5, NOW), *r;
	const char *extensions = json_string_value(json_object_get(list, "extensions"));

	assert_int_equal(json_integer_value(json_object_get(list, "made")), 2);
	assert_int_equal(json_array_size(json_object_get(list, "requests")), 5);
	for (size_t i = 0; i < 5; i++) {
		r = json_array_get(json_object_get(list, "requests"), i);
		assert_ok(
			mica_csr_read(mica_slice_str(json_string_value(json_object_get(r, "csr"))),
				&any, &key, e));
		mica_pubkey_id_hex(&key, id);
		assert_string_equal(json_string_value(json_object_get(r, "id")), id);
		assert_non_null(strstr(extensions, tk_printf("[ mica_%s ]", id)));
	}
	json_decref(list);
	/* as many as wait are enough */
	list = requests(t, 5, NOW + 1);
	assert_int_equal(json_integer_value(json_object_get(list, "made")), 0);
	json_decref(list);
	mica_buf_init(&none, 64);
	assert_refused(MICA_INVALID, "too_many_requests_ahead",
		mica_core_requests(t->core, MICA_REQUESTS_MAX + 1, &who, NOW_MS, &none, e));
}

/* ---- what is refused ------------------------------------------------------------------------- */

struct flaw {
	const char *why;
	mica_rc rc;
	struct oca_spec s;
};

static void refuse_issuing(struct ct *t, const struct oca *root, const struct flaw *f)
{
	json_t *list = requests(t, 0, NOW);
	X509_REQ *req = request(list, 0);
	struct oca_spec s = f->s;
	struct oca c;

	s.by = s.by ? s.by : root;
	s.req = s.key ? NULL : req;
	s.begin = s.begin ? s.begin : NOW - 10;
	s.end = s.end ? s.end : NOW + 900;
	c = oca_make(&s);
	assert_refused(f->rc, f->why, bring(t, oca_pem(&c), false, false, NOW, e));
	oca_free(&c);
	X509_REQ_free(req);
	json_decref(list);
}

static void each_flaw_of_an_issuing_certificate_has_its_name(void **state)
{
	struct ct *t = *state;
	struct oca root = first_root(t), stranger = new_root("stranger", NOW, 20000);
	/* another key under the root's name */
	struct oca forger = new_root("root 1", NOW, 20000);
	const struct flaw flaws[] = {
		{"ca_not_authority", MICA_INVALID, {.basic = "critical,CA:FALSE"}},
		{"ca_not_authority", MICA_INVALID, {.basic = ""}},
		{"ca_key_usage", MICA_INVALID, {.usage = "critical,cRLSign"}},
		{"ca_key_usage", MICA_INVALID, {.usage = "critical,keyCertSign"}},
		{"ca_key_usage", MICA_INVALID, {.usage = "keyCertSign,cRLSign"}},
		{"ca_key_usage", MICA_INVALID, {.usage = ""}},
		{"ca_ext_key_usage", MICA_INVALID, {.eku = "serverAuth"}},
		{"ca_ext_key_usage", MICA_INVALID, {.eku = "codeSigning"}},
		{"ca_name_constraints", MICA_INVALID, {.constraints = "permitted;DNS:example.org"}},
		{"cert_extension_unknown", MICA_INVALID,
			{.constraints = "critical,permitted;DNS:example.org"}},
		{"ca_path_length", MICA_INVALID, {.basic = "critical,CA:TRUE"}},
		{"ca_path_length", MICA_INVALID, {.basic = "critical,CA:TRUE,pathlen:1"}},
		{"ca_uri_missing", MICA_INVALID, {.san = ""}},
		{"ca_uri_missing", MICA_INVALID, {.san = "DNS:example.org"}},
		{"ca_uri_missing", MICA_INVALID, {.san = "URI:spiffe://" TD ",URI:https://x"}},
		{"ca_trust_domain", MICA_INVALID, {.san = "URI:spiffe://example.com"}},
		{"ca_trust_domain", MICA_INVALID, {.san = "URI:spiffe://" TD "/mica"}},
		{"ca_not_authority", MICA_INVALID, {.basic = "CA:TRUE,pathlen:0"}},
		{"ca_key_id", MICA_INVALID, {.ski = "0102030405"}},
		{"ca_key_id", MICA_INVALID, {.ski = ""}},
		{"ca_key_id", MICA_INVALID, {.aki = ""}},
		{"ca_expired", MICA_INVALID, {.begin = NOW - 100, .end = NOW - 1}},
		{"ca_too_short", MICA_INVALID, {.end = NOW + 374}},
		{"ca_too_short", MICA_INVALID, {.begin = NOW + 800, .end = NOW + 1100}},
		{"ca_outlives_issuer", MICA_INVALID, {.end = NOW + 20001}},
		{"ca_signature", MICA_INVALID, {.sign = &forger}},
		{"issuer_unknown", MICA_INVALID, {.by = &stranger}},
	};

	json_decref(requests(t, 1, NOW));
	for (size_t i = 0; i < MICA_ARRAY_LEN(flaws); i++)
		refuse_issuing(t, &root, &flaws[i]);
	/* without a flaw it is taken: what was refused was refused for its flaw */
	assert_ok(bring(t, sign_all(t, &root, NOW, 375, 0), false, false, NOW, e));
	oca_free(&root);
	oca_free(&stranger);
	oca_free(&forger);
}

static void keys_that_nobody_asked_for_are_refused(void **state)
{
	struct ct *t = *state;
	struct oca root = first_root(t);
	struct oca own = oca_make(&(struct oca_spec){.by = &root, .end = NOW + 900});
	struct oca twice, same, rest;
	EVP_PKEY *used;
	X509_REQ *req;
	json_t *list = requests(t, 1, NOW);
	struct mica_caller who = admin();
	char id[MICA_KEY_ID_SIZE];

	assert_refused(
		MICA_INVALID, "no_such_request", bring(t, oca_pem(&own), false, false, NOW, e));
	/* a request is answered once */
	req = request(list, 0);
	same = oca_make(&(struct oca_spec){.by = &root, .req = req, .end = NOW + 900});
	twice = oca_make(&(struct oca_spec){.by = &root, .req = req, .end = NOW + 901});
	assert_ok(bring(t, oca_pem(&same), false, false, NOW, e));
	assert_refused(MICA_CONFLICT, "already_certified",
		bring(t, oca_pem(&twice), false, false, NOW, e));
	assert_refused(
		MICA_CONFLICT, "imported_already", bring(t, oca_pem(&same), false, false, NOW, e));
	/* a root with a key of ours would be one that is here */
	X509_REQ_free(req);
	json_decref(list);
	list = requests(t, 1, NOW);
	req = request(list, 0);
	used = X509_REQ_get_pubkey(req);
	rest = oca_make(&(struct oca_spec){
		.by = &root, .key = used, .cn = "root 1", .begin = NOW - 9, .end = NOW + 900});
	assert_refused(MICA_CONFLICT, "key_taken", bring(t, oca_pem(&rest), true, false, NOW, e));
	oca_free(&rest);
	/* one that was given up */
	assert_int_equal(count(t, MICA_AUTHORITY_ISSUING, MICA_AS_PENDING, NOW, id), 1);
	assert_ok(mica_core_revoke(t->core, id, false, &who, NOW_MS, e));
	rest = oca_make(&(struct oca_spec){.by = &root, .req = req, .end = NOW + 900});
	assert_refused(
		MICA_CONFLICT, "already_certified", bring(t, oca_pem(&rest), false, false, NOW, e));
	oca_free(&rest);
	X509_REQ_free(req);
	json_decref(list);
	oca_free(&own);
	oca_free(&same);
	oca_free(&twice);
	oca_free(&root);
}

static void a_subject_is_had_once(void **state)
{
	struct ct *t = *state;
	struct oca root = first_root(t), again = new_root("root 1", NOW, 20000), c[2];
	X509_REQ *req[2];
	EVP_PKEY *key;
	json_t *list = requests(t, 2, NOW);

	assert_refused(
		MICA_CONFLICT, "subject_taken", bring(t, oca_pem(&again), true, false, NOW, e));
	for (size_t i = 0; i < 2; i++) {
		req[i] = request(list, i);
		key = X509_REQ_get_pubkey(req[i]);
		c[i] = oca_make(&(struct oca_spec){
			.by = &root, .key = key, .cn = "issuing", .end = NOW + 900});
	}
	assert_refused(MICA_CONFLICT, "subject_taken",
		bring(t, tk_printf("%s%s", oca_pem(&c[0]), oca_pem(&c[1])), false, false, NOW, e));
	assert_int_equal(count(t, MICA_AUTHORITY_ISSUING, MICA_AS_PENDING, NOW, NULL), 2);
	assert_ok(bring(t, oca_pem(&c[0]), false, false, NOW, e));
	assert_refused(
		MICA_CONFLICT, "subject_taken", bring(t, oca_pem(&c[1]), false, false, NOW, e));
	for (size_t i = 0; i < 2; i++) {
		X509_REQ_free(req[i]);
		oca_free(&c[i]);
	}
	json_decref(list);
	oca_free(&root);
	oca_free(&again);
}

static void each_flaw_of_a_root_has_its_name(void **state)
{
	struct ct *t = *state;
	struct oca root = first_root(t), other = new_root("other", NOW, 20000), c;
	const struct flaw flaws[] = {
		{"ca_not_authority", MICA_INVALID, {.basic = "critical,CA:FALSE"}},
		{"ca_key_usage", MICA_INVALID, {.usage = "critical,digitalSignature"}},
		{"ca_name_constraints", MICA_INVALID, {.constraints = "permitted;DNS:example.org"}},
		{"ca_key_id", MICA_INVALID, {.ski = "", .aki = ""}},
		{"ca_trust_domain", MICA_INVALID, {.san = "URI:spiffe://example.com"}},
		{"ca_expired", MICA_INVALID, {.end = NOW - 1}},
		{"ca_too_short", MICA_INVALID, {.end = NOW + 1124}},
		{"ca_not_yet_valid", MICA_INVALID, {.begin = NOW + 6, .end = NOW + 9000}},
		{"ca_not_self_signed", MICA_INVALID, {.sign = &other}},
		{"ca_subject_empty", MICA_INVALID, {.cn = ""}},
	};

	for (size_t i = 0; i < MICA_ARRAY_LEN(flaws); i++) {
		struct oca_spec s = flaws[i].s;

		s.cn = s.cn ? s.cn : "root 2";
		c = oca_make(&s);
		/* an empty name is no certificate at all: it has no issuer */
		assert_refused(flaws[i].rc,
			strcmp(flaws[i].why, "ca_subject_empty") == 0 ? "cert_malformed"
								      : flaws[i].why,
			bring(t, oca_pem(&c), true, false, NOW, e));
		oca_free(&c);
	}
	/* the same key again is no rotation */
	EVP_PKEY_up_ref(root.key);
	c = oca_make(&(struct oca_spec){.cn = "root 2", .key = root.key});
	assert_refused(MICA_CONFLICT, "key_taken", bring(t, oca_pem(&c), true, false, NOW, e));
	oca_free(&c);
	/* a root may have no URI at all */
	c = oca_make(&(struct oca_spec){.cn = "root 2", .san = "", .begin = NOW + 4});
	assert_ok(bring(t, oca_pem(&c), true, false, NOW, e));
	oca_free(&c);
	oca_free(&root);
	oca_free(&other);
}

static void what_is_no_certificate_is_refused(void **state)
{
	struct ct *t = *state;
	struct oca root = first_root(t), weak;
	EVP_PKEY *rsa = EVP_RSA_gen(1024);
	char *pem = oca_pem(&root), *many = tk_keep(mica_strdup(""));

	assert_refused(MICA_INVALID, "import_empty", bring(t, "", false, false, NOW, e));
	assert_refused(MICA_INVALID, "import_empty", bring(t, "\n\n", false, false, NOW, e));
	assert_refused(
		MICA_INVALID, "pem_malformed", bring(t, "Certificate:\n", false, false, NOW, e));
	assert_refused(MICA_INVALID, "pem_malformed",
		bring(t, tk_printf("Data: text\n%s", pem), false, false, NOW, e));
	assert_refused(MICA_INVALID, "pem_label",
		bring(t, oca_key_pem(root.key, NULL), false, false, NOW, e));
	assert_refused(MICA_INVALID, "cert_malformed",
		bring(t, "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n", false,
			false, NOW, e));
	for (int i = 0; i < MICA_IMPORT_MAX + 1; i++)
		many = tk_printf("%s%s", many, pem);
	assert_refused(MICA_LIMIT, "pem_too_many", bring(t, many, false, false, NOW, e));
	weak = oca_make(&(struct oca_spec){.cn = "weak", .key = rsa});
	assert_refused(MICA_INVALID, "key_weak", bring(t, oca_pem(&weak), true, false, NOW, e));
	oca_free(&weak);
	oca_free(&root);
}

/* One that is wrong leaves nothing of the others behind. */
static void an_import_is_whole_or_not_at_all(void **state)
{
	struct ct *t = *state;
	struct oca root = new_root("root 1", NOW, 20000), wrong;
	uint64_t before = mica_core_bundle_sequence(t->core, MICA_CHANNEL_LIVE);
	struct mica_core_stats s[2];
	struct mica_err own = MICA_ERR_INIT;
	char *good = tk_printf("%s%s", oca_pem(&root), sign_all(t, &root, NOW, 900, 450));

	wrong = oca_make(&(struct oca_spec){.by = &root, .cn = "unasked", .end = NOW + 900});
	mica_core_stats(t->core, &s[0]);
	assert_refused(MICA_INVALID, "no_such_request",
		bring(t, tk_printf("%s%s", good, oca_pem(&wrong)), true, false, NOW, e));
	mica_core_stats(t->core, &s[1]);
	assert_int_equal(s[1].entries, s[0].entries);
	mica_store_set_fault(t->core->store, MICA_FAULT_FULL, 0);
	assert_int_equal(bring(t, good, true, false, NOW, &own), MICA_UNAVAILABLE);
	assert_int_equal(count(t, MICA_AUTHORITY_ROOT, MICA_AS_PUBLISHED, NOW, NULL), 0);
	assert_int_equal(mica_core_bundle_sequence(t->core, MICA_CHANNEL_LIVE), before);
	assert_ok(bring(t, good, true, false, NOW, e));
	assert_true(mica_core_bundle_sequence(t->core, MICA_CHANNEL_LIVE) > before);
	issues(t, NOW);
	oca_free(&wrong);
	oca_free(&root);
}

static void an_own_root_takes_no_requests(void **state)
{
	struct ct *t = *state;
	struct mica_caller who = admin();
	struct oca root = new_root("root 1", NOW, 20000);
	MICA_AUTO_BUF out;
	char id[41];

	mica_buf_init(&out, 1 << 16);
	assert_refused(MICA_CONFLICT, "root_is_elsewhere",
		mica_core_prepare_authority(
			t->core, MICA_AUTHORITY_ROOT, false, &who, NOW_MS, id, e));
	assert_refused(MICA_CONFLICT, "root_is_elsewhere",
		mica_core_prepare_authority(
			t->core, MICA_AUTHORITY_ROOT, true, &who, NOW_MS, id, e));
	t->config.authorities.root = MICA_ROOT_OWN;
	ct_reopen(t, NOW_MS);
	assert_refused(MICA_CONFLICT, "root_not_offline",
		mica_core_requests(t->core, 4, &who, NOW_MS, &out, e));
	assert_refused(
		MICA_CONFLICT, "root_not_offline", bring(t, oca_pem(&root), true, false, NOW, e));
	oca_free(&root);
}

/* ---- the root's CRL -------------------------------------------------------------------------- */

struct crl_spec {
	long number; /* -1 = none */
	int64_t begin, end;
	unsigned n; /* entries */
	const struct oca *sign; /* NULL = its issuer */
	bool delta;
	long version; /* 0 = 2 */
};

static char *crl_of(const struct oca *root, const struct crl_spec *s)
{
	X509_CRL *crl = X509_CRL_new();
	ASN1_TIME *t = ASN1_TIME_new();
	ASN1_INTEGER *n = ASN1_INTEGER_new();
	BIO *b = BIO_new(BIO_s_mem());

	X509_CRL_set_version(crl, s->version ? s->version - 1 : 1);
	X509_CRL_set_issuer_name(crl, X509_get_subject_name(root->cert));
	ASN1_TIME_set(t, (time_t)s->begin);
	X509_CRL_set1_lastUpdate(crl, t);
	for (unsigned i = 0; i < s->n; i++) {
		X509_REVOKED *r = X509_REVOKED_new();

		ASN1_INTEGER_set(n, 5 + i);
		X509_REVOKED_set_serialNumber(r, n);
		X509_REVOKED_set_revocationDate(r, t);
		X509_CRL_add0_revoked(crl, r);
	}
	ASN1_TIME_set(t, (time_t)s->end);
	X509_CRL_set1_nextUpdate(crl, t);
	ASN1_INTEGER_set(n, s->number);
	if (s->number >= 0)
		X509_CRL_add1_ext_i2d(crl, NID_crl_number, n, 0, 0);
	if (s->delta)
		X509_CRL_add1_ext_i2d(crl, NID_delta_crl, n, 1, 0);
	assert_true(X509_CRL_sign(crl, s->sign ? s->sign->key : root->key, EVP_sha256()) > 0);
	assert_int_equal(PEM_write_bio_X509_CRL(b, crl), 1);
	ASN1_INTEGER_free(n);
	ASN1_TIME_free(t);
	X509_CRL_free(crl);
	return oca_bio(b);
}

static void its_crl_is_published(void **state)
{
	struct ct *t = *state;
	struct oca root = first_root(t), other = new_root("other", NOW, 20000);
	const struct {
		const char *why;
		mica_rc rc;
		struct crl_spec s;
	} flaws[] = {
		{"crl_not_in_time", MICA_INVALID,
			{.number = 8, .begin = NOW - 100, .end = NOW - 1, .n = 1}},
		{"crl_not_in_time", MICA_INVALID,
			{.number = 8, .begin = NOW + 10, .end = NOW + 900, .n = 1}},
		{"crl_malformed", MICA_INVALID,
			{.number = -1, .begin = NOW - 10, .end = NOW + 900, .n = 1}},
		{"crl_malformed", MICA_INVALID,
			{.number = 8, .begin = NOW + 900, .end = NOW + 800, .n = 1}},
		{"crl_malformed", MICA_INVALID,
			{.number = -1, .begin = NOW - 10, .end = NOW + 900, .version = 1}},
		{"crl_bad_signature", MICA_INVALID,
			{.number = 8, .begin = NOW - 10, .end = NOW + 900, .sign = &other}},
		{"crl_extension_unknown", MICA_INVALID,
			{.number = 8, .begin = NOW - 10, .end = NOW + 900, .delta = true}},
	};
	const struct mica_snapshot *s = NULL;
	char id[MICA_KEY_ID_SIZE];
	char *good = crl_of(&root,
		&(struct crl_spec){.number = 7, .begin = NOW - 10, .end = NOW + 900, .n = 3});
	char *newest, *older, *twin, *many = tk_keep(mica_strdup(""));

	(void)count(t, MICA_AUTHORITY_ROOT, MICA_AS_ACTIVE, NOW, id);
	assert_refused(MICA_NOT_FOUND, "no_such_crl",
		mica_core_crl(t->core, mica_slice_str(id), MICA_CRL_PEM, &s, e));
	assert_ok(bring(t, good, false, false, NOW, e));
	for (int i = 0; i < 3; i++) {
		assert_ok(mica_core_crl(t->core, mica_slice_str(id), MICA_CRL_PEM, &s, e));
		assert_true(mica_slice_eq_str(s->bytes, good));
		mica_snapshot_unref(s);
		/* it stays: after other changes, and after a start */
		maintain(t, NOW + 20 * (i + 1));
		if (i == 1)
			ct_reopen(t, (NOW + 45) * 1000);
	}
	assert_ok(bring(t, good, false, false, NOW + 50, e)); /* it is there already */
	for (size_t i = 0; i < MICA_ARRAY_LEN(flaws); i++)
		assert_refused(flaws[i].rc, flaws[i].why,
			bring(t, crl_of(&root, &flaws[i].s), false, false, NOW, e));
	assert_refused(MICA_CONFLICT, "crl_not_newer",
		bring(t,
			crl_of(&root,
				&(struct crl_spec){
					.number = 6, .begin = NOW - 9, .end = NOW + 950}),
			false, false, NOW + 50, e));
	assert_refused(MICA_INVALID, "crl_wrong_issuer",
		bring(t,
			crl_of(&other,
				&(struct crl_spec){
					.number = 8, .begin = NOW - 9, .end = NOW + 950}),
			false, false, NOW + 50, e));
	newest = crl_of(&root, &(struct crl_spec){.number = 8, .begin = NOW - 9, .end = NOW + 950});
	assert_ok(bring(t, newest, false, false, NOW + 50, e));
	/* of several the newest, in whatever order they come; nothing of two that are one */
	older = crl_of(&root, &(struct crl_spec){.number = 9, .begin = NOW - 9, .end = NOW + 950});
	newest = crl_of(&root,
		&(struct crl_spec){.number = 10, .begin = NOW - 9, .end = NOW + 950, .n = 1});
	twin = crl_of(&root,
		&(struct crl_spec){.number = 10, .begin = NOW - 9, .end = NOW + 950, .n = 2});
	assert_refused(MICA_CONFLICT, "crl_not_newer",
		bring(t, tk_printf("%s%s%s", oca_pem(&other), newest, twin), true, false, NOW + 50,
			e));
	assert_int_equal(count(t, MICA_AUTHORITY_ROOT, MICA_AS_PUBLISHED, NOW + 50, NULL), 0);
	assert_ok(bring(t, tk_printf("%s%s", newest, older), false, false, NOW + 50, e));
	assert_ok(mica_core_crl(t->core, mica_slice_str(id), MICA_CRL_PEM, &s, e));
	assert_true(mica_slice_eq_str(s->bytes, newest));
	mica_snapshot_unref(s);
	/* all or nothing: a root that comes with a CRL that ended is not taken */
	assert_refused(MICA_INVALID, "crl_not_in_time",
		bring(t,
			tk_printf("%s%s", oca_pem(&other),
				crl_of(&other,
					&(struct crl_spec){
						.number = 1, .begin = NOW - 90, .end = NOW - 9})),
			true, false, NOW + 50, e));
	assert_int_equal(count(t, MICA_AUTHORITY_ROOT, MICA_AS_PUBLISHED, NOW + 50, NULL), 0);
	/* and with everything else at once */
	assert_ok(bring(t,
		tk_printf("%s%s",
			crl_of(&other,
				&(struct crl_spec){
					.number = 1, .begin = NOW - 9, .end = NOW + 950}),
			oca_pem(&other)),
		true, false, NOW + 50, e));
	/* as many of both as are taken at once, and one more */
	for (int i = 0; i < MICA_IMPORT_MAX; i++)
		many = tk_printf("%s%s%s", many, oca_pem(&root), newest);
	assert_ok(bring(t, many, false, false, NOW + 50, e));
	assert_refused(MICA_LIMIT, "pem_too_many",
		bring(t, tk_printf("%s%s", many, newest), false, false, NOW + 50, e));
	oca_free(&root);
	oca_free(&other);
}

/* ---- through time ---------------------------------------------------------------------------- */

/* Whether somebody is asked for, and by when. */
static bool is_needed(struct ct *t, int64_t *by)
{
	struct mica_core_stats s;

	mica_core_stats(t->core, &s);
	*by = s.signature_by;
	return s.signature_needed;
}

/* The keeper comes 100 seconds after being asked, which is in time; each leaf verifies from its
 * first second to its last. */
static void it_goes_on_for_long(void **state)
{
	struct ct *t = *state;
	struct oca root = first_root(t), next = {NULL, NULL};
	struct mica_candidate *k = NULL, *old = NULL;
	int64_t asked = 0, by, visits = 0, born = 0;
	char first[MICA_KEY_ID_SIZE], last[MICA_KEY_ID_SIZE];
	uint64_t sequence = 0, had;

	assert_int_equal(count(t, MICA_AUTHORITY_ROOT, MICA_AS_ACTIVE, NOW, first), 1);
	for (int64_t now = NOW + 1; now < NOW + 30000; now += 9) {
		maintain(t, now);
		asked = !is_needed(t, &by) ? 0 : asked ? asked : now;
		assert_true(!asked || now < by);
		if (asked && now > asked + 100) {
			json_decref(requests(t, 2, now));
			assert_ok(bring(t,
				sign_all(t, next.key ? &next : &root, now, 900 + by - now, 450),
				false, false, now, e));
			visits++;
			asked = 0;
			assert_false(is_needed(t, &by));
		}
		if (now > NOW + 9000 && !next.key) {
			next = new_root("root 2", now, 40000);
			json_decref(requests(t, 2, now));
			assert_ok(bring(t,
				tk_printf(
					"%s%s", oca_pem(&next), sign_all(t, &next, now, 1800, 450)),
				true, false, now, e));
		}
		if (!k || now >= born + 50) {
			mica_candidate_free(old);
			old = k;
			k = ct_issue(t, 115, now * 1000);
			born = now;
		}
		/* what is good under a bundle at first and at last is good in between */
		had = sequence;
		sequence = mica_core_bundle_sequence(t->core, MICA_CHANNEL_LIVE);
		if (sequence != had || now == born || now + 9 >= born + 50) {
			verifies(t, k, now);
			if (old)
				verifies(t, old, now);
		}
		(void)tk_empty_bin(state);
	}
	mica_candidate_free(k);
	mica_candidate_free(old);
	assert_int_equal(count(t, MICA_AUTHORITY_ROOT, MICA_AS_ACTIVE, NOW + 30000, last), 1);
	assert_string_not_equal(first, last);
	assert_null(strstr(ct_snapshot(t, MICA_CHANNEL_LIVE, MICA_FMT_BUNDLE_JSON), first));
	assert_true(visits > 5);
	oca_free(&root);
	oca_free(&next);
}

static const char *waits_for(struct ct *t, const char *kind, int64_t now)
{
	static char why[64];
	const json_t *r;
	size_t i;
	MICA_AUTO_BUF b;
	json_t *j;

	mica_buf_init(&b, 1 << 20);
	assert_ok(mica_core_rotation_status(t->core, now * 1000, &b, e));
	j = ct_json(&b);
	json_array_foreach (json_object_get(j, "rotations"), i, r)
		if (strcmp(json_string_value(json_object_get(r, "kind")), kind) == 0)
			snprintf(why, sizeof(why), "%s",
				json_string_value(json_object_get(r, "waits_for")));
	json_decref(j);
	return why;
}

/* Nobody comes: what was signed is used to its last, and then there is a plain word. */
static void without_a_signature_it_ends_with_a_word(void **state)
{
	struct ct *t = *state;
	struct oca root = first_root(t);
	int64_t by, now;
	bool warned = false;

	for (now = NOW + 1; now < NOW + 1700; now += 20) {
		maintain(t, now);
		issues(t, now);
		if (is_needed(t, &by) && !warned) {
			warned = true;
			/* two have to wait, and one was taken */
			assert_in_range(now, NOW + 300, NOW + 700);
			assert_in_range(by, NOW + 1500, NOW + 1700);
		}
		(void)tk_empty_bin(state);
	}
	assert_true(warned);
	assert_string_equal(waits_for(t, "issuing", now), "signature");
	for (; now < NOW + 1850; now += 20)
		maintain(t, now);
	assert_refused(
		MICA_UNAVAILABLE, "no_active_authority", mica_core_ready(t->core, now * 1000, e));
	/* it is never too late */
	json_decref(requests(t, 2, now));
	assert_ok(bring(t, sign_all(t, &root, now, 900, 450), false, false, now, e));
	issues(t, now);
	oca_free(&root);
}

/* The standby root serves at once, with what it has signed ahead. */
static void a_compromise_is_survived_by_the_standby(void **state)
{
	struct ct *t = *state;
	struct oca root = first_root(t), standby = new_root("standby", NOW, 20000);
	char id[MICA_KEY_ID_SIZE], serving[MICA_KEY_ID_SIZE], before[MICA_KEY_ID_SIZE];
	struct mica_caller who = admin();
	struct mica_candidate *k;
	int64_t now = NOW + 1;

	json_decref(requests(t, 2, now));
	assert_ok(bring(t,
		tk_printf("%s%s", oca_pem(&standby), sign_all(t, &standby, now, 1500, 100)), true,
		true, now, e));
	for (; now < NOW + 90; now += 10)
		maintain(t, now);
	/* by plan it is never used */
	assert_int_equal(count(t, MICA_AUTHORITY_ROOT, MICA_AS_READY, now, id), 1);
	assert_int_equal(count(t, MICA_AUTHORITY_ROOT, MICA_AS_ACTIVE, now, before), 1);
	k = ct_issue(t, 100, now * 1000);
	assert_int_equal(count(t, MICA_AUTHORITY_ISSUING, MICA_AS_ACTIVE, now, serving), 1);
	assert_ok(mica_core_taint(t->core, serving, &who, now * 1000, e));
	assert_int_equal(count(t, MICA_AUTHORITY_ROOT, MICA_AS_ACTIVE, now, serving), 1);
	assert_string_equal(serving, id);
	verifies(t, k, now);
	issues(t, now);
	for (int64_t end = now + 200; now < end; now += 10) {
		maintain(t, now);
		issues(t, now);
	}
	assert_int_equal(count(t, MICA_AUTHORITY_ROOT, MICA_AS_REMOVED, now, serving), 1);
	assert_string_equal(serving, before);
	/* nothing more below what was given up */
	assert_refused(MICA_CONFLICT, "root_unusable",
		bring(t, (json_decref(requests(t, 1, now)), sign_all(t, &root, now, 900, 0)), false,
			false, now, e));
	mica_candidate_free(k);
	oca_free(&root);
	oca_free(&standby);
}

/* Back to a root that is elsewhere: what it had signed signs again. */
static void a_rotation_is_rolled_back(void **state)
{
	struct ct *t = *state;
	struct oca root = first_root(t), next = new_root("root 2", NOW, 20000);
	struct mica_caller who = admin();
	char first[2][MICA_KEY_ID_SIZE], id[MICA_KEY_ID_SIZE];
	int64_t now = NOW + 1;
	char *pem;

	(void)count(t, MICA_AUTHORITY_ROOT, MICA_AS_ACTIVE, now, first[0]);
	(void)count(t, MICA_AUTHORITY_ISSUING, MICA_AS_ACTIVE, now, first[1]);
	json_decref(requests(t, 1, now));
	pem = sign_all(t, &next, now, 1500, 100);
	assert_ok(bring(t, oca_pem(&next), true, false, now, e));
	assert_int_equal(count(t, MICA_AUTHORITY_ROOT, MICA_AS_PUBLISHED, now, id), 1);
	/* not one that has signed nothing */
	assert_refused(MICA_CONFLICT, "not_usable",
		mica_core_activate(t->core, id, true, &who, now * 1000, e));
	assert_ok(bring(t, pem, false, false, now, e));
	assert_refused(MICA_CONFLICT, "not_everywhere",
		mica_core_activate(t->core, id, false, &who, now * 1000, e));
	assert_ok(mica_core_activate(t->core, id, true, &who, now * 1000, e));
	issues(t, now);
	/* all that was signed ahead below the first one is used up by hand, or gone */
	assert_ok(mica_core_roll_back(t->core, MICA_AUTHORITY_ROOT, false, &who, ++now * 1000, e));
	assert_int_equal(count(t, MICA_AUTHORITY_ROOT, MICA_AS_ACTIVE, now, id), 1);
	assert_string_equal(id, first[0]);
	issues(t, now);
	oca_free(&root);
	oca_free(&next);
}

/* By hand the next one takes over at once; below an offline root there is nothing to make. */
static void an_issuing_rotation_by_hand_uses_what_is_signed(void **state)
{
	struct ct *t = *state;
	struct oca root = first_root(t);
	struct mica_caller who = admin();
	char id[41], was[MICA_KEY_ID_SIZE], is[MICA_KEY_ID_SIZE];

	for (int i = 0; i < 2; i++) {
		(void)count(t, MICA_AUTHORITY_ISSUING, MICA_AS_ACTIVE, NOW, was);
		assert_ok(mica_core_rotation_start(
			t->core, MICA_AUTHORITY_ISSUING, &who, NOW_MS, id, e));
		assert_int_equal(count(t, MICA_AUTHORITY_ISSUING, MICA_AS_ACTIVE, NOW, is), 1);
		assert_string_equal(is, id);
		assert_string_not_equal(is, was);
	}
	assert_refused(MICA_CONFLICT, "signature_needed",
		mica_core_rotation_start(t->core, MICA_AUTHORITY_ISSUING, &who, NOW_MS, id, e));
	assert_refused(MICA_CONFLICT, "no_usable_root",
		mica_core_prepare_authority(
			t->core, MICA_AUTHORITY_ISSUING, false, &who, NOW_MS, id, e));
	issues(t, NOW);
	oca_free(&root);
}

/* A store with a root of its own goes over to an offline one, without a gap. */
static void an_own_root_is_followed_by_an_offline_one(void **state)
{
	struct ct *t = *state;
	struct oca root = new_root("root 1", NOW, 40000);
	char id[MICA_KEY_ID_SIZE];
	int64_t now;

	ct_close(t);
	ct_remove(t);
	ct_make_dir(t);
	t->config.authorities.root = MICA_ROOT_OWN;
	ct_init(t);
	t->config.authorities.root = MICA_ROOT_OFFLINE;
	ct_open_at(t, NOW_MS);
	ct_set_jwks(t, NOW_MS);
	json_decref(requests(t, 3, NOW));
	assert_ok(bring(t, tk_printf("%s%s", oca_pem(&root), sign_all(t, &root, NOW, 2000, 450)),
		true, false, NOW, e));
	for (now = NOW + 1; now < NOW + 1000; now += 9) {
		maintain(t, now);
		issues(t, now);
		(void)tk_empty_bin(state);
	}
	assert_int_equal(count(t, MICA_AUTHORITY_ROOT, MICA_AS_ACTIVE, now, id), 1);
	{
		CORE_AUTO_VIEW v = mica_core_view_get(t->core);
		int at = mica_authority_active(
			v->auths->v, v->auths->n, MICA_SET_DEFAULT, MICA_AUTHORITY_ROOT, now);

		assert_int_equal(v->auths->v[at].envelope.len, 0);
	}
	oca_free(&root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(nothing_is_issued_before_the_root_has_signed),
		TEST(a_root_that_has_signed_nothing_waits),
		TEST(requests_say_what_is_to_be_signed),
		TEST(each_flaw_of_an_issuing_certificate_has_its_name),
		TEST(keys_that_nobody_asked_for_are_refused),
		TEST(a_subject_is_had_once),
		TEST(each_flaw_of_a_root_has_its_name),
		TEST(what_is_no_certificate_is_refused),
		TEST(an_import_is_whole_or_not_at_all),
		TEST(an_own_root_takes_no_requests),
		TEST(its_crl_is_published),
		TEST(it_goes_on_for_long),
		TEST(without_a_signature_it_ends_with_a_word),
		TEST(a_compromise_is_survived_by_the_standby),
		TEST(a_rotation_is_rolled_back),
		TEST(an_issuing_rotation_by_hand_uses_what_is_signed),
		TEST(an_own_root_is_followed_by_an_offline_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
