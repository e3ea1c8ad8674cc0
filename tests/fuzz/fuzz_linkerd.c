/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of Linkerd's identity service: what is found lies in the message, and is found again in
 * a message that says the same in order. Of a CSR that is taken OpenSSL reads the same names. */
#include "server/linkerd.h"

#include "mica/csr.h"
#include "mica/linkerd.h"
#include "mica/wire.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
	if (!ok)
		abort();
}

static void inside(struct mica_slice all, struct mica_slice part)
{
	require(part.len == 0 || (part.p >= all.p && part.p + part.len <= all.p + all.len));
}

static void again(const struct linkerd_request *q)
{
	struct linkerd_request r;
	MICA_AUTO_BUF m;

	mica_buf_init(&m, 1 << 22);
	mica_wire_put_bytes(&m, 1, q->identity);
	mica_wire_put_bytes(&m, 2, q->token);
	mica_wire_put_bytes(&m, 3, q->csr);
	require(linkerd_request_read(mica_buf_slice(&m), &r, NULL) == MICA_OK);
	require(mica_slice_eq(r.identity, q->identity) && mica_slice_eq(r.token, q->token) &&
		mica_slice_eq(r.csr, q->csr));
}

/* Counts names as OpenSSL reads them; false when it cannot. */
static bool openssl_names(struct mica_slice der, size_t *dns, size_t *others)
{
	const uint8_t *at = der.p;
	X509_REQ *r = d2i_X509_REQ(NULL, &at, (long)der.len);
	STACK_OF(X509_EXTENSION) *all = r ? X509_REQ_get_extensions(r) : NULL;
	GENERAL_NAMES *names = X509V3_get_d2i(all, NID_subject_alt_name, NULL, NULL);

	*dns = *others = 0;
	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++)
		++*(sk_GENERAL_NAME_value(names, i)->type == GEN_DNS ? dns : others);
	GENERAL_NAMES_free(names);
	sk_X509_EXTENSION_pop_free(all, X509_EXTENSION_free);
	X509_REQ_free(r);
	ERR_clear_error();
	return names != NULL;
}

static void check_csr(struct mica_slice csr, struct mica_slice identity)
{
	struct mica_csr_names n;
	struct mica_err e = MICA_ERR_INIT;
	mica_rc rc = mica_linkerd_check_csr(csr, identity, &e);
	size_t dns, others;

	require(rc == e.rc && (rc == MICA_OK || (e.reason && e.text[0])));
	if (mica_csr_names(csr, &n, NULL) != MICA_OK) {
		require(rc == MICA_INVALID || rc == MICA_LIMIT);
		return;
	}
	inside(csr, n.cn);
	inside(csr, n.dns);
	if (openssl_names(csr, &dns, &others))
		require(n.n_dns == dns && n.n_others == others);
	if (rc == MICA_OK)
		require(n.n_dns == 1 && n.n_others == 0 && mica_slice_eq(n.dns, identity));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mica_slice s = mica_slice(data, size);
	struct mica_err e = MICA_ERR_INIT;
	struct linkerd_request q;
	mica_rc rc = linkerd_request_read(s, &q, &e);

	inside(s, q.token);
	if (rc != MICA_OK) {
		require(rc == MICA_INVALID && e.reason && e.text[0]);
		return 0;
	}
	inside(s, q.identity);
	inside(s, q.csr);
	again(&q);
	check_csr(q.csr, q.identity);
	return 0;
}
