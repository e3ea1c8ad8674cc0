/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which certificate follows which (design 8.4). Lineage exists where a predecessor is presented: in
 *a renewal by certificate, or by an instance of a pod that says it is the same one again. Two
 *things are told of it:
 *
 *	renewal missed	the last certificate of a line has ended, and nothing followed it
 *	forked		two successors of one certificate were both presented themselves, or a
 *			certificate was used after its successor was: somebody has a copy
 *
 * A successor that was never presented is nobody's: its answer may have been lost. Links are kept
 *in memory while their certificates live, changed where a certificate was recorded or presented,
 *and written behind in batches; after a start they are read again, and what was recorded since the
 *mark is read from the ledger. What was presented and not written yet is lost: fewer forks are seen
 *then, never more.
 */
#define OPENSSL_SUPPRESS_DEPRECATED /* SHA256_Init: no look-up of the algorithm at each call */
#include "core_impl.h"

#include <openssl/sha.h>
#include <stdio.h>

#define BUCKETS     32768
#define LINKS_MAX   131072
#define TALES_MAX   1024 /* events that wait to be recorded */
#define TALES_FLUSH 16 /* recorded in one commit */
#define FLUSH_MAX   1000 /* links written in one commit */
#define LOAD_MAX    4096 /* links read in one call, at the start */
#define CATCH_UP    1000 /* entries read again in one call */
#define SWEEP_ALL   8192 /* so many links are looked at each time, of more a part */
#define SWEEP_PARTS 16
#define GRACE       60 /* s: connections with the old certificate end, clocks differ */
#define ANCESTORS   16 /* that are looked at */
#define VALUE_LEN   90
#define VERSION     1

enum flag {
	FOLLOWED = 1, /* a successor was issued */
	SUPERSEDED = 2, /* another one was issued in its place, before it was presented */
	FORKED = 4,
	TOLD = 8 /* that it has ended with nothing behind it */
};

typedef uint8_t serial_t[16];
static const serial_t none;

struct link {
	struct link *chain; /* of its serial's bucket */
	struct link *line_chain; /* of its line's bucket, where the last of each line is */
	struct link *next_dirty;
	serial_t serial;
	serial_t before; /* whom it follows */
	serial_t line; /* of a pod and instance */
	serial_t successor; /* the last one */
	serial_t seen_successor; /* that was presented first */
	int64_t end, seen, successor_seen; /* seconds; 0 = never */
	uint8_t flags;
	bool dirty, dead, of_line;
};

/* What is to be told. */
struct tale {
	bool forked;
	serial_t serial, other; /* whom it is about; forked: who was presented just now */
	bool seen;
};

struct core_lineage {
	pthread_mutex_t lock;
	uint64_t seed;
	struct link **by_serial, **by_line; /* buckets */
	unsigned n;
	struct link *dirty, **dirty_end;
	struct tale tales[TALES_MAX];
	unsigned n_tales;
	uint64_t untold, untracked, forks, missed;
	bool behind; /* links may be missing: nothing is concluded from what is not there */
	/* maintain's alone */
	bool loaded;
	serial_t load_after;
	bool load_begun;
	char next[MICA_CURSOR_SIZE];
	struct core_mark mark;
	unsigned swept;
};

struct core_lineage *mica_core_lineage_new(void)
{
	struct core_lineage *l = MICA_NEW(struct core_lineage);

	l->mark.name = "lineage";
	pthread_mutex_init(&l->lock, NULL);
	mica_random(&l->seed, sizeof(l->seed));
	l->by_serial = mica_calloc(BUCKETS, sizeof(struct link *));
	l->by_line = mica_calloc(BUCKETS, sizeof(struct link *));
	l->dirty_end = &l->dirty;
	return l;
}

void mica_core_lineage_free(struct core_lineage *l)
{
	for (unsigned i = 0; i < BUCKETS; i++)
		for (struct link *k = l->by_serial[i], *next; k; k = next) {
			next = k->chain;
			mica_free(k);
		}
	mica_free(l->by_serial);
	mica_free(l->by_line);
	pthread_mutex_destroy(&l->lock);
	mica_free(l);
}

/* ---- links: all of this under the lock ---------------------------------------------------------
 */

static bool is_none(const serial_t s)
{
	return memcmp(s, none, sizeof(none)) == 0;
}

/* Serials are ours, but lines are not: the seed keeps them from being chosen to meet. */
static unsigned bucket(const struct core_lineage *l, const serial_t s)
{
	uint64_t h = l->seed;

	for (unsigned i = 0; i < sizeof(serial_t); i++)
		h = (h ^ s[i]) * UINT64_C(0x100000001b3);
	return (unsigned)((h ^ h >> 32) % BUCKETS);
}

static struct link *find(const struct core_lineage *l, const serial_t s)
{
	struct link *k = is_none(s) ? NULL : l->by_serial[bucket(l, s)];

	while (k && (k->dead || memcmp(k->serial, s, sizeof(serial_t)) != 0))
		k = k->chain;
	return k;
}

static void touch(struct core_lineage *l, struct link *k)
{
	if (k->dirty)
		return;
	k->dirty = true;
	k->next_dirty = NULL;
	*l->dirty_end = k;
	l->dirty_end = &k->next_dirty;
}

static struct link *add(struct core_lineage *l, const serial_t serial, int64_t end)
{
	struct link *k, **at;

	if (l->n >= LINKS_MAX) {
		l->untracked++;
		return NULL;
	}
	k = MICA_NEW(struct link);
	memcpy(k->serial, serial, sizeof(k->serial));
	k->end = end;
	at = &l->by_serial[bucket(l, serial)];
	k->chain = *at;
	*at = k;
	l->n++;
	return k;
}

static struct link **line_place(struct core_lineage *l, const serial_t line)
{
	struct link **at = &l->by_line[bucket(l, line)];

	while (*at && memcmp((*at)->line, line, sizeof(serial_t)) != 0)
		at = &(*at)->line_chain;
	return at;
}

static struct link *last_of_line(struct core_lineage *l, const serial_t line)
{
	return is_none(line) ? NULL : *line_place(l, line);
}

static void leave_line(struct core_lineage *l, struct link *k)
{
	if (!k->of_line)
		return;
	*line_place(l, k->line) = k->line_chain;
	k->line_chain = NULL;
	k->of_line = false;
}

/* Serials begin with their time: the later one is the last of the line. */
static void join_line(struct core_lineage *l, struct link *k)
{
	struct link *last = last_of_line(l, k->line), **at;

	if (is_none(k->line) || last == k)
		return;
	if (last && memcmp(last->serial, k->serial, sizeof(serial_t)) > 0) {
		k->flags |= FOLLOWED;
		return;
	}
	if (last) {
		last->flags |= FOLLOWED;
		leave_line(l, last);
	}
	at = &l->by_line[bucket(l, k->line)];
	k->line_chain = *at;
	*at = k;
	k->of_line = true;
}

static void tell(struct core_lineage *l, const struct tale *t)
{
	l->forks += t->forked;
	l->missed += !t->forked;
	if (l->n_tales < TALES_MAX)
		l->tales[l->n_tales++] = *t;
	else
		l->untold++;
}

static void fork_at(struct core_lineage *l, struct link *k, const serial_t other)
{
	struct tale t = {.forked = true, .seen = true};
	struct link *child = find(l, k->seen_successor);

	if (k->flags & FORKED)
		return;
	k->flags |= FORKED;
	touch(l, k);
	if (child) {
		child->flags |=
			FORKED; /* it is of the forked line, and goes on when this one ends */
		touch(l, child);
	}
	memcpy(t.serial, k->serial, sizeof(t.serial));
	memcpy(t.other, other, sizeof(t.other));
	tell(l, &t);
}

/* ---- what happens ------------------------------------------------------------------------------
 */

/* One certificate that follows another, or belongs to an instance. */
struct birth {
	serial_t serial, before, line;
	int64_t end, before_end;
};

static void follow(struct core_lineage *l, struct link *k, struct link *p)
{
	struct link *last = find(l, p->successor);

	if (last && last != k && !last->seen && !(last->flags & FOLLOWED)) {
		last->flags |= SUPERSEDED;
		touch(l, last);
	}
	p->flags |= FOLLOWED;
	memcpy(p->successor, k->serial, sizeof(p->successor));
	touch(l, p);
	memcpy(k->before, p->serial, sizeof(k->before));
	if (p->flags & FORKED)
		k->flags |= FORKED;
}

static void be_born(struct core_lineage *l, const struct birth *b)
{
	struct link *p, *k;

	if (find(l, b->serial))
		return; /* read again */
	p = find(l, b->before);
	if (!p && !is_none(b->before))
		p = add(l, b->before, b->before_end);
	if (!p)
		p = last_of_line(l, b->line);
	k = add(l, b->serial, b->end);
	if (!k)
		return;
	touch(l, k);
	memcpy(k->line, b->line, sizeof(k->line));
	if (p)
		follow(l, k, p);
	join_line(l, k);
}

static void line_of(const struct mica_uid *pod, struct mica_slice instance, serial_t line)
{
	uint8_t hash[SHA256_DIGEST_LENGTH];
	SHA256_CTX h;

	memset(line, 0, sizeof(serial_t));
	if (instance.len == 0 || memcmp(pod->b, none, sizeof(none)) == 0)
		return;
	SHA256_Init(&h);
	SHA256_Update(&h, pod->b, sizeof(pod->b));
	SHA256_Update(&h, instance.p, instance.len);
	SHA256_Final(hash, &h);
	memcpy(line, hash, sizeof(serial_t));
}

void mica_core_lineage_note(struct mica_candidate *k, const struct core_decision *d)
{
	size_t len = sizeof(k->before);

	if (d->evidence->kind == MICA_EV_RENEWAL &&
		mica_hex_decode(mica_slice_str(d->evidence->id), k->before, &len) == MICA_OK)
		k->before_end = d->evidence->credential_expiry;
	line_of(&d->principal->pod_uid, d->instance, k->line);
}

void mica_core_lineage_born(struct mica_core *c, const struct mica_candidate *k)
{
	struct birth b = {.end = k->end, .before_end = k->before_end};

	if (is_none(k->before) && is_none(k->line))
		return;
	memcpy(b.serial, k->serial, sizeof(b.serial));
	memcpy(b.before, k->before, sizeof(b.before));
	memcpy(b.line, k->line, sizeof(b.line));
	pthread_mutex_lock(&c->lineage->lock);
	be_born(c->lineage, &b);
	pthread_mutex_unlock(&c->lineage->lock);
}

static void be_seen(struct core_lineage *l, struct link *k, int64_t now)
{
	struct link *p = find(l, k->before);

	if (k->successor_seen && now > k->successor_seen + GRACE)
		fork_at(l, k, k->serial);
	if (k->seen)
		return;
	k->seen = now;
	touch(l, k);
	if (!p)
		return;
	if (p->successor_seen == 0) {
		p->successor_seen = now;
		memcpy(p->seen_successor, k->serial, sizeof(p->seen_successor));
		touch(l, p);
		return;
	}
	fork_at(l, p, k->serial);
	k->flags |= FORKED;
}

void mica_core_lineage_seen(struct mica_core *c, const uint8_t serial[16], int64_t now)
{
	struct core_lineage *l = c->lineage;
	struct link *k;

	pthread_mutex_lock(&l->lock);
	k = find(l, serial);
	if (k)
		be_seen(l, k, now);
	pthread_mutex_unlock(&l->lock);
}

/* Of a forked line: itself, or one before it that is still known. */
static bool is_forked(struct core_lineage *l, const serial_t serial)
{
	struct link *k = find(l, serial);

	for (unsigned i = 0; k && i < ANCESTORS; i++) {
		if (k->flags & FORKED)
			return true;
		k = find(l, k->before);
	}
	return false;
}

mica_rc mica_core_lineage_check(struct mica_core *c, const struct core_view *v,
	const struct mica_caller *caller, struct mica_err *e)
{
	bool forked;

	/* a fresh token is no part of any line */
	if (!v->policy->refuse_forks || caller->evidence.kind != MICA_EV_RENEWAL)
		return MICA_OK;
	pthread_mutex_lock(&c->lineage->lock);
	forked = is_forked(c->lineage, caller->serial);
	pthread_mutex_unlock(&c->lineage->lock);
	if (!forked)
		return MICA_OK;
	return mica_fail(e, MICA_DENIED, "lineage_forked",
		"two holders use certificates of one line; expected a fresh token");
}

/* ---- ends --------------------------------------------------------------------------------------
 */

/* Nothing followed, and somebody was there who should have come again. */
static void conclude(struct core_lineage *l, struct link *k)
{
	struct tale t = {.seen = k->seen != 0};

	if (!(k->flags & (FOLLOWED | SUPERSEDED | TOLD)) && (k->seen || !is_none(k->before))) {
		memcpy(t.serial, k->serial, sizeof(t.serial));
		tell(l, &t);
	}
	k->flags |= TOLD;
	k->dead = true;
	leave_line(l, k);
	touch(l, k);
}

static void sweep(struct core_lineage *l, int64_t now)
{
	unsigned part = l->n <= SWEEP_ALL ? BUCKETS : BUCKETS / SWEEP_PARTS;

	for (unsigned i = 0; i < part; i++) {
		l->swept = (l->swept + 1) % BUCKETS;
		for (struct link *k = l->by_serial[l->swept]; k; k = k->chain)
			if (!k->dead && k->end < now)
				conclude(l, k);
	}
}

static void drop(struct core_lineage *l, struct link *k)
{
	struct link **at = &l->by_serial[bucket(l, k->serial)];

	while (*at != k)
		at = &(*at)->chain;
	*at = k->chain;
	l->n--;
	mica_free(k);
}

/* ---- reading again ------------------------------------------------------------------------------
 */

void mica_core_lineage_begin(struct mica_core *c, int64_t now_ms)
{
	c->lineage->behind = true;
	mica_core_mark_begin(&c->lineage->mark, now_ms);
}

static void get_serial(struct mica_cursor *cur, serial_t out)
{
	struct mica_slice s = mica_cur_take(cur, sizeof(serial_t));

	if (s.len == sizeof(serial_t))
		memcpy(out, s.p, s.len);
}

/* What is in memory already is younger than the record. */
static void merge(struct core_lineage *l, const struct link *was)
{
	struct link *k = find(l, was->serial), *p;

	if (k)
		touch(l, k);
	else
		k = add(l, was->serial, was->end);
	if (!k)
		return;
	k->flags |= was->flags;
	k->seen = k->seen ? k->seen : was->seen;
	if (is_none(k->before))
		memcpy(k->before, was->before, sizeof(k->before));
	if (is_none(k->line))
		memcpy(k->line, was->line, sizeof(k->line));
	if (is_none(k->successor))
		memcpy(k->successor, was->successor, sizeof(k->successor));
	if (was->successor_seen) {
		k->successor_seen = was->successor_seen;
		memcpy(k->seen_successor, was->seen_successor, sizeof(k->seen_successor));
	}
	p = find(l, k->before);
	if (p && memcmp(p->successor, k->serial, sizeof(serial_t)) > 0 && !k->seen &&
		!(k->flags & FOLLOWED))
		k->flags |= SUPERSEDED;
	join_line(l, k);
}

struct loading {
	struct core_lineage *l;
	unsigned n;
};

static bool load_one(void *ctx, struct mica_slice key, struct mica_slice value, uint64_t rev)
{
	struct loading *x = ctx;
	struct mica_cursor cur = {value, false};
	struct link was = {.flags = 0};

	(void)rev;
	x->n++;
	if (key.len != sizeof(serial_t) || mica_cur_u8(&cur) != VERSION)
		return true;
	memcpy(was.serial, key.p, key.len);
	memcpy(x->l->load_after, key.p, key.len);
	was.flags = mica_cur_u8(&cur);
	was.end = (int64_t)mica_cur_be64(&cur);
	was.seen = (int64_t)mica_cur_be64(&cur);
	was.successor_seen = (int64_t)mica_cur_be64(&cur);
	get_serial(&cur, was.before);
	get_serial(&cur, was.line);
	get_serial(&cur, was.successor);
	get_serial(&cur, was.seen_successor);
	if (!cur.bad)
		merge(x->l, &was);
	return true;
}

static mica_rc load(struct mica_core *c, struct mica_err *e)
{
	struct core_lineage *l = c->lineage;
	struct loading x = {l, 0};
	struct mica_scan scan = {.table = MICA_T_LINEAGE, .limit = LOAD_MAX};
	serial_t after;
	mica_rc rc;

	memcpy(after, l->load_after, sizeof(after));
	if (l->load_begun)
		scan.after = mica_slice(after, sizeof(after));
	pthread_mutex_lock(&l->lock);
	rc = mica_store_list(c->store, &scan, load_one, &x, e);
	pthread_mutex_unlock(&l->lock);
	l->load_begun = true;
	l->loaded = rc == MICA_OK && x.n < LOAD_MAX;
	return rc;
}

static bool catch_one(
	void *ctx, uint64_t index, const struct mica_entry *en, struct mica_slice bytes)
{
	struct core_lineage *l = ctx;
	struct mica_entry_keys keys;
	struct birth b = {.before_end = en->ev_expiry};
	size_t len = sizeof(b.before);

	(void)index;
	(void)bytes;
	line_of(&en->pod_uid, en->instance, b.line);
	if ((en->ev_kind != MICA_EV_RENEWAL ||
		    mica_hex_decode(en->ev_id, b.before, &len) != MICA_OK) &&
		is_none(b.line))
		return true;
	if (mica_entry_keys(en, &keys, NULL) != MICA_OK || keys.serial.len != sizeof(serial_t))
		return true;
	memcpy(b.serial, keys.serial.p, sizeof(b.serial));
	b.end = keys.not_after;
	pthread_mutex_lock(&l->lock);
	be_born(l, &b);
	pthread_mutex_unlock(&l->lock);
	return true;
}

static mica_rc catch_up(struct mica_core *c, int64_t now_ms, struct mica_err *e)
{
	struct core_lineage *l = c->lineage;
	struct mica_ledger_query q = {.type = MICA_ENTRY_X509_ISSUED,
		.oldest_first = true,
		.limit = CATCH_UP,
		.since_ms = mica_core_mark_read(c, &l->mark, now_ms)};
	char at[MICA_CURSOR_SIZE];
	mica_rc rc;

	memcpy(at, l->next, sizeof(at));
	q.cursor = mica_slice_str(at);
	rc = mica_ledger_query(c->ledger, &q, catch_one, l, l->next, e);
	if (rc != MICA_OK) {
		memcpy(l->next, at, sizeof(at));
		return rc;
	}
	l->behind = l->next[0] != '\0';
	return MICA_OK;
}

/* ---- writing behind
 * ------------------------------------------------------------------------------ */

static void put_link(struct core_change *ch, const struct link *k)
{
	MICA_AUTO_BUF b;

	mica_buf_init(&b, VALUE_LEN);
	mica_buf_put_u8(&b, VERSION);
	mica_buf_put_u8(&b, k->flags);
	mica_buf_put_be64(&b, (uint64_t)k->end);
	mica_buf_put_be64(&b, (uint64_t)k->seen);
	mica_buf_put_be64(&b, (uint64_t)k->successor_seen);
	mica_buf_put(&b, k->before, sizeof(serial_t));
	mica_buf_put(&b, k->line, sizeof(serial_t));
	mica_buf_put(&b, k->successor, sizeof(serial_t));
	mica_buf_put(&b, k->seen_successor, sizeof(serial_t));
	mica_core_change_write(ch, k->dead ? MICA_DELETE : MICA_PUT, MICA_T_LINEAGE,
		mica_slice(k->serial, sizeof(serial_t)),
		k->dead ? MICA_SLICE_NULL : mica_buf_slice(&b));
}

/* Takes links off the list of those to be written; how many. */
static unsigned take_dirty(
	struct core_lineage *l, struct core_change *ch, struct link *taken[FLUSH_MAX])
{
	unsigned n = 0;

	while (n < FLUSH_MAX && l->dirty) {
		struct link *k = l->dirty;

		l->dirty = k->next_dirty;
		k->dirty = false;
		put_link(ch, k);
		taken[n++] = k;
	}
	if (!l->dirty)
		l->dirty_end = &l->dirty;
	return n;
}

/* Who it is: the ledger knows. */
static void put_holder(struct mica_core *c, const serial_t serial, struct mica_buf *b)
{
	struct mica_entry_keys keys;
	char uid[MICA_UUID_SIZE];
	struct mica_entry en;
	MICA_AUTO_BUF body;
	uint64_t index;

	mica_buf_init(&body, MICA_ENTRY_MAX);
	if (mica_ledger_by_serial(c->ledger, serial, &index, NULL) != MICA_OK ||
		mica_ledger_entry(c->ledger, index, &body, NULL) != MICA_OK ||
		mica_entry_decode(mica_buf_slice(&body), &en, NULL) != MICA_OK ||
		mica_entry_keys(&en, &keys, NULL) != MICA_OK)
		return;
	mica_buf_put_str(b, ",\"spiffe_id\":");
	mica_buf_put_json_string(b, keys.spiffe_id);
	if (memcmp(keys.pod_uid.b, none, sizeof(none)) != 0) {
		mica_uuid_format(keys.pod_uid.b, uid);
		mica_core_put_string(b, ",", "pod_uid", uid);
	}
	mica_buf_printf(b, ",\"index\":%llu", (unsigned long long)index);
	mica_core_put_time(b, ",", "not_after", keys.not_after);
}

static void put_hex(struct mica_buf *b, const char *before, const char *name, const serial_t serial)
{
	mica_buf_printf(b, "%s\"%s\":\"", before, name);
	mica_buf_put_hex(b, serial, sizeof(serial_t));
	mica_buf_put_u8(b, '"');
}

static mica_rc note_tale(struct mica_core *c, const struct tale *t, struct core_change *ch,
	int64_t now_ms, struct mica_err *e)
{
	struct core_note n = {
		.type = MICA_ENTRY_LINEAGE, .action = t->forked ? "forked" : "renewal_missed"};
	MICA_AUTO_BUF detail;

	mica_buf_init(&detail, 4 * MICA_SPIFFE_ID_MAX);
	put_hex(&detail, "{", "serial", t->serial);
	if (t->forked)
		put_hex(&detail, ",", "presented", t->other);
	else
		mica_buf_printf(&detail, ",\"seen\":%s", t->seen ? "true" : "false");
	put_holder(c, t->serial, &detail);
	mica_buf_put_u8(&detail, '}');
	n.detail = mica_buf_slice(&detail);
	return mica_core_change_note(ch, &n, NULL, now_ms, e);
}

static mica_rc note_untold(
	uint64_t untold, struct core_change *ch, int64_t now_ms, struct mica_err *e)
{
	struct core_note n = {.type = MICA_ENTRY_LINEAGE, .action = "untold"};
	char detail[64];

	if (untold == 0)
		return MICA_OK;
	snprintf(detail, sizeof(detail), "{\"count\":%llu}", (unsigned long long)untold);
	n.detail = mica_slice_str(detail);
	return mica_core_change_note(ch, &n, NULL, now_ms, e);
}

/* Entries for the first of what is to be told; how many. */
static mica_rc note_tales(struct mica_core *c, struct core_change *ch, int64_t now_ms,
	unsigned *told, uint64_t *untold, struct mica_err *e)
{
	struct core_lineage *l = c->lineage;
	struct tale some[TALES_FLUSH];
	mica_rc rc = MICA_OK;

	pthread_mutex_lock(&l->lock);
	*told = l->n_tales < TALES_FLUSH ? l->n_tales : TALES_FLUSH;
	memcpy(some, l->tales, *told * sizeof(some[0]));
	*untold = *told < TALES_FLUSH ? l->untold : 0;
	pthread_mutex_unlock(&l->lock);
	for (unsigned i = 0; i < *told && rc == MICA_OK; i++)
		rc = note_tale(c, &some[i], ch, now_ms, e);
	return rc == MICA_OK ? note_untold(*untold, ch, now_ms, e) : rc;
}

/* What was written is written; what was not will be. */
static void settle(struct core_lineage *l, struct link *const *taken, unsigned n, bool ok)
{
	pthread_mutex_lock(&l->lock);
	for (unsigned i = 0; i < n; i++) {
		if (!ok)
			touch(l, taken[i]);
		else if (taken[i]->dead && !taken[i]->dirty)
			drop(l, taken[i]);
	}
	pthread_mutex_unlock(&l->lock);
}

static void forget_tales(struct core_lineage *l, unsigned told, uint64_t untold)
{
	pthread_mutex_lock(&l->lock);
	l->n_tales -= told;
	memmove(l->tales, l->tales + told, l->n_tales * sizeof(l->tales[0]));
	l->untold -= untold;
	pthread_mutex_unlock(&l->lock);
}

static mica_rc write_behind(struct mica_core *c, int64_t now_ms, struct mica_err *e)
{
	struct core_lineage *l = c->lineage;
	MICA_AUTO_FREE struct link **taken = mica_calloc(FLUSH_MAX, sizeof(*taken));
	CORE_AUTO_CHANGE ch = {.n_reads = 0};
	unsigned n, told = 0;
	uint64_t untold = 0;
	mica_rc rc = note_tales(c, &ch, now_ms, &told, &untold, e);

	if (rc != MICA_OK)
		return rc;
	pthread_mutex_lock(&l->lock);
	n = take_dirty(l, &ch, taken);
	if (!c->lineage->behind && !c->lineage->dirty)
		mica_core_mark_put(c, &c->lineage->mark, &ch, now_ms);
	pthread_mutex_unlock(&l->lock);
	if (ch.n_writes > 0 || ch.n_entries > 0)
		rc = mica_core_change_commit(c, &ch, now_ms, e);
	settle(l, taken, n, rc == MICA_OK);
	if (rc == MICA_OK)
		forget_tales(l, told, untold);
	return rc;
}

mica_rc mica_core_lineage_flush(struct mica_core *c, int64_t now_ms, struct mica_err *e)
{
	struct core_lineage *l = c->lineage;
	mica_rc rc = MICA_OK, last;

	if (!l->loaded)
		rc = load(c, e);
	else if (l->behind)
		rc = catch_up(c, now_ms, e);
	pthread_mutex_lock(&l->lock);
	/* by a clock that may be ahead everything has ended */
	if (l->loaded && !l->behind && !atomic_load(&c->clock_frozen) &&
		!atomic_load(&c->clock_unproven))
		sweep(l, now_ms / 1000);
	pthread_mutex_unlock(&l->lock);
	last = write_behind(c, now_ms, e);
	return rc == MICA_OK ? last : rc;
}

void mica_core_lineage_stats(struct mica_core *c, struct mica_core_stats *out)
{
	struct core_lineage *l = c->lineage;

	pthread_mutex_lock(&l->lock);
	out->lineage_links = l->n;
	out->lineage_forks = l->forks;
	out->renewals_missed = l->missed;
	out->lineage_untracked = l->untracked;
	pthread_mutex_unlock(&l->lock);
}
