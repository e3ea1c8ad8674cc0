/* SPDX-License-Identifier: Apache-2.0 */
#include "roots.h"

#include "mica/file.h"
#include "mica/jwt.h"
#include "mica/pem.h"
#include "mica/verify.h"

#include <stdio.h>

#define PEM_FILE_MAX (1 << 20)
#define PART_MAX     (1 << 20)
#define SKEW         60 /* seconds that clocks may differ */

void roots_init(struct roots *r)
{
	r->n = 0;
	mica_buf_init(&r->der, (size_t)ROOTS_MAX * MICA_CERT_MAX);
}

void roots_clear(struct roots *r)
{
	mica_buf_clear(&r->der);
	r->n = 0;
}

mica_rc roots_from_pem(struct roots *r, struct mica_slice pem, struct mica_err *e)
{
	return mica_pem_certs(pem, &r->der, r->v, ROOTS_MAX, &r->n, e);
}

mica_rc roots_from_file(struct roots *r, const char *path, struct mica_err *e)
{
	MICA_AUTO_BUF b;
	mica_rc rc;

	mica_buf_init(&b, PEM_FILE_MAX);
	rc = mica_file_read(path, &b, e);
	if (rc != MICA_OK)
		return rc;
	rc = roots_from_pem(r, mica_buf_slice(&b), e);
	if (rc != MICA_OK)
		mica_err_context(e, "%s", path);
	return rc;
}

/* ---- the plain form -------------------------------------------------------------------------- */

/* x5c: one certificate, base64 with padding. Copies into `r`, whose memory must not move: slices
 * are set when all are there. */
static mica_rc add_root(const struct mica_json *d, const json_t *x5c, struct roots *r,
	size_t at[ROOTS_MAX], struct mica_err *e)
{
	const json_t *first = json_array_get(x5c, 0);
	struct mica_cert_info info;
	size_t len = MICA_CERT_MAX, start = r->der.len;
	uint8_t *room;

	if (json_array_size(x5c) != 1 || !json_is_string(first))
		return mica_json_fail(
			d, x5c, e, "bundle_malformed", "x5c: expected one certificate");
	if (r->n == ROOTS_MAX)
		return mica_fail(e, MICA_LIMIT, "too_many_keys", "more than %d roots", ROOTS_MAX);
	room = mica_buf_room(&r->der, len);
	if (!room || mica_b64_decode(mica_json_str(first), room, &len) != MICA_OK)
		return mica_json_fail(d, first, e, "bundle_malformed", "x5c: not base64");
	mica_buf_added(&r->der, len);
	if (mica_cert_read(mica_slice(r->der.p + start, len), &info, NULL) != MICA_OK)
		return mica_json_fail(d, first, e, "bundle_malformed", "x5c: not a certificate");
	at[r->n++] = start;
	return MICA_OK;
}

static mica_rc read_key(const struct mica_json *d, const json_t *k, struct bundle_info *out,
	struct roots *r, size_t at[ROOTS_MAX], struct mica_err *e)
{
	struct mica_slice use = {0}, kid = {0};
	json_t *x5c = NULL;
	const struct mica_json_member members[] = {
		{.name = "use", .type = MICA_JSON_STRING, .required = true, .out = &use},
		{.name = "kid", .type = MICA_JSON_STRING, .out = &kid},
		{.name = "x5c", .type = MICA_JSON_ARRAY, .out = &x5c}};
	mica_rc rc = mica_json_read(d, k, "keys[]", members, MICA_ARRAY_LEN(members), true, e);
	bool x509 = mica_slice_eq_str(use, "x509-svid"), jwt = mica_slice_eq_str(use, "jwt-svid");

	if (rc != MICA_OK || (!x509 && !jwt))
		return rc;
	if (out->n_keys == BUNDLE_KEYS_MAX)
		return mica_fail(
			e, MICA_LIMIT, "too_many_keys", "more than %d keys", BUNDLE_KEYS_MAX);
	if (x509 && !x5c)
		return mica_json_fail(d, k, e, "bundle_malformed", "x509-svid without x5c");
	out->keys[out->n_keys++] = (struct bundle_key){.x509 = x509, .kid = kid, .root = r->n};
	return x509 ? add_root(d, x5c, r, at, e) : MICA_OK;
}

/* Where one ends is where the next begins. */
static void set_slices(struct roots *r, const size_t at[ROOTS_MAX])
{
	for (size_t i = 0; i < r->n; i++) {
		size_t end = i + 1 < r->n ? at[i + 1] : r->der.len;

		r->v[i] = mica_slice(r->der.p + at[i], end - at[i]);
	}
}

mica_rc bundle_read(const struct mica_json *d, const json_t *bundle, struct bundle_info *out,
	struct roots *r, struct mica_err *e)
{
	json_t *keys = NULL, *one;
	int64_t sequence = 0;
	size_t at[ROOTS_MAX], i;
	const struct mica_json_member members[] = {
		{.name = "keys", .type = MICA_JSON_ARRAY, .required = true, .out = &keys},
		{.name = "spiffe_sequence", .type = MICA_JSON_INT, .out = &sequence},
		{.name = "spiffe_refresh_hint", .type = MICA_JSON_INT, .out = &out->refresh_hint}};
	mica_rc rc;

	memset(out, 0, sizeof(*out));
	rc = mica_json_read(d, bundle, "", members, MICA_ARRAY_LEN(members), true, e);
	if (rc != MICA_OK)
		return rc;
	out->sequence = (uint64_t)sequence;
	json_array_foreach (keys, i, one) {
		rc = read_key(d, one, out, r, at, e);
		if (rc != MICA_OK)
			return rc;
	}
	set_slices(r, at);
	return MICA_OK;
}

/* ---- the signed form ------------------------------------------------------------------------- */

void bundle_jws_init(struct bundle_jws *j)
{
	memset(j, 0, sizeof(*j));
	mica_buf_init(&j->payload, PART_MAX);
}

void bundle_jws_clear(struct bundle_jws *j)
{
	mica_buf_clear(&j->payload);
}

static mica_rc malformed(struct mica_err *e, const char *what)
{
	return mica_fail(e, MICA_INVALID, "bundle_jws_malformed", "signed bundle: %s", what);
}

static mica_rc decode_part(struct mica_slice text, struct mica_buf *out, struct mica_err *e)
{
	size_t len = text.len;
	uint8_t *room = mica_buf_room(out, len);

	if (!room || mica_b64url_decode(text, room, &len) != MICA_OK)
		return malformed(e, "a part is not base64url");
	mica_buf_added(out, len);
	return MICA_OK;
}

/* What a header says: the algorithm, and the chain of who signed. */
struct signer_chain {
	enum mica_sig_alg alg;
	struct mica_buf der;
	struct mica_slice v[MICA_CHAIN_MAX];
	size_t n;
};

static mica_rc read_chain(const json_t *x5c, struct signer_chain *c, struct mica_err *e)
{
	size_t at[MICA_CHAIN_MAX];

	if (json_array_size(x5c) == 0 || json_array_size(x5c) > MICA_CHAIN_MAX)
		return malformed(e, "x5c has no or too many certificates");
	for (; c->n < json_array_size(x5c); c->n++) {
		const json_t *one = json_array_get(x5c, c->n);
		size_t len = MICA_CERT_MAX;
		uint8_t *room = mica_buf_room(&c->der, len);

		at[c->n] = c->der.len;
		if (!room || !json_is_string(one) ||
			mica_b64_decode(mica_json_str(one), room, &len) != MICA_OK)
			return malformed(e, "x5c has no certificates in base64");
		mica_buf_added(&c->der, len);
	}
	for (size_t i = 0; i < c->n; i++) {
		size_t end = i + 1 < c->n ? at[i + 1] : c->der.len;

		c->v[i] = mica_slice(c->der.p + at[i], end - at[i]);
	}
	return MICA_OK;
}

static mica_rc read_header(struct mica_slice text, struct signer_chain *c, struct mica_err *e)
{
	struct mica_slice alg = {0}, typ = {0};
	json_t *x5c = NULL;
	const struct mica_json_member members[] = {
		{.name = "alg", .type = MICA_JSON_STRING, .required = true, .out = &alg},
		{.name = "typ", .type = MICA_JSON_STRING, .required = true, .out = &typ},
		{.name = "x5c", .type = MICA_JSON_ARRAY, .required = true, .out = &x5c}};
	MICA_AUTO_JSON d = {0};
	MICA_AUTO_BUF b;
	mica_rc rc;

	mica_buf_init(&b, PART_MAX);
	rc = decode_part(text, &b, e);
	if (rc == MICA_OK &&
		mica_json_parse(mica_buf_slice(&b), &(struct mica_json_limits){.bytes = PART_MAX},
			&d, NULL) != MICA_OK)
		rc = malformed(e, "its header is not JSON");
	/* No other member: a `crit` would have to be understood, a `jwk` must not be believed. */
	if (rc == MICA_OK &&
		mica_json_read(&d, d.root, "", members, MICA_ARRAY_LEN(members), false, NULL) !=
			MICA_OK)
		rc = malformed(e, "its header is not {alg, typ, x5c}");
	if (rc != MICA_OK)
		return rc;
	c->alg = mica_sig_alg_from_jose(alg);
	if (!mica_slice_eq_str(typ, MICA_TYP_BUNDLE) || c->alg == MICA_SIG_NONE)
		return malformed(e, "its type or algorithm is not a bundle's");
	return read_chain(x5c, c, e);
}

static mica_rc read_claims(struct bundle_jws *out, struct mica_err *e)
{
	struct mica_slice td = {0}, channel = {0};
	int64_t sequence = 0, inner = -1;
	json_t *bundle = NULL;
	const struct mica_json_member members[] = {
		{.name = "trust_domain", .type = MICA_JSON_STRING, .required = true, .out = &td},
		{.name = "channel", .type = MICA_JSON_STRING, .required = true, .out = &channel},
		{.name = "sequence", .type = MICA_JSON_INT, .required = true, .out = &sequence},
		{.name = "iat", .type = MICA_JSON_INT, .required = true, .out = &out->iat},
		{.name = "exp", .type = MICA_JSON_INT, .required = true, .out = &out->exp},
		{.name = "bundle", .type = MICA_JSON_OBJECT, .required = true, .out = &bundle}};
	const struct mica_json_member in_bundle[] = {{.name = "spiffe_sequence",
		.type = MICA_JSON_INT,
		.required = true,
		.out = &inner}};
	MICA_AUTO_JSON d = {0};

	if (mica_json_parse(mica_buf_slice(&out->payload),
		    &(struct mica_json_limits){.bytes = PART_MAX}, &d, NULL) != MICA_OK ||
		mica_json_read(&d, d.root, "", members, MICA_ARRAY_LEN(members), true, NULL) !=
			MICA_OK ||
		mica_json_read(&d, bundle, "", in_bundle, 1, true, NULL) != MICA_OK ||
		mica_slice_copy(td, out->trust_domain, sizeof(out->trust_domain)) != MICA_OK ||
		mica_slice_copy(channel, out->channel, sizeof(out->channel)) != MICA_OK)
		return malformed(e, "its claims are not those of a bundle");
	if (inner != sequence)
		return malformed(e, "its claims and its bundle have different sequences");
	out->sequence = (uint64_t)sequence;
	return MICA_OK;
}

static mica_rc check_signer(const struct signer_chain *c, const struct roots *roots,
	struct bundle_jws *j, int64_t now, struct mica_pubkey *key, struct mica_err *e)
{
	MICA_AUTO_TRUST trust = NULL;
	MICA_AUTO_BUF want;
	struct mica_err why = MICA_ERR_INIT;
	struct mica_svid svid;
	mica_rc rc = mica_trust_new(j->trust_domain, roots->v, roots->n, &trust, e);

	mica_buf_init(&want, MICA_SPIFFE_ID_MAX);
	if (rc != MICA_OK)
		return rc;
	if (mica_verify_svid(trust, c->v, c->n, now, SKEW, &svid, &why) != MICA_OK)
		return mica_fail_fine(e, MICA_UNAUTHENTICATED, "bundle_jws_untrusted",
			"signed bundle: its signer does not lead to the roots that are known",
			why.reason, "%s", why.text);
	mica_buf_printf(&want, "spiffe://%s/mica/publisher", j->trust_domain);
	if (strcmp(svid.spiffe_id, (const char *)want.p) != 0)
		return mica_fail(e, MICA_UNAUTHENTICATED, "bundle_jws_publisher",
			"signed bundle: signed by %.200s, expected %s", svid.spiffe_id,
			(const char *)want.p);
	snprintf(j->publisher, sizeof(j->publisher), "%.127s", svid.spiffe_id);
	*key = svid.key;
	return MICA_OK;
}

static mica_rc verify_parts(struct mica_slice jws, const struct roots *roots, int64_t now,
	struct signer_chain *c, struct bundle_jws *out, struct mica_err *e)
{
	struct mica_slice rest = jws, header, payload, signed_part;
	struct mica_pubkey key;
	MICA_AUTO_BUF sig;
	mica_rc rc;

	mica_buf_init(&sig, 2048);
	if (!mica_slice_cut(&rest, '.', &header) || !mica_slice_cut(&rest, '.', &payload))
		return malformed(e, "not three parts");
	signed_part = mica_slice_sub(jws, 0, header.len + 1 + payload.len);
	rc = decode_part(payload, &out->payload, e);
	if (rc == MICA_OK)
		rc = decode_part(rest, &sig, e);
	if (rc == MICA_OK)
		rc = read_header(header, c, e);
	if (rc == MICA_OK)
		rc = read_claims(out, e);
	if (rc == MICA_OK)
		rc = check_signer(c, roots, out, now, &key, e);
	if (rc != MICA_OK)
		return rc;
	if (mica_pubkey_verify(
		    &key, c->alg, MICA_SIG_RAW, signed_part, mica_buf_slice(&sig), NULL) != MICA_OK)
		return mica_fail(e, MICA_UNAUTHENTICATED, "bundle_jws_signature",
			"signed bundle: its signature is wrong");
	if (out->exp <= now - SKEW || out->iat > now + SKEW)
		return mica_fail(e, MICA_UNAUTHENTICATED, "bundle_jws_expired",
			"signed bundle: it has expired, or is not valid yet");
	return MICA_OK;
}

mica_rc bundle_jws_verify(struct mica_slice jws, const struct roots *roots, int64_t now,
	struct bundle_jws *out, struct mica_err *e)
{
	struct signer_chain c = {.n = 0};
	mica_rc rc;

	mica_buf_init(&c.der, (size_t)MICA_CHAIN_MAX * MICA_CERT_MAX);
	while (jws.len > 0 && jws.p[jws.len - 1] == '\n')
		jws.len--;
	rc = verify_parts(jws, roots, now, &c, out, e);
	mica_buf_clear(&c.der);
	return rc;
}
