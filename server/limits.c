/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each bucket is one number, the time at which it will be full again (the generic cell rate
 * algorithm): a request moves it on by the time that one token needs to come back, and is refused
 * when that is further away than the whole bucket. Tables are 8-way sets, indexed by a keyed hash,
 * so that nobody can choose whom he displaces.
 */
#include "limits.h"

#include "mica/mem.h"
#include "mica/secret.h"

#include <pthread.h>

#define SHARDS  16
#define WAYS    8
#define KINDS   2
#define KEY_LEN 16

enum { FAILURES = 0, ANONYMOUS = 1, IDENTITY = 0 };

struct slot {
	uint8_t key[KEY_LEN];
	int64_t full_at[KINDS]; /* microseconds; 0 in both = never used */
};

struct rate {
	int64_t step, depth; /* microseconds for one token, for all of them; step 0 = no limit */
};

struct shard {
	pthread_mutex_t lock;
	struct rate rates[KINDS];
	struct slot *slots;
	uint64_t refused[KINDS], forgotten;
};

struct table {
	struct shard shards[SHARDS];
	uint32_t sets; /* per shard, a power of two */
};

struct limits {
	struct table addresses, identities;
	uint64_t hash_key[2];
};

/* ---- SipHash-2-4, 128 bits (Aumasson, Bernstein) ------------------------------------------- */

static uint64_t rotl(uint64_t x, unsigned n)
{
	return x << n | x >> (64 - n);
}

static void sip_rounds(uint64_t v[4], unsigned n)
{
	while (n-- > 0) {
		v[0] += v[1], v[2] += v[3];
		v[1] = rotl(v[1], 13) ^ v[0], v[3] = rotl(v[3], 16) ^ v[2];
		v[0] = rotl(v[0], 32);
		v[2] += v[1], v[0] += v[3];
		v[1] = rotl(v[1], 17) ^ v[2], v[3] = rotl(v[3], 21) ^ v[0];
		v[2] = rotl(v[2], 32);
	}
}

static void sip_block(uint64_t v[4], uint64_t m)
{
	v[3] ^= m;
	sip_rounds(v, 2);
	v[0] ^= m;
}

static void sip128(const uint64_t key[2], struct mica_slice s, uint64_t out[2])
{
	uint64_t v[4] = {key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d ^ 0xee,
		key[0] ^ 0x6c7967656e657261, key[1] ^ 0x7465646279746573};
	uint64_t m, last = (uint64_t)s.len << 56;
	for (; s.len >= 8; s = mica_slice(s.p + 8, s.len - 8)) {
		memcpy(&m, s.p, 8);
		sip_block(v, m);
	}
	for (size_t i = 0; i < s.len; i++)
		last |= (uint64_t)s.p[i] << (8 * i);
	sip_block(v, last);
	v[2] ^= 0xee;
	sip_rounds(v, 4);
	out[0] = v[0] ^ v[1] ^ v[2] ^ v[3];
	v[1] ^= 0xdd;
	sip_rounds(v, 4);
	out[1] = v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* ---- tables -------------------------------------------------------------------------------- */

static struct rate rate_of(struct limits_rate r)
{
	struct rate out = {0, 0};
	if (r.per_minute > 0) {
		out.step = 60000000 / r.per_minute;
		out.step = out.step > 0 ? out.step : 1;
		out.depth = out.step * (r.burst > 0 ? r.burst : 1);
	}
	return out;
}

static void table_init(struct table *t, unsigned max)
{
	for (t->sets = 1024 / SHARDS / WAYS; t->sets < (1u << 24) && t->sets * SHARDS * WAYS < max;)
		t->sets *= 2;
	for (unsigned i = 0; i < SHARDS; i++) {
		pthread_mutex_init(&t->shards[i].lock, NULL);
		t->shards[i].slots = mica_calloc((size_t)t->sets * WAYS, sizeof(struct slot));
	}
}

static void table_clear(struct table *t)
{
	for (unsigned i = 0; i < SHARDS; i++) {
		pthread_mutex_destroy(&t->shards[i].lock);
		mica_free(t->shards[i].slots);
	}
}

static void table_rates(struct table *t, struct rate a, struct rate b)
{
	for (unsigned i = 0; i < SHARDS; i++) {
		pthread_mutex_lock(&t->shards[i].lock);
		t->shards[i].rates[0] = a;
		t->shards[i].rates[1] = b;
		pthread_mutex_unlock(&t->shards[i].lock);
	}
}

static int64_t busiest(const struct slot *s)
{
	return s->full_at[0] > s->full_at[1] ? s->full_at[0] : s->full_at[1];
}

/* The slot of `key`, or one for it: an unused one, or the one that is nearest to full again. */
static struct slot *find(
	struct shard *sh, struct slot *set, const uint8_t key[KEY_LEN], int64_t now)
{
	struct slot *least = set;
	for (unsigned i = 0; i < WAYS; i++) {
		if (memcmp(set[i].key, key, KEY_LEN) == 0)
			return &set[i];
		if (busiest(&set[i]) < busiest(least))
			least = &set[i];
	}
	sh->forgotten += busiest(least) > now;
	memcpy(least->key, key, KEY_LEN);
	memset(least->full_at, 0, sizeof(least->full_at));
	return least;
}

enum use { ASK, TAKE, FORCE };

static bool use(struct shard *sh, struct slot *s, unsigned kind, int64_t now, enum use how,
	int *retry_after)
{
	const struct rate r = sh->rates[kind];
	int64_t full_at = s->full_at[kind], over;
	if (r.step == 0)
		return true;
	if (full_at < now)
		full_at = now;
	/* further ahead than it can be: there were other rates */
	if (full_at > now + r.depth)
		s->full_at[kind] = full_at = now + r.depth;
	over = full_at + r.step - now - r.depth;
	if (over > 0 && how != FORCE) {
		sh->refused[kind]++;
		if (retry_after)
			*retry_after = (int)((over + 999999) / 1000000);
		return false;
	}
	if (how != ASK)
		s->full_at[kind] = over > 0 ? now + r.depth : full_at + r.step;
	return true;
}

static bool table_use(struct table *t, const uint64_t hash[2], const uint8_t key[KEY_LEN],
	unsigned kind, int64_t now_ms, enum use how, int *retry_after)
{
	struct shard *sh = &t->shards[hash[0] % SHARDS];
	struct slot *set = &sh->slots[(hash[0] / SHARDS & (t->sets - 1)) * WAYS];
	const int64_t now = now_ms * 1000;
	bool ok;
	pthread_mutex_lock(&sh->lock);
	ok = use(sh, find(sh, set, key, now), kind, now, how, retry_after);
	pthread_mutex_unlock(&sh->lock);
	return ok;
}

static bool address_use(struct limits *l, const struct http_peer *peer, unsigned kind,
	int64_t now_ms, enum use how, int *retry_after)
{
	uint64_t hash[2];
	if (peer->local)
		return true;
	sip128(l->hash_key, mica_slice(peer->network, sizeof(peer->network)), hash);
	return table_use(&l->addresses, hash, peer->network, kind, now_ms, how, retry_after);
}

/* ---- the interface ------------------------------------------------------------------------- */

struct limits *limits_new(const struct limits_options *o)
{
	struct limits *l = MICA_NEW(struct limits);
	mica_random(l->hash_key, sizeof(l->hash_key));
	table_init(&l->addresses, o->max_addresses);
	table_init(&l->identities, o->max_identities);
	limits_set_rates(l, o);
	return l;
}

void limits_free(struct limits *l)
{
	if (!l)
		return;
	table_clear(&l->addresses);
	table_clear(&l->identities);
	mica_free(l);
}

void limits_set_rates(struct limits *l, const struct limits_options *o)
{
	table_rates(&l->addresses, rate_of(o->failures), rate_of(o->anonymous));
	table_rates(&l->identities, rate_of(o->identity), rate_of((struct limits_rate){0, 0}));
}

bool limits_address_allowed(
	struct limits *l, const struct http_peer *peer, int64_t now_ms, int *retry_after)
{
	return address_use(l, peer, FAILURES, now_ms, ASK, retry_after);
}

void limits_address_failure(struct limits *l, const struct http_peer *peer, int64_t now_ms)
{
	(void)address_use(l, peer, FAILURES, now_ms, FORCE, NULL);
}

bool limits_anonymous_allowed(
	struct limits *l, const struct http_peer *peer, int64_t now_ms, int *retry_after)
{
	return address_use(l, peer, ANONYMOUS, now_ms, TAKE, retry_after);
}

bool limits_identity_allowed(
	struct limits *l, struct mica_slice identity, int64_t now_ms, int *retry_after)
{
	uint64_t hash[2];
	uint8_t key[KEY_LEN];
	sip128(l->hash_key, identity, hash);
	memcpy(key, hash, sizeof(key));
	return table_use(&l->identities, hash, key, IDENTITY, now_ms, TAKE, retry_after);
}

void limits_stats(struct limits *l, struct limits_stats *out)
{
	memset(out, 0, sizeof(*out));
	for (unsigned i = 0; i < SHARDS; i++) {
		struct shard *a = &l->addresses.shards[i], *b = &l->identities.shards[i];
		pthread_mutex_lock(&a->lock);
		out->refused_failures += a->refused[FAILURES];
		out->refused_anonymous += a->refused[ANONYMOUS];
		out->forgotten += a->forgotten;
		pthread_mutex_unlock(&a->lock);
		pthread_mutex_lock(&b->lock);
		out->refused_identity += b->refused[IDENTITY];
		out->forgotten += b->forgotten;
		pthread_mutex_unlock(&b->lock);
	}
}
