/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of Istio's certificate service: what is found lies in the message, and is found again in
 * a message that says the same in order. */
#include "server/istio.h"

#include "mica/wire.h"

#include <stdlib.h>

static void inside(struct mica_slice all, struct mica_slice part)
{
	if (part.len && (part.p < all.p || part.p + part.len > all.p + all.len))
		abort();
}

static void put_entry(struct mica_buf *metadata, const char *key, struct mica_slice text)
{
	MICA_AUTO_BUF value, entry;

	mica_buf_init(&value, 1 << 20);
	mica_buf_init(&entry, 1 << 20);
	mica_wire_put_bytes(&value, 3, text);
	mica_wire_put_bytes(&entry, 1, mica_slice_str(key));
	mica_wire_put_bytes(&entry, 2, mica_buf_slice(&value));
	mica_wire_put_bytes(metadata, 1, mica_buf_slice(&entry));
}

static void again(const struct istio_request *q)
{
	MICA_AUTO_BUF metadata, m;
	struct istio_request r;

	mica_buf_init(&metadata, 1 << 20);
	mica_buf_init(&m, 1 << 20);
	put_entry(&metadata, "CertSigner", q->signer);
	put_entry(&metadata, "ImpersonatedIdentity", q->impersonated);
	mica_wire_put_bytes(&m, 1, q->csr);
	mica_wire_put_varint(&m, 3, (uint64_t)q->ttl);
	mica_wire_put_bytes(&m, 4, mica_buf_slice(&metadata));
	if (istio_request_read(mica_buf_slice(&m), &r, NULL) != MICA_OK ||
		!mica_slice_eq(r.csr, q->csr) || r.ttl != q->ttl ||
		!mica_slice_eq(r.signer, q->signer) ||
		!mica_slice_eq(r.impersonated, q->impersonated))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	struct mica_slice s = mica_slice(p, len);
	struct mica_err e = MICA_ERR_INIT;
	struct istio_request q;
	mica_rc rc = istio_request_read(s, &q, &e);

	if (rc != MICA_OK) {
		if (rc != MICA_INVALID || !e.reason || !mica_slice_is_utf8(mica_slice_str(e.text)))
			abort();
		return 0;
	}
	inside(s, q.csr);
	inside(s, q.signer);
	inside(s, q.impersonated);
	again(&q);
	return 0;
}
