/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates that we write, read by OpenSSL and by us. tests/data/profile/ holds what `openssl
 * x509 -text` says of each kind, with the octets of keys and signatures left out; after a wanted
 * change of the profile run `tests/unit/test_cert --update` and read the difference.
 */
#include "pki.h"

#include <stdio.h>

static struct pki pki;
static bool update;

static mica_rc leaf(const struct mica_leaf_spec *s, struct mica_buf *out, struct mica_err *e)
{
	mica_buf_reset(out);
	return mica_leaf_sign(pki.issuing, s, out, e);
}

/* ---- the profile ----------------------------------------------------------------------------- */

static bool is_hex_line(const char *s)
{
	size_t n = strspn(s, " "), hex = strspn(s + n, "0123456789abcdefABCDEF:");
	return n >= 8 && hex >= 6 && strchr(s + n, ':') && s[n + hex] == '\0';
}

/* OpenSSL's text without what differs from key to key. */
static void profile_text(struct mica_slice der, struct mica_buf *out)
{
	X509 *x = pki_x509(der);
	BIO *bio = BIO_new(BIO_s_mem());
	char line[4096], id[MICA_KEY_ID_SIZE];
	X509_print_ex(bio, x, XN_FLAG_RFC2253, 0);
	while (BIO_gets(bio, line, sizeof(line)) > 0) {
		line[strcspn(line, "\n")] = '\0';
		char *cn = strstr(line, "Mica ");
		if (is_hex_line(line)) {
			/* serials are fixed by the test: kept; they stand right below their title
			 */
			if (out->len < 9 ||
				memcmp(out->p + out->len - 15, "Serial Number:\n", 15) != 0)
				continue;
		}
		if (cn) { /* the id of a key in a name */
			cn += strcspn(cn, " ") + 1;
			cn += strcspn(cn, " ") + 1;
			for (size_t i = 0; i < sizeof(id) - 1 && cn[i]; i++)
				cn[i] = 'x';
		}
		mica_buf_printf(out, "%s\n", line);
	}
	BIO_free(bio);
	X509_free(x);
}

static void same_profile(const char *name, struct mica_slice der)
{
	MICA_AUTO_BUF text, path;
	static uint8_t want[16384];
	mica_buf_init(&text, sizeof(want));
	mica_buf_init(&path, 4096);
	profile_text(der, &text);
	const char *top = getenv("MICA_SRCDIR");
	mica_buf_printf(&path, "%s/tests/data/profile/%s.txt", top ? top : ".", name);
	FILE *f = fopen((const char *)path.p, update ? "w" : "r");
	if (!f)
		fail_msg("%s: cannot be opened", (const char *)path.p);
	if (update) {
		fwrite(text.p, 1, text.len, f);
		fclose(f);
		return;
	}
	size_t n = fread(want, 1, sizeof(want) - 1, f);
	fclose(f);
	want[n] = '\0';
	assert_string_equal((const char *)text.p, (const char *)want);
}

static void profiles(void **state)
{
	(void)state;
	MICA_AUTO_BUF der;
	mica_buf_init(&der, MICA_CERT_MAX);
	same_profile("root", mica_buf_slice(&pki.root_der));
	same_profile("issuing", mica_buf_slice(&pki.issuing_der));

	struct mica_leaf_spec s = pki_spec(&pki);
	assert_ok(leaf(&s, &der, e));
	same_profile("leaf", mica_buf_slice(&der));
	s.trust_domain = "";
	assert_ok(leaf(&s, &der, e));
	same_profile("leaf-empty-subject", mica_buf_slice(&der));
	s.trust_domain = TD;
	s.dns_first = "checkout.payments.serviceaccount.identity.linkerd.cluster.local";
	assert_ok(leaf(&s, &der, e));
	same_profile("leaf-linkerd", mica_buf_slice(&der));
	static const char *const dns[] = {"mica.example.org", "localhost"};
	static const uint8_t v6[16] = {[15] = 1};
	const struct mica_slice ip[] = {mica_slice("\x7f\x00\x00\x01", 4), mica_slice(v6, 16)};
	s.dns_first = NULL;
	s.uri = "spiffe://example.org/mica/server";
	s.dns = dns;
	s.n_dns = 2;
	s.ip = ip;
	s.n_ip = 2;
	assert_ok(leaf(&s, &der, e));
	same_profile("leaf-serving", mica_buf_slice(&der));
}

/* ---- OpenSSL on the other side ----------------------------------------------------------------
 */

static void openssl_takes_them(void **state)
{
	(void)state;
	static const enum mica_key_name kinds[] = {
		MICA_KN_P256, MICA_KN_P384, MICA_KN_ED25519, MICA_KN_RSA2048};
	for (size_t i = 0; i < MICA_ARRAY_LEN(kinds); i++) {
		struct pki p;
		MICA_AUTO_BUF der;
		mica_buf_init(&der, MICA_CERT_MAX);
		pki_init(&p, kinds[i]);
		struct mica_leaf_spec s = pki_spec(&p);
		assert_ok(mica_leaf_sign(p.issuing, &s, &der, e));
		struct mica_slice chain[] = {mica_buf_slice(&der), mica_buf_slice(&p.issuing_der)};
		struct mica_slice root = mica_buf_slice(&p.root_der);
		assert_int_equal(pki_openssl_verify(chain, 2, &root, 1, NOW), X509_V_OK);
		X509 *leaf_x = pki_x509(chain[0]), *issuing_x = pki_x509(chain[1]),
		     *root_x = pki_x509(root);
		assert_int_equal(X509_check_purpose(leaf_x, X509_PURPOSE_SSL_CLIENT, 0), 1);
		assert_int_equal(X509_check_purpose(leaf_x, X509_PURPOSE_SSL_SERVER, 0), 1);
		assert_int_equal(X509_check_purpose(leaf_x, X509_PURPOSE_SSL_CLIENT, 1), 0);
		assert_int_equal(X509_check_purpose(issuing_x, X509_PURPOSE_SSL_SERVER, 1), 1);
		assert_int_equal(X509_check_purpose(root_x, X509_PURPOSE_SSL_SERVER, 1), 1);
		assert_int_equal(X509_check_issued(issuing_x, leaf_x), X509_V_OK);
		assert_int_equal(X509_get_pathlen(issuing_x), 0);
		assert_int_equal(X509_get_pathlen(root_x), -1);
		/* What OpenSSL writes of what it read is what we wrote. */
		uint8_t again[MICA_CERT_MAX], *at = again;
		X509 *fresh = X509_dup(leaf_x);
		size_t len = (size_t)i2d_X509(fresh, &at);
		assert_true(mica_slice_eq(mica_slice(again, len), chain[0]));
		X509_free(fresh);
		X509_free(leaf_x);
		X509_free(issuing_x);
		X509_free(root_x);
		pki_clear(&p);
	}
}

/* ---- what we read ------------------------------------------------------------------------------
 */

static void reads_back(void **state)
{
	(void)state;
	MICA_AUTO_BUF der;
	struct mica_cert_info c;
	static const char *const dns[] = {"a.example.org", "b.example.org"};
	const struct mica_slice ip[] = {mica_slice("\x7f\x00\x00\x01", 4)};
	mica_buf_init(&der, MICA_CERT_MAX);
	struct mica_leaf_spec s = pki_spec(&pki);
	s.dns = dns;
	s.n_dns = 2;
	s.dns_first = "first.example.org";
	s.ip = ip;
	s.n_ip = 1;
	assert_ok(leaf(&s, &der, e));
	assert_ok(mica_cert_read(mica_buf_slice(&der), &c, e));
	assert_true(mica_slice_eq(c.serial, mica_slice(s.serial, MICA_SERIAL_LEN)));
	assert_true(c.not_before == s.not_before && c.not_after == s.not_after);
	assert_int_equal(c.n_uri, 1);
	assert_true(mica_slice_eq_str(c.uri[0], ID));
	assert_int_equal(c.n_dns, 3);
	assert_true(mica_slice_eq_str(c.dns[0], "first.example.org"));
	assert_true(mica_slice_eq_str(c.dns[2], "b.example.org"));
	assert_int_equal(c.n_ip, 1);
	assert_int_equal(c.n_other, 0);
	assert_true(c.has_basic && !c.is_ca && c.path_len == -1);
	assert_true(c.ku_critical && c.ku == MICA_KU_DIGITAL_SIGNATURE);
	assert_true(c.eku == (MICA_EKU_SERVER | MICA_EKU_CLIENT));
	assert_true(c.has_san && !c.san_critical && !c.subject_empty);
	assert_int_equal(c.ski.len, 0);
	assert_true(mica_slice_eq(c.spki, mica_pubkey_spki(&pki.leaf_key)));
	assert_int_equal(c.alg, MICA_SIG_ECDSA_SHA256);
	struct mica_cert_info up;
	assert_ok(mica_cert_read(mica_buf_slice(&pki.issuing_der), &up, e));
	assert_true(mica_slice_eq(c.aki, up.ski) && c.aki.len == MICA_KEY_ID_LEN);
	assert_true(mica_slice_eq(c.issuer, up.subject));
	assert_true(up.is_ca && up.path_len == 0 &&
		up.ku == (MICA_KU_KEY_CERT_SIGN | MICA_KU_CRL_SIGN));
	assert_true(up.n_uri == 1 && mica_slice_eq_str(up.uri[0], "spiffe://" TD));
	char hex[MICA_KEY_ID_SIZE];
	mica_hex_encode(up.ski.p, up.ski.len, hex);
	assert_string_equal(hex, mica_cert_issuer_id(pki.issuing));
	assert_true(mica_cert_issuer_not_after(pki.issuing) == up.not_after);
	assert_true(mica_cert_issuer_not_before(pki.issuing) == up.not_before);
	assert_true(mica_slice_eq(mica_cert_issuer_der(pki.issuing), up.der));
}

/* OpenSSL and we agree on every certificate of one changed octet that we take. */
static void changed_octets(void **state)
{
	(void)state;
	MICA_AUTO_BUF der;
	struct mica_cert_info c;
	unsigned taken = 0;
	mica_buf_init(&der, MICA_CERT_MAX);
	struct mica_leaf_spec s = pki_spec(&pki);
	assert_ok(leaf(&s, &der, e));
	for (size_t i = 0; i < der.len; i++) {
		static const uint8_t masks[] = {0x01, 0x80, 0x20};
		for (size_t m = 0; m < sizeof(masks); m++) {
			der.p[i] ^= masks[m];
			struct mica_pubkey k;
			if (!mica_cert_read(mica_buf_slice(&der), &c, NULL) &&
				!mica_pubkey_read(c.spki, &k, NULL)) {
				const uint8_t *at = der.p;
				X509 *x = d2i_X509(NULL, &at, (long)der.len);
				if (!x)
					fail_msg("octet %zu, mask %02x: OpenSSL refuses it", i,
						masks[m]);
				assert_int_equal(X509_check_ca(x) != 0, c.is_ca);
				X509_free(x);
				ERR_clear_error();
				taken++;
			}
			der.p[i] ^= masks[m];
		}
	}
	assert_true(taken > 100); /* keys, signatures, names */
	for (size_t n = 0; n < der.len; n++)
		assert_int_not_equal(mica_cert_read(mica_slice(der.p, n), &c, NULL), MICA_OK);
	MICA_AUTO_BUF longer;
	mica_buf_init(&longer, MICA_CERT_MAX * 2);
	mica_buf_put(&longer, der.p, der.len);
	mica_buf_put_u8(&longer, 0);
	assert_refused(
		MICA_INVALID, "cert_malformed", mica_cert_read(mica_buf_slice(&longer), &c, e));
	mica_buf_room(&longer, MICA_CERT_MAX);
	mica_buf_added(&longer, MICA_CERT_MAX);
	assert_refused(
		MICA_LIMIT, "cert_too_large", mica_cert_read(mica_buf_slice(&longer), &c, e));
}

/* A certificate by OpenSSL with the extensions given as name, value pairs. */
static struct mica_slice odd_cert(const char *const (*ext)[2], int version, bool empty_serial)
{
	static uint8_t der[65536];
	uint8_t *at = der;
	EVP_PKEY *k = EVP_EC_gen("P-256");
	X509 *x = X509_new();
	X509_set_version(x, version);
	ASN1_INTEGER_set(X509_get_serialNumber(x), empty_serial ? 0 : 77);
	X509_NAME_add_entry_by_txt(
		X509_get_subject_name(x), "O", MBSTRING_ASC, (const unsigned char *)"x", -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(x));
	ASN1_TIME_set(X509_getm_notBefore(x), NOW - 10);
	ASN1_TIME_set(X509_getm_notAfter(x), NOW + 10);
	X509_set_pubkey(x, k);
	for (; ext && (*ext)[0]; ext++) {
		X509_EXTENSION *e = X509V3_EXT_conf(NULL, NULL, (*ext)[0], (*ext)[1]);
		assert_non_null(e);
		X509_add_ext(x, e, -1);
		X509_EXTENSION_free(e);
	}
	X509_sign(x, k, EVP_sha256());
	int len = i2d_X509(x, &at);
	X509_free(x);
	EVP_PKEY_free(k);
	return mica_slice(der, (size_t)len);
}

static void odd_certificates(void **state)
{
	(void)state;
	static const struct {
		const char *reason;
		const char *ext[4][2];
	} cases[] = {
		{"ok", {{"basicConstraints", "critical,CA:TRUE"}}},
		{"ok", {{"1.2.3.4", "DER:0500"}}},
		{"ok",
			{{"subjectAltName",
				"email:a@b.example,DNS:x.example,RID:1.2.3,URI:spiffe://a/b"}}},
		{"ok", {{"nameConstraints", "permitted;URI:example.org"}}},
		{"ok",
			{{"subjectAltName",
				"URI:a:1,URI:a:2,URI:a:3,URI:a:4,URI:a:5"}}}, /* counted; the
										 verifier refuses */
		{"cert_extension_unknown", {{"1.2.3.4", "critical,DER:0500"}}},
		{"cert_extension_unknown",
			{{"nameConstraints", "critical,permitted;URI:example.org"}}},
		{"cert_extension_twice", {{"1.2.3.4", "DER:0500"}, {"1.2.3.4", "DER:0500"}}},
		{"cert_extension_twice",
			{{"subjectAltName", "URI:spiffe://a/b"},
				{"subjectAltName", "URI:spiffe://a/c"}}},
		{"cert_malformed", {{"2.5.29.15", "DER:0500"}}},
		{"cert_malformed", {{"2.5.29.15", "DER:03020780ff"}}},
		{"cert_malformed", {{"2.5.29.15", "DER:03020680"}}}, /* not minimal */
		{"cert_malformed", {{"2.5.29.15", "DER:030100"}}}, /* no bit */
		{"cert_malformed", {{"2.5.29.19", "DER:3003010100"}}}, /* the default, written */
		{"cert_malformed",
			{{"2.5.29.19", "DER:3003020100"}}}, /* a path length, but no CA */
		{"cert_malformed", {{"2.5.29.19", "DER:300601010102010 0"}}},
		{"cert_malformed", {{"2.5.29.17", "DER:3000"}}},
		{"cert_malformed", {{"2.5.29.17", "DER:30058603610062"}}}, /* NUL in a URI */
		{"cert_malformed", {{"2.5.29.17", "DER:3005820361e262"}}}, /* not ASCII */
		{"cert_malformed",
			{{"2.5.29.17", "DER:3005870301020 3"}}}, /* an address of 3 octets */
		{"cert_malformed", {{"2.5.29.17", "DER:30028900"}}},
		{"cert_malformed", {{"2.5.29.37", "DER:3000"}}},
		{"cert_malformed", {{"2.5.29.14", "DER:0400"}}},
		{"cert_malformed", {{"2.5.29.35", "DER:0400"}}},
	};
	struct mica_cert_info c;
	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++) {
		char clean[4][2][256];
		const char *ext[5][2] = {{NULL}};
		for (int j = 0; j < 4 && cases[i].ext[j][0]; j++) {
			for (int h = 0; h < 2; h++) {
				size_t n = 0;
				for (const char *p = cases[i].ext[j][h]; *p; p++)
					if (*p != ' ')
						clean[j][h][n++] = *p;
				clean[j][h][n] = '\0';
				ext[j][h] = clean[j][h];
			}
		}
		struct mica_slice der = odd_cert((const char *const(*)[2])ext, 2, false);
		struct mica_err e = MICA_ERR_INIT;
		mica_rc rc = mica_cert_read(der, &c, &e);
		const char *got = rc ? e.reason : "ok";
		if (strcmp(got, cases[i].reason) != 0)
			fail_msg("case %zu %s=%s: %s (%s), expected %s", i, ext[0][0], ext[0][1],
				got, e.text, cases[i].reason);
	}
	static const char *const fine[][2] = {{"basicConstraints", "CA:TRUE"}, {NULL, NULL}};
	assert_refused(
		MICA_INVALID, "cert_malformed", mica_cert_read(odd_cert(NULL, 0, false), &c, e));
	assert_refused(MICA_INVALID, "cert_malformed",
		mica_cert_read(odd_cert(NULL, 2, false), &c, e)); /* no extensions */
	assert_refused(
		MICA_INVALID, "cert_malformed", mica_cert_read(odd_cert(fine, 2, true), &c, e));
	assert_refused(MICA_INVALID, "cert_malformed",
		mica_cert_read(odd_cert(fine, 1, false), &c, e)); /* v2 */

	/* more names than are kept */
	MICA_AUTO_BUF many;
	mica_buf_init(&many, 4096);
	for (int i = 0; i <= MICA_CERT_NAMES_MAX; i++)
		mica_buf_printf(&many, "%sDNS:n%d", i ? "," : "", i);
	const char *names[][2] = {{"subjectAltName", (const char *)many.p}, {NULL, NULL}};
	assert_refused(MICA_INVALID, "cert_too_many_names",
		mica_cert_read(odd_cert((const char *const(*)[2])names, 2, false), &c, e));
}

/* ---- what we do not write
 * ------------------------------------------------------------------------ */

static void specs(void **state)
{
	(void)state;
	MICA_AUTO_BUF der;
	char name[300];
	const char *many[MICA_LEAF_DNS_MAX + 1];
	mica_buf_init(&der, MICA_CERT_MAX);
	const struct mica_leaf_spec good = pki_spec(&pki);
	struct mica_leaf_spec s = good;
	s.not_after = s.not_before;
	assert_refused(MICA_INVALID, "validity_empty", leaf(&s, &der, e));
	s = good;
	s.not_after = mica_cert_issuer_not_after(pki.issuing) + 1;
	assert_refused(MICA_INVALID, "outside_issuer_validity", leaf(&s, &der, e));
	s.not_after--;
	assert_ok(leaf(&s, &der, e));
	s.not_before = mica_cert_issuer_not_before(pki.issuing) - 1;
	assert_refused(MICA_INVALID, "outside_issuer_validity", leaf(&s, &der, e));
	s = good;
	s.serial[0] = 0;
	assert_refused(MICA_INVALID, "serial_invalid", leaf(&s, &der, e));
	s.serial[0] = 0x80;
	assert_refused(MICA_INVALID, "serial_invalid", leaf(&s, &der, e));
	static const char *const uris[] = {
		"", "https://example.org/a", "spiffe:/example.org/a", "spiffe://example.org/\x01"};
	for (size_t i = 0; i < MICA_ARRAY_LEN(uris); i++) {
		s = good;
		s.uri = uris[i];
		assert_refused(MICA_INVALID, "name_invalid", leaf(&s, &der, e));
	}
	static const char *const dns[] = {"", "a b", "a,b", "a\n", "\xc3\xa4"};
	for (size_t i = 0; i < MICA_ARRAY_LEN(dns); i++) {
		s = good;
		s.dns = &dns[i];
		s.n_dns = 1;
		assert_refused(MICA_INVALID, "name_invalid", leaf(&s, &der, e));
		s = good;
		s.dns_first = dns[i];
		assert_refused(MICA_INVALID, "name_invalid", leaf(&s, &der, e));
	}
	memset(name, 'a', sizeof(name));
	name[254] = '\0';
	s = good;
	s.dns_first = name;
	assert_refused(MICA_INVALID, "name_invalid", leaf(&s, &der, e));
	name[253] = '\0';
	assert_ok(leaf(&s, &der, e));
	for (size_t i = 0; i < MICA_ARRAY_LEN(many); i++)
		many[i] = name;
	s = good;
	s.dns = many;
	s.n_dns = MICA_LEAF_DNS_MAX + 1;
	assert_refused(MICA_LIMIT, "too_many_names", leaf(&s, &der, e));
	s.n_dns = MICA_LEAF_DNS_MAX; /* 32 of 253 octets are too large together */
	assert_refused(MICA_LIMIT, "too_many_names", leaf(&s, &der, e));
	const struct mica_slice ip = mica_slice("abc", 3);
	s = good;
	s.ip = &ip;
	s.n_ip = 1;
	assert_refused(MICA_INVALID, "name_invalid", leaf(&s, &der, e));
	assert_refused(
		MICA_INVALID, "issuer_not_for_leaves", mica_leaf_sign(pki.root, &good, &der, e));

	struct mica_buf tiny;
	mica_buf_init(&tiny, 100);
	assert_refused(MICA_LIMIT, "too_long", mica_leaf_sign(pki.issuing, &good, &tiny, e));
	mica_buf_clear(&tiny);
}

static void authorities(void **state)
{
	(void)state;
	MICA_AUTO_BUF der;
	struct mica_cert_issuer *i = NULL;
	mica_buf_init(&der, MICA_CERT_MAX);
	struct mica_ca_spec s = {.kind = MICA_CA_ISSUING,
		.trust_domain = TD,
		.not_before = NOW,
		.not_after = NOW + 60,
		.key = mica_signer_public(pki.issuing_key)};
	pki_serial(s.serial, 9);
	assert_refused(MICA_INVALID, "issuer_not_for_authorities",
		mica_issuing_sign(pki.issuing, &s, &der, e));
	assert_refused(MICA_INVALID, "key_mismatch", mica_root_sign(pki.root_key, &s, &der, e));
	s.kind = MICA_CA_ROOT;
	assert_refused(MICA_INVALID, "key_mismatch", mica_root_sign(pki.root_key, &s, &der, e));
	assert_refused(MICA_INVALID, "issuer_not_for_authorities",
		mica_issuing_sign(pki.root, &s, &der, e));
	s.key = NULL;
	s.trust_domain = "";
	assert_refused(MICA_INVALID, "name_invalid", mica_root_sign(pki.root_key, &s, &der, e));
	s.trust_domain = TD;
	s.not_after = mica_cert_issuer_not_after(pki.root) + 1;
	s.kind = MICA_CA_ISSUING;
	s.key = mica_signer_public(pki.issuing_key);
	assert_refused(
		MICA_INVALID, "outside_issuer_validity", mica_issuing_sign(pki.root, &s, &der, e));

	assert_refused(MICA_INVALID, "key_mismatch",
		mica_cert_issuer_new(mica_buf_slice(&pki.root_der), pki.issuing_key, &i, e));
	assert_refused(MICA_INVALID, "cert_malformed",
		mica_cert_issuer_new(MICA_LIT("x"), pki.root_key, &i, e));
	struct mica_leaf_spec l = pki_spec(&pki);
	assert_ok(leaf(&l, &der, e));
	assert_refused(MICA_INVALID, "not_an_authority",
		mica_cert_issuer_new(mica_buf_slice(&der), pki.leaf_signer, &i, e));
}

/* A trust domain may be longer than O may be; it is not cut then. */
static void long_trust_domain(void **state)
{
	(void)state;
	MICA_AUTO_BUF der;
	char td[MICA_TD_MAX + 1];
	struct mica_cert_info c;
	memset(td, 'a', sizeof(td) - 1);
	td[MICA_TD_MAX] = '\0';
	mica_buf_init(&der, MICA_CERT_MAX);
	struct mica_leaf_spec s = pki_spec(&pki);
	s.trust_domain = td;
	assert_ok(leaf(&s, &der, e));
	assert_ok(mica_cert_read(mica_buf_slice(&der), &c, e));
	assert_true(mica_slice_has_suffix(c.subject, MICA_LIT("SPIFFE")));
	td[64] = '\0';
	assert_ok(leaf(&s, &der, e));
	assert_ok(mica_cert_read(mica_buf_slice(&der), &c, e));
	assert_true(mica_slice_has_suffix(c.subject, mica_slice_str(td)));
}

static void serials(void **state)
{
	(void)state;
	uint8_t a[MICA_SERIAL_LEN], b[MICA_SERIAL_LEN];
	mica_serial_make(NOW * 1000 + 7, a);
	mica_serial_make(NOW * 1000 + 7, b);
	int64_t t = 0;
	for (int i = 0; i < 6; i++)
		t = t << 8 | a[i];
	assert_true(t == NOW * 1000 + 7);
	assert_memory_equal(a, b, 6);
	assert_memory_not_equal(a + 6, b + 6, 10);
	for (int i = 0; i < 200; i++) {
		mica_serial_make(NOW * 1000 + i, b);
		assert_false(b[6] & 0x80);
		assert_true(b[0] == 1);
		if (i)
			assert_true(memcmp(a, b, MICA_SERIAL_LEN) < 0);
		memcpy(a, b, MICA_SERIAL_LEN);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(profiles),
		cmocka_unit_test(openssl_takes_them),
		cmocka_unit_test(reads_back),
		cmocka_unit_test(changed_octets),
		cmocka_unit_test(odd_certificates),
		cmocka_unit_test(specs),
		cmocka_unit_test(authorities),
		cmocka_unit_test(long_trust_domain),
		cmocka_unit_test(serials),
	};
	update = argc > 1 && strcmp(argv[1], "--update") == 0;
	pki_init(&pki, MICA_KN_P256);
	int rc = cmocka_run_group_tests(tests, NULL, NULL);
	pki_clear(&pki);
	return rc;
}
