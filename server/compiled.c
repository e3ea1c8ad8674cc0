/* SPDX-License-Identifier: Apache-2.0 */
/* A ring: what was kept first goes first. */
#include "compiled.h"

#include "mica/bundle.h"

#include <pthread.h>

#define SLOTS 512

struct slot {
	char *key;
	size_t key_len;
	struct compiled_text t;
};

struct compiled {
	pthread_mutex_t lock;
	size_t max, octets;
	struct slot slot[SLOTS];
	unsigned next;
};

void compiled_text_clear(struct compiled_text *t)
{
	mica_snapshot_unref(t->text);
	mica_snapshot_unref(t->report);
	memset(t, 0, sizeof(*t));
}

static size_t size_of(const struct compiled_text *t)
{
	return t->text->bytes.len + t->report->bytes.len;
}

static struct compiled_text share(const struct compiled_text *t)
{
	return (struct compiled_text){
		mica_snapshot_ref(t->text), mica_snapshot_ref(t->report), t->lost};
}

static void empty(struct compiled *c, struct slot *s)
{
	if (!s->key)
		return;
	c->octets -= size_of(&s->t);
	compiled_text_clear(&s->t);
	mica_free(MICA_STEAL(s->key));
}

struct compiled *compiled_new(size_t max_octets)
{
	struct compiled *c = MICA_NEW(struct compiled);

	c->max = max_octets;
	pthread_mutex_init(&c->lock, NULL);
	return c;
}

void compiled_free(struct compiled *c)
{
	if (!c)
		return;
	for (unsigned i = 0; i < SLOTS; i++)
		empty(c, &c->slot[i]);
	pthread_mutex_destroy(&c->lock);
	mica_free(c);
}

static struct slot *find(struct compiled *c, struct mica_slice key)
{
	for (unsigned i = 0; i < SLOTS; i++)
		if (c->slot[i].key &&
			mica_slice_eq(mica_slice(c->slot[i].key, c->slot[i].key_len), key))
			return &c->slot[i];
	return NULL;
}

bool compiled_find(struct compiled *c, struct mica_slice key, struct compiled_text *out)
{
	struct slot *s;

	pthread_mutex_lock(&c->lock);
	s = find(c, key);
	if (s)
		*out = share(&s->t);
	pthread_mutex_unlock(&c->lock);
	return s != NULL;
}

void compiled_keep(struct compiled *c, struct mica_slice key, const struct compiled_text *t)
{
	pthread_mutex_lock(&c->lock);
	if (size_of(t) <= c->max / 4 && !find(c, key)) {
		struct slot *s;

		do {
			s = &c->slot[c->next];
			c->next = (c->next + 1) % SLOTS;
			empty(c, s);
		} while (c->octets + size_of(t) > c->max);
		s->key = (char *)mica_memdup(key.p, key.len);
		s->key_len = key.len;
		s->t = share(t);
		c->octets += size_of(t);
	}
	pthread_mutex_unlock(&c->lock);
}
