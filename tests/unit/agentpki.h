/* SPDX-License-Identifier: Apache-2.0 */
/* What an agent gets from a CA of the test's: bundles and SVIDs. */
#ifndef TEST_AGENTPKI_H
#define TEST_AGENTPKI_H

#include "pki.h"

#include "agent/svid.h"
#include "agent/trust.h"

#include "mica/pem.h"

/* A SPIFFE bundle of these roots, as micad publishes it. */
static inline void agent_bundle_json(
	const struct mica_slice *roots, size_t n, uint64_t sequence, struct mica_buf *out)
{
	const struct mica_bundle_content c = {.set = "default",
		.trust_domain = TD,
		.sequence = sequence,
		.refresh_hint = 60,
		.roots = roots,
		.n_roots = n};

	assert_ok(mica_bundle_put_json(&c, out, e));
}

static inline const struct trust *agent_bundle(
	const struct mica_slice *roots, size_t n, uint64_t sequence)
{
	const struct trust *t = NULL;
	MICA_AUTO_BUF json;

	mica_buf_init(&json, 65536);
	agent_bundle_json(roots, n, sequence, &json);
	assert_ok(trust_read(TD, mica_buf_slice(&json), &t, e));
	return t;
}

/* As micad's answer, and read as the agent does. */
static inline const struct svid *agent_svid(struct pki *p, const char *uri)
{
	struct mica_leaf_spec spec = pki_spec(p);
	const struct svid *s = NULL;
	MICA_AUTO_BUF pem, answer, der;

	spec.uri = uri;
	mica_buf_init(&der, MICA_CERT_MAX);
	mica_buf_init(&pem, 65536);
	mica_buf_init(&answer, 65536);
	assert_ok(mica_leaf_sign(p->issuing, &spec, &der, e));
	mica_pem_put(&pem, MICA_PEM_CERT, mica_buf_slice(&der));
	mica_pem_put(&pem, MICA_PEM_CERT, mica_buf_slice(&p->issuing_der));
	mica_buf_put_str(&answer,
		"{\"renew_after\":\"2026-11-24T12:30:00Z\",\"bundle_sequence\":7,"
		"\"certificate_chain\":");
	mica_buf_put_json_string(&answer, mica_buf_slice(&pem));
	mica_buf_put_u8(&answer, '}');
	assert_ok(svid_read(TD, mica_buf_slice(&answer), p->leaf_signer, &s, e));
	return s;
}

#endif
