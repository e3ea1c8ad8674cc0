/* SPDX-License-Identifier: Apache-2.0 */
/* A compiled issuer, as issuer.c makes it and token.c uses it. Immutable. */
#ifndef MICA_CA_ISSUER_H
#define MICA_CA_ISSUER_H

#include "mica/template.h"
#include "mica/token.h"

/* of struct mica_template_field for OIDC: behind the mapped claims */
#define ISSUER_EXTRA_FIELDS 3
#define ISSUER_CLAIMS_MAX   (MICA_TEMPLATE_FIELDS_MAX - ISSUER_EXTRA_FIELDS)

struct issuer_claim {
	char *name, *claim;
};
struct issuer_require {
	char *claim, *text;
	struct mica_pattern *pattern;
};

struct mica_issuer {
	unsigned index;
	char *name, *cluster;
	struct mica_slice url;
	enum mica_issuer_kind kind;
	enum mica_review_mode review;
	bool review_allow_on_failure, allow_ps, require_pod;
	int64_t skew, renewal_max_age, max_stale;
	struct mica_string_list audiences[MICA_FRONT_COUNT], same_names_as;
	struct mica_string_list node_accounts; /* "namespace/name" */
	int64_t max_life[MICA_FRONT_COUNT];
	struct mica_template *path;
	/* Values of the template: Kubernetes as enum mica_principal_field; OIDC the mapped claims,
	 * then sub, cluster, issuer. */
	size_t n_values;
	struct issuer_claim *claims;
	unsigned n_claims;
	struct issuer_require *require;
	unsigned n_require;
	struct mica_slice td_prefix; /* "spiffe://<trust domain>", shared */
};

struct mica_issuers {
	unsigned n;
	struct mica_issuer *v;
	char td_prefix[MICA_SPIFFE_ID_MAX + 1];
	size_t td_prefix_len;
	/* What a caller learns about a token that proves nothing, by front. */
	char expected[MICA_FRONT_COUNT][MICA_ERR_TEXT_MAX];
};

const struct mica_issuer *mica_issuers_by_url(const struct mica_issuers *s, struct mica_slice url);

/* The name in the tokens that Kubernetes made before 1.22, which hold for ever. */
#define LEGACY_ISSUER "kubernetes/serviceaccount"

#endif
