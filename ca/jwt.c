/* SPDX-License-Identifier: Apache-2.0 */
#include "mica/jwt.h"
#include "mica/cert.h"

#include <inttypes.h>

#define PART_MAX (16 * 1024 * 1024) /* a bundle is the largest payload */

/* header.payload, then the signature over just that. */
static mica_rc put_compact(const struct mica_signer *s, struct mica_slice header,
	struct mica_slice payload, struct mica_buf *out, struct mica_err *e)
{
	uint8_t sig[MICA_SIG_MAX];
	size_t from = out->len, len = 0;
	mica_buf_put_b64url(out, header.p, header.len);
	mica_buf_put_u8(out, '.');
	mica_buf_put_b64url(out, payload.p, payload.len);
	mica_rc rc = mica_buf_rc(out, e);
	if (!rc)
		rc = mica_signer_sign(
			s, MICA_SIG_RAW, mica_slice(out->p + from, out->len - from), sig, &len, e);
	if (rc)
		return rc;
	mica_buf_put_u8(out, '.');
	mica_buf_put_b64url(out, sig, len);
	return mica_buf_rc(out, e);
}

/* {"name":"value" with what must stand before it. */
static void put_member(struct mica_buf *b, const char *before, const char *name, const char *value)
{
	mica_buf_printf(b, "%s\"%s\":", before, name);
	mica_buf_put_json_string(b, mica_slice_str(value));
}

static void put_audience(struct mica_buf *b, const struct mica_jwt_spec *spec)
{
	mica_buf_put_str(b, ",\"aud\":");
	if (spec->n_aud > 1)
		mica_buf_put_u8(b, '[');
	for (size_t i = 0; i < spec->n_aud; i++) {
		if (i)
			mica_buf_put_u8(b, ',');
		mica_buf_put_json_string(b, spec->aud[i]);
	}
	if (spec->n_aud > 1)
		mica_buf_put_u8(b, ']');
}

static void put_claims(struct mica_buf *b, const struct mica_jwt_spec *spec)
{
	if (spec->iss)
		put_member(b, "{", "iss", spec->iss);
	put_member(b, spec->iss ? "," : "{", "sub", spec->sub);
	put_audience(b, spec);
	mica_buf_printf(b, ",\"exp\":%" PRId64 ",\"iat\":%" PRId64, spec->exp, spec->iat);
	put_member(b, ",", "jti", spec->jti);
	mica_buf_put_u8(b, '}');
}

static mica_rc check_jwt(const struct mica_signer *s, const char *kid,
	const struct mica_jwt_spec *spec, struct mica_err *e)
{
	if (mica_signer_alg(s) == MICA_SIG_ED25519)
		return mica_fail(e, MICA_INVALID, "key_type_not_allowed",
			"a JWT-SVID is signed with ES256, ES384 or RS256 (JWT-SVID 2.1)");
	bool ok = kid && *kid && spec->sub && *spec->sub && spec->jti && *spec->jti &&
		spec->n_aud >= 1 && spec->n_aud <= MICA_JWT_AUD_MAX && spec->exp > spec->iat;
	for (size_t i = 0; ok && i < spec->n_aud; i++)
		ok = spec->aud[i].len > 0;
	return ok
		? MICA_OK
		: mica_fail(e, MICA_INVALID, "jwt_invalid",
			  "a JWT-SVID needs a subject, 1 to %d audiences, kid, jti, and exp after iat",
			  MICA_JWT_AUD_MAX);
}

mica_rc mica_jwt_sign(const struct mica_signer *s, const char *kid,
	const struct mica_jwt_spec *spec, struct mica_buf *out, struct mica_err *e)
{
	MICA_AUTO_BUF header, claims;
	mica_rc rc = check_jwt(s, kid, spec, e);
	mica_buf_init(&header, 1024);
	mica_buf_init(&claims, 64 * 1024);
	if (rc)
		return rc;
	/* JWT-SVID 2: alg, kid and typ, nothing else. */
	put_member(&header, "{", "alg", mica_sig_alg_jose(mica_signer_alg(s)));
	put_member(&header, ",", "kid", kid);
	put_member(&header, ",", "typ", "JWT");
	mica_buf_put_u8(&header, '}');
	put_claims(&claims, spec);
	rc = mica_buf_rc(&header, e);
	if (!rc)
		rc = mica_buf_rc(&claims, e);
	if (rc)
		return rc;
	return put_compact(s, mica_buf_slice(&header), mica_buf_slice(&claims), out, e);
}

void mica_jti_make(char jti[MICA_JTI_SIZE])
{
	uint8_t b[16];
	mica_random(b, sizeof(b));
	mica_b64url_encode(b, sizeof(b), jti);
}

/* RFC 7515 4.1.6: base64 with padding, the signer's certificate first. */
static void put_x5c(struct mica_buf *b, const struct mica_slice *chain, size_t n)
{
	mica_buf_put_str(b, ",\"x5c\":[");
	for (size_t i = 0; i < n; i++) {
		mica_buf_put_str(b, i ? ",\"" : "\"");
		mica_buf_put_b64(b, chain[i].p, chain[i].len);
		mica_buf_put_u8(b, '"');
	}
	mica_buf_put_u8(b, ']');
}

mica_rc mica_jws_sign(const struct mica_signer *s, const char *typ, const struct mica_slice *chain,
	size_t n_chain, struct mica_slice payload, struct mica_buf *out, struct mica_err *e)
{
	MICA_AUTO_BUF header;
	mica_buf_init(&header, PART_MAX);
	put_member(&header, "{", "alg", mica_sig_alg_jose(mica_signer_alg(s)));
	put_member(&header, ",", "typ", typ);
	put_x5c(&header, chain, n_chain);
	mica_buf_put_u8(&header, '}');
	mica_rc rc = mica_buf_rc(&header, e);
	return rc ? rc : put_compact(s, mica_buf_slice(&header), payload, out, e);
}

static void put_b64url_member(struct mica_buf *b, const char *name, struct mica_slice v)
{
	mica_buf_printf(b, ",\"%s\":\"", name);
	mica_buf_put_b64url(b, v.p, v.len);
	mica_buf_put_u8(b, '"');
}

static enum mica_sig_alg jose_alg_of(const struct mica_pubkey *k)
{
	return k->type == MICA_KN_P256       ? MICA_SIG_ECDSA_SHA256
		: k->type == MICA_KN_P384    ? MICA_SIG_ECDSA_SHA384
		: k->type == MICA_KN_ED25519 ? MICA_SIG_ED25519
					     : MICA_SIG_RSA_SHA256;
}

/* "kty" and what belongs to it (RFC 7518 6, RFC 8037 2). */
static void put_key_parts(struct mica_buf *b, const struct mica_pubkey *k, bool with_alg)
{
	struct mica_slice raw = mica_pubkey_raw(k);
	bool ec = k->type == MICA_KN_P256 || k->type == MICA_KN_P384;
	bool ed = k->type == MICA_KN_ED25519;
	put_member(b, ",", "kty", ec ? "EC" : ed ? "OKP" : "RSA");
	if (with_alg)
		put_member(b, ",", "alg", mica_sig_alg_jose(jose_alg_of(k)));
	if (ec) {
		size_t half = raw.len / 2;
		put_member(b, ",", "crv", k->type == MICA_KN_P256 ? "P-256" : "P-384");
		put_b64url_member(b, "x", mica_slice(raw.p + 1, half));
		put_b64url_member(b, "y", mica_slice(raw.p + 1 + half, half));
	} else if (ed) {
		put_member(b, ",", "crv", "Ed25519");
		put_b64url_member(b, "x", raw);
	} else {
		const uint8_t be[4] = {(uint8_t)(k->rsa_e >> 24), (uint8_t)(k->rsa_e >> 16),
			(uint8_t)(k->rsa_e >> 8), (uint8_t)k->rsa_e};
		size_t skip = be[0] ? 0 : 1; /* never below 65537 */
		put_b64url_member(b, "n", raw);
		put_b64url_member(b, "e", mica_slice(be + skip, sizeof(be) - skip));
	}
}

mica_rc mica_jwk_put_x509(struct mica_buf *out, struct mica_slice cert_der, struct mica_err *e)
{
	struct mica_cert_info c;
	struct mica_pubkey k;
	mica_rc rc = mica_cert_read(cert_der, &c, e);
	if (!rc)
		rc = mica_pubkey_read(c.spki, &k, e);
	if (rc)
		return rc;
	put_member(out, "{", "use", "x509-svid");
	put_key_parts(out, &k, false);
	put_x5c(out, &cert_der, 1);
	mica_buf_put_u8(out, '}');
	return mica_buf_rc(out, e);
}

void mica_jwk_put_key(struct mica_buf *out, const struct mica_pubkey *k, const char *use,
	const char *kid, bool with_alg)
{
	put_member(out, "{", "use", use);
	put_member(out, ",", "kid", kid);
	put_key_parts(out, k, with_alg);
	mica_buf_put_u8(out, '}');
}
