/* SPDX-License-Identifier: Apache-2.0 */
/* Bundles as a relying party sees them: read, and verified when they are signed. */
#ifndef MICA_CLI_ROOTS_H
#define MICA_CLI_ROOTS_H

#include "mica/buf.h"
#include "mica/json.h"

#define ROOTS_MAX 32 /* as many as a mica_trust takes */

/* Roots in DER, and the memory that they lie in. */
struct roots {
	struct mica_buf der;
	struct mica_slice v[ROOTS_MAX];
	size_t n;
};
void roots_init(struct roots *r);
void roots_clear(struct roots *r);
#define ROOTS_AUTO __attribute__((cleanup(roots_clear))) struct roots
/* As mica_pem_certs. */
mica_rc roots_from_pem(struct roots *r, struct mica_slice pem, struct mica_err *e) MICA_MUST_CHECK;
mica_rc roots_from_file(struct roots *r, const char *path, struct mica_err *e) MICA_MUST_CHECK;

/* A SPIFFE bundle. Slices are borrowed from its document. */
struct bundle_key {
	bool x509; /* else a JWT key */
	struct mica_slice kid; /* JWT */
	size_t root; /* X.509: index in roots */
};
#define BUNDLE_KEYS_MAX 128
struct bundle_info {
	uint64_t sequence;
	int64_t refresh_hint; /* 0 = unsaid */
	struct bundle_key keys[BUNDLE_KEYS_MAX];
	unsigned n_keys;
};
/* SPIFFE Trust Domain and Bundle 4: keys of an unknown use are passed over. `r` gets the roots.
 * INVALID "bundle_malformed"; LIMIT "too_many_keys". */
mica_rc bundle_read(const struct mica_json *d, const json_t *bundle, struct bundle_info *out,
	struct roots *r, struct mica_err *e) MICA_MUST_CHECK;

/* The signed form. */
struct bundle_jws {
	struct mica_buf payload; /* JSON */
	char trust_domain[256];
	char channel[16];
	uint64_t sequence;
	int64_t iat, exp;
	char publisher[128]; /* SPIFFE ID of who signed */
};
void bundle_jws_init(struct bundle_jws *j);
void bundle_jws_clear(struct bundle_jws *j);
#define BUNDLE_JWS_AUTO __attribute__((cleanup(bundle_jws_clear))) struct bundle_jws
/* Everything: form, header, the chain in x5c to one of `roots`, its holder
 * spiffe://<trust domain>/mica/publisher, signature, times, and that claims and bundle say the
 * same. INVALID "bundle_jws_malformed"; UNAUTHENTICATED "bundle_jws_untrusted" (the chain; e->fine
 * as verify.h), "bundle_jws_signature", "bundle_jws_expired", "bundle_jws_publisher". */
mica_rc bundle_jws_verify(struct mica_slice jws, const struct roots *roots, int64_t now,
	struct bundle_jws *out, struct mica_err *e) MICA_MUST_CHECK;

#endif
