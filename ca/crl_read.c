/* SPDX-License-Identifier: Apache-2.0 */
/* The reader of certificate revocation lists, RFC 5280 5: complete ones, of the issuer that signs.
 */
#include "mica/crl.h"

#include "x509.h"

#define DER_ENUMERATED 0x0a
#define EXTENSIONS_MAX 16

#define ID_CRL_NUMBER 20
#define ID_REASON     21
#define ID_AKI        35

static mica_rc malformed(struct mica_err *e, const char *what)
{
	return mica_fail(e, MICA_INVALID, "crl_malformed", "CRL: %s", what);
}

/* ---- extensions ---------------------------------------------------------------------------- */

struct extension {
	uint8_t id; /* of id-ce, 2.5.29; 0 = another one */
	bool critical;
	struct mica_der value;
};
typedef mica_rc extension_fn(void *ctx, struct extension *x, struct mica_err *e);

static mica_rc read_one(
	struct mica_der *list, struct mica_slice *oid, struct extension *x, struct mica_err *e)
{
	struct mica_slice value = MICA_SLICE_NULL;
	struct mica_der in;

	*x = (struct extension){.id = 0};
	if (!mica_der_enter(list, MICA_DER_SEQUENCE, &in) || !mica_der_oid(&in, oid))
		return malformed(e, "an extension");
	if (mica_der_is(&in, MICA_DER_BOOLEAN) &&
		(!mica_der_boolean(&in, &x->critical) || !x->critical))
		return malformed(e, "an extension's criticality");
	if (!mica_der_next(&in, MICA_DER_OCTET_STRING, &value, NULL) || !mica_der_end(&in))
		return malformed(e, "an extension");
	if (oid->len == 3 && oid->p[0] == 0x55 && oid->p[1] == 0x1d)
		x->id = oid->p[2];
	x->value = mica_der(value);
	return MICA_OK;
}

/* `fn` says by its rc, and takes all of the value that it knows; it leaves others as they are. */
static mica_rc read_extensions(
	struct mica_der *list, extension_fn *fn, void *ctx, struct mica_err *e)
{
	struct mica_slice seen[EXTENSIONS_MAX];
	size_t n = 0;

	if (!list->s.len)
		return malformed(e, "an empty list of extensions");
	while (list->s.len) {
		struct extension x;
		mica_rc rc;

		if (n == EXTENSIONS_MAX)
			return malformed(e, "too many extensions");
		rc = read_one(list, &seen[n], &x, e);
		for (size_t i = 0; rc == MICA_OK && i < n; i++)
			if (mica_slice_eq(seen[i], seen[n]))
				rc = mica_fail(e, MICA_INVALID, "crl_extension_twice",
					"CRL: an extension stands twice");
		n++;
		if (rc == MICA_OK)
			rc = fn(ctx, &x, e);
		if (rc != MICA_OK)
			return rc;
	}
	return MICA_OK;
}

/* RFC 5280 5.2: deltas, lists of a part or of other issuers say so in a critical one. */
static mica_rc unknown(const struct extension *x, struct mica_err *e)
{
	if (!x->critical)
		return MICA_OK;
	return mica_fail(e, MICA_INVALID, "crl_extension_unknown",
		"CRL: a critical extension is not understood; expected a complete list of the "
		"authority's own certificates");
}

static mica_rc read_number(struct extension *x, struct mica_crl_info *c, struct mica_err *e)
{
	struct mica_slice v = MICA_SLICE_NULL;

	if (!mica_der_unsigned(&x->value, &v) || !mica_der_end(&x->value) || v.len > 8)
		return malformed(e, "the CRL number must be a number below 2^64");
	c->has_number = true;
	for (size_t i = 0; i < v.len; i++)
		c->number = c->number << 8 | v.p[i];
	return MICA_OK;
}

static mica_rc read_aki(struct extension *x, struct mica_crl_info *c, struct mica_err *e)
{
	struct mica_der in;

	if (!mica_der_enter(&x->value, MICA_DER_SEQUENCE, &in) || !mica_der_end(&x->value))
		return malformed(e, "AuthorityKeyIdentifier");
	if (mica_der_is(&in, MICA_DER_CTX(0)))
		mica_der_next(&in, MICA_DER_CTX(0), &c->aki, NULL);
	if (mica_der_is(&in, MICA_DER_CTX_C(1))) /* issuer and serial: not used */
		mica_der_next(&in, MICA_DER_CTX_C(1), NULL, NULL);
	if (mica_der_is(&in, MICA_DER_CTX(2)))
		mica_der_next(&in, MICA_DER_CTX(2), NULL, NULL);
	return mica_der_end(&in) ? MICA_OK : malformed(e, "AuthorityKeyIdentifier");
}

static mica_rc list_extension(void *ctx, struct extension *x, struct mica_err *e)
{
	switch (x->id) {
	case ID_CRL_NUMBER: return read_number(x, ctx, e);
	case ID_AKI: return read_aki(x, ctx, e);
	default: return unknown(x, e);
	}
}

/* ---- entries ------------------------------------------------------------------------------- */

static mica_rc entry_extension(void *ctx, struct extension *x, struct mica_err *e)
{
	struct mica_crl_entry *en = ctx;
	struct mica_slice v = MICA_SLICE_NULL;

	if (x->id != ID_REASON)
		return unknown(x, e);
	if (!mica_der_next(&x->value, DER_ENUMERATED, &v, NULL) || !mica_der_end(&x->value) ||
		v.len != 1 || v.p[0] > 10 || v.p[0] == 7)
		return malformed(e, "a reason code");
	if (v.p[0] == 8)
		return malformed(e, "removeFromCRL stands in deltas alone");
	en->reason = (enum mica_crl_reason)v.p[0];
	return MICA_OK;
}

static mica_rc read_entry(struct mica_der *list, struct mica_crl_entry *en, struct mica_err *e)
{
	struct mica_der in, extensions;

	*en = (struct mica_crl_entry){.reason = MICA_CRL_UNSPECIFIED};
	if (!mica_der_enter(list, MICA_DER_SEQUENCE, &in) || !mica_der_unsigned(&in, &en->serial) ||
		en->serial.len > MICA_CRL_SERIAL_MAX || !mica_der_time(&in, &en->revoked))
		return malformed(e, "an entry");
	if (in.s.len) {
		mica_rc rc;

		if (!mica_der_enter(&in, MICA_DER_SEQUENCE, &extensions))
			return malformed(e, "an entry's extensions");
		rc = read_extensions(&extensions, entry_extension, en, e);
		if (rc != MICA_OK)
			return rc;
	}
	return mica_der_end(&in) ? MICA_OK : malformed(e, "data behind an entry");
}

static mica_rc read_entries(struct mica_der *tbs, struct mica_crl_info *c, struct mica_err *e)
{
	struct mica_der list;

	if (!mica_der_is(tbs, MICA_DER_SEQUENCE))
		return MICA_OK;
	if (!mica_der_enter(tbs, MICA_DER_SEQUENCE, &list) || !list.s.len)
		return malformed(e, "an empty list of certificates");
	c->entries = list.s;
	while (list.s.len) {
		struct mica_crl_entry en;
		mica_rc rc = read_entry(&list, &en, e);

		if (rc != MICA_OK)
			return rc;
		if (++c->n > MICA_CRL_ENTRIES_MAX)
			return mica_fail(e, MICA_LIMIT, "crl_too_large",
				"CRL: at most %d certificates are taken", MICA_CRL_ENTRIES_MAX);
	}
	return MICA_OK;
}

bool mica_crl_next(struct mica_slice *entries, struct mica_crl_entry *out)
{
	struct mica_der list = mica_der(*entries);

	if (!entries->len || read_entry(&list, out, NULL) != MICA_OK)
		return false;
	*entries = list.s;
	return true;
}

/* ---- all of it ----------------------------------------------------------------------------- */

static mica_rc read_tbs(struct mica_slice content, struct mica_slice outer_alg,
	struct mica_crl_info *c, struct mica_err *e)
{
	struct mica_der d = mica_der(content), outer, list;
	struct mica_slice alg = MICA_SLICE_NULL;
	uint32_t version = 0;
	bool empty;
	mica_rc rc;

	if (!mica_der_u32(&d, &version) || version != 1)
		return malformed(e, "not version 2");
	if (!mica_der_next(&d, MICA_DER_SEQUENCE, NULL, &alg) || !mica_slice_eq(alg, outer_alg))
		return malformed(e, "the two signature algorithms differ");
	if (!mica_x509_name(&d, &c->issuer, &empty) || empty)
		return malformed(e, "the issuer's name");
	if (!mica_der_time(&d, &c->this_update) || !mica_der_time(&d, &c->next_update))
		return malformed(e, "thisUpdate and nextUpdate");
	if (c->next_update <= c->this_update)
		return malformed(e, "it ends before it begins");
	rc = read_entries(&d, c, e);
	if (rc != MICA_OK)
		return rc;
	if (!mica_der_enter(&d, MICA_DER_CTX_C(0), &outer) || !mica_der_end(&d) ||
		!mica_der_enter(&outer, MICA_DER_SEQUENCE, &list) || !mica_der_end(&outer))
		return malformed(e, "extensions");
	rc = read_extensions(&list, list_extension, c, e);
	if (rc == MICA_OK && !c->has_number)
		rc = malformed(e, "it has no number");
	return rc;
}

mica_rc mica_crl_read(struct mica_slice der, struct mica_crl_info *out, struct mica_err *e)
{
	struct mica_der d = mica_der(der), in;
	struct mica_slice tbs = MICA_SLICE_NULL, alg = MICA_SLICE_NULL;
	mica_rc rc;

	*out = (struct mica_crl_info){.der = der};
	if (der.len > MICA_CRL_MAX)
		return mica_fail(e, MICA_LIMIT, "crl_too_large", "CRL: at most %d octets are taken",
			MICA_CRL_MAX);
	if (!mica_der_enter(&d, MICA_DER_SEQUENCE, &in) || !mica_der_end(&d) ||
		!mica_der_next(&in, MICA_DER_SEQUENCE, &tbs, &out->tbs) ||
		!mica_der_next(&in, MICA_DER_SEQUENCE, NULL, &alg) ||
		!mica_der_bits(&in, &out->signature) || !mica_der_end(&in))
		return malformed(e, "not a certificate revocation list in DER");
	rc = mica_sig_alg_read(alg, &out->alg, e);
	return rc == MICA_OK ? read_tbs(tbs, alg, out, e) : rc;
}
