/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hash table of recent requests, in the order of time: a list from the oldest to the newest.
 *
 * SHA256_Init and its kin are deprecated in OpenSSL 3.0 and used here on purpose: EVP looks the
 * algorithm up at each call, which costs more than to hash a token.
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "mica/replay.h"

#include "mica/mem.h"

#include <openssl/sha.h>
#include <pthread.h>
#include <stdatomic.h>

struct answer {
	struct mica_answer pub;
	atomic_uint refs;
};

struct item {
	uint8_t key[MICA_REPLAY_KEY_LEN];
	struct item *chain; /* of its bucket */
	struct item *older, *newer;
	int64_t since;
	const struct mica_answer *answer; /* NULL: still under way */
	void **jobs;
	unsigned n_jobs, room;
};

struct mica_replay {
	pthread_mutex_t lock;
	struct item **buckets;
	unsigned n_buckets; /* a power of two */
	struct item *oldest, *newest;
	unsigned n, max, max_waiters;
};

/* ---- answers ------------------------------------------------------------------------------- */

const struct mica_answer *mica_answer_new(int status, struct mica_slice bytes)
{
	struct answer *a = MICA_NEW(struct answer);
	a->pub.status = status;
	a->pub.bytes = mica_slice(mica_memdup(bytes.p, bytes.len), bytes.len);
	atomic_init(&a->refs, 1);
	return &a->pub;
}

static struct answer *own(const struct mica_answer *a)
{
	return (struct answer *)(uintptr_t)a; /* pub is its first member */
}

const struct mica_answer *mica_answer_ref(const struct mica_answer *a)
{
	atomic_fetch_add_explicit(&own(a)->refs, 1, memory_order_relaxed);
	return a;
}

void mica_answer_unref(const struct mica_answer *a)
{
	if (!a || atomic_fetch_sub_explicit(&own(a)->refs, 1, memory_order_acq_rel) != 1)
		return;
	mica_free((void *)(uintptr_t)a->bytes.p);
	mica_free(own(a));
}

/* ---- keys ---------------------------------------------------------------------------------- */

static void hash_u64(SHA256_CTX *h, uint64_t v)
{
	uint8_t b[8];
	for (unsigned i = 0; i < 8; i++)
		b[i] = (uint8_t)(v >> (56 - 8 * i));
	SHA256_Update(h, b, sizeof(b));
}

static void hash_part(SHA256_CTX *h, struct mica_slice s)
{
	hash_u64(h, s.len);
	SHA256_Update(h, s.p, s.len);
}

void mica_replay_key(const struct mica_replay_request *q, uint8_t key[MICA_REPLAY_KEY_LEN])
{
	SHA256_CTX h;
	SHA256_Init(&h);
	hash_u64(&h, q->generation);
	hash_u64(&h, (uint64_t)q->front);
	hash_part(&h, mica_slice_str(q->operation));
	hash_part(&h, mica_slice_str(q->issuer));
	hash_part(&h, q->credential);
	hash_part(&h, q->subject);
	hash_u64(&h, (uint64_t)q->ttl);
	hash_part(&h, mica_slice_str(q->identity));
	SHA256_Final(key, &h);
}

/* ---- the table ----------------------------------------------------------------------------- */

struct mica_replay *mica_replay_new(unsigned max, unsigned max_waiters)
{
	struct mica_replay *r = MICA_NEW(struct mica_replay);
	r->max = max;
	r->max_waiters = max_waiters;
	for (r->n_buckets = 64; r->n_buckets < max && r->n_buckets < 1u << 20;)
		r->n_buckets *= 2;
	r->buckets = mica_calloc(r->n_buckets, sizeof(struct item *));
	pthread_mutex_init(&r->lock, NULL);
	return r;
}

static struct item **find(struct mica_replay *r, const uint8_t key[MICA_REPLAY_KEY_LEN])
{
	uint32_t h;
	struct item **at;
	memcpy(&h, key, sizeof(h));
	for (at = &r->buckets[h & (r->n_buckets - 1)]; *at; at = &(*at)->chain)
		if (memcmp((*at)->key, key, MICA_REPLAY_KEY_LEN) == 0)
			break;
	return at;
}

static void list_remove(struct mica_replay *r, struct item *i)
{
	*(i->older ? &i->older->newer : &r->oldest) = i->newer;
	*(i->newer ? &i->newer->older : &r->newest) = i->older;
	i->older = i->newer = NULL;
}

static void list_append(struct mica_replay *r, struct item *i)
{
	i->older = r->newest;
	i->newer = NULL;
	*(r->newest ? &r->newest->newer : &r->oldest) = i;
	r->newest = i;
}

static void drop(struct mica_replay *r, struct item **at)
{
	struct item *i = *at;
	*at = i->chain;
	list_remove(r, i);
	r->n--;
	mica_answer_unref(i->answer);
	mica_free(i->jobs);
	mica_free(i);
}

void mica_replay_free(struct mica_replay *r)
{
	if (!r)
		return;
	while (r->oldest)
		drop(r, find(r, r->oldest->key));
	pthread_mutex_destroy(&r->lock);
	mica_free(r->buckets);
	mica_free(r);
}

/* Answered ones go when their minute is over; what is under way stays, its finish will come. */
static void expire(struct mica_replay *r, int64_t now_ms)
{
	struct item *i = r->oldest;
	while (i && i->answer && (i->since + MICA_REPLAY_MS <= now_ms || i->since > now_ms)) {
		struct item *next = i->newer;
		drop(r, find(r, i->key));
		i = next;
	}
}

static bool add_job(struct mica_replay *r, struct item *i, void *job)
{
	if (i->n_jobs >= r->max_waiters)
		return false;
	if (i->n_jobs == i->room) {
		i->room = i->room ? i->room * 2 : 4;
		i->jobs = mica_realloc(i->jobs, i->room, sizeof(void *));
	}
	i->jobs[i->n_jobs++] = job;
	return true;
}

static enum mica_replay_verdict begin(struct mica_replay *r, const uint8_t *key, int64_t now_ms,
	void *job, const struct mica_answer **answer)
{
	struct item **at, *i;
	expire(r, now_ms);
	at = find(r, key);
	if (*at && (*at)->answer && (*at)->since + MICA_REPLAY_MS <= now_ms) {
		drop(r, at);
		at = find(r, key);
	}
	if (*at && (*at)->answer) {
		*answer = mica_answer_ref((*at)->answer);
		return MICA_REPLAY_DONE;
	}
	if (*at)
		return add_job(r, *at, job) ? MICA_REPLAY_WAIT : MICA_REPLAY_FULL;
	if (r->n >= r->max)
		return MICA_REPLAY_FULL;
	i = MICA_NEW(struct item);
	memcpy(i->key, key, MICA_REPLAY_KEY_LEN);
	i->since = now_ms;
	*at = i;
	list_append(r, i);
	r->n++;
	return MICA_REPLAY_NEW;
}

enum mica_replay_verdict mica_replay_begin(struct mica_replay *r,
	const uint8_t key[MICA_REPLAY_KEY_LEN], int64_t now_ms, void *job,
	const struct mica_answer **answer)
{
	enum mica_replay_verdict v;
	*answer = NULL;
	pthread_mutex_lock(&r->lock);
	v = begin(r, key, now_ms, job, answer);
	pthread_mutex_unlock(&r->lock);
	return v;
}

void mica_replay_finish(struct mica_replay *r, const uint8_t key[MICA_REPLAY_KEY_LEN],
	int64_t now_ms, const struct mica_answer *answer, bool keep,
	void (*each)(void *ctx, void *job, const struct mica_answer *answer), void *ctx)
{
	struct item **at;
	MICA_AUTO_FREE void **jobs = NULL;
	unsigned n = 0;
	pthread_mutex_lock(&r->lock);
	at = find(r, key);
	if (*at && !(*at)->answer) {
		struct item *i = *at;
		jobs = MICA_STEAL(i->jobs);
		n = i->n_jobs;
		i->n_jobs = i->room = 0;
		if (keep) {
			i->answer = mica_answer_ref(answer);
			i->since = now_ms;
			list_remove(r, i);
			list_append(r, i);
		} else {
			drop(r, at);
		}
	}
	pthread_mutex_unlock(&r->lock);
	for (unsigned j = 0; j < n; j++)
		each(ctx, jobs[j], answer);
}

bool mica_replay_forget_job(
	struct mica_replay *r, const uint8_t key[MICA_REPLAY_KEY_LEN], void *job)
{
	struct item *i;
	bool found = false;
	pthread_mutex_lock(&r->lock);
	i = *find(r, key);
	for (unsigned j = 0; i && j < i->n_jobs && !found; j++)
		if (i->jobs[j] == job) {
			i->jobs[j] = i->jobs[--i->n_jobs];
			found = true;
		}
	pthread_mutex_unlock(&r->lock);
	return found;
}

unsigned mica_replay_count(struct mica_replay *r)
{
	unsigned n;
	pthread_mutex_lock(&r->lock);
	n = r->n;
	pthread_mutex_unlock(&r->lock);
	return n;
}
