/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of certificates in PEM: what is taken gives the same octets when written and read again. */
#include "mica/pem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mica_slice certs[8], again[8];
	size_t n, m;
	MICA_AUTO_BUF der, text, der2;
	mica_buf_init(&der, 1 << 16);
	mica_buf_init(&text, 1 << 20);
	mica_buf_init(&der2, 1 << 16);
	if (mica_pem_certs(mica_slice(data, size), &der, certs, 8, &n, NULL))
		return 0;
	for (size_t i = 0; i < n; i++)
		mica_pem_put(&text, MICA_PEM_CERT, certs[i]);
	if (mica_pem_certs(mica_buf_slice(&text), &der2, again, 8, &m, NULL) || m != n)
		abort();
	for (size_t i = 0; i < n; i++)
		if (!mica_slice_eq(certs[i], again[i]))
			abort();
	return 0;
}
