/* SPDX-License-Identifier: Apache-2.0 */
#include "validate.h"

#include "mica/spiffeid.h"

#define DEPTH_MAX 8

struct parts {
	struct mica_slice header, payload, signature, signed_part;
};
struct head {
	enum mica_sig_alg alg;
	char kid[MICA_KID_MAX + 1];
};

void validated_clear(struct validated *v)
{
	mica_json_clear(&v->claims);
	mica_buf_clear(&v->payload);
}

static mica_rc bad(struct mica_err *e, const char *fine, const char *why)
{
	return mica_fail_fine(e, MICA_INVALID, "jwt_svid_invalid", why, fine, "%s", "");
}

static bool split(struct mica_slice token, struct parts *p)
{
	struct mica_slice rest = token;

	if (token.len > VALIDATE_TOKEN_MAX || !mica_slice_cut(&rest, '.', &p->header) ||
		!mica_slice_cut(&rest, '.', &p->payload))
		return false;
	p->signature = rest;
	p->signed_part = mica_slice_sub(token, 0, p->header.len + 1 + p->payload.len);
	return true;
}

static bool decode(struct mica_slice text, struct mica_buf *out)
{
	size_t len = text.len;
	uint8_t *room = mica_buf_room(out, len);

	if (!room || mica_b64url_decode(text, room, &len) != MICA_OK)
		return false;
	mica_buf_added(out, len);
	return true;
}

static bool parse(struct mica_slice text, struct mica_buf *b, struct mica_json *d)
{
	const struct mica_json_limits limits = {.bytes = VALIDATE_TOKEN_MAX, .depth = DEPTH_MAX};

	mica_buf_init(b, VALIDATE_TOKEN_MAX);
	return decode(text, b) && mica_json_parse(mica_buf_slice(b), &limits, d, NULL) == MICA_OK &&
		json_is_object(d->root);
}

/* JWT-SVID 2: alg, kid, typ and nothing else; `crit` would have to be understood, `jwk` must not be
 * believed. */
static mica_rc read_header(struct mica_slice text, struct head *h, struct mica_err *e)
{
	struct mica_slice alg = {0}, kid = {0}, typ = MICA_LIT("JWT");
	const struct mica_json_member members[] = {
		{.name = "alg", .type = MICA_JSON_STRING, .required = true, .out = &alg},
		{.name = "kid",
			.type = MICA_JSON_STRING,
			.required = true,
			.min = 1,
			.max = MICA_KID_MAX,
			.out = &kid},
		{.name = "typ", .type = MICA_JSON_STRING, .out = &typ}};
	MICA_AUTO_JSON d = {0};
	MICA_AUTO_BUF b = {0};

	if (!parse(text, &b, &d))
		return bad(e, "form", "its header is not JSON in base64url");
	if (mica_json_read(&d, d.root, "", members, MICA_ARRAY_LEN(members), false, NULL) !=
			MICA_OK ||
		mica_slice_copy(kid, h->kid, sizeof(h->kid)) != MICA_OK ||
		!(mica_slice_eq_str(typ, "JWT") || mica_slice_eq_str(typ, "JOSE")))
		return bad(e, "header", "its header is not {alg, kid, typ: JWT or JOSE}");
	h->alg = mica_sig_alg_from_jose(alg);
	if (h->alg == MICA_SIG_NONE || h->alg == MICA_SIG_ED25519)
		return bad(e, "algorithm", "its algorithm is none of RS*, ES*, PS*");
	return MICA_OK;
}

static bool has_audience(const json_t *aud, struct mica_slice want)
{
	const json_t *one;
	size_t i;

	if (json_is_string(aud))
		return mica_slice_eq(mica_json_str(aud), want);
	json_array_foreach (aud, i, one)
		if (json_is_string(one) && mica_slice_eq(mica_json_str(one), want))
			return true;
	return false;
}

/* NumericDate may have a fraction (RFC 7519 2). */
static bool number(const json_t *claims, const char *name, double *out)
{
	const json_t *v = json_object_get(claims, name);

	if (!json_is_number(v))
		return false;
	*out = json_number_value(v);
	return true;
}

static mica_rc check_claims(const json_t *claims, struct mica_slice audience, int64_t now,
	struct mica_spiffe_id *id, struct mica_err *e)
{
	const json_t *sub = json_object_get(claims, "sub"), *aud = json_object_get(claims, "aud");
	double exp, nbf;

	if (!json_is_string(sub) ||
		mica_spiffe_id_parse_workload(mica_json_str(sub), id, NULL) != MICA_OK)
		return bad(e, "claims", "its sub is not a workload's SPIFFE ID");
	if (!json_is_string(aud) && json_array_size(aud) == 0)
		return bad(e, "claims", "it has no aud");
	if (!number(claims, "exp", &exp))
		return bad(e, "claims", "it has no exp");
	if (exp + VALIDATE_SKEW <= (double)now)
		return bad(e, "expired", "it has expired");
	if (json_object_get(claims, "nbf") &&
		(!number(claims, "nbf", &nbf) || nbf - VALIDATE_SKEW > (double)now))
		return bad(e, "not_yet_valid", "it is not valid yet");
	if (!has_audience(aud, audience))
		return bad(e, "audience", "it is for another audience");
	return MICA_OK;
}

static const struct trust *bundle_of(
	const struct trust *const *bundles, size_t n, struct mica_slice td)
{
	for (size_t i = 0; i < n; i++)
		if (bundles[i] && mica_slice_eq_str(td, bundles[i]->td))
			return bundles[i];
	return NULL;
}

static mica_rc check_signature(
	const struct trust *t, const struct head *h, const struct parts *p, struct mica_err *e)
{
	const struct mica_slice kid = mica_slice_str(h->kid);
	const struct mica_jwk *key = NULL;
	MICA_AUTO_BUF signature;

	mica_buf_init(&signature, VALIDATE_TOKEN_MAX);
	if (!decode(p->signature, &signature))
		return bad(e, "form", "its signature is not base64url");
	if (!t->keys || mica_jwks_find(t->keys, &kid, h->alg, &key) != MICA_JWKS_FOUND)
		return bad(e, "key", "no key of its trust domain has its kid and algorithm");
	if (mica_verifier_verify(key->verifier, h->alg, MICA_SIG_RAW, p->signed_part,
		    mica_buf_slice(&signature), NULL) != MICA_OK)
		return bad(e, "signature", "its signature is wrong");
	return MICA_OK;
}

mica_rc validate_jwt(const struct trust *const *bundles, size_t n, struct mica_slice token,
	struct mica_slice audience, int64_t now, struct validated *out, struct mica_err *e)
{
	struct head h = {.alg = MICA_SIG_NONE};
	struct mica_spiffe_id id;
	const struct trust *t;
	struct parts p;
	mica_rc rc;

	*out = (struct validated){.claims = {.root = NULL}};
	if (!split(token, &p))
		return bad(e, "form", "it is not three parts with a dot between them");
	rc = read_header(p.header, &h, e);
	if (rc != MICA_OK)
		return rc;
	if (!parse(p.payload, &out->payload, &out->claims))
		return bad(e, "form", "its claims are not JSON in base64url");
	rc = check_claims(out->claims.root, audience, now, &id, e);
	if (rc != MICA_OK)
		return rc;
	t = bundle_of(bundles, n, id.td);
	if (!t)
		return bad(e, "untrusted", "nothing is known here of its trust domain");
	out->spiffe_id = id.text;
	return check_signature(t, &h, &p, e);
}
