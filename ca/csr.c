/* SPDX-License-Identifier: Apache-2.0 */
#include "mica/csr.h"
#include "mica/pem.h"

#include "ossl.h"
#include "x509.h"

static mica_rc malformed(struct mica_err *e, const char *what)
{
	return mica_fail(e, MICA_INVALID, "csr_malformed", "certificate request: %s", what);
}

static mica_rc trailing(struct mica_err *e)
{
	return mica_fail(e, MICA_INVALID, "csr_trailing_data",
		"certificate request: expected one request and nothing before or behind it");
}

struct parts {
	struct mica_slice info; /* what is signed */
	struct mica_slice spki, alg, signature;
	struct mica_slice subject; /* whole */
	struct mica_slice attributes; /* content of [0]; empty when there are none */
};

/* attributes [0] IMPLICIT SET OF { type, SET OF value }: well-formed, else ignored. Some
 * generators leave out an empty set; that is taken, too. */
static bool skip_attributes(struct mica_der *d, struct mica_slice *all)
{
	struct mica_der set, attribute, values;
	*all = MICA_SLICE_NULL;
	if (mica_der_end(d))
		return true;
	if (!mica_der_enter(d, MICA_DER_CTX_C(0), &set))
		return false;
	*all = set.s;
	while (set.s.len) {
		uint8_t tag;
		struct mica_slice v;
		if (!mica_der_enter(&set, MICA_DER_SEQUENCE, &attribute) ||
			!mica_der_oid(&attribute, &v) ||
			!mica_der_enter(&attribute, MICA_DER_SET, &values) ||
			!mica_der_end(&attribute))
			return false;
		do {
			if (!mica_der_any(&values, &tag, &v, NULL))
				return false;
		} while (values.s.len);
	}
	return mica_der_end(d);
}

/* RFC 2986 4. */
static mica_rc split(struct mica_slice der, struct parts *p, struct mica_err *e)
{
	struct mica_der d = mica_der(der), req, info;
	uint32_t version = 1;
	bool empty;
	if (!mica_der_enter(&d, MICA_DER_SEQUENCE, &req))
		return malformed(e, "not DER");
	if (!mica_der_end(&d))
		return trailing(e);
	struct mica_der again = req;
	if (!mica_der_next(&req, MICA_DER_SEQUENCE, NULL, &p->info) ||
		!mica_der_enter(&again, MICA_DER_SEQUENCE, &info) ||
		!mica_der_next(&req, MICA_DER_SEQUENCE, NULL, &p->alg) ||
		!mica_der_bits(&req, &p->signature) || !mica_der_end(&req))
		return malformed(e, "not PKCS #10");
	if (!mica_der_u32(&info, &version) || version != 0)
		return malformed(e, "the version must be 0");
	if (!mica_x509_name(&info, &p->subject, &empty))
		return malformed(e, "the subject is not a Name");
	if (!mica_der_next(&info, MICA_DER_SEQUENCE, NULL, &p->spki))
		return malformed(e, "no public key");
	if (!skip_attributes(&info, &p->attributes))
		return malformed(e, "the attributes are not well-formed");
	return MICA_OK;
}

static mica_rc check(struct mica_slice der, const struct mica_key_policy *policy,
	struct mica_pubkey *out, struct mica_err *e)
{
	struct parts p = {.info = MICA_SLICE_NULL};
	enum mica_sig_alg alg = MICA_SIG_NONE;
	mica_rc rc = split(der, &p, e);
	if (!rc)
		rc = mica_sig_alg_read(p.alg, &alg, e);
	if (!rc)
		rc = mica_pubkey_read_unproved(p.spki, out, e); /* proved by the check below */
	if (!rc)
		rc = mica_key_policy_check(policy, out, e);
	if (rc)
		return rc;

	struct mica_err mine = MICA_ERR_INIT;
	rc = mica_pubkey_verify(out, alg, MICA_SIG_DER, p.info, p.signature, &mine);
	if (!rc)
		return MICA_OK;
	if (strcmp(mine.reason, "signature_invalid") != 0)
		return mica_fail(e, rc, mine.reason, "certificate request: %s", mine.text);
	return mica_fail(e, MICA_INVALID, "csr_bad_signature",
		"certificate request: it is not signed by the key that it holds");
}

static bool contains(struct mica_slice s, struct mica_slice what)
{
	for (size_t i = 0; i + what.len <= s.len; i++)
		if (s.p[i] == what.p[0] && !memcmp(s.p + i, what.p, what.len))
			return true;
	return false;
}

static mica_rc read_pem(struct mica_slice in, struct mica_buf *der, struct mica_err *e)
{
	struct mica_err mine = MICA_ERR_INIT;
	if (in.p[0] != '-' && in.p[0] != '\n' && in.p[0] != '\r')
		return contains(in, MICA_LIT("-----BEGIN "))
			? trailing(e)
			: mica_fail(e, MICA_INVALID, "csr_not_pem",
				  "certificate request: expected PEM or DER of PKCS #10");
	mica_rc rc = mica_pem_next(&in, MICA_PEM_CSR, "NEW " MICA_PEM_CSR, der, &mine);
	if (rc == MICA_NOT_FOUND)
		return mica_fail(e, MICA_INVALID, "csr_empty", "certificate request: it is empty");
	if (rc)
		return mica_fail(
			e, MICA_INVALID, "csr_not_pem", "certificate request: %s", mine.text);
	for (size_t i = 0; i < in.len; i++)
		if (in.p[i] != '\n' && in.p[i] != '\r')
			return trailing(e);
	return MICA_OK;
}

mica_rc mica_csr_read(struct mica_slice csr, const struct mica_key_policy *policy,
	struct mica_pubkey *out, struct mica_err *e)
{
	if (csr.len > MICA_CSR_MAX)
		return mica_fail(e, MICA_LIMIT, "csr_too_large",
			"certificate request: at most %d octets are taken", MICA_CSR_MAX);
	if (!csr.len)
		return mica_fail(e, MICA_INVALID, "csr_empty", "certificate request: it is empty");
	if (csr.p[0] == MICA_DER_SEQUENCE)
		return check(csr, policy, out, e);
	MICA_AUTO_BUF der;
	mica_buf_init(&der, MICA_CSR_MAX);
	mica_rc rc = read_pem(csr, &der, e);
	return rc ? rc : check(mica_buf_slice(&der), policy, out, e);
}

/* ---- names ----------------------------------------------------------------------------------- */

#define OID_COMMON_NAME       MICA_LIT("\x55\x04\x03")
#define OID_SUBJECT_ALT       MICA_LIT("\x55\x1d\x11")
#define OID_EXTENSION_REQUEST MICA_LIT("\x2a\x86\x48\x86\xf7\x0d\x01\x09\x0e")

/* The Name is well-formed: split() has read it. */
static void read_subject(struct mica_slice subject, struct mica_csr_names *out)
{
	struct mica_der whole = mica_der(subject), name, set, attribute;

	mica_der_enter(&whole, MICA_DER_SEQUENCE, &name);
	while (name.s.len && mica_der_enter(&name, MICA_DER_SET, &set)) {
		while (set.s.len && mica_der_enter(&set, MICA_DER_SEQUENCE, &attribute)) {
			struct mica_slice oid, value;
			uint8_t tag;

			if (!mica_der_oid(&attribute, &oid) ||
				!mica_der_any(&attribute, &tag, &value, NULL) ||
				!mica_slice_eq(oid, OID_COMMON_NAME))
				continue;
			if (out->n_cn++ == 0)
				out->cn = value;
		}
	}
}

/* GeneralNames, RFC 5280 4.2.1.6. */
static bool read_alt_names(struct mica_slice value, struct mica_csr_names *out)
{
	struct mica_der d = mica_der(value), names;

	if (!mica_der_enter(&d, MICA_DER_SEQUENCE, &names) || !mica_der_end(&d) || !names.s.len)
		return false;
	while (names.s.len) {
		struct mica_slice name;
		uint8_t tag;

		if (!mica_der_any(&names, &tag, &name, NULL))
			return false;
		if (tag != MICA_DER_CTX(2))
			out->n_others++;
		else if (out->n_dns++ == 0)
			out->dns = name;
	}
	return true;
}

/* Extensions, RFC 5280 4.1: looks for subjectAltName, which may be there once. */
static bool read_extensions(struct mica_slice value, struct mica_csr_names *out, bool *found)
{
	struct mica_der d = mica_der(value), list, x;

	if (!mica_der_enter(&d, MICA_DER_SEQUENCE, &list) || !mica_der_end(&d))
		return false;
	while (list.s.len) {
		struct mica_slice oid, octets;
		bool critical;

		if (!mica_der_enter(&list, MICA_DER_SEQUENCE, &x) || !mica_der_oid(&x, &oid) ||
			(mica_der_is(&x, MICA_DER_BOOLEAN) && !mica_der_boolean(&x, &critical)) ||
			!mica_der_next(&x, MICA_DER_OCTET_STRING, &octets, NULL) ||
			!mica_der_end(&x))
			return false;
		if (!mica_slice_eq(oid, OID_SUBJECT_ALT))
			continue;
		if (*found || !read_alt_names(octets, out))
			return false;
		*found = true;
	}
	return true;
}

static bool read_attributes(struct mica_slice all, struct mica_csr_names *out)
{
	struct mica_der set = mica_der(all), attribute, values;
	bool found = false;

	while (set.s.len) {
		struct mica_slice oid, content, value;
		uint8_t tag;

		if (!mica_der_enter(&set, MICA_DER_SEQUENCE, &attribute) ||
			!mica_der_oid(&attribute, &oid) ||
			!mica_der_enter(&attribute, MICA_DER_SET, &values))
			return false;
		if (!mica_slice_eq(oid, OID_EXTENSION_REQUEST))
			continue;
		/* single-valued (RFC 2985 5.4.2) */
		if (!mica_der_any(&values, &tag, &content, &value) || !mica_der_end(&values) ||
			!read_extensions(value, out, &found))
			return false;
	}
	return true;
}

mica_rc mica_csr_names(struct mica_slice der, struct mica_csr_names *out, struct mica_err *e)
{
	struct parts p = {.info = MICA_SLICE_NULL};
	mica_rc rc;

	memset(out, 0, sizeof(*out));
	if (der.len > MICA_CSR_MAX)
		return mica_fail(e, MICA_LIMIT, "csr_too_large",
			"certificate request: at most %d octets are taken", MICA_CSR_MAX);
	if (!der.len)
		return mica_fail(e, MICA_INVALID, "csr_empty", "certificate request: it is empty");
	rc = split(der, &p, e);
	if (rc != MICA_OK)
		return rc;
	read_subject(p.subject, out);
	if (!read_attributes(p.attributes, out))
		return malformed(e, "the names that it asks for are not well-formed");
	return MICA_OK;
}
