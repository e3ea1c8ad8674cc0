/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A core on a store of its own, an issuer whose tokens we sign, callers with keys: what the tests
 * of the core share. OpenSSL is the other side: it makes tokens and requests, and judges chains.
 */
#ifndef TEST_CORETEST_H
#define TEST_CORETEST_H

#include "tokens.h"

#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <unistd.h>

#include "mica/core.h"
#include "mica/file.h"
#include "mica/json.h"

#define TD     "example.org"
#define NOW_MS (NOW * 1000)
#define DAY    86400

struct ct {
	char dir[64];
	struct mica_config config;
	struct mica_issuer_config issuers[3];
	struct mica_rule rules[4];
	struct mica_secret *pass;
	struct mica_core *core;
	struct mica_init_result born;
	EVP_PKEY *issuer_key; /* RS256, kid a1 */
	EVP_PKEY *leaf; /* P-256 */
	char *csr; /* for leaf */
};

static inline char *ct_str(const char *s)
{
	return (char *)(uintptr_t)s;
}

static inline void ct_defaults(struct ct *t)
{
	struct mica_config *c = &t->config;

	memset(c, 0, sizeof(*c));
	t->issuers[0] = tk_config("prod", ISS, "/ns/{namespace}/sa/{serviceaccount}");
	c->trust_domain = ct_str(TD);
	c->store.path = t->dir;
	c->store.max_disk_percent = 100;
	c->https.dns_names = tk_list("mica.mica-system.svc", NULL);
	c->log.caller_address = true;
	c->issuers = t->issuers;
	c->n_issuers = 1;
	c->rules = t->rules;
	c->x509.ttl = 3600;
	c->x509.max_ttl = DAY;
	c->x509.min_ttl = 60;
	c->x509.key_types = 1U << MICA_KN_P256 | 1U << MICA_KN_P384 | 1U << MICA_KN_ED25519;
	c->jwt.ttl = 300;
	c->jwt.max_ttl = 3600;
	c->authorities.root_life = 365 * DAY;
	c->authorities.issuing_life = 7 * DAY;
	c->authorities.jwt_life = 30 * DAY;
	c->authorities.key_type = MICA_KN_P256;
	c->bundle.refresh_hint = 300;
}

/* ---- keys and requests ----------------------------------------------------------------------- */

static inline char *ct_bio(BIO *b)
{
	char *p = NULL;
	long len = BIO_get_mem_data(b, &p);
	char *s = tk_keep(mica_strndup(p, (size_t)len));

	BIO_free(b);
	return s;
}

static inline char *ct_csr(EVP_PKEY *key)
{
	X509_REQ *r = X509_REQ_new();
	BIO *b = BIO_new(BIO_s_mem());

	assert_int_equal(X509_REQ_set_pubkey(r, key), 1);
	assert_true(
		X509_REQ_sign(r, key,
			EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519 ? NULL : EVP_sha256()) > 0);
	assert_int_equal(PEM_write_bio_X509_REQ(b, r), 1);
	X509_REQ_free(r);
	return ct_bio(b);
}

static inline char *ct_jwks(struct ct *t)
{
	return tk_printf("{\"keys\":[%s]}", tk_jwk(t->issuer_key, "a1", ""));
}

/* ---- life ------------------------------------------------------------------------------------ */

static inline void ct_open_at(struct ct *t, int64_t now_ms)
{
	assert_ok(mica_core_open(&t->config, t->pass, now_ms, &t->core, NULL, e));
}

static inline void ct_close(struct ct *t)
{
	mica_core_close(t->core);
	t->core = NULL;
}

static inline void ct_reopen(struct ct *t, int64_t now_ms)
{
	ct_close(t);
	ct_open_at(t, now_ms);
}

static inline void ct_remove(struct ct *t)
{
	static const char *const names[] = {
		"store.lmdb", "store.lmdb-lock", "checkpoint", "backup", "backup.manifest", "x"};
	char path[160];

	for (size_t i = 0; i < MICA_ARRAY_LEN(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", t->dir, names[i]);
		unlink(path);
	}
	rmdir(t->dir);
}

static inline void ct_make_dir(struct ct *t)
{
	snprintf(t->dir, sizeof(t->dir), "/dev/shm/mica-core-XXXXXX");
	if (!mkdtemp(t->dir)) {
		snprintf(t->dir, sizeof(t->dir), "/tmp/mica-core-XXXXXX");
		assert_non_null(mkdtemp(t->dir));
	}
}

/* Everything but the store. */
static inline struct ct *ct_new(void)
{
	struct ct *t = MICA_NEW(struct ct);

	mica_kek_set_test_cost(10);
	ct_make_dir(t);
	ct_defaults(t);
	t->pass = mica_secret_new("correct horse", 13);
	t->issuer_key = tk_rsa(2048);
	t->leaf = tk_ec("P-256");
	t->csr = ct_csr(t->leaf);
	return t;
}

static inline void ct_init(struct ct *t)
{
	assert_ok(mica_core_init(&t->config, t->pass, NOW_MS - 1000, &t->born, e));
}

static inline void ct_set_jwks(struct ct *t, int64_t now_ms)
{
	assert_ok(mica_core_set_jwks(
		t->core, "prod", mica_slice_str(ct_jwks(t)), now_ms, NULL, NULL, e));
}

static inline int ct_setup(void **state)
{
	struct ct *t = ct_new();

	ct_init(t);
	ct_open_at(t, NOW_MS);
	ct_set_jwks(t, NOW_MS);
	*state = t;
	return 0;
}

static inline int ct_setup_empty(void **state)
{
	*state = ct_new();
	return 0;
}

static inline int ct_teardown(void **state)
{
	struct ct *t = *state;

	mica_core_close(t->core);
	mica_secret_free(t->pass);
	EVP_PKEY_free(t->issuer_key);
	EVP_PKEY_free(t->leaf);
	ct_remove(t);
	mica_free(t);
	ERR_clear_error();
	return tk_empty_bin(state);
}

/* ---- callers --------------------------------------------------------------------------------- */

static inline struct mica_slice ct_token(struct ct *t, int64_t now)
{
	const struct tk_claim over[] = {{"exp", tk_printf("%lld", (long long)now + 3000)},
		{"iat", tk_printf("%lld", (long long)now - 60)},
		{"nbf", tk_printf("%lld", (long long)now - 60)}};

	return mica_slice_str(
		tk_make(t->issuer_key, HEADER, tk_kubernetes(over, MICA_ARRAY_LEN(over))));
}

static inline void ct_caller(struct ct *t, int64_t now_ms, struct mica_caller *out)
{
	assert_ok(mica_core_authenticate_token(
		t->core, ct_token(t, now_ms / 1000), MICA_FRONT_REST, now_ms, out, NULL, e));
}

/* Another workload of the same issuer. */
static inline void ct_other(struct ct *t, int64_t now_ms, struct mica_caller *out)
{
	ct_caller(t, now_ms, out);
	snprintf(out->principal.sa, sizeof(out->principal.sa), "%s", "other");
	snprintf(out->principal.spiffe_id, sizeof(out->principal.spiffe_id),
		"spiffe://" TD "/ns/payments/sa/other");
	memset(out->principal.pod_uid.b, 0x77, 16);
}

static inline struct mica_caller ct_role(unsigned roles)
{
	struct mica_caller c = {.roles = roles, .uid = 0, .gid = 0, .pid = 4711};

	return c;
}

static inline struct mica_x509_request ct_request(struct ct *t, const struct mica_caller *who)
{
	return (struct mica_x509_request){.caller = who, .csr = mica_slice_str(t->csr)};
}

/* Prepares and commits; the candidate is the caller's. */
static inline struct mica_candidate *ct_issue_for(
	struct ct *t, const struct mica_caller *who, int64_t ttl, int64_t now_ms)
{
	struct mica_x509_request r = ct_request(t, who);
	struct mica_candidate *k = NULL;

	r.ttl = ttl;
	assert_ok(mica_core_prepare_x509(t->core, &r, now_ms, &k, e));
	assert_ok(mica_core_commit(t->core, &k, 1, now_ms, e));
	assert_int_equal(mica_candidate_rc(k), MICA_OK);
	return k;
}

static inline struct mica_candidate *ct_issue(struct ct *t, int64_t ttl, int64_t now_ms)
{
	struct mica_caller who;

	ct_caller(t, now_ms, &who);
	return ct_issue_for(t, &who, ttl, now_ms);
}

/* A caller by the certificate of a candidate. */
static inline void ct_svid(
	struct ct *t, const struct mica_candidate *k, int64_t now_ms, struct mica_caller *out)
{
	struct mica_issued i;

	mica_candidate_issued(k, &i);
	assert_ok(mica_core_authenticate_svid(t->core, i.chain_der, i.n_chain, now_ms, out, e));
}

/* ---- OpenSSL's view -------------------------------------------------------------------------- */

static inline X509 *ct_x509(struct mica_slice der)
{
	const uint8_t *at = der.p;
	X509 *x = d2i_X509(NULL, &at, (long)der.len);

	assert_non_null(x);
	assert_ptr_equal(at, der.p + der.len);
	return x;
}

static inline char *ct_snapshot(struct ct *t, enum mica_channel ch, enum mica_format f)
{
	const struct mica_snapshot *s = NULL;
	char *text;

	assert_ok(mica_core_snapshot(t->core, NULL, ch, f, &s, e));
	text = tk_keep(mica_slice_dup(s->bytes));
	mica_snapshot_unref(s);
	return text;
}

/* X509_V_OK or the reason, with the published roots as trust. */
static inline int ct_openssl(struct ct *t, const struct mica_slice *chain, size_t n, int64_t now)
{
	const char *pem = ct_snapshot(t, MICA_CHANNEL_LIVE, MICA_FMT_BUNDLE_PEM);
	BIO *b = BIO_new_mem_buf(pem, -1);
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	STACK_OF(X509) *more = sk_X509_new_null();
	X509 *leaf = ct_x509(chain[0]);
	int err;

	for (X509 *x; (x = PEM_read_bio_X509(b, NULL, NULL, NULL)) != NULL; X509_free(x))
		X509_STORE_add_cert(store, x);
	for (size_t i = 1; i < n; i++)
		sk_X509_push(more, ct_x509(chain[i]));
	assert_int_equal(X509_STORE_CTX_init(ctx, store, leaf, more), 1);
	X509_VERIFY_PARAM_set_time(X509_STORE_CTX_get0_param(ctx), (time_t)now);
	X509_VERIFY_PARAM_set_flags(X509_STORE_CTX_get0_param(ctx), X509_V_FLAG_X509_STRICT);
	err = X509_verify_cert(ctx) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(ctx);
	ERR_clear_error();
	X509_free(leaf);
	sk_X509_pop_free(more, X509_free);
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	BIO_free(b);
	return err;
}

/* ---- what was recorded ----------------------------------------------------------------------- */

#define ct_entry(t, index, body, en)                                                               \
	do {                                                                                       \
		mica_buf_init(body, MICA_ENTRY_MAX);                                               \
		assert_ok(mica_ledger_entry((t)->core->ledger, index, body, e));                   \
		assert_ok(mica_entry_decode(mica_buf_slice(body), en, e));                         \
	} while (0)

/* ---- what the core says as JSON -------------------------------------------------------------- */

static inline json_t *ct_json(struct mica_buf *b)
{
	json_error_t err;
	json_t *j = json_loadb((const char *)b->p, b->len, JSON_REJECT_DUPLICATES, &err);

	if (!j)
		fail_msg("%s in %.*s", err.text, (int)b->len, (const char *)b->p);
	return j;
}

#endif
