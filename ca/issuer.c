/* SPDX-License-Identifier: Apache-2.0 */
/* Issuers: what a configuration says of them, compiled and held against each other. */
#include "mica/spiffeid.h"

#include <stdio.h>

#include "issuer.h"

#define URL_MAX  512
#define AUD_MAX  255
#define LIFE_MAX (366 * 86400)
#define SKEW_MAX 600

struct builder {
	struct mica_issuers *s;
	const struct mica_issuer_config *config;
	struct mica_issuer_fault *fault;
	struct mica_err *e;
};

/* Says where, then refuses. */
MICA_PRINTF(5, 6)
static mica_rc refuse(const struct builder *b, unsigned issuer, const char *setting,
	const char *reason, const char *fmt, ...)
{
	char text[MICA_ERR_TEXT_MAX];
	const char *name = b->config[issuer].name;
	va_list ap;

	if (b->fault)
		*b->fault = (struct mica_issuer_fault){.issuer = issuer, .setting = setting};
	va_start(ap, fmt);
	if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
		text[0] = '\0';
	va_end(ap);
	return mica_fail(b->e, MICA_INVALID, reason, "issuer %.63s: %s", name ? name : "", text);
}

/* The same for what another part has refused. */
static mica_rc refused(
	const struct builder *b, unsigned issuer, const char *setting, const struct mica_err *why)
{
	mica_rc rc = refuse(b, issuer, setting, why->reason, "%s: %s", setting, why->text);

	if (b->e && b->e->rc == rc)
		b->e->column = why->column;
	return rc;
}

static bool is_visible(struct mica_slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.p[i] <= ' ' || s.p[i] >= 0x7f)
			return false;
	return s.len > 0;
}

static bool has_char(struct mica_slice s, uint8_t c)
{
	return s.len && memchr(s.p, c, s.len) != NULL;
}

/* ---- one issuer ------------------------------------------------------------------------- */

static bool name_ok(const char *name)
{
	return name && mica_dns_label_ok(mica_slice_str(name));
}

static mica_rc check_url(const struct builder *b, unsigned i)
{
	struct mica_slice url = mica_slice_str(b->config[i].issuer);
	bool kubernetes = b->config[i].kind == MICA_ISSUER_KUBERNETES;
	bool https = mica_slice_has_prefix(url, MICA_LIT("https://")) && url.len > 8 &&
		url.p[8] != '/' && url.p[8] != ':';

	if (mica_slice_eq_str(url, LEGACY_ISSUER))
		return refuse(b, i, "issuer", "issuer_url_invalid",
			"\"%s\" is the issuer of tokens without end or audience, which are never accepted; "
			"expected the cluster's --service-account-issuer",
			LEGACY_ISSUER);
	/* kube-apiserver takes a URI, or a name without ':' */
	bool form = https || (kubernetes && !has_char(url, ':'));
	if (!form || url.len > URL_MAX || !is_visible(url) || has_char(url, '?') ||
		has_char(url, '#') || has_char(url, '@'))
		return refuse(b, i, "issuer", "issuer_url_invalid",
			"\"%.*s\" is not an issuer; expected https://host[:port][/path], exactly as in `iss`",
			MICA_FMT(url));
	return MICA_OK;
}

static mica_rc copy_audiences(const struct builder *b, unsigned i)
{
	struct mica_issuer *to = &b->s->v[i];
	const struct mica_issuer_config *from = &b->config[i];
	unsigned all = 0;

	for (int f = 0; f < MICA_FRONT_COUNT; f++) {
		const struct mica_string_list *l = &from->audiences[f];
		to->audiences[f].v = mica_calloc(l->n + 1, sizeof(char *));
		for (unsigned k = 0; k < l->n; k++, all++) {
			struct mica_slice aud = mica_slice_str(l->v[k]);
			if (!is_visible(aud) || aud.len > AUD_MAX)
				return refuse(b, i, "audiences", "issuer_audience_invalid",
					"an audience is empty, too long or not visible ASCII; expected 1 to %d characters",
					AUD_MAX);
			to->audiences[f].v[to->audiences[f].n++] = mica_strdup(l->v[k]);
		}
		to->max_life[f] = from->max_token_life[f];
		if (l->n && (to->max_life[f] < 1 || to->max_life[f] > LIFE_MAX))
			return refuse(b, i, "max_token_life", "issuer_lifetime_invalid",
				"the longest life of a token is out of bounds; expected 1 s to 366 d");
	}
	return all ? MICA_OK
		   : refuse(b, i, "audiences", "issuer_audience_invalid",
			     "no audience on any front; a token must be made for us");
}

static mica_rc copy_scalars(const struct builder *b, unsigned i)
{
	struct mica_issuer *to = &b->s->v[i];
	const struct mica_issuer_config *from = &b->config[i];

	to->index = i;
	to->kind = from->kind;
	to->name = mica_strdup(from->name);
	to->cluster = mica_strdup(from->cluster ? from->cluster : "");
	to->url = mica_slice_str(mica_strdup(from->issuer));
	to->review = from->review.mode;
	to->review_allow_on_failure = from->review.allow_on_failure;
	to->allow_ps = from->keys.allow_ps;
	to->require_pod = from->require_pod;
	to->skew = from->skew;
	to->renewal_max_age = from->renewal_max_age;
	to->max_stale = from->keys.max_stale;
	to->td_prefix = mica_slice(b->s->td_prefix, b->s->td_prefix_len);
	to->same_names_as.v = mica_calloc(from->same_names_as.n + 1, sizeof(char *));
	for (unsigned k = 0; k < from->same_names_as.n; k++)
		to->same_names_as.v[to->same_names_as.n++] = mica_strdup(from->same_names_as.v[k]);
	to->node_accounts.v = mica_calloc(from->impersonation.accounts.n + 1, sizeof(char *));
	for (unsigned k = 0; k < from->impersonation.accounts.n; k++)
		to->node_accounts.v[to->node_accounts.n++] =
			mica_strdup(from->impersonation.accounts.v[k]);
	struct mica_slice cluster = mica_slice_str(to->cluster);
	if (cluster.len && (cluster.len > MICA_NAME_MAX || !mica_spiffe_segment_ok(cluster)))
		return refuse(b, i, "cluster", "issuer_cluster_invalid",
			"the cluster's name is no name; expected 1 to %d of [A-Za-z0-9._-]",
			MICA_NAME_MAX);
	if (to->skew < 0 || to->skew > SKEW_MAX || to->renewal_max_age < 0)
		return refuse(b, i, "skew", "issuer_lifetime_invalid",
			"skew or renewal_max_age is out of bounds; expected a skew of 0 to %d s",
			SKEW_MAX);
	return MICA_OK;
}

static bool field_name_ok(const char *name)
{
	struct mica_slice s = mica_slice_str(name);

	for (size_t i = 0; i < s.len; i++)
		if (!(s.p[i] >= 'a' && s.p[i] <= 'z') &&
			!(i && (s.p[i] == '_' || (s.p[i] >= '0' && s.p[i] <= '9'))))
			return false;
	return s.len > 0 && s.len <= MICA_NAME_MAX;
}

static const struct mica_template_field extra_fields[ISSUER_EXTRA_FIELDS] = {
	{.name = "sub"}, {.name = "cluster"}, {.name = "issuer"}};

static bool name_taken(const struct mica_issuer *to, const char *name)
{
	for (unsigned k = 0; k < to->n_claims; k++)
		if (strcmp(to->claims[k].name, name) == 0)
			return true;
	for (size_t k = 0; k < ISSUER_EXTRA_FIELDS; k++)
		if (strcmp(extra_fields[k].name, name) == 0)
			return true;
	return false;
}

static mica_rc copy_claims(const struct builder *b, unsigned i)
{
	struct mica_issuer *to = &b->s->v[i];
	const struct mica_issuer_config *from = &b->config[i];

	if (to->kind == MICA_ISSUER_KUBERNETES && (from->n_claims || from->n_require))
		return refuse(b, i, from->n_claims ? "claims" : "require", "issuer_claim_invalid",
			"claims are mapped for kind oidc; a Kubernetes token has its own");
	if (from->n_claims > ISSUER_CLAIMS_MAX || from->n_require > ISSUER_CLAIMS_MAX)
		return refuse(b, i, "claims", "issuer_claim_invalid", "expected at most %d claims",
			ISSUER_CLAIMS_MAX);
	to->claims = mica_calloc(from->n_claims + 1, sizeof(*to->claims));
	for (unsigned k = 0; k < from->n_claims; k++) {
		const struct mica_claim_map *m = &from->claims[k];
		if (!m->name || !field_name_ok(m->name) || name_taken(to, m->name) || !m->claim ||
			!*m->claim)
			return refuse(b, i, "claims", "issuer_claim_invalid",
				"\"%.63s\" cannot name a mapped claim; expected [a-z][a-z0-9_]*, once, and not sub, cluster or issuer",
				m->name ? m->name : "");
		to->claims[to->n_claims++] = (struct issuer_claim){
			.name = mica_strdup(m->name), .claim = mica_strdup(m->claim)};
	}
	return MICA_OK;
}

static mica_rc copy_require(const struct builder *b, unsigned i)
{
	struct mica_issuer *to = &b->s->v[i];
	const struct mica_issuer_config *from = &b->config[i];

	to->require = mica_calloc(from->n_require + 1, sizeof(*to->require));
	for (unsigned k = 0; k < from->n_require; k++) {
		struct mica_err why = MICA_ERR_INIT;
		struct mica_pattern *p = NULL;
		const struct mica_claim_require *m = &from->require[k];
		if (!m->claim || !*m->claim)
			return refuse(b, i, "require", "issuer_claim_invalid",
				"a required claim has no name");
		if (mica_pattern_compile(mica_slice_str(m->pattern), &p, &why))
			return refused(b, i, "require", &why);
		to->require[to->n_require++] =
			(struct issuer_require){.claim = mica_strdup(m->claim),
				.text = mica_strdup(m->pattern),
				.pattern = p};
	}
	return MICA_OK;
}

/* Kubernetes: the fields of a principal. OIDC: mapped claims, sub, cluster, issuer. What is the
 * same for all tokens becomes a literal, so that it can keep issuers' names apart. */
static size_t make_fields(
	const struct mica_issuer *is, struct mica_template_field f[MICA_TEMPLATE_FIELDS_MAX])
{
	size_t n = 0;

	if (is->kind == MICA_ISSUER_KUBERNETES) {
		memcpy(f, mica_principal_fields, sizeof(mica_principal_fields));
		f[MICA_PF_CLUSTER].constant = is->cluster;
		f[MICA_PF_ISSUER].constant = is->name;
		return MICA_PF_COUNT;
	}
	for (; n < is->n_claims; n++)
		f[n] = (struct mica_template_field){.name = is->claims[n].name};
	memcpy(f + n, extra_fields, sizeof(extra_fields));
	f[n + 1].constant = is->cluster;
	f[n + 2].constant = is->name;
	return n + ISSUER_EXTRA_FIELDS;
}

static mica_rc compile_path(const struct builder *b, unsigned i)
{
	struct mica_issuer *to = &b->s->v[i];
	struct mica_template_field fields[MICA_TEMPLATE_FIELDS_MAX];
	struct mica_err why = MICA_ERR_INIT;

	to->n_values = make_fields(to, fields);
	if (mica_template_compile(MICA_TEMPLATE_PATH, mica_slice_str(b->config[i].spiffe_path),
		    fields, to->n_values, &to->path, &why))
		return refused(b, i, "spiffe_path", &why);
	return MICA_OK;
}

static mica_rc build_issuer(const struct builder *b, unsigned i)
{
	static mica_rc (*const steps[])(const struct builder *, unsigned) = {
		check_url, copy_scalars, copy_audiences, copy_claims, copy_require, compile_path};

	if (!name_ok(b->config[i].name))
		return refuse(b, i, "name", "issuer_name_invalid",
			"expected a name of 1 to 63 of [a-z0-9-]");
	b->s->n = i + 1;
	for (size_t k = 0; k < MICA_ARRAY_LEN(steps); k++) {
		mica_rc rc = steps[k](b, i);
		if (rc)
			return rc;
	}
	return MICA_OK;
}

/* ---- all of them ------------------------------------------------------------------------ */

static bool lists(const struct mica_issuer *a, const struct mica_issuer *b)
{
	for (unsigned k = 0; k < a->same_names_as.n; k++)
		if (strcmp(a->same_names_as.v[k], b->name) == 0)
			return true;
	return false;
}

static bool linked(const struct mica_issuer *a, const struct mica_issuer *b)
{
	return lists(a, b) || lists(b, a);
}

/* Whether equal names mean the same for both: the same template over the same claims. */
static bool same_meaning(const struct mica_issuer *a, const struct mica_issuer *b)
{
	if (a->kind != b->kind || !mica_template_same(a->path, b->path))
		return false;
	for (unsigned k = 0; k < a->n_claims; k++) {
		bool same = !mica_template_uses(a->path, k);
		for (unsigned m = 0; m < b->n_claims; m++)
			same = same ||
				(!strcmp(a->claims[k].name, b->claims[m].name) &&
					!strcmp(a->claims[k].claim, b->claims[m].claim));
		if (!same)
			return false;
	}
	return true;
}

/* No configuration may let one issuer speak for another's names. */
static mica_rc check_pair(const struct builder *b, unsigned i, unsigned k)
{
	const struct mica_issuer *x = &b->s->v[i], *y = &b->s->v[k];
	struct mica_err why = MICA_ERR_INIT;

	if (strcmp(x->name, y->name) == 0)
		return refuse(b, i, "name", "issuer_name_duplicate", "the name stands twice");
	if (mica_slice_eq(x->url, y->url))
		return refuse(b, i, "issuer", "issuer_url_duplicate",
			"%s has the same issuer URL; a token's `iss` belongs to one issuer",
			y->name);
	if (x->cluster[0] && !strcmp(x->cluster, y->cluster) && !linked(x, y))
		return refuse(b, i, "cluster", "issuer_cluster_invalid",
			"%s has the cluster's name %s too; expected another, or same_names_as: [%s]",
			y->name, x->cluster, y->name);
	if (mica_template_disjoint(x->path, y->path, &why) == MICA_OK)
		return MICA_OK;
	if (!linked(x, y))
		return refuse(b, i, "spiffe_path", "names_overlap",
			"could speak for names of %s: %s, or same_names_as: [%s]", y->name,
			why.text, y->name);
	return same_meaning(x, y)
		? MICA_OK
		: refuse(b, i, "same_names_as", "names_overlap",
			  "has same_names_as with %s, but %s there and %s here give one name to different things; expected the same kind, template and claims",
			  y->name, mica_template_text(y->path), mica_template_text(x->path));
}

static mica_rc check_links(const struct builder *b, unsigned i)
{
	const struct mica_issuer *is = &b->s->v[i];

	for (unsigned k = 0; k < is->same_names_as.n; k++) {
		const struct mica_issuer *to = mica_issuers_named(b->s, is->same_names_as.v[k]);
		if (to == NULL || to == is)
			return refuse(b, i, "same_names_as", "same_names_unknown",
				"same_names_as names \"%.63s\"; expected another configured issuer",
				is->same_names_as.v[k]);
	}
	return MICA_OK;
}

static mica_rc check_all(const struct builder *b)
{
	for (unsigned i = 0; i < b->s->n; i++) {
		mica_rc rc = check_links(b, i);
		for (unsigned k = 0; k < i && !rc; k++)
			rc = check_pair(b, i, k);
		if (rc)
			return rc;
	}
	return MICA_OK;
}

static bool seen_before(const struct mica_issuers *s, int front, unsigned i, unsigned k)
{
	const char *aud = s->v[i].audiences[front].v[k];

	for (unsigned x = 0; x <= i; x++)
		for (unsigned y = 0; y < (x == i ? k : s->v[x].audiences[front].n); y++)
			if (strcmp(s->v[x].audiences[front].v[y], aud) == 0)
				return true;
	return false;
}

static void make_expected(struct mica_issuers *s, int front)
{
	MICA_AUTO_BUF b;
	unsigned n = 0;

	mica_buf_init(&b, 320);
	for (unsigned i = 0; i < s->n; i++)
		for (unsigned k = 0; k < s->v[i].audiences[front].n && n < 8; k++)
			if (!seen_before(s, front, i, k))
				mica_buf_printf(&b, "%s%.*s", n++ ? " or " : "",
					MICA_FMT(mica_slice_str(s->v[i].audiences[front].v[k])));
	snprintf(s->expected[front], sizeof(s->expected[front]),
		n ? "expected a valid token for the audience %s, signed by a configured issuer, as a compact JWS (header.payload.signature)"
		  : "no issuer is configured for tokens here%s",
		n ? (const char *)b.p : "");
}

mica_rc mica_issuers_new(const char *trust_domain, const struct mica_issuer_config *config,
	unsigned n, struct mica_issuers **out, struct mica_issuer_fault *fault, struct mica_err *e)
{
	MICA_AUTO_ISSUERS s = MICA_NEW(struct mica_issuers);
	const struct builder b = {.s = s, .config = config, .fault = fault, .e = e};
	mica_rc rc = mica_trust_domain_check(mica_slice_str(trust_domain), e);

	if (!rc)
		rc = mica_spiffe_id_make(
			mica_slice_str(trust_domain), MICA_SLICE_NULL, s->td_prefix, e);
	if (rc)
		return rc;
	s->td_prefix_len = strlen(s->td_prefix);
	s->v = mica_calloc(n + 1, sizeof(*s->v));
	for (unsigned i = 0; i < n && !rc; i++)
		rc = build_issuer(&b, i);
	if (!rc)
		rc = check_all(&b);
	if (rc)
		return rc;
	for (int f = 0; f < MICA_FRONT_COUNT; f++)
		make_expected(s, f);
	*out = MICA_STEAL(s);
	return MICA_OK;
}

static void free_list(struct mica_string_list *l)
{
	for (unsigned i = 0; i < l->n; i++)
		mica_free(l->v[i]);
	mica_free(l->v);
}

static void clear_issuer(struct mica_issuer *is)
{
	mica_free(is->name);
	mica_free(is->cluster);
	mica_free((void *)(uintptr_t)is->url.p);
	for (int f = 0; f < MICA_FRONT_COUNT; f++)
		free_list(&is->audiences[f]);
	free_list(&is->same_names_as);
	free_list(&is->node_accounts);
	for (unsigned k = 0; k < is->n_claims; k++) {
		mica_free(is->claims[k].name);
		mica_free(is->claims[k].claim);
	}
	mica_free(is->claims);
	for (unsigned k = 0; k < is->n_require; k++) {
		mica_free(is->require[k].claim);
		mica_free(is->require[k].text);
		mica_pattern_free(is->require[k].pattern);
	}
	mica_free(is->require);
	mica_template_free(is->path);
}

void mica_issuers_free(struct mica_issuers *s)
{
	if (s == NULL)
		return;
	for (unsigned i = 0; i < s->n; i++)
		clear_issuer(&s->v[i]);
	mica_free(s->v);
	mica_free(s);
}

/* ---- looking ---------------------------------------------------------------------------- */

unsigned mica_issuers_count(const struct mica_issuers *s)
{
	return s->n;
}

const struct mica_issuer *mica_issuers_at(const struct mica_issuers *s, unsigned i)
{
	return i < s->n ? &s->v[i] : NULL;
}

const struct mica_issuer *mica_issuers_named(const struct mica_issuers *s, const char *name)
{
	for (unsigned i = 0; i < s->n; i++)
		if (strcmp(s->v[i].name, name) == 0)
			return &s->v[i];
	return NULL;
}

const struct mica_issuer *mica_issuers_by_url(const struct mica_issuers *s, struct mica_slice url)
{
	for (unsigned i = 0; i < s->n; i++)
		if (mica_slice_eq(s->v[i].url, url))
			return &s->v[i];
	return NULL;
}

unsigned mica_issuer_index(const struct mica_issuer *i)
{
	return i->index;
}

const char *mica_issuer_name(const struct mica_issuer *i)
{
	return i->name;
}

const char *mica_issuer_url(const struct mica_issuer *i)
{
	return (const char *)i->url.p;
}

const char *mica_issuer_cluster(const struct mica_issuer *i)
{
	return i->cluster;
}

enum mica_issuer_kind mica_issuer_kind(const struct mica_issuer *i)
{
	return i->kind;
}

enum mica_review_mode mica_issuer_review(const struct mica_issuer *i)
{
	return i->review;
}

bool mica_issuer_review_allow_on_failure(const struct mica_issuer *i)
{
	return i->review_allow_on_failure;
}

int64_t mica_issuer_renewal_max_age(const struct mica_issuer *i)
{
	return i->renewal_max_age;
}

int64_t mica_issuer_max_stale(const struct mica_issuer *i)
{
	return i->max_stale;
}

struct mica_jwks_options mica_issuer_jwks_options(const struct mica_issuer *i)
{
	return (struct mica_jwks_options){.allow_ps = i->allow_ps};
}

const struct mica_string_list *mica_issuer_audiences(
	const struct mica_issuer *i, enum mica_front front)
{
	return &i->audiences[front];
}

bool mica_issuer_may_name(const struct mica_issuer *i, struct mica_slice spiffe_id)
{
	return spiffe_id.len <= MICA_SPIFFE_ID_MAX &&
		mica_slice_has_prefix(spiffe_id, i->td_prefix) &&
		mica_template_matches(
			i->path, mica_slice_sub(spiffe_id, i->td_prefix.len, spiffe_id.len));
}

mica_rc mica_issuer_name_pod(
	const struct mica_issuer *i, struct mica_principal *p, struct mica_err *e)
{
	struct mica_slice values[MICA_PF_COUNT];

	if (i->kind != MICA_ISSUER_KUBERNETES)
		return mica_fail(
			e, MICA_DENIED, "name_value_missing", "issuer %s knows no pods", i->name);
	mica_principal_values(p, values);
	memcpy(p->spiffe_id, i->td_prefix.p, i->td_prefix.len);
	return mica_template_expand(i->path, values, i->n_values, p->spiffe_id + i->td_prefix.len,
		sizeof(p->spiffe_id) - i->td_prefix.len, NULL, e);
}

/* ---- warnings ----------------------------------------------------------------------------- */

MICA_PRINTF(2, 3)
static void warn(struct mica_string_list *out, const char *fmt, ...)
{
	char text[MICA_ERR_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	if (vsnprintf(text, sizeof(text), fmt, ap) < 0)
		text[0] = '\0';
	va_end(ap);
	out->v = mica_realloc(out->v, out->n + 1, sizeof(char *));
	out->v[out->n++] = mica_strdup(text);
}

void mica_issuers_warnings(const struct mica_issuers *s, const struct mica_string_list *role_ids,
	struct mica_string_list *out)
{
	for (unsigned i = 0; i < s->n; i++) {
		const struct mica_issuer *is = &s->v[i];
		bool kubernetes = is->kind == MICA_ISSUER_KUBERNETES;
		for (unsigned k = 0; role_ids && k < role_ids->n; k++)
			if (mica_issuer_may_name(is, mica_slice_str(role_ids->v[k])))
				warn(out,
					"a role is given to %.255s, a name that issuer %s can make",
					role_ids->v[k], is->name);
		if (kubernetes &&
			!(mica_template_uses(is->path, MICA_PF_NAMESPACE) &&
				mica_template_uses(is->path, MICA_PF_SERVICEACCOUNT)))
			warn(out,
				"issuer %s: spiffe_path %.255s lacks {namespace} or {serviceaccount}, so several service accounts share a name",
				is->name, mica_template_text(is->path));
		if (!kubernetes && is->n_require == 0)
			warn(out,
				"issuer %s: no required claims, so everybody this issuer knows can get a certificate",
				is->name);
	}
}
