/* SPDX-License-Identifier: Apache-2.0 */
/* Authorities that others sign, on their way into the store: several records, one transaction. */
#include "core_impl.h"

#include <stdio.h>

void mica_core_bring_begin(
	struct core_bring *b, struct mica_core *c, const struct mica_caller *actor, int64_t now_ms)
{
	memset(b, 0, sizeof(*b));
	b->c = c;
	b->v = mica_core_view_get(c);
	b->actor = actor;
	b->now_ms = mica_core_decision_ms(c, now_ms);
	b->now = b->now_ms / 1000;
}

void mica_core_bring_clear(struct core_bring *b)
{
	for (unsigned i = 0; i < b->n; i++)
		mica_authority_clear(&b->rec[i]);
	mica_core_change_clear(&b->ch);
	mica_core_view_unref(b->v);
}

static mica_rc too_many(struct mica_err *e, int most)
{
	return mica_fail(e, MICA_CONFLICT, "too_many_authorities",
		"at most %d authorities can be written at once, and %d can be in a store; a shorter "
		"rotation.trash lets old ones go",
		most, CORE_AUTHORITY_MAX);
}

mica_rc mica_core_bring_add(struct core_bring *b, int at, enum mica_authority_kind kind,
	const struct mica_pubkey *key, struct mica_authority **out, struct mica_err *e)
{
	struct mica_authority *a = &b->rec[b->n];
	unsigned fresh = at < 0;

	for (unsigned i = 0; i < b->n; i++)
		fresh += b->was[i] < 0;
	if (b->n == CORE_BRING_MAX || b->v->auths->n + fresh > CORE_AUTHORITY_MAX)
		return too_many(e, CORE_BRING_MAX);
	b->was[b->n] = at;
	*out = a;
	if (at >= 0) {
		mica_rc rc = mica_authority_copy(&b->v->auths->v[at], a, e);

		b->n += rc == MICA_OK;
		return rc;
	}
	mica_authority_init(a);
	b->n++;
	snprintf(a->set, sizeof(a->set), "%s", MICA_SET_DEFAULT);
	a->kind = kind;
	mica_pubkey_id_hex(key, a->id);
	mica_buf_put_slice(&a->spki, mica_pubkey_spki(key));
	return mica_authority_add_time(a, MICA_AE_CREATED, b->now, e);
}

mica_rc mica_core_bring_note(struct core_bring *b, const struct mica_authority *a,
	const char *action, struct mica_slice more, struct mica_err *e)
{
	struct core_note n = {.type = MICA_ENTRY_AUTHORITY, .action = action, .authority = a->id};
	MICA_AUTO_BUF detail;

	mica_buf_init(&detail, 8192);
	mica_buf_printf(&detail, "{\"kind\":\"%s\"", mica_authority_kind_name(a->kind));
	if (a->parent[0])
		mica_buf_printf(&detail, ",\"parent\":\"%s\"", a->parent);
	if (a->standby)
		mica_buf_put_str(&detail, ",\"standby\":true");
	mica_buf_put_slice(&detail, more);
	mica_buf_put_u8(&detail, '}');
	n.detail = mica_buf_slice(&detail);
	return mica_core_change_note(&b->ch, &n, b->actor, b->now_ms, e);
}

/* ---- writing it --------------------------------------------------------------------------------
 */

/* The authorities as they will be, for the content of the bundle; all borrowed. */
struct preview {
	struct core_authorities a;
	struct mica_authority v[CORE_AUTHORITY_MAX];
	struct core_authority_more more[CORE_AUTHORITY_MAX];
};

static mica_rc fill_preview(const struct core_bring *b, struct preview *p, struct mica_err *e)
{
	const struct core_authorities *a = b->v->auths;
	mica_rc rc = MICA_OK;

	p->a.v = p->v;
	p->a.more = p->more;
	p->a.n = a->n;
	p->a.from = b->now > a->from ? b->now : a->from;
	memcpy(p->v, a->v, a->n * sizeof(p->v[0]));
	memcpy(p->more, a->more, a->n * sizeof(p->more[0]));
	for (unsigned i = 0; i < b->n && rc == MICA_OK; i++) {
		unsigned at = b->was[i] >= 0 ? (unsigned)b->was[i] : p->a.n++;

		p->v[at] = b->rec[i];
		if (b->was[i] < 0)
			rc = mica_pubkey_read(mica_buf_slice(&b->rec[i].spki), &p->more[at].pub, e);
	}
	return rc;
}

static mica_rc renumber(struct core_bring *b, struct mica_err *e)
{
	MICA_AUTO_FREE struct preview *p = mica_calloc(1, sizeof(*p));
	uint64_t sequence[MICA_CHANNEL_COUNT] = {0};
	mica_rc rc = fill_preview(b, p, e);

	if (rc == MICA_OK)
		rc = mica_core_renumber(b->c, b->v, &p->a, &b->ch, b->now_ms, sequence, e);
	/* who acknowledges this bundle, or a later one, has what is new in it */
	for (unsigned i = 0; i < b->n && rc == MICA_OK; i++)
		if (b->rec[i].kind == MICA_AUTHORITY_ROOT && b->was[i] < 0)
			b->rec[i].sequence = sequence[MICA_CHANNEL_LIVE];
	return rc;
}

static mica_rc put_all(struct core_bring *b, struct mica_err *e)
{
	mica_rc rc = MICA_OK;

	for (unsigned i = 0; i < b->n && rc == MICA_OK; i++) {
		struct mica_slice id = mica_slice_str(b->rec[i].id);
		MICA_AUTO_BUF record;

		mica_buf_init(&record, MICA_AUTHORITY_RECORD_MAX);
		rc = mica_authority_encode(&b->rec[i], &record, e);
		mica_core_change_read(&b->ch, MICA_T_AUTHORITY, id,
			b->was[i] >= 0 ? b->v->auths->more[b->was[i]].rev : 0);
		mica_core_change_write(
			&b->ch, MICA_PUT, MICA_T_AUTHORITY, id, mica_buf_slice(&record));
	}
	return rc;
}

mica_rc mica_core_bring_commit(struct core_bring *b, struct mica_err *e)
{
	mica_rc rc = mica_core_can_issue(b->c, e);

	if (rc == MICA_OK && b->n == 0 && b->ch.n_writes == 0)
		return MICA_OK;
	if (rc == MICA_OK && b->bundle)
		rc = renumber(b, e);
	if (rc == MICA_OK)
		rc = put_all(b, e);
	if (rc == MICA_OK)
		rc = mica_core_change_commit(b->c, &b->ch, b->now_ms, e);
	if (rc != MICA_OK)
		return rc;
	/* It holds from here on, whatever fails below. */
	b->c->stale = true;
	b->c->renumbered = b->c->renumbered || b->bundle;
	rc = mica_core_reload_authorities(b->c, b->now, e);
	b->c->stale = rc != MICA_OK;
	return rc;
}
