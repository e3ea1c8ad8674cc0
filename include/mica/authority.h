/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Authorities: the keys that certificates, and JWT-SVIDs, are signed with. What is stored of one is
 * a record of facts and times; its state is derived from the times and a clock, never stored
 * (design of rotation). Pure: no store, no clock, no key in the clear.
 *
 * The record, version 1:
 *
 *   "MAUT" 01 | { tag 2 | length 4 | value }*		big-endian, tags ascending
 *
 * A reader keeps the fields it does not know and writes them back; a field whose tag has its top
 * bit set must be understood, so an older program refuses such a record instead of using it.
 */
#ifndef MICA_AUTHORITY_H
#define MICA_AUTHORITY_H

#include "mica/buf.h"
#include "mica/key.h"
#include "mica/principal.h"

#define MICA_SET_DEFAULT "default"

#define MICA_TIME_NEVER INT64_MAX

enum mica_authority_kind {
	MICA_AUTHORITY_ROOT = 1,
	MICA_AUTHORITY_ISSUING,
	MICA_AUTHORITY_JWT,
	MICA_AUTHORITY_KIND_COUNT
};
const char *mica_authority_kind_name(enum mica_authority_kind k); /* "root" "issuing" "jwt" */

/* What happened, or is planned to happen, to an authority. Times are a list and nothing in it is
 * ever erased: a roll-back is RETIRED for the newer and one more ACTIVE for the older. */
enum mica_authority_event {
	MICA_AE_CREATED = 1,
	MICA_AE_PUBLISHED, /* in the bundle from then on */
	MICA_AE_READY, /* may become active: everybody has it */
	MICA_AE_ACTIVE, /* signs; several times after roll-backs */
	MICA_AE_RETIRED, /* signs no more; stays published */
	MICA_AE_TAINTED, /* no longer to be trusted; what it signed is to be replaced */
	MICA_AE_REVOKED,
	MICA_AE_REMOVED, /* out of the bundle */
	MICA_AE_CANARY_IN, /* in the canary channel's bundle, whatever the live one has */
	MICA_AE_CANARY_OUT, /* no longer in it, though the live one still has it */
	MICA_AE_COUNT
};
const char *mica_authority_event_name(enum mica_authority_event ev);

enum mica_authority_state {
	MICA_AS_PENDING = 1, /* waits for an outside signature, or for its publication */
	MICA_AS_PUBLISHED,
	MICA_AS_READY,
	MICA_AS_ACTIVE,
	MICA_AS_RETIRED,
	MICA_AS_TAINTED,
	MICA_AS_REVOKED,
	MICA_AS_EXPIRED, /* whatever it was else: it counts as none */
	MICA_AS_REMOVED,
	MICA_AS_COUNT
};
const char *mica_authority_state_name(enum mica_authority_state s);

#define MICA_AUTHORITY_TIMES_MAX 64
#define MICA_AUTHORITY_CHAIN_MAX 3 /* certificates in `chain`: with its own, and a leaf, 5 */
/* "No end" (RFC 5280 4.1.2.5): of one that waits for its certificate. 9999-12-31T23:59:59Z. */
#define MICA_AUTHORITY_NO_END     INT64_C(253402300799)
#define MICA_AUTHORITY_RECORD_MAX (32 * 1024)

struct mica_authority_time {
	enum mica_authority_event event;
	int64_t at; /* seconds */
};

/* Owned memory; cleared with mica_authority_clear. */
struct mica_authority {
	char set[MICA_NAME_MAX + 1];
	enum mica_authority_kind kind;
	char id[MICA_KEY_ID_SIZE]; /* hex of the subject key id */
	char parent[MICA_KEY_ID_SIZE]; /* issuing: the root's id; else "" */
	int64_t not_before, not_after; /* of its certificate; of a JWT key: of its use */
	struct mica_authority_time times[MICA_AUTHORITY_TIMES_MAX]; /* in the order of recording */
	unsigned n_times;
	bool standby; /* kept for an emergency: never activated by plan */
	/* Of the first live bundle that has it: who acknowledges this one, or a later one, has it.
	 * 0 = unsaid: it is as old as the store, or in the canary channel alone. */
	uint64_t sequence;
	uint64_t canary_sequence; /* the same of the canary channel; 0 = as `sequence` */
	struct mica_buf cert; /* DER; empty for a JWT key and while a signature is awaited */
	/* issuing: certificates between its own and the root's, DER one behind the other, the
	 * issuer of `cert` first; empty when the root signed it */
	struct mica_buf chain;
	struct mica_buf spki; /* of its key */
	struct mica_buf envelope; /* its key under the store's; empty: the key is not here */
	struct mica_buf rest; /* fields that this program does not know */
};

void mica_authority_init(struct mica_authority *a);
void mica_authority_clear(struct mica_authority *a);
mica_rc mica_authority_copy(const struct mica_authority *from, struct mica_authority *to,
	struct mica_err *e) MICA_MUST_CHECK;
#define MICA_AUTO_AUTHORITY __attribute__((cleanup(mica_authority_clear))) struct mica_authority

/* LIMIT "too_long". */
mica_rc mica_authority_encode(
	const struct mica_authority *a, struct mica_buf *out, struct mica_err *e) MICA_MUST_CHECK;
/* CORRUPT "authority_malformed"; "store_newer" for a version or a field that must be understood and
 * is not. `a` is initialised here; on failure it is clear. */
mica_rc mica_authority_decode(
	struct mica_slice record, struct mica_authority *a, struct mica_err *e) MICA_MUST_CHECK;

/* The certificates of `chain`. CORRUPT "authority_malformed". */
mica_rc mica_authority_chain(const struct mica_authority *a,
	struct mica_slice out[MICA_AUTHORITY_CHAIN_MAX], size_t *n,
	struct mica_err *e) MICA_MUST_CHECK;

/* Adds a time. LIMIT "too_many_times". */
mica_rc mica_authority_add_time(struct mica_authority *a, enum mica_authority_event ev, int64_t at,
	struct mica_err *e) MICA_MUST_CHECK;
/* The first (last) time of an event at or before `now`; MICA_TIME_NEVER when there is none. */
int64_t mica_authority_first(
	const struct mica_authority *a, enum mica_authority_event ev, int64_t now);
int64_t mica_authority_last(
	const struct mica_authority *a, enum mica_authority_event ev, int64_t now);

/*
 * The state at `now`, from the times alone. What weighs more wins: removed, revoked, tainted,
 * expired (not_after has passed); then the latest of active and retired; then ready, published,
 * pending. Of two times that are equal the one recorded later wins.
 */
enum mica_authority_state mica_authority_state_at(const struct mica_authority *a, int64_t now);
/* The next instant after `now` at which the state may be another; MICA_TIME_NEVER. */
int64_t mica_authority_next_change(const struct mica_authority *a, int64_t now);

/* Whether relying parties are told to trust it: it was published and not removed. Tainted and
 * retired authorities stay until they are removed: what they signed must still be accepted until it
 * is replaced. So do expired ones, which nobody accepts: a clock that is wrong must not take away
 * what is right, and removal is a step that waits for a clock that can be trusted (rotation.h). */
bool mica_authority_is_published(const struct mica_authority *a, int64_t now);
/* The same for the canary channel, which gets what is published, and loses what is removed, before
 * the live one (canary.c). */
bool mica_authority_in_canary(const struct mica_authority *a, int64_t now);

/* The one that signs: index into `list` of the authority of set and kind in state ACTIVE, -1 if
 * none. Of several the one activated last wins; there should be one at most. */
int mica_authority_active(const struct mica_authority *list, size_t n, const char *set,
	enum mica_authority_kind kind, int64_t now);

#endif
