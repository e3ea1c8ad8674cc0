/* SPDX-License-Identifier: Apache-2.0 */
/* Records of authorities and the state that follows from their times. */
#include "mica/authority.h"

#include "mica/der.h"

#define MAGIC     "MAUT\x01"
#define MAGIC_LEN 5

/* Tags are written in ascending order; one with MUST_KNOW set is refused by who does not know it.
 */
enum tag {
	TAG_SET = 1,
	TAG_KIND,
	TAG_ID,
	TAG_PARENT,
	TAG_VALIDITY,
	TAG_TIMES,
	TAG_FLAGS,
	TAG_CERT,
	TAG_SPKI,
	TAG_ENVELOPE,
	TAG_KNOWN_END, /* those before it are in every record */
	TAG_SEQUENCE = TAG_KNOWN_END,
	TAG_CANARY_SEQUENCE,
	MUST_KNOW = 0x8000,
	/* who does not know it would send chains that nobody can follow */
	TAG_CHAIN = MUST_KNOW + 16
};
enum flag { FLAG_STANDBY = 1 };

static const char *const kinds[] = {"?", "root", "issuing", "jwt"};
static const char *const events[] = {"?", "created", "published", "ready", "active", "retired",
	"tainted", "revoked", "removed", "canary_published", "canary_removed"};
static const char *const states[] = {"?", "pending", "published", "ready", "active", "retired",
	"tainted", "revoked", "expired", "removed"};

const char *mica_authority_kind_name(enum mica_authority_kind k)
{
	return (unsigned)k < MICA_ARRAY_LEN(kinds) ? kinds[k] : "?";
}

const char *mica_authority_event_name(enum mica_authority_event ev)
{
	return (unsigned)ev < MICA_ARRAY_LEN(events) ? events[ev] : "?";
}

const char *mica_authority_state_name(enum mica_authority_state s)
{
	return (unsigned)s < MICA_ARRAY_LEN(states) ? states[s] : "?";
}

void mica_authority_init(struct mica_authority *a)
{
	memset(a, 0, sizeof(*a));
	mica_buf_init(&a->cert, MICA_AUTHORITY_RECORD_MAX);
	mica_buf_init(&a->chain, MICA_AUTHORITY_RECORD_MAX);
	mica_buf_init(&a->spki, MICA_AUTHORITY_RECORD_MAX);
	mica_buf_init(&a->envelope, MICA_AUTHORITY_RECORD_MAX);
	mica_buf_init(&a->rest, MICA_AUTHORITY_RECORD_MAX);
}

void mica_authority_clear(struct mica_authority *a)
{
	mica_buf_clear(&a->cert);
	mica_buf_clear(&a->chain);
	mica_buf_clear(&a->spki);
	mica_buf_clear(&a->envelope);
	mica_buf_clear(&a->rest);
	memset(a, 0, sizeof(*a));
}

mica_rc mica_authority_copy(
	const struct mica_authority *from, struct mica_authority *to, struct mica_err *e)
{
	MICA_AUTO_BUF record;
	mica_rc rc;
	mica_buf_init(&record, MICA_AUTHORITY_RECORD_MAX);
	rc = mica_authority_encode(from, &record, e);
	if (rc)
		return rc;
	return mica_authority_decode(mica_buf_slice(&record), to, e);
}

/* ---- the record ---------------------------------------------------------------------------- */

static void put_field(struct mica_buf *out, enum tag tag, struct mica_slice value)
{
	mica_buf_put_be16(out, (uint16_t)tag);
	mica_buf_put_be32(out, (uint32_t)value.len);
	mica_buf_put_slice(out, value);
}

static void put_times(struct mica_buf *out, const struct mica_authority *a)
{
	mica_buf_put_be16(out, TAG_TIMES);
	mica_buf_put_be32(out, a->n_times * 9);
	for (unsigned i = 0; i < a->n_times; i++) {
		mica_buf_put_u8(out, (uint8_t)a->times[i].event);
		mica_buf_put_be64(out, (uint64_t)a->times[i].at);
	}
}

static void put_validity(struct mica_buf *out, const struct mica_authority *a)
{
	mica_buf_put_be16(out, TAG_VALIDITY);
	mica_buf_put_be32(out, 16);
	mica_buf_put_be64(out, (uint64_t)a->not_before);
	mica_buf_put_be64(out, (uint64_t)a->not_after);
}

static void put_sequence(struct mica_buf *out, enum tag tag, uint64_t sequence)
{
	if (!sequence)
		return;
	mica_buf_put_be16(out, (uint16_t)tag);
	mica_buf_put_be32(out, 8);
	mica_buf_put_be64(out, sequence);
}

mica_rc mica_authority_encode(
	const struct mica_authority *a, struct mica_buf *out, struct mica_err *e)
{
	uint8_t kind = (uint8_t)a->kind;
	uint8_t flags = a->standby ? FLAG_STANDBY : 0;
	mica_buf_put(out, MAGIC, MAGIC_LEN);
	put_field(out, TAG_SET, mica_slice_str(a->set));
	put_field(out, TAG_KIND, mica_slice(&kind, 1));
	put_field(out, TAG_ID, mica_slice_str(a->id));
	put_field(out, TAG_PARENT, mica_slice_str(a->parent));
	put_validity(out, a);
	put_times(out, a);
	put_field(out, TAG_FLAGS, mica_slice(&flags, 1));
	put_field(out, TAG_CERT, mica_buf_slice(&a->cert));
	put_field(out, TAG_SPKI, mica_buf_slice(&a->spki));
	put_field(out, TAG_ENVELOPE, mica_buf_slice(&a->envelope));
	put_sequence(out, TAG_SEQUENCE, a->sequence);
	put_sequence(out, TAG_CANARY_SEQUENCE, a->canary_sequence);
	mica_buf_put_slice(out, mica_buf_slice(&a->rest));
	if (a->chain.len > 0)
		put_field(out, TAG_CHAIN, mica_buf_slice(&a->chain));
	return mica_buf_rc(out, e);
}

static mica_rc malformed(struct mica_err *e, const char *what)
{
	return mica_fail(e, MICA_CORRUPT, "authority_malformed",
		"the stored record of an authority is damaged: %s", what);
}

static bool get_text(struct mica_slice v, char *out, size_t size)
{
	return mica_slice_copy(v, out, size) == MICA_OK;
}

static bool get_id(struct mica_slice v, char out[MICA_KEY_ID_SIZE], bool may_be_empty)
{
	uint8_t raw[MICA_KEY_ID_LEN];
	size_t len = sizeof(raw);
	if (!v.len)
		return may_be_empty;
	if (mica_hex_decode(v, raw, &len) || len != sizeof(raw))
		return false;
	return get_text(v, out, MICA_KEY_ID_SIZE);
}

static bool get_times(struct mica_slice v, struct mica_authority *a)
{
	struct mica_cursor c = {v, false};
	if (v.len % 9 || v.len / 9 > MICA_AUTHORITY_TIMES_MAX)
		return false;
	while (c.s.len) {
		struct mica_authority_time *t = &a->times[a->n_times++];
		t->event = (enum mica_authority_event)mica_cur_u8(&c);
		t->at = (int64_t)mica_cur_be64(&c);
		if (t->event < MICA_AE_CREATED || t->event >= MICA_AE_COUNT || t->at < 0)
			return false;
	}
	return true;
}

static bool get_validity(struct mica_slice v, struct mica_authority *a)
{
	struct mica_cursor c = {v, false};
	a->not_before = (int64_t)mica_cur_be64(&c);
	a->not_after = (int64_t)mica_cur_be64(&c);
	return !c.bad && !c.s.len && a->not_before <= a->not_after;
}

static bool get_sequence(struct mica_slice v, uint64_t *out)
{
	struct mica_cursor c = {v, false};
	*out = mica_cur_be64(&c);
	return !c.bad && !c.s.len && *out > 0;
}

static bool get_bytes(struct mica_slice v, struct mica_buf *out)
{
	mica_buf_put_slice(out, v);
	return true;
}

static bool get_field(struct mica_authority *a, unsigned tag, struct mica_slice v)
{
	switch (tag) {
	case TAG_SET: return v.len && get_text(v, a->set, sizeof(a->set));
	case TAG_KIND:
		a->kind = v.len == 1 ? (enum mica_authority_kind)v.p[0] : 0;
		return a->kind >= MICA_AUTHORITY_ROOT && a->kind < MICA_AUTHORITY_KIND_COUNT;
	case TAG_ID: return get_id(v, a->id, false);
	case TAG_PARENT: return get_id(v, a->parent, true);
	case TAG_VALIDITY: return get_validity(v, a);
	case TAG_TIMES: return get_times(v, a);
	case TAG_FLAGS:
		a->standby = v.len == 1 && (v.p[0] & FLAG_STANDBY);
		/* An unknown flag would change what the authority may do. */
		return v.len == 1 && !(v.p[0] & ~FLAG_STANDBY);
	case TAG_CERT: return get_bytes(v, &a->cert);
	case TAG_SPKI: return get_bytes(v, &a->spki);
	case TAG_ENVELOPE: return get_bytes(v, &a->envelope);
	case TAG_SEQUENCE: return get_sequence(v, &a->sequence);
	case TAG_CANARY_SEQUENCE: return get_sequence(v, &a->canary_sequence);
	case TAG_CHAIN: return v.len > 0 && get_bytes(v, &a->chain);
	default: put_field(&a->rest, tag, v); return true;
	}
}

static mica_rc decode(struct mica_slice record, struct mica_authority *a, struct mica_err *e)
{
	struct mica_cursor c = {record, false};
	unsigned last = 0, seen = 0;
	if (record.len > MICA_AUTHORITY_RECORD_MAX || record.len < MAGIC_LEN ||
		memcmp(record.p, MAGIC, MAGIC_LEN - 1) != 0)
		return malformed(e, "its beginning");
	mica_cur_take(&c, MAGIC_LEN - 1);
	if (mica_cur_u8(&c) != 1)
		return mica_fail(e, MICA_CORRUPT, "store_newer",
			"an authority was written by a newer version of Mica");
	while (c.s.len) {
		unsigned tag = mica_cur_be16(&c);
		struct mica_slice v = mica_cur_take(&c, mica_cur_be32(&c));
		if (c.bad || tag <= last)
			return malformed(e, "its fields");
		if (tag & MUST_KNOW && tag != TAG_CHAIN)
			return mica_fail(e, MICA_CORRUPT, "store_newer",
				"an authority has a field (%u) of a newer version of Mica", tag);
		if (!get_field(a, tag, v))
			return malformed(e, "a value");
		last = tag;
		seen += tag < TAG_KNOWN_END;
	}
	return seen == TAG_KNOWN_END - 1 ? MICA_OK : malformed(e, "a field is missing");
}

mica_rc mica_authority_decode(
	struct mica_slice record, struct mica_authority *a, struct mica_err *e)
{
	mica_rc rc;
	mica_authority_init(a);
	rc = decode(record, a, e);
	if (rc)
		mica_authority_clear(a);
	return rc;
}

mica_rc mica_authority_chain(const struct mica_authority *a,
	struct mica_slice out[MICA_AUTHORITY_CHAIN_MAX], size_t *n, struct mica_err *e)
{
	struct mica_der d = mica_der(mica_buf_slice(&a->chain));
	*n = 0;
	while (d.s.len) {
		if (*n == MICA_AUTHORITY_CHAIN_MAX ||
			!mica_der_next(&d, MICA_DER_SEQUENCE, NULL, &out[*n]))
			return malformed(e, "its chain");
		(*n)++;
	}
	return MICA_OK;
}

/* ---- times and states ---------------------------------------------------------------------- */

mica_rc mica_authority_add_time(
	struct mica_authority *a, enum mica_authority_event ev, int64_t at, struct mica_err *e)
{
	if (a->n_times == MICA_AUTHORITY_TIMES_MAX)
		return mica_fail(e, MICA_LIMIT, "too_many_times",
			"authority %s has changed %d times, which is the most that is kept", a->id,
			MICA_AUTHORITY_TIMES_MAX);
	a->times[a->n_times++] = (struct mica_authority_time){ev, at};
	return MICA_OK;
}

int64_t mica_authority_first(
	const struct mica_authority *a, enum mica_authority_event ev, int64_t now)
{
	int64_t found = MICA_TIME_NEVER;
	for (unsigned i = 0; i < a->n_times; i++)
		if (a->times[i].event == ev && a->times[i].at <= now && a->times[i].at < found)
			found = a->times[i].at;
	return found;
}

int64_t mica_authority_last(
	const struct mica_authority *a, enum mica_authority_event ev, int64_t now)
{
	int64_t found = -1;
	for (unsigned i = 0; i < a->n_times; i++)
		if (a->times[i].event == ev && a->times[i].at <= now && a->times[i].at > found)
			found = a->times[i].at;
	return found < 0 ? MICA_TIME_NEVER : found;
}

static bool happened(const struct mica_authority *a, enum mica_authority_event ev, int64_t now)
{
	return mica_authority_first(a, ev, now) != MICA_TIME_NEVER;
}

/* The later of active and retired; 0 when neither was. */
static enum mica_authority_event last_use(const struct mica_authority *a, int64_t now)
{
	enum mica_authority_event use = 0;
	int64_t when = -1;
	for (unsigned i = 0; i < a->n_times; i++) {
		const struct mica_authority_time *t = &a->times[i];
		if ((t->event == MICA_AE_ACTIVE || t->event == MICA_AE_RETIRED) && t->at <= now &&
			t->at >= when) {
			when = t->at;
			use = t->event;
		}
	}
	return use;
}

enum mica_authority_state mica_authority_state_at(const struct mica_authority *a, int64_t now)
{
	if (happened(a, MICA_AE_REMOVED, now))
		return MICA_AS_REMOVED;
	if (happened(a, MICA_AE_REVOKED, now))
		return MICA_AS_REVOKED;
	if (happened(a, MICA_AE_TAINTED, now))
		return MICA_AS_TAINTED;
	if (now > a->not_after)
		return MICA_AS_EXPIRED;
	switch (last_use(a, now)) {
	case MICA_AE_ACTIVE: return MICA_AS_ACTIVE;
	case MICA_AE_RETIRED: return MICA_AS_RETIRED;
	default: break;
	}
	if (happened(a, MICA_AE_READY, now))
		return MICA_AS_READY;
	if (happened(a, MICA_AE_PUBLISHED, now))
		return MICA_AS_PUBLISHED;
	return MICA_AS_PENDING;
}

int64_t mica_authority_next_change(const struct mica_authority *a, int64_t now)
{
	int64_t next = a->not_after >= now ? a->not_after + 1 : MICA_TIME_NEVER;
	for (unsigned i = 0; i < a->n_times; i++)
		if (a->times[i].at > now && a->times[i].at < next)
			next = a->times[i].at;
	return next;
}

bool mica_authority_is_published(const struct mica_authority *a, int64_t now)
{
	return happened(a, MICA_AE_PUBLISHED, now) && !happened(a, MICA_AE_REMOVED, now);
}

bool mica_authority_in_canary(const struct mica_authority *a, int64_t now)
{
	bool in = mica_authority_is_published(a, now);
	int64_t when = -1;
	if (happened(a, MICA_AE_REMOVED, now))
		return false;
	for (unsigned i = 0; i < a->n_times; i++) {
		const struct mica_authority_time *t = &a->times[i];
		if ((t->event != MICA_AE_CANARY_IN && t->event != MICA_AE_CANARY_OUT) ||
			t->at > now || t->at < when)
			continue;
		when = t->at;
		in = t->event == MICA_AE_CANARY_IN;
	}
	return in;
}

int mica_authority_active(const struct mica_authority *list, size_t n, const char *set,
	enum mica_authority_kind kind, int64_t now)
{
	int found = -1;
	int64_t since = -1;
	for (size_t i = 0; i < n; i++) {
		const struct mica_authority *a = &list[i];
		int64_t at = mica_authority_last(a, MICA_AE_ACTIVE, now);
		if (a->kind == kind && strcmp(a->set, set) == 0 &&
			mica_authority_state_at(a, now) == MICA_AS_ACTIVE && at > since) {
			found = (int)i;
			since = at;
		}
	}
	return found;
}
