/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates: the reader, then the writer. sign_certificate() is where Mica signs them. */
#include "mica/cert.h"

#include "x509.h"

#include <stdio.h>

/* ---- reading ------------------------------------------------------------------------------- */

static mica_rc malformed(struct mica_err *e, const char *what)
{
	return mica_fail(e, MICA_INVALID, "cert_malformed", "certificate: %s", what);
}

/* DirectoryString and the other strings of X.520; PrintableString's alphabet is often broken and
 * not looked at, as names are compared octet by octet. */
static bool is_string(uint8_t tag, struct mica_slice v)
{
	switch (tag) {
	case MICA_DER_UTF8_STRING: return mica_slice_is_utf8(v);
	case MICA_DER_PRINTABLE_STRING:
	case MICA_DER_IA5_STRING:
	case 0x12: /* NumericString */
	case 0x14: /* TeletexString */
	case 0x1a: /* VisibleString */ return true;
	case 0x1c: /* UniversalString */ return v.len % 4 == 0;
	case 0x1e: /* BMPString */ return v.len % 2 == 0;
	default: return false;
	}
}

bool mica_x509_name(struct mica_der *d, struct mica_slice *whole, bool *empty)
{
	struct mica_der name, set, attribute;
	struct mica_slice content = MICA_SLICE_NULL, v;
	uint8_t tag;
	if (!mica_der_next(d, MICA_DER_SEQUENCE, &content, whole))
		return false;
	name = mica_der(content);
	*empty = content.len == 0;
	while (name.s.len) {
		if (!mica_der_enter(&name, MICA_DER_SET, &set))
			return false;
		do {
			if (!mica_der_enter(&set, MICA_DER_SEQUENCE, &attribute) ||
				!mica_der_oid(&attribute, &v) ||
				!mica_der_any(&attribute, &tag, &v, NULL) || !is_string(tag, v) ||
				!mica_der_end(&attribute))
				return false;
		} while (set.s.len);
	}
	return true;
}

static mica_rc read_basic(
	struct mica_der *d, bool critical, struct mica_cert_info *c, struct mica_err *e)
{
	struct mica_der in;
	uint32_t len;
	c->has_basic = true;
	c->basic_critical = critical;
	if (!mica_der_enter(d, MICA_DER_SEQUENCE, &in))
		return malformed(e, "BasicConstraints");
	if (mica_der_is(&in, MICA_DER_BOOLEAN)) {
		/* DER leaves out a default, so what is written is TRUE. */
		if (!mica_der_boolean(&in, &c->is_ca) || !c->is_ca)
			return malformed(e, "BasicConstraints");
	}
	if (in.s.len) {
		if (!mica_der_u32(&in, &len) || len > 255 || !c->is_ca)
			return malformed(e, "BasicConstraints: path length");
		c->path_len = (int)len;
	}
	return mica_der_end(&in) ? MICA_OK : malformed(e, "BasicConstraints");
}

static mica_rc read_ku(
	struct mica_der *d, bool critical, struct mica_cert_info *c, struct mica_err *e)
{
	c->has_ku = true;
	c->ku_critical = critical;
	/* RFC 5280 4.2.1.3: at least one bit is set. */
	return mica_der_named_bits(d, &c->ku) && c->ku && c->ku <= 0x1ff ? MICA_OK
									 : malformed(e, "KeyUsage");
}

static const struct {
	struct mica_slice oid;
	unsigned bit;
} purposes[] = {
	{MICA_LIT("\x2b\x06\x01\x05\x05\x07\x03\x01"), MICA_EKU_SERVER},
	{MICA_LIT("\x2b\x06\x01\x05\x05\x07\x03\x02"), MICA_EKU_CLIENT},
	{MICA_LIT("\x55\x1d\x25\x00"), MICA_EKU_ANY},
};

static mica_rc read_eku(
	struct mica_der *d, bool critical, struct mica_cert_info *c, struct mica_err *e)
{
	struct mica_der in;
	(void)critical;
	c->has_eku = true;
	if (!mica_der_enter(d, MICA_DER_SEQUENCE, &in) || !in.s.len)
		return malformed(e, "ExtendedKeyUsage");
	while (in.s.len) {
		struct mica_slice oid;
		unsigned bit = MICA_EKU_OTHER;
		if (!mica_der_oid(&in, &oid))
			return malformed(e, "ExtendedKeyUsage");
		for (size_t i = 0; i < MICA_ARRAY_LEN(purposes); i++)
			if (mica_slice_eq(oid, purposes[i].oid))
				bit = purposes[i].bit;
		c->eku |= bit;
	}
	return MICA_OK;
}

static mica_rc read_ski(
	struct mica_der *d, bool critical, struct mica_cert_info *c, struct mica_err *e)
{
	(void)critical;
	return mica_der_next(d, MICA_DER_OCTET_STRING, &c->ski, NULL) && c->ski.len &&
			c->ski.len <= 64
		? MICA_OK
		: malformed(e, "SubjectKeyIdentifier");
}

static mica_rc read_aki(
	struct mica_der *d, bool critical, struct mica_cert_info *c, struct mica_err *e)
{
	struct mica_der in;
	(void)critical;
	if (!mica_der_enter(d, MICA_DER_SEQUENCE, &in))
		return malformed(e, "AuthorityKeyIdentifier");
	if (mica_der_is(&in, MICA_DER_CTX(0)))
		mica_der_next(&in, MICA_DER_CTX(0), &c->aki, NULL);
	if (mica_der_is(&in, MICA_DER_CTX_C(1))) /* issuer and serial: not used */
		mica_der_next(&in, MICA_DER_CTX_C(1), NULL, NULL);
	if (mica_der_is(&in, MICA_DER_CTX(2)))
		mica_der_next(&in, MICA_DER_CTX(2), NULL, NULL);
	return mica_der_end(&in) && c->aki.len <= 64 ? MICA_OK
						     : malformed(e, "AuthorityKeyIdentifier");
}

/* IA5 without control octets: a NUL in a name has fooled many. */
static bool is_text(struct mica_slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.p[i] <= 0x20 || s.p[i] >= 0x7f)
			return false;
	return s.len > 0;
}

static mica_rc read_name(
	uint8_t tag, struct mica_slice v, struct mica_cert_info *c, struct mica_err *e)
{
	switch (tag) {
	case MICA_DER_CTX(6):
		if (!is_text(v))
			return malformed(e, "a URI in SubjectAltName");
		if (c->n_uri < MICA_ARRAY_LEN(c->uri))
			c->uri[c->n_uri] = v;
		c->n_uri++;
		return MICA_OK;
	case MICA_DER_CTX(2):
		if (!is_text(v))
			return malformed(e, "a DNS name in SubjectAltName");
		if (c->n_dns == MICA_CERT_NAMES_MAX)
			break;
		c->dns[c->n_dns++] = v;
		return MICA_OK;
	case MICA_DER_CTX(7):
		if (v.len != 4 && v.len != 16)
			return malformed(e, "an IP address in SubjectAltName");
		if (c->n_ip == MICA_CERT_NAMES_MAX)
			break;
		c->ip[c->n_ip++] = v;
		return MICA_OK;
	case MICA_DER_CTX_C(0):
	case MICA_DER_CTX(1):
	case MICA_DER_CTX_C(3):
	case MICA_DER_CTX_C(4):
	case MICA_DER_CTX_C(5):
	case MICA_DER_CTX(8): c->n_other++; return MICA_OK;
	default: return malformed(e, "SubjectAltName");
	}
	return mica_fail(e, MICA_INVALID, "cert_too_many_names",
		"certificate: more than %d names of one kind", MICA_CERT_NAMES_MAX);
}

static mica_rc read_san(
	struct mica_der *d, bool critical, struct mica_cert_info *c, struct mica_err *e)
{
	struct mica_der in;
	c->has_san = true;
	c->san_critical = critical;
	if (!mica_der_enter(d, MICA_DER_SEQUENCE, &in) || !in.s.len)
		return malformed(e, "SubjectAltName");
	while (in.s.len) {
		uint8_t tag;
		struct mica_slice v;
		if (!mica_der_any(&in, &tag, &v, NULL))
			return malformed(e, "SubjectAltName");
		mica_rc rc = read_name(tag, v, c, e);
		if (rc)
			return rc;
	}
	return MICA_OK;
}

/* id-ce is 2.5.29: one octet tells these apart. */
static const struct {
	uint8_t id;
	mica_rc (*read)(
		struct mica_der *d, bool critical, struct mica_cert_info *c, struct mica_err *e);
} extensions[] = {
	{14, read_ski},
	{15, read_ku},
	{17, read_san},
	{19, read_basic},
	{35, read_aki},
	{37, read_eku},
};
#define ID_NAME_CONSTRAINTS 30
#define EXTENSIONS_MAX      32

static mica_rc read_extension(struct mica_slice oid, bool critical, struct mica_slice value,
	struct mica_cert_info *c, struct mica_err *e)
{
	uint8_t id = oid.len == 3 && oid.p[0] == 0x55 && oid.p[1] == 0x1d ? oid.p[2] : 0;
	struct mica_der d = mica_der(value);
	for (size_t i = 0; i < MICA_ARRAY_LEN(extensions); i++) {
		if (extensions[i].id != id)
			continue;
		mica_rc rc = extensions[i].read(&d, critical, c, e);
		if (!rc && !mica_der_end(&d))
			rc = malformed(e, "data behind an extension's value");
		return rc;
	}
	c->has_name_constraints = c->has_name_constraints || id == ID_NAME_CONSTRAINTS;
	if (critical) /* RFC 5280 4.2 */
		return mica_fail(e, MICA_INVALID, "cert_extension_unknown",
			"certificate: a critical extension is not understood");
	return MICA_OK;
}

static mica_rc read_extensions(struct mica_der *tbs, struct mica_cert_info *c, struct mica_err *e)
{
	struct mica_der outer, list;
	struct mica_slice seen[EXTENSIONS_MAX];
	size_t n = 0;
	if (!mica_der_enter(tbs, MICA_DER_CTX_C(3), &outer) ||
		!mica_der_enter(&outer, MICA_DER_SEQUENCE, &list) || !mica_der_end(&outer) ||
		!list.s.len)
		return malformed(e, "extensions");
	while (list.s.len) {
		struct mica_der x;
		struct mica_slice oid = MICA_SLICE_NULL, value = MICA_SLICE_NULL;
		bool critical = false;
		if (!mica_der_enter(&list, MICA_DER_SEQUENCE, &x) || !mica_der_oid(&x, &oid))
			return malformed(e, "an extension");
		if (mica_der_is(&x, MICA_DER_BOOLEAN) &&
			(!mica_der_boolean(&x, &critical) || !critical))
			return malformed(e, "an extension's criticality");
		if (!mica_der_next(&x, MICA_DER_OCTET_STRING, &value, NULL) || !mica_der_end(&x))
			return malformed(e, "an extension");
		for (size_t i = 0; i < n; i++)
			if (mica_slice_eq(seen[i], oid))
				return mica_fail(e, MICA_INVALID, "cert_extension_twice",
					"certificate: an extension stands twice");
		if (n == EXTENSIONS_MAX)
			return malformed(e, "too many extensions");
		seen[n++] = oid;
		mica_rc rc = read_extension(oid, critical, value, c, e);
		if (rc)
			return rc;
	}
	return MICA_OK;
}

static mica_rc read_tbs(struct mica_slice content, struct mica_slice outer_alg,
	struct mica_cert_info *c, struct mica_err *e)
{
	struct mica_der d = mica_der(content), version, validity;
	struct mica_slice alg = MICA_SLICE_NULL;
	uint32_t v = 0;
	bool empty;
	if (!mica_der_enter(&d, MICA_DER_CTX_C(0), &version) || !mica_der_u32(&version, &v) ||
		!mica_der_end(&version) || v != 2)
		return malformed(e, "not version 3");
	if (!mica_der_unsigned(&d, &c->serial) || c->serial.len > 20 ||
		(c->serial.len == 1 && c->serial.p[0] == 0))
		return malformed(e, "the serial number must be positive and at most 20 octets");
	if (!mica_der_next(&d, MICA_DER_SEQUENCE, NULL, &alg) || !mica_slice_eq(alg, outer_alg))
		return malformed(e, "the two signature algorithms differ");
	if (!mica_x509_name(&d, &c->issuer, &empty) || empty)
		return malformed(e, "the issuer's name");
	if (!mica_der_enter(&d, MICA_DER_SEQUENCE, &validity) ||
		!mica_der_time(&validity, &c->not_before) ||
		!mica_der_time(&validity, &c->not_after) || !mica_der_end(&validity))
		return malformed(e, "the validity");
	if (!mica_x509_name(&d, &c->subject, &c->subject_empty))
		return malformed(e, "the subject's name");
	if (!mica_der_next(&d, MICA_DER_SEQUENCE, NULL, &c->spki))
		return malformed(e, "the public key");
	mica_rc rc = read_extensions(&d, c, e);
	if (!rc && !mica_der_end(&d))
		rc = malformed(e, "data behind the extensions");
	return rc;
}

mica_rc mica_cert_read(struct mica_slice der, struct mica_cert_info *out, struct mica_err *e)
{
	struct mica_der d = mica_der(der), in;
	struct mica_slice tbs = MICA_SLICE_NULL, alg = MICA_SLICE_NULL;
	*out = (struct mica_cert_info){.der = der, .path_len = -1};
	if (der.len > MICA_CERT_MAX)
		return mica_fail(e, MICA_LIMIT, "cert_too_large",
			"certificate: at most %d octets are taken", MICA_CERT_MAX);
	if (!mica_der_enter(&d, MICA_DER_SEQUENCE, &in) || !mica_der_end(&d) ||
		!mica_der_next(&in, MICA_DER_SEQUENCE, &tbs, &out->tbs) ||
		!mica_der_next(&in, MICA_DER_SEQUENCE, NULL, &alg) ||
		!mica_der_bits(&in, &out->signature) || !mica_der_end(&in))
		return malformed(e, "not a certificate in DER");
	mica_rc rc = mica_sig_alg_read(alg, &out->alg, e);
	return rc ? rc : read_tbs(tbs, alg, out, e);
}

/* ---- writing: what an authority is ------------------------------------------------------- */

struct mica_cert_issuer {
	const struct mica_signer *signer;
	uint8_t *der;
	struct mica_cert_info info; /* into der */
	char id[MICA_KEY_ID_SIZE];
	/* Ready pieces of every certificate under it. */
	struct mica_slice alg;
	uint8_t aki[96];
	size_t aki_len;
};

static const uint8_t oid_aki[] = {0x06, 3, 0x55, 0x1d, 35};
static const uint8_t oid_ski[] = {0x06, 3, 0x55, 0x1d, 14};
static const uint8_t oid_san[] = {0x06, 3, 0x55, 0x1d, 17};
static const uint8_t oid_crl_points[] = {0x06, 3, 0x55, 0x1d, 31};
static const uint8_t critical_true[] = {0x01, 1, 0xff};

/* Whole Extension elements. */
static const uint8_t ext_not_ca[] = {
	0x30, 12, 0x06, 3, 0x55, 0x1d, 19, 0x01, 1, 0xff, 0x04, 2, 0x30, 0};
static const uint8_t ext_ca[] = {
	0x30, 15, 0x06, 3, 0x55, 0x1d, 19, 0x01, 1, 0xff, 0x04, 5, 0x30, 3, 0x01, 1, 0xff};
static const uint8_t ext_ca_path_0[] = {0x30, 18, 0x06, 3, 0x55, 0x1d, 19, 0x01, 1, 0xff, 0x04, 8,
	0x30, 6, 0x01, 1, 0xff, 0x02, 1, 0};
static const uint8_t ext_ku_leaf[] = {0x30, 14, 0x06, 3, 0x55, 0x1d, 15, 0x01, 1, 0xff, 0x04, 4,
	0x03, 2, 7, 0x80}; /* digitalSignature */
static const uint8_t ext_ku_ca[] = {0x30, 14, 0x06, 3, 0x55, 0x1d, 15, 0x01, 1, 0xff, 0x04, 4, 0x03,
	2, 1, 0x06}; /* keyCertSign, cRLSign */
static const uint8_t ext_eku[] = {0x30, 29, 0x06, 3, 0x55, 0x1d, 37, 0x04, 22, 0x30, 20, 0x06, 8,
	0x2b, 6, 1, 5, 5, 7, 3, 1, 0x06, 8, 0x2b, 6, 1, 5, 5, 7, 3, 2};

/* Extension { AKI, { [0] id } } */
static void write_aki(struct mica_derw *w, struct mica_slice id)
{
	size_t mark = mica_derw_mark(w);
	mica_derw_prim(w, MICA_DER_CTX(0), id.p, id.len);
	mica_derw_wrap(w, mark, MICA_DER_SEQUENCE);
	mica_derw_wrap(w, mark, MICA_DER_OCTET_STRING);
	mica_derw_put(w, oid_aki, sizeof(oid_aki));
	mica_derw_wrap(w, mark, MICA_DER_SEQUENCE);
}

static void write_ski(struct mica_derw *w, struct mica_slice id)
{
	size_t mark = mica_derw_mark(w);
	mica_derw_prim(w, MICA_DER_OCTET_STRING, id.p, id.len);
	mica_derw_wrap(w, mark, MICA_DER_OCTET_STRING);
	mica_derw_put(w, oid_ski, sizeof(oid_ski));
	mica_derw_wrap(w, mark, MICA_DER_SEQUENCE);
}

static inline void auto_issuer_(struct mica_cert_issuer **p)
{
	mica_cert_issuer_free(*p);
}
#define AUTO_ISSUER __attribute__((cleanup(auto_issuer_))) struct mica_cert_issuer *

static mica_rc check_issuer(struct mica_cert_issuer *i, struct mica_err *e)
{
	struct mica_pubkey key;
	mica_rc rc = mica_pubkey_read(i->info.spki, &key, e);
	if (rc)
		return rc;
	if (!i->info.is_ca || !(i->info.ku & MICA_KU_KEY_CERT_SIGN))
		return mica_fail(e, MICA_INVALID, "not_an_authority",
			"certificate: an authority has CA:TRUE and keyCertSign");
	if (!mica_pubkey_eq(&key, mica_signer_public(i->signer)))
		return mica_fail(e, MICA_INVALID, "key_mismatch",
			"certificate: it is for another key than the one that is held");
	return i->info.subject_empty ? malformed(e, "an authority without a subject") : MICA_OK;
}

mica_rc mica_cert_issuer_new(struct mica_slice cert_der, const struct mica_signer *signer,
	struct mica_cert_issuer **out, struct mica_err *e)
{
	AUTO_ISSUER i = MICA_NEW(struct mica_cert_issuer);
	uint8_t id[MICA_KEY_ID_LEN];
	i->signer = signer;
	i->der = mica_memdup(cert_der.p, cert_der.len);
	mica_rc rc = mica_cert_read(mica_slice(i->der, cert_der.len), &i->info, e);
	if (!rc)
		rc = check_issuer(i, e);
	if (rc)
		return rc;

	/* A certificate that others made may have no key identifier, or one of another length. */
	mica_pubkey_id(mica_signer_public(signer), id);
	struct mica_slice ski = i->info.ski.len ? i->info.ski : mica_slice(id, sizeof(id));
	mica_hex_encode(ski.len == sizeof(id) ? ski.p : id, sizeof(id), i->id);
	struct mica_derw w = mica_derw(i->aki, sizeof(i->aki));
	write_aki(&w, ski);
	struct mica_slice aki = mica_derw_slice(&w);
	memmove(i->aki, aki.p, aki.len);
	i->aki_len = aki.len;
	i->alg = mica_sig_alg_der(mica_signer_alg(signer));
	*out = MICA_STEAL(i);
	return MICA_OK;
}

void mica_cert_issuer_free(struct mica_cert_issuer *i)
{
	if (!i)
		return;
	mica_free(i->der);
	mica_free(i);
}

struct mica_slice mica_cert_issuer_der(const struct mica_cert_issuer *i)
{
	return i->info.der;
}

const char *mica_cert_issuer_id(const struct mica_cert_issuer *i)
{
	return i->id;
}

int64_t mica_cert_issuer_not_before(const struct mica_cert_issuer *i)
{
	return i->info.not_before;
}

int64_t mica_cert_issuer_not_after(const struct mica_cert_issuer *i)
{
	return i->info.not_after;
}

void mica_cert_issuer_parts(const struct mica_cert_issuer *i, struct mica_issuer_parts *out)
{
	*out = (struct mica_issuer_parts){.subject = i->info.subject,
		.aki = mica_slice(i->aki, i->aki_len),
		.signer = i->signer,
		.signs_crls = !i->info.has_ku || (i->info.ku & MICA_KU_CRL_SIGN)};
}

void mica_serial_make(int64_t now_ms, uint8_t serial[MICA_SERIAL_LEN])
{
	mica_random(serial + 6, MICA_SERIAL_LEN - 6);
	for (int i = 5; i >= 0; i--, now_ms >>= 8)
		serial[i] = (uint8_t)now_ms;
	serial[0] &= 0x7f;
	serial[6] &= 0x7f;
}

/* ---- writing: what a certificate says ---------------------------------------------------- */

#define ORGANIZATION_MAX 64 /* RFC 5280 A.1 ub-organization-name */

static void write_attribute(struct mica_derw *w, uint8_t id, const char *text)
{
	const uint8_t oid[] = {0x06, 3, 0x55, 0x04, id};
	size_t mark = mica_derw_mark(w);
	mica_derw_prim(w, MICA_DER_UTF8_STRING, text, strlen(text));
	mica_derw_put(w, oid, sizeof(oid));
	mica_derw_wrap(w, mark, MICA_DER_SEQUENCE);
	mica_derw_wrap(w, mark, MICA_DER_SET);
}

/* O=<trust domain>[, CN=...]; a trust domain that is longer than O may be stands in the SAN alone.
 */
static void write_subject(struct mica_derw *w, const char *trust_domain, const char *cn)
{
	size_t mark = mica_derw_mark(w);
	if (cn)
		write_attribute(w, 3, cn);
	if (*trust_domain)
		write_attribute(
			w, 10, strlen(trust_domain) > ORGANIZATION_MAX ? "SPIFFE" : trust_domain);
	mica_derw_wrap(w, mark, MICA_DER_SEQUENCE);
}

/* Wraps the GeneralNames written since `mark`. */
static void close_san(struct mica_derw *w, size_t mark, bool critical)
{
	mica_derw_wrap(w, mark, MICA_DER_SEQUENCE);
	mica_derw_wrap(w, mark, MICA_DER_OCTET_STRING);
	if (critical)
		mica_derw_put(w, critical_true, sizeof(critical_true));
	mica_derw_put(w, oid_san, sizeof(oid_san));
	mica_derw_wrap(w, mark, MICA_DER_SEQUENCE);
}

static void write_dns(struct mica_derw *w, const char *name)
{
	mica_derw_prim(w, MICA_DER_CTX(2), name, strlen(name));
}

/* RFC 5280 4.2.1.13: one point, by its full name; nothing for NULL. */
static void write_crl_point(struct mica_derw *w, const char *url)
{
	size_t mark = mica_derw_mark(w);
	if (!url)
		return;
	mica_derw_prim(w, MICA_DER_CTX(6), url, strlen(url));
	mica_derw_wrap(w, mark, MICA_DER_CTX_C(0)); /* fullName */
	mica_derw_wrap(w, mark, MICA_DER_CTX_C(0)); /* distributionPoint */
	mica_derw_wrap(w, mark, MICA_DER_SEQUENCE);
	mica_derw_wrap(w, mark, MICA_DER_SEQUENCE);
	mica_derw_wrap(w, mark, MICA_DER_OCTET_STRING);
	mica_derw_put(w, oid_crl_points, sizeof(oid_crl_points));
	mica_derw_wrap(w, mark, MICA_DER_SEQUENCE);
}

static void write_leaf_san(struct mica_derw *w, const struct mica_leaf_spec *s)
{
	size_t mark = mica_derw_mark(w);
	for (size_t i = s->n_ip; i-- > 0;)
		mica_derw_prim(w, MICA_DER_CTX(7), s->ip[i].p, s->ip[i].len);
	for (size_t i = s->n_dns; i-- > 0;)
		write_dns(w, s->dns[i]);
	if (s->uri)
		mica_derw_prim(w, MICA_DER_CTX(6), s->uri, strlen(s->uri));
	if (s->dns_first)
		write_dns(w, s->dns_first);
	/* X509-SVID 3.1: critical when the subject is empty. */
	close_san(w, mark, !*s->trust_domain);
}

/* Extensions stand in this order: BasicConstraints, KeyUsage, ExtendedKeyUsage, SKI, AKI, SAN, CRL
 * distribution point. */
static void write_leaf_extensions(
	struct mica_derw *w, const struct mica_leaf_spec *s, const struct mica_cert_issuer *by)
{
	write_crl_point(w, s->crl_url);
	write_leaf_san(w, s);
	mica_derw_put(w, by->aki, by->aki_len);
	mica_derw_put(w, ext_eku, sizeof(ext_eku));
	mica_derw_put(w, ext_ku_leaf, sizeof(ext_ku_leaf));
	mica_derw_put(w, ext_not_ca, sizeof(ext_not_ca));
}

void mica_x509_put_ca_extensions(struct mica_derw *w, const char *trust_domain,
	enum mica_ca_kind kind, const char *crl_url, struct mica_slice ski, struct mica_slice aki)
{
	size_t mark;
	if (kind == MICA_CA_ISSUING)
		write_crl_point(w, crl_url);
	mark = mica_derw_mark(w);
	mica_derw_put(w, trust_domain, strlen(trust_domain));
	mica_derw_put(w, "spiffe://", 9);
	mica_derw_wrap(w, mark, MICA_DER_CTX(6));
	close_san(w, mark, false);
	if (aki.len)
		write_aki(w, aki);
	write_ski(w, ski);
	mica_derw_put(w, ext_ku_ca, sizeof(ext_ku_ca));
	if (kind == MICA_CA_ROOT)
		mica_derw_put(w, ext_ca, sizeof(ext_ca));
	else
		mica_derw_put(w, ext_ca_path_0, sizeof(ext_ca_path_0));
}

void mica_x509_put_ca_subject(struct mica_derw *w, const char *trust_domain, enum mica_ca_kind kind,
	const struct mica_pubkey *key)
{
	char id[MICA_KEY_ID_SIZE], cn[ORGANIZATION_MAX];
	mica_pubkey_id_hex(key, id);
	snprintf(cn, sizeof(cn), "Mica %s %s", kind == MICA_CA_ROOT ? "root" : "issuing", id);
	write_subject(w, trust_domain, cn);
}

/* The decision to sign: exactly one of `leaf` and `ca`; `by` is NULL for a root, which signs
 * itself. */
struct decision {
	const struct mica_leaf_spec *leaf;
	const struct mica_ca_spec *ca;
	const struct mica_pubkey *key;
	const uint8_t *serial;
	int64_t not_before, not_after;
	const struct mica_cert_issuer *by;
	const struct mica_signer *signer;
};

static void write_tbs(struct mica_derw *w, const struct decision *d)
{
	enum mica_ca_kind kind = d->by ? MICA_CA_ISSUING : MICA_CA_ROOT;
	uint8_t ski[MICA_KEY_ID_LEN];
	size_t all = mica_derw_mark(w), mark = all;
	if (d->leaf) {
		write_leaf_extensions(w, d->leaf, d->by);
	} else {
		mica_pubkey_id(d->key, ski);
		struct mica_slice own = mica_slice(ski, sizeof(ski));
		mica_x509_put_ca_extensions(w, d->ca->trust_domain, kind, d->ca->crl_url, own,
			d->by && d->by->info.ski.len ? d->by->info.ski : own);
	}
	mica_derw_wrap(w, mark, MICA_DER_SEQUENCE);
	mica_derw_wrap(w, mark, MICA_DER_CTX_C(3));
	mica_derw_put_slice(w, mica_pubkey_spki(d->key));
	if (d->leaf)
		write_subject(w, d->leaf->trust_domain, NULL);
	else
		mica_x509_put_ca_subject(w, d->ca->trust_domain, kind, d->key);
	mark = mica_derw_mark(w);
	mica_derw_time(w, d->not_after);
	mica_derw_time(w, d->not_before);
	mica_derw_wrap(w, mark, MICA_DER_SEQUENCE);
	if (d->by)
		mica_derw_put_slice(w, d->by->info.subject);
	else
		mica_x509_put_ca_subject(w, d->ca->trust_domain, kind, d->key);
	mica_derw_put_slice(w, mica_sig_alg_der(mica_signer_alg(d->signer)));
	mica_derw_prim(w, MICA_DER_INTEGER, d->serial, MICA_SERIAL_LEN);
	mica_derw_put(w, "\xa0\x03\x02\x01\x02", 5); /* version 3 */
	mica_derw_wrap(w, all, MICA_DER_SEQUENCE);
}

/* ---- writing: signing --------------------------------------------------------------------- */

static void put_certificate(struct mica_buf *out, struct mica_slice tbs, struct mica_slice alg,
	const uint8_t *sig, size_t sig_len)
{
	uint8_t tail[MICA_SIG_MAX + 128];
	struct mica_derw w = mica_derw(tail, sizeof(tail));
	mica_derw_bits(&w, sig, sig_len);
	mica_derw_put_slice(&w, alg);
	struct mica_slice end = mica_derw_slice(&w);

	size_t len = tbs.len + end.len; /* always above 255: a key, a signature, two names */
	const uint8_t head[4] = {MICA_DER_SEQUENCE, 0x82, (uint8_t)(len >> 8), (uint8_t)len};
	mica_buf_put(out, head, sizeof(head));
	mica_buf_put_slice(out, tbs);
	mica_buf_put_slice(out, end);
}

static mica_rc check_decision(const struct decision *d, struct mica_err *e)
{
	if (d->not_after <= d->not_before)
		return mica_fail(e, MICA_INVALID, "validity_empty",
			"certificate: it would end before it begins");
	if (d->by &&
		(d->not_before < d->by->info.not_before || d->not_after > d->by->info.not_after))
		return mica_fail(e, MICA_INVALID, "outside_issuer_validity",
			"certificate: it must begin and end within its issuer's validity");
	/* DER would shorten a serial whose first octet is 0, and read one above 7f as negative. */
	if (d->serial[0] == 0 || d->serial[0] & 0x80)
		return mica_fail(e, MICA_INVALID, "serial_invalid",
			"certificate: the serial number must be positive and 16 octets long");
	return MICA_OK;
}

/* The one place where Mica signs a certificate. */
static mica_rc sign_certificate(const struct decision *d, struct mica_buf *out, struct mica_err *e)
{
	MICA_UNINIT uint8_t room[MICA_CERT_MAX - MICA_SIG_MAX - 128];
	uint8_t sig[MICA_SIG_MAX];
	struct mica_derw w = mica_derw(room, sizeof(room));
	size_t sig_len = sizeof(sig);
	mica_rc rc = check_decision(d, e);
	if (rc)
		return rc;
	write_tbs(&w, d);
	if (!mica_derw_ok(&w))
		return mica_fail(e, MICA_LIMIT, "too_many_names",
			"certificate: it would be larger than %d octets", MICA_CERT_MAX);
	struct mica_slice tbs = mica_derw_slice(&w);
	rc = mica_signer_sign(d->signer, MICA_SIG_DER, tbs, sig, &sig_len, e);
	/* A fault in an authority's signature could give its key away: it is checked before it
	 * leaves. For a leaf that would cost three times the signing; readiness probes the key
	 * instead. */
	if (!rc && d->ca &&
		mica_pubkey_verify(mica_signer_public(d->signer), mica_signer_alg(d->signer),
			MICA_SIG_DER, tbs, mica_slice(sig, sig_len), NULL))
		rc = mica_fail(e, MICA_UNAVAILABLE, "signing_failed", "signing failed; try again");
	if (rc)
		return rc;
	put_certificate(out, tbs, mica_sig_alg_der(mica_signer_alg(d->signer)), sig, sig_len);
	return mica_buf_rc(out, e);
}

static bool is_dns(const char *s)
{
	static const char taken[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_*";
	size_t n = strlen(s);
	return n > 0 && n <= 253 && strspn(s, taken) == n;
}

static mica_rc bad_name(struct mica_err *e, const char *what)
{
	return mica_fail(e, MICA_INVALID, "name_invalid", "certificate: %s", what);
}

static mica_rc check_names(const struct mica_leaf_spec *s, struct mica_err *e)
{
	if (s->n_dns > MICA_LEAF_DNS_MAX || s->n_ip > MICA_LEAF_IP_MAX)
		return mica_fail(e, MICA_LIMIT, "too_many_names",
			"certificate: at most %d DNS names and %d addresses", MICA_LEAF_DNS_MAX,
			MICA_LEAF_IP_MAX);
	struct mica_slice uri = mica_slice_str(s->uri);
	if (!s->uri && !s->dns_first)
		return bad_name(e, "nobody is named");
	if (s->uri &&
		(!mica_slice_has_prefix(uri, MICA_LIT("spiffe://")) ||
			uri.len > MICA_SPIFFE_ID_MAX || !is_text(uri)))
		return bad_name(e, "the URI must be a SPIFFE ID of at most 2048 octets");
	if (s->crl_url && !is_text(mica_slice_str(s->crl_url)))
		return bad_name(e, "where the CRL is must be a URL");
	if (s->dns_first && !is_dns(s->dns_first))
		return bad_name(e, "a DNS name has letters, digits, '.', '-', '_' or '*'");
	for (size_t i = 0; i < s->n_dns; i++)
		if (!is_dns(s->dns[i]))
			return bad_name(e, "a DNS name has letters, digits, '.', '-', '_' or '*'");
	for (size_t i = 0; i < s->n_ip; i++)
		if (s->ip[i].len != 4 && s->ip[i].len != 16)
			return bad_name(e, "an IP address has 4 or 16 octets");
	return MICA_OK;
}

static bool is_self_issued(const struct mica_cert_issuer *i)
{
	return mica_slice_eq(i->info.issuer, i->info.subject);
}

mica_rc mica_leaf_sign(const struct mica_cert_issuer *issuer, const struct mica_leaf_spec *spec,
	struct mica_buf *out, struct mica_err *e)
{
	if (is_self_issued(issuer))
		return mica_fail(e, MICA_INVALID, "issuer_not_for_leaves",
			"certificate: a root signs authorities only");
	mica_rc rc = check_names(spec, e);
	if (rc)
		return rc;
	const struct decision d = {.leaf = spec,
		.key = spec->key,
		.serial = spec->serial,
		.not_before = spec->not_before,
		.not_after = spec->not_after,
		.by = issuer,
		.signer = issuer->signer};
	return sign_certificate(&d, out, e);
}

static mica_rc sign_ca(const struct mica_signer *signer, const struct mica_cert_issuer *by,
	const struct mica_ca_spec *spec, struct mica_buf *out, struct mica_err *e)
{
	if (!*spec->trust_domain || strlen(spec->trust_domain) > MICA_TD_MAX)
		return bad_name(e, "an authority needs a trust domain of at most 255 octets");
	if (spec->crl_url && !is_text(mica_slice_str(spec->crl_url)))
		return bad_name(e, "where the CRL is must be a URL");
	const struct decision d = {.ca = spec,
		.key = spec->key ? spec->key : mica_signer_public(signer),
		.serial = spec->serial,
		.not_before = spec->not_before,
		.not_after = spec->not_after,
		.by = by,
		.signer = signer};
	return sign_certificate(&d, out, e);
}

mica_rc mica_root_sign(const struct mica_signer *signer, const struct mica_ca_spec *spec,
	struct mica_buf *out, struct mica_err *e)
{
	if (spec->kind != MICA_CA_ROOT ||
		(spec->key && !mica_pubkey_eq(spec->key, mica_signer_public(signer))))
		return mica_fail(e, MICA_INVALID, "key_mismatch",
			"certificate: a root is signed by its own key");
	return sign_ca(signer, NULL, spec, out, e);
}

mica_rc mica_issuing_sign(const struct mica_cert_issuer *root, const struct mica_ca_spec *spec,
	struct mica_buf *out, struct mica_err *e)
{
	if (root->info.path_len == 0 || spec->kind != MICA_CA_ISSUING || !spec->key)
		return mica_fail(e, MICA_INVALID, "issuer_not_for_authorities",
			"certificate: an issuing authority is signed by a root, for a key of its own");
	return sign_ca(root->signer, root, spec, out, e);
}
