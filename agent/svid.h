/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An X.509-SVID that this agent holds: the certificate chain and the key that was made here for
 * it. Immutable and reference-counted; any thread. The key lies in locked memory, and is copied
 * only into what is written to a caller.
 */
#ifndef MICA_AGENT_SVID_H
#define MICA_AGENT_SVID_H

#include "renew.h"

#include "mica/cert.h"
#include "mica/key.h"

struct svid {
	_Atomic unsigned refs;
	char id[MICA_SPIFFE_ID_MAX + 1];
	char serial[2 * 20 + 1]; /* hex */
	struct renew_times times;
	uint64_t bundle_sequence; /* micad's newest when it signed; 0 = unsaid */
	struct mica_buf der; /* the chain, leaf first, one behind the other */
	struct mica_buf pem;
	struct mica_secret *pkcs8;
};

/* From micad's answer to POST /v1/x509-svids. The certificate must be for `key`, hold exactly one
 * URI, a workload's SPIFFE ID in `td`, and be a leaf; its times count, not the answer's. INVALID
 * "answer_malformed", "certificate_for_other_key", "certificate_for_other_domain", "cert_*",
 * "pem_*", "spiffe_id_*". */
mica_rc svid_read(const char *td, struct mica_slice answer, const struct mica_signer *key,
	const struct svid **out, struct mica_err *e) MICA_MUST_CHECK;
const struct svid *svid_ref(const struct svid *s); /* NULL stays NULL */
void svid_unref(const struct svid *s); /* NULL is fine */
/* Appends the key as PEM; the buffer must be a secret one. */
void svid_put_key_pem(const struct svid *s, struct mica_buf *out);

static inline void auto_svid_(const struct svid **s)
{
	svid_unref(*s);
}
#define AUTO_SVID __attribute__((cleanup(auto_svid_))) const struct svid *

#endif
