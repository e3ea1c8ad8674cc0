/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificate requests, PEM or DER. Whatever we take, OpenSSL takes, with the same key and a good
 * signature. Against a mutation engine that cannot sign, the parts are read one by one as well.
 */
#include "mica/csr.h"
#include "mica/der.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void agree(const uint8_t *data, size_t size, const struct mica_pubkey *k)
{
	const uint8_t *at = data;
	uint8_t spki[1024], *to = spki;
	BIO *bio = BIO_new_mem_buf(data, (int)size);
	X509_REQ *r = data[0] == 0x30 ? d2i_X509_REQ(NULL, &at, (long)size)
				      : PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL);
	if (!r)
		abort();
	EVP_PKEY *key = X509_REQ_get0_pubkey(r);
	if (!key || X509_REQ_verify(r, key) != 1)
		abort();
	int len = i2d_PUBKEY(key, &to);
	if (len < 0 || !mica_slice_eq(mica_pubkey_spki(k), mica_slice(spki, (size_t)len)))
		abort();
	X509_REQ_free(r);
	BIO_free(bio);
}

/* The key alone: what we take of it, OpenSSL takes, and writes the same octets. */
static void key_alone(struct mica_slice in)
{
	struct mica_pubkey k;
	if (mica_pubkey_read(in, &k, NULL))
		return;
	const uint8_t *at = in.p;
	uint8_t spki[1024], *to = spki;
	EVP_PKEY *key = d2i_PUBKEY(NULL, &at, (long)in.len);
	if (!key || at != in.p + in.len)
		abort();
	int len = i2d_PUBKEY(key, &to);
	if (len < 0 || !mica_slice_eq(in, mica_slice(spki, (size_t)len)))
		abort();
	EVP_PKEY_free(key);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct mica_key_policy any = {.types = 0x3f};
	struct mica_slice in = mica_slice(data, size);
	struct mica_pubkey k;
	struct mica_err e = MICA_ERR_INIT;
	mica_rc rc = mica_csr_read(in, &any, &k, &e);
	if (rc == MICA_OK)
		agree(data, size, &k);
	else if (rc != e.rc || !e.reason || !e.text[0])
		abort();
	struct mica_der d = mica_der(in), req, info;
	struct mica_slice spki = MICA_SLICE_NULL;
	if (mica_der_enter(&d, MICA_DER_SEQUENCE, &req) &&
		mica_der_enter(&req, MICA_DER_SEQUENCE, &info) &&
		mica_der_next(&info, MICA_DER_INTEGER, NULL, NULL) &&
		mica_der_next(&info, MICA_DER_SEQUENCE, NULL, NULL) &&
		mica_der_next(&info, MICA_DER_SEQUENCE, NULL, &spki))
		key_alone(spki);
	key_alone(in);
	ERR_clear_error();
	return 0;
}
