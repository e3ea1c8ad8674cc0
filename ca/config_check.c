/* SPDX-License-Identifier: Apache-2.0 */
/* What settings mean together: defaults that depend on others, contradictions, warnings. */
#include "config_impl.h"
#include "join.h"

#include "mica/cert.h"
#include "mica/linkerd.h"
#include "mica/rotation.h"
#include "mica/spiffeid.h"
#include "mica/template.h"
#include "mica/token.h"

#define ROOT    "authorities.root_life"
#define ISSUING "authorities.issuing_life"
#define JWT     "authorities.jwt_life"

struct checking {
	const struct config_source *src;
	struct mica_config *c;
	struct mica_issuers *issuers;
	struct mica_join *join; /* NULL = off */
};

/* Rounded up to a unit that people would write. */
static const char *at_least(int64_t seconds, char out[CONFIG_DURATION_SIZE])
{
	static const int64_t units[] = {86400, 3600, 60};

	for (size_t i = 0; i < MICA_ARRAY_LEN(units); i++)
		if (seconds >= 2 * units[i])
			return config_duration((seconds + units[i] - 1) / units[i] * units[i], out);
	return config_duration(seconds, out);
}

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

/* ---- lifetimes ----------------------------------------------------------------------------- */

/* Of the settings that contradict each other, one that the document has: it is to be changed. */
static const char *blamed(struct checking *k, const char *a, const char *b, const char *c)
{
	if (config_given(k->src, a))
		return a;
	return config_given(k->src, b) ? b : c;
}

static mica_rc check_order(
	struct checking *k, const char *small, int64_t a, const char *large, int64_t b)
{
	char ta[CONFIG_DURATION_SIZE], tb[CONFIG_DURATION_SIZE];
	const char *path = blamed(k, small, large, large);

	if (a <= b)
		return MICA_OK;
	return config_refuse(k->src, path, "config_lifetimes",
		"%s (%s) is above %s (%s); expected to lower the one or raise the other", small,
		config_duration(a, ta), large, config_duration(b, tb));
}

static mica_rc check_rule_lives(struct checking *k, unsigned i)
{
	const struct mica_config *c = k->c;
	const struct mica_rule *r = &c->rules[i];
	char ttl[CONFIG_PATH_MAX], max[CONFIG_PATH_MAX];
	mica_rc rc = MICA_OK;

	config_path(ttl, "rules[%u].ttl", i);
	config_path(max, "rules[%u].max_ttl", i);
	if (r->max_ttl)
		rc = check_order(k, "x509.min_ttl", c->x509.min_ttl, max, r->max_ttl);
	if (rc == MICA_OK && r->ttl)
		rc = check_order(k, "x509.min_ttl", c->x509.min_ttl, ttl, r->ttl);
	if (rc == MICA_OK && r->ttl)
		rc = check_order(k, ttl, r->ttl, r->max_ttl ? max : "x509.max_ttl",
			r->max_ttl ? r->max_ttl : c->x509.max_ttl);
	return rc;
}

static mica_rc check_lives(struct checking *k)
{
	const struct mica_config *c = k->c;
	mica_rc rc = check_order(k, "x509.min_ttl", c->x509.min_ttl, "x509.ttl", c->x509.ttl);

	if (rc == MICA_OK)
		rc = check_order(k, "x509.ttl", c->x509.ttl, "x509.max_ttl", c->x509.max_ttl);
	if (rc == MICA_OK)
		rc = check_order(k, "jwt.ttl", c->jwt.ttl, "jwt.max_ttl", c->jwt.max_ttl);
	for (unsigned i = 0; i < c->n_rules && rc == MICA_OK; i++)
		rc = check_rule_lives(k, i);
	return rc;
}

/* ---- rotation ------------------------------------------------------------------------------ */

#define DAY ((int64_t)86400)

/* The longest certificate, and the setting that says so. */
static int64_t longest_leaf(const struct mica_config *c, char whose[CONFIG_PATH_MAX])
{
	int64_t longest = c->x509.max_ttl;

	config_path(whose, "x509.max_ttl");
	for (unsigned i = 0; i < c->n_rules; i++) {
		if (c->rules[i].max_ttl > longest) {
			longest = c->rules[i].max_ttl;
			config_path(whose, "rules[%u].max_ttl", i);
		}
	}
	return longest;
}

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static void fill(int64_t *setting, int64_t value)
{
	if (*setting == CONFIG_UNSET)
		*setting = value;
}

/* What was not given follows from lives and hints, so that short ones make a playground. */
static void complete_rotation(struct mica_config *c)
{
	char whose[CONFIG_PATH_MAX];
	int64_t longest = longest_leaf(c, whose), spread = 3 * c->bundle.refresh_hint;

	for (unsigned i = 0; i < c->rotation.n_outlets; i++)
		if (c->rotation.outlets[i].propagation > spread)
			spread = c->rotation.outlets[i].propagation;
	fill(&c->rotation.skew, least(60, c->authorities.issuing_life / 20));
	fill(&c->rotation.propagation, spread);
	fill(&c->rotation.hold, longest + c->rotation.skew);
	fill(&c->rotation.ack_timeout, least(7 * DAY, c->authorities.root_life / 20));
	fill(&c->rotation.trash, least(7 * DAY, c->authorities.issuing_life));
	fill(&c->rotation.deadline, c->rotation.propagation + c->x509.ttl);
}

#define LINKERD_OUTLET "linkerd"

static bool has_linkerd(const struct mica_config *c)
{
	for (unsigned i = 0; i < c->n_issuers; i++)
		if (c->issuers[i].audiences[MICA_FRONT_LINKERD].n > 0)
			return mica_config_has_grpc(c);
	return false;
}

/* Linkerd's proxies have their anchors from their start and tell nobody which (design 8.3): without
 * a word of the operator a new root must not sign. */
static void add_linkerd_outlet(struct mica_config *c)
{
	struct mica_outlet_config *v = c->rotation.outlets;

	if (!has_linkerd(c))
		return;
	for (unsigned i = 0; i < c->rotation.n_outlets; i++)
		if (strcmp(v[i].name, LINKERD_OUTLET) == 0)
			return;
	v = mica_realloc(v, c->rotation.n_outlets + 1, sizeof(*v));
	v[c->rotation.n_outlets++] =
		(struct mica_outlet_config){.name = mica_strdup(LINKERD_OUTLET)};
	c->rotation.outlets = v;
	config_list_add(&c->warnings,
		"rotation.outlets: none is called " LINKERD_OUTLET
		", so a new root waits for `mica rotation confirm " LINKERD_OUTLET "`");
}

static mica_rc check_outlets(struct checking *k)
{
	const struct mica_config *c = k->c;
	char path[CONFIG_PATH_MAX];

	for (unsigned i = 1; i < c->rotation.n_outlets; i++)
		for (unsigned n = 0; n < i; n++)
			if (strcmp(c->rotation.outlets[i].name, c->rotation.outlets[n].name) == 0)
				return config_refuse(k->src,
					config_path(path, "rotation.outlets[%u].name", i),
					"config_value", "entry %u has this name already", n + 1);
	for (unsigned i = 0; i < c->rotation.n_outlets; i++)
		if (strcmp(c->rotation.outlets[i].name, MICA_OUTLET_CANARY) == 0)
			return config_refuse(k->src,
				config_path(path, "rotation.outlets[%u].name", i), "config_value",
				"\"" MICA_OUTLET_CANARY
				"\" is the canary channel's; expected another");
	return MICA_OK;
}

static mica_rc blame_issuing_life(struct checking *k, const struct mica_rotation_policy *p,
	const struct mica_rotation_breach *b)
{
	char whose[CONFIG_PATH_MAX], t[4][CONFIG_DURATION_SIZE];
	int64_t longest = longest_leaf(k->c, whose);

	return config_refuse(k->src, blamed(k, ISSUING, whose, "bundle.refresh_hint"),
		"config_lifetimes",
		ISSUING
		" (%s) is too short for 3 certificates of %s (%s) and rotation.propagation (%s); "
		"expected at least %s, or a lower %s",
		config_duration(b->have, t[0]), config_duration(longest, t[1]), whose,
		config_duration(p->propagation, t[2]), at_least(b->need, t[3]), whose);
}

static mica_rc blame_root_life(struct checking *k, const struct mica_rotation_policy *p,
	const struct mica_rotation_breach *b)
{
	char t[3][CONFIG_DURATION_SIZE];

	return config_refuse(k->src, blamed(k, ROOT, ISSUING, ISSUING), "config_lifetimes",
		ROOT
		" (%s) is too short for 3 issuing authorities of %s; expected at least %s, or a "
		"lower " ISSUING,
		config_duration(b->have, t[0]),
		config_duration(p->kind[MICA_AUTHORITY_ISSUING].life, t[1]),
		at_least(b->need, t[2]));
}

static mica_rc blame_jwt_life(struct checking *k, const struct mica_rotation_policy *p,
	const struct mica_rotation_breach *b)
{
	char t[5][CONFIG_DURATION_SIZE];

	return config_refuse(k->src, blamed(k, JWT, "jwt.max_ttl", "bundle.refresh_hint"),
		"config_lifetimes",
		JWT
		" (%s) is too short for 5 times bundle.refresh_hint (%s), the longest token (jwt.max_ttl, "
		"%s) and rotation.skew (%s); expected at least %s, or a lower jwt.max_ttl",
		config_duration(b->have, t[0]), config_duration(p->refresh_hint, t[1]),
		config_duration(p->max_jwt_ttl, t[2]), config_duration(p->skew, t[3]),
		at_least(b->need, t[4]));
}

static mica_rc blame_propagation(struct checking *k, const struct mica_rotation_policy *p,
	const struct mica_rotation_breach *b)
{
	bool outlet = p->slowest_outlet == b->need;
	char t[2][CONFIG_DURATION_SIZE];

	return config_refuse(k->src, "rotation.propagation", "config_lifetimes",
		"rotation.propagation (%s) is shorter than %s; expected at least %s",
		config_duration(b->have, t[0]),
		outlet ? "that of the slowest of rotation.outlets" : "3 times bundle.refresh_hint",
		config_duration(b->need, t[1]));
}

static mica_rc blame_hold(struct checking *k, const struct mica_rotation_policy *p,
	const struct mica_rotation_breach *b)
{
	char whose[CONFIG_PATH_MAX], t[3][CONFIG_DURATION_SIZE];

	(void)longest_leaf(k->c, whose);
	return config_refuse(k->src, "rotation.hold", "config_lifetimes",
		"rotation.hold (%s) is shorter than the longest certificate (%s) and rotation.skew (%s); "
		"expected at least %s",
		config_duration(b->have, t[0]), whose, config_duration(p->skew, t[1]),
		config_duration(b->need, t[2]));
}

static mica_rc blame_rotate_at(struct checking *k, const struct mica_rotation_policy *p,
	const struct mica_rotation_breach *b)
{
	static const struct {
		const char *path, *life;
		enum mica_authority_kind kind;
		const char *parts;
	} of[MICA_RR_COUNT] = {
		[MICA_RR_ROOT_AT] = {"rotation.root.rotate_at", ROOT, MICA_AUTHORITY_ROOT,
			"canary.time, propagation, ack_timeout, the longest certificate and skew"},
		[MICA_RR_ISSUING_AT] = {"rotation.issuing.rotate_at", ISSUING,
			MICA_AUTHORITY_ISSUING, "propagation, the longest certificate and skew"},
		[MICA_RR_JWT_AT] = {"rotation.jwt.rotate_at", JWT, MICA_AUTHORITY_JWT,
			"canary.time, 5 times bundle.refresh_hint or propagation, jwt.max_ttl and skew"}};
	const char *path = of[b->rule].path, *life = of[b->rule].life;
	int64_t lead = mica_rotation_lead(p, of[b->rule].kind);
	char t[2][CONFIG_DURATION_SIZE];

	return config_refuse(k->src, blamed(k, path, life, life), "config_lifetimes",
		"%s (%lld) leaves too little of %s (%s) for %s (%s together); expected at most %lld, or a "
		"longer %s",
		path, (long long)b->have, life,
		config_duration(p->kind[of[b->rule].kind].life, t[0]), of[b->rule].parts,
		config_duration(lead, t[1]), (long long)b->need, life);
}

/* The inequalities are rotation.h's; what to change is said here. */
static mica_rc check_rotation(struct checking *k)
{
	static mica_rc (*const blame[MICA_RR_COUNT])(struct checking *,
		const struct mica_rotation_policy *,
		const struct mica_rotation_breach *) = {[MICA_RR_PROPAGATION] = blame_propagation,
		[MICA_RR_HOLD] = blame_hold,
		[MICA_RR_ISSUING_LIFE] = blame_issuing_life,
		[MICA_RR_ROOT_LIFE] = blame_root_life,
		[MICA_RR_JWT_LIFE] = blame_jwt_life,
		[MICA_RR_ROOT_AT] = blame_rotate_at,
		[MICA_RR_ISSUING_AT] = blame_rotate_at,
		[MICA_RR_JWT_AT] = blame_rotate_at};
	struct mica_rotation_policy p;
	struct mica_rotation_breach b;
	mica_rc rc = check_outlets(k);

	if (rc != MICA_OK)
		return rc;
	add_linkerd_outlet(k->c);
	complete_rotation(k->c);
	mica_rotation_policy_of(k->c, &p);
	return mica_rotation_policy_holds(&p, &b) ? MICA_OK : blame[b.rule](k, &p, &b);
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
	mica_rc rc = check_order(
		k, "join_tokens.ttl", c->join.ttl, "join_tokens.max_ttl", c->join.max_ttl);

	if (rc != MICA_OK)
		return rc;
	if (mica_join_new(c, k->issuers, &k->join, &setting, &why) == MICA_OK)
		return MICA_OK;
	return config_refuse_why(k->src, config_path(path, "join_tokens.%s", setting), &why);
}

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

static mica_rc check_linkerd(struct checking *k)
{
	struct mica_linkerd l = {.spiffe = k->c->linkerd.spiffe};
	const char *td =
		k->c->linkerd.trust_domain ? k->c->linkerd.trust_domain : k->c->trust_domain;
	struct mica_err why = MICA_ERR_INIT;
	bool used, ns;
	mica_rc rc = check_linkerd_issuers(k, &used);

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

static mica_rc check_rules(struct checking *k)
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

static mica_rc check_roles(struct checking *k)
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

static mica_rc check_denied(struct checking *k)
{
	return check_ids(
		k, "deny.spiffe_ids", &k->c->deny_spiffe_ids, "which gets nothing here anyway");
}

static mica_rc check_canary(struct checking *k)
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
static void warn_of_issuers(struct checking *k)
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
		check_jwt, check_lives, check_rotation, check_plugged, check_issuers, check_join,
		check_linkerd, check_grpc, check_rules, check_roles, check_denied, check_canary};
	struct checking k = {.src = src, .c = c};
	mica_rc rc = MICA_OK;

	for (size_t i = 0; i < MICA_ARRAY_LEN(steps) && rc == MICA_OK; i++)
		rc = steps[i](&k);
	if (rc == MICA_OK)
		warn_of_issuers(&k);
	mica_issuers_free(k.issuers);
	mica_join_free(k.join);
	return rc;
}
