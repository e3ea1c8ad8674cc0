/* SPDX-License-Identifier: Apache-2.0 */
/* The writer of CRLs, read and judged by OpenSSL. */
#include "pki.h"

#include <stdlib.h>

#include "mica/crl.h"
#include "mica/file.h"

#define NUMBER UINT64_C(1795521600123)

static X509_CRL *read_crl(const struct mica_buf *b)
{
	const uint8_t *at = b->p;
	X509_CRL *crl = d2i_X509_CRL(NULL, &at, (long)b->len);

	assert_non_null(crl);
	assert_ptr_equal(at, b->p + b->len);
	return crl;
}

static X509_CRL *sign(const struct mica_cert_issuer *by, const struct mica_crl_entry *v, size_t n)
{
	const struct mica_crl_spec s = {.number = NUMBER,
		.this_update = NOW - 60,
		.next_update = NOW + 86400,
		.entries = v,
		.n = n};
	MICA_AUTO_BUF b;
	MICA_AUTO_FREE uint8_t *again = NULL;
	X509_CRL *crl;

	mica_buf_init(&b, MICA_CRL_MAX);
	assert_ok(mica_crl_sign(by, &s, &b, e));
	crl = read_crl(&b);
	/* OpenSSL would write the very same octets: it is DER, and complete */
	assert_int_equal(i2d_X509_CRL(crl, NULL), (int)b.len);
	again = mica_alloc(b.len);
	assert_int_equal(i2d_X509_CRL(crl, &(uint8_t *){again}), (int)b.len);
	assert_memory_equal(again, b.p, b.len);
	return crl;
}

static EVP_PKEY *public_of(struct mica_slice cert)
{
	const uint8_t *at = cert.p;
	X509 *x = d2i_X509(NULL, &at, (long)cert.len);
	EVP_PKEY *key = X509_get_pubkey(x);

	X509_free(x);
	return key;
}

static void check_head(X509_CRL *crl, const struct mica_cert_issuer *by)
{
	struct mica_slice der = mica_cert_issuer_der(by);
	const uint8_t *at = der.p;
	X509 *cert = d2i_X509(NULL, &at, (long)der.len);
	ASN1_INTEGER *number = X509_CRL_get_ext_d2i(crl, NID_crl_number, NULL, NULL);
	AUTHORITY_KEYID *aki = X509_CRL_get_ext_d2i(crl, NID_authority_key_identifier, NULL, NULL);
	EVP_PKEY *key = public_of(der);
	uint64_t n = 0;
	time_t begin = (time_t)NOW - 60, end = (time_t)NOW + 86400;

	assert_int_equal(X509_CRL_get_version(crl), 1); /* version 2 */
	assert_int_equal(X509_NAME_cmp(X509_CRL_get_issuer(crl), X509_get_subject_name(cert)), 0);
	assert_int_equal(X509_CRL_verify(crl, key), 1);
	assert_int_equal(ASN1_INTEGER_get_uint64(&n, number), 1);
	assert_true(n == NUMBER);
	assert_int_equal(ASN1_OCTET_STRING_cmp(aki->keyid, X509_get0_subject_key_id(cert)), 0);
	assert_int_equal(X509_CRL_get_ext_count(crl), 2);
	assert_int_equal(ASN1_TIME_cmp_time_t(X509_CRL_get0_lastUpdate(crl), begin), 0);
	assert_int_equal(ASN1_TIME_cmp_time_t(X509_CRL_get0_nextUpdate(crl), end), 0);
	for (int i = 0; i < X509_CRL_get_ext_count(crl); i++)
		assert_false(X509_EXTENSION_get_critical(X509_CRL_get_ext(crl, i)));
	EVP_PKEY_free(key);
	ASN1_INTEGER_free(number);
	AUTHORITY_KEYID_free(aki);
	X509_free(cert);
}

static void every_kind_of_key_signs_one(void **state)
{
	static const enum mica_key_name kinds[] = {
		MICA_KN_P256, MICA_KN_P384, MICA_KN_ED25519, MICA_KN_RSA2048};

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(kinds); i++) {
		struct pki p = {0};
		X509_CRL *crl;

		pki_init(&p, kinds[i]);
		crl = sign(p.issuing, NULL, 0);
		check_head(crl, p.issuing);
		/* RFC 5280 5.1.2.6: the list of nothing is left out */
		assert_null(X509_CRL_get_REVOKED(crl));
		X509_CRL_free(crl);
		crl = sign(p.root, NULL, 0);
		check_head(crl, p.root);
		X509_CRL_free(crl);
		pki_clear(&p);
	}
}

static void check_entry(X509_CRL *crl, const struct mica_crl_entry *want)
{
	BIGNUM *bn = BN_bin2bn(want->serial.p, (int)want->serial.len, NULL);
	ASN1_INTEGER *serial = BN_to_ASN1_INTEGER(bn, NULL);
	X509_REVOKED *r = NULL;
	ASN1_ENUMERATED *reason;
	int critical = 0;

	assert_int_equal(X509_CRL_get0_by_serial(crl, &r, serial), 1);
	assert_int_equal(
		ASN1_TIME_cmp_time_t(X509_REVOKED_get0_revocationDate(r), (time_t)want->revoked),
		0);
	reason = X509_REVOKED_get_ext_d2i(r, NID_crl_reason, &critical, NULL);
	if (want->reason == MICA_CRL_UNSPECIFIED) {
		assert_null(reason);
		assert_int_equal(critical, -1); /* not there, rather than unreadable */
	} else {
		assert_int_equal(ASN1_ENUMERATED_get(reason), (long)want->reason);
		assert_int_equal(critical, 0);
	}
	ASN1_ENUMERATED_free(reason);
	ASN1_INTEGER_free(serial);
	BN_free(bn);
}

static void entries_say_serial_time_and_reason(void **state)
{
	static const uint8_t high[20] = {0xff, 1}, one[1] = {1}, zeros[3] = {0, 0, 7};
	const struct mica_crl_entry v[] = {
		{MICA_LIT("\x01\xa2\x0d\x61\x20\x00\x03\xd5\xb1\xa2\x97\x88\x43\xf1\xe6\xaa"),
			NOW - 5, MICA_CRL_KEY_COMPROMISE},
		{mica_slice(high, sizeof(high)), NOW - 4, MICA_CRL_CA_COMPROMISE},
		{mica_slice(one, 1), NOW - 3, MICA_CRL_UNSPECIFIED},
		{mica_slice(zeros, 3), NOW - 2, MICA_CRL_PRIVILEGE_WITHDRAWN},
		/* beyond UTCTime */
		{MICA_LIT("\x55"), INT64_C(2524608000), MICA_CRL_SUPERSEDED}};
	struct pki p = {0};
	X509_CRL *crl;

	(void)state;
	pki_init(&p, MICA_KN_P256);
	crl = sign(p.issuing, v, MICA_ARRAY_LEN(v));
	check_head(crl, p.issuing);
	assert_int_equal(sk_X509_REVOKED_num(X509_CRL_get_REVOKED(crl)), MICA_ARRAY_LEN(v));
	for (size_t i = 0; i < MICA_ARRAY_LEN(v); i++)
		check_entry(crl, &v[i]);
	X509_CRL_free(crl);
	pki_clear(&p);
}

static void the_longest_fits(void **state)
{
	MICA_AUTO_FREE struct mica_crl_entry *v = mica_calloc(MICA_CRL_ENTRIES_MAX, sizeof(*v));
	MICA_AUTO_FREE uint8_t *serials = mica_calloc(MICA_CRL_ENTRIES_MAX, MICA_CRL_SERIAL_MAX);
	struct pki p = {0};
	X509_CRL *crl;

	(void)state;
	for (size_t i = 0; i < MICA_CRL_ENTRIES_MAX; i++) {
		uint8_t *serial = serials + i * MICA_CRL_SERIAL_MAX;

		memset(serial, 0xff, MICA_CRL_SERIAL_MAX);
		serial[1] = (uint8_t)(i >> 8);
		serial[2] = (uint8_t)i;
		/* the longest form of a time */
		v[i] = (struct mica_crl_entry){mica_slice(serial, MICA_CRL_SERIAL_MAX),
			INT64_C(2524608000), MICA_CRL_KEY_COMPROMISE};
	}
	pki_init(&p, MICA_KN_P256);
	crl = sign(p.root, v, MICA_CRL_ENTRIES_MAX);
	check_head(crl, p.root);
	check_entry(crl, &v[0]);
	check_entry(crl, &v[MICA_CRL_ENTRIES_MAX - 1]);
	X509_CRL_free(crl);
	pki_clear(&p);
}

static void what_makes_no_list_is_refused(void **state)
{
	static const uint8_t serial[MICA_CRL_SERIAL_MAX + 1] = {1};
	struct mica_crl_entry v = {mica_slice(serial, 0), NOW, MICA_CRL_UNSPECIFIED};
	struct mica_crl_spec s = {.number = 1, .this_update = NOW, .next_update = NOW};
	struct pki p = {0};
	MICA_AUTO_BUF b;

	(void)state;
	pki_init(&p, MICA_KN_P256);
	mica_buf_init(&b, MICA_CRL_MAX);
	assert_refused(MICA_INVALID, "validity_empty", mica_crl_sign(p.root, &s, &b, e));
	s.next_update = NOW + 1;
	s.entries = &v;
	s.n = 1;
	assert_refused(MICA_INVALID, "serial_invalid", mica_crl_sign(p.root, &s, &b, e));
	v.serial = mica_slice(serial, sizeof(serial));
	assert_refused(MICA_INVALID, "serial_invalid", mica_crl_sign(p.root, &s, &b, e));
	s.n = MICA_CRL_ENTRIES_MAX + 1;
	assert_refused(MICA_LIMIT, "too_many_revoked", mica_crl_sign(p.root, &s, &b, e));
	assert_int_equal(b.len, 0);
	pki_clear(&p);
}

static void reasons_have_names(void **state)
{
	enum mica_crl_reason r;

	(void)state;
	for (unsigned i = 0; i < 12; i++) {
		const char *name = mica_crl_reason_name((enum mica_crl_reason)i);

		/* certificateHold, 7, removeFromCRL and what is behind them: there is no way back
		 */
		assert_true((name == NULL) == (i == 6 || i == 7 || i == 8 || i > 9));
		if (!name)
			continue;
		assert_ok(mica_crl_reason_parse(mica_slice_str(name), &r, e));
		assert_int_equal(r, i);
	}
	assert_refused(MICA_INVALID, "bad_reason",
		mica_crl_reason_parse(MICA_LIT("certificate_hold"), &r, e));
	assert_refused(MICA_INVALID, "bad_reason", mica_crl_reason_parse(MICA_LIT(""), &r, e));
}

/* ---- reading --------------------------------------------------------------------------------- */

static struct mica_buf written(struct pki *p, const struct mica_crl_entry *v, size_t n)
{
	const struct mica_crl_spec s = {.number = NUMBER,
		.this_update = NOW,
		.next_update = NOW + 60,
		.entries = v,
		.n = n};
	struct mica_buf b;

	mica_buf_init(&b, MICA_CRL_MAX);
	assert_ok(mica_crl_sign(p->root, &s, &b, e));
	return b;
}

static void what_is_written_is_read(void **state)
{
	static const struct mica_crl_entry v[] = {{MICA_LIT("\x01"), NOW - 5, MICA_CRL_UNSPECIFIED},
		{MICA_LIT("\xff\x02"), NOW - 4, MICA_CRL_CA_COMPROMISE}};
	struct mica_cert_info root;
	struct mica_crl_info c;
	struct mica_crl_entry en;
	struct pki p = {0};
	MICA_AUTO_BUF b, none;

	(void)state;
	pki_init(&p, MICA_KN_P256);
	assert_ok(mica_cert_read(mica_buf_slice(&p.root_der), &root, e));
	b = written(&p, v, 2);
	assert_ok(mica_crl_read(mica_buf_slice(&b), &c, e));
	assert_true(c.has_number && c.number == NUMBER);
	assert_true(c.this_update == NOW && c.next_update == NOW + 60);
	assert_true(mica_slice_eq(c.issuer, root.subject) && mica_slice_eq(c.aki, root.ski));
	assert_int_equal(c.n, 2);
	for (size_t i = 0; i < 2; i++) {
		assert_true(mica_crl_next(&c.entries, &en));
		assert_true(mica_slice_eq(en.serial, v[i].serial));
		assert_true(en.revoked == v[i].revoked && en.reason == v[i].reason);
	}
	assert_false(mica_crl_next(&c.entries, &en));
	assert_ok(mica_pubkey_verify(
		mica_signer_public(p.root_key), c.alg, MICA_SIG_DER, c.tbs, c.signature, e));
	none = written(&p, NULL, 0);
	assert_ok(mica_crl_read(mica_buf_slice(&none), &c, e));
	assert_int_equal(c.n, 0);
	assert_false(mica_crl_next(&c.entries, &en));
	/* each shorter one, and a longer one, is none */
	for (size_t len = 0; len < b.len; len++)
		assert_refused(
			MICA_INVALID, "crl_malformed", mica_crl_read(mica_slice(b.p, len), &c, e));
	mica_buf_put_u8(&b, 0);
	assert_refused(MICA_INVALID, "crl_malformed", mica_crl_read(mica_buf_slice(&b), &c, e));
	pki_clear(&p);
}

/* Lists that OpenSSL has made with other contents, from the corpus of the fuzzer. */
static void each_other_kind_is_refused(void **state)
{
	static const struct {
		const char *file, *reason; /* NULL = taken */
	} rows[] = {{"empty", NULL}, {"no-aki", NULL}, {"entries", NULL}, {"number-64", NULL},
		{"no-number", "crl_malformed"}, {"big-number", "crl_malformed"},
		{"remove", "crl_malformed"}, {"delta", "crl_extension_unknown"},
		{"part", "crl_extension_unknown"}, {"indirect", "crl_extension_unknown"},
		{"cut", "crl_malformed"}, {"behind", "crl_malformed"}, {"v1", "crl_malformed"}};
	const char *top = mica_env("MICA_SRCDIR");

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(rows); i++) {
		struct mica_err err = MICA_ERR_INIT;
		struct mica_crl_info c;
		char path[1024];
		MICA_AUTO_BUF b;
		mica_rc rc;

		mica_buf_init(&b, 1 << 20);
		snprintf(path, sizeof(path), "%s/tests/fuzz/corpus/crl/%s", top ? top : ".",
			rows[i].file);
		assert_ok(mica_file_read(path, &b, e));
		rc = mica_crl_read(mica_buf_slice(&b), &c, &err);
		if (!rows[i].reason && rc != MICA_OK)
			fail_msg("%s: %s", rows[i].file, err.text);
		if (rows[i].reason && (rc == MICA_OK || strcmp(err.reason, rows[i].reason) != 0))
			fail_msg("%s: %s, expected %s", rows[i].file,
				rc == MICA_OK ? "taken" : err.reason, rows[i].reason);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_of_key_signs_one),
		cmocka_unit_test(entries_say_serial_time_and_reason),
		cmocka_unit_test(the_longest_fits),
		cmocka_unit_test(what_makes_no_list_is_refused),
		cmocka_unit_test(reasons_have_names),
		cmocka_unit_test(what_is_written_is_read),
		cmocka_unit_test(each_other_kind_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
