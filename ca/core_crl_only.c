/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A compromised issuing authority, and what becomes of it: its root leaves every bundle with it,
 * or, where all relying parties are declared to consume CRLs, the root's CRL names it and the root
 * stays. Who is exposed until when, either way.
 */
#include "core_impl.h"

#include <stdio.h>

/* ---- by the root's CRL alone ----------------------------------------------------------------- */

/* One command on its way. */
struct by_crl {
	struct mica_core *c;
	struct core_view *v;
	const struct mica_caller *actor;
	int64_t now_ms;
	int at, root;
	struct core_revoked_one one;
	struct core_change ch;
};

static void by_crl_clear(struct by_crl *x)
{
	mica_core_view_unref(x->v);
	mica_core_change_clear(&x->ch);
}

/* The names of those that would go on believing it. */
static bool put_deaf(const struct core_policy *p, struct mica_buf *out)
{
	bool any = false;

	for (unsigned i = 0; i < p->n_outlets; i++) {
		if (p->outlets[i].crl)
			continue;
		mica_buf_printf(out, "%s%s", any ? ", " : "", p->outlets[i].name);
		any = true;
	}
	return any;
}

static mica_rc check_outlets(const struct core_policy *p, struct mica_err *e)
{
	MICA_AUTO_BUF names;

	mica_buf_init(&names, 4096);
	if (p->n_outlets == 0)
		return mica_fail(e, MICA_CONFLICT, "outlets_ignore_crls",
			"a CRL alone helps only where everybody consumes CRLs, and no outlet is "
			"declared to (rotation.outlets, crl: true); without --crl-only the root goes, "
			"too");
	if (put_deaf(p, &names))
		return mica_fail(e, MICA_CONFLICT, "outlets_ignore_crls",
			"a CRL alone would leave relying parties exposed: not declared to consume CRLs "
			"(rotation.outlets, crl: true) are %.300s; without --crl-only the root goes, too",
			(const char *)names.p);
	return MICA_OK;
}

static mica_rc check_root(struct by_crl *x, struct mica_err *e)
{
	const struct mica_authority *a = &x->v->auths->v[x->at], *root;
	int64_t now = mica_core_decision_ms(x->c, x->now_ms) / 1000;

	x->root = mica_core_authority_find(x->v->auths, a->parent);
	if (x->root < 0 || !mica_authority_is_published(&x->v->auths->v[x->root], now))
		return mica_fail(e, MICA_CONFLICT, "no_crl_signer",
			"its root is in no bundle any more, so nobody believes it");
	root = &x->v->auths->v[x->root];
	if (mica_authority_state_at(root, now) == MICA_AS_TAINTED)
		return mica_fail(e, MICA_CONFLICT, "no_crl_signer",
			"its root %s is tainted itself: what that one signs saves nobody",
			root->id);
	if (root->envelope.len == 0)
		return mica_fail(e, MICA_CONFLICT, "no_crl_signer",
			"the key of its root %s is not here, so no CRL can name it", root->id);
	return MICA_OK;
}

static mica_rc check(struct by_crl *x, struct mica_err *e)
{
	const struct mica_authority *a = &x->v->auths->v[x->at];
	int64_t now = mica_core_decision_ms(x->c, x->now_ms) / 1000;
	enum mica_authority_state s = mica_authority_state_at(a, now);
	mica_rc rc;

	if (a->kind != MICA_AUTHORITY_ISSUING)
		return mica_fail(e, MICA_CONFLICT, "crl_only_is_for_issuing",
			"a CRL names issuing authorities; this is a %s",
			mica_authority_kind_name(a->kind));
	if (s == MICA_AS_REMOVED || s == MICA_AS_EXPIRED)
		return mica_fail(e, MICA_CONFLICT, "removed_already",
			"this authority is %s: nobody believes it", mica_authority_state_name(s));
	if (s == MICA_AS_REVOKED)
		return mica_fail(e, MICA_CONFLICT, "revoked_already",
			"the CRL of its root names this authority already");
	rc = check_outlets(x->v->policy, e);
	return rc == MICA_OK ? check_root(x, e) : rc;
}

static mica_rc fill_one(struct by_crl *x, struct mica_err *e)
{
	const struct mica_authority *a = &x->v->auths->v[x->at];
	struct mica_cert_info info;
	mica_rc rc = mica_cert_read(mica_buf_slice(&a->cert), &info, e);

	if (rc != MICA_OK)
		return rc;
	x->one = (struct core_revoked_one){.reason = MICA_CRL_CA_COMPROMISE,
		.at_ms = x->now_ms,
		.end = info.not_after,
		.len = (uint8_t)info.serial.len};
	memcpy(x->one.serial, info.serial.p, info.serial.len);
	memcpy(x->one.authority, x->v->auths->v[x->root].id, sizeof(x->one.authority));
	return MICA_OK;
}

static mica_rc note(struct by_crl *x, const char *action, struct mica_err *e)
{
	const struct mica_authority *a = &x->v->auths->v[x->at];
	struct core_note n = {.type = MICA_ENTRY_AUTHORITY, .action = action, .authority = a->id};
	MICA_AUTO_BUF detail;

	mica_buf_init(&detail, 512);
	mica_buf_printf(&detail, "{\"kind\":\"%s\",\"crl_only\":true,\"root\":\"%s\",\"serial\":\"",
		mica_authority_kind_name(a->kind), x->one.authority);
	mica_buf_put_hex(&detail, x->one.serial, x->one.len);
	mica_buf_put_str(&detail, "\"}");
	n.detail = mica_buf_slice(&detail);
	return mica_core_change_note(&x->ch, &n, x->actor, x->now_ms, e);
}

/* Both times at once. */
static mica_rc mark(struct by_crl *x, struct mica_err *e)
{
	const struct mica_authority *from = &x->v->auths->v[x->at];
	int64_t at = x->now_ms / 1000;
	MICA_AUTO_AUTHORITY a;
	MICA_AUTO_BUF record;
	bool tainted;
	mica_rc rc;

	mica_authority_init(&a);
	mica_buf_init(&record, MICA_AUTHORITY_RECORD_MAX);
	tainted =
		mica_authority_first(from, MICA_AE_TAINTED, MICA_TIME_NEVER - 1) != MICA_TIME_NEVER;
	rc = mica_authority_copy(from, &a, e);
	if (rc == MICA_OK && !tainted)
		rc = mica_authority_add_time(&a, MICA_AE_TAINTED, at, e);
	if (rc == MICA_OK)
		rc = mica_authority_add_time(&a, MICA_AE_REVOKED, at, e);
	if (rc == MICA_OK)
		rc = mica_authority_encode(&a, &record, e);
	if (rc == MICA_OK && !tainted)
		rc = note(x, "tainted", e);
	if (rc == MICA_OK)
		rc = note(x, "revoked", e);
	mica_core_change_read(
		&x->ch, MICA_T_AUTHORITY, mica_slice_str(a.id), x->v->auths->more[x->at].rev);
	mica_core_change_write(
		&x->ch, MICA_PUT, MICA_T_AUTHORITY, mica_slice_str(a.id), mica_buf_slice(&record));
	return rc;
}

static mica_rc revoke_by_crl(struct by_crl *x, const char *id, struct mica_err *e)
{
	mica_rc rc = mica_core_authority_need(x->v->auths, id, &x->at, e);

	if (rc == MICA_OK)
		rc = check(x, e);
	if (rc == MICA_OK)
		rc = fill_one(x, e);
	if (rc == MICA_OK)
		rc = mark(x, e);
	if (rc == MICA_OK)
		rc = mica_core_put_revoked(&x->ch, x->v, &x->one, e);
	if (rc == MICA_OK)
		rc = mica_core_change_commit(x->c, &x->ch, x->now_ms, e);
	if (rc != MICA_OK)
		return rc;
	/* It holds from here on: what was decided on the old view conflicts. */
	x->c->stale = true;
	rc = mica_core_reload_authorities(x->c, x->now_ms / 1000, e);
	if (rc == MICA_OK)
		rc = mica_core_reload_revoked(x->c, e);
	x->c->stale = rc != MICA_OK;
	return rc;
}

mica_rc mica_core_revoke_by_crl(struct mica_core *c, const char *authority_id,
	const struct mica_caller *actor, int64_t now_ms, struct mica_err *e)
{
	mica_rc rc;

	pthread_mutex_lock(&c->admin);
	{
		__attribute__((cleanup(by_crl_clear))) struct by_crl x = {
			.c = c, .v = mica_core_view_get(c), .actor = actor, .now_ms = now_ms};

		rc = revoke_by_crl(&x, authority_id, e);
	}
	if (rc == MICA_OK) {
		mica_core_go_on(c, now_ms);
		atomic_fetch_add(&c->hurries, 1);
	}
	pthread_mutex_unlock(&c->admin);
	return rc;
}

/* ---- who is exposed until when --------------------------------------------------------------- */

static int64_t later(int64_t at, int64_t wait)
{
	return at == MICA_TIME_NEVER ? at : at + wait;
}

/* Until whoever polls, and each outlet, has a bundle of `at`; what nobody knows is null. */
static void put_who(struct mica_buf *json, const struct core_policy *p, int64_t at)
{
	mica_core_put_string(json, ",\"who\":[{", "outlet", "polls");
	mica_core_put_time(json, ",", "until", later(at, p->rotation.propagation));
	mica_buf_put_u8(json, '}');
	for (unsigned i = 0; i < p->n_outlets; i++) {
		int64_t wait = p->outlets[i].propagation;

		mica_core_put_string(json, ",{", "outlet", p->outlets[i].name);
		mica_core_put_time(
			json, ",", "until", wait > 0 ? later(at, wait) : MICA_TIME_NEVER);
		mica_buf_put_u8(json, '}');
	}
	mica_buf_put_u8(json, ']');
}

/* The same for CRLs: the one of before is believed until it ends. */
static void put_who_by_crl(struct mica_buf *json, const struct core_policy *p, int64_t at)
{
	mica_buf_put_str(json, ",\"who\":[");
	for (unsigned i = 0; i < p->n_outlets; i++) {
		mica_core_put_string(json, i ? ",{" : "{", "outlet", p->outlets[i].name);
		mica_core_put_time(json, ",", "until",
			p->outlets[i].crl ? at + p->crl_validity : MICA_TIME_NEVER);
		mica_buf_put_u8(json, '}');
	}
	mica_buf_put_u8(json, ']');
}

static void put_exposed(struct mica_buf *json, const struct core_view *v,
	const struct mica_rotation_facts *f, unsigned i, int64_t now)
{
	const struct core_authorities *a = v->auths;
	bool by_crl = mica_authority_state_at(&a->v[i], now) == MICA_AS_REVOKED;
	int root = a->v[i].kind == MICA_AUTHORITY_ISSUING && !by_crl
		? mica_core_authority_find(a, a->v[i].parent)
		: -1;
	unsigned goes = root < 0 ? i : (unsigned)root;
	int64_t at;

	mica_core_put_string(json, "{", "authority", a->v[i].id);
	mica_core_put_string(json, ",", "kind", mica_authority_kind_name(a->v[i].kind));
	mica_core_put_string(json, ",", "way", by_crl ? "crl" : "removal");
	mica_core_put_string(json, ",", "removes", a->v[by_crl ? i : goes].id);
	mica_core_put_time(
		json, ",", "since", mica_authority_first(&a->v[i], MICA_AE_TAINTED, now));
	if (by_crl) {
		at = mica_authority_first(&a->v[i], MICA_AE_REVOKED, now);
		mica_core_put_time(json, ",", "until", at + v->policy->crl_validity);
		put_who_by_crl(json, v->policy, at);
	} else {
		at = mica_rotation_deadline(&v->policy->rotation, f, a->v, a->n, goes, now);
		mica_core_put_time(json, ",", "until", at);
		put_who(json, v->policy, at);
	}
	mica_buf_put_u8(json, '}');
}

/* What a compromise of the one that signs now would lead to. */
static void put_if(struct mica_buf *json, const struct core_view *v, int64_t now)
{
	const struct core_authorities *a = v->auths;
	const struct core_policy *p = v->policy;
	int at = mica_authority_active(a->v, a->n, MICA_SET_DEFAULT, MICA_AUTHORITY_ISSUING, now);
	bool any = false;

	mica_buf_put_str(json, ",\"if_compromised\":");
	if (at < 0) {
		mica_buf_put_str(json, "null");
		return;
	}
	mica_core_put_string(json, "{", "authority", a->v[at].id);
	mica_core_put_string(json, ",", "removes", a->v[at].parent);
	mica_core_put_time(json, ",", "until", now + p->rotation.deadline);
	put_who(json, p, now + p->rotation.deadline);
	mica_buf_printf(json, ",\"crl_only\":{\"allowed\":%s,\"refused_by\":[",
		check_outlets(p, NULL) == MICA_OK ? "true" : "false");
	for (unsigned i = 0; i < p->n_outlets; i++) {
		if (p->outlets[i].crl)
			continue;
		if (any)
			mica_buf_put_u8(json, ',');
		mica_buf_put_json_string(json, mica_slice_str(p->outlets[i].name));
		any = true;
	}
	mica_buf_put_u8(json, ']');
	mica_core_put_time(json, ",", "until", now + p->crl_validity);
	mica_buf_put_str(json, "}}");
}

void mica_core_put_exposure(const struct core_view *v, const struct mica_rotation_facts *f,
	int64_t now, struct mica_buf *json)
{
	bool any = false;

	mica_buf_put_str(json, ",\"exposed\":[");
	for (unsigned i = 0; i < v->auths->n; i++) {
		enum mica_authority_state s = mica_authority_state_at(&v->auths->v[i], now);

		if (s != MICA_AS_TAINTED && s != MICA_AS_REVOKED)
			continue;
		if (any)
			mica_buf_put_u8(json, ',');
		put_exposed(json, v, f, i, now);
		any = true;
	}
	mica_buf_put_u8(json, ']');
	put_if(json, v, now);
}
