/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is trusted: the bundle of one trust domain, read once and written in every form that
 * somebody asks for. Immutable and reference-counted; any thread.
 */
#ifndef MICA_AGENT_TRUST_H
#define MICA_AGENT_TRUST_H

#include "mica/bundle.h"
#include "mica/jwks.h"

#define TRUST_ROOTS_MAX 32

struct trust {
	_Atomic unsigned refs;
	char td[MICA_TD_MAX + 1];
	char id[MICA_TD_MAX + 10]; /* "spiffe://<td>" */
	uint64_t sequence; /* 0 = unsaid */
	int64_t refresh_hint; /* seconds, 0 = unsaid */
	size_t root_at[TRUST_ROOTS_MAX + 1]; /* where each begins in `der`, and its end */
	size_t n_roots;
	struct mica_buf der; /* the roots, one behind the other (Workload API 5) */
	struct mica_buf pem;
	struct mica_buf json; /* as it came: a SPIFFE bundle */
	struct mica_buf jwks; /* its JWT keys: {"keys":[...]} (JWT-SVID 6) */
	const struct mica_jwks
		*keys; /* the same, to check signatures with; NULL when there are none */
	uint8_t hash[32]; /* of the roots and the keys: what relying parties see */
};

/* A SPIFFE bundle (SPIFFE Trust Domain and Bundle 4). Entries of an unknown `kty` or `use`, without
 * a certificate or, for JWTs, without a `kid`, are passed over, and so is a certificate that
 * mica_cert_read() refuses or that is no authority. INVALID "bundle_malformed", "bundle_empty" (no
 * root is left: everything would be distrusted), "trust_domain_invalid"; LIMIT
 * "bundle_too_long" | "bundle_too_many_keys". */
mica_rc trust_read(const char *td, struct mica_slice json, const struct trust **out,
	struct mica_err *e) MICA_MUST_CHECK;
/* From PEM roots alone: for a bootstrap file. INVALID "pem_*", "cert_*", "not_an_authority",
 * LIMIT "pem_too_many". */
mica_rc trust_from_pem(const char *td, struct mica_slice pem, const struct trust **out,
	struct mica_err *e) MICA_MUST_CHECK;
static inline struct mica_slice trust_root(const struct trust *t, size_t i)
{
	return mica_slice(t->der.p + t->root_at[i], t->root_at[i + 1] - t->root_at[i]);
}
const struct trust *trust_ref(const struct trust *t); /* NULL stays NULL */
void trust_unref(const struct trust *t); /* NULL is fine */

static inline void auto_trust_(const struct trust **t)
{
	trust_unref(*t);
}
#define AUTO_TRUST __attribute__((cleanup(auto_trust_))) const struct trust *

#endif
