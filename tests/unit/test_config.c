/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration: what the example says, what is refused and where, what waits for a restart. */
#include "../../ca/config_impl.h"

#include "mica/file.h"
#include "mica/log.h"

#include <setjmp.h>
#include <stdio.h>
#include <cmocka.h>

/* Two lines; what a test adds begins in line 3. */
#define MIN "trust_domain: example.org\npassphrase: {file: /p}\n"
/* One Kubernetes issuer, lines 3 to 6, and the beginning of line 7 at its level. */
#define PROD "issuers:\n- name: prod\n  kind: kubernetes\n  issuer: https://k8s.example.org\n"

static struct mica_config *parse(const char *text)
{
	struct mica_config *c = NULL;
	struct mica_err e = MICA_ERR_INIT;

	if (mica_config_parse(mica_slice_str(text), "t", &c, &e) != MICA_OK)
		fail_msg("%s: %s\n%s", e.reason, e.text, text);
	return c;
}

/* ---- the example ----------------------------------------------------------------------------- */

static struct mica_buf example(void)
{
	MICA_AUTO_BUF path;
	struct mica_buf text;
	struct mica_err e = MICA_ERR_INIT;
	const char *top = mica_env("MICA_SRCDIR");

	mica_buf_init(&path, 4096);
	mica_buf_init(&text, 1 << 18);
	mica_buf_printf(&path, "%s/deploy/examples/micad.yaml", top ? top : ".");
	if (mica_file_read((const char *)path.p, &text, &e) != MICA_OK)
		fail_msg("%s", e.text);
	return text;
}

/* Takes the '#' away from defaults ("  #key: value"), and from examples ("  #   key: value") too
 * when asked. What begins with a word of `but` stays. */
static struct mica_buf uncomment(const struct mica_buf *text, bool examples, const char *const *but)
{
	struct mica_slice rest = mica_buf_slice(text), line;
	struct mica_buf out;

	mica_buf_init(&out, 1 << 18);
	while (rest.len > 0) {
		(void)mica_slice_cut(&rest, '\n', &line);
		size_t blank = 0, skip = 0;
		while (blank < line.len && line.p[blank] == ' ')
			blank++;
		struct mica_slice from = mica_slice_sub(line, blank, line.len);
		if (from.len > 1 && from.p[0] == '#' && from.p[1] >= 'a' && from.p[1] <= 'z')
			skip = 1;
		else if (examples && mica_slice_has_prefix(from, MICA_LIT("#   ")))
			skip = 4;
		from = mica_slice_sub(from, skip, from.len);
		for (size_t i = 0; but && but[i]; i++)
			if (skip && mica_slice_has_prefix(from, mica_slice_str(but[i])))
				from = MICA_SLICE_NULL;
		mica_buf_put(&out, line.p, blank);
		mica_buf_put_slice(&out, from);
		mica_buf_put_u8(&out, '\n');
	}
	return out;
}

/* Equal in all that the tables know. */
static void assert_same(const struct mica_config *a, const struct mica_config *b)
{
	struct mica_string_list differences = {.n = 0};

	config_differences(&config_settings, a, b, true, &differences);
	if (differences.n > 0)
		fail_msg("%s is not the same", differences.v[0]);
}

static void the_example_is_made_of_defaults(void **state)
{
	MICA_AUTO_BUF text = example();
	MICA_AUTO_BUF defaults = uncomment(&text, false, NULL);
	struct mica_config *a, *b;

	(void)state;
	a = parse((const char *)text.p);
	b = parse((const char *)defaults.p);
	assert_same(a, b);
	assert_int_equal(a->warnings.n, 0);
	assert_int_equal(b->warnings.n, 0);
	mica_config_free(b);
	/* the rest of it is what a configuration must say at least */
	b = parse("trust_domain: example.org\n"
		  "passphrase: {file: /etc/mica/passphrase}\n"
		  "issuers:\n"
		  "- name: prod\n"
		  "  kind: kubernetes\n"
		  "  issuer: https://kubernetes.default.svc.cluster.local\n"
		  "  keys:\n"
		  "    ca_file: /var/run/secrets/kubernetes.io/serviceaccount/ca.crt\n"
		  "    token_file: /var/run/secrets/kubernetes.io/serviceaccount/token\n");
	assert_same(a, b);
	mica_config_free(a);
	mica_config_free(b);
}

/* Each row of the tables is in the example, and each default of a row is written there. */
static void assert_has(const struct mica_yaml_doc *all, const struct mica_yaml_doc *defaults,
	const struct setting_table *t, const char *prefix)
{
	for (unsigned i = 0; i < t->n; i++) {
		const struct setting *row = &t->rows[i];
		bool has_default = row->kind == SETTING_LIST || row->kind == SETTING_DURATION ||
			row->kind == SETTING_NUMBER || row->kind == SETTING_LISTEN ||
			(row->kind == SETTING_TEXT && row->text &&
				(int64_t)strlen(row->text) >= row->low);
		char path[CONFIG_PATH_MAX];
		int line, column;

		config_path(path, "%s%s%s", prefix, *prefix ? "." : "", row->key);
		if (row->kind == SETTING_ENTRIES && strcmp(row->key, "issuers") == 0) {
			assert_has(all, defaults, row->table, "issuers[0]");
			continue;
		}
		if (row->kind == SETTING_ENTRIES) {
			config_path(path, "%s%s%s[0]", prefix, *prefix ? "." : "", row->key);
			assert_has(all, all, row->table, path);
			continue;
		}
		if (row->kind == SETTING_PAIRS) /* not of Kubernetes */
			config_path(path, "issuers[1].%s", row->key);
		if (!mica_yaml_doc_locate(all, path, &line, &column))
			fail_msg("%s is not in the example", path);
		if (has_default && !mica_yaml_doc_locate(defaults, path, &line, &column))
			fail_msg("the default of %s is not in the example", path);
		if (row->kind == SETTING_SECTION)
			assert_has(all, defaults, row->table, path);
	}
}

static void the_example_has_every_setting(void **state)
{
	static const char *const alternatives[] = {"env:", "credential:", "jwks_uri:", "jwks_file:",
		"directory:", "passphrase_file:", NULL};
	MICA_AUTO_BUF text = example();
	MICA_AUTO_BUF all = uncomment(&text, true, NULL);
	MICA_AUTO_BUF defaults = uncomment(&text, false, NULL);
	MICA_AUTO_BUF valid = uncomment(&text, true, alternatives);
	struct mica_yaml_doc *a = NULL, *b = NULL;
	struct mica_err e = MICA_ERR_INIT;
	struct mica_config *c;

	(void)state;
	if (mica_yaml_doc_new(mica_buf_slice(&all), "all", &a, &e) != MICA_OK ||
		mica_yaml_doc_new(mica_buf_slice(&defaults), "defaults", &b, &e) != MICA_OK)
		fail_msg("%s", e.text);
	assert_has(a, b, &config_settings, "");
	mica_yaml_doc_free(a);
	mica_yaml_doc_free(b);
	/* examples are good ones */
	c = parse((const char *)valid.p);
	assert_int_equal(c->n_issuers, 2);
	assert_int_equal(c->issuers[1].n_claims, 2);
	assert_string_equal(c->issuers[1].claims[0].name, "project");
	assert_string_equal(c->issuers[1].claims[0].claim, "project_path");
	assert_int_equal(c->issuers[1].n_require, 2);
	assert_string_equal(c->issuers[1].require[1].claim, "ref_protected");
	assert_string_equal(c->issuers[1].require[1].pattern, "true");
	assert_int_equal(c->n_rules, 1);
	assert_int_equal(c->rules[0].dns.n, 2);
	assert_string_equal(c->https.public_host, "mica.example.org");
	mica_config_free(c);
}

/* The numbers that people rely on, spelled out once more. */
static void defaults(void **state)
{
	struct mica_config *c = parse(MIN PROD);
	const struct mica_issuer_config *is = &c->issuers[0];

	(void)state;
	assert_string_equal(c->store.path, "/var/lib/mica/store");
	assert_string_equal(c->https.listen.text, ":8443");
	assert_string_equal(c->https.listen.host, "::");
	assert_int_equal(c->https.listen.port, 8443);
	assert_string_equal(c->https.watch.text, "");
	assert_string_equal(c->https.watch.host, "");
	assert_string_equal(c->https.public_host, "");
	assert_int_equal(c->https.ip_addresses.n, 2);
	assert_string_equal(c->https.ip_addresses.v[1], "::1");
	assert_string_equal(c->metrics.host, "127.0.0.1");
	assert_null(c->admin.group);
	assert_int_equal(c->log.level, MICA_INFO);
	assert_false(c->log.json);
	assert_true(c->log.caller_address);
	assert_int_equal(c->x509.ttl, 3600);
	assert_int_equal(c->x509.max_ttl, 86400);
	assert_int_equal(c->x509.min_ttl, 60);
	assert_int_equal(c->x509.key_types, (1 << MICA_KN_COUNT) - 1);
	assert_int_equal(c->authorities.issuing_life, 7 * 86400);
	assert_int_equal(c->authorities.key_type, MICA_KN_P256);
	assert_true(c->rotation.root.automatic && c->rotation.issuing.automatic);
	assert_true(c->rotation.jwt.automatic && c->rotation.standby);
	assert_int_equal(c->rotation.root.rotate_at, 50);
	assert_int_equal(c->crl.validity, 86400);
	assert_null(c->crl.distribution_url);
	assert_int_equal(c->rotation.propagation, 900);
	assert_int_equal(c->rotation.hold, 86460);
	assert_int_equal(c->rotation.ack_timeout, 7 * 86400);
	assert_int_equal(c->rotation.skew, 60);
	assert_int_equal(c->rotation.trash, 7 * 86400);
	assert_int_equal(c->rotation.deadline, 4500);
	assert_int_equal(c->rotation.canary.spiffe_ids.n, 0);
	assert_int_equal(c->rotation.canary.time, 3600);
	assert_false(c->x509.refuse_forks);
	assert_false(c->jwt.oidc_discovery);
	assert_string_equal(is->cluster, "");
	assert_true(is->keys.discovery);
	assert_null(is->keys.jwks_uri);
	assert_int_equal(is->keys.max_stale, 86400);
	assert_int_equal(is->audiences[MICA_FRONT_REST].n, 1);
	assert_string_equal(is->audiences[MICA_FRONT_REST].v[0], "mica");
	assert_int_equal(is->audiences[MICA_FRONT_ISTIO].n, 0);
	assert_int_equal(is->max_token_life[MICA_FRONT_REST], 3700);
	assert_int_equal(is->max_token_life[MICA_FRONT_ISTIO], 43260);
	assert_int_equal(is->max_token_life[MICA_FRONT_LINKERD], 86460);
	assert_true(is->require_pod);
	assert_string_equal(is->spiffe_path, "/ns/{namespace}/sa/{serviceaccount}");
	assert_int_equal(is->renewal_max_age, 0);
	assert_int_equal(is->review.mode, MICA_REVIEW_NEVER);
	assert_false(is->review.allow_on_failure);
	mica_config_free(c);
}

/* ---- what is taken -----------------------------------------------------------------------------
 */

static void values(void **state)
{
	struct mica_config *c = parse(MIN
		"https: {listen: '[::1]:0', watch: '127.0.0.1:65535', max_request_body: 4096}\n"
		"metrics: {listen: 'off'}\n"
		"log: {level: debug, format: json, caller_address: false}\n"
		"x509: {ttl: 90s, max_ttl: 2h, min_ttl: 1, key_types: [ed25519, p256]}\n"
		"authorities: {key_type: p384}\n"
		"limits: {failures_per_address: 0}\n"
		"roles: {admins: [spiffe://example.org/admin]}\n"
		"deny: {spiffe_ids: [spiffe://example.org/ns/bad/, spiffe://example.org],\n"
		"       pod_uids: [0b3c5e52-6f0e-4f37-9d1c-6f4f6b0d6e11]}\n" PROD "  skew: 10s\n"
		"  require_pod: false\n"
		"  audiences: {rest: [], istio: [istio-ca, b], linkerd: [identity.l5d.io]}\n"
		"  max_token_life: {linkerd: 1h}\n"
		"  keys: {jwks_uri: 'https://10.0.0.1:6443/openid/v1/jwks'}\n"
		"  review: {mode: first-use, url: 'https://10.0.0.1:6443', token_file: /t,\n"
		"           on_failure: allow}\n"
		"- {name: other, kind: kubernetes, issuer: plain-name, keys: {jwks_file: /k},\n"
		"   same_names_as: [prod],\n"
		"   review: {mode: always, url: 'https://[::1]/x', token_file: /t}}\n"
		"rules:\n"
		"- {issuer: 'pr*', namespace: a, serviceaccount: b, dns: [db.internal], ttl: 60}\n"
		"- {max_ttl: 30, key_types: [rsa2048]}\n");

	(void)state;
	assert_string_equal(c->https.listen.host, "::1");
	assert_int_equal(c->https.listen.port, 0);
	assert_string_equal(c->https.watch.host, "127.0.0.1");
	assert_int_equal(c->https.watch.port, 65535);
	assert_string_equal(c->metrics.text, "");
	assert_int_equal(c->log.level, MICA_DEBUG);
	assert_true(c->log.json);
	assert_false(c->log.caller_address);
	assert_int_equal(c->x509.ttl, 90);
	assert_int_equal(c->x509.max_ttl, 7200);
	assert_int_equal(c->x509.key_types, 1 << MICA_KN_P256 | 1 << MICA_KN_ED25519);
	assert_int_equal(c->authorities.key_type, MICA_KN_P384);
	assert_int_equal(c->limits.failures_per_address, 0);
	assert_string_equal(c->deny_spiffe_ids.v[0], "spiffe://example.org/ns/bad");
	assert_string_equal(c->deny_spiffe_ids.v[1], "spiffe://example.org");
	assert_int_equal(c->issuers[0].audiences[MICA_FRONT_REST].n, 0);
	assert_int_equal(c->issuers[0].audiences[MICA_FRONT_ISTIO].n, 2);
	assert_int_equal(c->issuers[0].max_token_life[MICA_FRONT_ISTIO], 43210);
	assert_int_equal(c->issuers[0].max_token_life[MICA_FRONT_LINKERD], 3600);
	assert_false(c->issuers[0].require_pod);
	assert_false(c->issuers[0].keys.discovery);
	assert_int_equal(c->issuers[0].review.mode, MICA_REVIEW_FIRST_USE);
	assert_true(c->issuers[0].review.allow_on_failure);
	assert_string_equal(c->issuers[0].review.url,
		"https://10.0.0.1:6443/apis/authentication.k8s.io/v1/tokenreviews");
	assert_string_equal(c->issuers[1].review.url, "https://[::1]/x");
	assert_int_equal(c->issuers[1].same_names_as.n, 1);
	assert_string_equal(c->rules[0].issuer, "pr*");
	assert_string_equal(c->rules[1].issuer, "");
	assert_int_equal(c->rules[0].max_ttl, 0);
	assert_int_equal(c->rules[1].max_ttl, 30);
	assert_int_equal(c->rules[1].key_types, 1 << MICA_KN_RSA2048);
	assert_int_equal(c->warnings.n, 0);
	mica_config_free(c);
}

/* What is not said of the API server that knows where pods are is as for reviews. */
static void meshes(void **state)
{
	struct mica_config *c = parse(MIN
		"linkerd: {control_plane_namespace: l5d, trust_domain: cluster.local, spiffe: false}\n" PROD
		"  audiences: {istio: [istio-ca], linkerd: [identity.l5d.io]}\n"
		"  review: {url: 'https://10.0.0.1:6443/x/y', ca_file: /ca, token_file: /t}\n"
		"  impersonation: {accounts: [istio-system/ztunnel], timeout: 2s, ca_file: /own}\n"
		"- {name: two, kind: kubernetes, issuer: 'https://2', same_names_as: [prod],\n"
		"   audiences: {istio: [istio-ca], linkerd: [identity.l5d.io]},\n"
		"   impersonation: {accounts: [a/b.c], url: 'https://[::1]:1', token_file: /t}}\n");
	const struct mica_issuer_config *is = c->issuers;

	(void)state;
	assert_int_equal(c->warnings.n, 0);
	assert_string_equal(is[0].impersonation.url, "https://10.0.0.1:6443");
	assert_string_equal(is[0].impersonation.ca_file, "/own");
	assert_string_equal(is[0].impersonation.token_file, "/t");
	assert_int_equal(is[0].impersonation.timeout, 2);
	assert_string_equal(is[1].impersonation.url, "https://[::1]:1");
	assert_string_equal(c->linkerd.control_plane_namespace, "l5d");
	assert_string_equal(c->linkerd.trust_domain, "cluster.local");
	assert_false(c->linkerd.spiffe);
	mica_config_free(c);
	c = parse(MIN PROD);
	assert_string_equal(c->linkerd.control_plane_namespace, "linkerd");
	assert_null(c->linkerd.trust_domain); /* that of SPIFFE IDs */
	assert_true(c->linkerd.spiffe);
	assert_null(c->linkerd_server);
	mica_config_free(c);
	c = parse(MIN "linkerd: {workloads: [{namespace: a, serviceaccount: b, labels: [x=y, z=]}, "
		      "{namespace: a}]}\n" PROD);
	assert_int_equal(c->linkerd.n_workloads, 2);
	assert_string_equal(c->linkerd.workloads[0].sa, "b");
	assert_string_equal(c->linkerd.workloads[0].labels.v[1], "z=");
	assert_null(c->linkerd.workloads[1].sa);
	mica_config_free(c);
	/* who never tells which roots it has is waited for */
	c = parse(MIN "grpc: {listen: ':1'}\n" PROD "  audiences: {linkerd: [identity.l5d.io]}\n");
	assert_string_equal(c->linkerd_server,
		"linkerd-identity.linkerd.serviceaccount.identity.linkerd.example.org");
	assert_int_equal(c->rotation.n_outlets, 1);
	assert_string_equal(c->rotation.outlets[0].name, "linkerd");
	assert_int_equal(c->rotation.outlets[0].propagation, 0);
	assert_int_equal(c->warnings.n, 1);
	mica_config_free(c);
	c = parse(
		MIN "grpc: {listen: ':1'}\n"
		    "rotation: {outlets: [{name: files, propagation: 1h}, {name: linkerd}]}\n" PROD
		    "  audiences: {linkerd: [identity.l5d.io]}\n");
	assert_int_equal(c->rotation.n_outlets, 2);
	assert_int_equal(c->warnings.n, 0);
	mica_config_free(c);
}

/* For a playground: everything in seconds, as long as the inequalities hold. */
static void short_lives(void **state)
{
	mica_config_free(
		parse(MIN "x509: {ttl: 5, max_ttl: 10, min_ttl: 2}\n"
			  "jwt: {ttl: 5, max_ttl: 10}\n"
			  "bundle: {refresh_hint: 1}\n"
			  "authorities: {root_life: 99, issuing_life: 33, jwt_life: 75}\n"));
	(void)state;
}

#define TWO                                                                                        \
	"- {name: two, kind: kubernetes, issuer: 'https://2',\n"                                   \
	"   spiffe_path: '/2/ns/{namespace}/sa/{serviceaccount}'}\n"

static void no_warnings(void **state)
{
	static const char *const cases[] = {
		MIN PROD TWO "rules: [{dns: ['{serviceaccount}.{namespace}.{issuer}']}]\n",
		MIN PROD TWO "rules: [{issuer: two, dns: ['{serviceaccount}.{namespace}.svc']}]\n",
		MIN PROD "rules: [{namespace: a, serviceaccount: b, dns: [b.a.svc]}]\n",
		MIN PROD "roles: {admins: [spiffe://example.org/people/ann]}\n",
	};

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++) {
		struct mica_config *c = parse(cases[i]);

		if (c->warnings.n > 0)
			fail_msg("%s", c->warnings.v[0]);
		mica_config_free(c);
	}
}

static void warnings(void **state)
{
	static const struct {
		const char *text, *say;
	} cases[] = {
		{MIN, "no issuers: nobody can get a certificate"},
		{MIN PROD "roles: {admins: [spiffe://example.org/ns/a/sa/b],\n"
			  "        auditors: [spiffe://example.org/ns/a/sa/b]}\n",
			"a role is given to spiffe://example.org/ns/a/sa/b, a name that issuer prod can make"},
		{MIN PROD "  review: {url: 'https://x'}\n",
			"issuer prod: review.url does nothing while review.mode is never"},
		{MIN PROD "  review: {mode: always, url: 'https://x'}\n",
			"issuer prod: review.token_file is missing, and API servers answer no strangers"},
		{MIN PROD "  impersonation: {url: 'https://x'}\n",
			"issuer prod: impersonation.url does nothing without accounts"},
		{MIN PROD
			"  audiences: {istio: [i]}\n  impersonation: {url: 'https://x', accounts: [a/b]}\n",
			"issuer prod: impersonation.token_file is missing, and API servers answer no strangers"},
		{MIN PROD "  impersonation: {url: 'https://x', token_file: /t, accounts: [a/b]}\n",
			"issuer prod: impersonation does nothing without audiences.istio"},
		{MIN PROD "  keys: {jwks_file: /k, allow_hosts: [a]}\n",
			"issuer prod: keys.allow_hosts is for discovery and does nothing here"},
		{MIN PROD "rules: [{namespace: a, dns: [db.a]}]\n",
			"rules[0].dns[0]: \"db.a\" is given to every service account that the rule matches"},
		{MIN PROD "  spiffe_path: /ns/{namespace}/pod/{pod}\n",
			"issuer prod: spiffe_path /ns/{namespace}/pod/{pod} lacks {namespace} or {serviceaccount}, so several service accounts share a name"},
		{MIN PROD TWO "rules: [{dns: ['{serviceaccount}.{namespace}.svc']}]\n",
			"rules[0].dns[0]: {serviceaccount}.{namespace}.svc gives issuers prod and two the same DNS names; name one issuer, or use {cluster} or {issuer}"},
	};

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++) {
		struct mica_config *c = parse(cases[i].text);
		bool said = false;

		for (unsigned n = 0; n < c->warnings.n; n++)
			said = said || strcmp(c->warnings.v[n], cases[i].say) == 0;
		if (!said)
			fail_msg("not said: %s; but: %s", cases[i].say,
				c->warnings.n ? c->warnings.v[0] : "nothing");
		if (c->warnings.n > 1)
			fail_msg("said besides: %s", c->warnings.v[1]);
		mica_config_free(c);
	}
}

/* ---- what is refused ----------------------------------------------------------------------------
 */

struct bad {
	const char *text, *reason;
	int line, column;
	const char *say;
};

static void refuse(const struct bad *bad, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct mica_config *c = NULL;
		struct mica_err e = MICA_ERR_INIT;
		char place[32];

		if (mica_config_parse(mica_slice_str(bad[i].text), "t", &c, &e) == MICA_OK)
			fail_msg("taken, expected %s:\n%s", bad[i].reason, bad[i].text);
		assert_null(c);
		assert_int_equal(e.rc, MICA_INVALID);
		snprintf(place, sizeof(place), "t:%d:%d: ", bad[i].line, bad[i].column);
		if (strcmp(e.reason, bad[i].reason) != 0 || e.line != bad[i].line ||
			e.column != bad[i].column || strncmp(e.text, place, strlen(place)) != 0 ||
			strstr(e.text, bad[i].say) == NULL)
			fail_msg("%s: %s [%d:%d]\nexpected %s: %s%s\n%s", e.reason, e.text, e.line,
				e.column, bad[i].reason, place, bad[i].say, bad[i].text);
	}
}

static void bad_forms(void **state)
{
	static const struct bad bad[] = {
		{"", "yaml_syntax", 1, 1, "the text is empty"},
		{"a: [", "yaml_syntax", 2, 1, "did not find"},
		{"passphrase: {file: /p}\n", "yaml_schema", 1, 1,
			"the key \"trust_domain\" is missing"},
		{MIN "htps: {}\n", "yaml_schema", 3, 1,
			"unknown key \"htps\", expected one of trust_domain, store"},
		{MIN "https: {port: 1}\n", "yaml_schema", 3, 9,
			"https: unknown key \"port\", expected one of listen, watch"},
		{MIN "https: 8443\n", "yaml_schema", 3, 8, "https: expected a mapping"},
		{MIN "https: {listen: }\n", "yaml_schema", 3, 17,
			"https.listen: expected a string"},
		{MIN "https: {threads: [1]}\n", "yaml_schema", 3, 18, "found a list"},
		{MIN "roles: {admins: x}\n", "yaml_schema", 3, 17, "roles.admins: expected a list"},
		{MIN "log: {level: verbose}\n", "yaml_schema", 3, 14,
			"log.level: expected one of debug, info, warn, error, found \"verbose\""},
		{MIN "log: {format: xml}\n", "yaml_schema", 3, 15, "expected one of logfmt, json"},
		{MIN "log: {caller_address: yes}\n", "yaml_schema", 3, 23,
			"expected true or false"},
		{MIN "x509: {key_types: [p256, dsa]}\n", "yaml_schema", 3, 26,
			"x509.key_types[1]: expected one of p256, p384, rsa2048, rsa3072, rsa4096, ed25519"},
		{MIN "authorities: {key_type: ed25519}\n", "yaml_schema", 3, 25,
			"expected one of p256, p384, rsa2048, rsa3072, rsa4096"},
		{MIN "issuers: [{kind: oidc, issuer: 'https://x'}]\n", "yaml_schema", 3, 11,
			"issuers[0]: the key \"name\" is missing"},
		{MIN "issuers: [{name: a, kind: k8s, issuer: 'https://x'}]\n", "yaml_schema", 3, 27,
			"issuers[0].kind: expected one of kubernetes, oidc"},
		{MIN PROD "  claims: [a]\n", "yaml_schema", 7, 11,
			"issuers[0].claims: expected a mapping, found a list"},
		{MIN PROD "  require: {a: }\n", "yaml_schema", 7, 16,
			"issuers[0].require.a: expected a string, found nothing"},
		{MIN MIN, "yaml_syntax", 3, 1, "appears twice"},
	};

	(void)state;
	refuse(bad, MICA_ARRAY_LEN(bad));
}

static void bad_values(void **state)
{
	static const struct bad bad[] = {
		{"trust_domain: Example.org\n", "trust_domain_invalid", 1, 15, "trust_domain: "},
		{MIN "store: {path: var}\n", "config_value", 3, 15, "begins with /"},
		{MIN "store: {max_disk_percent: 101}\n", "config_value", 3, 27,
			"expected a whole number from 1 to 100, found \"101\""},
		{MIN "store: {max_disk_percent: 0x10}\n", "config_value", 3, 27, "found \"0x10\""},
		{MIN "https: {threads: -1}\n", "config_value", 3, 18, "from 0 to 256"},
		{MIN "https: {max_request_body: 1k}\n", "config_value", 3, 27,
			"from 4096 to 1048576, found \"1k\""},
		{MIN "https: {idle_timeout: 0}\n", "config_value", 3, 23,
			"expected a duration from 1s to 1h"},
		{MIN "https: {idle_timeout: 1h30m}\n", "config_value", 3, 23, "found \"1h30m\""},
		{MIN "https: {idle_timeout: 2h}\n", "config_value", 3, 23, "from 1s to 1h"},
		{MIN "x509: {ttl: 99999999999999999999d}\n", "config_value", 3, 13,
			"from 1s to 366d"},
		{MIN "https: {listen: '8443'}\n", "config_value", 3, 17,
			"not an address to listen on"},
		{MIN "https: {listen: 'localhost:8443'}\n", "config_value", 3, 17,
			"numeric address"},
		{MIN "https: {listen: '::1:8443'}\n", "config_value", 3, 17, "\"[::1]:8443\""},
		{MIN "https: {listen: '[127.0.0.1]:1'}\n", "config_value", 3, 17, "https.listen"},
		{MIN "https: {listen: '127.0.0.1:65536'}\n", "config_value", 3, 17, "https.listen"},
		{MIN "https: {listen: '127.0.0.1:'}\n", "config_value", 3, 17, "https.listen"},
		{MIN "https: {listen: '127.0.0.1:08'}\n", "config_value", 3, 17, "https.listen"},
		{MIN "https: {listen: '[fe80::1%eth0]:1'}\n", "config_value", 3, 17,
			"https.listen"},
		{MIN "https: {listen: 'off'}\n", "config_value", 3, 17, "cannot be off"},
		{MIN "https: {dns_names: [ok, Not.Ok]}\n", "dns_name_invalid", 3, 25,
			"https.dns_names[1]"},
		{MIN "https: {ip_addresses: [127.1]}\n", "config_value", 3, 24,
			"\"127.1\" is not an IP address"},
		{MIN "https: {public_host: 'https://x'}\n", "config_value", 3, 22, "is not a host"},
		{MIN "https: {public_host: 'x:0'}\n", "config_value", 3, 22, "is not a host"},
		{MIN "https: {public_host: '[::1'}\n", "config_value", 3, 22, "is not a host"},
		{MIN "https: {public_host: '[x]:1'}\n", "config_value", 3, 22, "is not a host"},
		{MIN "https: {public_host: '::1'}\n", "config_value", 3, 22, "is not a host"},
		{MIN "https: {dns_names: [a, b, a]}\n", "config_value", 3, 27,
			"https.dns_names[2]: \"a\" stands in the list already, as entry 1"},
		{MIN "grpc: {plaintext: ':15010'}\n", "config_value", 3, 19,
			"not of this machine alone"},
		{MIN "grpc: {plaintext: '10.0.0.1:15010'}\n", "config_value", 3, 19,
			"not of this machine alone"},
		{MIN "grpc: {listen: ':8443'}\n", "config_conflict", 3, 16,
			"is the address of https.listen"},
		{MIN "grpc: {listen: ':15012', plaintext: '127.0.0.1:15012'}\n", "config_conflict",
			3, 37, "is the address of grpc.listen"},
		{MIN "grpc: {socket: x}\n", "config_value", 3, 16, "grpc.socket"},
		{MIN "grpc: {dns_names: ['*.x']}\n", "dns_name_invalid", 3, 20,
			"grpc.dns_names[0]"},
		{MIN "grpc: {max_age: 10}\n", "config_value", 3, 17, "from 1m to 1d"},
		{MIN "admin: {socket: admin.sock}\n", "config_value", 3, 17, "admin.socket"},
		{MIN "admin: {group: 'a b'}\n", "config_value", 3, 16, "is not a name"},
		{MIN "x509: {key_types: []}\n", "config_value", 3, 19, "no key type at all"},
		{MIN "roles: {admins: ['spiffe://example.org/a', 'spiffe://x/b']}\n",
			"config_value", 3, 44,
			"roles.admins[1]: \"spiffe://x/b\" is of another trust domain"},
		{MIN "roles: {admins: ['spiffe://example.org/a/']}\n", "spiffe_id_path", 3, 18,
			"roles.admins[0]"},
		{MIN "roles: {auditors: ['spiffe://example.org']}\n", "spiffe_id_no_path", 3, 20,
			"roles.auditors[0]"},
		{MIN "roles: {auditors: ['spiffe://example.org/mica/server']}\n", "name_reserved",
			3, 20, "a name of Mica's own"},
		{MIN "deny: {spiffe_ids: ['spiffe://x/b']}\n", "config_value", 3, 21,
			"deny.spiffe_ids[0]"},
		{MIN "deny: {spiffe_ids: [ns/b]}\n", "spiffe_id_scheme", 3, 21,
			"deny.spiffe_ids[0]"},
		{MIN "deny: {pod_uids: [0B3C5E52-6F0E-4F37-9D1C-6F4F6B0D6E11]}\n", "config_value",
			3, 19, "is not a UID"},
		{"trust_domain: a\npassphrase: {env: 1A}\n", "config_value", 2, 19,
			"cannot name an environment variable"},
		{"trust_domain: a\npassphrase: {credential: ../x}\n", "config_value", 2, 26,
			"is not a name"},
	};

	(void)state;
	refuse(bad, MICA_ARRAY_LEN(bad));
}

static void bad_together(void **state)
{
	static const struct bad bad[] = {
		{"trust_domain: a\n", "config_missing", 1, 1,
			"passphrase: no source of the passphrase"},
		{"trust_domain: a\npassphrase:\n", "config_missing", 2, 12, "exactly one of file"},
		{"trust_domain: a\npassphrase: {file: /p, env: P}\n", "config_conflict", 2, 13,
			"several sources; expected exactly one of file, env and credential"},
		{MIN "https: {listen: ':1', watch: ':1'}\n", "config_conflict", 3, 30,
			"https.watch: :1 is the address of https.listen (:1) too"},
		{MIN "https: {listen: '0.0.0.0:9464'}\n", "config_conflict", 1, 1,
			"metrics.listen: 127.0.0.1:9464 is the address of https.listen"},
		{MIN "metrics: {listen: '[::1]:1'}\nhttps: {watch: '[::1]:1'}\n", "config_conflict",
			3, 19, "metrics.listen"},
		{MIN "jwt: {oidc_discovery: true}\n", "config_conflict", 3, 23,
			"expected https.public_host too"},
		{MIN "join_tokens: {spiffe_path: /vm}\n", "config_value", 3, 28,
			"join_tokens.spiffe_path: /vm is one name for all machines"},
		{MIN "join_tokens: {ttl: 2d}\n", "config_lifetimes", 3, 20,
			"join_tokens.ttl (2d) is above join_tokens.max_ttl (1d)"},
		{MIN "x509: {min_ttl: 2h}\n", "config_lifetimes", 3, 17,
			"x509.min_ttl (2h) is above x509.ttl (1h)"},
		{MIN "x509: {max_ttl: 30m}\n", "config_lifetimes", 3, 17,
			"x509.ttl (1h) is above x509.max_ttl (30m)"},
		{MIN "jwt: {ttl: 2h}\n", "config_lifetimes", 3, 12,
			"jwt.ttl (2h) is above jwt.max_ttl (1h)"},
		{MIN "x509: {max_ttl: 3d}\n", "config_lifetimes", 3, 17,
			"authorities.issuing_life (7d) is too short for 3 certificates of 3d (x509.max_ttl) "
			"and rotation.propagation (15m); expected at least 10d, or a lower x509.max_ttl"},
		{MIN "x509: {max_ttl: 10}\nbundle: {refresh_hint: 4}\n"
		     "authorities: {issuing_life: 41}\n",
			"config_lifetimes", 3, 17, "x509.ttl (1h) is above"},
		{MIN "x509: {ttl: 9, max_ttl: 10, min_ttl: 1}\nbundle: {refresh_hint: 4}\n"
		     "authorities: {issuing_life: 41}\n",
			"config_lifetimes", 5, 29, "(41s) is too short"},
		{MIN "authorities: {root_life: 20d}\n", "config_lifetimes", 3, 26,
			"authorities.root_life (20d) is too short for 3 issuing authorities of 7d; expected at "
			"least 21d, or a lower authorities.issuing_life"},
		{MIN "jwt: {max_ttl: 1d}\nauthorities: {jwt_life: 1d}\n", "config_lifetimes", 4, 25,
			"authorities.jwt_life (1d) is too short for 5 times bundle.refresh_hint (5m)"},
		{MIN "rotation: {propagation: 1m}\n", "config_lifetimes", 3, 25,
			"rotation.propagation (1m) is shorter than 3 times bundle.refresh_hint; expected at "
			"least 15m"},
		{MIN "rotation: {propagation: 1h, outlets: [{name: a, propagation: 2h}]}\n",
			"config_lifetimes", 3, 25,
			"shorter than that of the slowest of rotation.outlets; expected at least 2h"},
		{MIN "rotation: {hold: 1d}\n", "config_lifetimes", 3, 18,
			"rotation.hold (1d) is shorter than the longest certificate (x509.max_ttl) and "
			"rotation.skew (1m); expected at least 1441m"},
		{MIN "rotation: {issuing: {rotate_at: 90}}\n", "config_lifetimes", 3, 33,
			"rotation.issuing.rotate_at (90) leaves too little of authorities.issuing_life (7d) "
			"for propagation, the longest certificate and skew (1456m together); expected at "
			"most 85"},
		{MIN "rotation: {ack_timeout: 300d, root: {rotate_at: 95}}\n", "config_lifetimes",
			3, 49,
			"rotation.root.rotate_at (95) leaves too little of authorities.root_life"},
		{MIN "authorities: {jwt_life: 1d}\nrotation: {jwt: {rotate_at: 99}}\n",
			"config_lifetimes", 4, 29,
			"rotation.jwt.rotate_at (99) leaves too little of authorities.jwt_life (1d)"},
		{MIN "crl: {distribution_url: 'http://a/x.crl'}\n", "config_value", 3, 25,
			"expected http[s]://host[:port]/path with one {authority} in the path"},
		{MIN "crl: {distribution_url: 'http://{authority}/x'}\n", "config_value", 3, 25,
			"cannot lead to a CRL"},
		{MIN "crl: {distribution_url: 'http://a/{authority}/{authority}'}\n",
			"config_value", 3, 25, "with one {authority}"},
		{MIN "crl: {distribution_url: 'ldap://a/{authority}'}\n", "config_value", 3, 25,
			"cannot lead to a CRL"},
		{MIN "rotation: {outlets: [{name: a}, {name: a}]}\n", "config_value", 3, 40,
			"entry 1 has this name already"},
		{MIN "rotation: {outlets: [{name: canary}]}\n", "config_value", 3, 29,
			"\"canary\" is the canary channel's; expected another"},
		{MIN "rotation: {canary: {spiffe_ids: [spiffe://other.org/ns/a]}}\n",
			"config_value", 3, 34,
			"is of another trust domain, which has bundles of its own; expected "
			"spiffe://example.org/..."},
		{MIN "rotation: {canary: {spiffe_ids: [spiffe://example.org/ns/a], time: 4d}}\n",
			"config_lifetimes", 1, 1,
			"authorities.jwt_life: rotation.jwt.rotate_at (50) leaves too little of authorities.jwt_life (7d) for "
			"canary.time"},
		{MIN "rotation: {outlets: [{name: A}]}\n", "config_value", 3, 29,
			"\"A\" cannot name an outlet"},
		{MIN PROD "rules: [{max_ttl: 3d}]\n", "config_lifetimes", 7, 19,
			"rules[0].max_ttl: authorities.issuing_life (7d) is too short"},
		{MIN PROD "rules: [{ttl: 2d}]\n", "config_lifetimes", 7, 15,
			"rules[0].ttl (2d) is above x509.max_ttl (1d)"},
		{MIN PROD "rules: [{ttl: 2h, max_ttl: 1h}]\n", "config_lifetimes", 7, 15,
			"rules[0].ttl (2h) is above rules[0].max_ttl (1h)"},
		{MIN PROD "rules: [{ttl: 59}]\n", "config_lifetimes", 7, 15,
			"x509.min_ttl (1m) is above rules[0].ttl (59s)"},
		{MIN PROD "rules: [{max_ttl: 30}]\n", "config_lifetimes", 7, 19,
			"x509.min_ttl (1m) is above rules[0].max_ttl (30s)"},
	};

	(void)state;
	refuse(bad, MICA_ARRAY_LEN(bad));
}

#define OIDC "issuers:\n- name: ci\n  kind: oidc\n  issuer: https://ci.example.org\n"

static void bad_issuers(void **state)
{
	static const struct bad bad[] = {
		{MIN PROD "  keys: {discovery: true, jwks_file: /k}\n", "config_conflict", 7, 9,
			"issuers[0].keys: several sources for the issuer's keys; expected exactly one"},
		{MIN PROD "  keys: {discovery: false}\n", "config_missing", 7, 9, "no source"},
		{MIN PROD "  impersonation: {accounts: [ztunnel]}\n", "config_value", 7, 30,
			"issuers[0].impersonation.accounts[0]: \"ztunnel\" is not a service account"},
		{MIN PROD "  impersonation: {accounts: [a.b/c]}\n", "config_value", 7, 30,
			"expected namespace/name"},
		{MIN PROD "  impersonation: {accounts: [a/b]}\n", "config_missing", 7, 18,
			"issuers[0].impersonation: who knows which pods run on a node?"},
		{MIN PROD
			"  require_pod: false\n  impersonation: {accounts: [a/b], url: 'https://x'}\n",
			"config_conflict", 8, 18, "only pods have a node"},
		{MIN "linkerd: {workloads: [{namespace: a, labels: [x]}]}\n" PROD, "config_value",
			3, 47, "linkerd.workloads[0].labels[0]: \"x\" is no label"},
		{MIN OIDC "  spiffe_path: /ci/{sub}\n  audiences: {linkerd: [x]}\n",
			"config_conflict", 8, 24, "Linkerd's names are of service accounts"},
		{MIN PROD
			"  audiences: {linkerd: [x]}\n"
			"- {name: two, kind: kubernetes, issuer: 'https://2', audiences: {linkerd: [x]},\n"
			"   spiffe_path: '/2/ns/{namespace}/sa/{serviceaccount}'}\n",
			"names_overlap", 8, 75,
			"issuers prod and two would give one name to different accounts"},
		{"trust_domain: a_b\npassphrase: {file: /p}\n" PROD "  audiences: {linkerd: [x]}\n",
			"linkerd_trust_domain_invalid", 1, 1,
			"linkerd.trust_domain: \"a_b\" is not a DNS name"},
		{MIN "linkerd: {control_plane_namespace: a.b}\n" PROD
		     "  audiences: {linkerd: [x]}\n",
			"linkerd_namespace_invalid", 3, 36,
			"linkerd.control_plane_namespace: \"a.b\" is not a namespace"},
		{MIN "issuers:\n- {name: a, kind: kubernetes, issuer: plain}\n", "config_missing",
			4, 3, "issuers[0].keys: no source"},
		{MIN "issuers:\n- {name: a, kind: kubernetes, issuer: plain, keys: {discovery: true}}\n",
			"config_conflict", 4, 64, "has no address to discover keys at"},
		{MIN PROD "  keys: {jwks_uri: 'http://x/k'}\n", "config_value", 7, 20,
			"issuers[0].keys.jwks_uri: \"http://x/k\" is not an address of the web"},
		{MIN PROD "  keys: {jwks_uri: 'https://u@x/k'}\n", "config_value", 7, 20,
			"https://host"},
		{MIN PROD "  keys: {jwks_uri: 'https:///k'}\n", "config_value", 7, 20,
			"https://host"},
		{MIN PROD "  keys: {jwks_uri: 'https://x/k#f'}\n", "config_value", 7, 20,
			"https://host"},
		{MIN PROD "  keys: {jwks_file: k}\n", "config_value", 7, 21, "begins with /"},
		{MIN PROD "  keys: {allow_hosts: ['https://x']}\n", "config_value", 7, 24,
			"keys.allow_hosts[0]"},
		{MIN PROD "  keys: {refresh: 2h, max_stale: 1h}\n", "config_lifetimes", 7, 34,
			"keys would be stale"},
		{MIN PROD "  audiences: {rest: []}\n", "issuer_audience_invalid", 7, 14,
			"issuers[0].audiences: issuer prod: no audience on any front"},
		{MIN PROD "  audiences: {istio: [a b]}\n", "issuer_audience_invalid", 7, 14,
			"not visible ASCII"},
		{MIN PROD "  skew: 11m\n", "config_value", 7, 9, "from 0s to 10m"},
		{MIN PROD "  cluster: a/b\n", "issuer_cluster_invalid", 7, 12,
			"issuers[0].cluster"},
		{MIN PROD "  spiffe_path: /mica/{namespace}\n", "template_reserved", 7, 16,
			"issuers[0].spiffe_path"},
		{MIN PROD "  spiffe_path: /x-{namespace}\n", "template_ambiguous", 7, 16,
			"issuers[0].spiffe_path"},
		{MIN PROD "  spiffe_path: /{team}\n", "template_unknown_field", 7, 16, "namespace"},
		{MIN PROD "  claims: {team: team}\n", "issuer_claim_invalid", 7, 11,
			"issuers[0].claims"},
		{MIN PROD "  same_names_as: [nobody]\n", "same_names_unknown", 7, 18,
			"issuers[0].same_names_as"},
		{MIN PROD "  review: {mode: always}\n", "config_missing", 7, 11,
			"issuers[0].review: who reviews tokens? expected url"},
		{MIN PROD "  review: {mode: always, url: 'http://x'}\n", "config_value", 7, 31,
			"issuers[0].review.url"},
		{MIN PROD "- {name: Two, kind: kubernetes, issuer: 'https://2'}\n",
			"issuer_name_invalid", 7, 10, "issuers[1].name"},
		{MIN PROD "- {name: prod, kind: kubernetes, issuer: 'https://2'}\n",
			"issuer_name_duplicate", 7, 10, "issuers[1].name"},
		{MIN PROD "- {name: two, kind: kubernetes, issuer: 'https://k8s.example.org'}\n",
			"issuer_url_duplicate", 7, 41, "issuers[1].issuer"},
		{MIN PROD "- {name: two, kind: kubernetes, issuer: 'https://2'}\n", "names_overlap",
			7, 3, "issuers[1].spiffe_path: issuer two: could speak for names of prod"},
		{MIN OIDC, "config_missing", 4, 3, "issuers[0]: kind oidc has no usual names"},
		{MIN OIDC "  spiffe_path: /ci/{sub}\n  require_pod: true\n", "config_conflict", 8,
			16, "belong to no pod"},
		{MIN OIDC "  spiffe_path: /ci/{sub}\n  review: {mode: always, url: 'https://x'}\n",
			"config_conflict", 8, 18, "only a Kubernetes API server reviews tokens"},
		{MIN OIDC "  spiffe_path: /ci/{sub}\n  require: {ref: 'a['}\n", "pattern_invalid",
			8, 12, "issuers[0].require"},
		{MIN OIDC "  spiffe_path: /ci/{sub}\n  claims: {Ref: ref}\n",
			"issuer_claim_invalid", 8, 11, "cannot name a mapped claim"},
	};

	(void)state;
	refuse(bad, MICA_ARRAY_LEN(bad));
}

static void bad_rules(void **state)
{
	static const struct bad bad[] = {
		{MIN PROD "rules: [{issuer: test}]\n", "config_value", 7, 18,
			"rules[0].issuer: no issuer is called \"test\""},
		{MIN "rules: [{ttl: 1h}]\n", "config_value", 3, 9, "rules[0].issuer: no issuer"},
		{MIN PROD "rules: [{namespace: 'a*b'}]\n", "config_value", 7, 21,
			"rules[0].namespace: \"a*b\" can be no name"},
		{MIN PROD "rules: [{namespace: a.b}]\n", "config_value", 7, 21, "[a-z0-9-]"},
		{MIN PROD "rules: [{serviceaccount: A}]\n", "config_value", 7, 26, "[a-z0-9.-]"},
		{MIN PROD "rules: [{}, {dns: [a, '*.b']}]\n", "template_syntax", 7, 23,
			"rules[1].dns[1]"},
		{MIN PROD "rules: [{dns: ['{team}.svc']}]\n", "template_unknown_field", 7, 16,
			"rules[0].dns[0]"},
		{MIN PROD "rules: [{dns: ['{cluster}.svc']}]\n", "config_conflict", 7, 16,
			"tokens of issuer prod cannot fill {cluster}.svc: it has no cluster"},
		{MIN PROD "  require_pod: false\nrules: [{dns: ['{pod}.svc']}]\n",
			"config_conflict", 8, 16, "require_pod is false"},
		{MIN OIDC "  spiffe_path: /ci/{sub}\nrules: [{dns: ['{namespace}.svc']}]\n",
			"config_conflict", 8, 16, "its tokens have no namespace"},
		{MIN PROD "https: {dns_names: [mica.infra.svc]}\n"
			  "rules: [{dns: ['{serviceaccount}.{namespace}.svc']}]\n",
			"name_reserved", 8, 16, "\"mica.infra.svc\", a name of Mica's own"},
		{MIN PROD "rules: [{key_types: []}]\n", "config_value", 7, 21, "no key type"},
	};

	(void)state;
	refuse(bad, MICA_ARRAY_LEN(bad));
}

static void bad_files(void **state)
{
	struct mica_config *c = NULL;
	struct mica_err e = MICA_ERR_INIT;
	MICA_AUTO_BUF big;

	(void)state;
	assert_int_equal(mica_config_load("/nonexistent/micad.yaml", &c, &e), MICA_NOT_FOUND);
	assert_string_equal(e.reason, "no_such_file");
	assert_null(c);
	mica_err_clear(&e);
	mica_buf_init(&big, 1 << 20);
	for (int i = 0; i < 30000; i++)
		mica_buf_put_str(&big, "# comment\n");
	assert_int_equal(mica_config_parse(mica_buf_slice(&big), NULL, &c, &e), MICA_LIMIT);
	assert_string_equal(e.reason, "yaml_too_long");
	mica_err_clear(&e);
	/* more claims than any template could name */
	mica_buf_reset(&big);
	mica_buf_put_str(&big, MIN PROD "  claims:\n");
	for (int i = 0; i < 65; i++)
		mica_buf_printf(&big, "    c%d: x\n", i);
	assert_int_equal(mica_config_parse(mica_buf_slice(&big), NULL, &c, &e), MICA_INVALID);
	assert_string_equal(e.reason, "yaml_schema");
	assert_non_null(strstr(e.text, "expected at most 64 entries, found 65"));
	mica_err_clear(&e);
	/* without a name the text begins with the place */
	assert_int_equal(
		mica_config_parse(MICA_LIT("trust_domain: a\n"), NULL, &c, &e), MICA_INVALID);
	assert_true(strncmp(e.text, "1:1: passphrase: ", 17) == 0);
}

/* The names of the serving certificate: each once, and those of a front that is off not at all. */
static void serving_names(void **state)
{
	static const struct {
		const char *text, *names;
	} cases[] = {
		{MIN, "localhost"},
		{MIN "grpc: {dns_names: [b]}\n", "localhost"},
		{MIN "grpc: {listen: ':15012', dns_names: [istiod.istio-system.svc]}\n",
			"localhost istiod.istio-system.svc"},
		{MIN "grpc: {socket: /s, dns_names: [b, a]}\nhttps: {dns_names: [a]}\n", "a b"},
		{MIN "grpc: {plaintext: '[::1]:1', dns_names: []}\n", "localhost"},
	};
	(void)state;

	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++) {
		struct mica_err e = MICA_ERR_INIT;
		struct mica_config *c = NULL;
		const char *names[4];
		char joined[256] = "";

		if (mica_config_parse(mica_slice_str(cases[i].text), NULL, &c, &e) != MICA_OK)
			fail_msg("%s: %s", cases[i].text, e.text);
		for (size_t n = mica_config_dns_names(c, names, 4), k = 0; k < n; k++)
			snprintf(joined + strlen(joined), sizeof(joined) - strlen(joined), "%s%s",
				k ? " " : "", names[k]);
		assert_string_equal(joined, cases[i].names);
		/* what does not fit is counted, so that it can be refused */
		assert_int_equal(
			mica_config_dns_names(c, names, 1), mica_config_dns_names(c, names, 4));
		mica_config_free(c);
	}
}

/* A rule's template that could make a name of the gRPC front is no mistake by itself: that one name
 * is given to nobody. */
static void reserved_names_warn(void **state)
{
	static const char text[] =
		MIN PROD "rules:\n- dns: ['{serviceaccount}.{namespace}.svc']\n"
			 "grpc: {listen: ':15012', dns_names: [istiod.istio-system.svc]}\n";
	struct mica_err e = MICA_ERR_INIT;
	struct mica_config *c = NULL;
	bool found = false;
	(void)state;

	assert_int_equal(mica_config_parse(mica_slice_str(text), NULL, &c, &e), MICA_OK);
	for (unsigned i = 0; i < c->warnings.n; i++)
		found = found || strstr(c->warnings.v[i], "istiod.istio-system.svc");
	assert_true(found);
	mica_config_free(c);
}

/* ---- what waits for a restart -------------------------------------------------------------------
 */

static void needs_restart(void **state)
{
	static const struct {
		const char *a, *b, *names; /* joined by ' ' */
	} cases[] = {
		{MIN, MIN, ""},
		{MIN, "trust_domain: example.com\npassphrase: {env: P}\n",
			"trust_domain passphrase.file passphrase.env"},
		{MIN, MIN "https: {listen: ':1', threads: 2, dns_names: [a]}\n",
			"https.listen https.dns_names https.threads"},
		{MIN, MIN "https: {listen: ':8443'}\n", ""},
		{MIN, MIN "grpc: {listen: ':15012', dns_names: [a]}\n",
			"grpc.listen grpc.dns_names"},
		{MIN,
			MIN
			"metrics: {listen: 'off'}\nlog: {level: debug, format: json, caller_address: false}\n",
			"metrics.listen log.format"},
		{MIN,
			MIN
			"x509: {ttl: 2h, key_types: [p256]}\njwt: {ttl: 60}\nlimits: {queue: 1}\n"
			"roles: {admins: [spiffe://example.org/a]}\n"
			"deny: {pod_uids: [0b3c5e52-6f0e-4f37-9d1c-6f4f6b0d6e11]}\n",
			""},
		{MIN PROD, MIN PROD "rules: [{dns: [a.b]}]\n", ""},
		{MIN, MIN PROD, "issuers"},
		{MIN PROD,
			MIN PROD "  skew: 1\n  keys: {jwks_file: /k}\n  audiences: {istio: [x]}\n"
				 "  review: {on_failure: allow}\n",
			/* the caps of two fronts follow skew */
			"issuers[0].keys.discovery issuers[0].keys.jwks_file issuers[0].audiences.istio "
			"issuers[0].max_token_life.istio issuers[0].max_token_life.linkerd issuers[0].skew "
			"issuers[0].review.on_failure"},
		{MIN OIDC "  spiffe_path: /ci/{sub}\n  require: {a: b}\n",
			MIN OIDC "  spiffe_path: /ci/{sub}\n  require: {a: c}\n  claims: {a: a}\n",
			"issuers[0].claims issuers[0].require"},
		{MIN, MIN "authorities: {root_life: 30d}\nbundle: {refresh_hint: 60}\n",
			"authorities.root_life bundle.refresh_hint"},
	};

	(void)state;
	for (size_t i = 0; i < MICA_ARRAY_LEN(cases); i++) {
		struct mica_config *a = parse(cases[i].a), *b = parse(cases[i].b);
		struct mica_string_list names = {.n = 0};
		MICA_AUTO_BUF joined;

		mica_buf_init(&joined, 4096);
		mica_buf_put_str(&joined, "");
		mica_config_needs_restart(a, b, &names);
		for (unsigned n = 0; n < names.n; n++)
			mica_buf_printf(&joined, "%s%s", n ? " " : "", names.v[n]);
		assert_string_equal(joined.len ? (const char *)joined.p : "", cases[i].names);
		mica_string_list_clear(&names);
		assert_int_equal(names.n, 0);
		mica_config_free(a);
		mica_config_free(b);
	}
}

static void key_names(void **state)
{
	(void)state;
	assert_string_equal(mica_key_name(MICA_KN_P256), "p256");
	assert_string_equal(mica_key_name(MICA_KN_ED25519), "ed25519");
	assert_null(mica_key_name(MICA_KN_COUNT));
	mica_config_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_example_is_made_of_defaults),
		cmocka_unit_test(the_example_has_every_setting),
		cmocka_unit_test(defaults),
		cmocka_unit_test(values),
		cmocka_unit_test(short_lives),
		cmocka_unit_test(no_warnings),
		cmocka_unit_test(warnings),
		cmocka_unit_test(meshes),
		cmocka_unit_test(bad_forms),
		cmocka_unit_test(bad_values),
		cmocka_unit_test(bad_together),
		cmocka_unit_test(bad_issuers),
		cmocka_unit_test(bad_rules),
		cmocka_unit_test(bad_files),
		cmocka_unit_test(serving_names),
		cmocka_unit_test(reserved_names_warn),
		cmocka_unit_test(needs_restart),
		cmocka_unit_test(key_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
