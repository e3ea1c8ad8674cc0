/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration of mica-agent, read from one YAML text and cross-checked. No file but that one
 * is opened here. deploy/examples/mica-agent.yaml documents each setting and its default; a test
 * holds that file and these defaults together.
 */
#ifndef MICA_AGENT_CONFIG_H
#define MICA_AGENT_CONFIG_H

#include "mica/bundle.h"
#include "mica/config.h"
#include "mica/log.h"

#define AGENT_IDENTITIES_MAX 32 /* bits of a set of identities */
#define AGENT_NAMES_MAX      256 /* of SDS secrets by mapping */

/* Strings marked "text" are as configured, NULL when not given; their meaning stands beside. */
struct agent_files {
	char *directory; /* NULL = no files */
	char *cert, *key, *bundle, *bundle_map; /* names in it */
	char *cert_mode_text, *key_mode_text;
	unsigned cert_mode, key_mode;
	int signal; /* 0 = none */
	char *signal_text, *pid_file;
	char **command; /* argv; NULL = none */
	unsigned n_command;
};

struct agent_identity {
	char *name;
	/* Exactly one is not NULL: a token that somebody renews, or one that is used once. */
	char *token_file, *join_token_file;
	char *hint; /* Workload API 1.8; "" = none */
	char *ttl_text;
	int64_t ttl; /* seconds; 0 = micad's default */
	enum mica_key_name key_type;
	/* Who may use it: any peer of the socket, or one whose user or group is in a list. */
	bool any;
	uint32_t *uids, *gids;
	unsigned n_uids, n_gids;
	struct agent_files files;
};

/* How trust is told to an Envoy: a list of roots, or its SPIFFE validator, which looks at the trust
 * domain of who is checked. */
enum agent_validator { AGENT_PLAIN, AGENT_SPIFFE };

struct agent_sds_name {
	char *name; /* as the Envoy asks */
	char *is; /* what it gets: another name that the agent knows */
};

struct agent_config {
	char *trust_domain;
	struct {
		char *url, *watch_url; /* watch_url "" = url */
		char *timeout_text;
		int64_t timeout_ms;
		char *bootstrap_file, *pin; /* exactly one is not NULL */
		uint8_t pin_hash[32];
		enum mica_channel channel;
	} micad;
	char *state_directory; /* "" = nothing is kept */
	char *state_passphrase_file, *state_credential; /* at most one is not NULL */
	struct {
		char *path, *mode_text;
		unsigned mode;
	} socket;
	struct {
		char *default_svid, *default_bundle, *all_bundles; /* names */
		enum agent_validator validator; /* where an Envoy's metadata say nothing */
		struct agent_sds_name *names;
		unsigned n_names;
	} sds;
	struct {
		char *listen; /* as configured: an address, or the path of a Unix socket; "" = off
			       */
		char host[64]; /* of an address, without brackets */
		uint16_t port;
	} metrics;
	struct {
		enum mica_log_level level;
		enum mica_log_format format;
	} log;
	struct agent_identity *identities;
	unsigned n_identities;
};

/* INVALID "yaml_*" or "config_value", with line and column. `name` stands in messages. */
mica_rc agent_config_parse(struct mica_slice yaml, const char *name, struct agent_config **out,
	struct mica_err *e) MICA_MUST_CHECK;
mica_rc agent_config_load(
	const char *path, struct agent_config **out, struct mica_err *e) MICA_MUST_CHECK;
void agent_config_free(struct agent_config *c); /* NULL is fine */

static inline void auto_agent_config_(struct agent_config **c)
{
	agent_config_free(*c);
}
#define AUTO_AGENT_CONFIG __attribute__((cleanup(auto_agent_config_))) struct agent_config *

#endif
