/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rotation over ten years of virtual time: the decision of rotation.h with a world around it that
 * issues leaves, forgets acknowledgements, cuts off holders, stops and starts the CA between any
 *two steps, moves its clock, steals its keys, and has an administrator who begins rotations, goes
 *back, confirms and recovers. After every step all promises are looked at. What a promise rests on
 *is taken away in the controls below, and then it must be seen to break. (mutants.py takes it away
 *in the decision itself.)
 *
 *	MICA_SCENARIO_SEEDS=N		worlds per test (4)
 *	MICA_SCENARIO_ACTIVATIONS=N	how many there must be, at least (1000)
 *	MICA_SCENARIO_HONEST=1		no controls
 *	MICA_SEED=N			other worlds
 */
#include "mica/rotation.h"

#include "mica/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define MINUTE 60
#define HOUR   3600
#define DAY    86400
#define YEAR   (365 * DAY)
#define START  INT64_C(1800000000)
#define SPAN   (10 * YEAR)

#define ROOM    64
#define LEAVES  4096
#define HOLDERS 8
#define CHANGES 4096 /* of the bundle, remembered in a ring */
#define STOPS   256 /* of the CA, the same */
/* Until the answer must be "none": each of n that are there can leave and be destroyed, which a
 * clock that nobody has proved puts off for all of them; and there are new ones. */
#define STEPS_MAX(n) (12 + 2 * (n))

/* ---- chance ---------------------------------------------------------------------------------- */

struct chance {
	uint64_t s;
};

static uint64_t draw(struct chance *c)
{
	uint64_t z = c->s += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static int64_t between(struct chance *c, int64_t low, int64_t high)
{
	return low + (int64_t)(draw(c) % (uint64_t)(high - low + 1));
}

static bool one_in(struct chance *c, unsigned n)
{
	return draw(c) % n == 0;
}

/* ---- the world ---------------------------------------------------------------------------------
 */

/* What is taken away from the machine, one at a time. */
enum lie {
	HONEST,
	NO_PROPAGATION, /* a policy that breaks its inequality: nobody is waited for */
	NO_LAST_LEAF, /* ends of leaves are not known, and nothing is held */
	NO_ACKS, /* every holder is said to have everything */
	NO_CARRIED, /* nobody is said to have the bundle of his certificate */
	NO_CONFIRMATION, /* every outlet is said to be confirmed */
	TWO_ACTIVE, /* who is followed does not retire */
	NO_CLOCK_RULE, /* a clock that jumps is believed */
	NO_READ_SET, /* leaves are signed by whom an old view believes to be active */
	NO_PROOF, /* the clock of a start is believed, whatever it says */
	CANARY_IS_LIVE, /* what the canary channel has is believed to be everywhere */
	LIES
};

struct leaf {
	char issuer[MICA_KEY_ID_SIZE], root[MICA_KEY_ID_SIZE];
	int64_t end; /* by true time: who checks has a good clock */
	bool jwt;
	int64_t born; /* true time */
	bool carried; /* its holder has the bundle of that time */
	unsigned ch; /* of this channel */
	bool excused; /* or there was nothing else to sign with: its anchor had not spread yet */
};

/* One who says what it has. It looks for a new bundle at times of its own, and tells; what it tells
 * may be lost. */
struct holder {
	int64_t has; /* true time of its bundle */
	int64_t told; /* the same, as far as the CA knows */
	int64_t next;
	unsigned ch; /* its channel: an index of rings */
};

enum { LIVE, CANARY, CHANNELS };

struct published {
	int64_t from; /* true time */
	unsigned n;
	char ids[ROOM][MICA_KEY_ID_SIZE];
};

struct world {
	struct chance c;
	enum lie lie;
	struct mica_rotation_policy p;
	struct mica_authority v[ROOM];
	struct mica_rotation_fact facts[ROOM];
	size_t n;
	/* what the decision is told of them */
	struct mica_authority told[ROOM];
	struct mica_rotation_fact told_facts[ROOM];
	uint64_t ids; /* made so far */
	int64_t now; /* true time, seconds */
	int64_t off; /* of the CA's clock */
	int64_t off_until, frozen_since, calm_since;
	struct mica_clock_memory clock;
	int64_t look_again;
	int64_t down_until; /* the CA does nothing until then */
	struct stop {
		int64_t from, to;
	} stop[STOPS]; /* a ring: nobody can fetch a bundle meanwhile */
	unsigned n_stop;
	bool compromises; /* keys are stolen in this world */
	bool unsure; /* an outlet waits for a confirmation */
	int64_t carried; /* greatest end of a leaf whose holder has the bundle of its time */
	char unproved[ROOM][MICA_KEY_ID_SIZE]; /* roots that nobody could wait for */
	unsigned n_unproved;
	struct leaf leaf[LEAVES];
	unsigned n_leaf;
	struct holder holder[HOLDERS];
	struct published ring[CHANNELS][CHANGES];
	uint64_t sequence[CHANNELS]; /* of the last; its place is sequence % CHANGES */
	int64_t hand; /* when somebody looks at the canary channel next */
	/* the view of who signs without a read set */
	int stale_issuing, stale_jwt;
	int64_t stale_until;
	char stale_issuing_id[MICA_KEY_ID_SIZE], stale_jwt_id[MICA_KEY_ID_SIZE];
	/* counted */
	uint64_t steps, activations, leaves, removals, taints, frozen_looks, emergencies;
	uint64_t canaries, withdrawals, unproven_looks;
	uint64_t rollbacks, starts, recoveries, cut_off;
	/* the first broken promise */
	char broken[256];
};

static void breaks(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void breaks(struct world *w, const char *fmt, ...)
{
	va_list ap;

	if (w->broken[0])
		return;
	va_start(ap, fmt);
	vsnprintf(w->broken, sizeof(w->broken), fmt, ap);
	va_end(ap);
}

/* What the CA believes. */
static int64_t clock_of(const struct world *w)
{
	return w->now + w->off;
}

static int64_t decision_time(const struct world *w)
{
	int64_t seen = w->clock.seen_ms / 1000;

	return clock_of(w) > seen ? clock_of(w) : seen;
}

static bool is_frozen(struct world *w)
{
	return w->lie != NO_CLOCK_RULE &&
		mica_clock_judge(&w->clock, clock_of(w) * 1000, w->now * 1000) != MICA_CLOCK_AGREES;
}

static void used_clock(struct world *w)
{
	if (w->clock.seen_ms < clock_of(w) * 1000)
		w->clock.seen_ms = clock_of(w) * 1000;
}

/* As the core has it: until whoever missed something has had the time to fetch it. */
static int64_t second_look(const struct world *w)
{
	return mica_rotation_propagation(&w->p, MICA_AUTHORITY_JWT);
}

/* Most differ in their first octet, and this is asked a hundred million times. */
static bool is_same(const char *a, const char *b)
{
	return a[0] == b[0] && strcmp(a, b) == 0;
}

static int find(const struct world *w, const char *id)
{
	for (size_t i = 0; i < w->n; i++)
		if (is_same(w->v[i].id, id))
			return (int)i;
	return -1;
}

static int active(const struct world *w, enum mica_authority_kind kind)
{
	return mica_authority_active(w->v, w->n, MICA_SET_DEFAULT, kind, decision_time(w));
}

/* ---- bundles ------------------------------------------------------------------------------------
 */

static bool in_bundle(const struct published *b, const char *id)
{
	for (unsigned i = 0; i < b->n; i++)
		if (is_same(b->ids[i], id))
			return true;
	return false;
}

static void fill_bundle(const struct world *w, unsigned ch, struct published *b)
{
	b->n = 0;
	for (size_t i = 0; i < w->n; i++)
		if (w->v[i].kind != MICA_AUTHORITY_ISSUING &&
			(ch == CANARY ? mica_authority_in_canary(&w->v[i], decision_time(w))
				      : mica_authority_is_published(&w->v[i], decision_time(w))))
			memcpy(b->ids[b->n++], w->v[i].id, MICA_KEY_ID_SIZE);
}

static void publish_in(struct world *w, unsigned ch)
{
	struct published next = {.from = w->now}, *last = &w->ring[ch][w->sequence[ch] % CHANGES];
	bool same;

	fill_bundle(w, ch, &next);
	same = next.n == last->n;
	for (unsigned i = 0; same && i < next.n; i++)
		same = in_bundle(last, next.ids[i]);
	if (!same)
		w->ring[ch][++w->sequence[ch] % CHANGES] = next;
}

static void publish(struct world *w)
{
	publish_in(w, LIVE);
	publish_in(w, CANARY);
}

/* The bundle that was current at a time. */
static const struct published *bundle_at(const struct world *w, unsigned ch, int64_t at)
{
	uint64_t s = w->sequence[ch];

	while (s > 0 && w->ring[ch][s % CHANGES].from > at && w->sequence[ch] - s < CHANGES - 1)
		s--;
	return &w->ring[ch][s % CHANGES];
}

/* How stale a relying party may be that says nothing. */
static int64_t staleness(const struct world *w, bool jwt)
{
	int64_t hints = (jwt ? 5 : 3) * w->p.refresh_hint;

	return hints > w->p.slowest_outlet ? hints : w->p.slowest_outlet;
}

/* Of when the oldest bundle is that somebody may hold: he could not fetch while the CA was down. */
static int64_t oldest_bundle(const struct world *w, bool jwt)
{
	int64_t left = staleness(w, jwt), up_to = w->now;

	for (unsigned k = w->n_stop; k > 0 && w->n_stop - k < STOPS; k--) {
		const struct stop *s = &w->stop[(k - 1) % STOPS];
		int64_t since = s->to < up_to ? s->to : up_to; /* it may still be down */

		if (up_to - since >= left)
			break;
		left -= up_to - since;
		up_to = s->from;
	}
	return up_to - left;
}

/* Whether whoever may meet the leaf trusts it: every bundle that somebody may hold has its root. */
static bool channel_trusts(const struct world *w, unsigned ch, const char *id, bool jwt)
{
	int64_t oldest = oldest_bundle(w, jwt);
	uint64_t s = w->sequence[ch];

	for (;; s--) {
		const struct published *b = &w->ring[ch][s % CHANGES];

		if (!in_bundle(b, id))
			return false;
		if (b->from <= oldest || s == 0 || w->sequence[ch] - s == CHANGES - 1)
			break;
	}
	return true;
}

static bool everybody_trusts(const struct world *w, const char *id, bool jwt)
{
	return channel_trusts(w, LIVE, id, jwt) && channel_trusts(w, CANARY, id, jwt);
}

/* ---- what the machine does ----------------------------------------------------------------------
 */

static void make_id(struct world *w, char id[MICA_KEY_ID_SIZE])
{
	snprintf(id, MICA_KEY_ID_SIZE, "%016llx%024llx", (unsigned long long)draw(&w->c),
		(unsigned long long)++w->ids);
}

static bool is_tainted(const struct mica_authority *a)
{
	return mica_authority_first(a, MICA_AE_TAINTED, MICA_TIME_NEVER) != MICA_TIME_NEVER;
}

static void create(struct world *w, const struct mica_rotation_step *s, int64_t now)
{
	struct mica_authority *a = &w->v[w->n];
	int64_t end = s->parent >= 0 ? w->v[s->parent].not_after : MICA_TIME_NEVER;

	if (w->n == ROOM) {
		breaks(w, "more than %d authorities", ROOM);
		return;
	}
	mica_authority_init(a);
	snprintf(a->set, sizeof(a->set), "%s", MICA_SET_DEFAULT);
	make_id(w, a->id);
	if (mica_rotation_born(&w->p, s, now, end, a, NULL) != MICA_OK)
		breaks(w, "an authority could not be born");
	if (s->parent >= 0) {
		memcpy(a->parent, w->v[s->parent].id, sizeof(a->parent));
		if (is_tainted(&w->v[s->parent]))
			breaks(w, "a tainted root signs an issuing authority");
	}
	mica_buf_put_str(&a->envelope, "k");
	mica_buf_put_str(&a->cert, "c");
	w->facts[w->n++] = (struct mica_rotation_fact){
		.carried = w->carried, .confirmed = !w->unsure || s->kind != MICA_AUTHORITY_ROOT};
}

static void destroy(struct world *w, int at)
{
	for (unsigned i = 0; i < w->n_leaf; i++)
		if (w->leaf[i].end >= w->now && is_same(w->leaf[i].issuer, w->v[at].id))
			breaks(w, "the key of %s is destroyed while something of it lives",
				w->v[at].id);
	mica_authority_clear(&w->v[at]);
	memmove(&w->v[at], &w->v[at + 1], (w->n - (size_t)at - 1) * sizeof(w->v[0]));
	memmove(&w->facts[at], &w->facts[at + 1], (w->n - (size_t)at - 1) * sizeof(w->facts[0]));
	w->n--;
}

static bool is_unproved(const struct world *w, const char *id)
{
	for (unsigned i = 0; i < w->n_unproved && i < ROOM; i++)
		if (is_same(w->unproved[i], id))
			return true;
	return false;
}

static bool is_unsure(const struct world *w, size_t i)
{
	return mica_canary_unsure(
		&w->p, &w->v[i], w->facts[i].carried, w->look_again, decision_time(w));
}

/* In an emergency nobody is waited for: but when one is known to everybody, it is that one. */
static void look_at_choice(struct world *w, size_t at)
{
	int64_t now = decision_time(w);

	if (w->v[at].kind != MICA_AUTHORITY_ROOT || everybody_trusts(w, w->v[at].id, false))
		return;
	for (size_t i = 0; i < w->n; i++) {
		enum mica_authority_state s = mica_authority_state_at(&w->v[i], now);

		if (w->v[i].kind == MICA_AUTHORITY_ROOT &&
			(s == MICA_AS_READY || s == MICA_AS_RETIRED || s == MICA_AS_PUBLISHED) &&
			!mica_rotation_doomed(w->v, w->n, i, now) &&
			everybody_trusts(w, w->v[i].id, false))
			breaks(w, "root %s serves, and %s is known to everybody", w->v[at].id,
				w->v[i].id);
	}
}

/* Back from one that not everybody has, to one that whoever has that one has: nobody is worse off.
 */
static bool is_relief(const struct world *w, const struct mica_rotation_step *s)
{
	const struct mica_authority *to = &w->v[s->at];
	const struct mica_authority *from = s->instead >= 0 ? &w->v[s->instead] : NULL;

	return s->why == MICA_RW_BY_HAND && from &&
		mica_authority_first(to, MICA_AE_PUBLISHED, MICA_TIME_NEVER) <
		mica_authority_first(from, MICA_AE_PUBLISHED, MICA_TIME_NEVER) &&
		!everybody_trusts(w, from->id, from->kind == MICA_AUTHORITY_JWT) &&
		!is_unsure(w, (size_t)s->at);
}

/* Design 8.4: active only after propagation and (acks, or their time is over). */
static void look_at_activation(struct world *w, const struct mica_rotation_step *s)
{
	const struct mica_authority *a = &w->v[s->at];

	w->activations++;
	if (s->emergency) {
		w->emergencies++;
		look_at_choice(w, (size_t)s->at);
		if (a->kind == MICA_AUTHORITY_ROOT &&
			(is_unsure(w, (size_t)s->at) ||
				mica_authority_first(a, MICA_AE_READY, MICA_TIME_NEVER) ==
					MICA_TIME_NEVER))
			memcpy(w->unproved[w->n_unproved++ % ROOM], a->id, MICA_KEY_ID_SIZE);
		return;
	}
	if (a->kind == MICA_AUTHORITY_ISSUING || is_relief(w, s))
		return;
	for (unsigned ch = LIVE; ch < CHANNELS; ch++)
		if (!channel_trusts(w, ch, a->id, a->kind == MICA_AUTHORITY_JWT))
			breaks(w, "%s %s is active, and not known to everybody of the %s channel",
				mica_authority_kind_name(a->kind), a->id,
				ch == LIVE ? "live" : "canary");
	if (a->kind == MICA_AUTHORITY_ROOT && !w->facts[s->at].confirmed && !is_unproved(w, a->id))
		breaks(w, "root %s is active, and not confirmed", a->id);
}

/* Design 8.4: in a compromise nobody is waited for who says nothing. What is made ready then was
 * given its propagation, and no more. */
static void look_at_ready(struct world *w, const struct mica_rotation_step *s)
{
	bool hurry = false;

	for (size_t i = 0; i < w->n; i++)
		hurry = hurry ||
			(w->v[i].kind != MICA_AUTHORITY_JWT && is_tainted(&w->v[i]) &&
				decision_time(w) <= w->v[i].not_after);
	if (hurry && s->kind == MICA_AUTHORITY_ROOT)
		memcpy(w->unproved[w->n_unproved++ % ROOM], w->v[s->at].id, MICA_KEY_ID_SIZE);
}

/* For whoever looks for the reason of a broken promise: MICA_SCENARIO_TRACE=1. */
static void trace(struct world *w, const struct mica_rotation_step *s)
{
	if (mica_env("MICA_SCENARIO_TRACE"))
		printf("%12.6f %+8lld %c %-8s %-7s %.10s (%.10s) %s%s\n",
			(double)(w->now - START) / DAY, (long long)(decision_time(w) - w->now),
			is_frozen(w) ? '*' : ' ', mica_rotation_action_name(s->action),
			mica_authority_kind_name(s->kind), s->at < 0 ? "-" : w->v[s->at].id,
			s->instead < 0 ? "-" : w->v[s->instead].id, mica_rotation_why_name(s->why),
			s->canary              ? " canary"
				: s->emergency ? " emergency"
					       : "");
}

static void apply(struct world *w, const struct mica_rotation_step *s, int64_t now)
{
	w->steps++;
	trace(w, s);
	if (s->action == MICA_ROT_CREATE) {
		create(w, s, now);
	} else if (s->action == MICA_ROT_DESTROY) {
		destroy(w, s->at);
	} else {
		int instead = w->lie == TWO_ACTIVE ? -1 : s->instead;

		if (s->action == MICA_ROT_ACTIVATE)
			look_at_activation(w, s);
		if (s->action == MICA_ROT_READY)
			look_at_ready(w, s);
		w->removals += s->action == MICA_ROT_REMOVE;
		w->canaries += s->action == MICA_ROT_PUBLISH;
		if (s->action == MICA_ROT_PUBLISH || s->action == MICA_ROT_RESTORE ||
			(s->action == MICA_ROT_ACTIVATE && mica_canary_gone(&w->v[s->at], now)))
			w->facts[s->at].carried = w->carried;
		if (mica_rotation_mark(s, &w->v[s->at], instead >= 0 ? &w->v[instead] : NULL, now,
			    NULL) != MICA_OK)
			breaks(w, "a time could not be noted");
	}
	publish(w);
	used_clock(w);
}

/* What holders have told. */
static void tell_facts(struct world *w)
{
	for (size_t i = 0; i < w->n; i++) {
		w->facts[i].acked = true;
		/* by numbers of bundles: whatever our clock said when they were published */
		for (unsigned h = 0; h < HOLDERS && w->lie != NO_ACKS; h++)
			if (!in_bundle(
				    bundle_at(w, w->holder[h].ch, w->holder[h].told), w->v[i].id))
				w->facts[i].acked = false;
	}
}

static void believe_canary(struct mica_authority *a)
{
	for (unsigned i = 0; i < a->n_times; i++)
		if (a->times[i].event == MICA_AE_CANARY_IN)
			a->times[i].event = MICA_AE_PUBLISHED;
}

static struct mica_rotation_step ask(struct world *w)
{
	struct mica_authority *v = w->told;
	struct mica_rotation_fact *blind = w->told_facts;
	struct mica_rotation_policy p = w->p;
	struct mica_rotation_facts f = {.of = w->facts,
		.frozen = is_frozen(w),
		.carried = w->lie == NO_CARRIED ? 0 : w->carried,
		.look_again = w->look_again,
		.unproven = w->clock.unproven && w->lie != NO_PROOF};

	tell_facts(w);
	w->frozen_looks += f.frozen;
	w->unproven_looks += f.unproven;
	memcpy(v, w->v, w->n * sizeof(v[0])); /* borrowed */
	for (size_t i = 0; w->lie == CANARY_IS_LIVE && i < w->n; i++)
		believe_canary(&v[i]);
	if (w->lie == NO_PROPAGATION)
		p.propagation = p.refresh_hint = p.ack_timeout = 0;
	memcpy(blind, w->facts, w->n * sizeof(blind[0]));
	f.of = blind;
	for (size_t i = 0; i < w->n; i++) {
		if (w->lie == NO_LAST_LEAF)
			blind[i].last_leaf = p.hold = 0;
		if (w->lie == NO_CARRIED)
			blind[i].carried = 0;
		blind[i].confirmed = blind[i].confirmed || w->lie == NO_CONFIRMATION;
	}
	return mica_rotation_next(&p, &f, v, w->n, decision_time(w));
}

/* ---- promises
 * ------------------------------------------------------------------------------------ */

static void look_at_states(struct world *w)
{
	int n_active[MICA_AUTHORITY_KIND_COUNT] = {0}, coming[MICA_AUTHORITY_KIND_COUNT] = {0};

	for (size_t i = 0; i < w->n; i++) {
		const struct mica_authority *a = &w->v[i];
		enum mica_authority_state s = mica_authority_state_at(a, decision_time(w));
		int parent = a->parent[0] ? find(w, a->parent) : -1;

		n_active[a->kind] += s == MICA_AS_ACTIVE;
		/* what a clock that was overruled has made is thrown away */
		coming[a->kind] += !a->standby && a->not_before <= decision_time(w) + w->p.skew &&
			(s == MICA_AS_PENDING || s == MICA_AS_PUBLISHED || s == MICA_AS_READY);
		if (parent >= 0 && a->not_after > w->v[parent].not_after)
			breaks(w, "%s outlives its root", a->id);
	}
	for (int k = 1; k < MICA_AUTHORITY_KIND_COUNT; k++) {
		const char *name = mica_authority_kind_name((enum mica_authority_kind)k);

		if (n_active[k] > 1)
			breaks(w, "%d active of kind %s", n_active[k], name);
		if (coming[k] > 1)
			breaks(w, "%d rotations of kind %s", coming[k], name);
	}
}

/* Whether everything that `id` vouches for was given up. */
static bool given_up(const struct world *w, const char *id)
{
	int at = find(w, id);

	if (at < 0)
		return false;
	return mica_authority_first(&w->v[at], MICA_AE_TAINTED, MICA_TIME_NEVER) !=
		MICA_TIME_NEVER ||
		(w->v[at].kind == MICA_AUTHORITY_ROOT &&
			mica_rotation_doomed(w->v, w->n, (size_t)at, decision_time(w)));
}

static void look_at_leaves(struct world *w)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < w->n_leaf; i++) {
		struct leaf *l = &w->leaf[i];
		const char *anchor = l->jwt ? l->issuer : l->root;

		if (l->end < w->now)
			continue;
		/* what is given up is to be replaced, and was told so */
		l->excused = l->excused || given_up(w, anchor) || given_up(w, l->issuer);
		if (!l->excused && !everybody_trusts(w, anchor, l->jwt))
			breaks(w, "a %s of %s lives, and somebody does not trust %s",
				l->jwt ? "token" : "leaf", l->issuer, anchor);
		w->leaf[kept++] = *l;
	}
	w->n_leaf = kept;
}

/* Holders that acknowledge are waited for, up to ack_timeout: their bundle has what they meet. */
static void look_at_holders(struct world *w)
{
	int root = active(w, MICA_AUTHORITY_ROOT);
	int64_t since;

	if (root < 0 || is_unproved(w, w->v[root].id) ||
		mica_authority_first(&w->v[root], MICA_AE_READY, MICA_TIME_NEVER) ==
			MICA_TIME_NEVER)
		return; /* an emergency: there was no other */
	for (unsigned i = 0; i < w->n_leaf; i++)
		if (w->leaf[i].carried && w->leaf[i].end > w->now &&
			!in_bundle(bundle_at(w, w->leaf[i].ch, w->leaf[i].born), w->v[root].id))
			breaks(w, "root %s is active, and who has it not has not renewed",
				w->v[root].id);
	since = mica_authority_first(&w->v[root], MICA_AE_PUBLISHED, MICA_TIME_NEVER);
	for (unsigned h = 0; h < HOLDERS; h++)
		/* by our clock, which may be off by that */
		if (w->now < since + w->p.ack_timeout - w->p.skew &&
			!in_bundle(bundle_at(w, w->holder[h].ch, w->holder[h].has), w->v[root].id))
			breaks(w, "root %s is active, and holder %u has it not", w->v[root].id, h);
}

static void look(struct world *w)
{
	look_at_states(w);
	look_at_leaves(w);
	look_at_holders(w);
}

/* Since when it is known that one must go; NEVER = it need not. */
static int64_t doom(const struct world *w, size_t i)
{
	int64_t since = mica_authority_first(&w->v[i], MICA_AE_TAINTED, MICA_TIME_NEVER), t;

	for (size_t k = 0; w->v[i].kind == MICA_AUTHORITY_ROOT && k < w->n; k++) {
		t = mica_authority_first(&w->v[k], MICA_AE_TAINTED, MICA_TIME_NEVER);
		if (is_same(w->v[k].parent, w->v[i].id) && decision_time(w) <= w->v[k].not_after &&
			t < since)
			since = t;
	}
	return since;
}

/* What is compromised leaves the bundle at the deadline, when another one could be made known
 * meanwhile. */
static void look_at_deadlines(struct world *w)
{
	int64_t time = w->p.deadline + 3 * mica_rotation_propagation(&w->p, MICA_AUTHORITY_ROOT) +
		5 * w->p.refresh_hint;

	for (size_t i = 0; i < w->n; i++) {
		int64_t since = doom(w, i);

		if (w->v[i].kind == MICA_AUTHORITY_ISSUING || since == MICA_TIME_NEVER ||
			!mica_authority_is_published(&w->v[i], decision_time(w)))
			continue;
		since = since > w->calm_since ? since : w->calm_since;
		if (w->now > since + time)
			breaks(w, "%s %s is compromised, and published",
				mica_authority_kind_name(w->v[i].kind), w->v[i].id);
	}
}

/* Design 8.4: there is a way forward from everywhere. */
static void look_at_rest(struct world *w)
{
	if (is_frozen(w) || w->off != 0) {
		w->calm_since = w->now;
		return; /* by a wrong clock all may have expired: it is all there when it is right
			   again */
	}
	look_at_deadlines(w);
	for (int k = 1; k < MICA_AUTHORITY_KIND_COUNT; k++)
		if (active(w, (enum mica_authority_kind)k) < 0 &&
			/* a tainted root holds out until the next one is known */
			(k != MICA_AUTHORITY_ROOT || active(w, MICA_AUTHORITY_ISSUING) < 0))
			breaks(w, "nothing of kind %s is active",
				mica_authority_kind_name((enum mica_authority_kind)k));
}

/* ---- what happens
 * -------------------------------------------------------------------------------- */

/* As `mica authority prepare root --recover` looks for it. */
static bool usable_root(const struct world *w)
{
	for (size_t i = 0; i < w->n; i++)
		switch (mica_authority_state_at(&w->v[i], decision_time(w))) {
		case MICA_AS_RETIRED:
			if (mica_rotation_doomed(w->v, w->n, i, decision_time(w)))
				break;
		/* fall through */
		case MICA_AS_ACTIVE:
		case MICA_AS_READY:
		case MICA_AS_PUBLISHED:
			if (w->v[i].kind == MICA_AUTHORITY_ROOT)
				return true;
			break;
		default: break;
		}
	return false;
}

static void recover(struct world *w);

/* To the end, or until the power goes between two steps. */
static int64_t rotate(struct world *w)
{
	struct mica_rotation_step s;
	size_t n = 0, most = STEPS_MAX(w->n);

	for (;;) {
		s = ask(w);
		if (s.action == MICA_ROT_NONE)
			break;
		if (++n > most) {
			breaks(w, "no end: %s %s", mica_rotation_action_name(s.action),
				mica_rotation_why_name(s.why));
			break;
		}
		apply(w, &s, decision_time(w));
		look(w);
		if (one_in(&w->c, 16)) {
			w->down_until = w->now +
				(one_in(&w->c, 8) ? between(&w->c, 0, 3 * DAY)
						  : between(&w->c, 0, HOUR));
			w->stop[w->n_stop++ % STOPS] = (struct stop){w->now, w->down_until};
			return w->now;
		}
	}
	if (s.why == MICA_RW_NO_ROOT && !is_frozen(w) && w->off == 0 && !usable_root(w)) {
		recover(w);
		return w->now;
	}
	look_at_rest(w);
	return s.until;
}

/* What serves in an emergency, since there was nothing else, before everybody has it. */
static bool is_stopgap(const struct world *w, size_t i)
{
	const struct mica_authority *a = &w->v[i];
	bool ready = mica_authority_first(a, MICA_AE_READY, decision_time(w)) != MICA_TIME_NEVER;

	return !everybody_trusts(w, a->id, a->kind == MICA_AUTHORITY_JWT) &&
		(!ready || (is_unproved(w, a->id) && is_unsure(w, i)));
}

static void issue(struct world *w, bool jwt)
{
	enum mica_authority_kind kind = jwt ? MICA_AUTHORITY_JWT : MICA_AUTHORITY_ISSUING;
	int64_t ttl = between(&w->c, MINUTE, jwt ? w->p.max_jwt_ttl : w->p.max_leaf_ttl);
	int at = active(w, kind);
	int64_t end;
	struct leaf *l;

	if (w->lie == NO_READ_SET) {
		char *id = jwt ? w->stale_jwt_id : w->stale_issuing_id;

		if (w->now > w->stale_until) {
			w->stale_until = w->now + between(&w->c, 0, 3 * w->p.max_leaf_ttl);
			for (int k = 0; k < 2; k++) {
				int who =
					active(w, k ? MICA_AUTHORITY_JWT : MICA_AUTHORITY_ISSUING);
				memcpy(k ? w->stale_jwt_id : w->stale_issuing_id,
					who < 0 ? "" : w->v[who].id,
					who < 0 ? 1 : MICA_KEY_ID_SIZE);
			}
		}
		at = find(w, id);
	}
	if (at < 0 || w->n_leaf == LEAVES)
		return;
	/* as the core: by the clock, clamped to the issuer; the end is kept with the append */
	end = clock_of(w) + ttl;
	if (end > w->v[at].not_after)
		end = w->v[at].not_after;
	if (end <= clock_of(w))
		return;
	if (w->lie != NO_READ_SET && is_tainted(&w->v[at]))
		breaks(w, "signed by a tainted one");
	l = &w->leaf[w->n_leaf++];
	*l = (struct leaf){.end = end,
		.jwt = jwt,
		.born = w->now,
		.carried = !jwt && one_in(&w->c, 4),
		.ch = (unsigned)between(&w->c, LIVE, CANARY)};
	if (l->carried && w->carried < end)
		w->carried = end;
	memcpy(l->issuer, w->v[at].id, sizeof(l->issuer));
	memcpy(l->root, w->v[at].parent, sizeof(l->root));
	at = jwt ? at : find(w, l->root);
	l->excused = at < 0 || is_stopgap(w, (size_t)at);
	at = find(w, l->issuer);
	if (w->facts[at].last_leaf < end)
		w->facts[at].last_leaf = end;
	if (w->lie != NO_READ_SET &&
		mica_authority_state_at(&w->v[at], decision_time(w)) != MICA_AS_ACTIVE)
		breaks(w, "signed by one that is not active");
	w->leaves++;
	used_clock(w);
}

static void holders_look(struct world *w)
{
	if (w->down_until > w->now)
		return; /* nobody answers */
	for (unsigned h = 0; h < HOLDERS; h++) {
		struct holder *k = &w->holder[h];

		if (w->now < k->next)
			continue;
		k->has = w->now;
		if (!one_in(&w->c, 4)) /* else it was lost: it counts as missing */
			k->told = k->has;
		k->next = w->now + between(&w->c, 1, w->p.ack_timeout / 3 + 1);
		if (one_in(&w->c, 40)) { /* it is cut off for longer than anybody waits */
			k->next = w->now + between(&w->c, w->p.ack_timeout, 3 * w->p.ack_timeout);
			w->cut_off++;
		}
	}
}

static void move_clock(struct world *w)
{
	if (w->now < w->off_until)
		return;
	if (w->off != 0 || !one_in(&w->c, 50)) {
		w->off = 0;
		return;
	}
	/* within what relying parties allow, or beyond what the rule believes */
	if (one_in(&w->c, 2))
		w->off = between(&w->c, -w->p.skew / 2, w->p.skew / 2);
	else
		w->off = one_in(&w->c, 2) ? between(&w->c, 11 * MINUTE, 40 * DAY)
					  : -between(&w->c, 3 * MINUTE, 40 * DAY);
	w->off_until = w->now + between(&w->c, 1, one_in(&w->c, 6) ? 3 * DAY : 6 * HOUR);
	if (mica_env("MICA_SCENARIO_TRACE"))
		printf("%12.6f clock %+lld until %.6f\n", (double)(w->now - START) / DAY,
			(long long)w->off, (double)(w->off_until - START) / DAY);
}

/* A clock that was ahead, and is right again, leaves the CA waiting for it: somebody looks within a
 * day, and accepts it. */
static void accept_clock(struct world *w)
{
	if (!is_frozen(w) || w->off != 0)
		w->frozen_since = w->now;
	else if (w->now - w->frozen_since > DAY) {
		w->clock.seen_ms = w->now * 1000;
		w->calm_since = w->now;
		mica_clock_anchor(&w->clock, w->now * 1000, w->now * 1000);
		w->clock.unproven = false;
		w->look_again = w->now + second_look(w);
		for (size_t i = 0; i < w->n; i++)
			(void)mica_rotation_redate(&w->v[i], w->now);
	}
}

/* Any key, whatever it is used for; not more of them than a person could follow. */
static void steal_a_key(struct world *w)
{
	int64_t now = decision_time(w);
	size_t at;

	if (!w->compromises || !one_in(&w->c, 400) || w->n == 0)
		return;
	at = (size_t)between(&w->c, 0, (int64_t)w->n - 1);
	if (is_tainted(&w->v[at]) || mica_authority_state_at(&w->v[at], now) == MICA_AS_REMOVED)
		return;
	if (mica_authority_add_time(&w->v[at], MICA_AE_TAINTED, now, NULL) != MICA_OK)
		breaks(w, "no room for a taint");
	if (mica_env("MICA_SCENARIO_TRACE"))
		printf("%12.6f %+8lld taint    %.10s\n", (double)(w->now - START) / DAY,
			(long long)(now - w->now), w->v[at].id);
	used_clock(w);
	w->taints++;
}

/* ---- an administrator ---------------------------------------------------------------------------
 */

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

/* With the conditions of core_hand.c. */
static void roll_back(struct world *w, enum mica_authority_kind kind)
{
	int64_t now = decision_time(w);
	int64_t ttl = kind == MICA_AUTHORITY_JWT ? w->p.max_jwt_ttl : w->p.max_leaf_ttl;
	const struct mica_rotation_facts f = {.of = w->facts, .look_again = w->look_again};
	struct mica_rotation_step s =
		by_hand(MICA_ROT_ACTIVATE, kind, mica_rotation_way_back(w->v, w->n, kind, now));

	tell_facts(w);
	s.instead = active(w, kind);
	if (s.at < 0 || w->v[s.at].not_after < now + ttl + w->p.hold ||
		mica_rotation_unsure(&w->p, &f, w->v, (size_t)s.at, s.instead, now) ||
		w->v[s.at].n_times > MICA_AUTHORITY_TIMES_MAX / 2)
		return;
	apply(w, &s, now);
	w->rollbacks++;
}

static void begin_one(struct world *w, enum mica_authority_kind kind)
{
	struct mica_rotation_step s = by_hand(MICA_ROT_CREATE, kind, -1);

	if (active(w, kind) < 0 || mica_rotation_successor(w->v, w->n, kind, decision_time(w)) >= 0)
		return;
	s.canary = w->p.canary && kind != MICA_AUTHORITY_ISSUING;
	if (kind == MICA_AUTHORITY_ISSUING) {
		s.parent = active(w, MICA_AUTHORITY_ROOT);
		if (s.parent < 0)
			return;
	}
	apply(w, &s, decision_time(w));
	w->starts++;
}

/* Design 8.4: no usable root: a new one, and relying parties have to be told. */
static void recover(struct world *w)
{
	struct mica_rotation_step s = by_hand(MICA_ROT_CREATE, MICA_AUTHORITY_ROOT, -1);

	apply(w, &s, decision_time(w));
	s = by_hand(MICA_ROT_ACTIVATE, MICA_AUTHORITY_ROOT, (int)w->n - 1);
	s.emergency = true;
	apply(w, &s, decision_time(w));
	w->recoveries++;
}

static void administer(struct world *w)
{
	enum mica_authority_kind kind =
		(enum mica_authority_kind)between(&w->c, 1, MICA_AUTHORITY_KIND_COUNT - 1);

	if (is_frozen(w) || w->off != 0)
		return; /* who has a look at the clock waits until it is right */
	if (w->unsure && one_in(&w->c, 20))
		for (size_t i = 0; i < w->n; i++)
			w->facts[i].confirmed = true;
	if (one_in(&w->c, 400))
		begin_one(w, kind);
	if (one_in(&w->c, 200))
		roll_back(w, kind);
}

static void start_ca(struct world *w)
{
	if (w->n_stop > 0) /* a little later than it was to be */
		w->stop[(w->n_stop - 1) % STOPS].to = w->now;
	w->down_until = 0;
	w->calm_since = w->now;
	if (mica_env("MICA_SCENARIO_TRACE"))
		printf("%12.6f %+8lld start\n", (double)(w->now - START) / DAY, (long long)w->off);
	w->look_again = decision_time(w) + second_look(w);
	mica_clock_start(&w->clock, clock_of(w) * 1000);
	mica_clock_anchor(&w->clock, clock_of(w) * 1000, w->now * 1000);
}

/* A token comes by, which was made by a good clock within the last hour. */
static void see_a_token(struct world *w)
{
	int64_t made = w->now - between(&w->c, 0, HOUR);

	if (w->down_until > 0 || is_frozen(w))
		return;
	(void)mica_clock_prove(&w->clock, clock_of(w) * 1000, made * 1000);
	mica_clock_keep(&w->clock, clock_of(w) * 1000);
}

static bool waits_in_canary(const struct world *w, size_t i)
{
	return mica_authority_state_at(&w->v[i], decision_time(w)) != MICA_AS_EXPIRED &&
		(mica_canary_alone(&w->v[i], decision_time(w)) ||
			mica_canary_gone(&w->v[i], decision_time(w)));
}

/* Somebody looks at the canary channel now and then: confirms what is there, or takes it back. */
static void look_by_hand(struct world *w)
{
	bool back = one_in(&w->c, 4);

	if (w->now < w->hand || is_frozen(w))
		return;
	w->hand = w->now + between(&w->c, HOUR, 6 * DAY);
	for (size_t i = 0; i < w->n; i++) {
		struct mica_rotation_step s = by_hand(MICA_ROT_REMOVE, w->v[i].kind, (int)i);
		bool alone = mica_canary_alone(&w->v[i], decision_time(w));

		if (!waits_in_canary(w, i) || (!back && w->p.canary_time > 0))
			continue;
		if (back != alone)
			s.action = alone ? MICA_ROT_PUBLISH : MICA_ROT_RESTORE;
		w->withdrawals += back;
		apply(w, &s, decision_time(w));
		look(w);
	}
}

static void live(struct world *w)
{
	int64_t end = w->now + SPAN, wake, pause = w->p.max_leaf_ttl / 4;

	while (w->now < end && !w->broken[0]) {
		holders_look(w);
		move_clock(w);
		accept_clock(w);
		if (w->down_until > 0 && w->now >= w->down_until)
			start_ca(w);
		wake = w->now + between(&w->c, 1, pause);
		if (w->down_until == 0) {
			int64_t next;

			if (!is_frozen(w) &&
				mica_clock_stepped(
					&w->clock, clock_of(w) * 1000, w->now * 1000, w->p.skew))
				w->look_again = decision_time(w) + second_look(w);

			steal_a_key(w);
			see_a_token(w);
			look_by_hand(w);
			administer(w);
			next = rotate(w) - w->off;
			if (next < wake && next > w->now)
				wake = next;
			if (w->down_until == 0) {
				issue(w, false);
				issue(w, one_in(&w->c, 2));
			}
		}
		publish(w);
		look(w);
		if (w->off != 0 && w->off_until < wake && w->off_until > w->now)
			wake = w->off_until;
		w->now = wake;
	}
}

/* ---- worlds
 * ---------------------------------------------------------------------------------------- */

static void draw_policy(struct world *w)
{
	struct mica_rotation_policy *p = &w->p;
	struct mica_rotation_breach b;

	p->canary = one_in(&w->c, 2);
	do {
		p->refresh_hint = between(&w->c, MINUTE, HOUR);
		p->max_leaf_ttl = between(&w->c, HOUR, 2 * DAY);
		p->max_jwt_ttl = between(&w->c, MINUTE, HOUR);
		p->skew = between(&w->c, 1, 2 * MINUTE);
		p->slowest_outlet = one_in(&w->c, 2) ? between(&w->c, 0, DAY) : 0;
		p->propagation = 3 * p->refresh_hint;
		if (p->propagation < p->slowest_outlet)
			p->propagation = p->slowest_outlet;
		p->propagation += p->skew + between(&w->c, 0, HOUR);
		p->hold = p->max_leaf_ttl + p->skew + between(&w->c, 0, DAY);
		p->ack_timeout = between(&w->c, HOUR, 10 * DAY);
		p->trash = between(&w->c, 0, one_in(&w->c, 2) ? 10 * DAY : HOUR);
		p->deadline = between(&w->c, p->propagation, p->propagation + DAY);
		p->canary_time = one_in(&w->c, 4) ? 0 : between(&w->c, 10 * MINUTE, 2 * DAY);
		p->standby = !one_in(&w->c, 4);
		for (int k = 1; k < MICA_AUTHORITY_KIND_COUNT; k++) {
			p->kind[k].automatic = true;
			p->kind[k].rotate_at = between(&w->c, 30, 80);
		}
		p->kind[MICA_AUTHORITY_ISSUING].life = between(&w->c, 4 * DAY, 20 * DAY);
		p->kind[MICA_AUTHORITY_JWT].life = between(&w->c, DAY, 20 * DAY);
		p->kind[MICA_AUTHORITY_ROOT].life = between(&w->c, 60 * DAY, 3 * YEAR);
	} while (!mica_rotation_policy_holds(p, &b));
}

static void begin(struct world *w)
{
	static const enum mica_authority_kind kinds[] = {
		MICA_AUTHORITY_ROOT, MICA_AUTHORITY_ISSUING, MICA_AUTHORITY_JWT};

	for (size_t i = 0; i < MICA_ARRAY_LEN(kinds); i++) {
		struct mica_rotation_step s = {.action = MICA_ROT_CREATE,
			.kind = kinds[i],
			.parent = kinds[i] == MICA_AUTHORITY_ISSUING ? 0 : -1};

		create(w, &s, w->now);
		if (mica_authority_add_time(&w->v[i], MICA_AE_READY, w->now, NULL) != MICA_OK ||
			mica_authority_add_time(&w->v[i], MICA_AE_ACTIVE, w->now, NULL) != MICA_OK)
			breaks(w, "no room");
	}
	used_clock(w);
	for (unsigned ch = LIVE; ch < CHANNELS; ch++) {
		fill_bundle(w, ch, &w->ring[ch][0]); /* whoever comes to be has it */
		w->ring[ch][0].from = 0;
	}
}

static struct world *world_new(uint64_t seed, enum lie lie, bool compromises)
{
	struct world *w = MICA_NEW(struct world);

	w->c.s = seed;
	w->lie = lie;
	w->compromises = compromises;
	w->unsure = one_in(&w->c, 3);
	w->now = START;
	draw_policy(w);
	begin(w);
	start_ca(w);
	w->look_again = 0;
	w->clock.unproven = false;
	mica_clock_keep(&w->clock, w->now * 1000);
	for (unsigned h = 0; h < HOLDERS; h++)
		w->holder[h] = (struct holder){w->now, w->now, w->now, h % CHANNELS};
	return w;
}

static void world_free(struct world *w)
{
	for (size_t i = 0; i < w->n; i++)
		mica_authority_clear(&w->v[i]);
	mica_free(w);
}

static uint64_t number(const char *variable, uint64_t otherwise)
{
	const char *text = mica_env(variable);
	uint64_t n;

	return text && mica_parse_u64(mica_slice_str(text), UINT32_MAX, &n) == MICA_OK ? n
										       : otherwise;
}

static unsigned seeds(void)
{
	return (unsigned)number("MICA_SCENARIO_SEEDS", 4);
}

struct sum {
	uint64_t worlds, broken, steps, activations, leaves, removals, taints, frozen, emergencies;
	uint64_t canaries, withdrawals, unproven;
	uint64_t rollbacks, starts, recoveries, cut_off;
	char first[512];
};

/* `n` worlds from seed `from` on; a lie is followed until it is seen. */
static struct sum run(enum lie lie, bool compromises, uint64_t from, unsigned n)
{
	struct sum s = {.worlds = n};

	for (unsigned i = 0; i < n; i++) {
		struct world *w = world_new(from + i, lie, compromises);

		live(w);
		if (w->broken[0] && !s.broken++)
			snprintf(s.first, sizeof(s.first), "MICA_SEED=%llu, after %lld days: %s",
				(unsigned long long)(from + i), (long long)((w->now - START) / DAY),
				w->broken);
		s.steps += w->steps;
		s.activations += w->activations;
		s.leaves += w->leaves;
		s.removals += w->removals;
		s.taints += w->taints;
		s.frozen += w->frozen_looks;
		s.emergencies += w->emergencies;
		s.canaries += w->canaries;
		s.withdrawals += w->withdrawals;
		s.unproven += w->unproven_looks;
		s.rollbacks += w->rollbacks;
		s.starts += w->starts;
		s.recoveries += w->recoveries;
		s.cut_off += w->cut_off;
		world_free(w);
		if (lie != HONEST && s.broken) { /* it was seen */
			s.worlds = i + 1;
			break;
		}
	}
	print_message("    %llu worlds: %llu steps, %llu activations, %llu leaves, %llu removals, "
		      "%llu taints, %llu frozen, %llu unproven, %llu emergencies, %llu canaries, "
		      "%llu withdrawals, %llu roll-backs, %llu started by hand, %llu recoveries, "
		      "%llu holders cut off; %llu broken%s%s\n",
		(unsigned long long)s.worlds, (unsigned long long)s.steps,
		(unsigned long long)s.activations, (unsigned long long)s.leaves,
		(unsigned long long)s.removals, (unsigned long long)s.taints,
		(unsigned long long)s.frozen, (unsigned long long)s.unproven,
		(unsigned long long)s.emergencies, (unsigned long long)s.canaries,
		(unsigned long long)s.withdrawals, (unsigned long long)s.rollbacks,
		(unsigned long long)s.starts, (unsigned long long)s.recoveries,
		(unsigned long long)s.cut_off, (unsigned long long)s.broken, s.first[0] ? ", " : "",
		s.first);
	return s;
}

static uint64_t activations; /* of all honest worlds */

static void ten_years_without_a_broken_promise(void **state)
{
	struct sum s = run(HONEST, false, number("MICA_SEED", 1), seeds());

	(void)state;
	activations += s.activations;
	if (s.broken)
		fail_msg("%s", s.first);
	/* and it was no idle world */
	assert_true(s.activations > 250 * s.worlds && s.leaves > 5000 * s.worlds);
	assert_true(s.removals > 200 * s.worlds && s.frozen > 0);
	assert_true(s.canaries > 10 * s.worlds && s.withdrawals > s.worlds && s.unproven > 0);
	assert_true(s.rollbacks > s.worlds && s.starts > s.worlds && s.cut_off > s.worlds);
}

static void stolen_keys_stop_signing_and_leave(void **state)
{
	struct sum s = run(HONEST, true, number("MICA_SEED", 1), seeds());

	(void)state;
	activations += s.activations;
	if (s.broken)
		fail_msg("%s", s.first);
	assert_true(s.taints > s.worlds && s.emergencies > s.worlds);
}

static void there_was_enough_of_it(void **state)
{
	uint64_t least = number("MICA_SCENARIO_ACTIVATIONS", 1000);

	(void)state;
	print_message("    %llu activations in virtual time, %llu expected\n",
		(unsigned long long)activations, (unsigned long long)least);
	assert_true(activations >= least);
}

/* The looker must be able to see: what a promise rests on is taken away. */
static void controls_are_caught(void **state)
{
	/* some need a world in which what is taken away matters: those begin where one was found */
	static const struct {
		const char *name;
		uint64_t from;
	} lies[LIES] = {{"", 0}, {"no propagation", 1}, {"no last leaf", 1}, {"no acks", 1},
		{"no carried", 1}, {"no confirmation", 3}, {"two active", 1}, {"no clock rule", 1},
		{"no read set", 2}, {"no proof of the clock", 8},
		{"the canary channel is taken for the live one", 2}};

	(void)state;
	for (int lie = HONEST + 1; lie < LIES && !mica_env("MICA_SCENARIO_HONEST"); lie++) {
		struct sum s = run((enum lie)lie, false, lies[lie].from, 8);

		if (s.broken == 0)
			fail_msg("%s: nothing was seen to break", lies[lie].name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ten_years_without_a_broken_promise),
		cmocka_unit_test(stolen_keys_stop_signing_and_leave),
		cmocka_unit_test(there_was_enough_of_it),
		cmocka_unit_test(controls_are_caught),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
