/* SPDX-License-Identifier: Apache-2.0 */
#include "mica/verify.h"

#define ROOTS_MAX 32

struct anchor {
	uint8_t *der;
	struct mica_cert_info info; /* into der */
	struct mica_verifier *key;
};

struct mica_trust {
	char trust_domain[MICA_TD_MAX + 1];
	struct anchor *roots;
	size_t n;
};

static bool is_authority(const struct mica_cert_info *c)
{
	return c->is_ca && c->ku & MICA_KU_KEY_CERT_SIGN;
}

static mica_rc add_root(struct mica_trust *t, struct mica_slice der, struct mica_err *e)
{
	struct anchor *a = &t->roots[t->n++];
	struct mica_pubkey key;
	a->der = mica_memdup(der.p, der.len);
	mica_rc rc = mica_cert_read(mica_slice(a->der, der.len), &a->info, e);
	if (!rc)
		rc = mica_pubkey_read(a->info.spki, &key, e);
	if (rc)
		return rc;
	if (!is_authority(&a->info) || a->info.subject_empty)
		return mica_fail(e, MICA_INVALID, "not_an_authority",
			"certificate: a root has a subject, CA:TRUE and keyCertSign");
	return mica_verifier_new(&key, &a->key, e);
}

mica_rc mica_trust_new(const char *trust_domain, const struct mica_slice *roots, size_t n,
	struct mica_trust **out, struct mica_err *e)
{
	MICA_AUTO_TRUST t = MICA_NEW(struct mica_trust);
	if (n > ROOTS_MAX)
		return mica_fail(e, MICA_LIMIT, "too_many_roots", "at most %d roots", ROOTS_MAX);
	if (mica_slice_copy(mica_slice_str(trust_domain), t->trust_domain, sizeof(t->trust_domain)))
		return mica_fail(e, MICA_INVALID, "trust_domain_invalid",
			"a trust domain has at most %d octets", MICA_TD_MAX);
	t->roots = mica_calloc(n + 1, sizeof(*t->roots));
	for (size_t i = 0; i < n; i++) {
		mica_rc rc = add_root(t, roots[i], e);
		if (rc)
			return rc;
	}
	*out = MICA_STEAL(t);
	return MICA_OK;
}

void mica_trust_free(struct mica_trust *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->n; i++) {
		mica_verifier_free(t->roots[i].key);
		mica_free(t->roots[i].der);
	}
	mica_free(t->roots);
	mica_free(t);
}

/* ---- SPIFFE ID --------------------------------------------------------------------------- */

static bool is_segment_char(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		c == '.' || c == '-' || c == '_';
}

static bool is_segment(struct mica_slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!is_segment_char(s.p[i]))
			return false;
	return s.len > 0 && !mica_slice_eq_str(s, ".") && !mica_slice_eq_str(s, "..");
}

bool mica_spiffe_id_is_workload(struct mica_slice id, size_t *td_len)
{
	struct mica_slice td, segment;
	if (id.len > MICA_SPIFFE_ID_MAX || !mica_slice_has_prefix(id, MICA_LIT("spiffe://")))
		return false;
	id = mica_slice(id.p + 9, id.len - 9);
	if (!mica_slice_cut(&id, '/', &td) || td.len == 0 || td.len > MICA_TD_MAX)
		return false;
	for (size_t i = 0; i < td.len; i++)
		if (!is_segment_char(td.p[i]) || (td.p[i] >= 'A' && td.p[i] <= 'Z'))
			return false;
	*td_len = td.len;
	bool more = true;
	while (more) {
		more = mica_slice_cut(&id, '/', &segment);
		if (!is_segment(segment))
			return false;
	}
	return true;
}

/* ---- the path ---------------------------------------------------------------------------- */

static mica_rc refuse(struct mica_err *e, const char *reason, const char *text, const char *fine)
{
	return mica_fail_fine(e, MICA_UNAUTHENTICATED, reason, text, fine, "%s", fine);
}

static mica_rc rule(struct mica_err *e, const char *text)
{
	return mica_fail(e, MICA_UNAUTHENTICATED, "svid_malformed", "X.509-SVID: %s", text);
}

static mica_rc read_one(struct mica_slice der, struct mica_cert_info *c, struct mica_pubkey *key,
	struct mica_err *e)
{
	struct mica_err mine = MICA_ERR_INIT;
	mica_rc rc = mica_cert_read(der, c, &mine);
	if (!rc)
		rc = mica_pubkey_read(c->spki, key, &mine);
	if (!rc)
		return MICA_OK;
	return mica_fail_fine(e, MICA_UNAUTHENTICATED, "svid_malformed",
		"X.509-SVID: a certificate of the chain is not well-formed", mine.reason, "%s",
		mine.text);
}

static mica_rc check_time(
	const struct mica_cert_info *c, int64_t now, int64_t skew, struct mica_err *e)
{
	if (now - skew > c->not_after)
		return mica_fail(e, MICA_UNAUTHENTICATED, "svid_expired",
			"X.509-SVID: a certificate of the path has expired");
	if (now + skew < c->not_before)
		return mica_fail(e, MICA_UNAUTHENTICATED, "svid_not_yet_valid",
			"X.509-SVID: a certificate of the path is not valid yet");
	return MICA_OK;
}

/* X509-SVID 5.2 and the rules of 2 to 4 that a leaf shows. */
static mica_rc check_leaf(
	const struct mica_trust *t, const struct mica_cert_info *c, struct mica_err *e)
{
	size_t td_len = 0;
	const unsigned both = MICA_EKU_SERVER | MICA_EKU_CLIENT;
	if (c->is_ca)
		return rule(e, "an authority's certificate does not authenticate");
	if (!c->has_ku || !c->ku_critical || !(c->ku & MICA_KU_DIGITAL_SIGNATURE) ||
		c->ku & (MICA_KU_KEY_CERT_SIGN | MICA_KU_CRL_SIGN))
		return rule(e,
			"key usage must be critical, with digitalSignature and without keyCertSign and cRLSign");
	if (c->has_eku && (c->eku & both) != both)
		return rule(e, "extended key usage must have serverAuth and clientAuth");
	if (c->n_uri != 1)
		return rule(e, "expected exactly one URI SAN");
	if (c->subject_empty && !c->san_critical)
		return rule(e, "with an empty subject the SAN must be critical");
	if (!mica_spiffe_id_is_workload(c->uri[0], &td_len))
		return rule(e, "the URI SAN is not the SPIFFE ID of a workload");
	if (!mica_slice_eq_str(mica_slice(c->uri[0].p + 9, td_len), t->trust_domain))
		return mica_fail(e, MICA_UNAUTHENTICATED, "svid_wrong_trust_domain",
			"X.509-SVID: expected one of trust domain %s", t->trust_domain);
	return MICA_OK;
}

/* Whether `up` names itself as the issuer of `c`. */
static bool names_match(const struct mica_cert_info *c, const struct mica_cert_info *up)
{
	return mica_slice_eq(c->issuer, up->subject) &&
		(!c->aki.len || !up->ski.len || mica_slice_eq(c->aki, up->ski));
}

/* What RFC 5280 6.1.4 asks of an authority with `below` authorities under it in the path. Those
 * that are issued by their own name count, too: Mica makes none, and counting them is the stricter
 * way. */
static mica_rc check_authority(
	const struct mica_cert_info *c, size_t below, int64_t now, struct mica_err *e)
{
	static const char text[] = "X.509-SVID: no path to a root of this trust domain";
	if (!is_authority(c) || c->has_name_constraints)
		return refuse(e, "svid_untrusted", text, "issuer_not_authority");
	if (c->path_len >= 0 && below > (size_t)c->path_len)
		return refuse(e, "svid_untrusted", text, "path_too_long");
	return check_time(c, now, 0, e);
}

/* OK: *root ends the path. NOT_FOUND: none has issued c. Else: one claims to, and it does not hold.
 */
static mica_rc find_root(const struct mica_trust *t, const struct mica_cert_info *c, size_t below,
	int64_t now, size_t *root, struct mica_err *e)
{
	struct mica_err first = MICA_ERR_INIT;
	mica_rc rc = MICA_NOT_FOUND;
	for (size_t i = 0; i < t->n; i++) {
		const struct anchor *a = &t->roots[i];
		if (!names_match(c, &a->info))
			continue;
		if (mica_verifier_verify(a->key, c->alg, MICA_SIG_DER, c->tbs, c->signature, NULL))
			rc = refuse(&first, "svid_untrusted",
				"X.509-SVID: no path to a root of this trust domain",
				"signature_invalid");
		else if (!(rc = check_authority(&a->info, below, now, &first)))
			return (void)(*root = i), MICA_OK;
	}
	if (rc != MICA_NOT_FOUND && e)
		*e = first;
	return rc;
}

static void fill(struct mica_svid *out, const struct mica_cert_info *c)
{
	memcpy(out->spiffe_id, c->uri[0].p,
		c->uri[0].len); /* at most MICA_SPIFFE_ID_MAX: checked */
	out->spiffe_id[c->uri[0].len] = '\0';
	memcpy(out->serial, c->serial.p, c->serial.len);
	out->serial_len = (uint8_t)c->serial.len;
	out->not_before = c->not_before;
	out->not_after = c->not_after;
	if (c->aki.len == MICA_KEY_ID_LEN)
		mica_hex_encode(c->aki.p, c->aki.len, out->issuer_id);
}

/* The chain's next certificate has to have issued *cur; it becomes *cur. */
static mica_rc climb(struct mica_slice der, struct mica_cert_info *cur, size_t below, int64_t now,
	struct mica_err *e)
{
	struct mica_cert_info up;
	struct mica_pubkey key;
	mica_rc rc = read_one(der, &up, &key, e);
	if (rc)
		return rc;
	if (!names_match(cur, &up))
		return refuse(e, "svid_untrusted",
			"X.509-SVID: no path to a root of this trust domain", "issuer_unknown");
	rc = check_authority(&up, below, now, e);
	if (rc)
		return rc;
	if (mica_pubkey_verify(&key, cur->alg, MICA_SIG_DER, cur->tbs, cur->signature, NULL))
		return refuse(e, "svid_untrusted",
			"X.509-SVID: no path to a root of this trust domain", "signature_invalid");
	*cur = up;
	return MICA_OK;
}

mica_rc mica_verify_svid(const struct mica_trust *t, const struct mica_slice *chain, size_t n,
	int64_t now, int64_t skew, struct mica_svid *out, struct mica_err *e)
{
	struct mica_cert_info cur;
	*out = (struct mica_svid){.serial_len = 0};
	if (!n)
		return mica_fail(
			e, MICA_UNAUTHENTICATED, "svid_missing", "X.509-SVID: no certificate");
	mica_rc rc = read_one(chain[0], &cur, &out->key, e);
	if (!rc)
		rc = check_leaf(t, &cur, e);
	if (!rc)
		rc = check_time(&cur, now, skew, e);
	if (rc)
		return rc;
	fill(out, &cur);
	for (size_t i = 1;; i++) {
		rc = find_root(t, &cur, i - 1, now, &out->root, e);
		if (rc != MICA_NOT_FOUND)
			return rc;
		if (i == n)
			return refuse(e, "svid_untrusted",
				"X.509-SVID: no path to a root of this trust domain",
				"issuer_unknown");
		if (i == MICA_CHAIN_MAX)
			return refuse(e, "svid_untrusted",
				"X.509-SVID: no path to a root of this trust domain",
				"path_too_long");
		rc = climb(chain[i], &cur, i - 1, now, e);
		if (rc)
			return rc;
	}
}
