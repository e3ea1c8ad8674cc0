/* SPDX-License-Identifier: Apache-2.0 */
/* What administrators do, and what is done behind: taints, the deny list, records, backups, timers.
 */
#include "core_impl.h"

#include <openssl/sha.h>

#define DENY_VALUE_MAX MICA_SPIFFE_ID_MAX
#define SPACE_EVERY    1000 /* ms */

/* ---- records --------------------------------------------------------------------------------- */

static bool is_action(const char *s)
{
	size_t len = strlen(s);

	return len > 0 && len <= MICA_NAME_MAX &&
		strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_") == len;
}

mica_rc mica_core_record(struct mica_core *c, const char *type, const struct mica_caller *actor,
	struct mica_slice detail_json, int64_t now_ms, struct mica_err *e)
{
	struct core_note n = {.type = MICA_ENTRY_ADMIN, .action = type, .detail = detail_json};
	CORE_AUTO_CHANGE ch = {.n_reads = 0};
	mica_rc rc;

	if (!is_action(type))
		return mica_fail(e, MICA_INVALID, "entry_invalid",
			"what is recorded is named by 1 to %d of [a-z0-9_]", MICA_NAME_MAX);
	rc = mica_core_change_note(&ch, &n, actor, now_ms, e);
	return rc == MICA_OK ? mica_core_change_commit(c, &ch, now_ms, e) : rc;
}

/* ---- authorities ----------------------------------------------------------------------------- */

static mica_rc reload_deny(struct mica_core *c, struct mica_err *e)
{
	struct core_deny *list = NULL;
	mica_rc rc = mica_core_deny_load(c, &list, e);

	if (rc == MICA_OK)
		mica_core_view_take_set(c, &(struct core_parts){.deny = list});
	return rc;
}

static mica_rc write_taint(struct mica_core *c, const struct core_view *v, unsigned i, int64_t at,
	const struct mica_caller *actor, int64_t now_ms, struct mica_err *e)
{
	struct core_note n = {
		.type = MICA_ENTRY_AUTHORITY, .action = "tainted", .authority = v->auths->v[i].id};
	CORE_AUTO_CHANGE ch = {.n_reads = 0};
	MICA_AUTO_AUTHORITY a;
	MICA_AUTO_BUF record;
	mica_rc rc;

	mica_authority_init(&a);
	mica_buf_init(&record, MICA_AUTHORITY_RECORD_MAX);
	rc = mica_authority_copy(&v->auths->v[i], &a, e);
	if (rc == MICA_OK)
		rc = mica_authority_add_time(&a, MICA_AE_TAINTED, at, e);
	if (rc == MICA_OK)
		rc = mica_authority_encode(&a, &record, e);
	if (rc == MICA_OK)
		rc = mica_core_change_note(&ch, &n, actor, now_ms, e);
	if (rc != MICA_OK)
		return rc;
	mica_core_change_read(&ch, MICA_T_AUTHORITY, mica_slice_str(a.id), v->auths->more[i].rev);
	mica_core_change_write(
		&ch, MICA_PUT, MICA_T_AUTHORITY, mica_slice_str(a.id), mica_buf_slice(&record));
	return mica_core_change_commit(c, &ch, now_ms, e);
}

static mica_rc taint(struct mica_core *c, const char *id, const struct mica_caller *actor,
	int64_t now_ms, struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	int64_t at = mica_core_decision_ms(c, now_ms) / 1000;
	int i;
	mica_rc rc = mica_core_authority_need(v->auths, id, &i, e);

	/* The time that decisions use, whatever the clock says: it holds at once for everybody,
	 * since the view that is made below counts earlier times as its own. And it is no earlier:
	 * the deadline for those who have to renew begins with it. */
	if (at < v->auths->from)
		at = v->auths->from;
	if (rc != MICA_OK)
		return rc;
	for (unsigned k = 0; k < v->auths->v[i].n_times; k++)
		if (v->auths->v[i].times[k].event == MICA_AE_TAINTED)
			return mica_fail(e, MICA_CONFLICT, "tainted_already",
				"this authority is tainted already");
	rc = write_taint(c, v, (unsigned)i, at, actor, now_ms, e);
	if (rc != MICA_OK)
		return rc;
	/* It holds from here on: what was decided on the old view conflicts. */
	c->stale = true;
	rc = mica_core_reload_authorities(c, at, e);
	c->stale = rc != MICA_OK;
	return rc;
}

/* What follows from an administrator's change, at once: a taint must not wait for the timer. What
 * does not work now is tried again by maintain. */
void mica_core_go_on(struct mica_core *c, int64_t now_ms)
{
	bool hurry = false;
	mica_rc rc = c->stale ? MICA_CONFLICT : mica_core_rotate(c, now_ms, &hurry, NULL);

	if (rc == MICA_OK)
		rc = mica_core_publish(c, now_ms, NULL, NULL);
	if (rc == MICA_OK)
		atomic_fetch_add(&c->hurries, hurry);
	if (!c->stale)
		rc = mica_core_crls_publish(c, now_ms, NULL);
	if (!c->stale)
		rc = mica_core_renewals_look(c, now_ms, NULL);
	(void)rc;
}

mica_rc mica_core_taint(struct mica_core *c, const char *authority_id,
	const struct mica_caller *actor, int64_t now_ms, struct mica_err *e)
{
	mica_rc rc;

	pthread_mutex_lock(&c->admin);
	rc = taint(c, authority_id, actor, now_ms, e);
	if (rc == MICA_OK)
		mica_core_go_on(c, now_ms);
	pthread_mutex_unlock(&c->admin);
	return rc;
}

/* ---- the deny list --------------------------------------------------------------------------- */

/* One value in its stored form. */
struct denial {
	uint8_t key[33]; /* kind, then SHA-256 of the value */
	uint8_t value[DENY_VALUE_MAX];
	size_t len;
};

static bool read_id(const struct core_view *v, struct mica_slice value, struct denial *d)
{
	struct mica_spiffe_id id;

	if (mica_spiffe_id_parse(value, &id, NULL) != MICA_OK ||
		!mica_spiffe_id_member_of(&id, mica_slice_str(v->policy->trust_domain)))
		return false;
	memcpy(d->value, value.p, value.len);
	d->len = value.len;
	return true;
}

static bool read_pod(const struct core_view *v, struct mica_slice value, struct denial *d)
{
	(void)v;
	d->len = 16;
	return mica_uuid_parse(value, d->value) == MICA_OK;
}

static bool read_key(const struct core_view *v, struct mica_slice value, struct denial *d)
{
	(void)v;
	d->len = 32;
	return mica_hex_decode(value, d->value, &d->len) == MICA_OK && d->len == 32;
}

static const struct deny_kind {
	const char *name, *expected;
	char key;
	bool (*read)(const struct core_view *v, struct mica_slice value, struct denial *d);
} deny_kinds[] = {{"spiffe_id", "a SPIFFE ID of this trust domain", 's', read_id},
	{"pod_uid", "a UID (8-4-4-4-12 lower-case hex)", 'p', read_pod},
	{"key", "64 hex digits: SHA-256 of a SubjectPublicKeyInfo", 'k', read_key}};

static mica_rc read_denial(const struct core_view *v, const char *kind, struct mica_slice value,
	struct denial *d, struct mica_err *e)
{
	for (size_t i = 0; i < MICA_ARRAY_LEN(deny_kinds); i++) {
		const struct deny_kind *k = &deny_kinds[i];

		if (strcmp(kind, k->name) != 0)
			continue;
		if (!k->read(v, value, d))
			return mica_fail(e, MICA_INVALID, "bad_deny_entry", "%s: expected %s",
				k->name, k->expected);
		d->key[0] = (uint8_t)k->key;
		SHA256(d->value, d->len, d->key + 1);
		return MICA_OK;
	}
	return mica_fail(e, MICA_INVALID, "bad_deny_entry",
		"there is no such kind of entry; expected spiffe_id, pod_uid or key");
}

static mica_rc write_denial(struct mica_core *c, const struct core_view *v, const char *kind,
	struct mica_slice value, const struct denial *d, bool denied,
	const struct mica_caller *actor, int64_t now_ms, struct mica_err *e)
{
	struct core_note n = {.type = MICA_ENTRY_DENY, .action = denied ? "denied" : "allowed"};
	struct mica_slice key = mica_slice(d->key, sizeof(d->key));
	CORE_AUTO_CHANGE ch = {.n_reads = 0};
	MICA_AUTO_BUF detail;
	mica_rc rc;

	mica_buf_init(&detail, 4 * DENY_VALUE_MAX);
	mica_buf_printf(&detail, "{\"kind\":\"%s\",\"value\":", kind);
	mica_buf_put_json_string(&detail, value);
	mica_buf_put_u8(&detail, '}');
	n.detail = mica_buf_slice(&detail);
	rc = mica_core_change_note(&ch, &n, actor, now_ms, e);
	if (rc != MICA_OK)
		return rc;
	mica_core_change_read(&ch, MICA_T_META, MICA_LIT("deny"), v->deny->rev);
	mica_core_change_write(&ch, MICA_PUT, MICA_T_META, MICA_LIT("deny"), MICA_LIT("\x01"));
	mica_core_change_write(&ch, denied ? MICA_PUT : MICA_DELETE, MICA_T_DENY, key,
		mica_slice(d->value, d->len));
	return mica_core_change_commit(c, &ch, now_ms, e);
}

static mica_rc deny(struct mica_core *c, const char *kind, struct mica_slice value, bool denied,
	const struct mica_caller *actor, int64_t now_ms, struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	struct denial d;
	uint64_t rev = 0;
	mica_rc rc = read_denial(v, kind, value, &d, e);

	if (rc == MICA_OK)
		rc = mica_core_rev(c, MICA_T_DENY, mica_slice(d.key, sizeof(d.key)), &rev, e);
	if (rc != MICA_OK)
		return rc;
	if (!denied && rev == 0)
		return mica_fail(e, MICA_NOT_FOUND, "not_denied",
			"this is not on the deny list of the store");
	if (denied && rev != 0)
		return MICA_OK; /* it holds already, durably */
	rc = write_denial(c, v, kind, value, &d, denied, actor, now_ms, e);
	if (rc != MICA_OK)
		return rc;
	c->stale = true;
	rc = reload_deny(c, e);
	c->stale = rc != MICA_OK;
	return rc;
}

mica_rc mica_core_deny(struct mica_core *c, const char *kind, struct mica_slice value, bool denied,
	const struct mica_caller *actor, int64_t now_ms, struct mica_err *e)
{
	mica_rc rc;

	pthread_mutex_lock(&c->admin);
	rc = deny(c, kind, value, denied, actor, now_ms, e);
	pthread_mutex_unlock(&c->admin);
	return rc;
}

/* ---- backup ---------------------------------------------------------------------------------- */

mica_rc mica_core_backup(struct mica_core *c, const char *path,
	void (*progress)(void *ctx, uint64_t done, uint64_t all), void *ctx, struct mica_err *e)
{
	const struct mica_progress p = {progress, ctx};

	return mica_ledger_backup(
		c->ledger, path, atomic_load(&c->now_ms), progress ? &p : NULL, e);
}

/* ---- what time brings ------------------------------------------------------------------------ */

void mica_core_look_at_space(struct mica_core *c, int64_t now_ms)
{
	struct mica_store_space s;

	if (now_ms < c->space_looked + SPACE_EVERY && now_ms >= c->space_looked)
		return;
	if (mica_store_space(c->store, &s, NULL) != MICA_OK)
		return;
	c->space_looked = now_ms;
	atomic_store(&c->space_low, s.low);
	atomic_store(&c->store_bytes, s.store_bytes);
	atomic_store(&c->disk_free, s.disk_free);
}

static mica_rc follow_times(struct mica_core *c, int64_t now_ms, bool *changed, struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	int64_t now = mica_core_decision_ms(c, now_ms) / 1000;
	bool hurry = false;
	mica_rc rules = mica_core_record_rules(c, now_ms, e), rc = MICA_OK, last;

	if (now >= v->auths->until || c->stale)
		rc = mica_core_reload_authorities(c, now, e);
	if (rc == MICA_OK && c->stale)
		rc = reload_deny(c, e);
	if (rc == MICA_OK && c->stale)
		rc = mica_core_reload_revoked(c, e);
	if (rc == MICA_OK)
		c->stale = false;
	/* What cannot be read delays a removal, and nothing else. */
	last = c->stale ? MICA_OK : mica_core_renewals_look(c, now_ms, e);
	rules = rules == MICA_OK ? last : rules;
	if (rc == MICA_OK)
		rc = mica_core_rotate(c, now_ms, &hurry, e);
	atomic_fetch_add(&c->hurries, hurry);
	/* What holds by now is published whether or not the next step works. */
	last = c->stale ? MICA_OK : mica_core_publish(c, now_ms, changed, e);
	rc = rc == MICA_OK ? last : rc;
	last = mica_core_policies_publish(c, now_ms, changed, e);
	rc = rc == MICA_OK ? last : rc;
	last = c->stale ? MICA_OK : mica_core_revoked_prune(c, now_ms, e);
	rc = rc == MICA_OK ? last : rc;
	last = c->stale ? MICA_OK : mica_core_crls_publish(c, now_ms, e);
	rc = rc == MICA_OK ? last : rc;
	return rc == MICA_OK ? rules : rc;
}

mica_rc mica_core_maintain(struct mica_core *c, int64_t now_ms, bool *changed, struct mica_err *e)
{
	bool ignored = false;
	mica_rc rc, last;

	if (changed)
		*changed = false;
	if (atomic_load(&c->failed))
		return mica_fail(e, MICA_INTERNAL, "store_failed",
			"the store has failed: the process must be started again");
	mica_core_see_now(c, now_ms);
	mica_core_look_at_space(c, now_ms);
	pthread_mutex_lock(&c->admin);
	rc = follow_times(c, now_ms, changed ? changed : &ignored, e);
	pthread_mutex_unlock(&c->admin);
	/* The one must not wait for the other: each is done, the first trouble is told. */
	last = mica_core_acks_flush(c, now_ms, e);
	rc = rc == MICA_OK ? last : rc;
	last = mica_core_lineage_flush(c, now_ms, e);
	rc = rc == MICA_OK ? last : rc;
	last = mica_ledger_maintain(c->ledger, NULL, e);
	if (last == MICA_INTERNAL)
		atomic_store(&c->failed, true);
	return rc == MICA_OK ? last : rc;
}
