/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every setting. deploy/examples/micad.yaml is its other half, for people: a test holds the two
 * together. Bounds keep a slip of the pen (a timeout of 0, a limit of a billion) out; they are no
 * policy.
 */
#include "config_impl.h"

#include "mica/log.h"
#include "mica/spiffeid.h"

#include <arpa/inet.h>

#define MINUTE ((int64_t)60)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)
#define YEAR   (366 * DAY)

#define PATH_OCTETS   4095
#define SOCKET_OCTETS 107 /* sun_path of unix(7) with its NUL */
#define MILLION       1000000

/* ---- values -------------------------------------------------------------------------------- */

static mica_rc check_path(struct mica_slice v, struct mica_err *e)
{
	if (v.len > 1 && v.p[0] == '/')
		return MICA_OK;
	return mica_fail(e, MICA_INVALID, "config_value",
		"\"%.*s\" is not a path; expected one that begins with /", MICA_FMT(v));
}

static bool is_word(struct mica_slice v, const char *others)
{
	for (size_t i = 0; i < v.len; i++) {
		uint8_t c = v.p[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') &&
			(c == '\0' || !strchr(others, c)))
			return false;
	}
	return v.len > 0;
}

static mica_rc check_variable(struct mica_slice v, struct mica_err *e)
{
	if (is_word(v, "_") && !(v.p[0] >= '0' && v.p[0] <= '9'))
		return MICA_OK;
	return mica_fail(e, MICA_INVALID, "config_value",
		"\"%.*s\" cannot name an environment variable; expected [A-Za-z_][A-Za-z0-9_]*",
		MICA_FMT(v));
}

/* Of a systemd credential, of a group: a name that is no path. */
static mica_rc check_name(struct mica_slice v, struct mica_err *e)
{
	if (is_word(v, "._-") && v.p[0] != '.' && v.p[0] != '-')
		return MICA_OK;
	return mica_fail(e, MICA_INVALID, "config_value",
		"\"%.*s\" is not a name; expected [A-Za-z0-9_][A-Za-z0-9._-]*", MICA_FMT(v));
}

static bool is_address(struct mica_slice v)
{
	uint8_t b[16];
	char text[INET6_ADDRSTRLEN];

	return mica_slice_copy(v, text, sizeof(text)) == MICA_OK &&
		(inet_pton(AF_INET, text, b) == 1 || inet_pton(AF_INET6, text, b) == 1);
}

static mica_rc check_address(struct mica_slice v, struct mica_err *e)
{
	if (is_address(v))
		return MICA_OK;
	return mica_fail(e, MICA_INVALID, "config_value",
		"\"%.*s\" is not an IP address; expected one such as 192.0.2.1 or 2001:db8::1",
		MICA_FMT(v));
}

/* Cuts ":443" off a host; an IPv6 address stands in brackets, which are cut too. */
static bool cut_port(struct mica_slice *host)
{
	const uint8_t *end = host->len ? memchr(host->p, ']', host->len) : NULL;
	struct mica_slice rest = *host, name;
	uint64_t port;

	if (host->len && host->p[0] == '[') {
		if (end == NULL)
			return false;
		rest = mica_slice_sub(*host, (size_t)(end + 1 - host->p), host->len);
		*host = mica_slice(host->p + 1, (size_t)(end - host->p) - 1);
		if (rest.len == 0)
			return memchr(host->p, ':', host->len) != NULL;
		if (rest.p[0] != ':' || !memchr(host->p, ':', host->len))
			return false;
		rest = mica_slice_sub(rest, 1, rest.len);
	} else {
		if (!mica_slice_cut(&rest, ':', &name))
			return true;
		*host = name;
	}
	return mica_parse_u64(rest, 65535, &port) == MICA_OK && port > 0;
}

mica_rc config_check_host(struct mica_slice v, struct mica_err *e)
{
	struct mica_slice host = v;

	if (cut_port(&host) && (is_address(host) || mica_dns_name_check(host, NULL) == MICA_OK))
		return MICA_OK;
	return mica_fail(e, MICA_INVALID, "config_value",
		"\"%.*s\" is not a host; expected a name in lower case or an address, with or without :port",
		MICA_FMT(v));
}

mica_rc config_check_https_url(struct mica_slice v, struct mica_err *e)
{
	struct mica_slice rest = v, host;

	for (size_t i = 0; i < v.len; i++)
		if (v.p[i] <= ' ' || v.p[i] >= 0x7f || v.p[i] == '#' || v.p[i] == '@')
			rest = MICA_SLICE_NULL;
	if (mica_slice_has_prefix(rest, MICA_LIT("https://"))) {
		rest = mica_slice_sub(rest, 8, rest.len);
		(void)mica_slice_cut(&rest, '/', &host);
		if (config_check_host(host, NULL) == MICA_OK)
			return MICA_OK;
	}
	return mica_fail(e, MICA_INVALID, "config_value",
		"\"%.*s\" is not an address of the web; expected https://host[:port][/path]",
		MICA_FMT(v));
}

static mica_rc check_uuid(struct mica_slice v, struct mica_err *e)
{
	uint8_t uuid[16];

	if (mica_uuid_parse(v, uuid) == MICA_OK)
		return MICA_OK;
	return mica_fail(e, MICA_INVALID, "config_value",
		"\"%.*s\" is not a UID; expected one such as 0b3c5e52-6f0e-4f37-9d1c-6f4f6b0d6e11",
		MICA_FMT(v));
}

/* ---- rows ---------------------------------------------------------------------------------- */

#define OF(member)        .offset = offsetof(struct mica_config, member)
#define OF_ISSUER(member) .offset = offsetof(struct mica_issuer_config, member)
#define OF_RULE(member)   .offset = offsetof(struct mica_rule, member)
#define CHOICES(table)    .choices = (table), .n_choices = MICA_ARRAY_LEN(table)
#define TABLE(name, rows_, T)                                                                      \
	static const struct setting_table name = {                                                 \
		.rows = (rows_), .n = MICA_ARRAY_LEN(rows_), .size = sizeof(T)}

const cyaml_strval_t config_key_names[MICA_KN_COUNT] = {{"p256", 1 << MICA_KN_P256},
	{"p384", 1 << MICA_KN_P384}, {"rsa2048", 1 << MICA_KN_RSA2048},
	{"rsa3072", 1 << MICA_KN_RSA3072}, {"rsa4096", 1 << MICA_KN_RSA4096},
	{"ed25519", 1 << MICA_KN_ED25519}};
#define ALL_KEYS ((1 << MICA_KN_COUNT) - 1)

static const cyaml_strval_t authority_keys[] = {{"p256", MICA_KN_P256}, {"p384", MICA_KN_P384},
	{"rsa2048", MICA_KN_RSA2048}, {"rsa3072", MICA_KN_RSA3072}, {"rsa4096", MICA_KN_RSA4096}};
static const cyaml_strval_t root_homes[] = {
	{"own", MICA_ROOT_OWN}, {"offline", MICA_ROOT_OFFLINE}, {"files", MICA_ROOT_FILES}};
static const cyaml_strval_t kinds[] = {
	{"kubernetes", MICA_ISSUER_KUBERNETES}, {"oidc", MICA_ISSUER_OIDC}};
static const cyaml_strval_t reviews[] = {{"never", MICA_REVIEW_NEVER},
	{"first-use", MICA_REVIEW_FIRST_USE}, {"always", MICA_REVIEW_ALWAYS}};
static const cyaml_strval_t failures[] = {{"deny", false}, {"allow", true}};
static const cyaml_strval_t formats[] = {{"logfmt", false}, {"json", true}};
static const cyaml_strval_t levels[] = {
	{"debug", MICA_DEBUG}, {"info", MICA_INFO}, {"warn", MICA_WARN}, {"error", MICA_ERROR}};

static const struct setting keys_rows[] = {
	{"discovery", SETTING_FLAG, OF_ISSUER(keys.discovery)},
	{"jwks_uri", SETTING_TEXT, OF_ISSUER(keys.jwks_uri), .low = 1, .high = 2048,
		.check = config_check_https_url},
	{"jwks_file", SETTING_TEXT, OF_ISSUER(keys.jwks_file), .low = 1, .high = PATH_OCTETS,
		.check = check_path},
	{"ca_file", SETTING_TEXT, OF_ISSUER(keys.ca_file), .low = 1, .high = PATH_OCTETS,
		.check = check_path},
	{"token_file", SETTING_TEXT, OF_ISSUER(keys.token_file), .low = 1, .high = PATH_OCTETS,
		.check = check_path},
	{"allow_hosts", SETTING_LIST, OF_ISSUER(keys.allow_hosts), .high = 16,
		.check = config_check_host},
	{"refresh", SETTING_DURATION, OF_ISSUER(keys.refresh), .low = 1, .high = DAY,
		.number = 5 * MINUTE},
	{"max_stale", SETTING_DURATION, OF_ISSUER(keys.max_stale), .low = 1, .high = YEAR,
		.number = DAY},
	{"timeout", SETTING_DURATION, OF_ISSUER(keys.timeout), .low = 1, .high = MINUTE,
		.number = 10},
	{"allow_ps", SETTING_FLAG, OF_ISSUER(keys.allow_ps)},
};
TABLE(keys_table, keys_rows, struct mica_issuer_config);

static const struct setting audience_rows[] = {
	{"rest", SETTING_LIST, OF_ISSUER(audiences[MICA_FRONT_REST]), .high = 16, .text = "mica"},
	{"istio", SETTING_LIST, OF_ISSUER(audiences[MICA_FRONT_ISTIO]), .high = 16},
	{"linkerd", SETTING_LIST, OF_ISSUER(audiences[MICA_FRONT_LINKERD]), .high = 16},
	{"consul", SETTING_LIST, OF_ISSUER(audiences[MICA_FRONT_CONSUL]), .high = 16},
};
TABLE(audience_table, audience_rows, struct mica_issuer_config);

#define LIFE(front)                                                                                \
	SETTING_DURATION, OF_ISSUER(max_token_life[front]), .low = 1, .high = YEAR,                \
							    .number = CONFIG_UNSET
static const struct setting life_rows[] = {
	{"rest", LIFE(MICA_FRONT_REST)},
	{"istio", LIFE(MICA_FRONT_ISTIO)},
	{"linkerd", LIFE(MICA_FRONT_LINKERD)},
	{"consul", LIFE(MICA_FRONT_CONSUL)},
};
TABLE(life_table, life_rows, struct mica_issuer_config);

static const struct setting review_rows[] = {
	{"mode", SETTING_CHOICE, OF_ISSUER(review.mode), CHOICES(reviews),
		.number = MICA_REVIEW_NEVER},
	{"url", SETTING_TEXT, OF_ISSUER(review.url), .low = 1, .high = 2048,
		.check = config_check_https_url},
	{"ca_file", SETTING_TEXT, OF_ISSUER(review.ca_file), .low = 1, .high = PATH_OCTETS,
		.check = check_path},
	{"token_file", SETTING_TEXT, OF_ISSUER(review.token_file), .low = 1, .high = PATH_OCTETS,
		.check = check_path},
	{"on_failure", SETTING_WORD, OF_ISSUER(review.allow_on_failure), CHOICES(failures),
		.number = false},
	{"timeout", SETTING_DURATION, OF_ISSUER(review.timeout), .low = 1, .high = MINUTE,
		.number = 5},
};
TABLE(review_table, review_rows, struct mica_issuer_config);

/* "namespace/name" of a service account. */
static mica_rc check_account(struct mica_slice v, struct mica_err *e)
{
	struct mica_slice name = v, ns;

	if (mica_slice_cut(&name, '/', &ns) && mica_k8s_label_ok(ns) && mica_k8s_subdomain_ok(name))
		return MICA_OK;
	return mica_fail(e, MICA_INVALID, "config_value",
		"\"%.*s\" is not a service account; expected namespace/name, as istio-system/ztunnel",
		MICA_FMT(v));
}

static const struct setting impersonation_rows[] = {
	{"accounts", SETTING_LIST, OF_ISSUER(impersonation.accounts), .high = 16,
		.check = check_account},
	{"url", SETTING_TEXT, OF_ISSUER(impersonation.url), .low = 1, .high = 2048,
		.check = config_check_https_url},
	{"ca_file", SETTING_TEXT, OF_ISSUER(impersonation.ca_file), .low = 1, .high = PATH_OCTETS,
		.check = check_path},
	{"token_file", SETTING_TEXT, OF_ISSUER(impersonation.token_file), .low = 1,
		.high = PATH_OCTETS, .check = check_path},
	{"timeout", SETTING_DURATION, OF_ISSUER(impersonation.timeout), .low = 1, .high = MINUTE,
		.number = 5},
};
TABLE(impersonation_table, impersonation_rows, struct mica_issuer_config);

static const struct setting issuer_rows[] = {
	{"name", SETTING_TEXT, OF_ISSUER(name), .required = true, .low = 1, .high = MICA_NAME_MAX},
	{"kind", SETTING_CHOICE, OF_ISSUER(kind), CHOICES(kinds), .required = true},
	{"issuer", SETTING_TEXT, OF_ISSUER(issuer), .required = true, .low = 1, .high = 512},
	{"cluster", SETTING_TEXT, OF_ISSUER(cluster), .high = MICA_NAME_MAX, .text = ""},
	{"keys", SETTING_SECTION, .table = &keys_table},
	{"audiences", SETTING_SECTION, .table = &audience_table},
	{"max_token_life", SETTING_SECTION, .table = &life_table},
	{"skew", SETTING_DURATION, OF_ISSUER(skew), .high = 10 * MINUTE, .number = MINUTE},
	{"require_pod", SETTING_FLAG, OF_ISSUER(require_pod)},
	{"spiffe_path", SETTING_TEXT, OF_ISSUER(spiffe_path), .low = 1, .high = 512},
	{"same_names_as", SETTING_LIST, OF_ISSUER(same_names_as), .high = 64},
	{"renewal_max_age", SETTING_DURATION, OF_ISSUER(renewal_max_age), .high = YEAR},
	{"review", SETTING_SECTION, .table = &review_table},
	{"impersonation", SETTING_SECTION, .table = &impersonation_table},
	{"claims", SETTING_PAIRS, OF_ISSUER(claims),
		.count = offsetof(struct mica_issuer_config, n_claims)},
	{"require", SETTING_PAIRS, OF_ISSUER(require),
		.count = offsetof(struct mica_issuer_config, n_require)},
};
TABLE(issuer_table, issuer_rows, struct mica_issuer_config);

static const struct setting rule_rows[] = {
	{"issuer", SETTING_TEXT, OF_RULE(issuer), .high = MICA_NAME_MAX + 1, .text = ""},
	{"namespace", SETTING_TEXT, OF_RULE(ns), .high = MICA_K8S_NS_MAX + 1, .text = ""},
	{"serviceaccount", SETTING_TEXT, OF_RULE(sa), .high = MICA_K8S_NAME_MAX + 1, .text = ""},
	{"dns", SETTING_LIST, OF_RULE(dns), .high = 16},
	{"ttl", SETTING_DURATION, OF_RULE(ttl), .low = 1, .high = YEAR},
	{"max_ttl", SETTING_DURATION, OF_RULE(max_ttl), .low = 1, .high = YEAR},
	{"key_types", SETTING_KEYS, OF_RULE(key_types)},
};
TABLE(rule_table, rule_rows, struct mica_rule);

static const struct setting store_rows[] = {
	{"path", SETTING_TEXT, OF(store.path), .restart = true, .low = 1, .high = PATH_OCTETS,
		.text = "/var/lib/mica/store", .check = check_path},
	{"max_disk_percent", SETTING_NUMBER, OF(store.max_disk_percent), .restart = true, .low = 1,
		.high = 100, .number = 90},
};
TABLE(store_table, store_rows, struct mica_config);

static const struct setting passphrase_rows[] = {
	{"file", SETTING_TEXT, OF(passphrase.file), .restart = true, .low = 1, .high = PATH_OCTETS,
		.check = check_path},
	{"env", SETTING_TEXT, OF(passphrase.env), .restart = true, .low = 1, .high = 255,
		.check = check_variable},
	{"credential", SETTING_TEXT, OF(passphrase.credential), .restart = true, .low = 1,
		.high = 255, .check = check_name},
};
TABLE(passphrase_table, passphrase_rows, struct mica_config);

static const struct setting https_rows[] = {
	{"listen", SETTING_LISTEN, OF(https.listen), .restart = true, .text = ":8443"},
	{"watch", SETTING_LISTEN, OF(https.watch), .restart = true, .text = ""},
	{"dns_names", SETTING_LIST, OF(https.dns_names), .restart = true, .high = 64,
		.text = "localhost", .check = mica_dns_name_check},
	{"ip_addresses", SETTING_LIST, OF(https.ip_addresses), .restart = true, .high = 64,
		.text = "127.0.0.1 ::1", .check = check_address},
	{"public_host", SETTING_TEXT, OF(https.public_host), .restart = true, .low = 1, .high = 262,
		.text = "", .check = config_check_host},
	{"threads", SETTING_NUMBER, OF(https.threads), .restart = true, .high = 256},
	{"max_connections", SETTING_NUMBER, OF(https.max_connections), .restart = true, .low = 1,
		.high = MILLION, .number = 16384},
	{"max_connections_per_address", SETTING_NUMBER, OF(https.max_connections_per_address),
		.restart = true, .low = 1, .high = MILLION, .number = 1024},
	{"max_watchers", SETTING_NUMBER, OF(https.max_watchers), .restart = true, .low = 1,
		.high = MILLION, .number = 16384},
	{"max_watchers_shared", SETTING_NUMBER, OF(https.max_watchers_shared), .restart = true,
		.high = MILLION, .number = 256},
	{"idle_timeout", SETTING_DURATION, OF(https.idle_timeout), .restart = true, .low = 1,
		.high = HOUR, .number = 2 * MINUTE},
	{"request_timeout", SETTING_DURATION, OF(https.request_timeout), .restart = true, .low = 1,
		.high = 5 * MINUTE, .number = 10},
	{"max_request_body", SETTING_NUMBER, OF(https.max_request_body), .restart = true,
		.low = 4096, .high = 1 << 20, .number = 65536},
};
TABLE(https_table, https_rows, struct mica_config);

static const struct setting grpc_rows[] = {
	{"listen", SETTING_LISTEN, OF(grpc.listen), .restart = true, .text = ""},
	{"plaintext", SETTING_LISTEN, OF(grpc.plaintext), .restart = true, .text = ""},
	{"socket", SETTING_TEXT, OF(grpc.socket), .restart = true, .low = 1, .high = SOCKET_OCTETS,
		.check = check_path},
	{"dns_names", SETTING_LIST, OF(grpc.dns_names), .restart = true, .high = 32,
		.check = mica_dns_name_check},
	{"threads", SETTING_NUMBER, OF(grpc.threads), .restart = true, .high = 256},
	{"max_connections", SETTING_NUMBER, OF(grpc.max_connections), .restart = true, .low = 1,
		.high = MILLION, .number = 16384},
	{"max_connections_per_address", SETTING_NUMBER, OF(grpc.max_connections_per_address),
		.restart = true, .low = 1, .high = MILLION, .number = 1024},
	{"max_age", SETTING_DURATION, OF(grpc.max_age), .restart = true, .low = MINUTE, .high = DAY,
		.number = HOUR},
	{"reflection", SETTING_FLAG, OF(grpc.reflection), .restart = true, .number = true},
};
TABLE(grpc_table, grpc_rows, struct mica_config);

static const struct setting admin_rows[] = {
	{"socket", SETTING_TEXT, OF(admin.socket), .restart = true, .low = 1, .high = SOCKET_OCTETS,
		.text = "/run/mica/admin.sock", .check = check_path},
	{"group", SETTING_TEXT, OF(admin.group), .restart = true, .low = 1, .high = 32,
		.check = check_name},
	{"audit_group", SETTING_TEXT, OF(admin.audit_group), .restart = true, .low = 1, .high = 32,
		.check = check_name},
};
TABLE(admin_table, admin_rows, struct mica_config);

static const struct setting metrics_rows[] = {
	{"listen", SETTING_LISTEN, OF(metrics), .restart = true, .text = "127.0.0.1:9464"},
};
TABLE(metrics_table, metrics_rows, struct mica_config);

static const struct setting log_rows[] = {
	{"level", SETTING_CHOICE, OF(log.level), CHOICES(levels), .number = MICA_INFO},
	{"format", SETTING_WORD, OF(log.json), CHOICES(formats), .restart = true, .number = false},
	{"caller_address", SETTING_FLAG, OF(log.caller_address), .number = true},
};
TABLE(log_table, log_rows, struct mica_config);

static const struct setting roles_rows[] = {
	{"admins", SETTING_LIST, OF(admins), .high = 1000},
	{"auditors", SETTING_LIST, OF(auditors), .high = 1000},
};
TABLE(roles_table, roles_rows, struct mica_config);

static const struct setting x509_rows[] = {
	{"ttl", SETTING_DURATION, OF(x509.ttl), .low = 1, .high = YEAR, .number = HOUR},
	{"max_ttl", SETTING_DURATION, OF(x509.max_ttl), .low = 1, .high = YEAR, .number = DAY},
	{"min_ttl", SETTING_DURATION, OF(x509.min_ttl), .low = 1, .high = YEAR, .number = MINUTE},
	{"key_types", SETTING_KEYS, OF(x509.key_types), .number = ALL_KEYS},
	{"refuse_forks", SETTING_FLAG, OF(x509.refuse_forks)},
};
TABLE(x509_table, x509_rows, struct mica_config);

static const struct setting jwt_rows[] = {
	{"ttl", SETTING_DURATION, OF(jwt.ttl), .low = 1, .high = DAY, .number = 5 * MINUTE},
	{"max_ttl", SETTING_DURATION, OF(jwt.max_ttl), .low = 1, .high = DAY, .number = HOUR},
	{"audiences", SETTING_LIST, OF(jwt.audiences), .high = 1000},
	{"oidc_discovery", SETTING_FLAG, OF(jwt.oidc_discovery)},
};
TABLE(jwt_table, jwt_rows, struct mica_config);

static const struct setting authorities_rows[] = {
	{"root_life", SETTING_DURATION, OF(authorities.root_life), .restart = true, .low = 1,
		.high = 100 * YEAR, .number = 3650 * DAY},
	{"issuing_life", SETTING_DURATION, OF(authorities.issuing_life), .restart = true, .low = 1,
		.high = 30 * YEAR, .number = 7 * DAY},
	{"jwt_life", SETTING_DURATION, OF(authorities.jwt_life), .restart = true, .low = 1,
		.high = 30 * YEAR, .number = 7 * DAY},
	{"key_type", SETTING_CHOICE, OF(authorities.key_type), CHOICES(authority_keys),
		.restart = true, .number = MICA_KN_P256},
	{"root", SETTING_CHOICE, OF(authorities.root), CHOICES(root_homes), .restart = true,
		.number = MICA_ROOT_OWN},
};
TABLE(authorities_table, authorities_rows, struct mica_config);

static const struct setting plugged_rows[] = {
	{"directory", SETTING_TEXT, OF(plugged.directory), .restart = true, .low = 1,
		.high = PATH_OCTETS, .check = check_path},
	{"passphrase_file", SETTING_TEXT, OF(plugged.passphrase_file), .restart = true, .low = 1,
		.high = PATH_OCTETS, .check = check_path},
	{"poll", SETTING_DURATION, OF(plugged.poll), .restart = true, .low = 1, .high = HOUR,
		.number = 10},
};
TABLE(plugged_table, plugged_rows, struct mica_config);

/* What the root namespace is called by Istio, whose documents these are. */
static const struct setting policies_rows[] = {
	{"root_namespace", SETTING_TEXT, OF(policies.root_namespace), .restart = true, .low = 1,
		.high = MICA_K8S_NS_MAX, .check = check_name, .text = "istio-system"},
	{"trust_domain_aliases", SETTING_LIST, OF(policies.trust_domain_aliases), .restart = true,
		.high = 100},
	{"directory", SETTING_TEXT, OF(policies.directory), .restart = true, .low = 1,
		.high = PATH_OCTETS, .check = check_path},
	{"poll", SETTING_DURATION, OF(policies.poll), .restart = true, .low = 1, .high = HOUR,
		.number = 10},
};
TABLE(policies_table, policies_rows, struct mica_config);

static const struct setting bundle_rows[] = {
	{"refresh_hint", SETTING_DURATION, OF(bundle.refresh_hint), .restart = true, .low = 1,
		.high = DAY, .number = 5 * MINUTE},
};
TABLE(bundle_table, bundle_rows, struct mica_config);

/* Relying parties fetch it while they judge a certificate: plain HTTP is no worse than HTTPS there,
 * since the list is signed. */
static mica_rc check_crl_url(struct mica_slice v, struct mica_err *e)
{
	const char *text = (const char *)v.p, *at = strstr(text, MICA_CRL_URL_ID);
	struct mica_slice rest = v, host;

	for (size_t i = 0; i < v.len; i++)
		if (v.p[i] <= ' ' || v.p[i] >= 0x7f || v.p[i] == '#' || v.p[i] == '@')
			rest = MICA_SLICE_NULL;
	if (mica_slice_has_prefix(rest, MICA_LIT("https://")))
		rest = mica_slice_sub(rest, 8, rest.len);
	else if (mica_slice_has_prefix(rest, MICA_LIT("http://")))
		rest = mica_slice_sub(rest, 7, rest.len);
	else
		rest = MICA_SLICE_NULL;
	if (at && mica_slice_cut(&rest, '/', &host) && config_check_host(host, NULL) == MICA_OK &&
		!strstr(at + 1, MICA_CRL_URL_ID) && at > (const char *)host.p + host.len)
		return MICA_OK;
	return mica_fail(e, MICA_INVALID, "config_value",
		"\"%.*s\" cannot lead to a CRL; expected http[s]://host[:port]/path with one " MICA_CRL_URL_ID
		" in the path",
		MICA_FMT(v));
}

static const struct setting crl_rows[] = {
	{"validity", SETTING_DURATION, OF(crl.validity), .low = 4, .high = 30 * DAY, .number = DAY},
	{"distribution_url", SETTING_TEXT, OF(crl.distribution_url), .low = 1, .high = 1024,
		.check = check_crl_url},
};
TABLE(crl_table, crl_rows, struct mica_config);

static mica_rc check_outlet(struct mica_slice v, struct mica_err *e)
{
	for (size_t i = 0; i < v.len; i++)
		if (!(v.p[i] >= 'a' && v.p[i] <= 'z') && !(v.p[i] >= '0' && v.p[i] <= '9') &&
			v.p[i] != '-')
			return mica_fail(e, MICA_INVALID, "config_value",
				"\"%.*s\" cannot name an outlet; expected [a-z0-9-]+", MICA_FMT(v));
	return MICA_OK;
}

#define OF_WORKLOAD(member) .offset = offsetof(struct mica_workload_config, member)
static const struct setting workload_rows[] = {
	{"namespace", SETTING_TEXT, OF_WORKLOAD(ns), .required = true, .low = 1,
		.high = MICA_K8S_NS_MAX},
	{"serviceaccount", SETTING_TEXT, OF_WORKLOAD(sa), .low = 1, .high = MICA_K8S_NAME_MAX},
	{"labels", SETTING_LIST, OF_WORKLOAD(labels), .high = 64},
};
TABLE(workload_table, workload_rows, struct mica_workload_config);

static const struct setting linkerd_rows[] = {
	{"control_plane_namespace", SETTING_TEXT, OF(linkerd.control_plane_namespace),
		.restart = true, .low = 1, .high = MICA_K8S_NS_MAX, .text = "linkerd"},
	{"trust_domain", SETTING_TEXT, OF(linkerd.trust_domain), .restart = true, .low = 1,
		.high = MICA_TD_MAX},
	{"spiffe", SETTING_FLAG, OF(linkerd.spiffe), .restart = true, .number = true},
	{"workloads", SETTING_ENTRIES, OF(linkerd.workloads),
		.count = offsetof(struct mica_config, linkerd.n_workloads), .restart = true,
		.high = 1000, .table = &workload_table},
};
TABLE(linkerd_table, linkerd_rows, struct mica_config);

#define OF_OUTLET(member) .offset = offsetof(struct mica_outlet_config, member)
static const struct setting outlet_rows[] = {
	{"name", SETTING_TEXT, OF_OUTLET(name), .required = true, .low = 1, .high = MICA_NAME_MAX,
		.check = check_outlet},
	{"propagation", SETTING_DURATION, OF_OUTLET(propagation), .high = YEAR},
	{"crl", SETTING_FLAG, OF_OUTLET(crl)},
};
TABLE(outlet_table, outlet_rows, struct mica_outlet_config);

#define KIND_ROWS(name, member)                                                                    \
	static const struct setting name[] = {                                                     \
		{"automatic", SETTING_FLAG, OF(member.automatic), .number = true},                 \
		{"rotate_at", SETTING_NUMBER, OF(member.rotate_at), .low = 1, .high = 99,          \
			.number = 50},                                                             \
	}
KIND_ROWS(root_rows, rotation.root);
KIND_ROWS(issuing_rows, rotation.issuing);
KIND_ROWS(jwt_key_rows, rotation.jwt);
TABLE(root_table, root_rows, struct mica_config);
TABLE(issuing_table, issuing_rows, struct mica_config);
TABLE(jwt_key_table, jwt_key_rows, struct mica_config);

static const struct setting canary_rows[] = {
	{"spiffe_ids", SETTING_LIST, OF(rotation.canary.spiffe_ids), .high = 1000},
	{"time", SETTING_DURATION, OF(rotation.canary.time), .high = YEAR, .number = HOUR},
};
TABLE(canary_table, canary_rows, struct mica_config);

#define DERIVED(member) SETTING_DURATION, OF(member), .high = YEAR, .number = CONFIG_UNSET
static const struct setting rotation_rows[] = {
	{"root", SETTING_SECTION, .table = &root_table},
	{"issuing", SETTING_SECTION, .table = &issuing_table},
	{"jwt", SETTING_SECTION, .table = &jwt_key_table},
	{"standby", SETTING_FLAG, OF(rotation.standby), .number = true},
	{"propagation", DERIVED(rotation.propagation), .low = 1},
	{"hold", DERIVED(rotation.hold), .low = 1},
	{"ack_timeout", DERIVED(rotation.ack_timeout)},
	{"skew", DERIVED(rotation.skew)},
	{"trash", DERIVED(rotation.trash)},
	{"deadline", DERIVED(rotation.deadline)},
	{"outlets", SETTING_ENTRIES, OF(rotation.outlets),
		.count = offsetof(struct mica_config, rotation.n_outlets), .high = 32,
		.table = &outlet_table},
	{"canary", SETTING_SECTION, .table = &canary_table},
};
TABLE(rotation_table, rotation_rows, struct mica_config);

static const struct setting limits_rows[] = {
	{"failures_per_address", SETTING_NUMBER, OF(limits.failures_per_address), .high = MILLION,
		.number = 600},
	{"requests_per_identity", SETTING_NUMBER, OF(limits.requests_per_identity), .high = MILLION,
		.number = 600},
	{"queue", SETTING_NUMBER, OF(limits.queue), .low = 1, .high = MILLION, .number = 4096},
};
TABLE(limits_table, limits_rows, struct mica_config);

static const struct setting deny_rows[] = {
	{"spiffe_ids", SETTING_LIST, OF(deny_spiffe_ids), .high = 10000},
	{"pod_uids", SETTING_LIST, OF(deny_pod_uids), .high = 10000, .check = check_uuid},
};
TABLE(deny_table, deny_rows, struct mica_config);

static const struct setting join_rows[] = {
	{"name", SETTING_TEXT, OF(join.name), .low = 1, .high = MICA_NAME_MAX, .text = "join"},
	{"spiffe_path", SETTING_TEXT, OF(join.spiffe_path), .low = 1, .high = 512},
	{"ttl", SETTING_DURATION, OF(join.ttl), .low = 1, .high = 30 * DAY, .number = HOUR},
	{"max_ttl", SETTING_DURATION, OF(join.max_ttl), .low = 1, .high = 30 * DAY, .number = DAY},
	{"renewal_max_age", SETTING_DURATION, OF(join.renewal_max_age), .low = 1, .high = YEAR,
		.number = 30 * DAY},
};
TABLE(join_table, join_rows, struct mica_config);

static const struct setting top_rows[] = {
	{"trust_domain", SETTING_TEXT, OF(trust_domain), .required = true, .restart = true,
		.low = 1, .high = MICA_TD_MAX, .check = mica_trust_domain_check},
	{"store", SETTING_SECTION, .table = &store_table},
	{"passphrase", SETTING_SECTION, .table = &passphrase_table},
	{"https", SETTING_SECTION, .table = &https_table},
	{"grpc", SETTING_SECTION, .table = &grpc_table},
	{"admin", SETTING_SECTION, .table = &admin_table},
	{"metrics", SETTING_SECTION, .table = &metrics_table},
	{"log", SETTING_SECTION, .table = &log_table},
	{"roles", SETTING_SECTION, .table = &roles_table},
	{"issuers", SETTING_ENTRIES, OF(issuers), .count = offsetof(struct mica_config, n_issuers),
		.restart = true, .high = 64, .table = &issuer_table},
	{"join_tokens", SETTING_SECTION, .table = &join_table},
	{"rules", SETTING_ENTRIES, OF(rules), .count = offsetof(struct mica_config, n_rules),
		.high = 1000, .table = &rule_table},
	{"x509", SETTING_SECTION, .table = &x509_table},
	{"jwt", SETTING_SECTION, .table = &jwt_table},
	{"authorities", SETTING_SECTION, .table = &authorities_table},
	{"plugged", SETTING_SECTION, .table = &plugged_table},
	{"policies", SETTING_SECTION, .table = &policies_table},
	{"bundle", SETTING_SECTION, .table = &bundle_table},
	{"rotation", SETTING_SECTION, .table = &rotation_table},
	{"linkerd", SETTING_SECTION, .table = &linkerd_table},
	{"crl", SETTING_SECTION, .table = &crl_table},
	{"limits", SETTING_SECTION, .table = &limits_table},
	{"deny", SETTING_SECTION, .table = &deny_table},
};
const struct setting_table config_settings = {
	.rows = top_rows, .n = MICA_ARRAY_LEN(top_rows), .size = sizeof(struct mica_config)};
