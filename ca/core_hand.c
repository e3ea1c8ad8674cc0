/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rotation by hand: the same steps as by itself, asked for by an administrator. What would break
 * certificates is refused with the reason; who insists is recorded with what it breaks.
 */
#include "core_impl.h"

#include <inttypes.h>
#include <stdio.h>

#define EXAMPLES_SCAN 1000 /* entries that are looked at for what would break */

/* One command on its way. */
struct hand {
	struct mica_core *c;
	struct core_view *v;
	const struct mica_caller *actor;
	bool force;
	int64_t now_ms, now; /* what is decided on, ms and seconds */
	struct mica_rotation_fact facts[CORE_AUTHORITY_MAX];
	struct mica_rotation_facts f;
	struct mica_buf more; /* members for the entry's detail */
};

static mica_rc begin(struct hand *h, struct mica_core *c, const struct mica_caller *actor,
	bool force, int64_t now_ms, struct mica_err *e)
{
	*h = (struct hand){.c = c,
		.v = mica_core_view_get(c),
		.actor = actor,
		.force = force,
		.now_ms = now_ms,
		.now = mica_core_decision_ms(c, now_ms) / 1000};
	mica_buf_init(&h->more, 4096);
	h->f.of = h->facts;
	h->f.carried = mica_core_carried(c);
	h->f.look_again = c->rotation.look_again;
	if (force)
		mica_buf_put_str(&h->more, ",\"force\":true");
	return mica_core_gather(c, h->v, h->now, h->facts, e);
}

static void hand_clear(struct hand *h)
{
	mica_core_view_unref(h->v);
	mica_buf_clear(&h->more);
}
#define HAND_AUTO __attribute__((cleanup(hand_clear))) struct hand

/* What an administrator asks for; each function reads what is its own. */
struct wish {
	mica_rc (*fulfil)(struct hand *h, const struct wish *w, struct mica_err *e);
	enum mica_authority_kind kind;
	const char *which; /* id of an authority */
	struct mica_slice outlet;
	bool force, anew;
	char *id; /* out */
};

/* One at a time, and what follows from it at once. */
static mica_rc fulfil(struct mica_core *c, const struct wish *w, const struct mica_caller *actor,
	int64_t now_ms, struct mica_err *e)
{
	mica_rc rc;

	pthread_mutex_lock(&c->admin);
	{
		HAND_AUTO h;

		rc = begin(&h, c, actor, w->force, now_ms, e);
		if (rc == MICA_OK)
			rc = w->fulfil(&h, w, e);
	}
	if (rc == MICA_OK)
		mica_core_go_on(c, now_ms);
	pthread_mutex_unlock(&c->admin);
	return rc;
}

static const struct mica_authority *authority(const struct hand *h, int at)
{
	return &h->v->auths->v[at];
}

static int active(const struct hand *h, enum mica_authority_kind kind)
{
	return mica_authority_active(
		h->v->auths->v, h->v->auths->n, MICA_SET_DEFAULT, kind, h->now);
}

static mica_rc step(struct hand *h, const struct mica_rotation_step *s, struct mica_err *e)
{
	mica_rc rc = mica_core_can_issue(h->c, e);

	if (rc == MICA_OK)
		rc = mica_core_step(h->c, s, h->actor, mica_buf_slice(&h->more), h->now_ms, e);
	return rc;
}

/* Whether it can sign, or is vouched for by what can. */
static bool serves(const struct hand *h, int at)
{
	if (authority(h, at)->kind == MICA_AUTHORITY_ROOT)
		return mica_rotation_serves(h->v->auths->v, h->v->auths->n, (size_t)at, h->now);
	return authority(h, at)->envelope.len > 0;
}

static struct mica_rotation_step by_hand(
	enum mica_rotation_action action, enum mica_authority_kind kind, int at)
{
	return (struct mica_rotation_step){.action = action,
		.kind = kind,
		.at = at,
		.instead = -1,
		.parent = -1,
		.why = MICA_RW_BY_HAND};
}

/* ---- what would break --------------------------------------------------------------------------
 */

struct examples {
	const struct hand *h;
	int at;
	uint64_t n;
	char first[MICA_SPIFFE_ID_MAX + 1];
};

/* Whether an entry's certificate, or token, needs the authority. */
static bool needs(
	const struct examples *x, const struct mica_entry *en, const struct mica_entry_keys *keys)
{
	const struct mica_authority *a = authority(x->h, x->at), *by;
	int i;

	if (keys->not_after < x->h->now)
		return false;
	if (a->kind == MICA_AUTHORITY_JWT)
		return mica_slice_eq_str(en->kid, a->id);
	i = mica_core_authority_named(x->h->v->auths, keys->authority);
	by = i >= 0 ? authority(x->h, i) : NULL;
	if (a->kind == MICA_AUTHORITY_ISSUING || !by)
		return by == a;
	return strcmp(by->parent, a->id) == 0;
}

static bool count_one(
	void *ctx, uint64_t index, const struct mica_entry *en, struct mica_slice bytes)
{
	struct examples *x = ctx;
	struct mica_entry_keys keys;

	(void)index;
	(void)bytes;
	if (mica_entry_keys(en, &keys, NULL) != MICA_OK || !needs(x, en, &keys))
		return true;
	if (x->n++ == 0)
		snprintf(x->first, sizeof(x->first), "%.*s", MICA_FMT(keys.spiffe_id));
	return true;
}

/* The newest certificates, or tokens, that need an authority and have not ended. */
static void find_examples(const struct hand *h, int at, struct examples *x)
{
	const struct mica_rotation_policy *p = &h->v->policy->rotation;
	bool jwt = authority(h, at)->kind == MICA_AUTHORITY_JWT;
	struct mica_ledger_query q = {.type = jwt ? MICA_ENTRY_JWT_ISSUED : MICA_ENTRY_X509_ISSUED,
		.since_ms = (h->now - (jwt ? p->max_jwt_ttl : p->max_leaf_ttl)) * 1000,
		.limit = EXAMPLES_SCAN};
	char next[MICA_CURSOR_SIZE];

	*x = (struct examples){.h = h, .at = at};
	if (mica_ledger_query(h->c->ledger, &q, count_one, x, next, NULL) != MICA_OK)
		x->n = 0;
}

/* Refuses, or notes in the entry what is broken. */
static mica_rc breaks(
	struct hand *h, int at, const char *reason, const char *what, struct mica_err *e)
{
	int64_t last = mica_rotation_last_leaf(&h->f, h->v->auths->v, h->v->auths->n, (size_t)at);
	char until[MICA_TIME_SIZE];
	struct examples x;

	if (last < h->now)
		last = h->now;
	mica_time_format(last, until);
	find_examples(h, at, &x);
	if (!h->force)
		return mica_fail(e, MICA_CONFLICT, reason,
			"%s; %s%" PRIu64
			" of the newest certificates need it%s%.200s, the last one "
			"until %s; --force does it all the same",
			what, x.n ? "" : "", x.n, x.n ? ", as that of " : "", x.first, until);
	mica_buf_printf(&h->more,
		",\"breaks\":{\"reason\":\"%s\",\"certificates\":%" PRIu64 ",\"until\":\"%s\"}",
		reason, x.n, until);
	return MICA_OK;
}

/* ---- prepare and start
 * --------------------------------------------------------------------------- */

static mica_rc create(struct hand *h, enum mica_authority_kind kind, bool standby, bool recovers,
	char id[MICA_KEY_ID_SIZE], struct mica_err *e)
{
	struct mica_rotation_step s = by_hand(MICA_ROT_CREATE, kind, -1);
	CORE_AUTO_VIEW after = NULL;
	mica_rc rc;

	s.standby = standby;
	if (kind == MICA_AUTHORITY_ROOT && h->v->policy->rotation.root_home != MICA_ROOT_OWN)
		return mica_fail(e, MICA_CONFLICT, "root_is_elsewhere",
			"roots are not made here (authorities.root); a new one comes with `mica "
			"authority import --new-root`, or with the files");
	/* who begins anew has no time for it */
	s.canary = !recovers && kind != MICA_AUTHORITY_ISSUING && h->v->policy->rotation.canary;
	if (kind == MICA_AUTHORITY_ISSUING) {
		s.parent = active(h, MICA_AUTHORITY_ROOT);
		if (s.parent < 0 || authority(h, s.parent)->envelope.len == 0)
			return mica_fail(e, MICA_CONFLICT, "no_usable_root",
				"there is no active root whose key is here, so nothing can be signed; "
				"below an offline one see `mica authority csr`");
	}
	rc = step(h, &s, e);
	if (rc != MICA_OK)
		return rc;
	/* the one that was not there before */
	after = mica_core_view_get(h->c);
	for (unsigned i = 0; i < after->auths->n; i++)
		if (mica_core_authority_find(h->v->auths, after->auths->v[i].id) < 0)
			memcpy(id, after->auths->v[i].id, MICA_KEY_ID_SIZE);
	return MICA_OK;
}

/* Below a root whose key is not here: what it has signed ahead takes over. */
static mica_rc use_ahead(struct hand *h, int root, char id[MICA_KEY_ID_SIZE], struct mica_err *e)
{
	struct mica_rotation_step s = by_hand(MICA_ROT_ACTIVATE, MICA_AUTHORITY_ISSUING, -1);

	s.at = mica_rotation_ahead(&h->v->policy->rotation, h->v->auths->v, h->v->auths->n,
		(size_t)root, false, h->now);
	if (s.at < 0)
		return mica_fail(e, MICA_CONFLICT, "signature_needed",
			"root %s has signed nothing ahead, and its key is not here: `mica authority "
			"csr`",
			authority(h, root)->id);
	s.instead = active(h, MICA_AUTHORITY_ISSUING);
	memcpy(id, authority(h, s.at)->id, MICA_KEY_ID_SIZE);
	return step(h, &s, e);
}

static mica_rc start(struct hand *h, const struct wish *w, struct mica_err *e)
{
	int root = active(h, MICA_AUTHORITY_ROOT);
	int next = mica_rotation_successor(h->v->auths->v, h->v->auths->n, w->kind, h->now);

	if (next >= 0)
		return mica_fail(e, MICA_CONFLICT, "rotation_running",
			"a rotation of this kind is under way, with %s; `mica rotation status` says "
			"what it waits for",
			authority(h, next)->id);
	if (active(h, w->kind) < 0)
		return mica_fail(e, MICA_CONFLICT, "none_active",
			"nothing of this kind is active that could be replaced; see `mica authority "
			"prepare`");
	if (w->kind == MICA_AUTHORITY_ISSUING && root >= 0 && authority(h, root)->envelope.len == 0)
		return use_ahead(h, root, w->id, e);
	return create(h, w->kind, false, false, w->id, e);
}

mica_rc mica_core_rotation_start(struct mica_core *c, enum mica_authority_kind kind,
	const struct mica_caller *actor, int64_t now_ms, char id[41], struct mica_err *e)
{
	return fulfil(c, &(struct wish){.fulfil = start, .kind = kind, .id = id}, actor, now_ms, e);
}

/* A new root, when there is nothing to go on with: relying parties have to be told anew. */
static mica_rc recover(struct hand *h, char id[MICA_KEY_ID_SIZE], struct mica_err *e)
{
	struct mica_rotation_step s = by_hand(MICA_ROT_ACTIVATE, MICA_AUTHORITY_ROOT, -1);
	mica_rc rc;

	for (unsigned i = 0; i < h->v->auths->n; i++) {
		const struct mica_authority *a = authority(h, (int)i);
		enum mica_authority_state st = mica_authority_state_at(a, h->now);

		if (a->kind == MICA_AUTHORITY_ROOT && serves(h, (int)i) &&
			(st == MICA_AS_ACTIVE || st == MICA_AS_READY || st == MICA_AS_PUBLISHED ||
				/* nobody goes back to one that is compromised below */
				(st == MICA_AS_RETIRED &&
					!mica_rotation_doomed(
						h->v->auths->v, h->v->auths->n, i, h->now))))
			return mica_fail(e, MICA_CONFLICT, "root_usable",
				"root %s is %s: there is no need to begin anew", a->id,
				mica_authority_state_name(st));
	}
	rc = create(h, MICA_AUTHORITY_ROOT, false, true, id, e);
	if (rc != MICA_OK)
		return rc;
	mica_core_view_unref(h->v);
	h->v = mica_core_view_get(h->c);
	s.emergency = true;
	rc = mica_core_authority_need(h->v->auths, id, &s.at, e);
	return rc == MICA_OK ? step(h, &s, e) : rc;
}

static mica_rc prepare(struct hand *h, const struct wish *w, struct mica_err *e)
{
	if (w->anew && w->kind != MICA_AUTHORITY_ROOT)
		return mica_fail(e, MICA_INVALID, "recover_is_for_roots",
			"recovery is for roots; the others follow from an active one");
	return w->anew ? recover(h, w->id, e) : create(h, w->kind, true, false, w->id, e);
}

mica_rc mica_core_prepare_authority(struct mica_core *c, enum mica_authority_kind kind,
	bool begin_anew, const struct mica_caller *actor, int64_t now_ms, char id[41],
	struct mica_err *e)
{
	return fulfil(c,
		&(struct wish){.fulfil = prepare, .kind = kind, .anew = begin_anew, .id = id},
		actor, now_ms, e);
}

/* ---- activate and go back
 * ------------------------------------------------------------------------ */

static mica_rc may_activate(struct hand *h, int at, struct mica_err *e)
{
	const struct mica_authority *a = authority(h, at);
	enum mica_authority_state s = mica_authority_state_at(a, h->now);
	struct mica_rotation_step next;

	if (s == MICA_AS_ACTIVE)
		return mica_fail(
			e, MICA_CONFLICT, "active_already", "this authority is active already");
	if (s == MICA_AS_RETIRED)
		return mica_fail(e, MICA_CONFLICT, "retired",
			"this authority has retired; `mica rotation rollback` goes back to the last one");
	if (mica_canary_alone(a, h->now))
		return mica_fail(e, MICA_CONFLICT, "in_canary",
			"this authority is in the canary channel alone: `mica rotation confirm "
			"canary` lets everybody have it");
	if ((s != MICA_AS_READY && s != MICA_AS_PUBLISHED) || !serves(h, at))
		return mica_fail(e, MICA_CONFLICT, "not_usable",
			"this authority is %s%s and cannot sign", mica_authority_state_name(s),
			serves(h, at) ? "" : ", its key is not here, nor one that it has signed,");
	/* Where nobody relies on another one, nobody is missed out. */
	if (s == MICA_AS_READY || active(h, a->kind) < 0)
		return MICA_OK;
	next = mica_rotation_next_of(
		a->kind, &h->v->policy->rotation, &h->f, h->v->auths->v, h->v->auths->n, h->now);
	if (h->force) {
		mica_buf_printf(&h->more,
			",\"breaks\":{\"reason\":\"not_everywhere\",\"waits\":"
			"\"%s\"}",
			mica_rotation_why_name(next.why));
		return MICA_OK;
	}
	return mica_fail(e, MICA_CONFLICT, "not_everywhere",
		"not everybody has this authority: %s; what it signs would be refused there; --force "
		"does it all the same",
		mica_rotation_why_text(next.why));
}

static mica_rc activate(struct hand *h, const struct wish *w, struct mica_err *e)
{
	struct mica_rotation_step s;
	int at = -1;
	mica_rc rc = mica_core_authority_need(h->v->auths, w->which, &at, e);

	if (rc == MICA_OK)
		rc = may_activate(h, at, e);
	if (rc != MICA_OK)
		return rc;
	s = by_hand(MICA_ROT_ACTIVATE, authority(h, at)->kind, at);
	s.instead = active(h, s.kind);
	return step(h, &s, e);
}

/* How long an authority must have left for a way back to be one. */
static mica_rc go_back(struct hand *h, const struct wish *w, struct mica_err *e)
{
	const enum mica_authority_kind kind = w->kind;
	const struct mica_rotation_policy *p = &h->v->policy->rotation;
	int64_t least = (kind == MICA_AUTHORITY_JWT ? p->max_jwt_ttl : p->max_leaf_ttl) + p->hold;
	struct mica_rotation_step s = by_hand(MICA_ROT_ACTIVATE, kind,
		mica_rotation_way_back(h->v->auths->v, h->v->auths->n, kind, h->now));
	mica_rc rc = MICA_OK;

	if (s.at < 0)
		return mica_fail(e, MICA_CONFLICT, "no_way_back",
			"no %s authority has retired that is still published, unharmed and whose key "
			"is here",
			mica_authority_kind_name(kind));
	s.instead = active(h, kind);
	if (mica_rotation_unsure(p, &h->f, h->v->auths->v, (size_t)s.at, s.instead, h->now))
		rc = breaks(h, s.at, "not_everywhere",
			"not everybody has the authority to go back to: it served in an emergency before "
			"it was known, or has been back in the canary channel for less than a propagation, "
			"or the longest certificate",
			e);
	if (rc == MICA_OK && authority(h, s.at)->not_after < h->now + least)
		rc = breaks(h, s.at, "too_little_left",
			"the authority to go back to ends too soon: it should have the longest "
			"certificate and rotation.hold left",
			e);
	return rc == MICA_OK ? step(h, &s, e) : rc;
}

mica_rc mica_core_activate(struct mica_core *c, const char *authority_id, bool force,
	const struct mica_caller *actor, int64_t now_ms, struct mica_err *e)
{
	return fulfil(c, &(struct wish){.fulfil = activate, .which = authority_id, .force = force},
		actor, now_ms, e);
}

mica_rc mica_core_roll_back(struct mica_core *c, enum mica_authority_kind kind, bool force,
	const struct mica_caller *actor, int64_t now_ms, struct mica_err *e)
{
	return fulfil(c, &(struct wish){.fulfil = go_back, .kind = kind, .force = force}, actor,
		now_ms, e);
}

/* ---- revoke ------------------------------------------------------------------------------------
 */

/* Out of the bundle, now. */
static mica_rc take_out(struct hand *h, const struct wish *w, struct mica_err *e)
{
	struct mica_rotation_step s;
	int at = -1;
	mica_rc rc = mica_core_authority_need(h->v->auths, w->which, &at, e);
	enum mica_authority_state st;

	if (rc != MICA_OK)
		return rc;
	s = by_hand(MICA_ROT_REMOVE, authority(h, at)->kind, at);
	st = mica_authority_state_at(authority(h, at), h->now);
	if (st == MICA_AS_REMOVED)
		return mica_fail(e, MICA_CONFLICT, "removed_already",
			"this authority is in no bundle any more");
	/* a request that nobody will sign, or whose certificate has vouched for nothing */
	if (s.kind == MICA_AUTHORITY_ISSUING && h->facts[at].last_leaf == 0 &&
		(st == MICA_AS_PENDING || st == MICA_AS_READY))
		return step(h, &s, e);
	if (s.kind == MICA_AUTHORITY_ISSUING)
		return mica_fail(e, MICA_CONFLICT, "root_vouches_for_it",
			"an issuing authority stands in no bundle: taint it, then revoke its root %s",
			authority(h, at)->parent);
	if (st == MICA_AS_ACTIVE)
		return mica_fail(e, MICA_CONFLICT, "active",
			"this authority signs: taint it first, so that another one does");
	if (active(h, s.kind) < 0)
		return mica_fail(e, MICA_CONFLICT, "no_replacement",
			"no other authority of this kind is active: nobody could be verified");
	if (mica_rotation_last_leaf(&h->f, h->v->auths->v, h->v->auths->n, (size_t)at) >= h->now)
		rc = breaks(h, at, "in_use",
			"something that this authority vouches for has not ended", e);
	return rc == MICA_OK ? step(h, &s, e) : rc;
}

mica_rc mica_core_revoke(struct mica_core *c, const char *authority_id, bool force,
	const struct mica_caller *actor, int64_t now_ms, struct mica_err *e)
{
	return fulfil(c, &(struct wish){.fulfil = take_out, .which = authority_id, .force = force},
		actor, now_ms, e);
}

/* ---- the canary channel ------------------------------------------------------------------------
 */

/* What waits there comes to everybody. */
static mica_rc confirm_canary(struct hand *h, struct mica_err *e)
{
	int at = mica_core_in_canary(h->v->auths, 0, h->now);
	mica_rc rc = MICA_OK;

	if (at < 0)
		return mica_fail(e, MICA_CONFLICT, "nothing_to_confirm",
			"the canary channel has what the live one has");
	/* neither step moves an authority to another place of the list */
	for (; at >= 0 && rc == MICA_OK; at = mica_core_in_canary(h->v->auths, at + 1, h->now)) {
		struct mica_rotation_step s =
			by_hand(mica_canary_alone(authority(h, at), h->now) ? MICA_ROT_PUBLISH
									    : MICA_ROT_REMOVE,
				authority(h, at)->kind, at);

		rc = step(h, &s, e);
	}
	return rc;
}

static mica_rc withdraw(struct hand *h, const struct wish *w, struct mica_err *e)
{
	int at = mica_core_in_canary(h->v->auths, 0, h->now);
	unsigned n = 0;
	mica_rc rc = MICA_OK;

	mica_buf_put_str(&h->more, ",\"withdrawn\":true");
	for (; at >= 0 && rc == MICA_OK; at = mica_core_in_canary(h->v->auths, at + 1, h->now)) {
		struct mica_rotation_step s =
			by_hand(mica_canary_alone(authority(h, at), h->now) ? MICA_ROT_REMOVE
									    : MICA_ROT_RESTORE,
				w->kind, at);

		if (authority(h, at)->kind != w->kind)
			continue;
		rc = step(h, &s, e);
		n++;
	}
	if (n == 0)
		return mica_fail(e, MICA_CONFLICT, "nothing_in_canary",
			"the canary channel has what the live one has; what everybody has is rolled back");
	return rc;
}

mica_rc mica_core_withdraw(struct mica_core *c, enum mica_authority_kind kind,
	const struct mica_caller *actor, int64_t now_ms, struct mica_err *e)
{
	return fulfil(c, &(struct wish){.fulfil = withdraw, .kind = kind}, actor, now_ms, e);
}

/* ---- confirmations and the clock ---------------------------------------------------------------
 */

static mica_rc note_confirmed(struct hand *h, const char *outlet, struct core_change *ch,
	const char *id, struct mica_err *e)
{
	struct core_note n = {.type = MICA_ENTRY_AUTHORITY, .action = "confirmed", .authority = id};
	MICA_AUTO_BUF detail, value;
	char key[160];

	mica_buf_init(&detail, 256);
	mica_buf_init(&value, 16);
	mica_buf_put_u8(&value, 1);
	mica_buf_put_be64(&value, (uint64_t)h->now_ms);
	mica_core_change_write(ch, MICA_PUT, MICA_T_META, mica_core_confirmed_key(id, outlet, key),
		mica_buf_slice(&value));
	mica_buf_printf(&detail, "{\"outlet\":\"%s\"}", outlet); /* [a-z0-9-] */
	n.detail = mica_buf_slice(&detail);
	return mica_core_change_note(ch, &n, h->actor, h->now_ms, e);
}

/* Every root that is published and not in use yet: whoever gets the bundle gets all of them. */
static mica_rc confirm(struct hand *h, const struct wish *w, struct mica_err *e)
{
	const struct mica_string_list *l = &h->v->policy->unsure_outlets;
	CORE_AUTO_CHANGE ch = {.n_reads = 0};
	unsigned at = 0;
	mica_rc rc = MICA_OK;

	if (mica_slice_eq_str(w->outlet, MICA_OUTLET_CANARY))
		return confirm_canary(h, e);
	while (at < l->n && !mica_slice_eq_str(w->outlet, l->v[at]))
		at++;
	if (at == l->n)
		return mica_fail(e, MICA_NOT_FOUND, "no_such_outlet",
			"no outlet of this name waits for confirmation; rotation.outlets lists them, "
			"those with a propagation of their own need none");
	for (unsigned i = 0; i < h->v->auths->n && rc == MICA_OK; i++)
		if (authority(h, (int)i)->kind == MICA_AUTHORITY_ROOT &&
			mica_authority_state_at(authority(h, (int)i), h->now) == MICA_AS_PUBLISHED)
			rc = note_confirmed(h, l->v[at], &ch, authority(h, (int)i)->id, e);
	if (rc == MICA_OK && ch.n_entries == 0)
		return mica_fail(e, MICA_CONFLICT, "nothing_to_confirm",
			"no root is waiting to be known everywhere");
	return rc == MICA_OK ? mica_core_change_commit(h->c, &ch, h->now_ms, e) : rc;
}

mica_rc mica_core_confirm(struct mica_core *c, struct mica_slice outlet,
	const struct mica_caller *actor, int64_t now_ms, struct mica_err *e)
{
	return fulfil(c, &(struct wish){.fulfil = confirm, .outlet = outlet}, actor, now_ms, e);
}

mica_rc mica_core_clock_accept(
	struct mica_core *c, const struct mica_caller *actor, int64_t now_ms, struct mica_err *e)
{
	mica_rc rc;

	pthread_mutex_lock(&c->admin);
	rc = mica_core_accept_clock(c, actor, now_ms, e);
	if (rc == MICA_OK)
		mica_core_go_on(c, now_ms);
	pthread_mutex_unlock(&c->admin);
	return rc;
}
