/* SPDX-License-Identifier: Apache-2.0 */
/* What the CLI makes for others and reads from them: requests, files of a pair, problems, bundles
 * in their plain and signed forms. */
#define _GNU_SOURCE /* nftw */
#include "pki.h"

#include "cli/client.h"
#include "cli/pair.h"
#include "cli/roots.h"

#include "mica/bundle.h"
#include "mica/file.h"
#include "mica/jwt.h"
#include "mica/pem.h"

#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

static struct pki pki, other;

static int setup(void **state)
{
	(void)state;
	pki_init(&pki, MICA_KN_P256);
	pki_init(&other, MICA_KN_P256);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	pki_clear(&pki);
	pki_clear(&other);
	return 0;
}

/* ---- requests ------------------------------------------------------------------------------ */

/* OpenSSL takes it, and micad's own reader. */
static void requests_carry_the_key_alone(void **state)
{
	static const enum mica_key_name types[] = {
		MICA_KN_P256, MICA_KN_P384, MICA_KN_RSA2048, MICA_KN_ED25519};
	const struct mica_key_policy policy = {.types = UINT32_MAX};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(types); i++) {
		MICA_AUTO_SIGNER key = NULL;
		struct mica_pubkey read;
		X509_REQ *req;
		EVP_PKEY *pub;
		BIO *bio;
		MICA_AUTO_BUF pem;

		mica_buf_init(&pem, 8192);
		assert_ok(mica_signer_generate(types[i], &key, e));
		assert_ok(mica_csr_write(key, &pem, e));
		assert_ok(mica_csr_read(mica_buf_slice(&pem), &policy, &read, e));
		assert_true(mica_pubkey_eq(&read, mica_signer_public(key)));
		bio = BIO_new_mem_buf(pem.p, (int)pem.len);
		req = PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL);
		assert_non_null(req);
		pub = X509_REQ_get_pubkey(req);
		assert_int_equal(X509_REQ_verify(req, pub), 1);
		assert_int_equal(X509_NAME_entry_count(X509_REQ_get_subject_name(req)), 0);
		assert_int_equal(X509_REQ_get_attr_count(req), 0);
		EVP_PKEY_free(pub);
		X509_REQ_free(req);
		BIO_free(bio);
	}
}

/* ---- files --------------------------------------------------------------------------------- */

static int drop(const char *path, const struct stat *st, int type, struct FTW *f)
{
	(void)st;
	(void)type;
	(void)f;
	return remove(path);
}

static void expect_file(const char *dir, const char *name, const char *content, int mode)
{
	char path[256];
	struct stat st;
	MICA_AUTO_BUF b;

	mica_buf_init(&b, 4096);
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_ok(mica_file_read(path, &b, e));
	assert_string_equal((char *)b.p, content);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, mode);
}

static void a_set_of_files_is_replaced_whole(void **state)
{
	char root[] = "/tmp/mica-pair-XXXXXX", dir[64], path[128];
	struct pair_files first = {MICA_LIT("cert 1"), MICA_LIT("key 1"), MICA_LIT("roots 1")};
	struct pair_files second = {MICA_LIT("cert 2"), MICA_LIT("key 2"), MICA_SLICE_NULL};
	char was[64] = "", is[64] = "";
	(void)state;
	umask(022);
	assert_non_null(mkdtemp(root));
	snprintf(dir, sizeof(dir), "%s/a/b", root);
	assert_ok(pair_write(dir, &first, e));
	expect_file(dir, "cert.pem", "cert 1", 0644);
	expect_file(dir, "key.pem", "key 1", 0600);
	expect_file(dir, "bundle.pem", "roots 1", 0644);
	snprintf(path, sizeof(path), "%s/.current", dir);
	assert_true(readlink(path, was, sizeof(was) - 1) > 0);
	/* without new roots the old ones stay */
	assert_ok(pair_write(dir, &second, e));
	expect_file(dir, "cert.pem", "cert 2", 0644);
	expect_file(dir, "key.pem", "key 2", 0600);
	expect_file(dir, "bundle.pem", "roots 1", 0644);
	assert_true(readlink(path, is, sizeof(is) - 1) > 0);
	assert_string_not_equal(was, is);
	snprintf(path, sizeof(path), "%s/%s", dir, was);
	assert_int_not_equal(access(path, F_OK), 0); /* the old generation is gone */
	/* files that somebody put there give way to links */
	snprintf(path, sizeof(path), "%s/key.pem", dir);
	assert_int_equal(unlink(path), 0);
	assert_ok(mica_file_write_atomic(path, MICA_LIT("by hand"), 0644, e));
	assert_ok(pair_write(dir, &first, e));
	expect_file(dir, "key.pem", "key 1", 0600);
	assert_refused(MICA_NOT_FOUND, "no_such_file", pair_write("/proc/none/x", &first, e));
	nftw(root, drop, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- problems ------------------------------------------------------------------------------ */

static void problems_become_errors(void **state)
{
	struct mica_err e = MICA_ERR_INIT;
	(void)state;
	assert_int_equal(client_problem(403, 0,
				 MICA_LIT("{\"type\":\"about:blank\",\"title\":\"Forbidden\","
					  "\"status\":403,\"reason\":\"denied_by_list\",\"detail\":"
					  "\"no\",\"new\":[1]}"),
				 &e),
		MICA_DENIED);
	assert_string_equal(e.reason, "denied_by_list");
	assert_string_equal(e.text, "no");
	mica_err_clear(&e);
	assert_int_equal(client_problem(400, 0,
				 MICA_LIT("{\"reason\":\"json_type\",\"detail\":\"ttl: a string\","
					  "\"expected\":\"a number\",\"line\":3,\"column\":9}"),
				 &e),
		MICA_INVALID);
	assert_string_equal(e.text, "ttl: a string; expected: a number");
	assert_int_equal(e.line, 3);
	assert_int_equal(e.column, 9);
	mica_err_clear(&e);
	assert_int_equal(client_problem(503, 7,
				 MICA_LIT("{\"reason\":\"overloaded\",\"detail\":\"d\"}"), &e),
		MICA_UNAVAILABLE);
	assert_int_equal(e.retry_after, 7);
}

/* Somebody else's answers: proxies, other programs, attackers. */
static void other_answers_are_not_believed(void **state)
{
	static const struct {
		int status;
		const char *body;
		mica_rc rc;
	} cases[] = {{404, "<html>not found</html>", MICA_NOT_FOUND}, {502, "", MICA_UNAVAILABLE},
		{500, "[]", MICA_INTERNAL}, {400, "{\"reason\":7}", MICA_INVALID},
		{418, "{\"reason\":\"a\\u001b[2J\"}", MICA_INVALID},
		{302, "{\"detail\":\"moved\"}", MICA_INTERNAL},
		{400, "{\"reason\":\"UPPER\"}", MICA_INVALID},
		{400, "{\"reason\":\"\"}", MICA_INVALID}};
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++) {
		struct mica_err e = MICA_ERR_INIT;

		assert_int_equal(
			client_problem(cases[i].status, 0, mica_slice_str(cases[i].body), &e),
			cases[i].rc);
		assert_string_equal(e.reason, "http_status");
	}
}

/* A server that invents a reason for each answer does not fill our memory. */
static void reasons_are_kept_within_bounds(void **state)
{
	unsigned unknown = 0;
	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		struct mica_err e = MICA_ERR_INIT;
		char body[64];

		snprintf(body, sizeof(body), "{\"reason\":\"invented_%u\"}", i);
		assert_int_equal(client_problem(400, 0, mica_slice_str(body), &e), MICA_INVALID);
		unknown += strcmp(e.reason, "http_status") == 0;
	}
	assert_in_range(unknown, 700, 999);
}

static void queries_are_encoded(void **state)
{
	MICA_AUTO_BUF b;
	(void)state;
	mica_buf_init(&b, 1024);
	mica_buf_put_str(&b, "/v1/events");
	client_query(&b, "spiffe_id", MICA_LIT("spiffe://a/b?c&d=e f\xff"));
	client_query(&b, "none", MICA_SLICE_NULL);
	client_query(&b, "limit", MICA_LIT("3"));
	assert_string_equal((char *)b.p,
		"/v1/events?spiffe_id=spiffe%3A%2F%2Fa%2Fb%3Fc%26d%3De%20f%FF&limit=3");
}

/* ---- bundles ------------------------------------------------------------------------------- */

static struct mica_bundle_content content(struct mica_slice roots[2], struct mica_bundle_key *jwt)
{
	roots[0] = mica_buf_slice(&pki.root_der);
	roots[1] = mica_buf_slice(&other.root_der);
	*jwt = (struct mica_bundle_key){"kid-1", mica_signer_public(pki.leaf_signer)};
	return (struct mica_bundle_content){.set = "default",
		.trust_domain = TD,
		.channel = MICA_CHANNEL_LIVE,
		.sequence = 1795521600000,
		.refresh_hint = 300,
		.roots = roots,
		.n_roots = 2,
		.jwt_keys = jwt,
		.n_jwt_keys = 1};
}

static mica_rc read_text(
	const char *text, struct bundle_info *b, struct roots *r, struct mica_err *e)
{
	MICA_AUTO_JSON d = {0};
	mica_rc rc = mica_json_parse(
		mica_slice_str(text), &(struct mica_json_limits){.bytes = 1 << 20}, &d, e);

	return rc == MICA_OK ? bundle_read(&d, d.root, b, r, e) : rc;
}

static void plain_bundles_are_read(void **state)
{
	struct mica_slice roots[2];
	struct mica_bundle_key jwt;
	struct mica_bundle_content c = content(roots, &jwt);
	struct bundle_info b;
	ROOTS_AUTO r;
	MICA_AUTO_BUF json;
	(void)state;
	roots_init(&r);
	mica_buf_init(&json, MICA_BUNDLE_MAX);
	assert_ok(mica_bundle_put_json(&c, &json, e));
	assert_ok(read_text((char *)json.p, &b, &r, e));
	assert_int_equal(b.sequence, c.sequence);
	assert_int_equal(b.refresh_hint, 300);
	assert_int_equal(b.n_keys, 3);
	assert_int_equal(r.n, 2);
	assert_true(mica_slice_eq(r.v[0], roots[0]));
	assert_true(mica_slice_eq(r.v[1], roots[1]));
	assert_false(b.keys[2].x509);
}

static void malformed_bundles_are_refused(void **state)
{
	static const struct {
		const char *text, *reason;
	} cases[] = {{"{}", "json_missing_member"}, {"{\"keys\":{}}", "json_type"},
		{"{\"keys\":[1]}", "json_type"},
		{"{\"keys\":[{\"kty\":\"EC\"}]}", "json_missing_member"},
		{"{\"keys\":[{\"use\":\"x509-svid\"}]}", "bundle_malformed"},
		{"{\"keys\":[{\"use\":\"x509-svid\",\"x5c\":[]}]}", "bundle_malformed"},
		{"{\"keys\":[{\"use\":\"x509-svid\",\"x5c\":[\"AAAA\",\"AAAA\"]}]}",
			"bundle_malformed"},
		{"{\"keys\":[{\"use\":\"x509-svid\",\"x5c\":[\"!\"]}]}", "bundle_malformed"},
		{"{\"keys\":[{\"use\":\"x509-svid\",\"x5c\":[\"AAAA\"]}]}", "bundle_malformed"},
		{"{\"keys\":[],\"spiffe_sequence\":-1}", "json_range"}};
	struct bundle_info b;
	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++) {
		ROOTS_AUTO r;

		roots_init(&r);
		assert_refused(MICA_INVALID, cases[i].reason, read_text(cases[i].text, &b, &r, e));
	}
	ROOTS_AUTO r;
	roots_init(&r);
	/* SPIFFE Trust Domain and Bundle 4.2.2: keys of an unknown use are passed over */
	assert_ok(read_text("{\"keys\":[{\"use\":\"future\"}]}", &b, &r, e));
	assert_int_equal(b.n_keys, 0);
}

/* A publisher below the issuing authority of `p`, whose name is `id`. */
static void publish(struct pki *p, const char *id, int64_t now, struct mica_buf *jws)
{
	struct mica_leaf_spec leaf = {.not_before = NOW - 60,
		.not_after = NOW + 3600,
		.trust_domain = TD,
		.uri = id,
		.key = mica_signer_public(p->leaf_signer)};
	struct mica_slice roots[2], chain[2];
	struct mica_bundle_key jwt;
	struct mica_bundle_content c = content(roots, &jwt);
	MICA_AUTO_BUF cert;

	pki_serial(leaf.serial, 9);
	mica_buf_init(&cert, MICA_CERT_MAX);
	mica_buf_init(jws, MICA_BUNDLE_MAX);
	assert_ok(mica_leaf_sign(p->issuing, &leaf, &cert, e));
	chain[0] = mica_buf_slice(&cert);
	chain[1] = mica_buf_slice(&p->issuing_der);
	assert_ok(mica_bundle_put_jws(&c, p->leaf_signer, chain, 2, now, jws, e));
}

static void trust(struct roots *r, const struct pki *p)
{
	MICA_AUTO_BUF pem;

	mica_buf_init(&pem, 16384);
	mica_pem_put(&pem, MICA_PEM_CERT, mica_buf_slice(&p->root_der));
	roots_init(r);
	assert_ok(roots_from_pem(r, mica_buf_slice(&pem), e));
}

#define PUBLISHER "spiffe://" TD "/mica/publisher"

static void signed_bundles_lead_to_the_roots(void **state)
{
	BUNDLE_JWS_AUTO j;
	ROOTS_AUTO r;
	MICA_AUTO_BUF jws;
	(void)state;
	bundle_jws_init(&j);
	trust(&r, &pki);
	publish(&pki, PUBLISHER, NOW, &jws);
	mica_buf_put_u8(&jws, '\n'); /* as it comes from a file */
	assert_ok(bundle_jws_verify(mica_buf_slice(&jws), &r, NOW + 10, &j, e));
	assert_int_equal(j.sequence, 1795521600000);
	assert_string_equal(j.trust_domain, TD);
	assert_string_equal(j.publisher, PUBLISHER);
	assert_string_equal(j.channel, "live");
}

static void refuse_jws(struct mica_slice jws, const struct pki *trusted, int64_t now, mica_rc rc,
	const char *reason)
{
	BUNDLE_JWS_AUTO j;
	ROOTS_AUTO r;

	bundle_jws_init(&j);
	trust(&r, trusted);
	assert_refused(rc, reason, bundle_jws_verify(jws, &r, now, &j, e));
}

static void signed_bundles_of_others_are_refused(void **state)
{
	MICA_AUTO_BUF good, workload, late;
	(void)state;
	publish(&pki, PUBLISHER, NOW, &good);
	refuse_jws(
		mica_buf_slice(&good), &other, NOW, MICA_UNAUTHENTICATED, "bundle_jws_untrusted");
	/* the publisher's certificate has ended */
	refuse_jws(mica_buf_slice(&good), &pki, NOW + 4000, MICA_UNAUTHENTICATED,
		"bundle_jws_untrusted");
	/* a workload is no publisher */
	publish(&pki, ID, NOW, &workload);
	refuse_jws(
		mica_buf_slice(&workload), &pki, NOW, MICA_UNAUTHENTICATED, "bundle_jws_publisher");
	/* of yesterday */
	publish(&pki, PUBLISHER, NOW - 25 * 3600, &late);
	refuse_jws(mica_buf_slice(&late), &pki, NOW, MICA_UNAUTHENTICATED, "bundle_jws_expired");
	/* of tomorrow */
	mica_buf_clear(&late);
	publish(&pki, PUBLISHER, NOW + 3600, &late);
	refuse_jws(mica_buf_slice(&late), &pki, NOW, MICA_UNAUTHENTICATED, "bundle_jws_expired");
}

/* No octet of it can be another one. (Base64url has one form for each octet string; a changed octet
 * changes what is decoded, or is none of the alphabet.) */
static void every_octet_of_a_signed_bundle_counts(void **state)
{
	MICA_AUTO_BUF jws;
	ROOTS_AUTO r;
	(void)state;
	trust(&r, &pki);
	publish(&pki, PUBLISHER, NOW, &jws);
	for (size_t i = 0; i < jws.len; i += 3) {
		struct mica_err e = MICA_ERR_INIT;
		BUNDLE_JWS_AUTO j;

		bundle_jws_init(&j);
		jws.p[i] ^= 1;
		assert_int_not_equal(
			bundle_jws_verify(mica_buf_slice(&jws), &r, NOW, &j, &e), MICA_OK);
		jws.p[i] ^= 1;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_carry_the_key_alone),
		cmocka_unit_test(a_set_of_files_is_replaced_whole),
		cmocka_unit_test(problems_become_errors),
		cmocka_unit_test(other_answers_are_not_believed),
		cmocka_unit_test(reasons_are_kept_within_bounds),
		cmocka_unit_test(queries_are_encoded),
		cmocka_unit_test(plain_bundles_are_read),
		cmocka_unit_test(malformed_bundles_are_refused),
		cmocka_unit_test(signed_bundles_lead_to_the_roots),
		cmocka_unit_test(signed_bundles_of_others_are_refused),
		cmocka_unit_test(every_octet_of_a_signed_bundle_counts),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
