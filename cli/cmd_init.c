/* SPDX-License-Identifier: Apache-2.0 */
/* What works on files of this machine: init, config check, store check, restore. */
#include "cli.h"
#include "progress.h"

#include "mica/clock.h"
#include "mica/config.h"
#include "mica/core.h"
#include "mica/file.h"
#include "mica/note.h"
#include "mica/store.h"

#include <unistd.h>

static void auto_config(struct mica_config **c)
{
	mica_config_free(*c);
}
#define CONFIG_AUTO __attribute__((cleanup(auto_config))) struct mica_config *

static mica_rc load(struct cli *c, struct mica_config **out, struct mica_err *e)
{
	*out = NULL;
	if (!cli_set(c, OPT_CONFIG))
		return mica_fail(e, MICA_INVALID, "missing_argument",
			"which configuration? --config FILE is not given");
	return mica_config_load(cli_str(c, OPT_CONFIG), out, e);
}

static mica_rc passphrase(
	const struct mica_config *config, struct mica_secret **out, struct mica_err *e)
{
	struct mica_secret_source s = {.file = config->passphrase.file,
		.env = config->passphrase.env,
		.credential = config->passphrase.credential};

	return mica_secret_load(&s, out, e);
}

static void show_warnings(struct writer *w, const struct mica_config *config)
{
	wr_list(w, "warnings");
	for (unsigned i = 0; i < config->warnings.n; i++)
		wr_cstr(w, NULL, config->warnings.v[i]);
	wr_end(w);
}

mica_rc cmd_init(struct cli *c, struct mica_err *e)
{
	CONFIG_AUTO config = NULL;
	MICA_AUTO_SECRET pass = NULL;
	struct mica_init_result r;
	mica_rc rc = load(c, &config, e);

	if (rc == MICA_OK)
		rc = passphrase(config, &pass, e);
	if (rc == MICA_OK)
		rc = mica_core_init(config, pass, mica_now_ms(), &r, e);
	if (rc != MICA_OK)
		return rc;
	wr_object(c->w, NULL);
	wr_cstr(c->w, "trust_domain", config->trust_domain);
	wr_cstr(c->w, "store", config->store.path);
	wr_cstr(c->w, "origin", r.origin);
	wr_cstr(c->w, "vkey", r.vkey);
	if (config->authorities.root == MICA_ROOT_OWN) {
		wr_cstr(c->w, "root_id", r.root_id);
		wr_time(c->w, "root_not_after", r.root_not_after);
		wr_cstr(c->w, "issuing_id", r.issuing_id);
		wr_time(c->w, "issuing_not_after", r.issuing_not_after);
	}
	if (config->authorities.root == MICA_ROOT_OFFLINE)
		wr_uint(c->w, "pending", r.pending);
	wr_end(c->w);
	if (config->authorities.root == MICA_ROOT_OFFLINE)
		wr_note(c->w,
			"No root was made. When micad runs, `mica authority csr` tells what its root "
			"has to sign.");
	wr_note(c->w,
		"Next: start micad with the same configuration, and give the vkey to your "
		"auditors (MICA_LOG_VKEY).");
	return MICA_OK;
}

mica_rc cmd_config_check(struct cli *c, struct mica_err *e)
{
	CONFIG_AUTO config = NULL;
	const char *path = c->n_args > 0 ? c->args[0] : cli_str(c, OPT_CONFIG);
	mica_rc rc;

	if (!path)
		return mica_fail(e, MICA_INVALID, "missing_argument",
			"which configuration? give FILE or --config FILE");
	rc = mica_config_load(path, &config, e);
	if (rc != MICA_OK)
		return rc;
	wr_object(c->w, NULL);
	wr_cstr(c->w, "file", path);
	wr_verdict(c->w, "verdict", true, "valid");
	wr_cstr(c->w, "trust_domain", config->trust_domain);
	wr_int(c->w, "issuers", config->n_issuers);
	wr_int(c->w, "rules", config->n_rules);
	show_warnings(c->w, config);
	wr_end(c->w);
	return MICA_OK;
}

mica_rc cmd_store_check(struct cli *c, struct mica_err *e)
{
	CONFIG_AUTO config = NULL;
	MICA_AUTO_SECRET pass = NULL;
	struct progress_line line = {.what = "reading"};
	struct mica_progress progress = {progress_show, &line};
	struct mica_check_result r;
	struct mica_note_key key;
	bool named = cli_set(c, OPT_VKEY);
	mica_rc rc = load(c, &config, e);

	if (rc == MICA_OK && named)
		rc = mica_vkey_parse(mica_slice_str(cli_str(c, OPT_VKEY)), &key, e);
	else if (rc == MICA_OK)
		rc = passphrase(config, &pass, e);
	if (rc == MICA_OK)
		rc = mica_core_check(config, pass, named ? &key : NULL, &progress, &r, e);
	progress_end(&line);
	if (rc != MICA_OK)
		return rc;
	wr_object(c->w, NULL);
	wr_verdict(c->w, "verdict", true, "sound");
	wr_cstr(c->w, "store", config->store.path);
	wr_cstr(c->w, "origin", r.origin);
	wr_uint(c->w, "entries", r.entries);
	wr_uint(c->w, "tiles", r.tiles);
	wr_uint(c->w, "records", r.records);
	wr_end(c->w);
	return MICA_OK;
}

static void show_restored(
	struct cli *c, const struct mica_config *config, const struct mica_restore_result *r)
{
	wr_object(c->w, NULL);
	wr_cstr(c->w, "store", config->store.path);
	wr_cstr(c->w, "old_origin", r->old_origin);
	wr_cstr(c->w, "origin", r->origin);
	wr_cstr(c->w, "vkey", r->vkey);
	wr_uint(c->w, "entries", r->entries);
	wr_time(c->w, "backup_time", r->backup_time);
	wr_uint(c->w, "lost_from", r->lost_from);
	wr_uint(c->w, "lost_to", r->lost_to);
	wr_bool(c->w, "lost_known", r->checkpoint_known);
	wr_end(c->w);
	if (r->lost_to > r->lost_from)
		wr_note(c->w,
			"%llu entries of the old log are lost. Their certificates are valid until they "
			"end, and have no entry.",
			(unsigned long long)(r->lost_to - r->lost_from));
	else if (!r->checkpoint_known)
		wr_note(c->w,
			"No later checkpoint was given (--checkpoint): what was issued after "
			"the backup may be lost, up to the longest lifetime of certificates.");
	wr_note(c->w, "Next: start micad, and give the new vkey to your auditors.");
}

mica_rc cmd_restore(struct cli *c, struct mica_err *e)
{
	CONFIG_AUTO config = NULL;
	MICA_AUTO_SECRET pass = NULL;
	struct progress_line line = {.what = "reading the backup"};
	struct mica_progress progress = {progress_show, &line};
	struct mica_caller actor = {.uid = getuid(), .gid = getgid(), .pid = getpid()};
	struct mica_restore_result r;
	MICA_AUTO_BUF known;
	mica_rc rc = load(c, &config, e);

	mica_buf_init(&known, MICA_NOTE_MAX);
	if (rc == MICA_OK)
		rc = passphrase(config, &pass, e);
	if (rc == MICA_OK && cli_set(c, OPT_CHECKPOINT))
		rc = mica_file_read(cli_str(c, OPT_CHECKPOINT), &known, e);
	if (rc == MICA_OK)
		rc = mica_core_restore(config, pass, c->args[0], mica_buf_slice(&known), &actor,
			mica_now_ms(), &progress, &r, e);
	progress_end(&line);
	if (rc == MICA_OK)
		show_restored(c, config, &r);
	return rc;
}
