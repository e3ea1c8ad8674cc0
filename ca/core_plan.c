/* SPDX-License-Identifier: Apache-2.0 */
/* What rotation will do, and what it waits for: for people, by the machine that does it. */
#include "core_impl.h"

#include <inttypes.h>
#include <stdio.h>

#define PLAN_STEPS 200
#define PLAN_ROOM  (2 * CORE_AUTHORITY_MAX)

static const enum mica_authority_kind kinds[] = {
	MICA_AUTHORITY_ROOT, MICA_AUTHORITY_ISSUING, MICA_AUTHORITY_JWT};

/* ---- authorities -------------------------------------------------------------------------------
 */

static void put_with_certificate(
	struct mica_buf *b, struct mica_core *c, const struct core_view *v, unsigned i, int64_t now)
{
	mica_core_put_authority(b, c, v->auths, i, now);
	b->len--; /* its closing brace */
	mica_buf_put_str(b, ",\"certificate\":");
	if (v->auths->more[i].pem.len > 0)
		mica_buf_put_json_string(b, mica_buf_slice(&v->auths->more[i].pem));
	else
		mica_buf_put_str(b, "null");
	mica_buf_put_u8(b, '}');
}

mica_rc mica_core_authorities(struct mica_core *c, const char *authority_id, int64_t now_ms,
	struct mica_buf *json, struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	int64_t now = now_ms / 1000 > v->auths->from ? now_ms / 1000 : v->auths->from;

	if (authority_id) {
		int at;
		mica_rc rc = mica_core_authority_need(v->auths, authority_id, &at, e);

		if (rc != MICA_OK)
			return rc;
		put_with_certificate(json, c, v, (unsigned)at, now);
		return mica_buf_rc(json, e);
	}
	mica_buf_put_str(json, "{\"authorities\":[");
	for (unsigned i = 0; i < v->auths->n; i++) {
		if (i)
			mica_buf_put_u8(json, ',');
		mica_core_put_authority(json, c, v->auths, i, now);
	}
	mica_buf_put_str(json, "]}");
	return mica_buf_rc(json, e);
}

/* ---- status ------------------------------------------------------------------------------------
 */

static void put_id(struct mica_buf *b, const char *name, const struct core_view *v, int at)
{
	if (at >= 0)
		mica_core_put_string(b, ",", name, v->auths->v[at].id);
	else
		mica_buf_printf(b, ",\"%s\":null", name);
}

static void put_kind(struct mica_buf *b, const struct core_view *v,
	const struct mica_rotation_facts *f, enum mica_authority_kind kind, int64_t now)
{
	const struct mica_rotation_policy *p = &v->policy->rotation;
	int active = mica_authority_active(v->auths->v, v->auths->n, MICA_SET_DEFAULT, kind, now);
	struct mica_rotation_step s =
		mica_rotation_next_of(kind, p, f, v->auths->v, v->auths->n, now);

	mica_core_put_string(b, "{", "kind", mica_authority_kind_name(kind));
	mica_buf_printf(b, ",\"automatic\":%s", p->kind[kind].automatic ? "true" : "false");
	put_id(b, "active", v, active);
	put_id(b, "successor", v, mica_rotation_successor(v->auths->v, v->auths->n, kind, now));
	mica_core_put_time(b, ",", "due",
		active >= 0 ? mica_rotation_due(p, &v->auths->v[active]) : MICA_TIME_NEVER);
	mica_core_put_string(b, ",", "next", mica_rotation_action_name(s.action));
	mica_core_put_string(b, ",", "waits_for", mica_rotation_why_name(s.why));
	mica_core_put_string(b, ",", "text", mica_rotation_why_text(s.why));
	put_id(b, "about", v, s.at);
	mica_core_put_time(b, ",", "until", s.action == MICA_ROT_NONE ? s.until : now);
	mica_buf_put_u8(b, '}');
}

static void put_clock(struct mica_buf *b, const struct mica_core *c)
{
	mica_core_put_string(b, ",\"clock\":{", "state", mica_clock_word_name(c->rotation.word));
	mica_buf_printf(b, ",\"proven\":%s", c->rotation.clock.unproven ? "false" : "true");
	mica_core_put_time(b, ",", "seen", c->rotation.clock.seen_ms / 1000);
	mica_core_put_time(b, ",", "look_again", c->rotation.look_again);
	mica_buf_put_u8(b, '}');
}

/* The root that waits for evidence; -1 = none. */
static int waiting_root(const struct core_view *v, int64_t now)
{
	for (unsigned i = 0; i < v->auths->n; i++)
		if (v->auths->v[i].kind == MICA_AUTHORITY_ROOT &&
			mica_authority_state_at(&v->auths->v[i], now) == MICA_AS_PUBLISHED)
			return (int)i;
	return -1;
}

static void put_outlets(
	struct mica_buf *b, struct mica_core *c, const struct core_view *v, int root)
{
	const struct mica_string_list *l = &v->policy->unsure_outlets;
	char key[160];

	mica_buf_put_str(b, ",\"unconfirmed\":[");
	for (unsigned i = 0, n = 0; root >= 0 && i < l->n; i++) {
		uint64_t rev = 0;

		if (mica_core_rev(c, MICA_T_META,
			    mica_core_confirmed_key(v->auths->v[root].id, l->v[i], key), &rev,
			    NULL) != MICA_OK ||
			rev != 0)
			continue;
		if (n++)
			mica_buf_put_u8(b, ',');
		mica_buf_put_json_string(b, mica_slice_str(l->v[i]));
	}
	mica_buf_put_u8(b, ']');
}

static mica_rc put_status(
	struct mica_core *c, int64_t now_ms, struct mica_buf *json, struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	struct mica_rotation_fact facts[CORE_AUTHORITY_MAX];
	uint64_t sequence[MICA_CHANNEL_COUNT] = {0};
	struct mica_rotation_facts f = {.of = facts,
		.frozen = c->rotation.word != MICA_CLOCK_AGREES,
		.carried = mica_core_carried(c),
		.look_again = c->rotation.look_again,
		.unproven = c->rotation.clock.unproven};
	int64_t now = mica_core_decision_ms(c, now_ms) / 1000;
	struct mica_rotation_stock stock;
	mica_rc rc = mica_core_gather(c, v, now, facts, e);
	int root = waiting_root(v, now);

	if (rc != MICA_OK)
		return rc;
	mica_core_put_time(json, "{", "time", now);
	put_clock(json, c);
	mica_buf_put_str(json, ",\"rotations\":[");
	for (size_t i = 0; i < MICA_ARRAY_LEN(kinds); i++) {
		if (i)
			mica_buf_put_u8(json, ',');
		put_kind(json, v, &f, kinds[i], now);
	}
	mica_buf_put_u8(json, ']');
	mica_rotation_stock_of(&v->policy->rotation, v->auths->v, v->auths->n, now, &stock);
	mica_core_put_stock(json, &stock);
	mica_core_put_renewals(c, json);
	mica_core_put_exposure(v, &f, now, json);
	put_outlets(json, c, v, root);
	if (root >= 0)
		mica_core_first_bundles(&v->auths->v[root], sequence);
	mica_core_put_canary(json, v, now);
	rc = mica_core_put_missing(c, sequence, now, json, e);
	mica_buf_put_u8(json, '}');
	return rc == MICA_OK ? mica_buf_rc(json, e) : rc;
}

mica_rc mica_core_rotation_status(
	struct mica_core *c, int64_t now_ms, struct mica_buf *json, struct mica_err *e)
{
	mica_rc rc;

	pthread_mutex_lock(&c->admin);
	rc = put_status(c, now_ms, json, e);
	pthread_mutex_unlock(&c->admin);
	return rc;
}

/* ---- plan --------------------------------------------------------------------------------------
 */

/* Copies that are moved through time. */
struct plan {
	const struct mica_rotation_policy *p;
	struct mica_authority v[PLAN_ROOM];
	struct mica_rotation_fact facts[PLAN_ROOM];
	size_t n;
	bool carried; /* somebody has the bundle that came with his certificate */
	unsigned made[MICA_AUTHORITY_KIND_COUNT];
	struct mica_buf *out;
	unsigned steps;
};

static void plan_clear(struct plan *p)
{
	for (size_t i = 0; i < p->n; i++)
		mica_authority_clear(&p->v[i]);
}

static mica_rc load(struct plan *p, struct mica_core *c, const struct core_view *v, int64_t now,
	struct mica_err *e)
{
	struct mica_rotation_fact facts[CORE_AUTHORITY_MAX];
	mica_rc rc = mica_core_gather(c, v, now, facts, e);

	p->p = &v->policy->rotation;
	p->carried = mica_core_carried(c) >= now;
	for (unsigned i = 0; i < v->auths->n && rc == MICA_OK; i++) {
		rc = mica_authority_copy(&v->auths->v[i], &p->v[p->n], e);
		p->facts[p->n] = facts[i];
		p->n += rc == MICA_OK;
	}
	return rc;
}

/* One that does not exist yet has a name, no id. */
static mica_rc plan_create(
	struct plan *p, const struct mica_rotation_step *s, int64_t now, struct mica_err *e)
{
	struct mica_authority *a = &p->v[p->n];
	int64_t end = s->parent >= 0 ? p->v[s->parent].not_after : MICA_TIME_NEVER;
	mica_rc rc;

	mica_authority_init(a);
	p->facts[p->n++] = (struct mica_rotation_fact){.acked = true, .confirmed = true};
	snprintf(a->set, sizeof(a->set), "%s", MICA_SET_DEFAULT);
	rc = mica_rotation_born(p->p, s, now, end, a, e);
	snprintf(a->id, sizeof(a->id), "new-%s-%u", mica_authority_kind_name(s->kind),
		++p->made[s->kind]);
	if (s->parent >= 0)
		memcpy(a->parent, p->v[s->parent].id, sizeof(a->parent));
	mica_buf_put_str(&a->envelope, "-");
	mica_buf_put_str(&a->cert, "-");
	return rc;
}

/* It signs to its last moment, as long as it may. */
static void assume_leaves(struct plan *p, int at, int64_t now)
{
	const struct mica_authority *a = &p->v[at];
	int64_t end =
		now + (a->kind == MICA_AUTHORITY_JWT ? p->p->max_jwt_ttl : p->p->max_leaf_ttl);

	if (a->kind == MICA_AUTHORITY_ROOT)
		return;
	if (end > a->not_after)
		end = a->not_after;
	if (p->facts[at].last_leaf < end)
		p->facts[at].last_leaf = end;
}

static mica_rc plan_apply(
	struct plan *p, const struct mica_rotation_step *s, int64_t now, struct mica_err *e)
{
	if (s->action == MICA_ROT_CREATE)
		return plan_create(p, s, now, e);
	if (s->action == MICA_ROT_DESTROY) {
		mica_authority_clear(&p->v[s->at]);
		p->n--;
		memmove(&p->v[s->at], &p->v[s->at + 1], (p->n - (size_t)s->at) * sizeof(p->v[0]));
		memmove(&p->facts[s->at], &p->facts[s->at + 1],
			(p->n - (size_t)s->at) * sizeof(p->facts[0]));
		return MICA_OK;
	}
	if (s->instead >= 0)
		assume_leaves(p, s->instead, now);
	return mica_rotation_mark(
		s, &p->v[s->at], s->instead >= 0 ? &p->v[s->instead] : NULL, now, e);
}

static bool changes_bundle(const struct mica_rotation_step *s)
{
	return s->kind != MICA_AUTHORITY_ISSUING &&
		(s->action == MICA_ROT_CREATE || s->action == MICA_ROT_PUBLISH ||
			s->action == MICA_ROT_REMOVE);
}

static void put_step(struct plan *p, const struct mica_rotation_step *s, int64_t now)
{
	mica_core_put_time(p->out, p->steps++ ? ",{" : "{", "at", now);
	mica_core_put_string(p->out, ",", "action", mica_rotation_action_name(s->action));
	mica_core_put_string(p->out, ",", "kind", mica_authority_kind_name(s->kind));
	if (s->at >= 0)
		mica_core_put_string(p->out, ",", "authority", p->v[s->at].id);
	if (s->action == MICA_ROT_CREATE)
		mica_buf_printf(p->out, ",\"authority\":\"new-%s-%u\",\"standby\":%s",
			mica_authority_kind_name(s->kind), p->made[s->kind] + 1,
			s->standby ? "true" : "false");
	if (changes_bundle(s))
		mica_core_put_string(p->out, ",", "channel", s->canary ? "canary" : "live");
	if (s->instead >= 0)
		mica_core_put_string(p->out, ",", "instead", p->v[s->instead].id);
	mica_core_put_string(p->out, ",", "why", mica_rotation_why_name(s->why));
	mica_buf_put_u8(p->out, '}');
}

/* Acknowledgements are supposed to come in time; what has to be confirmed stays as it is. */
static mica_rc look_ahead(struct plan *p, int64_t look_again, int64_t now, int64_t until,
	struct mica_rotation_step *end, struct mica_err *e)
{
	mica_rc rc = MICA_OK;

	for (size_t i = 0; i < p->n; i++)
		p->facts[i].acked = true;
	while (rc == MICA_OK && p->steps < PLAN_STEPS && p->n < PLAN_ROOM) {
		/* whoever has his bundle with his certificate renews it, and so again */
		struct mica_rotation_facts f = {.of = p->facts,
			.carried = p->carried ? MICA_TIME_NEVER / 2 : 0,
			.look_again = look_again};

		*end = mica_rotation_next(p->p, &f, p->v, p->n, now);
		if (end->action == MICA_ROT_NONE) {
			if (end->until > until)
				return MICA_OK;
			now = end->until;
			continue;
		}
		put_step(p, end, now);
		rc = plan_apply(p, end, now, e);
	}
	return rc;
}

static mica_rc put_exposure(struct mica_core *c, const struct core_view *v, int64_t now,
	struct mica_buf *json, struct mica_err *e)
{
	struct mica_rotation_fact facts[CORE_AUTHORITY_MAX];
	struct mica_rotation_facts f = {.of = facts};
	mica_rc rc = mica_core_gather(c, v, now, facts, e);

	if (rc == MICA_OK)
		mica_core_put_exposure(v, &f, now, json);
	return rc;
}

static mica_rc plan(struct mica_core *c, int64_t now_ms, int64_t until, struct mica_buf *json,
	struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	MICA_AUTO_FREE struct plan *p = mica_calloc(1, sizeof(*p));
	int64_t now = mica_core_decision_ms(c, now_ms) / 1000;
	struct mica_rotation_step end = {.action = MICA_ROT_NONE};
	mica_rc rc = load(p, c, v, now, e);

	p->out = json;
	mica_core_put_time(json, "{", "from", now);
	mica_core_put_time(json, ",", "until", until);
	mica_buf_put_str(json, ",\"steps\":[");
	if (rc == MICA_OK)
		rc = look_ahead(p, c->rotation.look_again, now, until, &end, e);
	mica_buf_put_u8(json, ']');
	mica_core_put_string(json, ",", "then_waits_for",
		end.action == MICA_ROT_NONE ? mica_rotation_why_name(end.why) : "more");
	mica_core_put_string(json, ",", "clock", mica_clock_word_name(c->rotation.word));
	if (rc == MICA_OK)
		rc = put_exposure(c, v, now, json, e);
	mica_buf_put_u8(json, '}');
	plan_clear(p);
	return rc == MICA_OK ? mica_buf_rc(json, e) : rc;
}

mica_rc mica_core_rotation_plan(struct mica_core *c, int64_t now_ms, int64_t until,
	struct mica_buf *json, struct mica_err *e)
{
	mica_rc rc;

	pthread_mutex_lock(&c->admin);
	rc = plan(c, now_ms, until, json, e);
	pthread_mutex_unlock(&c->admin);
	return rc;
}
