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
#define VALUE_LEN   26 /* then the SPIFFE ID */
#define CATCH_UP    1000 /* entries read again in one call */
#define MISSING_MAX 100 /* that are told by name */
#define VERSION     1

struct ack {
	uint8_t key[KEY_LEN];
	struct ack *chain, *next; /* of its bucket; of all */
	uint64_t sequence;
	int64_t time_ms, expires;
	bool of_pod; /* the pod's own record counts instead */
	bool again; /* remembered at a start: it has said nothing */
	char *id; /* SPIFFE ID */
};

struct core_acks {
	pthread_mutex_t lock;
	uint64_t seed;
	struct ack *bucket[BUCKETS];
	struct ack *first, **end; /* in the order of their coming */
	unsigned n;
	/* Somebody who is in the ledger may not be known here: nobody can be said to have all. */
	bool behind;
	bool lost; /* and what was read again so far does not count: there was no room */
	/* maintain's alone */
	char next[MICA_CURSOR_SIZE]; /* where reading again goes on; "" = at the mark */
	struct core_mark mark;
	int64_t pruned_ms;
	uint8_t cursor[KEY_LEN];
	size_t cursor_len;
};

struct core_acks *mica_core_acks_new(void)
{
	struct core_acks *a = MICA_NEW(struct core_acks);

	a->mark.name = "holders";
	pthread_mutex_init(&a->lock, NULL);
	mica_random(&a->seed, sizeof(a->seed));
	a->end = &a->first;
	return a;
}

void mica_core_acks_free(struct core_acks *a)
{
	for (struct ack *k = a->first, *next; k; k = next) {
		next = k->next;
		mica_free(k->id);
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

/* What somebody says it holds, until when it may say so. */
struct saying {
	uint64_t sequence;
	int64_t time_ms, expires;
	const char *id;
	struct mica_uid pod;
	bool again;
};

static void say(struct ack *k, const struct saying *s)
{
	/* What is remembered takes nothing from what was said meanwhile. */
	k->again = s->again && (k->again || !k->id);
	if (k->sequence < s->sequence)
		k->sequence = s->sequence;
	if (k->expires < s->expires)
		k->expires = s->expires;
	if (k->time_ms < s->time_ms)
		k->time_ms = s->time_ms;
	if (!k->id)
		k->id = mica_strdup(s->id);
}

static struct ack *say_for_pod(struct core_acks *a, enum mica_channel ch, const struct saying *s)
{
	uint8_t key[KEY_LEN] = {(uint8_t)ch, 'p'};
	struct ack *k;

	memcpy(key + 2, s->pod.b, 16);
	k = add(a, key);
	if (k)
		say(k, s);
	return k;
}

/* A holder is its pod, or else its certificate. */
static void be_born(
	struct core_acks *a, enum mica_channel ch, const uint8_t serial[16], const struct saying *s)
{
	static const struct mica_uid none;
	uint8_t key[KEY_LEN] = {(uint8_t)ch, 's'};
	struct ack *k;

	pthread_mutex_lock(&a->lock);
	if (memcmp(&s->pod, &none, sizeof(none)) != 0) {
		k = say_for_pod(a, ch, s);
	} else {
		memcpy(key + 2, serial, 16);
		k = add(a, key);
		if (k)
			say(k, s);
	}
	a->lost = a->lost || !k;
	a->behind = a->behind || !k;
	pthread_mutex_unlock(&a->lock);
}

void mica_core_acks_born(struct mica_core *c, const struct mica_candidate *k, int64_t now_ms)
{
	const struct saying s = {.sequence = k->said,
		.time_ms = now_ms,
		.expires = k->end,
		.id = k->spiffe_id,
		.pod = k->pod};

	be_born(c->acks, k->channel, k->serial, &s);
}

mica_rc mica_core_ack(struct mica_core *c, const struct mica_caller *caller, enum mica_channel ch,
	uint64_t sequence, int64_t now_ms, struct mica_err *e)
{
	static const struct mica_uid none;
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	const struct saying saying = {.sequence = sequence,
		.time_ms = now_ms,
		.expires = caller->evidence.credential_expiry,
		.id = caller->principal.spiffe_id,
		.pod = caller->principal.pod_uid};
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
	if (k) {
		say(k, &saying);
		k->of_pod = caller->has_serial && memcmp(&saying.pod, &none, sizeof(none)) != 0;
		if (k->of_pod)
			say_for_pod(c->acks, ch, &saying);
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

/* What is known of a holder outlives what it says anew: it lives as long as the longest of its
 * certificates, and one that is only remembered again has what it had. */
static void merge(struct mica_core *c, struct ack *k)
{
	struct mica_cursor cur;
	uint64_t sequence;
	int64_t expires;
	MICA_AUTO_BUF b;

	mica_buf_init(&b, VALUE_LEN + MICA_SPIFFE_ID_MAX);
	if (mica_store_get(c->store, MICA_T_HOLDER, mica_slice(k->key, KEY_LEN), &b, NULL, NULL) !=
		MICA_OK)
		return;
	cur = (struct mica_cursor){mica_buf_slice(&b), false};
	mica_cur_u8(&cur);
	sequence = mica_cur_be64(&cur);
	mica_cur_be64(&cur);
	expires = (int64_t)mica_cur_be64(&cur);
	if (cur.bad)
		return;
	if (k->expires < expires)
		k->expires = expires;
	if (k->again && k->sequence < sequence)
		k->sequence = sequence;
}

static void write_one(struct core_change *ch, const struct ack *k)
{
	MICA_AUTO_BUF b;

	mica_buf_init(&b, VALUE_LEN + MICA_SPIFFE_ID_MAX);
	mica_buf_put_u8(&b, VERSION);
	mica_buf_put_be64(&b, k->sequence);
	mica_buf_put_be64(&b, (uint64_t)k->time_ms);
	mica_buf_put_be64(&b, (uint64_t)k->expires);
	mica_buf_put_u8(&b, k->of_pod);
	mica_buf_put_str(&b, k->id ? k->id : "");
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

/* Until when all that was issued has its holders in the store. */
static void put_mark(struct mica_core *c, struct core_change *ch, int64_t now_ms)
{
	struct core_acks *a = c->acks;
	bool all;

	pthread_mutex_lock(&a->lock);
	all = a->n == 0 && !a->behind;
	pthread_mutex_unlock(&a->lock);
	if (all)
		mica_core_mark_put(c, &a->mark, ch, now_ms);
}

struct catching {
	struct mica_core *c;
	const struct core_policy *policy;
	int64_t now;
};

static bool catch_one(
	void *ctx, uint64_t index, const struct mica_entry *en, struct mica_slice bytes)
{
	const struct catching *x = ctx;
	struct mica_entry_keys keys;
	MICA_AUTO_FREE char *id = NULL;

	(void)index;
	(void)bytes;
	if (en->outlet != MICA_OUTLET_ACK || mica_entry_keys(en, &keys, NULL) != MICA_OK ||
		keys.serial.len != 16 || keys.not_after < x->now)
		return true;
	id = mica_slice_dup(keys.spiffe_id);
	be_born(x->c->acks, mica_core_channel(x->policy, id), keys.serial.p,
		&(struct saying){.time_ms = en->time_ms,
			.expires = keys.not_after,
			.id = id,
			.pod = keys.pod_uid,
			.again = true});
	return true;
}

void mica_core_acks_begin(struct mica_core *c, int64_t now_ms)
{
	c->acks->behind = true;
	mica_core_mark_begin(&c->acks->mark, now_ms);
}

/* Whether there is something to be read again, and room for what that finds. */
static bool may_catch_up(struct core_acks *a)
{
	bool may;

	pthread_mutex_lock(&a->lock);
	if (a->lost)
		a->next[0] = '\0';
	a->lost = false;
	may = a->behind && a->n <= CORE_ACKS_MAX / 2;
	pthread_mutex_unlock(&a->lock);
	return may;
}

/* Issuing goes on before all holders are known again: the ledger is read from the mark on, a part
 * at a time. What they said they hold stands in no entry: it counts as nothing until they say it.
 */
static mica_rc catch_up(struct mica_core *c, int64_t now_ms, struct mica_err *e)
{
	CORE_AUTO_VIEW v = mica_core_view_get(c);
	struct core_acks *a = c->acks;
	struct catching x = {c, v->policy, now_ms / 1000};
	struct mica_ledger_query q = {.type = MICA_ENTRY_X509_ISSUED,
		.oldest_first = true,
		.limit = CATCH_UP,
		.since_ms = mica_core_mark_read(c, &a->mark, now_ms)};
	char at[MICA_CURSOR_SIZE];
	mica_rc rc;

	memcpy(at, a->next, sizeof(at));
	q.cursor = mica_slice_str(at);
	rc = mica_ledger_query(c->ledger, &q, catch_one, &x, a->next, e);
	if (rc != MICA_OK) {
		memcpy(a->next, at, sizeof(at));
		return rc;
	}
	pthread_mutex_lock(&a->lock);
	a->behind = a->lost || a->next[0] != '\0';
	pthread_mutex_unlock(&a->lock);
	return MICA_OK;
}

/* What was taken out of memory did not reach the store. */
static void forget_what_was_read(struct core_acks *a)
{
	pthread_mutex_lock(&a->lock);
	a->behind = a->lost = true;
	pthread_mutex_unlock(&a->lock);
}

mica_rc mica_core_acks_flush(struct mica_core *c, int64_t now_ms, struct mica_err *e)
{
	mica_rc caught = may_catch_up(c->acks) ? catch_up(c, now_ms, e) : MICA_OK;
	struct ack *some = take_some(c->acks);
	CORE_AUTO_CHANGE ch = {.n_reads = 0};
	mica_rc rc = MICA_OK;

	for (struct ack *k = some, *next; k; k = next) {
		next = k->next;
		merge(c, k);
		write_one(&ch, k);
		mica_free(k->id);
		mica_free(k);
	}
	put_mark(c, &ch, now_ms);
	if (ch.n_writes > 0)
		rc = mica_core_change_commit(c, &ch, now_ms, e);
	if (rc != MICA_OK)
		forget_what_was_read(c->acks);
	else
		rc = caught;
	return rc == MICA_OK ? prune(c, now_ms, e) : rc;
}

/* ---- who is missing ---------------------------------------------------------------------------
 */

struct acked {
	const uint64_t *sequence; /* of each channel: a holder's numbers are its channel's */
	int64_t now;
	uint64_t missing, holders;
	struct mica_buf *names; /* NULL = they are counted only */
};

static void name_missing(
	struct acked *a, enum mica_channel ch, struct mica_slice id, uint64_t has, int64_t expires)
{
	if (!a->names || a->missing > MISSING_MAX)
		return;
	mica_buf_put_str(a->names, a->missing > 1 ? ",{\"spiffe_id\":" : "{\"spiffe_id\":");
	mica_buf_put_json_string(a->names, id);
	mica_buf_printf(a->names, ",\"channel\":\"%s\",\"sequence\":%llu", mica_channel_name(ch),
		(unsigned long long)has);
	mica_core_put_time(a->names, ",", "expires", expires);
	mica_buf_put_u8(a->names, '}');
}

static bool look_at_holder(void *ctx, struct mica_slice key, struct mica_slice value, uint64_t rev)
{
	struct acked *a = ctx;
	struct mica_cursor cur = {value, false};
	int64_t expires;
	uint64_t has;

	(void)rev;
	if (key.len != KEY_LEN || key.p[0] >= MICA_CHANNEL_COUNT)
		return true;
	mica_cur_u8(&cur);
	has = mica_cur_be64(&cur);
	mica_cur_be64(&cur);
	expires = (int64_t)mica_cur_be64(&cur);
	if (mica_cur_u8(&cur) != 0 || cur.bad || expires < a->now)
		return true;
	a->holders++;
	if (has >= a->sequence[key.p[0]])
		return true;
	a->missing++;
	name_missing(a, (enum mica_channel)key.p[0], cur.s, has, expires);
	return true;
}

/* Whether what waits to be written would change nothing. Somebody says something at any time: who
 * has what is asked for is not waited for. */
static bool is_complete(struct core_acks *a, const uint64_t sequence[MICA_CHANNEL_COUNT])
{
	bool complete;

	pthread_mutex_lock(&a->lock);
	complete = !a->behind;
	for (const struct ack *k = a->first; k && complete; k = k->next)
		complete = k->of_pod || k->sequence >= sequence[k->key[0]];
	pthread_mutex_unlock(&a->lock);
	return complete;
}

void mica_core_first_bundles(const struct mica_authority *a, uint64_t sequence[MICA_CHANNEL_COUNT])
{
	sequence[MICA_CHANNEL_LIVE] = a->sequence;
	sequence[MICA_CHANNEL_CANARY] = a->canary_sequence ? a->canary_sequence : a->sequence;
}

mica_rc mica_core_acked(struct mica_core *c, const uint64_t sequence[MICA_CHANNEL_COUNT],
	int64_t now, bool *acked, struct mica_err *e)
{
	struct mica_scan scan = {.table = MICA_T_HOLDER};
	struct acked a = {.sequence = sequence, .now = now};
	mica_rc rc = mica_store_list(c->store, &scan, look_at_holder, &a, e);

	/* What waits to be written is younger than what is there. */
	*acked = rc == MICA_OK && a.missing == 0 && is_complete(c->acks, sequence);
	return rc;
}

mica_rc mica_core_put_missing(struct mica_core *c, const uint64_t sequence[MICA_CHANNEL_COUNT],
	int64_t now, struct mica_buf *json, struct mica_err *e)
{
	struct mica_scan scan = {.table = MICA_T_HOLDER};
	struct acked a = {.sequence = sequence, .now = now, .names = json};
	mica_rc rc;

	mica_buf_put_str(json, ",\"missing\":[");
	rc = mica_store_list(c->store, &scan, look_at_holder, &a, e);
	mica_buf_printf(json, "],\"missing_count\":%llu,\"holders\":%llu",
		(unsigned long long)a.missing, (unsigned long long)a.holders);
	return rc;
}
