/* SPDX-License-Identifier: Apache-2.0 */
/* Names that settings give or take: rules, Linkerd's, roles, lists of SPIFFE IDs. */
#include "config_check_impl.h"
#include "join.h"

#include "mica/linkerd.h"
#include "mica/spiffeid.h"
#include "mica/template.h"
#include "mica/token.h"

/* ---- rules --------------------------------------------------------------------------------- */

/* "" = all; a trailing '*' matches any rest. */
static bool matches(const char *pattern, const char *value)
{
	size_t len = strlen(pattern);

	if (len == 0)
		return true;
	return pattern[len - 1] == '*' ? strncmp(pattern, value, len - 1) == 0
				       : strcmp(pattern, value) == 0;
}

static bool pattern_ok(const char *pattern, const char *charset)
{
	size_t n = strspn(pattern, charset);

	return pattern[n] == '\0' || (pattern[n] == '*' && pattern[n + 1] == '\0');
}

static mica_rc check_rule_scope(struct checking *k, unsigned i)
{
	static const char label[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
	static const char name[] = "abcdefghijklmnopqrstuvwxyz0123456789-.";
	const struct mica_rule *r = &k->c->rules[i];
	const struct {
		const char *key, *pattern, *charset;
	} v[] = {{"issuer", r->issuer, label}, {"namespace", r->ns, label},
		{"serviceaccount", r->sa, name}};
	char path[CONFIG_PATH_MAX];

	for (size_t p = 0; p < MICA_ARRAY_LEN(v); p++)
		if (!pattern_ok(v[p].pattern, v[p].charset))
			return config_refuse(k->src, config_path(path, "rules[%u].%s", i, v[p].key),
				"config_value",
				"\"%.64s\" can be no name; expected a name of [%s], maybe with * at its end",
				v[p].pattern, v[p].charset == name ? "a-z0-9.-" : "a-z0-9-");
	for (unsigned n = 0; n < k->c->n_issuers; n++)
		if (matches(r->issuer, k->c->issuers[n].name))
			return MICA_OK;
	if (k->join && matches(r->issuer, k->join->name))
		return MICA_OK;
	return config_refuse(k->src, config_path(path, "rules[%u].issuer", i), "config_value",
		"no issuer is called \"%.64s\"; expected the name of one, or a beginning of it with *",
		r->issuer);
}

/* Why tokens of an issuer cannot fill a template; NULL when they can. */
static const char *cannot_fill(const struct mica_issuer_config *is, const struct mica_template *t)
{
	bool of_pod = mica_template_uses(t, MICA_PF_POD) || mica_template_uses(t, MICA_PF_NODE);

	if (is->kind != MICA_ISSUER_KUBERNETES &&
		(of_pod || mica_template_uses(t, MICA_PF_NAMESPACE) ||
			mica_template_uses(t, MICA_PF_SERVICEACCOUNT)))
		return "its tokens have no namespace, service account, pod or node";
	if (of_pod && !is->require_pod)
		return "require_pod is false, so the pod may be unknown";
	if (mica_template_uses(t, MICA_PF_CLUSTER) && is->cluster[0] == '\0')
		return "it has no cluster";
	return NULL;
}

/* The same of join tokens: they know their issuer's name, and nothing else. */
static bool join_fills(const struct mica_template *t)
{
	for (unsigned f = 0; f < MICA_PF_COUNT; f++)
		if (f != MICA_PF_ISSUER && mica_template_uses(t, f))
			return false;
	return true;
}

static bool same_names(const struct mica_issuer_config *a, const struct mica_issuer_config *b)
{
	for (unsigned i = 0; i < a->same_names_as.n; i++)
		if (strcmp(a->same_names_as.v[i], b->name) == 0)
			return true;
	return false;
}

/* ---- Linkerd ------------------------------------------------------------------------------- */

/* Its names hold no cluster: two issuers that reach it make one name for two accounts, unless one
 * and the same account is meant. */
static mica_rc check_linkerd_issuers(struct checking *k, bool *used)
{
	const struct mica_issuer_config *v = k->c->issuers;
	char path[CONFIG_PATH_MAX];

	*used = false;
	for (unsigned a = 0; a < k->c->n_issuers; a++) {
		if (v[a].audiences[MICA_FRONT_LINKERD].n == 0)
			continue;
		*used = true;
		config_path(path, "issuers[%u].audiences.linkerd", a);
		if (v[a].kind != MICA_ISSUER_KUBERNETES)
			return config_refuse(k->src, path, "config_conflict",
				"Linkerd's names are of service accounts; expected none for kind oidc");
		for (unsigned b = 0; b < a; b++)
			if (v[b].audiences[MICA_FRONT_LINKERD].n > 0 && !same_names(&v[a], &v[b]) &&
				!same_names(&v[b], &v[a]))
				return config_refuse(k->src, path, "names_overlap",
					"issuers %s and %s would give one name to different accounts; expected one issuer for Linkerd, or same_names_as: [%s]",
					v[b].name, v[a].name, v[b].name);
	}
	return MICA_OK;
}

static mica_rc check_workloads(struct checking *k)
{
	char path[CONFIG_PATH_MAX];

	for (unsigned i = 0; i < k->c->linkerd.n_workloads; i++) {
		const struct mica_string_list *labels = &k->c->linkerd.workloads[i].labels;

		for (unsigned n = 0; n < labels->n; n++)
			if (labels->v[n][0] == '=' || !strchr(labels->v[n], '='))
				return config_refuse(k->src,
					config_path(path, "linkerd.workloads[%u].labels[%u]", i, n),
					"config_value", "\"%.60s\" is no label; expected key=value",
					labels->v[n]);
	}
	return MICA_OK;
}

mica_rc config_check_linkerd(struct checking *k)
{
	struct mica_linkerd l = {.spiffe = k->c->linkerd.spiffe};
	const char *td =
		k->c->linkerd.trust_domain ? k->c->linkerd.trust_domain : k->c->trust_domain;
	struct mica_err why = MICA_ERR_INIT;
	bool used, ns;
	mica_rc rc = check_linkerd_issuers(k, &used);

	if (rc == MICA_OK)
		rc = check_workloads(k);
	if (rc != MICA_OK || !used)
		return rc;
	/* bounded by their settings */
	if (mica_slice_copy(mica_slice_str(k->c->linkerd.control_plane_namespace), l.control_ns,
		    sizeof(l.control_ns)) != MICA_OK ||
		mica_slice_copy(mica_slice_str(td), l.trust_domain, sizeof(l.trust_domain)) !=
			MICA_OK)
		return config_refuse(k->src, "linkerd", "config_value", "a name is too long");
	rc = mica_linkerd_check(&l, &why);
	if (rc == MICA_OK && mica_config_has_grpc(k->c)) {
		char name[MICA_LINKERD_NAME_MAX + 1];

		/* linkerd2 charts: linkerd-identity is the account of its controller */
		rc = mica_linkerd_name(&l, l.control_ns, "linkerd-identity", name, &why);
		k->c->linkerd_server = rc == MICA_OK ? mica_strdup(name) : NULL;
	}
	ns = rc != MICA_OK && strcmp(why.reason, "linkerd_namespace_invalid") == 0;
	return rc == MICA_OK
		? MICA_OK
		: config_refuse_why(k->src,
			  ns ? "linkerd.control_plane_namespace" : "linkerd.trust_domain", &why);
}

/* ---- names of rules ------------------------------------------------------------------------ */

/* Says once for a template that two clusters without namespace sameness share the names it makes.
 */
static void warn_shared(struct checking *k, const char *path, const struct mica_rule *r,
	const struct mica_template *t)
{
	const struct mica_issuer_config *v = k->c->issuers;

	if (mica_template_uses(t, MICA_PF_CLUSTER) || mica_template_uses(t, MICA_PF_ISSUER))
		return;
	for (unsigned a = 1; a < k->c->n_issuers; a++) {
		for (unsigned b = 0; b < a; b++) {
			if (!matches(r->issuer, v[a].name) || !matches(r->issuer, v[b].name) ||
				same_names(&v[a], &v[b]) || same_names(&v[b], &v[a]))
				continue;
			config_list_add(&k->c->warnings,
				"%s: %s gives issuers %s and %s the same DNS names; name one issuer, or use {cluster} or {issuer}",
				path, mica_template_text(t), v[b].name, v[a].name);
			return;
		}
	}
}

static mica_rc check_template(
	struct checking *k, const char *path, const struct mica_rule *r, const char *text)
{
	const struct mica_config *c = k->c;
	MICA_AUTO_TEMPLATE t = NULL;
	struct mica_err why = MICA_ERR_INIT;
	bool constant = true;

	if (mica_template_compile(MICA_TEMPLATE_DNS, mica_slice_str(text), mica_principal_fields,
		    MICA_PF_COUNT, &t, &why) != MICA_OK)
		return config_refuse_why(k->src, path, &why);
	for (unsigned i = 0; i < c->https.dns_names.n; i++)
		if (mica_template_matches(t, mica_slice_str(c->https.dns_names.v[i])))
			return config_refuse(k->src, path, "name_reserved",
				"%s makes \"%.255s\", a name of Mica's own (https.dns_names)", text,
				c->https.dns_names.v[i]);
	for (unsigned i = 0; mica_config_has_grpc(c) && i < c->grpc.dns_names.n; i++)
		if (mica_template_matches(t, mica_slice_str(c->grpc.dns_names.v[i])))
			config_list_add(&k->c->warnings,
				"%s: \"%s\" makes %.255s too, a name of Mica's own (grpc.dns_names), which nobody is given",
				path, text, c->grpc.dns_names.v[i]);
	for (unsigned i = 0; i < c->n_issuers; i++) {
		const char *lacks = matches(r->issuer, c->issuers[i].name)
			? cannot_fill(&c->issuers[i], t)
			: NULL;

		if (lacks)
			return config_refuse(k->src, path, "config_conflict",
				"tokens of issuer %s cannot fill %s: %s", c->issuers[i].name, text,
				lacks);
	}
	if (k->join && matches(r->issuer, k->join->name) && !join_fills(t))
		return config_refuse(k->src, path, "config_conflict",
			"join tokens (%s) cannot fill %s; expected the name of an issuer in the rule, or {issuer} alone",
			k->join->name, text);
	for (unsigned f = 0; f < MICA_PF_COUNT; f++)
		constant = constant && !mica_template_uses(t, f);
	if (constant &&
		(r->sa[0] == '\0' || strchr(r->sa, '*') || r->ns[0] == '\0' || strchr(r->ns, '*')))
		config_list_add(&k->c->warnings,
			"%s: \"%s\" is given to every service account that the rule matches", path,
			text);
	warn_shared(k, path, r, t);
	return MICA_OK;
}

mica_rc config_check_rules(struct checking *k)
{
	for (unsigned i = 0; i < k->c->n_rules; i++) {
		const struct mica_rule *r = &k->c->rules[i];
		mica_rc rc = check_rule_scope(k, i);
		char path[CONFIG_PATH_MAX];

		for (unsigned d = 0; d < r->dns.n && rc == MICA_OK; d++)
			rc = check_template(
				k, config_path(path, "rules[%u].dns[%u]", i, d), r, r->dns.v[d]);
		if (rc != MICA_OK)
			return rc;
	}
	return MICA_OK;
}

/* ---- names of workloads -------------------------------------------------------------------- */

static mica_rc check_role(struct checking *k, const char *path, const char *text)
{
	struct mica_spiffe_id id;
	struct mica_err why = MICA_ERR_INIT;

	if (mica_spiffe_id_parse_workload(mica_slice_str(text), &id, &why) != MICA_OK)
		return config_refuse_why(k->src, path, &why);
	if (!mica_spiffe_id_member_of(&id, mica_slice_str(k->c->trust_domain)))
		return config_refuse(k->src, path, "config_value",
			"\"%.255s\" is of another trust domain; expected spiffe://%s/...", text,
			k->c->trust_domain);
	if (mica_spiffe_path_is_reserved(id.path))
		return config_refuse(k->src, path, "name_reserved",
			"\"%.255s\" is a name of Mica's own; nobody else can have it", text);
	return MICA_OK;
}

mica_rc config_check_roles(struct checking *k)
{
	const struct mica_config *c = k->c;
	const struct {
		const char *path;
		const struct mica_string_list *l;
	} v[] = {{"roles.admins", &c->admins}, {"roles.auditors", &c->auditors}};
	char path[CONFIG_PATH_MAX];

	for (size_t i = 0; i < MICA_ARRAY_LEN(v); i++) {
		for (unsigned n = 0; n < v[i].l->n; n++) {
			mica_rc rc = check_role(
				k, config_path(path, "%s[%u]", v[i].path, n), v[i].l->v[n]);

			if (rc != MICA_OK)
				return rc;
		}
	}
	return MICA_OK;
}

/* A SPIFFE ID stands for itself and all below it; a trailing '/' says so to people, and is cut. */
static mica_rc check_ids(struct checking *k, const char *setting, const struct mica_string_list *l,
	const char *of_others)
{
	for (unsigned i = 0; i < l->n; i++) {
		char *id_text = l->v[i];
		struct mica_slice text = mica_slice_str(id_text);
		struct mica_spiffe_id id;
		struct mica_err why = MICA_ERR_INIT;
		char path[CONFIG_PATH_MAX];

		config_path(path, "%s[%u]", setting, i);
		if (mica_slice_has_suffix(text, MICA_LIT("/")))
			id_text[--text.len] = '\0';
		if (mica_spiffe_id_parse(text, &id, &why) != MICA_OK)
			return config_refuse_why(k->src, path, &why);
		if (!mica_spiffe_id_member_of(&id, mica_slice_str(k->c->trust_domain)))
			return config_refuse(k->src, path, "config_value",
				"\"%.255s\" is of another trust domain, %s; expected spiffe://%s/...",
				id_text, of_others, k->c->trust_domain);
	}
	return MICA_OK;
}

mica_rc config_check_denied(struct checking *k)
{
	return check_ids(
		k, "deny.spiffe_ids", &k->c->deny_spiffe_ids, "which gets nothing here anyway");
}

mica_rc config_check_canary(struct checking *k)
{
	return check_ids(k, "rotation.canary.spiffe_ids", &k->c->rotation.canary.spiffe_ids,
		"which has bundles of its own");
}

static bool listed(const struct mica_string_list *l, const char *text)
{
	for (unsigned i = 0; i < l->n; i++)
		if (strcmp(l->v[i], text) == 0)
			return true;
	return false;
}

/* Admins and auditors without repetition, for one warning each. */
void config_warn_of_roles(struct checking *k)
{
	const struct mica_string_list *from[] = {&k->c->admins, &k->c->auditors};
	struct mica_string_list roles = {.n = 0};

	for (size_t l = 0; l < MICA_ARRAY_LEN(from); l++)
		for (unsigned i = 0; i < from[l]->n; i++)
			if (!listed(&roles, from[l]->v[i]))
				config_list_push(&roles, from[l]->v[i]);
	mica_issuers_warnings(k->issuers, &roles, &k->c->warnings);
	for (unsigned i = 0; k->join && i < roles.n; i++)
		if (mica_join_may_name(k->join, mica_slice_str(roles.v[i])))
			config_list_add(&k->c->warnings,
				"a role is given to %.255s, a name that a join token can give",
				roles.v[i]);
	mica_string_list_clear(&roles);
}
