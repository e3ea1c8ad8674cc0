/* SPDX-License-Identifier: Apache-2.0 */
/* Certificate revocation lists that others have signed (RFC 5280 5): the reader. */
#include "mica/crl.h"

#include "x509.h"

#define EXTENSIONS_MAX 16
#define ID_CRL_NUMBER  20
#define ID_AKI         35

static mica_rc malformed(struct mica_err *e, const char *what)
{
	return mica_fail(e, MICA_INVALID, "crl_malformed", "CRL: %s", what);
}

static bool read_number(struct mica_der *d, struct mica_crl_info *c)
{
	struct mica_slice v;

	if (!mica_der_unsigned(d, &v) || v.len > sizeof(c->number))
		return false;
	c->has_number = true;
	for (size_t i = 0; i < v.len; i++)
		c->number = c->number << 8 | v.p[i];
	return mica_der_end(d);
}

static bool read_aki(struct mica_der *d, struct mica_crl_info *c)
{
	struct mica_der in;

	if (!mica_der_enter(d, MICA_DER_SEQUENCE, &in) || !mica_der_end(d))
		return false;
	return !mica_der_is(&in, MICA_DER_CTX(0)) ||
		mica_der_next(&in, MICA_DER_CTX(0), &c->aki, NULL);
}

/* Of a list (`c`), or of one of its entries (NULL), whose extensions say nothing that is needed. */
static mica_rc read_extension(struct mica_slice oid, bool critical, struct mica_slice value,
	struct mica_crl_info *c, struct mica_err *e)
{
	uint8_t id = oid.len == 3 && oid.p[0] == 0x55 && oid.p[1] == 0x1d ? oid.p[2] : 0;
	struct mica_der d = mica_der(value);

	/* 5.2.4, 5.2.5, 5.3.3: delta lists, parts of lists, entries of other issuers */
	if (critical)
		return mica_fail(e, MICA_INVALID, "crl_extension_unknown",
			"CRL: it has a critical extension: expected a complete list of one issuer");
	if (c && id == ID_CRL_NUMBER && !read_number(&d, c))
		return malformed(e, "CRLNumber");
	if (c && id == ID_AKI && !read_aki(&d, c))
		return malformed(e, "AuthorityKeyIdentifier");
	return MICA_OK;
}

static mica_rc read_extensions(struct mica_der *list, struct mica_crl_info *c, struct mica_err *e)
{
	struct mica_slice seen[EXTENSIONS_MAX];
	size_t n = 0;
	mica_rc rc = MICA_OK;

	while (list->s.len && rc == MICA_OK) {
		struct mica_slice oid = MICA_SLICE_NULL, value = MICA_SLICE_NULL;
		bool critical = false;
		struct mica_der x;

		if (!mica_der_enter(list, MICA_DER_SEQUENCE, &x) || !mica_der_oid(&x, &oid) ||
			(mica_der_is(&x, MICA_DER_BOOLEAN) &&
				(!mica_der_boolean(&x, &critical) || !critical)) ||
			!mica_der_next(&x, MICA_DER_OCTET_STRING, &value, NULL) ||
			!mica_der_end(&x))
			return malformed(e, "an extension");
		for (size_t i = 0; i < n; i++)
			if (mica_slice_eq(seen[i], oid))
				return malformed(e, "an extension stands twice");
		if (n == EXTENSIONS_MAX)
			return malformed(e, "too many extensions");
		seen[n++] = oid;
		rc = read_extension(oid, critical, value, c, e);
	}
	return rc;
}

static mica_rc read_entries(struct mica_der *list, struct mica_crl_info *c, struct mica_err *e)
{
	mica_rc rc = MICA_OK;

	/* 5.1.2.6: without entries there is no list of them */
	if (!list->s.len)
		return malformed(e, "a list of no entries");
	for (; list->s.len && rc == MICA_OK; c->n++) {
		struct mica_slice serial;
		struct mica_der one, extensions = mica_der(MICA_SLICE_NULL);
		int64_t at;

		if (c->n == MICA_CRL_ENTRIES_MAX)
			return malformed(e, "too many entries");
		if (!mica_der_enter(list, MICA_DER_SEQUENCE, &one) ||
			!mica_der_unsigned(&one, &serial) || serial.len > MICA_CRL_SERIAL_MAX ||
			!mica_der_time(&one, &at))
			return malformed(e, "an entry");
		if (one.s.len && !mica_der_enter(&one, MICA_DER_SEQUENCE, &extensions))
			return malformed(e, "an entry's extensions");
		if (extensions.s.len)
			rc = read_extensions(&extensions, NULL, e);
		if (rc == MICA_OK && !mica_der_end(&one))
			rc = malformed(e, "an entry");
	}
	return rc;
}

static mica_rc read_tbs(struct mica_slice content, struct mica_slice outer_alg,
	struct mica_crl_info *c, struct mica_err *e)
{
	struct mica_der d = mica_der(content), list, outer;
	struct mica_slice alg = MICA_SLICE_NULL;
	uint32_t version = 0;
	bool empty = true;
	mica_rc rc = MICA_OK;

	if (!mica_der_u32(&d, &version) || version != 1)
		return malformed(e, "not version 2");
	if (!mica_der_next(&d, MICA_DER_SEQUENCE, NULL, &alg) || !mica_slice_eq(alg, outer_alg))
		return malformed(e, "the two signature algorithms differ");
	if (!mica_x509_name(&d, &c->issuer, &empty) || empty)
		return malformed(e, "the issuer's name");
	if (!mica_der_time(&d, &c->this_update) || !mica_der_time(&d, &c->next_update) ||
		c->next_update <= c->this_update)
		return malformed(e, "thisUpdate and nextUpdate");
	if (mica_der_is(&d, MICA_DER_SEQUENCE)) {
		if (!mica_der_enter(&d, MICA_DER_SEQUENCE, &list))
			return malformed(e, "its entries");
		rc = read_entries(&list, c, e);
	}
	if (rc != MICA_OK || !d.s.len)
		return rc;
	if (!mica_der_enter(&d, MICA_DER_CTX_C(0), &outer) || !mica_der_end(&d) ||
		!mica_der_enter(&outer, MICA_DER_SEQUENCE, &list) || !mica_der_end(&outer))
		return malformed(e, "its extensions");
	return read_extensions(&list, c, e);
}

mica_rc mica_crl_read(struct mica_slice der, struct mica_crl_info *out, struct mica_err *e)
{
	struct mica_der d = mica_der(der), in;
	struct mica_slice tbs = MICA_SLICE_NULL, alg = MICA_SLICE_NULL;
	mica_rc rc;

	*out = (struct mica_crl_info){.n = 0};
	if (der.len > MICA_CRL_MAX)
		return mica_fail(e, MICA_LIMIT, "crl_too_large", "CRL: at most %d octets are taken",
			MICA_CRL_MAX);
	if (!mica_der_enter(&d, MICA_DER_SEQUENCE, &in) || !mica_der_end(&d) ||
		!mica_der_next(&in, MICA_DER_SEQUENCE, &tbs, &out->tbs) ||
		!mica_der_next(&in, MICA_DER_SEQUENCE, NULL, &alg) ||
		!mica_der_bits(&in, &out->signature) || !mica_der_end(&in))
		return malformed(e, "not a CRL in DER");
	rc = mica_sig_alg_read(alg, &out->alg, e);
	return rc == MICA_OK ? read_tbs(tbs, alg, out, e) : rc;
}
