/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The decision of rotation. Each kind has a list of rules in the order of their weight; the first
 * that has a step wins. What waits tells until when, and the earliest of all waits is the answer
 * when there is no step.
 */
#include "mica/rotation.h"

/* Relying parties of JWT-SVIDs refresh at the hint; they are given five of them. */
#define JWT_HINTS   5
#define HINTS       3
#define JITTER_PART 20

static const char *const actions[] = {
	"none", "create", "ready", "activate", "remove", "destroy", "publish", "restore"};
static const struct {
	const char *name, *text;
} whys[] = {
	[MICA_RW_NOTHING] = {"nothing", "nothing is under way"},
	[MICA_RW_DUE] = {"due", "its time has come"},
	[MICA_RW_PROPAGATION] = {"propagation", "whoever gives no evidence may not have it yet"},
	[MICA_RW_ACKS] = {"acks", "holders have not acknowledged a bundle that has it"},
	[MICA_RW_CONFIRMATION] = {"confirmation",
		"an outlet without a propagation waits for `mica rotation confirm`"},
	[MICA_RW_CARRIED] = {"carried",
		"holders whose bundle comes with their certificates may not have renewed"},
	[MICA_RW_EVERYBODY_HAS_IT] = {"everybody_has_it", "everybody has it"},
	[MICA_RW_NONE_ACTIVE] = {"none_active", "nothing of this kind is active"},
	[MICA_RW_TAINTED] = {"tainted", "the active one is compromised, or one that it signed"},
	[MICA_RW_OTHER_ROOT] = {"other_root", "the active root is another"},
	[MICA_RW_STANDBY] = {"standby", "a standby root is missing, or too old"},
	[MICA_RW_LAST_LEAF] = {"last_leaf", "something that it signed has not ended"},
	[MICA_RW_HOLD] = {"hold", "a roll-back is possible until then"},
	[MICA_RW_DEADLINE] = {"deadline", "clients of a compromised authority may still renew"},
	[MICA_RW_TRASH] = {"trash", "its key can be restored until then"},
	[MICA_RW_LOOK_AGAIN] = {"look_again", "micad was started a short time ago"},
	[MICA_RW_CLOCK] = {"clock",
		"the clock disagrees with what was seen before; see `mica rotation clock`"},
	[MICA_RW_NO_ROOT] = {"no_root", "there is no usable root"},
	[MICA_RW_NO_REPLACEMENT] = {"no_replacement", "no other one is published"},
	[MICA_RW_UNPROVEN] = {"unproven",
		"no token or administrator has agreed with our clock since the start"},
	[MICA_RW_CANARY] = {"canary", "the canary channel has it first"},
	[MICA_RW_CANARY_OVER] = {"canary_over", "the canary channel has had it long enough"},
	[MICA_RW_WITHDRAWN] = {"withdrawn", "it was withdrawn from the canary channel before"},
	[MICA_RW_BY_HAND] = {"by_hand", "an administrator asked for it"},
	[MICA_RW_SIGNATURE] = {"signature",
		"what a root whose key is not here must sign is missing; see `mica authority csr`"},
	[MICA_RW_RENEWED] = {"renewed", "whoever had something of it has renewed"},
};
_Static_assert(MICA_ARRAY_LEN(actions) == MICA_ROT_ACTION_COUNT, "a name for each action");
_Static_assert(MICA_ARRAY_LEN(whys) == MICA_RW_COUNT, "a text for each reason");

const char *mica_rotation_action_name(enum mica_rotation_action a)
{
	return (unsigned)a < MICA_ARRAY_LEN(actions) ? actions[a] : "?";
}

const char *mica_rotation_why_name(enum mica_rotation_why w)
{
	return (unsigned)w < MICA_ARRAY_LEN(whys) ? whys[w].name : "?";
}

const char *mica_rotation_why_text(enum mica_rotation_why w)
{
	return (unsigned)w < MICA_ARRAY_LEN(whys) ? whys[w].text : "?";
}

/* ---- policy ------------------------------------------------------------------------------ */

static int64_t greater(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static int64_t lesser(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* Never is later than any sum. */
static int64_t after(int64_t at, int64_t wait)
{
	return at == MICA_TIME_NEVER ? at : at + wait;
}

void mica_rotation_policy_of(const struct mica_config *c, struct mica_rotation_policy *out)
{
	*out = (struct mica_rotation_policy){
		.kind = {[MICA_AUTHORITY_ROOT] = {c->rotation.root.automatic,
				 c->authorities.root_life, c->rotation.root.rotate_at},
			[MICA_AUTHORITY_ISSUING] = {c->rotation.issuing.automatic,
				c->authorities.issuing_life, c->rotation.issuing.rotate_at},
			[MICA_AUTHORITY_JWT] = {c->rotation.jwt.automatic, c->authorities.jwt_life,
				c->rotation.jwt.rotate_at}},
		.standby = c->rotation.standby,
		.root_home = c->authorities.root,
		.max_leaf_ttl = c->x509.max_ttl,
		.max_jwt_ttl = c->jwt.max_ttl,
		.refresh_hint = c->bundle.refresh_hint,
		.propagation = c->rotation.propagation,
		.hold = c->rotation.hold,
		.ack_timeout = c->rotation.ack_timeout,
		.skew = c->rotation.skew,
		.trash = c->rotation.trash,
		.deadline = c->rotation.deadline,
		.canary = c->rotation.canary.spiffe_ids.n > 0,
		.canary_time = c->rotation.canary.time};
	for (unsigned i = 0; i < c->n_rules; i++)
		out->max_leaf_ttl = greater(out->max_leaf_ttl, c->rules[i].max_ttl);
	for (unsigned i = 0; i < c->rotation.n_outlets; i++)
		out->slowest_outlet =
			greater(out->slowest_outlet, c->rotation.outlets[i].propagation);
}

int64_t mica_rotation_propagation(
	const struct mica_rotation_policy *p, enum mica_authority_kind kind)
{
	switch (kind) {
	case MICA_AUTHORITY_ROOT: return p->propagation + p->skew;
	case MICA_AUTHORITY_JWT:
		return greater(JWT_HINTS * p->refresh_hint, p->propagation) + p->skew;
	default: return 0; /* it travels with the leaf */
	}
}

int64_t mica_rotation_lead(const struct mica_rotation_policy *p, enum mica_authority_kind kind)
{
	int64_t canary = p->canary ? p->canary_time : 0;

	switch (kind) {
	case MICA_AUTHORITY_ROOT:
		return canary + mica_rotation_propagation(p, kind) + p->ack_timeout +
			p->max_leaf_ttl + p->skew;
	case MICA_AUTHORITY_JWT:
		return canary + mica_rotation_propagation(p, kind) + p->max_jwt_ttl + p->skew;
	default: return p->propagation + p->max_leaf_ttl + p->skew;
	}
}

/* The greatest rotate_at that leaves the lead of a kind to its life. */
static bool at_holds(const struct mica_rotation_policy *p, enum mica_authority_kind kind,
	enum mica_rotation_rule rule, struct mica_rotation_breach *out)
{
	const struct mica_rotation_kind *k = &p->kind[kind];
	int64_t left = k->life - mica_rotation_lead(p, kind);

	*out = (struct mica_rotation_breach){
		rule, k->rotate_at, left < 0 ? 0 : left * 100 / k->life};
	return k->rotate_at <= out->need && k->rotate_at > 0;
}

static bool is_least(
	enum mica_rotation_rule rule, int64_t have, int64_t need, struct mica_rotation_breach *out)
{
	*out = (struct mica_rotation_breach){rule, have, need};
	return have >= need;
}

bool mica_rotation_policy_holds(
	const struct mica_rotation_policy *p, struct mica_rotation_breach *out)
{
	const int64_t issuing = p->kind[MICA_AUTHORITY_ISSUING].life;
	struct mica_rotation_breach own, *b = out ? out : &own;

	return is_least(MICA_RR_PROPAGATION, p->propagation,
		       greater(HINTS * p->refresh_hint, p->slowest_outlet), b) &&
		is_least(MICA_RR_ISSUING_LIFE, issuing, 3 * p->max_leaf_ttl + p->propagation, b) &&
		is_least(MICA_RR_ROOT_LIFE, p->kind[MICA_AUTHORITY_ROOT].life, 3 * issuing, b) &&
		is_least(MICA_RR_JWT_LIFE, p->kind[MICA_AUTHORITY_JWT].life,
			JWT_HINTS * p->refresh_hint + p->max_jwt_ttl + p->skew, b) &&
		is_least(MICA_RR_HOLD, p->hold, p->max_leaf_ttl + p->skew, b) &&
		at_holds(p, MICA_AUTHORITY_ROOT, MICA_RR_ROOT_AT, b) &&
		at_holds(p, MICA_AUTHORITY_ISSUING, MICA_RR_ISSUING_AT, b) &&
		at_holds(p, MICA_AUTHORITY_JWT, MICA_RR_JWT_AT, b);
}

/* ---- times of one ------------------------------------------------------------------------ */

static int64_t created(const struct mica_authority *a)
{
	int64_t at = mica_authority_first(a, MICA_AE_CREATED, MICA_TIME_NEVER);

	return at == MICA_TIME_NEVER ? a->not_before : at;
}

/* Ids are hashes of keys: their first digits are as good as random. */
static int64_t jitter(const struct mica_authority *a, int64_t period)
{
	uint32_t h = 0;

	for (unsigned i = 0; i < 4 && a->id[i]; i++)
		h = h << 4 | ((uint32_t)a->id[i] & 0xf);
	return period * (h & 0xffff) / 0x10000 / JITTER_PART;
}

/* Lives are below 2^33 s: nothing overflows. */
static int64_t period(const struct mica_rotation_policy *p, const struct mica_authority *a)
{
	return (a->not_after - created(a)) * p->kind[a->kind].rotate_at / 100;
}

int64_t mica_rotation_due(const struct mica_rotation_policy *p, const struct mica_authority *a)
{
	int64_t since = mica_authority_last(a, MICA_AE_ACTIVE, MICA_TIME_NEVER - 1);
	int64_t span = period(p, a), latest = a->not_after - mica_rotation_lead(p, a->kind);

	if (since == MICA_TIME_NEVER)
		since = created(a);
	return lesser(since + span - jitter(a, span), latest);
}

/* ---- the decision ------------------------------------------------------------------------ */

struct deciding {
	const struct mica_rotation_policy *p;
	const struct mica_rotation_facts *f;
	const struct mica_authority *v;
	size_t n;
	int64_t now;
	int root; /* the active one, -1 */
	/* the wait that ends first, and the one that is told */
	int64_t until;
	struct mica_rotation_step wait;
};

static enum mica_authority_state state(const struct deciding *d, size_t i)
{
	return mica_authority_state_at(&d->v[i], d->now);
}

static bool is_kind(const struct deciding *d, size_t i, enum mica_authority_kind kind)
{
	return d->v[i].kind == kind;
}

static bool has_key(const struct mica_authority *a)
{
	return a->envelope.len > 0;
}

static bool happened(const struct deciding *d, size_t i, enum mica_authority_event ev)
{
	return mica_authority_first(&d->v[i], ev, d->now) != MICA_TIME_NEVER;
}

static bool is_tainted(enum mica_authority_state s)
{
	return s == MICA_AS_TAINTED || s == MICA_AS_REVOKED;
}

/* Not in use yet. */
static bool is_coming(enum mica_authority_state s)
{
	return s == MICA_AS_PENDING || s == MICA_AS_PUBLISHED || s == MICA_AS_READY;
}

bool mica_rotation_doomed(const struct mica_authority *list, size_t n, size_t root, int64_t now)
{
	for (size_t i = 0; i < n; i++)
		if (list[i].kind == MICA_AUTHORITY_ISSUING && now <= list[i].not_after &&
			strcmp(list[i].parent, list[root].id) == 0 &&
			mica_authority_state_at(&list[i], now) == MICA_AS_TAINTED)
			return true;
	return false;
}

/* Signed ahead by a root elsewhere, or waiting for its signature. */
static bool is_stock(const struct mica_authority *list, size_t n, size_t i)
{
	if (list[i].kind != MICA_AUTHORITY_ISSUING || list[i].cert.len == 0)
		return list[i].kind == MICA_AUTHORITY_ISSUING;
	for (size_t k = 0; k < n; k++)
		if (strcmp(list[k].id, list[i].parent) == 0)
			return !has_key(&list[k]);
	return false;
}

int mica_rotation_successor(
	const struct mica_authority *list, size_t n, enum mica_authority_kind kind, int64_t now)
{
	for (size_t i = 0; i < n; i++)
		if (list[i].kind == kind && !list[i].standby && !is_stock(list, n, i) &&
			is_coming(mica_authority_state_at(&list[i], now)))
			return (int)i;
	return -1;
}

int mica_rotation_way_back(
	const struct mica_authority *list, size_t n, enum mica_authority_kind kind, int64_t now)
{
	int root =
		n == 0 ? -1 : mica_authority_active(list, n, list[0].set, MICA_AUTHORITY_ROOT, now);
	int found = -1;
	int64_t latest = -1;

	for (size_t i = 0; i < n; i++) {
		const struct mica_authority *a = &list[i];
		int64_t at = mica_authority_last(a, MICA_AE_RETIRED, now);

		bool usable = kind == MICA_AUTHORITY_ROOT ? mica_rotation_serves(list, n, i, now)
							  : has_key(a);

		/* published everywhere: the canary channel may have lost it */
		if (a->kind != kind || !usable || at < latest || mica_canary_gone(a, now) ||
			mica_authority_state_at(a, now) != MICA_AS_RETIRED ||
			(kind == MICA_AUTHORITY_ROOT && mica_rotation_doomed(list, n, i, now)) ||
			(kind == MICA_AUTHORITY_ISSUING &&
				(root < 0 || strcmp(a->parent, list[root].id) != 0)))
			continue;
		found = (int)i;
		latest = at;
	}
	return found;
}

bool mica_rotation_unsure(const struct mica_rotation_policy *p, const struct mica_rotation_facts *f,
	const struct mica_authority *list, size_t at, int used, int64_t now)
{
	const struct mica_authority *a = &list[at];
	const struct mica_rotation_fact *of = &f->of[at];
	int64_t since = mica_authority_first(a, MICA_AE_PUBLISHED, now);

	if (mica_canary_unsure(p, a, of->carried, f->look_again, now))
		return true;
	/* else used in an emergency, before everybody had it */
	if (mica_authority_first(a, MICA_AE_READY, now) != MICA_TIME_NEVER ||
		(used >= 0 && since < mica_authority_first(&list[used], MICA_AE_PUBLISHED, now)))
		return false;
	if (now < after(since, mica_rotation_propagation(p, a->kind)) || now < f->look_again)
		return true;
	return a->kind == MICA_AUTHORITY_ROOT &&
		(now < greater(of->carried, after(since, p->max_leaf_ttl)) + p->skew ||
			(!of->acked && now < after(since, p->ack_timeout)) || !of->confirmed);
}

int64_t mica_rotation_last_leaf(
	const struct mica_rotation_facts *f, const struct mica_authority *list, size_t n, size_t at)
{
	int64_t end = f->of[at].last_leaf;

	for (size_t i = 0; list[at].kind == MICA_AUTHORITY_ROOT && i < n; i++)
		if (strcmp(list[i].parent, list[at].id) == 0)
			end = greater(end, f->of[i].last_leaf);
	return end;
}

/* Notes a wait: of several the one that ends first is the time to look again; what is told is the
 * first that was noted, since rules stand in the order of their weight. */
static void wait_for(struct deciding *d, enum mica_authority_kind kind, int at,
	enum mica_rotation_why why, int64_t until)
{
	if (until <= d->now)
		until = d->now + 1;
	if (d->wait.why == MICA_RW_NOTHING)
		d->wait = (struct mica_rotation_step){
			.kind = kind, .at = at, .instead = -1, .parent = -1, .why = why};
	d->until = lesser(d->until, until);
}

static bool take(struct mica_rotation_step *out, enum mica_rotation_action action,
	enum mica_authority_kind kind, int at, enum mica_rotation_why why)
{
	*out = (struct mica_rotation_step){
		.action = action, .kind = kind, .at = at, .instead = -1, .parent = -1, .why = why};
	return true;
}

/* One that expired in use. It retires when another one follows, for a clock may show later that it
 * has not expired at all: then there would be two. */
static int expired_in_use(const struct deciding *d, enum mica_authority_kind kind)
{
	for (size_t i = 0; i < d->n; i++) {
		int64_t used = mica_authority_last(&d->v[i], MICA_AE_ACTIVE, d->now);
		int64_t left = mica_authority_last(&d->v[i], MICA_AE_RETIRED, d->now);

		if (is_kind(d, i, kind) && state(d, i) == MICA_AS_EXPIRED &&
			used != MICA_TIME_NEVER && (left == MICA_TIME_NEVER || left < used))
			return (int)i;
	}
	return -1;
}

static bool activate(struct mica_rotation_step *out, const struct deciding *d, int at, int instead,
	enum mica_rotation_why why)
{
	take(out, MICA_ROT_ACTIVATE, d->v[at].kind, at, why);
	out->instead = instead >= 0 ? instead : expired_in_use(d, out->kind);
	out->emergency = why == MICA_RW_NONE_ACTIVE || why == MICA_RW_TAINTED;
	return true;
}

/* ---- roots ------------------------------------------------------------------------------- */

/* How good a root is as a replacement in an emergency: who would not know it. */
enum worth {
	WORTHLESS, /* it is none */
	FRESH, /* nobody may have it */
	UNSURE, /* the canary channel may have lost it */
	SPREAD, /* who fetches it has had the time to */
	KNOWN, /* it was used once, and everybody has it still */
	PREPARED,
	PREPARED_FOR_THIS /* the standby */
};

static bool is_unsure(const struct deciding *d, size_t i)
{
	return mica_canary_unsure(d->p, &d->v[i], d->f->of[i].carried, d->f->look_again, d->now);
}

static int64_t published(const struct deciding *d, size_t i)
{
	return mica_authority_first(&d->v[i], MICA_AE_PUBLISHED, d->now);
}

/* Since when every bundle has it. */
static int64_t known_since(const struct deciding *d, size_t i)
{
	return happened(d, i, MICA_AE_CANARY_OUT)
		? greater(published(d, i), mica_authority_last(&d->v[i], MICA_AE_CANARY_IN, d->now))
		: published(d, i);
}

static enum worth worth(const struct deciding *d, size_t i)
{
	bool fresh = d->now < after(published(d, i), mica_rotation_propagation(d->p, d->v[i].kind));
	enum worth w;

	if (!is_kind(d, i, MICA_AUTHORITY_ROOT) || !mica_rotation_serves(d->v, d->n, i, d->now) ||
		!mica_authority_is_published(&d->v[i], d->now) ||
		mica_rotation_doomed(d->v, d->n, i, d->now))
		return WORTHLESS;
	switch (state(d, i)) {
	case MICA_AS_READY: w = d->v[i].standby ? PREPARED_FOR_THIS : PREPARED; break;
	case MICA_AS_RETIRED: w = fresh && !happened(d, i, MICA_AE_READY) ? FRESH : KNOWN; break;
	case MICA_AS_PUBLISHED: w = fresh ? FRESH : SPREAD; break;
	default: return WORTHLESS;
	}
	/* how long ago anything was, a clock that disagrees cannot say: what came first is better
	 */
	if (d->f->frozen && (!happened(d, i, MICA_AE_READY) || happened(d, i, MICA_AE_CANARY_OUT)))
		return mica_canary_gone(&d->v[i], d->now) ? FRESH : UNSURE;
	return is_unsure(d, i) ? UNSURE : w;
}

/* Whether a root waits for everybody to have it. */
static bool on_its_way(const struct deciding *d)
{
	for (size_t i = 0; i < d->n; i++)
		if (worth(d, i) > WORTHLESS && state(d, i) == MICA_AS_PUBLISHED && !is_unsure(d, i))
			return true;
	return false;
}

/* Of equals the one that has been known longest. */
static int best_root(const struct deciding *d, enum worth at_least)
{
	enum worth most = at_least;
	int best = -1;

	for (size_t i = 0; i < d->n; i++) {
		enum worth w = worth(d, i);

		if (w > most ||
			(w == most &&
				(best < 0 || known_since(d, i) < known_since(d, (size_t)best)))) {
			best = (int)i;
			most = w;
		}
	}
	return best;
}

/* Whether an issuing authority below a root signs. */
static bool has_active_child(const struct deciding *d, size_t root)
{
	for (size_t i = 0; i < d->n; i++)
		if (strcmp(d->v[i].parent, d->v[root].id) == 0 && state(d, i) == MICA_AS_ACTIVE)
			return true;
	return false;
}

/* A tainted root that everybody still believes, while an issuing authority below it signs: what it
 * vouches for is good until the next one is known. */
static bool holds_out(const struct deciding *d)
{
	for (size_t i = 0; d->root < 0 && i < d->n; i++)
		if (is_kind(d, i, MICA_AUTHORITY_ROOT) && is_tainted(state(d, i)) &&
			d->now <= d->v[i].not_after && has_active_child(d, i))
			return true;
	return false;
}

/* The active root has to go, and there is time to make the next one known. */
static bool hurries(const struct deciding *d)
{
	return d->root >= 0 ? mica_rotation_doomed(d->v, d->n, (size_t)d->root, d->now)
			    : holds_out(d);
}

/* The active root is gone, or has to go. */
static bool root_emergency(struct deciding *d, struct mica_rotation_step *out)
{
	bool hurry = hurries(d);
	int best;

	if ((d->root >= 0 && !hurry) || !d->p->kind[MICA_AUTHORITY_ROOT].automatic)
		return false;
	best = best_root(d, hurry ? KNOWN : FRESH);
	if (best >= 0)
		return activate(
			out, d, best, d->root, hurry ? MICA_RW_TAINTED : MICA_RW_NONE_ACTIVE);
	if (!hurry) {
		wait_for(d, MICA_AUTHORITY_ROOT, -1, MICA_RW_NO_ROOT, MICA_TIME_NEVER);
		return false;
	}
	if (d->now < d->f->look_again) /* one that is unsure until then may be the next */
		d->until = lesser(d->until, d->f->look_again);
	/* The next one has to be made known first, unless it is on its way. */
	if (on_its_way(d) || mica_rotation_successor(d->v, d->n, MICA_AUTHORITY_ROOT, d->now) >= 0)
		return false;
	if (d->p->root_home != MICA_ROOT_OWN) {
		wait_for(d, MICA_AUTHORITY_ROOT, d->root, MICA_RW_SIGNATURE, MICA_TIME_NEVER);
		return false;
	}
	take(out, MICA_ROT_CREATE, MICA_AUTHORITY_ROOT, -1, MICA_RW_TAINTED);
	out->emergency = true;
	return true;
}

/* Until when somebody may have the bundle that came with his certificate, from before `since`. */
static int64_t carried(const struct deciding *d, size_t i, int64_t since)
{
	int64_t issued_behind = lesser(d->f->carried, after(since, d->p->max_leaf_ttl));

	return greater(d->f->of[i].carried, issued_behind) + d->p->skew;
}

/* Time alone, or the word of those who can give it. In a compromise nobody is waited for who says
 * nothing. */
static bool everybody_has(struct deciding *d, size_t i)
{
	enum mica_authority_kind kind = d->v[i].kind;
	int64_t since = mica_authority_first(&d->v[i], MICA_AE_PUBLISHED, d->now);
	int64_t spread = after(since, mica_rotation_propagation(d->p, kind));
	int64_t acks = after(since, d->p->ack_timeout), until;
	const struct mica_rotation_fact *f = &d->f->of[i];

	if (d->now < spread) {
		wait_for(d, kind, (int)i, MICA_RW_PROPAGATION, spread);
		return false;
	}
	if (d->now < d->f->look_again) {
		wait_for(d, kind, (int)i, MICA_RW_LOOK_AGAIN, d->f->look_again);
		return false;
	}
	if (kind == MICA_AUTHORITY_JWT || hurries(d))
		return true;
	until = carried(d, i, since);
	if (d->now < until || (until > d->p->skew && d->f->unproven)) {
		wait_for(d, kind, (int)i, d->now < until ? MICA_RW_CARRIED : MICA_RW_UNPROVEN,
			d->f->unproven ? MICA_TIME_NEVER : until);
		return false;
	}
	if (!f->acked && (d->now < acks || d->f->unproven)) {
		wait_for(d, kind, (int)i, d->now < acks ? MICA_RW_ACKS : MICA_RW_UNPROVEN,
			d->f->unproven ? MICA_TIME_NEVER : acks);
		return false;
	}
	if (!f->confirmed) {
		wait_for(d, kind, (int)i, MICA_RW_CONFIRMATION, MICA_TIME_NEVER);
		return false;
	}
	return true;
}

/* What the canary channel has had long enough comes to everybody; in an emergency at once. */
static bool end_canary(struct deciding *d, enum mica_authority_kind kind,
	enum mica_rotation_why hurry, struct mica_rotation_step *out)
{
	for (size_t i = 0; i < d->n; i++) {
		int64_t end = hurry ? 0 : mica_canary_end(d->p, &d->v[i], d->now);

		if (!is_kind(d, i, kind) || state(d, i) != MICA_AS_PENDING ||
			!mica_canary_alone(&d->v[i], d->now))
			continue;
		if (d->now < end) {
			wait_for(d, kind, (int)i, MICA_RW_CANARY, end);
		} else if (!hurry && d->f->unproven) {
			wait_for(d, kind, (int)i, MICA_RW_UNPROVEN, MICA_TIME_NEVER);
		} else if (!hurry && d->now < d->f->look_again) {
			wait_for(d, kind, (int)i, MICA_RW_LOOK_AGAIN, d->f->look_again);
		} else {
			take(out, MICA_ROT_PUBLISH, kind, (int)i,
				hurry ? hurry : MICA_RW_CANARY_OVER);
			out->emergency = hurry != MICA_RW_NOTHING;
			return true;
		}
	}
	return false;
}

static bool make_ready(
	struct deciding *d, enum mica_authority_kind kind, struct mica_rotation_step *out)
{
	for (size_t i = 0; i < d->n; i++)
		if (is_kind(d, i, kind) && state(d, i) == MICA_AS_PUBLISHED && everybody_has(d, i))
			return take(out, MICA_ROT_READY, kind, (int)i, MICA_RW_EVERYBODY_HAS_IT);
	return false;
}

/* Of several the first that can vouch for anything: roots that are elsewhere can come before what
 * they sign. */
static bool use_successor(struct deciding *d, enum mica_authority_kind kind, int active,
	struct mica_rotation_step *out)
{
	for (size_t i = 0; i < d->n; i++) {
		if (!is_kind(d, i, kind) || d->v[i].standby ||
			(state(d, i) != MICA_AS_READY &&
				!mica_rotation_is_back(d->p, &d->v[i], d->now)))
			continue;
		if (has_key(&d->v[i]) || mica_rotation_serves(d->v, d->n, i, d->now))
			return activate(out, d, (int)i, active, MICA_RW_EVERYBODY_HAS_IT);
		wait_for(d, kind, (int)i, MICA_RW_SIGNATURE, MICA_TIME_NEVER);
	}
	return false;
}

/* Until when nothing of a kind begins, since what began was withdrawn. It must not make the next
 * one late. */
static int64_t withdrawn(const struct deciding *d, enum mica_authority_kind kind, int active)
{
	int64_t until = 0;

	for (size_t i = 0; i < d->n; i++)
		if (is_kind(d, i, kind) && happened(d, i, MICA_AE_REMOVED))
			until = greater(until, mica_canary_retry(d->p, &d->v[i], d->now));
	return lesser(until, d->v[active].not_after - mica_rotation_lead(d->p, kind));
}

static void create_in_canary(const struct deciding *d, struct mica_rotation_step *out)
{
	out->canary = d->p->canary && out->kind != MICA_AUTHORITY_ISSUING;
}

/* One at a time: nothing begins while a successor is on its way. */
static bool begin(struct deciding *d, enum mica_authority_kind kind, int active,
	struct mica_rotation_step *out)
{
	int64_t due;

	if (active < 0 || !d->p->kind[kind].automatic ||
		mica_rotation_successor(d->v, d->n, kind, d->now) >= 0)
		return false;
	/* One that ends with its root cannot be followed by one that lives longer. */
	if (kind == MICA_AUTHORITY_ISSUING && d->root >= 0 &&
		d->v[active].not_after >= d->v[d->root].not_after)
		return false;
	due = mica_rotation_due(d->p, &d->v[active]);
	if (d->now < due) {
		d->until = lesser(d->until, due);
		return false;
	}
	if (kind == MICA_AUTHORITY_ROOT && d->p->root_home != MICA_ROOT_OWN) {
		wait_for(d, kind, active, MICA_RW_SIGNATURE, MICA_TIME_NEVER);
		return false;
	}
	if (d->now < withdrawn(d, kind, active)) {
		wait_for(d, kind, active, MICA_RW_WITHDRAWN, withdrawn(d, kind, active));
		return false;
	}
	take(out, MICA_ROT_CREATE, kind, -1, MICA_RW_DUE);
	create_in_canary(d, out);
	return true;
}

/* Young enough to serve as long as any other root would. */
static bool is_young(const struct deciding *d, size_t i)
{
	return d->now < created(&d->v[i]) + period(d->p, &d->v[i]);
}

static bool leave(
	struct deciding *d, size_t i, enum mica_rotation_why why, struct mica_rotation_step *out);

/* The bundle does not change for a standby while a rotation of roots is on its way. */
static bool keep_standby(struct deciding *d, struct mica_rotation_step *out)
{
	int old = -1;
	bool young = false, ready = false;

	for (size_t i = 0; i < d->n; i++) {
		if (!is_kind(d, i, MICA_AUTHORITY_ROOT) || !d->v[i].standby ||
			!is_coming(state(d, i)))
			continue;
		if (is_young(d, i)) {
			young = true;
			ready = ready || state(d, i) == MICA_AS_READY;
			d->until = lesser(
				d->until, created(&d->v[i]) + period(d->p, &d->v[i]) + d->p->skew);
		} else {
			old = (int)i;
		}
	}
	if (old >= 0 && ready && leave(d, (size_t)old, MICA_RW_STANDBY, out))
		return true;
	if (young || !d->p->standby || d->p->root_home != MICA_ROOT_OWN || d->root < 0 ||
		mica_rotation_successor(d->v, d->n, MICA_AUTHORITY_ROOT, d->now) >= 0)
		return false;
	if (d->now < withdrawn(d, MICA_AUTHORITY_ROOT, d->root)) {
		wait_for(d, MICA_AUTHORITY_ROOT, -1, MICA_RW_WITHDRAWN,
			withdrawn(d, MICA_AUTHORITY_ROOT, d->root));
		return false;
	}
	take(out, MICA_ROT_CREATE, MICA_AUTHORITY_ROOT, -1, MICA_RW_STANDBY);
	out->standby = true;
	create_in_canary(d, out);
	return true;
}

/* ---- removal ----------------------------------------------------------------------------- */

/* Another one that relying parties trust and that can sign: the last one never leaves. */
static bool replaced(const struct deciding *d, size_t i)
{
	int active = mica_authority_active(d->v, d->n, d->v[i].set, d->v[i].kind, d->now);

	return active >= 0 && active != (int)i;
}

/* Since when it is known that one must go: its own taint, or that of one below it. */
static int64_t doom(const struct deciding *d, size_t i)
{
	int64_t since = MICA_TIME_NEVER;

	for (size_t k = 0; k < d->n; k++) {
		if (k != i &&
			(!is_kind(d, i, MICA_AUTHORITY_ROOT) || d->now > d->v[k].not_after ||
				strcmp(d->v[k].parent, d->v[i].id) != 0))
			continue;
		/* one below it that was revoked is named by its CRL */
		if (k == i ? is_tainted(state(d, k)) : state(d, k) == MICA_AS_TAINTED)
			since = lesser(since,
				lesser(mica_authority_first(&d->v[k], MICA_AE_TAINTED, d->now),
					mica_authority_first(&d->v[k], MICA_AE_REVOKED, d->now)));
	}
	return since;
}

/* A tainted issuing authority leaves with its root: until then its record says that the root has to
 * go. */
static bool root_is_gone(const struct deciding *d, size_t i)
{
	for (size_t k = 0; k < d->n; k++)
		if (strcmp(d->v[k].id, d->v[i].parent) == 0)
			return !mica_authority_is_published(&d->v[k], d->now);
	return true;
}

/* From when on an authority that no longer signs may leave the bundle; NEVER = not by time. */
static int64_t removal(const struct deciding *d, size_t i, enum mica_rotation_why *why)
{
	int64_t ends = mica_rotation_last_leaf(d->f, d->v, d->n, i) + d->p->skew;
	int64_t bad = doom(d, i);
	int64_t held = after(mica_authority_last(&d->v[i], MICA_AE_RETIRED, d->now), d->p->hold);

	/* what a CRL names hurts nobody: it stays until all of it has ended */
	if (is_kind(d, i, MICA_AUTHORITY_ISSUING) && state(d, i) == MICA_AS_REVOKED) {
		*why = MICA_RW_LAST_LEAF;
		return ends;
	}
	if (bad != MICA_TIME_NEVER && d->f->of[i].renewed) {
		*why = MICA_RW_RENEWED;
		return lesser(ends, d->now - 1);
	}
	if (bad != MICA_TIME_NEVER) {
		*why = MICA_RW_DEADLINE;
		return lesser(ends, bad + d->p->deadline);
	}
	*why = held > ends ? MICA_RW_HOLD : MICA_RW_LAST_LEAF;
	return greater(ends, held);
}

static bool may_leave(struct deciding *d, size_t i, enum mica_rotation_why *why)
{
	enum mica_authority_kind kind = d->v[i].kind;
	enum mica_authority_state s = state(d, i);
	int64_t at;

	/* nobody trusts it any more, whatever the bundle says */
	if (d->now > d->v[i].not_after + d->p->skew)
		return true;
	if (s == MICA_AS_EXPIRED) {
		d->until = lesser(d->until, d->v[i].not_after + d->p->skew + 1);
		return false;
	}
	if (s != MICA_AS_RETIRED && !is_tainted(s))
		return false;
	if (kind == MICA_AUTHORITY_ISSUING && s == MICA_AS_TAINTED)
		return root_is_gone(d, i);
	if (!replaced(d, i) || has_active_child(d, i)) {
		wait_for(d, kind, (int)i, MICA_RW_NO_REPLACEMENT,
			d->v[i].not_after + d->p->skew + 1);
		return false;
	}
	at = removal(d, i, why);
	if (d->now > at)
		return true;
	wait_for(d, kind, (int)i, *why, lesser(at, d->v[i].not_after + d->p->skew) + 1);
	return false;
}

/* What nobody trusts any more, or nobody may, leaves everywhere at once; and what was taken back so
 * often that there is no more room for its times. */
static bool leaves_at_once(const struct deciding *d, size_t i)
{
	return is_kind(d, i, MICA_AUTHORITY_ISSUING) || !d->p->canary ||
		d->v[i].n_times > MICA_AUTHORITY_TIMES_MAX / 2 ||
		d->now > d->v[i].not_after + d->p->skew || doom(d, i) != MICA_TIME_NEVER;
}

/* Out of the canary channel's bundle first; when that was right, out of the live one. */
static bool leave(
	struct deciding *d, size_t i, enum mica_rotation_why why, struct mica_rotation_step *out)
{
	enum mica_authority_kind kind = d->v[i].kind;
	bool at_once = leaves_at_once(d, i), gone = mica_canary_gone(&d->v[i], d->now);
	int64_t from = gone ? mica_canary_end(d->p, &d->v[i], d->now)
			    : mica_canary_retry(d->p, &d->v[i], d->now);

	if (d->now < d->f->look_again) {
		wait_for(d, kind, (int)i, MICA_RW_LOOK_AGAIN, d->f->look_again);
		return false;
	}
	/* An issuing one is in no bundle, so nothing is won by haste; and the record of a
	 * compromised one says that its root has to go, if it has not ended after all. */
	if (d->f->unproven && (kind == MICA_AUTHORITY_ISSUING || doom(d, i) == MICA_TIME_NEVER)) {
		wait_for(d, kind, (int)i, MICA_RW_UNPROVEN, MICA_TIME_NEVER);
		return false;
	}
	if (!at_once && d->now < from) {
		wait_for(d, kind, (int)i, gone ? MICA_RW_CANARY : MICA_RW_WITHDRAWN,
			lesser(from, d->v[i].not_after + d->p->skew + 1));
		return false;
	}
	take(out, MICA_ROT_REMOVE, kind, (int)i, gone ? MICA_RW_CANARY_OVER : why);
	out->canary = !at_once && !gone;
	return true;
}

static bool clear_away(
	struct deciding *d, enum mica_authority_kind kind, struct mica_rotation_step *out)
{
	for (size_t i = 0; i < d->n; i++) {
		bool removed = is_kind(d, i, kind) && happened(d, i, MICA_AE_REMOVED);
		int64_t last = mica_rotation_last_leaf(d->f, d->v, d->n, i) + d->p->skew, at;
		enum mica_rotation_why why = MICA_RW_LAST_LEAF;

		if (!is_kind(d, i, kind))
			continue;
		if (!removed && may_leave(d, i, &why) &&
			leave(d, i, why == MICA_RW_RENEWED ? why : MICA_RW_LAST_LEAF, out))
			return true;
		if (!removed)
			continue;
		at = greater(
			after(mica_authority_last(&d->v[i], MICA_AE_REMOVED, d->now), d->p->trash),
			greater(last, d->f->look_again));
		if (d->now > at && replaced(d, i) && !d->f->unproven)
			return take(out, MICA_ROT_DESTROY, kind, (int)i, MICA_RW_TRASH);
		if (d->now <= at)
			d->until = lesser(d->until, at + 1);
	}
	return false;
}

/* ---- kinds ------------------------------------------------------------------------------- */

/* What a clock that was ahead has made, and was overruled, is of no use to anybody for a long time.
 */
static bool is_early(const struct deciding *d, size_t i)
{
	return d->now + d->p->skew < d->v[i].not_before;
}

static bool drop_early(
	struct deciding *d, enum mica_authority_kind kind, struct mica_rotation_step *out)
{
	for (size_t i = 0; i < d->n; i++)
		if (is_kind(d, i, kind) && is_coming(state(d, i)) && is_early(d, i))
			return take(out, MICA_ROT_REMOVE, kind, (int)i, MICA_RW_CLOCK);
	return false;
}

static bool next_root(struct deciding *d, struct mica_rotation_step *out)
{
	enum mica_rotation_why hurry = hurries(d) ? MICA_RW_TAINTED
		: d->root < 0                     ? MICA_RW_NONE_ACTIVE
						  : MICA_RW_NOTHING;

	return drop_early(d, MICA_AUTHORITY_ROOT, out) || root_emergency(d, out) ||
		end_canary(d, MICA_AUTHORITY_ROOT, hurry, out) ||
		make_ready(d, MICA_AUTHORITY_ROOT, out) ||
		use_successor(d, MICA_AUTHORITY_ROOT, d->root, out) ||
		begin(d, MICA_AUTHORITY_ROOT, d->root, out) || keep_standby(d, out) ||
		clear_away(d, MICA_AUTHORITY_ROOT, out);
}

/* One that was made already, below the root that is active. */
static int issuing_below(const struct deciding *d)
{
	for (size_t i = 0; d->root >= 0 && i < d->n; i++)
		if (is_kind(d, i, MICA_AUTHORITY_ISSUING) && !d->v[i].standby &&
			is_coming(state(d, i)) && has_key(&d->v[i]) && d->v[i].cert.len > 0 &&
			strcmp(d->v[i].parent, d->v[d->root].id) == 0)
			return (int)i;
	return -1;
}

/* Below a root whose key is not here: the next one that was signed ahead, when one is needed, or is
 * due; of files the one that stands there now. */
static bool next_signed(struct deciding *d, struct mica_rotation_step *out, int active, bool other)
{
	const enum mica_authority_kind kind = MICA_AUTHORITY_ISSUING;
	bool lacking = active < 0 || other, at_once = lacking || d->p->root_home == MICA_ROOT_FILES;
	int64_t due = active < 0 ? d->now : mica_rotation_due(d->p, &d->v[active]);
	int next = mica_rotation_ahead(d->p, d->v, d->n, (size_t)d->root, lacking, d->now);

	if (!at_once && (d->now < due || !d->p->kind[kind].automatic)) {
		d->until = lesser(d->until, due);
		return clear_away(d, kind, out);
	}
	if (next >= 0)
		return activate(out, d, next, active,
			active < 0      ? MICA_RW_NONE_ACTIVE
				: other ? MICA_RW_OTHER_ROOT
					: MICA_RW_DUE);
	if (lacking || d->now >= due)
		wait_for(d, kind, active, MICA_RW_SIGNATURE, MICA_TIME_NEVER);
	return clear_away(d, kind, out);
}

/* Without evidence: an issuing authority travels with each leaf that it signs. */
static bool next_issuing(struct deciding *d, struct mica_rotation_step *out)
{
	const enum mica_authority_kind kind = MICA_AUTHORITY_ISSUING;
	int active = mica_authority_active(d->v, d->n, d->v[0].set, kind, d->now);
	bool other = active >= 0 &&
		(is_early(d, (size_t)active) ||
			(d->root >= 0 && strcmp(d->v[active].parent, d->v[d->root].id) != 0));
	enum mica_rotation_why why = active < 0 ? MICA_RW_NONE_ACTIVE
		: other                         ? MICA_RW_OTHER_ROOT
						: MICA_RW_DUE;
	int next = issuing_below(d), stale;

	if (active < 0 && !d->p->kind[kind].automatic)
		return clear_away(d, kind, out);
	if (d->root >= 0 && !has_key(&d->v[d->root]))
		return next_signed(d, out, active, other);
	if (next >= 0)
		return activate(out, d, next, active, why);
	if (d->root < 0) {
		if (active < 0)
			wait_for(d, kind, -1, MICA_RW_NO_ROOT, MICA_TIME_NEVER);
		return clear_away(d, kind, out);
	}
	/* made for a root that is not the active one any more */
	stale = mica_rotation_successor(d->v, d->n, kind, d->now);
	if (stale >= 0)
		return take(out, MICA_ROT_REMOVE, kind, stale, MICA_RW_OTHER_ROOT);
	if (active < 0 || other) {
		take(out, MICA_ROT_CREATE, kind, -1, why);
		out->emergency = active < 0;
		out->parent = d->root;
		return true;
	}
	if (begin(d, kind, active, out)) {
		out->parent = d->root;
		return true;
	}
	return clear_away(d, kind, out);
}

static int any_coming(const struct deciding *d, enum mica_authority_kind kind)
{
	for (size_t i = 0; i < d->n; i++)
		if (is_kind(d, i, kind) && is_coming(state(d, i)) && has_key(&d->v[i]) &&
			!mica_canary_alone(&d->v[i], d->now))
			return (int)i;
	return -1;
}

static bool next_jwt(struct deciding *d, struct mica_rotation_step *out)
{
	const enum mica_authority_kind kind = MICA_AUTHORITY_JWT;
	int active = mica_authority_active(d->v, d->n, d->v[0].set, kind, d->now), next;

	if (active < 0 && !d->p->kind[kind].automatic)
		return clear_away(d, kind, out);
	if (active < 0) {
		next = any_coming(d, kind);
		if (next >= 0)
			return activate(out, d, next, -1, MICA_RW_NONE_ACTIVE);
		if (end_canary(d, kind, MICA_RW_NONE_ACTIVE, out))
			return true;
		take(out, MICA_ROT_CREATE, kind, -1, MICA_RW_NONE_ACTIVE);
		out->emergency = true;
		return true;
	}
	return drop_early(d, kind, out) || end_canary(d, kind, MICA_RW_NOTHING, out) ||
		make_ready(d, kind, out) || use_successor(d, kind, active, out) ||
		begin(d, kind, active, out) || clear_away(d, kind, out);
}

/* Of the kinds that nothing signs for, whether a taint is why. */
static bool because_of_taint(const struct deciding *d, const struct mica_rotation_step *s)
{
	if (s->why == MICA_RW_TAINTED)
		return true;
	for (size_t i = 0; s->emergency && i < d->n; i++)
		if (is_kind(d, i, s->kind) && is_tainted(state(d, i)) &&
			d->now <= d->v[i].not_after)
			return true;
	return false;
}

static struct mica_rotation_step decide(
	struct deciding *d, const enum mica_authority_kind *kinds, unsigned n_kinds)
{
	static bool (*const next[])(struct deciding *, struct mica_rotation_step *) = {
		[MICA_AUTHORITY_ROOT] = next_root,
		[MICA_AUTHORITY_ISSUING] = next_issuing,
		[MICA_AUTHORITY_JWT] = next_jwt};
	struct mica_rotation_step s;

	d->wait = (struct mica_rotation_step){.at = -1, .instead = -1, .parent = -1};
	d->until = MICA_TIME_NEVER;
	d->root = d->n == 0
		? -1
		: mica_authority_active(d->v, d->n, d->v[0].set, MICA_AUTHORITY_ROOT, d->now);
	for (unsigned i = 0; d->n > 0 && i < n_kinds; i++) {
		if (!next[kinds[i]](d, &s))
			continue;
		if (!d->f->frozen || because_of_taint(d, &s))
			return s;
		d->wait = (struct mica_rotation_step){.kind = s.kind,
			.at = s.at,
			.instead = -1,
			.parent = -1,
			.why = MICA_RW_CLOCK};
	}
	if (d->wait.kind == 0 && n_kinds == 1)
		d->wait.kind = kinds[0];
	d->wait.until = d->until;
	return d->wait;
}

struct mica_rotation_step mica_rotation_next(const struct mica_rotation_policy *p,
	const struct mica_rotation_facts *f, const struct mica_authority *list, size_t n,
	int64_t now)
{
	static const enum mica_authority_kind all[] = {
		MICA_AUTHORITY_ROOT, MICA_AUTHORITY_ISSUING, MICA_AUTHORITY_JWT};
	struct deciding d = {.p = p, .f = f, .v = list, .n = n, .now = now};

	return decide(&d, all, MICA_ARRAY_LEN(all));
}

struct mica_rotation_step mica_rotation_next_of(enum mica_authority_kind kind,
	const struct mica_rotation_policy *p, const struct mica_rotation_facts *f,
	const struct mica_authority *list, size_t n, int64_t now)
{
	struct deciding d = {.p = p, .f = f, .v = list, .n = n, .now = now};

	return decide(&d, &kind, 1);
}

int64_t mica_rotation_deadline(const struct mica_rotation_policy *p,
	const struct mica_rotation_facts *f, const struct mica_authority *list, size_t n, size_t at,
	int64_t now)
{
	const struct deciding d = {.p = p, .f = f, .v = list, .n = n, .now = now};
	enum mica_rotation_why why;

	return doom(&d, at) == MICA_TIME_NEVER ? MICA_TIME_NEVER
					       : greater(removal(&d, at, &why), now);
}

/* ---- the clock ------------------------------------------------------------------------------ */

static const char *const clock_words[] = {"agrees", "behind", "ahead"};

const char *mica_clock_word_name(enum mica_clock_word w)
{
	return (unsigned)w < MICA_ARRAY_LEN(clock_words) ? clock_words[w] : "?";
}

enum mica_clock_word mica_clock_judge(struct mica_clock_memory *m, int64_t now_ms, int64_t mono_ms)
{
	int64_t gap = m->seen_ms - now_ms, since = mono_ms - m->anchor_mono_ms;

	/* A clock that went back was ahead before: what it was measured by was wrong. */
	if (m->anchored && now_ms < m->anchor_ms + since) {
		m->anchor_ms = now_ms;
		m->anchor_mono_ms = mono_ms;
		since = 0;
	}
	if (gap > MICA_CLOCK_BEHIND_MS)
		return MICA_CLOCK_BEHIND;
	if (m->anchored && now_ms > m->anchor_ms + since + MICA_CLOCK_AHEAD_MS)
		return MICA_CLOCK_AHEAD;
	return MICA_CLOCK_AGREES;
}

bool mica_clock_stepped(struct mica_clock_memory *m, int64_t now_ms, int64_t mono_ms, int64_t skew)
{
	if (!m->anchored || now_ms <= m->anchor_ms + (mono_ms - m->anchor_mono_ms) + skew * 1000)
		return false;
	mica_clock_anchor(m, now_ms, mono_ms);
	return true;
}

void mica_clock_anchor(struct mica_clock_memory *m, int64_t now_ms, int64_t mono_ms)
{
	m->anchored = true;
	m->anchor_ms = now_ms;
	m->anchor_mono_ms = mono_ms;
}

void mica_clock_start(struct mica_clock_memory *m, int64_t now_ms)
{
	m->unproven = now_ms > m->proven_ms + MICA_CLOCK_AHEAD_MS;
}

bool mica_clock_prove(struct mica_clock_memory *m, int64_t now_ms, int64_t hint_ms)
{
	if (!m->unproven || now_ms > hint_ms + MICA_CLOCK_AHEAD_MS)
		return false;
	m->unproven = false;
	return true;
}

void mica_clock_keep(struct mica_clock_memory *m, int64_t now_ms)
{
	if (!m->unproven && m->proven_ms < now_ms)
		m->proven_ms = now_ms;
}

bool mica_rotation_redate(struct mica_authority *a, int64_t now)
{
	bool any = false;

	for (unsigned i = 0; i < a->n_times; i++) {
		if (a->times[i].at <= now)
			continue;
		a->times[i].at = now;
		any = true;
	}
	return any;
}

/* ---- times --------------------------------------------------------------------------------- */

mica_rc mica_rotation_born(const struct mica_rotation_policy *p,
	const struct mica_rotation_step *step, int64_t now, int64_t root_end,
	struct mica_authority *a, struct mica_err *e)
{
	mica_rc rc = mica_authority_add_time(a, MICA_AE_CREATED, now, e);

	a->kind = step->kind;
	a->standby = step->standby;
	a->not_before = now;
	a->not_after = lesser(now + p->kind[step->kind].life, root_end);
	if (rc == MICA_OK)
		rc = mica_authority_add_time(
			a, step->canary ? MICA_AE_CANARY_IN : MICA_AE_PUBLISHED, now, e);
	/* It is known by whoever gets a leaf of it. */
	if (rc == MICA_OK && step->kind == MICA_AUTHORITY_ISSUING)
		rc = mica_authority_add_time(a, MICA_AE_READY, now, e);
	return rc;
}

mica_rc mica_rotation_mark(const struct mica_rotation_step *step, struct mica_authority *at,
	struct mica_authority *instead, int64_t now, struct mica_err *e)
{
	static const enum mica_authority_event events[MICA_ROT_ACTION_COUNT] = {
		[MICA_ROT_READY] = MICA_AE_READY,
		[MICA_ROT_ACTIVATE] = MICA_AE_ACTIVE,
		[MICA_ROT_REMOVE] = MICA_AE_REMOVED,
		[MICA_ROT_PUBLISH] = MICA_AE_PUBLISHED,
		[MICA_ROT_RESTORE] = MICA_AE_CANARY_IN};
	bool in_canary = step->canary && step->action == MICA_ROT_REMOVE;
	mica_rc rc = mica_authority_add_time(
		at, in_canary ? MICA_AE_CANARY_OUT : events[step->action], now, e);

	if (rc != MICA_OK || step->action != MICA_ROT_ACTIVATE)
		return rc;
	at->standby = false;
	/* in an emergency one that was about to leave; whoever signs is known in every channel */
	if (mica_canary_gone(at, now))
		rc = mica_authority_add_time(at, MICA_AE_CANARY_IN, now, e);
	if (rc != MICA_OK)
		return rc;
	return instead ? mica_authority_add_time(instead, MICA_AE_RETIRED, now, e) : MICA_OK;
}
