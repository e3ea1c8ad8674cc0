/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who still has something of a compromised authority. While one is on its way out the ledger is
 * read, from the first thing that it can have signed on and a part at a time: who got something of
 * it is exposed until it gets something else, or until that has ended. When nobody is left the root
 * can go, long before the deadline; and how long that took is known.
 *
 * A holder is a pod (at one front), or else a certificate, followed by its renewals. What is told
 * apart no further counts as one: two programs of one pod that ask at the same front. Kept in
 * memory alone: a start reads the ledger again, and finds the same.
 */
#include "core_impl.h"

#include <inttypes.h>
#include <openssl/sha.h>
#include <stdio.h>

#define KEY_LEN     17
#define READ_MAX    32768 /* entries in one go */
#define SWEEP_EVERY 5000 /* ms */
#define ROOM_FIRST  1024
#define ROOM_MAX    (1u << 20) /* places: 40 MiB */
#define NAMED_MAX   100

struct holder {
	uint8_t key[KEY_LEN]; /* first octet 0 = an empty place */
	int64_t end; /* of what it has */
	uint64_t index; /* of its entry */
};

struct core_renewals {
	/* What it is about: ids of the authorities, in the order of the view; and since when. */
	char of[CORE_AUTHORITY_MAX][MICA_KEY_ID_SIZE];
	unsigned n_of;
	int64_t since; /* seconds */
	struct holder *v; /* linear probing; room is a power of two */
	size_t n, room;
	uint64_t next; /* index of the entry to be read next */
	bool behind;
	bool full; /* there is more than is known here */
	uint64_t holders, renewed, ended;
	int64_t last_ms; /* of the last renewal; 0 = none */
	int64_t swept_ms;
};

struct core_renewals *mica_core_renewals_new(void)
{
	return MICA_NEW(struct core_renewals);
}

void mica_core_renewals_free(struct core_renewals *r)
{
	if (!r)
		return;
	mica_free(r->v);
	mica_free(r);
}

/* ---- the table ------------------------------------------------------------------------------- */

/* Keys are hashes, random UIDs and serials: their last octets are as good as any hash. A pod's
 * owner cannot choose its UID. */
static size_t place(const struct core_renewals *r, const uint8_t key[KEY_LEN])
{
	uint64_t h = 0;

	memcpy(&h, key + KEY_LEN - sizeof(h), sizeof(h));
	return (size_t)((h * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (r->room - 1);
}

static size_t seek(const struct core_renewals *r, const uint8_t key[KEY_LEN])
{
	size_t i = place(r, key);

	while (r->v[i].key[0] && memcmp(r->v[i].key, key, KEY_LEN) != 0)
		i = (i + 1) & (r->room - 1);
	return i;
}

static void grow(struct core_renewals *r)
{
	struct holder *old = r->v;
	size_t was = r->room;

	r->room = was ? 2 * was : ROOM_FIRST;
	r->v = mica_calloc(r->room, sizeof(*r->v));
	for (size_t i = 0; i < was; i++)
		if (old[i].key[0])
			r->v[seek(r, old[i].key)] = old[i];
	mica_free(old);
}

static void expose(struct core_renewals *r, const struct holder *h)
{
	struct holder *at;

	if (4 * (r->n + 1) > 3 * r->room) {
		if (r->room == ROOM_MAX) {
			r->full = true; /* then the deadline alone counts */
			return;
		}
		grow(r);
	}
	at = &r->v[seek(r, h->key)];
	if (!at->key[0]) {
		r->n++;
		r->holders++;
		*at = *h;
	} else if (at->end < h->end) {
		*at = *h;
	}
}

/* Closes the gap, so that whoever was pushed behind it is still found. */
static void take_out(struct core_renewals *r, size_t i)
{
	size_t hole = i;

	r->v[i].key[0] = 0;
	r->n--;
	for (;;) {
		size_t home;

		i = (i + 1) & (r->room - 1);
		if (!r->v[i].key[0])
			return;
		home = place(r, r->v[i].key);
		if (((i - home) & (r->room - 1)) < ((i - hole) & (r->room - 1)))
			continue;
		r->v[hole] = r->v[i];
		r->v[i].key[0] = 0;
		hole = i;
	}
}

static bool forget(struct core_renewals *r, const uint8_t key[KEY_LEN])
{
	size_t i;

	if (r->n == 0)
		return false;
	i = seek(r, key);
	if (!r->v[i].key[0])
		return false;
	take_out(r, i);
	return true;
}

/* What has ended harms nobody. */
static void sweep(struct core_renewals *r, int64_t now)
{
	for (size_t i = 0; i < r->room;) {
		if (!r->v[i].key[0] || r->v[i].end >= now) {
			i++;
			continue;
		}
		take_out(r, i); /* and look at whoever has come into its place */
		r->ended++;
	}
}

/* ---- the ledger ------------------------------------------------------------------------------ */

static void key_of_serial(struct mica_slice serial, uint8_t key[KEY_LEN])
{
	memset(key, 0, KEY_LEN);
	key[0] = 's';
	memcpy(key + 1, serial.p, serial.len < 16 ? serial.len : 16);
}

static void key_of(
	const struct mica_entry *en, const struct mica_entry_keys *keys, uint8_t key[KEY_LEN])
{
	static const struct mica_uid none;
	uint8_t hash[32];

	if (memcmp(&en->pod_uid, &none, sizeof(none)) != 0) {
		key[0] = (uint8_t)(0x80 | en->ev_front);
		memcpy(key + 1, en->pod_uid.b, 16);
	} else if (en->ev_kind == MICA_EV_SELF) { /* micad's own: one of each name */
		SHA256(keys->spiffe_id.p, keys->spiffe_id.len, hash);
		key[0] = 'm';
		memcpy(key + 1, hash, 16);
	} else {
		key_of_serial(keys->serial, key);
	}
}

static bool is_of(const struct core_renewals *r, struct mica_slice authority)
{
	char id[MICA_KEY_ID_SIZE];

	if (authority.len != MICA_KEY_ID_LEN)
		return false;
	mica_hex_encode(authority.p, MICA_KEY_ID_LEN, id);
	for (unsigned i = 0; i < r->n_of; i++)
		if (strcmp(r->of[i], id) == 0)
			return true;
	return false;
}

/* The certificate that was shown for this one, whose holder has moved on. */
static bool predecessor(const struct mica_entry *en, uint8_t key[KEY_LEN])
{
	uint8_t serial[MICA_SERIAL_LEN];
	size_t len = sizeof(serial);

	if (en->ev_kind != MICA_EV_RENEWAL || mica_hex_decode(en->ev_id, serial, &len) != MICA_OK ||
		len != sizeof(serial))
		return false;
	key_of_serial(mica_slice(serial, len), key);
	return true;
}

static void take_entry(
	struct core_renewals *r, const struct mica_entry *en, uint64_t index, int64_t now)
{
	struct mica_entry_keys keys;
	struct holder h = {.index = index};
	uint8_t before[KEY_LEN];
	bool of, had = false;

	if (en->type != MICA_ENTRY_X509_ISSUED)
		return;
	if (mica_entry_keys(en, &keys, NULL) != MICA_OK) {
		r->full = true; /* whose it is cannot be said: the deadline alone counts */
		return;
	}
	of = is_of(r, keys.authority);
	key_of(en, &keys, h.key);
	h.end = keys.not_after;
	if (predecessor(en, before) && memcmp(before, h.key, KEY_LEN) != 0)
		had = forget(r, before);
	if (of) {
		r->holders -= had; /* the same one, under its new serial */
		if (h.end >= now)
			expose(r, &h);
		return;
	}
	had = forget(r, h.key) || had;
	r->renewed += had;
	if (had)
		r->last_ms = en->time_ms;
}

static mica_rc read_some(
	struct mica_core *c, struct core_renewals *r, int64_t now, struct mica_err *e)
{
	uint64_t size = mica_ledger_size(c->ledger),
		 to = size - r->next > READ_MAX ? r->next + READ_MAX : size;
	MICA_AUTO_BUF body;

	mica_buf_init(&body, MICA_ENTRY_MAX);
	for (; r->next < to; r->next++) {
		struct mica_entry en;
		mica_rc rc;

		mica_buf_reset(&body);
		rc = mica_ledger_entry(c->ledger, r->next, &body, e);
		if (rc != MICA_OK)
			return rc;
		if (mica_entry_decode(mica_buf_slice(&body), &en, NULL) == MICA_OK)
			take_entry(r, &en, r->next, now);
		else
			r->full = true; /* of a newer program: the deadline alone counts */
	}
	r->behind = r->next < size;
	return MICA_OK;
}

static bool first_index(
	void *ctx, uint64_t index, const struct mica_entry *entry, struct mica_slice bytes)
{
	(void)entry;
	(void)bytes;
	*(uint64_t *)ctx = index;
	return false;
}

/* The first entry of a time or later; the size when there is none yet. */
static mica_rc find_first(
	struct mica_core *c, int64_t since_ms, uint64_t *index, struct mica_err *e)
{
	struct mica_ledger_query q = {.since_ms = since_ms, .oldest_first = true, .limit = 1};
	char next[MICA_CURSOR_SIZE] = "", at[MICA_CURSOR_SIZE] = "";
	mica_rc rc;

	*index = UINT64_MAX;
	do {
		memcpy(at, next, sizeof(at));
		q.cursor = mica_slice_str(at);
		rc = mica_ledger_query(c->ledger, &q, first_index, index, next, e);
	} while (rc == MICA_OK && *index == UINT64_MAX && next[0]);
	if (*index == UINT64_MAX)
		*index = mica_ledger_size(c->ledger);
	return rc;
}

/* ---- what it is about ------------------------------------------------------------------------ */

static bool is_compromised(enum mica_authority_state s)
{
	return s == MICA_AS_TAINTED || s == MICA_AS_REVOKED;
}

/* Since when an authority is known to be compromised, itself or by its root or another one below
 * that; NEVER = it is not. */
static int64_t known_since(const struct mica_authority *list, size_t n, size_t i, int64_t now)
{
	int64_t since = MICA_TIME_NEVER;

	for (size_t k = 0; k < n; k++) {
		enum mica_authority_state s = mica_authority_state_at(&list[k], now);
		bool same = k == i, above = strcmp(list[k].id, list[i].parent) == 0,
		     beside = list[i].parent[0] && strcmp(list[k].parent, list[i].parent) == 0;
		int64_t at = mica_authority_first(&list[k], MICA_AE_TAINTED, now);

		/* a revoked one takes nobody with it */
		if (!(same && is_compromised(s)) &&
			!((above || beside) && s == MICA_AS_TAINTED && now <= list[k].not_after))
			continue;
		since = at < since ? at : since;
	}
	return since;
}

static bool is_on_its_way_out(const struct mica_authority *list, size_t n, size_t i, int64_t now)
{
	return list[i].kind == MICA_AUTHORITY_ISSUING &&
		mica_authority_state_at(&list[i], now) != MICA_AS_REMOVED &&
		now <= list[i].not_after && known_since(list, n, i, now) != MICA_TIME_NEVER;
}

/* Those that are on their way out, in the order of the view. */
struct ways_out {
	char of[CORE_AUTHORITY_MAX][MICA_KEY_ID_SIZE];
	unsigned n;
	int64_t since, born; /* the first taint; the first of them was made */
};

static void find_out(const struct core_authorities *a, int64_t now, struct ways_out *w)
{
	memset(w, 0, sizeof(*w));
	w->since = w->born = MICA_TIME_NEVER;
	for (unsigned i = 0; i < a->n; i++) {
		int64_t since, made;

		if (!is_on_its_way_out(a->v, a->n, i, now))
			continue;
		since = known_since(a->v, a->n, i, now);
		made = mica_authority_first(&a->v[i], MICA_AE_CREATED, now);
		made = made == MICA_TIME_NEVER ? a->v[i].not_before : made;
		memcpy(w->of[w->n++], a->v[i].id, MICA_KEY_ID_SIZE);
		w->since = since < w->since ? since : w->since;
		w->born = made < w->born ? made : w->born;
	}
}

static bool same(const struct core_renewals *r, const struct ways_out *w)
{
	return r->n_of == w->n && memcmp(r->of, w->of, sizeof(r->of)) == 0;
}

/* Begins anew when it is about other authorities than before. */
static mica_rc begin(
	struct mica_core *c, const struct core_view *v, int64_t now, struct mica_err *e)
{
	struct core_renewals *r = c->renewals;
	struct core_renewals fresh = {.behind = true};
	struct ways_out w;
	mica_rc rc;

	find_out(v->auths, now, &w);
	if (same(r, &w))
		return MICA_OK;
	fresh.n_of = w.n;
	fresh.since = w.since;
	memcpy(fresh.of, w.of, sizeof(fresh.of));
	if (w.n > 0) {
		/* clocks go back: a minute more costs little */
		rc = find_first(c, (w.born - 60) * 1000, &fresh.next, e);
		if (rc != MICA_OK)
			return rc;
	}
	mica_free(r->v);
	*r = fresh;
	return MICA_OK;
}

/* ---- looking --------------------------------------------------------------------------------- */

static bool is_over(const struct core_renewals *r)
{
	return r->n_of > 0 && !r->behind && !r->full && r->n == 0;
}

static void tell(struct mica_core *c)
{
	const struct core_renewals *r = c->renewals;
	bool over = is_over(r) && r->renewed > 0;
	int64_t took = r->last_ms / 1000 - r->since;

	atomic_store(&c->exposed, r->n);
	if (over && !c->renewals_told) {
		atomic_store(&c->renewal_seconds, took > 0 ? took : 0);
		atomic_fetch_add(&c->renewals_done, 1);
	}
	c->renewals_told = over;
}

mica_rc mica_core_renewals_look(struct mica_core *c, int64_t now_ms, struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	struct core_renewals *r = c->renewals;
	int64_t now = mica_core_decision_ms(c, now_ms) / 1000;
	mica_rc rc = begin(c, v, now, e);

	if (rc == MICA_OK && r->n_of > 0)
		rc = read_some(c, r, now, e);
	if (now_ms >= r->swept_ms + SWEEP_EVERY || now_ms < r->swept_ms) {
		sweep(r, now);
		r->swept_ms = now_ms;
	}
	tell(c);
	return rc;
}

bool mica_core_renewed(const struct mica_core *c, const struct core_view *v, int64_t now)
{
	const struct core_renewals *r = c->renewals;
	struct ways_out w;

	/* an answer that has just left is put to use first */
	if (!is_over(r) || now <= r->last_ms / 1000 + v->policy->rotation.skew)
		return false;
	/* another one may have been tainted since we looked */
	find_out(v->auths, now, &w);
	return same(r, &w);
}

/* ---- telling --------------------------------------------------------------------------------- */

static void put_holder(
	struct mica_core *c, const struct holder *h, struct mica_buf *json, bool more)
{
	struct mica_entry_keys keys;
	struct mica_entry en;
	MICA_AUTO_BUF body;

	mica_buf_init(&body, MICA_ENTRY_MAX);
	if (mica_ledger_entry(c->ledger, h->index, &body, NULL) != MICA_OK ||
		mica_entry_decode(mica_buf_slice(&body), &en, NULL) != MICA_OK ||
		mica_entry_keys(&en, &keys, NULL) != MICA_OK)
		return;
	mica_buf_put_str(json, more ? ",{\"spiffe_id\":" : "{\"spiffe_id\":");
	mica_buf_put_json_string(json, keys.spiffe_id);
	mica_buf_put_str(json, ",\"serial\":\"");
	mica_buf_put_hex(json, keys.serial.p, keys.serial.len);
	mica_buf_put_u8(json, '"');
	mica_core_put_time(json, ",", "expires", h->end);
	mica_buf_put_u8(json, '}');
}

void mica_core_put_renewals(struct mica_core *c, struct mica_buf *json)
{
	const struct core_renewals *r = c->renewals;
	int64_t took = r->last_ms / 1000 - r->since;
	unsigned named = 0;

	if (r->n_of == 0) {
		mica_buf_put_str(json, ",\"compromise\":null");
		return;
	}
	mica_core_put_time(json, ",\"compromise\":{", "since", r->since);
	mica_buf_put_str(json, ",\"authorities\":[");
	for (unsigned i = 0; i < r->n_of; i++)
		mica_buf_printf(json, "%s\"%s\"", i ? "," : "", r->of[i]);
	mica_buf_printf(json,
		"],\"holders\":%" PRIu64 ",\"renewed\":%" PRIu64 ",\"ended\":%" PRIu64
		",\"exposed\":%zu,\"reading\":%s,\"too_many\":%s",
		r->holders, r->renewed, r->ended, r->n, r->behind ? "true" : "false",
		r->full ? "true" : "false");
	mica_core_put_time(json, ",", "last_renewal", r->last_ms / 1000);
	if (r->renewed > 0)
		mica_buf_printf(json, ",\"seconds\":%" PRId64, took > 0 ? took : 0);
	else
		mica_buf_put_str(json, ",\"seconds\":null");
	mica_buf_put_str(json, ",\"who\":[");
	for (size_t i = 0; i < r->room && named < NAMED_MAX; i++)
		if (r->v[i].key[0])
			put_holder(c, &r->v[i], json, named++ > 0);
	mica_buf_put_str(json, "]}");
}

void mica_core_put_renewed(const struct mica_core *c, struct mica_buf *json)
{
	const struct core_renewals *r = c->renewals;
	int64_t took = r->last_ms / 1000 - r->since;

	mica_buf_printf(json,
		",\"holders\":%" PRIu64 ",\"renewed\":%" PRIu64 ",\"ended\":%" PRIu64
		",\"seconds\":%" PRId64,
		r->holders, r->renewed, r->ended, took > 0 && r->last_ms ? took : 0);
}
