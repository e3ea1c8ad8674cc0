/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that OpenSSL makes, and requests that nobody should take. */
#include "pki.h"

#include "mica/pem.h"

static const struct mica_key_policy any = {.types = 0x3f};

static EVP_PKEY *the_rsa(void)
{
	static EVP_PKEY *k;
	if (!k)
		k = EVP_RSA_gen(2048);
	return k;
}

struct der {
	uint8_t b[200000];
	size_t len;
};
static struct mica_slice view(const struct der *d)
{
	return mica_slice(d->b, d->len);
}

static void encode(X509_REQ *r, struct der *out)
{
	uint8_t *at = out->b;
	int len = i2d_X509_REQ(r, NULL);
	assert_true(len > 0 && (size_t)len <= sizeof(out->b));
	out->len = (size_t)i2d_X509_REQ(r, &at);
	X509_REQ_free(r);
}

static void sign_and_encode(X509_REQ *r, EVP_PKEY *k, const EVP_MD *md, bool pss, struct der *out)
{
	EVP_PKEY_CTX *pctx;
	EVP_MD_CTX *c = EVP_MD_CTX_new();
	X509_REQ_set_pubkey(r, k);
	assert_int_equal(EVP_DigestSignInit(c, &pctx, md, NULL, k), 1);
	if (pss) {
		EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING);
		EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST);
	}
	assert_true(X509_REQ_sign_ctx(r, c) > 0);
	EVP_MD_CTX_free(c);
	encode(r, out);
}

static void simple(EVP_PKEY *k, const EVP_MD *md, bool pss, struct der *out)
{
	X509_REQ *r = X509_REQ_new();
	X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(r), "CN", MBSTRING_ASC,
		(const unsigned char *)"whatever", -1, -1, 0);
	sign_and_encode(r, k, md, pss, out);
}

static void is_refused(mica_rc rc, const char *why, struct mica_slice csr)
{
	struct mica_pubkey k;
	assert_refused(rc, why, mica_csr_read(csr, &any, &k, e));
}

static void is_taken(struct mica_slice csr, EVP_PKEY *key)
{
	struct mica_pubkey k;
	uint8_t spki[1024], *at = spki;
	assert_ok(mica_csr_read(csr, &any, &k, e));
	size_t len = (size_t)i2d_PUBKEY(key, &at);
	assert_true(mica_slice_eq(mica_pubkey_spki(&k), mica_slice(spki, len)));
}

static struct der d, d2; /* too large for a stack */

static void every_kind(void **state)
{
	(void)state;
	EVP_PKEY *p256 = EVP_EC_gen("P-256"), *p384 = EVP_EC_gen("P-384"),
		 *ed = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	const struct {
		EVP_PKEY *k;
		const EVP_MD *md;
		bool pss;
	} cases[] = {
		{p256, EVP_sha256(), false},
		{p256, EVP_sha384(), false},
		{p256, EVP_sha512(), false},
		{p384, EVP_sha384(), false},
		{p384, EVP_sha256(), false},
		{the_rsa(), EVP_sha256(), false},
		{the_rsa(), EVP_sha384(), false},
		{the_rsa(), EVP_sha512(), false},
		{the_rsa(), EVP_sha256(), true},
		{the_rsa(), EVP_sha384(), true},
		{the_rsa(), EVP_sha512(), true},
		{ed, NULL, false},
	};
	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++) {
		MICA_AUTO_BUF pem;
		mica_buf_init(&pem, 8192);
		simple(cases[i].k, cases[i].md, cases[i].pss, &d);
		is_taken(view(&d), cases[i].k);
		mica_pem_put(&pem, MICA_PEM_CSR, view(&d));
		is_taken(mica_buf_slice(&pem), cases[i].k);
		mica_buf_reset(&pem);
		mica_pem_put(&pem, "NEW CERTIFICATE REQUEST", view(&d));
		is_taken(mica_buf_slice(&pem), cases[i].k);
		/* the same through OpenSSL's own PEM, with CRLF */
		X509_REQ *r = NULL;
		const uint8_t *at = d.b;
		char text[8192], crlf[8192 * 2];
		BIO *bio = BIO_new(BIO_s_mem());
		r = d2i_X509_REQ(NULL, &at, (long)d.len);
		PEM_write_bio_X509_REQ(bio, r);
		int n = BIO_read(bio, text, sizeof(text)), m = 0;
		is_taken(mica_slice(text, (size_t)n), cases[i].k);
		for (int j = 0; j < n; j++) {
			if (text[j] == '\n')
				crlf[m++] = '\r';
			crlf[m++] = text[j];
		}
		is_taken(mica_slice(crlf, (size_t)m), cases[i].k);
		BIO_free(bio);
		X509_REQ_free(r);
	}
	EVP_PKEY_free(p256);
	EVP_PKEY_free(p384);
	EVP_PKEY_free(ed);
}

static void framing(void **state)
{
	(void)state;
	EVP_PKEY *k = EVP_EC_gen("P-256");
	MICA_AUTO_BUF pem, t;
	simple(k, EVP_sha256(), false, &d);
	mica_buf_init(&pem, 8192);
	mica_buf_init(&t, 40000);
	mica_pem_put(&pem, MICA_PEM_CSR, view(&d));

	is_refused(MICA_INVALID, "csr_empty", MICA_SLICE_NULL);
	is_refused(MICA_INVALID, "csr_empty", MICA_LIT("\n\n"));
	is_refused(MICA_INVALID, "csr_not_pem", MICA_LIT("hello"));
	is_refused(MICA_INVALID, "csr_not_pem", MICA_LIT("\0"));
	is_refused(MICA_INVALID, "csr_not_pem", MICA_LIT("-----BEGIN CERTIFICATE REQUEST-----"));
	mica_pem_put(&t, MICA_PEM_CERT, view(&d));
	is_refused(MICA_INVALID, "csr_not_pem", mica_buf_slice(&t));
	/* two blocks, text behind, text before, octets behind */
	for (int i = 0; i < 5; i++) {
		mica_buf_reset(&t);
		if (i == 1)
			mica_buf_put_str(&t, "Certificate Request:\n");
		mica_buf_put_slice(&t, mica_buf_slice(&pem));
		if (i == 0)
			mica_buf_put_slice(&t, mica_buf_slice(&pem));
		if (i == 2)
			mica_buf_put_str(&t, "x");
		if (i == 3)
			mica_buf_put_str(&t, "\n \n");
		if (i == 4)
			mica_buf_put_u8(&t, 0);
		is_refused(MICA_INVALID, "csr_trailing_data", mica_buf_slice(&t));
	}
	d.b[d.len] = 0;
	is_refused(MICA_INVALID, "csr_trailing_data", mica_slice(d.b, d.len + 1));
	mica_buf_reset(&t);
	mica_pem_put(&t, MICA_PEM_CSR, mica_slice(d.b, d.len + 1));
	is_refused(MICA_INVALID, "csr_trailing_data", mica_buf_slice(&t));
	memcpy(d.b + d.len, d.b, d.len);
	is_refused(MICA_INVALID, "csr_trailing_data", mica_slice(d.b, 2 * d.len));
	for (size_t n = 1; n < d.len; n++)
		is_refused(MICA_INVALID, "csr_malformed", mica_slice(d.b, n));

	static uint8_t huge[1024 * 1024];
	huge[0] = 0x30;
	is_refused(MICA_LIMIT, "csr_too_large", mica_slice(huge, sizeof(huge)));
	is_refused(MICA_LIMIT, "csr_too_large", mica_slice(huge, MICA_CSR_MAX + 1));
	is_refused(MICA_INVALID, "csr_trailing_data", mica_slice(huge, MICA_CSR_MAX));
	EVP_PKEY_free(k);
}

/* A flipped bit at any place is refused, and never by anything but a reason of ours. */
static void every_bit(void **state)
{
	(void)state;
	EVP_PKEY *k = EVP_EC_gen("P-256");
	simple(k, EVP_sha256(), false, &d);
	for (size_t i = 0; i < d.len; i++) {
		struct mica_pubkey out;
		struct mica_err e = MICA_ERR_INIT;
		d.b[i] ^= (uint8_t)(1 << i % 8);
		assert_int_not_equal(mica_csr_read(view(&d), &any, &out, &e), MICA_OK);
		assert_true(e.reason && e.text[0]);
		d.b[i] ^= (uint8_t)(1 << i % 8);
	}
	EVP_PKEY_free(k);
}

/* ---- requests put together by hand ---------------------------------------------------------- */

struct recipe {
	struct mica_slice spki, alg, attributes, subject;
	uint8_t version;
	EVP_PKEY *signer; /* NULL: 64 octets of nothing */
	const EVP_MD *md;
};

static void cook(const struct recipe *r, struct der *out)
{
	static uint8_t room[100000];
	uint8_t sig[1024] = {1};
	size_t sig_len = 64;
	struct mica_derw w = mica_derw(room, sizeof(room));
	size_t mark = mica_derw_mark(&w);
	mica_derw_put_slice(&w, r->attributes);
	mica_derw_put_slice(&w, r->spki);
	mica_derw_put_slice(&w, r->subject.len ? r->subject : mica_slice("\x30\x00", 2));
	mica_derw_prim(&w, MICA_DER_INTEGER, &r->version, 1);
	mica_derw_wrap(&w, mark, MICA_DER_SEQUENCE);
	struct mica_slice info = mica_derw_slice(&w);
	if (r->signer) {
		EVP_MD_CTX *c = EVP_MD_CTX_new();
		sig_len = sizeof(sig);
		EVP_DigestSignInit(c, NULL, r->md, NULL, r->signer);
		assert_int_equal(EVP_DigestSign(c, sig, &sig_len, info.p, info.len), 1);
		EVP_MD_CTX_free(c);
	}
	struct mica_derw o = mica_derw(out->b, sizeof(out->b));
	mark = mica_derw_mark(&o);
	mica_derw_bits(&o, sig, sig_len);
	mica_derw_put_slice(&o, r->alg.len ? r->alg : mica_sig_alg_der(MICA_SIG_ECDSA_SHA256));
	mica_derw_put_slice(&o, info);
	mica_derw_wrap(&o, mark, MICA_DER_SEQUENCE);
	struct mica_slice all = mica_derw_slice(&o);
	assert_true(all.len > 0);
	out->len = all.len;
	memmove(out->b, all.p, all.len);
}

static struct mica_slice spki(EVP_PKEY *k)
{
	static uint8_t room[8192];
	uint8_t *at = room;
	return mica_slice(room, (size_t)i2d_PUBKEY(k, &at));
}

#define EMPTY_ATTRIBUTES MICA_LIT("\xa0\x00")

static void possession(void **state)
{
	(void)state;
	EVP_PKEY *k = EVP_EC_gen("P-256"), *other = EVP_EC_gen("P-256");
	struct recipe r = {
		.spki = spki(k), .attributes = EMPTY_ATTRIBUTES, .signer = k, .md = EVP_sha256()};
	cook(&r, &d);
	is_taken(view(&d), k);
	r.attributes = MICA_SLICE_NULL; /* an empty set left out, as some do */
	cook(&r, &d);
	is_taken(view(&d), k);
	r.signer = other;
	cook(&r, &d);
	is_refused(MICA_INVALID, "csr_bad_signature", view(&d));
	r.signer = NULL;
	cook(&r, &d);
	is_refused(MICA_INVALID, "csr_bad_signature", view(&d));
	r.signer = k;
	r.md = EVP_sha384(); /* the hash is not the one that it says */
	cook(&r, &d);
	is_refused(MICA_INVALID, "csr_bad_signature", view(&d));
	r.alg = mica_sig_alg_der(MICA_SIG_RSA_SHA256);
	cook(&r, &d);
	is_refused(MICA_INVALID, "signature_algorithm_mismatch", view(&d));
	r.alg = mica_sig_alg_der(MICA_SIG_ED25519);
	cook(&r, &d);
	is_refused(MICA_INVALID, "signature_algorithm_mismatch", view(&d));
	r.alg = MICA_LIT("\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x01"); /* SHA-224 */
	cook(&r, &d);
	is_refused(MICA_INVALID, "signature_algorithm_unknown", view(&d));
	r.alg = MICA_LIT("\x30\x00");
	cook(&r, &d);
	is_refused(MICA_INVALID, "signature_algorithm_malformed", view(&d));
	EVP_PKEY_free(k);
	EVP_PKEY_free(other);
}

static void weak_hashes(void **state)
{
	(void)state;
	EVP_PKEY *k = EVP_EC_gen("P-256");
	simple(the_rsa(), EVP_sha1(), false, &d);
	is_refused(MICA_INVALID, "signature_algorithm_weak", view(&d));
	simple(the_rsa(), EVP_md5(), false, &d);
	is_refused(MICA_INVALID, "signature_algorithm_weak", view(&d));
	simple(k, EVP_sha1(), false, &d);
	is_refused(MICA_INVALID, "signature_algorithm_weak", view(&d));
	simple(the_rsa(), EVP_sha1(), true, &d); /* PSS with SHA-1: the parameters */
	is_refused(MICA_INVALID, "signature_algorithm_malformed", view(&d));
	EVP_PKEY_free(k);
}

static void structure(void **state)
{
	(void)state;
	EVP_PKEY *k = EVP_EC_gen("P-256");
	struct recipe good = {
		.spki = spki(k), .attributes = EMPTY_ATTRIBUTES, .signer = k, .md = EVP_sha256()};
	static const struct mica_slice bad_attributes[] = {
		MICA_LIT("\xa1\x00"),
		MICA_LIT("\xa0\x00\xa0\x00"),
		MICA_LIT("\xa0\x02\x30\x00"),
		MICA_LIT("\xa0\x05\x30\x03\x06\x01\x2a"), /* no values */
		MICA_LIT("\xa0\x07\x30\x05\x06\x01\x2a\x31\x00"), /* none in the set */
		MICA_LIT("\xa0\x09\x30\x07\x06\x01\x2a\x31\x02\x02\x05"), /* a value cut short */
		MICA_LIT("\x31\x00"),
	};
	static const struct mica_slice bad_subjects[] = {
		MICA_LIT("\x31\x00"),
		MICA_LIT("\x30\x02\x31\x00"),
		MICA_LIT("\x30\x04\x31\x02\x30\x00"),
		MICA_LIT("\x30\x02\x05\x00"),
	};
	for (size_t i = 0; i < MICA_ARRAY_LEN(bad_attributes); i++) {
		struct recipe r = good;
		r.attributes = bad_attributes[i];
		cook(&r, &d);
		is_refused(MICA_INVALID, "csr_malformed", view(&d));
	}
	for (size_t i = 0; i < MICA_ARRAY_LEN(bad_subjects); i++) {
		struct recipe r = good;
		r.subject = bad_subjects[i];
		cook(&r, &d);
		is_refused(MICA_INVALID, "csr_malformed", view(&d));
	}
	struct recipe r = good;
	r.version = 1;
	cook(&r, &d);
	is_refused(MICA_INVALID, "csr_malformed", view(&d));
	r = good;
	r.spki = MICA_LIT("\x04\x00");
	cook(&r, &d);
	is_refused(MICA_INVALID, "csr_malformed", view(&d));
	r.spki = MICA_LIT("\x30\x00");
	cook(&r, &d);
	is_refused(MICA_INVALID, "key_malformed", view(&d));
	is_refused(MICA_INVALID, "csr_malformed", MICA_LIT("\x30\x80\x00\x00")); /* BER */
	EVP_PKEY_free(k);
}

static void key_kinds(void **state)
{
	(void)state;
	static const char *const curves[] = {"P-224", "P-521", "secp256k1", "brainpoolP256r1"};
	for (size_t i = 0; i < MICA_ARRAY_LEN(curves); i++) {
		EVP_PKEY *k = EVP_EC_gen(curves[i]);
		simple(k, EVP_sha256(), false, &d);
		is_refused(MICA_INVALID, "key_type_not_allowed", view(&d));
		EVP_PKEY_free(k);
	}
	EVP_PKEY *small = EVP_RSA_gen(1024);
	simple(small, EVP_sha256(), false, &d);
	is_refused(MICA_INVALID, "key_weak", view(&d));
	EVP_PKEY_free(small);

	EC_KEY *ec = EC_KEY_new_by_curve_name(NID_X9_62_prime256v1);
	EC_KEY_generate_key(ec);
	for (int i = 0; i < 2; i++) { /* explicit parameters; a compressed point */
		EVP_PKEY *k = EVP_PKEY_new();
		EC_KEY *form = EC_KEY_dup(ec);
		if (i == 0)
			EC_KEY_set_asn1_flag(form, OPENSSL_EC_EXPLICIT_CURVE);
		else
			EC_KEY_set_conv_form(form, POINT_CONVERSION_COMPRESSED);
		EVP_PKEY_assign_EC_KEY(k, form);
		simple(k, EVP_sha256(), false, &d);
		is_refused(MICA_INVALID, "key_malformed", view(&d));
		EVP_PKEY_free(k);
	}
	EC_KEY_free(ec);
	/* Infinity, off the curve and small order cannot sign: the key is refused before the
	 * signature. */
	struct recipe r = {.attributes = EMPTY_ATTRIBUTES};
	r.spki = MICA_LIT("\x30\x19\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01"
			  "\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x02\x00\x00");
	cook(&r, &d);
	is_refused(MICA_INVALID, "key_malformed", view(&d));
	for (int i = 0; i < 2; i++) { /* off the curve; x and y of zero */
		static uint8_t off[200];
		EVP_PKEY *k = EVP_EC_gen("P-256");
		struct mica_slice good = spki(k);
		memcpy(off, good.p, good.len);
		if (i == 0)
			off[good.len - 1] ^= 1;
		else
			memset(off + good.len - 64, 0, 64);
		r.spki = mica_slice(off, good.len);
		cook(&r, &d);
		is_refused(MICA_INVALID, "key_malformed", view(&d));
		r.signer = k;
		r.md = EVP_sha256();
		cook(&r, &d);
		is_refused(MICA_INVALID, "key_malformed", view(&d));
		r.signer = NULL;
		EVP_PKEY_free(k);
	}
	r.spki = MICA_LIT(
		"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00\x01\x00\x00\x00\x00\x00\x00\x00"
		"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
		"\x00\x00\x00\x00");
	r.alg = mica_sig_alg_der(MICA_SIG_ED25519);
	cook(&r, &d);
	is_refused(MICA_INVALID, "key_weak", view(&d));
}

/* What a request asks for besides its key does not matter, and is not taken. */
static void wishes(void **state)
{
	(void)state;
	EVP_PKEY *k = EVP_EC_gen("P-256");
	static const char *const sans[] = {
		"URI:spiffe://example.org/admin",
		"DNS:*,DNS:kubernetes.default.svc,email:a@example.org,IP:10.0.0.1",
		"otherName:1.3.6.1.4.1.311.20.2.3;UTF8:admin@example.org",
	};
	for (size_t i = 0; i < MICA_ARRAY_LEN(sans); i++) {
		X509_REQ *r = X509_REQ_new();
		STACK_OF(X509_EXTENSION) *x = sk_X509_EXTENSION_new_null();
		sk_X509_EXTENSION_push(
			x, X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, sans[i]));
		sk_X509_EXTENSION_push(x,
			X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, "critical,CA:TRUE"));
		sk_X509_EXTENSION_push(
			x, X509V3_EXT_conf_nid(NULL, NULL, NID_key_usage, "critical,keyCertSign"));
		X509_REQ_add_extensions(r, x);
		if (i == 1) /* a second request for extensions */
			X509_REQ_add_extensions_nid(r, x, NID_ms_ext_req);
		static const unsigned char nul[] = "example.org\0.evil.example";
		X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(r), "CN", MBSTRING_ASC, nul,
			sizeof(nul) - 1, -1, 0);
		X509_REQ_add1_attr_by_NID(r, NID_pkcs9_challengePassword, MBSTRING_ASC,
			(const unsigned char *)"pw", 2);
		sign_and_encode(r, k, EVP_sha256(), false, &d);
		is_taken(view(&d), k);
		sk_X509_EXTENSION_pop_free(x, X509_EXTENSION_free);
	}
	/* 10,000 names are too many octets; what fits is ignored as one is. */
	for (int n = 500; n <= 10000; n += 9500) {
		X509_REQ *r = X509_REQ_new();
		GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
		STACK_OF(X509_EXTENSION) *x = NULL;
		for (int i = 0; i < n; i++) {
			GENERAL_NAME *g = GENERAL_NAME_new();
			ASN1_IA5STRING *s = ASN1_IA5STRING_new();
			ASN1_STRING_set(s, "abcde.example.org", -1);
			GENERAL_NAME_set0_value(g, GEN_DNS, s);
			sk_GENERAL_NAME_push(names, g);
		}
		X509V3_add1_i2d(&x, NID_subject_alt_name, names, 0, 0);
		X509_REQ_add_extensions(r, x);
		sign_and_encode(r, k, EVP_sha256(), false, &d2);
		if (n == 500)
			is_taken(view(&d2), k);
		else
			is_refused(MICA_LIMIT, "csr_too_large", view(&d2));
		sk_GENERAL_NAME_pop_free(names, GENERAL_NAME_free);
		sk_X509_EXTENSION_pop_free(x, X509_EXTENSION_free);
	}
	EVP_PKEY_free(k);
}

static void policy(void **state)
{
	(void)state;
	EVP_PKEY *k = EVP_EC_gen("P-256");
	struct mica_pubkey out;
	struct mica_key_policy p = {.types = 1u << MICA_KN_P384};
	simple(k, EVP_sha256(), false, &d);
	assert_refused(MICA_INVALID, "key_type_not_allowed", mica_csr_read(view(&d), &p, &out, e));
	p.types = 1u << MICA_KN_P256;
	assert_ok(mica_csr_read(view(&d), &p, &out, e));
	uint8_t denied[1][32];
	memcpy(denied[0], out.spki_sha256, 32);
	p.denied = denied;
	p.n_denied = 1;
	assert_refused(MICA_INVALID, "key_denied", mica_csr_read(view(&d), &p, &out, e));
	/* The key stands before the signature: a bad one is not worth a check. */
	d.b[d.len - 1] ^= 1;
	assert_refused(MICA_INVALID, "key_denied", mica_csr_read(view(&d), &p, &out, e));
	EVP_PKEY_free(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind),
		cmocka_unit_test(framing),
		cmocka_unit_test(every_bit),
		cmocka_unit_test(possession),
		cmocka_unit_test(weak_hashes),
		cmocka_unit_test(structure),
		cmocka_unit_test(key_kinds),
		cmocka_unit_test(wishes),
		cmocka_unit_test(policy),
	};
	int rc = cmocka_run_group_tests(tests, NULL, NULL);
	EVP_PKEY_free(the_rsa());
	return rc;
}
