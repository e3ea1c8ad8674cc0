/* SPDX-License-Identifier: Apache-2.0 */
/* What may stand in the configuration, and where it goes. What values mean is in config.c. */
#include "config_impl.h"

#include "mica/yaml.h"

#define PATH_MAX_   4095
#define SOCKET_MAX_ 107 /* sun_path of unix(7) */
#define TEXT(key_, s_, member_, low_, high_)                                                       \
	CYAML_FIELD_STRING_PTR(                                                                    \
		key_, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, s_, member_, low_, high_)
#define NEEDED(key_, s_, member_, low_, high_)                                                     \
	CYAML_FIELD_STRING_PTR(key_, CYAML_FLAG_POINTER, s_, member_, low_, high_)
#define NUMBERS(key_, s_, member_)                                                                 \
	{                                                                                          \
		.key = key_,                                                                       \
		.value = {CYAML_VALUE_SEQUENCE(                                                    \
			CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, uint32_t, &number, 0, 256)},     \
		.data_offset = offsetof(s_, member_), .count_size = sizeof(unsigned),              \
		.count_offset = offsetof(s_, n_##member_),                                         \
	}

static const cyaml_schema_value_t number = {CYAML_VALUE_UINT(CYAML_FLAG_DEFAULT, uint32_t)};
static const cyaml_schema_value_t word = {CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, 4095)};

static const cyaml_strval_t channels[] = {
	{"live", MICA_CHANNEL_LIVE}, {"canary", MICA_CHANNEL_CANARY}};
static const cyaml_strval_t levels[] = {{"info", CONFIG_LEVEL(MICA_INFO)},
	{"debug", CONFIG_LEVEL(MICA_DEBUG)}, {"warn", CONFIG_LEVEL(MICA_WARN)},
	{"error", CONFIG_LEVEL(MICA_ERROR)}};
static const cyaml_strval_t formats[] = {{"logfmt", MICA_LOG_LOGFMT}, {"json", MICA_LOG_JSON}};
static const cyaml_strval_t key_types[] = {{"p256", MICA_KN_P256}, {"p384", MICA_KN_P384},
	{"rsa2048", MICA_KN_RSA2048}, {"rsa3072", MICA_KN_RSA3072}, {"rsa4096", MICA_KN_RSA4096},
	{"ed25519", MICA_KN_ED25519}};
static const cyaml_strval_t validators[] = {{"plain", 0}, {"spiffe", 1}};

static const cyaml_schema_field_t files_fields[] = {
	NEEDED("directory", struct agent_files, directory, 1, PATH_MAX_),
	TEXT("cert", struct agent_files, cert, 1, 48),
	TEXT("key", struct agent_files, key, 1, 48),
	TEXT("bundle", struct agent_files, bundle, 1, 48),
	TEXT("bundle_map", struct agent_files, bundle_map, 1, 48),
	TEXT("cert_mode", struct agent_files, cert_mode_text, 1, 8),
	TEXT("key_mode", struct agent_files, key_mode_text, 1, 8),
	TEXT("signal", struct agent_files, signal_text, 1, 8),
	TEXT("pid_file", struct agent_files, pid_file, 1, PATH_MAX_),
	CYAML_FIELD_SEQUENCE_COUNT("command", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL,
		struct agent_files, command, n_command, &word, 1, 64),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t allow_fields[] = {
	CYAML_FIELD_BOOL("any", CYAML_FLAG_OPTIONAL, struct agent_identity, any),
	NUMBERS("uids", struct agent_identity, uids),
	NUMBERS("gids", struct agent_identity, gids),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t join_fields[] = {
	NEEDED("token_file", struct agent_identity, join_token_file, 1, PATH_MAX_),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t identity_fields[] = {
	NEEDED("name", struct agent_identity, name, 1, MICA_NAME_MAX),
	TEXT("token_file", struct agent_identity, token_file, 1, PATH_MAX_),
	/* in the same struct: a mapping at its beginning */
	{.key = "join",
		.value = {CYAML_VALUE_MAPPING(
			CYAML_FLAG_OPTIONAL, struct agent_identity, join_fields)},
		.data_offset = 0},
	TEXT("hint", struct agent_identity, hint, 0, 1024),
	TEXT("ttl", struct agent_identity, ttl_text, 1, 64),
	CYAML_FIELD_ENUM("key_type", CYAML_FLAG_OPTIONAL | CYAML_FLAG_STRICT, struct agent_identity,
		key_type, key_types, MICA_ARRAY_LEN(key_types)),
	/* in the same struct: a mapping at its beginning */
	{.key = "allow",
		.value = {CYAML_VALUE_MAPPING(
			CYAML_FLAG_DEFAULT, struct agent_identity, allow_fields)},
		.data_offset = 0},
	CYAML_FIELD_MAPPING(
		"files", CYAML_FLAG_OPTIONAL, struct agent_identity, files, files_fields),
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t identity = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct agent_identity, identity_fields)};

static const cyaml_schema_field_t name_fields[] = {
	NEEDED("name", struct agent_sds_name, name, 1, 2048),
	NEEDED("is", struct agent_sds_name, is, 1, 2048),
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t sds_name = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct agent_sds_name, name_fields)};

static const cyaml_schema_field_t micad_fields[] = {
	NEEDED("url", struct agent_config, micad.url, 1, 1024),
	TEXT("watch_url", struct agent_config, micad.watch_url, 1, 1024),
	TEXT("timeout", struct agent_config, micad.timeout_text, 1, 64),
	TEXT("bootstrap_file", struct agent_config, micad.bootstrap_file, 1, PATH_MAX_),
	TEXT("pin", struct agent_config, micad.pin, 1, 128),
	CYAML_FIELD_ENUM("channel", CYAML_FLAG_OPTIONAL | CYAML_FLAG_STRICT, struct agent_config,
		micad.channel, channels, MICA_ARRAY_LEN(channels)),
	CYAML_FIELD_END,
};
static const cyaml_schema_field_t socket_fields[] = {
	TEXT("path", struct agent_config, socket.path, 1, SOCKET_MAX_),
	TEXT("mode", struct agent_config, socket.mode_text, 1, 8),
	CYAML_FIELD_END,
};
static const cyaml_schema_field_t state_fields[] = {
	TEXT("directory", struct agent_config, state_directory, 1, PATH_MAX_),
	TEXT("passphrase_file", struct agent_config, state_passphrase_file, 1, PATH_MAX_),
	TEXT("credential", struct agent_config, state_credential, 1, 255),
	CYAML_FIELD_END,
};
static const cyaml_schema_field_t sds_fields[] = {
	TEXT("default_svid", struct agent_config, sds.default_svid, 1, 2048),
	TEXT("default_bundle", struct agent_config, sds.default_bundle, 1, 2048),
	TEXT("all_bundles", struct agent_config, sds.all_bundles, 1, 2048),
	CYAML_FIELD_ENUM("validator", CYAML_FLAG_OPTIONAL | CYAML_FLAG_STRICT, struct agent_config,
		sds.validator, validators, MICA_ARRAY_LEN(validators)),
	{.key = "names",
		.value = {CYAML_VALUE_SEQUENCE(CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL,
			struct agent_sds_name, &sds_name, 0, AGENT_NAMES_MAX)},
		.data_offset = offsetof(struct agent_config, sds.names),
		.count_size = sizeof(unsigned),
		.count_offset = offsetof(struct agent_config, sds.n_names)},
	CYAML_FIELD_END,
};
static const cyaml_schema_field_t metrics_fields[] = {
	TEXT("listen", struct agent_config, metrics.listen, 1, SOCKET_MAX_),
	CYAML_FIELD_END,
};
static const cyaml_schema_field_t log_fields[] = {
	CYAML_FIELD_ENUM("level", CYAML_FLAG_OPTIONAL | CYAML_FLAG_STRICT, struct agent_config,
		log.level, levels, MICA_ARRAY_LEN(levels)),
	CYAML_FIELD_ENUM("format", CYAML_FLAG_OPTIONAL | CYAML_FLAG_STRICT, struct agent_config,
		log.format, formats, MICA_ARRAY_LEN(formats)),
	CYAML_FIELD_END,
};

/* All sections lie in the one struct: each is a mapping at its beginning. */
#define SECTION(key_, flags_, fields_)                                                             \
	{                                                                                          \
		.key = key_, .value = {CYAML_VALUE_MAPPING(flags_, struct agent_config, fields_)}, \
		.data_offset = 0                                                                   \
	}
static const cyaml_schema_field_t fields[] = {
	NEEDED("trust_domain", struct agent_config, trust_domain, 1, MICA_TD_MAX),
	SECTION("micad", CYAML_FLAG_DEFAULT, micad_fields),
	SECTION("state", CYAML_FLAG_OPTIONAL, state_fields),
	SECTION("socket", CYAML_FLAG_OPTIONAL, socket_fields),
	SECTION("sds", CYAML_FLAG_OPTIONAL, sds_fields),
	SECTION("metrics", CYAML_FLAG_OPTIONAL, metrics_fields),
	SECTION("log", CYAML_FLAG_OPTIONAL, log_fields),
	{.key = "identities",
		.value = {CYAML_VALUE_SEQUENCE(CYAML_FLAG_POINTER, struct agent_identity, &identity,
			1, AGENT_IDENTITIES_MAX)},
		.data_offset = offsetof(struct agent_config, identities),
		.count_size = sizeof(unsigned),
		.count_offset = offsetof(struct agent_config, n_identities)},
	CYAML_FIELD_END,
};
const cyaml_schema_value_t agent_config_schema = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct agent_config, fields)};
