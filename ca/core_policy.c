/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration as the core decides by it: rules, roles, bounds, and who gets nothing. */
#include "core_impl.h"
#include "join.h"

#include <inttypes.h>
#include <openssl/sha.h>

#define POLICY_TEXT_MAX (4 << 20)

/* ---- who gets nothing ------------------------------------------------------------------------ */

void mica_core_denials_add_id(struct core_denials *d, const char *id)
{
	d->ids = mica_realloc(d->ids, d->n_ids + 1, sizeof(char *));
	d->ids[d->n_ids++] = mica_strdup(id);
}

void mica_core_denials_add_pod(struct core_denials *d, const struct mica_uid *pod)
{
	d->pods = mica_realloc(d->pods, d->n_pods + 1, sizeof(*pod));
	d->pods[d->n_pods++] = *pod;
}

void mica_core_denials_add_key(struct core_denials *d, const uint8_t key[32])
{
	d->keys = mica_realloc(d->keys, d->n_keys + 1, sizeof(*d->keys));
	memcpy(d->keys[d->n_keys++], key, 32);
}

static int cmp_id(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int cmp_pod(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct mica_uid));
}

void mica_core_denials_sort(struct core_denials *d)
{
	if (d->n_ids > 1)
		qsort(d->ids, d->n_ids, sizeof(char *), cmp_id);
	if (d->n_pods > 1)
		qsort(d->pods, d->n_pods, sizeof(*d->pods), cmp_pod);
	mica_key_denied_sort(d->keys, d->n_keys);
}

void mica_core_denials_clear(struct core_denials *d)
{
	for (size_t i = 0; i < d->n_ids; i++)
		mica_free(d->ids[i]);
	mica_free(d->ids);
	mica_free(d->pods);
	mica_free(d->keys);
	memset(d, 0, sizeof(*d));
}

static bool has_id(const struct core_denials *d, struct mica_slice id)
{
	size_t from = 0, to = d->n_ids;

	while (from < to) {
		size_t at = from + (to - from) / 2;
		size_t len = strlen(d->ids[at]);
		int c = memcmp(id.p, d->ids[at], id.len < len ? id.len : len);

		if (c == 0)
			c = id.len < len ? -1 : id.len > len;
		if (c == 0)
			return true;
		*(c < 0 ? &to : &from) = c < 0 ? at : at + 1;
	}
	return false;
}

/* The ID itself, and each one above it. */
static bool denies_id(const struct core_denials *d, struct mica_slice id)
{
	for (size_t i = sizeof(MICA_SPIFFE_SCHEME) - 1; i < id.len; i++)
		if (id.p[i] == '/' && has_id(d, mica_slice(id.p, i)))
			return true;
	return has_id(d, id);
}

bool mica_core_denies(const struct core_denials *d, const struct mica_principal *p)
{
	if (d->n_ids > 0 && denies_id(d, mica_slice_str(p->spiffe_id)))
		return true;
	return d->n_pods > 0 &&
		bsearch(&p->pod_uid, d->pods, d->n_pods, sizeof(*d->pods), cmp_pod) != NULL;
}

bool mica_core_denies_id(const struct core_denials *d, struct mica_slice spiffe_id)
{
	return d->n_ids > 0 && denies_id(d, spiffe_id);
}

enum mica_channel mica_core_channel(const struct core_policy *p, const char *spiffe_id)
{
	return p->canary.n_ids > 0 && denies_id(&p->canary, mica_slice_str(spiffe_id))
		? MICA_CHANNEL_CANARY
		: MICA_CHANNEL_LIVE;
}

/* ---- rules ----------------------------------------------------------------------------------- */

static bool matches(const char *pattern, const char *value)
{
	size_t len = strlen(pattern);

	if (len == 0)
		return true;
	if (pattern[len - 1] == '*')
		return strncmp(pattern, value, len - 1) == 0;
	return strcmp(pattern, value) == 0;
}

const struct core_rule *mica_core_rule(
	const struct core_policy *p, const struct mica_principal *who)
{
	for (unsigned i = 0; i < p->n_rules; i++) {
		const struct core_rule *r = &p->rules[i];

		if (matches(r->issuer, who->issuer) && matches(r->ns, who->ns) &&
			matches(r->sa, who->sa))
			return r;
	}
	return NULL;
}

static bool in_list(const struct mica_string_list *l, const char *s)
{
	for (unsigned i = 0; i < l->n; i++)
		if (strcmp(l->v[i], s) == 0)
			return true;
	return false;
}

unsigned mica_core_roles(const struct core_policy *p, const char *spiffe_id)
{
	return (in_list(&p->admins, spiffe_id) ? MICA_ROLE_ADMIN : 0) |
		(in_list(&p->auditors, spiffe_id) ? MICA_ROLE_AUDITOR : 0);
}

/* ---- compiling ------------------------------------------------------------------------------- */

static void copy_list(struct mica_string_list *to, const struct mica_string_list *from)
{
	to->v = mica_calloc(from->n + 1, sizeof(char *));
	for (unsigned i = 0; i < from->n; i++)
		to->v[to->n++] = mica_strdup(from->v[i]);
}

static void push_text(struct mica_string_list *l, const char *text)
{
	l->v = mica_realloc(l->v, l->n + 1, sizeof(char *));
	l->v[l->n++] = mica_strdup(text);
}

static void free_list(struct mica_string_list *l)
{
	for (unsigned i = 0; i < l->n; i++)
		mica_free(l->v[i]);
	mica_free(l->v);
	*l = (struct mica_string_list){NULL, 0};
}

static void free_rule(struct core_rule *r)
{
	for (unsigned i = 0; i < r->n_dns; i++)
		mica_template_free(r->dns[i]);
	mica_free(r->dns);
	mica_free(r->issuer);
	mica_free(r->ns);
	mica_free(r->sa);
}

static void free_policy(void *part)
{
	struct core_policy *p = part;

	mica_issuers_free(p->issuers);
	mica_join_free(p->join);
	mica_free(p->issuer_names);
	for (unsigned i = 0; i < p->n_rules; i++)
		free_rule(&p->rules[i]);
	mica_free(p->rules);
	free_list(&p->jwt_audiences);
	mica_free(p->jwt_issuer);
	free_list(&p->admins);
	free_list(&p->auditors);
	free_list(&p->own_dns);
	free_list(&p->unsure_outlets);
	for (unsigned i = 0; i < p->n_outlets; i++)
		mica_free(p->outlets[i].name);
	mica_free(p->outlets);
	mica_free(p->crl_url[0]);
	mica_free(p->crl_url[1]);
	mica_core_denials_clear(&p->deny);
	mica_core_denials_clear(&p->canary);
	mica_free(p);
}

static char *text_or_empty(const char *s)
{
	return mica_strdup(s ? s : "");
}

static mica_rc compile_rule(const struct mica_rule *from, const struct mica_config *config,
	struct core_rule *to, struct mica_err *e)
{
	to->issuer = text_or_empty(from->issuer);
	to->ns = text_or_empty(from->ns);
	to->sa = text_or_empty(from->sa);
	to->ttl = from->ttl ? from->ttl : config->x509.ttl;
	to->max_ttl = from->max_ttl ? from->max_ttl : config->x509.max_ttl;
	to->key_types = from->key_types ? from->key_types : config->x509.key_types;
	if (from->dns.n > MICA_LEAF_DNS_MAX)
		return mica_fail(e, MICA_INVALID, "too_many_names",
			"a rule has more than %d DNS names", MICA_LEAF_DNS_MAX);
	to->dns = mica_calloc(from->dns.n + 1, sizeof(*to->dns));
	for (unsigned i = 0; i < from->dns.n; i++) {
		mica_rc rc =
			mica_template_compile(MICA_TEMPLATE_DNS, mica_slice_str(from->dns.v[i]),
				mica_principal_fields, MICA_PF_COUNT, &to->dns[to->n_dns], e);

		if (rc != MICA_OK)
			return rc;
		to->n_dns++;
	}
	return MICA_OK;
}

static mica_rc compile_rules(
	struct core_policy *p, const struct mica_config *config, struct mica_err *e)
{
	p->rules = mica_calloc(config->n_rules + 1, sizeof(*p->rules));
	for (unsigned i = 0; i < config->n_rules; i++) {
		mica_rc rc = compile_rule(&config->rules[i], config, &p->rules[p->n_rules++], e);

		if (rc != MICA_OK) {
			mica_err_context(e, "rule %u", i + 1);
			return rc;
		}
	}
	return MICA_OK;
}

static mica_rc compile_denials(
	struct core_policy *p, const struct mica_config *config, struct mica_err *e)
{
	for (unsigned i = 0; i < config->deny_spiffe_ids.n; i++)
		mica_core_denials_add_id(&p->deny, config->deny_spiffe_ids.v[i]);
	for (unsigned i = 0; i < config->deny_pod_uids.n; i++) {
		struct mica_uid uid;

		if (mica_uuid_parse(mica_slice_str(config->deny_pod_uids.v[i]), uid.b) != MICA_OK)
			return mica_fail(e, MICA_INVALID, "bad_deny_entry",
				"a denied pod is named by its UID (8-4-4-4-12 lower-case hex)");
		mica_core_denials_add_pod(&p->deny, &uid);
	}
	mica_core_denials_sort(&p->deny);
	return MICA_OK;
}

static void put_list(struct mica_buf *b, const char *what, const struct mica_string_list *l)
{
	for (unsigned i = 0; i < l->n; i++) {
		mica_buf_printf(b, "%s ", what);
		mica_buf_put_json_string(b, mica_slice_str(l->v[i]));
	}
	mica_buf_put_u8(b, '\n');
}

static void put_issuer(struct mica_buf *b, const struct mica_issuer_config *i)
{
	mica_buf_printf(b, "issuer %s %d %s %s %d %d %" PRId64 " %" PRId64 "\n", i->name,
		(int)i->kind, i->issuer, i->cluster ? i->cluster : "", i->require_pod,
		(int)i->review.mode, i->skew, i->renewal_max_age);
	mica_buf_put_json_string(b, mica_slice_str(i->spiffe_path));
	for (int f = 0; f < MICA_FRONT_COUNT; f++) {
		mica_buf_printf(b, "front %d %" PRId64, f, i->max_token_life[f]);
		put_list(b, "aud", &i->audiences[f]);
	}
	put_list(b, "same", &i->same_names_as);
	put_list(b, "node", &i->impersonation.accounts);
	for (unsigned k = 0; k < i->n_claims; k++) {
		mica_buf_put_json_string(b, mica_slice_str(i->claims[k].name));
		mica_buf_put_json_string(b, mica_slice_str(i->claims[k].claim));
	}
	for (unsigned k = 0; k < i->n_require; k++) {
		mica_buf_put_json_string(b, mica_slice_str(i->require[k].claim));
		mica_buf_put_json_string(b, mica_slice_str(i->require[k].pattern));
	}
}

static void put_rule(struct mica_buf *b, const struct core_rule *r, const struct mica_rule *from)
{
	mica_buf_printf(b, "rule %s %s %s %" PRId64 " %" PRId64 " %u", r->issuer, r->ns, r->sa,
		r->ttl, r->max_ttl, (unsigned)r->key_types);
	put_list(b, "dns", &from->dns);
}

/* Equal configurations have equal hashes, whatever their files look like. */
static mica_rc hash_policy(
	struct core_policy *p, const struct mica_config *config, struct mica_err *e)
{
	MICA_AUTO_BUF b;
	mica_rc rc;

	mica_buf_init(&b, POLICY_TEXT_MAX);
	mica_buf_printf(&b, "mica-rules-1 %s\n", p->trust_domain);
	for (unsigned i = 0; i < config->n_issuers; i++)
		put_issuer(&b, &config->issuers[i]);
	for (unsigned i = 0; i < p->n_rules; i++)
		put_rule(&b, &p->rules[i], &config->rules[i]);
	mica_buf_printf(&b,
		"x509 %" PRId64 " %" PRId64 " %" PRId64 " %u\njwt %" PRId64 " %" PRId64 " %s\n",
		p->ttl, p->max_ttl, p->min_ttl, (unsigned)p->key_types, p->jwt_ttl, p->jwt_max_ttl,
		p->jwt_issuer ? p->jwt_issuer : "");
	put_list(&b, "jwt", &p->jwt_audiences);
	put_list(&b, "admin", &p->admins);
	put_list(&b, "auditor", &p->auditors);
	put_list(&b, "own", &p->own_dns);
	put_list(&b, "deny", &config->deny_spiffe_ids);
	put_list(&b, "pod", &config->deny_pod_uids);
	mica_buf_printf(&b, "linkerd %s %s %d\n", p->linkerd.control_ns, p->linkerd.trust_domain,
		p->linkerd.spiffe);
	mica_buf_printf(&b, "bundle %" PRId64 " address %d\n", p->refresh_hint, p->caller_address);
	if (p->join)
		mica_buf_printf(&b, "join %s %s %" PRId64 " %" PRId64 " %" PRId64 "\n",
			p->join->name, mica_template_text(p->join->path), p->join->ttl,
			p->join->max_ttl, p->join->renewal_max_age);
	if (p->refuse_forks) /* only then: what was recorded before stays what it is */
		mica_buf_put_str(&b, "forks refused\n");
	if (p->crl_url[0])
		mica_buf_printf(&b, "crl %s {} %s\n", p->crl_url[0], p->crl_url[1]);
	rc = mica_buf_rc(&b, e);
	if (rc == MICA_OK)
		SHA256(b.p, b.len, p->hash);
	return rc;
}

static void copy_crl(struct core_policy *p, const struct mica_config *config)
{
	struct mica_slice url = mica_slice_str(config->crl.distribution_url);
	const char *at = url.len ? strstr(config->crl.distribution_url, MICA_CRL_URL_ID) : NULL;

	p->crl_validity = config->crl.validity > 0 ? config->crl.validity : CORE_CRL_VALIDITY;
	p->n_outlets = config->rotation.n_outlets;
	p->outlets = mica_calloc(p->n_outlets + 1, sizeof(*p->outlets));
	for (unsigned i = 0; i < p->n_outlets; i++)
		p->outlets[i] = (struct core_outlet){mica_strdup(config->rotation.outlets[i].name),
			config->rotation.outlets[i].propagation, config->rotation.outlets[i].crl};
	if (!at)
		return;
	p->crl_url[0] = mica_strndup((const char *)url.p, (size_t)(at - (const char *)url.p));
	p->crl_url[1] = mica_strdup(at + strlen(MICA_CRL_URL_ID));
}

static void copy_scalars(struct core_policy *p, const struct mica_config *config)
{
	p->ttl = config->x509.ttl;
	p->max_ttl = config->x509.max_ttl;
	p->min_ttl = config->x509.min_ttl;
	p->key_types = config->x509.key_types;
	p->jwt_ttl = config->jwt.ttl;
	p->jwt_max_ttl = config->jwt.max_ttl;
	p->refresh_hint = config->bundle.refresh_hint;
	p->caller_address = config->log.caller_address;
	p->refuse_forks = config->x509.refuse_forks;
	copy_list(&p->jwt_audiences, &config->jwt.audiences);
	copy_list(&p->admins, &config->admins);
	copy_list(&p->auditors, &config->auditors);
	copy_list(&p->own_dns, &config->https.dns_names);
	for (unsigned i = 0; mica_config_has_grpc(config) && i < config->grpc.dns_names.n; i++)
		push_text(&p->own_dns, config->grpc.dns_names.v[i]);
	if (config->linkerd_server)
		push_text(&p->own_dns, config->linkerd_server);
	mica_rotation_policy_of(config, &p->rotation);
	for (unsigned i = 0; i < config->rotation.canary.spiffe_ids.n; i++)
		mica_core_denials_add_id(&p->canary, config->rotation.canary.spiffe_ids.v[i]);
	mica_core_denials_sort(&p->canary);
	p->authority_key = config->authorities.key_type;
	for (unsigned i = 0; i < config->rotation.n_outlets; i++)
		if (config->rotation.outlets[i].propagation == 0)
			push_text(&p->unsure_outlets, config->rotation.outlets[i].name);
	copy_crl(p, config);
	if (config->jwt.oidc_discovery && config->https.public_host) {
		MICA_AUTO_BUF b;

		mica_buf_init(&b, 1024);
		mica_buf_printf(&b, "https://%s", config->https.public_host);
		p->jwt_issuer = mica_slice_dup(mica_buf_slice(&b));
	}
}

/* What is not set is not used: no issuer has an audience for Linkerd. */
static mica_rc copy_linkerd(
	struct core_policy *p, const struct mica_config *config, struct mica_err *e)
{
	const char *ns = config->linkerd.control_plane_namespace,
		   *td = config->linkerd.trust_domain;

	if (!td)
		td = config->trust_domain;
	p->linkerd.spiffe = config->linkerd.spiffe;
	if (mica_slice_copy(mica_slice_str(ns), p->linkerd.control_ns,
		    sizeof(p->linkerd.control_ns)) != MICA_OK ||
		mica_slice_copy(mica_slice_str(td), p->linkerd.trust_domain,
			sizeof(p->linkerd.trust_domain)) != MICA_OK)
		return mica_fail(e, MICA_INVALID, "linkerd_trust_domain_invalid",
			"Linkerd's trust domain or namespace is too long");
	return MICA_OK;
}

mica_rc mica_core_policy_new(struct mica_core *c, const struct mica_config *config,
	struct core_policy **out, struct mica_err *e)
{
	CORE_AUTO_PART struct core_policy *p = mica_core_part_new(sizeof(*p), free_policy);
	mica_rc rc;

	if (mica_slice_copy(mica_slice_str(config->trust_domain), p->trust_domain,
		    sizeof(p->trust_domain)) != MICA_OK)
		return mica_fail(e, MICA_INVALID, "trust_domain_invalid",
			"a trust domain has at most %d octets", MICA_TD_MAX);
	copy_scalars(p, config);
	rc = copy_linkerd(p, config, e);
	if (rc != MICA_OK)
		return rc;
	rc = mica_issuers_new(
		p->trust_domain, config->issuers, config->n_issuers, &p->issuers, NULL, e);
	if (rc == MICA_OK)
		rc = mica_join_new(config, p->issuers, &p->join, NULL, e);
	if (rc == MICA_OK)
		rc = compile_rules(p, config, e);
	if (rc == MICA_OK)
		rc = compile_denials(p, config, e);
	if (rc == MICA_OK)
		rc = hash_policy(p, config, e);
	if (rc != MICA_OK)
		return rc;
	p->issuer_names = mica_calloc(config->n_issuers + 1, sizeof(char *));
	for (unsigned i = 0; i < config->n_issuers; i++)
		p->issuer_names[i] = mica_core_keep_name(c, config->issuers[i].name);
	*out = MICA_STEAL(p);
	return MICA_OK;
}
