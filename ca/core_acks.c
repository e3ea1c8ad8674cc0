/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who says that it holds which bundle (design 8.3). Kept in memory and written behind in batches,
 * never on the issuing path: what is lost in a crash counts as missing, and is said again.
 */
#include "core_impl.h"

#define BUCKETS     16384
#define FLUSH_MAX   1000 /* records in one commit */
#define PRUNE_MAX   512 /* records looked at */
#define PRUNE_EVERY 60000 /* ms */
#define KEY_LEN     18
#define VALUE_LEN   25
#define VERSION     1

struct ack {
	uint8_t key[KEY_LEN];
	struct ack *chain, *next; /* of its bucket; of all */
	uint64_t sequence;
	int64_t time_ms, expires;
};

struct core_acks {
	pthread_mutex_t lock;
	uint64_t seed;
	struct ack *bucket[BUCKETS];
	struct ack *first, **end; /* in the order of their coming */
	unsigned n;
	/* maintain's alone */
	int64_t pruned_ms;
	uint8_t cursor[KEY_LEN];
	size_t cursor_len;
};

struct core_acks *mica_core_acks_new(void)
{
	struct core_acks *a = MICA_NEW(struct core_acks);

	pthread_mutex_init(&a->lock, NULL);
	mica_random(&a->seed, sizeof(a->seed));
	a->end = &a->first;
	return a;
}

void mica_core_acks_free(struct core_acks *a)
{
	for (struct ack *k = a->first, *next; k; k = next) {
		next = k->next;
		mica_free(k);
	}
	pthread_mutex_destroy(&a->lock);
	mica_free(a);
}

/* ---- saying ---------------------------------------------------------------------------------- */

/* A holder speaks only for its own certificate, or pod. */
static bool holder_key(const struct mica_caller *caller, enum mica_channel ch, uint8_t key[KEY_LEN])
{
	static const struct mica_uid none;
	const struct mica_uid *pod = &caller->principal.pod_uid;

	key[0] = (uint8_t)ch;
	if (caller->has_serial) {
		key[1] = 's';
		memcpy(key + 2, caller->serial, 16);
		return true;
	}
	if (memcmp(pod, &none, sizeof(none)) == 0)
		return false;
	key[1] = 'p';
	memcpy(key + 2, pod->b, 16);
	return true;
}

/* UIDs are random, but not ours: the seed keeps them from being chosen to meet. */
static struct ack **bucket_of(struct core_acks *a, const uint8_t key[KEY_LEN])
{
	uint64_t h = a->seed;

	for (unsigned i = 0; i < KEY_LEN; i++)
		h = (h ^ key[i]) * UINT64_C(0x100000001b3);
	return &a->bucket[(h ^ h >> 32) % BUCKETS];
}

static struct ack **find(struct core_acks *a, const uint8_t key[KEY_LEN])
{
	struct ack **at = bucket_of(a, key);

	while (*at && memcmp((*at)->key, key, KEY_LEN) != 0)
		at = &(*at)->chain;
	return at;
}

static struct ack *add(struct core_acks *a, const uint8_t key[KEY_LEN])
{
	struct ack **at = find(a, key);

	if (*at || a->n >= CORE_ACKS_MAX)
		return *at;
	*at = MICA_NEW(struct ack);
	memcpy((*at)->key, key, KEY_LEN);
	*a->end = *at;
	a->end = &(*at)->next;
	a->n++;
	return *at;
}

mica_rc mica_core_ack(struct mica_core *c, const struct mica_caller *caller, enum mica_channel ch,
	uint64_t sequence, int64_t now_ms, struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	uint8_t key[KEY_LEN];
	struct ack *k;

	if ((unsigned)ch >= MICA_CHANNEL_COUNT)
		return mica_fail(e, MICA_INVALID, "no_such_channel",
			"there is no such channel: expected live or canary");
	if (sequence == 0 || sequence > v->pub->sequence[ch])
		return mica_fail(e, MICA_INVALID, "no_such_sequence",
			"no bundle of this sequence was published; the last one is %llu",
			(unsigned long long)v->pub->sequence[ch]);
	if (!holder_key(caller, ch, key))
		return mica_fail(e, MICA_INVALID, "no_holder",
			"expected a certificate, or a token that is bound to a pod");
	pthread_mutex_lock(&c->acks->lock);
	k = add(c->acks, key);
	if (k && k->sequence < sequence)
		k->sequence = sequence;
	if (k) {
		k->time_ms = now_ms;
		k->expires = caller->evidence.credential_expiry;
	}
	pthread_mutex_unlock(&c->acks->lock);
	return k ? MICA_OK
		 : mica_fail(e, MICA_LIMIT, "too_many_acks",
			   "too many acknowledgements wait to be written; try again");
}

/* ---- writing behind -------------------------------------------------------------------------- */

static struct ack *take_some(struct core_acks *a)
{
	struct ack *some, **end = &some;

	pthread_mutex_lock(&a->lock);
	for (unsigned i = 0; i < FLUSH_MAX && a->first; i++) {
		struct ack *k = a->first;

		*find(a, k->key) = k->chain;
		a->first = k->next;
		a->n--;
		*end = k;
		end = &k->next;
	}
	*end = NULL;
	if (!a->first)
		a->end = &a->first;
	pthread_mutex_unlock(&a->lock);
	return some;
}

static void write_one(struct core_change *ch, const struct ack *k)
{
	MICA_AUTO_BUF b;

	mica_buf_init(&b, VALUE_LEN);
	mica_buf_put_u8(&b, VERSION);
	mica_buf_put_be64(&b, k->sequence);
	mica_buf_put_be64(&b, (uint64_t)k->time_ms);
	mica_buf_put_be64(&b, (uint64_t)k->expires);
	mica_core_change_write(
		ch, MICA_PUT, MICA_T_HOLDER, mica_slice(k->key, KEY_LEN), mica_buf_slice(&b));
}

struct prune {
	struct core_change *ch;
	struct core_acks *acks;
	int64_t now;
	unsigned seen;
};

static bool prune_one(void *ctx, struct mica_slice key, struct mica_slice value, uint64_t rev)
{
	struct prune *p = ctx;
	struct mica_cursor cur = {value, false};

	(void)rev;
	mica_cur_take(&cur, 17);
	if ((int64_t)mica_cur_be64(&cur) < p->now)
		mica_core_change_write(p->ch, MICA_DELETE, MICA_T_HOLDER, key, MICA_SLICE_NULL);
	p->acks->cursor_len = key.len < KEY_LEN ? key.len : KEY_LEN;
	memcpy(p->acks->cursor, key.p, p->acks->cursor_len);
	p->seen++;
	return true;
}

/* What its certificate or token has outlived is of no use. A bounded part at a time. */
static mica_rc prune(struct mica_core *c, int64_t now_ms, struct mica_err *e)
{
	struct core_acks *a = c->acks;
	CORE_AUTO_CHANGE ch = {.n_reads = 0};
	struct prune p = {&ch, a, now_ms / 1000, 0};
	struct mica_scan scan = {.table = MICA_T_HOLDER,
		.after = mica_slice(a->cursor, a->cursor_len),
		.limit = PRUNE_MAX};
	mica_rc rc;

	if (now_ms < a->pruned_ms + PRUNE_EVERY)
		return MICA_OK;
	a->pruned_ms = now_ms;
	rc = mica_store_list(c->store, &scan, prune_one, &p, e);
	if (p.seen < PRUNE_MAX)
		a->cursor_len = 0;
	if (rc != MICA_OK || ch.n_writes == 0)
		return rc;
	return mica_core_change_commit(c, &ch, now_ms, e);
}

mica_rc mica_core_acks_flush(struct mica_core *c, int64_t now_ms, struct mica_err *e)
{
	struct ack *some = take_some(c->acks);
	CORE_AUTO_CHANGE ch = {.n_reads = 0};
	mica_rc rc = MICA_OK;

	for (struct ack *k = some, *next; k; k = next) {
		next = k->next;
		write_one(&ch, k);
		mica_free(k);
	}
	if (ch.n_writes > 0)
		rc = mica_core_change_commit(c, &ch, now_ms, e);
	return rc == MICA_OK ? prune(c, now_ms, e) : rc;
}

/* ---- who is missing ---------------------------------------------------------------------------
 */

struct acked {
	uint64_t sequence;
	int64_t now;
	uint64_t missing;
};

static bool count_missing(void *ctx, struct mica_slice key, struct mica_slice value, uint64_t rev)
{
	struct acked *a = ctx;
	struct mica_cursor cur = {value, false};
	uint64_t has;

	(void)rev;
	if (key.len != KEY_LEN || key.p[0] != MICA_CHANNEL_LIVE)
		return true;
	mica_cur_u8(&cur);
	has = mica_cur_be64(&cur);
	mica_cur_be64(&cur);
	if (!cur.bad && (int64_t)mica_cur_be64(&cur) >= a->now && has < a->sequence)
		a->missing++;
	return true;
}

mica_rc mica_core_acked(
	struct mica_core *c, uint64_t sequence, int64_t now, bool *acked, struct mica_err *e)
{
	struct mica_scan scan = {.table = MICA_T_HOLDER};
	struct acked a = {sequence, now, 0};
	mica_rc rc = mica_store_list(c->store, &scan, count_missing, &a, e);

	*acked = rc == MICA_OK && a.missing == 0;
	return rc;
}
