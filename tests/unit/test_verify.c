/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verifier of X.509-SVIDs against OpenSSL's. Whatever we take, OpenSSL takes; what OpenSSL
 * takes and we refuse are the rules that X509-SVID adds, and those named in the cases.
 */
#include "pki.h"

static struct pki pki, other;
static struct mica_trust *trust;

/* ---- a certificate writer that breaks rules
 * ------------------------------------------------------ */

struct odd {
	const char *subject, *issuer; /* CN */
	EVP_PKEY *key, *signer;
	const char *ext[8][2];
	int64_t not_before, not_after;
	X509 *up; /* for the AKI */
};

static struct mica_slice cook(const struct odd *o, uint8_t room[MICA_CERT_MAX])
{
	uint8_t *at = room;
	X509 *x = X509_new();
	X509V3_CTX ctx;
	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 99);
	X509_NAME *n = X509_NAME_new();
	X509_NAME_add_entry_by_txt(
		n, "CN", MBSTRING_UTF8, (const unsigned char *)o->issuer, -1, -1, 0);
	X509_set_issuer_name(x, n);
	X509_NAME_free(n);
	n = X509_NAME_new();
	if (*o->subject)
		X509_NAME_add_entry_by_txt(
			n, "CN", MBSTRING_UTF8, (const unsigned char *)o->subject, -1, -1, 0);
	X509_set_subject_name(x, n);
	X509_NAME_free(n);
	ASN1_TIME_set(X509_getm_notBefore(x), (time_t)(o->not_before ? o->not_before : NOW - 100));
	ASN1_TIME_set(X509_getm_notAfter(x), (time_t)(o->not_after ? o->not_after : NOW + 100));
	X509_set_pubkey(x, o->key);
	X509V3_set_ctx(&ctx, o->up ? o->up : x, x, NULL, NULL, 0);
	for (size_t i = 0; i < MICA_ARRAY_LEN(o->ext) && o->ext[i][0]; i++) {
		X509_EXTENSION *e = X509V3_EXT_conf(NULL, &ctx, o->ext[i][0], o->ext[i][1]);
		if (!e)
			fail_msg("%s = %s", o->ext[i][0], o->ext[i][1]);
		X509_add_ext(x, e, -1);
		X509_EXTENSION_free(e);
	}
	assert_true(X509_sign(x, o->signer, EVP_sha256()) > 0);
	int len = i2d_X509(x, &at);
	X509_free(x);
	return mica_slice(room, (size_t)len);
}

static EVP_PKEY *root_k, *mid_k, *low_k, *leaf_k;
static uint8_t root_room[MICA_CERT_MAX], mid_room[MICA_CERT_MAX], low_room[MICA_CERT_MAX],
	leaf_room[MICA_CERT_MAX];

#define CA_BASIC                                                                                   \
	{                                                                                          \
		"basicConstraints", "critical,CA:TRUE"                                             \
	}
#define CA_KU                                                                                      \
	{                                                                                          \
		"keyUsage", "critical,keyCertSign,cRLSign"                                         \
	}
#define SKI                                                                                        \
	{                                                                                          \
		"subjectKeyIdentifier", "hash"                                                     \
	}
#define LEAF_KU                                                                                    \
	{                                                                                          \
		"keyUsage", "critical,digitalSignature"                                            \
	}
#define LEAF_EKU                                                                                   \
	{                                                                                          \
		"extendedKeyUsage", "serverAuth,clientAuth"                                        \
	}
#define LEAF_SAN                                                                                   \
	{                                                                                          \
		"subjectAltName", "URI:" ID                                                        \
	}
#define NOT_CA                                                                                     \
	{                                                                                          \
		"basicConstraints", "critical,CA:FALSE"                                            \
	}

static struct odd good_root(void)
{
	return (struct odd){.subject = "root",
		.issuer = "root",
		.key = root_k,
		.signer = root_k,
		.ext = {CA_BASIC, CA_KU, SKI}};
}
static struct odd good_mid(void)
{
	return (struct odd){.subject = "mid",
		.issuer = "root",
		.key = mid_k,
		.signer = root_k,
		.ext = {CA_BASIC, CA_KU, SKI}};
}
static struct odd good_low(void)
{
	return (struct odd){.subject = "low",
		.issuer = "mid",
		.key = low_k,
		.signer = mid_k,
		.ext = {CA_BASIC, CA_KU, SKI}};
}
static struct odd good_leaf(const char *issuer, EVP_PKEY *signer)
{
	return (struct odd){.subject = "leaf",
		.issuer = issuer,
		.key = leaf_k,
		.signer = signer,
		.ext = {NOT_CA, LEAF_KU, LEAF_EKU, LEAF_SAN}};
}

struct verdict {
	const char *reason, *fine;
	struct mica_svid svid;
	int openssl;
};

static struct verdict judge_with(const struct mica_trust *t, const struct mica_slice *roots,
	size_t n_roots, const struct mica_slice *chain, size_t n, int64_t now)
{
	static struct mica_err e;
	struct verdict v = {.reason = "ok", .fine = ""};
	e = (struct mica_err)MICA_ERR_INIT;
	mica_rc rc = mica_verify_svid(t, chain, n, now, 0, &v.svid, &e);
	if (rc) {
		assert_int_equal(rc, MICA_UNAUTHENTICATED);
		assert_true(e.text[0] != '\0');
		v.reason = e.reason;
		v.fine = mica_err_fine(&e);
	}
	v.openssl = n ? pki_openssl_verify(chain, n, roots, n_roots, now) : -1;
	/* The one thing that must never be: we take what OpenSSL refuses. */
	if (!rc && v.openssl != X509_V_OK)
		fail_msg("taken, but OpenSSL says: %s", X509_verify_cert_error_string(v.openssl));
	return v;
}

static void expect(const struct verdict *v, const char *reason, const char *fine, bool openssl_ok)
{
	if (strcmp(v->reason, reason) != 0 || (fine && strcmp(v->fine, fine) != 0))
		fail_msg("%s/%s, expected %s/%s", v->reason, v->fine, reason, fine ? fine : "");
	if (openssl_ok != (v->openssl == X509_V_OK))
		fail_msg("%s: OpenSSL says: %s", reason, X509_verify_cert_error_string(v->openssl));
}

/* ---- Mica's own certificates
 * --------------------------------------------------------------------- */

static void our_own(void **state)
{
	(void)state;
	MICA_AUTO_BUF der;
	mica_buf_init(&der, MICA_CERT_MAX);
	struct mica_leaf_spec s = pki_spec(&pki);
	assert_ok(mica_leaf_sign(pki.issuing, &s, &der, e));
	const struct mica_slice root = mica_buf_slice(&pki.root_der);
	const struct mica_slice chain[] = {
		mica_buf_slice(&der), mica_buf_slice(&pki.issuing_der), root};
	for (size_t n = 2; n <= 3; n++) { /* without the root and with it */
		struct verdict v = judge_with(trust, &root, 1, chain, n, NOW);
		expect(&v, "ok", NULL, true);
		assert_string_equal(v.svid.spiffe_id, ID);
		assert_int_equal(v.svid.serial_len, MICA_SERIAL_LEN);
		assert_memory_equal(v.svid.serial, s.serial, MICA_SERIAL_LEN);
		assert_true(v.svid.not_before == s.not_before && v.svid.not_after == s.not_after);
		assert_string_equal(v.svid.issuer_id, mica_cert_issuer_id(pki.issuing));
		assert_true(mica_pubkey_eq(&v.svid.key, &pki.leaf_key));
		assert_int_equal(v.svid.root, 0);
	}
	struct verdict v = judge_with(trust, &root, 1, chain, 1, NOW);
	expect(&v, "svid_untrusted", "issuer_unknown", false);
	v = judge_with(trust, &root, 1, NULL, 0, NOW);
	assert_string_equal(v.reason, "svid_missing");

	/* time: both ends belong to it; skew is for the leaf alone */
	v = judge_with(trust, &root, 1, chain, 2, s.not_before);
	expect(&v, "ok", NULL, true);
	v = judge_with(trust, &root, 1, chain, 2, s.not_before - 1);
	expect(&v, "svid_not_yet_valid", NULL, false);
	v = judge_with(trust, &root, 1, chain, 2, s.not_after - 1);
	expect(&v, "ok", NULL, true);
	v = judge_with(trust, &root, 1, chain, 2, s.not_after + 1);
	expect(&v, "svid_expired", NULL, false);
	struct mica_svid svid;
	assert_ok(mica_verify_svid(trust, chain, 2, s.not_after + 30, 30, &svid, e));
	assert_ok(mica_verify_svid(trust, chain, 2, s.not_before - 30, 30, &svid, e));
	assert_refused(MICA_UNAUTHENTICATED, "svid_expired",
		mica_verify_svid(trust, chain, 2, s.not_after + 31, 30, &svid, e));
	assert_refused(MICA_UNAUTHENTICATED, "svid_expired",
		mica_verify_svid(trust, chain, 2, mica_cert_issuer_not_after(pki.issuing) + 1,
			400000000, &svid, e));

	/* another PKI of the same names but other keys */
	MICA_AUTO_BUF foreign;
	mica_buf_init(&foreign, MICA_CERT_MAX);
	assert_ok(mica_leaf_sign(other.issuing, &s, &foreign, e));
	const struct mica_slice theirs[] = {
		mica_buf_slice(&foreign), mica_buf_slice(&other.issuing_der)};
	v = judge_with(trust, &root, 1, theirs, 2, NOW);
	expect(&v, "svid_untrusted", "issuer_unknown", false);
	const struct mica_slice mixed[] = {
		mica_buf_slice(&foreign), mica_buf_slice(&pki.issuing_der)};
	v = judge_with(trust, &root, 1, mixed, 2, NOW);
	expect(&v, "svid_untrusted", "issuer_unknown", false);
	/* both roots: which one it was is said */
	struct mica_trust *both;
	const struct mica_slice roots[] = {root, mica_buf_slice(&other.root_der)};
	assert_ok(mica_trust_new(TD, roots, 2, &both, e));
	v = judge_with(both, roots, 2, theirs, 2, NOW);
	expect(&v, "ok", NULL, true);
	assert_int_equal(v.svid.root, 1);
	mica_trust_free(both);
	/* an authority does not authenticate */
	v = judge_with(trust, &root, 1, chain + 1, 1, NOW);
	expect(&v, "svid_malformed", NULL, false);
	/* none is trusted when there is no root */
	struct mica_trust *none;
	assert_ok(mica_trust_new(TD, NULL, 0, &none, e));
	v = judge_with(none, NULL, 0, chain, 3, NOW);
	expect(&v, "svid_untrusted", "issuer_unknown", false);
	mica_trust_free(none);
}

static void trust_domains(void **state)
{
	(void)state;
	static const struct {
		const char *uri, *reason;
	} cases[] = {
		{"spiffe://example.org/a", "ok"},
		{"spiffe://example.org/a/b.c/_d-E/...", "ok"},
		{"spiffe://example.com/a", "svid_wrong_trust_domain"},
		{"spiffe://example.org.evil/a", "svid_wrong_trust_domain"},
		{"spiffe://xample.org/a", "svid_wrong_trust_domain"},
		{"spiffe://example.org", "svid_malformed"},
		{"spiffe://example.org/", "svid_malformed"},
		{"spiffe:///a", "svid_malformed"},
		{"spiffe://example.org/a/", "svid_malformed"},
		{"spiffe://example.org//a", "svid_malformed"},
		{"spiffe://example.org/./a", "svid_malformed"},
		{"spiffe://example.org/a/..", "svid_malformed"},
		{"spiffe://example.org/a%2fb", "svid_malformed"},
		{"spiffe://example.org/a?b", "svid_malformed"},
		{"spiffe://example.org/a#b", "svid_malformed"},
		{"spiffe://Example.org/a", "svid_malformed"},
		{"spiffe://example.org:80/a", "svid_malformed"},
		{"spiffe://u@example.org/a", "svid_malformed"},
	};
	const struct mica_slice root = mica_buf_slice(&pki.root_der);
	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++) {
		MICA_AUTO_BUF der;
		mica_buf_init(&der, MICA_CERT_MAX);
		struct mica_leaf_spec s = pki_spec(&pki);
		s.uri = cases[i].uri;
		assert_ok(mica_leaf_sign(pki.issuing, &s, &der, e));
		const struct mica_slice chain[] = {
			mica_buf_slice(&der), mica_buf_slice(&pki.issuing_der)};
		struct verdict v = judge_with(trust, &root, 1, chain, 2, NOW);
		expect(&v, cases[i].reason, NULL, true);
	}
	size_t n;
	char longest[2100];
	memset(longest, 'a', sizeof(longest));
	memcpy(longest, "spiffe://example.org/", 21);
	assert_true(mica_spiffe_id_is_workload(mica_slice(longest, 2048), &n));
	assert_int_equal(n, 11);
	assert_false(mica_spiffe_id_is_workload(mica_slice(longest, 2049), &n));
	memset(longest + 9, 'a', 300);
	longest[9 + 256] = '/';
	assert_false(mica_spiffe_id_is_workload(mica_slice(longest, 300), &n));
	longest[9 + 255] = '/';
	longest[9 + 256] = 'a';
	assert_true(mica_spiffe_id_is_workload(mica_slice(longest, 300), &n));
	assert_int_equal(n, 255);
}

/* ---- rules that OpenSSL's writer breaks for us
 * ------------------------------------------------------- */

static void leaf_rules(void **state)
{
	(void)state;
	static const struct {
		const char *reason;
		bool openssl;
		const char *ext[5][2];
	} cases[] = {
		{"ok", true, {NOT_CA, LEAF_KU, LEAF_EKU, LEAF_SAN}},
		{"ok", true, {LEAF_KU, LEAF_SAN}},
		{"ok", true,
			{LEAF_KU, {"subjectAltName", "DNS:a.example,URI:" ID ",DNS:b.example"}}},
		{"ok", true, {{"keyUsage", "critical,digitalSignature,keyAgreement"}, LEAF_SAN}},
		{"svid_malformed", true, {LEAF_KU}},
		{"svid_malformed", true, {LEAF_KU, {"subjectAltName", "DNS:a.example"}}},
		{"svid_malformed", true,
			{LEAF_KU, {"subjectAltName", "URI:" ID ",URI:spiffe://example.org/b"}}},
		{"svid_malformed", true,
			{LEAF_KU, {"subjectAltName", "URI:" ID ",URI:https://example.org/b"}}},
		{"svid_malformed", true, {NOT_CA, LEAF_SAN}},
		{"svid_malformed", true, {{"keyUsage", "digitalSignature"}, LEAF_SAN}},
		{"svid_malformed", false, {{"keyUsage", "critical,keyEncipherment"}, LEAF_SAN}},
		{"svid_malformed", true,
			{{"keyUsage", "critical,digitalSignature,cRLSign"}, LEAF_SAN}},
		{"svid_malformed", true,
			{CA_BASIC, {"keyUsage", "critical,digitalSignature,keyCertSign"},
				LEAF_SAN}},
		{"svid_malformed", false, {LEAF_KU, {"extendedKeyUsage", "serverAuth"}, LEAF_SAN}},
		{"svid_malformed", true, {LEAF_KU, {"extendedKeyUsage", "clientAuth"}, LEAF_SAN}},
		{"svid_malformed", false, {LEAF_KU, {"extendedKeyUsage", "codeSigning"}, LEAF_SAN}},
		{"svid_malformed", false, {LEAF_KU, LEAF_SAN, {"1.2.3.4", "critical,DER:0500"}}},
	};
	struct odd r = good_root();
	const struct mica_slice root = cook(&r, root_room);
	struct mica_trust *t;
	assert_ok(mica_trust_new(TD, &root, 1, &t, e));
	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++) {
		struct odd l = good_leaf("root", root_k);
		memset(l.ext, 0, sizeof(l.ext));
		memcpy(l.ext, cases[i].ext, sizeof(cases[i].ext));
		struct mica_slice leaf = cook(&l, leaf_room);
		struct verdict v = judge_with(t, &root, 1, &leaf, 1, NOW);
		expect(&v, cases[i].reason, NULL, cases[i].openssl);
	}
	/* X509-SVID 3.1: an empty subject asks for a critical SAN */
	struct odd l = good_leaf("root", root_k);
	l.subject = "";
	struct mica_slice leaf = cook(&l, leaf_room);
	struct verdict v = judge_with(t, &root, 1, &leaf, 1, NOW);
	expect(&v, "svid_malformed", NULL, true);
	l.ext[3][1] = "critical,URI:" ID;
	leaf = cook(&l, leaf_room);
	v = judge_with(t, &root, 1, &leaf, 1, NOW);
	expect(&v, "ok", NULL, true);
	mica_trust_free(t);
}

/* One rule broken somewhere on the path root - mid - low - leaf. */
static void path_rules(void **state)
{
	(void)state;
	static const struct {
		const char *reason, *fine;
		bool openssl;
		int who; /* 0 root, 1 mid, 2 low, 3 leaf */
		const char *ext[4][2];
		int64_t not_before, not_after;
		const char *issuer;
		int signer; /* 1 + who */
	} cases[] = {
		{"ok", "", true, -1, {{NULL}}, 0, 0, NULL, 0},
		{"ok", "", true, 1,
			{{"basicConstraints", "critical,CA:TRUE,pathlen:1"}, CA_KU, SKI}, 0, 0,
			NULL, 0},
		{"svid_untrusted", "path_too_long", false, 1,
			{{"basicConstraints", "critical,CA:TRUE,pathlen:0"}, CA_KU, SKI}, 0, 0,
			NULL, 0},
		{"svid_untrusted", "path_too_long", false, 0,
			{{"basicConstraints", "critical,CA:TRUE,pathlen:1"}, CA_KU, SKI}, 0, 0,
			NULL, 0},
		{"svid_untrusted", "issuer_not_authority", false, 1,
			{{"basicConstraints", "critical,CA:FALSE"}, LEAF_KU, SKI}, 0, 0, NULL, 0},
		{"svid_untrusted", "issuer_not_authority", false, 2,
			{CA_BASIC, {"keyUsage", "critical,cRLSign"}, SKI}, 0, 0, NULL, 0},
		/* X509-SVID 4.3: key usage there must be */
		{"svid_untrusted", "issuer_not_authority", true, 2, {CA_BASIC, SKI}, 0, 0, NULL, 0},
		{"svid_untrusted", "issuer_not_authority", false, 2, {SKI}, 0, 0, NULL, 0},
		/* not understood here, so not passed over, whatever its criticality says */
		{"svid_untrusted", "issuer_not_authority", true, 1,
			{CA_BASIC, CA_KU, SKI, {"nameConstraints", "permitted;DNS:example.org"}}, 0,
			0, NULL, 0},
		{"svid_malformed", "cert_extension_unknown", true, 1,
			{CA_BASIC, CA_KU, SKI,
				{"nameConstraints", "critical,permitted;DNS:example.org"}},
			0, 0, NULL, 0},
		{"svid_expired", "svid_expired", false, 2, {{NULL}}, NOW - 20, NOW - 10, NULL, 0},
		{"svid_expired", "svid_expired", false, 0, {{NULL}}, NOW - 20, NOW - 10, NULL, 0},
		{"svid_not_yet_valid", "svid_not_yet_valid", false, 1, {{NULL}}, NOW + 10, NOW + 20,
			NULL, 0},
		{"svid_untrusted", "issuer_unknown", false, 2, {{NULL}}, 0, 0, "elsewhere", 0},
		{"svid_untrusted", "signature_invalid", false, 2, {{NULL}}, 0, 0, NULL, 4},
		{"svid_untrusted", "signature_invalid", false, 1, {{NULL}}, 0, 0, NULL, 4},
		{"svid_untrusted", "signature_invalid", false, 3, {{NULL}}, 0, 0, NULL, 2},
	};
	EVP_PKEY *const keys[] = {root_k, mid_k, low_k, leaf_k};
	uint8_t *const rooms[] = {root_room, mid_room, low_room, leaf_room};
	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++) {
		struct odd c[4] = {good_root(), good_mid(), good_low(), good_leaf("low", low_k)};
		struct mica_slice der[4];
		if (cases[i].who >= 0) {
			struct odd *o = &c[cases[i].who];
			if (cases[i].ext[0][0]) {
				memset(o->ext, 0, sizeof(o->ext));
				memcpy(o->ext, cases[i].ext, sizeof(cases[i].ext));
			}
			o->not_before = cases[i].not_before;
			o->not_after = cases[i].not_after;
			if (cases[i].issuer)
				o->issuer = cases[i].issuer;
			if (cases[i].signer)
				o->signer = keys[cases[i].signer - 1];
		}
		for (int j = 0; j < 4; j++)
			der[j] = cook(&c[j], rooms[j]);
		const struct mica_slice chain[] = {der[3], der[2], der[1]};
		struct mica_trust *t;
		assert_ok(mica_trust_new(TD, &der[0], 1, &t, e));
		struct verdict v = judge_with(t, &der[0], 1, chain, 3, NOW);
		if (strcmp(v.reason, cases[i].reason) != 0 || strcmp(v.fine, cases[i].fine) != 0)
			print_message("case %zu\n", i);
		expect(&v, cases[i].reason, cases[i].reason[0] == 'o' ? NULL : cases[i].fine,
			cases[i].openssl);
		/* the order is part of it: X509-SVID has no search for a path */
		const struct mica_slice wrong[] = {der[3], der[1], der[2]};
		v = judge_with(t, &der[0], 1, wrong, 3, NOW);
		assert_string_not_equal(v.reason, "ok");
		mica_trust_free(t);
	}
}

/* Chains that never end, or go round. */
static void long_chains(void **state)
{
	(void)state;
	struct odd r = good_root(), l = good_leaf("a1", mid_k);
	static uint8_t rooms[8][MICA_CERT_MAX];
	struct mica_slice chain[9];
	const struct mica_slice root = cook(&r, root_room);
	struct mica_trust *t;
	assert_ok(mica_trust_new(TD, &root, 1, &t, e));
	chain[0] = cook(&l, leaf_room);
	for (int i = 1; i <= 8; i++) {
		char subject[8] = {'a', (char)('0' + i)}, issuer[8] = {'a', (char)('1' + i)};
		struct odd m = good_mid();
		m.subject = subject;
		m.issuer = issuer;
		m.signer = mid_k;
		chain[i] = cook(&m, rooms[i - 1]);
	}
	struct verdict v = judge_with(t, &root, 1, chain, 9, NOW);
	expect(&v, "svid_untrusted", "path_too_long", false);
	/* four authorities below the root are taken, five are not */
	for (int n = 4; n <= 5; n++) {
		char subject[8] = {'a', (char)('0' + n)};
		struct odd m = good_mid();
		m.subject = subject;
		struct mica_slice keep = chain[n];
		chain[n] = cook(&m, low_room);
		v = judge_with(t, &root, 1, chain, (size_t)n + 1, NOW);
		expect(&v, n == 4 ? "ok" : "svid_untrusted", n == 4 ? NULL : "path_too_long", true);
		chain[n] = keep;
	}
	/* one that issued itself, again and again */
	struct odd self = good_mid();
	self.subject = self.issuer = "a1";
	self.signer = mid_k;
	chain[1] = cook(&self, rooms[0]);
	for (int i = 2; i <= 8; i++)
		chain[i] = chain[1];
	v = judge_with(t, &root, 1, chain, 9, NOW);
	expect(&v, "svid_untrusted", "path_too_long", false);
	mica_trust_free(t);
}

/* A bit changed anywhere in the chain: never taken, unless it is one that nobody signed. */
static void every_octet(void **state)
{
	(void)state;
	uint8_t a[MICA_CERT_MAX], b[MICA_CERT_MAX];
	MICA_AUTO_BUF der;
	mica_buf_init(&der, MICA_CERT_MAX);
	struct mica_leaf_spec s = pki_spec(&pki);
	assert_ok(mica_leaf_sign(pki.issuing, &s, &der, e));
	memcpy(a, der.p, der.len);
	memcpy(b, pki.issuing_der.p, pki.issuing_der.len);
	const struct mica_slice chain[] = {
		mica_slice(a, der.len), mica_slice(b, pki.issuing_der.len)};
	struct mica_svid svid;
	assert_ok(mica_verify_svid(trust, chain, 2, NOW, 0, &svid, e));
	for (size_t i = 0; i < chain[0].len + chain[1].len; i++) {
		uint8_t *at = i < chain[0].len ? &a[i] : &b[i - chain[0].len];
		*at ^= (uint8_t)(1 << i % 8);
		assert_int_equal(mica_verify_svid(trust, chain, 2, NOW, 0, &svid, NULL),
			MICA_UNAUTHENTICATED);
		*at ^= (uint8_t)(1 << i % 8);
	}
}

static void bad_roots(void **state)
{
	(void)state;
	struct mica_trust *t;
	MICA_AUTO_BUF der;
	struct mica_slice many[33];
	mica_buf_init(&der, MICA_CERT_MAX);
	struct mica_leaf_spec s = pki_spec(&pki);
	assert_ok(mica_leaf_sign(pki.issuing, &s, &der, e));
	struct mica_slice leaf = mica_buf_slice(&der), junk = MICA_LIT("junk");
	assert_refused(MICA_INVALID, "not_an_authority", mica_trust_new(TD, &leaf, 1, &t, e));
	assert_refused(MICA_INVALID, "cert_malformed", mica_trust_new(TD, &junk, 1, &t, e));
	for (size_t i = 0; i < 33; i++)
		many[i] = mica_buf_slice(&pki.root_der);
	assert_refused(MICA_LIMIT, "too_many_roots", mica_trust_new(TD, many, 33, &t, e));
	char td[300];
	memset(td, 'a', sizeof(td));
	td[299] = '\0';
	assert_refused(MICA_INVALID, "trust_domain_invalid", mica_trust_new(td, many, 1, &t, e));
	struct odd r = good_root();
	EVP_PKEY *weak = EVP_RSA_gen(1024);
	r.key = r.signer = weak;
	struct mica_slice w = cook(&r, root_room);
	assert_refused(MICA_INVALID, "key_weak", mica_trust_new(TD, &w, 1, &t, e));
	EVP_PKEY_free(weak);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(our_own),
		cmocka_unit_test(trust_domains),
		cmocka_unit_test(leaf_rules),
		cmocka_unit_test(path_rules),
		cmocka_unit_test(long_chains),
		cmocka_unit_test(every_octet),
		cmocka_unit_test(bad_roots),
	};
	pki_init(&pki, MICA_KN_P256);
	pki_init(&other, MICA_KN_P256);
	root_k = EVP_EC_gen("P-256");
	mid_k = EVP_EC_gen("P-256");
	low_k = EVP_EC_gen("P-384");
	leaf_k = EVP_EC_gen("P-256");
	struct mica_slice root = mica_buf_slice(&pki.root_der);
	if (mica_trust_new(TD, &root, 1, &trust, NULL))
		return 1;
	int rc = cmocka_run_group_tests(tests, NULL, NULL);
	mica_trust_free(trust);
	pki_clear(&pki);
	pki_clear(&other);
	EVP_PKEY_free(root_k);
	EVP_PKEY_free(mid_k);
	EVP_PKEY_free(low_k);
	EVP_PKEY_free(leaf_k);
	return rc;
}
