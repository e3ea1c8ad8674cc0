/* SPDX-License-Identifier: Apache-2.0 */
#include "ca_check.h"

#include <stdio.h>

/* RFC 5280 4.2.1.2: what we and most others make. It stands in every leaf, and in indexes. */
#define KEY_ID_LEN MICA_KEY_ID_LEN

MICA_PRINTF(3, 4)
static mica_rc refuse(struct mica_err *e, const char *reason, const char *fmt, ...)
{
	char text[MICA_ERR_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
		text[0] = '\0';
	va_end(ap);
	return mica_fail(e, MICA_INVALID, reason, "authority's certificate: %s", text);
}

mica_rc mica_ca_cert_read(struct mica_slice der, struct mica_ca_cert *out, struct mica_err *e)
{
	mica_rc rc = mica_cert_read(der, &out->info, e);

	if (rc == MICA_OK)
		rc = mica_pubkey_read(out->info.spki, &out->key, e);
	if (rc == MICA_OK)
		mica_pubkey_id_hex(&out->key, out->id);
	return rc;
}

bool mica_ca_cert_is_root(const struct mica_ca_cert *c)
{
	return mica_slice_eq(c->info.subject, c->info.issuer);
}

bool mica_ca_cert_names(const struct mica_ca_cert *c, const struct mica_ca_cert *up)
{
	return mica_slice_eq(c->info.issuer, up->info.subject) &&
		(!c->info.aki.len || !up->info.ski.len || mica_slice_eq(c->info.aki, up->info.ski));
}

void mica_ca_rules_of(const struct mica_rotation_policy *p, const char *trust_domain, int64_t now,
	bool own_profile, struct mica_ca_rules *out)
{
	*out = (struct mica_ca_rules){.trust_domain = trust_domain,
		.now = now,
		.skew = p->skew,
		/* MICA_RR_ISSUING_LIFE, MICA_RR_ROOT_LIFE */
		.issuing_least = 3 * p->max_leaf_ttl + p->propagation,
		.root_least = 3 * (3 * p->max_leaf_ttl + p->propagation),
		.own_profile = own_profile};
}

/* ---- one certificate ---------------------------------------------------------------------------
 */

/* Design 8.4: the URI of the trust domain. A SPIFFE ID on an authority has no path (X509-SVID 2).
 */
static mica_rc check_uri(
	const struct mica_ca_rules *r, const struct mica_cert_info *c, struct mica_err *e)
{
	size_t ours = 0;

	if (c->n_uri > MICA_ARRAY_LEN(c->uri))
		return refuse(e, "ca_trust_domain", "it has %zu URIs; expected at most %zu",
			c->n_uri, MICA_ARRAY_LEN(c->uri));
	for (size_t i = 0; i < c->n_uri; i++) {
		struct mica_slice id = c->uri[i];

		if (!mica_slice_has_prefix(id, MICA_LIT("spiffe://")))
			continue;
		id = mica_slice_sub(id, 9, id.len);
		if (!mica_slice_eq_str(id, r->trust_domain))
			return refuse(e, "ca_trust_domain",
				"its URI is %.*s; expected spiffe://%s or none",
				MICA_FMT(c->uri[i]), r->trust_domain);
		ours++;
	}
	if (r->own_profile && (ours != 1 || c->n_uri != 1))
		return refuse(e, "ca_uri_missing",
			"expected exactly one URI, spiffe://%s, in subjectAltName; does the signer "
			"use the extensions of the request?",
			r->trust_domain);
	return MICA_OK;
}

/* What strict clients refuse, and a keeper who uses the extensions of the request cannot get wrong
 * (RFC 5280 4.2.1.9, 4.2.1.2, 4.2.1.1; without cRLSign there can be no CRL). Authorities that
 * others have made for themselves often have less: Istio's have no cRLSign and no identifiers. */
static mica_rc check_strictly(const struct mica_cert_info *c, struct mica_err *e)
{
	if (!c->basic_critical)
		return refuse(e, "ca_not_authority",
			"basicConstraints is not critical, which strict clients refuse");
	if (!(c->ku & MICA_KU_CRL_SIGN))
		return refuse(e, "ca_key_usage",
			"keyUsage lacks cRLSign, so it could never revoke anything");
	if (!c->ski.len)
		return refuse(e, "ca_key_id",
			"it has no subjectKeyIdentifier, which strict clients refuse");
	if (!c->aki.len && !mica_slice_eq(c->subject, c->issuer))
		return refuse(e, "ca_key_id",
			"it has no authorityKeyIdentifier, which strict clients refuse");
	return MICA_OK;
}

static mica_rc check_usage(
	const struct mica_ca_rules *r, const struct mica_cert_info *c, struct mica_err *e)
{
	const unsigned both = MICA_EKU_SERVER | MICA_EKU_CLIENT;

	if (!c->is_ca)
		return refuse(e, "ca_not_authority",
			"basicConstraints is not CA:TRUE, so nothing that it signs would be believed");
	if (!c->has_ku || !c->ku_critical || !(c->ku & MICA_KU_KEY_CERT_SIGN))
		return refuse(e, "ca_key_usage", "keyUsage must be critical, with keyCertSign");
	if (c->has_eku && !(c->eku & MICA_EKU_ANY) && (c->eku & both) != both)
		return refuse(e, "ca_ext_key_usage",
			"extendedKeyUsage leaves out serverAuth or clientAuth, which leaves have; "
			"expected both, or no extendedKeyUsage");
	if (c->has_name_constraints)
		return refuse(e, "ca_name_constraints",
			"it has name constraints, which are not held here");
	if (c->ski.len && c->ski.len != KEY_ID_LEN)
		return refuse(e, "ca_key_id",
			"its subjectKeyIdentifier has %zu octets; expected %d", c->ski.len,
			KEY_ID_LEN);
	if (c->subject_empty)
		return refuse(e, "ca_subject_empty", "it has no subject, so nobody can name it");
	return r->own_profile ? check_strictly(c, e) : MICA_OK;
}

static mica_rc check_time(const struct mica_ca_rules *r, const struct mica_cert_info *c,
	int64_t least, struct mica_err *e)
{
	int64_t from = c->not_before > r->now ? c->not_before : r->now;
	char end[MICA_TIME_SIZE];

	mica_time_format(c->not_after, end);
	if (r->now > c->not_after)
		return refuse(e, "ca_expired", "it ended at %s", end);
	if (c->not_after - from < least)
		return refuse(e, "ca_too_short",
			"it ends at %s, %lld seconds from %s; expected at least %lld", end,
			(long long)(c->not_after - from), from == r->now ? "now" : "its beginning",
			(long long)least);
	return MICA_OK;
}

static bool verifies(const struct mica_ca_cert *c, const struct mica_pubkey *by)
{
	return mica_pubkey_verify(by, c->info.alg, MICA_SIG_DER, c->info.tbs, c->info.signature,
		       NULL) == MICA_OK;
}

mica_rc mica_ca_check_root(
	const struct mica_ca_rules *r, const struct mica_ca_cert *c, struct mica_err *e)
{
	struct mica_ca_rules loose = *r;
	char begin[MICA_TIME_SIZE];
	mica_rc rc = check_usage(r, &c->info, e);

	loose.own_profile = false; /* a root may be older than Mica */
	if (rc == MICA_OK)
		rc = check_uri(&loose, &c->info, e);
	if (rc == MICA_OK)
		rc = check_time(r, &c->info, r->root_least, e);
	if (rc != MICA_OK)
		return rc;
	mica_time_format(c->info.not_before, begin);
	if (c->info.not_before > r->now + r->skew)
		return refuse(e, "ca_not_yet_valid",
			"a root that begins at %s cannot be published now", begin);
	if (!mica_ca_cert_is_root(c) || !verifies(c, &c->key))
		return refuse(e, "ca_not_self_signed",
			"a root is signed by its own key; most clients take nothing else as the end of "
			"a path");
	return MICA_OK;
}

mica_rc mica_ca_check_issuing(
	const struct mica_ca_rules *r, const struct mica_ca_cert *c, struct mica_err *e)
{
	mica_rc rc = check_usage(r, &c->info, e);

	if (rc == MICA_OK && c->key.type == MICA_KN_ED25519)
		rc = refuse(e, "ca_key_type",
			"its key is Ed25519; expected P-256, P-384 or RSA, as of authorities.key_type");
	if (rc == MICA_OK)
		rc = check_uri(r, &c->info, e);
	if (rc == MICA_OK && r->own_profile && c->info.path_len != 0)
		rc = refuse(e, "ca_path_length",
			"expected pathlen:0 in basicConstraints, for it signs leaves alone");
	return rc == MICA_OK ? check_time(r, &c->info, r->issuing_least, e) : rc;
}

/* ---- the path ----------------------------------------------------------------------------------
 */

/* `up` names itself the issuer of `c`; `below` authorities stand under it. */
static mica_rc check_step(const struct mica_ca_rules *r, const struct mica_ca_cert *c,
	const struct mica_ca_cert *up, size_t below, struct mica_err *e)
{
	char end[2][MICA_TIME_SIZE];
	mica_rc rc;

	if (!verifies(c, &up->key))
		return refuse(e, "ca_signature",
			"the certificate that it names as its issuer has another key than the one that "
			"signed it");
	rc = check_usage(r, &up->info, e);
	if (rc == MICA_OK && up->info.path_len >= 0 && below > (size_t)up->info.path_len)
		return refuse(e, "ca_path_length",
			"one above it allows %d authorities below it, and there are %zu",
			up->info.path_len, below);
	if (rc == MICA_OK)
		rc = check_time(r, &up->info, 0, e);
	mica_time_format(c->info.not_after, end[0]);
	mica_time_format(up->info.not_after, end[1]);
	if (rc == MICA_OK && r->own_profile && c->info.not_after > up->info.not_after)
		return refuse(e, "ca_outlives_issuer",
			"it ends at %s, behind its issuer's end at %s: nothing is issued past that",
			end[0], end[1]);
	return rc;
}

static bool find_issuer(const struct mica_ca_cert *c, const struct mica_ca_cert *list, size_t n,
	bool roots, size_t *at)
{
	bool found = false;

	for (size_t i = 0; i < n; i++) {
		if (mica_ca_cert_is_root(&list[i]) != roots || !mica_ca_cert_names(c, &list[i]))
			continue;
		/* of several of one name the one whose key it is */
		if (!found || verifies(c, &list[i].key))
			*at = i;
		found = true;
	}
	return found;
}

mica_rc mica_ca_find_path(const struct mica_ca_rules *r, const struct mica_ca_cert *c,
	const struct mica_ca_cert *pool, size_t n_pool, const struct mica_ca_cert *roots,
	size_t n_roots, size_t path[MICA_AUTHORITY_CHAIN_MAX], size_t *n, size_t *root,
	struct mica_err *e)
{
	const struct mica_ca_cert *cur = c;
	mica_rc rc = MICA_OK;
	size_t at;

	for (*n = 0; rc == MICA_OK; cur = &pool[at], path[(*n)++] = at) {
		if (find_issuer(cur, roots, n_roots, true, root))
			return check_step(r, cur, &roots[*root], *n + 1, e);
		if (!find_issuer(cur, pool, n_pool, false, &at))
			return refuse(e, "ca_issuer_unknown",
				"%s is no root, and none of the certificates that came with it%s",
				*n ? "the issuer of one between" : "its issuer",
				*n ? " continues the path" : "");
		if (*n == MICA_AUTHORITY_CHAIN_MAX)
			return refuse(e, "ca_path_length",
				"more than %d certificates stand between it and a root",
				MICA_AUTHORITY_CHAIN_MAX);
		rc = check_step(r, cur, &pool[at], *n + 1, e);
	}
	return rc;
}
