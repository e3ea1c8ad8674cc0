/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration of micad, read from one YAML text and cross-checked. Pure: no file
 * is opened and no clock is read here. deploy/examples/micad.yaml documents each setting and
 * its default; a test holds that file and these defaults together.
 */
#ifndef MICA_CONFIG_H
#define MICA_CONFIG_H

#include "mica/mem.h"
#include "mica/principal.h"
#include "mica/secret.h"
#include "mica/slice.h"

struct mica_string_list {
	char **v;
	unsigned n;
};

struct mica_listen {
	char *text; /* as configured; "" = off */
	/* Numeric IPv4 or IPv6 address, no brackets; "" = off. Of ":PORT" it is "::", which stands
	 * for all addresses, IPv4 too. */
	char *host;
	uint16_t port; /* 0 = the kernel chooses; the program then logs and publishes which */
};

enum mica_issuer_kind { MICA_ISSUER_KUBERNETES, MICA_ISSUER_OIDC };
enum mica_review_mode { MICA_REVIEW_NEVER, MICA_REVIEW_FIRST_USE, MICA_REVIEW_ALWAYS };

struct mica_claim_map {
	char *name, *claim;
};
struct mica_claim_require {
	char *claim, *pattern;
};

struct mica_issuer_config {
	char *name;
	enum mica_issuer_kind kind;
	char *issuer;
	char *cluster; /* "" when unset */
	struct {
		/* Exactly one of the three. jwks_uri may be on any host: it is spelled out. */
		bool discovery;
		char *jwks_uri, *jwks_file; /* NULL when unset */
		char *ca_file, *token_file; /* NULL when unset */
		/* host or host:port, where a discovered jwks_uri may be besides the issuer's own */
		struct mica_string_list allow_hosts;
		int64_t refresh, max_stale, timeout;
		bool allow_ps;
	} keys;
	struct mica_string_list audiences[MICA_FRONT_COUNT];
	int64_t max_token_life[MICA_FRONT_COUNT]; /* design 8.1 has the defaults */
	int64_t skew;
	bool require_pod;
	char *spiffe_path;
	struct mica_string_list same_names_as;
	int64_t renewal_max_age;
	struct {
		enum mica_review_mode mode;
		char *url; /* all of it, with /apis/authentication.k8s.io/...; NULL when unset */
		char *ca_file, *token_file; /* NULL when unset */
		bool allow_on_failure;
		int64_t timeout;
	} review;
	/* Agents of nodes that may ask for the pods beside them, and the API server that knows
	 * where pods are. What was not given is as in `review`. */
	struct {
		struct mica_string_list accounts; /* "namespace/name"; none = nobody */
		char *url; /* https://host[:port]; NULL when unset */
		char *ca_file, *token_file; /* NULL when unset */
		int64_t timeout;
	} impersonation;
	struct mica_claim_map *claims;
	unsigned n_claims;
	struct mica_claim_require *require;
	unsigned n_require;
};

/* Bit i of a mask stands for value i. Order is the wire order of names: p256 p384 rsa2048
 * rsa3072 rsa4096 ed25519 (an RSA key of another size counts as the next smaller name). */
enum mica_key_name {
	MICA_KN_P256,
	MICA_KN_P384,
	MICA_KN_RSA2048,
	MICA_KN_RSA3072,
	MICA_KN_RSA4096,
	MICA_KN_ED25519,
	MICA_KN_COUNT
};
const char *mica_key_name(enum mica_key_name n);

/* The first rule that matches counts, and no other. A default TTL above max_ttl is clamped. */
struct mica_rule {
	char *issuer, *ns, *sa; /* "" = all; a trailing '*' matches any rest */
	struct mica_string_list dns; /* templates */
	int64_t ttl, max_ttl; /* 0 = as in x509 */
	uint32_t key_types; /* 0 = as in x509 */
};

/* A way by which bundles reach holders that give no evidence. */
/* Stands for the authority's id in crl.distribution_url. */
#define MICA_CRL_URL_ID "{authority}"

struct mica_outlet_config {
	char *name; /* [a-z0-9-] */
	int64_t propagation; /* 0 = unknown: waits for `mica rotation confirm` */
	bool crl; /* whoever it reaches fetches CRLs and refuses what they name */
};

/* The labels of pods, where the cluster is not asked for them. */
struct mica_workload_config {
	char *ns, *sa; /* sa NULL = all accounts of the namespace */
	struct mica_string_list labels; /* key=value, checked */
};

/* Who has the keys of roots: micad, somebody who signs elsewhere, or whoever writes the files of a
 * plugged-in authority. */
enum mica_root_home { MICA_ROOT_OWN, MICA_ROOT_OFFLINE, MICA_ROOT_FILES };

struct mica_config {
	char *trust_domain;
	struct {
		char *path;
		int64_t max_disk_percent;
	} store;
	struct {
		char *file, *env, *credential;
	} passphrase;
	struct {
		struct mica_listen listen, watch;
		struct mica_string_list dns_names, ip_addresses;
		char *public_host; /* host or host:port by which others reach us; "" when unset */
		int64_t threads; /* 0 = as many as cores */
		int64_t max_connections, max_connections_per_address;
		int64_t max_watchers, max_watchers_shared;
		int64_t idle_timeout, request_timeout, max_request_body;
	} https;
	struct {
		struct mica_listen listen; /* TLS */
		struct mica_listen plaintext; /* loopback only */
		char *socket; /* Unix, without TLS; NULL when unset */
		struct mica_string_list dns_names; /* of the serving certificate, beside https's */
		int64_t threads; /* 0 = half of the cores */
		int64_t max_connections, max_connections_per_address, max_age;
		bool reflection;
	} grpc;
	struct {
		char *socket, *group, *audit_group; /* groups NULL when unset */
	} admin;
	struct mica_listen metrics;
	struct {
		int level; /* enum mica_log_level */
		bool json;
		bool caller_address;
	} log;
	struct mica_string_list admins, auditors; /* SPIFFE IDs, checked */
	struct mica_issuer_config *issuers;
	unsigned n_issuers;
	/* Join tokens, for machines that have no issuer. */
	struct {
		char *name; /* as an issuer, in rules and in the ledger */
		char *spiffe_path; /* with {name}; NULL = off */
		int64_t ttl, max_ttl; /* of tokens */
		int64_t renewal_max_age;
	} join;
	struct mica_rule *rules;
	unsigned n_rules;
	struct {
		int64_t ttl, max_ttl, min_ttl;
		uint32_t key_types;
		bool refuse_forks; /* of renewals by certificate: those of a forked line */
	} x509;
	struct {
		int64_t ttl, max_ttl;
		struct mica_string_list audiences; /* that may be asked for; none = any */
		bool oidc_discovery;
	} jwt;
	struct {
		int64_t root_life, issuing_life, jwt_life;
		enum mica_key_name key_type;
		enum mica_root_home root;
	} authorities;
	struct {
		char *directory; /* of the files; NULL when unset */
		char *passphrase_file; /* of the key's file; NULL when unset */
		int64_t poll; /* seconds: how often it is looked at besides notifications */
	} plugged;
	struct {
		char *root_namespace; /* its policies are for all namespaces */
		struct mica_string_list trust_domain_aliases;
		char *directory; /* of policy files; NULL when unset */
		int64_t poll; /* seconds: how often it is looked at besides notifications */
	} policies;
	struct {
		int64_t refresh_hint;
	} bundle;
	/* Times in seconds; what was not given follows from other settings (config_check.c). */
	/* Linkerd's identities. */
	struct {
		char *control_plane_namespace;
		char *trust_domain; /* NULL = as above */
		bool spiffe;
		struct mica_workload_config *workloads;
		unsigned n_workloads;
	} linkerd;
	/* What Linkerd's proxies call the service that gives them certificates, when some issuer
	 * lets them in and the gRPC front is on; else NULL. */
	char *linkerd_server;
	struct {
		struct {
			bool automatic;
			int64_t rotate_at; /* per cent of its life */
		} root, issuing, jwt;
		bool standby;
		int64_t propagation, hold, ack_timeout, skew, trash, deadline;
		struct mica_outlet_config *outlets;
		unsigned n_outlets;
		struct {
			/* whose holders get steps first: each stands for itself and all below it */
			struct mica_string_list spiffe_ids;
			int64_t time; /* that a step stays there; 0 = until it is confirmed */
		} canary;
	} rotation;
	struct {
		int64_t validity; /* seconds from one CRL to its nextUpdate */
		char *distribution_url; /* with MICA_CRL_URL_ID in it; NULL = leaves name none */
	} crl;
	struct {
		int64_t failures_per_address, requests_per_identity; /* a minute; 0 = no limit */
		int64_t queue; /* issuances that may wait for their commit */
	} limits;
	/* An ID (no '/' at its end) stands for itself and all below it. UIDs are lower-case. */
	struct mica_string_list deny_spiffe_ids, deny_pod_uids;
	/* What is legal but probably not meant (a role's ID that an issuer can produce, ...);
	 * one line each, for `config check` and the log. */
	struct mica_string_list warnings;
};

/*
 * Reads and cross-checks. `name` stands in messages ("NAME:4:3: https.listen: ..."); may be NULL.
 * INVALID with line, column, the path of the setting and what is allowed; nothing is made on error:
 *	yaml_syntax, yaml_schema	as in yaml.h
 *	config_value		one value is wrong by itself
 *	config_missing		what another setting, or none, makes necessary
 *	config_conflict		two settings exclude each other: sources of passphrase or keys,
 *				listeners, what a kind of issuer cannot have
 *	config_lifetimes	an authority could not outlive what it signs, or bounds are out of
 *				order; the text says which number to change, and to what
 *	name_reserved		a role or a DNS template has a name of Mica's own
 *	trust_domain_*, spiffe_id_*, template_*, dns_name_*, issuer_*, names_overlap, ...
 *				as in spiffeid.h, template.h, token.h
 * and LIMIT "yaml_too_long".
 */
mica_rc mica_config_parse(struct mica_slice yaml, const char *name, struct mica_config **out,
	struct mica_err *e) MICA_MUST_CHECK;
/* Reads the file first (at most 256 KiB). Besides: as mica_file_read. */
mica_rc mica_config_load(
	const char *path, struct mica_config **out, struct mica_err *e) MICA_MUST_CHECK;
void mica_config_free(struct mica_config *c);
/*
 * Appends the names ("https.listen", "issuers[0].skew"; "issuers" when their number differs) of
 * what differs between a and b but cannot change without a restart. What can: roles, join_tokens,
 * rules, x509, jwt, rotation, crl, limits, deny, log.level, log.caller_address.
 */
void mica_config_needs_restart(
	const struct mica_config *a, const struct mica_config *b, struct mica_string_list *out);
void mica_string_list_clear(struct mica_string_list *l);
/* Whether any listener of the gRPC front is on. */
bool mica_config_has_grpc(const struct mica_config *c);
/* The DNS names of the serving certificate, each once: https's, and those of the gRPC front and of
 * Linkerd's service when they are on. Borrowed pointers, at most `max`; returns how many there are.
 */
size_t mica_config_dns_names(const struct mica_config *c, const char **out, size_t max);

#endif
