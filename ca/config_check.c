/* SPDX-License-Identifier: Apache-2.0 */
/* What settings mean together: defaults that depend on others, contradictions, warnings. */
#include "config_check_impl.h"
#include "join.h"

#include "mica/cert.h"
#include "mica/spiffeid.h"
#include "mica/token.h"

/* ---- secrets and listeners ----------------------------------------------------------------- */

static mica_rc check_passphrase(struct checking *k)
{
	const struct mica_config *c = k->c;
	int n = (c->passphrase.file != NULL) + (c->passphrase.env != NULL) +
		(c->passphrase.credential != NULL);

	if (n == 1)
		return MICA_OK;
	return config_refuse(k->src, "passphrase", n ? "config_conflict" : "config_missing",
		"%s; expected exactly one of file, env and credential",
		n ? "several sources" : "no source of the passphrase for the stored keys");
}

static bool is_any(const struct mica_listen *l)
{
	return strcmp(l->host, "::") == 0 || strcmp(l->host, "0.0.0.0") == 0;
}

static mica_rc check_listeners(struct checking *k)
{
	const struct mica_config *c = k->c;
	const struct {
		const char *path;
		const struct mica_listen *l;
	} v[] = {{"https.listen", &c->https.listen}, {"https.watch", &c->https.watch},
		{"metrics.listen", &c->metrics}, {"grpc.listen", &c->grpc.listen},
		{"grpc.plaintext", &c->grpc.plaintext}};

	if (c->https.listen.text[0] == '\0')
		return config_refuse(k->src, "https.listen", "config_value",
			"this listener cannot be off; expected ADDRESS:PORT");
	for (size_t i = 1; i < MICA_ARRAY_LEN(v); i++) {
		for (size_t j = 0; j < i; j++) {
			const struct mica_listen *a = v[i].l, *b = v[j].l;

			if (a->text[0] && b->text[0] && a->port && a->port == b->port &&
				(is_any(a) || is_any(b) || strcmp(a->host, b->host) == 0))
				return config_refuse(k->src, v[i].path, "config_conflict",
					"%s is the address of %s (%s) too; expected another port",
					a->text, v[j].path, b->text);
		}
	}
	return MICA_OK;
}

/* Tokens in the clear stay on this machine. */
static mica_rc check_grpc(struct checking *k)
{
	const char *names[MICA_LEAF_DNS_MAX];
	const struct mica_config *c = k->c;
	const char *host = c->grpc.plaintext.host;

	if (c->grpc.plaintext.text[0] && strncmp(host, "127.", 4) != 0 && strcmp(host, "::1") != 0)
		return config_refuse(k->src, "grpc.plaintext", "config_value",
			"%s is not of this machine alone; expected 127.0.0.1:PORT or [::1]:PORT, or "
			"grpc.listen, which has TLS",
			c->grpc.plaintext.text);
	if (mica_config_dns_names(c, names, MICA_LEAF_DNS_MAX) > MICA_LEAF_DNS_MAX)
		return config_refuse(k->src,
			config_given(k->src, "grpc.dns_names") ? "grpc.dns_names"
							       : "https.dns_names",
			"config_conflict",
			"https.dns_names and grpc.dns_names have too many names together; expected at "
			"most %d",
			MICA_LEAF_DNS_MAX);
	return MICA_OK;
}

static mica_rc check_jwt(struct checking *k)
{
	if (k->c->jwt.oidc_discovery && k->c->https.public_host[0] == '\0')
		return config_refuse(k->src, "jwt.oidc_discovery", "config_conflict",
			"others find the keys at https://<public_host>/; expected https.public_host too");
	return MICA_OK;
}

/* ---- issuers ------------------------------------------------------------------------------- */

/* How long the tokens live that platforms make for each front, at most. */
static const struct {
	int64_t life;
	bool plus_skew;
} fronts[MICA_FRONT_COUNT] = {
	[MICA_FRONT_REST] = {3700, false},
	[MICA_FRONT_ISTIO] = {43200, true},
	[MICA_FRONT_LINKERD] = {86400, true},
	[MICA_FRONT_CONSUL] = {3700, false},
};

static mica_rc check_key_source(struct checking *k, unsigned i)
{
	struct mica_issuer_config *is = &k->c->issuers[i];
	bool https = strncmp(is->issuer, "https://", 8) == 0;
	char keys[CONFIG_PATH_MAX], path[CONFIG_PATH_MAX];
	int n = is->keys.discovery + (is->keys.jwks_uri != NULL) + (is->keys.jwks_file != NULL);

	config_path(keys, "issuers[%u].keys", i);
	if (n == 0 && !config_given(k->src, config_path(path, "%s.discovery", keys)) && https) {
		is->keys.discovery = true;
		n = 1;
	}
	if (n != 1)
		return config_refuse(k->src, keys, n ? "config_conflict" : "config_missing",
			"%s for the issuer's keys; expected exactly one of discovery: true, jwks_uri and jwks_file",
			n ? "several sources" : "no source");
	if (is->keys.discovery && !https)
		return config_refuse(k->src, config_path(path, "%s.discovery", keys),
			"config_conflict",
			"the issuer \"%.64s\" has no address to discover keys at; expected jwks_uri or jwks_file",
			is->issuer);
	if (is->keys.max_stale < is->keys.refresh)
		return config_refuse(k->src, config_path(path, "%s.max_stale", keys),
			"config_lifetimes",
			"keys would be stale before they are fetched again; expected at least keys.refresh");
	if (is->keys.allow_hosts.n && !is->keys.discovery)
		config_list_add(&k->c->warnings,
			"issuer %s: keys.allow_hosts is for discovery and does nothing here",
			is->name);
	return MICA_OK;
}

/* Most people know where their API server is, and not what its resources are called. */
static void complete_review_url(struct mica_issuer_config *is)
{
	static const char resource[] = "/apis/authentication.k8s.io/v1/tokenreviews";
	size_t host = strcspn(is->review.url + 8, "/") + 8; /* checked: https://host... */
	char *url;

	if (is->review.url[host] && is->review.url[host + 1])
		return;
	url = mica_alloc(host + sizeof(resource));
	memcpy(url, is->review.url, host);
	memcpy(url + host, resource, sizeof(resource));
	mica_free(is->review.url);
	is->review.url = url;
}

static mica_rc check_review(struct checking *k, unsigned i)
{
	struct mica_issuer_config *is = &k->c->issuers[i];
	char path[CONFIG_PATH_MAX];

	if (is->review.mode == MICA_REVIEW_NEVER) {
		if (is->review.url && is->impersonation.accounts.n == 0)
			config_list_add(&k->c->warnings,
				"issuer %s: review.url does nothing while review.mode is never",
				is->name);
		return MICA_OK;
	}
	if (is->kind != MICA_ISSUER_KUBERNETES)
		return config_refuse(k->src, config_path(path, "issuers[%u].review.mode", i),
			"config_conflict",
			"only a Kubernetes API server reviews tokens; expected never for kind oidc");
	if (is->review.url == NULL)
		return config_refuse(k->src, config_path(path, "issuers[%u].review", i),
			"config_missing",
			"who reviews tokens? expected url: https://host[:port] of the cluster's API server");
	complete_review_url(is);
	if (is->review.token_file == NULL)
		config_list_add(&k->c->warnings,
			"issuer %s: review.token_file is missing, and API servers answer no strangers",
			is->name);
	return MICA_OK;
}

/* "https://host:port" of an address that was checked. */
static char *server_of(const char *url)
{
	return mica_strndup(url, 8 + strcspn(url + 8, "/"));
}

static void inherit(char **to, const char *from)
{
	if (*to == NULL && from)
		*to = mica_strdup(from);
}

/* Who may ask for the pods beside it, and who knows which these are. */
static mica_rc check_impersonation(struct checking *k, unsigned i)
{
	struct mica_issuer_config *is = &k->c->issuers[i];
	char path[CONFIG_PATH_MAX], *given = is->impersonation.url;

	config_path(path, "issuers[%u].impersonation", i);
	if (is->impersonation.accounts.n == 0) {
		if (given)
			config_list_add(&k->c->warnings,
				"issuer %s: impersonation.url does nothing without accounts",
				is->name);
		return MICA_OK;
	}
	if (is->kind != MICA_ISSUER_KUBERNETES || !is->require_pod)
		return config_refuse(k->src, path, "config_conflict",
			"only pods have a node; expected kind kubernetes and require_pod: true");
	if (!given && !is->review.url)
		return config_refuse(k->src, path, "config_missing",
			"who knows which pods run on a node? expected url: https://host[:port] of the cluster's API server");
	is->impersonation.url = server_of(given ? given : is->review.url);
	mica_free(given);
	inherit(&is->impersonation.ca_file, is->review.ca_file);
	inherit(&is->impersonation.token_file, is->review.token_file);
	if (is->impersonation.token_file == NULL)
		config_list_add(&k->c->warnings,
			"issuer %s: impersonation.token_file is missing, and API servers answer no strangers",
			is->name);
	if (is->audiences[MICA_FRONT_ISTIO].n == 0)
		config_list_add(&k->c->warnings,
			"issuer %s: impersonation does nothing without audiences.istio", is->name);
	return MICA_OK;
}

static mica_rc complete_issuer(struct checking *k, unsigned i)
{
	struct mica_issuer_config *is = &k->c->issuers[i];
	bool kubernetes = is->kind == MICA_ISSUER_KUBERNETES;
	char path[CONFIG_PATH_MAX];

	for (int f = 0; f < MICA_FRONT_COUNT; f++)
		if (is->max_token_life[f] == CONFIG_UNSET)
			is->max_token_life[f] =
				fronts[f].life + (fronts[f].plus_skew ? is->skew : 0);
	if (!config_given(k->src, config_path(path, "issuers[%u].require_pod", i)))
		is->require_pod = kubernetes;
	if (is->require_pod && !kubernetes)
		return config_refuse(k->src, path, "config_conflict",
			"tokens of kind oidc belong to no pod; expected false");
	if (is->spiffe_path == NULL && !kubernetes)
		return config_refuse(k->src, config_path(path, "issuers[%u]", i), "config_missing",
			"kind oidc has no usual names; expected spiffe_path, as /ci/{name} with name in claims");
	if (is->spiffe_path == NULL)
		is->spiffe_path = mica_strdup("/ns/{namespace}/sa/{serviceaccount}");
	return MICA_OK;
}

/* The judge of names, audiences, templates and overlaps is mica_issuers_new. */
static mica_rc compile_issuers(struct checking *k)
{
	struct mica_issuer_fault fault = {.setting = ""};
	struct mica_err why = MICA_ERR_INIT;
	char path[CONFIG_PATH_MAX];

	if (mica_issuers_new(k->c->trust_domain, k->c->issuers, k->c->n_issuers, &k->issuers,
		    &fault, &why) == MICA_OK)
		return MICA_OK;
	config_path(path, "%s: ", fault.setting);
	/* "issuer prod: spiffe_path: ...": the path says the setting already */
	char *after = strstr(why.text, ": "), *rest = after ? after + 2 : why.text;
	if (fault.setting[0] && strncmp(rest, path, strlen(path)) == 0)
		memmove(rest, rest + strlen(path), strlen(rest + strlen(path)) + 1);
	return config_refuse_why(
		k->src, config_path(path, "issuers[%u].%s", fault.issuer, fault.setting), &why);
}

static mica_rc check_issuers(struct checking *k)
{
	static mica_rc (*const steps[])(struct checking *, unsigned) = {
		complete_issuer, check_key_source, check_review, check_impersonation};

	for (unsigned i = 0; i < k->c->n_issuers; i++) {
		for (size_t s = 0; s < MICA_ARRAY_LEN(steps); s++) {
			mica_rc rc = steps[s](k, i);

			if (rc != MICA_OK)
				return rc;
		}
	}
	if (k->c->n_issuers == 0 && !k->c->join.spiffe_path)
		config_list_add(&k->c->warnings, "no issuers: nobody can get a certificate");
	return compile_issuers(k);
}

/* ---- join tokens --------------------------------------------------------------------------- */

static mica_rc check_join(struct checking *k)
{
	const struct mica_config *c = k->c;
	struct mica_err why = MICA_ERR_INIT;
	char path[CONFIG_PATH_MAX];
	const char *setting = "";
	mica_rc rc = config_check_order(
		k, "join_tokens.ttl", c->join.ttl, "join_tokens.max_ttl", c->join.max_ttl);

	if (rc != MICA_OK)
		return rc;
	if (mica_join_new(c, k->issuers, &k->join, &setting, &why) == MICA_OK)
		return MICA_OK;
	return config_refuse_why(k->src, config_path(path, "join_tokens.%s", setting), &why);
}

static mica_rc check_policies(struct checking *k)
{
	const struct mica_string_list *l = &k->c->policies.trust_domain_aliases;
	struct mica_err why = MICA_ERR_INIT;
	char path[CONFIG_PATH_MAX];

	for (unsigned i = 0; i < l->n; i++)
		if (mica_trust_domain_check(mica_slice_str(l->v[i]), &why) != MICA_OK)
			return config_refuse_why(k->src,
				config_path(path, "policies.trust_domain_aliases[%u]", i), &why);
	return MICA_OK;
}

/* A plugged-in authority is said twice, so that neither is a slip: who has the root, and where. */
static mica_rc check_plugged(struct checking *k)
{
	const struct mica_config *c = k->c;

	if (c->authorities.root == MICA_ROOT_FILES && !c->plugged.directory)
		return config_refuse(k->src, "authorities.root", "config_missing",
			"\"files\" needs plugged.directory, where the files are");
	if (c->authorities.root != MICA_ROOT_FILES && c->plugged.directory)
		return config_refuse(k->src, "plugged.directory", "config_conflict",
			"is for authorities.root: files; remove it, or say so there");
	if (c->plugged.passphrase_file && !c->plugged.directory)
		return config_refuse(k->src, "plugged.passphrase_file", "config_missing",
			"needs plugged.directory");
	return MICA_OK;
}

mica_rc config_check(const struct config_source *src, struct mica_config *c)
{
	static mica_rc (*const steps[])(struct checking *) = {check_passphrase, check_listeners,
		check_jwt, config_check_lives, config_check_rotation, check_plugged, check_policies,
		check_issuers, check_join, config_check_linkerd, check_grpc, config_check_rules,
		config_check_roles, config_check_denied, config_check_canary};
	struct checking k = {.src = src, .c = c};
	mica_rc rc = MICA_OK;

	for (size_t i = 0; i < MICA_ARRAY_LEN(steps) && rc == MICA_OK; i++)
		rc = steps[i](&k);
	if (rc == MICA_OK)
		config_warn_of_roles(&k);
	mica_issuers_free(k.issuers);
	mica_join_free(k.join);
	return rc;
}
