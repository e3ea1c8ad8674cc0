/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mica's own TLS key and chain, kept sealed beside the others: what a start serves with while
 * nothing can be recorded, or nobody may sign. It is a record, not an entry: the certificate has
 * its own.
 */
#include "core_impl.h"

#define RECORD_VERSION 1
#define KEY_NAME       "serving"
#define RECORD_MAX     (4 * MICA_CERT_MAX)

static mica_rc write_kept(struct mica_core *c, const struct mica_signer *key,
	struct mica_slice chain_pem, int64_t now_ms, struct mica_err *e)
{
	CORE_AUTO_CHANGE ch = {.n_reads = 0};
	MICA_AUTO_BUF envelope, record;
	mica_rc rc;

	mica_buf_init(&envelope, MICA_AUTHORITY_RECORD_MAX);
	mica_buf_init(&record, RECORD_MAX);
	mica_buf_put_u8(&record, RECORD_VERSION);
	mica_buf_put_slice(&record, chain_pem);
	rc = mica_buf_rc(&record, e);
	if (rc == MICA_OK)
		rc = mica_kek_seal(c->kek, MICA_KEY_SERVING, KEY_NAME, key, &envelope, e);
	if (rc != MICA_OK)
		return rc;
	mica_core_change_write(
		&ch, MICA_PUT, MICA_T_KEY, MICA_LIT(KEY_NAME), mica_buf_slice(&envelope));
	mica_core_change_write(
		&ch, MICA_PUT, MICA_T_SNAPSHOT, MICA_LIT(KEY_NAME), mica_buf_slice(&record));
	return mica_core_change_commit(c, &ch, now_ms, e);
}

mica_rc mica_core_keep_serving(struct mica_core *c, const struct mica_secret *pkcs8,
	struct mica_slice chain_pem, int64_t now_ms, struct mica_err *e)
{
	MICA_AUTO_SIGNER key = NULL;
	mica_rc rc = mica_signer_from_pkcs8(mica_secret_view(pkcs8), &key, e);

	if (rc != MICA_OK)
		return rc;
	pthread_mutex_lock(&c->admin);
	rc = write_kept(c, key, chain_pem, now_ms, e);
	pthread_mutex_unlock(&c->admin);
	return rc;
}

/* One of the two records, or why not; `what` names it. */
static mica_rc get(struct mica_core *c, enum mica_table t, struct mica_buf *out, struct mica_err *e)
{
	struct mica_err own = MICA_ERR_INIT;
	mica_rc rc = mica_store_get(c->store, t, MICA_LIT(KEY_NAME), out, NULL, &own);

	if (rc == MICA_NOT_FOUND)
		return mica_fail(e, MICA_NOT_FOUND, "no_serving_key",
			"no serving certificate has been recorded here yet");
	return rc == MICA_OK ? MICA_OK : mica_fail(e, rc, own.reason, "%s", own.text);
}

mica_rc mica_core_kept_serving(struct mica_core *c, struct mica_secret **pkcs8,
	struct mica_buf *chain_pem, struct mica_err *e)
{
	MICA_AUTO_SIGNER key = NULL;
	MICA_AUTO_BUF envelope, record;
	struct mica_cursor cur;
	mica_rc rc;

	mica_buf_init(&envelope, MICA_AUTHORITY_RECORD_MAX);
	mica_buf_init(&record, RECORD_MAX);
	rc = get(c, MICA_T_KEY, &envelope, e);
	if (rc == MICA_OK)
		rc = get(c, MICA_T_SNAPSHOT, &record, e);
	if (rc != MICA_OK)
		return rc;
	cur = (struct mica_cursor){mica_buf_slice(&record), false};
	if (mica_cur_u8(&cur) != RECORD_VERSION)
		return mica_fail(e, MICA_CORRUPT, "snapshot_malformed",
			"the stored record of the serving certificate is damaged");
	rc = mica_kek_open(c->kek, MICA_KEY_SERVING, KEY_NAME, mica_buf_slice(&envelope), &key, e);
	if (rc == MICA_OK)
		rc = mica_signer_pkcs8(key, pkcs8, e);
	if (rc == MICA_OK)
		mica_buf_put_slice(chain_pem, cur.s);
	return rc;
}
