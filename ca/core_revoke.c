/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates that were revoked: records of the store, beside the ledger's entry that says so. A
 * revoked one neither authenticates nor renews, from the commit on; the CRL of its authority names
 * it (core_crl.c) until one whole life of a CRL after its end, and then its record goes.
 */
#include "core_impl.h"

#include <inttypes.h>
#include <stdlib.h>

#define VERSION     1
#define VALUE_LEN   18
#define PRUNE_MAX   512 /* records in one commit */
#define PRUNE_EVERY 60000 /* ms */

/* ---- records --------------------------------------------------------------------------------- */

static void free_revoked(void *part)
{
	struct core_revoked *r = part;

	mica_free(r->v);
	mica_free(r);
}

static int by_serial(const void *a, const void *b)
{
	const struct core_revoked_one *x = a, *y = b;
	int order = memcmp(x->serial, y->serial, sizeof(x->serial));

	if (order == 0)
		order = (x->len > y->len) - (x->len < y->len);
	return order != 0 ? order : strcmp(x->authority, y->authority);
}

static mica_rc malformed(struct mica_err *e)
{
	return mica_fail(e, MICA_CORRUPT, "record_malformed",
		"the stored record of a revoked certificate is damaged");
}

struct loading {
	struct core_revoked *r;
	size_t room;
	mica_rc rc;
	struct mica_err *e;
};

static bool load_one(void *ctx, struct mica_slice key, struct mica_slice value, uint64_t rev)
{
	struct loading *l = ctx;
	struct mica_cursor k = {key, false}, cur = {value, false};
	struct mica_slice id = mica_cur_take(&k, MICA_KEY_ID_LEN);
	struct core_revoked_one *one;

	(void)rev;
	if (k.bad || k.s.len == 0 || k.s.len > MICA_CRL_SERIAL_MAX || value.len != VALUE_LEN ||
		mica_cur_u8(&cur) != VERSION) {
		l->rc = malformed(l->e);
		return false;
	}
	if (l->r->n == l->room) {
		l->room = l->room ? 2 * l->room : 64;
		l->r->v = mica_realloc(l->r->v, l->room, sizeof(*l->r->v));
	}
	one = &l->r->v[l->r->n++];
	*one = (struct core_revoked_one){.len = (uint8_t)k.s.len};
	mica_hex_encode(id.p, MICA_KEY_ID_LEN, one->authority);
	memcpy(one->serial, k.s.p, k.s.len);
	one->at_ms = (int64_t)mica_cur_be64(&cur);
	one->end = (int64_t)mica_cur_be64(&cur);
	one->reason = (enum mica_crl_reason)mica_cur_u8(&cur);
	return true;
}

mica_rc mica_core_revoked_load(struct mica_core *c, struct core_revoked **out, struct mica_err *e)
{
	CORE_AUTO_PART struct core_revoked *r = mica_core_part_new(sizeof(*r), free_revoked);
	struct mica_scan scan = {.table = MICA_T_REVOKED};
	struct loading l = {r, 0, MICA_OK, e};
	/* First the revision: a list that is newer than it makes a CONFLICT, never a gap. */
	mica_rc rc = mica_core_rev(c, MICA_T_META, MICA_LIT("revoked"), &r->rev, e);

	if (rc == MICA_OK)
		rc = mica_store_list(c->store, &scan, load_one, &l, e);
	if (rc == MICA_OK)
		rc = l.rc;
	if (rc != MICA_OK)
		return rc;
	if (r->n > 0)
		qsort(r->v, r->n, sizeof(*r->v), by_serial);
	*out = MICA_STEAL(r);
	return MICA_OK;
}

static struct mica_slice record_key(const char *authority, struct mica_slice serial,
	uint8_t key[MICA_KEY_ID_LEN + MICA_CRL_SERIAL_MAX])
{
	size_t len = MICA_KEY_ID_LEN;

	if (mica_hex_decode(mica_slice_str(authority), key, &len) != MICA_OK ||
		len != MICA_KEY_ID_LEN || serial.len > MICA_CRL_SERIAL_MAX)
		return MICA_SLICE_NULL;
	memcpy(key + MICA_KEY_ID_LEN, serial.p, serial.len);
	return mica_slice(key, MICA_KEY_ID_LEN + serial.len);
}

mica_rc mica_core_put_revoked(struct core_change *ch, const struct core_view *v,
	const struct core_revoked_one *one, struct mica_err *e)
{
	uint8_t buf[MICA_KEY_ID_LEN + MICA_CRL_SERIAL_MAX];
	struct mica_slice key = record_key(one->authority, mica_slice(one->serial, one->len), buf);
	MICA_AUTO_BUF value;

	if (key.len == 0)
		return mica_fail(e, MICA_INTERNAL, "record_malformed", "no serial to revoke");
	if (v->revoked->n >= MICA_CRL_ENTRIES_MAX)
		return mica_fail(e, MICA_LIMIT, "too_many_revoked",
			"%d certificates are revoked already, the most that CRLs hold; if there is "
			"more to be distrusted, taint their authority",
			MICA_CRL_ENTRIES_MAX);
	mica_buf_init(&value, VALUE_LEN);
	mica_buf_put_u8(&value, VERSION);
	mica_buf_put_be64(&value, (uint64_t)one->at_ms);
	mica_buf_put_be64(&value, (uint64_t)one->end);
	mica_buf_put_u8(&value, (uint8_t)one->reason);
	mica_core_change_read(ch, MICA_T_META, MICA_LIT("revoked"), v->revoked->rev);
	mica_core_change_write(ch, MICA_PUT, MICA_T_META, MICA_LIT("revoked"), MICA_LIT("\x01"));
	mica_core_change_read(ch, MICA_T_REVOKED, key, 0);
	mica_core_change_write(ch, MICA_PUT, MICA_T_REVOKED, key, mica_buf_slice(&value));
	return MICA_OK;
}

const struct core_revoked_one *mica_core_revoked(
	const struct core_view *v, struct mica_slice serial)
{
	const struct core_revoked *r = v->revoked;
	struct core_revoked_one like = {.len = (uint8_t)serial.len};
	size_t from = 0, to = r->n;

	if (serial.len > sizeof(like.serial))
		return NULL;
	memcpy(like.serial, serial.p, serial.len);
	while (from < to) {
		size_t mid = (from + to) / 2;

		if (by_serial(&r->v[mid], &like) < 0) /* its authority is empty: it comes first */
			from = mid + 1;
		else
			to = mid;
	}
	return from < r->n && r->v[from].len == serial.len &&
			memcmp(r->v[from].serial, serial.p, serial.len) == 0
		? &r->v[from]
		: NULL;
}

mica_rc mica_core_check_revoked(
	const struct core_view *v, const struct mica_caller *caller, struct mica_err *e)
{
	if (!caller->has_serial ||
		!mica_core_revoked(v, mica_slice(caller->serial, sizeof(caller->serial))))
		return MICA_OK;
	return mica_fail(e, MICA_UNAUTHENTICATED, "svid_revoked",
		"this certificate was revoked; expected a token, or another certificate");
}

/* ---- revoking -------------------------------------------------------------------------------- */

/* What an administrator wants to revoke, as the ledger has it. */
struct wanted {
	struct core_revoked_one one;
	struct mica_buf body; /* its entry */
	struct mica_entry en;
	struct mica_entry_keys keys;
};

static void wanted_clear(struct wanted *w)
{
	mica_buf_clear(&w->body);
}

static mica_rc look_up(struct mica_core *c, struct wanted *w, struct mica_err *e)
{
	struct mica_err own = MICA_ERR_INIT;
	uint64_t index = 0;
	mica_rc rc = mica_ledger_by_serial(c->ledger, w->one.serial, &index, &own);

	if (rc == MICA_NOT_FOUND)
		return mica_fail(e, MICA_NOT_FOUND, "no_such_certificate",
			"the ledger has no certificate of this serial number");
	if (rc != MICA_OK)
		return mica_fail(e, rc, own.reason, "%s", own.text);
	rc = mica_ledger_entry(c->ledger, index, &w->body, e);
	if (rc == MICA_OK)
		rc = mica_entry_decode(mica_buf_slice(&w->body), &w->en, e);
	if (rc == MICA_OK)
		rc = mica_entry_keys(&w->en, &w->keys, e);
	if (rc == MICA_OK && w->keys.authority.len != MICA_KEY_ID_LEN)
		rc = malformed(e);
	if (rc != MICA_OK)
		return rc;
	mica_hex_encode(w->keys.authority.p, MICA_KEY_ID_LEN, w->one.authority);
	w->one.end = w->keys.not_after;
	return MICA_OK;
}

static mica_rc may_revoke(
	const struct core_view *v, const struct wanted *w, int64_t now, struct mica_err *e)
{
	const struct core_revoked_one *before =
		mica_core_revoked(v, mica_slice(w->one.serial, w->one.len));
	char at[MICA_TIME_SIZE];

	if (before) {
		mica_time_format(before->at_ms / 1000, at);
		return mica_fail(e, MICA_CONFLICT, "revoked_already",
			"this certificate was revoked at %s", at);
	}
	mica_time_format(w->one.end, at);
	if (w->one.end < now)
		return mica_fail(e, MICA_CONFLICT, "certificate_expired",
			"this certificate has ended by itself at %s", at);
	if (w->en.ev_kind == MICA_EV_SELF)
		return mica_fail(e, MICA_CONFLICT, "own_certificate",
			"this is a certificate of micad itself, without which nobody reaches it; if "
			"its key is known to others, taint its authority");
	return MICA_OK;
}

static mica_rc note_revoked(struct core_change *ch, const struct wanted *w,
	const struct mica_caller *actor, int64_t now_ms, struct mica_err *e)
{
	struct core_note n = {
		.type = MICA_ENTRY_REVOCATION, .action = "revoked", .authority = w->one.authority};
	char end[MICA_TIME_SIZE];
	MICA_AUTO_BUF detail;

	mica_time_format(w->one.end, end);
	mica_buf_init(&detail, 4 * MICA_SPIFFE_ID_MAX);
	mica_buf_put_str(&detail, "{\"serial\":\"");
	mica_buf_put_hex(&detail, w->one.serial, w->one.len);
	mica_buf_printf(&detail, "\",\"reason\":\"%s\",\"not_after\":\"%s\",\"spiffe_id\":",
		mica_crl_reason_name(w->one.reason), end);
	mica_buf_put_json_string(&detail, w->keys.spiffe_id);
	mica_buf_put_u8(&detail, '}');
	n.detail = mica_buf_slice(&detail);
	return mica_core_change_note(ch, &n, actor, now_ms, e);
}

mica_rc mica_core_reload_revoked(struct mica_core *c, struct mica_err *e)
{
	struct core_revoked *list = NULL;
	mica_rc rc = mica_core_revoked_load(c, &list, e);

	if (rc == MICA_OK)
		mica_core_view_take_set(c, &(struct core_parts){.revoked = list});
	return rc;
}

static mica_rc revoke_one(struct mica_core *c, struct wanted *w, const struct mica_caller *actor,
	int64_t now_ms, struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	CORE_AUTO_CHANGE ch = {.n_reads = 0};
	mica_rc rc = look_up(c, w, e);

	w->one.at_ms = now_ms;
	if (rc == MICA_OK)
		rc = may_revoke(v, w, now_ms / 1000, e);
	if (rc == MICA_OK)
		rc = mica_core_put_revoked(&ch, v, &w->one, e);
	if (rc == MICA_OK)
		rc = note_revoked(&ch, w, actor, now_ms, e);
	if (rc == MICA_OK)
		rc = mica_core_change_commit(c, &ch, now_ms, e);
	if (rc != MICA_OK)
		return rc;
	/* It holds from here on: renewals that were decided on the old view conflict. */
	c->stale = true;
	rc = mica_core_reload_revoked(c, e);
	c->stale = rc != MICA_OK;
	/* maintain tries again what does not work now, and tells */
	if (rc == MICA_OK && mica_core_crls_publish(c, now_ms, NULL) == MICA_OK)
		return MICA_OK;
	return rc;
}

mica_rc mica_core_revoke_certificate(struct mica_core *c, struct mica_slice serial_hex,
	struct mica_slice reason, const struct mica_caller *actor, int64_t now_ms,
	struct mica_err *e)
{
	__attribute__((cleanup(wanted_clear))) struct wanted w = {.one = {.len = 0}};
	size_t len = MICA_SERIAL_LEN;
	mica_rc rc = MICA_OK;

	mica_buf_init(&w.body, MICA_ENTRY_MAX);
	if (mica_hex_decode(serial_hex, w.one.serial, &len) != MICA_OK || len != MICA_SERIAL_LEN)
		return mica_fail(e, MICA_INVALID, "bad_serial", "a serial number is %d hex digits",
			2 * MICA_SERIAL_LEN);
	w.one.len = MICA_SERIAL_LEN;
	if (reason.len > 0)
		rc = mica_crl_reason_parse(reason, &w.one.reason, e);
	if (rc != MICA_OK)
		return rc;
	pthread_mutex_lock(&c->admin);
	rc = revoke_one(c, &w, actor, now_ms, e);
	pthread_mutex_unlock(&c->admin);
	return rc;
}

/* ---- seeing ---------------------------------------------------------------------------------- */

void mica_core_put_revocation(struct mica_buf *json, const struct core_revoked_one *one)
{
	const char *reason = mica_crl_reason_name(one->reason);

	mica_core_put_time(json, "{", "at", one->at_ms / 1000);
	mica_core_put_string(json, ",", "reason", reason ? reason : "unspecified");
	mica_buf_put_u8(json, '}');
}

mica_rc mica_core_revocations(struct mica_core *c, struct mica_buf *json, struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);

	mica_buf_put_str(json, "{\"revoked\":[");
	for (size_t i = 0; i < v->revoked->n; i++) {
		const struct core_revoked_one *one = &v->revoked->v[i];
		const char *reason = mica_crl_reason_name(one->reason);

		mica_buf_put_str(json, i ? ",{\"serial\":\"" : "{\"serial\":\"");
		mica_buf_put_hex(json, one->serial, one->len);
		mica_buf_printf(json, "\",\"authority\":\"%s\"", one->authority);
		mica_core_put_time(json, ",", "at", one->at_ms / 1000);
		mica_core_put_time(json, ",", "not_after", one->end);
		mica_core_put_string(json, ",", "reason", reason ? reason : "unspecified");
		mica_buf_put_u8(json, '}');
	}
	mica_buf_put_str(json, "]}");
	return mica_buf_rc(json, e);
}

/* ---- what nobody has to be told any more ----------------------------------------------------- */

/* RFC 5280 3.3: an entry stays until a CRL was issued beyond the certificate's validity; here for
 * the whole life of one. */
mica_rc mica_core_revoked_prune(struct mica_core *c, int64_t now_ms, struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	int64_t before = now_ms / 1000 - v->policy->crl_validity;
	CORE_AUTO_CHANGE ch = {.n_reads = 0};
	uint8_t key[MICA_KEY_ID_LEN + MICA_CRL_SERIAL_MAX];
	mica_rc rc;

	if (now_ms < c->revoked_pruned_ms + PRUNE_EVERY && now_ms >= c->revoked_pruned_ms)
		return MICA_OK;
	c->revoked_pruned_ms = now_ms;
	for (size_t i = 0; i < v->revoked->n && ch.n_writes < PRUNE_MAX; i++) {
		const struct core_revoked_one *one = &v->revoked->v[i];

		if (one->end < before)
			mica_core_change_write(&ch, MICA_DELETE, MICA_T_REVOKED,
				record_key(one->authority, mica_slice(one->serial, one->len), key),
				MICA_SLICE_NULL);
	}
	if (ch.n_writes == 0)
		return MICA_OK;
	mica_core_change_read(&ch, MICA_T_META, MICA_LIT("revoked"), v->revoked->rev);
	mica_core_change_write(&ch, MICA_PUT, MICA_T_META, MICA_LIT("revoked"), MICA_LIT("\x01"));
	rc = mica_core_change_commit(c, &ch, now_ms, e);
	return rc == MICA_OK ? mica_core_reload_revoked(c, e) : rc;
}
