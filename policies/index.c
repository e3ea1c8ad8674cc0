/* SPDX-License-Identifier: Apache-2.0 */
/* A map from hashes to lists of ids: filled, frozen, read. */
#include "set_impl.h"

uint64_t hash_mix(uint64_t h, uint64_t salt)
{
	h ^= salt * UINT64_C(0x9e3779b97f4a7c15);
	h = (h ^ (h >> 32)) * UINT64_C(0xd6e8feb86659fd93);
	h = (h ^ (h >> 32)) * UINT64_C(0xd6e8feb86659fd93);
	return h ^ (h >> 32);
}

void index_add(struct index *ix, uint64_t hash, uint32_t id)
{
	if (ix->n == ix->room) {
		ix->room = ix->room ? 2 * ix->room : 64;
		ix->pairs = mica_realloc(ix->pairs, ix->room, sizeof(ix->pairs[0]));
	}
	ix->pairs[ix->n++] = (struct index_pair){hash, id};
}

static int by_hash(const void *a, const void *b)
{
	const struct index_pair *x = a, *y = b;

	if (x->hash != y->hash)
		return x->hash < y->hash ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

static struct index_slot *slot_of(const struct index *ix, uint64_t hash)
{
	uint64_t i = hash_mix(hash, 1) & ix->mask;

	while (ix->slots[i].count && ix->slots[i].hash != hash)
		i = (i + 1) & ix->mask;
	return &ix->slots[i];
}

void index_freeze(struct index *ix)
{
	size_t room = 16;

	while (room < 2 * ix->n)
		room *= 2;
	ix->mask = room - 1;
	ix->slots = mica_calloc(room, sizeof(ix->slots[0]));
	ix->ids = mica_calloc(ix->n + 1, sizeof(ix->ids[0]));
	if (ix->n)
		qsort(ix->pairs, ix->n, sizeof(ix->pairs[0]), by_hash);
	for (size_t i = 0; i < ix->n; i++) {
		struct index_slot *slot = slot_of(ix, ix->pairs[i].hash);

		if (slot->count == 0) {
			slot->hash = ix->pairs[i].hash;
			slot->first = (uint32_t)i;
		}
		slot->count++;
		ix->ids[i] = ix->pairs[i].id;
	}
	mica_free(MICA_STEAL(ix->pairs));
}

const uint32_t *index_find(const struct index *ix, uint64_t hash, uint32_t *count)
{
	const struct index_slot *slot = slot_of(ix, hash);

	*count = slot->count;
	return ix->ids + slot->first;
}

void index_clear(struct index *ix)
{
	mica_free(ix->pairs);
	mica_free(ix->slots);
	mica_free(ix->ids);
	*ix = (struct index){.n = 0};
}
