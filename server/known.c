/* SPDX-License-Identifier: Apache-2.0 */
#include "known.h"

#include "mica/mem.h"
#include "mica/secret.h"

#include <stdatomic.h>

struct known {
	uint64_t key[2];
	unsigned mask;
	atomic_uint_least64_t *slot;
};

/* ---- SipHash-2-4 (Aumasson, Bernstein): nobody without the key finds two that collide ---- */

static uint64_t rotl(uint64_t v, unsigned n)
{
	return v << n | v >> (64 - n);
}

static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[2] += v[3];
	v[1] = rotl(v[1], 13) ^ v[0];
	v[3] = rotl(v[3], 16) ^ v[2];
	v[0] = rotl(v[0], 32);
	v[2] += v[1];
	v[0] += v[3];
	v[1] = rotl(v[1], 17) ^ v[2];
	v[3] = rotl(v[3], 21) ^ v[0];
	v[2] = rotl(v[2], 32);
}

static void sip_word(uint64_t v[4], uint64_t m)
{
	v[3] ^= m;
	sip_round(v);
	sip_round(v);
	v[0] ^= m;
}

static uint64_t sip(const uint64_t key[2], struct mica_slice s)
{
	uint64_t v[4] = {key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d,
		key[0] ^ 0x6c7967656e657261, key[1] ^ 0x7465646279746573};
	uint64_t last = (uint64_t)s.len << 56;
	size_t i = 0;

	for (; s.len - i >= 8; i += 8) {
		uint64_t m;
		memcpy(&m, s.p + i, 8); /* in the order of this machine: the key never leaves it */
		sip_word(v, m);
	}
	for (unsigned shift = 0; i < s.len; i++, shift += 8)
		last |= (uint64_t)s.p[i] << shift;
	sip_word(v, last);
	v[2] ^= 0xff;
	for (unsigned r = 0; r < 4; r++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* ---- the table ----------------------------------------------------------------------------- */

struct known *known_new(unsigned max)
{
	struct known *k = MICA_NEW(struct known);
	unsigned n = 1;

	while (n < max && n < 1u << 24)
		n *= 2;
	mica_random(k->key, sizeof(k->key));
	k->mask = n - 1;
	k->slot = mica_calloc(n, sizeof(*k->slot));
	return k;
}

void known_free(struct known *k)
{
	if (!k)
		return;
	mica_free(k->slot);
	mica_free(k);
}

/* 0 marks an empty slot. */
static uint64_t hash(const struct known *k, struct mica_slice credential)
{
	uint64_t h = sip(k->key, credential);
	return h ? h : 1;
}

void known_add(struct known *k, struct mica_slice credential)
{
	uint64_t h = hash(k, credential);
	atomic_uint_least64_t *at = &k->slot[h & k->mask];

	if (atomic_load_explicit(at, memory_order_relaxed) != h)
		atomic_store_explicit(at, h, memory_order_relaxed);
}

bool known_has(const struct known *k, struct mica_slice credential)
{
	uint64_t h = hash(k, credential);
	return atomic_load_explicit(&k->slot[h & k->mask], memory_order_relaxed) == h;
}
