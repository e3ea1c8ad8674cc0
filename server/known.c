/* SPDX-License-Identifier: Apache-2.0 */
#include "known.h"

#include "sip.h"

#include "mica/mem.h"
#include "mica/secret.h"

#include <stdatomic.h>

struct known {
	uint64_t key[2];
	unsigned mask;
	atomic_uint_least64_t *slot;
};

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
	uint64_t h[2];
	sip128(k->key, credential, h);
	return h[0] ? h[0] : 1;
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
