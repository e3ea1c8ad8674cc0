/* SPDX-License-Identifier: Apache-2.0 */
/* Stores at rest: `mica store check` and `mica restore`. */
#include "core_impl.h"

#include "mica/ledger.h"
#include "mica/key.h"
#include "mica/store.h"

#include <stdio.h>
#include <unistd.h>

/* Where `mica init` puts what is needed here. */
#define META_TRUST_DOMAIN "trust_domain"
#define META_KEK          "kek"

#define RECORD_MAX (64 * 1024)

static mica_rc record(struct mica_store *s, enum mica_table t, const char *key,
	struct mica_buf *out, struct mica_err *e)
{
	mica_rc rc = mica_store_get(s, t, mica_slice_str(key), out, NULL, e);

	if (rc == MICA_NOT_FOUND && e)
		mica_err_clear(e);
	return rc == MICA_NOT_FOUND
		? mica_fail(e, MICA_CORRUPT, "store_partial",
			  "the store has no record '%s': its creation did not end", key)
		: rc;
}

static mica_rc check_trust_domain(
	struct mica_store *s, const struct mica_config *config, struct mica_err *e)
{
	MICA_AUTO_BUF td;
	mica_rc rc;

	mica_buf_init(&td, RECORD_MAX);
	rc = record(s, MICA_T_META, META_TRUST_DOMAIN, &td, e);
	if (rc == MICA_OK && !mica_slice_eq_str(mica_buf_slice(&td), config->trust_domain))
		rc = mica_fail(e, MICA_INVALID, "trust_domain_mismatch",
			"the store is of trust domain '%.*s', the configuration says '%s'",
			MICA_FMT(mica_buf_slice(&td)), config->trust_domain);
	return rc;
}

static mica_rc unlock_log_key(struct mica_store *s, const struct mica_secret *passphrase,
	struct mica_signer **out, struct mica_err *e)
{
	const char *name = mica_key_purpose_name(MICA_KEY_LOG);
	MICA_AUTO_KEK kek = NULL;
	MICA_AUTO_BUF kek_record, envelope;
	mica_rc rc;

	mica_buf_init(&kek_record, RECORD_MAX);
	mica_buf_init(&envelope, RECORD_MAX);
	rc = record(s, MICA_T_META, META_KEK, &kek_record, e);
	if (rc == MICA_OK)
		rc = record(s, MICA_T_KEY, name, &envelope, e);
	if (rc == MICA_OK)
		rc = mica_kek_unlock(passphrase, mica_buf_slice(&kek_record), &kek, e);
	if (rc == MICA_OK)
		rc = mica_kek_open(kek, MICA_KEY_LOG, name, mica_buf_slice(&envelope), out, e);
	return rc;
}

/* ---- check --------------------------------------------------------------------------------- */

/* Pages first, since whoever reads a damaged tree of pages may read anything. The first opening
 * only takes the lock for a moment: a file that somebody writes is not to be judged. */
static mica_rc check_pages(const char *dir, const struct mica_progress *p, struct mica_err *e)
{
	struct mica_err own = MICA_ERR_INIT;
	MICA_AUTO_STORE s = NULL;
	char path[4096];
	mica_rc rc = mica_store_open(dir, NULL, &s, &own), pages;

	if (rc != MICA_OK && rc != MICA_CORRUPT)
		return mica_fail(e, rc, own.reason, "%s", own.text);
	mica_store_close(MICA_STEAL(s));
	if (snprintf(path, sizeof(path), "%s/store.lmdb", dir) >= (int)sizeof(path))
		return mica_fail(e, MICA_INVALID, "path_too_long", "%.80s...: too long", dir);
	pages = access(path, F_OK) == 0 ? mica_store_check_file(path, p, e) : MICA_OK;
	if (pages == MICA_OK && rc != MICA_OK)
		return mica_fail(e, rc, own.reason, "%s", own.text);
	return pages;
}

mica_rc mica_core_check(const struct mica_config *config, const struct mica_secret *passphrase,
	const struct mica_note_key *key, const struct mica_progress *p,
	struct mica_check_result *out, struct mica_err *e)
{
	struct mica_check_report report;
	MICA_AUTO_STORE s = NULL;
	MICA_AUTO_SIGNER signer = NULL;
	MICA_AUTO_LEDGER l = NULL;
	mica_rc rc = check_pages(config->store.path, p, e);

	memset(out, 0, sizeof(*out));
	if (rc == MICA_OK)
		rc = mica_store_open(config->store.path, NULL, &s, e);
	if (rc == MICA_OK)
		rc = check_trust_domain(s, config, e);
	if (rc == MICA_OK && !key)
		rc = unlock_log_key(s, passphrase, &signer, e);
	if (rc == MICA_OK)
		rc = mica_ledger_open(s, signer, key, &l, e);
	if (rc == MICA_OK)
		rc = mica_ledger_check(l, p, &report, e);
	if (rc == MICA_OK)
		rc = mica_core_policies_check(s, e);
	if (rc != MICA_OK)
		return rc;
	snprintf(out->origin, sizeof(out->origin), "%.*s", (int)sizeof(out->origin) - 1,
		mica_ledger_key(l)->name);
	out->entries = report.entries;
	out->tiles = report.tiles;
	out->records = report.records;
	return MICA_OK;
}

/* ---- restore ------------------------------------------------------------------------------- */

/* The name and key that the restored log has, as its auditors need them. */
static mica_rc name_log(const char *origin, const struct mica_signer *signer,
	struct mica_restore_result *out, struct mica_err *e)
{
	struct mica_note_key key;
	MICA_AUTO_BUF vkey;
	mica_rc rc =
		mica_note_key_init(&key, mica_slice_str(origin), mica_signer_public(signer), e);

	mica_buf_init(&vkey, MICA_VKEY_MAX - 1);
	if (rc != MICA_OK)
		return rc;
	mica_vkey_format(&key, &vkey);
	snprintf(out->origin, sizeof(out->origin), "%.*s", (int)sizeof(out->origin) - 1, origin);
	snprintf(out->vkey, sizeof(out->vkey), "%s", (const char *)vkey.p);
	return mica_buf_rc(&vkey, e);
}

static mica_rc restart(struct mica_store *s, const struct mica_config *config,
	const struct mica_signer *signer, const struct mica_caller *actor, struct mica_slice known,
	int64_t now_ms, struct mica_restore_result *out, struct mica_err *e)
{
	struct mica_restore_report report;
	char origin[MICA_NOTE_NAME_MAX];
	struct mica_restore r = {.new_origin = origin,
		.signer = signer,
		.known_checkpoint = known,
		.actor = MICA_ACTOR_LOCAL,
		.uid = (uint32_t)actor->uid,
		.gid = (uint32_t)actor->gid,
		.pid = (uint32_t)actor->pid,
		.now_ms = now_ms};
	mica_rc rc;

	mica_ledger_origin(config->trust_domain, origin);
	rc = mica_ledger_restart(s, &r, &report, e);
	if (rc == MICA_OK)
		rc = name_log(origin, signer, out, e);
	if (rc != MICA_OK)
		return rc;
	snprintf(out->old_origin, sizeof(out->old_origin), "%.*s", (int)sizeof(out->old_origin) - 1,
		report.old_origin);
	out->entries = report.lost_from + 1;
	out->lost_from = report.lost_from;
	out->lost_to = report.lost_to;
	out->checkpoint_known = known.len > 0;
	out->backup_time = report.backup_now_ms / 1000;
	return MICA_OK;
}

mica_rc mica_core_restore(const struct mica_config *config, const struct mica_secret *passphrase,
	const char *backup, struct mica_slice known_checkpoint, const struct mica_caller *actor,
	int64_t now_ms, const struct mica_progress *p, struct mica_restore_result *out,
	struct mica_err *e)
{
	MICA_AUTO_STORE s = NULL;
	MICA_AUTO_SIGNER signer = NULL;
	mica_rc rc = mica_backup_open(backup, config->store.path, p, &s, e);

	memset(out, 0, sizeof(*out));
	if (rc == MICA_OK)
		rc = check_trust_domain(s, config, e);
	if (rc == MICA_OK)
		rc = unlock_log_key(s, passphrase, &signer, e);
	if (rc == MICA_OK)
		rc = restart(s, config, signer, actor, known_checkpoint, now_ms, out, e);
	if (rc == MICA_OK)
		rc = mica_core_join_forget(s, e);
	/* Until here it is refused as `store_partial`: by whom a crash left it to. */
	if (rc == MICA_OK)
		rc = mica_store_complete(s, e);
	if (rc != MICA_OK)
		mica_store_take_undo(MICA_STEAL(s));
	return rc;
}
