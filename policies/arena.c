/* SPDX-License-Identifier: Apache-2.0 */
#include "impl.h"

#define BLOCK_MIN 1024
#define BLOCK_MAX (256 * 1024)

struct arena_block {
	struct arena_block *next;
	size_t room, used;
	_Alignas(16) unsigned char bytes[];
};

static struct arena_block *grow(struct arena *a, size_t size)
{
	size_t room = a->blocks ? 2 * a->blocks->room : BLOCK_MIN;
	struct arena_block *b;

	if (room > BLOCK_MAX)
		room = BLOCK_MAX;
	if (room < size)
		room = size;
	b = mica_alloc(sizeof(*b) + room);
	b->room = room;
	b->next = a->blocks;
	a->blocks = b;
	return b;
}

void *arena_alloc(struct arena *a, size_t n, size_t size)
{
	struct arena_block *b = a->blocks;
	size_t bytes;
	void *p;

	/* what is asked for is bounded by the text that is read */
	if (__builtin_mul_overflow(n, size, &bytes) || bytes > SIZE_MAX / 4)
		abort();
	bytes = (bytes + 15) & ~(size_t)15;
	if (b == NULL || b->room - b->used < bytes)
		b = grow(a, bytes);
	p = b->bytes + b->used;
	b->used += bytes;
	a->used += bytes;
	return p;
}

struct mica_slice arena_text(struct arena *a, struct mica_slice s)
{
	uint8_t *p = arena_alloc(a, s.len + 1, 1);

	if (s.len)
		memcpy(p, s.p, s.len);
	return mica_slice(p, s.len);
}

void arena_clear(struct arena *a)
{
	while (a->blocks) {
		struct arena_block *next = a->blocks->next;

		mica_free(a->blocks);
		a->blocks = next;
	}
	a->used = 0;
}
