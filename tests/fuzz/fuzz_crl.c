/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificate revocation lists in DER. Whatever we take, OpenSSL takes, with the same issuer,
 * times, number and entries.
 */
#include "mica/crl.h"

#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same_number(X509_CRL *x, const struct mica_crl_info *c)
{
	ASN1_INTEGER *number = X509_CRL_get_ext_d2i(x, NID_crl_number, NULL, NULL);
	uint64_t n = 0;

	if (!number || ASN1_INTEGER_get_uint64(&n, number) != 1 || n != c->number)
		abort();
	ASN1_INTEGER_free(number);
}

static void same_entries(X509_CRL *x, const struct mica_crl_info *c)
{
	STACK_OF(X509_REVOKED) *list = X509_CRL_get_REVOKED(x);
	struct mica_slice rest = c->entries;
	struct mica_crl_entry en;
	int n = 0;

	/* OpenSSL may have sorted them: each must be there */
	for (; mica_crl_next(&rest, &en); n++) {
		BIGNUM *bn = BN_bin2bn(en.serial.p, (int)en.serial.len, NULL);
		ASN1_INTEGER *serial = BN_to_ASN1_INTEGER(bn, NULL);
		bool found = false;

		for (int i = 0; !found && i < sk_X509_REVOKED_num(list); i++) {
			const X509_REVOKED *r = sk_X509_REVOKED_value(list, i);

			found = ASN1_INTEGER_cmp(X509_REVOKED_get0_serialNumber(r), serial) == 0 &&
				ASN1_TIME_cmp_time_t(X509_REVOKED_get0_revocationDate(r),
					(time_t)en.revoked) == 0;
		}
		if (!found)
			abort();
		ASN1_INTEGER_free(serial);
		BN_free(bn);
	}
	if (rest.len || (size_t)n != c->n || n != (list ? sk_X509_REVOKED_num(list) : 0))
		abort();
}

static void agree(const uint8_t *data, size_t size, const struct mica_crl_info *c)
{
	const uint8_t *at = data;
	unsigned char *name = NULL;
	X509_CRL *x = d2i_X509_CRL(NULL, &at, (long)size);

	if (!x || at != data + size || X509_CRL_get_version(x) != 1)
		abort();
	if (ASN1_TIME_cmp_time_t(X509_CRL_get0_lastUpdate(x), (time_t)c->this_update) != 0 ||
		ASN1_TIME_cmp_time_t(X509_CRL_get0_nextUpdate(x), (time_t)c->next_update) != 0)
		abort();
	if (i2d_X509_NAME(X509_CRL_get_issuer(x), &name) < 0)
		abort();
	OPENSSL_free(name);
	same_number(x, c);
	same_entries(x, c);
	X509_CRL_free(x);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mica_crl_info c;
	struct mica_err e = MICA_ERR_INIT;
	mica_rc rc = mica_crl_read(mica_slice(data, size), &c, &e);

	if (rc == MICA_OK)
		agree(data, size, &c);
	else if (rc != e.rc || !e.reason || !e.text[0])
		abort();
	ERR_clear_error();
	return 0;
}
