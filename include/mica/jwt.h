/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is signed in JOSE's forms: JWT-SVIDs, signed snapshots, and public keys as JWKs. (Reading
 * other people's tokens is token.h.) Members stand in a fixed order, so equal input gives equal
 * payloads.
 */
#ifndef MICA_JWT_H
#define MICA_JWT_H

#include "mica/buf.h"
#include "mica/key.h"

#define MICA_JWT_AUD_MAX 16

/* JWT-SVID 3: claims sub, aud, exp, iat, jti, in this order; aud is a string when there is one,
 * else an array. */
struct mica_jwt_spec {
	const char *iss; /* OIDC issuer; NULL = none */
	const char *sub; /* the SPIFFE ID */
	const struct mica_slice *aud;
	size_t n_aud; /* 1..MICA_JWT_AUD_MAX */
	int64_t iat, exp;
	const char *jti;
};
/* Compact JWS with header {"alg","kid","typ":"JWT"} and nothing else (JWT-SVID 2). The signer is
 * P-256 (ES256), P-384 (ES384) or RSA (RS256); INVALID "key_type_not_allowed" for Ed25519
 * (JWT-SVID 2.1), "jwt_invalid" for a spec that breaks the rules. */
mica_rc mica_jwt_sign(const struct mica_signer *s, const char *kid,
	const struct mica_jwt_spec *spec, struct mica_buf *out, struct mica_err *e) MICA_MUST_CHECK;
/* 128 random bits as text, for jti. */
#define MICA_JTI_SIZE 23
void mica_jti_make(char jti[MICA_JTI_SIZE]);

/* Compact JWS over any payload, header {"alg","typ","x5c":[...]}; chain leaf first, the signer's
 * certificate. For the publication key. */
#define MICA_TYP_BUNDLE "mica-bundle+jws"
#define MICA_TYP_POLICY "mica-policy+jws"
mica_rc mica_jws_sign(const struct mica_signer *s, const char *typ, const struct mica_slice *chain,
	size_t n_chain, struct mica_slice payload, struct mica_buf *out,
	struct mica_err *e) MICA_MUST_CHECK;

/* One JSON object each, no white space.
 * SPIFFE bundle element of a CA certificate: {"use":"x509-svid","kty":...,"x5c":["..."]}, never a
 * kid (X509-SVID 6). INVALID "cert_*", "key_*". */
mica_rc mica_jwk_put_x509(
	struct mica_buf *out, struct mica_slice cert_der, struct mica_err *e) MICA_MUST_CHECK;
/* {"use":USE,"kid":...,"kty":...[,"alg":...]}: use "jwt-svid" in SPIFFE bundles, "sig" (then with
 * alg) in an OIDC key set. */
void mica_jwk_put_key(struct mica_buf *out, const struct mica_pubkey *k, const char *use,
	const char *kid, bool with_alg);

#endif
