/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rotation: which step comes next for the authorities of a set. A pure decision over facts and
 * times (design 8.4): no store, no clock, no key; who asks applies the step, and asks again.
 *
 *	root	  due -> CREATE (published) -> propagation, acks, confirmations -> READY -> ACTIVATE
 *		  (the older one retires) -> all that it vouches for has ended, hold -> REMOVE ->
 *		  trash delay -> DESTROY
 *	issuing	  due, or the root is another -> CREATE under the active root -> ACTIVATE; the
 *bundle does not change jwt	  due -> CREATE (published) -> propagation -> READY -> ACTIVATE ->
 *... -> REMOVE
 *
 * Where a canary channel is configured, what is published and what is removed by plan goes there
 * first: CREATE there -> its time, or a confirmation -> PUBLISH; REMOVE there -> ... -> REMOVE.
 *Nothing is READY, let alone active, by what the canary channel has: all of that is counted from
 *PUBLISH. In an emergency the canary channel is passed by.
 *
 * A standby root is published ahead and never activated by plan: it serves when the active root is
 * tainted, has a tainted issuing authority below it, or has expired. What is lacking to a kind that
 * has nothing active is made up for at once: a wait would be an outage.
 *
 * `automatic` of a kind says whether rotations begin by time. One that has begun is carried
 *through, and what has ended is removed, in any case.
 */
#ifndef MICA_ROTATION_H
#define MICA_ROTATION_H

#include "mica/authority.h"
#include "mica/config.h"

/* ---- policy ------------------------------------------------------------------------------ */

/* Times in seconds. */
struct mica_rotation_policy {
	struct mica_rotation_kind {
		bool automatic;
		int64_t life; /* of a new one */
		int64_t rotate_at; /* per cent of its life after which its successor is made */
	} kind[MICA_AUTHORITY_KIND_COUNT];
	bool standby; /* keep a standby root */
	enum mica_root_home root_home; /* roots that are not our own are never made here */
	int64_t max_leaf_ttl, max_jwt_ttl, refresh_hint;
	int64_t slowest_outlet; /* the longest propagation of an outlet; 0 = there is none */
	int64_t propagation; /* until whoever gives no evidence has a new bundle */
	int64_t hold; /* a retired one stays published at least: a way back */
	int64_t ack_timeout; /* until holders that have not acknowledged no longer count */
	int64_t skew; /* of the clocks of relying parties */
	int64_t trash; /* from removal to destruction of the key */
	int64_t deadline; /* from a taint to the removal, renewed or not */
	bool canary; /* there is a canary channel */
	int64_t canary_time; /* that a step stays there; 0 = until it is confirmed by hand */
};

/* What a configuration says of it. */
void mica_rotation_policy_of(const struct mica_config *c, struct mica_rotation_policy *out);

/* The inequalities of design 8.4. */
enum mica_rotation_rule {
	MICA_RR_PROPAGATION, /* propagation >= 3 refresh_hint, >= slowest outlet */
	MICA_RR_HOLD, /* hold >= max_leaf_ttl + skew */
	MICA_RR_ISSUING_LIFE, /* issuing_life >= 3 max_leaf_ttl + propagation */
	MICA_RR_ROOT_LIFE, /* root_life >= 3 issuing_life */
	MICA_RR_JWT_LIFE, /* jwt_life >= 5 refresh_hint + max_jwt_ttl + skew */
	/* rotate_at + what comes before the end <= life; `have` and `need` are per cent */
	MICA_RR_ROOT_AT,
	MICA_RR_ISSUING_AT,
	MICA_RR_JWT_AT,
	MICA_RR_COUNT
};
struct mica_rotation_breach {
	enum mica_rotation_rule rule;
	int64_t have, need; /* of the first number that the rule names: as it is, as it must be */
};
/* Whether all of them hold; *out (optional) is the first that does not. */
bool mica_rotation_policy_holds(
	const struct mica_rotation_policy *p, struct mica_rotation_breach *out);

/* How long before its end an authority of a kind must be replaced so that nothing it signs is cut
 * short and nobody meets a stranger. */
int64_t mica_rotation_lead(const struct mica_rotation_policy *p, enum mica_authority_kind kind);
/* When the successor of an active authority is made, by time: spread by its id over a twentieth, so
 * that many sets do not rotate at once. */
int64_t mica_rotation_due(const struct mica_rotation_policy *p, const struct mica_authority *a);
/* How long after its publication one of a kind may be used, evidence apart: for roots propagation,
 * for JWT keys five refresh_hint if that is longer; and skew, as our clock may move meanwhile. */
int64_t mica_rotation_propagation(
	const struct mica_rotation_policy *p, enum mica_authority_kind kind);

/* ---- facts ------------------------------------------------------------------------------- */

/* Of one authority, what its record does not say. */
struct mica_rotation_fact {
	int64_t last_leaf; /* greatest end of what it signed; 0 = nothing */
	/* Of a root: as below, when it was published, or came back to the canary channel. A clock
	 * that was ahead makes them live longer than the longest life. */
	int64_t carried;
	bool acked; /* every live holder of class `ack` has said that it has it */
	bool confirmed; /* every outlet that has no propagation was confirmed for it */
	bool renewed; /* a root that has to go: whoever had something of it has something else */
};
struct mica_rotation_facts {
	const struct mica_rotation_fact *of; /* of list[i] */
	bool frozen; /* the clock cannot be trusted: nothing happens by time */
	/* Greatest end of a certificate whose holder may have the bundle that came with it, and no
	 * other (class `carried`); 0 = nobody. It has a newer one when it has renewed. */
	int64_t carried;
	/* A second look after a stop: before, nothing is removed or destroyed, and nobody is said
	 * to have something because enough time has passed. */
	int64_t look_again;
	/* The clock of this start was not proved by anybody else's: nothing leaves by plan, nothing
	 * is destroyed, and nobody counts as late. */
	bool unproven;
};

/* ---- the decision ------------------------------------------------------------------------ */

enum mica_rotation_action {
	MICA_ROT_NONE,
	MICA_ROT_CREATE, /* a new one: roots and JWT keys are published with it */
	MICA_ROT_READY, /* `at` may be used: everybody has it */
	MICA_ROT_ACTIVATE, /* `at` signs from now on, `instead` (-1 = none) retires */
	MICA_ROT_REMOVE, /* `at` leaves the bundle */
	MICA_ROT_DESTROY, /* the key and the record of `at` go */
	MICA_ROT_PUBLISH, /* `at`, which the canary channel has, comes into the live bundle */
	MICA_ROT_RESTORE, /* by hand: `at` is back in the canary channel's bundle */
	MICA_ROT_ACTION_COUNT
};
const char *mica_rotation_action_name(enum mica_rotation_action a); /* "none" "create" ... */

/* What is waited for, or why a step is taken. */
enum mica_rotation_why {
	MICA_RW_NOTHING, /* nothing is under way: the next rotation is due at `until` */
	MICA_RW_DUE, /* its time has come */
	MICA_RW_PROPAGATION, /* until whoever gives no evidence has it */
	MICA_RW_ACKS, /* holders of class `ack` have not said that they have it */
	MICA_RW_CONFIRMATION, /* an outlet without propagation: `mica rotation confirm` */
	MICA_RW_CARRIED, /* holders whose bundle comes with their certificates have not renewed */
	MICA_RW_EVERYBODY_HAS_IT,
	MICA_RW_NONE_ACTIVE, /* nothing signs */
	MICA_RW_TAINTED, /* what signs is tainted, or has a tainted one below it */
	MICA_RW_OTHER_ROOT, /* the active root is another */
	MICA_RW_STANDBY, /* there is no standby, or it is old */
	MICA_RW_LAST_LEAF, /* something that it signed has not ended */
	MICA_RW_HOLD, /* the way back is held open */
	MICA_RW_DEADLINE, /* of a taint */
	MICA_RW_TRASH,
	MICA_RW_LOOK_AGAIN, /* after a stop */
	MICA_RW_CLOCK, /* frozen */
	MICA_RW_NO_ROOT, /* no usable root: `mica authority prepare root --recover` */
	MICA_RW_NO_REPLACEMENT, /* it is the last one that is published */
	MICA_RW_UNPROVEN, /* nobody else's clock has agreed with ours since the start */
	MICA_RW_CANARY, /* the canary channel has it first */
	MICA_RW_CANARY_OVER,
	MICA_RW_WITHDRAWN, /* the same was withdrawn from the canary channel a short time ago */
	MICA_RW_BY_HAND, /* an administrator */
	MICA_RW_SIGNATURE, /* of a root whose key is not here */
	MICA_RW_RENEWED, /* whoever had something of a compromised root has renewed */
	MICA_RW_COUNT
};
const char *mica_rotation_why_name(enum mica_rotation_why w); /* "propagation" ... */
const char *mica_rotation_why_text(enum mica_rotation_why w); /* a sentence for people */

struct mica_rotation_step {
	enum mica_rotation_action action;
	enum mica_authority_kind kind;
	int at; /* in the list; CREATE: -1. NONE: whom the wait is about, -1 = nobody */
	int instead; /* ACTIVATE */
	int parent; /* CREATE of an issuing one: the root that signs it */
	bool standby; /* CREATE */
	bool canary; /* CREATE, REMOVE: in the canary channel's bundle alone */
	bool emergency; /* not by plan: evidence was not waited for */
	enum mica_rotation_why why;
	int64_t until; /* NONE: before that the answer will not change by time alone */
};

/*
 * The next step, or none with what is waited for. All of `list` is one set; `now` is the greatest
 * time ever used. Applied steps and asked again, it ends in NONE after a few.
 */
struct mica_rotation_step mica_rotation_next(const struct mica_rotation_policy *p,
	const struct mica_rotation_facts *f, const struct mica_authority *list, size_t n,
	int64_t now);
/* The same for one kind alone, for a status: what its rotation waits for. */
struct mica_rotation_step mica_rotation_next_of(enum mica_authority_kind kind,
	const struct mica_rotation_policy *p, const struct mica_rotation_facts *f,
	const struct mica_authority *list, size_t n, int64_t now);

/* ---- roots whose key is not here ------------------------------------------------------------- */

/* Issuing authorities below such a root are signed ahead: each waits, usable, until it is due. */
#define MICA_SIGNED_AHEAD 2 /* so many shall wait at least (design 8.4) */

/* Whether a root can vouch for what will be issued: its key is here, or an issuing authority that
 * it signed can be used. */
bool mica_rotation_serves(const struct mica_authority *list, size_t n, size_t root, int64_t now);
/* The next one below a root whose key is not here, -1 = none: of those that have begun and last
 * longer than a rotation takes the one that ends first, so that the others last; of files the
 * newest one. When none waits and `again`, one that has retired. */
int mica_rotation_ahead(const struct mica_rotation_policy *p, const struct mica_authority *list,
	size_t n, size_t root, bool again, int64_t now);

/* One that has retired stands in the files again (its last READY is later than its last RETIRED),
 * so that it is to be used again: everybody had it once, and has it still. */
bool mica_rotation_is_back(
	const struct mica_rotation_policy *p, const struct mica_authority *a, int64_t now);

/* How long what was signed lasts, below the active root when its key is not here. */
struct mica_rotation_stock {
	bool counts; /* false: root's key is here, or there is no root; all else is 0 then */
	unsigned ahead, pending; /* signed and not used yet; requests that wait */
	int64_t covered; /* until then something can sign without being cut short */
	int64_t from; /* a signature is asked for from then on: half of the way, or at once */
	bool needed; /* now */
	bool standby; /* a standby root is there, and one that it signed */
};
void mica_rotation_stock_of(const struct mica_rotation_policy *p, const struct mica_authority *list,
	size_t n, int64_t now, struct mica_rotation_stock *out);

/* Whether a root must go because of an issuing authority below it that is tainted and has not
 * expired: whoever has that key makes certificates that this root vouches for. One that is revoked
 * takes no root with it: the root's CRL names it. */
bool mica_rotation_doomed(const struct mica_authority *list, size_t n, size_t root, int64_t now);
/* The successor of a kind that a rotation is bringing up, -1 = none is under way. What a root whose
 * key is not here has signed ahead is none. */
int mica_rotation_successor(
	const struct mica_authority *list, size_t n, enum mica_authority_kind kind, int64_t now);
/* The one to go back to: of those that retired last, it is still published, not tainted, not
 * expired, and its key is here; an issuing one is below the active root. -1 = there is none. */
int mica_rotation_way_back(
	const struct mica_authority *list, size_t n, enum mica_authority_kind kind, int64_t now);
/* Whether somebody may not have list[at], which has been used and is published: the canary channel
 * lost it, or it was taken into use in an emergency, before everybody had it. Nobody goes back to
 * it until then. Whoever has list[used], which is used now (-1 = none is), has what was published
 * before it. */
bool mica_rotation_unsure(const struct mica_rotation_policy *p, const struct mica_rotation_facts *f,
	const struct mica_authority *list, size_t at, int used, int64_t now);
/* When the last thing that list[at] vouches for has ended: of a root, of all that is below it. */
int64_t mica_rotation_last_leaf(const struct mica_rotation_facts *f,
	const struct mica_authority *list, size_t n, size_t at);

#define MICA_OUTLET_CANARY "canary" /* what `mica rotation confirm` calls it */

/* ---- the canary channel: canary.c -------------------------------------------------------------
 */

/* In the canary channel's bundle and in no other one yet. */
bool mica_canary_alone(const struct mica_authority *a, int64_t now);
/* In the live bundle alone: it has left the other one. */
bool mica_canary_gone(const struct mica_authority *a, int64_t now);
/* Gone from there, or back for less than a propagation (a root: or the longest certificate): not
 * everybody has it. `carried` and `look_again`: of the facts. */
bool mica_canary_unsure(const struct mica_rotation_policy *p, const struct mica_authority *a,
	int64_t carried, int64_t look_again, int64_t now);
/* When what is alone there, or gone from there, goes on by time: NEVER = it must be confirmed. The
 * past when there is no such channel any more. */
int64_t mica_canary_end(
	const struct mica_rotation_policy *p, const struct mica_authority *a, int64_t now);
/* When what was withdrawn may be tried again, or, of a successor, a new one may come; 0 = nothing
 * was. */
int64_t mica_canary_retry(
	const struct mica_rotation_policy *p, const struct mica_authority *a, int64_t now);

/* ---- who shall renew, and when: renewal.c ------------------------------------------------------
 *
 * Ordinarily a client renews between 50 % and 60 % of its certificate's life. A step that is helped
 * by earlier renewals calls for them: `renew_after` of an answer is drawn from the step's own time
 * when that is earlier, never later.
 *
 * A root is published: who acknowledges must say that it has it. Certificates of such holders that
 * are issued before are to be renewed within `spread` behind it; so are those of holders who have
 * not said so yet. Whoever has the bundle that came with its certificate (class `carried`) is
 * waited for until that certificate ends, which no renewal moves.
 *
 * A compromise: what is still signed below a root that must go is to be renewed when its successor
 * takes over, before the deadline.
 *
 * A removal waits for ends of certificates, which no renewal moves: it calls for nothing. Clients
 * whose certificates are out already learn of a compromise by the bundle (bundle.h, `renew`).
 */
struct mica_renewal_calls {
	/* When the next root comes into the bundle: of [0] the live, [1] the canary channel; of one
	 * that is waited for, when it came; NEVER = none is foreseen. */
	int64_t publish[2];
	int64_t spread; /* how long holders may take from then on */
	int64_t replace_from, replace_to; /* a compromise; NEVER = none */
};
void mica_renewal_calls_of(const struct mica_rotation_policy *p, const struct mica_authority *list,
	size_t n, int64_t now, struct mica_renewal_calls *out);
struct mica_renewal {
	int64_t now, end; /* of the certificate: issued, not after */
	uint8_t random[2]; /* its own: a herd that was born together does not come back together */
	bool ack; /* its holder acknowledges */
	bool canary; /* its holder's channel */
	bool newest; /* its holder has said that it has the newest bundle */
};
/* Between now and 60 % of what is left of its life. */
int64_t mica_renewal_after(const struct mica_renewal_calls *c, const struct mica_renewal *r);
/* Until when certificates of list[at], an issuing authority, must be replaced, since their root is
 * to go; NEVER = they need not be. */
int64_t mica_renewal_before(const struct mica_rotation_policy *p, const struct mica_authority *list,
	size_t n, size_t at, int64_t now);
/* When list[at], a tainted one or a root that has to go, leaves the bundle at the latest; NEVER =
 * it has not to go. */
int64_t mica_rotation_deadline(const struct mica_rotation_policy *p,
	const struct mica_rotation_facts *f, const struct mica_authority *list, size_t n, size_t at,
	int64_t now);

/* ---- the clock ----------------------------------------------------------------------------- */

/* Design 8.4: how far the clock may be from what was seen before it. */
#define MICA_CLOCK_BEHIND_MS (2 * 60 * 1000)
#define MICA_CLOCK_AHEAD_MS  (10 * 60 * 1000)

struct mica_clock_memory {
	int64_t seen_ms; /* the greatest time that a commit ever used */
	bool anchored; /* a clock that was believed, and the monotonic one at that moment */
	int64_t anchor_ms, anchor_mono_ms;
	int64_t proven_ms; /* the greatest time of a clock that somebody else's agreed with */
	bool unproven;
};
enum mica_clock_word { MICA_CLOCK_AGREES, MICA_CLOCK_BEHIND, MICA_CLOCK_AHEAD };
const char *mica_clock_word_name(enum mica_clock_word w); /* "agrees" "behind" "ahead" */
/* To be asked often: of all clocks that were seen the slowest is the measure for `ahead`. */
enum mica_clock_word mica_clock_judge(struct mica_clock_memory *m, int64_t now_ms, int64_t mono_ms);
/* Whether the clock has gone ahead by more than relying parties allow (`skew`, seconds), though not
 * so far that it is not believed: what was waited for by it needs a second look. It is the measure
 * from then on. */
bool mica_clock_stepped(struct mica_clock_memory *m, int64_t now_ms, int64_t mono_ms, int64_t skew);
/* The clock as it is now is the measure from here on. */
void mica_clock_anchor(struct mica_clock_memory *m, int64_t now_ms, int64_t mono_ms);
/* At a start, when proven_ms is known. What passed since then nobody but the clock can say: when it
 * is more than MICA_CLOCK_AHEAD_MS, the clock is believed for all that must go on, and for nothing
 * that takes away (mica_rotation_facts.unproven), until it is proved. */
void mica_clock_start(struct mica_clock_memory *m, int64_t now_ms);
/* Somebody else's clock said `hint_ms` a short time ago, or longer: the time is that at least.
 * Whether ours, which is not that far ahead, was proved by it just now. */
bool mica_clock_prove(struct mica_clock_memory *m, int64_t now_ms, int64_t hint_ms);
/* A clock that is believed goes on: what it says now was said by one that was proved. */
void mica_clock_keep(struct mica_clock_memory *m, int64_t now_ms);
/* When an administrator has said that the clock is right, and what was seen before it was not: what
 * has happened has happened, at `now` at the latest. Whether anything changed. */
bool mica_rotation_redate(struct mica_authority *a, int64_t now);

/* ---- times ----------------------------------------------------------------------------------
 */

/* Times of a new authority, by step: created, and what its kind has at once. `root_end`: end of the
 * parent, MICA_TIME_NEVER for others. Fills kind, validity, times, standby. LIMIT "too_many_times".
 */
mica_rc mica_rotation_born(const struct mica_rotation_policy *p,
	const struct mica_rotation_step *step, int64_t now, int64_t root_end,
	struct mica_authority *a, struct mica_err *e) MICA_MUST_CHECK;
/* What a step other than CREATE and DESTROY does to the records. */
mica_rc mica_rotation_mark(const struct mica_rotation_step *step, struct mica_authority *at,
	struct mica_authority *instead, int64_t now, struct mica_err *e) MICA_MUST_CHECK;

#endif
