/* SPDX-License-Identifier: Apache-2.0 */
/* The writer of certificate revocation lists, RFC 5280 5. */
#include "mica/crl.h"

#include "x509.h"

#include <stdio.h>

/* ---- reasons ------------------------------------------------------------------------------- */

static const struct {
	enum mica_crl_reason reason;
	const char *name;
} reasons[] = {
	{MICA_CRL_UNSPECIFIED, "unspecified"},
	{MICA_CRL_KEY_COMPROMISE, "key_compromise"},
	{MICA_CRL_CA_COMPROMISE, "ca_compromise"},
	{MICA_CRL_AFFILIATION_CHANGED, "affiliation_changed"},
	{MICA_CRL_SUPERSEDED, "superseded"},
	{MICA_CRL_CESSATION_OF_OPERATION, "cessation_of_operation"},
	{MICA_CRL_PRIVILEGE_WITHDRAWN, "privilege_withdrawn"},
};

const char *mica_crl_reason_name(enum mica_crl_reason r)
{
	for (size_t i = 0; i < MICA_ARRAY_LEN(reasons); i++)
		if (reasons[i].reason == r)
			return reasons[i].name;
	return NULL;
}

mica_rc mica_crl_reason_parse(struct mica_slice name, enum mica_crl_reason *out, struct mica_err *e)
{
	for (size_t i = 0; i < MICA_ARRAY_LEN(reasons); i++) {
		if (!mica_slice_eq_str(name, reasons[i].name))
			continue;
		*out = reasons[i].reason;
		return MICA_OK;
	}
	return mica_fail(e, MICA_INVALID, "bad_reason",
		"there is no such reason; expected unspecified, key_compromise, ca_compromise, "
		"affiliation_changed, superseded, cessation_of_operation or privilege_withdrawn");
}

/* ---- writing ------------------------------------------------------------------------------- */

#define DER_ENUMERATED 0x0a

static const uint8_t oid_crl_number[] = {0x06, 3, 0x55, 0x1d, 20};
static const uint8_t oid_reason[] = {0x06, 3, 0x55, 0x1d, 21};

static void write_entry(struct mica_derw *w, const struct mica_crl_entry *en)
{
	const uint8_t reason = (uint8_t)en->reason;
	size_t all = mica_derw_mark(w), mark;

	/* 5.3.1: an unspecified reason should be left out */
	if (en->reason != MICA_CRL_UNSPECIFIED) {
		mark = mica_derw_mark(w);
		mica_derw_prim(w, DER_ENUMERATED, &reason, 1);
		mica_derw_wrap(w, mark, MICA_DER_OCTET_STRING);
		mica_derw_put(w, oid_reason, sizeof(oid_reason));
		mica_derw_wrap(w, mark, MICA_DER_SEQUENCE);
		mica_derw_wrap(w, mark, MICA_DER_SEQUENCE);
	}
	mica_derw_time(w, en->revoked);
	mica_derw_unsigned(w, en->serial.p, en->serial.len);
	mica_derw_wrap(w, all, MICA_DER_SEQUENCE);
}

static void write_number(struct mica_derw *w, uint64_t number)
{
	size_t mark = mica_derw_mark(w);
	uint8_t octets[8];

	for (unsigned i = 0; i < sizeof(octets); i++)
		octets[i] = (uint8_t)(number >> (56 - 8 * i));
	mica_derw_unsigned(w, octets, sizeof(octets));
	mica_derw_wrap(w, mark, MICA_DER_OCTET_STRING);
	mica_derw_put(w, oid_crl_number, sizeof(oid_crl_number));
	mica_derw_wrap(w, mark, MICA_DER_SEQUENCE);
}

static void write_tbs(
	struct mica_derw *w, const struct mica_issuer_parts *by, const struct mica_crl_spec *s)
{
	size_t all = mica_derw_mark(w), mark = all;

	write_number(w, s->number);
	mica_derw_put_slice(w, by->aki);
	mica_derw_wrap(w, mark, MICA_DER_SEQUENCE);
	mica_derw_wrap(w, mark, MICA_DER_CTX_C(0));
	/* 5.1.2.6: absent when there is nothing to name */
	if (s->n > 0) {
		mark = mica_derw_mark(w);
		for (size_t i = s->n; i-- > 0;)
			write_entry(w, &s->entries[i]);
		mica_derw_wrap(w, mark, MICA_DER_SEQUENCE);
	}
	mica_derw_time(w, s->next_update);
	mica_derw_time(w, s->this_update);
	mica_derw_put_slice(w, by->subject);
	mica_derw_put_slice(w, mica_sig_alg_der(mica_signer_alg(by->signer)));
	mica_derw_put(w, "\x02\x01\x01", 3); /* version 2 */
	mica_derw_wrap(w, all, MICA_DER_SEQUENCE);
}

static mica_rc check(
	const struct mica_issuer_parts *by, const struct mica_crl_spec *s, struct mica_err *e)
{
	if (!by->signs_crls)
		return mica_fail(e, MICA_INVALID, "issuer_not_for_crls",
			"CRL: the authority's certificate does not allow it to sign one (cRLSign)");
	if (s->next_update <= s->this_update)
		return mica_fail(
			e, MICA_INVALID, "validity_empty", "CRL: it would end before it begins");
	if (s->n > MICA_CRL_ENTRIES_MAX)
		return mica_fail(e, MICA_LIMIT, "too_many_revoked",
			"CRL: at most %d certificates fit into it", MICA_CRL_ENTRIES_MAX);
	for (size_t i = 0; i < s->n; i++)
		if (s->entries[i].serial.len == 0 || s->entries[i].serial.len > MICA_CRL_SERIAL_MAX)
			return mica_fail(e, MICA_INVALID, "serial_invalid",
				"CRL: a serial number has 1 to %d octets", MICA_CRL_SERIAL_MAX);
	return MICA_OK;
}

/* A list that does not verify would be refused by whoever is strict, and one that gives the key
 * away by a fault is worse: it is checked before it leaves. */
static mica_rc sign(const struct mica_signer *signer, struct mica_slice tbs,
	uint8_t sig[MICA_SIG_MAX], size_t *len, struct mica_err *e)
{
	mica_rc rc = mica_signer_sign(signer, MICA_SIG_DER, tbs, sig, len, e);

	if (rc == MICA_OK &&
		mica_pubkey_verify(mica_signer_public(signer), mica_signer_alg(signer),
			MICA_SIG_DER, tbs, mica_slice(sig, *len), NULL) != MICA_OK)
		rc = mica_fail(e, MICA_UNAVAILABLE, "signing_failed", "signing failed; try again");
	return rc;
}

/* CertificateList { tbsCertList, signatureAlgorithm, signature } */
static mica_rc put_list(struct mica_slice tbs, const struct mica_signer *signer,
	struct mica_buf *out, struct mica_err *e)
{
	size_t room = tbs.len + MICA_SIG_MAX + 128, len = MICA_SIG_MAX;
	MICA_AUTO_FREE uint8_t *bytes = mica_alloc(room);
	struct mica_derw w = mica_derw(bytes, room);
	uint8_t sig[MICA_SIG_MAX];
	size_t mark = mica_derw_mark(&w);
	mica_rc rc = sign(signer, tbs, sig, &len, e);

	if (rc != MICA_OK)
		return rc;
	mica_derw_bits(&w, sig, len);
	mica_derw_put_slice(&w, mica_sig_alg_der(mica_signer_alg(signer)));
	mica_derw_put_slice(&w, tbs);
	mica_derw_wrap(&w, mark, MICA_DER_SEQUENCE);
	if (!mica_derw_ok(&w))
		return mica_fail(e, MICA_INTERNAL, "too_long", "CRL: no room for its signature");
	mica_buf_put_slice(out, mica_derw_slice(&w));
	return mica_buf_rc(out, e);
}

mica_rc mica_crl_sign(const struct mica_cert_issuer *issuer, const struct mica_crl_spec *spec,
	struct mica_buf *out, struct mica_err *e)
{
	size_t room = spec->n * 64 + 2 * MICA_CERT_MAX;
	MICA_AUTO_FREE uint8_t *bytes = NULL;
	struct mica_issuer_parts by;
	struct mica_derw w;
	mica_rc rc;

	mica_cert_issuer_parts(issuer, &by);
	rc = check(&by, spec, e);
	if (rc != MICA_OK)
		return rc;
	bytes = mica_alloc(room);
	w = mica_derw(bytes, room);
	write_tbs(&w, &by, spec);
	if (!mica_derw_ok(&w))
		return mica_fail(e, MICA_INVALID, "validity_empty",
			"CRL: a time in it is outside the years 1950 to 9999");
	return put_list(mica_derw_slice(&w), by.signer, out, e);
}
