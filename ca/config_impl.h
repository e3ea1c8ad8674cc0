/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of the configuration. config_settings.c knows each setting: one row of one table says
 * its name, kind, bounds, default and whether it waits for a restart. config_schema.c reads, frees
 * and compares by those tables; config_check*.c know what settings mean together; config.c is the
 * face of it all.
 */
#ifndef MICA_CA_CONFIG_IMPL_H
#define MICA_CA_CONFIG_IMPL_H

#include "mica/config.h"
#include "mica/yaml.h"

/* A document that is being read: for places in messages. */
struct config_source {
	const char *name;
	const struct mica_yaml_doc *doc;
	struct mica_err *e;
};

#define CONFIG_PATH_MAX 160 /* octets of "issuers[3].keys.jwks_uri" and its NUL */
const char *config_path(char out[CONFIG_PATH_MAX], const char *fmt, ...) MICA_PRINTF(2, 3);

/* INVALID `reason` with "NAME:LINE:COLUMN: PATH: text". The place is that of `path`, or of the
 * nearest thing around it that the document has. */
mica_rc config_refuse(const struct config_source *src, const char *path, const char *reason,
	const char *fmt, ...) MICA_PRINTF(4, 5);
/* The same with the reason and text of what another part has refused. */
mica_rc config_refuse_why(
	const struct config_source *src, const char *path, const struct mica_err *why);
/* Whether the document says something at `path`. */
bool config_given(const struct config_source *src, const char *path);
void config_list_push(struct mica_string_list *l, const char *text);
/* For messages: cut like the text of an error. */
void config_list_add(struct mica_string_list *l, const char *fmt, ...) MICA_PRINTF(2, 3);

/* "15m": in the largest unit that leaves no rest; as a setting is written. */
#define CONFIG_DURATION_SIZE 24
const char *config_duration(int64_t seconds, char out[CONFIG_DURATION_SIZE]);

/* ---- config_settings.c --------------------------------------------------------------------- */

enum setting_kind {
	SETTING_TEXT, /* char *: low..high octets; default `text`, may be NULL */
	SETTING_LIST, /* struct mica_string_list: up to `high`; default: the words of `text` */
	SETTING_LISTEN, /* struct mica_listen; default `text` */
	SETTING_DURATION, /* int64_t, seconds */
	SETTING_NUMBER, /* int64_t */
	SETTING_FLAG, /* bool */
	SETTING_CHOICE, /* an enum: one of `choices` */
	SETTING_WORD, /* bool: which of two `choices` */
	SETTING_KEYS, /* a mask of enum mica_key_name */
	SETTING_PAIRS, /* an array of struct { char *key, *value; }; its count at `count` */
	SETTING_SECTION, /* rows of `table`, in the same struct */
	SETTING_ENTRIES, /* an array of structs of `table`, up to `high`; its count at `count` */
	SETTING_KIND_COUNT
};

struct setting_table;
struct setting {
	const char *key;
	enum setting_kind kind;
	size_t offset, count;
	bool required, restart;
	int64_t low, high, number; /* bounds and default */
	const char *text;
	const cyaml_strval_t *choices;
	unsigned n_choices;
	const struct setting_table *table;
	mica_rc (*check)(struct mica_slice value, struct mica_err *e); /* of a text, or an entry */
};
struct setting_table {
	const struct setting *rows;
	unsigned n;
	size_t size; /* of the struct */
};

#define CONFIG_PAIRS_MAX 64
/* The default of max_token_life: it depends on the front and on skew. */
#define CONFIG_UNSET (-1)

extern const struct setting_table config_settings;
extern const cyaml_strval_t config_key_names[MICA_KN_COUNT];

/* Checks of one value: INVALID "config_value". */
mica_rc config_check_host(struct mica_slice host_port, struct mica_err *e) MICA_MUST_CHECK;
mica_rc config_check_https_url(struct mica_slice url, struct mica_err *e) MICA_MUST_CHECK;

/* ---- config_schema.c ----------------------------------------------------------------------- */

/* Fills the zeroed *c with what the text says, or the defaults; values are checked one by one. */
mica_rc config_read(struct mica_slice yaml, const struct config_source *src, struct mica_config *c);
void config_clear(struct mica_config *c);
/* Appends the paths of what differs and waits for a restart, or of all that differs. */
void config_differences(const struct setting_table *t, const void *a, const void *b, bool all,
	struct mica_string_list *out);

/* ---- config_check.c ------------------------------------------------------------------------ */

/* Defaults that depend on other settings, what settings mean together, warnings. */
mica_rc config_check(const struct config_source *src, struct mica_config *c);

#endif
